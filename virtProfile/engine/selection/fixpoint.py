# SPDX-License-Identifier: GPL-2.0-or-later
"""The selection that does not change when it is judged again.

Starting from no profile, in rounds: profiles are judged by priority, highest
first, those of equal priority together, each on what everything else makes; so
are the conditions and expressions of their actions. The state that a round
leaves unchanged is the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from virtProfile.engine.selection.conditions import Conditions, Preparation, Verdict
from virtProfile.engine.selection.conflicts import MAX_FIXES, conflict, fix
from virtProfile.engine.selection.render import render
from virtProfile.engine.selection.selector import Selector
from virtProfile.errors import Conflict, ConflictValue, CycleError, ProfileError, VersionError, together
from virtProfile.language.instances import as_option, base_of
from virtProfile.language.profile import MAX_PRIORITY, MIN_PRIORITY, Kind
from virtProfile.language.requests import Selected, Selection
from virtProfile.language.store import fits_version
from virtProfile.result import Skipped, Warning

if TYPE_CHECKING:
    from virtProfile.engine.actions.perform import Actions
    from virtProfile.engine.selection.masks import Masks
    from virtProfile.engine.tree.ownership import Writer
    from virtProfile.engine.tree.work_tree import WorkTree
    from virtProfile.format.element import Element
    from virtProfile.language.profile import Action, Profile


class Completes(Protocol):
    """Gives devices what they need; a whole guest too, where it is `whole`."""

    @property
    def whole(self) -> bool: ...

    def run(self, actions: Actions, default_again: Callable[[Element | None], None], /) -> None: ...


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
            tuple(sorted((chosen.name, chosen.priority, chosen.source) for chosen in self.selected.values())),
            tuple(sorted((at, verdict.key()) for at, verdict in self.verdicts.items())),
        )


class Fixpoint:
    """Finds the stable selection and renders it."""

    def __init__(
        self,
        tree: WorkTree,
        selector: Selector,
        conditions: Conditions,
        completion: Completes | None = None,
    ) -> None:
        #: a whole guest is completed, by all that stands: no mask is exact
        self._whole = completion is not None and completion.whole
        self.tree = tree
        self.complete = None if completion is None else completion.run
        self.selector = selector
        self.conditions = conditions
        self._rendered: Actions | None = None
        selector.matches = _judge_of(tree, conditions)
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
        self._steady = {
            name: selected for name, selected in state.selected.items() if all(name in at for at in chosen)
        }
        return None

    def _round(self, state: State, priorities: Mapping[str, int]) -> list[str]:
        """Judge everything once; the names of the profiles whose part changed."""
        flipped: list[str] = []
        done: set[str] = set()
        while True:
            wishes = self.selector.candidates(state.selected, priorities)
            dropped = [name for name in state.selected if name not in wishes]
            for name in dropped:
                del state.selected[name]  # nobody asks for it any more
                flipped.append(name)
            if dropped:  # nor may it stay in the tree, where nothing else changes in this round
                self._render(state)
            level = [name for name in wishes if name not in done]
            if not level:
                return flipped
            top = max([wishes[name].priority for name in level])
            level = sorted([name for name in level if wishes[name].priority == top])
            changed = False
            decided = [(name, wishes[name], self._judge(state, wishes[name])) for name in level]
            verdicts = [
                (chosen, number, self._verdict(state, chosen, action, number))
                for _, chosen, holds in decided
                if holds
                for number, action in enumerate(chosen.profile.actions)
                if action.kind is not Kind.CHECK and self.conditions.is_dynamic(action)
            ]
            done.update(level)
            for name, chosen, holds in decided:
                known = state.selected.get(name)
                if holds and known is not chosen and known != chosen:
                    state.selected[name] = chosen
                elif not holds and known is not None:
                    del state.selected[name]
                else:
                    continue
                changed = True
                flipped.append(name)
            for chosen, number, verdict in verdicts:
                old = state.verdicts.get((chosen.name, number))
                if old is None or old.key() != verdict.key():
                    state.verdicts[(chosen.name, number)] = verdict
                    changed = True
                    flipped.append(chosen.name)
            if changed:
                self._render(state)

    def _judge(self, state: State, chosen: Selected) -> bool:
        if not chosen.profile.matches:
            self._reasons.pop(chosen.name, None)
            return True
        with self._without(state, chosen.name) as root:
            verdict = self.conditions.match(chosen, root)
        self._reasons[chosen.name] = verdict
        return verdict.holds

    def _verdict(self, state: State, chosen: Selected, action: Action, number: int) -> Verdict:
        writer = self._writers.get((chosen.name, number))
        if writer is None:  # an action that was left out has done nothing
            return self.conditions.action(chosen, action, self.tree)
        with self._without(state, writer):
            return self.conditions.action(chosen, action, self.tree)

    @contextmanager
    def _without(self, state: State, owner: str | Writer) -> Iterator[Element]:
        """The root of the tree while a profile's, or an action's, own doing does not show."""
        if self._masks is None:
            from virtProfile.engine.selection.masks import Masks

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
        selected = [chosen for chosen in state.selected.values() if chosen.name != without]
        self._rendered = render(self.tree, self.conditions.schema, selected, self.prepare, self.complete)
        self._writers = {
            (step.writer.origin.profile, step.writer.number): step.writer for step in self._rendered.steps
        }
        self._masks = None
        self.conditions.rendered()

    # --- the outcome ---------------------------------------------------------

    def selection(self, state: State) -> Selection:
        """The stable state as a selection.

        :raises ProfileError: conditions and expressions that are in error there, all of them
        """
        errors: list[ProfileError] = []
        skipped: list[Skipped] = []
        broken: set[str] = set()  # whose params are wrong: every expression says it again
        for name, chosen in self.selector.candidates(state.selected, {}).items():
            try:
                self.conditions.check_params(chosen)
            except ProfileError as problem:
                errors.append(problem)
                broken.add(name)
                continue
            verdict = self._reasons.get(name)
            if verdict is not None and verdict.error is not None:
                errors.append(verdict.error)
            elif name not in state.selected and verdict is not None:
                skipped.append(
                    Skipped(
                        name,
                        chosen.profile.version,
                        "match",
                        self.conditions.why(chosen, verdict, self.tree.root),
                    )
                )
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
            sorted(state.selected.values(), key=lambda chosen: (-chosen.priority, chosen.name)),
            sorted(skipped, key=lambda skip: skip.name),
            warnings,
            selector.named,
            selector.entries,
            selector.secrets,
        )

    def _unfit_versions(self, state: State) -> list[ProfileError]:
        """Versions that a selected profile requires, of profiles that are selected in another."""
        return [
            VersionError(
                f"profile '{chosen.name}' requires '{other.name}' version '{wish.version}',"
                f" version '{other.profile.version}' is selected",
                hint=f"{as_option(other.name)},version={wish.version}",
                where=f"{chosen.profile.file}:{wish.line}",
            )
            for chosen in state.selected.values()
            for wish in chosen.profile.requires
            for other in _instances(state, wish.profile)
            if wish.version and not fits_version(other.profile.version, wish.version)
        ]

    def clashes(self, state: State) -> list[Conflict]:
        """Selected profiles that by their own word do not go together."""
        found: list[Conflict] = []
        for chosen in state.selected.values():
            for barrier in chosen.profile.conflicts:
                for other in _instances(state, barrier.profile):
                    if (
                        other is chosen
                        or barrier.version
                        and not fits_version(other.profile.version, barrier.version)
                    ):
                        continue
                    sides = _sides(chosen, other, barrier.line)
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
            chosen = wishes.get(name)
            if chosen is None:
                continue
            profile = chosen.profile
            origin = {
                "profile": name,
                "version": profile.version,
                "action": "match",
                "file": profile.file,
                "line": profile.line,
            }
            values.append(ConflictValue(name, chosen.priority, "soft", origin))
        for name in flipping:
            chosen = wishes.get(name)
            for step in (1, -1):
                if chosen is None or len(fixes) >= MAX_FIXES:
                    continue
                priority = chosen.priority + step
                if MIN_PRIORITY <= priority <= MAX_PRIORITY and self.run({name: priority}):
                    fixes.append(fix(name, priority))
        names = ", ".join(f"'{name}'" for name in flipping)
        return CycleError(
            f"no selection is stable: each round selects or drops {names}",
            hint="try " + " or ".join(fixes[:2])
            if fixes
            else "change their conditions, which exclude each other",
            conflicts=[Conflict("", tuple(values), tuple(fixes))],
        )


def _judge_of(tree: WorkTree, conditions: Conditions) -> Callable[[Profile], bool]:
    """Judges matches of profiles that nobody selected; an error is left to who selects them."""

    def matches(profile: Profile) -> bool:
        verdict = conditions.match(Selected(profile, 0, "requires", {}, None), tree.root)
        return verdict.holds or verdict.error is not None

    return matches


def _instances(state: State, name: str) -> list[Selected]:
    """What is selected of a profile: itself, and its instances."""
    return [chosen for chosen in state.selected.values() if base_of(chosen.name) == name]


def _sides(first: Selected, other: Selected, line: int) -> tuple[ConflictValue, ...]:
    """Two profiles of which the first, at `line`, says that they do not go together."""
    return tuple(
        ConflictValue(
            side.name,
            side.priority,
            "hard",
            {
                "profile": side.name,
                "version": side.profile.version,
                "action": "conflicts",
                "file": side.profile.file,
                "line": line if side is first else side.profile.line,
            },
        )
        for side in sorted((first, other), key=lambda side: side.name)
    )


def _left_out(chosen: Selected, number: int, lacking: tuple[str, ...]) -> Warning:
    """An action that the host cannot have, by its domain capabilities."""
    action = chosen.profile.actions[number]
    what = ", ".join(dict.fromkeys(lacking))
    return Warning(
        "left-out",
        f"an <{action.kind}> of '{chosen.name}' is left out: the host's domain capabilities lack {what}",
        f"{action.file}:{action.line}",
    )
