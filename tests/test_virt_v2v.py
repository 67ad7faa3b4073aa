# SPDX-License-Identifier: GPL-2.0-or-later
"""What virt-v2v wrote for a VM that it converted: read, changed and given back.

tests/data/counterparts/virt-v2v.xml is of virt-v2v 2.2.0 (``-i libvirtxml -o local -of qcow2``), from a VM with an IDE
disk, a NIC e1000 and video cirrus: a Debian 12 of debootstrap with a kernel, whose update-initramfs did nothing, as that
takes minutes under emulation. LIBGUESTFS_HV was a script that starts QEMU with ``discard=ignore`` instead of ``unmap``:
else "Mapping filesystem data" does not end.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

import virtProfile
from virtProfile.language.store import ProfileStore

TOP = Path(__file__).parent.parent
XML = (TOP / "tests" / "data" / "counterparts" / "virt-v2v.xml").read_text()
STORE = ProfileStore([TOP / "profiles"])
#: Profiles for a VM that came from elsewhere, and what stands in it then.
PROFILES = {
    "linux-server": "<serial type='pty'",
    "fast-disk": "cache='none'",
    "safe-disk": "cache='writethrough'",
    "cpu-host-model": "mode='host-model'",
    "watchdog": "<watchdog ",
    "sata-disk": "bus='sata'",
}


def parts(xml: str) -> list[str]:
    """What is in a domain: a device that comes back may stand at another place."""
    root = ElementTree.fromstring(xml.encode())
    devices = root.find("devices")
    return sorted(canonical(one) for one in [*devices, *root] if one is not devices)


def canonical(element: ElementTree.Element) -> str:
    inside = [(element.text or "").strip(), *map(canonical, element)]
    return f"{element.tag} {sorted(element.items())} {inside}"


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_applied_once_and_taken_back(name: str) -> None:
    once = virtProfile.apply(XML, [{"name": name, "priority": 100}], store=STORE)
    assert PROFILES[name] in once.xml and PROFILES[name] not in XML
    assert virtProfile.apply(once.xml, store=STORE).xml == once.xml
    assert parts(virtProfile.unapply(once.xml, "all", store=STORE).xml) == parts(XML)


def test_without_a_profile_every_byte_stays() -> None:
    assert virtProfile.apply(XML, store=STORE).xml == XML
