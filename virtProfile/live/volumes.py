# SPDX-License-Identifier: GPL-2.0-or-later
"""Before a domain is defined: volumes for the disks that profiles add with a size.

All of it is looked for first, then made, and unmade again if the domain is refused.
What exists is used as it is.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

from virtProfile.errors import LibvirtError, together
from virtProfile.format.document import parse
from virtProfile.format.element import Element, elements_at, parent_of
from virtProfile.format.secret_slots import SecretValues
from virtProfile.redaction import STARS, veil_result

if TYPE_CHECKING:
    from virtProfile.live.connection import Connection, Domain
    from virtProfile.result import Result, Storage
    from virtProfile.show.terminal import Talk

#: What QEMU takes a disk for that names no format.
PLAIN_FORMAT = "raw"
#: Where the storage is another domain's.
SHARED_HINT = "a name like '{name}-data.img' gives each VM its own; <shareable/> on all sides shares one"
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


class NewVolumes:
    """The storage that a result needs and that there is not."""

    def __init__(self, connection: Connection, result: Result, talk: Talk) -> None:
        """:raises LibvirtError: some of it cannot be made: all that is wrong; nothing was done"""
        self.talk = talk
        #: what, its pool and name, and how it is told
        self._missing: list[tuple[Storage, Any, str, str]] = []
        self._made: list[tuple[Storage, Any, str]] = []
        problems: list[LibvirtError] = []
        places = set()  # two disks may share one
        for storage, shown in zip(result.storage, veil_result(result).storage, strict=True):
            place = (storage.source, storage.pool, storage.volume)
            if place in places:
                continue
            places.add(place)
            try:
                found = _place(connection, result, storage, shown)
            except LibvirtError as problem:
                problems.append(problem)
                continue
            if found is not None:
                self._missing.append((storage, *found, told(shown)))
        self._connection = connection
        if problems:
            raise together(problems)

    def lines(self) -> list[str]:
        """What will be made, to be told before."""
        return [f"storage: create {text}" for *_, text in self._missing]

    def carry_out(self) -> None:
        """:raises LibvirtError: libvirt refused; what was made before it is gone again"""
        for storage, pool, name, text in self._missing:
            kind = storage.format or PLAIN_FORMAT
            try:
                volume = self._connection.create_volume(pool, name, storage.size, kind)
            except LibvirtError as problem:
                raise self.take_back(LibvirtError(f"storage: {text}: {problem.message}")) from problem
            self._made.append((storage, volume, text))
            self.talk.note(f"storage: created {text}")

    def take_back(self, problem: LibvirtError, running: Domain | None = None) -> LibvirtError:
        """Delete what was made, save what a running domain holds on to; gives the error to raise."""
        left = []
        for storage, volume, text in reversed(self._made):
            try:
                if running is not None and _on(self._connection.live_xml(running), storage, storage.source):
                    left.append(f"{text} (the running domain has it)")
                    continue
                self._connection.delete_volume(volume)
            except LibvirtError as reason:
                left.append(f"{text} ({reason.message})")
        self._made = []
        if not left:
            return problem
        hints = [problem.hint] if problem.hint else []
        hints.append(f"storage that was created is kept: {', '.join(left)}")
        return LibvirtError(problem.message, hint="; ".join(hints))


def _on(xml: str, storage: Storage, path: str | None) -> list[Element]:
    """The disks of a domain on that storage, whose path is known or not."""
    return [
        parent_of(source)
        for source in parse(xml).root.iterfind("devices/disk/source")
        if path
        and path in (source.get("file"), source.get("dev"))
        or storage.pool is not None
        and (source.get("pool"), source.get("volume")) == (storage.pool, storage.volume)
    ]


def warn(result: Result, talk: Talk) -> None:
    """The result is only printed: so that nobody waits for a disk."""
    hide = SecretValues(result.secrets)
    for storage in veil_result(result).storage:
        what = hide.cut(told(storage), STARS)  # the size may be made of one
        talk.warning(f"{storage.origins[0]}: the storage is not created, as nothing is defined: {what}")


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


def _place(
    connection: Connection, result: Result, storage: Storage, shown: Storage
) -> tuple[Any, str] | None:
    """The pool and the name of a volume to be made; None where it exists, for nobody else.

    :raises LibvirtError: no pool has such a place, or none of that format; another domain has it
    """
    path, where = storage.source or "", f"{storage.origins[0].file}:{storage.origins[0].line}"
    pool, name = None, os.path.basename(path)
    if storage.pool is not None:
        pool, name = connection.pool(storage.pool), storage.volume or ""
    elif not (connection.is_local and os.path.exists(path)):
        pool = connection.pool_of(os.path.dirname(path))
        if pool is None:
            kind, size = storage.format or PLAIN_FORMAT, str(storage.size)
            command = shlex.join(["qemu-img", "create", "-f", kind, shown.source or "", size])
            raise LibvirtError(
                f"no storage can be created at '{shown.source}': no active storage pool has its directory",
                hint=f"'{command}' makes it, or define a pool: virsh pool-create-as",
                where=where,
            )
    if pool is None or connection.has_volume(pool, name):
        users = _users(connection, result, storage, path or connection.volume_path(pool, name))
        if users:
            raise LibvirtError(
                f"{shown.place} exists and is a disk of {', '.join(users)}", hint=SHARED_HINT, where=where
            )
        return None
    if storage.format not in (None, PLAIN_FORMAT) and not connection.has_formats(pool):
        raise LibvirtError(
            f"no storage of format {storage.format} can be created as {shown.place}: its pool has none",
            hint=f"<driver type='{PLAIN_FORMAT}'/> takes a volume of the pool as it is",
            where=where,
        )
    return pool, name


def _users(connection: Connection, result: Result, storage: Storage, path: str) -> list[str]:
    """The names of other domains with that storage as a disk, quoted, each once."""
    root = parse(result.xml).root
    [ours] = elements_at(root, storage.path)
    name, uuid = (root.findtext("name") or "").strip(), (root.findtext("uuid") or "").strip()
    found = {
        f"'{other}'": None
        for other, xml in connection.others(name, uuid)
        for theirs in _on(xml, storage, path)
        if not any(
            ours.find(word) is not None and theirs.find(word) is not None
            for word in ("shareable", "readonly")
        )
    }
    return list(found)
