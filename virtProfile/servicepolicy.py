# SPDX-License-Identifier: GPL-2.0-or-later
"""What callers of the service may not change: judged on the documents before and after, after the engine."""

from __future__ import annotations

from collections import Counter
from typing import Any

from .errors import PolicyError
from .xmltree import parse

#: Elements, by local name, that no caller may add, change or remove.
_WHOLE = frozenset(("commandline", "hostdev", "seclabel"))
#: Elements whose text is a path or a command line of the host.
_TEXTS = frozenset(("emulator", "loader", "nvram", "kernel", "initrd", "dtb", "cmdline", "table", "binary"))
#: Attributes that are paths of the host, wherever they stand.
_PATHS = frozenset(("file", "dir", "path", "template", "socket"))


def check(before: str, after: str) -> None:
    """Deny by default: command lines, host paths, host devices and security labels stay.

    :raises PolicyError: the difference touches one of them
    """
    old, new = _guarded(before), _guarded(after)
    touched = sorted({place for place, _ in ((old - new) + (new - old))})
    if touched:
        raise PolicyError(
            f"the service may not change {', '.join(repr(one) for one in touched)}",
            hint="apply it with virt-profile on the host",
        )


def _guarded(text: str) -> Counter[tuple[str, Any]]:
    found: Counter[tuple[str, Any]] = Counter()
    _walk(parse(text).root, "", found)
    return found


def _walk(element: Any, within: str, found: Counter[tuple[str, Any]]) -> None:
    for child in element.iterchildren("*"):
        name = child.tag.rpartition("}")[2]
        if not within and name == "metadata":
            continue
        place = f"{within}/{name}"
        if name in _WHOLE:
            found[name, _flat(child)] += 1
            continue
        target = next((one.get("dev") or one.get("dir") for one in element.iterchildren("target")), None)
        if name in _TEXTS and child.text:
            found[name, child.text.strip()] += 1
        for key, value in child.attrib.items():
            host_path = key in _PATHS or key == "dev" and name == "source"
            if host_path or (name == "interface" and key == "type" and value == "hostdev"):
                found[f"{name}/@{key}", (place, target, value)] += 1
        _walk(child, place, found)


def _flat(element: Any) -> Any:
    inner = tuple(_flat(one) for one in element.iterchildren("*"))
    return element.tag, tuple(sorted(element.attrib.items())), (element.text or "").strip(), inner
