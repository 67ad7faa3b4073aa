# SPDX-License-Identifier: GPL-2.0-or-later
"""The service under load: processor time beside the apply in process, throughput, p99, memory.

A 30-device VM with ten profiles, 2 workers, 32 connections on a unix socket. Processor time is
that of all the service's processes, dead ones included, as the kernel counts it. The apply in
process and the service are measured in turn, so that a drift of the machine meets both.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
sys.path.insert(0, str(TOP))
sys.path.insert(0, str(HERE))

import bench  # noqa: E402

from virtProfile.engine.flow import apply  # noqa: E402
from virtProfile.language.search_path import search_path  # noqa: E402
from virtProfile.language.store import ProfileStore  # noqa: E402

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
NAMES = [f"b{number}" for number in range(len(bench.PROFILES))]
CONNECTIONS = 32


def in_process(place: str, workers: int, runs: int) -> float:
    """Milliseconds of processor time of one apply, in as many processes at once as there are workers.

    At once, because what processes do to each other's caches is not the service's doing.
    """
    words = [sys.executable, __file__, "--in-process", place, "--requests", str(runs)]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(workers)]
    return statistics.mean(float(one.communicate()[0]) for one in running)


def applies(place: str, runs: int) -> float:
    """The same, of one process: this one."""
    store = ProfileStore([place, *search_path()])
    xml = bench.domain(30)
    gc.disable()
    for _ in range(50):
        apply(xml, NAMES, store=store)
    before = time.process_time()
    for _ in range(runs):
        apply(xml, NAMES, store=store)
    return (time.process_time() - before) / runs * 1000


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended since
                found += [int(word) for word in task.read_text().split()]
    return found


def cpu(pid: int) -> float:
    """Seconds of processor time of a tree, with those of its dead."""
    total = 0
    for one in tree(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # its time is its parent's then
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += sum(int(word) for word in fields[11:15])
    return total / TICK


def memory(pid: int) -> float:
    """MiB that a tree has for itself (what processes share counts in parts)."""
    total = 0
    for one in tree(pid):
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue  # a worker that ended since, or a child of one
        for line in lines:
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


class Load:
    """Connections that ask one after the other, until all requests are done."""

    def __init__(self, path: str, body: bytes, count: int) -> None:
        head = f"POST /v1/apply HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        self.request = head.encode() + body
        self.path = path
        self.left = count
        self.times: list[float] = []
        self.wrong: list[bytes] = []

    async def run(self) -> float:
        began = time.monotonic()
        await asyncio.gather(*(self._connection() for _ in range(CONNECTIONS)))
        return time.monotonic() - began

    async def _connection(self) -> None:
        reader, writer = await asyncio.open_unix_connection(self.path)
        while self.left > 0:
            self.left -= 1
            began = time.monotonic()
            writer.write(self.request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            self.times.append(time.monotonic() - began)
            if not head.startswith(b"HTTP/1.1 200"):
                self.wrong.append(body)
        writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="the service under load")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--in-process", metavar="DIR", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.in_process:
        print(applies(options.in_process, options.requests))
        return
    with tempfile.TemporaryDirectory() as place:
        for name, body in zip(NAMES, bench.PROFILES, strict=True):
            Path(place, f"{name}.xml").write_text(f"<profile name='{name}'>{body}</profile>")
        found = measure(options, place)
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print(
        f"{found['requests']} requests, {options.workers} workers, {CONNECTIONS} connections; 30 devices, 10 profiles"
    )
    print(f"  ms of CPU: apply in process {found['in_process_ms']:.2f}, a request {found['cpu_ms']:.2f}")
    print(f"  more, median of ten pairs in turn: {found['more_ms']:+.2f} (wanted: at most +3)")
    print(f"  the pairs: {found['in_process_runs']} {found['cpu_runs']}")
    print(
        f"  {found['rate']:.0f} requests/s; p50 {found['p50_ms']:.0f} ms, p99 {found['p99_ms']:.0f} ms; {found['failed']} failed"
    )
    print(f"  memory of all its processes in MiB, on the way: {found['memory_mib']}")


def measure(options: argparse.Namespace, place: str) -> dict[str, object]:
    body = json.dumps({"xml": bench.domain(30), "profiles": NAMES}).encode()
    path = f"{place}/sock"
    words = ["--socket", path, "--profile-dir", place, "--workers", str(options.workers), "--quiet"]
    served = subprocess.Popen([sys.executable, str(TOP / "virt-profiled"), *words], stderr=subprocess.DEVNULL)
    try:
        while not os.path.exists(path):
            time.sleep(0.05)
        asyncio.run(Load(path, body, 200).run())
        alone: list[float] = []
        served_ms: list[float] = []
        times: list[float] = []
        seconds = 0.0
        sizes = [round(memory(served.pid))]
        wrong = 0
        step = max(options.requests // 10, 1)
        for _ in range(10):
            alone.append(in_process(place, options.workers, 200))
            load = Load(path, body, step)
            before = cpu(served.pid)
            seconds += asyncio.run(load.run())
            served_ms.append((cpu(served.pid) - before) / len(load.times) * 1000)
            times += load.times
            wrong += len(load.wrong)
            sizes.append(round(memory(served.pid)))
    finally:
        served.terminate()
        served.wait()
    times.sort()
    more = statistics.median(one - base for one, base in zip(served_ms, alone, strict=True))
    return {
        "requests": len(times),
        "in_process_ms": statistics.median(alone),
        "cpu_ms": statistics.median(served_ms),
        "more_ms": more,
        "in_process_runs": [round(one, 2) for one in alone],
        "cpu_runs": [round(one, 2) for one in served_ms],
        "rate": len(times) / seconds,
        "p50_ms": times[len(times) // 2] * 1000,
        "p99_ms": times[int(len(times) * 0.99)] * 1000,
        "failed": wrong,
        "memory_mib": sizes,
    }


if __name__ == "__main__":
    main()
