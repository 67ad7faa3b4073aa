# SPDX-License-Identifier: GPL-2.0-or-later
"""Where in a document the things stand that a record speaks of.

libvirt, other tools and people have had the document since. An element is found by
its key, else by what was written into it, else by its place among its like, as far
as something of what was written is still there.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from lxml import etree

from virtProfile.engine.record.dropped import is_dropped
from virtProfile.engine.record.model import read_place
from virtProfile.engine.tree.effort import Effort
from virtProfile.format import machines
from virtProfile.format.element import (
    PRESENCE,
    TEXT,
    child_node,
    container,
    part_node,
    read,
    read_part,
    same_value,
    text_of,
)
from virtProfile.format.facts import data_beside, rows
from virtProfile.format.values import same_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from virtProfile.engine.record.model import Entry, Record, Recorded, Step, Written
    from virtProfile.format.element import Element
    from virtProfile.format.schema import Node, Schema
    from virtProfile.format.values import ValueType

_DATA = data_beside(__file__)
#: A name in an XPath expression.
_NAME = re.compile(r"(?<!')\b[A-Za-z]\w*\b(?!'|\()")
#: What says which things are meant, and words of the expressions.
_NO_CAUSE = frozenset(("type", "device", "model", "and", "or"))


class Located:
    """An entry of the record and what it found.

    `element` is what an "on" speaks of, or the element that was added; None where
    it is not there. `parent` is where an added or removed element stands or stood.
    """

    __slots__ = ("profile", "entry", "element", "parent", "node")

    def __init__(self, profile: Recorded, entry: Entry, node: Node | None) -> None:
        self.profile = profile
        self.entry = entry
        self.element: Element | None = None
        self.parent: Element | None = None
        #: of the element that was added, removed or written on
        self.node: Node = node  # type: ignore[assignment]  # None only where nothing was found


def locate(root: Element, schema: Schema, record: Record, effort: Effort | None = None) -> list[Located]:
    """Everything that the record speaks of; what can stand nowhere is left out.

    :param effort: what the call may compare
    :raises PolicyError: that is not enough
    """
    if effort is None:
        effort = Effort()
    effort.allow(record.size)
    search = _Search(effort)
    found: list[Located] = []
    added: dict[tuple[Element, str], list[Located]] = {}
    used: dict[str, set[Element]] = {}
    for profile in record.profiles:
        for entry in profile.entries:
            steps = read_place(entry.at)
            places = search.places(root, schema.root, steps)
            if entry.kind == "on":
                located = Located(profile, entry, None)
                taken = used.setdefault(_shape(entry, steps), set())
                best = None
                for place in places:
                    if place[0] in taken:
                        continue
                    if _holds_on(place, entry):
                        best = place
                        break
                    best = best or place
                if best is not None:
                    located.element, located.node = best
                    taken.add(best[0])
                found.append(located)
                continue
            likeliest = next(places, None)
            if likeliest is None:
                found.append(Located(profile, entry, None))
                continue
            parent, node = likeliest
            below = child_node(node, entry.written.tag)
            if below is None:
                continue
            located = Located(profile, entry, below)
            located.parent = parent
            found.append(located)
            if entry.kind == "add":
                added.setdefault((parent, entry.written.tag), []).append(located)
    for (parent, tag), group in added.items():
        _assign(search.like(parent, tag), group, search)
    return found


def _shape(entry: Entry, steps: Sequence[Step]) -> str:
    """Equal for entries that must not find the same element."""
    slots = sorted({*entry.written.attrs, *(entry.was.attrs if entry.was is not None else ())})
    return f"{'/'.join(step.tag for step in steps)} {slots}"


def places_of(root: Element, node: Node, steps: Sequence[Step], effort: Effort) -> list[tuple[Element, Node]]:
    """The elements that a place can mean, the likeliest first."""
    return list(_Search(effort).places(root, node, steps))


class _Search:
    """Finds elements by their place or key, in tables that hold while the tree stays as it is."""

    def __init__(self, effort: Effort) -> None:
        self.effort = effort
        self._like: dict[tuple[Element, str], list[Element]] = {}
        self._keyless: dict[tuple[Element, str, tuple[str, ...]], tuple[list[Element], list[Element]]] = {}
        self._keyed: dict[
            tuple[Element, str, tuple[str, ...]], tuple[dict[object, list[Element]], list[ValueType | None]]
        ] = {}

    def like(self, parent: Element, tag: str) -> list[Element]:
        """The children of that tag."""
        found = self._like.get((parent, tag))
        if found is None:
            found = self._like[parent, tag] = list(parent.iterchildren(tag))
        return found

    def by_key(self, parent: Element, node: Node, keys: Sequence[tuple[str, str]]) -> list[Element]:
        """The children of that node's tag that have these values in these parts of their key."""
        parts = tuple(_slotted(part) for part, _ in keys)
        at = (parent, node.tag, parts)
        known = self._keyed.get(at)
        if known is None:
            table: dict[object, list[Element]] = {}
            self.effort.spend(len(self.like(parent, node.tag)) * len(parts))
            kinds = [_kind_of(node, part) for part in parts]
            for element in self.like(parent, node.tag):
                key = _key_of(element, node, parts, kinds)
                if key is not None:
                    table.setdefault(key, []).append(element)
            known = self._keyed[at] = table, kinds
        wanted = [
            value if kind is None else kind.canonical(value)
            for kind, (_, value) in zip(known[1], keys, strict=True)
        ]
        return known[0].get(tuple(wanted), [])

    def without_key(
        self, parent: Element, node: Node, keys: Sequence[tuple[str, str]]
    ) -> tuple[list[Element], list[Element]]:
        """The children of that tag that have none of these parts of a key, and those with libvirt's own."""
        parts = tuple(_slotted(part) for part, _ in keys)
        at = (parent, node.tag, parts)
        found = self._keyless.get(at)
        if found is None:
            like = self.like(parent, node.tag)
            self.effort.spend(len(like) * len(parts))
            known = [part for part in parts if _kind_of(node, part) is not None]
            found = self._keyless[at] = (
                [one for one in like if all(read_part(one, part, node) is None for part in parts)],
                [one for one in like if any(_is_libvirts(one, node, part) for part in known)],
            )
        return found

    def places(self, element: Element, node: Node, steps: Sequence[Step]) -> Iterator[tuple[Element, Node]]:
        """The elements that a place can mean, the likeliest first."""
        for number, step in enumerate(steps, 1):
            inner = child_node(node, step.tag)
            if inner is None:
                return
            like = self._meant(element, inner, step)
            if len(like) != 1:
                rest = steps[number:]
                first = None if step.number is None or step.number > len(like) else like[step.number - 1]
                if first is not None:
                    self.effort.spend()
                    yield from self.places(first, inner, rest)
                for candidate in like:
                    if candidate is not first:
                        self.effort.spend()
                        yield from self.places(candidate, inner, rest)
                return
            self.effort.spend()
            element, node = like[0], inner
        yield element, node

    def _meant(self, element: Element, inner: Node, step: Step) -> list[Element]:
        """The children that a step can mean."""
        # A size in the key is as it was written: in another unit after a define.
        keys = [key for key in step.keys if _slotted(key[0]) not in inner.unit]
        if not keys:
            return self.like(element, step.tag)
        like = self.by_key(element, inner, keys)
        if not like:  # somebody took the key out, or libvirt wrote its own
            without, others = self.without_key(element, inner, keys)
            like = without or [
                candidate
                for candidate in others
                if all(
                    key_value(inner, part, candidate) == _canonical(inner, part, value)
                    or _is_libvirts(candidate, inner, part)
                    for part, value in ((_slotted(part), value) for part, value in keys)
                )
            ]
        return like


def _slotted(part: str) -> str:
    """A part of a key with its slot: the text where it names an element."""
    slot = part.rpartition("/")[2]
    return part if slot == TEXT or slot[:1] == "@" else f"{part}/{TEXT}"


def key_value(node: Node, part: str, element: Element) -> object:
    """A part of an element's key, equal for values that mean the same; None where it has none."""
    value = read_part(element, part, node)
    return None if value is None else _canonical(node, part, value)


def written_key(node: Node, part: str, written: Written) -> object:
    """The same of what was written."""
    value = _written_part(written, part)
    return None if value is None else _canonical(node, part, value)


def _key_of(
    element: Element, node: Node, parts: Sequence[str], kinds: Sequence[ValueType | None]
) -> tuple[object, ...] | None:
    """The values of these parts as `_Search.by_key` compares them, None where one is missing."""
    key: list[object] = []
    for part, kind in zip(parts, kinds, strict=True):
        value = read_part(element, part, node)
        if value is None:
            return None
        key.append(value if kind is None else kind.canonical(value))
    return tuple(key)


def _kind_of(node: Node, part: str) -> ValueType | None:
    """What values of a part may be; None where the schema does not know."""
    at = part_node(node, part)
    if at is None or at.anything:
        return None
    slot = part.rpartition("/")[2]
    return at.text if slot == TEXT else at.attribute(slot[1:])


def _canonical(node: Node, part: str, value: str) -> object:
    """Equal for values of a part that mean the same, as `same_value` has it."""
    kind = _kind_of(node, part)
    return value if kind is None else kind.canonical(value)


def slots(written: Written) -> Iterator[tuple[str, str]]:
    """(slot, value) of what was written on the element itself."""
    for name, value in written.attrs.items():
        yield "@" + name, value
    if written.text is not None:
        yield TEXT, written.text


@cache
def _resolved() -> dict[tuple[str, str], list[tuple[str, etree.XPath]]]:
    """(path, slot) -> (what libvirt writes where the slot has no meaning, for which elements)."""
    found: dict[tuple[str, str], list[tuple[str, etree.XPath]]] = {}
    for path, slot, value, where, _ in rows(f"{_DATA}/resolved.tsv"):
        test = etree.XPath(f"boolean({where})", smart_strings=False)
        found.setdefault((path, slot), []).append((value, test))
    return found


def resolved_values(element: Element) -> list[tuple[str, str]]:
    """(slot, value) of what libvirt writes on the element whatever stands there, but for what it numbers."""
    if element.tag not in _resolved_tags():
        return []
    path = "/".join([element.tag, *(above.tag for above in element.iterancestors())][-2::-1])
    return [
        (slot, value)
        for (at, slot), found in _resolved().items()
        for value, test in found
        if at == path and value != "*" and test(element)
    ]


@cache
def _resolved_tags() -> frozenset[str]:
    return frozenset(path.rpartition("/")[2] for path, _ in _resolved())


@cache
def resolved_rows() -> list[tuple[str, str, frozenset[str]]]:
    """(path, slot, the names in what says where) of what libvirt writes whatever stands there."""
    return [
        (path, slot, frozenset(_NAME.findall(test.path)) - _NO_CAUSE)
        for (path, slot), found in _resolved().items()
        for value, test in found
        if value != "*"
    ]


def is_empty_of(element: Element, node: Node, slot: str, value: str) -> bool:
    """Is that what libvirt writes there whatever was given, as the slot has no effect in this element?"""
    return any(
        writes in (value, "*") and test(element) for writes, test in _resolved().get((node.path, slot), ())
    )


def held(element: Element, node: Node, slot: str, written: Written) -> bool:
    """Does the element still say what was written there? What libvirt implies counts."""
    value = written.text if slot == TEXT else written.attrs.get(slot[1:])
    if value is None:
        return False
    if not node.unit and value == (text_of(element) if slot == TEXT else element.get(slot[1:])):
        return True
    for number, (unit, default) in node.unit.items():
        if slot in (number, unit):  # a number and its unit are one value
            amount = written.text if number == TEXT else written.attrs.get(number[1:])
            has = text_of(element) if number == TEXT else element.get(number[1:])
            if amount is None or has is None:
                break
            return same_size(amount, written.attrs.get(unit[1:]), has, element.get(unit[1:]), default)
    has, _ = read(element, slot, node)
    if has is not None and is_empty_of(element, node, slot, has):
        return True
    if has is not None and slot == "@machine" and node.path == "os/type" and machines.resolves(value, has):
        return True
    return has is not None and same_value(node, slot, value, has)


def _holds_on(place: tuple[Element, Node], entry: Entry) -> bool:
    element, node = place
    return all(held(element, node, slot, entry.written) for slot, _ in slots(entry.written))


def likeness(element: Element, node: Node, written: Written, effort: Effort) -> tuple[int, int]:
    """(values that are still there, values written), of the element and all in it."""
    return _Scores(effort).of(element, node, written)


def pairs(
    element: Element, node: Node, written: Written, effort: Effort
) -> list[tuple[Element | None, Node, Written]]:
    """(element, its node, what was written) of each child that was written.

    :raises PolicyError: the call may not compare so much
    """
    return _Scores(effort).pairs(element, node, written)


class _Scores:
    """Likenesses while the tree stays as it is, each worked out once.

    Which child is which is decided by the likeness of all that is in it: without a table every
    level would work out all those below it anew.
    """

    __slots__ = ("effort", "_known")

    def __init__(self, effort: Effort) -> None:
        self.effort = effort
        self._known: dict[tuple[Element, int], tuple[int, int]] = {}

    def of(self, element: Element, node: Node, written: Written) -> tuple[int, int]:
        """See `likeness`."""
        key = (element, id(written))
        known = self._known.get(key)
        if known is not None:
            return known
        self.effort.spend()
        same = total = 0
        for slot, _ in slots(written):
            holds = held(element, node, slot, written)
            if holds or not is_dropped(element, node, slot):
                total += 1
                same += holds
        for standing, inner, below in self.pairs(element, node, written) if written.children else ():
            if standing is None:
                if not is_dropped(element, inner, PRESENCE, below):
                    total += max(1, sum(1 for _ in below.values()))
                continue
            there, count = self.of(standing, inner, below)
            same += there
            total += count
        self._known[key] = same, total
        return same, total

    def pairs(
        self, element: Element, node: Node, written: Written
    ) -> list[tuple[Element | None, Node, Written]]:
        """See `locate.pairs`."""
        free: dict[str, dict[Element, None]] = {}
        rows: list[tuple[Element | None, Node, Written]] = []
        for below in written.children:
            inner = child_node(node, below.tag)
            if inner is None:
                continue
            like = free.get(below.tag)
            if like is None:
                like = free[below.tag] = dict.fromkeys(element.iterchildren(below.tag))
            best = next(iter(like), None)
            if len(like) > 1:
                best = self._most_like(like, inner, below)
            if best is not None:
                del like[best]
            rows.append((best, inner, below))
        return rows

    def _most_like(self, like: Iterable[Element], node: Node, written: Written) -> Element | None:
        """The first of those that say most of what was written."""
        best, most = None, -1
        for element in like:
            self.effort.spend()
            same, total = self.of(element, node, written)
            if same > most:
                best, most = element, same
            if same == total:  # none says more
                break
        return best


def _assign(there: list[Element], group: list[Located], search: _Search) -> None:
    """Give each added element its own: by key, by all that was written, by place."""
    waiting = [located for located in group if not located.entry.gone]
    free = dict.fromkeys(there)
    scores = _Scores(search.effort)

    def score(located: Located, element: Element) -> tuple[int, int] | None:
        """None where the element is another thing."""
        search.effort.spend()
        if element not in free or contradicts(element, located.node, located.entry.written):
            return None
        return scores.of(element, located.node, located.entry.written)

    def candidates(located: Located) -> Iterable[Element]:
        """All that it can be: what has a key is looked up by it."""
        if not keyed(located):
            return free
        keys = [(part, _written_part(located.entry.written, part) or "") for part in located.node.key]
        return search.by_key(located.parent, located.node, keys) if located.parent is not None else ()

    def give(located: Located, fits: Callable[[tuple[int, int]], bool], choice: Iterable[Element]) -> None:
        for element in choice:
            likeness_ = score(located, element)
            if likeness_ is not None and fits(likeness_):
                located.element = element
                del free[element]
                return

    def in_place(located: Located) -> list[Element]:
        return there[located.entry.number - 1 : located.entry.number] if located.entry.number > 0 else []

    ranks: list[
        tuple[
            Callable[[Located], bool],
            Callable[[tuple[int, int]], bool],
            Callable[[Located], Iterable[Element]],
        ]
    ] = [
        (_any, _all_of_it, in_place),
        (lambda located: located.node.key_class == "E" and keyed(located), _whatever, candidates),
        (_any, _all_of_it, candidates),
        (keyed, _whatever, candidates),
        (lambda located: located.node.many, _some_of_it, in_place),
        (lambda located: not located.node.many, _whatever, candidates),
        (_any, _most_of_it, candidates),
    ]
    for may, fits, choice in ranks:
        for located in waiting:
            if may(located):
                give(located, fits, choice(located))
        waiting = [located for located in waiting if located.element is None]
        if not waiting or not free:
            return


def _any(located: Located) -> bool:
    return True


def _whatever(score: tuple[int, int]) -> bool:
    return True


def _all_of_it(score: tuple[int, int]) -> bool:
    return score[0] == score[1]


def _some_of_it(score: tuple[int, int]) -> bool:
    return score[0] > 0


def _most_of_it(score: tuple[int, int]) -> bool:
    return 2 * score[0] > score[1]


def keyed(located: Located) -> bool:
    """Was all of the key written that tells the element from its like? A size has many spellings."""
    node = located.node
    if node.key_class not in ("E", "N") or not node.key or any(part in node.unit for part in node.key):
        return False
    if any(_is_numbered(node, part) for part in node.key):
        return False
    return all(_written_part(located.entry.written, part) is not None for part in node.key)


def _is_numbered(node: Node, part: str) -> bool:
    """Does libvirt write a value of its own into that part of a key?"""
    at = part_node(node, part)
    resolved = () if at is None else _resolved().get((at.path, part.rpartition("/")[2]), ())
    return any(value == "*" for value, _ in resolved)


def _is_libvirts(element: Element, node: Node, part: str) -> bool:
    """Is that part as libvirt makes it, whatever was written there?"""
    *tags, slot = part.split("/")
    holder, at = container(element, tags), part_node(node, part)
    if holder is None or at is None or at.anything:
        return False
    value = text_of(holder) if slot == TEXT else holder.get(slot[1:])
    return is_dropped(holder, at, slot) if value is None else is_empty_of(holder, at, slot, value)


def _written_part(written: Written, part: str) -> str | None:
    *tags, slot = part.split("/")
    for tag in tags:
        below = next((child for child in written.children if child.tag == tag), None)
        if below is None:
            return None
        written = below
    return written.text if slot == TEXT else written.attrs.get(slot[1:])


def names_of_thing(element: Element, above: Node | None) -> list[str]:
    """The slots of a part of a thing that hold what the thing is called, as ``target/@dev`` of a disk.

    :param above: the node of the thing
    """
    found = []
    for part in () if above is None or above.anything else above.key:
        tag, _, slot = part.rpartition("/")
        if tag == element.tag and slot[:1] == "@" and element.get(slot[1:]) is not None:
            found.append(slot)
    return found


def contradicts(element: Element, node: Node, written: Written) -> bool:
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
        if _is_libvirts(element, node, part):
            continue
        if has is not None and part in node.unit:
            unit, default = node.unit[part]
            if not same_size(value, written.attrs.get(unit[1:]), has, element.get(unit[1:]), default):
                return True
        elif has is not None and not same_value(part_node(node, part), part.rpartition("/")[2], value, has):
            return True
        if has is None and part in node.key:
            return True
    return False
