# SPDX-License-Identifier: GPL-2.0-or-later
"""The record as XML, as compact as it can be told: alike entries stand as one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from lxml import etree

from virtProfile.engine.record.model import (
    DIGEST_DIGITS,
    HIDDEN,
    PREFIX,
    ROOT,
    Entry,
    Record,
    Recorded,
    Written,
    tag_of,
)
from virtProfile.format.document import RECORD_NS
from virtProfile.format.element import Element

_NSMAP = {PREFIX: RECORD_NS}
_OURS = f"{{{RECORD_NS}}}"
#: A key value or a number in a place.
_VALUE = re.compile(r"=([^' \]]+)\]|\[([1-9][0-9]*)\]")


def build(record: Record, parent: Element) -> tuple[Element, list[Written]]:
    """The record as an element that can be put into `parent`, and what is written into it.

    Nobody looks at the parts of a record in the tree, so that no elements are made of them but where
    names of other namespaces need their prefixes.
    """
    root = parent.makeelement(ROOT, nsmap=_NSMAP)
    if record.made:
        root.set("made", " ".join(sorted(record.made)))
    if record.ours:
        root.set("ours", " ".join(sorted(record.ours)))
    parts = [_profile(recorded) for recorded in sorted(record.profiles, key=lambda profile: profile.name)]
    if not any([_is_mixed(part) for part in parts]):
        return root, parts
    for part in parts:
        write_element(root, part)
    return root, []


def _profile(recorded: Recorded) -> Written:
    """One profile of the record."""
    attributes = {
        "name": recorded.name,
        "version": recorded.version,
        "digest": recorded.digest[:DIGEST_DIGITS],
    }
    if recorded.priority:
        attributes["priority"] = str(recorded.priority)
    if recorded.source != "list":
        attributes["source"] = recorded.source
    if recorded.implies:
        attributes["implies"] = " ".join(recorded.implies)
    if recorded.sketch:
        attributes["sketch"] = "yes"
    if recorded.out:
        attributes["out"] = " ".join(map(str, sorted(recorded.out)))
    parts = [Written("param", {"name": name}, recorded.params[name]) for name in sorted(recorded.params)]
    parts += [_written(group) for group in _together(recorded.entries)]
    return Written("profile", attributes, None, parts)


def _is_mixed(written: Written) -> bool:
    """Is there a name of another namespace in it?"""
    if written.tag[0] == "{":
        return True
    for name in written.attrs:
        if name[0] == "{":
            return True
    for part in written.children:  # no comprehensions: few parts have any
        if _is_mixed(part):
            return True
    return False


class _Group:
    """Entries that stand as one: they differ in nothing but one key, or stand behind each other."""

    __slots__ = ("template", "entries", "words")

    def __init__(self, template: str) -> None:
        self.template = template
        self.entries: list[Entry] = []
        #: of each entry: what stands in its place for the ``?`` of the template
        self.words: list[str | None] = []


def _together(entries: Sequence[Entry]) -> Iterable[_Group]:
    """The entries in groups, in the order of their first ones."""
    groups: dict[Any, _Group] = {}
    keys: dict[int, Any] = {}  # of what was written, by its identity: alike entries share it
    for number, entry in enumerate(entries):
        template, word = _template(entry.at)
        written = entry.written
        if entry.kind == "on":
            key: Any = ("on", template, word is None and number, entry.gone, entry.hidden, entry.also,
                        _known_key(written, keys), entry.was and _known_key(entry.was, keys))  # fmt: skip
        elif word is not None:
            key = (entry.kind, template, _known_key(written, keys), entry.number, entry.gone,
                   entry.hidden, entry.also, entry.beside)  # fmt: skip
        else:
            key = (entry.kind, entry.at, written.tag, entry.number - number, entry.gone, entry.hidden,
                   entry.also, entry.beside)  # fmt: skip
        group = groups.get(key)
        if group is None:
            group = groups[key] = _Group(template)
        group.entries.append(entry)
        group.words.append(word)
    return groups.values()


def _known_key(written: Written, keys: dict[int, Any]) -> Any:
    """`_key`, made once for each."""
    key = keys.get(id(written))
    if key is None:
        key = keys[id(written)] = _key(written)
    return key


def _key(written: Written) -> Any:
    """Equal for what says the same."""
    below = tuple(map(_key, written.children)) if written.children else ()
    return (written.tag, tuple(written.attrs.items()), written.text, below)


def _template(at: str) -> tuple[str, str | None]:
    """A place with a ``?`` for the first key value or number, and what stood there."""
    found = _VALUE.search(at)
    if found is None or "?" in at or at.count("[") > 1 and found.group(2):
        return at, None
    group = 1 if found.group(1) is not None else 2
    return at[: found.start(group)] + "?" + at[found.end(group) :], found.group(group)


def _written(group: _Group) -> Written:
    """Entries that stand as one."""
    entries = group.entries
    first = entries[0]
    attributes: dict[str, str] = {}
    if first.kind == "on":
        if len(entries) == 1:
            attributes["at"] = first.at
        else:
            attributes["at"] = group.template
            attributes["of"] = " ".join([str(word) for word in group.words])
    else:
        name = "to" if first.kind == "add" else "from"
        if len(entries) > 1 and any(entry.at != first.at for entry in entries):
            attributes[name] = group.template
            attributes["of"] = " ".join([str(word) for word in group.words])
            entries = entries[:1]
        else:
            attributes[name] = first.at
        if first.number != 1:
            attributes["n"] = str(first.number)
    if first.gone:
        attributes["gone"] = "yes"
    if first.beside:
        attributes["beside"] = "yes"
    if first.hidden:
        attributes[HIDDEN] = " ".join(first.hidden)
    if first.also:
        attributes["also"] = " ".join(first.also)
    if first.kind == "on":
        parts = [first.written] if first.was is None else [first.written, first.was]
    else:
        parts = [entry.written for entry in entries]
    return Written(first.kind, attributes, None, parts)


def write_element(parent: Element, written: Written) -> None:
    """Make an element of it, the last of its parent."""
    tag, nsmap = written.tag, _NSMAP
    if tag[0] != "{":
        tag = tag_of(tag)
    elif not tag.startswith(_OURS):
        nsmap = {"n": tag[1:].partition("}")[0]}
    new = etree.SubElement(parent, tag, written.attrs, nsmap)
    if written.text is not None:
        new.text = written.text
    for part in written.children:
        write_element(new, part)
