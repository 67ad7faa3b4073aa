# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading places of a record, and how well an element fits what was recorded."""

from __future__ import annotations

from typing import Any

import pytest
from manydevices import letters
from staging import BASE_SCHEMA, tree_of

from virtProfile.engine.record import locate
from virtProfile.engine.record.locate import held, likeness
from virtProfile.engine.record.model import Entry, Record, Recorded, Written, read_place
from virtProfile.engine.tree.effort import Effort
from virtProfile.format.element import TEXT


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("devices", [("devices", (), None)]),
        ("devices/disk[2]", [("devices", (), None), ("disk", (), 2)]),
        (
            "devices/disk[target/@dev='vda']",
            [("devices", (), None), ("disk", (("target/@dev", "vda"),), None)],
        ),
    ],
)
def test_read_place(text: str, steps: list[tuple[str, tuple[tuple[str, str], ...], int | None]]) -> None:
    assert [(step.tag, step.keys, step.number) for step in read_place(text)] == steps


BOX = "<cpu mode='custom'><model>Haswell</model></cpu>"


@pytest.mark.parametrize(
    ("recorded", "score"),
    [
        (Written("cpu", {"mode": "custom"}, None), (1, 1)),
        (Written("cpu", {"mode": "maximum"}, None), (0, 1)),
        (Written("cpu", {"mode": "custom"}, None, [Written("model", {}, "Haswell")]), (2, 2)),
        (Written("cpu", {"mode": "custom"}, None, [Written("model", {}, "Penryn")]), (1, 2)),
        (Written("cpu", {"mode": "custom"}, None, [Written("vendor", {}, "AMD")]), (1, 2)),
    ],
)
def test_likeness(recorded: Written, score: tuple[int, int]) -> None:
    element = tree_of(BOX).root[0]
    assert likeness(element, BASE_SCHEMA.root.child("cpu"), recorded, Effort()) == score


@pytest.mark.parametrize(
    ("value", "unit", "still"), [("1024", "KiB", True), ("1", "MiB", True), ("2", "MiB", False)]
)
def test_a_size_is_held_by_its_meaning(value: str, unit: str, still: bool) -> None:
    element = tree_of("<memory unit='KiB'>1024</memory>").root[0]
    recorded = Written("memory", {"unit": unit}, value)
    assert held(element, BASE_SCHEMA.root.child("memory"), TEXT, recorded) is still


def test_a_place_that_means_one_element_is_found_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Step by step, not by a generator for each step; and the types of a key are looked up once for all disks."""
    disks = "".join(f"<disk><target dev='vd{letters(n)}'/><driver name='qemu'/></disk>" for n in range(50))
    root = tree_of(f"<devices>{disks}</devices>").root
    counts = {"places": 0, "kinds": 0}
    places, kind_of = locate._Search.places, locate._kind_of

    def counted_places(*given: Any) -> Any:
        counts["places"] += 1
        return places(*given)

    def counted_kinds(*given: Any) -> Any:
        counts["kinds"] += 1
        return kind_of(*given)

    monkeypatch.setattr(locate._Search, "places", counted_places)
    monkeypatch.setattr(locate, "_kind_of", counted_kinds)
    entries = [
        Entry(
            "on",
            f"devices/disk[target/@dev=vd{letters(n)}]/driver",
            Written("driver", {"name": "qemu"}, None),
        )
        for n in range(50)
    ]
    record = Record([Recorded("a", "1", "0", entries=entries)])
    found = locate.locate(root, BASE_SCHEMA, record)
    assert [place.element for place in found] == list(root.iter("driver"))
    assert counts == {"places": 50, "kinds": 1}
