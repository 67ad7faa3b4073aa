# SPDX-License-Identifier: GPL-2.0-or-later
"""A compiled RelaxNG grammar, and what each of its elements may hold.

Below `domainschema`, which puts the paths of the domain format on top of it.
"""

from __future__ import annotations

from typing import Any

from .valuetypes import ValueType

_MANY = 1_000_000


class Grammar:
    """A compiled grammar; see `schemacompile` for its form."""

    __slots__ = ("name", "start", "refs", "elements", "digest", "_rng", "_asked", "summaries")

    def __init__(self, model: dict[str, Any], digest: str = "") -> None:
        self.name: str = model.get("name", "")
        self.start: int = model["start"]
        self.refs: list[Any] = model["refs"]
        self.elements: list[Any] = model["elements"]
        self.digest = digest
        self.summaries: dict[int, Summary] = {}
        self._rng: Any = None
        self._asked = False

    def resolve(self, number: int) -> Any:
        return self.refs[number]

    def validator_for(self, root: Any) -> Any:
        """A validator that is good for one document.

        The first document of a process gets one of its own elements only: the
        whole grammar takes 25 ms to compile, and many processes judge one document.
        """
        if self._asked or self._rng is not None:
            return self.validator()
        self._asked = True
        from lxml import etree

        from .schemawriter import pruned, write_rng

        tags = frozenset(one.tag for one in root.iter("*"))
        return etree.RelaxNG(etree.fromstring(write_rng(pruned(self, tags))))

    def validator(self) -> Any:
        """An `lxml.etree.RelaxNG` of the grammar; made when first asked for."""
        if self._rng is None:
            from lxml import etree

            from .schemawriter import write_rng

            self._rng = etree.RelaxNG(etree.fromstring(write_rng(self)))
        return self._rng


class Summary:
    """What one element may hold: attributes, children with counts, text."""

    __slots__ = ("attrs", "children", "texts", "any")

    def __init__(self) -> None:
        self.attrs: dict[str, tuple[bool, list[Any]]] = {}
        self.children: dict[str, tuple[int, int, list[int]]] = {}
        self.texts: list[Any] = []
        self.any = False


def summarise(grammar: Grammar, pattern: Any, only: tuple[str, str] | None) -> Summary:
    """Summary of a pattern; with `only` (attribute, value) of what that variant leaves."""
    summary = Summary()
    kind = pattern[0]
    if kind == "ref":
        if only is not None:
            return summarise(grammar, grammar.refs[pattern[1]], only)
        known = grammar.summaries.get(pattern[1])
        if known is None:  # shared by many paths, and changed by none
            known = summarise(grammar, grammar.refs[pattern[1]], None)
            grammar.summaries[pattern[1]] = known
        return known
    if kind == "attribute":
        if pattern[1] == "*":
            summary.any = True
        else:
            summary.attrs[pattern[1]] = (True, [pattern[2]])
    elif kind == "element":
        tag = grammar.elements[pattern[1]][0]
        if tag == "*":
            summary.any = True
        else:
            summary.children[tag] = (1, 1, [pattern[1]])
    elif kind in ("text", "value", "data", "list"):
        summary.texts.append(pattern)
    elif kind in ("group", "interleave"):
        for one in pattern[1:]:
            _add(summary, summarise(grammar, one, only))
    elif kind == "choice":
        branches = pattern[1:]
        if only is not None:
            branches = [one for one in branches if _allows(grammar, one, only) is not False]
        either(summary, [summarise(grammar, one, only) for one in branches])
    elif kind in ("some", "any"):
        inner = summarise(grammar, pattern[1], only)
        for tag, (low, _, elements) in inner.children.items():
            summary.children[tag] = (low if kind == "some" else 0, _MANY, elements)
        for name, (required, types) in inner.attrs.items():
            summary.attrs[name] = (required and kind == "some", types)
        summary.texts = inner.texts
        summary.any = inner.any
    return summary


def _add(summary: Summary, other: Summary) -> None:
    for name, (required, types) in other.attrs.items():
        known = summary.attrs.get(name)
        summary.attrs[name] = (required, types) if known is None else (known[0] or required, known[1] + types)
    for tag, (low, high, elements) in other.children.items():
        here = summary.children.get(tag)
        if here is None:
            summary.children[tag] = (low, high, elements)
        else:
            merged = here[2] + [one for one in elements if one not in here[2]]
            summary.children[tag] = (here[0] + low, min(here[1] + high, _MANY), merged)
    summary.texts += [one for one in other.texts if one not in summary.texts]
    summary.any = summary.any or other.any


def either(summary: Summary, branches: list[Summary]) -> None:
    for branch in branches:
        for name, (required, types) in branch.attrs.items():
            in_all = required and all(name in one.attrs and one.attrs[name][0] for one in branches)
            known = summary.attrs.get(name)
            if known is not None:
                types = known[1] + [one for one in types if one not in known[1]]
            summary.attrs[name] = (in_all, types)
        for tag, (low, high, elements) in branch.children.items():
            low = min(one.children[tag][0] if tag in one.children else 0 for one in branches)
            here = summary.children.get(tag)
            if here is not None:
                high = max(high, here[1])
                elements = here[2] + [one for one in elements if one not in here[2]]
            summary.children[tag] = (low, high, elements)
        summary.texts += [one for one in branch.texts if one not in summary.texts]
        summary.any = summary.any or branch.any


def _allows(grammar: Grammar, pattern: Any, only: tuple[str, str]) -> bool | None:
    """May the attribute have the value in this branch? None where it is not spoken of."""
    kind = pattern[0]
    if kind == "ref":
        return _allows(grammar, grammar.refs[pattern[1]], only)
    if kind == "attribute":
        if pattern[1] != only[0]:
            return None
        return not ValueType([pattern[2]], True, grammar.resolve).check(only[1])
    if kind in ("group", "interleave", "some", "any"):
        for one in pattern[1:]:
            found = _allows(grammar, one, only)
            if found is not None:
                return found
        return None
    if kind == "choice":
        found_all = [_allows(grammar, one, only) for one in pattern[1:]]
        if True in found_all:
            return True
        # An optional attribute that may only be something else: not this value, as no
        # other part of the group can have the attribute too.
        return False if False in found_all else None
    return None
