# SPDX-License-Identifier: GPL-2.0-or-later
"""From the records of the options to a parser, and from a command line to checked options.

What a value means is decided in `cli`; here stands only how it is spelled.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from .clashes import CLASHES, FOR_FLEETS, ONLY_WITH, WITH_TASK, WITH_TASKS
from .errors import UsageError, nearest
from .options import EXAMPLES, OPTIONS, PROGRAM, THE_VM, Kind, Option


class OptionParser(argparse.ArgumentParser):
    """Wrong usage is an error like all others, not argparse's own exit."""

    def __init__(self, options: Sequence[Option], **more: Any) -> None:
        super().__init__(**more)
        self._known = [flag for option in options for flag in option.flags]

    def error(self, message: str) -> NoReturn:
        hint = f"'{self.prog} --help' lists the options"
        unknown = message.partition("unrecognized arguments: ")[2].split(" ")[0]
        if unknown.startswith("--"):
            hint = nearest(unknown.partition("=")[0], self._known, 1) or hint
        raise UsageError(_plain(message), hint=hint)


def _plain(message: str) -> str:
    """argparse's message, opened in lower case and without its list of spellings."""
    return message.replace("argument -", "option -", 1) if message.startswith("argument") else message


def parser(completer: Callable[[str], Any] | None = None) -> argparse.ArgumentParser:
    """The parser of `OPTIONS`.

    :param completer: gives what completes a kind of value; only for a shell that asks
    """
    made = OptionParser(
        OPTIONS,
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
            if option.group == THE_VM:
                domain = groups[THE_VM].add_argument(
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
    options.inputs, options.uris = options.input, options.connect
    options.input = options.inputs[-1] if options.inputs else None
    options.connect = options.uris[-1] if options.uris else None
    if options.domain is not None:
        given.add("DOMAIN")
    if not is_fleet(options):
        _check_one(options, given)
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
        for flag in sorted(given - {task} - WITH_TASKS - WITH_TASK.get(task, frozenset())):
            _clash(task, flag)
    for one, other in ONLY_WITH:
        if one in given and other not in given:
            raise UsageError(f"{one} says nothing without {other}", hint=f"leave out {one}, or add {other}")
    return options


def _check_one(options: argparse.Namespace, given: set[str]) -> None:
    hint = "--all, a directory or pattern as --input, or several, are many VMs"
    for flag in FOR_FLEETS:
        if flag in given:
            raise UsageError(f"{flag} is for many VMs", hint=hint)
    if len(options.uris) > 1:
        raise UsageError(f"{len(options.uris)} connections were given for one VM", hint=hint)


def is_fleet(options: argparse.Namespace) -> bool:
    """Does the command line speak of many VMs?"""
    if options.all or len(options.inputs) > 1:
        return True
    for one in options.inputs:
        if os.path.isdir(one) or any(letter in one for letter in "*?[") and not os.path.exists(one):
            return True
    return False


def is_task(options: argparse.Namespace) -> bool:
    """Does the command line ask for something that is not about one VM or many?"""
    if options.list or any(one in ("help", "?") for one in options.profile):
        return True
    return any(
        one is not None for one in (options.lint, options.info, options.learn, options.merge_capabilities)
    )


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


def profile_wishes(options: argparse.Namespace) -> list[dict[str, Any]]:
    """What ``--profile`` and its short form ``--mirror-topology`` ask for.

    :raises UsageError: as `profile_wish`
    """
    wishes = [profile_wish(one) for one in options.profile]
    value = options.mirror_topology
    if value is not None:
        if value and "=" not in value and options.domain is None and options.input is None:
            raise UsageError(
                "a domain must be specified",
                hint=f"--mirror-topology took '{value}' for its value: write the domain before it",
            )
        wishes.append(profile_wish(f"mirror-topology,{value}", "--mirror-topology"))
    return wishes


def profile_wish(value: str, option: str = "--profile") -> dict[str, Any]:
    """One ``--profile`` value as the mapping that `virtProfile.apply` takes.

    :raises UsageError: no name, a part without value, a part given twice, a bad include=
    """
    name, *rest = split(value, option)
    wish: dict[str, Any] = {"name": name.removeprefix("name="), "params": {}}
    if not wish["name"]:
        raise UsageError(f"{option} {value}: the name of a profile is missing")
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
