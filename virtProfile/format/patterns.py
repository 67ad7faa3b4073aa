# SPDX-License-Identifier: GPL-2.0-or-later
"""Regular expressions that few calls need, compiled when they are first used.

Of a process that applies one profile to one file they were a fortieth of the time.
"""

from __future__ import annotations

import re
from typing import Any

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
