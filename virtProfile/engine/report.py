# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run reports: the `Result` of a rendered tree, its warnings and who owns what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from virtProfile.engine.devices.storage import unused, wanted
from virtProfile.engine.guest_view import guest_view
from virtProfile.engine.selection.conflicts import where
from virtProfile.engine.tree.changes import Difference, describe
from virtProfile.engine.tree.ownership import BOOKKEEPER, THE_DEFINITION
from virtProfile.engine.tree.work_tree import WorkTree
from virtProfile.format.element import PRESENCE, TEXT, text_of
from virtProfile.format.paths import Paths
from virtProfile.language.instances import parts
from virtProfile.language.requests import Selected, Selection
from virtProfile.result import DEFINITION, Applied, Origin, Overridden, Owned, Result, Warning

if TYPE_CHECKING:
    from virtProfile.engine.actions.arbiter import Loss
    from virtProfile.engine.actions.perform import Actions
    from virtProfile.engine.selection.idle import Effects
    from virtProfile.engine.tree.splice import Written as Spliced
    from virtProfile.format.schema import Schema

OVERRIDE_HINT = "--override lets the profile win"


def report(
    xml: str,
    tree: WorkTree,
    schema: Schema,
    selection: Selection,
    actions: Actions,
    found: list[Difference],
    warnings: list[Warning],
    paths: Paths,
    written: Spliced | None,
    sketch: bool,
    effects: Effects,
) -> Result:
    text = xml if written is None else written.text
    kept_out = sum(1 for loss in actions.losses if loss.winners[0] is THE_DEFINITION and not loss.final)
    if schema.is_partial:
        warnings += _newer(found, paths)
    if not sketch:
        warnings += guest_view(tree, schema, found, paths)
    warnings += effects.warnings()
    writers = {owner for difference in found for owner in difference.owners}
    changing = {writer.origin.profile for writer in writers}
    overridden = _once(lambda: tuple(_overridden(loss, paths) for loss in actions.losses))
    return Result(
        text,
        xml,
        bool(found),
        applied=[_applied(chosen, chosen.name in changing, effects) for chosen in selection.selected],
        idle=effects.idle,
        skipped=selection.skipped,
        warnings=warnings,
        wishes=actions.wishes,
        kept_out=kept_out,
        changes=lambda: (
            describe(found, tree, schema, written, paths) if found and written is not None else ()
        ),
        count=len(found) if written is not None else 0,
        overridden=overridden,
        storage=wanted(tree, actions, paths),
        unused=unused(tree, actions, paths),
        owned=lambda: _owned(tree, paths, overridden(), _conditions(selection, tree)),
    )


def _applied(chosen: Selected, changes: bool, effects: Effects) -> Applied:
    name, instance = parts(chosen.name)
    effect = "changed" if changes else "held" if effects.by_profile.get(chosen.name) else "none"
    return Applied(
        name, chosen.profile.version, chosen.priority, chosen.source, chosen.profile.digest, instance, effect
    )


def _once(make: Callable[[], tuple[Any, ...]]) -> Callable[[], tuple[Any, ...]]:
    """Make it when it is first asked for."""
    made: list[tuple[Any, ...]] = []

    def get() -> tuple[Any, ...]:
        if not made:
            made.append(make())
        return made[0]

    return get


def _overridden(loss: Loss, paths: Paths) -> Overridden:
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


def _newer(found: Sequence[Difference], paths: Paths) -> list[Warning]:
    """What this host's libvirt does not know, and a newer one does: it would drop it silently."""
    warnings = []
    for difference in found:
        node = paths.node(difference.element)
        if difference.op == "remove" or node is None or node.anything:
            continue
        if node.newer or (difference.slot[:1] == "@" and difference.slot[1:] not in node.attrs):
            where = str(difference.owners[0].origin)
            path = paths.of(difference.element, difference.slot)
            warnings.append(
                Warning("newer", f"{path} is known only to a newer libvirt than this host's", where)
            )
    return warnings


def _conditions(selection: Selection, tree: WorkTree) -> dict[tuple[str, int], tuple[str, ...]]:
    """(profile, number of an action) -> its conditions, each with what it looked at."""
    from virtProfile.language.path_values import facts

    found = {}
    for chosen in selection.selected:
        profile = chosen.profile
        tests = [(match.test, f"{profile.file}:{match.line}") for match in profile.matches if match.test]
        for number, action in enumerate(profile.actions):
            conditions = [*tests]
            place = f"{action.file}:{action.line}"
            if action.when is not None and action.each is None:
                conditions.append((action.when, place))
            descriptions = []
            for text, at in conditions:
                seen = ", ".join(facts(text, tree.root))
                descriptions.append(f"{text} at {at}" + (f" ({seen})" if seen else ""))
            if action.each is not None:
                when = f" when {action.when}" if action.when is not None else ""
                descriptions.append(f"one of {action.each}{when} at {place}")
            found[(profile.name, number)] = tuple(descriptions)
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
            if all(owner is THE_DEFINITION or owner is BOOKKEEPER for owner in owners):
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
                    DEFINITION if owner is THE_DEFINITION else owner.origin,
                    owner.priority,
                    owner.constraint,
                )
                for owner in owners
            )
            texts = [
                text for owner in owners for text in conditions.get((owner.origin.profile, owner.number), ())
            ]
            rows.append(Owned(path, value, claims, tuple(losers.pop(path, ())), tuple(dict.fromkeys(texts))))
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
