# SPDX-License-Identifier: GPL-2.0-or-later
"""A real Cockpit, without systemd and without a login, for tests that walk through its pages in Chromium."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from artifacts import artifacts

TOP = Path(__file__).parent.parent
NEEDS = ("/usr/lib/cockpit/cockpit-ws", "/usr/bin/cockpit-bridge", "/usr/bin/dbus-run-session")


def walk(daemon: list[str], place: Path, script: str, *words: str, user: str = "") -> None:
    """Run a script beside Cockpit, which is beside a libvirtd, which is beside a bus.

    :param daemon: what stands before a command that is to find a libvirtd of its own
    :param words: of the script, after the port and the directory for its pictures
    :param user: who is logged in, if not root
    """
    missing = [path for path in NEEDS if not Path(path).exists()]
    if missing or not shutil.which("chromedriver"):
        pytest.skip("apt-get install cockpit-ws cockpit-bridge cockpit-system dbus chromium-driver")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    scripts = TOP / "tests"
    bus = [*daemon[:2], "sh", str(scripts / "bus.sh"), *daemon[2:]]
    session = ["sh", str(scripts / "cockpit.sh"), str(place / "data"), port]
    command = [*bus, *session, sys.executable, str(scripts / script), port, str(artifacts("cockpit")), *words]
    env = {**os.environ, "COCKPIT_USER": user}
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=TOP, env=env)
    assert "all is well" in done.stdout.splitlines(), done.stdout[-3000:] + done.stderr[-3000:]
