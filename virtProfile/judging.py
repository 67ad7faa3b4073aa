# SPDX-License-Identifier: GPL-2.0-or-later
"""Judges a rendered tree: what is missing for libvirt to define it, and what is wrong.

Something that is missing can still be completed and is a warning; something
wrong is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from lxml import etree

from .errors import InvalidDomainError
from .finding import container
from .provenance import Warning
from .valuetypes import cpu_set
from .worktree import PRESENCE, TEXT, Element, WorkTree, child, text_of

if TYPE_CHECKING:
    from .changes import Difference


#: How many changes are tried to find the one that is wrong.
MAX_BLAMED = 300


class _Facts:
    """What judging asks of a schema node, worked out once."""

    __slots__ = ("attributes", "children", "deciding", "uniform", "text", "below", "_node")

    def __init__(self, node: Any) -> None:
        self._node = node
        kinds = node.attrs.items()
        self.attributes = tuple(name for name, kind in kinds if kind.required)
        self.children = node.required_children
        #: attributes with words of a closed list: they decide between variants
        self.deciding = frozenset(name for name, kind in kinds if kind.values)
        #: children that have one form in all variants
        self.uniform = node.uniform_children
        #: does the text decide? None where there is none
        self.text = None if node.text is None else bool(node.text.values)
        #: facts of child elements by tag, as far as they were asked for
        self.below: dict[str, _Facts | None] = {}

    def child(self, tag: str) -> _Facts | None:
        """The facts of a child element; None where no known libvirt has it."""
        try:
            return self.below[tag]
        except KeyError:
            node = self._node.child(tag)
            found = self.below[tag] = None if node is None else _Facts(node)
            return found


_facts: dict[int, _Facts] = {}


def _facts_of(node: Any) -> _Facts:
    known = _facts.get(id(node))
    if known is None or known._node is not node:
        if len(_facts) > 8192:
            _facts.clear()
        known = _facts[id(node)] = _Facts(node)
    return known


def lacks(element: Element, node: Any) -> list[str]:
    """What the schema requires in an element and is not there, as relative paths."""
    missing: list[str] = []
    _lacks(element, node, "", missing)
    return missing


def _lacks(element: Element, node: Any, path: str, missing: list[str]) -> None:
    facts = _facts_of(node)
    for name in facts.attributes:
        if element.get(name) is None:
            missing.append(f"{path}@{name}")
    for tag in facts.children:
        if child(element, tag) is None:
            missing.append(path + tag)
    for one in element.iterchildren("*"):
        below = node.child(one.tag)
        if below is not None and not below.anything:
            _lacks(one, below, f"{path}{one.tag}/", missing)


def validate(tree: WorkTree, schema: Any, found: Sequence[Difference]) -> tuple[list[str], list[Element]]:
    """(What the schema finds wrong where something changed, the devices left out).

    Each device stands for itself. So those that nobody touched are left out of
    what is validated, and of those that are alike one stands for all.
    """
    devices = child(tree.root, "devices")
    if devices is None:
        return list(schema.validate(tree.root)), []
    touched: dict[Element, bool] = {}
    within: set[Element] = set()  # elements in which something changed
    for one in found:
        element = one.element
        while element is not None and element not in within:
            within.add(element)
            parent = element.getparent()
            if parent is devices:
                touched[element] = True
                break
            element = parent
    shapes: dict[Any, Element] = {}
    facts = _facts_of(schema.root.child("devices"))
    for element in touched:
        below = facts.child(element.tag)
        if below is None:
            shapes[element] = element
        else:
            shape: list[Any] = []
            _spell(tree, element, below, within, shape)
            shapes.setdefault(tuple(shape), element)
    kept = set(shapes.values())
    copy = etree.Element("domain", tree.root.attrib, nsmap=tree.root.nsmap)
    for one in tree.root.iterchildren("*"):
        if one is devices:
            part = etree.SubElement(copy, "devices", devices.attrib)
            part.extend(deepcopy(device) for device in devices.iterchildren("*") if device in kept)
        else:
            copy.append(deepcopy(one))
    left_out = [one for one in devices.iterchildren("*") if one not in touched]
    return list(schema.validate(copy)), left_out


def _spell(
    tree: WorkTree, element: Element, facts: _Facts, within: Container[Element], shape: list[Any]
) -> None:
    """Add to `shape` what decides whether a device is valid: all but the free values that it came with.

    Words of a closed list decide between variants, and so does every value that
    a profile wrote; a path or an address that stood there does not, nor does what
    nobody touched and has one form in all variants.

    :param within: the elements in which something changed
    """
    shape.append(facts)
    kept = tree.edited.get(element)
    deciding = facts.deciding
    if kept is None and element in tree.document.index:
        if element in within:
            changed = [one for one in element.iterchildren("*") if one in within]
            if all([one.tag in facts.uniform for one in changed]):
                # It was valid, and is if what changed inside it is.
                shape.append(...)
                for one in changed:
                    below = facts.child(one.tag)
                    assert below is not None
                    _spell(tree, one, below, within, shape)
                shape.append(None)
                return
        if deciding:
            shape += [item if item[0] in deciding else item[0] for item in element.items()]
        else:
            shape += element.keys()
        decides = facts.text
    else:
        before = {} if kept is None else kept[0]
        shape += [
            item if item[0] in deciding or before.get(item[0]) != item[1] else item[0]
            for item in element.items()
        ]
        decides = True
    if facts.text is not None:
        text = text_of(element)
        if text is not None:
            shape.append((text if decides else "",))
    for one in element:
        tag = one.tag
        if isinstance(tag, str):
            below = facts.child(tag)
            if below is None:
                shape.append(one)
            elif one not in within and tag in facts.uniform:
                shape.append(below)
            else:
                _spell(tree, one, below, within, shape)
    shape.append(None)


def incomplete(
    tree: WorkTree, schema: Any, devices: Sequence[Element] | None, hint: str = ""
) -> list[Warning]:
    """The warning that the domain lacks what libvirt needs to define it.

    :param devices: those that may lack something, where all the rest is valid
    :param hint: what to do about it
    """
    missing: list[str] = []
    if devices is None:
        missing = lacks(tree.root, schema.root)
    else:
        node = schema.root.child("devices")
        for one in devices:
            below = node.child(one.tag)
            if below is not None:
                _lacks(one, below, f"devices/{one.tag}/", missing)
    for path in schema.facts.needed:
        if path not in missing and container(tree.root, path.split("/")) is None:
            missing.append(path)
    if not missing:
        return []
    told = ", ".join(missing[:6]) + (f" and {len(missing) - 6} more" if len(missing) > 6 else "")
    advice = f" ({hint})" if hint else ""
    return [Warning("incomplete", f"to be defined the domain lacks {told}{advice}")]


def overlapping(tree: WorkTree, schema: Any) -> InvalidDomainError | None:
    """A member of a set that a profile's element and another one both speak of.

    libvirt refuses that. It writes such an element for each member itself, so only
    what no libvirt has printed yet can have a set there.
    """
    for path, slot in schema.facts.splits:
        way, _, tag = path.rpartition("/")
        parent = container(tree.root, way.split("/"))
        if parent is None:
            continue
        there = [(one, cpu_set(one.get(slot[1:]) or "") or frozenset()) for one in parent.iterchildren(tag)]
        for one, members in there:
            if one not in tree.created:
                continue
            for other, others in there:
                if other is not one and members & others:
                    who = tree.owners(one, PRESENCE)[0].origin
                    return InvalidDomainError(
                        f"two '{tag}' for {slot[1:]}='{min(members & others)}': '{who.profile}' asks for one,"
                        f" and there is {slot[1:]}='{other.get(slot[1:])}'",
                        hint=f"write one '{tag}' for each of them, as libvirt does when it defines the VM",
                        where=f"{who.file}:{who.line}",
                    )
    return None


def unfit(tree: WorkTree, schema: Any, found: Sequence[Difference]) -> str | None:
    """What is wrong with the tree besides new things that are incomplete, or None.

    New elements that lack something are taken out for the moment, and what is
    left has to be valid.
    """
    out: list[tuple[int, Element, Element]] = []
    for element in list(tree.created):
        parent = element.getparent()
        if parent is None or not tree.original(parent):
            continue
        node = _node(element, schema)
        if node is not None and lacks(element, node):
            out.append((parent.index(element), parent, element))
    try:
        for _, parent, element in out:
            parent.remove(element)
        problems = schema.validate(tree.root)
    finally:
        for position, parent, element in sorted(out, key=lambda one: one[0]):
            parent.insert(position, element)
    return problems[0] if problems else None


def blame(tree: WorkTree, schema: Any, found: Sequence[Difference]) -> Difference | None:
    """The first change without which the tree would be valid, or None where no single one is.

    libxml2 does not tell: what is wrong deep inside a device is to it an "extra
    element devices".
    """
    for one in found[:MAX_BLAMED]:
        element = one.element
        if one.op == "remove" or element.getparent() is None:
            continue
        undo = _without(one)
        try:
            valid = not schema.validate(tree.root)
        finally:
            undo()
        if valid:
            return one
    return None


def _without(one: Difference) -> Callable[[], None]:
    """Take one change back for the moment; calling what comes back makes it again."""
    element, slot = one.element, one.slot
    if slot[:1] == "@":
        name, now = slot[1:], element.get(slot[1:])
        if one.before is None:
            del element.attrib[name]
        else:
            element.set(name, one.before)
        return lambda: element.set(name, now)
    if slot == TEXT:
        text = element.text
        element.text = one.before

        def again() -> None:
            element.text = text

        return again
    parent = element.getparent()
    position = parent.index(element)
    parent.remove(element)
    return lambda: parent.insert(position, element)


def _node(element: Element, schema: Any) -> Any:
    tags = []
    while element.getparent() is not None:
        tags.append(element.tag)
        element = element.getparent()
    node = schema.root
    for tag in reversed(tags):
        node = node.child(tag)
        if node is None:
            return None
    return node
