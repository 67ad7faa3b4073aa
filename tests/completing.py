# SPDX-License-Identifier: GPL-2.0-or-later
"""Small domains and profiles for the tests of completion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import strategies

import virtProfile
from virtProfile.host.context import Context

PREFIXES = {"ide": "hd", "virtio": "vd", "fdc": "fd"}


def apply(vm: str, *profiles: str, **options: Any) -> virtProfile.Result:
    """Apply profiles ``p0``, ``p1``, …; a text that is no whole profile is its actions."""
    texts = [
        text if text.startswith("<profile") else f"<profile name='p{number}' version='1'>{text}</profile>"
        for number, text in enumerate(profiles)
    ]
    store: Any = strategies.MemoryStore(texts)
    options.setdefault("record", False)
    return virtProfile.apply(vm, list(store.profiles), store=store, **options)


def domain(devices: str = "", machine: str = "q35", top: str = "", os: str = "", name: str = "vp") -> str:
    return (
        f"<domain type='qemu'>\n  <name>{name}</name>\n  <memory unit='MiB'>64</memory>\n{top}  <os>\n"
        f"    <type arch='x86_64' machine='{machine}'>hvm</type>\n{os}  </os>\n  <devices>\n{devices}"
        "  </devices>\n</domain>\n"
    )


def target(prefix: str, number: int) -> str:
    high, low = divmod(number, 26)
    return prefix + (chr(96 + high) if high else "") + chr(97 + low)


def disks(bus: str, count: int, start: int = 0, directory: str = "/nowhere") -> str:
    lines = []
    for number in range(start, start + count):
        name = target(PREFIXES.get(bus, "sd"), number)
        lines.append(
            "    <disk type='file' device='disk'><driver name='qemu' type='raw'/>"
            f"<source file='{directory}/{name}.img'/><target dev='{name}' bus='{bus}'/></disk>\n"
        )
    return "".join(lines)


def add(inner: str) -> str:
    return f"<add><devices>{inner}</devices></add>"


def many(device: str, count: int, start: int = 0) -> str:
    """A device several times; ``{}`` in its text is a number."""
    return "".join(device.replace("{}", str(number)) for number in range(start, start + count))


def at_priority(priority: int, vm: str, *profiles: str) -> virtProfile.Result:
    """Apply profiles (their actions) at a priority."""
    texts = [
        f"<profile name='p{number}' version='1'>{text}</profile>" for number, text in enumerate(profiles)
    ]
    store: Any = strategies.MemoryStore(texts)
    wishes = [{"name": name, "priority": priority} for name in store.profiles]
    return virtProfile.apply(vm, wishes, store=store, record=False)


def capabilities() -> Context:
    """What a host with QEMU 7.2 tells of itself, in `data/host`."""
    host = Path(__file__).parent / "data/host"
    texts = [(host / f"domcapabilities-{machine}.xml").read_text() for machine in ("pc", "q35")]
    return Context(capabilities=((host / "capabilities.xml").read_text(),), domcapabilities=tuple(texts))
