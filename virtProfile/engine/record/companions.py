# SPDX-License-Identifier: GPL-2.0-or-later
"""What libvirt adds by itself, at define, to the devices that profiles bring.

Told in the record, so that taking a profile back leaves nothing over: a companion
goes with what brought it, if nobody shaped it and nothing else needs it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING

from virtProfile.engine.tree.ownership import Writer
from virtProfile.engine.tree.work_tree import WorkTree
from virtProfile.format.element import Element, attributes, child, container, elements_at, parent_of
from virtProfile.format.facts import data_beside, rows

if TYPE_CHECKING:
    from virtProfile.engine.record.model import Record, Recorded

_DATA = data_beside(__file__)
#: Of a condition on all devices, what must not be there.
_WITHOUT = re.compile(r"self::\*\[not\((\w+)")
#: A name that an element may have which an XPath selects: no attribute, no value, no step before others.
_NAME = re.compile(r"'[^']*'|(?<![@\w-])([A-Za-z]+)(?![\w/-])")


class Companion:
    """One row of the facts. The XPaths are ours, never a profile's.

    :ivar becomes: (slot, value) that it gets back, None where it is taken out
    :ivar without: tags of the devices without which libvirt adds it
    """

    __slots__ = ("name", "itself", "slots", "needs", "words", "becomes", "without")

    def __init__(self, name: str, itself: str, slots: str, needs: str, becomes: str) -> None:
        self.name = name
        self.itself = itself
        self.slots = frozenset(slots.split("+"))
        self.needs = needs
        #: the tags of what needs it are among them
        self.words = frozenset(filter(None, _NAME.findall(needs)))
        slot, _, value = becomes.partition("=")
        self.becomes = (slot, value) if value else None
        self.without = frozenset(_WITHOUT.findall(needs))

    def unshaped(self, element: Element) -> bool:
        """Is it as libvirt makes it?"""
        has = {"@" + name for name in attributes(element)} | {
            below.tag for below in element.iterchildren("*")
        }
        return has <= self.slots


_known: dict[str, Companion] = {}


def _companions() -> dict[str, Companion]:
    if not _known:
        for name, itself, slots, needs, becomes, *_ in rows(f"{_DATA}/companions.tsv"):
            _known[name] = Companion(name, itself, slots, needs, becomes)
    return _known


class Implied:
    """What libvirt will add, or added before, to what profiles brought and changed in a tree.

    What the facts select is asked of the tree once, for all profiles.
    """

    def __init__(
        self,
        tree: WorkTree,
        brought: Mapping[str, Iterable[Element]],
        changed: Mapping[str, Iterable[Element]],
        removed: Mapping[str, Collection[str]],
    ) -> None:
        """:param brought: by profile the elements that it added
        :param changed: likewise those of the definition that it gave another variant, and parts of such
        :param removed: likewise the tags of the devices that it took away
        """
        self._tree = tree
        self._brought = brought
        self._changed = changed
        self._removed = removed
        self._devices = child(tree.root, "devices")
        self._around = {self._devices, tree.root}
        self._known: dict[str, tuple[set[Element], set[Element], bool]] | None = None
        self._beside = list(_written_beside_now(tree))

    def _needed(self) -> dict[str, tuple[set[Element], set[Element], bool]]:
        """Companion -> elements that need it, those with all around them; is it there already?"""
        if self._known is None:
            self._known = {}
            devices = self._devices
            tags = self._tags()
            for name, companion in _companions().items() if devices is not None else ():
                assert devices is not None
                if companion.words.isdisjoint(tags):
                    continue  # no profile brought or changed what needs it
                needed = elements_at(devices, companion.needs)
                if needed:
                    around = {above for element in needed for above in (element, *element.iterancestors())}
                    there = bool(elements_at(devices, companion.itself))
                    self._known[name] = (set(needed), around, there)
        return self._known

    def _tags(self) -> set[str]:
        """The tags of all that profiles brought, changed and removed, and of what that is in."""
        tags: set[str] = set(chain.from_iterable(self._removed.values()))
        for element in chain.from_iterable(self._brought.values()):
            if len(element):
                tags.update([part.tag for part in element.iter("*")])
            else:
                tags.add(element.tag)
        for changed in chain.from_iterable(self._changed.values()):
            at: Element | None = changed
            while at is not None and at not in self._around:
                tags.add(at.tag)
                at = at.getparent()
        return tags

    def by(self, profile: str, before: Recorded | None) -> tuple[str, ...]:
        """The names of the facts that hold for what a profile did.

        :param before: the profile in the record of the input
        """
        changed, removed = self._changed.get(profile, ()), self._removed.get(profile, ())
        known = frozenset() if before is None else frozenset(before.implies)
        found = []
        added = {element for element in self._brought.get(profile, ()) if element.getparent() is not None}
        varied: set[Element] = set()
        for element in changed:
            varied |= {element, *element.iterancestors()} - self._around
        if added or varied or removed:
            for name, (needed, around, there) in self._needed().items():
                if name not in known and there:
                    continue
                if (
                    not added.isdisjoint(around)
                    or not varied.isdisjoint(needed)
                    or (self._devices in needed and not _companions()[name].without.isdisjoint(removed))
                ):
                    found.append(name)
        for name, owner, there in self._beside:
            if owner == profile and (name in known or not there) and name not in found:
                found.append(name)
        return (*found, *placed(self._tree, changed, before))


#: What a record says of a profile after whose machine type libvirt makes all PCI addresses and controllers.
PLACES = "pci"


def placed(tree: WorkTree, changed: Iterable[Element], before: Recorded | None) -> tuple[str, ...]:
    """Will libvirt, or did it, place every PCI device for the machine type that a profile set?"""
    if not any(element.tag == "type" and element.getparent() in list(tree.root) for element in changed):
        return ()
    devices = child(tree.root, "devices")
    known = before is not None and PLACES in before.implies
    own = [] if devices is None else elements_at(devices, "*/address[@type='pci'] | controller[@type='pci']")
    return (PLACES,) if known or not any(tree.original(element) for element in own) else ()


class _Beside:
    """One row of what libvirt writes beside a variant."""

    __slots__ = ("path", "slot", "values", "what", "writes", "_tags")

    def __init__(self, path: str, slot: str, values: str, what: str, writes: str) -> None:
        self.path = path
        self.slot = slot
        self.values = frozenset(values.split(" "))
        *self._tags, self.what = what.split("/")
        self.writes = frozenset(writes.split(" "))

    def holder(self, element: Element) -> Element | None:
        """The element that libvirt writes on: that of the variant, or one in it."""
        return container(element, self._tags)

    def follows(self, value: str | None) -> bool:
        return "*" in self.values or value in self.values


@cache
def _beside() -> dict[str, _Beside]:
    return {name: _Beside(*facts) for name, *facts, _ in rows(f"{_DATA}/with-variant.tsv")}


def _written_beside_now(tree: WorkTree) -> Iterator[tuple[str, str, bool]]:
    """(fact, profile that changed the variant, does what libvirt writes stand already?)"""
    touched = {element.tag for element in tree.displaced}
    for name, beside in _beside().items():
        if beside.path.rpartition("/")[2] not in touched:
            continue
        for element in tree.root.iterfind(beside.path):
            if not tree.original(element) or not beside.follows(element.get(beside.slot[1:])):
                continue
            owners = tree.owners(element, beside.slot)
            if tree.before(element, beside.slot) == element.get(beside.slot[1:]) or not owners:
                continue
            holder = beside.holder(element)
            if holder is not None and tree.before(holder, beside.what) is None:
                yield name, owners[0].origin.profile, holder.get(beside.what[1:]) is not None


def written_beside(
    element: Element, path: str, slot: str, now: str, implies: Iterable[str]
) -> list[tuple[Element, str]]:
    """The slots of an element, or of one in it, that libvirt wrote for the variant, as the record says."""
    given = []
    for name in implies:
        beside = _beside().get(name)
        if beside is not None and (beside.path, beside.slot) == (path, slot) and beside.follows(now):
            holder = beside.holder(element)
            if holder is not None and holder.get(beside.what[1:]) in beside.writes:
                given.append((holder, beside.what))
    return given


def is_companion(device: Element, name: str, implies: Iterable[str]) -> bool:
    """Is it what libvirt made of a fact that a profile's record names, as libvirt makes it?"""
    companion = _companions()[name]
    return (
        name in implies
        and device in elements_at(parent_of(device), companion.itself)
        and companion.unshaped(device)
    )


def part(tree: WorkTree, record: Record, withdrawer: Callable[[Recorded], Writer]) -> None:
    """Take out the companions of a record that nothing needs any more."""
    devices = child(tree.root, "devices")
    if devices is None:
        return
    for profile in record.profiles:
        for name in profile.implies:
            companion = _companions().get(name)
            if companion is None or elements_at(devices, companion.needs):
                continue
            for element in elements_at(devices, companion.itself):
                if not tree.original(element) or not companion.unshaped(element):
                    continue
                if companion.becomes is not None:
                    tree.set(element, *companion.becomes, withdrawer(profile))
                else:
                    _take_out(tree, element, withdrawer(profile))


def _take_out(tree: WorkTree, element: Element, writer: Writer) -> None:
    """An element, and those around it that say nothing without it."""
    above = parent_of(element)
    tree.remove(element, [writer])
    while above not in (tree.root, child(tree.root, "devices")) and not (len(above) or above.attrib):
        element, above = above, parent_of(above)
        tree.remove(element, [writer])
