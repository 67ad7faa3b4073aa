# SPDX-License-Identifier: GPL-2.0-or-later
"""The directories that a program looks for profiles in; for front ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path


def search_path(
    extra: Iterable[str | os.PathLike[str]] = (), environ: Mapping[str, str] | None = None
) -> list[Path]:
    """The directories that profiles are looked for in, first ones first.

    What the environment says is ignored where uid and effective uid differ.
    """
    found = [Path(one) for one in extra]
    if environ is not None and os.getuid() == os.geteuid():
        found += [Path(one) for one in environ.get("VIRT_PROFILE_PATH", "").split(":") if one]
        home = environ.get("HOME", "")
        config = environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
        if config.startswith("/"):
            found.append(Path(config, "virt-profile", "profiles"))
    found.append(Path("/etc/virt-profile/profiles"))
    found.append(shipped())
    return list(dict.fromkeys(found))


def shipped() -> Path:
    """The directory of the profiles that come with the program."""
    checkout = Path(__file__).resolve().parent.parent / "profiles"
    if checkout.is_dir():
        return checkout
    for prefix in (sys.prefix, "/usr/local", "/usr"):
        installed = Path(prefix, "share", "virt-profile", "profiles")
        if installed.is_dir():
            return installed
    return Path(sys.prefix, "share", "virt-profile", "profiles")
