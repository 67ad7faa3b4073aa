# SPDX-License-Identifier: GPL-2.0-or-later
"""Judges a rendered tree: what is missing for libvirt to define it, and what is wrong.

Something that is missing can still be completed and is a warning; something
wrong is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from lxml import etree

from virtProfile.engine.tree.work_tree import WorkTree
from virtProfile.errors import InvalidDomainError
from virtProfile.format.element import (
    PRESENCE,
    TEXT,
    Element,
    attributes,
    child,
    children,
    container,
    copied,
    items,
    parent_of,
    text_of,
)
from virtProfile.format.values import cpu_set
from virtProfile.result import Warning

if TYPE_CHECKING:
    from virtProfile.engine.tree.changes import Difference
    from virtProfile.format.schema import Node, Schema


#: How many changes are tried to find the one that is wrong.
MAX_BLAMED = 300


class _Facts:
    """What judging asks of a schema node, worked out once."""

    __slots__ = ("attributes", "children", "deciding", "uniform", "text", "anything", "below", "_node")

    def __init__(self, node: Node) -> None:
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
        #: may anything stand in it?
        self.anything = node.anything
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


def _facts_of(node: Node) -> _Facts:
    known = _facts.get(id(node))
    if known is None or known._node is not node:
        if len(_facts) > 8192:
            _facts.clear()
        known = _facts[id(node)] = _Facts(node)
    return known


def lacks(element: Element, node: Node) -> list[str]:
    """What the schema requires in an element and is not there, as relative paths."""
    missing: list[str] = []
    _lacks(element, _facts_of(node), "", missing)
    return missing


def _lacks(element: Element, facts: _Facts, path: str, missing: list[str]) -> None:
    for name in facts.attributes:
        if element.get(name) is None:
            missing.append(f"{path}@{name}")
    if not len(element):
        missing += [path + tag for tag in facts.children]
        return
    there = children(element)
    if facts.children:
        tags = {inner.tag for inner in there}
        missing += [path + tag for tag in facts.children if tag not in tags]
    for inner in there:
        tag = inner.tag
        below = facts.child(tag)
        if below is not None and not below.anything:
            _lacks(inner, below, f"{path}{tag}/", missing)


def validate(tree: WorkTree, schema: Schema, found: Sequence[Difference]) -> tuple[list[str], list[Element]]:
    """(What the schema finds wrong where something changed, the devices left out).

    Each device stands for itself. So those that nobody touched are left out of
    what is validated, and of those that are alike one stands for all.
    """
    devices = child(tree.root, "devices")
    if devices is None:
        return list(schema.validate(tree.root)), []
    touched: dict[Element, bool] = {}
    within: set[Element] = set()  # elements in which something changed
    for changed in dict.fromkeys([difference.element for difference in found]):
        at: Element | None = changed
        while at is not None and at not in within:
            within.add(at)
            parent = at.getparent()
            if parent is devices:
                touched[at] = True
                break
            if parent is None:  # it was taken out, maybe with what its device needs
                parent = _stood_in(tree, at)
                if parent is devices:
                    break
            at = parent
    shapes: dict[Any, Element] = {}
    speller = _Speller(tree, within)
    node = schema.root.child("devices")
    assert node is not None
    facts = _facts_of(node)
    for element in touched:
        below = facts.child(element.tag)
        if below is None:
            shapes[element] = element
        else:
            shape: list[object] = []
            speller.spell(element, below, shape)
            shapes.setdefault(tuple(shape), element)
    left_out = [device for device in children(devices) if device not in touched]
    form = _form(tree.root, schema, devices, shapes.values(), speller)
    if form in _valid:
        return [], left_out
    kept = set(shapes.values())
    nsmap: Any = tree.root.nsmap  # lxml takes None for no prefix, its stubs do not
    copy = etree.Element("domain", attributes(tree.root), nsmap=nsmap)
    for top in tree.root.iterchildren("*"):
        if top is devices:
            part = etree.SubElement(copy, "devices", attributes(devices))
            part.extend(copied(device) for device in devices.iterchildren("*") if device in kept)
        else:
            copy.append(copied(top))
    problems = list(schema.validate(copy))
    if not problems and not any(isinstance(part, etree._Element) for part in form):
        if len(_valid) >= MAX_FORMS:
            _valid.clear()
        _valid.add(form)
    return problems, left_out


#: Forms of documents that a schema has found valid. The VMs of a fleet differ in names, addresses and
#: paths, so that most of them need no validation of their own.
_valid: set[tuple[object, ...]] = set()
MAX_FORMS = 512


def forget() -> None:
    """Drop the forms that are known to be valid: what profiles wrote stands in them."""
    _valid.clear()


def _form(
    root: Element, schema: Schema, devices: Element, kept: Iterable[Element], speller: _Speller
) -> tuple[object, ...]:
    """What decides whether what is validated is valid, and whether anything is lacking in it.

    It has all elements and names of attributes, words of closed lists, and every value that a profile
    wrote. An element of which nothing is known stands for itself.
    """
    facts = _facts_of(schema.root)
    form: list[object] = [schema]
    written = root in speller.edited
    form += [item if written or item[0] in facts.deciding else item[0] for item in root.items()]
    for part in root.iterchildren("*"):
        tag = part.tag
        below = facts.child(tag)
        if part is devices:
            form.append(below)
            form += devices.items()
        elif below is None:
            form.append(part)
        else:
            speller.spell(part, below, form, whole=True)
    of_devices = facts.child("devices")
    for device in kept:
        below = None if of_devices is None else of_devices.child(device.tag)
        if below is None:
            form.append(device)
        else:
            speller.spell(device, below, form, whole=True)
    return tuple(form)


def _stood_in(tree: WorkTree, element: Element) -> Element | None:
    """The parent of an element that was taken out."""
    removed, grave = tree.removed.get(element), tree.graves.get(element)
    return removed[0] if removed is not None else grave.parent if grave is not None else None


class _Speller:
    """Spells out what decides whether an element is valid.

    Words of a closed list decide between variants, and so does every value that
    a profile wrote; a path or an address that stood there does not, nor does what
    nobody touched and has one form in all variants.
    """

    def __init__(self, tree: WorkTree, within: Container[Element]) -> None:
        """:param within: the elements in which something changed"""
        self._index = tree.document.index
        self.edited = tree.edited
        self._within = within

    def spell(self, element: Element, facts: _Facts, shape: list[object], whole: bool = False) -> None:
        """Add an element, with all that is in it, to `shape`.

        :param whole: also what nobody touched and has one form
        """
        shape.append(facts)
        within = self._within
        if whole and facts.anything:
            shape.append(element if element in within else None)
            return
        kept = self.edited.get(element)
        deciding = facts.deciding
        if kept is None and element not in self._index:
            shape += items(element)  # it is new: all that it says is a profile's
            decides: bool | None = True
        elif kept is None:
            if not whole and element in within:
                changed = [inner for inner in children(element) if inner in within]
                if facts.uniform.issuperset([inner.tag for inner in changed]):
                    # It was valid, and is if what changed inside it is.
                    shape.append(...)
                    for inner in changed:
                        below = facts.child(inner.tag)
                        assert below is not None
                        self.spell(inner, below, shape)
                    shape.append(None)
                    return
            if deciding:
                shape += [item if item[0] in deciding else item[0] for item in items(element)]
            else:
                shape += element.keys()
            decides = facts.text
        else:
            before = kept[0]
            for item in items(element):
                name = item[0]
                shape.append(item if name in deciding or before.get(name) != item[1] else name)
            decides = True
        if facts.text is not None:
            text = text_of(element)
            if text is not None:
                shape.append((text if decides else "",))
        for inner in children(element) if len(element) else ():
            tag = inner.tag
            below = facts.child(tag)
            if below is None:
                shape.append(inner)
            elif not whole and inner not in within and tag in facts.uniform:
                shape.append(below)
            else:
                self.spell(inner, below, shape, whole)
        shape.append(None)


def incomplete(
    tree: WorkTree, schema: Schema, devices: Sequence[Element] | None, hint: str = ""
) -> list[Warning]:
    """The warning that the domain lacks what libvirt needs to define it.

    :param devices: those that may lack something, where all the rest is valid
    :param hint: what to do about it
    """
    missing: list[str] = []
    if devices is None:
        missing = lacks(tree.root, schema.root)
    else:
        facts = _facts_of(schema.root).child("devices")
        for device in devices:
            below = None if facts is None else facts.child(device.tag)
            if below is not None:
                _lacks(device, below, f"devices/{device.tag}/", missing)
    for path in schema.facts.needed:
        if path not in missing and container(tree.root, path.split("/")) is None:
            missing.append(path)
    if not missing:
        return []
    gaps = ", ".join(missing[:6]) + (f" and {len(missing) - 6} more" if len(missing) > 6 else "")
    advice = f" ({hint})" if hint else ""
    return [Warning("incomplete", f"the domain cannot be defined yet: it lacks {gaps}{advice}")]


def overlapping(tree: WorkTree, schema: Schema) -> InvalidDomainError | None:
    """A member of a set that a profile's element and another one both speak of.

    libvirt refuses that. It writes such an element for each member itself, so only
    what no libvirt has printed yet can have a set there.
    """
    for path, slot in schema.facts.splits:
        way, _, tag = path.rpartition("/")
        parent = container(tree.root, way.split("/"))
        if parent is None:
            continue
        there = [
            (element, cpu_set(element.get(slot[1:]) or "") or frozenset())
            for element in parent.iterchildren(tag)
        ]
        for element, members in there:
            if element not in tree.created:
                continue
            for other, others in there:
                if other is not element and members & others:
                    who = tree.owners(element, PRESENCE)[0].origin
                    return InvalidDomainError(
                        f"two '{tag}' for {slot[1:]}='{min(members & others)}': '{who.profile}' asks for one,"
                        f" and there is {slot[1:]}='{other.get(slot[1:])}'",
                        hint=f"write one '{tag}' for each of them, as libvirt does when it defines the VM",
                        where=f"{who.file}:{who.line}",
                    )
    return None


def unfit(tree: WorkTree, schema: Schema, found: Sequence[Difference]) -> str | None:
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
        for position, parent, element in sorted(out, key=lambda row: row[0]):
            parent.insert(position, element)
    return problems[0] if problems else None


def blame(tree: WorkTree, schema: Schema, found: Sequence[Difference]) -> Difference | None:
    """The first change without which the tree would be valid, or None where no single one is.

    libxml2 does not tell: what is wrong deep inside a device is to it an "extra
    element devices".
    """
    for difference in found[:MAX_BLAMED]:
        element = difference.element
        if difference.op == "remove" or element.getparent() is None:
            continue
        undo = _without(difference)
        try:
            valid = not schema.validate(tree.root)
        finally:
            undo()
        if valid:
            return difference
    return None


def _without(difference: Difference) -> Callable[[], None]:
    """Take one change back for the moment; calling what comes back makes it again."""
    element, slot = difference.element, difference.slot
    if slot[:1] == "@":
        name, now = slot[1:], element.get(slot[1:])
        if difference.before is None:
            del element.attrib[name]
        else:
            element.set(name, difference.before)
        return lambda: element.set(name, now or "")
    if slot == TEXT:
        text = element.text
        element.text = difference.before

        def again() -> None:
            element.text = text

        return again
    parent = parent_of(element)
    position = parent.index(element)
    parent.remove(element)
    return lambda: parent.insert(position, element)


def _node(element: Element, schema: Schema) -> Node | None:
    tags = []
    at: Element | None = element
    while at is not None and at.getparent() is not None:
        tags.append(at.tag)
        at = at.getparent()
    node: Node | None = schema.root
    for tag in reversed(tags):
        node = None if node is None else node.child(tag)
    return node
