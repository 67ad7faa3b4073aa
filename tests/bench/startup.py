# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole process: one profile on a file, XML out. What it costs, and which imports it pays for.

The CPU's time, the least of many runs: on a busy machine only that can be compared. Python alone and
Python with lxml stand beside it, as nobody can be below them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[2]
#: What a process may take, in milliseconds.
GOAL = 55
#: Modules that are listed.
LISTED = 12
_ROW = re.compile(r"import time: +([0-9]+) \| +([0-9]+) \| ( *)(\S+)")


def startup(domain: str, profile: str, runs: int) -> dict[str, Any]:
    """CPU milliseconds of a process, of Python and of Python with lxml; the modules that it imports.

    :param profile: the body of the one that is applied
    """
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "b0.xml").write_text(f"<profile name='b0'>{profile}</profile>")
        path = Path(directory, "domain")
        path.write_text(domain)
        words = [str(TOP / "virt-profile"), "--input", str(path), "--print-xml", "-q"]
        words += ["--profile-dir", directory, "--profile", "b0"]
        sides = {"process_ms": words, "python_ms": ["-c", "pass"], "lxml_ms": ["-c", "import lxml.etree"]}
        times: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(runs + 1):  # the first writes bytecode
            for name, command in sides.items():
                times[name].append(_cpu_ms([sys.executable, *command]))
        listed = subprocess.run(
            [sys.executable, "-X", "importtime", *words],
            env=_environment(),
            capture_output=True,
            text=True,
            check=True,
        ).stderr
    imports = [(int(own) / 1e3, module) for own, _, _, module in _ROW.findall(listed)]
    ours = [row for row in imports if row[1].partition(".")[0] == "virtProfile"]
    imports.sort(reverse=True)
    return {
        **{name: min(found[1:]) for name, found in times.items()},
        "goal_ms": GOAL,
        "modules": len(imports),
        "our_modules": len(ours),
        "our_imports_ms": sum(own for own, _ in ours),
        "imports": {module: own for own, module in imports[:LISTED]},
    }


def _environment() -> dict[str, str]:
    """An installed program has its bytecode."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _cpu_ms(command: list[str]) -> float:
    silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    child = os.posix_spawn(command[0], command, _environment(), file_actions=silent)
    _, status, used = os.wait4(child, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return (used.ru_utime + used.ru_stime) * 1e3
