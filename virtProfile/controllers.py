# SPDX-License-Identifier: GPL-2.0-or-later
"""Controllers with a free slot: where the drives of a rendering are put, part of `complete`.

libvirt places drives by the letters of their targets, which scatters SCSI disks
over controllers of 7 and fails where another disk has the slot. So each drive
that a profile adds or moves gets its address written down, on a controller that
exists, else on one that is made for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .buses import (
    ADDRESS_TYPES,
    DRIVES,
    Slot,
    bus_of,
    by_index,
    by_letter,
    capacity,
    drives,
    implied_model,
    name_of,
    number,
    written_slot,
)
from .worktree import PRESENCE, Element, child

if TYPE_CHECKING:
    from .complete import Pass
    from .provenance import Writer

#: The model of a SCSI controller that is made, where nothing else says one.
SCSI_MODEL = "virtio-scsi"
_ROOMY = {"ide": "bus='sata' or bus='scsi'", "fdc": "another bus", "sata": "bus='scsi'"}


class Controllers:
    """Slots of one rendering; what is taken is worked out once and kept up."""

    def __init__(self, work: Pass) -> None:
        self.work = work
        self.devices = work.devices
        self._taken: dict[str, dict[Slot, Element]] = {}

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
                f"{_ROOMY.get(bus, 'another bus')} works there",
            )
            return
        slot = self._former(device, bus, writer) or self._free(bus, taken)
        slot = slot or self._on_new(device, bus, writer)
        if slot is None:
            names = ", ".join(sorted(name_of(one) for one in taken.values()))
            room = _ROOMY.get(bus, "another bus")
            self.work.fail(device, writer, f"no {bus} slot is free: taken by {names}", f"{room} has room")
            return
        self._share(bus, slot.controller, device, writer)
        taken[slot] = device
        self.work.write_address(device, slot, writer)

    def _former(self, device: Element, bus: str, writer: Writer) -> Slot | None:
        """The slot that an earlier run gave the device, if it is still to be had."""
        address = self.work.buried(device, "address")
        if address is None or address.get("type") != "drive":
            return None
        slot = Slot(*(number(address, name) or 0 for name in Slot._fields))
        if slot in self._slots(bus):
            return None
        there = by_index(self.devices, bus)
        if slot.controller not in there:
            if self.work.buried(self.devices, "controller", f"{bus} {slot.controller}") is None:
                return None
            self._write_down(bus, device, writer)
            if slot.controller not in by_index(self.devices, bus):
                self.make(bus, slot.controller, device, writer)
        controller = by_index(self.devices, bus).get(slot.controller)
        if controller is None:
            return None
        room = capacity(bus, controller.get("model") or "", self.work.family or "")
        return slot if slot.unit < room.units and slot.bus < room.buses else None

    def takes(self, bus: str) -> bool:
        """Has the bus a free slot, or room for one more controller?"""
        family = self.work.family or ""
        most = capacity(bus, "", family).most
        there = by_index(self.devices, bus)
        if most is None or len(there) < most:
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
        return known

    def _free(self, bus: str, taken: dict[Slot, Element]) -> Slot | None:
        """The first free slot on a controller that stands there."""
        for index, controller in sorted(by_index(self.devices, bus).items()):
            room = capacity(bus, controller.get("model") or "", self.work.family or "")
            if bus == "scsi" and any(slot.controller == index and slot.target for slot in taken):
                room = room._replace(units=min(room.units, 7))
            for number_ in range(room.buses * room.units):
                slot = Slot(index, number_ // room.units, 0, number_ % room.units)
                if slot not in taken:
                    return slot
        return None

    def _on_new(self, device: Element, bus: str, writer: Writer) -> Slot | None:
        """A slot on a controller that has to be made, those below it too."""
        self._write_down(bus, device, writer)
        slot = self._free(bus, self._slots(bus))
        if slot is not None:
            return slot
        there = by_index(self.devices, bus)
        most = capacity(bus, "", self.work.family or "").most
        if most is not None and len(there) >= most:
            return None
        self.make(bus, max(there, default=-1) + 1, device, writer)
        return self._free(bus, self._slots(bus))

    def _write_down(self, bus: str, device: Element, writer: Writer) -> None:
        """Controllers of the VM's own drives that libvirt would add: with libvirt's model."""
        there = by_index(self.devices, bus)
        needed = max((slot.controller for slot in self._slots(bus)), default=-1)
        for index in range(max([needed, *there]) + 1):
            if index not in there:
                self.make(bus, index, device, writer, model="")

    def _check(self, device: Element, bus: str, taken: dict[Slot, Element], writer: Writer) -> None:
        """An address that was there or that a profile wrote: does it work?"""
        slot = written_slot(device)
        if slot is None:
            address = child(device, "address")
            kind = None if address is None else address.get("type")
            if kind not in ADDRESS_TYPES[bus]:
                self.work.fail(device, writer, f"a {bus} drive has no address of type '{kind}'", "drop it")
            return
        other = taken.get(slot)
        if other is not None and other is not device:
            words = f"controller {slot.controller}, bus {slot.bus}, unit {slot.unit}"
            self.work.fail(
                device, writer, f"its slot ({words}) is taken by {name_of(other)}", "leave <address> out"
            )
            return
        self._write_down(bus, device, writer)
        there = by_index(self.devices, bus)
        taken[slot] = device
        most = capacity(bus, "", self.work.family or "").most
        for index in range(slot.controller + 1):
            if index not in there and (most is None or index < most):
                self.make(bus, index, device, writer)
        controller = by_index(self.devices, bus).get(slot.controller)
        model = "" if controller is None else controller.get("model") or ""
        room = capacity(bus, model, self.work.family or "")
        if controller is None or slot.unit >= room.units or slot.bus >= room.buses:
            what = f"{bus} {slot.controller}" + (f" ({model})" if model else "")
            fact = f"controller {what} has no bus {slot.bus}, unit {slot.unit}"
            self.work.fail(device, writer, fact, "leave <address> out")
            return
        self._share(bus, slot.controller, device, writer)

    def _share(self, bus: str, index: int, device: Element, writer: Writer) -> None:
        """The controller that was made for another drive is this one's too."""
        controller = by_index(self.devices, bus).get(index)
        if controller is not None and not self.work.tree.original(controller):
            if number(controller, "index") is None:
                self.work.put(controller, "@index", str(index), device, writer)
            if self.work.is_made(controller):
                for slot in (PRESENCE, *("@" + name for name in controller.attrib)):
                    owners = self.work.tree.owners(controller, slot)
                    if any(one.purpose for one in (owner.origin for owner in owners)):
                        self.work.claim(controller, slot, device, writer)

    # --- making --------------------------------------------------------------

    def make(
        self, kind: str, index: int, device: Element, writer: Writer, model: str | None = None
    ) -> Element | None:
        """A new controller: first bare, so that defaults of profiles say how it is.

        :param model: "" leaves the choice to libvirt, None makes it here
        """
        made = self.work.add(self.devices, "controller", device, writer, f"{kind} {index}")
        self.work.put(made, "@type", kind, device, writer)
        self.work.put(made, "@index", str(index), device, writer)
        if not self.work.allowed(made, device, writer):
            return None
        self.work.default_again()
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
            one.get("model")
            for one in self.devices.iterchildren("controller")
            if one is not made and one.get("type") == kind and one.get("model") not in (None, "auto")
        ]
        return str(models[-1]) if models else SCSI_MODEL

    # --- those that libvirt implies --------------------------------------------

    def spell_out(self, kind: str, writer: Writer) -> None:
        """Write down what libvirt would add of a type: a selected profile speaks of it."""
        if self.work.family is None:
            return
        if kind in DRIVES:
            own = [one for one in drives(self.devices) if bus_of(one) == kind]
            if own and capacity(kind, "", self.work.family).most != 0:
                self._write_down(kind, own[0], writer)
            return
        model = implied_model(kind, self.work.family)
        there = by_index(self.devices, kind)
        if model is None:
            return
        users = self.work.users_of(kind)
        if kind == "virtio-serial":
            wanted = -(-len(users) // capacity(kind, "", "").units)
        else:
            wanted = 1 if users or (kind in ("usb", "pci") and model) else 0
        for index in range(wanted):
            if index not in there:
                cause = users[0] if users else self.work.tree.root
                self.make(kind, index, cause, writer, model=model)
