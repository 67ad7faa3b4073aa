# SPDX-License-Identifier: GPL-2.0-or-later
"""What an element is called in every rendering of one document.

Elements of the input are the same objects in all of them. One that a profile makes is made
anew each time: its name says which action made it, of which line of it, and the how manieth
of these it is. What is inside of it is found by its steps from there.
"""

from __future__ import annotations

from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from virtProfile.engine.tree.ownership import Writer
    from virtProfile.engine.tree.work_tree import WorkTree
    from virtProfile.format.element import Element

#: Who made it: profile, number of the action, for what, the tag, and the snippet's line.
_Maker: TypeAlias = tuple[str, int, str, str, int]
#: An element of the input is its own name; one that was made is the how manieth of its maker; one
#: inside of that is the how manieth of its tag in an element of a name.
Name: TypeAlias = "Element | tuple[_Maker, int] | tuple[Name, str, int]"


class Names:
    """Names of the elements of one tree as it stands now."""

    def __init__(self, tree: WorkTree) -> None:
        self._tree = tree
        self._stamp = tree.stamp()
        self._made: dict[_Maker, list[Element]] = {}
        self._known: dict[Element, tuple[_Maker, int]] = {}
        places: dict[_Maker, list[tuple[list[int], Element]]] = {}
        numbers = _Numbers()
        for element, writer in tree.created.items():
            if not self._stays(element):
                place = _place(element, tree.root, numbers)
                if place is not None:
                    places.setdefault(self._maker(element, writer), []).append((place, element))
        for maker, alike in places.items():
            alike.sort(key=itemgetter(0))
            self._made[maker] = [element for _, element in alike]
            for number, (_, element) in enumerate(alike):
                self._known[element] = (maker, number)

    def keep_up(self) -> bool:
        """Learn the names of what was made since; where more than that happened it cannot."""
        fresh = self._tree.made_since(self._stamp)
        if fresh is None:
            return False
        for element in fresh:
            if self._stays(element):
                continue
            maker = self._maker(element, self._tree.created[element])
            alike = self._made.setdefault(maker, [])
            if alike and not _is_right_behind(element, alike[-1]):
                return False
            self._known[element] = (maker, len(alike))
            alike.append(element)
        self._stamp = self._tree.stamp()
        return True

    def _stays(self, element: Element) -> bool:
        """Is it the same object in all renderings?"""
        return self._tree.in_source(element) or self._tree.original(element)

    def _maker(self, element: Element, writer: Writer) -> _Maker:
        line = self._tree.lines.get(element, 0)
        return (writer.origin.profile, writer.number, writer.origin.purpose, str(element.tag), line)

    def of(self, element: Element) -> Name:
        """The name of an element of the tree."""
        if self._stays(element):
            return element
        known = self._known.get(element)
        if known is not None:
            return known
        parent = element.getparent()
        assert parent is not None, "the root is of the input"
        number = sum(1 for _ in element.itersiblings(element.tag, preceding=True))
        return (self.of(parent), str(element.tag), number)

    def find(self, name: Name) -> Element | None:
        """The element of that name, None where there is none now."""
        if not isinstance(name, tuple):
            return name if self._tree.stands(name) else None
        if isinstance(name[0], tuple) and len(name) == 2:
            alike = self._made.get(name[0], [])
            return alike[name[1]] if name[1] < len(alike) else None
        above, tag, number = name
        parent = self.find(above)
        if parent is None:
            return None
        found = list(parent.iterchildren(tag))
        return found[number] if number < len(found) else None


def _is_right_behind(element: Element, other: Element) -> bool:
    """Does an element follow the other one, with few between them at most?"""
    behind = element.itersiblings(preceding=True)
    return any(sibling is other for sibling in islice(behind, _FEW))


#: So many children of one parent are looked for one by one; for more, all of them are numbered.
_FEW = 8


class _Numbers:
    """How manieth elements are among the children of their parents, while nothing changes."""

    def __init__(self) -> None:
        self._asked: dict[Element, int] = {}
        self._all: dict[Element, dict[Element, int]] = {}

    def of(self, element: Element, parent: Element) -> int:
        asked = self._asked[parent] = self._asked.get(parent, 0) + 1
        if asked <= _FEW:
            return parent.index(element)
        table = self._all.get(parent)
        if table is None:
            table = self._all[parent] = {child: number for number, child in enumerate(parent)}
        return table[element]


def _place(element: Element, root: Element, numbers: _Numbers) -> list[int] | None:
    """How manieth each is on the way from the root to the element; None where it is in no tree now.

    What was made is little beside what stands there: the tree is not walked for it.
    """
    place = []
    while element is not root:
        parent = element.getparent()
        if parent is None:
            return None
        place.append(numbers.of(element, parent))
        element = parent
    return place[::-1]
