# SPDX-License-Identifier: GPL-2.0-or-later
"""Expressions of the profile language: XPath 1.0 at ``/domain``, bounded before evaluation.

Compiled once for each text. libxml2 evaluates; `xpathsyntax` has read the text
before, so that what is wrong has a column, and `xpathcost` has bounded it.
"""

from __future__ import annotations

import math
import re
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lxml import etree

from .errors import MissingContextError, ParamError, ProfileError, ProfileSyntaxError, nearest
from .functions import NAMESPACE, VARIABLES, Surroundings, string_of
from .guestos import LIBOSINFO_NS
from .profile import Param, ParamType
from .valuetypes import kib_of
from .xmltree import VIRTUNED_NS
from .xpathcost import MAX_VISITS, visits
from .xpathsyntax import PROFILE_FUNCTIONS, XPathProblem, parse_xpath

if TYPE_CHECKING:
    from .context import Context
    from .profile import Profile

#: Stands for a secret that is not told again: the value that the VM has is kept.
KEPT: Any = object()


class KeptSecret(MissingContextError):
    """An expression needs a secret that nobody told this time."""


#: Elements of a domain that no call comes near: an expression that may visit them all is safe.
MAX_SAFE = 100_000
#: Characters of an expression that a message about its syntax shows.
MAX_SHOWN = 200

PREFIXES = {
    "vp": NAMESPACE,
    "virtuned": VIRTUNED_NS,
    "libosinfo": LIBOSINFO_NS,
    "qemu": "http://libvirt.org/schemas/domain/qemu/1.0",
}


class Environment:
    """What variables and functions give, for one profile in one call."""

    def __init__(self, params: Mapping[str, Any], context: Context, sketch: bool = False) -> None:
        self.params = dict(params)
        self.surroundings = Surroundings(context, sketch)
        self.extensions = self.surroundings.extensions()


class _Now(threading.local):
    """The functions of the environment that this thread evaluates with."""

    extensions: Mapping[tuple[str, str], Any] = {}


_now = _Now()


def _function(name: str) -> Any:
    """A function that is compiled in once and asks the environment of the moment."""
    key = (NAMESPACE, name)

    def call(*arguments: Any) -> Any:
        return _now.extensions[key](*arguments)

    return call


_FUNCTIONS = {name: _function(name.partition(":")[2]) for name in PROFILE_FUNCTIONS}


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
        own = {name for name, _ in self.parsed.functions if name in _FUNCTIONS}
        extensions = {(NAMESPACE, name.partition(":")[2]): _FUNCTIONS[name] for name in own}
        try:
            self._xpath = etree.XPath(text, namespaces=self.namespaces, extensions=extensions, regexp=False)
        except etree.XPathError as problem:
            raise self._problem(str(problem).lower(), 0) from None
        # A size below which the bound cannot be passed; found once.
        self._safe = next(
            (size for size in (MAX_SAFE, 2_000, 300) if visits(self.parsed, size, size) <= MAX_VISITS),
            0,
        )

    def __repr__(self) -> str:
        return f"<Expression {self.text_}>"

    @property
    def uses(self) -> set[str]:
        """Names of variables (with $) and functions."""
        return {f"${name}" for name, _ in self.parsed.variables} | {name for name, _ in self.parsed.functions}

    def _problem(self, fact: str, at: int, hint: str = "") -> ProfileSyntaxError:
        text = self.text_
        if len(text) > MAX_SHOWN:
            start = max(0, min(at - MAX_SHOWN // 2, len(text) - MAX_SHOWN))
            shown = text[start : start + MAX_SHOWN]
            text = f"{'…' if start else ''}{shown}{'…' if start + MAX_SHOWN < len(text) else ''}"
        return ProfileSyntaxError(f"{fact}, at column {at + 1} of '{text}'", hint=hint, where=self.where)

    # --- evaluation ----------------------------------------------------------

    def _evaluate(self, root: Any, environment: Environment) -> Any:
        if self._safe < MAX_SAFE:
            self._bound(root, environment)
        surroundings = environment.surroundings
        surroundings.root = root
        _now.extensions = environment.extensions
        variables = {}
        for name in self._variables:
            if name in environment.params:
                variables[name] = environment.params[name]
                if variables[name] is KEPT:
                    raise KeptSecret(f"the secret '{name}' was not given again", where=self.where)
            else:
                try:
                    variables[name] = surroundings.variable(name)
                except MissingContextError as problem:
                    raise self._missing(problem) from None
        try:
            return self._xpath(root, **variables)
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

    def _missing(self, problem: MissingContextError) -> MissingContextError:
        return MissingContextError(
            f"{problem.message}, which '{self.text_}' needs", hint=problem.hint, where=self.where
        )

    def _bound(self, root: Any, environment: Environment) -> None:
        """Refuse, before libxml2 begins, what could run for minutes."""
        foreign = environment.surroundings.context.documents.size
        size = _size(root)
        if max(foreign, size) <= self._safe:
            return
        if visits(self.parsed, size, foreign) > MAX_VISITS:
            counts = Counter(one.tag.rpartition("}")[2] for one in root.iter("*"))
            estimate = visits(self.parsed, size, foreign, counts)
            if estimate > MAX_VISITS:
                raise ProfileSyntaxError(
                    f"'{self.text_}' would visit about {estimate:.0e} nodes of {size} elements",
                    hint=f"{MAX_VISITS:.0e} are the limit: name the elements on the way",
                    where=self.where,
                )

    def test(self, root: Any, environment: Environment) -> bool:
        """XPath's boolean() of the expression.

        :raises MissingContextError: it needs what nobody gave
        :raises ProfileSyntaxError: it cannot be evaluated
        """
        value = self._evaluate(root, environment)
        if isinstance(value, float):
            return value != 0 and not math.isnan(value)
        return bool(value)

    def select(self, root: Any, environment: Environment) -> list[Any]:
        """Elements, attributes and texts of the domain that the expression selects.

        :raises ProfileSyntaxError: what it selects is not to be removed
        """
        value = self._evaluate(root, environment)
        if not isinstance(value, list):
            raise self._selects("gives a value, not a part of the domain")
        found: list[Any] = []
        for one in value:
            if getattr(one, "is_tail", False) or isinstance(one, str) and not one.strip():
                continue  # white space between elements
            element: Any = getattr(one, "getparent", lambda: None)() if isinstance(one, str) else one
            if not isinstance(getattr(element, "tag", None), str):
                raise self._selects("gives what is no element, attribute or text")
            way = [element, *element.iterancestors()]
            if way[-1] is not root or one is root:
                raise self._selects("leads out of the domain" if one is not root else "is the domain itself")
            if len(way) > 1 and way[-2].tag == "metadata":
                raise self._selects("names metadata, which belongs to applications")
            found.append(one)
        return found

    def _selects(self, fact: str) -> ProfileSyntaxError:
        return ProfileSyntaxError(f"select='{self.text_}' {fact}", where=self.where)

    def text(self, root: Any, environment: Environment) -> str:
        """The expression as part of a value: one value, numbers without ``.0``, yes and no."""
        value = self._evaluate(root, environment)
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, list):
            values = list(dict.fromkeys(string_of(one).strip() for one in value))
            if not values:
                raise self._gives("selects nothing", "when='…' does it only where there is something")
            if len(values) > 1:
                told = ", ".join(f"'{one}'" for one in values[:4])
                raise self._gives(
                    f"selects several different values: {told}", "a predicate, [1] for the first, chooses"
                )
            return values[0]
        if isinstance(value, float) and not math.isfinite(value):
            raise self._gives("is not a number")
        return string_of(value)

    def _gives(self, fact: str, hint: str = "") -> ProfileSyntaxError:
        return ProfileSyntaxError(f"'{{{self.text_}}}' {fact}", hint=hint, where=self.where)


def _size(root: Any) -> int:
    """Elements of a document, counted by libxml2."""
    return int(_COUNT(root))


_COUNT = etree.XPath("count(//*)")
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


# --- params -------------------------------------------------------------------


def parse_params(profile: Profile, given: Mapping[str, str], keep_secrets: bool = False) -> dict[str, Any]:
    """Values of a profile's params as XPath takes them.

    :param given: as somebody wrote them
    :param keep_secrets: a secret that is not given is `KEPT`: it is never recorded
    :raises ParamError: unknown, missing or mistyped, all of them
    """
    problems: list[ParamError] = []
    names = [one.name for one in profile.params]
    for name in given:
        if name not in names:
            hint = nearest(name, names) or ("it has " + ", ".join(names) if names else "it has no params")
            problems.append(ParamError(f"profile '{profile.name}' has no param '{name}'", hint=hint))
    values: dict[str, Any] = {}
    for param in profile.params:
        text = given.get(param.name, param.default)
        if text is None and param.secret and keep_secrets:
            values[param.name] = KEPT
            continue
        if text is None:
            problems.append(
                ParamError(
                    f"profile '{profile.name}' needs its param '{param.name}'",
                    hint=f"--profile {profile.name},{param.name}=…",
                    where=f"{profile.file}:{param.line}",
                )
            )
            continue
        value = param_value(param, text)
        if value is None:
            shown = "***" if param.secret else text.encode("utf-8", "backslashreplace").decode()
            problems.append(
                ParamError(
                    f"profile '{profile.name}': {param.name}='{shown}' is not of type {param.type}",
                    hint=FORMS[param.type],
                    where=f"{profile.file}:{param.line}",
                )
            )
        values[param.name] = value
    if problems:
        first, *others = problems
        raise ParamError(first.message, hint=first.hint, where=first.where, others=others)
    return values


#: How a value of each type of param is written.
FORMS = {
    ParamType.INT: "an integer, as 4",
    ParamType.BOOL: "yes or no",
    ParamType.SIZE: "a number with an optional unit, as 4 GiB; plain is KiB",
    ParamType.STRING: "a text without the control characters that XML cannot hold",
}
#: XPath's numbers are doubles: beyond this another one would stand in the domain.
_EXACT = 2**53
_INTEGER = re.compile(r"[+-]?[0-9]{1,17}")
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def param_value(param: Param, text: str) -> Any:
    """The value of a param, or None where the text is not of its type."""
    if param.type == ParamType.INT:
        if not _INTEGER.fullmatch(text.strip()):
            return None
        number = int(text)
        return float(number) if abs(number) <= _EXACT else None
    if param.type == ParamType.BOOL:
        return {"yes": True, "no": False}.get(text.strip())
    if param.type == ParamType.SIZE:
        size = kib_of(text)
        return size if size is not None and size <= _EXACT else None
    return None if _NO_XML.search(text) else text
