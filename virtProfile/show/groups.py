# SPDX-License-Identifier: GPL-2.0-or-later
"""Groups that a list of profiles is shown in, by what the profiles write."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from virtProfile.language.profile import Action, Profile, Snippet
from virtProfile.show.terminal import table

BUNDLES, APPLICATIONS, REST = "Bundles", "What applications write", "Other devices"
#: A bundle requires at least so many profiles.
BUNDLE = 4
#: Groups in the order in which they are shown, with the paths that make them: a profile is in the group that
#: most of the leaves that it writes belong to, by the longest path that fits; else in the last one.
GROUPS = {
    BUNDLES: "",
    APPLICATIONS: "",
    "Guest OS": "clock pm features/hyperv devices/channel",
    "Machine and firmware": "os features launchSecurity sysinfo devices/tpm",
    "CPU": "cpu vcpu cputune mirror-topology",
    "Memory and NUMA": "memory currentMemory memoryBacking memtune numatune cpu/numa devices/memballoon",
    "Disks": "iothreads devices/disk devices/filesystem",
    "Network": "devices/interface",
    "Display and input": "devices/graphics devices/video devices/sound devices/audio devices/input"
    " devices/serial devices/console devices/redirdev devices/hub",
    REST: "devices/hostdev devices/rng devices/watchdog devices/panic",
}
_GROUP_OF = {tuple(path.split("/")): title for title, paths in GROUPS.items() for path in paths.split()}


def group(profile: Profile) -> str:
    """The title of the group that a profile stands in."""
    if profile.name.startswith("like-"):
        return APPLICATIONS
    if len(profile.requires) >= BUNDLE:
        return BUNDLES
    paths = [
        path
        for action in profile.actions
        for path in (
            *_selected(action),
            *(path for branch in action.branches for path in _paths(branch, _parents(action))),
        )
    ]
    leaves = Counter(title for path in paths if (title := _group_of(path)))
    return max(leaves, key=leaves.__getitem__, default=REST)  # of equal ones the first


def grouped(rows: Sequence[tuple[str, str, str, str]]) -> Iterator[str]:
    """The lines of a list of profiles: each group below its title.

    :param rows: group, name, version and what is said of a profile
    """
    lines = table([row[1:] for row in rows])
    titles = list(dict.fromkeys((*GROUPS, *(row[0] for row in rows))))
    first = True
    for title in titles:
        below = [line for row, line in zip(rows, lines, strict=True) if row[0] == title]
        if below:
            yield from () if first else ("",)
            first = False
            yield f"{title}:"
            yield from (f"  {line}" for line in below)


def _group_of(path: tuple[str, ...]) -> str | None:
    known = (_GROUP_OF.get(path[:length]) for length in range(len(path), 0, -1))
    return next((title for title in known if title), None)


def _selected(action: Action) -> Iterator[tuple[str, ...]]:
    if action.select is not None:
        yield _steps(action.select)


def _parents(action: Action) -> tuple[str, ...]:
    """What the branches of an action with ``each=`` are relative to."""
    return () if action.each is None else _steps(action.each)[:-1]


def _steps(path: str) -> tuple[str, ...]:
    """The names of an XPath's first alternative, without predicates."""
    while path != (inner := re.sub(r"\[[^][]*\]", "", path)):
        path = inner
    return tuple(re.findall(r"[\w-]+", path.partition("|")[0]))


def _paths(snippet: Snippet, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all leaves of a snippet, relative to the domain."""
    here = above if snippet.tag == "domain" else (*above, snippet.tag.rpartition("}")[2])
    yield from [here] * (len(snippet.attrs) + (snippet.text is not None))
    if not snippet.children and not snippet.attrs and snippet.text is None:
        yield here
    for below in snippet.children:
        yield from _paths(below, here)
