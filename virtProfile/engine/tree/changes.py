# SPDX-License-Identifier: GPL-2.0-or-later
"""What a rendering changed, value by value, each with its origins.

Compares the edited tree with the input, not with what the actions did: an edit
that was undone by another leaves nothing. The entries add up to exactly the
difference between input and output.
"""

from __future__ import annotations

from bisect import bisect_left
from operator import itemgetter
from typing import TYPE_CHECKING

from virtProfile.engine.tree.ownership import BOOKKEEPER, THE_DEFINITION
from virtProfile.format.document import parse
from virtProfile.format.element import PRESENCE, TEXT, attributes, children, items, text_of
from virtProfile.format.paths import Paths
from virtProfile.result import Change

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtProfile.engine.tree.ownership import Writer
    from virtProfile.engine.tree.splice import Written
    from virtProfile.engine.tree.work_tree import WorkTree
    from virtProfile.format.document import Document
    from virtProfile.format.element import Element
    from virtProfile.format.schema import Schema


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
    same = _made_again(tree)
    for element, (parent, writers) in tree.removed.items():
        if element not in same and tree.in_source(element) and tree.in_source(parent) and tree.stands(parent):
            found.extend(filter(_is_reported, _taken(tree, element, writers)))
    for element, grave in tree.graves.items():
        if element not in same and tree.stands(grave.parent):
            found.extend(filter(_is_reported, _taken(tree, element, grave.writers)))
    all_stand = not (tree.removed or tree.graves)
    for element, before in tree.edited.items():
        now = tree.says(element)
        if now != before and (all_stand or tree.stands(element)):
            _changed(tree, element, before, now, found)
    for element in tree.created:
        above = element.getparent()
        if element not in same and above is not None and tree.in_source(above) and tree.stands(above):
            _made(tree, element, found)
    return found


def _made_again(tree: WorkTree) -> set[Element]:
    """Elements that were taken out, and those that were made in their place and say the same."""
    gone: dict[tuple[Element, str], list[Element]] = {}
    if tree.created:
        places = [(element, parent) for element, (parent, _) in tree.removed.items()]
        places += [(element, grave.parent) for element, grave in tree.graves.items()]
        for element, parent in places:
            if tree.in_source(element):
                gone.setdefault((parent, element.tag), []).append(element)
    same: set[Element] = set()
    numbered: dict[tuple[Element, str], tuple[dict[int, Element], dict[Element, int]]] = {}
    for element in tree.created if gone else ():
        above = element.getparent()
        key = above, element.tag
        if above is None or key not in gone:
            continue
        if key not in numbered:
            now = {inner: number for number, inner in enumerate(above.iterchildren(element.tag))}
            numbered[key] = _by_number(tree, above, gone[key]), now
        there, now = numbered[key]
        before = there.get(now[element])
        if before is not None and _said(tree, before) == _says(element):
            same |= {before, element}
    return same


def _by_number(tree: WorkTree, parent: Element, gone: list[Element]) -> dict[int, Element]:
    """Elements by how many of their like stood before them in the input."""
    index, tag = tree.document.index, gone[0].tag
    like = [index[inner] for inner in parent.iterchildren(tag) if inner in index]
    like += [index[inner] for inner in tree.removed.below(parent, tag) if inner in index]
    like += [index[inner] for inner in tree.graves.below(parent, tag)]
    like.sort()
    return {bisect_left(like, index[inner]): inner for inner in gone}


def _says(element: Element) -> tuple[object, ...]:
    below = [_says(inner) for inner in children(element)]
    return element.tag, dict(attributes(element)), text_of(element), below


def _said(tree: WorkTree, element: Element) -> tuple[object, ...]:
    """What an element of the input said there."""
    kept = tree.edited.get(element)
    values = kept[0] if kept is not None else attributes(element)
    text = kept[1] if kept is not None else text_of(element)
    index = tree.document.index
    below = [inner for inner in children(element) if inner in index]
    below += [inner for inner in tree.removed.below(element) if inner in index]
    below += tree.graves.below(element)
    below.sort(key=lambda inner: index[inner])
    return element.tag, dict(values), text, [_said(tree, inner) for inner in below]


def _is_reported(difference: Difference) -> bool:
    """Does anybody answer for it but the bookkeeping?"""
    owners = difference.owners
    return bool(owners) and BOOKKEEPER not in owners


def _changed(
    tree: WorkTree,
    element: Element,
    before: tuple[dict[str, str], str | None],
    now: tuple[dict[str, str], str | None],
    found: list[Difference],
) -> None:
    """What an element of the input says otherwise: (its attributes, its text) before and now."""
    old, new = before[0], now[0]
    for name, value in old.items():
        if new.get(name) != value:
            _set(tree, element, "@" + name, value, new.get(name), found)
    for name, value in new.items():
        if name not in old:
            _set(tree, element, "@" + name, None, value, found)
    if before[1] != now[1]:
        _set(tree, element, TEXT, before[1], now[1], found)


def _set(
    tree: WorkTree,
    element: Element,
    slot: str,
    old: str | None,
    new: str | None,
    found: list[Difference],
) -> None:
    """One value of an element that stands; None: it is not there.

    PRESENCE of a bare element has none, and was added.
    """
    op = "add" if old is None else "remove" if new is None else "set"
    difference = Difference(op, element, slot, old, new, tree.accountable(element, slot))
    if _is_reported(difference):
        found.append(difference)


def _made(tree: WorkTree, top: Element, found: list[Difference]) -> None:
    """Everything that a new element says, and what is in it."""
    for element in top.iter("*") if len(top) else (top,):
        named = items(element)
        for name, value in named:
            _set(tree, element, "@" + name, None, value, found)
        text = text_of(element)
        if text is not None:
            _set(tree, element, TEXT, None, text, found)
        elif not named:
            _set(tree, element, PRESENCE, None, None, found)


def _taken(tree: WorkTree, top: Element, writers: list[Writer]) -> Iterator[Difference]:
    """Everything of the input that went with a removed element."""
    index = tree.document.index
    stack = [top]
    while stack:
        element = stack.pop()
        kept = tree.edited.get(element)
        values = kept[0] if kept is not None else attributes(element)
        text = kept[1] if kept is not None else text_of(element)
        for name, value in values.items():
            yield Difference("remove", element, "@" + name, value, None, writers)
        if text is not None:
            yield Difference("remove", element, TEXT, text, None, writers)
        elif not values:
            yield Difference("remove", element, PRESENCE, None, None, writers)
        below = [inner for inner in children(element) if inner in index]
        # What had been removed from it before went on its own account.
        below += [inner for inner in tree.removed.below(element) if inner in index]
        below += tree.graves.below(element)
        stack.extend(below)


def describe(
    found: list[Difference], tree: WorkTree, schema: Schema, written: Written, paths: Paths
) -> tuple[Change, ...]:
    """Give differences their paths and lines, in the order of the text."""
    document = tree.document
    source: Document | None = None
    source_paths: Paths | None = None
    rows: list[tuple[int, Change]] = []
    last: tuple[Element, bool] | None = None
    input_line = output_line = None
    for difference in found:
        op, element, removed = difference.op, difference.element, difference.op == "remove"
        if last != (element, removed):  # mostly several in turn are of one element
            last = element, removed
            input_line = document.line(element) if tree.in_source(element) else None
            output_line = written.line(element) if not removed or tree.stands(element) else None
        if removed:
            if source is None:
                # The tree is edited: removals are reported by their place in the input.
                source = parse(document.text)
                source_paths = Paths(source.root, schema)
            assert source_paths is not None
            path = source_paths.of(source.elements[document.index[element]], difference.slot)
        else:
            path = paths.of(element, difference.slot)
        origins = tuple([owner.origin for owner in difference.owners])
        change = Change(
            op, path, difference.before, difference.after, origins[0], origins, input_line, output_line
        )
        rows.append((output_line or input_line or 0, change))
    rows.sort(key=itemgetter(0))
    return tuple([change for _, change in rows])
