# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``--status`` shows: a line for each profile of a VM, and what was changed by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from .output import table
from .records import replace
from .secrecy import STARS, is_foreign, is_secret

if TYPE_CHECKING:
    from .lifecycle import Drift, ProfileStatus, Status
    from .output import Output

_STATES = {
    "listed": "not applied yet",
    "withdrawn": "off the list, still applied",
    "excluded": "kept out",
}


def show(status: Status, out: Output, as_json: bool) -> None:
    """Print the status of a VM's profiles."""
    status = veil_status(status)
    if as_json:
        out.json(status.to_dict())
        return
    if not status.profiles:
        out.write("no profiles\n")
        return
    rows = [("NAME", "VERSION", "PRIORITY", "BY", "STATE")]
    rows += [
        (one.name, one.version or "-", str(one.priority), one.source, _state(one)) for one in status.profiles
    ]
    out.write("\n".join(table(rows)) + "\n")
    for one in status.profiles:
        for drift in one.drift:
            out.write(f"{one.name}: {_told(drift)}\n")
    for warning in status.warnings:
        out.write(f"{warning.where}: {warning.message}\n")


def veil_status(status: Status) -> Status:
    """The status as it may be shown: passwords and foreign metadata as ``***``."""
    profiles = [replace(one, drift=tuple(map(_veiled, one.drift))) for one in status.profiles]
    return replace(status, profiles=tuple(profiles))


def _veiled(one: Drift) -> Drift:
    if not is_secret(one.path) and not is_foreign(one.path):
        return one
    return replace(one, written=one.written and STARS, has=one.has and STARS)


def _state(one: ProfileStatus) -> str:
    return ", ".join(_words(one))


def _words(one: ProfileStatus) -> Iterator[str]:
    yield _STATES.get(one.state, one.state)
    if one.newest is None and one.state != "excluded":
        yield "not in the store"
    elif one.version is not None and one.newest != one.version:
        yield f"{one.newest} is newer" if one.newest else ""
    elif one.changed:
        yield "the store has another text of this version"
    if one.drift:
        yield f"{len(one.drift)} changed by hand"


def _told(one: Drift) -> str:
    has = "gone" if one.has is None else f"'{one.has}'"
    return f"{one.path}: wrote '{one.written}', now {has}"
