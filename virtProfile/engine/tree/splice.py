# SPDX-License-Identifier: GPL-2.0-or-later
"""Last stage of the flow: the edited tree as text, by editing the text it came from.

Only the tags of edited elements, new elements and removed ones change; every
other byte is the input's. New text uses the document's majority quote, its line
ends and the indentation of its neighbours.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

from virtProfile.engine.tree.work_tree import WorkTree
from virtProfile.format.document import ATTRIBUTE, TOKEN, XML_NS, line_starts, prefixes, qname
from virtProfile.format.element import Element, children, items, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from virtProfile.format.document import Document, Span


class Splice:
    """One replacement of source text; `element` is whose doing it is."""

    __slots__ = ("start", "end", "text", "element")

    def __init__(self, start: int, end: int, text: str, element: Element) -> None:
        self.start = start
        self.end = end
        self.text = text
        self.element = element


_PLACE = attrgetter("start", "end")


class Written:
    """The output text, and on which of its lines an element stands."""

    __slots__ = ("text", "_tree", "_splices", "_starts", "_outputs", "_numbers", "_new", "_lines")

    def __init__(self, text: str, tree: WorkTree, splices: list[Splice], new: dict[Element, Any]) -> None:
        self.text = text
        self._tree = tree
        self._new = new  # new element -> (splice, offset in its text)
        self._splices = splices
        self._starts: list[int] = []
        self._outputs: list[tuple[int, int]] = []  # where a splice starts in the output, shift after it
        self._numbers: dict[int, int] = {}
        self._lines: list[int] | None = None

    def _find_lines(self) -> list[int]:
        """Where the lines of the output begin, and where the splices stand in it."""
        shift = 0
        for number, splice in enumerate(self._splices):
            self._starts.append(splice.start)
            self._numbers[id(splice)] = number
            before = splice.start + shift
            shift += len(splice.text) - (splice.end - splice.start)
            self._outputs.append((before, shift))
        return line_starts(self.text)

    def line(self, element: Element) -> int | None:
        """1-based output line of the element's start tag."""
        if self._lines is None:  # few callers ask
            self._lines = self._find_lines()
        if element in self._new:
            splice, offset = self._new[element]
            return bisect_right(self._lines, self._outputs[self._numbers[id(splice)]][0] + offset)
        if not self._tree.in_source(element):
            return None
        start = self._tree.document.start(element)
        # Every splice that starts at or before the tag's "<" stands in front of it.
        number = bisect_right(self._starts, start)
        return bisect_right(self._lines, start + (self._outputs[number - 1][1] if number else 0))


class Plain(Protocol):
    """What is only written, and is no element of the tree: all in the namespace of what it stands in."""

    @property
    def tag(self) -> str: ...
    @property
    def attrs(self) -> dict[str, str]: ...
    @property
    def text(self) -> str | None: ...
    @property
    def children(self) -> Sequence[Plain]: ...


def write(tree: WorkTree, parts: Mapping[Element, Sequence[Plain]] | None = None) -> Written:
    """The text of the edited tree.

    :param parts: what is written into new elements besides
    """
    document = tree.document
    if not tree.mark():
        return Written(document.text, tree, [], {})
    writer = _Writer(tree, parts or {})
    return writer.run()


class _Writer:
    def __init__(self, tree: WorkTree, parts: Mapping[Element, Sequence[Plain]]) -> None:
        self.tree = tree
        self.parts = {element: below for element, below in parts.items() if below}
        self.document: Document = tree.document
        self.text = self.document.text
        self.quote = _quote_of(self.text)
        self.newline = "\r\n" if "\r\n" in self.text else "\n"
        self.pretty = "\n" in self.text.strip()
        self.unit = self._indent_unit()
        self.splices: list[Splice] = []
        self.new: dict[Element, Any] = {}
        index = self.document.index
        #: (element, its parent) of all that stands in the input and is not there any more
        self.gone = [(element, parent) for element, (parent, _) in tree.removed.items() if element in index]
        self.gone += [(element, grave.parent) for element, grave in tree.graves.items()]
        self._gone_from: dict[Element, list[Element]] = {}
        for element, parent in self.gone:
            self._gone_from.setdefault(parent, []).append(element)

    def run(self) -> Written:
        tree = self.tree
        for element, parent in self.gone:
            if parent in self.document.index and tree.stands(parent):
                self._cut(element)
        touched = dict.fromkeys([*tree.edited, *tree.reshaped])
        index = self.document.index
        for element in touched:
            if element not in index or self.gone and not tree.stands(element):
                continue
            before, now = tree.edited.get(element), tree.says(element)
            if before is not None and before[0] != now[0]:
                self._start_tag(element, before[0], now[0])
            if element in tree.reshaped or (before is not None and before[1] != now[1]):
                self._content(element)
        self.splices.sort(key=_PLACE)
        parts = []
        position = 0
        for splice in self.splices:
            parts.append(self.text[position : splice.start])
            parts.append(splice.text)
            position = splice.end
        parts.append(self.text[position:])
        return Written("".join(parts), tree, self.splices, self.new)

    # --- start tags ----------------------------------------------------------

    def _start_tag(self, element: Element, old: dict[str, str], new: dict[str, str]) -> None:
        """:param old: its attributes in the input, `new` those that it has now"""
        span = self.document.span(element)
        if old.items() <= new.items():  # nothing but new ones: behind the last
            end = span.tag_end - 2 if span.empty else span.tag_end - 1
            while self.text[end - 1].isspace():
                end -= 1
            self._replace(end, end, self._added(element, new, old), element)
            return
        tag = self.text[span.start : span.tag_end]
        name_end = len(TOKEN.match(tag).group(2)) + 1  # type: ignore[union-attr]
        written = list(ATTRIBUTE.finditer(tag, name_end))
        names = _names(element, [match.group(2) for match in written])
        last = name_end
        for match, name in zip(written, names, strict=True):
            last = match.end()
            if name is None or name not in old:
                continue  # a namespace declaration
            value = new.get(name)
            if value is None:
                self._replace(span.start + match.start(), span.start + match.end(), "", element)
            elif value != old[name]:
                quote = match.group(3)[0]
                self._replace(
                    span.start + match.start(3),
                    span.start + match.end(3),
                    quote + _escape(value, quote) + quote,
                    element,
                )
        added = self._added(element, new, old)
        if added:
            self._replace(span.start + last, span.start + last, added, element)

    def _added(self, element: Element, new: dict[str, str], old: dict[str, str]) -> str:
        """What is new in a start tag of the input, with the prefixes that nobody declares there."""
        added = []
        is_plain = True
        for row in new.items():
            if row[0] not in old:
                added.append(row)
                is_plain = is_plain and row[0][0] != "{"
        if is_plain:
            return self._attributes(added)
        names = [name for name, _ in added]
        span, above = self.document.span(element), element.getparent()
        tag, known = self.text[span.start : span.tag_end], {} if above is None else above.nsmap
        fresh = [pair for pair in prefixes(element, names) if known.get(pair[0]) != pair[1]]
        words = [self._declaration(*pair) for pair in dict(fresh).items() if f"xmlns:{pair[0]}=" not in tag]
        written = [(qname(element, name), value) for name, value in added]
        return "".join(words) + self._attributes(written)

    def _attributes(self, attributes: Iterable[tuple[str, str]]) -> str:
        """Attributes as they are written in a start tag, by their names there."""
        quote = self.quote
        search = _SPECIAL.search
        return "".join(
            [
                f" {name}={quote}{value if search(value) is None else _escape(value, quote)}{quote}"
                for name, value in attributes
            ]
        )

    # --- content -------------------------------------------------------------

    def _content(self, element: Element) -> None:
        index = self.document.index
        span = self.document.span(element)
        fresh: dict[Any, list[Element]] = {}
        previous: Element | None = None
        count = 0
        for child in children(element):
            if child in index:
                previous = child
            else:
                fresh.setdefault(previous, []).append(child)
                count += 1
        before = self.tree.edited.get(element)
        text = text_of(element)
        text_changed = before is not None and before[1] != text
        if span.empty:
            if count or text:
                self._open_up(element, span, fresh.get(None, []), text)
            return
        if text_changed:
            self._text(element, span, text)
        if not count and not text and not len(element):
            emptied = element in self._gone_from
            if emptied and self._collapse(element, span):
                return
        for after, new in fresh.items():
            self._insert(element, span, after, new)

    def _open_up(self, element: Element, span: Span, new: list[Element], text: str | None) -> None:
        """``<a/>`` gets content."""
        at = span.tag_end - 2
        while self.text[at - 1].isspace():
            at -= 1
        name = TOKEN.match(self.text, span.start).group(2)  # type: ignore[union-attr]
        splice = Splice(at, span.tag_end, ">", element)
        if text:
            splice.text += _escape(text, "")
        if new:
            indent = self._indent_of(span.start)
            for child in new:
                self._line(splice, child, None if indent is None else indent + self.unit)
            if indent is not None and self.pretty:
                splice.text += self.newline + indent
        splice.text += f"</{name}>"
        self.splices.append(splice)

    def _insert(self, parent: Element, span: Span, after: Element | None, new: list[Element]) -> None:
        indent: str | None
        if after is not None:
            sibling = self.document.span(after)
            indent = self._indent_of(sibling.start)
            at = sibling.end if indent is None else self._behind_comments(sibling.end)
        else:
            at = span.tag_end
            first = next((old for old in self._old_children(parent)), None)
            if first is not None:
                indent = self._indent_of(self.document.start(first))
            else:
                outer = self._indent_of(span.start)
                indent = None if outer is None else outer + self.unit
        splice = Splice(at, at, "", parent)
        for element in new:
            self._line(splice, element, indent)
        if after is None and indent is not None and self.pretty:
            inside = self.text[span.tag_end : span.close]
            if "\n" not in inside and not inside.strip():
                splice.end = span.close
                splice.text += self.newline + (self._indent_of(span.start) or "")
        self.splices.append(splice)

    def _behind_comments(self, position: int) -> int:
        """Behind comments that stand on the rest of the line: they speak of what is there."""
        end = self.text.find("\n", position)
        rest = self.text[position : end if end >= 0 else len(self.text)]
        at = 0
        while True:
            start = rest.find("<!--", at)
            if start < 0 or rest[at:start].strip():
                return position + at
            stop = rest.find("-->", start)
            if stop < 0:
                return position + at
            at = stop + 3

    def _old_children(self, parent: Element) -> list[Element]:
        index = self.document.index
        kept = [child for child in children(parent) if child in index]
        return kept or self._gone_from.get(parent, [])

    def _line(self, splice: Splice, element: Element, indent: str | None) -> None:
        lead = None if indent is None or not self.pretty else self.newline + indent
        parts = [splice.text, lead or ""]
        self._serialise(splice, parts, len(splice.text) + len(parts[1]), element, lead, {})
        splice.text = "".join(parts)

    def _serialise(
        self,
        splice: Splice,
        parts: list[str],
        at: int,
        element: Element,
        lead: str | None,
        declared: dict[str, str],
    ) -> int:
        """Add an element to the parts of a splice's text.

        :param at: how much text that is so far; gives how much it is then
        :param lead: line end and indentation of the element, None where all stands on one line
        """
        self.new[element] = (splice, at)
        named = items(element)
        name = element.tag
        head = f"<{name}"
        if name[0] == "{" or any([key[0] == "{" for key, _ in named]):
            name = _element_name(element)
            head = f"<{name}"
            for prefix, uri in prefixes(element, [key for key, _ in named]):
                if declared.get(prefix) != uri and not self._in_scope(element, prefix, uri):
                    head += self._declaration(prefix, uri)
                    declared = {**declared, prefix: uri}
            named = [(qname(element, key), value) for key, value in named]
        if named:
            head += self._attributes(named)
        text = text_of(element)
        below = children(element)
        if not below and element in self.parts:
            head += self._around_plain(name, self.parts[element], lead)
        elif not below:
            head += "/>" if text is None else f">{_escape(text, '')}</{name}>"
        else:
            head += ">" if text is None else f">{_escape(text, '')}"
            inner = None if lead is None else lead + self.unit
            for child in below:
                if inner is not None:
                    head += inner
                parts.append(head)
                at = self._serialise(splice, parts, at + len(head), child, inner, declared)
                head = ""
            head = f"{lead or ''}</{name}>"
        parts.append(head)
        return at + len(head)

    def _around_plain(self, name: str, parts: Sequence[Plain], lead: str | None) -> str:
        """The rest of an element behind its start tag's attributes: what is written into it, its end."""
        prefix, colon, _ = name.rpartition(":")
        inner = None if lead is None else lead + self.unit
        written = "".join([self._plain(part, prefix + colon, inner) for part in parts])
        return f">{written}{lead or ''}</{name}>"

    def _plain(self, part: Plain, prefix: str, lead: str | None) -> str:
        name = prefix + part.tag
        head = f"{lead or ''}<{name}{self._attributes(part.attrs.items())}"
        text = (part.text or "").strip()
        if not part.children:
            return f"{head}>{_escape(text, '')}</{name}>" if text else f"{head}/>"
        inner = None if lead is None else lead + self.unit
        written = "".join([self._plain(below, prefix, inner) for below in part.children])
        return f"{head}>{_escape(text, '')}{written}{lead or ''}</{name}>"

    def _declaration(self, prefix: str, uri: str) -> str:
        return f" xmlns:{prefix}={self.quote}{_escape(uri, self.quote)}{self.quote}"

    def _in_scope(self, element: Element, prefix: str, uri: str) -> bool:
        """Is the prefix declared by an element that stands in the input?"""
        above = element.getparent()
        while above is not None and above not in self.document.index:
            above = above.getparent()
        return above is not None and above.nsmap.get(prefix) == uri

    # --- text and removal ----------------------------------------------------

    def _text(self, element: Element, span: Span, text: str | None) -> None:
        inner = self.text[span.tag_end : span.close]
        new = "" if text is None else _escape(text, "")
        if "<" not in inner:
            bare = inner.strip()
            start = span.tag_end + (inner.find(bare) if bare else 0)
            if bare or new:
                self._replace(start, start + len(bare), new, element)
            return
        # Comments or CDATA stand between: the first run of text takes the value.
        position = span.tag_end
        for token in TOKEN.finditer(self.text, span.tag_end, span.close):
            chunk = self.text[position : token.start()]
            if chunk.strip():
                self._replace(position, token.start(), new, element)
                new = ""
            if token.group().startswith("<![CDATA["):
                self._replace(token.start(), token.end(), new, element)
                new = ""
            position = token.end()
        chunk = self.text[position : span.close]
        if chunk.strip() or new:
            self._replace(position, span.close, new, element)

    def _cut(self, element: Element) -> None:
        """Take an element's text out, with its line where it had one of its own."""
        span = self.document.span(element)
        start, end = span.start, span.end
        line = start
        while line > 0 and self.text[line - 1] in " \t":
            line -= 1
        if line > 0 and self.text[line - 1] == "\n":
            follow = end
            while follow < len(self.text) and self.text[follow] in " \t\r":
                follow += 1
            if follow >= len(self.text) or self.text[follow] == "\n" or self.text[follow] == "<":
                start = line - 1
                if start > 0 and self.text[start - 1] == "\r":
                    start -= 1
        self.splices.append(Splice(start, end, "", element))

    def _collapse(self, element: Element, span: Span) -> bool:
        """``<a b='c'>`` with nothing left in it becomes ``<a b='c'/>``."""
        inner = self.text[span.tag_end : span.close]
        for token in TOKEN.finditer(inner):
            if token.group(1) is None and token.group(2) is None:
                return False  # a comment stays
        self.splices = [  # what is inserted right behind stays
            splice for splice in self.splices if not span.tag_end <= splice.start < span.end
        ]
        self._replace(span.tag_end - 1, span.end, "/>", element)
        return True

    def _replace(self, start: int, end: int, text: str, element: Element) -> None:
        self.splices.append(Splice(start, end, text, element))

    # --- white space ---------------------------------------------------------

    def _indent_of(self, position: int) -> str | None:
        """The white space before `position` on its line; None where other text stands there."""
        line = self.text.rfind("\n", 0, position) + 1
        before = self.text[line:position]
        if before.strip():
            return None
        if line == 0 and not self.pretty:
            return None
        return before

    def _indent_unit(self) -> str:
        root = self.tree.root
        for element in self.document.elements[1:2]:
            if element.getparent() is root or element in self.tree.removed or element in self.tree.graves:
                inner = self._indent_of(self.document.start(element))
                outer = self._indent_of(self.document.start(root))
                if inner is not None and outer is not None and len(inner) > len(outer):
                    return inner[len(outer) :]
        return "  "


def _names(element: Element, written: list[str]) -> list[str | None]:
    """Written attribute names in Clark notation; None for namespace declarations."""
    nsmap = element.nsmap
    names: list[str | None] = []
    for name in written:
        prefix, colon, rest = name.partition(":")
        if name == "xmlns" or prefix == "xmlns":
            names.append(None)
        elif not colon:
            names.append(name)
        elif prefix == "xml":
            names.append(f"{{{XML_NS}}}{rest}")
        else:
            names.append(f"{{{nsmap.get(prefix)}}}{rest}")
    return names


def _element_name(element: Element) -> str:
    rest = element.tag.rpartition("}")[2]
    return f"{element.prefix}:{rest}" if element.prefix else rest


def _quote_of(text: str) -> str:
    """The quote that most values of a document have."""
    if '"' not in text:  # as libvirt writes it
        return "'"
    return "'" if text.count("='") >= text.count('="') else '"'


_SPECIAL = re.compile("[&<>'\"\n\t\r]")


def _escape(value: str, quote: str) -> str:
    """A value as it is written between quotes, or as text where `quote` is ""."""
    if _SPECIAL.search(value) is None:
        return value
    value = value.replace("&", "&amp;").replace("<", "&lt;")
    if quote:
        value = value.replace(quote, "&apos;" if quote == "'" else "&quot;")
        value = value.replace("\n", "&#10;").replace("\t", "&#9;")
    else:
        value = value.replace(">", "&gt;")
    return value.replace("\r", "&#13;")
