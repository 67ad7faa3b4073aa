# SPDX-License-Identifier: GPL-2.0-or-later
"""What a terminal sees of the front ends: stdout is data, byte for byte; stderr is talk.

Errors are one line of fact and one of hint, and all of them are told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from .errors import ProfileError

if TYPE_CHECKING:
    from .provenance import Overridden, Result

#: Everything but the first word of a message stands this far in.
INDENT = " " * 9
#: Lost wishes and skipped profiles that are told one by one; --explain tells all.
MAX_TOLD = 10
#: Control characters have no business in a message: file names may hold them.
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))}


class Closed(Exception):
    """Who reads our stdout has gone: nothing more to do, nothing to say."""


class Output:
    """stdout, for data. Text is encoded as the document was, bytes pass as they are."""

    def __init__(self, stream: IO[Any], environ: Mapping[str, str]) -> None:
        self._stream = stream
        self._binary: Any = getattr(stream, "buffer", stream)
        self._environ = environ

    def write(self, data: str | bytes, encoding: str = "utf-8") -> None:
        """Write and flush.

        :raises Closed: the reader closed the pipe
        :raises ProfileError: the device is full, or the like
        """
        if isinstance(data, str):
            data = data.encode(encoding, "surrogateescape")
        if self._binary is None:  # Python's word for a stdout that was closed before it began
            raise ProfileError("cannot write to stdout: it is closed")
        try:
            self._binary.write(data)
            self._binary.flush()
        except BrokenPipeError:
            raise Closed from None
        except (OSError, ValueError) as problem:
            self.abandon()  # the interpreter would try again at its end, and say so
            raise ProfileError(f"cannot write to stdout: {_reason(problem)}") from None

    def json(self, document: Any) -> None:
        import json

        text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
        self.write(text.encode("utf-8", "backslashreplace"))  # a lone surrogate is \udcff in JSON as well

    @property
    def terminal(self) -> bool:
        try:
            return bool(self._stream.isatty())
        except (AttributeError, ValueError):
            return False

    @property
    def colour(self) -> bool:
        """A terminal that can, and nobody who said no (https://no-color.org)."""
        environ = self._environ
        return (
            self.terminal and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") not in ("", "dumb")
        )

    @property
    def width(self) -> int:
        """Columns of the terminal, 80 where nobody knows."""
        import os

        columns = self._environ.get("COLUMNS", "")
        if columns.isascii() and columns.isdigit() and 0 < len(columns) < 10 and int(columns) > 0:
            return int(columns)
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError, AttributeError):
            return 80

    def abandon(self) -> None:
        """Keep the interpreter from flushing into a closed pipe at its end."""
        import os

        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)
        except (OSError, ValueError, AttributeError):
            pass


def encoded(text: str, encoding: str, data: bytes) -> bytes:
    """`text` as the document `data` was encoded; what the encoding lacks as references."""
    if encoding == "utf-16":
        big = data.startswith(b"\xfe\xff")
        return data[:2] + text.encode("utf-16-be" if big else "utf-16-le")
    return text.encode(encoding, "xmlcharrefreplace")


class Talk:
    """stderr: errors, warnings, and notes that ``-q`` silences."""

    def __init__(self, stream: IO[str], *, quiet: bool = False, debug: bool = False) -> None:
        self._stream = stream
        self.quiet = quiet
        self.debugging = debug
        self._log: Any = None
        if debug:
            import logging

            handler = logging.StreamHandler(stream)
            handler.setFormatter(logging.Formatter("DEBUG    %(relativeCreated)d ms %(message)s"))
            self._log = logging.getLogger("virtProfile")
            self._log.handlers[:] = [handler]
            self._log.setLevel(logging.DEBUG)
            self._log.propagate = False

    def say(self, text: str, *, end: str = "\n") -> None:
        """A line on stderr; a stderr that is closed is nobody's error."""
        try:
            self._stream.write(text.translate(_CONTROL) + end)
            self._stream.flush()
        except UnicodeEncodeError:
            self.say(text.encode("ascii", "backslashreplace").decode("ascii"), end=end)
        except (OSError, ValueError, AttributeError):
            pass

    def redraw(self, text: str) -> None:
        """Write over the line at hand."""
        try:
            self._stream.write("\r" + text)
            self._stream.flush()
        except (OSError, ValueError, AttributeError):
            pass

    @property
    def terminal(self) -> bool:
        try:
            return bool(self._stream.isatty())
        except (AttributeError, ValueError):
            return False

    def note(self, text: str) -> None:
        if not self.quiet:
            self.say(text)

    def warning(self, text: str) -> None:
        self.say(f"WARNING  {text}")

    def debug(self, text: str, *values: Any) -> None:
        if self._log is not None:
            self._log.debug(text, *values)

    def error(self, problem: ProfileError) -> None:
        """An error with its hint, its conflicts, and the errors that came with it."""
        for one in _all(problem):
            # only libvirt's own message may have several lines: a quoted value must not look like one
            fact = str(one) if one.code == "libvirt" else str(one).replace("\n", "\\n")
            self.say(f"ERROR    {fact}")
            if one.hint:
                self.say(INDENT + one.hint.replace("\n", "\\n"))
            for line in conflict_lines(one):
                self.say(INDENT + line)
        self.traceback()

    def failure(self, text: str, hint: str = "") -> None:
        """What no `ProfileError` tells: the operating system, or a mistake of ours."""
        self.say(f"ERROR    {text}")
        if hint:
            self.say(INDENT + hint)
        self.traceback()

    def traceback(self) -> None:
        if self.debugging:
            import traceback

            self.say(traceback.format_exc().rstrip("\n"))


def _reason(problem: BaseException) -> str:
    return getattr(problem, "strerror", None) or str(problem)


def _all(problem: ProfileError) -> Iterator[ProfileError]:
    yield problem
    for other in problem.others:
        yield from _all(other)


def conflict_lines(problem: ProfileError) -> list[str]:
    """The conflicts of an error: path, every value with whose it is, the fixes."""
    lines = []
    for conflict in problem.conflicts:
        lines.append(conflict.path or "the selection of profiles")
        rows = []
        for side in conflict.values:
            value = "absent" if side.value is None else f"'{side.value}'"
            if isinstance(side.origin, Mapping):
                who = f"{side.origin['profile']} {side.origin['version']}".rstrip()
                place = f"{side.origin['file']}:{side.origin['line']}"
            else:
                who, place = "the VM definition", ""
            rows.append((value, who, f"priority {side.priority}", side.constraint, place))
        lines += ["  " + row for row in table(rows)]
        lines += [f"  fix: {fix}" for fix in conflict.fixes]
    return lines


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows with their columns aligned."""
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines


def tell(talk: Talk, result: Result, *, override: bool = False) -> None:
    """What a run did besides its data: warnings, lost wishes, skipped profiles, the balance."""
    for one in result.warnings:
        talk.warning(f"{one.where}: {one.message}" if one.where else one.message)
    if talk.quiet:
        return
    lines = [_lost(one) for one in result.overridden]
    lines += [f"skipped: {one.name} {one.version}: {one.detail or one.reason}" for one in result.skipped]
    for line in lines[:MAX_TOLD]:
        talk.note(line)
    if len(lines) > MAX_TOLD:
        talk.note(f"and {len(lines) - MAX_TOLD} more, which --explain and --json tell")
    if result.kept_out:
        wishes = "wish" if result.wishes == 1 else "wishes"
        them = "it" if result.kept_out == 1 else "them"
        way = "a priority above 99" if override else "--override"
        talk.note(
            f"{result.kept_out} of {result.wishes} {wishes} kept out by the VM definition;"
            f" {way} lets {them} win"
        )


def _lost(one: Overridden) -> str:
    removing = one.loser.action == "remove"
    wanted = "its absence" if removing else "it" if one.wanted is None else f"'{one.wanted}'"
    if one.has is not None:
        has = f"'{one.has}'"
    else:
        has = "there" if removing else "absent"
    who = f"{one.loser.profile} {one.loser.version}"
    if isinstance(one.winner, str):
        return f"kept by the VM definition: {one.path} is {has}, {who} wanted {wanted}"
    winner = f"{one.winner.profile} {one.winner.version}"
    return f"overridden: {one.path} is {has} by {winner}, {who} wanted {wanted}"
