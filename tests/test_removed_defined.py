# SPDX-License-Identifier: GPL-2.0-or-later
"""Parts of defined VMs that a profile removes above the definition: through a define and back.

Generated: each element and each attribute of the VMs here and of libvirt's own test documents, once for
each kind of thing that it stands on. Either it settles and comes back, or the engine says before what
libvirt needs. What libvirt refuses nevertheless is listed by its message.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from lxml import etree
from strategies import MemoryStore
from test_define_roundtrip import DISK, VMS, define, vm, without_bookkeeping
from test_lives import definable, meant

import virtProfile
from virtProfile.errors import InvalidDomainError, ProfileError

libvirt = pytest.importorskip("libvirt")

SEED = os.environ.get("VIRT_PROFILE_SEED", "1")
SAMPLE = 100
#: What says which kind of thing an element is.
KIND = ("type", "mode", "device", "model", "bus")
#: Of the domain itself: its name and what identifies it.
WHOLE = {"metadata", "name", "uuid", "devices"}
#: What libvirt says of removals that nobody foresees: addresses of others, and what only one host has.
FORESEEN_BY_NOBODY = (
    "Invalid PCI address",
    "Attempted double use of PCI Address",
    "Duplicate USB controllers",
    "Multiple 'scsi' controllers",
    "there is no hub at port",
    "Hostdev already exists",
    "storage format 'fat'",
    "encryption is supported only with",
    "Invalid bus type 'fdc'",
    "Missing source service attribute",
    "No master USB controller",
    "Missing USB bus",
    "must be 0 for controller model",
    "Found duplicate drive address",
    "requested USB port",
    "NVRAM is not permitted",
    "storage type 'dir' requires",
    "can't be accessed in read-write mode",
    "must have PCI address",
    "all vcpus must have either set or unset order",
    "can't be offline",
    "non-existent NUMA node cache",
    "Duplicate info for NUMA",
    "a PCI slot is needed",
    "address not supported for video type",
    "the cause is unknown",  # a bug of libvirt 9.0: the variables of a network source without it
)


class Case:
    """One part of one VM."""

    def __init__(self, name: str, text: str, select: str) -> None:
        self.name = name
        self.text = text
        self.select = select


def way(element: Any) -> str:
    """The steps to an element, for ``select=``."""
    steps = []
    while element.getparent() is not None:
        like = element.getparent().findall(element.tag)
        steps.append(element.tag + (f"[{like.index(element) + 1}]" if len(like) > 1 else ""))
        element = element.getparent()
    return "/".join(reversed(steps))


def kind(element: Any) -> tuple[Any, ...]:
    return tuple((name, element.get(name)) for name in KIND)


def parts(name: str, text: str, seen: set[tuple[Any, ...]]) -> Iterator[Case]:
    """The parts of a VM of which no other had the like."""
    root = etree.fromstring(text.encode())
    for element in root.iter("*"):
        above = [other.tag for other in element.iterancestors()]
        if not above or "metadata" in above or element.tag[:1] == "{":
            continue
        if len(above) == 1 and element.tag in WHOLE:
            continue
        for slot in ("", *element.attrib):
            said = element.get(slot) if slot in KIND else None
            key = (*above, element.tag, slot, kind(element.getparent()), kind(element), said)
            if key not in seen:
                seen.add(key)
                yield Case(name, text, way(element) + (f"/@{slot}" if slot else ""))


def every_case(handle: Any) -> list[Case]:
    seen: set[tuple[Any, ...]] = set()
    documents = {name: define(handle, define(handle, text)) for name, text in VMS.items()}
    documents |= {f"corpus {number}": text for number, text in enumerate(definable(handle))}
    return [case for name, text in documents.items() for case in parts(name, text, seen)]


def run(handle: Any, case: Case) -> str:
    """Remove it, define, check, take back, define.

    :raises AssertionError: it is not as it has to be
    """
    store = MemoryStore([f'<profile name="p" version="1"><remove select="{case.select}"/></profile>'])
    try:
        first = virtProfile.apply(case.text, [{"name": "p", "priority": 120}], store=store)
    except ProfileError as problem:
        assert problem.code in ("invalid-domain", "completion"), problem
        return "refused by the engine"
    assert virtProfile.apply(first.xml, store=store).xml == first.xml, "I2"
    assert meant(virtProfile.unapply(first.xml, store=store).xml) == meant(case.text), "I7"
    try:
        defined = define(handle, first.xml)
    except libvirt.libvirtError as problem:
        if any(words in str(problem) for words in FORESEEN_BY_NOBODY):
            return "refused by libvirt"
        raise
    again = virtProfile.apply(defined, store=store)
    assert not again.changes, ("pending", [str(change) for change in again.changes][:2])
    back = define(handle, virtProfile.unapply(define(handle, again.xml), store=store).xml)
    before, after = without_bookkeeping(define(handle, case.text)), without_bookkeeping(back)
    assert before == after, (list((before - after).items())[:3], list((after - before).items())[:3])
    return "through libvirt and back"


def removals(handle: Any, cases: list[Case]) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    failed = []
    for case in cases:
        try:
            outcomes[run(handle, case)] += 1
        except (AssertionError, ProfileError, libvirt.libvirtError) as problem:
            failed.append(f"{case.name} {case.select}: {type(problem).__name__} {str(problem)[:300]}")
    print(f"{len(cases)} removals: {dict(outcomes)}, {len(failed)} failed")
    assert not failed, f"{len(failed)} of {len(cases)}:\n" + "\n".join(failed[:40])
    return outcomes


#: Parts that are known to come back otherwise, by the end of their path, with the cause.
KNOWN = {
    "cpu/@mode": "the check and model of another mode are libvirt's",
    "cookies/cookie": "no record holds a secret",
    "graphics/@passwd": "no record holds a secret",
    "graphics": "audio of the type none is added where no display has one of its own",
    "console/target": "a console that becomes the serial one gets a serial port",
    "serial/target": "a serial port that becomes the console gets one",
    "seclabel/@relabel": "without one it is the driver of the host that counts, and none here drops the type",
    "cookies": "no record holds a secret",
    "loader/@stateless": "libvirt fills in all of the firmware that it chooses",
    "loader/@secure": "libvirt fills in all of the firmware that it chooses",
    "memory": "the memory of DIMMs counts, and so does what the VM starts with",
    "video/model": "what takes the place of ramfb gets an address",
    "controller/@index": "libvirt numbers the controllers of a master by their order",
    "cell/distances": "libvirt fills in those of the other cells",
    "interface/model": "what only virtio has goes with it at the define",
    "channel/address": "libvirt puts it on the first controller",
    "serial/source/@mode": "of two sources one is left, which is the wrong one",
    "filesystem/driver/@type": "what is of one driver goes with it at the define",
    "console/target/@type": "a console that becomes the serial one gets a serial port",
    "seclabel/@model": "without one it is the driver of the host that counts, and none here drops the type",
}


def without_known(cases: list[Case]) -> list[Case]:
    plain = {case: "/".join(step.partition("[")[0] for step in case.select.split("/")) for case in cases}
    return [case for case in cases if not plain[case].endswith(tuple(KNOWN))]


def test_a_sample(embedded_qemu: Any) -> None:
    cases = without_known(every_case(embedded_qemu))
    if len(cases) < SAMPLE:
        pytest.skip("no corpus")
    outcomes = removals(embedded_qemu, random.Random(SEED).sample(cases, SAMPLE))
    assert outcomes["through libvirt and back"] > SAMPLE / 3


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_all(embedded_qemu: Any, part: int) -> None:
    removals(embedded_qemu, without_known(every_case(embedded_qemu))[part::10])


CDROM = "<disk type='{}' device='{}'><source {}</source><target dev='{}' bus='{}'/></disk>"
HTTP = "protocol='http' name='x'><host name='a' port='80'/>"
NIC = "<interface type='user'><mac address='52:54:00:11:22:33'/><model type='{}'/></interface>"
#: What was once not so: (VM, action)
INSTANCES = {
    **{
        f"{slot} of {display}": (vm(display), f"<remove select='devices/graphics/@{slot}'/>")
        for slot in ("autoport", "port", "listen")
        for display in (
            "<graphics type='spice' port='5901' autoport='no'/>",
            "<graphics type='spice' autoport='yes' listen='0.0.0.0'/>",
            "<graphics type='vnc' port='5901'/>",
            "<graphics type='vnc' listen='127.0.0.1'/>",
        )
    },
    **{
        f"the model {model} of a NIC": (vm(NIC.format(model)), "<remove select='devices/interface/model'/>")
        for model in ("virtio", "e1000", "rtl8139")
    },
    "a balloon by its model": (
        vm(),
        "<remove><devices><memballoon model='virtio'/></devices></remove>",
    ),
    "the medium of a block drive": (
        vm(CDROM.format("block", "cdrom", "dev='/dev/sr0'>", "sda", "sata")),
        "<remove select='devices/disk/source'/>",
    ),
    "the device of a block drive": (
        vm(CDROM.format("block", "cdrom", "dev='/dev/sr0'>", "sda", "sata")),
        "<remove select='devices/disk/source/@dev'/>",
    ),
    "the medium on a web server": (
        vm(CDROM.format("network", "cdrom", HTTP, "sda", "sata")),
        "<remove select='devices/disk/source'/>",
    ),
    "the floppy": (
        vm(CDROM.format("block", "floppy", "dev='/dev/fd0'>", "fda", "fdc"), machine="pc"),
        "<remove select='devices/disk/source'/>",
    ),
    "the bus of a SCSI disk": (
        vm(DISK.replace("sata", "scsi")),
        "<remove select='devices/disk/target/@bus'/>",
    ),
    "the model of a USB controller": (
        vm(machine="pc"),
        "<remove select=\"devices/controller[@type='usb']/@model\"/>",
    ),
    "all that is said of a driver": (
        vm("<memballoon model='virtio'><driver iommu='on' ats='on'/></memballoon>"),
        "<remove select='devices/memballoon/driver/@*'/>",
    ),
    "a serial port on a socket": (
        vm("<serial type='unix'><source mode='bind' path='/tmp/vp-serial'/></serial>"),
        "<remove select='devices/serial'/>",
    ),
}


@pytest.mark.parametrize("name", INSTANCES)
def test_through_define_and_back(embedded_qemu: Any, name: str) -> None:
    text, action = INSTANCES[name]
    text = define(embedded_qemu, define(embedded_qemu, text))
    store = MemoryStore([f"<profile name='p' version='1'>{action}</profile>"])
    first = virtProfile.apply(text, [{"name": "p", "priority": 120}], store=store)
    assert virtProfile.apply(first.xml, store=store).xml == first.xml
    assert meant(virtProfile.unapply(first.xml, store=store).xml) == meant(text)
    again = virtProfile.apply(define(embedded_qemu, first.xml), store=store)
    assert not again.changes
    back = define(embedded_qemu, virtProfile.unapply(define(embedded_qemu, again.xml), store=store).xml)
    assert without_bookkeeping(back) == without_bookkeeping(text)


NEEDED = {
    "name": "the name",
    "memory": "the size of the memory",
    "os": "the type of the operating system",
    "devices/disk/source": "the source or its type of disk sda",
    "devices/disk/source/@file": "the source or its type of disk sda",
    "devices/disk/target": "target of disk sda",
    "devices/disk/target/@dev": "target/@dev of disk sda",
    "devices/memballoon/@model": "@model of memballoon virtio",
    "vcpu/text()": "vcpu/text()",
}


@pytest.mark.parametrize("select", NEEDED)
def test_what_libvirt_needs_is_said_before(embedded_qemu: Any, select: str) -> None:
    text = define(embedded_qemu, vm(DISK))
    store = MemoryStore([f"<profile name='p' version='1'><remove select='{select}'/></profile>"])
    with pytest.raises(InvalidDomainError) as found:
        virtProfile.apply(text, [{"name": "p", "priority": 120}], store=store)
    assert found.value.message == f"'p' removes {NEEDED[select]}, which libvirt needs to define the domain"
    assert found.value.where == "p1.xml:1"
    below = virtProfile.apply(text, [{"name": "p", "priority": 50}], store=store)
    assert not below.changes and below.overridden


def test_what_was_not_there_is_not_asked_for() -> None:
    """A sketch may lack what a profile removes nothing of."""
    sketch = "<domain type='kvm'><name>a</name><devices><disk type='file'><driver name='qemu' cache='none'/><target dev='vda'/></disk></devices></domain>"
    store = MemoryStore(["<profile name='p'><remove select='devices/disk/driver/@cache'/></profile>"])
    result = virtProfile.apply(sketch, [{"name": "p", "priority": 120}], store=store)
    assert "cache" not in result.xml.partition("</metadata>")[2]


def test_what_another_profile_gives_is_there(embedded_qemu: Any) -> None:
    text = define(embedded_qemu, vm())
    store = MemoryStore(
        [
            "<profile name='p'><remove select='memory'/></profile>",
            "<profile name='q'><add><cpu><numa><cell id='0' cpus='0-1' memory='262144'/></numa></cpu></add></profile>",
        ]
    )
    wishes = [{"name": "p", "priority": 120}, {"name": "q", "priority": 0}]
    assert "<memory" not in virtProfile.apply(text, wishes, store=store).xml.partition("</metadata>")[2]
