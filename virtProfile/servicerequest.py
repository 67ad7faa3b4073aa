# SPDX-License-Identifier: GPL-2.0-or-later
"""What a request of the service may say: every word checked before anything is done with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .context import Context
from .errors import UsageError, nearest

#: Words of the parts that several requests have.
CONTEXT: Mapping[str, Any] = {
    "capabilities": list,
    "domcapabilities": list,
    "sources": list,
    "osinfo": str,
    "qemu_version": int,
}


def asked(body: Mapping[str, Any], kinds: Mapping[str, Any], needed: Sequence[str] = ("xml",)) -> None:
    """Check a request, or an object in it.

    :param kinds: word -> type or types of its value; a boolean is no number
    :param needed: words of `kinds` that must be there
    :raises UsageError: an unknown word, a value of another type, a word that is missing
    """
    for name, value in body.items():
        if name not in kinds:
            name = name[:80]
            hint = nearest(name, kinds) or f"known: {', '.join(sorted(kinds))}"
            raise UsageError(f"'{name}' is no word of this request", hint=hint)
        if not isinstance(value, kinds[name]) or isinstance(value, bool) and kinds[name] is not bool:
            raise UsageError(f"'{name}' is of the wrong type")
    for name in needed:
        if name in kinds and name not in body:
            raise UsageError(f"'{name}' is missing")


def texts(body: Mapping[str, Any], name: str, most: int) -> tuple[str, ...]:
    """A list of at most `most` texts, or none.

    :raises UsageError: something else, or more
    """
    found = body.get(name, ())
    if not all(isinstance(one, str) for one in found):
        raise UsageError(f"'{name}' is a list of texts")
    if len(found) > most:
        raise UsageError(f"'{name}' has {len(found)} entries, {most} are the most")
    return tuple(found)


#: Documents of one host or one context.
MAX_DOCUMENTS = 64


def context(body: Mapping[str, Any]) -> Context:
    """The context that a request gives.

    `sources` names documents for messages: the file of each of `capabilities`, then of
    each of `domcapabilities`.

    :raises UsageError: it is none
    """
    given = body.get("context", {})
    asked(given, CONTEXT)
    capabilities = texts(given, "capabilities", MAX_DOCUMENTS)
    domcapabilities = texts(given, "domcapabilities", MAX_DOCUMENTS)
    sources = texts(given, "sources", 2 * MAX_DOCUMENTS)
    return Context(
        capabilities=capabilities,
        domcapabilities=domcapabilities,
        osinfo=given.get("osinfo"),
        qemu_version=given.get("qemu_version"),
        sources=dict(zip((*capabilities, *domcapabilities), sources)),
    )


def wishes(body: Mapping[str, Any]) -> list[Any]:
    """The profiles that a request names: names, and objects as `virtProfile.apply` takes them.

    :raises UsageError: something else
    """
    found: list[Any] = body.get("profiles", [])
    if not all(isinstance(one, (str, dict)) for one in found):
        raise UsageError("'profiles' is a list of names and objects")
    return found
