# SPDX-License-Identifier: GPL-2.0-or-later
"""What libvirt would refuse because of a profile is an error that says so, before it is defined."""

from __future__ import annotations

import re
from typing import Any

import library
import pytest
from strategies import MemoryStore
from test_define_roundtrip import SPICE, add, define, devices, vm, without_bookkeeping

import virtProfile
from virtProfile.errors import CompletionError

libvirt = pytest.importorskip("libvirt")

RNG = "<rng model='virtio'><backend model='random'>/dev/urandom</backend>{}</rng>"
ADDRESS = "<address type='pci' domain='0x0000' bus='{}' slot='{}' function='0x0'/>"
TOPOLOGY = "<cpu mode='host-model'><topology sockets='{}' dies='{}' cores='2' threads='1'/></cpu>"


def apply(text: str, action: str, priority: int = 120) -> virtProfile.Result:
    store = MemoryStore([f"<profile name='p' version='1'>{action}</profile>"])
    return virtProfile.apply(text, [{"name": "p", "priority": priority}], store=store)


def test_a_pci_address_that_is_taken(embedded_qemu: Any) -> None:
    has = RNG.format(ADDRESS.format(0, 5))
    for wanted in ((0, 5), ("0x00", "0x05")):
        with pytest.raises(CompletionError, match="PCI address 0000:00:05.0 of rng is taken by rng"):
            apply(vm(has), add(devices(RNG.format(ADDRESS.format(*wanted))), "yes"))
    free = apply(vm(has), add(devices(RNG.format(ADDRESS.format(0, 6))), "yes"))
    define(embedded_qemu, free.xml)


def test_a_pci_bus_that_is_not_there(embedded_qemu: Any) -> None:
    for text in (vm("<controller type='pci' index='0' model='pcie-root'/>"), define(embedded_qemu, vm())):
        with pytest.raises(CompletionError, match="is on a bus that no controller has"):
            apply(text, add(devices(RNG.format(ADDRESS.format("0x29", 0)))))


def test_an_address_of_the_definition_is_its_own() -> None:
    text = vm(RNG.format(ADDRESS.format("0x29", 0)))
    result = apply(text, add(devices("<rng model='virtio'><rate bytes='1'/></rng>")))
    assert "bus='0x29'" in result.xml


@pytest.mark.parametrize(
    ("vcpu", "has", "action", "fits"),
    [
        (3, "", add(TOPOLOGY.format(2, 1)), False),
        (4, "", add(TOPOLOGY.format(2, 1)), True),
        (4, "", add(TOPOLOGY.format(2, 2)), False),
        (8, "", add(TOPOLOGY.format(2, 2)), True),
        (2, TOPOLOGY.format(1, 1), add("<vcpu>4</vcpu>"), False),
        (2, TOPOLOGY.format(1, 1), add("<vcpu>2</vcpu>"), True),
    ],
)
def test_a_topology_has_as_many_cpus_as_the_guest(
    embedded_qemu: Any, vcpu: int, has: str, action: str, fits: bool
) -> None:
    text = vm(top=has).replace("<vcpu>2<", f"<vcpu>{vcpu}<")
    if fits:
        define(embedded_qemu, apply(text, action).xml)
    else:
        with pytest.raises(CompletionError, match="has [248] CPUs and <vcpu> says"):
            apply(text, action)


def test_what_is_left_of_spice(embedded_qemu: Any) -> None:
    text = define(embedded_qemu, vm(SPICE))
    with pytest.raises(CompletionError, match="which the profile removes") as error:
        apply(text, "<remove><devices><graphics type='spice'/></devices></remove>")
    for part in ("<channel type='spicevmc'/>", "<audio type='spice'/>"):
        assert part in error.value.hint
    whole = (
        "<remove><devices><graphics type='spice'/><channel type='spicevmc'/><audio type='spice'/>"
        "</devices></remove>"
    )
    define(embedded_qemu, apply(text, whole).xml)
    kept = apply(text, "<remove><devices><graphics type='spice'/></devices></remove>", 0)
    assert not kept.changes


VGPU = (
    "<hostdev mode='subsystem' type='mdev' model='vfio-pci' display='on'><source>"
    "<address uuid='53764d0e-85a0-42b4-af5c-2046b460b1dc'/></source></hostdev>"
)


@pytest.mark.parametrize("priority", [0, 120])
def test_what_shows_its_picture_on_the_display(embedded_qemu: Any, priority: int) -> None:
    text = define(embedded_qemu, vm(f"<graphics type='vnc'/>{VGPU}"))
    removes = "<remove><devices><graphics/></devices></remove>"
    if priority:
        with pytest.raises(CompletionError, match="display='on' needs graphics") as error:
            apply(text, removes, priority)
        removes += error.value.hint.partition(": ")[2]
        define(embedded_qemu, apply(text, removes, priority).xml)
    else:
        assert not apply(text, removes, priority).changes
    with pytest.raises(CompletionError, match="display='on' needs graphics"):
        apply(define(embedded_qemu, vm()), add(devices(VGPU)), priority)
    wishes = [library.wish("headless-server", priority=priority)]
    define(embedded_qemu, virtProfile.apply(text, wishes, store=library.store()).xml)


SINCE_ITCO = pytest.mark.skipif(libvirt.getVersion() < 9_001_000, reason="q35 has no watchdog of its own")


@SINCE_ITCO
def test_all_watchdogs_have_one_action(embedded_qemu: Any) -> None:
    text = define(embedded_qemu, vm())
    assert "<watchdog model='itco' action='reset'/>" in text
    more = devices("<watchdog model='i6300esb' action='{}'/>")
    with pytest.raises(CompletionError, match="its action is 'pause', and that of watchdog .*'reset'"):
        apply(text, add(more.format("pause"), "yes"))
    with pytest.raises(libvirt.libvirtError, match="different actions"):
        define(
            embedded_qemu, text.replace("<watchdog", "<watchdog model='i6300esb' action='pause'/><watchdog")
        )
    define(embedded_qemu, apply(text, add(more.format("reset"), "yes")).xml)


@SINCE_ITCO
@pytest.mark.parametrize(("priority", "effective"), [(0, False), (100, True)])
def test_the_watchdog_profile_beside_the_machines_own(
    embedded_qemu: Any, priority: int, effective: bool
) -> None:
    text = define(embedded_qemu, vm())
    wish = {"name": "watchdog", "priority": priority, "params": {"action": "poweroff"}}
    result = virtProfile.apply(text, [wish], store=library.store())
    assert ("i6300esb" in result.xml) == effective
    assert bool(result.overridden) != effective
    defined = define(embedded_qemu, result.xml)
    again = virtProfile.apply(defined, store=library.store())
    assert not again.changes
    back = define(embedded_qemu, virtProfile.unapply(defined, store=library.store()).xml)
    assert without_bookkeeping(back) == without_bookkeeping(text)
    assert "i6300esb" in virtProfile.apply(text, ["watchdog"], store=library.store()).xml


def test_one_host_device_shows_the_boot() -> None:
    card = (
        "<hostdev mode='subsystem' type='mdev' model='vfio-pci' display='on' ramfb='on'><source>"
        "<address uuid='53764d0e-85a0-42b4-af5c-2046b460b1d{}'/></source></hostdev>"
    )
    text = vm(f"<graphics type='vnc'/>{card.format(1)}")
    with pytest.raises(CompletionError, match="one host device can have ramfb='on'"):
        apply(text, add(devices(card.format(2)), "yes"))
    apply(text, add(devices(card.format(2).replace("ramfb='on'", "ramfb='off'")), "yes"))


def test_a_pci_controller_under_a_device_is_not_removed(embedded_qemu: Any) -> None:
    """libvirt fills the gap with a port, which has not the slots of a bridge, and refuses the address."""
    text = define(embedded_qemu, vm("<graphics type='vnc'/><sound model='es1370'/>"))
    bridge = "<controller type='pci' index='2' model='pcie-to-pci-bridge'"
    bare = re.sub(f"{bridge}>.*?</controller>", "", text, flags=re.DOTALL)
    assert bridge in text and bridge not in bare
    with pytest.raises(libvirt.libvirtError, match="Invalid PCI address"):
        embedded_qemu.defineXML(bare)
    with pytest.raises(CompletionError, match="PCI controller 2 is removed, and sound es1370 sits on it"):
        apply(text, f"<remove><devices>{bridge}/></devices></remove>")
    define(
        embedded_qemu,
        apply(text, "<remove><devices><controller index='0' model='pcie-root'/></devices></remove>").xml,
    )


def test_a_port_under_a_device_comes_back_by_itself(embedded_qemu: Any) -> None:
    """Only a port of the root bus: libvirt puts one there again, on that bus."""
    text = define(embedded_qemu, vm(RNG.format("")))
    bus = re.findall("<rng.*?bus='(0x[0-9a-f]+)'", text, re.DOTALL)[0]
    port = f"<controller type='pci' index='{int(bus, 16)}' model='pcie-root-port'/>"
    assert port[:-2] in text
    gone = apply(text, f"<remove><devices>{port}</devices></remove>")
    assert port[:-2] not in gone.xml
    back = define(embedded_qemu, gone.xml)
    assert port[:-2] in back
    assert not apply(back, f"<remove><devices>{port}</devices></remove>").changes
    expander = (
        "<controller type='pci' index='0' model='pcie-root'/>"
        "<controller type='pci' index='1' model='pcie-expander-bus'><target busNr='200'/></controller>"
        "<controller type='pci' index='2' model='pcie-root-port'>"
        "<address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></controller>"
    )
    placed = define(embedded_qemu, vm(expander + RNG.format(ADDRESS.format("0x02", "0x00"))))
    port = "<controller type='pci' index='2' model='pcie-root-port'/>"
    with pytest.raises(CompletionError, match="PCI controller 2 is removed, and rng"):
        apply(placed, f"<remove><devices>{port}</devices></remove>")


VIRTIOFS = (
    "<filesystem type='mount' accessmode='passthrough'><driver type='{}'/><source dir='/tmp'/>"
    "<target dir='share'/></filesystem>"
)
SHARED = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
PRIVATE_CELL = "<cpu><numa><cell id='0' cpus='0-1' memory='512' unit='MiB' memAccess='private'/></numa></cpu>"


@pytest.mark.parametrize(
    ("has", "top", "action"),
    [
        ("", "", add(devices(VIRTIOFS.format("virtiofs")))),
        ("", PRIVATE_CELL, add(SHARED + devices(VIRTIOFS.format("virtiofs")))),
        (VIRTIOFS.format("path"), "", add(devices(VIRTIOFS.format("virtiofs")), "no")),
        (VIRTIOFS.format("virtiofs"), SHARED, "<remove><memoryBacking/></remove>"),
        (VIRTIOFS.format("virtiofs"), SHARED, "<remove select='memoryBacking/access/@mode'/>"),
        (VIRTIOFS.format("virtiofs"), SHARED, add("<memoryBacking><access mode='private'/></memoryBacking>")),
        (VIRTIOFS.format("virtiofs"), SHARED, add(PRIVATE_CELL)),
    ],
    ids=["new", "private cell", "turned", "backing removed", "mode removed", "private", "new cell"],
)
def test_virtiofs_without_shared_memory(embedded_qemu: Any, has: str, top: str, action: str) -> None:
    """libvirt: 'virtiofs' requires shared memory."""
    text = define(embedded_qemu, vm(has, top))
    with pytest.raises(
        CompletionError, match="virtiofs 'share' cannot work: the guest's memory is not shared"
    ):
        apply(text, action)
    with pytest.raises(libvirt.libvirtError, match="requires shared memory"):
        define(embedded_qemu, vm(VIRTIOFS.format("virtiofs")))


def test_virtiofs_with_shared_memory(embedded_qemu: Any) -> None:
    for text, action in (
        (vm(), add(SHARED + devices(VIRTIOFS.format("virtiofs")))),
        (
            vm(VIRTIOFS.format("virtiofs"), SHARED),
            "<remove><memoryBacking><source/></memoryBacking></remove>",
        ),
    ):
        result = apply(define(embedded_qemu, text), action)
        assert result.changes
        define(embedded_qemu, result.xml)
    kept = apply(vm(VIRTIOFS.format("virtiofs")), add("<title>as it was</title>"))
    assert "as it was" in kept.xml  # no profile of ours made it so
