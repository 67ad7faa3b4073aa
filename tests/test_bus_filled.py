# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk that says no bus gets one, is defined, and loses it again: the address of that bus goes along."""

from __future__ import annotations

from typing import Any

import pytest
from strategies import MemoryStore
from test_define_roundtrip import define, without_bookkeeping

import virtProfile

SKETCH = """<domain type='qemu'><name>vp-bus-filled</name><uuid>0aa96c53-0000-4000-8000-0000000000a1</uuid>
<memory unit='MiB'>256</memory><vcpu>1</vcpu><os><type arch='x86_64' machine='{machine}'>hvm</type></os>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{usb}<disk type='file' device='disk'>
<source file='/vp.img'/><target dev='{name}'/></disk></devices></domain>"""
USB = "<controller type='usb' index='0' model='qemu-xhci'/>"


@pytest.mark.parametrize("priority", [0, 120])
@pytest.mark.parametrize("bus", ["virtio", "usb", "scsi", "sata"])
@pytest.mark.parametrize(
    ("machine", "name"), [("pc", "hda"), ("pc", "sda"), ("q35", "sda"), ("q35", "sdb"), ("q35", "vda")]
)
def test_the_address_goes_with_the_bus(
    embedded_qemu: Any, machine: str, name: str, bus: str, priority: int
) -> None:
    text = SKETCH.format(machine=machine, name=name, usb=USB)
    store = MemoryStore(
        [f"<profile name='p'><add each='devices/disk'><disk><target bus='{bus}'/></disk></add></profile>"]
    )
    made = virtProfile.apply(text, [{"name": "p", "priority": priority}], store=store)
    defined = define(embedded_qemu, made.xml)
    back = define(embedded_qemu, virtProfile.unapply(defined, store=store).xml)
    assert without_bookkeeping(back) == without_bookkeeping(define(embedded_qemu, text))
