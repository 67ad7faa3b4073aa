# SPDX-License-Identifier: GPL-2.0-or-later
"""What libvirt takes although it does not work: looked for after placement.

libvirt defines, and often starts, domains whose PCI buses the guest does not
find, or on which a device lands where nobody wanted it; each check here was seen
to pass libvirt 9.0. Only what a profile had a part in is told: a definition that
was so before is not refused for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from virtProfile.engine.tree.ownership import THE_DEFINITION, Writer
from virtProfile.engine.tree.work_tree import WorkTree
from virtProfile.errors import CompletionError
from virtProfile.format.buses import mirrors_serial, name_of
from virtProfile.format.element import Element, child
from virtProfile.format.pci import (
    BUS_NUMBERS,
    EXPANDERS,
    PC_OWN_SLOTS,
    PCI_EXPANDER,
    PORTS,
    SLOTS,
    Bus,
    Topology,
    cells_of,
    place_of,
)
from virtProfile.format.values import prefixed
from virtProfile.host.documents import machine_family

if TYPE_CHECKING:
    from virtProfile.engine.actions.perform import Actions
    from virtProfile.host.documents import Documents


def check(tree: WorkTree, actions: Actions, documents: Documents) -> None:
    """Put what would not work, and why, into `actions.unmet`."""
    devices = child(tree.root, "devices")
    if devices is None or not (tree.created or tree.edited or tree.removed):
        return
    looking = _Checking(tree, actions)
    looking.shared_memory(devices)
    gone = [
        element for element in tree.removed if element.tag == "controller" and element.get("type") == "pci"
    ]
    if gone:
        looking.removed_buses(Topology(tree.root), gone)
    written = [
        address for address in tree.claims if address.tag == "address" and address.get("type") == "pci"
    ]
    if written:
        looking.addresses(Topology(tree.root), written)
    if any(controller.get("model") in EXPANDERS for controller in devices.iterchildren("controller")):
        looking.buses(Topology(tree.root), machine_family(tree.root, documents))


#: Devices that another process may serve out of the guest's memory: tag -> (child, attribute) that says so.
_MEMORY_READERS = {"interface": ("", "type"), "disk": ("", "type"), "filesystem": ("driver", "type")}
_PLACE = ("domain", "bus", "slot", "function")
_FREE = "leave the address out: libvirt takes a free one"


class _Checking:
    def __init__(self, tree: WorkTree, actions: Actions) -> None:
        self.tree = tree
        self.actions = actions

    def say(self, guilty: Iterable[Element], message: str, hint: str) -> None:
        """Tell of a problem, if a profile has a part in any of these elements."""
        writers = [writer for element in guilty for writer in self._writers(element)]
        if writers:
            origin = max(writers, key=lambda writer: (writer.origin.line, writer.origin.file)).origin
            where = f"{origin.file}:{origin.line}"
            self.actions.unmet.append(CompletionError(message, hint=hint, where=where))

    def _writers(self, element: Element) -> list[Writer]:
        """The profiles without which the element would not be as it is."""
        if element in self.tree.removed:
            return self.tree.removed[element][1]
        return [
            owner
            for part in element.iter("*")
            for owners in self.tree.claims.get(part, {}).values()
            if THE_DEFINITION not in owners
            for owner in owners
        ]

    # --- memory ------------------------------------------------------------------

    def shared_memory(self, devices: Element) -> None:
        """vhost-user: the other process reads the guest's memory, which has to be shared."""
        users = [device for device in devices.iterchildren(*_MEMORY_READERS) if _reads_memory(device)]
        if not users or _shares_memory(self.tree.root):
            return
        memory = [
            element
            for element in (*self.tree.edited, *self.tree.removed, *self.tree.created)
            if element.tag in ("memoryBacking", "access", "numa", "cell")
        ]
        for device in users:
            own = self._was_there(device)
            if own and not memory:
                continue  # what the definition could not do before is not the fault of who tunes its device
            self.say(
                memory if own else [device],
                f"{_called(device)} cannot work: the guest's memory is not shared",
                "<memoryBacking> needs <access mode='shared'/>, or each <cell> memAccess='shared'",
            )

    def _was_there(self, device: Element) -> bool:
        """Is the need for shared memory the VM's own?"""
        path, name = _MEMORY_READERS[device.tag]
        at = child(device, path) if path else device
        if at is None:
            return False
        return self.tree.original(at) and self.tree.before(at, "@" + name) == at.get(name)

    # --- controllers that profiles remove ---------------------------------------------

    def removed_buses(self, topology: Topology, gone: Sequence[Element]) -> None:
        """libvirt fills the gap with a port, or beside conventional PCI with a bridge.

        Another kind has not the slots that the controller had, and of an expander it has not the node.
        """
        filled = "pcie-root-port" if self._is_express(gone) else "pci-bridge"
        for controller in gone:
            bus = prefixed(controller.get("index")) or 0
            there = topology.taken.get(bus, {})
            if not bus or not there or bus in topology.buses or topology.unnumbered:
                continue
            if controller.get("model") == filled and not Bus(controller, bus).parent:
                continue  # it comes back where it was, on the root bus
            names = ", ".join(sorted(name_of(device) for slot in there.values() for device in slot))
            self.say(
                [controller],
                f"PCI controller {bus} is removed, and {names} sits on it",
                "remove the <address> as well: libvirt takes a free one",
            )

    def _is_express(self, gone: Sequence[Element]) -> bool:
        """Is the root bus, written down or removed, one of PCI Express?"""
        devices = child(self.tree.root, "devices")
        there = () if devices is None else devices.iterchildren("controller")
        return any(controller.get("model") == "pcie-root" for controller in (*there, *gone))

    # --- addresses of profiles ------------------------------------------------------

    def addresses(self, topology: Topology, written: Sequence[Element]) -> None:
        """An address that a profile wrote: is it free, and is its bus there?"""
        places: dict[tuple[int, ...], list[Element]] = {}
        for slots in topology.taken.values():
            for device in (element for there in slots.values() for element in there):
                at = child(device, "address")
                place = () if at is None else tuple(prefixed(at.get(part)) or 0 for part in _PLACE)
                places.setdefault(place, []).append(device)
        for address in written:
            owner = address.getparent()
            above = None if owner is None else owner.getparent()
            if owner is None or above is None or above.tag != "devices" or mirrors_serial(owner):
                continue
            device = owner
            place = tuple(prefixed(address.get(part)) or 0 for part in _PLACE)
            others = [other for other in places.get(place, ()) if other is not device]
            words = f"PCI address {place[0]:04x}:{place[1]:02x}:{place[2]:02x}.{place[3]}"
            if others:
                self.say([address], f"{words} of {device.tag} is taken by {name_of(others[0])}", _FREE)
            elif place[1] and place[1] not in topology.buses and not topology.unnumbered:
                fact = f"{words} of {device.tag} is on a bus that no controller has"
                self.say([address], fact, "leave the address out, or add the controller")

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
        for expander in topology.expanders():
            if expander.node is not None and expander.node not in cells:
                self.say(
                    [expander.element],
                    f"PCI controller {expander.index} is of NUMA node {expander.node},"
                    " which the domain does not have",
                    "<cpu><numa> has a <cell> for each node",
                )

    def _bus_numbers(self, topology: Topology) -> None:
        """The buses below an expander are numbered upwards from its own, up to the next expander's."""
        by_number = topology.numbers()
        for number, same in sorted(by_number.items()):
            if len(same) > 1:
                names = " and ".join(_told(expander) for expander in same)
                self.say(
                    [expander.element for expander in same],
                    f"{names} have the same busNr {number}",
                    "each expander bus has one of its own",
                )
        for number, limit in pairwise([*sorted(by_number), BUS_NUMBERS]):
            for expander in by_number[number]:
                below = topology.below(expander)
                # pci-expander-bus brings a bridge for its devices along.
                count = len(below) + (1 if expander.model == PCI_EXPANDER else 0)
                if number + count >= limit:
                    others = [other.element for other in by_number.get(limit, ())]
                    self.say(
                        [expander.element, *others, *(bus.element for bus in below)],
                        f"{_told(expander)} with busNr {number} has no room for {count} buses before {limit}:"
                        " the guest would not find all of them",
                        f"busNr {max(limit - count - 1, 0)} or lower leaves room",
                    )

    def _order(self, topology: Topology) -> None:
        """QEMU makes the controllers in the order of their index."""
        for bus in topology.buses.values():
            if bus.parent and bus.parent in topology.buses and bus.parent >= bus.index:
                self.say(
                    [bus.element, topology.buses[bus.parent].element],
                    f"{_told(bus)} sits on bus {bus.parent}, which QEMU makes after it",
                    "a controller has a higher index than the one that it sits on",
                )

    def _vacant(self, topology: Topology) -> None:
        """libvirt puts any device without address on a free port, the expanders' too."""
        for bus in topology.buses.values():
            if bus.model in PORTS and topology.is_free(bus) and topology.expander_above(bus.index):
                left = [
                    gone
                    for gone in self.tree.removed
                    if (place_of(child(gone, "address")) or (0, -1))[1] == bus.index
                ]
                self.say(
                    [bus.element, *left],
                    f"{_told(bus)} belongs to a NUMA node and nothing sits on it:"
                    " libvirt would put a device there that is not meant to be on the node",
                    "take it away, or give it a device",
                )

    def _undefined(self, topology: Topology) -> None:
        """libvirt fills up to an unknown bus with controllers that are on no node."""
        if topology.unnumbered:
            return
        for bus, slots in sorted(topology.taken.items()):
            if bus and bus not in topology.buses:
                for device in [device for there in slots.values() for device in there]:
                    self.say(
                        [device],
                        f"{device.tag} has an address on PCI bus {bus}, and no controller has that index",
                        "leave the address out, or add the controller",
                    )

    def _full(self, topology: Topology, family: str) -> None:
        """When pci-root is full, libvirt puts devices on the next bus there is: an expander."""
        first = min((expander.index for expander in topology.expanders()), default=0)
        bridges = [
            bus.index for bus in topology.buses.values() if bus.model == "pci-bridge" and bus.index < first
        ]
        free = sum(SLOTS - 1 - len(topology.taken.get(index, {})) for index in bridges)
        free += SLOTS - len(PC_OWN_SLOTS | set(topology.taken.get(0, {})))
        waiting = topology.unplaced(family) + topology.unplaced_buses()
        count = len(waiting) + sum(1 for _ in _implied(topology))
        expanders = [expander.element for expander in topology.expanders()]
        # Where the definition has such a bus, what comes to sit there is its own choice.
        if count > free and any(self._writers(expander) for expander in expanders):
            self.say(
                expanders,
                f"{count} PCI devices have no address and pci-root has room for {free}:"
                " libvirt would put the rest on a NUMA node's bus",
                "place them on nodes too, or use machine q35",
            )


def _implied(topology: Topology) -> Iterator[str]:
    """Devices on pci-root that libvirt adds by itself."""
    devices: Any = topology.devices
    tags = {device.tag for device in devices.iterchildren("*")}
    if "memballoon" not in tags:
        yield "memballoon"
    if "graphics" in tags and "video" not in tags:
        yield "video"


def _reads_memory(device: Element) -> bool:
    path, name = _MEMORY_READERS[device.tag]
    at = child(device, path) if path else device
    return at is not None and at.get(name) in ("vhostuser", "virtiofs")


def _called(device: Element) -> str:
    if device.tag != "filesystem":
        return f"a vhostuser {device.tag}"
    target = child(device, "target")
    return "virtiofs" if target is None else f"virtiofs '{target.get('dir', '')}'"


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
