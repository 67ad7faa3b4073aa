# SPDX-License-Identifier: GPL-2.0-or-later
"""The selection that does not change when it is judged again.

Starting from no profile, in rounds: profiles are judged by priority, highest
first, those of equal priority together, each on what everything else makes; so
are the conditions and expressions of their actions. The state that a round
leaves unchanged is the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .conditions import Conditions, Verdict
from .errors import Conflict, ConflictValue, CycleError, ProfileError
from .masking import Masks
from .provenance import MAX_PRIORITY, MIN_PRIORITY, Skipped, Warning
from .rendering import MAX_FIXES, render
from .selector import Selected, Selection, Selector, together
from .store import fits_version

if TYPE_CHECKING:
    from .actions import Actions
    from .profile import Action
    from .worktree import WorkTree


class State:
    """What one round decided: the profiles that apply, and what their actions say."""

    __slots__ = ("selected", "verdicts")

    def __init__(self) -> None:
        self.selected: dict[str, Selected] = {}
        #: (profile name, action number) -> verdict
        self.verdicts: dict[tuple[str, int], Verdict] = {}

    def key(self) -> tuple[Any, ...]:
        """Equal for equal states."""
        return (
            tuple((one.name, one.priority, one.source) for one in self.selected.values()),
            tuple(sorted((at, verdict.key()) for at, verdict in self.verdicts.items())),
        )


class Fixpoint:
    """Finds the stable selection and renders it."""

    def __init__(self, tree: WorkTree, selector: Selector, conditions: Conditions) -> None:
        self.tree = tree
        self.selector = selector
        self.conditions = conditions
        self._rendered: Actions | None = None
        self.flipping: list[str] = []
        self._masks: Masks | None = None
        self._reasons: dict[str, Verdict] = {}

    @property
    def actions(self) -> Actions:
        """What the last rendering did."""
        assert self._rendered is not None, "run() renders"
        return self._rendered

    def run(self, priorities: Mapping[str, int] | None = None) -> State | None:
        """The stable state, rendered; None where there is none within the rounds.

        :param priorities: other priorities to try, by profile name
        """
        state = State()
        self._render(state)
        rounds = self.selector.size() + 2
        for _ in range(rounds):
            before = state.key()
            flipped = self._round(state, priorities or {})
            if state.key() == before:
                return state
            self.flipping = flipped
        return None

    def _round(self, state: State, priorities: Mapping[str, int]) -> list[str]:
        """Judge everything once; the names of the profiles whose part changed."""
        flipped: list[str] = []
        done: set[str] = set()
        while True:
            wishes = self.selector.candidates(state.selected, priorities)
            for name in [name for name in state.selected if name not in wishes]:
                del state.selected[name]  # nobody asks for it any more
                flipped.append(name)
            level = [one for one in wishes.values() if one.name not in done]
            if not level:
                return flipped
            top = max(one.priority for one in level)
            level = sorted((one for one in level if one.priority == top), key=lambda one: one.name)
            changed = False
            decided = [(one, self._judge(one)) for one in level]
            verdicts = [
                (one, number, self._verdict(one, action, number))
                for one, holds in decided
                if holds
                for number, action in enumerate(one.profile.actions)
                if self.conditions.is_dynamic(action)
            ]
            for one, holds in decided:
                done.add(one.name)
                known = state.selected.get(one.name)
                if holds and known != one:
                    state.selected[one.name] = one
                elif not holds and known is not None:
                    del state.selected[one.name]
                else:
                    continue
                changed = True
                flipped.append(one.name)
            for one, number, verdict in verdicts:
                old = state.verdicts.get((one.name, number))
                if old is None or old.key() != verdict.key():
                    state.verdicts[(one.name, number)] = verdict
                    changed = True
                    flipped.append(one.name)
            if changed:
                self._render(state)

    def _judge(self, one: Selected) -> bool:
        if not one.profile.matches:
            self._reasons.pop(one.name, None)
            return True
        with self._mask(one.name) as root:
            verdict = self.conditions.match(one, root)
        self._reasons[one.name] = verdict
        return verdict.holds

    def _verdict(self, one: Selected, action: Action, number: int) -> Verdict:
        writer = self._writers.get((one.name, number))
        if writer is None:  # it did nothing, so there is nothing of it to mask
            return self.conditions.action(one, action, self.tree.root)
        with self._mask(writer) as root:
            return self.conditions.action(one, action, root)

    def _mask(self, owner: Any) -> Any:
        if self._masks is None:
            self._masks = Masks(self.tree, self.conditions.schema)
        return self._masks.without(owner)

    def _render(self, state: State) -> None:
        def prepare(action: Action, one: Selected, number: int) -> tuple[Any, Any] | None:
            return self.conditions.prepared(action, one, state.verdicts.get((one.name, number)))

        self.prepare = prepare
        self._rendered = render(self.tree, self.conditions.schema, list(state.selected.values()), prepare)
        self._writers = {
            (step.writer.origin.profile, step.writer.number): step.writer for step in self._rendered.steps
        }
        self._masks = None

    # --- the outcome ---------------------------------------------------------

    def selection(self, state: State) -> Selection:
        """The stable state as a selection.

        :raises ProfileError: conditions and expressions that are in error there, all of them
        """
        errors: list[ProfileError] = []
        skipped: list[Skipped] = []
        for name, one in self.selector.candidates(state.selected, {}).items():
            try:
                self.conditions.check_params(one)
            except ProfileError as problem:
                errors.append(problem)
                continue
            verdict = self._reasons.get(name)
            if verdict is not None and verdict.error is not None:
                errors.append(verdict.error)
            elif name not in state.selected and verdict is not None:
                skipped.append(Skipped(name, one.profile.version, "match", verdict.reason))
        warnings = list(self.selector.warnings)
        for (name, number), verdict in sorted(state.verdicts.items()):
            if name not in state.selected:
                continue
            if verdict.error is not None:
                errors.append(verdict.error)
            if verdict.lacking:
                warnings.append(_left_out(state.selected[name], number, verdict.lacking))
        if errors:
            raise together(errors)
        skipped += self.selector.barred()
        selector = self.selector
        return Selection(
            sorted(state.selected.values(), key=lambda one: (-one.priority, one.name)),
            sorted(skipped, key=lambda one: one.name),
            warnings,
            selector.named,
            selector.entries,
        )

    def clashes(self, state: State) -> list[Conflict]:
        """Selected profiles that by their own word do not go together."""
        found: list[Conflict] = []
        for one in state.selected.values():
            for barrier in one.profile.conflicts:
                other = state.selected.get(barrier.profile)
                if other is None or other is one:
                    continue
                if barrier.version and not fits_version(other.profile.version, barrier.version):
                    continue
                sides = tuple(
                    ConflictValue(
                        side.name,
                        side.priority,
                        "hard",
                        {
                            "profile": side.name,
                            "version": side.profile.version,
                            "action": "conflicts",
                            "file": side.profile.file,
                            "line": barrier.line if side is one else side.profile.line,
                        },
                    )
                    for side in sorted((one, other), key=lambda side: side.name)
                )
                pair = [side.value for side in sides]
                if all([side.value for side in known.values] != pair for known in found):
                    found.append(Conflict("", sides))
        return found

    def cycle(self) -> CycleError:
        """The error for no stable selection, with priority fixes that were tried."""
        names = sorted(dict.fromkeys(self.flipping))
        wishes = self.selector.candidates({}, {})
        flipping = list(names)
        values = []
        fixes: list[str] = []
        for name in flipping:
            one = wishes.get(name)
            if one is None:
                continue
            profile = one.profile
            origin = {
                "profile": name,
                "version": profile.version,
                "action": "match",
                "file": profile.file,
                "line": profile.line,
            }
            values.append(ConflictValue(None, one.priority, "soft", origin))
        for name in flipping:
            one = wishes.get(name)
            for step in (1, -1):
                if one is None or len(fixes) >= MAX_FIXES:
                    continue
                priority = one.priority + step
                if MIN_PRIORITY <= priority <= MAX_PRIORITY and self.run({name: priority}):
                    fixes.append(f"--profile {name},priority={priority}")
        told = ", ".join(f"'{name}'" for name in flipping)
        return CycleError(
            f"no selection is stable: {told} flip from round to round",
            hint="try " + " or ".join(fixes[:2]) if fixes else "their conditions exclude each other",
            conflicts=[Conflict("", tuple(values), tuple(fixes))],
        )


def _left_out(one: Selected, number: int, lacking: tuple[str, ...]) -> Warning:
    """An action that the host cannot have, by its domain capabilities."""
    action = one.profile.actions[number]
    what = ", ".join(dict.fromkeys(lacking))
    return Warning(
        "left-out",
        f"an <{action.kind}> of '{one.name}' is left out: the domain capabilities have no {what}",
        f"{action.file}:{action.line}",
    )
