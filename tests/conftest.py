# SPDX-License-Identifier: GPL-2.0-or-later
"""Options and profiles of the test run."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
        help="run only the tests with golden files, and write what comes out into these",
    )
    parser.addoption("--slow", action="store_true", help="also what takes minutes")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes minutes; run with --slow, by CI once")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--regenerate-output"):
        others = [item for item in items if "regenerate" not in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="--slow runs it"))


@pytest.fixture(scope="session")
def embedded_root() -> Iterator[Path]:
    """The directory of libvirt's embedded QEMU driver, of which a process has one.

    QEMU runs as who runs the tests: else the driver finds out again with every
    call whether its own user may use KVM, which takes 10 seconds each time.
    """
    given = os.environ.get("VIRT_PROFILE_EMBED")
    root = Path(given) if given else Path(tempfile.mkdtemp(prefix="vp-"))  # sockets have short paths
    (root / "etc").mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        (root / "etc" / "qemu.conf").write_text(
            'user = "root"\ngroup = "root"\nsecurity_driver = "none"\nstdio_handler = "file"\n'
            "namespaces = []\ncgroup_controllers = []\nremember_owner = 0\n"
            'swtpm_user = "root"\nswtpm_group = "root"\n'
        )
    yield root
    if not given:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def embedded_qemu(embedded_root: Path) -> Iterator[Any]:
    """A connection to the embedded QEMU driver, with libvirt's event loop running."""
    libvirt = pytest.importorskip("libvirt")
    libvirt.registerErrorHandler(lambda *_: None, None)
    libvirt.virEventRegisterDefaultImpl()
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            libvirt.virEventRunDefaultImpl()

    timer = libvirt.virEventAddTimeout(200, lambda *_: None, None)
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        handle = libvirt.open(f"qemu:///embed?root={embedded_root}")
    except libvirt.libvirtError as problem:
        pytest.skip(f"no embedded QEMU driver: {problem}")
    yield handle
    handle.close()
    over.set()
    thread.join(5)
    libvirt.virEventRemoveTimeout(timer)


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


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One process of the test run at a time: each worker of pytest-xdist has its own fixtures."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def npm_packages() -> Path:
    """The locked npm packages of the pages, installed where they are not."""
    sources = Path(__file__).parent.parent / "page"
    place = sources / "node_modules"
    if shutil.which("npm") is None:
        pytest.skip("no npm")
    with locked(sources.parent / ".cache" / "npm"):
        done = (place / ".package-lock.json").exists() or subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=sources, capture_output=True
        ).returncode == 0  # fmt: skip
    if not done:
        pytest.skip("npm ci found no packages")
    return place


@pytest.fixture(scope="session")
def asked_once() -> Path:
    """Where an embedded driver keeps what it asked QEMU: the first time takes minutes."""
    if os.geteuid() != 0:
        pytest.skip("only root embeds QEMU's driver with pins")
    pytest.importorskip("libvirt")
    kept = Path(__file__).parent.parent / ".cache" / "embedded"
    script = (
        "import libvirt, sys\nlibvirt.virEventRegisterDefaultImpl()\n"
        "libvirt.open('qemu:///embed?root=' + sys.argv[1]).getCapabilities()"
    )
    with locked(kept):  # two drivers in one directory: the second is refused, and its tests skipped
        (kept / "etc").mkdir(parents=True, exist_ok=True)
        # no daemon for what guests print; and one user, or libvirt believes what it kept of QEMU
        # to be outdated each time: with KVM when it asked as root, without it for QEMU's user
        (kept / "etc" / "qemu.conf").write_text(
            'stdio_handler = "file"\nuser = "root"\ngroup = "root"\nsecurity_driver = "none"\n'
            "namespaces = []\ncgroup_controllers = []\n"
        )
        done = subprocess.run([sys.executable, "-c", script, str(kept)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no embedded driver: {done.stderr.splitlines()[-1]}")
    return kept


@pytest.fixture
def beside_a_daemon(asked_once: Path) -> list[str]:
    """What stands before a command that is to find a libvirtd of its own as qemu:///system."""
    script = Path(__file__).parent / "daemon.sh"
    before = ["unshare", "--mount", "sh", str(script), str(asked_once / "cache")]
    if shutil.which("libvirtd") is None or shutil.which("unshare") is None:
        pytest.skip("no libvirtd, or no unshare")
    done = subprocess.run([*before, "true"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no daemon of one's own: {done.stderr[-200:]}")
    return before


@pytest.fixture
def embed(asked_once: Path) -> Iterator[Callable[[str], str]]:
    """Gives URIs of embedded QEMU drivers of one's own, by name; a process may open one of them."""
    with tempfile.TemporaryDirectory(prefix="vp-") as place:  # sockets have short paths

        def make(name: str) -> str:
            root = Path(place, name)
            with locked(asked_once):  # not while another worker's driver writes there
                for part in ("etc", "cache"):
                    shutil.copytree(asked_once / part, root / part)
            return f"qemu:///embed?root={root}"

        yield make
