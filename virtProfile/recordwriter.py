# SPDX-License-Identifier: GPL-2.0-or-later
"""The record as XML, as compact as it can be told: alike entries stand as one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .record import DIGEST_DIGITS, HIDDEN, PREFIX, ROOT, Entry, Record, Written, tag_of
from .worktree import Element
from .xmltree import RECORD_NS


def build(record: Record, parent: Element) -> Element:
    """The record as an element that can be put into `parent`."""
    root = parent.makeelement(ROOT, nsmap={PREFIX: RECORD_NS})
    if record.made:
        root.set("made", " ".join(sorted(record.made)))
    if record.ours:
        root.set("ours", " ".join(sorted(record.ours)))
    for one in sorted(record.profiles, key=lambda profile: profile.name):
        profile = _new(root, "profile", name=one.name, version=one.version)
        profile.set("digest", one.digest[:DIGEST_DIGITS])
        if one.priority:
            profile.set("priority", str(one.priority))
        if one.source != "list":
            profile.set("source", one.source)
        if one.implies:
            profile.set("implies", " ".join(one.implies))
        if one.sketch:
            profile.set("sketch", "yes")
        for name in sorted(one.params):
            _new(profile, "param", name=name).text = one.params[name]
        for entries in _together(one.entries):
            _write(profile, entries)
    return root


def _new(parent: Element, kind: str, **attributes: str) -> Element:
    new = parent.makeelement(tag_of(kind), nsmap={PREFIX: RECORD_NS})
    for key, value in attributes.items():
        new.set(key, value)
    parent.append(new)
    return new


def _together(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Entries that differ in nothing but one key, or that stand behind each other, as one."""
    groups: dict[Any, list[Entry]] = {}
    for number, one in enumerate(entries):
        if one.kind == "on":
            template, word = _template(one.at)
            key: Any = ("on", template, word is None and number, one.gone, one.hidden, one.also,
                        _key(one.written), None if one.was is None else _key(one.was))  # fmt: skip
        elif _template(one.at)[1] is not None:
            key = (one.kind, _template(one.at)[0], _key(one.written), one.number, one.gone, one.hidden,
                   one.also)  # fmt: skip
        else:
            key = (one.kind, one.at, one.written.tag, one.number - number, one.gone, one.hidden, one.also)
        groups.setdefault(key, []).append(one)
    return list(groups.values())


def _key(written: Written) -> Any:
    return (written.tag, tuple(written.attrs.items()), written.text, tuple(map(_key, written.children)))


def _template(at: str) -> tuple[str, str | None]:
    """A place with a ``?`` for the first key value or number, and what stood there."""
    found = re.search(r"=([^' \]]+)\]|\[([1-9][0-9]*)\]", at)
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
            words = [str(_template(one.at)[1]) for one in entries]
            new = _new(profile, "on", at=template, of=" ".join(words))
    else:
        new = _new(profile, first.kind)
        name = "to" if first.kind == "add" else "from"
        if len(entries) > 1 and any(one.at != first.at for one in entries):
            new.set(name, _template(first.at)[0])
            new.set("of", " ".join(str(_template(one.at)[1]) for one in entries))
            entries = entries[:1]
        else:
            new.set(name, first.at)
        if first.number != 1:
            new.set("n", str(first.number))
    if first.gone:
        new.set("gone", "yes")
    if first.hidden:
        new.set(HIDDEN, " ".join(first.hidden))
    if first.also:
        new.set("also", " ".join(first.also))
    if first.kind == "on":
        _write_written(new, first.written)
        if first.was is not None:
            _write_written(new, first.was)
    else:
        for one in entries:
            _write_written(new, one.written)


def _write_written(parent: Element, written: Written) -> None:
    tag = written.tag
    uri = tag[1:].partition("}")[0] if tag[0] == "{" else RECORD_NS
    nsmap = {PREFIX if uri == RECORD_NS else "n": uri}
    new = parent.makeelement(tag if tag[0] == "{" else tag_of(tag), nsmap=nsmap)
    for name, value in written.attrs.items():
        new.set(name, value)
    new.text = written.text
    for one in written.children:
        _write_written(new, one)
    parent.append(new)
