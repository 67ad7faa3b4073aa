# SPDX-License-Identifier: GPL-2.0-or-later
"""Asks libvirt which parts of an element belong to which value of its discriminator.

For each discriminator (a type, model, mode, bus, driver) and each of its values there is a
small element that libvirt defines. Every attribute and child that the schema knows below the
element is added to it, one at a time, and the domain is defined: libvirt keeps the part,
drops it or refuses the domain. What some values keep and others do not is a row of
tests/data/probed, of its version; virtProfile/format/data/probed.tsv has them all, with the
version where two differ. Run by ``./dev probe``, and ``./dev platform trixie probe``.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lxml import etree

from virtProfile.format.element import child_node
from virtProfile.format.facts import rows
from virtProfile.format.schema import DATA, PathNode, Schema

TARGET = Path(DATA, "probed.tsv")
#: What each libvirt said, by version.
RAW = Path(__file__).parent / "data" / "probed"
NAME = "vp-probe"
#: How deep below the element parts are looked for.
DEPTH = 3
#: Assigned by libvirt, or about the host and not about the variant.
NOT_PARTS = {"address", "alias", "acpi", "seclabel", "backingStore", "mirror", "boot", "privateData", "zpci"}

FRAME = """<domain type='{kind}'><name>vp-probe</name><uuid>7d1b1c0c-98b1-4b23-9d2e-0000000000fe</uuid>
{hotplug}<memory unit='MiB'>1024</memory><vcpu>4</vcpu><iothreads>2</iothreads>
{before}<os><type arch='x86_64' machine='{machine}'>hvm</type></os>{top}{cpu}<devices>
<emulator>/usr/bin/qemu-system-x86_64</emulator>{devices}</devices></domain>"""
HOTPLUG = "<maxMemory slots='8' unit='GiB'>8</maxMemory>"
ACPI = "<features><acpi/></features>"
CELLS = "<cpu><numa><cell id='0' cpus='0-3' memory='1024' unit='MiB'/></numa></cpu>"
SHARED = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"


class Discriminator:
    """A slot below an element that decides what else may stand there.

    :ivar path: of the element; `slot`: relative to it
    :ivar forms: value -> the element with that value
    :ivar devices, before: what the domain needs besides; `where` says where the element goes
    """

    def __init__(
        self,
        path: str,
        slot: str,
        forms: dict[str, str],
        machine: str = "q35",
        kind: str = "qemu",
        devices: str = "",
        before: str = SHARED,
        name: str = "",
    ) -> None:
        self.path = path
        self.slot = slot
        self.forms = forms
        self.machine = machine
        self.kind = kind
        self.devices = devices
        self.before = before
        self.name = name or f"{path}/{slot}"

    def domain(self, element: Any) -> str:
        """A domain with the element in it."""
        text = etree.tostring(element, encoding="unicode")
        tags = self.path.split("/")
        if tags[0] == "devices":
            text = _wrapped(text, tags[1:-1])
            return FRAME.format(
                kind=self.kind, machine=self.machine, hotplug=HOTPLUG, before=self.before, top=ACPI, cpu=CELLS,
                devices=self.devices + text,
            )  # fmt: skip
        text = _wrapped(text, tags[:-1])
        before = "" if tags[0] == "memoryBacking" else self.before
        cpu, hotplug = ("", "") if tags[0] == "cpu" else (CELLS, HOTPLUG)
        text += "" if tags[0] == "features" else ACPI
        frame = FRAME.format(
            kind=self.kind, machine=self.machine, hotplug=hotplug, before=before, top=text, cpu=cpu,
            devices=self.devices,
        )  # fmt: skip
        return frame.replace("<vcpu>4</vcpu>", "") if tags[0] == "vcpu" else frame

    def form(self, value: str) -> Any:
        return etree.fromstring(self.forms[value])

    def node(self, schema: Schema) -> PathNode:
        node: Any = schema.root
        for tag in self.path.split("/"):
            node = child_node(node, tag)
        return node


def _wrapped(text: str, tags: list[str]) -> str:
    for tag in reversed(tags):
        text = f"<{tag}>{text}</{tag}>"
    return text


def each(template: str, *values: str) -> dict[str, str]:
    """The same form for several values."""
    return {value: template.replace("%", value) for value in values}


_DISK = "<disk type='{}' device='disk'>{}<target dev='sda' bus='{}'/></disk>"
_RAW = "<driver name='qemu' type='raw'/>"
_FILE = _RAW + "<source file='/var/lib/vp/probe.img'/>"


def _disk(kind: str, inner: str, bus: str = "virtio") -> str:
    return _DISK.format(kind, inner, bus)


_HOST = "<host name='192.0.2.1' port='4000'/>"
_NETWORK = {
    name: _disk("network", f"{_RAW}<source protocol='{name}' name='vp/probe'>{_HOST}</source>")
    for name in ("nbd", "rbd", "iscsi", "gluster", "sheepdog", "vxhs", "http", "https", "ftp", "ssh", "nfs")
}
_NETWORK["nfs"] = _NETWORK["nfs"].replace(" port='4000'", "")
_NETWORK["iscsi"] = _NETWORK["iscsi"].replace("vp/probe", "iqn.2020-01.org.example:vp/1")
_NETWORK["vxhs"] = _NETWORK["vxhs"].replace("vp/probe", "eb90327c-8302-4725-9e1b-4e85ed4dc251")
_MAC = "<mac address='52:54:00:11:22:33'/>"


def _nic(kind: str, inner: str = "", model: str = "virtio") -> str:
    return f"<interface type='{kind}'>{_MAC}{inner}<model type='{model}'/></interface>"


_SOCKET = "<source address='192.0.2.1' port='5558'/>"
_PCI = "<address type='pci' domain='0x0000' bus='0x07' slot='0x10' function='0x0'/>"
_NICS = {
    "user": _nic("user"),
    "network": _nic("network", "<source network='default'/>"),
    "bridge": _nic("bridge", "<source bridge='virbr0'/>"),
    "direct": _nic("direct", "<source dev='eth0' mode='bridge'/>"),
    "ethernet": _nic("ethernet"),
    "vhostuser": _nic("vhostuser", "<source type='unix' path='/tmp/vp.sock' mode='client'/>"),
    "udp": _nic(
        "udp", "<source address='192.0.2.1' port='5558'><local address='192.0.2.2' port='5557'/></source>"
    ),
    **{kind: _nic(kind, _SOCKET) for kind in ("client", "server")},
    "mcast": _nic("mcast", "<source address='230.0.0.1' port='5558'/>"),
    "vdpa": _nic("vdpa", "<source dev='/dev/vhost-vdpa-0'/>"),
    "hostdev": f"<interface type='hostdev'>{_MAC}<source>{_PCI}</source></interface>",
}
_SOURCES = {
    "pty": "",
    "null": "",
    "stdio": "",
    "vc": "",
    "file": "<source path='/tmp/vp.log'/>",
    "dev": "<source path='/dev/ttyS0'/>",
    "pipe": "<source path='/tmp/vp.pipe'/>",
    "unix": "<source mode='bind' path='/tmp/vp.sock'/>",
    "tcp": "<source mode='bind' host='127.0.0.1' service='4555'/><protocol type='raw'/>",
    "udp": "<source mode='bind' host='127.0.0.1' service='4556'/><source mode='connect' host='127.0.0.1' service='4557'/>",
}
_SPICE = "<graphics type='spice' autoport='yes'/><video><model type='qxl'/></video>"


def _characters(tag: str, target: str, more: dict[str, str] | None = None) -> dict[str, str]:
    return {
        kind: f"<{tag} type='{kind}'>{source}{target}</{tag}>"
        for kind, source in {**_SOURCES, **(more or {})}.items()
    }


_VIRTIO_PORT = "<target type='virtio' name='org.vp.0'/>"
_VIRTUALPORT = (
    "<interface type='bridge'>" + _MAC + "<source bridge='virbr0'/>{}<model type='virtio'/></interface>"
)
_DIRECT = (
    "<interface type='direct'>"
    + _MAC
    + "<source dev='eth0' mode='vepa'/>{}<model type='virtio'/></interface>"
)
_MEMORY = "<memory model='%'>{}<target><size unit='MiB'>512</size><node>0</node>{}</target></memory>"
_CODEC = "<sound model='%'/>"
_TIMER = "<timer name='%'/>"

DISCRIMINATORS = [
    Discriminator(
        "devices/disk", "@type",
        {
            "file": _disk("file", _FILE),
            "block": _disk("block", f"{_RAW}<source dev='/dev/vp0'/>"),
            "dir": _disk("dir", "<driver name='qemu' type='fat'/><source dir='/tmp'/><readonly/>").replace("<readonly/>", "").replace("</disk>", "<readonly/></disk>"),
            "network": _NETWORK["nbd"],
            "volume": _disk("volume", f"{_RAW}<source pool='default' volume='vp.img'/>"),
            "nvme": _disk("nvme", _RAW + "<source type='pci' managed='yes' namespace='1'><address domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></source>"),
            "vhostuser": _disk("vhostuser", _RAW + "<source type='unix' path='/tmp/vp.sock'/>"),
        },
    ),
    Discriminator(
        "devices/disk", "target/@bus",
        {bus: _disk("file", _FILE, bus) for bus in ("virtio", "sata", "scsi", "usb", "ide")},
        "pc", devices="<controller type='scsi' model='virtio-scsi'/>",
    ),
    Discriminator("devices/disk", "source/@protocol", _NETWORK),
    Discriminator(
        "devices/disk", "driver/@type",
        {kind: _disk("file", _FILE.replace("'raw'", f"'{kind}'")) for kind in ("raw", "qcow2", "vmdk", "vdi")},
    ),
    Discriminator("devices/interface", "@type", _NICS),
    Discriminator(
        "devices/interface", "model/@type",
        {
            model: _nic("network", "<source network='default'/>", model)
            for model in ("virtio", "e1000", "e1000e", "rtl8139", "ne2k_pci", "pcnet", "virtio-transitional", "virtio-non-transitional")
        },
    ),
    Discriminator(
        "devices/interface", "driver/@name",
        {
            "vhost": _nic("network", "<source network='default'/>").replace("</interface>", "<driver name='vhost'/></interface>"),
            "qemu": _nic("network", "<source network='default'/>").replace("</interface>", "<driver name='qemu'/></interface>"),
        },
    ),
    Discriminator(
        "devices/interface", "virtualport/@type",
        {
            "openvswitch": _VIRTUALPORT.format("<virtualport type='openvswitch'/>"),
            "midonet": _VIRTUALPORT.format("<virtualport type='midonet'><parameters interfaceid='09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f'/></virtualport>"),
            "802.1Qbg": _DIRECT.format("<virtualport type='802.1Qbg'><parameters managerid='11' typeid='1193047' typeidversion='2'/></virtualport>"),
            "802.1Qbh": _DIRECT.format("<virtualport type='802.1Qbh'><parameters profileid='vp'/></virtualport>"),
        },
    ),
    Discriminator(
        "devices/graphics", "@type",
        {
            **each("<graphics type='%' autoport='yes'/>", "vnc", "spice"),
            **each("<graphics type='%'/>", "sdl", "egl-headless", "dbus"),
        },
    ),
    Discriminator(
        "devices/graphics/listen", "@type",
        {
            "address": "<listen type='address' address='127.0.0.1'/>",
            "network": "<listen type='network' network='default'/>",
            "socket": "<listen type='socket' socket='/tmp/vp.sock'/>",
            "none": "<listen type='none'/>",
        },
    ),
    Discriminator(
        "devices/video", "model/@type",
        each("<video><model type='%'/></video>", "vga", "cirrus", "qxl", "virtio", "none", "bochs", "ramfb", "vmvga"),
    ),
    Discriminator(
        "devices/memballoon", "@model",
        each("<memballoon model='%'/>", "virtio", "virtio-transitional", "virtio-non-transitional", "none"),
    ),
    Discriminator(
        "devices/rng", "backend/@model",
        {
            "random": "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>",
            "builtin": "<rng model='virtio'><backend model='builtin'/></rng>",
            "egd": "<rng model='virtio'><backend model='egd' type='tcp'><source mode='connect' host='127.0.0.1' service='1234'/></backend></rng>",
        },
    ),
    Discriminator("devices/tpm", "@model", each("<tpm model='%'><backend type='emulator' version='2.0'/></tpm>", "tpm-tis", "tpm-crb")),
    Discriminator(
        "devices/tpm", "backend/@type",
        {
            "emulator": "<tpm model='tpm-tis'><backend type='emulator'/></tpm>",
            "passthrough": "<tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>",
            "external": "<tpm model='tpm-tis'><backend type='external'><source type='unix' mode='connect' path='/tmp/vp.sock'/></backend></tpm>",
        },
    ),
    Discriminator("devices/sound", "@model", each(_CODEC, "ich6", "ich7", "ich9", "es1370", "sb16", "ac97", "usb", "virtio")),
    Discriminator(
        "devices/audio", "@type",
        {**each("<audio id='1' type='%'/>", "none", "alsa", "jack", "oss", "pulseaudio", "sdl", "file"), "spice": "<audio id='1' type='spice'/>"},
        devices=_SPICE + "<sound model='ich9'/>",
    ),
    Discriminator(
        "devices/input", "@bus",
        {
            "usb": "<input type='tablet' bus='usb'/>",
            "virtio": "<input type='tablet' bus='virtio'/>",
            "ps2": "<input type='mouse' bus='ps2'/>",
        },
    ),
    Discriminator(
        "devices/input", "@type",
        {
            **each("<input type='%' bus='virtio'/>", "mouse", "tablet", "keyboard"),
            "passthrough": "<input type='passthrough' bus='virtio'><source evdev='/dev/input/event0'/></input>",
            "evdev": "<input type='evdev'><source dev='/dev/input/event0'/></input>",
        },
    ),
    Discriminator(
        "devices/controller", "@model",
        each("<controller type='scsi' index='0' model='%'/>", "virtio-scsi", "lsilogic", "lsisas1068", "lsisas1078", "virtio-transitional"),
        name="devices/controller scsi/@model",
    ),
    Discriminator(
        "devices/controller", "@model",
        each("<controller type='usb' index='0' model='%'/>", "piix3-uhci", "piix4-uhci", "ehci", "ich9-ehci1", "pci-ohci", "nec-xhci", "qemu-xhci", "none"),
        "pc", name="devices/controller usb/@model",
    ),
    Discriminator(
        "devices/controller", "@model",
        each("<controller type='pci' index='1' model='%'/>", "pcie-root-port", "dmi-to-pci-bridge", "pcie-to-pci-bridge", "pcie-expander-bus", "pcie-switch-upstream-port"),
        name="devices/controller pci/@model",
    ),
    Discriminator(
        "devices/controller", "@model",
        each("<controller type='virtio-serial' index='0' model='%'/>", "virtio", "virtio-transitional", "virtio-non-transitional"),
        name="devices/controller virtio-serial/@model",
    ),
    Discriminator(
        "devices/controller", "@type",
        {
            **each("<controller type='%' index='2'/>", "scsi", "sata", "virtio-serial", "usb", "ccid"),
            "pci": "<controller type='pci' index='2' model='pcie-root-port'/>",
        },
    ),
    Discriminator(
        "cpu", "@mode",
        {
            "custom": "<cpu mode='custom' match='exact' check='none'><model fallback='forbid'>Nehalem</model></cpu>",
            **each("<cpu mode='%'/>", "host-model", "host-passthrough", "maximum"),
        },
        kind="kvm",
    ),
    Discriminator(
        "devices/memory", "@model",
        {
            "dimm": _MEMORY.format("", "").replace("%", "dimm"),
            "nvdimm": _MEMORY.format("<source><path>/tmp/vp-nv</path></source>", "<label><size unit='KiB'>128</size></label>").replace("%", "nvdimm"),
            "virtio-mem": _MEMORY.format("", "<block unit='MiB'>2</block><requested unit='MiB'>128</requested>").replace("%", "virtio-mem"),
            "virtio-pmem": "<memory model='virtio-pmem' access='shared'><source><path>/tmp/vp-pm</path></source><target><size unit='MiB'>512</size></target></memory>",
        },
    ),
    Discriminator(
        "devices/hostdev", "@type",
        {
            "pci": f"<hostdev mode='subsystem' type='pci' managed='yes'><source>{_PCI.replace(chr(60) + 'address type=' + chr(39) + 'pci' + chr(39), chr(60) + 'address')}</source></hostdev>",
            "usb": "<hostdev mode='subsystem' type='usb' managed='yes'><source><vendor id='0x1234'/><product id='0xbeef'/></source></hostdev>",
            "scsi": "<hostdev mode='subsystem' type='scsi' managed='no'><source><adapter name='scsi_host0'/><address bus='0' target='0' unit='0'/></source></hostdev>",
            "scsi_host": "<hostdev mode='subsystem' type='scsi_host' managed='no'><source protocol='vhost' wwpn='naa.5123456789abcde0'/></hostdev>",
            "mdev": "<hostdev mode='subsystem' type='mdev' managed='no' model='vfio-pci'><source><address uuid='53764d0e-85a0-42b4-af5c-2046b460b1dc'/></source></hostdev>",
        },
        devices="<controller type='scsi' model='virtio-scsi'/>",
    ),
    Discriminator(
        "devices/filesystem", "driver/@type",
        {
            "path": "<filesystem type='mount' accessmode='passthrough'><driver type='path'/><source dir='/tmp'/><target dir='vp'/></filesystem>",
            "virtiofs": "<filesystem type='mount' accessmode='passthrough'><driver type='virtiofs'/><source dir='/tmp'/><target dir='vp'/></filesystem>",
        },
    ),
    Discriminator(
        "devices/filesystem", "@accessmode",
        each("<filesystem type='mount' accessmode='%'><driver type='path'/><source dir='/tmp'/><target dir='vp'/></filesystem>", "passthrough", "mapped", "squash"),
    ),
    Discriminator("devices/serial", "@type", _characters("serial", "<target type='isa-serial' port='0'/>", {"spiceport": "<source channel='org.vp.1'/>"}), devices=_SPICE),
    Discriminator("devices/parallel", "@type", {kind: xml for kind, xml in _characters("parallel", "<target port='0'/>").items() if kind not in ("vc", "stdio")}),
    Discriminator("devices/console", "@type", _characters("console", "<target type='virtio'/>"), devices="<serial type='pty'><target type='isa-serial' port='0'/></serial><console type='pty'><target type='serial' port='0'/></console>"),
    Discriminator(
        "devices/channel", "@type",
        _characters("channel", _VIRTIO_PORT, {"spicevmc": "", "spiceport": "<source channel='org.vp.1'/>", "qemu-vdagent": "<source><clipboard copypaste='yes'/></source>", "dbus": "<source channel='org.vp.2'/>"}),
        devices=_SPICE,
    ),
    Discriminator(
        "devices/redirdev", "@type",
        {"spicevmc": "<redirdev bus='usb' type='spicevmc'/>", **{kind: f"<redirdev bus='usb' type='{kind}'>{_SOURCES[kind]}</redirdev>" for kind in ("tcp", "unix", "pty", "udp", "file")}},
        devices=_SPICE,
    ),
    Discriminator(
        "devices/serial", "target/@type",
        each("<serial type='pty'><target type='%' port='0'/></serial>", "isa-serial", "usb-serial", "pci-serial", "isa-debug"),
    ),
    Discriminator("features/hyperv", "@mode", each("<hyperv mode='%'/>", "custom", "passthrough"), kind="kvm"),
    Discriminator(
        "clock", "@offset",
        {
            **each("<clock offset='%'/>", "utc", "localtime"),
            "timezone": "<clock offset='timezone' timezone='Europe/Paris'/>",
            "variable": "<clock offset='variable' adjustment='0' basis='utc'/>",
            "absolute": "<clock offset='absolute' start='1600000000'/>",
        },
    ),
    Discriminator("devices/watchdog", "@model", each("<watchdog model='%' action='reset'/>", "i6300esb", "ib700", "diag288", "itco")),
    Discriminator("devices/panic", "@model", each("<panic model='%'/>", "isa", "hyperv", "pvpanic")),
    Discriminator("devices/iommu", "@model", each("<iommu model='%'/>", "intel", "virtio")),
    Discriminator("devices/vsock", "@model", each("<vsock model='%'><cid auto='yes'/></vsock>", "virtio", "virtio-transitional", "virtio-non-transitional")),
    Discriminator(
        "devices/shmem", "model/@type",
        {
            **each("<shmem name='vp'><model type='%'/><size unit='M'>4</size></shmem>", "ivshmem", "ivshmem-plain"),
            "ivshmem-doorbell": "<shmem name='vp'><model type='ivshmem-doorbell'/><server path='/tmp/vp.sock'/></shmem>",
        },
    ),
    Discriminator(
        "devices/smartcard", "@mode",
        {
            "host": "<smartcard mode='host'/>",
            "host-certificates": "<smartcard mode='host-certificates'><certificate>cert1</certificate><certificate>cert2</certificate><certificate>cert3</certificate></smartcard>",
            "passthrough": "<smartcard mode='passthrough' type='spicevmc'/>",
        },
        devices=_SPICE,
    ),
    Discriminator("devices/crypto", "backend/@model", each("<crypto model='virtio' type='qemu'><backend model='%'/></crypto>", "builtin", "lkcf")),
    Discriminator("vcpu", "@placement", {"static": "<vcpu placement='static'>4</vcpu>", "auto": "<vcpu placement='auto'>4</vcpu>"}),
    Discriminator("numatune", "memory/@placement", {"static": "<numatune><memory placement='static' nodeset='0'/></numatune>", "auto": "<numatune><memory placement='auto'/></numatune>"}),
    Discriminator("memoryBacking", "allocation/@mode", each("<memoryBacking><allocation mode='%'/></memoryBacking>", "immediate", "ondemand")),
    Discriminator("memoryBacking", "source/@type", each("<memoryBacking><source type='%'/></memoryBacking>", "file", "anonymous", "memfd")),
    Discriminator(
        "cputune/vcpusched", "@scheduler",
        {**each("<vcpusched vcpus='0' scheduler='%'/>", "batch", "idle"), **each("<vcpusched vcpus='0' scheduler='%' priority='1'/>", "fifo", "rr")},
    ),
    Discriminator("cpu/cache", "@mode", {"emulate": "<cache mode='emulate' level='3'/>", "disable": "<cache mode='disable'/>"}),
    Discriminator("features/smm", "@state", each("<smm state='%'/>", "on", "off")),
    Discriminator("features/ioapic", "@driver", each("<ioapic driver='%'/>", "kvm", "qemu"), kind="kvm"),
    Discriminator("features/kvm/dirty-ring", "@state", {"on": "<dirty-ring state='on' size='4096'/>", "off": "<dirty-ring state='off'/>"}, kind="kvm"),
    Discriminator("devices/interface/teaming", "@type", {"persistent": "<teaming type='persistent'/>"}),
]  # fmt: skip

#: They decide themselves; a value of them that does not fit says nothing of the other.
DECIDES = {(one.path, one.slot) for one in DISCRIMINATORS} | {
    ("devices/channel", "target/@type"),
    ("devices/console", "target/@type"),
    ("devices/serial", "target/@port"),
    ("devices/parallel", "target/@port"),
    ("devices/hostdev", "@model"),
    ("devices/controller", "@index"),
    ("devices/filesystem", "driver/@format"),
}
#: Parts whose sample depends on more than the discriminator: (path, slot, part).
NOT_ABOUT = {
    *(("devices/disk", "@type", f"auth{part}") for part in ("", "/@username", "/secret", "/secret/@uuid", "/secret/@usage", "/secret/@type")),
    *(("devices/disk", "source/@protocol", f"{place}auth{part}") for place in ("", "source/") for part in ("", "/@username", "/secret", "/secret/@uuid", "/secret/@usage", "/secret/@type")),
    ("devices/disk", "driver/@type", "shareable"),
    ("devices/graphics", "@type", "audio"),
    ("devices/graphics", "@type", "audio/@id"),
    ("devices/disk", "target/@bus", "readonly"),
    *(("devices/interface", "@type", part) for part in ("source", "source/@dev")),
    *(("devices/interface", "@type", f"virtualport{part}") for part in ("", "/parameters", *(f"/parameters/@{name}" for name in ("managerid", "typeid", "typeidversion", "instanceid", "profileid", "interfaceid")))),
    *(("devices/interface", "virtualport/@type", part) for part in ("source/@bridge", "source/@mode", "source/@dev", "coalesce", "mtu")),
    *((path, slot, part) for path, slot, part in (
        ("devices/serial", "target/@type", "target/model"),
        ("devices/serial", "target/@type", "target/model/@name"),
        ("devices/controller", "@model", "model"),
        ("devices/controller", "@model", "model/@name"),
        ("devices/controller", "@type", "target"),
        *(("devices/controller", "@type", f"target/@{name}") for name in ("chassisNr", "chassis", "port", "busNr", "index", "hotplug", "memReserve")),
    )),
    *(("devices/console", "@type", part) for part in ("log", "log/@append", "log/@file")),
}  # fmt: skip

#: Values for slots that take any text of some form: the first that the schema takes is used.
CANDIDATES = (
    "1", "2", "4096", "1024", "/tmp/vp-part", "vp", "on", "yes", "0x1", "0x0001", "127.0.0.1", "52:54:00:aa:bb:cc",
    "09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f", "0", "0-1", "org.vp.part", "1.0", "0x5000c50015ea71ad",
)  # fmt: skip
#: Where the first candidate that the schema takes says nothing that libvirt would keep.
EXAMPLES = {
    "@nodeset": "0",
    "@cpuset": "0-1",
    "@iothread": "1",
    "@queues": "2",
    "@ports": "4",
    "@vectors": "8",
    "@heads": "1",
    "@usage": "vp",
    "@uuid": "09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f",
    "@bridge": "virbr0",
    "@network": "default",
    "@timezone": "Europe/Paris",
    "@keymap": "en-us",
    "@passwdValidTo": "2040-01-01T00:00:00",
    "@slot": "3",
    "@chassis": "4",
    "@chassisNr": "4",
    "@busNr": "100",
    "@port": "5",
    "@rx_queue_size": "512",
    "@tx_queue_size": "512",
    "@queue_size": "128",
    "@ram": "65536",
    "@vram": "16384",
    "@vgamem": "16384",
    "@vram64": "16384",
    "@address": "127.0.0.1",
    "@serial": "vp",
    "@size": "4096",
    "@name": "vp",
}


def sample(slot: str, kind: Any, path: str) -> list[str]:
    """Values to try for a slot: words of a closed list, or one that fits."""
    if kind.values and kind.kind in ("enum", "bool"):
        words = sorted(kind.values)
        return [word for word in ("on", "yes") if word in words] or [words[0], words[-1]][: len(words)]
    for value in (EXAMPLES.get(slot), *CANDIDATES):
        if value is not None and not kind.check(value):
            return [value]
    return sorted(kind.values)[:1]


def parts(
    node: PathNode, depth: int = 0, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """(tags, slot, value) of everything that may stand below an element."""
    for name, kind in node.attrs.items():
        for value in sample("@" + name, kind, node.path):
            yield above, "@" + name, value
    if depth == DEPTH:
        return
    for tag, inner in node.children.items():
        if tag in NOT_PARTS or tag[:1] == "{" or inner.newer or (tag in above):
            continue
        yield (*above, tag), "", ""
        yield from parts(inner, depth + 1, (*above, tag))


def minimal(parent: Any, node: PathNode, tag: str, depth: int = 0) -> Any:
    """A new element with all that the schema requires of it."""
    inner: Any = node.child(tag)
    new = etree.Element(tag)
    for name, kind in inner.attrs.items():
        if kind.required:
            new.set(name, next(iter(sample("@" + name, kind, inner.path)), "1"))
    if inner.text is not None and not inner.children:
        new.text = next(iter(sample("text()", inner.text, inner.path)), None)
    if depth < 4:
        for below in inner.required_children:
            new.append(minimal(new, inner, below, depth + 1))
    _put(parent, new, node)
    return new


def _put(parent: Any, new: Any, node: PathNode) -> None:
    from virtProfile.format.element import place

    after = place(parent, node, new.tag)
    parent.insert(0 if after is None else parent.index(after) + 1, new)


def with_part(element: Any, node: PathNode, tags: tuple[str, ...], slot: str, value: str) -> Any | None:
    """The element with one part more, None where it has it already."""
    element = copy.deepcopy(element)
    at: Any = element
    for depth, tag in enumerate(tags):
        below = at.find(tag)
        last = not slot and depth == len(tags) - 1
        if below is not None and last:
            return None
        at = minimal(at, node, tag) if below is None else below
        node = node.child(tag)  # type: ignore[assignment]
    if slot:
        at.set(slot[1:], value)
    return element


class Probe:
    """Asks one libvirt."""

    def __init__(self, handle: Any, schema: Schema | None = None) -> None:
        import libvirt

        self._libvirt = libvirt
        self.handle = handle
        self.schema = schema or Schema.baseline()
        self.asked = 0

    def define(self, xml: str) -> Any | None:
        """What libvirt makes of a domain, None where it refuses."""
        self.asked += 1
        try:
            domain = self.handle.defineXML(xml)
        except self._libvirt.libvirtError as problem:
            self.refusal = str(problem)
            return None
        text = domain.XMLDesc(self._libvirt.VIR_DOMAIN_XML_INACTIVE | self._libvirt.VIR_DOMAIN_XML_SECURE)
        domain.undefineFlags(self._libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM)
        return etree.fromstring(text)

    def found(self, one: Discriminator, value: str, root: Any) -> Any | None:
        """The element in what libvirt wrote."""
        form = one.form(value)
        for element in root.iterfind(one.path):
            if all(
                element.get(name) == form.get(name)
                for name in ("type", "index", "id", "device")
                if form.get(name)
            ):
                if read(element, one.slot) in (value, None):
                    return element
        return None

    def outcome(self, one: Discriminator, value: str, part: tuple[tuple[str, ...], str, str]) -> str:
        """kept, dropped, refused, or invalid by the schema; "" where there is nothing to try."""
        node = one.node(self.schema)
        tags, slot, word = part
        if slot and read(one.form(value), "/".join((*tags, slot))) is not None:
            return "kept"  # the form says it
        element = with_part(one.form(value), node, tags, slot, word)
        if element is None:
            return "kept"
        xml = one.domain(element)
        if self.schema.validate(etree.fromstring(xml)):
            return "invalid"
        root = self.define(xml)
        if root is None:
            return "refused"
        there = self.found(one, value, root)
        if there is None:
            return "other"
        below = there.find("/".join(tags)) if tags else there
        if below is None or (slot and below.get(slot[1:]) is None):
            return "dropped"
        return "kept"

    def rows(self, one: Discriminator) -> Iterator[tuple[str, str, str, str, str]]:
        """(path, slot, what, values that keep it, values that do not) of a discriminator."""
        usable = []
        for value in one.forms:
            root = self.define(one.domain(one.form(value)))
            if root is not None and self.found(one, value, root) is not None:
                usable.append(value)
            else:
                print(
                    f"  {one.name}='{value}': {self.refusal if root is None else 'not found'}",
                    file=sys.stderr,
                )
        if len(usable) < 2:
            return
        outcomes: dict[str, dict[str, set[str]]] = {}
        for tags, slot, word in parts(one.node(self.schema)):
            what = "/".join((*tags, slot)) if slot else "/".join(tags)
            if (one.path, what) in DECIDES or (one.path, one.slot, what) in NOT_ABOUT:
                continue
            seen = outcomes.setdefault(what, {})
            for value in usable:
                seen.setdefault(value, set()).add(self.outcome(one, value, (tags, slot, word)))
        keeps = {
            what: {value for value in usable if "kept" in seen[value]} for what, seen in outcomes.items()
        }
        falls: dict[str, set[str]] = {}
        for what, seen in outcomes.items():
            for below, values in keeps.items():
                if below.startswith(what + "/"):  # what is kept in it is kept with it
                    keeps[what] |= values
            others = {value for value in usable if value not in keeps[what] and "other" not in seen[value]}
            if not keeps[what] or not others:
                continue
            if any(what.startswith(above + "/") and others <= values for above, values in falls.items()):
                continue  # it falls with what it is in
            falls[what] = others
            yield one.path, one.slot, what, _listed(usable, keeps[what]), _listed(usable, others)


def _listed(order: list[str], values: set[str]) -> str:
    return " ".join(value for value in order if value in values)


def read(element: Any, slot: str) -> str | None:
    """A slot below an element."""
    path, _, name = slot.rpartition("/")
    at = element.find(path) if path else element
    return None if at is None else at.get(name[1:])


HEAD = """# SPDX-License-Identifier: GPL-2.0-or-later
# Written by ./dev probe{}: path of the element, slot and part relative to it, values whose parts
# libvirt keeps, values with which it drops or refuses it, {}source.
"""
#: (path, slot, part) -> (values that keep it, values that do not)
Outcomes = dict[tuple[str, str, str], tuple[list[str], list[str]]]


def outcomes(path: Path) -> Outcomes:
    """What a libvirt said, as it was written down."""
    return {
        (way, slot, what): (keeps.split(), others.split())
        for way, slot, what, keeps, others, *_ in rows(path)
    }


def merged(old: Outcomes, new: Outcomes, version: str) -> Iterator[tuple[str, str, str, str, str, str]]:
    """(path, slot, part, keeps, others, when) of two versions of libvirt.

    What is not told apart by a version is where no value is kept by the one and refused by the
    other; a value that only one of them has is taken from there.
    """
    values: dict[tuple[str, str], set[str]] = {}
    for (path, slot, _), (keeps, others) in new.items():
        values.setdefault((path, slot), set()).update(keeps, others)
    for key in dict.fromkeys((*old, *new)):
        known = values.get(key[:2], set())
        before = old.get(key)
        if before is not None and key not in new and known and not _covered(key, before[1], new):
            after: tuple[list[str], list[str]] | None = (sorted(known), [])  # all keep it
        else:
            after = new.get(key)
        if before is None or after is None:
            keeps, others = before or after or ([], [])
            yield (*key, " ".join(keeps), " ".join(others), "-" if after is None else f"since={version}")
            continue
        if set(before[0]) & set(after[1]) or set(before[1]) & set(after[0]):
            yield (*key, " ".join(before[0]), " ".join(before[1]), f"before={version}")
            if after[1]:
                yield (*key, " ".join(after[0]), " ".join(after[1]), f"since={version}")
            continue
        keeps, others = (list(dict.fromkeys((*before[at], *after[at]))) for at in (0, 1))
        yield (*key, " ".join(keeps), " ".join(others), "-")


def _covered(key: tuple[str, str, str], others: list[str], new: Outcomes) -> bool:
    """Does the part fall with one that it is in?"""
    path, slot, what = key
    return any(
        (way, by) == (path, slot) and what.startswith(above + "/") and set(others) <= set(refused)
        for (way, by, above), (_, refused) in new.items()
    )


def write_merged() -> None:
    """virtProfile/format/data/probed.tsv, of what was written down of each version."""
    old, new = sorted(RAW.glob("*.tsv"), key=lambda path: [int(part) for part in path.stem.split(".")])
    source = f"probe: qemu:///embed, libvirt {old.stem} and {new.stem}"
    lines = ["\t".join((*row, source)) for row in merged(outcomes(old), outcomes(new), new.stem)]
    TARGET.write_text(
        HEAD.format("", "libvirt (since=, before=),\n# ") + "".join(line + "\n" for line in lines)
    )
    print(f"{len(lines)} rows: {TARGET}")


def embedded(root: Path) -> Path:
    """A directory for an embedded QEMU driver that runs as who runs this."""
    (root / "etc").mkdir()
    (root / "etc" / "qemu.conf").write_text(
        'user = "root"\ngroup = "root"\nsecurity_driver = "none"\nstdio_handler = "file"\n'
        "namespaces = []\ncgroup_controllers = []\nremember_owner = 0\n"
    )
    return root


def version_of(handle: Any) -> str:
    """libvirt's, as in "9.0.0"."""
    version = handle.getLibVersion()
    return f"{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}"


def main() -> None:
    import tempfile

    import libvirt

    libvirt.registerErrorHandler(lambda *_: None, None)
    libvirt.virEventRegisterDefaultImpl()
    with tempfile.TemporaryDirectory(prefix="vp-") as place:
        uri = sys.argv[1] if len(sys.argv) > 1 else f"qemu:///embed?root={embedded(Path(place))}"
        handle = libvirt.open(uri)
        told = version_of(handle)
        probe = Probe(handle)
        lines = []
        for one in DISCRIMINATORS:
            before = probe.asked
            rows = ["\t".join((*row, f"probe: qemu:///embed, libvirt {told}")) for row in probe.rows(one)]
            print(
                f"{one.name}: {len(rows)} rows, {probe.asked - before} domains", file=sys.stderr, flush=True
            )
            lines += rows
        handle.close()
    target = RAW / f"{told}.tsv"
    target.write_text(
        HEAD.format(" on this libvirt", "") + "".join(line + "\n" for line in dict.fromkeys(lines))
    )
    print(f"{len(lines)} rows of {probe.asked} domains: {target}")
    write_merged()


if __name__ == "__main__":
    main()
