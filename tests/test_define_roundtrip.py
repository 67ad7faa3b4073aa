# SPDX-License-Identifier: GPL-2.0-or-later
"""Apply, define, check, take back, define: on libvirt's QEMU driver, for what libvirt does in between.

Judged by SPEC 7: after apply and define nothing is pending, and taking back and defining again
gives what defining alone gives, addresses and libvirt's own PCI topology aside.
"""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import library
import pytest
from strategies import MemoryStore
from test_lifecycle_qemu import meaning

import virtProfile
from virtProfile.errors import ProfileError

libvirt = pytest.importorskip("libvirt")

VMS = {path.stem: path.read_text() for path in sorted((Path(__file__).parent / "data" / "vms").glob("*.xml"))}
SEED = int(os.environ.get("VIRT_PROFILE_SEED", "1"))
#: How many of (VM, shipped profile, priority) the fast suite tries.
SAMPLE = 60

DISK = "<disk type='file' device='disk'><source file='/tmp/vp.img'/><target dev='sda' bus='sata'/></disk>"
SPICE = (
    "<graphics type='spice' autoport='yes'/><video><model type='qxl'/></video><sound model='ich9'/>"
    "<audio id='1' type='spice'/><channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>"
)
EPYC = "<cpu mode='custom' match='exact'><model fallback='forbid'>EPYC</model><feature policy='disable' name='svm'/></cpu>"
CELL = "<cpu><numa><cell id='0' cpus='0-1' memory='512' unit='MiB'/></numa></cpu>"
DIMM = "<memory model='{}'>{}<target><size unit='MiB'>512</size><node>0</node>{}</target></memory>"
NVDIMM = DIMM.format(
    "nvdimm", "<source><path>/tmp/vp-nv</path></source>", "<label><size unit='KiB'>128</size></label>"
)
VIRTIO_MEM = DIMM.format("virtio-mem", "", "<block unit='MiB'>2</block><requested unit='MiB'>128</requested>")
#: libvirt 9.1 and newer write it for q35; older ones do not know it.
ITCO = "<watchdog model='itco' action='reset'/>" if libvirt.getVersion() >= 9_001_000 else ""
OWN_DIMM = "<memory model='dimm'><target><size unit='MiB'>256</size><node>0</node></target></memory>"


def vm(devices: str = "", top: str = "", machine: str = "q35", memory: str = "", kind: str = "qemu") -> str:
    if not memory:
        memory = "<memory unit='MiB'>512</memory>"
        if "<numa>" in top:
            memory += "<maxMemory slots='4' unit='GiB'>4</maxMemory>"
    return (
        f"<domain type='{kind}'><name>vp-roundtrip</name><uuid>7d1b1c0c-98b1-4b23-9d2e-0000000000ff</uuid>{memory}"
        f"<vcpu>2</vcpu><os><type arch='x86_64' machine='{machine}'>hvm</type></os>{top}<devices>"
        f"<emulator>/usr/bin/qemu-system-x86_64</emulator>{devices}</devices></domain>"
    )


def add(inner: str, multiple: str = "auto") -> str:
    return f"<add multiple='{multiple}'>{inner}</add>"


def devices(inner: str) -> str:
    return f"<devices>{inner}</devices>"


def threads(count: int, *listed: int) -> str:
    ids = "".join(f"<iothread id='{number}'/>" for number in listed)
    return (f"<iothreads>{count}</iothreads>" if count else "") + (
        f"<iothreadids>{ids}</iothreadids>" if ids else ""
    )


TCP = "<{} type='tcp'><source mode='bind' host='127.0.0.1' service='4555'/><protocol type='raw'/>{}</{}>"
TCP_SERIAL = TCP.format("serial", "", "serial")
AGENT = (
    "<channel type='unix'><source mode='bind' path='/tmp/channel/domain-7-vp/org.qemu.guest_agent.0'/>"
    "<target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
)
SECOND_PORTS = (
    "<controller type='virtio-serial' index='1'/><channel type='pty'><target type='virtio' name='vp'/>"
    "<address type='virtio-serial' controller='1' bus='0' port='1'/></channel>"
)
TWO_CARDS = "<graphics type='spice'/><video><model type='qxl'/></video><video><model type='virtio'/></video>"
VIRTIO_CONSOLE = "<console type='pty'><target type='virtio'/></console>"
#: What libvirt derives, assigns, drops, resolves or re-adds: (VM, action of a profile)
CASES = {
    "derived: memory of a DIMM without cells": (vm(), add(devices(DIMM.format("dimm", "", "")))),
    "derived: memory of a DIMM in a cell": (vm(top=CELL), add(devices(DIMM.format("dimm", "", "")))),
    "derived: memory of an NVDIMM": (vm(), add(devices(NVDIMM))),
    "derived: memory of virtio-mem": (vm(), add(devices(VIRTIO_MEM))),
    "derived: memory, beside a DIMM of the VM": (
        vm(OWN_DIMM, CELL),
        add(devices(DIMM.format("dimm", "", ""))),
    ),
    "derived: number of iothreads": (
        vm(),
        add("<iothreadids><iothread id='3'/><iothread id='4'/></iothreadids>"),
    ),
    "derived: clusters of a topology": (
        vm(),
        add("<cpu><topology sockets='1' cores='2' threads='1'/></cpu>"),
    ),
    "derived: loader, variables and SMM of a firmware": (
        vm(top="<features><acpi/></features>"),
        add("<os firmware='efi'/>"),
    ),
    "derived: SMM of the VM stays": (
        vm(top="<features><acpi/><smm state='on'/></features>"),
        add("<os firmware='efi'/>"),
    ),
    "derived: SMM of a secure loader": (
        vm(top="<features><acpi/></features>"),
        add("<os firmware='efi'><loader secure='yes'/></os>"),
    ),
    "derived: threads beside a list": (vm(top=threads(2, 1, 2)), add("<iothreads>4</iothreads>")),
    "derived: fewer threads than a list": (vm(top=threads(3, 1, 2, 3)), add("<iothreads>1</iothreads>")),
    "derived: a list beside threads": (vm(top=threads(2)), add(threads(0, 5))),
    "derived: more listed than threads": (vm(top=threads(1)), add(threads(0, 5, 6))),
    "derived: one more listed": (vm(top=threads(1, 4)), add(threads(0, 5))),
    "derived: one listed less": (vm(top=threads(2, 4, 5)), f"<remove>{threads(0, 5)}</remove>"),
    "derived: threads and a list": (vm(), add(threads(4, 9))),
    "mirrored: console of a TCP serial port": (vm(), add(devices(TCP_SERIAL))),
    "mirrored: a console that says something else": (
        vm("<serial type='pty'/>"),
        add(devices(TCP.format("console", "<target type='serial'/>", "console")), "no"),
    ),
    "mirrored: the serial port is removed": (
        vm("<serial type='pty'/>"),
        "<remove><devices><serial/></devices></remove>",
    ),
    "mirrored: a serial console before others": (
        vm(VIRTIO_CONSOLE),
        add(devices("<console type='pty'><target type='serial'/></console>")),
    ),
    "dropped: a path as libvirt makes it": (vm(), add(devices(AGENT))),
    "dropped: a port beside autoport": (
        vm("<graphics type='spice' port='5901' autoport='no'/>"),
        add(devices("<graphics type='spice' port='-1' tlsPort='-1' autoport='yes'/>"), "no"),
    ),
    **{
        f"dropped: the port of {kind} with autoport": (
            vm(f"<graphics type='{kind}' port='5901' autoport='no'/>"),
            add(devices(f"<graphics type='{kind}' autoport='yes'/>"), "no"),
        )
        for kind in ("spice", "vnc")
    },
    **{
        f"dropped: a port of {kind} without autoport": (
            vm(f"<graphics type='{kind}' autoport='yes'/>"),
            add(devices(f"<graphics type='{kind}' port='5903' autoport='no'/>"), "no"),
        )
        for kind in ("spice", "vnc")
    },
    **{
        f"dropped: a port of {kind} beside autoport": (
            vm(f"<graphics type='{kind}' autoport='yes'/>"),
            add(devices(f"<graphics type='{kind}' port='5904'/>"), "no"),
        )
        for kind in ("spice", "vnc")
    },
    "dropped: the ports of a new display": (
        vm(),
        add(devices("<graphics type='spice' port='-1' tlsPort='-1' autoport='yes'/>")),
    ),
    "dropped: an empty element": (vm(), add("<pm/>")),
    "dropped: elements with nothing in them": (
        vm(),
        add("<memoryBacking/><memtune/><numatune/><cputune/><blkiotune/><iothreadids/>"),
    ),
    "dropped: an empty element in another": (vm(), add("<memoryBacking><allocation/></memoryBacking>")),
    "dropped: features without any": (
        vm().replace("<features><acpi/></features>", ""),
        add("<features/><clock offset='utc'/>"),
    ),
    "dropped: an empty part of a device": (
        vm(DISK),
        add(devices("<disk><target dev='sda'/><iotune/></disk>")),
    ),
    "dropped: protocol of a socket": (
        vm(),
        add(
            devices(
                "<parallel type='unix'><source mode='connect' path='/tmp/vp.sock'/><protocol type='raw'/>"
                "<target port='0'/></parallel>"
            )
        ),
    ),
    "dropped: master of a controller that is none": (
        vm("<controller type='usb' index='0' model='none'/>"),
        add(devices("<controller type='usb' index='0'><master startport='0'/></controller>")),
    ),
    "dropped: what a pty is at run time": (vm(), add(devices("<console tty='/dev/pts/5'/>"))),
    "dropped: all that was written of a serial port": (
        vm(),
        add(devices("<serial><source master='/dev/nmdm0A'/></serial>")),
    ),
    "dropped: pins of vCPUs that there are not": (
        vm(),
        add("<cputune><vcpupin vcpu='1' cpuset='0'/><vcpupin vcpu='2' cpuset='0'/></cputune>"),
    ),
    "dropped: a label without a type": (vm(), add("<seclabel model='selinux' relabel='yes'/>")),
    "dropped: ports beside a socket": (
        vm("<graphics type='spice'><listen type='socket' socket='/tmp/vp-spice'/></graphics>"),
        add(devices("<graphics type='spice' port='-1' autoport='yes'/>")),
    ),
    "implied: a closed tray": (
        vm(),
        add(devices("<disk type='file' device='cdrom'><target dev='sdb' bus='sata' tray='closed'/></disk>")),
    ),
    "resolved: a display without ports": (
        vm(),
        add(devices("<graphics type='spice'><listen type='address' address='127.0.0.1'/></graphics>")),
    ),
    "re-added: the machine": (vm(machine="pc-q35-7.1"), "<remove select='os/type/@machine'/>"),
    "re-added: the bus of inputs": (
        vm("<graphics type='vnc'/><input type='tablet' bus='virtio'/>"),
        "<remove select='devices/input/@bus'/>",
    ),
    "re-added: the bus of a tablet": (
        vm("<graphics type='vnc'/><input type='tablet' bus='virtio'/>"),
        "<remove select=\"devices/input[@type = 'tablet']/@bus\"/>",
    ),
    "re-added: not where others are": (
        vm(TWO_CARDS),
        "<remove><devices><video><model type='qxl'/></video></devices></remove>",
    ),
    "re-added: a card where there were two": (vm(TWO_CARDS), "<remove><devices><video/></devices></remove>"),
    "rounded: a limit in MB": (
        vm(),
        add("<memtune><hard_limit unit='MB'>1000</hard_limit></memtune>"),
    ),
    "rounded: the size of the VM's pages, which is their key": (
        vm(top="<memoryBacking><hugepages><page size='4' unit='KiB'/></hugepages></memoryBacking>"),
        add("<memoryBacking><hugepages><page size='2' unit='MiB'/></hugepages></memoryBacking>"),
    ),
    "re-added: a backend of audio where the display had its own": (
        vm("<graphics type='sdl'/>"),
        "<remove><devices><graphics type='sdl'/></devices></remove>",
    ),
    "derived: fewer threads than a controller uses": (
        vm("<controller type='scsi' model='virtio-scsi'><driver iothread='2'/></controller>", threads(2)),
        add("<iothreads>1</iothreads><title>vp</title>"),
    ),
    "re-added: the first controller beside another": (
        vm(SECOND_PORTS),
        add(devices("<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>")),
    ),
    "resolved: VNC on a socket": (
        vm(),
        add(
            devices(
                "<graphics type='vnc' socket='/tmp/vp-vnc'><listen type='address' address='0.0.0.0'/></graphics>"
            )
        ),
    ),
    "resolved: the number of a console": (
        vm(VIRTIO_CONSOLE),
        add(devices("<console type='pty'><target type='virtio' port='7'/></console>")),
    ),
    "resolved: the number of a serial console": (
        vm(),
        add(devices("<console type='pty'><target port='1'/></console>")),
    ),
    "dropped: protocol of a source of random numbers on a socket": (
        vm(),
        add(
            devices(
                "<rng model='virtio'><backend model='egd' type='unix'><source mode='connect' path='/tmp/vp-rng'/>"
                "<protocol type='raw'/></backend></rng>"
            )
        ),
    ),
    "dropped: keys of another machine": (vm(), add("<keywrap/>")),
    "resolved: a label where there is no security driver": (
        vm(),
        add("<seclabel type='dynamic' relabel='yes'/>"),
    ),
    "dropped: labels of a running VM": (
        vm(),
        add(
            "<seclabel model='selinux' type='dynamic' relabel='yes'><label>a_u:b_r:c_t:s0</label>"
            "<imagelabel>a_u:b_r:d_t:s0</imagelabel></seclabel>"
        ),
    ),
    "dropped: the label of files beside one that is given": (
        vm().replace(
            "</devices>",
            "</devices><seclabel model='dac' type='static' relabel='yes'><label>+1:+1</label></seclabel>",
        ),
        add("<seclabel model='dac'><imagelabel>+1:+2</imagelabel></seclabel>"),
    ),
    "dropped: an entry without a name": (
        vm(),
        add("<sysinfo type='smbios'><system><entry>a</entry></system></sysinfo>"),
    ),
    "dropped: the address of a channel that forwards nothing": (
        vm(),
        add(devices("<channel><source path='/tmp/vp-fwd'/><target address='10.0.2.1'/></channel>")),
    ),
    "assigned: a place that libvirt gave to another": (
        vm("<controller type='usb' index='0' model='qemu-xhci'/>"),
        add(devices("<controller type='usb' index='0' model='piix3-uhci'/>"), "no"),
    ),
    "variant: a serial port of another kind": (
        vm(TCP_SERIAL),
        add(devices("<serial type='nmdm'><target port='0'/></serial>")),
    ),
    "variant: the format of a volume": (
        vm(
            "<disk type='volume' device='disk'><driver name='qemu'/><source pool='vp' volume='a'/>"
            "<target dev='sda' bus='sata'/></disk>"
        ),
        add(devices("<disk type='file'><source file='/tmp/vp.img'/><target dev='sda'/></disk>")),
    ),
    "derived: more vCPUs than cells have": (vm(top=CELL), add("<vcpu>6</vcpu>")),
    "derived: cells for a part of the vCPUs": (
        vm().replace("<vcpu>2<", "<vcpu>6<"),
        add(
            "<cpu><numa><cell id='0' cpus='0' memory='256' unit='MiB'/>"
            "<cell id='1' cpus='2-3' memory='256' unit='MiB'/></numa></cpu>"
        ),
    ),
    "derived: less memory than the VM starts with": (
        vm(memory="<memory unit='MiB'>512</memory><currentMemory unit='MiB'>384</currentMemory>"),
        add("<memory unit='MiB'>256</memory>"),
    ),
    "derived: less memory, by a cell": (
        vm(memory="<memory unit='MiB'>512</memory><currentMemory unit='MiB'>384</currentMemory>"),
        add("<cpu><numa><cell id='0' cpus='0-1' memory='256' unit='MiB'/></numa></cpu>"),
    ),
    "derived: cell memory": (
        vm(top=CELL),
        add("<cpu><numa><cell id='0' memory='1' unit='GiB'/></numa></cpu>"),
    ),
    "assigned: address of a disk": (vm(DISK), add(devices("<disk><target bus='virtio'/></disk>"), "no")),
    "assigned: address of an input": (
        vm("<input type='tablet' bus='usb'/>"),
        add(devices("<input type='tablet' bus='virtio'/>"), "no"),
    ),
    "assigned: MAC address": (
        vm("<interface type='user'><mac address='52:54:00:11:22:33'/></interface>"),
        "<remove select='devices/interface/mac'/>",
    ),
    "dropped: CPU model": (vm(top=EPYC, kind="kvm"), add("<cpu mode='host-passthrough'/>")),
    "added: migratable of host-passthrough": (
        vm(top="<cpu mode='host-passthrough'/>", kind="kvm"),
        add("<cpu mode='host-model'/>"),
    ),
    "resolved: machine alias": (vm(machine="pc-q35-7.1"), add("<os><type machine='q35'/></os>")),
    "resolved: another family": (vm(DISK, machine="pc"), add("<os><type machine='q35'/></os>", "no")),
    "resolved: another family, back to pc": (vm(machine="q35"), add("<os><type machine='pc'/></os>", "no")),
    "resolved: another family, built-in watchdog": (
        vm(ITCO),
        add("<os><type machine='pc'/></os>", "no"),
    ),
    "resolved: another family, ISA watchdog": (
        vm("<watchdog model='ib700'/>", machine="pc"),
        add("<os><type machine='q35'/></os>", "no"),
    ),
    "re-added: the watchdog of q35": (
        vm("<watchdog model='i6300esb' action='pause'/>"),
        "<remove><devices><watchdog/></devices></remove>",
    ),
    "resolved: type of an empty drive": (
        vm(DISK),
        add(devices("<disk type='block' device='cdrom'><target dev='sdb' bus='sata'/></disk>")),
    ),
    "moved: vCPUs placed by themselves": (vm(), add("<numatune><memory placement='auto'/></numatune>")),
    "moved: memory follows the vCPUs": (vm(), add("<vcpu placement='auto'/>", "no")),
    "variant: clock": (vm(top="<clock offset='utc'/>"), add("<clock offset='variable' adjustment='0'/>")),
    "variant: clock, the other way": (
        vm(top="<clock offset='variable' adjustment='0'/>"),
        add("<clock offset='utc'/>"),
    ),
    "re-added: balloon": (vm(), "<remove><devices><memballoon/></devices></remove>"),
    "re-added: current memory": (
        vm(memory="<memory unit='MiB'>512</memory><currentMemory unit='MiB'>256</currentMemory>"),
        "<remove><currentMemory/></remove>",
    ),
    "re-added: audio, with all of SPICE": (
        vm(SPICE),
        "<remove><devices><graphics/><sound/><audio/><video/><channel type='spicevmc'/></devices></remove>",
    ),
    "re-added: audio of SPICE": (vm(SPICE), "<remove><devices><audio/></devices></remove>"),
    "re-added: the CPU": (vm(), "<remove><cpu/></remove>"),
    "re-added: the CPU in the place of the VM's": (vm(top=EPYC), "<remove><cpu/></remove>"),
    "re-added: the disk to boot from": (vm(DISK), "<remove select='os/boot'/>"),
    "re-added: what happens on a crash": (
        vm(top="<on_crash>preserve</on_crash>"),
        "<remove><on_crash/></remove>",
    ),
}

NIC = "<interface type='{}'><mac address='52:54:00:11:22:33'/>{}<model type='virtio'/>{}</interface>"
SHARED = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
SOCKET = "<source type='unix' path='/tmp/vp.sock' mode='client'/>"
RECONNECT = SOCKET.replace("/>", "><reconnect enabled='yes' timeout='10'/></source>")
PASST = "<backend type='passt'/>"
UPLINK = "<source dev='eth42'/>"
FORWARD = "<portForward proto='tcp'><range start='2022' to='22'/></portForward>"
#: Interfaces beside the backend passt, which makes a socket of its own: (interface of the VM, of the profile)
PASST_CASES = {
    "a socket gives way to passt": (("vhostuser", SOCKET, ""), ("vhostuser", "", PASST)),
    "a socket that is opened again gives way": (("vhostuser", RECONNECT, ""), ("vhostuser", "", PASST)),
    "a socket beside passt": (("vhostuser", "", PASST), ("vhostuser", SOCKET, "")),
    "a socket beside passt and its uplink": (("vhostuser", UPLINK, PASST), ("vhostuser", SOCKET, "")),
    "an uplink for vhostuser": (("vhostuser", "", PASST), ("vhostuser", UPLINK, "")),
    "an uplink for user": (("user", "", PASST), ("user", UPLINK, "")),
    "an uplink without passt": (("user", "", ""), ("user", UPLINK, "")),
    "an uplink for whatever is there": (("user", "", ""), ("", UPLINK, "")),
    "an uplink for a socket": (("vhostuser", SOCKET, ""), ("", UPLINK, "")),
    "an uplink beside a socket": (("vhostuser", SOCKET, ""), ("vhostuser", UPLINK, "")),
    "passt with an uplink": (("user", "", ""), ("user", UPLINK, PASST)),
    "passt with an uplink instead of a socket": (("vhostuser", SOCKET, ""), ("vhostuser", UPLINK, PASST)),
    "another type": (("user", UPLINK, FORWARD + PASST), ("vhostuser", "", "")),
    "a bridge instead": (("user", UPLINK, FORWARD + PASST), ("bridge", "<source bridge='br0'/>", "")),
    "ports of passt": (("user", "", PASST), ("user", "", FORWARD)),
    "ports without passt": (("user", "", ""), ("", "", FORWARD)),
    "a network gives way": (
        ("network", "<source network='default'/>", ""),
        ("user", UPLINK, FORWARD + PASST),
    ),
    "a macvtap gives way": (("direct", "<source dev='eth0' mode='bridge'/>", ""), ("user", UPLINK, PASST)),
    "a macvtap instead": (("user", UPLINK, PASST), ("direct", "<source dev='eth0' mode='bridge'/>", "")),
}


def define(handle: Any, xml: str) -> str:
    domain = handle.defineXML(xml)
    try:
        return str(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))
    finally:
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM)


def without_bookkeeping(xml: str) -> Counter[str]:
    """What is said; MAC addresses count here, as they are no PCI topology."""
    return meaning(xml) + Counter(re.findall(r"<mac [^>]*>", xml))


def round_trip(handle: Any, text: str, wish: dict[str, Any], store: Any) -> None:
    """Three times through libvirt, and back."""
    text = define(handle, define(handle, text))
    first = virtProfile.apply(text, [wish], store=store)
    defined = define(handle, first.xml)
    again = virtProfile.apply(defined, store=store)
    assert not again.changes
    assert meaning(again.xml) == meaning(defined)
    assert virtProfile.apply(again.xml, store=store).xml == again.xml
    for row in virtProfile.status(defined, store=store).profiles:
        assert not row.drift, row
    third = define(handle, virtProfile.apply(define(handle, again.xml), store=store).xml)
    back = define(handle, virtProfile.unapply(third, store=store).xml)
    assert without_bookkeeping(back) == without_bookkeeping(text)


@pytest.mark.parametrize("name", CASES)
def test_what_libvirt_does_is_nobodys_edit(embedded_qemu: Any, name: str) -> None:
    text, action = CASES[name]
    if "type='kvm'" in text and "<domain type='kvm'" not in embedded_qemu.getCapabilities():
        pytest.skip("no KVM here")
    if name == "re-added: the bus of inputs" and libvirt.getVersion() >= 11_000_000:
        pytest.xfail("libvirt adds a second PS/2 mouse and keyboard beside those without a bus")
    store = MemoryStore([f"<profile name='p' version='1'>{action}</profile>"])
    round_trip(embedded_qemu, text, {"name": "p", "priority": 120}, store)


@pytest.mark.parametrize(
    ("text", "weaker", "stronger"),
    [
        (
            vm("<controller type='usb' index='0' model='piix3-uhci'/>", machine="pc"),
            add(devices("<controller type='usb' index='0'/>")),
            "<remove><devices><controller type='usb' index='0' model='piix3-uhci'/></devices></remove>",
        ),
        (
            vm("<controller type='usb' index='0' model='piix3-uhci'/>", machine="pc"),
            add(devices("<controller type='usb'/>"), "no"),
            "<remove><devices><controller index='0'/></devices></remove>",
        ),
        (
            vm(machine="pc"),
            add(
                devices("<disk type='block' device='disk'><source dev='/dev/vp'/><target dev='hda'/></disk>")
            ),
            "<remove><devices><disk type='block'><driver type='raw'/></disk></devices></remove>",
        ),
        (
            vm(),
            add(devices("<graphics type='spice' autoport='no'/>")),
            "<remove><devices><graphics type='spice'><listen type='none'/></graphics></devices></remove>",
        ),
        (
            vm(),
            add(devices("<memballoon model='none'/>")),
            "<remove><devices><memballoon model='virtio'/></devices></remove>",
        ),
        (
            vm(machine="pc"),
            add(devices("<graphics type='sdl'><gl enable='yes'/></graphics>")),
            "<remove><devices><video/></devices></remove>",
        ),
    ],
    ids=["model", "index", "format", "listen", "made again", "a card beside a display"],
)
def test_a_default_of_libvirt_is_nothing_to_remove(
    embedded_qemu: Any, text: str, weaker: str, stronger: str
) -> None:
    """What libvirt wrote into the element of one profile does not make another profile remove it."""
    store = MemoryStore(
        [f"<profile name='weaker'>{weaker}</profile>", f"<profile name='p'>{stronger}</profile>"]
    )
    text = define(embedded_qemu, define(embedded_qemu, text))
    wishes = [{"name": "weaker", "priority": 50}, {"name": "p", "priority": 120}]
    defined = define(embedded_qemu, virtProfile.apply(text, wishes, store=store).xml)
    again = virtProfile.apply(defined, store=store)
    assert not again.changes
    assert virtProfile.apply(again.xml, store=store).xml == again.xml
    back = define(embedded_qemu, virtProfile.unapply(define(embedded_qemu, again.xml), store=store).xml)
    assert without_bookkeeping(back) == without_bookkeeping(text)


@pytest.mark.skipif(libvirt.getVersion() < 11_001_000, reason="passt is older than vhostuser beside it")
@pytest.mark.parametrize("priority", [0, 120])
@pytest.mark.parametrize("name", PASST_CASES)
def test_interfaces_of_passt(embedded_qemu: Any, name: str, priority: int) -> None:
    has, wants = PASST_CASES[name]
    wish = NIC.format(*wants).replace(" type=''", "")
    store = MemoryStore([f"<profile name='p' version='1'>{add(devices(wish), 'no')}</profile>"])
    round_trip(embedded_qemu, vm(NIC.format(*has), SHARED), {"name": "p", "priority": priority}, store)


@pytest.mark.parametrize("machine", ["pc-q35-7.2", "pc-i440fx-7.1"])
@pytest.mark.parametrize(
    "more", ["", "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"]
)
def test_a_machine_where_there_was_none(embedded_qemu: Any, machine: str, more: str) -> None:
    """libvirt makes addresses for it, which are not those of the machine that libvirt would have chosen."""
    text = vm("<graphics type='spice'/><input type='tablet' bus='usb'/>").replace(" machine='q35'", "")
    store = MemoryStore(
        [f"<profile name='p'><add><os><type machine='{machine}'/></os>{devices(more)}</add></profile>"]
    )
    first = virtProfile.apply(text, ["p"], store=store)
    defined = define(embedded_qemu, first.xml)
    again = virtProfile.apply(defined, store=store)
    assert not again.changes
    assert virtProfile.apply(again.xml, store=store).xml == again.xml
    back = define(embedded_qemu, virtProfile.unapply(define(embedded_qemu, again.xml), store=store).xml)
    assert without_bookkeeping(back) == without_bookkeeping(define(embedded_qemu, text))


@pytest.mark.parametrize("more", ["", "<input type='tablet' bus='usb'/>"])
@pytest.mark.parametrize(("has", "wanted"), [("pc", "q35"), ("q35", "pc")])
def test_the_usb_controller_goes_with_the_machine(
    embedded_qemu: Any, has: str, wanted: str, more: str
) -> None:
    """A file without one: libvirt writes one of the model that the profile's machine has."""
    text = vm(more, machine=has)
    action = add(f"<os><type machine='{wanted}'/></os>")
    store = MemoryStore([f"<profile name='p'>{action}</profile>"])
    first = virtProfile.apply(text, [{"name": "p", "priority": 120}], store=store)
    defined = define(embedded_qemu, first.xml)
    again = virtProfile.apply(defined, store=store)
    assert not again.changes
    back = define(embedded_qemu, virtProfile.unapply(define(embedded_qemu, again.xml), store=store).xml)
    assert without_bookkeeping(back) == without_bookkeeping(define(embedded_qemu, text))


@pytest.mark.parametrize("priority", [0, 120])
def test_an_alias_where_there_was_no_machine(embedded_qemu: Any, priority: int) -> None:
    """The version that it became is the VM's, and nothing is pending."""
    text = vm().replace(" machine='q35'", "")
    action = add("<os><type machine='q35'/></os>")
    store = MemoryStore([f"<profile name='p'>{action}</profile>"])
    first = virtProfile.apply(text, [{"name": "p", "priority": priority}], store=store)
    assert "machine='q35'" in first.xml
    defined = define(embedded_qemu, first.xml)
    again = virtProfile.apply(defined, store=store)
    assert not again.changes
    assert virtProfile.apply(again.xml, store=store).xml == again.xml
    assert "machine='pc-q35-" in define(embedded_qemu, virtProfile.unapply(defined, store=store).xml)


def shipped(handle: Any, cases: list[tuple[str, str, int]]) -> None:
    """Each either goes through libvirt and back, or is refused with an error of ours."""
    failed = []
    done = 0
    for name, profile, priority in cases:
        try:
            round_trip(handle, VMS[name], library.wish(profile, priority=priority), library.store())
            done += 1
        except ProfileError:
            continue  # told: missing context, a conflict, what the VM cannot have
        except (AssertionError, libvirt.libvirtError) as problem:
            failed.append(f"{profile} at {priority} on {name}: {str(problem)[:300]}")
    assert not failed, "\n".join(failed)
    assert done > len(cases) / 2
    print(f"{done} of {len(cases)} went through libvirt and back")


def every_case() -> list[tuple[str, str, int]]:
    return [(name, profile, priority) for name in VMS for profile in library.NAMES for priority in (0, 120)]


def test_shipped_profiles_on_existing_vms_sampled(embedded_qemu: Any) -> None:
    shipped(embedded_qemu, random.Random(SEED).sample(every_case(), SAMPLE))


@pytest.mark.slow
@pytest.mark.parametrize("name", VMS)
def test_shipped_profiles_on_existing_vms(embedded_qemu: Any, name: str) -> None:
    shipped(embedded_qemu, [case for case in every_case() if case[0] == name])


@pytest.mark.parametrize("machine", ["q35", "pc"])
@pytest.mark.parametrize(
    "other", ["virtio-scsi", "disk-multiqueue", "usb3", "e1000e-net", "virtio-video", "no-balloon"]
)
def test_a_device_that_another_profile_changes_goes_along_to_the_other_machine(
    embedded_qemu: Any, machine: str, other: str
) -> None:
    """Its address is the old machine's all the same: with it libvirt's controllers would not be taken back."""
    was = "pc" if machine == "q35" else "q35"
    xml = f"""<domain type='qemu'><name>vm</name><uuid>7d1b1c0c-98b1-4b23-9d2e-251406601398</uuid>
        <memory>1048576</memory><vcpu>2</vcpu><os><type arch='x86_64' machine='{was}'>hvm</type></os>
        <devices><disk type='file'><source file='/sda'/><target dev='sda' bus='scsi'/></disk>
        <controller type='scsi' index='0' model='lsilogic'/><interface type='user'><model type='rtl8139'/></interface>
        <video><model type='vga'/></video></devices></domain>"""
    before = define(embedded_qemu, xml)
    wishes = [{"name": machine, "params": {"convert": "yes"}}, other]
    once = virtProfile.apply(before, wishes, store=library.store(), override=True)
    defined = define(embedded_qemu, once.xml)
    back = define(embedded_qemu, virtProfile.unapply(defined, ["all"], store=library.store()).xml)
    assert without_bookkeeping(back) == without_bookkeeping(before)
