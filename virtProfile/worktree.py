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

from typing import TYPE_CHECKING, Any

from .formerdoing import PRESENCE as PRESENCE
from .formerdoing import Element as Element
from .formerdoing import FormerDoing, Grave
from .provenance import THE_DEFINITION, Writer

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from .xmltree import Document

TEXT = "text()"


def child(element: Element, tag: str) -> Element | None:
    """The first child of that tag, or None."""
    for one in element.iterchildren(tag):
        return one
    return None


def text_of(element: Element) -> str | None:
    """The element's own text without surrounding white space; None if there is none."""
    text = element.text
    if text is not None:
        text = text.strip()
    if not text and len(element) and not isinstance(element[0].tag, str):  # behind a comment
        text = "".join(
            (one.tail or "") for one in element.iterchildren() if not isinstance(one.tag, str)
        ).strip()
    return text or None


class WorkTree(FormerDoing):
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
        "removed",
        "reshaped",
        "graves",
        "revived",
        "rewritten",
        "barred",
        "missed",
        "taken_back",
        "_log",
        "_index",
        "_own",
        "_floor",
    )

    def __init__(self, document: Document) -> None:
        self.document = document
        self.root = document.root
        self.claims: dict[Element, dict[str, list[Writer]]] = {}
        #: profile -> where it ever made a claim in this rendering, also since taken back
        self.claimed_by: dict[str, list[tuple[Element, str]]] = {}
        self.edited: dict[Element, tuple[dict[str, str], str | None]] = {}
        self.displaced = self.edited
        self.created: dict[Element, Writer] = {}
        #: removed element of the definition -> (its parent, owners of the absence)
        self.removed: dict[Element, tuple[Element, list[Writer]]] = {}
        #: elements of the input whose children came or went
        self.reshaped: dict[Element, bool] = {}
        #: what an earlier run had made and nobody has wanted again so far
        self.graves: dict[Element, Grave] = {}
        #: what it had made and somebody wants again
        self.revived: dict[Element, Grave] = {}
        #: values of revived elements that are wished, and taken out by hand
        self.rewritten: dict[tuple[Element, str], str] = {}
        #: values that an earlier run wrote and somebody took out by hand since
        self.barred: dict[tuple[Element, str], Any] = {}
        #: things likewise: (parent, tag) -> what was written
        self.missed: dict[tuple[Element, str], list[Any]] = {}
        #: element -> slot -> who had written there what was taken back
        self.taken_back: dict[Element, dict[str, list[Writer]]] = {}
        self._log: list[tuple[Any, ...]] = []
        self._index = document.index
        self._own = document.index
        #: how the tables stood when the floor was laid; None where the input is the definition
        self._floor: Any = None

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
        while element is not self.root:
            element = element.getparent()
            if element is None:
                return False
        return True

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
        owners = self.owners(element, slot)
        if THE_DEFINITION in owners:
            owners = [one for one in owners if one is not THE_DEFINITION]
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
        for one in element.iter("*"):
            if one in index:
                found[THE_DEFINITION] = True
            for owners in self.claims.get(one, {}).values():
                for owner in owners:
                    found[owner] = True
        return sorted(found, key=lambda owner: -owner.priority)

    # --- owning --------------------------------------------------------------

    def claim(self, element: Element, slot: str, writer: Writer) -> None:
        """`writer` wants what stands there too."""
        slots = self.claims.get(element)
        if slots is None:
            slots = self.claims[element] = {}
        self.claimed_by.setdefault(writer.origin.profile, []).append((element, slot))
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
        elif writer not in owners:
            self._log.append(("claims", element, slot, owners))
            slots[slot] = sorted([*owners, writer], key=lambda owner: -owner.priority)

    def claim_beside(self, element: Element, slot: str, writer: Writer) -> None:
        """`writer` wants what libvirt or a person put into an element that it made."""
        self.own_slot(element, slot, writer)
        self.claims[element][slot] = sorted([writer, THE_DEFINITION], key=lambda owner: -owner.priority)

    def own_slot(self, element: Element, slot: str, writer: Writer) -> None:
        """`writer` is the only owner from now on."""
        slots = self.claims.get(element)
        if slots is None:
            slots = self.claims[element] = {}
        self.claimed_by.setdefault(writer.origin.profile, []).append((element, slot))
        self._log.append(("claims", element, slot, slots.get(slot)))
        slots[slot] = [writer]

    def own_all(self, element: Element, slots: list[str], writer: Writer) -> None:
        """`writer` made the element with all that is in these slots."""
        owners = [writer]
        self.claims[element] = dict.fromkeys(slots, owners)
        places = self.claimed_by.setdefault(writer.origin.profile, [])
        places.extend((element, slot) for slot in slots)

    # --- editing -------------------------------------------------------------

    def _keep(self, element: Element) -> None:
        if element not in self.edited and element in self._index:
            self.edited[element] = (dict(element.items()), text_of(element))
        if self._floor is not None and element not in self.displaced:
            self.displaced[element] = (dict(element.items()), text_of(element))

    def set(self, element: Element, slot: str, value: str, writer: Writer) -> None:
        """Write a value; `writer` is its only owner from now on."""
        if self._floor is not None or (element in self._index and element not in self.edited):
            self._keep(element)
        if slot == TEXT:
            self._log.append(("text", element, element.text))
            element.text = value
        else:
            name = slot[1:]
            self._log.append(("attribute", element, name, element.get(name)))
            element.set(name, value)
        self.own_slot(element, slot, writer)

    def respell(self, element: Element, slot: str, value: str | None) -> None:
        """Another spelling of the same value; its owners stay."""
        if slot == TEXT:
            self._log.append(("text", element, element.text))
            element.text = value
            return
        self._log.append(("attribute", element, slot[1:], element.get(slot[1:])))
        if value is None:
            element.attrib.pop(slot[1:], None)
        else:
            element.set(slot[1:], value)

    def unset(self, element: Element, slot: str, writer: Writer) -> None:
        """Take a value away; `writer` owns the absence."""
        self._keep(element)
        if slot == TEXT:
            self._log.append(("text", element, element.text))
            element.text = None
        else:
            name = slot[1:]
            self._log.append(("attribute", element, name, element.get(name)))
            element.attrib.pop(name, None)
        self.own_slot(element, slot, writer)

    def insert(self, parent: Element, after: Element | None, new: Element, writer: Writer) -> None:
        """Put a new element behind its sibling `after`, or first."""
        self._keep(parent)
        if after is None:
            parent.insert(0, new)
        else:
            parent.insert(parent.index(after) + 1, new)
        self.created[new] = writer
        if parent in self._index:
            self.reshaped[parent] = True
        self._log.append(("insert", parent, new))
        self.own_slot(new, PRESENCE, writer)

    def remove(self, element: Element, writers: list[Writer]) -> None:
        """Take an element away with all that is in it; `writers` own the absence."""
        parent = element.getparent()
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
        """Take back a new element, whatever came after it."""
        element.getparent().remove(element)
        if element in self.revived:
            self.graves[element] = self.revived.pop(element)
            self._log = [entry for entry in self._log if not (entry[0] == "revive" and entry[1] is element)]
        if self.created.pop(element, None) is not None:
            self._log = [entry for entry in self._log if not (entry[0] == "insert" and entry[2] is element)]

    def forget(self, element: Element, slot: str) -> None:
        """Take back one value of a new element."""
        if slot == TEXT:
            element.text = None
        else:
            element.attrib.pop(slot[1:], None)
        self.claims.get(element, {}).pop(slot, None)

    # --- the way back --------------------------------------------------------

    def mark(self) -> int:
        return len(self._log)

    def written_since(self, mark: int) -> Iterator[tuple[Element, str]]:
        """(element, slot) of each value written and element made since `mark`."""
        for entry in self._log[mark:]:
            if entry[0] == "attribute":
                yield entry[1], "@" + entry[2]
            elif entry[0] == "text":
                yield entry[1], TEXT
            elif entry[0] == "insert":
                yield entry[2], PRESENCE
            elif entry[0] == "revive":
                yield entry[1], PRESENCE

    def undo_slots(self, mark: int, slots: Container[tuple[Element, str]]) -> None:
        """Take back those writes since `mark` that set one of `slots`."""
        kept: list[tuple[Any, ...]] = []
        for entry in reversed(self._log[mark:]):
            if entry[0] == "attribute":
                drop = (entry[1], "@" + entry[2]) in slots
            elif entry[0] in ("text",):
                drop = (entry[1], TEXT) in slots
            elif entry[0] == "claims":
                drop = (entry[1], entry[2]) in slots
            else:
                drop = False
            if drop:
                self._undo(entry)
            else:
                kept.append(entry)
        kept.reverse()
        self._log[mark:] = kept

    def undo_since(self, mark: int) -> None:
        """Take back everything since `mark`; what is tried and not wanted."""
        while len(self._log) > mark:
            entry = self._log.pop()
            self._undo(entry)
            if entry[0] == "revive" and entry[1] in self.revived:
                self.graves[entry[1]] = self.revived.pop(entry[1])

    def rollback(self) -> None:
        """Take back everything that was done to the definition."""
        floor = self._floor
        mark = 0 if floor is None else floor[0]
        while len(self._log) > mark:
            self._undo(self._log.pop())
        self.claims.clear()
        self.claimed_by.clear()
        self.removed.clear()
        if floor is None:
            self.edited.clear()
            self.created.clear()
            self.reshaped.clear()
        else:
            self.displaced.clear()
            self.revived.clear()
            self.rewritten.clear()
            _, edited, created, reshaped, graves = floor
            self.edited = dict(edited)
            self.created = dict(created)
            self.reshaped = dict(reshaped)
            self.graves = dict(graves)

    def _undo(self, entry: tuple[Any, ...]) -> None:
        kind = entry[0]
        if kind == "claims":
            _, element, slot, owners = entry
            if owners is None:
                self.claims.get(element, {}).pop(slot, None)
            else:
                self.claims.setdefault(element, {})[slot] = owners
        elif kind == "attribute":
            _, element, name, value = entry
            if value is None:
                element.attrib.pop(name, None)
            else:
                element.set(name, value)
        elif kind == "text":
            entry[1].text = entry[2]
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


def _written(element: Element, slot: str) -> bool:
    return text_of(element) is not None if slot == TEXT else element.get(slot[1:]) is not None
