# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts' documents from files: which file belongs to which host, and what it is.

A directory given by name holds a host in each of its directories, and in each file
or group of files of one name: ``node1.capabilities.xml``, ``node1.domcaps.xml`` and
``node1.domcaps-pc.xml`` are of ``node1``. A file given by name counts in the same way.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from virtProfile.errors import MissingContextError, UsageError
from virtProfile.format.document import parse, read_file
from virtProfile.host.fit import HostDocuments

_HINT = "'virsh capabilities' and 'virsh domcapabilities' print them"
_KINDS = ("capabilities", "domainCapabilities")


def read_hosts(paths: Iterable[str | os.PathLike[str]]) -> list[HostDocuments]:
    """The hosts of files and directories, by name.

    :raises UsageError: a file is no document about a host, or there is none at all
    :raises MissingContextError: a file that cannot be read
    """
    groups: dict[str, list[Path]] = {}
    for given in paths:
        path = Path(given)
        if not path.is_dir():
            groups.setdefault(_name(path), []).append(path)
            continue
        for below in sorted(path.iterdir()):
            if below.name.startswith("."):
                continue
            if below.is_dir():
                groups.setdefault(below.name, []).extend(sorted(below.glob("*.xml")))
            elif below.suffix == ".xml":
                groups.setdefault(_name(below), []).append(below)
    found = []
    for name, files in sorted(groups.items()):
        texts: dict[str, list[str]] = {kind: [] for kind in _KINDS}
        for file in dict.fromkeys(files):
            text = read_file(file, MissingContextError, _HINT)[0]
            tag = str(parse(text, name=str(file), error=UsageError).root.tag)
            if tag not in texts:
                raise UsageError(
                    f"'{tag}' was given where libvirt's documents about a host were expected",
                    hint=_HINT,
                    where=str(file),
                )
            texts[tag].append(text)
        found.append(HostDocuments(name, *(tuple(texts[kind]) for kind in _KINDS)))
    if not any(host.capabilities or host.domcapabilities for host in found):
        raise UsageError(
            "no documents about hosts were found", hint="FILE or DIR of 'virsh capabilities' output"
        )
    return found


def _name(path: Path) -> str:
    """``node1`` of ``node1.domcaps.xml``; other dots are part of the name."""
    name = path.name.removesuffix(".xml")
    for word in (".capabilities", ".domcapabilities", ".domcaps", ".caps"):
        at = name.find(word)
        if at > 0:
            return name[:at]
    return name
