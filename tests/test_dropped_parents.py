# SPDX-License-Identifier: GPL-2.0-or-later
"""What `select=` empties libvirt drops at define: it comes back whole, under its own name."""

from __future__ import annotations

from typing import Any

import pytest
from strategies import MemoryStore
from test_define_roundtrip import define, round_trip, vm

import virtProfile

libvirt = pytest.importorskip("libvirt")

QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
ARGS = "<qemu:commandline><qemu:arg value='-snapshot'/><qemu:arg value='-no-hpet'/></qemu:commandline>"
BRIDGE = "<interface type='bridge'><mac address='52:54:00:11:22:33'/><source bridge='br0'/>{}</interface>"
DISK = "<disk type='file'><source file='/a'/><target dev='vda' bus='virtio'/><iotune><total_bytes_sec>100</total_bytes_sec></iotune></disk>"


def with_arguments(text: str) -> str:
    return text.replace("<domain ", f"<domain xmlns:qemu='{QEMU}' ").replace("</domain>", ARGS + "</domain>")


CASES = {
    "all arguments of QEMU": (with_arguments(vm()), "qemu:commandline/qemu:arg"),
    "one argument of QEMU": (with_arguments(vm()), "qemu:commandline/qemu:arg[1]"),
    "the command line of QEMU": (with_arguments(vm()), "qemu:commandline"),
    "arguments without the prefix": (with_arguments(vm()), "*[local-name()='commandline']/*"),
    "hugepages": (vm(top="<memoryBacking><hugepages/></memoryBacking>"), "memoryBacking/hugepages"),
    "shares": (vm(top="<cputune><shares>100</shares></cputune>"), "cputune/shares"),
    "a node": (vm(top="<numatune><memory mode='strict' nodeset='0'/></numatune>"), "numatune/memory"),
    "a limit of a disk": (vm(DISK), "devices/disk/iotune/total_bytes_sec"),
    "coalesce": (
        vm(BRIDGE.format("<coalesce><rx><frames max='7'/></rx></coalesce>")),
        "devices/interface/coalesce/rx/frames",
    ),
    "bandwidth": (
        vm(BRIDGE.format("<bandwidth><inbound average='100'/></bandwidth>")),
        "devices/interface/bandwidth/inbound",
    ),
}


def store(select: str) -> MemoryStore:
    return MemoryStore(
        [f"<profile name='p' version='1' xmlns:qemu='{QEMU}'><remove select=\"{select}\"/></profile>"]
    )


@pytest.mark.parametrize("name", CASES)
def test_through_define_and_back(embedded_qemu: Any, name: str) -> None:
    text, select = CASES[name]
    round_trip(embedded_qemu, text, {"name": "p", "priority": 120}, store(select))


@pytest.mark.parametrize("name", CASES)
def test_without_define_the_bytes_come_back(name: str) -> None:
    text, select = CASES[name]
    first = virtProfile.apply(text, [{"name": "p", "priority": 120}], store=store(select))
    assert first.changes
    again = virtProfile.apply(first.xml, store=store(select))
    assert again.xml == first.xml
    assert not again.warnings
    back = virtProfile.unapply(again.xml, store=store(select))
    assert back.xml == text
    assert not back.warnings


def test_the_prefix_of_libvirt_comes_back(embedded_qemu: Any) -> None:
    text, select = CASES["all arguments of QEMU"]
    defined = define(
        embedded_qemu, virtProfile.apply(text, [{"name": "p", "priority": 120}], store=store(select)).xml
    )
    assert "commandline" not in defined.partition("</metadata>")[2]
    back = virtProfile.unapply(defined, store=store(select)).xml
    assert "<qemu:arg value='-no-hpet'/>" in back
