# SPDX-License-Identifier: GPL-2.0-or-later
"""Instances: one profile selected several times on one VM, with different params.

Inside of the engine an instance is a profile of its own, named ``NAME#INSTANCE``. Stores know
nothing of instances.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from virtProfile.frozen import replace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from virtProfile.language.profile import Profile
    from virtProfile.result import Warning

SIGN = "#"


def named(name: str, instance: str | None) -> str:
    """The name of an instance; without one the profile's own."""
    return f"{name}{SIGN}{instance}" if instance is not None else name


def parts(name: str) -> tuple[str, str | None]:
    """The profile's name and the instance, None without one."""
    base, sign, instance = name.partition(SIGN)
    return base, instance if sign else None


def base_of(name: str) -> str:
    """The profile's name."""
    return name.partition(SIGN)[0]


def as_option(name: str) -> str:
    """How a caller names it on the command line."""
    base, instance = parts(name)
    return f"--profile {base}" if instance is None else f"--profile {base},instance={instance}"


def is_among(name: str, names: Iterable[str]) -> bool:
    """Is the profile meant by one of these names, where a name without instance means all of them?"""
    base = base_of(name)
    return any(meant in (name, base) for meant in names)


class Resolver(Protocol):
    """What a store of profiles can do here."""

    def resolve(self, name: str, version: str | None = None) -> tuple[Profile, list[Warning]]: ...


def resolve(store: Resolver, name: str, version: str | None = None) -> tuple[Profile, list[Warning]]:
    """A profile as a store's ``resolve`` gives it; an instance has its own name.

    :raises ProfileError: as the store does
    """
    base, instance = parts(name)
    profile, warnings = store.resolve(base, version)
    return (profile if instance is None else replace(profile, name=named(profile.name, instance))), warnings
