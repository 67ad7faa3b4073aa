# SPDX-License-Identifier: GPL-2.0-or-later
"""What a running VM takes: ``--device``'s list of devices to attach, and free places for them.

The device comes to the engine as a profile made of its file, so that what it
needs is what any profile's device needs. Pure: nothing is attached here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from lxml import etree

from virtProfile.errors import CompletionError, InvalidDomainError, ProfileSyntaxError
from virtProfile.format.document import VIRTUNED_NS, parse
from virtProfile.format.element import Element, attributes
from virtProfile.format.facts import data_beside, rows
from virtProfile.format.pci import (
    EXPANDERS,
    PC_OWN_SLOTS,
    PORTS,
    SLOTS,
    Topology,
    address_of,
    is_pci,
)
from virtProfile.format.schema import Schema
from virtProfile.host.documents import machine_family
from virtProfile.language.directives import SIZE
from virtProfile.language.parser import parse_profiles
from virtProfile.language.store import OverlayStore

if TYPE_CHECKING:
    from virtProfile.host.context import Context
    from virtProfile.language.profile import Profile
    from virtProfile.language.store import Store
    from virtProfile.result import Result


_DATA = data_beside(__file__)

#: The profile that a device file becomes.
DEVICE_PROFILE = "virt-profile.device"
#: Controllers that libvirt makes by itself for a definition, but not for what is attached: what sits on them.
_NOT_LIVE = {
    "usb": "@bus='usb' or target/@bus='usb' or self::hub or self::hostdev[@type='usb']",
    "virtio-serial": "(self::channel or self::console) and target/@type='virtio'",
    "ccid": "self::smartcard",
}


def device_profile(text: str, file: str) -> Profile:
    """The profile that adds what a file holds: a device, or several inside ``<devices>``.

    :raises InvalidDomainError: something else
    """
    root = parse(text, name=file).root
    devices = list(root.iterchildren("*")) if root.tag == "devices" else [root]
    known = Schema.baseline().root.children["devices"].children
    for device in devices:
        if device.tag not in known:
            raise InvalidDomainError(
                f"'{device.tag}' is not a device",
                hint="give a device element such as <disk>, or several inside <devices>",
                where=f"{file}:{device.sourceline}",
            )
        if device.get(f"{{{VIRTUNED_NS}}}{SIZE}") is not None:
            raise InvalidDomainError(
                f"{SIZE} on <{device.tag}>: no storage is created for a device to attach",
                hint="'virsh vol-create-as' creates it, --update attaches the disk of a profile with it",
                where=f"{file}:{device.sourceline}",
            )
    body = "".join(etree.tostring(device, encoding="unicode", with_tail=False) for device in devices)
    spoken = "".join(
        f"<controller type='{kind}'/>"
        for kind, sits in _NOT_LIVE.items()
        if any(device.xpath(sits) for device in devices)
    )
    defaults = f"<default><devices>{spoken}</devices></default>" if spoken else ""
    parsed = parse_profiles(
        f"<profile name='{DEVICE_PROFILE}'><add multiple='yes'><devices>"
        + body.replace("{", "{{").replace("}", "}}")
        + f"</devices></add>{defaults}</profile>",
        file,
    )
    for problem in parsed.problems:
        if problem.level == "error":
            raise ProfileSyntaxError(problem.message, hint=problem.hint, where=file)
    return parsed.profiles[0]


def attachments(
    apply: Callable[[Store, list[Any]], Result],
    store: Store,
    text: str,
    device: str,
    file: str,
    running: bool,
    context: Context,
    name: str,
) -> list[Element]:
    """What to attach for the devices of a file, in order.

    :param apply: applies the VM's profiles and more of a store to `text`
    :param device: what stands in `file`
    :param name: of the VM's file, for messages
    :raises ProfileError: it is no device; as `virtProfile.apply`
    """
    own = OverlayStore([device_profile(device, file)], store)
    before = apply(store, [])
    after = apply(own, [{"name": DEVICE_PROFILE, "params": {}}])
    family = machine_family(parse(text, name=name).root, context.documents)
    return to_attach(before, after, family, running)


def to_attach(before: Result, after: Result, family: str | None, running: bool) -> list[Element]:
    """The devices that `after` has and `before` has not, in the order to attach them.

    :param before: the VM with its profiles
    :param after: the same with the device profile
    :param family: of the machine type
    :param running: places are known: each PCI device gets a free one
    :raises CompletionError: none is left
    """
    known = Counter(said(element) for element in _devices(before.xml))
    root = parse(after.xml).root
    new = []
    for device in root.iterfind("devices/*"):
        text = said(device)
        if known[text]:
            known[text] -= 1
        else:
            new.append(device)
    new.sort(key=lambda element: element.tag != "controller")
    if running:
        seat(root, new, family)
    return new


def seat(root: Element, new: Sequence[Element], family: str | None) -> None:
    """Give new PCI devices of a running VM a free port or slot each.

    :raises CompletionError: none is left
    """
    topology = Topology(root)
    for device in new if topology.buses else ():
        if not is_pci(device, family) or address_of(device) is not None:
            continue
        place = _free(topology, family)
        if place is None:
            raise CompletionError(
                f"no PCI slot of the running VM is free for {device.tag}",
                hint="a PCI bus cannot be added live: define more pcie-root-ports, and power the VM off",
            )
        bus, slot = place
        address = etree.SubElement(device, "address", type="pci", domain="0x0000")
        address.set("bus", f"0x{bus:02x}")
        address.set("slot", f"0x{slot:02x}")
        address.set("function", "0x0")
        topology.taken.setdefault(bus, {}).setdefault(slot, []).append(device)


def _free(topology: Topology, family: str | None) -> tuple[int, int] | None:
    for index, bus in sorted(topology.buses.items()):
        if topology.node_of(index) is not None or bus.model in EXPANDERS:
            continue  # a NUMA node of its own is for who asks for it
        if bus.model in PORTS and topology.is_free(bus):
            return index, 0
        if bus.model == "pci-root" and family == "pc":
            taken = {*topology.taken.get(index, ()), *PC_OWN_SLOTS}
            free = next((slot for slot in range(SLOTS) if slot not in taken), None)
            if free is not None:
                return index, free
    return None


# --- what can come, go and change ------------------------------------------------------------


@cache
def _rules() -> dict[str, list[tuple[Any, bool, frozenset[str]]]]:
    found: dict[str, list[tuple[Any, bool, frozenset[str]]]] = {}
    for tag, condition, plug, change, _ in rows(f"{_DATA}/hotplug.tsv"):
        holds = etree.XPath("true()" if condition == "-" else condition)
        parts = frozenset() if change == "-" else frozenset(change.split("+"))
        found.setdefault(tag, []).append((holds, plug == "plug", parts))
    return found


def _rule(device: Element) -> tuple[bool, frozenset[str]]:
    for holds, plug, parts in _rules().get(device.tag, ()):
        if holds(device):
            return plug and not any(never(device) for never, *_ in _rules()["*"]), parts
    return False, frozenset()


def pluggable(device: Element) -> bool:
    """Can it come to a running VM, and go?"""
    return _rule(device)[0]


def updatable(before: Element, after: Element) -> bool:
    """Can a device of a running VM become the other one while it runs?"""
    return set(_changed_parts(before, after)) <= _rule(before)[1]


def _changed_parts(before: Element, after: Element) -> Iterator[str]:
    for name in {*before.attrib, *after.attrib}:
        if before.get(name) != after.get(name):
            yield "@" + name
    tags = {child.tag for device in (before, after) for child in device.iterchildren("*")}
    for tag in tags:
        if [*map(said, before.iterchildren(tag))] != [*map(said, after.iterchildren(tag))]:
            yield tag


def _devices(xml: str) -> Iterator[Element]:
    return iter(parse(xml).root.iterfind("devices/*"))


def said(element: Element) -> str:
    """What an element says, without white space between elements and without comments."""
    values = "".join(f" {name}={value!r}" for name, value in sorted(attributes(element).items()))
    inner = "".join(said(child) for child in element.iterchildren("*"))
    return f"<{element.tag}{values}>{(element.text or '').strip()}{inner}</>"


def printed(device: Element) -> str:
    """A device as a text of its own, at the margin."""
    clean = etree.fromstring(
        etree.tostring(device, with_tail=False), etree.XMLParser(remove_blank_text=True, remove_comments=True)
    )
    etree.cleanup_namespaces(clean)
    return str(etree.tostring(clean, encoding="unicode", pretty_print=True))
