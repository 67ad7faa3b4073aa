# SPDX-License-Identifier: GPL-2.0-or-later
"""Drives dialogs of cockpit-machines, with the distribution's virt-xml and with ours; run beside `cockpit.sh`'s session.

``cockpit_dialogs.py PORT PICTURES THEIRS OURS``: the last two are the programs. Each dialog is driven on the same VM,
defined anew; what libvirt then has, and the words that virt-xml was called with, have to be the same. The last line
of what it prints is "all is well".
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import NamedTuple

from cockpit_session import BIN, open_page, picture, program, signed_in, virsh
from webdriver import Browser

PROGRAMS = {"theirs": sys.argv[3], "ours": sys.argv[4]}
NAME = "vp-n-dialogs"
VM = f"""<domain type='qemu'><name>{NAME}</name><uuid>0f5e9d3c-4b7a-4a55-9d10-6b6b5e2c7a01</uuid>
<memory unit='MiB'>256</memory><vcpu>2</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type><boot dev='hd'/></os><on_crash>destroy</on_crash>
<devices><disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/var/lib/libvirt/pool/a.img'/>
<target dev='vda' bus='virtio'/></disk><disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>
<interface type='network'><mac address='52:54:00:11:22:33'/><source network='default'/><model type='e1000'/></interface>
<memballoon model='virtio'/></devices></domain>"""
POOL = "<pool type='dir'><name>pool</name><target><path>/var/lib/libvirt/pool</path></target></pool>"
NETWORK = "<network><name>default</name><bridge name='vpn0'/></network>"


class Dialog(NamedTuple):
    """A dialog: how it is opened, what is given (None is a click), and what ends it.

    :ivar calls: the option that virt-xml gets; "" where the dialog asks libvirt by D-Bus
    :ivar brings: stands in the VM's XML afterwards
    """

    opens: str
    gives: tuple[tuple[str, str | None], ...]
    ends: str
    calls: str
    brings: str


P = f"#vm-{NAME}"
NIC, ADDED, ISO = f"{P}-network-1-edit-dialog", f"{P}-add-iface", f"{P}-disks-sda-insert-dialog-adddisk"
DISK = f"{P}-disks-adddisk"
DIALOGS = {
    "watchdog": Dialog(f"{P}-watchdog-button", (("#poweroff", None),), "#watchdog-dialog-apply", "--watchdog", "action='poweroff'"),
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
ENTER = "document.querySelector(arguments[0])?.dispatchEvent(new FocusEvent('focusin', { bubbles: true }))"
LEAVE = "document.querySelector(arguments[0]).dispatchEvent(new FocusEvent('focusout', { bubbles: true }))"


class Walk:
    def __init__(self, browser: Browser) -> None:
        self.browser = browser

    def use(self, who: str) -> None:
        """From now on virt-xml is that program; its words are kept."""
        script = f'#!/bin/sh\nfor word; do echo "$word"; done >>"{BIN}/words"\nexec {PROGRAMS[who]} "$@"\n'
        program("virt-xml", script)
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
        virsh("define", "/dev/stdin", text=VM)
        before = virsh("dumpxml", "--inactive", NAME)
        self.use(who)
        self.browser.run("location.hash = arguments[0]", f"#vm?name={NAME}&connection=system")
        # What libvirt has now is on the page.
        self.browser.wait(
            lambda: self.browser.run("return document.querySelector(arguments[0])?.textContent === 'e1000'", f"{P}-network-1-model"),
            "the VM", 30,
        )  # fmt: skip
        time.sleep(0.5)
        self.give(dialog.opens, None)
        for selector, value in dialog.gives:
            if value is not None:
                self.browser.run(ENTER, selector)
            self.give(selector, value)
            if value is not None:
                self.browser.run(LEAVE, selector)
            time.sleep(0.2)
        if dialog.ends:
            able = "const one = document.querySelector(arguments[0]); return Boolean(one && !one.disabled)"
            self.browser.wait(lambda: self.browser.run(able, dialog.ends), f"{name}: {dialog.ends}", 20)
            if who == "ours":
                picture(self.browser, f"dialog-{name.replace(' ', '-')}")
            self.give(dialog.ends, None)
            gone = "return document.querySelector('[role=dialog]') === null"
            self.browser.wait(lambda: self.browser.run(gone), f"{name}: its end", 60)
        self.browser.wait(lambda: virsh("dumpxml", "--inactive", NAME) != before, f"{name}: a change", 60)
        words = (BIN / "words").read_text()
        xml = virsh("dumpxml", "--inactive", NAME)
        assert dialog.brings in xml, (name, who, xml)
        assert (dialog.calls in words.splitlines()) if dialog.calls else not words, (name, who, words)
        return xml, words

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
        virsh("define", "/dev/stdin", text=VM)
        self.open()
        for name in DIALOGS:
            theirs, ours = self.drive(name, "theirs"), self.drive(name, "ours")
            assert ours == theirs, (name, theirs, ours)
            print(f"ok: {name}: {' '.join(ours[1].splitlines()[2:]) or 'by D-Bus'}")


def main() -> None:
    with signed_in("dialogs-failed", 1600) as browser:
        Walk(browser).run()


if __name__ == "__main__":
    main()
