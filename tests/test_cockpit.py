# SPDX-License-Identifier: GPL-2.0-or-later
"""The Cockpit page in a real Cockpit, on VMs of a libvirtd of its own, in Chromium."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import cockpit
import pytest

TOP = Path(__file__).parent.parent
PAGE = TOP / "contrib" / "cockpit"


def test_the_manifest_names_the_page() -> None:
    manifest = json.loads((PAGE / "virt-profile" / "manifest.json").read_text())
    assert manifest == json.loads((PAGE / "src" / "manifest.json").read_text())
    assert manifest["menu"]["index"]["label"] == "VM profiles"
    for name in ("index.html", "profiles.js", "profiles.css", "licenses.txt"):
        assert (PAGE / "virt-profile" / name).is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("npm_packages")
def test_the_built_page_is_what_the_sources_give(tmp_path: Path) -> None:
    words = ["npm", "run", "--silent", "build", str(tmp_path / "page"), str(tmp_path / "cockpit")]
    subprocess.run(words, cwd=TOP / "page", check=True)
    for path in (PAGE / "virt-profile").iterdir():
        assert (tmp_path / "cockpit" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.fixture
def axe(npm_packages: Path) -> str:
    return str(npm_packages / "axe-core" / "axe.min.js")


@pytest.mark.slow
def test_the_page_in_cockpit(beside_a_daemon: list[str], axe: str, tmp_path: Path) -> None:
    cockpit.walk(beside_a_daemon, tmp_path, "cockpit_pages.py", axe)


@pytest.mark.slow
def test_a_user_whom_polkit_refuses(beside_a_daemon: list[str], axe: str, tmp_path: Path) -> None:
    if not Path("/usr/lib/polkit-1/polkitd").exists():
        pytest.skip("apt-get install polkitd")
    cockpit.walk(beside_a_daemon, tmp_path, "cockpit_pages.py", axe, user="nobody")
