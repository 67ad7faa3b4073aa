# SPDX-License-Identifier: GPL-2.0-or-later
"""The steps that the expressions of one call may take, charged before each is evaluated.

First by the size of the document alone, which costs next to nothing to know; only where that is
not enough by the names of its elements, as `xpath_cost` bounds both. What looks only into one device
is charged by that device then: on a VM of thousands each would seem to look at all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from lxml import etree

from virtProfile.errors import PolicyError, ProfileSyntaxError
from virtProfile.language.xpath_cost import LOOKED_AT, MAX_STEPS, Size, steps_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from virtProfile.language.xpath import Parsed

#: Steps of all expressions of a call, rounds included.
MAX_TOTAL = 100_000_000
#: The same for each element of a large document: an honest one is not refused for its size.
STEPS_PER_ELEMENT = 5_000
_ONE = Size(1, 1)
#: What no variable is bound to, as sizes are rounded.
_NOTHING = Size(2, 2)
_COUNT = etree.XPath("count(//*)")
_COUNT_INSIDE = etree.XPath("count(descendant-or-self::*)")


class Charged(Protocol):
    """An expression: its text, where it stands, its shape, and what it costs by sizes alone."""

    text_: str
    where: str
    parsed: Parsed

    @property
    def stays_inside(self) -> bool: ...

    def rough_cost(self, domain: Size, foreign: Size) -> int: ...


class Budget:
    """What the expressions of one call may still cost."""

    def __init__(self, elements: int = 0, chars: int = 0) -> None:
        """
        :param elements: that the document had when it was read, and `chars` of its text: what is
            hidden of it now may show when an expression is evaluated
        """
        self.spent = 0
        self._most = max(MAX_TOTAL, STEPS_PER_ELEMENT * elements)
        self._least = (elements, chars)
        self._changed = True
        self._watched = bool(elements)
        self._rough = _ONE
        self._exact: Size | None = None
        #: of the document that `_exact` was measured of
        self._measured = (0, 0)
        self._foreign: dict[Any, tuple[int, int]] = {}
        self._foreign_exact: dict[Any, Size] = {}
        #: what was charged by size alone: expression -> (how often, steps each, its variables)
        self._charged: dict[Charged, tuple[int, int, Mapping[str, Any]]] = {}
        self._costs: dict[Charged, int] = {}
        #: steps by size alone of expressions without variables
        self._by_size: dict[Charged, int] = {}

    def changed(self) -> None:
        """The document is another one since."""
        self._changed = True

    def charge(
        self,
        expression: Charged,
        root: etree._Element,
        variables: Mapping[str, Any],
        at: etree._Element | None = None,
    ) -> None:
        """Take off what an expression may cost.

        :param at: the element that it is evaluated at, if that is not the root
        :raises ProfileSyntaxError: more than one expression may
        :raises PolicyError: more than is left
        """
        if self._changed or not self._watched:
            self._look(root)
        cost = self._costs.get(expression) if self._exact is not None else None
        if cost is None and self._exact is None:
            cost = self._cost_by_size(expression, variables)
            if cost <= MAX_STEPS and self.spent + cost <= self._most:
                many, most, _ = self._charged.get(expression, (0, 0, variables))
                self._charged[expression] = many + 1, max(most, cost), variables
                self.spent += cost
                return
            self._measure(root)
            cost = None
        if cost is None:
            cost = self._costs[expression] = self._exact_cost(expression, variables)
        if at is not None and expression.stays_inside:
            cost = min(cost, self._cost_inside(expression, at, variables))
        if cost > MAX_STEPS:
            raise ProfileSyntaxError(
                f"'{expression.text_}' would examine about {cost:.0e} nodes and characters"
                f" of {self._rough.elements} elements",
                hint=f"{MAX_STEPS:.0e} are the limit: name the elements on the way",
                where=expression.where,
            )
        self.spent += cost
        if self.spent > self._most:
            raise PolicyError(
                "the expressions of all profiles together would examine more than"
                f" {self._most:.0e} nodes and characters",
                hint="select fewer profiles, or name the elements on the way in their expressions",
                where=expression.where,
            )

    def _cost_by_size(self, expression: Charged, variables: Mapping[str, Any]) -> int:
        if variables:
            return expression.rough_cost(self._rough, self._rough_foreign(variables))
        known = self._by_size.get(expression)
        if known is None:
            known = self._by_size[expression] = expression.rough_cost(self._rough, _NOTHING)
        return known

    def _cost_inside(self, expression: Charged, at: etree._Element, variables: Mapping[str, Any]) -> int:
        """With what it takes to know how large the element is."""
        counted: Any = _COUNT_INSIDE(at)
        elements = int(counted)
        chars = len(etree.tostring(at, encoding="unicode", with_tail=False))
        size = Size(1 << elements.bit_length(), 1 << chars.bit_length())
        foreign = self._rough_foreign(variables) if variables else _NOTHING
        return expression.rough_cost(size, foreign) + elements + chars // LOOKED_AT

    def _look(self, root: etree._Element) -> None:
        """How large the document is now."""
        counted: Any = _COUNT(root)
        elements = max(int(counted), self._least[0])
        chars = max(len(etree.tostring(root, encoding="unicode", with_tail=False)), self._least[1])
        self._changed = False
        self._by_size.clear()
        # in powers of two: what an expression costs is worked out once for many documents
        self._rough = Size(1 << elements.bit_length(), 1 << chars.bit_length())
        if self._exact is not None:
            before = self._measured
            if elements > 1.25 * before[0] or chars > 1.25 * before[1] or not self._watched:
                self._measure(root)
        self._least = (elements, chars) if self._watched else (0, 0)

    def _measure(self, root: etree._Element) -> None:
        """Know the document by its names, and charge anew what was charged by its size."""
        exact = Size.measured(root)
        if self._exact is not None:
            exact = exact.joined(self._exact)  # what is hidden now may show again
        self._exact = exact
        self._measured = (exact.elements, max(exact.chars, self._rough.chars // 2))
        self._costs.clear()
        for expression, (many, cost, variables) in self._charged.items():
            self.spent -= many * max(0, cost - self._exact_cost(expression, variables))
        self._charged.clear()

    def _exact_cost(self, expression: Charged, variables: Mapping[str, Any]) -> int:
        assert self._exact is not None
        foreign = _ONE
        for value in variables.values():
            for node in value if isinstance(value, list) else ():
                known = self._foreign_exact.get(node)
                if known is None:
                    known = self._foreign_exact[node] = Size.measured(node)
                foreign = known if foreign is _ONE else foreign.joined(known)
        longest = max((len(text) for text in variables.values() if isinstance(text, str)), default=0)
        if longest > foreign.chars or foreign is _ONE:
            foreign = foreign.joined(Size(1, longest))
        return steps_of(expression.parsed, self._exact, foreign)

    def _rough_foreign(self, variables: Mapping[str, Any]) -> Size:
        """No smaller than what any variable is bound to."""
        elements = chars = 1
        for value in variables.values():
            if isinstance(value, str):
                chars = max(chars, len(value))
            for node in value if isinstance(value, list) else ():
                known = self._foreign.get(node)
                if known is None:
                    text = etree.tostring(node, encoding="unicode", with_tail=False)
                    known = self._foreign[node] = (text.count("<"), len(text))
                elements, chars = max(elements, known[0]), max(chars, known[1])
        return Size(1 << elements.bit_length(), 1 << chars.bit_length())
