# SPDX-License-Identifier: GPL-2.0-or-later
"""From the options of a program to the parser of its command line."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from virtProfile.errors import UsageError, nearest
from virtProfile.option import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from virtProfile.option import Option

#: argparse's own words stay as they are, like all others: to look for a translation of two of them
#: takes longer than to make the parser.
vars(argparse)["_"] = str


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
    """argparse's message, opened in lower case, without its list of spellings, the same in every Python."""
    message, choose, words = message.partition("(choose from ")
    message += choose + words.replace("'", "")  # as argparse writes them since Python 3.12
    return message.replace("argument -", "option -", 1) if message.startswith("argument") else message


def parser_of(
    rows: Sequence[Option],
    *,
    prog: str,
    usage: str,
    description: str,
    epilog: str | None = None,
    order: Sequence[str] = (),
    completer: Callable[[str], Any] | None = None,
) -> OptionParser:
    """The parser of options, which its namespace has by `Option.dest`.

    :param order: of the groups in ``--help``; others follow as the rows name them
    :param completer: gives what completes a kind of value; only for a shell that asks
    """
    made = OptionParser(
        rows,
        prog=prog,
        usage=usage,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    groups: dict[str, Any] = {title: made.add_argument_group(title) for title in order}
    for row in rows:
        if row.group not in groups:
            groups[row.group] = made.add_argument_group(row.group)
        names = (row.dest,) if row.kind == Kind.OPERAND else row.flags
        action = groups[row.group].add_argument(*names, **argument_of(row))
        if completer is not None and row.completes:
            action.completer = completer(row.completes)
    return made


def argument_of(row: Option) -> dict[str, Any]:
    """An option as argparse takes it."""
    more: dict[str, Any] = {"help": row.help}
    if row.kind != Kind.OPERAND:
        more["dest"] = row.dest
    if row.kind == Kind.FLAG:
        return {**more, "action": "store_true"}
    if row.metavar or row.kind == Kind.OPERAND:
        more["metavar"] = row.metavar or row.name
    if row.words:
        more["choices"] = row.words
    if row.kind == Kind.EACH:
        more.update(action="append", default=[])
    elif row.kind == Kind.MAYBE:
        more.update(nargs="?", const="")
    elif row.kind == Kind.MANY:
        more.update(nargs="+")
    elif row.kind == Kind.ANY:
        more.update(nargs="*")
    elif row.kind == Kind.OPERAND:
        more.update(nargs="*")
    return more


def is_given(value: object, kind: Kind) -> bool:
    """Whether a command line has an option, by its value in the parser's namespace."""
    return value is not None and value is not False and (value != [] or kind == Kind.ANY)
