# SPDX-License-Identifier: GPL-2.0-or-later
"""The directories that a program looks for profiles in; for front ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping

from virtProfile.files import distrust, plain, shared


def search_path(
    extra: Iterable[str | os.PathLike[str]] = (),
    environ: Mapping[str, str] | None = None,
    warn: Callable[[str], object] = lambda text: None,
) -> list[str]:
    """The directories that profiles are looked for in, first ones first.

    What the environment says is ignored where uid and effective uid differ. Of the directory
    in somebody else's home root uses nothing: as root by ``sudo`` often keeps a user's $HOME,
    that is no error.

    :param warn: called with a message for each directory that is left out
    """
    found = [plain(directory) for directory in extra]
    if environ is not None and os.getuid() == os.geteuid():
        found += [plain(part) for part in environ.get("VIRT_PROFILE_PATH", "").split(":") if part]
        home = environ.get("HOME", "")
        config = environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
        if config.startswith("/"):
            own = plain(f"{config}/virt-profile/profiles")
            reason = distrust(own) if os.geteuid() == 0 and os.path.isdir(own) else ""
            if reason:
                warn(f"the profiles in '{own}' are not used: {reason}, and this is root")
            else:
                found.append(own)
    found.append("/etc/virt-profile/profiles")
    found.append(shipped())
    return list(dict.fromkeys(found))


def shipped() -> str:
    """The directory of the profiles that come with the program."""
    return shared("profiles") or f"{sys.prefix}/share/virt-profile/profiles"
