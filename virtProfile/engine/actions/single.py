# SPDX-License-Identifier: GPL-2.0-or-later
"""Elements that may be many by schema, of which libvirt's QEMU driver takes one (`format/data/singles.tsv`).

A wish for one sets the one that is there, and where libvirt writes its value on the parent as
well (``graphics/@listen`` beside ``<listen>``), both say the same.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from lxml import etree

from virtProfile.engine.actions.match import State, leaf_state
from virtProfile.format.element import read_part

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from virtProfile.engine.actions.arbiter import Arbiter
    from virtProfile.engine.tree.ownership import Writer
    from virtProfile.format.element import Element
    from virtProfile.language.wishes import Group, Want


@cache
def _holds(condition: str) -> etree.XPath:
    return etree.XPath(f"boolean({condition})", smart_strings=False)


def parts_of_one(group: Group, parent: Element) -> tuple[str, ...] | None:
    """The parts that tell the group's elements apart in this parent, None where there may be many alike."""
    for parts, where in group.node.singles:
        if where == "-" or _holds(where)(parent):
            return tuple(parts)
    return None


def rival(want: Want, there: Sequence[Element], parts: Sequence[str]) -> Element | None:
    """The element beside which what is wanted cannot stand."""
    for element in there:
        for part in parts:
            leaf = next((leaf for leaf in want.leaves if leaf.path == part), None)
            if leaf is not None and leaf_state(element, leaf) is not State.HOLDS:
                break
            if leaf is None and element is not None and _given(element, part, want.node):
                break
        else:
            return element
    return None


def is_taken(parent: Element, want: Want, there: Sequence[Element], parts: Sequence[str]) -> bool:
    """Is the place of the only one taken already?"""
    return rival(want, there, parts) is not None or any(on_parent(want.node, parent))


def _given(element: Element, part: str, node: Any) -> bool:
    """Does the element have a value that libvirt does not imply anyway?"""
    value = read_part(element, part, node)
    return value is not None and value != node.implied.get(part)


def on_parent(node: Any, parent: Element) -> Iterator[tuple[str, dict[str, str]]]:
    """What stands on the parent in the place of a child: (slot of the parent, values of the child)."""
    for above, slot, by, word in node.respelled:
        value = parent.get(above[1:])
        if value is not None:
            yield above, {by: word, slot: value}


def is_gap(arbiter: Arbiter, parent: Element | None, want: Want, writer: Writer) -> bool:
    """May a default make the child? Not where the parent says it, or libvirt would not keep it."""
    if parent is None:
        return False
    here = {leaf.slot: leaf.value for leaf in want.leaves if not leaf.tags}
    said = list(on_parent(want.node, parent))
    for above, values in said:
        if all(value == values.get(slot) for slot, value in here.items()):
            if all(owner.is_default for owner in arbiter.tree.owners(parent, above)):
                arbiter.tree.claim(parent, above, writer)
            arbiter.effective.add(writer)
    if said or any(here.get(by) == word and not _holds(where)(parent) for by, word, where in want.node.kept):
        return False
    return not any(
        here.get(slot) in words and any(parent.get(above[1:]) is not None for above in dropped)
        for slot, words, dropped in want.node.voided
    )


def kept_by_parent(arbiter: Arbiter, parent: Element, want: Want, writer: Writer) -> bool:
    """Does a value on the parent say what is wanted, or keep it out? A weaker one is taken away."""
    for above, values in on_parent(want.node, parent):
        differing = next(
            (
                leaf
                for leaf in want.leaves
                if leaf.slot in values and leaf.value != values[leaf.slot] and not leaf.tags
            ),
            None,
        )
        owners = arbiter.tree.owners(parent, above)
        if differing is None:
            arbiter.tree.claim(parent, above, writer)
            arbiter.effective.add(writer)
            return True
        if not arbiter.beats(writer, owners):
            arbiter.lose(parent, above, _spelled(want), parent.get(above[1:]), writer, owners)
            return True
        by, word = next((by, word) for slot, _, by, word in want.node.respelled if slot == above)
        if any(leaf.slot == by and leaf.value != word for leaf in want.leaves):
            arbiter.tree.unset(parent, above, writer)
            continue
        arbiter.tree.set(parent, above, differing.value or "", writer)
        arbiter.effective.add(writer)
        return True
    for slot, words, dropped in want.node.voided:
        if any(leaf.slot == slot and leaf.value in words and not leaf.tags for leaf in want.leaves):
            for above in dropped:
                owners = arbiter.tree.owners(parent, above)
                if parent.get(above[1:]) is not None and not arbiter.beats(writer, owners):
                    note = f"{above} is '{parent.get(above[1:])}', which excludes it"
                    arbiter.lose(parent, want.node.tag, _spelled(want), None, writer, owners, note)
                    return True
    return False


def follow(arbiter: Arbiter, parent: Element, element: Element, node: Any, writer: Writer) -> None:
    """The parent says what the child says now, as libvirt refuses the domain where they differ."""
    for above, slot, by, word in node.respelled:
        stood = parent.get(above[1:])
        if stood is None:
            continue
        value = element.get(slot[1:]) if element.get(by[1:]) == word else None
        if value is None:
            arbiter.tree.unset(parent, above, writer)
        elif value != stood:
            arbiter.tree.set(parent, above, value, writer)
    for slot, words, dropped in node.voided:
        if element.get(slot[1:]) in words and writer in arbiter.tree.owners(element, slot):
            for above in dropped:
                if parent.get(above[1:]) is not None:
                    owners = arbiter.tree.owners(parent, above)
                    if arbiter.beats(writer, owners):
                        arbiter.tree.unset(parent, above, writer)


def _spelled(want: Want) -> str:
    return " ".join(leaf.value or "" for leaf in want.leaves if leaf.value)
