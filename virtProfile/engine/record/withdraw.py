# SPDX-License-Identifier: GPL-2.0-or-later
"""Before the rendering: what an earlier run did is taken back, and the definition is left.

By the record, and only as far as it still stands so: a value that somebody changed
or took out since belongs to the definition. `trust` says what may be taken back, as a
record may be forged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from virtProfile.engine.record import assigned
from virtProfile.engine.record.companions import PLACES
from virtProfile.engine.record.dropped import is_dropped
from virtProfile.engine.record.locate import (
    Located,
    held,
    key_value,
    likeness,
    locate,
    names_of_thing,
    pairs,
    places_of,
    slots,
    written_key,
)
from virtProfile.engine.record.model import DIGEST_DIGITS, Entry, Record, Recorded, Written, read_place
from virtProfile.engine.record.trust import Judge
from virtProfile.engine.tree.ownership import WITHDRAW, Writer
from virtProfile.engine.tree.work_tree import WorkTree
from virtProfile.errors import PolicyError
from virtProfile.format import machines
from virtProfile.format.element import TEXT, Element, attributes, child, child_node, place, read_part, text_of
from virtProfile.result import Origin, Warning

if TYPE_CHECKING:
    from virtProfile.engine.tree.effort import Effort
    from virtProfile.format.schema import Node, Schema

#: Elements that hold what many others put there: they go only when they are empty.
_SHARED = frozenset(("devices", "os", "features", "metadata"))


class TakenBack:
    """What came of it: `kept` stands as it did, `gone` somebody took out by hand.

    `lost` came back without its secrets, which no record holds.
    """

    __slots__ = ("kept", "gone", "lost", "warnings")

    def __init__(self) -> None:
        self.kept: list[Located] = []
        self.gone: list[Located] = []
        self.lost: list[tuple[Located, Element]] = []
        self.warnings: list[Warning] = []


def withdrawer(recorded: Recorded) -> Writer:
    """Who answers for what is taken back."""
    return Writer(Origin(recorded.name, recorded.version, WITHDRAW, "record", 0), recorded.priority, False)


def take_back(
    tree: WorkTree,
    schema: Schema,
    record: Record,
    judge: Judge,
    keep: Callable[[Recorded], bool],
    keep_secrets: bool = True,
) -> TakenBack:
    """Take the recorded doing of profiles back in the tree, and lay the floor.

    :param judge: says what may not be taken back, and why
    :param keep: does a profile keep the values whose secrets nobody gives anew?
    :param keep_secrets: values that stand where the VM had a secret stay, as the secret was not kept
    :raises PolicyError: listing all parts that may not be taken back
    """
    outcome = TakenBack()
    found = locate(tree.root, schema, record, tree.effort)
    counted = assigned.is_total(tree.root)
    writers = {profile.name: [withdrawer(profile)] for profile in record.profiles}
    tree.left_nothing = {
        (one.name, one.digest[:DIGEST_DIGITS]): judge.left_nothing(one) for one in record.profiles if one.out
    }
    work = _Work(tree, schema, judge, outcome)
    added: list[Located] = []
    for located in found:
        entry = located.entry
        if entry.hidden and (keep(located.profile) or keep_secrets and entry.kind == "on" and entry.lost):
            outcome.kept.append(located)
        elif located.entry.kind == "on":
            work.values(located, writers[located.profile.name])
        elif located.entry.kind == "add":
            added.append(located)
    # What was added inside of what was added goes first.
    added.sort(key=lambda located: -_depth(located.parent))
    for located in added:
        work.added(located, writers[located.profile.name])
        assigned.respelled(tree, located, writers[located.profile.name])  # while the parent is in the tree
    # Their numbers are those of the definition: each goes before those that follow it there.
    for located in sorted(found, key=lambda located: located.entry.number):
        if located.entry.kind == "del":
            work.put_back(located, writers[located.profile.name])
    work.free_what_libvirt_added(record)
    for located in found:
        assigned.respelled(tree, located, writers[located.profile.name])
    for located, parent, standing, owners in work.again:
        if tree.in_source(standing) and not (standing.attrib or len(standing) or text_of(standing)):
            work.replace(located, parent, standing, owners)
    if work.machine is not None:
        assigned.machine_changed(tree, *work.machine)
    assigned.boot_memory(tree, counted)
    if work.refused:
        raise PolicyError(
            "what profiles did cannot be taken back completely: " + "; ".join(work.refused),
            hint=judge.hint,
            where="the record in the metadata",
        )
    tree.lay_floor()
    return outcome


def without_their_secrets(
    tree: WorkTree, taken: TakenBack, still: Callable[[Recorded], bool]
) -> Iterator[Warning]:
    """What stands again, but for the secrets in it.

    :param still: does the profile of a record apply as it did?
    """
    for located, element in taken.lost:
        entry = located.entry
        if not tree.stands(element) or entry.kind == "on" and still(located.profile):
            continue
        what = ", ".join(sorted(set(entry.lost)))
        comes = "comes back without" if entry.kind == "del" else "does not get back"
        yield Warning(
            "secret",
            f"{element.tag} {comes} {what}: a secret is not recorded; set it again by hand",
            entry.at,
        )


def _make_hull(tree: WorkTree, schema: Schema, located: Located, writers: list[Writer]) -> None:
    """The parent of something removed, which libvirt dropped at define as nothing was in it any more."""
    steps = read_place(located.entry.at)
    for count in range(len(steps), -1, -1):
        places = places_of(tree.root, schema.root, steps[:count], tree.effort)
        if places:
            break
    else:
        return
    element, node = places[0]
    lacking: list[tuple[str, Node]] = []
    for step in steps[count:]:
        below = child_node(node, step.tag)
        if below is None or below.many:
            return
        node = below
        lacking.append((step.tag, node))
    inner = child_node(node, located.entry.written.tag)
    if inner is None:
        return
    for tag, above in lacking:
        new = make(element, Written(tag, {}, None))
        tree.restore(element, place(element, above.parent, tag), new, writers)
        tree.hulls.append((new, writers))
        element = new
    located.parent, located.node = element, inner


def hidden_values(root: Element, schema: Schema, record: Record) -> list[str]:
    """The values that stand where the record says that a secret was written."""
    if not any(entry.hidden for profile in record.profiles for entry in profile.entries):
        return []
    found = []
    for located in locate(root, schema, record):
        if located.element is not None:
            for slot in located.entry.hidden_slots:
                value = read_part(located.element, slot, located.node)
                if value:
                    found.append(value)
    return found


def _depth(element: Element | None) -> int:
    return 0 if element is None else sum(1 for _ in element.iterancestors())


class _Work:
    """The taking back of single entries."""

    def __init__(self, tree: WorkTree, schema: Schema, judge: Judge, outcome: TakenBack) -> None:
        self.tree = tree
        self.schema = schema
        self.judge = judge
        self.outcome = outcome
        #: parts that may not be taken back, in words
        self.refused: list[str] = []
        #: what stands for an entry of something removed
        self._accounted: set[Element] = set()
        #: the PCI places that are taken
        self._places: set[tuple[int | None, ...]] | None = None
        self._standing: dict[tuple[Element, str], _Standing] = {}
        self._likes: dict[tuple[Element, str], list[Element]] = {}
        self._alike: assigned.Tables = {}
        #: values that were put back: (element, node, slot, before, now, writers)
        self.changed: list[tuple[Element, Node, str, str | None, str, list[Writer]]] = []
        #: removed elements in whose place something stands: (entry, parent, that, writers)
        self.again: list[tuple[Located, Element, Element, list[Writer]]] = []
        #: the machine type that was put back: (os/type, before, now, writers, what its profile implies)
        self.machine: tuple[Element, str | None, str, list[Writer], tuple[str, ...]] | None = None

    def free_what_libvirt_added(self, record: Record) -> None:
        """What libvirt assigned or added for values that were put back gives way."""
        for element, node, slot, value, now, owners in self.changed:
            if not self.tree.stands(element):
                continue
            assigned.bus_changed(self.tree, element, slot, (value, now), owners)
            assigned.twin_aside(self.tree, element, node, slot, (value, now), owners)
            if not node.anything:
                doer = record.get(owners[0].origin.profile)
                implies = () if doer is None else doer.implies
                assigned.variant_changed(self.tree, element, node, slot, (value, now), owners, implies)

    def doubt(self, located: Located, what: str, reason: str) -> None:
        """What the record says cannot be so, or was not kept: it is left out, with a warning."""
        self.outcome.warnings.append(Warning("record", f"{_part(located, what)} is not restored: {reason}"))

    def refuse(self, located: Located, what: str, reason: str) -> None:
        """What the record says may not be done."""
        self.refused.append(f"{_part(located, what)} ({reason})")

    # --- values on elements of the definition --------------------------------

    def values(self, located: Located, writers: list[Writer]) -> None:
        element = located.element
        if element is None:
            return
        for slot, value in [*self._values_before(located, element), *self._hidden(located, element)]:
            now = element.get(slot[1:]) if slot[:1] == "@" else None
            if value is None:
                self.tree.unset(element, slot, writers[0])
            else:
                self.tree.set(element, slot, value, writers[0])
            if now is not None and located.node.path == "os/type" and slot == "@machine":
                if PLACES in located.profile.implies and (value is not None or machines.family(now) != now):
                    self.machine = (element, value, now, writers, located.profile.implies)
                # else an alias, which libvirt writes out at define: it assigned nothing for it yet
            elif now is not None:
                self.changed.append((element, located.node, slot, value, now, writers))
            self.tree.taken_back.setdefault(element, {})[slot] = writers

    def _values_before(self, located: Located, element: Element) -> list[tuple[str, str | None]]:
        """The slots that still stand as they were written, with the value that they had before."""
        entry, node = located.entry, located.node
        before = {} if entry.was is None else dict(slots(entry.was))
        now = dict(slots(entry.written))
        steps: list[tuple[str, str | None]] = []
        for slot in dict.fromkeys([*now, *before]):
            if not self._is_untouched(located, element, slot, slot in now):
                continue
            if slot in before:
                if not _may_stand(node, slot):
                    self.doubt(
                        located, f"the earlier value of '{slot}'", "the element cannot have such a value"
                    )
                    continue
                reason = self.judge.value_before(located.profile, entry, node, slot, before[slot], element)
                if reason:
                    self.refuse(located, f"the earlier value of '{slot}'", reason)
                    continue
            steps.append((slot, before.get(slot)))
        return steps

    def _is_untouched(self, located: Located, element: Element, slot: str, written: bool) -> bool:
        """Does a slot stand as the profile left it? Who took its value out by hand is heeded."""
        has = text_of(element) if slot == TEXT else element.get(slot[1:])
        if not written:
            if has is not None and assigned.writes_itself(located.node, slot, has):
                self.tree.readded[element, slot] = has
                return True
            return has is None
        same = held(element, located.node, slot, located.entry.written)
        if has is not None:
            if same and _is_resolved(slot, located.entry.written, has):
                self.tree.resolved[element, slot] = located.entry.written.attrs["machine"]
                if located.entry.was is None or "machine" not in located.entry.was.attrs:
                    return False  # of a sketch: the version that it became stays
            return same and not located.entry.gone  # else somebody gave it another value since
        value = located.entry.written.attrs.get(slot[1:])
        if not same and value is not None and is_dropped(element, located.node, slot):
            self.tree.dropped[element, slot] = value
            return True
        if not same:
            self.tree.barred[element, slot] = located
            if located not in self.outcome.gone:
                self.outcome.gone.append(located)
        return False

    def _hidden(self, located: Located, element: Element) -> Iterator[tuple[str, None]]:
        """The secret values, which the record does not hold."""
        if located.entry.lost:
            self.outcome.lost.append((located, element))
        for slot in located.entry.own_secrets:
            if element.get(slot[1:]) is not None:
                yield slot, None

    # --- things that were added ----------------------------------------------

    def added(self, located: Located, writers: list[Writer]) -> None:
        if located.element is None:
            if located.parent is not None:
                self.missed(located, located.parent, located.entry.written)
            return
        reason = self.judge.added(located.profile, located.node, located.element)
        if reason:
            self.refuse(located, f"the added '{located.entry.written.tag}'", reason)
            return
        self.bury(
            located, located.element, located.node, located.entry.written, writers, located.entry.hidden
        )

    def missed(self, located: Located, parent: Element, written: Written) -> None:
        """Somebody took it out by hand."""
        self.tree.missed.setdefault((parent, written.tag), []).append((located, written))
        if located not in self.outcome.gone:
            self.outcome.gone.append(located)

    def bury(
        self,
        located: Located,
        element: Element,
        node: Node,
        written: Written,
        writers: list[Writer],
        hidden: tuple[str, ...] = (),
        above: str | None = None,
    ) -> None:
        """Take out what was added.

        A device goes whole, and so does a member of a list of settings that nobody changed. What
        can be only one may get its values from several and is taken apart; where somebody changed
        a value in it, or in a member of a list of settings, it stays for that value.

        :param above: the place of its parent, where that is not the place of the entry
        """
        if _is_member(node) and not (
            _is_setting(node) and _is_changed(element, node, written, self.tree.effort)
        ):
            assigned.respelled_inside(self.tree, element, node, written, writers)
            parts = list(_parts(element, node, written, self.tree.effort))
            self.tree.bury(element, writers, written, parts, hidden)
            return
        above = located.entry.at if above is None else above
        at = f"{above}/{written.tag}" if above else written.tag
        effort = self.tree.effort
        stays = _is_changed(element, node, written, effort)
        self._take_values(located, element, node, written, writers, at, stays)
        for slot in hidden:
            if slot[:1] == "@" and element.get(slot[1:]) is not None:
                self.tree.unset(element, slot, writers[0])
        for below, inner, part in pairs(element, node, written, effort):
            if below is None:
                self.tree.missed.setdefault((element, part.tag), []).append((located, part))
                if not _is_member(inner):
                    self._gone(located, element, "add", at, part)
            elif not (stays and not node.anything and part.tag in node.required_children):
                inside = tuple(
                    slot.removeprefix(f"{part.tag}/") for slot in hidden if slot.startswith(f"{part.tag}/")
                )
                self.bury(located, below, inner, part, writers, inside, at)
        if written.text is None and text_of(element) is not None and not hidden:
            return  # what it says is not the profile's: completion said it, or a person
        others = node.path in _SHARED and (len(element) or element.attrib)
        if stays or others or names_of_thing(element, node.parent):
            return  # what others put there stays, and so does what holds it; a disk's name is the disk's
        self.tree.bury(element, writers, None)

    def _take_values(
        self,
        located: Located,
        element: Element,
        node: Node,
        written: Written,
        writers: list[Writer],
        at: str,
        stays: bool,
    ) -> None:
        """Take the values out of what can be only one.

        :param at: the place of the element
        :param stays: does the element stay for what somebody changed in it?
        """
        for slot, _ in slots(written):
            value = text_of(element) if slot == TEXT else element.get(slot[1:])
            if value is not None and _is_resolved(slot, written, value):
                continue  # of a sketch: the version that it became stays
            if value is not None and held(element, node, slot, written):
                if not (stays and self._is_needed(element, node, slot)):
                    self.tree.unset(element, slot, writers[0])
                    self.tree.taken_back.setdefault(element, {})[slot] = writers
            elif value is None and not held(element, node, slot, written):
                self.tree.barred[element, slot] = located
                self._gone(located, element, "on", at, _only(written, slot))

    def _is_needed(self, element: Element, node: Node, slot: str) -> bool:
        """Would an element that stays be another one, or invalid, without the value?"""
        if slot == TEXT or any(
            slot in slots for slots in (node.dependents, node.variants, node.binding, node.key)
        ):
            return True
        if node.anything:
            return False
        name, before_all = slot[1:], attributes(element)
        kind = node.attribute(name)
        if kind is not None and kind.required:
            return True
        before = self.schema.validate(self.tree.root)
        del element.attrib[name]
        try:
            return bool(before or self.schema.validate(self.tree.root))
        finally:
            element.attrib.clear()  # in the order as they stood
            element.attrib.update([*before_all.items()])

    def _gone(self, located: Located, element: Element, kind: str, at: str, written: Written) -> None:
        """Somebody took out by hand a part of what was added: the next record says so too."""
        entry = Entry(kind, at, written, None, 0 if kind == "on" else 1, True, (), located.entry.also)
        part = Located(located.profile, entry, None)
        part.element, part.parent = (element, None) if kind == "on" else (None, element)
        self.outcome.gone.append(part)

    # --- things that were removed --------------------------------------------

    def put_back(self, located: Located, writers: list[Writer]) -> None:
        """Put back what was removed, with its parent where libvirt dropped that."""
        if located.parent is None:
            _make_hull(self.tree, self.schema, located, writers)
        if located.parent is not None:
            self.removed(located, writers)

    def removed(self, located: Located, writers: list[Writer]) -> None:
        parent, written = located.parent, located.entry.written
        assert parent is not None
        standing = assigned.replaces(located, parent, written, self._alike)
        if standing is not None and self.tree.in_source(standing):
            self.replace(located, parent, standing, writers)
            return
        there = None if located.node.many else child(parent, written.tag)
        if there is not None:
            self.again.append((located, parent, there, writers))
            return  # it is there again, or libvirt's for the other variant
        if located.node.key_class != "X" and self._account(located, parent):
            return  # of several alike each is there once
        if not _may_be_made(located.node, written):
            self.doubt(located, f"the removed '{written.tag}'", "there is no such element")
            return
        reason = self.judge.removed(located.profile, located.entry, located.node, parent)
        if reason:
            self.refuse(located, f"the removed '{written.tag}'", reason)
            return
        self._put_back(located, parent, writers)

    def _account(self, located: Located, parent: Element) -> bool:
        """Does an element stand that says all of what was removed, and stands for no other entry?"""
        written, node = located.entry.written, located.node
        place = (parent, written.tag)
        known = self._standing.get(place)
        if known is None:  # what is put back from now on stands for its own entry
            known = self._standing[place] = _Standing(parent.iterchildren(written.tag), node)
        for there in known.candidates(written):
            if there in self._accounted or there.getparent() is not parent:
                continue
            same, total = likeness(there, node, written, self.tree.effort)
            if same == total:
                self._accounted.add(there)
                known.drop(there)
                return True
        return False

    def replace(self, located: Located, parent: Element, standing: Element, writers: list[Writer]) -> None:
        """What was removed comes back in the place of what libvirt wrote there."""
        written = located.entry.written
        if not _may_be_made(located.node, written) or self.judge.removed(
            located.profile, located.entry, located.node, parent
        ):
            return  # libvirt's own is as good
        new = self._put_back(located, parent, writers)
        assigned.stand_aside(self.tree, standing, writers, lambda: not self.tree.stands(new))
        self._likes.clear()
        self._places = None

    def _like(self, parent: Element, tag: str) -> list[Element]:
        """The children of that tag, kept up with what is put back."""
        known = self._likes.get((parent, tag))
        if known is None:
            known = self._likes[parent, tag] = list(parent.iterchildren(tag))
        return known

    def _put_back(self, located: Located, parent: Element, writers: list[Writer]) -> Element:
        written = located.entry.written
        new = make(parent, written)
        if self._places is None:
            self._places = assigned.pci_places(self.tree)
        assigned.free_address(new, self._places)
        like = self._like(parent, written.tag)
        number = located.entry.number
        if like and 0 < number <= len(like):
            after = like[number - 1].getprevious()
            while after is not None and not isinstance(after.tag, str):
                after = after.getprevious()
        else:
            after = place(parent, located.node.parent, written.tag)
        self.tree.restore(parent, after, new, writers)
        if written.tag == "address" and written.attrs.get("type") == "pci":
            self.tree.places_back.append((new, writers))
        assigned.primary_aside(self.tree, new, writers)
        assigned.boot_aside(self.tree, new, writers)
        if located.entry.hidden:
            self.tree.secrets_lost[new] = located.entry.hidden
            self.outcome.lost.append((located, new))
        like.insert(max(0, number - 1), new)
        if not located.node.many and len(new):
            hulls = [below for below in new.iter("*") if len(below) and not below.attrib]
            self.tree.hulls += [(below, writers) for below in hulls]
        self._accounted.add(new)
        return new


class _Standing:
    """Elements of one tag by the first part of their key, for a look at few of them."""

    __slots__ = ("_part", "_node", "_by_value")

    def __init__(self, elements: Iterable[Element], node: Node) -> None:
        self._node = node
        parts = [part for part in node.key if not part.endswith("*")] if node.key_class in ("E", "N") else ()
        self._part = parts[0] if parts else None
        self._by_value: dict[object, dict[Element, None]] = {}
        for element in elements:
            self._by_value.setdefault(self._value(element), {})[element] = None

    def _value(self, element: Element) -> object:
        return None if self._part is None else key_value(self._node, self._part, element)

    def candidates(self, written: Written) -> list[Element]:
        """Those that can say all of what was written."""
        if self._part is not None:
            value = written_key(self._node, self._part, written)
            if value is not None:
                return list(self._by_value.get(value, ()))
        return [element for elements in self._by_value.values() for element in elements]

    def drop(self, element: Element) -> None:
        """It is none of them any more."""
        self._by_value.get(self._value(element), {}).pop(element, None)


def _is_resolved(slot: str, written: Written, has: str) -> bool:
    """Does a machine type stand where the profile had written an alias?"""
    alias = written.attrs.get("machine")
    return slot == "@machine" and alias is not None and alias != has and machines.resolves(alias, has)


def _is_member(node: Node) -> bool:
    """Is it one of a list? Then it is one thing, with what was written into it."""
    return bool(node.many and node.key_class != "S")


def _is_setting(node: Node) -> bool:
    """Is a member of a list no device, and no part of an ordered list, which is one thing?"""
    return node.key_class in ("E", "N") and node.parent is not None and node.parent.path != "devices"


def _is_changed(element: Element, node: Node, written: Written, effort: Effort) -> bool:
    """Did somebody give another value to something that was written there?"""
    for slot, _ in slots(written):
        value = text_of(element) if slot == TEXT else element.get(slot[1:])
        if value is not None and not _is_resolved(slot, written, value):
            if not held(element, node, slot, written):
                return True
    return any(
        below is not None
        and (_is_setting(inner) or not _is_member(inner))
        and _is_changed(below, inner, part, effort)
        for below, inner, part in pairs(element, node, written, effort)
    )


def _only(written: Written, slot: str) -> Written:
    """One value of what was written."""
    if slot == TEXT:
        return Written(written.tag, {}, written.text)
    return Written(written.tag, {slot[1:]: written.attrs[slot[1:]]}, None)


def _part(located: Located, what: str) -> str:
    """A part of the record in words."""
    place = (
        f"{located.entry.at}/{located.entry.written.tag}" if located.entry.kind != "on" else located.entry.at
    )
    return f"{what} of profile '{located.profile.name}' {located.profile.version} at {place}"


def _parts(element: Element, node: Node, written: Written, effort: Effort) -> Iterator[Element]:
    for below, inner, part in pairs(element, node, written, effort):
        if below is not None:
            yield below
            yield from _parts(below, inner, part, effort)


def _may_stand(node: Node, slot: str) -> bool:
    """Could a document have said that? Text among elements breaks it."""
    return slot != TEXT or bool(node.anything) or node.text is not None


def _may_be_made(node: Node, written: Written) -> bool:
    below = ((child_node(node, part.tag), part) for part in written.children)
    return all(_may_stand(node, slot) for slot, _ in slots(written)) and all(
        inner is None or _may_be_made(inner, part) for inner, part in below
    )


def make(parent: Element, written: Written) -> Element:
    """An element as it was written."""
    uri = written.tag[1:].partition("}")[0] if written.tag[0] == "{" else None
    nsmap = None
    if uri is not None:
        prefix = next((name for name, value in parent.nsmap.items() if value == uri and name), None)
        if prefix is None:  # libvirt's own are spelled as it spells them: …/schemas/domain/qemu/1.0
            prefix = uri.split("/")[-2] if uri.startswith("http://libvirt.org/schemas/domain/") else "ns"
        nsmap = {prefix: uri}
    new = parent.makeelement(written.tag, written.attrs, nsmap)
    new.text = written.text
    for part in written.children:
        new.append(make(new, part))
    return new
