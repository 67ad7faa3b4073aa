# SPDX-License-Identifier: GPL-2.0-or-later
"""The context of a command line: from the files it names, else from the connection.

Without a connection nothing is asked of anybody.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from virtProfile.errors import (
    MissingContextError,
    ParamError,
    ProfileError,
    ServiceError,
)
from virtProfile.format.document import parse, read_bytes, read_file
from virtProfile.frozen import replace
from virtProfile.host.context import Context

if TYPE_CHECKING:
    from virtProfile.apply_options import ApplyOptions
    from virtProfile.format.schema import Schema
    from virtProfile.language.store import Store
    from virtProfile.live.connection import Connection

#: Where libvirt installs its schemas.
SCHEMA_DIRECTORIES = ("/usr/share/libvirt/schemas", "/usr/local/share/libvirt/schemas")


def given(options: ApplyOptions) -> Context:
    """What the options themselves say.

    :raises MissingContextError: a file that cannot be read
    :raises UsageError: a file that is another document
    """
    capabilities = {path: _document(path, "capabilities") for path in options.capabilities}
    domcapabilities = {path: _document(path, "domcapabilities") for path in options.domcapabilities}
    said = Context(
        capabilities=tuple(capabilities.values()),
        domcapabilities=tuple(domcapabilities.values()),
        osinfo=options.osinfo,
        qemu_version=options.qemu_version,
        daemon=options.daemon,
        sources={text: path for files in (capabilities, domcapabilities) for path, text in files.items()},
    )
    if said.sources:
        said.documents  # noqa: B018 - read now: a wrong file is told even if nobody asks for it
    return said


def _document(path: str, kind: str) -> str:
    return read_file(path, MissingContextError, f"--{kind} takes a file that 'virsh {kind}' wrote")[0]


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
    if said.daemon is None:
        found = replace(found, daemon=connection.daemon)
    if said.others is None and not said.capabilities:  # of another host: its VMs are not these
        root = parse(text, name=name).root
        found = replace(
            found,
            others=connection.definitions_beside(root.findtext("name") or "", root.findtext("uuid") or ""),
        )
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
    from virtProfile.format.schema import Schema

    for directory in SCHEMA_DIRECTORIES:
        if os.path.exists(f"{directory}/domain.rng"):
            return Schema.from_rng(directory, _cache())
    if not needed:
        return None
    raise MissingContextError(
        f"no libvirt schema is installed in {' or '.join(SCHEMA_DIRECTORIES)}",
        hint="--schema baseline validates with the shipped schema",
    )


def _cache() -> str | None:
    """Where compiled schemas are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(home, "virt-profile") if home.startswith("/") else None


def read_secrets(wishes: Iterable[dict[str, Any]], store: Store) -> None:
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
        secret = {param.name for param in profile.params if param.secret}
        for name in secret.intersection(wish["params"]):
            value = wish["params"][name]
            if not value.startswith("@"):
                raise ParamError(
                    f"profile '{wish['name']}': the secret parameter '{name}' is in plain text"
                    " on the command line",
                    hint=f"other users can read command lines: give {name}=@FILE",
                )
            hint = f"{name}=@FILE reads the secret from FILE"
            data = read_bytes(value[1:], ParamError, hint)
            try:
                wish["params"][name] = data.decode().removesuffix("\n")
            except UnicodeDecodeError:
                raise ParamError("the secret is not UTF-8 text", hint=hint, where=value[1:]) from None
