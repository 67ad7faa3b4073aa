# SPDX-License-Identifier: GPL-2.0-or-later
"""What shipped profiles were measured to bring, on a named host: data/measured.tsv, by ./dev measure."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from math import comb
from pathlib import Path
from typing import TYPE_CHECKING, Any

from virtProfile.format.facts import rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DATA = Path(__file__).parent / "data" / "measured.tsv"
#: A difference is told from here on, and where the pairs agree: a sign test at 5 %.
LEAST_DIFFERENCE = 0.05
MOST_CHANCE = 0.05


@dataclass(frozen=True, slots=True)
class Measured:
    """One row: a profile, beside what, and one thing that was measured with and without it."""

    profile: str
    #: that was measured, with its digest
    version: str
    digest: str
    #: what the VM had instead, in words
    beside: str
    #: what was measured, in words, and its unit
    what: str
    unit: str
    #: "more" or "less"
    better: str
    #: medians
    without: float
    with_profile: float
    #: with / without: median, lowest and highest of the pairs
    ratio: float
    low: float
    high: float
    #: pairs, and those of them in which the profile was better
    pairs: int
    won: int
    date: str
    host: str
    source: str

    @property
    def verdict(self) -> str:
        """What the pairs show: "better", "worse", "none" where they show no difference, "few" pairs to tell.

        A difference is at least 5 % in the median, and in so many pairs of one sign as chance brings
        in fewer than 5 of 100 measurements: 7 of 7, 8 of 9.
        """
        if chance(self.pairs, self.pairs) >= MOST_CHANCE:
            return "few"
        if abs(self.ratio - 1) < LEAST_DIFFERENCE or chance(self.won, self.pairs) >= MOST_CHANCE:
            return "none"
        return "better" if (self.ratio > 1) == (self.better == "more") else "worse"

    @property
    def emulated(self) -> bool:
        """Did QEMU emulate the guest's CPU? The host's description has it, see tests/measure."""
        return "not KVM" in self.host

    def to_dict(self) -> dict[str, object]:
        """The row as JSON takes it."""
        return {name: getattr(self, name) for name in (*_COLUMNS, "verdict")}

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Measured:
        """The row that `to_dict` gave."""
        return cls(**{name: row[name] for name in _COLUMNS})


_COLUMNS = tuple(field.name for field in fields(Measured))


def chance(won: int, pairs: int) -> float:
    """How likely so many pairs, or more, agree where there is no difference: the sign test, two-sided."""
    most = max(won, pairs - won)
    tail: int = sum(comb(pairs, count) for count in range(most, pairs + 1))
    return min(1.0, 2 * tail / float(2**pairs))


def read(path: Path = DATA) -> tuple[Measured, ...]:
    """The rows of a file, in its order; none where there is no file."""
    if not path.exists():
        return ()
    return tuple(map(_measured, rows(path)))


def _measured(cells: Sequence[str]) -> Measured:
    profile, version, digest, beside, what, unit, better, *figures, pairs, won, date, host, source = cells
    without, with_profile, ratio, low, high = map(float, figures)
    return Measured(
        profile=profile,
        version=version,
        digest=digest,
        beside=beside,
        what=what,
        unit=unit,
        better=better,
        without=without,
        with_profile=with_profile,
        ratio=ratio,
        low=low,
        high=high,
        pairs=int(pairs),
        won=int(won),
        date=date,
        host=host,
        source=source,
    )


@lru_cache(maxsize=1)
def _shipped() -> tuple[Measured, ...]:
    return read()


def measured(name: str, version: str, digest: str) -> tuple[Measured, ...]:
    """What was measured of a profile.

    Of the profile itself, by its digest; else of other versions of that name. A profile of the same
    name and version that says something else, such as a person's own, was not measured.
    """
    of_name = [row for row in _shipped() if row.profile == name]
    return tuple(
        [row for row in of_name if row.digest == digest] or [row for row in of_name if row.version != version]
    )


def figure(value: float) -> str:
    """A figure for people: three digits that count, thousands by commas."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def outcome(row: Measured) -> str:
    """What came of it in words, with the spread of the pairs."""
    spread = f"{row.low:.2f} to {row.high:.2f}"
    if row.verdict in ("none", "few"):
        return f"{_WORDS[row.verdict]}: {row.ratio:.2f} times ({spread})"
    change = f"{figure(row.without)} to {figure(row.with_profile)} {row.unit}"
    return f"{_WORDS[row.verdict]}: {row.ratio:.2f} times ({spread}), {change}"


_WORDS = {"better": "better", "worse": "worse", "none": "no difference", "few": "too few pairs to tell"}


#: What holds for a host without KVM.
EMULATED = "QEMU emulated the CPU: figures show which way a profile goes there, not how far it goes on KVM"


def info_lines(found: Sequence[Measured], version: str) -> Iterator[str]:
    """The lines of ``--info`` about measurements; none where nothing was measured.

    :param version: of the profile that is shown
    """
    if not found:
        return
    gain = any(row.verdict == "better" for row in found)
    yield "measured:" + ("" if gain else "  no gain on this host")
    if all(row.emulated for row in found):
        yield f"  {EMULATED}"
    for place in dict.fromkeys(map(_place, found)):
        of_version, beside, date, host, pairs = place
        old = f"version {of_version}, " if of_version != version else ""
        yield f"  {old}beside {beside}; {pairs} pairs on {date}; {host}:"
        yield from (f"    {row.what}: {outcome(row)}" for row in found if _place(row) == place)


def _place(row: Measured) -> tuple[str, str, str, str, int]:
    return row.version, row.beside, row.date, row.host, row.pairs
