# SPDX-License-Identifier: GPL-2.0-or-later
"""Values of a domain that reach into its host: files, devices, networks, command lines.

The service's policy and the record both ask here. Sources: formatdomain and domaincommon.rng
of libvirt 12.8 for what each value names.
"""

from __future__ import annotations

from functools import cache

from virtProfile.format import harmless
from virtProfile.format.facts import data_beside, rows
from virtProfile.format.harmless import is_harmless, rows_at

#: What is guarded, by the word that a policy file opens it with.
KINDS = {
    "commandline": "QEMU's command line, and what overrides its devices or capabilities",
    "host-paths": "files, directories and devices of the host",
    "hostdev": "devices of the host",
    "seclabel": "security labels",
}

#: Elements, by local name, that are guarded whole.
WHOLE = {"hostdev": "hostdev", "seclabel": "seclabel"}
#: Elements whose text is a path or a command of the host.
TEXTS = frozenset(
    ("emulator", "loader", "nvram", "kernel", "initrd", "dtb", "shim", "cmdline", "table", "binary", "path")
    + ("init", "initarg", "bootloader", "bootloader_args", "database", "certificate", "varstore", "qemu")
)
#: Attributes that are paths of the host, wherever they stand.
PATHS = frozenset(("file", "dir", "path", "template", "socket", "evdev", "rendernode", "logFile", "logfile"))
#: The same, with more for elements of one name.
PATHS_OF = {
    "source": PATHS | {"dev", "pool", "volume"},
    "backend": PATHS | {"tap", "vhost"},
}
#: Devices of the host under another name.
OF_HOST = {"interface": "hostdev", "disk": "nvme", "backend": "passthrough"}
#: Sources of random numbers that are there for everybody.
RANDOM = frozenset(("/dev/urandom", "/dev/random", "/dev/hwrng"))

#: Attributes that open the host or the VM to a network or to writing: (element, attribute).
_OPENING = frozenset(
    [("source", name) for name in ("bridge", "network", "host", "service", "mode", "name", "master", "slave")]
    + [("listen", "address"), ("graphics", "listen"), ("graphics", "websocket"), ("graphics", "socket")]
    + [("loader", "readonly"), ("loader", "secure"), ("domain", "type"), ("driver", "type")]
    + [("backend", "type"), ("filterref", "filter"), ("hostdev", "managed"), ("filesystem", "accessmode")]
)
#: Elements of which the presence protects the host, the disk or other VMs.
_PROTECTING = frozenset(
    ("readonly", "filterref", "seclabel", "encryption", "auth", "secret", "transient")
    + ("idmap", "sandbox", "vlan", "port")
)
#: What changes with a bus, and is the guest's alone: (path, slot).
_NAMES = frozenset([("devices/disk/target", "@dev")])
#: Elements without which the VM is another one.
_IDENTITY = frozenset(("name", "uuid", "genid", "emulator", "loader", "nvram"))


def guarded_value(path: str, slot: str, value: str | None) -> bool:
    """May a value reach into the host or to other VMs, or is the VM another one with it?

    Whatever `harmless` has no row for may.

    :param path: of the element, relative to the domain: ``devices/disk/source``
    :param slot: ``@name``, ``text()`` or "" for the element's presence
    :param value: None where there is to be none
    """
    if path.split("/")[0] == "metadata" or (path, slot) in _NAMES or (path, slot) in _amounts():
        return False
    if _reaches(path, slot, value):
        return True
    if value is None and slot:
        return not any(row.how == "any" and row.names(slot) for row in rows_at(path or "."))
    return not is_harmless(path or ".", slot or harmless.PRESENCE, value)


@cache
def _amounts() -> frozenset[tuple[str, str]]:
    """Sizes and their units: how much of something, and never what."""
    found: set[tuple[str, str]] = set()
    for path, slot, unit, *_ in rows(f"{data_beside(__file__)}/units.tsv"):
        found |= {(path, slot), (path, unit)}
    return frozenset(found)


def _reaches(path: str, slot: str, value: str | None) -> bool:
    """Is it one of those that are known to?"""
    tag = path.rpartition("/")[2]
    if tag[:1] == "{":
        return True
    if any(part in WHOLE for part in path.split("/")):
        return True
    if slot[:1] == "@":
        name = slot[1:]
        keys = PATHS_OF.get(tag, PATHS)
        if name == "type" and OF_HOST.get(tag) == value:
            return True
        return name in keys or (tag, name) in _OPENING
    if slot == "text()":
        if tag == "backend" and path.endswith("rng/backend"):
            return value not in RANDOM
        return tag in TEXTS or tag in ("name", "uuid")
    return False


def protecting(path: str) -> bool:
    """Is something lost, besides a device, where the element goes?"""
    tag = path.rpartition("/")[2]
    if is_harmless(path, harmless.PRESENCE, None, "fill"):
        return True  # to bring it is harmless, to take it out is not
    return tag in _PROTECTING or (path.count("/") < 2 and tag in _IDENTITY)
