# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process of a fleet does with one VM: read, apply, write or define, and tell in one line.

The same engine and the same rules of defining as for a single VM. Nothing is raised:
whatever goes wrong with a VM stands in its line of the report.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from virtProfile.cli.fleet_report import Report, Status
from virtProfile.cli.workers import Task
from virtProfile.engine.dispatch import dispatch
from virtProfile.engine.lifecycle import ALL, listed_names
from virtProfile.errors import InvalidDomainError, ProfileError
from virtProfile.files import write_whole
from virtProfile.format.document import decode, parse, read_bytes
from virtProfile.frozen import record, replace
from virtProfile.host.context import Context
from virtProfile.language.instances import base_of, is_among
from virtProfile.result import Result
from virtProfile.show.terminal import Talk, encoded

if TYPE_CHECKING:
    from virtProfile.apply_options import ApplyOptions
    from virtProfile.cli.standing_profiles import StandingProfiles
    from virtProfile.language.store import ProfileStore
    from virtProfile.live.connection import Connection, Domain


@record
class VM:
    """One VM of a fleet: a file, or a domain of a connection.

    :param uri: None is a file, "" libvirt's default connection
    :param output: the file that the result goes to, "" for none
    :param digest: of what was to be defined when a former run was interrupted, "" for none
    """

    name: str
    uri: str | None = None
    output: str = ""
    digest: str = ""
    dry: bool = False


@record
class Listing:
    """The task of listing the domains of a connection: all, or those that words mean."""

    uri: str
    words: tuple[str, ...] = ()


class FleetWork:
    """The work of one process: its connections and what it knows of hosts are kept."""

    def __init__(
        self,
        options: ApplyOptions,
        wishes: Sequence[Mapping[str, Any]],
        store: ProfileStore,
        given: Context,
        report: Report | None,
        standing: StandingProfiles | None = None,
    ) -> None:
        self.options = options
        self.wishes = [dict(wish) for wish in wishes]
        self.store = store
        self.given = given
        self.report = report
        self.standing = standing
        #: what the standing profiles of the VM at hand are said to be from
        self._standing_lines: list[str] = []
        self._connections: dict[str, Connection] = {}
        self._contexts: dict[Any, Context] = {}
        self._lock = tempfile.TemporaryFile()  # noqa: SIM115  # the processes are forks and share it

    def __call__(self, task: Task) -> bytes:
        start = time.monotonic()
        what = task.key
        row: dict[str, Any] = {"vm": getattr(what, "name", ""), "uri": what.uri}
        try:
            row |= self._list(what) if isinstance(what, Listing) else self._do(what)
        except ProfileError as problem:
            from virtProfile.redaction import veil_error

            row |= {"status": Status.FAILED, **veil_error(problem).to_dict()}
        except OSError as problem:
            place = f"{problem.filename}: " if problem.filename else ""
            row |= _failure("failed", f"{place}{problem.strerror or problem}")
        except Exception as problem:  # a mistake of ours, or no memory: it is this VM's alone
            row |= _failure("failed", f"internal error: {type(problem).__name__}: {problem}")
        row["seconds"] = round(time.monotonic() - start, 4)
        return answer_of(row)

    def _list(self, what: Listing) -> dict[str, Any]:
        connection = self._connection(what.uri)
        names = connection.names_of(what.words) if what.words else connection.names()
        return {"status": "listed", "names": names}

    def _do(self, vm: VM) -> dict[str, Any]:
        return self._file(vm) if vm.uri is None else self._domain(vm, vm.uri)

    # --- files -----------------------------------------------------------------

    def _file(self, vm: VM) -> dict[str, Any]:
        data = read_bytes(vm.name, InvalidDomainError)
        text, encoding = decode(data, vm.name)
        result = self._apply(text, vm.name, self._file_context())
        row = self._told(result)
        if vm.output and not vm.dry:
            same = result.xml == result.input
            write_whole(vm.output, data if same else encoded(result.xml, encoding, data))
            row |= {"status": Status.WRITTEN, "output": vm.output}
        return row

    def _file_context(self) -> Context:
        found = self._contexts.get("file")
        if found is None:
            from virtProfile.live.call_context import context

            found = self._contexts["file"] = context(self.given, "", "", None, self.options.schema)
        return found

    # --- domains ---------------------------------------------------------------

    def _domain(self, vm: VM, uri: str) -> dict[str, Any]:
        connection = self._connection(uri)
        domain = connection.find(vm.name)
        context = self._domain_context(uri, domain, connection)
        result = self._apply(domain.xml, domain.name, context)
        row = self._told(result)
        if self.options.define and not vm.dry:
            row |= self._define(vm, connection, domain, result, context)
        return row

    def _define(
        self, vm: VM, connection: Connection, domain: Domain, result: Result, context: Context
    ) -> dict[str, Any]:
        from virtProfile.live.define import define

        digest = hashlib.sha256(domain.xml.encode()).hexdigest()
        if vm.digest not in ("", digest) and self.options.no_record:
            return {
                "status": Status.DEFINED,
                "notes": ["it was defined before the former run was interrupted"],
            }
        if self.report is not None and result.xml != result.input:
            self.report.write({"vm": vm.name, "uri": vm.uri, "status": Status.DEFINING, "digest": digest})
        output = io.StringIO()
        with self._alone(bool(result.storage)):
            define(
                connection,
                result,
                domain,
                options=self.options,
                talk=Talk(output, quiet=True),
                stdin=io.StringIO(),
                again=lambda xml: self._apply(xml, "", context),
            )
        notes = [line.removeprefix("WARNING  ") for line in output.getvalue().splitlines()]
        row: dict[str, Any] = {"notes": notes} if notes else {}
        if result.xml != result.input or not domain.persistent:
            row["status"] = Status.DEFINED
        return row

    @contextmanager
    def _alone(self, wanted: bool) -> Iterator[None]:
        """One process at a time: so that the storage made for a VM is seen to be that VM's."""
        if wanted:
            fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            if wanted:
                fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def _connection(self, uri: str) -> Connection:
        found = self._connections.get(uri)
        if found is not None and not found.handle.isAlive():
            del self._connections[uri]
            found = None
        if found is None:
            from virtProfile.live.connection import Connection

            found = self._connections[uri] = Connection(uri or None, read_only=not self.options.define)
        return found

    def _domain_context(self, uri: str, domain: Domain, connection: Connection) -> Context:
        """The host's answer for a kind of domain: asked once, read once."""
        root = parse(domain.xml, name=domain.name).root
        kind = root.find("os/type")
        key = (
            uri,
            root.get("type"),
            root.findtext("devices/emulator"),
            None if kind is None else (kind.get("arch"), kind.get("machine")),
        )
        found = self._contexts.get(key)
        if found is None:
            from virtProfile.live.call_context import context

            found = context(self.given, domain.xml, domain.name, connection, self.options.schema)
            self._contexts[key] = found
        return found

    # --- the engine --------------------------------------------------------------

    def _apply(self, text: str, name: str, context: Context) -> Result:
        self._standing_lines = []
        options = self._options_for(text, name)
        if options is None:
            return Result(text, text, False)
        wishes = self.wishes
        if self.standing is not None:
            wishes, self._standing_lines = self.standing.join(wishes, text, name, context)
        return dispatch(options, wishes, text, store=self.store, context=context, name=name)

    def _options_for(self, text: str, name: str) -> ApplyOptions | None:
        """The options without profiles to take back or upgrade that this VM has not; None: nothing is left.

        ``--exclude`` is for all VMs, whether they have the profile or not.
        """
        options = self.options
        if not options.upgrade and (not options.unapply or options.exclude):
            return options
        there = listed_names(text, name)
        if options.upgrade:
            return (
                options
                if is_among(options.upgrade, there) or options.upgrade in map(base_of, there)
                else None
            )
        names = tuple(profile for profile in options.unapply if profile == ALL or profile in there)
        if not names and not self.wishes:
            return None
        return replace(options, unapply=names)

    def _told(self, result: Result) -> dict[str, Any]:
        """A result as a line of the report."""
        from virtProfile.redaction import veil_result

        status = Status.CHANGED if result.changed else Status.UNCHANGED
        shown = veil_result(result)
        row: dict[str, Any] = {
            "status": status,
            "changed": result.changed,
            "changes": result.count if result.changed else 0,
            "applied": [f"{profile.label} {profile.version}" for profile in shown.applied],
            "kept_out": result.kept_out,
        }
        if self._standing_lines:
            row["standing"] = self._standing_lines
        if shown.skipped:
            row["skipped"] = [profile.name for profile in shown.skipped]
        if shown.warnings:
            row["warnings"] = [warning.to_dict() for warning in shown.warnings]
        if self.options.json:
            row["result"] = {name: value for name, value in shown.to_dict().items() if name != "xml"}
        return row


def answer_of(row: Mapping[str, Any]) -> bytes:
    """A line of the report behind its status, so that few have to read the line itself."""
    return f"{row['status']}\n{json.dumps(row, ensure_ascii=False)}".encode("utf-8", "backslashreplace")


def _failure(code: str, message: str) -> dict[str, Any]:
    return {
        "status": Status.FAILED,
        "error": {"code": code, "message": message, "hint": "", "where": "", "conflicts": []},
    }
