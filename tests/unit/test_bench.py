# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benchmarks judge and draw."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))

from counted import RATIOS, RECORDED, behind  # noqa: E402
from curves import draw, lines_of  # noqa: E402


@pytest.mark.parametrize(
    ("ratio", "is_behind"), [(0.5, False), (1.0, False), (1.149, False), (1.151, True), (3.0, True)]
)
def test_a_ratio_may_be_behind_by_so_much(ratio: float, is_behind: bool) -> None:
    found = behind({"a": ratio}, {"a": 1.0})
    assert found == ([f"a: {ratio:.2f}, 1.00 was recorded"] if is_behind else [])


def test_a_ratio_that_was_not_recorded_is_not_judged() -> None:
    assert behind({"new": 9.0}, {"old": 1.0}) == []


def test_each_ratio_is_recorded() -> None:
    import json

    recorded = json.loads(RECORDED.read_text())
    assert set(recorded["ratios"]) == set(RATIOS)
    assert all(0 < ratio < 10 for ratio in recorded["ratios"].values())
    assert set(recorded["versions"]) == {"python", "lxml", "virtinst", "machine"}


def test_curves_have_a_line_for_each_call() -> None:
    rows: list[dict[str, object]] = [
        {"devices": 100, "apply_s": 0.001, "apply_x_lxml": 5.0, "status_s": 0.01},
        {"devices": 1000, "apply_s": 0.01, "apply_x_lxml": 5.0, "status_s": 1.0},
    ]
    lines = lines_of(rows)
    assert list(lines) == ["apply", "status"]
    assert [round(cost) for _, cost in lines["apply"]] == [10, 10]
    picture = ET.fromstring(draw(lines, "CPU time"))
    space = "{http://www.w3.org/2000/svg}"
    ways = [path.get("d", "") for path in picture.iter(f"{space}path") if path.get("stroke-width")]
    heights = {way: {point.split(" ")[1] for point in way[1:].split("L")} for way in ways}
    assert [len(found) for found in heights.values()] == [2, 1]  # status climbs, apply is flat
