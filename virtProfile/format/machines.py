# SPDX-License-Identifier: GPL-2.0-or-later
"""Machine types: families, versions, defaults, as QEMU names them.

``pc-i440fx-7.2``, ``pc-q35-7.2``, ``virt-7.2``, ``pseries-7.2`` and
``s390-ccw-virtio-7.2`` are upstream's versions; distributions put a word of
their own behind the family (``pc-q35-rhel9.2.0``, ``pc-i440fx-jammy``).
"""

from __future__ import annotations

import re
from functools import cache

from virtProfile.format.element import Element
from virtProfile.format.facts import data_beside, rows

_FAMILIES = ("s390-ccw-virtio", "pc-i440fx", "pc-q35", "pseries", "virt", "pc", "q35", "microvm")
_SHORT = {"pc-i440fx": "pc", "pc-q35": "q35"}
_VERSION = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})(?:\.([0-9]{1,9}))?$")


def family(machine: str) -> str:
    """``pc`` of ``pc-i440fx-7.2``, ``q35`` of ``pc-q35-rhel9.2.0``; others are their own."""
    for name in _FAMILIES:
        if machine == name or machine.startswith(name + "-"):
            return _SHORT.get(name, name)
    if re.fullmatch(r"rhel6\.\d+\.\d+", machine):  # RHEL 6 named its i440FX so
        return "pc"
    return machine


def resolves(alias: str, machine: str) -> bool:
    """May libvirt have written `machine` where a definition said `alias`?

    libvirt replaces an alias of QEMU's (``q35``) by the version that it stands for.
    """
    return alias != machine and family(alias) == alias and family(machine) == alias


def qemu_version(machine: str) -> int | None:
    """The QEMU version (7002000) that brought a machine type; it cannot be older."""
    if "rhel" in machine or family(machine) == machine:
        return None
    found = _VERSION.search(machine)
    if found is None:
        return None
    major, minor, micro = (int(part or 0) for part in found.groups())
    return major * 1_000_000 + minor * 1_000 + micro


@cache
def _defaults() -> dict[str, str]:
    return {arch: machine for arch, machine, *_ in rows(f"{data_beside(__file__)}/default-machines.tsv")}


def default_machine(arch: str) -> str | None:
    """The machine type that today's libvirt takes where none is said; None for an arch nobody asked about.

    Older ones took another for some (default-machines.tsv), which the capabilities of such a host say.
    """
    return _defaults().get(arch)


@cache
def _built_in() -> dict[tuple[str, str, str], frozenset[str]]:
    found: dict[tuple[str, str, str], frozenset[str]] = {}
    for family, tag, slot, value, *_ in rows(f"{data_beside(__file__)}/built-in.tsv"):
        key = tag, slot[1:], value
        found[key] = found.get(key, frozenset()) | {family}
    return found


def built_in(device: Element) -> frozenset[str]:
    """The families of machines that have such a device built in, and libvirt writes it (built-in.tsv)."""
    for (tag, name, value), families in _built_in().items():
        if device.tag == tag and device.get(name) == value:
            return families
    return frozenset()


def built_in_tags() -> set[str]:
    """The kinds of devices of which some are built in."""
    return {tag for tag, _, _ in _built_in()}
