# SPDX-License-Identifier: GPL-2.0-or-later
"""Controllers with a free slot: where the drives of a rendering are put, part of `complete`.

libvirt places drives by the letters of their targets, which scatters SCSI disks
over controllers of 7 and fails where another disk has the slot. So each drive
that a profile adds or moves gets its address written down, on a controller that
exists, else on one that is made for it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING

from virtProfile.format.buses import (
    ADDRESS_TYPES,
    DRIVES,
    MAX_INDEX,
    Slot,
    bus_of,
    by_index,
    by_letter,
    capacity,
    drives,
    implied_model,
    name_of,
    written_slot,
)
from virtProfile.format.element import PRESENCE, Element, attributes, child
from virtProfile.format.values import decimal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtProfile.engine.devices.workspace import Workspace
    from virtProfile.engine.tree.ownership import Writer

#: The model of a SCSI controller that is made, where nothing else says one.
SCSI_MODEL = "virtio-scsi"
_ROOMY = {"ide": "bus='sata' or bus='scsi'", "fdc": "another bus", "sata": "bus='scsi'"}


#: Drives that are named where their bus is full: of those on it, and of those that find no room.
_NAMED = 6


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


class Controllers:
    """Slots of one rendering; what is taken is worked out once and kept up."""

    def __init__(self, work: Workspace) -> None:
        self.work = work
        self.devices = work.devices
        self._taken: dict[str, dict[Slot, Element]] = {}
        self._by_index: dict[str, dict[int, Element]] = {}
        #: per bus: all controllers below that index are full, and those up to it written down
        self._full: dict[str, int] = {}
        self._complete: dict[str, int] = {}
        #: per bus, controller and units of one of its buses: so many of its slots are taken from the first on
        self._taken_below: dict[tuple[str, int, int], int] = {}
        #: per bus: the highest controller that a drive sits on, and those of drives with a target number
        self._highest: dict[str, int] = {}
        self._targeted: dict[str, set[int]] = {}
        #: per bus: the indexes of its controllers, in order
        self._indexes: dict[str, Sequence[int]] = {}
        #: buses whose controllers cannot all be made
        self._beyond: set[str] = set()
        #: drives for which their bus had no room: the first few are reported
        self._refused: Counter[tuple[str, Writer]] = Counter()

    def _there(self, kind: str) -> dict[int, Element]:
        """The controllers of a type by index; not to be changed."""
        known = self._by_index.get(kind)
        if known is None:
            known = self._by_index[kind] = by_index(self.devices, kind)
        return known

    def _forget_indexes(self) -> None:
        """Controllers went, or have another index."""
        self._by_index.clear()
        self._indexes.clear()

    def _take(self, bus: str, slot: Slot, device: Element) -> None:
        """A slot is taken from now on."""
        self._slots(bus)[slot] = device
        self._note(bus, slot)

    def _note(self, bus: str, slot: Slot) -> None:
        self._highest[bus] = max(self._highest.get(bus, -1), slot.controller)
        if slot.target:
            self._targeted.setdefault(bus, set()).add(slot.controller)

    # --- drives --------------------------------------------------------------

    def home(self, device: Element, writer: Writer) -> None:
        """Give a drive a slot, and its controller if there is none; errors go to the pass."""
        bus = bus_of(device)
        if bus not in DRIVES or self.work.family is None:
            return
        taken = self._slots(bus)
        address = child(device, "address")
        if address is not None:
            self._check(device, bus, taken, writer)
            return
        if capacity(bus, "", self.work.family).most == 0:
            self.work.fail(
                device,
                writer,
                f"machine '{self.work.machine}' has no {bus} bus",
                f"use {_ROOMY.get(bus, 'another bus')}",
            )
            return
        slot = self._former(device, bus, writer) or self._free(bus, taken)
        slot = slot or self._on_new(device, bus, writer)
        if slot is None:
            self._refused[bus, writer] += 1
            if self._refused[bus, writer] > _NAMED:
                return
            names = _some(sorted(name_of(drive) for drive in taken.values()))
            room = _ROOMY.get(bus, "another bus")
            self.work.fail(
                device, writer, f"no {bus} slot is free: taken by {names}", f"use {room}, which has room"
            )
            return
        self._share(bus, slot.controller, device, writer)
        self._take(bus, slot, device)
        self.work.write_address(device, slot, writer)

    def _former(self, device: Element, bus: str, writer: Writer) -> Slot | None:
        """The slot that an earlier run gave the device, if it is still to be had."""
        address = self.work.buried(device, "address")
        if address is None or address.get("type") != "drive":
            return None
        slot = Slot(*(decimal(address.get(name)) or 0 for name in Slot._fields))
        if slot in self._slots(bus):
            return None
        there = self._there(bus)
        if slot.controller not in there:
            if self.work.buried(self.devices, "controller", f"{bus} {slot.controller}") is None:
                return None
            self._write_down(bus, device, writer)
            if slot.controller not in self._there(bus):
                self.make(bus, slot.controller, device, writer)
        controller = self._there(bus).get(slot.controller)
        if controller is None:
            return None
        room = capacity(bus, controller.get("model") or "", self.work.family or "")
        return slot if slot.unit < room.units and slot.bus < room.buses else None

    def takes(self, bus: str) -> bool:
        """Has the bus a free slot, or room for one more controller?"""
        family = self.work.family or ""
        most = capacity(bus, "", family).most
        there = self._there(bus)
        if most is None or max(there, default=-1) + 1 < most:
            return True
        return self._free(bus, self._slots(bus)) is not None

    def _slots(self, bus: str) -> dict[Slot, Element]:
        """What takes which slot, also of drives whose address libvirt works out."""
        known = self._taken.get(bus)
        if known is not None:
            return known
        known = self._taken[bus] = {}
        for device in drives(self.devices):
            if device in self.work.homeless or bus_of(device) != bus:
                continue
            slot = written_slot(device)
            target = child(device, "target")
            if slot is None and target is not None:
                slot = by_letter(bus, target.get("dev", ""))
            if slot is not None:
                known.setdefault(slot, device)
                self._note(bus, slot)
        return known

    def _free(self, bus: str, taken: dict[Slot, Element]) -> Slot | None:
        """The first free slot on a controller that stands there."""
        there = self._there(bus)
        start = self._full.get(bus, 0)
        targeted = self._targeted.get(bus, ())
        indexes = self._indexes.get(bus, ())
        if len(indexes) != len(there):
            indexes = self._indexes[bus] = sorted(there)
        most = capacity(bus, "", self.work.family or "").most
        for index in islice(indexes, bisect_left(indexes, start), None):
            if most is not None and index >= most:  # drives that are there may need it by their names
                break
            controller = there[index]
            room = capacity(bus, controller.get("model") or "", self.work.family or "")
            if bus == "scsi" and index in targeted:
                room = room._replace(units=min(room.units, 7))
            known = bus, index, room.units
            for number_ in range(self._taken_below.get(known, 0), room.buses * room.units):
                slot = Slot(index, number_ // room.units, 0, number_ % room.units)
                if slot not in taken:
                    self._full[bus] = index
                    self._taken_below[known] = number_
                    return slot
        self._full[bus] = max(there, default=-1) + 1
        return None

    def _on_new(self, device: Element, bus: str, writer: Writer) -> Slot | None:
        """A slot on a controller that has to be made, those below it too."""
        self._write_down(bus, device, writer)
        slot = self._free(bus, self._slots(bus))
        if slot is not None:
            return slot
        there = self._there(bus)
        most = capacity(bus, "", self.work.family or "").most
        index = max(there, default=-1) + 1
        if most is not None and index >= most:
            return None
        self.make(bus, index, device, writer)
        return self._free(bus, self._slots(bus))

    def _write_down(self, bus: str, device: Element, writer: Writer) -> None:
        """Controllers of the VM's own drives that libvirt would add: with libvirt's model."""
        there = self._there(bus)
        self._slots(bus)
        complete = self._complete.get(bus, -1)
        highest = (
            max(self._highest.get(bus, -1), complete)
            if bus in self._complete
            else max(self._highest.get(bus, -1), max(there, default=-1))
        )
        if self._is_beyond(bus, highest, device, writer):
            return
        for index in range(complete + 1, highest + 1):
            if index not in there:
                self.make(bus, index, device, writer, model="")
        self._complete[bus] = max(complete, highest)

    def _is_beyond(self, bus: str, index: int, device: Element, writer: Writer) -> bool:
        """Would so many controllers have to be made that none are? Then one error says so."""
        if index > MAX_INDEX and bus not in self._beyond:
            self._beyond.add(bus)
            fact = f"a {bus} controller of index {index} would need all below it"
            self.work.fail(device, writer, fact, f"{MAX_INDEX} is the highest index that is made")
        return index > MAX_INDEX

    def _check(self, device: Element, bus: str, taken: dict[Slot, Element], writer: Writer) -> None:
        """An address that was there or that a profile wrote: does it work?"""
        slot = written_slot(device)
        if slot is None:
            address = child(device, "address")
            kind = None if address is None else address.get("type")
            if kind not in ADDRESS_TYPES[bus]:
                self.work.fail(
                    device, writer, f"a {bus} drive has no address of type '{kind}'", "omit its <address>"
                )
            return
        other = taken.get(slot)
        if other is not None and other is not device:
            words = f"controller {slot.controller}, bus {slot.bus}, unit {slot.unit}"
            self.work.fail(
                device, writer, f"its slot ({words}) is taken by {name_of(other)}", "omit its <address>"
            )
            return
        if self._is_beyond(bus, slot.controller, device, writer):
            return
        self._write_down(bus, device, writer)
        there = self._there(bus)
        self._take(bus, slot, device)
        most = capacity(bus, "", self.work.family or "").most
        for index in range(slot.controller + 1):
            if index not in there and (most is None or index < most):
                self.make(bus, index, device, writer)
        controller = self._there(bus).get(slot.controller)
        model = "" if controller is None else controller.get("model") or ""
        room = capacity(bus, model, self.work.family or "")
        if controller is None or slot.unit >= room.units or slot.bus >= room.buses:
            what = f"{bus} {slot.controller}" + (f" ({model})" if model else "")
            fact = f"controller {what} has no bus {slot.bus}, unit {slot.unit}"
            self.work.fail(device, writer, fact, "omit its <address>")
            return
        self._share(bus, slot.controller, device, writer)

    def _share(self, bus: str, index: int, device: Element, writer: Writer) -> None:
        """The controller that was made for another drive is this one's too."""
        controller = self._there(bus).get(index)
        if controller is not None and not self.work.tree.original(controller):
            if decimal(controller.get("index")) is None:
                self.work.put(controller, "@index", str(index), device, writer)
                self._forget_indexes()
            if self.work.is_made(controller):
                for slot in (PRESENCE, *("@" + name for name in attributes(controller))):
                    owners = self.work.tree.owners(controller, slot)
                    if any(origin.purpose for origin in (owner.origin for owner in owners)):
                        self.work.claim(controller, slot, device, writer)

    # --- making --------------------------------------------------------------

    def make(
        self,
        kind: str,
        index: int,
        device: Element,
        writer: Writer,
        model: str | None = None,
        needed: bool = True,
    ) -> Element | None:
        """A new controller: first bare, so that defaults of profiles say how it is.

        :param model: "" leaves the choice to libvirt, None makes it here
        :param needed: where a profile wants it away it is an error, else it is not made
        """
        made = self.work.add(self.devices, "controller", device, writer, f"{kind} {index}")
        self._full[kind] = min(index, self._full.get(kind, 0))
        self.work.put(made, "@type", kind, device, writer)
        self.work.put(made, "@index", str(index), device, writer)
        if not self.work.allowed(made, device, writer, needed):
            self._forget_indexes()
            self._complete.clear()
            return None
        there = self._by_index.get(kind)
        if there is not None:
            there.setdefault(index, made)
        self.work.default_again(made)
        if made.get("model") is None:
            model = self._model(kind, made) if model is None else model
            if model:
                self.work.put(made, "@model", model, device, writer)
        return made

    def _model(self, kind: str, made: Element) -> str:
        """As the last of its type that says one; virtio-scsi where nobody does."""
        if kind != "scsi":
            return implied_model(kind, self.work.family or "") or ""
        models = [
            controller.get("model")
            for controller in self.devices.iterchildren("controller")
            if controller is not made
            and controller.get("type") == kind
            and controller.get("model") not in (None, "auto")
        ]
        return str(models[-1]) if models else SCSI_MODEL

    # --- those that libvirt implies --------------------------------------------

    def spell_out(self, kind: str, writer: Writer) -> None:
        """Write down what libvirt would add of a type: a selected profile speaks of it."""
        if self.work.family is None:
            return
        if kind in DRIVES:
            own = [drive for drive in drives(self.devices) if bus_of(drive) == kind]
            if own and capacity(kind, "", self.work.family).most != 0:
                self._write_down(kind, own[0], writer)
            return
        model = implied_model(kind, self.work.family)
        there = self._there(kind)
        if model is None:
            return
        users = self.work.users_of(kind)
        if kind == "virtio-serial":
            wanted = -(-len(users) // capacity(kind, "", "").units)
        else:
            wanted = 1 if users or (kind in ("usb", "pci") and model) else 0
        new = [user for user in users if not self.work.tree.original(user)]
        cause = next(iter(new or users), self.work.tree.root)
        for index in range(wanted):
            if index not in there:
                self.make(kind, index, cause, writer, model=model, needed=bool(new))
