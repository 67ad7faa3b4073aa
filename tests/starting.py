# SPDX-License-Identifier: GPL-2.0-or-later
"""Every shipped profile on VMs that are there, through the daemon: applied, defined, started, taken back.

Run by test_existing_vms_start.py beside a libvirtd: ``starting.py VM [PROFILE…]``; one line of what came of it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import library
import libvirt
from test_define_roundtrip import VMS, without_bookkeeping
from test_profiles_start import NOT_STARTED

import virtProfile
from virtProfile.errors import ProfileError

URI = "qemu:///system"
#: What QEMU and libvirt say where this very host cannot run a guest that is right: it is defined and taken back.
HOST = re.compile(
    "failed to set MSR|System Management Mode not supported by this hypervisor"
    "|Host CPU does not provide required features|Could not run '/usr/bin/swtpm_setup'"
)
#: Another guest has the port that this daemon thinks to be free.
BUSY = re.compile("Address already in use|Failed to open SPICE sockets|binding socket to")


def on_disk(text: str, place: Path) -> str:
    """The VM with images that are there, KVM, and a network that needs nothing."""
    text = text.replace("<domain type='qemu'>", "<domain type='kvm'>", 1)
    text = text.replace("type='block'", "type='file'").replace(
        "source dev='/dev/vp/root'", "source file='root.img'"
    )
    text = text.replace("<target dev='tap0' managed='no'/>", "").replace("type='ethernet'", "type='user'")
    text = text.replace("<mtu size='1480'/>", "")
    for whole, kind, path in dict.fromkeys(re.findall(r"((file|path|socket)='([^']*)')", text)):
        here = place / Path(path).name
        text = text.replace(whole, f"{kind}='{here}'")
        if kind == "file":
            word = "qcow2" if here.suffix == ".qcow2" else "raw"
            subprocess.run(["qemu-img", "create", "-q", "-f", word, str(here), "16M"], check=True)
    return text


class Existing:
    """One VM in libvirt, and what came of the profiles."""

    def __init__(self, handle: Any, text: str) -> None:
        self.handle = handle
        self.outcomes: Counter[str] = Counter()
        self.failed: list[str] = []
        #: profile -> why a guest with it is not started here
        self.not_started: dict[str, str] = {}
        self._started: set[str] = set()
        self.plain = self.define(self.define(text))

    def define(self, text: str) -> str:
        domain = self.handle.defineXML(text)
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
        return str(domain.XMLDesc(flags))

    def start(self) -> None:
        domain = self.handle.lookupByName(re.search("<name>(.*?)</name>", self.plain)[1])
        for _ in range(5):
            try:
                domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
                break
            except libvirt.libvirtError as problem:
                if not BUSY.search(str(problem)):
                    raise
        assert domain.isActive()
        domain.destroy()

    def close(self) -> None:
        domain = self.handle.lookupByName(re.search("<name>(.*?)</name>", self.plain)[1])
        if domain.isActive():
            domain.destroy()
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)

    def life(self, name: str, priority: int, context: Any) -> str:
        """One profile: applied, started, nothing pending, taken back equal to before."""
        store = library.store()
        try:
            first = virtProfile.apply(
                self.plain, [library.wish(name, priority=priority)], store=store, context=context
            )
        except ProfileError as problem:
            return f"refused: {problem.code}"
        defined = self.define(first.xml)
        how = "started"
        if name in NOT_STARTED:
            how, self.not_started[name] = "defined", f"needs {NOT_STARTED[name]}"
        bare = re.sub("<metadata>.*?</metadata>", "", defined, flags=re.S)
        if name not in NOT_STARTED and bare not in self._started:
            self._started.add(bare)
            try:
                self.start()
            except libvirt.libvirtError as problem:
                if not HOST.search(str(problem)):
                    raise
                how, self.not_started[f"{name} at {priority}"] = (
                    "defined, as this host cannot run it",
                    str(problem),
                )
        again = virtProfile.apply(defined, store=store, context=context)
        assert not again.changes, ("pending", [str(change) for change in again.changes][:2])
        back = self.define(virtProfile.unapply(self.define(again.xml), store=store, context=context).xml)
        before, after = without_bookkeeping(self.plain), without_bookkeeping(back)
        assert before == after, (
            "not taken back",
            list((before - after).items())[:3],
            list((after - before).items())[:3],
        )
        return how

    def run(self, names: list[str]) -> None:
        context = self.known()
        for name in names:
            for priority in (0, 120):
                try:
                    self.outcomes[self.life(name, priority, context)] += 1
                except (AssertionError, libvirt.libvirtError, ProfileError) as problem:
                    self.failed.append(
                        f"{name} at {priority}: {type(problem).__name__} {str(problem)[:1500]}"
                    )
                    self.define(self.plain)

    def known(self) -> Any:
        documents = [
            self.handle.getDomainCapabilities(None, "x86_64", machine, "kvm", 0) for machine in ("pc", "q35")
        ]
        return library.Context(
            capabilities=(self.handle.getCapabilities(),), domcapabilities=tuple(documents), daemon="system"
        )


def main(name: str, names: list[str]) -> int:
    libvirt.registerErrorHandler(lambda *_: None, None)
    with tempfile.TemporaryDirectory(prefix="vp-") as place:
        os.chmod(place, 0o755)
        handle, text = libvirt.open(URI), on_disk(VMS[name], Path(place))
        existing = Existing(handle, text)
        try:
            try:
                existing.start()
            except libvirt.libvirtError as problem:
                if not HOST.search(str(problem)):
                    raise
                existing = Existing(handle, text.replace("<domain type='kvm'>", "<domain type='qemu'>", 1))
                existing.start()
            existing.run(names or list(library.NAMES))
        finally:
            existing.close()
    print(f"{name}: {dict(existing.outcomes)}")
    for what, why in existing.not_started.items():
        print(f"  {what} is not started: {why}")
    print("\n".join(existing.failed))
    return 1 if existing.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
