# SPDX-License-Identifier: GPL-2.0-or-later
"""Machine types: families, versions, defaults, as QEMU names them.

``pc-i440fx-7.2``, ``pc-q35-7.2``, ``virt-7.2``, ``pseries-7.2`` and
``s390-ccw-virtio-7.2`` are upstream's versions; distributions put a word of
their own behind the family (``pc-q35-rhel9.2.0``, ``pc-i440fx-jammy``).
"""

from __future__ import annotations

import re

#: What QEMU takes where nothing is said, by arch (libvirt, "virQEMUCapsGetPreferredMachine").
DEFAULTS = {
    "x86_64": "pc",
    "i686": "pc",
    "aarch64": "virt",
    "armv7l": "virt",
    "ppc64": "pseries",
    "ppc64le": "pseries",
    "s390x": "s390-ccw-virtio",
    "riscv64": "virt",
    "loongarch64": "virt",
}
_FAMILIES = ("s390-ccw-virtio", "pc-i440fx", "pc-q35", "pseries", "virt", "pc", "q35", "microvm")
_SHORT = {"pc-i440fx": "pc", "pc-q35": "q35"}
_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?$")


def family(machine: str) -> str:
    """``pc`` of ``pc-i440fx-7.2``, ``q35`` of ``pc-q35-rhel9.2.0``; others are their own."""
    for one in _FAMILIES:
        if machine == one or machine.startswith(one + "-"):
            return _SHORT.get(one, one)
    if re.fullmatch(r"rhel6\.\d+\.\d+", machine):  # RHEL 6 named its i440FX so
        return "pc"
    return machine


def qemu_version(machine: str) -> int | None:
    """The QEMU version (7002000) that brought a machine type; it cannot be older."""
    if "rhel" in machine or family(machine) == machine:
        return None
    found = _VERSION.search(machine)
    if found is None:
        return None
    major, minor, micro = (int(part or 0) for part in found.groups())
    return major * 1_000_000 + minor * 1_000 + micro
