# SPDX-License-Identifier: GPL-2.0-or-later
"""Elements of an action that stand for what the context makes of them, by name.

Beside ``{…}``, which gives a value, a *source* gives whole branches:
``<virtuned:mirror-topology/>`` inside an ``<add>``. Here stand their names and
attributes; `mirroring` makes the branches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .xmltree import VIRTUNED_NS

if TYPE_CHECKING:
    from .profile import Snippet

MIRROR_TOPOLOGY = f"{{{VIRTUNED_NS}}}mirror-topology"

#: Their attributes, which may hold ``{…}``.
SOURCES: dict[str, tuple[str, ...]] = {
    MIRROR_TOPOLOGY: ("nodes", "policy", "reserve", "hugepages", "used"),
}


def is_source(snippet: Snippet) -> bool:
    """Does it stand for branches that are made when it is applied?"""
    return snippet.tag in SOURCES
