# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: a table of calls with golden files, and what no golden file can show."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import commandline
import pytest
from commandline import DATA, Case, run, run_case

from virtProfile import __version__
from virtProfile.apply_options import OPTIONS
from virtProfile.cli import arguments
from virtProfile.errors import UsageError
from virtProfile.option import Kind
from virtProfile.show.terminal import Output

ROOT = Path(__file__).parent.parent
FILE = "--input vm.xml"
TOPOLOGY = "--capabilities ../topology/topo-2n8c2t.xml --profile-dir ../../../profiles"

TABLE = (
    # what is printed
    Case("print-file", f"{FILE} --profile cache"),
    Case("print-stdin", "--profile cache", stdin="vm.xml"),
    Case("print-stdin-dash", "--input - --profile cache --print-xml", stdin="vm.xml"),
    Case("print-diff", f"{FILE} --profile cache --print-diff"),
    Case("print-diff-nothing", f"{FILE} --print-diff"),
    Case("print-diff-secrets", "--input listed.xml --profile smm --print-diff"),
    Case("print-diff-record", f"{FILE} --profile cache --print-diff --with-record"),
    Case("explain", f"{FILE} --profile cache --profile desktop --explain"),
    Case("explain-xpath", f"{FILE} --profile cache --explain=devices/disk[1]"),
    Case("explain-nothing", f"{FILE} --profile cache --explain os"),
    Case("explain-bad", f"{FILE} --profile cache --explain devices/[", 2),
    Case("explain-ate-domain", "--explain vm", 2),
    Case("json", f"{FILE} --profile cache --json"),
    Case("json-error", f"{FILE} --profile nope --json", 1),
    Case("json-usage", f"{FILE} --profile cache --json --nope", 2),
    Case("json-conflict", f"{FILE} --profile headless --profile large --json", 3),
    Case("check-pending", f"{FILE} --profile cache --check", 4),
    Case("check-done", f"{FILE} --check"),
    Case("check-diff", f"{FILE} --profile cache --check --print-diff", 4),
    Case("quiet", f"{FILE} --profile cache --print-diff -q"),
    # which profiles
    Case("none", FILE),
    Case("priority", f"{FILE} --profile cache,priority=100 --print-diff"),
    Case("override", f"{FILE} --profile cache --override --print-diff"),
    Case("override-not-enough", f"{FILE} --profile cache,priority=5 --override --check", 4),
    Case("version", f"{FILE} --profile sound,version=1 --print-diff"),
    Case("requires", f"{FILE} --profile desktop --print-diff"),
    Case("param", f"{FILE} --profile desktop,heads=3,version=1.2 --print-diff --no-record"),
    Case("param-type", f"{FILE} --profile desktop,heads=many", 1),
    Case("param-unknown", f"{FILE} --profile desktop,head=2", 1),
    Case("param-secret", f"{FILE} --profile password,password=@password,priority=100 --print-diff"),
    Case("param-secret-json", f"{FILE} --profile password,password=@password,priority=100 --json"),
    Case("param-secret-lost", f"{FILE} --profile password,password=@password --print-diff"),
    Case("param-secret-written-out", f"{FILE} --profile password,password=x", 1),
    Case("match", f"{FILE} --profile windows --print-diff"),
    Case("status", "--input applied.xml --status"),
    Case("status-json", "--input applied.xml --status --json"),
    Case("status-check", "--input listed.xml --status --check", 4),
    Case("unapply", "--input applied.xml --unapply sound --print-diff"),
    Case("unapply-all", "--input applied.xml --unapply all"),
    Case("unapply-exclude", "--input applied.xml --unapply cache --exclude --print-diff"),
    Case("unapply-apply", "--input applied.xml --unapply sound --profile large --override --print-diff"),
    Case("unapply-unknown", "--input applied.xml --unapply cachee", 2),
    Case("exclude-alone", "--input applied.xml --exclude", 2),
    Case("explain-record", "--input gone.xml --explain"),
    Case("explain-record-path", "--input gone.xml --explain devices/sound"),
    Case("explain-condition", f"{FILE} --auto --explain"),
    Case("learn", "--learn vm.xml utf16.xml learned", 0),
    Case("upgrade", "--input applied.xml --upgrade --print-diff"),
    Case("upgrade-one", "--input applied.xml --upgrade cache --print-diff"),
    Case("upgrade-unknown", "--input applied.xml --upgrade desktop", 2),
    Case("no-record", f"{FILE} --profile cache --no-record --print-diff"),
    Case("metadata", "--input listed.xml --print-diff"),
    Case("excluded", "--input listed.xml --profile sound", 2),
    Case("included", "--input listed.xml --profile sound,include=yes --print-diff"),
    Case("auto", f"{FILE} --auto --print-diff"),
    Case("profile-dir", f"{FILE} --profile-dir more --profile cache --print-diff"),
    Case("complete-unknown-host", "--complete", 1, stdin="<domain>\n  <name>vp</name>\n</domain>\n"),
    Case("mirror-topology", f"{FILE} --mirror-topology nodes=2 {TOPOLOGY} --print-diff"),
    Case("mirror-topology-no-fit", f"{FILE} --mirror-topology nodes=3 {TOPOLOGY}", 1),
    Case("mirror-topology-ate-domain", "--mirror-topology vm", 2),
    Case("schema", f"{FILE} --schema baseline --profile cache --check", 4),
    # what cannot be
    Case("conflict", f"{FILE} --profile headless --profile large", 3),
    Case("conflicting", f"{FILE} --profile headless --profile desktop", 3),
    Case("not-found", f"{FILE} --profile dekstop --profile nope", 1),
    Case("no-version", f"{FILE} --profile cache,version=7", 1),
    Case("twice", f"{FILE} --profile cache --profile cache,priority=5", 2),
    Case("bad-priority", f"{FILE} --profile cache,priority=high", 2),
    Case("bad-value", f"{FILE} --profile cache,priority", 2),
    Case("bad-quote", f"{FILE} --profile 'cache,x=\"1'", 2),
    Case("bad-include", f"{FILE} --profile cache,include=maybe", 2),
    Case("no-domain", "--profile cache", 2),
    Case("no-file", "--input nope.xml", 1),
    Case("no-xml", "--profile cache", 1, stdin="hello\n"),
    Case("no-domain-xml", "--profile cache", 1, stdin="<network>\n</network>\n"),
    Case("dtd", "--profile cache", 1, stdin="<!DOCTYPE a>\n<domain/>\n"),
    Case("clash-output", f"{FILE} --print-xml --json", 2),
    Case("clash-input", f"vm {FILE}", 2),
    Case("clash-task", f"--list {FILE}", 2),
    Case("clash-define", f"{FILE} --define --no-define", 2),
    Case("unknown-option", f"{FILE} --explian", 2),
    Case("start-without-define", f"{FILE} --start", 2),
    Case("confirm-stdin", "--confirm --profile cache", 2, stdin="vm.xml"),
    Case("bad-daemon", f"{FILE} --daemon user", 2),
    Case("bad-qemu-version", f"{FILE} --qemu-version new", 2),
    # about profiles
    Case("list", "--list"),
    Case("list-json", "--list --json --profile-dir more"),
    Case("list-shadowed", "--list --profile-dir more"),
    Case("help-profiles", "--profile help"),
    Case("help-profiles-short", "--profile=?"),
    Case("info", "--info desktop"),
    Case("info-version", "--info sound,version=1"),
    Case("info-json", "--info desktop --json"),
    Case("info-not-found", "--info dekstop", 1),
    Case("lint", "--lint profiles/cache.xml profiles/sound.xml"),
    Case("lint-errors", "--lint broken/action.xml broken/xml.xml profiles/cache.xml", 1),
    Case("audit", f"{FILE} --audit 'audit-disk*' --level info --profile-dir ../../../profiles", 4),
    Case(
        "audit-json",
        f"{FILE} --audit audit-disk-discard --level info --json --profile-dir ../../../profiles",
        4,
    ),
    Case("audit-ate-domain", "--audit vm", 1),
    Case("audit-apply", f"{FILE} --audit --profile cache", 2),
    Case("test", "--test suite", 1),
    Case("test-json", "--test suite --json", 1),
    Case("no-tests", "--test fleet", 2),
    Case("test-strict", "--test suite/cache.test.xml --strict -q", 1),
    Case("strict-alone", "--lint profiles/cache.xml --strict", 2),
    Case("lint-annotations", "--lint broken/action.xml --annotations", 1),
    Case("junit-alone", f"{FILE} --junit out.xml", 2),
    Case("learn-left", "--learn vm.xml learned.xml mine"),
    Case("learn-nothing", "--learn vm.xml vm.xml mine", 1),
    Case("learn-words", "--learn vm.xml mine", 2),
    Case("lint-json", "--lint broken/action.xml --json", 1),
    # fleets
    Case("fleet", "--input fleet --profile cache --jobs 1 -q", 1),
    Case("fleet-pattern", "--input 'fleet/v*.xml' --input vm.xml --profile cache --jobs 1 --check -q", 4),
    Case("fleet-domains", "-c DRIVER --all --profile cache --jobs 1 -q"),
    Case("fleet-stop", "--input fleet --profile cache --jobs 1 --output nowhere --max-failures 1 -q", 1),
    Case("fleet-report", "--input fleet --profile cache --report fleet/a.xml --resume", 2),
    Case("fleet-one", f"{FILE} --profile cache --jobs 2", 2),
    # about hosts
    Case("hosts", f"{FILE} --profile cache --hosts ../hosts"),
    Case(
        "hosts-mirrored",
        f"{FILE} --mirror-topology hugepages=2M --hosts ../hosts --profile-dir ../../../profiles",
    ),
    Case("hosts-json", f"{FILE} --hosts ../hosts/old.capabilities.xml ../hosts/old.domcaps.xml --json"),
    Case("hosts-none", f"{FILE} --hosts ../hosts/small.capabilities.xml", 1),
    Case("hosts-domain", "-c DRIVER vm --hosts ../hosts", 1),
    Case("hosts-wrong", f"{FILE} --hosts vm.xml", 2),
    Case("merge", "--merge-capabilities ../hosts/new.domcaps.xml ../hosts/old.domcaps.xml"),
    Case("merge-some", "--merge-capabilities ../hosts --min-hosts 1 --require devices/tpm"),
    Case("merge-worlds", "--merge-capabilities ../hosts", 1),
    Case("merge-json", "--merge-capabilities ../hosts --min-hosts 2 --json"),
    Case("merge-required", "--merge-capabilities ../hosts --min-hosts 2 --require=devices/tpm", 1),
    Case("merge-bad-xpath", "--merge-capabilities ../hosts --require=devices/[", 2),
    Case("merge-bad-number", "--merge-capabilities ../hosts --min-hosts many", 2),
    Case("merge-alone", f"{FILE} --min-hosts 2", 2),
    # a service that computes (test_remote.py has one)
    Case(
        "server-nobody",
        f"{FILE} --profile cache --server unix:///none/sock --token-file password",
        1,
        profiles="",
    ),
    Case("server-address", f"{FILE} --server /none/sock", 2, profiles=""),
    Case("server-in-clear", f"{FILE} --server http://example.org:80", 2, profiles=""),
    Case("server-profile-dir", f"{FILE} --server unix:///none/sock", 2),
    Case("server-fleet", "--input fleet --server unix:///none/sock", 2, profiles=""),
    Case("server-no-token", f"{FILE} --token-file password", 2, profiles=""),
    # libvirt's test driver
    Case("define", "-c DRIVER vm --profile cache"),
    Case("define-by-id", "-c DRIVER 1 --profile cache"),
    Case("define-nothing", "-c DRIVER vm"),
    Case("define-quiet", "-c DRIVER vm --profile cache --quiet"),
    Case("define-file", "-c DRIVER --input listed.xml --define"),
    Case("define-json", "-c DRIVER vm --profile cache --json --define"),
    Case("no-define", "-c DRIVER vm --profile cache --no-define"),
    Case("domain-diff", "-c DRIVER vm --profile cache --print-diff"),
    Case("update", "-c DRIVER vm --profile cache --update --print-diff"),
    Case("update-off", "-c DRIVER off --profile cache --update"),
    Case("update-check", "-c DRIVER vm --profile cache --update --check", 2),
    Case("device", f"{FILE} --device ../update/devices.xml"),
    Case("device-none", f"{FILE} --device vm.xml", 1),
    Case("domain-check", "-c DRIVER vm --profile cache --check", 4),
    Case("confirm-yes", "-c DRIVER vm --profile cache --confirm", stdin="maybe\nyes\n"),
    Case("confirm-no", "-c DRIVER vm --profile cache --confirm", stdin="n\n"),
    Case("confirm-end", "-c DRIVER vm --profile cache --confirm", stdin="\n"),
    Case("confirm-xml", "-c DRIVER vm --profile cache --confirm --print-xml", stdin="y\n"),
    Case("guest-abi", "-c DRIVER vm --profile smm", 1),
    Case("guest-abi-yes", "-c DRIVER vm --profile smm --yes"),
    Case("guest-abi-confirm", "-c DRIVER vm --profile smm --confirm", stdin="y\n"),
    Case("start", "-c DRIVER off --profile cache --start"),
    Case("start-running", "-c DRIVER vm --profile cache --start"),
    Case("domain-not-found", "-c DRIVER vn --profile cache", 1),
    Case("context", f"{FILE} -c DRIVER --profile cache --check", 4),
)


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.name)
def test_table(case: Case, golden) -> None:  # type: ignore[no-untyped-def]
    done = run_case(case)
    golden(f"cli/golden/{case.name}.txt", commandline.golden_text(case, done))
    assert done.status == case.status, done.err
    if done.status not in (0, 4):
        if not case.name.startswith(("lint", "test", "fleet")):
            assert re.search("^ERROR    ", done.err, re.MULTILINE)
        assert (
            "--json" in case.args or not done.out or case.name.startswith(("lint", "test", "hosts", "fleet"))
        )
    assert "Traceback" not in done.err
    assert "hush" not in done.err
    if not done.out.startswith(b"<") and "--json" not in case.args:
        assert b"hush" not in done.out


def test_names_are_unique() -> None:
    assert len({case.name for case in TABLE}) == len(TABLE)


#: Options that no golden file can show, with the test that exercises them.
ELSEWHERE = {
    "--help": "test_help",
    "--version": "test_version",
    "--debug": "test_debug",
    "--capabilities": "test_context_from_files",
    "--domcapabilities": "test_context_from_files",
    "--osinfo": "test_context_from_files",
    "--update-results": "test_reports_into_files",
    "--sarif": "test_reports_into_files",
    "--print-schema": "test_print_schema",
}


def test_print_schema() -> None:
    assert b"<grammar xmlns=" in run(["--print-schema"]).out[:400]
    assert run(["--print-schema=rng"]).out == run(["--print-schema"]).out
    assert b"start = (\\profile | \\profiles)" in run(["--print-schema", "rnc"]).out
    wrong = run(["--print-schema=xsd"])
    assert wrong.status == 2 and "is not rng or rnc" in wrong.err


def test_reports_into_files(tmp_path: Path) -> None:
    reports = tmp_path / "lint.sarif", tmp_path / "lint.xml"
    argv = ["--lint", "broken/action.xml", "--sarif", str(reports[0]), "--junit", str(reports[1])]
    assert run(argv).status == 1
    results = json.loads(reports[0].read_text())["runs"][0]["results"]
    assert results[0]["locations"][0]["physicalLocation"]["artifactLocation"] == {"uri": "broken/action.xml"}
    assert '<testcase classname="lint" name="broken/action.xml">' in reports[1].read_text()
    vm, profile = DATA / "vm.xml", DATA / "profiles" / "cache.xml"
    (tmp_path / "cache.xml").write_text(profile.read_text())
    (tmp_path / "a.test.xml").write_text(
        f"<tests><test name='t' input='{vm}' record='no'><profile name='cache'/><result file='out'/></test></tests>"
    )
    done = run(["--test", str(tmp_path), "--update-results"])
    assert done.status == 0 and f"written: {tmp_path}/out" in done.text
    assert (tmp_path / "out").read_text() == run(["--input", "vm.xml", "--profile", "cache", "--no-record",
                                                  "--profile-dir", str(tmp_path)]).text  # fmt: skip


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.flags[-1])
def test_every_option_is_exercised(option) -> None:  # type: ignore[no-untyped-def]
    if option.flags[-1] in ELSEWHERE:
        assert ELSEWHERE[option.flags[-1]] in globals()
        return
    words = [word.partition("=")[0] for case in TABLE for word in case.argv]
    assert set(option.flags) & set(words)


def test_manual_page_names_the_same_options() -> None:
    text = (ROOT / "man" / "virt-profile.1.rst").read_text()
    rows = re.findall(r"^``-.*$", text, re.MULTILINE)
    told = {flag for row in rows for flag in re.findall(r"``(--?[a-z-]+)``", row)}
    assert told == {flag for option in OPTIONS for flag in option.flags}
    used = {flag.rstrip("-") for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)}
    assert used - told <= {"--all", "--name", "--noout", "--relaxng"}  # of virsh and xmllint, in examples


@pytest.mark.parametrize("page", sorted((ROOT / "man").glob("*.rst")), ids=lambda page: page.name)
def test_manual_pages_are_clean(page: Path) -> None:
    core = pytest.importorskip("docutils.core")
    settings = {"report_level": 1, "halt_level": 1, "warning_stream": sys.stderr}
    assert core.publish_string(page.read_text(), writer_name="manpage", settings_overrides=settings)


def test_help() -> None:
    text = run(["--help"]).text
    for option in OPTIONS:
        assert all(flag in text for flag in option.flags)
        assert option.help
    assert "examples:" in text
    assert run(["-h"]).text == text
    lines = text.partition("examples:")[2].splitlines()
    calls = [line.strip() for line in lines if "virt-profile" in line]
    assert len(calls) >= 4
    for call in calls:
        words = re.split(r" \|\| | > | \| (?=virt-profile)", call)
        line = next(word for word in words if word.startswith("virt-profile"))
        arguments.parse(line.split()[1:])


def test_version() -> None:
    assert run(["--version"]).text == f"{__version__}\n"


def test_debug() -> None:
    done = run([*["--input", "vm.xml", "--profile", "nope", "-d", "--profile-dir", "profiles"]])
    assert done.status == 1
    assert "DEBUG" in done.err
    assert "Traceback" in done.err


@pytest.mark.parametrize("file", ["vm.xml", "crlf.xml", "bom.xml", "latin1.xml", "utf16.xml"])
def test_bytes_are_kept(file: str) -> None:
    data = (DATA / file).read_bytes()
    assert run(["--input", file]).out == data
    assert run([], data).out == data
    words = f"--input {file} --profile cache --no-record --profile-dir profiles".split()
    changed = run(words).out
    assert changed != data
    encoding = {"utf16.xml": "utf-16-be", "latin1.xml": "latin-1"}.get(file, "utf-8")
    added = " cache='none'".encode(encoding)
    assert added not in data
    shorter = changed.replace(" discard='unmap'".encode(encoding), b"").replace(added, b"")
    for written in (b' discard="unmap"', b' cache="none"'):
        shorter = shorter.replace(written.decode().encode(encoding), b"")
    assert shorter == data
    assert run(words[2:], data).out == changed
    diff = run([*words, "--print-diff"])
    assert diff.status == 0
    if file != "utf16.xml":
        assert all(line.rstrip(b"\r") in changed or line.startswith(b"#") for line in _added(diff.out))


def _added(diff: bytes) -> list[bytes]:
    lines = diff.split(b"\n")
    return [line[1:] for line in lines if line.startswith(b"+") and not line.startswith(b"+++")]


@pytest.mark.parametrize(
    ("value", "wish"),
    [
        ("a", {"name": "a", "params": {}}),
        ("name=a", {"name": "a", "params": {}}),
        ("a,priority=-5", {"name": "a", "params": {}, "priority": "-5"}),
        ("a,include=yes", {"name": "a", "params": {}, "include": True}),
        ("a,x=1,,2", {"name": "a", "params": {"x": "1,2"}}),
        ("a,x=,,,y=", {"name": "a", "params": {"x": ",", "y": ""}}),
        ('a,x="1,2",y=3', {"name": "a", "params": {"x": "1,2", "y": "3"}}),
        ('a,x="say \\"1\\"",y=\\', {"name": "a", "params": {"x": 'say "1"', "y": "\\"}}),
        ("a,x='b=c'", {"name": "a", "params": {"x": "'b=c'"}}),
        ("a,", {"name": "a", "params": {}}),
    ],
)
def test_values_of_profile(value: str, wish: dict[str, object]) -> None:
    assert arguments.profile_wish(value) == wish


@pytest.mark.parametrize("value", ["", ",a", "a,b", "a,=b", 'a,x="', "a,x=1,x=2", "a,include=1"])
def test_bad_values_of_profile(value: str) -> None:
    with pytest.raises(UsageError):
        arguments.profile_wish(value)


def test_no_option_is_a_prefix_of_what_is_typed() -> None:
    with pytest.raises(UsageError):
        arguments.parse(["--print-x"])


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.flags[-1])
def test_records_of_options(option) -> None:  # type: ignore[no-untyped-def]
    assert option.flags[-1].startswith("--")
    takes = option.kind in (Kind.VALUE, Kind.EACH, Kind.MAYBE, Kind.MANY, Kind.ANY)
    assert takes == bool(option.metavar or option.words)
    assert option.help[0].islower() or option.help.startswith("QEMU")


def test_json_is_one_document() -> None:
    for words in ("--profile cache --json", "--profile nope --json", "--profile cache --json --nope"):
        document = json.loads(run(f"{FILE} {words} --profile-dir profiles".split()).text)
        assert ("error" in document) != ("xml" in document)


def test_a_terminal_gets_colours_and_margins() -> None:
    words = f"{FILE} --profile cache --print-diff --profile-dir profiles".split()
    shown = run(words, terminal=True, TERM="xterm", COLUMNS="120").text
    assert "\x1b[32m+" in shown
    assert "cache 1.0" in shown
    assert not shown.startswith("#")
    for environ in ({"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}, {}):
        assert "\x1b" not in run(words, terminal=True, **environ).text


# --- as processes ----------------------------------------------------------------


def process(words: str, *, stdin: bytes | None = None, **more: object) -> subprocess.CompletedProcess[bytes]:
    environ = {**os.environ, "VIRT_PROFILE_PATH": str(DATA / "profiles"), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, str(ROOT / "virt-profile"), *words.split()],
        input=stdin,
        capture_output="stdout" not in more,
        cwd=DATA,
        env=environ,
        check=False,
        timeout=60,
        **more,  # type: ignore[call-overload]
    )


def test_a_pipe() -> None:
    done = process("--profile cache", stdin=(DATA / "vm.xml").read_bytes())
    assert done.returncode == 0
    devices = done.stdout.partition(b"<devices>")[2]
    assert devices.count(b"cache='none'") + devices.count(b'cache="none"') == 1


def test_a_reader_that_leaves_is_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as stdout:
        done = process("--input vm.xml --profile cache", stdout=stdout, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"Broken" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_an_error() -> None:
    with open("/dev/full", "wb") as stdout:
        done = process("--input vm.xml --profile cache", stdout=stdout, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert b"ERROR    cannot write to stdout" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_closed_stdout_is_an_error() -> None:
    words = f"{ROOT / 'virt-profile'} --input vm.xml --profile-dir profiles --profile cache"
    command = ["sh", "-c", f"exec {sys.executable} {words} >&-"]
    done = subprocess.run(command, cwd=DATA, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert done.stderr == b"ERROR    cannot write to stdout: it is closed\n"


def test_json_is_utf_8_whatever_was_typed() -> None:
    done = run(["--input", "vm.xml", "--profile", "\udcff", "--json"])
    assert done.status == 1
    assert "'\udcff'" in json.loads(done.text)["error"]["message"]


def test_a_width_that_is_none() -> None:
    for columns in ("\u00b2", "9" * 5000, "-1", ""):
        assert Output(io.StringIO(), {"COLUMNS": columns}).width == 80


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from virtProfile.cli.main import runcli; "
        "runcli(['--input', 'vm.xml', '--profile', 'cache', '--profile-dir', 'profiles']); "
        "heavy = {'libvirt', 'locale', 'logging', 'shutil', 'difflib', 'urllib.request', 'traceback', 'virtinst', 'gi', 'subprocess'}; "
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        cwd=DATA,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert done.stderr.decode().splitlines()[-1] == "[]"


def test_completion(tmp_path: Path) -> None:
    pytest.importorskip("argcomplete")
    out = tmp_path / "out"

    def complete(line: str) -> list[str]:
        environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "_ARGCOMPLETE": "1",
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
            "_ARGCOMPLETE_STDOUT_FILENAME": str(out),
            "_ARGCOMPLETE_IFS": "\n",
            "VIRT_PROFILE_PATH": str(DATA / "profiles"),
        }
        out.write_text("")
        subprocess.run(
            ["/bin/sh", "-c", 'exec "$0" "$1" 9>/dev/null', sys.executable, str(ROOT / "virt-profile")],
            env=environ,
            check=False,
            timeout=60,
            capture_output=True,
        )
        return out.read_text().split("\n")

    assert "desktop" in [one.strip() for one in complete("virt-profile --profile d")]
    assert any(one.startswith("--print-diff") for one in complete("virt-profile --print-d"))
    assert "test" in [one.strip() for one in complete("virt-profile -c test:///default te")]
    # what the VM has, and nothing else
    offered = {one.strip() for one in complete(f"virt-profile --input {DATA}/applied.xml --unapply ")}
    assert offered == {"cache", "sound", "all"}
    assert "cache" in [
        one.strip() for one in complete(f"virt-profile --input {DATA}/applied.xml --upgrade c")
    ]
    # params of a profile, and their words
    offered = {one.strip() for one in complete("virt-profile --profile gl-desktop,")}
    assert offered == {
        "gl-desktop,rendernode=",
        "gl-desktop,priority=",
        "gl-desktop,version=",
        "gl-desktop,instance=",
    }
    assert complete("virt-profile --profile gpu-passthrough,functions=0-1,h") == [
        "gpu-passthrough,functions=0-1,hide="
    ]
    flags = {one.strip() for one in complete("virt-profile --profile virtio-disk,drivers=")}
    assert flags == {"virtio-disk,drivers=yes", "virtio-disk,drivers=no"}
    models = {one.strip() for one in complete("virt-profile --profile iommu,model=")}
    assert "iommu,model=intel" in models
    assert complete("virt-profile --profile nope,") == [""]
    assert "audit-disk-bus" in [one.strip() for one in complete("virt-profile vm --audit audit-d")]


DOMCAPS = """<domainCapabilities>
  <path>/usr/bin/qemu-system-x86_64</path>
  <domain>kvm</domain>
  <machine>pc-q35-7.2</machine>
  <arch>x86_64</arch>
  <devices>
    <graphics supported='yes'>
      <enum name='type'><value>vnc</value></enum>
    </graphics>
  </devices>
</domainCapabilities>
"""
CAPS = """<capabilities>
  <host><cpu><arch>x86_64</arch></cpu></host>
  <guest>
    <os_type>hvm</os_type>
    <arch name='x86_64'>
      <machine canonical='pc-q35-7.2'>q35</machine>
      <domain type='kvm'/>
    </arch>
  </guest>
</capabilities>
"""
ASKS = """<profiles>
  <profile name='vnc'>
    <add when="vp:supports('graphics', 'type', 'vnc') and not(vp:supports('graphics', 'type', 'spice'))">
      <title>vnc</title>
    </add>
  </profile>
  <profile name='arch'>
    <add><description>{$host/cpu/arch} {$qemu_version}</description></add>
  </profile>
  <profile name='os'><add><title>{vp:os-family()} {vp:os-id()}</title></add></profile>
  <profile name='daemon'><add><title>for the {$daemon} daemon</title></add></profile>
</profiles>
"""


def test_context_from_files(tmp_path: Path) -> None:
    (tmp_path / "asks.xml").write_text(ASKS)
    (tmp_path / "caps.xml").write_text(CAPS)
    (tmp_path / "domcaps.xml").write_text(DOMCAPS)
    line = ["--input", str(DATA / "vm.xml"), "--profile-dir", str(tmp_path)]
    given = {
        "vnc": (["--domcapabilities", str(tmp_path / "domcaps.xml")], "<title>vnc</title>"),
        "arch": (["--capabilities", str(tmp_path / "caps.xml")], "<description>x86_64 7002000<"),
        "os": (["--osinfo", "fedora34"], "<title>linux fedora34</title>"),
        "daemon": (["--daemon", "session"], "<title>for the session daemon</title>"),
    }
    for name, (options, wanted) in given.items():
        done = run([*line, "--profile", name])
        assert done.status == 1, name
        assert options[0] in done.err
        done = run([*line, "--profile", name, *options])
        assert done.status == 0, done.err
        assert wanted in done.text
    done = run([*line, "--profile", "vnc", "--domcapabilities", str(tmp_path / "caps.xml")])
    assert done.status == 2
    assert "'capabilities' was given where libvirt's 'domainCapabilities' was expected" in done.err


def test_a_secret_is_kept_and_not_asked_for_again() -> None:
    words = "--input vm.xml --profile-dir profiles"
    first = run(f"{words} --profile password,password=@password --override".split())
    assert b"passwd='hush2'" in first.out
    again = run(["--profile-dir", "profiles"], first.out)
    assert again.status == 0, again.err
    assert again.out == first.out
    assert run(f"{words} --profile password".split()).status == 1  # nobody ever told it
