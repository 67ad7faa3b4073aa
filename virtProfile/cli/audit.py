# SPDX-License-Identifier: GPL-2.0-or-later
"""The front of ``--audit``: one line for each finding, its fix as a command, reports."""

from __future__ import annotations

import gc
import os
import shlex
from typing import TYPE_CHECKING

from virtProfile.errors import EXIT_DONE, EXIT_FAILED, EXIT_PENDING, NotFoundError, ProfileError
from virtProfile.frozen import record
from virtProfile.show.machine_reports import Finding as Reported
from virtProfile.show.machine_reports import workflow_commands, write_junit, write_sarif

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from virtProfile.apply_options import ApplyOptions
    from virtProfile.audit.judge import Audited, Auditor, Finding
    from virtProfile.audit.side_by_side import Shared
    from virtProfile.host.context import Context
    from virtProfile.language.store import ProfileStore
    from virtProfile.show.terminal import Output, Talk

#: Fewer files for each are not worth another process.
FILES_A_PROCESS = 100


@record
class Subject:
    """A VM to audit, not yet read where it is a file; `host` tells whose VMs are compared."""

    name: str
    host: str
    text: str | None
    context: Context


@record
class Answer:
    """What was found in a subject, and what of it is compared with others; or why it cannot be audited."""

    audited: Audited | None
    shared: Shared | None
    error: str = ""


def audit(
    options: ApplyOptions,
    store: ProfileStore,
    out: Output,
    talk: Talk,
    stdin: Callable[[], tuple[str, str]],
) -> int:
    """Audit what the options name.

    :param stdin: gives the domain on stdin and its name
    :returns: 4 where something is found at the level or above, 1 where a VM cannot be audited
    """
    from virtProfile.audit.judge import Auditor, is_at_least, rules_of
    from virtProfile.audit.side_by_side import RULES, SideBySide

    level = options.level or "warning"
    try:
        rules = rules_of(store, options.audit or ())
    except NotFoundError as problem:
        hint = problem.hint
        if options.domain is None and not options.inputs and options.audit and not options.all:
            hint = f"--audit took '{options.audit[0]}' for a profile: write the domain before it"
        raise NotFoundError(problem.message, hint=hint) from None
    vms = list(subjects(options, stdin))
    compared = SideBySide()
    # Of a fleet only what a report is made of at the end is kept.
    is_kept = options.json or options.annotations or options.junit is not None or options.sarif is not None
    is_found = False
    found: list[Finding] = []
    names: list[str] = []
    failed: list[tuple[str, str]] = []
    for subject, answer in zip(vms, _judge(Auditor(store, rules, level), store, vms), strict=True):
        names.append(subject.name)
        if answer.audited is None:
            talk.failure(f"{subject.name}: {answer.error}")
            failed.append((subject.name, answer.error))
            continue
        for text in answer.audited.unjudged:
            talk.warning(f"{subject.name}: {text}")
        rows = [row for row in answer.audited.findings if is_at_least(row.level, level)]
        is_found = is_found or bool(rows)
        if is_kept:
            found += rows
        if not options.json:
            out.lines(line for row in rows for line in _shown(row, options))
        if answer.shared is not None:
            compared.add(subject.host, subject.name, answer.shared)
    if not options.audit and is_at_least("warning", level):
        beside = list(compared.findings())
        is_found = is_found or bool(beside)
        found += beside
        if not options.json:
            out.lines(line for row in beside for line in _shown(row, options))
    if options.json:
        errors = [{"vm": name, "message": text} for name, text in failed]
        out.json({"vms": names, "findings": [row.to_dict() for row in found], "errors": errors})
    descriptions = {rule.profile.name: rule.profile.title for rule in rules} | RULES
    _report(options, out, names, found, descriptions)
    return EXIT_PENDING if is_found else EXIT_FAILED if failed else EXIT_DONE


def subjects(options: ApplyOptions, stdin: Callable[[], tuple[str, str]]) -> Iterator[Subject]:
    """The VMs that a call names: domains, files, or the one on stdin.

    :param stdin: gives the domain on stdin and its name
    """
    from virtProfile.live.call_context import context, given

    said = given(options)
    if options.inputs:
        from virtProfile.cli.fleet import files

        if options.inputs == ("-",):
            text, name = stdin()
            yield Subject(name, "", text, context(said, text, name, None, options.schema))
            return
        for vm in files(options.inputs, None):
            yield Subject(vm.name, "", None, context(said, "", vm.name, None, options.schema))
        return
    if not options.domains and not options.all:
        text, name = stdin()
        yield Subject(name, "", text, context(said, text, name, None, options.schema))
        return
    from virtProfile.live.connection import Connection

    for uri in options.uris or (None,):
        with Connection(uri, read_only=True) as connection:
            names = sorted(connection.names()) if options.all else connection.names_of(options.domains)
            for name in names:
                domain = connection.find(name)
                made = context(said, domain.xml, domain.name, connection, options.schema)
                yield Subject(domain.name, uri or "", domain.xml, made)


#: What the processes are forked with.
_inherited: list[tuple[Auditor, Sequence[Subject]]] = []


def _judge(auditor: Auditor, store: ProfileStore, subjects: Sequence[Subject]) -> Iterator[Answer]:
    """An answer for each subject, in their order; of many files several processes work."""
    if len(subjects) > 1 and not gc.isenabled():
        # A program of one VM looks for no cycles; what an audit leaves would be 40 KiB of each here.
        gc.freeze()
        gc.enable()
    processes = min(len(os.sched_getaffinity(0)), len(subjects) // FILES_A_PROCESS)
    if processes < 2:
        with store.one_look():
            for subject in subjects:
                yield _answer(auditor, subject, len(subjects) > 1)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    _inherited[:] = [(auditor, subjects)]
    with store.one_look(), ProcessPoolExecutor(processes, multiprocessing.get_context("fork")) as pool:
        yield from pool.map(_answer_at, range(len(subjects)), chunksize=25)


def _answer_at(number: int) -> Answer:
    auditor, subjects = _inherited[0]
    return _answer(auditor, subjects[number], True)


def _answer(auditor: Auditor, subject: Subject, is_compared: bool) -> Answer:
    from virtProfile.audit.side_by_side import shared_of
    from virtProfile.errors import InvalidDomainError
    from virtProfile.format.document import read_file

    try:
        text = subject.text
        if text is None:
            text = read_file(subject.name, InvalidDomainError)[0]
        audited = auditor.audit(text, subject.name, subject.context)
        return Answer(audited, shared_of(subject.name, text) if is_compared else None)
    except ProfileError as problem:
        return Answer(None, None, problem.message)


def _shown(row: Finding, options: ApplyOptions) -> Iterator[str]:
    place = f", {row.file}:{row.line}" if row.file else ""
    yield f"{row.vm}: {row.level}: {row.message} [{row.profile}{place}]"
    if row.fix:
        yield f"    {_command(row, options)}"


def _command(row: Finding, options: ApplyOptions) -> str:
    """The fix as a command."""
    words = ["virt-profile"]
    if options.inputs:
        words += ["--input", row.vm]
    elif options.domain is not None or options.all:
        words += ["-c", options.uris[-1]] if options.uris else []
        words.append(row.vm)
    words += ["--profile", row.fix]
    if not options.inputs and (options.domain is not None or options.all):
        words.append("--confirm")
    return shlex.join(words)


def _report(
    options: ApplyOptions,
    out: Output,
    names: Sequence[str],
    found: Sequence[Finding],
    descriptions: dict[str, str],
) -> None:
    """What was found, for other programs."""
    is_file = bool(options.inputs) and options.inputs != ("-",)
    rows = [
        Reported(
            row.level, row.profile, f"{row.vm}: {row.message}", row.vm if is_file else row.file,
            1 if is_file else row.line, f"fix: --profile {row.fix}" if row.fix else "", row.vm,
        )
        for row in found
    ]  # fmt: skip
    if options.annotations and not options.json:
        out.prose(workflow_commands(rows))
    if options.junit is not None:
        by_name: dict[str, list[Reported]] = {name: [] for name in names}
        for row in rows:
            by_name[row.subject].append(row)
        write_junit(options.junit, [("audit", [(name, by_name[name]) for name in names])])
    if options.sarif is not None:
        write_sarif(options.sarif, rows, descriptions)
