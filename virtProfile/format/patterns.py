# SPDX-License-Identifier: GPL-2.0-or-later
"""Regular expressions that several modules need, and those that few calls need, compiled at their first use.

Of a process that applies one profile to one file they were a fortieth of the time.
"""

from __future__ import annotations

import re
from typing import Any

#: A character that XML cannot hold (XML 1.0, 2.2). All that it can hold would take `re` 7 ms to compile.
NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

_METHODS = ("match", "search", "fullmatch", "finditer", "findall", "sub", "split")


def compiled_later(text: str, flags: int = 0) -> re.Pattern[str]:
    """As `re.compile`; what it gives has the methods of a pattern, and nothing else."""
    made: Any = _Pattern(text, flags)
    return made  # type: ignore[no-any-return]


class _Pattern:
    """Its methods are those of the compiled pattern from the first use on."""

    __slots__ = ("_text", "_flags", *_METHODS)

    def __init__(self, text: str, flags: int) -> None:
        self._text = text
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        if name not in _METHODS:
            raise AttributeError(name)
        compiled = re.compile(self._text, self._flags)
        for method in _METHODS:
            setattr(self, method, getattr(compiled, method))
        return getattr(compiled, name)
