# SPDX-License-Identifier: GPL-2.0-or-later
"""The profile document: what a file says, as frozen records.

Knows the profile language and nothing of domain XML. Reading is in
`profileparser`.
"""

from __future__ import annotations

from enum import StrEnum

from .records import record


class Kind(StrEnum):
    """What an action does."""

    ADD = "add"
    REMOVE = "remove"
    DEFAULT = "default"


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
    stripped, values are raw: ``{…}`` is not worked out. `intents` are the
    attributes in the profile list's own namespace (`intents`).
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
    """One wish; `branches` are relative to ``/domain``. `number` counts from 1."""

    kind: Kind
    multiple: Multiple
    constraint: Constraint
    when: str | None
    select: str | None
    unknown: Unknown
    branches: tuple[Snippet, ...]
    file: str
    line: int
    number: int


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


def parse_profiles(text: str, file: str, *, drop_in: bool = False) -> ParsedFile:
    """Read a profile file; see `profileparser.read`."""
    from .profileparser import read

    return read(text, file, drop_in=drop_in)
