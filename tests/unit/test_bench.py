# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benchmarks judge and draw."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import library
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bench"))

import growth  # noqa: E402
from counted import RATIOS, RECORDED, behind  # noqa: E402
from curves import PICTURE, draw, lines_of, picture  # noqa: E402


@pytest.mark.parametrize(
    ("ratio", "is_behind"), [(0.5, False), (1.0, False), (1.149, False), (1.151, True), (3.0, True)]
)
def test_a_ratio_may_be_behind_by_so_much(ratio: float, is_behind: bool) -> None:
    found = behind({"a": ratio}, {"a": 1.0})
    assert found == ([f"a: {ratio:.2f}, 1.00 was recorded"] if is_behind else [])


def test_a_ratio_that_was_not_recorded_is_not_judged() -> None:
    assert behind({"new": 9.0}, {"old": 1.0}) == []


def test_each_ratio_is_recorded() -> None:
    recorded = json.loads(RECORDED.read_text())
    assert set(recorded["ratios"]) == set(RATIOS)
    assert all(0 < ratio < 10 for ratio in recorded["ratios"].values())
    assert set(recorded["versions"]) == {"python", "lxml", "virtinst", "machine"}


def test_curves_have_a_line_for_each_call() -> None:
    calls = ("apply", "again", "status", "unapply")
    flat = {name: {"100": 1000 + n, "1000": 10 * (1000 + n)} for n, name in enumerate(calls)}
    steep = {**flat, "status": {"100": 1000, "1000": 100_000}}
    lines = lines_of(
        {"a": {"disks": steep}, "--complete": {"disks": {"apply": {"100": 9000, "1000": 90_000}}}}
    )
    assert list(lines) == ["apply", "second apply", "status", "unapply", "--complete"]
    assert [round(cost) for _, cost in lines["apply"]] == [10, 10]
    picture = ET.fromstring(draw(lines, "lines"))
    space = "{http://www.w3.org/2000/svg}"
    ways = [path.get("d", "") for path in picture.iter(f"{space}path") if path.get("stroke-width")]
    heights = {way: {point.split(" ")[1] for point in way[1:].split("L")} for way in ways}
    assert sorted(len(found) for found in heights.values()) == [
        1,
        1,
        1,
        1,
        2,
    ]  # status climbs, others are flat


def test_the_picture_is_of_what_was_recorded() -> None:
    assert PICTURE.read_text() == picture(), "./dev bench curves, or tests/bench/curves.py"


KNOWN = {"a": {"disks": {"apply": {"100": 1000, "1000": 10_000, "10000": 100_000}}}}


@pytest.mark.parametrize(
    ("cost", "is_slower", "is_steep"),
    [(10_000, False, False), (11_400, False, False), (11_600, True, False), (17_900, True, True)],
)
def test_growth_is_held_to_what_was_recorded(cost: int, is_slower: bool, is_steep: bool) -> None:
    found: dict[str, dict[str, dict[str, dict[str, int]]]] = {
        "a": {"disks": {"apply": {"100": 1000, "1000": cost}}}
    }
    assert bool(growth.behind(found, KNOWN)) == is_slower
    assert bool(growth.steep(found, (100, 1000))) == is_steep


def test_each_profile_is_recorded_and_linear() -> None:
    recorded = json.loads(growth.RECORDED.read_text())
    assert set(recorded["profiles"]) == {*library.NAMES, growth.COMPLETE}
    for name, kinds in recorded["profiles"].items():
        assert len(kinds) >= (5 if name == growth.COMPLETE else 1)
        assert any("1000" in costs["apply"] for costs in kinds.values())  # 600 SATA disks are the most
        assert all("100" in costs["apply"] for costs in kinds.values())
    assert growth.steep(recorded["profiles"], growth.SIZES[:2]) == []
    assert growth.steep(recorded["profiles"], growth.SIZES[1:]) == []
    assert {"python", "lxml", "libxml2", "cpu", "system"} <= set(recorded["host"])
