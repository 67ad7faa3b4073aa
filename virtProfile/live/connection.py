# SPDX-License-Identifier: GPL-2.0-or-later
"""Domains of libvirt for the front ends: find, read, define, start.

The only other module besides `context` that knows libvirt, which is imported
when a connection is opened and not before.
"""

from __future__ import annotations

import fnmatch
import gc
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from lxml import etree

from virtProfile.errors import LibvirtError, UsageError, nearest
from virtProfile.format.document import parse
from virtProfile.frozen import record
from virtProfile.host.context import DAEMONS

#: Types of pools whose volumes are files, of a format (storage.html, "Storage pool types").
_FILE_POOLS = ("dir", "fs", "netfs", "gluster", "vstorage")
READ_ONLY_HINT = "a read-only connection can print the result, not define it"


@record
class Domain:
    """A domain as it was read.

    `secure` is False where the connection is read-only and so kept the
    passwords out of `xml`.
    """

    name: str
    uuid: str
    xml: str
    secure: bool
    active: bool
    persistent: bool
    managed_save: bool
    handle: Any


class _Later(Sequence[str]):
    """Texts that are asked for when somebody looks at them, and once."""

    def __init__(self, ask: Callable[[], list[str]]) -> None:
        self._ask = ask

    @cached_property
    def _texts(self) -> list[str]:
        return self._ask()

    def __getitem__(self, at: Any) -> Any:
        return self._texts[at]

    def __len__(self) -> int:
        return len(self._texts)


def asked(function: Callable[..., Any], *arguments: Any) -> Any:
    """What libvirt answers, with the error that it raised.

    A thread has one last error in libvirt, which Python's binding reads when the call is over. A
    handle that the garbage collector frees in between is a call of its own, and clears the error:
    why the first call failed would be lost.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return function(*arguments)
    finally:
        if collects:
            gc.enable()


class Connection:
    """A connection to libvirt; use it in a ``with``.

    :param uri: None is libvirt's own default
    :param read_only: go on with a read-only connection where another is refused
    :raises LibvirtError: with libvirt's message
    """

    def __init__(self, uri: str | None = None, *, read_only: bool = False) -> None:
        try:
            import libvirt
        except ImportError as problem:
            raise LibvirtError(
                f"libvirt's Python module cannot be imported: {problem}",
                hint="install python3-libvirt, or give the domain XML with --input",
            ) from None
        self._libvirt = libvirt
        self.read_only = False
        # libvirt prints every error on stderr by itself otherwise.
        libvirt.registerErrorHandler(_silent, None)
        if uri is not None and is_embedded(uri):
            libvirt.virEventRegisterDefaultImpl()  # this driver lives in our process
        try:
            self._connection = asked(libvirt.open, uri)
        except libvirt.libvirtError as problem:
            if not read_only or not self._denied(problem):
                raise _error(problem, _refused_hint(problem) or _connect_hint(uri)) from problem
            self._connection = self._call(libvirt.openReadOnly, uri)
            self.read_only = True
        self._uri = str(self._connection.getURI())

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """One that is dead already is none the worse."""
        with suppress(self._libvirt.libvirtError):
            self._connection.close()

    def _call(self, function: Callable[..., Any], *arguments: Any, hint: str = "") -> Any:
        try:
            return asked(function, *arguments)
        except self._libvirt.libvirtError as problem:
            raise _error(problem, hint) from problem

    @property
    def handle(self) -> Any:
        """libvirt's own connection object."""
        return self._connection

    def find(self, wanted: str) -> Domain:
        """The domain of that name, else of that id, else of that UUID, read anew.

        :raises LibvirtError: there is none
        """
        connection = self._connection
        lookups: list[tuple[Callable[[Any], Any], Any]] = [(connection.lookupByName, wanted)]
        if wanted.isascii() and wanted.isdigit():
            lookups.append((connection.lookupByID, int(wanted)))
        if _is_uuid(wanted):
            lookups.append((connection.lookupByUUIDString, wanted))
        for lookup, key in lookups:
            try:
                handle = asked(lookup, key)
            except OverflowError:
                continue
            except self._libvirt.libvirtError as problem:
                if problem.get_error_code() == self._libvirt.VIR_ERR_NO_DOMAIN:
                    continue
                raise _error(problem) from problem
            return self._read(handle)
        raise LibvirtError(
            f"no domain with the name, id or UUID '{wanted}'",
            hint=nearest(wanted, self.names()) or self._where_else(),
        )

    def names_of(self, words: Iterable[str]) -> list[str]:
        """The names of the domains that words mean, each once.

        :param words: names, ids, UUIDs, or patterns such as ``web-*``
        :raises LibvirtError: there is no such domain
        :raises UsageError: none fits a pattern
        """
        known = sorted(self.names())
        found: dict[str, None] = {}
        for word in words:
            if word in known:
                found[word] = None
            elif any(letter in word for letter in "*?["):
                fitting = fnmatch.filter(known, word)
                if not fitting:
                    hint = nearest(word.strip("*?"), known) or self._where_else()
                    raise UsageError(f"no domain fits the pattern '{word}'", hint=hint)
                found.update(dict.fromkeys(fitting))
            else:
                found[self.find(word).name] = None
        return list(found)

    def _where_else(self) -> str:
        """What to do where a domain is not known here."""
        if self.daemon == "session":
            return f"this is {self._uri}: -c qemu:///system has the domains of the system"
        return f"'virsh -c {self._uri} list --all' lists the domains"

    def live_xml(self, domain: Domain) -> str:
        """What a running domain is now, with passwords where the connection may tell them.

        :raises LibvirtError: libvirt does not tell
        """
        flags = self._libvirt.VIR_DOMAIN_XML_SECURE if domain.secure else 0
        return str(self._call(domain.handle.XMLDesc, flags))

    def attach(self, domain: Domain, device: str) -> None:
        """Attach a device to a running domain, and to nothing else.

        :raises LibvirtError: libvirt or QEMU refused
        """
        self._call(domain.handle.attachDeviceFlags, device, self._libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def detach(self, domain: Domain, device: str) -> None:
        """Ask the guest of a running domain to let go of a device; it may take its time.

        :raises LibvirtError: libvirt or QEMU refused
        """
        self._call(domain.handle.detachDeviceFlags, device, self._libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def update(self, domain: Domain, device: str) -> None:
        """Change a device of a running domain.

        :raises LibvirtError: libvirt or QEMU refused
        """
        self._call(domain.handle.updateDeviceFlags, device, self._libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def metadata(self, domain: Domain, uri: str) -> str | None:
        """A running domain's metadata of a namespace, without the namespace; None for none."""
        libvirt = self._libvirt
        try:
            return str(
                asked(
                    domain.handle.metadata,
                    libvirt.VIR_DOMAIN_METADATA_ELEMENT,
                    uri,
                    libvirt.VIR_DOMAIN_AFFECT_LIVE,
                )
            )
        except libvirt.libvirtError as problem:
            if problem.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
                return None
            raise _error(problem) from problem

    def set_metadata(self, domain: Domain, element: str | None, key: str, uri: str) -> None:
        """Write a running domain's metadata of a namespace; None takes it away.

        :param element: without namespace: libvirt puts it in, with the prefix `key`
        :raises LibvirtError: libvirt refused
        """
        libvirt = self._libvirt
        kind, flags = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_LIVE
        self._call(domain.handle.setMetadata, kind, element, key, uri, flags)

    @property
    def alive(self) -> bool:
        """Does the daemon still answer? One that died takes all calls with it."""
        try:
            return bool(asked(self._connection.isAlive) == 1)
        except self._libvirt.libvirtError:
            return False

    @property
    def answers(self) -> bool:
        """Does it answer now? Without an event loop only a question shows that a daemon has ended."""
        try:
            return self.alive and bool(asked(self._connection.getLibVersion))
        except self._libvirt.libvirtError:
            return False

    @property
    def is_local(self) -> bool:
        """Is it the libvirt of this machine, so that what is installed here tells about it?"""
        return self._uri.partition(":")[2].startswith("///") and "+" not in self._uri.partition(":")[0]

    @property
    def daemon(self) -> str | None:
        """ "system" or "session", None for a driver that has neither."""
        return daemon_of(self._uri)

    def domains(self) -> Iterator[Domain]:
        """All domains by name, as `find` reads them; one that goes meanwhile is left out.

        :raises LibvirtError: libvirt does not tell
        """
        handles = self._call(self._connection.listAllDomains)
        for handle in sorted(handles, key=lambda handle: str(handle.name())):
            try:
                yield self._facts(handle)
            except self._libvirt.libvirtError as problem:
                if problem.get_error_code() != self._libvirt.VIR_ERR_NO_DOMAIN:
                    raise _error(problem) from problem

    def public_xml(self, domain: Domain) -> str:
        """The definition of a domain as libvirt shows it to everybody: without passwords.

        :raises LibvirtError: libvirt does not tell
        """
        return str(self._call(domain.handle.XMLDesc, self._libvirt.VIR_DOMAIN_XML_INACTIVE))

    def names(self) -> list[str]:
        """The names of all domains."""
        return sorted(domain.name() for domain in self._call(self._connection.listAllDomains))

    def others(self, name: str, uuid: str) -> Iterator[tuple[str, str]]:
        """The names and the XML of all other domains; of running ones what they are now, and will be.

        :param uuid: "" where libvirt has not made one yet
        """
        for handle in self._call(self._connection.listAllDomains):
            try:
                if uuid and asked(handle.UUIDString) == uuid or not uuid and asked(handle.name) == name:
                    continue
                flags = {0, self._libvirt.VIR_DOMAIN_XML_INACTIVE if asked(handle.isPersistent) else 0}
                for flag in flags:
                    yield asked(handle.name), asked(handle.XMLDesc, flag)
            except self._libvirt.libvirtError as problem:
                if problem.get_error_code() != self._libvirt.VIR_ERR_NO_DOMAIN:  # it has just gone
                    raise _error(problem) from problem

    def definitions_beside(self, name: str, uuid: str) -> Sequence[str]:
        """The XML of all other domains, as `others` gives it; asked for when first needed, and then kept."""
        return _Later(lambda: [xml for _, xml in self.others(name, uuid)])

    def known(self, name: str | None, uuid: str | None) -> bool:
        """Is a domain of that name or UUID defined?"""
        for lookup, key in (
            (self._connection.lookupByName, name),
            (self._connection.lookupByUUIDString, uuid),
        ):
            if key:
                try:
                    asked(lookup, key)
                    return True
                except self._libvirt.libvirtError:
                    continue
        return False

    def _read(self, handle: Any) -> Domain:
        try:
            return self._facts(handle)
        except self._libvirt.libvirtError as problem:
            raise _error(problem) from problem

    def _facts(self, handle: Any) -> Domain:
        libvirt = self._libvirt
        secure = True
        try:
            xml = asked(handle.XMLDesc, libvirt.VIR_DOMAIN_XML_SECURE | libvirt.VIR_DOMAIN_XML_INACTIVE)
        except libvirt.libvirtError as problem:
            if not self._denied(problem):
                raise
            xml = asked(handle.XMLDesc, libvirt.VIR_DOMAIN_XML_INACTIVE)
            secure = False
        try:
            saved = bool(asked(handle.hasManagedSaveImage, 0))
        except libvirt.libvirtError:  # not every driver can save
            saved = False
        return Domain(
            name=asked(handle.name),
            uuid=asked(handle.UUIDString),
            xml=xml,
            secure=secure,
            active=bool(asked(handle.isActive)),
            persistent=bool(asked(handle.isPersistent)),
            managed_save=saved,
            handle=handle,
        )

    def _denied(self, problem: Any) -> bool:
        """Is the error about what we may, not about what there is?"""
        libvirt = self._libvirt
        return problem.get_error_code() in (
            libvirt.VIR_ERR_OPERATION_DENIED,
            libvirt.VIR_ERR_AUTH_FAILED,
            libvirt.VIR_ERR_AUTH_CANCELLED,
            libvirt.VIR_ERR_AUTH_UNAVAILABLE,
            libvirt.VIR_ERR_ACCESS_DENIED,
        )

    def capabilities(self) -> str | None:
        """libvirt's capabilities document, None where the driver has none."""
        try:
            return str(asked(self._connection.getCapabilities))
        except self._libvirt.libvirtError:
            return None

    def domain_capabilities(
        self, emulator: str | None, arch: str | None, machine: str | None, kind: str | None
    ) -> str | None:
        """libvirt's domain capabilities for such a domain, None where the driver has none."""
        try:
            found = asked(self._connection.getDomainCapabilities, emulator, arch, machine, kind, 0)
        except self._libvirt.libvirtError:
            return None
        return str(found)

    def baseline_cpu(
        self, emulator: str | None, arch: str, machine: str | None, kind: str, cpus: Sequence[str]
    ) -> str:
        """The CPU that all of several can be, as libvirt computes it for its hypervisor.

        :param cpus: ``<cpu>`` elements
        :raises LibvirtError: there is none, or the driver cannot compute it
        """
        return str(
            self._call(self._connection.baselineHypervisorCPU, emulator, arch, machine, kind, list(cpus), 0)
        )

    def qemu_version(self) -> int | None:
        """QEMU's version as libvirt gives it (7002022), None where it is not QEMU."""
        try:
            if asked(self._connection.getType) != "QEMU":
                return None
            return int(asked(self._connection.getVersion)) or None
        except self._libvirt.libvirtError:
            return None

    def define(self, xml: str) -> Domain:
        """Define a domain, new or anew, and read what libvirt made of it.

        :raises LibvirtError: libvirt refused; what was defined before still is
        """
        return self._read(self._call(self._connection.defineXMLFlags, xml, 0))

    # --- storage -------------------------------------------------------------

    def pool(self, name: str) -> Any:
        """The active storage pool of that name, with its volumes as they are now.

        :raises LibvirtError: there is none
        """
        pool = self._call(self._connection.storagePoolLookupByName, name)
        self._call(pool.refresh, 0)
        return pool

    def pool_of(self, directory: str) -> Any:
        """The active pool whose volumes stand in that directory; None for none, and without a driver."""
        libvirt = self._libvirt
        try:
            pools = asked(self._connection.listAllStoragePools, libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE)
        except libvirt.libvirtError as problem:
            if problem.get_error_code() == libvirt.VIR_ERR_NO_SUPPORT:
                return None
            raise _error(problem) from problem
        for pool in pools:
            target = parse(self._call(pool.XMLDesc, 0)).root.findtext("target/path") or ""
            if posixpath.normpath(target) == posixpath.normpath(directory):
                self._call(pool.refresh, 0)
                return pool
        return None

    def has_volume(self, pool: Any, name: str) -> bool:
        """Is there a volume of that name?

        :raises LibvirtError: libvirt does not tell
        """
        return name in self._call(pool.listVolumes)

    def volume_path(self, pool: Any, name: str) -> str:
        """:raises LibvirtError: there is no such volume"""
        return str(self._call(self._call(pool.storageVolLookupByName, name).path))

    def has_formats(self, pool: Any) -> bool:
        """Are its volumes files, of a format?"""
        return parse(self._call(pool.XMLDesc, 0)).root.get("type") in _FILE_POOLS

    def create_volume(self, pool: Any, name: str, size: int, kind: str) -> Any:
        """Make a volume that grows as it is written to, where the pool can have such.

        :param size: in bytes
        :param kind: its format; left out for pools that have no formats
        :raises LibvirtError: libvirt refused
        """
        volume = etree.Element("volume")
        etree.SubElement(volume, "name").text = name
        etree.SubElement(volume, "capacity", unit="bytes").text = str(size)
        if self.has_formats(pool):
            etree.SubElement(volume, "allocation").text = "0"
            etree.SubElement(etree.SubElement(volume, "target"), "format", type=kind)
        return self._call(pool.createXML, etree.tostring(volume, encoding="unicode"), 0)

    def delete_volume(self, volume: Any) -> None:
        """:raises LibvirtError: libvirt refused"""
        self._call(volume.delete, 0)

    def start(self, domain: Domain) -> None:
        """:raises LibvirtError: it cannot be started"""
        try:
            self._call(domain.handle.create)
        except LibvirtError as problem:
            raise LibvirtError(
                f"domain '{domain.name}' was defined, but does not start: {problem.message}"
            ) from problem


def _is_uuid(text: str) -> bool:
    digits = text.replace("-", "")
    return len(digits) == 32 and all(digit in "0123456789abcdefABCDEF" for digit in digits)


def _silent(_context: object, _error: object) -> None:
    """Errors come as exceptions; they need not be printed too."""


def _error(problem: Any, hint: str = "") -> LibvirtError:
    message = problem.get_error_message() or str(problem)
    return LibvirtError(f"libvirt: {message}", hint=hint)


def daemon_of(uri: str) -> str | None:
    """The kind of daemon that a connection of this URI reaches, from the URI's path."""
    path = urlsplit(uri).path.strip("/")
    return path if path in DAEMONS else None


def is_embedded(uri: str) -> bool:
    """Does the driver live in the process that opens it? Its directory is that process's alone."""
    return uri.partition(":")[2].startswith("///embed")


def _refused_hint(problem: Any) -> str:
    """What to do where the daemon is there and lets nobody in."""
    text = str(problem).lower()
    if "permission denied" in text or "polkit" in text or "authentication unavailable" in text:
        return (
            "members of the group libvirt may: sudo usermod -aG libvirt $USER, and log in anew;"
            " or use -c qemu:///session"
        )
    return ""


def _connect_hint(uri: str | None) -> str:
    if uri is None:
        return "--connect names a connection, --input reads domain XML from a file without one"
    return f"is '{uri}' right, and its daemon running?"
