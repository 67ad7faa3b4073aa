# SPDX-License-Identifier: GPL-2.0-or-later
"""Sets of CPUs and nodes as libvirt writes them: ``0-3,^2,8``. Below everything that counts CPUs."""

from __future__ import annotations

from collections.abc import Iterable

#: No host has a CPU of a higher number; what says so is hostile.
MAX_CPU = 65_535


def parse_cpuset(text: str) -> frozenset[int]:
    """The numbers of a set.

    :raises ValueError: it is none
    """
    found: set[int] = set()
    for part in text.replace(" ", "").split(","):
        if not part:
            continue
        if part[0] == "^":
            found.discard(_number(part[1:], text))
            continue
        first, sign, last = part.partition("-")
        start = _number(first, text)
        end = _number(last, text) if sign else start
        if end < start:
            raise ValueError(f"'{text}' counts backwards")
        found.update(range(start, end + 1))
    return frozenset(found)


def _number(text: str, whole: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > MAX_CPU:
        raise ValueError(f"'{whole}' is no set of CPUs such as 0-3,8")
    return int(text)


def format_cpuset(numbers: Iterable[int]) -> str:
    """The shortest form: ranges for runs."""
    parts: list[str] = []
    ordered = sorted(set(numbers))
    at = 0
    while at < len(ordered):
        end = at
        while end + 1 < len(ordered) and ordered[end + 1] == ordered[end] + 1:
            end += 1
        first, last = ordered[at], ordered[end]
        parts.append(str(first) if first == last else f"{first}-{last}")
        at = end + 1
    return ",".join(parts)
