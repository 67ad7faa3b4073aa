# SPDX-License-Identifier: GPL-2.0-or-later
"""Learns a profile from two definitions: what to do to one so that it becomes the other.

Beside the flow: `likeness` tells the differences, each place is worded in the
simplest way that there is, and the engine is the judge: what it does not make of
the first definition is worded in a plainer, longer way, or told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lxml import etree

from virtProfile.authoring.compare import (
    Gap,
    children,
    gaps,
    is_hull,
    is_ours,
    pairs,
    same_slot,
    slots,
)
from virtProfile.authoring.lint import lint_text
from virtProfile.authoring.snippet_writer import Snippet, add, copy, joined, profile, put, remove
from virtProfile.authoring.wording import Wordings
from virtProfile.engine.flow import apply
from virtProfile.errors import InvalidDomainError, ProfileError, UsageError
from virtProfile.format.document import parse
from virtProfile.format.element import TEXT, Element, child, child_node, parent_of, read
from virtProfile.format.paths import Paths
from virtProfile.format.secret_slots import secret_places
from virtProfile.frozen import record
from virtProfile.host.context import Context
from virtProfile.language.parser import parse_profiles
from virtProfile.language.store import OverlayStore

if TYPE_CHECKING:
    from virtProfile.format.schema import Node, Schema

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
#: What makes a VM the one that it is: never the same on another.
_IDENTITY = ("name", "uuid", "genid", "hwuuid", "@id")
PRIORITY = 100


@record
class Left:
    """What the profile does not make: the path, and why."""

    path: str
    reason: str


@record
class Learned:
    """A profile that turns one definition into the other, as far as `left` is empty.

    `text` is "" where there is nothing to learn.
    """

    text: str
    left: tuple[Left, ...]


def learn(
    before: str,
    after: str,
    name: str,
    *,
    context: Context | None = None,
    files: tuple[str, str] = ("BEFORE", "AFTER"),
) -> Learned:
    """A small profile that turns `before` into `after` at priority 100.

    :param files: stand in messages for the two documents
    :raises UsageError: `name` is not a valid profile name
    :raises ProfileError: one of the two is no domain, or is not valid
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"invalid profile name '{name}'",
            hint="use letters, digits and ._+-, starting with a letter or digit, at most 64 characters",
        )
    return _Learner((before, after), name, context or Context(), files).run()


class _Place:
    """One place that differs, with ever plainer wordings of what to do there."""

    def __init__(self, tags: str, path: str, wordings: Sequence[list[Element]]) -> None:
        self.tags = tags
        self.path = path
        self.wordings = [wording for wording in wordings if wording]
        self.level = 0
        self.reason = ""
        self.refused: dict[int, str] = {}
        self.settled = False

    @property
    def actions(self) -> list[Element]:
        return [] if self.reason or not self.wordings else self.wordings[self.level]

    def plainer(self, refusal: str = "") -> bool:
        """Go to the next wording; after the last one back to the first that was not refused.

        :param refusal: why the engine or lint refuses this wording; "": it makes something else
        :return: is there another wording now?
        """
        if refusal:
            self.refused[self.level] = refusal
        if self.settled:
            self.reason = self.reason or refusal
            return bool(refusal)
        if self.level + 1 < len(self.wordings):
            self.level += 1
            return True
        self.settled = True
        good = [level for level in range(len(self.wordings)) if level not in self.refused]
        if not good:
            self.reason = self.refused[0]
            return True
        changed, self.level = self.level != good[0], good[0]
        return changed


def _read(text: str, name: str, schema: Schema) -> Element:
    root = parse(text, name=name).root
    if root.tag != "domain":
        raise InvalidDomainError(f"{name}: the root element is <{root.tag}>, not <domain>")
    for entry in root.findall("metadata/*"):
        if is_ours(entry.tag):
            parent_of(entry).remove(entry)
    metadata = child(root, "metadata")
    if metadata is not None and not len(metadata):
        root.remove(metadata)
    problems = schema.validate(root)
    if problems:
        raise InvalidDomainError(f"{name}: not valid: {problems[0]}")
    return root


class _Learner(Wordings):
    def __init__(self, texts: tuple[str, str], name: str, context: Context, files: tuple[str, str]) -> None:
        self.context = context
        self.name = name
        self.schema: Schema = context.domain_schema
        self.before = _read(texts[0], files[0], self.schema)
        self.after = _read(texts[1], files[1], self.schema)
        self.left: list[Left] = []
        self.hush()
        self.text = etree.tostring(self.before, encoding="unicode")
        super().__init__(Paths(self.before, self.schema))
        self.new = Paths(self.after, self.schema)
        self.places: list[_Place] = []

    def run(self) -> Learned:
        self.domain()
        result = None
        for _ in range(4 * len(self.places) + 2):
            result = self.judge()
            if result is not None and not self.reword(result):
                break
        actions = [action for place in self.places for action in place.actions]
        result, refusal = self.tried(actions)  # what is printed is what was tried last
        for place in self.places:
            if place.reason or result is None:
                self.left.append(Left(place.path, place.reason or refusal))
        if result is None:
            return Learned("", tuple(dict.fromkeys(self.left)))
        self.left += self.missing(result)
        return Learned(self.written(actions) if actions else "", tuple(dict.fromkeys(self.left)))

    def hush(self) -> None:
        """Leave secrets out of both sides: a profile is a file that many read."""
        has = sorted(_take_secrets(self.before))
        secrets = _take_secrets(self.after)
        if has != sorted(secrets):
            for path in sorted({path for path, value in secrets if (path, value) not in has} or {has[0][0]}):
                self.left.append(Left(path, "is a secret, which no learned profile holds"))

    # --- the engine as the judge -----------------------------------------------

    def written(self, actions: Sequence[Element]) -> str:
        return profile(self.name, joined(actions, self.places_of_selects))

    def tried(self, actions: Sequence[Element]) -> tuple[Element | None, str]:
        """(what the actions make of the first definition, why they cannot)."""
        if not actions:
            return self.before, ""
        text = self.written(actions)
        for problem in lint_text(text, f"{self.name}.xml", self.schema):
            return None, problem.message
        try:
            profile = parse_profiles(text, f"{self.name}.xml").profiles[0]
            wish = {"name": self.name, "priority": PRIORITY}
            done = apply(self.text, [wish], store=OverlayStore([profile]), context=self.context, record=False)
        except ProfileError as problem:
            return None, str(problem.message)
        return parse(done.xml).root, ""

    def judge(self) -> Element | None:
        """What all places together make; None where one of them had to be reworded first."""
        result, reason = self.tried([action for place in self.places for action in place.actions])
        if result is not None:
            return result
        guilty = []
        for place in self.places:
            if place.actions:
                alone, why = self.tried(place.actions)
                if alone is None:
                    guilty.append((place, why))
        for place, why in guilty or [(rest, reason) for rest in self.places if rest.actions][-1:]:
            place.plainer(why)
        return None

    def reword(self, result: Element) -> bool:
        """Word plainer what did not become as wanted; False where nothing can be."""
        changed = False
        for gap in gaps(result, self.after, self.schema.root):
            for place in self.places:
                if not place.reason and not place.settled and _touches(place.tags, gap.tags):
                    changed = place.plainer() or changed
        return changed

    def missing(self, result: Element) -> Iterator[Left]:
        """What differs in the end, where no reason was told yet."""
        reports = [difference.path for difference in self.left]
        made = Paths(result, self.schema)
        for gap in gaps(result, self.after, self.schema.root):
            here, paths = (gap.after, self.new) if gap.after is not None else (gap.before, made)
            assert here is not None  # a gap is of an element that one side has
            path = paths.of(here, gap.slot if gap.slot != "order" else "")
            if any(
                path == reported or path.startswith((reported + "/", reported + "[")) for reported in reports
            ):
                continue
            yield Left(path, _why(gap))

    # --- what differs, place by place ------------------------------------------

    def domain(self) -> None:
        """A place for the domain's attributes, each single element, each element of a list."""
        root = self.schema.root
        sets, removes = Snippet("domain").root, []
        for slot in slots(self.before, self.after):
            if same_slot(self.before, self.after, slot, root):
                continue
            if slot in _IDENTITY:
                self.left.append(Left(f"/domain/{slot}", "is this VM's own"))
            elif read(self.after, slot, root)[0] is None:
                removes.append(remove(slot))
            else:
                put(sets, slot, read(self.after, slot, root)[0] or "")
        if len(sets.attrib) or removes:
            self.places.append(
                _Place("", "/domain", [([add(sets, "no")] if len(sets.attrib) else []) + removes])
            )
        self.below(self.before, self.after, root, "")

    def below(self, before: Element, after: Element, node: Node, tags: str) -> None:
        for tag in children(before, after):
            inner = child_node(node, tag)
            if inner is None:
                continue
            there, wanted = list(before.iterchildren(tag)), list(after.iterchildren(tag))
            path = f"{tags}/{tag}" if tags else tag
            if path in _IDENTITY:
                if not _same(there, wanted, inner):
                    self.left.append(Left(f"/domain/{tag}", "is this VM's own"))
            elif path == "metadata":
                self.metadata(before, after, inner)
            elif path == "devices" and there and wanted:
                self.below(there[0], wanted[0], inner, path)
            elif inner.many:
                self.list_of(there, wanted, inner, path)
            elif not _same(there, wanted, inner):
                self.single(there, wanted, inner, path)

    def metadata(self, before: Element, after: Element, node: Node) -> None:
        """Roots that are new can be added; what others wrote is theirs."""
        there, wanted = child(before, "metadata"), child(after, "metadata")
        has = {} if there is None else {child.tag: child for child in there.iterchildren("*")}
        wants = {} if wanted is None else {child.tag: child for child in wanted.iterchildren("*")}
        for tag in {**has, **wants}:
            if tag not in has:
                path = self.new.of(wants[tag])
                self.places.append(
                    _Place(f"metadata/{tag}", path, [[self.wrapped(copy(wants[tag]), ["metadata"])]])
                )
            elif tag not in wants or etree.tostring(has[tag], method="c14n") != etree.tostring(
                wants[tag], method="c14n"
            ):
                self.left.append(
                    Left(self.old.of(has[tag]), "metadata that another program wrote is its own")
                )

    def single(self, there: list[Element], wanted: list[Element], node: Node, path: str) -> None:
        above = path.split("/")[:-1]
        if not wanted:
            self.places.append(_Place(path, self.old.of(there[0]), [[remove(self.select(there[0]))]]))
            return
        if not there:
            whole = self.wrapped(copy(wanted[0]), above, "no")
            self.places.append(_Place(path, self.new.of(wanted[0]), [[whole]]))
            return
        part = self.part(there[0], wanted[0], node)
        if part is None or part[2] or _lists_differ(there[0], wanted[0], node):
            self.own(there[0], wanted[0], node, path)
            self.below(there[0], wanted[0], node, path)
            return
        said, removes, _ = part
        sets = [] if said is None else [self.wrapped(said, above, "no")]
        anew = [self.wrapped(copy(wanted[0]), above, "no")]
        self.places.append(_Place(path, self.new.of(wanted[0]), [sets + removes, sets, anew]))

    def own(self, element: Element, other: Element, node: Node, path: str) -> None:
        """A place for the element's own values alone."""
        said = etree.Element(element.tag)
        removes: list[Element] = []
        self.values(element, other, node, said, removes)
        sets = [self.wrapped(said, path.split("/")[:-1], "no")] if said.attrib or said.text else []
        if sets or removes:
            self.places.append(_Place(path, self.new.of(other), [sets + removes]))

    def list_of(self, there: list[Element], wanted: list[Element], node: Node, path: str) -> None:
        above = path.split("/")[:-1]
        rows = pairs(there, wanted, node)
        if _same(there, wanted, node):
            return
        last = self.again(there, wanted, node, above)
        where = self.old.of(there[0]) if there else self.new.of(wanted[0])
        if node.key_class == "O":
            run = [self.wrapped_all([copy(element) for element in wanted], above)] if wanted else []
            gone = [] if wanted else [remove(self.select(element)) for element in reversed(there)]
            self.places.append(_Place(path, where, [run + gone, last]))
            return
        several: list[_Place] = []
        for element, other in rows:
            if element is None or other is None or next(gaps(element, other, node), None) is not None:
                several.append(self.one_of(element, other, node, path, len(there) == 1))
        if node.key_class in ("E", "N"):
            self.places += several
            return
        # Without keys an order means something, so the list stands or falls as a whole.
        longest = max((len(place.wordings) for place in several), default=0)
        steps = [
            [action for place in several for action in place.wordings[min(level, len(place.wordings) - 1)]]
            for level in range(longest)
        ]
        first = several[0].path if len(several) == 1 else where
        self.places.append(_Place(path, first, [*steps, last]))

    def one_of(
        self, element: Element | None, other: Element | None, node: Node, path: str, alone: bool
    ) -> _Place:
        """The place of one element of a list: it goes, comes, or changes."""
        above = path.split("/")[:-1]
        if other is None:
            assert element is not None
            return _Place(path, self.old.of(element), [[remove(self.select(element))]])
        if element is None:
            found = node.key_class in ("E", "N") and bool(self.identity(other, node))
            wordings = [[self.wrapped(copy(other), above, "yes")]]
            if found:
                wordings.insert(0, [self.wrapped(copy(other), above)])
            return _Place(path, self.new.of(other), wordings)
        wordings = []
        part = self.part(element, other, node)
        if part is not None:
            said, removes, more = part
            if alone or self.identity(element, node) or said is None and not more:
                sets = [] if said is None else [self.wrapped(self.known(said, element, node), above, "no")]
                wordings = [sets + removes + self.extra(more, above, element, node), sets]
            wordings.append([self.wrapped(copy(other), above, "no"), *removes])
        wordings.append([remove(self.select(element)), self.wrapped(copy(other), above, "yes")])
        return _Place(path, self.new.of(other), wordings)

    def again(
        self, there: list[Element], wanted: list[Element], node: Node, above: list[str]
    ) -> list[Element]:
        """Take away the list from its first difference on, and add what is wanted there."""
        same = 0
        while (
            same < min(len(there), len(wanted)) and next(gaps(there[same], wanted[same], node), None) is None
        ):
            same += 1
        gone = [remove(self.select(element)) for element in there[same:]]
        return gone + [self.wrapped(copy(element), above, "yes") for element in wanted[same:]]


def _take_secrets(root: Element) -> list[tuple[str, str]]:
    """(path, value) of secrets, which are taken out."""
    found = []
    for element, slot, value in list(secret_places(root)):
        tags = [element.tag, *(above.tag for above in element.iterancestors())]
        path = "/" + "/".join(reversed([str(tag) for tag in tags]))
        if slot == TEXT:
            found.append((path, value))
            above = parent_of(element)
            above.remove(element)
            if not len(above) and not above.attrib:
                parent_of(above).remove(above)  # libvirt takes no list of cookies without one
        else:
            found.append((f"{path}/{slot}", value))
            del element.attrib[slot[1:]]
    return found


def _same(there: list[Element], wanted: list[Element], node: Node) -> bool:
    """Are both lists equal, in order where no key tells their elements apart?"""
    if not node.many and bool(there) != bool(wanted):
        return is_hull((there or wanted)[0], node)
    rows = pairs(there, wanted, node)
    if any(a is None or b is None or next(gaps(a, b, node), None) is not None for a, b in rows):
        return False
    return node.key_class in ("E", "N") or [a for a, _ in rows] == there


def _lists_differ(element: Element, other: Element, node: Node) -> bool:
    """Does a list right below differ? It has wordings of its own."""
    for tag in children(element, other):
        inner = child_node(node, tag)
        if inner is not None and inner.many:
            if not _same(list(element.iterchildren(tag)), list(other.iterchildren(tag)), inner):
                return True
    return False


def _touches(place: str, tags: str) -> bool:
    return place == tags or tags.startswith(place + "/") or place.startswith(tags + "/")


def _why(gap: Gap) -> str:
    if gap.slot == "order":
        return f"the order of <{gap.tags.rpartition('/')[2]}> elements, which no key tells apart"
    if gap.before is None:
        return "no profile adds this one beside the others"
    if gap.after is None:
        return "stays, or comes with what the profile adds"
    return "a profile makes another value of it"
