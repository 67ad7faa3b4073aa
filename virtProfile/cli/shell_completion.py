# SPDX-License-Identifier: GPL-2.0-or-later
"""What a shell is offered when it completes a command line; loaded only when one asks."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from virtProfile.cli.arguments import parser
from virtProfile.errors import ProfileError


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
        "domain": _domains,
        "connection": _connections,
    }
    return known[what]


def _profiles(parsed_args: Any, **_: Any) -> list[str]:
    from virtProfile.language.search_path import search_path
    from virtProfile.language.store import ProfileStore

    try:
        rows = ProfileStore(search_path(parsed_args.profile_dir or (), os.environ)).listing()
    except ProfileError:
        return []
    return sorted({row.profile.name for row in rows if not row.profile.audit})


def _domains(parsed_args: Any, **_: Any) -> list[str]:
    from virtProfile.live.connection import Connection

    try:
        uris = parsed_args.connect or [None]
        with Connection(uris[-1], read_only=True) as connection:
            return connection.names()
    except ProfileError:
        return []


def _connections(**_: Any) -> list[str]:
    return ["qemu:///system", "qemu:///session", "test:///default"]
