# SPDX-License-Identifier: GPL-2.0-or-later
"""Which profiles apply, at which priority, and why the others do not.

Wishes come from the caller, from the list in the VM's metadata, and from what
those require. The caller's entry goes before the metadata's, that before
`requires`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .errors import InvalidDomainError, NotFoundError, ProfileError, UsageError, VersionError
from .provenance import MAX_PRIORITY, MIN_PRIORITY, OVERRIDE_PRIORITY, Skipped, Warning
from .records import record, replace
from .worktree import child, text_of
from .xmltree import VIRTUNED_NS

if TYPE_CHECKING:
    from .profile import Profile
    from .record import Record
    from .store import ProfileStore
    from .xmltree import Document

_LIST = f"{{{VIRTUNED_NS}}}virtuned"
_ENTRY = f"{{{VIRTUNED_NS}}}profile"
_PARAM = f"{{{VIRTUNED_NS}}}param"


_NO_PARAMS: Mapping[str, str] = MappingProxyType({})


@record
class Request:
    """One wish for a profile, as somebody spelled it; None is what was not said."""

    name: str
    version: str | None = None
    priority: int | None = None
    params: Mapping[str, str] = _NO_PARAMS
    include: bool = False


@record
class Entry:
    """One entry of the list in a VM's metadata."""

    request: Request
    exclude: bool
    element: Any


@record
class Selected:
    """A profile that applies. `source` is caller, metadata, auto or requires."""

    profile: Profile
    priority: int
    source: str
    params: Mapping[str, str]
    wish: str | None

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


def check_priority(value: Any, what: str, error: type[ProfileError], where: str = "") -> int:
    """An integer from -1000 to 1000.

    :raises ProfileError: of the kind `error`
    """
    try:
        number = int(str(value).strip())
    except ValueError:
        raise error(
            f"{what}: priority '{value}' is not an integer",
            hint=f"priorities go from {MIN_PRIORITY} to {MAX_PRIORITY}",
            where=where,
        ) from None
    if not MIN_PRIORITY <= number <= MAX_PRIORITY:
        raise error(
            f"{what}: priority {number} is out of range",
            hint=f"priorities go from {MIN_PRIORITY} to {MAX_PRIORITY}",
            where=where,
        )
    return number


def read_list(document: Document) -> list[Entry]:
    """The profiles that the VM's metadata names, in document order.

    :raises InvalidDomainError: a bad priority or an entry without name
    """
    metadata = child(document.root, "metadata")
    found = None if metadata is None else child(metadata, _LIST)
    if found is None:
        return []
    entries = []
    for element in found.iterchildren(_ENTRY):
        where = f"{document.name}:{element.sourceline}"
        name = element.get("name")
        if not name:
            raise InvalidDomainError("an entry of the profile list has no name", where=where)
        priority = element.get("priority")
        number = None
        if priority is not None:
            number = check_priority(priority, f"profile '{name}'", InvalidDomainError, where)
        exclude = element.get("exclude", "no")
        if exclude not in ("yes", "no"):
            raise InvalidDomainError(
                f"profile '{name}': exclude='{exclude}' is neither yes nor no", where=where
            )
        params = {one.get("name", ""): text_of(one) or "" for one in element.iterchildren(_PARAM)}
        request = Request(name, element.get("version"), number, params)
        entries.append(Entry(request, exclude == "yes", element))
    return entries


def read_requests(profiles: Iterable[str | Mapping[str, Any] | Request]) -> list[Request]:
    """The caller's wishes, each name once.

    :raises UsageError: a bad priority, or one name wished twice differently
    """
    found: dict[str, Request] = {}
    for one in profiles:
        request = _request(one)
        if request.priority is not None:
            number = check_priority(request.priority, f"profile '{request.name}'", UsageError)
            request = replace(request, priority=number)
        known = found.setdefault(request.name, request)
        if known != request:
            raise UsageError(
                f"profile '{request.name}' is named twice, differently",
                hint="name it once, with all that it should have",
            )
    return list(found.values())


def _request(one: str | Mapping[str, Any] | Request) -> Request:
    if isinstance(one, Request):
        return one
    if isinstance(one, str):
        return Request(one)
    unknown = set(one) - {"name", "priority", "version", "params", "include"}
    if unknown or not one.get("name"):
        raise UsageError(
            f"a wish for a profile has 'name' and may have 'priority', 'version', 'params': {dict(one)!r}"
        )
    version = one.get("version")
    return Request(
        str(one["name"]),
        None if version is None else str(version),
        one.get("priority"),
        {str(name): str(value) for name, value in (one.get("params") or {}).items()},
        bool(one.get("include", False)),
    )


class Selector:
    """Tells which profiles are asked for, by whom, and while which others apply."""

    def __init__(
        self,
        store: ProfileStore,
        requests: Sequence[Request],
        entries: Sequence[Entry],
        override: bool = False,
        auto: bool = False,
        withdraw: frozenset[str] = frozenset(),
    ) -> None:
        self.store = store
        self.entries = list(entries)
        self.warnings: list[Warning] = []
        self.excluded = {one.request.name for one in entries if one.exclude} | withdraw
        listed = {
            one.request.name: one.request
            for one in entries
            if not one.exclude and one.request.name not in withdraw
        }
        self.wishes: list[tuple[Request, str]] = []
        self.named: list[Request] = []
        errors: list[ProfileError] = []
        for request in requests:
            if request.name in self.excluded and not request.include:
                errors.append(
                    UsageError(
                        f"profile '{request.name}' is excluded by the VM's metadata",
                        hint=f"--profile {request.name},include=yes takes the exclusion back",
                    )
                )
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
            request = replace(request, priority=priority)
            self.named.append(request)
            self.wishes.append((request, "caller"))
        self.wishes += [(request, "metadata") for request in listed.values()]
        if errors:
            raise together(errors)
        self._requirements: dict[str, list[Profile]] = {}
        self._barred: dict[str, Skipped] = {}
        self._made: dict[tuple[str, int], Selected] = {}
        self._profiles = self._lookup()
        named = {profile.name for profile, _, _ in self._profiles}
        self._automatic: list[Profile] = []
        if auto:
            self._automatic = [one for one in store.automatic() if one.name not in named]

    def _lookup(self) -> list[tuple[Profile, Request, str]]:
        """Find the profiles of all wishes, and of what they require, or report all that miss."""
        found: list[tuple[Profile, Request, str]] = []
        errors: list[ProfileError] = []
        for request, source in self.wishes:
            try:
                found.append((self._get(request.name, request.version), request, source))
            except ProfileError as problem:
                errors.append(problem)
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
                one = Selected(profile, priority, source, request.params, request.version)
                self._made[(profile.name, priority)] = one
            found[profile.name] = one
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

    def secrets(self) -> list[str]:
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
        for one in profile.requires:
            try:
                found.append(self._get(one.profile, one.version))
            except (NotFoundError, VersionError) as problem:
                raise type(problem)(
                    f"profile '{profile.name}' requires '{one.profile}': {problem.message}",
                    hint=problem.hint,
                    where=f"{profile.file}:{one.line}",
                ) from None
        return found


def together(errors: Sequence[ProfileError]) -> ProfileError:
    """One error that carries all the others."""
    first = errors[0]
    if len(errors) == 1:
        return first
    return type(first)(
        first.message,
        hint=first.hint,
        where=first.where,
        conflicts=first.conflicts,
        others=[*first.others, *errors[1:]],
    )
