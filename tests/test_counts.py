# SPDX-License-Identifier: GPL-2.0-or-later
"""Fewer vCPUs or I/O threads: what speaks of those that are gone goes with them, and comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from strategies import MemoryStore
from test_define_roundtrip import add, define, round_trip

import virtProfile
from virtProfile.errors import CompletionError
from virtProfile.language.store import ProfileStore

libvirt = pytest.importorskip("libvirt")

VCPUS = "".join(f"<vcpu id='{number}' enabled='yes' hotpluggable='no'/>" for number in range(4))
FEWER = add("<vcpu>2</vcpu>")
FEWER_THREADS = add("<iothreads>2</iothreads>")


def vm(more: str, vcpu: str = "<vcpu>4</vcpu>", before: str = "") -> str:
    return (
        "<domain type='qemu'><name>vp-counts</name><uuid>7d1b1c0c-98b1-4b23-9d2e-0000000000fd</uuid>"
        f"<memory unit='MiB'>512</memory>{vcpu}{before}<iothreads>4</iothreads>{more}"
        "<os><type arch='x86_64' machine='q35'>hvm</type></os>"
        "<devices><emulator>/usr/bin/qemu-system-x86_64</emulator></devices></domain>"
    )


def tune(inner: str) -> str:
    return vm(f"<cputune>{inner}</cputune>")


#: What a profile does, the VM, and the XPath that has to hold then.
CASES = {
    "pins": (
        FEWER,
        tune("<vcpupin vcpu='1' cpuset='0'/><vcpupin vcpu='3' cpuset='0'/>"),
        "cputune[count(vcpupin) = 1]/vcpupin[@vcpu = 1]",
    ),
    "the only pin": (FEWER, tune("<vcpupin vcpu='3' cpuset='0'/>"), "not(cputune/vcpupin)"),
    "schedulers": (
        FEWER,
        tune("<vcpusched vcpus='1-3' scheduler='fifo' priority='1'/>"),
        "not(cputune/vcpusched[@vcpus = 3])",
    ),
    "cache": (
        FEWER,
        tune("<cachetune vcpus='2-3'><monitor level='3' vcpus='2-3'/></cachetune>"),
        "not(cputune/cachetune)",
    ),
    "bandwidth of memory": (
        FEWER,
        tune("<memorytune vcpus='2-3'><node id='0' bandwidth='10'/></memorytune>"),
        "not(cputune/memorytune)",
    ),
    "a list of vCPUs": (FEWER, vm("", before=f"<vcpus>{VCPUS}</vcpus>"), "count(vcpus/vcpu) = 2"),
    "vCPUs at the start": (
        FEWER,
        vm("", "<vcpu current='3'>4</vcpu>"),
        "vcpu = 2 and not(vcpu/@current > 2)",
    ),
    "pins of threads": (
        FEWER_THREADS,
        tune("<iothreadpin iothread='2' cpuset='0'/><iothreadpin iothread='4' cpuset='0'/>"),
        "cputune[count(iothreadpin) = 1]/iothreadpin[@iothread = 2]",
    ),
    "schedulers of threads": (
        FEWER_THREADS,
        tune("<iothreadsched iothreads='4' scheduler='fifo' priority='1'/>"),
        "not(cputune/iothreadsched)",
    ),
    "a listed thread": (
        "<remove><iothreadids><iothread id='7'/></iothreadids></remove>",
        vm(
            "<iothreadids><iothread id='1'/><iothread id='2'/><iothread id='3'/><iothread id='7'/></iothreadids>"
            "<cputune><iothreadpin iothread='7' cpuset='0'/></cputune>"
        ),
        "not(cputune/iothreadpin)",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_through_define_and_back(embedded_qemu: Any, name: str) -> None:
    action, text, holds = CASES[name]
    if "tune vcpus" in text:  # libvirt has these for KVM alone
        if "<domain type='kvm'" not in embedded_qemu.getCapabilities():
            pytest.skip("no KVM here")
        text = text.replace("type='qemu'", "type='kvm'", 1)
    store = MemoryStore([f"<profile name='p' version='1'>{action}</profile>"])
    wish = {"name": "p", "priority": 120}
    round_trip(embedded_qemu, text, wish, store)
    defined = define(embedded_qemu, virtProfile.apply(define(embedded_qemu, text), [wish], store=store).xml)
    assert etree.fromstring(defined).xpath(f"boolean({holds})"), defined
    assert not virtProfile.apply(text, [{"name": "p"}], store=store).changes


@pytest.mark.parametrize("trust", ["record", "store"])
@pytest.mark.parametrize("name", CASES)
def test_a_service_takes_it_back_too(name: str, trust: str, tmp_path: Path) -> None:
    """The record of what goes with the number is what the profile does (SPEC 10)."""
    action, text, _ = CASES[name]
    (tmp_path / "p.xml").write_text(f"<profile name='p' version='1'>{action}</profile>")
    store = ProfileStore([str(tmp_path)])
    once = virtProfile.apply(text, [{"name": "p", "priority": 120}], store=store)
    assert once.changes
    back = virtProfile.unapply(once.xml, store=store, trust=trust)
    assert etree.canonicalize(back.xml) == etree.canonicalize(text)


def test_cells_have_the_guests_cpus() -> None:
    text = vm(
        "<cpu><numa><cell id='0' cpus='0-1' memory='262144' unit='KiB'/>"
        "<cell id='1' cpus='2-3' memory='262144' unit='KiB'/></numa></cpu>"
    )
    store = MemoryStore([f"<profile name='p' version='1'>{FEWER}</profile>"])
    with pytest.raises(CompletionError, match="the cells of <numa> have CPU 3 and <vcpu> says 2"):
        virtProfile.apply(text, [{"name": "p", "priority": 120}], store=store)
