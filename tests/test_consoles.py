# SPDX-License-Identifier: GPL-2.0-or-later
"""The first console of type serial is the first serial port: the second call says what the first one said."""

from __future__ import annotations

from typing import Any

import pytest
from strategies import MemoryStore
from test_define_roundtrip import TCP_SERIAL, add, define, devices, vm

import virtProfile
from virtProfile.errors import ConflictError

NMDM = "<serial type='nmdm'><source master='/dev/nmdm0A' slave='/dev/nmdm0B'/></serial>"
TCP = "<serial type='tcp'><source mode='bind' host='127.0.0.1' service='4555'/></serial>"
UNIX = "<serial type='unix'><source mode='bind' path='/tmp/vp-serial'/></serial>"
CONSOLE = devices("<console><protocol type='telnet'/></console>")


@pytest.mark.parametrize("record", [True, False])
@pytest.mark.parametrize("priority", [0, 120])
@pytest.mark.parametrize("profiles", [False, True], ids=["of the VM", "of a profile"])
@pytest.mark.parametrize("serial", [NMDM, TCP, TCP_SERIAL, UNIX])
def test_a_wish_that_the_port_does_not_have(serial: str, profiles: bool, priority: int, record: bool) -> None:
    """It is lost at the first call and at all later ones, and no console is added again."""
    text = vm("" if profiles else serial)
    store = MemoryStore(
        [
            f"<profile name='p' version='1'>{add(CONSOLE)}</profile>",
            f"<profile name='s' version='1'>{add(devices(serial))}</profile>",
        ]
    )
    if profiles and serial == TCP_SERIAL:
        wishes = [{"name": "p", "priority": priority}, {"name": "s", "priority": priority + 1}]
    else:
        wishes = [{"name": name, "priority": priority} for name in ("p", "s")[: 1 + profiles]]
    first = virtProfile.apply(text, wishes, store=store, record=record)
    assert "protocol" in " ".join(lost.path for lost in first.overridden)
    second = virtProfile.apply(first.xml, wishes, store=store, record=record)
    assert second.xml == first.xml
    assert first.xml.count("<console") == 1 and first.xml.count("telnet") == 0


@pytest.mark.parametrize("record", [True, False])
@pytest.mark.parametrize("serial", [NMDM, TCP_SERIAL])
def test_a_hard_one_is_a_conflict_from_the_first_call_on(serial: str, record: bool) -> None:
    hard = add(CONSOLE).replace("<add ", "<add constraint='hard' ")
    store = MemoryStore([f"<profile name='p' version='1'>{hard}</profile>"])
    both = vm(serial + serial.replace("serial", "console"))
    for text in (vm(serial), both):
        with pytest.raises(ConflictError) as found:
            virtProfile.apply(text, [{"name": "p"}], store=store, record=record)
        assert found.value.conflicts[0].path.endswith("/protocol/@type")


def test_through_define(embedded_qemu: Any) -> None:
    store = MemoryStore([f"<profile name='p' version='1'>{add(CONSOLE)}</profile>"])
    defined = define(embedded_qemu, define(embedded_qemu, vm(TCP_SERIAL)))
    first = virtProfile.apply(defined, [{"name": "p"}], store=store)
    assert not virtProfile.apply(define(embedded_qemu, first.xml), store=store).changes


@pytest.mark.parametrize("record", [True, False])
@pytest.mark.parametrize(
    ("serial", "console"),
    [
        ("<protocol/>", "<protocol type='telnets'/>"),
        ("<source mode='connect' host='a' service='1'/>", "<protocol type='telnet'/>"),
        ("<source mode='connect' host='a'/><protocol/>", "<protocol type='raw'/>"),
    ],
)
def test_a_gap_of_the_console_is_not_filled_at_the_next_call(serial: str, console: str, record: bool) -> None:
    """Without a record the console is the definition's then, and says what the port says."""
    both = f"<serial type='tcp'>{serial}</serial><console>{console}</console>"
    store = MemoryStore([f"<profile name='p'><add><devices>{both}</devices></add></profile>"])
    before = (
        "<domain type='test'><name>a</name><memory>1</memory><os><type>xen</type></os><devices/></domain>"
    )
    once = virtProfile.apply(before, ["p"], store=store, record=record)
    assert virtProfile.apply(once.xml, ["p"], store=store, record=record).xml == once.xml
