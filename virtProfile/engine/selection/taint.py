# SPDX-License-Identifier: GPL-2.0-or-later
"""Which values expressions made of secrets: those are hidden like the secrets themselves.

An expression is tainted where it names a secret param, or where it gives something else as
soon as the secrets of the document are others. That something is there says no secret.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from virtProfile.errors import MissingContextError, ProfileError
from virtProfile.format.element import TEXT, Element
from virtProfile.format.patterns import compiled_later
from virtProfile.format.secret_slots import WORDS, secret_places

if TYPE_CHECKING:
    from virtProfile.language.expression import Environment, Expression
    from virtProfile.language.place import At
    from virtProfile.language.profile import Profile

#: A number of characters, or one or two of them, gives little away, and stands in many places.
SHORTEST = 3
#: (element, slot, value) of a secret.
_Place = tuple[Element, str, str]
_NOTHING_TO_KEEP = nullcontext()
_QUOTED = compiled_later(r"'[^']*'")


class Doubt:
    """What an expression gave, and whether that comes from a secret, as far as that was judged."""

    __slots__ = ("expression", "at", "environment", "value", "tainted", "within")

    def __init__(
        self, expression: Expression, at: At, environment: Environment, value: str, tainted: bool = False
    ) -> None:
        self.expression = expression
        self.at = at
        self.environment = environment
        self.value = value
        self.tainted = tainted
        #: the value that it became a part of
        self.within = ""

    def differs(self) -> bool:
        """Does the expression give another value, or another error, than it did?"""
        try:
            return self.expression.text(self.at, self.environment) != self.value
        except ProfileError as problem:
            return problem.message != self.value


class Taint:
    """Watches the expressions of one call.

    :ivar values: what expressions made of secrets, in the order in which they did
    """

    def __init__(self, document: str) -> None:
        """:param document: the text of the domain; where it has no secret none is looked for again"""
        self.values: dict[str, None] = {}
        self._document = document
        #: None until it is asked
        self._found: bool | None = None
        #: of documents that stay as they are for now; None: none does
        self._known: dict[Element, tuple[list[_Place], frozenset[str]]] | None = None
        #: what is to be judged before one of them changes, by the secrets that it may come from
        self._doubts: dict[tuple[Element, bool], list[Doubt]] = {}

    @property
    def _may_have(self) -> bool:
        """May there be a secret in the domain?"""
        if self._found is None:
            self._found = any(word in self._document for word in WORDS)
        return self._found

    def steady(self) -> AbstractContextManager[None]:
        """While this lasts no document changes: each is looked through once, not for each expression,
        and its secrets are others once for all of them."""
        return self._steady() if self._may_have else _NOTHING_TO_KEEP

    @contextmanager
    def _steady(self) -> Iterator[None]:
        outer = self._known
        self._known = {} if outer is None else outer
        try:
            yield
        finally:
            try:
                if outer is None:
                    self._settle()
            finally:
                self._known = outer

    def _places(self, root: Element) -> list[_Place]:
        if self._known is None:
            return list(secret_places(root))
        return self._kept(root)[0]

    def _slots(self, root: Element) -> frozenset[str]:
        return self._kept(root)[1]

    def _kept(self, root: Element) -> tuple[list[_Place], frozenset[str]]:
        assert self._known is not None
        found = self._known.get(root)
        if found is None:
            places = list(secret_places(root))
            found = self._known[root] = places, frozenset(slot for _, slot, _ in places)
        return found

    def text(
        self, expression: Expression, at: At, environment: Environment, secret_params: Collection[str]
    ) -> Doubt:
        """The expression as part of a value, and whether it comes from a secret.

        :raises ProfileError: as `Expression.text`, without what comes from a secret
        """
        if secret_params:
            self._found = True  # profiles may write them there
        tainted = any(f"${name}" in expression.uses for name in secret_params)
        try:
            value = expression.text(at, environment)
        except MissingContextError:
            raise
        except ProfileError as problem:
            if not tainted and not self._differs(expression, at, environment, problem.message):
                raise
            raise type(problem)(
                _QUOTED.sub("'***'", problem.message), hint=problem.hint, where=problem.where
            ) from None
        doubt = Doubt(expression, at, environment, value, tainted)
        if tainted:
            self.note(value)
        elif self._may_have and self._known is not None:
            uses_definition = "$definition" in expression.uses
            slots = self._slots(at.root)
            if uses_definition:
                slots = slots | self._slots(environment.surroundings.value_of("definition")[0])
            if _reaches(expression.text_, slots):
                self._doubts.setdefault((at.root, uses_definition), []).append(doubt)
        elif self._differs(expression, at, environment, value):
            doubt.tainted = True
            self.note(value)
        return doubt

    def made(self, value: str, doubts: Sequence[Doubt]) -> None:
        """A value was made of the values of expressions."""
        if any(doubt.tainted for doubt in doubts):
            self.note(value)
        elif self._doubts:
            for doubt in doubts:
                doubt.within = value

    def _settle(self) -> None:
        """Judge what was put off."""
        doubts, self._doubts = self._doubts, {}
        for (_, uses_definition), alike in doubts.items():
            places = self._reachable(alike[0].at, alike[0].environment, uses_definition)
            with _others(places):
                for doubt in alike:
                    doubt.tainted = doubt.differs()
            for doubt in alike:
                if doubt.tainted:
                    self.note(doubt.value)
                    self.note(doubt.within)

    def note(self, value: str) -> None:
        """A value that was made of a secret."""
        if len(value) >= SHORTEST:
            self.values[value] = None

    def _differs(self, expression: Expression, at: At, environment: Environment, value: str) -> bool:
        """Does it give another value, or another error, where the document's secrets are others?"""
        if not self._may_have:
            return False
        places = self._reachable(at, environment, "$definition" in expression.uses)
        if not _reaches(expression.text_, {slot for _, slot, _ in places}):
            return False
        with _others(places):
            return Doubt(expression, at, environment, value).differs()

    def _reachable(self, at: At, environment: Environment, uses_definition: bool) -> list[_Place]:
        """The secrets that an expression may come to."""
        places = self._places(at.root)
        if uses_definition:
            places = [*places, *self._places(environment.surroundings.value_of("definition")[0])]
        return places


def _reaches(text: str, slots: Collection[str]) -> bool:
    """May an expression have come to a secret in one of these slots? An attribute is reached by its
    name alone."""
    if not slots:
        return False
    return TEXT in slots or any(word in text for word in ("*", "node", *(slot[1:] for slot in slots)))


def secret_params(profile: Profile) -> list[str]:
    """The names of a profile's secret params."""
    return [param.name for param in profile.params if param.secret]


@contextmanager
def _others(places: list[_Place]) -> Iterator[None]:
    """The document with other secrets, of which no part is in the real ones."""
    for element, slot, value in places:
        _set(element, slot, "\N{BULLET}" * (len(value) + 1))
    try:
        yield
    finally:
        for element, slot, value in places:
            _set(element, slot, value)


def _set(element: Element, slot: str, value: str) -> None:
    if slot == TEXT:
        element.text = value
    else:
        element.set(slot[1:], value)
