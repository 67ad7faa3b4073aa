# SPDX-License-Identifier: GPL-2.0-or-later
"""What is harmless to change in a VM, by path of the schema (``data/harmless.tsv``); all else is guarded.

The service's policy and what is believed of a record both ask here.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from virtProfile.format.facts import rows
from virtProfile.frozen import record

#: The slot of an element's presence, in the table.
PRESENCE = "-"


@record
class Row:
    """A row of the table.

    :param how: any, fill, keep, gone or new
    :param values: that are harmless; empty: all
    """

    slots: frozenset[str]
    how: str
    values: frozenset[str]

    def names(self, slot: str) -> bool:
        return slot in self.slots or "*" in self.slots

    def has(self, slot: str, value: str | None) -> bool:
        if not self.names(slot):
            return False
        return slot == PRESENCE or not self.values or value in self.values


class _Paths:
    """Rows by path, steps of which may be ``*``, and ``**`` at the end."""

    def __init__(self) -> None:
        self.steps: dict[str, _Paths] = {}
        self.rows: list[Row] = []

    def add(self, steps: list[str], row: Row) -> None:
        at = self
        for step in steps:
            at = at.steps.setdefault(step, _Paths())
        at.rows.append(row)

    def find(self, steps: list[str], index: int, found: list[Row]) -> None:
        if index == len(steps):
            found += self.rows
            return
        step = steps[index]
        if step in self.steps:
            self.steps[step].find(steps, index + 1, found)
        if step == "alias" or step[:1] == "{":
            return
        if "*" in self.steps:
            self.steps["*"].find(steps, index + 1, found)
        if "**" in self.steps and not any(step == "alias" or step[:1] == "{" for step in steps[index:]):
            found += self.steps["**"].rows


def _load(lines: list[tuple[str, ...]]) -> _Paths:
    found = _Paths()
    for path, slots, how, values, *_ in lines:
        row = Row(frozenset(slots.split()), how, frozenset(values.split("|")) - {""})
        found.add(path.split("/"), row)
    return found


@cache
def _table() -> _Paths:
    return _load([tuple(row) for row in rows(Path(__file__).parent / "data" / "harmless.tsv")])


@cache
def _opened(patterns: tuple[str, ...]) -> _Paths:
    """What a policy opens besides: ``devices/disk/driver/@type``, or an element with all in it."""
    lines: list[tuple[str, ...]] = []
    for pattern in patterns:
        path, _, slot = pattern.rpartition("/")
        if slot[:1] == "@":
            lines.append((path, slot, "any", "", ""))
        else:
            lines += [(pattern, "*", "any", "", ""), (f"{pattern}/**", "*", "any", "", "")]
    return _load(lines)


#: (path, opened) -> rows
_known: dict[tuple[str, tuple[str, ...]], tuple[Row, ...]] = {}


def rows_at(path: str, opened: tuple[str, ...] = ()) -> tuple[Row, ...]:
    """The rows for an element.

    :param path: below domain, "." for the domain itself
    :param opened: paths that a policy opens besides
    """
    key = path, opened
    found = _known.get(key)
    if found is None:
        steps = path.split("/")
        into: list[Row] = []
        _table().find(steps, 0, into)
        if opened:
            _opened(opened).find(steps, 0, into)
        if len(_known) > 20_000:
            _known.clear()
        found = _known[key] = tuple(into)
    return found


#: (path, slot, opened) -> the kinds of its rows: for every value, and for some
_kinds: dict[tuple[str, str, tuple[str, ...]], tuple[frozenset[str], frozenset[str]]] = {}


def kinds_at(path: str, slot: str, opened: tuple[str, ...] = ()) -> tuple[frozenset[str], frozenset[str]]:
    """The kinds of the rows of a slot: those that hold for every value, and those that hold for some."""
    key = path, slot, opened
    found = _kinds.get(key)
    if found is None:
        named = [row for row in rows_at(path, opened) if row.names(slot)]
        every = frozenset(row.how for row in named if slot == PRESENCE or not row.values)
        if len(_kinds) > 20_000:
            _kinds.clear()
        found = _kinds[key] = every, frozenset(row.how for row in named) - every
    return found


def is_harmless(
    path: str, slot: str, value: str | None, how: str = "any", opened: tuple[str, ...] = ()
) -> bool:
    """Is there a row of that kind?"""
    every, some = kinds_at(path, slot, opened)
    if how in every:
        return True
    return how in some and any(row.how == how and row.has(slot, value) for row in rows_at(path, opened))
