# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding "the same thing": which element of a document a wish speaks of.

Values are compared by what they mean, and what libvirt assumes for a value that
is not written counts as written.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

from virtProfile.format.element import (
    PRESENCE,
    TEXT,
    child,
    container,
    in_words,
    read,
    read_part,
    text_of,
)
from virtProfile.format.values import same_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from virtProfile.format.element import Element
    from virtProfile.language.profile import Snippet
    from virtProfile.language.wishes import Group, Leaf, Want


class State(IntEnum):
    """How a wish stands to what is there; the smaller the better."""

    HOLDS = 0
    GAP = 1
    DIFFERS = 2
    CONTRADICTS = 3


def leaf_element(thing: Element, leaf: Leaf) -> Element | None:
    """The element that the leaf stands on, or None where one on the way is missing."""
    for tag in leaf.tags:
        below = child(thing, tag)
        if below is None:
            return None
        thing = below
    return thing


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
        outcome = leaf_state(thing, leaf)
        if outcome is State.DIFFERS:
            return State.CONTRADICTS
        if outcome > state:
            state = outcome
    for tags, leaves in want.places:
        element = container(thing, tags) if tags else thing
        if element is None:
            state = max(state, _GAP)
            continue
        for leaf in leaves:
            outcome = state_on(element, leaf)
            if outcome is _DIFFERS:
                return outcome
            if outcome > state:
                state = outcome
    if state is State.HOLDS:
        for group in want.groups:
            if not group_holds(thing, group):
                return State.GAP
    if state is State.GAP and _named_otherwise(thing, want):
        return State.DIFFERS
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
    edges = [[j for j, element in enumerate(found) if fits(element, want)] for want in wants]
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
        if all(exactly(element, want) for element, want in zip(run, group.wants, strict=True)):
            places.append(run)
    return places


def exactly(thing: Element, want: Want) -> bool:
    """Does the thing say what the wish says and nothing else?"""
    if not holds(thing, want):
        return False
    return _size(thing) == sum(1 for leaf in want.leaves if leaf.slot != PRESENCE)


def _size(thing: Element) -> int:
    return sum(len(element.attrib) + (text_of(element) is not None) for element in thing.iter("*"))


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


def _named_otherwise(thing: Element, want: Want) -> bool:
    """Do both give a key such as ``source/*``, in different elements: a port of USB, and a make?"""
    for part in want.node.key:
        if not part.endswith("/*"):
            continue
        tag = part[:-2]
        there = child(thing, tag)
        if there is None:
            continue
        has = {element.tag for element in there.iterchildren("*")}
        wanted = {leaf.tags[1] for leaf in want.leaves if len(leaf.tags) > 1 and leaf.tags[0] == tag}
        wanted |= {group.tag for group in want.groups if group.path == f"{tag}/{group.tag}"}
        if has and wanted and not has & wanted:
            return True
    return False


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
    free = [element for element in found if element not in set(taken)] if taken else list(found)
    result: dict[int, Found] = {}
    node = group.node
    if node.key and node.key_class != "X":
        _assign_by_key(group, free, result)
    if node.key_class == "S":
        _assign_single(group, free, result)
    _assign_alike(group, free, result)
    return [
        result.get(number) or Found(want, None, State.CONTRADICTS, False)
        for number, want in enumerate(group.wants)
    ]


def _assign_by_key(group: Group, free: list[Element], result: dict[int, Found]) -> None:
    """Elements with the wish's own key, taken out of `free`."""
    matches: Iterable[tuple[int, Element]] = (
        (number, element)
        for number, want in enumerate(group.wants)
        for element in free
        if key_equal(element, want)
    )
    if len(group.wants) > 1:  # a key may be given in part: who holds already goes first
        matches = sorted(matches, key=lambda match: judge(match[1], group.wants[match[0]]))
    for number, element in matches:
        if number not in result and element in free:
            want = group.wants[number]
            result[number] = Found(want, element, judge(element, want), True)
            free.remove(element)
            if len(result) == len(group.wants):
                break


def _assign_single(group: Group, free: list[Element], result: dict[int, Found]) -> None:
    """The effectively single element, taken out of `free`."""
    for number, want in enumerate(group.wants):
        if number not in result:
            for element in free:
                state = judge(element, want)
                if state is not State.CONTRADICTS:
                    result[number] = Found(want, element, state, True)
                    free.remove(element)
                    break


def _meaning(snippet: Snippet) -> Any:
    """Equal for snippets that say the same, wherever they stand."""
    return (
        snippet.tag,
        snippet.attrs,
        snippet.text,
        snippet.intents,
        tuple(_meaning(inner) for inner in snippet.children),
    )


def _assign_alike(group: Group, free: list[Element], result: dict[int, Found]) -> None:
    """Elements whose discriminators do not contradict, best state first, taken out of `free`."""
    rest = [number for number in range(len(group.wants)) if number not in result]
    if not rest or not free:
        return
    # Who says more of the key goes first: once it is written it would be found by it.
    rest.sort(key=lambda number: -len(group.wants[number].keys))
    # Equal wishes are judged once; each looks on from where the one before it found its element.
    alike: dict[Any, Iterator[Element]] = {}
    judged: dict[Any, list[tuple[State, Element]]] = {}
    left = dict.fromkeys(free)
    for level in (State.HOLDS, State.GAP, State.DIFFERS):
        alike.clear()
        for number in rest:
            if number in result:
                continue
            want = group.wants[number]
            same = want if want.snippet is None else _meaning(want.snippet)
            if same not in judged:
                judged[same] = [(judge(element, want), element) for element in left]
            if same not in alike:
                alike[same] = iter([element for state, element in judged[same] if state is level])
            for element in alike[same]:
                if element in left:
                    result[number] = Found(want, element, level, False)
                    del left[element]
                    break
    free[:] = left


def spelled(group: Group) -> str:
    """What an ordered list is wished to be, as `flat` of each of its elements would say it."""
    words = []
    for want in group.wants:
        attributes = {leaf.slot[1:]: leaf.value or "" for leaf in want.leaves if leaf.slot[:1] == "@"}
        text = next((leaf.value for leaf in want.leaves if leaf.slot == TEXT), None)
        words.append(in_words(group.tag, attributes, text))
    return " ".join(words)
