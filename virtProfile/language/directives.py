# SPDX-License-Identifier: GPL-2.0-or-later
"""What a snippet asks for an element beyond what stands in it: the attributes by which it does.

They are of the profile list's own namespace, stand in an ``<add>``, and are no
part of any domain: a device's NUMA node, the devices that it shares a slot with,
the size of a new disk.
"""

from __future__ import annotations

from virtProfile.format.values import kib_of

NUMA_NODE = "numa-node"
#: Devices with the same word in it are the functions of one device of the guest.
SAME_SLOT = "same-slot"

SIZE = "size"

#: Of the number of a node: Python refuses to read one of 4,300.
_DIGITS = 20
#: Of the word of a slot.
_LONGEST = 100
NAMES = (NUMA_NODE, SAME_SLOT, SIZE)
#: What each of them is about, for messages.
SUBJECTS = {NUMA_NODE: "a place", SAME_SLOT: "a place", SIZE: "storage"}


def attribute(name: str) -> str:
    """What stands in reports for the attribute."""
    return f"@virtuned:{name}"


def wrong(name: str, value: str | None, path: str) -> tuple[str, str] | None:
    """Fact and hint, where it cannot stand there or the value is none; else None.

    :param value: None where it is still to be worked out
    :param path: of the element in the schema
    """
    at = path or "domain"
    if name == SIZE and path != "devices/disk":
        return f"size on '{at}': it is the size of a new disk", "it stands on a <disk>"
    if value is None:
        return None
    if name == NUMA_NODE and not (value.isascii() and value.isdigit() and len(value) <= _DIGITS):
        return (
            f"{name}='{value}' on '{at}' is not a number",
            "a NUMA node of the guest is named by the id of its <cell>",
        )
    if name == SAME_SLOT and not 0 < len(value.strip()) <= _LONGEST:
        return (
            f"{name}='{value[:_LONGEST]}' on '{at}' is not a name",
            f"devices with the same 1 to {_LONGEST} characters share a slot",
        )
    if name == SIZE and not kib_of(value):
        return (
            f"{name}='{value}' on '{at}' is not a size",
            "a number with an optional unit is, as 20 GiB; plain is KiB",
        )
    return None


def normal(name: str, value: str) -> str:
    """A value without its spelling: sizes in KiB."""
    if name == SAME_SLOT:
        return value.strip()
    return str(int(kib_of(value) or 0)) if name == SIZE else str(int(value))
