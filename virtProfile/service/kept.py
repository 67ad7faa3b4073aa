# SPDX-License-Identifier: GPL-2.0-or-later
"""The directory of profiles that callers put: who owns which name, and how much is whose.

A profile is the file ``NAME@VERSION.xml``, its owner the text of ``.NAME.owner``. Files without an
owner were put there by a person: no caller replaces or deletes them.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from virtProfile.errors import PolicyError
from virtProfile.language.profile import Profile
from virtProfile.language.store import TESTS, ProfileStore

#: The directory; None: there is none.
WRITABLE: ContextVar[str | None] = ContextVar("writable", default=None)
#: Whose request it is.
CALLER: ContextVar[str] = ContextVar("caller", default="")
#: Versions that all callers may keep, that one caller may keep, and their bytes.
MOST_FILES = 1000
SHARE_FILES = 100
SHARE_BYTES = 8 << 20
#: What may stand in a file's name; a profile's name always does.
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
#: As the store leaves files with tests aside, a profile of such a name would never be found.
_TESTS = TESTS.removesuffix(".xml")
_FILE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._+-]{0,63})@([A-Za-z0-9][A-Za-z0-9._+-]{0,63})\.xml")


class TakenError(PolicyError):
    """Somebody else's: a shipped profile, another caller's, or another text of that version."""

    http_status = 409


class ClosedError(PolicyError):
    """The service, or the caller, may not write."""

    http_status = 403


class CallersStore(ProfileStore):
    """Profiles of directories, as one caller sees them: others' do not select themselves."""

    def automatic(self) -> list[Profile]:
        return [profile for profile in super().automatic() if _is_for_me(profile)]


def _is_for_me(profile: Profile) -> bool:
    directory = WRITABLE.get()
    file = Path(profile.file)
    if directory is None or file.parent.resolve() != Path(directory).resolve():
        return True
    found = _FILE.fullmatch(file.name)
    return found is not None and _owner(file.parent, found[1]) == CALLER.get()


def _owner(directory: Path, name: str) -> str | None:
    """The caller whose name it is; None where it is nobody's."""
    try:
        descriptor = os.open(directory / f".{name}.owner", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with open(descriptor, encoding="utf-8", errors="replace") as stream:
        return stream.read(1000)


def _files(directory: Path) -> Iterator[tuple[str, str, os.DirEntry[str]]]:
    """(name, version, file) of each profile of a caller."""
    with os.scandir(directory) as entries:
        for entry in entries:
            found = _FILE.fullmatch(entry.name)
            if found is not None and entry.is_file(follow_symlinks=False):
                yield found[1], found[2], entry


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One writer at a time, of all workers."""
    descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def may_be_kept(version: str) -> bool:
    """Does a file of that version's name hold a profile?"""
    return VERSION.fullmatch(version) is not None and not version.endswith(_TESTS)


def put(directory: Path, profile: Profile, text: str) -> bool:
    """Keep a profile for the caller; False where this very text is there.

    :raises TakenError: name or version are somebody else's, or the version has another text
    :raises ClosedError: the directory or the caller's share of it is full
    :raises OSError: it cannot be written
    """
    name, caller = profile.name, CALLER.get()
    path = directory / f"{name}@{profile.version}.xml"
    with _alone(directory):
        owner = _owner(directory, name)
        if owner is None and any(file.name.startswith(f"{name}@") for file in directory.iterdir()):
            raise TakenError(f"profile '{name}' was put there by nobody who calls", hint="use another name")
        if owner not in (None, caller):
            raise TakenError(f"profile '{name}' belongs to another caller", hint="use another name")
        if os.path.lexists(path):
            if path.is_file() and not path.is_symlink() and path.read_text(encoding="utf-8") == text:
                return False
            raise TakenError(
                f"profile '{name}' has version '{profile.version}' already, with other content",
                hint="give it another version",
            )
        _check_room(directory, len(text.encode()))
        if owner is None:
            _write(directory / f".{name}.owner", caller, 0o600)
        _write(path, text, 0o644)
    return True


def _check_room(directory: Path, size: int) -> None:
    """:raises ClosedError: there is none"""
    caller = CALLER.get()
    files = list(_files(directory))
    if len(files) >= MOST_FILES:
        raise ClosedError(f"the service keeps {MOST_FILES} profiles already")
    owners = {name: _owner(directory, name) for name, _, _ in files}
    mine = [entry.stat().st_size for name, _, entry in files if owners[name] == caller]
    if len(mine) >= SHARE_FILES or sum(mine) + size > SHARE_BYTES:
        most = f"{SHARE_FILES} profiles and {SHARE_BYTES >> 20} MiB"
        raise ClosedError(f"a caller may keep {most}", hint="DELETE /v1/profiles/NAME/VERSION makes room")


def _write(path: Path, text: str, mode: int) -> None:
    """Make the file whole or not at all.

    :raises OSError: also where it is there
    """
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".new") as stream:
        stream.write(text.encode())
        stream.flush()
        os.fsync(stream.fileno())
        os.fchmod(stream.fileno(), mode)
        os.link(stream.name, path)  # unlike a rename, never over another file


def delete(directory: Path, name: str, version: str | None) -> list[str]:
    """Delete one or all versions that the caller keeps; the versions that are gone.

    :raises TakenError: the name is not the caller's
    :raises OSError: a file cannot be deleted
    """
    gone = []
    with _alone(directory):
        kept = [(found, entry.path) for other, found, entry in _files(directory) if other == name]
        if kept and _owner(directory, name) != CALLER.get():
            raise TakenError(f"profile '{name}' belongs to another caller")
        for found, path in kept:
            if version in (None, found):
                os.unlink(path)
                gone.append(found)
        if kept and len(gone) == len(kept):
            with suppress(FileNotFoundError):
                os.unlink(directory / f".{name}.owner")
    return sorted(gone)
