#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""virtinst's own tests, run on the plain package and through ours with the hooks on: each must end alike.

    tests/upstream.py SOURCE [VIRTINST...]

SOURCE is an unpacked virt-manager; its tests run with its own virtinst and with the
directories named. What fails must fail with the same words. Exit status 1 where one test differs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

TOP = Path(__file__).resolve().parent.parent
PYTHON = "/usr/bin/python3"

#: What no two runs say alike: times with process numbers, addresses of objects, what is drawn by lot
#: (and the size of an archive with it).
SHIFTING = re.compile(
    r"\[\w{3}, \d\d \w{3} \d{4} [\d:]{8} [\w-]+ \d+\]|0x[0-9a-f]+|\b\d{12,}\b|(?<=root login is: )\w{16}"
    r"|(?<=virtinst-)\w{8}(?=-)|(?<=-script)\w{8}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<=<capacity>)\d{4}(?=<)"
)
#: What virtinst tells developers, also of threads that race.
DEBUG = re.compile(r"^# DEBUG .*\n", re.MULTILINE)

#: By test: how it ended, and with what words.
Outcomes = dict[str, tuple[str, str]]


class Broken(Exception):
    """The tests could not be run at all."""


def prepare(source: Path, place: Path) -> None:
    """A copy of all that the tests need but virtinst, fit for a libvirt older than they want."""
    for name in ("tests", "data", "man", "scripts"):
        if (source / name).is_dir():
            shutil.copytree(source / name, place / name, symlinks=True)
    for program in source.glob("virt-*"):
        if program.is_file():
            shutil.copy(program, place)
    drivers = [*(place / "tests").rglob("testdriver.xml")]
    for driver in drivers:
        if not driver.is_symlink():
            driver.write_text(for_old_libvirt(driver.read_text(encoding="utf-8")), encoding="utf-8")


def for_old_libvirt(text: str) -> str:
    """The test driver's file without what libvirt before 10 refuses, which would skip a third of the tests.

    Beside firmware that libvirt is to choose there may be no loader and no template then.
    """

    def eased(found: re.Match[str]) -> str:
        block = re.sub(r"\s*<loader[^>]*>[^<]*</loader>", "", found[0])
        return re.sub(r"(<nvram[^>]*?) template=('[^']*'|\"[^\"]*\")", r"\1", block)

    return re.sub(r"<os firmware=.*?</os>", eased, text, flags=re.DOTALL)


def run(place: Path, virtinst: Path, overlay: bool) -> tuple[Outcomes, int]:
    """Run them; gives the outcomes and how often our hooks were called.

    :raises Broken: no test ran
    """
    report = place / "report.xml"
    report.unlink(missing_ok=True)
    environ = {
        **os.environ,
        "PYTHONDONTWRITEBYTECODE": "1",
        "VIRTINST_TEST_SUITE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": f"{TOP}:{TOP / 'tests'}" if overlay else str(virtinst.parent),
    }
    command = [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    if overlay:
        environ["VIRT_PROFILE_VIRTINST"] = str(virtinst)
        command += ["-p", "upstreamhooks"]
    done = subprocess.run([*command, "tests"], cwd=place, env=environ, capture_output=True, text=True)
    if not report.is_file():
        raise Broken(done.stdout[-2000:] + done.stderr[-2000:])
    calls = re.search(r"^hooked calls: (\d+)$", done.stdout, re.MULTILINE)
    return outcomes(report, (str(place), str(TOP), str(virtinst))), int(calls[1]) if calls else 0


def outcomes(report: Path, places: tuple[str, ...]) -> Outcomes:
    """Of pytest's report, what it says without what no two runs say alike."""
    found: Outcomes = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        for kind in ("failure", "error", "skipped"):
            told = case.find(kind)
            if told is not None:
                words = told.get("message", "")
                for one in places:
                    words = words.replace(one, "")
                found[name] = (kind, DEBUG.sub("", SHIFTING.sub("#", words)))
                break
        else:
            found[name] = ("passed", "")
    return found


def differing(plain: Outcomes, ours: Outcomes) -> list[str]:
    """The tests that end otherwise, in words."""
    lines = []
    for name in sorted({*plain, *ours}):
        before, after = plain.get(name, ("missing", "")), ours.get(name, ("missing", ""))
        if before != after:
            lines.append(f"{name}: {before[0]} -> {after[0]}\n  {_around(before[1], after[1])}")
    return lines


def _around(before: str, after: str) -> str:
    """Both texts from just before where they part."""
    at = max(0, len(os.path.commonprefix([before, after])) - 60)
    return f"{before[at : at + 200]!r}\n  {after[at : at + 200]!r}"


def counted(found: Outcomes) -> str:
    return ", ".join(
        f"{number} {kind}" for kind, number in sorted(Counter(one for one, _ in found.values()).items())
    )


def compare(source: Path, virtinst: Path) -> tuple[str, list[str]]:
    """Both runs of one virtinst; gives a line that tells them and what differs."""
    with tempfile.TemporaryDirectory(prefix="vp-") as directory:
        place = Path(directory)
        prepare(source, place)
        plain, none = run(place, virtinst, overlay=False)
        ours, calls = run(place, virtinst, overlay=True)
    if none or not calls:
        raise Broken("the programs ran without our hooks")
    return f"{counted(plain)}; through ours, {calls} calls hooked: {counted(ours)}", differing(plain, ours)


def main(words: list[str]) -> int:
    source, *others = (Path(one).resolve() for one in words)
    status = 0
    for virtinst in (source / "virtinst", *others):
        try:
            line, different = compare(source, virtinst)
        except Broken as problem:
            line, different = "could not be run", [str(problem)]
        print(f"{virtinst}: {line}")
        for one in different:
            status = 1
            print(f"  differs: {one}")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
