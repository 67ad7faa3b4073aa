# SPDX-License-Identifier: GPL-2.0-or-later
"""Options and profiles of the test run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))

settings.register_profile(
    "default",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    max_examples=int(os.environ.get("VIRT_PROFILE_EXAMPLES", "100")),
)
settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate-output",
        action="store_true",
        help="write what comes out into the golden files instead of comparing",
    )
    parser.addoption("--slow", action="store_true", help="also what takes minutes")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes minutes; run with --slow, by CI once")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="--slow runs it"))


@pytest.fixture
def regenerate(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--regenerate-output"))


@pytest.fixture
def golden(regenerate: bool) -> Callable[[str, str], None]:
    """Compares a text with a file below ``tests/data``, or writes the file."""

    def compare(name: str, text: str) -> None:
        path = Path(__file__).parent / "data" / name
        if regenerate:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="")
        with path.open(encoding="utf-8", newline="") as stream:
            assert text == stream.read()

    return compare


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of an embedded QEMU driver; what it asked QEMU is kept for the next run."""
    libvirt = pytest.importorskip("libvirt")
    if os.geteuid() != 0:
        pytest.skip("only root embeds QEMU's driver with pins")
    kept = Path(__file__).parent.parent / ".cache" / "embedded"
    (kept / "etc").mkdir(parents=True, exist_ok=True)
    # no daemon of its own for what guests print
    (kept / "etc" / "qemu.conf").write_text('stdio_handler = "file"\n')
    uri = f"qemu:///embed?root={kept}"
    libvirt.virEventRegisterDefaultImpl()
    try:
        libvirt.open(uri).close()
    except libvirt.libvirtError as problem:
        pytest.skip(f"no embedded driver: {problem}")
    return uri
