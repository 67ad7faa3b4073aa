# SPDX-License-Identifier: GPL-2.0-or-later
"""What is asked for: the caller's requests, and the list in the VM's metadata.

Before the selector, which finds the profiles that these name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from virtProfile.errors import InvalidDomainError, ParamError, PolicyError, UsageError
from virtProfile.format.document import VIRTUNED_NS
from virtProfile.format.element import child, text_of
from virtProfile.frozen import record, replace
from virtProfile.language.instances import named, parts
from virtProfile.language.profile import MAX_PRIORITY, MIN_PRIORITY

if TYPE_CHECKING:
    from lxml import etree

    from virtProfile.errors import ProfileError
    from virtProfile.format.document import Document
    from virtProfile.language.profile import Profile
    from virtProfile.result import Skipped, Warning


_LIST = f"{{{VIRTUNED_NS}}}virtuned"

_ENTRY = f"{{{VIRTUNED_NS}}}profile"

_PARAM = f"{{{VIRTUNED_NS}}}param"

#: Entries of a VM's list: each is looked for in every directory of profiles.
MAX_LISTED = 256

#: Names of profiles and of instances.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")

_NO_PARAMS: Mapping[str, str] = MappingProxyType({})


@record
class Request:
    """One wish for a profile, as somebody spelled it; None is what was not said.

    The name of an instance is ``NAME#INSTANCE``, see `instances`.
    """

    name: str
    version: str | None = None
    priority: int | None = None
    params: Mapping[str, str] = _NO_PARAMS
    include: bool = False
    #: it is a site's or a user's for all new VMs, see `standing`
    standing: bool = False


@record
class Entry:
    """One entry of the list in a VM's metadata."""

    request: Request
    exclude: bool
    element: etree._Element


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
    :raises PolicyError: more entries than `MAX_LISTED`
    """
    metadata = child(document.root, "metadata")
    found = None if metadata is None else child(metadata, _LIST)
    if found is None:
        return []
    entries: list[Entry] = []
    known: set[str] = set()
    for element in found.iterchildren(_ENTRY):
        where = f"{document.name}:{element.sourceline}"
        if len(entries) >= MAX_LISTED:
            raise PolicyError(f"the profile list has more than {MAX_LISTED} profiles", where=where)
        name = element.get("name")
        if not name:
            raise InvalidDomainError("an entry of the profile list has no name", where=where)
        name = _named(name, element.get("instance"), InvalidDomainError, where)
        priority = element.get("priority")
        number = None
        if priority is not None:
            number = check_priority(priority, f"profile '{name}'", InvalidDomainError, where)
        exclude = element.get("exclude", "no")
        if exclude not in ("yes", "no"):
            raise InvalidDomainError(f"profile '{name}': exclude='{exclude}' is not yes or no", where=where)
        params = {param.get("name", ""): text_of(param) or "" for param in element.iterchildren(_PARAM)}
        request = Request(name, element.get("version"), number, params)
        if name in known:
            raise InvalidDomainError(
                f"the profile list has '{name}' twice",
                hint="keep one entry with its priority, version, params and exclude",
                where=where,
            )
        known.add(name)
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
    for profile in profiles:
        request = _request(profile)
        if request.priority is not None:
            number = check_priority(request.priority, f"profile '{request.name}'", UsageError)
            request = replace(request, priority=number)
        known = found.setdefault(request.name, request)
        if known != request:
            raise UsageError(
                f"profile '{request.name}' is requested twice, with different settings",
                hint="request it once, with all its settings",
            )
    return list(found.values())


def _request(wish: str | Mapping[str, Any] | Request) -> Request:
    if isinstance(wish, Request):
        return wish
    if isinstance(wish, str):
        return Request(_named(wish, None, UsageError))
    if not isinstance(wish, Mapping):
        raise UsageError(
            f"a profile request is of the Python type '{type(wish).__name__}'",
            hint="a name, or a mapping with 'name', was expected",
        )
    unknown = set(wish) - {"name", "instance", "priority", "version", "params", "include", "standing"}
    if unknown or not wish.get("name"):
        raise UsageError(
            "a profile request must have 'name' and may have 'instance', 'priority', 'version', 'params':"
            f" {dict(wish)!r}"
        )
    version = wish.get("version")
    if not isinstance(wish.get("params") or {}, Mapping):
        raise UsageError(f"'params' of profile '{wish['name']}' is not a mapping of names to values")
    return Request(
        _named(str(wish["name"]), wish.get("instance"), UsageError),
        None if version is None else str(version),
        wish.get("priority"),
        {str(name): _word(wish["name"], name, value) for name, value in (wish.get("params") or {}).items()},
        _include(wish["name"], wish.get("include", False)),
        bool(wish.get("standing", False)),
    )


def _named(name: str, instance: Any, error: type[ProfileError], where: str = "") -> str:
    """The name of an instance, also where it is given as ``NAME#INSTANCE``.

    :raises ProfileError: of the kind `error`
    """
    base, given = parts(name)
    if given is None:
        given = instance
    elif instance is not None and str(instance) != given:
        raise error(f"profile '{name}': instance='{instance}' names another instance", where=where)
    if given is None:
        return name
    if not NAME.fullmatch(str(given)):
        raise error(
            f"profile '{base}': invalid instance name '{given}'",
            hint="use letters, digits and ._+-, starting with a letter or digit, at most 64 characters",
            where=where,
        )
    return named(base, str(given))


def _include(profile: object, value: object) -> bool:
    if value in ("yes", "no", True, False):
        return value in ("yes", True)
    raise UsageError(f"profile '{profile}': include={value!r} is not yes or no")


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
        hint="give a string, a number or a boolean",
    )


def split(value: str, option: str = "--profile") -> list[str]:
    """The parts of an option's value: separated by commas, a doubled comma is a
    literal one, double quotes protect, in them a backslash protects a quote.

    :raises UsageError: a quote without end
    """
    parts: list[str] = []
    part: list[str] = []
    quoted = False
    position = 0
    while position < len(value):
        character = value[position]
        following = value[position + 1 : position + 2]
        position += 1
        if quoted and character == "\\" and following in ('"', "\\"):
            part.append(following)
            position += 1
        elif character == '"':
            quoted = not quoted
        elif character != "," or quoted:
            part.append(character)
        elif following == ",":
            part.append(",")
            position += 1
        else:
            parts.append("".join(part))
            part = []
    if quoted:
        raise UsageError(f"{option} {value}: a double quote is not closed")
    parts.append("".join(part))
    return parts


#: The value of ``--profile`` that leaves standing profiles out.
NONE = "none"


def profile_wish(value: str, option: str = "--profile") -> dict[str, Any]:
    """One ``--profile`` value as the mapping that `virtProfile.apply` takes.

    :raises UsageError: no name, a part without value, a part given twice, a bad include=
    """
    name, *rest = split(value, option)
    name, instance = parts(name.removeprefix("name="))
    wish: dict[str, Any] = {"name": name, "params": {}}
    if instance is not None:
        wish["instance"] = instance
    if not wish["name"]:
        raise UsageError(f"{option} {value}: the name of a profile is missing")
    for part in rest:
        key, sign, word = part.partition("=")
        if not part:
            continue
        if not sign or not key:
            raise UsageError(
                f"{option} {value}: '{part}' is not of the form PARAM=VALUE",
                hint="a comma inside a value is written ',,', or the value in double quotes",
            )
        if key in wish or key in wish["params"]:
            raise UsageError(f"{option} {value}: '{key}' is given twice")
        if key == "include":
            if word not in ("yes", "no"):
                raise UsageError(f"{option} {value}: include='{word}' is not yes or no")
            wish["include"] = word == "yes"
        elif key in ("priority", "version", "instance"):
            wish[key] = word
        else:
            wish["params"][key] = word
    return wish


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
