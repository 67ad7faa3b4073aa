# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of profiles through libvirt: what is defined, read back and edited in between."""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

import virtProfile
from virtProfile.errors import ProfileError

libvirt = pytest.importorskip("libvirt")
pytestmark = pytest.mark.slow

SEED = int(os.environ.get("VIRT_PROFILE_SEED", "1"))
SEQUENCES = int(os.environ.get("VIRT_PROFILE_SEQUENCES", "150"))

VM = """<domain type='qemu'>
  <name>vp-life</name>
  <uuid>0f5e9d3c-4b7a-4a55-9d10-6b6b5e2c7a0{}</uuid>
  <memory unit='MiB'>64</memory>
  <vcpu>2</vcpu>
  <os>
    <type arch='x86_64' machine='{}'>hvm</type>
  </os>
  <features>
    <acpi/>
  </features>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='/var/lib/libvirt/images/vp-life.img'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='user'/>
    {}
  </devices>
</domain>
"""
MORE = {
    "plain": "",
    "desktop": "<graphics type='vnc'/><video><model type='vga'/></video><input type='tablet' bus='usb'/>",
}

#: Two versions of each: values, devices, devices that bring others, several of one kind.
PROFILES = {
    "agent": [
        "<add><devices><channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel></devices></add>",
        "<add><devices><channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
        "<channel type='unix'><target type='virtio' name='org.vp.other'/></channel></devices></add>",
    ],
    "disks": [
        "<default><devices><disk device='disk'><driver cache='none'/></disk></devices></default>",
        "<default><devices><disk device='disk'><driver cache='none' discard='unmap'/></disk></devices></default>",
    ],
    "rng": [
        "<add><devices><rng model='virtio'><backend model='random'>/dev/random</backend></rng></devices></add>",
        "<add><devices><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices></add>",
    ],
    "nics": [
        "<add multiple='yes'><devices><interface type='user'><model type='virtio'/></interface></devices></add>",
        "<add multiple='yes'><devices><interface type='user'><model type='virtio'/></interface>"
        "<interface type='user'><model type='virtio'/></interface></devices></add>",
    ],
    "spice": [
        "<add><devices><graphics type='spice' autoport='yes'/><video><model type='qxl'/></video></devices></add>",
        "<add><devices><graphics type='spice' autoport='yes'/><video><model type='qxl'/></video>"
        "<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel></devices></add>",
    ],
    "clock": [
        "<add><clock><timer name='hpet' present='no'/></clock></add>",
        "<add><clock><timer name='hpet' present='no'/><timer name='rtc' tickpolicy='catchup'/></clock></add>",
    ],
    "no-acpi": ["<remove><features><acpi/></features></remove>"] * 2,
    "scsi": [
        "<add><devices><disk type='file' device='disk'><driver name='qemu' type='raw'/>"
        "<source file='/var/lib/libvirt/images/vp-scsi.img'/><target dev='sda' bus='scsi'/></disk></devices></add>",
        "<add><devices><disk type='file' device='disk'><driver name='qemu' type='raw' cache='none'/>"
        "<source file='/var/lib/libvirt/images/vp-scsi.img'/><target dev='sda' bus='scsi'/></disk></devices></add>",
    ],
    "console": ["<add><devices><console type='pty'/></devices></add>"] * 2,
    # sets that libvirt spells anew, and one that it takes apart
    "pins": [
        "<add><cputune><emulatorpin cpuset='0,1,2-3'/><vcpupin vcpu='0' cpuset='0-0'/>"
        "<vcpusched vcpus='0-1' scheduler='batch'/></cputune></add>",
        "<add><cputune><vcpupin vcpu='0' cpuset='0-3,^1'/><vcpusched vcpus='0-1' scheduler='idle'/></cputune></add>",
    ],
    "memory": ["<add><memory unit='MiB'>96</memory><currentMemory unit='MiB'>96</currentMemory></add>"] * 2,
}
STRONG = {"no-acpi", "memory"}


class Life:
    """A VM that is defined after each step."""

    def __init__(self, handle: Any, directory: Path, xml: str) -> None:
        self.handle = handle
        self.directory = directory
        for name, bodies in PROFILES.items():
            (directory / f"{name}.xml").write_text(_file(name, [(1, bodies[0])]))
        self.store = virtProfile.ProfileStore([directory])
        self.text = self.define(xml)

    def define(self, xml: str) -> str:
        domain = self.handle.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
        try:
            return str(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))
        finally:
            domain.undefine()

    def apply(self, *names: str) -> virtProfile.Result:
        wishes = [{"name": one, "priority": 120 if one in STRONG else 0} for one in names]
        result = virtProfile.apply(self.text, wishes, store=self.store)
        self.text = self.define(result.xml)
        return result

    def publish(self, name: str) -> None:
        """A second version of a profile comes to the store."""
        (self.directory / f"{name}.xml").write_text(_file(name, list(enumerate(PROFILES[name], 1))))


def _file(name: str, versions: list[tuple[int, str]]) -> str:
    rows = [f"<profile name='{name}' version='{number}'>{body}</profile>" for number, body in versions]
    return f"<profiles>{''.join(rows)}</profiles>"


def meaning(text: str) -> Counter[str]:
    """What is said, addresses, aliases and libvirt's own PCI topology aside."""
    root = etree.fromstring(text.encode())
    for one in root.xpath("//address | //alias | devices/controller[@type='pci'] | metadata | uuid | //mac"):
        one.getparent().remove(one)
    found: Counter[str] = Counter()

    def walk(element: Any, way: str) -> None:
        values = "".join(f"[{name}={value}]" for name, value in sorted(element.attrib.items()))
        here = f"{way}/{element.tag}{values}{(element.text or '').strip()}"
        found[here] += 1
        for one in element.iterchildren("*"):
            walk(one, here)

    walk(root, "")
    return found


def places(text: str) -> dict[str, list[str]]:
    """MAC and PCI addresses by what has them."""
    found: dict[str, list[str]] = {}
    for device in etree.fromstring(text.encode()).find("devices"):
        if device.tag == "controller" and device.get("type") == "pci":
            continue
        name = device.tag + (device.get("type") or "") + str(device.xpath("string(target/@*)"))
        for one in device.xpath("address[@type='pci'] | mac"):
            found.setdefault(name, []).append(str(sorted(one.attrib.items())))
    return found


EDITS = {
    "vcpu": lambda text: text.replace("<vcpu placement='static'>2<", "<vcpu placement='static'>4<"),
    "title": lambda text: (
        text if "<title>" in text else text.replace("</uuid>", "</uuid>\n  <title>by hand</title>", 1)
    ),
    "watchdog": lambda text: (
        text
        if "<watchdog" in text
        else text.replace("  </devices>", "    <watchdog model='i6300esb' action='reset'/>\n  </devices>")
    ),  # fmt: skip
}


@pytest.mark.parametrize("machine", ["q35", "pc"])
@pytest.mark.parametrize("more", list(MORE))
def test_any_life_ends_where_it_began(embedded_qemu: Any, tmp_path: Path, machine: str, more: str) -> None:
    """Random apply, upgrade, edits by hand and unapply, each through a define (I2, I7)."""
    chance = random.Random(f"{SEED} {machine} {more}")
    for number in range(SEQUENCES // 4):
        directory = tmp_path / str(number)
        directory.mkdir()
        life = Life(embedded_qemu, directory, VM.format(number % 10, machine, MORE[more]))
        plain = life.text
        done: list[str] = []
        for _ in range(chance.randrange(2, 7)):
            step = chance.choice(["apply", "apply", "publish", "upgrade", "edit", "unapply"])
            name = chance.choice(list(PROFILES))
            done.append(f"{step} {name}")
            try:
                if step == "apply":
                    life.apply(name)
                    again = virtProfile.apply(life.text, store=life.store)
                    assert again.xml == life.text or not again.changed, (done, again.changes)
                elif step == "publish":
                    life.publish(name)
                elif step == "upgrade":
                    before = places(life.text)
                    life.text = life.define(virtProfile.upgrade(life.text, store=life.store).xml)
                    after = places(life.text)
                    for who, where in before.items():
                        assert set(where) <= set(after.get(who, ())) or len(after.get(who, ())) < len(
                            where
                        ), (done, who)
                elif step == "edit":
                    edit = chance.choice(list(EDITS))
                    done[-1] = f"edit {edit}"
                    life.text = life.define(EDITS[edit](life.text))
                    plain = life.define(EDITS[edit](plain))
                else:
                    found = virtProfile.status(life.text, store=life.store)
                    if name in {one.name for one in found.profiles}:
                        life.text = life.define(virtProfile.unapply(life.text, name, store=life.store).xml)
            except ProfileError as problem:
                assert problem.code in ("conflict", "completion"), (done, problem)
        back = life.define(virtProfile.unapply(life.text, store=life.store).xml)
        missing, extra = meaning(plain) - meaning(back), meaning(back) - meaning(plain)
        assert not missing and not extra, (done, dict(missing), dict(extra))
        assert "virtuned" not in back


def test_addresses_stay(embedded_qemu: Any, tmp_path: Path) -> None:
    life = Life(embedded_qemu, tmp_path, VM.format(1, "q35", MORE["desktop"]))
    life.apply("rng", "nics", "agent", "scsi")
    before = places(life.text)
    assert sum(len(one) for one in before.values()) > 8
    life.apply()
    assert places(life.text) == before
    for name in ("rng", "nics", "agent", "scsi"):
        life.publish(name)
    life.text = life.define(virtProfile.upgrade(life.text, store=life.store).xml)
    after = places(life.text)
    for who, where in before.items():
        assert where == after[who][: len(where)], who
    assert "/dev/urandom" in life.text and "org.vp.other" in life.text
    assert life.text.count("<interface") == 3
    life.text = re.sub(r"<rng.*?</rng>\s*", "", life.text, flags=re.DOTALL)  # by hand
    result = life.apply()
    assert "<rng" not in life.text
    assert any(one.winner == "definition" for one in result.overridden)
