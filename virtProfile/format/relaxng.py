# SPDX-License-Identifier: GPL-2.0-or-later
"""Validation by libxml2: a compiled grammar written back as RelaxNG, whole or for one document."""

from __future__ import annotations

from collections.abc import Container
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


def pruned(grammar: Grammar, tags: Container[str]) -> Any:
    """What is left of a grammar for documents that hold only elements of these tags.

    Gives the same verdict on them, and is compiled by libxml2 in a fraction of
    the time: an element that does not occur is notAllowed, and what that leaves
    is simplified.
    """
    from virtProfile.format.grammar import Grammar

    elements: list[Any] = []
    numbers: dict[int, int] = {}
    pending: list[int] = []
    known: dict[int, Any] = {}

    def reduce(pattern: Any) -> Any:
        kind = pattern[0]
        if kind == "ref":
            number = pattern[1]
            if number not in known:
                known[number] = reduce(grammar.refs[number])
            return known[number]
        if kind == "element":
            number = pattern[1]
            tag = grammar.elements[number][0]
            if tag != "*" and tag not in tags:
                return _NONE
            if number not in numbers:
                numbers[number] = len(numbers)
                pending.append(number)
            return ["element", numbers[number]]
        if kind in ("any", "some"):
            inner = reduce(pattern[1])
            if inner == _EMPTY or (inner == _NONE and kind == "any"):
                return _EMPTY
            return _NONE if inner == _NONE else [kind, inner]
        if kind == "choice":
            parts = [part for part in map(reduce, pattern[1:]) if part != _NONE]
            return _NONE if not parts else parts[0] if len(parts) == 1 else [kind, *parts]
        if kind in ("group", "interleave"):
            parts = [part for part in map(reduce, pattern[1:]) if part != _EMPTY]
            if _NONE in parts:
                return _NONE
            return _EMPTY if not parts else parts[0] if len(parts) == 1 else [kind, *parts]
        if kind == "attribute":
            return [kind, pattern[1], reduce(pattern[2])]
        return [kind, reduce(pattern[1])] if kind == "list" else pattern

    start = reduce(["ref", grammar.start])
    while pending:
        number = pending.pop()
        tag, content = grammar.elements[number]
        while len(elements) <= numbers[number]:
            elements.append(None)
        elements[numbers[number]] = [tag, reduce(content)]
    elements += [["*", _NONE]] * (len(numbers) - len(elements))
    return Grammar({"name": grammar.name, "start": 0, "refs": [start], "elements": elements})


_NONE = ["none"]
_EMPTY = ["empty"]


def validator_for(grammar: Grammar, root: Any) -> Any:
    """A validator (`lxml.etree.RelaxNG`) that is good for one document.

    The first document of a process gets one of its own elements only: the
    whole grammar takes 25 ms to compile, and many processes judge one document.
    """
    if grammar.validated or grammar.validator is not None:
        return validator(grammar)
    grammar.validated = True
    from lxml import etree

    tags = frozenset(element.tag for element in root.iter("*"))
    return etree.RelaxNG(etree.fromstring(write_rng(pruned(grammar, tags))))


def validator(grammar: Grammar) -> Any:
    """A validator (`lxml.etree.RelaxNG`) of the whole grammar; made when first asked for."""
    if grammar.validator is None:
        from lxml import etree

        grammar.validator = etree.RelaxNG(etree.fromstring(write_rng(grammar)))
    return grammar.validator
