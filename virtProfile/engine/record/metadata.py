# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes the list of profiles in the VM's metadata, and the record of what they did.

The list says what is wanted, in the design's own namespace; what it says of a
profile is only what somebody said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lxml import etree

from virtProfile.engine.record.model import Record, same_record
from virtProfile.engine.record.writer import build
from virtProfile.engine.tree.ownership import BOOKKEEPER
from virtProfile.engine.tree.work_tree import WorkTree
from virtProfile.format.document import VIRTUNED_NS
from virtProfile.format.element import TEXT, Element, child, place, text_of
from virtProfile.language.instances import parts

if TYPE_CHECKING:
    from virtProfile.engine.record.model import Written
    from virtProfile.format.schema import Schema
    from virtProfile.language.requests import Entry, Request, Selection

_NSMAP = {"virtuned": VIRTUNED_NS}


def _tag(name: str) -> str:
    return f"{{{VIRTUNED_NS}}}{name}"


def hide_bookkeeping(tree: WorkTree, before: Record) -> list[Element]:
    """Take out what apply itself made in the metadata, so that no condition sees it; gives these elements."""
    hidden: list[Element] = []
    metadata = child(tree.root, "metadata")
    listed = None if metadata is None else child(metadata, _CONTAINERS["list"])
    if metadata is not None and listed is not None and "list" in before.made:
        hidden.append(listed)
        tree.bury(listed, [BOOKKEEPER], None)
    gone = any(
        entry.kind == "del" and "metadata" in (entry.at, entry.written.tag)
        for profile in before.profiles
        for entry in profile.entries
    )
    if metadata is not None and "metadata" in before.made and not len(metadata) and not gone:
        hidden.append(metadata)
        tree.bury(metadata, [BOOKKEEPER], None)
    return hidden


def write_list(tree: WorkTree, schema: Schema, selection: Selection) -> None:
    """Bring the list up to what the caller named."""
    entries = {listed.request.name: listed.element for listed in selection.entries}
    container: Element | None = None
    for request in sorted(selection.named, key=lambda wanted: wanted.name):  # whatever order they came in
        entry = entries.get(request.name)
        if entry is None:
            if container is None:
                container = _list(tree, schema)
            entry = _new(tree, container, "profile")
            _name(tree, entry, request.name)
        if request.include and entry.get("exclude") is not None:
            tree.unset(entry, "@exclude", BOOKKEEPER)
        every = entries.get(parts(request.name)[0])  # an exclusion of all instances goes, not all come
        if request.include and every is not None and every is not entry and every.get("exclude") == "yes":
            tree.remove(every, [BOOKKEEPER])
        _set(tree, entry, "priority", None if request.priority is None else str(request.priority))
        _set(tree, entry, "version", request.version)
        _write_params(tree, entry, request, selection.secrets.get(request.name, set()))


def unlist(tree: WorkTree, schema: Schema, entries: Sequence[Entry], names: Iterable[str], exclude: bool,
           record: Record) -> list[str]:  # fmt: skip
    """Take profiles off the list; the names of those whose entries are not ours and so stay.

    :param exclude: say in the list that they are kept out
    """
    stay = []
    there = {listed.request.name: listed for listed in entries}
    for name in names:
        entry = there.get(name)
        if exclude:
            element = entry.element if entry is not None else None
            if element is None:
                element = _new(tree, _list(tree, schema), "profile")
                _name(tree, element, name)
            _set(tree, element, "exclude", "yes")
        elif entry is not None and name in record.ours:
            tree.remove(entry.element, [BOOKKEEPER])
        elif entry is not None and not entry.exclude:
            stay.append(name)
    return stay


def write_record(
    tree: WorkTree, schema: Schema, before: Record | None, after: Record | None, changed: bool
) -> dict[Element, list[Written]]:
    """Put the record in the place of the one before; None, or one of no profile, is none.

    :param changed: where nothing changed, the same record in libvirt's spelling is left
    :returns: what is written into a new record
    """
    made = set(before.made) if before is not None else set()
    created = {element.tag for element in tree.created}
    made |= {name for name, tag in _CONTAINERS.items() if tag in created}
    if after:
        after.made = frozenset(made)
        if before is not None:
            tree.revive(before.element, BOOKKEEPER)
            if same_record(before, after, changed):
                return {}
        metadata = _metadata(tree, schema)
        if metadata in tree.created:
            after.made = frozenset(made | {"metadata"})
        new, parts = build(after, metadata)
        if before is not None:
            tree.insert(metadata, before.element, new, BOOKKEEPER)
            tree.remove(before.element, [BOOKKEEPER])
        else:
            tree.insert(metadata, _last(metadata), new, BOOKKEEPER)
        return {new: parts}
    holder = child(tree.root, "metadata")
    if holder is None:
        return {}
    if "list" in made:
        found = child(holder, _tag("virtuned"))
        if found is not None and not len(found) and not found.attrib:
            tree.remove(found, [BOOKKEEPER])
    if "metadata" in made and not len(holder):
        tree.remove(holder, [BOOKKEEPER])
    return {}


_CONTAINERS = {"metadata": "metadata", "list": f"{{{VIRTUNED_NS}}}virtuned"}


def _name(tree: WorkTree, entry: Element, name: str) -> None:
    base, instance = parts(name)
    tree.set(entry, "@name", base, BOOKKEEPER)
    if instance is not None:
        tree.set(entry, "@instance", instance, BOOKKEEPER)


def _set(tree: WorkTree, entry: Element, name: str, value: str | None) -> None:
    if value is not None and entry.get(name) != value:
        tree.set(entry, "@" + name, value, BOOKKEEPER)


def _write_params(tree: WorkTree, entry: Element, request: Request, secret: set[str]) -> None:
    there = {element.get("name"): element for element in entry.iterchildren(_tag("param"))}
    for name, value in request.params.items():
        if name in secret:
            continue
        param = there.get(name)
        if param is None:
            param = _new(tree, entry, "param")
            tree.set(param, "@name", name, BOOKKEEPER)
        if text_of(param) != value:
            tree.set(param, TEXT, value, BOOKKEEPER)


def _metadata(tree: WorkTree, schema: Schema) -> Element:
    metadata = child(tree.root, "metadata")
    if metadata is None:
        metadata = tree.root.makeelement("metadata")
        tree.insert(tree.root, place(tree.root, schema.root, "metadata"), metadata, BOOKKEEPER)
    return metadata


def _list(tree: WorkTree, schema: Schema) -> Element:
    metadata = _metadata(tree, schema)
    found = child(metadata, _tag("virtuned"))
    return found if found is not None else _insert(tree, metadata, "virtuned")


def _last(parent: Element) -> Element | None:
    for element in parent.iterchildren("*", reversed=True):
        return element
    return None


def _new(tree: WorkTree, parent: Element, name: str) -> Element:
    """A new element at the end of another; of a new one with all that is in it, that is inserted alone."""
    return _insert(tree, parent, name) if tree.in_source(parent) else etree.SubElement(parent, _tag(name))


def _insert(tree: WorkTree, parent: Element, name: str) -> Element:
    new = parent.makeelement(_tag(name), nsmap=_NSMAP)
    tree.insert(parent, _last(parent), new, BOOKKEEPER)
    return new
