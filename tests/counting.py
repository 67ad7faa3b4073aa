# SPDX-License-Identifier: GPL-2.0-or-later
"""Work counted in calls of Python functions and built-ins: the same on every machine, busy or not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from virtProfile.language import xpath_cost
from virtProfile.language.expression import Expression


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


def work(run: Callable[[], object]) -> int:
    """How many lines are run, so that loops count too, and what expressions look at.

    An expression at the root of a domain may come to every element: so many are counted for it,
    for one at an element of an ``each=`` one.
    """
    count = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        if frame.f_code.co_filename == xpath_cost.__file__:
            return None  # a document is measured as soon as its size alone does not tell enough
        count += 1
        return trace

    evaluate = Expression._evaluate

    def counted(self: Expression, at: Any, environment: Any) -> Any:
        nonlocal count
        root = getattr(at, "root", at)
        if getattr(at, "element", None) is None:
            count += sum(1 for _ in root.iter())
        return evaluate(self, at, environment)

    before = sys.gettrace()
    Expression._evaluate = counted  # type: ignore[method-assign]
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
        Expression._evaluate = evaluate  # type: ignore[method-assign]
    return count


def steepness(run: Callable[[int], Callable[[], object]], size: int) -> float:
    """What twice as much more costs over what as much more costs, from a size on: 2 where work is
    linear, 4 where it is the square. What is the same for every size does not count.
    """
    found = []
    for number in (size, 2 * size, 4 * size):
        measured = run(number)
        measured()  # what is kept for the process is made by one of the first two
        measured()
        found.append(work(measured))
    one, two, four = found
    return (four - two) / max(1, two - one)
