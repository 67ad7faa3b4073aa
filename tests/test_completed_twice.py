# SPDX-License-Identifier: GPL-2.0-or-later
"""The first call on a sketch and the next one agree: the machine is settled, then the context, then profiles."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import library
import pytest

import virtProfile
from virtProfile.host.context import Context

pytest.importorskip("virtinst")

DISK = "<disk type='file' device='disk'><source file='/a.img'/></disk>"
HEAD = "<domain type='kvm'><name>vm</name><memory unit='GiB'>4</memory>"
SKETCHES = {
    "a disk": f"{HEAD}<devices>{DISK}</devices></domain>",
    "no disk": f"{HEAD}<devices/></domain>",
    "no type": HEAD.replace(" type='kvm'", "") + "</domain>",
    "an arch": f"{HEAD}<os><type arch='x86_64'>hvm</type></os><devices>{DISK}</devices></domain>",
    "a machine": f"{HEAD}<os><type arch='x86_64' machine='q35'>hvm</type></os><devices>{DISK}</devices></domain>",
}
WISHES = {
    "windows-server": ["windows-server"],
    "q35": ["q35"],
    "linux-server": ["linux-server"],
    "windows-11": ["windows-11"],
    "uefi and q35": ["uefi", "q35"],
}


def contexts() -> dict[str, Context]:
    full = library.context(osinfo="win2k22")
    return {
        "all documents": full,
        "capabilities": Context(capabilities=full.capabilities, osinfo="win2k22"),
        "of q35": Context(
            capabilities=full.capabilities, domcapabilities=full.domcapabilities[:1], osinfo="win2k22"
        ),
    }


@pytest.mark.parametrize("known", contexts())
@pytest.mark.parametrize("wish", WISHES)
@pytest.mark.parametrize("sketch", SKETCHES)
def test_the_next_call_changes_nothing(sketch: str, wish: str, known: str) -> None:
    context = contexts()[known]
    wishes = [library.wish(name) for name in WISHES[wish]]
    first = virtProfile.apply(SKETCHES[sketch], wishes, store=library.store(), context=context, complete=True)
    assert re.findall("machine='([^']*)'", first.xml)[:1] == ["q35"]
    assert "bus='ide'" not in first.xml
    for complete in (False, True):
        again = virtProfile.apply(first.xml, store=library.store(), context=context, complete=complete)
        assert not again.changes
        assert again.xml == first.xml


def test_the_machine_of_a_completed_sketch_stays() -> None:
    """What completion filled follows from the machine: controllers of q35 need q35."""
    context = library.context()
    first = virtProfile.apply(
        SKETCHES["a disk"], [library.wish("q35")], store=library.store(), context=context, complete=True
    )
    back = virtProfile.unapply(first.xml, store=library.store())
    assert "machine='q35'" in back.xml
    assert "virt-manager.org" not in back.xml


def test_firmware_goes_although_the_machine_stays() -> None:
    context = library.context()
    wishes = [library.wish("uefi"), library.wish("q35")]
    first = virtProfile.apply(
        SKETCHES["a disk"], wishes, store=library.store(), context=context, complete=True
    )
    assert "firmware='efi'" in first.xml
    back = virtProfile.unapply(first.xml, ["uefi"], store=library.store(), context=context)
    assert "firmware='efi'" not in back.xml
    assert "machine='q35'" in back.xml


def test_the_host_is_asked_about_the_machine_that_the_sketch_gets(
    embedded_qemu: Any, embedded_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a connection, whose domain capabilities are those of one machine."""
    from virtProfile.cli.main import runcli

    sketch, done = tmp_path / "sketch.xml", tmp_path / "done.xml"
    sketch.write_text(SKETCHES["a disk"].replace("kvm", "qemu"))
    common = [
        "-c",
        f"qemu:///embed?root={embedded_root}",
        "--osinfo",
        "win2k22",
        "--profile-dir",
        str(library.SHIPPED),
    ]
    for profile in ("windows-server", "q35"):
        arguments = [*common, "--input", str(sketch), "--profile", profile, "--complete", "--print-xml"]
        assert runcli(arguments) == 0
        text = capsys.readouterr().out
        assert re.findall("machine='([^']*)'", text)[:1] == ["q35"]
        assert "bus='ide'" not in text
        done.write_text(text)
        assert runcli([*common, "--input", str(done), "--check", "--print-diff"]) == 0
        assert not capsys.readouterr().out
