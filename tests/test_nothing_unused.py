# SPDX-License-Identifier: GPL-2.0-or-later
"""Each shipped profile on each VM: what it adds for other parts of the VM has a user there."""

from __future__ import annotations

from collections.abc import Callable

import library
import pytest
from library import NAMES, apply, context
from lxml import etree

import virtProfile
from virtProfile import ProfileError
from virtProfile.format.buses import bus_of, is_on_usb
from virtProfile.format.element import Element, child

VMS = {path.stem: path.read_text() for path in sorted((library.ROOT / "tests/data/vms").glob("*.xml"))}
SAMPLES = VMS | {f"sample {name}": text for name, text in library.documents()}
#: Profiles that are for the thing itself, whoever uses it, and why.
MEANT = {
    ("usb3", "controller usb 0"): "the controller is what the profile is for",
    ("no-usb", "controller usb 0"): "model none: it keeps libvirt from adding one",
    ("like-kubevirt", "controller usb 0"): "model none: KubeVirt writes it where there is no tablet",
    ("like-nova", "iothread 1"): "Nova 33 and newer write one I/O thread for each instance",
    ("like-ovirt", "controller scsi 0"): "oVirt writes one for each VM, for disks to be plugged",
}
CONTEXTS = {
    "nothing known": virtProfile.Context(),
    "debian11": context("debian11"),
    "win11": context("win11"),
}


def on_bus(bus: str) -> Callable[[Element, Element], bool]:
    return lambda devices, _: any(bus_of(device) == bus for device in devices.iterchildren("*"))


def on_usb(devices: Element, _: Element) -> bool:
    return any(is_on_usb(device) for device in devices.iterchildren("*"))


def has(*paths: str) -> Callable[[Element, Element], bool]:
    return lambda devices, _: any(devices.find(path) is not None for path in paths)


def plugged_in(devices: Element, controller: Element) -> bool:
    """A PCI bus: something has an address on it."""
    index = int(controller.get("index", "0"))
    if index == 0:
        return True  # the root of the machine
    return any(
        int(address.get("bus", "0"), 0) == index for address in devices.iterfind("*/address[@type='pci']")
    )


#: type of a controller -> does the VM have something for it?
USERS: dict[str, Callable[[Element, Element], bool]] = {
    "scsi": on_bus("scsi"),
    "sata": on_bus("sata"),
    "ide": on_bus("ide"),
    "fdc": on_bus("fdc"),
    "usb": on_usb,
    "virtio-serial": has(
        "channel/target[@type='virtio']", "console/target[@type='virtio']", "channel[@type='spicevmc']"
    ),
    "ccid": has("smartcard"),
    "pci": plugged_in,
}


def things(xml: str) -> dict[str, bool]:
    """What a domain has for other parts of it, such as ``controller scsi 0``: is it used?"""
    root = etree.fromstring(xml.encode())
    devices = child(root, "devices")
    if devices is None:
        devices = etree.SubElement(root, "devices")
    found = {
        f"controller {one.get('type')} {one.get('index', '0')}": USERS[str(one.get("type"))](devices, one)
        for one in devices.iterchildren("controller")
    }
    served = {int(one.get("iothread")) for one in devices.iterfind("*/driver[@iothread]")}
    served |= {int(one.get("id")) for one in devices.iterfind("*/driver/iothreads/iothread")}
    threads = range(1, int(root.findtext("iothreads") or 0) + 1)
    found |= {f"iothread {number}": number in served for number in threads}
    vcpus = range(int(root.findtext("vcpu") or 1))
    for kind, those in (("vcpu", vcpus), ("iothread", threads)):
        for pin in root.iterfind(f"cputune/{kind}pin"):
            found[f"pin of {kind} {pin.get(kind)}"] = int(pin.get(kind)) in those
    found["shared memory"] = any(
        devices.find(path) is not None
        for path in ("filesystem/driver[@type='virtiofs']", "interface[@type='vhostuser']")
    )
    if root.find("memoryBacking/access[@mode='shared']") is None:
        del found["shared memory"]
    if root.find("memtune/hard_limit") is not None:
        found["limit of locked memory"] = root.find("memoryBacking/locked") is not None
    sounds = {one.get("id") for one in devices.iterfind("sound/audio")}
    found |= {
        f"audio {one.get('id')}": one.get("id") == "1" or one.get("id") in sounds
        for one in devices.iterchildren("audio")
    }
    return found


@pytest.mark.parametrize("known", CONTEXTS)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_added_that_nothing_uses(name: str, known: str) -> None:
    for vm, xml in SAMPLES.items():
        before = things(xml)
        for override in (False, True):
            try:
                made = apply(xml, [name], context=CONTEXTS[known], override=override)
            except ProfileError as problem:
                assert problem.code in ("conflict", "completion", "check", "missing-context"), vm
                continue
            unused = {thing for thing, used in things(made.xml).items() if not used and thing not in before}
            new = {thing for thing in unused if (name, thing) not in MEANT}
            assert not new, f"{name} on {vm}, override {override}"


def test_every_exception_is_needed() -> None:
    for name, thing in MEANT:
        assert any(not things(apply(xml, [name]).xml).get(thing, True) for xml in SAMPLES.values()), (
            name,
            thing,
        )


@pytest.mark.parametrize("vm", sorted(VMS))
def test_disks_that_keep_their_bus_get_no_scsi_controller(vm: str) -> None:
    """And it is reported which disks those are; the override moves them, and then there is one."""
    xml = VMS[vm]
    kept = apply(xml, ["virtio-scsi"], record=False)
    before, after = (etree.fromstring(text.encode()) for text in (xml, kept.xml))
    has_some = before.find("devices/controller[@type='scsi']") is not None
    assert len(after.findall("devices/controller[@type='scsi']")) == (1 if has_some else 0)
    moved = [disk for disk in before.iterfind("devices/disk/target[@dev]") if disk.get("bus") != "scsi"]
    if moved and not has_some:
        assert not kept.changed
        assert [one.message for one in kept.warnings if one.code == "no-effect"]
        assert {one.path.rpartition("/")[2] for one in kept.overridden} == {"@bus"}
    converted = etree.fromstring(apply(xml, ["virtio-scsi"], override=True, record=False).xml.encode())
    models = [one.get("model") for one in converted.iterfind("devices/controller[@type='scsi']")]
    assert models in (["virtio-scsi"], ["virtio-non-transitional"])
    assert converted.find("devices/disk/target[@bus='scsi']") is not None
