# SPDX-License-Identifier: GPL-2.0-or-later
"""``docs/curves.svg``: what a device costs by the number of devices, flat where a call is linear.

Drawn from ``growth.json`` (`growth` counts): for each call the median of the shipped profiles, in lines of Python
for each device, on two logarithmic axes. Plain SVG, so that no library is needed.
"""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RECORDED = HERE / "growth.json"
PICTURE = HERE.parents[1] / "docs" / "curves.svg"
WIDTH, HEIGHT, LEFT, BOTTOM, TOP_EDGE, RIGHT = 640, 400, 70, 50, 40, 130
COLOURS = ("#0b6e99", "#b3261e", "#2e7d32", "#7b4fa3", "#8a6d00")
#: What is drawn, and how it is called in the picture.
DRAWN = {"apply": "apply", "again": "second apply", "status": "status", "unapply": "unapply"}
#: What completes whole guests has a line of its own, as it costs a multiple.
COMPLETE = "--complete"
#: Line -> (devices, cost of each of them), in their order.
Lines = dict[str, list[tuple[int, float]]]


def lines_of(profiles: dict[str, Any]) -> Lines:
    """The lines of the picture, from what `growth` recorded: of what was counted up to the largest number."""
    lines: Lines = {}
    rows = [costs for name, kinds in profiles.items() if name != COMPLETE for costs in kinds.values()]
    largest = str(max(int(size) for costs in rows for size in costs["apply"]))
    whole = [costs for costs in rows if largest in costs["apply"]]
    for operation, name in DRAWN.items():
        lines[name] = [
            (int(size), statistics.median(costs[operation][size] / int(size) for costs in whole))
            for size in whole[0][operation]
        ]
    completed = [costs["apply"] for costs in profiles.get(COMPLETE, {}).values()]
    sizes = sorted({int(size) for costs in completed for size in costs})
    if sizes:
        lines[COMPLETE] = [
            (size, statistics.median(costs[str(size)] / size for costs in completed if str(size) in costs))
            for size in sizes
        ]
    return lines


def draw(lines: Lines, title: str) -> str:
    """The picture as SVG."""
    sizes = sorted({size for points in lines.values() for size, _ in points})
    costs = [cost for points in lines.values() for _, cost in points]
    low, high = math.floor(math.log10(min(costs))), math.ceil(math.log10(max(costs)))
    high = max(high, low + 1)

    def across(size: int) -> float:
        span = math.log10(sizes[-1] / sizes[0]) or 1
        return LEFT + math.log10(size / sizes[0]) / span * (WIDTH - LEFT - RIGHT)

    def up(cost: float) -> float:
        part = (math.log10(cost) - low) / (high - low)
        return HEIGHT - BOTTOM - part * (HEIGHT - BOTTOM - TOP_EDGE)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        ' font-family="sans-serif" font-size="12" fill="#222">',
        f"<title>{title}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="22" font-size="14">{title}</text>',
    ]
    for power in range(low, high + 1):
        y = up(10**power)
        out.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10**power:,}</text>')
    for size in sizes:
        x = across(size)
        out.append(f'<path d="M{x:.1f} {TOP_EDGE}V{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        out.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{size:,}</text>')
    out.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">devices</text>'
    )
    labels: list[float] = []
    ends = sorted(lines.items(), key=lambda line: -line[1][-1][1])
    for (name, points), colour in zip(ends, COLOURS, strict=False):
        way = "L".join(f"{across(size):.1f} {up(cost):.1f}" for size, cost in points)
        out.append(f'<path d="M{way}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [
            f'<circle cx="{across(size):.1f}" cy="{up(cost):.1f}" r="3" fill="{colour}"/>'
            for size, cost in points
        ]
        y = max([up(points[-1][1]), *[above + 16 for above in labels[-1:]]])  # no label on another
        labels.append(y)
        out.append(
            f'<text x="{WIDTH - RIGHT + 10}" y="{y + 4:.1f}" fill="{colour}">{name}'
            f" {points[-1][1]:,.0f}</text>"
        )
    return "\n".join([*out, "</svg>", ""])


def picture() -> str:
    """The picture of what was recorded."""
    recorded = json.loads(RECORDED.read_text())
    title = f"Lines of Python {recorded['host']['python']} for each device, median of the shipped profiles"
    return draw(lines_of(recorded["profiles"]), title)


if __name__ == "__main__":
    PICTURE.write_text(picture())
