# SPDX-License-Identifier: GPL-2.0-or-later
"""What an expression asks in vain: names that no domain has, conditions that can never hold.

For lint only. What is said here is certain; where an expression is more than this
understands, nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from virtProfile.errors import nearest
from virtProfile.language.xpath import Node, Step

if TYPE_CHECKING:
    from virtProfile.format.schema import Node as SchemaNode
    from virtProfile.format.values import ValueType

Doubt = tuple[str, str]  # fact, hint
_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "="}


class _Place:
    """Where a path leads: a node of the schema, and the type of the value there."""

    __slots__ = ("node", "type", "single", "key")

    def __init__(self, node: SchemaNode, type: ValueType | None, single: bool, key: str) -> None:
        self.node = node
        self.type = type
        self.single = single
        self.key = key


def doubts(root: Node, domain: SchemaNode, here: SchemaNode | None) -> Iterator[Doubt]:
    """What is in vain in one expression.

    :param domain: the schema's node of the domain
    :param here: of the element at which it is evaluated, None where nobody knows
    """
    found: list[Doubt] = []
    _visit(root, here, domain, found)
    yield from dict.fromkeys(found)


def never(tests: Sequence[Node], domain: SchemaNode) -> str:
    """Why these tests can never hold together, as a fact; "" where they may."""
    terms: list[Node] = []
    for test in tests:
        terms.extend(_terms(test))
    texts: dict[str, str] = {}
    lows: dict[str, tuple[float, bool]] = {}  # (at least, more than that)
    highs: dict[str, tuple[float, bool]] = {}  # (at most, not less than that)
    for term in terms:
        bound = _bound(term, domain)
        if bound is None:
            continue
        key, operator, literal = bound
        number = _number(literal)
        if operator == "=":
            other = texts.setdefault(key, literal)
            if _plain(other) != _plain(literal) and (number is None or number != _number(other)):
                return f"'{key}' cannot be {other} and {literal}"
        if number is not None and operator in (">", ">=", "="):
            lows[key] = max(lows.get(key, (number, False)), (number, operator == ">"))
        if number is not None and operator in ("<", "<=", "="):
            highs[key] = min(highs.get(key, (number, True)), (number, operator != "<"))
    for key in lows.keys() & highs.keys():
        (low, above), (high, reached) = lows[key], highs[key]
        if low > high or (low == high and (above or not reached)):
            return f"'{key}' cannot be above {low:g} and below {high:g}"
    return ""


def _terms(node: Node) -> Iterator[Node]:
    if node.kind == "combine" and node.name == "and":
        for part in node.parts:
            yield from _terms(part)
    else:
        yield node


def _bound(term: Node, domain: SchemaNode) -> tuple[str, str, str] | None:
    """(path, operator, literal) of a comparison of a value that a domain has once."""
    if term.kind != "compare" or term.name not in _MIRRORED:
        return None
    left, right = term.parts
    operator = term.name
    if left.kind == "value":
        left, right, operator = right, left, _MIRRORED[operator]
    if right.kind != "value" or left.kind != "path":
        return None
    place = _walk(left, domain, domain, [])
    return (place.key, operator, right.name) if place is not None and place.single else None


def _number(literal: str) -> float | None:
    try:
        return float(_plain(literal))
    except ValueError:
        return None


def _plain(literal: str) -> str:
    return literal[1:-1] if literal[:1] in "'\"" else literal


def _visit(node: Node, here: SchemaNode | None, domain: SchemaNode, found: list[Doubt]) -> _Place | None:
    """Look at an expression that is evaluated at `here` (None: nobody knows where)."""
    place = None
    if node.kind == "path":
        place = _walk(node, here, domain, found)
    places = [_visit(part, here, domain, found) for part in node.parts]
    for predicate in node.predicates:
        _visit(predicate, None, domain, found)
    if node.kind == "compare" and node.name == "=":
        for side, other in (node.parts, node.parts[::-1]):
            at = places[0] if side is node.parts[0] else places[1]
            if at is None or at.type is None or other.kind != "value" or other.name[:1] not in "'\"":
                continue
            wrong = at.type.check(_plain(other.name))
            if wrong:
                found.append((f"'{at.key}' is never {other.name}: {wrong}", _near(other.name, at.type)))
    return place


def _near(literal: str, type: ValueType) -> str:
    return nearest(_plain(literal), type.values) if type.values else ""


def _walk(node: Node, here: SchemaNode | None, domain: SchemaNode, found: list[Doubt]) -> _Place | None:
    """Follow a path through the schema; None where it goes where that does not lead."""
    if node.start not in ("here", "root") or (node.start == "here" and here is None):
        _inside(node.steps, domain, found)
        return None
    steps = list(node.steps)
    if node.start == "root":
        if not steps or (steps[0].axis, steps[0].name) != ("child", "domain"):
            _inside(steps, domain, found)
            return None
        here = domain
        for predicate in steps.pop(0).predicates:
            _visit(predicate, domain, domain, found)
    assert here is not None
    type = here.text
    names: list[str] = [] if here is domain else ["."]
    single = here is domain
    for number, step in enumerate(steps):
        if step.name == "node()" and step.axis in ("self", "parent"):
            above = here if step.axis == "self" else here.parent
            if above is None or step.predicates:
                return None
            here, type = above, above.text
            names.append("." if step.axis == "self" else "..")
            continue
        if here.anything or ":" in step.name or step.name == "*" or step.axis not in ("child", "attribute"):
            _inside(steps[number:], domain, found)
            return None
        if step.axis == "attribute":
            attribute = here.attribute(step.name)
            if attribute is None:
                place = f"'{here.path}'" if here.path else "<domain>"
                found.append((f"no {place} has an attribute '{step.name}'", nearest(step.name, here.attrs)))
                return None
            names.append("@" + step.name)
            type = attribute
            continue
        if step.name == "text()":
            continue
        below = here.child(step.name)
        if below is None:
            place = f"'{here.path}'" if here.path else "<domain>"
            found.append((f"no {place} has a '{step.name}'", nearest(step.name, here.children)))
            return None
        here, type = below, below.text
        single = single and not below.many and not step.predicates
        names.append(step.name)
        for predicate in step.predicates:
            _visit(predicate, here, domain, found)
    return _Place(here, type, single, "/".join(names) or ".")


def _inside(steps: Sequence[Step], domain: SchemaNode, found: list[Doubt]) -> None:
    """Predicates of steps that lead nobody knows where may still name places of the domain."""
    for step in steps:
        for predicate in step.predicates:
            _visit(predicate, None, domain, found)
