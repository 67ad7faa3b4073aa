# SPDX-License-Identifier: GPL-2.0-or-later
"""Who calls the service, and what a policy file lets each caller do."""

from __future__ import annotations

import hmac
import os
import re
import stat
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from virtProfile.errors import PolicyError, UsageError, nearest
from virtProfile.frozen import record
from virtProfile.service.harmless import KINDS
from virtProfile.service.policy import Rules

#: The caller behind a unix socket's file modes, and of a token without a name.
SOCKET = "socket"
TOKEN = "token"

_WORDS: dict[str, type] = {
    "profiles": list,
    "may-touch": list,
    "may-change": list,
    "elements": list,
    "inline-profiles": bool,
    "write-profiles": bool,
    "read-vms": bool,
    "define-vms": bool,
}
#: A path below /domain: names, and no predicate.
_ELEMENT = re.compile(r"[A-Za-z][\w.-]*(/[A-Za-z*][\w.-]*)*")
#: The same, with an attribute perhaps.
_PART = re.compile(_ELEMENT.pattern + r"(/@[A-Za-z][\w.-]*)?")
_CALLER = re.compile(r"[\w.@ -]{1,64}")
#: Shorter ones can be guessed.
_SHORTEST = 16


@record
class Callers:
    """Who may call.

    :param tokens: (name, token); more than one token may have one name
    :param open: who has no token is `SOCKET`: only behind a socket's file modes
    :param certificates: a client certificate that was accepted names its caller (its CN)
    :param rules: by name; "" is for callers who are not named; a caller without any is refused
    """

    tokens: tuple[tuple[str, str], ...] = ()
    open: bool = False
    certificates: bool = False
    rules: Mapping[str, Rules] = {"": Rules()}

    def caller(self, authorization: bytes, peer: str | None) -> str | None:
        """The name of who shows this; None for nobody."""
        if authorization:
            found = None
            for name, token in self.tokens:  # all of them: time tells nothing
                if hmac.compare_digest(authorization, b"Bearer " + token.encode()):
                    found = name
            return found
        if self.certificates and peer:
            return peer
        return SOCKET if self.open else None

    def known(self, name: str) -> bool:
        """Does the policy say anything about this caller?"""
        return name in self.rules or "" in self.rules


def read_tokens(file: str | os.PathLike[str]) -> list[tuple[str, str]]:
    """Lines of ``TOKEN`` or ``NAME TOKEN``; empty lines and ``#`` lines are nothing.

    :raises UsageError: a line is neither, a token is short, or there is none
    :raises PolicyError: everybody may read the file
    :raises OSError: it cannot be read
    """
    path = Path(file)
    if path.stat().st_mode & stat.S_IROTH:
        raise PolicyError(f"'{file}' is readable by everybody", hint=f"chmod o= '{file}'", where=str(file))
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"{file}:{number}"
        if len(words) > 2 or not _CALLER.fullmatch(words[0] if len(words) == 2 else TOKEN):
            raise UsageError("a line is TOKEN, or NAME TOKEN", where=where)
        if len(words[-1]) < _SHORTEST or not words[-1].isascii():
            raise UsageError(
                f"the token does not have at least {_SHORTEST} ASCII characters",
                hint="openssl rand -hex 32",
                where=where,
            )
        found.append((words[0] if len(words) == 2 else TOKEN, words[-1]))
    if not found:
        raise UsageError(f"'{file}' has no token", hint="openssl rand -hex 32 makes one", where=str(file))
    return found


def read_policy(file: str | os.PathLike[str]) -> dict[str, Rules]:
    """The rules of a policy file, by caller; "" are those of its ``[default]``.

    :raises UsageError: all that is wrong in it, each with its place
    :raises OSError: it cannot be read
    """
    try:
        document = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise UsageError(f"is not valid TOML: {problem}", where=str(file)) from None
    wrong: list[UsageError] = []
    found: dict[str, Rules] = {}
    for name in document:
        if name not in ("default", "callers"):
            wrong.append(_unknown(name, ("default", "callers"), str(file)))
    named = _table(document.get("callers", {}), "callers", file, wrong)
    tables = {"": document.get("default"), **named}
    for name in named:
        if not _CALLER.fullmatch(name):
            wrong.append(UsageError(f"invalid caller name '{name[:80]}'", where=str(file)))
    for name, words in tables.items():
        if name or words is not None:
            found[name] = _rules(words, f"{file}: [{'callers.' + name if name else 'default'}]", wrong)
    if wrong:
        first = wrong[0]
        raise UsageError(first.message, hint=first.hint, where=first.where, others=wrong[1:])
    return found


def _unknown(name: str, known: Collection[str], where: str) -> UsageError:
    hint = nearest(name, known) or f"known: {', '.join(known)}"
    return UsageError(f"unknown key '{name}' in a policy file", hint=hint, where=where)


def _table(given: object, name: str, file: str | os.PathLike[str], wrong: list[UsageError]) -> dict[str, Any]:
    if isinstance(given, dict):
        return given
    wrong.append(UsageError(f"'{name}' is not a table", where=str(file)))
    return {}


def _is(value: object, kind: type) -> bool:
    if isinstance(value, list):
        return kind is list and all(isinstance(item, str) for item in value)
    return isinstance(value, kind)


def _rules(given: object, where: str, wrong: list[UsageError]) -> Rules:
    words: dict[str, Any] = {}
    if not isinstance(given, dict):
        wrong.append(UsageError("the caller's rules are not a table", where=where))
        return Rules(())
    for name, value in given.items():
        kind = _WORDS.get(name)
        if kind is None:
            wrong.append(_unknown(name, _WORDS, where))
        elif not _is(value, kind):
            wrong.append(UsageError(f"'{name}' is of the wrong type", where=where))
        else:
            words[name] = value
    for kind_of_change in words.get("may-touch", ()):
        if kind_of_change not in KINDS:
            hint = nearest(kind_of_change, KINDS) or f"known: {', '.join(KINDS)}"
            message = f"may-touch: '{kind_of_change}' is not a protected kind of change"
            wrong.append(UsageError(message, hint=hint, where=where))
    for path in words.get("elements", ()):
        if not _ELEMENT.fullmatch(path):
            hint = "names below domain, as devices/disk/driver"
            wrong.append(UsageError(f"elements: '{path}' is not a path of elements", hint=hint, where=where))
    for path in words.get("may-change", ()):
        if not _PART.fullmatch(path) or path.split("/")[0] in ("name", "uuid", "genid", "hwuuid"):
            hint = "names below domain, as devices/disk/driver or devices/disk/driver/@type"
            wrong.append(UsageError(f"may-change: '{path}' cannot be opened", hint=hint, where=where))
    elements = words.get("elements")
    return Rules(
        profiles=tuple(words.get("profiles", ())),
        may=frozenset(words.get("may-touch", ())),
        opened=tuple(words.get("may-change", ())),
        elements=None if elements is None else tuple(elements),
        inline=words.get("inline-profiles", False),
        write=words.get("write-profiles", False),
        read_vms=words.get("read-vms", False),
        define_vms=words.get("define-vms", False),
    )
