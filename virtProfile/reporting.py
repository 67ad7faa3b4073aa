# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run tells: the `Result` of a rendered tree, its warnings and who owns what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .changes import BOOKKEEPER, Difference, describe
from .paths import Paths
from .provenance import (
    DEFINITION,
    THE_DEFINITION,
    Applied,
    Origin,
    Overridden,
    Owned,
    Result,
    Warning,
)
from .rendering import where
from .selector import Selection
from .storage import unused, wanted
from .worktree import PRESENCE, TEXT, WorkTree, child, text_of

if TYPE_CHECKING:
    from .actions import Actions

OVERRIDE_HINT = "--override lets the profile win"


def report(
    xml: str,
    tree: WorkTree,
    schema: Any,
    selection: Selection,
    actions: Actions,
    found: list[Difference],
    warnings: list[Warning],
    paths: Paths,
    written: Any,
    sketch: bool,
) -> Result:
    text = xml if written is None else written.text
    kept_out = sum(1 for loss in actions.losses if loss.winners[0] is THE_DEFINITION and not loss.final)
    if schema.is_partial:
        warnings += _newer(found, paths)
    if not sketch:
        warnings += _guest_abi(tree, schema, found, paths)
    warnings += _no_effect(selection, actions)
    overridden = _once(lambda: tuple(_overridden(loss, paths) for loss in actions.losses))
    return Result(
        text,
        xml,
        bool(found),
        applied=[
            Applied(one.name, one.profile.version, one.priority, one.source, one.profile.digest)
            for one in selection.selected
        ],
        skipped=selection.skipped,
        warnings=warnings,
        wishes=actions.wishes,
        kept_out=kept_out,
        changes=lambda: describe(found, tree, schema, written, paths) if found else (),
        overridden=overridden,
        storage=wanted(tree, actions, paths),
        unused=unused(tree, actions, paths),
        owned=lambda: _owned(tree, paths, overridden(), _conditions(selection, tree)),
    )


def _once(make: Callable[[], tuple[Any, ...]]) -> Callable[[], tuple[Any, ...]]:
    """Make it when it is first asked for."""
    made: list[tuple[Any, ...]] = []

    def get() -> tuple[Any, ...]:
        if not made:
            made.append(make())
        return made[0]

    return get


def _overridden(loss: Any, paths: Paths) -> Overridden:
    winner = loss.winners[0]
    by_definition = winner is THE_DEFINITION
    hints = [loss.note] if loss.note else []
    if by_definition and not loss.loser.is_default and not loss.final:
        hints.append(OVERRIDE_HINT)
    return Overridden(
        where(loss, paths),
        loss.wanted,
        loss.has,
        loss.loser.origin,
        DEFINITION if by_definition else winner.origin,
        "; ".join(hints),
    )


def _guest_abi(tree: WorkTree, schema: Any, found: Sequence[Difference], paths: Paths) -> list[Warning]:
    """What the guest sees of its machine was filled or changed on an existing VM."""
    if child(tree.root, "uuid") is None:
        return []
    warnings = []
    slots = schema.facts.abi_slots
    for one in found:
        if one.slot not in slots or (one.op == "remove" and not tree.stands(one.element)):
            continue
        node = paths.node(one.element)
        if node is None or one.slot not in node.abi:
            continue
        # of what there is one, model='none' is no device: it keeps libvirt's own away
        if _in_new_thing(tree, one.element, paths) and (node.many or one.after != "none"):
            continue
        path = paths.of(one.element, one.slot)
        warnings.append(
            Warning(
                "guest-abi",
                f"the guest will see another {path}:"
                f" {_quoted(one.before)} becomes {_quoted(one.after)}"
                f" ({one.owners[0].origin.profile})",
                str(one.owners[0].origin),
            )
        )
    return warnings


def _newer(found: Sequence[Difference], paths: Paths) -> list[Warning]:
    """What this host's libvirt does not know, and a newer one does: it would drop it silently."""
    warnings = []
    for one in found:
        node = paths.node(one.element)
        if one.op == "remove" or node is None or node.anything:
            continue
        if node.newer or (one.slot[:1] == "@" and one.slot[1:] not in node.attrs):
            where = str(one.owners[0].origin)
            path = paths.of(one.element, one.slot)
            warnings.append(Warning("newer", f"only a newer libvirt than this host's knows {path}", where))
    return warnings


def _quoted(value: str | None) -> str:
    return "nothing" if value is None else f"'{value}'"


def _in_new_thing(tree: WorkTree, element: Any, paths: Paths) -> bool:
    """Is it part of a device (or the like) that is new as a whole?"""
    while not tree.original(element):
        node = paths.node(element)
        parent = element.getparent()
        if node is not None and node.many or parent is not None and parent.tag == "devices":
            return True
        element = parent
    return False


def _no_effect(selection: Selection, actions: Actions) -> list[Warning]:
    """Profiles of which no wish took effect."""
    effective = {(one.origin.profile) for one in actions.effective}
    losers = {loss.loser.origin.profile for loss in actions.losses}
    return [
        Warning(
            "no-effect",
            f"profile '{one.name}' has no effect: all its wishes were kept out or overridden",
            one.profile.file,
        )
        for one in selection.selected
        if one.name in losers and one.name not in effective
    ]


def _conditions(selection: Selection, tree: WorkTree) -> dict[tuple[str, int], tuple[str, ...]]:
    """(profile, number of an action) -> its conditions, each with what it looked at."""
    from .facts import facts

    found = {}
    for one in selection.selected:
        profile = one.profile
        tests = [(match.test, f"{profile.file}:{match.line}") for match in profile.matches if match.test]
        for number, action in enumerate(profile.actions):
            mine = [*tests]
            if action.when is not None:
                mine.append((action.when, f"{action.file}:{action.line}"))
            told = []
            for text, place in mine:
                seen = ", ".join(facts(text, tree.root))
                told.append(f"{text} at {place}" + (f" ({seen})" if seen else ""))
            found[(profile.name, number)] = tuple(told)
    return found


def _owned(
    tree: WorkTree,
    paths: Paths,
    overridden: Sequence[Overridden],
    conditions: dict[tuple[str, int], tuple[str, ...]],
) -> list[Owned]:
    """Every value that a profile wants or wanted, for explanations."""
    losers: dict[str, list[Overridden]] = {}
    for loss in overridden:
        losers.setdefault(loss.path, []).append(loss)
    rows: list[Owned] = []
    for element in tree.root.iter("*"):
        for slot, owners in tree.claims.get(element, {}).items():
            if all(one is THE_DEFINITION or one is BOOKKEEPER for one in owners):
                continue
            if slot == PRESENCE and (element.attrib or text_of(element) is not None or len(element)):
                continue  # its values say it
            path = paths.of(element, slot)
            value = None
            if slot == TEXT:
                value = text_of(element)
            elif slot != PRESENCE:
                value = element.get(slot[1:])
                if value is None:
                    node = paths.node(element)
                    value = node.implied.get(slot) if node is not None else None
            claims = tuple(
                (
                    DEFINITION if one is THE_DEFINITION else one.origin,
                    one.priority,
                    one.constraint,
                )
                for one in owners
            )
            told = [text for one in owners for text in conditions.get((one.origin.profile, one.number), ())]
            rows.append(Owned(path, value, claims, tuple(losers.pop(path, ())), tuple(dict.fromkeys(told))))
    for path, losses in losers.items():
        winner = losses[0].winner
        who: Origin | str = winner
        rows.append(
            Owned(
                path,
                losses[0].has,
                ((who, THE_DEFINITION.priority, "soft"),) if who == DEFINITION else ((who, 0, ""),),
                tuple(losses),
            )
        )
    return rows
