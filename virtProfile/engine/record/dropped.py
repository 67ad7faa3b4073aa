# SPDX-License-Identifier: GPL-2.0-or-later
"""What libvirt drops at define, though it was written: it is nobody's edit (SPEC 7).

Three kinds: what a table lists, elements without any value, and parts that the variant of
the thing does not have. libvirt took the domain, so such a part was dropped, not refused.
"""

from __future__ import annotations

from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

from lxml import etree

from virtProfile.format.element import PRESENCE, container, forbids
from virtProfile.format.facts import data_beside, rows
from virtProfile.format.schema import PathNode

if TYPE_CHECKING:
    from virtProfile.engine.record.model import Written
    from virtProfile.format.element import Element
    from virtProfile.format.schema import Node

_DATA = data_beside(__file__)


@cache
def _listed() -> dict[tuple[str, str], list[etree.XPath]]:
    """(path, slot) -> for which elements libvirt drops it."""
    found: dict[tuple[str, str], list[etree.XPath]] = {}
    for path, slot, where, _ in rows(f"{_DATA}/dropped.tsv"):
        test = etree.XPath(f"boolean({where})", smart_strings=False)
        found.setdefault((path, PRESENCE if slot == "-" else slot), []).append(test)
    return found


@cache
def _empty() -> frozenset[str]:
    """The paths of the elements that libvirt drops where they say nothing."""
    return frozenset(path for path, _ in rows(f"{_DATA}/dropped-empty.tsv"))


def says_nothing(element: Element) -> bool:
    """Does libvirt drop the element at define, where there is nothing in it?"""
    tags = [element.tag, *(above.tag for above in element.iterancestors())]
    return "/".join(tags[-2::-1]) in _empty()


def is_dropped(element: Element, node: Node, slot: str, written: Written | None = None) -> bool:
    """Did libvirt drop at define what was written there?

    :param element: that the value was written on; of an element that is gone, what it was in
    :param node: of the element that the value was written on, or that is gone
    :param written: the element that is gone, as it was written
    """
    if not isinstance(node, PathNode):
        return False
    tests = _listed().get((node.path, slot))
    if tests is not None:
        gone = etree.Element("none") if written is None else _made(written)
        if any(test(element, written=[gone]) for test in tests):
            return True
    if slot == PRESENCE and written is not None and _is_without_values(node, written):
        return True
    return _has_no_such_part(element, node, slot) or _is_void(element, node, slot)


def _made(written: Written) -> Element:
    element = etree.Element(written.tag, written.attrs)
    element.text = written.text
    element.extend(_made(part) for part in written.children)
    return element


def _is_without_values(node: Node | None, written: Written) -> bool:
    """Is it without anything, or has it only parts that libvirt drops for that?"""
    return (
        isinstance(node, PathNode)
        and node.path in _empty()
        and not written.attrs
        and not (written.text or "").strip()
        and all(_is_nothing(node.child(part.tag), part, written) for part in written.children)
    )


def _is_nothing(node: Node | None, part: Written, above: Written) -> bool:
    """Is a part of an element one that libvirt drops?"""
    if node is None or _is_without_values(node, part):
        return node is not None
    tests = _listed().get((node.path, PRESENCE), ())
    return any(test(_made(above), written=[_made(part)]) for test in tests)


def _has_no_such_part(element: Element, node: PathNode, slot: str) -> bool:
    """Does the variant of the element, or of one that it is in, not have the part?"""
    full = f"{node.path}/{slot}" if slot else node.path
    depth = len(node.path.split("/")) - (slot == PRESENCE)
    for place in node.schema.allowing(full, depth):
        at: Element | None = element
        if place.up:
            at = next(islice(element.iterancestors(), place.up - 1, None), None)
        if at is not None and place.tags:
            at = container(at, place.tags)
        if at is None:
            continue
        value = at.get(place.name)
        if any(forbids(part, value, at) for part in place.forbidding(value)):
            return True
    holder = node.parent if slot == PRESENCE else node
    if not isinstance(holder, PathNode):
        return False
    for decides in holder.dependents:
        allowed = holder.allowed_with(decides, element.get(decides[1:])) if decides[:1] == "@" else None
        if allowed is None or slot == decides:
            continue
        if slot == PRESENCE and allowed.child(node.tag) is None:
            return True
        if slot[:1] == "@" and slot[1:] not in allowed.attrs:
            return True
    return False


def _is_void(element: Element, node: PathNode, slot: str) -> bool:
    """Does a child of the element say what leaves the slot without a meaning?"""
    if slot[:1] != "@":
        return False
    for below in element.iterchildren("*"):
        inner = node.child(below.tag)
        for decides, words, void in () if inner is None else inner.voided:
            if slot in void and below.get(decides[1:]) in words:
                return True
    return False
