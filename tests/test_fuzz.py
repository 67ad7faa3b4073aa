# SPDX-License-Identifier: GPL-2.0-or-later
"""The corpus of the fuzz targets, each input once: without a crash, fast, and in little memory.

`./dev fuzz` makes new inputs for half an hour, `.ci/run` for some minutes.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "fuzz"
sys.path.insert(0, str(HERE))

import fuzz  # noqa: E402
import targets  # noqa: E402

INPUTS = [(path.parent.name, path.name) for path in sorted(fuzz.CORPUS.glob("*/*"))]


def test_every_target_has_a_corpus() -> None:
    assert set(fuzz.TARGETS) == set(targets.TARGETS) == {target for target, _ in INPUTS}


@pytest.mark.parametrize(("target", "name"), INPUTS)
def test_an_input_of_the_corpus(target: str, name: str) -> None:
    data = (fuzz.CORPUS / target / name).read_bytes()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    targets.TARGETS[target](data)
    assert time.process_time() - start < fuzz.MAX_SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < fuzz.MAX_MEMORY * 1024


def test_what_is_no_error_of_ours_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RecursionError

    monkeypatch.setattr("virtProfile.apply", broken)
    for target in ("record", "document"):
        with pytest.raises(RecursionError):
            targets.TARGETS[target](b"\1\2\3")
