# SPDX-License-Identifier: GPL-2.0-or-later
"""All Hypothesis strategies: domains and profiles cut from real domain XML.

A seed is a whole domain. A generated domain is a seed with pieces left out and
written in other ways; a generated profile is made of pieces of seeds, as adds,
removes and defaults. So everything that stands in a seed is exercised in every
role, and with libvirt's own test documents as seeds that is nearly the format.
"""

from __future__ import annotations

import functools
import re
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import corpus
from hypothesis import strategies as st
from lxml import etree

from virtProfile import Context
from virtProfile.errors import NotFoundError
from virtProfile.language.parser import parse_profiles

#: None, "fixed" or "reads": see `scenes`.
Dynamic = str | None
DOMAINS = Path(__file__).parent / "data" / "domains"
_FIXED = {"name", "uuid", "metadata", "genid"}


class MemoryStore:
    """Profiles by name, without files."""

    def __init__(self, texts: list[str]) -> None:
        self.profiles: dict[str, Any] = {}
        for number, text in enumerate(texts, 1):
            parsed = parse_profiles(text, f"p{number}.xml")
            assert not [one for one in parsed.problems if one.level == "error"], parsed.problems
            for profile in parsed.profiles:
                self.profiles[profile.name] = profile

    def resolve(self, name: str, version: str | None = None) -> tuple[Any, list[Any]]:
        if name not in self.profiles:
            raise NotFoundError(f"no profile '{name}'")
        return self.profiles[name], []

    def get(self, name: str, version: str | None = None) -> Any:
        return self.resolve(name, version)[0]

    def one_look(self) -> Any:
        return nullcontext()

    def automatic(self) -> list[Any]:
        return [one for one in self.profiles.values() if one.autoselect and one.matches]


@dataclass(frozen=True)
class Scene:
    """One example: a domain, profiles, and what the caller asks for."""

    domain: str
    profiles: tuple[str, ...]
    requests: tuple[tuple[str, int | None, tuple[tuple[str, str], ...]], ...]
    context: Context | None = None

    @functools.cached_property
    def store(self) -> MemoryStore:
        return MemoryStore(list(self.profiles))

    def wishes(self) -> list[dict[str, Any]]:
        return [
            {"name": name, "priority": priority, "params": dict(params)}
            for name, priority, params in self.requests
        ]


@functools.cache
def seeds() -> tuple[tuple[str, Any], ...]:
    """(text, root) of the domains shipped with the tests, and of each tenth of libvirt's own."""
    found = []
    valid = [text for path, text in corpus.documents() if corpus.is_valid(path)]
    for text in valid[::10]:
        if len(text) < 8_000:
            found.append((text, etree.fromstring(text.encode())))
    for path in sorted(DOMAINS.glob("*.xml")):
        text = path.read_text()
        found.append((text, etree.fromstring(text.encode())))
    return tuple(found)


def _capabilities(machine: str, graphics: str) -> str:
    return (
        f"<domainCapabilities><domain>kvm</domain><machine>{machine}</machine><arch>x86_64</arch><devices>"
        f"<graphics supported='yes'><enum name='type'><value>{graphics}</value></enum></graphics>"
        "</devices></domainCapabilities>"
    )


#: None, and what a host might say: documents that fit some domains and others not.
CONTEXTS = (
    None,
    Context(
        domcapabilities=(_capabilities("q35", "spice"), _capabilities("pc", "vnc")), qemu_version=4002000
    ),
)

#: Conditions that nothing a profile does can change.
_FIXED_TESTS = (
    "name",
    "string-length(name) > 6",
    "$number > 2",
    "$flag",
    "$word = 'one'",
    "vp:supports('graphics', 'type', 'spice')",
    "vp:version-at-least($word, '1.2')",
    "false()",
)
#: Conditions on what profiles add, change and remove.
_READING_TESTS = (
    "vcpu > 2",
    "devices/sound",
    "devices/graphics[@type = 'spice']",
    "count(devices/disk) > 1",
    "vcpu > sum(iothreads) + 2",
    "os/type/@arch = 'x86_64'",
    "vp:machine('q35')",
    "$qemu_version >= 5000000",
    "devices/controller[@type = 'scsi']/@model",
    "vp:kib(memory) > 300000",
    "features/acpi",
    "devices/interface/model/@type = 'virtio'",
    "devices/disk[vp:takes(., 'driver/@iothread')]",
)
_PARAMS = (
    "<param name='number' type='int' default='2'/><param name='flag' type='bool' default='yes'/>"
    "<param name='word' default='one'/>"
)


@st.composite
def conditions(draw: st.DrawFn, reads: bool = True) -> str:
    """A test of the language.

    :param reads: also of what profiles may change
    """
    atoms = st.sampled_from((*_FIXED_TESTS, *_READING_TESTS) if reads else _FIXED_TESTS)
    shape = draw(st.sampled_from(["{0}", "not({0})", "{0} and {1}", "{0} or not({1})"]))
    return str(shape.format(draw(atoms), draw(atoms)))


def _worked_out(draw: st.DrawFn, value: str, reads: bool) -> str:
    """A value as an expression that gives the same, or a number that depends on others."""
    if not value or set(value) & set("{}'\"<&"):
        return value
    if value.isdigit() and len(value) < 6 and draw(st.booleans()):
        return "{" + f"vp:max(1, $number + {value})" + "}"
    return "{" + f"vp:if({draw(conditions(reads))}, '{value}', '{value}')" + "}"


@st.composite
def domains(draw: st.DrawFn, pool: Any = None) -> str:
    """A domain: a seed with some of its parts left out, in some way of writing."""
    text, root = draw(st.sampled_from(pool or seeds()))
    if draw(st.booleans()):
        return text
    quote = draw(st.sampled_from("'\""))
    indent = draw(st.sampled_from(["  ", "\t", "    ", ""]))
    newline = draw(st.sampled_from(["\n", "\n", "\r\n"])) if indent else ""
    comments = draw(st.booleans())
    leave_out = draw(st.sets(st.integers(0, 400), max_size=6))
    counter = [0]

    def write(element: Any, depth: int) -> str:
        counter[0] += 1
        number = counter[0]
        attributes = "".join(
            f" {_qname(element, name)}={quote}{escape(value, {quote: '&quot;' if quote == chr(34) else '&apos;'})}{quote}"
            for name, value in element.attrib.items()
        )
        declared = "".join(
            f" xmlns{':' + prefix if prefix else ''}={quote}{uri}{quote}"
            for prefix, uri in element.nsmap.items()
            if element.getparent() is None or element.getparent().nsmap.get(prefix) != uri
        )
        name = _name(element)
        inner = []
        for child in element.iterchildren("*"):
            below = write(child, depth + 1)
            if counter[0] in leave_out and child.tag not in ("name", "devices", "os", "type"):
                continue
            inner.append(below)
        body = escape((element.text or "").strip())
        if comments and number % 11 == 3:
            inner.insert(0, f"{newline}{indent * (depth + 1)}<!-- note {number} -->")
        start = f"{newline if depth else ''}{indent * depth}<{name}{declared}{attributes}"
        if not inner and not body:
            return start + ("/>" if number % 3 else f"></{name}>")
        if inner:
            return f"{start}>{body}{''.join(inner)}{newline}{indent * depth}</{name}>"
        return f"{start}>{body}</{name}>"

    return write(root, 0) + "\n"


def _name(element: Any) -> str:
    local = etree.QName(element).localname
    return f"{element.prefix}:{local}" if element.prefix else local


def _qname(element: Any, name: str) -> str:
    if not name.startswith("{"):
        return name
    uri, _, local = name[1:].partition("}")
    prefix = next(key for key, value in element.nsmap.items() if value == uri and key)
    return f"{prefix}:{local}"


@st.composite
def snippets(draw: st.DrawFn, pool: Any = None, dynamic: Dynamic = None) -> str:
    """Part of a seed, from the root down, with pieces left out."""
    _, root = draw(st.sampled_from(pool or seeds()))
    tops = [one for one in root.iterchildren("*") if one.tag not in _FIXED]
    top = draw(st.sampled_from(tops))
    if top.tag == "devices":
        count = draw(st.integers(1, 2))
        devices = list(top.iterchildren("*"))
        if not devices:
            return "<devices/>"
        chosen = draw(st.lists(st.sampled_from(devices), min_size=count, max_size=count))
        inner = "".join(_cut(draw, one, 2, dynamic) for one in chosen)
        return f"<devices>{inner}</devices>"
    return _cut(draw, top, 1, dynamic)


def _cut(draw: st.DrawFn, element: Any, depth: int, dynamic: Dynamic = None) -> str:
    """An element with some of its attributes and children."""

    def spelled(value: str) -> str:
        if dynamic is not None and draw(st.integers(0, 5)) == 0:
            return _worked_out(draw, value, dynamic == "reads")
        return value.replace("{", "{{").replace("}", "}}")

    name = _name(element)
    declared = ""
    if element.prefix:
        declared = f" xmlns:{element.prefix}={quoteattr(element.nsmap[element.prefix])}"
    attributes = []
    units = "unit" in element.attrib
    for key, value in element.attrib.items():
        if units or draw(st.integers(0, 3)) > 0:
            attributes.append(f" {_qname(element, key)}={quoteattr(spelled(value))}")
    children = []
    for one in element.iterchildren("*"):
        if draw(st.integers(0, 2)) > 0:
            children.append(_cut(draw, one, depth + 1, dynamic))
    text = spelled((element.text or "").strip())
    head = f"<{name}{declared}{''.join(attributes)}"
    if not children and not text:
        return head + "/>"
    return f"{head}>{'' if children else escape(text)}{''.join(children)}</{name}>"


@st.composite
def actions(draw: st.DrawFn, pool: Any = None, multiple_yes: bool = False, dynamic: Dynamic = None) -> str:
    kind = draw(st.sampled_from(["add", "add", "add", "default", "default", "remove"]))
    words = ""
    if kind == "add":
        choices = ["", "", " multiple='no'"] + ([" multiple='yes'"] if multiple_yes else [])
        words = draw(st.sampled_from(choices))
    if draw(st.integers(0, 7)) == 0:
        words += " constraint='hard'"
    if dynamic == "reads" and draw(st.integers(0, 2)) == 0:
        return draw(each_actions(pool, words, kind))
    if draw(st.integers(0, 7)) == 0:
        words += " whole='yes'"
    if dynamic == "reads" and kind == "add" and draw(st.integers(0, 9)) == 0:
        words += f" repeat={quoteattr(draw(st.sampled_from(_COUNTS)))}"
    if dynamic is not None:
        if draw(st.booleans()):
            words += f" when={quoteattr(draw(conditions(dynamic == 'reads')))}"
        words += draw(st.sampled_from(["", " unknown='skip'", " unknown='apply'"]))
    inner = draw(snippets(pool, dynamic))
    return f"<{kind}{words}>\n{inner}\n</{kind}>"


@st.composite
def each_actions(draw: st.DrawFn, pool: Any = None, words: str = "", kind: str = "add") -> str:
    """An action for elements that an expression selects, or a check."""
    _, root = draw(st.sampled_from(pool or seeds()))
    chosen = [one for one in root.iterchildren("*") if one.tag not in _FIXED and one.tag != "devices"]
    chosen += (
        list(root.iterchildren("devices"))[0:1]
        and [one for one in root.find("devices").iterchildren("*") if one.prefix is None] * 3
    )
    chosen = [one for one in chosen if one.prefix is None]
    one = draw(st.sampled_from(chosen))
    path = one.tag if one.getparent() is root else f"devices/{one.tag}"
    predicate = draw(st.sampled_from(_PREDICATES))
    where = f" each={quoteattr(path + predicate)}"
    if draw(st.integers(0, 3)) == 0:
        where += f" when={quoteattr(draw(st.sampled_from(_ELEMENT_TESTS)))}"
    if draw(st.integers(0, 7)) == 0:
        test = quoteattr(draw(st.sampled_from(_ELEMENT_TESTS)))
        return f"<check severity='warning' message='{{name()}} {{$position}}'{where} test={test}/>"
    words += where
    if draw(st.integers(0, 3)) == 0:
        words += " whole='yes'"
    if kind == "add" and draw(st.integers(0, 7)) == 0:
        words += f" repeat={quoteattr(draw(st.sampled_from(_COUNTS)))}"
    inner = f"<{one.tag}/>" if kind == "remove" and draw(st.booleans()) else _cut(draw, one, 2, "reads")
    # Not the index of controllers: one that a device needs, made anew, is then told as a change.
    if one.tag != "controller" and draw(st.integers(0, 3)) == 0:
        inner = re.sub(r"(=['\"])\d{1,3}(['\"])", r"\1{$position}\2", inner, count=1)
    return f"<{kind}{words}>\n{inner}\n</{kind}>"


_COUNTS = ("1", "2", "$number", "count(devices/disk)", "vcpu")
_PREDICATES = (
    "",
    "",
    "",
    "[1]",
    "[position() > 1]",
    "[@type]",
    "[driver]",
    "[not(address)]",
    "[last()]",
    "[model/@type='virtio' or not(model)]",
)
_ELEMENT_TESTS = (
    "@type",
    "not(driver)",
    "$position > 1",
    "target",
    "not(address)",
    "$last < 3",
    "../sound",
    "/domain/vcpu > 2",
)


@st.composite
def scenes(
    draw: st.DrawFn, pool: Any = None, multiple_yes: bool = False, top: int = 150, dynamic: Dynamic = None
) -> Scene:
    """A domain and one to three profiles at some priorities.

    :param dynamic: with conditions, expressions and params: "fixed" are those on what no
        profile changes, "reads" also those on what they do
    """
    count = draw(st.integers(1, 3))
    texts = []
    requests = []
    for number in range(count):
        body = draw(st.lists(actions(pool, multiple_yes, dynamic), min_size=1, max_size=3))
        head = ""
        if draw(st.integers(0, 3)) == 0:
            negate = draw(st.sampled_from(["", " not='yes'"]))
            if dynamic != "fixed":
                head = f"<match{negate}>{draw(snippets(pool, dynamic))}</match>\n"
        params: tuple[tuple[str, str], ...] = ()
        if dynamic is not None:
            head += _relations(draw, number, count, dynamic)
            params = draw(
                st.sampled_from(
                    [(), (), (("number", "3"),), (("flag", "no"), ("word", "1.3")), (("number", "0"),)]
                )
            )
        texts.append(f"<profile name='p{number}'>\n{head}{chr(10).join(body)}\n</profile>\n")
        priority = draw(st.sampled_from([None, None, 0, 1, 50, 98, min(120, top), top]))
        if number == 0 or dynamic is None or draw(st.integers(0, 3)):
            requests.append((f"p{number}", priority, params))
        if dynamic is not None and draw(st.integers(0, 5)) == 0:
            other = draw(st.sampled_from([None, 0, 40, top]))
            requests.append((f"p{number}#b", other, draw(st.sampled_from([(), (("number", "4"),)]))))
    context = draw(st.sampled_from((CONTEXTS[1], *CONTEXTS))) if dynamic is not None else None
    return Scene(draw(domains(pool)), tuple(texts), tuple(requests), context)


def _relations(draw: st.DrawFn, number: int, count: int, dynamic: str) -> str:
    """Params, and what a profile has to do with the domain and other profiles."""
    rows = [_PARAMS]
    if draw(st.integers(0, 2)) == 0:
        unknown = draw(st.sampled_from(["", " unknown='skip'", " unknown='apply'"]))
        rows.append(f"<match test={quoteattr(draw(conditions(dynamic == 'reads')))}{unknown}/>")
    for word, chance in (("requires", 2), ("conflicts", 8)):
        other = draw(st.integers(0, count - 1))
        if other != number and draw(st.integers(0, chance)) == 0:
            rows.append(f"<{word} profile='p{other}'/>")
    return "\n".join(rows) + "\n"
