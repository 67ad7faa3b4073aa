# SPDX-License-Identifier: GPL-2.0-or-later
"""The same command lines with ``--server`` and without: what is printed and told is equal."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
from commandline import DATA, Case, Done, run, run_case  # noqa: E402
from serving import Fake, ok, serving  # noqa: E402
from test_cli import TABLE  # noqa: E402

#: Command lines that speak of files here or of many VMs: refused, by name of the option.
REFUSED = {
    "schema": "--schema",
    "learn": "--learn",
    "learn-left": "--learn",
    "learn-nothing": "--learn",
    "learn-words": "--learn",
    "lint": "--lint",
    "lint-errors": "--lint",
    "lint-json": "--lint",
    "lint-annotations": "--lint",
    "strict-alone": "--lint",
    "test": "--test",
    "test-json": "--test",
    "test-strict": "--test",
    "no-tests": "--test",
    "audit": "--audit",
    "audit-json": "--audit",
    "audit-ate-domain": "--audit",
    "fleet": "--jobs",
    "fleet-pattern": "--jobs",
    "fleet-domains": "--all",
    "fleet-stop": "--output",
    "fleet-report": "--report",
}
#: Store-wide listings show where the profiles are, which is there and not here.
OTHERWISE = {"list", "list-json", "list-shadowed", "help-profiles", "help-profiles-short", "profile-dir"}
SHIPPED = "../../../profiles"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A service with the table's profiles."""
    with serving(["profiles"], DATA) as found:
        yield found


@pytest.fixture(scope="module")
def with_shipped() -> Iterator[str]:
    """And one that has the shipped ones too."""
    with serving([SHIPPED, "profiles"], DATA) as found:
        yield found


def remotely(case: Case, url: str) -> Done:
    stdin = None
    if case.stdin is not None:
        stdin = case.stdin.encode() if "\n" in case.stdin else (DATA / case.stdin).read_bytes()
    line = case.args.replace("DRIVER", f"test://{DATA / 'driver.xml'}").replace(
        f"--profile-dir {SHIPPED}", ""
    )
    return run([*shlex.split(line), "--server", url], stdin)


def plain(text: str) -> str:
    """Without what only a search path of here has."""
    return text.replace("profiles, /etc/virt-profile/profiles, SHIPPED", "profiles")


@pytest.mark.parametrize(
    "case",
    [one for one in TABLE if one.name not in {*REFUSED, *OTHERWISE} and not one.name.startswith("server")],
    ids=lambda case: case.name,
)
def test_same(case: Case, url: str, with_shipped: str) -> None:
    there = remotely(case, with_shipped if SHIPPED in case.args else url)
    here = run_case(case)
    assert there.status == here.status, there.err
    assert there.out.decode("utf-8", "replace") == plain(here.out.decode("utf-8", "replace"))
    assert there.err == plain(here.err)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, url: str) -> None:
    case = next(one for one in TABLE if one.name == name)
    done = remotely(case, url)
    assert done.status == 2
    assert not done.out or "--json" in case.args
    assert "--server" in done.err and REFUSED[name] in done.err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--input fleet", "--server is for one VM"),
        ("--input vm.xml --profile-dir more", "--profile-dir"),
        ("--input vm.xml --hosts ../hosts --unapply all", "--hosts"),
        ("--merge-capabilities ../hosts -c test:///default", "--connect"),
        ("--input vm.xml --token-file vm.xml", "one line with a token"),
    ],
)
def test_refused_besides(line: str, told: str, url: str) -> None:
    done = run([*line.split(), "--server", url])
    assert (done.status, done.out) == (2, b"")
    assert told in done.err


def test_list(url: str, with_shipped: str) -> None:
    told = run(["--list", "--server", url])
    assert (told.status, told.err) == (0, "")
    assert re.search(r"^Disks:\n  cache +1.0 +\S", told.text, re.MULTILINE)
    assert run(["--profile", "help", "--server", url]).out == told.out
    rows = json.loads(run(["--list", "--json", "--server", url]).text)
    told_names = [line.split()[0] for line in told.text.splitlines() if line.startswith("  ")]
    assert sorted(one["name"] for one in rows) == sorted(told_names)
    shipped = json.loads(run(["--list", "--json", "--server", with_shipped]).text)
    assert {"uefi", "cache"} <= {one["name"] for one in shipped}


def test_token_without_server() -> None:
    done = run(["--input", "vm.xml", "--token-file", "vm.xml"])
    assert done.status == 2
    assert "--token-file has no effect without --server" in done.err


def test_token(tmp_path: Path) -> None:
    token = tmp_path / "token"
    line = f"--input vm.xml --profile cache --token-file {token} --server"
    with serving(["profiles"], DATA, token="t0k") as guarded:
        token.write_text("t0k\n")
        assert run([*line.split(), guarded]).out == run_case(Case("", "--input vm.xml --profile cache")).out
        token.write_text("me t0k\n")
        assert run([*line.split(), guarded]).status == 0
        token.write_text("t0k\nt0k\n")
        assert run([*line.split(), guarded]).status == 2
        token.write_text("else\n")
        done = run([*line.split(), guarded])
        assert (done.status, done.out) == (1, b"")
        assert done.err.startswith("ERROR    no valid token\n")


def test_nobody_there(tmp_path: Path) -> None:
    done = run(
        [*["--input", "vm.xml", "--profile", "cache", "--json", "--server"], f"unix://{tmp_path}/sock"]
    )
    assert done.status == 1
    assert "cannot ask unix://" in done.err and '"code": "failed"' in done.text


def test_no_file_is_taken_for_a_secret(tmp_path: Path) -> None:
    """Where the service does not say which parameters are secret, nothing is sent."""
    line = "--input vm.xml --profile password,password=@password --server"
    done = run([*line.split(), f"unix://{tmp_path}/sock"])
    assert (done.status, done.out) == (1, b"")
    assert "parameters of profile 'password'" in done.err


@pytest.mark.parametrize("line", ["--list", "--info cache", "--input vm.xml --profile cache,a=@password"])
@pytest.mark.parametrize(
    "answer", [{"profiles": [{"name": "a"}], "name": "a"}, {"profiles": [3], "params": 3}]
)
def test_an_answer_of_another_shape(tmp_path: Path, line: str, answer: dict[str, object]) -> None:
    fake = Fake(tmp_path / "s", ok(answer))
    done = run([*line.split(), "--server", fake.url])
    assert (done.status, done.out) == (1, b"")
    assert "in an unknown form" in done.err and len(fake.asked) == 1


def test_an_answer_is_policed(tmp_path: Path, url: str) -> None:
    """A service refuses what the same command line may do here."""
    (tmp_path / "bad.xml").write_text(
        "<profile name='bad' version='1'><add><devices><emulator>/tmp/x</emulator></devices></add></profile>"
    )
    line = "--input vm.xml --profile bad,priority=100"
    assert b"/tmp/x" in run([*line.split(), "--profile-dir", str(tmp_path)]).out
    with serving([str(tmp_path)], DATA) as other:
        done = run([*line.split(), "--server", other])
    assert (done.status, done.out) == (1, b"")
    assert "may not change" in done.err
