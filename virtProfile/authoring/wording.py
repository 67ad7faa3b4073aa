# SPDX-License-Identifier: GPL-2.0-or-later
"""How `learn` words a difference: snippets that speak of one element, and what to select."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lxml import etree

from virtProfile.authoring.compare import children, gaps, pairs, same_slot, slots
from virtProfile.authoring.snippet_writer import Snippet, add, copy, put, remove
from virtProfile.format.element import TEXT, Element, child, child_node, read, text_of

if TYPE_CHECKING:
    from virtProfile.format.paths import Paths
    from virtProfile.format.schema import Node


class Wordings:
    """Snippets and selections for the elements of one document, the one that is to be changed."""

    def __init__(self, old: Paths) -> None:
        self.old = old
        #: where in the document stands what a select means
        self.places_of_selects: dict[str, int] = {}
        self.numbers = {element: number for number, element in enumerate(old.root.iter("*"))}

    def select(self, element: Element, slot: str = "") -> str:
        path = self.old.of(element, slot).removeprefix("/domain/")
        path = f"{path}/text()" if slot == TEXT else path
        self.places_of_selects[path] = self.numbers[element]
        return path

    def wrapped(self, snippet: Element, above: Sequence[str], multiple: str = "") -> Element:
        return self.wrapped_all([snippet], above, multiple)

    def wrapped_all(self, snippets: list[Element], above: Sequence[str], multiple: str = "no") -> Element:
        """An add of snippets below the single elements `above`."""
        if not above:
            action = add(snippets[0], multiple)
            action.extend(snippets[1:])
            return action
        top = here = etree.Element(above[0])
        for tag in above[1:]:
            here = etree.SubElement(here, tag)
        here.extend(snippets)
        return add(top, multiple)

    def extra(
        self, more: list[list[Element]], above: list[str], element: Element, node: Node | None = None
    ) -> list[Element]:
        """Adds of elements of inner lists: each the way down, and the new one."""
        actions = []
        for way in more:
            top = here = etree.Element(element.tag)
            if node is not None:
                self.known(top, element, node)
            for step in way[:-1]:
                here = Snippet.below(here, step)
            here.append(copy(way[-1]))
            actions.append(self.wrapped(top, above, "yes"))
        return actions

    def identity(self, element: Element, node: Node) -> list[str]:
        """The slots that say which one of a list an element is, as far as it writes them."""
        if node.key_class not in ("E", "N", "S"):
            return []
        parts = [slot for slot in (*node.key, *node.binding) if not slot.endswith("/*")]
        return [part for part in parts if _value(element, part) is not None]

    def known(self, snippet: Element, element: Element, node: Node) -> Element:
        """Make a snippet speak of that one element of a list."""
        parts = [slot for slot in (*node.key, *node.binding) if not slot.endswith("/*")]
        for part in parts:
            value = _value(element, part)
            if value is None:
                continue
            here = snippet
            for tag in part.split("/")[:-1]:
                here = Snippet.below(here, etree.Element(tag))
            slot = part.rpartition("/")[2]
            if (here.text if slot == TEXT else here.get(slot[1:])) is None:
                put(here, slot, value)
        return snippet

    def part(
        self, element: Element, other: Element, node: Node
    ) -> tuple[Element | None, list[Element], list[list[Element]]] | None:
        """(a snippet of what to set, removes, additions to inner lists), None where that cannot say it."""
        said = etree.Element(element.tag, nsmap=None)
        removes: list[Element] = []
        more: list[list[Element]] = []
        if not self.fill(element, other, node, said, removes, more, []):
            return None
        return (said if len(said) or len(said.attrib) or said.text else None), removes, more

    def values(
        self, element: Element, other: Element, node: Node, said: Element, removes: list[Element]
    ) -> None:
        """Set and remove the element's own attributes and text; a number goes with its unit."""
        twos = [(number, unit) for number, (unit, _) in node.unit.items()]
        halves = {slot: pair for pair in twos for slot in pair}
        for slot in slots(element, other):
            if same_slot(element, other, slot, node):
                continue
            for each in halves.get(slot, (slot,)):
                value = text_of(other) if each == TEXT else other.get(each[1:])
                if value is not None:
                    put(said, each, value)
                elif (text_of(element) if each == TEXT else element.get(each[1:])) is not None:
                    implied = read(other, each, node)[0]
                    if implied is not None:
                        put(said, each, implied)
                    else:
                        removes.append(remove(self.select(element, each)))

    def fill(
        self, element: Element, other: Element, node: Node, said: Element, removes: list[Element],
        more: list[list[Element]], way: list[Element],
    ) -> bool:  # fmt: skip
        self.values(element, other, node, said, removes)
        for tag in children(element, other):
            inner = child_node(node, tag)
            if inner is None:
                return False
            there, wanted = list(element.iterchildren(tag)), list(other.iterchildren(tag))
            for a, b in pairs(there, wanted, inner):
                if b is None:
                    assert a is not None
                    removes.append(remove(self.select(a)))
                elif a is None:
                    if inner.many:
                        more.append([*way, b])
                    else:
                        copy(b, said)
                elif next(gaps(a, b, inner), None) is not None:
                    if inner.many and not self.identity(a, inner) and len(there) > 1:
                        return False
                    below = etree.SubElement(said, tag)
                    if not self.fill(a, b, inner, below, removes, more, [*way, b]):
                        return False
                    if not (len(below) or len(below.attrib) or below.text):
                        said.remove(below)
                    elif inner.many:
                        self.known(below, a, inner)
        return True


def _value(element: Element, part: str) -> str | None:
    here: Element | None = element
    *tags, slot = part.split("/")
    for tag in tags:
        here = None if here is None else child(here, tag)
    if here is None:
        return None
    value: str | None = text_of(here) if slot == TEXT else here.get(slot[1:])
    return value
