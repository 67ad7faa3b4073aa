# SPDX-License-Identifier: GPL-2.0-or-later
"""cockpit-machines calls virt-xml: its dialogs' command lines give the same with our virt-xml as without."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
from pathlib import Path

import cockpit
import pytest

TOP = Path(__file__).parent.parent
DIVERTED = Path("/usr/bin/virt-xml.distrib")  # where our package is installed
THEIRS = DIVERTED if DIVERTED.exists() else Path("/usr/bin/virt-xml")
BUNDLE = Path("/usr/share/cockpit/machines/index.js.gz")


def installed() -> str:
    """The version of Debian's package."""
    words = ["dpkg-query", "-W", "-f", "${Version}", "cockpit-machines"]
    return subprocess.run(words, capture_output=True, text=True).stdout


VM = """<node>
  <domain type='test' id='1'>
    <name>vm</name><uuid>0f5e9d3c-4b7a-4a55-9d10-6b6b5e2c7a01</uuid>
    <memory>2097152</memory><vcpu>2</vcpu>
    <os><type arch='x86_64' machine='q35'>hvm</type></os>
    <cpu mode='custom' match='exact'><model>Haswell</model></cpu>
    <devices>
      <disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>
      <disk type='file' device='disk'><source file='/a.img'/><target dev='vda' bus='virtio'/></disk>
      <filesystem type='mount' accessmode='passthrough'>
        <driver type='virtiofs'/><source dir='/srv'/><target dir='share'/>
      </filesystem>
      <interface type='network'><mac address='52:54:00:11:22:33'/><source network='default'/><model type='virtio'/></interface>
      <interface type='bridge'><mac address='52:54:00:11:22:34'/><source bridge='br0'/></interface>
      <watchdog model='i6300esb' action='reset'/>
    </devices>
  </domain>
</node>
"""
#: The words after `virt-xml -c URI`, as the dialogs of cockpit-machines 288 put them.
DIALOGS = {
    "host device, USB": ["vm", "--add-device", "--hostdev", "0x046d:0xc52b"],
    "host devices, PCI, running": ["vm", "--add-device", "--hostdev", "0000:03:00.0", "--update"],
    "NIC": ["vm", "--add-device", "--network", "type=network,source=default,source.mode=bridge,model=virtio"],
    "NIC with MAC": ["vm", "--add-device", "--network", "mac=52:54:00:aa:bb:cc,type=direct,source=eth0,source.mode=bridge,model=e1000e"],
    "NIC, running only": ["vm", "--add-device", "--network", "type=bridge,source=br0,source.mode=bridge,model=virtio", "--update", "--no-define"],
    "NIC edited": ["vm", "--edit", "mac=52:54:00:11:22:33", "--network", "mac=52:54:00:99:99:99,type=bridge,source=br1,model=e1000e,"],
    "NIC unplugged": ["vm", "--edit", "mac=52:54:00:11:22:33", "--network", "link.state=down", "--update"],
    "NIC removed": ["vm", "--remove-device", "--network", "2"],
    "shared directory": ["vm", "--add-device", "--filesystem", "type=mount,accessmode=passthrough,driver.type=virtiofs,source.dir=/home,target.dir=home"],
    "shared directory, xattr": ["vm", "--add-device", "--filesystem", "type=mount,accessmode=passthrough,driver.type=virtiofs,source.dir=/home,target.dir=home,binary.xattr=on"],
    "shared directory removed": ["vm", "--remove-device", "--filesystem", "target.dir=share"],
    "CDROM, file": ["vm", "--edit", "target.dev=sda", "--disk", "source.file={place}/cd.iso,type=file"],
    "CDROM, volume, running": ["vm", "--edit", "target.dev=sda", "--disk", "source.pool=default,source.volume=cd.iso,type=volume", "--update"],
    "CPU, host": ["--cpu", "clearxml=true,mode=host-passthrough", "vm", "--edit"],
    "CPU, model": ["--cpu", "clearxml=true,mode=custom,model=Skylake-Client", "vm", "--edit"],
    "shared memory": ["--memorybacking", "access.mode=shared,source.type=memfd", "vm", "--edit"],
    "vCPUs": ["--vcpu", "8,vcpu.current=4,sockets=2,cores=2,threads=2", "vm", "--edit"],
    "watchdog": ["vm", "--add-device", "--watchdog", "action=poweroff"],
    "watchdog, running": ["vm", "--add-device", "--watchdog", "action=poweroff", "--update", "--no-define"],
    "watchdog edited": ["vm", "--edit", "--watchdog", "action=pause"],
    "watchdog removed": ["vm", "--remove-device", "--watchdog", "model=i6300esb"],
}  # fmt: skip

#: Their pages and calls differ from version to version; the table is of Debian 12's.
of_that_version = pytest.mark.skipif(
    not BUNDLE.exists() or not installed().startswith("288"), reason="cockpit-machines 288 is not installed"
)
pytestmark = pytest.mark.skipif(not THEIRS.exists(), reason="virtinst is not installed")


def run(program: Path, place: Path, words: list[str]) -> tuple[int, str, str]:
    (place / "node.xml").write_text(VM)
    (place / "cd.iso").write_bytes(b"")
    words = [word.replace("{place}", str(place)) for word in words]
    done = subprocess.run(
        [sys.executable, str(program), "-c", f"test://{place / 'node.xml'}", *words, "--print-xml"],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(place), "XDG_CACHE_HOME": str(place), "LC_ALL": "C.UTF-8"},
    )
    # A NIC without one gets a MAC address by chance.
    mac = re.compile(r"(?<=<mac address=[\"'])(?!52:54:00:(?:11:22|99:99|aa:bb))[0-9a-f:]{17}")
    return done.returncode, mac.sub("MAC", done.stdout), done.stderr


@pytest.mark.parametrize("dialog", DIALOGS)
def test_a_dialog_gives_the_same_xml(dialog: str, tmp_path: Path) -> None:
    theirs = run(THEIRS, tmp_path, DIALOGS[dialog])
    assert run(TOP / "virt-xml", tmp_path, DIALOGS[dialog]) == theirs
    # libvirt's test driver has no host devices and changes no running VM: the same words then.
    refuses = {"--hostdev", "--update"} & set(DIALOGS[dialog])
    assert theirs[0] == 0 and "<domain" in theirs[1] or refuses, theirs


@pytest.mark.slow
@of_that_version
def test_dialogs_in_cockpit(beside_a_daemon: list[str], tmp_path: Path) -> None:
    """Pressed in Chromium: libvirt has the same VM afterwards."""
    if not Path("/usr/sbin/libvirt-dbus").exists():
        pytest.skip("apt-get install libvirt-dbus")
    # The distribution's runs on the distribution's Python.
    ours = f"/usr/bin/python3 {TOP / 'virt-xml'}"
    cockpit.walk(beside_a_daemon, tmp_path, "cockpit_dialogs.py", str(THEIRS), ours)


@of_that_version
def test_every_call_of_cockpit_machines_is_in_the_table() -> None:
    text = gzip.decompress(BUNDLE.read_bytes()).decode()
    calls = text.count('["virt-xml","-c"')
    assert calls == 12, f"cockpit-machines has {calls} calls of virt-xml: look whether one is new"
    for option in (
        "--hostdev",
        "--network",
        "--filesystem",
        "--disk",
        "--cpu",
        "--memorybacking",
        "--vcpu",
        "--watchdog",
    ):
        assert f'"{option}"' in text and any(option in words for words in DIALOGS.values())
