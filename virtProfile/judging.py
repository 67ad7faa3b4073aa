# SPDX-License-Identifier: GPL-2.0-or-later
"""Judges a rendered tree: what is missing for libvirt to define it, and what is wrong.

Something that is missing can still be completed and is a warning; something
wrong is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .provenance import Warning
from .worktree import Element, WorkTree, child

if TYPE_CHECKING:
    from .changes import Difference


def lacks(element: Element, node: Any) -> list[str]:
    """What the schema requires in an element and is not there, as relative paths."""
    missing = [
        f"@{name}" for name, kind in node.attrs.items() if kind.required and element.get(name) is None
    ]
    missing += [
        tag for tag, below in node.children.items() if below.min > 0 and child(element, tag) is None
    ]
    for one in element.iterchildren("*"):
        below = node.child(one.tag)
        if below is not None and not below.anything:
            missing += [f"{one.tag}/{what}" for what in lacks(one, below)]
    return missing


def incomplete(tree: WorkTree, schema: Any) -> list[Warning]:
    """One warning for each thing that lacks what libvirt needs to define it."""
    missing = lacks(tree.root, schema.root)
    if not missing:
        return []
    told = ", ".join(missing[:6]) + (f" and {len(missing) - 6} more" if len(missing) > 6 else "")
    return [Warning("incomplete", f"to be defined the domain lacks {told} (hint: --complete)")]


def unfit(tree: WorkTree, schema: Any, found: Sequence[Difference]) -> str | None:
    """What is wrong with the tree besides new things that are incomplete, or None.

    New elements that lack something are taken out for the moment, and what is
    left has to be valid.
    """
    out: list[tuple[int, Element, Element]] = []
    for element in list(tree.created):
        parent = element.getparent()
        if parent is None or not tree.original(parent):
            continue
        node = _node(element, schema)
        if node is not None and lacks(element, node):
            out.append((parent.index(element), parent, element))
    try:
        for _, parent, element in out:
            parent.remove(element)
        problems = schema.validate(tree.root)
    finally:
        for position, parent, element in sorted(out, key=lambda one: one[0]):
            parent.insert(position, element)
    return problems[0] if problems else None


def _node(element: Element, schema: Any) -> Any:
    tags = []
    while element.getparent() is not None:
        tags.append(element.tag)
        element = element.getparent()
    node = schema.root
    for tag in reversed(tags):
        node = node.child(tag)
        if node is None:
            return None
    return node
