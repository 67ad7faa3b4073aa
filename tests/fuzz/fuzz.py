# SPDX-License-Identifier: GPL-2.0-or-later
"""Fuzz the targets with a coverage guide (atheris): no crash, no hang over 2 s, no more than 300 MB.

Begins with the corpus in tests/fuzz/corpus and what earlier runs found in .cache/fuzz; what fails
is written to .cache/fuzz/findings, and belongs into the corpus once it is mended.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
CORPUS = HERE / "corpus"
FOUND = TOP / ".cache" / "fuzz"
TARGETS = ("record", "profile", "xpath", "document")
#: Seconds of processor time, and MB over what the process has before the first input.
MAX_SECONDS = 2.0
MAX_MEMORY = 300


def run(name: str, arguments: list[str]) -> None:
    """Fuzz one target in this process, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=["virtProfile"]):
        import targets

    target = targets.TARGETS[name]
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def one(data: bytes) -> None:
        start = time.process_time()
        target(data)
        took = time.process_time() - start
        if took > MAX_SECONDS:
            raise TimeoutError(f"{took:.1f} s of processor time")
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) // 1024
        if grown > MAX_MEMORY:
            raise MemoryError(f"{grown} MB")

    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description="fuzz records, profiles, expressions and documents")
    parser.add_argument("seconds", type=int, nargs="?", default=1800, help="of all targets together")
    parser.add_argument("--target", choices=TARGETS, action="append")
    options = parser.parse_args()
    chosen = options.target or list(TARGETS)
    failed = []
    for name in chosen:
        kept, findings = FOUND / name, FOUND / "findings"
        for directory in (kept, findings, CORPUS / name):
            directory.mkdir(parents=True, exist_ok=True)
        print(f"{name}: {options.seconds // len(chosen)} s", flush=True)
        command = [sys.executable, __file__, "--child", name]
        command += [
            f"-max_total_time={max(1, options.seconds // len(chosen))}",
            "-timeout=60",
            "-max_len=4096",
        ]
        command += ["-rss_limit_mb=2048", "-print_final_stats=1", f"-artifact_prefix={findings}/{name}-"]
        environment = {**os.environ, "PYTHONPATH": f"{TOP}{os.pathsep}{HERE}"}
        done = subprocess.run(
            [*command, str(kept), str(CORPUS / name)], env=environment, capture_output=True, text=True
        )
        stats = [line for line in done.stderr.splitlines() if line.startswith("stat::")]
        print("\n".join(stats), flush=True)
        if done.returncode:
            print("\n".join([*done.stdout.splitlines()[-40:], *done.stderr.splitlines()[-10:]]), flush=True)
            failed.append(name)
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        run(sys.argv[2], sys.argv[3:])
    sys.exit(main())
