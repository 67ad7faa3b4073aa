# SPDX-License-Identifier: GPL-2.0-or-later
"""Single cases of variants by their right value: a lost discriminator, one that is overridden."""

from __future__ import annotations

from typing import Any

import pytest
from lxml import etree
from strategies import MemoryStore
from test_lifecycle import meaning

import virtProfile
from virtProfile.errors import InvalidDomainError

DOMAIN = (
    "<domain type='kvm'><name>vp</name><memory unit='MiB'>512</memory><vcpu>2</vcpu>{}"
    "<os><type arch='x86_64' machine='{}'>hvm</type></os>{}<devices>{}</devices></domain>"
)
DISK = "<disk type='file' device='disk'><driver name='qemu' type='raw'{}/><source file='/vp.img'/><target dev='{}' bus='{}'/></disk>"
NIC = "<interface type='{}'><mac address='52:54:00:11:22:33'/>{}<model type='{}'/>{}</interface>"
FS = "<filesystem type='mount' accessmode='passthrough'><driver type='{}'{}/><source dir='/tmp'/><target dir='vp'/></filesystem>"


def domain(devices: str = "", top: str = "", before: str = "", machine: str = "q35") -> str:
    return DOMAIN.format(before, machine, top, devices)


def store_of(inner: str, kind: str = "add multiple='no'") -> MemoryStore:
    return MemoryStore([f"<profile name='p' version='1'><{kind}>{inner}</{kind.split()[0]}></profile>"])


def devices(inner: str) -> str:
    return f"<devices>{inner}</devices>"


def apply(text: str, inner: str, priority: int) -> Any:
    """Applied twice, taken back, and what came of the first."""
    store = store_of(inner)
    result = virtProfile.apply(text, [{"name": "p", "priority": priority}], store=store)
    assert virtProfile.apply(result.xml, store=store).xml == result.xml
    assert virtProfile.unapply(result.xml, store=store).xml == text
    return result


#: The definition, what a profile wants at priority 0, and the discriminator that it loses.
LOST = {
    "memballoon": (
        domain("<memballoon model='none'/>"),
        devices("<memballoon model='virtio' autodeflate='on'><stats period='5'/></memballoon>"),
        "memballoon/@model",
    ),
    "video": (
        domain("<video><model type='none'/></video>"),
        devices("<video><model type='virtio' heads='2'/></video>"),
        "model/@type",
    ),
    "filesystem": (
        domain(FS.format("path", "")),
        devices(FS.format("virtiofs", " queue='1024'")),
        "driver/@type",
    ),
    "disk bus": (
        domain(DISK.format("", "sda", "sata"), before="<iothreads>1</iothreads>"),
        devices("<disk><driver queues='4' iothread='1'/><target dev='sda' bus='virtio'/></disk>"),
        "target/@bus",
    ),
    "input": (
        domain("<input type='mouse' bus='ps2'/>"),
        devices("<input type='mouse' bus='virtio' model='virtio'/>"),
        "/@bus",
    ),
    "usb controller": (
        domain("<controller type='usb' index='0' model='piix3-uhci'/>", machine="pc"),
        devices("<controller type='usb' index='0' model='qemu-xhci' ports='15'/>"),
        "controller[@type='usb'][@index='0']/@model",
    ),
    "NIC model": (
        domain(NIC.format("user", "", "e1000e", "")),
        devices(
            "<interface><mac address='52:54:00:11:22:33'/><model type='virtio'/><driver name='vhost' queues='4'/></interface>"
        ),
        "model/@type",
    ),
    "cpu host-model": (
        domain(top="<cpu mode='host-model'/>"),
        "<cpu mode='host-passthrough' check='none' migratable='on'/>",
        "cpu/@mode",
    ),
    "cpu model": (
        domain(top="<cpu mode='custom' match='exact'><model fallback='forbid'>Nehalem</model></cpu>"),
        "<cpu mode='custom' match='exact'><model>qemu64</model><feature policy='require' name='avx'/>"
        "<feature policy='require' name='bmi1'/></cpu>",
        "cpu/model",
    ),
    "launchSecurity": (
        domain(top="").replace("</domain>", "<launchSecurity type='tdx'/></domain>"),
        "<launchSecurity type='sev'><cbitpos>47</cbitpos><reducedPhysBits>1</reducedPhysBits><policy>0x0003</policy>"
        "<session>AAAA</session></launchSecurity>",
        "launchSecurity/@type",
    ),
    "hyperv": (
        domain(top="<features><hyperv mode='passthrough'/></features>"),
        "<features><hyperv mode='custom'><relaxed state='on'/><vapic state='on'/><spinlocks state='on' retries='8191'/>"
        "</hyperv></features>",
        "features/hyperv/@mode",
    ),
}


@pytest.mark.parametrize("name", LOST)
def test_what_depends_on_a_lost_discriminator_is_lost(name: str) -> None:
    """One override, and nothing of the other variant is written (SPEC 4)."""
    text, wish, discriminator = LOST[name]
    result = apply(text, wish, 0)
    assert not result.changes, [str(change.path) for change in result.changes]
    assert [lost.path.endswith(discriminator) for lost in result.overridden] == [True], result.overridden


def test_what_the_definition_cannot_have_is_kept_by_it() -> None:
    """Without a word of the discriminator: no priority makes an autodeflating 'none'."""
    text = domain("<memballoon model='none'/>")
    for priority in (0, 120):
        result = apply(text, devices("<memballoon autodeflate='on'/>"), priority)
        assert not result.changes
        assert [lost.wanted for lost in result.overridden] == ["on"]
    store = store_of(devices("<memballoon autodeflate='on'/>"), "default")
    result = virtProfile.apply(text, ["p"], store=store)
    assert not result.changes and not result.overridden


def test_hyperv_features_without_the_mode() -> None:
    """Not a raw message of the schema, but what the definition keeps."""
    text = domain(top="<features><hyperv mode='passthrough'/></features>")
    result = apply(text, "<features><hyperv><relaxed state='on'/><vapic state='on'/></hyperv></features>", 0)
    assert not result.changes
    assert result.overridden


#: The definition, what a profile wants at priority 100, what has to be gone, and what is there.
OVERRIDDEN = {
    "migratable": (
        domain(top="<cpu mode='host-passthrough' migratable='on'/>"),
        "<cpu mode='host-model'/>",
        "cpu/@migratable",
        "cpu[@mode='host-model']",
    ),
    "usb ports": (
        domain("<controller type='usb' index='0' model='qemu-xhci' ports='15'/>"),
        devices("<controller type='usb' index='0' model='ich9-ehci1'/>"),
        "devices/controller/@ports",
        "devices/controller[@model='ich9-ehci1']",
    ),
    "disk auth": (
        domain(
            "<disk type='network' device='disk'><driver name='qemu' type='raw'/><auth username='vp'><secret type='ceph' usage='vp'/></auth>"
            "<source protocol='rbd' name='vp/1'><host name='192.0.2.1' port='6789'/></source><target dev='vda' bus='virtio'/></disk>"
        ),
        devices("<disk type='file'><source file='/vp.img'/><target dev='vda'/></disk>"),
        "devices/disk/auth | devices/disk/source/host | devices/disk/source/@protocol",
        "devices/disk[@type='file']/source[@file='/vp.img']",
    ),
    "vlan": (
        domain(
            before="<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>", devices=NIC.format("bridge", "<source bridge='br0'/>", "virtio", "<vlan><tag id='42'/></vlan>")),
        devices(NIC.format("vhostuser", "<source type='unix' path='/tmp/vp.sock' mode='client'/>", "virtio", "")),
        "devices/interface/vlan | devices/interface/source/@bridge",
        "devices/interface[@type='vhostuser']/source[@path='/tmp/vp.sock']",
    ),
    "second source": (
        domain(
            "<serial type='udp'><source mode='bind' host='127.0.0.1' service='1'/><source mode='connect' host='127.0.0.1' service='2'/>"
            "<target type='isa-serial' port='0'/></serial>"
        ),
        devices("<serial type='file'><source path='/tmp/vp.log'/><target type='isa-serial' port='0'/></serial>"),
        "devices/serial/source[2] | devices/serial/source/@host",
        "devices/serial[@type='file']/source[@path='/tmp/vp.log']",
    ),
    "memory pages": (
        domain(before="<memoryBacking><hugepages/><allocation mode='immediate'/></memoryBacking>"),
        "<memoryBacking><allocation mode='ondemand'/></memoryBacking>",
        "memoryBacking/hugepages",
        "memoryBacking/allocation[@mode='ondemand']",
    ),
    "driver of a NIC": (
        domain(NIC.format("user", "", "virtio", "<driver name='vhost' queues='4'/>")),
        devices("<interface><mac address='52:54:00:11:22:33'/><model type='e1000e'/></interface>"),
        "devices/interface/driver",
        "devices/interface/model[@type='e1000e']",
    ),
    "ACPI index of a disk": (
        domain(DISK.format("", "vda", "virtio").replace("</disk>", "<acpi index='7'/></disk>")),
        devices("<disk><target dev='vda' bus='scsi'/></disk>"),
        "devices/disk/acpi",
        "devices/disk/target[@bus='scsi']",
    ),
    "cache of the host's CPU": (
        domain(top="<cpu mode='host-passthrough'><cache mode='passthrough'/></cpu>"),
        "<cpu mode='host-model'/>",
        "cpu/cache",
        "cpu[@mode='host-model']",
    ),
    "iothread of a disk": (
        domain(DISK.format(" iothread='1' queues='2'", "vda", "virtio"), before="<iothreads>1</iothreads>"),
        devices("<disk><target dev='vda' bus='sata'/></disk>"),
        "devices/disk/driver/@iothread | devices/disk/driver/@queues",
        "devices/disk/target[@bus='sata']",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_what_only_the_old_variant_allows_is_dropped(name: str) -> None:
    """Each drop is reported as a change, and all of it comes back (SPEC 4)."""
    text, wish, gone, there = OVERRIDDEN[name]
    assert etree.fromstring(text).xpath(gone)
    result = apply(text, wish, 100)
    root = etree.fromstring(result.xml)
    assert not root.xpath(gone)
    assert root.xpath(there)
    assert not result.overridden
    assert any(change.op == "remove" for change in result.changes)
    kept = apply(text, wish, 0)
    assert etree.fromstring(kept.xml).xpath(gone)


def test_a_variant_does_not_drop_what_a_stronger_profile_wants() -> None:
    """The discriminator is lost to what stands in its way."""
    text = domain(DISK.format("", "vda", "virtio"), before="<iothreads>1</iothreads>")
    store = MemoryStore([
        "<profile name='threads' version='1'><add><devices><disk><driver iothread='1'/><target dev='vda'/></disk></devices></add></profile>",
        "<profile name='sata' version='1'><add><devices><disk><target dev='vda' bus='sata'/></disk></devices></add></profile>",
    ])  # fmt: skip
    wishes = [{"name": "threads", "priority": 150}, {"name": "sata", "priority": 120}]
    result = virtProfile.apply(text, wishes, store=store)
    (disk,) = etree.fromstring(result.xml).iterfind("devices/disk")
    assert disk.find("driver").get("iothread") == "1" and disk.find("target").get("bus") == "virtio"
    assert [(lost.wanted, lost.loser.profile) for lost in result.overridden] == [("sata", "sata")]


RBD = (
    "<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='rbd' name='vp/1'>"
    "<host name='192.0.2.1' port='6789'/></source><target dev='vda' bus='virtio'/></disk>"
)
#: What a device cannot be without: the definition, and what a profile selects and removes.
NEEDED = {
    "the source of an interface": (
        domain(NIC.format("network", "<source network='default'/>", "virtio", "")),
        "devices/interface/source",
    ),
    "the address of a host device": (
        domain(
            "<hostdev mode='subsystem' type='pci' managed='yes'><source>"
            "<address domain='0x0000' bus='0x07' slot='0x10' function='0x0'/></source></hostdev>"
        ),
        "devices/hostdev/source/address",
    ),
    "the source of a network disk": (domain(RBD), "devices/disk/source"),
    "the format of a backing store": (
        domain(
            "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/vp.img'/>"
            "<backingStore type='file'><format type='raw'/><source file='/b.img'/></backingStore>"
            "<target dev='vda' bus='virtio'/></disk>"
        ),
        "devices/disk/backingStore/format",
    ),
}


@pytest.mark.parametrize("name", NEEDED)
def test_what_a_device_needs_is_not_removed_in_silence(name: str) -> None:
    """Valid in, valid out, or an error that names the profile (I5)."""
    text, select = NEEDED[name]
    store = MemoryStore([f"<profile name='p' version='1'><remove select='{select}'/></profile>"])
    with pytest.raises(InvalidDomainError, match="'p' removes .*, which libvirt needs to define") as found:
        virtProfile.apply(text, [{"name": "p", "priority": 120}], store=store)
    assert found.value.where == "p1.xml:1"


#: A discriminator that a profile selects and removes, with an address that falls with it.
UNSAID = {
    "the bus of an input": (
        domain("<input type='tablet' bus='usb'><address type='usb' bus='0' port='1'/></input>"),
        "devices/input/@bus",
        "devices/input/address",
    ),
    "the machine": (
        domain(
            "<controller type='pci' index='0' model='pcie-root'/><memballoon model='virtio'>"
            "<address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></memballoon>"
        ),
        "os/type/@machine",
        "devices/memballoon/address | devices/controller",
    ),
}


@pytest.mark.parametrize("trust", ["record", "store"])
@pytest.mark.parametrize("name", UNSAID)
def test_what_follows_from_a_removed_discriminator_comes_back(name: str, trust: str) -> None:
    text, select, gone = UNSAID[name]
    store = MemoryStore([f"<profile name='p' version='1'><remove select='{select}'/></profile>"])
    result = virtProfile.apply(text, [{"name": "p", "priority": 120}], store=store)
    assert not etree.fromstring(result.xml).xpath(gone)
    back = virtProfile.unapply(result.xml, store=store, trust=trust)
    assert meaning(back.xml) == meaning(text)


def test_from_sev_to_sev_snp_and_back() -> None:
    """A value that both have is one value: it stays, or is the profile's, and comes back."""
    sev = "<launchSecurity type='sev'><cbitpos>47</cbitpos><reducedPhysBits>1</reducedPhysBits><policy>0x0003</policy></launchSecurity>"
    text = domain(top="").replace("</domain>", sev + "</domain>")
    for wanted, has in (("", "47"), ("<cbitpos>51</cbitpos>", "51")):
        snp = f"<launchSecurity type='sev-snp'>{wanted}<policy>0x30000</policy><idBlock>AAAA</idBlock></launchSecurity>"
        store = store_of(snp)
        result = virtProfile.apply(text, [{"name": "p", "priority": 120}], store=store)
        root = etree.fromstring(result.xml)
        assert root.findtext("launchSecurity/cbitpos") == has
        assert root.find("launchSecurity").get("type") == "sev-snp"
        assert virtProfile.apply(result.xml, store=store).xml == result.xml
        assert virtProfile.unapply(result.xml, store=store).xml == text


def test_what_the_vm_had_beside_its_variant_comes_back() -> None:
    """utc takes 'reset' as adjustment, though a number is of 'variable' only."""
    clock = "<clock offset='utc' adjustment='reset'/>"
    text = domain(top=clock)
    store = store_of("<clock offset='variable' adjustment='0'/>")
    first = virtProfile.apply(text, [{"name": "p", "priority": 120}], store=store).xml
    assert virtProfile.apply(first, store=store).xml == first
    assert virtProfile.unapply(first, store=store).xml == text


PASST = "<backend type='passt'/>"
SOCKET = "<source type='unix' path='/tmp/vp.sock' mode='client'/>"
UPLINK = "<source dev='eth42'/>"
PORTS = "<portForward proto='tcp'><range start='2022' to='22'/></portForward>"
SHARED = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
NO_TYPE = "<interface><mac address='52:54:00:11:22:33'/>{}</interface>"


@pytest.mark.parametrize("inner", [PASST, UPLINK + PASST], ids=["", "with an uplink"])
def test_passt_makes_its_own_socket(inner: str) -> None:
    """What libvirt drops beside a value in an element that was not there is the record's to keep (libvirt 11.3)."""
    text = domain(NIC.format("vhostuser", SOCKET, "virtio", ""), before=SHARED)
    wish = devices(NO_TYPE.format(inner))
    result = apply(text, wish, 100)
    interface = etree.fromstring(result.xml).find("devices/interface")
    assert interface.find("backend").get("type") == "passt"
    assert not interface.xpath("source/@path | source/@type | source/@mode")
    assert interface.xpath("string(source/@dev)") == ("eth42" if UPLINK in inner else "")
    weak = apply(text, wish, 0)
    assert not weak.changes
    assert any("source/@" in lost.hint for lost in weak.overridden), weak.overridden


@pytest.mark.parametrize("kind", ["user", "vhostuser"])
def test_what_passt_alone_has(kind: str) -> None:
    """The host's interface and the ports are kept beside passt, with any type that has it, and lost without."""
    for inner in (UPLINK, PORTS):
        wish = devices(NO_TYPE.format(inner))
        kept = apply(domain(NIC.format(kind, "", "virtio", PASST), before=SHARED), wish, 0)
        assert kept.changes and not kept.overridden
        for priority in (0, 120):
            lost = apply(domain(NIC.format(kind, "", "virtio", ""), before=SHARED), wish, priority)
            assert not lost.changes
            assert ["without backend/@type 'passt'" in loss.hint for loss in lost.overridden] == [True]


def test_another_type_keeps_what_passt_has() -> None:
    text = domain(NIC.format("user", UPLINK + PORTS, "virtio", PASST), before=SHARED)
    root = etree.fromstring(apply(text, devices(NIC.format("vhostuser", "", "virtio", "")), 120).xml)
    assert root.xpath("devices/interface[@type='vhostuser'][source/@dev][portForward]")
    bridge = NIC.format("bridge", "<source bridge='br0'/>", "virtio", "")
    root = etree.fromstring(apply(text, devices(bridge), 120).xml)
    assert root.xpath("devices/interface[@type='bridge'][source/@bridge][not(portForward)]")


def test_a_member_that_the_variant_does_not_allow_is_not_added() -> None:
    """Of what there may be several, too: libvirt refuses the addresses of a bridge's interface."""
    text = domain(NIC.format("bridge", "<source bridge='br0'/>", "virtio", ""))
    result = apply(text, devices(NO_TYPE.format("<ip address='192.0.2.9' family='ipv4' prefix='24'/>")), 120)
    assert not result.changes
    assert [loss.path.rpartition("/")[2] for loss in result.overridden] == ["ip"]


#: A device, a wish that makes it another one, and one for what only that other one has.
OTHER_THING = {
    "queues of a NIC": (
        "<interface type='network'><mac address='52:54:00:11:22:33'/><source network='n'/><model type='e1000'/></interface>",
        "<interface><mac address='52:54:00:11:22:33'/><model type='virtio'/></interface>",
        "<interface><mac address='52:54:00:11:22:33'/><driver queues='2'/></interface>",
    ),
    "queues of a disk": (
        "<disk type='file' device='disk'><source file='/a'/><target dev='vda' bus='sata'/></disk>",
        "<disk><target dev='vda' bus='virtio'/></disk>",
        "<disk><target dev='vda'/><driver queues='2'/></disk>",
    ),
    "a balloon that deflates": (
        "<memballoon model='none'/>",
        "<memballoon model='virtio'/>",
        "<memballoon autodeflate='on'/>",
    ),
    "queues of a controller": (
        "<controller type='scsi' index='0' model='lsilogic'/>",
        "<controller type='scsi' index='0' model='virtio-scsi'/>",
        "<controller type='scsi' index='0'><driver queues='2'/></controller>",
    ),
    "ports of a USB controller": (
        "<controller type='usb' index='0' model='piix3-uhci'/>",
        "<controller type='usb' index='0' model='qemu-xhci'/>",
        "<controller type='usb' index='0' ports='8'/>",
    ),
}


@pytest.mark.parametrize("whole", ["", " whole='yes'"])
@pytest.mark.parametrize("name", OTHER_THING)
def test_what_is_lost_does_not_depend_on_names(name: str, whole: str) -> None:
    device, changes, depends = OTHER_THING[name]
    text = (
        "<domain type='kvm'><name>a</name><memory>1</memory><os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>"
        f"<devices>{device}</devices></domain>"
    )
    found = []
    for first, second in ("az", "za"):
        store = MemoryStore(
            [
                f"<profile name='{first}'><add><devices>{changes}</devices></add></profile>",
                f"<profile name='{second}'><add{whole}><devices>{depends}</devices></add></profile>",
            ]
        )
        wishes = [{"name": name, "priority": 120} for name in "az"]
        result = virtProfile.apply(text, wishes, store=store, record=False)
        assert not result.overridden and not [row for row in result.warnings if row.code == "no-effect"]
        found.append(result.xml)
    assert found[0] == found[1]
