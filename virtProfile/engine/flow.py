# SPDX-License-Identifier: GPL-2.0-or-later
"""The flow on one screen: a domain and wishes for profiles in, a `Result` out.

Pure: no connection, no clock, no environment. The same call with the same
context gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from virtProfile.engine.devices import storage
from virtProfile.engine.devices.complete import Completion
from virtProfile.engine.devices.workspace import Maker
from virtProfile.engine.record import companions
from virtProfile.engine.record.collect import keep_record
from virtProfile.engine.record.metadata import hide_bookkeeping, unlist, write_list, write_record
from virtProfile.engine.record.model import Record, Trust, read_record
from virtProfile.engine.report import report
from virtProfile.engine.selection.conditions import Conditions
from virtProfile.engine.selection.conflicts import explain_conflicts
from virtProfile.engine.selection.fixpoint import Fixpoint, State
from virtProfile.engine.selection.idle import Effects
from virtProfile.engine.selection.selector import Selector
from virtProfile.engine.selection.validity import check_valid
from virtProfile.engine.tree.changes import Difference, differences
from virtProfile.engine.tree.ownership import BOOKKEEPER
from virtProfile.engine.tree.splice import write
from virtProfile.engine.tree.work_tree import WorkTree
from virtProfile.errors import InvalidDomainError, ProfileError, together
from virtProfile.format.document import parse
from virtProfile.format.element import PRESENCE, Element
from virtProfile.format.paths import Paths
from virtProfile.format.repeated import refuse_repeated
from virtProfile.format.secret_slots import secret_places
from virtProfile.host.context import Context
from virtProfile.host.osinfo import guest_entry
from virtProfile.language.profile import Kind, Multiple
from virtProfile.language.requests import read_list, read_requests
from virtProfile.result import Result, Warning

if TYPE_CHECKING:
    from virtProfile.engine.actions.perform import Actions
    from virtProfile.engine.record.model import Written
    from virtProfile.engine.record.withdraw import TakenBack
    from virtProfile.engine.selection.conditions import Verdict
    from virtProfile.format.document import Document
    from virtProfile.format.element import Element
    from virtProfile.language.requests import Request, Selected, Selection
    from virtProfile.language.store import Store


def apply(
    xml: str,
    profiles: Iterable[str | Mapping[str, Any] | Request] = (),
    *,
    store: Store,
    context: Context | None = None,
    auto: bool = False,
    override: bool = False,
    complete: bool = False,
    record: bool = True,
    trust: Trust | str = Trust.RECORD,
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
    :param trust: how far the record in the domain is believed, see `engine.record.trust`
    :param name: stands in messages for the domain's file
    :raises ProfileError: see the classes in `virtProfile.errors`
    """
    call = Call(
        xml, read_requests(profiles), store, context or Context(), name, auto, override, record,
        complete=complete, trust=Trust(trust),
    )  # fmt: skip
    return run(call)


class Call:
    """One call of the engine: what `apply` was asked, and what the life of a profile adds.

    :ivar auto: select those that select themselves: all, or only those of these names
    :ivar withdraw: profiles that do not apply this time, whatever the list says
    :ivar exclude: they are kept out from now on
    :ivar everything: withdraw all, and ask the store for nothing
    :ivar trust: how far the record is believed
    :ivar complete: also give a sketch what a domain needs to be defined; `maker`: see `Completion`
    :ivar advise: try what would settle a conflict, for the error's hint
    """

    __slots__ = (
        "xml", "requests", "store", "context", "name", "auto", "override", "record",
        "withdraw", "exclude", "everything", "complete", "maker", "trust", "advise",
    )  # fmt: skip

    def __init__(
        self,
        xml: str,
        requests: Sequence[Request],
        store: Store,
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
        trust: Trust = Trust.RECORD,
        advise: bool = True,
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
        self.trust = trust
        self.advise = advise


def run(call: Call, keep_secrets: bool = True) -> Result:
    """The flow, and that nothing it reports holds a secret.

    :param keep_secrets: values whose secrets nobody gives stay as they are
    :raises ProfileError: see `apply`
    """
    domain = _Domain(call)
    if domain.is_left_alone(call):
        return Result(call.xml, call.xml, False)
    schema = call.context.domain_schema
    refuse_repeated(domain.document.root, schema.root, call.name)
    work = _Work(call, domain)
    with work.without_secrets(), call.store.one_look():
        work.select_profiles()
        work.take_back_previous_run(keep_secrets)
        work.render_until_stable()
    if work.kept_for_nobody():
        return run(call, keep_secrets=False)
    with work.without_secrets():
        work.refuse_conflicts()
        work.join_previous_run()
        work.refuse_unmet_needs()
        work.validate()
        work.judge_checks()
        work.write_metadata()
        return work.report()


class _Domain:
    """The domain as it is given: its document, its list of profiles and its record.

    :raises InvalidDomainError: it is no domain
    """

    __slots__ = ("document", "entries", "record", "guest_profile")

    def __init__(self, call: Call) -> None:
        self.document = parse(call.xml, name=call.name)
        root = self.document.root
        if root.tag != "domain":
            raise InvalidDomainError(
                f"the root element is '{root.tag}', not 'domain'",
                hint="give libvirt domain XML, as 'virsh dumpxml' prints it",
                where=f"{call.name}:{root.sourceline}",
            )
        self.entries = read_list(self.document)
        self.record = read_record(self.document)
        self.guest_profile = None if call.everything else _recommended(self.document)

    def is_left_alone(self, call: Call) -> bool:
        """Does nobody want anything of it, and did nobody before?"""
        wanted = call.requests or call.auto or call.complete or call.withdraw
        return not wanted and not self.entries and self.guest_profile is None and self.record is None


def _recommended(document: Document) -> Selected | None:
    """See `osinfo_defaults.recommended`, which few domains need."""
    if guest_entry(document.root) is None:
        return None
    from virtProfile.engine.selection.osinfo_defaults import recommended

    return recommended(document)


class _Work:
    """The steps of one run, in the order in which `run` takes them."""

    selector: Selector
    fixpoint: Fixpoint
    state: State | None
    selection: Selection
    actions: Actions
    verdicts: Mapping[tuple[str, int], Verdict]

    def __init__(self, call: Call, domain: _Domain) -> None:
        self.call = call
        self.document = domain.document
        self.entries = domain.entries
        self.guest_profile = domain.guest_profile
        self.before = domain.record
        self.schema = call.context.domain_schema
        self.tree = WorkTree(domain.document)
        self.completion = Completion(self.schema, call.context, whole=call.complete, maker=call.maker)
        #: the domain's secrets, and values of secret params, also those that the VM has
        self.secrets = [value for _, _, value in secret_places(self.document.root)]
        self.conditions = Conditions(self.schema, call.context, self.document, self.before)
        #: what apply made in the metadata, while conditions are judged
        self.hidden: list[Element] = []
        self.taken: TakenBack | None = None
        self.found: list[Difference] = []
        self.warnings: list[Warning] = []
        self.unwritten: int | None = None
        self.after: Record | None = None
        #: what is written into a new record
        self.parts: dict[Element, list[Written]] = {}

    @contextmanager
    def without_secrets(self) -> Iterator[None]:
        """No error that leaves this shows a secret."""
        try:
            yield
        except ProfileError as problem:
            from virtProfile.redaction import veil_error, without

            raise veil_error(without(problem, self.all_secrets())) from None

    def all_secrets(self) -> list[str]:
        """Also what expressions made of them."""
        return [*self.secrets, *self.conditions.tainted]

    def select_profiles(self) -> None:
        """Which profiles the caller, the domain's list and the guest OS ask for."""
        call = self.call
        wanted = [] if call.everything else self.entries
        self.selector = Selector(
            call.store, call.requests, wanted, call.override, call.auto, self.guest_profile, call.withdraw
        )
        self.secrets += [value for value in self.selector.secret_values() if value]

    def take_back_previous_run(self, keep_secrets: bool) -> None:
        """The definition becomes what it would be without the profiles of the record."""
        before, tree, schema = self.before, self.tree, self.schema
        if before is None:
            return
        for element in (before.element, *before.others):
            tree.bury(element, [BOOKKEEPER], None)  # no condition sees it
        self.hidden = hide_bookkeeping(tree, before)
        from virtProfile.engine.record.trust import Judge
        from virtProfile.engine.record.withdraw import hidden_values, take_back

        kept = self.selector.kept_secrets() if keep_secrets else frozenset()
        self.secrets += hidden_values(tree.root, schema, before)
        judge = Judge(self.call.store, schema, self.call.trust)
        self.taken = take_back(
            tree, schema, before, judge, lambda profile: profile.name in kept, keep_secrets
        )

    def render_until_stable(self) -> None:
        """Select, act and complete until the selection no longer changes.

        :raises ProfileError: it never comes to rest
        """
        self.conditions.use_definition(partial(_definition, self.call))
        machine = self._settle_machine(self.conditions)
        self.fixpoint = Fixpoint(self.tree, self.selector, self.conditions, self.completion)
        self.state = self.fixpoint.run()
        if machine and not self._is_wanted(machine):
            self.completion.settled = {}
            self.state = self.fixpoint.run()

    def _settle_machine(self, conditions: Conditions) -> dict[str, str]:
        """What profiles make of a sketch's machine, before a whole guest is completed for it.

        Else the drives and controllers of another machine would decide about these profiles.
        """
        kind = self.tree.root.find("os/type")
        completion = self.completion
        if not completion.whole or completion.maker is not None:
            return {}
        if kind is not None and kind.get("machine") is not None:
            return {}
        completion.whole = False
        try:
            state = Fixpoint(self.tree, self.selector, conditions, completion).run()
        except ProfileError:
            state = None  # the whole run reports it
        finally:
            completion.whole = True
        kind = self.tree.root.find("os/type")
        if state is None or kind is None or kind.get("machine") is None:
            return {}
        completion.settled = {
            name: value for name in ("arch", "machine") if (value := kind.get(name)) is not None
        }
        return completion.settled

    def _is_wanted(self, machine: dict[str, str]) -> bool:
        """Is there a profile that wants the machine that was settled?"""
        kind = self.tree.root.find("os/type")
        if kind is None or kind.get("machine") != machine["machine"]:
            return False
        return any(owner.origin.action != "complete" for owner in self.tree.owners(kind, "@machine"))

    def kept_for_nobody(self) -> bool:
        """Were secrets kept of a profile that is no longer selected?"""
        if self.taken is None or self.state is None:
            return False
        selected = self.state.selected
        return any(located.profile.name not in selected for located in self.taken.kept)

    def refuse_conflicts(self) -> None:
        """All conflicts of the selection at once.

        :raises ProfileError: what was selected cannot hold together
        """
        if self.state is None:
            raise self.fixpoint.unstable()
        self.selection = self.fixpoint.selection(self.state)
        self.actions = self.fixpoint.actions
        self.verdicts = self.state.verdicts
        if self.actions.errors:
            raise together(self.actions.errors)
        problem = explain_conflicts(
            self.tree,
            self.schema,
            self.selection.selected,
            self.fixpoint.prepare,
            self.actions,
            Paths,
            self.fixpoint.clashes(self.state),
            self.completion.run,
            self.call.advise,
        )
        if problem is not None:
            raise problem

    def join_previous_run(self) -> None:
        """What libvirt or a person wrote beside the previous run keeps its place and spelling."""
        for element in reversed(self.hidden):
            if element in self.tree.graves:
                self.tree.revive(element, BOOKKEEPER)
        if self.before is not None:
            from virtProfile.engine.record.spelling import respell
            from virtProfile.engine.record.withdraw import withdrawer

            companions.part(self.tree, self.before, withdrawer)
            respell(self.tree, Paths(self.tree.root, self.schema))

    def refuse_unmet_needs(self) -> None:
        """Devices that lack what they cannot work without.

        :raises ProfileError: a device lacks what it cannot work without
        """
        storage.check(self.tree, self.actions)
        if self.actions.unmet:
            raise together(self.actions.unmet)

    def validate(self) -> None:
        """What libvirt would not take any more.

        :raises InvalidDomainError: libvirt would not take the domain any more
        """
        self.found = differences(self.tree)
        self.warnings += self.selection.warnings
        if self.before is not None and self.taken is not None:
            from virtProfile.engine.record.withdraw import without_their_secrets

            self.warnings += [*self.before.warnings, *self.taken.warnings]
            versions = {chosen.name: chosen.profile.version for chosen in self.selection.selected}
            self.warnings += without_their_secrets(
                self.tree, self.taken, lambda profile: versions.get(profile.name) == profile.version
            )
        if self.found:
            self.warnings += check_valid(
                self.tree,
                self.schema,
                self.found,
                self.selection.selected,
                self.fixpoint.prepare,
                self.call.name,
                self.completion,
                self.call.trust is Trust.ALL,
            )

    def judge_checks(self) -> None:
        """What the selected profiles assert of the finished document.

        :raises ProfileError: checks of severity error that fail
        """
        selected = self.selection.selected
        if any(action.kind is Kind.CHECK for chosen in selected for action in chosen.profile.actions):
            from virtProfile.engine.selection import checks

            self.warnings += checks.judge(self.tree, selected, self.fixpoint.conditions)

    def write_metadata(self) -> None:
        """The list of profiles and the record of what they did."""
        call, tree, schema, before = self.call, self.tree, self.schema, self.before
        self.unwritten = tree.mark()
        if call.record:
            self.after = keep_record(
                tree,
                self.selection.selected,
                Paths(tree.root, schema),
                before,
                self.taken,
                self.selector.listed(),
                self.selector.ours(before),
                [*self.selector.secret_values(), *self.conditions.tainted],
                self.conditions.is_sketch_for,
                self.warnings,
                tree.root.find("os/type") if self.completion.settled else None,
                self.actions.remover.left_nothing(),
            )
            write_list(tree, schema, self.selection)
        elif not call.withdraw:
            self.warnings += _appended_without_record(tree, self.actions)
        if call.withdraw:
            names = sorted(call.withdraw)
            stay = unlist(tree, schema, self.entries, names, call.exclude, before or Record())
            self.warnings += [_stays(name) for name in stay]
        if self.after is not None or before is not None:
            self.parts = write_record(tree, schema, before, self.after, bool(self.found))

    def report(self) -> Result:
        """The output, the changes and their origins, the warnings."""
        tree = self.tree
        paths = Paths(tree.root, self.schema)
        result = report(
            self.call.xml,
            tree,
            self.schema,
            self.selection,
            self.actions,
            self.found,
            self.warnings,
            paths,
            write(tree, self.parts) if self._is_changed() else None,
            self.fixpoint.conditions.sketch,
            Effects(
                self.selection.selected, self.actions, self.verdicts, paths, self.fixpoint.conditions.why
            ),
        )
        result.secrets = tuple(self.all_secrets())
        if result.secrets:
            from virtProfile.redaction import veil_prose

            veil_prose(result)
        result.veil = _veil
        return result

    def _is_changed(self) -> bool:
        before = self.before
        unrecorded = before is not None and (before.element in self.tree.graves or bool(before.others))
        return bool(self.found) or unrecorded or self.tree.mark() != self.unwritten


def _veil(result: Result) -> Result:
    from virtProfile.redaction import veil_result  # only what is shown needs it

    return veil_result(result)


def _definition(call: Call) -> Element:
    """The root of the definition as it is without any profile, in a document of its own."""
    work = _Work(call, _Domain(call))
    work.take_back_previous_run(keep_secrets=False)
    return work.tree.root


def _appended_without_record(tree: WorkTree, actions: Actions) -> list[Warning]:
    """What every apply appends again, as no record says that it is there (invariant I2)."""
    makers = set(tree.created.values())
    for element in tree.revived:
        makers.update(tree.owners(element, PRESENCE))
    places: dict[str, str] = {}
    for step in actions.steps:
        if step.action.multiple == Multiple.YES and step.writer in makers:
            places.setdefault(step.writer.origin.profile, str(step.writer.origin))
    return [
        Warning(
            "record",
            f"without a record, the next apply adds again what profile '{name}' adds with multiple='yes'",
            place,
        )
        for name, place in places.items()
    ]


def _stays(name: str) -> Warning:
    return Warning(
        "listed",
        f"profile '{name}' is in the VM's own list: the next apply adds it again (--exclude keeps it out)",
    )
