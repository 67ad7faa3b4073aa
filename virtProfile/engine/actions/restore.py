# SPDX-License-Identifier: GPL-2.0-or-later
"""Making things where an earlier run had made them: the same element comes back.

Where somebody wants what was taken back, the buried element stands again with all that
libvirt or a person put into it since. What somebody took out by hand stays out, as far
as the definition's priority goes.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from virtProfile.engine.actions.arbiter import Arbiter
from virtProfile.engine.actions.match import State, judge, key_equal
from virtProfile.engine.record.model import Written
from virtProfile.engine.tree.gone import Grave
from virtProfile.engine.tree.ownership import THE_DEFINITION, Writer
from virtProfile.format.element import (
    PRESENCE,
    TEXT,
    Element,
    _nsmap,
    child,
    child_node,
    place,
    read_part,
    text_of,
)
from virtProfile.format.facts import rows
from virtProfile.format.schema import DATA
from virtProfile.format.values import same_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtProfile.format.schema import Node
    from virtProfile.language.profile import Snippet
    from virtProfile.language.wishes import Leaf, Stage, Want

BY_HAND = "it was taken out of the VM definition by hand"


class Restorer:
    """Makes things, those of an earlier run first."""

    def __init__(self, arbiter: Arbiter) -> None:
        self.arbiter = arbiter
        self.tree = arbiter.tree
        #: things missed that a wish of this rendering spoke of already
        self._spoken: set[int] = set()

    # --- what somebody took out ----------------------------------------------

    def excluded(self, thing: Element, leaf: Leaf, writer: Writer) -> bool:
        """Is the fill kept out, by who took it out by hand or by a fact that excludes it?"""
        tree = self.tree
        if tree.barred or tree.missed:
            element, missing = self.arbiter.reach(thing, leaf.tags)
            rest = self._out(element, leaf, missing)
            if rest is not None and self._is_dropped(element, leaf, missing):
                self.arbiter.effective.add(writer)
                return True
            if rest is not None and writer.is_default:
                return True  # it asks only for what the definition leaves open, at any priority
            if rest is not None and not self.arbiter.beats(writer, [THE_DEFINITION]):
                self.arbiter.lose(element, rest, leaf.value, None, writer, [THE_DEFINITION], BY_HAND)
                return True
        return self.arbiter.excluded(thing, leaf, writer)

    @staticmethod
    def _is_dropped(element: Element, leaf: Leaf, missing: int) -> bool:
        """Did libvirt take it out at define?"""
        from virtProfile.engine.record.dropped import is_dropped

        if not missing:
            return is_dropped(element, leaf.node, leaf.slot)
        way = leaf.way[len(leaf.way) - missing :]
        attrs = {leaf.name: leaf.value or ""} if leaf.slot[:1] == "@" else {}
        wanted = Written(way[-1].tag, attrs, leaf.value if leaf.slot == TEXT else None)
        for stage in reversed(way[:-1]):
            wanted = Written(stage.tag, {}, None, [wanted])
        return is_dropped(element, way[0].node, PRESENCE, wanted)

    def _out(self, element: Element, leaf: Leaf, missing: int) -> str | None:
        """The way from an element to what somebody took out of the way to a value, or the value."""
        at, walked = element, []
        for tag in leaf.tags[len(leaf.tags) - missing :]:
            walked.append(tag)
            below = child(at, tag)
            if below is None:
                below = self.tree.graves.first(at, tag)
            if below is None:
                return "/".join(walked) if self.tree.missed.get((at, tag)) else None
            at = below
        if (at, leaf.slot) not in self.tree.barred:
            return None
        return "/".join((*walked, leaf.slot) if leaf.slot else walked)

    def way_is_out(self, thing: Element, way: Sequence[Stage], wanted: str, writer: Writer) -> bool:
        """Did somebody take out an element on the way to a thing?"""
        for stage in way:
            below = child(thing, stage.tag)
            if below is None:
                out = bool(self.tree.missed.get((thing, stage.tag)))
                if out and not self.arbiter.beats(writer, [THE_DEFINITION]):
                    self.arbiter.lose(thing, stage.tag, wanted, None, writer, [THE_DEFINITION], BY_HAND)
                    return True
                return False
            thing = below
        return False

    def _is_out(self, parent: Element, want: Want, writer: Writer) -> bool:
        """Did somebody take out that very thing?"""
        from virtProfile.engine.record.dropped import is_dropped

        assert want.snippet is not None
        wanted = written_of(want.snippet)
        for located, written in self.tree.missed.get((parent, want.tag), ()):
            if id(written) in self._spoken:
                continue
            same = written.same(wanted) or located.profile.name == writer.origin.profile
            if not same or _differ(want.node, written, wanted):
                continue
            self._spoken.add(id(written))
            if is_dropped(parent, want.node, PRESENCE, wanted):
                self.tree.absent_parts.setdefault(parent, []).append(wanted)
                self.arbiter.effective.add(writer)
                return True
            if self.arbiter.beats(writer, [THE_DEFINITION]):
                return False
            self.arbiter.lose(parent, want.tag, wanted.in_words(), None, writer, [THE_DEFINITION], BY_HAND)
            return True
        return False

    # --- things ---------------------------------------------------------------

    def create(self, parent: Element, node: Node | None, want: Want, writer: Writer) -> Element | None:
        """Make a thing as the snippet spells it: the buried one, or a new one."""
        tree = self.tree
        assert want.snippet is not None
        if tree.missed and self._is_out(parent, want, writer):
            return None
        element = self._buried(parent, want, writer) if tree.graves else None
        if element is not None:
            self.bring_back(element, want.node, want.snippet, writer)
        else:
            element = self.arbiter.build(parent, want.snippet, writer)
            tree.insert(parent, _after(parent, node, want, element), element, writer)
            tree.lines[element] = want.line
        self.arbiter.effective.add(writer)
        return element

    def make_chain(self, parent: Element, leaf: Leaf, missing: int, writer: Writer) -> Element:
        """Make the missing *one*-elements on the way to a leaf."""
        way = leaf.way[len(leaf.way) - missing :]
        return self.chain(self._make_stage(parent, way[0], writer), way[1:], writer)

    def chain(self, parent: Element, way: Sequence[Stage], writer: Writer) -> Element:
        """Walk down from `parent`, making what is missing, buried elements first."""
        for stage in way:
            found = child(parent, stage.tag)
            parent = self._make_stage(parent, stage, writer) if found is None else found
        return parent

    def _make_stage(self, parent: Element, stage: Stage, writer: Writer) -> Element:
        """Make an element on the way that is not there."""
        found = self._buried_stage(parent, stage, writer) if self.tree.graves else None
        if found is None:
            found = parent.makeelement(stage.tag, nsmap=_nsmap(stage.tag, stage.prefix, parent))
            self.tree.insert(parent, place(parent, stage.node.parent, stage.tag), found, writer)
        return found

    def _buried_stage(self, parent: Element, stage: Stage, writer: Writer) -> Element | None:
        element = self.tree.graves.first(parent, stage.tag)
        if element is not None:
            self._empty(element, stage.node, self.tree.revive(element, writer))
        return element

    def _buried(self, parent: Element, want: Want, writer: Writer) -> Element | None:
        """The buried element that is what is wanted: by key, by what it says, by whose it was."""
        best: tuple[Any, Element] | None = None
        assert want.snippet is not None
        wanted = written_of(want.snippet)
        for number, element in enumerate(self.tree.graves.below(parent, want.tag)):
            grave = self.tree.graves[element]
            own = grave.writers[0].origin.profile == writer.origin.profile
            if key_equal(element, want):
                rank: Any = (0, not own, number)
            else:
                state = judge(element, want)
                if own and grave.written is not None and grave.written.same(wanted):
                    state = State.HOLDS  # by what was written: libvirt may have numbered it anew
                if state is State.CONTRADICTS or (state is State.DIFFERS and not own):
                    continue
                rank = (1 + state, not own, number)
            if best is None or rank < best[0]:
                best = (rank, element)
                if own and (rank[0] == 0 or rank[0] == 1 and not want.node.key):
                    break  # none is better
        return None if best is None else best[1]

    def bring_back(self, element: Element, node: Node, snippet: Snippet, writer: Writer) -> None:
        """The buried element stands again, and says what the snippet says."""
        self._refill(element, node, snippet, writer, self.tree.revive(element, writer))

    # --- values ---------------------------------------------------------------

    def _refill(
        self,
        element: Element,
        node: Node,
        snippet: Snippet,
        writer: Writer,
        grave: Grave,
        part: Written | None = None,
        at: str = "",
    ) -> None:
        """Write what is wanted now into an element, in the place of what was written then.

        :param part: that, where it is only a part of what the grave knows
        :param at: its place in that, as ``source/``
        """
        from virtProfile.engine.record.dropped import is_dropped
        from virtProfile.engine.record.locate import held, pairs, slots

        tree = self.tree
        for name, value in snippet.intents:
            self.arbiter.intend(element, name, value, snippet.line, writer)
        written = part or grave.written or Written(snippet.tag, {}, None)
        wanted = {"@" + name: value for name, value in snippet.attrs}
        if snippet.text is not None:
            wanted[TEXT] = snippet.text
        units = {unit: number for number, (unit, _) in node.unit.items() if number in wanted}
        # Judged before anything is written: what libvirt dropped, it dropped beside what stands.
        gone = {
            slot
            for slot, value in wanted.items()
            if not _has(element, slot) and _is_left_out(element, node, slot, value, written)
        }
        below = [
            (*row, row[0] is None and is_dropped(element, row[1], PRESENCE, row[2]))
            for row in pairs(element, node, written, self.tree.effort)
        ]
        for slot, value in wanted.items():
            if slot in gone:
                tree.rewritten[element, slot] = value
            elif slot not in units:
                hidden = at + slot in grave.hidden
                self._refill_slot(element, node, slot, value, wanted, written, writer, hidden)
        for slot, _ in slots(written):
            if slot not in wanted and slot not in units and held(element, node, slot, written):
                if (text_of(element) if slot == TEXT else element.get(slot[1:])) is not None:
                    tree.unset(element, slot, grave.writers[0])
        self._refill_children(element, node, below, snippet, writer, grave, at)

    def _refill_slot(
        self,
        element: Element,
        node: Node,
        slot: str,
        value: str,
        wanted: dict[str, str],
        written: Written,
        writer: Writer,
        hidden: bool,
    ) -> None:
        """:param hidden: a secret was written there, of which no value is kept"""
        from virtProfile.engine.record.locate import held

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
                if not self.arbiter.beats(writer, [THE_DEFINITION]):
                    self.arbiter.lose(element, slot, value, None, writer, [THE_DEFINITION], BY_HAND)
                    tree.rewritten[element, slot] = value
                    return
        elif was is not None and held(element, node, slot, written) or hidden:
            if same:
                tree.own_slot(element, slot, writer)
                if unit is not None and element.get(unit[0][1:]) is not None:
                    tree.own_slot(element, unit[0], writer)
                return
        elif same:
            tree.claim_beside(element, slot, writer)
            return
        elif not self.arbiter.beats(writer, [THE_DEFINITION]):
            self.arbiter.lose(element, slot, value, has, writer, [THE_DEFINITION])
            return
        tree.set(element, slot, value, writer)
        if unit is not None:
            if unit[0] in wanted:
                tree.set(element, unit[0], wanted[unit[0]], writer)
            elif element.get(unit[0][1:]) is not None:
                tree.unset(element, unit[0], writer)

    def _refill_children(
        self,
        element: Element,
        node: Node,
        open_pairs: list[tuple[Element | None, Node, Written, bool]],
        snippet: Snippet,
        writer: Writer,
        grave: Grave,
        at: str,
    ) -> None:
        """The same for what is in it.

        :param open_pairs: (element, its node, what was written, is it dropped?) of each child written then
        """
        tree = self.tree
        for nested in snippet.children:
            inner = child_node(node, nested.tag)
            wanted = written_of(nested)
            like = [
                row for row in open_pairs if row[2].tag == nested.tag and not _differ(inner, row[2], wanted)
            ]
            match = next((row for row in like if row[2].same(wanted)), like[0] if like else None)
            if match is not None:
                open_pairs.remove(match)
                below, inner, part, dropped = match
                if below is None:
                    if dropped:
                        tree.absent_parts.setdefault(element, []).append(wanted)
                        continue
                    if not self.arbiter.beats(writer, [THE_DEFINITION]):
                        self.arbiter.lose(
                            element, nested.tag, wanted.in_words(), None, writer, [THE_DEFINITION], BY_HAND
                        )
                        tree.absent_parts.setdefault(element, []).append(wanted)
                        continue
                else:
                    tree.own_slot(below, PRESENCE, writer)
                    self._refill(below, inner, nested, writer, grave, part, f"{at}{nested.tag}/")
                    continue
            elif inner is not None and not inner.many:
                below = child(element, nested.tag)
                if below is not None:
                    tree.claim(below, PRESENCE, writer)
                    nothing = Written(nested.tag, {}, None)
                    self._refill(below, inner, nested, writer, grave, nothing, f"{at}{nested.tag}/")
                    continue
            buried = tree.graves.first(element, nested.tag)
            if buried is not None and inner is not None:
                self._refill(buried, inner, nested, writer, tree.revive(buried, writer))
                continue
            new = self.arbiter.build(element, nested, writer)
            tree.insert(element, place(element, node, nested.tag), new, writer)
        for below, inner, part, _ in open_pairs:
            if below is not None:
                self._bury(below, inner, part, grave)

    def _bury(self, element: Element, node: Node, part: Written, grave: Grave) -> None:
        """Nobody wants it so far; who does gets it back, knowing what was written then.

        What completion gives a device again it gives as it stands: a name, an address.
        """
        self.tree.remove(element, grave.writers)
        buried = self.tree.graves[element]
        if node.many and node.key_class != "S":
            buried.written = part
        else:
            buried.inside = part

    def _empty(self, element: Element, node: Node, grave: Grave) -> None:
        """Take out of an element that stands again what was written then."""
        from virtProfile.engine.record.locate import held, pairs, slots

        written = grave.written or grave.inside
        if written is None:
            return
        for slot, _ in slots(written):
            value = text_of(element) if slot == TEXT else element.get(slot[1:])
            if value is not None and held(element, node, slot, written):
                self.tree.unset(element, slot, grave.writers[0])
        for below, inner, inside in list(pairs(element, node, written, self.tree.effort)):
            if below is not None:
                self._bury(below, inner, inside, grave)


def _has(element: Element, slot: str) -> bool:
    return (text_of(element) if slot == TEXT else element.get(slot[1:])) is not None


def _is_left_out(element: Element, node: Node, slot: str, value: str, written: Written) -> bool:
    """Did libvirt leave out what was written there, as it has no meaning or is implied?"""
    from virtProfile.engine.record.dropped import is_dropped
    from virtProfile.engine.record.locate import slots

    if slot not in dict(slots(written)):
        return False
    implied = None if node.anything else node.implied.get(slot)
    return implied is not None and _means(node, slot, value, implied) or is_dropped(element, node, slot)


def written_of(snippet: Snippet) -> Written:
    """What a snippet writes."""
    return Written(
        snippet.tag, dict(snippet.attrs), snippet.text, [written_of(inner) for inner in snippet.children]
    )


def _differ(node: Node | None, thing: Written, other: Written) -> bool:
    """Are they two things, by key or by what binds?"""
    from lxml import etree

    from virtProfile.engine.record.locate import contradicts

    if node is None:
        return False

    def make(written: Written) -> Any:
        element = etree.Element(written.tag, written.attrs)
        element.text = written.text
        element.extend(make(below) for below in written.children)
        return element

    return contradicts(make(thing), node, other)


def _means(node: Node, slot: str, value: str, other: str) -> bool:
    if value == other:
        return True
    kind = node.text if slot == TEXT else node.attribute(slot[1:]) if hasattr(node, "attribute") else None
    return kind is not None and bool(kind.same(value, other))


@cache
def _first() -> dict[str, tuple[str, str]]:
    """path -> (part, value of it) of the things that have to be before their like."""
    return {path: (part, value) for path, part, value, _ in rows(f"{DATA}/first.tsv")}


def _after(parent: Element, node: Node | None, want: Want, element: Element) -> Element | None:
    """The sibling behind which a new thing goes."""
    part, value = _first().get(want.node.path, ("", ""))
    like = child(parent, want.tag)
    if not part or like is None or read_part(element, part, want.node) not in (None, value):
        return place(parent, node, want.tag)
    return next(like.itersiblings("*", preceding=True), None)
