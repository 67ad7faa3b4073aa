# SPDX-License-Identifier: GPL-2.0-or-later
"""What libvirt adds by itself, at define, to the devices that profiles bring.

Told in the record, so that taking a profile back leaves nothing over: a companion
goes with what brought it, if nobody shaped it and nothing else needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from .domainschema import DATA
from .provenance import Writer
from .schemafacts import rows
from .worktree import Element, WorkTree, child

if TYPE_CHECKING:
    from .record import Record, Recorded


class Companion:
    """One row of the facts. The XPaths are ours, never a profile's."""

    __slots__ = ("name", "itself", "slots", "needs")

    def __init__(self, name: str, itself: str, slots: str, needs: str) -> None:
        self.name = name
        self.itself = itself
        self.slots = frozenset(slots.split("+"))
        self.needs = needs

    def unshaped(self, element: Element) -> bool:
        """Is it as libvirt makes it?"""
        has = {"@" + name for name in element.attrib} | {one.tag for one in element.iterchildren("*")}
        return has <= self.slots


_known: dict[str, Companion] = {}


def _companions() -> dict[str, Companion]:
    if not _known:
        for name, itself, slots, needs, *_ in rows(DATA / "companions.tsv"):
            _known[name] = Companion(name, itself, slots, needs)
    return _known


def implied(tree: WorkTree, brought: Iterable[Element], before: Recorded | None) -> tuple[str, ...]:
    """The companions that libvirt will add, or added before, for what a profile brought.

    :param brought: the elements that it added
    :param before: the profile in the record of the input
    """
    devices = child(tree.root, "devices")
    added = {one for one in brought if one.getparent() is devices}
    if devices is None or not added:
        return ()
    known = frozenset() if before is None else frozenset(before.implies)
    found = []
    for name, one in _companions().items():
        brings = any(element in added for element in devices.xpath(one.needs))
        if brings and (name in known or not devices.xpath(one.itself)):
            found.append(name)
    return tuple(found)


def part(tree: WorkTree, record: Record, withdrawer: Callable[[Recorded], Writer]) -> None:
    """Take out the companions of a record that nothing needs any more."""
    devices = child(tree.root, "devices")
    if devices is None:
        return
    for profile in record.profiles:
        for name in profile.implies:
            one = _companions().get(name)
            if one is None or devices.xpath(one.needs):
                continue
            there: list[Any] = devices.xpath(one.itself)
            for element in there:
                if tree.original(element) and one.unshaped(element):
                    tree.remove(element, [withdrawer(profile)])
