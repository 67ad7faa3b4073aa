# SPDX-License-Identifier: GPL-2.0-or-later
"""Which profiles apply, at which priority, and why the others do not.

Wishes come from the caller, from the list in the VM's metadata, and from what
those require. The caller's entry goes before the metadata's, that before
`requires`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .errors import NotFoundError, ProfileError, UsageError, VersionError
from .provenance import OVERRIDE_PRIORITY, Skipped, Warning
from .records import record, replace
from .wishlist import Entry, Request, together

if TYPE_CHECKING:
    from .profile import Profile
    from .record import Record
    from .store import ProfileStore


@record
class Selected:
    """A profile that applies. `source` is caller, metadata, auto or requires."""

    profile: Profile
    priority: int
    source: str
    params: Mapping[str, str]
    wish: str | None
    #: it is on the VM's list, so that secrets that nobody tells are those the VM has
    listed: bool = False

    @property
    def name(self) -> str:
        return self.profile.name


@record
class Selection:
    """What was selected and what was not."""

    selected: list[Selected]
    skipped: list[Skipped]
    warnings: list[Warning]
    #: what the caller named, merged with what the metadata said of it
    named: list[Request]
    entries: list[Entry]
    #: name as the caller spelled it -> params that are secret
    secrets: dict[str, set[str]]


class Selector:
    """Tells which profiles are asked for, by whom, and while which others apply."""

    def __init__(
        self,
        store: ProfileStore,
        requests: Sequence[Request],
        entries: Sequence[Entry],
        override: bool = False,
        auto: bool | frozenset[str] = False,
        guest: Selected | None = None,
        withdraw: frozenset[str] = frozenset(),
    ) -> None:
        """:param auto: of those that select themselves all, or only those of these names
        :param guest: the recommendations for the guest's OS, where the metadata asks for them
        :param withdraw: profiles that do not apply this time

        :raises ProfileError: what is excluded, not found or named twice, all of it
        """
        self.store = store
        self.guest = guest
        self.entries = list(entries)
        self.warnings: list[Warning] = []
        self.excluded = {one.request.name for one in entries if one.exclude} | withdraw
        self._exclude_replacements()
        listed = {one.request.name: one.request for one in entries}
        self._listed = set(listed)
        self.wishes: list[tuple[Request, str]] = []
        self.named: list[Request] = []
        errors: list[ProfileError] = []
        for request in requests:
            if request.name in self.excluded and not request.include:
                errors.append(_excluded(request.name))
                continue
            self.excluded.discard(request.name)
            known = listed.pop(request.name, None)
            priority = request.priority
            if priority is None and override:
                priority = OVERRIDE_PRIORITY
            if known is not None:
                request = replace(
                    request,
                    version=request.version or known.version,
                    params={**known.params, **request.params},
                )
                priority = known.priority if priority is None else priority
            if priority != request.priority:
                request = replace(request, priority=priority)
            self.named.append(request)
            self.wishes.append((request, "caller"))
        self.wishes += [(one, "metadata") for one in listed.values() if one.name not in self.excluded]
        if errors:
            raise together(errors)
        self._requirements: dict[str, list[Profile]] = {}
        self._barred: dict[str, Skipped] = {}
        self._made: dict[tuple[str, int], Selected] = {}
        #: name as the caller spelled it -> the params that are secret
        self.secrets: dict[str, set[str]] = {}
        self._profiles = self._lookup()
        named = {profile.name for profile, _, _ in self._profiles}
        self._automatic: list[Profile] = []
        if auto:
            these = None if auto is True else auto
            self._automatic = [
                one
                for one in store.automatic()
                if one.name not in named and (these is None or one.name in these)
            ]

    def _exclude_replacements(self) -> None:
        """Whoever keeps a profile out keeps out what has replaced it too."""
        for name in list(self.excluded):
            try:
                self.excluded.add(self.store.resolve(name, None)[0].name)
            except ProfileError:
                continue  # nothing of that name can be selected

    def _lookup(self) -> list[tuple[Profile, Request, str]]:
        """Find the profiles of all wishes, and of what they require, or report all that miss."""
        found: list[tuple[Profile, Request, str]] = []
        errors: list[ProfileError] = []
        callers: dict[str, Request] = {}
        for request, source in self.wishes:
            try:
                profile = self._get(request.name, request.version)
            except ProfileError as problem:
                errors.append(problem)
                continue
            if source == "caller":
                self.secrets[request.name] = {param.name for param in profile.params if param.secret}
                # Another name may lead here too: replaced-by was followed.
                other = callers.setdefault(profile.name, request)
                if profile.name in self.excluded:
                    errors.append(_excluded(profile.name))
                elif other is not request and replace(other, name="") != replace(request, name=""):
                    errors.append(
                        UsageError(
                            f"'{other.name}' and '{request.name}' are both profile '{profile.name}',"
                            " named twice, differently",
                            hint="name it once, with all that it should have",
                        )
                    )
            if all(profile.name != known.name for known, _, _ in found):
                found.append((profile, request, source))
        if errors:
            raise together(errors)
        return found

    def _get(self, name: str, version: str | None) -> Profile:
        profile, warnings = self.store.resolve(name, version)
        for warning in warnings:
            if warning not in self.warnings:
                self.warnings.append(warning)
        return profile

    def candidates(
        self, selected: Mapping[str, Selected], priorities: Mapping[str, int]
    ) -> dict[str, Selected]:
        """Every profile that somebody asks for while `selected` apply, by name.

        :param priorities: other priorities to try, by profile name
        """
        found: dict[str, Selected] = {}
        self._barred = {}
        for profile, request, source in self._profiles:
            priority = priorities.get(profile.name, request.priority or 0)
            one = self._made.get((profile.name, priority))
            if one is None:
                listed = request.name in self._listed
                one = Selected(profile, priority, source, request.params, request.version, listed)
                self._made[(profile.name, priority)] = one
            found[profile.name] = one
        if self.guest is not None and self.guest.name not in self.excluded:
            name = self.guest.name
            found[name] = replace(self.guest, priority=priorities.get(name, self.guest.priority))
        named = set(found)
        for profile in self._automatic:
            if profile.name not in named:
                priority = priorities.get(profile.name, profile.priority)
                found[profile.name] = Selected(profile, priority, "auto", {}, None)
        if self.excluded:
            for name in list(found):
                if self._is_barred(found[name].profile):
                    del found[name]
        open_names = [name for name in found if name in selected and found[name].profile.requires]
        while open_names:
            one = found[open_names.pop(0)]
            for profile in self.required(one.profile):
                if profile.name in named or self._is_barred(profile):
                    continue
                known = found.get(profile.name)
                priority = priorities.get(profile.name, one.priority)
                if known is None or known.source == "auto" or priority > known.priority:
                    found[profile.name] = Selected(profile, priority, "requires", {}, None)
                    if profile.name in selected:
                        open_names.append(profile.name)
        return found

    def _is_barred(self, profile: Profile) -> bool:
        """Is it kept out by the metadata, or does it need what is?"""
        if profile.name in self.excluded:
            return True
        barrier = self._barrier(profile, {profile.name})
        if barrier is None:
            return False
        self._barred[profile.name] = Skipped(
            profile.name,
            profile.version,
            "requires",
            f"requires '{barrier}', which the VM's metadata excludes",
        )
        return True

    def _barrier(self, profile: Profile, seen: set[str]) -> str | None:
        if not self.excluded:
            return None
        for one in self.required(profile):
            if one.name in self.excluded:
                return one.name
            if one.name not in seen:
                seen.add(one.name)
                barrier = self._barrier(one, seen)
                if barrier is not None:
                    return barrier
        return None

    # --- for the record --------------------------------------------------------

    def listed(self) -> set[str]:
        """Names of profiles that stand in the VM's list, as it will be."""
        return {profile.name for profile, _, _ in self._profiles}

    def ours(self, before: Record | None) -> set[str]:
        """Names in the VM's list, as it will be, whose entries we wrote."""
        there = {one.request.name for one in self.entries}
        known = frozenset() if before is None else before.ours
        names = {request.name for request in self.named} | (there - self.excluded)
        return {one for one in names if one in known or one not in there}

    def kept_secrets(self) -> frozenset[str]:
        """Profiles whose secret params nobody gives this time."""
        kept = set()
        seen: dict[str, Profile] = {}
        stack = [profile for profile, _, _ in self._profiles] + self._automatic
        given = {profile.name: request.params for profile, request, _ in self._profiles}
        while stack:
            profile = stack.pop()
            if profile.name in seen:
                continue
            seen[profile.name] = profile
            secret = [one.name for one in profile.params if one.secret]
            if secret and not any(one in given.get(profile.name, {}) for one in secret):
                kept.add(profile.name)
            stack.extend(self.required(profile))
        return frozenset(kept)

    def secret_values(self) -> list[str]:
        """The values of secret params that the caller gave."""
        return [
            request.params[param.name]
            for profile, request, _ in self._profiles
            for param in profile.params
            if param.secret and param.name in request.params
        ]

    def barred(self) -> list[Skipped]:
        """What the last `candidates` left out, and why."""
        return list(self._barred.values())

    def size(self) -> int:
        """How many profiles and actions there can be."""
        seen: dict[str, Profile] = {}
        stack = [profile for profile, _, _ in self._profiles] + self._automatic
        if self.guest is not None:
            stack.append(self.guest.profile)
        while stack:
            profile = stack.pop()
            if profile.name not in seen:
                seen[profile.name] = profile
                stack.extend(self.required(profile))
        return sum(1 + len(profile.actions) for profile in seen.values())

    def required(self, profile: Profile) -> list[Profile]:
        """The profiles that a profile requires.

        :raises NotFoundError, VersionError: of a required profile
        """
        known = self._requirements.get(profile.name)
        if known is not None:
            return known
        found: list[Profile] = []
        self._requirements[profile.name] = found
        errors: list[ProfileError] = []
        for one in profile.requires:
            try:
                found.append(self._get(one.profile, one.version))
            except (NotFoundError, VersionError) as problem:
                errors.append(
                    type(problem)(
                        f"profile '{profile.name}' requires '{one.profile}': {problem.message}",
                        hint=problem.hint,
                        where=f"{profile.file}:{one.line}",
                    )
                )
        if errors:
            raise together(errors)
        return found


def _excluded(name: str) -> UsageError:
    return UsageError(
        f"profile '{name}' is excluded by the VM's metadata",
        hint=f"--profile {name},include=yes takes the exclusion back",
    )
