# SPDX-License-Identifier: GPL-2.0-or-later
"""The order in which libvirt keeps devices, in which ``each=`` numbers them.

A disk that changes its bus stands elsewhere after the define; numbers by the order of the document would be
others then, and the next apply would change what this one wrote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtProfile.format.buses import implied_bus, letters
from virtProfile.format.document import local
from virtProfile.format.element import Element, child
from virtProfile.format.values import decimal

if TYPE_CHECKING:
    from collections.abc import Sequence


def as_kept(elements: Sequence[Element]) -> Sequence[Element]:
    """Elements of one tag, in document order, as libvirt orders them: disks of one bus together, by the
    letters of their names (virDomainDiskInsert), controllers of one type together, by index
    (virDomainControllerInsertPreAlloced); everything else stays where it is."""
    if len(elements) < 2 or local(elements[0].tag) not in ("disk", "controller"):
        return elements
    parent = elements[0].getparent()
    if parent is None or any(one.getparent() is not parent for one in elements):
        return elements
    groups: dict[str, int] = {}
    places: dict[Element, tuple[int, int]] = {}
    for device in parent.iterchildren(elements[0].tag):
        kind, number = _disk(device) if local(device.tag) == "disk" else _controller(device)
        places[device] = (groups.setdefault(kind, len(groups)), number)
    return sorted(elements, key=places.__getitem__)


def _disk(device: Element) -> tuple[str, int]:
    target = child(device, "target")
    name = "" if target is None else target.get("dev", "")
    bus = "" if target is None else target.get("bus", "")
    place = letters(name)
    return bus or implied_bus(name), -1 if place is None else place


def _controller(device: Element) -> tuple[str, int]:
    number = decimal(device.get("index"))
    return device.get("type", ""), 1 << 31 if number is None else number
