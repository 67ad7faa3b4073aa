# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks of several VMs side by side: what each may have and no two of one host.

Documents of two hosts, or a VM and its copy, are not known apart: for files these findings are
warnings.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from virtProfile.audit.judge import Finding
from virtProfile.format.document import parse
from virtProfile.format.values import cpu_set

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from virtProfile.format.element import Element

#: rule -> what it is about, for reports and the manual page
RULES = {
    "fleet-mac": "Two NICs of one MAC address on different VMs",
    "fleet-disk": "A disk that VMs write to and that is not marked as shareable in all of them",
    "fleet-pins": "A CPU of the host to which single vCPUs of different VMs are pinned",
}


class SideBySide:
    """What VMs of one host have in common and should not; each is added with its host."""

    def __init__(self) -> None:
        self._macs: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._disks: dict[tuple[str, str], list[tuple[str, bool]]] = defaultdict(list)
        self._pins: dict[tuple[str, str], list[str]] = defaultdict(list)

    def add(self, host: str, vm: str, xml: str) -> None:
        """Note a VM.

        :param host: VMs of different hosts are not compared
        :raises ProfileError: it is no XML
        """
        root = parse(xml, name=vm).root
        for mac in _values(root, "devices/interface/mac", "address"):
            _note(self._macs[host, mac.lower()], vm)
        for disk in root.iterfind("devices/disk"):
            source = disk.find("source")
            place = None if source is None else source.get("file") or source.get("dev")
            if place and disk.find("readonly") is None and disk.get("device") in (None, "disk", "lun"):
                self._disks[host, place].append((vm, disk.find("shareable") is not None))
        for pins in _values(root, "cputune/vcpupin", "cpuset"):
            cpus = cpu_set(pins)
            if cpus is not None and len(cpus) == 1:
                _note(self._pins[host, str(min(cpus))], vm)

    def findings(self) -> Iterator[Finding]:
        """A finding for each thing that several VMs have, at the first of them."""
        yield from _several(self._macs, "fleet-mac", lambda mac: f"MAC address {mac} is that of")
        writers = {
            place: sorted({vm for vm, _ in uses})
            for place, uses in self._disks.items()
            if not all(shareable for _, shareable in uses)
        }
        yield from _several(
            writers, "fleet-disk", lambda place: f"'{place}' is written to without <shareable/> by"
        )
        yield from _several(self._pins, "fleet-pins", lambda cpu: f"CPU {cpu} of the host is pinned for")


def _values(root: Element, path: str, name: str) -> Iterator[str]:
    for element in root.iterfind(path):
        value = element.get(name)
        if value:
            yield value


def _note(vms: list[str], vm: str) -> None:
    if vm not in vms:
        vms.append(vm)


def _several(
    things: dict[tuple[str, str], list[str]], rule: str, words: Callable[[str], str]
) -> Iterable[Finding]:
    for (_, thing), vms in sorted(things.items()):
        if len(vms) > 1:
            more = f" and {len(vms) - 5} more" if len(vms) > 5 else ""
            text = f"{words(thing)} {', '.join(vms[:5])}{more}"
            yield Finding(vms[0], "warning", text, rule, "", "", 0, others=tuple(vms[1:]))
