# SPDX-License-Identifier: GPL-2.0-or-later
"""What a command line option is, and a frozen record whose fields are declared by options."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, dataclass_transform, overload

from virtProfile.errors import UsageError
from virtProfile.frozen import record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Required, TypedDict, Unpack

    class About(TypedDict, total=False):
        """The fields of `Option` that are given by name."""

        group: Required[str]
        help: Required[str]
        metavar: str
        completes: str
        one_of: str
        excludes: tuple[str, ...]
        needs: str | tuple[str, ...]
        needs_hint: str
        tasks: tuple[str, ...]
        fleet_only: bool
        instead: str
        opposite: str
        reported: bool
        calls: tuple[str, ...]
        argument: Argument
        virtinst: str


T = TypeVar("T")
Word = TypeVar("Word", bound=str)


class Kind(StrEnum):
    """How many values an option takes."""

    FLAG = "flag"
    VALUE = "value"
    EACH = "each"  # one value, the option may be repeated
    MAYBE = "maybe"  # with or without a value
    MANY = "many"  # one value or more
    ANY = "any"  # any number of values, none too
    OPERAND = "operand"  # no option: words that may be given without one


@record
class Argument:
    """The argument of the Ansible module that mirrors an option."""

    name: str
    description: str


@record
class Option:
    """One option of a program: all that is made of it, in the program and around it.

    :ivar flags: its spellings, the long one last; of an operand its name in capitals
    :ivar group: the heading of ``--help`` that it is under
    :ivar words: the only values that it takes
    :ivar read: makes the value from the option's name and the word given with it
    :ivar completes: what completes its value: "", "file", "directory", "profile", "rule",
        "applied" (a profile of the VM), "connection", "domain"
    :ivar one_of: the name of a set of options of which only one may be given
    :ivar excludes: options with which it cannot be given, besides those of its set
    :ivar needs: the option without which it has no effect, or several of which one is enough; `needs_hint`
        where the usual hint does not do
    :ivar tasks: the options of the set "task" with which it may be given; the other options exclude it
    :ivar fleet_only: it has no effect on one VM
    :ivar instead: it is for one VM only: the hint for who gives it with several
    :ivar opposite: what a flag turns off, by the name that is used outside of command lines
    :ivar reported: it decides how VMs come out, so that it is in the first line of a fleet's report
    :ivar calls: the calls of the engine, and requests to a service, that have a keyword of it
    :ivar virtinst: its help in virt-install and virt-xml, where they have it too
    """

    flags: tuple[str, ...]
    kind: Kind
    group: str
    help: str
    metavar: str = ""
    words: tuple[str, ...] = ()
    read: Callable[[str, str], object] | None = None
    completes: str = ""
    one_of: str = ""
    excludes: tuple[str, ...] = ()
    needs: str | tuple[str, ...] = ""
    needs_hint: str = ""
    tasks: tuple[str, ...] = ()
    fleet_only: bool = False
    instead: str = ""
    opposite: str = ""
    reported: bool = False
    calls: tuple[str, ...] = ()
    argument: Argument | None = None
    virtinst: str = ""

    @property
    def name(self) -> str:
        """The option in messages."""
        return self.flags[-1]

    @property
    def dest(self) -> str:
        """The option as a word of Python."""
        return self.name.lstrip("-").replace("-", "_").lower()

    @property
    def default(self) -> Any:
        """Its value where it is not given."""
        if self.kind in (Kind.EACH, Kind.MANY, Kind.OPERAND):
            return ()
        return False if self.kind == Kind.FLAG else None

    @property
    def word(self) -> str:
        """Its name outside of command lines: in reports, calls and requests."""
        return self.opposite or self.dest

    def plain(self, value: Any) -> Any:
        """A value of its field as JSON has it under `word`."""
        if self.opposite:
            return not value
        if self.kind == Kind.FLAG:
            return bool(value)
        return list(value) if isinstance(value, tuple) else value

    def value(self, given: Any) -> Any:
        """The value of its field.

        :param given: as the parser has it: text, texts, a truth value, None
        :raises UsageError: by `read`
        """
        if self.kind in (Kind.EACH, Kind.MANY, Kind.OPERAND):
            return tuple(given or ())
        if self.kind == Kind.ANY:
            return None if given is None else tuple(given)
        if self.read is None or given is None:
            return given
        return self.read(self.name, given)


# --- declaring: in the class each row has the type of the field's value -------------


def flag(*flags: str, **about: Unpack[About]) -> bool:
    """An option without a value."""
    return cast("bool", Option(flags, Kind.FLAG, **about))


def switch(on: bool, off: bool) -> bool | None:
    """Two flags of one field, which is None where neither is given."""
    return cast("bool | None", (on, off))


def each(*flags: str, **about: Unpack[About]) -> tuple[str, ...]:
    """An option with one value, which may be repeated."""
    return cast("tuple[str, ...]", Option(flags, Kind.EACH, **about))


def many(*flags: str, **about: Unpack[About]) -> tuple[str, ...]:
    """An option with one value or more."""
    return cast("tuple[str, ...]", Option(flags, Kind.MANY, **about))


def any_number(*flags: str, **about: Unpack[About]) -> tuple[str, ...] | None:
    """An option with any number of values; None where it is not given."""
    return cast("tuple[str, ...] | None", Option(flags, Kind.ANY, **about))


def operand(name: str, **about: Unpack[About]) -> tuple[str, ...]:
    """Words that may be given without an option.

    :param name: in capitals
    """
    return cast("tuple[str, ...]", Option((name,), Kind.OPERAND, **about))


def choice(*flags: str, words: tuple[Word, ...], **about: Unpack[About]) -> Word | None:
    """An option with one of some values."""
    return cast("Word | None", Option(flags, Kind.VALUE, words=words, **about))


@overload
def value(*flags: str, read: Callable[[str, str], T], **about: Unpack[About]) -> T | None: ...
@overload
def value(*flags: str, **about: Unpack[About]) -> str | None: ...
def value(*flags: str, read: Callable[[str, str], Any] | None = None, **about: Unpack[About]) -> Any:
    """An option with one value; the last one counts.

    :param read: makes the value from the option's name and its word
    """
    return Option(flags, Kind.VALUE, read=read, **about)


@overload
def maybe(*flags: str, read: Callable[[str, str], T], **about: Unpack[About]) -> T | None: ...
@overload
def maybe(*flags: str, **about: Unpack[About]) -> str | None: ...
def maybe(*flags: str, read: Callable[[str, str], Any] | None = None, **about: Unpack[About]) -> Any:
    """An option with or without a value, which then is ""; as `value`."""
    return Option(flags, Kind.MAYBE, read=read, **about)


@dataclass_transform(frozen_default=True)
def option_record(cls: type[T]) -> type[T]:
    """A frozen record whose fields are declared by options: the row of each is its default."""
    rows: dict[str, tuple[Option, ...]] = {}
    for name in cls.__annotations__:
        declared = cls.__dict__[name]
        rows[name] = declared if isinstance(declared, tuple) else (declared,)
        setattr(cls, name, None if len(rows[name]) > 1 else declared.default)
    made: Any = record(cls)
    made._rows = rows
    return cast("type[T]", made)


def rows_of(cls: type[Any]) -> Mapping[str, tuple[Option, ...]]:
    """The options of each field of an `option_record`: one, or the two of a switch."""
    return cast("Mapping[str, tuple[Option, ...]]", cls._rows)


def values_of(cls: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the fields of an `option_record`.

    :param given: by `Option.dest`, as the parser has them
    :raises UsageError: a word that is no value of its option
    """
    found: dict[str, Any] = {}
    for name, rows in rows_of(cls).items():
        if len(rows) == 1:
            found[name] = rows[0].value(given[rows[0].dest])
        else:
            on, off = (given[row.dest] for row in rows)
            found[name] = True if on else False if off else None
    return found


# --- values that are not text ----------------------------------------------------------


def read_number(option: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text[:6]) < 1 or len(text) > 6:
        raise UsageError(f"{option} {text}: is not a number of at least 1")
    return int(text)


def read_host_count(option: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise UsageError(f"{option} {text}: is not a number of hosts")
    return int(text)


def read_qemu_version(option: str, text: str) -> int:
    """7002022 or 7.2.22, as libvirt counts: a million per major version, a thousand per minor."""
    parts = text.split(".")
    if not all(part.isascii() and part.isdigit() for part in parts) or len(parts) > 3:
        raise UsageError(f"{option} {text}: is not a version", hint="7002022 and 7.2.22 are the same version")
    if len(parts) == 1 and len(parts[0]) > 3:
        return int(text)
    major, minor, micro = (*(int(part) for part in parts), 0, 0)[:3]
    return major * 1_000_000 + minor * 1000 + micro


def read_syntax(option: str, text: str) -> Literal["rng", "rnc"]:
    if text not in ("", "rng", "rnc"):
        raise UsageError(
            f"{option}={text} is not rng or rnc", hint="rnc is the compact syntax, which Emacs reads"
        )
    return "rnc" if text == "rnc" else "rng"


def read_resumed(option: str, text: str) -> Literal["", "failed"]:
    if text not in ("", "failed"):
        raise UsageError(f"{option}={text} is not empty or 'failed'")
    return "failed" if text else ""
