# SPDX-License-Identifier: GPL-2.0-or-later
"""The record as XML, as compact as it can be told: alike entries stand as one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from lxml import etree

from virtProfile.engine.record.model import (
    DIGEST_DIGITS,
    HIDDEN,
    PREFIX,
    ROOT,
    Entry,
    Record,
    Written,
    tag_of,
)
from virtProfile.format.document import RECORD_NS
from virtProfile.format.element import Element

_NSMAP = {PREFIX: RECORD_NS}
_OURS = f"{{{RECORD_NS}}}"
#: A key value or a number in a place.
_VALUE = re.compile(r"=([^' \]]+)\]|\[([1-9][0-9]*)\]")


def build(record: Record, parent: Element) -> Element:
    """The record as an element that can be put into `parent`."""
    root = parent.makeelement(ROOT, nsmap={PREFIX: RECORD_NS})
    if record.made:
        root.set("made", " ".join(sorted(record.made)))
    if record.ours:
        root.set("ours", " ".join(sorted(record.ours)))
    for recorded in sorted(record.profiles, key=lambda profile: profile.name):
        profile = _new(root, "profile", name=recorded.name, version=recorded.version)
        profile.set("digest", recorded.digest[:DIGEST_DIGITS])
        if recorded.priority:
            profile.set("priority", str(recorded.priority))
        if recorded.source != "list":
            profile.set("source", recorded.source)
        if recorded.implies:
            profile.set("implies", " ".join(recorded.implies))
        if recorded.sketch:
            profile.set("sketch", "yes")
        if recorded.out:
            profile.set("out", " ".join(map(str, sorted(recorded.out))))
        for name in sorted(recorded.params):
            _new(profile, "param", name=name).text = recorded.params[name]
        for entries in _together(recorded.entries):
            _write(profile, entries)
    return root


def _new(parent: Element, kind: str, **attributes: str) -> Element:
    return etree.SubElement(parent, tag_of(kind), attributes, _NSMAP)


def _together(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Entries that differ in nothing but one key, or that stand behind each other, as one."""
    groups: dict[Any, list[Entry]] = {}
    for number, entry in enumerate(entries):
        template, word = _template(entry.at)
        if entry.kind == "on":
            key: Any = ("on", template, word is None and number, entry.gone, entry.hidden, entry.also,
                        _key(entry.written), None if entry.was is None else _key(entry.was))  # fmt: skip
        elif word is not None:
            key = (entry.kind, template, _key(entry.written), entry.number, entry.gone,
                   entry.hidden, entry.also, entry.beside)  # fmt: skip
        else:
            key = (entry.kind, entry.at, entry.written.tag, entry.number - number, entry.gone, entry.hidden,
                   entry.also, entry.beside)  # fmt: skip
        groups.setdefault(key, []).append(entry)
    return list(groups.values())


def _key(written: Written) -> Any:
    return (written.tag, tuple(written.attrs.items()), written.text, tuple(map(_key, written.children)))


def _template(at: str) -> tuple[str, str | None]:
    """A place with a ``?`` for the first key value or number, and what stood there."""
    found = _VALUE.search(at)
    if found is None or "?" in at or at.count("[") > 1 and found.group(2):
        return at, None
    group = 1 if found.group(1) is not None else 2
    return at[: found.start(group)] + "?" + at[found.end(group) :], found.group(group)


def _write(profile: Element, entries: Sequence[Entry]) -> None:
    first = entries[0]
    if first.kind == "on":
        if len(entries) == 1:
            new = _new(profile, "on", at=first.at)
        else:
            template, _ = _template(first.at)
            words = [str(_template(entry.at)[1]) for entry in entries]
            new = _new(profile, "on", at=template, of=" ".join(words))
    else:
        new = _new(profile, first.kind)
        name = "to" if first.kind == "add" else "from"
        if len(entries) > 1 and any(entry.at != first.at for entry in entries):
            new.set(name, _template(first.at)[0])
            new.set("of", " ".join(str(_template(entry.at)[1]) for entry in entries))
            entries = entries[:1]
        else:
            new.set(name, first.at)
        if first.number != 1:
            new.set("n", str(first.number))
    if first.gone:
        new.set("gone", "yes")
    if first.beside:
        new.set("beside", "yes")
    if first.hidden:
        new.set(HIDDEN, " ".join(first.hidden))
    if first.also:
        new.set("also", " ".join(first.also))
    if first.kind == "on":
        _write_written(new, first.written)
        if first.was is not None:
            _write_written(new, first.was)
    else:
        for entry in entries:
            _write_written(new, entry.written)


def _write_written(parent: Element, written: Written) -> None:
    tag, nsmap = written.tag, _NSMAP
    if tag[0] != "{":
        tag = tag_of(tag)
    elif not tag.startswith(_OURS):
        nsmap = {"n": tag[1:].partition("}")[0]}
    new = etree.SubElement(parent, tag, written.attrs, nsmap)
    if written.text is not None:
        new.text = written.text
    for part in written.children:
        _write_written(new, part)
