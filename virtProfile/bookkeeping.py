# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes the list of profiles in the VM's metadata, and the record of what they did.

The list says what is wanted, in the design's own namespace; what it says of a
profile is only what somebody said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .changes import BOOKKEEPER
from .meeting import place
from .record import Record, same_record
from .recordwriter import build
from .worktree import PRESENCE, TEXT, Element, WorkTree, child, text_of
from .xmltree import VIRTUNED_NS

if TYPE_CHECKING:
    from .selector import Selection
    from .wishlist import Entry, Request

_NSMAP = {"virtuned": VIRTUNED_NS}


def _tag(name: str) -> str:
    return f"{{{VIRTUNED_NS}}}{name}"


def write_list(tree: WorkTree, schema: Any, selection: Selection) -> None:
    """Bring the list up to what the caller named."""
    entries = {one.request.name: one.element for one in selection.entries}
    for request in sorted(selection.named, key=lambda one: one.name):  # whatever order they came in
        entry = entries.get(request.name)
        if entry is None:
            entry = _new(tree, _list(tree, schema), "profile")
            tree.set(entry, "@name", request.name, BOOKKEEPER)
        if request.include and entry.get("exclude") is not None:
            tree.unset(entry, "@exclude", BOOKKEEPER)
        _set(tree, entry, "priority", None if request.priority is None else str(request.priority))
        _set(tree, entry, "version", request.version)
        _write_params(tree, entry, request, selection.secrets.get(request.name, set()))


def unlist(tree: WorkTree, schema: Any, entries: Sequence[Entry], names: Iterable[str], exclude: bool,
           record: Record) -> list[str]:  # fmt: skip
    """Take profiles off the list; the names of those whose entries are not ours and so stay.

    :param exclude: say in the list that they are kept out
    """
    stay = []
    there = {one.request.name: one for one in entries}
    for name in names:
        entry = there.get(name)
        if exclude:
            element = entry.element if entry is not None else None
            if element is None:
                element = _new(tree, _list(tree, schema), "profile")
                tree.set(element, "@name", name, BOOKKEEPER)
            _set(tree, element, "exclude", "yes")
        elif entry is not None and name in record.ours:
            tree.remove(entry.element, [BOOKKEEPER])
        elif entry is not None and not entry.exclude:
            stay.append(name)
    return stay


def write_record(
    tree: WorkTree, schema: Any, before: Record | None, after: Record | None, changed: bool
) -> None:
    """Put the record in the place of the one before; None, or one of no profile, is none.

    :param changed: where nothing changed, the same record in libvirt's spelling is left
    """
    made = set(before.made) if before is not None else set()
    made |= {name for name, tag in _CONTAINERS.items() if any(one.tag == tag for one in tree.created)}
    if after:
        after.made = frozenset(made)
        if before is not None:
            tree.revive(before.element, BOOKKEEPER)
            if same_record(before, after, changed):
                return
        metadata = _metadata(tree, schema)
        if any(one is metadata for one in tree.created):
            after.made = frozenset(made | {"metadata"})
        new = build(after, metadata)
        if before is not None:
            tree.insert(metadata, before.element, new, BOOKKEEPER)
            tree.remove(before.element, [BOOKKEEPER])
        else:
            tree.insert(metadata, _last(metadata), new, BOOKKEEPER)
        for one in new.iter("*"):
            tree.own_slot(one, PRESENCE, BOOKKEEPER)
        return
    metadata = child(tree.root, "metadata")
    if metadata is None:
        return
    if "list" in made:
        found = child(metadata, _tag("virtuned"))
        if found is not None and not len(found) and not found.attrib:
            tree.remove(found, [BOOKKEEPER])
    if "metadata" in made and not len(metadata):
        tree.remove(metadata, [BOOKKEEPER])


_CONTAINERS = {"metadata": "metadata", "list": f"{{{VIRTUNED_NS}}}virtuned"}


def _set(tree: WorkTree, entry: Element, name: str, value: str | None) -> None:
    if value is not None and entry.get(name) != value:
        tree.set(entry, "@" + name, value, BOOKKEEPER)


def _write_params(tree: WorkTree, entry: Element, request: Request, secret: set[str]) -> None:
    there = {one.get("name"): one for one in entry.iterchildren(_tag("param"))}
    for name, value in request.params.items():
        if name in secret:
            continue
        param = there.get(name)
        if param is None:
            param = _new(tree, entry, "param")
            tree.set(param, "@name", name, BOOKKEEPER)
        if text_of(param) != value:
            tree.set(param, TEXT, value, BOOKKEEPER)


def _metadata(tree: WorkTree, schema: Any) -> Element:
    metadata = child(tree.root, "metadata")
    if metadata is None:
        metadata = tree.root.makeelement("metadata")
        tree.insert(tree.root, place(tree.root, schema.root, "metadata"), metadata, BOOKKEEPER)
    return metadata


def _list(tree: WorkTree, schema: Any) -> Element:
    metadata = _metadata(tree, schema)
    found = child(metadata, _tag("virtuned"))
    return found if found is not None else _new(tree, metadata, "virtuned")


def _last(parent: Element) -> Element | None:
    for one in parent.iterchildren("*", reversed=True):
        return one
    return None


def _new(tree: WorkTree, parent: Element, name: str) -> Element:
    new = parent.makeelement(_tag(name), nsmap=_NSMAP)
    tree.insert(parent, _last(parent), new, BOOKKEEPER)
    return new
