# SPDX-License-Identifier: GPL-2.0-or-later
"""What the program tells about hosts: ``--merge-capabilities`` and ``--hosts``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .errors import EXIT_DONE, EXIT_FAILED, UsageError
from .hostfiles import read_hosts

if TYPE_CHECKING:
    import argparse

    from .capmerge import Baseline, Merged
    from .context import Context
    from .hosts import Verdict
    from .output import Output, Talk
    from .provenance import Result

#: Single capabilities that a host lacks, and reasons, which are told one by one.
MAX_TOLD = 5


def merge(out: Output, talk: Talk, options: argparse.Namespace) -> int:
    """The capabilities that enough hosts share: the document on stdout, the rest is talk."""
    from .capmerge import Host
    from .capmerge import merge as merged

    hosts = []
    for one in read_hosts(options.merge_capabilities):
        if len(one.domcapabilities) == 1:
            hosts.append(Host(one.name, one.domcapabilities[0]))
            continue
        if not one.domcapabilities:
            talk.warning(f"host '{one.name}' has no domain capabilities")
        hosts += [Host(f"{one.name}#{at}", text) for at, text in enumerate(one.domcapabilities, 1)]
    least = None if options.min_hosts is None else _count(options.min_hosts)
    if options.connect is None:
        found = merged(hosts, least, require=options.require)
    else:
        from .domains import Connection

        with Connection(options.connect, read_only=True) as connection:
            baseline: Baseline = connection.baseline_cpu
            found = merged(hosts, least, require=options.require, baseline=baseline)
    if options.json:
        out.json(found.to_dict())
        return EXIT_DONE
    out.write(found.xml)
    _tell(talk, found)
    return EXIT_DONE


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise UsageError(f"--min-hosts {text}: is no number of hosts")
    return int(text)


def _tell(talk: Talk, found: Merged) -> None:
    s = "" if len(found.hosts) == 1 else "s"
    more = "" if found.proven else ", not proven to be the most that can be shared"
    talk.note(
        f"{found.size} capabilities shared by {len(found.hosts)} host{s}{more}: {', '.join(found.hosts)}"
    )
    for one in found.excluded:
        lacks = ", ".join(one.lacks[:MAX_TOLD])
        if len(one.lacks) > MAX_TOLD:
            lacks += f" and {len(one.lacks) - MAX_TOLD} more, which --json tells"
        talk.note(f"left out: {one.name} {one.reason}{': ' if lacks else ''}{lacks}")
    for note in found.notes:
        talk.warning(note)


def where_it_runs(
    out: Output,
    talk: Talk,
    options: argparse.Namespace,
    given: Context,
    text: str,
    apply: Callable[[Context], Result],
) -> int:
    """Hold the resulting VM against each host's documents, which are also what its profiles ask.

    :param given: what the command line says of the context; it goes before the hosts' documents
    :param text: the domain before any profile
    :param apply: applies the profiles in a context
    :returns: done where a host runs it for sure
    """
    from .hostanswers import verdicts
    from .hosts import Answer

    found = verdicts(text, read_hosts(options.hosts), given, apply)
    if options.json:
        out.json({"hosts": [one.to_dict() for one in found]})
    else:
        out.write("".join(f"{line}\n" for line in _rows(found)))
    if any(one.answer == Answer.YES for one in found):
        return EXIT_DONE
    talk.failure(f"no host runs the VM for sure ({len(found)} were asked)")
    return EXIT_FAILED


def _rows(verdicts: Sequence[Verdict]) -> list[str]:
    wide = max(len(one.host) for one in verdicts)
    lines: list[str] = []
    for one in verdicts:
        told: list[Any] = [
            f"{reason.path}: {reason.message}" if reason.path else reason.message for reason in one.reasons
        ]
        lines.append(f"{one.host:<{wide}}  {one.answer:<7}  {told[0] if told else ''}".rstrip())
        lines += [" " * (wide + 11) + line for line in told[1:]]
    return lines
