# SPDX-License-Identifier: GPL-2.0-or-later
"""An element in a few characters, for messages."""

from __future__ import annotations

from lxml import etree

from virtProfile.engine.actions.remove import flat
from virtProfile.engine.record.model import Written


def test_attributes_else_text_else_the_tag() -> None:
    for text, words in {
        "<boot dev='hd'/>": "dev='hd'",
        "<arg value='-a' x='1'>text</arg>": "value='-a' x='1'",
        "<initarg> -v </initarg>": "-v",
        "<rng/>": "rng",
    }.items():
        element = etree.fromstring(text)
        assert flat(element) == words
        own = (element.text or "").strip() or None
        assert Written(element.tag, dict(element.attrib), own).in_words() == words
