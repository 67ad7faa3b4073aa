# SPDX-License-Identifier: GPL-2.0-or-later
"""What libosinfo knows of a guest OS, through virtinst.

Its database takes a third of a second to load: only when somebody asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from virtProfile.errors import MissingContextError, nearest
from virtProfile.format.document import LIBOSINFO_NS, VIRTUNED_NS
from virtProfile.format.element import child

if TYPE_CHECKING:
    from lxml import etree

#: Devices by osinfo-db's ids (osinfo-db, device/): the OS drives one of them.
DEVICES = {
    "virtio-disk": ("pci/1af4/1001", "pci/1af4/1042"),
    "virtio-net": ("pci/1af4/1000", "pci/1af4/1041"),
    "virtio-scsi": ("pci/1af4/1004", "pci/1af4/1048"),
    "virtio-video": ("pci/1af4/1050",),
    "virtio-rng": ("pci/1af4/1005", "pci/1af4/1044"),
    "virtio-balloon": ("pci/1af4/1002", "pci/1af4/1045"),
    "virtio-serial": ("pci/1af4/1003", "pci/1af4/1043"),
    "virtio-input": ("pci/1af4/1052",),
    "virtio-fs": ("pci/1af4/105a",),
    "virtio-1.0": ("pci/1af4/1041",),
    "usb3": ("pci/1b36/0004",),
    "qxl": ("pci/1b36/0100",),
}
_OTHER = {
    "usb-tablet": ("http://usb.org/usb/80ee/0021",),
    "q35": ("http://qemu.org/chipset/x86/q35",),
}
WORDS = (*DEVICES, *_OTHER)
#: The design's spelling of libosinfo's families of names.
_ALIASES = {"windows": "win"}


def guest_entry(domain: etree._Element) -> Any:
    """The ``<virtuned:guest>`` of a domain's metadata, or None."""
    metadata = child(domain, "metadata")
    listed = None if metadata is None else child(metadata, f"{{{VIRTUNED_NS}}}virtuned")
    return None if listed is None else child(listed, f"{{{VIRTUNED_NS}}}guest")


def named_os(entry: etree._Element) -> str | None:
    """The OS that a ``<virtuned:guest>`` names; None where it names none."""
    if entry.get("os"):
        return str(entry.get("os"))
    kind = entry.get("os_type")
    return f"{_ALIASES.get(kind, kind)}{entry.get('os_version') or ''}" if kind else None


def wanted_os(domain: etree._Element, given: str | None) -> str | None:
    """The guest OS that a domain's metadata names, else `given`; None where nobody says."""
    metadata = child(domain, "metadata")
    if metadata is not None:
        entry = guest_entry(domain)
        name = None if entry is None else named_os(entry)
        if name is not None:
            return name
        for libosinfo in metadata.iterchildren(f"{{{LIBOSINFO_NS}}}libosinfo"):
            os = child(libosinfo, f"{{{LIBOSINFO_NS}}}os")
            if os is not None and os.get("id"):
                return str(os.get("id"))
    return given


class GuestOS:
    """One operating system of libosinfo's database."""

    def __init__(self, variant: Any) -> None:
        self.variant = variant
        handle = variant.get_handle() if hasattr(variant, "get_handle") else None
        self.handle = handle
        self._devices: frozenset[str] | None = None
        self._models: dict[str, frozenset[str]] = {}

    @property
    def id(self) -> str:
        """libosinfo's short id: ``fedora38``, ``win11``."""
        return str(self.variant.name)

    @property
    def family(self) -> str:
        """``linux``, ``windows`` (all of libosinfo's win*), ``freebsd``, …"""
        family = self.handle.get_family() if self.handle is not None else ""
        return "windows" if (family or "").startswith("win") else str(family or "")

    @property
    def label(self) -> str:
        """For people: ``Fedora Linux 38``."""
        return str(self.variant.label)

    @property
    def clock(self) -> str:
        """What the hardware clock is set to: ``utc`` or ``localtime``."""
        return str(self.variant.get_clock())

    def needs_efi(self, arch: str) -> bool:
        """Does the OS boot by UEFI only?"""
        return bool(self.variant.requires_firmware_efi(arch))

    def models(self, kind: str) -> frozenset[str]:
        """Names of the devices of a class (``net``, ``video``, ``audio``) that the OS drives."""
        self.supports("qxl")
        return self._models.get(kind, frozenset())

    def resources(self) -> dict[str, tuple[int | None, int | None]]:
        """Arch, or ``all`` -> the recommended memory in KiB and number of CPUs, where known."""
        if self.handle is None:
            return {}
        archs = dict.fromkeys(["all"])
        for listed in (self.handle.get_minimum_resources(), self.handle.get_recommended_resources()):
            archs |= dict.fromkeys(listed.get_nth(at).get_architecture() for at in range(listed.get_length()))
        known = self.variant.get_recommended_resources()
        found = {}
        for arch in sorted(archs):
            memory = known.get_recommended_ram(arch)
            cpus = known.get_recommended_ncpus(arch)
            if memory or cpus:
                found[arch] = (memory // 1024 if memory else None, cpus or None)
        return found

    def supports(self, word: str) -> bool:
        """Does the OS drive that kind of device?

        :raises ValueError: no such word
        """
        ids = _OTHER.get(word) or tuple(
            f"http://pcisig.com/{identifier}" for identifier in DEVICES.get(word, ())
        )
        if not ids:
            raise ValueError(f"unknown word '{word}'")
        if self._devices is None:
            self._devices = self._all_devices()
        return any(identifier in self._devices for identifier in ids)

    def _all_devices(self) -> frozenset[str]:
        if self.handle is None:
            return frozenset()
        found = self.handle.get_all_devices(None)
        devices = [found.get_nth(at) for at in range(found.get_length())]
        names: dict[str, set[str]] = {}
        for device in devices:
            names.setdefault(device.get_class(), set()).add(device.get_name())
        self._models = {kind: frozenset(of) for kind, of in names.items()}
        return frozenset(device.get_id() for device in devices)


_known: dict[str, GuestOS | None] = {}


def _database() -> Any:
    """virtinst's view of libosinfo.

    :raises MissingContextError: it is not installed
    """
    from virtProfile.host.overlay import join_overlay

    join_overlay()
    try:
        from virtinst import OSDB
    except (ImportError, ValueError) as problem:
        raise MissingContextError(
            f"libosinfo cannot be asked about the guest OS: {problem}",
            hint="apt-get install virtinst gir1.2-libosinfo-1.0",
        ) from None
    return OSDB


def lookup(name: str) -> GuestOS:
    """The OS of a short id or of libosinfo's URL.

    :raises MissingContextError: libosinfo does not know it, or is not there
    """
    if name not in _known:
        database = _database()
        if "/" in name:
            variant = database.lookup_os_by_full_id(name)
        else:
            variant = database.lookup_os(name)
        _known[name] = None if variant is None else GuestOS(variant)
    found = _known[name]
    if found is None:
        names = [known.name for known in _database().list_os()]
        raise MissingContextError(
            f"libosinfo does not know the guest OS '{name}'",
            hint=nearest(name, names) or "osinfo-query os lists those it knows",
        )
    return found
