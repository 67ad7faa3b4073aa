# SPDX-License-Identifier: GPL-2.0-or-later
"""What several hosts can do together: the largest domain capabilities that enough of them share.

Pure: documents in, a document and the reasons out. `capability_atoms` knows the documents,
`subset_search` finds the hosts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from virtProfile.errors import CompletionError, ProfileError, UsageError
from virtProfile.format import machines
from virtProfile.format.document import parse
from virtProfile.format.element import text_of
from virtProfile.frozen import record
from virtProfile.host.capability_atoms import atoms, host_model, shared_model, thresholds, told, write
from virtProfile.host.subset_search import BUDGET, search

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lxml import etree

    from virtProfile.host.capability_atoms import Atom


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
            "excluded": [host.to_dict() for host in self.excluded],
            "size": self.size,
            "proven": self.proven,
            "notes": list(self.notes),
        }


class Requirement(Protocol):
    """A test that a host's domain capabilities have to pass."""

    text: str

    def holds(self, root: etree._Element) -> bool: ...


class _Known:
    """A host's document, read. `like` is one of the same text."""

    __slots__ = ("name", "root", "key", "atoms", "bits")

    root: etree._Element
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
    require: Sequence[Requirement] = (),
    baseline: Baseline | None = None,
    budget: int = BUDGET,
) -> Merged:
    """The largest capabilities that at least `least` of the hosts share.

    Documents of another domain type, arch or family of machines are another world: nothing
    of them can be shared. Of several worlds the one with most to share counts.

    :param least: None is all of them
    :param require: tests of ``/domainCapabilities``, see `language.requirement`; a host for which
        one does not hold is left out, and all hold for the result
    :param baseline: computes the host-model CPU; None is by intersection
    :param budget: how much may be searched (comparisons)
    :raises UsageError: no hosts, a document that is something else, `least` out of range
    :raises CompletionError: so many hosts do not share what is required
    """
    known = _read(hosts)
    wanted = len(known) if least is None else least
    if not 0 < wanted <= len(known):
        raise UsageError(
            f"{wanted} hosts are required, and only {len(known)} are given",
            hint="--min-hosts takes 1 or more",
        )
    outside: dict[str, str] = {}
    for host in known:
        failed = [test.text for test in require if not test.holds(host.root)]
        if failed:
            outside[host.name] = f"'{failed[0]}' does not hold"
    worlds: dict[Key, list[_Known]] = {}
    for host in known:
        if host.name not in outside:
            worlds.setdefault(host.key, []).append(host)
    best: tuple[int, int, list[_Known], frozenset[Atom]] | None = None
    proven = True
    for key in sorted(worlds):
        world = worlds[key]
        if len(world) < wanted:
            continue
        found = _search(world, wanted, require, budget)
        proven = proven and found[2]
        if found[1] and (best is None or len(found[0]) > best[0]):
            best = (len(found[0]), len(found[1]), found[1], found[0])
    if best is None:
        raise CompletionError(_why_none(known, worlds, wanted, outside), hint=_how_many(worlds))
    members, shared = best[2], best[3]
    root, notes = _document(members, shared, baseline)
    return Merged(
        _text(root),
        tuple(member.name for member in members),
        tuple(_excluded(known, members, shared, outside)),
        len(shared),
        proven,
        tuple(notes),
    )


def _read(hosts: Iterable[Host]) -> list[_Known]:
    first: dict[str, _Known] = {}
    known = []
    for host in sorted(hosts, key=lambda given: given.name):
        known.append(_Known(host, first.get(host.text)))
        first.setdefault(host.text, known[-1])
    if not known:
        raise UsageError("no domain capabilities were given", hint="one file for each host")
    for former, other in zip(known, known[1:]):
        if former.name == other.name:
            raise UsageError(f"two hosts are named '{former.name}'")
    distinct = list({row.atoms for row in known})
    steps = dict(zip(distinct, thresholds(distinct), strict=True))
    for row in known:
        row.atoms = steps[row.atoms]
    return known


def _search(
    world: Sequence[_Known], least: int, tests: Sequence[Requirement], budget: int
) -> tuple[frozenset[Atom], list[_Known], bool]:
    """(what is shared, by whom, proven) in one world."""
    names = sorted(frozenset().union(*{host.atoms for host in world}))
    number = {atom: 1 << at for at, atom in enumerate(names)}
    bits = {atoms_: sum(number[atom] for atom in atoms_) for atoms_ in {host.atoms for host in world}}
    for host in world:
        host.bits = bits[host.atoms]

    def shared(bits: int) -> frozenset[Atom]:
        return frozenset(atom for atom in names if number[atom] & bits)

    def members(bits: int) -> list[_Known]:
        return [host for host in world if host.bits & bits == bits]

    def accept(bits: int) -> bool:
        root = _document(members(bits), shared(bits), None)[0]
        return all(test.holds(root) for test in tests)

    found = search([host.bits for host in world], least, budget, accept if tests else None)
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
        if len({member.text(tag) for member in members}) > 1:
            element = root.find(tag)
            if tag == "machine" and element is not None:
                element.text = first.key[2]
            elif element is not None:
                root.remove(element)
    _merge_cpu(root, members, baseline, notes)
    return root, notes


def _merge_cpu(
    root: etree._Element, members: Sequence[_Known], baseline: Baseline | None, notes: list[str]
) -> None:
    modes = [host_model(member.root) for member in members]
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
    for element in list(made.iterchildren("*")):
        target.append(element)


def _cpu_text(mode: Any) -> str:
    """The host-model CPU as the ``<cpu>`` that libvirt's baseline takes."""
    from lxml import etree

    cpu = etree.Element("cpu", mode="custom", match="exact")
    for element in mode.iterchildren("*"):
        cpu.append(etree.fromstring(etree.tostring(element, with_tail=False)))
    return str(etree.tostring(cpu, encoding="unicode"))


def _text(root: etree._Element) -> str:
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
    inside = {member.name for member in members}
    found = []
    for host in known:
        if host.name in inside:
            continue
        if host.name in outside:
            found.append(Excluded(host.name, outside[host.name], ()))
        elif host.key != key:
            found.append(Excluded(host.name, f"is of {_world(host.key)}, not {_world(key)}", ()))
        else:
            lacks = _lacking(shared - host.atoms)
            found.append(Excluded(host.name, "does not have all", lacks))
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
    if all(len(world) < least for world in worlds.values()):
        return f"no {least} hosts are of one domain type, arch and family of machines"
    return f"no {least} hosts share what is required"


def _how_many(worlds: Mapping[Key, Sequence[_Known]]) -> str:
    return "there are " + ", ".join(f"{len(world)} of {_world(key)}" for key, world in sorted(worlds.items()))
