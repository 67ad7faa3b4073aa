# SPDX-License-Identifier: GPL-2.0-or-later
"""Patterns that are compiled when they are first used, and files that are read in pieces."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from virtProfile.format.document import MAX_BYTES, read_bytes
from virtProfile.format.patterns import compiled_later

CALLS = {
    "match": ("a1",),
    "search": ("xA2",),
    "fullmatch": ("b",),
    "finditer": ("a b",),
    "findall": ("a1 b2",),
    "sub": ("-", "a1 b2"),
    "split": ("xa1y",),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_pattern_is_what_re_makes_of_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[object, ...]] = []
    known = re.compile

    def noted(*words: Any) -> re.Pattern[str]:
        made.append(words)
        return known(*words)

    monkeypatch.setattr(re, "compile", noted)
    later = compiled_later("[ab]([0-9])?", re.IGNORECASE)
    assert not made
    for _ in range(2):
        found, wanted = (
            getattr(pattern, name)(*CALLS[name]) for pattern in (later, known("[ab]([0-9])?", re.IGNORECASE))
        )
        assert str(list(found) if name == "finditer" else found) == str(
            list(wanted) if name == "finditer" else wanted
        )
    assert len(made) == 1
    with pytest.raises(AttributeError):
        getattr(later, "scanner")  # noqa: B009


@pytest.mark.parametrize("size", [0, 1, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 3 * 64 * 1024])
def test_a_file_is_read_whole(size: int, tmp_path: Path) -> None:
    data = bytes(number % 251 for number in range(size))
    (tmp_path / "file").write_bytes(data)
    assert read_bytes(tmp_path / "file") == data


def test_a_file_over_the_limit_is_read_as_far_as_shows_it(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as stream:
        stream.truncate(MAX_BYTES + 10)
    assert len(read_bytes(tmp_path / "file")) == MAX_BYTES + 1
