# SPDX-License-Identifier: GPL-2.0-or-later
"""`<check>`: what the selected profiles assert of the finished document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtProfile.errors import CheckError, ProfileError, together
from virtProfile.language.profile import Kind, Severity
from virtProfile.result import Warning

if TYPE_CHECKING:
    from collections.abc import Iterable

    from virtProfile.engine.selection.conditions import Conditions
    from virtProfile.engine.tree.work_tree import WorkTree
    from virtProfile.language.requests import Selected

CODE = "check"


def judge(tree: WorkTree, selected: Iterable[Selected], conditions: Conditions) -> list[Warning]:
    """What the document does not pass, of severity `warning` and `info`.

    :raises ProfileError: all checks of severity `error` that fail, and those that cannot be judged
    """
    errors: list[ProfileError] = []
    warnings: list[Warning] = []
    for chosen in selected:
        for action in chosen.profile.actions:
            if action.kind is not Kind.CHECK:
                continue
            where = f"{action.file}:{action.line}"
            try:
                messages = list(dict.fromkeys(conditions.findings(chosen, action, tree)))
            except ProfileError as problem:
                errors.append(problem)
                continue
            for message in messages:
                if action.severity is Severity.ERROR:
                    errors.append(
                        CheckError(f"profile '{chosen.name}': {message}", hint=hint(action.fix), where=where)
                    )
                else:
                    warnings.append(
                        Warning(CODE, message, where, chosen.name, str(action.severity), action.fix or "")
                    )
    if errors:
        raise together(errors)
    return warnings


def hint(fix: str | None) -> str:
    """A fix as a caller gives it."""
    return f"--profile {fix}" if fix else ""
