# SPDX-License-Identifier: GPL-2.0-or-later
"""`remove`: what a profile wants not to be there, and keeps away from weaker ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .finding import State, candidates, container, holds, leaf_element, leaf_state, read, runs
from .provenance import THE_DEFINITION, Writer
from .reviving import Reviving
from .worktree import PRESENCE, TEXT, Element, child, text_of

if TYPE_CHECKING:
    from .wants import Leaf, Want


class Absence:
    """What a `remove` wants not to be there, for all writers that come after it."""

    __slots__ = ("writer", "want", "select", "kept")

    def __init__(self, writer: Writer, want: Want | None, select: Any) -> None:
        self.writer = writer
        self.want = want
        self.select = select
        #: what stays although it matches: its owners won
        self.kept: set[tuple[Element, str]] = set()


class Hit:
    """Something that matches a `remove`: a thing, or one slot of an element."""

    __slots__ = ("element", "slot", "slots")

    def __init__(self, element: Element, slot: str, slots: set[tuple[Element, str]]) -> None:
        self.element = element
        self.slot = slot  # PRESENCE: the whole element
        self.slots = slots  # the values that make it match


class Removing(Reviving):
    """Takes things away and minds that they stay away."""

    def __init__(self, tree: Any, schema: Any) -> None:
        super().__init__(tree, schema)
        self.absences: list[Absence] = []

    def _remove(self, absence: Absence) -> None:
        writer = absence.writer
        lost = False
        for hit in self.hits(absence):
            if self._gone(hit.element):
                continue
            if not self._take_away(hit, absence):
                absence.kept.add((hit.element, hit.slot))
                lost = True
        if not lost:
            self.effective.add(writer)
        self._join_removals(absence)
        self.absences.append(absence)

    def _gone(self, element: Element) -> bool:
        while element is not None:
            if element is self.tree.root:
                return False
            element = element.getparent()
        return True

    def _take_away(self, hit: Hit, absence: Absence) -> bool:
        element, slot, writer = hit.element, hit.slot, absence.writer
        if slot == PRESENCE:
            owners = self.tree.subtree_owners(element)
        else:
            owners = self.tree.owners(element, slot)
        if not self.beats(writer, owners):
            self.lose(element, slot, None, value_of(element, slot), writer, owners)
            return False
        parent = element.getparent()
        if slot == PRESENCE:
            self.tree.remove(element, [writer])
        else:
            self.tree.unset(element, slot, writer)
            parent = element
        if absence.select is None:  # a selection means what it names, and nothing else
            self._prune(parent, writer)
        return True

    def _prune(self, element: Element, writer: Writer) -> None:
        """An emptied parent without attributes goes too."""
        while element is not self.tree.root and element is not None:
            if len(element) or element.attrib or text_of(element) is not None:
                return
            owners = self.tree.claims.get(element, {}).get(PRESENCE, [])
            if any(owner.priority >= writer.priority for owner in owners if owner is not THE_DEFINITION):
                return
            parent = element.getparent()
            self.tree.remove(element, [writer])
            element = parent

    def _join_removals(self, absence: Absence) -> None:
        """What another profile removed before, this one wanted away as well."""
        if absence.want is None:
            return
        for group in absence.want.groups:
            for element, (parent, writers) in self.tree.removed.items():
                if element.tag != group.tag or absence.writer in writers:
                    continue
                if parent is container(self.tree.root, group.tags) and any(
                    want.lowest and holds(element, want) for want in group.wants
                ):
                    writers.append(absence.writer)

    def hits(self, absence: Absence) -> list[Hit]:
        """Everything that matches now."""
        if absence.select is not None:
            return [_selected(one) for one in absence.select(self.tree.root)]
        assert absence.want is not None
        hits: list[Hit] = []
        self._hits_in(self.tree.root, absence.want, hits, set())
        return hits

    def _hits_in(
        self, thing: Element, want: Want, hits: list[Hit], context: set[tuple[Element, str]]
    ) -> None:
        if thing is self.tree.root:
            for leaf in want.leaves:
                if leaf_state(thing, leaf) is State.HOLDS:
                    hits.append(_leaf_hit(thing, leaf))
        for group in want.groups:
            there = candidates(thing, group)
            if group.node.key_class == "O":
                for run in runs(there, group):
                    hits.extend(Hit(one, PRESENCE, {(one, PRESENCE)}) for one in run)
                continue
            for inner in group.wants:
                for one in there:
                    if inner.lowest:
                        if holds(one, inner):
                            hits.append(Hit(one, PRESENCE, context | _slots(one, inner)))
                    elif all(leaf_state(one, leaf) is State.HOLDS for leaf in inner.leaves):
                        self._hits_in(one, inner, hits, context | _slots(one, inner))

    def _mind_absences(self, mark: int, writer: Writer) -> None:
        """Take back what `writer` just wrote against a stronger `remove`."""
        for absence in self.absences:
            if absence.writer is writer:
                continue
            written = None
            for hit in self.hits(absence):
                if (hit.element, hit.slot) in absence.kept:
                    continue
                if written is None:
                    written = set(self.tree.written_since(mark))
                self._give_way(hit, written, mark, absence, writer)

    def _give_way(
        self,
        hit: Hit,
        written: set[tuple[Element, str]],
        mark: int,
        absence: Absence,
        writer: Writer,
    ) -> None:
        """Take back what makes `hit` match, as far as the last action made it."""
        tree, element, slot = self.tree, hit.element, hit.slot
        made = {one for one, what in written if what == PRESENCE}
        parent = element.getparent()
        if parent is None:
            return
        if element in made or any(one in made for one in element.iterancestors()):
            wanted = value_of(element, slot)
            if slot == PRESENCE:
                rest = element.tag
                tree.discard(element)
            else:
                rest, parent = slot, element
                tree.forget(element, slot)
            parent, rest = self._prune_made(parent, made, rest)
        else:
            values = hit.slots & written
            if not values:
                return  # not this writer's doing
            at, what = min(values, key=lambda value: (value[1] == PRESENCE, value[1]))
            wanted = value_of(at, what)
            below = [one for one in at.iterancestors() if one in made]
            rest = f"{at.tag}/{what}" if below or at in made else what
            parent = at.getparent() if below or at in made else at
            for one, what in values:
                if what == PRESENCE:
                    tree.discard(one)
            tree.undo_slots(mark, values)
        if not writer.is_default or writer.hard:
            self.lose(parent, rest, wanted, None, writer, [absence.writer])

    def _prune_made(self, element: Element, made: set[Element], rest: str) -> tuple[Element, str]:
        """Take new elements back that are empty now; who stays, and the path from there."""
        while element in made:
            parent = element.getparent()
            if parent is None or len(element) or element.attrib or text_of(element) is not None:
                break
            self.tree.discard(element)
            element, rest = parent, f"{element.tag}/{rest}"
        return element, rest


def _leaf_hit(thing: Element, leaf: Leaf) -> Hit:
    """A value that stands there; where it is only implied, its element says it."""
    element = leaf_element(thing, leaf)
    slot = leaf.slot
    if slot == TEXT:
        # the leaf is the element, with its unit and what else stands on it
        return Hit(element, PRESENCE, {(element, slot), (element, PRESENCE)})
    if slot != PRESENCE:
        _, written = read(element, slot, leaf.node)
        implied = leaf.node.implied.get(slot)
        if not written or (
            implied is not None and leaf.type is not None and leaf.type.same(implied, leaf.value or "")
        ):
            return Hit(element, PRESENCE, {(element, slot), (element, PRESENCE)})
    return Hit(element, slot, {(element, slot)})


def _slots(thing: Element, want: Want) -> set[tuple[Element, str]]:
    """The values, and the elements on the way, that make a thing match."""
    slots: set[tuple[Element, str]] = {(thing, PRESENCE)}
    for leaf in want.leaves:
        element = thing
        for tag in leaf.tags:
            element = child(element, tag)
            slots.add((element, PRESENCE))
        slots.add((element, leaf.slot))
    return slots


def _selected(found: Any) -> Hit:
    parent = getattr(found, "getparent", None)
    if getattr(found, "is_attribute", False):
        return Hit(found.getparent(), "@" + found.attrname, {(found.getparent(), "@" + found.attrname)})
    if getattr(found, "is_text", False):
        return Hit(found.getparent(), TEXT, {(found.getparent(), TEXT)})
    assert parent is not None
    return Hit(found, PRESENCE, {(found, PRESENCE)})


def value_of(element: Element, slot: str) -> str | None:
    """What stands in a slot, or a short form of the element."""
    if slot == PRESENCE:
        return text_of(element) or flat(element)
    return text_of(element) if slot == TEXT else element.get(slot[1:])


def flat(element: Element) -> str:
    """An element in a few characters, for a message: its attributes, or its text."""
    words = [f"{name}='{value}'" for name, value in element.attrib.items()]
    return " ".join(words) or text_of(element) or element.tag
