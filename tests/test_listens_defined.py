# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a display listens: each wish on each display, through libvirt's define and back.

libvirt writes ``none`` for a SPICE display without a port, drops what the type of a ``<listen>``
does not have, and writes an address on the display as well (SPEC 7).
"""

from __future__ import annotations

from typing import Any

import pytest
from strategies import MemoryStore
from test_define_roundtrip import add, devices, round_trip, vm

import virtProfile

DISPLAYS = (
    "<graphics type='spice'/>",
    "<graphics type='spice' port='5901'/>",
    "<graphics type='spice' autoport='yes'/>",
    "<graphics type='spice' autoport='yes'><listen type='network' network='default'/></graphics>",
    "<graphics type='vnc'/>",
    "<graphics type='vnc' socket='/tmp/vp-vnc'/>",
    "<graphics type='vnc'><listen type='none'/></graphics>",
)
WISHES = (
    "<graphics type='{}'><listen address='127.0.0.1'/></graphics>",
    "<graphics type='{}'><listen network='default'/></graphics>",
    "<graphics type='{}'><listen socket='/tmp/vp'/></graphics>",
    "<graphics type='{}'><listen type='address' address='127.0.0.1'/></graphics>",
    "<graphics type='{}'><listen type='network' network='default'/></graphics>",
    "<graphics type='{}'><listen type='socket' socket='/tmp/vp'/></graphics>",
    "<graphics type='{}'><listen type='socket'/></graphics>",
    "<graphics type='{}'><listen type='address'/></graphics>",
    "<graphics type='{}' listen='127.0.0.1'/>",
    "<graphics type='{}' listen='127.0.0.1'><listen type='address' address='127.0.0.1'/></graphics>",
)


@pytest.mark.parametrize("priority", [0, 120])
@pytest.mark.parametrize("display", DISPLAYS)
def test_through_define_and_back(embedded_qemu: Any, display: str, priority: int) -> None:
    kind = "spice" if "spice" in display else "vnc"
    for wish in WISHES:
        action = add(devices(wish.format(kind)))
        store = MemoryStore([f"<profile name='p' version='1'>{action}</profile>"])
        round_trip(embedded_qemu, vm(display), {"name": "p", "priority": priority}, store)


@pytest.mark.parametrize("priority", [0, 120])
@pytest.mark.parametrize(
    ("stands", "wanted"),
    [
        ("<listen type='none'/>", "<listen address='127.0.0.1'/>"),
        ("<listen type='none'/>", "<listen network='default'/>"),
        ("<listen type='socket' socket='/tmp/vp'/>", "<listen address='127.0.0.1'/>"),
        ("<listen type='address'/>", "<listen socket='/tmp/vp'/>"),
        ("<listen type='address' address='::1'/>", "<listen network='default'/>"),
    ],
)
def test_what_the_type_does_not_have_is_kept_out_and_reported(
    stands: str, wanted: str, priority: int
) -> None:
    text = vm(f"<graphics type='spice'>{stands}</graphics>")
    action = add(devices(f"<graphics type='spice'>{wanted}</graphics>"))
    store = MemoryStore([f"<profile name='p' version='1'>{action}</profile>"])
    result = virtProfile.apply(text, [{"name": "p", "priority": priority}], store=store)
    assert not result.changes
    (lost,) = result.overridden
    assert lost.path.startswith("/domain/devices/graphics") and "/listen" in lost.path
    assert lost.hint.startswith("listen/@type is '") and lost.hint.endswith("', which excludes it")
