# SPDX-License-Identifier: GPL-2.0-or-later
"""Work counted in calls of Python functions and built-ins: the same on every machine, busy or not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


class TooMany(BaseException):
    """What was counted does not come to an end."""


def calls(run: Callable[[], object], limit: int = 20_000_000) -> int:
    """How many calls `run` takes.

    :raises TooMany: more than `limit`
    """
    count = 0

    def tick(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        if event == "call" or event == "c_call":
            count += 1
            if count > limit:
                raise TooMany(f"more than {limit:,} calls")

    sys.setprofile(tick)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


def growth(run: Callable[[int], Callable[[], object]], size: int, limit: int = 20_000_000) -> float:
    """Calls for twice the size over calls for the size: 2 where work is linear, 4 where it is the square.

    :param run: of a size, what is to be counted; large enough that what does not grow is a small part
    """
    for number in (1, 2 * size):  # what is kept for the process: schemas, profiles, compiled patterns
        run(number)()
    one, two = (calls(run(number), limit) for number in (size, 2 * size))
    return two / one
