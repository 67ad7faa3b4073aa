# SPDX-License-Identifier: GPL-2.0-or-later
"""What devices need besides controllers, and addresses that a change makes void."""

from __future__ import annotations

from typing import Any

import pytest
from completing import apply, at_priority, capabilities, disks, domain
from lxml import etree

from virtProfile.errors import CompletionError

PCI = "<address type='pci' domain='0x0000' bus='0x00' slot='0x05' function='0x0'/>"


def add(inner: str) -> str:
    return f"<add><devices>{inner}</devices></add>"


def root_of(result: Any) -> Any:
    return etree.fromstring(result.xml.encode())


def machine(name: str) -> str:
    return f"<add><os><type machine='{name}'>hvm</type></os></add>"


# --- addresses -----------------------------------------------------------------------


def test_another_bus_another_address() -> None:
    own = disks("virtio", 1).replace("</disk>", PCI + "</disk>")
    wish = add("<disk><target dev='vda' bus='scsi'/></disk>")
    result = at_priority(100, domain(own), wish)
    disk = root_of(result).find("devices/disk")
    assert disk.find("target").attrib == {"dev": "vda", "bus": "scsi"}
    assert dict(disk.find("address").attrib) == {
        "type": "drive", "controller": "0", "bus": "0", "target": "0", "unit": "0",
    }  # fmt: skip
    assert root_of(result).find("devices/controller[@type='scsi']").get("model") == "virtio-scsi"
    assert at_priority(100, result.xml, wish).xml == result.xml
    back = at_priority(100, result.xml, add("<disk><target dev='vda' bus='virtio'/></disk>"))
    assert root_of(back).find("devices/disk/address") is None


def test_an_address_of_the_definition_stays() -> None:
    own = disks("virtio", 1).replace(" bus='virtio'", "").replace("</disk>", PCI + "</disk>")
    wish = "<default><devices><disk><target bus='sata'/></disk></devices></default>"
    with pytest.raises(CompletionError, match="keeps its address of type 'pci'"):
        apply(domain(own), wish)


def test_pc_to_q35() -> None:
    own = (
        disks("ide", 2)
        + "<controller type='pci' index='0' model='pci-root'/>\n"
        + f"<controller type='ide' index='0'>{PCI}</controller>\n"
        + f"<interface type='user'><model type='e1000'/>{PCI}</interface>\n"
        + f"<video><model type='vga'/>{PCI}</video>\n"
    )
    result = at_priority(100, domain(own, "pc-i440fx-7.2"), machine("q35"))
    root = root_of(result)
    assert not root.findall("devices//address[@type='pci']")
    kinds = [one.get("type") for one in root.iterfind("devices/controller")]
    assert kinds == ["sata"]
    assert [one.get("bus") for one in root.iterfind("devices/disk/target")] == ["sata", "sata"]
    assert [one.get("unit") for one in root.iterfind("devices/disk/address")] == ["0", "1"]
    assert root.find("devices/interface/model").get("type") == "e1000e"
    assert {one.origin.action for one in result.changes} == {
        "add", "for machine q35", "for disk sda", "for disk sdb",
    }  # fmt: skip
    assert at_priority(100, result.xml, machine("q35")).xml == result.xml


def test_q35_to_pc() -> None:
    own = (
        disks("sata", 1)
        + "<controller type='pci' index='0' model='pcie-root'/>\n"
        + f"<controller type='pci' index='1' model='pcie-root-port'>{PCI}</controller>\n"
        + f"<interface type='user'><model type='e1000e'/>{PCI}</interface>\n"
    )
    root = root_of(at_priority(100, domain(own, "pc-q35-7.2"), machine("pc")))
    assert not root.findall("devices//address[@type='pci']")
    assert not root.findall("devices/controller[@type='pci']")
    assert root.find("devices/interface/model").get("type") == "e1000"
    assert root.find("devices/disk/target").get("bus") == "sata"


def test_what_is_made_behind_something_emptied_is_written() -> None:
    own = f"    <controller type='virtio-serial' index='0'>\n      {PCI}\n    </controller>\n"
    result = at_priority(100, domain(own, "pc"), machine("q35"), add(disks("sata", 1)))
    assert [one.get("type") for one in root_of(result).iterfind("devices/controller")] == [
        "virtio-serial", "sata",
    ]  # fmt: skip
    assert all(one.output_line for one in result.changes if one.op == "add")


def test_a_newer_machine_of_the_family_changes_nothing_else() -> None:
    own = f"<interface type='user'><model type='e1000'/>{PCI}</interface>\n"
    result = at_priority(100, domain(own, "pc-i440fx-6.0"), machine("pc-i440fx-7.2"))
    assert [one.path for one in result.changes] == ["/domain/os/type/@machine"]


def test_a_machine_that_only_fills_a_gap_takes_nothing_away() -> None:
    vm = domain(f"<video><model type='vga'/>{PCI}</video>\n").replace(" machine='q35'", "")
    with pytest.raises(CompletionError, match="cannot become 'q35'.*PCI addresses"):
        apply(vm, machine("q35"))


# --- needs ---------------------------------------------------------------------------


def threads(vm: str) -> tuple[str | None, list[str]]:
    disk = disks("virtio", 1).replace("name='qemu'", "name='qemu' iothread='2'")
    root = root_of(apply(vm, add(disk)))
    return root.findtext("iothreads"), [one.get("id") for one in root.iterfind("iothreadids/iothread")]


def test_iothreads() -> None:
    assert threads(domain()) == ("2", [])
    assert threads(domain(top="  <iothreads>2</iothreads>\n")) == ("2", [])
    assert threads(domain(top="  <iothreads>1</iothreads>\n")) == ("2", ["1", "2"])
    listed = "  <iothreads>1</iothreads>\n  <iothreadids><iothread id='4'/></iothreadids>\n"
    assert threads(domain(top=listed)) == ("2", ["4", "2"])


def test_a_dimm() -> None:
    dimm = add("<memory model='dimm'><target><size unit='MiB'>64</size></target></memory>")
    result = apply(domain(), dimm)
    root = root_of(result)
    assert (root.find("maxMemory").get("slots"), root.findtext("maxMemory")) == ("1", "131072")
    assert root.find("cpu/numa/cell").get("memory") == "65536"
    assert root.find("features/acpi") is not None
    assert root.findtext("devices/memory/target/node") == "0"
    assert apply(result.xml, dimm).xml == result.xml
    with pytest.raises(CompletionError, match="needs acpi, which p1 removes"):
        apply(domain(), dimm, "<remove><features><acpi/></features></remove>")
    with pytest.raises(CompletionError, match="65536 KiB, 131072 are needed"):
        apply(domain(top="  <maxMemory slots='1' unit='MiB'>64</maxMemory>\n"), dimm)


def test_intremap() -> None:
    wish = add("<iommu model='intel'><driver intremap='on'/></iommu>")
    assert root_of(apply(domain(), wish)).find("features/ioapic").get("driver") == "qemu"
    kvm = domain(top="  <features><ioapic driver='kvm'/></features>\n")
    with pytest.raises(CompletionError, match="ioapic of 'qemu', not of 'kvm'"):
        apply(kvm, wish)


BOOT = disks("virtio", 1, 1).replace("</disk>", "<boot order='1'/></disk>")


@pytest.mark.parametrize(
    ("vm", "wish", "message"),
    [
        (domain("<serial type='pty'/>\n"), add("<serial type='pty'/>") * 5, None),
        (
            domain("".join(f"<serial type='pty'><target port='{n}'/></serial>" for n in range(4))),
            add("<serial type='pty'><target port='4'/></serial>"),
            "5 ISA serial ports, and QEMU has 4",
        ),
        (
            domain("".join(f"<serial type='pty'><target port='{n}'/></serial>" for n in range(4))),
            add("<serial type='pty'><target type='pci-serial' port='4'/></serial>"),
            None,
        ),
        (domain("<video><model type='qxl'/></video>"), add("<video><model type='vga'/></video>"), "'vga' card"),
        (domain("<video><model type='vga'/></video>"), add("<video><model type='qxl'/></video>"), None),
        (
            domain("<video><model type='qxl' primary='yes'/></video>"),
            add("<video><model type='virtio' primary='yes'/></video>"),
            "only one <video>",
        ),
        (domain(disks("virtio", 1).replace("</disk>", "<boot order='1'/></disk>")), add(BOOT), "boot order 1"),
        (domain(disks("virtio", 1).replace("</disk>", "<boot order='2'/></disk>")), add(BOOT), None),
        (
            domain("<controller type='usb' model='none'/>"),
            add("<redirdev bus='usb' type='spicevmc'/>"),
            "on USB, which is off",
        ),
        (domain("<controller type='usb' model='none'/>"), add("<input type='mouse' bus='ps2'/>"), None),
    ],
)  # fmt: skip
def test_what_would_be_refused(vm: str, wish: str, message: str | None) -> None:
    if message is None:
        assert apply(vm, wish).xml
        return
    with pytest.raises(CompletionError, match=message) as caught:
        apply(vm, wish)
    assert caught.value.hint
    assert caught.value.where == "p1.xml:1"


def test_the_vms_own_troubles_are_not_ours() -> None:
    own = "".join(f"<serial type='pty'><target port='{n}'/></serial>" for n in range(6))
    assert apply(domain(own), "<add><iothreads>1</iothreads></add>").changed


CAPABILITIES = capabilities()


@pytest.mark.parametrize(
    ("vm", "wish", "message"),
    [
        (domain(), add("<redirdev bus='usb' type='spicevmc'/>"), "needs SPICE graphics"),
        (domain("<graphics type='spice'/>"), add("<redirdev bus='usb' type='spicevmc'/>"), None),
        (domain(), add("<disk device='cdrom'><target dev='vda' bus='virtio'/></disk>"), "cdrom cannot be on bus"),
        (domain(), add("<video><model type='virtio'/></video>"), None),
        (domain(), add("<video><model type='xen'/></video>"), "'xen' is not in the domain capabilities"),
        (domain("<video><model type='xen'/></video>"), add("<video><model type='xen'/></video>"), None),
        (
            domain("<controller type='scsi' model='lsilogic'/>"),
            "<default><devices><controller type='scsi'><driver queues='2'/></controller></devices></default>",
            None,
        ),
        (
            domain(top="  <memoryBacking><hugepages><page size='2048'/></hugepages></memoryBacking>\n"),
            "<add><memoryBacking><hugepages><page size='1' unit='GiB'/></hugepages></memoryBacking></add>",
            None,  # the VM's size is kept: libvirt has one for all nodes
        ),
        (
            domain().replace("x86_64", "aarch64").replace("q35", "virt"),
            "<add><features><acpi/></features></add>",
            "ACPI needs UEFI",
        ),
        (
            domain().replace("x86_64", "aarch64").replace("q35", "virt"),
            "<add><features><hyperv><relaxed state='on'/></hyperv></features></add>",
            "no Hyper-V features",
        ),
    ],
)  # fmt: skip
def test_what_this_host_would_refuse(vm: str, wish: str, message: str | None) -> None:
    if message is None:
        assert apply(vm, wish, context=CAPABILITIES).xml
        return
    with pytest.raises(CompletionError, match=message) as caught:
        apply(vm, wish, context=CAPABILITIES)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("own", "bus", "names"),
    [
        ("hda", "virtio", ["vda"]),
        ("hda hdb", "virtio", ["vda", "vdb"]),
        ("hdc", "sata", ["sdc"]),
        ("vda sda", "sata", ["vda", "sda"]),  # taken: the letters would be others, and so the order
        ("vda sda", "scsi", ["vda", "sda"]),
        ("sda", "usb", ["sda"]),
    ],
)
def test_a_disk_that_moves_has_a_name_of_its_bus(own: str, bus: str, names: list[str]) -> None:
    buses = {"h": "ide", "v": "virtio", "s": "scsi"}
    text = domain(
        "".join(
            f"<disk type='file' device='disk'><source file='/{name}'/>"
            f"<target dev='{name}' bus='{buses[name[0]]}'/></disk>\n"
            for name in own.split()
        ),
        "pc",
    )
    wish = f"<add each='devices/disk'><disk><target bus='{bus}'/></disk></add>"
    result = at_priority(120, text, wish)
    assert [one.get("dev") for one in root_of(result).iterfind("devices/disk/target")] == names
    again = at_priority(120, result.xml, wish)
    assert again.xml == result.xml
    # not at ordinary priority, where the bus stays too
    assert "guest-abi" not in [one.code for one in at_priority(0, text, wish).warnings]
