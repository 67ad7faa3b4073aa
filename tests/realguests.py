# SPDX-License-Identifier: GPL-2.0-or-later
"""Conversions of an installed Linux guest: booted to its login before, after, and after they were taken back.

Run by test_real_guests.py beside a libvirtd: ``realguests.py DISK [CONVERSION…]``, DISK as linuxguest.sh makes
it. Everything is done by the program, as a person would: ``virt-profile VM --profile … --override --yes``. What
a conversion leaves is what the next one starts from. One line a boot; 1 where one of them was not as it has to be.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import libvirt
from starting import BUSY
from test_define_roundtrip import without_bookkeeping

from virtProfile.frozen import record

TOP = Path(__file__).parent.parent
NAME = "vp-linuxguest"
#: Seconds for a boot: two with KVM, a quarter of a minute emulated, minutes on a machine that does other things too.
PATIENCE = int(os.environ.get("VIRT_PROFILE_BOOT_SECONDS", "600"))
#: A KVM that emulates real and protected mode, and with them the boot loader, instruction by instruction.
WITHOUT_HARDWARE = Path("/sys/module/kvm_pvm")

#: An old VM as many have: BIOS, pc, IDE, e1000, SPICE with its agent, QXL and sound. Its serial console is a file.
VM = """<domain type='{kind}'>
  <name>{name}</name>
  <memory unit='MiB'>256</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/></os>
  <features><acpi/><apic/></features>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='{disk}'/>
      <target dev='hda' bus='ide'/>
    </disk>
    <controller type='usb' model='ich9-ehci1'/>
    <interface type='user'><model type='e1000'/></interface>
    <serial type='file'><source path='{console}'/></serial>
    <channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>
    <input type='tablet' bus='usb'/>
    <graphics type='spice' autoport='yes'/>
    <sound model='ich6'/>
    <video><model type='qxl'/></video>
    <redirdev bus='usb' type='spicevmc'/>
  </devices>
</domain>"""

QXL = "0x1b36:0x0100"


@record
class Conversion:
    """What is asked for, and what the guest then sees otherwise than before."""

    profiles: tuple[str, ...]
    sees: tuple[tuple[str, str | None], ...]


#: What the guest says of itself before.
BEFORE: dict[str, str | None] = {
    "disk": "sda by sd ata_piix",
    "NIC": "by e1000 with an answer",
    "machine": "Standard PC (i440FX + PIIX, 1996)",
    "display": QXL,
    "port": "com.redhat.spice.0",
    "a": "disk that can be written",
}
VIRTIO_DISK = ("disk", "vda by virtio_blk virtio-pci")
VIRTIO_NET = ("NIC", "by virtio_net virtio-pci with an answer")
Q35 = ("machine", "Standard PC (Q35 + ICH9, 2009)")
VNC = (("display", "0x1af4:0x1050"), ("port", None))
CONVERSIONS = {
    "virtio-disk": Conversion(("virtio-disk",), (VIRTIO_DISK,)),
    "virtio-net": Conversion(("virtio-net",), (VIRTIO_NET,)),
    "virtio-scsi": Conversion(("virtio-scsi",), (("disk", "sda by sd virtio_scsi virtio-pci"),)),
    "q35": Conversion(
        ("q35,convert=yes",), (Q35, ("disk", "sda by sd ahci"), ("NIC", "by e1000e with an answer"))
    ),
    "no-spice": Conversion(("no-spice",), (("display", None), ("port", None))),
    "spice-to-vnc": Conversion(("desktop",), VNC),
    "all": Conversion(
        ("q35,convert=yes", "virtio-disk", "virtio-net", "desktop"), (Q35, VIRTIO_DISK, VIRTIO_NET, *VNC)
    ),
}


class Wrong(Exception):
    """A boot or a definition that is not as it has to be."""


@contextmanager
def busy_port() -> Iterator[None]:
    """Another daemon's guest has the port that this daemon thinks to be free: the next one is tried."""
    try:
        yield
    except libvirt.libvirtError as problem:
        if not BUSY.search(str(problem)):
            raise


class Lost(Wrong):
    """The disk does not answer: QEMU's emulation had no CPU for longer than the guest waits for IDE."""


class Guest:
    """The VM in libvirt."""

    def __init__(self, handle: Any, kind: str, disk: Path, place: Path) -> None:
        self.handle = handle
        self.emulated = kind == "qemu"
        self.console = place / "console"
        overlay = place / "disk.qcow2"
        command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(disk.resolve())]
        subprocess.run([*command, str(overlay)], check=True)
        handle.defineXML(VM.format(kind=kind, name=NAME, disk=overlay, console=self.console))

    def domain(self) -> Any:
        return self.handle.lookupByName(NAME)

    def definition(self) -> str:
        return str(self.domain().XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))

    def boot(self) -> tuple[dict[str, str | None], str, float]:
        """Start it and wait for the login; again where the emulator of a busy host has lost the disk.

        :return: what the guest says that it sees, by its first word; its live definition; seconds
        :raises Wrong: no login came
        """
        for _ in range(2 if self.emulated else 0):
            with suppress(Lost):
                return self._boot()
        return self._boot()

    def _boot(self) -> tuple[dict[str, str | None], str, float]:
        self.console.write_bytes(b"")
        began = time.monotonic()
        domain = self.domain()
        for _ in range(5):
            with busy_port():
                domain.create()
                break
        else:
            domain.create()
        try:
            live = str(domain.XMLDesc(0))
            while True:
                printed = self.console.read_bytes().decode(errors="replace")
                if "linuxguest login:" in printed:
                    break
                if "ata1.00: failed command" in printed:
                    raise Lost(f"the guest's disk does not answer; the console ends with:\n{printed[-1500:]}")
                if time.monotonic() - began > PATIENCE or not domain.isActive():
                    raise Wrong(
                        f"no login within {PATIENCE} seconds; the console ends with:\n{printed[-1500:]}"
                    )
                time.sleep(0.2)
        finally:
            if domain.isActive():
                domain.destroy()
        lines = re.findall(r"sees: (\S+) ([^\r\n]*)", printed)
        return {**dict.fromkeys(BEFORE), **dict(lines)}, live, time.monotonic() - began

    def profile(self, *words: str) -> None:
        """What a person calls.

        :raises Wrong: it fails
        """
        command = [sys.executable, str(TOP / "virt-profile"), "-c", "qemu:///system", NAME, *words, "--yes"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Wrong(f"{' '.join(words)}: {done.stderr}")

    def close(self) -> None:
        self.domain().undefine()


def different(has: dict[str, str | None], wanted: dict[str, str | None]) -> str:
    return "; ".join(
        f"{word}: {has[word]}, not {wanted[word]}" for word in wanted if has[word] != wanted[word]
    )


def check(guest: Guest, what: str, wanted: dict[str, str | None]) -> None:
    """Boot it, and compare.

    :raises Wrong: no login, the guest sees something else, or the display is not the one that is meant
    """
    sees, live, seconds = guest.boot()
    wrong = different(sees, wanted)
    if wrong:
        raise Wrong(f"{what}: {wrong}")
    if ("spice" in re.sub("<metadata>.*?</metadata>", "", live, flags=re.S)) != bool(wanted["port"]):
        raise Wrong(f"{what}: SPICE is there, or is not: {live}")
    print(
        f"{what}: login after {seconds:.1f} s; disk {sees['disk']}; NIC {sees['NIC']}; {sees['machine']}",
        flush=True,
    )


def convert(guest: Guest, name: str) -> None:
    """Applied, booted, taken back, booted.

    :raises Wrong: not as it has to be
    """
    conversion = CONVERSIONS[name]
    plain = guest.definition()
    words = [word for profile in conversion.profiles for word in ("--profile", profile)]
    guest.profile(*words, "--override")
    check(guest, f"{name}, applied", {**BEFORE, **dict(conversion.sees)})
    guest.profile("--unapply", "all")
    before, after = without_bookkeeping(plain), without_bookkeeping(guest.definition())
    if before != after:
        raise Wrong(f"{name}, taken back: {list((before - after).items())}, {list((after - before).items())}")
    check(guest, f"{name}, taken back", BEFORE)


def main(disk: str, names: list[str]) -> int:
    libvirt.registerErrorHandler(lambda *_: None, None)
    kvm = os.access("/dev/kvm", os.W_OK) and not WITHOUT_HARDWARE.exists()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="vp-") as place:
        os.chmod(place, 0o755)
        guest = Guest(libvirt.open("qemu:///system"), "kvm" if kvm else "qemu", Path(disk), Path(place))
        print("with KVM" if kvm else "emulated", flush=True)
        try:
            check(guest, "before", BEFORE)
            plain = guest.definition()
            for name in names or CONVERSIONS:
                try:
                    convert(guest, name)
                except Wrong as problem:
                    failed = 1
                    print(problem, flush=True)
                    guest.handle.defineXML(plain)
        except Wrong as problem:
            failed = 1
            print(problem, flush=True)
        finally:
            guest.close()
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
