# SPDX-License-Identifier: GPL-2.0-or-later
"""What a profile changes, in words: what ``--info`` begins with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from virtProfile.engine.guest_view import DEVICES
from virtProfile.language.profile import Kind, Multiple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtProfile.language.profile import Action, Profile, Snippet

#: What people call elements whose names they do not see; those of `guest_view` too.
_NAMES = {
    **DEVICES,
    "graphics": "display",
    "hostdev": "host device",
    "redirdev": "USB redirection",
    "filesystem": "shared directory",
    "memoryBacking": "memory backing",
    "cputune": "CPU tuning",
    "numatune": "NUMA tuning",
    "memtune": "memory tuning",
    "iothreads": "number of I/O threads",
    "vcpu": "number of CPUs",
    "cpu": "CPU",
    "os": "boot",
    "pm": "power management",
    "sysinfo": "system information",
    "currentMemory": "current memory",
    "serial": "serial port",
    "audio": "audio back end",
    "mirror-topology": "placement on the host",
    "domain": "VM",
    "shmem": "shared memory",
    "commandline": "QEMU command line",
}
#: Elements that only hold others.
_HULLS = ("devices", "features")
#: So many parts of a thing are named.
_MOST = 6
_EXPRESSION = re.compile(r"\{(?!\{)[^{}]*\}")
_PARAM = re.compile(r"\{\s*(\$[A-Za-z0-9._+-]+)\s*\}")


def in_words(profile: Profile) -> list[str]:
    """What a profile changes: one line for each thing that it adds, sets, removes or checks, each once."""
    lines = [line for action in profile.actions for line in _lines(action)]
    if profile.requires:
        lines.insert(0, f"applies also {', '.join(wanted.profile for wanted in profile.requires)}")
    return list(dict.fromkeys(lines))


def _lines(action: Action) -> Iterator[str]:
    condition = ", on a condition" if action.when is not None else ""
    if action.kind == Kind.CHECK:
        yield f"checks: {_value(action.message or '')}"
        return
    if action.select is not None:
        yield f"removes {' '.join(action.select.split())}{condition}"
    for branch in action.branches:
        where, things = _things(branch)
        for tag, snippet in things:
            yield f"{_line(action, (*where, tag), snippet)}{condition}"


def _things(snippet: Snippet) -> tuple[tuple[str, ...], list[tuple[str, Snippet]]]:
    """The elements that a branch is about, below those that only hold them."""
    tag = _local(snippet.tag)
    if tag == "domain" and not snippet.attrs:
        return (), [(_local(below.tag), below) for below in snippet.children]
    if tag in _HULLS and snippet.children and not snippet.attrs:
        return (tag,), [(_local(below.tag), below) for below in snippet.children]
    return (), [(tag, snippet)]


def _line(action: Action, path: tuple[str, ...], snippet: Snippet) -> str:
    tag = path[-1]
    name = _NAMES.get(tag, tag)
    kind = f"the feature {name}" if path[0] == "features" else name
    parts = list(_parts(snippet))
    rest = [f"and {len(parts) - _MOST} more"] if len(parts) > _MOST + 1 else []
    values = ", ".join([*parts[:_MOST], *rest] if rest else parts)
    behind = f": {values}" if values else ""
    if action.each is not None:
        if action.kind == Kind.REMOVE:
            return (
                f"each {name} that is selected: removed" if not values else f"each {name}: removes {values}"
            )
        given = "" if action.kind == Kind.ADD else ", where it says nothing"
        return f"each {name}{behind}{given}"
    device = path[0] == "devices"
    if action.kind == Kind.REMOVE:
        return f"removes every {name}{behind}" if device else f"removes {kind}{behind}"
    if action.kind == Kind.DEFAULT:
        return f"where nothing is said, {'each ' if device else ''}{kind}{behind}"
    if action.repeat is not None:
        return f"{'adds' if device else 'sets'} {name}, as often as asked for{behind}"
    if device and action.multiple != Multiple.NO:
        more = " more" if action.multiple == Multiple.YES else ""
        return f"adds {'one' + more if more else _article(name)} {name}{behind}"
    return f"sets {kind}{behind}"


def _parts(snippet: Snippet, above: tuple[str, ...] = ()) -> Iterator[str]:
    """The values of each element as ``driver cache none io native``; of one without any its name."""
    values = [(_local(name), _value(value)) for name, value in (*snippet.attrs, *snippet.intents)]
    words = [value if name == "state" else f"{name} {value}" for name, value in values]
    if snippet.text is not None and snippet.text.strip():
        words.insert(0, _value(snippet.text.strip()))
    if words or above and not snippet.children:
        yield " ".join((*above, *words))
    for below in snippet.children:
        yield from _parts(below, (*above, _local(below.tag)))


def _value(text: str) -> str:
    """A value: params by their names, what is worked out as an ellipsis."""
    text = " ".join(text.split())
    return _EXPRESSION.sub("…", _PARAM.sub(r"\1", text)).replace("{{", "{").replace("}}", "}")


def _article(name: str) -> str:
    return "an" if name[:1].lower() in "aeiou" and not name.startswith("USB") else "a"


def _local(name: str) -> str:
    return name.rpartition("}")[2]
