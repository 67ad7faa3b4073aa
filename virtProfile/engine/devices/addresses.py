# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses that a change makes void, part of `complete`: another bus, another machine.

A device whose bus changed loses the address of the old one. Where the machine
type goes over to another family (pc to q35), PCI addresses and controllers of
the VM mean nothing any more and are libvirt's to make again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from lxml import etree

from virtProfile.engine.tree.ownership import THE_DEFINITION
from virtProfile.format import machines
from virtProfile.format.buses import ADDRESS_TYPES, implied_bus, letters, renamed
from virtProfile.format.element import Element, attributes, child
from virtProfile.format.facts import rows
from virtProfile.format.schema import DATA
from virtProfile.language.profile import DEFINITION_PRIORITY

if TYPE_CHECKING:
    from virtProfile.engine.devices.workspace import Workspace
    from virtProfile.engine.tree.ownership import Writer


@cache
def _moves() -> dict[tuple[str, str], tuple[str, frozenset[str]]]:
    """(element of a device, its last tag) -> the slot whose change voids the address, for which values."""
    return {
        (tag, slot.rpartition("/")[0]): (slot.rpartition("/")[2], frozenset(words.split(" ")) - {"-"})
        for tag, slot, words, _ in rows(f"{DATA}/moves.tsv")
    }


@cache
def _moving_tags() -> frozenset[str]:
    """The tags of the elements with such a slot."""
    return frozenset(below or tag for tag, below in _moves())


@cache
def _models() -> list[list[str]]:
    return list(rows(f"{DATA}/machine-models.tsv"))


def moved(work: Workspace) -> Iterator[tuple[Element, Writer]]:
    """The VM's own devices that sit elsewhere now; the old address is taken away."""
    names: Counter[str] = Counter()
    tags = _moving_tags()
    for element in sorted(work.tree.edited, key=lambda one: _turn(work, one)):
        if element.tag not in tags:
            continue
        device: Element | None = element
        below = ""
        if element.getparent() is not work.devices:
            device, below = element.getparent(), element.tag
        if device is None or device.getparent() is not work.devices or not work.tree.original(device):
            continue
        slot, words = _moves().get((device.tag, below), ("", frozenset()))
        if not slot or not work.tree.original(element):
            continue
        before = work.tree.before(element, slot)
        after = element.get(slot[1:]) or work.tree.readded.get((element, slot))  # as libvirt has it
        if device.tag == "disk":
            before = before or implied_bus(work.tree.before(element, "@dev") or "")
            after = after or implied_bus(element.get("dev", ""))
        owners = work.tree.owners(element, slot)
        if before == after or owners[0] is THE_DEFINITION or words and not words & {before, after}:
            continue
        if _stays(work, device, owners[0]):
            address = child(device, "address")
            kind = None if address is None else address.get("type")
            if device.tag == "disk" and kind not in ADDRESS_TYPES.get(after or "", ()):
                fact = f"the VM definition keeps its address of type '{kind}'"
                work.fail(device, owners[0], fact, "--override lets the profile win")
                continue
        else:
            drop_address(work, device, work.writer(device, owners[0]))
        if device.tag == "disk":
            names = names or _names(work)
            _rename(work, element, after or "", owners[0], names)
        yield device, owners[0]


def _turn(work: Workspace, element: Element) -> tuple[int, str]:
    """When it is the turn of what was edited: disks by their names, so that they get the same new names and
    slots wherever libvirt puts them at the define; everything else first, as it was edited."""
    name = work.tree.before(element, "@dev") if element.tag == "target" else None
    return (-1, "") if name is None else (letters(name) or 0, name)


def _names(work: Workspace) -> Counter[str]:
    """How many disks have each name."""
    targets = (child(disk, "target") for disk in work.devices.iterchildren("disk"))
    return Counter(target.get("dev", "") for target in targets if target is not None)


def _rename(work: Workspace, target: Element, bus: str, cause: Writer, names: Counter[str]) -> None:
    """Give a disk that moved a name as its new bus has them, of the same letters, where that is free.

    libvirt keeps the disks of a bus in the order of their letters, and boots from the first: with
    other letters another one would come first.
    """
    name = renamed(target.get("dev", ""), bus)
    theirs = work.tree.owners(target, "@dev")
    if name is None or cause.priority <= DEFINITION_PRIORITY or theirs != [THE_DEFINITION]:
        return
    if not names[name]:
        names[target.get("dev", "")] -= 1
        names[name] += 1
        work.tree.set(target, "@dev", name, work.purpose(f"for disk {name}", cause))


def _stays(work: Workspace, device: Element, cause: Writer) -> bool:
    """Is the address the definition's, and the profile not above it?"""
    address = child(device, "address")
    if address is None or cause.priority > DEFINITION_PRIORITY:
        return False
    return THE_DEFINITION in work.tree.subtree_owners(address)


def drop_address(work: Workspace, device: Element, writer: Writer) -> None:
    """Take the definition's address away; one that a profile wrote stays."""
    address = child(device, "address")
    if address is not None and work.tree.subtree_owners(address) == [THE_DEFINITION]:
        work.tree.remove(address, [writer])


def change_machine(work: Workspace) -> None:
    """After a change of the machine's family: what only the old one had goes or is turned."""
    os = child(work.tree.root, "os")
    kind = None if os is None else child(os, "type")
    if kind is None or kind not in work.tree.edited or not work.family:
        return
    owners = work.tree.owners(kind, "@machine")
    old = _family_before(work, kind)
    if owners[0] is THE_DEFINITION or not old or old == work.family:
        return
    cause = owners[0]
    writer = work.purpose(f"for machine {kind.get('machine')}", cause)
    made_for_it = _family_of_input(work, kind) == work.family
    stale = [found for found in _stale(work) if not (made_for_it and work.tree.in_source(found))]
    turned = list(_turned(work))
    if not stale and not turned:
        return
    if cause.priority <= DEFINITION_PRIORITY:
        kept = "its PCI addresses and controllers" if stale else f"'{turned[0][1].get(turned[0][2][1:])}'"
        fact = f"the machine cannot become '{kind.get('machine')}': the VM definition keeps {kept},"
        work.refuse(f"{fact} made for '{old}'", cause, "--override lets the profile win")
        return
    for element in stale:
        work.tree.remove(element, [writer])
    for device, element, slot, value in turned:
        work.tree.set(element, slot, value, writer)
        if device.tag == "disk":
            drop_address(work, device, writer)
            _rename(work, element, value, cause, _names(work))
            work.homeless[device] = writer


def _family_of_input(work: Workspace, kind: Element) -> str:
    """The family that the machine of the input is of, whoever said so: its addresses are made for that."""
    machine = work.tree.edited[kind][0].get("machine")
    return machines.family(machine) if machine else ""


def _family_before(work: Workspace, kind: Element) -> str:
    before = work.tree.before(kind, "@machine")
    if before is None:
        was = etree.Element("domain", attributes(work.tree.root))
        arch = work.tree.before(kind, "@arch")
        etree.SubElement(etree.SubElement(was, "os"), "type", {"arch": arch} if arch else {})
        before = work.context.documents.machine_of(was)
    return machines.family(before) if before else ""


def _stale(work: Workspace) -> Iterator[Element]:
    """The definition's PCI addresses, PCI controllers, and what only another family has."""
    no_ide = any(row[0] == work.family and row[3] == "ide" for row in _models())
    for device in work.devices.iterchildren("*"):
        if device.tag == "controller" and device.get("type") in (("pci", "ide") if no_ide else ("pci",)):
            if work.tree.subtree_owners(device) == [THE_DEFINITION]:
                yield device
            continue
        families = machines.built_in(device) if device.tag != "controller" else frozenset()
        if families and work.family not in families:
            yield device
            continue
        address = child(device, "address")
        if address is not None and address.get("type") == "pci" and work.tree.original(address):
            if work.tree.subtree_owners(address) == [THE_DEFINITION]:
                yield address


def _turned(work: Workspace) -> Iterator[tuple[Element, Element, str, Any]]:
    """(device, element, slot, new value) of the definition's values that the family does not have."""
    for family, tag, path, value, new, _ in _models():
        if family != work.family:
            continue
        below, _, slot = path.rpartition("/")
        for device in work.devices.iterchildren(tag):
            element = child(device, below) if below else device
            if element is None or not work.tree.original(element):
                continue
            has = element.get(slot[1:])
            if has is None and tag == "disk":
                has = implied_bus(element.get("dev", ""))
            if has == value and work.tree.owners(element, slot) == [THE_DEFINITION]:
                yield device, element, slot, new
