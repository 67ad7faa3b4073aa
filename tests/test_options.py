# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of options: its rows fit together, and a new row is enough for all that is made of it."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from commandline import DATA, run

from virtProfile.apply_options import (
    FIELDS,
    ROWS,
    ApplyOptions,
    ansible_arguments,
    options_of_arguments,
)
from virtProfile.cli.arguments import parse
from virtProfile.errors import UsageError
from virtProfile.frozen import replace
from virtProfile.option import Kind

TOP = Path(__file__).parent.parent

#: What a developer adds, before the row of --schema.
ROW = """
    shade: Literal["light", "dark"] | None = choice(
        "--shade",
        group=_CONTEXT,
        help="colour the VM",
        words=("light", "dark"),
        excludes=("--auto",),
        needs="--profile",
        reported=True,
        calls=("apply",),
        argument=Argument("shade", "The colour of the VM."),
        virtinst="Colour the guest",
    )
"""
#: What a new row is asked about, in a process that has it.
PROBE = """
import io, json, sys
from virtProfile.apply_options import ApplyOptions, ansible_arguments, options_of_arguments
from virtProfile.cli.arguments import parse
from virtProfile.cli.remote import Remote
from virtProfile.client import Client
from virtProfile.errors import UsageError
from virtProfile.host.context import Context


def refused(*words):
    try:
        parse(words)
    except UsageError as problem:
        return problem.message


options = parse(["vm", "--profile", "a", "--shade", "dark"])
sent = {}
Client.apply = lambda self, text, wishes, **more: sent.update(more)
Remote("http://127.0.0.1:1", options).call(options, [], "<domain/>", context=Context(), name="vm")
json.dump(
    {
        "parsed": options.shade,
        "default": ApplyOptions().shade,
        "refused": [refused("--profile", "a", "--shade", "red"), refused("--shade", "dark"),
                    refused("--profile", "a", "--auto", "--shade", "dark")],
        "sent": sent["shade"],
        "argument": ansible_arguments()["shade"],
        "by argument": ApplyOptions(**options_of_arguments({"shade": "light"})).shade,
    },
    sys.stdout,
)
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs, with one row more."""
    top = tmp_path_factory.mktemp("tree")
    for name in ("virt-profile", "virt-xml"):
        (top / name).write_text((TOP / name).read_text())
    for name in ("virtinst", "profiles"):
        (top / name).symlink_to(TOP / name)
    (top / "virtProfile").mkdir()
    for path in (TOP / "virtProfile").iterdir():
        if path.name not in ("apply_options.py", "__pycache__"):
            (top / "virtProfile" / path.name).symlink_to(path)
    text = (TOP / "virtProfile" / "apply_options.py").read_text()
    before, mark, after = text.partition("    schema: ")
    assert mark
    (top / "virtProfile" / "apply_options.py").write_text(f"{before}{ROW[1:]}{mark}{after}")
    return top


def call(tree: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run Python on the tree."""
    shown = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", **environ}
    line = ["/bin/sh", "-c", 'exec "$0" "$@" 9>/dev/null', sys.executable, *words]  # argcomplete has its 9
    return subprocess.run(line, env=shown, cwd=tree, capture_output=True, text=True, timeout=60)


def test_a_new_row_is_parsed_checked_sent_and_mirrored(tree: Path) -> None:
    done = call(tree, "-c", PROBE)
    assert not done.returncode, done.stderr
    found = json.loads(done.stdout)
    assert found["refused"].pop(0).startswith("option --shade: invalid choice: 'red'")
    assert found == {
        "parsed": "dark",
        "default": None,
        "refused": [
            "--shade has no effect without --profile",
            "--shade and --auto cannot be given together",
        ],
        "sent": "dark",
        "argument": {"description": "The colour of the VM.", "type": "str", "choices": ["light", "dark"]},
        "by argument": "light",
    }


def test_a_new_row_is_in_help(tree: Path) -> None:
    lines = call(tree, str(tree / "virt-profile"), "--help").stdout.splitlines()
    at = lines.index("  --shade {light,dark}  colour the VM")
    assert lines[at + 1].startswith("  --schema")
    assert "Colour the guest" in call(tree, str(tree / "virt-xml"), "--help").stdout


def test_a_new_row_is_completed(tree: Path, tmp_path: Path) -> None:
    pytest.importorskip("argcomplete")

    def complete(line: str) -> list[str]:
        answer = tmp_path / "answer"
        answer.write_text("")
        asked = {
            "_ARGCOMPLETE": "1",
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
            "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
            "_ARGCOMPLETE_IFS": "\n",
        }
        call(tree, str(tree / "virt-profile"), **asked)
        return [word.strip() for word in answer.read_text().split("\n")]

    assert complete("virt-profile --sha") == ["--shade"]
    assert complete("virt-profile --shade ") == ["light", "dark"]


def test_a_new_row_is_in_the_report_of_a_fleet(tree: Path, tmp_path: Path) -> None:
    words = ["--input", str(DATA / "fleet"), "--profile", "cache", "--profile-dir", str(DATA / "profiles")]
    report = tmp_path / "report"
    more = ["--jobs", "1", "--report", str(report), "--shade", "dark"]
    assert call(tree, str(tree / "virt-profile"), *words, *more).returncode == 1  # one file is broken
    assert json.loads(report.read_text().splitlines()[0])["fleet"]["shade"] == "dark"
    again = call(tree, str(tree / "virt-profile"), *words, *more[:-1], "light", "--resume")
    assert "is the report of a call with other options" in again.stderr


def test_a_new_row_is_in_the_generated_documents(tree: Path) -> None:
    (tree / "docs").mkdir()
    (tree / "docs" / "generate.py").write_text((TOP / "docs" / "generate.py").read_text())
    (tree / "contrib").symlink_to(TOP / "contrib")
    code = "import sys; sys.path.insert(0, sys.argv[1]); import generate; print(generate.ansible())"
    text = call(tree, "-c", code, str(tree / "docs")).stdout
    assert (
        '  shade:\n    description: The colour of the VM.\n    type: str\n    choices: ["light", "dark"]\n'
        in text
    )
    assert '            "shade": {"type": "str", "choices": ["light", "dark"]},\n' in text


# --- the rows ----------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_names_rows_that_exist(row: Any) -> None:
    names = {other.name for other in ROWS}
    tasks = {other.name for other in ROWS if other.one_of == "task"}
    needs = (row.needs,) if isinstance(row.needs, str) else row.needs
    assert {*row.excludes, *filter(None, needs)} <= names - {row.name}
    assert set(row.tasks) <= tasks
    assert not row.needs_hint or row.needs
    for other in row.excludes:
        sets = [one.one_of for one in ROWS if one.name == other]
        assert row.one_of not in sets or not row.one_of, "their set says it"


def test_names_are_of_one_row() -> None:
    flags = Counter(name for row in ROWS for name in row.flags)
    arguments = [row.argument.name for row in ROWS if row.argument is not None]
    reported = [row.word for row in ROWS if row.reported]
    for names in (flags, Counter(arguments), Counter(reported)):
        assert max(names.values()) == 1
    pairs = Counter(frozenset((row.name, other)) for row in ROWS for other in row.excludes)
    assert max(pairs.values()) == 1


@pytest.mark.parametrize("row", [row for row in ROWS if row.excludes], ids=lambda row: row.name)
def test_exclusions_hold(row: Any) -> None:
    kinds = {other.name: other for other in ROWS}

    def words(name: str) -> list[str]:
        other = kinds[name]
        word = other.words[0] if other.words else "x"
        if other.kind == Kind.OPERAND:
            return [word]
        if other.kind == Kind.FLAG:
            return [name]
        return [f"{name}={word}"] if other.kind == Kind.MAYBE else [name, word]

    for other in row.excludes:
        with pytest.raises(UsageError, match="cannot be given together|is for many VMs"):
            parse(words(row.name) + words(other))


# --- the record --------------------------------------------------------------------


def test_what_is_not_given_is_the_default() -> None:
    assert parse([]) == ApplyOptions()
    assert ApplyOptions().define is None
    assert not ApplyOptions().uris


def test_the_record_is_frozen_and_can_be_sent() -> None:
    options = parse(
        ["vm", "-c", "a:", "--profile", "x", "--profile", "y", "--no-define", "--qemu-version", "7.2.22"]
    )
    assert options.define is False
    assert options.connect == "a:"
    assert options.profile == ("x", "y")
    assert options.qemu_version == 7_002_022
    assert pickle.loads(pickle.dumps(options)) == options
    assert hash(options) == hash(replace(options))
    with pytest.raises(AttributeError, match="cannot be changed"):
        options.yes = True


def test_the_last_of_a_value_counts() -> None:
    options = parse(["--input", "a", "--input", "b", "--jobs", "2", "--jobs", "3"])
    assert (options.input, options.inputs, options.jobs) == ("b", ("a", "b"), 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--all --jobs 0", "--jobs 0: is not a number of at least 1"),
        ("--all --max-failures 1000000", "--max-failures 1000000: is not a number of at least 1"),
        ("--all --resume=again", "--resume=again is not empty or 'failed'"),
        ("--merge-capabilities a --min-hosts ٣", "--min-hosts ٣: is not a number of hosts"),
        ("vm --qemu-version 7.2.2.2", "--qemu-version 7.2.2.2: is not a version"),
    ],
)
def test_words_that_are_no_values(words: str, message: str) -> None:
    done = run(words.split())
    assert done.status == 2
    assert done.err.splitlines()[0] == f"ERROR    {message}"


def test_both_flags_of_a_switch() -> None:
    for words in (["--define", "--no-define"], ["--no-define", "--define"]):
        with pytest.raises(UsageError, match="--define and --no-define cannot be given together"):
            parse(["vm", *words])


def test_what_is_reported_and_called() -> None:
    options = parse(["vm", "--unapply", "a", "--exclude"])
    assert options.reported() == {
        "override": False,
        "auto": False,
        "record": True,
        "complete": False,
        "unapply": ["a"],
        "exclude": True,
        "upgrade": None,
        "define": False,
        "output": None,
    }
    assert options.keywords("unapply") == {"exclude": True, "override": False}
    plain = parse(["vm", "--no-record", "--auto"])
    assert plain.keywords("apply") == {"auto": True, "override": False, "complete": False, "record": False}
    assert plain.keywords("device") == {"auto": True, "override": False, "record": False}
    assert plain.keywords("hosts") == {"auto": True, "override": False, "complete": False}


def test_arguments_of_the_ansible_module() -> None:
    params = {"name": "vm", "record": False, "guest_abi": True, "profile_dirs": ["a", "b"], "auto": True}
    fields = options_of_arguments(params)
    assert fields == {"no_record": True, "yes": True, "profile_dir": ("a", "b"), "auto": True}
    assert ApplyOptions(**fields).yes
    defaults = {name: one["default"] for name, one in ansible_arguments().items() if "default" in one}
    assert ApplyOptions(**options_of_arguments(defaults)) == ApplyOptions()


def test_fields_are_named_after_their_options() -> None:
    """`uris` and `inputs` are many: one VM has `connect` and `input`."""
    other = {name: row.name for name, row in FIELDS if name != row.dest}
    assert other == {"domains": "DOMAIN", "uris": "--connect", "inputs": "--input", "define": "--no-define"}


def test_only_the_parser_knows_argparse() -> None:
    users = [path for path in (TOP / "virtProfile").rglob("*.py") if "argparse" in path.read_text().split()]
    assert [path.name for path in users] == ["command_line.py"]
