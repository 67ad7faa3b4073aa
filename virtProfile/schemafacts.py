# SPDX-License-Identifier: GPL-2.0-or-later
"""The curated facts about domain XML: what no schema says. Data files, a source per row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


class PathFacts:
    """All that is known of one path besides the schema."""

    __slots__ = ("key", "binding", "implied", "dependents", "unit", "abi", "order")

    def __init__(self) -> None:
        self.key: tuple[tuple[str, ...], str] = ((), "")
        self.binding: frozenset[str] = frozenset()
        self.implied: dict[str, str] = {}
        self.dependents: dict[str, frozenset[str]] = {}
        self.unit: dict[str, tuple[str, str]] = {}
        self.abi: frozenset[str] = frozenset()
        self.order: tuple[str, ...] = ()


_NOTHING = PathFacts()


def rows(path: Path) -> Iterator[list[str]]:
    """The rows of a data file: tab-separated, "#" opens a comment line."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield line.split("\t")


def canonical(path: str) -> str:
    """The path under which facts stand: chains of backing stores are one."""
    while "backingStore/backingStore" in path:
        path = path.replace("backingStore/backingStore", "backingStore")
    return path


class Facts:
    """Facts by path."""

    def __init__(self) -> None:
        self._paths: dict[str, PathFacts] = {}
        self.exclusions: tuple[tuple[str, str, str], ...] = ()

    def at(self, path: str) -> PathFacts:
        return self._paths.get(canonical(path), _NOTHING)

    def paths(self) -> list[str]:
        return list(self._paths)

    def _make(self, path: str) -> PathFacts:
        return self._paths.setdefault("" if path == "." else path, PathFacts())

    @classmethod
    def load(cls, directory: Path) -> Facts:
        """Read the data files of a directory."""
        facts = cls()
        for path, key, key_class, *_ in rows(directory / "keys.tsv"):
            parts = () if key == "-" else tuple(key.split("+"))
            facts._make(path).key = (parts, key_class)
        for path, slots, *_ in rows(directory / "binding.tsv"):
            facts._make(path).binding = frozenset(slots.split("+"))
        for path, slot, value, *_ in rows(directory / "implied.tsv"):
            entry = facts._make(path)
            entry.implied = {**entry.implied, slot: value}
        for path, slot, depends, *_ in rows(directory / "dependents.tsv"):
            entry = facts._make(path)
            entry.dependents = {**entry.dependents, slot: frozenset(depends.split("+"))}
        for path, slot, unit, default, *_ in rows(directory / "units.tsv"):
            entry = facts._make(path)
            entry.unit = {**entry.unit, slot: (unit, default)}
        for path, slots, *_ in rows(directory / "abi.tsv"):
            facts._make(path).abi = frozenset("" if one == "." else one for one in slots.split("+"))
        for path, order, *_ in rows(directory / "order.tsv"):
            facts._make(path).order = tuple(order.split(" "))
        facts.exclusions = tuple(
            (one, other, source) for one, other, source, *_ in rows(directory / "exclusions.tsv")
        )
        return facts
