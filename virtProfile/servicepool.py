# SPDX-License-Identifier: GPL-2.0-or-later
"""The service's workers: who is free, who waits, and what becomes of a worker that is late or dies.

Belongs to the process that talks HTTP and runs no engine. A request that makes its
worker late, too large or dead loses its own answer; another process takes the place.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import signal
import socket
import time
from collections import deque

from .records import record
from .serviceworker import ANSWER, REQUEST, Settings, main

_PRELOAD = [f"virtProfile.{one}" for one in ("serviceworker", "engine", "lifecycle", "diff", "explain")]
#: Bytes of an answer that are believed.
_MOST = 256 << 20


@record
class Answer:
    """HTTP status and JSON.

    :param retry: seconds after which asking again makes sense; 0: not said
    """

    status: int
    body: bytes
    retry: int = 0


def _refusal(message: str, hint: str, retry: int = 0) -> Answer:
    found = {"code": "failed", "message": message, "hint": hint, "where": "", "conflicts": []}
    return Answer(503, json.dumps(found).encode(), retry)


class _Worker:
    """A process, and our end of the socket to it."""

    def __init__(self, settings: Settings) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOAD)  # modules only: no document is ever in that process
        self.link, far = socket.socketpair()
        self.link.setblocking(False)
        self.process = context.Process(target=main, args=(far, settings), daemon=True, name="virt-profiled")
        self.process.start()
        far.close()

    async def ask(self, name: str, caller: str, data: bytes) -> tuple[int, bool, bytes]:
        loop = asyncio.get_running_loop()
        names = name.encode(), caller.encode()
        head = REQUEST.pack(*map(len, names), len(data))
        await loop.sock_sendall(self.link, b"".join((head, *names, data)))
        status, last, size = ANSWER.unpack(await self._read(loop, ANSWER.size))
        if size > _MOST:
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

    def alive(self) -> bool:
        return self.process.is_alive()

    def end(self, kill: bool = False) -> int | None:
        """Close the socket, which ends the process; its exit code where it has ended."""
        self.link.close()
        if kill:
            self.process.kill()
            self.process.join(5)
        return self.process.exitcode


class Pool:
    """A fixed number of workers and a bounded queue before them.

    :param count: workers; also the requests that run at once
    :param queue: requests that may wait; more are refused with 503
    """

    def __init__(self, settings: Settings, count: int = 2, queue: int = 128) -> None:
        self.settings = settings
        self.count = count
        self.queue = queue
        self.restarts = 0
        self._idle: list[_Worker] = []
        self._all: list[_Worker] = []
        self._waiting: deque[asyncio.Future[_Worker]] = deque()
        self._closed = False

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def busy(self) -> int:
        return len(self._all) - len(self._idle)

    def pids(self) -> list[int]:
        return [one.process.pid or 0 for one in self._all]

    def start(self) -> None:
        """Start what is missing of the workers; done by the first request where nobody does."""
        while len(self._all) < self.count and not self._closed:
            self._free(self._new())

    def _new(self) -> _Worker:
        made = _Worker(self.settings)
        self._all.append(made)
        return made

    def _free(self, worker: _Worker) -> None:
        while self._waiting:
            one = self._waiting.popleft()
            if not one.done():
                one.set_result(worker)
                return
        self._idle.append(worker)

    def _drop(self, worker: _Worker, kill: bool) -> int | None:
        """Another worker takes the place; the exit code of the old one."""
        self._all.remove(worker)
        code = worker.end(kill)
        self.restarts += 1
        self.start()
        return code

    async def _take(self, deadline: float) -> _Worker | None:
        while self._idle:
            worker = self._idle.pop()
            if worker.alive():
                return worker
            self._drop(worker, kill=True)  # somebody else killed it while it was idle
        future: asyncio.Future[_Worker] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            return await asyncio.wait_for(future, deadline - time.monotonic())
        except TimeoutError:
            return None
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._free(future.result())
            raise

    async def ask(self, name: str, caller: str, data: bytes) -> Answer:
        """The answer of a worker, or what happened to it as a 503 in JSON."""
        if self._closed:
            return _refusal("the service is stopping", "ask again", 1)
        if len(self._all) < self.count:
            self.start()
        if not self._idle and len(self._waiting) >= self.queue:
            return _refusal(f"{len(self._waiting)} requests wait already", "ask again later", 1)
        seconds = self.settings.limits.seconds
        worker = await self._take(time.monotonic() + seconds)
        if worker is None:
            return _refusal(f"no worker was free for {seconds:g} seconds", "ask again later", 2)
        return await self._ask(worker, name, caller, data, seconds)

    async def _ask(self, worker: _Worker, name: str, caller: str, data: bytes, seconds: float) -> Answer:
        try:
            status, last, body = await asyncio.wait_for(worker.ask(name, caller, data), seconds)
        except TimeoutError:
            self._drop(worker, kill=True)
            return _refusal(f"not done in {seconds:g} seconds", "ask for less at once")
        except OSError:
            code = self._drop(worker, kill=True)
            if code == -signal.SIGXCPU:
                return _refusal(f"not done in {seconds:g} seconds of processor time", "ask for less at once")
            return _refusal("the process of this request ended", "ask again")
        except BaseException:  # cancelled: nobody knows what the worker is at
            self._drop(worker, kill=True)
            raise
        if last:
            self._drop(worker, kill=False)
        else:
            self._free(worker)
        return Answer(status, body)

    async def close(self, seconds: float = 10) -> None:
        """Let running requests end, then end the workers."""
        self._closed = True
        deadline = time.monotonic() + seconds
        while self.busy and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        for one in self._all:
            one.end(kill=True)
        self._all.clear()
        self._idle.clear()
