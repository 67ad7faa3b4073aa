# SPDX-License-Identifier: GPL-2.0-or-later
"""How much one call may compare: a record is input, and may be made to be compared for hours.

Counted in comparisons and not in seconds, so that the same call ends alike on every machine.
"""

from __future__ import annotations

from virtProfile.errors import PolicyError

#: Comparisons that every call may make.
BASE = 500_000
#: Comparisons more for each element and each part of the record: a record that fits takes about ten.
EACH = 50


class Effort:
    """What is left to one call."""

    __slots__ = ("left",)

    def __init__(self, size: int = 0) -> None:
        """:param size: of the document, in elements"""
        self.left = BASE + EACH * size

    def allow(self, size: int) -> None:
        """So many parts more have to be compared."""
        self.left += EACH * size

    def spend(self, count: int = 1) -> None:
        """:raises PolicyError: nothing is left"""
        self.left -= count
        if self.left < 0:
            raise PolicyError(
                "the record of profiles cannot be compared with the definition in reasonable time",
                hint="remove <vr:record> from the metadata, as no profile leaves such a one",
                where="the record in the metadata",
            )
