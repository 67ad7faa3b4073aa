# SPDX-License-Identifier: GPL-2.0-or-later
"""What a profile's expressions ask for besides the domain, found without evaluating them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .errors import ProfileError
from .expression import compile_expression
from .profile import Action, Match, Snippet, Unknown
from .records import record
from .template import Expr, is_plain, split

if TYPE_CHECKING:
    from .expression import Expression
    from .profile import Profile


@record
class Need:
    """A part of the context that a profile asks for.

    `places` are ``FILE:LINE``; `optional` where none of them is an error without it.
    """

    what: str
    option: str
    places: tuple[str, ...]
    optional: bool


#: What it is, how it is given, and the variables and functions that ask for it.
_CONTEXT: dict[str, tuple[str, str, frozenset[str]]] = {
    "capabilities": (
        "the host's capabilities",
        "--capabilities FILE or a connection",
        frozenset({"$capabilities", "$host"}),
    ),
    "domcapabilities": (
        "domain capabilities",
        "--domcapabilities FILE or a connection",
        frozenset({"$domcapabilities", "vp:supports"}),
    ),
    "os": (
        "the guest OS",
        "the VM's metadata or --osinfo ID",
        frozenset({"vp:os-supports", "vp:os-family", "vp:os-id"}),
    ),
    "qemu-version": (
        "QEMU's version",
        "--qemu-version N, a connection, or at least the version of the machine type",
        frozenset({"$qemu_version"}),
    ),
    "machine": (
        "the machine type",
        "the VM, its arch or --capabilities FILE",
        frozenset({"vp:machine"}),
    ),
}


def needs(profile: Profile) -> list[Need]:
    """What of the context a profile asks for; expressions in error ask for nothing."""
    asked: dict[str, dict[str, bool]] = {}
    for expression, place, optional in _expressions(profile):
        for what, (_, _, names) in _CONTEXT.items():
            if not names.isdisjoint(expression.uses):
                places = asked.setdefault(what, {})
                places[place] = places.get(place, True) and optional
    return [
        Need(what, option, tuple(asked[what]), all(asked[what].values()))
        for what, (_, option, _) in _CONTEXT.items()
        if what in asked
    ]


def asks(expression: Expression) -> bool:
    """Can the expression be unknown for want of context?"""
    return any(not names.isdisjoint(expression.uses) for _, _, names in _CONTEXT.values())


def _expressions(profile: Profile) -> Iterator[tuple[Expression, str, bool]]:
    """Every expression, where it stands, and whether it may stay unknown."""
    for match in profile.matches:
        yield from _of(profile, match, profile.file, match.test)
    for action in profile.actions:
        yield from _of(profile, action, action.file, action.when)
        yield from _of(profile, action, action.file, action.select)


def _of(
    profile: Profile, owner: Match | Action, file: str, text: str | None
) -> Iterator[tuple[Expression, str, bool]]:
    condition = owner.unknown != Unknown.ERROR
    value = owner.unknown == Unknown.SKIP or condition and isinstance(owner, Match)
    rows = [] if text is None else [(text, owner.line, 0, condition)]
    for branch in owner.branches:
        rows += [(*row, value) for row in templates(branch)]
    for source, line, column, optional in rows:
        try:
            made = compile_expression(
                source,
                file=file,
                line=line,
                column=column,
                params=[one.name for one in profile.params],
                namespaces=dict(profile.namespaces),
            )
        except ProfileError:
            continue
        yield made, f"{file}:{line}", optional


def templates(snippet: Snippet) -> Iterator[tuple[str, int, int]]:
    """(text, line, column) of every ``{…}`` in a snippet; those that are not closed are left out."""
    values = [value for _, value in (*snippet.attrs, *snippet.intents)]
    if snippet.text is not None:
        values.append(snippet.text)
    for value in values:
        if is_plain(value):
            continue
        try:
            parts = split(value)
        except ProfileError:
            continue
        for part in parts:
            if isinstance(part, Expr):
                yield part.text, snippet.line, part.column
    for one in snippet.children:
        yield from templates(one)


def spoken(what: str) -> str:
    """A part of the context as a person calls it."""
    return _CONTEXT[what][0] if what in _CONTEXT else what
