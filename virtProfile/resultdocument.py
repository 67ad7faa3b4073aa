# SPDX-License-Identifier: GPL-2.0-or-later
"""JSON answers of the service and the objects of the Python interface, in both directions.

The JSON document that all interfaces share leaves out what only front ends of this
package show: `details` adds it, and `result_of` makes the same `Result` again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import errors
from .errors import Conflict, ConflictValue, ProfileError
from .provenance import Applied, Change, Origin, Overridden, Owned, Result, Skipped, Storage, Warning

if TYPE_CHECKING:
    from .capmerge import Merged
    from .hosts import Verdict
    from .lifecycle import Status


def details(result: Result) -> dict[str, Any]:
    """What `Result.to_dict` does not tell: the balance of wishes, lines, and who wants each value.

    Secrets are in the document that goes with it; who draws the difference has to hide them.
    """
    return {
        "secrets": list(result.secrets),
        "wishes": result.wishes,
        "kept_out": result.kept_out,
        "lines": [[one.input_line, one.output_line] for one in result.changes],
        "owned": [
            {
                "path": one.path,
                "value": one.value,
                "claims": [[_origin(who), priority, constraint] for who, priority, constraint in one.claims],
                "losers": [loser.to_dict() for loser in one.losers],
                "conditions": list(one.conditions),
            }
            for one in result.owned()
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
        applied=[Applied(**one) for one in document["applied"]],
        skipped=[Skipped(**one) for one in document["skipped"]],
        warnings=[Warning(**one) for one in document["warnings"]],
        wishes=more.get("wishes", 0),
        kept_out=more.get("kept_out", 0),
        changes=tuple(_change(one, *line) for one, line in zip(changes, lines, strict=True)),
        overridden=tuple(map(_overridden, document["overridden"])),
        owned=tuple(map(_owned, more.get("owned", ()))),
        storage=tuple(map(_storage, document.get("storage", ()))),
    )
    found.secrets = tuple(more.get("secrets", ()))
    return found


def _storage(one: Mapping[str, Any]) -> Storage:
    return Storage(**{**one, "origins": tuple(Origin(**who) for who in one["origins"])})


def _change(one: Mapping[str, Any], input_line: int | None, output_line: int | None) -> Change:
    origins = tuple(Origin(**origin) for origin in one["origins"])
    values = (one["op"], one["path"], one["before"], one["after"], Origin(**one["origin"]), origins)
    return Change(*values, input_line, output_line)


def _overridden(one: Mapping[str, Any]) -> Overridden:
    winner = _who(one["winner"])
    return Overridden(one["path"], one["wanted"], one["has"], Origin(**one["loser"]), winner, one["hint"])


def _who(said: Any) -> Origin | str:
    return said if isinstance(said, str) else Origin(**said)


def _owned(one: Mapping[str, Any]) -> Owned:
    return Owned(
        one["path"],
        one["value"],
        tuple((_who(who), priority, constraint) for who, priority, constraint in one["claims"]),
        tuple(map(_overridden, one["losers"])),
        tuple(one["conditions"]),
    )


def status_of(document: Mapping[str, Any]) -> Status:
    """The status of an answer.

    :raises KeyError, TypeError: it is something else
    """
    from .lifecycle import Drift, ProfileStatus, Status

    def profile(one: Mapping[str, Any]) -> ProfileStatus:
        told = {name: value for name, value in one.items() if name not in ("outdated", "missing", "drift")}
        return ProfileStatus(**told, drift=tuple(Drift(**drift) for drift in one["drift"]))

    warnings = tuple(Warning(**one) for one in document["warnings"])
    return Status(tuple(map(profile, document["profiles"])), warnings)


def merged_of(document: Mapping[str, Any]) -> Merged:
    """The capabilities of an answer.

    :raises KeyError, TypeError: it is something else
    """
    from .capmerge import Excluded, Merged

    return Merged(
        document["xml"],
        tuple(document["hosts"]),
        tuple(Excluded(one["name"], one["reason"], tuple(one["lacks"])) for one in document["excluded"]),
        document["size"],
        document["proven"],
        tuple(document["notes"]),
    )


def verdicts_of(document: Mapping[str, Any]) -> list[Verdict]:
    """The hosts of an answer.

    :raises KeyError, TypeError, ValueError: it is something else
    """
    from .hosts import Answer, Reason, Verdict

    return [
        Verdict(
            one["host"],
            Answer(one["answer"]),
            tuple(Reason(Answer(said["answer"]), said["path"], said["message"]) for said in one["reasons"]),
        )
        for one in document["hosts"]
    ]


_CLASSES: dict[str, type[ProfileError]] = {
    one.code: one
    for one in vars(errors).values()
    if isinstance(one, type) and issubclass(one, ProfileError) and "code" in vars(one)
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
                one["path"],
                tuple(ConflictValue(**value) for value in one["values"]),
                tuple(one.get("fixes", ())),
            )
            for one in document.get("conflicts") or ()
        ],
        others=[error_of(one) for one in document.get("others") or ()],
    )
