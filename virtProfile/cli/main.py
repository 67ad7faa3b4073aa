# SPDX-License-Identifier: GPL-2.0-or-later
# PYTHON_ARGCOMPLETE_OK: completion looks here, as the installed program is made by pip
"""The program ``virt-profile``: reads a domain, applies profiles, prints or defines the result.

No logic of its own: what a profile does is the engine's, how a domain is found
and defined is `connection`', what is shown is `diff`'s, `explain`'s and `output`'s.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from virtProfile.errors import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_PENDING,
    InvalidDomainError,
    NotFoundError,
    ProfileError,
    ProfileSyntaxError,
    UsageError,
    VersionError,
)
from virtProfile.frozen import replace
from virtProfile.show.terminal import Closed, Output, Talk, tell

if TYPE_CHECKING:
    from virtProfile.apply_options import ApplyOptions
    from virtProfile.cli.standing_profiles import StandingProfiles
    from virtProfile.host.context import Context
    from virtProfile.host.fit import HostDocuments, Verdict
    from virtProfile.language.store import ProfileStore
    from virtProfile.live.connection import Connection, Domain
    from virtProfile.live.update import Live
    from virtProfile.result import Result

#: How often the host is asked again for the machine that a sketch got.
_SETTLING = 3
#: The exit status of a shell's command that was interrupted.
_INTERRUPTED = 130


def runcli(
    argv: Sequence[str] | None = None,
    *,
    stdin: IO[Any] | None = None,
    stdout: IO[Any] | None = None,
    stderr: IO[str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> int:
    """Run a command line; gives the exit status.

    :param argv: without the program's name; None: this is the whole process
    """
    if argv is None:
        # The process ends with the command, and an apply leaves no cycles: looking for
        # some, at the end above all, was a quarter of the time.
        gc.disable()
        try:
            return runcli(sys.argv[1:], stdin=stdin, stdout=stdout, stderr=stderr, environ=environ)
        finally:
            gc.freeze()
    environ = os.environ if environ is None else environ
    out = Output(sys.stdout if stdout is None else stdout, environ)
    talk = Talk(sys.stderr if stderr is None else stderr)
    try:
        if "_ARGCOMPLETE" in environ:
            from virtProfile.cli.shell_completion import complete

            complete()
        from virtProfile.cli.arguments import parse

        options = parse(argv)
        talk = Talk(sys.stderr if stderr is None else stderr, quiet=options.quiet, debug=options.debug)
        return Run(options, out, talk, sys.stdin if stdin is None else stdin, environ).run()
    except ProfileError as problem:
        from virtProfile.cli.advice import advised
        from virtProfile.redaction import veil_error

        problem = veil_error(advised(problem, sys.argv[1:] if argv is None else argv))
        talk.error(problem)
        if "--json" in argv:
            return _close(out, problem)
        return problem.exit_status
    except Closed:
        out.abandon()
        return EXIT_FAILED
    except KeyboardInterrupt:
        talk.say("interrupted")
        return _INTERRUPTED
    except OSError as problem:
        place = f"{problem.filename}: " if problem.filename else ""
        fact = f"{place}{problem.strerror or problem}"
        talk.failure(fact)
        if "--json" in argv:
            return _close(out, ProfileError(fact))
        return EXIT_FAILED
    except Exception as problem:  # a mistake of ours: no data was written after it
        fact = f"internal error: {type(problem).__name__}: {problem}"
        hint = "--debug shows where; please report it with the profile and the domain"
        talk.failure(fact, "" if talk.debugging else hint)
        if "--json" in argv:
            return _close(out, ProfileError(fact, hint=hint))
        return EXIT_FAILED


def _close(out: Output, problem: ProfileError) -> int:
    try:
        out.json(problem.to_dict())
    except (Closed, ProfileError):
        out.abandon()
    return problem.exit_status


class Run:
    """One command line at work."""

    def __init__(
        self,
        options: ApplyOptions,
        out: Output,
        talk: Talk,
        stdin: IO[Any],
        environ: Mapping[str, str],
    ) -> None:
        self.options = options
        self.out = out
        self.talk = talk
        self.stdin = stdin
        self.environ = environ
        self._store: Any = None
        self._given: Context | None = None
        self._standing: StandingProfiles | None = None
        self._standing_lines: list[str] = []

    def run(self) -> int:
        options = self.options
        from virtProfile.cli.arguments import is_task

        if options.help:
            from virtProfile.cli.arguments import parser

            self.out.write(parser().format_help())
            return EXIT_DONE
        if options.version:
            from virtProfile import __version__

            self.out.write(f"{__version__}\n")
            return EXIT_DONE
        if is_task(options):
            from virtProfile.cli.tasks import carry_out

            return carry_out(options, self.out, self.talk, self)
        try:
            return self.apply()
        except (NotFoundError, VersionError) as problem:
            if options.explain is None or options.profile or options.domain is None and not options.input:
                raise
            return self._explain_record(problem, options.explain)

    def _explain_record(self, problem: ProfileError, xpath: str) -> int:
        """A profile is not at hand any more: what its record tells."""
        from virtProfile.host.context import Context
        from virtProfile.show.explain import explain_record

        text = explain_record(self._text()[0], Context().domain_schema, xpath)
        if not text:
            raise problem
        self.talk.warning(f"{problem.message}; what follows is from the record in the VM's metadata")
        self.out.prose(text)
        return EXIT_DONE

    @property
    def store(self) -> Any:
        """Where profiles are: the search path, or the service of --server."""
        if self._store is None and self.options.server is not None:
            from virtProfile.cli.remote import Remote

            self._store = Remote(self.options.server, self.options)
        elif self._store is None:
            from virtProfile.language.search_path import search_path
            from virtProfile.language.store import ProfileStore

            path = search_path(self.options.profile_dir, self.environ, self.talk.warning)
            self.talk.debug("profiles are looked for in %s", ", ".join(map(str, path)) or "nothing")
            self._store = ProfileStore(path)
        return self._store

    def store_beside(self, directory: str) -> ProfileStore:
        """The profiles of a directory, then those of the search path."""
        from virtProfile.language.search_path import search_path
        from virtProfile.language.store import ProfileStore

        return ProfileStore(
            search_path((directory, *self.options.profile_dir), self.environ, self.talk.warning)
        )

    # --- a domain and its profiles ---------------------------------------------

    def apply(self) -> int:
        from virtProfile.cli.arguments import is_fleet, profile_wishes

        options = self.options
        if options.audit is not None:
            from virtProfile.cli.audit import audit

            return audit(options, self.store, self.out, self.talk, self._text)
        if options.status:
            if is_fleet(options):
                from virtProfile.cli.fleet_status import fleet_status

                return fleet_status(options, self.store, self.out, self.talk)
            return self._status()
        wishes = profile_wishes(options)
        if any(wish["params"] for wish in wishes):
            from virtProfile.live.call_context import read_secrets

            read_secrets(wishes, self.store)
        if options.device is not None:
            return self._device(wishes, options.device)
        if is_fleet(options):
            from virtProfile.cli.fleet import Fleet
            from virtProfile.live.call_context import given

            return Fleet(options, wishes, self.store, given(options), self.out, self.talk, self.environ).run()
        define = options.define
        if define is None:
            prints = options.has_of("output") or options.check
            define = options.domain is not None and not prints or options.confirm
        elif options.update and not define:
            define = True  # live, and then no further
            if options.upgrade is not None and define and not options.yes:
                options = self.options = replace(options, confirm=True)  # the difference first
        if options.start and not define:
            raise UsageError("--start has no effect without --define", hint="add --define")
        if options.hosts:
            return self._hosts(wishes)
        if options.domain is None:
            return self._apply_file(wishes, define)
        with self._connect(read_only=not define) as connection:
            domain = connection.find(options.domain)
            result = self._engine(domain.xml, wishes, domain.name, connection)
            live = self._live(result, wishes, connection, domain) if options.update else None
            return self._deliver(result, wishes, connection if define else None, domain, live=live)

    def _apply_file(self, wishes: list[dict[str, Any]], define: bool) -> int:
        from virtProfile.format.document import decode

        data, name = self._read()
        text, encoding = decode(data, name)
        if not define and self.options.connect is None:
            result = self._engine(text, wishes, name, None)
            return self._deliver(result, wishes, None, data=data, encoding=encoding)
        with self._connect(read_only=not define) as connection:
            result = self._engine(text, wishes, name, connection)
            return self._deliver(result, wishes, connection if define else None, data=data, encoding=encoding)

    def _hosts(self, wishes: list[dict[str, Any]]) -> int:
        from virtProfile.cli.hosts import where_it_runs
        from virtProfile.host.fit import verdicts
        from virtProfile.live.call_context import given

        text, name = self._text()
        said = given(self.options)

        def ask(hosts: Sequence[HostDocuments]) -> list[Verdict]:
            if self.options.server is not None:
                found: list[Verdict] = self.store.verdicts(self.options, wishes, text, hosts, said, name)
                return found
            return verdicts(
                text, hosts, said, lambda context: self._engine(text, wishes, name, None, context)
            )

        return where_it_runs(self.out, self.talk, self.options, ask)

    def _live(
        self, result: Result, wishes: list[dict[str, Any]], connection: Connection, domain: Domain
    ) -> Live | None:
        """What the running domain is to get; prints the plan."""
        from virtProfile.format.document import parse
        from virtProfile.host.documents import machine_family
        from virtProfile.live.update import Live
        from virtProfile.live.update_plan import marked, plan

        if not domain.active:
            self.talk.warning(f"domain '{domain.name}' is not running: --update changes only its definition")
            return None
        text = marked(connection.live_xml(domain))
        context = self._context(text, domain.name, connection)
        now = self._engine(text, wishes, domain.name, connection, context)
        steps = plan(now, result, machine_family(parse(text).root, context.documents))
        for line in steps.lines():
            self.talk.note(line)
        return Live(connection, domain, steps, self.talk)

    def _device(self, wishes: list[dict[str, Any]], file: str) -> int:
        from virtProfile.format.document import parse, read_file
        from virtProfile.live.hotplug import attachments, pluggable, printed

        given = read_file(file, ProfileSyntaxError, "--device takes a file with the XML of devices")[0]
        running = False
        if self.options.domain is None and self.options.connect is None:
            text, name, connection = *self._text(), None
        else:
            connection = self._connect(read_only=True)
            if self.options.domain is None:
                text, name = self._text()
            else:
                domain = connection.find(self.options.domain)
                running, name = domain.active, domain.name
                text = connection.live_xml(domain) if running else domain.xml
        context = self._context(text, name, connection)
        if self.options.server is not None:
            texts = self.store.device(self.options, wishes, text, given, file, running, context, name)
            devices = [parse(xml).root for xml in texts]
        else:

            def apply(store: Any, more: list[Any]) -> Result:
                return self._engine(text, [*wishes, *more], name, connection, context, store)

            devices = attachments(apply, self.store, text, given, file, running, context, name)
            texts = [printed(device) for device in devices]
        for device in devices if running else ():
            if not pluggable(device):
                kind = f" of type '{device.get('type')}'" if device.get("type") else ""
                self.talk.warning(f"a running VM takes no {device.tag}{kind}: it waits for the next boot")
        if self.options.json:
            self.out.json({"devices": texts})
        else:
            self.out.write("".join(texts))
        return EXIT_DONE

    def _status(self) -> int:
        from virtProfile.engine.lifecycle import left_out, status
        from virtProfile.show.status import show

        options = self.options
        connection = None
        if options.check and (options.domain is not None or options.connect is not None):
            connection = self._connect(read_only=True)
        if connection is not None and options.domain is not None:
            domain = connection.find(options.domain)
            text, name = domain.xml, domain.name
        else:
            text, name = self._text()
        if options.server is not None:
            found = self.store.status(text, name)
        else:
            found = status(text, store=self.store, name=name)
        pending = found.pending
        if options.check:
            try:
                result = self._engine(text, [], name, connection)
            except ProfileError as problem:  # as far as lists and versions tell
                self.talk.warning(problem.message)
            else:
                pending = result.changed
                found = left_out(found, {profile.name: profile.detail for profile in result.skipped})
        show(found, self.out, options.json)
        return EXIT_PENDING if options.check and pending else EXIT_DONE

    def _text(self) -> tuple[str, str]:
        """The VM's XML, only to be looked at, and what it is called."""
        if self.options.domain is not None:
            with self._connect(read_only=True) as connection:
                domain = connection.find(self.options.domain)
                return domain.xml, domain.name
        from virtProfile.format.document import decode

        data, name = self._read()
        return decode(data, name)[0], name

    def _read(self) -> tuple[bytes, str]:
        from virtProfile.format.document import MAX_BYTES, read_bytes

        options = self.options
        if options.input not in (None, "-"):
            hint = "--input takes a file with a domain's XML, or '-' for stdin"
            return read_bytes(options.input, InvalidDomainError, hint), options.input
        if options.input is None and (self.stdin is None or self.stdin.closed or self.stdin.isatty()):
            hint = "a name, --input FILE, or domain XML on stdin"
            if options.explain:
                hint = f"--explain took '{options.explain}' for its XPATH: write the domain before it"
            raise UsageError("a domain must be specified", hint=hint)
        if options.confirm:
            raise UsageError(
                "--confirm cannot ask: the domain was read from stdin", hint="--input FILE leaves stdin free"
            )
        return getattr(self.stdin, "buffer", self.stdin).read(MAX_BYTES + 1), "<stdin>"

    def _connect(self, read_only: bool = False) -> Connection:
        from virtProfile.live.connection import Connection

        connection = Connection(self.options.connect, read_only=read_only)
        self.talk.debug("connected to %s", connection.handle.getURI())
        return connection

    def _engine(
        self,
        text: str,
        wishes: list[dict[str, Any]],
        name: str,
        connection: Connection | None,
        context: Context | None = None,
        store: Any = None,
    ) -> Result:
        from virtProfile.engine.dispatch import dispatch

        found = context or self._context(text, name, connection)
        call = dispatch if self.options.server is None else self.store.call
        if self.options.complete:
            wishes = self._with_standing(wishes, text, name, found)
        result = call(self.options, wishes, text, store=store or self.store, context=found, name=name)
        if context is None and connection is not None and self.options.complete:
            # The host was asked about the machine of a sketch; the next call would ask about its own.
            for _ in range(_SETTLING):
                settled = self._context(result.xml, name, connection)
                if settled.domcapabilities == found.domcapabilities:
                    break
                found = settled
                result = call(self.options, wishes, text, store=store or self.store, context=found, name=name)
        for profile in result.applied:
            self.talk.debug(
                "applied %s %s, priority %d, by %s",
                profile.label,
                profile.version,
                profile.priority,
                profile.source,
            )
        return result

    def _with_standing(
        self, wishes: list[dict[str, Any]], text: str, name: str, context: Context
    ) -> list[dict[str, Any]]:
        """The wishes with the standing profiles of a VM that is made of a sketch; printed once."""
        from virtProfile.language.requests import NONE

        if NONE in self.options.profile:
            return wishes
        if self._standing is None:
            from virtProfile.cli.standing_profiles import StandingProfiles

            self._standing = StandingProfiles(self.environ, self.store, self.talk.warning)
        found, lines = self._standing.join(wishes, text, name, context)
        if lines != self._standing_lines:
            for line in lines:
                self.talk.note(line)
            self._standing_lines = lines
        return found

    def _context(self, text: str, name: str, connection: Connection | None) -> Context:
        from virtProfile.live import call_context

        options = self.options
        if self._given is None:
            self._given = call_context.given(options)
        # what a service judges by is its own
        schema = options.schema if options.server is None else "baseline"
        return call_context.context(self._given, text, name, connection, schema)

    # --- what becomes of the result --------------------------------------------

    def _deliver(
        self,
        result: Result,
        wishes: list[dict[str, Any]],
        connection: Connection | None,
        domain: Domain | None = None,
        data: bytes = b"",
        encoding: str = "utf-8",
        live: Live | None = None,
    ) -> int:
        """Print what is to be printed, then define, if there is a `connection` to define on."""
        from virtProfile.cli.print_result import show
        from virtProfile.redaction import veil_result

        options = self.options
        tell(self.talk, veil_result(result), override=options.override)
        if domain is not None and not domain.secure:
            self.talk.warning(f"the connection is read-only: passwords of '{domain.name}' are not in its XML")
        show(result, self.out, self.talk, options, connection is not None, data, encoding)
        if options.check:
            return EXIT_PENDING if result.changed else EXIT_DONE
        if connection is None and result.storage and options.explain is None:
            from virtProfile.live.volumes import warn

            warn(result, self.talk)
        if connection is not None:
            from virtProfile.live.define import define

            define(
                connection,
                result,
                domain,
                options=options,
                talk=self.talk,
                stdin=self.stdin,
                again=lambda xml: self._engine(xml, wishes, "", connection),
                live=live,
            )
        return EXIT_DONE
