# SPDX-License-Identifier: GPL-2.0-or-later
"""Masks: the document as it would be without one profile, and back."""

from __future__ import annotations

import pytest
from lxml import etree
from staging import act, tree_of

from virtProfile.engine.selection.masks import Masks

TITLE = ("<add><title>a</title></add>", 100)
SAME = ("<add><title>a</title></add>", 90)
MODE = ("<add><cpu mode='maximum'/></add>", 100)


@pytest.mark.parametrize(
    ("wishes", "hidden", "titles", "modes"),
    [
        ([TITLE], "p0", 0, 0),
        ([TITLE, MODE], "p0", 0, 1),
        ([TITLE, MODE], "p1", 1, 0),
        # another profile wants the same: it stays
        ([TITLE, SAME], "p0", 1, 0),
    ],
)
def test_without(wishes: list[tuple[str, int]], hidden: str, titles: int, modes: int) -> None:
    tree = tree_of("")
    actions = act(tree, *wishes)
    before = etree.tostring(tree.root)
    with Masks(tree, actions).without(hidden) as root:
        assert len(root.xpath("/domain/title")) == titles
        assert len(root.xpath("/domain/cpu/@mode")) == modes
    assert etree.tostring(tree.root) == before
