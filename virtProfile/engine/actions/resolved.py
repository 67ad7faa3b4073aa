# SPDX-License-Identifier: GPL-2.0-or-later
"""What libvirt writes at define into what is left of a thing: a removal writes it too.

An empty drive is of the type 'file', a SPICE display without a port listens on none. So the record
has the value before, and it comes back with what was removed.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from virtProfile.engine.actions import single
from virtProfile.engine.record.locate import resolved_values
from virtProfile.format.element import child_node, parent_of
from virtProfile.language.wishes import Leaf

if TYPE_CHECKING:
    from virtProfile.engine.actions.arbiter import Arbiter
    from virtProfile.engine.tree.ownership import Writer
    from virtProfile.format.element import Element
    from virtProfile.format.schema import Node


#: (element, slot, value) of what libvirt writes there whatever stood there.
Resolved: TypeAlias = "list[tuple[Element, str, str]]"


def resolved_in(element: Element) -> Resolved:
    """What libvirt writes on an element, on those in it and on that around it."""
    if element.tag == "devices":  # of a device that went whole nothing is left
        return []
    parts = [*islice(element.iterancestors(), 1), element, *element.iterchildren("*")]
    return [(part, slot, value) for part in parts for slot, value in resolved_values(part)]


def write_resolved(arbiter: Arbiter, element: Element | None, before: Resolved, writer: Writer) -> None:
    """After a removal in the element: write what libvirt writes there since.

    :param element: None where that went too, with what it was in
    :param before: what it would have written before
    """
    tree = arbiter.tree
    now = [] if element is None or not tree.stands(element) else resolved_in(element)
    for part, slot, value in now:
        if (part, slot, value) in before:
            continue
        has, node = part.get(slot[1:]), _node(arbiter, part)
        owners = tree.owners(part, slot)
        if node is None or has in (None, value) or not arbiter.beats(writer, owners):
            continue
        arbiter.drop_variant(part, Leaf((), node, slot, value, writer.origin.line), has or "", writer)
        tree.set(part, slot, value, writer)
        arbiter.displace(part, slot, has, owners, writer)
        single.follow(arbiter, parent_of(part), part, node, writer)
    if now:
        arbiter.tidy(writer)


def _node(arbiter: Arbiter, element: Element) -> Node | None:
    node: Node | None = arbiter.schema.root
    for step in [element, *element.iterancestors()][-2::-1]:
        node = None if node is None else child_node(node, step.tag)
    return node
