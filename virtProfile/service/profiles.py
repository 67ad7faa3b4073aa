# SPDX-License-Identifier: GPL-2.0-or-later
"""What the service tells of profiles, and the directory that callers may put profiles in."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from virtProfile.errors import NotFoundError, ProfileSyntaxError, VersionError
from virtProfile.language.profile import Profile
from virtProfile.language.store import ProfileStore
from virtProfile.service.kept import WRITABLE, ClosedError, TakenError, delete, may_be_kept, put
from virtProfile.service.policy import RULES, check_profiles
from virtProfile.service.route import Body, Json, Route
from virtProfile.service.vms import CONNECT
from virtProfile.show.groups import GROUPS, group
from virtProfile.wire import calls
from virtProfile.wire.calls import FLAG, PROFILE, PROFILE_VERSION, TEXT, TEXTS, Call
from virtProfile.wire.shapes import Object

_DELETED = Object({"name": TEXT, "deleted": TEXTS})


@Route(calls.PROFILES, "The profiles")
def answer_profiles(body: Body, store: ProfileStore) -> Json:
    """Every profile that the caller may use, in its newest version, by name."""
    patterns = RULES.get().profiles
    newest: dict[str, Profile] = {}
    versions: dict[str, list[str]] = {}
    with store.one_look():
        for entry in store.listing():
            profile = entry.profile
            if entry.shadowed or profile.audit:
                continue
            if any(fnmatchcase(profile.name, pattern) for pattern in patterns):
                newest[profile.name] = profile
                versions.setdefault(profile.name, []).insert(0, profile.version)
    return {
        "profiles": [_entry(profile, versions[name]) for name, profile in sorted(newest.items())],
        "groups": list(GROUPS),
        "vms": CONNECT.get() is not None and RULES.get().read_vms,
    }


def _entry(profile: Profile, versions: list[str]) -> Json:
    return {
        "name": profile.name,
        "version": profile.version,
        "versions": versions,
        "title": profile.title or "",
        "description": (profile.description or "").strip(),
        "params": [
            {
                "name": param.name,
                "type": str(param.type),
                "default": None if param.secret else param.default,
                "secret": param.secret,
                "required": param.default is None and not param.secret,
            }
            for param in profile.params
        ],
        "requires": [needed.profile for needed in profile.requires],
        "conflicts": [other.profile for other in profile.conflicts],
        "autoselect": profile.autoselect,
        "priority": profile.priority,
        "replaced_by": profile.replaced_by,
        "group": group(profile),
    }


@Route(PROFILE, "One profile, in its newest version", errors=(404,))
@Route(PROFILE_VERSION, "One version of a profile", errors=(404,))
def answer_profile(body: Body, store: ProfileStore) -> Json:
    """All about one profile: ``{"name", "version"}``.

    :raises NotFoundError, VersionError: there is none
    """
    from virtProfile.language.context_needs import needs
    from virtProfile.show.profile import facts

    name = body["name"]
    check_profiles([name])
    profile = store.get(name, body.get("version"))
    return facts(profile, [version.version for version in store.versions(name)], needs(profile))


def _directory() -> Path:
    """:raises ClosedError: there is none"""
    directory = WRITABLE.get()
    if directory is None:
        raise ClosedError("this service keeps no profiles of its callers", hint="virt-profiled --store DIR")
    return Path(directory)


def check_writable() -> None:
    """The right that routes which write ask for.

    :raises ClosedError: the service keeps no profiles, or not this caller's
    """
    _directory()
    if not RULES.get().write:
        raise ClosedError("this caller may not write profiles", hint="the policy file: write-profiles = true")


@Route(
    Call(
        "profile-put",
        Object({"name": TEXT, "profile": TEXT}),
        Object({"name": TEXT, "version": TEXT, "digest": TEXT, "created": FLAG}),
        method="PUT",
        at=PROFILE.path,
    ),
    "Keep a profile, where the service has a directory for them",
    errors=(404, 409),
    body="profile",
    writes=True,
    has_profiles=True,
)
def answer_put(body: Body, store: ProfileStore) -> Json:
    """Keep a profile: ``{"name", "profile": TEXT}``; a version that is there stays as it is.

    :raises TakenError: the name is another directory's, or the version is there and says something else
    :raises ProfileSyntaxError: what `lint` calls an error, all of it
    """
    from virtProfile.authoring.lint import lint_text
    from virtProfile.errors import together
    from virtProfile.language.parser import parse_profiles

    directory, name, text = _directory(), body["name"], body["profile"]
    check_profiles([name])
    wrong = [
        ProfileSyntaxError(problem.message, hint=problem.hint, where=f"{problem.file}:{problem.line}")
        for problem in lint_text(text, f"{name[:64]}.xml")
        if problem.level == "error"
    ]
    if wrong:
        raise together(wrong)
    found = parse_profiles(text, f"{name}.xml").profiles
    if len(found) != 1 or found[0].name != name:
        names = ", ".join(f"'{profile.name}'" for profile in found)
        raise ProfileSyntaxError(f"the document has {names or 'no profile'}, not '{name}' alone")
    profile = found[0]
    if not may_be_kept(profile.version):
        raise ProfileSyntaxError(
            f"version '{profile.version}' cannot be kept",
            hint="letters, digits, . _ + -, not .test last",
        )
    for entry in store.listing():
        theirs = Path(entry.directory).resolve() != directory.resolve()
        by_hand = Path(entry.profile.file).name != f"{name}@{entry.profile.version}.xml"
        if entry.profile.name == name and (theirs or by_hand):
            raise TakenError(
                f"profile '{name}' exists already in '{entry.directory}'", hint="use another name"
            )
    made = put(directory, profile, text)
    return {"name": name, "version": profile.version, "digest": profile.digest, "created": made}


@Route(
    Call("profile-delete", Object({"name": TEXT}), _DELETED, method="DELETE", at=PROFILE.path),
    "Forget all versions of a profile kept here",
    errors=(404, 409),
    writes=True,
)
@Route(
    Call(
        "profile-version-delete",
        Object({"name": TEXT, "version": TEXT}),
        _DELETED,
        method="DELETE",
        at=PROFILE_VERSION.path,
    ),
    "Forget a version of a profile kept here",
    errors=(404, 409),
    writes=True,
)
def answer_delete(body: Body, store: ProfileStore) -> Json:
    """Forget a profile of the writable directory: ``{"name", "version"}``, all versions where none is said.

    :raises NotFoundError: it is not in that directory
    :raises TakenError: it is another caller's
    """
    directory, name, version = _directory(), body["name"], body.get("version")
    check_profiles([name])
    gone = delete(directory, name, version)
    if not gone:
        if version is None or not store.versions(name):
            raise NotFoundError(
                f"no profile '{name}' is kept here", hint="shipped profiles cannot be removed"
            )
        raise VersionError(f"no version '{version}' of profile '{name}' is kept here")
    return {"name": name, "deleted": gone}
