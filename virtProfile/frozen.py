# SPDX-License-Identifier: GPL-2.0-or-later
"""Frozen, slotted data between the stages.

As ``dataclasses.dataclass(frozen=True, slots=True)``, without the import of
`inspect` and the compilation of six functions a class: of a process that applies
one profile to one file these were a fifth of the time.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any, NoReturn, TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """Make a class of the annotations of `cls`: compared and hashed by its fields."""
    names = tuple(cls.__annotations__)
    defaults = {name: cls.__dict__[name] for name in names if name in cls.__dict__}
    body = {
        name: value
        for name, value in cls.__dict__.items()
        if name not in names and name not in ("__dict__", "__weakref__")
    }
    key = attrgetter(*names)

    def equal(self: Any, other: Any) -> Any:
        if type(other) is not type(self):
            return NotImplemented
        return key(self) == key(other)

    def hashed(self: Any) -> int:
        return hash(key(self))

    body |= {
        "__slots__": names,
        "__match_args__": names,
        "_defaults": defaults,
        "__init__": _init,
        "__setattr__": _frozen,
        "__delattr__": _frozen,
        "__eq__": equal,
        "__hash__": hashed,
        "__reduce__": _reduce,
    }
    body.setdefault("__repr__", _repr)
    made: Any = type(cls.__name__, cls.__bases__, body)
    made._setters = tuple(made.__dict__[name].__set__ for name in names)
    made._tails = {}
    return made  # type: ignore[no-any-return]


def replace(original: T, **changes: Any) -> T:
    """A copy with some fields changed.

    :raises TypeError: there is no such field
    """
    names: tuple[str, ...] = original.__match_args__  # type: ignore[attr-defined]
    values = {name: changes.pop(name) if name in changes else getattr(original, name) for name in names}
    return type(original)(**values, **changes)


def _init(self: Any, *values: Any, **named: Any) -> None:
    setters = self._setters
    for put, value in zip(setters, values, strict=False):
        put(self, value)
    if not named and len(values) <= len(setters):
        try:
            tail = self._tails[len(values)]
        except KeyError:
            tail = _tail(type(self), len(values))
        if tail is not None:
            for put, value in tail:
                put(self, value)
            return
    for name, put in zip(self.__match_args__[len(values) :], setters[len(values) :], strict=True):
        if name in named:
            put(self, named.pop(name))
        elif name in self._defaults:
            put(self, self._defaults[name])
        else:
            raise TypeError(f"{type(self).__name__}() lacks '{name}'")
    if named or len(values) > len(setters):
        surplus = ", ".join(named) or "too many values"
        raise TypeError(f"{type(self).__name__}() does not take {surplus}")


def _tail(cls: Any, given: int) -> tuple[tuple[Any, Any], ...] | None:
    """What is put for all values behind the first `given`; None where that is not all known."""
    names = cls.__match_args__[given:]
    known = all(name in cls._defaults for name in names)
    tail = (
        tuple((put, cls._defaults[name]) for name, put in zip(names, cls._setters[given:], strict=True))
        if known
        else None
    )
    cls._tails[given] = tail
    return tail


def _frozen(self: Any, name: str, *_: Any) -> NoReturn:
    raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")


def _reduce(self: Any) -> Any:
    return type(self), tuple(getattr(self, name) for name in self.__match_args__)


def _repr(self: Any) -> str:
    fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
    return f"{type(self).__name__}({fields})"
