# SPDX-License-Identifier: GPL-2.0-or-later
"""Elements of an action that stand for what the context makes of them, by name.

Beside ``{…}``, which gives a value, a *source* gives whole branches:
``<virtuned:mirror-topology/>`` inside an ``<add>``. Here stand their names and
attributes; `mirror_topology` makes the branches.
"""

from __future__ import annotations

from virtProfile.format.document import VIRTUNED_NS
from virtProfile.language.profile import Snippet

MIRROR_TOPOLOGY = f"{{{VIRTUNED_NS}}}mirror-topology"

#: Their attributes, which may hold ``{…}``.
SOURCES: dict[str, tuple[str, ...]] = {
    MIRROR_TOPOLOGY: ("nodes", "policy", "reserve", "hugepages", "used", "emulator"),
}


#: What the branches of each can be of, for whoever asks what an action can change.
_REACH: dict[str, tuple[str, ...]] = {
    MIRROR_TOPOLOGY: (
        "cputune/vcpupin",
        "cputune/emulatorpin",
        "cputune/iothreadpin",
        "numatune/memory",
        "numatune/memnode",
        "cpu/topology",
        "cpu/numa/cell/distances/sibling",
        "memoryBacking/hugepages/page",
    ),
}


def reach(snippet: Snippet) -> tuple[Snippet, ...]:
    """A branch of an action as it can be when it is applied: names of elements only."""
    if not is_source(snippet):
        return (snippet,)
    found: list[Snippet] = []
    for path in _REACH[snippet.tag]:
        below: tuple[Snippet, ...] = ()
        for step in reversed(path.split("/")):
            below = (Snippet(step, (), None, below, snippet.line),)
        found += below
    return tuple(found)


def is_source(snippet: Snippet) -> bool:
    """Does it stand for branches that are made when it is applied?"""
    return snippet.tag in SOURCES
