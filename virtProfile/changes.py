# SPDX-License-Identifier: GPL-2.0-or-later
"""What a rendering changed, value by value, each with its origins.

Compares the edited tree with the input, not with what the actions did: an edit
that was undone by another leaves nothing. The entries add up to exactly the
difference between input and output.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .paths import Paths
from .provenance import THE_DEFINITION, Change, Origin, Writer
from .worktree import PRESENCE, TEXT, Element, WorkTree, text_of
from .xmltree import Document, parse

if TYPE_CHECKING:
    from .splice import Written

#: Writes the list and the record of profiles into the metadata: bookkeeping, no change.
BOOKKEEPER = Writer(Origin("virt-profile", "", "record", "", 0), 0, False)


class Difference:
    """One changed value, before it is given a path."""

    __slots__ = ("op", "element", "slot", "before", "after", "owners")

    def __init__(
        self,
        op: str,
        element: Element,
        slot: str,
        before: str | None,
        after: str | None,
        owners: list[Writer],
    ) -> None:
        self.op = op
        self.element = element  # of the work tree; for a removal it may be detached
        self.slot = slot
        self.before = before
        self.after = after
        if THE_DEFINITION in owners:
            owners = [owner for owner in owners if owner is not THE_DEFINITION]
        self.owners = owners


def differences(tree: WorkTree) -> list[Difference]:
    """Every attribute, text and bare element that is not as the input has it."""
    found: list[Difference] = []
    for element, (parent, writers) in tree.removed.items():
        if tree.in_source(element) and tree.in_source(parent) and tree.stands(parent):
            found.extend(_taken(tree, element, writers))
    for element, grave in tree.graves.items():
        if tree.stands(grave.parent):
            found.extend(_taken(tree, element, grave.writers))
    for element, (attributes, text) in tree.edited.items():
        if not tree.stands(element):
            continue
        now = dict(element.items())
        if now != attributes:
            for name in {**attributes, **now}:
                old, new = attributes.get(name), now.get(name)
                if old != new:
                    found.append(_set(tree, element, "@" + name, old, new))
        new = text_of(element)
        if text != new:
            found.append(_set(tree, element, TEXT, text, new))
    for element in tree.created:
        parent = element.getparent()
        if parent is not None and tree.in_source(parent) and tree.stands(parent):
            found.extend(_made(tree, element))
    return [one for one in found if one.owners and BOOKKEEPER not in one.owners]


def _set(tree: WorkTree, element: Element, slot: str, old: str | None, new: str | None) -> Difference:
    op = "add" if old is None else "remove" if new is None else "set"
    return Difference(op, element, slot, old, new, tree.accountable(element, slot))


def _made(tree: WorkTree, top: Element) -> Iterator[Difference]:
    for element in top.iter("*"):
        bare = True
        for name, value in element.attrib.items():
            bare = False
            slot = "@" + name
            yield Difference("add", element, slot, None, value, tree.accountable(element, slot))
        text = text_of(element)
        if text is not None:
            yield Difference("add", element, TEXT, None, text, tree.accountable(element, TEXT))
        elif bare:
            yield Difference("add", element, PRESENCE, None, None, tree.accountable(element, PRESENCE))


def _taken(tree: WorkTree, top: Element, writers: list[Writer]) -> Iterator[Difference]:
    """Everything of the input that went with a removed element."""
    index = tree.document.index
    stack = [top]
    while stack:
        element = stack.pop()
        kept = tree.edited.get(element)
        attributes = kept[0] if kept is not None else dict(element.attrib)
        text = kept[1] if kept is not None else text_of(element)
        for name, value in attributes.items():
            yield Difference("remove", element, "@" + name, value, None, writers)
        if text is not None:
            yield Difference("remove", element, TEXT, text, None, writers)
        elif not attributes:
            yield Difference("remove", element, PRESENCE, None, None, writers)
        below = [one for one in element.iterchildren("*") if one in index]
        # What had been removed from it before went on its own account.
        below += [one for one, (parent, _) in tree.removed.items() if parent is element and one in index]
        below += [one for one, grave in tree.graves.items() if grave.parent is element]
        stack.extend(below)


def describe(
    found: list[Difference], tree: WorkTree, schema: Any, written: Written, paths: Paths
) -> tuple[Change, ...]:
    """Give differences their paths and lines, in the order of the text."""
    document = tree.document
    source: Document | None = None
    source_paths: Paths | None = None
    rows: list[tuple[int, int, Change]] = []
    for number, one in enumerate(found):
        input_line = output_line = None
        if tree.in_source(one.element):
            input_line = document.line(one.element)
        if one.op == "remove":
            if source is None:
                # The tree is edited: removals are told by their place in the input.
                source = parse(document.text)
                source_paths = Paths(source.root, schema)
            assert source_paths is not None
            path = source_paths.of(source.elements[document.index[one.element]], one.slot)
            if tree.stands(one.element):
                output_line = written.line(one.element)
        else:
            path = paths.of(one.element, one.slot)
            output_line = written.line(one.element)
        origins = tuple(owner.origin for owner in one.owners)
        change = Change(one.op, path, one.before, one.after, origins[0], origins, input_line, output_line)
        rows.append((output_line or input_line or 0, number, change))
    rows.sort(key=lambda row: row[:2])
    return tuple(change for _, _, change in rows)
