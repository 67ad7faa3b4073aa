# SPDX-License-Identifier: GPL-2.0-or-later
"""What a profile's expressions ask for besides the domain, found without evaluating them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from virtProfile.errors import ProfileError
from virtProfile.frozen import record
from virtProfile.language.attributes import expressions
from virtProfile.language.expression import compile_expression
from virtProfile.language.functions import FUNCTIONS, VARIABLES
from virtProfile.language.profile import Action, Match, Snippet, Unknown
from virtProfile.language.template import Expr, expressions_in, is_plain, split

if TYPE_CHECKING:
    from virtProfile.language.expression import Expression
    from virtProfile.language.profile import Profile


@record
class Need:
    """A part of the context that a profile asks for.

    `places` are ``FILE:LINE``; `optional` where none of them is an error without it.
    """

    what: str
    option: str
    places: tuple[str, ...]
    optional: bool


#: What it is and how it is given, by the word that functions and variables say they need.
CONTEXT: dict[str, tuple[str, str]] = {
    "capabilities": ("the host's capabilities", "--capabilities FILE or a connection"),
    "domcapabilities": ("domain capabilities", "--domcapabilities FILE or a connection"),
    "os": ("the guest OS", "the VM's metadata or --osinfo ID"),
    "qemu-version": (
        "QEMU's version",
        "--qemu-version N, a connection, or at least the version of the machine type",
    ),
    "machine": ("the machine type", "the VM, its arch or --capabilities FILE"),
    "daemon": ("the kind of libvirt daemon", "--daemon system, --daemon session or a connection"),
}
_ASKING = {
    what: frozenset(
        [name for name, function in FUNCTIONS.items() if function.needs == what]
        + [f"${name}" for name, variable in VARIABLES.items() if variable.needs == what]
    )
    for what in CONTEXT
}


def needs(profile: Profile) -> list[Need]:
    """What of the context a profile asks for; expressions in error ask for nothing."""
    wanted: dict[str, dict[str, bool]] = {}
    for expression, place, optional in _expressions(profile):
        for what, names in _ASKING.items():
            if not names.isdisjoint(expression.uses):
                places = wanted.setdefault(what, {})
                places[place] = places.get(place, True) and optional
    return [
        Need(what, option, tuple(wanted[what]), all(wanted[what].values()))
        for what, (_, option) in CONTEXT.items()
        if what in wanted
    ]


def asks(expression: Expression) -> bool:
    """Can the expression be unknown for want of context?"""
    return any(not names.isdisjoint(expression.uses) for names in _ASKING.values())


def _expressions(profile: Profile) -> Iterator[tuple[Expression, str, bool]]:
    """Every expression, where it stands, and whether it may stay unknown."""
    for match in profile.matches:
        yield from _of(profile, match, profile.file, match.test)
    for action in profile.actions:
        yield from _of(profile, action, action.file, *(text for _, text in expressions(action)))


def _of(
    profile: Profile, owner: Match | Action, file: str, *texts: str | None
) -> Iterator[tuple[Expression, str, bool]]:
    condition = owner.unknown != Unknown.ERROR
    value = owner.unknown == Unknown.SKIP or condition and isinstance(owner, Match)
    rows = [(text, owner.line, 0, condition) for text in texts if text is not None]
    bound: tuple[str, ...] = ()
    if isinstance(owner, Action):
        bound = owner.bound
        rows += [(part.text, owner.line, part.column, value) for part in expressions_in(owner.message or "")]
    for branch in owner.branches:
        rows += [(*row, value) for row in templates(branch)]
    for source, line, column, optional in rows:
        try:
            made = compile_expression(
                source,
                file=file,
                line=line,
                column=column,
                params=[*(param.name for param in profile.params), *bound],
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
    for inner in snippet.children:
        yield from templates(inner)


def spoken(what: str) -> str:
    """A part of the context as a person calls it."""
    return CONTEXT[what][0] if what in CONTEXT else what
