# SPDX-License-Identifier: GPL-2.0-or-later
"""A ratio of several runs: the median, and how far they lie apart."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


class Spread(float):
    """The median of some ratios; the quarters of them lie below `low` and above `high`."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{float(self):.2f} ({self.low:.2f} to {self.high:.2f})"


def spread(ratios: Sequence[float]) -> Spread:
    """:param ratios: at least one"""
    found = Spread(statistics.median(ratios))
    quarters = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else [found] * 3
    found.low, found.high = quarters[0], quarters[2]
    return found
