# SPDX-License-Identifier: GPL-2.0-or-later
"""Profile files that cannot be used: what is told, and what they do to the others."""

from __future__ import annotations

from pathlib import Path

import pytest

import virtProfile
from virtProfile.errors import NotFoundError
from virtProfile.format.document import MAX_BYTES
from virtProfile.language.parser import parse_profiles
from virtProfile.language.profile import Profile
from virtProfile.language.store import OverlayStore, ProfileStore, Store

DOMAIN = "<domain type='kvm'>\n  <name>a</name>\n</domain>\n"
GOOD = "<profile name='{}'><add><title>x</title></add></profile>"
BAD = {
    "dtd": (b"<!DOCTYPE profile><profile name='bad'/>", "policy"),
    "size": (b" " * (MAX_BYTES + 1), "policy"),
    "empty": (b"", "syntax"),
    "cut off": (b"<profile name='bad'><add>", "syntax"),
    "latin-1": ("<profile name='bad'><title>\u00e4</title></profile>".encode("latin-1"), "syntax"),
    "encoding": (b"<?xml version='1.0' encoding='klingon'?><profile name='bad'/>", "syntax"),
    "name": (b"<profile name=''/>", "syntax"),
    "root": (b"<domain/>", "syntax"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_file_that_cannot_be_used(tmp_path: Path, what: str) -> None:
    """Its own name gives its own error, and not another directory's profile; others work."""
    data, code = BAD[what]
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    (tmp_path / "first/bad.xml").write_bytes(data)
    (tmp_path / "first/good.xml").write_text(GOOD.format("good"))
    (tmp_path / "second/bad.xml").write_text(GOOD.format("bad"))
    store = ProfileStore([tmp_path / "first", tmp_path / "second"])
    assert "<title>" in virtProfile.apply(DOMAIN, ["good"], store=store).xml
    with pytest.raises(virtProfile.ProfileError) as caught:
        virtProfile.apply(DOMAIN, ["bad"], store=store)
    assert caught.value.code == code
    assert caught.value.where.startswith(str(tmp_path / "first/bad.xml"))
    assert "None" not in caught.value.message
    with pytest.raises(virtProfile.ProfileError) as caught:
        virtProfile.apply(DOMAIN, ["other"], store=store)
    assert caught.value.code == "not-found"


# --- stores in front of others ---------------------------------------------------------


def profile(text: str) -> Profile:
    return parse_profiles(text, "front.xml").profiles[0]


def test_an_overlay_goes_first(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(
        "<profiles><profile name='a' version='1'/><profile name='b' version='1'/>"
        "<profile name='c' version='1' autoselect='yes'><match test='vcpu'/></profile></profiles>"
    )
    below = ProfileStore([tmp_path])
    front = profile("<profile name='a' version='2'/>")
    selected = profile("<profile name='c' version='2' autoselect='yes'><match test='vcpu'/></profile>")
    store: Store = OverlayStore([front, selected], below)
    with store.one_look():
        assert store.get("a") is front
        assert store.get("a", "1") is front  # the only version of the name
        assert store.resolve("a") == (front, [])
        assert store.get("b").version == "1"
        assert store.resolve("b", "1")[0].name == "b"
        assert store.automatic() == [selected]
    with pytest.raises(NotFoundError):
        store.get("d")
    with pytest.raises(NotFoundError):
        OverlayStore([front]).resolve("b")


@pytest.mark.parametrize(
    "name",
    ["name='wanted'", 'name="wanted"', "name = 'wanted'", "name\n=\n'wanted'", "name='w&#97;nted'",
     "replaced-by='wanted2' name='wanted'", "priority='3' name='&#119;anted'"],
)  # fmt: skip
def test_a_name_may_be_written_in_any_way(tmp_path: Path, name: str) -> None:
    """Files that cannot hold a profile of the name are not parsed; those that can are, however it is spelled."""
    (tmp_path / "many.xml").write_text(GOOD.replace("name='{}'", name))
    for number in range(3):
        text = GOOD.format(f"other{number}").replace("<add>", "<requires profile='wanted'/><add>")
        (tmp_path / f"other{number}.xml").write_text(text)
    store = ProfileStore([tmp_path])
    assert [profile.name for profile in store.versions("wanted")] == ["wanted"]
    assert [Path(path).name for path in store._parsed] == ["many.xml"]
