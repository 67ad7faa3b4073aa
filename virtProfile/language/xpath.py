# SPDX-License-Identifier: GPL-2.0-or-later
"""XPath 1.0 read before it is evaluated: what it names, and what it can cost.

libxml2 evaluates; it cannot be interrupted, and does not report where an error
stands. So the text is parsed here first: into nodes that `xpath_cost` bounds, with
the variables and functions that it uses.
"""

from __future__ import annotations

import re

from virtProfile.errors import nearest
from virtProfile.format.patterns import NO_XML
from virtProfile.frozen import record
from virtProfile.language.functions import FUNCTIONS, MANY

MAX_LENGTH = 2000
MAX_NESTING = 3
#: Each is a level of the tree, where operators stand in a chain.
MAX_OPERATORS = 200

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>\d+(?:\.\d*)?|\.\d+)
    | (?P<literal>"[^"]*"|'[^']*')
    | (?P<symbol>\.\.|::|//|<=|>=|!=|[()\[\].@,/|+\-=<>*$])
    | (?P<name>[^\W\d][\w.\-]*(?::(?!:)(?:\*|[^\W\d][\w.\-]*))?)
    )""",
    re.VERBOSE,
)
_AXES = frozenset(
    [
        "ancestor",
        "ancestor-or-self",
        "attribute",
        "child",
        "descendant",
        "descendant-or-self",
        "following",
        "following-sibling",
        "parent",
        "preceding",
        "preceding-sibling",
        "self",
    ]
)
_DESCENDING = frozenset({"descendant", "descendant-or-self", "following", "preceding"})
_NODE_TYPES = frozenset({"comment", "text", "processing-instruction", "node"})
_WORD_OPERATORS = frozenset({"and", "or", "div", "mod"})

#: XPath's own functions: fewest and most arguments.
CORE_FUNCTIONS = {
    "last": (0, 0),
    "position": (0, 0),
    "count": (1, 1),
    "id": (1, 1),
    "local-name": (0, 1),
    "namespace-uri": (0, 1),
    "name": (0, 1),
    "string": (0, 1),
    "concat": (2, MANY),
    "starts-with": (2, 2),
    "contains": (2, 2),
    "substring-before": (2, 2),
    "substring-after": (2, 2),
    "substring": (2, 3),
    "string-length": (0, 1),
    "normalize-space": (0, 1),
    "translate": (3, 3),
    "boolean": (1, 1),
    "not": (1, 1),
    "true": (0, 0),
    "false": (0, 0),
    "lang": (1, 1),
    "number": (0, 1),
    "sum": (1, 1),
    "floor": (1, 1),
    "ceiling": (1, 1),
    "round": (1, 1),
}

_NAMES = (*CORE_FUNCTIONS, *FUNCTIONS)


class XPathProblem(ValueError):
    """Something wrong in an expression, at a 0-based column."""

    def __init__(self, message: str, column: int, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.column = column
        self.hint = hint


@record
class Step:
    """One step of a path, with its predicates."""

    axis: str
    name: str
    predicates: tuple[Node, ...]

    @property
    def descends(self) -> bool:
        return self.axis in _DESCENDING


@record
class Node:
    """A node of the parsed expression.

    `kind` is path, call, filter, union, compare, combine or value. For a path
    `start` is "root", "here", "variable" or "" with the expression it starts from
    in `parts`. The name of a value is its text, quotes included.
    """

    kind: str
    name: str = ""
    parts: tuple[Node, ...] = ()
    start: str = ""
    steps: tuple[Step, ...] = ()
    predicates: tuple[Node, ...] = ()


class Parsed:
    """An expression: its tree, and the (name, column) of what it uses.

    :ivar prefixes: of names in steps
    """

    __slots__ = ("root", "variables", "functions", "prefixes")

    def __init__(self, root: Node) -> None:
        self.root = root
        self.variables: list[tuple[str, int]] = []
        self.functions: list[tuple[str, int]] = []
        self.prefixes: list[tuple[str, int]] = []


def parse_xpath(text: str) -> Parsed:
    """Parse an expression; bounds on length and nesting hold.

    :raises XPathProblem: with the column
    """
    if len(text) > MAX_LENGTH:
        raise XPathProblem(f"an expression of {len(text)} characters", 0, f"{MAX_LENGTH} are the limit")
    found = NO_XML.search(text)
    if found is not None:
        raise XPathProblem("a character that no XML has", found.start())
    return _Parser(text).whole()


def written(node: Node) -> str:
    """An expression that means the same as the node."""
    if node.kind == "value":
        return node.name
    parts = [written(part) for part in node.parts]
    if node.kind == "call":
        return f"{node.name}({', '.join(parts)})"
    if node.kind == "filter":
        return f"({parts[0]})" + _bracketed(node.predicates)
    if node.kind != "path":
        return f"-({parts[0]})" if len(parts) == 1 else f"({f' {node.name} '.join(parts)})"
    steps = [
        f"{step.axis}::{step.name}{_bracketed(step.predicates)}"
        if step.axis not in ("child", "attribute")
        else f"{'@' if step.axis == 'attribute' else ''}{step.name}{_bracketed(step.predicates)}"
        for step in node.steps
    ]
    start = {"root": "", "here": None, "variable": f"${node.name}"}.get(node.start, "")
    if node.parts:
        start = f"({parts[0]})"
    below = "/".join(steps)
    if start is None:
        return below
    return f"{start}/{below}" if steps or node.start == "root" else start


def _bracketed(predicates: tuple[Node, ...]) -> str:
    return "".join(f"[{written(predicate)}]" for predicate in predicates)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.at = 0
        self.depth = 0
        self.calls = 0
        self.operators = 0
        self.under_descendant = False
        self.in_barred = False
        self.parsed = Parsed(Node("value"))

    # --- tokens --------------------------------------------------------------

    def peek(self, ahead: int = 0) -> tuple[str, str, int]:
        index = self.at + ahead
        return self.tokens[index] if index < len(self.tokens) else ("end", "", len(self.text))

    def take(self) -> tuple[str, str, int]:
        token = self.peek()
        self.at += 1
        return token

    def accept(self, *symbols: str) -> str:
        kind, text, _ = self.peek()
        if kind in ("symbol", "operator") and text in symbols:
            self.at += 1
            return text
        return ""

    def expect(self, symbol: str) -> None:
        if not self.accept(symbol):
            self.fail(f"'{symbol}' was expected")

    def fail(self, fact: str) -> None:
        kind, text, column = self.peek()
        found = "the expression ends" if kind == "end" else f"'{text}' stands there"
        raise XPathProblem(f"{fact}, {found}", column)

    # --- expressions ---------------------------------------------------------

    def whole(self) -> Parsed:
        if not self.tokens:
            raise XPathProblem("an empty expression", 0)
        self.parsed.root = self.binary(0)
        if self.peek()[0] != "end":
            self.fail("the end was expected")
        return self.parsed

    _LEVELS = (
        (("or",), "combine"),
        (("and",), "combine"),
        (("=", "!="), "compare"),
        (("<", ">", "<=", ">="), "compare"),
        (("+", "-"), "combine"),
        (("*", "div", "mod"), "combine"),
    )

    def binary(self, level: int) -> Node:
        if level == len(self._LEVELS):
            return self.unary()
        symbols, kind = self._LEVELS[level]
        left = self.binary(level + 1)
        while True:
            symbol = self.accept(*symbols)
            if not symbol:
                return left
            self._joined()
            left = Node(kind, symbol, (left, self.binary(level + 1)))

    def unary(self) -> Node:
        negative = False
        while self.accept("-"):
            negative = True
        left = self.path()
        while self.accept("|"):
            self._joined()
            left = Node("union", "|", (left, self.path()))
        return Node("combine", "-", (left,)) if negative else left

    def _joined(self) -> None:
        self.operators += 1
        if self.operators > MAX_OPERATORS:
            raise XPathProblem(f"more than {MAX_OPERATORS} operators", self.peek(-1)[2])

    def path(self) -> Node:
        kind, text, column = self.peek()
        if kind == "number" or kind == "literal" or text in ("$", "(") or self._is_call():
            start = self.primary()
            outer = self.under_descendant
            self.under_descendant = _descends(start)
            predicates = self.predicates()
            if predicates:
                start = Node("filter", "", (start,), predicates=predicates)
            if self.peek()[1] in ("/", "//") and self.peek()[0] == "symbol":
                steps = self.steps(self.accept("/", "//"))
                start = Node("path", "", (start,), "", steps)
            self.under_descendant = outer
            return start
        outer = self.under_descendant
        self.under_descendant = False
        first = self.accept("/", "//")
        if first == "/" and not self._starts_step():
            node = Node("path", start="root")
        else:
            steps = self.steps(first)
            node = Node("path", start="root" if first else "here", steps=steps)
        self.under_descendant = outer
        return node

    def _is_call(self) -> bool:
        kind, text, _ = self.peek()
        return kind == "name" and self.peek(1)[1] == "(" and text not in _NODE_TYPES

    def _starts_step(self) -> bool:
        kind, text, _ = self.peek()
        return kind == "name" or (kind == "symbol" and text in (".", "..", "@", "*"))

    def primary(self) -> Node:
        kind, text, column = self.take()
        if kind in ("number", "literal"):
            return Node("value", text)
        if text == "$":
            kind, name, _ = self.take()
            if kind != "name":
                self.at -= 1
                self.fail("a variable's name was expected")
            self.parsed.variables.append((name, column))
            return Node("path", name, start="variable")
        if text == "(":
            self._deeper()
            inner = self.binary(0)
            self.expect(")")
            self.calls -= 1
            return inner
        return self.call(text, column)

    def _deeper(self) -> None:
        self.calls += 1
        if self.calls > 50:
            raise XPathProblem("parentheses nested more than 50 deep", self.peek()[2])

    def call(self, name: str, column: int) -> Node:
        self._deeper()
        if name not in _NAMES:
            raise XPathProblem(f"unknown function '{name}'", column, nearest(name, _NAMES))
        self.expect("(")
        arguments = []
        if not self.accept(")"):
            arguments.append(self.binary(0))
            while self.accept(","):
                arguments.append(self.binary(0))
            self.expect(")")
        counts = _counts(name)
        if len(arguments) not in counts:
            raise XPathProblem(
                f"{name}() takes {_in_words(counts)} arguments, it has {len(arguments)}", column
            )
        self.parsed.functions.append((name, column))
        self.calls -= 1
        return Node("call", name, tuple(arguments))

    # --- paths ---------------------------------------------------------------

    def steps(self, first: str) -> tuple[Step, ...]:
        steps: list[Step] = []
        separator = first
        while True:
            if separator == "//":
                self._descend(self.peek(-1)[2])
                steps.append(Step("descendant-or-self", "node()", ()))
            steps.append(self.step())
            separator = self.accept("/", "//")
            if not separator:
                return tuple(steps)

    def _descend(self, column: int) -> None:
        if self.in_barred:
            raise XPathProblem(
                "'//' or a descendant step in a predicate inside another such step",
                column,
                "write the path without '//': this would examine every element for every element",
            )
        self.under_descendant = True

    def step(self) -> Step:
        if self.accept("."):
            return Step("self", "node()", ())
        if self.accept(".."):
            return Step("parent", "node()", ())
        axis = "child"
        if self.accept("@"):
            axis = "attribute"
        elif self.peek(1)[1] == "::":
            kind, axis, column = self.take()
            self.take()
            if axis == "namespace":
                raise XPathProblem("the axis 'namespace' is not available", column, "use namespace-uri()")
            if axis not in _AXES:
                raise XPathProblem(f"unknown axis '{axis}'", column, nearest(axis, _AXES))
            if axis in _DESCENDING:
                self._descend(column)
        name = self.node_test()
        return Step(axis, name, self.predicates())

    def node_test(self) -> str:
        if self.accept("*"):
            return "*"
        kind, name, column = self.take()
        if kind != "name":
            self.at -= 1
            self.fail("an element or attribute was expected")
        if self.accept("("):
            if name == "processing-instruction" and self.peek()[0] == "literal":
                self.take()
            self.expect(")")
            return name + "()"
        prefix, colon, _ = name.partition(":")
        if colon:
            self.parsed.prefixes.append((prefix, column))
        return name

    def predicates(self) -> tuple[Node, ...]:
        found = []
        while self.accept("["):
            self.depth += 1
            if self.depth > MAX_NESTING:
                raise XPathProblem(f"predicates nested more than {MAX_NESTING} deep", self.peek(-1)[2])
            barred, self.in_barred = self.in_barred, self.in_barred or self.under_descendant
            outer, self.under_descendant = self.under_descendant, False
            found.append(self.binary(0))
            self.under_descendant = outer
            self.in_barred = barred
            self.depth -= 1
            self.expect("]")
        return tuple(found)


def _counts(name: str) -> range:
    """How many arguments a function takes."""
    if name in FUNCTIONS:
        return FUNCTIONS[name].counts
    least, most = CORE_FUNCTIONS[name]
    return range(least, most + 1)


def _in_words(counts: range) -> str:
    least, most = counts[0], counts[-1]
    if most >= MANY:
        return f"{least} or more"
    if len(counts) == 2 and most - least > 1:
        return f"{least} or {most}"
    return str(least) if least == most else f"{least} to {most}"


def _descends(node: Node) -> bool:
    return any(step.descends for step in node.steps) or any(_descends(part) for part in node.parts)


def _tokens(text: str) -> list[tuple[str, str, int]]:
    """(kind, text, column); what may be a name or an operator is told by what stands before."""
    found: list[tuple[str, str, int]] = []
    position = 0
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            column = position + len(text[position:]) - len(text[position:].lstrip())
            char = text[column]
            fact = "an unclosed string" if char in "'\"" else f"'{char}' has no meaning in XPath"
            raise XPathProblem(fact, column)
        kind = match.lastgroup or ""
        word = match.group(kind)
        column = match.start(kind)
        if found and (word == "*" or (kind == "name" and word in _WORD_OPERATORS)):
            before_kind, before, _ = found[-1]
            operand = before_kind in ("number", "literal", "name") or before in (")", "]", ".", "..", "*")
            if before_kind == "operator":
                operand = False
            if operand:
                kind = "operator"
        found.append((kind, word, column))
        position = match.end()
    return found
