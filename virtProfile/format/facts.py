# SPDX-License-Identifier: GPL-2.0-or-later
"""The curated facts about domain XML: what no schema says. Data files, a source per row."""

from __future__ import annotations

import os
from collections.abc import Iterator

from virtProfile.format.patterns import compiled_later


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
        "singles",
        "respelled",
        "respells",
        "kept",
        "voided",
        "voids",
        "keyed_conflict",
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
        #: slot -> what belongs to some of its values only
        self.variants: dict[str, list[Variant]] = {}
        self.unit: dict[str, tuple[str, str]] = {}
        self.abi: frozenset[str] = frozenset()
        self.order: tuple[str, ...] = ()
        #: (parts, XPath on the parent or "-"): of these there is one for each value of the parts
        self.singles: tuple[tuple[tuple[str, ...], str], ...] = ()
        #: (slot of the parent, slot, discriminator, its value): a value that stands on the parent too
        self.respelled: tuple[tuple[str, str, str, str], ...] = ()
        #: (slot, value, XPath on the parent): where libvirt keeps an element with such a value
        self.kept: tuple[tuple[str, str, str], ...] = ()
        #: (slot, values, slots of the parent): what libvirt drops from the parent for such a value
        self.voided: tuple[tuple[str, frozenset[str], tuple[str, ...]], ...] = ()
        #: `voided` from the parent's side: its slot -> (tag of the child, slot, values)
        self.voids: dict[str, tuple[str, str, frozenset[str]]] = {}
        #: `respelled` from the parent's side: its slot -> (tag of the child, slot, discriminator, its value)
        self.respells: dict[str, tuple[str, str, str, str]] = {}
        #: two with the same key that are different things cannot both be there
        self.keyed_conflict = False


#: What a step of a part asks for.
_CONDITION = compiled_later(r"\[[^]]*\]")


class Variant:
    """A part that belongs to some values of a discriminator only.

    :ivar what: the part, relative to the element of the discriminator; ``..`` leads out of it, and a step
        may ask for a value, as in ``memory[@placement=auto]``
    :ivar path: the same without what its steps ask for
    :ivar unless: what allows the part beside any value, relative to the element of the discriminator; or ""
    :ivar probed: libvirt's QEMU driver was asked, which is no answer for other drivers
    """

    __slots__ = ("what", "path", "goes", "unless", "probed", "_keeps", "_others")

    def __init__(
        self, what: str, keeps: frozenset[str], others: frozenset[str], unless: str = "", probed: bool = False
    ) -> None:
        self.what = what
        self.path = _CONDITION.sub("", what) if "[" in what else what
        self.unless = unless
        self.probed = probed
        #: it says what the very value is, and goes with any other
        self.goes = not keeps and not others
        self._keeps = keeps
        self._others = others

    def forbids(self, value: str | None) -> bool:
        """Does libvirt drop or refuse the part beside that value? Not where nobody knows."""
        if value is None or self.goes:
            return False
        return value in self._others if self._others else value not in self._keeps


class _Row:
    """A row of what belongs to some values of a discriminator, see `Variant`.

    :ivar element: of the discriminator, and `slot` of it
    """

    __slots__ = ("element", "slot", "_path", "_what", "_keeps", "_others", "_unless", "_probed", "_made")

    def __init__(
        self, path: str, slot: str, what: str, keeps: str, others: str, unless: str, probed: bool
    ) -> None:
        tags, _, self.slot = slot.rpartition("/")
        self.element = f"{path}/{tags}" if tags else path
        self._path = path
        self._what = what
        self._keeps = keeps
        self._others = others
        self._unless = unless
        self._probed = probed
        self._made: Variant | None = None

    def variant(self) -> Variant:
        """The same object each time."""
        if self._made is None:
            tags = self.element.split("/")[self._path.count("/") + 1 :]
            steps = self._what.split("/")
            common = 0
            while common < min(len(tags), len(steps) - 1) and tags[common] == steps[common]:
                common += 1
            what = "/".join([".."] * (len(tags) - common) + steps[common:])
            keeps, others = (_words(text) for text in (self._keeps, self._others))
            self._made = Variant(what, keeps, others, self._unless, self._probed)
        return self._made


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split(" ")) if text else _NONE


_NOTHING = PathFacts()
_NONE: frozenset[str] = frozenset()


def data_beside(module: str) -> str:
    """The directory of a module's tables.

    A text and no `pathlib.Path`: importing that would take a twentieth of the program's start.

    :param module: its ``__file__``
    """
    return os.path.join(os.path.dirname(module), "data")


def rows(path: str | os.PathLike[str]) -> Iterator[list[str]]:
    """The rows of a data file: tab-separated, "#" opens a comment line."""
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    for line in lines:
        if line and not line.startswith("#"):
            yield line.split("\t")


def holds(when: str, era: str | None) -> bool:
    """Does a row hold for a version of libvirt?

    :param when: "-" for every version, ``since=VERSION`` or ``before=VERSION``
    :param era: one of the versions of eras.tsv, None for the newest
    """
    if when == "-":
        return True
    word, _, version = when.partition("=")
    newer = era is None or [int(part) for part in era.split(".")] >= [
        int(part) for part in version.split(".")
    ]
    return newer == (word == "since")


def _fits(pattern: tuple[str, ...], tags: tuple[str, ...]) -> bool:
    """Does a path end so ("*" in front), or is it so with any element for each "*"?"""
    if pattern[0] == "*":
        return tags[1 - len(pattern) :] == pattern[1:] and len(tags) >= len(pattern)
    return len(tags) == len(pattern) and all(
        wanted in ("*", tag) for wanted, tag in zip(pattern, tags, strict=True)
    )


class Facts:
    """Facts by path."""

    def __init__(self) -> None:
        self._paths: dict[str, PathFacts] = {}
        self._patterns: dict[tuple[str, ...], PathFacts] = {}
        self.exclusions: tuple[tuple[str, str, str], ...] = ()
        self.needed: tuple[str, ...] = ()
        #: element of a discriminator -> its rows that are no variants yet: a process asks for few
        self._rows: dict[str, list[_Row]] = {}
        #: full path of a part -> its rows
        self._parts: dict[str, list[_Row]] = {}
        #: (path, slot) of what libvirt writes as one element for each member of a set
        self.splits: tuple[tuple[str, str], ...] = ()
        #: slots that a guest sees on some path
        self.abi_slots: frozenset[str] = frozenset()

    def at(self, path: str, tags: tuple[str, ...]) -> PathFacts:
        """All facts of a path: its own, and those of any place that ends so."""
        self._read_variants(path)
        found = [self._paths[path]] if path in self._paths else []
        found += [entry for pattern, entry in self._patterns.items() if _fits(pattern, tags)]
        if len(found) < 2:
            return found[0] if found else _NOTHING
        merged = PathFacts()
        for name in PathFacts.__slots__:
            values = [getattr(fact, name) for fact in found]
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
            pattern = tuple(path.split("/"))
            found = self._patterns.get(pattern)
            if found is None:
                found = self._patterns[pattern] = PathFacts()
            return found
        path = "" if path == "." else path
        found = self._paths.get(path)
        if found is None:
            found = self._paths[path] = PathFacts()
        return found

    def belongs(self, full: str) -> list[tuple[str, str, Variant]]:
        """(element of a discriminator, its slot, what of it allows the part), by the full path of a part."""
        return [(row.element, row.slot, row.variant()) for row in self._parts.get(full, ())]

    def _belongs(
        self, path: str, slot: str, what: str, words: str, others: str, unless: str, probed: bool
    ) -> None:
        """A part below `path` belongs to some values of a slot below `path`."""
        row = _Row(path, slot, what, words, others, unless, probed)
        self._make(row.element)
        self._rows.setdefault("" if row.element == "." else row.element, []).append(row)
        self._parts.setdefault(f"{path}/{what}", []).append(row)
        if "*" in row.element:  # asked for by the paths that end so
            self._read_variants(row.element)

    def _read_variants(self, path: str) -> None:
        """Make the variants of a path of the rows that are about it, when they are first asked for."""
        rows = self._rows.pop(path, None)
        if rows is not None:
            variants = self._make(path).variants
            for row in rows:
                variants.setdefault(row.slot, []).append(row.variant())

    @classmethod
    def load(cls, directory: str, era: str | None = None) -> Facts:
        """Read the data files of a directory, as far as they hold for a version of libvirt, see `holds`."""
        facts = cls()
        for path, key, key_class, *_ in rows(f"{directory}/keys.tsv"):
            parts = () if key == "-" else tuple(key.split("+"))
            facts._make(path).key = (parts, key_class)
        for path, slots, keyed, *_ in rows(f"{directory}/binding.tsv"):
            facts._make(path).binding = frozenset(slots.split("+"))
            facts._make(path).keyed_conflict = keyed == "conflict"
        for path, slot, words, *_ in rows(f"{directory}/twins.tsv"):
            facts._make(path).twins = (slot, frozenset(words.split(" ")))
        for path, slot, *_ in rows(f"{directory}/splits.tsv"):
            facts._make(path).split = slot
            facts.splits += ((path, slot),)
        for path, slot, value, provided, *_ in rows(f"{directory}/implied.tsv"):
            entry = facts._make(path)
            entry.implied[slot] = value
            if provided != "-":
                entry.provided[slot] = provided
        for path, slot, depends, *_ in rows(f"{directory}/dependents.tsv"):
            facts._make(path).dependents[slot] = frozenset(depends.split("+"))
        for path, slot, what, values, *_ in rows(f"{directory}/variants.tsv"):
            values, _, unless = values.partition(" unless ")
            words = values.lstrip("!-")
            pair = ("", words) if values[0] == "!" else (words, "")
            facts._belongs(path, slot, what, *pair, unless, False)
        for path, slot, what, kept, refused, when, *_ in rows(f"{directory}/probed.tsv"):
            if holds(when, era):
                facts._belongs(path, slot, what, kept, refused, "", True)
        for path, slot, unit, default, *_ in rows(f"{directory}/units.tsv"):
            facts._make(path).unit[slot] = (unit, default)
        seen: set[str] = set()
        for path, slots, *_ in rows(f"{directory}/abi.tsv"):
            of_it = ["" if part == "." else part for part in slots.split("+")]
            facts._make(path).abi = frozenset(of_it)
            seen.update(of_it)
        facts.abi_slots = frozenset(seen)
        facts._load_what_is_one(directory)
        for path, order, *_ in rows(f"{directory}/order.tsv"):
            facts._make(path).order = tuple(order.split(" "))
        facts.exclusions = tuple(
            (row, other, source) for row, other, source, *_ in rows(f"{directory}/exclusions.tsv")
        )
        facts.needed = tuple(path for path, *_ in rows(f"{directory}/needed.tsv"))
        return facts

    def _load_what_is_one(self, directory: str) -> None:
        """What is one in effect, and what libvirt writes in two places."""
        facts = self
        for path, parts_of_one, where, *_ in rows(f"{directory}/singles.tsv"):
            parts = () if parts_of_one == "-" else tuple(parts_of_one.split("+"))
            facts._make(path).singles += ((parts, where),)
        for path, above, slot, by, word, where, *_ in rows(f"{directory}/respelled.tsv"):
            facts._make(path).respelled += ((above, slot, by, word),)
            if where != "-":
                facts._make(path).kept += ((by, word, where),)
            parent, _, tag = path.rpartition("/")
            facts._make(parent).respells[above] = (tag, slot, by, word)
        for path, slot, words, dropped, *_ in rows(f"{directory}/voided.tsv"):
            those = frozenset(words.split(" "))
            facts._make(path).voided += ((slot, those, tuple(dropped.split("+"))),)
            parent, _, tag = path.rpartition("/")
            facts._make(parent).voids.update(dict.fromkeys(dropped.split("+"), (tag, slot, those)))
