# SPDX-License-Identifier: GPL-2.0-or-later
"""The facts of domain XML by path: what may stand where, how often, and what it is.

A `Schema` joins a compiled grammar (the shipped baseline, or the host's) with
curated facts. Its `PathNode` tree is made as far as it is asked for; there is
one node for each path, so what is found out about a path is found out once.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Protocol

from virtProfile.format.facts import Facts, data_beside, rows
from virtProfile.format.grammar import Grammar, Summary, either, summarise
from virtProfile.format.values import ValueType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from os import PathLike

    from lxml import etree

    from virtProfile.format.facts import Variant


__all__ = ["Node", "PathNode", "Schema", "ValueType"]

DATA = data_beside(os.path.realpath(__file__))
#: Values of one discriminator that are remembered.
MAX_WORDS = 64


class Node(Protocol):
    """What is known of an element by its path: `PathNode`, or `ForeignNode` where no schema reaches."""

    path: str
    tag: str
    many: bool
    min: int
    anything: bool
    newer: bool
    key: tuple[str, ...]
    twins: tuple[str, frozenset[str]] | None
    split: str
    binding: frozenset[str]
    implied: dict[str, str]
    provided: dict[str, str]
    order: tuple[str, ...]
    dependents: dict[str, frozenset[str]]
    variants: dict[str, list[Variant]]
    unit: dict[str, tuple[str, str]]
    abi: frozenset[str]
    attrs: dict[str, ValueType]
    singles: tuple[tuple[tuple[str, ...], str], ...]
    respelled: tuple[tuple[str, str, str, str], ...]
    respells: dict[str, tuple[str, str, str, str]]
    kept: tuple[tuple[str, str, str], ...]
    voided: tuple[tuple[str, frozenset[str], tuple[str, ...]], ...]
    voids: dict[str, tuple[str, str, frozenset[str]]]
    keyed_conflict: bool

    @property
    def key_class(self) -> str: ...

    @property
    def parent(self) -> Node | None: ...

    @property
    def text(self) -> ValueType | None: ...

    @property
    def children(self) -> Mapping[str, Node]: ...

    @property
    def required_children(self) -> tuple[str, ...]: ...

    @property
    def uniform_children(self) -> frozenset[str]: ...

    def child(self, tag: str) -> Node | None: ...

    def attribute(self, name: str) -> ValueType | None: ...

    def allowed_with(self, slot: str, value: str | None) -> Node | None: ...


class PathNode:
    """One path of the domain format, ``devices/disk/driver``; "" is the domain itself.

    `many`: may it repeat, by the schema? `key` are the relative slots of its
    identity, `key_class` how far that goes (see data/keys.tsv): "" for *one*,
    E, N unique or natural key, S one in effect, O ordered list, X none.
    """

    __slots__ = (
        "schema",
        "path",
        "tag",
        "parent",
        "many",
        "min",
        "anything",
        "newer",
        "key",
        "key_class",
        "twins",
        "split",
        "binding",
        "implied",
        "provided",
        "order",
        "dependents",
        "variants",
        "unit",
        "singles",
        "respelled",
        "respells",
        "kept",
        "voided",
        "voids",
        "keyed_conflict",
        "abi",
        "attrs",
        "text",
        "_grammar",
        "_elements",
        "_summary",
        "_known",
        "_variants",
        "_only",
    )

    def __init__(
        self,
        schema: Schema,
        grammar: Grammar,
        path: str,
        tag: str,
        parent: PathNode | None,
        elements: list[int],
        low: int,
        high: int,
        newer: bool = False,
        only: tuple[str, str] | None = None,
    ) -> None:
        self.schema = schema
        self._grammar = grammar
        self.path = path
        self.tag = tag
        self.parent = parent
        self._elements = elements
        self.min = low
        self.many = high > 1
        self.newer = newer
        self._only = only
        self._known: dict[str, PathNode | None] = {}
        self._variants: dict[tuple[str, str], PathNode | None] = {}
        summaries = [summarise(grammar, grammar.elements[element][1], only) for element in elements]
        if len(summaries) == 1:
            summary = summaries[0]
        else:
            summary = Summary()
            either(summary, summaries)
        self._summary = summary
        self.anything = summary.any
        self.attrs = {
            name: ValueType(types, required, grammar.resolve)
            for name, (required, types) in summary.attrs.items()
        }
        self.text = ValueType(summary.texts, False, grammar.resolve) if summary.texts else None
        facts = schema.facts.at(path, _tags(self))
        self.key, self.key_class = facts.key if self.many else ((), "")
        if self.many and not self.key_class:
            self.key, self.key_class = _guess_key(self.attrs)
        self.binding = facts.binding
        self.twins = facts.twins
        self.split = facts.split
        self.implied = facts.implied
        self.provided = facts.provided
        self.dependents = facts.dependents
        self.variants = facts.variants
        self.unit = facts.unit
        self.singles = facts.singles
        self.respelled = facts.respelled
        self.respells = facts.respells
        self.kept = facts.kept
        self.voided = facts.voided
        self.voids = facts.voids
        self.keyed_conflict = facts.keyed_conflict
        self.abi = facts.abi
        self.order = facts.order or tuple(summary.children)

    def __repr__(self) -> str:
        return f"<PathNode {self.path or '/domain'}>"

    @property
    def children(self) -> dict[str, PathNode]:
        """All children by tag."""
        found = {tag: self.child(tag) for tag in self._summary.children}
        wider = self.schema.wider(self)
        if wider is not None:
            for tag in wider.children:
                found.setdefault(tag, self.child(tag))
        return {tag: node for tag, node in found.items() if node is not None}

    @property
    def required_children(self) -> tuple[str, ...]:
        """Tags of children that every variant has to have."""
        return tuple(tag for tag, (low, _, _) in self._summary.children.items() if low > 0)

    @property
    def uniform_children(self) -> frozenset[str]:
        """Tags of children that have one form, whichever variant this element is."""
        children = self._summary.children.items()
        return frozenset(tag for tag, (_, _, elements) in children if len(elements) == 1)

    def child(self, tag: str) -> PathNode | None:
        """The node of a child, or None where no known libvirt has it."""
        try:
            return self._known[tag]
        except KeyError:
            pass
        entry = self._summary.children.get(tag)
        node: PathNode | None = None
        path = f"{self.path}/{tag}" if self.path else tag
        if entry is not None:
            low, high, elements = entry
            node = PathNode(self.schema, self._grammar, path, tag, self, elements, low, high, self.newer)
        else:
            wider = self.schema.wider(self)
            if wider is not None and wider.child(tag) is not None:
                other = wider.child(tag)
                assert other is not None
                node = PathNode(
                    self.schema,
                    other._grammar,
                    path,
                    tag,
                    self,
                    other._elements,
                    0,
                    2 if other.many else 1,
                    True,
                )
        self._known[tag] = node
        return node

    def attribute(self, name: str) -> ValueType | None:
        """The type of an attribute, or None where no known libvirt has it."""
        found = self.attrs.get(name)
        if found is None:
            wider = self.schema.wider(self)
            found = None if wider is None else wider.attrs.get(name)
        return found

    def allowed_with(self, slot: str, value: str | None) -> PathNode | None:
        """What the variant with that value of a discriminator allows; None without variants."""
        if value is None or slot[:1] != "@" or slot[1:] not in self.attrs:
            return None
        key = (slot[1:], value)
        if key not in self._variants:
            self._variants[key] = PathNode(
                self.schema,
                self._grammar,
                self.path,
                self.tag,
                self.parent,
                self._elements,
                self.min,
                2 if self.many else 1,
                self.newer,
                key,
            )
        return self._variants[key]


def _guess_key(attrs: dict[str, ValueType]) -> tuple[tuple[str, ...], str]:
    """For lists that no curated fact speaks of: the first required attribute that names.

    The heuristic of the study gave 37 of 40 curated keys.
    """
    for name in ("name", "id", "dev", "alias", "capability", "cellid", "vcpu", "vcpus", "index"):
        if name in attrs and attrs[name].required:
            return (f"@{name}",), "N"
    return (), "X"


class Allowing:
    """A discriminator that some value depends on, as seen from an element on the way to the value.

    :ivar up: steps up from that element, then `tags` down
    :ivar path: of the element of the discriminator
    """

    __slots__ = ("up", "tags", "slot", "name", "path", "_variants", "_known")

    def __init__(
        self, up: int, tags: tuple[str, ...], slot: str, path: str, variants: tuple[Variant, ...]
    ) -> None:
        self.up = up
        self.tags = tags
        self.slot = slot
        self.name = slot[1:]
        self.path = path
        self._variants = variants
        self._known: dict[str | None, tuple[Variant, ...]] = {}

    def forbidding(self, value: str | None) -> tuple[Variant, ...]:
        """By what libvirt drops or refuses what depends on it where the discriminator has the value."""
        known = self._known.get(value)
        if known is None:
            known = tuple(variant for variant in self._variants if variant.forbids(value))
            if len(self._known) < MAX_WORDS:  # words of the schema, not whatever a document says
                self._known[value] = known
        return known


class Schema:
    """The format that one libvirt version takes, with the curated facts."""

    _baseline: Schema | None = None

    def __init__(self, grammar: Grammar, facts: Facts, wider: Schema | None = None) -> None:
        self.grammar = grammar
        self.facts = facts
        self._wider = wider
        self.name = grammar.name
        self.digest = grammar.digest
        #: the version of libvirt whose facts these are, of those in eras.tsv; None for the newest
        self.era: str | None = None
        self.exclusions = facts.exclusions
        #: full path of a value -> those that go with it never
        self.excludes: dict[str, list[str]] = {}
        for exclusion, other, *_ in facts.exclusions:
            self.excludes.setdefault(exclusion, []).append(other)
            self.excludes.setdefault(other, []).append(exclusion)
        self._belongs: dict[str, list[tuple[str, str, Variant]]] = {}
        self._allowing: dict[tuple[str, int], tuple[Allowing, ...]] = {}
        self.root = PathNode(self, grammar, "", "domain", None, self._start(), 1, 1)

    def belongs(self, full: str) -> list[tuple[str, str, Variant]]:
        """(element, slot, variant) of every discriminator that some value or element depends on."""
        known = self._belongs.get(full)
        if known is None:
            known = []
            parts = full.split("/")
            for end in range(1, len(parts) + 1):
                known += self.facts.belongs("/".join(parts[:end]))
            self._belongs[full] = known
        return known

    def allowing(self, full: str, depth: int) -> tuple[Allowing, ...]:
        """`belongs` as seen from an element on the way to the value, by discriminator.

        :param depth: how many steps of `full` lead to that element
        """
        found = self._allowing.get((full, depth))
        if found is None:
            base = [tag for tag in full.split("/") if tag][:depth]
            by_place: dict[tuple[str, str], list[Variant]] = {}
            for path, slot, variant in self.belongs(full):
                by_place.setdefault((path, slot), []).append(variant)
            ways = []
            for (path, slot), variants in by_place.items():
                tags = path.split("/")
                common = 0
                while common < min(depth, len(tags)) and base[common] == tags[common]:
                    common += 1
                ways.append(Allowing(depth - common, tuple(tags[common:]), slot, path, tuple(variants)))
            found = self._allowing[full, depth] = tuple(ways)
        return found

    def _start(self) -> list[int]:
        summary = summarise(self.grammar, self.grammar.refs[self.grammar.start], None)
        return summary.children["domain"][2]

    @classmethod
    def baseline(cls) -> Schema:
        """The shipped model of the newest known libvirt; loaded once."""
        if cls._baseline is None:
            with open(f"{DATA}/baseline.json", "rb") as file:
                data = file.read()
            cls._baseline = cls(Grammar(json.loads(data), "baseline"), Facts.load(DATA))
        return cls._baseline

    @classmethod
    def from_rng(cls, directory: str | PathLike[str], cache: str | PathLike[str] | None = None) -> Schema:
        """The schema of a directory of libvirt's RelaxNG files, with the baseline behind it.

        :param cache: a directory that keeps compiled grammars by digest
        :raises OSError: the files cannot be read
        """
        from virtProfile.format.cache import load_grammar

        base = cls.baseline()
        made = cls(load_grammar(directory, cache), base.facts, base)
        eras = [(version, path) for version, path, *_ in rows(f"{DATA}/eras.tsv")]
        era = [version for version, path in eras if path == "-" or made._has(path)][-1]
        if era != eras[-1][0]:
            made = cls(made.grammar, Facts.load(DATA, era), base)
        made.era = era
        return made

    def _has(self, path: str) -> bool:
        """Does this version, and not only a newer one, have an element?"""
        node: PathNode | None = self.root
        for tag in path.split("/"):
            node = node.child(tag) if node is not None else None
        return node is not None and not node.newer

    @property
    def is_partial(self) -> bool:
        """Is there a newer format behind this one?"""
        return self._wider is not None

    def walk(self) -> Iterator[PathNode]:
        """Every path, once: what contains itself (backing stores) is followed no further."""
        stack: list[tuple[PathNode, tuple[Any, ...]]] = [(self.root, ())]
        while stack:
            node, above = stack.pop()
            if node._elements in above:
                continue
            yield node
            stack.extend((inner, (*above, node._elements)) for inner in node.children.values())

    def wider(self, node: PathNode) -> PathNode | None:
        """The same path in the baseline, where this is the host's schema."""
        if self._wider is None:
            return None
        found: PathNode | None = self._wider.root
        for tag in _tags(node):
            found = found.child(tag) if found is not None else None
        return found

    def validate(self, root: etree._Element) -> list[str]:
        """What libvirt's schema finds wrong with a domain (an lxml element); [] if valid.

        What only a newer libvirt knows is not wrong: this one would ignore it.
        """
        from virtProfile.format.relaxng import validator_for, validator_with_messages

        validator, whole = validator_for(self.grammar, root)
        if validator.validate(root):
            return []
        if not whole:
            validator = validator_with_messages(self.grammar, root)
            if validator.validate(root):
                return []
        if self._wider is not None and not self._wider.validate(root):
            return []
        validator.validate(root)  # libxml2 words its first finding otherwise than all later ones
        return [str(entry.message) for entry in validator.error_log] or ["not valid"]


def _tags(node: PathNode) -> tuple[str, ...]:
    tags: list[str] = []
    here: PathNode | None = node
    while here is not None and here.parent is not None:
        tags.append(here.tag)
        here = here.parent
    return tuple(tags[::-1])


class ForeignNode:
    """Stands for the schema where there is none: inside foreign metadata."""

    __slots__ = ("path", "tag", "parent", "many")

    key: tuple[str, ...] = ()
    binding: frozenset[str] = frozenset()
    implied: dict[str, str] = {}
    provided: dict[str, str] = {}
    twins: tuple[str, frozenset[str]] | None = None
    split = ""
    order: tuple[str, ...] = ()
    attrs: dict[str, ValueType] = {}
    children: dict[str, Node] = {}
    required_children: tuple[str, ...] = ()
    uniform_children: frozenset[str] = frozenset()
    dependents: dict[str, frozenset[str]] = {}
    variants: dict[str, list[Variant]] = {}
    unit: dict[str, tuple[str, str]] = {}
    abi: frozenset[str] = frozenset()
    singles: tuple[tuple[tuple[str, ...], str], ...] = ()
    respelled: tuple[tuple[str, str, str, str], ...] = ()
    kept: tuple[tuple[str, str, str], ...] = ()
    voided: tuple[tuple[str, frozenset[str], tuple[str, ...]], ...] = ()
    voids: dict[str, tuple[str, str, frozenset[str]]] = {}
    respells: dict[str, tuple[str, str, str, str]] = {}
    keyed_conflict = False
    newer = False
    anything = True
    text: ValueType | None = None
    min = 0

    def __init__(self, path: str, tag: str, parent: Node | None, many: bool) -> None:
        self.path = path
        self.tag = tag
        self.parent = parent
        self.many = many

    @property
    def key_class(self) -> str:
        return "F" if self.many else ""

    def child(self, tag: str) -> ForeignNode:
        return ForeignNode(f"{self.path}/{tag}", tag, self, True)

    def attribute(self, name: str) -> ValueType | None:
        """Nothing is known of its attributes."""
        return None

    def allowed_with(self, slot: str, value: str | None) -> Node | None:
        """It has no variants."""
        return None
