# SPDX-License-Identifier: GPL-2.0-or-later
"""The record of what profiles did to a VM: its form in the metadata, read and written.

A root element of its own namespace, as libvirt keeps one element of each. For each
profile that applies: version, digest, priority, params, source, and what it did:

``<on at='devices/disk[target/@dev=?]/driver' of='vda vdb'>``
    values on elements of the definition: the first child has them as they were
    written, ``<was>`` as they were before; ``?`` stands for each word of `of`
``<add to='devices' n='2'>``
    an element with what was written into it; `n` is its place among its like
``<del from='features' n='1'>``
    an element that was removed, as it was

What was written stands in the record's own namespace, so that no XPath takes it for
a part of the VM. ``gone='yes'`` marks what somebody took out by hand since. A record is input, and may
be forged: what cannot be read is left out and told, and nothing here is evaluated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any

from lxml import etree

from virtProfile.errors import PolicyError
from virtProfile.format.document import RECORD_NS, Document
from virtProfile.format.element import Element, attributes, child, children, in_words, text_of
from virtProfile.format.patterns import compiled_later
from virtProfile.language.profile import MAX_PRIORITY, MIN_PRIORITY
from virtProfile.result import Warning

PREFIX = "vr"
_OURS = f"{{{RECORD_NS}}}"
ROOT = _OURS + "record"
#: How much of a profile's digest stands in the record, in hexadecimal digits: it tells texts
#: of a version apart, and is no seal.
DIGEST_DIGITS = 16
#: More things than libvirt takes in a domain are no record of ours.
MAX_ENTRIES = 100_000
#: A record of more characters is none of ours: ten profiles that act on 10,000 devices take half of it.
MAX_LENGTH = 8 * 1024 * 1024
#: Profiles in a record; libvirt's own limit on a domain is far below what so many would do.
MAX_PROFILES = 1000
#: Characters of all places, written out for each of their words.
MAX_PLACES = 16 * 1024 * 1024
MAX_PLACE = 16 * 1024
#: Longer places are read anew each time, so that what is remembered has a bound.
MAX_KNOWN = 256
#: Parts of a key in one step of a place: the longest key of the format has four.
MAX_KEYS = 8
#: Steps of one place, and how deep an element in the record may be.
MAX_DEPTH = 64
#: Warnings about single parts that cannot be read.
MAX_DOUBTS = 20
#: The tag of the values before.
WAS = "was"
#: Stands in the place of a value that is nobody's business.
HIDDEN = "hidden"


class Trust(StrEnum):
    """How far a record is believed; see `virtProfile.engine.record.trust`."""

    RECORD = "record"  # guarded values only as the store confirms
    STORE = "store"  # everything only as the store confirms
    ALL = "all"  # everything: the caller has confirmed it


_NUMBER = compiled_later(r"-?[0-9]{1,9}")
_STEP = compiled_later(
    r"(?P<tag>(?:\{[^{}]*\})?[^\[\]/{}'\s]+)"
    r"(?P<keys>(?:\[(?:[^\]']|'[^']*')*\])*)(?:/|$)"
)
_KEY = compiled_later(
    r"\[(?:(?P<part>[^\]'=]+)=(?:'(?P<quoted>[^']*)'|(?P<value>[^'\[\]]+))|(?P<number>[1-9][0-9]{0,5}))\]"
)


class Step:
    """One step of a place: a tag, and what tells the element from its like."""

    __slots__ = ("tag", "keys", "number")

    def __init__(self, tag: str, keys: tuple[tuple[str, str], ...], number: int | None) -> None:
        self.tag = tag
        self.keys = keys
        self.number = number


def read_place(text: str) -> tuple[Step, ...]:
    """The steps of a place such as ``devices/disk[target/@dev=vda]/driver``.

    :raises ValueError: it is none
    """
    if len(text) > MAX_PLACE:
        raise ValueError(text)
    return _known_steps(text) if len(text) <= MAX_KNOWN else _steps(text)


@lru_cache(maxsize=4096)  # the VMs of a fleet have the same places, and one call asks twice
def _known_steps(text: str) -> tuple[Step, ...]:
    return _steps(text)


def _steps(text: str) -> tuple[Step, ...]:
    steps: list[Step] = []
    position = 0
    while position < len(text):
        found = _STEP.match(text, position)
        if found is None or len(steps) >= MAX_DEPTH:
            raise ValueError(text)
        keys: list[tuple[str, str]] = []
        number = None
        end = 0
        while key := _KEY.match(found["keys"], end):
            end = key.end()
            if key["number"]:
                number = int(key["number"])
            else:
                keys.append((key["part"], key["value"] or key["quoted"] or ""))
        if end != len(found["keys"]) or len(keys) > MAX_KEYS:
            raise ValueError(text)
        steps.append(Step(found["tag"], tuple(keys), number))
        position = found.end()
    return tuple(steps)


class Written:
    """An element as it was written: of others' values in it nothing is known."""

    __slots__ = ("tag", "attrs", "text", "children")

    def __init__(
        self, tag: str, attrs: dict[str, str], text: str | None, children: Sequence[Written] = ()
    ) -> None:
        self.tag = tag
        self.attrs = attrs
        self.text = text
        self.children = list(children)

    def same(self, other: object) -> bool:
        """Does the other say the same?"""
        return (
            isinstance(other, Written)
            and (self.tag, self.attrs, self.text) == (other.tag, other.attrs, other.text)
            and len(self.children) == len(other.children)
            and all(part.same(peer) for part, peer in zip(self.children, other.children, strict=True))
        )

    def in_words(self) -> str:
        """The element in a few characters, for a message."""
        return in_words(self.tag, self.attrs, self.text)

    def size(self) -> int:
        """The elements in it, itself included."""
        return 1 + sum(part.size() for part in self.children)

    def values(self) -> Iterator[str]:
        """Every value in it."""
        yield from self.attrs.values()
        if self.text is not None:
            yield self.text
        for part in self.children:
            yield from part.values()


#: Marks a slot of `Entry.hidden` where the VM had a secret before.
_OF_THE_VM = "!"


class Entry:
    """One thing that a profile did. `kind` is on, add or del.

    `at` is the place of the element ("on"), or of its parent; `written` what was
    written, for "del" what was there; `was` the values before, for "on".
    """

    __slots__ = ("kind", "at", "number", "written", "was", "gone", "hidden", "also", "beside")

    def __init__(
        self,
        kind: str,
        at: str,
        written: Written,
        was: Written | None = None,
        number: int = 0,
        gone: bool = False,
        hidden: tuple[str, ...] = (),
        also: tuple[str, ...] = (),
        beside: bool = False,
    ) -> None:
        self.kind = kind
        self.at = at
        self.number = number
        self.written = written
        self.was = was
        self.gone = gone
        #: slots of which no value is kept, as `of_the_vm` marks them: they cannot be taken back
        self.hidden = hidden
        #: other profiles that wanted the same
        self.also = also
        #: of something removed: others of its like stood beside it, so that libvirt adds none
        self.beside = beside

    @property
    def lost(self) -> tuple[str, ...]:
        """Where the VM had secrets that no record holds: the marked ones of an element that the
        profile gave other values, all of one that it removed."""
        if self.kind == "del":
            return self.hidden_slots
        return tuple([slot.removesuffix(_OF_THE_VM) for slot in self.hidden if slot.endswith(_OF_THE_VM)])

    @property
    def own_secrets(self) -> tuple[str, ...]:
        """Where the profile wrote secrets and the VM had none."""
        return tuple([slot for slot in self.hidden if not slot.endswith(_OF_THE_VM)])

    @property
    def hidden_slots(self) -> tuple[str, ...]:
        """`hidden` without the marks."""
        return tuple([slot.removesuffix(_OF_THE_VM) for slot in self.hidden])


def of_the_vm(slot: str) -> str:
    """The mark in `Entry.hidden` of a slot where the VM had a secret before."""
    return slot + _OF_THE_VM


class Recorded:
    """One profile of the record; `implies` names what libvirt adds to what it brought.

    `sketch`: the definition was a sketch when it was applied, and it asked for that. `out`: the numbers
    of its actions that left nothing of what they remove: what libvirt writes there by itself is its own.
    """

    __slots__ = (
        "name", "version", "digest", "priority", "source", "params", "entries", "implies", "sketch", "out",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        version: str,
        digest: str,
        priority: int = 0,
        source: str = "list",
        params: dict[str, str] | None = None,
        entries: Sequence[Entry] = (),
        implies: Sequence[str] = (),
        sketch: bool = False,
        out: frozenset[int] = frozenset(),
    ) -> None:
        self.name = name
        self.version = version
        self.digest = digest
        self.priority = priority
        #: list, requires or auto
        self.source = source
        self.params = params or {}
        self.entries = list(entries)
        self.implies = tuple(implies)
        self.sketch = sketch
        self.out = out


class Record:
    """All of a record.

    `ours` are the names whose entries in the list `apply` wrote, `made` says what else
    it made to hold them: metadata, list.
    """

    __slots__ = ("profiles", "made", "ours", "element", "others", "warnings")

    def __init__(
        self,
        profiles: Sequence[Recorded] = (),
        made: frozenset[str] = frozenset(),
        ours: frozenset[str] = frozenset(),
        element: Element | None = None,
    ) -> None:
        self.profiles = list(profiles)
        self.made = made
        self.ours = ours
        self.element: Element = element  # type: ignore[assignment]  # None only of a new record
        #: more records, as libvirt would keep none: they say nothing, and go
        self.others: list[Element] = []
        self.warnings: list[Warning] = []

    def __bool__(self) -> bool:
        return bool(self.profiles or self.ours)

    @property
    def size(self) -> int:
        """The elements in all of its entries."""
        return sum(entry.written.size() for profile in self.profiles for entry in profile.entries)

    def get(self, name: str) -> Recorded | None:
        return next((profile for profile in self.profiles if profile.name == name), None)


def same_record(record: Record, other: Record, values: bool = True) -> bool:
    """Do two records say the same, in whatever order?

    :param values: or is it enough that they speak of the same slots?
    """
    heads = (record.made, record.ours) == (other.made, other.ours)
    return heads and _all_of(record, values) == _all_of(other, values)


def _all_of(record: Record, values: bool) -> object:
    return sorted(
        (
            profile.name,
            profile.version,
            profile.digest[:DIGEST_DIGITS],
            profile.priority,
            profile.source,
            sorted(profile.implies),
            profile.sketch,
            sorted(profile.out),
            sorted(profile.params.items()),
            sorted(
                (entry.kind, entry.at, entry.number, _sorted(entry.written, values),
                 _sorted(entry.was, values), entry.gone, sorted(entry.hidden), sorted(entry.also),
                 entry.beside)
                for entry in profile.entries
            ),
        )
        for profile in record.profiles
    )  # fmt: skip


def _sorted(written: Written | None, values: bool) -> Any:
    if written is None:
        return ()
    return (
        written.tag,
        sorted(written.attrs.items()) if values else sorted(written.attrs),
        (written.text or "") if values else written.text is not None,
        sorted(_sorted(part, values) for part in written.children),
    )


# --- reading ---------------------------------------------------------------------


def tag_of(name: str) -> str:
    return f"{{{RECORD_NS}}}{name}"


def read_record(document: Document) -> Record | None:
    """The record in a domain's metadata, None where there is none.

    What cannot be read is left out, with a warning of the code ``record``.

    :raises PolicyError: it is larger than any that profiles leave
    """
    metadata = child(document.root, "metadata")
    root = None if metadata is None else child(metadata, ROOT)
    if root is None:
        return None
    reader = _Reader(document, root)
    reader.read()
    return reader.record


class _Reader:
    """Reads one record within its bounds."""

    def __init__(self, document: Document, root: Element) -> None:
        self.document = document
        made, ours = (frozenset((root.get(name) or "").split()) for name in ("made", "ours"))
        self.record = Record([], made, ours, root)
        self._entries = self._places = self._doubts = 0

    def read(self) -> None:
        record, root = self.record, self.record.element
        if len(etree.tostring(root, with_tail=False)) > MAX_LENGTH:
            raise PolicyError(
                f"the record of profiles is larger than {MAX_LENGTH // 2**20} MiB",
                hint="no profile leaves such a record: look at <vr:record> in the metadata",
                where=f"{self.document.name}:{self.document.line(root)}",
            )
        record.others = list(root.itersiblings(ROOT))
        for part in record.others:
            self.doubt(part)
        known: set[str] = set()
        for element in root.iterchildren("*"):
            profile = _read_profile(element) if len(known) < MAX_PROFILES else None
            if profile is None or profile.name in known:
                self.doubt(element)
                continue
            known.add(profile.name)
            record.profiles.append(profile)
            for part in children(element):
                if part.tag == tag_of("param"):
                    continue
                try:
                    profile.entries += self._entries_of(part)
                except ValueError:
                    self.doubt(part)
        if self._doubts > MAX_DOUBTS:
            more = self._doubts - MAX_DOUBTS
            record.warnings.append(Warning("record", f"{more} more parts of the record cannot be read"))

    def _entries_of(self, element: Element) -> list[Entry]:
        """:raises ValueError: it is none, or one too many"""
        words = element.get("of")
        if words is not None:
            at = element.get("at") or element.get("to") or element.get("from") or ""
            count = words.count(" ") + 1
            # as long as they get, before they are made
            self._places += count * len(at) + at.count("?") * (len(words) + count)
            self._entries += count
        else:
            self._entries += 1
        if self._places > MAX_PLACES or self._entries > MAX_ENTRIES:
            raise ValueError(element.tag)
        return _read_entry(element)

    def doubt(self, element: Element) -> None:
        """Leave a part out."""
        self._doubts += 1
        if self._doubts <= MAX_DOUBTS:
            line = self.document.line(element)
            fact = "a part of the record of profiles cannot be read and is ignored"
            self.record.warnings.append(Warning("record", fact, f"{self.document.name}:{line}"))


def _read_profile(element: Element) -> Recorded | None:
    name, version, digest = element.get("name"), element.get("version", "0"), element.get("digest", "")
    if element.tag != tag_of("profile") or not name:
        return None
    try:
        priority = _number(element.get("priority", "0"))
    except ValueError:
        return None
    if not MIN_PRIORITY <= priority <= MAX_PRIORITY:
        return None
    params = {param.get("name", ""): text_of(param) or "" for param in element.iterchildren(tag_of("param"))}
    source = element.get("source", "list")
    implies = (element.get("implies") or "").split()
    out = frozenset(int(word) for word in (element.get("out") or "").split() if _NUMBER.fullmatch(word))
    sketch = element.get("sketch") == "yes"
    return Recorded(name, version, digest, priority, source, params, (), implies, sketch, out)


def _number(text: str) -> int:
    """:raises ValueError: it is none that we write"""
    if not _NUMBER.fullmatch(text):
        raise ValueError(text)
    return int(text)


def _read_entry(element: Element) -> list[Entry]:
    """:raises ValueError: it is none"""
    gone = element.get("gone") == "yes"
    beside = element.get("beside") == "yes"
    also = tuple((element.get("also") or "").split())
    hidden = tuple((element.get(HIDDEN) or "").split())
    parts = children(element)
    if element.tag == tag_of("on"):
        at = element.get("at", "")
        was = [_read_written(part) for part in parts if part.tag == tag_of("was")]
        now = [_read_written(part) for part in parts if part.tag != tag_of("was")]
        if len(now) != 1 or len(was) > 1:
            raise ValueError(at)
        places = _read_places(element, at)
        before = was[0] if was else None
        return [Entry("on", place, now[0], before, 0, gone, hidden, also) for place in places]
    kinds = {tag_of("add"): ("add", "to"), tag_of("del"): ("del", "from")}
    if element.tag not in kinds or not parts:
        raise ValueError(element.tag)
    kind, name = kinds[element.tag]
    at = element.get(name, "")
    number = _number(element.get("n", "1"))
    places = _read_places(element, at)
    if (at, parts[0].tag) == ("", tag_of("metadata")):
        # Records once said so; it holds what other programs put there, and goes with no profile.
        at, number, parts = "metadata", 1, children(parts[0])
        places = [at]
    return [
        Entry(kind, where, _read_written(part), None, number + place, gone, hidden, also, beside)
        for where in places
        for place, part in enumerate(parts)
    ]


def _read_places(element: Element, at: str) -> list[str]:
    """:raises ValueError: one of them is none"""
    words = element.get("of")
    places = [at] if words is None else [at.replace("?", word) for word in words.split(" ")]
    for where in places:
        read_place(where)
    return places


def _read_written(element: Element, depth: int = 0) -> Written:
    """:raises ValueError: it is deeper than any that a profile writes"""
    tag = element.tag
    if depth > MAX_DEPTH:
        raise ValueError(tag)
    return Written(
        tag[len(RECORD_NS) + 2 :] if tag.startswith(_OURS) else tag,
        attributes(element),
        text_of(element),
        [_read_written(below, depth + 1) for below in children(element)],
    )
