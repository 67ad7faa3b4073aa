# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding "the same thing": which element of a document a wish speaks of.

Values are compared by what they mean, and what libvirt assumes for a value that
is not written counts as written.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

from .domainschema import same_size
from .worktree import PRESENCE, TEXT, Element, child, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .wants import Group, Leaf, Want


class State(IntEnum):
    """How a wish stands to what is there; the smaller the better."""

    HOLDS = 0
    GAP = 1
    DIFFERS = 2
    CONTRADICTS = 3


def leaf_element(thing: Element, leaf: Leaf) -> Element | None:
    """The element that the leaf stands on, or None where one on the way is missing."""
    for tag in leaf.tags:
        thing = child(thing, tag)
        if thing is None:
            return None
    return thing


def read(element: Element, slot: str, node: Any) -> tuple[str | None, bool]:
    """(value, is it written?) of a slot, with what libvirt implies where it is not."""
    value = text_of(element) if slot == TEXT else element.get(slot[1:])
    if value is not None:
        return value, True
    implied = node.implied.get(slot)
    if implied is not None and slot in node.provided and not _given(element, node.provided[slot]):
        implied = None
    return implied, False


def _given(element: Element, what: str) -> bool:
    return text_of(element) is not None if what == TEXT else child(element, what) is not None


def same_value(leaf: Leaf, element: Element, value: str) -> bool:
    """Does `value`, standing on `element`, mean what the leaf wants?"""
    wanted = leaf.value
    if leaf.unit is not None:
        unit, slot, default = leaf.unit
        return same_size(wanted or "", unit, value, element.get(slot[1:]), default)
    if wanted == value:
        return True
    kind = leaf.type
    return kind is not None and kind.same(wanted or "", value)


_HOLDS, _GAP, _DIFFERS = State.HOLDS, State.GAP, State.DIFFERS


def state_on(element: Element, leaf: Leaf) -> State:
    """State of a leaf on its own element."""
    slot = leaf.slot
    if slot == PRESENCE:
        return _HOLDS
    value = text_of(element) if slot == TEXT else element.get(leaf.name)
    if value is None:
        if slot not in leaf.node.implied:
            return _GAP
        value, _ = read(element, slot, leaf.node)
        if value is None:
            return _GAP
    if value == leaf.value and leaf.unit is None:
        return _HOLDS
    return _HOLDS if same_value(leaf, element, value) else _DIFFERS


def leaf_state(thing: Element, leaf: Leaf) -> State:
    element = leaf_element(thing, leaf)
    return State.GAP if element is None else state_on(element, leaf)


def judge(thing: Element, want: Want) -> State:
    """How a whole thing stands to a wish: the worst of its leaves.

    Things inside it that are missing are gaps: they can be appended.
    """
    state = State.HOLDS
    for leaf in want.binding:
        one = leaf_state(thing, leaf)
        if one is State.DIFFERS:
            return State.CONTRADICTS
        if one > state:
            state = one
    for tags, leaves in want.places:
        element = container(thing, tags) if tags else thing
        if element is None:
            state = max(state, _GAP)
            continue
        for leaf in leaves:
            one = state_on(element, leaf)
            if one is _DIFFERS:
                return one
            if one > state:
                state = one
    if state is State.HOLDS:
        for group in want.groups:
            if not group_holds(thing, group):
                return State.GAP
    return state


def holds(thing: Element, want: Want) -> bool:
    """Does the thing contain the wish? More attributes and children are fine."""
    for tags, leaves in want.places:
        element = container(thing, tags) if tags else thing
        if element is None:
            return False
        for leaf in leaves:
            if state_on(element, leaf) is not _HOLDS:
                return False
    return all(group_holds(thing, group) for group in want.groups)


def container(thing: Element, tags: Sequence[str]) -> Element | None:
    for tag in tags:
        thing = child(thing, tag)
        if thing is None:
            return None
    return thing


def candidates(thing: Element, group: Group) -> list[Element]:
    """The elements that a group speaks of, in document order."""
    parent = container(thing, group.tags)
    return [] if parent is None else list(parent.iterchildren(group.tag))


def group_holds(thing: Element, group: Group) -> bool:
    """Are all wishes of the group there, each in an element of its own?"""
    found = candidates(thing, group)
    if len(found) < len(group.wants):
        return False
    if group.node.key_class == "O":
        return bool(runs(found, group))
    return pair(group.wants, found, holds) is not None


def pair(wants: Sequence[Want], found: Sequence[Element], fits: Any) -> dict[int, int] | None:
    """Give each wish an element of its own that fits, or None if that cannot be.

    Augmenting paths, as a wish that asks for little must not take the only
    element of one that asks for more.
    """
    edges = [[j for j, one in enumerate(found) if fits(one, want)] for want in wants]
    taken: dict[int, int] = {}
    placed: dict[int, int] = {}
    for i in range(len(wants)):
        reached: dict[int, int] = {}  # an element, and the wish that would take it
        free = None
        queue = [i]  # no recursion: as deep as there are wishes
        for wish in queue:
            for j in edges[wish]:
                if j in reached:
                    continue
                reached[j] = wish
                if j not in taken:
                    free = j
                    break
                queue.append(taken[j])
            if free is not None:
                break
        if free is None:
            return None
        while True:  # each on the way moves to the element that it reached
            wish = reached[free]
            before = placed.get(wish)
            taken[free], placed[wish] = wish, free
            if before is None or wish == i:
                break
            free = before
    return placed


def runs(found: Sequence[Element], group: Group) -> list[list[Element]]:
    """Every place where the group's elements stand one behind the other, in order."""
    size = len(group.wants)
    places = []
    for start in range(len(found) - size + 1):
        run = list(found[start : start + size])
        if all(exactly(one, want) for one, want in zip(run, group.wants, strict=True)):
            places.append(run)
    return places


def exactly(thing: Element, want: Want) -> bool:
    """Does the thing say what the wish says and nothing else?"""
    if not holds(thing, want):
        return False
    return _size(thing) == sum(1 for leaf in want.leaves if leaf.slot != PRESENCE)


def _size(thing: Element) -> int:
    return sum(len(one.attrib) + (text_of(one) is not None) for one in thing.iter("*"))


def key_equal(thing: Element, want: Want) -> bool:
    """Is the identity key the same: given on both sides, in all the parts that count?

    A part that neither side gives does not count; an absent key equals nothing.
    """
    node = want.node
    equal = False
    for part in node.key:
        leaf = want.keys.get(part)
        if leaf is None:
            if part.endswith("/*"):
                if not _same_subtree(thing, want, part[:-2]):
                    return False
                equal = True
            elif read_part(thing, part, node) is not None:
                return False
            continue
        if leaf_state(thing, leaf) is not State.HOLDS:
            return False
        equal = True
    return equal and (node.twins is None or not _are_twins(thing, want, *node.twins))


def _are_twins(thing: Element, want: Want, slot: str, words: frozenset[str]) -> bool:
    """Two that share a key and are two all the same: USB companions, failover pairs."""
    wanted = next((leaf.value for leaf in want.leaves if leaf.path == slot), None)
    has = read_part(thing, slot, want.node)
    return wanted in words and has in words and wanted != has


def read_part(thing: Element, part: str, node: Any) -> str | None:
    """The value of a key part such as ``target/@dev`` on a thing, or None."""
    *tags, slot = part.split("/")
    for tag in tags:
        thing = child(thing, tag)
        node = node.child(tag)
        if thing is None or node is None:
            return None
    return read(thing, slot, node)[0]


def _same_subtree(thing: Element, want: Want, tag: str) -> bool:
    """Key parts such as ``source/*``: all that stands in one child element."""
    there = child(thing, tag)
    leaves = [leaf for leaf in want.leaves if leaf.path.startswith(tag + "/") or leaf.path == tag]
    groups = [group for group in want.groups if group.path.startswith(tag + "/")]
    if there is None or not (leaves or groups):
        return False
    return all(leaf_state(thing, leaf) is State.HOLDS for leaf in leaves) and all(
        group_holds(thing, group) for group in groups
    )


class Found:
    """Which element a wish of a group found, and how well it fits."""

    __slots__ = ("want", "element", "state", "firm")

    def __init__(self, want: Want, element: Element | None, state: State, firm: bool) -> None:
        self.want = want
        self.element = element
        self.state = state
        #: found by key, or the only one there can be: to be set, never joined by another
        self.firm = firm


def assign(group: Group, found: Sequence[Element], taken: Iterable[Element] = ()) -> list[Found]:
    """Give each wish of the group its element, each element to one wish at most.

    By key, then the effectively single one, then those whose discriminators do
    not contradict: best state first, document order.
    """
    free = [one for one in found if one not in set(taken)] if taken else list(found)
    result: dict[int, Found] = {}
    node = group.node
    if node.key and node.key_class != "X":
        matches: Iterable[tuple[int, Element]] = (
            (number, one) for number, want in enumerate(group.wants) for one in free if key_equal(one, want)
        )
        if len(group.wants) > 1:  # a key may be given in part: who holds already goes first
            matches = sorted(matches, key=lambda match: judge(match[1], group.wants[match[0]]))
        for number, one in matches:
            if number not in result and one in free:
                want = group.wants[number]
                result[number] = Found(want, one, judge(one, want), True)
                free.remove(one)
                if len(result) == len(group.wants):
                    break
    if node.key_class == "S":
        for number, want in enumerate(group.wants):
            if number not in result:
                for one in free:
                    state = judge(one, want)
                    if state is not State.CONTRADICTS:
                        result[number] = Found(want, one, state, True)
                        free.remove(one)
                        break
    rest = [number for number in range(len(group.wants)) if number not in result]
    # Who says more of the key goes first: once it is written it would be found by it.
    rest.sort(key=lambda number: -len(group.wants[number].keys))
    if rest and free:
        states = {number: [(judge(one, group.wants[number]), one) for one in free] for number in rest}
        for level in (State.HOLDS, State.GAP, State.DIFFERS):
            for number in rest:
                if number in result:
                    continue
                for state, one in states[number]:
                    if state is level and one in free:
                        result[number] = Found(group.wants[number], one, state, False)
                        free.remove(one)
                        break
    return [
        result.get(number) or Found(want, None, State.CONTRADICTS, False)
        for number, want in enumerate(group.wants)
    ]
