# SPDX-License-Identifier: GPL-2.0-or-later
"""Two documents side by side: which element of one is which of the other, and what differs.

Used by `learn`. Values compare by what they mean, and what libvirt implies counts
as written, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from virtProfile.format.document import RECORD_NS, VIRTUNED_NS, namespace
from virtProfile.format.element import (
    PRESENCE,
    TEXT,
    Element,
    attributes,
    child_node,
    part_node,
    read,
    read_part,
    text_of,
)
from virtProfile.format.schema import Node
from virtProfile.format.values import same_size
from virtProfile.frozen import record

#: Two elements of which one was made from the other share at least this much.
LIKE = 0.4


@record
class Gap:
    """One difference: a slot of an element pair, or an element that only one side has.

    `before` and `after` are elements; one of them is None where it is the other's alone.
    `slot` is ``@name``, ``text()``, "" for presence, or "order" for the order of a list.
    """

    before: Element | None
    after: Element | None
    node: Node
    slot: str
    tags: str


def is_ours(tag: str) -> bool:
    """A profile's list or record in the metadata: never a part of what is learned."""
    return namespace(tag) in (VIRTUNED_NS, RECORD_NS)


def same_slot(element: Element, other: Element, slot: str, node: Node) -> bool:
    """Do both elements say the same there? A number and its unit are one value."""
    for number, (unit, default) in node.unit.items():
        if slot in (number, unit):
            amounts = [read(each, number, node)[0] for each in (element, other)]
            if None in amounts:
                break
            return same_size(
                amounts[0] or "", element.get(unit[1:]), amounts[1] or "", other.get(unit[1:]), default
            )
    has, wants = read(element, slot, node)[0], read(other, slot, node)[0]
    if has is None or wants is None or has == wants:
        return has == wants
    if node.anything:
        return False
    kind = node.text if slot == TEXT else node.attribute(slot[1:])
    return kind is not None and bool(kind.same(wants, has))


def slots(*elements: Element) -> list[str]:
    """The slots that any of the elements writes, attributes first."""
    found = {f"@{name}": None for element in elements for name in attributes(element)}
    if any(text_of(element) is not None for element in elements):
        found[TEXT] = None
    return list(found)


#: Pairs of elements that were compared, and whether they are equal.
_Known = dict[tuple["Element", "Element"], bool]


def gaps(
    before: Element, after: Element, node: Node, tags: str = "", known: _Known | None = None
) -> Iterator[Gap]:
    """All differences of two elements that are the same thing, in document order.

    :param known: what was compared before: every level would compare all below it once more
    """
    known = {} if known is None else known
    for slot in slots(before, after):
        if not same_slot(before, after, slot, node):
            yield Gap(before, after, node, slot, tags)
    for tag in children(before, after):
        inner = child_node(node, tag)
        below = f"{tags}/{tag}" if tags else tag
        if inner is None:
            continue
        there, wanted = list(before.iterchildren(tag)), list(after.iterchildren(tag))
        rows = pairs(there, wanted, inner, known)
        for element, other in rows:
            if element is None or other is None:
                if not is_hull(other if element is None else element, inner):
                    yield Gap(element, other, inner, PRESENCE, below)
            else:
                yield from gaps(element, other, inner, below, known)
        kept = [there.index(element) for element, other in rows if element is not None and other is not None]
        if inner.key_class not in ("E", "N") and _moved(there, wanted, rows, kept):
            yield Gap(before, after, inner, "order", below)


def is_hull(element: Element | None, node: Node) -> bool:
    """Is it an empty element that only holds others, as <features/>? It carries no value."""
    if element is None or node.many or node.anything or node.attrs or len(element.attrib):
        return False
    return next(element.iterchildren("*"), None) is None and text_of(element) is None and bool(node.children)


def _moved(there: list[Element], wanted: list[Element], rows: Any, kept: list[int]) -> bool:
    """Do the elements of both sides stand in another order?"""
    if len(kept) == len(there) == len(wanted):
        return kept != sorted(kept)
    return kept != sorted(kept)


def children(*elements: Element) -> list[str]:
    """The tags of the elements' children, without what profiles wrote about themselves."""
    found = {child.tag: None for each in elements for child in each.iterchildren("*")}
    return [tag for tag in found if not is_ours(tag)]


def pairs(
    there: list[Element], wanted: list[Element], node: Node, known: _Known | None = None
) -> list[tuple[Element | None, Element | None]]:
    """Which element is which, in the order of `wanted`, then those that went.

    By key where both give it; else equal ones; else those that are alike and of one kind.
    """
    free = list(there)
    found: dict[int, Element] = {}
    if not node.many and there and wanted:
        found[0] = free.pop(0)
    compared: _Known = {} if known is None else known

    def equal(element: Element, other: Element, node: Node) -> float:
        same = compared.get((element, other))
        if same is None:
            same = next(gaps(element, other, node, "", compared), None) is None
            compared[element, other] = same
        return float(same)

    for fits in (equal, _keyed, _alike):
        for at, candidate in enumerate(wanted):
            if at in found:
                continue
            best = max(((fits(each, candidate, node), -n) for n, each in enumerate(free)), default=(0, 0))
            if best[0] > 0:
                found[at] = free.pop(-best[1])
    rows: list[tuple[Element | None, Element | None]] = [
        (found.get(at), candidate) for at, candidate in enumerate(wanted)
    ]
    return rows + [(candidate, None) for candidate in free]


def key_of(element: Element, node: Node) -> list[str | None]:
    return [read_part(element, part, node) for part in node.key if not part.endswith("/*")]


def _keyed(element: Element, other: Element, node: Node) -> float:
    if node.key_class not in ("E", "N") or not node.key:
        return 0.0
    key, theirs = key_of(element, node), key_of(other, node)
    return 1.0 if any(key) and key == theirs else 0.0


def _alike(element: Element, other: Element, node: Node) -> float:
    """The share of values that both have; 0 where they are two kinds of thing, or keys differ."""
    parts = [*node.binding, *(node.key if node.key_class in ("E", "N") else ())]
    for part in parts:
        if part.endswith("/*"):
            continue
        has, wants = read_part(element, part, node), read_part(other, part, node)
        if has != wants and not _same_part(node, part, has, wants):
            return 0.0
    if node.key_class == "S":
        return 1.0
    values, theirs = set(_values(element)), set(_values(other))
    share = len(values & theirs) / max(1, len(values | theirs))
    return share if share >= LIKE else 0.0


def _same_part(node: Node, part: str, has: str | None, wants: str | None) -> bool:
    where = part_node(node, part)
    if has is None or wants is None or where is None or where.anything:
        return False
    slot = part.rpartition("/")[2]
    kind = where.text if slot == TEXT else where.attribute(slot[1:])
    return kind is not None and bool(kind.same(has, wants))


def _values(element: Element, tags: str = "") -> Iterator[tuple[str, str, str]]:
    yield tags, "", ""
    for name, value in attributes(element).items():
        yield tags, name, value
    text = text_of(element)
    if text is not None:
        yield tags, TEXT, text
    for child in element.iterchildren("*"):
        yield from _values(child, f"{tags}/{child.tag}")
