# SPDX-License-Identifier: GPL-2.0-or-later
"""``whole='yes'``: all wishes of an action take effect, or none of them.

A unit is tried; where a wish of it does not take effect, all of it is taken back and reported.
What a unit loses later, to an action that reaches an element when it comes, is found at the end:
the rendering is repeated with that unit kept out.
"""

from __future__ import annotations

from bisect import bisect_left
from operator import itemgetter
from typing import TYPE_CHECKING, TypeAlias

from virtProfile.engine.actions.match import State, group_holds, leaf_state
from virtProfile.engine.tree.ownership import THE_DEFINITION
from virtProfile.format.element import PRESENCE, container, read
from virtProfile.language.profile import Kind
from virtProfile.result import ALL_OR_NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence

    from virtProfile.engine.actions.arbiter import Arbiter, Loss
    from virtProfile.engine.actions.remove import Remover
    from virtProfile.engine.actions.step import Step
    from virtProfile.engine.tree.names import Name
    from virtProfile.engine.tree.ownership import Writer
    from virtProfile.format.element import Element
    from virtProfile.language.wishes import Want

#: Profile, number of the action, and the name of the element with ``each=``.
UnitKey: TypeAlias = "tuple[str, int, Name | None]"


class Unit:
    """An action, or what it does to one of the elements that its ``each=`` selects."""

    __slots__ = ("step", "name", "want", "thing")

    def __init__(self, step: Step, name: Name | None, want: Want | None, thing: Element | None) -> None:
        self.step = step
        self.name = name
        self.want = want
        self.thing = thing

    @property
    def key(self) -> UnitKey:
        """The same in all renderings."""
        return (self.step.writer.origin.profile, self.step.writer.number, self.name)


class Whole:
    """Carries out units that are all or nothing."""

    def __init__(self, arbiter: Arbiter, remover: Remover) -> None:
        self.arbiter = arbiter
        self.tree = arbiter.tree
        self.remover = remover
        #: units that cannot take effect whole, with who decided it
        self.kept_out: dict[UnitKey, Sequence[Writer]] = {}
        #: units that took effect, with the number of losses at that time
        self._done: list[tuple[Unit, int]] = []

    def carry_out(self, unit: Unit, perform: Callable[[Unit], None]) -> None:
        """Try a unit, and take it back where a wish of it does not take effect."""
        arbiter, writer = self.arbiter, unit.step.writer
        mark, losses = self.tree.mark(), len(arbiter.losses)
        absences = len(self.remover.absences)
        was_effective, intents = writer in arbiter.effective, arbiter.copy_intents()
        perform(unit)
        lost = [loss for loss in arbiter.losses[losses:] if loss.loser is writer]
        deciding: Sequence[Writer] = lost[0].winners if lost else self._open(unit)
        deciding = deciding or self.kept_out.get(unit.key, ())
        if not deciding:
            self._done.append((unit, len(arbiter.losses)))
            return
        self.tree.undo_since(mark)
        self.remover.forget_since(absences)
        arbiter.put_intents(intents)
        if not was_effective:
            arbiter.effective.discard(writer)
        arbiter.losses[losses:] = lost
        self._report(unit, deciding, lost)

    def forget_losses(self, numbers: Sequence[int]) -> None:
        """Losses with these numbers, in order, are no more."""
        self._done = [(unit, begin - bisect_left(numbers, begin)) for unit, begin in self._done]

    def broken(self) -> dict[UnitKey, Sequence[Writer]]:
        """Units of the first action that lost something after they had taken effect."""
        theirs = self._losses()
        first: Step | None = None
        found: dict[UnitKey, Sequence[Writer]] = {}
        for unit, begin in self._done:
            if first is not None and unit.step is not first:
                continue
            losses = theirs.get((unit.step.writer, unit.thing), [])
            at = bisect_left(losses, begin, key=itemgetter(0))
            if at < len(losses):
                first = unit.step
                found[unit.key] = losses[at][1].winners
        return found

    def _losses(self) -> dict[tuple[Writer, Element | None], list[tuple[int, Loss]]]:
        """What the writers of `_done` lost in each element, and in any (None), with the loss's number."""
        writers = {unit.step.writer for unit, _ in self._done}
        found: dict[tuple[Writer, Element | None], list[tuple[int, Loss]]] = {}
        for number, loss in enumerate(self.arbiter.losses):
            if loss.loser in writers:
                for element in (None, loss.element, *loss.element.iterancestors()):
                    found.setdefault((loss.loser, element), []).append((number, loss))
        return found

    def _open(self, unit: Unit) -> Sequence[Writer]:
        """Who keeps a gap of a `default` from being filled: the `default` itself does not name it."""
        want = unit.want
        if unit.step.action.kind != Kind.DEFAULT or want is None:
            return ()
        thing = self.tree.root if unit.thing is None else unit.thing
        for leaf in want.leaves:
            if leaf_state(thing, leaf) is not State.HOLDS:
                element, missing = self.arbiter.reach(thing, leaf.tags)
                return [THE_DEFINITION] if missing else self.tree.owners(element, leaf.slot)
        for group in want.groups:
            if not group_holds(thing, group):
                return [THE_DEFINITION]
        return ()

    def _report(self, unit: Unit, winners: Sequence[Writer], lost: Sequence[Loss]) -> None:
        """Everything of the unit that was not reported yet.

        :param lost: what was
        """
        if unit.want is None:
            return
        writer, arbiter = unit.step.writer, self.arbiter
        known = {(loss.element, loss.rest) for loss in lost}
        places = {above for loss in lost for above in (loss.element, *loss.element.iterancestors())}
        thing = self.tree.root if unit.thing is None else unit.thing
        removes = unit.step.action.kind == Kind.REMOVE
        for element, rest, wanted, has in self._wishes(thing, unit.want, places, removes):
            if (element, rest) in known:
                continue
            arbiter.lose(element, rest, None if removes else wanted, has, writer, winners, ALL_OR_NOTHING)
            loss = arbiter.losses[-1]
            loss.conflict = False
            loss.final = writer.is_default

    def _wishes(
        self, thing: Element, want: Want, places: Container[Element], removes: bool
    ) -> Iterable[tuple[Element, str, str | None, str | None]]:
        """(nearest element, path from there, value wanted, value there) of all wishes of a unit, without
        those that hold already.

        :param places: elements in which something was lost: devices among them are reported by that
        """
        for leaf in want.leaves:
            if not removes and leaf_state(thing, leaf) is State.HOLDS:
                continue
            element, missing = self.arbiter.reach(thing, leaf.tags)
            if missing:
                yield element, "/".join((*leaf.tags[len(leaf.tags) - missing :], leaf.slot)), leaf.value, None
            else:
                has = None if leaf.slot == PRESENCE else read(element, leaf.slot, leaf.node)[0]
                yield element, leaf.slot, leaf.value, has
        for group in want.groups:
            if not removes and group_holds(thing, group):
                continue
            parent = container(thing, group.tags)
            for inner in group.wants:
                if parent is None:
                    yield thing, group.path, inner.tag, None
                elif not any(below in places for below in parent.iterchildren(group.tag)):
                    yield parent, group.tag, inner.tag, None
