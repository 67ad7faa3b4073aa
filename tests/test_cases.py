# SPDX-License-Identifier: GPL-2.0-or-later
"""The language, case by case; `pytest --regenerate-output` rewrites the golden sections."""

from __future__ import annotations

from pathlib import Path

import cases
import pytest

import virtProfile

ALL = sorted(cases.DIRECTORY.glob("*.txt"))


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_case(path: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    case = cases.load(path)
    result, golden = cases.run(case, tmp_path)
    if request.config.getoption("--regenerate-output"):
        cases.save(case, golden)
        return
    assert golden == case.golden
    if result is not None and "multiple='yes'" not in "".join(case.profiles):
        store = cases.store_of(case, tmp_path)
        again = virtProfile.apply(result.xml, store=store)
        assert again.xml == result.xml
        assert not again.changed


def test_there_are_cases() -> None:
    assert len(ALL) >= 30
