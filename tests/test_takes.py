# SPDX-License-Identifier: GPL-2.0-or-later
"""What a kind of device takes (``vp:takes``): each row of the facts, and what libvirt says to it."""

from __future__ import annotations

from typing import Any

import pytest
from lxml import etree

from virtProfile import Context
from virtProfile.errors import ProfileSyntaxError
from virtProfile.format.document import parse
from virtProfile.format.facts import rows
from virtProfile.format.schema import DATA, Schema
from virtProfile.format.takes import takes
from virtProfile.language.expression import Environment, compile_expression

BASE = Schema.baseline()
ROWS = [
    (path, slot, kinds.split(" "), part, [] if taken == "-" else taken.split(" "))
    for path, slot, kinds, part, taken, _ in rows(f"{DATA}/takes.tsv")
]
NICS = ("network", "bridge", "direct", "ethernet", "user", "udp", "mcast", "vhostuser", "vdpa", "hostdev")
DISKS = ("file", "block", "dir", "network", "volume", "nvme", "vhostuser")


def device(path: str, slot: str, kind: str) -> Any:
    """A device of that kind at its place in a domain."""
    tags = path.split("/")
    element = root = etree.Element("domain", type="kvm")
    for tag in tags:
        element = etree.SubElement(element, tag)
    element.set(slot[1:], kind)
    assert root.tag == "domain"
    return element


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0].split('/')[-1]}-{row[3]}-{row[2][0]}")
def test_each_row(row: tuple[str, str, list[str], str, list[str]]) -> None:
    path, slot, kinds, part, taken = row
    node: Any = BASE.root
    for tag in path.split("/"):
        node = node.child(tag)
    known = node.attribute(slot[1:])
    for kind in kinds:
        assert known.check(kind) == "", kind
        thing = device(path, slot, kind)
        assert takes(BASE, thing, part) is bool(taken)
        for value in taken:
            assert takes(BASE, thing, part, value)
        assert not takes(BASE, thing, part, "another")


@pytest.mark.parametrize(
    ("part", "value", "refused"),
    [
        ("model/@type", None, {"hostdev"}),
        ("model/@type", "virtio", {"hostdev"}),
        ("model/@type", "virtio-non-transitional", {"hostdev", "vdpa"}),
        ("model/@type", "e1000e", {"hostdev", "vhostuser", "vdpa"}),
        ("driver/@queues", None, {"user", "udp", "mcast", "vdpa", "hostdev"}),
        ("driver/@iommu", None, {"hostdev"}),
        ("mtu", None, {"direct", "user", "udp", "mcast", "vdpa", "hostdev"}),
        ("mac/@address", None, set()),
    ],
)
def test_nics(part: str, value: str | None, refused: set[str]) -> None:
    found = {
        kind for kind in NICS if not takes(BASE, device("devices/interface", "@type", kind), part, value)
    }
    assert found == refused


@pytest.mark.parametrize(
    ("part", "value", "refused"),
    [
        ("target/@bus", "sata", {"vhostuser"}),
        ("target/@bus", "virtio", set()),
        ("driver/@cache", None, {"vhostuser"}),
        ("driver/@iothread", None, {"vhostuser"}),
        ("driver/@queues", None, set()),
        ("driver/@io", None, {"dir", "network", "nvme", "vhostuser"}),
    ],
)
def test_disks(part: str, value: str | None, refused: set[str]) -> None:
    found = {kind for kind in DISKS if not takes(BASE, device("devices/disk", "@type", kind), part, value)}
    assert found == refused


DOMAIN = """<domain type='kvm'><devices>
<disk><target dev='vda' bus='virtio'/></disk><disk><target dev='sda' bus='sata'/></disk>
<interface type='network'><model type='e1000'/></interface>
<interface type='network'><model type='virtio'/></interface></devices></domain>"""


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        # what stands elsewhere in the device counts too: a bus, a model
        ("count(devices/disk[vp:takes(., 'driver/@iothread')])", "1"),
        ("count(devices/interface[vp:takes(., 'driver/@packed')])", "1"),
        # what the part says now does not
        ("count(devices/interface[vp:takes(., 'model/@type', 'virtio')])", "2"),
        ("count(devices/disk[vp:takes(., 'target/@bus', 'usb')])", "2"),
        ("vp:takes(devices/sound, 'codec')", "no"),
        ("vp:takes(devices/disk[2], 'driver/@queues')", "no"),
    ],
)
def test_in_an_expression(text: str, wanted: str) -> None:
    expression = compile_expression(text, file="p.xml", line=3)
    assert expression.text(parse(DOMAIN).root, Environment({}, Context())) == wanted


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("vp:takes(devices/disk, 'drvier/@io')", "no such part of <disk>"),
        ("vp:takes(devices/disk, 'driver/@nix')", "no such part of <disk>"),
        ("vp:takes(devices/disk/target/@dev, 'driver')", "no such part of 'vda'"),
        ("vp:takes('disk', 'driver/@io')", "not an element of the domain"),
    ],
)
def test_a_part_that_no_device_has(text: str, fact: str) -> None:
    with pytest.raises(ProfileSyntaxError, match=fact):
        expression = compile_expression(text, file="p.xml", line=3)
        expression.text(parse(DOMAIN).root, Environment({}, Context()))


FRAME = """<domain type='qemu'><name>vp-takes</name><memory unit='MiB'>64</memory><vcpu>2</vcpu>
<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>
<os><type arch='x86_64' machine='q35'>hvm</type></os><devices>
<emulator>/usr/bin/qemu-system-x86_64</emulator>{}</devices></domain>"""
FORMS = {
    "vhostuser": "<interface type='vhostuser'><source type='unix' path='/s' mode='client'/>{}</interface>",
    "vdpa": "<interface type='vdpa'><source dev='/dev/vhost-vdpa-0'/>{}</interface>",
    "user": "<interface type='user'>{}</interface>",
}


@pytest.mark.parametrize("kind", sorted(FORMS))
@pytest.mark.parametrize("model", ["virtio", "virtio-non-transitional", "e1000e"])
def test_libvirt_agrees_on_models(embedded_qemu: Any, kind: str, model: str) -> None:
    form = FORMS[kind].format(f"<model type='{model}'/>")
    known = takes(BASE, device("devices/interface", "@type", kind), "model/@type", model)
    if known or model == "e1000e":  # newer versions take more of virtio
        assert defined(embedded_qemu, form) == known


@pytest.mark.parametrize("bus", ["virtio", "sata", "scsi", "usb"])
def test_libvirt_agrees_on_buses(embedded_qemu: Any, bus: str) -> None:
    disk = f"""<disk type='vhostuser' device='disk' snapshot='no'><source type='unix' path='/s'/>
        <target dev='vda' bus='{bus}'/></disk>"""
    wanted = takes(BASE, device("devices/disk", "@type", "vhostuser"), "target/@bus", bus)
    assert defined(embedded_qemu, disk) == wanted


def defined(handle: Any, form: str) -> bool:
    libvirt = pytest.importorskip("libvirt")
    try:
        domain = handle.defineXML(FRAME.format(form))
    except libvirt.libvirtError:
        return False
    domain.undefine()
    return True
