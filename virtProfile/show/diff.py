# SPDX-License-Identifier: GPL-2.0-or-later
"""The difference between input and output, each changed line with the profile that wants it.

For a terminal the origins stand in a margin on the right. For a pipe the output
is a unified diff that ``patch`` takes: who wants what stands in a line of ``#`` for
each device before it, and behind the ``@@`` of each hunk.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from virtProfile.format.document import RECORD_NS, VIRTUNED_NS, Document, namespace, parse
from virtProfile.format.element import Element
from virtProfile.frozen import record
from virtProfile.redaction import veil_result, veil_text, written_places
from virtProfile.show.terminal import one_line

if TYPE_CHECKING:
    from virtProfile.result import Change, Result

#: Unchanged lines around a change.
CONTEXT = 3
#: What stands for an origin where the bookkeeping in the metadata changed.
LIST_OF_PROFILES = "(list of profiles)"
_NO_NEWLINE = "\n\\ No newline at end of file"
#: Names of the two sides where the input is no file.
ORIGINAL, ALTERED = "Original XML", "Altered XML"

_RED, _GREEN, _CYAN, _BOLD, _DIM, _PLAIN = (f"\x1b[{code}m" for code in ("31", "32", "36", "1", "2", ""))


@record
class Line:
    """One line of a hunk: its mark (" ", "-", "+"), its text, who wants it so."""

    mark: str
    text: str
    origins: tuple[str, ...]


@record
class Hunk:
    """A run of changed lines with what stands around them; lines count from 1."""

    old_start: int
    old_count: int
    new_start: int
    new_count: int
    lines: tuple[Line, ...]

    def header(self) -> str:
        old = _range(self.old_start, self.old_count)
        new = _range(self.new_start, self.new_count)
        who = dict.fromkeys(origin for line in self.lines for origin in line.origins)
        return f"@@ -{old} +{new} @@ {', '.join(who)}".rstrip()


def _range(start: int, count: int) -> str:
    if count == 0:
        start -= 1
    return str(start) if count == 1 else f"{start},{count}"


def hunks(result: Result, *, applies: bool = False) -> list[Hunk]:
    """The difference between a result's input and its xml, secrets as ``***``.

    :param applies: leave out unchanged lines with secrets, so that the rest applies
    """
    if result.xml == result.input:
        return []
    old, new = parse(result.input), parse(result.xml)
    old_lines = _lines(result.input)
    new_lines = _lines(result.xml)
    old_shown = _lines(veil_text(old, lambda: written_places(old, result), result.secrets))
    new_shown = _lines(veil_text(new, lambda: written_places(new, result), result.secrets))
    groups = list(_groups(old_lines, new_lines))
    if applies:
        starred = {at for at, line in enumerate(old_lines) if line != old_shown[at]}
        groups = [part for group in groups for part in _around(group, starred)]
    old_changed: set[int] = set()
    new_changed: set[int] = set()
    for group in groups:
        for tag, old_from, old_to, new_from, new_to in group:
            if tag != "equal":
                old_changed.update(range(old_from, old_to))
                new_changed.update(range(new_from, new_to))
    old_side = _Side(old, old_changed, ((change.input_line, change) for change in result.changes))
    new_side = _Side(new, new_changed, ((change.output_line, change) for change in result.changes))
    made = []
    for group in groups:
        lines: list[Line] = []
        for tag, old_from, old_to, new_from, new_to in group:
            if tag == "equal":
                lines += [Line(" ", old_shown[at], ()) for at in range(old_from, old_to)]
                continue
            gone = [(old_shown[at], old_side.origins(at)) for at in range(old_from, old_to)]
            come = [(new_shown[at], new_side.origins(at)) for at in range(new_from, new_to)]
            everybody = tuple(dict.fromkeys(who for _, origins in gone + come for who in origins))
            lines += [Line("-", text, origins or everybody) for text, origins in gone]
            lines += [Line("+", text, origins or everybody) for text, origins in come]
        first, last = group[0], group[-1]
        made.append(
            Hunk(
                first[1] + 1,
                last[2] - first[1],
                first[3] + 1,
                last[4] - first[3],
                tuple(lines),
            )
        )
    return made


def _lines(text: str) -> list[str]:
    """Lines without their line feed, as ``patch`` counts them; a last one that lacks it says so."""
    lines = text.split("\n")
    if lines[-1]:
        lines[-1] += _NO_NEWLINE
    else:
        lines.pop()
    return lines


#: What to do with lines: how, from and to in the old text, from and to in the new one.
_Opcode = tuple[str, int, int, int, int]


def _groups(old: Sequence[str], new: Sequence[str]) -> Iterator[list[_Opcode]]:
    """Grouped opcodes of the difference. Equal heads and tails, which is most of a
    document, are not looked at twice."""
    from difflib import SequenceMatcher

    limit = min(len(old), len(new))
    head = 0
    while head < limit and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < limit - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    head = max(0, head - CONTEXT)
    tail = max(0, tail - CONTEXT)
    matcher = SequenceMatcher(
        None, old[head : len(old) - tail], new[head : len(new) - tail], autojunk=len(old) > 5000
    )
    for group in matcher.get_grouped_opcodes(CONTEXT):
        yield [(op, a + head, b + head, c + head, d + head) for op, a, b, c, d in group]


def _around(group: list[_Opcode], starred: set[int]) -> Iterator[list[_Opcode]]:
    """A group without unchanged lines that are shown as ``***``, which would not
    apply: in several parts where such lines stand between changes."""
    hidden = {
        at
        for op, start, end, _, _ in group
        if op == "equal"
        for at in starred.intersection(range(start, end))
    }
    if not hidden:
        yield group
        return
    part: list[_Opcode] = []
    for op, old_from, old_to, new_from, new_to in group:
        within = [at for at in hidden if op == "equal" and old_from <= at < old_to]
        if within:
            shift = new_from - old_from
            if part:
                last = min(within)
                yield _even([*part, (op, old_from, last, new_from, last + shift)])
            first = max(within) + 1
            part = [(op, first, old_to, first + shift, new_to)]
        else:
            part.append((op, old_from, old_to, new_from, new_to))
    if len(part) > 1 or part[0][0] != "equal":
        yield _even(part)


def _even(part: list[_Opcode]) -> list[_Opcode]:
    """As many unchanged lines before as behind: ``patch`` takes a shorter side for
    the beginning or the end of the file."""
    before, behind = (block[2] - block[1] if block[0] == "equal" else 0 for block in (part[0], part[-1]))
    count = min(before, behind)
    kept = []
    for number, (op, old_from, old_to, new_from, new_to) in enumerate(part):
        if op == "equal" and number == 0:
            old_from, new_from = old_to - count, new_to - count
        elif op == "equal" and number == len(part) - 1:
            old_to, new_to = old_from + count, new_from + count
        if op != "equal" or old_from < old_to:
            kept.append((op, old_from, old_to, new_from, new_to))
    return kept


class _Side:
    """One of the two texts: who changed what on which of its lines (from 0)."""

    def __init__(
        self, document: Document, changed: set[int], changes: Iterable[tuple[int | None, Change]]
    ) -> None:
        self.document = document
        self.changed = changed
        self.by_line: dict[int, dict[str, None]] = {}
        for line, change in changes:
            if line is not None:
                who = self.by_line.setdefault(line - 1, {})
                who[_name(change)] = None
        starts = [0]
        at = document.text.find("\n")
        while at >= 0:
            starts.append(at + 1)
            at = document.text.find("\n", at + 1)
        self.line_starts = starts
        self.element_starts = document.starts

    def origins(self, line: int) -> tuple[str, ...]:
        """Whose doing a changed line is: by the changes that stand on it, or on the
        changed line where the innermost element around it begins, and so on upwards."""
        if line in self.by_line:
            return tuple(self.by_line[line])
        text = self.document.text
        start = self.line_starts[line]
        end = self.line_starts[line + 1] if line + 1 < len(self.line_starts) else len(text)
        start += len(text[start:end]) - len(text[start:end].lstrip())
        number = bisect_right(self.element_starts, start) - 1
        element: Element | None = self.document.elements[number] if number >= 0 else None
        while element is not None and self.document.span(element).end <= start:
            element = element.getparent()
        while element is not None:
            if _is_bookkeeping(element):
                return (LIST_OF_PROFILES,)
            first = bisect_right(self.line_starts, self.document.start(element)) - 1
            if first not in self.changed:
                return ()
            if first in self.by_line:
                return tuple(self.by_line[first])
            element = element.getparent()
        return ()


def _is_bookkeeping(element: Element) -> bool:
    if namespace(element.tag) in (VIRTUNED_NS, RECORD_NS):
        return True
    below = list(element.iterchildren("*"))
    return element.tag == "metadata" and bool(below) and all(_is_bookkeeping(child) for child in below)


def _name(change: Change) -> str:
    return f"{change.origin.profile} {change.origin.version}"


# --- for a pipe ----------------------------------------------------------------


def unified(result: Result, name: str = "", *, first: str = "") -> str:
    """A unified diff that ``patch`` takes, "" where nothing changes.

    :param name: the input's file name, "" where it is no file
    :param first: stands before the first line of both texts (a byte order mark)
    """
    found = hunks(result, applies=True)
    if not found:
        return ""
    rows = [f"# {_one_line(line)}" for line in summaries(veil_result(result).changes)]
    name = one_line(name)
    rows += [f"--- {name or ORIGINAL}", f"+++ {name or ALTERED}"]
    for hunk in found:
        rows.append(hunk.header())
        old_line, new_line = hunk.old_start, hunk.new_start
        for line in hunk.lines:
            opens = (old_line if line.mark != "+" else new_line) == 1
            rows.append(line.mark + (first if opens else "") + line.text)
            old_line += line.mark != "+"
            new_line += line.mark != "-"
    return "\n".join(rows) + "\n"


def summaries(changes: Iterable[Change]) -> Iterator[str]:
    """One line for each device, or other part of the domain: what changes in it, and who wants it.

    :param changes: as they may be shown
    """
    parts: dict[str, list[tuple[Change, str]]] = {}
    for change in changes:
        name, rest = _device(change.path)
        parts.setdefault(name, []).append((change, rest))
    for name, rows in parts.items():
        yield f"{name}: {'; '.join(_by_origin(rows))}"


def _by_origin(rows: Sequence[tuple[Change, str]]) -> Iterator[str]:
    """The changes of one device, those of one profile together."""
    groups: dict[tuple[str, str, str, str], list[tuple[Change, str]]] = {}
    for change, rest in rows:
        origin = change.origin
        groups.setdefault((origin.profile, origin.version, origin.purpose, origin.file), []).append(
            (change, rest)
        )
    for (profile, version, purpose, file), members in groups.items():
        verbs: dict[str, list[str]] = {}
        for change, rest in members:
            if not any(_is_implied(change, other) for other, _ in members):
                verbs.setdefault(change.op, []).append(_told(change, rest))
        what = ", ".join(f"{verb} {', '.join(told)}" for verb, told in verbs.items())
        lines = sorted({change.origin.line for change, _ in members} - {0})
        place = f"{file}:{', '.join(map(str, lines))}" if lines else file
        yield f"{what} by {profile} {version} ({f'{purpose}, ' if purpose else ''}{place})"


def _is_implied(change: Change, other: Change) -> bool:
    """Is it said by another change: an element by what is in it, a key by its path?"""
    if change is other or change.op != other.op:
        return False
    if change.before is None and change.after is None:
        return other.path.startswith(f"{change.path}/")
    parent, _, slot = change.path.rpartition("/")
    return parent.endswith(f"[{slot}='{change.after or change.before}']") and other.path.startswith(
        f"{parent}/"
    )


def _told(change: Change, rest: str) -> str:
    values = [f"'{value}'" for value in (change.before, change.after) if value is not None]
    return " ".join(filter(None, (rest, " -> ".join(values)))) or "it"


_STEPS = re.compile(r"/((?:[^/\[]|\[(?:[^\]']|'[^']*')*\])+)")
_KEY = re.compile(r"='([^']*)'")


def _device(path: str) -> tuple[str, str]:
    """The name of the device that a path leads to, "disk vda", and the way on from there."""
    steps: list[str] = _STEPS.findall(path)[1:]
    hull = steps[:1] == ["devices"] and len(steps) > 1
    steps = steps[hull:]
    if not steps or steps[0].startswith("@"):
        return "domain", "/".join(steps)
    tag, sign, predicate = steps[0].partition("[")
    keys = _KEY.findall(predicate)
    name = " ".join((tag, *keys)) if keys else f"{tag} {predicate[:-1]}" if sign else tag
    return name, "/".join(steps[1:])


def _one_line(text: str) -> str:
    return " ".join(text.split())


# --- for a terminal ------------------------------------------------------------


def drawn(
    result: Result, name: str = "", *, width: int = 80, colour: bool = False, with_record: bool = True
) -> str:
    """The diff for somebody's eyes: origins in a margin, "" where nothing changes.

    Where the margin has no room within `width` columns, origins stand above the hunk.

    :param with_record: show the list and record of profiles; otherwise their lines are counted
    """
    found = hunks(result)
    counted = 0
    if not with_record:
        whole = found
        found = [hunk for hunk in found if not _is_record(hunk)]
        counted = sum(_marked(hunk) for hunk in whole) - sum(_marked(hunk) for hunk in found)
    if not found and not counted:
        return ""

    def paint(code: str, text: str) -> str:
        return f"{code}{text}{_PLAIN}" if colour and text else text

    name = one_line(name)
    rows = [paint(_BOLD, f"--- {name or ORIGINAL}"), paint(_BOLD, f"+++ {name or ALTERED}")]
    column = _margin(found, width)
    for hunk in found:
        header = hunk.header()
        ranges = header[: header.index("@@", 2) + 2]
        rows.append(paint(_CYAN, ranges) + ("" if column else paint(_DIM, header[len(ranges) :])))
        above: tuple[str, tuple[str, ...]] = ("", ())
        left_out = False
        for line in hunk.lines:
            if not with_record and line.origins == (LIST_OF_PROFILES,):
                counted += 1
                left_out = True
                continue
            text, newline, rest = (line.mark + _harmless(line.text)).partition("\n")
            row = text if line.mark == " " else paint(_RED if line.mark == "-" else _GREEN, text)
            if column and line.origins and (above != (line.mark, line.origins) or left_out):
                space = " " * max(2, column - len(text))
                row += space + paint(_DIM, ", ".join(line.origins))
            above, left_out = (line.mark, line.origins), False
            rows.append(row)
            if newline:
                rows.append(rest)
    if counted:
        lines = "1 line" if counted == 1 else f"{counted} lines"
        rows.append(paint(_DIM, f"({lines} of record in <metadata>; --with-record shows them)"))
    return "\n".join(rows) + "\n"


def _marked(hunk: Hunk) -> int:
    """How many lines of a hunk come or go."""
    return sum(1 for line in hunk.lines if line.mark != " ")


def _is_record(hunk: Hunk) -> bool:
    """Is it about the list and record of profiles alone?"""
    return all(line.mark == " " or line.origins == (LIST_OF_PROFILES,) for line in hunk.lines)


def _margin(found: Sequence[Hunk], width: int) -> int:
    """The column of the origins: behind the longest changed line; 0 if the width does not allow it."""
    marked = [
        (len(line.text.partition("\n")[0]) + 1, len(", ".join(line.origins)))
        for hunk in found
        for line in hunk.lines
        if line.origins
    ]
    origin = max((names for _, names in marked), default=0)
    text = max((length for length, _ in marked), default=0)
    column = max(0, min(text + 2, width - origin))
    fits = all(max(column, length + 2) + names <= width for length, names in marked)
    return column if fits else 0


def _harmless(text: str) -> str:
    """Without what a terminal would obey: control characters that XML allows."""
    return text.replace("\r", "").translate({code: f"\\x{code:02x}" for code in range(0x7F, 0xA0)})
