# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a device of its kind can be given some part, as a NIC of type ``hostdev`` no model.

The facts are those of the format (variants.tsv, probed.tsv: what libvirt drops or refuses) and
takes.tsv (values that it refuses, and what it keeps and then nothing reads or QEMU refuses).
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from virtProfile.format.element import PRESENCE, TEXT, container, forbids, resolve
from virtProfile.format.facts import rows
from virtProfile.format.schema import DATA

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtProfile.format.element import Element
    from virtProfile.format.schema import Allowing, PathNode, Schema

#: (path, part) -> (slot, its values, the values of the part that are taken)
_table: dict[tuple[str, str], list[tuple[str, frozenset[str], frozenset[str]]]] = {}


def _rows(path: str, part: str) -> list[tuple[str, frozenset[str], frozenset[str]]]:
    if not _table:
        for at, slot, kinds, what, taken, *_ in rows(f"{DATA}/takes.tsv"):
            words = frozenset() if taken == "-" else frozenset(taken.split(" "))
            _table.setdefault((at, what), []).append((slot, frozenset(kinds.split(" ")), words))
    return _table.get((path, part), [])


def takes(schema: Schema, device: Element, part: str, value: str | None = None) -> bool | None:
    """Can the device be given the part, with that value or with any?

    What the part says at present does not count, only what else the device is.

    :param part: relative to the device, such as ``driver/@queues``
    :return: None where the format has no such part
    """
    path, node = _of(schema, device)
    if node is None or not _exists(node, part):
        return None
    for slot, kinds, taken in _rows(path, part):
        if _value(node, device, slot) in kinds and (not taken if value is None else value not in taken):
            return False
    return not any(
        forbids(variant, given, element)
        for place in schema.allowing(f"{path}/{part}", path.count("/") + 1)
        for element, given in _discriminator(device, place)
        for variant in place.forbidding(given)
    )


def _discriminator(device: Element, place: Allowing) -> Iterator[tuple[Element, str | None]]:
    """The element that a part's place in the format depends on, and what it says."""
    element: Element | None = device
    if place.up:
        element = next(islice(device.iterancestors(), place.up - 1, None), None)
    if element is not None and place.tags:
        element = container(element, place.tags)
    if element is not None:
        yield element, element.get(place.name)


def _of(schema: Schema, device: Element) -> tuple[str, PathNode | None]:
    """The path of an element below ``/domain``, and what is known of it."""
    tags = [device.tag, *(above.tag for above in device.iterancestors())][:-1][::-1]
    node: PathNode | None = schema.root
    for tag in tags:
        node = None if node is None else node.child(tag)
    return "/".join(tags), node


def _exists(node: PathNode, part: str) -> bool:
    *tags, last = part.split("/")
    found: PathNode | None = node
    for tag in tags if last[:1] == "@" else [*tags, last]:
        found = None if found is None else found.child(tag)
    return found is not None and (last[:1] != "@" or found.attribute(last[1:]) is not None)


def _value(node: PathNode, device: Element, slot: str) -> str | None:
    """What a slot of the device says, or what libvirt implies."""
    element, name = resolve(device, slot)
    if element is None or name in (PRESENCE, TEXT):
        return node.implied.get(slot) if "/" not in slot else None
    return element.get(name[1:])
