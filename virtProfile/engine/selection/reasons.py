# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a condition does not hold, in words: the part that failed, and the values that it met."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from virtProfile.format.document import local
from virtProfile.language.path_values import conjuncts, met, passed_over, quoted
from virtProfile.language.profile import Match

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from virtProfile.format.element import Element
    from virtProfile.language.profile import Action, Snippet

#: Does a part of the condition hold, at an element or (None) at the domain? None where nobody knows.
Held: TypeAlias = "Callable[[str, Element | None], bool | None]"


def why(
    cause: Match | Action,
    root: Element,
    elements: Sequence[Element],
    params: Mapping[str, str],
    held: Held,
) -> str:
    """What a condition that decides against its profile or action met.

    :param root: the domain as the last rendering has it
    :param elements: what the `each` of an action selects
    :param params: the values of the profile's parameters, those of secrets left out
    """
    if isinstance(cause, Match):
        if cause.test is None:
            things = ", ".join(_lowest(branch) for branch in cause.branches)
            return f"the VM has {things} already" if cause.negate else f"the VM has no such {things}"
        if cause.negate:
            return met(cause.test, root, params, lambda part: held(part, None)) or quoted(cause.test)
        return _failed(cause.test, root, None, params, held)
    if cause.each is None:
        return _failed(cause.when or "", root, None, params, held)
    if not elements:
        return passed_over(cause.each, root, params, held)
    for element in elements:
        if cause.when is not None and held(cause.when, element) is False:
            return _failed(cause.when, element, element, params, held)
    return ""


def _failed(test: str, at: Element, element: Element | None, params: Mapping[str, str], held: Held) -> str:
    """What the first part of a test met that is not true; the part itself where nothing is known of it."""
    failed = test
    for part in conjuncts(test):
        if held(part, element) is not False:
            continue
        words = met(part, at, params, lambda text: held(text, element))
        if words:
            return words
        failed = part
    return quoted(failed)


def _lowest(branch: Snippet) -> str:
    """What a snippet asks for, in a word or some: ``rng``, ``features acpi``."""
    tags = []
    while True:
        tags.append(local(branch.tag))
        if len(branch.children) != 1:
            break
        branch = branch.children[0]
    return " ".join(tag for tag in tags if tag not in ("domain", "devices")) or tags[-1]
