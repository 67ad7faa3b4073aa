# SPDX-License-Identifier: GPL-2.0-or-later
"""After a rendering over a record: what means the same is spelled as it stands.

libvirt spells values its own way (98304 KiB for 96 MiB). Taking back and wishing
again must not change that to and fro.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from virtProfile.engine.record.locate import is_empty_of
from virtProfile.engine.tree.work_tree import WorkTree
from virtProfile.format.element import TEXT, Element, same_value, text_of
from virtProfile.format.values import same_size

if TYPE_CHECKING:
    from virtProfile.format.paths import Paths


def respell(tree: WorkTree, paths: Paths) -> None:
    """Give values that mean what the input said the input's spelling; owners stay."""
    for element, (attributes, text) in list(tree.edited.items()):
        if not tree.stands(element):
            continue
        node = paths.node(element)
        if node is None or node.anything:
            continue
        input_says: dict[str, str | None] = {"@" + name: value for name, value in attributes.items()}
        input_says[TEXT] = text
        units = {unit for unit, _ in node.unit.values()}
        for slot, old in input_says.items():
            now = _value(element, slot)
            if old is None or now is None or slot in units:
                continue
            unit = node.unit.get(slot)
            if unit is not None:
                name, default = unit
                if (now, _value(element, name)) != (old, input_says.get(name)) and same_size(
                    now, _value(element, name), old, input_says.get(name), default
                ):
                    tree.respell(element, slot, old)
                    tree.respell(element, name, input_says.get(name))
            elif now != old and (
                tree.resolved.get((element, slot)) == now
                or same_value(node, slot, now, old)
                or is_empty_of(element, node, slot, old)
            ):
                tree.respell(element, slot, old)


def _value(element: Element, slot: str) -> Any:
    return text_of(element) if slot == TEXT else element.get(slot[1:])
