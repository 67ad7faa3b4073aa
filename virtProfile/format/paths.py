# SPDX-License-Identifier: GPL-2.0-or-later
"""Absolute XPaths of elements and slots, siblings told apart by key where they have one."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any

from virtProfile.format.element import Element, container, is_alone, parent_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtProfile.format.schema import Node, Schema

#: In the place of what was not looked for yet: None may be what was found.
_UNKNOWN: Any = object()
#: A key value that needs no quotes to be separate from the rest of a place.
_NO_QUOTES = re.compile(r"[^'\[\]?]+")


class Paths:
    """Paths in one tree, with the schema's keys; remembers what it worked out."""

    def __init__(self, root: Element, schema: Schema) -> None:
        self.root = root
        self._known: dict[Element, tuple[str, Node | None]] = {root: ("/" + _name(root), schema.root)}
        self._twins: dict[tuple[Element, str], _Twins] = {}
        self._nodes: dict[Element, Node | None] = {root: schema.root}
        self._places: dict[Element, str] = {}

    def of(self, element: Element, slot: str = "") -> str:
        """The path of an element, or of an attribute on it; a text's path is its element's."""
        path = self._find(element)[0]
        return f"{path}/{self._attribute(element, slot[1:])}" if slot[:1] == "@" else path

    def node(self, element: Element) -> Node | None:
        """The schema's node for an element, or None where there is no schema."""
        found: Node | None = self._nodes.get(element, _UNKNOWN)
        if found is not _UNKNOWN:
            return found
        parent = element.getparent()
        above = None if parent is None else self.node(parent)
        found = self._nodes[element] = None if above is None else above.child(element.tag)
        return found

    def place(self, element: Element) -> str:
        """Where an element stands below the root, for the record: tags in Clark notation,
        key values without quotes where they need none."""
        if element is self.root:
            return ""
        found = self._places.get(element)
        if found is None:
            parent = parent_of(element)
            step = element.tag + self._predicate(element, parent, self.node(element), quotes=False)
            above = self.place(parent)
            found = self._places[element] = f"{above}/{step}" if above else step
        return found

    def _find(self, element: Element) -> tuple[str, Node | None]:
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
        prefix = next((known for known, value in element.nsmap.items() if value == uri and known), None)
        return f"@{prefix}:{rest}" if prefix else f"@*[local-name()='{rest}']"

    def _predicate(self, element: Element, parent: Element, node: Node | None, quotes: bool = True) -> str:
        tag = element.tag
        if node is not None and not node.many and is_alone(element, parent):
            return ""
        twins = self._twins.get((parent, tag))
        if twins is None:
            twins = self._twins[parent, tag] = _Twins(parent, tag, node)
        return twins.predicate(element, quotes)


class _Twins:
    """Siblings of one tag, and what tells them apart."""

    __slots__ = ("node", "positions", "keys", "counts", "_having")

    def __init__(self, parent: Element, tag: str, node: Node | None) -> None:
        self.node = node
        self.positions = {element: at for at, element in enumerate(parent.iterchildren(tag), 1)}
        self.keys: dict[Element, tuple[tuple[str, str], ...]] = {}
        self.counts: dict[tuple[tuple[str, str], ...], int] = {}
        #: which parts -> how many siblings have these values of them
        self._having: dict[tuple[str, ...], Counter[tuple[tuple[str, str], ...]]] = {}
        if node is None or not node.many or node.key_class == "X":
            return
        if any(part.endswith("/*") for part in node.key):
            return
        parts = [(part.removesuffix("/text()"), *_way(part)) for part in node.key]
        keys, counts = self.keys, self.counts
        for element in self.positions:
            keys[element] = key = _key(element, parts)
            counts[key] = counts.get(key, 0) + 1

    def predicate(self, element: Element, quotes: bool = True) -> str:
        """What to put behind the name to mean this one alone.

        :param quotes: also around values that can do without
        """
        key = self.keys.get(element, ())
        if key and self._alone(key):
            return "".join(
                [
                    f"[{where}='{value}']" if quotes or _needs_quotes(value) else f"[{where}={value}]"
                    for where, value in key
                ]
            )
        if len(self.positions) == 1 and (self.node is None or not self.node.many):
            return ""
        return f"[{self.positions[element]}]"

    def _alone(self, key: tuple[tuple[str, str], ...]) -> bool:
        if self.counts[key] != 1:
            return False
        if self.node is not None and len(key) == len(self.node.key):
            return True
        # a sibling that has more parts would match as well
        where = tuple(part for part, _ in key)
        counts = self._having.get(where)
        if counts is None:
            counts = self._having[where] = Counter()
            for parts in map(dict, self.keys.values()):
                if all(part in parts for part in where):
                    counts[tuple((part, parts[part]) for part in where)] += 1
        return counts[key] == 1


def _needs_quotes(value: str) -> bool:
    return not value.isalnum() and _NO_QUOTES.fullmatch(value) is None


def _key(
    element: Element, parts: Sequence[tuple[str, tuple[str, ...], str | None]]
) -> tuple[tuple[str, str], ...]:
    """The parts of the identity key as they are written, with their paths.

    :param parts: (path, tags that lead to it, name of the attribute or None for text)
    """
    found = []
    for where, tags, name in parts:
        at = container(element, tags)
        value = None if at is None else at.text if name is None else at.get(name)
        if value is not None:
            if "'" in value:
                return ()
            found.append((where, value))
    return tuple(found)


def _written(element: Element, part: str) -> str | None:
    """A key part as it is written: an XPath knows nothing of implied values."""
    tags, name = _way(part)
    at = container(element, tags)
    return None if at is None else at.text if name is None else at.get(name)


@cache
def _way(part: str) -> tuple[tuple[str, ...], str | None]:
    """The tags that lead to a key part, and the name of the attribute, None for text."""
    *tags, slot = part.split("/")
    return tuple(tags), None if slot == "text()" else slot[1:]


def keyed_step(element: Element, node: Node | None) -> str:
    """The step to an element that need not be there: its tag, in Clark notation, with its key.

    :param node: the schema's node for it, or None
    """
    tag = str(element.tag)
    if node is None or node.key_class not in ("E", "N"):
        return tag
    step = tag
    for part in node.key:
        value = None if part.endswith("/*") else _written(element, part)
        if value is None:
            continue
        if "'" in value:
            return tag
        step += f"[{part.removesuffix('/text()')}='{value}']"
    return step


def _name(element: Element) -> str:
    tag = element.tag
    if tag[0] != "{":
        return str(tag)
    rest = tag.rpartition("}")[2]
    if element.prefix:
        return f"{element.prefix}:{rest}"
    return f"*[local-name()='{rest}']"
