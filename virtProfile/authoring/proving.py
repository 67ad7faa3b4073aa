# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs tests of profiles: each as it says, a second time, in reverse order, and taken back.

Failures are reported in words, and at the end the actions that no test made effective.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from virtProfile.authoring.cases import Case, Disk, read_cases
from virtProfile.authoring.compare import gaps
from virtProfile.engine import flow, lifecycle
from virtProfile.engine.selection.checks import hint
from virtProfile.engine.selection.judged import Judged
from virtProfile.errors import CheckError, MissingContextError, ProfileError
from virtProfile.files import write_whole
from virtProfile.format.document import RECORD_NS, parse
from virtProfile.format.element import read
from virtProfile.format.secret_slots import is_secret
from virtProfile.frozen import record
from virtProfile.host.context import Context
from virtProfile.language.profile import Kind, Profile
from virtProfile.redaction import veil_error
from virtProfile.show.terminal import lost_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from virtProfile.authoring.cases import Files, Reported
    from virtProfile.language.profile import Action
    from virtProfile.language.store import Store
    from virtProfile.result import Result, Skipped, Warning

#: How many notes a test that failed has at most.
MAX_NOTES = 5
#: An action: file, line, kind.
Place = tuple[str, int, str]


@record
class Failure:
    """What a test expected and did not get, with the line that says it."""

    message: str
    line: int


@record
class Outcome:
    """How a test ended; one without a name stands for a file that cannot be read.

    :ivar notes: of a test that failed, what the profiles wished in vain
    """

    name: str
    file: str
    line: int
    failures: tuple[Failure, ...]
    updated: str = ""
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        failures = [{"message": row.message, "line": row.line} for row in self.failures]
        status = "failed" if self.failures else "passed"
        row: dict[str, Any] = {
            "name": self.name, "file": self.file, "line": self.line, "status": status, "failures": failures,
        }  # fmt: skip
        return {**row, "notes": list(self.notes)} if self.notes else row


@record
class Uncovered:
    """An action of a tested profile that no test made effective."""

    profile: str
    version: str
    action: str
    file: str
    line: int

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__match_args__}


@record
class Proof:
    """How the tests of a file ended, which profiles they tested and which actions were effective."""

    outcomes: tuple[Outcome, ...]
    tested: tuple[Profile, ...]
    effective: frozenset[Place]


class Prover:
    """Runs the tests of some files, and knows what they covered.

    :param store_of: gives the profiles that the tests of a directory apply
    :param update: write the files of ``<result>`` instead of comparing with them
    :param beside: directories of tested profiles, besides that of the tests
    :param files: where the tests are, and what they name; None is the disk
    :param trust: how far records in domains are believed; None as much as on the command line
    :param judge: sees each result first, and may raise a `ProfileError`
    """

    def __init__(
        self,
        store_of: Callable[[str], Store],
        update: bool = False,
        beside: Iterable[str] = (),
        *,
        files: Files | None = None,
        trust: str | None = None,
        judge: Callable[[Result], object] | None = None,
    ) -> None:
        self._store_of = store_of
        self._beside = frozenset(map(os.path.abspath, beside))
        self._stores: dict[str, Store] = {}
        self._update = update
        self._files = files or Disk()
        self._trust = trust
        self._judge = judge
        self._contexts: dict[tuple[str, tuple[tuple[str, str], ...]], Context] = {}
        self._tested: dict[tuple[str, str], Profile] = {}
        self._effective: set[Place] = set()

    def run(self, files: Iterable[str]) -> Iterator[Outcome]:
        """The outcome of each test, as soon as it is known."""
        for file in files:
            directory = os.path.dirname(os.path.abspath(file))
            if directory not in self._stores:
                self._stores[directory] = self._store_of(directory)
            store = self._stores[directory]
            try:
                cases = read_cases(file, self._files)
            except ProfileError as problem:
                rows = [veil_error(row) for row in (problem, *problem.others)]
                yield Outcome(
                    "", file, _line(problem), tuple(Failure(_said(row), _line(row)) for row in rows)
                )
                continue
            with store.one_look():
                for case in cases:
                    yield self._outcome(case, store, directory)

    def run_case(self, case: Case, context: Context) -> Outcome:
        """The outcome of a test that no file has, with a context of its own."""
        directory = os.getcwd()  # of profiles that no file has
        return self._outcome(case, self._store_of(directory), directory, context)

    def uncovered(self) -> list[Uncovered]:
        """Actions of tested profiles that no test made effective, in the order of files and lines."""
        found = [
            Uncovered(profile.name, profile.version, str(action.kind), action.file, action.line)
            for profile in self._tested.values()
            for action in profile.actions
            if _place(action) not in self._effective
        ]
        return sorted(found, key=lambda row: (row.file, row.line))

    def covered(self) -> tuple[int, int]:
        """How many actions of tested profiles were effective, of how many."""
        total = sum(len(profile.actions) for profile in self._tested.values())
        return total - len(self.uncovered()), total

    def merge(self, other: Proof) -> None:
        """What the tests of another file covered, run elsewhere."""
        self._tested.update({(row.file, f"{row.name} {row.version}"): row for row in other.tested})
        self._effective |= other.effective

    def proof(self, outcomes: Iterable[Outcome]) -> Proof:
        """All that is known here, for `merge` elsewhere."""
        return Proof(tuple(outcomes), tuple(self._tested.values()), frozenset(self._effective))

    # --- one test ------------------------------------------------------------------

    def _outcome(self, case: Case, store: Store, directory: str, context: Context | None = None) -> Outcome:
        trial = _Trial(case, store, self._update, self._files, self._trust, self._judge)
        try:
            trial.run(self._context(case) if context is None else context)
        except ProfileError as problem:
            for row in map(veil_error, (problem, *problem.others)):
                trial.fail(_said(row) + (f" ({row.hint})" if row.hint else ""))
        self._effective |= trial.effective
        for profile in trial.profiles:
            if os.path.dirname(os.path.abspath(profile.file)) in (directory, *self._beside):
                self._tested[profile.file, f"{profile.name} {profile.version}"] = profile
        failures = tuple(dict.fromkeys(trial.failures))
        notes = tuple(trial.notes) if failures else ()
        return Outcome(case.name, case.file, case.line, failures, trial.updated, notes)

    def _context(self, case: Case) -> Context:
        """:raises ProfileError: a file that cannot be read, a value that is not a version or a daemon"""
        directory = os.path.dirname(case.file)
        key = (directory, case.context)
        known = self._contexts.get(key)
        if known is None:
            known = self._contexts[key] = context_of(case, self._files)
        return known


def context_of(case: Case, files: Files | None = None) -> Context:
    """What a test gives besides its domain.

    :param files: where the files are that it names; None is the disk
    :raises ProfileError: a file that cannot be read, a value that is not a version or a daemon
    """
    files = files or Disk()
    given, directory = dict(case.context), os.path.dirname(case.file)
    texts: dict[str, tuple[str, ...]] = {}
    sources: dict[str, str] = {}
    for kind in ("capabilities", "domcapabilities"):
        paths = [os.path.join(directory, name) for name in given.get(kind, "").split()]
        texts[kind] = tuple(files.text(path, MissingContextError) for path in paths)
        sources.update(zip(texts[kind], paths, strict=True))
    from virtProfile.host.context import DAEMONS
    from virtProfile.option import read_qemu_version

    version, daemon = given.get("qemu-version"), given.get("daemon")
    if daemon is not None and daemon not in DAEMONS:
        raise MissingContextError(f"daemon='{daemon}' is none of {', '.join(DAEMONS)}")
    made = Context(
        capabilities=texts["capabilities"],
        domcapabilities=texts["domcapabilities"],
        osinfo=given.get("osinfo"),
        qemu_version=None if version is None else read_qemu_version("qemu-version", version),
        daemon=daemon,
        sources=sources,
    )
    made.documents  # noqa: B018 - read now: a wrong file is an error even where nobody asks for it
    return made


class _Trial:
    """One test at work."""

    def __init__(
        self,
        case: Case,
        store: Store,
        update: bool,
        files: Files,
        trust: str | None,
        judge_first: Callable[[Result], object] | None,
    ) -> None:
        self.case = case
        self.store = store
        self.update = update
        self.files = files
        self.trust = trust
        self.judge_first = judge_first
        self.failures: list[Failure] = []
        self.effective: set[Place] = set()
        self.profiles: list[Profile] = []
        self.updated = ""
        self.notes: list[str] = []

    def fail(self, message: str, line: int = 0) -> None:
        self.failures.append(Failure(message, line or self.case.line))

    def run(self, context: Context) -> None:
        """:raises ProfileError: the profiles cannot be applied, and that was not expected"""
        case = self.case
        self.context = context
        try:
            result = self.apply(case.xml, case.requests, case.record)
        except ProfileError as problem:
            if not case.errors:
                raise
            self.judge_error(problem)
            return
        self.note_effects(result)
        if case.errors:
            for row in case.errors:
                self.fail(f"{row} did not come: the profiles could be applied", row.line)
            return
        self.note_losses(result)
        if case.expects:
            self.judge(result)
        if not case.once:
            self.repeat(result)

    def apply(self, xml: str, requests: Sequence[Any], record: bool = True) -> Result:
        case = self.case
        trust = {} if self.trust is None else {"trust": self.trust}
        return self.seen(
            flow.apply(
                xml, requests, store=self.store, context=self.context, auto=case.auto, override=case.override,
                complete=case.complete, record=record, name=case.input or case.where, **trust,
            )
        )  # fmt: skip

    def seen(self, result: Result) -> Result:
        """:raises ProfileError: who judges results refuses it"""
        if self.judge_first is not None:
            self.judge_first(result)
        return result

    # --- coverage ------------------------------------------------------------------

    def note_effects(self, result: Result) -> None:
        """What of the applied profiles had an effect, and which checks found something."""
        idle = {(row.file, row.line, row.action) for row in result.idle}
        found = {row.where for row in result.warnings if row.code == "check"}
        for applied in result.applied:
            try:
                profile = self.store.get(applied.name, applied.version)
            except ProfileError:
                continue  # what libosinfo recommends is a profile without a file
            self.profiles.append(profile)
            for action in profile.actions:
                place = _place(action)
                is_check = action.kind is Kind.CHECK
                if place[:2] in _places(found) if is_check else place not in idle:
                    self.effective.add(place)

    def note_losses(self, result: Result) -> None:
        """What a person who wonders why the test fails has to know."""
        lines = []
        for loss in result.overridden:
            way = "; priority='100' lets it win" if loss.winner == "definition" else ""
            lines.append(f"{lost_line(loss)} ({loss.loser.file}:{loss.loser.line}{way})")
        lines += [f"skipped: {row.name} {row.version}: {row.detail or row.reason}" for row in result.skipped]
        self.notes += lines[:MAX_NOTES]
        if len(lines) > MAX_NOTES:
            self.notes.append(f"and {len(lines) - MAX_NOTES} more that --explain shows")

    def note_checks(self, problems: Iterable[ProfileError]) -> None:
        for problem in problems:
            if isinstance(problem, CheckError):
                file, _, line = problem.where.rpartition(":")
                self.effective.add((file, int(line), str(Kind.CHECK)))

    # --- what is expected ----------------------------------------------------------

    def judge_error(self, problem: ProfileError) -> None:
        problems = [problem, *problem.others]
        self.note_checks(problems)
        left = list(self.case.errors)
        for raised in problems:
            fitting = [row for row in self.case.errors if _is_error(row, raised)]
            if not fitting:
                self.fail(f"{raised.code}: {_said(raised)}: this error is not expected")
            left = [row for row in left if row not in fitting]
        for row in left:
            self.fail(f"{row} did not come", row.line)

    def judge(self, result: Result) -> None:
        case = self.case
        if case.holds or any(row.select for row in case.unchanged):
            self.judge_document(result)
        for row in case.unchanged:
            if row.select is None and result.changed:
                paths = list(dict.fromkeys(change.path for change in result.changes))
                more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
                self.fail(f"the document is changed: {', '.join(paths[:3])}{more}", row.line)
        warnings = [_fields(warning) for warning in result.warnings]
        skipped = [_fields(skipped) for skipped in result.skipped]
        for expected in case.reported:
            rows = warnings if expected.kind == "warning" else skipped
            fitting = [row for row in rows if _fits(expected, row)]
            if bool(fitting) == expected.negate:
                word = "came" if expected.negate else "did not come"
                said = fitting or [row for row in rows if not expected.negate]
                self.fail(f"{expected} {word}{_listed(said)}", expected.line)
        wanted = [row for row in case.reported if row.kind == "warning" and not row.negate]
        for warning, fields in zip(result.warnings, warnings, strict=True):
            if warning.code == "no-effect" and not any(_fits(row, fields) for row in wanted):
                self.fail(f"{warning.message}; <warning code='no-effect'/> would expect it")
        if case.result is not None:
            self.judge_result(result, case.result)

    def judge_document(self, result: Result) -> None:
        case = self.case
        after = Judged(result.xml, self.context, case.where)
        if case.holds:
            asker = Profile(
                "test", "0", "", "", (), (), (), (), (), case.file, case.line, "", namespaces=case.namespaces
            )
            for action in case.holds:
                for message in after.fails(asker, action):
                    self.fail(_plain(message, action), action.line)
        before: Judged | None = None
        for row in case.unchanged:
            if row.select is None:
                continue
            before = before or Judged(case.xml, self.context, case.where)
            where, spaces = (case.file, row.line), dict(case.namespaces)
            was = before.nodes(row.select, where, spaces)
            if not was:
                self.fail(f"select='{row.select}' selects nothing of the input", row.line)
            elif after.nodes(row.select, where, spaces) != was:
                self.fail(f"'{row.select}' is changed", row.line)

    def judge_result(self, result: Result, file: str) -> None:
        data = result.xml.encode()
        if self.update:
            try:
                known = self.files.data(file)
            except ProfileError:
                known = None
            if known != data:
                write_whole(file, data)
                self.updated = file
            return
        known = self.files.data(file)
        if known is None:
            self.fail(f"'{file}' does not exist; --update-results writes it")
        elif known != data:
            self.fail(f"the result is not that in '{file}'{_first_difference(known, data)}")

    # --- again, in reverse, and back -------------------------------------------------

    def repeat(self, result: Result) -> None:
        case = self.case
        first = result if case.record else self.apply(case.xml, case.requests)
        if len(case.requests) > 1 and self.apply(case.xml, case.requests[::-1]).xml != first.xml:
            self.fail("in reverse order the profiles give another result")
        again = self.apply(first.xml, case.requests)
        if again.xml != first.xml:
            paths = ", ".join(list(dict.fromkeys(change.path for change in again.changes))[:3])
            self.fail(f"applied a second time, the profiles change something: {paths or 'the record'}")
        back = self._unapplied(first.xml)
        wanted = self._unapplied(case.xml) if RECORD_NS in case.xml else case.xml
        if back != wanted:
            gap = next(self._gaps(wanted, back), None)
            if gap is not None:
                self.fail(f"taken back, the domain is not what it was: {gap}")

    def _gaps(self, wanted: str, has: str) -> Iterator[str]:
        """Where two documents do not mean the same."""
        before, after = (parse(xml, name=self.case.where).root for xml in (wanted, has))
        for gap in gaps(before, after, self.context.domain_schema.root):
            sides = []
            for element in (gap.after, gap.before):
                value = read(element, gap.slot, gap.node)[0] if element is not None and gap.slot else None
                if value is not None and is_secret(f"{gap.tags}/{gap.slot}".removesuffix("/text()")):
                    value = "***"
                sides.append("nothing" if element is None else "there" if value is None else f"'{value}'")
            path = "/".join(filter(None, (gap.tags, gap.slot)))
            yield f"{path} is {sides[0]} instead of {sides[1]}"

    def _unapplied(self, xml: str) -> str:
        try:
            trust = self.trust or "all"
            result = lifecycle.unapply(xml, store=self.store, context=self.context, trust=trust)
            return self.seen(result).xml
        except ProfileError as problem:
            self.fail(f"cannot be taken back: {_said(problem)}")
            return xml


def _place(action: Action) -> Place:
    return action.file, action.line, str(action.kind)


def _places(found: Iterable[str]) -> set[tuple[str, int]]:
    places = set()
    for where in found:
        file, _, line = where.rpartition(":")
        if line.isascii() and line.isdigit():
            places.add((file, int(line)))
    return places


def _fields(row: Warning | Skipped) -> dict[str, str]:
    fields: dict[str, str] = {name: str(value) for name, value in row.to_dict().items()}
    if "detail" in fields:
        fields["profile"] = fields.pop("name")
        fields["reason"] = f"{fields['reason']}: {fields.pop('detail')}"
    return fields


def _fits(expected: Reported, fields: dict[str, str]) -> bool:
    for name, value in expected.fields:
        has = fields.get(name, "")
        if (
            name in ("message", "reason")
            and value not in has
            or name not in ("message", "reason")
            and has != value
        ):
            return False
    return True


def _is_error(expected: Reported, problem: ProfileError) -> bool:
    wanted = dict(expected.fields)
    if wanted["code"] != problem.code or wanted.get("message", "") not in problem.message:
        return False
    if "fix" in wanted and problem.hint != hint(wanted["fix"]):
        return False
    return "path" not in wanted or wanted["path"] in [conflict.path for conflict in problem.conflicts]


def _listed(rows: Iterable[dict[str, str]]) -> str:
    said = list(dict.fromkeys(row.get("message") or f"{row['profile']}: {row['reason']}" for row in rows))
    return f": {'; '.join(said[:3])}" if said else ""


def _plain(message: str, action: Action) -> str:
    """What a ``<holds>`` says: it has no message of its own as a rule."""
    if action.message is not None:
        return message
    what = f"test='{action.test}'" if action.test is not None else "the snippet"
    return f"{what} {'holds' if action.negate else 'does not hold'}"


def _said(problem: ProfileError) -> str:
    return str(problem)


def _line(problem: ProfileError) -> int:
    line = problem.where.rpartition(":")[2]
    return int(line) if line.isascii() and line.isdigit() else 1


def _first_difference(wanted: bytes, has: bytes) -> str:
    """The first line that differs, for a message."""
    rows = list(zip(wanted.decode(errors="replace").splitlines(), has.decode(errors="replace").splitlines()))
    for number, (old, new) in enumerate(rows, 1):
        if old != new:
            return f": line {number} is '{new.strip()}' instead of '{old.strip()}'"
    return ": one is longer"


__all__ = ["Failure", "Outcome", "Prover", "Uncovered", "context_of"]
