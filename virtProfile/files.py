# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of a program that may run as root: whom to believe, and how to write.

Who can write a directory decides what stands in it, and who can write one above it decides
which directory it is. So root believes a path only where nobody else can write any of its
parts; a sticky directory such as /tmp is no danger for what root owns in it.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from functools import lru_cache


def distrust(path: str | os.PathLike[str], uid: int | None = None) -> str:
    """Why a user should not believe what stands at a path, "" where nothing speaks against it.

    The path itself, what it is a link to and all directories above are looked at. What does
    not exist is nobody's.

    :param uid: of the user, by default the effective one
    """
    uid = os.geteuid() if uid is None else uid
    name = os.path.abspath(os.fspath(path))
    links = False
    for part in _upwards(name):
        status = _look(part)
        if status is not None:
            links = links or stat.S_ISLNK(status.st_mode)
            reason = _distrust_one(part, status, uid, part == name)
            if reason:
                return reason
    if not links:
        return ""
    seen = _upwards(name)
    real = os.path.realpath(name)
    for part in _upwards(real):
        status = None if part in seen else _look(part)
        reason = "" if status is None else _distrust_one(part, status, uid, part == real)
        if reason:
            return reason
    return ""


def plain(path: str | os.PathLike[str]) -> str:
    """A path without what changes nothing in it: ``//``, ``/./`` and a ``/`` at its end; ``..`` stays."""
    path = os.fspath(path)
    root = "/" if path.startswith("/") else ""
    return root + "/".join(part for part in path.split("/") if part not in ("", ".")) or "."


@lru_cache(maxsize=64)  # a store asks for the same few directories at every call
def _upwards(path: str) -> tuple[str, ...]:
    """A path and all directories above it."""
    found = [path]
    while (above := os.path.dirname(path)) != path:
        found.append(above)
        path = above
    return tuple(found)


def _look(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None


def _distrust_one(path: str, status: os.stat_result, uid: int, is_last: bool) -> str:
    if status.st_uid not in (uid, 0):
        return f"'{path}' belongs to another user"
    if stat.S_ISLNK(status.st_mode):
        return ""  # what it leads to is looked at by itself
    group = status.st_mode & 0o020 and status.st_gid != 0
    if not (status.st_mode & 0o002 or group):
        return ""
    if not is_last and status.st_mode & stat.S_ISVTX:
        return ""  # only owners move what is in it
    return f"'{path}' may be written by others"


def read_own(path: str | os.PathLike[str]) -> bytes:
    """The content of a file that nobody else can have written, and that is no link.

    :raises OSError: it cannot be read
    :raises PermissionError: somebody else can have written it
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        reason = distrust(path)
        if reason:
            raise PermissionError(reason)
        return stream.read()


def write_whole(path: str | os.PathLike[str], data: bytes, mode: int = 0o666) -> None:
    """Write a file as a whole, or not at all; a link is replaced, not followed.

    :param mode: of a new file, less the umask
    :raises OSError: it cannot be written
    :raises PermissionError: root would write where others choose what the file is
    """
    import tempfile  # takes its time

    path = os.fspath(path)
    directory = os.path.dirname(os.path.abspath(path))
    os.makedirs(directory, exist_ok=True)
    check_target(path)
    descriptor, part = tempfile.mkstemp(dir=directory, prefix=f".{os.path.basename(path)}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(descriptor, mode & ~_umask())
            stream.write(data)
        os.replace(part, path)
    except OSError:
        with suppress(OSError):
            os.unlink(part)
        raise


def check_target(path: str) -> None:
    """May root write there?

    :raises PermissionError: others choose what the file is
    """
    if os.geteuid() != 0:
        return
    directory = os.path.dirname(os.path.abspath(path))
    reason = distrust(os.path.join(directory, "."))
    if not reason or _is_sticky(directory) and not distrust(os.path.dirname(directory)):
        return
    raise PermissionError(f"{reason}, so root does not write '{path}'")


def check_not_chosen(path: str) -> None:
    """May root open a device or a pipe there?

    :raises PermissionError: it is another user's link or pipe, which may lead anywhere and read all
    """
    if os.geteuid() != 0:
        return
    status = os.lstat(path)
    chosen = stat.S_ISLNK(status.st_mode) or stat.S_ISFIFO(status.st_mode)
    if chosen and status.st_uid != 0:
        raise PermissionError(f"'{path}' belongs to another user, so root does not write '{path}'")


def _is_sticky(directory: str) -> bool:
    status = os.lstat(directory)
    return stat.S_ISDIR(status.st_mode) and bool(status.st_mode & stat.S_ISVTX) and status.st_uid == 0


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def shared(name: str) -> str | None:
    """Where the program's own files of a name stand, beside the package that runs: profiles, the overlay.

    The checkout, else ``share/virt-profile`` of whichever prefix the package was installed
    under (of a distribution, a virtual environment, ``pip --user`` or ``--target``).

    :param name: of the directory, such as ``profiles``
    :return: an absolute path; None: nothing of that name was installed
    """
    site = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if os.path.isfile(os.path.join(site, "dev")):
        beside = os.path.join(site, name)
        return beside if os.path.isdir(beside) else None
    # PREFIX/lib/python3.11/site-packages, or the directory of --target itself.
    above = os.path.dirname(os.path.dirname(os.path.dirname(site)))
    for prefix in (site, above, sys.prefix, "/usr/local", "/usr"):
        found = os.path.join(prefix, "share", "virt-profile", name)
        if os.path.isdir(found):
            return found
    return None
