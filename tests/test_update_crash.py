# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirtd killed in the middle of ``--update``: the definition is the old one or the new one, and a rerun completes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

HERE = Path(__file__).parent


def devices(xml: str) -> set[str]:
    """A running VM's devices without libvirt's own names for them, and whether an agent listens."""
    root = etree.fromstring(re.sub(r"domain-\d+-", "", xml), etree.XMLParser(remove_blank_text=True))
    for alias in root.findall("devices/*/alias"):
        alias.getparent().remove(alias)
    for target in root.findall("devices/channel/target"):
        target.attrib.pop("state", "")
    return {etree.tostring(one, encoding="unicode") for one in root.iterfind("devices/*")}


@pytest.mark.slow
def test_a_daemon_that_dies(beside_a_daemon: list[str], tmp_path: Path) -> None:
    image = tmp_path / "d.img"
    image.write_bytes(b"\0" * 2**20)
    text = (HERE / "data" / "update" / "profiles.xml").read_text().replace("DISK", str(image))
    (tmp_path / "p.xml").write_text(text)
    done = subprocess.run(
        [*beside_a_daemon, sys.executable, str(HERE / "crashing.py"), str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    whole, *crashes = (json.loads(line) for line in done.stdout.splitlines())
    assert whole["first"]["status"] == 0, whole["first"]["told"]
    old, new = whole["before"]["defined"], whole["after"]["defined"]
    assert "sda" in new and "sda" not in old
    kinds = {"attachDeviceFlags", "updateDeviceFlags", "setMetadata", "defineXMLFlags"}
    assert set(whole["calls"]) == kinds and whole["calls"][-1] == "defineXMLFlags"
    assert len(crashes) == 2 * len(whole["calls"]) + 8
    for one in crashes:
        judge(one, old, new, whole["after"]["live"])


def judge(one: dict[str, Any], old: str, new: str, live: str) -> None:
    call, when, name = one["moment"]
    where = f"{when} call {call}, {name}"
    left, after = one["left"], one["after"]
    assert left["active"] and after["active"], where
    if name != "defineXMLFlags" or when == "before":
        assert left["defined"] == old, where
        assert one["first"]["status"] == 1, where
        assert "the connection to libvirt was lost" in one["first"]["told"], one["first"]["told"]
    else:
        assert left["defined"] in (old, new), where
        if when == "after":
            assert left["defined"] == new, where
    assert "Traceback" not in one["first"]["told"], where
    assert one["second"]["status"] == 0, f"{where}: {one['second']['told']}"
    assert after["defined"] == new, where
    assert devices(after["live"]) == devices(live), where
    assert one["third"]["status"] == 0 and "live:" not in one["third"]["told"], (
        f"{where}: {one['third']['told']}"
    )
