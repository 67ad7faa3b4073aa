# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes the caller's profiles into the list in the VM's metadata.

The list says what is wanted, in the design's own namespace; what it says of a
profile is only what somebody said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .changes import BOOKKEEPER
from .meeting import place
from .worktree import TEXT, Element, WorkTree, child, text_of
from .xmltree import VIRTUNED_NS

if TYPE_CHECKING:
    from .selector import Request, Selection

_NSMAP = {"virtuned": VIRTUNED_NS}


def _tag(name: str) -> str:
    return f"{{{VIRTUNED_NS}}}{name}"


def write_list(tree: WorkTree, schema: Any, selection: Selection) -> bool:
    """Bring the list up to what the caller named; True if that changed anything."""
    if not selection.named:
        return False
    mark = tree.mark()
    entries = {one.request.name: one.element for one in selection.entries}
    for request in selection.named:
        entry = entries.get(request.name)
        if entry is None:
            entry = _new(tree, _list(tree, schema), "profile")
            tree.set(entry, "@name", request.name, BOOKKEEPER)
        if request.include and entry.get("exclude") is not None:
            tree.unset(entry, "@exclude", BOOKKEEPER)
        _set(tree, entry, "priority", None if request.priority is None else str(request.priority))
        _set(tree, entry, "version", request.version)
        _write_params(tree, entry, request, selection.secrets.get(request.name, set()))
    return tree.mark() != mark


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


def _list(tree: WorkTree, schema: Any) -> Element:
    metadata = child(tree.root, "metadata")
    if metadata is None:
        metadata = tree.root.makeelement("metadata")
        tree.insert(tree.root, place(tree.root, schema.root, "metadata"), metadata, BOOKKEEPER)
    found = child(metadata, _tag("virtuned"))
    return found if found is not None else _new(tree, metadata, "virtuned")


def _new(tree: WorkTree, parent: Element, name: str) -> Element:
    last = None
    for one in parent.iterchildren("*", reversed=True):
        last = one
        break
    new = parent.makeelement(_tag(name), nsmap=_NSMAP)
    tree.insert(parent, last, new, BOOKKEEPER)
    return new
