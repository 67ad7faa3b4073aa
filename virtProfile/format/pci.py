# SPDX-License-Identifier: GPL-2.0-or-later
"""The PCI buses of a domain as they are written down: for placement and its check.

Rules that libvirt enforces, and those that it does not, are measured on libvirt
9.0 with QEMU 7.2; each is named where it is used.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from virtProfile.format.buses import mirrors_serial
from virtProfile.format.element import child, text_of
from virtProfile.format.facts import rows
from virtProfile.format.schema import DATA
from virtProfile.format.values import decimal, prefixed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from virtProfile.format.element import Element


PCI_EXPANDER = "pci-expander-bus"

PCIE_EXPANDER = "pcie-expander-bus"

EXPANDERS = frozenset({PCI_EXPANDER, PCIE_EXPANDER})

ROOTS = ("pci-root", "pcie-root")
#: Controllers with room for one device, in slot 0.
PORTS = frozenset({"pcie-root-port", "pcie-switch-downstream-port"})
#: Hypervisors whose machines are QEMU's; None: a sketch does not say.
_QEMU = frozenset({None, "qemu", "kvm", "hvf", "kqemu", "test"})
#: Machine family, the arches it has expanders on ("" is not said), and which.
_EXPANDERS = {
    "pc": (("", "x86_64", "i686"), PCI_EXPANDER),
    "q35": (("", "x86_64", "i686"), PCIE_EXPANDER),
    "virt": (("", "aarch64"), PCIE_EXPANDER),
}
#: Slots of pci-root that pc uses itself: the host bridge and PIIX.
PC_OWN_SLOTS = frozenset({0, 1})

SLOTS = 32
#: Above the highest bus number of a guest's PCI domain.
BUS_NUMBERS = 256


def cells_of(root: Element) -> list[int]:
    """The ids of the guest's NUMA cells; [] where it has none."""
    cpu = child(root, "cpu")
    numa = None if cpu is None else child(cpu, "numa")
    if numa is None:
        return []
    found = []
    for position, cell in enumerate(numa.iterchildren("cell")):
        given = decimal(cell.get("id"))
        found.append(position if given is None else given)
    return sorted(found)


# --- devices -------------------------------------------------------------------

_Condition = tuple[str, str, tuple[str, ...]]

_tables: dict[str, list[list[_Condition]]] = {}


def _table() -> dict[str, list[list[_Condition]]]:
    if not _tables:
        for tag, conditions, *_ in rows(f"{DATA}/pcidevices.tsv"):
            parsed = [] if conditions == "-" else [_condition(part) for part in conditions.split(" ")]
            _tables.setdefault(tag, []).append(parsed)
    return _tables


def _condition(text: str) -> _Condition:
    for operator in ("!=", "^=", "="):
        slot, found, words = text.partition(operator)
        if found:
            return slot, operator, tuple(words.split(","))
    raise ValueError(text)


def is_pci(device: Element, family: str | None) -> bool:
    """Does a device sit on a PCI bus, on any that it is given?"""
    table = _table().get(device.tag, ())
    return any(all(_holds(device, family, condition) for condition in conditions) for conditions in table)


def _holds(device: Element, family: str | None, condition: _Condition) -> bool:
    slot, operator, words = condition
    if slot == "machine":
        value = family or ""
    else:
        tag, _, name = slot.rpartition("/")
        at = child(device, tag) if tag else device
        value = "" if at is None else at.get(name[1:], "")
    if operator == "^=":
        return value.startswith(words)
    return (value in words) == (operator == "=")


def address_of(device: Element) -> Element | None:
    """The element that says where a device sits, where it says anything.

    libvirt fills in a PCI address of zeros as if it were not there
    (virDeviceInfoPCIAddressIsWanted).
    """
    address = child(device, "address")
    if address is None or (address.get("type") == "pci" and place_of(address) is None):
        return None
    return address


def place_of(address: Element | None) -> tuple[int, int, int, int] | None:
    """(domain, bus, slot, function) of a PCI address; None where it is of another kind, or of zeros."""
    if address is None or address.get("type") != "pci":
        return None
    domain, bus, slot, function = (
        prefixed(address.get(name)) or 0 for name in ("domain", "bus", "slot", "function")
    )
    return (domain, bus, slot, function) if domain or bus or slot else None


# --- buses ---------------------------------------------------------------------


class Bus:
    """A PCI controller that is written down with its index."""

    __slots__ = ("element", "index", "model", "node", "number", "parent", "slot")

    def __init__(self, element: Element, index: int) -> None:
        self.element = element
        self.index = index
        self.model = element.get("model", "")
        target = child(element, "target")
        node = None if target is None else child(target, "node")
        #: its own NUMA node
        self.node = None if node is None else decimal(text_of(node))
        #: of an expander: the bus number in the guest
        self.number = None if target is None else prefixed(target.get("busNr"))
        place = place_of(child(element, "address"))
        #: index of the bus that it sits on, None where libvirt chooses
        self.parent = None if place is None or place[0] else place[1]
        self.slot = None if place is None else place[2]


class Topology:
    """Which buses there are, what sits on them, and of which NUMA node they are."""

    def __init__(self, root: Element, buried: Iterable[Element] = ()) -> None:
        """:param buried: controllers that count as if they stood there"""
        self.root = root
        self.devices = child(root, "devices")
        self._buried = tuple(buried)
        self.buses: dict[int, Bus] = {}
        #: PCI controllers without index: libvirt gives them one
        self.unnumbered: list[Bus] = []
        #: bus -> slot -> what sits there
        self.taken: dict[int, dict[int, list[Element]]] = {}
        for element in self._all():
            if element.tag == "controller" and element.get("type") == "pci":
                index = decimal(element.get("index"))
                if index is None:
                    self.unnumbered.append(Bus(element, -1))
                else:
                    self.buses[index] = Bus(element, index)
            place = place_of(child(element, "address"))
            if place is not None and not place[0] and not mirrors_serial(element):
                self.taken.setdefault(place[1], {}).setdefault(place[2], []).append(element)

    def _all(self) -> Iterator[Element]:
        standing = iter(()) if self.devices is None else self.devices.iterchildren("*")
        return itertools.chain(standing, self._buried)

    def add(self, bus: Bus) -> None:
        """A controller came to stand there."""
        self.buses[bus.index] = bus
        if bus.parent is not None and bus.slot is not None:
            self.taken.setdefault(bus.parent, {}).setdefault(bus.slot, []).append(bus.element)

    def expanders(self, node: int | None = None) -> list[Bus]:
        """All expander buses, or those of a node, by index."""
        found = [bus for bus in self.buses.values() if bus.model in EXPANDERS]
        return sorted((bus for bus in found if node is None or bus.node == node), key=lambda bus: bus.index)

    def expander_above(self, index: int) -> Bus | None:
        """The expander that a bus belongs to: itself, or one that it hangs on."""
        seen = set()
        bus = self.buses.get(index)
        while bus is not None and bus.index not in seen:
            if bus.model in EXPANDERS:
                return bus
            seen.add(bus.index)
            bus = None if bus.parent is None else self.buses.get(bus.parent)
        return None

    def node_of(self, index: int) -> int | None:
        """The NUMA node of a bus; None for one that belongs to none."""
        expander = self.expander_above(index)
        return None if expander is None else expander.node

    def below(self, expander: Bus) -> list[Bus]:
        """The buses that hang on an expander, at whatever depth."""
        return [
            bus
            for bus in self.buses.values()
            if bus is not expander and self.expander_above(bus.index) is expander
        ]

    def chain(self, index: int) -> list[Bus]:
        """The buses from one up to its expander, both included."""
        found: list[Bus] = []
        bus = self.buses.get(index)
        while bus is not None and bus not in found:
            found.append(bus)
            if bus.model in EXPANDERS or bus.parent is None:
                break
            bus = self.buses.get(bus.parent)
        return found

    def is_free(self, bus: Bus) -> bool:
        """Does nothing sit on it?"""
        return bus.index not in self.taken

    def highest(self) -> int:
        """The highest index that is in use: of controllers, and of buses that addresses name."""
        return max((*self.buses, *self.taken, 0))

    def numbers(self) -> dict[int, list[Bus]]:
        """Guest bus number -> expanders; where none is written, as libvirt will number them.

        That is two below the lowest there is, 254 for the first (virDomainPCIControllerOpts.busNr).
        """
        found: dict[int, list[Bus]] = {}
        without = []
        for expander in [*self.expanders(), *(bus for bus in self.unnumbered if bus.model in EXPANDERS)]:
            if expander.number is None:
                without.append(expander)
            else:
                found.setdefault(expander.number, []).append(expander)
        for expander in without:
            found.setdefault(min(found, default=256) - 2, []).append(expander)
        return found

    def unplaced(self, family: str | None) -> list[Element]:
        """PCI devices to which libvirt will give an address; buses aside."""
        return [element for element in self._all() if is_pci(element, family) and address_of(element) is None]

    def unplaced_buses(self) -> list[Element]:
        """PCI controllers to which libvirt will give an address on the root bus."""
        found = [bus.element for bus in (*self.buses.values(), *self.unnumbered) if bus.parent is None]
        return [controller for controller in found if controller.get("model") not in (None, *ROOTS)]
