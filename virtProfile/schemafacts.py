# SPDX-License-Identifier: GPL-2.0-or-later
"""The curated facts about domain XML: what no schema says. Data files, a source per row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


class PathFacts:
    """All that is known of one path besides the schema."""

    __slots__ = (
        "key",
        "twins",
        "split",
        "binding",
        "implied",
        "provided",
        "dependents",
        "variants",
        "unit",
        "abi",
        "order",
    )

    def __init__(self) -> None:
        self.key: tuple[tuple[str, ...], str] = ((), "")
        #: (slot, words): two that differ in it are two, whatever their keys
        self.twins: tuple[str, frozenset[str]] | None = None
        #: the slot whose set libvirt writes as one element for each member
        self.split = ""
        self.binding: frozenset[str] = frozenset()
        self.implied: dict[str, str] = {}
        #: slot -> the child element (or text()) without which nothing is implied
        self.provided: dict[str, str] = {}
        self.dependents: dict[str, frozenset[str]] = {}
        #: slot -> (what belongs, the values that allow it)
        self.variants: dict[str, list[tuple[str, frozenset[str]]]] = {}
        self.unit: dict[str, tuple[str, str]] = {}
        self.abi: frozenset[str] = frozenset()
        self.order: tuple[str, ...] = ()


_NOTHING = PathFacts()


def rows(path: Path) -> Iterator[list[str]]:
    """The rows of a data file: tab-separated, "#" opens a comment line."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield line.split("\t")


def _fits(pattern: tuple[str, ...], tags: tuple[str, ...]) -> bool:
    """Does a path end so ("*" in front), or is it so with any element for each "*"?"""
    if pattern[0] == "*":
        return tags[1 - len(pattern) :] == pattern[1:] and len(tags) >= len(pattern)
    return len(tags) == len(pattern) and all(
        one in ("*", tag) for one, tag in zip(pattern, tags, strict=True)
    )


class Facts:
    """Facts by path."""

    def __init__(self) -> None:
        self._paths: dict[str, PathFacts] = {}
        self._patterns: dict[tuple[str, ...], PathFacts] = {}
        self.exclusions: tuple[tuple[str, str, str], ...] = ()
        self.needed: tuple[str, ...] = ()
        #: (path, slot) of what libvirt writes as one element for each member of a set
        self.splits: tuple[tuple[str, str], ...] = ()
        #: slots that a guest sees on some path
        self.abi_slots: frozenset[str] = frozenset()

    def at(self, path: str, tags: tuple[str, ...]) -> PathFacts:
        """All facts of a path: its own, and those of any place that ends so."""
        found = [self._paths[path]] if path in self._paths else []
        found += [entry for pattern, entry in self._patterns.items() if _fits(pattern, tags)]
        if len(found) < 2:
            return found[0] if found else _NOTHING
        merged = PathFacts()
        for name in PathFacts.__slots__:
            values = [getattr(one, name) for one in found]
            if isinstance(values[0], dict):
                whole: dict[str, object] = {}
                for value in reversed(values):
                    whole.update(value)
                setattr(merged, name, whole)
            elif name == "key":
                merged.key = next((value for value in values if value[1]), ((), ""))
            else:
                setattr(merged, name, next((value for value in values if value), values[0]))
        return merged

    def paths(self) -> list[str]:
        """Every path of the tables, as it stands there."""
        return [*self._paths, *("/".join(tags) for tags in self._patterns)]

    def _make(self, path: str) -> PathFacts:
        if "*" in path:
            return self._patterns.setdefault(tuple(path.split("/")), PathFacts())
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
        for path, slot, words, *_ in rows(directory / "twins.tsv"):
            facts._make(path).twins = (slot, frozenset(words.split(" ")))
        for path, slot, *_ in rows(directory / "splits.tsv"):
            facts._make(path).split = slot
            facts.splits += ((path, slot),)
        for path, slot, value, provided, *_ in rows(directory / "implied.tsv"):
            entry = facts._make(path)
            entry.implied[slot] = value
            if provided != "-":
                entry.provided[slot] = provided
        for path, slot, depends, *_ in rows(directory / "dependents.tsv"):
            facts._make(path).dependents[slot] = frozenset(depends.split("+"))
        for path, slot, what, values, *_ in rows(directory / "variants.tsv"):
            belongs = facts._make(path).variants.setdefault(slot, [])
            belongs.append((what, frozenset(values.split(" "))))
        for path, slot, unit, default, *_ in rows(directory / "units.tsv"):
            facts._make(path).unit[slot] = (unit, default)
        for path, slots, *_ in rows(directory / "abi.tsv"):
            facts._make(path).abi = frozenset("" if one == "." else one for one in slots.split("+"))
            facts.abi_slots |= facts._make(path).abi
        for path, order, *_ in rows(directory / "order.tsv"):
            facts._make(path).order = tuple(order.split(" "))
        facts.exclusions = tuple(
            (one, other, source) for one, other, source, *_ in rows(directory / "exclusions.tsv")
        )
        facts.needed = tuple(path for path, *_ in rows(directory / "needed.tsv"))
        return facts
