# SPDX-License-Identifier: GPL-2.0-or-later
"""Before a domain is defined: the storage of disks that profiles add with a size.

All of it is looked for first, then made, and unmade again if the domain is refused.
What exists is used as it is.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

from .errors import LibvirtError
from .secrecy import veil_result
from .wishlist import together
from .xmltree import parse

if TYPE_CHECKING:
    from .domains import Connection, Domain
    from .output import Talk
    from .provenance import Result, Storage

#: What QEMU takes a disk for that names no format.
PLAIN_FORMAT = "raw"
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


class Making:
    """The storage that a result needs and that there is not."""

    def __init__(self, connection: Connection, result: Result, talk: Talk) -> None:
        """:raises LibvirtError: some of it cannot be made: all that is wrong; nothing was done"""
        self.talk = talk
        #: what, its pool and name, and how it is told
        self._missing: list[tuple[Storage, Any, str, str]] = []
        self._made: list[tuple[Storage, Any, str]] = []
        problems: list[LibvirtError] = []
        places = set()  # two disks may share one
        for one, shown in zip(result.storage, veil_result(result).storage, strict=True):
            place = (one.source, one.pool, one.volume)
            if place in places:
                continue
            places.add(place)
            try:
                found = _place(connection, one, shown)
            except LibvirtError as problem:
                problems.append(problem)
                continue
            if found is not None:
                self._missing.append((one, *found, told(shown)))
        self._connection = connection
        if problems:
            raise together(problems)

    def lines(self) -> list[str]:
        """What will be made, to be told before."""
        return [f"storage: create {text}" for *_, text in self._missing]

    def carry_out(self) -> None:
        """:raises LibvirtError: libvirt refused; what was made before it is gone again"""
        for one, pool, name, text in self._missing:
            kind = one.format or PLAIN_FORMAT
            try:
                volume = self._connection.create_volume(pool, name, one.size, kind)
            except LibvirtError as problem:
                raise self.take_back(LibvirtError(f"storage: {text}: {problem.message}")) from problem
            self._made.append((one, volume, text))
            self.talk.note(f"storage: created {text}")

    def take_back(self, problem: LibvirtError, running: Domain | None = None) -> LibvirtError:
        """Delete what was made, save what a running domain holds on to; gives the error to raise."""
        left = []
        for one, volume, text in reversed(self._made):
            try:
                if running is not None and _has(self._connection.live_xml(running), one):
                    left.append(f"{text} (the running domain has it)")
                    continue
                self._connection.delete_volume(volume)
            except LibvirtError as reason:
                left.append(f"{text} ({reason.message})")
        self._made = []
        if not left:
            return problem
        hints = [problem.hint] if problem.hint else []
        hints.append(f"storage that was created is left: {', '.join(left)}")
        return LibvirtError(problem.message, hint="; ".join(hints))


def _has(xml: str, storage: Storage) -> bool:
    """Has the domain a disk on that storage?"""
    return any(
        (storage.source or "") in (one.get("file"), one.get("dev"))
        if storage.pool is None
        else (one.get("pool"), one.get("volume")) == (storage.pool, storage.volume)
        for one in parse(xml).root.iterfind("devices/disk/source")
    )


def warn(result: Result, talk: Talk) -> None:
    """The result is only printed: so that nobody waits for a disk."""
    for one in veil_result(result).storage:
        talk.warning(f"{one.origins[0]}: the storage is not created, as nothing is defined: {told(one)}")


def told(storage: Storage) -> str:
    """Where, how large and of which format."""
    return f"{storage.place}, {human(storage.size)}, {storage.format or PLAIN_FORMAT}"


def human(size: int) -> str:
    """A size in the largest unit in which it is a whole number."""
    power = 0
    while size and size % 1024 == 0 and power < len(_UNITS) - 1:
        size //= 1024
        power += 1
    return f"{size} {_UNITS[power]}"


def _place(connection: Connection, one: Storage, shown: Storage) -> tuple[Any, str] | None:
    """The pool and the name of a volume to be made; None where it exists.

    :raises LibvirtError: no pool has such a place
    """
    if one.pool is not None:
        pool = connection.pool(one.pool)
        name = one.volume or ""
        return None if connection.has_volume(pool, name) else (pool, name)
    path = one.source or ""
    if connection.is_local and os.path.exists(path):
        return None
    pool = connection.pool_of(os.path.dirname(path))
    name = os.path.basename(path)
    if pool is None:
        kind, size = one.format or PLAIN_FORMAT, str(one.size)
        command = shlex.join(["qemu-img", "create", "-f", kind, shown.source or "", size])
        raise LibvirtError(
            f"no storage can be created at '{shown.source}': no active storage pool has its directory",
            hint=f"'{command}' makes it, or define a pool: virsh pool-create-as",
            where=f"{one.origins[0].file}:{one.origins[0].line}",
        )
    return None if connection.has_volume(pool, name) else (pool, name)
