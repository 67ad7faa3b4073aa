# SPDX-License-Identifier: GPL-2.0-or-later
"""Our virtinst joined with the distribution's: one package, nothing shadowed, nothing changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
PLACES = [
    Path("/usr/share/virt-manager/virtinst"),
    *sorted((TOP / ".cache").glob("virtinst-*/usr/share/virt-manager/virtinst")),
]
PLACES = [one for one in PLACES if one.is_dir()]
CODE = """
import pickle, pkgutil, sys
import virtinst
from virtinst import Guest, DeviceDisk, cli, OSDB
import virtinst.guest, virtinst.devices, virtinst.virtinstall, virtinst.virtxml
assert virtinst.distribution == sys.argv[1], virtinst.distribution
assert virtinst.Guest is virtinst.guest.Guest
assert pickle.loads(pickle.dumps(Guest)) is Guest
names = {one.name for one in pkgutil.iter_modules(virtinst.__path__)}
assert {"guest", "devices", "cli", "virtinstall"} <= names
assert not any(path.endswith("virt-manager") for path in sys.path)
print(Guest.__module__)
"""


def run(place: Path, code: str = CODE) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(TOP), "VIRT_PROFILE_VIRTINST": str(place)}
    return subprocess.run(
        [sys.executable, "-c", code, os.path.realpath(place)], capture_output=True, text=True, env=environ
    )


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_upstream_names_import(place: Path) -> None:
    done = run(place)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "virtinst.guest\n"


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_none_of_upstreams_modules_is_shadowed(place: Path) -> None:
    theirs = {one.name for one in place.iterdir()} - {"__init__.py", "__pycache__"}
    ours = {one.name for one in (TOP / "virtinst").iterdir()} - {"__init__.py", "__pycache__"}
    assert theirs and not theirs & ours


def test_there_is_one() -> None:
    assert PLACES, "apt-get install virtinst"


def test_a_wrong_place_is_told(tmp_path: Path) -> None:
    done = run(tmp_path, "import virtinst")
    assert done.returncode == 1
    assert "is not a virtinst: no guest.py" in done.stderr
