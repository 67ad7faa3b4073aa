# SPDX-License-Identifier: GPL-2.0-or-later
"""Cases of the language as text files: a domain, profiles, a call, and what must come out.

A case file has sections, each opened by a line ``=== NAME``:

``domain``
    the input, byte for byte
``profile``
    any number; a profile document
``call``
    one ``--profile`` value a line, or words such as ``--override``
``output`` | ``error``
    golden: the output as a difference to the input (``-``/``+`` lines), or the error
``report``
    golden: changes, overridden, skipped, warnings, one a line

Everything before the first section is the reason for the case.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path

import virtProfile
from virtProfile.errors import ProfileError
from virtProfile.language.store import ProfileStore
from virtProfile.result import Result

DIRECTORY = Path(__file__).parent / "data" / "cases"
_GOLDEN = ("output", "error", "report")


@dataclass
class Case:
    path: Path
    why: str = ""
    domain: str = ""
    profiles: list[str] = field(default_factory=list)
    call: list[str] = field(default_factory=list)
    golden: dict[str, str] = field(default_factory=dict)


def load(path: Path) -> Case:
    case = Case(path)
    name = "why"
    lines: list[str] = []

    def close() -> None:
        text = "".join(lines)
        if name == "profile":
            case.profiles.append(text)
        elif name == "call":
            case.call = [line.strip() for line in text.splitlines() if line.strip()]
        elif name in _GOLDEN:
            case.golden[name] = text
        elif name == "domain":
            case.domain = text
        elif name == "why":
            case.why = text
        else:
            raise ValueError(f"{path}: unknown section '{name}'")

    with path.open(newline="") as stream:
        for line in stream:
            if line.startswith("=== "):
                close()
                name, lines = line[4:].strip(), []
            else:
                lines.append(line)
    close()
    return case


def save(case: Case, golden: dict[str, str]) -> None:
    parts = [case.why, "=== domain\n", case.domain]
    for profile in case.profiles:
        parts += ["=== profile\n", profile]
    parts += ["=== call\n", "".join(f"{line}\n" for line in case.call)]
    for name in _GOLDEN:
        if name in golden:
            parts += [f"=== {name}\n", golden[name]]
    case.path.write_text("".join(parts))


def store_of(case: Case, directory: Path) -> ProfileStore:
    for number, text in enumerate(case.profiles, 1):
        (directory / f"p{number}.xml").write_text(text)
    return ProfileStore([directory])


def run(case: Case, directory: Path) -> tuple[Result | None, dict[str, str]]:
    """The result (None for an error) and what the golden sections should hold."""
    store = store_of(case, directory)
    requests = []
    options: dict[str, bool] = {}
    for line in case.call:
        if line.startswith("--"):
            options[line[2:].replace("-", "_")] = True
            continue
        name, *rest = line.split(",")
        wish: dict[str, object] = {"name": name, "params": {}}
        for one in rest:
            key, _, value = one.partition("=")
            if key == "priority":
                wish[key] = int(value)
            elif key == "include":
                wish[key] = value == "yes"
            elif key == "version":
                wish[key] = value
            else:
                wish["params"][key] = value
        requests.append(wish)
    record = not options.pop("no_record", False)
    try:
        result = virtProfile.apply(
            case.domain,
            requests,
            store=store,
            record=record,
            **options,
        )
    except ProfileError as error:
        return None, {"error": _error(error, directory)}
    return result, {
        "output": _difference(case.domain, result.xml),
        "report": _report(result).replace(str(directory) + "/", ""),
    }


def _difference(before: str, after: str) -> str:
    if before == after:
        return "(the input, byte for byte)\n"
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=1)
    return "".join(f"{line}\n" for line in list(lines)[2:])


def _report(result: Result) -> str:
    rows = [f"applied {one.name} {one.version} {one.priority} {one.source}" for one in result.applied]
    for one in result.skipped:
        rows.append(f"skipped {one.name} {one.version} {one.reason}: {one.detail}")
    for change in result.changes:
        who = ", ".join(f"{origin.profile}:{origin.action}:{origin.line}" for origin in change.origins)
        rows.append(f"{change.op} {change.path} {_value(change.before)} -> {_value(change.after)} by {who}")
    for lost in result.overridden:
        winner = lost.winner if isinstance(lost.winner, str) else lost.winner.profile
        rows.append(
            f"overridden {lost.path} {lost.loser.profile} wanted {_value(lost.wanted)},"
            f" {winner} has {_value(lost.has)}"
        )
    rows += [f"warning {one.code}: {one.message}" for one in result.warnings]
    rows.append(f"wishes {result.wishes}, kept out {result.kept_out}")
    return "".join(f"{row}\n" for row in rows)


def _value(value: str | None) -> str:
    return "(none)" if value is None else repr(value)


def _error(error: ProfileError, directory: Path) -> str:
    rows = [f"{error.code} ({error.exit_status}) {error}", f"hint: {error.hint}"]
    for conflict in error.conflicts:
        rows.append(f"conflict {conflict.path}")
        for side in conflict.values:
            who = side.origin if isinstance(side.origin, str) else side.origin["profile"]
            rows.append(f"  {_value(side.value)} {who} {side.priority} {side.constraint}")
        rows += [f"  fix {fix}" for fix in conflict.fixes]
    for other in error.others:
        rows.append(f"also {other.code}: {other}")
    text = "".join(f"{row}\n" for row in rows)
    return text.replace(str(directory) + "/", "").replace(str(directory), "DIR")
