# SPDX-License-Identifier: GPL-2.0-or-later
"""A document as it is, asked by checks and expressions: nothing is applied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxml import etree

from virtProfile.engine.selection.conditions import Conditions
from virtProfile.engine.tree.work_tree import WorkTree
from virtProfile.errors import ProfileError
from virtProfile.format.document import parse
from virtProfile.format.secret_slots import SecretValues, secret_places
from virtProfile.language.expression import Environment, compile_expression
from virtProfile.language.place import At
from virtProfile.language.profile import Kind
from virtProfile.language.requests import Selected
from virtProfile.language.xpath_budget import Budget
from virtProfile.redaction import STARS, without

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from virtProfile.host.context import Context
    from virtProfile.language.expression import Expression
    from virtProfile.language.profile import Action, Profile

_NO_PARAMS: Mapping[str, str] = {}


class Judged:
    """One domain document and what is known besides it.

    :param xml: libvirt domain XML
    :param name: of the document, for messages
    :param expressions: kept for the next document, see `Conditions`
    :raises InvalidDomainError: it is no XML
    """

    def __init__(
        self,
        xml: str,
        context: Context,
        name: str = "<xml>",
        expressions: dict[tuple[Any, ...], Expression] | None = None,
    ) -> None:
        self.context = context
        self.document = parse(xml, name=name)
        self._tree = WorkTree(self.document)
        self._conditions = Conditions(context.domain_schema, context, self.document, expressions=expressions)
        self._conditions.use_definition(lambda: self.document.root)
        self._conditions.stays()

    def findings(self, chosen: Selected) -> list[tuple[Action, str]]:
        """The checks of a profile that the document does not pass, each with its message.

        None where the profile's match does not hold.

        :raises ProfileError: one of them cannot be judged
        """
        try:
            found = list(self._findings(chosen))
        except ProfileError as problem:
            raise without(problem, self._secrets(chosen.profile, chosen.params)) from None
        if not found:
            return found
        hide = SecretValues(self._secrets(chosen.profile, chosen.params))
        return [(action, hide.cut(message, STARS)) for action, message in found]

    def _findings(self, chosen: Selected) -> Iterator[tuple[Action, str]]:
        verdict = self._conditions.match(chosen, self.document.root)
        if verdict.error is not None:
            raise verdict.error
        if not verdict.holds:
            return
        for action in chosen.profile.actions:
            if action.kind is Kind.CHECK:
                for message in dict.fromkeys(self._conditions.findings(chosen, action, self._tree)):
                    yield action, message

    def _secrets(self, profile: Profile, params: Mapping[str, str]) -> list[str]:
        """Of the document and of params, and what expressions made of them."""
        given = [params[param.name] for param in profile.params if param.secret and param.name in params]
        places = secret_places(self.document.root)
        return [*given, *(value for _, _, value in places), *self._conditions.tainted]

    def fails(self, profile: Profile, action: Action) -> list[str]:
        """The messages of one check, none where it holds.

        :raises ProfileError: it cannot be judged
        """
        chosen = Selected(profile, 0, "caller", _NO_PARAMS, None)
        return list(dict.fromkeys(self._conditions.findings(chosen, action, self._tree)))

    def nodes(self, select: str, where: tuple[str, int], namespaces: Mapping[str, str]) -> list[str]:
        """What an expression selects: elements in canonical form, attributes and texts as they are.

        :param where: file and line of the expression
        :raises ProfileError: it selects something else, or cannot be evaluated
        """
        expression = compile_expression(select, file=where[0], line=where[1], namespaces=dict(namespaces))
        environment = Environment({}, self.context, self._conditions.sketch, lambda: self.document.root)
        environment.budget = Budget(len(self.document.elements), len(self.document.text))
        found = expression.select(At(self.document.root), environment)
        return [
            str(node)
            if isinstance(node, str)
            else etree.tostring(node, method="c14n", with_tail=False).decode()
            for node in found
        ]
