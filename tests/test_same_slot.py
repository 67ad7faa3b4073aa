# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices that profiles want in one PCI slot: on each machine, beside what is there, through libvirt and back."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import strategies
from lxml import etree
from placing import add, apply, cells, domain, profile
from test_define_roundtrip import round_trip
from test_invariants import leaves

import virtProfile
from virtProfile.authoring.lint import lint_text
from virtProfile.errors import CompletionError, ConflictError, ProfileError
from virtProfile.language.store import ProfileStore

MACHINES = [("pc", "x86_64"), ("q35", "x86_64"), ("virt", "aarch64")]
SPARE = (
    "<controller type='pci' index='0' model='pcie-root'/>"
    "<controller type='pci' index='1' model='pcie-root-port'>"
    "<address type='pci' bus='0x00' slot='0x02' function='0x0'/></controller>"
    "<controller type='pci' index='2' model='pcie-root-port'>"
    "<address type='pci' bus='0x00' slot='0x03' function='0x0'/></controller>"
)


def gpu(function: int, bus: int = 1, more: str = "", intent: str = "gpu") -> str:
    wish = f" virtuned:same-slot='{intent}'" if intent else ""
    return (
        f"<hostdev mode='subsystem' type='pci'{wish}{more}><source><address domain='0x0000' bus='0x{bus:02x}'"
        f" slot='0x00' function='0x{function}'/></source></hostdev>"
    )


def on(node: int) -> str:
    return f" virtuned:numa-node='{node}'"


def gpus(functions: int, name: str = "gpu", bus: int = 1, more: str = "") -> str:
    inner = "".join(gpu(number, bus, more, name) for number in range(functions))
    return profile(name, add(f"<devices>{inner}</devices>"))


def places(xml: str, tag: str = "hostdev") -> list[tuple[int, int, int, str | None] | None]:
    """Bus, slot, function and multifunction of each."""
    found: list[tuple[int, int, int, str | None] | None] = []
    for device in etree.fromstring(xml.encode()).findall(f"devices/{tag}"):
        address = device.find("address[@type='pci']")
        found.append(
            None
            if address is None
            else (
                *(int(address.get(name, "0"), 0) for name in ("bus", "slot", "function")),
                address.get("multifunction"),
            )
        )
    return found


def is_one_device(rows: Any) -> bool:
    """Are these the functions of one slot, from 0 on, and says the first so?"""
    return (
        len({row[:2] for row in rows}) == 1
        and [row[2] for row in rows] == list(range(len(rows)))
        and [row[3] for row in rows] == ["on", *[None] * (len(rows) - 1)]
    )


@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize("there", ["", SPARE, "<interface type='user'><model type='virtio'/></interface>"])
@pytest.mark.parametrize("record", [True, False])
@pytest.mark.parametrize(("name", "arch"), MACHINES)
def test_one_slot(name: str, arch: str, record: bool, there: str, count: int) -> None:
    if name == "pc" and there == SPARE:
        there = "<sound model='ich6'><address type='pci' bus='0x00' slot='0x1f' function='0x0'/></sound>"
    xml = domain(name, there, arch=arch, numa=0)
    once = apply(xml, gpus(count), record=record)
    assert is_one_device(places(once.xml))
    assert not once.overridden
    taken = [row for tag in ("sound", "interface", "controller") for row in places(once.xml, tag) if row]
    bus, slot = places(once.xml)[0][:2]
    assert (bus, slot) not in [row[:2] for row in taken]
    ports = once.xml.count("pcie-root-port") if not record else None
    if ports is not None:
        assert ports == (0 if name == "pc" else 2 if there == SPARE else 1)
    twice = apply(once.xml, gpus(count), record=record)
    assert twice.xml == once.xml
    assert not twice.changed
    if record:
        back = virtProfile.unapply(once.xml, store=strategies.MemoryStore([gpus(count)]))
        assert leaves(back.xml) == leaves(xml)


@pytest.mark.parametrize("name", ["pc", "q35"])
def test_two_slots_in_any_order(name: str) -> None:
    texts = [gpus(2, "a", 1), gpus(3, "b", 2)]
    results = {apply(domain(name, numa=0), *some, record=False).xml for some in itertools.permutations(texts)}
    assert len(results) == 1
    rows = places(results.pop())
    assert is_one_device(rows[:2])
    assert is_one_device(rows[2:])
    assert rows[0][:2] != rows[2][:2]


def test_two_profiles_fill_one_slot() -> None:
    """Who goes takes its function along; the others keep the slot."""
    one = profile("one", add(f"<devices>{gpu(0)}</devices>"))
    two = profile("two", add(f"<devices>{gpu(1)}</devices>"))
    both = apply(domain(numa=0), one, two)
    assert is_one_device(places(both.xml))
    left = virtProfile.unapply(both.xml, ["two"], store=strategies.MemoryStore([one, two]))
    assert places(left.xml) == [None]
    assert "pcie-root-port" not in left.xml


def test_alone_is_no_place() -> None:
    once = apply(domain(numa=0), gpus(1), record=False)
    assert places(once.xml) == [None]
    assert "controller" not in once.xml
    assert not once.overridden


@pytest.mark.parametrize("name", ["pc", "q35"])
def test_on_a_node(name: str) -> None:
    wish = profile("gpu", add(f"<devices>{gpu(0, more=on(1))}{gpu(1)}{gpu(2)}</devices>"))
    once = apply(domain(name), wish)
    rows = places(once.xml)
    assert is_one_device(rows)
    assert once.xml.count("<node>1</node>") >= 1
    assert apply(once.xml, wish).xml == once.xml
    back = virtProfile.unapply(once.xml, store=strategies.MemoryStore([wish]))
    assert leaves(back.xml) == leaves(domain(name))


def test_two_nodes_are_an_error() -> None:
    wish = profile(
        "gpu",
        add(f"<devices>{gpu(0, more=on(1))}{gpu(1, more=on(0))}</devices>"),
    )
    with pytest.raises(CompletionError, match="NUMA nodes 0 and 1 at once"):
        apply(domain(), wish)


@pytest.mark.parametrize("name", ["pc", "q35"])
def test_an_address_stays(name: str) -> None:
    at = "<address type='pci' domain='0x0000' bus='0x00' slot='0x09' function='0x0'/></hostdev>"
    there = gpu(0, intent="").replace("</hostdev>", at)
    once = apply(domain(name, there, numa=0), gpus(3), record=False)
    rows = places(once.xml)
    assert rows[0] == (0, 9, 0, None)
    assert is_one_device(rows[1:])
    (lost,) = once.overridden
    assert (lost.wanted, lost.has, lost.winner) == ("same-slot gpu", "0000:00:09.0", "definition")
    with pytest.raises(ConflictError, match="same-slot gpu"):
        hard = gpus(3).replace("<add ", "<add constraint='hard' ")
        apply(domain(name, there, numa=0), hard, record=False)


def test_where_it_is_already() -> None:
    once = apply(domain(numa=0), gpus(3), record=False).xml
    again = apply(once, gpus(3, "other").replace("same-slot='other'", "same-slot='x'"), record=False)
    assert again.xml == once
    assert not again.overridden


@pytest.mark.parametrize(
    ("words", "wish"),
    [
        ("9 devices|8 devices", gpus(8).replace("<devices>", f"<devices>{gpu(0, 2)}")),
        ("cannot share a slot", profile("p", add(f"<devices><disk virtuned:same-slot='gpu'><source file='/a'/>"
                                                 f"<target dev='sda' bus='sata'/></disk>{gpu(0)}</devices>"))),
    ],
)  # fmt: skip
def test_impossible(words: str, wish: str) -> None:
    with pytest.raises(CompletionError, match=words):
        apply(domain(numa=0), wish)


def test_a_full_bus() -> None:
    full = "".join(
        f"<sound model='ich6'><address type='pci' bus='0x00' slot='0x{slot:02x}' function='0x0'/></sound>"
        for slot in range(2, 32)
    )
    with pytest.raises(CompletionError, match="all slots of PCI bus 0 are taken"):
        apply(domain("pc", full, numa=0), gpus(2))


def test_a_machine_that_nobody_knows() -> None:
    """The devices are added; that they share no slot is said."""
    for machine in ("isapc", "pseries"):
        once = apply(domain(machine, numa=0), gpus(2), record=False)
        assert places(once.xml) == [None, None]
        assert "free slot is not known" in once.overridden[0].hint


@pytest.mark.parametrize("text", ["", "  ", "x" * 101])
def test_no_name(text: str) -> None:
    wrong = gpus(2).replace("same-slot='gpu'", f"same-slot='{text}'")
    assert [one for one in lint_text(wrong, "p.xml") if "is not a name" in one.message]
    working = profile(
        "p", f"<param name='w' default='{text}'/>", add(f"<devices>{gpu(0, intent='{$w}')}</devices>")
    )
    with pytest.raises(ProfileError, match="is not a name|gives nothing"):
        apply(domain(numa=0), working)


def vm(machine: str, devices: str) -> str:
    return (
        "<domain type='qemu'><name>vp-slot</name><uuid>7d1b1c0c-98b1-4b23-9d2e-0000000000fe</uuid>"
        f"<memory unit='MiB'>512</memory><vcpu>2</vcpu>{cells(2)[cells(2).index('<cpu>') :]}"
        f"<os><type arch='x86_64' machine='{machine}'>hvm</type></os>"
        f"<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{devices}</devices></domain>"
    )


THERE = {
    "bare": "",
    "NIC, disk and display": "<interface type='user'><model type='virtio'/></interface>"
    "<disk type='file' device='disk'><source file='/nowhere/a.img'/><target dev='vda' bus='virtio'/></disk>"
    "<graphics type='vnc'/><video><model type='virtio'/></video>",
    "function 0": gpu(0, intent=""),
    "another GPU": gpu(0, 7, intent=""),
}


@pytest.mark.parametrize("there", THERE)
@pytest.mark.parametrize("machine", ["pc", "q35"])
@pytest.mark.parametrize("node", [None, 1])
def test_through_libvirt_and_back(embedded_qemu: Any, machine: str, there: str, node: int | None) -> None:
    more = "" if node is None else on(node)
    store = strategies.MemoryStore([gpus(4, more=more)])
    round_trip(embedded_qemu, vm(machine, THERE[there]), {"name": "gpu", "priority": 120}, store)


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_the_shipped_profile(embedded_qemu: Any, machine: str) -> None:
    """A GPU with four functions, and a second one with two."""
    store = ProfileStore([str(Path(__file__).parent.parent / "profiles")])
    wish = {"name": "gpu-passthrough", "params": {"address": "0a:00", "functions": "0-3"}}
    text = vm(machine, THERE["NIC, disk and display"])
    round_trip(embedded_qemu, text, wish, store)
    second = {**wish, "params": {"address": "0b:00.0", "functions": "0-1"}, "instance": "b"}
    both = virtProfile.apply(text, [wish, second], store=store)
    rows = places(both.xml)
    assert is_one_device(rows[:4])
    assert is_one_device(rows[4:])
