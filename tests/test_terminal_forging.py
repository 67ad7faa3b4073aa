# SPDX-License-Identifier: GPL-2.0-or-later
"""No value of a document starts a line, moves the cursor or turns the order of letters round."""

from __future__ import annotations

import io
import unicodedata

import pytest

from virtProfile.errors import ProfileError
from virtProfile.show.terminal import Talk, one_line

_BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
FORGING = [
    letter
    for letter in map(chr, range(0x10000))
    if unicodedata.category(letter) in ("Cc", "Zl", "Zp")
    or unicodedata.bidirectional(letter) in _BIDI
    or letter in "\u061c\u200e\u200f"
]


def test_all_are_escaped_and_nothing_else() -> None:
    assert len(FORGING) > 70
    for letter in FORGING:
        assert one_line(f"a{letter}b").isascii()
        assert one_line(f"a{letter}b").isprintable()
    assert one_line("Z\u00fcrich \u05d0 \u4e2d 'x'") == "Z\u00fcrich \u05d0 \u4e2d 'x'"


@pytest.mark.parametrize("kind", ["note", "warning", "error"])
def test_talk_is_one_printable_line(kind: str) -> None:
    for letter in FORGING:
        stream = io.StringIO()
        text = f"a{letter}ERROR b"
        getattr(Talk(stream), kind)(ProfileError(text) if kind == "error" else text)
        line = stream.getvalue()
        assert line.endswith("\n")
        assert line[:-1].isprintable(), repr(letter)
