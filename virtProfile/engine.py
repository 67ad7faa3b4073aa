# SPDX-License-Identifier: GPL-2.0-or-later
"""The flow on one screen: a domain and wishes for profiles in, a `Result` out.

Pure: no connection, no clock, no environment. The same call with the same
context gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .bookkeeping import write_list
from .changes import BOOKKEEPER, Difference, describe, differences, stands
from .conditions import Conditions
from .context import Context
from .errors import InvalidDomainError
from .fixpoint import Fixpoint
from .judging import blame, incomplete, unfit, validate
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
from .rendering import explain_conflicts, render, where
from .selector import Selection, Selector, read_list, read_requests, together
from .splice import write
from .worktree import PRESENCE, TEXT, WorkTree, child, text_of
from .xmltree import parse

if TYPE_CHECKING:
    from .actions import Actions
    from .selector import Request, Selected
    from .store import ProfileStore

OVERRIDE_HINT = "--override lets the profile win"


def apply(
    xml: str,
    profiles: Iterable[str | Mapping[str, Any] | Request] = (),
    *,
    store: ProfileStore,
    context: Context | None = None,
    auto: bool = False,
    override: bool = False,
    record: bool = True,
    name: str = "<xml>",
) -> Result:
    """Apply the profiles that the domain's metadata and the caller name.

    :param xml: libvirt domain XML, complete or a sketch
    :param profiles: names, or mappings with "name" and optional "priority",
        "version", "params"
    :param store: where profiles are found
    :param context: what is known besides the domain
    :param auto: also select the profiles that select themselves
    :param override: priority 100 for every profile of the caller that names none
    :param record: write the caller's profiles into the domain's list
    :param name: stands in messages for the domain's file
    :raises ProfileError: see the classes in `virtProfile.errors`
    """
    context = context or Context()
    document = parse(xml, name=name)
    if document.root.tag != "domain":
        raise InvalidDomainError(
            f"the root element is '{document.root.tag}', not 'domain'",
            hint="libvirt domain XML was expected, as 'virsh dumpxml' prints it",
            where=f"{name}:{document.root.sourceline}",
        )
    requests = read_requests(profiles)
    entries = read_list(document)
    if not requests and not entries and not auto:
        return Result(xml, xml, False)
    schema = context.domain_schema
    with store.one_look():
        selector = Selector(store, requests, entries, override, auto)
        tree = WorkTree(document)
        fixpoint = Fixpoint(tree, selector, Conditions(schema, context, document))
        state = fixpoint.run()
    if state is None:
        raise fixpoint.cycle()
    selection = fixpoint.selection(state)
    actions = fixpoint.actions
    if actions.errors:
        raise together(actions.errors)
    problem = explain_conflicts(
        tree, schema, selection.selected, fixpoint.prepare, actions, Paths, fixpoint.clashes(state)
    )
    if problem is not None:
        raise problem
    found = differences(tree)
    warnings = list(selection.warnings)
    if found:
        warnings += _validate(tree, schema, found, selection.selected, fixpoint.prepare, name)
    booked = record and write_list(tree, schema, selection)
    paths = Paths(tree.root, schema)
    written = write(tree) if found or booked else None
    sketch = fixpoint.conditions.sketch
    return _report(xml, tree, schema, selection, actions, found, warnings, paths, written, sketch)


def _validate(
    tree: WorkTree,
    schema: Any,
    found: Sequence[Difference],
    selected: Sequence[Selected],
    prepare: Any,
    name: str,
) -> list[Warning]:
    """Valid in, valid out; what only lacks something is a warning.

    :raises InvalidDomainError: naming the profile
    """
    problems, left_out = validate(tree, schema, found)
    lacking = incomplete(tree, schema, None if problems else left_out)
    if not problems:
        return lacking
    source = parse(tree.document.text)
    if schema.validate(source.root):
        return lacking  # it was not valid before either
    if lacking and unfit(tree, schema, found) is None:
        return lacking
    guilty = blame(tree, schema, found)
    told = problems[0]
    if guilty is not None:
        path = Paths(tree.root, schema).of(guilty.element, guilty.slot)
        has = "" if guilty.after is None else f"='{guilty.after}'"
        told = f"libvirt's schema does not take {path}{has} there"
    culprits = []
    for one in selected:
        rest = [other for other in selected if other is not one]
        render(tree, schema, rest, prepare)
        if not schema.validate(tree.root):
            culprits.append(f"{one.name} {one.profile.version} ({one.profile.file})")
    render(tree, schema, selected, prepare)
    who = " or ".join(culprits) or "the profiles together"
    raise InvalidDomainError(
        f"with {who} the domain would not be valid: {told}",
        hint="virt-profile --lint tells what is wrong inside a profile",
        where=name,
    )


def _report(
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
    kept_out = sum(1 for loss in actions.losses if loss.winners[0] is THE_DEFINITION)
    if schema.is_partial:
        warnings += _newer(found, paths)
    if not sketch:
        warnings += _guest_abi(tree, found, paths)
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
        owned=lambda: _owned(tree, paths, overridden()),
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
    if by_definition and not loss.loser.is_default:
        hints.append(OVERRIDE_HINT)
    return Overridden(
        where(loss, paths),
        loss.wanted,
        loss.has,
        loss.loser.origin,
        DEFINITION if by_definition else winner.origin,
        "; ".join(hints),
    )


def _guest_abi(tree: WorkTree, found: Sequence[Difference], paths: Paths) -> list[Warning]:
    """What the guest sees of its machine was filled or changed on an existing VM."""
    if child(tree.root, "uuid") is None:
        return []
    warnings = []
    for one in found:
        if one.op == "remove" and not stands(tree, one.element):
            continue
        node = paths.node(one.element)
        if node is None or one.slot not in node.abi or _in_new_thing(tree, one.element, paths):
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
        if node is not None and node.many:
            return True
        element = element.getparent()
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


def _owned(tree: WorkTree, paths: Paths, overridden: Sequence[Overridden]) -> list[Owned]:
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
            rows.append(Owned(path, value, claims, tuple(losers.pop(path, ()))))
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
