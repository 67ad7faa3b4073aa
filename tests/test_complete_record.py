# SPDX-License-Identifier: GPL-2.0-or-later
"""Completion over the life of profiles: again is nothing, and what is taken back goes whole."""

from __future__ import annotations

from typing import Any

import pytest
import strategies
from completing import add, capabilities, disks, domain
from lxml import etree

import virtProfile
from virtProfile.engine.lifecycle import unapply

PCI = "<address type='pci' domain='0x0000' bus='0x00' slot='0x05' function='0x0'/>"
QUEUES = "<default><devices><controller type='scsi'><driver queues='4'/></controller></devices></default>"
CASES = {
    "cdrom": (domain(disks("sata", 1)), [add("<disk device='cdrom'/>")]),
    "scsi": (domain(), [add(disks("scsi", 9))]),
    "own-default": (domain(), [add(disks("scsi", 2)) + QUEUES]),
    "others-default": (domain(), [add(disks("scsi", 2)), QUEUES]),
    "shared": (domain(), [add(disks("scsi", 1)), add(disks("scsi", 1, 1)), QUEUES]),
    "dimm": (domain(), [add("<memory model='dimm'><target><size unit='MiB'>64</size></target></memory>")]),
    "threads": (
        domain(top="  <iothreads>1</iothreads>\n"),
        [add(disks("virtio", 1).replace("name='qemu'", "name='qemu' iothread='2'"))],
    ),
    "intremap": (domain(), [add("<iommu model='intel'><driver intremap='on'/></iommu>")]),
    "two": (domain(), [add("<disk device='cdrom'/>"), add("<disk device='floppy'/>")]),
}


def run(vm: str, texts: list[str], priority: int = 0, **options: Any) -> tuple[Any, Any]:
    store: Any = strategies.MemoryStore(
        [f"<profile name='p{number}' version='1'>{text}</profile>" for number, text in enumerate(texts)]
    )
    wishes = [{"name": name, "priority": priority} for name in store.profiles]
    return virtProfile.apply(vm, wishes, store=store, **options), store


def same(one: str, other: str) -> bool:
    def plain(text: str) -> bytes:
        root = etree.fromstring(text.encode())
        for element in root.iter():
            element.text, element.tail = (element.text or "").strip(), None
        return bytes(etree.tostring(root, method="c14n"))

    return plain(one) == plain(other)


@pytest.mark.parametrize("name", CASES)
def test_again_and_back(name: str) -> None:
    vm, texts = CASES[name]
    once, store = run(vm, texts)
    twice, _ = run(once.xml, texts)
    assert twice.xml == once.xml
    assert not twice.changed
    back = unapply(once.xml, "all", store=store)
    assert same(back.xml, vm)


@pytest.mark.parametrize("name", CASES)
def test_what_libvirt_puts_in_stays(name: str) -> None:
    vm, texts = CASES[name]
    once, store = run(vm, texts)
    root = etree.fromstring(once.xml.encode())
    for controller in root.iterfind("devices/controller"):
        etree.SubElement(controller, "address", type="pci", bus="0x03", slot="0x00", function="0x0")
    for disk in root.iterfind("devices/disk"):
        dev = disk.find("target").get("dev")
        if f"'{dev}'" not in vm:
            etree.SubElement(disk, "alias", name=f"ua-{dev}")
    defined = etree.tostring(root, encoding="unicode")
    again, _ = run(defined, texts)
    assert again.xml == defined
    assert same(unapply(defined, "all", store=store).xml, vm)


def test_slots_stay_when_another_profile_goes() -> None:
    texts = [add(disks("scsi", 1)), add(disks("scsi", 1, 1)), add("<disk device='cdrom'/>")]
    once, store = run(domain(), texts)
    rest = unapply(once.xml, "p0", store=store)
    disk = etree.fromstring(rest.xml.encode()).find("devices/disk")
    assert disk.find("target").get("dev") == "sdb"
    assert disk.find("address").get("unit") == "1"
    assert etree.fromstring(rest.xml.encode()).find("devices/controller[@type='scsi']") is not None


def test_names_stay_when_others_come() -> None:
    texts = [add("<disk device='cdrom'/>")]
    once, _ = run(domain(), texts)
    assert "dev='sda'" in once.xml
    more = once.xml.replace("  </devices>", disks("sata", 1, 4) + "  </devices>")
    again, _ = run(more, texts)
    assert again.xml == more


def test_a_moved_disk_goes_back() -> None:
    vm = domain(disks("virtio", 1).replace("</disk>", PCI + "</disk>"))
    wish = ["<add><devices><disk><target dev='vda' bus='scsi'/></disk></devices></add>"]
    once, store = run(vm, wish, 100)
    twice, _ = run(once.xml, wish, 100)
    assert twice.xml == once.xml
    assert same(unapply(once.xml, "all", store=store).xml, vm)


def test_a_machine_goes_back() -> None:
    own = (
        disks("ide", 1)
        + "<controller type='pci' index='0' model='pci-root'/>\n"
        + f"<interface type='user'><model type='e1000'/>{PCI}</interface>\n"
    )
    vm = domain(own, "pc")
    wish = ["<add><os><type machine='q35'>hvm</type></os></add>"]
    once, store = run(vm, wish, 100)
    twice, _ = run(once.xml, wish, 100)
    assert twice.xml == once.xml
    assert same(unapply(once.xml, "all", store=store).xml, vm)


def test_a_completed_sketch_stays() -> None:
    sketch = "<domain type='qemu'>\n  <name>s</name>\n  <memory unit='MiB'>64</memory>\n</domain>\n"
    texts = [add("<disk device='cdrom'/>")]
    once, _ = run(sketch, texts, complete=True, context=capabilities())
    twice, _ = run(once.xml, texts, complete=True, context=capabilities())
    assert twice.xml == once.xml
    plain, _ = run(once.xml, texts)
    assert "<graphics" in plain.xml


def test_what_was_completed_stays_when_profiles_go() -> None:
    sketch = "<domain type='qemu'>\n  <name>s</name>\n  <memory unit='MiB'>64</memory>\n</domain>\n"
    texts = [add("<disk device='cdrom'/>") + "<add><features><pae/></features></add>"]
    once, store = run(sketch, texts, complete=True, context=capabilities())
    back = etree.fromstring(unapply(once.xml, "all", store=store).xml.encode())
    assert back.find("devices/graphics") is not None
    assert back.find("features/acpi") is not None
    assert back.find("devices/disk") is None
    assert back.find("features/pae") is None


def test_what_another_profile_gave_does_not_come_back() -> None:
    texts = [add("<hostdev><source/></hostdev>"), add("<hostdev/>")]
    once, store = run(domain(), texts)
    rest = unapply(once.xml, "p0", store=store)
    assert "<source" not in rest.xml.partition("</metadata>")[2]
