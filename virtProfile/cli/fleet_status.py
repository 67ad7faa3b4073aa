# SPDX-License-Identifier: GPL-2.0-or-later
"""``--status`` of many VMs: a table of what drifted, is newer or is not applied, VM by VM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from virtProfile.cli.audit import subjects
from virtProfile.errors import EXIT_DONE, EXIT_FAILED, EXIT_PENDING, InvalidDomainError, ProfileError
from virtProfile.show.status import drift_line, row_of, veil_status
from virtProfile.show.terminal import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtProfile.apply_options import ApplyOptions
    from virtProfile.engine.lifecycle import Status
    from virtProfile.language.store import ProfileStore
    from virtProfile.show.terminal import Output, Talk


def fleet_status(options: ApplyOptions, store: ProfileStore, out: Output, talk: Talk) -> int:
    """Print the status of the profiles of all VMs that the options name.

    :returns: 1 where a VM cannot be read, 4 with ``--check`` where an apply would have something to do
    """
    from virtProfile.engine.lifecycle import status
    from virtProfile.format.document import read_file

    found: list[tuple[str, Status]] = []
    errors: list[dict[str, str]] = []
    pending = False
    with store.one_look():
        for subject in subjects(options, lambda: ("", "")):
            try:
                text = subject.text
                if text is None:
                    text = read_file(subject.name, InvalidDomainError)[0]
                judged = veil_status(status(text, store=store, name=subject.name))
                if options.check:
                    from virtProfile.engine.dispatch import dispatch

                    result = dispatch(
                        options, [], text, store=store, context=subject.context, name=subject.name
                    )
                    pending = pending or result.changed
            except ProfileError as problem:
                talk.failure(f"{subject.name}: {problem.message}")
                errors.append({"vm": subject.name, "message": problem.message})
                continue
            found.append((subject.name, judged))
    if options.json:
        vms: list[dict[str, Any]] = [{"vm": name, **judged.to_dict()} for name, judged in found]
        out.json({"vms": vms, "errors": errors})
    else:
        out.lines(_lines(found))
    if errors:
        return EXIT_FAILED
    return EXIT_PENDING if pending else EXIT_DONE


def _lines(found: Sequence[tuple[str, Status]]) -> list[str]:
    """The table; the name of a VM is in the first of its rows, what drifted below it."""
    rows = [("VM", "NAME", "VERSION", "PRIORITY", "BY", "STATE")]
    drifted: dict[int, list[str]] = {}
    for name, judged in found:
        first = name
        for profile in judged.profiles:
            drifted[len(rows)] = [f"    {drift_line(profile.name, drift)}" for drift in profile.drift]
            rows.append((first, *row_of(profile)))
            first = ""
        if not judged.profiles:
            rows.append((name, "-", "-", "-", "-", "no profiles"))
    lines: list[str] = []
    for number, line in enumerate(table(rows)):
        lines += [line, *drifted.get(number, ())]
    return lines
