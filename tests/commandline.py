# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs command lines of virt-profile in this process and writes down what a user would see."""

from __future__ import annotations

import io
import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import virtProfile.language.search_path
from virtProfile.cli.main import runcli

DATA = Path(__file__).parent / "data" / "cli"
PROFILES = "--profile-dir profiles"


@dataclass(frozen=True)
class Case:
    """One row of the table: a command line, what goes in, and how it ends.

    `stdin` is the name of a file in the data directory, or the text itself if
    it holds a line feed. ``DRIVER`` in `args` stands for the test driver's file.
    """

    name: str
    args: str
    status: int = 0
    stdin: str | None = None
    profiles: str = PROFILES

    @property
    def argv(self) -> list[str]:
        line = f"{self.args} {self.profiles}"
        return shlex.split(line.replace("DRIVER", f"test://{DATA / 'driver.xml'}"))


class Stream(io.TextIOWrapper):
    """A stream as the interpreter's own are: text, with bytes below."""

    def __init__(self, data: bytes = b"", *, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8", newline="\n", write_through=True)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    @property
    def data(self) -> bytes:
        self.flush()
        return self.buffer.getvalue()  # type: ignore[attr-defined]


@dataclass
class Done:
    """What a command line did."""

    status: int
    out: bytes
    err: str
    argv: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return self.out.decode()


def run(argv: list[str], stdin: bytes | None = None, *, terminal: bool = False, **environ: str) -> Done:
    """Run in the data directory; no stdin is a terminal's."""
    came = Stream(stdin or b"", terminal=stdin is None)
    out, err = Stream(terminal=terminal), Stream()
    before = Path.cwd()
    shipped = virtProfile.language.search_path.shipped
    virtProfile.language.search_path.shipped = lambda: "SHIPPED"  # the table has profiles of its own
    os.chdir(DATA)
    try:
        status = runcli(argv, stdin=came, stdout=out, stderr=err, environ=environ)
    finally:
        os.chdir(before)
        virtProfile.language.search_path.shipped = shipped
    return Done(status, out.data, err.data.decode(), argv)


def run_case(case: Case) -> Done:
    stdin = None
    if case.stdin is not None:
        stdin = case.stdin.encode() if "\n" in case.stdin else (DATA / case.stdin).read_bytes()
    return run(case.argv, stdin)


def golden_text(case: Case, done: Done) -> str:
    """All that a user sees, as one text."""
    parts = [f"$ virt-profile {case.args}\n"]
    if case.stdin is not None and "\n" not in case.stdin:
        parts = [f"$ virt-profile {case.args} < {case.stdin}\n"]
    parts.append(f"status {done.status}\n")
    for name, text in (("stdout", done.out.decode("utf-8", "backslashreplace")), ("stderr", done.err)):
        if text:
            parts.append(f"--- {name}\n{text}")
            if not text.endswith("\n"):
                parts.append("(no line feed)\n")
    text = "".join(parts).replace(str(DATA), "DATA")
    # A comment in a shipped profile moves its lines, and changes nothing that a user is told here.
    return re.sub(r"((?:\.\./)+profiles/[a-z0-9-]+\.xml):\d+", r"\1:LINE", text)
