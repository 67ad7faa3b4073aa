# SPDX-License-Identifier: GPL-2.0-or-later
"""The bridge to virtinst's device classes, for `complete`: what a new device lacks.

The class of a device says what it cannot be defined without and judges what it
knows. Text crosses between the two XML libraries, never nodes. Whether a device
needs its class is decided by the schema and by classes.tsv; virtinst, which takes
a tenth of a second to import, is imported only then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from lxml import etree

from virtProfile.engine.tree.validate import lacks
from virtProfile.errors import MissingContextError
from virtProfile.format.buses import letters
from virtProfile.format.element import Element, child
from virtProfile.format.facts import data_beside, rows

if TYPE_CHECKING:
    from virtProfile.format.schema import Node
    from virtProfile.host.context import Context

_DATA = data_beside(__file__)

#: Prefixes of disks' names without a limit to speak of.
_LONG = ("vd", "sd", "xvd")
#: What virtinst would make up: libvirt's to make.
_RANDOM = ("mac", "uuid")
#: Parts of a domain that defaults of devices look at, besides devices of the same kind.
_READ = ("os", "metadata", "features", "vcpu", "cpu")


class ClassFacts:
    """One row of classes.tsv."""

    __slots__ = ("name", "needs", "taken", "judges")

    def __init__(self, name: str, needs: str, taken: str, judges: str) -> None:
        self.name = name
        self.needs = () if needs == "-" else tuple(needs.split("+"))
        self.taken = () if taken == "-" else tuple(taken.split("+"))
        self.judges = None if judges == "-" else etree.XPath(judges)


@cache
def _facts() -> dict[str, ClassFacts]:
    return {tag: ClassFacts(*columns) for tag, *columns, _ in rows(f"{_DATA}/classes.tsv")}


def missing(device: Element, node: Node) -> list[str]:
    """What a new device cannot be defined without, as paths below it.

    Empty for kinds that virtinst does not know: those go by the schema alone.
    """
    facts = _facts().get(device.tag)
    if facts is None:
        return []
    found = [path for path in lacks(device, node) if path.split("/")[0] not in _RANDOM]
    for path in facts.needs:
        if not _has(device, path) and path.split("/")[0] not in found:
            found.append(path)
    return found


def judged(device: Element) -> bool:
    """Has the class of a device something to say about it?"""
    facts = _facts().get(device.tag)
    return facts is not None and facts.judges is not None and bool(facts.judges(device))


def taken(device: Element) -> Sequence[str]:
    """What goes together with what is filled in."""
    return _facts()[device.tag].taken


def _has(device: Element, path: str) -> bool:
    *tags, slot = path.split("/")
    for tag in tags:
        found = child(device, tag)
        if found is None:
            return False
        device = found
    return device.get(slot[1:]) is not None if slot[:1] == "@" else child(device, slot) is not None


class Refused(Exception):
    """The class says no; the message is its own."""


class DeviceClasses:
    """virtinst's device classes for one call; what they said is kept over its renderings."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._known: dict[tuple[str, str, str], Element | Refused] = {}

    def filled(self, root: Element, device: Element, bus: str = "") -> Element:
        """The device as its class would have it, in a tree of its own.

        :param bus: take this one instead of the class's choice, for disks
        :raises Refused: the class does not take the device
        :raises MissingContextError: virtinst is not installed
        """
        full = self._filled(root, device, bus, False)
        if device.tag == "disk" and not _name_is_free(root, device, full):
            full = self._filled(root, device, bus, True)
        return full

    def _filled(self, root: Element, device: Element, bus: str, gaps: bool) -> Element:
        key = (_guest(root, device, gaps), spaced(_text(device)), bus)
        known = self._known.get(key)
        if known is None:
            try:
                known = _filled(self.context, root, device, *key)
            except Refused as problem:
                known = problem
            self._known[key] = known
        if isinstance(known, Refused):
            raise known
        return known


def _filled(
    context: Context, root: Element, device: Element, guest_text: str, text: str, bus: str
) -> Element:
    from virtProfile.engine.devices.offline_connection import connection

    conn = connection(context, root)
    import virtinst

    guest = virtinst.Guest(conn, parsexml=guest_text)
    _name_os(context, root, guest)
    made = getattr(virtinst, _facts()[device.tag].name)(conn, parsexml=text)
    if bus:
        made.bus = bus
    try:
        made.set_defaults(guest)
        if not _is_volume(device):
            made.validate()
        return etree.fromstring(made.get_xml().encode())
    except (ValueError, RuntimeError) as problem:
        raise Refused(" ".join(str(problem).split())) from None
    except (AttributeError, TypeError, KeyError):
        # It asked the connection for something that only libvirt knows, or stumbled over
        # something empty: the device stays as it is, and the error says that it is incomplete.
        return etree.fromstring(text)


def _is_volume(device: Element) -> bool:
    """Has it its storage by pool and volume? Its class would ask libvirt whether there is one."""
    source = child(device, "source") if device.tag == "disk" else None
    return source is not None and bool(source.get("pool") and source.get("volume"))


def _name_os(context: Context, root: Element, guest: Any) -> None:
    try:
        os = context.guest_os(root)
    except MissingContextError:
        os = None
    if os is not None:
        guest.set_os_name(os.id)


def spaced(text: str) -> str:
    """A document with white space between its elements.

    virtinst 4 and 5 fail with a `TypeError` where they take out the only child of an element (a CPU's, when
    its mode changes) and no white space is left in there.
    """
    root = etree.fromstring(text.encode())
    etree.indent(root)
    return str(etree.tostring(root, encoding="unicode"))


def _text(element: Element) -> str:
    return str(etree.tostring(element, encoding="unicode", with_tail=False))


def _guest(root: Element, device: Element, gaps: bool) -> str:
    """The domain as far as defaults of that device look at it: parsing costs by size.

    :param gaps: see `_names`
    """
    parts = [_text(element) for element in root.iterchildren(*_READ)]
    devices = child(root, "devices")
    assert devices is not None
    others = [_text(element) for element in devices.iterchildren("emulator", "graphics")]
    if device.tag == "disk":
        others += [f"<disk>{_text(target)}</disk>" for target in _names(devices, device, gaps)]
    words = "".join(f" {name}='{root.get(name)}'" for name in ("type",) if root.get(name))
    return f"<domain{words}>{''.join(parts)}<devices>{''.join(others)}</devices></domain>"


def _targets(devices: Element, device: Element) -> Iterator[Element]:
    """The targets of the other disks."""
    for disk in devices.iterchildren("disk"):
        target = child(disk, "target")
        if target is not None and disk is not device:
            yield target


def _names(devices: Element, device: Element, gaps: bool) -> list[Element]:
    """The targets of other disks, as far as the class needs them to choose a name.

    It goes on behind the last name of a prefix. Where that is none of the first 1,024, which it tries, it
    takes the first that is free.

    :param gaps: also those before the first gap of each prefix
    """
    found = []
    taken: dict[str, dict[int, Element]] = {}
    for target in _targets(devices, device):
        dev = target.get("dev", "")
        at = letters(dev)
        prefix = next((known for known in _LONG if dev.startswith(known)), None)
        if at is None or prefix is None:
            found.append(target)
        else:
            taken.setdefault(prefix, {})[at] = target
    for names in taken.values():
        last = max(names)
        for number in range(last if gaps else 0):
            if number not in names:
                break
            found.append(names[number])
        found.append(names[last])
    return found


def _name_is_free(root: Element, device: Element, full: Element) -> bool:
    target = child(full, "target")
    devices = child(root, "devices")
    if target is None or devices is None:
        return True
    return all(other.get("dev") != target.get("dev") for other in _targets(devices, device))
