# SPDX-License-Identifier: GPL-2.0-or-later
"""The recipes of the manual page do what they say, on VMs that libvirt keeps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import library
import pytest
from commandline import run
from lxml import etree
from test_define_roundtrip import VMS, define, without_bookkeeping

PAGE = (library.ROOT / "man" / "virt-profile.1.rst").read_text()
SECTION = PAGE.split("RECIPES\n=======\n")[1].split("\nSEE ALSO\n")[0]
COMMANDS = re.findall(r"^    virt-profile web1 (.*)$", SECTION, re.MULTILINE)
#: What holds after a command, by what is in it.
HOLDS = {
    "virtio-disk": "not(devices/disk[@device = 'disk']/target[@bus != 'virtio'])",
    "virtio-net": "not(devices/interface/model[not(starts-with(@type, 'virtio'))])",
    "site-net": "devices/interface and not(devices/interface[not(source/@bridge = 'br0' and driver/@queues)])",
    "q35,convert": "contains(os/type/@machine, 'q35') and not(devices/disk/target[@bus = 'ide'])",
    "uefi,convert": "os/@firmware = 'efi'",
    "desktop": "devices/graphics[@type = 'vnc'] and not(devices/*[contains(@type, 'spice')])",
    "dedicated-cpu": "count(cputune/vcpupin) = vcpu and cputune/emulatorpin",
    "virtiofs-share": "count(devices/filesystem) = 2 and memoryBacking/access[@mode = 'shared']",
    "gpu-passthrough": "count(devices/hostdev[@type = 'pci'][source/address[@bus = '0x01' or @bus = '0x02']]) = 4",
    "--status": "",
    "--unapply": "not(metadata)",
}


def test_every_recipe_is_tried() -> None:
    for command in COMMANDS:
        assert any(word in command for word in HOLDS), command
    assert len(COMMANDS) >= len(HOLDS)


@pytest.mark.parametrize("name", sorted(VMS))
@pytest.mark.parametrize("command", COMMANDS)
def test_a_recipe(embedded_qemu: Any, tmp_path: Path, name: str, command: str) -> None:
    own = re.search(r"^    <profile.*?^    </profile>\n", SECTION, re.MULTILINE | re.DOTALL)
    assert own is not None
    (tmp_path / "PROFILES").mkdir()
    (tmp_path / "PROFILES" / "site-net.xml").write_text(own[0])
    vm = tmp_path / "vm.xml"
    before = define(embedded_qemu, VMS[name])
    vm.write_text(before)
    words = command.replace(" --yes", "").split()
    store = ["--profile-dir", str(tmp_path / "PROFILES"), "--profile-dir", str(library.SHIPPED)]
    done = run(["--input", str(vm), *words, *store])
    assert done.status == 0, done.err
    test = next(test for word, test in HOLDS.items() if word in command)
    if not test:
        return
    assert etree.fromstring(done.out).xpath(test), done.out.decode()
    result = define(embedded_qemu, done.out.decode())
    assert etree.fromstring(result).xpath(test), result
    if "--unapply" in command:
        return
    vm.write_text(result)
    search = [*store, "--profile-dir", str(tmp_path / "PROFILES")]
    assert run(["--input", str(vm), "--check", *search]).status == 0
    taken = run(["--input", str(vm), "--unapply", "all", *search])
    assert taken.status == 0, taken.err
    back = define(embedded_qemu, taken.out.decode())
    assert without_bookkeeping(back) == without_bookkeeping(define(embedded_qemu, before))
    vm.write_text(back)
    assert run(["--input", str(vm), *words, *store]).status == 0


def test_a_profile_of_the_list_that_is_not_found(tmp_path: Path) -> None:
    """The call does not name it: the hint says where the name comes from, and its command works."""
    own = "<profile name='site-net' version='1'><add><devices><rng model='virtio'/></devices></add></profile>"
    (tmp_path / "site-net.xml").write_text(own)
    vm = tmp_path / "vm.xml.in"
    vm.write_text("<domain type='kvm'><name>x</name><memory>1</memory><devices/></domain>")
    done = run(["--input", str(vm), "--profile-dir", str(tmp_path), "--profile", "site-net"])
    vm.write_text(done.out.decode())
    lost = run(["--input", str(vm)])
    assert lost.status == 1
    assert "it is on the VM's list: give its directory with --profile-dir" in lost.err
    assert "--unapply site-net" in lost.err
    back = run(["--input", str(vm), "--unapply", "site-net"])
    assert back.status == 0 and b"rng" not in back.out, back.err
