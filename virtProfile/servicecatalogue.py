# SPDX-License-Identifier: GPL-2.0-or-later
"""What the service tells of profiles, and the directory that callers may put profiles in."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from .errors import NotFoundError, PolicyError, ProfileSyntaxError, VersionError
from .servicepolicy import RULES, check_profiles
from .servicerequest import asked
from .store import ProfileStore

Body = Mapping[str, Any]

#: The directory for `profile-put` and `profile-delete`; None: there is none.
WRITABLE: ContextVar[str | None] = ContextVar("writable", default=None)
#: Files in it.
MOST_FILES = 1000
#: What may stand in a file's name; a profile's name always does.
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


class TakenError(PolicyError):
    """Somebody else's: a shipped profile, or another profile of that name and version."""

    http_status = 409


class ClosedError(PolicyError):
    """The service, or the caller, may not write."""

    http_status = 403


def answer_profiles(body: Body, store: ProfileStore) -> Any:
    """Every profile that the caller may use, in its newest version, by name."""
    asked(body, {})
    patterns = RULES.get().profiles
    newest: dict[str, Any] = {}
    versions: dict[str, list[str]] = {}
    with store.one_look():
        for one in store.listing():
            profile = one.profile
            if not one.shadowed and any(fnmatchcase(profile.name, pattern) for pattern in patterns):
                newest[profile.name] = profile
                versions.setdefault(profile.name, []).insert(0, profile.version)
    return {"profiles": [_entry(one, versions[name]) for name, one in sorted(newest.items())]}


def _entry(profile: Any, versions: list[str]) -> dict[str, Any]:
    return {
        "name": profile.name,
        "version": profile.version,
        "versions": versions,
        "title": profile.title or "",
        "description": (profile.description or "").strip(),
        "params": [
            {
                "name": one.name,
                "type": str(one.type),
                "default": None if one.secret else one.default,
                "secret": one.secret,
                "required": one.default is None and not one.secret,
            }
            for one in profile.params
        ],
        "requires": [one.profile for one in profile.requires],
        "conflicts": [one.profile for one in profile.conflicts],
        "autoselect": profile.autoselect,
        "priority": profile.priority,
        "replaced_by": profile.replaced_by,
    }


def answer_profile(body: Body, store: ProfileStore) -> Any:
    """All about one profile: ``{"name", "version"}``.

    :raises NotFoundError, VersionError: there is none
    """
    from .catalogue import facts
    from .needs import needs

    asked(body, {"name": str, "version": str}, ("name",))
    name = body["name"]
    check_profiles([name])
    profile = store.get(name, body.get("version"))
    return facts(profile, [one.version for one in store.versions(name)], needs(profile))


def _directory() -> Path:
    directory = WRITABLE.get()
    if directory is None:
        raise ClosedError("this service keeps no profiles of its callers", hint="virt-profiled --store DIR")
    if not RULES.get().write:
        raise ClosedError("this caller may not write profiles", hint="the policy file: write-profiles = true")
    return Path(directory)


def answer_put(body: Body, store: ProfileStore) -> Any:
    """Keep a profile: ``{"name", "profile": TEXT}``; a version that is there stays as it is.

    :raises TakenError: the name is another directory's, or the version is there and says something else
    :raises ProfileSyntaxError: what `lint` calls an error, all of it
    """
    from .linting import lint_text
    from .profile import parse_profiles
    from .wishlist import together

    asked(body, {"name": str, "profile": str}, ("name", "profile"))
    directory, name, text = _directory(), body["name"], body["profile"]
    check_profiles([name])
    wrong = [
        ProfileSyntaxError(one.message, hint=one.hint, where=f"{one.file}:{one.line}")
        for one in lint_text(text, f"{name[:64]}.xml")
        if one.level == "error"
    ]
    if wrong:
        raise together(wrong)
    found = parse_profiles(text, f"{name}.xml").profiles
    if len(found) != 1 or found[0].name != name:
        names = ", ".join(f"'{one.name}'" for one in found)
        raise ProfileSyntaxError(f"the document has {names or 'no profile'}, not '{name}' alone")
    profile = found[0]
    if not _VERSION.fullmatch(profile.version):
        raise ProfileSyntaxError(
            f"version '{profile.version}' cannot be kept", hint="letters, digits, . _ + -"
        )
    for one in store.listing():
        if one.profile.name == name and one.directory.resolve() != directory.resolve():
            raise TakenError(f"profile '{name}' is there in '{one.directory}'", hint="choose another name")
    path = directory / f"{name}@{profile.version}.xml"
    made = _write(path, text)
    if not made and path.read_text(encoding="utf-8") != text:
        raise TakenError(
            f"profile '{name}' has version '{profile.version}' already, and it says something else",
            hint="give it another version",
        )
    return {"name": name, "version": profile.version, "digest": profile.digest, "created": made}


def _write(path: Path, text: str) -> bool:
    """Make the file whole or not at all; False where it is there."""
    if path.exists():
        return False
    if sum(1 for _ in path.parent.iterdir()) >= MOST_FILES:
        raise ClosedError(f"the directory has {MOST_FILES} files already")
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".new") as stream:
        stream.write(text.encode())
        stream.flush()
        os.fsync(stream.fileno())
        os.fchmod(stream.fileno(), 0o644)
        try:
            os.link(stream.name, path)  # unlike a rename, never over another one's
        except FileExistsError:
            return False
    return True


def answer_delete(body: Body, store: ProfileStore) -> Any:
    """Forget a profile of the writable directory: ``{"name", "version"}``, all versions where none is said.

    :raises NotFoundError: it is not in that directory
    """
    asked(body, {"name": str, "version": str}, ("name",))
    directory, name, version = _directory(), body["name"], body.get("version")
    check_profiles([name])
    gone = []
    for one in store.listing():
        profile = one.profile
        if (
            profile.name == name
            and version in (None, profile.version)
            and one.directory.resolve() == directory.resolve()
        ):
            with suppress(FileNotFoundError):
                os.unlink(profile.file)
            gone.append(profile.version)
    if not gone:
        if version is None or not store.versions(name):
            raise NotFoundError(f"no profile '{name}' is kept here", hint="shipped profiles stay")
        raise VersionError(f"no version '{version}' of profile '{name}' is kept here")
    return {"name": name, "deleted": gone}


#: What the routes below /v1/profiles do.
OTHERS: dict[str, Callable[[Body, ProfileStore], Any]] = {
    "profiles": answer_profiles,
    "profile": answer_profile,
    "profile-put": answer_put,
    "profile-delete": answer_delete,
}
