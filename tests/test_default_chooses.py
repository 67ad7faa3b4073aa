# SPDX-License-Identifier: GPL-2.0-or-later
"""What a `default` uses to choose a thing is no wish for the thing: three kinds of disks with virt-install."""

from __future__ import annotations

import subprocess
from pathlib import Path

import library
import pytest
from strategies import MemoryStore

import virtProfile

TOP = Path(__file__).parent.parent
PYTHON = "/usr/bin/python3"
DISK = "<disk><source file='/a.img'/><target dev='vda' bus='virtio'/></disk>"
SKETCH = f"<domain type='kvm'><name>vm</name><memory unit='GiB'>1</memory><devices>{DISK}</devices></domain>"
CHOOSING = """<profile name='p' version='1'>
  <default><devices><disk type='file'><driver cache='none'/></disk></devices></default>
  <default><devices><disk type='block'><driver cache='writeback'/></disk></devices></default>
</profile>"""
#: Those that speak of disks by their type, and the sets that require them.
OF_DISKS = [
    "fast-disk",
    "safe-disk",
    "high-performance",
    "like-kubevirt",
    "like-nova",
    "like-ovirt",
    "like-virt-manager",
]
GUEST = [
    "--connect",
    "test:///default",
    "--name",
    "foo",
    "--memory",
    "64",
    "--osinfo",
    "generic",
    "--import",
    "--print-xml",
]
DISKS = {"a file": "path={file}", "a volume": "pool=default-pool,size=1", "none": "none"}


@pytest.mark.parametrize("name", OF_DISKS)
@pytest.mark.parametrize("complete", [False, True])
def test_a_disk_without_type(name: str, complete: bool) -> None:
    pytest.importorskip("virtinst")
    result = library.apply(SKETCH, [name], context=library.context(), complete=complete)
    again = virtProfile.apply(result.xml, store=library.store(), context=library.context())
    assert not again.changes


@pytest.mark.parametrize("priority", [0, 50, 120])
def test_only_the_chosen_kind_gets_the_default(priority: int) -> None:
    store = MemoryStore([CHOOSING])
    for kind, cache in (("file", "none"), ("block", "writeback")):
        source = "file" if kind == "file" else "dev"
        text = SKETCH.replace("<disk>", f"<disk type='{kind}'>").replace("file='/a.img'", f"{source}='/a'")
        result = virtProfile.apply(text, [{"name": "p", "priority": priority}], store=store)
        assert f"cache='{cache}'" in result.xml
        assert f"<disk type='{kind}'>" in result.xml
        assert not result.overridden


def test_a_type_that_another_profile_writes_decides() -> None:
    store = MemoryStore(
        [
            CHOOSING,
            "<profile name='b' version='1'><add multiple='no'><devices><disk type='block'><source dev='/b'/>"
            "<target dev='vda'/></disk></devices></add></profile>",
        ]
    )
    for priority in (0, 10):
        wishes = [{"name": "p", "priority": priority}, {"name": "b", "priority": 120}]
        result = virtProfile.apply(SKETCH, wishes, store=store)
        assert "cache='writeback'" in result.xml
        assert "cache='none'" not in result.xml


def install(tmp_path: Path, profile: str, disk: str) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "a.qcow2"
    file.touch()
    params = ",".join(
        (profile, *(f"{key}={value}" for key, value in library.REQUIRED.get(profile, {}).items()))
    )
    command = [PYTHON, str(TOP / "virt-install"), *GUEST, "--disk", DISKS[disk].format(file=file)]
    return subprocess.run(
        [*command, "--profile", params], capture_output=True, text=True, timeout=120, check=False
    )


needs_virtinst = pytest.mark.skipif(
    not Path(PYTHON).exists(), reason="virtinst is the distribution's Python's"
)


@needs_virtinst
@pytest.mark.parametrize("profile", ["fast-disk", "safe-disk", "like-ovirt"])
def test_virt_install_with_a_file(tmp_path: Path, profile: str) -> None:
    done = install(tmp_path, profile, "a file")
    assert done.returncode == 0, done.stderr
    if profile == "fast-disk":
        assert 'cache="none" io="native" discard="unmap"' in done.stdout


@needs_virtinst
@pytest.mark.slow
@pytest.mark.parametrize("disk", DISKS)
@pytest.mark.parametrize("profile", library.NAMES)
def test_virt_install_with_every_shipped_profile(tmp_path: Path, profile: str, disk: str) -> None:
    done = install(tmp_path, profile, disk)
    assert done.returncode == 0, done.stderr
