# SPDX-License-Identifier: GPL-2.0-or-later
"""Params of a profile: their types, and the values that callers give."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from virtProfile.errors import ParamError, nearest
from virtProfile.format.patterns import NO_XML
from virtProfile.format.values import kib_of
from virtProfile.language.profile import ParamType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from virtProfile.language.profile import Param, Profile


#: Stands for a secret that is not told again: the value that the VM has is kept.
KEPT: Any = object()


# --- params -------------------------------------------------------------------


def parse_params(profile: Profile, given: Mapping[str, str], keep_secrets: bool = False) -> dict[str, Any]:
    """Values of a profile's params as XPath takes them.

    :param given: as somebody wrote them
    :param keep_secrets: a secret that is not given is `KEPT`: it is never recorded
    :raises ParamError: unknown, missing or mistyped, all of them
    """
    problems: list[ParamError] = []
    names = [declared.name for declared in profile.params]
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
    return None if NO_XML.search(text) else text
