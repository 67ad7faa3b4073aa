# SPDX-License-Identifier: GPL-2.0-or-later
"""VMs that once did not come back: each through libvirt's QEMU driver, judged by its right value.

The number in front of a name is that of docs/tests-of-the-round-trip.md, which lists all of them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import library
import pytest
from lxml import etree
from probing import DISCRIMINATORS
from strategies import MemoryStore
from test_define_roundtrip import CELL, DIMM, DISK, SPICE, add, define, devices, round_trip, vm
from test_variants import every_case

import virtProfile
from virtProfile.errors import CompletionError, PolicyError

libvirt = pytest.importorskip("libvirt")

RAW = "<disk type='file' device='disk'><driver name='qemu' type='raw'{}/><source file='/tmp/vp.img'/><target dev='vda' bus='virtio'/></disk>"
CDROM = "<disk type='file' device='cdrom'><source file='/tmp/vp.iso'/><target dev='sdb' bus='sata'/><readonly/></disk>"
NIC = "<interface type='user'><mac address='52:54:00:11:22:33'/><model type='{}'/>{}</interface>"
VNC = "<graphics type='vnc'/><video><model type='virtio'/></video><sound model='ich9'/>"
EPYC = "<cpu mode='custom' match='exact'><model fallback='forbid'>EPYC</model>{}</cpu>"
SVM = "<feature policy='disable' name='svm'/>"
TPM = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"
REDIRECTED = "<redirdev bus='usb' type='spicevmc'/>" * 3


def remove(inner: str) -> str:
    return f"<remove>{inner}</remove>"


def select(path: str) -> str:
    return f'<remove select="{path}"/>'


#: What a VM has, what a profile does at 120 (an action, or the name of a shipped profile), what holds of the
#: VM in libvirt then.
CASES = {
    "1: a DIMM is counted once": (
        vm(),
        add(devices(DIMM.format("dimm", "", ""))),
        "memory = 1048576 and count(devices/memory) = 1",
    ),
    "1: fewer vCPUs at first": (vm(), add("<vcpu current='1'>2</vcpu>"), "vcpu = 2 and vcpu/@current = 1"),
    "1: a balloon below the memory": (
        vm(),
        add("<currentMemory unit='MiB'>256</currentMemory>"),
        "memory = 524288 and currentMemory = 262144",
    ),
    "1: room for more memory": (
        vm(top=CELL),
        add("<maxMemory slots='8' unit='GiB'>8</maxMemory>"),
        "maxMemory = 8388608 and maxMemory/@slots = 8 and memory = 524288",
    ),
    "1: limits of memory": (
        vm(),
        add("<memtune><hard_limit unit='GiB'>2</hard_limit></memtune>"),
        "memtune/hard_limit = 2097152",
    ),
    "1: cells where there were none": (
        vm(),
        add("<cpu><numa><cell id='0' cpus='0-1' memory='1' unit='GiB'/></numa></cpu>"),
        "memory = 1048576 and cpu/numa/cell/@memory = 1048576",
    ),
    "2: from SATA to virtio": (
        vm(DISK),
        add(devices("<disk><target bus='virtio'/></disk>"), "no"),
        "devices/disk[target/@bus = 'virtio']/address/@type = 'pci'",
    ),
    "2: an input from USB to virtio": (
        vm("<input type='tablet' bus='usb'/>"),
        add(devices("<input type='tablet' bus='virtio'/>"), "no"),
        "devices/input[@type = 'tablet'][@bus = 'virtio']/address/@type = 'pci'",
    ),
    "3: a CPU model under host-passthrough": (
        vm(top=EPYC.format(""), kind="kvm"),
        "cpu-host-passthrough",
        "cpu/@mode = 'host-passthrough' and not(cpu/model)",
    ),
    "3: a CPU model with a feature": (
        vm(top=EPYC.format(SVM), kind="kvm"),
        "cpu-host-passthrough",
        "cpu/@mode = 'host-passthrough' and not(cpu/model) and cpu/feature/@name = 'svm'",
    ),
    "4: an alias": (
        vm(machine="pc-q35-7.1"),
        add("<os><type machine='q35'/></os>"),
        "starts-with(os/type/@machine, 'pc-q35-') and os/type/@machine != 'pc-q35-7.1'",
    ),
    "4: another family": (
        vm(DISK, machine="pc"),
        add("<os><type machine='q35'/></os>"),
        "starts-with(os/type/@machine, 'pc-q35-') and devices/controller/@model = 'pcie-root'"
        " and not(devices/controller/@model = 'pci-root')",
    ),
    "5: a desktop without its display": (vm(SPICE), "headless-server", "not(devices/graphics | devices/video)"),
    "5: VNC": (
        vm(VNC),
        remove(devices("<graphics/><sound/><video/>")),
        "not(devices/graphics | devices/sound | devices/video)",
    ),
    "5: a TPM": (vm(TPM), remove(devices("<tpm/>")), "not(devices/tpm)"),
    "5: the balloon": (
        vm("<memballoon model='virtio' autodeflate='on'/>"),
        remove(devices("<memballoon/>")),
        "not(devices/memballoon/@autodeflate)",
    ),
    "5: the USB controller": (
        vm("<controller type='usb' index='0' model='ich9-ehci1'/>"),
        remove(devices("<controller type='usb'/>")),
        "devices/controller[@type = 'usb']/@model != 'ich9-ehci1'",
    ),
    "5: serial port and console": (
        vm("<serial type='file'><source path='/tmp/vp.log'/></serial>"),
        remove(devices("<serial/><console/>")),
        "not(devices/serial | devices/console)",
    ),
    "7: a backend of audio": (
        vm("<sound model='ich9'/><audio id='1' type='oss' tryMMap='yes'/>"),
        add(devices("<audio id='1' type='file' path='/tmp/vp.wav'/>")),
        "devices/audio/@type = 'file' and not(devices/audio/@tryMMap)",
    ),
    "8: one place to listen": (
        vm(SPICE.replace("<graphics type='spice' autoport='yes'/>",
                         "<graphics type='spice' autoport='yes'><listen type='address'/></graphics>")),
        "gl-desktop",
        "count(devices/graphics[@type = 'spice']/listen) <= 1",
    ),
    "17: memory in GiB": (
        vm(memory="<memory unit='GiB'>4</memory>"),
        add("<memory unit='GiB'>8</memory>"),
        "memory = 8388608 and memory/@unit = 'KiB'",
    ),
    "17: a unit alone is not removed": (
        vm(memory="<memory unit='GiB'>4</memory>"),
        remove("<memory unit='GiB'/>"),
        "memory = 4194304",
    ),
    "17: a cell in GiB": (
        vm(top=CELL),
        add("<cpu><numa><cell id='0' memory='1' unit='GiB'/></numa></cpu>"),
        "cpu/numa/cell/@memory = 1048576",
    ),
    "19: the balloon's target": (
        vm(memory="<memory unit='MiB'>512</memory><currentMemory unit='MiB'>256</currentMemory>"),
        remove("<currentMemory/>"),
        "currentMemory = 524288",
    ),
    "19: vCPUs": (vm(), select("vcpu"), "vcpu = 1"),
    "19: a crash": (vm(top="<on_crash>preserve</on_crash>"), select("on_crash"), "on_crash = 'destroy'"),
    "19: a disk's driver": (
        vm(RAW.format(" cache='none' io='native'")),
        select("devices/disk/driver"),
        "not(devices/disk/driver/@cache)",
    ),
    "19: a value of the balloon": (
        vm("<memballoon model='virtio' autodeflate='on'/>"),
        select("devices/memballoon/@autodeflate"),
        "not(devices/memballoon/@autodeflate)",
    ),
    "19: the MAC address": (
        vm(NIC.format("virtio", "")),
        select("devices/interface/mac"),
        "devices/interface/mac/@address != '52:54:00:11:22:33'",
    ),
    "19: a CD": (vm(CDROM), select("devices/disk[@device='cdrom']/source"), "not(devices/disk/source)"),
    "21: the machine": (vm(machine="pc-q35-7.1"), select("os/type/@machine"), "os/type/@machine != 'pc-q35-7.1'"),
    "21: the bus of an input": (
        vm("<input type='tablet' bus='virtio'/>"),
        select("devices/input/@bus"),
        "devices/input[@type = 'tablet']/@bus = 'usb'",
    ),
    "22: the clock of oVirt": (vm(top="<clock offset='utc'/>", kind="kvm"), "like-ovirt", "clock/@offset = 'variable'"),
    "22: the CPU of oVirt": (
        vm(top="<cpu mode='host-passthrough'/>", kind="kvm"),
        "like-ovirt",
        "boolean(cpu/@mode)",
    ),
    "22: a hub": (
        vm("<graphics type='vnc'/><input type='tablet' bus='usb'/>", machine="pc"),
        "spice-desktop",
        "count(devices/redirdev) > 0",
    ),
    "22: hubs that went with their devices": (
        vm(SPICE + REDIRECTED + "<input type='tablet' bus='usb'/><input type='keyboard' bus='usb'/>", machine="pc"),
        remove(devices("<redirdev/>")),
        "not(devices/redirdev)",
    ),
    "22: pages of a size": (
        vm(top="<memoryBacking><hugepages/></memoryBacking>"),
        add("<memoryBacking><hugepages><page size='2' unit='M'/></hugepages></memoryBacking>"),
        "memoryBacking/hugepages/page/@size = 2048",
    ),
    "22: the port of a console": (
        vm("<console type='pty'/>"),
        remove(devices("<console/>")),
        "devices/console/target/@port = 0",  # libvirt's own, of the serial port
    ),
    "22: a card and libvirt's controllers": (
        vm(SPICE),
        remove(devices("<video/><graphics/><sound/><audio/><channel type='spicevmc'/>"))
        + add(devices("<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>")),
        "devices/controller/@type = 'virtio-serial' and not(devices/video)",
    ),
}  # fmt: skip


def profile(action: str) -> MemoryStore:
    return MemoryStore([f"<profile name='p' version='1'>{action}</profile>"])


def needs_kvm(handle: Any, text: str) -> None:
    if "type='kvm'" in text and "<domain type='kvm'" not in handle.getCapabilities():
        pytest.skip("no KVM here")


@pytest.mark.parametrize("name", CASES)
def test_right_value_through_define_and_back(embedded_qemu: Any, name: str) -> None:
    text, action, holds = CASES[name]
    needs_kvm(embedded_qemu, text)
    store: Any = profile(action) if action[:1] == "<" else library.store()
    wish = {"name": "p", "priority": 120} if action[:1] == "<" else library.wish(action, priority=120)
    here = define(embedded_qemu, define(embedded_qemu, text))
    defined = define(embedded_qemu, virtProfile.apply(here, [wish], store=store).xml)
    for _ in range(2):
        assert etree.fromstring(defined).xpath(f"boolean({holds})"), re.sub(
            "(?s)<metadata.*</metadata>", "", defined
        )
        again = virtProfile.apply(defined, store=store)
        assert not again.changes
        defined = define(embedded_qemu, again.xml)
    round_trip(embedded_qemu, text, wish, store)


def test_cells_do_not_change_the_memory_of_the_vm() -> None:
    """1: libvirt would make <memory> the sum of the cells, which no profile below 100 changes."""
    cell = "<cpu><numa><cell id='0' cpus='0-1' memory='{}' unit='MiB'/></numa></cpu>"
    with pytest.raises(CompletionError, match="cells of <numa> have 1048576 KiB and <memory> says 524288"):
        virtProfile.apply(vm(), ["p"], store=profile(add(cell.format(1024))))
    assert virtProfile.apply(vm(), ["p"], store=profile(add(cell.format(512)))).changes


#: A shipped profile and a VM: nothing is ever pending after a define.
SETTLED = [
    (name, text)
    for name in ("headless-server", "linux-server", "high-performance", "linux-desktop", "spice-desktop",
                 "like-virt-manager", "realtime", "like-ovirt")
    for text in (vm(SPICE, kind="kvm"), vm(VNC, kind="kvm"), vm(RAW.format(""), kind="kvm"), vm(machine="pc", kind="kvm"))
]  # fmt: skip


@pytest.mark.parametrize("priority", [0, 120])
@pytest.mark.parametrize(("name", "text"), SETTLED)
def test_nothing_is_pending_for_ever(embedded_qemu: Any, name: str, text: str, priority: int) -> None:
    """23"""
    needs_kvm(embedded_qemu, text)
    round_trip(embedded_qemu, text, library.wish(name, priority=priority), library.store())


def test_windows_11_and_then_virtio_disk(embedded_qemu: Any) -> None:
    """2: the sketch became a VM with a SATA disk; its address goes with the bus."""
    sketch = (
        "<domain type='kvm'><name>vp-roundtrip</name><memory unit='GiB'>4</memory><vcpu>2</vcpu><devices>"
        "<disk type='file' device='disk'><source file='/tmp/vp.img'/></disk></devices></domain>"
    )
    context = library.context(osinfo="win11")
    first = virtProfile.apply(
        sketch, [library.wish("windows-11")], store=library.store(), context=context, complete=True
    )
    text = define(embedded_qemu, first.xml)

    def where(document: str) -> tuple[Any, Any]:
        (disk,) = etree.fromstring(document).xpath("devices/disk[@device = 'disk']")
        return disk.find("target").get("bus"), disk.find("address").get("type")

    assert where(text) == ("sata", "drive")
    wish = library.wish("virtio-disk", priority=100, params={"drivers": "yes"})
    second = virtProfile.apply(text, [wish], store=library.store(), context=context)
    defined = define(embedded_qemu, second.xml)
    assert where(defined) == ("virtio", "pci")
    again = virtProfile.apply(defined, store=library.store(), context=context)
    assert not again.changes
    assert virtProfile.apply(again.xml, store=library.store(), context=context).xml == again.xml
    back = virtProfile.unapply(
        define(embedded_qemu, again.xml), "virtio-disk", store=library.store(), context=context
    )
    assert where(define(embedded_qemu, back.xml)) == ("sata", "drive")
    whole = virtProfile.unapply(defined, store=library.store(), context=context, trust="all")
    assert "<target dev='sda'" in define(embedded_qemu, whole.xml)  # a VM that can be defined (decision 108)


SEV = (
    "<launchSecurity type='sev'><cbitpos>47</cbitpos><reducedPhysBits>1</reducedPhysBits><policy>0x0003</policy>"
    "<dhCert>AAAA</dhCert><session>BBBB</session></launchSecurity>"
)
SNP = "<launchSecurity type='sev-snp'><policy>0x30000</policy></launchSecurity>"


def test_what_sev_loses_is_told_when_it_is_lost() -> None:
    """3: certificate and session are secrets, so no record has them: the first call says what will not come back."""
    text = vm().replace("</domain>", SEV + "</domain>")
    store = profile(add(SNP))
    first = virtProfile.apply(text, [{"name": "p", "priority": 120}], store=store)
    told = " ".join(warning.message for warning in first.warnings if warning.code == "secret")
    assert "dhCert" in told and "session" in told and "cannot put it back" in told
    assert "AAAA" not in first.xml and "BBBB" not in first.xml
    back = virtProfile.unapply(first.xml, store=store)
    (there,) = etree.fromstring(back.xml).iterfind("launchSecurity")
    assert (there.get("type"), there.findtext("policy"), there.findtext("cbitpos")) == ("sev", "0x0003", "47")


AUDIO = "<sound model='ich9'/><audio id='1' type='spice'/><graphics type='spice'/>"


def test_a_lost_backend_of_audio() -> None:
    """6"""
    store = profile(add(devices("<audio id='1' type='pulseaudio' serverName='vp'/>"), "no"))
    result = virtProfile.apply(vm(AUDIO), ["p"], store=store)
    assert not result.changes
    assert [(one.wanted, one.winner) for one in result.overridden] == [("pulseaudio", "definition")]


def test_a_lost_cpu_model() -> None:
    """6: none of the 16 features of x86-64-v3 on a Nehalem."""
    cpu = "<cpu mode='custom' match='exact' check='none'><model fallback='forbid'>Nehalem</model></cpu>"
    result = virtProfile.apply(vm(top=cpu), [library.wish("cpu-baseline-v3")], store=library.store())
    assert not result.changes
    assert result.overridden


@pytest.mark.parametrize("priority", [0, 120])
@pytest.mark.parametrize("name", ["iothreads-per-disk", "high-performance"])
def test_a_disk_that_lists_its_threads(name: str, priority: int) -> None:
    """16: `iothread` beside `<iothreads>` is kept out, and no crash."""
    listed = RAW.format("").replace(
        "type='raw'/>", "type='raw'><iothreads><iothread id='1'/></iothreads></driver>"
    )
    text = vm(listed, "<iothreads>1</iothreads>")
    store = library.store()
    result = virtProfile.apply(text, [library.wish(name, priority=priority)], store=store)
    (driver,) = etree.fromstring(result.xml).iterfind("devices/disk/driver")
    assert (driver.get("iothread") is None) != (driver.find("iothreads") is None)
    if priority == 0:
        assert driver.get("iothread") is None
    assert virtProfile.apply(result.xml, store=store).xml == result.xml
    assert virtProfile.unapply(result.xml, store=store).xml == text


def test_an_edited_profile_of_a_site(embedded_qemu: Any) -> None:
    """11: six VMs have 1.0; the file says 1.1 by now, or is gone."""
    old = "<profile name='mysite' version='{}'>{}</profile>"
    body = add(
        "<memory unit='MiB'>{}</memory>"
        + devices("<rng model='virtio'><backend model='random'>{}</backend></rng>")
    )
    first = MemoryStore([old.format("1.0", body.format(1024, "/dev/random"))])
    edited = MemoryStore([old.format("1.1", body.format(2048, "/dev/urandom"))])
    plain = define(embedded_qemu, vm())
    applied = define(
        embedded_qemu, virtProfile.apply(plain, [{"name": "mysite", "priority": 120}], store=first).xml
    )
    for store in (edited, MemoryStore([])):
        back = etree.fromstring(define(embedded_qemu, virtProfile.unapply(applied, store=store).xml))
        assert back.findtext("memory") == "524288" and back.find("devices/rng") is None
    newer = define(embedded_qemu, virtProfile.upgrade(applied, store=edited).xml)
    root = etree.fromstring(newer)
    assert root.findtext("memory") == "2097152"
    assert [one.text for one in root.iterfind("devices/rng/backend")] == ["/dev/urandom"]
    back = etree.fromstring(define(embedded_qemu, virtProfile.unapply(newer, store=MemoryStore([])).xml))
    assert back.findtext("memory") == "524288" and back.find("devices/rng") is None


def test_boot_order_of_devices_beside_that_of_the_machine(embedded_qemu: Any) -> None:
    """22: libvirt takes one of the two."""
    text = define(embedded_qemu, vm(DISK))
    assert "<boot dev='hd'/>" in text
    order = add(devices("<disk><boot order='1'/><target dev='sda'/></disk>"))
    for priority, orders, listed in ((0, 0, 1), (120, 1, 0)):
        wish = {"name": "p", "priority": priority}
        defined = define(embedded_qemu, virtProfile.apply(text, [wish], store=profile(order)).xml)
        root = etree.fromstring(defined)
        assert (len(root.findall("devices/disk/boot")), len(root.findall("os/boot"))) == (orders, listed)
        round_trip(embedded_qemu, vm(DISK), wish, profile(order))
    both = profile(select("os/boot") + order)
    round_trip(embedded_qemu, vm(DISK), {"name": "p", "priority": 120}, both)


def test_a_record_puts_no_file_where_select_never_led(embedded_qemu: Any) -> None:
    """19: ``select=`` of a CDROM's source confirms nothing of a disk's."""
    text = define(embedded_qemu, vm(CDROM + RAW.format("")))
    store = profile(select("devices/disk[@device='cdrom']/source"))
    first = virtProfile.apply(text, [{"name": "p", "priority": 120}], store=store).xml
    for trust in ("record", "store"):
        assert "vp.iso" in virtProfile.unapply(first, store=store, trust=trust).xml
    forged = first.replace("devices/disk[target/@dev=sdb]", "devices/disk[target/@dev=vda]")
    forged = re.sub("<source file='/tmp/vp.img'[^>]*/>", "", forged)
    assert forged.count("vda") > first.count("vda")
    with pytest.raises(PolicyError, match="the profile cannot have removed it"):
        virtProfile.unapply(forged, store=store, trust="store")


def test_the_list_of_tests_names_tests_that_are_there() -> None:
    tests = Path(__file__).parent
    text = (tests.parent / "docs" / "tests-of-the-round-trip.md").read_text()
    assert [int(number) for number in re.findall(r"(?m)^\| (\d+) \|", text)] == list(range(1, 30))
    named = re.findall(r"`((?:unit/)?test_\w+\.py)(?:::(test_\w+))?`", text)
    assert len(named) > 60
    for file, name in named:
        assert f"def {name}(" in (tests / file).read_text() if name else (tests / file).is_file(), (
            file,
            name,
        )
    listed = set(
        re.findall(
            r"`test_round_trip_instances\.py::test_right_value_through_define_and_back` \((\d+)\)", text
        )
    )
    assert {name.partition(":")[0] for name in CASES} == listed
    (count,) = re.findall(
        r"`test_variants\.py::test_variants` \(([\d,]+) cases: each pair of values of (\d+)", text
    )
    assert count == (f"{len(every_case()):,}", str(len(DISCRIMINATORS)))


def test_twins_that_libvirt_11_adds() -> None:
    """Of an input whose bus a profile took away libvirt 11 resolves the bus too late, and adds the implied ones again."""
    text, action, _ = CASES["21: the bus of an input"]
    store = profile(action)
    implied = ["<input type='mouse' bus='ps2'/>", "<input type='keyboard' bus='ps2'/>"]
    before = text.replace("</devices>", "".join(implied) + "</devices>")
    applied = virtProfile.apply(before, [{"name": "p", "priority": 120}], store=store).xml
    for bare, whole in (
        ("tablet", "usb"),
        ("mouse", "ps2"),
        ("keyboard", "ps2"),
    ):
        applied = applied.replace(f"<input type='{bare}'/>", f"<input type='{bare}' bus='{whole}'/>")
    defined = applied.replace("</devices>", "".join(implied) + "</devices>")
    assert not virtProfile.apply(defined, store=store).changes
    assert virtProfile.unapply(defined, store=store).xml == before
