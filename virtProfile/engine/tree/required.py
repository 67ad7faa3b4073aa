# SPDX-License-Identifier: GPL-2.0-or-later
"""What a profile removes and libvirt needs to define the domain: an error that says what and whose.

Two kinds: what a table lists, as libvirt's schema takes the domain without it, and what the schema
itself requires. libxml2 does not say which that is.
"""

from __future__ import annotations

from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

from lxml import etree

from virtProfile.errors import InvalidDomainError
from virtProfile.format.buses import QEMU, name_of
from virtProfile.format.document import parse
from virtProfile.format.element import PRESENCE, TEXT, elements_at
from virtProfile.format.facts import rows
from virtProfile.format.schema import DATA
from virtProfile.language.profile import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from virtProfile.engine.tree.ownership import Writer
    from virtProfile.engine.tree.work_tree import WorkTree
    from virtProfile.format.document import Document
    from virtProfile.format.element import Element
    from virtProfile.format.schema import Schema

#: How many removals are tried to find the one that the schema does not take.
MAX_TRIED = 300


@cache
def _required() -> list[tuple[str, etree.XPath, str, bool]]:
    """(path of the element, what has to hold there, what that is called, is it so of QEMU's driver alone?)"""
    return [
        (path, etree.XPath(f"boolean({needs})", smart_strings=False), called, source.startswith("probe"))
        for path, needs, called, source in rows(f"{DATA}/required.tsv")
    ]


class _Removal:
    """Something of the input that a `remove` took away: an element, or a value of one."""

    __slots__ = ("parent", "element", "slot", "value", "writer")

    def __init__(
        self, parent: Element, element: Element, slot: str, value: str | None, writer: Writer
    ) -> None:
        self.parent = parent  # stands
        self.element = element
        self.slot = slot  # PRESENCE: the whole element
        self.value = value
        self.writer = writer


def _removals(tree: WorkTree) -> Iterator[_Removal]:
    for element, (parent, writers) in tree.removed.items():
        if _is_of_a_remove(writers) and tree.in_source(element) and tree.stands(parent):
            yield _Removal(parent, element, PRESENCE, None, writers[0])
    for element, (before, text) in tree.edited.items():
        now, new_text = tree.says(element)
        values = {}
        if not now.keys() >= before.keys():
            values = {"@" + name: value for name, value in before.items() if name not in now}
        if text is not None and new_text is None:
            values[TEXT] = text
        if not values or not tree.stands(element):
            continue
        for slot, value in values.items():
            writers = tree.accountable(element, slot)
            if _is_of_a_remove(writers):
                yield _Removal(element, element, slot, value, writers[0])


def _is_of_a_remove(writers: Sequence[Writer]) -> bool:
    return bool(writers) and writers[0].origin.action == Kind.REMOVE


def lacking_by_removal(tree: WorkTree) -> InvalidDomainError | None:
    """What a profile removes that libvirt needs, of what the schema does not require."""
    source: Document | None = None
    above: dict[Element, _Removal] = {}
    for removal in _removals(tree):
        for holder in (removal.parent, *removal.parent.iterancestors()):
            above.setdefault(holder, removal)
    is_qemu = tree.root.get("type") in QEMU
    for path, holds, called, probed in _required() if above else ():
        if probed and not is_qemu:
            continue
        for element in [tree.root] if path == "-" else elements_at(tree.root, path):
            if element not in above or holds(element) or not tree.in_source(element):
                continue
            source = source or parse(tree.document.text)
            if holds(source.elements[tree.document.index[element]]):  # else it was not there before either
                return _error(tree, source, above[element], called)
    return None


def invalid_by_removal(tree: WorkTree, schema: Schema) -> InvalidDomainError | None:
    """The removal without which the schema takes the domain, where it is a single one."""
    for removal in islice(_removals(tree), MAX_TRIED):
        undo = _put_back(tree, removal)
        try:
            valid = not schema.validate(tree.root)
        finally:
            undo()
        if valid:
            return _error(tree, parse(tree.document.text), removal, "")
    return None


def _put_back(tree: WorkTree, removal: _Removal) -> Callable[[], None]:
    """Put it back for the moment; calling what comes back takes it away again."""
    element, slot, value = removal.element, removal.slot, removal.value
    if slot == PRESENCE:
        index = tree.document.index
        behind = (
            below for below in removal.parent.iterchildren("*") if index.get(below, -1) > index[element]
        )
        after = next(behind, None)
        removal.parent.insert(len(removal.parent) if after is None else removal.parent.index(after), element)
        before = tree.edited[element][0] if element in tree.edited else {}
        lost = [name for name in before if element.get(name) is None]  # that went first, and left it empty
        for name in lost:
            element.set(name, before[name])

        def away() -> None:
            removal.parent.remove(element)
            for name in lost:
                del element.attrib[name]

        return away
    if slot == TEXT:
        text, element.text = element.text, value

        def again() -> None:
            element.text = text

        return again
    element.set(slot[1:], value or "")
    return lambda: element.attrib.__delitem__(slot[1:])


def _error(tree: WorkTree, source: Document, removal: _Removal, called: str) -> InvalidDomainError:
    """The error, in the words of who wrote the profile.

    :param called: what is needed; "" for what was removed
    """
    at = source.elements[tree.document.index[removal.element]]
    way = [at, *at.iterancestors()][-2::-1]
    device = way[1] if len(way) > 1 and way[0].tag == "devices" else None
    tags = [part.tag for part in way[(0 if device is None else 2) :]]
    what = called or "/".join([*tags, removal.slot] if removal.slot else tags) or f"'{at.tag}'"
    of, hint = "", "leave it as it is, or give it another value with <add>"
    if device is not None:
        of, hint = f" of {name_of(device)}", f"leave it as it is, or remove {name_of(device)} as a whole"
    origin = removal.writer.origin
    return InvalidDomainError(
        f"'{origin.profile}' removes {what}{of}, which libvirt needs to define the domain",
        hint=hint,
        where=f"{origin.file}:{origin.line}",
    )
