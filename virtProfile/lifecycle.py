# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of profiles on a VM after they were applied: unapply, upgrade, status.

Built on the record in the VM's metadata, and on the engine: whatever is taken back,
what is still wanted is rendered anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from .context import Context
from .engine import Call, run
from .errors import MissingContextError, NotFoundError, ProfileError, UsageError, nearest
from .locating import Located, held, locate, pairs, slots
from .paths import Paths
from .recommendations import is_recommendation, recommended
from .record import Record, Written, read_record
from .records import record
from .wishlist import read_list, read_requests
from .worktree import TEXT, Element, text_of
from .xmltree import parse

if TYPE_CHECKING:
    from .profile import Profile
    from .provenance import Result, Warning
    from .selector import Selected
    from .store import ProfileStore
    from .xmltree import Document

ALL = "all"


# --- unapply -----------------------------------------------------------------------


def unapply(
    xml: str,
    profiles: str | Iterable[str] = ALL,
    *,
    store: ProfileStore,
    context: Context | None = None,
    exclude: bool = False,
    name: str = "<xml>",
) -> Result:
    """Take back what profiles did to a VM, with their entries in its list and the record.

    :param profiles: names, or "all", which needs no profile in the store for what was added
    :param exclude: keep the profiles out from now on, by an entry in the list
    :raises UsageError: a profile that is not there, or that another one requires
    :raises ProfileError: see `virtProfile.apply`
    """
    names = [profiles] if isinstance(profiles, str) else list(profiles)
    document = parse(xml, name=name)
    entries = read_list(document)
    known = read_record(document) or Record()
    listed = {one.request.name for one in entries if not one.exclude}
    there = {*listed, *(one.name for one in known.profiles)}
    everything = names == [ALL] and ALL not in there
    if everything:
        wanted = there
    else:
        wanted = set(names)
        for one in names:
            if one not in there and not exclude:
                raise UsageError(
                    f"profile '{one}' is not applied",
                    hint=nearest(one, there) or f"applied are {', '.join(sorted(there)) or 'none'}",
                    where=name,
                )
        if not exclude:
            _check_required(store, sorted(there - wanted), wanted, name)
    if not wanted and known.element is None:
        return run(Call(xml, [], store, context or Context(), name))
    call = Call(
        xml,
        [],
        store,
        context or Context(),
        name,
        _automatic(known),
        withdraw=frozenset(wanted),
        exclude=exclude,
        everything=everything,
    )
    return run(call)


def _automatic(known: Record) -> frozenset[str]:
    """Profiles that an earlier call selected with ``auto``, and that stay."""
    return frozenset(one.name for one in known.profiles if one.source == "auto")


def _check_required(store: Any, rest: Sequence[str], wanted: set[str], name: str) -> None:
    """:raises UsageError: what stays requires what is to go"""
    for one in rest:
        try:
            profile = store.resolve(one)[0]
        except ProfileError:
            continue  # the engine tells of it
        for needed in profile.requires:
            if needed.profile in wanted:
                raise UsageError(
                    f"profile '{one}' requires '{needed.profile}'",
                    hint=f"unapply '{one}' too, or keep '{needed.profile}' out with --exclude",
                    where=name,
                )


# --- upgrade -----------------------------------------------------------------------


class _Pinned:
    """A store in which profiles stay at the versions of a record."""

    def __init__(self, store: Any, pins: Mapping[str, str]) -> None:
        self._store = store
        self._pins = pins

    def resolve(self, name: str, version: str | None = None) -> tuple[Profile, list[Warning]]:
        pin = self._pins.get(name)
        if pin is not None:
            try:
                profile = self._store.get(name, pin)
            except ProfileError:
                profile = None
            if profile is not None and profile.version == pin and not profile.replaced_by:
                return profile, []
        found: tuple[Profile, list[Warning]] = self._store.resolve(name, version)
        return found

    def get(self, name: str, version: str | None = None) -> Profile:
        found: Profile = self._store.get(name, version)
        return found

    def automatic(self) -> list[Profile]:
        return [self.resolve(one.name)[0] for one in self._store.automatic()]

    def one_look(self) -> AbstractContextManager[None]:
        look: AbstractContextManager[None] = self._store.one_look()
        return look


def upgrade(
    xml: str,
    profiles: Iterable[str] = (),
    *,
    store: ProfileStore,
    context: Context | None = None,
    name: str = "<xml>",
) -> Result:
    """Bring profiles of a VM to the newest versions that their entries allow.

    :param profiles: names; the others stay at their versions, as far as the store has
        them. None named is all.
    :raises UsageError: a profile that is not applied
    :raises ProfileError: see `virtProfile.apply`
    """
    names = set(profiles)
    known = read_record(parse(xml, name=name)) or Record()
    for one in sorted(names):
        if known.get(one) is None:
            there = [profile.name for profile in known.profiles]
            raise UsageError(
                f"profile '{one}' is not applied",
                hint=nearest(one, there) or f"applied are {', '.join(there) or 'none'}",
                where=name,
            )
    pins = {one.name: one.version for one in known.profiles if names and one.name not in names}
    pinned = _Pinned(store, pins)
    return run(Call(xml, read_requests([]), pinned, context or Context(), name, _automatic(known)))


# --- status ------------------------------------------------------------------------


@record
class Drift:
    """A value that a profile wrote and that is another now; None is absent."""

    path: str
    written: str | None
    has: str | None

    def to_dict(self) -> dict[str, Any]:
        return {"path": self.path, "written": self.written, "has": self.has}


@record
class ProfileStatus:
    """How one profile stands on a VM.

    `state` is applied, listed (the next apply brings it), withdrawn (the next apply
    takes it back), excluded. `newest` is the newest version that its entry allows,
    None where the store has none. `changed`: has the store another text of the version?
    """

    name: str
    version: str | None
    priority: int
    state: str
    source: str
    newest: str | None
    changed: bool
    drift: tuple[Drift, ...]

    @property
    def outdated(self) -> bool:
        """Is there a newer version, or another text of this one?"""
        return self.changed or (
            self.version is not None and self.newest is not None and self.newest != self.version
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "priority": self.priority,
            "state": self.state,
            "source": self.source,
            "newest": self.newest,
            "changed": self.changed,
            "outdated": self.outdated,
            "missing": self.newest is None,
            "drift": [one.to_dict() for one in self.drift],
        }


@record
class Status:
    """The profiles of a VM."""

    profiles: tuple[ProfileStatus, ...]
    warnings: tuple[Any, ...] = ()

    @property
    def pending(self) -> bool:
        """Would an apply have anything to do, as far as versions and lists tell?"""
        return any(one.outdated or one.state in ("listed", "withdrawn") for one in self.profiles)

    def to_dict(self) -> dict[str, Any]:
        return {
            "profiles": [one.to_dict() for one in self.profiles],
            "pending": self.pending,
            "warnings": [one.to_dict() for one in self.warnings],
        }


def status(xml: str, *, store: ProfileStore, context: Context | None = None, name: str = "<xml>") -> Status:
    """Which profiles apply to a VM, what is newer, and what was changed by hand since.

    Reads the record and renders nothing.

    :raises ProfileError: the domain or its list cannot be read
    """
    document = parse(xml, name=name)
    entries = {one.request.name: one for one in read_list(document)}
    known = read_record(document) or Record()
    schema = (context or Context()).domain_schema
    drift: dict[str, list[Drift]] = {}
    if known.profiles:
        paths = Paths(document.root, schema)
        for place in locate(document.root, schema, known):
            drift.setdefault(place.profile.name, []).extend(_drift(place, paths))
    rows = []
    guest = _recommended(document)
    with store.one_look():
        for one in known.profiles:
            made = guest is not None and one.name == guest.name
            entry = entries.pop(one.name, None)
            state = "applied"
            if entry is not None and entry.exclude or entry is None and one.source == "list":
                state = "withdrawn"
            elif is_recommendation(one.name) and not made:
                state = "withdrawn"
            wish = None if entry is None else entry.request.version
            newest = guest.profile if made and guest is not None else _newest(store, one.name, wish)
            same = newest is not None and newest.version == one.version
            rows.append(
                ProfileStatus(
                    one.name,
                    one.version,
                    one.priority,
                    state,
                    one.source,
                    None if newest is None else newest.version,
                    same and newest is not None and not newest.digest.startswith(one.digest),
                    tuple(drift.get(one.name, ())),
                )
            )
        for entry in entries.values():
            request = entry.request
            newest = _newest(store, request.name, request.version)
            state = "excluded" if entry.exclude else "listed"
            found = None if newest is None else newest.version
            rows.append(
                ProfileStatus(request.name, None, request.priority or 0, state, "list", found, False, ())
            )
        if guest is not None and known.get(guest.name) is None and guest.name not in entries:
            version = guest.profile.version
            rows.append(
                ProfileStatus(guest.name, None, guest.priority, "listed", "metadata", version, False, ())
            )
    rows.sort(key=lambda row: row.name)
    return Status(tuple(rows), tuple(known.warnings))


def _recommended(document: Document) -> Selected | None:
    """What the guest's OS recommends, where libosinfo can tell."""
    try:
        return recommended(document)
    except MissingContextError:
        return None


def _newest(store: Any, name: str, version: str | None) -> Profile | None:
    try:
        found: Profile = store.resolve(name, version)[0]
    except NotFoundError:
        return None
    except ProfileError:
        return None
    return found


def _drift(one: Located, paths: Paths) -> Iterator[Drift]:
    """What of an entry is not as it was written."""
    entry = one.entry
    if entry.kind == "del":
        if one.parent is not None and any(True for _ in one.parent.iterchildren(entry.written.tag)):
            return  # there may be others of its like
        return
    if one.element is None:
        if entry.gone or one.parent is None and entry.kind == "add":
            return
        path = paths.of(one.parent) if one.parent is not None else f"/domain/{entry.at}"
        if entry.kind == "add":
            yield Drift(f"{path}/{entry.written.tag}", _flat(entry.written), None)
        return
    if not entry.gone:
        yield from _differences(one.element, one.node, entry.written, paths)


def _differences(element: Element, node: Any, written: Written, paths: Paths) -> Iterator[Drift]:
    for slot, value in slots(written):
        if not held(element, node, slot, written):
            has = text_of(element) if slot == TEXT else element.get(slot[1:])
            yield Drift(paths.of(element, slot if slot != TEXT else ""), value, has)
    for below, inner, part in pairs(element, node, written):
        if below is None:
            yield Drift(f"{paths.of(element)}/{part.tag}", _flat(part), None)
        else:
            yield from _differences(below, inner, part, paths)


def _flat(written: Written) -> str:
    words = [f"{name}='{value}'" for name, value in written.attrs.items()]
    return " ".join(words) or written.text or written.tag
