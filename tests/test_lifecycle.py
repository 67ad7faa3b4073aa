# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of profiles on a VM: taken back, replaced, edited around."""

from __future__ import annotations

from collections import Counter
from typing import Any

import strategies
from hypothesis import event, given, settings
from hypothesis import strategies as st
from lxml import etree
from test_invariants import EXAMPLES, Leaves, leaves

import virtProfile
from virtProfile.errors import ProfileError

several = settings(max_examples=EXAMPLES, deadline=None)


def meaning(text: str) -> Any:
    """A document as it is read: names, values, order of siblings of one name; no white space."""

    def read(element: Any) -> Any:
        below: dict[str, list[Any]] = {}
        for one in element.iterchildren("*"):
            below.setdefault(one.tag, []).append(read(one))
        own = (element.text or "") + "".join(
            one.tail or "" for one in element if not isinstance(one.tag, str)
        )
        return (element.tag, sorted(element.attrib.items()), own.strip(), sorted(below.items()))

    return read(etree.fromstring(text.encode()))


def in_kib(found: Leaves) -> Leaves:
    return Counter({leaf: count for leaf, count in found.items() if leaf[1:] != ("@unit", "KiB")})


@several
@given(strategies.scenes(multiple_yes=True))
def test_i2_with_the_record(scene: strategies.Scene) -> None:
    try:
        once = virtProfile.apply(scene.domain, scene.wishes(), store=scene.store)
    except ProfileError:
        return
    twice = virtProfile.apply(once.xml, scene.wishes(), store=scene.store)
    assert twice.xml == once.xml
    assert not twice.changed
    again = virtProfile.apply(once.xml, store=scene.store)
    assert again.xml == once.xml
    event("changed" if once.changed else "unchanged")


@several
@given(strategies.scenes(multiple_yes=True))
def test_i7_unapply_takes_all_back(scene: strategies.Scene) -> None:
    try:
        once = virtProfile.apply(scene.domain, scene.wishes(), store=scene.store)
    except ProfileError:
        return
    back = virtProfile.unapply(once.xml, store=scene.store)
    assert meaning(back.xml) == meaning(scene.domain)
    event("changed" if once.changed else "unchanged")


@several
@given(strategies.scenes(multiple_yes=True), st.data())
def test_i7_one_after_the_other(scene: strategies.Scene, data: Any) -> None:
    """Profiles taken off in any order leave what the others alone give."""
    wishes = scene.wishes()
    try:
        text = virtProfile.apply(scene.domain, wishes, store=scene.store).xml
        names = data.draw(st.permutations([one["name"] for one in wishes]))
        for number, name in enumerate(names):
            text = virtProfile.unapply(text, name, store=scene.store).xml
            rest = [one for one in wishes if one["name"] in names[number + 1 :]]
            direct = virtProfile.apply(scene.domain, rest, store=scene.store).xml
            # What stands means the same and stays; KiB is the unit that libvirt reads without one.
            assert in_kib(leaves(text)) == in_kib(leaves(direct))
    except ProfileError:
        return
    assert meaning(text) == meaning(scene.domain)
