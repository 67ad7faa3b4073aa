# SPDX-License-Identifier: GPL-2.0-or-later
"""The session that `cockpit.sh` starts, seen by the scripts that walk through its pages in Chromium.

The first two words of each script are the port of Cockpit and the directory for its pictures.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from webdriver import Browser

PORT, PICTURES = sys.argv[1], Path(sys.argv[2])
BIN = Path(os.environ["HOME"]) / "bin"  # where the session looks for programs first


def virsh(*words: str, text: str | None = None) -> str:
    done = subprocess.run(["virsh", "-q", *words], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def picture(browser: Browser, name: str) -> None:
    browser.picture(PICTURES / f"{name}.png")


def program(name: str, script: str) -> None:
    """From now on the session runs a script instead of a program."""
    BIN.mkdir(exist_ok=True)
    (BIN / name).write_text(script)
    (BIN / name).chmod(0o755)


def open_page(browser: Browser, package: str) -> None:
    """A page of Cockpit by itself, without the menu."""
    browser.open(f"http://127.0.0.1:{PORT}/cockpit/@localhost/{package}/index.html")


@contextmanager
def signed_in(failed: str, height: int) -> Iterator[Browser]:
    """A browser for one session of Cockpit.

    What is drawn when a step fails is kept as picture `failed`; "all is well" is printed when none does.
    """
    driver, binary = shutil.which("chromedriver"), shutil.which("chromium")
    assert driver and binary
    with tempfile.TemporaryDirectory() as place:
        browser = Browser(driver, binary, Path(place) / "profile")
        try:
            browser.size(1280, height)
            try:
                yield browser
            except BaseException:
                picture(browser, failed)
                print(browser.text("body")[-1500:], browser.console()[-5:])
                raise
        finally:
            browser.close()
    print("all is well")
