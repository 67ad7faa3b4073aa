# SPDX-License-Identifier: GPL-2.0-or-later
"""Measures fleets: one call against one process for each VM, and two processes against one.

``python tests/bench/fleet.py`` wants libvirt's documents (``./dev corpus``). CPU seconds stand
beside the clock's: on a busy machine only they compare.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests"))

import corpus  # noqa: E402

WORDS = ["--profile", "rng", "--profile", "fast-disk", "--profile", "guest-agent"]
RUNS = 5
SINGLE = 40


def timed(words: list[str]) -> tuple[float, float]:
    """(seconds, CPU seconds) of a call of the program."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    subprocess.run(
        [sys.executable, str(TOP / "virt-profile"), *words, *WORDS], capture_output=True, check=False
    )
    seconds = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    documents = corpus.documents()
    with tempfile.TemporaryDirectory() as place:
        for number, (_, text) in enumerate(documents):
            Path(place, f"{number:04}.xml").write_text(text)
        times: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
        for run in range(RUNS):
            for jobs in times:
                report = f"{place}/report{run}.{jobs}"
                times[jobs].append(timed(["--input", place, "--jobs", str(jobs), "--report", report]))
        step = len(documents) // SINGLE
        single = [timed(["--input", f"{place}/{number * step:04}.xml"]) for number in range(SINGLE)]
    print(f"{len(documents)} VMs, median of {RUNS}")
    wall = {jobs: statistics.median(row[0] for row in rows) for jobs, rows in times.items()}
    work = {jobs: statistics.median(row[1] for row in rows) for jobs, rows in times.items()}
    for jobs in times:
        rate = len(documents) / wall[jobs]
        print(f"{jobs} process(es): {wall[jobs]:.2f} s, {work[jobs]:.2f} s of CPU, {rate:.0f} VMs/s")
    print(f"two against one: {wall[1] / wall[2]:.2f}x")
    each = statistics.mean(row[0] for row in single) * len(documents)
    cpu = statistics.mean(row[1] for row in single) * len(documents)
    print(f"one process for each VM: {each:.0f} s, {cpu:.0f} s of CPU (from {SINGLE} of them)")
    print(f"one call against them: {each / wall[2]:.0f}x, {cpu / work[2]:.0f}x in CPU")


if __name__ == "__main__":
    main()
