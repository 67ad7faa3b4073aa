# SPDX-License-Identifier: GPL-2.0-or-later
"""Making things where an earlier run had made them: the same element comes back.

Between meeting and the actions. Where somebody wants what was taken back, the buried
element stands again with all that libvirt or a person put into it since. What somebody
took out by hand stays out, as far as the definition's priority goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .domainschema import same_size
from .finding import State, judge, key_equal
from .formerdoing import Grave
from .locating import child_node, contradicts, held, pairs, slots
from .meeting import Meeting, place
from .provenance import THE_DEFINITION, Writer
from .record import Written
from .worktree import PRESENCE, TEXT, Element, child, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .profile import Snippet
    from .wants import Leaf, Stage, Want

BY_HAND = "it was taken out of the VM definition by hand"


class Reviving(Meeting):
    """Makes things, those of an earlier run first."""

    def __init__(self, tree: Any, schema: Any) -> None:
        super().__init__(tree, schema)
        #: things missed that a wish of this rendering spoke of already
        self._spoken: set[int] = set()

    # --- what somebody took out ----------------------------------------------

    def excluded(self, thing: Element, leaf: Leaf, writer: Writer) -> bool:
        tree = self.tree
        if tree.barred or tree.missed:
            element, missing = self.reach(thing, leaf.tags)
            if missing:
                tag = leaf.tags[len(leaf.tags) - missing]
                out = bool(tree.missed.get((element, tag)))
                rest = tag
            else:
                out = (element, leaf.slot) in tree.barred
                rest = leaf.slot
            if out and not self.beats(writer, [THE_DEFINITION]):
                if not writer.is_default:
                    self.lose(element, rest, leaf.value, None, writer, [THE_DEFINITION], BY_HAND)
                return True
        return super().excluded(thing, leaf, writer)

    def way_is_out(self, thing: Element, way: Sequence[Stage], wanted: str, writer: Writer) -> bool:
        """Did somebody take out an element on the way to a thing?"""
        for stage in way:
            below = child(thing, stage.tag)
            if below is None:
                out = bool(self.tree.missed.get((thing, stage.tag)))
                if out and not self.beats(writer, [THE_DEFINITION]):
                    self.lose(thing, stage.tag, wanted, None, writer, [THE_DEFINITION], BY_HAND)
                    return True
                return False
            thing = below
        return False

    def _is_out(self, parent: Element, want: Want, writer: Writer) -> bool:
        """Did somebody take out that very thing?"""
        assert want.snippet is not None
        mine = written_of(want.snippet)
        for one, written in self.tree.missed.get((parent, want.tag), ()):
            if id(written) in self._spoken:
                continue
            same = written.same(mine) or one.profile.name == writer.origin.profile
            if not same or _differ(want.node, written, mine):
                continue
            self._spoken.add(id(written))
            if self.beats(writer, [THE_DEFINITION]):
                return False
            self.lose(parent, want.tag, _told(mine), None, writer, [THE_DEFINITION], BY_HAND)
            return True
        return False

    # --- things ---------------------------------------------------------------

    def create(self, parent: Element, node: Any, want: Want, writer: Writer) -> Element | None:
        tree = self.tree
        if tree.missed and self._is_out(parent, want, writer):
            return None
        if tree.graves:
            element = self._buried(parent, want, writer)
            if element is not None:
                assert want.snippet is not None
                grave = tree.revive(element, writer)
                self._refill(element, want.node, want.snippet, writer, grave)
                self.effective.add(writer)
                return element
        return super().create(parent, node, want, writer)

    def chain(self, parent: Element, way: Sequence[Stage], writer: Writer) -> Element:
        tree = self.tree
        if tree.graves:
            for number, stage in enumerate(way):
                found = child(parent, stage.tag)
                if found is None:
                    found = next(
                        (
                            one
                            for one, grave in tree.graves.items()
                            if grave.parent is parent and one.tag == stage.tag
                        ),
                        None,
                    )
                    if found is None:
                        return super().chain(parent, way[number:], writer)
                    self._empty(found, stage.node, tree.revive(found, writer))
                parent = found
            return parent
        return super().chain(parent, way, writer)

    def _buried(self, parent: Element, want: Want, writer: Writer) -> Element | None:
        """The buried element that is what is wanted: by key, by what it says, by whose it was."""
        best: tuple[Any, Element] | None = None
        for number, (element, grave) in enumerate(self.tree.graves.items()):
            if grave.parent is not parent or element.tag != want.tag:
                continue
            own = grave.writers[0].origin.profile == writer.origin.profile
            if key_equal(element, want):
                rank: Any = (0, not own, number)
            else:
                state = judge(element, want)
                if state is State.CONTRADICTS or (state is State.DIFFERS and not own):
                    continue
                rank = (1 + state, not own, number)
            if best is None or rank < best[0]:
                best = (rank, element)
        return None if best is None else best[1]

    def bring_back(self, element: Element, node: Any, snippet: Snippet, writer: Writer) -> None:
        """The buried element stands again, and says what the snippet says."""
        self._refill(element, node, snippet, writer, self.tree.revive(element, writer))

    # --- values ---------------------------------------------------------------

    def _refill(
        self,
        element: Element,
        node: Any,
        snippet: Snippet,
        writer: Writer,
        grave: Grave,
        part: Written | None = None,
    ) -> None:
        """Write what is wanted now into an element, in the place of what was written then.

        :param part: that, where it is only a part of what the grave knows
        """
        tree = self.tree
        for name, value in snippet.intents:
            self.intend(element, name, value, snippet.line, writer)
        written = part or grave.written or Written(snippet.tag, {}, None)
        wanted = {"@" + name: value for name, value in snippet.attrs}
        if snippet.text is not None:
            wanted[TEXT] = snippet.text
        units = {unit: number for number, (unit, _) in node.unit.items() if number in wanted}
        for slot, value in wanted.items():
            if slot not in units:
                self._refill_slot(element, node, slot, value, wanted, written, writer, grave)
        for slot, _ in slots(written):
            if slot not in wanted and slot not in units and held(element, node, slot, written):
                if (text_of(element) if slot == TEXT else element.get(slot[1:])) is not None:
                    tree.unset(element, slot, grave.writers[0])
        self._refill_children(element, node, written, snippet, writer, grave)

    def _refill_slot(
        self,
        element: Element,
        node: Any,
        slot: str,
        value: str,
        wanted: dict[str, str],
        written: Written,
        writer: Writer,
        grave: Grave,
    ) -> None:
        tree = self.tree
        has = text_of(element) if slot == TEXT else element.get(slot[1:])
        was = written.text if slot == TEXT else written.attrs.get(slot[1:])
        unit = node.unit.get(slot)
        if unit is not None and has is not None:
            same = same_size(value, wanted.get(unit[0]), has, element.get(unit[0][1:]), unit[1])
        else:
            same = has is not None and _means(node, slot, value, has)
        if has is None:
            if was is not None and not held(element, node, slot, written):
                if not self.beats(writer, [THE_DEFINITION]):
                    self.lose(element, slot, value, None, writer, [THE_DEFINITION], BY_HAND)
                    tree.rewritten[element, slot] = value
                    return
        elif was is not None and held(element, node, slot, written) or slot in grave.hidden:
            if same:
                tree.own_slot(element, slot, writer)
                if unit is not None and element.get(unit[0][1:]) is not None:
                    tree.own_slot(element, unit[0], writer)
                return
        elif same:
            tree.claim_beside(element, slot, writer)
            return
        elif not self.beats(writer, [THE_DEFINITION]):
            self.lose(element, slot, value, has, writer, [THE_DEFINITION])
            return
        tree.set(element, slot, value, writer)
        if unit is not None:
            if unit[0] in wanted:
                tree.set(element, unit[0], wanted[unit[0]], writer)
            elif element.get(unit[0][1:]) is not None:
                tree.unset(element, unit[0], writer)

    def _refill_children(
        self, element: Element, node: Any, written: Written, snippet: Snippet, writer: Writer, grave: Grave
    ) -> None:
        tree = self.tree
        open_pairs = list(pairs(element, node, written))
        for one in snippet.children:
            inner = child_node(node, one.tag)
            mine = written_of(one)
            like = [row for row in open_pairs if row[2].tag == one.tag and not _differ(inner, row[2], mine)]
            match = next((row for row in like if row[2].same(mine)), like[0] if like else None)
            if match is not None:
                open_pairs.remove(match)
                below, _, part = match
                if below is None:
                    if not self.beats(writer, [THE_DEFINITION]):
                        self.lose(element, one.tag, _told(mine), None, writer, [THE_DEFINITION], BY_HAND)
                        tree.rewritten[element, one.tag + "/"] = ""
                        continue
                else:
                    tree.own_slot(below, PRESENCE, writer)
                    self._refill(below, inner, one, writer, grave, part)
                    continue
            elif inner is not None and not inner.many:
                below = child(element, one.tag)
                if below is not None:
                    tree.claim(below, PRESENCE, writer)
                    self._refill(below, inner, one, writer, grave, Written(one.tag, {}, None))
                    continue
            buried = next(
                (b for b, g in tree.graves.items() if g.parent is element and b.tag == one.tag), None
            )
            if buried is not None:
                self._refill(buried, inner, one, writer, tree.revive(buried, writer))
                continue
            new = self.build(element, one, writer)
            tree.insert(element, place(element, node, one.tag), new, writer)
        for below, inner, part in open_pairs:
            if below is not None:
                self._bury(below, inner, part, grave)

    def _bury(self, element: Element, node: Any, part: Written, grave: Grave) -> None:
        """Nobody wants it so far; who does gets it back, knowing what was written then.

        What completion gives a device again it gives as it stands: a name, an address.
        """
        self.tree.remove(element, grave.writers)
        buried = self.tree.graves[element]
        if node.many and node.key_class != "S":
            buried.written = part
        else:
            buried.inside = part

    def _empty(self, element: Element, node: Any, grave: Grave) -> None:
        """Take out of an element that stands again what was written then."""
        written = grave.written or grave.inside
        if written is None:
            return
        for slot, _ in slots(written):
            value = text_of(element) if slot == TEXT else element.get(slot[1:])
            if value is not None and held(element, node, slot, written):
                self.tree.unset(element, slot, grave.writers[0])
        for below, inner, inside in list(pairs(element, node, written)):
            if below is not None:
                self._bury(below, inner, inside, grave)


def written_of(snippet: Snippet) -> Written:
    """What a snippet writes."""
    return Written(
        snippet.tag, dict(snippet.attrs), snippet.text, [written_of(one) for one in snippet.children]
    )


def _differ(node: Any, one: Written, other: Written) -> bool:
    """Are they two things, by key or by what binds?"""
    from lxml import etree

    if node is None:
        return False

    def make(written: Written) -> Any:
        element = etree.Element(written.tag, written.attrs)
        element.text = written.text
        element.extend(make(below) for below in written.children)
        return element

    return contradicts(make(one), node, other)


def _means(node: Any, slot: str, one: str, other: str) -> bool:
    if one == other:
        return True
    kind = node.text if slot == TEXT else node.attribute(slot[1:]) if hasattr(node, "attribute") else None
    return kind is not None and bool(kind.same(one, other))


def _told(written: Written) -> str:
    words = [f"{name}='{value}'" for name, value in written.attrs.items()]
    return " ".join(words) or written.text or written.tag
