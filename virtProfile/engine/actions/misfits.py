# SPDX-License-Identifier: GPL-2.0-or-later
"""What a thing was not made for, such as queues of an e1000: tried once more behind the last action.

Another action may have made it another thing since. Else it would depend on the order of the
actions, and so on the names of profiles, what is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from virtProfile.engine.actions.arbiter import Arbiter, Loss
    from virtProfile.engine.actions.remove import Remover
    from virtProfile.engine.actions.whole import Whole
    from virtProfile.engine.tree.ownership import Writer
    from virtProfile.format.element import Element


class Misfits:
    """Keeps what was lost so, with what tries it again."""

    def __init__(self, arbiter: Arbiter, remover: Remover, whole: Whole) -> None:
        self.arbiter = arbiter
        self.tree = arbiter.tree
        self.remover = remover
        self.whole = whole
        self._kept: list[tuple[Callable[[], None], Element, Writer, Sequence[Loss]]] = []

    def note(self, again: Callable[[], None], thing: Element, writer: Writer, losses: Sequence[Loss]) -> None:
        """Keep losses of a writer about a thing, where one of them is final.

        :param again: carries out once more what had them
        """
        theirs = [loss for loss in losses if loss.loser is writer]
        if any(loss.final for loss in theirs):
            self._kept.append((again, thing, writer, theirs))

    def __len__(self) -> int:
        return len(self._kept)

    def forget_since(self, count: int) -> None:
        """Keep the first ones only."""
        del self._kept[count:]

    def try_again(self) -> None:
        """What is lost once more keeps its losses as they were."""
        kept, self._kept = self._kept, []
        losses, fitting = self.arbiter.losses, set[int]()
        for again, thing, writer, had in kept:
            if not self.tree.stands(thing):
                continue
            known, mark = len(losses), self.tree.mark()
            again()
            self.remover.mind_absences(mark, writer)
            if any(loss.final and loss.loser is writer for loss in losses[known:]):
                del losses[known:]
            else:
                fitting.update(map(id, had))
        if fitting:
            self.whole.forget_losses([at for at, loss in enumerate(losses) if id(loss) in fitting])
            losses[:] = [loss for loss in losses if id(loss) not in fitting]
