# SPDX-License-Identifier: GPL-2.0-or-later
"""Every shipped profile on six kinds of existing VMs, on qemu:///system with KVM: `starting.py` says how."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("libvirt")

TESTS = Path(__file__).parent
#: "mixed" has sources of every kind, of which a host has few.
VMS = sorted(path.stem for path in (TESTS / "data" / "vms").glob("*.xml") if path.stem != "mixed")


@pytest.mark.slow
@pytest.mark.parametrize("name", VMS)
def test_applied_defined_started_and_taken_back(beside_a_daemon: list[str], name: str) -> None:
    if not os.access("/dev/kvm", os.W_OK):
        pytest.skip("no KVM here")
    done = subprocess.run(
        [*beside_a_daemon, sys.executable, str(TESTS / "starting.py"), name], capture_output=True, text=True
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "'started'" in done.stdout
