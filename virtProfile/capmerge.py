# SPDX-License-Identifier: GPL-2.0-or-later
"""What several hosts can do together: the largest domain capabilities that enough of them share.

Pure: documents in, a document and the reasons out. `capatoms` knows the documents,
`capsearch` finds the hosts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from . import machines
from .capatoms import Atom, atoms, host_model, shared_model, thresholds, told, write
from .capsearch import BUDGET, search
from .context import Context
from .errors import CompletionError, ProfileError, UsageError
from .expression import Environment, compile_expression
from .records import record
from .worktree import text_of
from .xmltree import parse

#: Computes a CPU that all the given ones can be: (emulator, arch, machine, type, host-model
#: elements as text) -> a ``<cpu>`` element as text. libvirt's baseline has this shape.
Baseline = Callable[[str | None, str, str | None, str, Sequence[str]], str]

Key = tuple[str, str, str]


@record
class Host:
    """One host with its domain capabilities; `name` is whatever the caller calls it."""

    name: str
    text: str


@record
class Excluded:
    """A host that is not among those of the result, and what it lacks of it."""

    name: str
    reason: str
    lacks: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "reason": self.reason, "lacks": list(self.lacks)}


@record
class Merged:
    """The largest shared capabilities: a domain capabilities document, and who shares it.

    `proven`: there is no larger one. `size` is the number of single capabilities.
    """

    xml: str
    hosts: tuple[str, ...]
    excluded: tuple[Excluded, ...]
    size: int
    proven: bool
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "xml": self.xml,
            "hosts": list(self.hosts),
            "excluded": [one.to_dict() for one in self.excluded],
            "size": self.size,
            "proven": self.proven,
            "notes": list(self.notes),
        }


class _Known:
    """A host's document, read. `like` is one of the same text."""

    __slots__ = ("name", "root", "key", "atoms", "bits")

    root: Any
    key: Key
    atoms: frozenset[Atom]

    def __init__(self, host: Host, like: _Known | None = None) -> None:
        self.name = host.name
        self.bits = 0
        if like is not None:
            self.root, self.key, self.atoms = like.root, like.key, like.atoms
            return
        self.root = parse(host.text, name=host.name, error=UsageError).root
        if self.root.tag != "domainCapabilities":
            raise UsageError(
                f"'{self.root.tag}' was given where libvirt's 'domainCapabilities' was expected",
                hint="'virsh domcapabilities' prints them",
                where=host.name,
            )
        self.key = (self.text("domain"), self.text("arch"), machines.family(self.text("machine")))
        self.atoms = atoms(self.root)

    def text(self, tag: str) -> str:
        found = self.root.find(tag)
        return "" if found is None else (text_of(found) or "")


def merge(
    hosts: Iterable[Host],
    least: int | None = None,
    *,
    require: Sequence[str] = (),
    baseline: Baseline | None = None,
    budget: int = BUDGET,
) -> Merged:
    """The largest capabilities that at least `least` of the hosts share.

    Documents of another domain type, arch or family of machines are another world: nothing
    of them can be shared. Of several worlds the one with most to share counts.

    :param least: None is all of them
    :param require: XPath expressions at ``/domainCapabilities``; a host for which one does not
        hold is left out, and all hold for the result
    :param baseline: computes the host-model CPU; None is by intersection
    :param budget: how much may be searched (comparisons)
    :raises UsageError: no hosts, a document that is something else, `least` out of range
    :raises CompletionError: so many hosts do not share what is required
    """
    known = _read(hosts)
    wanted = len(known) if least is None else least
    if not 0 < wanted <= len(known):
        raise UsageError(f"{wanted} hosts are wanted of {len(known)}", hint="--min-hosts takes 1 or more")
    tests = [_Test(text) for text in require]
    outside: dict[str, str] = {}
    for one in known:
        failed = [test.text for test in tests if not test.holds(one.root)]
        if failed:
            outside[one.name] = f"'{failed[0]}' does not hold"
    worlds: dict[Key, list[_Known]] = {}
    for one in known:
        if one.name not in outside:
            worlds.setdefault(one.key, []).append(one)
    best: tuple[int, int, list[_Known], frozenset[Atom]] | None = None
    proven = True
    for key in sorted(worlds):
        world = worlds[key]
        if len(world) < wanted:
            continue
        found = _search(world, wanted, tests, budget)
        proven = proven and found[2]
        if found[1] and (best is None or len(found[0]) > best[0]):
            best = (len(found[0]), len(found[1]), found[1], found[0])
    if best is None:
        raise CompletionError(_why_none(known, worlds, wanted, outside), hint=_how_many(worlds))
    members, shared = best[2], best[3]
    root, notes = _document(members, shared, baseline)
    return Merged(
        _text(root),
        tuple(one.name for one in members),
        tuple(_excluded(known, members, shared, outside)),
        len(shared),
        proven,
        tuple(notes),
    )


def _read(hosts: Iterable[Host]) -> list[_Known]:
    first: dict[str, _Known] = {}
    known = []
    for host in sorted(hosts, key=lambda one: one.name):
        known.append(_Known(host, first.get(host.text)))
        first.setdefault(host.text, known[-1])
    if not known:
        raise UsageError("no domain capabilities were given", hint="one file for each host")
    for one, other in zip(known, known[1:]):
        if one.name == other.name:
            raise UsageError(f"two hosts are called '{one.name}'")
    distinct = list({one.atoms for one in known})
    steps = dict(zip(distinct, thresholds(distinct), strict=True))
    for one in known:
        one.atoms = steps[one.atoms]
    return known


class _Test:
    """A required XPath expression, checked and bounded as those of profiles are."""

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._expression = compile_expression(text, file="--require", line=1)
        except ProfileError as problem:
            raise UsageError(problem.message, hint=problem.hint) from None
        self._environment = Environment({}, Context())

    def holds(self, root: Any) -> bool:
        return self._expression.test(root, self._environment)


def _search(
    world: Sequence[_Known], least: int, tests: Sequence[_Test], budget: int
) -> tuple[frozenset[Atom], list[_Known], bool]:
    """(what is shared, by whom, proven) in one world."""
    names = sorted(frozenset().union(*{one.atoms for one in world}))
    number = {atom: 1 << at for at, atom in enumerate(names)}
    bits = {atoms_: sum(number[atom] for atom in atoms_) for atoms_ in {one.atoms for one in world}}
    for one in world:
        one.bits = bits[one.atoms]

    def shared(bits: int) -> frozenset[Atom]:
        return frozenset(atom for atom in names if number[atom] & bits)

    def members(bits: int) -> list[_Known]:
        return [one for one in world if one.bits & bits == bits]

    def accept(bits: int) -> bool:
        root = _document(members(bits), shared(bits), None)[0]
        return all(test.holds(root) for test in tests)

    found = search([one.bits for one in world], least, budget, accept if tests else None)
    if found.bits is None:
        return frozenset(), [], found.proven
    return shared(found.bits), members(found.bits), found.proven


def _document(
    members: Sequence[_Known], shared: frozenset[Atom], baseline: Baseline | None
) -> tuple[Any, list[str]]:
    """The merged document, and what is to be known of it."""
    notes: list[str] = []
    first = members[0]
    root = write(first.root, shared)
    for tag in ("path", "machine"):
        if len({one.text(tag) for one in members}) > 1:
            element = root.find(tag)
            if tag == "machine" and element is not None:
                element.text = first.key[2]
            elif element is not None:
                root.remove(element)
    _merge_cpu(root, members, baseline, notes)
    return root, notes


def _merge_cpu(root: Any, members: Sequence[_Known], baseline: Baseline | None, notes: list[str]) -> None:
    modes = [host_model(one.root) for one in members]
    target = root.find("cpu/mode[@name='host-model']")
    if target is None or target.get("supported") == "yes" or any(mode is None for mode in modes):
        return  # every host says the same of it, or one has none
    made = None
    if baseline is not None:
        first = members[0]
        path, machine = root.findtext("path"), first.text("machine") or None
        texts = [_cpu_text(mode) for mode in modes]
        try:
            made = parse(baseline(path, first.key[1], machine, first.key[0], texts)).root
        except ProfileError as problem:
            notes.append(f"host-model: libvirt finds no baseline: {problem.message}")
    else:
        made = shared_model(modes)
        if made is None:
            names = ", ".join(sorted({mode.findtext("model") or "" for mode in modes}))
            notes.append(f"host-model: the hosts' CPUs differ ({names}); libvirt's baseline needs --connect")
    if made is None:
        return
    target.set("supported", "yes")
    for one in list(made.iterchildren("*")):
        target.append(one)


def _cpu_text(mode: Any) -> str:
    """The host-model CPU as the ``<cpu>`` that libvirt's baseline takes."""
    from lxml import etree

    cpu = etree.Element("cpu", mode="custom", match="exact")
    for one in mode.iterchildren("*"):
        cpu.append(etree.fromstring(etree.tostring(one, with_tail=False)))
    return str(etree.tostring(cpu, encoding="unicode"))


def _text(root: Any) -> str:
    from lxml import etree

    etree.indent(root, "  ")
    return str(etree.tostring(root, encoding="unicode")).rstrip() + "\n"


# --- who is not among them --------------------------------------------------------


def _excluded(
    known: Sequence[_Known],
    members: Sequence[_Known],
    shared: frozenset[Atom],
    outside: Mapping[str, str],
) -> list[Excluded]:
    key = members[0].key
    inside = {one.name for one in members}
    found = []
    for one in known:
        if one.name in inside:
            continue
        if one.name in outside:
            found.append(Excluded(one.name, outside[one.name], ()))
        elif one.key != key:
            found.append(Excluded(one.name, f"is of {_world(one.key)}, not {_world(key)}", ()))
        else:
            lacks = _lacking(shared - one.atoms)
            found.append(Excluded(one.name, "does not have all", lacks))
    return found


def _lacking(missing: frozenset[Atom]) -> tuple[str, ...]:
    """What is missing, parts of a missing whole left out."""
    wholes = {path for path, value in missing if value in ("supported", "known")}
    lines = []
    for path, value in sorted(missing):
        if value == "not unusable" and (path, "usable") in missing:
            continue
        above = [path[:at] for at, letter in enumerate(path) if letter == "/"]
        if value not in ("supported", "known"):
            above.append(path)
        if not wholes.intersection(above):
            lines.append(told((path, value)))
    return tuple(lines)


def _world(key: Key) -> str:
    return " ".join(part for part in key if part)


def _why_none(
    known: Sequence[_Known], worlds: Mapping[Key, Sequence[_Known]], least: int, outside: Mapping[str, str]
) -> str:
    if outside and len(known) - len(outside) < least:
        name, reason = sorted(outside.items())[0]
        return f"only {len(known) - len(outside)} of {least} hosts have what is required: on {name} {reason}"
    if all(len(one) < least for one in worlds.values()):
        return f"no {least} hosts are of one domain type, arch and family of machines"
    return f"no {least} hosts share what is required"


def _how_many(worlds: Mapping[Key, Sequence[_Known]]) -> str:
    return "there are " + ", ".join(f"{len(one)} of {_world(key)}" for key, one in sorted(worlds.items()))
