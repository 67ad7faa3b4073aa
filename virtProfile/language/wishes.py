# SPDX-License-Identifier: GPL-2.0-or-later
"""Between profile and tree: a snippet read with the schema, as wishes that can be judged.

A snippet is a tree of elements. The schema tells which of them may stand many
times; each such element is a thing of its own (`Want`), and the domain is the
outermost one. What a thing consists of besides is flat: `Leaf` for each
attribute, text or bare element that it has, however deep inside *one*-elements,
and `Group` for the things inside it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from virtProfile.errors import ProfileSyntaxError, nearest
from virtProfile.format.document import RECORD_NS, VIRTUNED_NS, namespace
from virtProfile.format.element import PRESENCE, TEXT
from virtProfile.format.schema import ForeignNode, Node
from virtProfile.format.values import cpu_set
from virtProfile.frozen import replace
from virtProfile.language.directives import wrong

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtProfile.format.schema import Allowing, Schema
    from virtProfile.format.values import ValueType
    from virtProfile.language.profile import Action, Match, Snippet


#: Stands for a value that an expression gives, where only names are checked.
WORKED_OUT = "{"


class Stage:
    """A *one*-element on the way to something, as the snippet spells it."""

    __slots__ = ("tag", "node", "prefix")

    def __init__(self, tag: str, node: Node, prefix: str | None) -> None:
        self.tag = tag
        self.node = node
        self.prefix = prefix


class Leaf:
    """One value (attribute, text, or the presence of a bare element) of a thing."""

    __slots__ = (
        "way", "tags", "node", "slot", "name", "value", "unit", "type", "line", "path", "full", "allowing",
    )  # fmt: skip

    def __init__(self, way: tuple[Stage, ...], node: Node, slot: str, value: str | None, line: int) -> None:
        self.way = way  # one-elements from the thing down to the leaf's element
        self.tags = tags = tuple(stage.tag for stage in way)
        self.node = node  # of the leaf's element
        self.slot = slot
        self.name = slot[1:]  # of the attribute, where it is one
        self.value = value
        #: (unit as written, name of the unit slot, unit where none is written)
        self.unit: tuple[str | None, str, str] | None = None
        self.type: ValueType | None = None
        self.line = line
        relative = "/".join(tags)
        if slot:
            relative = f"{relative}/{slot}" if relative else slot
        self.path = relative  # relative to the thing
        self.full = f"{node.path}/{slot}" if slot else node.path  # relative to the domain
        #: discriminators that it depends on, as seen from the thing; None until they are asked for
        self.allowing: tuple[Allowing, ...] | None = None


class Intent:
    """What a snippet asks for one of its elements beyond what stands there: see `directives`.

    `way` leads from the thing to the element.
    """

    __slots__ = ("name", "tags", "value", "line")

    def __init__(self, name: str, way: tuple[Stage, ...], value: str, line: int) -> None:
        self.name = name
        self.tags = tuple(stage.tag for stage in way)
        self.value = value
        self.line = line


class Group:
    """The things of one tag inside a thing; `way` leads to their parent."""

    __slots__ = ("way", "tags", "tag", "node", "wants", "path", "_keys")

    def __init__(self, way: tuple[Stage, ...], tag: str, node: Node) -> None:
        self.way = way
        self.tags = tuple(stage.tag for stage in way)
        self.tag = tag
        self.node = node
        self.wants: list[Want] = []
        self.path = "/".join((*self.tags, tag))
        self._keys: dict[tuple[str | None, ...], list[Want]] = {}

    def has_key_of(self, want: Want) -> bool:
        """Is there a wish with the same unique key? Knows the wish from then on."""
        node = self.node
        if node.key_class != "E" or not node.key or any(part not in want.keys for part in node.key):
            return False
        alike = self._keys.setdefault(tuple(want.keys[part].value for part in node.key), [])
        alike.append(want)
        return any(_same_key(want, other) for other in alike[:-1])


class Want:
    """A thing that a snippet speaks of."""

    __slots__ = ("node", "tag", "snippet", "leaves", "groups", "places", "binding", "keys", "intents", "line")

    def __init__(self, node: Node, tag: str, snippet: Snippet | None, line: int) -> None:
        self.node = node
        self.tag = tag
        self.snippet = snippet
        self.leaves: list[Leaf] = []
        self.groups: list[Group] = []
        #: the leaves by the element that they stand on; made by `seal`
        self.places: list[tuple[tuple[str, ...], list[Leaf]]] = []
        #: leaves that say what the thing is; None until `seal`
        self.binding: list[Leaf] = []
        self.keys: dict[str, Leaf] = {}
        self.intents: list[Intent] = []
        self.line = line

    @property
    def lowest(self) -> bool:
        """Does nothing inside it may stand many times?"""
        return not self.groups

    def seal(self) -> None:
        """Sort out which leaves bind, once all of them are there."""
        node = self.node
        binding = node.binding
        key = node.key if node.key_class != "X" else ()
        for leaf in self.leaves:
            if leaf.path in key:
                self.keys[leaf.path] = leaf
                self.binding.append(leaf)
            elif leaf.path in binding:
                self.binding.append(leaf)
        # Discriminators go first: what depends on one that is lost is not tried.
        if len(self.leaves) > 1:
            self.leaves.sort(key=lambda leaf: 0 if _decides(leaf) else 1)
        places: dict[tuple[str, ...], list[Leaf]] = {}
        for leaf in self.leaves:
            places.setdefault(leaf.tags, []).append(leaf)
        self.places = list(places.items())

    def count(self) -> int:
        """How many wishes this is: one per lowest many-element, else per leaf."""
        if not self.groups:
            return 1
        return sum(want.count() for group in self.groups for want in group.wants)


def _decides(leaf: Leaf) -> bool:
    """Does something else depend on it?"""
    return leaf.slot != TEXT and (leaf.slot in leaf.node.dependents or leaf.slot in leaf.node.variants)


class Reading:
    """How one snippet is read: the schema's eyes, and what was wrong."""

    __slots__ = ("file", "checked", "singles", "respelled", "repeated", "errors")

    def __init__(
        self, file: str, checked: bool, singles: bool, respelled: bool = False, repeated: bool = False
    ) -> None:
        self.file = file
        self.checked = checked
        self.singles = singles
        self.respelled = respelled
        #: the branches are repetitions of an action: what they bring are different things
        self.repeated = repeated
        self.errors: list[ProfileSyntaxError] = []

    def error(self, message: str, hint: str, line: int) -> None:
        self.errors.append(ProfileSyntaxError(message, hint=hint, where=f"{self.file}:{line}"))

    def finish(self, want: Want) -> Want:
        """:raises ProfileSyntaxError: all that was wrong"""
        if self.repeated:
            self._merge(want)
        if self.errors:
            first, *others = self.errors
            raise ProfileSyntaxError(first.message, hint=first.hint, where=first.where, others=others)
        want.seal()
        return want

    def _merge(self, want: Want) -> None:
        """A value of which there is one is the same in all repetitions."""
        known: dict[str, Leaf] = {}
        for leaf in want.leaves:
            other = known.setdefault(leaf.path, leaf)
            if (other.value, other.unit) != (leaf.value, leaf.unit):
                fact = f"repeat= gives '{leaf.full}' the values '{other.value}' and '{leaf.value}'"
                self.error(fact, "there is one of it: repeat elements of which there can be many", leaf.line)
                break
        want.leaves = list(known.values())


def compile_branches(
    branches: tuple[Snippet, ...],
    schema: Schema,
    file: str,
    *,
    checked: bool = True,
    singles: bool = True,
    respelled: bool = False,
    repeated: bool = False,
) -> Want:
    """Read the branches of an action or match with the schema.

    :param checked: False for matches, which may ask for anything that a
        document could hold
    :param singles: read what the schema calls many, but of which there is only
        one in effect (a TPM), as a *one*-element; False for removal, which takes
        such a device away as a whole
    :param respelled: read an attribute that libvirt writes on a child as well as a wish for the child
    :param repeated: they are repetitions of an action
    :raises ProfileSyntaxError: all elements and attributes that no known
        libvirt has, with the nearest names
    """
    root = Want(schema.root, "domain", None, branches[0].line if branches else 0)
    reading = Reading(file, checked, singles, respelled, repeated)
    for branch in branches:
        if branch.tag == "domain":
            _scope(branch, schema.root, (), root, reading)
        else:
            _branch(branch, schema.root, (), root, reading)
    return reading.finish(root)


def compile_element(
    branches: tuple[Snippet, ...],
    node: Node,
    file: str,
    *,
    checked: bool = True,
    singles: bool = True,
    respelled: bool = False,
    repeated: bool = False,
) -> Want:
    """Read snippets that describe one element of a document that is there.

    :param branches: one root each, with the element's tag; several with ``repeat=``
    :param node: the schema's node of the element; the rest is as for `compile_branches`
    """
    want = Want(node, branches[0].tag, branches[0], branches[0].line)
    reading = Reading(file, checked, singles, respelled, repeated)
    for branch in branches:
        _scope(branch, node, (), want, reading)
    if not want.leaves and not want.groups and not want.intents:
        want.leaves.append(Leaf((), node, PRESENCE, None, want.line))
    return reading.finish(want)


def _below(tag: str, parent: Node) -> str:
    """A hint where an element is one level too high."""
    for name in parent.children:
        inner = parent.child(name)
        if inner is not None and not inner.anything and inner.child(tag) is not None:
            return f"it belongs into <{name}>: <{name}><{tag}/></{name}>"
    return ""


def _branch(
    snippet: Snippet,
    parent: Node,
    way: tuple[Stage, ...],
    want: Want,
    reading: Reading,
    twin: bool = False,
) -> None:
    tag = snippet.tag
    node: Node | None = None
    path = f"{parent.path}/{tag}" if parent.path else tag
    if parent.anything and not isinstance(parent, ForeignNode):  # a root in the metadata
        if reading.checked and namespace(tag) in (VIRTUNED_NS, RECORD_NS):
            reading.error(
                "a profile may not change the list or the record of profiles",
                "use <requires profile='…'/>",
                snippet.line,
            )
            return
        node = ForeignNode(path, tag, parent, False)
    else:
        node = parent.child(tag)
    if node is None and not reading.checked:
        node = ForeignNode(path, tag, parent, True)
    if node is None:
        reading.error(
            f"unknown element '{tag}' in '{parent.path or 'domain'}'",
            _below(tag, parent) or nearest(tag, parent.children) or "no known libvirt has it",
            snippet.line,
        )
        return
    many = node.many
    if many and node.key_class == "S":
        many = twin or reading.repeated or (not reading.singles and want.tag == "domain")
    if many:
        tags = tuple(stage.tag for stage in way)
        group = next((known for known in want.groups if known.tags == tags and known.tag == tag), None)
        if group is None:
            group = Group(way, tag, node)
            want.groups.append(group)
        for part in _split(snippet, node.split[1:]) if node.split else (snippet,):
            _thing(part, node, group, reading)
    else:
        _scope(snippet, node, (*way, Stage(tag, node, snippet.prefix)), want, reading)


def _split(snippet: Snippet, name: str) -> list[Snippet]:
    """A snippet for each member of its set, as libvirt itself writes it."""
    value = dict(snippet.attrs).get(name, "")
    members = cpu_set(value)
    if members is None or len(members) < 2:
        return [snippet]
    return [
        replace(
            snippet, attrs=tuple((key, str(member) if key == name else has) for key, has in snippet.attrs)
        )
        for member in sorted(members)
    ]


def _thing(snippet: Snippet, node: Node, group: Group, reading: Reading) -> None:
    """One wish more for a thing of the group."""
    inner = Want(node, snippet.tag, snippet, snippet.line)
    _scope(snippet, node, (), inner, reading)
    inner.seal()
    if reading.checked and group.has_key_of(inner):
        reading.error(
            f"two '{node.path}' with the same key in one snippet",
            "libvirt has one per key: merge them into one element",
            snippet.line,
        )
    group.wants.append(inner)


def _scope(
    snippet: Snippet,
    node: Node,
    way: tuple[Stage, ...],
    want: Want,
    reading: Reading,
) -> None:
    """Add what stands directly on `snippet` (attributes, text, children) to `want`."""
    if node.respells and reading.respelled:
        snippet = _respelled(snippet, node)
    given: dict[str, str | None] = {"@" + name: value for name, value in snippet.attrs}
    given[TEXT] = snippet.text
    halves = {unit: number for number, (unit, _) in node.unit.items() if given.get(number)}
    if reading.checked and reading.singles and node.unit:
        for number, (unit, _) in node.unit.items():
            if given.get(unit) is not None and given.get(number) is None:
                reading.error(
                    f"'{node.path}' has a unit without its number: {unit[1:]}='{given[unit]}' alone",
                    "write both the number and its unit",
                    snippet.line,
                )
    for slot, value in given.items():
        if value is None or slot in halves:  # a unit goes with its number
            continue
        leaf = Leaf(way, node, slot, value, snippet.line)
        if slot in node.unit:
            unit, default = node.unit[slot]
            leaf.unit = (given.get(unit), unit, default)
        if not isinstance(node, ForeignNode) and not node.anything:
            leaf.type = node.text if slot == TEXT else node.attribute(slot[1:])
            if reading.checked and not _known(leaf, reading):
                continue
        want.leaves.append(leaf)
    for name, value in snippet.intents:
        problem = wrong(name, None if value == WORKED_OUT else value, node.path)
        if problem is not None:
            reading.error(*problem, snippet.line)
        else:
            want.intents.append(Intent(name, way, value, snippet.line))
    seen = Counter(inner.tag for inner in snippet.children)
    for inner in snippet.children:
        _branch(inner, node, way, want, reading, seen[inner.tag] > 1)
    if way and not (snippet.attrs or snippet.children or snippet.text is not None):
        want.leaves.append(Leaf(way, node, PRESENCE, None, snippet.line))


def _respelled(snippet: Snippet, node: Node) -> Snippet:
    """What libvirt writes on a child as well (``graphics/@listen``) is a wish for the child."""
    attrs, children = list(snippet.attrs), list(snippet.children)
    for name, value in snippet.attrs:
        tag, slot, by, word = node.respells.get("@" + name, ("", "", "", ""))
        if tag and not any(child.tag == tag for child in children):
            attrs.remove((name, value))
            inner = replace(
                snippet,
                tag=tag,
                attrs=((by[1:], word), (slot[1:], value)),
                text=None,
                children=(),
                intents=(),
            )
            children.append(inner)
    if len(attrs) == len(snippet.attrs):
        return snippet
    return replace(snippet, attrs=tuple(attrs), children=tuple(children))


def _same_key(first: Want, other: Want) -> bool:
    """Do two wishes name, in full, the same unique key?"""
    node = first.node
    if node.key_class != "E" or not node.key:
        return False
    if node.twins is not None:
        slot, words = node.twins
        value, others = _value_at(first, slot), _value_at(other, slot)
        if value != others and value in words and others in words:
            return False
    return all(
        part in first.keys and part in other.keys and first.keys[part].value == other.keys[part].value
        for part in node.key
    )


def _value_at(want: Want, path: str) -> str | None:
    return next((leaf.value for leaf in want.leaves if leaf.path == path), None)


def _known(leaf: Leaf, reading: Reading) -> bool:
    node, slot = leaf.node, leaf.slot
    place = node.path or "domain"
    if leaf.type is None:
        if slot == TEXT:
            fact = f"'{place}' holds no text, it has '{leaf.value}'"
            hint = "an attribute or an element may be meant"
        else:
            fact = f"unknown attribute '{slot[1:]}' of '{place}'"
            hint = nearest(slot[1:], node.attrs) or "no known libvirt has it"
        reading.error(fact, hint, leaf.line)
        return False
    fact = "" if leaf.value == WORKED_OUT else leaf.type.check(leaf.value or "")
    if fact:
        hint = nearest(leaf.value or "", leaf.type.values) if leaf.type.values else ""
        reading.error(f"{leaf.full}: {fact}", hint, leaf.line)
        return False
    return True


def compiled_action(action: Action, schema: Schema, branches: tuple[Snippet, ...] | None = None) -> Want:
    """The wishes of an action; kept per schema, as one store serves many domains.

    :param branches: the action's, with expressions worked out
    """
    own = action.branches if branches is None else branches
    kind, repeated = action.kind, action.repeat is not None

    def make() -> Want:
        return compile_branches(
            own,
            schema,
            action.file,
            singles=kind != "remove",
            respelled=kind != "remove",
            repeated=repeated,
        )

    return _cached(action, own, schema, make)


def compiled_element(action: Action, schema: Schema, node: Node, branches: tuple[Snippet, ...]) -> Want:
    """The wishes of an action for one element that its ``each=`` selects."""

    def make() -> Want:
        return compile_element(
            branches,
            node,
            action.file,
            checked=action.kind != "check",
            singles=action.kind != "remove",
            respelled=action.kind != "remove",
            repeated=action.repeat is not None,
        )

    return _cached(action, branches, node, make)


def compiled_match(
    match: Match | Action, schema: Schema, file: str, branches: tuple[Snippet, ...] | None = None
) -> Want:
    """What a `<match>` or a `<check>` asks for."""
    own = match.branches if branches is None else branches
    return _cached(match, own, schema, lambda: compile_branches(own, schema, file, checked=False))


_compiled: dict[tuple[Any, ...], tuple[Any, Any, tuple[Snippet, ...], Want]] = {}


def _cached(
    owner: Any, branches: tuple[Snippet, ...], schema: Schema | Node, make: Callable[[], Want]
) -> Want:
    key = (id(owner), id(schema), *[id(branch) for branch in branches])
    found = _compiled.get(key)
    if (
        found is None
        or found[0] is not owner
        or found[1] is not schema
        or any([former is not other for former, other in zip(found[2], branches, strict=True)])
    ):
        if len(_compiled) > 4096:
            _compiled.clear()
        _compiled[key] = found = (owner, schema, branches, make())
    return found[3]


def forget(everything: bool = False) -> None:
    """Drop what was compiled from worked out values; what profiles say plainly stays, unless `everything`."""
    if everything:
        _compiled.clear()
    for key, (owner, _, branches, _) in list(_compiled.items()):
        if branches is not owner.branches:
            del _compiled[key]
