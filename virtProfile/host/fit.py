# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a VM runs: a domain held against each host's documents, with every reason why not.

Pure: `hostfiles` reads the documents. What they do not tell is unknown, never a yes.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from virtProfile.errors import (
    MissingContextError,
    NotFoundError,
    ParamError,
    PolicyError,
    ProfileError,
    UsageError,
    VersionError,
)
from virtProfile.format.document import parse
from virtProfile.format.element import child, text_of
from virtProfile.format.values import decimal, format_cpuset, parse_cpuset, to_bytes
from virtProfile.frozen import record, replace
from virtProfile.host.documents import Documents
from virtProfile.host.topology import TopologyError, read_host
from virtProfile.redaction import veil_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lxml import etree

    from virtProfile.host.context import Context
    from virtProfile.result import Result


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
            "reasons": [reason.to_dict() for reason in self.reasons],
        }


def judge(domain: etree._Element, host: HostDocuments) -> Verdict:
    """Can the host run a domain?

    :param domain: the root element
    :raises UsageError: a document is something else
    """
    documents = Documents(host.capabilities, host.domcapabilities)
    found = list(
        dict.fromkeys((*_by_capabilities(domain, documents), *_by_domcapabilities(domain, documents)))
    )
    return Verdict(host.name, _sum(found), tuple(found))


def refused(domain: etree._Element, host: HostDocuments, problem: ProfileError) -> Verdict:
    """The answer of a host for which the profiles could not even be applied.

    :param domain: the root element of what they were to be applied to
    """
    found = []
    for error in (problem, *problem.others):
        answer = Answer.UNKNOWN if isinstance(error, MissingContextError) else Answer.NO
        found.append(Reason(answer, "", str(error)))
    found += [reason for reason in judge(domain, host).reasons if reason.answer == Answer.NO]
    return Verdict(host.name, _sum(found), tuple(found))


def _sum(reasons: Iterable[Reason]) -> Answer:
    answers = {reason.answer for reason in reasons}
    return next((answer for answer in (Answer.NO, Answer.UNKNOWN) if answer in answers), Answer.YES)


def _no(path: str, message: str) -> Reason:
    return Reason(Answer.NO, path, message)


def _unknown(path: str, message: str) -> Reason:
    return Reason(Answer.UNKNOWN, path, message)


# --- the host's capabilities ------------------------------------------------------


def _by_capabilities(domain: etree._Element, documents: Documents) -> Iterator[Reason]:
    if not documents.capabilities:
        yield _unknown("", "the host's capabilities are not known")
        return
    kind = child(domain, "os")
    kind = None if kind is None else child(kind, "type")
    arch = None if kind is None else kind.get("arch")
    fitting = [
        root
        for root in documents.capabilities
        if arch is None or root.find("guest") is None or arch in _archs(root)
    ]
    if not fitting:
        known = sorted({name for root in documents.capabilities for name in _archs(root)})
        yield _no("os/type/@arch", f"has no guests of arch '{arch}' ({', '.join(known) or 'none'})")
        return
    yield from _guest(domain, fitting[0])
    yield from _pins(domain, fitting[0])


def _archs(capabilities: etree._Element) -> set[str]:
    return {arch.get("name", "") for arch in capabilities.iterfind("guest/arch")}


def _guest(domain: etree._Element, capabilities: etree._Element) -> Iterator[Reason]:
    """Domain type, machine, and how many vCPUs that takes."""
    kind = domain.find("os/type")
    arch = None if kind is None else kind.get("arch")
    machine = None if kind is None else kind.get("machine")
    if arch is None:
        arch = capabilities.findtext("host/cpu/arch")
    guests = [guest for guest in capabilities.iterfind("guest/arch") if guest.get("name") == arch]
    if not guests:
        yield _unknown("os/type/@arch", "the capabilities list no guests")
        return
    virt = domain.get("type")
    fitting = [below for guest in guests for below in guest.iterfind("domain") if below.get("type") == virt]
    if virt is not None and not fitting:
        known = ", ".join(
            sorted({below.get("type", "") for guest in guests for below in guest.iterfind("domain")})
        )
        yield _no("@type", f"has no domains of type '{virt}' for {arch} ({known or 'none'})")
        return
    if machine is None:
        return
    rows = [row for at in fitting for row in at.iterchildren("machine")]
    rows = rows or [row for guest in guests for row in guest.iterchildren("machine")]
    row = next(
        (
            candidate
            for candidate in rows
            if text_of(candidate) == machine or candidate.get("canonical") == machine
        ),
        None,
    )
    if row is None:
        yield _no("os/type/@machine", f"has no machine type '{machine}'")
        return
    most = row.get("maxCpus", "")
    vcpus = (domain.findtext("vcpu") or "1").strip()
    bound = decimal(most)
    if bound is not None and (decimal(vcpus) or 0) > bound:
        yield _no("vcpu", f"machine type '{machine}' takes {most} vCPUs, not {vcpus}")


#: Where a domain names CPUs and nodes of its host: path, attribute.
_CPUS = (
    ("vcpu", "cpuset"),
    ("cputune/vcpupin", "cpuset"),
    ("cputune/emulatorpin", "cpuset"),
    ("cputune/iothreadpin", "cpuset"),
)

_NODES = (("numatune/memory", "nodeset"), ("numatune/memnode", "nodeset"))


def _pins(domain: etree._Element, capabilities: etree._Element) -> Iterator[Reason]:
    """CPUs, nodes and huge pages that the domain names: libvirt looks at them at the start only."""
    named = [
        (path, name, part)
        for path, name in (*_CPUS, *_NODES)
        for part in domain.iterfind(path)
        if part.get(name)
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
            wanted = parse_cpuset(element.get(name, ""))
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


def _by_domcapabilities(domain: etree._Element, documents: Documents) -> Iterator[Reason]:
    try:
        root = documents.domcapabilities_for(domain)
    except MissingContextError as problem:
        yield _unknown("", problem.message)
        return
    limit = child(root, "vcpu")
    most = "" if limit is None else limit.get("max", "")
    vcpus = (domain.findtext("vcpu") or "1").strip()
    bound = decimal(most)
    if bound is not None and (decimal(vcpus) or 0) > bound:
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


def _value(element: etree._Element, slot: str) -> str | None:
    if slot == ".":
        return "no" if element.get("state") == "off" else ""
    if slot == "text()":
        return text_of(element)
    value = element.get(slot[1:])
    return None if value is None else str(value)


def _word(
    root: etree._Element, where: str, enum: str, words: frozenset[str], value: str
) -> tuple[Answer, str] | None:
    """Is a word of the domain among those that are supported? None where nothing is against it."""
    if enum == "." and value == "no":
        return None
    if words and value not in words:
        return None
    element = root.find(where)
    name = where.rpartition("/")[2]
    if element is None:
        told = f"the domain capabilities do not list '{name}'"
        return Answer.UNKNOWN, told
    if element.get("supported", "yes") != "yes":
        return Answer.NO, f"does not support {name}"
    if enum == ".":
        return None
    if enum == "-":
        known = [text_of(row) for row in element.iterchildren("value")]
    else:
        found = [row for row in element.iterchildren("enum") if row.get("name") == enum]
        if not found:
            return Answer.UNKNOWN, f"the domain capabilities do not list '{enum}' of '{name}'"
        known = [text_of(row) for row in found[0].iterchildren("value")]
    if value in known or (enum == "-" and not known):
        return None
    return (
        Answer.NO,
        f"does not support {name} '{value}' ({', '.join(str(text) for text in known) or 'none'})",
    )


def _hyperv(domain: etree._Element, root: etree._Element) -> Iterator[Reason]:
    """Enlightenments are elements in a domain and words in the capabilities (libvirt 9.4)."""
    enum = root.find("features/hyperv/enum[@name='features']")
    if enum is None:
        return
    known = {text_of(value) for value in enum.iterchildren("value")}
    for element in domain.iterfind("features/hyperv/*"):
        if element.get("state", "on") == "on" and element.tag not in known:
            yield _no(f"features/hyperv/{element.tag}", f"does not support the enlightenment '{element.tag}'")


def _security(domain: etree._Element, root: etree._Element) -> Iterator[Reason]:
    security = child(domain, "launchSecurity")
    where = {
        "sev": "features/sev",
        "sev-snp": "features/sev",
        "s390-pv": "features/s390-pv",
        "tdx": "features/tdx",
    }
    kind = "" if security is None else security.get("type", "")
    if kind not in where:
        return
    element = root.find(where[kind])
    if element is None:
        yield _unknown("launchSecurity", f"the domain capabilities do not list '{kind}'")
    elif element.get("supported") != "yes":
        yield _no("launchSecurity/@type", f"does not support {kind}")


def _cpu(domain: etree._Element, root: etree._Element) -> Iterator[Reason]:
    cpu = child(domain, "cpu")
    if cpu is None:
        return
    model = (cpu.findtext("model") or "").strip()
    mode = cpu.get("mode") or ("custom" if model else None)
    if mode is None:
        return
    row = next((candidate for candidate in root.iterfind("cpu/mode") if candidate.get("name") == mode), None)
    if row is None:
        yield _unknown("cpu/@mode", f"the domain capabilities do not list CPU mode '{mode}'")
        return
    if row.get("supported") != "yes":
        yield _no("cpu/@mode", f"does not support CPU mode '{mode}'")
        return
    if mode != "custom":
        return
    found = next((candidate for candidate in row.iterchildren("model") if text_of(candidate) == model), None)
    if found is None:
        yield _no("cpu/model", f"does not know CPU model '{model}'")
    elif found.get("usable") == "no":
        lacks: Sequence[str] = [
            feature.get("name", "")
            for blockers in row.iterfind("blockers")
            if blockers.get("model") == model
            for feature in blockers.iterfind("feature")
        ]
        what = f" (lacks {', '.join(lacks)})" if lacks else ""
        yield _no("cpu/model", f"cannot use CPU model '{model}'{what}")
    elif found.get("usable") != "yes":
        yield _unknown("cpu/model", f"it is not known whether CPU model '{model}' can be used")


#: What is wrong with the call itself, on whatever host.
_EVERYWHERE = (UsageError, PolicyError, NotFoundError, VersionError, ParamError)


def verdicts(
    text: str, hosts: Iterable[HostDocuments], given: Context, apply: Callable[[Context], Result]
) -> list[Verdict]:
    """Hold the resulting VM against each host's documents, which are also what its profiles ask.

    :param text: the domain before any profile
    :param given: what the caller says of the context; it goes before the hosts' documents
    :param apply: applies the profiles in a context
    :raises ProfileError: what is wrong on whatever host: a profile that is not there, ...
    """
    domain = parse(text).root
    found = []
    for host in hosts:
        context = replace(
            given,
            capabilities=given.capabilities or host.capabilities,
            domcapabilities=given.domcapabilities or host.domcapabilities,
        )
        try:
            result = apply(context)
        except _EVERYWHERE:
            raise
        except ProfileError as problem:
            found.append(refused(domain, host, veil_error(problem)))
        else:
            found.append(judge(parse(result.xml).root, host))
    return found
