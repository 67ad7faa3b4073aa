# SPDX-License-Identifier: GPL-2.0-or-later
"""Capabilities of large and odd hosts, as libvirt writes them: made here, since each has hundreds of lines.

Numbers of CPUs, siblings and caches follow what Linux shows on such machines (lscpu -e).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from virtProfile.format.values import format_cpuset

GIB = 1 << 20


class Core(NamedTuple):
    """A core of a host: its CPUs, the socket, and whether they are online."""

    cpus: tuple[int, ...]
    socket: int = 0
    online: bool = True


class Cell(NamedTuple):
    """A NUMA node: its cores, memory in GiB, pages of 1 GiB, distances to all nodes."""

    cores: Sequence[Core]
    memory: int
    huge: int
    distances: Sequence[int]


def capabilities(cells: Sequence[Cell], caches: Iterable[Sequence[int]], vendor: str) -> str:
    """The document of a host; `caches` are the CPUs of each cache of the third level."""
    lines = [f"<capabilities><host><cpu><arch>x86_64</arch><vendor>{vendor}</vendor></cpu><topology>"]
    lines.append(f"<cells num='{len(cells)}'>")
    for number, cell in enumerate(cells):
        lines.append(f"<cell id='{number}'><memory unit='KiB'>{cell.memory * GIB}</memory>")
        lines.append(f"<pages unit='KiB' size='4'>{cell.memory * GIB // 4}</pages>")
        lines.append(f"<pages unit='KiB' size='1048576'>{cell.huge}</pages><distances>")
        lines += [f"<sibling id='{other}' value='{value}'/>" for other, value in enumerate(cell.distances)]
        count = sum(len(core.cpus) for core in cell.cores)
        lines.append(f"</distances><cpus num='{count}'>")
        for at, core in enumerate(cell.cores):
            for cpu in core.cpus:
                place = f" socket_id='{core.socket}' die_id='0' core_id='{at}'"
                siblings = f" siblings='{format_cpuset(core.cpus)}'"
                lines.append(f"<cpu id='{cpu}'{place + siblings if core.online else ''}/>")
        lines.append("</cpus></cell>")
    lines.append("</cells></topology><cache>")
    lines += [
        f"<bank id='{at}' level='3' type='both' size='32' unit='MiB' cpus='{format_cpuset(cpus)}'/>"
        for at, cpus in enumerate(caches)
    ]
    lines.append("</cache></host></capabilities>")
    return "\n".join(lines)


def epyc(cores_of_a_cache: int = 4, nodes_of_a_socket: int = 4, huge: int = 60) -> str:
    """Two sockets of 64 cores with two threads; 64 GiB for each of eight nodes; far sockets."""
    per = 64 // nodes_of_a_socket
    total = 2 * nodes_of_a_socket
    cells = [
        Cell(
            [
                Core((core, core + 128), node // nodes_of_a_socket)
                for core in range(node * per, node * per + per)
            ],
            512 // total,
            huge,
            [
                10 if other == node else 12 if other // nodes_of_a_socket == node // nodes_of_a_socket else 32
                for other in range(total)
            ],
        )
        for node in range(total)
    ]
    caches = [
        [cpu for core in range(at, min(at + cores_of_a_cache, end)) for cpu in (core, core + 128)]
        for end in (64, 128)
        for at in range(end - 64, end, cores_of_a_cache)
    ]
    return capabilities(cells, caches, "AMD")


def hybrid() -> str:
    """One socket: eight cores of two threads (CPUs 0-15) and sixteen of one (16-31), one cache."""
    fast = [Core((at, at + 1)) for at in range(0, 16, 2)]
    small = [Core((at,)) for at in range(16, 32)]
    return capabilities([Cell([*fast, *small], 64, 0, [10])], [range(32)], "Intel")


def holes() -> str:
    """Two nodes; CPUs 2 and 10 offline, and no CPUs 8 and 9 at all."""
    first = [Core((0, 16)), Core((1, 17)), Core((2, 18), online=False), Core((3, 19))]
    other = [Core((10, 26), 1, online=False), Core((11, 27), 1), Core((12,), 1), Core((40, 41), 1)]
    cells = [Cell(first, 16, 0, [10, 21]), Cell(other, 16, 0, [21, 10])]
    return capabilities(cells, [(0, 1, 3, 16, 17, 19), (11, 12, 27, 40, 41)], "Intel")


def memoryless() -> str:
    """Three nodes, of which the second has CPUs and no memory."""
    cells = [
        Cell([Core((at, at + 12)) for at in range(node * 4, node * 4 + 4)], memory, 0, distances)
        for node, (memory, distances) in enumerate(
            [(32, [10, 20, 20]), (0, [20, 10, 20]), (16, [20, 20, 10])]
        )
    ]
    return capabilities(cells, [[*range(at, at + 4), *range(at + 12, at + 16)] for at in (0, 4, 8)], "Intel")


HOSTS = {
    "epyc": epyc(),
    "epyc, caches of eight cores": epyc(cores_of_a_cache=8, nodes_of_a_socket=1),
    "epyc, caches of three cores": epyc(cores_of_a_cache=3, nodes_of_a_socket=1),
    "hybrid": hybrid(),
    "holes": holes(),
    "memoryless": memoryless(),
}
