# SPDX-License-Identifier: GPL-2.0-or-later
"""JSON answers of the service and the objects of the Python interface, in both directions.

The JSON document that all interfaces share leaves out what only front ends of this
package show: `details` adds it, and `result_of` makes the same `Result` again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from virtProfile import errors
from virtProfile.errors import Conflict, ConflictValue, ProfileError
from virtProfile.result import (
    Applied,
    Change,
    Idle,
    Origin,
    Overridden,
    Owned,
    Result,
    Skipped,
    Storage,
    Warning,
)

if TYPE_CHECKING:
    from virtProfile.engine.lifecycle import Status
    from virtProfile.host.fit import Verdict
    from virtProfile.host.merge import Merged


def details(result: Result) -> dict[str, Any]:
    """What `Result.to_dict` does not tell: the balance of wishes, lines, and who wants each value.

    Secrets are in the document that goes with it; who draws the difference has to hide them.
    """
    return {
        "secrets": list(result.secrets),
        "wishes": result.wishes,
        "kept_out": result.kept_out,
        "lines": [[change.input_line, change.output_line] for change in result.changes],
        "owned": [
            {
                "path": owned.path,
                "value": owned.value,
                "claims": [
                    [_origin(who), priority, constraint] for who, priority, constraint in owned.claims
                ],
                "losers": [loser.to_dict() for loser in owned.losers],
                "conditions": list(owned.conditions),
            }
            for owned in result.owned()
        ],
    }


def _origin(who: Origin | str) -> Any:
    return who if isinstance(who, str) else who.to_dict()


def result_of(document: Mapping[str, Any], text: str) -> Result:
    """The result of an answer.

    :param document: of `Result.to_dict`, with "details" where lines, explanations and the
        balance of wishes are wanted
    :param text: the domain that was sent
    :raises KeyError, TypeError: it is something else
    """
    more = document.get("details", {})
    changes = document["changes"]
    lines: Sequence[Any] = more.get("lines") or [(None, None)] * len(changes)
    found = Result(
        document["xml"],
        text,
        document["changed"],
        applied=[Applied(**row) for row in document["applied"]],
        skipped=[Skipped(**row) for row in document["skipped"]],
        warnings=[Warning(**row) for row in document["warnings"]],
        idle=[Idle(**row) for row in document.get("idle", ())],
        wishes=more.get("wishes", 0),
        kept_out=more.get("kept_out", 0),
        changes=tuple(_change(change, *line) for change, line in zip(changes, lines, strict=True)),
        overridden=tuple(map(_overridden, document["overridden"])),
        owned=tuple(map(_owned, more.get("owned", ()))),
        storage=tuple(map(_storage, document.get("storage", ()))),
    )
    found.secrets = tuple(more.get("secrets", ()))
    return found


def _storage(row: Mapping[str, Any]) -> Storage:
    return Storage(**{**row, "origins": tuple(Origin(**who) for who in row["origins"])})


def _change(row: Mapping[str, Any], input_line: int | None, output_line: int | None) -> Change:
    origins = tuple(Origin(**origin) for origin in row["origins"])
    values = (row["op"], row["path"], row["before"], row["after"], Origin(**row["origin"]), origins)
    return Change(*values, input_line, output_line)


def _overridden(row: Mapping[str, Any]) -> Overridden:
    winner = _who(row["winner"])
    return Overridden(row["path"], row["wanted"], row["has"], Origin(**row["loser"]), winner, row["hint"])


def _who(said: Any) -> Origin | str:
    return said if isinstance(said, str) else Origin(**said)


def _owned(row: Mapping[str, Any]) -> Owned:
    return Owned(
        row["path"],
        row["value"],
        tuple((_who(who), priority, constraint) for who, priority, constraint in row["claims"]),
        tuple(map(_overridden, row["losers"])),
        tuple(row["conditions"]),
    )


def status_of(document: Mapping[str, Any]) -> Status:
    """The status of an answer.

    :raises KeyError, TypeError: it is something else
    """
    from virtProfile.engine.lifecycle import Drift, ProfileStatus, Status

    def profile(row: Mapping[str, Any]) -> ProfileStatus:
        fields = {name: value for name, value in row.items() if name not in ("outdated", "missing", "drift")}
        return ProfileStatus(**fields, drift=tuple(Drift(**drift) for drift in row["drift"]))

    warnings = tuple(Warning(**row) for row in document["warnings"])
    return Status(tuple(map(profile, document["profiles"])), warnings)


def merged_of(document: Mapping[str, Any]) -> Merged:
    """The capabilities of an answer.

    :raises KeyError, TypeError: it is something else
    """
    from virtProfile.host.merge import Excluded, Merged

    return Merged(
        document["xml"],
        tuple(document["hosts"]),
        tuple(Excluded(row["name"], row["reason"], tuple(row["lacks"])) for row in document["excluded"]),
        document["size"],
        document["proven"],
        tuple(document["notes"]),
    )


def verdicts_of(document: Mapping[str, Any]) -> list[Verdict]:
    """The hosts of an answer.

    :raises KeyError, TypeError, ValueError: it is something else
    """
    from virtProfile.host.fit import Answer, Reason, Verdict

    return [
        Verdict(
            row["host"],
            Answer(row["answer"]),
            tuple(Reason(Answer(said["answer"]), said["path"], said["message"]) for said in row["reasons"]),
        )
        for row in document["hosts"]
    ]


_CLASSES: dict[str, type[ProfileError]] = {
    error.code: error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, ProfileError) and "code" in vars(error)
}


def error_of(document: Mapping[str, Any]) -> ProfileError:
    """The error of a problem document, in its class.

    :param document: code, message, hint, where, conflicts, others; a code that is not known
        gives a `ProfileError`
    :raises KeyError, TypeError: it is something else
    """
    return _CLASSES.get(document["code"], ProfileError)(
        str(document["message"]),
        hint=str(document.get("hint") or ""),
        where=str(document.get("where") or ""),
        conflicts=[
            Conflict(
                row["path"],
                tuple(ConflictValue(**value) for value in row["values"]),
                tuple(row.get("fixes", ())),
            )
            for row in document.get("conflicts") or ()
        ],
        others=[error_of(row) for row in document.get("others") or ()],
    )
