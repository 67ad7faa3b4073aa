# SPDX-License-Identifier: GPL-2.0-or-later
"""The service's workers: who is free, who waits, and what becomes of a worker that times out or crashes.

Belongs to the process that talks HTTP and runs no engine. A request that makes its
worker time out, grow or crash loses its own answer; another process takes the place.
"""

from __future__ import annotations

import asyncio
import json
import math
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from virtProfile.frozen import record
from virtProfile.service.fair_queue import PATIENCE, FairQueue, Party
from virtProfile.service.worker import ANSWER, MOST_ANSWER, REQUEST, Settings, main

_PRELOAD = [
    "virtProfile.service.worker",
    "virtProfile.engine.flow",
    "virtProfile.engine.lifecycle",
    "virtProfile.show.diff",
    "virtProfile.show.explain",
]


#: Times `PATIENCE` after which a request is slow, however little of the processor it got.
_LONGEST = 2
#: The part of its seconds that a request has to get of the processor before a time-out is its own fault.
_ITS_OWN = 1 / 3
#: Seconds before a worker that did not start is started again.
_RETRY = 1.0


@record
class Answer:
    """HTTP status and JSON.

    :param retry: seconds after which asking again makes sense; 0: not said
    """

    status: int
    body: bytes
    retry: int = 0


def _refusal(message: str, hint: str, retry: int = 0, status: int = 503) -> Answer:
    code = "policy" if status == 429 else "failed"
    found = {"code": code, "message": message, "hint": hint, "where": "", "conflicts": []}
    return Answer(status, json.dumps(found).encode(), retry)


def _pause(seconds: float) -> Answer:
    retry = max(1, math.ceil(seconds))
    message = "earlier requests of this caller timed out or ended their process"
    return _refusal(message, f"send smaller requests, the next in {retry} seconds", retry, 429)


def _is_crowded(workers: int) -> bool:
    """Do others than so many workers want more of this machine than it has?"""
    return os.getloadavg()[0] > workers + 2 * (os.cpu_count() or 1)


class _Worker:
    """A process, and our end of the socket to it."""

    def __init__(self, settings: Settings, place: str) -> None:
        self._place = place
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOAD)  # modules only: no document is ever in that process
        self.link, far = socket.socketpair()
        self.link.setblocking(False)
        self.process = context.Process(
            target=main, args=(far, settings, place), daemon=True, name="virt-profiled"
        )
        self.process.start()
        self.stepped_back = False
        far.close()

    async def ask(self, name: str, caller: str, data: bytes) -> tuple[int, bool, bytes]:
        loop = asyncio.get_running_loop()
        names = name.encode(), caller.encode()
        head = REQUEST.pack(*map(len, names), len(data))
        await loop.sock_sendall(self.link, b"".join((head, *names, data)))
        status, last, size = ANSWER.unpack(await self._read(loop, ANSWER.size))
        if size > MOST_ANSWER:
            raise ConnectionError("an answer of a size that no answer has")
        return status, last, await self._read(loop, size)

    async def _read(self, loop: asyncio.AbstractEventLoop, size: int) -> bytes:
        if size <= 65536:
            found = await loop.sock_recv(self.link, size)
            if len(found) == size:
                return found
        else:
            found = b""
        parts = bytearray(found)
        while len(parts) < size:
            more = await loop.sock_recv(self.link, min(size - len(parts), 1 << 20))
            if not more:
                raise ConnectionError("the worker has ended")
            parts += more
        return bytes(parts)

    async def ready(self) -> bool:
        """Wait until it can answer; False where its process ended before."""
        try:
            return bool(await asyncio.get_running_loop().sock_recv(self.link, 1))
        except OSError:
            return False

    def processor_time(self) -> float:
        """Seconds that the process has used; 0 where it has ended."""
        pid = self.process.pid
        if pid is None:
            return 0.0
        try:
            return time.clock_gettime(~pid << 3 | 2)  # Linux's clock of a process, as its scheduler counts
        except OSError:
            return 0.0

    def step_back(self) -> None:
        """Let other processes go first, for the rest of its life: only root could undo that."""
        self.stepped_back = True
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self.process.pid or 0, 19)

    def alive(self) -> bool:
        return self.process.is_alive()

    def end(self, kill: bool = False) -> int | None:
        """Close the socket, which ends the process; its exit code where it has ended."""
        self.link.close()
        if kill:
            with suppress(OSError, TypeError):
                os.killpg(self.process.pid, signal.SIGKILL)  # type: ignore[arg-type]
            self.process.kill()
            self.process.join(5)
        shutil.rmtree(self._place, ignore_errors=True)
        return self.process.exitcode


#: A free worker, and whether it was the last.
_Grant = tuple[_Worker, bool]
#: A place in the queue; it gets a worker, or the answer where there will be none.
_Ticket = asyncio.Future[_Grant | Answer]
_Party = Party[_Ticket]
_Result = TypeVar("_Result")


class Pool:
    """A fixed number of workers and a bounded queue before them, in which callers take turns.

    The last free worker is for requests that take less than `PATIENCE`: one that takes longer
    while no other is free is ended and runs once more, from the beginning, on another worker.

    :param count: workers; also the requests that run at once
    :param queue: requests that may wait; more are refused with 503
    """

    def __init__(self, settings: Settings, count: int = 2, queue: int = 128) -> None:
        self.settings = settings
        self.count = count
        self.restarts = 0
        self._queue: FairQueue[_Ticket] = FairQueue(count, queue)
        self._idle: list[_Worker] = []  # the last is taken first
        self._starting: list[_Worker] = []
        self._all: list[_Worker] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._made = 0
        self._place: str | None = None

    @property
    def waiting(self) -> int:
        return self._queue.waiting

    @property
    def busy(self) -> int:
        return len(self._all) - len(self._idle) - len(self._starting)

    @property
    def running(self) -> int:
        """Requests that have a worker: as many as workers are `busy`, else a worker was lost."""
        return self._queue.running

    def pids(self) -> list[int]:
        return [worker.process.pid or 0 for worker in self._all]

    def start(self) -> None:
        """Start what is missing of the workers; done by the first request where nobody does."""
        while len(self._all) < self.count and not self._closed:
            self._made += 1
            made = _Worker(self.settings, f"{self._temporary()}/{self._made}")
            self._all.append(made)
            self._starting.append(made)
            self._keep(self._start(made))

    async def ready(self) -> None:
        """Start all workers, and wait until each is ready or has ended."""
        self.start()
        await asyncio.gather(*self._tasks)

    def _temporary(self) -> str:
        if self._place is None:
            self._place = tempfile.mkdtemp(prefix="virt-profiled-")
        return self._place

    async def _start(self, made: _Worker) -> None:
        """A worker gets requests once it is ready."""
        ready = await made.ready()
        if not ready and not self._closed:
            await asyncio.sleep(_RETRY)
        if made not in self._starting:  # the pool was closed
            return
        self._starting.remove(made)
        if ready:
            self._idle.append(made)
            self._hand_out()
        else:
            self._drop(made, kill=True)

    def _keep(self, work: Coroutine[Any, Any, _Result]) -> asyncio.Task[_Result]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _drop(self, worker: _Worker, kill: bool) -> int | None:
        """Another worker takes the place; the exit code of the old one."""
        if worker in self._all:  # else the pool was closed
            self._all.remove(worker)
        code = worker.end(kill)
        self.restarts += 1
        self.start()
        return code

    def _look(self) -> None:
        """Replace idle workers that somebody else killed."""
        while self._idle and not self._idle[-1].alive():
            self._drop(self._idle.pop(), kill=True)

    def _hand_out(self) -> None:
        """Give free workers to whose turn it is."""
        while self.waiting and not self._closed:
            self._look()
            found = self._queue.next(len(self._idle), time.monotonic())
            if found is None:
                return
            party, ticket = found
            if not ticket.done():
                ticket.set_result(self._grant(party))

    def _grant(self, party: _Party) -> _Grant:
        party.running += 1
        worker = self._idle.pop()
        return worker, self.count > 1 and not self._idle

    def _give_back(self, party: _Party, worker: _Worker | None) -> None:
        """A request has its worker no longer.

        :param worker: it is free now; None where it was dropped
        """
        party.running -= 1
        if worker is not None and worker in self._all:
            self._idle.append(worker)
        self._hand_out()

    async def _take(self, party: _Party, quick: bool, deadline: float) -> _Grant | Answer:
        self._look()
        if not party.waiting and self._queue.may(party, quick, len(self._idle), time.monotonic()):
            return self._grant(party)
        ticket: _Ticket = asyncio.get_running_loop().create_future()
        gone = self._queue.add(party, ticket, quick)
        if gone is not None and not gone.done():
            gone.set_result(_refusal(f"{self.waiting} requests wait already", "try again later", 1))
        try:
            # not wait_for: since Python 3.12 it may raise TimeoutError although the ticket has its worker
            await asyncio.wait((ticket,), timeout=max(0.0, deadline - time.monotonic()))
        except asyncio.CancelledError:
            self._queue.leave(party, ticket)
            if ticket.done() and not isinstance(grant := ticket.result(), Answer):
                self._give_back(party, grant[0])
            raise
        if ticket.done():
            return ticket.result()
        self._queue.leave(party, ticket)
        seconds = self.settings.limits.seconds
        return _refusal(f"no worker was free for {seconds:g} seconds", "try again later", 2)

    def refusal(self, share: str) -> Answer | None:
        """What a caller gets whose request is refused, whatever it says; None: it is not."""
        if self._closed:
            return _refusal("the service is stopping", "ask again", 1)
        now = time.monotonic()
        party = self._queue.party(share, now)
        return _pause(party.paused_until - now) if now < party.paused_until else None

    async def ask(
        self, name: str, caller: str, data: bytes, *, share: str = "", quick: bool = True
    ) -> Answer:
        """The answer of a worker, or what happened to it as a 503 or 429 in JSON.

        A caller that leaves costs no worker: what runs is finished.

        :param share: who takes turns; the same as `caller` where nothing is said
        :param quick: may have the last free worker, be ended there and run once more
        """
        refused = self.refusal(share or caller)
        if refused is not None:
            return refused
        if len(self._all) < self.count:
            self.start()
        now = time.monotonic()
        party = self._queue.party(share or caller, now)
        party.asked = now
        deadline = now + self.settings.limits.seconds
        while True:
            taken = await self._take(party, quick, deadline)
            if isinstance(taken, Answer):
                return taken
            answer = await asyncio.shield(self._keep(self._work(party, taken, name, caller, data)))
            if answer is not None:
                return answer
            quick = False

    async def _work(self, party: _Party, grant: _Grant, name: str, caller: str, data: bytes) -> Answer | None:
        """The answer; None where the request took too long for the last free worker."""
        worker, last = grant
        free: _Worker | None = None
        began, before = time.monotonic(), worker.processor_time()
        asking = asyncio.ensure_future(worker.ask(name, caller, data))
        try:
            if await self._ended(asking, party, grant, began, before):
                status, ends, body = asking.result()
                if ends or worker.stepped_back:
                    self._drop(worker, kill=False)
                    if status >= 500:
                        self._cost(party, party.crashed)
                else:
                    free = worker
                return Answer(status, body)
            asking.cancel()
            await asyncio.wait((asking,))
            used = worker.processor_time() - before
            self._drop(worker, kill=True)
            if last and time.monotonic() - began < self.settings.limits.seconds:
                return None
            if used < _ITS_OWN * self.settings.limits.seconds and _is_crowded(self.count):
                return _refusal("this machine is too busy with other things", "try again later", 2)
            return self._timed_out(party, "seconds")
        except OSError:
            if self._drop(worker, kill=True) == -signal.SIGXCPU:
                return self._timed_out(party, "seconds of processor time")
            self._cost(party, party.crashed)
            return _refusal("the process of this request ended", "ask again")
        except BaseException:  # nobody knows what the worker is at
            self._drop(worker, kill=True)
            raise
        finally:
            self._give_back(party, free)

    async def _ended(
        self, asking: asyncio.Future[Any], party: _Party, grant: _Grant, began: float, before: float
    ) -> bool:
        """Has the worker answered, or its process ended, within the request's time?

        :param began: when, and with so much processor time `before`
        """
        worker, last = grant
        seconds = self.settings.limits.seconds
        patience = min(PATIENCE, seconds)
        while not asking.done() and patience > 0:
            await asyncio.wait((asking,), timeout=max(patience, 0.02))
            if asking.done():
                break
            used = worker.processor_time() - before
            # a busy machine is not the request's fault
            patience = min(PATIENCE - used, _LONGEST * PATIENCE - (time.monotonic() - began))
        if not asking.done():
            now = time.monotonic()
            party.was_slow(now)
            if self._queue.others(party, now):
                worker.step_back()
            if not last or self._idle:
                rest = seconds - (time.monotonic() - began)
                await asyncio.wait((asking,), timeout=max(rest, 0.0))
        return asking.done()

    def _timed_out(self, party: _Party, what: str) -> Answer:
        self._cost(party, party.timed_out)
        seconds = self.settings.limits.seconds
        return _refusal(f"not finished within {seconds:g} {what}", "send a smaller request")

    def _cost(self, party: _Party, judge: Callable[[float], None]) -> None:
        """A request cost its worker: where the caller has to pause, what it has waiting is refused."""
        now = time.monotonic()
        judge(now)
        if now < party.paused_until:
            for ticket in self._queue.drain(party):
                if not ticket.done():
                    ticket.set_result(_pause(party.paused_until - now))

    async def close(self, seconds: float = 10) -> None:
        """Let running requests end, then end the workers."""
        self._closed = True
        deadline = time.monotonic() + seconds
        while self.busy and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        for worker in self._all:
            worker.end(kill=True)
        self._all.clear()
        self._idle.clear()
        self._starting.clear()
        if self._place is not None:
            shutil.rmtree(self._place, ignore_errors=True)
