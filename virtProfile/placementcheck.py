# SPDX-License-Identifier: GPL-2.0-or-later
"""What libvirt takes although it does not work: looked for after placement.

libvirt defines, and often starts, domains whose PCI buses the guest does not
find, or on which a device lands where nobody wanted it; each check here was seen
to pass libvirt 9.0. Only what a profile had a part in is told: a definition that
was so before is not refused for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .errors import CompletionError
from .pcitopology import (
    BUS_NUMBERS,
    EXPANDERS,
    PC_OWN_SLOTS,
    PCI_EXPANDER,
    PORTS,
    SLOTS,
    Bus,
    Topology,
    cells_of,
    machine_family,
    place_of,
)
from .provenance import THE_DEFINITION, Writer
from .worktree import Element, WorkTree, child

if TYPE_CHECKING:
    from .actions import Actions
    from .documents import Documents


def check(tree: WorkTree, actions: Actions, documents: Documents) -> None:
    """Put what would not work, and why, into `actions.unmet`."""
    devices = child(tree.root, "devices")
    if devices is None or not (tree.created or tree.edited or tree.removed):
        return
    looking = _Checking(tree, actions)
    looking.shared_memory(devices)
    if any(one.get("model") in EXPANDERS for one in devices.iterchildren("controller")):
        looking.buses(Topology(tree.root), machine_family(tree.root, documents))


class _Checking:
    def __init__(self, tree: WorkTree, actions: Actions) -> None:
        self.tree = tree
        self.actions = actions

    def say(self, guilty: Iterable[Element], message: str, hint: str) -> None:
        """Tell of a problem, if a profile has a part in any of these elements."""
        writers = [writer for element in guilty for writer in self._writers(element)]
        if writers:
            origin = max(writers, key=lambda one: (one.origin.line, one.origin.file)).origin
            where = f"{origin.file}:{origin.line}"
            self.actions.unmet.append(CompletionError(message, hint=hint, where=where))

    def _writers(self, element: Element) -> list[Writer]:
        """The profiles without which the element would not be as it is."""
        if element in self.tree.removed:
            return self.tree.removed[element][1]
        return [
            owner
            for one in element.iter("*")
            for owners in self.tree.claims.get(one, {}).values()
            if THE_DEFINITION not in owners
            for owner in owners
        ]

    # --- memory ------------------------------------------------------------------

    def shared_memory(self, devices: Element) -> None:
        """vhost-user: the other process reads the guest's memory, which has to be shared."""
        users = [one for one in devices.iterchildren("interface") if one.get("type") == "vhostuser"]
        if not users or _shares_memory(self.tree.root):
            return
        for one in users:
            self.say(
                [one],
                "a vhostuser interface cannot work: the guest's memory is not shared",
                "<memoryBacking> needs <access mode='shared'/>, or each <cell> memAccess='shared'",
            )

    # --- buses -------------------------------------------------------------------

    def buses(self, topology: Topology, family: str | None) -> None:
        self._nodes(topology)
        self._bus_numbers(topology)
        self._order(topology)
        if topology.unplaced(family) or any(_implied(topology)):
            self._vacant(topology)
        self._undefined(topology)
        if family == "pc":
            self._full(topology, family)

    def _nodes(self, topology: Topology) -> None:
        cells = cells_of(self.tree.root)
        for one in topology.expanders():
            if one.node is not None and one.node not in cells:
                self.say(
                    [one.element],
                    f"PCI controller {one.index} is of NUMA node {one.node}, which the domain does not have",
                    "<cpu><numa> has a <cell> for each node",
                )

    def _bus_numbers(self, topology: Topology) -> None:
        """The buses below an expander are numbered upwards from its own, up to the next expander's."""
        by_number = topology.numbers()
        for number, same in sorted(by_number.items()):
            if len(same) > 1:
                names = " and ".join(_told(one) for one in same)
                self.say(
                    [one.element for one in same],
                    f"{names} have the same busNr {number}",
                    "each expander bus has one of its own",
                )
        for number, limit in pairwise([*sorted(by_number), BUS_NUMBERS]):
            for one in by_number[number]:
                below = topology.below(one)
                # pci-expander-bus brings a bridge for its devices along.
                count = len(below) + (1 if one.model == PCI_EXPANDER else 0)
                if number + count >= limit:
                    others = [other.element for other in by_number.get(limit, ())]
                    self.say(
                        [one.element, *others, *(bus.element for bus in below)],
                        f"{_told(one)} with busNr {number} has no room for {count} buses before {limit}:"
                        " the guest would not find all of them",
                        f"busNr {max(limit - count - 1, 0)} or lower leaves room",
                    )

    def _order(self, topology: Topology) -> None:
        """QEMU makes the controllers in the order of their index."""
        for one in topology.buses.values():
            if one.parent and one.parent in topology.buses and one.parent >= one.index:
                self.say(
                    [one.element, topology.buses[one.parent].element],
                    f"{_told(one)} sits on bus {one.parent}, which QEMU makes after it",
                    "a controller has a higher index than the one that it sits on",
                )

    def _vacant(self, topology: Topology) -> None:
        """libvirt puts any device without address on a free port, the expanders' too."""
        for one in topology.buses.values():
            if one.model in PORTS and topology.is_free(one) and topology.expander_above(one.index):
                left = [
                    gone
                    for gone in self.tree.removed
                    if (place_of(child(gone, "address")) or (0, -1))[1] == one.index
                ]
                self.say(
                    [one.element, *left],
                    f"{_told(one)} belongs to a NUMA node and nothing sits on it:"
                    " libvirt would put a device there that is not meant to be on the node",
                    "take it away, or give it a device",
                )

    def _undefined(self, topology: Topology) -> None:
        """libvirt fills up to an unknown bus with controllers that are on no node."""
        if topology.unnumbered:
            return
        for bus, slots in sorted(topology.taken.items()):
            if bus and bus not in topology.buses:
                for one in [one for there in slots.values() for one in there]:
                    self.say(
                        [one],
                        f"{one.tag} has an address on PCI bus {bus}, and no controller has that index",
                        "leave the address out, or add the controller",
                    )

    def _full(self, topology: Topology, family: str) -> None:
        """When pci-root is full, libvirt puts devices on the next bus there is: an expander."""
        first = min((one.index for one in topology.expanders()), default=0)
        bridges = [
            one.index for one in topology.buses.values() if one.model == "pci-bridge" and one.index < first
        ]
        free = sum(SLOTS - 1 - len(topology.taken.get(index, {})) for index in bridges)
        free += SLOTS - len(PC_OWN_SLOTS | set(topology.taken.get(0, {})))
        waiting = topology.unplaced(family) + topology.unplaced_buses()
        count = len(waiting) + sum(1 for _ in _implied(topology))
        expanders = [one.element for one in topology.expanders()]
        # Where the definition has such a bus, what comes to sit there is its own choice.
        if count > free and any(self._writers(one) for one in expanders):
            self.say(
                expanders,
                f"{count} PCI devices have no address and pci-root has room for {free}:"
                " libvirt would put the rest on a NUMA node's bus",
                "place them on nodes too, or use machine q35",
            )


def _implied(topology: Topology) -> Iterator[str]:
    """Devices on pci-root that libvirt adds by itself."""
    devices: Any = topology.devices
    tags = {one.tag for one in devices.iterchildren("*")}
    if "memballoon" not in tags:
        yield "memballoon"
    if "graphics" in tags and "video" not in tags:
        yield "video"


def _shares_memory(root: Element) -> bool:
    backing = child(root, "memoryBacking")
    access = None if backing is None else child(backing, "access")
    cpu = child(root, "cpu")
    numa = None if cpu is None else child(cpu, "numa")
    cells = [] if numa is None else list(numa.iterchildren("cell"))
    shared = access is not None and access.get("mode") == "shared"
    if not cells:
        return shared
    return all(cell.get("memAccess", "shared" if shared else "private") == "shared" for cell in cells)


def _told(bus: Bus) -> str:
    return f"PCI controller {bus.index}" if bus.index >= 0 else f"a {bus.model}"
