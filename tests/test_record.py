# SPDX-License-Identifier: GPL-2.0-or-later
"""The record as input: compact, forged, broken, edited around."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import MemoryStore

import virtProfile
from virtProfile.errors import PolicyError, ProfileError
from virtProfile.format.document import RECORD_NS, VIRTUNED_NS

sys.path.insert(0, str(Path(__file__).parent / "bench"))

NICS = "<profile name='nics' version='1'><add multiple='no'><devices><interface><model type='virtio'/></interface></devices></add></profile>"
RNG = "<profile name='rng' version='1'><add><devices><rng model='virtio'><backend model='random'>/dev/random</backend></rng></devices></add></profile>"
QUIET = "<profile name='quiet' version='1'><remove><devices><sound/></devices></remove></profile>"
STORE = MemoryStore([NICS, RNG, QUIET])
VM = """<domain type='kvm'>
  <name>vm</name>
  <memory>1048576</memory>
  <os>
    <type arch='x86_64'>hvm</type>
  </os>
  <devices>
    <interface type='network'>
      <source network='default'/>
      <model type='e1000'/>
    </interface>
    <sound model='ich6'/>
  </devices>
</domain>
"""


def applied(*names: str) -> str:
    return virtProfile.apply(VM, [{"name": one, "priority": 120} for one in names], store=STORE).xml


def forged(inner: str, profile: str = "nics", digest: str | None = None) -> str:
    """A VM with a record that says what nobody did."""
    known = STORE.profiles[profile].digest[:16] if digest is None else digest
    return VM.replace(
        "<memory>",
        f"<metadata><virtuned:virtuned xmlns:virtuned='{VIRTUNED_NS}'/><vr:record xmlns:vr='{RECORD_NS}'>"
        f"<vr:profile name='{profile}' version='1' digest='{known}'>{inner}</vr:profile></vr:record></metadata><memory>",
    )


def unapply(text: str) -> virtProfile.Result:
    return virtProfile.unapply(text, store=STORE)


@pytest.mark.parametrize(
    ("inner", "back"),
    [
        ("<vr:on at='memory'><vr:memory>1048576</vr:memory><vr:was>1</vr:was></vr:on>", "<memory>1</memory>"),
        ("<vr:on at='os/type'><vr:type/><vr:was machine='pc'/></vr:on>", "machine='pc'"),
    ],
)
def test_a_value_before_needs_no_profile_on_the_command_line(inner: str, back: str) -> None:
    """Who can write the record can write the VM; the service believes only the store."""
    assert back in unapply(forged(inner)).xml.partition("</metadata>")[2]
    with pytest.raises(PolicyError, match="the profile cannot have changed it"):
        virtProfile.unapply(forged(inner), store=STORE, trust="store")


def test_what_the_profile_can_have_changed_is_put_back() -> None:
    text = applied("nics", "quiet")
    assert "e1000" not in text.partition("</metadata>")[2] and "<sound" not in text
    assert unapply(text).xml == VM


@pytest.mark.parametrize("digest", ["", "0123456789abcdef"])
def test_another_text_of_the_version(digest: str) -> None:
    """An edited file: the record alone takes it back, and the service refuses."""
    text = re.sub(r"digest='\w+'", f"digest='{digest}'", applied("nics", "quiet"))
    assert unapply(text).xml == VM
    with pytest.raises(PolicyError, match="differs from the recorded one"):
        virtProfile.unapply(text, store=STORE, trust="store")


def test_a_profile_that_is_gone_is_taken_back_by_the_record_alone() -> None:
    text = applied("rng", "nics", "quiet")
    assert virtProfile.unapply(text, store=MemoryStore([])).xml == VM
    with pytest.raises(PolicyError, match="version .1. was not found"):
        virtProfile.unapply(text, store=MemoryStore([]), trust="store")


def test_what_was_changed_since_is_said_to_stay() -> None:
    text = applied("rng", "nics")
    head, _, devices = text.rpartition("</metadata>")
    edited = devices.replace("model type='virtio'", "model type='rtl8139'").replace(
        "/dev/random", "/dev/urandom"
    )
    result = unapply(f"{head}</metadata>{edited}")
    assert "<rng" not in result.xml and "rtl8139" in result.xml  # what was added goes whole
    (kept,) = [warning for warning in result.warnings if warning.code == "kept"]
    assert kept.message.endswith("/model/@type stays 'rtl8139': it was changed since 'nics' wrote 'virtio'")
    assert kept.severity == "info" and kept.profile == "nics"


def test_an_application_that_replaces_the_list_withdraws() -> None:
    text = re.sub(r"<virtuned:virtuned.*?</virtuned:virtuned>", "", applied("rng", "quiet"), flags=re.DOTALL)
    result = virtProfile.apply(text, store=STORE)
    assert "<rng" not in result.xml and "<sound model='ich6'/>" in result.xml
    assert {(one.origin.profile, one.origin.action) for one in result.changes} == {
        ("rng", "withdraw"),
        ("quiet", "withdraw"),
    }


def test_without_a_record_from_now_on() -> None:
    text = applied("rng")
    wishes = [{"name": "rng", "priority": 120}]
    result = virtProfile.apply(text, wishes, store=STORE, record=False)
    assert "vr:record" not in result.xml and "<rng" in result.xml


def test_what_had_no_effect_leaves_no_record() -> None:
    plain = VM.replace("    <sound model='ich6'/>\n", "")
    text = virtProfile.apply(plain, ["quiet"], store=STORE).xml
    assert "vr:record" in text
    assert unapply(text).xml == plain


def test_no_condition_sees_the_record() -> None:
    seen = (
        "<profile name='seen'><match test=\"//*[local-name()='record'] or //*[local-name()='rng']\"/>"
        "<add><devices><watchdog model='itco'/></devices></add></profile>"
    )
    store = MemoryStore([RNG.replace("<add>", "<add when='false()'>"), seen])
    text = applied("rng").replace(
        "name='rng' priority='120'/>", "name='rng'/><virtuned:profile name='seen'/>"
    )
    result = virtProfile.apply(text, store=store)
    assert [one.name for one in result.skipped] == ["seen"]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_record_breaks_anything(data: Any) -> None:
    """Pieces of a real record lost, doubled or scrambled: told or taken, never a crash."""
    text = applied("rng", "nics", "quiet")
    start, end = text.index("<vr:record"), text.index("</vr:record>")
    tokens = re.split(r"(?=[<' =\[\]/])", text[start:end])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(1, len(tokens) - 1))
        change = data.draw(st.sampled_from(["drop", "double", "word", "swap"]))
        if change == "drop":
            tokens[at] = tokens[at][:1]
        elif change == "double":
            tokens.insert(at, tokens[at])
        elif change == "swap":
            other = data.draw(st.integers(1, len(tokens) - 1))
            tokens[at], tokens[other] = tokens[other], tokens[at]
        else:
            tokens[at] = tokens[at][:1] + data.draw(
                st.sampled_from(["9", "devices", "[1]", "x y", "-1", "?"])
            )
    broken = text[:start] + "".join(tokens) + text[end:]
    for call in (unapply, lambda one: virtProfile.apply(one, store=STORE)):
        try:
            result = call(broken)
        except ProfileError:
            continue  # not well-formed any more, or what it gives back is not valid
        assert "hostdev" not in result.xml
    with suppress(ProfileError):
        virtProfile.status(broken, store=STORE)


def test_compact(tmp_path: Path) -> None:
    """Under twice the lines that ten profiles change on a VM of thirty devices."""
    import difflib

    import bench

    names = []
    for number, body in enumerate(bench.PROFILES):
        names.append(f"b{number}")
        (tmp_path / f"b{number}.xml").write_text(f"<profile name='b{number}'>{body}</profile>")
    store = virtProfile.ProfileStore([tmp_path])
    text = bench.domain(30)
    result = virtProfile.apply(text, names, store=store)
    bare = virtProfile.apply(text, names, store=store, record=False).xml
    lines = difflib.ndiff(text.splitlines(), bare.splitlines())
    changed = sum(len(one[2:].strip()) for one in lines if one[0] in "+-")
    found = re.search(r"<vr:record.*</vr:record>", result.xml, re.DOTALL)
    assert found is not None
    record = re.sub(r">\s+<", "><", found.group())
    assert len(record) < 2 * changed


@pytest.mark.parametrize("multiple, warns", [("yes", True), ("no", False), ("auto", False)])
def test_appending_without_a_record_warns(multiple: str, warns: bool) -> None:
    text = (
        f"<profile name='it' version='1'><add multiple='{multiple}'><devices><rng model='virtio'>"
        "<backend model='random'>/dev/urandom</backend></rng></devices></add></profile>"
    )
    store = MemoryStore([text])
    result = virtProfile.apply(VM, ["it"], store=store, record=False)
    assert [one.code for one in result.warnings] == ["record"] * warns
    assert "'it'" in "".join(one.message for one in result.warnings) or not warns
    again = virtProfile.apply(result.xml, ["it"], store=store, record=False)
    assert again.xml.count("<rng") == 1 + warns
    assert not virtProfile.apply(VM, ["it"], store=store).warnings


def test_appending_that_a_stronger_profile_keeps_out_does_not_warn() -> None:
    rng = "<devices><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices>"
    store = MemoryStore(
        [
            f"<profile name='it' version='1'><add multiple='yes'>{rng}</add></profile>",
            "<profile name='none' version='1'><remove><devices><rng/></devices></remove></profile>",
        ]
    )
    wishes = [{"name": "it", "priority": 0}, {"name": "none", "priority": 50}]
    result = virtProfile.apply(VM, wishes, store=store, record=False)
    assert "<rng" not in result.xml
    assert "record" not in [one.code for one in result.warnings]
