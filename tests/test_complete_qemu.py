# SPDX-License-Identifier: GPL-2.0-or-later
"""Completed domains on an embedded QEMU driver: defined, started, nothing added behind our back."""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import corpus
import pytest
import test_corpus
from completing import add, apply, disks, domain, many
from lxml import etree

import virtProfile
from virtProfile.errors import ProfileError
from virtProfile.host.context import Context

libvirt = pytest.importorskip("libvirt")
pytestmark = pytest.mark.slow

#: libvirt's own limit: with PCI addresses written and the bus full it numbers bridges wrongly.
FULL = ("pci-many.xml",)
#: libvirt has to add none of these: what they carry was placed by us.
OURS = ("scsi", "sata", "ide", "fdc")


@pytest.fixture(scope="module")
def qemu(embedded_qemu: Any) -> Any:
    return embedded_qemu


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A directory with small raw images for the names that `disks` gives."""
    place = tmp_path_factory.mktemp("images")
    place.chmod(0o755)
    for prefix in ("sd", "hd", "vd", "fd"):
        for number in range(45):
            name = disks("x", 1, number).partition("dev='sd")[2].partition("'")[0]
            with (place / f"{prefix}{name}.img").open("wb") as stream:
                stream.truncate(1_474_560)
    return str(place)


def written(xml: str) -> Counter[tuple[str, str, str]]:
    found = etree.fromstring(xml.encode()).iterfind("devices/controller")
    return Counter((one.get("type", ""), one.get("index", ""), one.get("model", "")) for one in found)


def start(handle: Any, xml: str) -> str:
    """Define, start, destroy; what libvirt made of the definition."""
    vm = handle.defineXML(xml)
    try:
        made = str(vm.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
        vm.create()
        vm.destroy()
    finally:
        vm.undefine()
    return made


CASES = {
    "sata": lambda there, at: disks("sata", 8, 4, at),
    "ide": lambda there, at: disks("ide", 4 - there, there, at),
    "scsi": lambda there, at: disks("scsi", 30, 4, at),
    "virtio-serial": lambda there, at: many(
        "<channel type='pty'><target type='virtio' name='vp.{}'/></channel>", 40, there
    ),
    "usb": lambda there, at: many("<redirdev bus='usb' type='tcp'><source mode='bind' host='127.0.0.1'"
                                  " service='{}'/></redirdev>", 20, 14_000),
    "mixed": lambda there, at: disks("scsi", 9, 4, at) + disks("sata", 9, 20, at) + "<disk device='cdrom'/>",
}  # fmt: skip


@pytest.mark.parametrize("machine", ["pc", "q35"])
@pytest.mark.parametrize("there", [False, True], ids=["bare", "with-controllers"])
@pytest.mark.parametrize("kind", CASES)
def test_it_starts(qemu: Any, images: str, kind: str, there: bool, machine: str) -> None:
    own = ""
    if there:
        own = (
            disks("scsi", 1, 0, images)
            + disks("sata", 1, 1, images)
            + "<controller type='scsi' index='0' model='virtio-scsi'/>\n"
            + "<controller type='virtio-serial' index='0'/>\n<controller type='usb' index='0' model='qemu-xhci'/>\n"
        )
        own += disks("ide", 1, 0, images) if machine == "pc" else ""
    vm = domain(own, machine, name="vp-d-start")
    wish = add(CASES[kind](int(there), images))
    if kind == "ide" and machine == "q35":
        with pytest.raises(ProfileError, match="machine 'q35' has no ide bus"):
            apply(vm, wish)
        return
    alone = qemu.defineXML(vm)
    known = written(alone.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))  # the VM's own, and the machine's
    alone.undefine()
    result = apply(vm, wish)
    made = written(start(qemu, result.xml))
    known += written(result.xml)
    for one in made:
        if one[0] in OURS:
            assert one[:2] in {other[:2] for other in known}, f"libvirt added {one}"
    if kind == "scsi":
        assert [one for one in made if one[0] == "scsi"] == [("scsi", "0", "virtio-scsi")]


def test_five_ide_are_refused_before_libvirt_refuses(qemu: Any, images: str) -> None:
    vm = domain(machine="pc", name="vp-d-ide")
    with pytest.raises(ProfileError, match="no ide slot is free"):
        apply(vm, add(disks("ide", 5, 0, images)))
    with pytest.raises(libvirt.libvirtError):
        qemu.defineXML(domain(disks("ide", 5, 0, images), "pc", name="vp-d-ide")).undefine()


def test_machine_changes_start(qemu: Any, images: str) -> None:
    from completing import at_priority

    own = (
        disks("ide", 2, 0, images)
        + disks("virtio", 1, 0, images)
        + "<interface type='user'><model type='e1000'/></interface>\n<video><model type='vga'/></video>\n"
    )
    vm = qemu.defineXML(domain(own, "pc", name="vp-d-machine"))
    xml = str(vm.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    vm.undefine()
    there = at_priority(100, xml, "<add><os><type machine='q35'>hvm</type></os></add>")
    made = start(qemu, there.xml)
    assert "pcie-root" in made
    back = at_priority(100, made, "<add><os><type machine='pc'>hvm</type></os></add>")
    assert "model='pci-root'" in start(qemu, back.xml)


def test_needs_start(qemu: Any, images: str) -> None:
    wishes = [
        add(disks("virtio", 2, 0, images).replace("name='qemu'", "name='qemu' iothread='2'")),
        add("<memory model='dimm'><target><size unit='MiB'>128</size></target></memory>"),
        add("<iommu model='intel'><driver intremap='on'/></iommu>"),
    ]
    for wish in wishes:
        start(qemu, apply(domain(name="vp-d-needs"), wish).xml)


def host(handle: Any) -> Context:
    documents = []
    for machine in ("pc", "q35"):
        documents.append(handle.getDomainCapabilities(None, "x86_64", machine, "qemu"))
    return Context(capabilities=(handle.getCapabilities(),), domcapabilities=tuple(documents))


def test_the_designs_full_example_starts(qemu: Any, images: str, tmp_path: Path) -> None:
    import cases

    case = cases.load(cases.DIRECTORY / "design-full.txt")
    sketch = case.domain.replace("type='kvm'", "type='qemu'").replace("/vp.img", f"{images}/sda.img")
    sketch = sketch.replace("<interface/>", "<interface type='user'/>")
    sketch = sketch.replace("<name>vp-full", "<name>vp-d-full")
    store = cases.store_of(case, tmp_path)
    result = virtProfile.apply(sketch, case.call, store=store, complete=True, context=host(qemu))
    assert not [one for one in result.warnings if one.code == "incomplete"]
    small = result.xml.replace("1048576", "131072")
    start(qemu, small)


def test_random_sets_on_the_corpus(qemu: Any, tmp_path: Path) -> None:
    """What was definable stays definable, or the error is ours."""
    seed = int(os.environ.get("VIRT_PROFILE_SEED", "5"))
    print(f"VIRT_PROFILE_SEED={seed}")
    chance = random.Random(seed)
    store = test_corpus.store(tmp_path)
    extra = {
        "scsi": add(disks("scsi", 3, 40)),
        "sata": add(disks("sata", 3, 50)),
        "ide": add(disks("ide", 1, 9)),
        "empty-cdrom": add("<disk device='cdrom'/>"),
        "channel": add("<channel type='pty'><target type='virtio' name='vp.0'/></channel>"),
        "threads": add(disks("virtio", 1, 60).replace("name='qemu'", "name='qemu' iothread='2'")),
        "usb": add("<redirdev bus='usb' type='spicevmc'/>"),
        "queues": "<default><devices><controller type='scsi'><driver queues='2'/></controller></devices></default>",
    }
    for name, text in extra.items():
        (tmp_path / f"{name}.xml").write_text(f"<profile name='{name}'>{text}</profile>")
    store = virtProfile.ProfileStore([tmp_path])
    names = [*test_corpus.PROFILES, *extra]
    sets = [chance.sample(names, chance.randint(1, 5)) for _ in range(100)]
    definable = []
    for path, text in corpus.documents():
        if corpus.is_valid(path) and "qemuxml2argvdata" in str(path) and _defines(qemu, text) is None:
            definable.append((path, text))
    print(f"{len(definable)} definable")
    assert definable
    outcomes: Counter[str] = Counter()
    broken = []
    for number, wishes in enumerate(sets):
        for path, text in definable[number % 10 :: 10]:
            try:
                result = virtProfile.apply(text, wishes, store=store, record=False, context=known(qemu, text))
            except ProfileError as problem:
                outcomes[problem.code] += 1
                continue
            refusal = _defines(qemu, result.xml)
            outcomes["defined" if refusal is None else "refused"] += 1
            if refusal is not None and path.name not in FULL:
                broken.append((path.name, wishes, refusal))
    print(outcomes)
    kinds: dict[str, list[object]] = {}
    for name, wishes, refusal in broken:
        kinds.setdefault("".join(one for one in refusal if not one.isdigit()), []).append((name, wishes))
    for refusal, cases in sorted(kinds.items(), key=lambda one: -len(one[1])):
        print(len(cases), refusal, *cases[:2])
    assert not broken


_known: dict[tuple[str | None, ...], Context] = {}


def known(handle: Any, text: str) -> Context:
    """The domain capabilities of a domain, as a connection gives them."""
    root = etree.fromstring(text.encode())
    kind = root.find("os/type")
    emulator = root.findtext("devices/emulator")
    asked = (emulator, kind.get("arch"), kind.get("machine"), root.get("type"))
    if asked not in _known:
        try:
            _known[asked] = Context(domcapabilities=(handle.getDomainCapabilities(*asked),))
        except libvirt.libvirtError:
            _known[asked] = Context()
    return _known[asked]


def _defines(handle: Any, xml: str) -> str | None:
    """What libvirt says against it; None where it takes it."""
    try:
        vm = handle.defineXML(xml)
    except libvirt.libvirtError as problem:
        return str(problem)
    flags = libvirt.VIR_DOMAIN_UNDEFINE_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    vm.undefineFlags(flags)
    return None
