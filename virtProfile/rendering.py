# SPDX-License-Identifier: GPL-2.0-or-later
"""One rendering: the selected profiles' actions, in their order, on the tree.

Always starts from the definition, so a rendering can be repeated with another
selection: that is how fixes of conflicts are tried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .actions import Actions
from .errors import Conflict, ConflictError, ConflictValue
from .meeting import Loss
from .placement import place
from .profile import Kind, Multiple
from .provenance import (
    DEFINITION,
    MAX_PRIORITY,
    MIN_PRIORITY,
    OVERRIDE_PRIORITY,
    THE_DEFINITION,
    Origin,
    Writer,
)
from .records import replace
from .worktree import TEXT, Element, WorkTree

if TYPE_CHECKING:
    from .context import Context
    from .domainschema import Schema
    from .paths import Paths
    from .profile import Action
    from .selector import Selected

_RANK = {Multiple.NO: 1, Multiple.YES: 2, Multiple.AUTO: 3}
MAX_FIXES = 6
MAX_TRIALS = 60


class Step:
    """One action of one selected profile, ready to be carried out."""

    __slots__ = ("action", "writer", "want", "select")

    def __init__(self, action: Action, writer: Writer, want: Any, select: Any) -> None:
        self.action = action
        self.writer = writer
        self.want = want
        self.select = select


class Prepare(Protocol):
    """Gives an action as it is to be carried out now (expressions worked out), or None to skip it."""

    context: Context

    def __call__(self, action: Action, one: Selected, number: int) -> tuple[Any, Any] | None: ...


def steps(
    selected: Sequence[Selected], prepare: Callable[[Action, Selected, int], tuple[Any, Any] | None]
) -> list[Step]:
    """All actions in rendering order: by priority, highest first; within one priority
    removes, `no`, `yes`, auto; then name, version, document order; defaults after all."""
    rows = []
    for one in selected:
        profile = one.profile
        for number, action in enumerate(profile.actions):
            is_default = action.kind == Kind.DEFAULT
            rank = 0 if is_default or action.kind == Kind.REMOVE else _RANK[action.multiple]
            key = (is_default, -one.priority, rank, profile.name, profile.version, number)
            rows.append((key, one, action, is_default))
    rows.sort(key=lambda row: row[0])
    made = []
    for key, one, action, is_default in rows:
        number = key[-1]
        prepared = prepare(action, one, number)
        if prepared is None:
            continue
        origin = Origin(one.profile.name, one.profile.version, str(action.kind), action.file, action.line)
        writer = Writer(origin, one.priority, action.constraint == "hard", is_default, number)
        made.append(Step(action, writer, *prepared))
    return made


#: Gives devices what they need; `complete.Completion.run`.
Complete = Callable[[Actions, Callable[[], None]], None]


def render(
    tree: WorkTree,
    schema: Schema,
    selected: Sequence[Selected],
    prepare: Prepare,
    complete: Complete | None = None,
) -> Actions:
    """Take the tree back to the definition, let the selected profiles act on it, and
    give their devices what those need. What that makes gets the defaults too."""
    tree.rollback()
    actions = Actions(tree, schema)
    actions.steps = steps(selected, prepare)
    for step in actions.steps:
        actions.act(step.action, step.want, step.select, step.writer)
    if complete is not None:
        complete(actions, lambda: _default_again(actions))
    place(tree, actions, prepare.context)
    return actions


def _default_again(actions: Actions) -> None:
    """Carry out the defaults once more; what was told before is not told twice."""
    before = len(actions.losses)
    told = {(one.element, one.rest, one.loser) for one in actions.losses}
    wishes = actions.wishes
    for step in actions.steps:
        if step.writer.is_default:
            actions.act(step.action, step.want, step.select, step.writer)
    actions.wishes = wishes
    again = actions.losses[before:]
    actions.losses[before:] = [one for one in again if (one.element, one.rest, one.loser) not in told]


# --- what did not go ----------------------------------------------------------


def where(loss: Loss, paths: Paths) -> str:
    """The path of a loss: of what is there, and from there what was wanted."""
    path = paths.of(loss.element)
    rest = loss.rest
    if rest in ("", TEXT):
        return path
    if rest.endswith("/" + TEXT):
        rest = rest[: -len(TEXT) - 1]
    if rest[:1] == "@":
        return paths.of(loss.element, rest)
    if rest[:1] == "{":  # by the document's prefix, as all names
        uri, _, rest = rest[1:].partition("}")
        prefix = next((one for one, known in loss.element.nsmap.items() if one and known == uri), "")
        rest = f"{prefix}:{rest}" if prefix else f"*[local-name()='{rest}']"
    return f"{path}/{rest}"


def conflicts(actions: Actions, paths: Paths) -> dict[str, list[Loss]]:
    """Path -> the wishes that cannot hold together there."""
    found: dict[str, list[Loss]] = {}
    for loss in actions.losses:
        if loss.conflict:
            found.setdefault(where(loss, paths), []).append(loss)
    return found


def _side(writer: Writer, value: str | None) -> ConflictValue:
    origin: Any = DEFINITION if writer is THE_DEFINITION else writer.origin.to_dict()
    return ConflictValue(value, writer.priority, writer.constraint, origin)


def explain_conflicts(
    tree: WorkTree,
    schema: Schema,
    selected: Sequence[Selected],
    prepare: Prepare,
    actions: Actions,
    make_paths: Callable[[Element, Any], Paths],
    clashes: Sequence[Conflict] = (),
    complete: Complete | None = None,
) -> ConflictError | None:
    """All conflicts of a rendering with fixes that were tried, or None.

    :param clashes: profiles that by their own word do not go together

    The tree is left in another rendering.
    """
    found = conflicts(actions, make_paths(tree.root, schema))
    if not found and not clashes:
        return None
    trials: dict[tuple[str, int], set[str]] = {}

    def attempt(name: str, priority: int) -> set[str]:
        key = (name, priority)
        if key not in trials:
            changed = [replace(one, priority=priority) if one.name == name else one for one in selected]
            changed.sort(key=lambda one: (-one.priority, one.name))
            tried = render(tree, schema, changed, prepare, complete)
            broken = set(conflicts(tried, make_paths(tree.root, schema)))
            if tried.errors:
                broken.add("")
            trials[key] = broken
        return trials[key]

    all_paths = set(found)
    reports = list(clashes)
    for path, losses in found.items():
        sides: dict[tuple[Writer, str | None], bool] = {}
        for loss in losses:
            sides[(loss.loser, loss.wanted)] = True
            for winner in loss.winners:
                sides[(winner, loss.has)] = True
        fixes: list[str] = []
        for name, priority in _candidates([writer for writer, _ in sides]):
            if len(fixes) >= MAX_FIXES or (len(trials) >= MAX_TRIALS and (name, priority) not in trials):
                break
            broken = attempt(name, priority)
            if path not in broken and broken < all_paths:
                fixes.append(fix(name, priority))
        ordered = sorted(sides, key=lambda side: (-side[0].priority, side[0].origin.profile, side[1] or ""))
        reports.append(Conflict(path, tuple(_side(writer, value) for writer, value in ordered), tuple(fixes)))
    return conflict(reports)


def conflict(reports: Sequence[Conflict]) -> ConflictError:
    """The error that tells of them all."""
    return ConflictError(_headline(reports), hint=_advice(reports), conflicts=reports)


def fix(name: str, priority: int) -> str:
    """How a caller spells another priority of a profile."""
    if ":" in name:  # the guest OS's, which only the metadata names
        return f"<virtuned:guest priority='{priority}'>"
    return f"--profile {name},priority={priority}"


def _candidates(writers: Sequence[Writer]) -> list[tuple[str, int]]:
    """Single changes of priority that may settle a conflict: just above or below another side."""
    tries: dict[tuple[str, int], bool] = {}
    for one in writers:
        if one is THE_DEFINITION:
            continue
        others = [other.priority for other in writers if other is not one]
        for other in sorted(others, reverse=True):
            for priority in (other + 1, other - 1):
                if MIN_PRIORITY <= priority <= MAX_PRIORITY and priority != one.priority:
                    tries[(one.origin.profile, priority)] = True
        if THE_DEFINITION in writers:
            tries[(one.origin.profile, OVERRIDE_PRIORITY)] = True
    return list(tries)


def _headline(reports: Sequence[Conflict]) -> str:
    first = reports[0]
    more = f"; {len(reports) - 1} more conflict(s)" if len(reports) > 1 else ""
    if not first.path:
        told = " and ".join(f"'{side.value}'" for side in first.values)
        return f"cannot hold together: profiles {told}, as <conflicts> says{more}"
    told = " and ".join(
        f"{'the VM definition' if side.origin == DEFINITION else side.origin['profile']}"
        f" ({side.priority}, {side.constraint}) wants "
        + ("it absent" if side.value is None else f"'{side.value}'")
        for side in first.values
    )
    return f"cannot hold together: {first.path}: {told}{more}"


def _advice(reports: Sequence[Conflict]) -> str:
    fixes = [fix for report in reports for fix in report.fixes]
    if fixes:
        return "try " + " or ".join(dict.fromkeys(fixes[:2]))
    origins = [side.origin for report in reports for side in report.values]
    names = {DEFINITION if one == DEFINITION else one["profile"] for one in origins}
    return "drop one of the profiles" if len(names) > 1 else "the profile contradicts itself: mend it"
