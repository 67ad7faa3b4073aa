# SPDX-License-Identifier: GPL-2.0-or-later
"""The rendered tree without somebody's own doing.

A condition is judged on what the definition and everything *else* make. Values
and elements that only its owner wants are masked, and what they displaced shows.
The owner is a profile, for conditions of one action that action.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .paths import Paths
from .provenance import THE_DEFINITION, Writer
from .worktree import PRESENCE, TEXT, Element, WorkTree

Owner = Any  # a profile's name, or a Writer


class Masks:
    """Masks of one rendering, by owner; worked out once, applied many times."""

    def __init__(self, tree: WorkTree, schema: Any) -> None:
        self.tree = tree
        self.paths = Paths(tree.root, schema)
        self._known: dict[Owner, tuple[list[tuple[Element, str]], list[Element]]] = {}

    def _only_of(self, owner: Owner) -> tuple[list[tuple[Element, str]], list[Element]]:
        """The values, and the removed elements, that only the owner wants so."""
        known = self._known.get(owner)
        if known is None:
            tree = self.tree
            profile = owner if isinstance(owner, str) else owner.origin.profile
            places = dict.fromkeys(tree.claimed_by.get(profile, ()))
            slots = [
                (element, slot)
                for element, slot in places
                if owner in _only(tree.claims.get(element, {}).get(slot, []))
            ]
            removed = [element for element, (_, writers) in tree.removed.items() if owner in _only(writers)]
            known = self._known[owner] = (slots, removed)
        return known

    @contextmanager
    def without(self, owner: Owner) -> Iterator[Element]:
        """The root of the tree while the owner's own doing is masked."""
        slots, removed = self._only_of(owner)
        if not slots and not removed:
            yield self.tree.root
            return
        undo: list[tuple[Any, ...]] = []
        try:
            for element in removed:
                self._show(element, undo)
            kept: dict[Element, list[str]] = {}
            for element, slot in slots:
                if self.tree.original(element) or not self._all_own(element, owner):
                    kept.setdefault(element, []).append(slot)
                elif slot == PRESENCE:
                    self._hide(element, undo)
            for element, masked in kept.items():
                self._mask(element, masked, undo)
            yield self.tree.root
        finally:
            for step in reversed(undo):
                _undo(step)

    def _hide(self, element: Element, undo: list[tuple[Any, ...]]) -> None:
        parent = element.getparent()
        if parent is not None:
            undo.append(("insert", parent, parent.index(element), element))
            parent.remove(element)

    def _mask(self, element: Element, slots: list[str], undo: list[tuple[Any, ...]]) -> None:
        """What the values displaced shows: the input's, or nothing."""
        tree = self.tree
        original = tree.original(element)
        undo.append(("attributes", element, element.items()))
        for slot in slots:
            if slot == PRESENCE:
                continue
            old = tree.before(element, slot) if original else None
            if slot == TEXT:
                undo.append(("text", element, element.text))
                element.text = old
            else:
                _put(element, slot[1:], old)

    def _all_own(self, element: Element, owner: Owner) -> bool:
        """Does the element stand for the owner alone?

        Defaults make no thing of which there can be many: they fill what an `add` made, and
        do not keep it standing.
        """
        claims = self.tree.claims
        node = self.paths.node(element)
        added = (
            node is not None
            and node.many
            and any(not writer.is_default for writer in claims.get(element, {}).get(PRESENCE, ()))
        )
        for one in element.iter("*"):
            for owners in claims.get(one, {}).values():
                if owner in _only(owners) or (added and all(writer.is_default for writer in owners)):
                    continue
                return False
        return True

    def _show(self, element: Element, undo: list[tuple[Any, ...]]) -> None:
        """A removed element stands again where it stood."""
        tree = self.tree
        parent = tree.removed[element][0]
        if element.getparent() is not None:
            return
        index = tree.document.index
        mine = index[element]
        position = 0
        for number, one in enumerate(parent):
            if index.get(one, -1) < mine and one in index:
                position = number + 1
        parent.insert(position, element)
        undo.append(("remove", parent, element))


def _only(owners: list[Writer]) -> tuple[Owner, ...]:
    """Who is the only owner: as a profile, and as an action where it is one alone."""
    first = owners[0] if owners else THE_DEFINITION
    if first is THE_DEFINITION:
        return ()
    if len(owners) == 1:
        return (first.origin.profile, first)
    if all(owner.origin.profile == first.origin.profile for owner in owners):
        return (first.origin.profile,)
    return ()


def _put(element: Element, name: str, value: str | None) -> None:
    if value is None:
        element.attrib.pop(name, None)
    else:
        element.set(name, value)


def _undo(step: tuple[Any, ...]) -> None:
    kind = step[0]
    if kind == "insert":
        step[1].insert(step[2], step[3])
    elif kind == "remove":
        step[1].remove(step[2])
    elif kind == "text":
        step[1].text = step[2]
    else:  # as a whole, as the order of new attributes shows in the output
        step[1].attrib.clear()
        step[1].attrib.update(step[2])
