# SPDX-License-Identifier: GPL-2.0-or-later
"""Which params a value was made of that the format does not allow, for who gave them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from virtProfile.errors import ProfileSyntaxError
from virtProfile.language.template import expressions_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtProfile.language.profile import Action, Snippet
    from virtProfile.language.requests import Selected

_VARIABLE = re.compile(r"\$([A-Za-z0-9][A-Za-z0-9._+-]*)")


def with_params(problem: ProfileSyntaxError, action: Action, chosen: Selected) -> ProfileSyntaxError:
    """The error of a value, with the params that somebody gave and the action uses in its hint.

    Secret params are left out; without any the error is as it was.
    """
    used = {name for branch in action.branches for name in _names(branch)}
    given = [
        f"{param.name}='{chosen.params[param.name]}'"
        for param in chosen.profile.params
        if param.name in used and param.name in chosen.params and not param.secret
    ]
    if not given:
        return problem
    profile = chosen.profile.name
    hint = f"made of {', '.join(given)}; 'virt-profile --info {profile}' tells what '{profile}' takes"
    return ProfileSyntaxError(
        problem.message,
        hint=f"{problem.hint}; {hint}" if problem.hint else hint,
        where=problem.where,
        others=[
            with_params(other, action, chosen) if isinstance(other, ProfileSyntaxError) else other
            for other in problem.others
        ],
    )


def _names(snippet: Snippet) -> Iterator[str]:
    """The variables in the expressions of a snippet."""
    for text in (*(value for _, value in snippet.attrs), snippet.text or ""):
        for expression in expressions_in(text):
            yield from _VARIABLE.findall(expression.text)
    for below in snippet.children:
        yield from _names(below)
