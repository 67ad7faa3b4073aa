# SPDX-License-Identifier: GPL-2.0-or-later
"""What a condition looked at: the paths of an expression, with their values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from virtProfile.format.element import Element, text_of
from virtProfile.format.secret_slots import is_secret
from virtProfile.language.xpath import Node, XPathProblem, parse_xpath
from virtProfile.redaction import STARS, is_foreign

#: Of a path that leads to many values, so many are told.
MAX_VALUES = 4
#: So much of an expression is quoted.
MAX_QUOTED = 80
_WORDS = re.compile(r"(\s+)")


def facts(expression: str, root: Element) -> list[str]:
    """``path = value`` of each plain path in an expression, ``path: nothing`` where it leads nowhere.

    :param root: the domain, rendered
    """
    try:
        found = dict.fromkeys(_plain(parse_xpath(expression).root))
    except XPathProblem:
        return []
    return [_told(path, _values(root, path)) for path in found]


def _plain(node: Node) -> Iterator[str]:
    """Paths of child elements and attributes alone, without predicates."""
    if node.kind == "path" and node.start in ("", "here", "root") and not node.parts:
        words = []
        for step in node.steps:
            name = step.name
            if step.predicates or ":" in name or "(" in name or step.axis not in ("child", "attribute"):
                break
            words.append(f"@{name}" if step.axis == "attribute" else name)
        else:
            if node.start == "root" and words[:1] == ["domain"]:
                words = words[1:]
            if words:
                yield "/".join(words)
            return
    for part in (*node.parts, *node.predicates):
        yield from _plain(part)


def _values(root: Element, path: str) -> list[str]:
    values = []
    selected: list[Any] = root.xpath(path)  # type: ignore[assignment]
    for found in selected:
        if isinstance(found, str):
            values.append(found)
        else:
            values.append(text_of(found) or "there")
    return values


def _told(path: str, values: list[str]) -> str:
    if not values:
        return f"{path}: nothing"
    more = f" and {len(values) - MAX_VALUES} more" if len(values) > MAX_VALUES else ""
    return f"{path} = {', '.join(values[:MAX_VALUES])}{more}"


def met(expression: str, root: Element, params: Mapping[str, str]) -> str:
    """What an expression that does not hold met, in words: ``vcpu is '1', convert is 'no'``.

    :param root: the element at which it was judged; what a path leads to counts whatever its predicates say
    :param params: the values of the profile's parameters, those of secrets left out
    """
    try:
        found = dict.fromkeys(_met(parse_xpath(expression).root, root, params))
    except XPathProblem:
        return ""
    return ", ".join(list(filter(None, found))[:MAX_VALUES])


def _met(node: Node, root: Element, params: Mapping[str, str]) -> Iterator[str]:
    if node.kind == "path" and node.start in ("", "here", "root") and not node.parts:
        yield _words(node, root)
        return
    if node.kind == "path" and node.start == "variable" and not node.steps:
        if node.name in params:
            yield f"{node.name} is '{params[node.name]}'"
        return
    if node.kind == "call" and node.name == "vp:sketch":
        yield "the VM is installed already"
    elif node.kind == "call" and node.name == "vp:machine":
        for machine in _values(root, "/domain/os/type/@machine"):
            yield f"the machine is '{machine}'"
    for part in node.parts:
        yield from _met(part, root, params)


def _words(node: Node, root: Element) -> str:
    """A path without its predicates, and what it leads to."""
    steps = []
    for step in node.steps:
        if ":" in step.name or "(" in step.name or step.axis not in ("child", "attribute"):
            break
        steps.append(f"@{step.name}" if step.axis == "attribute" else step.name)
    if not steps or steps == ["*"]:
        return ""
    path = "/".join(steps)
    if node.start == "root":
        path = f"/{path}"
    selected: list[Any] = root.xpath(path)  # type: ignore[assignment]
    name = " ".join(step.removeprefix("@") for step in steps if step not in ("domain", "devices"))
    if not selected:
        return f"there is no {name}"
    if all(not isinstance(thing, str) and text_of(thing) is None for thing in selected):
        return f"there is {name}" if len(selected) == 1 else f"there are {len(selected)} {name}"
    values = list(
        dict.fromkeys(thing if isinstance(thing, str) else text_of(thing) or "" for thing in selected)
    )
    whole = f"/domain/{path.removeprefix('/domain/')}"
    if is_secret(whole) or is_foreign(whole):
        values = [STARS]
    more = f" and {len(values) - MAX_VALUES} more" if len(values) > MAX_VALUES else ""
    return f"{name} is {', '.join(repr(value) for value in values[:MAX_VALUES])}{more}"


def quoted(expression: str) -> str:
    """An expression on one line, a long one cut."""
    line = " ".join(expression.split())
    return line if len(line) <= MAX_QUOTED else f"{line[: MAX_QUOTED - 1].rstrip()}…"


def passed_over(expression: str, root: Element) -> str:
    """What there is of the elements of which an ``each=`` selects none: ``none of 2 disk fits``."""
    try:
        path = parse_xpath(expression).root
    except XPathProblem:
        return ""
    if path.kind != "path" or path.start not in ("", "here", "root") or not path.steps:
        return ""
    words = _words(path, root)
    number = re.fullmatch(r"there (is|are (\d+)) (?!no )(.*)", words)
    if number is None:
        return words
    return f"none of {number[2]} {number[3]} fits" if number[2] else f"the one {number[3]} does not fit"


def conjuncts(expression: str) -> list[str]:
    """The parts of an expression that ``and`` joins at its top; the whole where an ``or`` is there too."""
    parts = [""]
    depth = 0
    quote = ""
    words = _WORDS.split(expression)
    for word in words:
        for character in word:
            if quote:
                quote = "" if character == quote else quote
            elif character in "'\"":
                quote = character
            else:
                depth += (character in "([") - (character in ")]")
        if depth == 0 and not quote and word == "or":
            return [expression]
        if depth == 0 and not quote and word == "and":
            parts.append("")
        else:
            parts[-1] += word
    return [part.strip() for part in parts]
