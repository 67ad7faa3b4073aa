# SPDX-License-Identifier: GPL-2.0-or-later
"""After the rendering: what the profiles did to the definition, as a record.

Everything that differs from the definition, whoever did it when: what an earlier run
wrote and is still wanted stands in the new record too. Secrets do not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from .changes import BOOKKEEPER
from .companions import implied
from .provenance import THE_DEFINITION, Writer
from .record import WAS, Entry, Record, Recorded, Written
from .worktree import PRESENCE, TEXT, Element, WorkTree, text_of

if TYPE_CHECKING:
    from .locating import Located
    from .paths import Paths
    from .profile import Profile
    from .selector import Selected
    from .withdrawal import TakenBack

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
) -> Record:
    """The record of a rendered tree.

    :param before: the record that the input had, and `taken` what came of it
    :param listed: names that stand in the VM's list, `ours` those of them that we wrote
    :param secrets: values that must not be kept
    :param sketched: of a profile's name: what `vp:sketch()` is for it
    """
    collected = _Entries(tree, paths, [one for one in secrets if one])
    entries = collected.all()
    carried: dict[str, list[Entry]] = {}
    if taken is not None:
        for one in taken.kept:
            carried.setdefault(one.profile.name, []).append(one.entry)
        for one in taken.gone:
            if _still_gone(tree, one):
                entry = one.entry
                again = Entry(entry.kind, entry.at, entry.written, None, entry.number, True, (), entry.also)
                carried.setdefault(one.profile.name, []).append(again)
    profiles = []
    for chosen in selected:
        profile = chosen.profile
        params = {
            name: value
            for name, value in chosen.params.items()
            if not any(one.secret and one.name == name for one in profile.params)
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
                implied(
                    tree,
                    collected.brought.get(profile.name, ()),
                    None if before is None else before.get(profile.name),
                ),
                asks_sketch(profile) and sketched(profile.name),
            )
        )
    return Record(profiles, frozenset() if before is None else before.made, frozenset(ours))


def asks_sketch(profile: Profile) -> bool:
    """Does a condition of the profile ask whether the definition is a sketch?"""
    texts = [one.when for one in profile.actions] + [one.test for one in profile.matches]
    return any("vp:sketch(" in text for text in texts if text)


def _still_gone(tree: WorkTree, one: Located) -> bool:
    if one.entry.kind != "on":
        return one.parent is not None and tree.stands(one.parent)
    return one.element is not None and tree.stands(one.element)


def _profiles(owners: Iterable[Writer]) -> tuple[str, ...]:
    """The profiles among the owners, the deciding one first."""
    names = (one.origin.profile for one in owners if one is not THE_DEFINITION and one is not BOOKKEEPER)
    return tuple(dict.fromkeys(names))


class _Entries:
    """Collects entries by profile."""

    def __init__(self, tree: WorkTree, paths: Paths, secrets: Sequence[str]) -> None:
        self.tree = tree
        self.paths = paths
        self.secrets = secrets
        self.found: dict[str, list[tuple[int, Entry]]] = {}
        #: profile -> the elements that it added
        self.brought: dict[str, list[Element]] = {}
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

    def _put(self, profile: str, element: Element, entry: Entry) -> None:
        self.found.setdefault(profile, []).append((self._order[element], entry))

    def _hide(self, element: Element, slot: str, value: str | None) -> bool:
        if value is None:
            return False
        if self.secrets and any(one in value for one in self.secrets):
            return True
        if slot != "@passwd" and element.tag != "cookie":
            return False  # a path takes its time
        from .secrecy import is_secret

        return is_secret(self.paths.of(element, slot))

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
        old: dict[str, str | None] = {"@" + name: value for name, value in attributes.items()}
        new: dict[str, str | None] = {"@" + name: value for name, value in element.attrib.items()}
        old[TEXT], new[TEXT] = text, text_of(element)
        by_whom: dict[tuple[str, ...], list[_Row]] = {}
        for slot in dict.fromkeys([*old, *new]):
            was, now = old.get(slot), new.get(slot)
            if was != now:
                names = _profiles(tree.owners(element, self._with(element, slot)))
                if names:
                    by_whom.setdefault(names, []).append((slot, was, now))
        self._values(element, by_whom)

    def _values(self, element: Element, by_whom: Mapping[tuple[str, ...], Sequence[_Row]]) -> None:
        for names, rows in by_whom.items():
            written = Written(element.tag, {}, None)
            before = Written(WAS, {}, None)
            hidden = []
            for slot, was, now in rows:
                if self._hide(element, slot, now) or self._hide(element, slot, was):
                    hidden.append(slot if was is None else slot + "!")
                    continue
                _set(written, slot, now)
                _set(before, slot, was)
            was_there = before if before.attrs or before.text is not None else None
            at = self.paths.place(element)
            entry = Entry("on", at, written, was_there, 0, False, tuple(hidden), names[1:])
            self._put(names[0], element, entry)

    # --- things that were added ----------------------------------------------

    def _added(self, element: Element) -> None:
        names = _profiles(self.tree.owners(element, PRESENCE))
        if not names:
            return
        parent = element.getparent()
        if element.tag == "metadata" and parent is self.tree.root:
            # It holds the list and the record, and what other programs put there.
            for one in element.iterchildren("*"):
                self._added(one)
            return
        self.brought.setdefault(names[0], []).append(element)
        hidden: list[str] = []
        written = self._written(element, names[0], hidden, "")
        number = 1 + sum(1 for _ in element.itersiblings(element.tag, preceding=True))
        entry = Entry("add", self.paths.place(parent), written, None, number, False, tuple(hidden), names[1:])
        self._put(names[0], element, entry)

    def _written(self, element: Element, name: str, hidden: list[str], path: str) -> Written:
        """What that profile wrote into an element; what others did to it is told apart."""
        tree = self.tree
        claims = tree.claims.get(element, {})
        written = Written(element.tag, {}, None)
        others: dict[tuple[str, ...], list[_Row]] = {}
        for slot, owners in claims.items():
            if slot == PRESENCE or THE_DEFINITION in owners:
                continue
            value = text_of(element) if slot == TEXT else element.get(slot[1:])
            whole = self._with(element, slot)
            names = _profiles(claims.get(whole, owners))
            if value is None or not names:
                continue
            if names[0] != name:
                others.setdefault(names, []).append((slot, None, value))
            elif self._hide(element, slot, value):
                hidden.append(path + slot)
            else:
                _set(written, slot, value)
        for (at, slot), value in tree.rewritten.items():
            if at is element and not slot.endswith("/"):
                _set(written, slot, value)
        self._values(element, others)
        for one in element.iterchildren("*"):
            if tree.original(one):
                continue
            names = _profiles(tree.owners(one, PRESENCE))
            if names and names[0] == name:
                written.children.append(self._written(one, name, hidden, f"{path}{one.tag}/"))
            elif names:
                self._added(one)
        return written

    # --- things that were removed --------------------------------------------

    def _removed(self, element: Element, parent: Element, writers: Sequence[Writer]) -> None:
        names = _profiles(writers)
        if not names:
            return
        if element.tag == "metadata" and parent is self.tree.root:
            for one in self._as_it_was(element).children:  # the record will stand in another one
                self._put(names[0], parent, Entry("del", "metadata", one, None, 1, False, (), names[1:]))
            return
        like = [one for one in parent.iterchildren(element.tag) if self.tree.original(one)]
        like += [
            one
            for one, (above, _) in self.tree.removed.items()
            if above is parent and one.tag == element.tag and one is not element
        ]
        mine = self.tree.order(element)
        number = 1 + sum(1 for one in like if self.tree.order(one) < mine)
        entry = Entry("del", self.paths.place(parent), self._as_it_was(element), None, number, False, (),
                      names[1:])  # fmt: skip
        self._put(names[0], parent, entry)

    def _as_it_was(self, element: Element) -> Written:
        tree = self.tree
        kept = tree.displaced.get(element)
        attributes = dict(element.attrib) if kept is None else dict(kept[0])
        text = text_of(element) if kept is None else kept[1]
        below = [one for one in element.iterchildren("*") if tree.original(one)]
        below += [one for one, (parent, _) in tree.removed.items() if parent is element]
        below.sort(key=tree.order)
        return Written(element.tag, attributes, text, [self._as_it_was(one) for one in below])


def _set(written: Written, slot: str, value: str | None) -> None:
    if value is None:
        return
    if slot == TEXT:
        written.text = value
    else:
        written.attrs[slot[1:]] = value
