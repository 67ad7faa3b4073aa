# SPDX-License-Identifier: GPL-2.0-or-later
"""Which request gets the next free worker: the callers take turns, and none has all workers.

Nothing here waits or knows processes. Times are seconds of the monotonic clock.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, TypeVar

#: Seconds that a request may have the last free worker.
PATIENCE = 0.25
#: Seconds for which a caller whose request took longer does not get the last free worker.
SLOW = 600.0
#: Seconds that a caller pauses after its first time-out; twice as long after each further one.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 300.0
#: A time-out is forgotten after so many times the pause that it brought.
_FORGOTTEN = 10
#: Seconds in which a second crash counts as a time-out.
_CRASHES = 60.0
#: Seconds after its last request in which a caller may be waited for.
_THERE = 10.0
#: Callers that are remembered although they ask for nothing.
_REMEMBERED = 1000

Ticket = TypeVar("Ticket")


class Party(Generic[Ticket]):
    """A caller, as far as the queue goes.

    :ivar asked: when its last request came
    :ivar running: requests of it that have a worker
    :ivar waiting: (ticket, may it have the last free worker) of each request that waits
    """

    __slots__ = (
        "key",
        "asked",
        "running",
        "waiting",
        "slow_until",
        "pause",
        "paused_until",
        "_forget_at",
        "_crash_until",
    )

    def __init__(self, key: str) -> None:
        self.key = key
        self.asked = 0.0
        self.running = 0
        self.waiting: deque[tuple[Ticket, bool]] = deque()
        self.slow_until = 0.0
        self.pause = 0.0
        self.paused_until = 0.0
        self._forget_at = 0.0
        self._crash_until = 0.0

    def was_slow(self, now: float) -> None:
        """A request took longer than `PATIENCE`."""
        self.slow_until = now + SLOW

    def timed_out(self, now: float) -> None:
        """A request cost a worker: the caller pauses, longer each time."""
        again = self.pause * 2 if now < self._forget_at else FIRST_PAUSE
        self.pause = min(again, LONGEST_PAUSE)
        self.paused_until = now + self.pause
        self._forget_at = self.paused_until + _FORGOTTEN * self.pause
        self.was_slow(now)

    def crashed(self, now: float) -> None:
        """The process of a request ended: once that is nobody's fault, soon again it is a time-out."""
        if now < self._crash_until:
            self.timed_out(now)
        self._crash_until = now + _CRASHES

    def idle(self, now: float) -> bool:
        """Is there nothing to remember?"""
        return not (
            self.running or self.waiting or now < max(self.slow_until, self._forget_at, self._crash_until)
        )


class FairQueue(Generic[Ticket]):
    """Requests by caller.

    :param workers: all that there are
    :param most: tickets that may wait
    """

    def __init__(self, workers: int, most: int) -> None:
        self.workers = workers
        self.most = most
        self.waiting = 0
        self._parties: OrderedDict[str, Party[Ticket]] = OrderedDict()

    @property
    def share(self) -> int:
        """Workers that a caller may have at once: all but one."""
        return max(1, self.workers - 1)

    @property
    def running(self) -> int:
        """Requests that have a worker."""
        return sum(party.running for party in self._parties.values())

    def others(self, party: Party[Ticket], now: float) -> bool:
        """Has somebody else asked for something of late?"""
        return any(other is not party and now - other.asked < _THERE for other in self._parties.values())

    def party(self, key: str, now: float) -> Party[Ticket]:
        found = self._parties.get(key)
        if found is None:
            if len(self._parties) >= _REMEMBERED:
                for party in [other for other in self._parties.values() if other.idle(now)]:
                    del self._parties[party.key]
            found = self._parties[key] = Party(key)
        return found

    def may(self, party: Party[Ticket], quick: bool, free: int, now: float) -> bool:
        """May a request have one of so many free workers?

        :param quick: nothing says that it takes longer than `PATIENCE`
        """
        needed = 1 if self.workers == 1 or (quick and now >= party.slow_until) else 2
        return free >= needed and party.running < self.share

    def add(self, party: Party[Ticket], ticket: Ticket, quick: bool) -> Ticket | None:
        """Let a ticket wait; where too many do, the ticket that goes instead, perhaps this one.

        It is the newest of the caller who has most: nobody fills the queue for others.
        """
        if self.waiting >= self.most:
            longest = max(self._parties.values(), key=lambda other: len(other.waiting))
            if len(longest.waiting) <= len(party.waiting) + 1:
                return ticket
            self.waiting -= 1
            gone = longest.waiting.pop()[0]
        else:
            gone = None
        party.waiting.append((ticket, quick))
        self.waiting += 1
        return gone

    def leave(self, party: Party[Ticket], ticket: Ticket) -> None:
        """A ticket waits no longer; nothing where it did not."""
        rest = [entry for entry in party.waiting if entry[0] is not ticket]
        self.waiting -= len(party.waiting) - len(rest)
        party.waiting = deque(rest)

    def drain(self, party: Party[Ticket]) -> Iterator[Ticket]:
        """All tickets of a caller wait no longer."""
        while party.waiting:
            self.waiting -= 1
            yield party.waiting.popleft()[0]

    def next(self, free: int, now: float) -> tuple[Party[Ticket], Ticket] | None:
        """Whose turn it is, with so many free workers; None where nobody may have one of them."""
        for party in self._parties.values():
            if party.waiting and self.may(party, party.waiting[0][1], free, now):
                self.waiting -= 1
                self._parties.move_to_end(party.key)
                return party, party.waiting.popleft()[0]
        return None
