# SPDX-License-Identifier: GPL-2.0-or-later
"""Profiles with one mistake each: what a suite of tests has to notice."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

from lxml import etree

#: Attributes that mean the same where they are not written: libvirt implies the value.
IMPLIED = {
    ("disk", "type", "file"),
    ("disk", "device", "disk"),
    ("cpu", "match", "exact"),
    ("*", "unit", "KiB"),
    ("redirdev", "bus", "usb"),
    ("sysinfo", "type", "smbios"),
    ("memballoon", "model", "virtio"),
    ("rng", "model", "virtio"),
    ("backend", "type", "emulator"),
}

SNIPPETS = ("add", "remove", "default")
#: A word that is in the place of another of the same kind.
OTHER = {"yes": "no", "no": "yes", "on": "off", "off": "on", "soft": "hard", "hard": "soft"}


def mutants(text: str) -> Iterator[tuple[str, str]]:
    """(what is wrong, text of the file): every single mistake of the kinds below."""
    root = etree.fromstring(text.encode())
    for number, element in enumerate(root.iter("*")):
        for what, change in _mistakes(element):
            other = copy.deepcopy(root)
            change(list(other.iter("*"))[number])
            yield f"line {element.sourceline}: {what}", etree.tostring(other).decode()


def _mistakes(element: Any) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    tag = element.tag
    if tag in ("title", "description", "profile", "profiles"):
        return
    in_snippet = any(above.tag in SNIPPETS for above in element.iterancestors())
    if (
        tag in (*SNIPPETS, "requires", "conflicts", "match")
        or in_snippet
        and element.getparent().tag != "devices"
    ):
        yield f"no <{tag}>", _drop
    if tag == "param":
        if element.get("default"):
            yield "another default", lambda other: other.set("default", _wrong(other.get("default")))
        return
    if tag in ("requires", "conflicts"):
        return
    for name, value in element.attrib.items():
        if name in ("when", "test"):
            yield f"{name} negated", lambda other, name=name: other.set(name, f"not({other.get(name)})")
            if not in_snippet and tag != "match" and not (name == "when" and _is_test_negated(element)):
                yield f"no {name}", lambda other, name=name: other.attrib.pop(name)
        elif name in ("each", "select", "repeat", "unknown", "whole") or name.startswith("{"):
            continue
        elif "{" in value:
            yield f"{name} constant", lambda other, name=name: other.set(name, "1")
        else:
            yield f"another {name}", lambda other, name=name: other.set(name, _wrong(other.get(name)))
            if in_snippet and not {(tag, name, value), ("*", name, value)} & IMPLIED:
                yield f"no {name}", lambda other, name=name: other.attrib.pop(name)
    if in_snippet and element.text and element.text.strip():
        yield "another text", _other_text


def _is_test_negated(check: Any) -> bool:
    """A check that is judged where its test does not hold: it finds the same without its `when`."""
    return check.get("when") is not None and check.get("test") == f"not({check.get('when')})"


def _other_text(element: Any) -> None:
    element.text = "1" if "{" in element.text else _wrong(element.text)


def _drop(element: Any) -> None:
    element.getparent().remove(element)


def _wrong(value: str) -> str:
    if value in OTHER:
        return OTHER[value]
    number = re.search(r"\d+", value)
    if number:
        return value[: number.start()] + str(int(number.group()) + 1) + value[number.end() :]
    half = len(value) // 2  # not at an end: what is expected of a message is a part of it
    return f"{value[:half]}x{value[half:]}"
