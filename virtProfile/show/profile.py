# SPDX-License-Identifier: GPL-2.0-or-later
"""A profile in words: what it adds, removes, defaults and checks, and where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from virtProfile.language.attributes import words
from virtProfile.show.measured import Measured, info_lines, measured
from virtProfile.show.profile_words import in_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from virtProfile.language.context_needs import Need
    from virtProfile.language.profile import Action, Profile, Snippet


def parameters(profile: Profile) -> list[dict[str, Any]]:
    """The parameters of a profile as JSON has them; the default of a secret is nobody's business."""
    return [
        {
            "name": param.name,
            "type": param.type,
            "default": None if param.secret else param.default,
            "secret": param.secret,
        }
        for param in profile.params
    ]


def facts(profile: Profile, versions: Sequence[str], wanted: Sequence[Need]) -> dict[str, Any]:
    """All about a profile as JSON takes it."""
    return {
        "name": profile.name,
        "version": profile.version,
        "versions": list(versions),
        "title": profile.title,
        "description": profile.description,
        "changes": in_words(profile),
        "file": profile.file,
        "line": profile.line,
        "digest": profile.digest,
        "params": parameters(profile),
        "requires": [
            {"profile": reference.profile, "version": reference.version} for reference in profile.requires
        ],
        "conflicts": [
            {"profile": reference.profile, "version": reference.version} for reference in profile.conflicts
        ],
        "replaced_by": profile.replaced_by,
        "autoselect": profile.autoselect,
        "priority": profile.priority,
        "matches": [
            {
                "line": condition.line,
                "not": condition.negate,
                "conditions": [
                    *([condition.test] if condition.test is not None else []),
                    *(sketch(branch) for branch in condition.branches),
                ],
            }
            for condition in profile.matches
        ],
        "needs": [
            {
                "context": need.what,
                "option": need.option,
                "places": list(need.places),
                "optional": need.optional,
            }
            for need in wanted
        ],
        "actions": [{"line": action.line, "action": _sentence(action)} for action in profile.actions],
        "measured": [row.to_dict() for row in measured(profile.name, profile.version, profile.digest)],
    }


def told(facts: Mapping[str, Any]) -> Iterator[str]:
    """The lines of ``--info``.

    :param facts: as `facts` gives them
    """
    from virtProfile.language.context_needs import spoken

    file = facts["file"]
    if facts.get("changes"):  # an older service tells none
        yield "changes:"
        yield from (f"  {line}" for line in facts["changes"])
    rows = [
        ("name", facts["name"]),
        ("version", facts["version"] + _others(facts)),
        ("title", facts["title"] or ""),
        ("file", f"{file}:{facts['line']}"),
        ("digest", facts["digest"]),
        ("requires", _names(facts["requires"])),
        ("conflicts", _names(facts["conflicts"])),
        ("replaced by", facts["replaced_by"] or ""),
        ("automatic", f"with --auto, at priority {facts['priority']}" if facts["autoselect"] else ""),
    ]
    for name, value in rows:
        if value:
            yield f"{name + ':':<11}{value}"
    if facts["params"]:
        yield "parameters:"
        for param in facts["params"]:
            default = " (must be given)" if param["default"] is None else f" = {param['default']}"
            if param["secret"]:
                default = " (secret, given as @FILE)"
            yield f"  {param['name']}: {param['type']}{default}"
    if facts["needs"]:
        yield "needs to know:"
        for need in facts["needs"]:
            lines = ", ".join(_place(place, file) for place in need["places"])
            rest = "; it can do without" if need["optional"] else ""
            yield f"  {spoken(need['context'])}, for {lines}: {need['option']}{rest}"
    for match in facts["matches"]:
        yield f"only where ({file}:{match['line']}):"
        for condition in match["conditions"]:
            yield f"  {'not ' if match['not'] else ''}{condition}"
    if facts["actions"]:
        yield "actions:"
        for action in facts["actions"]:
            yield f"  line {action['line']}: {action['action']}"
    yield from info_lines([Measured.of(row) for row in facts["measured"]], facts["version"])
    text = (facts["description"] or "").strip()
    if text:
        yield ""
        yield from (line.strip() for line in text.split("\n"))


def _place(place: str, of: str) -> str:
    file, _, line = place.rpartition(":")
    return f"line {line}" if file == of else place


def _others(facts: Mapping[str, Any]) -> str:
    others = [version for version in facts["versions"] if version != facts["version"]]
    return f" (also {', '.join(others)})" if others else ""


def _names(wanted: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(
        reference["profile"] + (f" version {reference['version']}" if reference["version"] else "")
        for reference in wanted
    )


def _sentence(action: Action) -> str:
    said = [str(action.kind), *words(action, before=True)]
    said += [", ".join(sketch(branch) for branch in action.branches)] if action.branches else []
    return " ".join([*said, *words(action, before=False)])


def sketch(snippet: Snippet) -> str:
    """A snippet on one line: ``devices/disk[@device='disk'][driver]``."""
    tag = snippet.tag.rpartition("}")[2]
    values = "".join(
        f"[@{name.rpartition('}')[2]}='{value}']" for name, value in (*snippet.attrs, *snippet.intents)
    )
    if snippet.text is not None:
        values += f"[.='{snippet.text}']"
    if len(snippet.children) == 1:
        return f"{tag}{values}/{sketch(snippet.children[0])}"
    return tag + values + "".join(f"[{sketch(child)}]" for child in snippet.children)
