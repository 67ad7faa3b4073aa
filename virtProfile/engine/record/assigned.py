# SPDX-License-Identifier: GPL-2.0-or-later
"""What libvirt did at define is nobody's edit: it gives way when profiles are taken back.

libvirt assigns an address to a device whose bus a profile changed, writes its own default in
the place of what a profile removed, adds controllers for a machine type that a profile set, and
counts memory devices into ``<memory>``. Where the profile's doing is taken back, these go; where
the rendering does the same again, they come back, so that nothing changes (SPEC 7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from virtProfile.engine.record.companions import is_companion, written_beside
from virtProfile.engine.tree.ownership import THE_DEFINITION, Writer
from virtProfile.engine.tree.work_tree import WorkTree
from virtProfile.format import machines
from virtProfile.format.buses import ADDRESS_TYPES, implied_bus, implied_model, mirrors_serial
from virtProfile.format.element import (
    PRESENCE,
    TEXT,
    Element,
    attributes,
    child,
    forbids,
    parent_of,
    read_part,
    resolve,
    text_of,
)
from virtProfile.format.facts import data_beside, rows
from virtProfile.format.patterns import compiled_later
from virtProfile.format.schema import DATA, PathNode
from virtProfile.format.values import prefixed, to_bytes
from virtProfile.language.profile import DEFINITION_PRIORITY

if TYPE_CHECKING:
    from virtProfile.engine.record.locate import Located
    from virtProfile.engine.record.model import Written
    from virtProfile.format.schema import Node

_DATA = data_beside(__file__)
#: What says what a thing without a key is.
_WHAT = ("type", "bus")
_WORD = compiled_later(r"[A-Za-z_]+")


@cache
def _readded() -> dict[str, str]:
    """path -> XPath that holds for what libvirt writes there by itself."""
    return {path: test for path, test, _ in rows(f"{_DATA}/readded.tsv")}


@cache
def _readded_values() -> dict[tuple[str, str], frozenset[str]]:
    """(path, slot) -> the values that libvirt writes there by itself, "*" where it may be any."""
    return {
        (path, slot): frozenset(values.split(" "))
        for path, slot, values, _ in rows(f"{_DATA}/readded-values.tsv")
    }


def _is_readded(path: str, element: Element) -> bool:
    """Is it what libvirt writes there by itself?"""
    test = _readded().get(path)
    return test is not None and bool(element.xpath(f"boolean({test})"))


def writes_itself(node: Node, slot: str, value: str) -> bool:
    """Is that what libvirt writes there where nothing stands?"""
    values = _readded_values().get((node.path, slot), frozenset())
    return value in values or "*" in values


@cache
def _buses() -> dict[tuple[str, str, str], frozenset[str]]:
    """(device, element below it or "", slot) whose change voids the address -> for which words."""
    found = {}
    for tag, slot, words, _ in rows(f"{DATA}/moves.tsv"):
        below, _, name = slot.rpartition("/")
        found[tag, below, name] = frozenset(words.split(" ")) - {"-"}
    return found


def void_address(tag: str, slot: str) -> set[str]:
    """The devices whose address goes with a change of the slot of an element of that tag."""
    return {device for device, below, name in _buses() if name == slot and tag == (below or device)}


class Alike:
    """The children of a tag that stand in a parent, by what no two of them can both be."""

    __slots__ = ("_all", "_by_key", "_parts")

    def __init__(self, parent: Element, tag: str, node: Node) -> None:
        self._parts = [part for part in node.key if part[:1] == "@"]
        self._all = list(parent.iterchildren(tag))
        self._by_key: dict[tuple[str | None, ...], list[Element]] = {}
        for standing in self._all:
            key = (
                tuple(read_part(standing, part, node) for part in self._parts)
                if self._parts
                else tuple(standing.get(name) for name in _WHAT)
            )
            self._by_key.setdefault(key, []).append(standing)

    def of(self, written: Written) -> list[Element]:
        """Those that could not stand beside what was written, in document order."""
        has = written.attrs
        if self._parts:
            return self._by_key.get(tuple(has.get(part[1:]) for part in self._parts), [])
        if all(name in has for name in _WHAT):
            return self._by_key.get(tuple(has[name] for name in _WHAT), [])
        return [
            one for one in self._all if all(has.get(name, one.get(name)) == one.get(name) for name in _WHAT)
        ]


#: Tables of a call that asks for the same parent and tag again and again.
Tables: TypeAlias = "dict[tuple[Element, str], Alike]"


def _alike(parent: Element, tag: str, node: Node, tables: Tables) -> Alike:
    found = tables.get((parent, tag))
    if found is None:
        found = tables[parent, tag] = Alike(parent, tag, node)
    return found


def replaces(located: Located, parent: Element, written: Written, tables: Tables) -> Element | None:
    """What libvirt wrote in the place of a removed element, None where nothing stands for it.

    :param located: the entry of the record, located
    :param tables: of what stood when first asked
    """
    node = located.node
    if written.tag == "address" and parent.getparent() is not None:
        standing = child(parent, "address")
        if standing is not None and parent_of(parent).tag == "devices":
            return None if attributes(standing) == written.attrs else standing
    test = _readded().get(node.path)
    if test is None:
        return None
    if not node.many or node.singles:
        there = list(parent.iterchildren(written.tag))
    elif located.entry.beside:
        return None
    else:
        there = _alike(parent, written.tag, node, tables).of(written)
    for standing in there:
        if standing.getparent() is parent and standing.xpath(test):
            return standing
    return None


def of_libvirt(element: Element, slot: str) -> bool:
    """Does libvirt write the value, or an element that it is in, where nothing stands?"""
    way = [*element.iterancestors()][-2::-1]
    for count, above in enumerate([*way, element], 1):
        path = "/".join(part.tag for part in [*way, element][:count])
        if _is_readded(path, above) or above.tag in ("address", "alias") and path.startswith("devices/"):
            return True
    if slot[:1] != "@":
        return False
    values = _readded_values().get((path, slot), frozenset())
    return element.get(slot[1:]) in values or "*" in values


def is_written_by_libvirt(texts: Iterable[str]) -> bool:
    """Is something named of what libvirt writes where nothing stands?

    :param texts: tags, names of attributes, or expressions
    """
    return any(word in _written() for text in texts for word in _WORD.findall(text))


@cache
def _written() -> frozenset[str]:
    paths = [*_readded(), *(f"{path}/{slot[1:]}" for path, slot in _readded_values())]
    return frozenset(path.rpartition("/")[2] for path in paths) | {"address", "alias"}


def stood_beside(tree: WorkTree, node: Node, written: Written, parent: Element, tables: Tables) -> bool:
    """Does something stand that is like what was removed, so that libvirt will add none in its place?

    What libvirt did add in its place does not count.

    :param tables: of the finished tree
    """
    if node.path not in _readded() or not node.many or node.singles:
        return False
    there = _alike(parent, written.tag, node, tables).of(written)
    added = {standing for standing, _ in tree.assigned} if there else ()
    return any(standing not in added for standing in there)


def twin_aside(
    tree: WorkTree,
    element: Element,
    node: Node,
    slot: str,
    values: tuple[str | None, str],
    writers: list[Writer],
) -> None:
    """An element that libvirt adds where there is none: the VM's own is it again, and its twin gives way.

    :param values: of the VM's own, which it has again, and what stood there instead: a profile's, or what
        libvirt wrote where a profile had taken it away
    """
    before, now = values

    def again() -> bool:
        value = element.get(slot[1:])
        return value == now if before != now else value is None and (element, slot) in tree.readded

    test, parent = _readded().get(node.path), element.getparent()
    if test is None or not node.many or parent is None or not element.xpath(test):
        return
    for standing in list(parent.iterchildren(element.tag)):
        if (
            standing is not element
            and tree.in_source(standing)
            and attributes(standing) == attributes(element)
        ):
            stand_aside(tree, standing, writers, again)


def stand_aside(tree: WorkTree, standing: Element, writers: list[Writer], again: Callable[[], bool]) -> None:
    """Take libvirt's element out; `settle` puts it back where `again` says that it is needed."""
    tree.bury(standing, writers, None)
    tree.assigned.append((standing, again))


def primary_aside(tree: WorkTree, new: Element, writers: list[Writer]) -> None:
    """The primary video card comes back: what libvirt made primary meanwhile is that no more."""
    model = child(new, "model")
    if new.tag != "video" or model is None or model.get("primary") != "yes":
        return
    for other in parent_of(new).iterchildren("video"):
        standing = child(other, "model")
        if other is not new and standing is not None and standing.get("primary") == "yes":
            _value_aside(tree, standing, "@primary", writers, lambda: not tree.stands(new))


def boot_aside(tree: WorkTree, new: Element, writers: list[Writer]) -> None:
    """The boot order of a device comes back: what libvirt wrote in ``<os>`` without one is no more."""
    os = child(tree.root, "os")
    written = [] if os is None else list(os.iterchildren("boot"))
    orders = [boot for boot in new.iter("boot") if boot.get("order") is not None]
    if orders and len(written) == 1 and tree.in_source(written[0]) and _is_readded("os/boot", written[0]):
        stand_aside(tree, written[0], writers, lambda: not any(map(tree.stands, orders)))


def _addresses(tree: WorkTree) -> list[Element]:
    devices = child(tree.root, "devices")
    found = [] if devices is None else devices.findall("*/address[@type='pci']")
    return [address for address in found if not mirrors_serial(parent_of(address))]


def pci_places(tree: WorkTree) -> set[tuple[int | None, ...]]:
    """The PCI places of all devices."""
    return {_pci(address) for address in _addresses(tree)}


def free_address(device: Element, taken: set[tuple[int | None, ...]]) -> None:
    """A device that comes back leaves its PCI address to what libvirt put there meanwhile.

    :param taken: the places of the others, and from now on of the device
    """
    address = child(device, "address")
    if address is None or address.get("type") != "pci":
        return
    place = _pci(address)
    if place in taken:
        device.remove(address)
    taken.add(place)


def _pci(address: Element) -> tuple[int | None, ...]:
    return tuple(prefixed(address.get(name)) or 0 for name in ("domain", "bus", "slot", "function"))


def bus_changed(
    tree: WorkTree, element: Element, slot: str, values: tuple[str | None, str], writers: list[Writer]
) -> None:
    """The value before of a bus is put back: the address that libvirt assigned gives way.

    :param values: (before, the value that the profile had written)
    """
    before, now = values
    device, below = element, ""
    parent = element.getparent()
    if parent is not None and parent.tag != "devices":
        device, below = parent, element.tag
    words = _buses().get((device.tag, below, slot))
    if words is None or words and not words & {before, now}:
        return
    filled = before is None and device.tag == "disk"  # its name says what bus it is on
    address = child(device, "address")
    fits = not filled or address is None or address.get("type") in _address_types(element)
    if (words or filled and fits) and writers[0].priority <= DEFINITION_PRIORITY:
        return  # the address is the definition's: a weaker profile took it from nobody
    if address is not None and tree.in_source(address):
        stand_aside(
            tree, address, writers, lambda: element.get(slot[1:], tree.readded.get((element, slot))) == now
        )


def _address_types(target: Element) -> tuple[str, ...]:
    """What kinds of addresses a disk can have whose target says no bus."""
    return ADDRESS_TYPES.get(implied_bus(target.get("dev", "")), ())


def machine_changed(
    tree: WorkTree,
    kind: Element,
    before: str | None,
    now: str,
    writers: list[Writer],
    implies: Iterable[str],
) -> None:
    """The machine type before is put back: what libvirt added for the other family gives way.

    :param implies: what the profile's record says that libvirt adds
    """
    family = machines.family(now)
    if family == machines.family(before or "pc"):
        return
    devices = child(tree.root, "devices")
    if devices is None:
        return

    def again() -> bool:
        return machines.family(kind.get("machine") or "") == family

    for device in list(devices.iterchildren("*")):
        if not tree.in_source(device) or has_values_back(tree, device):
            continue  # that is not libvirt's: the profile had met it
        address = child(device, "address")
        if (
            (device.tag == "controller" and device.get("type") == "pci")
            or (family in machines.built_in(device) and _unused(device, devices))
            or (device.get("model") == implied_model("usb", family) and is_companion(device, "usb", implies))
        ):
            stand_aside(tree, device, writers, again)
        elif address is not None and address.get("type") == "pci" and tree.in_source(address):
            stand_aside(tree, address, writers, again)


def _unused(controller: Element, devices: Element) -> bool:
    """Does no disk of the VM sit on that bus? Of another device nothing is asked."""
    bus = controller.get("type") if controller.tag == "controller" else None
    return not any(
        (target := child(disk, "target")) is not None and target.get("bus") == bus
        for disk in devices.iterchildren("disk")
    )


def variant_changed(
    tree: WorkTree,
    element: Element,
    node: Node,
    slot: str,
    values: tuple[str | None, str],
    writers: list[Writer],
    implies: Iterable[str] = (),
) -> None:
    """The value before of a discriminator is put back: what only the other variant allows gives way.

    :param values: (before, now) of the discriminator
    :param implies: what the profile's record says that libvirt adds
    """
    before, now = values

    def again() -> bool:
        return bool(element.get(slot[1:], tree.readded.get((element, slot))) == now)

    for holder, beside in written_beside(element, node.path, slot, now, implies):
        _value_aside(tree, holder, beside, writers, again)
    ours = node.allowed_with(slot, now)
    theirs = node.allowed_with(slot, before or node.implied.get(slot))
    if ours is not None and theirs is not None:
        for name in attributes(element):
            put_back = "@" + name in tree.taken_back.get(element, ())
            if "@" + name != slot and name in ours.attrs and name not in theirs.attrs and not put_back:
                _value_aside(tree, element, "@" + name, writers, again)
        for below in list(element.iterchildren("*")):
            if (
                tree.in_source(below)
                and ours.child(below.tag) is not None
                and theirs.child(below.tag) is None
            ):
                stand_aside(tree, below, writers, again)
    for part in node.variants.get(slot, ()):
        if part.forbids(now) or not (part.goes or forbids(part, before or node.implied.get(slot), element)):
            continue
        standing, at = resolve(element, part.what)
        if standing is None:
            continue
        if at != PRESENCE:
            if at not in tree.taken_back.get(standing, ()):  # else it is what the VM had
                _value_aside(tree, standing, at, writers, again)
        elif tree.in_source(standing) and not has_values_back(tree, standing):
            stand_aside(tree, standing, writers, again)


def has_values_back(tree: WorkTree, element: Element) -> bool:
    """Did it, or something in it, get a value back that the VM had? Then it is not what libvirt wrote."""
    return any(
        slot == PRESENCE or (text_of(part) if slot == TEXT else part.get(slot[1:])) is not None
        for part in element.iter("*")
        for slot in tree.taken_back.get(part, ())
    )


def respelled(tree: WorkTree, located: Located, writers: list[Writer]) -> None:
    """What libvirt wrote on the parent of an element whose values were taken back goes with them."""
    element = located.element
    if located.node is None or not (located.node.respelled or located.node.respells):
        return
    if element is not None and located.entry.kind == "on":
        _child_aside(tree, located, element, writers)
        _excluded_aside(tree, located, element, writers)
    parent = located.parent if located.entry.kind == "add" or element is None else element.getparent()
    if parent is None or not tree.stands(parent) or located.entry.kind == "del":
        return
    tag = located.entry.written.tag
    for above, slot, *_ in located.node.respelled:
        value = located.entry.written.attrs.get(slot[1:])

        def again(slot: str = slot, value: str | None = value) -> bool:
            return any(below.get(slot[1:]) == value for below in parent.iterchildren(tag))

        if value is not None and parent.get(above[1:]) == value and not again():
            _value_aside(tree, parent, above, writers, again)


def respelled_inside(
    tree: WorkTree, element: Element, node: Node, written: Written, writers: list[Writer]
) -> None:
    """What libvirt wrote on an element that was added, for a child that was added with it.

    Else the element alone, added again, has the value of the child already, and the child is not.
    """
    for above, (tag, slot, *_) in node.respells.items():
        value = element.get(above[1:])
        if value is None or above[1:] in written.attrs:
            continue
        if any(child.tag == tag and child.attrs.get(slot[1:]) == value for child in written.children):
            _value_aside(
                tree,
                element,
                above,
                writers,
                lambda value=value, tag=tag, slot=slot: any(  # type: ignore[misc]
                    below.get(slot[1:]) == value for below in element.iterchildren(tag)
                ),
            )


def _child_aside(tree: WorkTree, located: Located, element: Element, writers: list[Writer]) -> None:
    """The same for a child that libvirt wrote for a value of the parent."""
    for above, (tag, slot, *_) in located.node.respells.items():
        value = located.entry.written.attrs.get(above[1:])
        if value is None or element.get(above[1:]) == value:
            continue
        for below in list(element.iterchildren(tag)):
            if below.get(slot[1:]) == value and tree.in_source(below):
                stand_aside(
                    tree,
                    below,
                    writers,
                    lambda above=above, value=value: element.get(above[1:]) == value,  # type: ignore[misc]
                )


def _excluded_aside(tree: WorkTree, located: Located, element: Element, writers: list[Writer]) -> None:
    """What libvirt added that a value before excludes (a port beside VNC's socket)."""
    if not isinstance(located.node, PathNode) or located.entry.was is None:
        return
    for name in located.entry.was.attrs:
        if element.get(name) is None:
            continue
        for other in located.node.schema.excludes.get(f"{located.node.path}/@{name}", ()):
            path, _, slot = other.rpartition("/")
            if path == located.node.path and slot[:1] == "@" and element.get(slot[1:]) is not None:
                _value_aside(
                    tree,
                    element,
                    slot,
                    writers,
                    lambda name=name: element.get(name) is None,  # type: ignore[misc]
                )


def _value_aside(
    tree: WorkTree, element: Element, slot: str, writers: list[Writer], again: Callable[[], bool]
) -> None:
    value = element.get(slot[1:])
    if value is None:
        return
    tree.unset(element, slot, writers[0])
    tree.taken_back.setdefault(element, {})[slot] = writers
    tree.assigned_values.append((element, slot, value, again))


# --- memory ------------------------------------------------------------------------------------


def memory_devices(root: Element) -> int:
    """Sum of the sizes of memory devices, in KiB."""
    return sum(_kib(size) for size in root.iterfind("devices/memory/target/size"))


def _kib(element: Element | None, text: str | None = None, unit: str | None = None) -> int:
    if element is not None:
        text, unit = text_of(element), element.get("unit")
    size = to_bytes(text or "0", unit, "KiB")
    return 0 if size is None else size // 1024


def is_total(root: Element) -> int | None:
    """The size in KiB of the memory devices that libvirt counted into ``<memory>``, else None."""
    memory, devices = child(root, "memory"), memory_devices(root)
    if memory is None or not devices:
        return None
    cells = [_kib(None, cell.get("memory"), cell.get("unit")) for cell in root.iterfind("cpu/numa/cell")]
    return devices if cells and sum(cells) + devices == _kib(memory) else None


def boot_memory(tree: WorkTree, counted: int | None) -> None:
    """Before the floor is laid: ``<memory>`` without the devices that were taken out."""
    memory = child(tree.root, "memory")
    if counted is None or memory is None:
        return
    gone = counted - memory_devices(tree.root)
    if gone > 0:
        size = _kib(memory) - gone
        writers = next(grave.writers for device, grave in tree.graves.items() if device.tag == "memory")
        for slot, value in (("@unit", "KiB"), (TEXT, str(size))):
            tree.set(memory, slot, value, writers[0])
            tree.taken_back.setdefault(memory, {})[slot] = writers
        tree.counted = (gone, memory_devices(tree.root))


def _say(tree: WorkTree, memory: Element, size: int) -> None:
    tree.respell(memory, "@unit", "KiB")
    tree.respell(memory, TEXT, str(size))


def _leave_taken_places(tree: WorkTree) -> None:
    """A PCI address that comes back goes again where libvirt put something else there meanwhile."""
    for address, _ in tree.places_back:
        if tree.stands(address) and sum(_pci(other) == _pci(address) for other in _addresses(tree)) > 1:
            tree.remove(address, [THE_DEFINITION])  # no profile wants it away


# --- at the end of a rendering -----------------------------------------------------------------


def settle(tree: WorkTree) -> None:
    """What libvirt did comes back where the rendering did again what caused it."""
    for standing, again in tree.assigned:
        if standing in tree.graves and again() and tree.stands(tree.graves[standing].parent):
            tree.revive(standing, THE_DEFINITION)
    for hull, writers in reversed(tree.hulls):
        if tree.stands(hull) and not len(hull) and not hull.attrib and text_of(hull) is None:
            tree.remove(hull, writers)
    _leave_taken_places(tree)
    for element, slot, value, again in tree.assigned_values:
        if tree.stands(element) and element.get(slot[1:]) is None and again():
            tree.set(element, slot, value, THE_DEFINITION)
    for (element, slot), value in tree.readded.items():
        if tree.stands(element) and element.get(slot[1:]) is None:
            tree.respell(element, slot, value)  # the profile wants it away, and libvirt writes it again
    for (element, slot), value in tree.dropped.items():
        if tree.stands(element) and element.get(slot[1:]) == value:
            tree.respell(element, slot, None)  # the profile wants it again, and libvirt drops it
    if tree.counted is not None:
        gone, rest = tree.counted
        memory = child(tree.root, "memory")
        if memory is not None and memory_devices(tree.root) - rest == gone:
            if tree.owners(memory, TEXT) == [THE_DEFINITION]:
                _say(tree, memory, _kib(memory) + gone)
