# SPDX-License-Identifier: GPL-2.0-or-later
"""Before the rendering: what an earlier run did is taken back, and the definition is left.

By the record, and only as far as it still stands so: a value that somebody changed
or took out since belongs to the definition. Putting an earlier value back asks the
store whether that profile can have displaced it, as a record may be forged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .domainschema import DATA
from .finding import read_part
from .locating import Located, child_node, held, likeness, locate, pairs, slots
from .meeting import place
from .provenance import Origin, Warning, Writer
from .record import Entry, Record, Recorded, Written
from .schemafacts import rows
from .sources import reach as branches_of
from .worktree import TEXT, Element, WorkTree, text_of

if TYPE_CHECKING:
    from .domainschema import Schema

#: What the origins of what is taken back say in the place of an action.
WITHDRAW = "withdraw"

#: May the named profile have changed what stands at that node? (profile, entry, node) -> reason, or ""
Trust = Callable[[Recorded, Entry, Any], str]


class TakenBack:
    """What came of it: `kept` stands as it did, `gone` somebody took out by hand."""

    __slots__ = ("kept", "gone", "warnings")

    def __init__(self) -> None:
        self.kept: list[Located] = []
        self.gone: list[Located] = []
        self.warnings: list[Warning] = []


def withdrawer(one: Recorded) -> Writer:
    """Who answers for what is taken back."""
    return Writer(Origin(one.name, one.version, WITHDRAW, "record", 0), one.priority, False)


def take_back(
    tree: WorkTree, schema: Schema, record: Record, trust: Trust, keep: Callable[[Recorded], bool]
) -> TakenBack:
    """Take the recorded doing of profiles back in the tree, and lay the floor.

    :param trust: why a value before may not be put back, "" where it may
    :param keep: does a profile keep the values whose secrets nobody gives anew?
    """
    outcome = TakenBack()
    found = locate(tree.root, schema, record)
    writers = {one.name: [withdrawer(one)] for one in record.profiles}
    work = _Work(tree, trust, outcome)
    added: list[Located] = []
    for one in found:
        if one.entry.hidden and keep(one.profile):
            outcome.kept.append(one)
        elif one.entry.kind == "on":
            work.values(one, writers[one.profile.name])
        elif one.entry.kind == "add":
            added.append(one)
    # What was added inside of what was added goes first.
    added.sort(key=lambda one: -_depth(one.parent))
    for one in added:
        work.added(one, writers[one.profile.name])
    for one in found:
        if one.entry.kind == "del" and one.parent is not None:
            work.removed(one, writers[one.profile.name])
    tree.lay_floor()
    return outcome


def hidden_values(root: Element, schema: Schema, record: Record) -> list[str]:
    """The values that stand where the record says that a secret was written."""
    if not any(entry.hidden for one in record.profiles for entry in one.entries):
        return []
    found = []
    for one in locate(root, schema, record):
        if one.element is not None:
            for slot in one.entry.hidden:
                value = read_part(one.element, slot.removesuffix("!"), one.node)
                if value:
                    found.append(value)
    return found


def _depth(element: Element | None) -> int:
    return 0 if element is None else sum(1 for _ in element.iterancestors())


class _Work:
    """The taking back of single entries."""

    def __init__(self, tree: WorkTree, trust: Trust, outcome: TakenBack) -> None:
        self.tree = tree
        self.trust = trust
        self.outcome = outcome
        #: what stands for an entry of something removed
        self._accounted: set[Element] = set()

    def doubt(self, one: Located, what: str, reason: str) -> None:
        name = f"'{one.profile.name}' {one.profile.version}"
        place = f"{one.entry.at}/{one.entry.written.tag}" if one.entry.kind != "on" else one.entry.at
        self.outcome.warnings.append(
            Warning("record", f"{what} of profile {name} at {place} is not put back: {reason}")
        )

    # --- values on elements of the definition --------------------------------

    def values(self, one: Located, writers: list[Writer]) -> None:
        entry, element, node = one.entry, one.element, one.node
        if element is None:
            return
        before = {} if entry.was is None else dict(slots(entry.was))
        now = dict(slots(entry.written))
        reason: str | None = None
        gone = False
        steps: list[tuple[str, str | None]] = []
        for slot in dict.fromkeys([*now, *before]):
            has = text_of(element) if slot == TEXT else element.get(slot[1:])
            if slot in now:
                same = held(element, node, slot, entry.written)
                if has is None:
                    if not same:
                        self.tree.barred[element, slot] = one
                        gone = True
                    continue
                if entry.gone or not same:
                    continue  # somebody gave it another value since
            elif has is not None:
                continue
            if slot in before:
                if not _may_stand(node, slot):
                    self.doubt(one, f"the value before of '{slot}'", "no such value can stand there")
                    continue
                if reason is None:
                    reason = self.trust(one.profile, entry, node)
                    if reason:
                        self.doubt(one, f"the value before of '{slot}'", reason)
                if reason:
                    continue
            steps.append((slot, before.get(slot)))
        for slot in entry.hidden:
            name = slot.removesuffix("!")
            if name != slot:
                self.doubt(one, f"the value before of '{name}'", "it is a secret, and was not kept")
            elif element.get(name[1:]) is not None:
                steps.append((name, None))
        for slot, value in steps:
            if value is None:
                self.tree.unset(element, slot, writers[0])
            else:
                self.tree.set(element, slot, value, writers[0])
            self.tree.taken_back.setdefault(element, {})[slot] = writers
        if gone:
            self.outcome.gone.append(one)

    # --- things that were added ----------------------------------------------

    def added(self, one: Located, writers: list[Writer]) -> None:
        if one.element is None:
            if one.parent is not None:
                self.missed(one, one.parent, one.entry.written)
            return
        self.bury(one, one.element, one.node, one.entry.written, writers, one.entry.hidden)

    def missed(self, one: Located, parent: Element, written: Written) -> None:
        """Somebody took it out by hand."""
        self.tree.missed.setdefault((parent, written.tag), []).append((one, written))
        if one not in self.outcome.gone:
            self.outcome.gone.append(one)

    def bury(
        self,
        one: Located,
        element: Element,
        node: Any,
        written: Written,
        writers: list[Writer],
        hidden: tuple[str, ...] = (),
    ) -> None:
        if node.many and node.key_class != "S":
            parts = list(_parts(element, node, written))
            self.tree.bury(element, writers, written, parts, hidden)
            return
        # What can be only one may get its values from several: it is taken apart.
        for slot, _ in slots(written):
            value = text_of(element) if slot == TEXT else element.get(slot[1:])
            if value is not None and held(element, node, slot, written):
                self.tree.unset(element, slot, writers[0])
                self.tree.taken_back.setdefault(element, {})[slot] = writers
            elif value is None and not held(element, node, slot, written):
                self.tree.barred[element, slot] = one
        for slot in hidden:
            if slot[:1] == "@" and element.get(slot[1:]) is not None:
                self.tree.unset(element, slot, writers[0])
        for below, inner, part in pairs(element, node, written):
            if below is None:
                self.tree.missed.setdefault((element, part.tag), []).append((one, part))
            else:
                self.bury(one, below, inner, part, writers)
        self.tree.bury(element, writers, None)

    # --- things that were removed --------------------------------------------

    def removed(self, one: Located, writers: list[Writer]) -> None:
        parent, written = one.parent, one.entry.written
        assert parent is not None
        for there in parent.iterchildren(written.tag):
            same, total = likeness(there, one.node, written)
            if not one.node.many:
                return  # it is there again
            if same == total and one.node.key_class != "X" and there not in self._accounted:
                self._accounted.add(there)  # of several alike each is there once
                return
        reason = self.trust(one.profile, one.entry, one.node)
        if not reason and not _may_be_made(one.node, written):
            reason = "no such thing can stand there"
        if reason:
            self.doubt(one, f"the removed '{written.tag}'", reason)
            return
        new = make(parent, written)
        like = list(parent.iterchildren(written.tag))
        number = one.entry.number
        if like and number <= len(like):
            after = like[number - 1].getprevious()
            while after is not None and not isinstance(after.tag, str):
                after = after.getprevious()
        else:
            after = place(parent, one.node.parent, written.tag)
        self.tree.restore(parent, after, new, writers)
        self._accounted.add(new)


def _parts(element: Element, node: Any, written: Written) -> Iterator[Element]:
    for below, inner, part in pairs(element, node, written):
        if below is not None:
            yield below
            yield from _parts(below, inner, part)


def _may_stand(node: Any, slot: str) -> bool:
    """Could a document have said that? Text among elements breaks it."""
    return slot != TEXT or bool(node.anything) or node.text is not None


def _may_be_made(node: Any, written: Written) -> bool:
    below = ((child_node(node, part.tag), part) for part in written.children)
    return all(_may_stand(node, slot) for slot, _ in slots(written)) and all(
        inner is None or _may_be_made(inner, part) for inner, part in below
    )


def make(parent: Element, written: Written) -> Element:
    """An element as it was written."""
    uri = written.tag[1:].partition("}")[0] if written.tag[0] == "{" else None
    nsmap = None
    if uri is not None:
        prefix = next((one for one, value in parent.nsmap.items() if value == uri and one), "ns")
        nsmap = {prefix: uri}
    new = parent.makeelement(written.tag, written.attrs, nsmap)
    new.text = written.text
    for one in written.children:
        new.append(make(new, one))
    return new


# --- whom to believe ---------------------------------------------------------------


def trust_store(store: Any, schema: Schema) -> Trust:
    """Believes of a profile what the version in the store, by digest, can have changed."""
    reaches: dict[str, Any] = {}

    def reach(one: Recorded) -> Any:
        if one.name not in reaches:
            try:
                profile = store.get(one.name, one.version)
            except (LookupError, ValueError, PermissionError):
                profile = None
            if profile is None or profile.version != one.version:
                reaches[one.name] = f"version {one.version} of it is not in the store"
            elif not one.digest or not profile.digest.startswith(one.digest):
                reaches[one.name] = f"version {one.version} in the store is another one"
            else:
                reaches[one.name] = _Reach(profile, schema)
        return reaches[one.name]

    def trust(one: Recorded, entry: Entry, node: Any) -> str:
        found = reach(one)
        if isinstance(found, str):
            return found
        if found.covers(node):
            return ""
        return "the profile cannot have changed it"

    return trust


class _Reach:
    """What a profile's actions can change, by path."""

    def __init__(self, profile: Any, schema: Schema) -> None:
        self.named: set[str] = set()
        #: things that repeat: what is in them may fall with a variant
        self.things: set[str] = set()
        self.selects = [one.select for one in profile.actions if one.select is not None]
        for action in profile.actions:
            for branch in [made for one in action.branches for made in branches_of(one)]:
                if branch.tag == "domain":
                    self.named.add("")
                    for child in branch.children:
                        self._walk(child, schema.root)
                else:
                    self._walk(branch, schema.root)
        if "os/type" in self.named:  # another machine takes these along, see `addresses`
            self.things.add("devices/controller")
            self.named.add("devices/controller")
            for _, tag, place, *_ in rows(DATA / "machine-models.tsv"):
                self.named.add(f"devices/{tag}/{_element(place)}")
        for one, other, _ in schema.exclusions:
            for here, there in ((one, other), (other, one)):
                if _element(here) in self.named:
                    self.named.add(_element(there))

    def _walk(self, snippet: Any, above: Any) -> None:
        node = child_node(above, snippet.tag)
        if node is None:
            return
        self.named.add(node.path)
        if node.many:
            self.things.add(node.path)
        for one in snippet.children:
            self._walk(one, node)

    def covers(self, node: Any) -> bool:
        path = node.path
        if path in self.named or any(path.startswith(one + "/") for one in self.things):
            return True
        if path.endswith("/address") and path.count("/") == 2 and "os/type" in self.named:
            return True
        return any(node.tag in select for select in self.selects)


def _element(path: str) -> str:
    """The element of a fact's path, without its slot."""
    head, _, last = path.rpartition("/")
    return head if last[:1] == "@" or last == TEXT else path
