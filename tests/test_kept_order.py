# SPDX-License-Identifier: GPL-2.0-or-later
"""`each=` numbers disks and controllers in the order in which libvirt keeps them."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Sequence
from typing import Any

import library
import pytest
from lxml import etree
from strategies import MemoryStore
from test_define_roundtrip import define

import virtProfile
from virtProfile.engine.selection.kept_order import as_kept

SEED = int(os.environ.get("VIRT_PROFILE_SEED", "1"))
DISKS = [
    ("hda", "ide"),
    ("vdc", "virtio"),
    ("vdb", "virtio"),
    ("sdb", "scsi"),
    ("hdb", "ide"),
    ("sda", "scsi"),
]
DISKS += [("vda", "virtio"), ("sdaa", "scsi"), ("hdc", "virtio"), ("sdc", "sata")]
CONTROLLERS = [("scsi", 1), ("virtio-serial", 1), ("scsi", 0), ("sata", 0), ("virtio-serial", 0), ("sata", 1)]
NUMBERING = """<profile name='numbering'><add each="devices/disk[target/@bus != 'ide']">
    <disk><serial>disk {$position} of {$last}</serial></disk></add></profile>"""


def vm(disks: Sequence[tuple[str, str]], controllers: Sequence[tuple[str, int]] = ()) -> str:
    devices = [
        f"<disk type='file'><source file='/{dev}'/><target dev='{dev}' bus='{bus}'/></disk>"
        for dev, bus in disks
    ]
    devices += [f"<controller type='{kind}' index='{index}'/>" for kind, index in controllers]
    return f"""<domain type='qemu'><name>vm</name><uuid>7d1b1c0c-98b1-4b23-9d2e-251406601399</uuid>
        <memory>1048576</memory><os><type arch='x86_64' machine='pc'>hvm</type></os>
        <devices>{"".join(devices)}</devices></domain>"""


def names(devices: Sequence[Any]) -> list[str]:
    return [
        device.find("target").get("dev") if device.tag == "disk" else device.get("type") + device.get("index")
        for device in devices
    ]


@pytest.mark.parametrize("seed", range(SEED, SEED + 8))
def test_the_order_is_libvirts(embedded_qemu: Any, seed: int) -> None:
    rng = random.Random(seed)
    xml = vm(rng.sample(DISKS, 8), rng.sample(CONTROLLERS, 5))
    defined = etree.fromstring(define(embedded_qemu, xml))
    for tag in ("disk", "controller"):
        written = as_kept(etree.fromstring(xml).findall(f"devices/{tag}"))
        kept = [name for name in names(defined.findall(f"devices/{tag}")) if name in names(written)]
        assert names(written) == kept, xml


@pytest.mark.parametrize("seed", range(SEED, SEED + 4))
@pytest.mark.parametrize("bus", ["virtio-disk", "virtio-scsi", "sata-disk"])
def test_a_conversion_and_a_define_leave_the_numbers(embedded_qemu: Any, bus: str, seed: int) -> None:
    """Disks that change their bus stand elsewhere after the define."""
    before = define(embedded_qemu, vm(random.Random(seed).sample(DISKS, 6)))
    wishes = [bus, "iothreads-per-disk", "numbering"]
    store = MemoryStore([NUMBERING, *(path.read_text() for path in _shipped())])
    once = virtProfile.apply(before, wishes, store=store, override=True)
    defined = define(embedded_qemu, once.xml)
    again = virtProfile.apply(defined, store=store)
    assert not again.changed, [(one.path, one.before, one.after) for one in again.changes]


def _shipped() -> list[Any]:
    return [path for path in sorted(library.SHIPPED.glob("*.xml")) if re.fullmatch(r"[^.]+", path.stem)]
