# SPDX-License-Identifier: GPL-2.0-or-later
"""An upper bound on the steps of an expression, from its shape and the document's size.

A node visited is a step, and so is a character of a text that is made: a string-value costs its
length, ``concat`` and ``translate`` the sum of theirs. Children of different elements are
different elements: what a child step costs over a whole set of elements is bounded by the
document, not by set times document. Other axes from a set are merged by libxml2 with a check
for each pair.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from virtProfile.language.xpath import Node, Parsed, Step

#: Steps of one expression.
MAX_STEPS = 10_000_000
_DEPTH = 16  # of a domain, where a bound needs one
_SAFE = frozenset({"child", "attribute", "self"})
_INSIDE = _SAFE | {"descendant", "descendant-or-self"}
#: Characters of a number, and of a name.
_NUMBER, _NAME = 32, 256
#: libxml2 looks for a text in a text from each place on: so many characters count as a step more.
LOOKED_AT = 16

#: Characters of the shortest attribute.
_ATTRIBUTE = 5

_NO_TEXT = frozenset({"count", "not", "boolean", "position", "last", "true", "false", "and", "or"})
_NAMES = frozenset({"local-name", "name", "namespace-uri"})
#: They take the context's string-value where they have no argument.
_OF_CONTEXT = frozenset({"string", "normalize-space", "string-length", "number"})
_SEARCHES = frozenset({"contains", "starts-with", "substring-before", "substring-after"})
_SAME_TEXT = frozenset(
    {"string", "normalize-space", "substring", "substring-before", "substring-after", "vp:item"}
)


class Size:
    """How large a document is, by the names of its elements and attributes as far as they are known.

    Names are local; ``*`` are all elements, ``@*`` all attributes, ``text()`` the texts.
    """

    __slots__ = ("elements", "chars", "counts", "totals", "longest")

    def __init__(self, elements: int, chars: int) -> None:
        """:param chars: no fewer than the document has"""
        self.elements = max(elements, 1)
        self.chars = max(chars, 1)
        self.counts: Counter[str] | None = None
        self.totals: Counter[str] = Counter()
        self.longest: dict[str, int] = {}

    @classmethod
    def measured(cls, root: Any) -> Size:
        """All that can be known of a document."""
        counts: Counter[str] = Counter()
        totals: Counter[str] = Counter()
        longest: dict[str, int] = {}
        inside: dict[Any, int] = {}  # characters in an element, of those that come behind it

        def note(name: str, length: int) -> None:
            counts[name] += 1
            totals[name] += length
            if length > longest.get(name, -1):
                longest[name] = length

        nodes = list(root.iter())
        for node in reversed(nodes):
            text = len(node.text or "")
            note("text()", text)
            tail = len(node.tail or "") if node is not root else 0
            note("text()", tail)
            length = text + inside.pop(node, 0)
            above = node.getparent() if node is not root else None
            if above is not None:
                inside[above] = inside.get(above, 0) + length + tail
            note("*", length)
            if isinstance(node.tag, str):
                note(node.tag.rpartition("}")[2], length)
                for name, value in node.attrib.items():
                    note("@*", len(value))
                    note("@" + name.rpartition("}")[2], len(value))
        size = cls(len(nodes), longest.get("*", 0) + totals["@*"])
        size.counts, size.totals, size.longest = counts, totals, longest
        return size

    def joined(self, other: Size) -> Size:
        """No smaller than both."""
        size = Size(max(self.elements, other.elements), max(self.chars, other.chars))
        if self.counts is not None and other.counts is not None:
            size.counts = self.counts | other.counts
            size.totals = self.totals | other.totals
            size.longest = dict(Counter(self.longest) | Counter(other.longest))
        return size

    def count(self, test: str) -> float:
        """How many nodes of a name or node test there can be."""
        if test == "@*":
            return max(1.0, self.chars / _ATTRIBUTE if self.counts is None else self.counts[test])
        if test == "*":
            return float(self.elements)
        if self.counts is None or test[-1:] == ")":
            return 2.0 * self.elements  # its texts are nodes too
        return float(max(1, self.counts[test]))

    def text(self, test: str) -> tuple[float, float]:
        """(characters of all nodes of a name or node test, those of the longest)."""
        if self.counts is None:
            return float(self.chars * (1 if test[:1] == "@" else _DEPTH)), float(self.chars)
        if test == "node()":
            return float(self.totals["*"] + self.totals["text()"]), float(self.longest.get("*", 0))
        return float(self.totals[test]), float(self.longest.get(test, 0))


class _Bound:
    """Of an expression evaluated for many contexts: what it selects, and how much text that is."""

    __slots__ = ("total", "each", "chars", "longest", "times")

    def __init__(self, total: float, each: float, chars: float, longest: float, times: float = 1.0) -> None:
        #: nodes of all contexts, and of one at most
        self.total = total
        self.each = each
        #: characters of the nodes of all contexts, and of one node at most
        self.chars = chars
        self.longest = longest
        #: how often one node may be among those of all contexts
        self.times = times

    def text(self, contexts: float) -> float:
        """Characters where each context's becomes a text: a set's first node."""
        return min(self.chars, contexts * self.longest)


class _Cost:
    def __init__(self, domain: Size, foreign: Size) -> None:
        self.domain = self.size = domain
        self.foreign = foreign
        self.steps = 0.0

    def of(self, node: Node, here: _Bound) -> _Bound:
        """Count the steps for an expression that is evaluated for each node of `here`."""
        contexts = here.total
        if node.kind == "path":
            return self.path(node, here)
        if node.kind == "value":
            length = float(max(_NUMBER, len(node.name)))
            return _Bound(contexts, 1.0, contexts * length, length)
        bounds = [self.of(part, here) for part in node.parts]
        if node.kind == "union":
            found = _joined(bounds)
            self.steps += found.total * min(found.each, 2.0 * self.size.elements)
            return found
        if node.kind == "filter":
            self.predicates(node.predicates, bounds[0])
            return bounds[0]
        if node.kind == "compare" and len(bounds) == 2:
            left, right = bounds
            self.steps += min(left.total * right.each, left.each * right.total) + left.chars + right.chars
            return _number(contexts)
        self.steps += contexts + sum(bound.total for bound in bounds)
        if node.kind == "call":
            return self.call(node.name, bounds, here)
        if node.name not in _NO_TEXT:
            self.steps += sum(bound.text(contexts) for bound in bounds)
        return _number(contexts)

    def call(self, name: str, bounds: list[_Bound], here: _Bound) -> _Bound:
        """The steps of a function besides those of its arguments."""
        contexts = here.total
        if name in _NO_TEXT:
            return _number(contexts)
        if name in _NAMES:
            self.steps += contexts * _NAME
            return _Bound(contexts, 1.0, contexts * _NAME, _NAME)
        if not bounds and name in _OF_CONTEXT:
            bounds = [here]
        texts = [bound.text(contexts) for bound in bounds]
        if name == "vp:if":
            self.steps += texts[0]
            return _joined(bounds[1:])
        if name[:3] == "vp:" or name == "sum":
            self.steps += sum(bound.chars for bound in bounds)
        self.steps += sum(texts)
        if name in _SEARCHES:
            self.steps += texts[0] * (bounds[1].longest // LOOKED_AT)
        elif name == "translate":
            self.steps += texts[0] * (bounds[1].longest // LOOKED_AT)
        if name == "concat":
            return _Bound(contexts, 1.0, sum(texts), sum(bound.longest for bound in bounds))
        if bounds and (name in _SAME_TEXT or name == "translate"):
            return _Bound(contexts, 1.0, texts[0], bounds[0].longest)
        return _number(contexts)

    def path(self, node: Node, context: _Bound) -> _Bound:
        outer = self.size
        contexts = context.total
        if node.start == "here":
            here = _Bound(contexts, 1.0, context.chars, context.longest, context.times)
        elif node.start:  # from a root: anew for each context
            self.size = self.foreign if node.start == "variable" else self.domain
            chars = float(self.size.chars)
            here = _Bound(1.0, 1.0, chars, chars)
        else:
            here = self.of(node.parts[0], context)
            if _names_variable(node.parts[0]):
                self.size = self.size.joined(self.foreign)
        before = self.steps
        anew = node.start in ("root", "variable")
        for step in node.steps:
            here = self.step(step, here, 1.0 if anew else max(1.0, contexts))
        self.size = outer
        if anew:
            self.steps = before + (self.steps - before) * contexts + contexts
            total, chars = here.total * contexts, here.chars * contexts
            here = _Bound(total, here.total, chars, here.longest, contexts)
        return here

    def step(self, step: Step, here: _Bound, contexts: float) -> _Bound:
        size = self.size
        test = step.name if step.name[-2:] == "()" else step.name.rpartition(":")[2]
        if step.axis == "attribute":
            test = "@*" if test in ("*", "node()") else "@" + test
        all_chars, longest = size.text(test)
        most = size.count(test)
        if step.axis.endswith("-or-self") and step.name == "node()":
            most += here.each  # those that it starts at, which may be attributes
        times = here.times
        if step.axis == "attribute" and test != "@*":
            total = here.total
            self.steps += total
        elif step.axis in _SAFE:
            total = here.total if step.axis == "self" else most * times
            self.steps += here.total + total
        else:
            times = min(here.total, contexts)
            if step.axis == "parent":
                total = here.total
            elif step.axis in ("ancestor", "ancestor-or-self"):
                total = here.total * _DEPTH
            elif step.axis in ("descendant", "descendant-or-self"):
                total = 2.0 * size.elements * min(here.total, max(_DEPTH, here.times)) + here.total
            else:
                total = 2.0 * size.elements * here.total
            self.steps += total
        if step.name != "node()" and step.axis != "self":
            total = min(total, most * max(times, here.times))
        each = min(total, most)
        if step.axis not in _SAFE and here.each > 1:
            self.steps += each * min(each, here.each)  # libxml2 looks for twins, pair by pair
        chars = min(total * longest, all_chars * times)
        if step.axis == "self" and step.name == "node()":
            chars, longest = here.chars, here.longest
        found = _Bound(total, each, chars, longest, times)
        self.predicates(step.predicates, found)
        return found

    def predicates(self, predicates: tuple[Node, ...], here: _Bound) -> None:
        for predicate in predicates:
            self.of(predicate, here)


def _number(contexts: float) -> _Bound:
    return _Bound(contexts, 1.0, contexts * _NUMBER, _NUMBER)


def _joined(bounds: list[_Bound]) -> _Bound:
    """All that several select."""
    return _Bound(
        sum(bound.total for bound in bounds),
        sum(bound.each for bound in bounds),
        sum(bound.chars for bound in bounds),
        max((bound.longest for bound in bounds), default=0.0),
        sum(bound.times for bound in bounds),
    )


def _names_variable(node: Node) -> bool:
    """May an expression give nodes of another document than the domain?"""
    return node.start == "variable" or any(_names_variable(part) for part in node.parts)


def stays_inside(node: Node) -> bool:
    """Is all that an expression visits of its document in the element that it is evaluated at?"""
    return (
        node.start != "root"
        and node.name != "lang"
        and all(step.axis in _INSIDE and all(map(stays_inside, step.predicates)) for step in node.steps)
        and all(map(stays_inside, node.parts))
        and all(map(stays_inside, node.predicates))
    )


def is_same_anywhere(node: Node) -> bool:
    """Does an expression give the same wherever in its document it is evaluated?

    The predicates of a path look at what the path selects, from a root.
    """
    if node.start in ("root", "variable"):
        return True
    if node.start == "here" or node.kind == "call" and not node.parts and node.name[:3] != "vp:":
        return node.name in ("true", "false")
    return all(map(is_same_anywhere, node.parts))


def steps_of(parsed: Parsed, domain: Size, foreign: Size) -> int:
    """The bound for an expression at the root of a domain.

    :param foreign: of what variables are bound to, all together
    """
    cost = _Cost(domain, foreign)
    cost.of(parsed.root, _Bound(1.0, 1.0, float(domain.chars), float(domain.chars)))
    return int(min(cost.steps, 1e18))
