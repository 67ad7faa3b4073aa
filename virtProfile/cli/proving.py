# SPDX-License-Identifier: GPL-2.0-or-later
"""The front of ``--test``: one line for each test, reports for other programs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

from virtProfile.errors import EXIT_DONE, EXIT_FAILED
from virtProfile.show.machine_reports import Finding, workflow_commands, write_junit, write_sarif
from virtProfile.show.terminal import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from virtProfile.apply_options import ApplyOptions
    from virtProfile.authoring.proving import Outcome, Proof, Prover, Uncovered
    from virtProfile.language.store import ProfileStore
    from virtProfile.show.terminal import Output

#: Fewer files for each are not worth another process.
FILES_A_PROCESS = 4

RULES = {
    "test": "A test of a profile fails",
    "coverage": "No test makes an action of a tested profile effective",
}


def prove(out: Output, options: ApplyOptions, store_of: Callable[[str], ProfileStore]) -> int:
    """Run the tests that ``--test`` names; fails where one fails, or there is none.

    :param store_of: gives the profiles for the tests of a directory
    """
    from virtProfile.authoring.cases import test_files
    from virtProfile.authoring.proving import Prover

    prover = Prover(store_of, options.update_results, options.profile_dir)
    outcomes: list[Outcome] = []
    for outcome in _run(prover, test_files(options.test), store_of, options):
        outcomes.append(outcome)
        if not options.json:
            out.prose(_shown(outcome, options.quiet))
    uncovered = prover.uncovered()
    failed = sum(1 for outcome in outcomes if outcome.failures)
    covered, actions = prover.covered()
    if options.json:
        out.json(
            {
                "tests": [outcome.to_dict() for outcome in outcomes],
                "passed": len(outcomes) - failed,
                "failed": failed,
                "actions": actions,
                "covered": covered,
                "uncovered": [row.to_dict() for row in uncovered],
            }
        )
    else:
        out.lines(
            f"not covered: {row.file}:{row.line}: <{row.action}> of {row.profile} {row.version}"
            for row in uncovered
        )
        count = "1 test" if len(outcomes) == 1 else f"{len(outcomes)} tests"
        out.write(f"{count}: {len(outcomes) - failed} passed, {failed} failed; "
                  f"{covered} of {actions} actions covered\n")  # fmt: skip
    findings = _findings(outcomes, uncovered, options.strict)
    if options.annotations and not options.json:
        out.prose(workflow_commands(findings))
    if options.junit is not None:
        write_junit(options.junit, _suites(outcomes))
    if options.sarif is not None:
        write_sarif(options.sarif, findings, RULES)
    if failed or not outcomes or options.strict and uncovered:
        return EXIT_FAILED
    return EXIT_DONE


def _run(
    prover: Prover, files: Sequence[str], store_of: Callable[[str], ProfileStore], options: ApplyOptions
) -> Iterator[Outcome]:
    """The outcomes in the order of the files, which several processes work on."""
    processes = min(len(os.sched_getaffinity(0)), len(files) // FILES_A_PROCESS)
    if processes < 2:
        yield from prover.run(files)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    _inherited[:] = [store_of, options.update_results, options.profile_dir]
    with ProcessPoolExecutor(processes, multiprocessing.get_context("fork")) as pool:
        for proof in pool.map(_prove_file, files):
            prover.merge(proof)
            yield from proof.outcomes


#: What the processes are forked with.
_inherited: list[object] = []


def _prove_file(file: str) -> Proof:
    from virtProfile.authoring.proving import Prover

    prover = Prover(*cast("tuple[Callable[[str], ProfileStore], bool, tuple[str, ...]]", _inherited))
    return prover.proof(list(prover.run([file])))


def _shown(outcome: Outcome, quiet: bool) -> str:
    name = one_line(outcome.name or "the file cannot be read")
    file = one_line(outcome.file)
    if not outcome.failures:
        text = "" if quiet else f"passed: {file}:{outcome.line}: {name}\n"
        return text + (f"written: {one_line(str(outcome.updated))}\n" if outcome.updated else "")
    rows = [f"FAILED: {file}:{outcome.line}: {name}\n"]
    rows += [f"    {file}:{row.line}: {one_line(row.message)}\n" for row in outcome.failures]
    rows += [f"    {one_line(note)}\n" for note in outcome.notes]
    return "".join(rows)


def _found(outcome: Outcome) -> list[Finding]:
    return [
        Finding("error", "test", f"{outcome.name}: {row.message}", outcome.file, row.line, "", outcome.name)
        for row in outcome.failures
    ]


def _findings(outcomes: Sequence[Outcome], uncovered: Sequence[Uncovered], strict: bool) -> list[Finding]:
    found = [row for outcome in outcomes for row in _found(outcome)]
    level = "error" if strict else "warning"
    for row in uncovered:
        text = f"no test makes this <{row.action}> of '{row.profile}' effective"
        found.append(Finding(level, "coverage", text, row.file, row.line))
    return found


def _suites(
    outcomes: Sequence[Outcome],
) -> list[tuple[str, Sequence[tuple[str, Sequence[Finding]]]]]:
    files = dict.fromkeys(outcome.file for outcome in outcomes)
    return [
        (
            file,
            [
                (outcome.name or "the file can be read", _found(outcome))
                for outcome in outcomes
                if outcome.file == file
            ],
        )
        for file in files
    ]
