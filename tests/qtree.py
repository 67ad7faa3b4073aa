# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's own device tree, as its monitor's ``info qtree`` prints it."""

from __future__ import annotations

import re
from collections.abc import Iterator

_LINE = re.compile(r"( *)(dev|bus): ([^,\n]+)(?:, id \"(.*)\")?")
_PROPERTY = re.compile(r" *([a-z0-9_-]+) = (.*)")


class Part:
    """A device or a bus; `name` is a device's type or a bus's name."""

    def __init__(self, kind: str, name: str, id: str, parent: Part | None) -> None:
        self.kind = kind
        self.name = name
        self.id = id
        self.parent = parent
        self.children: list[Part] = []
        self.properties: dict[str, str] = {}

    def walk(self) -> Iterator[Part]:
        yield self
        for one in self.children:
            yield from one.walk()

    def above(self) -> Iterator[Part]:
        one = self.parent
        while one is not None:
            yield one
            one = one.parent


def parse(text: str) -> Part:
    root = Part("bus", "", "", None)
    stack: list[tuple[int, Part]] = [(-1, root)]
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is not None:
            depth = len(found[1])
            while stack[-1][0] >= depth:
                stack.pop()
            above = stack[-1][1]
            part = Part(found[2], found[3].strip(), found[4] or "", above)
            above.children.append(part)
            stack.append((depth, part))
            continue
        found = _PROPERTY.match(line)
        if found is not None:
            stack[-1][1].properties[found[1]] = found[2].strip()
    return root


def by_id(tree: Part, id: str) -> Part:
    (found,) = [one for one in tree.walk() if one.kind == "dev" and one.id == id]
    return found


def numa_node(tree: Part, device: Part) -> int | None:
    """The node of the expander bus that a device is under; None where it is under none.

    An expander is two devices: its host bridge, under which the buses are, and one
    on the root bus that has the name and the node.
    """
    hosts = [one for one in device.above() if one.kind == "dev" and one.name == "pxb-host"]
    if not hosts:
        return None
    inside = {one.id if one.kind == "dev" else one.name for one in hosts[0].walk()}
    (expander,) = [one for one in tree.walk() if one.name in ("pxb", "pxb-pcie") and one.id in inside]
    return int(expander.properties["numa_node"].split()[0])
