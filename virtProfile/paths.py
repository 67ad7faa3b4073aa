# SPDX-License-Identifier: GPL-2.0-or-later
"""Absolute XPaths of elements and slots, siblings told apart by key where they have one."""

from __future__ import annotations

from typing import Any

from .finding import read_part
from .worktree import Element


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
            if key and sum(1 for one in twins if self._key(one, node) == key) == 1:
                return key
        elif len(twins) == 1:
            return ""
        return f"[{twins.index(element) + 1}]"

    def _key(self, element: Element, node: Any) -> str:
        """Predicates that name the identity key, or "" where it is not all there."""
        if node.key_class == "X":
            return ""
        predicates = []
        for part in node.key:
            if part.endswith("/*"):
                return ""
            value = read_part(element, part, node)
            if value is None:
                continue
            if "'" in value:
                return ""
            where = part[: -len("/text()")] if part.endswith("/text()") else part
            predicates.append(f"[{where}='{value}']")
        return "".join(predicates)


def _name(element: Element) -> str:
    tag = element.tag
    if tag[0] != "{":
        return str(tag)
    rest = tag.rpartition("}")[2]
    if element.prefix:
        return f"{element.prefix}:{rest}"
    return f"*[local-name()='{rest}']"
