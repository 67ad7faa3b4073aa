# SPDX-License-Identifier: GPL-2.0-or-later
"""Better hints for command lines that mean something else than they say.

A table of what people write, from other programs' habits, and what they find here.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from virtProfile.errors import LibvirtError, NotFoundError, ProfileError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Words of other programs' command lines in the place of a domain, and the command that does it.
VERBS = {
    "apply": "virt-profile DOMAIN --profile NAME",
    "add": "virt-profile DOMAIN --profile NAME",
    "audit": "virt-profile DOMAIN --audit",
    "check": "virt-profile DOMAIN --check",
    "diff": "virt-profile DOMAIN --profile NAME --print-diff",
    "help": "virt-profile --help",
    "info": "virt-profile --info NAME",
    "lint": "virt-profile --lint FILE",
    "list": "virt-profile --list",
    "remove": "virt-profile DOMAIN --unapply NAME",
    "show": "virt-profile --info NAME",
    "status": "virt-profile DOMAIN --status",
    "test": "virt-profile --test FILE",
    "unapply": "virt-profile DOMAIN --unapply NAME",
    "upgrade": "virt-profile DOMAIN --upgrade",
    "validate": "virt-profile --lint FILE",
}
#: Options of other programs, and what does the same here.
OPTIONS = {
    "--add": "--profile NAME applies a profile",
    "--apply": "--profile NAME applies a profile",
    "--delete": "--unapply NAME takes a profile back",
    "--diff": "--print-diff shows what would change",
    "--domain": "the domain is a word without an option: virt-profile DOMAIN …",
    "--dry-run": "--print-diff shows what would change and defines nothing; --check tells by its exit status",
    "--edit": "--profile NAME applies a profile; virt-xml --edit changes single values",
    "--file": "--input FILE reads domain XML from a file",
    "--force": "--override lets profiles change what the VM says; --yes defines other hardware for the guest",
    "--profiles": "--profile NAME applies a profile, --list lists them",
    "--remove": "--unapply NAME takes a profile back",
    "--revert": "--unapply NAME takes a profile back",
    "--show": "--info NAME shows a profile",
    "--undo": "--unapply NAME takes a profile back",
    "--validate": "--lint FILE checks profiles; a result is always validated",
    "--verbose": "--debug logs what is done",
    "--xml": "--print-xml prints the resulting XML",
}


def advised(problem: ProfileError, argv: Sequence[str]) -> ProfileError:
    """The same error, with a better hint where the command line says what was meant.

    :param argv: without the program's name
    """
    hint = _hint(problem, argv)
    if not hint:
        return problem
    return type(problem)(
        problem.message, hint=hint, where=problem.where, conflicts=problem.conflicts, others=problem.others
    )


def _hint(problem: ProfileError, argv: Sequence[str]) -> str:
    first = argv[0] if argv else ""
    if isinstance(problem, UsageError):
        unknown = problem.message.partition("unrecognized arguments: ")[2].split(" ")[0]
        option = unknown.partition("=")[0]
        if option in OPTIONS:
            return OPTIONS[option]
        if unknown and first in VERBS:
            return f"there are no subcommands: {VERBS[first]}"
        many = re.match(r"option (--lint|--test): expected at least one argument", problem.message)
        if many:
            return f"the files stand right behind it: {many[1]} FILE…"
        return ""
    missing = re.fullmatch(r"no domain with the name, id or UUID '(.*)'", problem.message)
    first = missing[1] if missing else first  # options may stand before it
    if isinstance(problem, LibvirtError) and first and first[0] != "-":
        if first in VERBS:
            return f"'{first}' was taken for a domain; there are no subcommands: {VERBS[first]}"
        if first.endswith(".xml") or os.path.isfile(first):
            return f"'{first}' was taken for a domain; a file is read with --input {first}"
    if isinstance(problem, NotFoundError):
        return _profile_file(problem)
    return ""


def _profile_file(problem: NotFoundError) -> str:
    """A file in the place of a profile's name."""
    found = re.fullmatch(r"no profile '(.*)'", problem.message)
    name = found[1] if found else ""
    if "/" not in name and not name.endswith(".xml"):
        return ""
    from virtProfile.format.document import read_file
    from virtProfile.language.parser import parse_profiles

    try:
        profiles = parse_profiles(read_file(name)[0], name).profiles
    except (OSError, ProfileError):
        profiles = ()
    directory = os.path.dirname(name) or "."
    given = profiles[0].name if profiles else "NAME"
    return f"profiles are named, not files: --profile-dir {directory} --profile {given}"
