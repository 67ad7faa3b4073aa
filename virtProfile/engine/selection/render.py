# SPDX-License-Identifier: GPL-2.0-or-later
"""One rendering: the selected profiles' actions, in their order, on the tree.

Always starts from the definition, so a rendering can be repeated with another
selection: that is how fixes of conflicts are tried.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from virtProfile.engine.actions.perform import Actions
from virtProfile.engine.actions.step import Step
from virtProfile.engine.devices.placement_check import check
from virtProfile.engine.record.assigned import settle
from virtProfile.engine.tree.ownership import Writer
from virtProfile.format.element import Element
from virtProfile.language.directives import NUMA_NODE, SAME_SLOT
from virtProfile.language.profile import Kind, Multiple
from virtProfile.result import Origin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtProfile.engine.actions.remove import Select
    from virtProfile.engine.actions.step import Targets
    from virtProfile.engine.actions.whole import UnitKey
    from virtProfile.engine.tree.work_tree import WorkTree
    from virtProfile.format.schema import Schema
    from virtProfile.host.context import Context
    from virtProfile.language.profile import Action
    from virtProfile.language.requests import Selected
    from virtProfile.language.wishes import Want


_RANK = {Multiple.NO: 1, Multiple.YES: 2, Multiple.AUTO: 3}


class Prepare(Protocol):
    """Gives an action as it is to be carried out now (expressions worked out), or None to skip it."""

    context: Context

    def __call__(
        self, action: Action, chosen: Selected, number: int
    ) -> tuple[Want | None, Select | None, Targets | None] | None: ...


def steps(
    selected: Sequence[Selected],
    prepare: Callable[[Action, Selected, int], tuple[Want | None, Select | None, Targets | None] | None],
) -> list[Step]:
    """All actions in rendering order: by priority, highest first; within one priority
    removes, `no`, `yes`, auto; then name, version, document order; defaults after all."""
    rows = []
    for chosen in selected:
        profile = chosen.profile
        for number, action in enumerate(profile.actions):
            if action.kind == Kind.CHECK:
                continue  # judged on the result
            is_default = action.kind == Kind.DEFAULT
            rank = 0 if is_default or action.kind == Kind.REMOVE else _RANK[action.multiple]
            key = (is_default, -chosen.priority, rank, profile.name, profile.version, number)
            rows.append((key, chosen, action, is_default))
    rows.sort(key=lambda row: row[0])
    made = []
    for key, chosen, action, is_default in rows:
        number = key[-1]
        prepared = prepare(action, chosen, number)
        if prepared is None:
            continue
        origin = Origin(
            chosen.profile.name, chosen.profile.version, str(action.kind), action.file, action.line
        )
        writer = Writer(origin, chosen.priority, action.constraint == "hard", is_default, number)
        made.append(Step(action, writer, *prepared))
    return made


#: Gives devices what they need; `complete.Completion.run`.
Complete = Callable[[Actions, Callable[[Element | None], None]], None]


def render(
    tree: WorkTree,
    schema: Schema,
    selected: Sequence[Selected],
    prepare: Prepare,
    complete: Complete | None = None,
) -> Actions:
    """Take the tree back to the definition, let the selected profiles act on it, and
    give their devices what those need. What that makes gets the defaults too."""
    planned = steps(selected, prepare)
    kept_out: dict[UnitKey, Sequence[Writer]] = {}
    while True:
        tree.rollback()
        actions = Actions(tree, schema)
        actions.steps = planned
        actions.whole.kept_out = kept_out
        actions.remover.spare(chosen.profile for chosen in selected)
        for step in planned:
            actions.act(step)
        actions.misfits.try_again()
        if complete is not None:
            complete(actions, functools.partial(_again, actions))
        if actions.intents[NUMA_NODE] or actions.intents[SAME_SLOT]:
            from virtProfile.engine.devices.placement import place

            place(tree, actions, prepare.context)
        check(tree, actions, prepare.context.documents)
        broken = actions.whole.broken()
        if not broken:
            settle(tree)
            return actions
        kept_out = kept_out | broken


def _again(actions: Actions, made: Element | None = None) -> None:
    """Let actions for each element reach what was made, and carry out the defaults once more; what
    was told before is not told twice.

    :param made: an element that is new since: all others have had the defaults
    """
    actions.reach_late()
    before = len(actions.losses)
    known = {(loss.element, loss.rest, loss.loser) for loss in actions.losses}
    wishes = actions.arbiter.wishes.copy()
    if made is not None:
        actions.reach_new([made])
    for step in actions.steps if made is None else ():
        if step.writer.is_default:
            actions.act(step)
    actions.arbiter.wishes = wishes
    again = actions.losses[before:]
    actions.losses[before:] = [loss for loss in again if (loss.element, loss.rest, loss.loser) not in known]
