# SPDX-License-Identifier: GPL-2.0-or-later
"""What the program tells about hosts: ``--merge-capabilities`` and ``--hosts``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from virtProfile.errors import EXIT_DONE, EXIT_FAILED, UsageError
from virtProfile.host.files import read_hosts

if TYPE_CHECKING:
    from virtProfile.apply_options import ApplyOptions
    from virtProfile.cli.remote import Remote
    from virtProfile.host.fit import HostDocuments, Verdict
    from virtProfile.host.merge import Baseline, Merged
    from virtProfile.show.terminal import Output, Talk

#: Single capabilities that a host lacks, and reasons, that are listed one by one.
MAX_TOLD = 5


def merge(out: Output, talk: Talk, options: ApplyOptions, remote: Remote | None = None) -> int:
    """The capabilities that enough hosts share: the document on stdout, the rest is talk.

    :param remote: who computes them, instead of this process
    """
    from virtProfile.host.merge import Host
    from virtProfile.host.merge import merge as merged
    from virtProfile.language.requirement import requirements

    hosts = []
    for host in read_hosts(options.merge_capabilities):
        if len(host.domcapabilities) == 1:
            hosts.append(Host(host.name, host.domcapabilities[0]))
            continue
        if not host.domcapabilities:
            talk.warning(f"host '{host.name}' has no domain capabilities")
        hosts += [Host(f"{host.name}#{at}", text) for at, text in enumerate(host.domcapabilities, 1)]
    least = options.min_hosts
    if remote is not None:
        if options.connect is not None:
            raise UsageError(
                "--server merges without libvirt's baseline", hint="leave out --server or --connect"
            )
        found = remote.merge(hosts, least, require=options.require)
    elif options.connect is None:
        found = merged(hosts, least, require=requirements(options.require))
    else:
        from virtProfile.live.connection import Connection

        with Connection(options.connect, read_only=True) as connection:
            baseline: Baseline = connection.baseline_cpu
            found = merged(hosts, least, require=requirements(options.require), baseline=baseline)
    if options.json:
        out.json(found.to_dict())
        return EXIT_DONE
    out.write(found.xml)
    _tell(talk, found)
    return EXIT_DONE


def _tell(talk: Talk, found: Merged) -> None:
    s = "" if len(found.hosts) == 1 else "s"
    more = "" if found.proven else ", not proven to be the most that can be shared"
    talk.note(
        f"{found.size} capabilities shared by {len(found.hosts)} host{s}{more}: {', '.join(found.hosts)}"
    )
    for host in found.excluded:
        lacks = ", ".join(host.lacks[:MAX_TOLD])
        if len(host.lacks) > MAX_TOLD:
            lacks += f" and {len(host.lacks) - MAX_TOLD} more, which --json tells"
        talk.note(f"left out: {host.name} {host.reason}{': ' if lacks else ''}{lacks}")
    for note in found.notes:
        talk.warning(note)


def where_it_runs(
    out: Output,
    talk: Talk,
    options: ApplyOptions,
    ask: Callable[[Sequence[HostDocuments]], Sequence[Verdict]],
) -> int:
    """Hold the resulting VM against each host's documents.

    :param ask: gives the hosts' answers, as `hostanswers.verdicts`
    :returns: done where a host runs it for sure
    """
    from virtProfile.host.fit import Answer

    found = ask(read_hosts(options.hosts))
    if options.json:
        out.json({"hosts": [verdict.to_dict() for verdict in found]})
    else:
        out.lines(_rows(found))
    if any(verdict.answer == Answer.YES for verdict in found):
        return EXIT_DONE
    talk.failure(f"no host is known to run the VM ({len(found)} were checked)")
    return EXIT_FAILED


def _rows(verdicts: Sequence[Verdict]) -> list[str]:
    wide = max(len(verdict.host) for verdict in verdicts)
    lines: list[str] = []
    for verdict in verdicts:
        remarks: list[Any] = [
            f"{reason.path}: {reason.message}" if reason.path else reason.message
            for reason in verdict.reasons
        ]
        lines.append(f"{verdict.host:<{wide}}  {verdict.answer:<7}  {remarks[0] if remarks else ''}".rstrip())
        lines += [" " * (wide + 11) + line for line in remarks[1:]]
    return lines
