# SPDX-License-Identifier: GPL-2.0-or-later
"""Where in a document the things stand that a record speaks of.

libvirt, other tools and people have had the document since. An element is found by
its key, else by what was written into it, else by its place among its like, as far
as something of what was written is still there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .domainschema import same_size
from .finding import read, read_part
from .record import Entry, Record, Recorded, Step, Written, read_place
from .wants import ForeignNode
from .worktree import TEXT, Element, text_of

if TYPE_CHECKING:
    from .domainschema import Schema


class Located:
    """An entry of the record and what it found.

    `element` is what an "on" speaks of, or the element that was added; None where
    it is not there. `parent` is where an added or removed element stands or stood.
    """

    __slots__ = ("profile", "entry", "element", "parent", "node")

    def __init__(self, profile: Recorded, entry: Entry, node: Any) -> None:
        self.profile = profile
        self.entry = entry
        self.element: Element | None = None
        self.parent: Element | None = None
        #: of the element that was added, removed or written on
        self.node = node


def locate(root: Element, schema: Schema, record: Record) -> list[Located]:
    """Everything that the record speaks of; what can stand nowhere is left out."""
    found: list[Located] = []
    added: dict[tuple[Element, str], list[Located]] = {}
    used: dict[str, set[Element]] = {}
    for profile in record.profiles:
        for entry in profile.entries:
            places = _places(root, schema.root, read_place(entry.at))
            if entry.kind == "on":
                one = Located(profile, entry, None)
                taken = used.setdefault(_shape(entry), set())
                choice = [place for place in places if place[0] not in taken]
                best = next((place for place in choice if _holds_on(place, entry)), None)
                if best is None and choice:
                    best = choice[0]
                if best is not None:
                    one.element, one.node = best
                    taken.add(best[0])
                found.append(one)
                continue
            if not places:
                found.append(Located(profile, entry, None))
                continue
            parent, node = places[0]
            below = child_node(node, entry.written.tag)
            if below is None:
                continue
            one = Located(profile, entry, below)
            one.parent = parent
            found.append(one)
            if entry.kind == "add":
                added.setdefault((parent, entry.written.tag), []).append(one)
    for (parent, tag), group in added.items():
        _assign(list(parent.iterchildren(tag)), group)
    return found


def child_node(node: Any, tag: str) -> Any:
    """The schema's node below `node`; inside metadata one that takes anything."""
    if node.anything and not isinstance(node, ForeignNode):
        return ForeignNode(f"{node.path}/{tag}", tag, node, False)
    return node.child(tag)


def _shape(entry: Entry) -> str:
    """Equal for entries that must not find the same element."""
    slots = sorted({*entry.written.attrs, *(entry.was.attrs if entry.was is not None else ())})
    return f"{'/'.join(step.tag for step in read_place(entry.at))} {slots}"


def _places(element: Element, node: Any, steps: Sequence[Step]) -> list[tuple[Element, Any]]:
    """The elements that a place can mean, the likeliest first."""
    here = [(element, node)]
    for step in steps:
        below: list[tuple[Element, Any]] = []
        for at, above in here:
            inner = child_node(above, step.tag)
            if inner is None:
                continue
            like = list(at.iterchildren(step.tag))
            if step.keys:
                like = [one for one in like if all(_is(one, inner, *key) for key in step.keys)]
            if step.number is not None and step.number <= len(like):
                like.insert(0, like.pop(step.number - 1))
            below += [(one, inner) for one in like]
        here = below
    return here


def _is(element: Element, node: Any, part: str, value: str) -> bool:
    """Has a key part that value?"""
    slot = part.rpartition("/")[2]
    if slot[:1] != "@":
        part = f"{part}/{TEXT}" if part != TEXT else part
    has = read_part(element, part, node)
    if has == value:
        return True
    return has is not None and same_value(part_node(node, part), part.rpartition("/")[2], value, has)


def part_node(node: Any, part: str) -> Any:
    for tag in part.split("/")[:-1]:
        node = None if node is None else child_node(node, tag)
    return node


def same_value(node: Any, slot: str, one: str, other: str) -> bool:
    if one == other:
        return True
    if node is None or isinstance(node, ForeignNode) or node.anything:
        return False
    kind = node.text if slot == TEXT else node.attribute(slot[1:])
    return kind is not None and bool(kind.same(one, other))


def slots(written: Written) -> Iterator[tuple[str, str]]:
    """(slot, value) of what was written on the element itself."""
    for name, value in written.attrs.items():
        yield "@" + name, value
    if written.text is not None:
        yield TEXT, written.text


def held(element: Element, node: Any, slot: str, written: Written) -> bool:
    """Does the element still say what was written there? What libvirt implies counts."""
    value = written.text if slot == TEXT else written.attrs.get(slot[1:])
    if value is None:
        return False
    for number, (unit, default) in node.unit.items():
        if slot in (number, unit):  # a number and its unit are one value
            amount = written.text if number == TEXT else written.attrs.get(number[1:])
            has = text_of(element) if number == TEXT else element.get(number[1:])
            if amount is None or has is None:
                break
            return same_size(amount, written.attrs.get(unit[1:]), has, element.get(unit[1:]), default)
    has, _ = read(element, slot, node)
    return has is not None and same_value(node, slot, value, has)


def _holds_on(place: tuple[Element, Any], entry: Entry) -> bool:
    element, node = place
    return all(held(element, node, slot, entry.written) for slot, _ in slots(entry.written))


def likeness(element: Element, node: Any, written: Written) -> tuple[int, int]:
    """(values that are still there, values written), of the element and all in it."""
    same = total = 0
    for slot, _ in slots(written):
        total += 1
        same += held(element, node, slot, written)
    for one, inner, below in pairs(element, node, written):
        if one is None:
            total += max(1, sum(1 for _ in below.values()))
            continue
        there, count = likeness(one, inner, below)
        same += there
        total += count
    return same, total


def pairs(element: Element, node: Any, written: Written) -> list[tuple[Element | None, Any, Written]]:
    """(element, its node, what was written) of each child that was written."""
    free: dict[str, list[Element]] = {}
    rows: list[tuple[Element | None, Any, Written]] = []
    for below in written.children:
        inner = child_node(node, below.tag)
        if inner is None:
            continue
        like = free.setdefault(below.tag, list(element.iterchildren(below.tag)))
        if len(like) <= 1:
            best = like[0] if like else None
        else:
            best = max(like, key=lambda one: (likeness(one, inner, below)[0], -like.index(one)))  # noqa: B023
        if best is not None:
            like.remove(best)
        rows.append((best, inner, below))
    return rows


def _assign(there: list[Element], group: list[Located]) -> None:
    """Give each added element its own: by key, by all that was written, by place."""
    free = list(there)
    like: dict[tuple[int, Element], tuple[int, int]] = {}
    open_ones = [one for one in group if not one.entry.gone]
    for number, one in enumerate(open_ones):
        for element in free:
            if not contradicts(element, one.node, one.entry.written):
                like[number, element] = likeness(element, one.node, one.entry.written)
    for rank in (_all_in_place, _unique, _all_of_it, _keyed, _some_in_place, _most_of_it):
        for number, one in enumerate(open_ones):
            if one.element is not None:
                continue
            for element in free:
                score = like.get((number, element))
                if score is not None and rank(one, element, score, there):
                    one.element = element
                    free.remove(element)
                    break


def _all_in_place(one: Located, element: Element, score: tuple[int, int], there: list[Element]) -> bool:
    return score[0] == score[1] and _at(one, element, there)


def _unique(one: Located, element: Element, score: tuple[int, int], there: list[Element]) -> bool:
    return one.node.key_class == "E" and keyed(one)


def _keyed(one: Located, element: Element, score: tuple[int, int], there: list[Element]) -> bool:
    return keyed(one)


def _all_of_it(one: Located, element: Element, score: tuple[int, int], there: list[Element]) -> bool:
    return score[0] == score[1]


def _some_in_place(one: Located, element: Element, score: tuple[int, int], there: list[Element]) -> bool:
    return score[0] > 0 and _at(one, element, there) or not one.node.many


def _most_of_it(one: Located, element: Element, score: tuple[int, int], there: list[Element]) -> bool:
    return 2 * score[0] > score[1]


def _at(one: Located, element: Element, there: list[Element]) -> bool:
    place = one.entry.number - 1
    return place < len(there) and there[place] is element


def keyed(one: Located) -> bool:
    """Was all of the key written that tells the element from its like?"""
    node = one.node
    if node.key_class not in ("E", "N") or not node.key:
        return False
    return all(_written_part(one.entry.written, part) is not None for part in node.key)


def _written_part(written: Written, part: str) -> str | None:
    *tags, slot = part.split("/")
    for tag in tags:
        below = next((one for one in written.children if one.tag == tag), None)
        if below is None:
            return None
        written = below
    return written.text if slot == TEXT else written.attrs.get(slot[1:])


def contradicts(element: Element, node: Any, written: Written) -> bool:
    """Is the element another thing, by its key or by what binds?"""
    parts = [*node.binding]
    if node.key_class in ("E", "N"):
        parts += node.key
    for part in parts:
        if part.endswith("/*"):
            continue
        value = _written_part(written, part)
        if value is None:
            continue
        has = read_part(element, part, node)
        if has is not None and not same_value(part_node(node, part), part.rpartition("/")[2], value, has):
            return True
        if has is None and part in node.key:
            return True
    return False
