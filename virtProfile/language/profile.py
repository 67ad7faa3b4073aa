# SPDX-License-Identifier: GPL-2.0-or-later
"""The profile document: what a file says, as frozen records.

Knows the profile language and nothing of domain XML. Reading is in
`profileparser`.
"""

from __future__ import annotations

from enum import StrEnum

from virtProfile.frozen import record


class Kind(StrEnum):
    """What an action does."""

    ADD = "add"
    REMOVE = "remove"
    DEFAULT = "default"
    CHECK = "check"


class Multiple(StrEnum):
    """What an `add` does about what is there."""

    AUTO = "auto"
    YES = "yes"
    NO = "no"


class Constraint(StrEnum):
    """May a wish lose?"""

    SOFT = "soft"
    HARD = "hard"


class Unknown(StrEnum):
    """What follows from a condition that nobody gave the context for."""

    ERROR = "error"
    SKIP = "skip"
    APPLY = "apply"


class Severity(StrEnum):
    """How much a check's finding matters; an error stops the work."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class ParamType(StrEnum):
    """Types of params; a size is a number with an optional unit, plain is KiB."""

    INT = "int"
    STRING = "string"
    BOOL = "bool"
    SIZE = "size"


@record
class Snippet:
    """One element of domain XML inside an action or match.

    `tag` and names of foreign attributes are in Clark notation, `text` is
    stripped, values are raw: ``{…}`` is not worked out. `directives` are the
    attributes in the profile list's own namespace (`directives`).
    """

    tag: str
    attrs: tuple[tuple[str, str], ...]
    text: str | None
    children: tuple[Snippet, ...]
    line: int
    prefix: str | None = None
    intents: tuple[tuple[str, str], ...] = ()


@record
class Param:
    """A parameter; without default it must be given."""

    name: str
    type: ParamType
    default: str | None
    secret: bool
    line: int


@record
class Requirement:
    """Another profile that this one requires or conflicts with."""

    profile: str
    version: str | None
    line: int


@record
class Match:
    """One condition of a profile: an XPath test, or a snippet that is contained."""

    negate: bool
    test: str | None
    unknown: Unknown
    branches: tuple[Snippet, ...]
    line: int


@record
class Action:
    """One wish, or one check; `branches` are relative to ``/domain``, or with `each` to the parents
    of the elements that it selects. `number` counts from 1.

    What follows `number` is given by attributes: see `attributes.ATTRIBUTES`.
    """

    kind: Kind
    branches: tuple[Snippet, ...]
    file: str
    line: int
    number: int
    multiple: Multiple = Multiple.AUTO
    constraint: Constraint = Constraint.SOFT
    when: str | None = None
    select: str | None = None
    unknown: Unknown = Unknown.ERROR
    each: str | None = None
    repeat: str | None = None
    whole: bool = False
    #: of a check: what has to hold, whether it has to fail instead, and what is said otherwise
    test: str | None = None
    negate: bool = False
    severity: Severity = Severity.ERROR
    message: str | None = None
    fix: str | None = None

    @property
    def bound(self) -> tuple[str, ...]:
        """Names of the variables that its values and conditions have besides all others."""
        return (("position", "last") if self.each is not None else ()) + (
            ("index",) if self.repeat is not None else ()
        )


@record
class Profile:
    """A named, versioned set of wishes for a domain.

    `digest` is the SHA-256 of what the profile says, however it is written.
    """

    name: str
    version: str
    title: str
    description: str
    params: tuple[Param, ...]
    requires: tuple[Requirement, ...]
    conflicts: tuple[Requirement, ...]
    matches: tuple[Match, ...]
    actions: tuple[Action, ...]
    file: str
    line: int
    digest: str
    replaced_by: str | None = None
    autoselect: bool = False
    priority: int = 0
    #: prefixes that its expressions may use: those declared on its element
    namespaces: tuple[tuple[str, str], ...] = ()
    #: its checks are judged by an audit that names no profile
    audit: bool = False


@record
class Problem:
    """Something wrong, or doubtful, in a profile file. `column` is 1-based, 0 if unknown."""

    level: str
    message: str
    hint: str
    file: str
    line: int
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.level}: {self.message}"


@record
class ParsedFile:
    """All that one file gave: profiles without errors, and all problems."""

    profiles: tuple[Profile, ...]
    problems: tuple[Problem, ...]
    #: names of profiles that stand in the file but have errors
    broken: tuple[str, ...] = ()
    #: those of them that could be read in part, for whoever looks for more errors
    drafts: tuple[Profile, ...] = ()


#: The priority of what the VM definition itself says.
DEFINITION_PRIORITY = 99
#: The priority that ``--override`` gives.
OVERRIDE_PRIORITY = 100

MIN_PRIORITY = -1000

MAX_PRIORITY = 1000
