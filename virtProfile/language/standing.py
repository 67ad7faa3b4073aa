# SPDX-License-Identifier: GPL-2.0-or-later
"""Standing profiles: what a site, and a user, apply to every new VM; for front ends.

``/etc/virt-profile/config.toml``, then ``$XDG_CONFIG_HOME/virt-profile/config.toml``, hold tables
``[[new]]`` with ``profiles`` and conditions. They count as named by the caller, below what the
command line says; of two that name one profile the later one counts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from virtProfile.errors import PolicyError, ProfileError, UsageError, nearest
from virtProfile.files import distrust
from virtProfile.format.element import child, text_of
from virtProfile.frozen import record
from virtProfile.language.requests import profile_wish

if TYPE_CHECKING:
    from virtProfile.format.element import Element
    from virtProfile.host.context import Context

SITE = Path("/etc/virt-profile/config.toml")
#: What a table may ask of a VM; `name` is a pattern.
CONDITIONS = ("os-family", "os", "arch", "type", "name")


@record
class Standing:
    """One table ``[[new]]``.

    :ivar wishes: as `requests.profile_wish` gives them; `spelled` as they are written
    :ivar conditions: name and value; all have to fit
    """

    file: str
    spelled: tuple[str, ...]
    wishes: tuple[Mapping[str, Any], ...]
    conditions: tuple[tuple[str, str], ...]

    def fits(self, facts: Mapping[str, str]) -> bool:
        """:param facts: what is known of the VM, by the names of `CONDITIONS`"""
        return all(
            fnmatchcase(facts.get(name, ""), value) if name == "name" else facts.get(name, "") == value
            for name, value in self.conditions
        )

    def __str__(self) -> str:
        where = ", ".join(f"{name} {value}" for name, value in self.conditions)
        return ", ".join(self.spelled) + (f" (where {where})" if where else "")


def read_standing(
    environ: Mapping[str, str], warn: Callable[[str], object] = lambda text: None
) -> list[Standing]:
    """The tables of all files that there are, the site's first.

    What the environment says is ignored where uid and effective uid differ, and as root the file in
    somebody else's home.

    :param warn: called with a message for each file that is left out
    :raises UsageError: a file says something wrong
    :raises PolicyError: this is root, and others may write the site's file
    """
    found: list[Standing] = []
    for path in _files(environ):
        if not path.exists():
            continue
        reason = distrust(path) if os.geteuid() == 0 else ""
        if reason and path != SITE:
            warn(f"'{path}' is not used: {reason}, and this is root")
            continue
        if reason:
            raise PolicyError(
                f"{reason}, so root does not use its standing profiles",
                hint=f"chown root '{path}'; chmod go-w '{path}'",
                where=str(path),
            )
        found += _read(path)
    return found


def facts_of(domain: Element, context: Context) -> dict[str, str]:
    """What `Standing.fits` asks about a domain.

    :param domain: its root
    """
    boot = child(domain, "os")
    os_type = None if boot is None else child(boot, "type")
    name = child(domain, "name")
    guest = context.guest_os(domain)
    return {
        "type": domain.get("type", ""),
        "arch": "" if os_type is None else os_type.get("arch", ""),
        "name": "" if name is None else (text_of(name) or "").strip(),
        "os": "" if guest is None else guest.id,
        "os-family": "" if guest is None else guest.family,
    }


def with_standing(
    wishes: Sequence[dict[str, Any]], standing: Iterable[Standing], facts: Mapping[str, str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The wishes of a caller with the standing ones that fit, and a line for each file that gave some.

    :param wishes: as `requests.profile_wish` gives them
    """
    named = {_label(wish) for wish in wishes}
    chosen: dict[str, tuple[Standing, Mapping[str, Any]]] = {}
    for table in standing:
        if table.fits(facts):
            chosen.update((_label(wish), (table, wish)) for wish in table.wishes)
    files: dict[str, list[str]] = {}
    found: list[dict[str, Any]] = []
    for label, (table, wish) in chosen.items():
        if label not in named:
            found.append({**wish, "standing": True})
            files.setdefault(table.file, []).append(label)
    return [*found, *wishes], [f"profiles from {file}: {', '.join(names)}" for file, names in files.items()]


def _label(wish: Mapping[str, Any]) -> str:
    return f"{wish['name']}#{wish['instance']}" if wish.get("instance") else str(wish["name"])


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    yield SITE
    if os.getuid() != os.geteuid():
        return
    home = environ.get("HOME", "")
    config = environ.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    if config.startswith("/"):
        yield Path(config, "virt-profile", "config.toml")


def _read(path: Path) -> Iterator[Standing]:
    import tomllib

    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise UsageError(f"is not TOML: {problem}", where=str(path)) from None
    for key in document:
        if key != "new":
            raise _wrong(path, f"unknown table '{key}'", nearest(key, ["new"]) or "it has tables [[new]]")
    tables = document.get("new", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise _wrong(path, "'new' is not a list of tables", "write [[new]], not [new]")
    for number, table in enumerate(tables, 1):
        what = f"[[new]] number {number}"
        for key, value in table.items():
            known = ("profiles", *CONDITIONS)
            if key not in known:
                raise _wrong(path, f"{what}: unknown key '{key}'", nearest(key, known) or ", ".join(known))
            if key != "profiles" and not isinstance(value, str):
                raise _wrong(path, f"{what}: {key} is not a text", f'{key} = "…"')
        profiles = table.get("profiles")
        if not isinstance(profiles, list) or not all(isinstance(value, str) for value in profiles):
            raise _wrong(
                path, f"{what}: 'profiles' is not a list of texts", 'profiles = ["NAME[,PARAM=VALUE]", …]'
            )
        try:
            wishes = tuple(profile_wish(value, what) for value in profiles)
        except ProfileError as problem:
            raise _wrong(path, problem.message, problem.hint) from None
        conditions = tuple((key, value) for key, value in table.items() if key != "profiles")
        yield Standing(str(path), tuple(profiles), wishes, conditions)


def _wrong(path: Path, fact: str, hint: str) -> UsageError:
    return UsageError(fact, hint=hint, where=str(path))
