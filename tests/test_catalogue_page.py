# SPDX-License-Identifier: GPL-2.0-or-later
"""What manual pages take from profiles and code is what these say today."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from typing import Any

import library
import pytest

from virtProfile.language.functions import FUNCTIONS, VARIABLES

PLACE = library.ROOT / "man" / "catalogue.py"


@pytest.fixture(scope="module")
def catalogue() -> Any:
    spec = importlib.util.spec_from_file_location("catalogue_page", PLACE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_as_made(catalogue: Any) -> None:
    for page, made in catalogue.PAGES.items():
        assert page.read_text() == made(), f"{page.name}: ./dev man writes it"


def test_functions_and_variables_are_described(catalogue: Any) -> None:
    text = catalogue.expressions()
    assert all(f"``{name}(" in text for name in FUNCTIONS)
    assert all(f"``${name}``" in text for name in VARIABLES)


@pytest.mark.parametrize(
    ("actions", "group"),
    [
        ("<add><devices><rng model='virtio'/></devices></add>", "Other devices"),
        ("<add><devices><disk device='disk'><driver cache='none'/></disk></devices></add>", "Disks"),
        ("<remove select='devices/interface/mtu'/>", "Network"),
        (
            "<add each=\"devices/disk[target[@bus = 'ide']]\"><disk><driver cache='none'/></disk></add>",
            "Disks",
        ),
        ("<add><cpu mode='maximum'><numa><cell id='0'/></numa></cpu></add>", "CPU"),
        (
            "<add><cpu><numa><cell id='0'/></numa></cpu><memoryBacking><nosharepages/></memoryBacking></add>",
            "Memory and NUMA",
        ),
        ("<add><title>x</title></add>", "Other devices"),
        ("".join(f"<requires profile='p{number}'/>" for number in range(4)), "Bundles"),
    ],
)
def test_a_profile_has_a_group_by_what_it_writes(catalogue: Any, actions: str, group: str) -> None:
    parsed = catalogue.parse_profiles(f"<profile name='new' version='1'>{actions}</profile>", "new.xml")
    assert catalogue.group(parsed.profiles[0]) == group


def test_every_profile_of_the_table_is_there(catalogue: Any) -> None:
    named = {name for row in catalogue.TABLE[1] for name in row[-1].split(", ")}
    assert named <= set(library.NAMES)


@pytest.mark.skipif(shutil.which("rst2man") is None, reason="python3-docutils has rst2man")
def test_rst2man_takes_it(catalogue: Any) -> None:
    for page in catalogue.PAGES:
        done = subprocess.run(["rst2man", "--strict", page], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_examples_name_profiles_that_ship() -> None:
    """What the manual pages and the readme tell to type works as it stands there."""
    pages = [*(library.ROOT / "man").glob("*.rst"), library.ROOT / "README.md"]
    named = {
        one for page in pages for one in re.findall(r"--profile ([a-z0-9][a-z0-9.-]*)", page.read_text())
    }
    assert len(named) > 5
    assert named - {"help", "none", "site-net"} <= set(library.NAMES)
