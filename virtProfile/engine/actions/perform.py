# SPDX-License-Identifier: GPL-2.0-or-later
"""add, remove and default on the work tree: the middle of the flow.

`Actions` renders writers in the order the engine gives them: highest priority
first, defaults last. What a `remove` made absent stays absent against weaker
writers: its `Absence` is asked after each later action.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from virtProfile.engine.actions import single
from virtProfile.engine.actions.arbiter import Arbiter, Loss, Lost, has_unit, is_foreign, with_unit
from virtProfile.engine.actions.boots import Boots
from virtProfile.engine.actions.match import (
    Found,
    State,
    assign,
    candidates,
    exactly,
    key_equal,
    leaf_element,
    leaf_state,
    runs,
    spelled,
    state_on,
)
from virtProfile.engine.actions.misfits import Misfits
from virtProfile.engine.actions.remove import Absence, Hit, Remover, flat
from virtProfile.engine.actions.restore import Restorer
from virtProfile.engine.actions.whole import Unit, Whole
from virtProfile.engine.tree.ownership import THE_DEFINITION, Writer
from virtProfile.errors import CardinalityError, ProfileError
from virtProfile.format.element import PRESENCE, TEXT, Element, container, parent_of, read
from virtProfile.language.directives import attribute
from virtProfile.language.profile import Kind, Multiple
from virtProfile.language.wishes import Leaf, Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtProfile.engine.actions.step import Step
    from virtProfile.engine.tree.names import Name, Names
    from virtProfile.engine.tree.work_tree import WorkTree
    from virtProfile.format.schema import Node, Schema
    from virtProfile.language.profile import Action, Snippet
    from virtProfile.language.wishes import Group, Want


class Actions:
    """Carries out actions, and knows what came of them.

    The book of the `Arbiter` (`losses`, `effective`, `directives`) and the `absences` of the
    `Remover` are theirs, and seen here by who works on a rendering.
    """

    def __init__(self, tree: WorkTree, schema: Schema) -> None:
        self.tree = tree
        self.schema = schema
        self.arbiter = Arbiter(tree, schema)
        self.restorer = Restorer(self.arbiter)
        self.remover = Remover(self.arbiter)
        self.boots = Boots(self.arbiter)
        self.losses = self.arbiter.losses
        self.effective = self.arbiter.effective
        self.intents = self.arbiter.intents
        self.absences = self.remover.absences
        self.errors: list[CardinalityError] = []
        #: devices that cannot be made to work
        self.unmet: list[ProfileError] = []
        self.whole = Whole(self.arbiter, self.remover)
        #: what was carried out, in order
        self.steps: list[Step] = []
        #: actions for elements that are not there yet
        self._late: dict[Unit, bool] = {}
        self._late_by_name: dict[Name | None, list[tuple[int, Unit]]] | None = None
        #: how the tree stood when these were looked for, and by which names
        self._reached: tuple[int, object] = (-1, None)
        self._reached_names: Names | None = None
        self._known_names: Names | None = None
        self.misfits = Misfits(self.arbiter, self.remover, self.whole)

    def act(self, step: Step) -> None:
        """Carry out one action; ``multiple='yes'`` of what can be only one goes to `errors`."""
        if step.targets is None:
            self._unit(Unit(step, None, step.want, None))
        else:
            self._each(step)
        self.reach_late()

    def _each(self, step: Step) -> None:
        """Carry out an action for the elements that are there; for the others when they come."""
        self._late = {unit: True for unit in self._late if unit.step is not step}
        self._late_by_name = None
        names = self._names()
        with self.remover.selections_together(step.writer):
            for name, want in step.targets or ():
                thing = names.find(name)
                if thing is not None:
                    self._unit(Unit(step, name, want, thing))
                elif step.action.kind == Kind.REMOVE and self.remover.join_removal(name, want, step.writer):
                    continue
                else:
                    self._late[Unit(step, name, want, None)] = True

    def reach_late(self) -> None:
        """Let actions for each element reach those that were made since."""
        while self._late and self.tree.mark() != self._reached[0]:
            before, known = self._reached, self._reached_names
            self._reached, self._reached_names = self.tree.stamp(), self._names()
            names = self._reached_names
            made = self.tree.made_since(before) if names is known else None
            for _, units in groupby(self._waiting(names, made), lambda unit: id(unit.step)):
                self._reach(list(units), names)

    def _waiting(self, names: Names, made: Sequence[Element] | None) -> list[Unit]:
        """What waits for elements, in order.

        :param made: the elements that are new; None where others may be there again too
        """
        if made is None:
            return list(self._late)
        if self._late_by_name is None:
            self._late_by_name = {}
            for number, unit in enumerate(self._late):
                self._late_by_name.setdefault(self._whole_name(unit.name), []).append((number, unit))
        wanted = [None, *(names.of(element) for element in made)]
        found = [row for name in wanted for row in self._late_by_name.get(name, ()) if row[1] in self._late]
        return [unit for _, unit in sorted(found, key=itemgetter(0))]

    @staticmethod
    def _whole_name(name: Name | None) -> Name | None:
        """A name; None for one of a part of something that was made, which may be there any time."""
        return None if isinstance(name, tuple) and len(name) == 3 else name

    def _names(self) -> Names:
        """The names of what stands now."""
        if self._known_names is None or not self._known_names.keep_up():
            from virtProfile.engine.tree.names import Names

            self._known_names = Names(self.tree)
        return self._known_names

    def _reach(self, units: Sequence[Unit], names: Names) -> None:
        """Carry out what waited, of one step, for the elements that are there now."""
        with self.remover.selections_together(units[0].step.writer):
            for unit in units:
                assert unit.name is not None, "only what has an each= waits"
                unit.thing = names.find(unit.name)
                if unit.thing is not None:
                    del self._late[unit]
                    self._unit(unit)

    def _unit(self, unit: Unit) -> None:
        """An action, or what it does to one of its elements."""
        self.arbiter.wishes[unit.step.writer] += 1 if unit.want is None else _count(unit.want)
        if unit.step.action.whole:
            misfits, known = len(self.misfits), len(self.losses)
            again = partial(self.whole.carry_out, unit, self._carry_out)
            again()
            self.misfits.forget_since(misfits)  # it is all or nothing
            thing = self.tree.root if unit.thing is None else unit.thing
            self.misfits.note(again, thing, unit.step.writer, self.losses[known:])
        else:
            self._carry_out(unit)

    def _carry_out(self, unit: Unit) -> None:
        action, writer, want = unit.step.action, unit.step.writer, unit.want
        mark, was_effective = self.tree.mark(), writer in self.effective
        if action.kind == Kind.REMOVE:
            self.remover.remove(Absence(writer, want, unit.step.select, unit.thing))
            return
        assert want is not None
        thing = self.tree.root if unit.thing is None else unit.thing
        if action.kind == Kind.DEFAULT:
            if unit.thing is None:
                self._default(want, writer)
            else:
                self._default_element(thing, want, writer)
        else:
            if action.multiple == Multiple.YES and not _can_be_many(want, unit.thing is not None):
                self.errors.append(_cardinality(action, want))
                return
            self._scope(thing, want, writer, action.multiple)
        self.remover.mind_absences(mark, writer)
        taken = self.boots.mind(mark, unit.step)
        if (taken or not want.groups) and taken == _count(want) and not was_effective:
            self.effective.discard(writer)  # all that it wrote was taken back

    # --- for who works on a rendering -------------------------------------------

    @property
    def wishes(self) -> int:
        """How many wishes there are. What lost is counted by the values that are reported, of which one
        element that a snippet asks for, or one `remove`, can have several."""
        lost = Counter(loss.loser for loss in self.losses)
        return (self.arbiter.wishes | lost).total()

    def hits(self, absence: Absence) -> list[Hit]:
        """Everything that a `remove` matches now."""
        return self.remover.hits(absence)

    def barring(self, made: Element) -> Absence | None:
        """The `remove` that matches an element that was just made."""
        return self.remover.barring(made)

    def build(self, parent: Element, snippet: Snippet, writer: Writer) -> Element:
        """A new element as a snippet spells it, not yet in the tree."""
        return self.arbiter.build(parent, snippet, writer)

    def bring_back(self, element: Element, node: Node, snippet: Snippet, writer: Writer) -> None:
        """The buried element stands again, and says what the snippet says."""
        self.restorer.bring_back(element, node, snippet, writer)

    # --- add -----------------------------------------------------------------

    def _scope(
        self, thing: Element, want: Want, writer: Writer, multiple: Multiple, firm: bool = True
    ) -> None:
        lost = Lost()
        losses = len(self.losses)
        for leaf in want.leaves:
            if not lost.paths or not lost.covers(leaf.path):
                self._wish(thing, leaf, writer, lost)
        if want.intents:
            # A thing that is like the wish, and kept what it is, is not the thing that was meant.
            lost_here = [] if firm else self.losses[losses:]
            self._intents(thing, want, writer, lost_here)
        for group in want.groups:
            if lost.paths and lost.covers_in(group):
                continue
            if group.node.key_class == "O":
                self._ordered(thing, group, writer, multiple)
            elif is_foreign(group.node):
                self._foreign(thing, group, writer, multiple)
            else:
                self._group(thing, group, writer, multiple)
        if self.arbiter.thinned:
            self.arbiter.tidy(writer)

    def _fill(
        self, thing: Element, leaf: Leaf, writer: Writer, lost: Lost, for_many: bool
    ) -> tuple[Element, State] | None:
        """Fill the gap where nothing stands; else the element of a leaf, and what stands there.

        :param for_many: also an element of which there may be many is made for its sake
        """
        element, missing = self.arbiter.reach(thing, leaf.tags)
        if missing:
            if not for_many and any(stage.node.many for stage in leaf.way[len(leaf.way) - missing :]):
                return None
            varies = leaf.slot in leaf.node.variants
            if varies and self._is_blocked(element, leaf, writer, missing):
                lost.note(leaf, "")
            elif not self.restorer.excluded(thing, leaf, writer):
                element = self.restorer.make_chain(element, leaf, missing, writer)
                if varies and for_many:
                    self.arbiter.drop_variant(element, leaf, "", writer)
                if leaf.slot != PRESENCE:
                    self.arbiter.write(element, leaf, writer)
                self.effective.add(writer)
            return None
        state = state_on(element, leaf)
        if state is not State.GAP:
            return element, state
        is_kept_out = self._is_blocked if for_many else self._is_open_to_none
        if self.restorer.excluded(thing, leaf, writer) or is_kept_out(element, leaf, writer):
            lost.note(leaf, None)
        else:
            if for_many:
                self.arbiter.drop_variant(element, leaf, "", writer)
            self.arbiter.write(element, leaf, writer)
            self.effective.add(writer)
        return None

    def _wish(self, thing: Element, leaf: Leaf, writer: Writer, lost: Lost) -> None:
        """One value of an `add`: co-own it, fill the gap, or let the priorities decide."""
        known = len(self.losses)
        there = self._fill(thing, leaf, writer, lost, for_many=True)
        if there is None:
            if len(self.losses) > known:
                again = partial(self._wish, thing, leaf, writer, Lost())
                self.misfits.note(again, thing, writer, self.losses[known:])
            return
        element, state = there
        if state is State.HOLDS:
            self.tree.claim(element, leaf.slot, writer)
            self.effective.add(writer)
        else:
            owners = self.tree.owners(element, leaf.slot)
            old, _ = read(element, leaf.slot, leaf.node)
            if self.arbiter.beats(writer, owners):
                if self._is_blocked(element, leaf, writer):
                    lost.note(leaf, old)
                    return
                if leaf.slot in leaf.node.dependents or leaf.slot in leaf.node.variants:
                    self.arbiter.drop_variant(element, leaf, old or "", writer)
                self.arbiter.write(element, leaf, writer)
                self.effective.add(writer)
                self.arbiter.displace(element, leaf.slot, has_unit(element, leaf, old), owners, writer)
            else:
                self.arbiter.lose(
                    element, leaf.slot, with_unit(leaf), has_unit(element, leaf, old), writer, owners
                )
                lost.note(leaf, old)

    def _is_blocked(self, element: Element, leaf: Leaf, writer: Writer, missing: int = 0) -> bool:
        """Does a part stay that the wanted variant does not allow? Then the variant is lost to it.

        :param element: of the leaf, or the last one on the way to it that is there
        :param missing: how many elements are missing on that way
        """
        found = self.arbiter.blocking(element, leaf, writer, missing)
        if found is None:
            return False
        if missing and writer.is_default and not writer.hard:
            return True  # a default leaves it
        has = None if missing else read(element, leaf.slot, leaf.node)[0]
        slot = "/".join((*leaf.tags[len(leaf.tags) - missing :], leaf.slot))
        note = f"{found[0]} is there, which excludes it"
        self.arbiter.lose(element, slot, leaf.value, has, writer, found[1], note)
        return True

    def _group(self, thing: Element, group: Group, writer: Writer, multiple: Multiple) -> None:
        there = candidates(thing, group)
        parent = container(thing, group.tags)
        parts = None
        if parent is not None and group.node.singles:
            parts = single.parts_of_one(group, parent)
        append = [want for want in group.wants if multiple == Multiple.YES and want.lowest]
        if append:
            for want in append:
                if (
                    parts is not None and parent is not None and single.is_taken(parent, want, there, parts)
                ) or (group.node.key_class == "E" and any(key_equal(element, want) for element in there)):
                    self.errors.append(
                        CardinalityError(
                            f"multiple='yes' of '{group.node.path}', of which there can be only"
                            " one with the same key",
                            hint="omit multiple='yes' to use the element that is there",
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
            if parts is not None:
                self._single(thing, group, found, parts, writer, multiple)
                continue
            if found.firm and found.state is State.CONTRADICTS and group.node.keyed_conflict:
                self._two_of_a_key(found, writer)
                continue
            usable = found.firm or found.state <= State.GAP or multiple == Multiple.NO
            if usable and found.element is not None:
                self._scope(found.element, found.want, writer, multiple, found.firm)
            else:
                self._append(thing, group, found.want, writer)

    def _single(
        self,
        thing: Element,
        group: Group,
        found: Found,
        parts: Sequence[str],
        writer: Writer,
        multiple: Multiple,
    ) -> None:
        """The wish sets the element that is there, as no second one may stand beside it."""
        parent = container(thing, group.tags)
        assert parent is not None  # it has such elements, or may have
        element = found.element
        if element is None or found.state is not State.HOLDS:
            element = single.rival(found.want, candidates(thing, group), parts)
        if element is None:
            if not single.kept_by_parent(self.arbiter, parent, found.want, writer):
                self._append(thing, group, found.want, writer)
                made = next(iter(candidates(thing, group)[-1:]), None)
                if made is not None:
                    single.follow(self.arbiter, parent, made, group.node, writer)
            return
        self._scope(element, found.want, writer, multiple)
        single.follow(self.arbiter, parent, element, group.node, writer)

    def _two_of_a_key(self, found: Found, writer: Writer) -> None:
        """What is wanted is another thing than what has its key: at no priority can both be there."""
        assert found.element is not None
        for leaf in found.want.binding:
            if leaf_state(found.element, leaf) is State.DIFFERS:
                element, _ = self.arbiter.reach(found.element, leaf.tags)
                has, _ = read(element, leaf.slot, leaf.node)
                owners = self.tree.owners(element, leaf.slot)
                self.arbiter.lose(
                    element, leaf.slot, leaf.value, has, writer, owners, "another thing has its key"
                )
                loss = self.losses[-1]
                loss.conflict = loss.final = True

    def _intents(self, thing: Element, want: Want, writer: Writer, lost: Sequence[Loss]) -> None:
        for intent in want.intents:
            element = container(thing, intent.tags)
            if element is None:
                continue
            if lost:
                self.arbiter.wishes[writer] += 1
                self.arbiter.lose(
                    element, attribute(intent.name), intent.value, None, writer, lost[0].winners
                )
            else:
                self.arbiter.intend(element, intent.name, intent.value, intent.line, writer)

    def _append(self, thing: Element, group: Group, want: Want, writer: Writer) -> None:
        if self.tree.missed and self.restorer.way_is_out(thing, group.way, want.tag, writer):
            return
        if self._list_excluded(thing, group, want, writer):
            return
        if self.schema.belongs(group.node.path):
            way = (*group.way, Stage(group.tag, group.node, None))
            if self.arbiter.unfit(thing, Leaf(way, group.node, PRESENCE, None, want.line), writer):
                return
        parent = self.restorer.chain(thing, group.way, writer)
        self.restorer.create(parent, group.node.parent, want, writer)

    def _list_excluded(self, thing: Element, group: Group, want: Want, writer: Writer) -> bool:
        """Is a list that would have to be made for the thing excluded by something that stands?"""
        for depth, stage in enumerate(group.way, 1):
            path = stage.node.path
            decided = path in self.arbiter.excludes or self.schema.belongs(path)
            if decided and container(thing, group.tags[:depth]) is None:
                made = Leaf(group.way[:depth], stage.node, PRESENCE, None, want.line)
                if self.arbiter.excluded(thing, made, writer):
                    return True
        return False

    def _ordered(self, thing: Element, group: Group, writer: Writer, multiple: Multiple) -> None:
        """An ordered list without keys is one thing: there as a run, or appended whole."""
        there = candidates(thing, group)
        if multiple == Multiple.NO and there:
            if len(there) == len(group.wants) and runs(there, group):
                self._own_run(there, group, writer)
                return
            owners = {owner: True for element in there for owner in self.tree.subtree_owners(element)}
            ranked = sorted(owners, key=lambda owner: -owner.priority)
            if not self.arbiter.beats(writer, ranked):
                wanted, has = spelled(group), " ".join(flat(element) for element in there)
                self.arbiter.lose(parent_of(there[0]), group.tag, wanted, has, writer, ranked)
                return
            for element in there:
                self.tree.remove(element, [writer])
        elif multiple != Multiple.YES:
            found = runs(there, group)
            if found:
                self._own_run(found[0], group, writer)
                return
        for want in group.wants:
            self._append(thing, group, want, writer)

    def _own_run(self, run: list[Element], group: Group, writer: Writer) -> None:
        for thing, want in zip(run, group.wants, strict=True):
            for leaf in want.leaves:
                element = leaf_element(thing, leaf)
                assert element is not None  # the run holds
                self.tree.claim(element, leaf.slot, writer)
            self.tree.claim(thing, PRESENCE, writer)
            for intent in want.intents:
                self.arbiter.intend(thing, intent.name, intent.value, intent.line, writer)
        self.effective.add(writer)

    def _foreign(self, thing: Element, group: Group, writer: Writer, multiple: Multiple) -> None:
        """Inside foreign metadata an element is there, wholly equal, or appended."""
        free = candidates(thing, group)
        for want in group.wants:
            same = None
            if multiple != Multiple.YES:
                same = next((element for element in free if exactly(element, want)), None)
            if same is None:
                self._append(thing, group, want, writer)
            else:
                free.remove(same)
                self.tree.claim(same, PRESENCE, writer)
                self.effective.add(writer)

    # --- default -------------------------------------------------------------

    def _default_element(self, thing: Element, want: Want, writer: Writer) -> None:
        """Fill each gap of one element, and its lists that have no member yet."""
        lost = Lost()
        for leaf in want.leaves:
            if not lost.covers(leaf.path):
                self._default_leaf(thing, leaf, writer, lost)
        for group in want.groups:
            if lost.covers(group.path):
                continue
            if candidates(thing, group) or group.node.respelled:
                self._default_group(thing, group, writer)
            else:
                for wanted in group.wants:
                    self._append(thing, group, wanted, writer)

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
        there = self._fill(thing, leaf, writer, lost, for_many=False)
        if there is None:
            return
        element, state = there
        if state is State.DIFFERS:
            lost.note(leaf, read(element, leaf.slot, leaf.node)[0])
            self._report_default(thing, element, leaf, writer)
        else:
            self._hold_default(element, leaf, writer)

    def _is_open_to_none(self, element: Element, leaf: Leaf, writer: Writer) -> bool:
        """Does something stand beside the gap that the value does not allow? A default leaves it."""
        return self.arbiter.blocking(element, leaf, writer) is not None

    def _hold_default(self, element: Element, leaf: Leaf, writer: Writer) -> None:
        for owner in self.tree.owners(element, leaf.slot):
            if not owner.is_default:
                self.arbiter.held.add(writer)
                break
        else:
            self.tree.claim(element, leaf.slot, writer)
        self.effective.add(writer)

    def _report_default(self, thing: Element, element: Element, leaf: Leaf, writer: Writer) -> None:
        """Another value stands where the default would have filled a gap."""
        owners = self.tree.owners(element, leaf.slot)
        if self._was_gap(thing, element, leaf.slot, owners) and (owners[0].is_default or writer.hard):
            has, _ = read(element, leaf.slot, leaf.node)
            self.arbiter.lose(element, leaf.slot, leaf.value, has, writer, owners)

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
            for want in [] if step.want is None else [step.want]:
                self._reach_new(want, things, step.writer)
            if step.targets:
                names = self._names()
                for name, want in step.targets:
                    thing = names.find(name)
                    if thing is not None and thing in things:
                        self._default_element(thing, want, step.writer)
            self.remover.mind_absences(mark, step.writer)
            self.boots.mind(mark, step)

    def _reach_new(self, wanted: Want, things: Sequence[Element], writer: Writer) -> None:
        for group in wanted.groups:
            if group.node.key_class == "O" or is_foreign(group.node):
                continue
            parent = container(self.tree.root, group.tags)
            for thing in things:
                if thing.tag == group.tag and thing.getparent() is parent:
                    for want in group.wants:
                        self._default_thing(thing, want, writer)

    def _default_group(self, thing: Element, group: Group, writer: Writer) -> None:
        if group.node.key_class == "O" or is_foreign(group.node):
            return
        found = candidates(thing, group)
        if not found and group.node.respelled:  # libvirt writes one by itself: it is a gap
            if single.is_gap(self.arbiter, container(thing, group.tags), group.wants[0], writer):
                self._append(thing, group, group.wants[0], writer)
        naming = group.node.key_class == "E" and len(found) > 1
        for element in found:
            for want in group.wants:
                if not (naming and want.keys and _would_name(element, want)):
                    self._default_thing(element, want, writer)

    def _default_elsewhere(
        self, thing: Element, want: Want, differing: Sequence[tuple[Element, Leaf]], writer: Writer
    ) -> None:
        """The thing says something else than a default: is it meant, and was that a gap?"""
        if any(_chooses(want, leaf) for _, leaf in differing):
            return  # another kind of thing: what chooses is no wish
        for element, leaf in differing:
            if not self._was_gap(thing, element, leaf.slot, self.tree.owners(element, leaf.slot)):
                return
        for element, leaf in differing:
            self._report_default(thing, element, leaf, writer)

    def _default_thing(self, thing: Element, want: Want, writer: Writer) -> None:
        """Fill the gaps of a thing that fits the rest of the wish."""
        held: list[tuple[Element, Leaf]] = []
        gaps: list[tuple[Element, int, Leaf]] = []
        differing: list[tuple[Element, Leaf]] = []
        for tags, leaves in want.places:
            element, missing = self.arbiter.reach(thing, tags) if tags else (thing, 0)
            for leaf in leaves:
                state = State.GAP if missing else state_on(element, leaf)
                if state is State.GAP:
                    gaps.append((element, missing, leaf))
                elif state is State.HOLDS:
                    held.append((element, leaf))
                else:
                    differing.append((element, leaf))
        if differing:
            self._default_elsewhere(thing, want, differing, writer)
            return
        for element, leaf in held:
            if _chooses(want, leaf):
                self.effective.add(writer)
            else:
                self._hold_default(element, leaf, writer)
        if gaps:
            self._fill_gaps(thing, gaps, writer)
        for group in want.groups:
            self._default_group(thing, group, writer)

    def _fill_gaps(self, thing: Element, gaps: Sequence[tuple[Element, int, Leaf]], writer: Writer) -> None:
        """:param gaps: (nearest element, how many are missing below it, leaf)"""
        made: dict[tuple[str, ...], Element] = {}
        tree, arbiter, effective, excludes = self.tree, self.arbiter, self.effective, self.arbiter.excludes
        taken_out = tree.barred or tree.missed
        for element, missing, leaf in gaps:
            slot, node = leaf.slot, leaf.node
            if taken_out or node.respells or leaf.full in excludes:
                if self.restorer.excluded(thing, leaf, writer):
                    continue
            elif leaf.allowing != () and arbiter.unfit(thing, leaf, writer):
                continue
            if not missing and slot in node.variants and self._is_open_to_none(element, leaf, writer):
                continue
            if missing:
                there = made.get(leaf.tags)
                if there is None:
                    if made:  # maybe some of those on the way
                        element, missing = arbiter.reach(thing, leaf.tags)
                    there = made[leaf.tags] = self.restorer.make_chain(element, leaf, missing, writer)
                element = there
            if leaf.unit is None and leaf.value and slot not in (PRESENCE, TEXT):
                tree.fill(element, slot, leaf.name, leaf.value, writer)
            elif slot != PRESENCE:
                arbiter.write(element, leaf, writer)
            effective.add(writer)


def _chooses(want: Want, leaf: Leaf) -> bool:
    """Does a value of a default say which things are meant, beside others that it wishes for?"""
    if len(want.leaves) + len(want.groups) == 1:
        return False
    return leaf in want.binding or (not leaf.tags and leaf.slot in leaf.node.dependents)


def _would_name(thing: Element, want: Want) -> bool:
    """Would the wish give a thing its identity, which only one of several can have?"""
    return any(leaf_state(thing, leaf) is State.GAP for leaf in want.keys.values())


def _count(want: Want) -> int:
    return len(want.leaves) + sum(inner.count() for group in want.groups for inner in group.wants)


def _can_be_many(want: Want, inside: bool) -> bool:
    """:param inside: it describes an element that is there"""
    return bool(want.groups) and (inside or not want.leaves)


def _cardinality(action: Action, want: Want) -> CardinalityError:
    leaf = want.leaves[0] if want.leaves else None
    return CardinalityError(
        f"multiple='yes' of '{leaf.full if leaf is not None else 'domain'}', of which there can be only one",
        hint="omit multiple, or use multiple='no' to override",
        where=f"{action.file}:{leaf.line if leaf is not None else action.line}",
    )
