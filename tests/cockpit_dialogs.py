# SPDX-License-Identifier: GPL-2.0-or-later
"""Drives dialogs of cockpit-machines, with the distribution's virt-xml and virt-install and with ours.

``cockpit_dialogs.py PORT PICTURES THEIRS OURS [DIALOG...]``, beside `cockpit.sh`'s session: THEIRS and OURS are the
commands that run virt-xml. Each dialog is driven on the same VM, defined anew, or makes one; what libvirt then has, and
the words that the program was called with, have to be the same. A VM is made once more with a standing profile. The
last line of what it prints is "all is well".
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import time
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from cockpit_session import BIN, open_page, picture, program, signed_in, virsh
from webdriver import Browser

PROGRAMS = {"theirs": sys.argv[3], "ours": sys.argv[4]}
ONLY = sys.argv[5:]
NAME, MADE = "vp-n-dialogs", "vp-n-made"
VM = """<domain type='qemu'><name>{name}</name><uuid>0f5e9d3c-4b7a-4a55-9d10-6b6b5e2c7a01</uuid>
<memory unit='MiB'>256</memory><vcpu>2</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type><boot dev='hd'/></os><on_crash>destroy</on_crash>{head}
<devices><disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/var/lib/libvirt/pool/a.img'/>
<target dev='vda' bus='virtio'/></disk><disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>
<interface type='network'><mac address='52:54:00:11:22:33'/><source network='default'/><model type='e1000'/></interface>
{devices}<memballoon model='virtio'/></devices></domain>"""
SHARED = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
DIRECTORY = """<filesystem type='mount' accessmode='passthrough'><driver type='virtiofs'/><source dir='/srv'/>
<target dir='share'/></filesystem>"""
POOL = "<pool type='dir'><name>pool</name><target><path>/var/lib/libvirt/pool</path></target></pool>"
NETWORK = "<network><name>default</name><bridge name='vpn0'/></network>"


class Dialog(NamedTuple):
    """A dialog: how it is opened, what is given (None is a click), and what ends it.

    :ivar calls: the option that virt-xml gets; "" where the dialog asks libvirt by D-Bus
    :ivar brings: stands in the VM's XML afterwards
    :ivar goes: does not stand there any more
    :ivar devices: what the VM has besides
    :ivar head: the same, above its devices
    """

    opens: str
    gives: tuple[tuple[str, str | None], ...]
    ends: str
    calls: str
    brings: str
    goes: str = ""
    devices: str = ""
    head: str = ""


P = f"#vm-{NAME}"
NIC, ADDED, ISO = f"{P}-network-1-edit-dialog", f"{P}-add-iface", f"{P}-disks-sda-insert-dialog-adddisk"
DISK = f"{P}-disks-adddisk"
HOST, SHARE = f"{P}-hostdevs", f"{P}-filesystems-modal"
WATCHDOG = "<watchdog model='i6300esb' action='reset'/>"
DIALOGS = {
    "watchdog": Dialog(f"{P}-watchdog-button", (("#poweroff", None),), "#watchdog-dialog-apply", "--watchdog", "action='poweroff'"),
    "watchdog edited": Dialog(
        f"{P}-watchdog-button", (("#pause", None),), "#watchdog-dialog-apply", "--watchdog", "action='pause'", devices=WATCHDOG
    ),
    "watchdog removed": Dialog(
        f"{P}-watchdog-button", (), "#watchdog-dialog-detach", "--watchdog", "<devices>", "i6300esb", WATCHDOG
    ),
    "host device": Dialog(
        f"{HOST}-add", (("#pci", None), ("[role=dialog] tbody input[type=checkbox]:enabled", None)),
        f"{HOST}-attach", "--hostdev", "<hostdev mode='subsystem' type='pci' managed='yes'>",
    ),
    "shared directory": Dialog(
        f"{P}-filesystems-add",
        ((f"{SHARE}-source-group .pf-c-select__toggle-button", None), (f"{SHARE}-source-group input", "/srv"),
         (f"{SHARE}-source-group .pf-c-select__menu-item", None), (f"{SHARE}-mountTag", "share")),
        f"{SHARE}-add", "--filesystem", "<source dir='/srv/'/>",
    ),
    "shared directory removed": Dialog(
        f"[id='delete-{P[1:]}-filesystem-/srv-share']", (), "[role=dialog] .pf-m-danger", "--filesystem", "memfd", "<filesystem",
        DIRECTORY, SHARED,
    ),
    "NIC": Dialog(
        f"{P}-add-iface-button",
        ((f"{ADDED}-source", "default"), (f"{ADDED}-model", "e1000e"), (f"{ADDED}-set-mac", None), (f"{ADDED}-mac", "52:54:00:aa:bb:cc")),
        f"{ADDED}-add", "--network", "52:54:00:aa:bb:cc",
    ),
    "NIC edited": Dialog(NIC, ((f"{NIC}-model", "virtio"), (f"{NIC}-mac", "52:54:00:99:99:99")), f"{NIC}-save", "--network", "52:54:00:99:99:99"),
    "NIC unplugged": Dialog(f"{P}-iface-1-unplug", (), "", "--network", "<link state='down'/>"),
    "NIC removed": Dialog(f"#delete-{P[1:]}-iface-1", (), "[role=dialog] .pf-m-danger", "--network", "<devices>"),
    "CPU": Dialog(f"{P}-cpu-model button", (("#cpu-model-select-group select", "Westmere"),), "#cpu-config-dialog-apply", "--cpu", "Westmere"),
    "vCPUs": Dialog(
        f"{P}-vcpus-count button", (("#machines-vcpu-max-field", "4"), ("#machines-vcpu-count-field", "3")),
        "#machines-vcpu-modal-dialog-apply", "--vcpu", "<vcpu placement='static' current='3'>4</vcpu>",
    ),
    "CDROM": Dialog(
        f"{P}-disks-sda-insert", ((f"{ISO}-useexisting", None), (f"{ISO}-existing-select-volume", "cd.iso")),
        f"{ISO}-dialog-add", "--disk", "volume='cd.iso'",
    ),
    "disk": Dialog(
        f"{P}-disks-adddisk", ((f"{DISK}-useexisting", None), (f"{DISK}-existing-select-volume", "b.img")),
        f"{DISK}-dialog-add", "", "b.img",
    ),
    "memory": Dialog(
        f"{P}-memory-count button",
        ((f"{P}-memory-modal-max-memory", "512"), (f"{P}-memory-modal-memory", "384")),
        f"{P}-memory-modal-save", "", "<memory unit='KiB'>524288</memory>",
    ),
    "boot order": Dialog(f"{P}-boot-order button", (("[role=dialog] input[type=checkbox]:not(:checked)", None),), "[role=dialog] footer .pf-m-primary", "", "<boot order='2'/>"),
}  # fmt: skip


class Creation(NamedTuple):
    """A dialog that makes a VM: as `Dialog`; libvirt has a VM of its name afterwards."""

    opens: str
    gives: tuple[tuple[str, str | None], ...]
    ends: str
    calls: str


OS = (  # the first of those that are still supported
    ("#os-select-group .pf-c-select__toggle-button", None),
    ("#os-select-group .pf-c-select__menu-item:not(.pf-m-disabled)", None),
)
IMAGE = (
    ("#source-disk-group .pf-c-select__toggle-button", None),
    ("#source-disk-group input", "/var/lib/libvirt/pool/b"),  # no other VM has it
    ("#source-disk-group .pf-c-select__menu-item.file", None),
)
CREATIONS = {
    "created": Creation(
        "#create-new-vm",
        (("#vm-name", MADE), ("#source-type", "pxe"), *OS, ("#storage-pool-select", "NoStorage")),
        "#create-and-edit", "--print-xml=1",
    ),
    "imported": Creation(
        "#import-existing-vm", (("#vm-name", MADE), *IMAGE, *OS), "#create-and-edit", "--print-xml=1"
    ),
}  # fmt: skip
VIRTUNED = "{http://virt-manager.org/schemas/virtuned/0.1}"
#: What every VM gets that is made, where the host's administrator says so.
STANDING = '[[new]]\nprofiles = ["watchdog"]\n'

#: A React component takes a value that is set only with the events of somebody who types.
GIVE = """
const [one, value] = [document.querySelector(arguments[0]), arguments[1]];
if (!one) return false;
if (value === null) return one.click(), true;
if (one.tagName === 'SELECT' && ![...one.options].some((each) => each.value === value)) return false;
Object.getOwnPropertyDescriptor(Object.getPrototypeOf(one), 'value').set.call(one, value);
for (const event of ['input', 'change']) one.dispatchEvent(new Event(event, { bubbles: true }));
return true
"""
#: What the page says of the VM: the model of its NIC, what can be done to its watchdog, has it a directory?
SHOWN = """
const text = (part) => document.querySelector(arguments[0] + part)?.textContent;
const shares = document.querySelector("button[id*='-filesystem-/srv-share']") !== null;
return [text('-network-1-model'), text('-watchdog-button'), shares]
"""
ENTER = "document.querySelector(arguments[0])?.dispatchEvent(new FocusEvent('focusin', { bubbles: true }))"
LEAVE = "document.querySelector(arguments[0]).dispatchEvent(new FocusEvent('focusout', { bubbles: true }))"


#: Runs a program and keeps its words; `--install=?` is how the page asks what virt-install can.
KEEPING = """#!/bin/sh
case "$1" in
    *=\\?) ;;
    *) for word; do echo "$word"; done >>"{words}" ;;
esac
exec {command} "$@"
"""


def is_noted() -> bool:
    made = MADE in virsh("list", "--all", "--name").split()
    return made and "cockpit_machines" in virsh("dumpxml", "--inactive", MADE)


def alike(name: str, theirs: tuple[str, str], ours: tuple[str, str]) -> None:
    """The same XML and the same words."""
    for one, other in zip(theirs, ours, strict=True):
        rows = difflib.unified_diff(one.splitlines(), other.splitlines(), "theirs", "ours", lineterm="")
        assert one == other, "\n".join([name, *rows])


class Walk:
    def __init__(self, browser: Browser) -> None:
        self.browser = browser

    def use(self, who: str) -> None:
        """From now on virt-xml and virt-install are those; their words are kept, but for what the page asks by itself."""
        for name in ("virt-xml", "virt-install"):
            command = PROGRAMS[who].replace("virt-xml", name)
            program(name, KEEPING.format(command=command, words=BIN / "words"))
        (BIN / "words").write_text("")

    def open(self) -> None:
        open_page(self.browser, "machines")
        # That the host has no hardware virtualization is said first.
        passes = (
            "[...document.querySelectorAll('button')].find((one) => one.textContent === 'Ignore')?.click()"
        )
        ready = "return document.querySelector('#create-new-vm, #virtual-machines-listing') !== null"
        self.browser.wait(lambda: self.browser.run(f"{passes}; {ready}"), "the VMs", 60)

    def drive(self, name: str, who: str) -> tuple[str, str]:
        """The VM's XML and the words of virt-xml afterwards."""
        dialog = DIALOGS[name]
        self.browser.run("location.hash = '#'")
        virsh("define", "/dev/stdin", text=VM.format(name=NAME, head=dialog.head, devices=dialog.devices))
        before = virsh("dumpxml", "--inactive", NAME)
        self.use(who)
        self.browser.run("location.hash = arguments[0]", f"#vm?name={NAME}&connection=system")
        shown = ["e1000", "edit" if "<watchdog" in dialog.devices else "add", "<filesystem" in dialog.devices]
        self.browser.wait(lambda: self.browser.run(SHOWN, P) == shown, f"the VM: {shown}", 30)
        time.sleep(0.5)
        self.fill(name, who, dialog)
        self.browser.wait(lambda: virsh("dumpxml", "--inactive", NAME) != before, f"{name}: a change", 60)
        words = (BIN / "words").read_text()
        xml = virsh("dumpxml", "--inactive", NAME)
        assert dialog.brings in xml, (name, who, xml)
        assert not dialog.goes or dialog.goes not in xml, (name, who, xml)
        assert (dialog.calls in words.splitlines()) if dialog.calls else not words, (name, who, words)
        return xml, words

    def fill(self, name: str, who: str, dialog: Dialog | Creation) -> None:
        """Open a dialog, give what it wants, and end it."""
        self.give(dialog.opens, None)
        for selector, value in dialog.gives:
            if value is not None:
                self.browser.run(ENTER, selector)
            self.give(selector, value)
            if value is not None:
                self.browser.run(LEAVE, selector)
            time.sleep(0.2)
        if not dialog.ends:
            return
        able = "const one = document.querySelector(arguments[0]); return Boolean(one && !one.disabled)"
        self.browser.wait(lambda: self.browser.run(able, dialog.ends), f"{name}: {dialog.ends}", 20)
        if who == "ours":
            picture(self.browser, f"dialog-{name.replace(' ', '-')}")
        self.give(dialog.ends, None)
        gone = "return document.querySelector('[role=dialog]') === null"
        self.browser.wait(lambda: self.browser.run(gone), f"{name}: its end", 60)

    def create(self, name: str, who: str) -> tuple[str, str]:
        """The XML of a VM that is made, and the words of virt-install; it is gone afterwards."""
        creation = CREATIONS[name]
        self.use(who)
        self.open()  # or the last one of that name may still be on the page
        self.fill(name, who, creation)
        # install_machine.py notes in the metadata how it was made, as the last thing that it does.
        self.browser.wait(is_noted, f"{name}: a VM", 60)
        self.listed("Shut off")
        words = (BIN / "words").read_text()
        assert creation.calls in words.splitlines(), (name, who, words)
        xml = virsh("dumpxml", "--inactive", MADE)
        virsh("undefine", MADE)
        chance = re.compile(r"(?<=<uuid>)[-0-9a-f]{36}(?=<)|(?<=<mac address=')[0-9a-f:]{17}")
        return chance.sub("CHANCE", xml), words

    def listed(self, state: str) -> None:
        """Wait until the page lists the VM that was made, in a state."""
        self.browser.run("location.hash = '#'")
        row = """const all = [...document.querySelectorAll('#virtual-machines-listing tbody')];
            return all.find((one) => one.textContent.includes(arguments[0]))?.textContent ?? ''"""
        self.browser.wait(lambda: state in self.browser.run(row, MADE), f"{MADE}: {state}", 60)

    def creations(self, name: str) -> None:
        theirs, ours = self.create(name, "theirs"), self.create(name, "ours")
        alike(name, theirs, ours)
        config = Path(os.environ["XDG_CONFIG_HOME"]) / "virt-profile" / "config.toml"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(STANDING)
        more, words = self.create(name, "ours")
        config.unlink()
        assert words == ours[1], (name, words, ours[1])
        # Cockpit's script writes the metadata anew, with prefixes of its own.
        named = [one.get("name") for one in ElementTree.fromstring(more).iter(VIRTUNED + "profile")]
        assert "<watchdog" in more and named == ["watchdog"], (name, named, more)
        assert "<watchdog" not in ours[0] and "virtuned" not in ours[0], (name, ours[0])
        print(f"ok: {name}: {' '.join(words.splitlines()[2:])}; and with a standing profile")

    def give(self, selector: str, value: str | None) -> None:
        self.browser.wait(lambda: self.browser.run(GIVE, selector, value), f"{selector}: {value}", 20)

    def run(self) -> None:
        place = Path("/var/lib/libvirt/pool")
        place.mkdir()
        for name in ("a.img", "b.img", "cd.iso"):
            (place / name).write_bytes(bytes(1 << 20))
        virsh("pool-define", "/dev/stdin", text=POOL)
        virsh("pool-start", "pool")
        virsh("net-define", "/dev/stdin", text=NETWORK)
        virsh("define", "/dev/stdin", text=VM.format(name=NAME, head="", devices=""))
        self.use("ours")
        for name in ONLY or CREATIONS:
            if name in CREATIONS:
                self.creations(name)
        self.open()
        for name in ONLY or DIALOGS:
            if name not in DIALOGS:
                continue
            theirs, ours = self.drive(name, "theirs"), self.drive(name, "ours")
            alike(name, theirs, ours)
            print(f"ok: {name}: {' '.join(ours[1].splitlines()[2:]) or 'by D-Bus'}")


def main() -> None:
    with signed_in("dialogs-failed", 1600) as browser:
        Walk(browser).run()


if __name__ == "__main__":
    main()
