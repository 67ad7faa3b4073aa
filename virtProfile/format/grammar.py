# SPDX-License-Identifier: GPL-2.0-or-later
"""A compiled RelaxNG grammar, and what each of its elements may hold.

Below `schema`, which puts the paths of the domain format on top of it.
"""

from __future__ import annotations

from typing import Any

from virtProfile.format.values import ValueType

_MANY = 1_000_000
_EMPTY = ["empty"]


class Grammar:
    """A compiled grammar; see `compile` for its form."""

    __slots__ = ("name", "start", "refs", "elements", "digest", "validator", "validated", "summaries")

    def __init__(self, model: dict[str, Any], digest: str = "") -> None:
        self.name: str = model.get("name", "")
        self.start: int = model["start"]
        self.refs: list[Any] = model["refs"]
        self.elements: list[Any] = model["elements"]
        self.digest = digest
        self.summaries: dict[int, Summary] = {}
        #: kept by `relaxng.validator`: the whole grammar as a validator, and whether a document was judged
        self.validator: Any = None
        self.validated = False

    def resolve(self, number: int) -> Any:
        return self.refs[number]


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
    if pattern[0] == "ref":
        return _referred(grammar, pattern[1], only)
    summary = Summary()
    _gather(summary, grammar, pattern, only)
    return summary


def _gather(summary: Summary, grammar: Grammar, pattern: Any, only: tuple[str, str] | None) -> None:
    """Add what a pattern allows beside what is in a summary.

    Most patterns are in groups and optional, so these are added without a summary of their own:
    a process pays for the summary of each path that its document has.
    """
    kind = pattern[0]
    if kind in ("group", "interleave"):
        for part in pattern[1:]:
            _gather(summary, grammar, part, only)
    elif kind in ("attribute", "element"):
        _named(summary, grammar, pattern, True)
    elif kind == "choice":
        branches = pattern[1:]
        if only is not None:
            branches = [branch for branch in branches if _allows(grammar, branch, only) is not False]
        some = [branch for branch in branches if branch != _EMPTY]
        if len(some) == 1 and len(branches) > 1:
            if some[0][0] in ("attribute", "element"):
                _named(summary, grammar, some[0], False)
            else:
                _add(summary, _loose(summarise(grammar, some[0], only), False))
        else:
            whole = Summary()
            either(whole, [summarise(grammar, branch, only) for branch in branches])
            _add(summary, whole)
    elif kind in ("some", "any"):
        _add(summary, _loose(summarise(grammar, pattern[1], only), True, kind == "some"))
    elif kind == "ref":
        _add(summary, _referred(grammar, pattern[1], only))
    elif kind in ("text", "value", "data", "list") and pattern not in summary.texts:
        summary.texts.append(pattern)


def _referred(grammar: Grammar, number: int, only: tuple[str, str] | None) -> Summary:
    if only is not None:
        return summarise(grammar, grammar.refs[number], only)
    known = grammar.summaries.get(number)
    if known is None:  # shared by many paths, and changed by none
        known = grammar.summaries[number] = summarise(grammar, grammar.refs[number], None)
    return known


def _named(summary: Summary, grammar: Grammar, pattern: Any, required: bool) -> None:
    """Add one attribute or child element; the name * stands for any."""
    kind, what, *rest = pattern
    name = what if kind == "attribute" else grammar.elements[what][0]
    if name == "*":
        summary.any = True
    elif kind == "attribute":
        known = summary.attrs.get(name)
        summary.attrs[name] = (required, rest) if known is None else (known[0] or required, known[1] + rest)
    else:
        here = summary.children.get(name)
        if here is None:
            summary.children[name] = (int(required), 1, [what])
        else:
            merged = here[2] if what in here[2] else [*here[2], what]
            summary.children[name] = (here[0] + required, min(here[1] + 1, _MANY), merged)


def _loose(inner: Summary, many: bool, required: bool = False) -> Summary:
    """What may be left out (not where it is required), or may be there many times."""
    summary = Summary()
    summary.children = {
        tag: (low if required else 0, _MANY if many else high, elements)
        for tag, (low, high, elements) in inner.children.items()
    }
    summary.attrs = {name: (needed and required, types) for name, (needed, types) in inner.attrs.items()}
    summary.texts = inner.texts
    summary.any = inner.any
    return summary


def _add(summary: Summary, other: Summary) -> None:
    if not (summary.attrs or summary.children or summary.texts or summary.any):
        summary.attrs, summary.children = dict(other.attrs), dict(other.children)
        summary.texts, summary.any = list(other.texts), other.any
        return
    for name, (required, types) in other.attrs.items():
        known = summary.attrs.get(name)
        summary.attrs[name] = (required, types) if known is None else (known[0] or required, known[1] + types)
    for tag, (low, high, elements) in other.children.items():
        here = summary.children.get(tag)
        if here is None:
            summary.children[tag] = (low, high, elements)
        else:
            merged = here[2] + [element for element in elements if element not in here[2]]
            summary.children[tag] = (here[0] + low, min(here[1] + high, _MANY), merged)
    summary.texts += [text for text in other.texts if text not in summary.texts]
    summary.any = summary.any or other.any


def either(summary: Summary, branches: list[Summary]) -> None:
    """Put into an empty summary what one of the branches may hold; only what all require is required."""
    needed: dict[str, int] = {}
    attrs: dict[str, list[Any]] = {}
    #: tag -> in how many branches, least and most of it, elements
    children: dict[str, tuple[int, int, int, list[int]]] = {}
    texts = summary.texts
    for branch in branches:
        for name, (required, types) in branch.attrs.items():
            needed[name] = needed.get(name, 0) + required
            known = attrs.get(name)
            attrs[name] = types if known is None else known + [kind for kind in types if kind not in known]
        for tag, (low, high, elements) in branch.children.items():
            here = children.get(tag)
            if here is None:
                children[tag] = (1, low, high, elements)
            else:
                merged = here[3] + [element for element in elements if element not in here[3]]
                children[tag] = (here[0] + 1, min(here[1], low), max(here[2], high), merged)
        texts += [text for text in branch.texts if text not in texts]
        summary.any = summary.any or branch.any
    many = len(branches)
    summary.attrs = {name: (needed[name] == many, types) for name, types in attrs.items()}
    summary.children = {
        tag: (low if count == many else 0, high, elements)
        for tag, (count, low, high, elements) in children.items()
    }


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
        for part in pattern[1:]:
            found = _allows(grammar, part, only)
            if found is not None:
                return found
        return None
    if kind == "choice":
        found_all = [_allows(grammar, part, only) for part in pattern[1:]]
        if True in found_all:
            return True
        # An optional attribute that may only be something else: not this value, as no
        # other part of the group can have the attribute too.
        return False if False in found_all else None
    return None
