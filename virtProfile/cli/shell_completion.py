# SPDX-License-Identifier: GPL-2.0-or-later
"""What a shell is offered when it completes a command line; loaded only when one asks."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from virtProfile.cli.arguments import parser
from virtProfile.errors import ProfileError

if TYPE_CHECKING:
    from virtProfile.language.profile import Action, Match, Param, Profile
    from virtProfile.language.store import ProfileStore


class _Typed(Protocol):
    """What stands on the command line before the word that is completed."""

    profile_dir: list[str] | None
    input: list[str] | None
    domain: list[str] | None
    connect: str | None


def complete() -> None:
    """Answer the shell and end the process; do nothing where argcomplete is not installed."""
    try:
        import argcomplete
    except ImportError:
        return
    argcomplete.autocomplete(parser(_completer), always_complete_options="long")


def _completer(what: str) -> Callable[..., Any] | None:
    if what in ("file", "directory"):
        from argcomplete.completers import DirectoriesCompleter, FilesCompleter

        return FilesCompleter() if what == "file" else DirectoriesCompleter()  # type: ignore[no-any-return]
    known: dict[str, Callable[..., Any]] = {
        "profile": _profiles,
        "rule": _rules,
        "applied": _applied,
        "domain": _domains,
        "connection": _connections,
    }
    return known[what]


# --- profiles ------------------------------------------------------------------------


def _store(parsed_args: _Typed) -> ProfileStore:
    from virtProfile.language.search_path import search_path
    from virtProfile.language.store import ProfileStore

    return ProfileStore(search_path(parsed_args.profile_dir or (), os.environ))


def _profiles(parsed_args: _Typed, prefix: str = "", **_: object) -> list[str]:
    """Names; behind a name and a comma what else may be said of the profile, behind a ``=`` the words."""
    try:
        store = _store(parsed_args)
        if "," in prefix:
            return list(_parts(store, prefix))
        return sorted({row.profile.name for row in store.listing() if not row.profile.audit})
    except ProfileError:
        return []


def _rules(parsed_args: _Typed, **_: object) -> list[str]:
    try:
        return sorted({row.profile.name for row in _store(parsed_args).listing() if row.profile.audit})
    except ProfileError:
        return []


def _parts(store: ProfileStore, prefix: str) -> Iterator[str]:
    """How a value of ``--profile`` may go on behind its last comma.

    :param prefix: what is written, ``NAME,…``
    """
    head, _, part = prefix.rpartition(",")
    name = re.split("[,#]", head, maxsplit=1)[0]
    versions = store.versions(name)
    if not versions:
        return
    given = {word.partition("=")[0] for word in head.split(",")[1:]}
    params = {param.name: param for param in versions[0].params if param.name not in given}
    key, sign, _ = part.partition("=")
    if not sign:
        yield from (f"{head},{word}=" for word in (*params, *({"priority", "version", "instance"} - given)))
    elif key == "version":
        yield from (f"{head},version={profile.version}" for profile in versions)
    elif key in params:
        yield from (f"{head},{key}={word}" for word in param_words(versions[0], params[key]))


def param_words(profile: Profile, param: Param) -> list[str]:
    """The words that a param may be: yes and no, else its default and what the profile compares it with."""
    if param.secret:
        return []
    if param.type == "bool":
        return ["yes", "no"]
    name = re.escape(param.name)
    compared = re.compile(rf"\${name}\s*!?=\s*'([^']+)'|'([^']+)'\s*!?=\s*\${name}(?![\w.-])")
    words = [param.default] if param.default else []
    for text in _texts(profile):
        words += [first or second for first, second in compared.findall(text)]
    return list(dict.fromkeys(words))


def _texts(profile: Profile) -> Iterator[str]:
    """What may hold expressions in a profile."""
    owners: tuple[Match | Action, ...] = (*profile.matches, *profile.actions)
    for owner in owners:
        for text in (owner.test, getattr(owner, "when", None), getattr(owner, "each", None)):
            if text:
                yield text
        waiting = list(owner.branches)
        while waiting:
            snippet = waiting.pop()
            yield from (value for _, value in snippet.attrs)
            if snippet.text:
                yield snippet.text
            waiting += snippet.children


# --- VMs -----------------------------------------------------------------------------


def _applied(parsed_args: _Typed, **_: object) -> list[str]:
    """The profiles of the VM that the command line names; of no VM, all profiles."""
    from virtProfile.engine.lifecycle import ALL, listed_names

    try:
        text = _text(parsed_args)
        names = _profiles(parsed_args) if text is None else listed_names(text)
    except (ProfileError, OSError):
        return []
    return [*names, ALL] if names else []


def _text(parsed_args: _Typed) -> str | None:
    if parsed_args.input:
        from virtProfile.format.document import read_file

        return read_file(parsed_args.input[-1])[0]
    if not parsed_args.domain:
        return None
    from virtProfile.live.connection import Connection

    uris = parsed_args.connect or [None]
    with Connection(uris[-1], read_only=True) as connection:
        return connection.find(parsed_args.domain[-1]).xml


def _domains(parsed_args: _Typed, **_: object) -> list[str]:
    from virtProfile.live.connection import Connection

    try:
        uris = parsed_args.connect or [None]
        with Connection(uris[-1], read_only=True) as connection:
            return connection.names()
    except ProfileError:
        return []


def _connections(**_: object) -> list[str]:
    return ["qemu:///system", "qemu:///session", "test:///default"]
