# SPDX-License-Identifier: GPL-2.0-or-later
"""Expressions of the profile language: XPath 1.0 at ``/domain``, bounded before evaluation.

Compiled once for each text. libxml2 evaluates; `xpathsyntax` has read the text
before, so that what is wrong has a column, and `xpath_cost` has bounded it.
"""

from __future__ import annotations

import math
import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lxml import etree

from virtProfile.errors import MissingContextError, ProfileError, ProfileSyntaxError, nearest
from virtProfile.format.document import LIBOSINFO_NS, QEMU_NS, VIRTUNED_NS
from virtProfile.language.functions import (
    FUNCTIONS,
    NAMESPACE,
    VARIABLES,
    Function,
    Surroundings,
    string_of,
)
from virtProfile.language.params import KEPT
from virtProfile.language.place import LOCALS, At
from virtProfile.language.xpath import XPathProblem, parse_xpath
from virtProfile.language.xpath_budget import Budget
from virtProfile.language.xpath_cost import Size, is_same_anywhere, stays_inside, steps_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from virtProfile.host.context import Context


class KeptSecret(MissingContextError):
    """An expression needs a secret that nobody told this time."""


#: Characters of an expression that a message about its syntax shows.
MAX_SHOWN = 200

#: How often an action may be repeated.
MAX_REPEAT = 4096
PREFIXES = {
    "vp": NAMESPACE,
    "virtuned": VIRTUNED_NS,
    "libosinfo": LIBOSINFO_NS,
    "qemu": QEMU_NS,
}


class Environment:
    """What variables and functions give, for one profile in one call."""

    def __init__(
        self,
        params: Mapping[str, Any],
        context: Context,
        sketch: bool = False,
        definition: Callable[[], etree._Element] | None = None,
    ) -> None:
        self.params = dict(params)
        #: what the expressions may cost; a call has one for all its profiles
        self.budget = Budget()
        self.surroundings = Surroundings(context, sketch, definition)


class _Now(threading.local):
    """What this thread evaluates with."""

    surroundings: Surroundings


_now = _Now()


def _extension(function: Function) -> Callable[..., Any]:
    """A function that is compiled in once and asks the environment of the moment."""

    def call(*arguments: Any) -> Any:
        return function.call(_now.surroundings, *arguments)

    return call


_EXTENSIONS = {
    name: ((NAMESPACE, name.partition(":")[2]), _extension(function)) for name, function in FUNCTIONS.items()
}


class Expression:
    """One expression, checked; `where` is FILE:LINE of the action or match it stands in."""

    def __init__(
        self,
        text: str,
        where: str,
        column: int,
        params: Iterable[str],
        namespaces: Mapping[str, str] | None = None,
    ) -> None:
        """:raises ProfileSyntaxError: with the column of what is wrong."""
        self.text_ = text
        self.where = where
        self.namespaces = {**(namespaces or {}), **PREFIXES}
        try:
            self.parsed = parse_xpath(text)
        except XPathProblem as problem:
            raise self._problem(problem.message, problem.column, problem.hint) from None
        known = [*params, *VARIABLES]
        for name, at in self.parsed.variables:
            if name not in known:
                raise self._problem(f"unknown variable '${name}'", at, nearest(name, known))
        for prefix, at in self.parsed.prefixes:
            if prefix not in self.namespaces and prefix != "xml":
                hint = nearest(prefix, self.namespaces) or f"xmlns:{prefix}='…' on <profile> declares it"
                raise self._problem(f"unknown prefix '{prefix}'", at, hint)
        self._variables = tuple(dict.fromkeys(name for name, _ in self.parsed.variables))
        extensions = dict(_EXTENSIONS[name] for name, _ in self.parsed.functions if name in _EXTENSIONS)
        try:
            self._xpath = etree.XPath(text, namespaces=self.namespaces, extensions=extensions, regexp=False)
        except etree.XPathError as problem:
            raise self._problem(str(problem).lower(), 0) from None
        #: its steps for documents of a size
        self._rough: dict[tuple[int, int, int, int], int] = {}

    def __repr__(self) -> str:
        return f"<Expression {self.text_}>"

    @property
    def uses(self) -> set[str]:
        """Names of variables (with $) and functions."""
        return {f"${name}" for name, _ in self.parsed.variables} | {name for name, _ in self.parsed.functions}

    @cached_property
    def stays_inside(self) -> bool:
        """Does it look at nothing but what is in the element that it is evaluated at?"""
        return stays_inside(self.parsed.root)

    @cached_property
    def is_same_anywhere(self) -> bool:
        """Does it look at the element that it is evaluated at in no way?"""
        return is_same_anywhere(self.parsed.root)

    def _problem(self, fact: str, at: int, hint: str = "") -> ProfileSyntaxError:
        text = self.text_
        if len(text) > MAX_SHOWN:
            start = max(0, min(at - MAX_SHOWN // 2, len(text) - MAX_SHOWN))
            shown = text[start : start + MAX_SHOWN]
            text = f"{'…' if start else ''}{shown}{'…' if start + MAX_SHOWN < len(text) else ''}"
        return ProfileSyntaxError(f"{fact}, at column {at + 1} of '{text}'", hint=hint, where=self.where)

    # --- evaluation ----------------------------------------------------------

    def _evaluate(self, at: At | etree._Element, environment: Environment) -> Any:
        if not isinstance(at, At):
            at = At(at)
        root = at.root
        surroundings = environment.surroundings
        surroundings.root = root
        variables = {}
        for name in self._variables:
            if name in LOCALS:
                variables[name] = float(getattr(at, name))
            elif name in environment.params:
                variables[name] = environment.params[name]
                if variables[name] is KEPT:
                    raise KeptSecret(f"the secret '{name}' was not given again", where=self.where)
            else:
                try:
                    variables[name] = surroundings.value_of(name)
                except MissingContextError as problem:
                    raise self._missing(problem) from None
        environment.budget.charge(self, root, variables, at.element)
        _now.surroundings = surroundings
        try:
            return self._xpath(root if at.element is None else at.element, **variables)
        except MissingContextError as problem:
            raise self._missing(problem) from None
        except ProfileError as problem:
            raise type(problem)(
                f"{problem.message} in '{self.text_}'", hint=problem.hint, where=self.where
            ) from None
        except etree.XPathError as problem:
            raise ProfileSyntaxError(
                f"'{self.text_}' cannot be evaluated: {str(problem).lower()}", where=self.where
            ) from None
        finally:
            del _now.surroundings  # which has params, secrets among them

    def _missing(self, problem: MissingContextError) -> MissingContextError:
        return MissingContextError(
            f"{problem.message}, which '{' '.join(self.text_.split())}' needs",
            hint=problem.hint,
            where=self.where,
        )

    def rough_cost(self, domain: Size, foreign: Size) -> int:
        """A bound on the steps, from the sizes alone; kept."""
        key = (domain.elements, domain.chars, foreign.elements, foreign.chars)
        known = self._rough.get(key)
        if known is None:
            if len(self._rough) > 64:
                self._rough.clear()
            known = self._rough[key] = steps_of(self.parsed, domain, foreign)
        return known

    def test(self, at: At | etree._Element, environment: Environment) -> bool:
        """XPath's boolean() of the expression.

        :raises MissingContextError: it needs what nobody gave
        :raises ProfileSyntaxError: it cannot be evaluated
        """
        value = self._evaluate(at, environment)
        if isinstance(value, float):
            return value != 0 and not math.isnan(value)
        return bool(value)

    def select(self, at: At, environment: Environment, attribute: str = "select") -> list[Any]:
        """Elements, attributes and texts of the domain that the expression selects.

        :param attribute: that it stands in
        :raises ProfileSyntaxError: what it selects is not to be touched
        """
        value = self._evaluate(at, environment)
        if not isinstance(value, list):
            raise self._selects("gives a value, not a part of the domain", attribute)
        found: list[Any] = []
        for part in value:
            if getattr(part, "is_tail", False) or isinstance(part, str) and not part.strip():
                continue  # white space between elements
            element: Any = getattr(part, "getparent", lambda: None)() if isinstance(part, str) else part
            if not isinstance(getattr(element, "tag", None), str):
                raise self._selects("gives something other than an element, attribute or text", attribute)
            way = [element, *element.iterancestors()]
            if way[-1] is not at.root or part is at.root:
                fact = (
                    "selects something outside the domain" if part is not at.root else "is the domain itself"
                )
                raise self._selects(fact, attribute)
            if len(way) > 1 and way[-2].tag == "metadata":
                raise self._selects("selects metadata, which belongs to applications", attribute)
            found.append(part)
        return found

    def elements(self, at: At, environment: Environment, tag: str) -> list[etree._Element]:
        """The elements that an ``each=`` selects, in document order.

        :param tag: of the snippet that describes them, "" where there is none
        :raises ProfileSyntaxError: something else is selected
        """
        found: list[etree._Element] = []
        for node in self.select(at, environment, "each"):
            if isinstance(node, str):
                raise self._selects("selects an attribute or text, not an element", "each")
            if tag and node.tag != tag:
                raise self._selects(f"selects '{node.tag}', and the snippet is of '{tag}'", "each")
            found.append(node)
        return found

    def count(self, at: At, environment: Environment) -> int:
        """A ``repeat=``: XPath's number() of the expression.

        :raises ProfileSyntaxError: it is not a whole number from 0 to 4096
        """
        value = self._evaluate(at, environment)
        if isinstance(value, list):
            value = string_of(value[0]) if value else ""
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not (number.is_integer() and 0 <= number <= MAX_REPEAT):
            shown = string_of(value) or "nothing"
            raise ProfileSyntaxError(
                f"repeat='{self.text_}' gives {shown}",
                hint=f"a whole number from 0 to {MAX_REPEAT} was expected",
                where=self.where,
            )
        return int(number)

    def _selects(self, fact: str, attribute: str) -> ProfileSyntaxError:
        return ProfileSyntaxError(f"{attribute}='{self.text_}' {fact}", where=self.where)

    def text(self, at: At | etree._Element, environment: Environment) -> str:
        """The expression as part of a value: one value, numbers without ``.0``, yes and no."""
        value = self._evaluate(at, environment)
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, list):
            values = list(dict.fromkeys(string_of(part).strip() for part in value))
            if not values:
                raise self._gives("selects nothing", "add when='…' to act only where it selects something")
            if len(values) > 1:
                listed = ", ".join(f"'{text}'" for text in values[:4])
                raise self._gives(
                    f"selects several different values: {listed}",
                    "choose one with a predicate, such as [1] for the first",
                )
            return values[0]
        if isinstance(value, float) and not math.isfinite(value):
            raise self._gives("is not a number")
        return string_of(value)

    def _gives(self, fact: str, hint: str = "") -> ProfileSyntaxError:
        return ProfileSyntaxError(f"'{{{self.text_}}}' {fact}", hint=hint, where=self.where)


_expressions: dict[tuple[Any, ...], Expression] = {}


def forget() -> None:
    """Drop the expressions of all profiles."""
    _expressions.clear()


def compile_expression(
    text: str,
    *,
    file: str,
    line: int,
    column: int = 0,
    params: Iterable[str] = (),
    namespaces: Mapping[str, str] | None = None,
) -> Expression:
    """The compiled form of an expression; kept.

    :param column: 0-based, where it begins in its attribute
    :param params: names that the profile declares
    :raises ProfileSyntaxError: with the column of what is wrong
    """
    names = tuple(params)
    key = (text, file, line, column, names, tuple((namespaces or {}).items()))
    found = _expressions.get(key)
    if found is None:
        if len(_expressions) > 8192:
            _expressions.clear()
        found = Expression(text, f"{file}:{line}", column, names, namespaces)
        _expressions[key] = found
    return found
