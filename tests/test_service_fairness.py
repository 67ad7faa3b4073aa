# SPDX-License-Identifier: GPL-2.0-or-later
"""Callers take turns, none has all workers, and workers are never lost: what is busy is what runs."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from virtProfile.service import fair_queue
from virtProfile.service import pool as pool_module
from virtProfile.service.fair_queue import FIRST_PAUSE, LONGEST_PAUSE, SLOW, FairQueue, Party
from virtProfile.service.main import raise_descriptors
from virtProfile.service.pool import Answer, Pool
from virtProfile.service.pool import _Worker as RealWorker
from virtProfile.service.worker import Limits, Settings

# --- the queue ---------------------------------------------------------------------------------


def test_callers_take_turns() -> None:
    queue: FairQueue[str] = FairQueue(workers=3, most=100)
    for number in range(5):
        queue.add(queue.party("many", 0), f"many{number}", True)
    for name in ("a", "b"):
        queue.add(queue.party(name, 0), name, True)
    got = [found[1] for _ in range(7) if (found := queue.next(3, 0))]
    assert got == ["many0", "a", "b", "many1", "many2", "many3", "many4"]
    assert queue.next(3, 0) is None and queue.waiting == 0


@pytest.mark.parametrize(("workers", "share"), [(1, 1), (2, 1), (3, 2), (8, 7)])
def test_a_worker_stays_free_for_others(workers: int, share: int) -> None:
    queue: FairQueue[int] = FairQueue(workers, 100)
    greedy, other = queue.party("greedy", 0), queue.party("other", 0)
    while queue.may(greedy, True, workers - greedy.running, 0):
        greedy.running += 1
    assert greedy.running == share
    assert queue.may(other, True, workers - greedy.running, 0) == (workers > 1)


def test_the_last_worker_is_for_quick_requests_of_quick_callers() -> None:
    queue: FairQueue[int] = FairQueue(3, 100)
    party = queue.party("a", 0)
    assert queue.may(party, True, 1, 0) and not queue.may(party, False, 1, 0)
    party.was_slow(5)
    assert not queue.may(party, True, 1, 6) and queue.may(party, True, 2, 6)
    assert queue.may(party, True, 1, 5 + SLOW)


def test_a_full_queue_costs_who_has_most() -> None:
    queue: FairQueue[str] = FairQueue(2, 3)
    many, few = queue.party("many", 0), queue.party("few", 0)
    assert [queue.add(many, str(number), True) for number in range(3)] == [None] * 3
    assert queue.add(many, "3", True) == "3"
    assert queue.add(few, "few", True) == "2"
    assert queue.add(few, "few2", True) == "few2"
    assert (queue.waiting, len(many.waiting), len(few.waiting)) == (3, 2, 1)


def test_pauses_grow_and_are_forgotten() -> None:
    party: Party[int] = Party("a")
    now, pauses = 0.0, []
    for _ in range(12):
        party.timed_out(now)
        pauses.append(party.paused_until - now)
        now = party.paused_until
    assert pauses[:4] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, 8 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE and not party.idle(now)
    now += 20 * LONGEST_PAUSE
    assert party.idle(now)
    party.timed_out(now)
    assert party.paused_until - now == FIRST_PAUSE


def test_a_second_crash_pauses() -> None:
    party: Party[int] = Party("a")
    party.crashed(0)
    assert party.paused_until == 0
    party.crashed(200)
    assert party.paused_until == 0
    party.crashed(201)
    assert party.paused_until == 201 + FIRST_PAUSE


def test_callers_who_ask_for_nothing_are_forgotten() -> None:
    queue: FairQueue[int] = FairQueue(2, 10)
    for number in range(5000):
        queue.party(str(number), 0)
    assert len(queue._parties) <= fair_queue._REMEMBERED


# --- the pool ----------------------------------------------------------------------------------


class _Process:
    pid = 1


class _Worker:
    """A worker without a process: a request says what becomes of it."""

    def __init__(self, settings: Any, place: str) -> None:
        self.process = _Process()
        self.ended = self.stepped_back = False

    def step_back(self) -> None:
        self.stepped_back = True

    def alive(self) -> bool:
        return not self.ended

    async def ready(self) -> bool:
        return True

    def processor_time(self) -> float:
        return time.monotonic()

    def end(self, kill: bool = False) -> int | None:
        self.ended = True
        return None

    async def ask(self, name: str, caller: str, data: bytes) -> tuple[int, bool, bytes]:
        assert not self.ended, "a worker that has ended is asked"
        if name == "crash":
            raise ConnectionError
        if name == "wrong":
            raise ValueError
        await asyncio.sleep(float(data))
        return (500 if name == "memory" else 200), name in ("memory", "last"), data


async def made(
    monkeypatch: pytest.MonkeyPatch, count: int = 2, queue: int = 128, seconds: float = 0.2
) -> Pool:
    monkeypatch.setattr(pool_module, "_Worker", _Worker)
    monkeypatch.setattr(pool_module, "PATIENCE", 0.05)
    pool = Pool(Settings((), limits=Limits(seconds=seconds)), count, queue)
    pool.start()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return pool


def nothing_left(pool: Pool) -> bool:
    return (pool.busy, pool.running, pool.waiting, len(pool.pids())) == (0, 0, 0, pool.count)


def test_one_caller_leaves_a_worker_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        pool = await made(monkeypatch, count=3, seconds=10)
        greedy = [asyncio.create_task(pool.ask("sleep", "greedy", b"0.3")) for _ in range(20)]
        await asyncio.sleep(0.1)
        assert (pool.busy, pool.waiting) == (2, 18)
        began = time.monotonic()
        assert (await pool.ask("sleep", "other", b"0")).status == 200
        assert time.monotonic() - began < 0.1
        for task in greedy:
            task.cancel()
        await asyncio.gather(*greedy, return_exceptions=True)
        await asyncio.sleep(0.4)
        assert nothing_left(pool) and pool.restarts == 0

    asyncio.run(run())


def test_the_processor_time_of_a_worker_is_that_of_its_process() -> None:
    busy = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ninput()"
    words = [sys.executable, "-c", busy]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        worker = object.__new__(RealWorker)
        worker.process = process  # type: ignore[assignment]
        assert process.stdout is not None
        process.stdout.readline()
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        kernels = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        assert worker.processor_time() >= 0.2
        assert worker.processor_time() == pytest.approx(kernels, abs=0.1)
        process.communicate(b"\n")
        assert worker.processor_time() == 0.0  # it has ended


def test_a_request_that_is_quick_asks_once_for_processor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        pool = await made(monkeypatch)
        asked: list[_Worker] = []

        def processor_time(worker: _Worker) -> float:
            asked.append(worker)
            return 0.0

        monkeypatch.setattr(_Worker, "processor_time", processor_time)
        assert (await pool.ask("sleep", "caller", b"0")).status == 200
        assert len(asked) == 1

    asyncio.run(run())


@pytest.mark.parametrize(
    ("load", "used", "pauses"), [(50.0, 0.0, False), (50.0, 1.0, True), (1.0, 0.0, True)]
)
def test_a_busy_machine_is_no_callers_fault(
    monkeypatch: pytest.MonkeyPatch, load: float, used: float, pauses: bool
) -> None:
    async def run() -> None:
        pool = await made(monkeypatch, count=2, seconds=0.2)
        monkeypatch.setattr(pool_module.os, "getloadavg", lambda: (load, load, load))
        monkeypatch.setattr(_Worker, "processor_time", lambda self: used * time.monotonic())
        for _ in range(3):
            answer = await pool.ask("sleep", "caller", b"1", quick=False)
            if answer.status == 429:
                break
            assert answer.status == 503, answer
        assert (answer.status == 429) is pauses, answer
        assert (b"busy" in answer.body) is not pauses
        await asyncio.sleep(0.1)
        assert nothing_left(pool)

    asyncio.run(run())


def test_many_slow_callers_leave_the_last_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        pool = await made(monkeypatch, count=2, seconds=10)
        slow = [asyncio.create_task(pool.ask("sleep", f"slow{number}", b"0.5")) for number in range(4)]
        await asyncio.sleep(0.3)  # each of them was moved away from the last worker
        for _ in range(5):
            began = time.monotonic()
            assert (await pool.ask("sleep", "honest", b"0")).status == 200
            assert time.monotonic() - began < 0.04
        assert [answer.status for answer in await asyncio.gather(*slow)] == [200] * 4
        assert nothing_left(pool)

    asyncio.run(run())


def test_a_request_that_times_out_pauses_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        pool = await made(monkeypatch, count=2)
        waiting = [asyncio.create_task(pool.ask("sleep", "a", b"9"))]
        await asyncio.sleep(0.1)
        waiting += [asyncio.create_task(pool.ask("sleep", "a", b"9")) for _ in range(4)]
        answers = await asyncio.gather(*waiting)
        assert [answer.status for answer in answers] == [503, 429, 429, 429, 429]
        assert all(answer.retry == 1 for answer in answers[1:])
        assert (await pool.ask("sleep", "a", b"0")).status == 429
        assert (await pool.ask("sleep", "b", b"0")).status == 200
        assert (pool.restarts, nothing_left(pool)) == (1, True)
        pool._queue.party("a", 0).paused_until = 0
        assert (await pool.ask("sleep", "a", b"0")).status == 200

    asyncio.run(run())


def test_leaving_costs_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        pool = await made(monkeypatch, seconds=5)
        for _ in range(10):
            task = asyncio.create_task(pool.ask("sleep", "a", b"0.02"))
            await asyncio.sleep(0.005)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.3)
        assert nothing_left(pool) and pool.restarts == 0

    asyncio.run(run())


def test_no_worker_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests end in every way, at random times: then all workers are there and idle."""

    async def run(seed: int) -> None:
        draw = random.Random(seed)
        pool = await made(
            monkeypatch, count=draw.choice((1, 2, 3)), queue=draw.choice((0, 2, 50)), seconds=0.03
        )
        monkeypatch.setattr(fair_queue, "FIRST_PAUSE", 0.001)
        monkeypatch.setattr(pool_module, "PATIENCE", 0.01)
        tasks = []
        for _ in range(60):
            name = draw.choice(("sleep", "sleep", "sleep", "crash", "wrong", "memory", "last"))
            asking = pool.ask(name, draw.choice("abc"), draw.choice((b"0", b"0.002", b"0.02", b"1")))
            tasks.append(asyncio.create_task(asking))
            await asyncio.sleep(draw.choice((0, 0, 0.001, 0.004)))
            assert pool.busy == pool.running
            if draw.random() < 0.3:
                draw.choice(tasks).cancel()
        answers = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
        assert any(isinstance(answer, Answer) and answer.status == 200 for answer in answers)
        await asyncio.gather(*pool._tasks, return_exceptions=True)
        assert nothing_left(pool)
        await pool.close()

    for seed in range(12):
        asyncio.run(run(seed))


# --- the time limit and the worker in one round of the loop -------------------------------------


async def wait_for_of_312(future: asyncio.Future[Any], timeout: float | None) -> Any:
    """As `asyncio.wait_for` is since Python 3.12: a time-out wins although the result is there."""
    async with asyncio.timeout(timeout):
        return await future


@pytest.mark.parametrize("later", [True, False])
def test_worker_handed_over_at_the_time_limit_is_kept(monkeypatch: pytest.MonkeyPatch, later: bool) -> None:
    """The worker and the time limit come in the same round of the loop."""
    monkeypatch.setattr(asyncio, "wait_for", wait_for_of_312)

    async def run() -> None:
        pool = await made(monkeypatch, count=1)
        party = pool._queue.party("a", 0)
        grant = await pool._take(party, True, time.monotonic() + 1)
        assert isinstance(grant, tuple)
        loop = asyncio.get_running_loop()
        for _ in range(5):
            other = pool._queue.party("b", 0)
            task = asyncio.create_task(pool._take(other, True, time.monotonic() + 0.02))
            await asyncio.sleep(0)
            loop.call_soon(time.sleep, 0.03)
            if later:  # after the worker, before the task hears of it
                loop.call_soon(loop.call_soon, pool._give_back, party, grant[0])
            else:
                loop.call_soon(pool._give_back, party, grant[0])
            taken = await task
            assert pool.busy == pool.running
            if isinstance(taken, tuple):
                pool._give_back(other, taken[0])
            assert nothing_left(pool)
            grant = await pool._take(party, True, time.monotonic() + 1)
            assert isinstance(grant, tuple)

    asyncio.run(run())


@pytest.mark.parametrize("given_up_by", ["time limit", "cancellation"])
def test_a_place_that_was_given_up_gets_no_worker(monkeypatch: pytest.MonkeyPatch, given_up_by: str) -> None:
    async def run() -> None:
        pool = await made(monkeypatch, count=1)
        party = pool._queue.party("a", 0)
        grant = await pool._take(party, True, time.monotonic() + 1)
        assert isinstance(grant, tuple)
        if given_up_by == "time limit":
            assert isinstance(await pool._take(party, True, time.monotonic()), Answer)
        else:
            task = asyncio.create_task(pool._take(party, True, time.monotonic() + 60))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert pool.waiting == 0
        pool._give_back(party, grant[0])
        assert nothing_left(pool)

    asyncio.run(run())


def test_cancelled_after_the_worker_came(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        pool = await made(monkeypatch, count=1)
        party = pool._queue.party("a", 0)
        grant = await pool._take(party, True, time.monotonic() + 1)
        assert isinstance(grant, tuple)
        task = asyncio.create_task(pool._take(party, True, time.monotonic() + 60))
        await asyncio.sleep(0)
        pool._give_back(party, grant[0])
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert nothing_left(pool)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((1024, 524288), 8192),
        ((1024, 4096), 4096),
        ((1024, -1), 8192),
        ((20000, 524288), None),
        ((-1, -1), None),
    ],
)
def test_descriptors(before: tuple[int, int], after: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[Any] = []
    monkeypatch.setattr(resource, "getrlimit", lambda kind: before)
    monkeypatch.setattr(resource, "setrlimit", lambda kind, pair: limits.append(pair))
    raise_descriptors()
    assert limits == ([] if after is None else [(after, before[1])])
