# SPDX-License-Identifier: GPL-2.0-or-later
"""After the rendering: what the profiles did to the definition, as a record.

Everything that differs from the definition, whoever did it when: what an earlier run
wrote and is still wanted stands in the new record too. Secrets do not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from virtProfile.engine.record.assigned import stood_beside
from virtProfile.engine.record.companions import Implied
from virtProfile.engine.record.model import WAS, Entry, Record, Recorded, Written, of_the_vm
from virtProfile.engine.tree.ownership import BOOKKEEPER, COMPLETER, THE_DEFINITION, Writer
from virtProfile.engine.tree.work_tree import WorkTree
from virtProfile.format.element import (
    PRESENCE,
    TEXT,
    Element,
    child,
    child_node,
    children,
    parent_of,
    text_of,
)
from virtProfile.format.element import attributes as attributes_of
from virtProfile.format.secret_slots import SECRET_TAGS, SecretValues, is_secret_slot
from virtProfile.result import Warning

if TYPE_CHECKING:
    from virtProfile.engine.record.assigned import Tables
    from virtProfile.engine.record.locate import Located
    from virtProfile.engine.record.withdraw import TakenBack
    from virtProfile.format.paths import Paths
    from virtProfile.format.schema import Node
    from virtProfile.language.profile import Profile
    from virtProfile.language.requests import Selected

#: So many children are counted for each; of more a table is made.
_FEW = 16
#: (slot, value before, value now)
_Row = tuple[str, "str | None", "str | None"]


def keep_record(
    tree: WorkTree,
    selected: Sequence[Selected],
    paths: Paths,
    before: Record | None,
    taken: TakenBack | None,
    listed: Collection[str],
    ours: Iterable[str],
    secrets: Iterable[str],
    sketched: Callable[[str], bool],
    warnings: list[Warning],
    machine: Element | None = None,
    out: Collection[tuple[str, int]] = (),
) -> Record:
    """The record of a rendered tree.

    :param before: the record that the input had, and `taken` what came of it
    :param listed: names that stand in the VM's list, `ours` those of them that we wrote
    :param secrets: values that must not be kept
    :param sketched: of a profile's name: what `vp:sketch()` is for it
    :param warnings: gets what cannot be taken back
    :param out: (profile, number) of the actions that left nothing of what they remove
    :param machine: ``<type>`` of a sketch that was completed for its machine: the definition's from now on
    """
    collected = _Entries(tree, paths, [secret for secret in secrets if secret], machine)
    entries = collected.all()
    warnings += [Warning("secret", text) for text in dict.fromkeys(collected.lost)]
    carried: dict[str, list[Entry]] = {}
    if taken is not None:
        for located in taken.kept:
            if located.element is not None and located.entry.kind == "add":
                collected.brought.setdefault(located.profile.name, []).append(located.element)
            carried.setdefault(located.profile.name, []).append(located.entry)
        for located in taken.gone:
            again = _still_gone(tree, located)
            if again is not None:
                carried.setdefault(located.profile.name, []).append(again)
        versions = {chosen.name: chosen.profile.version for chosen in selected}
        for located, element in taken.lost:
            if versions.get(located.profile.name) != located.profile.version:
                continue
            lost = [of_the_vm(slot) for slot in located.entry.lost]
            if located.entry.kind == "on" and tree.stands(element) and collected.brings_no(element, lost):
                written = Written(element.tag, {}, None)
                entry = Entry("on", paths.place(element), written, None, 0, False, tuple(lost))
                carried.setdefault(located.profile.name, []).append(entry)
    removed: dict[str, set[str]] = {}
    for name, rows in chain(entries.items(), carried.items()):
        gone = {entry.written.tag for entry in rows if entry.kind == "del" and entry.at == "devices"}
        if gone:
            removed.setdefault(name, set()).update(gone)
    implied = Implied(tree, collected.brought, collected.changed, removed)
    profiles = []
    for chosen in selected:
        profile = chosen.profile
        params = {
            name: value
            for name, value in chosen.params.items()
            if not any(param.secret and param.name == name for param in profile.params)
        }
        source = chosen.source if chosen.name not in listed else "list"
        profiles.append(
            Recorded(
                profile.name,
                profile.version,
                profile.digest,
                chosen.priority,
                source,
                params,
                [*entries.get(profile.name, ()), *carried.get(profile.name, ())],
                implied.by(profile.name, None if before is None else before.get(profile.name)),
                asks_sketch(profile) and sketched(profile.name),
                frozenset(number for name, number in out if name == profile.name),
            )
        )
    return Record(profiles, frozenset() if before is None else before.made, frozenset(ours))


def asks_sketch(profile: Profile) -> bool:
    """Does a condition of the profile ask whether the definition is a sketch?"""
    texts = [action.when for action in profile.actions] + [match.test for match in profile.matches]
    return any("vp:sketch(" in text for text in texts if text)


def _still_gone(tree: WorkTree, located: Located) -> Entry | None:
    """What of a thing that somebody took out by hand is still out, None where it is there again."""
    entry, element = located.entry, located.element
    if entry.kind != "on":
        single = located.node is None or not located.node.many
        if located.parent is None or single and child(located.parent, entry.written.tag) is not None:
            return None
        return _out(tree, located.parent, entry, entry.written)
    if element is None:
        return None
    written = Written(entry.written.tag, {}, None)
    for name, value in entry.written.attrs.items():
        if element.get(name) is None:
            written.attrs[name] = value
    if text_of(element) is None:
        written.text = entry.written.text
    if not written.attrs and written.text is None:
        return None
    if tree.stands(element):
        return Entry("on", entry.at, written, None, 0, True, (), entry.also)
    return _out(tree, element, entry, None)


def _out(tree: WorkTree, element: Element, entry: Entry, written: Written | None) -> Entry | None:
    """The entry of what was taken out of an element, or of that with the elements around it
    that nobody wanted without it.

    :param written: what was taken out, None where that is a value of the element
    """
    at, number = entry.at, entry.number or 1
    while not tree.stands(element):
        grave, tag = tree.graves.get(element), element.tag
        if grave is None or at != tag and not at.endswith("/" + tag):
            return None
        if child(grave.parent, tag) is not None:
            return None
        written = Written(tag, {}, None, [] if written is None else [written])
        at, number = at[: -len(tag)].removesuffix("/"), 1
        element = grave.parent
    return None if written is None else Entry("add", at, written, None, number, True, (), entry.also)


def _profiles(owners: Sequence[Writer]) -> tuple[str, ...]:
    """The profiles among the owners, the deciding one first."""
    if len(owners) == 1:
        owner = owners[0]
        return () if owner is THE_DEFINITION or owner is BOOKKEEPER else (owner.origin.profile,)
    names = {
        owner.origin.profile: None
        for owner in owners
        if owner is not THE_DEFINITION and owner is not BOOKKEEPER
    }
    return tuple(names)


class _Entries:
    """Collects entries by profile."""

    def __init__(
        self, tree: WorkTree, paths: Paths, secrets: Sequence[str], machine: Element | None = None
    ) -> None:
        self.tree = tree
        self.paths = paths
        self.secrets = SecretValues(secrets)
        self._secrets = bool(self.secrets)
        #: has completion written anything in its own name?
        self._completed = COMPLETER.origin.profile in tree.claimed_by
        #: secrets of the definition that were taken away for good, in words
        self.lost: list[str] = []
        self.machine = machine
        self.found: dict[str, list[tuple[int, Entry]]] = {}
        #: profile -> the elements that it added
        self.brought: dict[str, list[Element]] = {}
        #: profile -> the elements of the definition that it gave another variant
        self.changed: dict[str, list[Element]] = {}
        self._numbers: dict[tuple[Element, str], dict[Element, int]] = {}
        self._alike: Tables = {}
        #: (tag, values) -> what is written of them into a record
        self._same: dict[tuple[str, tuple[_Row, ...]], tuple[Written, Written | None]] = {}
        self._numbers_before: dict[tuple[Element, str], dict[Element, int]] = {}
        self._order = {element: number for number, element in enumerate(tree.root.iter("*"))}

    def all(self) -> dict[str, list[Entry]]:
        tree = self.tree
        for element, (attributes, text) in tree.displaced.items():
            if tree.original(element) and element in self._order:
                self._on(element, attributes, text)
        for element in (*tree.created, *tree.revived):
            parent = element.getparent()
            if tree.original(element) or parent is None or not tree.original(parent):
                continue
            if element in self._order:
                self._added(element)
        for element, (parent, writers) in sorted(tree.removed.items(), key=lambda row: tree.order(row[0])):
            if parent in self._order and tree.original(parent) and tree.original(element):
                self._removed(element, parent, writers)
        return {
            name: [entry for _, entry in sorted(rows, key=lambda row: row[0])]
            for name, rows in self.found.items()
        }

    def brings_no(self, element: Element, hidden: Sequence[str]) -> bool:
        """Is there no entry yet that says of the element that these values were lost?"""
        order = self._order.get(element)
        return not any(
            number == order and entry.kind == "on" and set(hidden) & set(entry.hidden)
            for entries in self.found.values()
            for number, entry in entries
        )

    def _put(self, profile: str, element: Element, entry: Entry) -> None:
        self.found.setdefault(profile, []).append((self._order[element], entry))

    def _hide(self, element: Element, slot: str, value: str | None) -> bool:
        if value is None or not self._secrets and element.tag not in SECRET_TAGS:
            return False
        parent = element.getparent()
        above = "" if parent is None else parent.tag
        return is_secret_slot(above, element.tag, slot) or self.secrets.within(value)

    def _with(self, element: Element, slot: str) -> str:
        """The slot whose owners count: of a unit those of its number, as the two are one value."""
        node = self.paths.node(element)
        if node is not None:
            for number, (unit, _) in node.unit.items():
                if slot == unit:
                    return str(number)
        return slot

    # --- values on elements of the definition --------------------------------

    def _on(self, element: Element, attributes: dict[str, str], text: str | None) -> None:
        tree = self.tree
        if element is self.machine:
            return
        node = self.paths.node(element)
        units = node is not None and bool(node.unit)
        if units or tree.resolved or tree.readded or tree.dropped:
            rows = self._changed_values(element, node, attributes, text)
        else:
            rows = _changes((attributes, text), tree.says(element))
        if not rows:
            return
        by_whom: dict[tuple[str, ...], list[_Row]] = {}
        varies = node is not None and bool(node.dependents or node.variants)
        claims = tree.claims.get(element, {})
        known: Sequence[Writer] = ()
        names: tuple[str, ...] = ()
        for row in rows:
            slot = row[0]
            owner_slot = self._with(element, slot) if units else slot
            owners = claims[owner_slot] if owner_slot in claims else tree.owners(element, owner_slot)
            if owners != known:  # most values of an element are one profile's
                known, names = owners, _profiles(owners)
            if names:
                by_whom.setdefault(names, []).append(row)
                if varies or slot == "@machine":
                    self._varied(element, node, slot, names[0])
        if by_whom:
            self._values(element, by_whom)

    def _varied(self, element: Element, node: Node | None, slot: str, name: str) -> None:
        """Note an element that a profile gave another variant: libvirt may write more beside it."""
        if node is not None and (slot in node.dependents or slot in node.variants or slot == "@machine"):
            self.changed.setdefault(name, []).append(element)

    def _changed_values(
        self, element: Element, node: Node | None, attributes: dict[str, str], text: str | None
    ) -> list[_Row]:
        """`_changes`, of an element with a number and its unit, or with an alias that libvirt resolved."""
        old: dict[str, str | None] = {"@" + name: value for name, value in attributes.items()}
        new: dict[str, str | None] = {"@" + name: value for name, value in attributes_of(element).items()}
        old[TEXT], new[TEXT] = text, text_of(element)
        for (at, slot), alias in self.tree.resolved.items():
            if at is element and new.get(slot) is not None:
                new[slot] = alias  # as it was written
        for (at, slot), value in self.tree.dropped.items():
            if at is element and new.get(slot) is None and _profiles(self.tree.owners(element, slot)):
                new[slot] = value
        for (at, slot), value in self.tree.readded.items():
            if at is element and new.get(slot) == value and _profiles(self.tree.owners(element, slot)):
                new[slot] = None  # as it was removed
        changed = {slot for slot in (*old, *new) if old.get(slot) != new.get(slot)}
        for number, (unit, _) in {} if node is None else node.unit.items():
            if number in changed or unit in changed:  # a number and its unit are one value
                changed |= {number, unit}
        return [
            (slot, was, now)
            for slot in dict.fromkeys([*old, *new])
            if slot in changed and ((was := old.get(slot)), (now := new.get(slot))) != (None, None)
        ]

    def _values(self, element: Element, by_whom: Mapping[tuple[str, ...], Sequence[_Row]]) -> None:
        tag = element.tag
        may_hide = self._secrets or tag in SECRET_TAGS
        at = self.paths.place(element)
        for names, rows in by_whom.items():
            hidden: tuple[str, ...] = ()
            if may_hide:
                hidden, rows = self._without_secrets(element, rows, names[0])
            # The values of a hundred disks are the same: what was written is made once for all.
            key = (tag, tuple(rows))
            if key not in self._same:
                self._same[key] = _of_rows(tag, rows)
            written, was = self._same[key]
            self._put(names[0], element, Entry("on", at, written, was, 0, False, hidden, names[1:]))

    def _without_secrets(
        self, element: Element, rows: Sequence[_Row], name: str
    ) -> tuple[tuple[str, ...], Sequence[_Row]]:
        """(the slots of secrets, as `Entry.hidden` has them; the other values)."""
        hidden, rest = [], []
        for row in rows:
            slot, was, now = row
            if self._hide(element, slot, now) or self._hide(element, slot, was):
                hidden.append(slot if was is None else of_the_vm(slot))
                if was is not None:
                    self._lose(element, [slot], name)
            else:
                rest.append(row)
        return tuple(hidden), rest

    def _lose(self, element: Element, slots: Sequence[str], name: str) -> None:
        what = ", ".join(dict.fromkeys(slots))
        self.lost.append(
            f"profile '{name}' takes {what} of {element.tag} away: a secret is not recorded, "
            "so --unapply cannot put it back"
        )

    # --- things that were added ----------------------------------------------

    def _added(self, element: Element) -> None:
        names = _profiles(self.tree.owners(element, PRESENCE))
        if not names:
            return
        if self.machine is not None and element in (self.machine, self.machine.getparent()):
            self._kept(element)
            return
        parent = parent_of(element)
        if element.tag == "metadata" and parent is self.tree.root:
            # It holds the list and the record, and what other programs put there.
            for below in children(element):
                self._added(below)
            return
        if self._completed and self._is_named_by_completion(element, parent):
            self._kept(element)
            return
        self.brought.setdefault(names[0], []).append(element)
        hidden: list[str] = []
        written = self._written(element, names[0], hidden, "")
        number = self._number(element)
        entry = Entry("add", self.paths.place(parent), written, None, number, False, tuple(hidden), names[1:])
        self._put(names[0], element, entry)

    def _is_named_by_completion(self, element: Element, thing: Element) -> bool:
        """Did completion give a disk of the VM the name that stands in an element of it?"""
        from virtProfile.engine.record.locate import names_of_thing

        named = names_of_thing(element, self.paths.node(thing))
        return any(self.tree.owners(element, slot) == [COMPLETER] for slot in named)

    def _kept(self, element: Element) -> None:
        """What a completed VM keeps: of its parts each is recorded by itself, the machine is not."""
        if element is self.machine:
            return
        node = self.paths.node(element)
        others: dict[tuple[str, ...], list[_Row]] = {}
        for slot, owners in self.tree.claims.get(element, {}).items():
            if slot == PRESENCE:
                continue
            names = _profiles(owners)
            value = text_of(element) if slot == TEXT else element.get(slot[1:])
            if names and value is not None:
                others.setdefault(names, []).append((slot, None, value))
                self._varied(element, node, slot, names[0])
        if others:
            self._values(element, others)
        for below in children(element):
            if not self.tree.original(below):
                self._added(below)

    def _written(self, element: Element, name: str, hidden: list[str], path: str) -> Written:
        """What that profile wrote into an element; what others did to it is kept apart."""
        tree = self.tree
        claims = tree.claims.get(element, {})
        written = Written(element.tag, {}, None)
        others: dict[tuple[str, ...], list[_Row]] = {}
        may_hide = self._secrets or element.tag in SECRET_TAGS
        node = self.paths.node(element)
        units = None if node is None else node.unit
        for number, (unit, _) in units.items() if units else ():
            if number in claims and unit not in claims:  # libvirt wrote it: the two are one value
                claims = {**claims, unit: claims[number]}
        for slot, owners in claims.items():
            if slot == PRESENCE or THE_DEFINITION in owners:
                continue
            value = text_of(element) if slot == TEXT else element.get(slot[1:])
            names = _profiles(claims.get(self._with(element, slot), owners) if units else owners)
            if value is None or not names:
                continue
            if names[0] != name:
                others.setdefault(names, []).append((slot, None, value))
            elif may_hide and self._hide(element, slot, value):
                hidden.append(path + slot)
            else:
                _set(written, slot, value)
        for (at, slot), value in tree.rewritten.items():
            if at is element:
                _set(written, slot, value)
        if others:
            self._values(element, others)
        self._parts(element, name, hidden, path, written)
        return written

    def _parts(self, element: Element, name: str, hidden: list[str], path: str, written: Written) -> None:
        """Add to `written` what that profile put into an element."""
        tree = self.tree
        for part in tree.absent_parts.get(element, ()):
            if not self._holds_secret(part, element.tag):
                written.children.append(part)
        for below in children(element):
            if tree.original(below):
                continue
            names = _profiles(tree.owners(below, PRESENCE))
            if names and names[0] == name:
                written.children.append(self._written(below, name, hidden, f"{path}{below.tag}/"))
            elif names:
                self._added(below)

    def _holds_secret(self, part: Written, above: str) -> bool:
        values = [*(("@" + name, value) for name, value in part.attrs.items()), (TEXT, part.text)]
        if any(
            value and (is_secret_slot(above, part.tag, slot) or self.secrets.within(value))
            for slot, value in values
        ):
            return True
        return any(self._holds_secret(below, part.tag) for below in part.children)

    # --- things that were removed --------------------------------------------

    def _removed(self, element: Element, parent: Element, writers: Sequence[Writer]) -> None:
        names = _profiles(writers)
        if not names:
            return
        if element.tag == "metadata" and parent is self.tree.root:
            # the record will stand in another one
            for part in self._as_it_was(element, [], "", "domain").children:
                self._put(names[0], parent, Entry("del", "metadata", part, None, 1, False, (), names[1:]))
            return
        hidden = list(self.tree.secrets_lost.get(element, ()))
        number = self._number_before(element, parent)
        lost = len(hidden)
        written = self._as_it_was(element, hidden, "", parent.tag)
        if len(hidden) > lost:
            self._lose(element, hidden[lost:], names[0])
            if not (written.attrs or written.children or written.text):
                return  # nothing of it can come back
        place = self.paths.place(parent)
        node = self.paths.node(parent)
        kind = None if node is None else child_node(node, element.tag)
        beside = kind is not None and stood_beside(self.tree, kind, written, parent, self._alike)
        hidden_slots = tuple(dict.fromkeys(hidden))
        entry = Entry("del", place, written, None, number, False, hidden_slots, names[1:], beside)
        self._put(names[0], parent, entry)

    def _number(self, element: Element) -> int:
        """Its place among its like, from 1."""
        parent = parent_of(element)
        count = len(parent)
        if count == 1:
            return 1
        if count < _FEW:
            return [like for like in children(parent) if like.tag == element.tag].index(element) + 1
        table = self._numbers.get((parent, element.tag))
        if table is None:
            there = parent.iterchildren(element.tag)
            table = {like: number for number, like in enumerate(there, 1)}
            self._numbers[parent, element.tag] = table
        return table[element]

    def _number_before(self, element: Element, parent: Element) -> int:
        """The same of an element that was removed, as the definition has it."""
        place = (parent, element.tag)
        table = self._numbers_before.get(place)
        if table is None:
            like = [sibling for sibling in parent.iterchildren(element.tag) if self.tree.original(sibling)]
            like += self.tree.removed.below(parent, element.tag)
            like.sort(key=self.tree.order)
            table = self._numbers_before[place] = {sibling: number for number, sibling in enumerate(like, 1)}
        return table[element]

    def _as_it_was(self, element: Element, hidden: list[str], path: str, above: str) -> Written:
        """An element of the definition without its secrets; `hidden` gets their places in it."""
        tree = self.tree
        kept = tree.displaced.get(element)
        attributes = attributes_of(element) if kept is None else dict(kept[0])
        text = text_of(element) if kept is None else kept[1]
        below = [subelement for subelement in children(element) if tree.original(subelement)]
        below += tree.removed.below(element)
        below.sort(key=tree.order)
        for slot, value in [*(("@" + name, value) for name, value in attributes.items()), (TEXT, text)]:
            if value and (is_secret_slot(above, element.tag, slot) or self.secrets.within(value)):
                hidden.append(path + slot)
                attributes.pop(slot[1:], None)
                text = None if slot == TEXT else text
        inside = []
        for subelement in below:
            known = len(hidden)
            part = self._as_it_was(subelement, hidden, f"{path}{subelement.tag}/", element.tag)
            # What was nothing but its secret cannot come back: libvirt takes no empty cookie.
            if len(hidden) == known or part.attrs and part.text == text_of(subelement) or part.children:
                inside.append(part)
        return Written(element.tag, attributes, text, inside)


def _changes(before: tuple[dict[str, str], str | None], now: tuple[dict[str, str], str | None]) -> list[_Row]:
    """The values of an element (its attributes, its text) that are not as they were, those that it
    had first."""
    rows: list[_Row] = []
    if before == now:  # something was put into it
        return rows
    (attributes, text), (there, new_text) = before, now
    for name, was in attributes.items():
        if there.get(name) != was:
            rows.append(("@" + name, was, there.get(name)))
    if new_text != text:
        rows.append((TEXT, text, new_text))
    for name, value in there.items():
        if name not in attributes:
            rows.append(("@" + name, None, value))
    return rows


def _of_rows(tag: str, rows: Sequence[_Row]) -> tuple[Written, Written | None]:
    """(what was written, what was there before: None where nothing was)."""
    written, before = Written(tag, {}, None), None
    for slot, was, now in rows:
        _set(written, slot, now)
        if was is not None:
            before = before or Written(WAS, {}, None)
            _set(before, slot, was)
    return written, before


def _set(written: Written, slot: str, value: str | None) -> None:
    if value is None:
        return
    if slot == TEXT:
        written.text = value
    else:
        written.attrs[slot[1:]] = value
