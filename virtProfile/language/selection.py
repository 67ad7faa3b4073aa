# SPDX-License-Identifier: GPL-2.0-or-later
"""Which kinds of elements an ``each=`` can select, told from its text and the schema."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from virtProfile.frozen import replace
from virtProfile.language.xpath import Node as Part
from virtProfile.language.xpath import Step, XPathProblem, parse_xpath

if TYPE_CHECKING:
    from virtProfile.format.schema import Node, Schema

#: How deep ``//`` looks: deeper than any element of a domain that a profile describes.
_DEEPEST = 8


def selected_nodes(text: str, tag: str, schema: Schema) -> tuple[Node, ...]:
    """The schema's nodes of the elements that an expression can select.

    :param tag: of the snippet that describes them: all must have it
    """
    try:
        root = parse_xpath(text).root
    except XPathProblem:
        return ()
    found = _reached(root, schema.root)
    if found is None:
        found = list(_below(schema.root, _DEEPEST))
    return tuple({node.path: node for node in found if node.path.rpartition("/")[2] == tag}.values())


def selected_elements(text: str, schema: Schema) -> tuple[Node, ...] | None:
    """The schema's nodes of the elements that an expression selects, or of which it selects the text;
    None where it may be any."""
    try:
        root = parse_xpath(text).root
    except XPathProblem:
        return ()
    found: dict[str, Node] = {}
    for part in _united(root):
        if part.kind == "path" and part.steps and part.steps[-1].name == "text()":
            part = replace(part, steps=part.steps[:-1])
        nodes = _reached(part, schema.root)
        if nodes is None:
            return None
        found |= {node.path: node for node in nodes}
    return tuple(found.values())


def selected_attributes(text: str, schema: Schema) -> tuple[tuple[Node, str], ...]:
    """The schema's nodes and the names of the attributes that an expression selects, with ``*`` for all;
    none where it is not plain paths to attributes."""
    try:
        root = parse_xpath(text).root
    except XPathProblem:
        return ()
    found: list[tuple[Node, str]] = []
    for part in _united(root):
        if part.kind != "path" or part.parts or not part.steps or part.steps[-1].axis != "attribute":
            return ()
        nodes = _reached(replace(part, steps=part.steps[:-1]), schema.root)
        found += [(node, part.steps[-1].name) for node in nodes or ()]
    return tuple(found)


def _united(part: Part) -> Iterator[Part]:
    """The parts of a union, of which each has two."""
    if part.kind == "union":
        for inner in part.parts:
            yield from _united(inner)
    else:
        yield part


def _reached(part: Part, domain: Node) -> list[Node] | None:
    """Where an expression leads; None where nobody knows."""
    if part.kind == "union":
        parts = [_reached(inner, domain) for inner in part.parts]
        return (
            None
            if any(nodes is None for nodes in parts)
            else [node for nodes in parts for node in nodes or ()]
        )
    if part.kind == "filter":
        return _reached(part.parts[0], domain)
    if part.kind != "path":
        return None
    steps: Sequence[Step] = part.steps
    if part.parts:
        start = _reached(part.parts[0], domain)
    elif part.start == "root":
        if steps and (steps[0].axis, steps[0].name) == ("child", "domain"):
            start, steps = [domain], steps[1:]
        else:
            start = None
    else:
        start = [domain] if part.start == "here" else None
    for step in steps:
        if start is None:
            return None
        start = _step(start, step)
    return start


def _step(nodes: Iterable[Node], step: Step) -> list[Node] | None:
    if step.axis == "self":
        return list(nodes)
    if step.axis == "parent":
        return [node.parent for node in nodes if node.parent is not None]
    if step.axis == "descendant-or-self" and step.name == "node()":
        return [below for node in nodes for below in (node, *_below(node, _DEEPEST))]
    if step.axis != "child" or ":" in step.name:  # elements with a prefix are beyond the schema
        return None
    found: list[Node] = []
    for node in nodes:
        if node.anything:
            continue
        if step.name == "*":
            found += node.children.values()
        else:
            below = node.child(step.name)
            found += [below] if below is not None else []
    return found


def _below(node: Node, depth: int) -> Iterator[Node]:
    if depth and not node.anything:
        for inner in node.children.values():
            yield inner
            yield from _below(inner, depth - 1)
