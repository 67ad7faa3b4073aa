# SPDX-License-Identifier: GPL-2.0-or-later
"""The Cockpit page in a real Cockpit, on VMs of a libvirtd of its own, in Chromium."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
PAGE = TOP / "contrib" / "cockpit"
ARTIFACTS = Path(os.environ.get("CI_ARTIFACTS") or TOP / ".ci" / "artifacts") / "cockpit"
NEEDS = ("/usr/lib/cockpit/cockpit-ws", "/usr/bin/cockpit-bridge", "/usr/bin/dbus-run-session")


def test_the_manifest_names_the_page() -> None:
    manifest = json.loads((PAGE / "virt-profile" / "manifest.json").read_text())
    assert manifest == json.loads((PAGE / "src" / "manifest.json").read_text())
    assert manifest["menu"]["index"]["label"] == "VM profiles"
    for name in ("index.html", "profiles.js", "profiles.css", "licenses.txt"):
        assert (PAGE / "virt-profile" / name).is_file()


@pytest.mark.slow
def test_the_built_page_is_what_the_sources_give(tmp_path: Path) -> None:
    if not (TOP / "page" / "node_modules").is_dir():
        pytest.skip("npm ci in page/ was not run: ./dev page")
    words = ["npm", "run", "--silent", "build", str(tmp_path / "page"), str(tmp_path / "cockpit")]
    subprocess.run(words, cwd=TOP / "page", check=True)
    for path in (PAGE / "virt-profile").iterdir():
        assert (tmp_path / "cockpit" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.slow
def test_the_page_in_cockpit(beside_a_daemon: list[str], tmp_path: Path) -> None:
    missing = [path for path in NEEDS if not Path(path).exists()]
    if missing or not shutil.which("chromedriver"):
        pytest.skip("apt-get install cockpit-ws cockpit-bridge cockpit-system dbus chromium-driver")
    axe = TOP / "page" / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.is_file():
        pytest.skip("npm ci in page/ was not run: ./dev page")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    walk = [sys.executable, str(TOP / "tests" / "cockpit_pages.py"), port, str(ARTIFACTS), str(axe)]
    command = [*beside_a_daemon, "sh", str(TOP / "tests" / "cockpit.sh"), str(tmp_path / "data"), port, *walk]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=TOP)
    assert "all is well" in done.stdout.splitlines(), done.stdout[-3000:] + done.stderr[-3000:]
