# SPDX-License-Identifier: GPL-2.0-or-later
"""virtinst on VMs of many devices: it finds ``./devices/disk[900]/target`` without those before it.

virtinst asks libxml2 for each value by a path from the root, so what it does with a whole guest
grows with the square of its devices. While a guest is made here, a path to a device
goes by a list of the devices, and only what is left of it to libxml2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_DEVICE = re.compile(r"\./devices/([\w-]+)\[([0-9]+)\](?:/(.*))?", re.DOTALL)


@cache
def _api(base: Any) -> Any:
    """virtinst's access to its XML, with a list of the devices.

    :param base: virtinst's own, on libxml2's bindings
    """

    class IndexedAPI(base):  # type: ignore[misc]
        """Finds devices by number in a list, which goes when a device comes or goes."""

        _devices: dict[str, list[Any]] | None = None

        def _find(self, fullxpath: str) -> Any:
            path = _DEVICE.fullmatch(fullxpath)
            if path is None or ".." in fullxpath:
                return super()._find(fullxpath)
            tag, number, rest = path.groups()
            there = self._listed(tag)
            if not 1 <= int(number) <= len(there):
                return None
            device = there[int(number) - 1]
            if rest is None or rest[:1] == "@":
                return device
            self._ctx.setContextNode(device)
            try:
                return super()._find("./" + rest)
            finally:
                self._ctx.setContextNode(self._doc.children)

        def _listed(self, tag: str) -> list[Any]:
            if self._devices is None:
                self._devices = {}
                for device in self._ctx.xpathEval("./devices/*[namespace-uri() = '']"):
                    self._devices.setdefault(device.name, []).append(device)
            return self._devices.get(tag, [])

        def _forget(self, parent: Any) -> None:
            """Something comes or goes in an element; inside of a device that changes no list."""
            above = None if parent is None else parent.get_parent()
            if above is None or above.type != "element" or parent.name == "devices":
                self._devices = None

        def _node_add_child(self, parentxpath: str, parentnode: Any, newnode: Any) -> None:
            self._forget(parentnode)
            super()._node_add_child(parentxpath, parentnode, newnode)

        def _node_remove_child(self, parentnode: Any, childnode: Any) -> None:
            self._forget(parentnode)
            super()._node_remove_child(parentnode, childnode)

        def _node_replace_child(self, xpath: str, newnode: Any) -> None:
            self._devices = None
            super()._node_replace_child(xpath, newnode)
            self._devices = None

        def _node_set_text(self, node: Any, setval: Any) -> None:
            self._forget(node)
            super()._node_set_text(node, setval)

        def node_clear(self, xpath: str) -> None:
            super().node_clear(xpath)
            self._devices = None

    return IndexedAPI


@contextmanager
def devices_by_number() -> Iterator[None]:
    """What virtinst parses meanwhile finds its devices by a list, where it uses libxml2's bindings."""
    from virtinst import xmlapi, xmlbuilder

    own = xmlbuilder.XMLAPI
    if own is not getattr(xmlapi, "_Libxml2API", None):
        yield
        return
    xmlbuilder.XMLAPI = _api(own)
    try:
        yield
    finally:
        xmlbuilder.XMLAPI = own
