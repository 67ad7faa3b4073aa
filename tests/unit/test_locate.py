# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading places of a record, and how well an element fits what was recorded."""

from __future__ import annotations

import pytest
from staging import BASE_SCHEMA, tree_of

from virtProfile.engine.record.locate import held, likeness
from virtProfile.engine.record.model import Written, read_place
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
