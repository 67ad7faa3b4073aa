# SPDX-License-Identifier: GPL-2.0-or-later
"""I/O threads, part of `complete`: those that devices name, and a count and a list that agree.

libvirt makes as many threads as the count says: those that are listed, the others with the lowest
free numbers; at define it writes a count of at least the list, and lists all of them. What it would
derive so from a profile's threads is written in the profile's name, so that it is taken back with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtProfile.engine.tree.ownership import THE_DEFINITION
from virtProfile.format.buses import name_of
from virtProfile.format.element import PRESENCE, TEXT, Element, child, text_of
from virtProfile.format.values import decimal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtProfile.engine.devices.workspace import Workspace
    from virtProfile.engine.tree.ownership import Writer


def wished(work: Workspace, element: Element | None, slot: str) -> Writer | None:
    """The profile that wants the value; None where it is the definition's."""
    if element is None or (slot[:1] == "@" and element.get(slot[1:]) is None):
        return None
    owners = work.tree.owners(element, slot)
    return owners[0] if owners and owners[0] is not THE_DEFINITION else None


def supply_threads(work: Workspace) -> None:
    """The threads that the disks and controllers of profiles name."""
    if not any("@iothread" in slots or "@id" in slots for slots in work.tree.claims.values()):
        return  # no profile speaks of one
    wanted = [
        (at, device, writer)
        for at, device, element, slot in _used(work)
        if (writer := wished(work, element, slot)) is not None
    ]
    if not wanted:
        return
    root = work.tree.root
    count = child(root, "iothreads")
    listed = child(root, "iothreadids")
    there = thread_ids(count, listed)
    lacking = [(at, device, writer) for at, device, writer in wanted if at not in there]
    if not lacking:
        return
    if count is None and listed is None:
        top, device, writer = max(lacking, key=lambda row: row[0])
        made = work.add(root, "iothreads", device, writer)
        work.put(made, TEXT, str(top), device, writer)
        return
    for at in sorted({row[0] for row in lacking} | there):
        device, writer = next(((d, w) for number, d, w in lacking if number == at), lacking[0][1:])
        if listed is None:
            listed = work.add(root, "iothreadids", device, writer)
        if any(decimal(thread.get("id")) == at for thread in listed.iterchildren("iothread")):
            continue
        made = work.add(listed, "iothread", device, writer)
        work.put(made, "@id", str(at), device, writer)


def _used(work: Workspace) -> Iterator[tuple[int, Element, Element, str]]:
    """(thread, device, element and slot that name it) of all disks and controllers."""
    for device in work.devices.iterchildren("disk", "controller"):
        driver = child(device, "driver")
        if driver is None:
            continue
        threads = child(driver, "iothreads") if len(driver) else None
        places = [(driver, "iothread")]
        if threads is not None:
            places += [(thread, "id") for thread in threads.iterchildren("iothread")]
        for element, name in places:
            at = decimal(element.get(name))
            if at is not None:
                yield at, device, element, "@" + name


def thread_ids(count: Element | None, listed: Element | None) -> set[int]:
    """The I/O threads that libvirt makes of a count and a list (virDomainIOThreadIDDefArrayInit)."""
    ids = (
        set()
        if listed is None
        else {decimal(thread.get("id")) or 0 for thread in listed.iterchildren("iothread")}
    )
    return ids | _implied(count, ids)


def settle_threads(work: Workspace) -> None:
    """Make the count and the list say the same threads, where a profile changed one of the two."""
    root, tree = work.tree.root, work.tree
    count, listed = child(root, "iothreads"), child(root, "iothreadids")
    if listed is None:
        _leave_used_threads(work, count)
        return
    there = {decimal(thread.get("id")) or 0: thread for thread in listed.iterchildren("iothread")}
    gone = list(tree.removed.below(listed, "iothread"))
    writer = wished(work, count, TEXT)
    if count is not None and writer is not None:
        _heed_count(work, count, listed, there, writer)
        return
    if count is None and _removes_the_count(work, listed):
        return
    writers = [wished(work, thread, PRESENCE) for thread in there.values()]
    writers += [tree.removed[thread][1][0] for thread in gone]
    cause = next((writer for writer in writers if writer is not None and writer is not THE_DEFINITION), None)
    if cause is None or not there:
        return
    own = {decimal(thread.get("id")) or 0 for thread in there.values() if tree.original(thread)}
    own |= {decimal(thread.get("id")) or 0 for thread in gone}
    for at in sorted(_implied(count, own) - set(there)):
        _list_thread(work, listed, at, cause)
    if count is None:
        count = work.add(root, "iothreads", listed, cause)
    if text_of(count) != str(len(listed)):
        work.put(count, TEXT, str(len(listed)), listed, cause)


def _leave_used_threads(work: Workspace, count: Element | None) -> None:
    """A profile wants so few threads that a device of the definition would be without its own: it loses."""
    writer, wanted = wished(work, count, TEXT), (None if count is None else text_of(count)) or ""
    if count is None or writer is None or not wanted.isdigit():
        return
    before = work.tree.before(count, TEXT) or ""
    if not before.isdigit() or int(before) <= int(wanted):
        return
    used = [(at, device) for at, device, *_ in _used(work) if work.tree.original(device)]
    most, device = max(used, key=lambda row: row[0], default=(0, count))
    if int(wanted) < most <= int(before):
        note = f"{name_of(device)} uses thread {most}"
        work.actions.arbiter.lose(count, TEXT, wanted, before, writer, [THE_DEFINITION], note)
        work.actions.losses[-1].final = True
        work.tree.set(count, TEXT, before, THE_DEFINITION)


def _heed_count(
    work: Workspace, count: Element, listed: Element, there: dict[int, Element], writer: Writer
) -> None:
    """A profile wants so many threads: more are listed, and with fewer than the list it loses."""
    wanted = text_of(count) or ""
    number = decimal(wanted)
    if number is None:
        return
    if number < len(there):
        owners = [owner for thread in there.values() for owner in work.tree.owners(thread, PRESENCE)]
        note = f"iothreadids lists {len(there)}"
        work.actions.arbiter.lose(count, TEXT, wanted, str(len(there)), writer, owners[:1], note)
        work.actions.losses[-1].final = True
        work.tree.set(count, TEXT, str(len(there)), owners[0])
    elif work.tree.original(listed):
        for at in sorted(_implied(count, set(there)) - set(there)):
            _list_thread(work, listed, at, writer)


def _implied(count: Element | None, listed: set[int]) -> set[int]:
    """The threads that libvirt makes besides those that are listed."""
    text = (None if count is None else text_of(count)) or ""
    missing = (decimal(text) or 0) - len(listed)
    found: set[int] = set()
    at = 1
    while len(found) < missing and at < 10_000:
        if at not in listed:
            found.add(at)
        at += 1
    return found


def _list_thread(work: Workspace, listed: Element, at: int, writer: Writer) -> None:
    made = work.add(listed, "iothread", listed, writer)
    work.put(made, "@id", str(at), listed, writer)


def _removes_the_count(work: Workspace, listed: Element) -> bool:
    """libvirt counts what is listed, so the count alone cannot be removed."""
    for gone in work.tree.removed.below(work.tree.root, "iothreads"):
        writer = work.tree.removed[gone][1][0]
        if writer is not THE_DEFINITION and len(listed):
            fact = "libvirt counts the listed threads, so the profile cannot remove their number alone"
            work.fail(listed, writer, fact, "remove them too: <remove><iothreadids/></remove>")
            return True
    return False
