# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known besides the domain: the schema, and documents about hosts and guests.

Plain data. Nothing here connects anywhere; a front end that has a connection
fills the context from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .domainschema import Schema


@dataclass(frozen=True)
class Context:
    """The context of one call.

    :param schema: the domain format; None is the shipped baseline
    :param capabilities: texts of libvirt capabilities documents
    :param domcapabilities: texts of libvirt domain capabilities documents
    :param osinfo: the guest OS's short id or URL, for VMs that do not say it
    :param qemu_version: as libvirt gives it (7002022), or None
    """

    schema: Schema | None = None
    capabilities: tuple[str, ...] = ()
    domcapabilities: tuple[str, ...] = ()
    osinfo: str | None = None
    qemu_version: int | None = None

    @property
    def domain_schema(self) -> Any:
        return self.schema if self.schema is not None else Schema.baseline()
