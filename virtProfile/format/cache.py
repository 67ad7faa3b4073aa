# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiles a host's schema once: kept by the digest of its files."""

from __future__ import annotations

import json
from contextlib import suppress
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import Any

from virtProfile.files import read_own, write_whole
from virtProfile.format.grammar import Grammar

_FORM = b"1"  # of the compiled model: another form is another digest


def digest_of(directory: Path) -> str:
    """SHA-256 over the names and contents of the schema files."""
    total = sha256(_FORM)
    for path in sorted(directory.glob("*.rng")):
        total.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


def load_grammar(directory: str | PathLike[str], cache: str | PathLike[str] | None) -> Grammar:
    """The compiled grammar of a directory, from the cache where it is there and whole.

    :raises OSError: the schema files cannot be read
    """
    directory = Path(directory)
    digest = digest_of(directory)
    kept = None if cache is None else Path(cache) / f"schema-{digest}.json"
    if kept is not None:
        try:
            model = json.loads(read_own(kept))
            return Grammar(model, digest)
        except (OSError, ValueError, KeyError, TypeError):
            pass  # not there yet, damaged, or somebody else's: compiled anew
    from virtProfile.format.compile import compile_directory

    model = compile_directory(directory)
    model["name"] = f"libvirt ({directory})"
    if kept is not None:
        _keep(kept, model)
    return Grammar(model, digest)


def _keep(path: Path, model: dict[str, Any]) -> None:
    """Write whole or not at all; a cache that cannot be written is none."""
    with suppress(OSError):
        write_whole(path, json.dumps(model, separators=(",", ":")).encode(), 0o600)
