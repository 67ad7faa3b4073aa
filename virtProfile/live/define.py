# SPDX-License-Identifier: GPL-2.0-or-later
"""From a result to a defined domain: what to refuse, what to ask, what to tell afterwards.

Nothing is defined before everything else has worked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from virtProfile.errors import LibvirtError, PolicyError, ProfileError
from virtProfile.live.connection import READ_ONLY_HINT
from virtProfile.live.volumes import NewVolumes
from virtProfile.redaction import veil_result
from virtProfile.result import GUEST_ABI

if TYPE_CHECKING:
    from virtProfile.apply_options import ApplyOptions
    from virtProfile.live.connection import Connection, Domain
    from virtProfile.live.update import Live
    from virtProfile.result import Result
    from virtProfile.show.terminal import Talk


def define(
    connection: Connection,
    result: Result,
    domain: Domain | None,
    *,
    options: ApplyOptions,
    talk: Talk,
    stdin: IO[Any],
    again: Callable[[str], Result],
    live: Live | None = None,
) -> None:
    """Define the result on the connection, after asking if the options say so.

    :param domain: what the input was read from, None for a file
    :param again: applies the same profiles to another text
    :param live: what the running domain gets first, and loses again if libvirt refuses the rest
    :raises PolicyError: the guest's machine changes and nobody agreed
    :raises LibvirtError: libvirt refused; the domain is as it was
    """
    name, uuid = _identity(result.xml)
    if connection.read_only or domain is not None and not domain.secure:
        raise LibvirtError("the connection is read-only", hint=READ_ONLY_HINT)
    if domain is not None:
        _check_same(result, domain)
        if result.xml == result.input and domain.persistent and (live is None or not live.pending):
            talk.warning(f"the profiles change nothing in domain '{domain.name}'")
            _start(connection, domain, options, talk)
            return
        _warn_before(domain, live, talk)
    volumes = NewVolumes(connection, result, talk)
    for line in volumes.lines():
        talk.note(line)
    exists = domain is not None or connection.known(name, uuid)
    if not _permitted(result, name, exists, options, talk, stdin):
        return
    volumes.carry_out()
    if live is not None:
        try:
            live.carry_out()
        except LibvirtError as problem:
            raise volumes.take_back(problem, domain) from problem
        if domain is not None and not domain.persistent or options.define is False:
            return  # nothing is kept for the next boot
    defined = _defined(connection, result, domain, volumes, live)
    talk.note(f"Domain '{defined.name}' defined successfully.")
    _tell_dropped(result, defined, again, talk)
    if defined.active and not options.start and (live is None or live.plan.later):
        talk.note(f"Domain '{defined.name}' is running: the changes take effect after it was powered off.")
    _start(connection, defined, options, talk)


def _check_same(result: Result, domain: Domain) -> None:
    """Raise PolicyError if the result has another name or UUID than the domain it came from."""
    identity = _identity(result.xml)
    if identity != _identity(result.input):
        raise PolicyError(
            f"the profiles would rename domain '{domain.name}' to '{identity[0]}'",
            hint="'virsh domrename' renames a domain; --print-xml prints the result",
        )


def _warn_before(domain: Domain, live: Live | None, talk: Talk) -> None:
    """Warn of what defining does to a transient or a saved domain."""
    if not domain.persistent and live is None:
        talk.warning(f"domain '{domain.name}' is transient: defining makes it persistent")
    if domain.managed_save:
        talk.warning(
            f"domain '{domain.name}' has a managed save image: it resumes as it was saved;"
            f" 'virsh managedsave-remove {domain.name}' lets it boot as defined"
        )


def _permitted(
    result: Result, name: str, exists: bool, options: ApplyOptions, talk: Talk, stdin: IO[Any]
) -> bool:
    """Whether to go on: by --yes, by the answer to --confirm, or as the guest sees no other machine."""
    if options.yes:
        return True
    if options.confirm:
        return _agreed(f"Define '{name}' with the changed XML?", talk, stdin)
    changes = sum(warning.code == GUEST_ABI for warning in result.warnings)
    if changes and exists:
        raise PolicyError(
            f"the guest in domain '{name}' would see another machine ({changes} changes)",
            hint="--yes defines it all the same, --confirm shows the difference and asks",
        )
    return True


def _defined(
    connection: Connection, result: Result, domain: Domain | None, volumes: NewVolumes, live: Live | None
) -> Domain:
    """The domain as defined; if libvirt refuses, what was done before is undone."""
    try:
        return connection.define(result.xml if live is None else live.definition(result))
    except LibvirtError as problem:
        problem = problem if live is None else live.take_back(problem)
        raise volumes.take_back(problem, None if live is None else domain) from problem


def _start(connection: Connection, domain: Domain, options: ApplyOptions, talk: Talk) -> None:
    if not options.start:
        return
    if domain.active:
        talk.warning(f"domain '{domain.name}' is running already, as it was defined before")
        return
    connection.start(domain)
    talk.note(f"Domain '{domain.name}' started successfully.")


def _identity(xml: str) -> tuple[str, str]:
    from virtProfile.format.document import parse

    root = parse(xml).root
    return (root.findtext("name") or "").strip(), (root.findtext("uuid") or "").strip()


def _agreed(question: str, talk: Talk, stdin: IO[Any]) -> bool:
    """Ask until the answer is yes or no; the end of the input is a no."""
    while True:
        talk.say(f"{question} (y/n): ", end="")
        line = stdin.readline()
        if isinstance(line, bytes):
            line = line.decode("utf-8", "replace")
        answer = line.strip().lower()
        if answer in ("y", "yes"):
            return True
        if answer in ("n", "no") or not line:
            if not line:
                talk.say("no")
            talk.say("not defined")
            return False
        talk.say("Please answer 'yes' or 'no'.")


def _tell_dropped(result: Result, defined: Domain, again: Callable[[str], Result], talk: Talk) -> None:
    """Warn of changes that libvirt did not keep: those that the profiles would make again."""
    if not result.changed:
        return
    try:
        missing = veil_result(again(defined.xml)).changes
    except ProfileError as problem:
        talk.debug("libvirt's XML cannot be compared: %s", problem)
        return
    wanted = {(change.path, change.after) for change in veil_result(result).changes}
    for change in missing:
        if (change.path, change.after) in wanted:
            value = "" if change.after is None else f" = '{change.after}'"
            talk.warning(f"libvirt did not keep {change.path}{value} of {change.origin}")
