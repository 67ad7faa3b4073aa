# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of profiles on a VM after they were applied: unapply, upgrade, status.

Built on the record in the VM's metadata, and on the engine: whatever is taken back,
what is still wanted is rendered anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from virtProfile.engine.flow import Call, run
from virtProfile.engine.record.dropped import is_dropped
from virtProfile.engine.record.locate import Located, held, locate, pairs, slots
from virtProfile.engine.record.model import Record, Trust, Written, read_record
from virtProfile.engine.selection.osinfo_defaults import is_recommendation, recommended
from virtProfile.engine.tree.effort import Effort
from virtProfile.errors import MissingContextError, ProfileError, UsageError, nearest
from virtProfile.format.document import parse
from virtProfile.format.element import PRESENCE, TEXT, Element, text_of
from virtProfile.format.paths import Paths
from virtProfile.format.secret_slots import is_secret
from virtProfile.frozen import record, replace
from virtProfile.host.context import Context
from virtProfile.language.instances import base_of, is_among, resolve
from virtProfile.language.requests import read_list, read_requests
from virtProfile.language.store import OverlayStore
from virtProfile.redaction import STARS, is_foreign
from virtProfile.result import Warning

if TYPE_CHECKING:
    from virtProfile.format.document import Document
    from virtProfile.format.schema import Node, Schema
    from virtProfile.language.profile import Profile
    from virtProfile.language.requests import Entry, Selected
    from virtProfile.language.store import Store
    from virtProfile.result import Result

ALL = "all"


# --- unapply -----------------------------------------------------------------------


def unapply(
    xml: str,
    profiles: str | Iterable[str] = ALL,
    *,
    store: Store,
    context: Context | None = None,
    exclude: bool = False,
    wishes: Iterable[str | Mapping[str, Any]] = (),
    override: bool = False,
    trust: Trust | str = Trust.RECORD,
    name: str = "<xml>",
) -> Result:
    """Take back what profiles did to a VM, with their entries in its list and the record.

    :param profiles: names, or "all", which needs no profile in the store for what was added
    :param exclude: keep the profiles out from now on, by an entry in the list
    :param wishes: profiles that are applied in the same step, as of `virtProfile.apply`, with its `override`
    :param trust: how far the record is believed, see `engine.record.trust`
    :raises UsageError: a profile that is not there, or that another one requires
    :raises ProfileError: see `virtProfile.apply`
    """
    names = [profiles] if isinstance(profiles, str) else list(profiles)
    document = parse(xml, name=name)
    entries = read_list(document)
    known = read_record(document) or Record()
    there = _there(entries, known)
    requests = read_requests(wishes)
    everything = names == [ALL] and ALL not in there
    if everything:
        wanted = there
        everything = not requests
    else:
        wanted = set(names)
        if exclude:  # all instances of what is named without one
            wanted |= {instance for instance in there if is_among(instance, names)}
        for profile in names:
            if profile not in there and not exclude:
                raise UsageError(
                    f"profile '{profile}' is not applied",
                    hint=nearest(profile, there) or f"applied are {', '.join(sorted(there)) or 'none'}",
                    where=name,
                )
        if not exclude:
            _check_required(store, sorted(there - wanted), wanted, name)
    if not wanted and known.element is None:
        made = context or Context()
        return run(Call(xml, requests, store, made, name, override=override, trust=Trust(trust)))
    call = Call(
        xml,
        requests,
        store,
        context or Context(),
        name,
        _automatic(known),
        override,
        withdraw=frozenset(wanted),
        exclude=exclude,
        everything=everything,
        trust=Trust(trust),
    )
    result = run(call)
    result.warnings += tuple(_kept(document, known, wanted, call.context.domain_schema, result))
    return result


def _there(entries: Iterable[Entry], known: Record) -> set[str]:
    """What may be taken back: what is on the list and what the record has."""
    listed = {entry.request.name for entry in entries if not entry.exclude}
    return {*listed, *(recorded.name for recorded in known.profiles)}


def listed_names(xml: str, name: str = "<xml>") -> list[str]:
    """The profiles of a VM that `unapply` takes, sorted.

    :raises ProfileError: the domain or its list cannot be read
    """
    document = parse(xml, name=name)
    return sorted(_there(read_list(document), read_record(document) or Record()))


def _kept(
    document: Document, known: Record, names: Collection[str], schema: Schema, result: Result
) -> Iterator[Warning]:
    """What stays though a profile wrote it, as it was changed by hand since."""
    found = _drifts(document, known, schema)
    changed = [change.path for change in result.changes if change.op in ("set", "remove")]
    for name in sorted(names):
        for drift in found.get(name, ()):
            goes = any(drift.path == path or drift.path.startswith(f"{path}/") for path in changed)
            if drift.has is None or goes:
                continue
            hidden = is_secret(drift.path) or is_foreign(drift.path)
            has, written = (STARS, STARS) if hidden else (drift.has, drift.written)
            yield Warning(
                "kept",
                f"{drift.path} stays '{has}': it was changed since '{name}' wrote '{written}'",
                profile=name,
                severity="info",
            )


def _automatic(known: Record) -> frozenset[str]:
    """Profiles that an earlier call selected with ``auto``, and that stay."""
    return frozenset(profile.name for profile in known.profiles if profile.source == "auto")


def _check_required(store: Store, rest: Sequence[str], wanted: set[str], name: str) -> None:
    """:raises UsageError: what stays requires what is to go"""
    for remaining in rest:
        try:
            profile = resolve(store, remaining)[0]
        except ProfileError:
            continue  # the engine tells of it
        there = {base_of(other) for other in rest}
        for needed in profile.requires:
            if needed.profile in wanted and needed.profile not in there:
                raise UsageError(
                    f"profile '{remaining}' requires '{needed.profile}'",
                    hint=f"unapply '{remaining}' too, or keep '{needed.profile}' out with --exclude",
                    where=name,
                )


# --- upgrade -----------------------------------------------------------------------


def _pinned(store: Store, pins: Mapping[str, str]) -> Store:
    """A store in which profiles stay at the versions of a record, as far as it has them."""
    found = []
    with store.one_look():
        for name, version in pins.items():
            try:
                profile = store.get(name, version)
            except ProfileError:
                continue  # what resolving the name gives
            if profile.version == version and not profile.replaced_by:
                found.append(profile)
    return OverlayStore(found, store)


def upgrade(
    xml: str,
    profiles: Iterable[str] = (),
    *,
    store: Store,
    context: Context | None = None,
    trust: Trust | str = Trust.RECORD,
    name: str = "<xml>",
) -> Result:
    """Bring profiles of a VM to the newest versions that their entries allow.

    :param profiles: names; the others stay at their versions, as far as the store has
        them. None named is all.
    :param trust: how far the record is believed, see `engine.record.trust`
    :raises UsageError: a profile that is not applied
    :raises ProfileError: see `virtProfile.apply`
    """
    names = set(profiles)
    known = read_record(parse(xml, name=name)) or Record()
    for named in sorted(names):
        if known.get(named) is None:
            there = [profile.name for profile in known.profiles]
            raise UsageError(
                f"profile '{named}' is not applied",
                hint=nearest(named, there) or f"applied are {', '.join(there) or 'none'}",
                where=name,
            )
    pins = {
        base_of(entry.name): entry.version
        for entry in known.profiles
        if names and not is_among(entry.name, names)
    }
    for instance in names:  # instances of one version are newer together
        pins.pop(base_of(instance), None)
    pinned = _pinned(store, pins)
    call = Call(
        xml, read_requests([]), pinned, context or Context(), name, _automatic(known), trust=Trust(trust)
    )
    return run(call)


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

    `state` is applied, listed (the next apply brings it), skipped (it is listed and does not
    apply, where that was judged), withdrawn (the next apply takes it back), excluded.
    `newest` is the newest version that its entry allows, None where the store has none.
    `changed`: has the store another text of the version?
    """

    name: str
    version: str | None
    priority: int
    state: str
    source: str
    newest: str | None
    changed: bool
    drift: tuple[Drift, ...]
    #: "changed", or "none" where the record has nothing that it did; None where it was not applied
    effect: str | None = None

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
            "drift": [drift.to_dict() for drift in self.drift],
            "effect": self.effect,
        }


@record
class Status:
    """The profiles of a VM."""

    profiles: tuple[ProfileStatus, ...]
    warnings: tuple[Any, ...] = ()

    @property
    def pending(self) -> bool:
        """Would an apply have anything to do, as far as versions and lists tell?"""
        return any(profile.outdated or profile.state in ("listed", "withdrawn") for profile in self.profiles)

    def to_dict(self) -> dict[str, Any]:
        return {
            "profiles": [profile.to_dict() for profile in self.profiles],
            "pending": self.pending,
            "warnings": [warning.to_dict() for warning in self.warnings],
        }


def status(xml: str, *, store: Store, context: Context | None = None, name: str = "<xml>") -> Status:
    """Which profiles apply to a VM, what is newer, and what was changed by hand since.

    Reads the record and renders nothing.

    :raises ProfileError: the domain or its list cannot be read
    """
    document = parse(xml, name=name)
    entries = {listed.request.name: listed for listed in read_list(document)}
    known = read_record(document) or Record()
    drift = _drifts(document, known, (context or Context()).domain_schema)
    rows = []
    guest = _recommended(document)
    with store.one_look():
        for recorded in known.profiles:
            made = guest is not None and recorded.name == guest.name
            entry = entries.pop(recorded.name, None)
            state = "applied"
            if entry is not None and entry.exclude or entry is None and recorded.source == "list":
                state = "withdrawn"
            elif is_recommendation(recorded.name) and not made:
                state = "withdrawn"
            wish = None if entry is None else entry.request.version
            newest = guest.profile if made and guest is not None else _newest(store, recorded.name, wish)
            same = newest is not None and newest.version == recorded.version
            rows.append(
                ProfileStatus(
                    recorded.name,
                    recorded.version,
                    recorded.priority,
                    state,
                    recorded.source,
                    None if newest is None else newest.version,
                    same and newest is not None and not newest.digest.startswith(recorded.digest),
                    tuple(drift.get(recorded.name, ())),
                    "changed" if recorded.entries else "none",
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


def left_out(found: Status, skipped: Collection[str]) -> Status:
    """The status where a run has judged which listed profiles do not apply."""
    profiles = tuple(
        replace(profile, state="skipped")
        if profile.state == "listed" and profile.name in skipped
        else profile
        for profile in found.profiles
    )
    return replace(found, profiles=profiles)


def _recommended(document: Document) -> Selected | None:
    """What the guest's OS recommends, where libosinfo can tell."""
    try:
        return recommended(document)
    except MissingContextError:
        return None


def _newest(store: Store, name: str, version: str | None) -> Profile | None:
    try:
        return resolve(store, name, version)[0]
    except ProfileError:
        return None


def _drifts(document: Document, known: Record, schema: Schema) -> dict[str, list[Drift]]:
    """What of the record is not as it was written, by profile."""
    found: dict[str, list[Drift]] = {}
    if known.profiles:
        paths = Paths(document.root, schema)
        effort = Effort(len(document.elements))
        for place in locate(document.root, schema, known, effort):
            found.setdefault(place.profile.name, []).extend(_drift(place, paths, effort))
    return found


def _drift(located: Located, paths: Paths, effort: Effort) -> Iterator[Drift]:
    """What of an entry is not as it was written."""
    entry = located.entry
    if entry.kind == "del":
        if located.parent is not None and any(True for _ in located.parent.iterchildren(entry.written.tag)):
            return  # there may be others of its like
        return
    if located.element is None:
        if entry.gone or located.parent is None and entry.kind == "add":
            return
        if located.parent is not None and is_dropped(located.parent, located.node, PRESENCE, entry.written):
            return
        path = paths.of(located.parent) if located.parent is not None else f"/domain/{entry.at}"
        if entry.kind == "add":
            yield Drift(f"{path}/{entry.written.tag}", entry.written.in_words(), None)
        return
    if not entry.gone:
        yield from _differences(located.element, located.node, entry.written, paths, effort)


def _differences(
    element: Element, node: Node, written: Written, paths: Paths, effort: Effort
) -> Iterator[Drift]:
    for slot, value in slots(written):
        if not held(element, node, slot, written):
            if element.get(slot[1:]) is None and is_dropped(element, node, slot):
                continue
            has = text_of(element) if slot == TEXT else element.get(slot[1:])
            yield Drift(paths.of(element, slot if slot != TEXT else ""), value, has)
    for below, inner, part in pairs(element, node, written, effort):
        if below is None and is_dropped(element, inner, PRESENCE, part):
            continue
        if below is None:
            yield Drift(f"{paths.of(element)}/{part.tag}", part.in_words(), None)
        else:
            yield from _differences(below, inner, part, paths, effort)
