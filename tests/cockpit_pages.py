# SPDX-License-Identifier: GPL-2.0-or-later
"""Walks through the Cockpit page on VMs of a real libvirtd; run beside `cockpit.sh`'s session.

``cockpit_pages.py PORT PICTURES AXE``; the last line of what it prints is "all is well".
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cockpit_session import BIN, open_page, picture, program, signed_in, virsh
from webdriver import Browser

AXE = Path(sys.argv[3])
PREFIX, PAGE = "vp-n-", "virt-profile"
VM = """<domain type='{kind}'><name>{name}</name><memory unit='MiB'>64</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os><on_crash>destroy</on_crash>
<devices><disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/a.img'/>
<target dev='vda' bus='virtio'/></disk><graphics type='vnc' port='-1' passwd='hushhush'/></devices></domain>"""

SMALL = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os><devices/></domain>"""

#: Stands before a program: says what a file has, once there is one, and ends with status 1.
STAND_IN = """#!/bin/sh
[ ! -e {said} ] || {{ cat {said}.out; cat {said} >&2; exit 1; }}
exec {program} "$@"
"""


def stand_in(name: str) -> Path:
    """The file with which a program fails from now on, with what it has on stderr and NAME.out on stdout."""
    real = shutil.which(name, path=os.environ["PATH"].split(":", 1)[1])
    said = BIN / f"{name}.said"
    program(name, STAND_IN.format(said=said, program=real))
    return said


class Walk:
    """The steps, each on the page as the one before left it."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.listed: dict[str, str] = {}  # VM -> findings, as the list says

    def until(self, script: str, what: str) -> Any:
        return self.browser.wait(lambda: self.browser.run(f"return {script}"), what, 60)

    def press(self, text: str) -> None:
        script = """const all = [...document.querySelectorAll('button')];
            const one = all.find((each) => (each.ariaLabel || each.textContent) === arguments[0] && each.checkVisibility());
            one?.click(); return Boolean(one)"""
        assert self.browser.run(script, text), f"no button '{text}'"

    def tick(self, *names: str) -> None:
        for name in names:
            self.browser.run("document.getElementById(arguments[0]).click()", f"profile-{name}")

    def answered(self, title: str) -> None:
        script = "document.querySelector('#result:not([aria-busy]) #result-title')?.textContent"
        found = self.until(script, "an answer")
        deadline = time.monotonic() + 60
        while found != title and time.monotonic() < deadline:
            time.sleep(0.1)
            found = self.browser.run(f"return {script}")
        assert found == title, (found, self.browser.text("#result"))

    def accessible(self) -> None:
        self.browser.run(AXE.read_text())
        found = self.browser.run_async(
            "axe.run().then((all) => arguments[0](all.violations.map((one) => [one.id, one.nodes.map((each) => each.target.join(' '))])))"
        )
        assert found == [], found

    def everywhere(self, state: str) -> None:
        """The state as it is at each width and in each colour: nothing sticks out, axe has nothing to say."""
        for scheme in ("dark", "light"):
            self.browser.colours(scheme)
            for width in (360, 1280):
                self.browser.size(width, 900)
                time.sleep(0.2)
                wide = self.browser.run("return document.documentElement.scrollWidth - innerWidth")
                assert wide <= 0, f"{state} at {width}: {wide} too wide"
                self.accessible()
                picture(self.browser, f"{state}-{scheme}-{width}")
        self.browser.size(1280, 900)

    def run(self) -> None:
        one, two = PREFIX + "one", PREFIX + "two"
        for name, kind in ((one, "qemu"), (two, "kvm")):
            virsh("define", "/dev/stdin", text=VM.format(name=name, kind=kind))
        open_page(self.browser, PAGE)
        self.until("document.querySelector('#vms')?.dataset.filled", "the list")
        assert one in self.browser.text("#vms") and "shut off" in self.browser.text("#vms")
        self.everywhere("list")
        self.listed = dict(
            re.findall(r"^(vp-n-\w+) [^0-9]*(\d+) findings?$", self.browser.text("#vms"), re.M)
        )
        assert set(self.listed) == {one, two}, self.browser.text("#vms")
        print("ok: the list")

        self.press(one)
        self.as_many_findings(one)
        assert "vp-n-one, vp-n-two" in self.browser.text("#findings"), "they share a disk"
        self.tick("rng", "fast-disk", "acpi")
        self.browser.run("document.querySelector('#apply').click()")
        self.answered("The difference")
        assert "changes by" in self.browser.text("#summary")
        shadow = "document.querySelector('#difference').shadowRoot.textContent"
        assert "hushhush" not in self.browser.run(f"return document.documentElement.innerHTML + {shadow}")
        assert "<rng" not in virsh("dumpxml", "--inactive", one)
        self.everywhere("difference")
        before = virsh("dumpxml", "--inactive", "--security-info", one)
        self.browser.run("document.querySelector('#define').click()")
        assert "other hardware" in self.browser.text("#agree-what"), self.browser.text("#agree")
        picture(self.browser, "confirmation")
        self.browser.run("document.querySelector('#agree-yes').click()")
        self.answered(f"{one} is defined")
        now = virsh("dumpxml", "--inactive", "--security-info", one)
        assert "<rng" in now and "cache='none'" in now and "hushhush" in now
        assert "fast-disk" in self.browser.text("#standing-list")
        print("ok: looked at, agreed to, defined")

        self.browser.run("document.querySelector('#history').open = true")
        self.until("document.querySelector('#history-text').textContent.includes('rng')", "the history")
        self.everywhere("defined")
        self.press("Undo")
        self.answered("Undone")
        assert virsh("dumpxml", "--inactive", "--security-info", one) == before
        print("ok: what they did is told, and undone")

        self.tick("fast-disk", "acpi", "safe-disk", "fast-disk")
        self.browser.run("document.querySelector('#apply').click()")
        self.answered("These cannot hold together")
        self.everywhere("conflict")
        self.press("Without fast-disk")
        self.answered("The difference")
        print("ok: a conflict has a way out as a button")

        self.fixes(two)
        self.keyboard(two)
        self.broken_profile(two)
        self.busy(two)
        self.locked(PREFIX + "locked")
        self.browser.run("document.querySelector('#back').click()")
        self.until("document.querySelector('#vms').dataset.filled", "the list again")
        subprocess.run(["virsh", "-q", "undefine", one], check=True, capture_output=True)
        self.press(one)
        self.until("!document.querySelector('#trouble').hidden", "the trouble")
        assert re.search(f"no domain .*{one}", self.browser.text("#trouble")), self.browser.text("#trouble")
        print("ok: a VM that has gone is told")

    def open_vm(self, name: str) -> None:
        self.browser.run("document.querySelector('#back').click()")
        self.until("!document.querySelector('#list').hidden", "the list again")
        self.until(f"document.querySelector('#vms').textContent.includes('{name}')", "the VM in the list")
        self.browser.run("delete document.querySelector('#findings').dataset.filled")
        self.press(name)
        self.until(f"document.querySelector('#findings').dataset.filled === '{name}'", "the findings")

    def as_many_findings(self, name: str) -> None:
        self.until(f"document.querySelector('#findings').dataset.filled === '{name}'", "the findings")
        rows = self.browser.run("return document.querySelectorAll('#findings-list li').length")
        assert str(rows) == self.listed[name], (self.listed, self.browser.text("#findings"))

    def fixes(self, name: str) -> None:
        """Each fix is a button; once defined, its finding is gone."""
        self.open_vm(name)
        self.as_many_findings(name)
        chosen = self.browser.run("return document.querySelector('#chosen').textContent")
        assert chosen == "", f"ticked for another VM: {chosen}"
        script = "return [...document.querySelectorAll('#findings-list button')].map((one) => one.ariaLabel)"
        before = self.browser.run(script)
        assert before, self.browser.text("#findings")
        self.everywhere("findings")
        self.press(before[0])
        self.answered("The fix")
        assert "change" in self.browser.text("#summary")
        self.everywhere("fix")
        self.browser.run("document.querySelector('#define').click()")
        self.browser.run("document.querySelector('#agree-yes').click()")
        self.answered(f"{name} is defined")
        self.until(
            f"![...document.querySelectorAll('#findings-list button')].some((one) => one.ariaLabel === {json.dumps(before[0])})",
            "the finding to go",
        )
        print("ok: a finding is fixed by its button")

    def tab_to(self, selector: str) -> None:
        for _ in range(250):
            self.browser.press("Tab")
            if self.browser.run("return Boolean(document.activeElement?.closest(arguments[0]))", selector):
                return
        raise AssertionError(f"Tab does not lead to {selector}")

    def keyboard(self, name: str) -> None:
        """From the list to a definition without the mouse."""
        self.browser.run("document.querySelector('#back').click()")
        self.until(
            "document.querySelector('#vms')?.dataset.filled && !document.querySelector('#list').hidden",
            "the list",
        )
        self.browser.run("document.activeElement?.blur()")
        for _ in range(20):
            self.browser.press("Tab")
            if self.browser.run("return document.activeElement.textContent") == name:
                break
        self.browser.run(
            "delete document.querySelector('#findings').dataset.filled"
        )  # of the same VM, before
        self.browser.press("Enter")
        self.until(f"document.querySelector('#findings').dataset.filled === '{name}'", "the findings")
        assert self.browser.run("return document.activeElement.id") == "vm-title"
        for box in self.browser.run(
            "return [...document.querySelectorAll('#catalogue input:checked')].map((one) => one.id)"
        ):
            self.browser.run("document.getElementById(arguments[0]).click()", box)
        self.tab_to("#search")
        for letter in "watchdog":
            self.browser.press(letter)
        self.tab_to("#profile-watchdog")
        self.browser.press(" ")
        self.tab_to("#apply")
        self.browser.press("Enter")
        self.answered("The difference")
        assert self.browser.run("return document.activeElement.id") == "result-title"
        self.tab_to("#define")
        self.browser.press("Enter")
        self.until("document.querySelector('#agree').open", "the question")
        self.browser.press("Escape")
        self.until("!document.querySelector('#agree').open", "the question to go")
        assert "<watchdog" not in virsh("dumpxml", "--inactive", name)
        self.tab_to("#define")
        self.browser.press("Enter")
        self.until("document.querySelector('#agree').open", "the question")
        if self.browser.run("return document.activeElement.id") != "agree-yes":
            self.tab_to("#agree-yes")
        self.browser.press("Enter")
        self.answered(f"{name} is defined")
        assert "<watchdog" in virsh("dumpxml", "--inactive", name)
        print("ok: without the mouse")

    def broken_profile(self, name: str) -> None:
        place = Path(os.environ["HOME"]) / ".config" / "virt-profile" / "profiles"
        place.mkdir(parents=True)
        (place / "broken.xml").write_text("<profile name='broken'><ad/></profile>")
        self.open_vm(name)
        self.until("!document.querySelector('#broken').hidden", "the broken profile")
        lines = self.browser.text("#broken").splitlines()
        assert any(re.match(r"/.*/broken\.xml:1: ", line) for line in lines), lines
        assert self.browser.run("return Boolean(document.querySelector('#profile-rng'))")
        self.everywhere("broken-profile")
        (place / "broken.xml").unlink()
        print("ok: a profile that cannot be read is named, the others are there")

    def locked(self, name: str) -> None:
        """Another call holds the running VM, whose QEMU does not answer: it is looked at and defined all the same."""
        virsh("define", "/dev/stdin", text=SMALL.format(name=name))
        virsh("start", name)
        (pid,) = Path("/run/libvirt/qemu", f"{name}.pid").read_text().split()
        os.kill(int(pid), signal.SIGSTOP)
        holder = subprocess.Popen(
            ["virsh", "qemu-monitor-command", name, "--hmp", "info status"], stdout=subprocess.DEVNULL
        )
        try:
            open_page(self.browser, PAGE)
            self.until("document.querySelector('#vms')?.dataset.filled", "the list")
            row = f"[...document.querySelectorAll('#vms tr')].find((one) => one.textContent.includes('{name}')).textContent"
            assert "running" in self.browser.run(f"return {row}")
            self.press(name)
            self.until(f"document.querySelector('#findings').dataset.filled === '{name}'", "the findings")
            self.tick("rng")
            self.browser.run("document.querySelector('#apply').click()")
            self.answered("The difference")
            self.browser.run("document.querySelector('#define').click()")
            self.browser.run("document.querySelector('#agree-yes').click()")
            self.answered(f"{name} is defined")
            self.everywhere("locked")
            assert "<rng" in virsh("dumpxml", "--inactive", name)
            assert holder.poll() is None, "the lock is held all the while"
        finally:
            os.kill(int(pid), signal.SIGCONT)
            holder.wait(60)
            virsh("destroy", name)
            virsh("undefine", name)
        print("ok: a VM that another call holds is defined")

    def busy(self, name: str) -> None:
        """In the words that libvirt has for it: what the page asks for takes no lock of libvirt 9.0."""
        said = stand_in("virt-profile")
        self.open_vm(name)
        self.tick("rng")
        text = "Timed out during operation: cannot acquire state change lock (held by monitor=remoteDispatchDomainCreate)"
        Path(f"{said}.out").write_text(
            json.dumps({"error": {"code": "libvirt", "message": text, "hint": ""}})
        )
        said.write_text(f"error: {text}\n")
        self.browser.run("document.querySelector('#apply').click()")
        self.answered("The VM is busy")
        self.everywhere("busy")
        said.unlink()
        self.press("Try again")
        self.answered("The difference")
        print("ok: a busy VM is told, and asked again")

    def without_permission(self) -> None:
        """In the words of polkit, as for a user without administrative access who is not in the group libvirt."""
        said = stand_in("virsh")
        Path(f"{said}.out").write_text("")
        said.write_text(
            "error: failed to connect to the hypervisor\nerror: authentication unavailable: no polkit agent "
            "available to authenticate action 'org.libvirt.unix.manage'\n"
        )
        open_page(self.browser, PAGE)
        self.until("!document.querySelector('#trouble').hidden", "the trouble")
        assert "You may not manage the VMs" in self.browser.text("#trouble"), self.browser.text("#trouble")
        self.everywhere("no-permission")
        said.unlink()
        self.press("Try again")
        self.until(
            "document.querySelector('#trouble').hidden && document.querySelector('#vms').dataset.filled",
            "the list",
        )
        print("ok: without permission it says what helps")

    def refused_by_polkit(self) -> None:
        """The session is that of a user who may not manage VMs: libvirt asks the host's polkit."""
        open_page(self.browser, PAGE)
        self.until("!document.querySelector('#trouble').hidden", "the trouble")
        said = self.browser.text("#trouble")
        assert "You may not manage the VMs" in said and "authentication" in said, said
        self.everywhere("refused-by-polkit")
        print("ok: a user whom polkit refuses reads what helps")

    def without_libvirt(self) -> None:
        """Last, as nothing works afterwards: the daemon of this namespace ends."""
        pid = Path("/run/libvirt/ours.pid").read_text().strip()
        self.browser.run("document.querySelector('#back').click()")
        subprocess.run(["kill", pid], check=True)
        time.sleep(2)
        self.press("Try again") if self.browser.run(
            "return !document.querySelector('#trouble').hidden"
        ) else None
        open_page(self.browser, PAGE)
        self.until("!document.querySelector('#trouble').hidden", "the trouble")
        said = self.browser.text("#trouble")
        assert "libvirt cannot be reached" in said, said
        assert "failed to connect to the hypervisor: Failed to connect socket" in said, said
        assert self.browser.run("return document.querySelector('#list-panel').hidden"), "an empty list"
        assert "Start libvirt" in self.browser.text("#trouble")
        self.everywhere("no-libvirt")
        print("ok: without libvirt it says so, and offers what helps")


def main() -> None:
    with signed_in("failed", 900) as browser:
        walk = Walk(browser)
        if os.environ.get("COCKPIT_USER"):
            walk.refused_by_polkit()
        else:
            walk.run()
        said = [line for line in browser.console() if "favicon" not in line]
        assert said == [], said
        if not os.environ.get("COCKPIT_USER"):
            walk.without_permission()
            walk.without_libvirt()


if __name__ == "__main__":
    main()
