# SPDX-License-Identifier: GPL-2.0-or-later
"""A host's CPUs and memory as libvirt's capabilities tell them, and what a VM asks of them.

Read before `topology` lays the one over the other.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from virtProfile.errors import CompletionError, InvalidDomainError, UsageError
from virtProfile.format.document import parse
from virtProfile.format.element import child, text_of
from virtProfile.format.values import parse_cpuset, to_bytes
from virtProfile.frozen import record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lxml import etree

_PINS = ("vcpupin", "emulatorpin", "iothreadpin")
POLICIES = ("prefer", "require", "isolate")


class TopologyError(CompletionError):
    """A VM does not fit a host; the hint says what would fit."""


@record
class Node:
    """A NUMA node with its cores: CPUs that share one, lowest number first.

    Sizes are in KiB; `memory` is None where the document does not tell it. `pages`
    are (size, number of all, free or not); `distances` are (node, value). `caches`
    are the CPUs of each cache of the third level, where the document tells them.
    """

    id: int
    memory: int | None
    pages: tuple[tuple[int, int], ...]
    distances: tuple[tuple[int, int], ...]
    cores: tuple[tuple[int, ...], ...]
    caches: tuple[frozenset[int], ...] = ()

    @property
    def cpus(self) -> frozenset[int]:
        return frozenset(cpu for core in self.cores for cpu in core)


@record
class GuestCell:
    """A NUMA cell of a VM; memory in KiB."""

    vcpus: tuple[int, ...]
    memory: int


@record
class Demand:
    """What a VM asks for: memory in KiB; `cells` are those it has already.

    `levels` are the levels of its CPU topology besides sockets, cores and threads;
    `page` is the size of the huge pages that it asks for, None for none or the host's own.
    """

    vcpus: int
    memory: int
    iothreads: tuple[int, ...] = ()
    cells: tuple[GuestCell, ...] = ()
    levels: tuple[str, ...] = ()
    page: int | None = None


@record
class Wishes:
    """How to lay a VM out.

    :param nodes: host nodes to use; None is as few as possible
    :param policy: "prefer" siblings, "require" them, or "isolate": each vCPU a core of its own
    :param reserve: whole cores kept for the emulator and the I/O threads
    :param hugepages: size of a page in KiB, or None
    :param used: CPUs that others have
    :param emulator: CPUs of the emulator and the I/O threads, instead of cores that are reserved
    """

    nodes: int | None = None
    policy: str = "prefer"
    reserve: int = 1
    hugepages: int | None = None
    used: frozenset[int] = frozenset()
    emulator: frozenset[int] = frozenset()


def read_wishes(
    nodes: str = "",
    policy: str = "",
    reserve: str = "",
    hugepages: str = "",
    used: str = "",
    emulator: str = "",
) -> Wishes:
    """Wishes as somebody spelled them; "" is what was not said.

    :raises UsageError: a number, policy, size or set of CPUs that cannot be read
    """
    if policy and policy not in POLICIES:
        raise UsageError(f"policy='{policy}' is none of {', '.join(POLICIES)}")
    size = None
    if hugepages:
        digits = hugepages.rstrip("BIKMGTbikmgt ")
        size = to_bytes(digits, hugepages[len(digits) :].strip(), "KiB")
        if size is None or size < 1024:
            raise UsageError(
                f"hugepages='{hugepages}' is not a page size",
                hint="use a size such as 2M or 1G; a plain number is in KiB",
            )
        size //= 1024
    sets = {}
    for name, text in (("used", used), ("emulator", emulator)):
        try:
            sets[name] = parse_cpuset(text) if text.strip() else frozenset()
        except ValueError as problem:
            raise UsageError(f"{name}={problem}") from None
    return Wishes(
        nodes=_count(nodes, "nodes", 1) if nodes else None,
        policy=policy or "prefer",
        reserve=_count(reserve, "reserve", 0) if reserve else 1,
        hugepages=size,
        **sets,
    )


def _count(text: str, what: str, least: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) < least:
        raise UsageError(f"{what}='{text}' is not a number of at least {least}")
    return int(text)


# --- the host -----------------------------------------------------------------


def read_host(capabilities: etree._Element) -> tuple[Node, ...]:
    """The NUMA nodes of a capabilities document, by number.

    A CPU without ``siblings`` beside others that have them is offline, and left
    out: nothing can be pinned to it. Where none has them, each is a core.

    :param capabilities: its root element
    :raises TopologyError: it does not tell the topology
    """
    host = child(capabilities, "host")
    cells = None if host is None else host.find("topology/cells")
    caches = [] if host is None else _caches(host)
    found = [] if cells is None else [_node(cell, caches) for cell in cells.iterchildren("cell")]
    if not any(node.cores for node in found):
        raise TopologyError(
            "the capabilities do not have the host's CPU topology",
            hint="<host><topology> of 'virsh capabilities' does, on the host itself",
        )
    return tuple(sorted(found, key=lambda node: node.id))


def _caches(host: etree._Element) -> list[frozenset[int]]:
    """The CPUs of each cache of the third level: what cores share of the host's caches."""
    banks = [bank for bank in host.iterfind("cache/bank") if bank.get("level") == "3"]
    return sorted({_cpus(bank.get("cpus") or "") for bank in banks}, key=sorted)


def _node(cell: etree._Element, caches: Sequence[frozenset[int]]) -> Node:
    memory = child(cell, "memory")
    pages = [
        (_kib(page.get("size"), page.get("unit")), _int(text_of(page))) for page in cell.iterchildren("pages")
    ]
    distances = cell.findall("distances/sibling")
    cpus = cell.findall("cpus/cpu")
    known = {_int(cpu.get("id")) for cpu in cpus}
    telling = any(cpu.get("siblings") for cpu in cpus)
    cores: set[tuple[int, ...]] = set()
    seen: set[int] = set()
    for cpu in cpus:
        number = _int(cpu.get("id"))
        text = cpu.get("siblings")
        if number in seen or (telling and not text):
            continue
        core = (_cpus(text) & known | {number}) - seen if text else {number}
        seen |= core
        cores.add(tuple(sorted(core)))
    return Node(
        _int(cell.get("id")),
        None if memory is None else _kib(text_of(memory), memory.get("unit")),
        tuple(pages),
        tuple((_int(distance.get("id")), _int(distance.get("value"))) for distance in distances),
        tuple(sorted(cores)),
        tuple(cache & known for cache in caches if cache & known),
    )


def _int(text: Any) -> int:
    value = str(text or "").strip()
    if not value.isascii() or not value.isdigit() or len(value) > 18:
        raise TopologyError(f"the capabilities have '{value}' where a number was expected")
    return int(value)


def _kib(text: Any, unit: str | None) -> int:
    size = to_bytes(str(text or ""), unit, "KiB")
    if size is None:
        raise TopologyError(f"the capabilities have '{text}' where a size was expected")
    return size // 1024


def _cpus(text: str) -> frozenset[int]:
    try:
        return parse_cpuset(text) if text.strip() else frozenset()
    except ValueError as problem:
        raise TopologyError(f"the capabilities have siblings={problem}") from None


# --- the VM -------------------------------------------------------------------


def read_demand(domain: etree._Element) -> Demand:
    """What a domain asks for: vCPUs (all that it may have), memory, I/O threads, cells.

    :raises InvalidDomainError: a number, size or set in it is none
    """
    vcpus = _whole(domain.findtext("vcpu"), "vcpu", 1)
    cells = tuple(_cell(cell) for cell in domain.iterfind("cpu/numa/cell"))
    if cells and sorted(cpu for cell in cells for cpu in cell.vcpus) != list(range(vcpus)):
        raise InvalidDomainError(f"the NUMA cells do not contain each of the {vcpus} vCPUs exactly once")
    memory = child(domain, "memory")
    size = 0 if memory is None else _size(memory)
    # <memory> counts the memory devices too, which are not there at boot (libvirt, formatdomain).
    extra = sum(_size(module) for module in domain.iterfind("devices/memory/target/size"))
    ids = [iothread.get("id") for iothread in domain.iterfind("iothreadids/iothread")]
    numbers = {_whole(text, "iothread", 0) for text in ids if text is not None}
    wanted = domain.findtext("iothreads")
    count = _whole(wanted, "iothreads", 0) if wanted is not None else len(numbers)
    number = 1
    while len(numbers) < min(count, 4096):  # libvirt gives those without an id the lowest free ones
        numbers.add(number)
        number += 1
    topology = domain.find("cpu/topology")
    written = set() if topology is None else {str(name) for name in topology.attrib}
    levels = tuple(sorted(written - {"sockets", "cores", "threads"}))
    page = domain.find("memoryBacking/hugepages/page")
    paged = None if page is None else to_bytes(page.get("size") or "", page.get("unit"), "KiB")
    return Demand(
        vcpus,
        sum(cell.memory for cell in cells) if cells else size - extra if size > extra else size,
        tuple(sorted(numbers)),
        cells,
        levels,
        paged // 1024 if paged and paged >= 1024 else None,
    )


def pinned_by(text: str) -> frozenset[int]:
    """The CPUs to which a VM pins vCPUs, the emulator or I/O threads; none of where it floats.

    :raises ProfileError: it is no domain
    """
    root = parse(text).root
    pins = [pin.get("cpuset") or "" for pin in root.iterfind("cputune/*") if pin.tag in _PINS]
    found: set[int] = set()
    for cpus in pins:
        with suppress(ValueError):  # what libvirt took is a set of CPUs
            found |= parse_cpuset(cpus)
    return frozenset(found)


def _cell(cell: etree._Element) -> GuestCell:
    try:
        text = (cell.get("cpus") or "").strip()
        vcpus = parse_cpuset(text) if text else frozenset()
    except ValueError as problem:
        raise InvalidDomainError(f"a NUMA cell has cpus={problem}") from None
    size = to_bytes(cell.get("memory") or "0", cell.get("unit"), "KiB")
    if size is None:
        raise InvalidDomainError(f"a NUMA cell has memory='{cell.get('memory')}'")
    return GuestCell(tuple(sorted(vcpus)), size // 1024)


def _whole(text: str | None, what: str, default: int) -> int:
    value = (text or "").strip()
    if not value:
        return default
    if not value.isascii() or not value.isdigit() or not 0 < int(value[:6]) <= 65_535 or len(value) > 5:
        raise InvalidDomainError(f"<{what}> is '{value}', not a number from 1 to 65535")
    return int(value)


def _size(element: etree._Element) -> int:
    size = to_bytes(text_of(element) or "", element.get("unit"), "KiB")
    if size is None:
        raise InvalidDomainError(f"<{element.tag}> is '{text_of(element)}', not a size")
    return size // 1024
