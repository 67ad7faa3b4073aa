# SPDX-License-Identifier: GPL-2.0-or-later
"""Boot orders of devices beside ``<os><boot>``: libvirt takes one of the two (docs/decisions/0190).

Each way in the definition, the other one wanted: below the definition it is kept out, above it
takes the place of the whole other one; on VMs and sketches, through libvirt's QEMU driver and back.
"""

from __future__ import annotations

from typing import Any

import pytest
from lxml import etree
from strategies import MemoryStore
from test_define_roundtrip import DISK, add, define, devices, round_trip, vm

import virtProfile
from virtProfile.errors import ConflictError

libvirt = pytest.importorskip("libvirt")

ORDERED = DISK.replace("</disk>", "<boot order='1'/></disk>")
NIC = "<interface type='user'><mac address='52:54:00:11:22:33'/><model type='virtio'/>{}</interface>"


def os_boot(*listed: str) -> str:
    return "<os>" + "".join(f"<boot dev='{word}'/>" for word in listed) + "</os>"


def with_list(text: str, *listed: str) -> str:
    return text.replace("</os>", os_boot(*listed)[4:])


BY_OS = "count(os/boot) > 0 and not(devices/*/boot)"
BY_DEVICE = "count(devices/*/boot) > 0 and not(os/boot)"
#: What boots the VM, the VM, and actions that want the other way.
WAYS = {
    "libvirt's own list": (BY_OS, vm(DISK)),
    "a list": (BY_OS, with_list(vm(DISK + NIC.format("")), "network", "hd")),
    "an order": (BY_DEVICE, vm(ORDERED)),
    "two orders": (BY_DEVICE, vm(ORDERED + NIC.format("<boot order='2'/>"))),
}
WANTED = {
    "an order": (BY_DEVICE, add(devices("<disk><boot order='1'/><target dev='sda'/></disk>"))),
    "an order for each": (BY_DEVICE, "<add each='devices/disk'><disk><boot order='{$position}'/></disk></add>"),
    "a device with its order": (BY_DEVICE, add(devices("<hostdev mode='subsystem' type='usb'><source><vendor id='0x1234'/><product id='0xbeef'/></source><boot order='3'/></hostdev>"))),
    "a list": (BY_OS, add(os_boot("network", "cdrom"))),
    "one in the place of a list": (BY_OS, add(os_boot("cdrom"), "no")),
}  # fmt: skip


def cases() -> list[tuple[str, str]]:
    ways = [
        (has, wants, way, other) for has, (way, _) in WAYS.items() for wants, (other, _) in WANTED.items()
    ]
    return [(has, wants) for has, wants, way, other in ways if way != other]


def profile(*actions: str) -> MemoryStore:
    return MemoryStore([f"<profile name='p' version='1'>{''.join(actions)}</profile>"])


def boots(text: str, way: str) -> bool:
    return bool(etree.fromstring(text).xpath(f"boolean({way})"))


@pytest.mark.parametrize("priority", [0, 100])
@pytest.mark.parametrize(("has", "wants"), cases())
def test_one_way_and_no_mixture(embedded_qemu: Any, has: str, wants: str, priority: int) -> None:
    (before, text), (after, action) = WAYS[has], WANTED[wants]
    store, wish = profile(action), {"name": "p", "priority": priority}
    here = define(embedded_qemu, text)
    result = virtProfile.apply(here, [wish], store=store)
    kept = priority == 0
    assert boots(define(embedded_qemu, result.xml), before if kept else after)
    told = [(one.winner, one.hint) for one in result.overridden]
    assert bool(told) == kept and all(winner == "definition" for winner, _ in told)
    if not kept:
        gone = [one for one in result.changes if one.op == "remove"]
        assert gone and all("/boot" in one.path and one.origin.profile == "p" for one in gone)
    round_trip(embedded_qemu, text, wish, store)


@pytest.mark.parametrize("priority", [0, 100])
@pytest.mark.parametrize("wants", WANTED)
def test_a_sketch_that_does_not_say_how_it_boots(embedded_qemu: Any, wants: str, priority: int) -> None:
    way, action = WANTED[wants]
    store = profile(action)
    first = virtProfile.apply(vm(DISK), [{"name": "p", "priority": priority}], store=store)
    defined = define(embedded_qemu, first.xml)
    assert boots(defined, way)
    assert not virtProfile.apply(defined, store=store).changes
    back = define(embedded_qemu, virtProfile.unapply(defined, store=store).xml)
    assert boots(back, "os/boot/@dev = 'hd' and not(devices/*/boot)")


@pytest.mark.parametrize("removes", ["<remove select='devices/*/boot'/>",
                                     "<remove><devices><disk><boot order='1'/></disk></devices></remove>"])  # fmt: skip
def test_an_order_comes_back_and_libvirts_list_goes(embedded_qemu: Any, removes: str) -> None:
    store = profile(removes)
    wish = {"name": "p", "priority": 100}
    first = virtProfile.apply(define(embedded_qemu, vm(ORDERED)), [wish], store=store)
    assert boots(define(embedded_qemu, first.xml), "os/boot/@dev = 'hd' or not(devices/disk)")
    round_trip(embedded_qemu, vm(ORDERED), wish, store)


def test_a_default_leaves_the_other_way_alone() -> None:
    for action, text in (
        ("<default each='devices/disk'><disk><boot order='{$position}'/></disk></default>", with_list(vm(DISK), "hd")),
        ("<default><os><boot dev='network'/></os></default>", vm(ORDERED)),
    ):  # fmt: skip
        result = virtProfile.apply(text, [{"name": "p", "priority": 100}], store=profile(action))
        assert not result.changes and not result.overridden


def test_two_profiles_of_one_priority_conflict() -> None:
    store = MemoryStore(
        [
            f"<profile name='{name}' version='1'>{action}</profile>"
            for name, action in (("a", WANTED["an order"][1]), ("b", WANTED["a list"][1]))
        ]
    )
    with pytest.raises(ConflictError):
        virtProfile.apply(vm(DISK), ["a", "b"], store=store)
    result = virtProfile.apply(vm(DISK), ["a", {"name": "b", "priority": 5}], store=store)
    assert boots(result.xml, BY_OS)
    assert [(one.loser.profile, one.winner.profile) for one in result.overridden] == [("a", "b")]


def test_a_profile_that_wants_both_contradicts_itself() -> None:
    with pytest.raises(ConflictError):
        virtProfile.apply(vm(DISK), ["p"], store=profile(WANTED["an order"][1], WANTED["a list"][1]))


def test_a_profile_whose_order_is_kept_out_has_no_effect() -> None:
    result = virtProfile.apply(
        with_list(vm(DISK), "hd"), ["p"], store=profile(WANTED["an order for each"][1])
    )
    assert [warning.code for warning in result.warnings] == ["no-effect"]
