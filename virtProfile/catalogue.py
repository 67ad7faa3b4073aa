# SPDX-License-Identifier: GPL-2.0-or-later
"""What the program tells about profiles themselves: ``--list``, ``--info``, ``--lint``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from .errors import EXIT_DONE, EXIT_FAILED
from .output import Output, table

if TYPE_CHECKING:
    from .needs import Need
    from .output import Talk
    from .profile import Action, Profile, Snippet
    from .store import Listed, ProfileStore


def listing(out: Output, store: ProfileStore, as_json: bool, talk: Talk | None = None) -> int:
    """All profiles of the search path, one a line: where it is from, and which one hides it."""
    rows = store.listing()
    first = {(one.profile.name, one.profile.version): one for one in rows if not one.shadowed}
    hiding = [
        first[one.profile.name, one.profile.version].profile.file if one.shadowed else "" for one in rows
    ]
    for problem in store.problems() if talk is not None else ():
        if problem.level == "error" and talk is not None:
            talk.warning(f"{problem.file}:{problem.line}: {problem.message}; --lint tells all")
    if as_json:
        out.json(
            [
                {
                    "name": one.profile.name,
                    "version": one.profile.version,
                    "title": one.profile.title,
                    "file": one.profile.file,
                    "directory": str(one.directory),
                    "shadowed": one.shadowed,
                    "shadowed_by": by or None,
                    "drop_ins": list(one.drop_ins),
                }
                for one, by in zip(rows, hiding, strict=True)
            ]
        )
        return EXIT_DONE
    lines = table(
        [
            (
                one.profile.name,
                one.profile.version,
                str(one.directory),
                one.profile.title + _remarks(one, by),
            )
            for one, by in zip(rows, hiding, strict=True)
        ]
    )
    out.write("".join(f"{line}\n" for line in lines))
    return EXIT_DONE


def _remarks(one: Listed, by: str) -> str:
    remarks = [f"hidden by {by}"] if by else []
    if one.profile.replaced_by:
        remarks.append(f"replaced by {one.profile.replaced_by}")
    if one.drop_ins and not by:
        remarks.append("with " + ", ".join(one.drop_ins))
    return f" ({'; '.join(remarks)})" if remarks else ""


def info(out: Output, store: ProfileStore, value: str, as_json: bool) -> int:
    """All about one profile, in the version that `value` names or the newest."""
    from .cliargs import profile_wish
    from .needs import needs

    wish = profile_wish(value, "--info")
    profile = store.get(wish["name"], wish.get("version"))
    versions = [one.version for one in store.versions(profile.name)]
    wanted = needs(profile)
    if as_json:
        out.json(facts(profile, versions, wanted))
        return EXIT_DONE
    out.write("".join(f"{line}\n" for line in told(facts(profile, versions, wanted))))
    return EXIT_DONE


def facts(profile: Profile, versions: Sequence[str], wanted: Sequence[Need]) -> dict[str, Any]:
    """All about a profile as JSON takes it."""
    return {
        "name": profile.name,
        "version": profile.version,
        "versions": list(versions),
        "title": profile.title,
        "description": profile.description,
        "file": profile.file,
        "line": profile.line,
        "digest": profile.digest,
        "params": [
            {
                "name": one.name,
                "type": one.type,
                "default": None if one.secret else one.default,
                "secret": one.secret,
            }
            for one in profile.params
        ],
        "requires": [{"profile": one.profile, "version": one.version} for one in profile.requires],
        "conflicts": [{"profile": one.profile, "version": one.version} for one in profile.conflicts],
        "replaced_by": profile.replaced_by,
        "autoselect": profile.autoselect,
        "priority": profile.priority,
        "matches": [
            {
                "line": one.line,
                "not": one.negate,
                "conditions": [
                    *([one.test] if one.test is not None else []),
                    *(sketch(branch) for branch in one.branches),
                ],
            }
            for one in profile.matches
        ],
        "needs": [
            {"context": one.what, "option": one.option, "places": list(one.places), "optional": one.optional}
            for one in wanted
        ],
        "actions": [{"line": one.line, "action": _sentence(one)} for one in profile.actions],
    }


def told(facts: Mapping[str, Any]) -> Iterator[str]:
    """The lines of ``--info``.

    :param facts: as `facts` gives them
    """
    from .needs import spoken

    file = facts["file"]
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
            lines = ", ".join(_place(one, file) for one in need["places"])
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
    text = (facts["description"] or "").strip()
    if text:
        yield ""
        yield from (line.strip() for line in text.split("\n"))


def _place(place: str, of: str) -> str:
    file, _, line = place.rpartition(":")
    return f"line {line}" if file == of else place


def _others(facts: Mapping[str, Any]) -> str:
    others = [one for one in facts["versions"] if one != facts["version"]]
    return f" (also {', '.join(others)})" if others else ""


def _names(wanted: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(
        one["profile"] + (f" version {one['version']}" if one["version"] else "") for one in wanted
    )


def _sentence(action: Action) -> str:
    words = [str(action.kind)]
    if str(action.multiple) != "auto":
        words.append(f"multiple={action.multiple}")
    if str(action.constraint) != "soft":
        words.append(str(action.constraint))
    words.append(action.select or ", ".join(sketch(one) for one in action.branches))
    if action.when:
        words.append(f"when {action.when}")
    return " ".join(words)


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
    return tag + values + "".join(f"[{sketch(one)}]" for one in snippet.children)


def lint(out: Output, store: ProfileStore, files: Sequence[str], as_json: bool) -> int:
    """The problems of profile files, one a line; fails where one of them is an error."""
    from .linting import lint_files

    problems = lint_files(files)
    if as_json:
        out.json(
            [
                {
                    "level": one.level,
                    "message": one.message,
                    "hint": one.hint,
                    "file": one.file,
                    "line": one.line,
                }
                for one in problems
            ]
        )
    else:
        for one in problems:
            hint = f" ({one.hint})" if one.hint else ""
            out.write(f"{one.file}:{one.line}: {one.level}: {one.message}{hint}\n")
            if out.terminal:
                out.write(_margin(one.file, one.line))
    return EXIT_FAILED if any(one.level == "error" for one in problems) else EXIT_DONE


def _margin(file: str, line: int) -> str:
    """The line that a problem is about, as a note in the margin of the file."""
    try:
        with open(file, encoding="utf-8", errors="replace") as stream:
            text = next(islice(stream, line - 1, line), "").rstrip()
    except OSError:
        return ""
    return f"{line:>6} | {text}\n" if text else ""
