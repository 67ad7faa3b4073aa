# SPDX-License-Identifier: GPL-2.0-or-later
"""The document while profiles act on it: every edit is logged, every value has owners.

One rendering edits the parsed tree in place and is taken back as a whole
(`reset`) before the next one, so that many renderings cost one parse. What the
input said is owned by `THE_DEFINITION` without being written down anywhere; the
first other owner of a value makes its list.

A slot names a value of an element: ``@name``, ``text()``, or ``""`` for its
presence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .provenance import THE_DEFINITION, Writer

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from .xmltree import Document

Element = Any
TEXT = "text()"
PRESENCE = ""


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


class WorkTree:
    """The edited document, its owners, and the way back.

    `claims` maps element -> slot -> owners, highest priority first. `edited`
    maps an element of the input to its attributes and text before the first edit.
    """

    __slots__ = (
        "document",
        "root",
        "claims",
        "claimed_by",
        "edited",
        "created",
        "removed",
        "reshaped",
        "_log",
        "_index",
    )

    def __init__(self, document: Document) -> None:
        self.document = document
        self.root = document.root
        self.claims: dict[Element, dict[str, list[Writer]]] = {}
        #: profile -> where it ever made a claim in this rendering, also since taken back
        self.claimed_by: dict[str, list[tuple[Element, str]]] = {}
        self.edited: dict[Element, tuple[dict[str, str], str | None]] = {}
        self.created: dict[Element, Writer] = {}
        #: removed element of the input -> (its parent, owners of the absence)
        self.removed: dict[Element, tuple[Element, list[Writer]]] = {}
        #: elements of the input whose children came or went
        self.reshaped: dict[Element, bool] = {}
        self._log: list[tuple[Any, ...]] = []
        self._index = document.index

    # --- reading -------------------------------------------------------------

    def original(self, element: Element) -> bool:
        """Does the element stand in the input?"""
        return element in self._index

    def stands(self, element: Element) -> bool:
        """Is the element (still) in the tree?"""
        if not self.removed and element in self._index:
            return True
        while element is not self.root:
            element = element.getparent()
            if element is None:
                return False
        return True

    def before(self, element: Element, slot: str) -> str | None:
        """What the input says in that slot of one of its elements."""
        kept = self.edited.get(element)
        if slot == TEXT:
            return kept[1] if kept is not None else text_of(element)
        attributes = kept[0] if kept is not None else element.attrib
        return attributes.get(slot[1:])

    def owners(self, element: Element, slot: str) -> list[Writer]:
        """Who wants the value that stands in the slot now, highest priority first.

        A value that is implied, not written, belongs to the owners of the element.
        """
        claimed = self.claims.get(element)
        if claimed is not None and slot in claimed:
            return claimed[slot]
        if element in self._index:
            return [THE_DEFINITION]
        if claimed is not None:
            return claimed.get(PRESENCE, [])
        return []

    def subtree_owners(self, element: Element) -> list[Writer]:
        """Everybody who wants anything in the element: they want the element too."""
        found: dict[Writer, bool] = {}
        index = self._index
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
            if element in self._index:
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

    def _own(self, element: Element, slot: str, writer: Writer) -> None:
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

    def set(self, element: Element, slot: str, value: str, writer: Writer) -> None:
        """Write a value; `writer` is its only owner from now on."""
        self._keep(element)
        if slot == TEXT:
            self._log.append(("text", element, element.text))
            element.text = value
        else:
            name = slot[1:]
            self._log.append(("attribute", element, name, element.get(name)))
            element.set(name, value)
        self._own(element, slot, writer)

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
        self._own(element, slot, writer)

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
        self._own(new, PRESENCE, writer)

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
        if element in self._index:
            self.removed[element] = (parent, writers)
            if parent in self._index:
                self.reshaped[parent] = True

    def discard(self, element: Element) -> None:
        """Take back a new element, whatever came after it."""
        element.getparent().remove(element)
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

    def rollback(self, mark: int = 0) -> None:
        """Take back everything since `mark`."""
        while len(self._log) > mark:
            self._undo(self._log.pop())
        if mark == 0:
            self.claims.clear()
            self.claimed_by.clear()
            self.edited.clear()
            self.created.clear()
            self.removed.clear()
            self.reshaped.clear()

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
