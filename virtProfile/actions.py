# SPDX-License-Identifier: GPL-2.0-or-later
"""add, remove and default on the work tree: the middle of the flow.

`Actions` renders writers in the order the engine gives them: highest priority
first, defaults last. What a `remove` made absent stays absent against weaker
writers: its `Absence` is asked after each later action.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import CardinalityError, ProfileError
from .finding import (
    State,
    assign,
    candidates,
    container,
    exactly,
    key_equal,
    leaf_element,
    leaf_state,
    read,
    runs,
    state_on,
)
from .intents import attribute
from .meeting import Loss, Lost, is_foreign
from .profile import Kind, Multiple
from .provenance import THE_DEFINITION, Writer
from .removing import Absence, Removing, flat
from .worktree import PRESENCE, Element

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .profile import Action
    from .wants import Group, Leaf, Want


class Actions(Removing):
    """Carries out actions; see `Meeting` for single values and the book."""

    def __init__(self, tree: Any, schema: Any) -> None:
        super().__init__(tree, schema)
        self.errors: list[CardinalityError] = []
        #: devices that cannot be made to work
        self.unmet: list[ProfileError] = []
        #: what was carried out, in order
        self.steps: list[Any] = []

    def act(self, action: Action, want: Want | None, select: Any, writer: Writer) -> None:
        """Carry out one action.

        :param want: its branches, compiled; None for ``select=``
        :param select: for ``select=``: a function from the root to XPath results

        ``multiple='yes'`` of what can be only one goes to `errors`.
        """
        mark = self.tree.mark()
        if want is not None:
            self.wishes += _count(want)
        else:
            self.wishes += 1
        if action.kind == Kind.REMOVE:
            self._remove(Absence(writer, want, select))
            return
        assert want is not None
        if action.kind == Kind.DEFAULT:
            self._default(want, writer)
        else:
            if action.multiple == Multiple.YES and not _can_be_many(want):
                self.errors.append(_cardinality(action, want))
                return
            self._scope(self.tree.root, want, writer, action.multiple)
        self._mind_absences(mark, writer)

    # --- add -----------------------------------------------------------------

    def _scope(
        self, thing: Element, want: Want, writer: Writer, multiple: Multiple, firm: bool = True
    ) -> None:
        lost = Lost()
        losses = len(self.losses)
        for leaf in want.leaves:
            if not lost.entries or not lost.covers(leaf.path):
                self.wish(thing, leaf, writer, lost)
        if want.intents:
            # A thing that is like the wish, and kept what it is, is not the thing that was meant.
            lost_here = [] if firm else self.losses[losses:]
            self._intents(thing, want, writer, lost_here)
        for group in want.groups:
            if lost.entries and lost.covers(group.path):
                continue
            if group.node.key_class == "O":
                self._ordered(thing, group, writer, multiple)
            elif is_foreign(group.node):
                self._foreign(thing, group, writer, multiple)
            else:
                self._group(thing, group, writer, multiple)

    def _group(self, thing: Element, group: Group, writer: Writer, multiple: Multiple) -> None:
        there = candidates(thing, group)
        append = [want for want in group.wants if multiple == Multiple.YES and want.lowest]
        if append:
            for want in append:
                if group.node.key_class == "E" and any(key_equal(one, want) for one in there):
                    self.errors.append(
                        CardinalityError(
                            f"multiple='yes' of '{group.node.path}', of which there can be only"
                            " one with the same key",
                            hint="without multiple='yes' the one that is there is used",
                            where=f"{writer.origin.file}:{want.line}",
                        )
                    )
                    continue
                self._append(thing, group, want, writer)
            if len(append) == len(group.wants):
                return
        for found in assign(group, there):
            if found.want in append:
                continue
            usable = found.element is not None and (
                found.firm or found.state <= State.GAP or multiple == Multiple.NO
            )
            if usable:
                self._scope(found.element, found.want, writer, multiple, found.firm)
            else:
                self._append(thing, group, found.want, writer)

    def _intents(self, thing: Element, want: Want, writer: Writer, lost: Sequence[Loss]) -> None:
        for intent in want.intents:
            element = container(thing, intent.tags)
            if element is None:
                continue
            if lost:
                self.wishes += 1
                self.lose(element, attribute(intent.name), intent.value, None, writer, lost[0].winners)
            else:
                self.intend(element, intent.name, intent.value, intent.line, writer)

    def _append(self, thing: Element, group: Group, want: Want, writer: Writer) -> None:
        if self.tree.missed and self.way_is_out(thing, group.way, want.tag, writer):
            return
        parent, node = self._container(thing, group, writer)
        self.create(parent, node, want, writer)

    def _container(self, thing: Element, group: Group, writer: Writer) -> tuple[Element, Any]:
        return self.chain(thing, group.way, writer), group.node.parent

    def _ordered(self, thing: Element, group: Group, writer: Writer, multiple: Multiple) -> None:
        """An ordered list without keys is one thing: there as a run, or appended whole."""
        there = candidates(thing, group)
        if multiple == Multiple.NO and there:
            if len(there) == len(group.wants) and runs(there, group):
                self._own_run(there, group, writer)
                return
            owners = {owner: True for one in there for owner in self.tree.subtree_owners(one)}
            ranked = sorted(owners, key=lambda owner: -owner.priority)
            if not self.beats(writer, ranked):
                wanted, has = _spell(group), " ".join(flat(one) for one in there)
                self.lose(there[0].getparent(), group.tag, wanted, has, writer, ranked)
                return
            for one in there:
                self.tree.remove(one, [writer])
        elif multiple != Multiple.YES:
            found = runs(there, group)
            if found:
                self._own_run(found[0], group, writer)
                return
        for want in group.wants:
            self._append(thing, group, want, writer)

    def _own_run(self, run: list[Element], group: Group, writer: Writer) -> None:
        for one, want in zip(run, group.wants, strict=True):
            for leaf in want.leaves:
                element = leaf_element(one, leaf)
                self.tree.claim(element, leaf.slot, writer)
            self.tree.claim(one, PRESENCE, writer)
            for intent in want.intents:
                self.intend(one, intent.name, intent.value, intent.line, writer)
        self.effective.add(writer)

    def _foreign(self, thing: Element, group: Group, writer: Writer, multiple: Multiple) -> None:
        """Inside foreign metadata an element is there, wholly equal, or appended."""
        free = candidates(thing, group)
        for want in group.wants:
            same = None
            if multiple != Multiple.YES:
                same = next((one for one in free if exactly(one, want)), None)
            if same is None:
                self._append(thing, group, want, writer)
            else:
                free.remove(same)
                self.tree.claim(same, PRESENCE, writer)
                self.effective.add(writer)

    # --- default -------------------------------------------------------------

    def _default(self, want: Want, writer: Writer) -> None:
        lost = Lost()
        for leaf in want.leaves:
            if not lost.covers(leaf.path):
                self._default_leaf(self.tree.root, leaf, writer, lost)
        for group in want.groups:
            if not lost.covers(group.path):
                self._default_group(self.tree.root, group, writer)

    def _default_leaf(self, thing: Element, leaf: Leaf, writer: Writer, lost: Lost) -> None:
        """A value outside of any many-element: filled where there is none."""
        element, missing = self.reach(thing, leaf.tags)
        if missing:
            if any(stage.node.many for stage in leaf.way[len(leaf.way) - missing :]):
                return  # nothing is made for the sake of a many-element
            if not self.excluded(thing, leaf, writer):
                element = self.make_chain(element, leaf, missing, writer)
                if leaf.slot != PRESENCE:
                    self.write(element, leaf, writer)
                self.effective.add(writer)
            return
        state = state_on(element, leaf)
        if state is State.DIFFERS:
            lost.note(leaf)
            self._report_default(thing, element, leaf, writer)
        elif state is State.GAP:
            if self.excluded(thing, leaf, writer):
                lost.note(leaf)
                return
            self.write(element, leaf, writer)
            self.effective.add(writer)
        else:
            self._hold_default(element, leaf, writer)

    def _hold_default(self, element: Element, leaf: Leaf, writer: Writer) -> None:
        for owner in self.tree.owners(element, leaf.slot):
            if not owner.is_default:
                break
        else:
            self.tree.claim(element, leaf.slot, writer)
        self.effective.add(writer)

    def _report_default(self, thing: Element, element: Element, leaf: Leaf, writer: Writer) -> None:
        """Another value stands where the default would have filled a gap."""
        owners = self.tree.owners(element, leaf.slot)
        if self._was_gap(thing, element, leaf.slot, owners) and (owners[0].is_default or writer.hard):
            has, _ = read(element, leaf.slot, leaf.node)
            self.lose(element, leaf.slot, leaf.value, has, writer, owners)

    def _was_gap(self, thing: Element, element: Element, slot: str, owners: list[Writer]) -> bool:
        """Was the value open before the profile that gives it gave it?"""
        if THE_DEFINITION in owners:
            return False
        if self.tree.original(element):
            return self.tree.before(element, slot) is None
        if self.tree.original(thing):
            return True
        makers = self.tree.claims.get(thing, {}).get(PRESENCE, [])
        return not any(owner in makers for owner in owners)

    def reach_new(self, things: Sequence[Element]) -> None:
        """Let the defaults reach things that were made since they were carried out."""
        for step in self.steps:
            if step.action.kind != Kind.DEFAULT:
                continue
            mark = self.tree.mark()
            for group in step.want.groups:
                if group.node.key_class == "O" or is_foreign(group.node):
                    continue
                parent = container(self.tree.root, group.tags)
                for one in things:
                    if one.tag == group.tag and one.getparent() is parent:
                        for want in group.wants:
                            self._default_thing(one, want, step.writer)
            self._mind_absences(mark, step.writer)

    def _default_group(self, thing: Element, group: Group, writer: Writer) -> None:
        if group.node.key_class == "O" or is_foreign(group.node):
            return
        found = candidates(thing, group)
        for one in found:
            for want in group.wants:
                if len(found) == 1 or not _would_name(one, want):
                    self._default_thing(one, want, writer)

    def _default_thing(self, thing: Element, want: Want, writer: Writer) -> None:
        """Fill the gaps of a thing that fits the rest of the wish."""
        held: list[tuple[Element, Leaf]] = []
        gaps: list[tuple[Element, int, Leaf]] = []
        differing: list[tuple[Element, Leaf]] = []
        for tags, leaves in want.places:
            element, missing = self.reach(thing, tags)
            for leaf in leaves:
                state = State.GAP if missing else state_on(element, leaf)
                if state is State.GAP:
                    gaps.append((element, missing, leaf))
                elif state is State.HOLDS:
                    held.append((element, leaf))
                else:
                    differing.append((element, leaf))
        if differing:
            for element, leaf in differing:
                if not self._was_gap(thing, element, leaf.slot, self.tree.owners(element, leaf.slot)):
                    return
            for element, leaf in differing:
                self._report_default(thing, element, leaf, writer)
            return
        for element, leaf in held:
            self._hold_default(element, leaf, writer)
        excludes = self.excludes
        for element, missing, leaf in gaps:
            if leaf.full in excludes and self.excluded(thing, leaf, writer):
                continue
            if missing:
                element, missing = self.reach(thing, leaf.tags)  # a leaf before may have made some
                element = self.make_chain(element, leaf, missing, writer)
            if leaf.slot != PRESENCE:
                self.write(element, leaf, writer)
            self.effective.add(writer)
        for group in want.groups:
            self._default_group(thing, group, writer)


def _would_name(thing: Element, want: Want) -> bool:
    """Would the wish give a thing its identity, which only one of several can have?"""
    return want.node.key_class == "E" and any(
        leaf_state(thing, leaf) is State.GAP for leaf in want.keys.values()
    )


def _count(want: Want) -> int:
    return len(want.leaves) + sum(inner.count() for group in want.groups for inner in group.wants)


def _can_be_many(want: Want) -> bool:
    return bool(want.groups) and not want.leaves


def _cardinality(action: Action, want: Want) -> CardinalityError:
    leaf = want.leaves[0] if want.leaves else None
    return CardinalityError(
        f"multiple='yes' of '{leaf.full if leaf is not None else 'domain'}', of which there can be only one",
        hint="leave multiple out, or use multiple='no' to override",
        where=f"{action.file}:{leaf.line if leaf is not None else action.line}",
    )


def _spell(group: Group) -> str:
    words = []
    for want in group.wants:
        values = [
            f"{leaf.slot[1:]}='{leaf.value}'" if leaf.slot[0:1] == "@" else (leaf.value or "")
            for leaf in want.leaves
        ]
        words.append(" ".join(values))
    return " ".join(words)
