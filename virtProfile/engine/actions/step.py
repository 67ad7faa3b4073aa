# SPDX-License-Identifier: GPL-2.0-or-later
"""One action of one selected profile, ready to be carried out."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from virtProfile.engine.actions.remove import Select
    from virtProfile.engine.tree.names import Name
    from virtProfile.engine.tree.ownership import Writer
    from virtProfile.language.profile import Action
    from virtProfile.language.wishes import Want

#: The names of elements, each with the wishes for it.
Targets: TypeAlias = "Sequence[tuple[Name, Want]]"


class Step:
    """An action with its wishes.

    :ivar want: its branches, compiled; None for ``select=`` and ``each=``
    :ivar select: for ``select=``: a function from the root to XPath results
    :ivar targets: for ``each=``: the names of the elements (see `tree.names`), each with the wishes
        for it
    """

    __slots__ = ("action", "writer", "want", "select", "targets")

    def __init__(
        self,
        action: Action,
        writer: Writer,
        want: Want | None,
        select: Select | None = None,
        targets: Targets | None = None,
    ) -> None:
        self.action = action
        self.writer = writer
        self.want = want
        self.select = select
        self.targets = targets

    def wants(self) -> Iterator[Want]:
        """Everything that it wishes, but for what it selects."""
        if self.want is not None:
            yield self.want
        for _, want in self.targets or ():
            yield want
