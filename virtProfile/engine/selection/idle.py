# SPDX-License-Identifier: GPL-2.0-or-later
"""Wishes without effect, and why: nothing that a selected profile says is passed over in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from virtProfile.engine.actions.match import State, candidates, leaf_element, state_on
from virtProfile.engine.tree.ownership import THE_DEFINITION
from virtProfile.format.buses import name_of
from virtProfile.format.document import local
from virtProfile.format.element import PRESENCE, TEXT, read
from virtProfile.format.secret_slots import is_secret
from virtProfile.language.profile import Kind
from virtProfile.redaction import STARS, is_foreign
from virtProfile.result import Idle, Warning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from virtProfile.engine.actions.arbiter import Loss
    from virtProfile.engine.actions.perform import Actions
    from virtProfile.engine.actions.step import Step
    from virtProfile.engine.selection.conditions import Verdict
    from virtProfile.format.element import Element
    from virtProfile.format.paths import Paths
    from virtProfile.language.requests import Selected
    from virtProfile.language.wishes import Leaf, Want

#: How many reasons a message has at most.
MAX_REASONS = 3


class Effects:
    """What came of every action of the selected profiles."""

    def __init__(
        self,
        selected: Sequence[Selected],
        actions: Actions,
        verdicts: Mapping[tuple[str, int], Verdict],
        paths: Paths,
        why: Callable[[Selected, Verdict, Element], str],
    ) -> None:
        """:param why: the reason of a verdict, with what the condition met in the domain"""
        self._actions = actions
        self._paths = paths
        self.idle: list[Idle] = []
        #: profile -> has any wish of it an effect? Those without wishes are not in it
        self.by_profile: dict[str, bool] = {}
        self._files = {chosen.name: chosen.profile.file for chosen in selected}
        steps = {(step.writer.origin.profile, step.writer.number): step for step in actions.steps}
        for chosen in selected:
            for number, action in enumerate(chosen.profile.actions):
                if action.kind is Kind.CHECK:
                    continue
                step = steps.get((chosen.name, number))
                effective = step is not None and actions.arbiter.has_effect(step.writer)
                self.by_profile[chosen.name] = self.by_profile.get(chosen.name, False) or effective
                if effective:
                    continue
                if step is None:
                    verdict = verdicts.get((chosen.name, number))
                    reason = (
                        why(chosen, verdict, actions.tree.root) if verdict is not None else "it is left out"
                    )
                else:
                    reason = self._reason(step)
                self.idle.append(
                    Idle(
                        chosen.name,
                        chosen.profile.version,
                        str(action.kind),
                        action.file,
                        action.line,
                        reason,
                    )
                )

    def warnings(self) -> list[Warning]:
        """Profiles of which no wish has an effect."""
        found = []
        for name, effective in self.by_profile.items():
            if effective:
                continue
            reasons = list(dict.fromkeys(idle.reason for idle in self.idle if idle.profile == name))
            text = "; ".join(reasons[:MAX_REASONS])
            if len(reasons) > MAX_REASONS:
                text += f"; and {len(reasons) - MAX_REASONS} more"
            found.append(
                Warning("no-effect", f"profile '{name}' has no effect: {text}", self._files[name], name)
            )
        return found

    # --- reasons ---------------------------------------------------------------

    def _reason(self, step: Step) -> str:
        lost = [loss for loss in self._actions.losses if loss.loser is step.writer]
        if lost:
            return self._lost(lost)
        remover = self._actions.arbiter.undone.get(step.writer)
        if remover is not None:
            return f"overridden by '{remover.origin.profile}', which removes it"
        if step.action.kind is Kind.DEFAULT:
            facts = [fact for thing, want in self._places(step) for fact in self._unmatched(thing, want)]
            return "matches nothing: " + (_joined(facts) or "there is no gap")
        return "the elements that it is for are not there" if step.targets else "there is nothing to do"

    def _places(self, step: Step) -> Iterator[tuple[Element, Want]]:
        if step.want is not None:
            yield self._actions.tree.root, step.want
        if not step.targets:
            return
        from virtProfile.engine.tree.names import Names

        names = Names(self._actions.tree)
        for name, want in step.targets:
            thing = names.find(name)
            if thing is not None:
                yield thing, want

    def _lost(self, lost: Sequence[Loss]) -> str:
        first = lost[0]
        winner = first.winners[0]
        if winner is THE_DEFINITION:
            who = "kept by the VM definition"
        else:
            who = f"overridden by '{winner.origin.profile}'"
        facts = []
        for loss in lost:
            if loss.has is not None and loss.winners[0] is winner:
                facts.append(self._fact(loss.element, loss.rest, loss.has))
        if not facts:
            facts = [loss.note for loss in lost if loss.note and loss.winners[0] is winner]
        if not facts and winner.origin.action == Kind.REMOVE:
            return f"{who}, which removes it"
        return f"{who}: {_joined(facts)}" if facts else who

    def _unmatched(self, thing: Element, want: Want) -> Iterator[str]:
        """Why a default fills nothing."""
        for leaf in want.leaves:
            element = leaf_element(thing, leaf)
            if element is None:
                yield f"'{leaf.node.path}' is not there"
            elif state_on(element, leaf) is State.DIFFERS:
                yield self._differs(element, leaf)
        for group in want.groups:
            there = candidates(thing, group)
            if not there:
                yield f"there is no '{group.tag}'"
            for inner in group.wants:
                for candidate in there:
                    yield next(self._unmatched(candidate, inner), f"{name_of(candidate)} does not fit")

    def _differs(self, element: Element, leaf: Leaf) -> str:
        value, _ = read(element, leaf.slot, leaf.node)
        return self._fact(element, leaf.slot, value or "")

    def _fact(self, element: Element, rest: str, value: str) -> str:
        """A value as a person says it: ``disk vda has driver cache='none'``."""
        path = self._paths.of(element, rest if rest[:1] == "@" else "")
        if is_secret(path) or is_foreign(path):
            value = STARS
        whole = rest == PRESENCE or rest[:1] != "@" and "/@" not in rest and not rest.endswith(TEXT)
        words = [] if rest in (PRESENCE, TEXT) else [local(rest).removeprefix("@").replace("/@", " ")]
        at: Any = element
        root = self._actions.tree.root
        while at is not root and at.getparent() is not None:
            above = at.getparent()
            if above.tag == "devices" and above.getparent() is root:
                if whole:
                    return f"{name_of(at)} is there"
                return f"{name_of(at)} has {' '.join(words) or 'text'}='{value}'"
            words.insert(0, local(at.tag))
            at = above
        return f"{' '.join(words)} is there" if whole else f"{' '.join(words)} is '{value}'"


def _joined(facts: Sequence[str]) -> str:
    """Facts in one line, each once."""
    rows = list(dict.fromkeys(facts))
    more = f", and {len(rows) - MAX_REASONS} more" if len(rows) > MAX_REASONS else ""
    return ", ".join(rows[:MAX_REASONS]) + more
