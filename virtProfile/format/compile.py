# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt's RelaxNG, compiled: a graph of numbered patterns without names or prose.

``python -m virtProfile.format.compile DIRECTORY NAME OUT`` makes the baseline that
is shipped. A pattern is a list, its first word says the kind:

``["empty"] ["text"] ["none"]``, ``["value", word]``,
``["data", type, [[param, value]…]]``, ``["list", p]``,
``["attribute", name, p]``, ``["element", number]``, ``["ref", number]``,
``["group", p…]``, ``["interleave", p…]``, ``["choice", p…]``, ``["some", p]``
(one or more), ``["any", p]`` (zero or more). A name "*" is any name.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from lxml import etree

RNG = "{http://relaxng.org/ns/structure/1.0}"
Pattern = list[Any]


class Compiler:
    """Reads a grammar with its includes; numbers what is reachable from ``domain``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.defines: dict[str, list[Any]] = {}
        self.combine: dict[str, str] = {}
        self.numbers: dict[str, int] = {}
        self.refs: list[Pattern | None] = []
        self.elements: list[list[Any]] = []
        self._element_numbers: dict[Any, int] = {}
        self._loaded: set[str] = set()

    def compile(self) -> dict[str, Any]:
        """The compiled model, as plain data.

        :raises OSError: a file of the grammar cannot be read
        :raises ValueError: a construct that this does not know
        """
        self.load("domain.rng", {})
        start = self.number("domain")
        return {"start": start, "refs": self.refs, "elements": self.elements}

    def load(self, name: str, overrides: dict[str, Any]) -> None:
        if name in self._loaded:
            return
        self._loaded.add(name)
        parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True)
        root = etree.parse(str(self.directory / name), parser).getroot()
        self._grammar(root, overrides)

    def _grammar(self, root: Any, overrides: dict[str, Any]) -> None:
        for part in root:
            if part.tag == RNG + "include":
                inner = {define.get("name"): define for define in part.iter(RNG + "define")}
                self.load(part.get("href"), {**overrides, **inner})
                for define in inner.values():
                    self._define(define)
            elif part.tag == RNG + "define":
                if part.get("name") not in overrides:
                    self._define(part)
            elif part.tag == RNG + "div":
                self._grammar(part, overrides)

    def _define(self, define: Any) -> None:
        name = define.get("name")
        self.defines.setdefault(name, []).append(define)
        if define.get("combine"):
            self.combine[name] = define.get("combine")

    def number(self, name: str) -> int:
        """The number of a define; compiled when it is first met."""
        known = self.numbers.get(name)
        if known is None:
            known = self.numbers[name] = len(self.refs)
            self.refs.append(None)
            bodies = [
                _join("group", [self.pattern(definition) for definition in d]) for d in self.defines[name]
            ]
            self.refs[known] = _join(self.combine.get(name, "choice"), bodies)
        return known

    def pattern(self, node: Any) -> Pattern:
        kind = node.tag.removeprefix(RNG)
        if kind in ("empty", "text"):
            return [kind]
        if kind == "notAllowed":
            return ["none"]
        if kind == "ref":
            return ["ref", self.number(node.get("name"))]
        if kind == "value":
            return ["value", (node.text or "").strip()]
        if kind == "data":
            params = [[p.get("name"), p.text or ""] for p in node.iterchildren(RNG + "param")]
            return ["data", node.get("type"), params]
        if kind == "element":
            return ["element", self._element(node)]
        if kind == "attribute":
            name, rest = _name(node, attribute=True)
            inner = [self.pattern(inside) for inside in rest] or [["text"]]
            return ["attribute", name, _join("group", inner)]
        inner = [self.pattern(inside) for inside in node]
        if kind in ("group", "interleave", "choice"):
            return _join(kind, inner)
        body = _join("group", inner)
        if kind == "optional":
            return ["choice", ["empty"], body]
        if kind == "zeroOrMore":
            return ["any", body]
        if kind == "oneOrMore":
            return ["some", body]
        if kind == "list":
            return ["list", body]
        if kind == "mixed":
            return ["interleave", ["text"], body]
        raise ValueError(f"RelaxNG <{kind}> in {self.directory}")

    def _element(self, node: Any) -> int:
        known = self._element_numbers.get(node)
        if known is None:
            known = self._element_numbers[node] = len(self.elements)
            self.elements.append([])
            name, rest = _name(node, attribute=False)
            self.elements[known] = [name, _join("group", [self.pattern(inside) for inside in rest])]
        return known


def _join(kind: str, parts: list[Pattern]) -> Pattern:
    if kind == "choice":
        parts = [part for part in parts if part != ["none"]] or [["none"]]
    elif ["none"] in parts:
        return ["none"]
    else:
        parts = [part for part in parts if part != ["empty"]] or [["empty"]]
    flat: list[Pattern] = []
    for part in parts:
        if part[0] == kind and kind in ("choice", "group"):
            flat.extend(part[1:])
        else:
            flat.append(part)
    return flat[0] if len(flat) == 1 else [kind, *flat]


def _name(node: Any, attribute: bool) -> tuple[str, list[Any]]:
    """(name in Clark notation or "*", the patterns behind it)."""
    rest = list(node)
    name = node.get("name")
    if name is None:
        first = rest.pop(0)
        if first.tag != RNG + "name":
            return "*", rest
        name, namespace = first.text.strip(), _ns(first)
    else:
        namespace = node.get("ns", "") if attribute else _ns(node)
    if ":" in name:
        prefix, _, name = name.partition(":")
        namespace = node.nsmap[prefix]
    return (f"{{{namespace}}}{name}" if namespace else name), rest


def _ns(node: Any) -> str:
    while node is not None:
        if node.get("ns") is not None:
            return str(node.get("ns"))
        node = node.getparent()
    return ""


def compile_directory(directory: Path) -> dict[str, Any]:
    """Compile ``directory/domain.rng``; see `Compiler.compile`."""
    return Compiler(directory).compile()


def main(arguments: list[str]) -> None:
    directory, name, out = arguments
    model = compile_directory(Path(directory))
    model["name"] = name
    text = json.dumps(model, separators=(",", ":"))
    Path(out).write_text(text + "\n")
    print(f"{out}: {len(model['elements'])} elements, {len(model['refs'])} patterns, {len(text)} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
