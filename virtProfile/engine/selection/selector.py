# SPDX-License-Identifier: GPL-2.0-or-later
"""Which profiles apply, at which priority, and why the others do not.

Wishes come from the caller, from the list in the VM's metadata, and from what
those require. The caller's entry goes before the metadata's, that before
`requires`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtProfile.errors import NotFoundError, ProfileError, UsageError, VersionError, together
from virtProfile.frozen import replace
from virtProfile.language.instances import as_option, base_of, is_among, resolve
from virtProfile.language.profile import OVERRIDE_PRIORITY
from virtProfile.language.requests import Selected
from virtProfile.result import Skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from virtProfile.engine.record.model import Record
    from virtProfile.language.profile import Profile
    from virtProfile.language.requests import Entry, Request
    from virtProfile.language.store import Store
    from virtProfile.result import Warning


class Selector:
    """Tells which profiles are asked for, by whom, and while which others apply."""

    def __init__(
        self,
        store: Store,
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
        #: names that are kept out, those without instance with all their instances
        self.excluded = {entry.request.name for entry in entries if entry.exclude}
        self.excluded |= self._replacements(self.excluded)
        #: names that do not apply this time
        self.withdrawn = withdraw | self._replacements(withdraw)
        listed = {entry.request.name: entry.request for entry in entries}
        self._listed = set(listed)
        self.wishes: list[tuple[Request, str]] = []
        self.named: list[Request] = []
        errors: list[ProfileError] = []
        for request in requests:
            if self.is_excluded(request.name) and not request.include:
                if not request.standing:
                    errors.append(_excluded(request.name))
                continue
            self.excluded -= {request.name, base_of(request.name)}
            self.withdrawn -= {request.name}
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
            self.wishes.append((request, "config" if request.standing else "caller"))
        barred = {
            entry.request.name for entry in entries if entry.exclude
        }  # also where the caller includes another
        self.wishes += [
            (wish, "metadata")
            for wish in listed.values()
            if wish.name not in barred and not self.is_excluded(wish.name)
        ]
        if errors:
            raise together(errors)
        self._requirements: dict[str, list[Profile]] = {}
        #: does a profile's match hold on what stands now? Set by who can judge it
        self.matches: Callable[[Profile], bool] | None = None
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
                profile
                for profile in store.automatic()
                if profile.name not in named and (these is None or profile.name in these)
            ]

    def _replacements(self, names: Iterable[str]) -> set[str]:
        """Whoever keeps a profile out keeps out what has replaced it too."""
        found = set()
        for name in names:
            try:
                found.add(resolve(self.store, name)[0].name)
            except ProfileError:
                continue  # nothing of that name can be selected
        return found

    def _lookup(self) -> list[tuple[Profile, Request, str]]:
        """Find the profiles of all wishes, and of what they require, or report all that miss."""
        found: dict[str, tuple[Profile, Request, str]] = {}
        errors: list[ProfileError] = []
        callers: dict[str, Request] = {}
        for request, source in self.wishes:
            try:
                profile = self._get(request.name, request.version)
            except NotFoundError as problem:
                if source == "metadata":  # the call does not name it, so it has no mistyped name
                    hint = "it is on the VM's list: give its directory with --profile-dir"
                    problem.hint = f"{hint}, or take it back with --unapply {request.name}; {problem.hint}"
                errors.append(problem)
                continue
            except ProfileError as problem:
                errors.append(problem)
                continue
            if source == "config" and self.is_excluded(profile.name):
                continue
            if source in ("caller", "config"):
                self.secrets[request.name] = {param.name for param in profile.params if param.secret}
                # Another name may lead here too: replaced-by was followed.
                other = callers.setdefault(profile.name, request)
                if self.is_excluded(profile.name):
                    errors.append(_excluded(profile.name))
                elif other is not request and replace(other, name="") != replace(request, name=""):
                    errors.append(
                        UsageError(
                            f"'{other.name}' and '{request.name}' are both profile '{profile.name}',"
                            " requested twice, with different settings",
                            hint="request it once, with all its settings",
                        )
                    )
            found.setdefault(profile.name, (profile, request, source))
        if errors:
            raise together(errors)
        return list(found.values())

    def _get(self, name: str, version: str | None) -> Profile:
        profile, warnings = resolve(self.store, name, version)
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
            chosen = self._made.get((profile.name, priority))
            if chosen is None:
                listed = request.name in self._listed
                chosen = Selected(profile, priority, source, request.params, request.version, listed)
                self._made[(profile.name, priority)] = chosen
            found[profile.name] = chosen
        if self.guest is not None and not self.is_excluded(self.guest.name):
            name = self.guest.name
            found[name] = replace(self.guest, priority=priorities.get(name, self.guest.priority))
        named = set(found)
        for profile in self._automatic:
            if profile.name not in named:
                priority = priorities.get(profile.name, profile.priority)
                found[profile.name] = Selected(profile, priority, "auto", {}, None)
        if self.excluded or self.withdrawn:
            for name in list(found):
                chosen = found[name]
                if self._is_barred(chosen.profile):
                    if chosen.source == "auto" and name in self.excluded:
                        fact = "the VM's metadata excludes it"
                        self._barred[name] = Skipped(name, chosen.profile.version, "excluded", fact)
                    del found[name]
        if any(name in selected and chosen.profile.requires for name, chosen in found.items()):
            self._add_required(found, named, selected, priorities)
        return found

    def _add_required(
        self,
        found: dict[str, Selected],
        named: Iterable[str],
        selected: Mapping[str, Selected],
        priorities: Mapping[str, int],
    ) -> None:
        """Add what those that apply require, and what that requires.

        :param named: those that somebody asks for by name
        """
        bases = {base_of(name) for name in named}
        open_names = [name for name in found if name in selected and found[name].profile.requires]
        while open_names:
            chosen = found[open_names.pop(0)]
            for profile in self.required(chosen.profile):
                if profile.name in bases or self._is_barred(profile):
                    continue
                known = found.get(profile.name)
                priority = priorities.get(profile.name, chosen.priority)
                if known is None or known.source == "auto" or priority > known.priority:
                    found[profile.name] = Selected(profile, priority, "requires", {}, None)
                    if profile.name in selected:
                        open_names.append(profile.name)

    def is_excluded(self, name: str) -> bool:
        """Does the profile not apply, by the VM's metadata or this time?"""
        return name in self.withdrawn or is_among(name, self.excluded)

    def _is_barred(self, profile: Profile) -> bool:
        """Is it kept out by the metadata, or does it need what is?"""
        if self.is_excluded(profile.name):
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
        if not self.excluded and not self.withdrawn:
            return None
        for required in self.required(profile):
            if self.is_excluded(required.name):
                return required.name
            if required.matches and self.matches is not None and not self.matches(required):
                continue  # skipped alone: what it requires is not required
            if required.name not in seen:
                seen.add(required.name)
                barrier = self._barrier(required, seen)
                if barrier is not None:
                    return barrier
        return None

    # --- for the record --------------------------------------------------------

    def listed(self) -> set[str]:
        """Names of profiles that stand in the VM's list, as it will be."""
        return {profile.name for profile, _, _ in self._profiles}

    def ours(self, before: Record | None) -> set[str]:
        """Names in the VM's list, as it will be, whose entries we wrote."""
        there = {entry.request.name for entry in self.entries}
        known = frozenset() if before is None else before.ours
        names = {request.name for request in self.named}
        names |= {name for name in there if not self.is_excluded(name)}
        return {name for name in names if name in known or name not in there}

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
            secret = [param.name for param in profile.params if param.secret]
            if secret and not any(name in given.get(profile.name, {}) for name in secret):
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
        for wish in profile.requires:
            try:
                found.append(self._get(wish.profile, wish.version))
            except (NotFoundError, VersionError) as problem:
                errors.append(
                    type(problem)(
                        f"profile '{profile.name}' requires '{wish.profile}': {problem.message}",
                        hint=problem.hint,
                        where=f"{profile.file}:{wish.line}",
                    )
                )
        if errors:
            raise together(errors)
        return found


def _excluded(name: str) -> UsageError:
    return UsageError(
        f"profile '{name}' is excluded by the VM's metadata",
        hint=f"{as_option(name)},include=yes takes the exclusion back",
    )
