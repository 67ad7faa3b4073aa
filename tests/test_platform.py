# SPDX-License-Identifier: GPL-2.0-or-later
"""``./dev platform``: the suite that is named is the one whose chroot is made, or a line says why there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    """A copy of it that has all that it would fetch, on a host where root has every package."""
    shutil.copy(TOP / "dev", tmp_path)
    for whole in ("corpus/.whole-bookworm", "corpus/.whole-trixie", "virtinst-newest/usr/x"):
        path = tmp_path / ".cache" / whole
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    programs = {
        "id": "echo ${USER_ID:-0}",
        "dpkg-query": "echo installed",
    }
    (tmp_path / "bin").mkdir()
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "platform.sh").write_text(
        'echo "$@"\n[ "$4" != setup ] || exit "${SETUP:-0}"\nexit "${STATUS:-0}"\n'
    )
    return tmp_path


def run(place: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    path = f"{place / 'bin'}:{os.environ['PATH']}"
    environ = {**os.environ, "VIRT_PROFILE_MIRROR": "http://mirror", "PATH": path, **environ}
    return subprocess.run(
        [place / "dev", "platform", *words], env=environ, cwd=place, capture_output=True, text=True
    )


@pytest.mark.parametrize("suite", ["bookworm", "trixie", "sid"])
def test_the_suite_that_is_named(dev: Path, suite: str) -> None:
    done = run(dev, suite, "lint")
    assert done.stdout == f".cache/platform/{suite} {suite} http://mirror lint\n"
    assert done.returncode == 0


def test_the_landing_part_names_files_that_are_there(dev: Path) -> None:
    setup, tests = run(dev, "trixie", "--landing", "-q").stdout.splitlines()
    assert setup.split()[3:] == ["setup", "test"]
    root, suite, _, command, *files = tests.split()
    assert (root, suite, command, files[-1]) == (".cache/platform/trixie", "trixie", "test", "-q")
    assert len(files) > 10 and all((TOP / file).exists() for file in files[:-1])


@pytest.mark.parametrize("words", [(), ("--landing",)])
def test_a_failure_inside_is_the_outcome(dev: Path, words: tuple[str, ...]) -> None:
    done = run(dev, "trixie", *words, STATUS="3")
    assert done.returncode == 3 and "skipped" not in done.stderr


@pytest.mark.parametrize(
    "environ, reason",
    [
        ({"STATUS": "77"}, "the chroot or what belongs into it cannot be had here"),
        ({"SETUP": "1"}, "the chroot or what belongs into it cannot be had here"),
        ({"USER_ID": "1000"}, "only root makes a chroot"),
    ],
)
def test_where_there_can_be_no_chroot_a_line_says_so(dev: Path, environ: dict[str, str], reason: str) -> None:
    done = run(dev, "trixie", "--landing", **environ)
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == f"platform trixie: skipped, {reason}"
