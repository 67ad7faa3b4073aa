# SPDX-License-Identifier: GPL-2.0-or-later
"""``pip install .`` into a virtual environment on the distribution's packages, and the Debian package."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from virtProfile.version import VERSION

TOP = Path(__file__).parent.parent
PYTHON = "/usr/bin/python3"
#: What goes into a package: not the caches.
PARTS = (
    "virtProfile", "virtinst", "profiles", "examples", "man", "virt-profile", "virt-profiled", "virt-install",
    "virt-xml", "setup.py", "pyproject.toml", "README.md", "COPYING",
)  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pip")
    source = place / "source"
    source.mkdir()
    for part in PARTS:
        if (TOP / part).is_dir():
            shutil.copytree(TOP / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(TOP / part, source)
    venv = place / "venv"
    made = subprocess.run([PYTHON, "-m", "venv", "--system-site-packages", venv], capture_output=True)
    if made.returncode:
        pytest.skip("no virtual environments: apt-get install python3-venv")
    pip = [
        venv / "bin" / "python",
        "-m",
        "pip",
        "install",
        "-q",
        "--no-build-isolation",
        "--no-deps",
        "--no-index",
    ]
    done = subprocess.run([*pip, "."], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return venv


def run(venv: Path, program: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([venv / "bin" / program, *words], capture_output=True, text=True, cwd="/")


def test_programs_find_the_shipped_profiles(installed: Path) -> None:
    done = run(installed, "virt-profile", "--list")
    assert done.returncode == 0, done.stderr
    assert str(installed / "share" / "virt-profile" / "profiles") in done.stdout
    assert {one.stem for one in (TOP / "profiles").glob("*.xml")} <= set(done.stdout.split())


def test_wrappers_take_profiles(installed: Path) -> None:
    words = "--connect test:///default --name t --memory 64 --osinfo generic --import --disk none --print-xml"
    done = run(installed, "virt-install", *words.split(), "--profile", "rng")
    assert done.returncode == 0, done.stderr
    assert "<rng" in done.stdout
    edited = run(
        installed, "virt-xml", "-c", "test:///default", "test", "--edit", "--profile", "rng", "--print-diff"
    )
    assert "+    <rng" in edited.stdout, edited.stderr


def test_manual_pages(installed: Path) -> None:
    pytest.importorskip("docutils")
    pages = {one.name for one in (installed / "share" / "man").glob("man*/*")}
    assert pages == {one.stem for one in (TOP / "man").glob("*.rst")}
    text = (installed / "share" / "man" / "man1" / "virt-profile.1").read_text()
    assert "virt\\-install" in text and "System Message" not in text


def test_the_page_is_installed(installed: Path) -> None:
    (found,) = installed.glob("lib/python3*/site-packages/virtProfile/data/page")
    assert {one.name for one in found.iterdir()} == {
        one.name for one in (TOP / "virtProfile/data/page").iterdir()
    }


def test_the_debian_package_has_our_version() -> None:
    first = (TOP / "debian" / "changelog").read_text().splitlines()[0]
    assert first.startswith(f"virt-profile ({VERSION}-")


@pytest.mark.slow
def test_the_debian_package() -> None:
    """Built, clean for lintian, installed in a chroot beside virtinst, used, and taken out."""
    if os.geteuid() != 0 or shutil.which("dpkg-divert") is None:
        pytest.skip("root on Debian only")
    done = subprocess.run(["./dev", "deb", "--try"], cwd=TOP, capture_output=True, text=True)
    if "debootstrap" in done.stderr and "Failed getting release file" in done.stdout + done.stderr:
        pytest.skip("no mirror for a chroot")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "FAILED" not in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "ok: removed: virtinst is as it was"
