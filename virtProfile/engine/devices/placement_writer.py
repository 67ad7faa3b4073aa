# SPDX-License-Identifier: GPL-2.0-or-later
"""The writing half of placement: buses, ports and addresses for devices on a NUMA node or in one slot.

Knows where each machine wants a device to sit, and nothing of who may be placed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from virtProfile.engine.tree.ownership import THE_DEFINITION
from virtProfile.engine.tree.work_tree import WorkTree
from virtProfile.errors import CompletionError
from virtProfile.format.buses import name_of
from virtProfile.format.element import PRESENCE, TEXT, Element, attributes, child
from virtProfile.format.element import place as position
from virtProfile.format.pci import (
    BUS_NUMBERS,
    EXPANDERS,
    PC_OWN_SLOTS,
    PCI_EXPANDER,
    PCIE_EXPANDER,
    PORTS,
    SLOTS,
    Bus,
    Topology,
    place_of,
)
from virtProfile.format.values import prefixed
from virtProfile.language.profile import Snippet

if TYPE_CHECKING:
    from virtProfile.engine.actions.perform import Actions
    from virtProfile.engine.tree.ownership import Writer


#: Machine families by their root bus: with 32 slots, or with a port for each device.
CONVENTIONAL = frozenset({"pc"})
EXPRESS = frozenset({"q35", "virt"})


class Seat:
    """What is to be placed, and on whose wish.

    :ivar devices: one, or the functions of one slot in their order
    :ivar node: NUMA node of the guest, None for any place
    """

    __slots__ = ("devices", "node", "writers")

    def __init__(self, devices: Sequence[Element], node: int | None, writers: Sequence[Writer]) -> None:
        self.devices = devices
        self.node = node
        self.writers = writers

    @property
    def device(self) -> Element:
        return self.devices[0]

    @property
    def where(self) -> str:
        """Place in the file of the first who wishes it."""
        origin = self.writers[0].origin
        return f"{origin.file}:{origin.line}"


class Seating:
    """Gives devices their places in the tree.

    :ivar made: the controllers that came to stand there
    """

    def __init__(self, tree: WorkTree, actions: Actions, family: str | None) -> None:
        """:param family: of the machine type"""
        self.tree = tree
        self.actions = actions
        self.family = family
        self.topology = Topology(tree.root)
        self.made: list[Element] = []
        self._common = 1

    def seat(self, seats: Sequence[Seat], model: str | None) -> None:
        """Place all of them.

        :param model: of the expander buses that the machine takes
        """
        seats = [seat for seat in seats if not self._returns(seat, model)]
        self._common = self._common_buses(seats)
        for seat in seats:
            if seat.node is None:
                self._anywhere(seat)
        for node in sorted({seat.node for seat in seats if seat.node is not None}):
            waiting = [seat for seat in seats if seat.node == node]
            if model == PCI_EXPANDER:
                self._conventional(node, waiting)
            else:
                self._express(node, waiting)

    # --- places of an earlier run --------------------------------------------------

    def _returns(self, seat: Seat, model: str | None) -> bool:
        """Does the device take the place again that an earlier run gave it? That comes
        back with all that libvirt or a person put into it since."""
        tree, devices = self.tree, self.topology.devices
        at = self._former_place(seat.devices)
        if at is None:
            return False
        number, slot = at
        buried = {
            controller
            for controller, grave in tree.graves.items()
            if grave.parent is devices and controller.tag == "controller"
        }
        known = Topology(tree.root, buried)
        if known.node_of(number) != seat.node or self.topology.taken.get(number, {}).get(slot):
            return False
        chain = known.chain(number)
        if seat.node is None:
            on_root = not number and self.family in CONVENTIONAL and slot not in PC_OWN_SLOTS
            if not on_root and not (self.family in EXPRESS and chain and chain[0].model in PORTS):
                return False
            chain = chain[: 0 if on_root else 1]
        elif chain[-1].model != model:
            return False
        if any(bus.element in buried and bus.index in self.topology.buses for bus in chain):
            return False
        node: Any = self.actions.schema.root.child("devices")
        for bus in reversed(chain):
            if bus.element in buried:
                again = self.actions.bring_back
                again(bus.element, node.child("controller"), _as_written(bus), seat.writers[0])
                self.topology.add(bus)
                self.made.append(bus.element)
            self._share(bus.element, seat.writers)
        self._sit(seat, number, slot)
        return True

    def restore_moved(self, device: Element) -> None:
        """Where somebody moved the device since an earlier run placed it, that is the definition's."""
        tree = self.tree
        former = self._former(device)
        if former is None:
            return
        given = self._given(former)
        grave = tree.revived.get(device)
        parts = () if grave is None or grave.written is None else grave.written.children
        written = next((part.attrs for part in parts if part.tag == former.tag), None)
        for name in ("domain", "bus", "slot", "function"):
            # What is as it was written was taken back, unless the device as a whole was.
            has = former.get(name) if written is None else given.get(name)
            if has is not None and prefixed(has) != prefixed((written or {}).get(name, has + "-")):
                break
        else:
            return
        tree.revive(former, THE_DEFINITION)
        for name, value in given.items():
            tree.set(former, "@" + name, value, THE_DEFINITION)

    def _given(self, former: Element) -> dict[str, str]:
        """The attributes of a buried element as the input has them."""
        kept = self.tree.edited.get(former)
        return attributes(former) if kept is None else kept[0]

    def _former(self, device: Element) -> Element | None:
        """The address that an earlier run gave a device, as long as it is buried."""
        return self.tree.graves.first(device, "address")

    def _former_place(self, devices: Sequence[Element]) -> tuple[int, int] | None:
        """Bus and slot that an earlier run gave all of these, as functions from 0 on."""
        found: tuple[int, int] | None = None
        for function, device in enumerate(devices):
            former = self._former(device)
            if former is None:
                return None
            at = place_of(former.makeelement(former.tag, self._given(former)))
            if at is None or at[0] or at[3] != function or found not in (None, (at[1], at[2])):
                return None
            found = at[1], at[2]
        return found

    # --- making places -----------------------------------------------------------

    def _anywhere(self, seat: Seat) -> None:
        """A slot for functions that are on no NUMA node.

        On pc it is the highest that is free: libvirt gives the others the lowest.
        """
        if self.family in CONVENTIONAL:
            taken = self.topology.taken.get(0, {})
            free = [slot for slot in range(SLOTS) if slot not in PC_OWN_SLOTS and not taken.get(slot)]
            if free:
                self._sit(seat, 0, free[-1])
            else:
                self.actions.unmet.append(
                    CompletionError(
                        f"{name_of(seat.device)} cannot be placed: all slots of PCI bus 0 are taken",
                        hint="remove a device, or use machine q35",
                        where=seat.where,
                    )
                )
            return
        topology = self.topology
        for bus in sorted(topology.buses.values(), key=lambda candidate: candidate.index):
            if bus.model in PORTS and topology.is_free(bus) and topology.expander_above(bus.index) is None:
                self._share(bus.element, seat.writers)
                self._sit(seat, bus.index, 0)
                return
        port = self._controller("pcie-root-port", [], seat.writers)
        self._sit(seat, port.index, 0)

    def _conventional(self, node: int, seats: list[Seat]) -> None:
        """On pc: devices sit on the expander itself, in slots 1 to 31."""
        waiting = list(seats)
        for expander in self.topology.expanders(node):
            self._fill(expander, waiting)
        while waiting:
            part = waiting[: SLOTS - 1]
            made = self._expander(PCI_EXPANDER, node, 1, part)
            if made is None:
                return
            self._fill(made, waiting)

    def _fill(self, expander: Bus, waiting: list[Seat]) -> None:
        taken = self.topology.taken.setdefault(expander.index, {})
        for slot in range(1, SLOTS):
            if not waiting:
                return
            if not taken.get(slot):
                seat = waiting.pop(0)
                self._share(expander.element, seat.writers)
                self._sit(seat, expander.index, slot)

    def _express(self, node: int, seats: list[Seat]) -> None:
        """On q35 and virt: each device in slot 0 of a root port of its own below an expander."""
        waiting = list(seats)
        for bus in sorted(self.topology.buses.values(), key=lambda candidate: candidate.index):
            if not waiting:
                return
            free = bus.model in PORTS and self.topology.is_free(bus)
            if free and self.topology.node_of(bus.index) == node:
                seat = waiting.pop(0)
                for link in self.topology.chain(bus.index):
                    self._share(link.element, seat.writers)
                self._sit(seat, bus.index, 0)
        while waiting:
            part, waiting = waiting[:SLOTS], waiting[SLOTS:]
            expander = self._expander(PCIE_EXPANDER, node, len(part), part)
            if expander is None:
                return
            for slot, seat in enumerate(part):
                address = _address(expander.index, slot)
                port = self._controller("pcie-root-port", [address], seat.writers)
                self._sit(seat, port.index, 0)

    def _expander(self, model: str, node: int, below: int, seats: Sequence[Seat]) -> Bus | None:
        """A new expander with room for `below` buses; None where the guest's bus numbers are out.

        The guest's firmware numbers the buses below an expander upwards from its
        own: without room the next expander's bus is lost. An expander that is there
        keeps its number, which the guest sees.
        """
        topology = self.topology
        lowest = min((min(topology.numbers(), default=BUS_NUMBERS)), BUS_NUMBERS)
        lowest -= 1 + below
        if lowest < self._common:
            first = seats[0]
            self.actions.unmet.append(
                CompletionError(
                    f"{name_of(first.device)} cannot be placed on NUMA node {node}:"
                    " the guest's PCI bus numbers are used up",
                    hint="place fewer devices on NUMA nodes, or raise busNr of the VM's own expander buses",
                    where=first.where,
                )
            )
            return None
        inside = (_element("node", text=str(node)),)
        target = _element("target", {"busNr": str(lowest)}, inside)
        writers = dict.fromkeys(writer for seat in seats for writer in seat.writers)
        return self._controller(model, [target], list(writers))

    def _common_buses(self, seats: Sequence[Seat]) -> int:
        """How many bus numbers the buses take that hang on no expander, the root's 0 included."""
        topology = self.topology
        plain = {bus.index for bus in topology.buses.values() if topology.expander_above(bus.index) is None}
        count = len(plain | {0}) + len(topology.unnumbered)
        if self.family != "pc":  # libvirt makes a root port for each device without address
            count += len(topology.unplaced(self.family)) - sum(len(seat.devices) for seat in seats)
            count += sum(seat.node is None for seat in seats)
        return count

    # --- writing -------------------------------------------------------------------

    def _share(self, element: Element, writers: Iterable[Writer]) -> None:
        """What is there is wanted by these too."""
        for writer in writers:
            for part in element.iter("controller", "target", "node", "address"):
                for slot in slots_of(part):
                    self.tree.claim(part, slot, writer)

    def _controller(self, model: str, children: list[Snippet], writers: Sequence[Writer]) -> Bus:
        index = self.topology.highest() + 1
        attributes = {"type": "pci", "index": str(index), "model": model}
        made = self._insert(
            self.topology.devices, _element("controller", attributes, tuple(children)), writers
        )
        bus = Bus(made, index)
        self.topology.add(bus)
        self.made.append(made)
        return bus

    def _insert(self, parent: Any, snippet: Snippet, writers: Sequence[Writer]) -> Element:
        node: Any = self.actions.schema.root.child("devices")
        node = node if parent is self.topology.devices else node.child(parent.tag)
        new = self.actions.build(parent, snippet, writers[0])
        self.tree.insert(parent, position(parent, node, snippet.tag), new, writers[0])
        for writer in writers[1:]:
            for part in new.iter("*"):
                for slot in slots_of(part):
                    self.tree.claim(part, slot, writer)
        return new

    def _sit(self, seat: Seat, bus: int, slot: int) -> None:
        for function, device in enumerate(seat.devices):
            more = {"multifunction": "on"} if not function and len(seat.devices) > 1 else {}
            self._put(device, _address(bus, slot, function, more), seat)
            self.topology.taken.setdefault(bus, {}).setdefault(slot, []).append(device)

    def _put(self, device: Element, snippet: Snippet, seat: Seat) -> None:
        """Give one device its address."""
        there = child(device, "address")  # may say "somewhere on PCI"
        former = self._former(device)
        if there is None and former is not None:
            self.tree.revive(former, seat.writers[0])
            there = former
        if there is None:
            self._insert(device, snippet, seat.writers)
        else:
            for name, value in snippet.attrs:
                if there.get(name) != value:
                    self.tree.set(there, "@" + name, value, seat.writers[0])
                elif there is former:
                    self.tree.own_slot(there, "@" + name, seat.writers[0])
            for writer in seat.writers:
                self.tree.claim(there, PRESENCE, writer)
                for name, _ in snippet.attrs:
                    self.tree.claim(there, "@" + name, writer)


def slots_of(element: Element) -> list[str]:
    slots = [PRESENCE, *("@" + name for name in attributes(element))]
    if element.tag == "node":
        slots.append(TEXT)
    return slots


def _element(
    tag: str,
    attributes: dict[str, str] | None = None,
    children: tuple[Snippet, ...] = (),
    text: str | None = None,
) -> Snippet:
    return Snippet(tag, tuple((attributes or {}).items()), text, children, 0)


def _address(bus: int, slot: int, function: int = 0, more: dict[str, str] | None = None) -> Snippet:
    """A PCI address as libvirt writes it."""
    return _element(
        "address",
        {
            "type": "pci",
            "domain": "0x0000",
            "bus": f"0x{bus:02x}",
            "slot": f"0x{slot:02x}",
            "function": f"0x{function:x}",
            **(more or {}),
        },
    )


def _as_written(bus: Bus) -> Snippet:
    """What placement writes into a controller, of one that is there."""
    attributes = {"type": "pci", "index": str(bus.index), "model": bus.model}
    if bus.model not in EXPANDERS:
        children = [] if bus.parent is None else [_address(bus.parent, bus.slot or 0)]
    else:
        inside = (_element("node", text=str(bus.node)),)
        numbers = {} if bus.number is None else {"busNr": str(bus.number)}
        children = [_element("target", numbers, inside)]
    return _element("controller", attributes, tuple(children))
