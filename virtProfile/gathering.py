# SPDX-License-Identifier: GPL-2.0-or-later
"""The context of a command line: from the files it names, else from the connection.

Without a connection nothing is asked of anybody.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .context import Context
from .errors import MissingContextError, ParamError, ProfileError, ServiceError, UsageError
from .records import replace
from .xmltree import parse, read_bytes, read_file

if TYPE_CHECKING:
    import argparse

    from .domains import Connection
    from .domainschema import Schema
    from .store import ProfileStore

#: Where libvirt installs its schemas.
SCHEMA_DIRECTORIES = ("/usr/share/libvirt/schemas", "/usr/local/share/libvirt/schemas")


def given(options: argparse.Namespace) -> Context:
    """What the options themselves say.

    :raises MissingContextError: a file that cannot be read
    :raises UsageError: a version that is none, a file that is another document
    """
    capabilities = {path: _document(path, "capabilities") for path in options.capabilities}
    domcapabilities = {path: _document(path, "domcapabilities") for path in options.domcapabilities}
    said = Context(
        capabilities=tuple(capabilities.values()),
        domcapabilities=tuple(domcapabilities.values()),
        osinfo=options.osinfo,
        qemu_version=_version(options.qemu_version),
        sources={text: path for files in (capabilities, domcapabilities) for path, text in files.items()},
    )
    if said.sources:
        said.documents  # noqa: B018 - read now: a wrong file is told even if nobody asks for it
    return said


def _document(path: str, kind: str) -> str:
    return read_file(path, MissingContextError, f"--{kind} takes a file that 'virsh {kind}' wrote")[0]


def _version(text: str | None) -> int | None:
    """7002022 or 7.2.22, as libvirt counts: a million per major version, a thousand per minor."""
    if text is None:
        return None
    parts = text.split(".")
    if not all(one.isascii() and one.isdigit() for one in parts) or len(parts) > 3:
        raise UsageError(
            f"--qemu-version {text}: is no version", hint="7002022 and 7.2.22 are the same version"
        )
    if len(parts) == 1 and len(parts[0]) > 3:
        return int(text)
    major, minor, micro = (*(int(one) for one in parts), 0, 0)[:3]
    return major * 1_000_000 + minor * 1000 + micro


def context(
    said: Context, text: str, name: str, connection: Connection | None, schema: str | None
) -> Context:
    """What the options say, and of the rest what the connection says about this domain."""
    if connection is None:
        return replace(said, schema=host_schema()) if schema == "host" else said
    found = said
    if not said.capabilities:
        found = replace(found, capabilities=_some(connection.capabilities()))
    if not said.domcapabilities:
        found = replace(found, domcapabilities=_some(_domain_capabilities(connection, text, name)))
    if said.qemu_version is None:
        found = replace(found, qemu_version=connection.qemu_version())
    if schema == "host" or schema is None and connection.is_local:
        found = replace(found, schema=host_schema(needed=schema is not None))
    return found


def _some(document: str | None) -> tuple[str, ...]:
    return () if document is None else (document,)


def _domain_capabilities(connection: Connection, text: str, name: str) -> str | None:
    root = parse(text, name=name).root
    kind = root.find("os/type")
    return connection.domain_capabilities(
        root.findtext("devices/emulator"),
        None if kind is None else kind.get("arch"),
        None if kind is None else kind.get("machine"),
        root.get("type"),
    )


def host_schema(needed: bool = True) -> Schema | None:
    """The schema of the libvirt that is installed here, None where there is none and no need."""
    from pathlib import Path

    from .domainschema import Schema

    for directory in SCHEMA_DIRECTORIES:
        if (Path(directory) / "domain.rng").exists():
            return Schema.from_rng(directory, _cache())
    if not needed:
        return None
    raise MissingContextError(
        f"no libvirt schema is installed in {' or '.join(SCHEMA_DIRECTORIES)}",
        hint="--schema baseline judges by the one that is shipped",
    )


def _cache() -> str | None:
    """Where compiled schemas are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(home, "virt-profile") if home.startswith("/") else None


def read_secrets(wishes: Iterable[dict[str, Any]], store: ProfileStore) -> None:
    """Put the contents of ``@FILE`` in the place of secret parameters.

    :raises ParamError: a secret stands on the command line itself, or its file cannot be read
    """
    for wish in wishes:
        if not wish["params"]:
            continue
        try:
            profile = store.resolve(wish["name"], wish.get("version"))[0]
        except ServiceError:
            raise  # nobody may take the name of a file for a secret
        except ProfileError:
            continue  # the engine tells of all that are missing
        secret = {one.name for one in profile.params if one.secret}
        for name in secret.intersection(wish["params"]):
            value = wish["params"][name]
            if not value.startswith("@"):
                raise ParamError(
                    f"profile '{wish['name']}': the secret parameter '{name}' is written out",
                    hint=f"others can read command lines: give {name}=@FILE",
                )
            hint = f"{name}=@FILE reads the secret from FILE"
            data = read_bytes(value[1:], ParamError, hint)
            try:
                wish["params"][name] = data.decode().removesuffix("\n")
            except UnicodeDecodeError:
                raise ParamError("the secret is no UTF-8 text", hint=hint, where=value[1:]) from None
