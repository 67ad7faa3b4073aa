# SPDX-License-Identifier: GPL-2.0-or-later
"""Where an expression is evaluated: the domain, or one element of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxml import etree


class At:
    """The domain, the element that an expression is about, and what is bound there.

    No `record`: an audit of many VMs makes one for each check of each.

    :ivar element: the context node, None for the domain itself
    """

    __slots__ = ("root", "element", "position", "last", "index")

    def __init__(
        self,
        root: etree._Element,
        element: etree._Element | None = None,
        position: int = 0,
        last: int = 0,
        index: int = 0,
    ) -> None:
        self.root = root
        self.element = element
        self.position = position
        self.last = last
        self.index = index


#: Variables of the place, fields of `At`, as the manual page describes them.
LOCALS = {
    "position": "with *each*, the number of the element among those that it selects, from 1",
    "last": "with *each*, how many elements it selects",
    "index": "with *repeat*, the number of the repetition, from 1",
}
