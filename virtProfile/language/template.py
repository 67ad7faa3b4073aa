# SPDX-License-Identifier: GPL-2.0-or-later
"""Values with ``{…}`` in them: cut into literal text and expressions."""

from __future__ import annotations

from virtProfile.errors import ProfileSyntaxError
from virtProfile.frozen import record


@record
class Expr:
    """One ``{…}``: the expression's text, and its 0-based column in the value."""

    text: str
    column: int


def is_plain(text: str) -> bool:
    """Is there neither an expression nor a doubled brace in it?"""
    return "{" not in text and "}" not in text


def split(text: str) -> tuple[str | Expr, ...]:
    """Literal text (braces undoubled) and expressions, in order.

    Quotes inside an expression protect braces: ``{concat('{', a)}``.

    :raises ProfileSyntaxError: a brace that is not closed or not open
    """
    parts: list[str | Expr] = []
    literal: list[str] = []
    position = 0
    while position < len(text):
        char = text[position]
        if char in "{}" and text[position : position + 2] == char * 2:
            literal.append(char)
            position += 2
        elif char == "{":
            end = _close(text, position)
            if literal:
                parts.append("".join(literal))
                literal = []
            parts.append(Expr(text[position + 1 : end], position + 1))
            position = end + 1
        elif char == "}":
            raise ProfileSyntaxError(
                f"a '}}' without '{{' at column {position + 1} of '{text}'",
                hint="a brace itself is written '}}'",
            )
        else:
            literal.append(char)
            position += 1
    if literal:
        parts.append("".join(literal))
    return tuple(parts)


def expressions_in(text: str) -> tuple[Expr, ...]:
    """The expressions of a value; none where a brace of it is wrong."""
    try:
        return tuple(part for part in split(text) if isinstance(part, Expr))
    except ProfileSyntaxError:
        return ()


def _close(text: str, start: int) -> int:
    quote = ""
    for position in range(start + 1, len(text)):
        char = text[position]
        if quote:
            if char == quote:
                quote = ""
        elif char in "'\"":
            quote = char
        elif char == "}":
            if not text[start + 1 : position].strip():
                break
            return position
        elif char == "{":
            break
    raise ProfileSyntaxError(
        f"an unclosed or empty '{{' at column {start + 1} of '{text}'",
        hint="a brace itself is written '{{'",
    )
