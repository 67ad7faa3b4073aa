# SPDX-License-Identifier: GPL-2.0-or-later
"""Honest callers of a service beside hostile ones: how long the honest wait, and what the service takes.

Everything runs on this machine, over a unix socket, for a given time. The hostile callers send
requests that cost their whole time limit, leave streams with work in them, send bodies without an
end, do not read answers, and hold connections without a token that ask for the icon.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
sys.path.insert(0, str(TOP))
sys.path.insert(0, str(HERE))

import bench  # noqa: E402
import service as measured  # noqa: E402

HONEST = ("alice", "bob")
HOSTILE = ("mallory", "oscar", "trudy")
PROFILES = ["rng", "virtio-disk", "linux-clock"]
#: Requests a second of each honest caller.
RATE = 8.0
#: Seconds that a request may take.
LIMIT = 3
#: MiB that a worker may take.
MEMORY = 512
WORKERS = 3


def token(name: str) -> str:
    return f"the-token-of-{name}"


def head(name: str, length: int | None, kind: str = "application/json", where: str = "apply") -> bytes:
    auth = f"authorization: Bearer {token(name)}\r\n" if name else ""
    size = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    return f"POST /v1/{where} HTTP/1.1\r\nhost: x\r\n{auth}content-type: {kind}\r\n{size}\r\n\r\n".encode()


class Load:
    """All the callers of one run.

    :ivar times: seconds of each honest request
    :ivar statuses: of honest requests
    :ivar hostile: statuses of hostile requests, 0 for a connection that was cut
    """

    def __init__(self, path: str, seconds: float, lead: float = 0) -> None:
        self.path = path
        self.begin = time.monotonic() + lead
        self.end = time.monotonic() + seconds
        self.times: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.hostile: Counter[int] = Counter()
        vm = bench.domain(30)
        self.honest = json.dumps({"xml": vm, "profiles": PROFILES}).encode()
        #: As much work as fits into a body: far more than the time limit.
        one = json.dumps({"xml": bench.domain(200), "profiles": PROFILES, "complete": True})
        self.costly = ("[" + ",".join([one] * (1_900_000 // len(one))) + "]").encode()
        self.line = json.dumps({"xml": bench.domain(2000), "profiles": PROFILES}).encode() + b"\n"
        self.large = json.dumps({"xml": bench.domain(2000), "details": True, "profiles": PROFILES}).encode()

    async def run(self, hostile: bool = True) -> None:
        callers: list[Awaitable[None]] = [self._honest(name) for name in HONEST for _ in range(2)]
        for name in HOSTILE if hostile else ():
            callers += [self._again(self._costly, name) for _ in range(4)]
            callers += [self._again(self._leaves, name) for _ in range(2)]
            callers += [self._again(self._does_not_read, name) for _ in range(2)]
            callers += [self._again(self._no_end, name)]
        callers += [self._again(self._stranger, "") for _ in range(200 if hostile else 0)]
        await asyncio.gather(*callers)

    async def _honest(self, name: str) -> None:
        draw = random.Random(name)
        reader = writer = None
        while time.monotonic() < self.end:
            await asyncio.sleep(draw.expovariate(RATE / 2))
            began = time.monotonic()
            status = 0
            try:
                if writer is None:
                    reader, writer = await asyncio.open_unix_connection(self.path)
                writer.write(head(name, len(self.honest)) + self.honest)
                assert reader is not None
                status = await answer(reader)
            except (OSError, asyncio.IncompleteReadError):
                writer = None
            if began >= self.begin:
                self.times.append(time.monotonic() - began)
            self.statuses[status] += 1
        if writer is not None:
            writer.close()

    async def _again(self, what: Callable[[Any, Any, str], Awaitable[int]], name: str) -> None:
        draw = random.Random(f"{what.__name__}{name}{id(what)}")
        while time.monotonic() < self.end:
            status = 0
            writer = None
            with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                async with asyncio.timeout(max(self.end - time.monotonic(), 0.1)):
                    reader, writer = await asyncio.open_unix_connection(self.path)
                    status = await what(reader, writer, name)
            if writer is not None:
                writer.transport.abort()
            self.hostile[status] += 1
            await asyncio.sleep(draw.random())

    async def _costly(self, reader: Any, writer: Any, name: str) -> int:
        writer.write(head(name, len(self.costly)) + self.costly)
        return await answer(reader)

    async def _leaves(self, reader: Any, writer: Any, name: str) -> int:
        writer.write(head(name, None, "application/jsonl"))
        for _ in range(6):
            writer.write(b"%x\r\n%s\r\n" % (len(self.line), self.line))
        await asyncio.sleep(0.3)
        return 0

    async def _does_not_read(self, reader: Any, writer: Any, name: str) -> int:
        writer.transport.pause_reading()
        writer.write(head(name, len(self.large)) + self.large)
        await asyncio.sleep(25)
        return 0

    async def _no_end(self, reader: Any, writer: Any, name: str) -> int:
        writer.write(head(name, 2_000_000))
        for _ in range(30):
            writer.write(b" " * 50_000)
            await asyncio.sleep(1)
        return 0

    async def _stranger(self, reader: Any, writer: Any, name: str) -> int:
        status = 0
        for _ in range(5):
            writer.write(b"GET /icon.svg HTTP/1.1\r\nhost: x\r\n\r\n")
            status = await answer(reader)
            await asyncio.sleep(2)
        return status


async def answer(reader: asyncio.StreamReader) -> int:
    """The status of an answer, which is read."""
    found = await reader.readuntil(b"\r\n\r\n")
    length = int(found.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    await reader.readexactly(length)
    return int(found.split()[1])


def largest(pid: int) -> float:
    """MiB of address space of the largest worker: that is what is limited."""
    found = 0
    for one in measured.tree(pid):
        with suppress(OSError, IndexError):
            limits = Path(f"/proc/{one}/limits").read_text()
            if re.search(rf"^Max address space +{MEMORY << 20} ", limits, re.MULTILINE):
                found = max(found, int(Path(f"/proc/{one}/statm").read_text().split()[0]))
    return found * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(seconds: float, place: str, workers: int = WORKERS, lead: float = 0) -> dict[str, Any]:
    """A run of so many seconds on a service of its own.

    :param lead: seconds at the begin of which times do not count: who is hostile shows in them
    """
    tokens = Path(place, "tokens")
    tokens.write_text("".join(f"{name} {token(name)}\n" for name in (*HONEST, *HOSTILE)))
    tokens.chmod(0o600)
    path = f"{place}/sock"
    words = ["--socket", path, "--token-file", str(tokens), "--profile-dir", str(TOP / "profiles")]
    words += ["--workers", str(workers), "--seconds", str(LIMIT), "--memory", str(MEMORY), "--quiet"]
    log = Path(place, "log")
    with log.open("w") as stream:
        served = subprocess.Popen([sys.executable, str(TOP / "virt-profiled"), *words], stderr=stream)
    try:
        while not os.path.exists(path):
            assert served.poll() is None, log.read_text()
            time.sleep(0.05)
        asyncio.run(Load(path, 4).run(hostile=False))  # all workers are there, and have read their profiles
        alone = Load(path, max(seconds / 5, 4))
        asyncio.run(alone.run(hostile=False))
        load = Load(path, seconds, lead)
        sizes: list[int] = []
        workers_sizes: list[int] = []

        async def run() -> None:
            watching = asyncio.create_task(watch())
            await load.run()
            watching.cancel()

        async def watch() -> None:
            while True:
                await asyncio.sleep(max(seconds / 60, 0.5))
                with suppress(OSError):
                    sizes.append(round(await asyncio.to_thread(measured.memory, served.pid)))
                    each = await asyncio.to_thread(largest, served.pid)
                    workers_sizes.append(round(each))

        asyncio.run(run())
        metrics = asyncio.run(_metrics(path))
    finally:
        served.terminate()
        served.wait(30)
    return {
        "requests": len(load.times),
        "statuses": dict(load.statuses),
        **{f"{name}_ms": figure for name, figure in quantiles(load.times).items()},
        **{f"alone_{name}_ms": figure for name, figure in quantiles(alone.times).items()},
        "hostile": dict(load.hostile),
        "memory_mib": sizes,
        "largest_mib": max(workers_sizes),
        "log_bytes": log.stat().st_size,
        "metrics": metrics,
    }


def quantiles(times: list[float]) -> dict[str, int]:
    """Milliseconds."""
    ordered = sorted(times)
    at = {"p50": len(ordered) // 2, "p99": int(len(ordered) * 0.99), "max": len(ordered) - 1}
    return {name: round(ordered[index] * 1000) for name, index in at.items()}


async def _metrics(path: str) -> dict[str, float]:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(f"GET /metrics HTTP/1.0\r\nauthorization: Bearer {token('alice')}\r\n\r\n".encode())
    text = (await reader.read()).decode()
    writer.close()
    rows = (line.split() for line in text.splitlines() if line.startswith("virt_profile_w"))
    return {name: float(value) for name, value in rows}


def main() -> None:
    logging.getLogger("asyncio").disabled = True  # of connections that the service cut
    parser = argparse.ArgumentParser(description="honest callers beside hostile ones")
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--workers", type=int, default=WORKERS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        print(json.dumps(measure(options.seconds, place, options.workers), indent=1))


if __name__ == "__main__":
    main()
