# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``--status`` shows: a line for each profile of a VM, and what was changed by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from virtProfile.format.secret_slots import is_secret
from virtProfile.frozen import replace
from virtProfile.redaction import STARS, is_foreign
from virtProfile.show.terminal import table

if TYPE_CHECKING:
    from virtProfile.engine.lifecycle import Drift, ProfileStatus, Status
    from virtProfile.show.terminal import Output

_STATES = {
    "listed": "not applied yet",
    "skipped": "on the list, does not apply to this VM",
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
    rows += [row_of(profile) for profile in status.profiles]
    out.lines(table(rows))
    out.lines(drift_line(profile.name, drift) for profile in status.profiles for drift in profile.drift)
    out.lines(f"{warning.where}: {warning.message}" for warning in status.warnings)


def row_of(profile: ProfileStatus) -> tuple[str, str, str, str, str]:
    """Name, version, priority, who wanted it, and how it stands."""
    return (profile.name, profile.version or "-", str(profile.priority), profile.source, _state(profile))


def drift_line(name: str, drift: Drift) -> str:
    """What somebody changed that the profile wrote."""
    has = "gone" if drift.has is None else f"'{drift.has}'"
    return f"{name}: {drift.path}: wrote '{drift.written}', now {has}"


def veil_status(status: Status) -> Status:
    """The status as it may be shown: passwords and foreign metadata as ``***``."""
    profiles = [replace(profile, drift=tuple(map(_veiled, profile.drift))) for profile in status.profiles]
    return replace(status, profiles=tuple(profiles))


def _veiled(drift: Drift) -> Drift:
    if not is_secret(drift.path) and not is_foreign(drift.path):
        return drift
    return replace(drift, written=drift.written and STARS, has=drift.has and STARS)


def _state(profile: ProfileStatus) -> str:
    return ", ".join(_words(profile))


def _words(profile: ProfileStatus) -> Iterator[str]:
    yield _STATES.get(profile.state, profile.state)
    if profile.effect == "none":
        yield "changes nothing on this VM"
    if profile.newest is None and profile.state != "excluded":
        yield "not in the store"
    elif profile.version is not None and profile.newest != profile.version:
        yield f"{profile.newest} is newer" if profile.newest else ""
    elif profile.changed:
        yield "the store has another text of this version"
    if profile.drift:
        yield f"{len(profile.drift)} changed by hand"
