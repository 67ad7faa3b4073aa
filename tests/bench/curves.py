# SPDX-License-Identifier: GPL-2.0-or-later
"""``docs/curves.svg``: CPU time for a device by the number of devices, flat where a call is linear.

``python tests/bench/curves.py`` measures and draws (``--sizes``: others than 100, 1,000 and 10,000); one line for each call of `devices.curve`, in
microseconds for each device, on two logarithmic axes. Plain SVG, so that no library is needed.
"""

from __future__ import annotations

import argparse
import math
import platform
from pathlib import Path

from bench import domain
from devices import SIZES, curve

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "curves.svg"
WIDTH, HEIGHT, LEFT, BOTTOM, TOP_EDGE, RIGHT = 640, 400, 70, 50, 40, 130
COLOURS = ("#0b6e99", "#b3261e", "#2e7d32", "#7b4fa3", "#8a6d00")
#: Line -> (devices, microseconds for each of them), in their order.
Lines = dict[str, list[tuple[int, float]]]


def lines_of(rows: list[dict[str, object]]) -> Lines:
    """The lines of the picture, from the rows of `devices.curve`."""
    lines: Lines = {}
    for row in rows:
        devices = row["devices"]
        assert isinstance(devices, int)
        for key, seconds in row.items():
            if key.endswith("_s"):
                assert isinstance(seconds, float)
                lines.setdefault(key.removesuffix("_s"), []).append((devices, seconds / devices * 1e6))
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
        out.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10**power:,} µs</text>')
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
            f" {points[-1][1]:,.0f} µs</text>"
        )
    return "\n".join([*out, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description="curves by the number of devices")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    rows = curve(domain, parser.parse_args().sizes)
    title = f"CPU time for each device, four shipped profiles (Python {platform.python_version()})"
    PICTURE.write_text(draw(lines_of(rows), title))
    for name, points in lines_of(rows).items():
        print(name, "  ".join(f"{size:,}: {cost:,.0f} µs" for size, cost in points))


if __name__ == "__main__":
    main()
