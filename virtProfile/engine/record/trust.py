# SPDX-License-Identifier: GPL-2.0-or-later
"""Whom to believe: what of a record may be taken back.

A record is input, perhaps forged. Who can write a VM's metadata through libvirt can write the
VM, so on the command line it counts as what was done; values that reach into the host
(`format.guarded`) count only where the profile's version in the store can have displaced
them, or where the caller confirms. Callers who control metadata only (the service, hooks)
are believed nothing that the store does not confirm.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from lxml import etree

from virtProfile.engine.record.assigned import void_address
from virtProfile.engine.record.locate import resolved_rows
from virtProfile.engine.record.model import Entry, Recorded, Trust, Written, read_place
from virtProfile.errors import ProfileError
from virtProfile.format import machines
from virtProfile.format.element import PRESENCE, TEXT, Element, attributes, child_node, read, text_of
from virtProfile.format.facts import rows
from virtProfile.format.guarded import guarded_value, protecting
from virtProfile.format.schema import DATA, Node
from virtProfile.language.generators import reach as branches_of
from virtProfile.language.instances import base_of
from virtProfile.language.profile import Multiple
from virtProfile.language.store import directories_of

if TYPE_CHECKING:
    from virtProfile.format.schema import Schema
    from virtProfile.language.profile import Snippet
    from virtProfile.language.store import Store


#: The last steps of a ``select=`` that ends with an attribute.
_SELECTED = re.compile(r"(\w+)(?:\[[^\]]*\])?/@(\w+)")


class Judge:
    """Says of each part of a record why it may not be taken back, "" where it may."""

    def __init__(self, store: Store, schema: Schema, trust: Trust = Trust.RECORD) -> None:
        self._store = store
        self._schema = schema
        self._trust = trust
        self._known: dict[str, _Reach | str] = {}
        self._missing = False

    @property
    def hint(self) -> str:
        """What to do about parts that may not be taken back."""
        if self._trust is Trust.STORE:
            hint = "put these versions of the profiles where profiles are found, or use virt-profile --yes"
        else:
            hint = "look at the record in the metadata; --yes takes it back as it stands"
        searched = ", ".join(map(str, directories_of(self._store))) if self._missing else ""
        return f"{hint}; searched: {searched}" if searched else hint

    def left_nothing(self, recorded: Recorded) -> frozenset[int]:
        """The removals of a profile that spare what libvirt wrote since: no service and no hook takes a VM's
        word for them, as its owner would keep so what a profile of the host removes."""
        return frozenset() if self._trust is Trust.STORE else recorded.out

    def value_before(
        self, recorded: Recorded, entry: Entry, node: Node, slot: str, value: str | None, element: Element
    ) -> str:
        """May the value before be put back in that slot of an element of the definition?"""
        if self._trust is Trust.ALL:
            return ""
        guarded = guarded_value(node.path, slot, value)
        if self._trust is Trust.RECORD and not guarded:
            return ""
        found = self._reach(recorded)
        if isinstance(found, str):
            return found
        if guarded:
            may = found.displaces(node, slot, value) and found.speaks_of(node, slot, entry.at)
            may = may and found.describes(node, slot, element)
        else:
            may = found.covers(node)
        return "" if may else "the profile cannot have changed it"

    def removed(self, recorded: Recorded, entry: Entry, node: Node, parent: Element) -> str:
        """May the element that was removed be put back into that parent?"""
        if self._trust is Trust.ALL:
            return ""
        guarded = any(
            guarded_value(at, slot, value) for at, slot, value in _written(node.path, node, entry.written)
        )
        if self._trust is Trust.RECORD and not guarded:
            return ""
        found = self._reach(recorded)
        if isinstance(found, str):
            return found
        may = found.empties(node, entry.written, parent) if guarded else found.covers(node)
        return "" if may else "the profile cannot have removed it"

    def added(self, recorded: Recorded, node: Node, element: Element) -> str:
        """May the element that was added be taken out?"""
        if self._trust is Trust.ALL:
            return ""
        guarded = [
            at
            for at, slot, value in _standing(node.path, element)
            if protecting(at) or (self._trust is Trust.STORE and guarded_value(at, slot, value))
        ]
        if not guarded:
            return ""
        found = self._reach(recorded)
        if isinstance(found, str):
            return found
        may = found.makes(node.path) or all(map(found.leads_to, guarded))
        may = may and found.describes(node, PRESENCE, element)
        return "" if may else "the profile cannot have added it"

    def _reach(self, recorded: Recorded) -> _Reach | str:
        known = self._known.get(recorded.name)
        if known is None:
            known = self._known[recorded.name] = self._look_up(recorded)
        return known

    def _look_up(self, recorded: Recorded) -> _Reach | str:
        try:
            profile = self._store.get(base_of(recorded.name), recorded.version)
        except (ProfileError, LookupError, ValueError, PermissionError):
            profile = None
        if profile is None or profile.version != recorded.version:
            self._missing = True
            return f"profile '{recorded.name}' version '{recorded.version}' was not found"
        if not recorded.digest or not profile.digest.startswith(recorded.digest):
            return f"profile '{recorded.name}' version '{recorded.version}' differs from the recorded one"
        return _Reach(profile, self._schema)


def _written(path: str, node: Node | None, written: Written) -> Iterator[tuple[str, str, str | None]]:
    """(path, slot, value) of everything in an element as it was written."""
    yield path, PRESENCE, None
    for name, value in written.attrs.items():
        yield path, "@" + name, value
    if written.text is not None:
        yield path, TEXT, written.text
    for part in written.children:
        if part.tag != "alias" or _is_of_a_person(part.attrs.get("name")):
            yield from _written(f"{path}/{part.tag}", None, part)


def _standing(path: str, element: Element) -> Iterator[tuple[str, str, str | None]]:
    yield path, PRESENCE, None
    for name, value in attributes(element).items():
        yield path, "@" + name, value
    text = text_of(element)
    if text is not None:
        yield path, TEXT, text
    for below in element.iterchildren("*"):
        if below.tag != "alias" or _is_of_a_person(below.get("name")):
            yield from _standing(f"{path}/{below.tag}", below)


def _is_of_a_person(alias: str | None) -> bool:
    """libvirt drops all others at define, and gives its own at start (formatdomain, device aliases)."""
    return (alias or "").startswith("ua-")


#: A kind of things: the path, and the value of the attribute that says so.
_Kind = tuple[str, str, str]


class _Reach:
    """What a profile's actions can change, by path.

    `covers` is generous, for values that harm nobody; `displaces`, `removes` and `makes` take
    the snippets at their word.
    """

    def __init__(self, profile: Any, schema: Schema) -> None:
        self._named: set[str] = set()
        #: things that repeat: what is in them may fall with a variant
        self._things: set[str] = set()
        #: (path, slot) of every value that an `add` or `remove` names where it displaces another
        self._values: set[tuple[str, str]] = set()
        #: those that an `add` names where it gets one more element beside those that differ: it fills gaps
        self._filled: set[tuple[str, str]] = set()
        #: paths that an `add` or a `default` can make: with values, or without anything inside
        self._made: set[str] = set()
        #: those, and what holds them: where it is missing it is made for them
        self._on_the_way: set[str] = set()
        #: what `remove` takes out whole
        self._taken: set[str] = set()
        #: what goes where its parent says the same in an attribute that goes: (attribute, its value, kinds)
        self._respelled: dict[str, list[tuple[str, str, set[_Kind | None]]]] = {}
        #: (path, slot) of every value that a `remove` names
        self._cleared: set[tuple[str, str]] = set()
        #: (element, path below it or slot) of what goes when an `add` changes a discriminator
        self._dependent: set[tuple[str, str]] = set()
        #: path -> the types of displays that snippets with it speak of, "" is any
        self._displays: dict[str, set[str]] = {}
        self._multiple = Multiple.AUTO
        #: each ``select=`` of elements, with their paths; None: anywhere
        self._selects: list[tuple[str, frozenset[str] | None]] = []
        #: what the thing around is that a snippet describes: (path, slot, value) that others are not
        self._kind: _Kind | None = None
        #: (path, slot) -> those kinds of things in which snippets name it; None is any
        self._kinds: dict[tuple[str, str], set[_Kind | None]] = {}
        for action in profile.actions:
            if action.select is not None:
                self._follow_select(action.select, schema)
                if not self._attributes(action.select, schema):
                    self._elements(action.select, schema)
        for action in profile.actions:
            if action.kind == "check":
                continue
            self._multiple = action.multiple
            if action.each is not None:
                from virtProfile.language.selection import selected_nodes  # with the XPath parser

                for branch in action.branches:
                    for node in selected_nodes(action.each, branch.tag, schema):
                        self._describe(branch, node, str(action.kind), is_given=True)
                        self._note_display_parts(branch, node.path)
                continue
            for branch in [made for part in action.branches for made in branches_of(part)]:
                self._walk(branch, schema.root, str(action.kind), branch.tag == "domain")
                self._note_displays(branch)
        self._follow_machine()
        self._follow_boots(schema)
        self._follow_counts()
        self._follow_resolved(schema)
        self._follow_exclusions(schema)

    def _follow_exclusions(self, schema: Schema) -> None:
        """What excludes each other: one gives way to the other."""
        for here, there, _ in schema.exclusions:
            for first, second in ((here, there), (there, here)):
                at, slot = _split(first)
                if _element(first) in self._named:
                    self._named.add(_element(second))
                named = (at, slot) in self._values or (at, slot) in self._filled
                if named or (slot == PRESENCE and at in self._made):
                    self._values.add(_split(second))
                    if (at, slot) in self._kinds:
                        self._kinds.setdefault(_split(second), set()).update(self._kinds[at, slot])
                    if not _split(second)[1]:
                        self._taken.add(_element(second))
                    self._take_spelling(schema.root, *_split(second), self._kinds.get((at, slot), {None}))

    def _take_spelling(self, node: Node | None, path: str, slot: str, kinds: set[_Kind | None]) -> None:
        """What goes with a value of which libvirt writes a child as well: the child that says the same."""
        for tag in path.split("/"):
            node = None if node is None else child_node(node, tag)
        if node is not None and slot in node.respells:
            tag, _, by, word = node.respells[slot]
            self._respelled.setdefault(f"{path}/{tag}", []).append((by[1:], word, kinds))

    def _follow_select(self, select: str, schema: Schema) -> None:
        """What depends on a discriminator falls where the discriminator is selected and removed."""
        for tag, name in _SELECTED.findall(select):
            for path in schema.facts.paths():
                if path.rpartition("/")[2] != tag or "*" in path:
                    continue
                facts = schema.facts.at(path, tuple(path.split("/")))
                self._dependent |= {(path, part) for part in facts.dependents.get(f"@{name}", ())}
                self._dependent |= {(path, part.path) for part in facts.variants.get(f"@{name}", ())}
                if path == "os/type" and name == "machine":
                    self._named.add(path)
            devices = void_address(tag, f"@{name}")
            self._dependent |= {(f"devices/{device}", "address") for device in devices}

    def _attributes(self, select: str, schema: Schema) -> bool:
        """A ``select=`` of attributes names these, and takes no element out."""
        if "@" not in select:
            return False
        from virtProfile.language.selection import selected_attributes  # with the XPath parser

        found = selected_attributes(select, schema)
        for node, name in found:
            self._named.add(node.path)
            names = node.attrs if name == "*" else (name,)
            self._values |= {(node.path, "@" + attribute) for attribute in names}
            kinds = _kinds_in(select, node)
            for attribute in names:
                self._kinds.setdefault((node.path, "@" + attribute), set()).update(kinds)
            self._cleared |= {(node.path, "@" + attribute) for attribute in names}
        return bool(found)

    def _elements(self, select: str, schema: Schema) -> None:
        """A ``select=`` of elements or of their texts takes these out, and displaces values of no other."""
        from virtProfile.language.selection import selected_elements  # with the XPath parser

        found = selected_elements(select, schema)
        self._selects.append((select, None if found is None else frozenset(node.path for node in found)))
        for node in found or ():
            self._named.add(node.path)
            if "text()" in select:
                self._values.add((node.path, TEXT))
            if node.parent is not None:
                self._values |= {(node.parent.path, spelled[0]) for spelled in node.respelled}

    def _follow_machine(self) -> None:
        """Another machine type takes controllers, models and addresses along, see `addresses`."""
        if "os/type" in self._named:
            for tag in ("controller", *machines.built_in_tags()):
                self._things.add(f"devices/{tag}")
                self._named.add(f"devices/{tag}")
            for _, tag, place, *_ in rows(f"{DATA}/machine-models.tsv"):
                self._named.add(f"devices/{tag}/{_element(place)}".rstrip("/"))

    def _follow_resolved(self, schema: Schema) -> None:
        """A removal writes what libvirt makes of what is left, see `actions.resolved`."""
        gone = [taken.rpartition("/")[::2] for taken in self._taken]
        for at, slot in self._cleared:  # an element that is empty then goes too
            gone += [(at, slot[1:]), at.rpartition("/")[::2]]
        branches = [branch for select, _ in self._selects for branch in _PREDICATE.sub("", select).split("|")]
        ends = {branch.strip().rpartition("/")[2] for branch in branches}
        if "devices/serial" in self._taken or "serial" in ends:
            self._taken.add("devices/console")  # the last port takes it along, see `consoles`
        for path, slot, words in resolved_rows():
            above = path.rpartition("/")[0]
            node: Node | None = schema.root
            for tag in path.split("/"):
                node = None if node is None else child_node(node, tag)
            named = any(name in words and at in (path, above) for at, name in gone)
            if node is None or not (named or words & ends):
                continue
            self._named.add(path)
            self._values.add((path, slot))
            self._values |= {(path, below) for below in node.dependents.get(slot, ()) if below[:1] == "@"}
            self._values |= {(above, below) for *_, dropped in node.voided for below in dropped}
            self._values |= {(above, spelled[0]) for spelled in node.respelled}

    def _follow_boots(self, schema: Schema) -> None:
        """One way to boot takes the other along, see `boots`."""
        devices = child_node(schema.root, "devices")
        ways = [] if devices is None else [f"devices/{tag}/boot" for tag in devices.children]
        gone = set(ways) if "os/boot" in self._made else set()
        if not self._made.isdisjoint(ways):
            gone.add("os/boot")
        self._taken |= gone
        self._named |= gone

    def _follow_counts(self) -> None:
        """Fewer vCPUs or I/O threads take along what speaks of the others, see `counts`."""
        threads = any(path.partition("/")[0] in ("iothreads", "iothreadids") for path in self._named)
        vcpus = ("vcpu", TEXT) in self._values or "vcpu" in self._taken
        changed = {"vcpu": vcpus, "iothreads": threads}
        for what, path, slot, _ in rows(f"{DATA}/counted.tsv"):
            if changed[what]:
                self._taken.add(path)
                self._values.add((path, slot))
                self._named.add(path)
        if vcpus:
            self._values.add(("vcpu", "@current"))
        if threads:  # their number and their list say the same
            self._values.add(("iothreads", TEXT))
            self._named |= {"iothreads", "iothreadids/iothread"}

    def _note_displays(self, branch: Any) -> None:
        for display in branch.children if branch.tag == "devices" else ():
            self._note_display_parts(display, f"devices/{display.tag}")

    def _note_display_parts(self, display: Any, path: str) -> None:
        """:param display: a snippet of what is at that path, a display or a part of one"""
        if path == "devices/graphics":
            kind = dict(display.attrs).get("type", "")
            for tag in {part.tag for part in display.children} | {
                "listen" for name, _ in display.attrs if name in ("listen", "socket")
            }:
                self._displays.setdefault(f"{path}/{tag}", set()).add(kind)
        elif path.startswith("devices/graphics/"):
            self._displays.setdefault(path, set()).add("")

    def speaks_of(self, node: Node, slot: str, at: str) -> bool:
        """Is the display at that place of a type that the profile's snippets with that part speak of?

        What a display listens on opens the host, and a profile for one display opens no other.
        """
        below = node.respells.get(slot)
        kinds = self._displays.get(f"{node.path}/{below[0]}" if below else node.path)
        if not kinds or "" in kinds:
            return True
        step = next((step for step in read_place(at) if step.tag == "graphics"), None)
        said = None if step is None else dict(step.keys).get("@type")
        return said in kinds

    def _walk(
        self, snippet: Snippet, above: Node, kind: str, is_root: bool = False, sets: bool = True
    ) -> None:
        node = above if is_root else child_node(above, snippet.tag)
        if node is None:
            return
        if kind == "add" and node.many:
            sets = self._multiple == Multiple.NO or self._is_firm(snippet, node)
        slots = self._describe(snippet, node, kind, sets=sets)
        if kind == "remove":
            if node.many or not snippet.children:
                self._taken.add(node.path)
        else:
            if "/" in node.path:
                self._on_the_way.add(node.path)
            if slots or not snippet.children:
                self._made.add(node.path)

    def _is_firm(self, snippet: Snippet, node: Node) -> bool:
        """Is the element found, of which there may be many, set where it differs? Else one more is made."""
        if self._multiple == Multiple.YES and not any(_lowest(inner, node) for inner in snippet.children):
            return False
        return (
            node.key_class in ("S", "O")
            or bool(node.singles)
            or (node.key_class != "X" and any(_says(snippet, part) for part in node.key))
        )

    def _describe(
        self, snippet: Snippet, node: Node, kind: str, is_given: bool = False, sets: bool = True
    ) -> list[str]:
        """What a snippet says of an element, however that is found; gives the slots that it names.

        :param is_given: nothing is searched for, it is that very element
        :param sets: a value that differs is displaced, else only a gap is filled
        """
        self._named.add(node.path)
        slots = ["@" + name for name, _ in snippet.attrs]
        if snippet.text is not None:
            slots.append(TEXT)
        around = self._kind
        kind_slot = _kind_slot(node)
        if kind_slot and not is_given:
            said = dict(snippet.attrs).get(kind_slot[1:])  # one that names none speaks of all
            self._kind = None if said is None or "{" in said else (node.path, kind_slot, said)
        for slot in (PRESENCE, *slots):
            self._kinds.setdefault((node.path, slot), set()).add(self._kind)
        for slot in slots if kind != "default" else ():
            is_set = sets and (kind == "remove" or is_given or _may_change(node, slot))
            (self._values if is_set else self._filled).add((node.path, slot))
        if kind == "remove":
            self._cleared |= {(node.path, slot) for slot in slots}
            if is_given and any(slot in node.implied for slot in slots):
                self._taken.add(node.path)  # what is implied goes with its element
        if kind == "add":
            self._dependent |= _falling(node, slots if sets else (), is_given)
            above = node.parent
            if above is not None:
                self._follow_spelling(above, node, slots)
                for below in {below for *_, dropped in node.voided for below in dropped}:
                    self._values.add((above.path, below))
                    self._kinds.setdefault((above.path, below), set()).add(self._kind)
        if kind == "remove" and not snippet.children and not (slots and node.many):
            self._taken.add(node.path)
        if node.many:
            self._things.add(node.path)
        for inner in snippet.children:
            self._walk(inner, node, kind, sets=sets)
        self._kind = around
        return slots

    def _follow_spelling(self, above: Node, node: Node, slots: list[str]) -> None:
        """What stands on a parent and its child alike changes on both."""
        for spelled, *_ in node.respelled:
            self._values.add((above.path, spelled))
            self._kinds.setdefault((above.path, spelled), set()).add(self._kind)
        for slot in slots:
            tag, value, by, _ = node.respells.get(slot, ("", "", "", ""))
            below = child_node(node, tag) if tag else None
            if below is not None:
                self._named.add(below.path)
                self._made.add(below.path)
                self._values |= {(below.path, value), (below.path, by)}
                self._values |= {(node.path, other) for other in node.respells}
                self._dependent |= {(below.path, part) for part in below.dependents.get(by, ())}

    def describes(self, node: Node, slot: str, element: Element) -> bool:
        """Is the thing that the element is, or stands in, one of the kinds in which snippets name the slot?

        What says that a CDROM gets a file changes no disk's.
        """
        return self._is_one_of(self._kinds.get((node.path, slot), {None}), node, element)

    def _is_one_of(self, kinds: set[_Kind | None], node: Node, element: Element | None) -> bool:
        if None in kinds:
            return True
        at: Node | None = node
        thing = element
        while at is not None and thing is not None and not _kind_slot(at):
            at, thing = at.parent, thing.getparent()
        if at is None or thing is None:
            return True
        return any((at.path, by, read(thing, by, at)[0]) in kinds for by in at.binding)

    def covers(self, node: Node) -> bool:
        """Can an action have changed anything there?"""
        path = node.path
        if path in self._named or any(path.startswith(thing + "/") for thing in self._things):
            return True
        if any(paths is None or path in paths for _, paths in self._selects):
            return True
        return self._moves(path) or self._falls(path)

    def displaces(self, node: Node, slot: str, value: str | None) -> bool:
        """Does an action name this very value, or a discriminator that it depends on?

        :param value: that stood there, None for a gap
        """
        if (node.path, slot) in self._values or self._falls(f"{node.path}/{slot}"):
            return True
        if value is None and (node.path, slot) in self._filled:
            return True
        return self._moves(node.path)

    def removes(self, path: str, written: Written, parent: Element | None) -> bool:
        """Does an action remove such an element, or change the discriminator that it depends on?"""
        if path in self._taken:
            return True
        return self._moves(path) or self._falls(path) or self._selected(path, written, parent)

    def _goes_with_parent(self, node: Node, written: Written, parent: Element | None) -> bool:
        """Does a value on the parent go that says the same?"""
        return node.parent is not None and any(
            written.attrs.get(name) == word and self._is_one_of(kinds, node.parent, parent)
            for name, word, kinds in self._respelled.get(node.path, ())
        )

    def empties(self, node: Node | None, written: Written, parent: Element | None = None) -> bool:
        """Does an action remove such an element, or all that there is of one?

        :param parent: where it was removed from, None for a part of what is gone with it
        """
        if node is None or self.removes(node.path, written, parent):
            return node is not None
        if self._goes_with_parent(node, written, parent):
            return True
        if written.text is not None or not (written.attrs or written.children):
            return False
        if node.many:  # one of which nothing is left goes, too
            return not written.children and all(
                (node.path, f"@{name}") in self._cleared for name in written.attrs
            )
        falls = all(
            self._falls(f"{node.path}/@{name}") or (node.path, f"@{name}") in self._cleared
            for name in written.attrs
        )
        return falls and all(self.empties(child_node(node, part.tag), part) for part in written.children)

    def makes(self, path: str) -> bool:
        """Does an action make such an element?"""
        return path in self._made or path in self._on_the_way

    def leads_to(self, path: str) -> bool:
        """Does an action make such an element, or something inside it?"""
        return path in self._made or any(made.startswith(path + "/") for made in self._made)

    def _moves(self, path: str) -> bool:
        """Is it a device's place in the VM, which another machine type may not have?"""
        return path.endswith("/address") and path.count("/") == 2 and "os/type" in self._named

    def _falls(self, path: str) -> bool:
        for element, below in self._dependent:
            whole = f"{element}/{below}"
            while "/../" in whole:
                above, _, rest = whole.partition("/../")
                whole = f"{above.rpartition('/')[0]}/{rest}".lstrip("/")
            if path == whole or path.startswith(whole + "/"):
                return True
        return False

    def _selected(self, path: str, written: Written, parent: Element | None) -> bool:
        """Can a ``select=`` have taken out that element?"""
        return any(
            (paths is None or path in paths) and _may_select(select, path, written, parent)
            for select, paths in self._selects
        )


_PREDICATE = re.compile(r"\[[^]]*\]")
#: What a predicate says of more than the element and what is in it.
_ELSEWHERE = re.compile(r"\$|vp:|\.\.|/domain|sibling|ancestor|parent::|position|last|count|\[\s*\d")


def _may_select(select: str, path: str, written: Written, parent: Element | None) -> bool:
    """Can a ``select=`` have selected the element at that path?

    True where that cannot be told from the element and what it stood in.
    """
    steps = path.split("/")[:-1]
    branches = [branch.strip() for branch in select.split("|")]
    if (
        _ELSEWHERE.search(select)
        or "//" in select
        or "{" in path
        or not any(re.sub(r"\[[^]]*\]", "", branch).startswith("/".join(steps)) for branch in branches)
    ):
        return True
    root = etree.Element("domain")
    around = _around(root, steps, parent)
    built = _built(around, written)
    try:
        found = root.xpath(select)
    except etree.XPathError:
        return True
    return not isinstance(found, list) or any(part is built for part in found)


def _around(root: Element, steps: list[str], parent: Element | None) -> Element:
    """What the element stood in, below `root`: each with what is in it, of devices that one alone."""
    standing = [] if parent is None else [parent, *parent.iterancestors()][-2::-1]
    if [element.tag for element in standing] != steps:
        standing = []
    around = root
    for number, tag in enumerate(steps):
        around = etree.SubElement(around, tag, attributes(standing[number]) if standing else {})
        if standing and tag != "devices":
            further = standing[number + 1 : number + 2]
            around.text = standing[number].text
            around.extend(copy.deepcopy(below) for below in standing[number] if below not in further)
    return around


def _built(parent: Element, written: Written) -> Element:
    element = etree.SubElement(parent, written.tag, written.attrs)
    element.text = written.text
    for part in written.children:
        _built(element, part)
    return element


def _parts(node: Node, slot: str) -> list[str]:
    """What belongs to some values of a discriminator only, below its element."""
    return [part.path for part in node.variants.get(slot, ())]


def _falling(node: Node, slots: Iterable[str], is_given: bool) -> set[tuple[str, str]]:
    """What goes where these discriminators are set."""
    found = {(node.path, below) for slot in slots for below in node.dependents.get(slot, ())}
    changing = [slot for slot in slots if is_given or _may_change(node, slot)]
    return found | {(node.path, below) for slot in changing for below in _parts(node, slot)}


def _kind_slot(node: Node) -> str:
    """The attribute that says what the thing is, where a snippet is about things of one kind; else "".

    An element is found by it, and no action changes it.
    """
    if node.key_class != "E" or len(node.binding) != 1:
        return ""
    [slot] = node.binding
    return slot if slot[0] == "@" and (node.keyed_conflict or slot in node.key) else ""


def _kinds_in(select: str, node: Node) -> set[_Kind | None]:
    """The kinds of which the thing is in each branch of a ``select=``; None: any."""
    slot = _kind_slot(node)
    said = re.compile(rf"\b{re.escape(node.tag)}\[{re.escape(slot)}\s*=\s*'([^']*)'\s*(?:\]|and\b)")
    found: set[_Kind | None] = set()
    for branch in re.split(rf"\|(?=[^|]*\b{re.escape(node.tag)}\b)", select):
        kind = said.search(branch) if slot else None
        found.add((node.path, slot, kind[1]) if kind and " or " not in branch else None)
    return found


def _may_change(node: Node, slot: str) -> bool:
    """Can an action give an element that it found another value there?

    What a thing is binds, so the action finds others; but what is found by its key becomes another thing.
    """
    return slot not in node.binding or (bool(node.key) and slot not in node.key and not node.keyed_conflict)


def _says(snippet: Snippet, part: str) -> bool:
    """Does a snippet name a part of a key: ``target/@dev``, ``key/text()``, ``source/*``?"""
    step, _, rest = part.partition("/")
    if step[:1] == "@":
        return any(name == step[1:] for name, _ in snippet.attrs)
    if step == TEXT:
        return snippet.text is not None
    return any(step in ("*", inner.tag) and (not rest or _says(inner, rest)) for inner in snippet.children)


def _lowest(snippet: Snippet, above: Node) -> bool:
    """Is there something in the snippet that may be many?"""
    node = child_node(above, snippet.tag)
    return node is not None and (node.many or any(_lowest(inner, node) for inner in snippet.children))


def _split(path: str) -> tuple[str, str]:
    """The element and the slot of a fact's path; the slot of an element is its presence."""
    at = _element(path)
    return at, path[len(at) :].lstrip("/")


def _element(path: str) -> str:
    """The element of a fact's path, without its slot."""
    head, _, last = path.rpartition("/")
    return head if last[:1] == "@" or last == TEXT else path
