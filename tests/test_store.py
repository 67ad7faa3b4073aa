# SPDX-License-Identifier: GPL-2.0-or-later
"""Profile files that cannot be used: what is told, and what they do to the others."""

from __future__ import annotations

from pathlib import Path

import pytest

import virtProfile
from virtProfile.store import ProfileStore
from virtProfile.xmltree import MAX_BYTES

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
