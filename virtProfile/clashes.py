# SPDX-License-Identifier: GPL-2.0-or-later
"""Which options of ``virt-profile`` may not stand together, as data; `cliargs` looks at it."""

from __future__ import annotations

#: Pairs that contradict each other, besides those of one `one_of`.
CLASHES: tuple[tuple[str, str], ...] = (
    ("DOMAIN", "--input"),
    ("--check", "--define"),
    ("--check", "--start"),
    ("--check", "--confirm"),
    ("--no-define", "--confirm"),
    ("--no-define", "--start"),
    ("--hosts", "--define"),
    ("--hosts", "--check"),
    ("--hosts", "--confirm"),
    ("--hosts", "--print-xml"),
    ("--hosts", "--print-diff"),
    ("--hosts", "--explain"),
    ("--hosts", "--status"),
    *(
        ("--device", flag)
        for flag in (
            "--update",
            "--status",
            "--unapply",
            "--upgrade",
            "--define",
            "--start",
            "--confirm",
            "--check",
            "--print-xml",
            "--print-diff",
            "--explain",
            "--hosts",
            "--complete",
            "--all",
            "--output",
        )
    ),
    ("--update", "--start"),
    ("--update", "--check"),
    ("--update", "--input"),
    ("--update", "--hosts"),
    ("--update", "--status"),
    ("--update", "--all"),
    ("--status", "--profile"),
    ("--status", "--define"),
    ("--status", "--start"),
    ("--status", "--confirm"),
    ("--status", "--print-xml"),
    ("--status", "--print-diff"),
    ("--status", "--explain"),
    ("--unapply", "--profile"),
    ("--unapply", "--override"),
    ("--unapply", "--auto"),
    ("--unapply", "--no-record"),
    ("--upgrade", "--profile"),
    ("--upgrade", "--override"),
    ("--upgrade", "--auto"),
    ("--upgrade", "--no-record"),
    # what needs the profiles or libvirt's schema here
    *(
        ("--server", flag)
        for flag in ("--profile-dir", "--schema", "--all", "--output", "--jobs", "--report")
    ),
)

#: What makes sense only beside another option.
ONLY_WITH: tuple[tuple[str, str], ...] = (
    ("--min-hosts", "--merge-capabilities"),
    ("--require", "--merge-capabilities"),
    ("--token-file", "--server"),
)

#: What may be said besides --list, --info and --lint.
WITH_TASKS = frozenset(("--profile-dir", "--schema", "--json", "--quiet", "--debug"))
#: And what besides one of the tasks only.
_ASKS = frozenset(("--server", "--token-file"))
WITH_TASK = {
    "--merge-capabilities": frozenset(("--connect", "--min-hosts", "--require")) | _ASKS,
    "--list": _ASKS,
    "--info": _ASKS,
}

#: What says nothing about one VM.
FOR_FLEETS = ("--output", "--jobs", "--report", "--resume", "--max-failures")
