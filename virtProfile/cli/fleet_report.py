# SPDX-License-Identifier: GPL-2.0-or-later
"""The report of a fleet: one JSON object a line, from which an interrupted run goes on.

The first line says what call it is of. Each VM has one line when it is done; before it
is defined one that says so, so that a run that was killed at this moment can be told.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from virtProfile.errors import UsageError
from virtProfile.files import check_target

#: What names a VM in a report: connection and name, or None and a file.
Key = tuple[str | None, str]


#: How a report begins: what does not is not touched.
_FIRST = b'{"fleet": {'


class Status(StrEnum):
    """How it went with one VM; all but `DEFINING` are final."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"  # it would change: nothing was written
    WRITTEN = "written"
    DEFINED = "defined"
    FAILED = "failed"
    DEFINING = "defining"


class Report:
    """A report that is written; any process may add lines.

    :param path: of the file, which must be new or empty unless it goes on
    :param call: what decides how VMs come out
    :param resume: go on with a report of the same call
    :raises UsageError: there is a report already, or one of another call
    :raises OSError: the file cannot be read or written
    """

    def __init__(self, path: str, call: Mapping[str, Any], *, resume: bool = False) -> None:
        self.path = path
        #: VMs that are done, with their status
        self.done: dict[Key, str] = {}
        #: VMs that were about to be defined, with the digest of what they were
        self.begun: dict[Key, str] = {}
        head = {"fleet": dict(call)}
        check_target(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(path, flags | os.O_NOFOLLOW, 0o644)
        with open(self._file, "rb", closefd=False) as stream:
            data = stream.read()
        whole = data[: data.rfind(b"\n") + 1]
        if data and not resume:
            raise UsageError(
                f"the report '{path}' exists already", hint="--resume continues it; or give another --report"
            )
        if data and not data.startswith(_FIRST[: len(data)]):
            raise UsageError(f"'{path}' is not a fleet report: see its line 1")
        if whole:
            self._read(whole, head)
        if len(whole) != len(data):
            os.ftruncate(self._file, len(whole))  # a line that nobody finished
        if not whole:
            self.write(head)

    def _read(self, data: bytes, head: Mapping[str, Any]) -> None:
        for number, line in enumerate(data.splitlines(), 1):
            try:
                row = json.loads(line)
                key, status = ((None, ""), "") if number == 1 else ((row["uri"], row["vm"]), row["status"])
                if number == 1:
                    row["fleet"]  # noqa: B018 - a report opens with it
            except (ValueError, KeyError, TypeError):
                raise UsageError(f"'{self.path}' is not a fleet report: see its line {number}") from None
            if number == 1:
                if row != head:
                    raise UsageError(
                        f"'{self.path}' is the report of a call with other options",
                        hint="give the same profiles and options, or another --report",
                    )
                continue
            if status == Status.DEFINING:
                self.begun[key] = row.get("digest", "")
            else:
                self.begun.pop(key, None)
                self.done[key] = status

    def write(self, row: Mapping[str, Any] | bytes) -> None:
        """Add a line, whole: several processes write to one report."""
        data = (
            row
            if isinstance(row, bytes)
            else json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace")
        )
        os.write(self._file, data + b"\n")

    def close(self) -> None:
        os.close(self._file)
