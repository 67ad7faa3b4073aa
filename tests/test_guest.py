# SPDX-License-Identifier: GPL-2.0-or-later
"""The recommendations of libosinfo for the guest OS that the metadata names."""

from __future__ import annotations

from typing import Any

import pytest
import strategies
from test_invariants import leaves

import virtProfile
from virtProfile.authoring.lint import lint_text
from virtProfile.engine.selection.osinfo_defaults import profile_text, recommendations
from virtProfile.errors import InvalidDomainError, MissingContextError
from virtProfile.format.document import VIRTUNED_NS
from virtProfile.host.osinfo import GuestOS, lookup

pytest.importorskip("gi")

SKETCH = """<domain type='kvm'>
  <name>vp</name>
  <metadata>
    <virtuned:virtuned xmlns:virtuned='{ns}'>
      <virtuned:guest {guest}/>
    </virtuned:virtuned>
  </metadata>
  <os>
    <type arch='x86_64'{machine}>hvm</type>
  </os>
  <devices>
    <disk type='file' device='disk'>
      <source file='/vp.img'/>
      <target dev='vda'/>
    </disk>
    <disk type='file' device='cdrom'>
      <target dev='sda' bus='sata'/>
    </disk>
    <interface type='network'>
      <source network='default'/>
    </interface>
    <interface type='network'>
      <source network='default'/>
      <model type='rtl8139'/>
    </interface>
    <graphics type='spice'/>
    <video/>
    <input type='tablet'/>
  </devices>
</domain>
"""


def sketch(guest: str, machine: str = "") -> str:
    return SKETCH.format(ns=VIRTUNED_NS, guest=guest, machine=machine)


def changes(guest: str, machine: str = "", **options: Any) -> dict[str, str | None]:
    result = virtProfile.apply(sketch(guest, machine), store=strategies.MemoryStore([]), **options)
    assert all(one.op == "add" for one in result.changes)
    return {one.path.removeprefix("/domain/"): one.after for one in result.changes}


def test_linux_gets_virtio() -> None:
    found = changes("os='ubuntu22.04' priority='0'")
    assert found["devices/disk[target/@dev='vda']/target/@bus"] == "virtio"
    assert found["devices/interface[1]/model/@type"] == "virtio"
    assert found["os/type/@machine"] == "q35"
    assert found["memory"] == "4194304"
    assert found["clock/@offset"] == "utc"
    assert found["devices/memballoon/@model"] == "virtio"
    assert not [path for path in found if path.startswith("devices/interface[2]")]
    assert not [path for path in found if "sda" in path]


def test_windows_gets_what_it_drives() -> None:
    found = changes("os_type='windows' os_version='10' priority='5'")
    assert found["devices/interface[1]/model/@type"] == "e1000e"
    assert found["clock/@offset"] == "localtime"
    assert found["devices/video[1]/model/@type"] == "qxl"
    assert found["devices/input[1]/@bus"] == "usb"
    assert not [path for path in found if "disk" in path or "memballoon" in path]
    assert changes("os='win10' priority='5'", " machine='pc'")["devices/interface[1]/model/@type"] == "e1000"
    assert changes("os='win11' priority='5'")["os/@firmware"] == "efi"


def test_only_with_a_priority() -> None:
    text = sketch("os='win10'")
    assert virtProfile.apply(text, store=strategies.MemoryStore([])).xml == text


def test_fills_gaps_only_and_again_nothing() -> None:
    once = virtProfile.apply(sketch("os='win10' priority='1000'"), store=strategies.MemoryStore([]))
    assert "<model type='rtl8139'/>" in once.xml
    twice = virtProfile.apply(once.xml, store=strategies.MemoryStore([]))
    assert twice.xml == once.xml and not twice.changed


def test_yields_to_every_add_and_has_origins() -> None:
    store = strategies.MemoryStore(
        [
            "<profile name='mine'><add><clock offset='variable'/></add></profile>",
            "<profile name='other'><default><clock offset='timezone'/></default></profile>",
        ]
    )
    text = sketch("os='win10' priority='50'")
    result = virtProfile.apply(text, ["mine"], store=store)
    assert "<clock offset='variable'/>" in result.xml
    (applied,) = [one for one in result.applied if one.name == "guest:win10"]
    assert (applied.source, applied.priority, applied.version) == ("metadata", 50, "1")
    origin = next(one.origin for one in result.changes if one.path.endswith("model/@type"))
    assert (origin.profile, origin.action, origin.file, origin.line) == ("guest:win10", "default", "<xml>", 5)
    # Of defaults the higher priority wins.
    assert "<clock offset='localtime'/>" in virtProfile.apply(text, ["other"], store=store).xml
    higher = [{"name": "other", "priority": 51}]
    assert "<clock offset='timezone'/>" in virtProfile.apply(text, higher, store=store).xml


def test_equal_defaults_conflict_with_a_fix_that_can_be_done() -> None:
    store = strategies.MemoryStore(
        ["<profile name='other'><default><clock offset='timezone'/></default></profile>"]
    )
    with pytest.raises(virtProfile.ProfileError) as caught:
        virtProfile.apply(sketch("os='win10' priority='0'"), ["other"], store=store)
    fixes = caught.value.conflicts[0].fixes
    assert "--profile other,priority=1" in fixes
    assert "<virtuned:guest priority='1'>" in fixes


def test_digest_is_that_of_the_facts() -> None:
    one = recommendations(lookup("win10"), "a.xml", 3)
    other = recommendations(lookup("win10"), "b.xml", 9)
    assert one.digest == other.digest != recommendations(lookup("win11"), "a.xml", 3).digest
    assert {action.line for action in one.actions} == {3}


@pytest.mark.parametrize(
    "name", ["win10", "win11", "winxp", "ubuntu22.04", "freebsd13.0", "linux2020", "generic"]
)
def test_passes_lint(name: str) -> None:
    assert lint_text(profile_text(lookup(name)), "guest.xml") == []


def test_every_os_of_the_database_is_told() -> None:
    from virtinst import OSDB

    for variant in OSDB.list_os():
        made = recommendations(GuestOS(variant), "vm.xml", 1)
        assert made.name == f"guest:{variant.name}"


@pytest.mark.parametrize(
    ("guest", "kind", "fact"),
    [
        ("os='win10' priority='high'", InvalidDomainError, "priority 'high' is not an integer"),
        ("os='win10' priority='1001'", InvalidDomainError, "out of range"),
        ("priority='1'", InvalidDomainError, "names no OS"),
        ("os='win1o' priority='1'", MissingContextError, "does not know the guest OS 'win1o'"),
    ],
)
def test_bad_entries(guest: str, kind: type[Exception], fact: str) -> None:
    with pytest.raises(kind, match=fact):
        virtProfile.apply(sketch(guest), store=strategies.MemoryStore([]))


def test_other_hypervisors_are_left_alone() -> None:
    text = sketch("os='win10' priority='1'").replace("type='kvm'", "type='xen'")
    result = virtProfile.apply(text, store=strategies.MemoryStore([]))
    assert not result.changed
    assert result.skipped[0].reason == "match"


def test_withdrawn_with_its_priority_and_told_by_status() -> None:
    store = strategies.MemoryStore([])
    text = sketch("os='win10' priority='5'")
    once = virtProfile.apply(text, store=store)
    (row,) = virtProfile.status(once.xml, store=store).profiles
    assert (row.name, row.version, row.newest, row.state, row.changed) == (
        "guest:win10",
        "1",
        "1",
        "applied",
        False,
    )
    without = once.xml.replace(" priority='5'/>", "/>", 1)
    (row,) = virtProfile.status(without, store=store).profiles
    assert row.state == "withdrawn"
    back = virtProfile.apply(without, store=store)
    assert leaves(back.xml, book=True) == leaves(sketch("os='win10'"), book=True)
    assert all(one.origin.profile == "guest:win10" for one in back.changes)
    assert virtProfile.unapply(once.xml, store=store).xml == text
    # Another OS: its recommendations take the place of the other's.
    other = virtProfile.apply(once.xml.replace("os='win10'", "os='ubuntu22.04'", 1), store=store)
    fresh = virtProfile.apply(sketch("os='ubuntu22.04' priority='5'"), store=store)
    assert leaves(other.xml) == leaves(fresh.xml)
    (row,) = virtProfile.status(sketch("os='win10' priority='5'"), store=store).profiles
    assert (row.name, row.state, row.priority) == ("guest:win10", "listed", 5)


def test_newer_facts_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    store = strategies.MemoryStore([])
    once = virtProfile.apply(sketch("os='win10' priority='5'"), store=store)
    monkeypatch.setattr(GuestOS, "clock", "utc")  # what a newer database would say
    (row,) = virtProfile.status(once.xml, store=store).profiles
    assert (row.version, row.newest, row.changed) == ("1", "1", True)
    assert "<clock offset='utc'/>" in virtProfile.apply(once.xml, store=store).xml


def test_all_that_is_recommended_passes_lint() -> None:
    from virtinst import OSDB

    texts = {profile_text(GuestOS(variant)).partition("</title>")[2] for variant in OSDB.list_os()}
    assert len(texts) > 50
    for text in texts:
        assert lint_text(f"<profile name='x'>{text}", "guest.xml") == [], text
