# SPDX-License-Identifier: GPL-2.0-or-later
"""The manual page of the shipped profiles says what they are today, and is a manual page."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from typing import Any

import library
import pytest

PLACE = library.ROOT / "man" / "catalogue.py"


@pytest.fixture(scope="module")
def catalogue() -> Any:
    spec = importlib.util.spec_from_file_location("catalogue_page", PLACE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_made_from_the_profiles(catalogue: Any) -> None:
    assert catalogue.PAGE.read_text() == catalogue.page(), "./dev man writes it"


def test_every_profile_of_the_table_is_there(catalogue: Any) -> None:
    named = {name for row in catalogue.TABLE[1] for name in row[-1].split(", ")}
    assert named <= set(library.NAMES)


@pytest.mark.skipif(shutil.which("rst2man") is None, reason="python3-docutils has rst2man")
def test_rst2man_takes_it(catalogue: Any) -> None:
    done = subprocess.run(
        ["rst2man", "--strict", catalogue.PAGE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_examples_name_profiles_that_ship() -> None:
    """What the manual pages and the readme tell to type works as it stands there."""
    pages = [*(library.ROOT / "man").glob("*.rst"), library.ROOT / "README.md"]
    named = {
        one for page in pages for one in re.findall(r"--profile ([a-z0-9][a-z0-9.-]*)", page.read_text())
    }
    assert len(named) > 5
    assert named - {"help", "none"} <= set(library.NAMES)
