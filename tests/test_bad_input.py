# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong in expressions, params, requirements and context files, on the command line:

the code, the exit status, the column inside the expression, and all of it within two seconds.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import commandline
import pytest
from commandline import DATA, Case, run, run_case

ROOT = Path(__file__).parent.parent
#: Seconds that a wrong call may take.
LIMIT = 2.0


def case(name: str, args: str, status: int = 1, stdin: str | None = None) -> Case:
    source = "" if stdin is not None else "--input vm.xml "
    return Case(name, f"{source}{args}", status, stdin, "--profile-dir bad --profile-dir profiles")


LISTED = (
    "<domain type='kvm'>\n<metadata><v:virtuned xmlns:v='http://virt-manager.org/schemas/virtuned/0.1'>\n"
    "{}\n</v:virtuned></metadata>\n</domain>\n"
)

TABLE = (
    (case("syntax", "--profile syntax"), "syntax"),
    (case("variable", "--profile variable"), "syntax"),
    (case("function", "--profile function"), "syntax"),
    (case("arguments", "--profile arguments"), "syntax"),
    (case("word", "--profile word --osinfo win10"), "syntax"),
    (case("brace", "--profile brace"), "syntax"),
    (case("prefix", "--profile prefix"), "syntax"),
    (case("exslt", "--profile exslt"), "syntax"),
    (case("document", "--profile document"), "syntax"),
    (case("minutes", "--profile minutes"), "syntax"),
    (case("long", "--profile long"), "syntax"),
    (case("nested", "--profile nested"), "syntax"),
    (case("nothing", "--profile nothing"), "syntax"),
    (case("several", "--profile several"), "syntax"),
    (case("nan", "--profile nan"), "syntax"),
    (case("circle", "--profile circle"), "syntax"),
    (case("param-unknown", "--profile types,numbr=1,size=1,number=1"), "param"),
    (case("param-types", "--profile types,number=1.5,size=1parsec,flag=true"), "param"),
    (case("param-missing", "--profile types"), "param"),
    (case("param-file", "--profile password,password=@nope"), "param"),
    (case("requires", "--profile requires"), "not-found"),
    (case("conflicts", "--profile headless --profile desktop", 3), "conflict"),
    (case("version", "--profile sound,version=3"), "version"),
    (case("cycle", "--profile cycle-a --profile cycle-b", 3), "cycle"),
    (case("context", "--profile context"), "missing-context"),
    (case("os-unknown", "--profile context --osinfo zzzzzzzzzz"), "missing-context"),
    (case("capabilities-other", "--profile cache --capabilities vm.xml", 2), "usage"),
    (case("capabilities-swapped", "--profile cache --domcapabilities bad/capabilities.txt", 2), "usage"),
    (case("capabilities-no-xml", "--profile cache --domcapabilities password", 2), "usage"),
    (case("capabilities-missing", "--profile cache --capabilities nope.xml"), "missing-context"),
    (Case("input-missing", "--input nope.xml --profile cache", 1), "invalid-domain"),
    (case("secret-no-text", "--profile password,password=@latin1.xml"), "param"),
    (
        case("capabilities-misfit", "--profile context --domcapabilities bad/domcapabilities.txt"),
        "missing-context",
    ),
    (
        case("metadata-priority", "", 1, LISTED.format("<v:profile name='cache' priority='high'/>")),
        "invalid-domain",
    ),
    (
        case("metadata-range", "", 1, LISTED.format("<v:profile name='cache' priority='1001'/>")),
        "invalid-domain",
    ),
    (
        case("metadata-twice", "", 1, LISTED.format("<v:profile name='a'/>\n<v:profile name='a'/>")),
        "invalid-domain",
    ),
    (case("guest-priority", "", 1, LISTED.format("<v:guest os='win10' priority='x'/>")), "invalid-domain"),
    (case("guest-nobody", "", 1, LISTED.format("<v:guest priority='1'/>")), "invalid-domain"),
)


@pytest.mark.parametrize(("case", "code"), TABLE, ids=lambda value: getattr(value, "name", None))
def test_bad_input(case: Case, code: str, golden) -> None:  # type: ignore[no-untyped-def]
    start = time.perf_counter()
    done = run_case(case)
    assert time.perf_counter() - start < LIMIT
    golden(f"cli/golden/wrong-{case.name}.txt", commandline.golden_text(case, done))
    assert done.status == case.status, done.err
    assert not done.out
    assert done.err.startswith("ERROR    ")
    assert "Traceback" not in done.err and "internal error" not in done.err
    told = json.loads(run([*case.argv, "--json"], case.stdin.encode() if case.stdin else None).out)
    assert told["error"]["code"] == code
    if code == "syntax" and case.name not in ("nothing", "several", "nan", "circle", "word"):
        assert re.search(r"at column \d+ of '", done.err)


def test_the_column_is_inside_the_expression() -> None:
    done = run(["--input", "vm.xml", "--profile-dir", "bad", "--profile", "variable"])
    (column,) = re.findall(r"at column (\d+) of 'concat", done.err)
    assert "concat($heads, $hedas)"[int(column) - 1 :].startswith("$hedas")
    assert "bad/variable.xml:3: " in done.err


def test_what_would_take_minutes_is_refused_on_a_large_domain(tmp_path: Path) -> None:
    rows = "".join(f"<disk a='{n}'><target dev='d{n}' b='{n}'/></disk>" for n in range(1000))
    (tmp_path / "big.xml").write_text(f"<domain type='kvm'><name>vp</name><devices>{rows}</devices></domain>")
    for name in ("minutes", "visits"):
        argv = ["--input", str(tmp_path / "big.xml"), "--profile-dir", "bad", "--profile", name]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        start = time.perf_counter()
        command = [sys.executable, str(ROOT / "virt-profile"), *argv]
        done = subprocess.run(command, cwd=DATA, env=environ, capture_output=True, text=True, timeout=60)
        assert time.perf_counter() - start < LIMIT
        assert done.returncode == 1
        assert "would visit" in done.stderr or "would examine" in done.stderr


def test_lint_finds_the_same_without_a_domain() -> None:
    wrong = (
        "syntax",
        "variable",
        "function",
        "arguments",
        "brace",
        "prefix",
        "exslt",
        "document",
        "minutes",
        "long",
    )
    for name in (*wrong, "nested"):
        done = run(["--lint", f"bad/{name}.xml"])
        assert done.status == 1
        assert re.search(rf"^bad/{name}.xml:[23]: error: ", done.text, re.MULTILINE), done.text


def test_with_files_nothing_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    libvirt = pytest.importorskip("libvirt")

    def connect(*_: object) -> None:
        raise AssertionError("a connection")

    for name in ("open", "openReadOnly", "openAuth"):
        monkeypatch.setattr(libvirt, name, connect)
    files = ["--domcapabilities", "bad/fitting.txt", "--capabilities", "bad/capabilities.txt"]
    argv = ["--input", "vm.xml", "--profile-dir", "bad", "--profile", "context", *files]
    done = run([*argv, "--osinfo", "win10", "--no-record", "--print-diff"])
    assert done.status == 3  # three titles of one profile: all three conditions hold
    assert "title" in done.err
