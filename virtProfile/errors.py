# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong, by stable code: every stage of the flow raises one of these.

An error is one line of fact with the values quoted, the place it stands
(``FILE:LINE``), and one line of hint. Several independent problems of one call
travel together: the first carries the rest in ``others``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from virtProfile.frozen import record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


EXIT_DONE = 0

EXIT_FAILED = 1

EXIT_USAGE = 2

EXIT_CONFLICT = 3

EXIT_PENDING = 4


class ProfileError(Exception):
    """The base of all errors of this package.

    :param message: one line of fact, values quoted
    :param hint: one line that says what to do about it, or ""
    :param where: ``FILE:LINE`` (or ``FILE``), or ""
    :param conflicts: for ``conflict`` and ``cycle``: what cannot hold together
    :param others: further errors of the same call
    """

    code = "failed"
    exit_status = EXIT_FAILED

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        where: str = "",
        conflicts: Sequence[Conflict] = (),
        others: Iterable[ProfileError] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where
        self.conflicts = tuple(conflicts)
        self.others = tuple(others)

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message

    def to_dict(self) -> dict[str, Any]:
        """The error document of the JSON interface."""
        body: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "where": self.where,
            "conflicts": [conflict.to_dict() for conflict in self.conflicts],
        }
        if self.others:
            body["others"] = [other.to_dict()["error"] for other in self.others]
        return {"error": body}


class UsageError(ProfileError, ValueError):
    """Wrong options, priorities, or one caller naming a profile twice differently."""

    code = "usage"
    exit_status = EXIT_USAGE


class ProfileSyntaxError(ProfileError, ValueError):
    """Anything wrong inside a profile."""

    code = "syntax"


class NotFoundError(ProfileError, LookupError):
    """No profile of that name."""

    code = "not-found"


class VersionError(ProfileError, LookupError):
    """The profile exists, the wanted version does not."""

    code = "version"


class ParamError(ProfileError, ValueError):
    """A parameter is unknown, missing or of the wrong type."""

    code = "param"


class MissingContextError(ProfileError, LookupError):
    """An expression needs a document or a fact that nobody gave."""

    code = "missing-context"


class ConflictError(ProfileError):
    """The selected profiles, or a profile and the definition, cannot hold together."""

    code = "conflict"
    exit_status = EXIT_CONFLICT


class CycleError(ConflictError):
    """No selection of profiles is stable."""

    code = "cycle"


class CardinalityError(ProfileError):
    """``multiple='yes'`` of what can be only one."""

    code = "cardinality"
    exit_status = EXIT_CONFLICT


class CheckError(ProfileError):
    """A ``<check>`` of a selected profile does not hold in the result."""

    code = "check"
    exit_status = EXIT_CONFLICT


class CompletionError(ProfileError):
    """A device cannot be made to work."""

    code = "completion"


class InvalidDomainError(ProfileError, ValueError):
    """The input is no domain, or the result would not be a valid one."""

    code = "invalid-domain"


class PolicyError(ProfileError, PermissionError):
    """Refused: DTD, entities, limits, forbidden elements, unsafe directories."""

    code = "policy"


class LibvirtError(ProfileError):
    """libvirt said no; the message is libvirt's."""

    code = "libvirt"


class ServiceError(ProfileError, ConnectionError):
    """A service cannot be reached, or gives no answer that can be read."""


@record
class ConflictValue:
    """One of the wishes that meet in a conflict.

    ``origin`` is a mapping with the keys of an ORIGIN, or "definition".
    """

    value: str | None
    priority: int
    constraint: str
    origin: Any

    def to_dict(self) -> dict[str, Any]:
        return {
            "value": self.value,
            "priority": self.priority,
            "constraint": self.constraint,
            "origin": self.origin,
        }


@record
class Conflict:
    """One path on which values cannot hold together, and the fixes that were tried."""

    path: str
    values: tuple[ConflictValue, ...]
    fixes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "values": [value.to_dict() for value in self.values],
            "fixes": list(self.fixes),
        }


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """A hint "did you mean …?" with the names nearest to `name`, or ""."""
    from difflib import get_close_matches  # 10 ms that only a mistake costs

    close = get_close_matches(name, list(known), n=count, cutoff=0.6)
    if not close:
        return ""
    return "did you mean " + " or ".join(f"'{word}'" for word in close) + "?"


def _place(error: ProfileError) -> tuple[str, int, str]:
    file, _, line = error.where.rpartition(":")
    return (
        (file, int(line), error.message)
        if line.isascii() and line.isdigit()
        else (error.where, 0, error.message)
    )


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
        others=[*first.others, *(error for other in errors[1:] for error in (other, *other.others))],
    )
