# SPDX-License-Identifier: GPL-2.0-or-later
"""What a terminal sees of the front ends: stdout is data, byte for byte; stderr is talk.

Errors are one line of fact and one of hint, and all of them are told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any

from virtProfile.errors import ProfileError
from virtProfile.result import ALL_OR_NOTHING

if TYPE_CHECKING:
    from virtProfile.result import Overridden, Result

#: Everything but the first word of a message stands this far in.
INDENT = " " * 9
#: Lost wishes and skipped profiles that are told one by one; --explain tells all.
MAX_TOLD = 10
#: What moves the cursor, starts a line or reverses the order of letters: values and file names may hold it.
_FORGING = {
    **{code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))},
    ord("\t"): "\\t",
    ord("\n"): "\\n",
    **{
        code: f"\\u{code:04x}"
        for code in (0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
    },
}
#: The same, but a text of several lines keeps them.
_CONTROL = {code: text for code, text in _FORGING.items() if code not in (9, 10)}


def one_line(text: str) -> str:
    """`text` as a part of one line: what could forge a line or a terminal's state is written as an escape."""
    return text.translate(_FORGING)


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

    def prose(self, text: str) -> None:
        """Lines for people, which forge nothing on a terminal or in a log."""
        self.write(text.translate(_CONTROL))

    def lines(self, rows: Iterable[str]) -> None:
        """The same, each row as one line, whatever is in it."""
        self.prose("".join(f"{one_line(row)}\n" for row in rows))

    def json(self, document: Any) -> None:
        import json

        text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
        self.write(text.encode("utf-8", "backslashreplace"))  # a lone surrogate is \udcff in JSON as well

    @property
    def terminal(self) -> bool:
        return _is_terminal(self._stream)

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
        return _is_terminal(self._stream)

    def note(self, text: str) -> None:
        if not self.quiet:
            self.say(one_line(text))

    def warning(self, text: str) -> None:
        self.say(f"WARNING  {one_line(text)}")

    def debug(self, text: str, *values: Any) -> None:
        if self._log is not None:
            self._log.debug(text, *values)

    def error(self, problem: ProfileError) -> None:
        """An error with its hint, its conflicts, and the errors that came with it."""
        for error in _all(problem):
            # only libvirt's own message may have several lines, and none of them looks like one of ours
            facts = str(error).splitlines() if error.code == "libvirt" else [str(error)]
            self.say(f"ERROR    {f'{chr(10)}{INDENT}'.join(map(one_line, facts))}")
            if error.hint:
                self.say(INDENT + one_line(error.hint))
            for line in conflict_lines(error):
                self.say(INDENT + one_line(line))
        self.traceback()

    def failure(self, text: str, hint: str = "") -> None:
        """What no `ProfileError` tells: the operating system, or a mistake of ours."""
        self.say(f"ERROR    {one_line(text)}")
        if hint:
            self.say(INDENT + one_line(hint))
        self.traceback()

    def traceback(self) -> None:
        if self.debugging:
            import traceback

            self.say(traceback.format_exc().rstrip("\n"))


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False


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
    """Rows with their columns aligned; each row is one line."""
    if not rows:
        return []
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines


def tell(talk: Talk, result: Result, *, override: bool = False) -> None:
    """What a run did besides its data: warnings, lost wishes, skipped profiles, the balance."""
    for warning in result.warnings:
        text = f"{warning.where}: {warning.message}" if warning.where else warning.message
        text += f" (--profile {warning.fix} helps)" if warning.fix else ""
        if warning.severity == "info":
            talk.note(text)
        else:
            talk.warning(text)
    if talk.quiet:
        return
    lines = [lost_line(loss) for loss in result.overridden]
    lines += [
        f"skipped: {profile.name} {profile.version}: {profile.detail or profile.reason}"
        for profile in result.skipped
    ]
    for line in lines[:MAX_TOLD]:
        talk.note(line)
    if len(lines) > MAX_TOLD:
        talk.note(f"and {len(lines) - MAX_TOLD} more, shown by --explain and --json")
    if result.kept_out:
        wishes = "wish" if result.wishes == 1 else "wishes"
        them = "it" if result.kept_out == 1 else "them"
        way = "a priority above 99" if override else "--override"
        talk.note(
            f"{result.kept_out} of {result.wishes} {wishes} kept out by the VM definition;"
            f" {way} lets {them} win"
        )


def lost_line(loss: Overridden) -> str:
    """A wish that lost, to whom, and what is there instead."""
    removing = loss.loser.action == "remove"
    if loss.hint.startswith(ALL_OR_NOTHING):
        what = f"the absence of {loss.path}" if removing else loss.path
        who = f"{loss.loser.profile} {loss.loser.version}"
        return f"kept out with that: {what}, which {who} wanted too, all or nothing"
    wanted = "its absence" if removing else "it" if loss.wanted is None else f"'{loss.wanted}'"
    if loss.has is not None:
        has = f"'{loss.has}'"
    else:
        has = "there" if removing else "absent"
    who = f"{loss.loser.profile} {loss.loser.version}"
    if isinstance(loss.winner, str):
        # Of a place it is no value that keeps it: the hint has the reason.
        why = f" ({loss.hint})" if loss.hint and loss.path.rpartition("/@")[2].startswith("virtuned:") else ""
        return f"kept by the VM definition: {loss.path} is {has}, {who} wanted {wanted}{why}"
    winner = f"{loss.winner.profile} {loss.winner.version}"
    return f"overridden: {loss.path} is {has} by {winner}, {who} wanted {wanted}"
