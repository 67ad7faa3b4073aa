# SPDX-License-Identifier: GPL-2.0-or-later
"""What is harmless to change in a VM, by path of the schema (``data/harmless.tsv``); all else is guarded.

A guarded part has a kind, by which a policy file opens it, save what says which VM it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from virtProfile.format.facts import rows
from virtProfile.format.guarded import KINDS as _OF_HOSTS
from virtProfile.format.guarded import OF_HOST, PATHS, PATHS_OF, TEXTS
from virtProfile.frozen import record

#: The words of a policy's ``may-touch``.
KINDS: Mapping[str, str] = {
    **_OF_HOSTS,
    "network": "NICs with what they are connected to, and addresses and ports at which somebody listens",
    "other": "all that is guarded and of no other kind, which VM it is apart",
}
#: Which VM it is: no policy opens that.
IDENTITY = "identity"
#: Slots of an element besides ``@name``.
TEXT, PRESENCE = "text()", "-"

_IDENTITY = frozenset(("name/text()", "uuid/text()", "genid/text()", "hwuuid/text()", "./@type", "./@id"))
_IDENTITY_TAGS = frozenset(("name", "uuid", "genid", "hwuuid"))
_NETWORK = ("devices/interface", "devices/graphics/listen", "devices/vsock", "devices/redirfilter")
#: Attributes at which, or to which, somebody connects.
_NETWORK_SLOTS = frozenset(
    ("@listen", "@port", "@tlsPort", "@websocket", "@host", "@service", "@address", "@bridge", "@network")
)
_NETWORK_TYPES = frozenset(("tcp", "udp", "rdp"))
#: Devices that are made of files, directories or sockets of the host.
_OF_FILES = frozenset(("disk", "filesystem", "tpm", "shmem", "nvram", "pstore", "lease", "memory", "audio"))
_CHARACTER = frozenset(("serial", "parallel", "console", "channel", "redirdev", "smartcard"))


@record
class Row:
    """A row of the table.

    :param how: any, fill, keep, gone or new
    :param values: that are harmless; empty: all
    """

    slots: frozenset[str]
    how: str
    values: frozenset[str]

    def has(self, slot: str, value: str | None) -> bool:
        if slot not in self.slots and "*" not in self.slots:
            return False
        return slot == PRESENCE or not self.values or value in self.values


class _Paths:
    """Rows by path, steps of which may be ``*``, and ``**`` at the end."""

    def __init__(self) -> None:
        self.steps: dict[str, _Paths] = {}
        self.rows: list[Row] = []

    def add(self, steps: list[str], row: Row) -> None:
        at = self
        for step in steps:
            at = at.steps.setdefault(step, _Paths())
        at.rows.append(row)

    def find(self, steps: list[str], index: int, found: list[Row]) -> None:
        if index == len(steps):
            found += self.rows
            return
        step = steps[index]
        if step in self.steps:
            self.steps[step].find(steps, index + 1, found)
        if step == "alias" or step[:1] == "{":
            return
        if "*" in self.steps:
            self.steps["*"].find(steps, index + 1, found)
        if "**" in self.steps and not any(step == "alias" or step[:1] == "{" for step in steps[index:]):
            found += self.steps["**"].rows


def _load(lines: list[tuple[str, ...]]) -> _Paths:
    found = _Paths()
    for path, slots, how, values, *_ in lines:
        row = Row(frozenset(slots.split()), how, frozenset(values.split("|")) - {""})
        found.add(path.split("/"), row)
    return found


@cache
def _table() -> _Paths:
    return _load([tuple(row) for row in rows(Path(__file__).parent / "data" / "harmless.tsv")])


@cache
def _opened(patterns: tuple[str, ...]) -> _Paths:
    """What a policy opens besides: ``devices/disk/driver/@type``, or an element with all in it."""
    lines: list[tuple[str, ...]] = []
    for pattern in patterns:
        path, _, slot = pattern.rpartition("/")
        if slot[:1] == "@":
            lines.append((path, slot, "any", "", ""))
        else:
            lines += [(pattern, "*", "any", "", ""), (f"{pattern}/**", "*", "any", "", "")]
    return _load(lines)


#: (path, opened) -> rows
_known: dict[tuple[str, tuple[str, ...]], tuple[Row, ...]] = {}


def rows_at(path: str, opened: tuple[str, ...] = ()) -> tuple[Row, ...]:
    """The rows for an element.

    :param path: below domain, "." for the domain itself
    :param opened: paths that a policy opens besides
    """
    key = path, opened
    found = _known.get(key)
    if found is None:
        steps = path.split("/")
        into: list[Row] = []
        _table().find(steps, 0, into)
        if opened:
            _opened(opened).find(steps, 0, into)
        if len(_known) > 20_000:
            _known.clear()
        found = _known[key] = tuple(into)
    return found


def is_harmless(
    path: str, slot: str, value: str | None, how: str = "any", opened: tuple[str, ...] = ()
) -> bool:
    """Is there a row of that kind?"""
    return any(row.how == how and row.has(slot, value) for row in rows_at(path, opened))


def kind_of(path: str, slot: str, value: str | None) -> str:
    """The kind of a guarded part: a word of `KINDS`, or `IDENTITY`."""
    steps = path.split("/")
    tag = steps[-1]
    full = f"{path}/{slot}"
    if full in _IDENTITY or path in _IDENTITY_TAGS or path == ".":
        return IDENTITY
    if any(step[:1] == "{" for step in steps):
        return "commandline" if steps[0][:1] == "{" else "other"
    if "seclabel" in steps:
        return "seclabel"
    if "hostdev" in steps or (slot == "@type" and OF_HOST.get(tag) == value):
        return "hostdev"
    device = len(steps) > 1 and steps[0] == "devices"
    if path.startswith(_NETWORK) or tag == "protocol" or (device and slot in _NETWORK_SLOTS):
        return "network"
    if device and slot == "@type" and value in _NETWORK_TYPES:
        return "network"
    if device and (steps[1] in _OF_FILES or (steps[1] in _CHARACTER and steps[2:3] in (["source"], ["log"]))):
        return "host-paths"
    if device and steps[1] in _CHARACTER and slot == "@type":
        return "host-paths"
    if slot[1:] in PATHS_OF.get(tag, PATHS) or tag in TEXTS:
        return "host-paths"
    return "other"
