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
from virtProfile.frozen import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from virtProfile.format.element import Element

#: rule -> what it is about, for reports and the manual page
RULES = {
    "fleet-mac": "Two NICs of one MAC address on different VMs",
    "fleet-disk": "A disk that VMs write to and that is not marked as shareable in all of them",
    "fleet-pins": "A CPU of the host to which single vCPUs of different VMs are pinned",
}


@record
class Shared:
    """What of a VM no other may have as well: MACs, disks (are they shareable?), CPUs of single pins."""

    macs: tuple[str, ...]
    disks: tuple[tuple[str, bool], ...]
    pins: tuple[str, ...]


def shared_of(vm: str, xml: str) -> Shared:
    """What is to be compared of a VM.

    :raises ProfileError: it is no XML
    """
    root = parse(xml, name=vm).root
    disks = []
    for disk in root.iterfind("devices/disk"):
        source = disk.find("source")
        place = None if source is None else source.get("file") or source.get("dev")
        if place and disk.find("readonly") is None and disk.get("device") in (None, "disk", "lun"):
            disks.append((place, disk.find("shareable") is not None))
    pins = [cpu_set(pins) for pins in _values(root, "cputune/vcpupin", "cpuset")]
    return Shared(
        tuple(mac.lower() for mac in _values(root, "devices/interface/mac", "address")),
        tuple(disks),
        tuple(str(min(cpus)) for cpus in pins if cpus is not None and len(cpus) == 1),
    )


class SideBySide:
    """What VMs of one host have in common and should not; each is added once, with its host."""

    def __init__(self) -> None:
        self._macs: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
        self._disks: dict[tuple[str, str], list[tuple[str, bool]]] = defaultdict(list)
        self._pins: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)

    def add(self, host: str, vm: str, shared: Shared) -> None:
        """Note a VM.

        :param host: VMs of different hosts are not compared
        """
        for mac in shared.macs:
            self._macs[host, mac][vm] = None
        for place, shareable in shared.disks:
            self._disks[host, place].append((vm, shareable))
        for cpu in shared.pins:
            self._pins[host, cpu][vm] = None

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


def _several(
    things: Mapping[tuple[str, str], Iterable[str]], rule: str, words: Callable[[str], str]
) -> Iterable[Finding]:
    for (_, thing), owners in sorted(things.items(), key=lambda row: row[0]):
        vms = list(owners)
        if len(vms) > 1:
            more = f" and {len(vms) - 5} more" if len(vms) > 5 else ""
            text = f"{words(thing)} {', '.join(vms[:5])}{more}"
            yield Finding(vms[0], "warning", text, rule, "", "", 0, others=tuple(vms[1:]))
