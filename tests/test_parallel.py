# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures that several workers of pytest-xdist share do not meet at the same time."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest
from conftest import locked


def test_a_shared_directory_is_used_by_one_worker_at_a_time(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    with locked(shared), (shared / "lock").open("w") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (shared / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
