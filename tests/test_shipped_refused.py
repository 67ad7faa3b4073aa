# SPDX-License-Identifier: GPL-2.0-or-later
"""VMs on which a shipped profile once gave what libvirt refuses: through define and back, at both priorities."""

from __future__ import annotations

from typing import Any

import library
import pytest
from test_define_roundtrip import define, round_trip, vm

import virtProfile

libvirt = pytest.importorskip("libvirt")

TCP = (
    "<serial type='tcp'><source mode='bind' host='127.0.0.1' service='5555'/><protocol type='raw'/>"
    "<target port='0'/></serial>"
)
INPUTS = "<input type='tablet' bus='usb'/><input type='keyboard' bus='usb'/>"
#: What else takes one of the two ports.
ON_USB = (
    "<smartcard mode='host'/>",
    "<sound model='usb'/>",
    "<serial type='pty'><target type='usb-serial'/></serial>",
    "<disk type='file'><source file='/tmp/vp.img'/><target dev='sda' bus='usb'/></disk>",
)
VHOSTUSER = (
    "<disk type='vhostuser' device='disk'><driver name='qemu' type='raw'/><source type='unix' path='/tmp/vp.sock'/>"
    "<target dev='vda' bus='virtio'/></disk>"
)
SHARED = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
CATCHUP = (
    "<clock offset='utc'><timer name='pit' tickpolicy='catchup'><catchup threshold='123'/></timer></clock>"
)
CASES = [
    *((name, vm(TCP)) for name in ("headless-server", "linux-server", "high-performance", "serial-console")),
    *((name, vm(INPUTS, machine="pc")) for name in ("spice-desktop", "linux-desktop")),
    *(
        (name, vm(f"{device}<input type='tablet' bus='usb'/>", machine="pc"))
        for device in ON_USB
        for name in ("spice-desktop", "like-nova")
    ),
    *((name, vm(VHOSTUSER, SHARED)) for name in ("iothreads-per-disk", "high-performance")),
    ("vnc-desktop", vm("<graphics type='vnc' socket='/tmp/vp.sock'/>")),
    *((name, vm(top=CATCHUP)) for name in ("linux-clock", "windows-clock")),
]


@pytest.mark.parametrize("priority", [0, 120])
@pytest.mark.parametrize(("name", "text"), CASES)
def test_through_define_and_back(embedded_qemu: Any, name: str, text: str, priority: int) -> None:
    round_trip(embedded_qemu, text, library.wish(name, priority=priority), library.store())


def test_two_inputs_on_piix3_get_another_controller(embedded_qemu: Any) -> None:
    text = define(embedded_qemu, vm(INPUTS, machine="pc"))
    result = virtProfile.apply(text, [library.wish("spice-desktop")], store=library.store())
    assert result.xml.count("<controller type='usb'") == 2
    embedded_qemu.domainXMLToNative("qemu-argv", result.xml)
    free = define(embedded_qemu, vm(machine="pc"))
    result = virtProfile.apply(free, [library.wish("spice-desktop")], store=library.store())
    assert result.xml.count("<controller type='usb'") == 1


def test_virtio_scsi_is_not_for_isapc() -> None:
    result = virtProfile.apply(vm(machine="isapc"), [library.wish("virtio-scsi")], store=library.store())
    assert not result.changes
    assert [row.name for row in result.skipped] == ["virtio-scsi"]


def test_gl_beside_egl_headless() -> None:
    text = vm("<graphics type='egl-headless'/><video><model type='virtio'/></video>")
    result = virtProfile.apply(text, [library.wish("gl-desktop")], store=library.store())
    assert "<gl " not in result.xml
    assert "type='spice'" not in result.xml
