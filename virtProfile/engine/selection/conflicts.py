# SPDX-License-Identifier: GPL-2.0-or-later
"""All conflicts of a rendering at once, with the fixes that were tried."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from virtProfile.engine.selection.render import render
from virtProfile.engine.tree.ownership import THE_DEFINITION
from virtProfile.errors import Conflict, ConflictError, ConflictValue
from virtProfile.format.document import parse
from virtProfile.format.element import TEXT
from virtProfile.frozen import replace
from virtProfile.language.instances import as_option
from virtProfile.language.profile import MAX_PRIORITY, MIN_PRIORITY, OVERRIDE_PRIORITY
from virtProfile.result import DEFINITION

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from virtProfile.engine.actions.arbiter import Loss
    from virtProfile.engine.actions.perform import Actions
    from virtProfile.engine.selection.render import Complete, Prepare
    from virtProfile.engine.tree.ownership import Writer
    from virtProfile.engine.tree.work_tree import WorkTree
    from virtProfile.format.element import Element
    from virtProfile.format.paths import Paths
    from virtProfile.format.schema import Schema
    from virtProfile.language.requests import Selected


MAX_FIXES = 6

MAX_TRIALS = 60


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
        prefix = next((name for name, known in loss.element.nsmap.items() if name and known == uri), "")
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
    make_paths: Callable[[Element, Schema], Paths],
    clashes: Sequence[Conflict] = (),
    complete: Complete | None = None,
    advise: bool = True,
) -> ConflictError | None:
    """All conflicts of a rendering with fixes that were tried, or None.

    :param clashes: profiles that by their own word do not go together
    :param advise: try fixes? Each costs a rendering

    The tree is left in another rendering.
    """
    found = conflicts(actions, make_paths(tree.root, schema))
    if not found and not clashes:
        return None
    trials: dict[tuple[str, int], set[str]] = {}
    unmet = bool(actions.unmet)

    @cache
    def was_valid() -> bool:
        return not schema.validate(parse(tree.document.text).root)

    def attempt(name: str, priority: int) -> set[str]:
        key = (name, priority)
        if key not in trials:
            changed = [
                replace(chosen, priority=priority) if chosen.name == name else chosen for chosen in selected
            ]
            changed.sort(key=lambda chosen: (-chosen.priority, chosen.name))
            tried = render(tree, schema, changed, prepare, complete)
            broken = set(conflicts(tried, make_paths(tree.root, schema)))
            if tried.errors or (tried.unmet and not unmet):
                broken.add("")
            elif broken < set(found) and was_valid() and schema.validate(tree.root):
                broken.add("")  # libvirt would not take the domain
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
        barred = _names(clashes) & {writer.origin.profile for writer, _ in sides}
        for name, priority in () if barred or not advise else _candidates([writer for writer, _ in sides]):
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
    return f"{as_option(name)},priority={priority}"


def _names(clashes: Sequence[Conflict]) -> set[str]:
    """The profiles that do not go together: only leaving some out helps, no priority."""
    return {side.value or "" for clash in clashes for side in clash.values}


def _candidates(writers: Sequence[Writer]) -> list[tuple[str, int]]:
    """Single changes of priority that may settle a conflict: just above or below another side."""
    tries: dict[tuple[str, int], bool] = {}
    for writer in writers:
        if writer is THE_DEFINITION:
            continue
        others = [other.priority for other in writers if other is not writer]
        for other in sorted(others, reverse=True):
            for priority in (other + 1, other - 1):
                if MIN_PRIORITY <= priority <= MAX_PRIORITY and priority != writer.priority:
                    tries[(writer.origin.profile, priority)] = True
        if THE_DEFINITION in writers:
            tries[(writer.origin.profile, OVERRIDE_PRIORITY)] = True
    return list(tries)


def _headline(reports: Sequence[Conflict]) -> str:
    first = reports[0]
    more = f"; {len(reports) - 1} more conflict(s)" if len(reports) > 1 else ""
    if not first.path:
        parties = " and ".join(f"'{side.value}'" for side in first.values)
        return f"cannot hold together: profiles {parties}, as <conflicts> says{more}"
    parties = " and ".join(
        f"{'the VM definition' if side.origin == DEFINITION else side.origin['profile']}"
        f" ({side.priority}, {side.constraint}) wants "
        + ("it absent" if side.value is None else f"'{side.value}'")
        for side in first.values
    )
    return f"cannot hold together: {first.path}: {parties}{more}"


def _advice(reports: Sequence[Conflict]) -> str:
    pairs = [sorted(_names([report])) for report in reports if not report.path]
    if pairs:
        return "leave out " + ", and ".join(f"'{name}' or '{other}'" for name, other in pairs[:2])
    fixes = [fix for report in reports for fix in report.fixes]
    if fixes:
        return "try " + " or ".join(dict.fromkeys(fixes[:2]))
    origins = [side.origin for report in reports for side in report.values]
    names = {DEFINITION if origin == DEFINITION else origin["profile"] for origin in origins}
    return "drop one of the profiles" if len(names) > 1 else "the profile contradicts itself: mend it"
