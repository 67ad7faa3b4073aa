# SPDX-License-Identifier: GPL-2.0-or-later
"""Fleets of 1,000 and 10,000 VMs: one call of the program for all of them.

``./dev bench fleet`` writes what it finds to ``fleet.json``, of which docs/scale.md is made. The VMs are
libvirt's own test documents (``./dev corpus``) in turn, each with a name of its own. Counted are an apply of
three profiles by one process and by two, the status of VMs that have them, and an audit by the shipped rules: seconds, CPU seconds (on a
busy machine only they compare) and the memory of the largest process. Beside them a process for each VM,
of which a few are measured.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(TOP / "tests"))

import corpus  # noqa: E402
from growth import host  # noqa: E402

RECORDED = HERE / "fleet.json"
PROFILES = ["--profile", "rng", "--profile", "fast-disk", "--profile", "guest-agent"]
SIZES = (1_000, 10_000)
JOBS = (1, 2)
#: VMs that get a process of their own.
SINGLE = 20
#: Ten times as many VMs may cost 10 to the power of this.
STEEPEST = 1.1


#: Starts the program from a small process: a child's peak is at least that of the process that it is forked from.
STARTER = """
import json, os, resource, sys
null = os.open(os.devnull, os.O_WRONLY)
streams = [(os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, null, 2)]
_, status = os.waitpid(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=streams), 0)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""


def timed(words: list[str]) -> dict[str, float]:
    """Seconds, CPU seconds and the largest process's MiB of a call of the program."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-S", "-c", STARTER, sys.executable, str(TOP / "virt-profile"), *words],
        capture_output=True,
        check=True,
        text=True,
    )
    code, cpu, mib = json.loads(done.stdout)
    if code not in (0, 1, 3, 4):  # some documents are made to fail
        raise SystemExit(f"virt-profile {' '.join(words)}: exit status {code}")
    return {"seconds": time.monotonic() - start, "cpu": cpu, "mib": mib}


def fleet(place: Path, count: int) -> list[Path]:
    """So many VMs as files."""
    documents = corpus.documents()
    paths = []
    for number in range(count):
        _, text = documents[number % len(documents)]
        named = re.sub("<name>[^<]*</name>", f"<name>vp-{number}</name>", text, count=1)
        paths.append(place / f"{number:05}.xml")
        paths[-1].write_text(named)
    return paths


def measured(count: int) -> dict[str, dict[str, dict[str, float]]]:
    """Operation -> processes -> what it costs on a fleet of that size."""
    found: dict[str, dict[str, dict[str, float]]] = {"apply": {}, "status": {}, "audit": {}, "single": {}}
    with tempfile.TemporaryDirectory() as directory:
        given, made = Path(directory, "given"), Path(directory, "made")
        given.mkdir()
        paths = fleet(given, count)
        for jobs in JOBS:
            made.mkdir(exist_ok=True)
            many = ["--jobs", str(jobs), "--report", f"{directory}/report{jobs}"]
            words = ["--input", str(given), *PROFILES, "--output", str(made), *many]
            found["apply"][str(jobs)] = timed(words)
        found["status"]["1"] = timed(["--input", str(made), "--status"])
        found["audit"]["1"] = timed(["--input", str(given), "--audit"])
        each = [timed(["--input", str(path), *PROFILES]) for path in paths[:: max(count // SINGLE, 1)]]
        found["single"]["1"] = {
            key: statistics.mean(row[key] for row in each) * (1 if key == "mib" else count) for key in each[0]
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="what fleets cost")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    given = parser.parse_args()
    found = {str(count): measured(count) for count in given.sizes}
    faults = []
    few, many = (found[str(size)] for size in (min(given.sizes), max(given.sizes)))
    for name, by_jobs in few.items():
        for jobs, row in by_jobs.items():
            grown = math.log(many[name][jobs]["cpu"] / row["cpu"])
            if few is not many and grown / math.log(max(given.sizes) / min(given.sizes)) > STEEPEST:
                faults.append(f"{name} by {jobs}: {row['cpu']:.1f} s, then {many[name][jobs]['cpu']:.1f} s")
    for size, rows in found.items():
        print(f"{int(size):,} VMs")
        for name, by_jobs in rows.items():
            for jobs, row in by_jobs.items():
                rate = int(size) / row["seconds"]
                print(
                    f"  {name} by {jobs}: {row['seconds']:.1f} s, {row['cpu']:.1f} s of CPU,"
                    f" {rate:.0f} VMs/s, {row['mib']:.0f} MiB"
                )
    if sorted(given.sizes) == sorted(SIZES):
        RECORDED.write_text(json.dumps({"host": host(), "sizes": found}, indent=1) + "\n")
    if faults:
        raise SystemExit("grows faster than the fleet:\n  " + "\n  ".join(faults))


if __name__ == "__main__":
    main()
