# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading one element of a domain document: children, text, values with their implied defaults, places."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from lxml import etree

from virtProfile.format.schema import ForeignNode, Node

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from virtProfile.format.facts import Variant


Element: TypeAlias = etree._Element

#: Slots of an element besides its attributes.
PRESENCE = ""
TEXT = "text()"


def items(element: Element) -> list[tuple[str, str]]:
    """Its attributes with their values. lxml's types allow bytes too, which it never gives."""
    return element.items()  # type: ignore[return-value]


def attributes(element: Element) -> dict[str, str]:
    """A copy of its attributes."""
    return dict(items(element))


def parent_of(element: Element) -> Element:
    """What an element stands in; it is in a tree and not the root."""
    parent = element.getparent()
    assert parent is not None
    return parent


def copied(element: Element) -> Element:
    """A copy of an element, all in it and its tail: as `copy.deepcopy`, whose import takes time."""
    copy: Element = element.__copy__()  # type: ignore[attr-defined]  # lxml's stubs lack it
    return copy


@lru_cache(maxsize=256)
def _compiled(path: str) -> etree.XPath:
    return etree.XPath(path)


def elements_at(root: Element, path: str, namespaces: dict[str, str] | None = None) -> list[Element]:
    """The elements that an XPath expression selects, of one that selects nothing else."""
    if namespaces is None:
        found: list[Element] = _compiled(path)(root)  # type: ignore[assignment]
    else:
        found = root.xpath(path, namespaces=namespaces)  # type: ignore[assignment]
    return found


def read(element: Element, slot: str, node: Node) -> tuple[str | None, bool]:
    """(value, is it written?) of a slot, with what libvirt implies where it is not."""
    value = text_of(element) if slot == TEXT else element.get(slot[1:])
    if value is not None:
        return value, True
    implied = node.implied.get(slot)
    if implied is not None and slot in node.provided and not _given(element, node.provided[slot]):
        implied = None
    return implied, False


def _given(element: Element, what: str) -> bool:
    return text_of(element) is not None if what == TEXT else child(element, what) is not None


def container(thing: Element, tags: Sequence[str]) -> Element | None:
    for tag in tags:
        below = child(thing, tag)
        if below is None:
            return None
        thing = below
    return thing


def resolve(element: Element, path: str) -> tuple[Element | None, str]:
    """The element and slot of a relative path, (None, "") where there is no such value."""
    for part in path.split("/"):
        if part == TEXT:
            return (element, TEXT) if (element.text or "").strip() else (None, "")
        if part[0] == "@":
            return (element, part) if element.get(part[1:]) is not None else (None, "")
        below = _above(element, part) if part[:2] == ".." else next(_children(element, part), None)
        if below is None:
            return None, ""
        element = below
    return element, PRESENCE


def _children(element: Element, step: str) -> Iterator[Element]:
    """The children that a step of a fact means: a tag, or with a value as in ``memory[@placement=auto]``."""
    tag, _, condition = step.partition("[")
    return (below for below in element.iterchildren(tag) if not condition or _meets(below, condition))


def _above(element: Element, step: str) -> Element | None:
    """The parent, as in ``..``, or where it has a value, as in ``..[@type=direct|vdpa]``."""
    parent = element.getparent()
    condition = step.partition("[")[2]
    return None if parent is None or condition and not _meets(parent, condition) else parent


def _meets(element: Element, condition: str) -> bool:
    """Does it have the value that ``@name=value]`` asks for, one of those between ``|``?"""
    name, _, values = condition[1:-1].partition("=")
    return element.get(name) in values.split("|")


def forbids(part: Variant, value: str | None, element: Element) -> bool:
    """Does libvirt drop or refuse a part of a variant beside that value, for what stands around it?

    :param element: of the discriminator
    """
    return part.forbids(value) and not (part.unless and resolve(element, part.unless)[0] is not None)


def resolve_all(element: Element, path: str) -> list[tuple[Element, str]]:
    """Every (element, slot) of a relative path; more than one where elements on the way repeat."""
    here = [element]
    for part in path.split("/"):
        if part[0] == "@":
            return [(thing, part) for thing in here if thing.get(part[1:]) is not None]
        if part == TEXT:
            return [(thing, TEXT) for thing in here if (thing.text or "").strip()]
        if part == "..":
            here = [above for thing in here if (above := thing.getparent()) is not None]
        else:
            here = [below for thing in here for below in _children(thing, part)]
    return [(thing, PRESENCE) for thing in here]


def read_part(thing: Element, part: str, node: Node) -> str | None:
    """The value of a key part such as ``target/@dev`` on a thing, or None."""
    *tags, slot = part.split("/")
    for tag in tags:
        below, inner = child(thing, tag), node.child(tag)
        if below is None or inner is None:
            return None
        thing, node = below, inner
    return read(thing, slot, node)[0]


def child_node(node: Node, tag: str) -> Node | None:
    """The schema's node below `node`; inside metadata one that takes anything."""
    if node.anything and not isinstance(node, ForeignNode):
        return ForeignNode(f"{node.path}/{tag}", tag, node, False)
    return node.child(tag)


def part_node(node: Node | None, part: str) -> Node | None:
    for tag in part.split("/")[:-1]:
        node = None if node is None else child_node(node, tag)
    return node


def same_value(node: Node | None, slot: str, first: str, other: str) -> bool:
    if first == other:
        return True
    if node is None or isinstance(node, ForeignNode) or node.anything:
        return False
    kind = node.text if slot == TEXT else node.attribute(slot[1:])
    return kind is not None and bool(kind.same(first, other))


def place(parent: Element, node: Node | None, tag: str) -> Element | None:
    """The sibling behind which a new `tag` goes: the last of its name, else libvirt's order."""
    last = last_child(parent, tag)
    if last is not None:
        return last
    order = {} if node is None else _positions(node)
    position = order.get(tag)
    if position is None:
        for element in parent.iterchildren("*", reversed=True):
            return element
        return None
    for element in parent[::-1] if len(parent) < _FEW else reversed(parent):  # type: ignore[index]
        if order.get(element.tag, -1) < position and element.tag in order:
            return element
        last = element
    if last is not None and not any(element.tag in order for element in parent.iterchildren("*")):
        for element in parent.iterchildren("*", reversed=True):
            return element
    return None


_orders: dict[tuple[str, ...], dict[str, int]] = {}


def _positions(node: Node) -> dict[str, int]:
    order = node.order
    found = _orders.get(order)
    if found is None:
        found = _orders[order] = {tag: number for number, tag in enumerate(order)}
    return found


def _nsmap(tag: str, prefix: str | None, parent: Element) -> dict[str, str] | None:
    if tag[0] != "{":
        return None
    uri = tag[1:].partition("}")[0]
    for known, value in parent.nsmap.items():
        if value == uri and known is not None:
            return {known: uri}
    return {prefix: uri} if prefix else {"ns": uri}


def in_words(tag: str, attributes: Mapping[str, str], text: str | None) -> str:
    """An element in a few characters, for a message: its attributes, else its text, else its tag."""
    return " ".join(f"{name}='{value}'" for name, value in attributes.items()) or text or tag


#: So many children are looked through sooner here than by libxml2, whose matcher has to be made first.
#: They are sliced: lxml makes that list at once, and an iterator step by step.
_FEW = 16


def children(element: Element) -> list[Element]:
    """The elements in it: as ``iterchildren("*")``, without the matcher that has to be made for that."""
    found: list[Element] = element[:]  # type: ignore[index, assignment]  # lxml's stubs lack slices
    for inner in found:
        if not isinstance(inner.tag, str):  # a comment
            return [below for below in found if isinstance(below.tag, str)]
    return found


def child(element: Element, tag: str) -> Element | None:
    """The first child of that tag, or None."""
    for found in element[:] if len(element) < _FEW else element.iterchildren(tag):  # type: ignore[index]
        if found.tag == tag:
            return found
    return None


def is_alone(element: Element, parent: Element) -> bool:
    """Is it the only child of its tag?"""
    tag = element.tag
    for found in parent[:] if len(parent) < _FEW else parent.iterchildren(tag):  # type: ignore[index]
        if found.tag == tag and found is not element:
            return False
    return True


def last_child(element: Element, tag: str) -> Element | None:
    """The last child of that tag, or None."""
    for found in element[::-1] if len(element) < _FEW else element.iterchildren(tag, reversed=True):  # type: ignore[index]
        if found.tag == tag:
            return found
    return None


def is_empty(element: Element) -> bool:
    """Is there nothing in it: no attribute, text, child? lxml's ``len()`` would count all children."""
    return not element.attrib and next(element.iterchildren(), None) is None and text_of(element) is None


def text_of(element: Element) -> str | None:
    """The element's own text without surrounding white space; None if there is none."""
    text = element.text
    if text is not None:
        text = text.strip()
    if not text and len(element) and not isinstance(element[0].tag, str):  # behind a comment
        text = "".join(
            (inner.tail or "") for inner in element.iterchildren() if not isinstance(inner.tag, str)
        ).strip()
    return text or None
