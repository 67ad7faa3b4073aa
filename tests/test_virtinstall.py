# SPDX-License-Identifier: GPL-2.0-or-later
"""virt-install and virt-xml with ``--profile``: a table of command lines, on each virtinst there is.

A row's file holds what profiles change in what the distribution's program prints.
Without ``--profile`` both print the same bytes.
"""

from __future__ import annotations

import difflib
import os
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import library
import pytest
from lxml import etree
from test_overlay import PLACES

TOP = Path(__file__).parent.parent
DATA = Path(__file__).parent / "data" / "virtinstall"
HOST = Path(__file__).parent / "data" / "host"
URI = (
    "__virtinst_test__test:///default,predictable,"
    f"caps={HOST / 'capabilities.xml'},domcaps={HOST / 'domcapabilities-q35.xml'},fakeuri=qemu:///system"
)
PLAIN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from virtinst import {0}; {0}.runcli()"
PYTHON = "/usr/bin/python3"
pytestmark = pytest.mark.skipif(not Path(PYTHON).exists(), reason="virtinst is the distribution's Python's")

F37 = "--osinfo fedora37"
XML = "--print-xml 1"
#: A directory that looks like an installation tree of Fedora, with nothing in it.
TREE = DATA / "tree"
#: name -> (what both programs get, what ours gets besides)
TABLE = {
    "memory": (f"{F37} --pxe --disk size=2 {XML}", "--profile big"),
    "two-steps": (f"{F37} --pxe --disk size=2 --print-xml", "--profile cache"),
    "machine": (f"{F37} --pxe --disk size=2 {XML}", "--profile old-machine --profile needs-q35"),
    "type": (f"{F37} --pxe --disk size=2 {XML}", "--profile tcg --profile kvmonly"),
    "type-given": (f"{F37} --virt-type kvm --import --disk size=2 {XML}", "--profile tcg --profile kvmonly"),
    "machine-given": (f"{F37} --machine q35 --import --disk size=2 {XML}", "--profile old-machine"),
    "bus": (f"{F37} --import --disk size=2 --disk size=3,format=raw {XML}", "--profile scsi"),
    "bus-given": (f"{F37} --import --disk size=2,bus=sata --disk size=3 {XML}", "--profile scsi --profile cache"),
    "absences": (f"{F37} --import --disk size=2 {XML}", "--profile nousb --profile headless-server"),
    "graphics-given": (f"{F37} --import --disk size=2 --graphics vnc {XML}", "--profile headless-server"),
    "cdrom": (f"{F37} --cdrom /dev/null --disk size=2 --print-xml", "--profile needs-q35"),
    "two-cdroms": (f"{F37} --cdrom /dev/null --disk size=2 {XML}", "--profile two,priority=3"),
    "no-disk": (f"{F37} --import --disk none {XML}", "--profile disk --profile cache"),
    "param": (f"{F37} --import --disk none {XML}", "--profile usb-model,model=piix3-uhci"),
    "xml-last": (f"{F37} --import --disk none --xml ./vcpu=3 {XML}", "--profile hard"),
    "cloud-init": (f"{F37} --cloud-init --import --disk size=2 --print-xml", "--profile guest-agent --profile rng"),
    "override": (f"{F37} --vcpus 2 --import --disk none {XML}", "--profile hard,priority=100"),
    "name-only": (f"{F37} --import --disk none --cpu host-passthrough {XML}", "--profile name=net-multiqueue"),
    "devices": (f"{F37} --import --disk none {XML}", "--profile devices"),
    "location": (f"{F37} --location {TREE} --disk size=2 --print-xml", "--profile needs-q35 --profile cache"),
    "location-detect": (f"--location {TREE} --disk size=2 --print-xml", "--profile big --profile nousb"),
    "location-args": (f"{F37} --location {TREE} --extra-args console=ttyS0 --disk size=2 --print-xml", "--profile boot-args"),
    "unattended": (f"{F37} --location {TREE} --unattended --disk size=2 --print-xml", "--profile scsi --profile hard"),
    "stores": (f"{F37} --import --disk none {XML}", "--profile stores"),
    "stores-beside": (f"{F37} --import --disk size=2 --print-xml", "--profile stores,size=1GiB --profile scsi --profile cache"),
    "unattended-pxe": (f"{F37} --pxe --unattended --disk size=2 --print-xml", "--profile headless-server"),
}  # fmt: skip


def program(
    name: str, place: Path | None, *argv: str, stdin: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    """Run our program on the virtinst of that directory; with a name like ``plain virtinstall`` theirs."""
    environ = {
        **os.environ,
        "VIRTINST_TEST_SUITE": "1",
        "PYTHONPATH": str(TOP),
        "VIRT_PROFILE_PATH": str(DATA / "profiles"),
        "VIRT_PROFILE_VIRTINST": str(place),
        "HOME": "/nonexistent",
        "PYTHONDONTWRITEBYTECODE": "1",
        **more,
    }
    if name.startswith("plain "):
        environ.pop("PYTHONPATH")
        command = [PYTHON, "-c", PLAIN.format(name.split()[1]), str(place.parent if place else "")]
    else:
        command = [PYTHON, str(TOP / name)]
    return subprocess.run(
        [*command, *argv], capture_output=True, text=True, env=environ, input=stdin, cwd="/"
    )


def version(place: Path) -> str:
    return "newest" if ".cache" in place.parts else "installed"


def install(place: Path, words: str, plain: bool = False) -> subprocess.CompletedProcess[str]:
    name = "plain virtinstall" if plain else "virt-install"
    return program(name, place, "--connect", URI, "--name", "t", *words.split())


def canonical(xml: str) -> str:
    """The text without the record, one attribute order, one indentation."""
    parts = []
    for text in re.findall(r"<domain.*?</domain>", xml, re.DOTALL):
        root = etree.fromstring(text, etree.XMLParser(remove_blank_text=True))
        for record in root.xpath("metadata/*[contains(namespace-uri(), 'virtuned/record')]"):
            record.getparent().remove(record)
        for one in root.iter("*"):
            items = sorted(one.attrib.items())
            one.attrib.clear()
            one.attrib.update(items)
        parts.append(etree.tostring(root, pretty_print=True, encoding="unicode"))
    return "".join(parts)


@pytest.mark.parametrize("place", PLACES, ids=version)
@pytest.mark.parametrize("name", TABLE)
def test_table(name: str, place: Path, golden: Callable[[str, str], None]) -> None:
    common, ours = TABLE[name]
    before = install(place, common, plain=True)
    assert before.returncode == 0, before.stderr
    after = install(place, f"{common} {ours}")
    assert after.returncode == 0, after.stderr
    lines = difflib.unified_diff(
        canonical(before.stdout).splitlines(), canonical(after.stdout).splitlines(), "", "", "", "", 0, ""
    )
    told = "".join(f"# {line}\n" for line in after.stderr.splitlines() if line not in before.stderr)
    text = f"{told}{chr(10).join(line for line in lines if line[:2] not in ('@@', '--', '++'))}\n"
    golden(f"virtinstall/{version(place)}/{name}.diff", text.replace(str(TOP), "TOP"))


@pytest.mark.parametrize("place", PLACES, ids=version)
@pytest.mark.parametrize(
    "words",
    [
        f"{F37} --pxe --disk size=2 --print-xml",
        f"{F37} --import --disk none --dry-run",
        f"{F37} --import --disk size=2 --graphics none --print-xml 2",
        "--disk help",
        "--frob",
    ],
)
def test_without_profiles_it_is_the_distributions(words: str, place: Path) -> None:
    ours, theirs = install(place, words), install(place, words, plain=True)
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)
    assert ours.stderr.replace("virt-install", "-c") == theirs.stderr.replace("virt-install", "-c")


@pytest.mark.parametrize("place", PLACES, ids=version)
@pytest.mark.parametrize(
    "words, status, told",
    [
        (f"{F37} --import --disk none --vcpus 2 --profile hard {XML}", 3, "vcpu"),
        (f"{F37} --import --disk none --profile nix {XML}", 1, "no profile 'nix'"),
        (f"{F37} --import --disk none --profile big,priority=x {XML}", 2, "priority 'x'"),
        (f"{F37} --import --disk none --profile usb-model,modell=x {XML}", 1, "modell"),
        ("--reinstall test --pxe --profile big", 1, "Cannot use --reinstall and --profile"),
    ],
)
def test_what_is_wrong_is_told(words: str, status: int, told: str, place: Path) -> None:
    done = install(place, words)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    assert told in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES, ids=version)
@pytest.mark.parametrize("media", [f"--location {TREE}", f"--location {TREE} --unattended", "--import"])
@pytest.mark.parametrize(
    "end, told", [("--dry-run", "Dry run completed"), ("--noautoconsole --noreboot", "\nDomain ")]
)
def test_an_installation(end: str, told: str, media: str, place: Path) -> None:
    """Not only printed: gone through, and carried out on libvirt's test driver."""
    common = f"{F37} {media} --disk size=1 --debug {end}"
    plain = install(place, common, plain=True)
    assert plain.returncode == 0 and told in plain.stdout, plain.stderr[-2000:]
    done = install(place, f"{common} --profile scsi --profile cache --profile big")
    assert done.returncode == 0 and told in done.stdout, done.stderr[-2000:]
    # what virtinst's log says it gives to libvirt: the domain to install with, and the one to keep
    made = re.findall(r"^<domain .*?^</domain>", done.stderr, re.DOTALL | re.MULTILINE)
    made = [etree.fromstring(xml) for xml in made]
    assert made
    for root in made:
        assert root.find("devices/disk/target").get("bus") == "scsi"
        assert root.find("devices/disk/driver").get("cache") == "none"
        assert root.findtext("memory") == "3145728"
    by_kernel = [root.find("os/kernel") is not None for root in made]
    assert by_kernel[:2] == [True, False] if "location" in media else not any(by_kernel)


@pytest.mark.parametrize("place", PLACES, ids=version)
def test_help_lists_the_profiles(place: Path) -> None:
    done = install(place, "--profile help")
    assert done.returncode == 0
    assert re.search(r"^ *usb-model +0 ", done.stdout, re.MULTILINE)
    assert "--profile" in install(place, "--help").stdout


@pytest.mark.parametrize("place", PLACES, ids=version)
@pytest.mark.parametrize("words", ["--profile none", "--profile=none"])
def test_none_is_none(words: str, place: Path) -> None:
    common = f"{F37} --import --disk none {XML}"
    assert canonical(install(place, f"{common} {words}").stdout) == canonical(install(place, common).stdout)


VM = """<domain type='test'>
  <name>test</name>
  <memory unit='KiB'>8388608</memory>
  <vcpu>2</vcpu>
  <os><type arch='i686'>hvm</type></os>
  <!-- mine -->
  <devices/>
</domain>
"""


def edit(place: Path, *words: str, stdin: str = VM) -> subprocess.CompletedProcess[str]:
    return program("virt-xml", place, "--connect", "test:///default", "--edit", *words, stdin=stdin)


@pytest.mark.parametrize("place", PLACES, ids=version)
def test_virtxml_edits_by_profiles(place: Path) -> None:
    done = edit(place, "--profile", "disk", "--profile", "cache,priority=5")
    assert done.returncode == 0, done.stderr
    root = etree.fromstring(done.stdout)
    assert root.find("devices/disk/driver").get("cache") == "none"
    assert "<!-- mine -->" in done.stdout
    listed = {
        one.get("name"): one.get("priority") for one in root.iterfind("metadata/{*}virtuned/{*}profile")
    }
    assert listed == {"disk": None, "cache": "5"}
    again = edit(place, "--profile", "disk", "--profile", "cache", stdin=done.stdout)
    assert again.stdout == done.stdout
    diff = edit(place, "--profile", "disk", "--print-diff")
    assert "+    <disk" in diff.stdout and "-  <vcpu" not in diff.stdout


@pytest.mark.parametrize("place", PLACES, ids=version)
def test_virtxml_defines_a_domain(place: Path) -> None:
    shown = program(
        "virt-xml", place, "-c", "test:///default", "test", "--edit", "--profile", "disk", "--print-diff"
    )
    assert shown.returncode == 0 and "+    <disk" in shown.stdout, shown.stderr
    done = program(
        "virt-xml", place, "-c", "test:///default", "test", "--edit", "--profile", "disk", "--define"
    )
    assert done.returncode == 0, done.stderr
    assert "defined successfully" in done.stdout


@pytest.mark.parametrize("place", PLACES, ids=version)
def test_virtxml_tells_what_is_wrong(place: Path) -> None:
    clash = edit(place, "--profile", "hard")
    assert (clash.returncode, clash.stdout) == (3, "") and "/domain/vcpu" in clash.stderr
    assert edit(place, "--profile", "nix").returncode == 1
    plain = edit(place, "--vcpus", "3")
    assert plain.returncode == 0 and "<vcpu>3</vcpu>" in plain.stdout


OBJECTS = """
import sys
import virtinst, virtinst.cli
from virtProfile import ProfileStore
virtinst.cli.setupLogging("t", False, True)
conn = virtinst.cli.getConnection("test:///default")
guest = virtinst.Guest(conn)
guest.name, guest.type, guest.os.os_type = "t", "test", "hvm"
from virtinst import StorageVolume
pool = conn.storagePoolLookupByName("default-pool")
new = StorageVolume(conn)
new.name, new.capacity, new.pool = "new.img", 1 << 20, pool
disk = virtinst.DeviceDisk(conn)
disk.set_vol_install(new)
nic = virtinst.DeviceInterface(conn)
nic.type = "user"
guest.add_device(disk)
guest.add_device(nic)
devices, os = guest.devices, guest.os
result = virtinst.apply_profiles(guest, ["cache", {"name": "disk", "priority": 2}], store=ProfileStore([sys.argv[1]]))
assert [one.name for one in result.applied] == ["disk", "cache"] or result.applied
assert guest.devices is devices and guest.os is os and guest.devices.disk[0] is disk
assert [one.driver_cache for one in guest.devices.disk] == ["none", "none"], guest.get_xml()
assert disk.driver_cache == "none" and disk.get_vol_install() is new
assert disk.wants_storage_creation()
disk.driver_cache = "writeback"
guest.name = "another"
assert "writeback" in guest.get_xml() and "<name>another" in guest.get_xml()
guest.remove_device(nic)
assert "<interface" not in guest.get_xml()
disk.build_storage(None)
assert pool.storageVolLookupByName("new.img")
print(guest.get_xml())
"""


@pytest.mark.parametrize("place", PLACES, ids=version)
def test_objects_stay(place: Path) -> None:
    done = subprocess.run(
        [PYTHON, "-c", OBJECTS, str(DATA / "profiles")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TOP), "VIRT_PROFILE_VIRTINST": str(place)},
    )
    assert done.returncode == 0, done.stderr
    assert "virt-profile:" not in done.stdout


@pytest.mark.parametrize(
    "prefix, offered, most",
    [
        ("--profile ", ["cache", "usb-model", "rng"], 99),
        ("--profile usb-m", ["usb-model"], 1),
        ("--profile usb-model,", ["priority=", "version=", "include=", "model="], 4),
        ("--profile usb-model,priority=3,m", ["model="], 1),
    ],
)
def test_completion(prefix: str, offered: list[str], most: int, tmp_path: Path) -> None:
    pytest.importorskip("argcomplete")
    line = "virt-install " + prefix
    environ = {
        **os.environ,
        "PYTHONPATH": str(TOP),
        "VIRT_PROFILE_PATH": str(DATA / "profiles"),
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    answer = tmp_path / "answer"
    subprocess.run(
        [PYTHON, str(TOP / "virt-install")],
        env={**environ, "_ARGCOMPLETE_STDOUT_FILENAME": str(answer)},
        capture_output=True,
    )
    words = {one.strip() for one in answer.read_text().split("\n")}
    assert set(offered) <= words, words
    assert len(words) <= most, words


#: A file that is there, a volume that is made in a pool, and no disk.
LINES = {
    "file": f"--import --disk {TOP / 'README.md'},format=raw",
    "volume": "--import --disk pool=default-pool,size=2",
    "no-disk": "--pxe --disk none",
}


def shipped() -> dict[str, str]:
    """Each shipped profile as ``--profile`` takes it, with the params that it cannot do without."""
    return {
        name: ",".join(
            [name, *(f"{param}={value}" for param, value in library.REQUIRED.get(name, {}).items())]
        )
        for name in library.NAMES
    }


def some_of_all() -> list[object]:
    rows = [(line, name) for line in LINES for name in library.NAMES]
    few = set(random.Random(1).sample(rows, 4))
    return [row if row in few else pytest.param(*row, marks=pytest.mark.slow) for row in rows]


@pytest.mark.parametrize(("line", "name"), some_of_all())
def test_a_new_guest_with_a_shipped_profile_defines(line: str, name: str, embedded_qemu: Any) -> None:
    place = PLACES[0]
    words = f"--osinfo fedora37 --name t {LINES[line]} --print-xml --profile {shipped()[name]}"
    done = program(
        "virt-install", place, "--connect", URI, *words.split(), VIRT_PROFILE_PATH=str(library.SHIPPED)
    )
    if name in ("sev", "sev-snp", "tdx", "windows-virtio-prepare", "mirror-topology") and done.returncode:
        assert "ERROR" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    for xml in re.findall(r"<domain.*?</domain>", done.stdout, re.DOTALL):
        domain = embedded_qemu.defineXML(xml)
        domain.undefineFlags(4)  # VIR_DOMAIN_UNDEFINE_NVRAM
