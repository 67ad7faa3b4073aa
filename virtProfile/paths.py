# SPDX-License-Identifier: GPL-2.0-or-later
"""Absolute XPaths of elements and slots, siblings told apart by key where they have one."""

from __future__ import annotations

from typing import Any

from .worktree import Element, child


class Paths:
    """Paths in one tree, with the schema's keys; remembers what it worked out."""

    def __init__(self, root: Element, schema: Any) -> None:
        self.root = root
        self._known: dict[Element, tuple[str, Any]] = {root: ("/" + _name(root), schema.root)}

    def of(self, element: Element, slot: str = "") -> str:
        """The path of an element, or of an attribute on it; a text's path is its element's."""
        path = self._find(element)[0]
        return f"{path}/{self._attribute(element, slot[1:])}" if slot[:1] == "@" else path

    def node(self, element: Element) -> Any:
        """The schema's node for an element, or None where there is no schema."""
        return self._find(element)[1]

    def _find(self, element: Element) -> tuple[str, Any]:
        found = self._known.get(element)
        if found is None:
            parent = element.getparent()
            if parent is None:  # not in this tree any more
                return "/" + _name(element), None
            above, above_node = self._find(parent)
            node = None if above_node is None else above_node.child(element.tag)
            step = _name(element) + self._predicate(element, parent, node)
            found = self._known[element] = (f"{above}/{step}", node)
        return found

    def _attribute(self, element: Element, name: str) -> str:
        if name[:1] != "{":
            return "@" + name
        uri, _, rest = name[1:].partition("}")
        prefix = next((one for one, value in element.nsmap.items() if value == uri and one), None)
        return f"@{prefix}:{rest}" if prefix else f"@*[local-name()='{rest}']"

    def _predicate(self, element: Element, parent: Element, node: Any) -> str:
        twins = list(parent.iterchildren(element.tag))
        if node is not None:
            if not node.many and len(twins) == 1:
                return ""
            key = self._key(element, node)
            if key and sum(1 for one in twins if _fits(one, node, key)) == 1:
                return "".join(f"[{where}='{value}']" for where, value in key.items())
        elif len(twins) == 1:
            return ""
        return f"[{twins.index(element) + 1}]"

    def _key(self, element: Element, node: Any) -> dict[str, str]:
        """The parts of the identity key that the element has, by path; {} without key."""
        if node.key_class == "X" or any(part.endswith("/*") for part in node.key):
            return {}
        parts = {}
        for part in node.key:
            value = _written(element, part)
            if value is not None:
                if "'" in value:
                    return {}
                parts[part.removesuffix("/text()")] = value
        return parts


def _fits(element: Element, node: Any, key: dict[str, str]) -> bool:
    parts = {part.removesuffix("/text()"): part for part in node.key}
    return all(_written(element, parts[where]) == value for where, value in key.items())


def _written(element: Element, part: str) -> str | None:
    """A key part as it is written: an XPath knows nothing of implied values."""
    *tags, slot = part.split("/")
    for tag in tags:
        below = child(element, tag)
        if below is None:
            return None
        element = below
    return element.text if slot == "text()" else element.get(slot[1:])


def _name(element: Element) -> str:
    tag = element.tag
    if tag[0] != "{":
        return str(tag)
    rest = tag.rpartition("}")[2]
    if element.prefix:
        return f"{element.prefix}:{rest}"
    return f"*[local-name()='{rest}']"
