# SPDX-License-Identifier: GPL-2.0-or-later
"""Tasks spread over processes, so that no task can stop or harm another one.

Knows nothing of VMs. A process that dies, or is stuck longer than the limit, costs
the task it was at; the tasks that it still had go to another one.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection, wait
from typing import Any

from virtProfile.frozen import record

#: Tasks that a process has at hand, so that it never waits for the next one.
AT_HAND = 8
#: Seconds after which a task counts as stuck.
LIMIT = 300.0
#: Seconds between looks at the clock.
_TICK = 0.25


@record
class Task:
    """One piece of work.

    :param place: tasks of one place are done by one process, which keeps it; "" is anywhere
    """

    key: Any
    place: str = ""


#: Called once in a process: gives what does a task, which may not raise.
Work = Callable[[], Callable[[Task], bytes]]
#: What a process answers to a task that it did not begin.
_NOT_DONE = b""


class _Process:
    """A process with the tasks that it was given, the one it is at first."""

    def __init__(self, context: Any, work: Work, others: Iterable[_Process], stop: Any) -> None:
        self.pipe, far = context.Pipe()
        inherited = [worker.pipe for worker in others] + [self.pipe]
        self.process = context.Process(
            target=_serve, args=(far, inherited, work, stop, os.getpid()), daemon=True
        )
        self.process.start()
        far.close()
        self.tasks: deque[Task] = deque()
        self.places: set[str] = set()
        self.since = time.monotonic()

    def give(self, task: Task) -> None:
        if not self.tasks:
            self.since = time.monotonic()
        self.tasks.append(task)
        if task.place:
            self.places.add(task.place)
        self.pipe.send(task)

    def end(self) -> None:
        self.pipe.close()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def _serve(pipe: Connection, inherited: Iterable[Connection], work: Work, stop: Any, parent: int) -> None:
    """In the process: work until the pipe is closed, or nobody is left to tell."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process decides what becomes of us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for foreign in inherited:
        foreign.close()
    do = work()
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            break
        if os.getppid() != parent:
            break
        try:
            pipe.send_bytes(_NOT_DONE if stop.value else do(task))
        except OSError:
            break
    os._exit(0)  # neither the interpreter's nor libvirt's end of all things is of use here


class Workers:
    """Processes at work.

    :param work: as `Work`; an answer is never empty
    :param limit: seconds after which a task counts as stuck
    :param at_hand: tasks that a process has, the one it is at among them; with 1 a stop is exact
    """

    def __init__(self, work: Work, jobs: int, limit: float = LIMIT, at_hand: int = AT_HAND) -> None:
        self._at_hand = at_hand
        self._context = multiprocessing.get_context("fork")
        self._work = work
        self._jobs = jobs
        self._limit = limit
        self._waiting: deque[Task] = deque()
        self._processes: list[_Process] = []
        self._stop = self._context.RawValue("b", 0)  # seen by all processes

    @property
    def stopped(self) -> bool:
        return bool(self._stop.value)

    def add(self, tasks: Iterable[Task]) -> None:
        """More to do; may be called while others are done."""
        self._waiting.extend(tasks)

    def stop(self) -> None:
        """Begin no further task; those that are begun are finished."""
        self._stop.value = 1
        self._waiting.clear()

    def run(
        self,
        done: Callable[[Task, bytes], None],
        lost: Callable[[Task, str], None],
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        """Until nothing is left to do.

        :param done: a task and what came of it, in any order
        :param lost: a task whose process died or was stuck, and why
        """
        gc.freeze()  # what the processes share stays shared
        try:
            while True:
                self._hand_out()
                busy = [worker for worker in self._processes if worker.tasks]
                if not busy:
                    if self._waiting and not self.stopped:
                        continue
                    return
                ready = wait([worker.pipe for worker in busy], _TICK)
                for worker in busy:
                    if worker.pipe in ready:
                        self._receive(worker, done, lost)
                    elif time.monotonic() - worker.since > self._limit:
                        self._replace(worker, lost, f"it took longer than {self._limit:g} seconds")
                tick()
        finally:
            gc.unfreeze()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes; each finishes the task it is at."""
        self._stop.value = 1
        for worker in self._processes:
            worker.pipe.close()
        for worker in self._processes:
            worker.end()
        self._processes.clear()

    def _hand_out(self) -> None:
        """Give tasks to processes, in their order, to the least busy one."""
        held: list[Task] = []
        while self._waiting and not self.stopped:
            task = self._waiting.popleft()
            owner = next(
                (worker for worker in self._processes if task.place and task.place in worker.places), None
            )
            if owner is None:
                free = [worker for worker in self._processes if len(worker.tasks) < self._at_hand]
                idle = any(not worker.tasks for worker in free)
                if not idle and len(self._processes) < self._jobs:
                    owner = _Process(self._context, self._work, self._processes, self._stop)
                    self._processes.append(owner)
                elif free:
                    owner = min(free, key=lambda worker: len(worker.tasks))
                else:
                    held.append(task)
                    break
            elif len(owner.tasks) >= self._at_hand:
                held.append(task)
                if len(held) > 64:
                    break
                continue
            self._give(owner, task, held)
        self._waiting.extendleft(reversed(held))

    def _give(self, worker: _Process, task: Task, held: list[Task]) -> None:
        try:
            worker.give(task)
        except OSError:  # it died; told when its pipe is read
            worker.tasks.pop()
            held.append(task)
            if not worker.tasks:
                self._forget(worker)

    def _receive(
        self, worker: _Process, done: Callable[[Task, bytes], None], lost: Callable[[Task, str], None]
    ) -> None:
        try:
            while worker.tasks and worker.pipe.poll():
                answer = worker.pipe.recv_bytes()
                worker.since = time.monotonic()
                task = worker.tasks.popleft()
                if answer != _NOT_DONE:
                    done(task, answer)
        except (EOFError, OSError):
            worker.process.join(5)
            self._replace(
                worker, lost, f"the worker process ended unexpectedly ({_how(worker.process.exitcode)})"
            )

    def _replace(self, worker: _Process, lost: Callable[[Task, str], None], reason: str) -> None:
        worker.process.kill()
        worker.process.join()
        guilty, *rest = worker.tasks
        worker.tasks.clear()
        self._forget(worker)
        if not self.stopped:
            self._waiting.extendleft(reversed(rest))
        lost(guilty, reason)

    def _forget(self, worker: _Process) -> None:
        worker.pipe.close()
        self._processes.remove(worker)


def _how(status: int | None) -> str:
    if status is not None and status < 0:
        try:
            return signal.Signals(-status).name
        except ValueError:
            return f"signal {-status}"
    return f"status {status}"
