# SPDX-License-Identifier: GPL-2.0-or-later
"""XPath expressions that a host's capabilities are required to fulfil (``--require``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtProfile.errors import ProfileError, UsageError
from virtProfile.host.context import Context
from virtProfile.language.expression import Environment, compile_expression

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lxml import etree


class Requirement:
    """A required XPath expression, checked and bounded as those of profiles are.

    :raises UsageError: it is not an expression that is allowed
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._expression = compile_expression(text, file="--require", line=1)
        except ProfileError as problem:
            raise UsageError(problem.message, hint=problem.hint) from None
        self._environment = Environment({}, Context())

    def holds(self, root: etree._Element) -> bool:
        return self._expression.test(root, self._environment)


def requirements(texts: Iterable[str]) -> list[Requirement]:
    """The expressions, compiled.

    :raises UsageError: one is not an expression that is allowed
    """
    return [Requirement(text) for text in texts]
