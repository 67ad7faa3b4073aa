# SPDX-License-Identifier: GPL-2.0-or-later
"""What the process that talks HTTP holds of requests and answers, in bytes: bounded, for all and for each."""

from __future__ import annotations

from collections import Counter
from types import TracebackType

#: Bytes of requests and answers that are held at once: of all callers, and of one caller.
MOST = 256 << 20
SHARE = 96 << 20


class TooMuchError(Exception):
    """There is no room for more."""


class Held:
    """What is held now."""

    def __init__(self) -> None:
        self.total = 0
        self._by_share: Counter[str] = Counter()

    def of(self, share: str) -> Holding:
        """Nothing yet, of one caller."""
        return Holding(self, share)

    def change(self, share: str, size: int) -> None:
        """:raises TooMuchError: a limit would be exceeded; nothing has changed"""
        if size > 0 and (self.total + size > MOST or self._by_share[share] + size > SHARE):
            raise TooMuchError
        self.total += size
        self._by_share[share] += size
        if not self._by_share[share]:
            del self._by_share[share]


class Holding:
    """What one request and its answer hold, until it is closed."""

    def __init__(self, held: Held, share: str) -> None:
        self._held = held
        self._share = share
        self._size = 0

    def more(self, size: int) -> None:
        """:raises TooMuchError: there is no room"""
        self._held.change(self._share, size)
        self._size += size

    def close(self) -> None:
        self._held.change(self._share, -self._size)
        self._size = 0

    def __enter__(self) -> Holding:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, wrong: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
