# SPDX-License-Identifier: GPL-2.0-or-later
"""The last pass of a rendering: wishes for a place become buses, ports and addresses.

No profile names a bus. A profile asks for a NUMA node, or for devices to share a
slot (`Arbiter.intents`); the machine type decides what that takes: for a node on
pc an expander bus, on q35 and on aarch64 virt an expander and a root port for
each device; for a slot one that is free on pc's bus, or a root port.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from virtProfile.engine.devices.placement_writer import CONVENTIONAL, EXPRESS, Seat, Seating, slots_of
from virtProfile.engine.tree.ownership import THE_DEFINITION, Asked, Writer
from virtProfile.engine.tree.work_tree import WorkTree
from virtProfile.errors import CompletionError, ProfileError
from virtProfile.format.buses import name_of
from virtProfile.format.element import PRESENCE, Element, attributes, child, parent_of
from virtProfile.format.pci import PORTS, Topology, address_of, cells_of, is_pci, place_of
from virtProfile.host.documents import expander_of, machine_family
from virtProfile.language.directives import NUMA_NODE, SAME_SLOT, attribute
from virtProfile.result import Origin

if TYPE_CHECKING:
    from virtProfile.engine.actions.perform import Actions
    from virtProfile.host.context import Context
    from virtProfile.host.documents import Documents

#: Stands in reports for the wish for a node.
INTENT = attribute(NUMA_NODE)
#: Stands in reports for the wish for a common slot.
SHARED = attribute(SAME_SLOT)
#: Functions of a PCI device.
FUNCTIONS = 8
_KEEP = "a device keeps the address that it has; <remove select='…/address'/> lets it be placed"


def place(tree: WorkTree, actions: Actions, context: Context) -> None:
    """Give the devices that profiles want on a NUMA node of the guest, or in one slot, their place there.

    A device that has an address keeps it: where it is not the one that is wanted, that is
    reported as overridden. Without NUMA cells the wishes for a node are void, and a
    device that nothing wants to share a slot with gets none of its own. What cannot be
    placed goes to `actions.unmet`. Whatever is written is owned by the profiles that wanted it.
    """
    cells = cells_of(tree.root)
    if not cells:
        actions.losses[:] = [loss for loss in actions.losses if loss.rest != INTENT]
    if cells or actions.intents[SAME_SLOT]:
        _Placing(tree, actions, context.documents, cells).run()


class _Placing(Seating):
    def __init__(self, tree: WorkTree, actions: Actions, documents: Documents, cells: list[int]) -> None:
        super().__init__(tree, actions, machine_family(tree.root, documents))
        self.documents = documents
        self.cells = cells
        self._agents: dict[tuple[Writer, str], Writer] = {}

    def run(self) -> None:
        seats = self._seats()
        while seats:
            mark = self.tree.mark()
            nodes = any(seat.node is not None for seat in seats)
            self.seat(seats, expander_of(self.tree.root, self.documents) if nodes else None)
            barred = self._barred(seats)
            if not barred:
                break
            self.tree.undo_since(mark)
            self.topology = Topology(self.tree.root)
            self.made.clear()
            seats = [seat for seat in seats if seat not in barred]
        for seat in seats:
            self.actions.effective.update(writer.cause for writer in seat.writers)
        if self.made:
            self.actions.reach_new(self.made)

    def _barred(self, seats: Sequence[Seat]) -> list[Seat]:
        """The devices that cannot have their place, as a `remove` keeps a controller away that it needs."""
        actions = self.actions
        barred: list[Seat] = []
        for absence in actions.absences:
            hits = {hit.element for hit in actions.hits(absence)}
            for controller in self.made:
                if not any(element in hits for element in controller.iter("*")):
                    continue
                owners = self.tree.subtree_owners(controller)
                if any(actions.arbiter.beats(owner, [absence.writer]) for owner in owners):
                    element = parent_of(controller)
                    actions.arbiter.lose(element, controller.tag, None, "there", absence.writer, owners)
                    continue
                for seat in seats:
                    if seat not in barred and any(writer in owners for writer in seat.writers):
                        barred.append(seat)
                        for writer in seat.writers:
                            loser, winners = writer.cause, [absence.writer]
                            rest, value = self._wish(seat)
                            actions.arbiter.lose(seat.device, rest, value, None, loser, winners)
        return barred

    # --- who is to be placed ---------------------------------------------------

    def _seats(self) -> list[Seat]:
        """The devices without an address that are wanted somewhere, in document order."""
        found: list[Seat] = []
        nodes = self.actions.intents[NUMA_NODE] if self.cells else {}
        slots = self.actions.intents[SAME_SLOT]
        groups: dict[str, list[Element]] = {}
        for device in self.tree.root.iter("*"):
            if device in slots:
                groups.setdefault(slots[device].value, []).append(device)
        for device in self.tree.root.iter("*"):
            together = groups[slots[device].value] if device in slots else [device]
            if device is not together[0] or device not in nodes and len(together) < 2:
                continue  # its place is that of the first, or nobody shares it
            seat = self._seat_of(together)
            if seat is not None:
                found.append(seat)
        return found

    def _seat_of(self, devices: list[Element]) -> Seat | None:
        """Place and writers of devices of one slot, or of one alone; None where nothing is to be placed."""
        nodes = self.actions.intents[NUMA_NODE] if self.cells else {}
        slots = self.actions.intents[SAME_SLOT] if len(devices) > 1 else {}
        on_nodes = [nodes[device] for device in devices if device in nodes]
        wishes = [*on_nodes, *(slots[device] for device in devices if device in slots)]
        numbers = sorted({int(wish.value) for wish in on_nodes})
        node = numbers[0] if numbers else None
        first = wishes[0]
        problem = self._impossible_slot(devices, numbers, first)
        if problem is None and node is not None:
            for device in devices:
                problem = problem or self._impossible(device, node, first.writers[0], first.lines[0])
        if problem is not None:
            self.actions.unmet.append(problem)
            return None
        writers = {
            writer: line for wish in wishes for writer, line in zip(wish.writers, wish.lines, strict=True)
        }
        seat = Seat(devices, node, list(writers))
        if self._is_there(seat):
            return None
        seat.devices = [device for device in devices if self._is_open(device, seat)]
        if not seat.devices or node is None and len(seat.devices) < 2:
            return None
        if node is None and self.family not in CONVENTIONAL | EXPRESS:
            note = "where the machine has a free slot is not known"
            for writer in writers:
                self.actions.arbiter.lose(
                    seat.device, SHARED, self._wish(seat)[1], None, writer, [THE_DEFINITION], note
                )
                self.actions.losses[-1].final = True
            return None
        seat.writers = [self._agent(writer, seat, line) for writer, line in writers.items()]
        return seat

    def _wish(self, seat: Seat) -> tuple[str, str]:
        """What is wanted, as reports have it: attribute and value."""
        if seat.node is not None:
            return INTENT, str(seat.node)
        return SHARED, self.actions.intents[SAME_SLOT][seat.device].said

    def _impossible_slot(self, devices: list[Element], nodes: list[int], wish: Asked) -> ProfileError | None:
        """Devices that cannot be functions of one."""
        where = f"{wish.writers[0].origin.file}:{wish.lines[0]}"
        name = name_of(devices[0])
        if len(nodes) > 1:
            numbers = " and ".join(str(node) for node in nodes)
            return CompletionError(
                f"{name} and what shares its slot cannot be on NUMA nodes {numbers} at once",
                hint="use one node for all that share a slot",
                where=where,
            )
        if len(devices) > FUNCTIONS:
            return CompletionError(
                f"{name} shares its slot with {len(devices) - 1} devices",
                hint=f"use another word for some: a slot has {FUNCTIONS} functions",
                where=where,
            )
        for device in devices if len(devices) > 1 else ():
            problem = self._not_pci(device, "share a slot", SAME_SLOT, where)
            if problem is not None:
                return problem
        return None

    def _not_pci(self, device: Element, deed: str, wish: str, where: str) -> CompletionError | None:
        """A device that has no choice of an address.

        :param deed: what it cannot do for that
        """
        if device.getparent() is self.topology.devices and is_pci(device, self.family):
            return None
        return CompletionError(
            f"{name_of(device)} cannot {deed}: it is not a PCI device with a free choice of address",
            hint=f"put {wish} on a NIC, a virtio disk, a hostdev, …",
            where=where,
        )

    def _impossible(self, device: Element, node: int, writer: Writer, line: int) -> ProfileError | None:
        where = f"{writer.origin.file}:{line}"
        try:
            model = expander_of(self.tree.root, self.documents)
        except ProfileError as problem:
            return type(problem)(problem.message, hint=problem.hint, where=where)
        name = name_of(device)
        if model is None:
            return CompletionError(
                f"{name} cannot be placed on NUMA node {node}: the machine"
                f" '{self.documents.machine_of(self.tree.root)}' has no expander buses",
                hint="use machine pc or q35, or virt on aarch64",
                where=where,
            )
        misfit = self._not_pci(device, f"be placed on NUMA node {node}", NUMA_NODE, where)
        if misfit is not None:
            return misfit
        if node not in self.cells:
            nodes = ", ".join(str(cell) for cell in self.cells)
            return CompletionError(
                f"{name} cannot be placed on NUMA node {node}: the domain has only {nodes}",
                hint="add a <cell> to <cpu><numa> for each node",
                where=where,
            )
        return None

    def _is_there(self, seat: Seat) -> bool:
        """Are the devices where they are wanted? Then that is wanted too."""
        places = []
        for device in seat.devices:
            if child(device, "address") is None:
                self.restore_moved(device)
            places.append(place_of(address_of(device)))
        first = places[0]
        if first is None or first[0] or any(at is None or at[:3] != first[:3] for at in places):
            return False
        if seat.node is not None and self.topology.node_of(first[1]) != seat.node:
            return False
        if len(places) > 1 and sorted(at[3] for at in places if at is not None)[0]:
            return False  # a guest looks for the others where there is a function 0
        for device in seat.devices:
            address = child(device, "address")
            assert address is not None
            self._hold(address, first[1], seat)
        self.actions.effective.update(seat.writers)
        return True

    def _is_open(self, device: Element, seat: Seat) -> bool:
        """Is the device still to be placed? An address that it has stays, or gives way."""
        address = address_of(device)
        if address is None:
            return True
        actions, tree, writers = self.actions, self.tree, seat.writers
        at = place_of(address)
        rest, value = self._wish(seat)
        wanted = f"{rest.rpartition(':')[2]} {value}"
        owners = tree.subtree_owners(address)
        fixed = THE_DEFINITION in owners
        if not fixed and all(actions.arbiter.beats(writers[0], [owner]) for owner in owners):
            for owner in owners:
                actions.arbiter.lose(address, PRESENCE, _told(address), wanted, owner, writers)
            if at is not None:
                self.topology.taken[at[1]][at[2]].remove(device)
            for name in attributes(address):
                tree.unset(address, "@" + name, writers[0])
            return True
        for writer in writers:
            actions.arbiter.lose(
                address, PRESENCE, wanted, _told(address), writer, owners, _KEEP if fixed else ""
            )
            actions.losses[-1].final = fixed
            actions.losses[-1].conflict = writer.hard or (not fixed and actions.losses[-1].conflict)
        return False

    def _hold(self, address: Element, bus: int, seat: Seat) -> None:
        """The device is where it was wanted: its address, and what that stands on, are wanted too."""
        parts = [address]
        for link in self.topology.chain(bus):
            if seat.node is not None or link.model in PORTS:
                parts += [link.element, *link.element.iter("target", "node", "address")]
            if seat.node is None:
                break
        for writer in seat.writers:
            for part in parts:
                for slot in slots_of(part):
                    self.tree.claim(part, slot, writer)

    def _agent(self, writer: Writer, seat: Seat, line: int) -> Writer:
        text = f"for {name_of(seat.device)}"
        text += " and what shares its slot" if len(seat.devices) > 1 else ""
        text += f" on NUMA node {seat.node}" if seat.node is not None else ""
        key = (writer, text)
        if key not in self._agents:
            origin = writer.origin
            own = Origin(origin.profile, origin.version, text, origin.file, line)
            self._agents[key] = Writer(
                own, writer.priority, writer.hard, writer.is_default, writer.number, writer
            )
        return self._agents[key]


def _told(address: Element) -> str:
    at = place_of(address)
    if at is None:
        return " ".join(f"{name} {value}" for name, value in attributes(address).items())
    return "{:04x}:{:02x}:{:02x}.{:x}".format(*at)
