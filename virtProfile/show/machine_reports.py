# SPDX-License-Identifier: GPL-2.0-or-later
"""Reports for other programs: SARIF 2.1.0, JUnit XML, annotations of GitHub's workflows.

Of what lint, audit and test find. Formats: OASIS "Static Analysis Results Interchange Format
(SARIF) Version 2.1.0"; JUnit's as Jenkins' xunit plugin and GitLab read it; GitHub's "Workflow
commands".
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lxml import etree

from virtProfile.files import check_not_chosen, write_whole
from virtProfile.format.patterns import NO_XML
from virtProfile.frozen import record
from virtProfile.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_SARIF_LEVELS = {"error": "error", "warning": "warning", "info": "note"}
_GITHUB_LEVELS = {"error": "error", "warning": "warning", "info": "notice"}


@record
class Finding:
    """One thing that was found.

    :ivar level: error, warning or info
    :ivar rule: what found it, a word that stays: ``syntax``, ``test``, the name of an audit rule
    :ivar file: that it is in, "" where there is none; `line` from 1, 0 unknown
    :ivar hint: what to do about it, or ""
    :ivar subject: what was examined: a test, a VM, a file
    """

    level: str
    rule: str
    message: str
    file: str
    line: int
    hint: str = ""
    subject: str = ""


def sarif(findings: Iterable[Finding], descriptions: dict[str, str]) -> dict[str, Any]:
    """A SARIF log of one run.

    :param descriptions: of rules; those that found something are listed in any case
    """
    rows = list(findings)
    rules = sorted({*descriptions, *(row.rule for row in rows)})
    results: list[dict[str, Any]] = []
    for row in rows:
        text = row.message + (f" ({row.hint})" if row.hint else "")
        result: dict[str, Any] = {
            "ruleId": row.rule,
            "ruleIndex": rules.index(row.rule),
            "level": _SARIF_LEVELS[row.level],
            "message": {"text": text},
        }
        location: dict[str, Any] = {}
        if row.file:
            physical: dict[str, Any] = {"artifactLocation": {"uri": _uri(row.file)}}
            if row.line:
                physical["region"] = {"startLine": row.line}
            location["physicalLocation"] = physical
        if row.subject:
            location["logicalLocations"] = [{"fullyQualifiedName": row.subject}]
        if location:
            result["locations"] = [location]
        results.append(result)
    driver = {
        "name": "virt-profile",
        "version": VERSION,
        "rules": [{"id": rule, "shortDescription": {"text": descriptions.get(rule, rule)}} for rule in rules],
    }
    run = {"tool": {"driver": driver}, "results": results, "columnKind": "unicodeCodePoints"}
    return {"$schema": _SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}


def _uri(file: str) -> str:
    """A file as a relative reference below the working directory, else as a file URI."""
    path = os.path.relpath(file)
    if path.startswith(os.pardir + os.sep):
        return "file://" + quote(os.fsencode(os.path.abspath(file)))
    return quote(os.fsencode(path))


def junit(suites: Sequence[tuple[str, Sequence[tuple[str, Sequence[Finding]]]]]) -> bytes:
    """A JUnit document.

    :param suites: name and cases; of each case its name and what was found
    """
    root = etree.Element("testsuites", name="virt-profile")
    for name, cases in suites:
        failed = [findings for _, findings in cases if findings]
        suite = etree.SubElement(
            root, "testsuite", name=_clean(name), tests=str(len(cases)), failures=str(len(failed)), errors="0"
        )
        for title, findings in cases:
            case = etree.SubElement(suite, "testcase", classname=_clean(name), name=_clean(title))
            if findings:
                failure = etree.SubElement(
                    case, "failure", message=_clean(findings[0].message), type=findings[0].level
                )
                failure.text = _clean("\n".join(_line(row) for row in findings))
    root.set("tests", str(sum(len(cases) for _, cases in suites)))
    root.set("failures", str(len(root.findall("testsuite/testcase/failure"))))
    return bytes(etree.tostring(root, xml_declaration=True, encoding="UTF-8", pretty_print=True))


def _line(row: Finding) -> str:
    place = f"{row.file}:{row.line}: " if row.line else f"{row.file}: " if row.file else ""
    return f"{place}{row.level}: {row.message}" + (f" ({row.hint})" if row.hint else "")


def _clean(text: str) -> str:
    return NO_XML.sub("\ufffd", text)


def workflow_commands(findings: Iterable[Finding]) -> str:
    """Lines that a workflow of GitHub shows beside the files."""
    lines = []
    for row in findings:
        place = f" file={_property(os.path.relpath(row.file))}" if row.file else ""
        place += f",line={row.line}" if row.file and row.line else ""
        text = row.message + (f" ({row.hint})" if row.hint else "")
        lines.append(f"::{_GITHUB_LEVELS[row.level]}{place}::{_data(text)}\n")
    return "".join(lines)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def write_sarif(file: str, findings: Iterable[Finding], descriptions: dict[str, str]) -> None:
    """Write a SARIF log.

    :raises OSError: it cannot be written
    """
    import json

    text = json.dumps(sarif(findings, descriptions), ensure_ascii=False, indent=2) + "\n"
    _write(file, text.encode("utf-8", "backslashreplace"))


def write_junit(file: str, suites: Sequence[tuple[str, Sequence[tuple[str, Sequence[Finding]]]]]) -> None:
    """Write a JUnit document.

    :raises OSError: it cannot be written
    """
    _write(file, junit(suites))


def _write(file: str, data: bytes) -> None:
    if os.path.exists(file) and not os.path.isfile(file):  # /dev/stdout, a pipe
        check_not_chosen(file)
        with open(file, "wb") as stream:
            stream.write(data)
    else:
        write_whole(file, data)
