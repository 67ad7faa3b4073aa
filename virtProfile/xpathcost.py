# SPDX-License-Identifier: GPL-2.0-or-later
"""An upper bound on the nodes that an expression visits, from its shape and the document's size.

Children of different elements are different elements: what a child step costs
over a whole set of elements is bounded by the document, not by set times
document. Other axes from a set are merged by libxml2 with a check for each pair.
"""

from __future__ import annotations

from collections.abc import Mapping

from .xpathsyntax import Node, Parsed, Step

MAX_VISITS = 10_000_000
_DEPTH = 16  # of a domain, where a bound needs one
_SAFE = frozenset({"child", "attribute", "self", "namespace"})


class _Bound:
    """Of an expression evaluated for `contexts` nodes: all it selects, and one at most."""

    __slots__ = ("total", "each")

    def __init__(self, total: float, each: float) -> None:
        self.total = total
        self.each = each


class _Cost:
    def __init__(self, size: int, foreign: int, counts: Mapping[str, int] | None) -> None:
        self.domain = self.size = 2.0 * max(size, 1)  # its texts are nodes too
        self.foreign = 2.0 * max(foreign, 1)
        self.counts = counts
        self.visits = 0.0

    def of(self, node: Node, contexts: float) -> _Bound:
        """Count the visits for an expression that is evaluated for so many nodes."""
        if node.kind == "path":
            return self.path(node, contexts)
        bounds = [self.of(part, contexts) for part in node.parts]
        if node.kind == "union":
            total = sum(one.total for one in bounds)
            each = sum(one.each for one in bounds)
            self.visits += total * min(each, self.size)
            return _Bound(total, each)
        if node.kind == "filter":
            self.predicates(node.predicates, bounds[0].total)
            return bounds[0]
        if node.kind == "compare" and len(bounds) == 2:
            left, right = bounds
            self.visits += min(left.total * right.each, left.each * right.total)
        else:
            self.visits += contexts + sum(one.total for one in bounds)
        return _Bound(contexts, 1.0)

    def path(self, node: Node, contexts: float) -> _Bound:
        outer = self.size
        if node.start == "here":
            here = _Bound(contexts, 1.0)
        elif node.start:  # from a root: anew for each context
            here = _Bound(1.0, 1.0)
            self.size = self.foreign if node.start == "variable" else self.domain
        else:
            here = self.of(node.parts[0], contexts)
        before = self.visits
        for step in node.steps:
            here = self.step(step, here)
        self.size = outer
        if node.start in ("root", "variable"):
            self.visits = before + (self.visits - before) * contexts + contexts
            here = _Bound(here.total * contexts, here.total)
        return here

    def step(self, step: Step, here: _Bound) -> _Bound:
        size = self.size
        if self.counts is not None and size == self.domain and _is_name(step.name):
            size = float(self.counts.get(step.name.rpartition(":")[2], 0) or 1)
        if step.axis == "attribute" and step.name != "*":
            self.visits += here.total
            return here
        if step.axis in _SAFE:
            total = here.total if step.axis == "self" else size
            self.visits += here.total + total
        elif step.axis == "parent":
            total = here.total
            self.visits += total
        elif step.axis in ("ancestor", "ancestor-or-self"):
            total = here.total * _DEPTH
            self.visits += total
        elif step.axis in ("descendant", "descendant-or-self"):
            total = size * (min(here.total, _DEPTH))
            self.visits += total
        else:
            total = size * here.total
            self.visits += total
        if step.name != "node()" and step.axis != "self":
            total = min(total, size)
        each = min(total, size)
        if step.axis not in _SAFE and here.each > 1:
            self.visits += each * min(each, here.each)  # libxml2 looks for twins, pair by pair
        self.predicates(step.predicates, total)
        return _Bound(total, each)

    def predicates(self, predicates: tuple[Node, ...], contexts: float) -> None:
        for one in predicates:
            self.of(one, contexts)


def _is_name(test: str) -> bool:
    return test != "*" and test[-2:] not in ("()", ":*")


def visits(parsed: Parsed, size: int, foreign: int = 1, counts: Mapping[str, int] | None = None) -> int:
    """The bound for a domain of `size` elements.

    :param foreign: elements of the largest document that a variable is bound to
    :param counts: how many elements of each name the domain has, for a tighter bound
    """
    cost = _Cost(size, foreign, counts)
    cost.of(parsed.root, 1.0)
    return int(min(cost.visits, 1e18))
