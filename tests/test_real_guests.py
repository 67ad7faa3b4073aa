# SPDX-License-Identifier: GPL-2.0-or-later
"""Conversions of a Linux guest with disk and boot loader, booted each time: `realguests.py` says how."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import locked

pytest.importorskip("libvirt")

TESTS = Path(__file__).parent
#: What the guest is made of; the kernel is what Debian's linux-image-amd64 depends on.
PACKAGES = ("busybox-static", "grub-pc-bin", "grub-common", "kmod")


@pytest.fixture(scope="session")
def linux_guest() -> Path:
    """A disk with a Linux guest on it, made once and kept."""
    if shutil.which("apt-get") is None:
        pytest.skip("the guest is made of Debian packages")
    place = TESTS.parent / ".cache" / "linuxguest"
    with locked(place):
        disk = place / "disk.qcow2"
        script = TESTS / "linuxguest.sh"
        if not disk.exists() or disk.stat().st_mtime < script.stat().st_mtime:
            words = ["apt-cache", "depends", "linux-image-amd64"]
            depends = subprocess.run(words, capture_output=True, text=True).stdout.split()
            kernels = [word for word in depends if word.startswith("linux-image-") and word != words[-1]]
            kernel = kernels[0] if kernels else ""
            for old in place.glob("*.deb"):
                old.unlink()
            words = ["apt-get", "-qq", "-o", "APT::Sandbox::User=", "download", *PACKAGES, kernel]
            done = subprocess.run(words, cwd=place, capture_output=True, text=True)
            if not kernel or done.returncode:
                pytest.skip(f"the guest's packages cannot be fetched: {done.stderr[-200:]}")
            made = subprocess.run(
                ["sh", str(script), str(disk), *map(str, sorted(place.glob("*.deb")))],
                capture_output=True,
                text=True,
            )
            if made.returncode == 77:
                pytest.skip(made.stderr)
            assert made.returncode == 0, made.stderr
    return disk


@pytest.mark.slow
def test_conversions_boot_and_come_back(beside_a_daemon: list[str], linux_guest: Path) -> None:
    command = [sys.executable, str(TESTS / "realguests.py"), str(linux_guest)]
    done = subprocess.run([*beside_a_daemon, *command], capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.count("login after") == 15


@pytest.mark.slow
def test_a_guest_without_its_disk_is_noticed(beside_a_daemon: list[str], tmp_path: Path) -> None:
    """What the test above would see of a conversion that does not boot."""
    empty = tmp_path / "empty.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(empty), "16M"], check=True)
    command = [
        "env",
        "VIRT_PROFILE_BOOT_SECONDS=20",
        sys.executable,
        str(TESTS / "realguests.py"),
        str(empty),
    ]
    done = subprocess.run([*beside_a_daemon, *command], capture_output=True, text=True)
    assert done.returncode == 1
    assert "no login within 20 seconds" in done.stdout
