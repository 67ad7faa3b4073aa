# SPDX-License-Identifier: GPL-2.0-or-later
"""Singletons that are repeated: all of them are seen, or the document is refused; libvirt says which it merges."""

from __future__ import annotations

from typing import Any

import pytest
from strategies import MemoryStore
from test_define_roundtrip import add, define, devices, vm

import virtProfile
from virtProfile.errors import InvalidDomainError

RNG = "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"
AGENT = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
#: name -> (document, what libvirt makes of the second)
MERGED = {
    "devices": (
        vm().replace("</devices>", f"</devices><devices>{AGENT}</devices><devices>{RNG}</devices>"),
        "guest_agent",
    ),
    "features": (vm(top="<features><acpi/></features><features><apic/></features>"), "<apic/>"),
    "cputune": (
        vm(top="<cputune><shares>100</shares></cputune><cputune><period>2000</period></cputune>"),
        "<period>2000",
    ),
    "pm": (
        vm(top="<pm><suspend-to-mem enabled='no'/></pm><pm><suspend-to-disk enabled='no'/></pm>"),
        "suspend-to-disk",
    ),
    "memoryBacking": (
        vm(top="<memoryBacking><locked/></memoryBacking><memoryBacking><nosharepages/></memoryBacking>"),
        "nosharepages",
    ),
    "os": (vm().replace("</os>", "</os><os><bootmenu enable='yes'/></os>"), "bootmenu"),
    "features/hyperv": (
        vm(
            top="<features><hyperv><relaxed state='on'/></hyperv><hyperv><vapic state='on'/></hyperv></features>"
        ),
        "vapic",
    ),
}
#: Of these libvirt reads the first, and so does the engine: (document, first value)
FIRST = {
    "memory": (vm().replace("</memory>", "</memory><memory unit='MiB'>256</memory>"), ">524288</memory>"),
    "vcpu": (vm().replace("</vcpu>", "</vcpu><vcpu>4</vcpu>"), ">2</vcpu>"),
    "on_crash": (vm(top="<on_crash>restart</on_crash><on_crash>destroy</on_crash>"), "<on_crash>restart"),
    "iothreads": (vm(top="<iothreads>1</iothreads><iothreads>2</iothreads>"), "<iothreads>1"),
}


def apply(text: str, action: str, priority: int = 0) -> virtProfile.Result:
    store = MemoryStore([f"<profile name='p' version='1'>{action}</profile>"])
    return virtProfile.apply(text, [{"name": "p", "priority": priority}], store=store)


@pytest.mark.parametrize("name", MERGED)
def test_containers_that_libvirt_merges_are_refused(embedded_qemu: Any, name: str) -> None:
    text, second = MERGED[name]
    defined = define(embedded_qemu, text)
    assert second in defined  # so who saw the first only would see half
    for action in (add(devices(AGENT)), add("<vcpu>2</vcpu>")):
        with pytest.raises(InvalidDomainError, match=f"<{name.rpartition('/')[2]}> again"):
            apply(text, action)
    whole = apply(defined, add(devices(AGENT)))
    assert define(embedded_qemu, whole.xml).count("<channel ") == 1


@pytest.mark.parametrize("name", FIRST)
def test_of_values_the_first_counts(embedded_qemu: Any, name: str) -> None:
    text, first = FIRST[name]
    assert first in define(embedded_qemu, text)
    result = apply(text, add(devices(AGENT)))
    assert first in define(embedded_qemu, result.xml)


def test_without_profiles_nothing_is_judged() -> None:
    text = MERGED["devices"][0]
    assert virtProfile.apply(text, store=MemoryStore([])).xml == text


def test_every_repetition_is_named() -> None:
    text = (
        MERGED["devices"][0]
        .replace("<devices>", "\n<devices>")
        .replace("</os>", "</os>\n<os><bootmenu enable='yes'/></os>")
    )
    with pytest.raises(InvalidDomainError) as error:
        apply(text, add("<vcpu>2</vcpu>"))
    assert error.value.message.count(" again in line ") == 3
    assert error.value.where.endswith(":2")
