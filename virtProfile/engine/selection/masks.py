# SPDX-License-Identifier: GPL-2.0-or-later
"""The rendered tree without somebody's own doing.

A condition is judged on what the definition and everything *else* make. Values
and elements that only its owner wants are masked, and what they displaced shows.
The owner is a profile, for conditions of one action that action.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from virtProfile.engine.tree.ownership import THE_DEFINITION, Writer
from virtProfile.engine.tree.work_tree import WorkTree, put_back
from virtProfile.format.element import PRESENCE, TEXT, Element

if TYPE_CHECKING:
    from virtProfile.engine.actions.perform import Actions

Owner: TypeAlias = "str | Writer"  # a profile's name, or a Writer
_Mask = tuple[list[Element], dict[Element, list[str]], list[Element]]


class Masks:
    """Masks of one rendering, by owner; worked out once, applied many times."""

    def __init__(self, tree: WorkTree, actions: Actions) -> None:
        self.tree = tree
        self._steps = actions.steps
        #: who displaced somebody else's wish, by profile and by action: it is not in the tree
        self._displacing: set[Owner] = set()
        for loss in actions.losses:
            for winner in loss.winners:
                if winner is not loss.loser and winner is not THE_DEFINITION:
                    self._displacing.add(winner)
                    if winner.origin.profile != loss.loser.origin.profile:
                        self._displacing.add(winner.origin.profile)
        self._known: dict[Owner, _Mask] = {}

    def _only_of(self, owner: Owner) -> _Mask:
        """The elements to hide, values to mask and removed elements to show, that only the owner wants so."""
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
            hidden: list[Element] = []
            kept: dict[Element, list[str]] = {}
            whole: dict[Element, bool] = {}
            for element, slot in slots:
                if element not in whole:
                    whole[element] = not tree.original(element) and self._all_own(element, owner)
                if not whole[element]:
                    kept.setdefault(element, []).append(slot)
                elif slot == PRESENCE:
                    hidden.append(element)
            known = self._known[owner] = (hidden, kept, removed)
        return known

    def exact(self, owner: Owner) -> bool:
        """Does masking show what would stand there without the owner?

        Not where a wish of somebody else has lost to it, or stands inside of what it made,
        or a default of somebody else speaks of the same place: who yields leaves no trace.
        Nor where somebody else made what the owner had removed: it would have found that.
        """
        if owner in self._displacing:
            return False
        hidden, kept, removed = self._only_of(owner)
        lists = dict.fromkeys((self.tree.removed[element][0], element.tag) for element in removed)
        own_made = set(hidden)
        for parent, tag in lists:
            for sibling in parent.iterchildren(tag):
                if sibling not in own_made and not self.tree.original(sibling):
                    return False
        if any(not self.tree.original(element) for element in kept):
            return False
        own = [step for step in self._steps if _is_of(step.writer, owner)]
        for step in self._steps:
            if step.writer.is_default and not _is_of(step.writer, owner):
                for want in step.wants():
                    theirs, above = _places(want)
                    for own_step in own:
                        if own_step.select is not None:
                            return False  # it may lead anywhere
                        for places, up in map(_places, own_step.wants()):
                            if not places.isdisjoint(above) or not up.isdisjoint(theirs):
                                return False
        return True

    @contextmanager
    def without(self, owner: Owner) -> Iterator[Element]:
        """The root of the tree while the owner's own doing is masked."""
        hidden, kept, removed = self._only_of(owner)
        if not hidden and not kept and not removed:
            yield self.tree.root
            return
        undo: list[tuple[Any, ...]] = []
        try:
            for element in removed:
                self._show(element, undo)
            for element in hidden:
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
        claims = self.tree.claims
        seen = None  # what was made together has one list
        for part in element.iter("*"):
            for owners in claims.get(part, {}).values():
                if owners is not seen:
                    if owner not in _only(owners):
                        return False
                    seen = owners
        return True

    def _show(self, element: Element, undo: list[tuple[Any, ...]]) -> None:
        """A removed element stands again where it stood."""
        tree = self.tree
        parent = tree.removed[element][0]
        if element.getparent() is not None:
            return
        if element in tree.document.index:
            put_back(element, parent, tree.document.elements, tree.document.index[element])
        else:  # of the definition, that is put back from the record
            put_back(element, parent, tree.definition, tree.order(element))
        undo.append(("remove", parent, element))


def _is_of(writer: Writer, owner: Owner) -> bool:
    return writer is owner or writer.origin.profile == owner


_places_known: dict[int, tuple[Any, tuple[frozenset[str], frozenset[str]]]] = {}


def forget() -> None:
    """Drop what is known of wishes, which hold the values of calls."""
    _places_known.clear()


def _places(want: Any) -> tuple[frozenset[str], frozenset[str]]:
    """The paths that a wish speaks of; these with all above them, below the sections."""
    known = _places_known.get(id(want))
    if known is None or known[0] is not want:
        paths: set[str] = set()
        stack = [want]
        while stack:
            wish = stack.pop()
            paths.update(leaf.full for leaf in wish.leaves)
            if not wish.leaves and not wish.groups and wish.node.path:
                paths.add(wish.node.path)
            stack.extend(inner for group in wish.groups for inner in group.wants)
        above = {"/".join(parts[:count]) for parts in (path.split("/") for path in paths) for count in
                 range(1, len(parts) + 1)}  # fmt: skip
        if len(_places_known) > 4096:
            _places_known.clear()
        known = _places_known[id(want)] = (want, (frozenset(paths), frozenset(above)))
    return known[1]


def _only(owners: list[Writer]) -> tuple[Owner, ...]:
    """Who is the only owner: as a profile, and as an action where it is one alone."""
    first = owners[0] if owners else THE_DEFINITION
    if first is THE_DEFINITION:
        return ()
    profile, action = first.origin.profile, first.cause
    if len(owners) == 1:
        return (profile, action)
    if all(owner.origin.profile == profile for owner in owners):
        return (profile, action) if all(owner.cause is action for owner in owners) else (profile,)
    return ()


def _put(element: Element, name: str, value: str | None) -> None:
    if value is None:
        element.attrib.pop(name, "")
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
