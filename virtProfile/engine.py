# SPDX-License-Identifier: GPL-2.0-or-later
"""The flow on one screen: a domain and wishes for profiles in, a `Result` out.

Pure: no connection, no clock, no environment. The same call with the same
context gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import companions
from .bookkeeping import unlist, write_list, write_record
from .changes import BOOKKEEPER, Difference, describe, differences
from .complete import Completion
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
from .recommendations import recommended
from .record import Record, read_record
from .recording import keep_record
from .rendering import explain_conflicts, render, where
from .selector import Selection, Selector
from .splice import write
from .wishlist import read_list, read_requests, together
from .withdrawal import take_back, trust_store, withdrawer
from .worktree import PRESENCE, TEXT, WorkTree, child, text_of
from .xmltree import parse

if TYPE_CHECKING:
    from .actions import Actions
    from .selector import Selected
    from .store import ProfileStore
    from .wishlist import Request

OVERRIDE_HINT = "--override lets the profile win"
COMPLETE_HINT = "--complete fills in what it can"


def apply(
    xml: str,
    profiles: Iterable[str | Mapping[str, Any] | Request] = (),
    *,
    store: ProfileStore,
    context: Context | None = None,
    auto: bool = False,
    override: bool = False,
    complete: bool = False,
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
    :param complete: also give a sketch what a domain needs to be defined
    :param record: write the caller's profiles into the domain's list
    :param name: stands in messages for the domain's file
    :raises ProfileError: see the classes in `virtProfile.errors`
    """
    call = Call(
        xml, read_requests(profiles), store, context or Context(), name, auto, override, record,
        complete=complete,
    )  # fmt: skip
    return run(call)


class Call:
    """One call of the engine: what `apply` was asked, and what the life of a profile adds.

    :ivar withdraw: profiles that do not apply this time, whatever the list says
    :ivar exclude: they are kept out from now on
    :ivar everything: withdraw all, and ask the store for nothing
    :ivar complete: also give a sketch what a domain needs to be defined
    """

    __slots__ = (
        "xml", "requests", "store", "context", "name", "auto", "override", "record",
        "withdraw", "exclude", "everything", "complete",
    )  # fmt: skip

    def __init__(
        self,
        xml: str,
        requests: Sequence[Request],
        store: Any,
        context: Context,
        name: str = "<xml>",
        auto: bool = False,
        override: bool = False,
        record: bool = True,
        withdraw: frozenset[str] = frozenset(),
        exclude: bool = False,
        everything: bool = False,
        complete: bool = False,
    ) -> None:
        self.xml = xml
        self.requests = requests
        self.store = store
        self.context = context
        self.name = name
        self.auto = auto
        self.override = override
        self.record = record
        self.withdraw = withdraw
        self.exclude = exclude
        self.everything = everything
        self.complete = complete


def run(call: Call, keep_secrets: bool = True) -> Result:
    """The flow.

    :param keep_secrets: values whose secrets nobody gives stay as they are
    :raises ProfileError: see `apply`
    """
    xml, name, store, context = call.xml, call.name, call.store, call.context
    document = parse(xml, name=name)
    if document.root.tag != "domain":
        raise InvalidDomainError(
            f"the root element is '{document.root.tag}', not 'domain'",
            hint="libvirt domain XML was expected, as 'virsh dumpxml' prints it",
            where=f"{name}:{document.root.sourceline}",
        )
    entries = read_list(document)
    before = read_record(document)
    guest = None if call.everything else recommended(document)
    nobody = not call.requests and not entries and not call.auto and guest is None and not call.complete
    if nobody and before is None and not call.withdraw:
        return Result(xml, xml, False)
    schema = context.domain_schema
    with store.one_look():
        wanted = [] if call.everything else entries
        selector = Selector(store, call.requests, wanted, call.override, call.auto, guest, call.withdraw)
        tree = WorkTree(document)
        completion = Completion(schema, context, whole=call.complete)
        taken = None
        if before is not None:
            tree.bury(before.element, [BOOKKEEPER], None)  # no condition sees it
            kept = selector.kept_secrets() if keep_secrets else frozenset()
            taken = take_back(tree, schema, before, trust_store(store, schema), lambda one: one.name in kept)
        conditions = Conditions(schema, context, document, before)
        fixpoint = Fixpoint(tree, selector, conditions, completion.run)
        state = fixpoint.run()
    if state is None:
        raise fixpoint.cycle()
    if taken is not None and any(one.profile.name not in state.selected for one in taken.kept):
        return run(call, keep_secrets=False)  # who kept them is off the list
    selection = fixpoint.selection(state)
    actions = fixpoint.actions
    if actions.errors:
        raise together(actions.errors)
    problem = explain_conflicts(
        tree,
        schema,
        selection.selected,
        fixpoint.prepare,
        actions,
        Paths,
        fixpoint.clashes(state),
        completion.run,
    )
    if problem is not None:
        raise problem
    if before is not None:
        companions.part(tree, before, withdrawer)
    if actions.unmet:
        raise together(actions.unmet)
    found = differences(tree)
    warnings = list(selection.warnings)
    if before is not None and taken is not None:
        warnings += [*before.warnings, *taken.warnings]
    if found:
        warnings += _validate(tree, schema, found, selection.selected, fixpoint.prepare, name, completion)
    mark = tree.mark()
    paths = Paths(tree.root, schema)
    after = None
    if call.record:
        after = keep_record(
            tree,
            selection.selected,
            paths,
            before,
            taken,
            selector.listed(),
            selector.ours(before),
            selector.secret_values(),
            fixpoint.conditions.is_sketch_for,
        )
        write_list(tree, schema, selection)
    if call.withdraw:
        stay = unlist(tree, schema, entries, sorted(call.withdraw), call.exclude, before or Record())
        warnings += [_stays(one) for one in stay]
    if after is not None or before is not None:
        write_record(tree, schema, before, after)
    paths = Paths(tree.root, schema)
    written = write(tree) if found or tree.mark() != mark else None
    sketch = fixpoint.conditions.sketch
    return _report(xml, tree, schema, selection, actions, found, warnings, paths, written, sketch)


def _stays(name: str) -> Warning:
    return Warning(
        "listed",
        f"profile '{name}' stands in the VM's own list: the next apply brings it back"
        " (--exclude keeps it out)",
    )


def _validate(
    tree: WorkTree,
    schema: Any,
    found: Sequence[Difference],
    selected: Sequence[Selected],
    prepare: Any,
    name: str,
    completion: Completion,
) -> list[Warning]:
    """Valid in, valid out; what only lacks something is a warning.

    :raises InvalidDomainError: naming the profile
    """
    problems, left_out = validate(tree, schema, found)
    hint = "" if completion.whole else COMPLETE_HINT
    lacking = incomplete(tree, schema, None if problems else left_out, hint)
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
        render(tree, schema, rest, prepare, completion.run)
        if not schema.validate(tree.root):
            culprits.append(f"{one.name} {one.profile.version} ({one.profile.file})")
    render(tree, schema, selected, prepare, completion.run)
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
