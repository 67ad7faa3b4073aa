# SPDX-License-Identifier: GPL-2.0-or-later
"""What the program tells about profiles themselves: ``--list``, ``--info``, ``--lint``."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from virtProfile.errors import EXIT_DONE, EXIT_FAILED
from virtProfile.language.standing import read_standing
from virtProfile.show.groups import group, grouped
from virtProfile.show.profile import facts, parameters, told

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from virtProfile.apply_options import ApplyOptions
    from virtProfile.language.profile import Problem
    from virtProfile.language.standing import Standing
    from virtProfile.language.store import Listed, ProfileStore
    from virtProfile.show.terminal import Output, Talk


def listing(
    out: Output,
    store: ProfileStore,
    as_json: bool,
    talk: Talk | None = None,
    environ: Mapping[str, str] | None = None,
) -> int:
    """All profiles of the search path, in groups; one that is not shipped with its directory.

    :param environ: says where the user's standing profiles are, which are shown below
    """
    from virtProfile.language.search_path import shipped

    rows = store.listing()
    first = {(row.profile.name, row.profile.version): row for row in rows if not row.shadowed}
    hiding = [
        first[row.profile.name, row.profile.version].profile.file if row.shadowed else "" for row in rows
    ]
    for problem in store.problems() if talk is not None else ():
        if problem.level == "error" and talk is not None:
            talk.warning(f"{problem.file}:{problem.line}: {problem.message}; --lint shows all problems")
    if as_json:
        out.json(
            [
                {
                    "name": row.profile.name,
                    "version": row.profile.version,
                    "title": row.profile.title,
                    "file": row.profile.file,
                    "directory": row.directory,
                    "shadowed": row.shadowed,
                    "shadowed_by": by or None,
                    "drop_ins": list(row.drop_ins),
                    "group": group(row.profile),
                    "description": " ".join(row.profile.description.split()),
                    "params": parameters(row.profile),
                    "replaced_by": row.profile.replaced_by,
                    **({"audit": True} if row.profile.audit else {}),
                }
                for row, by in zip(rows, hiding, strict=True)
            ]
        )
        return EXIT_DONE
    own = shipped()
    lines = grouped(
        [
            (
                group(row.profile),
                row.profile.name,
                row.profile.version,
                row.profile.title + _remarks(row, by, own),
            )
            for row, by in zip(rows, hiding, strict=True)
            if not row.profile.audit  # virt-profile-audit(7) describes them
        ]
    )
    out.lines(lines)
    if environ is not None:
        _show_standing(out, read_standing(environ, talk.warning if talk is not None else lambda text: None))
    return EXIT_DONE


def _show_standing(out: Output, standing: Sequence[Standing]) -> None:
    for file in dict.fromkeys(table.file for table in standing):
        out.lines(["", f"For all new VMs ({file}):"])
        out.lines(f"  {table}" for table in standing if table.file == file)


def _remarks(row: Listed, by: str, own: str) -> str:
    remarks = [] if row.directory == own else [f"in {row.directory}"]
    remarks += [f"hidden by {by}"] if by else []
    if row.profile.replaced_by:
        remarks.append(f"replaced by {row.profile.replaced_by}")
    if row.drop_ins and not by:
        remarks.append("with " + ", ".join(row.drop_ins))
    return f" ({'; '.join(remarks)})" if remarks else ""


def info(out: Output, store: ProfileStore, value: str, as_json: bool) -> int:
    """All about one profile, in the version that `value` names or the newest."""
    from virtProfile.language.context_needs import needs
    from virtProfile.language.requests import profile_wish

    wish = profile_wish(value, "--info")
    profile = store.get(wish["name"], wish.get("version"))
    versions = [version.version for version in store.versions(profile.name)]
    wanted = needs(profile)
    if as_json:
        out.json(facts(profile, versions, wanted))
        return EXIT_DONE
    out.lines(told(facts(profile, versions, wanted)))
    return EXIT_DONE


def lint(out: Output, options: ApplyOptions) -> int:
    """The problems of profile files, one a line; fails where one of them is an error."""
    from virtProfile.authoring.lint import lint_files

    problems = lint_files(options.lint)
    if options.json:
        out.json(
            [
                {
                    "level": problem.level,
                    "message": problem.message,
                    "hint": problem.hint,
                    "file": problem.file,
                    "line": problem.line,
                }
                for problem in problems
            ]
        )
    else:
        for problem in problems:
            hint = f" ({problem.hint})" if problem.hint else ""
            out.lines([f"{problem.file}:{problem.line}: {problem.level}: {problem.message}{hint}"])
            if out.terminal:
                out.prose(_margin(problem.file, problem.line))
    if not problems and not options.json and not options.quiet:
        out.write(_fine(options.lint))
    if options.junit is not None or options.sarif is not None or options.annotations:
        _report(out, options, problems)
    return EXIT_FAILED if any(problem.level == "error" for problem in problems) else EXIT_DONE


def _fine(files: Sequence[str]) -> str:
    """How much was looked at, where nothing is wrong."""
    from virtProfile.format.document import read_file
    from virtProfile.language.parser import parse_profiles
    from virtProfile.language.store import TESTS

    tests = [file for file in files if file.endswith(TESTS)]
    count = sum(len(parse_profiles(read_file(file)[0], file).profiles) for file in {*files} - {*tests})
    parts = [f"{count} profile{'s' * (count != 1)}"] * bool(count)
    parts += [f"{len(tests)} file{'s' * (len(tests) != 1)} of tests"] * bool(tests)
    return f"OK: {', '.join(parts) or 'drop-ins alone'}\n"


def _report(out: Output, options: ApplyOptions, problems: Sequence[Problem]) -> None:
    """The problems for other programs."""
    from virtProfile.show.machine_reports import Finding, workflow_commands, write_junit, write_sarif

    found = [Finding(row.level, "lint", row.message, row.file, row.line, row.hint) for row in problems]
    if options.annotations and not options.json:
        out.prose(workflow_commands(found))
    if options.junit is not None:
        cases = [(file, [row for row in found if row.file == file]) for file in options.lint]
        write_junit(options.junit, [("lint", cases)])
    if options.sarif is not None:
        write_sarif(options.sarif, found, {"lint": "A profile is wrong or doubtful"})


def _margin(file: str, line: int) -> str:
    """The line that a problem is about, as a note in the margin of the file."""
    try:
        with open(file, encoding="utf-8", errors="replace") as stream:
            text = next(islice(stream, line - 1, line), "").rstrip()
    except OSError:
        return ""
    return f"{line:>6} | {text}\n" if text else ""
