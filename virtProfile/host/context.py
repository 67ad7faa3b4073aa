# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known besides the domain: the schema, and documents about hosts and guests.

Plain data. Nothing here connects anywhere; a front end that has a connection
fills the context from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

from virtProfile.errors import MissingContextError
from virtProfile.format.schema import Schema
from virtProfile.frozen import record

if TYPE_CHECKING:
    from lxml import etree

    from virtProfile.host.documents import Documents
    from virtProfile.host.osinfo import GuestOS


#: What `$daemon` may be.
DAEMONS = ("system", "session")


class _Open:
    """What a record cannot have by itself: room for what is worked out once."""

    __slots__ = ("__dict__",)


@record
class Context(_Open):
    """The context of one call.

    :param schema: the domain format; None is the shipped baseline
    :param capabilities: texts of libvirt capabilities documents
    :param domcapabilities: texts of libvirt domain capabilities documents
    :param osinfo: the guest OS's short id or URL, for VMs that do not say it
    :param qemu_version: as libvirt gives it (7002022), or None
    :param sources: text of a document -> the file it is from, for messages
    :param daemon: the kind of libvirt daemon, "system" or "session", or None
    :param others: the definitions of the other VMs of the host, read when something asks for them; None where
        they are not known
    """

    schema: Schema | None = None
    capabilities: tuple[str, ...] = ()
    domcapabilities: tuple[str, ...] = ()
    osinfo: str | None = None
    qemu_version: int | None = None
    sources: Mapping[str, str] = MappingProxyType({})
    daemon: str | None = None
    others: Iterable[str] | None = None

    @property
    def domain_schema(self) -> Schema:
        """The domain format that holds in this call."""
        return self.schema if self.schema is not None else Schema.baseline()

    @cached_property
    def documents(self) -> Documents:
        """The parsed documents.

        :raises UsageError: one of them is something else
        """
        from virtProfile.host.documents import Documents

        return Documents(self.capabilities, self.domcapabilities, self.sources)

    @cached_property
    def pinned_elsewhere(self) -> frozenset[int]:
        """The CPUs to which other VMs of the host pin something.

        :raises MissingContextError: the other VMs are not known
        """
        from virtProfile.host.topology import pinned_by

        if self.others is None:
            raise MissingContextError(
                "used=auto needs the other VMs of the host, which are not known",
                hint="give the VM by name with -c URI, or the CPUs themselves, such as used=0-3,8",
            )
        return frozenset().union(*(pinned_by(text) for text in self.others))

    def guest_os(self, domain: etree._Element) -> GuestOS | None:
        """What libosinfo knows of the domain's OS; None where nobody names one.

        :raises MissingContextError: libosinfo does not know it
        """
        from virtProfile.host.osinfo import lookup, wanted_os

        name = wanted_os(domain, self.osinfo)
        return None if name is None else lookup(name)
