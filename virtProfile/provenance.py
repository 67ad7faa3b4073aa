# SPDX-License-Identifier: GPL-2.0-or-later
"""Who owns a value, and what a run of the flow tells: origins, changes, the `Result`.

The records here are the interface between the engine and every front end, and
their ``to_dict`` is the JSON of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .records import record

#: The priority of what the VM definition itself says.
DEFINITION_PRIORITY = 99
#: The priority that ``--override`` gives.
OVERRIDE_PRIORITY = 100
MIN_PRIORITY = -1000
MAX_PRIORITY = 1000

DEFINITION = "definition"


@record
class Origin:
    """Where a wish stands: profile, version, action and file:line."""

    profile: str
    version: str
    action: str
    file: str
    line: int

    def to_dict(self) -> dict[str, Any]:
        return {
            "profile": self.profile,
            "version": self.version,
            "action": self.action,
            "file": self.file,
            "line": self.line,
        }

    @property
    def purpose(self) -> str:
        """What a device needs besides itself: "for disk sdb"; "" of what an action says."""
        return self.action if self.action.startswith("for ") else ""

    def __str__(self) -> str:
        purpose = f"{self.purpose}, " if self.purpose else ""
        return f"{self.profile} {self.version} ({purpose}{self.file}:{self.line})"


class Writer:
    """One action of one selected profile, with the weight it has; each is only itself."""

    __slots__ = ("origin", "priority", "hard", "is_default", "number", "cause")

    def __init__(
        self,
        origin: Origin,
        priority: int,
        hard: bool,
        is_default: bool = False,
        number: int = 0,
        cause: Writer | None = None,
    ) -> None:
        self.origin = origin
        self.priority = priority
        self.hard = hard
        #: judged after everything else, yields to every other writer
        self.is_default = is_default
        #: of the action in its profile: several may stand on one line
        self.number = number
        #: of what is completed: the action whose device needs it; else itself
        self.cause = cause or self

    def __repr__(self) -> str:
        return f"<Writer {self.origin} {self.priority}>"

    @property
    def constraint(self) -> str:
        return "hard" if self.hard else "soft"


#: The owner of everything that the input said.
THE_DEFINITION = Writer(Origin(DEFINITION, "", "", "", 0), DEFINITION_PRIORITY, False)


@record
class Change:
    """One difference between input and output.

    `path` is an absolute XPath of the output, of the input where `op` is
    "remove". The deciding owner is `origin`. `input_line` and `output_line`
    are 1-based lines, where the change stands in that text.
    """

    op: str
    path: str
    before: str | None
    after: str | None
    origin: Origin
    origins: tuple[Origin, ...]
    input_line: int | None = None
    output_line: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "op": self.op,
            "path": self.path,
            "before": self.before,
            "after": self.after,
            "origin": self.origin.to_dict(),
            "origins": [origin.to_dict() for origin in self.origins],
        }


@record
class Overridden:
    """A soft wish that lost. `winner` is an origin, or "definition"."""

    path: str
    wanted: str | None
    has: str | None
    loser: Origin
    winner: Origin | str
    hint: str = ""

    def to_dict(self) -> dict[str, Any]:
        winner = self.winner if isinstance(self.winner, str) else self.winner.to_dict()
        return {
            "path": self.path,
            "wanted": self.wanted,
            "has": self.has,
            "loser": self.loser.to_dict(),
            "winner": winner,
            "hint": self.hint,
        }


@record
class Applied:
    """A selected profile. `source` is caller, metadata, auto or requires."""

    name: str
    version: str
    priority: int
    source: str
    digest: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "priority": self.priority,
            "source": self.source,
            "digest": self.digest,
        }


@record
class Skipped:
    """A profile that was asked for and does not apply, and why."""

    name: str
    version: str
    reason: str
    detail: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "version": self.version,
            "reason": self.reason,
            "detail": self.detail,
        }


@record
class Warning:
    """Something to know that does not stop the work; `code` is stable."""

    code: str
    message: str
    where: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "where": self.where}


@record
class Owned:
    """One value of the output with everybody who wants it, and who lost it."""

    path: str
    value: str | None
    claims: tuple[tuple[Origin | str, int, str], ...]
    losers: tuple[Overridden, ...] = ()
    #: the conditions of those who want it, with what they looked at
    conditions: tuple[str, ...] = ()


@record
class Storage:
    """The storage of a disk that a profile adds with a size, to be made by who applies it.

    `path` is the disk's XPath in the output, `size` in bytes. `format` is libvirt's name
    (qcow2), None where the disk says none. Either `source`, a path, or `pool` and `volume`
    say where.
    """

    path: str
    size: int
    format: str | None
    source: str | None
    pool: str | None
    volume: str | None
    origins: tuple[Origin, ...]

    @property
    def place(self) -> str:
        """Where it is to be, for messages."""
        return self.source or f"{self.volume} in pool {self.pool}"

    def to_dict(self) -> dict[str, Any]:
        told = {name: getattr(self, name) for name in ("path", "size", "format", "source", "pool", "volume")}
        return {**told, "origins": [one.to_dict() for one in self.origins]}


class Result:
    """What `apply` gives.

    Paths and lines of the changes, and all that explains them, are worked out
    when they are first asked for.

    :ivar xml: the output; `input` is what came in
    :ivar changed: does the output differ, the list and record of profiles aside?
    :ivar wishes: how many things the profiles asked for
    :ivar kept_out: how many of them the VM definition kept out
    :ivar storage: what is to be made for disks that profiles add with a size
    :ivar unused: the same asked for disks that there were: of the call only, in no document
    :ivar secrets: values of secret params: what holds one is shown as ``***``
    """

    def __init__(
        self,
        xml: str,
        input: str,
        changed: bool,
        *,
        applied: Sequence[Applied] = (),
        skipped: Sequence[Skipped] = (),
        warnings: Sequence[Warning] = (),
        wishes: int = 0,
        kept_out: int = 0,
        changes: Sequence[Change] | Callable[[], Sequence[Change]] = (),
        overridden: Sequence[Overridden] | Callable[[], Sequence[Overridden]] = (),
        owned: Sequence[Owned] | Callable[[], Sequence[Owned]] = (),
        storage: Sequence[Storage] = (),
        unused: Sequence[Storage] = (),
    ) -> None:
        self.xml = xml
        self.input = input
        self.changed = changed
        self.applied = tuple(applied)
        self.skipped = tuple(skipped)
        self.warnings = tuple(warnings)
        self.wishes = wishes
        self.kept_out = kept_out
        self._changes = changes
        self._overridden = overridden
        self._owned = owned
        self.storage = tuple(storage)
        self.unused = tuple(unused)
        self.secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        names = ", ".join(one.name for one in self.applied)
        return f"<Result {'changed' if self.changed else 'unchanged'} by {names or 'nothing'}>"

    @property
    def changes(self) -> tuple[Change, ...]:
        """Every difference between input and output, in the order of the text."""
        self._changes = found = _made(self._changes)
        return found

    @property
    def overridden(self) -> tuple[Overridden, ...]:
        """Every soft wish that lost, and to whom."""
        self._overridden = found = _made(self._overridden)
        return found

    def owned(self) -> tuple[Owned, ...]:
        """Every value that a profile wants or wanted, in document order, for explanations."""
        self._owned = found = _made(self._owned)
        return found

    def to_dict(self) -> dict[str, Any]:
        """The JSON document that all interfaces share."""
        told = {
            "xml": self.xml,
            "changed": self.changed,
            "applied": [one.to_dict() for one in self.applied],
            "skipped": [one.to_dict() for one in self.skipped],
            "changes": [one.to_dict() for one in self.changes],
            "overridden": [one.to_dict() for one in self.overridden],
            "warnings": [one.to_dict() for one in self.warnings],
        }
        if self.storage:
            told["storage"] = [one.to_dict() for one in self.storage]
        return told


def _made(rows: Any) -> tuple[Any, ...]:
    return rows if isinstance(rows, tuple) else tuple(rows() if callable(rows) else rows)
