# SPDX-License-Identifier: GPL-2.0-or-later
"""The selection that does not change when it is judged again.

Starting from no profile, in rounds: profiles are judged by priority, highest
first, those of equal priority together, each on what everything else makes; so
are the conditions and expressions of their actions. The state that a round
leaves unchanged is the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .conditions import Conditions, Preparation, Verdict
from .errors import Conflict, ConflictValue, CycleError, ProfileError, VersionError
from .masking import Masks
from .provenance import MAX_PRIORITY, MIN_PRIORITY, Skipped, Warning
from .rendering import MAX_FIXES, conflict, fix, render
from .selector import Selected, Selection, Selector
from .store import fits_version
from .wishlist import together

if TYPE_CHECKING:
    from .actions import Actions
    from .profile import Action
    from .provenance import Writer
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
            tuple(sorted((one.name, one.priority, one.source) for one in self.selected.values())),
            tuple(sorted((at, verdict.key()) for at, verdict in self.verdicts.items())),
        )


class Fixpoint:
    """Finds the stable selection and renders it."""

    def __init__(
        self,
        tree: WorkTree,
        selector: Selector,
        conditions: Conditions,
        completion: Any = None,
    ) -> None:
        #: a whole guest is completed, by all that stands: no mask is exact
        self._whole = completion is not None and completion.whole
        self.tree = tree
        self.complete = None if completion is None else completion.run
        self.selector = selector
        self.conditions = conditions
        self._rendered: Actions | None = None
        #: names of the profiles that flip, where there is no stable state
        self.flipping: list[str] = []
        self._last: dict[str, Selected] = {}
        self._steady: dict[str, Selected] = {}
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
        states = [state.key()]
        chosen = [dict(state.selected)]
        flips: list[list[str]] = []
        for _ in range(rounds):
            flips.append(self._round(state, priorities or {}))
            key = state.key()
            if key == states[-1]:
                return state
            if key in states:  # it goes round from there for ever
                first = states.index(key)
                flips, chosen = flips[first:], chosen[first:]
                break
            states.append(key)
            chosen.append(dict(state.selected))
        self.flipping = sorted({name for names in flips for name in names})
        self._last = dict(state.selected)
        self._steady = {name: one for name, one in state.selected.items() if all(name in at for at in chosen)}
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
            decided = [(one, self._judge(state, one)) for one in level]
            verdicts = [
                (one, number, self._verdict(state, one, action, number))
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

    def _judge(self, state: State, one: Selected) -> bool:
        if not one.profile.matches:
            self._reasons.pop(one.name, None)
            return True
        with self._without(state, one.name) as root:
            verdict = self.conditions.match(one, root)
        self._reasons[one.name] = verdict
        return verdict.holds

    def _verdict(self, state: State, one: Selected, action: Action, number: int) -> Verdict:
        writer = self._writers.get((one.name, number))
        if writer is None:  # an action that was left out has done nothing
            return self.conditions.action(one, action, self.tree.root)
        with self._without(state, writer) as root:
            return self.conditions.action(one, action, root)

    @contextmanager
    def _without(self, state: State, owner: str | Writer) -> Iterator[Any]:
        """The root of the tree while a profile's, or an action's, own doing does not show."""
        if self._masks is None:
            self._masks = Masks(self.tree, self.actions)
        if isinstance(owner, str) and owner not in state.selected:
            yield self.tree.root
        elif not self._whole and self._masks.exact(owner):
            with self._masks.without(owner) as root:
                yield root
        else:  # seldom: rendered without it, as what yields to it is not in the tree
            self._render(state, owner)
            try:
                yield self.tree.root
            finally:
                self._render(state)

    def _render(self, state: State, without: str | Writer | None = None) -> None:
        left = None
        if without is not None and not isinstance(without, str):
            left = (without.origin.profile, without.number)
        # Not self: no cycle keeps the tree alive.
        self.prepare = Preparation(self.conditions, state.verdicts, left)
        selected = [one for one in state.selected.values() if one.name != without]
        self._rendered = render(self.tree, self.conditions.schema, selected, self.prepare, self.complete)
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
        broken: set[str] = set()  # whose params are wrong: every expression says it again
        for name, one in self.selector.candidates(state.selected, {}).items():
            try:
                self.conditions.check_params(one)
            except ProfileError as problem:
                errors.append(problem)
                broken.add(name)
                continue
            verdict = self._reasons.get(name)
            if verdict is not None and verdict.error is not None:
                errors.append(verdict.error)
            elif name not in state.selected and verdict is not None:
                skipped.append(Skipped(name, one.profile.version, "match", verdict.reason))
        warnings = list(self.selector.warnings)
        for (name, number), verdict in sorted(state.verdicts.items(), key=lambda row: row[0]):
            if name not in state.selected:
                continue
            if verdict.error is not None and name not in broken:
                errors.append(verdict.error)
            if verdict.lacking:
                warnings.append(_left_out(state.selected[name], number, verdict.lacking))
        errors += self._unfit_versions(state)
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
            selector.secrets,
        )

    def _unfit_versions(self, state: State) -> list[ProfileError]:
        """Versions that a selected profile requires, of profiles that are selected in another."""
        return [
            VersionError(
                f"profile '{one.name}' requires '{other.name}' version '{wish.version}',"
                f" version '{other.profile.version}' is selected",
                hint=f"--profile {other.name},version={wish.version}",
                where=f"{one.profile.file}:{wish.line}",
            )
            for one in state.selected.values()
            for wish in one.profile.requires
            for other in [state.selected.get(wish.profile)]
            if other is not None and wish.version and not fits_version(other.profile.version, wish.version)
        ]

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

    def unstable(self) -> ProfileError:
        """The error for no stable selection, with priority fixes that were tried.

        Profiles that are selected all the while, and by their own word do not go
        together, are the reason for what flips: then it is their conflict.
        """
        steady = State()
        steady.selected = dict(self._steady)
        clashes = self.clashes(steady)
        if clashes:
            return conflict(clashes)
        flipping = list(self.flipping)
        wishes = {**self._last, **self.selector.candidates(self._last, {})}
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
            values.append(ConflictValue(name, one.priority, "soft", origin))
        for name in flipping:
            one = wishes.get(name)
            for step in (1, -1):
                if one is None or len(fixes) >= MAX_FIXES:
                    continue
                priority = one.priority + step
                if MIN_PRIORITY <= priority <= MAX_PRIORITY and self.run({name: priority}):
                    fixes.append(fix(name, priority))
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
