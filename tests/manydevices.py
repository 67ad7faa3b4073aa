# SPDX-License-Identifier: GPL-2.0-or-later
"""VMs with any number of devices of a kind: what is linear shows on them."""

from __future__ import annotations

from collections.abc import Callable


def letters(number: int) -> str:
    """a, b, … z, aa, ab, …: what follows "vd" in the name of a disk."""
    name, number = "", number + 1
    while number:
        number, rest = divmod(number - 1, 26)
        name = chr(ord("a") + rest) + name
    return name


def _disk(bus: str, prefix: str, driver: str = "") -> Callable[[int], str]:
    return lambda n: (
        f"<disk type='file' device='disk'>{driver}<source file='/i/{n}'/>"
        f"<target dev='{prefix}{letters(n)}' bus='{bus}'/></disk>"
    )


def _interface(model: str) -> Callable[[int], str]:
    return lambda n: (
        f"<interface type='network'><mac address='52:54:00:00:{n // 256:02x}:{n % 256:02x}'/>"
        f"<source network='default'/><model type='{model}'/></interface>"
    )


def _fixed(text: str) -> Callable[[int], str]:
    return lambda n: text


#: Kind -> the n-th device of it.
KINDS: dict[str, Callable[[int], str]] = {
    "virtio disks": _disk("virtio", "vd", "<driver name='qemu' type='qcow2'/>"),
    "scsi disks": _disk("scsi", "sd"),
    "sata disks": _disk("sata", "sd"),
    "NICs": _interface("e1000"),
    "USB inputs": _fixed("<input type='tablet' bus='usb'/>"),
    "redirdevs": _fixed("<redirdev bus='usb' type='spicevmc'/>"),
    "channels": lambda n: f"<channel type='unix'><target type='virtio' name='org.x.{n}'/></channel>",
    "controllers": lambda n: f"<controller type='scsi' index='{n}'/>",
    "virtio NICs": _interface("virtio"),
    "CDROMs": lambda n: (
        f"<disk type='file' device='cdrom'><source file='/i/{n}'/>"
        f"<target dev='sd{letters(n)}' bus='sata'/><readonly/></disk>"
    ),
    "USB disks": _disk("usb", "sd"),
    "PCI devices of the host": lambda n: (
        "<hostdev mode='subsystem' type='pci' managed='yes'><source>"
        f"<address domain='0x{n >> 13:04x}' bus='0x{n >> 5 & 255:02x}' slot='0x{n & 31:02x}' function='0x0'/>"
        "</source></hostdev>"
    ),
    "USB devices of the host": lambda n: (
        f"<hostdev mode='subsystem' type='usb'><source><vendor id='0x{n:04x}'/><product id='0x1'/></source></hostdev>"
    ),
    "serial ports": lambda n: f"<serial type='pty'><target port='{n}'/></serial>",
    "consoles": lambda n: f"<console type='pty'><target type='virtio' port='{n}'/></console>",
    "file systems": lambda n: (
        f"<filesystem type='mount'><driver type='virtiofs'/><source dir='/s/{n}'/><target dir='t{n}'/></filesystem>"
    ),
    "displays": lambda n: f"<graphics type='{('spice', 'vnc', 'egl-headless')[n % 3]}'/>",
    "video cards": _fixed("<video><model type='qxl'/></video>"),
    "sound cards": _fixed("<sound model='ich9'/>"),
    "DIMMs": _fixed(
        "<memory model='dimm'><target><size unit='KiB'>524288</size><node>0</node></target></memory>"
    ),
    "random number generators": _fixed(
        "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"
    ),
    "PCI ports": lambda n: f"<controller type='pci' index='{n + 1}' model='pcie-root-port'/>",
    "USB controllers": lambda n: f"<controller type='usb' index='{n}' model='qemu-xhci'/>",
    "shared memory": lambda n: (
        f"<shmem name='s{n}'><model type='ivshmem-plain'/><size unit='M'>4</size></shmem>"
    ),
    "smartcard readers": _fixed("<smartcard mode='passthrough' type='spicevmc'/>"),
    "SPICE channels": _fixed(
        "<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>"
    ),
    "panic devices": _fixed("<panic model='isa'/>"),
    "watchdogs": _fixed("<watchdog model='i6300esb' action='reset'/>"),
    "TPMs": _fixed("<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"),
}
_MIXED = ("virtio disks", "NICs", "USB inputs", "sata disks", "channels", "redirdevs")
_OS = "<os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>"
#: Kind of what stands outside of the devices -> its parent, and the n-th of it.
OTHERS: dict[str, tuple[str, Callable[[int], str]]] = {
    "CPU features": (
        "<cpu mode='custom' match='exact'><model>qemu64</model>%s</cpu>",
        lambda n: f"<feature policy='require' name='f{n}'/>",
    ),
    "NUMA cells": (
        "<cpu mode='host-passthrough'><numa>%s</numa></cpu>",
        lambda n: f"<cell id='{n}' cpus='{n}' memory='1024' unit='KiB'/>",
    ),
    "timers": ("<clock offset='utc'>%s</clock>", lambda n: f"<timer name='t{n}'/>"),
    "pinned CPUs": ("<cputune>%s</cputune>", lambda n: f"<vcpupin vcpu='{n}' cpuset='{n % 8}'/>"),
    "QEMU arguments": (
        "<q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'>%s</q:commandline>",
        lambda n: f"<q:arg value='-a{n}'/>",
    ),
    "I/O threads": ("<iothreadids>%s</iothreadids>", lambda n: f"<iothread id='{n + 1}'/>"),
    "OEM strings": (
        "<sysinfo type='smbios'><oemStrings>%s</oemStrings></sysinfo>",
        lambda n: f"<entry>e{n}</entry>",
    ),
    "metadata of others": ("<metadata><x:a xmlns:x='urn:x'>%s</x:a></metadata>", lambda n: f"<x:b n='{n}'/>"),
}


def _domain(devices: str, others: str = "") -> str:
    # so many equal signs that attributes are counted one by one, whatever the number of devices
    return f"""<domain type='kvm'>
  <name>x</name>
  <uuid>6f6bb0a2-9f5c-4cf2-9d5b-3a1a8bb0a001</uuid>
  <description>{"=" * 1200}</description>
  <memory unit='KiB'>8388608</memory>
  <vcpu>8</vcpu>{others}
  {_OS}
  <devices>
    {devices}
  </devices>
</domain>
"""


def domain(kind: str, count: int) -> str:
    """A VM with so many devices of a kind of `KINDS`, or things of one of `OTHERS`."""
    if kind in OTHERS:
        outer, make = OTHERS[kind]
        return _domain("", "\n  " + outer % "".join(f"\n    {make(number)}" for number in range(count)))
    return _domain("\n    ".join(KINDS[kind](number) for number in range(count)))


def mixed(count: int) -> str:
    """So many devices, of each of six kinds a sixth."""
    return _domain("\n    ".join(KINDS[_MIXED[number % 6]](number) for number in range(count)))
