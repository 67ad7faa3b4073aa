# SPDX-License-Identifier: GPL-2.0-or-later
"""The text of a learned profile: snippets of the two documents, escaped and indented."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from lxml import etree

from virtProfile.format.element import TEXT, Element, attributes, text_of


class Snippet:
    """A snippet as it is put together: a tree of what an action says, children by tag and key."""

    def __init__(self, tag: str, nsmap: Any = None) -> None:
        self.root = etree.Element(tag, nsmap=nsmap)

    @staticmethod
    def below(parent: Element, like: Element) -> Element:
        """The child of a snippet that stands for `like`, made where it is not there."""
        for child in parent.iterchildren(like.tag):
            return child
        return etree.SubElement(parent, like.tag, nsmap=_named(like))


def escaped(value: str) -> str:
    """A value as a profile spells it: braces are expressions there."""
    return value.replace("{", "{{").replace("}", "}}")


def put(element: Element, slot: str, value: str) -> None:
    if slot == TEXT:
        element.text = escaped(value)
    else:
        element.set(slot[1:], escaped(value))


def copy(source: Element, parent: Element | None = None) -> Element:
    """All of an element, without comments and white space, as a snippet."""
    made = (
        etree.Element(source.tag, nsmap=_named(source))
        if parent is None
        else etree.SubElement(parent, source.tag, nsmap=_named(source))
    )
    for name, value in attributes(source).items():
        made.set(name, escaped(value))
    text = text_of(source)
    if text is not None:
        made.text = escaped(text)
    for child in source.iterchildren("*"):
        copy(child, made)
    return made


def _named(element: Element) -> dict[str, str] | None:
    """The element's own prefix alone; those declared around it do not count."""
    if element.prefix and element.tag[:1] == "{":
        return {element.prefix: element.tag[1:].partition("}")[0]}
    return None


def add(snippet: Element, multiple: str = "") -> Element:
    action = etree.Element("add")
    if multiple:
        action.set("multiple", multiple)
    action.append(snippet)
    return action


def remove(select: str) -> Element:
    return etree.Element("remove", select=select)


def joined(actions: Sequence[Element], order: Mapping[str, int]) -> list[Element]:
    """Removes first, the last of the document before those that stand in front of it: what an
    earlier one takes away counts no more for the position that a later one means.

    Copies of the actions, what is added to one list in one action: a wording is tried often."""
    made: list[Element] = []
    lists: dict[tuple[str, str], Element] = {}
    removes = [element for element in actions if element.tag == "remove"]
    removes.sort(key=lambda element: -order.get(element.get("select") or "", 0))
    for action in [*removes, *(element for element in actions if element.tag != "remove")]:
        copied = deepcopy(action)
        if (
            action.tag == "add"
            and action.get("multiple") != "no"
            and len(copied) == 1
            and copied[0].tag == "devices"
        ):
            first = lists.setdefault(("devices", action.get("multiple") or ""), copied)
            if first is not copied:
                first[0].extend(list(copied[0]))
                continue
        made.append(copied)
    return made


def profile(name: str, actions: Sequence[Element]) -> str:
    """The document of a profile, with a final newline."""
    root = etree.Element("profile", name=name, version="1")
    etree.SubElement(root, "title").text = f"{name}, learned from two definitions"
    for action in actions:
        root.append(action)
    etree.indent(root, "  ")
    text: str = etree.tostring(root, encoding="unicode")
    return text + "\n"
