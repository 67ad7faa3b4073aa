# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks that profiles add with a size: the storage that is to be made for them.

The engine makes none: it says what is wanted, and who applies the profile makes
it, or tells. A disk that the VM has, by its definition or an earlier apply, has
its storage already, whatever size a profile names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from virtProfile.engine.tree.ownership import Asked
from virtProfile.engine.tree.work_tree import WorkTree
from virtProfile.errors import CompletionError
from virtProfile.format.buses import name_of
from virtProfile.format.element import Element, child
from virtProfile.language.directives import SIZE
from virtProfile.result import Storage

if TYPE_CHECKING:
    from virtProfile.engine.actions.perform import Actions
    from virtProfile.format.paths import Paths

#: Bytes, and file and line of who asks for them, by the disk's position.
Sizes = Mapping[int, tuple[int, str]]

#: Types of a <disk> whose source libvirt's storage pools can make.
_KINDS = (None, "file", "block", "volume")
SOURCE_HINT = "write a <source>: only virt-install --profile chooses one by itself"


def check(tree: WorkTree, actions: Actions) -> None:
    """What has a size and can have no storage made goes to `actions.unmet`."""
    for disk, wish in _new(tree, actions):
        origin = wish.writers[0].origin
        where = f"{origin.file}:{wish.lines[0]}"
        source = child(disk, "source")
        fact = hint = ""
        if disk.get("device") not in (None, "disk"):
            fact = f"it is a {disk.get('device')}"
        elif disk.get("type") not in _KINDS:
            fact = f"it is of type '{disk.get('type')}'"
        elif source is None or not any(source.get(name) for name in ("file", "dev", "volume")):
            if actions.unmet:
                continue  # its class said so
            fact, hint = "it has no source", SOURCE_HINT
        elif bool(source.get("pool")) != bool(source.get("volume")):
            fact, hint = "its source has no pool", "a volume is named by pool and volume"
        if fact:
            hint = hint or "storage is made for disks of type file, block or volume"
            problem = f"no storage of {wish.said} can be made for {name_of(disk)}: {fact}"
            actions.unmet.append(CompletionError(problem, hint=hint, where=where))


def wanted(tree: WorkTree, actions: Actions, paths: Paths) -> tuple[Storage, ...]:
    """The storage to be made, in the order of the disks."""
    return _told(_new(tree, actions), paths)


def unused(tree: WorkTree, actions: Actions, paths: Paths) -> tuple[Storage, ...]:
    """What is asked for disks that the input has, and is not made."""
    wishes = actions.intents[SIZE].items()
    return _told((row for row in wishes if row[1].writers and tree.in_source(row[0])), paths)


def _told(which: Iterable[tuple[Element, Asked]], paths: Paths) -> tuple[Storage, ...]:
    found = []
    for disk, wish in sorted(which, key=lambda row: position(row[0])):
        source, driver = child(disk, "source"), child(disk, "driver")
        found.append(
            Storage(
                paths.of(disk),
                int(wish.value) * 1024,
                None if driver is None else driver.get("type"),
                None if source is None else source.get("file") or source.get("dev"),
                None if source is None else source.get("pool"),
                None if source is None else source.get("volume"),
                tuple(writer.origin for writer in wish.writers),
            )
        )
    return tuple(found)


def sizes(tree: WorkTree, actions: Actions) -> Sizes:
    """For who completes the disks."""
    return {
        position(disk): (int(wish.value) * 1024, f"{wish.writers[0].origin.file}:{wish.lines[0]}")
        for disk, wish in _new(tree, actions)
    }


def _new(tree: WorkTree, actions: Actions) -> Iterator[tuple[Element, Asked]]:
    for disk, wish in actions.intents[SIZE].items():
        if wish.writers and not tree.in_source(disk) and tree.stands(disk):
            yield disk, wish


def position(disk: Element) -> int:
    """The number of a disk among the disks of its domain, from 0."""
    return sum(1 for _ in disk.itersiblings("disk", preceding=True))
