# SPDX-License-Identifier: GPL-2.0-or-later
"""First stage of the flow: the only parser, and the source positions of what it read.

XML that comes from outside is hostile: a DTD, entities, huge or deep documents
are refused, nothing is ever fetched. What is not touched keeps its bytes: a
`Document` knows for every element where its tags stand in the source text, so
the writer (`splice`) edits the text and never serialises the tree.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING

from lxml import etree

from virtProfile.errors import InvalidDomainError, PolicyError
from virtProfile.format.patterns import compiled_later

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from os import PathLike

    from virtProfile.errors import ProfileError

VIRTUNED_NS = "http://virt-manager.org/schemas/virtuned/0.1"
XML_NS = "http://www.w3.org/XML/1998/namespace"
RECORD_NS = "http://virt-manager.org/schemas/virtuned/record/0.1"
LIBOSINFO_NS = "http://libosinfo.org/xmlns/libvirt/domain/1.0"
QEMU_NS = "http://libvirt.org/schemas/domain/qemu/1.0"

MAX_BYTES = 16 * 1024 * 1024
#: Most files are smaller: a buffer for the largest costs more than reading.
_CHUNK = 64 * 1024
MAX_DEPTH = 256
MAX_NODES = 500_000
#: Bytes of the smallest element.
_SMALLEST = len("<a/>")
MAX_ATTRIBUTE = 1024 * 1024
#: Of one element: libxml2 compares each with all before it, so many take minutes.
MAX_ATTRIBUTES = 1000

#: One markup token of a well-formed document. Group 1: end tag; 2 to 4: start tag
#: with its name, attributes and "/"; none of them: comment, CDATA, PI. It also
#: runs over text that libxml2 has not judged yet, so no part of it can run past the
#: next "<" and be tried again: linear on any text.
TOKEN = compiled_later(
    r"<(?:!--.*?-->|!\[CDATA\[.*?\]\]>|\?.*?\?>"
    r"|/([^>\s]+)\s*>"
    r"|([^\s<>/!?][^\s<>/]*)((?:[^<>\"'/]++|/(?!>)|\"[^\"<]*\"|'[^'<]*')*)(/?)>)",
    re.DOTALL,
)
_START = re.compile("<[^/?]")
ATTRIBUTE = compiled_later(r"(\s+)([^\s=]+)\s*=\s*(\"[^\"]*\"|'[^']*')")
_XML_DECLARATION = re.compile(rb"^<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")
#: What a comment's start is no start of a comment in, and the comment itself.
_OPENING = compiled_later(r"<!--|<!\[CDATA\[|<\?")
#: One for all: making it takes a third as long as reading a small domain. lxml lets one thread in at a time.
_PARSER = etree.XMLParser(
    encoding="utf-8",
    resolve_entities=False,
    no_network=True,
    load_dtd=False,
    dtd_validation=False,
    attribute_defaults=False,
    huge_tree=False,
    remove_blank_text=False,
    strip_cdata=False,
)
_HAS_DTD = compiled_later(r"<!DOCTYPE|<!ENTITY", re.IGNORECASE)


class Span:
    """Where one element stands in the source: offsets into `Document.text`."""

    __slots__ = ("start", "tag_end", "empty", "_text", "_close")

    def __init__(self, text: str, start: int) -> None:
        self._text = text
        self._close = -1
        self.start = start  # of "<"
        self.tag_end = end = _tag_end(text, start)  # behind ">" of the start tag
        self.empty = text[end - 2] == "/"  # written as <a/>

    @property
    def close(self) -> int:
        """Of "</", or `tag_end`."""
        if self._close < 0:
            self._close = self.tag_end if self.empty else _end_tag(self._text, self.tag_end)
        return self._close

    @property
    def end(self) -> int:
        """Behind the whole element."""
        return self.tag_end if self.empty else self._text.index(">", self.close) + 1


class Document:
    """A parsed document: the lxml tree, the text it came from, and positions.

    `elements` holds every element in document order and so keeps the lxml
    proxies, and their identity, alive.
    """

    __slots__ = ("text", "name", "root", "elements", "_starts", "_spans", "_index", "_lines")

    def __init__(self, text: str, name: str, root: etree._Element) -> None:
        self.text = text
        self.name = name
        self.root = root
        self.elements: list[etree._Element] = list(root.iter("*"))
        self._starts: list[int] | None = None
        self._spans: dict[etree._Element, Span] = {}
        self._index: dict[etree._Element, int] | None = None
        self._lines: list[int] | None = None

    @property
    def index(self) -> dict[etree._Element, int]:
        """Element -> its number in document order; only what was in the source."""
        if self._index is None:
            self._index = {element: number for number, element in enumerate(self.elements)}
        return self._index

    @property
    def starts(self) -> list[int]:
        """Where each element's start tag begins, by number in document order."""
        if self._starts is None:
            self._starts = _find_starts(self.text)
            if len(self._starts) != len(self.elements):  # the tokeniser and libxml2 must agree
                raise AssertionError("source positions do not fit the tree")
        return self._starts

    def start(self, element: etree._Element) -> int:
        """Where the element's start tag begins."""
        return self.starts[self.index[element]]

    def span(self, element: etree._Element) -> Span:
        """Where an element of the source stands."""
        found = self._spans.get(element)
        if found is None:
            starts = self._starts or self.starts
            found = self._spans[element] = Span(self.text, starts[(self._index or self.index)[element]])
        return found

    def line(self, element: etree._Element) -> int:
        """1-based line of the element's start tag."""
        return self.line_at(self.start(element))

    def line_at(self, position: int) -> int:
        """1-based line of a position in the text."""
        if self._lines is None:
            self._lines = line_starts(self.text)
        return bisect_right(self._lines, position)


def line_starts(text: str) -> list[int]:
    """Where each line of a text begins."""
    at = 0
    return [0, *[at := at + len(line) + 1 for line in text.split("\n")[:-1]]]


def _find_starts(text: str) -> list[int]:
    declared = len("<?xml") if re.match(r"<\?xml\s", text) else 0
    if "<!" not in text and text.find("<?", declared) < 0:
        # Without comments, CDATA and PIs every "<" opens a tag, which is quicker to find.
        return [found.start() for found in _START.finditer(text)]
    return [token.start() for token in TOKEN.finditer(text) if token.group(2) is not None]


def _tag_end(text: str, start: int) -> int:
    """Behind the ">" of the start tag that begins at `start`."""
    end = text.index(">", start)
    if text.count("'", start, end) % 2 or text.count('"', start, end) % 2:  # a ">" in a value, or a quote
        token = TOKEN.match(text, start)
        assert token is not None
        return token.end()
    return end + 1


def _end_tag(text: str, position: int) -> int:
    """The "</" of the element whose content begins at `position`."""
    depth = 0
    while True:
        position = text.index("<", position)
        follows = text[position + 1]
        if follows == "/":
            if not depth:
                return position
            depth -= 1
            position += 2
        elif follows == "!" or follows == "?":
            token = TOKEN.match(text, position)
            assert token is not None
            position = token.end()
        else:
            position = _tag_end(text, position)
            depth += text[position - 2] != "/"


def parse(text: str, *, name: str = "<xml>", error: type[ProfileError] = InvalidDomainError) -> Document:
    """Parse `text`, refusing what SPEC section 8 refuses.

    :param name: stands in messages as the file name
    :param error: raised for what is not well-formed (line and column in `where`)
    :raises PolicyError: DTD or entities, over 16 MiB, deeper than 256, more than
        500,000 elements, an attribute over 1 MiB
    """
    if not isinstance(text, str):
        fact = f"the document is of the Python type '{type(text).__name__}'"
        raise error(fact, hint="text (str) was expected", where=name)
    if len(text) > MAX_BYTES:
        raise PolicyError(f"the document is larger than {MAX_BYTES // 2**20} MiB", where=name)
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as problem:
        raise error(f"the text is not valid Unicode: {problem.reason}", where=name) from None
    if len(data) > MAX_BYTES:
        raise PolicyError(f"the document is larger than {MAX_BYTES // 2**20} MiB", where=name)
    # Comments and CDATA may hold "<" too, so this is an upper bound; they are only
    # taken out where the bound is reached, before libxml2 builds a tree.
    if len(data) > _SMALLEST * MAX_NODES and data.count(b"<") - data.count(b"</") > MAX_NODES:
        markup = _markup(text)
        if markup.count("<") - markup.count("</") - markup.count("<?") > MAX_NODES:
            raise PolicyError(f"the document has more than {MAX_NODES:,} elements", where=name)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise error("broken XML: a NUL character", where=f"{name}:{line}")
    if "<!--" in text:
        _check_comments(text, name, error)
    if "<!" in text:
        found = _HAS_DTD.search(_markup(text))
        if found:
            raise PolicyError(
                f"a document type declaration ({found.group()}) is refused",
                hint="entities and DTDs have no place in domain XML; remove the declaration",
                where=name,
            )
    _count_attributes(text, name)
    try:
        root = etree.fromstring(data, _PARSER)
    except etree.XMLSyntaxError as problem:
        raise _explain(problem, name, error) from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise PolicyError("a document type declaration is refused", where=name)
    if len(data) > MAX_ATTRIBUTE:
        _check_attributes(root, name)
    return Document(text, name, root)


def _check_comments(text: str, name: str, error: type[ProfileError]) -> None:
    """Refuse what is no comment: libxml2 reports each ``--`` in one with all text before it.

    :raises ProfileError: `error`, for the first
    """
    at = _OPENING.search(text)
    while at is not None:
        if at.group() == "<!--":
            end = text.find("--", at.end())
            if end < 0 or text[end + 2 : end + 3] != ">":
                fact = "a comment does not end" if end < 0 else "'--' within a comment"
                line = text.count("\n", 0, max(end, at.start())) + 1
                raise error(f"broken XML: {fact}", where=f"{name}:{line}")
        else:
            end = text.find("?>" if at.group() == "<?" else "]]>", at.end())
            if end < 0:
                return  # libxml2 says so at once
        at = _OPENING.search(text, end + 2)


def _count_attributes(text: str, name: str) -> None:
    """Refuse an element with too many attributes, before libxml2 reads it.

    :raises PolicyError: so many
    """
    position = 0
    chunks = text.split("<")[1:]
    if max(map(len, chunks), default=0) <= MAX_ATTRIBUTES:
        return
    for chunk in chunks:
        position = text.index("<", position)
        if chunk.count("=") > MAX_ATTRIBUTES and chunk[:1] not in ("!", "?", "/"):
            tag = TOKEN.match(text, position)
            many = None if tag is None else sum(1 for _ in ATTRIBUTE.finditer(tag.group(3) or ""))
            if many is None or many > MAX_ATTRIBUTES:  # without an end it is no better
                line = text.count("\n", 0, position) + 1
                raise PolicyError(
                    f"an element has more than {MAX_ATTRIBUTES:,} attributes", where=f"{name}:{line}"
                )
        position += 1


def _markup(text: str) -> str:
    """`text` without comments and CDATA sections, in linear time also if one never ends."""
    kept = []
    position = 0
    while True:
        start = text.find("<!", position)
        if start < 0:
            kept.append(text[position:])
            return "".join(kept)
        if text.startswith("<!--", start):
            stop = text.find("-->", start + 4) + 3
        elif text.startswith("<![CDATA[", start):
            stop = text.find("]]>", start + 9) + 3
        else:
            stop = start + 2
            kept.append(text[position:stop])
            position = stop
            continue
        kept.append(text[position:start])
        if stop < 3:
            return "".join(kept)
        position = stop


def _explain(problem: etree.XMLSyntaxError, name: str, error: type[ProfileError]) -> ProfileError:
    line, column = problem.position
    fact = problem.msg or "not well-formed"
    if "Excessive depth" in fact or "depth" in fact.lower() and "maximum" in fact.lower():
        return PolicyError(f"the document is nested deeper than {MAX_DEPTH} levels", where=f"{name}:{line}")
    if "huge" in fact.lower() or "too long" in fact.lower():
        return PolicyError(f"the document exceeds a limit: {fact}", where=f"{name}:{line}")
    fact = re.sub(r", line \d+, column \d+$", "", fact)
    if "Document is empty" in fact or "no element found" in fact:
        is_domain = error is InvalidDomainError
        hint = "libvirt domain XML was expected" if is_domain else "<profile name='…'> was expected"
        return error("the document is empty", hint=hint, where=name)
    return error(f"broken XML: {fact} (column {column})", where=f"{name}:{line}")


def _check_attributes(root: etree._Element, name: str) -> None:
    for element in root.iter("*"):
        for key, value in element.items():
            if len(value) > MAX_ATTRIBUTE:
                raise PolicyError(
                    f"the attribute '{key!s}' is longer than 1 MiB", where=f"{name}:{element.sourceline}"
                )


def decode(data: bytes, name: str = "<xml>") -> tuple[str, str]:
    """The text of `data` and its encoding, by byte order mark or XML declaration.

    :raises InvalidDomainError: undecodable; :raises PolicyError: over 16 MiB
    """
    if len(data) > MAX_BYTES:
        raise PolicyError(f"the document is larger than {MAX_BYTES // 2**20} MiB", where=name)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif data.startswith(b"\xef\xbb\xbf"):
        encoding = "utf-8-sig"
    else:
        declared = _XML_DECLARATION.match(data)
        encoding = declared.group(1).decode("ascii").lower() if declared else "utf-8"
    try:
        return data.decode(encoding), encoding
    except LookupError:
        raise InvalidDomainError(f"unknown encoding '{encoding}'", where=f"{name}:1") from None
    except UnicodeDecodeError as problem:
        raise InvalidDomainError(f"not valid {encoding} at byte {problem.start}", where=name) from None
    except UnicodeError:  # of codecs that are no encoding of a text: 'undefined', 'punycode'
        raise InvalidDomainError(f"not valid {encoding}", where=name) from None


def read_file(
    path: str | PathLike[str], error: type[ProfileError] | None = None, hint: str = ""
) -> tuple[str, str]:
    """Read a file and decode it; never reads more than the limit.

    :param error: what it is that cannot be read, with `hint`; None leaves the `OSError`
    :raises OSError: as `open` does
    """
    return decode(read_bytes(path, error, hint), str(path))


def read_bytes(path: str | PathLike[str], error: type[ProfileError] | None = None, hint: str = "") -> bytes:
    """A file as it is, or as much of it as shows that it is over the limit: see `read_file`."""
    try:
        with open(path, "rb", _CHUNK) as stream:
            data = stream.read(_CHUNK)
            return data if len(data) < _CHUNK else data + stream.read(MAX_BYTES + 1 - _CHUNK)
    except OSError as problem:
        if error is None:
            raise
        raise error(problem.strerror or str(problem), hint=hint, where=str(path)) from problem


def local(tag: object) -> str:
    """The local name of a tag in Clark notation; "" for comments and the like."""
    if not isinstance(tag, str):
        return ""
    return tag.rpartition("}")[2]


def namespace(tag: object) -> str:
    """The namespace of a tag in Clark notation, or ""."""
    if isinstance(tag, str) and tag[0] == "{":
        return tag[1:].partition("}")[0]
    return ""


def qname(element: etree._Element, name: str) -> str:
    """An attribute's name in Clark notation as it is written on that element."""
    if name[0] != "{":
        return name
    uri, _, rest = name[1:].partition("}")
    if uri == XML_NS:
        return f"xml:{rest}"
    for prefix, value in element.nsmap.items():
        if value == uri and prefix:
            return f"{prefix}:{rest}"
    return rest


def prefixes(element: etree._Element, attributes: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(prefix, namespace) that an element and its attributes are written with."""
    if element.prefix is not None and element.tag[0] == "{":
        yield element.prefix, element.tag[1:].partition("}")[0]
    for name in attributes:
        if name[0] == "{" and not name.startswith("{" + XML_NS):
            prefix = qname(element, name).partition(":")[0]
            yield prefix, name[1:].partition("}")[0]
