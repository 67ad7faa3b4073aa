# SPDX-License-Identifier: GPL-2.0-or-later
"""What sits on which bus, and how many slots its controllers have: facts for `controllers`.

Reads a tree, changes nothing. The numbers are data (controllers.tsv) with a
source per row; libvirt's way to place a disk by the letters of its target is
here because it takes slots that nobody wrote down.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from virtProfile.format.element import child
from virtProfile.format.facts import rows
from virtProfile.format.patterns import compiled_later
from virtProfile.format.schema import DATA
from virtProfile.format.values import decimal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtProfile.format.element import Element


#: Buses whose disks libvirt scatters or refuses: their slots are written down.
DRIVES = ("scsi", "sata", "ide", "fdc")
#: With what aliases begin that libvirt keeps: all others it makes itself (formatdomain, "alias").
USER_ALIAS = "ua-"
#: Hypervisors whose devices libvirt's QEMU driver places; its test driver takes the same.
QEMU = frozenset((None, "kvm", "qemu", "hvf", "kqemu", "test"))
#: Of a target's name, what bus it means where none is written (virDomainDiskDefParseXML).
_PREFIXES = {"hd": "ide", "sd": "scsi", "vd": "virtio", "fd": "fdc", "xvd": "xen", "ubd": "uml"}

#: Of a bus, what the names of its disks begin with (virDomainDiskDefAssignAddress; virtinst, disk.py).
_NAMED = {"ide": "hd", "scsi": "sd", "sata": "sd", "usb": "sd", "virtio": "vd", "fdc": "fd", "xen": "xvd"}

_TARGET = compiled_later(r"(fd|hd|vd|sd|xvd|ubd)([a-z]+)\d*$")
#: What a device's address looks like, by its bus, where only one kind fits.
ADDRESS_TYPES = {
    "virtio": ("pci", "ccw", "virtio-mmio", "virtio-s390"),
    "usb": ("usb",),
    **dict.fromkeys(DRIVES, ("drive",)),
}


class Capacity(NamedTuple):
    """Buses of a controller, units of a bus, controllers of a domain (None: no limit)."""

    buses: int
    units: int
    most: int | None


class Slot(NamedTuple):
    """A place for a drive."""

    controller: int
    bus: int
    target: int
    unit: int


@cache
def _controllers() -> list[list[str]]:
    return list(rows(f"{DATA}/controllers.tsv"))


@cache
def _implied() -> list[list[str]]:
    return list(rows(f"{DATA}/implied-controllers.tsv"))


@cache
def capacity(kind: str, model: str, family: str) -> Capacity:
    """Slots of a controller.

    :param kind: its type; `model` is "" where libvirt chooses
    :param family: of the machine, "" where nobody knows
    """
    for row_kind, row_model, row_family, buses, units, most, *_ in _controllers():
        if row_kind == kind and row_model in ("*", model) and row_family in ("*", family or "-"):
            return Capacity(int(buses), int(units), None if most == "-" else int(most))
    raise KeyError(kind)


def implied_model(kind: str, family: str) -> str | None:
    """Model of the controller that libvirt adds by itself: "" its choice, None: it adds none."""
    for row_kind, row_family, model, *_ in _implied():
        if row_kind == kind and row_family in ("*", family):
            return "" if model == "-" else model
    return None


def bus_of(device: Element) -> str:
    """The bus that a disk, or a SCSI device of the host, sits on; "" where nothing says."""
    if device.tag == "hostdev":
        mode = device.get("mode", "subsystem")
        return "scsi" if mode == "subsystem" and device.get("type") == "scsi" else ""
    target = child(device, "target")
    if device.tag != "disk" or target is None:
        return ""
    found = target.get("bus") or implied_bus(target.get("dev", ""))
    return str(found or "")


@cache
def _on_usb() -> dict[str, tuple[str, str, str]]:
    """tag -> element below it or "", attribute, value."""
    found = {}
    for tag, test, _ in rows(f"{DATA}/usb.tsv"):
        slot, _, value = test.partition("=")
        below, _, name = slot.rpartition("@")
        found[tag] = below.rstrip("/"), name, value.strip("'")
    return found


def is_on_usb(device: Element) -> bool:
    """Does libvirt plug it into a USB port?"""
    if device.tag == "disk":
        return bus_of(device) == "usb"
    fact = _on_usb().get(device.tag)
    if fact is None:
        return False
    below, name, value = fact
    holder = child(device, below) if below else device
    return holder is not None and holder.get(name) == value


def implied_bus(dev: str) -> str:
    """The bus that a target's name means where no bus is written."""
    found = _TARGET.match(dev)
    return _PREFIXES[found[1]] if found else ""


def renamed(dev: str, bus: str) -> str | None:
    """What a disk of that name is called on another bus; None where its name fits, or is no such name."""
    found = _TARGET.match(dev)
    prefix = _NAMED.get(bus)
    if found is None or prefix is None or found[1] == prefix:
        return None
    return prefix + found[2]


def letters(dev: str) -> int | None:
    """``sda`` is 0, ``sdaa`` 26; None for what is no such name."""
    found = _TARGET.match(dev)
    if found is None:
        return None
    place = 0
    for letter in found[2]:
        place = place * 26 + ord(letter) - ord("a") + 1
    return place - 1


#: The highest index of a controller that is made: all below it are made too, as libvirt does.
MAX_INDEX = 2047


def by_letter(bus: str, dev: str) -> Slot | None:
    """Where libvirt puts a drive that has no address (virDomainDiskDefAssignAddress)."""
    at = letters(dev)
    if at is None or at > 100_000:
        return None
    if bus == "ide":
        return Slot(at // 4, at % 4 // 2, 0, at % 2)
    width = {"fdc": 2, "sata": 6, "scsi": 7}[bus]
    return Slot(at // width, 0, 0, at % width)


def written_slot(device: Element) -> Slot | None:
    """The drive address that a device has."""
    address = child(device, "address")
    if address is None or address.get("type") != "drive":
        return None
    return Slot(*(decimal(address.get(name)) or 0 for name in Slot._fields))


def drives(devices: Element) -> Iterator[Element]:
    """Everything that takes a drive's slot."""
    yield from devices.iterchildren("disk", "hostdev")


def by_index(devices: Element, kind: str) -> dict[int, Element]:
    """The controllers of a type by index; those without one get the first that is free."""
    found: dict[int, Element] = {}
    without = []
    for controller in devices.iterchildren("controller"):
        if controller.get("type") != kind:
            continue
        index = decimal(controller.get("index"))
        if index is None:
            without.append(controller)
        else:
            found.setdefault(index, controller)
    free = 0
    for controller in without:
        while free in found:
            free += 1
        found[free] = controller
    return found


def mirrors_serial(device: Element) -> bool:
    """Is it the console as which libvirt shows the first serial port once more, its address too?"""
    target = child(device, "target")
    return device.tag == "console" and (target is None or target.get("type", "serial") == "serial")


def name_of(device: Element) -> str:
    """A device in a few words, for messages and origins: ``disk sdb``.

    By its target, else by the alias that somebody chose (libvirt's own say nothing more than the
    device does), else by its type or model.
    """
    target = child(device, "target")
    word = None if target is None else target.get("dev") or target.get("name")
    if word is None:
        alias = child(device, "alias")
        name = None if alias is None else alias.get("name")
        word = name if name and name.startswith(USER_ALIAS) else None
    if word is None and device.tag == "controller":
        word = " ".join(filter(None, (device.get("type"), device.get("index"))))
    elif word is None:
        model = child(device, "model")
        word = device.get("type") or device.get("model") or (None if model is None else model.get("type"))
    return f"{device.tag} {word}" if word else str(device.tag)
