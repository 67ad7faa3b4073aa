# SPDX-License-Identifier: GPL-2.0-or-later
"""The last pass of a rendering: wishes for a NUMA node become buses, ports and addresses.

No profile names a bus. A profile asks for a node (`Arbiter.intents`), the
machine type decides what that takes: on pc an expander bus, on q35 and on
aarch64 virt an expander and a root port for each device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from virtProfile.engine.devices.placement_writer import Seat, Seating, slots_of
from virtProfile.engine.tree.ownership import THE_DEFINITION, Writer
from virtProfile.engine.tree.work_tree import WorkTree
from virtProfile.errors import CompletionError, ProfileError
from virtProfile.format.buses import name_of
from virtProfile.format.element import PRESENCE, Element, attributes, child, parent_of
from virtProfile.format.pci import Topology, address_of, cells_of, is_pci, place_of
from virtProfile.host.documents import expander_of, machine_family
from virtProfile.language.directives import NUMA_NODE, attribute
from virtProfile.result import Origin

if TYPE_CHECKING:
    from virtProfile.engine.actions.perform import Actions
    from virtProfile.host.context import Context
    from virtProfile.host.documents import Documents

#: Stands in reports for the wish for a node.
INTENT = attribute(NUMA_NODE)
_KEEP = "a device keeps the address that it has; <remove select='…/address'/> lets it be placed"


def place(tree: WorkTree, actions: Actions, context: Context) -> None:
    """Give the devices that profiles want on a NUMA node of the guest their place there.

    A device that has an address keeps it: where it is not on the node, that is
    reported as overridden. Without NUMA cells the wishes are void. What cannot be
    placed goes to `actions.unmet`. Whatever is written is owned by the profiles that wanted it.
    """
    cells = cells_of(tree.root)
    if cells:
        _Placing(tree, actions, context.documents, cells).run()
    else:
        actions.losses[:] = [loss for loss in actions.losses if loss.rest != INTENT]


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
            self.seat(seats, expander_of(self.tree.root, self.documents))
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
                            actions.arbiter.lose(seat.device, INTENT, str(seat.node), None, loser, winners)
        return barred

    # --- who is to be placed ---------------------------------------------------

    def _seats(self) -> list[Seat]:
        """The devices without an address that are wanted on a node, in document order."""
        found: list[Seat] = []
        wishes = self.actions.intents[NUMA_NODE]
        order = {element: at for at, element in enumerate(self.tree.root.iter("*"))}
        for device in sorted(
            (element for element in wishes if element in order), key=lambda element: order[element]
        ):
            wish = wishes[device]
            problem = self._impossible(device, int(wish.value), wish.writers[0], wish.lines[0])
            if problem is not None:
                self.actions.unmet.append(problem)
            elif self._is_open(device, int(wish.value), wish.writers):
                writers = [
                    self._agent(writer, device, int(wish.value), line)
                    for writer, line in zip(wish.writers, wish.lines, strict=True)
                ]
                found.append(Seat(device, int(wish.value), writers))
        return found

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
        if device.getparent() is not self.topology.devices or not is_pci(device, self.family):
            return CompletionError(
                f"{name} cannot be placed on NUMA node {node}: it is not a PCI device"
                " with a free choice of address",
                hint="put numa-node on a NIC, a virtio disk, a hostdev, …",
                where=where,
            )
        if node not in self.cells:
            nodes = ", ".join(str(cell) for cell in self.cells)
            return CompletionError(
                f"{name} cannot be placed on NUMA node {node}: the domain has only {nodes}",
                hint="add a <cell> to <cpu><numa> for each node",
                where=where,
            )
        return None

    def _is_open(self, device: Element, node: int, writers: Sequence[Writer]) -> bool:
        """Is the device still to be placed? What it has holds, stays, or gives way."""
        if child(device, "address") is None:
            self.restore_moved(device)
        address = address_of(device)
        if address is None:
            return True
        actions, tree = self.actions, self.tree
        at = place_of(address)
        if at is not None and not at[0] and self.topology.node_of(at[1]) == node:
            self._hold(device, address, at[1], writers)
            actions.effective.update(writers)
            return False
        owners = tree.subtree_owners(address)
        fixed = THE_DEFINITION in owners
        if not fixed and all(actions.arbiter.beats(writers[0], [owner]) for owner in owners):
            for owner in owners:
                actions.arbiter.lose(address, PRESENCE, _told(address), f"numa-node {node}", owner, writers)
            if at is not None:
                self.topology.taken[at[1]][at[2]].remove(device)
            for name in attributes(address):
                tree.unset(address, "@" + name, writers[0])
            return True
        for writer in writers:
            wanted = f"numa-node {node}"
            actions.arbiter.lose(
                address, PRESENCE, wanted, _told(address), writer, owners, _KEEP if fixed else ""
            )
            actions.losses[-1].final = fixed
            actions.losses[-1].conflict = writer.hard or (not fixed and actions.losses[-1].conflict)
        return False

    def _hold(self, device: Element, address: Element, bus: int, writers: Sequence[Writer]) -> None:
        """The device is where it was wanted: its address, and what that stands on, are wanted too."""
        parts = [address]
        for link in self.topology.chain(bus):
            parts += [link.element, *link.element.iter("target", "node", "address")]
        for writer in writers:
            for part in parts:
                for slot in slots_of(part):
                    self.tree.claim(part, slot, writer)

    def _agent(self, writer: Writer, device: Element, node: int, line: int) -> Writer:
        text = f"for {name_of(device)} on NUMA node {node}"
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
