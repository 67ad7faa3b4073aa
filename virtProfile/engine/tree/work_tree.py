# SPDX-License-Identifier: GPL-2.0-or-later
"""The document while profiles act on it: every edit is logged, every value has owners.

One rendering edits the parsed tree in place and is taken back as a whole
(`rollback`) before the next one, so that many renderings cost one parse. What the
definition said is owned by `THE_DEFINITION` without being written down anywhere;
the first other owner of a value makes its list.

The definition is the input, or, where the input carries the record of an earlier
run, what is left when that run's doing was taken back: the `floor`. Elements that
went with it are kept as graves: who wants such a thing again gets the same element.

A slot names a value of an element: ``@name``, ``text()``, or ``""`` for its
presence.
"""

from __future__ import annotations

from collections import defaultdict
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from virtProfile.engine.tree.effort import Effort
from virtProfile.engine.tree.gone import Gone, Grave
from virtProfile.engine.tree.ownership import THE_DEFINITION, joined
from virtProfile.format.element import PRESENCE, TEXT, attributes, parent_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence, Set

    from virtProfile.engine.tree.ownership import Writer
    from virtProfile.format.document import Document
    from virtProfile.format.element import Element


class WorkTree:
    """The edited document, its owners, and the way back.

    `claims` maps element -> slot -> owners, highest priority first. `edited`
    maps an element of the input to its attributes and text before the first edit,
    `displaced` an element of the definition likewise.
    """

    __slots__ = (
        "document",
        "root",
        "claims",
        "claimed_by",
        "edited",
        "displaced",
        "created",
        "lines",
        "removed",
        "reshaped",
        "graves",
        "revived",
        "rewritten",
        "absent_parts",
        "barred",
        "missed",
        "taken_back",
        "assigned",
        "assigned_values",
        "hulls",
        "places_back",
        "resolved",
        "readded",
        "dropped",
        "counted",
        "left_nothing",
        "secrets_lost",
        "effort",
        "_log",
        "_places",
        "_placed",
        "_index",
        "_own",
        "definition",
        "_floor",
        "_read",
    )

    def __init__(self, document: Document) -> None:
        self.document = document
        self.root = document.root
        self.claims: dict[Element, dict[str, list[Writer]]] = {}
        #: profile -> where it ever made a claim in this rendering, also since taken back
        self.claimed_by: defaultdict[str, list[tuple[Element, str]]] = defaultdict(list)
        self.edited: dict[Element, tuple[dict[str, str], str | None]] = {}
        self.displaced = self.edited
        self.created: dict[Element, Writer] = {}
        #: of new elements that a snippet describes: its line
        self.lines: dict[Element, int] = {}
        #: removed element of the definition -> (its parent, owners of the absence)
        self.removed: Gone[tuple[Element, list[Writer]]] = Gone(_removed_from, {})
        #: elements of the input whose children came or went
        self.reshaped: dict[Element, bool] = {}
        #: what an earlier run had made and nobody has wanted again so far
        self.graves: Gone[Grave] = Gone(_buried_in, {})
        #: what it had made and somebody wants again
        self.revived: dict[Element, Grave] = {}
        #: values of revived elements that are wished, and taken out by hand
        self.rewritten: dict[tuple[Element, str], str] = {}
        #: parts of things likewise, which stay out: element -> what was written
        self.absent_parts: dict[Element, list[Any]] = {}
        #: values that an earlier run wrote and somebody took out by hand since
        self.barred: dict[tuple[Element, str], Any] = {}
        #: things likewise: (parent, tag) -> what was written
        self.missed: dict[tuple[Element, str], list[Any]] = {}
        #: element -> slot -> who had written there what was taken back
        self.taken_back: dict[Element, dict[str, list[Writer]]] = {}
        #: element that was put back -> places in it of secrets that no record holds
        self.secrets_lost: dict[Element, tuple[str, ...]] = {}
        #: what libvirt put there at define, and when it is needed again (see `record.assigned`)
        self.assigned: list[tuple[Element, Callable[[], bool]]] = []
        #: the same of attributes: (element, slot, value, when it is needed again)
        self.assigned_values: list[tuple[Element, str, str, Callable[[], bool]]] = []
        #: elements that libvirt dropped when nothing was in them any more, made again for what comes back
        self.hulls: list[tuple[Element, list[Writer]]] = []
        #: PCI addresses that come back
        self.places_back: list[tuple[Element, list[Writer]]] = []
        #: an alias that a profile wrote and libvirt resolved: (element, slot) -> alias
        self.resolved: dict[tuple[Element, str], str] = {}
        #: what libvirt wrote where a profile had removed a value: (element, slot) -> that
        self.readded: dict[tuple[Element, str], str] = {}
        #: what a profile wrote and libvirt dropped: (element, slot) -> that
        self.dropped: dict[tuple[Element, str], str] = {}
        #: memory devices that libvirt counted into the memory: (taken out, left), in KiB
        self.counted: tuple[int, int] | None = None
        #: (profile, digits of its digest) -> numbers of actions that left nothing of what they remove
        self.left_nothing: dict[tuple[str, str], frozenset[int]] = {}
        #: what the call may still compare with a record
        self.effort = Effort(len(document.elements))
        #: What was done, in order. An entry stays where it is until all behind it are taken back too: one
        #: that is taken back alone becomes ``void``, and ``back`` notes where the first of such stood.
        self._log: list[tuple[Any, ...]] = []
        #: element -> where its entries stand in the log, of the first `_placed` of them
        self._places: dict[Element | None, list[int]] = {}
        self._placed = 0
        self._index = document.index
        self._own = document.index
        self.definition = document.elements  #: its elements, each at its number
        #: how the tables stood when the floor was laid; None where the input is the definition
        self._floor: Any = None
        #: what `says` read
        self._read: dict[Element, tuple[dict[str, str], str | None]] = {}

    # --- reading -------------------------------------------------------------

    def original(self, element: Element) -> bool:
        """Does the element belong to the definition?"""
        return element in self._own

    def order(self, element: Element) -> int:
        """Sorts elements of the definition as they stand there."""
        return int(self._own[element])

    def in_source(self, element: Element) -> bool:
        """Does the element stand in the input's text?"""
        return element in self._index

    def stands(self, element: Element) -> bool:
        """Is the element (still) in the tree?"""
        if not self.removed and not self.graves and element in self._index:
            return True
        at: Element | None = element
        while at is not self.root:
            if at is None:
                return False
            at = at.getparent()
        return True

    def says(self, element: Element) -> tuple[dict[str, str], str | None]:
        """Its attributes and text as they stand, which `edited` has as they were. Who reports, records
        and writes what a rendering did asks in turn: they are read once, until the element is edited."""
        found = self._read.get(element)
        if found is None:
            found = self._read[element] = (attributes(element), text_of(element))
        return found

    def before(self, element: Element, slot: str) -> str | None:
        """What the definition says in that slot of one of its elements."""
        kept = self.displaced.get(element)
        if slot == TEXT:
            return kept[1] if kept is not None else text_of(element)
        attributes: Any = kept[0] if kept is not None else element.attrib
        value: str | None = attributes.get(slot[1:])
        return value

    def owners(self, element: Element, slot: str) -> list[Writer]:
        """Who wants the value that stands in the slot now, highest priority first.

        A value that is implied, not written, belongs to the owners of the element.
        """
        claimed = self.claims.get(element)
        if claimed is not None and slot in claimed:
            return claimed[slot]
        if element in self._own:
            return [THE_DEFINITION]
        if claimed is not None:
            if element in self._index and slot != PRESENCE and _written(element, slot):
                return [THE_DEFINITION]  # libvirt or a person put it there
            return claimed.get(PRESENCE, [])
        return []

    def accountable(self, element: Element, slot: str) -> list[Writer]:
        """Who answers for a value that is not as the input has it: who wants it so, else
        whose former doing was taken back."""
        claimed = self.claims.get(element)
        owners = claimed[slot] if claimed is not None and slot in claimed else self.owners(element, slot)
        if THE_DEFINITION in owners:
            owners = [owner for owner in owners if owner is not THE_DEFINITION]
        if owners or self._floor is None:
            return owners
        at: Element | None = element
        while at is not None:
            slots = self.taken_back.get(at)
            if slots is not None:
                found = slots.get(slot) or slots.get(PRESENCE)
                if found:
                    return found
            if at in self.graves:
                return self.graves[at].writers
            if at in self.revived:
                return self.revived[at].writers
            at = at.getparent()
        return owners

    def subtree_owners(self, element: Element) -> list[Writer]:
        """Everybody who wants anything in the element: they want the element too."""
        found: dict[Writer, bool] = {}
        index = self._own
        for part in element.iter("*"):
            if part in index:
                found[THE_DEFINITION] = True
            for owners in self.claims.get(part, {}).values():
                for owner in owners:
                    found[owner] = True
        return sorted(found, key=lambda owner: -owner.priority)

    # --- owning --------------------------------------------------------------

    def claim(self, element: Element, slot: str, writer: Writer) -> None:
        """`writer` wants what stands there too."""
        slots = self.claims.get(element)
        if slots is None:
            slots = self.claims[element] = {}
        self.claimed_by[writer.origin.profile].append((element, slot))
        owners = slots.get(slot)
        if owners is None:
            if element in self._own:
                owners = [THE_DEFINITION]
                if writer.priority > THE_DEFINITION.priority:
                    owners = [writer, THE_DEFINITION]
                else:
                    owners.append(writer)
                slots[slot] = owners
            else:
                slots[slot] = [writer]
            self._log.append(("claims", element, slot, None))
        elif (joint := joined(owners, writer)) is not owners:
            self._log.append(("claims", element, slot, owners))
            slots[slot] = joint

    def claim_beside(self, element: Element, slot: str, writer: Writer) -> None:
        """`writer` wants what libvirt or a person put into an element that it made."""
        self.own_slot(element, slot, writer)
        self.claims[element][slot] = sorted([writer, THE_DEFINITION], key=lambda owner: -owner.priority)

    def own_slot(self, element: Element, slot: str, writer: Writer) -> None:
        """`writer` is the only owner from now on."""
        slots = self.claims.get(element)
        if slots is None:
            slots = self.claims[element] = {}
        self.claimed_by[writer.origin.profile].append((element, slot))
        self._log.append(("claims", element, slot, slots.get(slot)))
        slots[slot] = [writer]

    def own_all(self, element: Element, slots: list[str], writer: Writer) -> None:
        """`writer` made the element with all that is in these slots."""
        owners = [writer]
        self.claims[element] = dict.fromkeys(slots, owners)
        places = self.claimed_by[writer.origin.profile]
        places.extend((element, slot) for slot in slots)

    # --- editing -------------------------------------------------------------

    def _keep(self, element: Element) -> None:
        if element not in self.edited and element in self._index:
            self.edited[element] = (attributes(element), text_of(element))
        if self._floor is not None and element not in self.displaced:
            self.displaced[element] = (attributes(element), text_of(element))

    def set(self, element: Element, slot: str, value: str, writer: Writer) -> None:
        """Write a value; `writer` is its only owner from now on."""
        if self._floor is not None or (element in self._index and element not in self.edited):
            self._keep(element)
        if slot == TEXT:
            before = element.text
            element.text = value
        else:
            before = element.get(slot[1:])
            element.set(slot[1:], value)
        self._own_written(element, slot, before, writer)

    def fill(self, element: Element, slot: str, name: str, value: str, writer: Writer) -> None:
        """`set` of an attribute that is not there, as a default does most: what it was is not asked."""
        if self._floor is not None or (element in self._index and element not in self.edited):
            self._keep(element)
        element.set(name, value)
        self._own_written(element, slot, None, writer)

    def _own_written(self, element: Element, slot: str, before: str | None, writer: Writer) -> None:
        """`own_slot` of a value that was just written; one entry of the log is for both."""
        if self._read:
            self._read.pop(element, None)
        slots = self.claims.get(element)
        if slots is None:
            slots = self.claims[element] = {}
        self.claimed_by[writer.origin.profile].append((element, slot))
        self._log.append(("value", element, slot, before, slots.get(slot)))
        slots[slot] = [writer]

    def respell(self, element: Element, slot: str, value: str | None) -> None:
        """Another spelling of the same value; its owners stay."""
        self._read.pop(element, None)
        before = element.text if slot == TEXT else element.get(slot[1:])
        self._log.append(("spelling", element, slot, before))
        _put(element, slot, value)

    def unset(self, element: Element, slot: str, writer: Writer) -> None:
        """Take a value away; `writer` owns the absence."""
        self._keep(element)
        before = element.text if slot == TEXT else element.get(slot[1:])
        _put(element, slot, None)
        self._own_written(element, slot, before, writer)

    def insert(self, parent: Element, after: Element | None, new: Element, writer: Writer) -> None:
        """Put a new element behind its sibling `after`, or first."""
        self._read.pop(parent, None)
        self._keep(parent)
        if after is None:
            parent.insert(0, new)
        else:
            follower = after.getnext()  # behind the text behind `after`, as by its number
            if follower is None:
                parent.append(new)
            else:
                follower.addprevious(new)
        self.created[new] = writer
        if parent in self._index:
            self.reshaped[parent] = True
        self._log.append(("insert", parent, new))
        self.own_slot(new, PRESENCE, writer)

    def remove(self, element: Element, writers: list[Writer]) -> None:
        """Take an element away with all that is in it; `writers` own the absence."""
        parent = parent_of(element)
        self._read.pop(parent, None)
        self._keep(parent)
        position = parent.index(element)
        tail = element.tail
        element.tail = None  # stays: it is the parent's, not the element's
        previous = element.getprevious()
        kept = (parent.text if previous is None else previous.tail) or ""
        parent.remove(element)
        if tail and tail.strip():
            if previous is None:
                parent.text = kept + tail
            else:
                previous.tail = kept + tail
        self._log.append(("remove", parent, position, element, tail, previous, kept))
        if element in self._own:
            self.removed[element] = (parent, writers)
        elif element in self._index:
            grave = self.revived.pop(element) if element in self.revived else Grave(parent, writers, None)
            self.graves[element] = grave
        if parent in self._index:
            self.reshaped[parent] = True

    def discard(self, element: Element) -> None:
        """Take back a new element, whatever came after it.

        One that an earlier run had made is as that run left it: what this run wrote into it would
        stand there when it is wanted for something else.
        """
        if element in self.revived:
            self._undo_within(element)
            self.graves[element] = self.revived.pop(element)
        parent_of(element).remove(element)
        if self.created.pop(element, None) is not None:
            self._void(at for at in self._entries(element) if self._log[at][0] == "insert")

    def _undo_within(self, element: Element) -> None:
        """Take back what was done in an element since it was revived; it stands there still."""
        start = next(at for at in reversed(self._entries(element)) if self._log[at][0] == "revive")
        undone = [start]
        waiting: list[int] = []  # negative: the last entry first
        seen: set[Element] = set()
        stood: dict[Element, Grave] = {}  # parts that went again

        def look_at(part: Element, end: int) -> None:
            for inner in part.iter("*"):
                if inner not in seen:
                    seen.add(inner)
                    for at in self._entries(inner):
                        if start < at < end:
                            heappush(waiting, -at)

        look_at(element, len(self._log))
        while waiting:
            at = -heappop(waiting)
            entry = self._log[at]
            if entry[0] == "void" or not _is_within(entry[1], element):
                continue
            self._undo(entry)
            undone.append(at)
            if entry[0] == "remove":
                if entry[3] in self.graves:
                    stood[entry[3]] = self.graves.pop(entry[3])
                look_at(entry[3], at)
            elif entry[0] == "revive":
                self.revived.pop(entry[1], None)
                stood.pop(entry[1], None)
                self.graves[entry[1]] = entry[2]
        self._void(undone)

    def forget(self, element: Element, slot: str) -> None:
        """Take back one value of a new element."""
        self._read.pop(element, None)
        if slot == TEXT:
            element.text = None
        else:
            element.attrib.pop(slot[1:], "")
        self.claims.get(element, {}).pop(slot, None)

    # --- the way back --------------------------------------------------------

    def mark(self) -> int:
        return len(self._log)

    def written_since(self, mark: int) -> Iterator[tuple[Element, str]]:
        """(element, slot) of each value written and element made since `mark`."""
        for entry in self._log[mark:]:
            if entry[0] == "value" or entry[0] == "spelling":
                yield entry[1], entry[2]
            elif entry[0] == "insert":
                yield entry[2], PRESENCE
            elif entry[0] == "revive":
                yield entry[1], PRESENCE

    def tags_since(self, mark: int) -> Set[str]:
        """The tags of all elements of `written_since`."""
        return {
            entry[2 if entry[0] == "insert" else 1].tag
            for entry in self._log[mark:]
            if entry[0] in ("value", "spelling", "insert", "revive")
        }

    def stamp(self) -> tuple[int, Any]:
        """How the tree stands now, for `made_since`."""
        return len(self._log), self._log[-1] if self._log else None

    def made_since(self, stamp: tuple[int, Any]) -> list[Element] | None:
        """The elements made since; None where anything was taken back, removed or came back too."""
        mark, last = stamp
        if not 0 <= mark <= len(self._log) or (mark and self._log[mark - 1] is not last):
            return None
        made = []
        for entry in self._log[mark:]:
            if entry[0] == "insert":
                made.append(entry[2])
            elif entry[0] in ("remove", "revive") or (entry[0] == "back" and entry[2] < mark):
                return None
        return made

    def undo_slots(self, mark: int, slots: Set[tuple[Element, str]]) -> None:
        """Take back those writes since `mark` that set one of `slots`."""
        undone: list[int] = []
        for element in {element for element, _ in slots}:
            for at in reversed(self._entries(element)):
                if at < mark:
                    break
                if _written_slot(self._log[at]) in slots:
                    self._undo(self._log[at])
                    undone.append(at)
        self._void(undone)

    def _entries(self, element: Element) -> list[int]:
        """Where the log has what was done to an element, or made it."""
        for at in range(self._placed, len(self._log)):
            self._places.setdefault(_whose(self._log[at]), []).append(at)
        self._placed = len(self._log)
        return self._places.get(element, [])

    def _void(self, places: Iterable[int]) -> None:
        """Entries of the log that were taken back count no longer."""
        first = len(self._log)
        for at in places:
            first = min(first, at)
            self._log[at] = ("void", _whose(self._log[at]))
        if first < len(self._log):
            self._log.append(("back", None, first))

    def _pop(self) -> tuple[Any, ...]:
        """The last entry of the log, which goes."""
        entry = self._log.pop()
        if len(self._log) < self._placed:
            self._places[_whose(entry)].pop()
            self._placed -= 1
        return entry

    def undo_since(self, mark: int) -> None:
        """Take back everything since `mark`; what is tried and not wanted."""
        while len(self._log) > mark:
            entry = self._pop()
            self._undo(entry)
            if entry[0] == "revive" and entry[1] in self.revived:
                self.graves[entry[1]] = self.revived.pop(entry[1])

    def rollback(self) -> None:
        """Take back everything that was done to the definition."""
        floor = self._floor
        mark = 0 if floor is None else floor[0]
        while len(self._log) > mark:
            self._undo(self._pop())
        self.claims.clear()
        self.claimed_by.clear()
        self.removed.clear()
        self.lines.clear()
        if floor is None:
            self.edited.clear()
            self.created.clear()
            self.reshaped.clear()
        else:
            self.displaced.clear()
            self.revived.clear()
            self.rewritten.clear()
            self.absent_parts.clear()
            _, edited, created, reshaped, graves = floor
            self.edited = dict(edited)
            self.created = dict(created)
            self.reshaped = dict(reshaped)
            self.graves = Gone(_buried_in, graves)

    def _undo(self, entry: tuple[Any, ...]) -> None:
        kind = entry[0]
        self._read.clear()
        if kind == "claims" or kind == "value":
            element, slot, owners = entry[1], entry[2], entry[-1]
            if owners is None:
                self.claims.get(element, {}).pop(slot, None)
            else:
                self.claims.setdefault(element, {})[slot] = owners
        if kind == "value" or kind == "spelling":
            _put(*entry[1:4])
        elif kind == "insert":
            _, parent, new = entry
            tail = new.tail
            new.tail = None
            parent.remove(new)
            if tail and tail.strip():
                raise AssertionError("text behind a new element")
            self.created.pop(new, None)
        elif kind == "remove":
            _, parent, position, element, tail, previous, kept = entry
            if previous is None:
                parent.text = kept
            else:
                previous.tail = kept
            parent.insert(position, element)
            element.tail = tail
            self.removed.pop(element, None)
        elif kind == "revive":
            _, element, grave = entry
            grave.parent.remove(element)

    # --- what an earlier run did ---------------------------------------------

    def bury(
        self,
        element: Element,
        writers: list[Writer],
        written: Any,
        parts: Sequence[Element] = (),
        hidden: Sequence[str] = (),
    ) -> None:
        """Take out an element that an earlier run had made; only before the floor is laid."""
        parent = parent_of(element)
        self.remove(element, writers)
        del self.removed[element]
        self.graves[element] = Grave(parent, writers, written, parts, hidden)

    def revive(self, element: Element, writer: Writer) -> Grave:
        """Somebody wants a buried element again: it stands where it stood."""
        grave: Grave = self.graves.pop(element)
        parent = grave.parent
        self._read.pop(parent, None)
        self._keep(parent)
        put_back(element, parent, self.document.elements, self.document.index[element])
        self.revived[element] = grave
        if parent in self._index:
            self.reshaped[parent] = True
        self._log.append(("revive", element, grave))
        self.own_slot(element, PRESENCE, writer)
        return grave

    def restore(self, parent: Element, after: Element | None, new: Element, writers: list[Writer]) -> None:
        """Put back what an earlier run had removed; it belongs to the definition."""
        self.insert(parent, after, new, writers[0])
        for part in new.iter("*"):
            self.taken_back.setdefault(part, {})[PRESENCE] = writers

    def lay_floor(self) -> None:
        """What was done so far is the definition: `rollback` goes no further."""
        self.definition = [*self.root.iter("*")]
        self._own = own = {part: number for number, part in enumerate(self.definition)}
        for element, grave in self.graves.items():
            # What libvirt or a person put into it is the definition's, should it come back.
            for part in element.iter("*"):
                if part is not element and part not in grave.parts:
                    own[part] = self._index[part]
        self.claims.clear()
        self.claimed_by.clear()
        self.displaced = {}
        self._floor = (
            len(self._log),
            dict(self.edited),
            dict(self.created),
            dict(self.reshaped),
            dict(self.graves),
        )


def _removed_from(known: tuple[Element, list[Writer]]) -> Element:
    return known[0]


def _buried_in(grave: Grave) -> Element:
    return grave.parent


def _whose(entry: tuple[Any, ...]) -> Element | None:
    """The element that an entry of the log is about: of a new one, that itself."""
    element: Element | None = entry[2] if entry[0] == "insert" else entry[1]
    return element


def _written_slot(entry: tuple[Any, ...]) -> tuple[Element, str] | None:
    """Which value an entry of the log set, or whose owners; None where it is about something else."""
    return (entry[1], entry[2]) if entry[0] in ("value", "spelling", "claims") else None


def _is_within(part: Element | None, element: Element) -> bool:
    """Is an element the other, or inside it?"""
    while part is not None and part is not element:
        part = part.getparent()
    return part is not None


def _put(element: Element, slot: str, value: str | None) -> None:
    """Write a value, or take it out."""
    if slot == TEXT:
        element.text = value
    elif value is None:
        element.attrib.pop(slot[1:], "")
    else:
        element.set(slot[1:], value)


def _written(element: Element, slot: str) -> bool:
    return text_of(element) is not None if slot == TEXT else element.get(slot[1:]) is not None


def put_back(element: Element, parent: Element, elements: Sequence[Element], number: int) -> None:
    """Put an element back among the children of `parent`, where it stood: they keep their order.

    :param elements: of the text that it stood in, in order, and `number` of it among them
    """
    at = number - 1
    while at >= 0 and elements[at] is not parent and elements[at].getparent() is not parent:
        at -= 1
    stands = at >= 0 and elements[at] is not parent
    follower = elements[at].getnext() if stands else next(parent.iterchildren(), None)
    if follower is None:
        parent.append(element)
    else:
        follower.addprevious(element)
