# SPDX-License-Identifier: GPL-2.0-or-later
"""Two documents side by side: which element of one is which of the other, and what differs.

Used by `learn`. Values compare by what they mean, and what libvirt implies counts
as written, as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .domainschema import same_size
from .finding import read, read_part
from .locating import child_node, part_node
from .records import record
from .worktree import PRESENCE, TEXT, Element, text_of
from .xmltree import RECORD_NS, VIRTUNED_NS, namespace

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
    node: Any
    slot: str
    tags: str


def is_ours(tag: str) -> bool:
    """A profile's list or record in the metadata: never a part of what is learned."""
    return namespace(tag) in (VIRTUNED_NS, RECORD_NS)


def same_slot(one: Element, other: Element, slot: str, node: Any) -> bool:
    """Do both elements say the same there? A number and its unit are one value."""
    for number, (unit, default) in node.unit.items():
        if slot in (number, unit):
            amounts = [read(each, number, node)[0] for each in (one, other)]
            if None in amounts:
                break
            return same_size(
                amounts[0] or "", one.get(unit[1:]), amounts[1] or "", other.get(unit[1:]), default
            )
    has, wants = read(one, slot, node)[0], read(other, slot, node)[0]
    if has is None or wants is None or has == wants:
        return has == wants
    if node.anything:
        return False
    kind = node.text if slot == TEXT else node.attribute(slot[1:])
    return kind is not None and bool(kind.same(wants, has))


def slots(*elements: Element) -> list[str]:
    """The slots that any of the elements writes, attributes first."""
    found = {f"@{name}": None for one in elements for name in one.attrib}
    if any(text_of(one) is not None for one in elements):
        found[TEXT] = None
    return list(found)


def gaps(before: Element, after: Element, node: Any, tags: str = "") -> Iterator[Gap]:
    """All differences of two elements that are the same thing, in document order."""
    for slot in slots(before, after):
        if not same_slot(before, after, slot, node):
            yield Gap(before, after, node, slot, tags)
    for tag in children(before, after):
        inner = child_node(node, tag)
        below = f"{tags}/{tag}" if tags else tag
        if inner is None:
            continue
        there, wanted = list(before.iterchildren(tag)), list(after.iterchildren(tag))
        rows = pairs(there, wanted, inner)
        for one, other in rows:
            if one is None or other is None:
                if not is_hull(other if one is None else one, inner):
                    yield Gap(one, other, inner, PRESENCE, below)
            else:
                yield from gaps(one, other, inner, below)
        kept = [there.index(one) for one, other in rows if one is not None and other is not None]
        if inner.key_class not in ("E", "N") and _moved(there, wanted, rows, kept):
            yield Gap(before, after, inner, "order", below)


def is_hull(element: Element | None, node: Any) -> bool:
    """Is it an empty element that only holds others, as <features/>? It says nothing."""
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
    found = {one.tag: None for each in elements for one in each.iterchildren("*")}
    return [tag for tag in found if not is_ours(tag)]


def pairs(
    there: list[Element], wanted: list[Element], node: Any
) -> list[tuple[Element | None, Element | None]]:
    """Which element is which, in the order of `wanted`, then those that went.

    By key where both give it; else equal ones; else those that are alike and of one kind.
    """
    free = list(there)
    found: dict[int, Element] = {}
    if not node.many and there and wanted:
        found[0] = free.pop(0)
    for fits in (_equal, _keyed, _alike):
        for at, one in enumerate(wanted):
            if at in found:
                continue
            best = max(((fits(each, one, node), -n) for n, each in enumerate(free)), default=(0, 0))
            if best[0] > 0:
                found[at] = free.pop(-best[1])
    rows: list[tuple[Element | None, Element | None]] = [
        (found.get(at), one) for at, one in enumerate(wanted)
    ]
    return rows + [(one, None) for one in free]


def _equal(one: Element, other: Element, node: Any) -> float:
    return 1.0 if next(gaps(one, other, node), None) is None else 0.0


def key_of(element: Element, node: Any) -> list[str | None]:
    return [read_part(element, part, node) for part in node.key if not part.endswith("/*")]


def _keyed(one: Element, other: Element, node: Any) -> float:
    if node.key_class not in ("E", "N") or not node.key:
        return 0.0
    mine, theirs = key_of(one, node), key_of(other, node)
    return 1.0 if any(mine) and mine == theirs else 0.0


def _alike(one: Element, other: Element, node: Any) -> float:
    """The share of values that both have; 0 where they are two kinds of thing, or keys differ."""
    parts = [*node.binding, *(node.key if node.key_class in ("E", "N") else ())]
    for part in parts:
        if part.endswith("/*"):
            continue
        has, wants = read_part(one, part, node), read_part(other, part, node)
        if has != wants and not _same_part(node, part, has, wants):
            return 0.0
    if node.key_class == "S":
        return 1.0
    mine, theirs = set(_values(one)), set(_values(other))
    share = len(mine & theirs) / max(1, len(mine | theirs))
    return share if share >= LIKE else 0.0


def _same_part(node: Any, part: str, has: str | None, wants: str | None) -> bool:
    where = part_node(node, part)
    if has is None or wants is None or where is None or where.anything:
        return False
    slot = part.rpartition("/")[2]
    kind = where.text if slot == TEXT else where.attribute(slot[1:])
    return kind is not None and bool(kind.same(has, wants))


def _values(element: Element, tags: str = "") -> Iterator[tuple[str, str, str]]:
    yield tags, "", ""
    for name, value in element.attrib.items():
        yield tags, name, value
    text = text_of(element)
    if text is not None:
        yield tags, TEXT, text
    for one in element.iterchildren("*"):
        yield from _values(one, f"{tags}/{one.tag}")
