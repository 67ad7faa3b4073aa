# SPDX-License-Identifier: GPL-2.0-or-later
"""The flow on one screen: a domain and wishes for profiles in, a `Result` out.

Pure: no connection, no clock, no environment. The same call with the same
context gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import companions, storage
from .bookkeeping import unlist, write_list, write_record
from .changes import BOOKKEEPER, Difference, differences
from .complete import Completion, Maker
from .conditions import Conditions
from .context import Context
from .errors import InvalidDomainError, ProfileError
from .fixpoint import Fixpoint
from .judging import blame, incomplete, overlapping, unfit, validate
from .paths import Paths
from .provenance import (
    Result,
    Warning,
)
from .recommendations import recommended
from .record import Record, read_record
from .recording import keep_record
from .rendering import explain_conflicts, render
from .reporting import report
from .respelling import respell
from .selector import Selector
from .splice import write
from .wishlist import read_list, read_requests, together
from .withdrawal import hidden_values, take_back, trust_store, withdrawer
from .worktree import WorkTree
from .xmltree import parse

if TYPE_CHECKING:
    from .selector import Selected
    from .store import ProfileStore
    from .wishlist import Request

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

    :ivar auto: select those that select themselves: all, or only those of these names
    :ivar withdraw: profiles that do not apply this time, whatever the list says
    :ivar exclude: they are kept out from now on
    :ivar everything: withdraw all, and ask the store for nothing
    :ivar complete: also give a sketch what a domain needs to be defined; `maker`: see `Completion`
    """

    __slots__ = (
        "xml", "requests", "store", "context", "name", "auto", "override", "record",
        "withdraw", "exclude", "everything", "complete", "maker",
    )  # fmt: skip

    def __init__(
        self,
        xml: str,
        requests: Sequence[Request],
        store: Any,
        context: Context,
        name: str = "<xml>",
        auto: bool | frozenset[str] = False,
        override: bool = False,
        record: bool = True,
        withdraw: frozenset[str] = frozenset(),
        exclude: bool = False,
        everything: bool = False,
        complete: bool = False,
        maker: Maker | None = None,
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
        self.maker = maker


def run(call: Call, keep_secrets: bool = True) -> Result:
    """The flow, and that nothing it tells holds a secret.

    :param keep_secrets: values whose secrets nobody gives stay as they are
    :raises ProfileError: see `apply`
    """
    secrets: list[str] = []
    try:
        result = _run(call, keep_secrets, secrets)
    except ProfileError as problem:
        if not secrets:
            raise
        from .secrecy import without

        raise without(problem, secrets) from None
    result.secrets = tuple(secrets)
    return result


def _run(call: Call, keep_secrets: bool, secrets: list[str]) -> Result:
    """:param secrets: gets the values of secret params, also those that the VM has"""
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
        secrets += [one for one in selector.secret_values() if one]
        tree = WorkTree(document)
        completion = Completion(schema, context, whole=call.complete, maker=call.maker)
        taken = None
        if before is not None:
            for one in (before.element, *before.others):
                tree.bury(one, [BOOKKEEPER], None)  # no condition sees it
            kept = selector.kept_secrets() if keep_secrets else frozenset()
            secrets += hidden_values(tree.root, schema, before)
            taken = take_back(tree, schema, before, trust_store(store, schema), lambda one: one.name in kept)
        fixpoint = Fixpoint(tree, selector, Conditions(schema, context, document, before), completion)
        state = fixpoint.run()
    if state is None:
        raise fixpoint.unstable()
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
        respell(tree, Paths(tree.root, schema))
    storage.check(tree, actions)
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
        write_record(tree, schema, before, after, bool(found))
    paths = Paths(tree.root, schema)
    unrecorded = before is not None and (before.element in tree.graves or bool(before.others))
    written = write(tree) if found or unrecorded or tree.mark() != mark else None
    sketch = fixpoint.conditions.sketch
    return report(xml, tree, schema, selection, actions, found, warnings, paths, written, sketch)


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
    clash = overlapping(tree, schema)
    if clash is not None:
        raise clash
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
    render(tree, schema, [], prepare, completion.run)
    by_record = not culprits and bool(schema.validate(tree.root))
    render(tree, schema, selected, prepare, completion.run)
    who = " or ".join(culprits) or "the profiles together"
    hint = "virt-profile --lint tells what is wrong inside a profile"
    if by_record:
        who = "what the record of profiles says taken back"
        hint = "the record is not what virt-profile wrote: take it out of the metadata to begin anew"
    raise InvalidDomainError(
        f"with {who} the domain would not be valid: {told}",
        hint=hint,
        where=name,
    )
