# SPDX-License-Identifier: GPL-2.0-or-later
"""``./dev demo``: two profiles applied to a sample VM on libvirt's test driver.

The test driver lives in this process: no daemon is asked, nothing stays behind.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parent
DRIVER = """<node>
  <domain file='server.xml'/>
</node>
"""


def run(words: str, directory: str) -> int:
    """Run one command line as a user would, and say which."""
    uri = f"test://{directory}/driver.xml"
    sys.stdout.write(f"\n$ virt-profile -c test://… {words}\n")
    sys.stdout.flush()
    command = [sys.executable, str(TOP / "virt-profile"), "-c", uri, *words.split()]
    return subprocess.run(command, cwd=TOP, env=os.environ, check=False).returncode


def main() -> int:
    import libvirt

    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "driver.xml").write_text(DRIVER)
        Path(directory, "server.xml").write_text((HERE / "server.xml").read_text())
        profiles = "--profile fast-disk --profile guest-agent"
        status = max(
            run(f"vp-demo {profiles} --print-diff", directory),
            run(f"vp-demo {profiles} --explain", directory),
            run(f"vp-demo {profiles} --define", directory),
        )
        # What came out is defined on another connection too, by libvirt itself.
        xml = subprocess.run(
            [
                sys.executable,
                str(TOP / "virt-profile"),
                "--input",
                str(HERE / "server.xml"),
                *profiles.split(),
            ],
            cwd=TOP,
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        connection = libvirt.open(f"test://{directory}/driver.xml")
        connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
        connection.close()
    if status == 0:
        print("\nThe VM's own cache='writeback' was kept; everything else is as the profiles want it.")
        print("Next: ./.venv/bin/virt-profile --list, or man/virt-profile.1.rst")
    return status


if __name__ == "__main__":
    sys.exit(main())
