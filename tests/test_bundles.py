# SPDX-License-Identifier: GPL-2.0-or-later
"""Bundles on a bare definition: golden outputs, and the applications themselves or what their sources say."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import library
import pytest
from library import apply, context, definition
from lxml import etree

BUNDLES = ["windows-11", "windows-server", "linux-server", "linux-desktop", "high-performance"]
ALIKE = ["like-virt-manager", "like-nova", "like-ovirt", "like-kubevirt"]
GUESTS = {"linux": "debian11", "windows": "win11"}


def bare(guest: str) -> str:
    """Name, UUID, memory, CPUs, a disk and a NIC with their sources; the OS comes by the context."""
    xml = definition("bare")
    return xml.replace("'vda'", "'sda'") if guest == "windows" else xml


@pytest.mark.parametrize("guest", GUESTS)
@pytest.mark.parametrize("name", BUNDLES + ALIKE)
def test_golden(name: str, guest: str, golden: Callable[[str, str], None]) -> None:
    if (guest == "linux") == name.startswith("windows"):
        pytest.skip("another guest's")
    result = apply(bare(guest), [name], context=context(GUESTS[guest]), record=False)
    golden(f"profiles/bundles/{name}-{guest}.xml", result.xml)
    again = apply(result.xml, [name], context=context(GUESTS[guest]), record=False)
    assert again.xml == result.xml
    if "type='kvm'" in result.xml and "<type" in result.xml:
        assert library.is_valid(result.xml)


# --- virt-install ------------------------------------------------------------------

VIRT_INSTALL = {
    "the host's": Path("/usr/share/virt-manager"),
    "the newest": library.ROOT / ".cache/virtinst-newest/usr/share/virt-manager",
}
#: What an application makes up for one run, or finds on one host.
RUN_TIME = ("metadata", "uuid", "emulator", "mac", "alias", "address")


def release_of(home: Path) -> int:
    """The major version of a virtinst."""
    if not (home / "virtinst" / "virtinstall.py").exists():
        pytest.skip(f"no virtinst in {home}")
    written = "".join(path.read_text() for path in (home / "virtinst").glob("build*.*"))
    found = re.search(r"""^(?:__version__ = "|version *= *)(\d+)\.""", written, re.M)
    assert found is not None
    return int(found.group(1))


def virt_install(home: Path, directory: Path, osinfo: str) -> str:
    """What the real program prints for the bare definition, on a host like the tests' own."""
    (directory / "driver.xml").write_text(
        "<node><network><name>default</name><bridge name='virbr0'/><forward/>"
        "<ip address='192.168.122.1' netmask='255.255.255.0'/></network></node>"
    )
    image = directory / "bare.img"
    image.touch()
    host = library.DATA / "host"
    uri = (
        f"__virtinst_test__test://{directory}/driver.xml,predictable,caps={host}/capabilities.xml,"
        f"domcaps={host}/domcapabilities-q35.xml,fakeuri=qemu:///system"
    )
    code = f"import sys; sys.path.insert(0, {str(home)!r}); from virtinst import virtinstall; virtinstall.runcli()"
    words = "--name bare --memory 4096 --vcpus 4 --network network=default --import --print-xml"
    done = subprocess.run(
        [
            "/usr/bin/python3",
            "-c",
            code,
            *words.split(),
            *("--connect", uri, "--osinfo", osinfo, "--disk", f"path={image},format=raw"),
        ],
        env={
            **os.environ,
            "VIRTINST_TEST_SUITE": "1",
            "HOME": str(directory),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and "No module named" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    return done.stdout[done.stdout.index("<domain") :]


def parts(xml: str) -> Counter[str]:
    """Every element with its attributes and text, by its way down; run-time parts aside."""
    found: Counter[str] = Counter()

    def walk(element: Any, way: str) -> None:
        if not isinstance(element.tag, str) or element.tag in RUN_TIME:
            return
        if element.tag == "controller" and element.attrib == {"type": "sata", "index": "0"}:
            return  # what libvirt adds for the disk, written down by us
        attributes = "".join(f"[{name}={value}]" for name, value in sorted(element.attrib.items()))
        here = f"{way}/{element.tag}{attributes}{(element.text or '').strip()}"
        found[here] += 1
        for one in element:
            walk(one, here)

    walk(etree.fromstring(xml.encode()), "")
    return found


@pytest.mark.parametrize("whose", VIRT_INSTALL)
@pytest.mark.parametrize("osinfo", ["debian11", "fedora36", "win11", "win2k22", "centos5.0", "freebsd13.0"])
def test_like_virt_manager_is_what_virt_install_prints(whose: str, osinfo: str, tmp_path: Path) -> None:
    home = VIRT_INSTALL[whose]
    release = release_of(home)
    theirs = virt_install(home, tmp_path, osinfo)
    # Without a name of its target a disk cannot be compared: theirs is taken, the bus is not.
    target = re.search(r'<target dev="(\w+)"', theirs)
    assert target is not None
    xml = definition("bare").replace("vda", target.group(1))
    xml = xml.replace("/var/lib/libvirt/images", str(tmp_path))
    wish = {"name": "like-virt-manager", "params": {"release": str(release)}}
    ours = apply(xml, [wish], context=context(osinfo), record=False).xml
    # An image in a format that virt-install knows is written down; the bare definition does not say it.
    theirs = theirs.replace('<driver name="qemu" type="raw"', '<driver name="qemu"')
    theirs = theirs.replace(' discard="unmap"', "").replace('"pc-i440fx-7.2"', '"pc"')  # the host's newest
    missing, extra = parts(theirs) - parts(ours), parts(ours) - parts(theirs)
    # The CDROM's controller, which libvirt would add to theirs.
    extra.pop("/domain[type=kvm]/devices/controller[index=0][type=sata]", None)
    assert not missing and not extra, f"missing {dict(missing)}, extra {dict(extra)}"


@pytest.mark.parametrize("name", [name for name in library.NAMES if name.startswith("like-")])
def test_a_bundle_says_which_version_it_follows(name: str) -> None:
    assert name in ALIKE
    text = " ".join(library.profiles()[name].description.split())
    assert re.search(r"Follows (?:virt-manager|Nova|oVirt|KubeVirt) \d", text), text


# --- the others, by their sources --------------------------------------------------

HYPERV = {
    # nova/virt/libvirt/driver.py, _set_features, since Zed
    "like-nova": "relaxed vapic spinlocks vpindex runtime synic reset frequencies tlbflush ipi",
    # LibvirtVmXmlBuilder.java, writeFeatures, compatibility version 4.7
    "like-ovirt": "relaxed vapic spinlocks synic stimer reset vpindex runtime frequencies"
    " reenlightenment tlbflush ipi",
    # common-instancetypes, preferences/components/hyperv
    "like-kubevirt": "relaxed vapic spinlocks vpindex runtime synic stimer reset frequencies"
    " reenlightenment tlbflush ipi",
}
#: (application, guest or "both", XPath, value), each as its source has it.
FACTS = [
    ("like-nova", "both", "os/type/@machine", "pc"),
    ("like-nova", "both", "sysinfo/system/entry[@name='manufacturer']", "OpenStack Foundation"),
    ("like-nova", "both", "sysinfo/system/entry[@name='product']", "OpenStack Nova"),
    ("like-nova", "both", "sysinfo/system/entry[@name='uuid']", "00000000-1111-2222-3333-444444444444"),
    ("like-nova", "both", "os/smbios/@mode", "sysinfo"),
    ("like-nova", "both", "cpu/@mode", "host-model"),
    ("like-nova", "both", "cpu/@match", "exact"),
    ("like-nova", "both", "cpu/topology/@sockets", "4"),
    ("like-nova", "both", "clock/timer[@name='pit']/@tickpolicy", "delay"),
    ("like-nova", "both", "clock/timer[@name='rtc']/@tickpolicy", "catchup"),
    ("like-nova", "both", "clock/timer[@name='hpet']/@present", "no"),
    ("like-nova", "linux", "clock/@offset", "utc"),
    ("like-nova", "windows", "clock/@offset", "localtime"),
    ("like-nova", "both", "features/vmcoreinfo/@state", "on"),
    ("like-nova", "both", "devices/disk/driver/@cache", "none"),
    ("like-nova", "both", "devices/interface/model/@type", "virtio"),
    ("like-nova", "both", "devices/memballoon/stats/@period", "10"),
    ("like-nova", "both", "devices/graphics/@type", "vnc"),
    ("like-ovirt", "both", "clock/@offset", "variable"),
    ("like-ovirt", "both", "clock/@adjustment", "0"),
    ("like-ovirt", "both", "sysinfo/system/entry[@name='manufacturer']", "oVirt"),
    ("like-ovirt", "both", "pm/suspend-to-disk/@enabled", "no"),
    ("like-ovirt", "both", "devices/disk/@snapshot", "no"),
    ("like-ovirt", "both", "devices/disk/driver/@error_policy", "stop"),
    ("like-ovirt", "both", "devices/disk/driver/@io", "threads"),
    ("like-ovirt", "both", "devices/interface/link/@state", "up"),
    ("like-ovirt", "both", "devices/interface/mtu/@size", "1500"),
    ("like-ovirt", "both", "devices/controller[@type='usb']/@ports", "8"),
    ("like-ovirt", "both", "devices/controller[@type='virtio-serial']/@ports", "16"),
    ("like-ovirt", "both", "devices/controller[@type='scsi']/@model", "virtio-scsi"),
    ("like-ovirt", "both", "devices/memballoon/stats/@period", "5"),
    ("like-ovirt", "windows", "features/hyperv/stimer/direct/@state", "on"),
    ("like-kubevirt", "both", "os/type/@machine", "q35"),
    ("like-kubevirt", "both", "cpu/@mode", "host-model"),
    ("like-kubevirt", "both", "devices/disk/driver/@error_policy", "stop"),
    ("like-kubevirt", "both", "devices/disk/driver/@discard", "unmap"),
    ("like-kubevirt", "both", "devices/video/model/@type", "vga"),
    ("like-kubevirt", "both", "devices/video/model/@vram", "16384"),
    ("like-kubevirt", "both", "devices/controller[@type='virtio-serial']/@model", "virtio-non-transitional"),
    ("like-kubevirt", "linux", "devices/disk/@model", "virtio-non-transitional"),
    ("like-kubevirt", "linux", "devices/interface/model/@type", "virtio-non-transitional"),
    ("like-kubevirt", "linux", "devices/interface/rom/@enabled", "no"),
    ("like-kubevirt", "linux", "devices/controller[@type='usb']/@model", "none"),
    ("like-kubevirt", "windows", "clock/@offset", "utc"),
    ("like-kubevirt", "windows", "devices/disk/target/@bus", "sata"),
    ("like-kubevirt", "windows", "devices/interface/model/@type", "e1000e"),
    ("like-kubevirt", "windows", "devices/input/@type", "tablet"),
    ("like-kubevirt", "windows", "features/hyperv/spinlocks/@retries", "8191"),
]


@pytest.mark.parametrize("guest", GUESTS)
@pytest.mark.parametrize("name", HYPERV)
def test_applications_by_their_sources(name: str, guest: str) -> None:
    xml = apply(bare(guest), [name], context=context(GUESTS[guest]), record=False).xml
    root = etree.fromstring(xml.encode())
    for application, whose, path, value in FACTS:
        if application == name and whose in (guest, "both"):
            assert root.xpath(f"string({path})") == value, path
    switches = {one.tag for one in root.findall("features/hyperv/*")}
    assert switches == (set(HYPERV[name].split()) if guest == "windows" else set())
    clocks = {one.get("name") for one in root.findall("clock/timer")}
    assert ("hypervclock" in clocks) == (guest == "windows")
