# SPDX-License-Identifier: GPL-2.0-or-later
"""Fewer vCPUs or I/O threads: what speaks of those that are gone goes too, part of `complete`.

libvirt drops some of it at define and refuses the rest. Taken out in the profile's name it comes back
with undo.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from virtProfile.engine.devices.iothreads import thread_ids, wished
from virtProfile.engine.tree.ownership import THE_DEFINITION
from virtProfile.format.element import TEXT, Element, child, text_of
from virtProfile.format.facts import rows
from virtProfile.format.schema import DATA
from virtProfile.format.values import cpu_set, decimal, format_cpuset

if TYPE_CHECKING:
    from collections.abc import Container

    from virtProfile.engine.devices.workspace import Workspace
    from virtProfile.engine.tree.ownership import Writer


@cache
def counted() -> tuple[tuple[str, str, str], ...]:
    """(what is counted, path, slot with the numbers) of what goes with a number."""
    return tuple((what, path, slot) for what, path, slot, _ in rows(f"{DATA}/counted.tsv"))


def follow_counts(work: Workspace) -> None:
    """Where a profile leaves fewer, the definition's words about the others go."""
    root = work.tree.root
    vcpu = child(root, "vcpu")
    writer, count = wished(work, vcpu, TEXT), decimal(None if vcpu is None else text_of(vcpu))
    if vcpu is not None and writer is not None and count is not None:
        _take_out(work, "vcpu", range(count), writer)
        _current(work, vcpu, count, writer)
        _cells(work, count, writer)
    threads, listed = child(root, "iothreads"), child(root, "iothreadids")
    writer = wished(work, threads, TEXT)
    for gone in () if listed is None else work.tree.removed.below(listed, "iothread"):
        writer = writer or work.tree.removed[gone][1][0]
    if writer is not None and writer is not THE_DEFINITION:
        _take_out(work, "iothreads", thread_ids(threads, listed), writer)


def _take_out(work: Workspace, what: str, there: Container[int], writer: Writer) -> None:
    source = None
    for counts, path, slot in counted():
        for element in work.tree.root.findall(path) if counts == what else ():
            numbers = cpu_set(element.get(slot[1:]) or "")
            if not numbers or not work.tree.original(element):
                continue
            rest = {number for number in numbers if number in there}
            if len(rest) == len(numbers):
                continue
            source = source or work.purpose(
                "for the vCPUs" if what == "vcpu" else "for the I/O threads", writer
            )
            if rest:
                work.write(element, slot, format_cpuset(rest), source)
            else:
                work.tree.remove(element, [source])


def _current(work: Workspace, vcpu: Element, count: int, writer: Writer) -> None:
    """No VM starts with more vCPUs than it may have; with all of them libvirt drops the number."""
    current = decimal(vcpu.get("current"))
    if current is not None and current > count and wished(work, vcpu, "@current") is None:
        work.tree.unset(vcpu, "@current", work.purpose("for the vCPUs", writer))


def _cells(work: Workspace, count: int, writer: Writer) -> None:
    """The CPUs of the cells of NUMA are the guest's (libvirt 9.0.0: their number exceeds the vCPUs)."""
    cells = [
        cpu_set(cell.get("cpus") or "") or frozenset() for cell in work.tree.root.iterfind("cpu/numa/cell")
    ]
    last = max((number for numbers in cells for number in numbers), default=-1)
    if last >= count:
        fact = f"the cells of <numa> have CPU {last} and <vcpu> says {count}"
        work.refuse(fact, writer, "give the cells as many CPUs as <vcpu> says")
