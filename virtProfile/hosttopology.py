# SPDX-License-Identifier: GPL-2.0-or-later
"""A host's CPUs and memory as libvirt's capabilities tell them, and what a VM asks of them.

Read before `topology` lays the one over the other.
"""

from __future__ import annotations

from typing import Any

from .cpuset import parse_cpuset
from .errors import CompletionError, InvalidDomainError, UsageError
from .records import record
from .valuetypes import to_bytes
from .worktree import child, text_of

POLICIES = ("prefer", "require", "isolate")


class TopologyError(CompletionError):
    """A VM does not fit a host; the hint says what would fit."""


@record
class Node:
    """A NUMA node with its cores: CPUs that share one, lowest number first.

    Sizes are in KiB; `memory` is None where the document does not tell it. `pages`
    are (size, number of all, free or not); `distances` are (node, value).
    """

    id: int
    memory: int | None
    pages: tuple[tuple[int, int], ...]
    distances: tuple[tuple[int, int], ...]
    cores: tuple[tuple[int, ...], ...]

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

    `levels` are the levels of its CPU topology besides sockets, cores and threads.
    """

    vcpus: int
    memory: int
    iothreads: tuple[int, ...] = ()
    cells: tuple[GuestCell, ...] = ()
    levels: tuple[str, ...] = ()


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

    :raises UsageError: one of them is no number, no policy, no size or no set of CPUs
    """
    if policy and policy not in POLICIES:
        raise UsageError(f"policy='{policy}' is none of {', '.join(POLICIES)}")
    size = None
    if hugepages:
        digits = hugepages.rstrip("BIKMGTbikmgt ")
        size = to_bytes(digits, hugepages[len(digits) :].strip(), "KiB")
        if size is None or size < 1024:
            raise UsageError(
                f"hugepages='{hugepages}' is no size of a page", hint="such as 2M or 1G; plain is KiB"
            )
        size //= 1024
    sets = {}
    for name, text in (("used", used), ("emulator", emulator)):
        try:
            sets[name] = parse_cpuset(text)
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
        raise UsageError(f"{what}='{text}' is no number from {least} on")
    return int(text)


# --- the host -----------------------------------------------------------------


def read_host(capabilities: Any) -> tuple[Node, ...]:
    """The NUMA nodes of a capabilities document, by number.

    A CPU without ``siblings`` beside others that have them is offline, and left
    out: nothing can be pinned to it. Where none has them, each is a core.

    :param capabilities: its root element
    :raises TopologyError: it does not tell the topology
    """
    host = child(capabilities, "host")
    cells = None if host is None else host.find("topology/cells")
    found = [] if cells is None else [_node(one) for one in cells.iterchildren("cell")]
    if not any(one.cores for one in found):
        raise TopologyError(
            "the capabilities do not tell the host's CPU topology",
            hint="<host><topology> of 'virsh capabilities' does, on the host itself",
        )
    return tuple(sorted(found, key=lambda one: one.id))


def _node(cell: Any) -> Node:
    memory = child(cell, "memory")
    pages = [
        (_kib(one.get("size"), one.get("unit")), _int(text_of(one))) for one in cell.iterchildren("pages")
    ]
    distances = cell.findall("distances/sibling")
    cpus = cell.findall("cpus/cpu")
    known = {_int(one.get("id")) for one in cpus}
    telling = any(one.get("siblings") for one in cpus)
    cores: set[tuple[int, ...]] = set()
    seen: set[int] = set()
    for one in cpus:
        number = _int(one.get("id"))
        text = one.get("siblings")
        if number in seen or (telling and not text):
            continue
        core = (_cpus(text) & known | {number}) - seen if text else {number}
        seen |= core
        cores.add(tuple(sorted(core)))
    return Node(
        _int(cell.get("id")),
        None if memory is None else _kib(text_of(memory), memory.get("unit")),
        tuple(pages),
        tuple((_int(one.get("id")), _int(one.get("value"))) for one in distances),
        tuple(sorted(cores)),
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
        return parse_cpuset(text)
    except ValueError as problem:
        raise TopologyError(f"the capabilities have siblings={problem}") from None


# --- the VM -------------------------------------------------------------------


def read_demand(domain: Any) -> Demand:
    """What a domain asks for: vCPUs (all that it may have), memory, I/O threads, cells.

    :raises InvalidDomainError: a number, size or set in it is none
    """
    vcpus = _whole(domain.findtext("vcpu"), "vcpu", 1)
    cells = tuple(_cell(one) for one in domain.iterfind("cpu/numa/cell"))
    if cells and sorted(cpu for one in cells for cpu in one.vcpus) != list(range(vcpus)):
        raise InvalidDomainError(f"the NUMA cells do not have each of the {vcpus} vCPUs once")
    memory = child(domain, "memory")
    size = 0 if memory is None else _size(memory)
    # <memory> counts the memory devices too, which are not there at boot (libvirt, formatdomain).
    extra = sum(_size(one) for one in domain.iterfind("devices/memory/target/size"))
    ids = [one.get("id") for one in domain.iterfind("iothreadids/iothread")]
    numbers = {_whole(one, "iothread", 0) for one in ids if one is not None}
    wanted = domain.findtext("iothreads")
    count = _whole(wanted, "iothreads", 0) if wanted is not None else len(numbers)
    number = 1
    while len(numbers) < min(count, 4096):  # libvirt gives those without an id the lowest free ones
        numbers.add(number)
        number += 1
    topology = domain.find("cpu/topology")
    levels = () if topology is None else tuple(sorted(set(topology.attrib) - {"sockets", "cores", "threads"}))
    return Demand(
        vcpus,
        sum(one.memory for one in cells) if cells else size - extra if size > extra else size,
        tuple(sorted(numbers)),
        cells,
        levels,
    )


def _cell(cell: Any) -> GuestCell:
    try:
        vcpus = parse_cpuset(cell.get("cpus") or "")
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
        raise InvalidDomainError(f"<{what}> is '{value}', no number of 1 to 65535")
    return int(value)


def _size(element: Any) -> int:
    size = to_bytes(text_of(element) or "", element.get("unit"), "KiB")
    if size is None:
        raise InvalidDomainError(f"<{element.tag}> is '{text_of(element)}', no size")
    return size // 1024
