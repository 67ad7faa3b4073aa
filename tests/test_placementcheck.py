# SPDX-License-Identifier: GPL-2.0-or-later
"""What libvirt takes although it does not work, one by one: told where a profile did it."""

from __future__ import annotations

import placing
import pytest
from placing import NFV, add, apply, domain, nic, profile

from virtProfile.errors import CompletionError

TITLE = profile("title", add("<title>something else</title>"))


def expander(index: int, node: int, number: int | None, model: str = "pcie-expander-bus") -> str:
    written = "" if number is None else f" busNr='{number}'"
    return (
        f"<controller type='pci' index='{index}' model='{model}'><target{written}><node>{node}</node></target>"
        "</controller>"
    )


def port(index: int, bus: int, slot: int = 0, model: str = "pcie-root-port") -> str:
    address = f"<address type='pci' bus='0x{bus:02x}' slot='0x{slot:02x}' function='0x0'/>"
    return f"<controller type='pci' index='{index}' model='{model}'>{address}</controller>"


def rng(bus: int, slot: int = 0) -> str:
    return (
        "<rng model='virtio'><backend model='random'>/dev/urandom</backend>"
        f"<address type='pci' bus='0x{bus:02x}' slot='0x{slot:02x}' function='0x0'/></rng>"
    )


def ported(index: int, bus: int, slot: int = 0) -> str:
    """A port and a device on it."""
    return port(index, bus, slot) + rng(index)


#: What is wrong, the machine, the words that tell it, the devices.
WRONG = {
    "same number": (
        "q35",
        "same busNr 254",
        expander(1, 0, 254) + expander(2, 1, 254) + ported(3, 1) + ported(4, 2),
    ),
    "no room for a child": (
        "q35",
        "busNr 253 has no room for 1 buses before 254",
        expander(1, 0, 254) + expander(2, 1, 253) + ported(3, 1) + ported(4, 2),
    ),
    "no room above": (
        "q35",
        "busNr 255 has no room",
        expander(1, 0, 255) + ported(2, 1),
    ),
    "three ports under an automatic number": (
        "q35",
        "busNr 254 has no room for 3 buses before 256.*",
        expander(1, 0, None) + ported(2, 1, 0) + ported(3, 1, 1) + ported(4, 1, 2),
    ),
    "pc's own bridge": (
        "pc",
        "busNr 253 has no room for 1 buses before 254",
        expander(1, 0, 254, "pci-expander-bus") + expander(2, 1, 253, "pci-expander-bus"),
    ),
    "bridge on pc": (
        "pc",
        "busNr 254 has no room for 2 buses",
        expander(1, 0, 254, "pci-expander-bus") + port(2, 1, 1, "pci-bridge"),
    ),
    "order": (
        "q35",
        "controller 1 sits on bus 2, which QEMU makes after it",
        expander(2, 0, 254) + ported(1, 2),
    ),
    "vacant port": (
        "q35",
        "controller 2 belongs to a NUMA node and nothing sits on it",
        expander(1, 0, 254) + port(2, 1) + "<sound model='ich9'/>",
    ),
    "undefined bus on q35": (
        "q35",
        "of rng is on a bus that no controller has",
        expander(1, 0, 254) + ported(2, 1) + rng(10),
    ),
    "undefined bus on pc": (
        "pc",
        "of rng is on a bus that no controller has",
        expander(1, 0, 254, "pci-expander-bus") + rng(10, 1),
    ),
    "node without cell": (
        "q35",
        "controller 1 is of NUMA node 2",
        expander(1, 2, 254) + ported(2, 1),
    ),
    "pci-root full": (
        "pc",
        "30 PCI devices have no address and pci-root has room for 29",
        expander(1, 0, 254, "pci-expander-bus")
        + port(2, 0, 5, "pci-bridge").replace("'pci-bridge'", "'pci-bridge'")
        + "<sound model='ich6'/>" * 29,
    ),
    "vhostuser": (
        "q35",
        "memory is not shared",
        "<interface type='vhostuser'><source type='unix' path='/s' mode='client'/><model type='virtio'/></interface>",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_told_where_a_profile_did_it(what: str) -> None:
    name, words, devices = WRONG[what]
    wrong = profile("wrong", add(f"<devices>{devices}</devices>", "multiple='yes'"))
    with pytest.raises(CompletionError, match=words) as caught:
        apply(domain(name), wrong)
    assert caught.value.where == "p1.xml:1"
    assert caught.value.hint


@pytest.mark.parametrize("what", WRONG)
def test_a_definition_that_was_so_is_left(what: str) -> None:
    name, _, devices = WRONG[what]
    xml = domain(name, devices)
    assert "<title>" in apply(xml, TITLE).xml


RIGHT = {
    "room": ("q35", expander(1, 0, 252) + ported(2, 1, 0) + ported(3, 1, 1) + ported(4, 1, 2)),
    "numbers by libvirt": ("q35", expander(1, 0, None) + expander(2, 1, None) + ported(3, 1) + ported(4, 2)),
    "vacant port on the root": ("q35", expander(1, 0, 254) + ported(2, 1) + port(3, 0, 4)),
    "vacant port and no device to go there": ("q35", expander(1, 0, 254) + port(2, 1)),
    "almost full": (
        "pc",
        expander(1, 0, 254, "pci-expander-bus") + port(2, 0, 5, "pci-bridge") + "<sound model='ich6'/>" * 28,
    ),
    "a bridge before the expander has room": (
        "pc",
        port(1, 0, 5, "pci-bridge") + expander(2, 0, 254, "pci-expander-bus") + "<sound model='ich6'/>" * 50,
    ),
    "full without expander": ("pc", "<sound model='ich6'/>" * 40),
}


@pytest.mark.parametrize("what", RIGHT)
def test_what_works_is_not_told(what: str) -> None:
    name, devices = RIGHT[what]
    apply(domain(name), profile("right", add(f"<devices>{devices}</devices>", "multiple='yes'")))


VHOSTUSER = profile(
    "vhostuser",
    add("<devices><interface type='vhostuser' virtuned:numa-node='1'><source type='unix' path='/s' mode='client'/>"
        "<model type='virtio'/></interface></devices>"),
)  # fmt: skip
SHARED = profile(
    "shared", add("<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>")
)
CELLS = profile(
    "cells",
    add("<cpu><numa><cell id='0' memAccess='shared'/><cell id='1' memAccess='shared'/></numa></cpu>"),
)


def test_shared_memory() -> None:
    chosen: tuple[str, ...]
    for chosen in ((VHOSTUSER, SHARED), (SHARED, VHOSTUSER), (VHOSTUSER, CELLS)):
        assert placing.Seen(apply(domain(), *chosen).xml).nodes() == [1]
    private = CELLS.replace("<cell id='1' memAccess='shared'/>", "<cell id='1' memAccess='private'/>")
    for chosen in ((VHOSTUSER,), (VHOSTUSER, private), (VHOSTUSER, SHARED, private)):
        with pytest.raises(CompletionError, match="not shared"):
            apply(domain(), *chosen)
    with pytest.raises(CompletionError, match="not shared"):
        apply(domain(numa=0), VHOSTUSER)
    apply(domain(numa=0), VHOSTUSER, SHARED)


def test_a_device_taken_from_its_port() -> None:
    xml = domain(devices=expander(1, 0, 254) + ported(2, 1) + "<sound model='ich9'/>")
    gone = profile("gone", "<remove><devices><rng/></devices></remove>")
    with pytest.raises(CompletionError, match="nothing sits on it"):
        apply(xml, gone, priorities={"gone": 100})


def test_full_because_of_a_placement() -> None:
    """The expander itself needs a slot of pci-root too."""
    for count, fits in ((29, True), (30, False)):
        xml = domain("pc", "<sound model='ich6'/>" * (count - 1))
        if fits:
            assert placing.Seen(apply(xml, NFV).xml).nodes() == [1]
            continue
        apply(xml, profile("n", add(nic(node=None))))
        with pytest.raises(CompletionError, match="has room for 30"):
            apply(xml.replace("</devices>", "<sound model='ich6'/></devices>"), NFV)


@pytest.mark.parametrize("count", [29, 30])
def test_full_with_an_expander_of_the_definition(count: int) -> None:
    full = expander(1, 0, 254, "pci-expander-bus") + "<sound model='ich6'/>" * count
    apply(domain("pc", full), profile("n", add(nic(node=None))))


def test_what_a_profile_wants_too_is_the_definitions() -> None:
    wrong = (
        WRONG["same number"][2] + nic(node=None, more="<address type='pci' bus='0x05' slot='0x00'/>")[9:-10]
    )
    xml = domain(devices=wrong + port(5, 2, 1))
    result = apply(xml, NFV, TITLE, record=False)
    assert [one.path for one in result.changes] == ["/domain/title"]
    assert not result.overridden


def test_all_at_once() -> None:
    devices = WRONG["same number"][2] + rng(10)
    wrong = profile("wrong", add(f"<devices>{devices}</devices>", "multiple='yes'"))
    with pytest.raises(CompletionError) as caught:
        apply(domain(), wrong)
    assert "bus 10" in caught.value.others[-1].message
