# SPDX-License-Identifier: GPL-2.0-or-later
"""What devices need besides a controller, part of `complete`: threads, memory slots, an I/O APIC.

Only what profiles added or changed is looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .buses import number
from .domainschema import to_bytes
from .provenance import THE_DEFINITION
from .worktree import TEXT, Element, child, text_of

if TYPE_CHECKING:
    from .complete import Pass
    from .provenance import Writer

#: Memory devices that take one of maxMemory's slots.
_DIMMS = ("dimm", "nvdimm")
X86 = ("pc", "q35", "isapc", "microvm", "")


def supply(work: Pass, fresh: dict[Element, Writer]) -> None:
    """Write what the devices of profiles need; what cannot be goes to the pass."""
    if work.family is None:
        return
    _iothreads(work)
    _memory(work, {one: writer for one, writer in fresh.items() if one.tag == "memory"})
    if work.family in X86:
        _ioapic(work)


def wished(work: Pass, element: Element | None, slot: str) -> Writer | None:
    """The profile that wants the value; None where it is the definition's."""
    if element is None or (slot[:1] == "@" and element.get(slot[1:]) is None):
        return None
    owners = work.tree.owners(element, slot)
    return owners[0] if owners and owners[0] is not THE_DEFINITION else None


# --- threads -----------------------------------------------------------------------


def _iothreads(work: Pass) -> None:
    wanted: list[tuple[int, Element, Writer]] = []
    for device in work.devices.iterchildren("disk", "controller"):
        driver = child(device, "driver")
        if driver is None:
            continue
        places = [(driver, "iothread")] if driver.get("iothread") is not None else []
        threads = child(driver, "iothreads")
        if threads is not None:
            places += [(one, "id") for one in threads.iterchildren("iothread")]
        for element, name in places:
            at = number(element, name)
            writer = wished(work, element, "@" + name)
            if at is not None and writer is not None:
                wanted.append((at, device, writer))
    if not wanted:
        return
    root = work.tree.root
    count = child(root, "iothreads")
    listed = child(root, "iothreadids")
    there = _thread_ids(count, listed)
    lacking = [(at, device, writer) for at, device, writer in wanted if at not in there]
    if not lacking:
        return
    if count is None and listed is None:
        top, device, writer = max(lacking, key=lambda one: one[0])
        made = work.add(root, "iothreads", device, writer)
        work.put(made, TEXT, str(top), device, writer)
        return
    for at in sorted({one[0] for one in lacking} | there):
        device, writer = next(((d, w) for one, d, w in lacking if one == at), lacking[0][1:])
        if listed is None:
            listed = work.add(root, "iothreadids", device, writer)
        if any(number(one, "id") == at for one in listed.iterchildren("iothread")):
            continue
        made = work.add(listed, "iothread", device, writer)
        work.put(made, "@id", str(at), device, writer)


def _thread_ids(count: Element | None, listed: Element | None) -> set[int]:
    """The I/O threads that libvirt makes of a count and a list (virDomainIOThreadIDDefArrayInit)."""
    ids = set() if listed is None else {number(one, "id") or 0 for one in listed.iterchildren("iothread")}
    text = None if count is None else text_of(count)
    missing = (int(text) if text is not None and text.isdigit() else 0) - len(ids)
    at = 1
    while missing > 0 and at < 10_000:
        if at not in ids:
            ids.add(at)
            missing -= 1
        at += 1
    return ids


# --- memory ------------------------------------------------------------------------


def _size(element: Element | None, slot: str = TEXT) -> int:
    """A size in KiB, 0 where there is none."""
    if element is None:
        return 0
    value = text_of(element) if slot == TEXT else element.get(slot[1:])
    found = None if value is None else to_bytes(value, element.get("unit"), "KiB")
    return 0 if found is None else int(found // 1024)


def _memory(work: Pass, fresh: dict[Element, Writer]) -> None:
    """A DIMM needs maxMemory with a slot, a NUMA cell to sit in, and ACPI to be told of."""
    if not fresh:
        return
    root = work.tree.root
    device, writer = next(iter(fresh.items()))
    cells = root.findall("cpu/numa/cell")
    if not cells:
        vcpu = child(root, "vcpu")
        last = int((None if vcpu is None else text_of(vcpu)) or "1") - 1
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
    if work.family in (*X86, "virt") and any(one.get("model") in _DIMMS for one in fresh):
        features = child(root, "features")
        if features is None:
            features = work.add(root, "features", device, writer)
        if child(features, "acpi") is None:
            work.allowed(work.add(features, "acpi", device, writer), device, writer)
    dimms = list(work.devices.iterchildren("memory"))
    total = sum(_size(one, "@memory") for one in cells)
    total += sum(_size(one.find("target/size")) for one in dimms)
    slots = sum(1 for one in dimms if one.get("model") in _DIMMS)
    most = child(root, "maxMemory")
    if most is None:
        most = work.add(root, "maxMemory", device, writer)
        if slots:
            work.put(most, "@slots", str(slots), device, writer)
        work.put(most, "@unit", "KiB", device, writer)
        work.put(most, TEXT, str(total), device, writer)
    elif (number(most, "slots") or 0) < slots:
        work.fail(
            device, writer, f"<maxMemory> has {most.get('slots', 'no')} slots for {slots}", "more slots"
        )
    elif _size(most) < total:
        work.fail(device, writer, f"<maxMemory> is {_size(most)} KiB, {total} are needed", "more maxMemory")
    for one, owner in fresh.items():
        target = child(one, "target")
        if target is not None and child(target, "node") is None and one.get("model") != "virtio-pmem":
            node = work.add(target, "node", one, owner)
            work.put(node, TEXT, cells[0].get("id", "0"), one, owner)


# --- what the machine needs ----------------------------------------------------------


def _ioapic(work: Pass) -> None:
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
        work.fail(iommu, writer, f"intremap needs the ioapic of 'qemu', not of '{has}'", "--override")
