# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes domain XML of a plan of `topology`: the branches of ``<virtuned:mirror-topology/>``.

They are wishes of the action in which the element stands, so conflicts, origins,
record and withdrawal are those of every other wish.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from virtProfile.errors import ProfileError
from virtProfile.format.values import format_cpuset
from virtProfile.host.pinning import Plan, plan
from virtProfile.host.topology import read_demand, read_host, read_wishes
from virtProfile.language.generators import MIRROR_TOPOLOGY
from virtProfile.language.profile import Snippet

if TYPE_CHECKING:
    from lxml import etree

    from virtProfile.host.context import Context


#: For the CPUs that others have: those to which the other VMs of the host are pinned.
AUTO = "auto"


def branches_of(snippet: Snippet, root: etree._Element, context: Context, where: str) -> tuple[Snippet, ...]:
    """What a source stands for on this domain, in this context.

    :param snippet: with its expressions worked out
    :param where: FILE:LINE of its action, for errors that have no place
    :raises ProfileError: it cannot be made: ``completion`` where a VM does not fit,
        ``missing-context`` without the host's capabilities
    """
    try:
        return _MADE[snippet.tag](snippet, root, context)
    except ProfileError as problem:
        if problem.where:
            raise
        raise type(problem)(problem.message, hint=problem.hint, where=where) from None


def _mirror(snippet: Snippet, root: etree._Element, context: Context) -> tuple[Snippet, ...]:
    words = {name: value.strip() for name, value in snippet.attrs}
    if words.get("used") == AUTO:
        words["used"] = format_cpuset(context.pinned_elsewhere)
    wishes = read_wishes(**words)
    host = read_host(context.documents.capabilities_for(root))
    return snippets(plan(host, read_demand(root), wishes), snippet.line)


_MADE: dict[str, Callable[[Snippet, Any, Context], tuple[Snippet, ...]]] = {MIRROR_TOPOLOGY: _mirror}


def snippets(made: Plan, line: int = 0) -> tuple[Snippet, ...]:
    """A plan as branches below ``/domain``."""

    def element(tag: str, *children: Snippet, **attrs: str | int) -> Snippet:
        values = tuple((name, str(value)) for name, value in attrs.items())
        return Snippet(tag, values, None, children, line)

    emulator = format_cpuset(made.emulator)
    nodes = format_cpuset(made.nodes)
    pins = [element("vcpupin", vcpu=vcpu, cpuset=cpu) for vcpu, cpu in made.pins]
    pins.append(element("emulatorpin", cpuset=emulator))
    pins += [element("iothreadpin", iothread=iothread, cpuset=emulator) for iothread in made.iothreads]
    levels = dict.fromkeys(made.levels, 1)
    cpu = [
        element("topology", sockets=made.sockets, **levels, cores=made.cores, threads=made.threads),
    ]
    memory = [element("memory", mode="strict", nodeset=nodes)]
    if made.numa:
        cells = []
        for at, cell in enumerate(made.cells):
            row = made.distances[at] if made.distances else ()
            siblings = [element("sibling", id=number, value=value) for number, value in enumerate(row)]
            below = [element("distances", *siblings)] if siblings else []
            cpus = format_cpuset(cell.vcpus)
            cells.append(element("cell", *below, id=at, cpus=cpus, memory=cell.memory, unit="KiB"))
            memory.append(element("memnode", cellid=at, mode="strict", nodeset=cell.node))
        cpu.append(element("numa", *cells))
    found = [element("cputune", *pins), element("numatune", *memory), element("cpu", *cpu)]
    if made.hugepages is not None:
        page = element("page", size=made.hugepages, unit="KiB")
        found.append(element("memoryBacking", element("hugepages", page)))
    return tuple(found)
