# SPDX-License-Identifier: GPL-2.0-or-later
"""The attributes of actions, a row each: the parser, the digest, ``--info`` and the manual page read it.

A new attribute is a row here, its field of `profile.Action`, and where it acts.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from virtProfile.frozen import record
from virtProfile.language.profile import Action, Constraint, Kind, Multiple, Severity, Unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Action elements: kind, and what `multiple` they fix.
ACTIONS: dict[str, tuple[Kind, Multiple | None]] = {
    "add": (Kind.ADD, None),
    "remove": (Kind.REMOVE, None),
    "default": (Kind.DEFAULT, None),
    "defaults": (Kind.DEFAULT, None),
    "append": (Kind.ADD, Multiple.YES),
    "set": (Kind.ADD, Multiple.AUTO),
    "force": (Kind.ADD, Multiple.NO),
    "replace": (Kind.ADD, Multiple.NO),
    "check": (Kind.CHECK, None),
}

_ALL = tuple(ACTIONS)
_WISHES = tuple(tag for tag, (kind, _) in ACTIONS.items() if kind is not Kind.CHECK)
_ADDS = tuple(tag for tag, (kind, _) in ACTIONS.items() if kind is Kind.ADD)
_CHECKS = ("check",)


class Form(StrEnum):
    """How an attribute is written."""

    WORD = "word"
    XPATH = "XPATH"
    FLAG = "yes"
    #: text in which ``{…}`` is worked out
    TEMPLATE = "TEXT"
    PROFILE = "PROFILE[,PARAM=VALUE]…"


@record
class Attribute:
    """One attribute of actions.

    `elements` are those that have it; `words` the type of a word, which has a `default`.
    `positional`: it is in every digest; others only where they are given, so that a new row
    leaves the digests of existing profiles as they are. `shown` is a format for ``--info``, of a
    value that is not the default, and `before` says that it stands before the snippets.
    `help` is the paragraph of the manual page, "" of what is described elsewhere.
    """

    name: str
    elements: tuple[str, ...]
    form: Form
    words: Any = None
    default: Any = None
    positional: bool = False
    shown: str = ""
    before: bool = False
    alias: str = ""
    help: str = ""

    @property
    def field(self) -> str:
        """Its name in `profile.Action`."""
        return "negate" if self.name == "not" else self.name

    @property
    def spelled(self) -> str:
        """How the manual page writes it."""
        if self.form is not Form.WORD:
            return f"{self.name}='{self.form}'"
        others = [str(word) for word in self.words]
        if self.name == "constraint":
            others.remove(str(self.default))
        return f"{self.name}='{'|'.join(others)}'"


#: In the order of the digest.
ATTRIBUTES = (
    Attribute(
        "multiple",
        ("add",),
        Form.WORD,
        Multiple,
        Multiple.AUTO,
        positional=True,
        shown="multiple={}",
        before=True,
    ),
    Attribute(
        "constraint",
        _WISHES,
        Form.WORD,
        Constraint,
        Constraint.SOFT,
        positional=True,
        shown="{}",
        before=True,
        alias="type",
        help="It is an error if the action does not take effect. Without it, the loss is reported on stderr.",
    ),
    Attribute(
        "when",
        _ALL,
        Form.XPATH,
        positional=True,
        shown="when {}",
        help="Do it only where the condition holds.",
    ),
    Attribute("select", ("remove",), Form.XPATH, positional=True, shown="{}", before=True),
    Attribute(
        "unknown",
        _ALL,
        Form.WORD,
        Unknown,
        Unknown.ERROR,
        positional=True,
        help="What to do if a condition asks for something that nobody gave, such as the capabilities of"
        " the host. The default is an error.",
    ),
    Attribute(
        "each",
        _ALL,
        Form.XPATH,
        shown="for each {}",
        help="Do it for every element that the expression selects, see `FOR EACH ELEMENT`_.",
    ),
    Attribute(
        "repeat",
        _ADDS,
        Form.XPATH,
        shown="repeated {} times",
        help="Do it that many times, from 0 to 4,096, with $index counting from 1. What the repetitions"
        " bring are different things, like equal siblings in one snippet.",
    ),
    Attribute(
        "whole",
        _WISHES,
        Form.FLAG,
        default=False,
        shown="all or nothing",
        help="Either everything that the action wants takes effect (with *each*: everything that it wants"
        " of that element), or nothing of it.",
    ),
    Attribute("test", _CHECKS, Form.XPATH, shown="{}", before=True),
    Attribute("not", _CHECKS, Form.FLAG, default=False, shown="not", before=True),
    Attribute("severity", _CHECKS, Form.WORD, Severity, Severity.ERROR, shown="({})", before=True),
    Attribute("message", _CHECKS, Form.TEMPLATE, shown="message '{}'"),
    Attribute("fix", _CHECKS, Form.PROFILE, shown="fix {}"),
)


def of_element(tag: str) -> tuple[Attribute, ...]:
    """The attributes that an action element has."""
    return tuple(attribute for attribute in ATTRIBUTES if tag in attribute.elements)


def digested(action: Action) -> tuple[Any, ...]:
    """What the digest of a profile takes of an action, its snippets aside."""
    values = [(attribute, getattr(action, attribute.field)) for attribute in ATTRIBUTES]
    return tuple(_plain(value) for attribute, value in values if attribute.positional)


def digested_besides(action: Action) -> tuple[Any, ...]:
    """The same of attributes that stand in a digest only where they are given."""
    values = sorted(
        (
            (attribute, getattr(action, attribute.field))
            for attribute in ATTRIBUTES
            if not attribute.positional
        ),
        key=lambda row: row[0].name,
    )
    return tuple((attribute.name, _plain(value)) for attribute, value in values if value != attribute.default)


def expressions(action: Action) -> Iterator[tuple[Attribute, str]]:
    """The attributes of an action that are expressions, as they are written."""
    for attribute in ATTRIBUTES:
        value = getattr(action, attribute.field)
        if attribute.form is Form.XPATH and value is not None:
            yield attribute, value


def words(action: Action, before: bool) -> Iterator[str]:
    """What ``--info`` says of an action before its snippets, or behind them."""
    for attribute in ATTRIBUTES:
        value = getattr(action, attribute.field)
        if attribute.shown and attribute.before == before and value != attribute.default:
            yield attribute.shown.format(value)


def manual() -> Sequence[str]:
    """The lines of the manual page."""
    import textwrap

    lines: list[str] = []
    for attribute in ATTRIBUTES:
        if attribute.help:
            lines += [f"*{attribute.spelled}*", *textwrap.wrap(attribute.help, 92, initial_indent="    ",
                                                         subsequent_indent="    "), ""]  # fmt: skip
    return lines


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, StrEnum) else value
