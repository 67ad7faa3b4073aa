# SPDX-License-Identifier: GPL-2.0-or-later
"""``--update``'s plan: what of a result a running VM takes now, what waits, what the guest will see.

Pure: two renderings in, steps out. `updating` carries them out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lxml import etree

from virtProfile.errors import CompletionError
from virtProfile.format.buses import name_of
from virtProfile.format.document import RECORD_NS, VIRTUNED_NS, parse
from virtProfile.format.element import Element
from virtProfile.format.pci import place_of
from virtProfile.frozen import record
from virtProfile.live.device_marks import mark, unmark
from virtProfile.live.hotplug import pluggable, printed, said, seat, updatable
from virtProfile.result import GUEST_ABI

if TYPE_CHECKING:
    from virtProfile.result import Result


#: The keys of the list and the record in libvirt's calls for metadata.
METADATA = (("virtuned", VIRTUNED_NS), ("vr", RECORD_NS))


@record
class Step:
    """One change of the running VM: "attach", "detach" or "update" of a device.

    `xml` is what libvirt gets, `before` the device as it was ("" of what is new),
    `alias` libvirt's name for a device that is there.
    """

    kind: str
    name: str
    xml: str
    before: str
    alias: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@record
class Plan:
    """`steps` in their order; `later` is told line by line, so is `hardware`.

    `metadata` has, by key and namespace, the element that the running VM gets, or None.
    """

    steps: tuple[Step, ...]
    later: tuple[str, ...]
    hardware: tuple[str, ...]
    metadata: tuple[tuple[str, str, str | None], ...]

    def lines(self) -> Iterator[str]:
        """The plan as it is told, before anything is done."""
        yield from (f"live: {step}" for step in self.steps)
        yield from (f"at the next boot: {line}" for line in self.later)
        yield from (f"guest-visible hardware: {line}" for line in self.hardware)


def marked(xml: str) -> str:
    """A running VM's XML, its devices marked by their position."""
    root = parse(xml).root
    for position, device in enumerate(root.iterfind("devices/*")):
        mark(device, position)
    return str(etree.tostring(root, encoding="unicode"))


def plan(live: Result, defined: Result, family: str | None) -> Plan:
    """What to do.

    :param live: of the running VM's XML, `marked`
    :param defined: of the VM's definition, which is what the next boot has
    :param family: of the machine type
    """
    before_root, after_root = parse(live.input).root, parse(live.xml).root
    before = {number: device for device, number in unmark(before_root).items()}
    after = unmark(after_root)
    later: list[str] = []
    gone = [device for number, device in before.items() if number not in set(after.values())]
    detach = [_detach(element) for element in _ordered(gone, last=True) if _can(element, "goes", later)]
    changes = []
    for device, number in after.items():
        old = before[number]
        if said(device) == said(old):
            continue
        if updatable(old, device):
            changes.append(Step("update", name_of(device), printed(device), printed(old)))
        else:
            later.append(f"{name_of(device)} changes")
    new = [element for element in after_root.iterfind("devices/*") if element not in after]
    attach = list(_attached(after_root, new, family, later))
    later += [
        f"{change.path} becomes {_quoted(change.after)}"
        for change in defined.changes
        if not change.path.startswith("/domain/devices/")
    ]
    hardware = [warning.message for warning in defined.warnings if warning.code == GUEST_ABI]
    steps = (*detach, *attach, *changes)
    metadata = tuple(_metadata(before_root, after_root))
    return Plan(steps, tuple(dict.fromkeys(later)), tuple(hardware), metadata)


def _ordered(devices: Sequence[Element], last: bool = False) -> list[Element]:
    """Controllers first, or last."""
    return sorted(devices, key=lambda device: (device.tag == "controller") == last)


def _can(device: Element, what: str, later: list[str]) -> bool:
    if pluggable(device):
        return True
    later.append(f"{name_of(device)} {what}")
    return False


def _detach(device: Element) -> Step:
    alias = device.find("alias")
    name = "" if alias is None else alias.get("name", "")
    return Step("detach", name_of(device), printed(device), printed(device), name)


def _attached(root: Element, new: Sequence[Element], family: str | None, later: list[str]) -> Iterator[Step]:
    """Steps for what is new: what cannot come takes along what sits on it."""
    there = {
        (controller.get("type"), controller.get("index", "0"))
        for controller in root.iterfind("devices/controller")
    }
    for device in _ordered(new):
        needed = _sits_on(device)
        if needed is not None and needed not in there:
            later.append(f"{name_of(device)} comes, on a controller that comes then")
            continue
        fits = _can(device, "comes", later)
        if fits:
            try:
                seat(root, [device], family)
            except CompletionError as problem:
                later.append(f"{name_of(device)} comes: {problem.message}")
                fits = False
        if fits:
            yield Step("attach", name_of(device), printed(device), "")
        elif device.tag == "controller":
            there.discard((device.get("type"), device.get("index", "0")))


def _sits_on(device: Element) -> tuple[str, str] | None:
    """The controller that a device may not be without: by its address, else by its kind."""
    address, target = device.find("address"), device.find("target")
    bus = None if target is None else target.get("bus")
    if address is not None and bus and address.get("type") == "drive":
        return bus, address.get("controller", "0")
    if device.tag in ("channel", "console") and target is not None and target.get("type") == "virtio":
        index = "0" if address is None else address.get("controller", "0")
        return "virtio-serial", index
    if bus == "usb" or device.get("bus") == "usb":
        return "usb", "0"
    return None


def as_live(xml: str, before: str, live: str) -> str:
    """The new definition, its new devices where the running VM has them: address and MAC.

    Else the guest would see its hardware move at the next boot.

    :param xml: the new definition, of which `before` was the old one
    :param live: the running VM's XML, with all that was attached
    """
    root = parse(xml).root
    known = Counter(said(element) for element in parse(before).root.iterfind("devices/*"))
    running = list(parse(live).root.iterfind("devices/*"))
    here = {place_of(other.find("address")) for other in root.iterfind("devices/*")} - {None}
    changed = False
    new = []
    for device in root.iterfind("devices/*"):
        text = said(device)
        if not known[text]:
            new.append(device)
            continue
        known[text] -= 1
        same = next((other for other in running if _within(device, other)), None)
        if same is not None:
            running.remove(same)
    for device in new:
        there = next((other for other in running if _within(device, other)), None)
        if there is None:
            continue
        running.remove(there)
        for tag in ("mac", "address"):
            found = there.find(tag)
            if found is None or device.find(tag) is not None:
                continue
            if tag == "address" and place_of(found) in here:
                continue
            device.insert(0 if tag == "mac" else len(device), etree.fromstring(etree.tostring(found)))
            changed = True
    return str(etree.tostring(root, encoding="unicode")) if changed else xml


def _within(part: Element, whole: Element) -> bool:
    """Does the second element say all that the first does?"""
    if part.tag != whole.tag or any(whole.get(name) != value for name, value in part.attrib.items()):
        return False
    if (part.text or "").strip() and (part.text or "").strip() != (whole.text or "").strip():
        return False
    return all(any(_within(child, other) for other in whole) for child in part.iterchildren("*"))


def _quoted(value: str | None) -> str:
    return "absent" if value is None else f"'{value}'"


def _metadata(before: Element, after: Element) -> Iterator[tuple[str, str, str | None]]:
    """List and record of the running VM where they change; libvirt puts their namespace in itself."""
    for key, uri in METADATA:
        old, new = (root.find(f"metadata/{{{uri}}}*") for root in (before, after))
        if new is None:
            if old is not None:
                yield key, uri, None
        elif old is None or said(old) != said(new):
            yield key, uri, _bare(new, uri)


def _bare(element: Element, uri: str) -> str:
    copy = etree.fromstring(etree.tostring(element, with_tail=False))
    for inner in copy.iter(f"{{{uri}}}*"):
        inner.tag = etree.QName(inner).localname
    etree.cleanup_namespaces(copy)
    return str(etree.tostring(copy, encoding="unicode"))
