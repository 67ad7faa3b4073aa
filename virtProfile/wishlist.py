# SPDX-License-Identifier: GPL-2.0-or-later
"""What is asked for: the caller's requests, and the list in the VM's metadata.

Before the selector, which finds the profiles that these name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .errors import InvalidDomainError, ParamError, ProfileError, UsageError
from .provenance import MAX_PRIORITY, MIN_PRIORITY
from .records import record, replace
from .worktree import child, text_of
from .xmltree import VIRTUNED_NS

if TYPE_CHECKING:
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
    entries: list[Entry] = []
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
        if any(one.request.name == name for one in entries):
            raise InvalidDomainError(
                f"the profile list names '{name}' twice",
                hint="one entry says all: priority, version, params, exclude",
                where=where,
            )
        entries.append(Entry(request, exclude == "yes", element))
    return entries


def read_requests(profiles: Iterable[str | Mapping[str, Any] | Request]) -> list[Request]:
    """The caller's wishes, each name once.

    :raises UsageError: a bad priority, one name wished twice differently, or no list of wishes
    """
    if isinstance(profiles, str | bytes | Mapping) or not isinstance(profiles, Iterable):
        raise UsageError(  # the characters of a name, or the keys of a wish, are not meant
            f"'profiles' is of the Python type '{type(profiles).__name__}'",
            hint="a list of names, or of mappings with 'name', was expected",
        )
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
    if not isinstance(one, Mapping):
        raise UsageError(
            f"a wish for a profile is of the Python type '{type(one).__name__}'",
            hint="a name, or a mapping with 'name', was expected",
        )
    unknown = set(one) - {"name", "priority", "version", "params", "include"}
    if unknown or not one.get("name"):
        raise UsageError(
            f"a wish for a profile has 'name' and may have 'priority', 'version', 'params': {dict(one)!r}"
        )
    version = one.get("version")
    if not isinstance(one.get("params") or {}, Mapping):
        raise UsageError(f"'params' of profile '{one['name']}' is no mapping of names to values")
    return Request(
        str(one["name"]),
        None if version is None else str(version),
        one.get("priority"),
        {str(name): _word(one["name"], name, value) for name, value in (one.get("params") or {}).items()},
        _include(one["name"], one.get("include", False)),
    )


def _include(profile: object, value: object) -> bool:
    if value in ("yes", "no", True, False):
        return value in ("yes", True)
    raise UsageError(f"profile '{profile}': include={value!r} is neither yes nor no")


def _word(profile: object, name: object, value: object) -> str:
    """A param's value as it is written: Python's and JSON's booleans are yes and no.

    :raises ParamError: what has no such form (None, a list)
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str | int | float):
        return str(value)
    kind = type(value).__name__
    raise ParamError(
        f"profile '{profile}': {name} is of the Python type '{kind}'",
        hint="a param is a text, a number or a boolean",
    )


def _place(error: ProfileError) -> tuple[str, int, str]:
    file, _, line = error.where.rpartition(":")
    return (file, int(line), error.message) if line.isdigit() else (error.where, 0, error.message)


def together(errors: Sequence[ProfileError]) -> ProfileError:
    """One error that carries all the others, in the order of files and lines."""
    errors = sorted(errors, key=_place)
    first = errors[0]
    if len(errors) == 1:
        return first
    return type(first)(
        first.message,
        hint=first.hint,
        where=first.where,
        conflicts=first.conflicts,
        others=[*first.others, *(one for other in errors[1:] for one in (other, *other.others))],
    )
