# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line as data: one record per option, from which parser, help and completion are made.

The manual page is held to the same records by a test. What a value means is
decided in `cli`; here stands only how it is spelled.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

from .errors import UsageError

PROGRAM = "virt-profile"


class Kind(StrEnum):
    """How many values an option takes."""

    FLAG = "flag"
    VALUE = "value"
    EACH = "each"  # one value, the option may be repeated
    MAYBE = "maybe"  # with or without a value
    MANY = "many"  # one value or more
    ON_OFF = "on-off"  # sets another option's destination to False


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its spellings, what it takes, where help shows it, what completes it.

    `one_of` names a set of which only one may be given. `completes` is one of
    "", "file", "directory", "profile", "connection".
    """

    flags: tuple[str, ...]
    kind: Kind
    group: str
    help: str
    metavar: str = ""
    dest: str = ""
    one_of: str = ""
    words: tuple[str, ...] = ()
    completes: str = ""

    @property
    def name(self) -> str:
        """The attribute of the parsed options that holds it."""
        return self.dest or self.flags[-1].lstrip("-").replace("-", "_")


_VM = "the VM"
_PROFILES = "the profiles"
_OUTPUT = "output (the default is to define a DOMAIN, and to print a file or stdin)"
_DEFINE = "defining"
_ABOUT = "about profiles"
_OTHER = "other"

OPTIONS: tuple[Option, ...] = (
    Option(
        ("-c", "--connect"),
        Kind.VALUE,
        _VM,
        "connect to libvirt at URI, such as qemu:///system; without it libvirt's default",
        "URI",
        completes="connection",
    ),
    Option(
        ("--input",),
        Kind.VALUE,
        _VM,
        "read the domain XML from FILE instead of asking libvirt for DOMAIN; '-' is stdin",
        "FILE",
        completes="file",
    ),
    Option(
        ("--profile",),
        Kind.EACH,
        _PROFILES,
        "apply the profile NAME; may be repeated. Priorities above 99 override the VM"
        " definition. '--profile help' lists the profiles",
        "NAME[,priority=N][,version=V][,PARAM=VALUE]",
        completes="profile",
    ),
    Option(
        ("--override",),
        Kind.FLAG,
        _PROFILES,
        "let each --profile that names no priority override the VM definition (priority=100)",
    ),
    Option(
        ("--profile-dir",),
        Kind.EACH,
        _PROFILES,
        "look for profiles in DIR first; may be repeated",
        "DIR",
        completes="directory",
    ),
    Option(
        ("--schema",),
        Kind.VALUE,
        _PROFILES,
        "judge by this host's libvirt, or by the baseline that is shipped (the default for files)",
        words=("host", "baseline"),
    ),
    Option(
        ("--no-record",),
        Kind.FLAG,
        _PROFILES,
        "do not write the profiles into the VM's metadata",
    ),
    Option(("--print-xml",), Kind.FLAG, _OUTPUT, "print the resulting XML", one_of="output"),
    Option(
        ("--print-diff",),
        Kind.FLAG,
        _OUTPUT,
        "print what changes, each line with the profile that wants it",
        one_of="output",
    ),
    Option(
        ("--explain",),
        Kind.MAYBE,
        _OUTPUT,
        "print who wants each value, and who lost it and why; with XPATH only of what that selects",
        "XPATH",
        one_of="output",
    ),
    Option(("--json",), Kind.FLAG, _OUTPUT, "print everything as JSON", one_of="output"),
    Option(
        ("--check",),
        Kind.FLAG,
        _OUTPUT,
        "define nothing, exit with 4 if the profiles would change anything",
    ),
    Option(
        ("--define",),
        Kind.FLAG,
        _DEFINE,
        "define the result, also of a file or stdin",
        one_of="define",
    ),
    Option(
        ("--no-define",),
        Kind.ON_OFF,
        _DEFINE,
        "do not define the result",
        dest="define",
        one_of="define",
    ),
    Option(("--start",), Kind.FLAG, _DEFINE, "start the domain after it was defined"),
    Option(("--confirm",), Kind.FLAG, _DEFINE, "show the difference and ask before defining"),
    Option(
        ("--yes",),
        Kind.FLAG,
        _DEFINE,
        "define also what changes the machine that the guest sees; with --confirm, do not ask",
    ),
    Option(("--list",), Kind.FLAG, _ABOUT, "list the profiles", one_of="task"),
    Option(
        ("--info",),
        Kind.VALUE,
        _ABOUT,
        "tell about the profile NAME",
        "NAME[,version=V]",
        one_of="task",
        completes="profile",
    ),
    Option(
        ("--lint",),
        Kind.MANY,
        _ABOUT,
        "check profile files",
        "FILE",
        one_of="task",
        completes="file",
    ),
    Option(("-q", "--quiet"), Kind.FLAG, _OTHER, "tell nothing but errors and warnings"),
    Option(("-d", "--debug"), Kind.FLAG, _OTHER, "log to stderr, with tracebacks of errors"),
    Option(("--version",), Kind.FLAG, _OTHER, "print the version and exit"),
    Option(("-h", "--help"), Kind.FLAG, _OTHER, "print this and exit"),
)

#: Pairs that contradict each other, besides those of one `one_of`.
CLASHES: tuple[tuple[str, str], ...] = (
    ("DOMAIN", "--input"),
    ("--check", "--define"),
    ("--check", "--start"),
    ("--check", "--confirm"),
    ("--no-define", "--confirm"),
    ("--no-define", "--start"),
)

#: What may be said besides --list, --info and --lint.
WITH_TASKS = frozenset(("--profile-dir", "--schema", "--json", "--quiet", "--debug"))

EXAMPLES = """\
examples:
  virt-profile --list
  virt-profile vm1 --profile spice-desktop --print-diff
  virt-profile vm1 --profile spice-desktop --profile throughput,priority=50 --confirm
  virsh dumpxml vm1 | virt-profile --profile headless > headless.xml
  virt-profile --input vm1.xml --profile throughput --override --explain devices/disk
  virt-profile -c qemu:///system vm1 --check || echo "profiles are not applied"

exit status: 0 done, 1 failed, 2 wrong usage, 3 cannot hold together, 4 --check found changes
"""


class _Parser(argparse.ArgumentParser):
    """Wrong usage is an error like all others, not argparse's own exit."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(_plain(message), hint=f"'{PROGRAM} --help' lists the options")


def _plain(message: str) -> str:
    """argparse's message, opened in lower case and without its list of spellings."""
    return (
        message.replace("argument -", "option -", 1) if message.startswith("argument") else message
    )


def parser(completer: Callable[[str], Any] | None = None) -> argparse.ArgumentParser:
    """The parser of `OPTIONS`.

    :param completer: gives what completes a kind of value; only for a shell that asks
    """
    made = _Parser(
        prog=PROGRAM,
        usage="%(prog)s [OPTIONS] [DOMAIN | --input FILE | < XML] [--profile NAME]…",
        description="Apply libvirt profiles, named and versioned pieces of domain XML, to a VM.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    groups: dict[str, Any] = {}
    for option in OPTIONS:
        if option.group not in groups:
            groups[option.group] = made.add_argument_group(option.group)
            if option.group == _VM:
                domain = groups[_VM].add_argument(
                    "domain",
                    metavar="DOMAIN",
                    nargs="?",
                    help="a domain that libvirt knows, by name, id or UUID",
                )
                if completer is not None:
                    domain.completer = completer("domain")
        row = groups[option.group].add_argument(
            *option.flags, dest=option.name, help=option.help, **_argument(option)
        )
        if completer is not None and option.completes:
            row.completer = completer(option.completes)
    return made


def _argument(option: Option) -> dict[str, Any]:
    """What argparse wants to hear about an option."""
    if option.kind == Kind.FLAG:
        return {"action": "store_true", "default": None if option.name == "define" else False}
    if option.kind == Kind.ON_OFF:
        return {"action": "store_false", "default": None}
    more: dict[str, Any] = {}
    if option.metavar:
        more["metavar"] = option.metavar
    if option.words:
        more["choices"] = option.words
    if option.kind == Kind.EACH:
        more.update(action="append", default=[])
    elif option.kind == Kind.MAYBE:
        more.update(nargs="?", const="")
    elif option.kind == Kind.MANY:
        more.update(nargs="+")
    return more


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of a command line, checked against each other.

    :raises UsageError: unknown options, options that contradict each other
    """
    options = parser().parse_args(list(argv))
    given = {option.flags[-1] for option in OPTIONS if is_given(option, options)}
    if options.domain is not None:
        given.add("DOMAIN")
    sets: dict[str, str] = {}
    for option in OPTIONS:
        flag = option.flags[-1]
        if flag not in given or not option.one_of:
            continue
        other = sets.setdefault(option.one_of, flag)
        if other != flag:
            _clash(other, flag)
    if options.define is False and "--define" in argv:
        _clash("--define", "--no-define")
    for one, other in CLASHES:
        if one in given and other in given:
            _clash(one, other)
    task = sets.get("task")
    if task is not None:
        for flag in sorted(given - {task} - WITH_TASKS):
            _clash(task, flag)
    return options


def is_given(option: Option, options: argparse.Namespace) -> bool:
    """Does the command line say `option`?"""
    value = getattr(options, option.name)
    if option.kind == Kind.ON_OFF:
        return value is False
    return value is not None and value is not False and value != []


def _clash(one: str, other: str) -> NoReturn:
    raise UsageError(
        f"{one} and {other} cannot be given together",
        hint=f"leave out {one} or {other}",
    )


def split(value: str, option: str = "--profile") -> list[str]:
    """The parts of an option's value: separated by commas, a doubled comma is a
    literal one, double quotes protect, in them a backslash protects a quote.

    :raises UsageError: a quote without end
    """
    parts: list[str] = []
    part: list[str] = []
    quoted = False
    position = 0
    while position < len(value):
        one = value[position]
        following = value[position + 1 : position + 2]
        position += 1
        if quoted and one == "\\" and following in ('"', "\\"):
            part.append(following)
            position += 1
        elif one == '"':
            quoted = not quoted
        elif one != "," or quoted:
            part.append(one)
        elif following == ",":
            part.append(",")
            position += 1
        else:
            parts.append("".join(part))
            part = []
    if quoted:
        raise UsageError(f"{option} {value}: a double quote is not closed")
    parts.append("".join(part))
    return parts


def profile_wish(value: str, option: str = "--profile") -> dict[str, Any]:
    """One ``--profile`` value as the mapping that `virtProfile.apply` takes.

    :raises UsageError: no name, a part without value, a part given twice, a bad include=
    """
    name, *rest = split(value, option)
    wish: dict[str, Any] = {"name": name.removeprefix("name="), "params": {}}
    if not wish["name"]:
        raise UsageError(f"{option} '{value}': the name of a profile is missing")
    for part in rest:
        key, sign, word = part.partition("=")
        if not part:
            continue
        if not sign or not key:
            raise UsageError(
                f"{option} {value}: '{part}' is not of the form PARAM=VALUE",
                hint="a comma inside a value is written ',,', or the value in double quotes",
            )
        if key in wish or key in wish["params"]:
            raise UsageError(f"{option} {value}: '{key}' is given twice")
        if key == "include":
            if word not in ("yes", "no"):
                raise UsageError(f"{option} {value}: include='{word}' is neither yes nor no")
            wish["include"] = word == "yes"
        elif key in ("priority", "version"):
            wish[key] = word
        else:
            wish["params"][key] = word
    return wish


def flags(options: Iterable[Option] = OPTIONS) -> list[str]:
    """Every spelling of every option."""
    return [flag for option in options for flag in option.flags]
