# SPDX-License-Identifier: GPL-2.0-or-later
"""What a condition looked at: the plain paths of an expression, with their values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .worktree import text_of
from .xpathsyntax import Node, XPathProblem, parse_xpath

#: Of a path that leads to many values, so many are told.
MAX_VALUES = 4


def facts(expression: str, root: Any) -> list[str]:
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
    for one in (*node.parts, *node.predicates):
        yield from _plain(one)


def _values(root: Any, path: str) -> list[str]:
    values = []
    for one in root.xpath(path):
        if isinstance(one, str):
            values.append(one)
        else:
            values.append(text_of(one) or "there")
    return values


def _told(path: str, values: list[str]) -> str:
    if not values:
        return f"{path}: nothing"
    more = f" and {len(values) - MAX_VALUES} more" if len(values) > MAX_VALUES else ""
    return f"{path} = {', '.join(values[:MAX_VALUES])}{more}"
