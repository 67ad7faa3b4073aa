# SPDX-License-Identifier: GPL-2.0-or-later
"""What devices need besides a controller, part of `complete`: memory slots, an I/O APIC.

Only what profiles added or changed is looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtProfile.engine.devices.counts import follow_counts
from virtProfile.engine.devices.iothreads import settle_threads, supply_threads, wished
from virtProfile.format.element import TEXT, Element, child, text_of
from virtProfile.format.values import cpu_set, decimal, format_cpuset, to_bytes

if TYPE_CHECKING:
    from virtProfile.engine.devices.workspace import Workspace
    from virtProfile.engine.tree.ownership import Writer

#: Memory devices that take one of maxMemory's slots.
_DIMMS = ("dimm", "nvdimm")
#: No VM has more, whatever a document says.
MANY_VCPUS = 4096
X86 = ("pc", "q35", "isapc", "microvm", "")


def supply(work: Workspace, fresh: dict[Element, Writer]) -> None:
    """Write what the devices of profiles need; what cannot be goes to the pass."""
    if work.family is None:
        return
    supply_threads(work)
    settle_threads(work)
    follow_counts(work)
    _memory(work, {device: writer for device, writer in fresh.items() if device.tag == "memory"})
    _cells(work)
    _processors(work)
    _current(work)
    if work.family in X86:
        _ioapic(work)


# --- memory ------------------------------------------------------------------------


def _size(element: Element | None, slot: str = TEXT) -> int:
    """A size in KiB, 0 where there is none."""
    if element is None:
        return 0
    value = text_of(element) if slot == TEXT else element.get(slot[1:])
    found = None if value is None else to_bytes(value, element.get("unit"), "KiB")
    return 0 if found is None else int(found // 1024)


def _memory(work: Workspace, fresh: dict[Element, Writer]) -> None:
    """A DIMM needs maxMemory with a slot, a NUMA cell to sit in, and ACPI to be told of."""
    if not fresh:
        return
    root = work.tree.root
    device, writer = next(iter(fresh.items()))
    cells = root.findall("cpu/numa/cell")
    if not cells:
        vcpu = child(root, "vcpu")
        last = (decimal(None if vcpu is None else text_of(vcpu)) or 1) - 1
        place = root
        for tag in ("cpu", "numa"):
            below = child(place, tag)
            place = work.add(place, tag, device, writer) if below is None else below
        cell = work.add(place, "cell", device, writer)
        for name, value in (
            ("id", "0"),
            ("cpus", f"0-{last}" if last else "0"),
            ("memory", str(_size(child(root, "memory")))),
            ("unit", "KiB"),
        ):
            work.put(cell, "@" + name, value, device, writer)
        cells = [cell]
    if work.family in (*X86, "virt") and any(dimm.get("model") in _DIMMS for dimm in fresh):
        features = child(root, "features")
        if features is None:
            features = work.add(root, "features", device, writer)
        if child(features, "acpi") is None:
            work.allowed(work.add(features, "acpi", device, writer), device, writer)
    dimms = list(work.devices.iterchildren("memory"))
    total = sum(_size(numa_cell, "@memory") for numa_cell in cells)
    total += sum(_size(dimm.find("target/size")) for dimm in dimms)
    slots = sum(1 for dimm in dimms if dimm.get("model") in _DIMMS)
    most = child(root, "maxMemory")
    if most is None:
        most = work.add(root, "maxMemory", device, writer)
        # libvirt 9.0 asks for a slot of virtio-mem too (virDomainDefPostParseMemory, "exceeds slots count")
        work.put(most, "@slots", str(max(slots, len(dimms))), device, writer)
        work.put(most, "@unit", "KiB", device, writer)
        work.put(most, TEXT, str(total), device, writer)
    elif (decimal(most.get("slots")) or 0) < slots:
        work.fail(
            device,
            writer,
            f"<maxMemory> has {most.get('slots', 'no')} slots for {slots}",
            "raise slots= of <maxMemory>",
        )
    elif _size(most) < total:
        work.fail(
            device, writer, f"<maxMemory> is {_size(most)} KiB, {total} are needed", "raise <maxMemory>"
        )
    for dimm, owner in fresh.items():
        target = child(dimm, "target")
        if target is not None and child(target, "node") is None and dimm.get("model") != "virtio-pmem":
            node = work.add(target, "node", dimm, owner)
            work.put(node, TEXT, cells[0].get("id", "0"), dimm, owner)


def _cells(work: Workspace) -> None:
    """libvirt makes ``<memory>`` the sum of the cells: where a VM gets its first ones, both say the same."""
    root = work.tree.root
    memory, cells = child(root, "memory"), root.findall("cpu/numa/cell")
    writers = [wished(work, cell, "@memory") for cell in cells]
    writer = next((owner for owner in writers if owner is not None), None)
    if memory is None or writer is None or any(work.tree.original(cell) for cell in cells):
        return
    if any(cell.get("memory") is None for cell in cells):
        return
    total, said = sum(_size(cell, "@memory") for cell in cells), _size(memory)
    devices = sum(_size(dimm.find("target/size")) for dimm in work.devices.iterchildren("memory"))
    if said in (total, total + devices):
        return
    if all(writer.priority > owner.priority for owner in work.tree.owners(memory, TEXT)):
        source = work.purpose("for the cells of NUMA", writer)
        work.write(memory, "@unit", "KiB", source)
        work.write(memory, TEXT, str(total), source)
        return
    fact = f"the cells of <numa> have {total} KiB and <memory> says {said}: libvirt takes the sum"
    work.refuse(fact, writer, "give the cells the memory that the VM has, or --override lets the profile win")


def _processors(work: Workspace) -> None:
    """libvirt gives the first cell the vCPUs that are in none: where profiles make some, it is written."""
    root = work.tree.root
    vcpu, cells = child(root, "vcpu"), root.findall("cpu/numa/cell")
    count = decimal(None if vcpu is None else text_of(vcpu))
    if not cells or count is None or count > MANY_VCPUS:
        return
    first = next((cell for cell in cells if cell.get("id") == "0"), cells[0])
    writers = [wished(work, vcpu, TEXT), *(wished(work, cell, "@cpus") for cell in cells)]
    writer = next((owner for owner in writers if owner is not None), None)
    placed = [cpu_set(cell.get("cpus") or "") or frozenset() for cell in cells]
    rest = set(range(count)).difference(*placed)
    if writer is None or not rest:
        return
    all_of_it = format_cpuset(rest | placed[cells.index(first)])
    work.write(first, "@cpus", all_of_it, work.purpose("for the vCPUs that are in no cell", writer))


def _current(work: Workspace) -> None:
    """libvirt lowers what a VM starts with to what it may have: it is written, so it can come back."""
    root = work.tree.root
    memory, current = child(root, "memory"), child(root, "currentMemory")
    writer = wished(work, memory, TEXT)
    if memory is None or current is None or writer is None or _size(current) <= _size(memory):
        return
    if all(writer.priority > owner.priority for owner in work.tree.owners(current, TEXT)):
        source = work.purpose("for the memory", writer)
        work.write(current, "@unit", "KiB", source)
        work.write(current, TEXT, str(_size(memory)), source)


# --- what the machine needs ----------------------------------------------------------


def _ioapic(work: Workspace) -> None:
    iommu = child(work.devices, "iommu")
    driver = None if iommu is None else child(iommu, "driver")
    writer = wished(work, driver, "@intremap")
    if iommu is None or driver is None or writer is None or driver.get("intremap") != "on":
        return
    place = work.tree.root
    for tag in ("features", "ioapic"):
        below = child(place, tag)
        place = work.add(place, tag, iommu, writer) if below is None else below
    has = place.get("driver")
    if has is None:
        work.put(place, "@driver", "qemu", iommu, writer)
    elif has != "qemu":
        work.fail(
            iommu,
            writer,
            f"intremap needs the ioapic of 'qemu', not of '{has}'",
            "--override lets the profile win",
        )
