# SPDX-License-Identifier: GPL-2.0-or-later
"""virtinst with nobody to talk to: a connection object made of the context's documents.

virtinst's classes ask a connection for capabilities, pools and other VMs. This
one answers from the given documents, knows of no storage and no other VM, and
never opens libvirt.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Any

from lxml import etree

from virtProfile.errors import MissingContextError
from virtProfile.format.element import Element
from virtProfile.host.overlay import join_overlay

if TYPE_CHECKING:
    from virtProfile.host.context import Context

#: Which driver of libvirt takes a domain type; virtinst decides much by it.
_URIS = {
    "xen": "xen:///system",
    "lxc": "lxc:///system",
    "bhyve": "bhyve:///system",
    "vz": "vz:///system",
    "test": "test:///default",
    "openvz": "openvz:///system",
}
#: Newer than all that virtinst asks for; QEMU's where the context has none.
_LIBVIRT_VERSION = 12_008_000
_QEMU_VERSION = 7_002_000


@cache
def _classes() -> Any:
    """The class of the connection, on whichever virtinst is installed.

    :raises MissingContextError: it is not
    """
    join_overlay()
    try:
        from virtinst.connection import VirtinstConnection
        from virtinst.logger import log

        from virtinst import Capabilities
    except (ImportError, ValueError) as problem:
        raise MissingContextError(
            f"virtinst, whose classes complete devices, cannot be used: {problem}",
            hint="apt-get install virtinst",
        ) from None
    if not log.handlers:  # else Python prints its warnings to stderr
        log.addHandler(logging.NullHandler())

    class OfflineVirtinstConnection(VirtinstConnection):  # type: ignore[misc]
        """Answers from documents; whatever else is asked of libvirt is not there."""

        def __init__(self, uri: str, context: Context, root: Element) -> None:
            super().__init__(uri)
            self._context = context
            self._root = root
            self._offline_caps: Any = None
            known: Any = self.support
            self.support: Any = _Support(known, bool(context.domcapabilities))

        def open(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("this connection is never opened")

        @property
        def caps(self) -> Any:
            if self._offline_caps is None:
                found = self._context.documents.capabilities_for(self._root)
                self._offline_caps = Capabilities(self, etree.tostring(found, encoding="unicode"))
            return self._offline_caps

        def getDomainCapabilities(  # noqa: N802 - libvirt's name
            self, emulator: Any = None, arch: Any = None, machine: Any = None, kind: Any = None, *_: Any
        ) -> str:
            domain = etree.Element("domain", {"type": kind} if kind else {})
            given = {"arch": arch, "machine": machine}
            os = etree.SubElement(domain, "os")
            etree.SubElement(os, "type", {name: value for name, value in given.items() if value})
            if emulator:
                devices = etree.SubElement(domain, "devices")
                etree.SubElement(devices, "emulator").text = emulator
            found = self._context.documents.domcapabilities_for(domain)
            return str(etree.tostring(found, encoding="unicode"))

        def fetch_all_domains(self) -> list[Any]:
            return []

        fetch_all_pools = fetch_all_vols = fetch_all_nodedevs = fetch_all_domains

        def local_libvirt_version(self) -> int:
            return _LIBVIRT_VERSION

        daemon_version = local_libvirt_version

        def conn_version(self) -> int:
            return self._context.qemu_version or _QEMU_VERSION

        def is_remote(self) -> bool:
            return True  # so that nobody looks at this host's files, routes and users

    return OfflineVirtinstConnection


class _Support:
    """virtinst's table of what a connection can: by version, and no function of libvirt."""

    def __init__(self, known: Any, has_domcaps: bool) -> None:
        self._known = known
        self._has_domcaps = has_domcaps

    def __getattr__(self, name: str) -> Any:
        if name == "conn_domain_capabilities":
            return lambda *_: self._has_domcaps
        check = getattr(self._known, name)

        def ask(*_: Any) -> Any:
            try:
                return check()
            except (ValueError, AttributeError, TypeError):
                return False  # it would have to call libvirt

        return ask


def connection(context: Context, root: Element) -> Any:
    """A connection object for the domain.

    :raises MissingContextError: virtinst is not installed
    """
    return _classes()(_URIS.get(root.get("type", ""), "qemu:///system"), context, root)
