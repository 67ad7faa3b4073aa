# SPDX-License-Identifier: GPL-2.0-or-later
"""Valid in, valid out: a rendering that libvirt's schema refuses, and whose doing that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtProfile.engine.selection.render import Prepare, render
from virtProfile.engine.tree.required import invalid_by_removal, lacking_by_removal
from virtProfile.engine.tree.validate import blame, incomplete, overlapping, unfit, validate
from virtProfile.errors import InvalidDomainError
from virtProfile.format.document import parse
from virtProfile.format.paths import Paths
from virtProfile.result import Warning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtProfile.engine.devices.complete import Completion
    from virtProfile.engine.tree.changes import Difference
    from virtProfile.engine.tree.work_tree import WorkTree
    from virtProfile.format.schema import Schema
    from virtProfile.language.requests import Selected

_TAKEN_BACK = "what the record of profiles says taken back"
COMPLETE_HINT = "--complete fills in what it can"


def check_valid(
    tree: WorkTree,
    schema: Schema,
    found: Sequence[Difference],
    selected: Sequence[Selected],
    prepare: Prepare,
    name: str,
    completion: Completion,
    believed: bool = False,
) -> list[Warning]:
    """Valid in, valid out; what only lacks something is a warning.

    :param believed: the record is taken back as it stands: the domain may be as invalid as it was before
    :raises InvalidDomainError: naming the profile
    """
    clash = overlapping(tree, schema)
    if clash is not None:
        raise clash
    robbed = lacking_by_removal(tree)
    if robbed is not None:
        raise robbed
    problems, left_out = validate(tree, schema, found)
    hint = "" if completion.whole else COMPLETE_HINT
    lacking = incomplete(tree, schema, None if problems else left_out, hint)
    if not problems:
        return lacking
    source = parse(tree.document.text)
    if schema.validate(source.root):
        return lacking  # it was not valid before either
    if lacking and unfit(tree, schema, found) is None:
        return lacking
    robbed = invalid_by_removal(tree, schema)
    if robbed is not None:
        raise robbed
    message = _blamed(tree, schema, found) or problems[0]
    who, hint = _culprits(tree, schema, selected, prepare, completion)
    if believed and who == _TAKEN_BACK:
        return [*lacking, Warning("invalid", f"the domain is as invalid as before its profiles: {message}")]
    raise InvalidDomainError(
        f"with {who} the domain would not be valid: {message}",
        hint=hint,
        where=name,
    )


def _blamed(tree: WorkTree, schema: Schema, found: Sequence[Difference]) -> str | None:
    """The change that the schema does not take, where it is a single one."""
    guilty = blame(tree, schema, found)
    if guilty is None:
        return None
    path = Paths(tree.root, schema).of(guilty.element, guilty.slot)
    has = "" if guilty.after is None else f"='{guilty.after}'"
    return f"libvirt's schema does not take {path}{has} there"


def _culprits(
    tree: WorkTree, schema: Schema, selected: Sequence[Selected], prepare: Prepare, completion: Completion
) -> tuple[str, str]:
    """The profiles without any of which the domain would be valid, and what helps."""
    culprits = []
    for suspect in selected:
        rest = [other for other in selected if other is not suspect]
        render(tree, schema, rest, prepare, completion.run)
        if not schema.validate(tree.root):
            culprits.append(f"{suspect.name} {suspect.profile.version} ({suspect.profile.file})")
    render(tree, schema, [], prepare, completion.run)
    by_record = not culprits and bool(schema.validate(tree.root))
    render(tree, schema, selected, prepare, completion.run)
    if by_record:
        return (
            _TAKEN_BACK,
            "--yes takes it back as it stands: it was invalid before, or the record is another's",
        )
    who = " or ".join(culprits) or "the profiles together"
    return who, "leave it out, or mend what it writes there: --explain shows who wrote what"
