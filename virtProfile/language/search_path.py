# SPDX-License-Identifier: GPL-2.0-or-later
"""The directories that a program looks for profiles in; for front ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from virtProfile.files import distrust, shared


def search_path(
    extra: Iterable[str | os.PathLike[str]] = (),
    environ: Mapping[str, str] | None = None,
    warn: Callable[[str], object] = lambda text: None,
) -> list[Path]:
    """The directories that profiles are looked for in, first ones first.

    What the environment says is ignored where uid and effective uid differ. Of the directory
    in somebody else's home root uses nothing: as root by ``sudo`` often keeps a user's $HOME,
    that is no error.

    :param warn: is told of a directory that is left out
    """
    found = [Path(directory) for directory in extra]
    if environ is not None and os.getuid() == os.geteuid():
        found += [Path(part) for part in environ.get("VIRT_PROFILE_PATH", "").split(":") if part]
        home = environ.get("HOME", "")
        config = environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
        if config.startswith("/"):
            own = Path(config, "virt-profile", "profiles")
            reason = distrust(own) if os.geteuid() == 0 and own.is_dir() else ""
            if reason:
                warn(f"the profiles in '{own}' are not used: {reason}, and this is root")
            else:
                found.append(own)
    found.append(Path("/etc/virt-profile/profiles"))
    found.append(shipped())
    return list(dict.fromkeys(found))


def shipped() -> Path:
    """The directory of the profiles that come with the program."""
    return Path(shared("profiles") or f"{sys.prefix}/share/virt-profile/profiles")
