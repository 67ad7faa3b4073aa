# SPDX-License-Identifier: GPL-2.0-or-later
"""Who owns a value, and what a run of the flow reports: origins, changes, the `Result`.

The records here are the interface between the engine and every front end, and
their ``to_dict`` is the JSON of all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from virtProfile.frozen import record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


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
        place = (
            f"{self.file}:{self.line}" if self.line else self.file
        )  # the record and --complete have no lines
        return f"{self.profile} {self.version} ({purpose}{place})"


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


#: Begins the hint of a wish that is not carried out because another one of its action is not (``whole=``).
ALL_OR_NOTHING = "it is all or nothing"


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
    #: of a profile that is selected several times; None where it is not named as one
    instance: str | None = None
    #: changed, held (all it wishes is so already) or none
    effect: str = "none"

    @property
    def label(self) -> str:
        """The name in reports, with the instance: ``NAME#INSTANCE``."""
        return self.name if self.instance is None else f"{self.name}#{self.instance}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "instance": self.instance,
            "version": self.version,
            "priority": self.priority,
            "source": self.source,
            "digest": self.digest,
            "effect": self.effect,
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


#: The code of a warning: the guest sees other hardware than before.
GUEST_ABI = "guest-abi"


@record
class Idle:
    """An action without effect, and why."""

    profile: str
    version: str
    action: str
    file: str
    line: int
    reason: str

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__match_args__}


@record
class Warning:
    """Something to know that does not stop the work; `code` is stable.

    `severity` is warning or info, `fix` what to give to ``--profile``, "" where nothing is known to help.
    """

    code: str
    message: str
    where: str = ""
    profile: str = ""
    severity: str = "warning"
    fix: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__match_args__}


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
        document = {
            name: getattr(self, name) for name in ("path", "size", "format", "source", "pool", "volume")
        }
        return {**document, "origins": [origin.to_dict() for origin in self.origins]}


class Result:
    """What `apply` gives.

    Paths and lines of the changes, and all that explains them, are worked out
    when they are first asked for.

    :ivar xml: the output; `input` is what came in
    :ivar changed: does the output differ, the list and record of profiles aside?
    :ivar idle: actions without effect, and why
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
        idle: Sequence[Idle] = (),
        count: int | None = None,
    ) -> None:
        self.xml = xml
        self.input = input
        self.changed = changed
        self.applied = tuple(applied)
        self.skipped = tuple(skipped)
        self.idle = tuple(idle)
        self.warnings = tuple(warnings)
        self.wishes = wishes
        self.kept_out = kept_out
        self._changes = changes
        self._count = count
        self._overridden = overridden
        self._owned = owned
        self.storage = tuple(storage)
        self.unused = tuple(unused)
        self.secrets: tuple[str, ...] = ()
        #: gives the result as it may be shown
        self.veil: Callable[[Result], Result] | None = None

    def __repr__(self) -> str:
        names = ", ".join(profile.label for profile in self.applied)
        return f"<Result {'changed' if self.changed else 'unchanged'} by {names or 'nothing'}>"

    @property
    def changes(self) -> tuple[Change, ...]:
        """Every difference between input and output, in the order of the text."""
        self._changes = found = _made(self._changes)
        return found

    @property
    def count(self) -> int:
        """How many `changes` there are: known without making them."""
        return len(self.changes) if self._count is None else self._count

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
        """The JSON document that all interfaces share: `xml` has the secrets, nothing else."""
        if self.veil is not None:
            return self.veil(self).to_dict()
        document = {
            "xml": self.xml,
            "changed": self.changed,
            "applied": [profile.to_dict() for profile in self.applied],
            "idle": [idle.to_dict() for idle in self.idle],
            "skipped": [skipped.to_dict() for skipped in self.skipped],
            "changes": [change.to_dict() for change in self.changes],
            "overridden": [loss.to_dict() for loss in self.overridden],
            "warnings": [warning.to_dict() for warning in self.warnings],
        }
        if self.storage:
            document["storage"] = [storage.to_dict() for storage in self.storage]
        return document


def _made(rows: Any) -> tuple[Any, ...]:
    return rows if isinstance(rows, tuple) else tuple(rows() if callable(rows) else rows)
