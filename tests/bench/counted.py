# SPDX-License-Identifier: GPL-2.0-or-later
"""What `apply` costs in instructions, beside virtinst and by size, held to what was recorded.

Times say little on a machine that does other things too. So valgrind counts the instructions of a
call: the same to a thousandth in each run. ``tests/bench/ratios.json`` has the ratios that were
recorded with ``--record``, and the versions they are good for; a ratio that is more than 15 % behind
makes the program fail.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
RECORDED = HERE / "ratios.json"
#: How far a ratio may be behind the recorded one.
MARGIN = 0.15
_COUNT = re.compile(r"I +refs: +([0-9,]+)")

#: One side: what is called, devices, profiles, and is a record written?
Side = tuple[str, int, int, bool]
VIRTINST_30: Side = ("virtinst", 30, 0, False)
VIRTINST_200: Side = ("virtinst", 200, 0, False)
#: Ratio -> its two sides, and what it is divided by besides.
RATIOS: dict[str, tuple[Side, Side, int]] = {
    "30 devices, 1 profile, record, beside virtinst": (("apply", 30, 1, True), VIRTINST_30, 1),
    "30 devices, 10 profiles, beside virtinst": (("apply", 30, 10, False), VIRTINST_30, 1),
    "30 devices, 10 profiles, record, beside virtinst": (("apply", 30, 10, True), VIRTINST_30, 1),
    "200 devices, 10 profiles, record, beside virtinst": (("apply", 200, 10, True), VIRTINST_200, 1),
    "a device of 1,000 beside one of 100, 10 profiles, record": (
        ("apply", 1000, 10, True),
        ("apply", 100, 10, True),
        10,
    ),
}


def work(side: Side, calls: int) -> None:
    """Do one side so many times; runs under valgrind."""
    import bench

    kind, devices, count, record = side
    text = bench.domain(devices)
    if kind == "virtinst":
        edit = bench._virtinst()
        assert edit is not None, "there is no virtinst"
        run: Callable[[], object] = lambda: edit(text)  # noqa: E731
    else:
        import virtProfile

        directory = tempfile.mkdtemp()
        for number, body in enumerate(bench.PROFILES):
            Path(directory, f"b{number}.xml").write_text(f"<profile name='b{number}'>{body}</profile>")
        store = virtProfile.ProfileStore([directory])
        names = [f"b{number}" for number in range(count)]
        run = lambda: virtProfile.apply(text, names, store=store, record=record)  # noqa: E731
    gc.collect()
    gc.disable()
    for _ in range(calls):
        run()
    if kind != "virtinst":
        shutil.rmtree(directory)


def instructions(side: Side) -> float:
    """Instructions of one call: of a process that makes some more, less one that makes some."""
    few, more = (2, 8) if side[1] < 1000 else (1, 2)
    return (_counted(side, more) - _counted(side, few)) / (more - few)


def _counted(side: Side, calls: int) -> int:
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    command += [sys.executable, __file__, "--work", json.dumps(side), "--calls", str(calls)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=False
    )
    found = _COUNT.search(done.stderr)
    if done.returncode or found is None:
        raise SystemExit(f"valgrind failed on {side}: {done.stderr[-600:]}")
    return int(found[1].replace(",", ""))


def versions() -> dict[str, str]:
    """Of what the ratios are of: with others they say nothing."""
    from lxml import etree

    sys.path.insert(0, "/usr/share/virt-manager")
    try:
        from virtinst.buildconfig import BuildConfig
    finally:
        sys.path.remove("/usr/share/virt-manager")
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "lxml": etree.__version__,
        "virtinst": str(BuildConfig.version),
        "machine": platform.machine(),
    }


def behind(ratios: dict[str, float], recorded: dict[str, float]) -> list[str]:
    """The ratios that are more than `MARGIN` behind, each as a line."""
    return [
        f"{name}: {ratios[name]:.2f}, {known:.2f} was recorded"
        for name, known in recorded.items()
        if name in ratios and ratios[name] > known * (1 + MARGIN)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="instructions of apply, as ratios")
    parser.add_argument("--record", action="store_true", help=f"write {RECORDED.name} anew")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--calls", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        kind, devices, count, record = json.loads(options.work)
        work((kind, devices, count, record), options.calls)
        return
    if shutil.which("valgrind") is None:
        print("instructions are not counted: there is no valgrind")
        return
    # What is kept in files after the first call (the schema, bytecode) is made before anything is counted.
    first_of_all = [sys.executable, __file__, "--work", json.dumps(("apply", 30, 10, True))]
    subprocess.run(first_of_all, check=True)
    sides = list(dict.fromkeys(side for first, other, _ in RATIOS.values() for side in (first, other)))
    with ThreadPoolExecutor(2) as pool:
        costs = dict(zip(sides, pool.map(instructions, sides), strict=True))
    ratios = {name: costs[first] / costs[other] / times for name, (first, other, times) in RATIOS.items()}
    print("instructions of a call (valgrind): apply beside virtinst's parse, edit and get_xml, and by size")
    for name, ratio in ratios.items():
        first = RATIOS[name][0]
        print(f"  {name}: {ratio:.2f} ({costs[first] / 1e6:.1f} million)")
    here = versions()
    if options.record:
        rounded = {name: round(ratio, 3) for name, ratio in ratios.items()}
        RECORDED.write_text(json.dumps({"versions": here, "ratios": rounded}, indent=1) + "\n")
        return
    recorded = json.loads(RECORDED.read_text())
    if recorded["versions"] != here:
        print(f"  not judged: {RECORDED.name} is of {recorded['versions']}, here is {here}")
        return
    slower = behind(ratios, recorded["ratios"])
    if slower:
        raise SystemExit("slower than recorded:\n  " + "\n  ".join(slower))


if __name__ == "__main__":
    main()
