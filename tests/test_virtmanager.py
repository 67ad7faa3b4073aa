# SPDX-License-Identifier: GPL-2.0-or-later
"""virt-manager's wizard with a standing profile, on a virtual screen: Debian's package as it is, beside our virtinst."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from artifacts import artifacts

TOP = Path(__file__).parent.parent
PROFILE = (
    "<profile name='site-watchdog' version='1.0'>"
    "<add><devices><watchdog model='i6300esb' action='poweroff'/></devices></add></profile>"
)
#: Draws the whole screen into a file; a process of its own, as GTK connects to the screen once.
SHOT = """
import gi, sys
gi.require_version('Gdk', '3.0')
from gi.repository import Gdk
root = Gdk.get_default_root_window()
Gdk.pixbuf_get_from_window(root, 0, 0, root.get_width(), root.get_height()).savev(sys.argv[1], 'png', [], [])
"""
NEEDED = ("virt-manager", "Xvfb", "xdotool", "dbus-run-session")
MISSING = [program for program in NEEDED if shutil.which(program) is None]
#: Seconds for a window on a machine that does other things too.
PATIENCE = 120

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (Debian's packages "
                       "virt-manager, xvfb, xdotool, dbus)"),
]  # fmt: skip


class Wizard:
    """virt-manager on a screen of its own, at the first page of a new VM."""

    def __init__(self, place: Path, display: str, program: Path) -> None:
        self.log = place / "log"
        home = place / "home"
        (home / "profiles").mkdir(parents=True)
        (home / "profiles" / "site.xml").write_text(PROFILE)
        (home / "config" / "virt-profile").mkdir(parents=True)
        (home / "config" / "virt-profile" / "config.toml").write_text(
            "[[new]]\nprofiles = ['site-watchdog']\n"
        )
        home.chmod(0o700)
        self.environ = {
            "PATH": os.environ["PATH"], "DISPLAY": display, "HOME": str(home), "XDG_RUNTIME_DIR": str(home),
            "XDG_CONFIG_HOME": str(home / "config"), "XDG_CACHE_HOME": str(home / "cache"), "LANG": "C.UTF-8",
            "VIRT_PROFILE_PATH": str(home / "profiles"), "GSETTINGS_BACKEND": "memory", "NO_AT_BRIDGE": "1",
            "LIBGL_ALWAYS_SOFTWARE": "1",
        }  # fmt: skip
        words = ["--no-fork", "--debug", "--connect", "test:///default", "--show-domain-creator"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["dbus-run-session", "--", "/usr/bin/python3", str(program), *words],
                env=self.environ, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, pattern: str) -> str:
        """Until the log has it."""
        end = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.said())):
            assert time.monotonic() < end and self.process.poll() is None, self.said()[-3000:]
            time.sleep(0.5)
        return found.group()

    def do(self, *words: str) -> None:
        subprocess.run(["xdotool", *words], env=self.environ, check=True, timeout=60)
        time.sleep(3)

    def see(self, name: str) -> None:
        end = time.monotonic() + PATIENCE
        while subprocess.run(
            ["xdotool", "search", "--name", name], env=self.environ, capture_output=True
        ).returncode:
            assert time.monotonic() < end and self.process.poll() is None, self.said()[-3000:]
            time.sleep(0.5)
        time.sleep(3)

    def shot(self, name: str) -> Path:
        """A picture of the screen."""
        file = artifacts("windows") / f"{name}.png"
        subprocess.run(["/usr/bin/python3", "-c", SHOT, str(file)], env=self.environ, check=True, timeout=120)
        return file


@pytest.fixture
def display() -> Iterator[str]:
    """A screen that nobody else has."""
    read, write = os.pipe()
    words = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x900x24", "-nolisten", "tcp"]
    process = subprocess.Popen(words, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as stream:
        number = stream.readline().strip()
    yield f":{number}"
    process.terminate()
    process.wait(30)


def test_a_new_vm_has_what_the_site_wants(display: str, tmp_path: Path) -> None:
    wizard = Wizard(tmp_path, display, TOP / "virt-manager")
    try:
        wizard.see("New VM")
        wizard.do("mousemove", "20", "330")  # without a window manager the keyboard goes where the pointer is
        wizard.do("key", "alt+n")  # Manual install
        wizard.do("key", "alt+f")  # Forward
        wizard.do("key", "alt+h")  # the operating system
        wizard.do("type", "--delay", "80", "linux2022")
        wizard.do("key", "Return")
        for _ in range(3):  # memory, storage, the last page
            wizard.do("key", "alt+f")
        wizard.do("key", "alt+u")  # Customize configuration before install
        wizard.do("key", "alt+f")  # Finish
        wizard.wait_for(r"profiles from \S+/config/virt-profile/config\.toml: site-watchdog")
        wizard.see("on test default")
        assert wizard.shot("virt-manager").read_bytes().startswith(b"\x89PNG")
        log = wizard.said()
        assert re.search(r"<virtuned:profile name=.site-watchdog.", log)
        assert re.search(r"<watchdog model=.i6300esb. action=.poweroff.", log)
        assert "Traceback" not in log
    finally:
        os.killpg(wizard.process.pid, 15)
        wizard.process.wait(30)
