# SPDX-License-Identifier: GPL-2.0-or-later
"""Elements that stand several times where the format has one.

libvirt takes such documents (OpenNebula writes three ``<devices>``): of a plain value it reads the
first, as is done here, but the parts of containers it merges, path by path (probed on
qemu:///embed, libvirt 9.0.0: devices, features, os, cputune, memoryBacking, pm, memtune, hyperv).
Who reads the first container only would see half of the VM.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from virtProfile.errors import InvalidDomainError

if TYPE_CHECKING:
    from virtProfile.format.element import Element


def refuse_repeated(root: Element, node: Any, name: str) -> None:
    """Refuse a document of which parts would not be seen.

    :param node: the schema's, of the root
    :raises InvalidDomainError: naming each container that is repeated
    """
    found = dict.fromkeys((tag, line) for tag, line in _repeated(root, node, 2))
    if found:
        what = ", ".join(f"<{tag}> again in line {line}" for tag, line in found)
        raise InvalidDomainError(
            f"an element that can be there once is repeated: {what}",
            hint="make one of them: virsh define merges them, and virsh dumpxml gives the whole",
            where=f"{name}:{next(iter(found))[1]}",
        )


def _repeated(element: Element, node: Any, depth: int) -> Iterator[tuple[str, int]]:
    seen: dict[str, bool] = {}
    for child in element.iterchildren("*"):
        inner = node.child(child.tag)
        if inner is None or inner.many:
            continue
        if seen.get(child.tag) is not None and (len(child) or seen[child.tag]):
            line = child.sourceline
            yield child.tag, line if isinstance(line, int) else 0
        seen[child.tag] = seen.get(child.tag, False) or bool(len(child))
        if depth > 1 and not inner.anything and child.tag != "devices":
            yield from _repeated(child, inner, depth - 1)
