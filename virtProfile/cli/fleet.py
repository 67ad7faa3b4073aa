# SPDX-License-Identifier: GPL-2.0-or-later
"""Many VMs in one call: which they are, in what order things happen, when to stop.

`workers` spreads the work, `fleetwork` does it, `fleetreport` keeps what was done.
"""

from __future__ import annotations

import glob
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from virtProfile.apply_options import FIELDS
from virtProfile.cli.fleet_report import Key, Report, Status
from virtProfile.cli.fleet_work import VM, FleetWork, Listing, answer_of
from virtProfile.cli.workers import AT_HAND, Task, Workers
from virtProfile.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_PENDING,
    LibvirtError,
    ProfileError,
    UsageError,
    together,
)
from virtProfile.frozen import replace
from virtProfile.language.requests import NONE
from virtProfile.show.terminal import Closed, one_line

if TYPE_CHECKING:
    from virtProfile.apply_options import ApplyOptions
    from virtProfile.cli.standing_profiles import StandingProfiles
    from virtProfile.host.context import Context
    from virtProfile.language.store import ProfileStore
    from virtProfile.show.terminal import Output, Talk

_INTERRUPTED = 130
_FAILED = b"failed\n"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: Seconds between two drawings of the bar.
_REDRAWN = 0.1


def _is_pattern(text: str) -> bool:
    return glob.has_magic(text) and not os.path.exists(text)


def files(inputs: Iterable[str], output: str | None) -> list[VM]:
    """The VMs of files, directories (``*.xml`` below them) and patterns, each once.

    :param output: the directory that results go to, with the names they have below theirs
    :raises UsageError: nothing is there, or two results would be one file
    """
    found: dict[str, VM] = {}
    taken: dict[str, str] = {}
    for place in inputs:
        if os.path.isdir(place):
            names = sorted(
                os.path.join(folder, name)
                for folder, _, below in os.walk(place)
                for name in below
                if name.endswith(".xml") and not name.startswith(".")
            )
            top = place
        elif _is_pattern(place):
            names = sorted(name for name in glob.glob(place, recursive=True) if os.path.isfile(name))
            top = os.path.dirname(place[: _magic_at(place)])
        else:
            names, top = [place], os.path.dirname(place)
        if not names:
            raise UsageError(f"--input {place}: no such file")
        for name in names:
            target = ""
            if output is not None:
                target = os.path.join(output, os.path.relpath(name, top or "."))
                other = taken.setdefault(os.path.realpath(target), name)
                if other != name or os.path.realpath(target) == os.path.realpath(name):
                    raise UsageError(
                        f"--output: the result of '{name}' would replace that of '{other}'"
                        if other != name
                        else f"--output: the result of '{name}' would replace it",
                        hint="give another directory",
                    )
            found.setdefault(name, VM(name, None, target))
    return list(found.values())


def _magic_at(pattern: str) -> int:
    return min(at for at in map(pattern.find, "*?[") if at >= 0)


class Fleet:
    """One call on many VMs."""

    def __init__(
        self,
        options: ApplyOptions,
        wishes: Sequence[Mapping[str, Any]],
        store: ProfileStore,
        given: Context,
        out: Output,
        talk: Talk,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """:param environ: says where the user's standing profiles are
        :raises UsageError: options that make no sense for a fleet
        :raises ProfileError: the standing profiles cannot be read
        """
        _check(options)
        self.options = options
        self.wishes = wishes
        self.store = store
        self.given = given
        self.out = out
        self.talk = talk
        self.jobs = options.jobs or len(os.sched_getaffinity(0))
        self.most = options.max_failures
        self.writes = bool(options.define or options.output)
        self.counts: Counter[str] = Counter()
        self.failures = 0
        self.failed_before = 0
        self.dry_failures: dict[Key, bytes] = {}
        self.report: Report | None = None
        self.interrupted = False
        self.bar = Bar(talk)
        self.standing: StandingProfiles | None = None
        if options.complete and NONE not in options.profile:
            from virtProfile.cli.standing_profiles import StandingProfiles

            standing = StandingProfiles(environ or {}, store, talk.warning)
            self.standing = standing if standing.tables else None
        self.standing_lines: set[str] = set()

    def run(self) -> int:
        """:returns: the exit status."""
        options = self.options
        if options.report not in (None, "-"):
            self.report = Report(options.report, self._call(), resume=options.resume is not None)
        elif options.resume is not None:
            raise UsageError("--resume has no effect without --report")
        former: dict[signal.Signals, Any] = {}
        work = FleetWork(options, self.wishes, self.store, self.given, self.report, self.standing)
        self._warm()
        try:
            at_hand = AT_HAND if self.most is None else 1
            # all VMs of a call meet the same profiles, and files are looked at once
            with self.store.one_look(), Workers(lambda: work, self.jobs, at_hand=at_hand) as workers:
                self.workers = workers
                former = {number: signal.signal(number, self._interrupt) for number in _SIGNALS}
                vms = self._members(workers)
                if self.writes and self.most is not None:
                    self._go(workers, [replace(vm, dry=True) for vm in vms], "dry run", self._dry_done)
                if not workers.stopped:
                    self._go(workers, vms, "", self._done)
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
            self.bar.clear()
            if self.report is not None:
                self.report.close()
        self._summary()
        if self.interrupted:
            return _INTERRUPTED
        if self.failures or self.failed_before:
            return EXIT_FAILED
        return EXIT_PENDING if options.check and self.counts[Status.CHANGED] else EXIT_DONE

    def _interrupt(self, *_: object) -> None:
        """The first time: finish what is begun; the second time: at once."""
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        self.workers.stop()

    def _call(self) -> dict[str, Any]:
        """What decides how VMs come out; secrets are not told."""
        profiles = [{**wish, "params": self._shown(wish)} for wish in self.wishes]
        standing = {} if self.standing is None else {"standing": [str(row) for row in self.standing.tables]}
        return {"profiles": profiles, **standing, **self.options.reported()}

    def _shown(self, wish: Mapping[str, Any]) -> dict[str, str]:
        """The parameters of a wish, secret ones without their values."""
        params = dict(wish.get("params") or {})
        if params:
            try:
                known = self.store.get(wish["name"], wish.get("version")).params
            except ProfileError:
                return dict.fromkeys(params, "")  # told for each VM
            for param in known:
                if param.secret and param.name in params:
                    params[param.name] = "***"
        return params

    def _warm(self) -> None:
        """Read once what every process needs."""
        from virtProfile import redaction  # noqa: F401
        from virtProfile.engine import flow  # noqa: F401
        from virtProfile.format.schema import Schema
        from virtProfile.live import call_context, define  # noqa: F401

        Schema.baseline()
        self.store.listing()

    # --- who belongs to it -------------------------------------------------------

    def _members(self, workers: Workers) -> list[VM]:
        """The VMs that are still to be done, in the order of inputs and names."""
        options = self.options
        vms = files(options.inputs, options.output) if options.inputs else []
        if options.all or options.domains:
            uris = list(dict.fromkeys(options.uris)) or [""]
            names: dict[str, list[str]] = {}

            def listed(task: Task, answer: bytes) -> None:
                if answer.startswith(b"listed\n"):
                    names[task.key.uri] = json.loads(answer.partition(b"\n")[2])["names"]
                elif options.all:
                    self._count(answer)
                else:  # whom the command line names is there, or it is wrong
                    error = json.loads(answer.partition(b"\n")[2])["error"]
                    kind = UsageError if error["code"] == UsageError.code else LibvirtError
                    missing.append(kind(error["message"], hint=error["hint"]))

            missing: list[ProfileError] = []
            workers.add(Task(Listing(uri, options.domains), _place(uri)) for uri in uris)
            workers.run(listed, self._lost)
            if missing:
                raise together(missing)
            vms += [VM(name, uri) for uri in uris for name in names.get(uri, ())]
        if self.report is None:
            return vms
        again = options.resume == "failed"
        begun = self.report.begun
        left = []
        for vm in vms:
            status = self.report.done.get((vm.uri, vm.name))
            if status is None or again and status == Status.FAILED:
                left.append(replace(vm, digest=begun.get((vm.uri, vm.name), "")))
            else:
                self.counts["done before"] += 1
                self.failed_before += status == Status.FAILED
        return left

    # --- one pass ------------------------------------------------------------------

    def _go(
        self, workers: Workers, vms: Sequence[VM], label: str, done: Callable[[Task, bytes], None]
    ) -> None:
        self.bar.begin(len(vms), label)
        workers.add(Task(vm, "" if vm.uri is None else _place(vm.uri)) for vm in vms)
        workers.run(done, self._lost, self.bar.draw)

    def _dry_done(self, task: Task, answer: bytes) -> None:
        failed = answer.startswith(_FAILED)
        self.bar.step(failed)
        if failed:
            self.dry_failures[(task.key.uri, task.key.name)] = answer
            if len(self.dry_failures) == self.most:
                self.workers.stop()
                for failure in self.dry_failures.values():
                    self._count(failure)

    def _done(self, task: Task, answer: bytes) -> None:
        self.bar.step(answer.startswith(_FAILED))
        self._count(answer)

    def _lost(self, task: Task, reason: str) -> None:
        row = {
            "vm": getattr(task.key, "name", ""),
            "uri": task.key.uri,
            "status": Status.FAILED,
            "error": {"code": "failed", "message": reason, "hint": "", "where": "", "conflicts": []},
        }
        answer = answer_of(row)
        if getattr(task.key, "dry", False):
            self._dry_done(task, answer)
        else:
            self._done(task, answer)

    def _count(self, answer: bytes) -> None:
        status, _, line = answer.partition(b"\n")
        self.counts[status.decode()] += 1
        if self.standing is not None:
            self._note_standing(line)
        if self.report is not None:
            self.report.write(line)
        else:
            self.bar.clear()
            try:
                json_lines = self.options.json or self.options.report == "-"
                self.out.write(line + b"\n" if json_lines else f"{one_line(self._shown_line(line))}\n")
            except Closed:
                self.workers.stop()
                raise
        if answer.startswith(_FAILED):
            self.failures += 1
            if self.most is not None and self.failures >= self.most:
                self.workers.stop()

    def _note_standing(self, line: bytes) -> None:
        """Tell of each set of standing profiles once, not for every VM."""
        for text in json.loads(line).get("standing", ()):
            if text not in self.standing_lines:
                self.standing_lines.add(text)
                self.bar.clear()
                self.talk.note(text)

    def _shown_line(self, line: bytes) -> str:
        return _line(json.loads(line), len(set(self.options.uris)) > 1)

    def _summary(self) -> None:
        summary = ", ".join(f"{count} {word}" for word, count in sorted(self.counts.items()))
        rate = self.bar.total_rate()
        self.talk.note(f"{summary or 'no VMs'}{rate}")
        if self.interrupted:
            self.talk.say("interrupted" + ("; --resume goes on" if self.report is not None else ""))
        elif self.workers.stopped and self.most is not None and self.failures >= self.most:
            nothing = ", in the dry run: nothing was written" if self.dry_failures else ""
            self.talk.say(f"ERROR    stopped after {self.failures} failures{nothing}")


def _check(options: ApplyOptions) -> None:
    """:raises UsageError: options that make no sense for a fleet."""
    for name, row in FIELDS:
        if row.instead and getattr(options, name) != row.default:
            raise UsageError(f"{row.name} is for one VM", hint=row.instead)
    if options.domains and options.all:
        raise UsageError(
            f"'{options.domain}' and --all cannot be given together",
            hint="leave out the domain, or leave out --all",
        )
    for name, row in FIELDS:
        if row.name in ("--update", "--device", "--hosts") and getattr(options, name) != row.default:
            raise UsageError(f"{row.name} is for one VM", hint="make a call for each")
    if options.inputs and options.all:
        raise UsageError("--input and --all cannot be given together", hint="make two calls, one with each")
    if options.define and options.inputs:
        raise UsageError(
            "--define cannot be used with several files", hint="--output DIR writes the results to files"
        )
    if options.inputs and options.uris:
        raise UsageError(
            "--connect has no effect with several files",
            hint="give the host's documents with --capabilities and --domcapabilities",
        )
    if options.output is not None and not options.inputs:
        raise UsageError("--output has no effect on domains", hint="use --define to define the domains")
    if options.start and not options.define:
        raise UsageError("--start has no effect without --define", hint="add --define")
    if "-" in options.inputs:
        raise UsageError("--input -: stdin holds one VM, not several", hint="give files or directories")


def _place(uri: str) -> str:
    """Where the driver lives in the process itself only one process may have it."""
    return uri if uri.partition(":")[2].startswith("///embed") or uri.startswith("test:") else ""


def _line(row: Mapping[str, Any], hosts: bool) -> str:
    """A VM as a person reads it.

    :param hosts: with its connection, as there are several
    """
    where = row["vm"] if not row["uri"] or row["vm"] and not hosts else f"{row['uri']} {row['vm']}".rstrip()
    line = f"{row['status']:<9}  {where}"
    if row["status"] == Status.FAILED:
        error = row["error"]
        place = f"{error['where']}: " if error["where"] else ""
        return f"{line}: {place}{error['message']}"
    changes = row.get("changes", 0)
    if changes:
        line += f" ({changes} change{'' if changes == 1 else 's'})"
    return line


class Bar:
    """A progress bar on a terminal's stderr, with rate and remaining time; nothing elsewhere."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.shown = talk.terminal and not talk.quiet
        self.total = 0
        self.count = 0
        self.all = 0
        self.failed = 0
        self.label = ""
        self.start = self.first = time.monotonic()
        self._drawn = 0.0
        self._wide = 0

    def begin(self, total: int, label: str) -> None:
        self.total, self.count, self.failed, self.label = total, 0, 0, label
        self.start = time.monotonic()

    def step(self, failed: bool) -> None:
        self.count += 1
        self.all += 1
        self.failed += failed

    def draw(self) -> None:
        now = time.monotonic()
        if not self.shown or now - self._drawn < _REDRAWN:
            return
        self._drawn = now
        text = self.text(now - self.start)
        self.talk.redraw(text.ljust(self._wide))
        self._wide = len(text)

    def text(self, seconds: float) -> str:
        """The bar after so many seconds."""
        done = self.count / self.total if self.total else 1.0
        filled = round(20 * done)
        rate = self.count / seconds if seconds > 0 else 0.0
        left = f", {_clock((self.total - self.count) / rate)} left" if rate else ""
        failed = f", {self.failed} failed" if self.failed else ""
        label = f"{self.label} " if self.label else ""
        return (
            f"{label}[{'#' * filled}{'.' * (20 - filled)}] {self.count}/{self.total} {done:.0%}"
            f", {rate:.0f}/s{left}{failed}"
        )

    def clear(self) -> None:
        if self._wide:
            self.talk.redraw(" " * self._wide)
            self.talk.redraw("")
            self._wide = 0

    def total_rate(self) -> str:
        seconds = time.monotonic() - self.first
        return f" ({self.all / seconds:.0f}/s)" if self.all > 1 and seconds > 0 else ""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
