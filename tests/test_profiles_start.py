# SPDX-License-Identifier: GPL-2.0-or-later
"""Every shipped profile on a real QEMU: defined, and started where this host can.

Slow: an embedded QEMU driver probes for a minute, and each guest really starts,
without KVM as far as the profile allows. What cannot start on a host like CI's is
listed with the reason, and is defined all the same.
"""

from __future__ import annotations

import itertools
import re
import shutil
from pathlib import Path
from typing import Any

import library
import matrix
import pytest
from library import NAMES, apply
from lxml import etree

libvirt = pytest.importorskip("libvirt")

pytestmark = pytest.mark.slow

#: Profiles whose guests need what a host of CI does not have; they are defined.
NOT_STARTED = {
    "gl-desktop": "a render node in /dev/dri",
    "gpu-passthrough": "a GPU behind an IOMMU",
    "hugepages-1g": "a pool of 1 GiB pages",
    "hugepages-2m": "a pool of 2 MiB pages",
    "networking-nfv": "a bridge",
    "realtime": "the right to schedule in real time, and to lock memory",
    "sev": "an EPYC host with SEV",
    "usb-device": "that USB device",
    "windows-virtio-prepare": "a storage pool of the name",
    "virtiofs-share": "user namespaces and virtiofsd's sandbox",
}
#: With KVM alone these do anything; the CPU of a nested host may not be passed on.
KVM = {
    "cpu-host-passthrough",
    "cpu-host-model",
    "nested-virt",
    "like-virt-manager",
    "like-nova",
    "like-ovirt",
    "like-kubevirt",
}
NEEDS = {"tpm-2.0": "swtpm", "windows-11": "swtpm"}


@pytest.fixture(scope="module")
def qemu(embedded_qemu: Any) -> Any:
    return embedded_qemu


def guest(kind: str, image: Path) -> str:
    """A small sketch that can start anywhere: user mode network, an image of a few blocks."""
    with image.open("wb") as stream:
        stream.truncate(1 << 20)
    return (
        library.definition("sketch")
        .replace("'kvm'", f"'{kind}'")
        .replace("<vcpu>4<", "<vcpu>2<")
        .replace("<memory unit='GiB'>4<", "<memory unit='MiB'>256<")
        .replace("/var/lib/libvirt/images/sketch.img", str(image))
        .replace("<interface type='network'>\n      <source network='default'/>", "<interface type='user'>")
        .replace("<devices>", "<os>\n    <type arch='x86_64'>hvm</type>\n  </os>\n  <devices>", 1)
    )


def start(handle: Any, xml: str, *, starts: bool) -> str:
    """Define, start, stop; the definition as libvirt keeps it."""
    domain = handle.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    try:
        if starts:
            domain.create()
            assert domain.isActive()
            domain.destroy()
        return str(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    finally:
        if domain.isActive():
            domain.destroy()
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)


def known(handle: Any) -> Any:
    """What this very host can do."""
    capabilities = (handle.getCapabilities(),)
    documents = []
    for machine in ("pc", "q35"):
        for kind in ("kvm", "qemu"):
            try:
                documents.append(handle.getDomainCapabilities(None, "x86_64", machine, kind, 0))
            except libvirt.libvirtError:
                continue
    return library.Context(capabilities=capabilities, domcapabilities=tuple(documents))


@pytest.mark.parametrize("name", NAMES)
def test_defined_and_started(qemu: Any, tmp_path: Path, name: str) -> None:
    kind = "kvm" if name in KVM else "qemu"
    result = apply(guest(kind, tmp_path / "disk.img"), [name], context=known(qemu))
    starts = name not in NOT_STARTED and kind == "qemu"
    if name in NEEDS and shutil.which(NEEDS[name]) is None:
        starts = False
    kept = start(qemu, result.xml, starts=starts)
    again = apply(kept, [name], context=known(qemu))
    assert not [one for one in again.changes if one.op == "remove"]


@pytest.mark.parametrize("name", ["windows-11", "linux-server", "linux-desktop"])
def test_bundles_without_context(qemu: Any, tmp_path: Path, name: str) -> None:
    """Nobody told what the host can do, and the guest starts all the same."""
    if name in NEEDS and shutil.which(NEEDS[name]) is None:
        pytest.skip(f"no {NEEDS[name]}")
    start(qemu, apply(guest("qemu", tmp_path / "disk.img"), [name]).xml, starts=True)


def test_windows_switches_reach_qemu(qemu: Any, tmp_path: Path) -> None:
    """Every switch of the profile is on QEMU's command line."""
    result = apply(guest("kvm", tmp_path / "disk.img"), ["windows-hyperv"])
    assert "<hyperv>" in result.xml
    try:
        line = qemu.domainXMLToNative("qemu-argv", result.xml, 0)
    except libvirt.libvirtError as problem:
        pytest.skip(f"no KVM: {problem}")
    switches = set(re.findall(r"hv[-_]([a-z_-]+)(?:=|,|\s)", line))
    wanted = {
        *[
            "relaxed",
            "vapic",
            "spinlocks",
            "vpindex",
            "runtime",
            "synic",
            "stimer",
            "stimer-direct",
            "reset",
            "frequencies",
        ],
        *["tlbflush", "ipi", "time"],
    }
    assert wanted <= {one.replace("_", "-") for one in switches}, line


def command_line(name: str) -> str:
    """Of the QEMU process that runs a guest."""
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"-name" in words and words[words.index(b"-name") + 1].startswith(f"guest={name},".encode()):
            return b" ".join(words).decode()
    raise AssertionError(f"no QEMU runs {name}")


def test_windows_starts_under_kvm(qemu: Any, tmp_path: Path) -> None:
    """The running guest has every switch that this host's KVM has, and each other one is told."""
    context = known(qemu)
    if not any("<domain>kvm</domain>" in one for one in context.domcapabilities):
        pytest.skip("no KVM")
    result = apply(guest("kvm", tmp_path / "disk.img"), ["windows-hyperv"], context=context)
    domain = qemu.defineXMLFlags(result.xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    try:
        try:
            domain.create()
        except libvirt.libvirtError as problem:
            pytest.skip(f"no guest starts under KVM: {problem}")
        running = command_line(domain.name())
        domain.destroy()
    finally:
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
    wanted = {one.tag for one in etree.fromstring(result.xml).iterfind("features/hyperv/*")}
    assert wanted
    on = set(re.findall(r"hv-([a-z-]+)=", running))
    assert wanted <= on, running
    left_out = {one for warning in result.warnings if warning.code == "left-out"
                for one in re.findall(r"features '([a-z_]+)'", warning.message)}  # fmt: skip
    for one in ("relaxed", "vapic", "spinlocks", "vpindex", "runtime", "reset", "frequencies"):
        assert (one in wanted) != (one in left_out), one


def test_windows_where_the_host_lacks_some(qemu: Any, tmp_path: Path) -> None:
    """What the host's domain capabilities do not list is left out and told; what is left starts."""
    here = known(qemu)
    if not any("<domain>kvm</domain>" in one for one in here.domcapabilities):
        pytest.skip("no KVM")
    result = apply(guest("kvm", tmp_path / "disk.img"), ["windows-hyperv", "pc"], context=here)
    text = next(one for one in here.domcapabilities if "<domain>kvm<" in one and "i440fx" in one)
    listed = set(re.findall("<value>([a-z_]+)</value>", re.search("(?s)<hyperv .*?</hyperv>", text)[0]))
    given = set(re.findall(r"<([a-z_]+) state='on'", re.search("(?s)<hyperv>.*?</hyperv>", result.xml)[0]))
    assert given - {"direct"} <= listed
    told = {
        one.message.rpartition("'")[0].rpartition("'")[2] for one in result.warnings if one.code == "left-out"
    }
    assert (
        told & {"relaxed", "vapic", "vpindex", "reset"} == {"relaxed", "vapic", "vpindex", "reset"} - listed
    )
    start(qemu, result.xml, starts=True)


@pytest.mark.parametrize("override", [False, True], ids=["", "override"])
def test_vms_that_are_there(qemu: Any, override: bool) -> None:
    """Each profile on VMs that libvirt takes, also where it has its way: libvirt takes them still."""
    documents = dict(library.documents())
    for path in sorted((library.DATA / "bundles").glob("like-*-linux.xml")):
        documents[path.stem] = path.read_text()
    flags = libvirt.VIR_DOMAIN_DEFINE_VALIDATE
    taken = 0
    for document, xml in documents.items():
        try:
            qemu.defineXMLFlags(xml, flags).undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
        except libvirt.libvirtError:
            continue  # a sketch, or of an arch that is not installed
        taken += 1
        for name in NAMES:
            here = known(qemu) if name in matrix.SPECIAL else None
            result = apply(xml, [name], override=override, record=False, context=here)
            try:
                start(qemu, result.xml, starts=False)
            except libvirt.libvirtError as problem:
                problem.add_note(f"{name} on {document}")
                raise
    assert taken >= 6


@pytest.mark.parametrize("base", sorted(matrix.BASES))
def test_every_pair_on_qemu(qemu: Any, base: str) -> None:
    """The whole of ./dev matrix: nothing but what works, and conflicts by design."""
    judge = matrix.Matrix(qemu)
    for pair in itertools.combinations(NAMES, 2):
        judge.outcome(base, pair, True)
    assert judge.bad == []
