# SPDX-License-Identifier: GPL-2.0-or-later
"""What an earlier run had made in the document at hand, under the work tree.

Taking it back lays a floor: the definition as it would be without the profiles.
Elements that went with it are kept, buried: who wants such a thing again gets the
same element, with all that libvirt or a person put into it since.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .provenance import Writer

Element = Any
PRESENCE = ""


class Grave:
    """An element of the input that an earlier run had made, and that is taken back.

    `written` is what that run wrote into it (None where all of it was taken back
    value by value), `parts` are the elements of it that were written, `writers` own
    its absence.
    """

    __slots__ = ("parent", "writers", "written", "parts", "hidden", "inside")

    def __init__(
        self,
        parent: Element,
        writers: list[Writer],
        written: Any,
        parts: Sequence[Element] = (),
        hidden: Sequence[str] = (),
    ) -> None:
        self.parent = parent
        self.writers = writers
        self.written = written
        self.parts = parts
        #: slots of it whose written value nobody kept
        self.hidden = hidden
        #: of a part of something that stands again: what was written, and still stands in it
        self.inside: Any = None


class FormerDoing:
    """The half of a `WorkTree` that knows of earlier runs."""

    __slots__ = ()

    def bury(
        self: Any,
        element: Element,
        writers: list[Writer],
        written: Any,
        parts: Sequence[Element] = (),
        hidden: Sequence[str] = (),
    ) -> None:
        """Take out an element that an earlier run had made; only before the floor is laid."""
        parent = element.getparent()
        self.remove(element, writers)
        del self.removed[element]
        self.graves[element] = Grave(parent, writers, written, parts, hidden)

    def revive(self: Any, element: Element, writer: Writer) -> Grave:
        """Somebody wants a buried element again: it stands where it stood."""
        grave: Grave = self.graves.pop(element)
        parent = grave.parent
        self._keep(parent)
        parent.insert(source_position(element, parent, self._index), element)
        self.revived[element] = grave
        if parent in self._index:
            self.reshaped[parent] = True
        self._log.append(("revive", element, grave))
        self.own_slot(element, PRESENCE, writer)
        return grave

    def restore(
        self: Any, parent: Element, after: Element | None, new: Element, writers: list[Writer]
    ) -> None:
        """Put back what an earlier run had removed; it belongs to the definition."""
        self.insert(parent, after, new, writers[0])
        for one in new.iter("*"):
            self.taken_back.setdefault(one, {})[PRESENCE] = writers

    def lay_floor(self: Any) -> None:
        """What was done so far is the definition: `rollback` goes no further."""
        self._own = own = {one: number for number, one in enumerate(self.root.iter("*"))}
        for element, grave in self.graves.items():
            # What libvirt or a person put into it is the definition's, should it come back.
            for one in element.iter("*"):
                if one is not element and one not in grave.parts:
                    own[one] = self._index[one]
        self.claims.clear()
        self.claimed_by.clear()
        self.displaced: dict[Element, Any] = {}
        self._floor = (
            len(self._log),
            dict(self.edited),
            dict(self.created),
            dict(self.reshaped),
            dict(self.graves),
        )


def source_position(element: Element, parent: Element, index: dict[Element, int]) -> int:
    """Where among the children of `parent` an element of the input stood."""
    mine = index[element]
    position = 0
    for number, one in enumerate(parent):
        if one in index and index[one] < mine:
            position = number + 1
    return position
