# SPDX-License-Identifier: GPL-2.0-or-later
"""What libvirt publishes of hosts: capabilities documents, and which of them fits a domain."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from virtProfile.errors import MissingContextError, UsageError
from virtProfile.format import machines
from virtProfile.format.document import parse
from virtProfile.format.element import Element, child, text_of
from virtProfile.format.pci import _EXPANDERS, _QEMU

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lxml import etree


class Documents:
    """Parsed capabilities and domain capabilities of one context."""

    def __init__(
        self,
        capabilities: Sequence[str],
        domcapabilities: Sequence[str],
        sources: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """
        :param sources: text -> the file it is from, for messages
        :raises UsageError: a document is something else
        """
        self._sources: dict[Element, str] = {}

        def read(text: str, tag: str) -> Element:
            root = _read(text, tag, sources.get(text, ""))
            self._sources[root] = sources.get(text, "")
            return root

        self.capabilities = [read(text, "capabilities") for text in capabilities]
        self.domcapabilities = [read(text, "domainCapabilities") for text in domcapabilities]
        self.size = max(
            (sum(1 for _ in root.iter("*")) for root in (*self.capabilities, *self.domcapabilities)),
            default=1,
        )
        self._fitting: dict[tuple[str | None, ...], tuple[Element | None, str]] = {}

    # --- choosing ------------------------------------------------------------

    def capabilities_for(self, domain: Element) -> Element:
        """The capabilities of a host that has guests of the domain's arch and type.

        :raises MissingContextError: none was given, or none fits
        """
        if not self.capabilities:
            raise MissingContextError(
                "the host's capabilities are not known",
                hint="give them with --capabilities FILE ('virsh capabilities'), or a connection",
            )
        key = ("host", *_wanted(domain))
        found = self._fitting.get(key)
        if found is None:
            found = self._fitting[key] = self._choose_host(domain, key[1:])
        if found[0] is None:
            raise MissingContextError(
                f"no given capabilities fit: {found[1]}",
                hint="--capabilities FILE gives another host's",
            )
        return found[0]

    def _choose_host(self, domain: Element, wanted: tuple[str | None, ...]) -> tuple[Element | None, str]:
        """The host that can run the domain: best with its machine type, then with its emulator."""
        kind, arch, machine, emulator = wanted
        fitting: list[tuple[tuple[bool, bool], Element]] = []
        reasons = []
        for root in self.capabilities:
            guests = [_arch(guest) for guest in root.iterchildren("guest")]
            if not guests:  # a host's description alone
                fitting.append(((True, True), root))
                continue
            of_arch = [guest for guest in guests if arch is None or guest.get("name") == arch]
            of_type = [guest for guest in of_arch if kind is None or kind in _types(guest)]
            if not of_arch:
                reasons.append(self._reason(root, f"they list no guests of arch '{arch}'"))
            elif not of_type:
                reasons.append(self._reason(root, f"they list no guests of domain type '{kind}'"))
            else:
                machines_of = {text_of(m) for guest in of_type for m in guest.iter("machine")}
                emulators = {text_of(e) for guest in of_type for e in guest.iter("emulator")}
                misses = (machine is not None and machine not in machines_of, emulator not in emulators)
                fitting.append((misses, root))
        if not fitting:
            return None, "; ".join(dict.fromkeys(reasons))
        return min(fitting, key=lambda row: row[0])[1], ""

    def domcapabilities_for(self, domain: Element) -> Element:
        """The domain capabilities that fit the domain's type, arch, machine and emulator.

        :raises MissingContextError: none was given, or none fits: with the reason
        """
        if not self.domcapabilities:
            raise MissingContextError(
                "domain capabilities are not known",
                hint="give them with --domcapabilities FILE ('virsh domcapabilities'), or a connection",
            )
        wanted = _wanted(domain)
        found = self._fitting.get(wanted)
        if found is None:
            found = self._fitting[wanted] = self._choose(domain, wanted)
        if found[0] is None:
            raise MissingContextError(
                f"no given domain capabilities fit: {found[1]}",
                hint="--domcapabilities FILE gives those of that emulator and machine",
            )
        return found[0]

    def _reason(self, document: Element, fact: str) -> str:
        source = self._sources.get(document)
        return f"{fact} ({source})" if source else fact

    def _choose(self, domain: Element, wanted: tuple[str | None, ...]) -> tuple[Element | None, str]:
        fitting = []
        reasons = []
        for root in self.domcapabilities:
            reason = self._misfit(root, domain, wanted)
            if reason:
                reasons.append(self._reason(root, reason))
            else:
                fitting.append(root)
        if not fitting:
            return None, "; ".join(dict.fromkeys(reasons))
        default = self.machine_of(domain)
        fitting.sort(
            key=lambda root: (
                _text(root, "machine") != default,
                machines.family(_text(root, "machine")) != machines.family(default or ""),
                _text(root, "domain") != "kvm",
            )
        )
        return fitting[0], ""

    def _misfit(self, document: Element, domain: Element, wanted: tuple[str | None, ...]) -> str:
        """Why a domain capabilities document does not fit; "" where it does."""
        kind, arch, machine, emulator = wanted
        has = _text(document, "domain")
        if kind is not None and kind != has:
            return f"they are of domain type '{has}', not '{kind}'"
        has = _text(document, "arch")
        if arch is not None and arch != has:
            return f"they are of arch '{has}', not '{arch}'"
        has = _text(document, "machine")
        if machine is not None and not self._same_machine(machine, has, domain):
            return f"they are of machine '{has}', not '{machine}'"
        has = _text(document, "path")
        if emulator is not None and has and emulator != has:
            return f"they are of emulator '{has}', not '{emulator}'"
        return ""

    def _same_machine(self, wanted: str, has: str, domain: Element) -> bool:
        if wanted == has or self.canonical(wanted, domain) == has:
            return True
        family = machines.family(wanted)
        if family != machines.family(has):
            return False
        return family in (wanted, has)  # what hosts share is of no version (capmerge)

    # --- machines ------------------------------------------------------------

    def canonical(self, machine: str, domain: Element) -> str:
        """What an alias such as ``q35`` stands for, as far as the capabilities tell."""
        for row in self._machines(domain):
            if text_of(row) == machine:
                return str(row.get("canonical", machine))
        return machine

    def machine_of(self, domain: Element) -> str | None:
        """The domain's machine type, or the one that it would be given; None if unknown."""
        kind = _type(domain)
        machine = kind.get("machine")
        if machine is not None:
            return str(machine)
        for row in self._machines(domain):
            return text_of(row)
        arch = kind.get("arch")
        return machines.default_machine(arch) if arch is not None else None

    def _machines(self, domain: Element) -> Iterable[Element]:
        """Machine elements of the fitting guest in the capabilities, the default first."""
        kind = _type(domain)
        for document in self.capabilities:
            wanted = kind.get("arch")
            if wanted is None:
                host = child(document, "host")
                cpu = None if host is None else child(host, "cpu")
                wanted = None if cpu is None else _text(cpu, "arch")
            for guest in document.iterchildren("guest"):
                arch = _arch(guest)
                if wanted is not None and arch.get("name") != wanted:
                    continue
                own = [
                    machine
                    for inner in arch.iterchildren("domain")
                    if inner.get("type") == domain.get("type")
                    for machine in inner.iterchildren("machine")
                ]
                yield from own or arch.iterchildren("machine")


def _read(text: str, tag: str, source: str) -> Element:
    document = parse(text, name=source or tag, error=UsageError)
    if document.root.tag != tag:
        raise UsageError(
            f"'{document.root.tag}' was given where libvirt's '{tag}' was expected",
            hint="'virsh capabilities' and 'virsh domcapabilities' print them",
            where=f"{source}:{document.root.sourceline}" if source else "",
        )
    return document.root


_NOTHING: dict[str, str] = {}


def _type(domain: Element) -> Any:
    """The attributes of os/type, whether it is there or not."""
    os = child(domain, "os")
    found = None if os is None else child(os, "type")
    return _NOTHING if found is None else found.attrib


def _arch(guest: Element) -> Any:
    found = child(guest, "arch")
    return _NOTHING if found is None else found


def _types(guest_arch: etree._Element) -> set[str | None]:
    return {domain.get("type") for domain in guest_arch.iterchildren("domain")} if len(guest_arch) else set()


def _text(element: Element, tag: str) -> str:
    found = child(element, tag)
    return "" if found is None else (text_of(found) or "")


def _wanted(domain: Element) -> tuple[str | None, str | None, str | None, str | None]:
    kind = _type(domain)
    devices = child(domain, "devices")
    emulator = None if devices is None else child(devices, "emulator")
    return (
        domain.get("type"),
        kind.get("arch"),
        kind.get("machine"),
        None if emulator is None else text_of(emulator),
    )


def machine_family(root: Element, documents: Documents) -> str | None:
    """``pc``, ``q35``, ``virt``, …, or None where nobody says the machine type."""
    machine = documents.machine_of(root)
    if machine is None:
        return None
    return machines.family(documents.canonical(machine, root))


def expander_of(root: Element, documents: Documents) -> str | None:
    """The model of the expander bus that the domain's machine takes; None for none.

    :raises MissingContextError: the machine type is not known
    """
    family = machine_family(root, documents)
    if family is None:
        raise MissingContextError(
            "the machine type is not known",
            hint="the domain's <type arch='…' machine='…'> says it, or --capabilities FILE",
        )
    arches, model = _EXPANDERS.get(family, ((), ""))
    os = child(root, "os")
    kind = None if os is None else child(os, "type")
    arch = "" if kind is None else kind.get("arch", "")
    return model if root.get("type") in _QEMU and arch in arches else None
