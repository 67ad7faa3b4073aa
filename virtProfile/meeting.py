# SPDX-License-Identifier: GPL-2.0-or-later
"""When a wish meets a value: who wins, who is told, what falls with a loser.

The base of the actions. A `Meeting` writes single values into the work tree by
priority and constraint and keeps the book: what lost to whom, which wishes had
an effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .finding import State, read, state_on
from .intents import NAMES, SIZE, Asked, attribute, normal
from .provenance import THE_DEFINITION, Writer
from .wants import ForeignNode
from .worktree import PRESENCE, TEXT, Element, WorkTree, child

if TYPE_CHECKING:
    from .domainschema import Schema
    from .profile import Snippet
    from .wants import Leaf, Stage, Want


class Loss:
    """A wish that did not come true: soft (overridden) or a conflict.

    `element` and `rest` say where: the nearest element that exists, and the path
    from there. `winners` are the owners of what stands there, highest first.
    """

    __slots__ = ("element", "rest", "wanted", "has", "loser", "winners", "conflict", "note", "final")

    def __init__(
        self,
        element: Element,
        rest: str,
        wanted: str | None,
        has: str | None,
        loser: Writer,
        winners: Sequence[Writer],
        conflict: bool,
        note: str = "",
    ) -> None:
        self.element = element
        self.rest = rest
        self.wanted = wanted
        self.has = has
        self.loser = loser
        self.winners = list(winners)
        self.conflict = conflict
        self.note = note  # what to add to the report
        self.final = False  # no priority would change it


class Meeting:
    """Writes values into the tree where they win, and keeps the book."""

    def __init__(self, tree: WorkTree, schema: Schema) -> None:
        self.tree = tree
        self.schema = schema
        self.losses: list[Loss] = []
        #: writers of which at least one wish came true or was true before
        self.effective: set[Writer] = set()
        self.wishes = 0
        #: by its name: for which elements something is asked
        self.intents: dict[str, dict[Element, Asked]] = {name: {} for name in NAMES}
        self.excludes = schema.excludes

    # --- the book ------------------------------------------------------------

    def lose(
        self,
        element: Element,
        rest: str,
        wanted: str | None,
        has: str | None,
        loser: Writer,
        winners: Sequence[Writer],
        note: str = "",
    ) -> None:
        """`loser` does not get its wish; equal priority or a hard wish is a conflict."""
        top = winners[0] if winners else THE_DEFINITION
        conflict = loser.hard or (top.priority == loser.priority and top.is_default == loser.is_default)
        self.losses.append(
            Loss(element, rest, wanted, has, loser, winners or [THE_DEFINITION], conflict, note)
        )

    def beats(self, writer: Writer, owners: Sequence[Writer]) -> bool:
        """May `writer` replace what `owners` want?"""
        return all(owner.priority < writer.priority and not owner.hard or owner is writer for owner in owners)

    # --- single values -------------------------------------------------------

    def wish(self, thing: Element, leaf: Leaf, writer: Writer, lost: Lost) -> None:
        """One value of an `add`: co-own it, fill the gap, or let the priorities decide."""
        element, missing = self.reach(thing, leaf.tags)
        if missing:
            if self.excluded(thing, leaf, writer):
                return
            element = self.make_chain(element, leaf, missing, writer)
            if leaf.slot != PRESENCE:
                self.write(element, leaf, writer)
            self.effective.add(writer)
            return
        state = state_on(element, leaf)
        if state is State.HOLDS:
            self.tree.claim(element, leaf.slot, writer)
            self.effective.add(writer)
        elif state is State.GAP:
            if self.excluded(thing, leaf, writer):
                lost.note(leaf)
                return
            self.write(element, leaf, writer)
            self.effective.add(writer)
        else:
            owners = self.tree.owners(element, leaf.slot)
            old, _ = read(element, leaf.slot, leaf.node)
            if self.beats(writer, owners):
                if leaf.slot in leaf.node.dependents:
                    self.drop_variant(element, leaf, old or "", writer)
                self.write(element, leaf, writer)
                self.effective.add(writer)
            else:
                self.lose(element, leaf.slot, _with_unit(leaf), _has_unit(element, leaf, old), writer, owners)
                lost.note(leaf)

    def reach(self, thing: Element, tags: Sequence[str]) -> tuple[Element, int]:
        """The element at the end of a way, or the last one on it and how many are missing."""
        element = thing
        for depth, tag in enumerate(tags):
            below = child(element, tag)
            if below is None:
                return element, len(tags) - depth
            element = below
        return element, 0

    def write(self, element: Element, leaf: Leaf, writer: Writer) -> None:
        """Write the leaf's value, and its unit with it."""
        self.tree.set(element, leaf.slot, leaf.value or "", writer)
        if leaf.unit is not None:
            unit, slot, _ = leaf.unit
            if unit is not None:
                self.tree.set(element, slot, unit, writer)
            elif element.get(slot[1:]) is not None:
                self.tree.unset(element, slot, writer)

    def make_chain(self, parent: Element, leaf: Leaf, missing: int, writer: Writer) -> Element:
        """Make the missing *one*-elements on the way to a leaf."""
        return self.chain(parent, leaf.way[len(leaf.way) - missing :], writer)

    def chain(self, parent: Element, way: Sequence[Stage], writer: Writer) -> Element:
        """Walk down from `parent`, making what is missing."""
        for stage in way:
            found = child(parent, stage.tag)
            if found is None:
                found = parent.makeelement(stage.tag, nsmap=_nsmap(stage.tag, stage.prefix, parent))
                after = place(parent, stage.node.parent, stage.tag)
                self.tree.insert(parent, after, found, writer)
            parent = found
        return parent

    # --- what is asked besides -------------------------------------------------

    def intend(self, element: Element, name: str, said: str, line: int, writer: Writer) -> None:
        """`writer` asks for something for an element; who asked before has the higher priority."""
        self.wishes += 1
        value = normal(name, said)
        asked = self.intents[name].setdefault(element, Asked(value, said))
        if asked.value != value:
            self.lose(element, attribute(name), said, asked.said, writer, asked.writers)
        elif writer not in asked.writers:
            asked.writers.append(writer)
            asked.lines.append(line)
            if name == SIZE:
                self.effective.add(writer)  # a place has to be found first

    # --- whole things --------------------------------------------------------

    def create(self, parent: Element, node: Any, want: Want, writer: Writer) -> Element | None:
        """Make a new thing as the snippet spells it."""
        assert want.snippet is not None
        new = self.build(parent, want.snippet, writer)
        self.tree.insert(parent, place(parent, node, want.tag), new, writer)
        self.effective.add(writer)
        return new

    def build(self, parent: Element, snippet: Snippet, writer: Writer) -> Element:
        new = parent.makeelement(snippet.tag, nsmap=_nsmap(snippet.tag, snippet.prefix, parent))
        slots = [PRESENCE]
        for name, value in snippet.attrs:
            new.set(name, value)
            slots.append("@" + name)
        if snippet.text is not None:
            new.text = snippet.text
            slots.append(TEXT)
        self.tree.own_all(new, slots, writer)
        for name, value in snippet.intents:
            self.intend(new, name, value, snippet.line, writer)
        for one in snippet.children:
            new.append(self.build(new, one, writer))
        return new

    # --- what goes together --------------------------------------------------

    def excluded(self, thing: Element, leaf: Leaf, writer: Writer) -> bool:
        """Is the fill kept out by a fact that excludes it? A weaker one is dropped."""
        others = self.excludes.get(leaf.full)
        if not others:
            return False
        for other in others:
            start = thing
            relative = other
            base = leaf.full[: len(leaf.full) - len(leaf.path)]
            if base and other.startswith(base):
                relative = other[len(base) :]
            elif base:
                start = self.tree.root
            element, slot = _resolve(start, relative)
            if element is None:
                continue
            owners = self.tree.owners(element, slot)
            if any(owner.origin == writer.origin for owner in owners):
                continue
            if not self.beats(writer, owners):
                value = element.text if slot == TEXT else element.get(slot[1:])
                if writer.is_default and any(not one.is_default for one in owners):
                    if not writer.hard or THE_DEFINITION in owners:
                        return True
                note = f"{other} is '{value}', which excludes it"
                at, missing = self.reach(thing, leaf.tags)
                rest = "/".join((*leaf.tags[len(leaf.tags) - missing :], leaf.slot))
                self.lose(at, rest, leaf.value, None, writer, owners, note)
                return True
            if slot == PRESENCE:
                self.tree.remove(element, [writer])
            else:
                self.tree.unset(element, slot, writer)
        return False

    def drop_variant(self, element: Element, leaf: Leaf, old: str, writer: Writer) -> None:
        """The discriminator changes: what only the old variant allows has to go."""
        before = leaf.node.allowed_with(leaf.slot, old)
        after = leaf.node.allowed_with(leaf.slot, leaf.value)
        if before is not None and after is not None:
            self._drop(element, before, after, writer, leaf.slot)
        for what, values in leaf.node.variants.get(leaf.slot, ()):
            if leaf.value not in values:
                at, slot = _resolve(element, what)
                if at is not None:
                    self._drop_value(at, slot, writer)

    def _drop_value(self, element: Element, slot: str, writer: Writer) -> None:
        owners = self.tree.owners(element, slot)
        if any(owner.hard for owner in owners):
            self.lose(element, slot, None, element.get(slot[1:]), writer, owners)
        else:
            self.tree.unset(element, slot, writer)

    def _drop(self, element: Element, before: Any, after: Any, writer: Writer, keep: str) -> None:
        for name in list(element.attrib):
            slot = "@" + name
            if slot != keep and name in before.attrs and name not in after.attrs:
                self._drop_value(element, slot, writer)
        for one in list(element.iterchildren("*")):
            old, new = before.child(one.tag), after.child(one.tag)
            if old is None:
                continue
            if new is None:
                owners = self.tree.subtree_owners(one)
                if any(owner.hard for owner in owners):
                    self.lose(one, "", None, one.text, writer, owners)
                    continue
                self.tree.remove(one, [writer])
            else:
                self._drop(one, old, new, writer, "")


def _with_unit(leaf: Leaf) -> str | None:
    """What was wanted, a size with its unit."""
    unit = leaf.unit[0] if leaf.unit is not None else None
    return f"{leaf.value} {unit}" if unit else leaf.value


def _has_unit(element: Element, leaf: Leaf, value: str | None) -> str | None:
    unit = element.get(leaf.unit[1][1:]) if leaf.unit is not None else None
    return f"{value} {unit}" if unit and value is not None else value


class Lost:
    """Discriminators that a branch lost: what depends on them is lost with them."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: list[tuple[str, frozenset[str]]] = []

    def note(self, leaf: Leaf) -> None:
        depends = leaf.node.dependents.get(leaf.slot)
        if depends:
            prefix = "/".join(leaf.tags)
            self.entries.append((prefix + "/" if prefix else "", depends))

    def covers(self, path: str) -> bool:
        """Does something at this path (relative to the thing) depend on what was lost?"""
        for prefix, depends in self.entries:
            if path.startswith(prefix):
                rest = path[len(prefix) :]
                for one in depends:
                    if rest == one or rest.startswith(one + "/"):
                        return True
        return False


def place(parent: Element, node: Any, tag: str) -> Element | None:
    """The sibling behind which a new `tag` goes: the last of its name, else libvirt's order."""
    last = None
    for one in parent.iterchildren(tag, reversed=True):
        return one
    order = _positions(node)
    mine = order.get(tag)
    if mine is None:
        for one in parent.iterchildren("*", reversed=True):
            return one
        return None
    for one in parent.iterchildren("*", reversed=True):
        if order.get(one.tag, -1) < mine and one.tag in order:
            return one
        last = one
    if last is not None and not any(one.tag in order for one in parent.iterchildren("*")):
        for one in parent.iterchildren("*", reversed=True):
            return one
    return None


_orders: dict[tuple[str, ...], dict[str, int]] = {}


def _positions(node: Any) -> dict[str, int]:
    order = node.order
    found = _orders.get(order)
    if found is None:
        found = _orders[order] = {tag: number for number, tag in enumerate(order)}
    return found


def _nsmap(tag: str, prefix: str | None, parent: Element) -> dict[str | None, str] | None:
    if tag[0] != "{":
        return None
    uri = tag[1:].partition("}")[0]
    for known, value in parent.nsmap.items():
        if value == uri and known is not None:
            return {known: uri}
    return {prefix: uri} if prefix else {"ns": uri}


def _resolve(element: Element, path: str) -> tuple[Element | None, str]:
    """The element and slot of a relative path, (None, "") where there is no such value."""
    for part in path.split("/"):
        if part == TEXT:
            return (element, TEXT) if (element.text or "").strip() else (None, "")
        if part[0] == "@":
            return (element, part) if element.get(part[1:]) is not None else (None, "")
        below = child(element, part)
        if below is None:
            return None, ""
        element = below
    return element, PRESENCE


def is_foreign(node: Any) -> bool:
    return isinstance(node, ForeignNode)
