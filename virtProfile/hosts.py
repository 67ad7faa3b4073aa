# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a VM runs: a domain held against each host's documents, with every reason why not.

Pure: `hostfiles` reads the documents. What they do not tell is unknown, never a yes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from .cpuset import format_cpuset, parse_cpuset
from .documents import Documents
from .errors import MissingContextError, ProfileError
from .hosttopology import TopologyError, read_host
from .records import record
from .valuetypes import to_bytes
from .worktree import child, text_of


class Answer(StrEnum):
    """Does it run there?"""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@record
class Reason:
    """Why not, or why nobody can say: `path` is below ``/domain``, "" for the whole."""

    answer: Answer
    path: str
    message: str

    def to_dict(self) -> dict[str, Any]:
        return {"answer": str(self.answer), "path": self.path, "message": self.message}


@record
class HostDocuments:
    """What libvirt publishes of one host; `name` is whatever the caller calls it."""

    name: str
    capabilities: tuple[str, ...] = ()
    domcapabilities: tuple[str, ...] = ()


@record
class Verdict:
    """A host's answer: no as soon as one reason says no, yes only where none speaks."""

    host: str
    answer: Answer
    reasons: tuple[Reason, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "host": self.host,
            "answer": str(self.answer),
            "reasons": [one.to_dict() for one in self.reasons],
        }


def judge(domain: Any, host: HostDocuments) -> Verdict:
    """Can the host run a domain?

    :param domain: the root element
    :raises UsageError: a document is something else
    """
    documents = Documents(host.capabilities, host.domcapabilities)
    found = list(
        dict.fromkeys((*_by_capabilities(domain, documents), *_by_domcapabilities(domain, documents)))
    )
    return Verdict(host.name, _sum(found), tuple(found))


def refused(domain: Any, host: HostDocuments, problem: ProfileError) -> Verdict:
    """The answer of a host for which the profiles could not even be applied.

    :param domain: the root element of what they were to be applied to
    """
    found = []
    for one in (problem, *problem.others):
        answer = Answer.UNKNOWN if isinstance(one, MissingContextError) else Answer.NO
        found.append(Reason(answer, "", str(one)))
    found += [one for one in judge(domain, host).reasons if one.answer == Answer.NO]
    return Verdict(host.name, _sum(found), tuple(found))


def _sum(reasons: Iterable[Reason]) -> Answer:
    answers = {one.answer for one in reasons}
    return next((one for one in (Answer.NO, Answer.UNKNOWN) if one in answers), Answer.YES)


def _no(path: str, message: str) -> Reason:
    return Reason(Answer.NO, path, message)


def _unknown(path: str, message: str) -> Reason:
    return Reason(Answer.UNKNOWN, path, message)


# --- the host's capabilities ------------------------------------------------------


def _by_capabilities(domain: Any, documents: Documents) -> Iterator[Reason]:
    if not documents.capabilities:
        yield _unknown("", "the host's capabilities are not known")
        return
    kind = child(domain, "os")
    arch = None if kind is None or kind.find("type") is None else kind.find("type").get("arch")
    fitting = [
        one
        for one in documents.capabilities
        if arch is None or one.find("guest") is None or arch in _archs(one)
    ]
    if not fitting:
        known = sorted({name for one in documents.capabilities for name in _archs(one)})
        yield _no("os/type/@arch", f"has no guests of arch '{arch}' ({', '.join(known) or 'none'})")
        return
    yield from _guest(domain, fitting[0])
    yield from _pins(domain, fitting[0])


def _archs(capabilities: Any) -> set[str]:
    return {one.get("name", "") for one in capabilities.iterfind("guest/arch")}


def _guest(domain: Any, capabilities: Any) -> Iterator[Reason]:
    """Domain type, machine, and how many vCPUs that takes."""
    kind = domain.find("os/type")
    arch = None if kind is None else kind.get("arch")
    machine = None if kind is None else kind.get("machine")
    if arch is None:
        arch = capabilities.findtext("host/cpu/arch")
    guests = [one for one in capabilities.iterfind("guest/arch") if one.get("name") == arch]
    if not guests:
        yield _unknown("os/type/@arch", "the capabilities tell of no guests")
        return
    virt = domain.get("type")
    fitting = [one for guest in guests for one in guest.iterfind("domain") if one.get("type") == virt]
    if virt is not None and not fitting:
        known = ", ".join(
            sorted({one.get("type", "") for guest in guests for one in guest.iterfind("domain")})
        )
        yield _no("@type", f"has no domains of type '{virt}' for {arch} ({known or 'none'})")
        return
    if machine is None:
        return
    rows = [one for at in fitting for one in at.iterchildren("machine")]
    rows = rows or [one for guest in guests for one in guest.iterchildren("machine")]
    row = next((one for one in rows if text_of(one) == machine or one.get("canonical") == machine), None)
    if row is None:
        yield _no("os/type/@machine", f"has no machine type '{machine}'")
        return
    most = row.get("maxCpus", "")
    vcpus = (domain.findtext("vcpu") or "1").strip()
    if most.isdigit() and vcpus.isdigit() and int(vcpus) > int(most):
        yield _no("vcpu", f"machine type '{machine}' takes {most} vCPUs, not {vcpus}")


#: Where a domain names CPUs and nodes of its host: path, attribute.
_CPUS = (
    ("vcpu", "cpuset"),
    ("cputune/vcpupin", "cpuset"),
    ("cputune/emulatorpin", "cpuset"),
    ("cputune/iothreadpin", "cpuset"),
)
_NODES = (("numatune/memory", "nodeset"), ("numatune/memnode", "nodeset"))


def _pins(domain: Any, capabilities: Any) -> Iterator[Reason]:
    """CPUs, nodes and huge pages that the domain names: libvirt looks at them at the start only."""
    named = [
        (path, name, one)
        for path, name in (*_CPUS, *_NODES)
        for one in domain.iterfind(path)
        if one.get(name)
    ]
    pages = domain.findall("memoryBacking/hugepages/page")
    if not named and not pages:
        return
    try:
        nodes = read_host(capabilities)
    except TopologyError as problem:
        yield _unknown("cputune", problem.message)
        return
    cpus = {cpu for node in nodes for cpu in node.cpus}
    ids = {node.id for node in nodes}
    for path, name, element in named:
        is_cpu = name == "cpuset"
        try:
            wanted = parse_cpuset(element.get(name))
        except ValueError:
            continue  # libvirt tells
        missing = wanted - (cpus if is_cpu else ids)
        if missing:
            what = "CPU" if is_cpu else "NUMA node"
            many = "s" if len(missing) > 1 else ""
            yield _no(f"{path}/@{name}", f"has no {what}{many} {format_cpuset(missing)}")
    sizes = {size for node in nodes for size, count in node.pages if count}
    for page in pages:
        size = to_bytes(page.get("size") or "", page.get("unit"), "KiB")
        if size is not None and size // 1024 not in sizes:
            yield _no("memoryBacking/hugepages/page/@size", f"has no pages of {size // 1024} KiB")


# --- domain capabilities ----------------------------------------------------------


def _by_domcapabilities(domain: Any, documents: Documents) -> Iterator[Reason]:
    try:
        root = documents.domcapabilities_for(domain)
    except MissingContextError as problem:
        yield _unknown("", problem.message)
        return
    limit = child(root, "vcpu")
    most = "" if limit is None else limit.get("max", "")
    vcpus = (domain.findtext("vcpu") or "1").strip()
    if most.isdigit() and vcpus.isdigit() and int(vcpus) > int(most):
        yield _no("vcpu", f"takes {most} vCPUs, not {vcpus}")
    for path, slot, where, enum, words in _rows():
        for element in domain.iterfind(path):
            value = _value(element, slot)
            if value is None:
                continue
            reason = _word(root, where, enum, words, value)
            if reason is not None:
                yield Reason(reason[0], path if slot in (".", "text()") else f"{path}/{slot}", reason[1])
    yield from _hyperv(domain, root)
    yield from _security(domain, root)
    yield from _cpu(domain, root)


@cache
def _rows() -> tuple[tuple[str, str, str, str, frozenset[str]], ...]:
    rows = []
    path = Path(__file__).parent / "data" / "hostwords.tsv"
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            domain, slot, where, enum, words, _ = line.split("\t")
            rows.append(
                (domain, slot, where, enum, frozenset() if words == "*" else frozenset(words.split()))
            )
    return tuple(rows)


def _value(element: Any, slot: str) -> str | None:
    if slot == ".":
        return "no" if element.get("state") == "off" else ""
    if slot == "text()":
        return text_of(element)
    value = element.get(slot[1:])
    return None if value is None else str(value)


def _word(root: Any, where: str, enum: str, words: frozenset[str], value: str) -> tuple[Answer, str] | None:
    """Is a word of the domain among those that are supported? None where nothing is against it."""
    if enum == "." and value == "no":
        return None
    if words and value not in words:
        return None
    element = root.find(where)
    name = where.rpartition("/")[2]
    if element is None:
        told = f"the domain capabilities do not tell about '{name}'"
        return Answer.UNKNOWN, told
    if element.get("supported", "yes") != "yes":
        return Answer.NO, f"does not support {name}"
    if enum == ".":
        return None
    if enum == "-":
        known = [text_of(one) for one in element.iterchildren("value")]
    else:
        found = [one for one in element.iterchildren("enum") if one.get("name") == enum]
        if not found:
            return Answer.UNKNOWN, f"the domain capabilities do not tell '{enum}' of '{name}'"
        known = [text_of(one) for one in found[0].iterchildren("value")]
    if value in known or (enum == "-" and not known):
        return None
    return Answer.NO, f"does not support {name} '{value}' ({', '.join(str(one) for one in known) or 'none'})"


def _hyperv(domain: Any, root: Any) -> Iterator[Reason]:
    """Enlightenments are elements in a domain and words in the capabilities (libvirt 9.4)."""
    enum = root.find("features/hyperv/enum[@name='features']")
    if enum is None:
        return
    known = {text_of(one) for one in enum.iterchildren("value")}
    for one in domain.iterfind("features/hyperv/*"):
        if one.get("state", "on") == "on" and one.tag not in known:
            yield _no(f"features/hyperv/{one.tag}", f"does not support the enlightenment '{one.tag}'")


def _security(domain: Any, root: Any) -> Iterator[Reason]:
    one = child(domain, "launchSecurity")
    where = {
        "sev": "features/sev",
        "sev-snp": "features/sev",
        "s390-pv": "features/s390-pv",
        "tdx": "features/tdx",
    }
    kind = "" if one is None else one.get("type", "")
    if kind not in where:
        return
    element = root.find(where[kind])
    if element is None:
        yield _unknown("launchSecurity", f"the domain capabilities do not tell about '{kind}'")
    elif element.get("supported") != "yes":
        yield _no("launchSecurity/@type", f"does not support {kind}")


def _cpu(domain: Any, root: Any) -> Iterator[Reason]:
    cpu = child(domain, "cpu")
    if cpu is None:
        return
    model = (cpu.findtext("model") or "").strip()
    mode = cpu.get("mode") or ("custom" if model else None)
    if mode is None:
        return
    row = next((one for one in root.iterfind("cpu/mode") if one.get("name") == mode), None)
    if row is None:
        yield _unknown("cpu/@mode", f"the domain capabilities do not tell about CPU mode '{mode}'")
        return
    if row.get("supported") != "yes":
        yield _no("cpu/@mode", f"does not support CPU mode '{mode}'")
        return
    if mode != "custom":
        return
    found = next((one for one in row.iterchildren("model") if text_of(one) == model), None)
    if found is None:
        yield _no("cpu/model", f"does not know CPU model '{model}'")
    elif found.get("usable") == "no":
        lacks: Sequence[str] = [
            one.get("name")
            for one in row.iterfind("blockers/feature")
            if one.getparent().get("model") == model
        ]
        what = f" (lacks {', '.join(lacks)})" if lacks else ""
        yield _no("cpu/model", f"cannot use CPU model '{model}'{what}")
    elif found.get("usable") != "yes":
        yield _unknown("cpu/model", f"it is not known whether CPU model '{model}' can be used")
