# SPDX-License-Identifier: GPL-2.0-or-later
"""Validation by libxml2: a compiled grammar written back as RelaxNG, whole or for one document."""

from __future__ import annotations

from collections.abc import Container, Set
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from virtProfile.format.grammar import Grammar

_HEAD = (
    "<grammar xmlns='http://relaxng.org/ns/structure/1.0'"
    " datatypeLibrary='http://www.w3.org/2001/XMLSchema-datatypes'>"
)
_WORDS = {"empty": "<empty/>", "text": "<text/>", "none": "<notAllowed/>"}
_WRAP = {"list": "list", "some": "oneOrMore", "any": "zeroOrMore"}


def escape(text: str) -> str:
    """Text as XML (xml.sax.saxutils would cost 25 ms of imports)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def quoted(text: str) -> str:
    """An attribute's value in quotes."""
    return "'" + escape(text).replace("'", "&apos;") + "'"


def write_rng(grammar: Grammar) -> bytes:
    """The grammar as one RelaxNG document with numbers for names."""
    out = [_HEAD, f"<start><ref name='r{grammar.start}'/></start>"]
    for number, pattern in enumerate(grammar.refs):
        out.append(f"<define name='r{number}'>")
        _pattern(pattern, out)
        out.append("</define>")
    for number, (tag, content) in enumerate(grammar.elements):
        out.append(f"<define name='e{number}'><element>")
        _name(tag, out)
        _pattern(content, out)
        out.append("</element></define>")
    out.append("</grammar>")
    return "".join(out).encode()


def _name(tag: str, out: list[str]) -> None:
    if tag == "*":
        out.append("<anyName/>")
    elif tag[0] == "{":
        uri, _, local = tag[1:].partition("}")
        out.append(f"<name ns={quoted(uri)}>{local}</name>")
    else:
        out.append(f"<name ns=''>{tag}</name>")


def _pattern(pattern: Any, out: list[str]) -> None:
    kind = pattern[0]
    if kind in _WORDS:
        out.append(_WORDS[kind])
    elif kind == "ref":
        out.append(f"<ref name='r{pattern[1]}'/>")
    elif kind == "element":
        out.append(f"<ref name='e{pattern[1]}'/>")
    elif kind == "value":
        out.append(f"<value>{escape(pattern[1])}</value>")
    elif kind == "data":
        out.append(f"<data type='{pattern[1]}'>")
        for name, value in pattern[2]:
            out.append(f"<param name={quoted(name)}>{escape(value)}</param>")
        out.append("</data>")
    elif kind == "attribute":
        out.append("<attribute>")
        _name(pattern[1], out)
        _pattern(pattern[2], out)
        out.append("</attribute>")
    elif kind in _WRAP:
        out.append(f"<{_WRAP[kind]}>")
        _pattern(pattern[1], out)
        out.append(f"</{_WRAP[kind]}>")
    elif kind == "choice" and ["empty"] in pattern[1:] and len(pattern) == 3:
        rest = pattern[2] if pattern[1] == ["empty"] else pattern[1]
        out.append("<optional>")
        _pattern(rest, out)
        out.append("</optional>")
    else:
        out.append(f"<{kind}>")
        for part in pattern[1:]:
            _pattern(part, out)
        out.append(f"</{kind}>")


# --- for one document ---------------------------------------------------------


def pruned(
    grammar: Grammar,
    tags: Container[str],
    names: Container[str] | None = None,
    words: Container[str] | None = None,
) -> Any:
    """What is left of a grammar for documents that hold only elements of these tags.

    Gives the same verdict on them, and is compiled by libxml2 in a fraction of
    the time: an element that does not occur is notAllowed, and what that leaves
    is simplified.

    :param names: of all attributes that occur in them, if only such documents are judged
    :param words: all values and texts that occur, and their words, see `_occurring`
    """
    from virtProfile.format.grammar import Grammar

    work = _Pruning(grammar, tags, names, words)
    start = work.reduced(["ref", grammar.start])
    return Grammar({"name": grammar.name, "start": 0, "refs": [start], "elements": work.elements()})


class _Pruning:
    """Patterns without what cannot match, see `pruned`."""

    def __init__(
        self,
        grammar: Grammar,
        tags: Container[str],
        names: Container[str] | None,
        words: Container[str] | None,
    ) -> None:
        self._grammar = grammar
        self._tags = tags
        self._names = names
        self._words = words
        self._numbers: dict[int, int] = {}
        self._known: dict[int, Any] = {}

    def elements(self) -> list[Any]:
        """All elements that are left, by their new numbers."""
        found: list[Any] = []
        while len(found) < len(self._numbers):
            for number in list(self._numbers)[len(found) :]:
                tag, content = self._grammar.elements[number]
                found.append([tag, self.reduced(content)])
        return found

    def reduced(self, pattern: Any) -> Any:
        """What is left of a pattern."""
        kind = pattern[0]
        if kind == "ref":
            number = pattern[1]
            if number not in self._known:
                self._known[number] = self.reduced(self._grammar.refs[number])
            return self._known[number]
        if kind == "element":
            tag = self._grammar.elements[pattern[1]][0]
            if tag != "*" and tag not in self._tags:
                return _NONE
            return ["element", self._numbers.setdefault(pattern[1], len(self._numbers))]
        if kind in ("any", "some"):
            inner = self.reduced(pattern[1])
            if inner == _EMPTY or (inner == _NONE and kind == "any"):
                return _EMPTY
            return _NONE if inner == _NONE else [kind, inner]
        if kind in ("choice", "group", "interleave"):
            return self._several(pattern)
        return self._text(pattern)

    def _several(self, pattern: Any) -> Any:
        kind = pattern[0]
        void = _NONE if kind == "choice" else _EMPTY
        parts = [part for part in map(self.reduced, pattern[1:]) if part != void]
        if kind != "choice" and _NONE in parts:
            return _NONE
        return void if not parts else parts[0] if len(parts) == 1 else [kind, *parts]

    def _text(self, pattern: Any) -> Any:
        kind = pattern[0]
        if kind == "value":
            words = self._words
            return pattern if words is None or " ".join(pattern[1].split()) in words else _NONE
        if kind == "attribute":
            if self._names is not None and pattern[1] != "*" and pattern[1] not in self._names:
                return _NONE
        elif kind != "list":
            return pattern
        inner = self.reduced(pattern[-1])
        return _NONE if inner == _NONE else [*pattern[:-1], inner]


_NONE = ["none"]
_EMPTY = ["empty"]


def _occurring(root: Any) -> tuple[Set[str], Set[str], Set[str]]:
    """(Tags, names of attributes, words) of a document: all that a pattern of it could match.

    A word is a value or text as a token, and each token of it: it may be one of a list.
    """
    tags: set[str] = set()
    names: set[str] = set()
    words = {""}
    for element in root.iter("*"):
        tags.add(element.tag)
        names.update(element.keys())
        texts = [element.text or "", *element.values()]
        if len(element):  # a comment may part a text
            tails = [inner.tail or "" for inner in element]
            texts += [*tails, "".join([element.text or "", *tails])]
        for text in texts:
            parts = text.split()
            words.update(parts)
            if len(parts) > 1:
                words.add(" ".join(parts))
    return tags, names, words


def validator_for(grammar: Grammar, root: Any) -> tuple[Any, bool]:
    """A validator (`lxml.etree.RelaxNG`) that is good for one document; False: it is good for no messages.

    The first document of a process gets one of only what occurs in it: the
    whole grammar takes 25 ms to compile, and many processes judge one document.
    """
    if grammar.validated or grammar.validator is not None:
        return validator(grammar), True
    grammar.validated = True
    return _compiled(pruned(grammar, *_occurring(root))), False


def validator_with_messages(grammar: Grammar, root: Any) -> Any:
    """A validator of all that the elements of a document may have: its messages name what may stand there."""
    return _compiled(pruned(grammar, _occurring(root)[0]))


def _compiled(grammar: Grammar) -> Any:
    from lxml import etree

    return etree.RelaxNG(etree.fromstring(write_rng(grammar)))


def validator(grammar: Grammar) -> Any:
    """A validator (`lxml.etree.RelaxNG`) of the whole grammar; made when first asked for."""
    if grammar.validator is None:
        grammar.validator = _compiled(grammar)
    return grammar.validator
