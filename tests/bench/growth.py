# SPDX-License-Identifier: GPL-2.0-or-later
"""What each shipped profile costs at 100, 1,000 and 10,000 devices of the kind that it acts on.

Counted in lines of Python that are run, expressions by the elements that they may come to: the same on a
busy machine. Beside it the memory: the peak of a process that applies, applies again, asks for the status and
takes back. ``--record`` writes ``growth.json``, of which docs/scale.md and its picture are made; without it
100 and 1,000 devices are counted, and what a device costs more at 1,000 is held to what was recorded.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import multiprocessing
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE.parent.parent))

import library  # noqa: E402
from counting import work  # noqa: E402
from manydevices import KINDS, OTHERS, domain, mixed  # noqa: E402

import virtProfile  # noqa: E402

RECORDED = HERE / "growth.json"
SIZES = (100, 1_000, 10_000)
OPERATIONS = ("apply", "again", "status", "unapply")
#: Cost at ten times as many devices is 10 to the power of this; more is a fault.
STEEPEST = 1.15
#: The same from 100 to 1,000, where one more round may come in between: a SCSI controller has 255 targets.
STEEPEST_ON_FEW = 1.25
#: How far a ratio may be behind the recorded one.
MARGIN = 0.15
#: Devices of each kind on which is tried what a profile acts on.
_TRIED = (3, 12)
#: What completes whole guests, in the place of a profile.
COMPLETE = "--complete"
_COMPLETED = ("virtio disks", "sata disks", "NICs", "USB inputs", "channels")
#: Operation -> size -> lines; and "memory" -> size -> bytes.
Costs = dict[str, dict[str, int]]


def text_of(kind: str, count: int) -> str:
    return mixed(count) if kind == "mixed" else domain(kind, count)


def options(name: str) -> dict[str, Any]:
    """What `virtProfile.apply` is called with besides the VM."""
    if name == COMPLETE:
        return {"profiles": [], "complete": True}
    known = {param.name for param in library.profiles()[name].params}
    params = (
        {"drivers": "yes"} if "drivers" in known else {}
    )  # else the guest's OS decides whether anything is done
    return {"profiles": [library.wish(name, priority=100, params=params)]}


def kind_of(name: str) -> str:
    """The kind of things of which the profile changes most; "mixed" where it changes none of them."""
    best, most = "mixed", _TRIED[1] - _TRIED[0] - 1
    for kind in (*KINDS, *OTHERS):
        try:
            few, many = (_changes(name, kind, count) for count in _TRIED)
        except virtProfile.ProfileError:
            continue
        if many - few > most:
            best, most = kind, many - few
    return best


def _changes(name: str, kind: str, count: int) -> int:
    given: dict[str, Any] = {"store": library.store(), "context": library.context("win11")}
    return len(virtProfile.apply(text_of(kind, count), **options(name), **given).changes)


def rows() -> list[tuple[str, str]]:
    """(profile, kind) of all that is counted."""
    found = []
    for name in library.NAMES:
        kind = kind_of(name)
        found += [(name, kind)] + [(name, "mixed")] * (kind != "mixed")
    return found + [(COMPLETE, kind) for kind in _COMPLETED]


def operations(name: str, kind: str, count: int) -> dict[str, Callable[[], object]]:
    """What is counted: an apply, a second one, the status, and taking back."""
    store, context = library.store(), library.context("win11")
    given: dict[str, Any] = {"store": store, "context": context}
    text = text_of(kind, count)
    applied = text

    def apply() -> None:
        nonlocal applied
        applied = virtProfile.apply(text, **options(name), **given).xml

    found: dict[str, Callable[[], object]] = {"apply": apply}
    if name != COMPLETE:
        found |= {
            "again": lambda: virtProfile.apply(applied, **options(name), **given).xml,
            "status": lambda: virtProfile.status(applied, **given),
            "unapply": lambda: virtProfile.unapply(applied, "all", **given).xml,
        }
    return found


def cost(row: tuple[str, str, int]) -> tuple[str, str, int, dict[str, int] | str]:
    """What one size costs, each operation counted once; the error where it cannot be."""
    name, kind, count = row
    try:
        for run in operations(name, kind, 2).values():  # what is kept for the process
            run()
        gc.collect()
        before = _resident()
        found = {operation: work(run) for operation, run in operations(name, kind, count).items()}
        found["memory"] = max(_peak() - before, 0)
    except virtProfile.ProfileError as error:
        return name, kind, count, str(error)
    return name, kind, count, found


def _resident() -> int:
    """Bytes that the process has; from here on its peak is counted anew."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def measured(
    sizes: Sequence[int], jobs: int, only: Sequence[str], keep: Callable[[dict[str, dict[str, Costs]]], None]
) -> dict[str, dict[str, Costs]]:
    """Profile -> kind -> what it costs; each size in a process of its own, what is cheap first.

    :param only: the profiles that are counted; none: all
    :param keep: is given all that is known, time and again
    """
    wanted = [row for row in rows() if not only or row[0] in only]
    found: dict[str, dict[str, Costs]] = {}
    fork = multiprocessing.get_context("fork")
    for size in sorted(sizes):
        wanted.sort(key=lambda row: max(found.get(row[0], {}).get(row[1], {}).get("apply", {0: 0}).values()))
        with fork.Pool(jobs, maxtasksperchild=1) as pool:
            for name, kind, _, costs in pool.imap_unordered(cost, [(*row, size) for row in wanted]):
                if isinstance(costs, str):
                    print(f"  {name} on {size:,} {kind}: {costs.splitlines()[0]}", flush=True)
                    continue
                known = found.setdefault(name, {}).setdefault(kind, {})
                for operation, lines in costs.items():
                    known.setdefault(operation, {})[str(size)] = lines
                keep(found)
    return found


def write(found: dict[str, dict[str, Costs]]) -> None:
    """Keep what was counted, in the order of the names."""
    ordered = {
        name: dict(sorted(found[name].items())) for name in (*library.NAMES, COMPLETE) if name in found
    }
    RECORDED.write_text(json.dumps({"host": host(), "profiles": ordered}, indent=0) + "\n")


def exponent(costs: dict[str, int], sizes: tuple[int, int]) -> float:
    """Ten times as many devices cost 10 to the power of this."""
    few, many = (costs[str(size)] for size in sizes)
    return math.log(many / few) / math.log(sizes[1] / sizes[0])


def steep(found: dict[str, dict[str, Costs]], sizes: tuple[int, int]) -> list[str]:
    """What grows faster than the devices, each as a line."""
    most = STEEPEST_ON_FEW if sizes[1] <= 1_000 else STEEPEST
    return [
        f"{name} on {kind}, {operation}: {grown:.2f}"
        for name, kinds in found.items()
        for kind, costs in kinds.items()
        for operation, by_size in costs.items()
        if operation in OPERATIONS and {str(size) for size in sizes} <= set(by_size)
        if (grown := exponent(by_size, sizes)) > most
    ]


def behind(found: dict[str, dict[str, Costs]], known: dict[str, dict[str, Costs]]) -> list[str]:
    """Where 1,000 devices cost more beside 100 than was recorded, by more than `MARGIN`, each as a line."""
    slower = []
    for name, kinds in found.items():
        for kind, costs in kinds.items():
            recorded = known.get(name, {}).get(kind, {})
            for operation in OPERATIONS:
                sizes = [row.get(operation, {}) for row in (costs, recorded)]
                if not all({"100", "1000"} <= set(by_size) for by_size in sizes):
                    continue  # refused with so many devices
                here, there = (by_size["1000"] / by_size["100"] for by_size in sizes)
                if here > there * (1 + MARGIN):
                    slower.append(f"{name} on {kind}, {operation}: {here:.1f}, {there:.1f} was recorded")
    return slower


def host() -> dict[str, str]:
    """What the figures are of."""
    from lxml import etree

    model = next(
        (row.partition(":")[2].strip() for row in Path("/proc/cpuinfo").read_text().splitlines()
         if row.startswith("model name")),
        platform.machine(),
    )  # fmt: skip
    return {
        "python": platform.python_version(),
        "lxml": etree.__version__,
        "libxml2": ".".join(map(str, etree.LIBXML_VERSION)),
        "cpu": model,
        "system": platform.platform(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="cost by the number of devices, for each shipped profile")
    parser.add_argument(
        "--record", action="store_true", help=f"write {RECORDED.name} anew, with 10,000 devices"
    )
    parser.add_argument(
        "--only", nargs="+", default=(), help="profiles, the others stay as they are recorded"
    )
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    library.store().listing()
    if given.record:
        before = json.loads(RECORDED.read_text())["profiles"] if given.only else {}
        found = measured(SIZES, given.jobs, given.only, lambda found: write({**before, **found}))
        faults = steep(found, SIZES[1:])
    else:
        found = measured(SIZES[:2], given.jobs, given.only, lambda found: None)
        recorded = json.loads(RECORDED.read_text())
        faults = steep(found, SIZES[:2])
        same = recorded["host"]["python"].rpartition(".")[0] == platform.python_version().rpartition(".")[0]
        if same:  # other versions run other lines
            faults += behind(found, recorded["profiles"])
    print(f"growth with the devices: {len(found)} profiles, {sum(map(len, found.values()))} kinds")
    if faults:
        raise SystemExit("grows faster than the devices:\n  " + "\n  ".join(faults))


if __name__ == "__main__":
    main()
