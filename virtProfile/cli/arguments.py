# SPDX-License-Identifier: GPL-2.0-or-later
"""From the rows of the options to a parser, and from a command line to checked options.

What a value means is decided in `cli`; here stands only how it is spelled.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from virtProfile.apply_options import GROUPS, ROWS, ApplyOptions
from virtProfile.command_line import is_given, parser_of
from virtProfile.errors import UsageError
from virtProfile.language.requests import NONE, profile_wish
from virtProfile.option import values_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from virtProfile.command_line import OptionParser

PROGRAM = "virt-profile"

EXAMPLES = """\
examples:
  virt-profile --list
  virt-profile vm1 --profile spice-desktop --print-diff
  virt-profile vm1 --profile spice-desktop --profile fast-disk,priority=50 --confirm
  virsh dumpxml vm1 | virt-profile --profile headless-server > headless.xml
  virt-profile --input vm1.xml --profile fast-disk --override --explain devices/disk
  virt-profile vm1 --status
  virt-profile vm1 --unapply spice-desktop --confirm
  virt-profile vm1 --audit
  virt-profile -c qemu:///system vm1 --check || echo "profiles are not applied"

exit status: 0 done, 1 failed, 2 wrong usage, 3 cannot hold together, 4 --check found changes,
--audit found something
"""


def parser(completer: Callable[[str], Any] | None = None) -> OptionParser:
    """The parser of all options.

    :param completer: gives what completes a kind of value; only for a shell that asks
    """
    return parser_of(
        ROWS,
        prog=PROGRAM,
        usage="%(prog)s [OPTIONS] [DOMAIN | --input FILE | < XML] [--profile NAME]…",
        description="Apply libvirt profiles, named and versioned pieces of domain XML, to a VM.",
        epilog=EXAMPLES,
        order=GROUPS,
        completer=completer,
    )


def parse(argv: Sequence[str]) -> ApplyOptions:
    """The options of a command line, checked against each other.

    :raises UsageError: unknown options, options that contradict each other, words that are no values
    """
    words = vars(parser().parse_args(list(argv)))
    given = {row.name for row in ROWS if is_given(words[row.dest], row.kind)}
    if not _is_fleet(words["all"], words["input"], words["domain"], words["output"]):
        _check_single(given, len(words["connect"]))
    _check_together(given)
    for row in ROWS:
        needed = (row.needs,) if isinstance(row.needs, str) else row.needs
        if any(needed) and row.name in given and not given.intersection(needed):
            hint = row.needs_hint or f"leave out {row.name}, or add {' or '.join(needed)}"
            raise UsageError(f"{row.name} has no effect without {' or '.join(needed)}", hint=hint)
    return ApplyOptions(**values_of(ApplyOptions, words))


def _check_single(given: set[str], connections: int) -> None:
    """:raises UsageError: an option of fleets; the command line is about one VM."""
    hint = "--all, several domains or files, patterns and directories are many VMs"
    for row in ROWS:
        if row.fleet_only and row.name in given:
            raise UsageError(f"{row.name} is for many VMs", hint=hint)
    if connections > 1:
        raise UsageError(f"{connections} connections were given for one VM", hint=hint)


def _check_together(given: set[str]) -> None:
    """:raises UsageError: options that contradict each other."""
    sets: dict[str, str] = {}
    rows = [row for row in ROWS if row.name in given]
    for row in rows:
        if row.one_of:
            first = sets.setdefault(row.one_of, row.name)
            if first != row.name:
                _clash(first, row.name)
    for row in rows:
        for other in row.excludes:
            if other in given:
                _clash(row.name, other)
    task = sets.get("task")
    if task is not None:
        allowed = {task, *(row.name for row in ROWS if task in row.tasks)}
        for name in sorted(given - allowed):
            _clash(task, name)


def is_pattern(text: str) -> bool:
    """Is a word for domains a pattern and no name?"""
    return any(letter in text for letter in "*?[")


def _is_fleet(all_domains: bool, inputs: Sequence[str], domains: Sequence[str], output: str | None) -> bool:
    if all_domains or len(inputs) > 1 or len(domains) > 1 or any(map(is_pattern, domains)):
        return True
    if output is not None and inputs:
        return True
    return any(
        os.path.isdir(name) or any(letter in name for letter in "*?[") and not os.path.exists(name)
        for name in inputs
    )


def is_fleet(options: ApplyOptions) -> bool:
    """Does the command line speak of many VMs?"""
    return _is_fleet(options.all, options.inputs, options.domains, options.output)


def is_task(options: ApplyOptions) -> bool:
    """Does the command line ask for something that is not about one VM or many?"""
    return options.has_of("task") or any(value in ("help", "?") for value in options.profile)


def _clash(option: str, other: str) -> NoReturn:
    raise UsageError(
        f"{option} and {other} cannot be given together",
        hint=f"leave out {option} or {other}",
    )


def profile_wishes(options: ApplyOptions) -> list[dict[str, Any]]:
    """What ``--profile`` and its short form ``--mirror-topology`` ask for.

    :raises UsageError: as `profile_wish`
    """
    wishes = [profile_wish(value) for value in options.profile if value != NONE]
    value = options.mirror_topology
    if value is not None:
        if value and "=" not in value and options.domain is None and options.input is None:
            raise UsageError(
                "a domain must be specified",
                hint=f"--mirror-topology took '{value}' for its value: write the domain before it",
            )
        wishes.append(profile_wish(f"mirror-topology,{value}", "--mirror-topology"))
    return wishes
