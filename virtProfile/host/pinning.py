# SPDX-License-Identifier: GPL-2.0-or-later
"""Lays a VM over a host: which vCPU on which CPU, which cell on which node, or why it does not fit.

Pure and deterministic. `mirror_topology` makes domain XML of a plan; a route or a
script takes `Plan.to_dict`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, islice, permutations
from typing import Any

from virtProfile.errors import UsageError
from virtProfile.format.document import parse
from virtProfile.format.values import format_cpuset
from virtProfile.frozen import record, replace
from virtProfile.host.topology import (
    Demand,
    GuestCell,
    Node,
    TopologyError,
    Wishes,
    read_demand,
    read_host,
    read_wishes,
)

__all__ = [
    "Demand",
    "GuestCell",
    "Node",
    "Plan",
    "PlannedCell",
    "TopologyError",
    "Wishes",
    "plan",
    "plan_texts",
    "read_demand",
    "read_host",
    "read_wishes",
]

#: More sets of nodes are not tried one by one: they are grown from each node instead.
MAX_SETS = 5_000
#: Pairs of nodes whose distance is looked up for those sets.
MAX_COMPARED = 2_000_000
#: Orders in which uneven cells are tried on one set of nodes.
MAX_ORDERS = 720
#: Smaller VMs that are tried to say what would fit.
MAX_TRIED = 512
#: More threads than any core has.
MAX_THREADS = 1 << 16
#: Nodes that are looked at for one plan, and once more for all that would fit: real hosts
#: need some thousands, only documents that nobody's libvirt wrote need more.
MAX_WORK = 200_000
_GIVEN_UP = "given up: too many nodes to try"


class _Work:
    """What may still be looked at, and how far the nodes are from each other."""

    def __init__(self, host: Sequence[Node]) -> None:
        self.left = MAX_WORK
        self._far = {node.id: dict(node.distances) for node in host}

    def distance(self, first: Node, other: Node) -> int:
        if first.id == other.id:
            return 10
        # the distance to another node where ACPI's SLIT has none
        return self._far[first.id].get(other.id, 20)

    def take(self, nodes: int) -> bool:
        """Look at some nodes; False where that was enough."""
        self.left -= nodes
        return self.left > 0


@record
class PlannedCell:
    """A guest cell (numbered by position) on a host node; memory in KiB."""

    node: int
    vcpus: tuple[int, ...]
    memory: int


@record
class Plan:
    """A VM laid over a host.

    `pins` are (vcpu, host CPU), one each; `distances` the guest's, a row for
    each cell, empty for one cell.
    """

    cells: tuple[PlannedCell, ...]
    pins: tuple[tuple[int, int], ...]
    emulator: tuple[int, ...]
    iothreads: tuple[int, ...]
    sockets: int
    cores: int
    threads: int
    distances: tuple[tuple[int, ...], ...]
    hugepages: int | None
    #: does the guest see the cells?
    numa: bool
    levels: tuple[str, ...] = ()

    @property
    def nodes(self) -> tuple[int, ...]:
        """Host nodes, ascending."""
        return tuple(sorted(cell.node for cell in self.cells))

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON takes it; sizes in KiB."""
        return {
            "nodes": list(self.nodes),
            "cells": [
                {"node": cell.node, "vcpus": list(cell.vcpus), "memory": cell.memory} for cell in self.cells
            ],
            "pins": {str(vcpu): cpu for vcpu, cpu in self.pins},
            "emulator": list(self.emulator),
            "iothreads": {str(iothread): list(self.emulator) for iothread in self.iothreads},
            "topology": {"sockets": self.sockets, "cores": self.cores, "threads": self.threads},
            "distances": [list(row) for row in self.distances],
            "hugepages": self.hugepages,
        }


def plan(host: Sequence[Node], demand: Demand, wishes: Wishes | None = None) -> Plan:
    """Lay a VM over a host.

    As few nodes as hold it (or as many as are wished, or as the VM has cells);
    of those the nearest to each other, then the emptiest, then the lowest. On a node
    whole caches of the third level are filled first, so that as few as possible are shared
    with others. vCPUs
    in the order node, cache, core, thread, which is QEMU's numbering of sockets, cores
    and threads: what is a sibling in the guest is one on the host. Threads are as
    many a core on every node, the most that divide the vCPUs. Memory is divided in
    whole pages, the first cells having what is left over.

    :raises TopologyError: it does not fit: what is missing, and as hint what would fit
    """
    wishes = wishes or Wishes()
    host = sorted(host, key=lambda node: node.id)
    if wishes.emulator:
        missing = wishes.emulator - {cpu for node in host for cpu in node.cpus}
        if missing:
            raise TopologyError(f"the host has no CPU {format_cpuset(missing)} for the emulator")
        wishes = replace(wishes, used=wishes.used | wishes.emulator, reserve=0)
    found = _search(host, demand, wishes, _Work(host))
    if isinstance(found, Plan):
        return found
    would = _what_fits(host, demand, wishes)
    raise TopologyError(
        f"the VM does not fit this host: {found}",
        hint=f"would fit: {', '.join(would)}" if would else "no smaller size that was tried fits either",
    )


def plan_texts(capabilities: str, domain: str, **wishes: str) -> Plan:
    """As `plan`, of libvirt's documents as they are.

    :param wishes: as `read_wishes` takes them: nodes, policy, reserve, hugepages, used, emulator
    :raises ProfileError: a document or a wish is none; it does not fit
    """
    host = parse(capabilities, name="capabilities", error=UsageError).root
    if host.tag != "capabilities":
        raise UsageError(
            f"'{host.tag}' was given where libvirt's 'capabilities' was expected",
            hint="'virsh capabilities' prints them",
        )
    return plan(read_host(host), read_demand(parse(domain).root), read_wishes(**wishes))


def _search(host: Sequence[Node], demand: Demand, wishes: Wishes, work: _Work) -> Plan | str:
    """A plan, or why there is none."""
    usable = [node for node in host if node.memory != 0 and node.cpus - wishes.used]
    if not usable:
        return "no node has both memory and CPUs that are free"
    own = len(demand.cells)
    if own and wishes.nodes not in (None, own):
        return f"it has {own} NUMA cells of its own, and {wishes.nodes} nodes are wished"
    if own or wishes.nodes is not None:
        counts: Iterable[int] = (own or wishes.nodes or 1,)
    else:
        counts = range(1, len(usable) + 1)
    reasons: list[str] = []
    for count in counts:
        found = _on(usable, count, demand, wishes, work)
        if isinstance(found, Plan):
            return found
        reasons.append(f"on {count} node{'s' if count > 1 else ''}: {found}")
    return "; ".join(reasons if len(reasons) < 3 else (reasons[0], reasons[-1]))


def _on(usable: Sequence[Node], count: int, demand: Demand, wishes: Wishes, work: _Work) -> Plan | str:
    """A plan on that many nodes, or why there is none."""
    if count > len(usable):
        return f"the host has {len(usable)} usable"
    if demand.cells:
        cells = demand.cells
    elif demand.vcpus % count:
        return f"{demand.vcpus} vCPUs do not divide by {count}"
    else:
        per = demand.vcpus // count
        shares = _shares(demand.memory, count, wishes.hugepages or demand.page)
        cells = tuple(
            GuestCell(tuple(range(at * per, (at + 1) * per)), share) for at, share in enumerate(shares)
        )
    page = wishes.hugepages
    if page is not None and any(cell.memory % page for cell in cells):
        return f"a cell's {cells[0].memory} KiB are no multiple of the {page} KiB page"
    most = sorted((len(node.cpus - wishes.used) for node in usable), reverse=True)[:count]
    if sum(most) < demand.vcpus:
        return f"the emptiest have {sum(most)} CPUs for {demand.vcpus} vCPUs"
    reason = ""
    even = len({(len(cell.vcpus), cell.memory) for cell in cells}) == 1
    for nodes in _sets(usable, count, wishes, work):
        orders: Iterable[Sequence[Node]]
        if even:
            orders = (nodes,)
        elif demand.cells:
            orders = islice(permutations(nodes), MAX_ORDERS)
        else:  # our own shares: those of a page more where there is room
            orders = dict.fromkeys((nodes, tuple(sorted(nodes, key=lambda node: -_room(node, page)[0]))))
        for order in orders:
            if not work.take(count):
                return _GIVEN_UP + (f" ({reason})" if reason else "")
            found = _lay(order, cells, demand, wishes, work)
            if isinstance(found, Plan):
                return found
            reason = reason or found
    return reason or _GIVEN_UP


def _shares(memory: int, count: int, page: int | None) -> list[int]:
    """Memory in KiB divided in whole pages; in MiB where the page is not known and it does not divide."""
    if not memory % count and not (memory // count) % (page or 1):
        return [memory // count] * count
    pages, rest = divmod(memory, page or 1024)
    share, more = divmod(pages, count)
    shares = [(share + (at < more)) * (page or 1024) for at in range(count)]
    shares[0] += rest
    return shares


def _sets(usable: Sequence[Node], count: int, wishes: Wishes, work: _Work) -> Iterator[tuple[Node, ...]]:
    """Sets of nodes, the best first."""
    sets: list[tuple[Node, ...]]
    many = math.comb(len(usable), count)
    if many <= MAX_SETS and many * count * count <= MAX_COMPARED:
        work.take(many * count * count // 100)  # far less than a node that is looked at
        sets = list(combinations(usable, count))
    else:
        sets = []
        for seed in usable:
            if not work.take(count * count + len(usable)):
                break
            near = sorted(usable, key=lambda node: (work.distance(seed, node), node.id))
            sets.append(tuple(sorted(near[:count], key=lambda node: node.id)))
        sets = list(dict.fromkeys(sets))

    def rank(nodes: tuple[Node, ...]) -> tuple[Any, ...]:
        spread = sum(work.distance(node, other) for node in nodes for other in nodes if node is not other)
        free = sum(len(node.cpus - wishes.used) for node in nodes)
        return spread, -free, [node.id for node in nodes]

    return iter(sorted(sets, key=rank))


def _lay(
    nodes: Sequence[Node], cells: Sequence[GuestCell], demand: Demand, wishes: Wishes, work: _Work
) -> Plan | str:
    """The cells on these nodes in this order, or why not."""
    page = wishes.hugepages
    for node, cell in zip(nodes, cells, strict=True):
        room, what = _room(node, page)
        if room < cell.memory:
            return f"node {node.id} has {room} KiB of {what}, {cell.memory} KiB are wanted"
    free = [_free(node, wishes) for node in nodes]
    widest = max((len(core) for cores in free for core in cores), default=0)
    if wishes.policy == "isolate":
        widths: Sequence[int] = (1,)
    else:
        widths = range(widest, 0 if wishes.policy == "prefer" else 1, -1)
    for threads in widths:
        if not all(_whole_groups(cell.vcpus, threads) for cell in cells):
            continue
        wanted = [len(cell.vcpus) // threads for cell in cells]
        spare = [_wide(cores, threads) - want for cores, want in zip(free, wanted, strict=True)]
        if min(spare) < 0:
            continue
        for narrow in (False, True):
            for holder in range(len(nodes)):
                reserved = _reserve(nodes[holder], free[holder], wishes.reserve, narrow)
                if reserved is None or _wide(reserved, threads) > spare[holder]:
                    continue
                left = [
                    [core for core in cores if at != holder or core not in reserved]
                    for at, cores in enumerate(free)
                ]
                pins = _pin(nodes, left, cells, threads)
                return _made(nodes, cells, demand, wishes, pins, reserved, threads, work)
    return _shortage(nodes, cells, free, wishes)


def _room(node: Node, page: int | None) -> tuple[float, str]:
    """How many KiB a node has, and of what; no end of it where the document does not tell."""
    room = math.inf if node.memory is None else node.memory
    paged = math.inf if page is None else page * dict(node.pages).get(page, 0)
    return (paged, f"pages of {page} KiB") if paged < room else (room, "memory")


def _free(node: Node, wishes: Wishes) -> list[tuple[int, ...]]:
    """Cores with what is free of them; isolation wants whole ones."""
    found = []
    for core in node.cores:
        left = tuple(cpu for cpu in core if cpu not in wishes.used)
        if left and (wishes.policy != "isolate" or left == core):
            found.append(left)
    return found


def _wide(cores: Sequence[tuple[int, ...]], threads: int) -> int:
    """How many cores have so many threads free."""
    return sum(len(core) >= threads for core in cores)


def _whole_groups(vcpus: Sequence[int], threads: int) -> bool:
    """Do the cell's vCPUs make whole cores of so many threads, by QEMU's numbering?"""
    if len(vcpus) % threads:
        return False
    return all(
        vcpus[at] % threads == 0 and vcpus[at + threads - 1] == vcpus[at] + threads - 1
        for at in range(0, len(vcpus), threads)
    )


def _reserve(
    node: Node, cores: Sequence[tuple[int, ...]], count: int, narrow: bool
) -> list[tuple[int, ...]] | None:
    """Cores for the emulator, where they break the fewest caches; None where there are too few."""
    if count > len(cores):
        return None
    if not narrow:
        return _chosen(node, cores, count)
    return sorted(cores, key=lambda core: (len(core), core))[:count]


def _pin(
    nodes: Sequence[Node],
    left: Sequence[Sequence[tuple[int, ...]]],
    cells: Sequence[GuestCell],
    threads: int,
) -> list[tuple[int, int]]:
    """(vcpu, CPU) of every vCPU, on nodes that have as many cores that wide as are wanted."""
    pins: list[tuple[int, int]] = []
    for node, cores, cell in zip(nodes, left, cells, strict=True):
        wide = [core for core in cores if len(core) >= threads]
        chosen = _chosen(node, wide, len(cell.vcpus) // threads, threads)
        cpus = [cpu for core in chosen for cpu in core[:threads]]
        pins += zip(cell.vcpus, cpus, strict=True)
    return sorted(pins)


def _chosen(
    node: Node, cores: Sequence[tuple[int, ...]], wanted: int, threads: int = MAX_THREADS
) -> list[tuple[int, ...]]:
    """So many of a node's cores, cache by cache: the fullest whole, the last one the smallest that suffices.

    Of one cache those first that are no wider than `threads`. A node without caches counts as one.
    """
    groups: dict[int, list[tuple[int, ...]]] = {}
    for core in cores:
        of = next((at for at, cache in enumerate(node.caches) if core[0] in cache), len(node.caches))
        groups.setdefault(of, []).append(core)
    found: list[tuple[int, ...]] = []
    while wanted:
        enough = [at for at, group in groups.items() if len(group) >= wanted]
        if enough:
            at = min(enough, key=lambda at: (len(groups[at]), at))
        else:
            at = max(groups, key=lambda at: (len(groups[at]), -at))
        group = sorted(groups.pop(at), key=lambda core: (len(core) > threads, core))[:wanted]
        found += group
        wanted -= len(group)
    place = {core: at for at, cache in enumerate(node.caches) for core in found if core[0] in cache}
    return sorted(found, key=lambda core: (place.get(core, len(node.caches)), core))


def _shortage(
    nodes: Sequence[Node],
    cells: Sequence[GuestCell],
    free: Sequence[Sequence[tuple[int, ...]]],
    wishes: Wishes,
) -> str:
    """Why the CPUs do not suffice."""
    parts = []
    for node, cell, cores in zip(nodes, cells, free, strict=True):
        cpus = sum(len(core) for core in cores)
        parts.append(f"node {node.id} has {cpus} CPUs in {len(cores)} cores for {len(cell.vcpus)} vCPUs")
    kept = f", {wishes.reserve} cores reserved" if wishes.reserve else ""
    how = {
        "prefer": "",
        "require": ", as siblings only",
        "isolate": ", each on a whole core of its own",
    }[wishes.policy]
    return ", ".join(parts) + kept + how


def _made(
    nodes: Sequence[Node],
    cells: Sequence[GuestCell],
    demand: Demand,
    wishes: Wishes,
    pins: list[tuple[int, int]],
    reserved: Sequence[tuple[int, ...]],
    threads: int,
    work: _Work,
) -> Plan:
    emulator = sorted(wishes.emulator) or sorted(cpu for core in reserved for cpu in core)
    if not emulator:  # nothing reserved: where the first cell's vCPUs are
        first = set(cells[0].vcpus)
        emulator = sorted(cpu for vcpu, cpu in pins if vcpu in first)
    even = len({len(guest_cell.vcpus) for guest_cell in cells}) == 1
    in_order = [vcpu for guest_cell in cells for vcpu in guest_cell.vcpus] == list(range(demand.vcpus))
    sockets = len(cells) if even and in_order else 1
    distances: tuple[tuple[int, ...], ...] = ()
    if len(cells) > 1:
        distances = tuple(
            tuple(10 if first is other else max(11, min(254, work.distance(first, other))) for other in nodes)
            for first in nodes
        )
    return Plan(
        tuple(PlannedCell(node.id, cell.vcpus, cell.memory) for node, cell in zip(nodes, cells, strict=True)),
        tuple(pins),
        tuple(emulator),
        demand.iothreads,
        sockets,
        demand.vcpus // threads // sockets,
        threads,
        distances,
        wishes.hugepages,
        len(cells) > 1 or bool(demand.cells),
        demand.levels,
    )


# --- what would fit -----------------------------------------------------------


def _what_fits(host: Sequence[Node], demand: Demand, wishes: Wishes) -> list[str]:
    """Single changes with which it fits, each one tried."""
    found = []
    work = _Work(host)
    for word, other in _changed(wishes):
        made = _search(host, demand, other, work)
        if isinstance(made, Plan):
            found.append(word.format(nodes=len(made.cells)))
    if not demand.cells:
        step = wishes.nodes or 1
        top = (min(demand.vcpus - 1, sum(len(node.cpus) for node in host)) // step) * step
        for vcpus in range(top, max(0, top - MAX_TRIED * step), -step):
            if isinstance(_search(host, replace(demand, vcpus=vcpus), wishes, work), Plan):
                found.append(f"{vcpus} vCPUs")
                break
    return found


def _changed(wishes: Wishes) -> Iterator[tuple[str, Wishes]]:
    if wishes.nodes is not None:
        yield "nodes={nodes}", replace(wishes, nodes=None)
    if wishes.reserve:
        yield "reserve=0", replace(wishes, reserve=0)
    if wishes.policy != "prefer":
        yield "policy=prefer", replace(wishes, policy="prefer")
    if wishes.hugepages is not None:
        yield "no hugepages", replace(wishes, hugepages=None)
    if wishes.used - wishes.emulator:
        yield "the CPUs that are used", replace(wishes, used=wishes.emulator)
