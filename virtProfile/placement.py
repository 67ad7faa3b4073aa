# SPDX-License-Identifier: GPL-2.0-or-later
"""The last pass of a rendering: wishes for a NUMA node become buses, ports and addresses.

No profile names a bus. A profile asks for a node (`Meeting.intents`), the
machine type decides what that takes: on pc an expander bus, on q35 and on
aarch64 virt an expander and a root port for each device.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .errors import CompletionError, ProfileError
from .meeting import INTENT
from .meeting import place as position
from .pcitopology import (
    PCI_EXPANDER,
    PORTS,
    SLOTS,
    Bus,
    Topology,
    address_of,
    cells_of,
    expander_of,
    is_pci,
    machine_family,
    place_of,
)
from .placementcheck import check
from .profile import Snippet
from .provenance import THE_DEFINITION, Writer
from .worktree import PRESENCE, TEXT, Element, WorkTree, child

if TYPE_CHECKING:
    from .actions import Actions
    from .context import Context
    from .documents import Documents

#: Above the highest bus number of a guest's PCI domain.
BUS_NUMBERS = 256
_KEEP = "a device keeps the address that it has; <remove select='…/address'/> lets it be placed"


def place(tree: WorkTree, actions: Actions, context: Context) -> None:
    """Give the devices that profiles want on a NUMA node of the guest their place there.

    A device that has an address keeps it: where it is not on the node, that is
    reported as overridden. Without NUMA cells the wishes are void. What cannot be
    placed, and what libvirt would take although it does not work, goes to
    `actions.errors`. Whatever is written is owned by the profiles that wanted it.
    """
    if actions.intents:
        cells = cells_of(tree.root)
        if cells:
            _Placing(tree, actions, context.documents, cells).run()
        else:
            actions.losses = [loss for loss in actions.losses if loss.rest != INTENT]
    check(tree, actions, context.documents)


class _Seat:
    """A device that is to be placed, and on whose wish."""

    __slots__ = ("device", "node", "writers")

    def __init__(self, device: Element, node: int, writers: Sequence[Writer]) -> None:
        self.device = device
        self.node = node
        self.writers = writers


class _Placing:
    def __init__(self, tree: WorkTree, actions: Actions, documents: Documents, cells: list[int]) -> None:
        self.tree = tree
        self.actions = actions
        self.documents = documents
        self.cells = cells
        self.family = machine_family(tree.root, documents)
        self.topology = Topology(tree.root)
        self.made: list[Element] = []
        self._common = 1
        self._agents: dict[tuple[Writer, str], Writer] = {}

    def run(self) -> None:
        seats = self._seats()
        while seats:
            mark = self.tree.mark()
            self._fill_nodes(seats)
            barred = self._barred(seats)
            if not barred:
                break
            self.tree.rollback(mark)
            self.topology = Topology(self.tree.root)
            self.made.clear()
            seats = [seat for seat in seats if seat not in barred]
        for seat in seats:
            self.actions.effective.update(writer.principal for writer in seat.writers)
        if self.made:
            self.actions.reach_new(self.made)

    def _fill_nodes(self, seats: Sequence[_Seat]) -> None:
        model = expander_of(self.tree.root, self.documents)
        self._common = self._common_buses(seats)
        for node in sorted({seat.node for seat in seats}):
            waiting = [seat for seat in seats if seat.node == node]
            if model == PCI_EXPANDER:
                self._conventional(node, waiting)
            else:
                self._express(node, waiting)

    def _barred(self, seats: Sequence[_Seat]) -> list[_Seat]:
        """The devices that cannot have their place, as a `remove` keeps a controller away that it needs."""
        actions = self.actions
        barred: list[_Seat] = []
        for absence in actions.absences:
            hits = {hit.element for hit in actions.hits(absence)}
            for one in self.made:
                if not any(element in hits for element in one.iter("*")):
                    continue
                owners = self.tree.subtree_owners(one)
                if any(actions.beats(owner, [absence.writer]) for owner in owners):
                    element = self.topology.devices
                    actions.lose(element, one.tag, None, "there", absence.writer, owners)
                    continue
                for seat in seats:
                    if seat not in barred and any(writer in owners for writer in seat.writers):
                        barred.append(seat)
                        for writer in seat.writers:
                            loser, winners = writer.principal, [absence.writer]
                            actions.lose(seat.device, INTENT, str(seat.node), None, loser, winners)
        return barred

    # --- who is to be placed ---------------------------------------------------

    def _seats(self) -> list[_Seat]:
        """The devices without an address that are wanted on a node, in document order."""
        found: list[_Seat] = []
        asked = self.actions.intents
        order = {one: at for at, one in enumerate(self.tree.root.iter("*"))}
        for device in sorted((one for one in asked if one in order), key=lambda one: order[one]):
            wish = asked[device]
            problem = self._impossible(device, int(wish.value), wish.writers[0], wish.lines[0])
            if problem is not None:
                self.actions.errors.append(problem)
            elif self._is_open(device, int(wish.value), wish.writers):
                writers = [
                    self._agent(writer, device, line)
                    for writer, line in zip(wish.writers, wish.lines, strict=True)
                ]
                found.append(_Seat(device, int(wish.value), writers))
        return found

    def _impossible(self, device: Element, node: int, writer: Writer, line: int) -> ProfileError | None:
        where = f"{writer.origin.file}:{line}"
        try:
            model = expander_of(self.tree.root, self.documents)
        except ProfileError as problem:
            return type(problem)(problem.message, hint=problem.hint, where=where)
        name = _name(device)
        if model is None:
            return CompletionError(
                f"{name} cannot be placed on NUMA node {node}: the machine"
                f" '{self.documents.machine_of(self.tree.root)}' has no expander buses",
                hint="pc and q35, and virt of aarch64 have them",
                where=where,
            )
        if device.getparent() is not self.topology.devices or not is_pci(device, self.family):
            return CompletionError(
                f"{name} cannot be placed on NUMA node {node}: it is no PCI device that has a free choice",
                hint="numa-node stands on a NIC, a virtio disk, a hostdev, …",
                where=where,
            )
        if node not in self.cells:
            told = ", ".join(str(one) for one in self.cells)
            return CompletionError(
                f"{name} cannot be placed on NUMA node {node}: the domain has {told}",
                hint="<cpu><numa> has a <cell> for each node",
                where=where,
            )
        return None

    def _is_open(self, device: Element, node: int, writers: Sequence[Writer]) -> bool:
        """Is the device still to be placed? What it has holds, stays, or gives way."""
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
        if not fixed and all(actions.beats(writers[0], [owner]) for owner in owners):
            for owner in owners:
                actions.lose(address, PRESENCE, _told(address), f"numa-node {node}", owner, writers)
            if at is not None:
                self.topology.taken[at[1]][at[2]].remove(device)
            for name in list(address.attrib):
                tree.unset(address, "@" + name, writers[0])
            return True
        for writer in writers:
            wanted = f"numa-node {node}"
            actions.lose(address, PRESENCE, wanted, _told(address), writer, owners, _KEEP if fixed else "")
            actions.losses[-1].final = fixed
            actions.losses[-1].conflict = writer.hard or (not fixed and actions.losses[-1].conflict)
        return False

    def _hold(self, device: Element, address: Element, bus: int, writers: Sequence[Writer]) -> None:
        """The device is where it was wanted: its address, and what that stands on, are wanted too."""
        parts = [address]
        for one in self.topology.chain(bus):
            parts += [one.element, *one.element.iter("target", "node", "address")]
        for writer in writers:
            for part in parts:
                for slot in _slots(part):
                    self.tree.claim(part, slot, writer)

    # --- making places -----------------------------------------------------------

    def _conventional(self, node: int, seats: list[_Seat]) -> None:
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

    def _fill(self, expander: Bus, waiting: list[_Seat]) -> None:
        taken = self.topology.taken.setdefault(expander.index, {})
        for slot in range(1, SLOTS):
            if not waiting:
                return
            if not taken.get(slot):
                seat = waiting.pop(0)
                self._share(expander.element, seat.writers)
                self._sit(seat, expander.index, slot)

    def _express(self, node: int, seats: list[_Seat]) -> None:
        """On q35 and virt: each device in slot 0 of a root port of its own below an expander."""
        waiting = list(seats)
        for bus in sorted(self.topology.buses.values(), key=lambda one: one.index):
            if not waiting:
                return
            free = bus.model in PORTS and self.topology.is_free(bus)
            if free and self.topology.node_of(bus.index) == node:
                seat = waiting.pop(0)
                for one in self.topology.chain(bus.index):
                    self._share(one.element, seat.writers)
                self._sit(seat, bus.index, 0)
        while waiting:
            part, waiting = waiting[:SLOTS], waiting[SLOTS:]
            expander = self._expander("pcie-expander-bus", node, len(part), part)
            if expander is None:
                return
            for slot, seat in enumerate(part):
                address = _address(expander.index, slot)
                port = self._controller("pcie-root-port", [address], seat.writers)
                self._sit(seat, port.index, 0)

    def _expander(self, model: str, node: int, below: int, seats: Sequence[_Seat]) -> Bus | None:
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
            self.actions.errors.append(
                CompletionError(
                    f"{_name(first.device)} cannot be placed on NUMA node {node}:"
                    " the guest's PCI bus numbers are used up",
                    hint="fewer devices on nodes, or buses that the definition numbers higher",
                    where=f"{first.writers[0].origin.file}:{first.writers[0].origin.line}",
                )
            )
            return None
        inside = (_element("node", text=str(node)),)
        target = _element("target", {"busNr": str(lowest)}, inside)
        writers = dict.fromkeys(writer for seat in seats for writer in seat.writers)
        return self._controller(model, [target], list(writers))

    def _common_buses(self, seats: Sequence[_Seat]) -> int:
        """How many bus numbers the buses take that hang on no expander, the root's 0 included."""
        topology = self.topology
        plain = {one.index for one in topology.buses.values() if topology.expander_above(one.index) is None}
        count = len(plain | {0}) + len(topology.unnumbered)
        if self.family != "pc":  # libvirt makes a root port for each device without address
            count += len(topology.unplaced(self.family)) - len(seats)
        return count

    # --- writing -------------------------------------------------------------------

    def _agent(self, writer: Writer, device: Element, line: int) -> Writer:
        text = f"place: for {_name(device)} of profile {writer.origin.profile}"
        key = (writer, text)
        if key not in self._agents:
            self._agents[key] = writer.on_behalf(text, line)
        return self._agents[key]

    def _share(self, element: Element, writers: Iterable[Writer]) -> None:
        """What is there is wanted by these too."""
        for writer in writers:
            for part in element.iter("controller", "target", "node", "address"):
                for slot in _slots(part):
                    self.tree.claim(part, slot, writer)

    def _controller(self, model: str, children: list[Snippet], writers: Sequence[Writer]) -> Bus:
        index = self.topology.highest() + 1
        attributes = {"type": "pci", "index": str(index), "model": model}
        made = self._insert(
            self.topology.devices, _element("controller", attributes, tuple(children)), writers
        )
        bus = self.topology.buses[index] = Bus(made, index)
        if bus.parent is not None and bus.slot is not None:
            self.topology.taken.setdefault(bus.parent, {}).setdefault(bus.slot, []).append(made)
        self.made.append(made)
        return bus

    def _insert(self, parent: Any, snippet: Snippet, writers: Sequence[Writer]) -> Element:
        node: Any = self.actions.schema.root.child("devices")
        node = node if parent is self.topology.devices else node.child(parent.tag)
        new = self.actions.build(parent, snippet, writers[0])
        self.tree.insert(parent, position(parent, node, snippet.tag), new, writers[0])
        for writer in writers[1:]:
            for part in new.iter("*"):
                for slot in _slots(part):
                    self.tree.claim(part, slot, writer)
        return new

    def _sit(self, seat: _Seat, bus: int, slot: int) -> None:
        snippet = _address(bus, slot)
        there = child(seat.device, "address")
        if there is None:
            self._insert(seat.device, snippet, seat.writers)
        else:  # it said "somewhere on PCI"
            for name, value in snippet.attrs:
                if there.get(name) != value:
                    self.tree.set(there, "@" + name, value, seat.writers[0])
                for writer in seat.writers:
                    self.tree.claim(there, "@" + name, writer)
        self.topology.taken.setdefault(bus, {}).setdefault(slot, []).append(seat.device)


def _slots(element: Element) -> list[str]:
    slots = [PRESENCE, *("@" + name for name in element.attrib)]
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


def _address(bus: int, slot: int) -> Snippet:
    """A PCI address as libvirt writes it."""
    return _element(
        "address",
        {
            "type": "pci",
            "domain": "0x0000",
            "bus": f"0x{bus:02x}",
            "slot": f"0x{slot:02x}",
            "function": "0x0",
        },
    )


def _name(device: Element) -> str:
    """What to call a device: its tag, and the name that it has in the guest or the host."""
    for tag, slot in (("target", "dev"), ("alias", "name")):
        at = child(device, tag)
        if at is not None and at.get(slot):
            return f"{device.tag} {at.get(slot)}"
    return str(device.tag)


def _told(address: Element) -> str:
    at = place_of(address)
    if at is None:
        return " ".join(f"{name} {value}" for name, value in address.attrib.items())
    return "{:04x}:{:02x}:{:02x}.{:x}".format(*at)
