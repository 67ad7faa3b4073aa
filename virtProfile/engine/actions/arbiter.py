# SPDX-License-Identifier: GPL-2.0-or-later
"""When a wish meets a value: who wins, who is told, what falls with a loser.

An `Arbiter` compares a writer with the owners of what stands there, by priority and
constraint, and keeps the book: what lost to whom, which wishes had an effect.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from virtProfile.engine.tree.ownership import THE_DEFINITION, Asked
from virtProfile.format.buses import QEMU
from virtProfile.format.element import (
    PRESENCE,
    TEXT,
    _nsmap,
    attributes,
    child,
    container,
    forbids,
    resolve,
    resolve_all,
)
from virtProfile.format.schema import ForeignNode, Node
from virtProfile.language.directives import NAMES, SIZE, attribute, normal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtProfile.engine.tree.ownership import Writer
    from virtProfile.engine.tree.work_tree import WorkTree
    from virtProfile.format.element import Element
    from virtProfile.format.facts import Variant
    from virtProfile.format.schema import Schema
    from virtProfile.language.profile import Snippet
    from virtProfile.language.wishes import Group, Leaf


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


class Arbiter:
    """Decides between writers, writes what won, and keeps the book."""

    def __init__(self, tree: WorkTree, schema: Schema) -> None:
        self.tree = tree
        self.schema = schema
        self.losses: list[Loss] = []
        #: writers of which at least one wish came true or was true before
        self.effective: set[Writer] = set()
        #: of whom something was taken back -> the `remove` that wants it away
        self.undone: dict[Writer, Writer] = {}
        #: defaults of which a value held already that is another's
        self.held: set[Writer] = set()
        #: how many things each writer asked for
        self.wishes: Counter[Writer] = Counter()
        #: by its name: for which elements something is asked
        self.intents: dict[str, dict[Element, Asked]] = {name: {} for name in NAMES}
        self.excludes = schema.excludes
        #: elements of which a change of variant took something out, inner ones first
        self.thinned: list[Element] = []

    # --- the book ------------------------------------------------------------

    def has_effect(self, writer: Writer) -> bool:
        """Was a wish of the action written, or did it hold already, and is that not taken back?"""
        if writer not in self.effective:
            return False
        if writer not in self.undone or writer in self.held:
            return True
        claims = self.tree.claims
        return any(
            writer in claims.get(element, {}).get(slot, ()) and self.tree.stands(element)
            for element, slot in self.tree.claimed_by[writer.origin.profile]
        )

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
        """`loser` does not get its wish; equal priority or a hard wish is a conflict, also where the hard
        wish is the weaker one and was there before."""
        top = winners[0] if winners else THE_DEFINITION
        conflict = loser.hard or (top.priority == loser.priority and top.is_default == loser.is_default)
        conflict = conflict or any(
            winner.hard and winner.priority < loser.priority and winner.is_default == loser.is_default
            for winner in winners
        )
        self.losses.append(
            Loss(element, rest, wanted, has, loser, winners or [THE_DEFINITION], conflict, note)
        )

    def beats(self, writer: Writer, owners: Sequence[Writer]) -> bool:
        """May `writer` replace what `owners` want?"""
        return all(
            (owner.priority < writer.priority or (owner.is_default and not writer.is_default))
            and not owner.hard
            or owner is writer
            for owner in owners
        )

    def displace(
        self, element: Element, slot: str, wanted: str | None, owners: Sequence[Writer], writer: Writer
    ) -> None:
        """`writer` has taken the place of profiles that were there before it, and are weaker."""
        for owner in owners:
            if owner is not THE_DEFINITION and owner is not writer:
                has = element.get(slot[1:]) if slot[:1] == "@" else element.text if slot == TEXT else None
                self.lose(element, slot, wanted, has, owner, [writer])

    def copy_intents(self) -> dict[str, dict[Element, Asked]]:
        """What is asked so far, for `put_intents`."""
        return {
            name: {element: intent.copy() for element, intent in rows.items()}
            for name, rows in self.intents.items()
        }

    def put_intents(self, intents: dict[str, dict[Element, Asked]]) -> None:
        """Only this is asked."""
        for name, rows in self.intents.items():
            rows.clear()
            rows.update(intents[name])

    # --- single values -------------------------------------------------------

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

    # --- what is asked besides -------------------------------------------------

    def intend(self, element: Element, name: str, said: str, line: int, writer: Writer) -> None:
        """`writer` asks for something for an element; who asked before has the higher priority."""
        self.wishes[writer] += 1
        value = normal(name, said)
        intent = self.intents[name].setdefault(element, Asked(value, said))
        if intent.value != value:
            self.lose(element, attribute(name), said, intent.said, writer, intent.writers)
        elif writer not in intent.writers:
            intent.writers.append(writer)
            intent.lines.append(line)
            if name == SIZE:
                self.effective.add(writer)  # a place has to be found first

    # --- whole things --------------------------------------------------------

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
        for nested in snippet.children:
            new.append(self.build(new, nested, writer))
        return new

    # --- what goes together --------------------------------------------------

    def _is_said_below(self, thing: Element, leaf: Leaf, writer: Writer) -> bool:
        """Is it a default that a child says already?"""
        if not writer.is_default or leaf.slot not in leaf.node.respells:
            return False
        at, missing = self.reach(thing, leaf.tags)
        return not missing and child(at, leaf.node.respells[leaf.slot][0]) is not None

    def _is_void(self, thing: Element, leaf: Leaf, writer: Writer) -> bool:
        """Does a child say something with which libvirt drops the value? A weaker child is taken away."""
        tag, slot, words = leaf.node.voids.get(leaf.slot, ("", "", frozenset()))
        at, missing = self.reach(thing, leaf.tags)
        for below in list(at.iterchildren(tag)) if tag and not missing else ():
            if below.get(slot[1:]) not in words:
                continue
            owners = self.tree.subtree_owners(below)
            if any(owner.origin == writer.origin for owner in owners):
                continue
            if not self.beats(writer, owners) or writer.is_default:
                if not writer.is_default or writer.hard:
                    note = f"{tag}/{slot} is '{below.get(slot[1:])}', which excludes it"
                    self.lose(at, leaf.slot, leaf.value, None, writer, owners, note)
                return True
            self.tree.remove(below, [writer])
        return False

    def excluded(self, thing: Element, leaf: Leaf, writer: Writer) -> bool:
        """Is the fill kept out by a fact that excludes it? A weaker one is dropped."""
        if leaf.node.respells and self._is_said_below(thing, leaf, writer):
            return True
        if self.unfit(thing, leaf, writer) or leaf.node.voids and self._is_void(thing, leaf, writer):
            return True
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
            element, slot = resolve(start, relative)
            if element is None:
                continue
            whole = slot == PRESENCE
            owners = self.tree.subtree_owners(element) if whole else self.tree.owners(element, slot)
            if any(owner.origin == writer.origin for owner in owners):
                continue
            if writer.is_default and THE_DEFINITION in owners:
                return True  # it asks only for what the definition leaves open, at any priority
            if not self.beats(writer, owners):
                if writer.is_default and any(not owner.is_default for owner in owners):
                    if not writer.hard or THE_DEFINITION in owners:
                        return True
                if whole:
                    note = f"{other} is there, which excludes it"
                else:
                    value = element.text if slot == TEXT else element.get(slot[1:])
                    note = f"{other} is '{value}', which excludes it"
                at, missing = self.reach(thing, leaf.tags)
                rest = "/".join((*leaf.tags[len(leaf.tags) - missing :], leaf.slot))
                self.lose(at, rest, leaf.value, None, writer, owners, note)
                return True
            if slot == PRESENCE:
                self.tree.remove(element, [writer])
            else:
                self._unset(element, slot, leaf, writer)
        return False

    def _unset(self, element: Element, slot: str, leaf: Leaf, writer: Writer) -> None:
        """Take a value out, and the child on which libvirt writes it as well."""
        spelled = leaf.node.respells.get(slot)
        value = element.get(slot[1:])
        self.tree.unset(element, slot, writer)
        if spelled is not None:
            for below in list(element.iterchildren(spelled[0])):
                if below.get(spelled[1][1:]) == value:
                    self.tree.remove(below, [writer])

    def drop_variant(self, element: Element, leaf: Leaf, old: str, writer: Writer) -> None:
        """The discriminator changes: what only the old variant allows has to go."""
        before = leaf.node.allowed_with(leaf.slot, old)
        after = leaf.node.allowed_with(leaf.slot, leaf.value)
        if before is not None and after is not None:
            self._drop(element, before, after, writer, leaf.slot)
        for part in leaf.node.variants.get(leaf.slot, ()):
            if forbids(part, leaf.value, element) or (part.goes and old):
                self._drop_part(element, leaf.node, part, writer)
        for below in list(element.iterchildren("*")):  # a second source is UDP's, and no other's
            inner = leaf.node.child(below.tag)
            if (
                old
                and inner is not None
                and inner.key_class == "S"
                and child(element, below.tag) is not below
            ):
                self._drop_value(below, PRESENCE, writer)

    def _drop_part(self, element: Element, node: Node | None, part: Variant, writer: Writer) -> None:
        """Take out a part that the new variant does not allow, and what holds nothing after it.

        :param node: of the element
        """
        for step in part.path.split("/"):
            if node is not None and step[:1] != "@":
                node = node.parent if step == ".." else node.child(step)
        for at, slot in resolve_all(element, part.what):
            kind = node.attribute(slot[1:]) if node is not None and slot[:1] == "@" else None
            if kind is not None and kind.required and at is not element and at.getparent() is not None:
                slot = PRESENCE  # it is nothing without the attribute
            above = at if slot != PRESENCE else at.getparent()
            self._drop_value(at, slot, writer)
            while above is not None and element is not above and above not in element.iterancestors():
                self.thinned.append(above)
                above = above.getparent()

    def tidy(self, writer: Writer) -> None:
        """Take out what lost all that was in it with a variant, and got nothing new."""
        while self.thinned:
            element = self.thinned.pop(0)
            if not (element.attrib or len(element) or (element.text or "").strip()):
                given = any(other is element for other, *_ in self.tree.assigned_values)  # by libvirt
                if self.tree.stands(element) and not given:
                    self._drop_value(element, PRESENCE, writer)

    def blocking(
        self, element: Element, leaf: Leaf, writer: Writer, missing: int = 0
    ) -> tuple[str, list[Writer]] | None:
        """(what, whose) of a part that stands, that the wanted variant does not allow, and that stays.

        :param element: of the leaf, or the last one on the way to it that is there
        :param missing: how many elements are missing on that way
        """
        for part in leaf.node.variants.get(leaf.slot, ()):
            what = part.what.removeprefix("../" * missing)
            if missing and (what == part.what or part.unless) or not forbids(part, leaf.value, element):
                continue
            at, slot = resolve(element, what)
            if at is None:
                continue
            owners = self.tree.subtree_owners(at) if slot == PRESENCE else self.tree.owners(at, slot)
            if not self.beats(writer, owners) and all(owner.origin != writer.origin for owner in owners):
                return part.path.removeprefix("../"), list(owners)
        return None

    def unfit(self, thing: Element, leaf: Leaf, writer: Writer) -> bool:
        """Would libvirt drop or refuse the value, for what the thing is? Then no priority helps."""
        places = leaf.allowing
        if places is None:  # a wish is of one schema, and judged in many renderings
            base = leaf.full[: len(leaf.full) - len(leaf.path)].rstrip("/")
            depth = base.count("/") + 1 if base else 0
            places = leaf.allowing = self.schema.allowing(leaf.full, depth)
        for place in places:
            at: Element | None = thing
            if place.up:
                for _ in range(place.up):
                    at = None if at is None else at.getparent()
            if at is not None and place.tags:
                at = container(at, place.tags)
            if at is None:
                continue
            value = at.get(place.name)
            if value is None:
                continue  # nothing is forbidden by what nobody knows
            forbidding = place.forbidding(value)
            if not forbidding:
                continue
            if self.tree.root.get("type") not in QEMU:
                forbidding = tuple(part for part in forbidding if not part.probed)
            part = next((part for part in forbidding if forbids(part, value, at)), None)
            if part is None:
                continue
            slot = place.slot
            owners = self.tree.owners(at, slot)
            if any(owner.origin == writer.origin for owner in owners):
                continue  # its own doing, which lint tells
            if not writer.is_default or writer.hard:
                name = "/".join((*place.path.split("/")[-1:], slot))
                tags = leaf.tags[:-1] if leaf.slot == PRESENCE and leaf.node.many else leaf.tags
                at, missing = self.reach(thing, tags)
                rest = "/".join((*leaf.tags[len(tags) - missing :], leaf.slot)).rstrip("/")
                note = f"{name} is '{value}', which excludes it"
                if part.unless and part.unless[:2] != "..":
                    tag, _, condition = part.unless.partition("[")
                    slot, _, words = condition[:-1].partition("=")
                    note += f" without {tag}/{slot} '{words}'"
                self.lose(at, rest, leaf.value, None, writer, owners, note)
                self.losses[-1].final = True
            return True
        return False

    def _drop_value(self, element: Element, slot: str, writer: Writer) -> None:
        if slot == PRESENCE:
            owners = self.tree.subtree_owners(element)
            if any(owner.hard for owner in owners):
                self.lose(element, "", None, element.text, writer, owners)
            else:
                parent = element.getparent()
                assert parent is not None
                self.displace(parent, element.tag, element.text, owners, writer)
                self.tree.remove(element, [writer])
            return
        owners = self.tree.owners(element, slot)
        value = element.get(slot[1:])
        if any(owner.hard for owner in owners):
            self.lose(element, slot, None, value, writer, owners)
        else:
            self.tree.unset(element, slot, writer)
            self.displace(element, slot, value, owners, writer)

    def _drop(self, element: Element, before: Node, after: Node, writer: Writer, keep: str) -> None:
        for name in attributes(element):
            slot = "@" + name
            if slot != keep and name in before.attrs and name not in after.attrs:
                self._drop_value(element, slot, writer)
        for below in list(element.iterchildren("*")):
            old, new = before.child(below.tag), after.child(below.tag)
            if old is None:
                continue
            if new is None:
                owners = self.tree.subtree_owners(below)
                if any(owner.hard for owner in owners):
                    self.lose(below, "", None, below.text, writer, owners)
                    continue
                self.tree.remove(below, [writer])
            elif len(below) or below.attrib:
                self._drop(below, old, new, writer, "")
                self.thinned.append(below)


def with_unit(leaf: Leaf) -> str | None:
    """What was wanted, a size with its unit."""
    unit = leaf.unit[0] if leaf.unit is not None else None
    return f"{leaf.value} {unit}" if unit else leaf.value


def has_unit(element: Element, leaf: Leaf, value: str | None) -> str | None:
    unit = element.get(leaf.unit[1][1:]) if leaf.unit is not None else None
    return f"{value} {unit}" if unit and value is not None else value


class Lost:
    """Discriminators that a branch lost: what depends on them is lost with them."""

    __slots__ = ("paths",)

    def __init__(self) -> None:
        #: of what is lost, relative to the thing
        self.paths: set[str] = set()

    def note(self, leaf: Leaf, has: str | None) -> None:
        """:param has: the value that stays"""
        parts = [part.path for part in leaf.node.variants.get(leaf.slot, ()) if part.forbids(has)]
        parts += leaf.node.dependents.get(leaf.slot, ())
        self.paths.update(path for path in (_below(leaf.tags, what) for what in parts) if path)

    def covers(self, path: str) -> bool:
        """Does something at this path (relative to the thing) depend on what was lost?"""
        if path in self.paths:
            return True
        return any(path.startswith(lost + "/") for lost in self.paths)

    def covers_in(self, group: Group) -> bool:
        """Does something in things that a group speaks of depend on what was lost?"""
        if self.covers(group.path):
            return True
        leaves = (leaf for want in group.wants for leaf in want.leaves)
        return any(self.covers(f"{group.path}/{leaf.path}") for leaf in leaves if leaf.path)


def _below(tags: Sequence[str], what: str) -> str:
    """A path relative to an element, relative to the thing `tags` above it; "" outside of the thing."""
    steps = list(tags)
    for step in what.split("/"):
        if step != "..":
            steps.append(step)
        elif steps:
            steps.pop()
        else:
            return ""
    return "/".join(steps)


def is_foreign(node: Node) -> bool:
    return isinstance(node, ForeignNode)
