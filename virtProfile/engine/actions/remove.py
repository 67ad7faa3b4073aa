# SPDX-License-Identifier: GPL-2.0-or-later
"""`remove`: what a profile wants not to be there, and keeps away from weaker ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from virtProfile.engine.actions.match import (
    State,
    candidates,
    holds,
    leaf_element,
    leaf_state,
    runs,
)
from virtProfile.engine.record.assigned import (
    has_values_back,
    is_written_by_libvirt,
    of_libvirt,
    writes_itself,
)
from virtProfile.engine.record.model import DIGEST_DIGITS
from virtProfile.engine.tree.ownership import THE_DEFINITION, Writer
from virtProfile.format.element import (
    PRESENCE,
    TEXT,
    Element,
    attributes,
    child,
    child_node,
    container,
    in_words,
    is_empty,
    parent_of,
    read,
    text_of,
)
from virtProfile.format.paths import keyed_step
from virtProfile.language.profile import DEFINITION_PRIORITY

if TYPE_CHECKING:
    from virtProfile.engine.actions.arbiter import Arbiter
    from virtProfile.engine.tree.names import Name
    from virtProfile.format.schema import Node
    from virtProfile.language.profile import Profile
    from virtProfile.language.wishes import Group, Leaf, Want


#: Attributes that hold the number of a size (format/data/units.tsv).
_NUMBERS = frozenset(("memory", "size", "value"))

#: From the root to what an XPath expression selects: elements, attributes, texts.
Select: TypeAlias = Callable[[Element], Sequence[Any]]


class Absence:
    """What a `remove` wants not to be there, for all writers that come after it."""

    __slots__ = ("writer", "want", "select", "thing", "kept", "lost", "tags")

    def __init__(
        self, writer: Writer, want: Want | None, select: Select | None, thing: Element | None = None
    ) -> None:
        self.writer = writer
        self.want = want
        self.select = select
        #: the element that the wishes describe; None for the domain
        self.thing = thing
        #: what stays although it matches: its owners won, or libvirt wrote it since the last run
        self.kept: set[tuple[Element, str]] = set()
        self.lost = False
        #: of the elements that can make it match; None where that may be any
        self.tags = _tags(want) if want is not None and thing is None else None

    def names_what_libvirt_writes(self) -> bool:
        """May libvirt write by itself what is to be absent?"""
        return is_written_by_libvirt(_names(self.want)) if self.select is None else True


def _tags(want: Want) -> frozenset[str] | None:
    """The tags of all elements by which a wish may come to match; None where that may be any."""
    tags = {want.tag}
    for leaf in want.leaves:
        tags.update(leaf.tags)
        provided = leaf.node.provided.get(leaf.slot, TEXT)
        if provided != TEXT:
            tags.add(provided)  # the value is implied where such a child is
    for group in want.groups:
        tags.update(group.tags)
        for inner in group.wants:
            below = None if group.node.key_class == "O" else _tags(inner)
            if below is None:
                return None  # what else is in it counts too
            tags |= below
    return frozenset(tags)


def _names(want: Want | None) -> Iterator[str]:
    """The tags and attributes in a wish."""
    if want is not None:
        yield want.tag
        for leaf in want.leaves:
            yield leaf.path
        for group in want.groups:
            yield group.path
            for inner in group.wants:
                yield from _names(inner)


class Hit:
    """Something that matches a `remove`: a thing, or one slot of an element."""

    __slots__ = ("element", "slot", "slots")

    def __init__(self, element: Element, slot: str, slots: set[tuple[Element, str]]) -> None:
        self.element = element
        self.slot = slot  # PRESENCE: the whole element
        self.slots = slots  # the values that make it match


class Written:
    """What was written since a mark, and where in the tree that is.

    A `remove` matters only where something was written: so it is judged there, and not on
    all devices anew for each one that an action reaches.
    """

    __slots__ = ("slots", "made", "around", "_inside")

    def __init__(self, slots: set[tuple[Element, str]]) -> None:
        self.slots = slots
        self.made = {element for element, slot in slots if slot == PRESENCE}
        #: the elements that were written to, and all that they are in
        self.around: set[Element] = set()
        self._inside: dict[Element, list[Element]] = {}
        for element, _ in slots:
            at: Element | None = element
            while at is not None and at not in self.around:
                self.around.add(at)
                parent = at.getparent()
                if parent is not None:
                    self._inside.setdefault(parent, []).append(at)
                at = parent

    def is_new(self, element: Element) -> bool:
        """Is it a new element, or in one?"""
        return element in self.made or any(above in self.made for above in element.iterancestors())

    def candidates(self, thing: Element, group: Group) -> list[Element]:
        """`match.candidates`, as far as something was written in them."""
        parent = container(thing, group.tags)
        if parent is None:
            return []
        if self.is_new(parent):
            return list(parent.iterchildren(group.tag))
        inside = self._inside.get(parent, ())
        found = [element for element in inside if element.tag == group.tag and element.getparent() is parent]
        if not found or (len(found) == 1 and group.node.key_class != "O"):
            return found
        there = parent.iterchildren(group.tag)
        return list(there) if group.node.key_class == "O" else [one for one in there if one in self.around]


class Remover:
    """Takes things away and minds that they stay away."""

    def __init__(self, arbiter: Arbiter) -> None:
        self.arbiter = arbiter
        self.tree = arbiter.tree
        self.absences: list[Absence] = []
        #: of those that are about one element: by the element, with their numbers
        self._about: dict[Element, list[int]] = {}
        #: the numbers of all others
        self._general: list[int] = []
        #: are selections minded later, for all elements of a step at once?
        self._later = False
        #: (profile, number) of actions that left nothing of what they remove in the last run
        self._spares: set[tuple[str, int]] = set()

    def spare(self, profiles: Iterable[Profile]) -> None:
        """What libvirt wrote since the last run stays, where that had left nothing of it."""
        for profile in profiles if self.tree.left_nothing else ():
            numbers = self.tree.left_nothing.get((profile.name, profile.digest[:DIGEST_DIGITS]), ())
            self._spares.update((profile.name, number) for number in numbers)

    def left_nothing(self) -> set[tuple[str, int]]:
        """The actions above the definition that left nothing of what libvirt would write there."""
        found, lost = set(), set()
        for absence in self.absences:
            writer = absence.writer
            action = (writer.origin.profile, writer.number)
            if absence.lost or writer.priority <= DEFINITION_PRIORITY:
                lost.add(action)
            elif absence.names_what_libvirt_writes():
                found.add(action)
        return found - lost

    def remove(self, absence: Absence) -> None:
        """Take away what matches and may go, and mind that it stays away."""
        writer = absence.writer
        lost = False
        spares = (writer.origin.profile, writer.number) in self._spares
        for hit in self.hits(absence):
            if self._gone(hit.element):
                continue
            if spares and self._is_libvirts(hit):
                absence.kept.add((hit.element, hit.slot))
                continue
            if not self._take_away(hit, absence):
                absence.kept.add((hit.element, hit.slot))
                lost = True
        absence.lost = lost
        if not lost:
            self.arbiter.effective.add(writer)
        self._join_removals(absence)
        if absence.thing is None:
            self._general.append(len(self.absences))
        else:
            self._about.setdefault(absence.thing, []).append(len(self.absences))
        self.absences.append(absence)

    def _is_libvirts(self, hit: Hit) -> bool:
        """Does it match for what libvirt wrote at define, and not for what an earlier run put back?"""
        tree, values = self.tree, {*hit.slots, (hit.element, hit.slot)}
        if any(slot in tree.taken_back.get(element, ()) for element, slot in values):
            return False
        if hit.slot == PRESENCE and has_values_back(tree, hit.element):
            return False
        return any(tree.in_source(element) and of_libvirt(element, slot) for element, slot in values)

    def forget_since(self, count: int) -> None:
        """Mind no more than the first `count` absences."""
        for number in range(len(self.absences) - 1, count - 1, -1):
            thing = self.absences[number].thing
            (self._general if thing is None else self._about[thing]).pop()
        del self.absences[count:]

    def _gone(self, element: Element) -> bool:
        at: Element | None = element
        while at is not None:
            if at is self.tree.root:
                return False
            at = at.getparent()
        return True

    def _take_away(self, hit: Hit, absence: Absence) -> bool:
        from virtProfile.engine.actions.resolved import resolved_in, write_resolved

        element, slot, writer = hit.element, hit.slot, absence.writer
        if slot == PRESENCE:
            owners = self.tree.subtree_owners(element)
        else:
            owners = self.tree.owners(element, slot)
        if slot == "@unit" and self._measures(element):
            note = "a number and its unit are one value: remove both"
            self.arbiter.lose(element, slot, None, value_of(element, slot), writer, owners, note)
            self.arbiter.losses[-1].conflict = False
            return False
        if not self.arbiter.beats(writer, owners):
            self.arbiter.lose(element, slot, None, value_of(element, slot), writer, owners)
            return False
        parent = element if slot != PRESENCE else parent_of(element)
        around, resolved, value = parent.getparent(), resolved_in(parent), value_of(element, slot)
        if slot == PRESENCE:
            step = self._step(element)
            self.tree.remove(element, [writer])
            self.arbiter.displace(parent, step, value, owners, writer)
            if absence.select is None:
                self._unspell(parent, element, writer)
        else:
            self.tree.unset(element, slot, writer)
            self.arbiter.displace(element, slot, value, owners, writer)
        if absence.select is None or slot[:1] == "@":
            # a selection means what it names, and what libvirt drops without it
            self._prune(parent, writer, of_all=absence.select is None)
        write_resolved(self.arbiter, parent if self.tree.stands(parent) else around, resolved, writer)
        return True

    def _unspell(self, parent: Element, element: Element, writer: Writer) -> None:
        """What the parent says of a removed child goes with it: libvirt would make the child again."""
        if parent is None or parent is self.tree.root or parent.getparent() is None:
            return
        node: Any = self.arbiter.schema.root
        for ancestor in (*[*parent.iterancestors()][-2::-1], parent):
            node = None if node is None else child_node(node, ancestor.tag)
        for above, (tag, slot, *_) in ({} if node is None else node.respells).items():
            said = parent.get(above[1:])
            if tag == element.tag and said is not None and said == element.get(slot[1:]):
                if self.arbiter.beats(writer, self.tree.owners(parent, above)):
                    self.tree.unset(parent, above, writer)

    @staticmethod
    def _measures(element: Element) -> bool:
        """Does a number stand beside the unit?"""
        return text_of(element) is not None or any(name in _NUMBERS for name in element.attrib)

    def _prune(self, element: Element, writer: Writer, of_all: bool) -> None:
        """An emptied parent without attributes goes too.

        :param of_all: else only one that libvirt drops at define as it is empty
        """
        from virtProfile.engine.record.dropped import says_nothing

        while element is not self.tree.root:
            if not is_empty(element) or not (of_all or says_nothing(element)):
                return
            owners = self.tree.claims.get(element, {}).get(PRESENCE, [])
            if any(owner.priority >= writer.priority for owner in owners if owner is not THE_DEFINITION):
                return
            parent = parent_of(element)
            self.tree.remove(element, [writer])
            element = parent

    def _join_removals(self, absence: Absence) -> None:
        """What another profile removed before, this one wanted away as well."""
        if absence.want is None or absence.thing is not None:
            return
        for group in absence.want.groups:
            parent = container(self.tree.root, group.tags)
            for element in () if parent is None else self.tree.removed.below(parent, group.tag):
                writers = self.tree.removed[element][1]
                if absence.writer in writers:
                    continue
                if any(want.lowest and holds(element, want) for want in group.wants):
                    writers.append(absence.writer)

    def join_removal(self, element: Name, want: Want, writer: Writer) -> bool:
        """Did another profile remove the element before? Then `writer` wanted it away as well."""
        removed = None if isinstance(element, tuple) else self.tree.removed.get(element)
        if removed is None or not _whole(want):
            return False
        if writer not in removed[1]:
            removed[1].append(writer)
        self.arbiter.effective.add(writer)
        return True

    def hits(self, absence: Absence, written: Written | None = None) -> list[Hit]:
        """Everything that matches now.

        :param written: what does not match for the sake of that may be left out
        """
        if absence.select is not None:
            return [_selected(found) for found in absence.select(self.tree.root)]
        assert absence.want is not None
        hits: list[Hit] = []
        thing = absence.thing
        if thing is None:
            self._hits_in(self.tree.root, absence.want, hits, set(), True, written)
        elif self._gone(thing):
            pass
        elif _whole(absence.want):
            hits.append(Hit(thing, PRESENCE, {(thing, PRESENCE)}))
        else:
            self._hits_in(thing, absence.want, hits, set(), True, written)
        return hits

    def barring(self, made: Element) -> Absence | None:
        """The `remove` that matches an element that was just made, the first of them."""
        written = Written({(made, PRESENCE)})
        for absence in self._concerned(written):
            if any(hit.element is made for hit in self.hits(absence, written)):
                return absence
        return None

    def _concerned(self, written: Written) -> list[Absence]:
        """The absences that may match for the sake of what was written, in their order."""
        numbers = set(self._general)
        if self._about:
            near = written.around | {part for new in written.made for part in new.iter("*")}
            numbers.update(number for element in near for number in self._about.get(element, ()))
        return [self.absences[number] for number in sorted(numbers)]

    def _hits_in(
        self,
        thing: Element,
        want: Want,
        hits: list[Hit],
        context: set[tuple[Element, str]],
        outermost: bool = False,
        written: Written | None = None,
    ) -> None:
        if outermost:
            for leaf in want.leaves:
                if leaf_state(thing, leaf) is State.HOLDS:
                    hits.append(_leaf_hit(thing, leaf))
        for group in want.groups:
            there = candidates(thing, group) if written is None else written.candidates(thing, group)
            if group.node.key_class == "O":
                for run in runs(there, group):
                    hits.extend(Hit(element, PRESENCE, {(element, PRESENCE)}) for element in run)
                continue
            for inner in group.wants:
                for element in there:
                    if inner.lowest:
                        if holds(element, inner) and not self._for_a_default(element, inner):
                            hits.append(Hit(element, PRESENCE, context | _slots(element, inner)))
                    elif all(leaf_state(element, leaf) is State.HOLDS for leaf in inner.leaves):
                        slots = _slots(element, inner)
                        # What is written here makes all in it match, where nothing was written too.
                        below = None if written is None or not slots.isdisjoint(written.slots) else written
                        self._hits_in(element, inner, hits, context | slots, written=below)

    def _for_a_default(self, element: Element, want: Want) -> bool:
        """Does it match for what libvirt wrote by itself into what a profile brought?"""
        tree = self.tree
        around = (element, *element.iterancestors())
        if not tree.in_source(element) or all(tree.original(above) for above in around):
            return False
        for leaf in want.leaves:
            at = leaf_element(element, leaf)
            value = None if at is None else value_of(at, leaf.slot)
            if at is None or value is None or tree.claims.get(at, {}).get(leaf.slot):
                continue
            if leaf.slot != PRESENCE and writes_itself(leaf.node, leaf.slot, value):
                return True
        return False

    @contextmanager
    def selections_together(self, writer: Writer) -> Iterator[None]:
        """Each selection of a `remove` is evaluated once for all that `writer` does meanwhile."""
        mark, self._later = self.tree.mark(), True
        try:
            yield
        finally:
            self._later = False
        general = [self.absences[number] for number in self._general]
        self._mind(mark, writer, [absence for absence in general if absence.select is not None])

    def mind_absences(self, mark: int, writer: Writer) -> None:
        """Take back what `writer` just wrote against a stronger `remove`."""
        if self.absences:
            self._mind(mark, writer, None)

    def _mind(self, mark: int, writer: Writer, absences: Sequence[Absence] | None) -> None:
        """:param absences: None for all, but for selections that are minded later"""
        if self.tree.mark() <= mark or absences == []:
            return
        if absences is None and not self._may_match(mark):
            return
        slots = set(self.tree.written_since(mark))
        if not slots:
            return
        written = Written(slots)
        for absence in self._concerned(written) if absences is None else absences:
            if absence.writer is writer or (absences is None and self._later and absence.select is not None):
                continue
            found = [
                hit for hit in self.hits(absence, written) if (hit.element, hit.slot) not in absence.kept
            ]
            made = {new for new, what in slots if what == PRESENCE}
            for hit in found:
                self._give_way(hit, slots, made, mark, absence, writer)
            if found:
                slots = set(self.tree.written_since(mark))

    def _may_match(self, mark: int) -> bool:
        """Was anything written since that an absence speaks of?"""
        written = self.tree.tags_since(mark)
        return any(absence.tags is None or not absence.tags.isdisjoint(written) for absence in self.absences)

    def _give_way(
        self,
        hit: Hit,
        written: set[tuple[Element, str]],
        made: set[Element],
        mark: int,
        absence: Absence,
        writer: Writer,
    ) -> None:
        """Take back what makes `hit` match, as far as the last action made it."""
        tree, element, slot = self.tree, hit.element, hit.slot
        parent = element.getparent()
        if parent is None:
            return
        if element in made or any(above in made for above in element.iterancestors()):
            wanted = value_of(element, slot)
            if slot == PRESENCE:
                rest = self._step(element)
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
            below = [above for above in at.iterancestors() if above in made]
            rest = what
            if below or at in made:
                rest = f"{self._step(at)}/{what}" if what else self._step(at)
            parent = parent_of(at) if below or at in made else at
            for holder, what in values:
                if what == PRESENCE:
                    tree.discard(holder)
            tree.undo_slots(mark, values)
        self.arbiter.undone.setdefault(writer, absence.writer)
        if not writer.is_default or writer.hard:
            self.arbiter.lose(parent, rest, wanted, None, writer, [absence.writer])

    def _prune_made(self, element: Element, made: set[Element], rest: str) -> tuple[Element, str]:
        """Take new elements back that are empty now; who stays, and the path from there."""
        while element in made:
            parent = element.getparent()
            if parent is None or not is_empty(element):
                break
            step = self._step(element)
            self.tree.discard(element)
            element, rest = parent, f"{step}/{rest}"
        return element, rest

    def _step(self, element: Element) -> str:
        """The step to an element of the tree that is about to go, with its key."""
        node: Node | None = self.arbiter.schema.root
        for above in (*[*element.iterancestors()][-2::-1], element):
            node = None if node is None else child_node(node, above.tag)
        return keyed_step(element, node)


def _whole(want: Want) -> bool:
    """Is the element meant itself, and nothing in it?"""
    return not want.groups and all(leaf.slot == PRESENCE and not leaf.tags for leaf in want.leaves)


def _leaf_hit(thing: Element, leaf: Leaf) -> Hit:
    """A value that stands there; where it is only implied, its element says it."""
    element = leaf_element(thing, leaf)
    assert element is not None  # the leaf holds
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
        if leaf.type is not None and leaf.type.required and element.getparent() is not None:
            return Hit(element, PRESENCE, {(element, slot), (element, PRESENCE)})  # nothing without it
    return Hit(element, slot, {(element, slot)})


def _slots(thing: Element, want: Want) -> set[tuple[Element, str]]:
    """The values, and the elements on the way, that make a thing match."""
    slots: set[tuple[Element, str]] = {(thing, PRESENCE)}
    for leaf in want.leaves:
        element = thing
        for tag in leaf.tags:
            below = child(element, tag)
            assert below is not None  # the leaf holds
            element = below
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
    """`in_words` of an element of a document."""
    return in_words(element.tag, attributes(element), text_of(element))
