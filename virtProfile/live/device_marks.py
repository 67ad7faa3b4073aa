# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices with a comment in them: which is which before and after the engine; for callers of it.

The engine keeps comments, and no profile sees them.
"""

from __future__ import annotations

import re

from lxml import etree

from virtProfile.format.element import Element, elements_at

_MARK = re.compile("^virt-profile:([0-9]+)$")


def mark(device: Element, number: int) -> None:
    """Put in a comment, on a line of its own: what is written beside it is written as beside any line."""
    comment = etree.Comment(f"virt-profile:{number}")
    if len(device):
        comment.tail = device.text
    else:
        device.text, comment.tail = "\n      ", "\n    "
    device.insert(0, comment)


def unmark(root: Element) -> dict[Element, int]:
    """Take all marks out of the devices of a domain; gives the marked ones, with their numbers."""
    found = {}
    for device in root.iterfind("devices/*"):
        for comment in elements_at(device, "comment()"):
            match = _MARK.match(comment.text or "")
            if match:
                found[device] = int(match.group(1))
                _drop(device, comment)
    return found


def _drop(device: Element, comment: Element) -> None:
    """Take a comment out, with its line."""
    before, after = comment.getprevious(), comment.getnext()
    if after is None and before is not None:
        before.tail = comment.tail
    elif after is None:
        device.text = None
    comment.tail = None
    device.remove(comment)
