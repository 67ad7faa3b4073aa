# SPDX-License-Identifier: GPL-2.0-or-later
"""Documents say what the code says: what is made from it is up to date, and what they name exists."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import corpus
import library
import newformat
import pytest
from test_messages import DENIED

TOP = Path(__file__).parent.parent
DECISIONS = sorted((TOP / "docs" / "decisions").glob("[0-9]*.md"))
WRITTEN = [TOP / name for name in ("DESIGN.md", "CONTRIBUTING.md", "README.md", "SECURITY.md")]
WRITTEN += [*sorted((TOP / "docs").glob("*.md")), *DECISIONS]
ROOMS = "authoring|cli|client|engine|format|hooks|host|language|live|redaction|result|service|show"


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", TOP / "docs" / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = generator()


def label(path: Path) -> str:
    return str(path.relative_to(TOP))


@pytest.mark.parametrize("path", GENERATOR.DOCUMENTS, ids=label)
def test_what_is_generated_is_up_to_date(path: Path) -> None:
    assert path.read_text() == GENERATOR.DOCUMENTS[path](), "run ./dev docs"


def test_every_public_name_is_described() -> None:
    import virtProfile
    from virtProfile.client import Client

    headings = set(re.findall(r"^##+ `([\w.]+)`", GENERATOR.api(), re.M))
    assert {f"virtProfile.{name}" for name in virtProfile.__all__} <= headings
    assert {name for name in vars(Client) if not name.startswith("_")} <= headings


def test_a_signature_is_as_in_the_source() -> None:
    def call(first: str, *, second: int = 3, **others: object) -> None: ...

    assert GENERATOR.signature("call", call) == "call(first: str, *, second: int = 3, **others: object)"


def test_the_picture_of_the_flow_has_its_order() -> None:
    steps = [line.split()[0] for line in GENERATOR.flow().splitlines()]
    wanted = ["select_profiles", "take_back_previous_run", "render_until_stable", "validate", "report"]
    assert [step for step in steps if step in wanted] == wanted


def test_decisions_have_numbers_of_their_own() -> None:
    numbers = [int(path.name[:4]) for path in DECISIONS]
    assert len(set(numbers)) == len(numbers)


def missing_names(text: str) -> list[str]:
    """Modules and what is in them, as `engine.tree.splice` or `format.values.name`, that are not there."""
    missing = []
    for name in re.findall(rf"`((?:{ROOMS})(?:\.\w+)+)`", text):
        parts = name.split(".")
        for length in range(len(parts), 0, -1):
            module = "virtProfile." + ".".join(parts[:length])
            try:
                found = importlib.import_module(module)
            except ModuleNotFoundError:
                continue
            rest = parts[length:]
            while rest and hasattr(found, rest[0]):
                found = getattr(found, rest.pop(0))
            break
        if rest:
            missing.append(name)
    return missing


def test_missing_names_are_found() -> None:
    assert missing_names("`engine.tree.splice`, `engine.flow.run` and `host.fit`") == []
    assert missing_names("`engine.tree.nowhere`, `engine.flow.gone`") == [
        "engine.tree.nowhere",
        "engine.flow.gone",
    ]


@pytest.fixture(scope="module")
def files() -> set[str]:
    if shutil.which("git") is None:
        pytest.skip("no git")
    done = subprocess.run(["git", "ls-files"], cwd=TOP, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("no checkout of git")
    return set(done.stdout.split("\n"))


#: A profile on a command line, with what stands behind its name.
_NAMED = re.compile(r"--profile[ =]([A-Za-z0-9.+_-]+)((?:,[A-Za-z0-9-]+=[^\s`',\"|)]*)*)")
#: Words of every profile.
_OF_ALL = {"priority", "version", "include", "instance"}


@pytest.mark.parametrize("path", [*WRITTEN, *sorted((TOP / "man").glob("*.rst"))], ids=label)
def test_commands_of_documents_use_params_that_there_are(path: Path) -> None:
    for name, words in _NAMED.findall(path.read_text()):
        if name in library.profiles():
            known = {param.name for param in library.profiles()[name].params} | _OF_ALL
            assert set(re.findall(r",([A-Za-z0-9-]+)=", words)) <= known, name + words


@pytest.mark.parametrize("path", WRITTEN, ids=label)
def test_what_documents_name_exists(path: Path, files: set[str]) -> None:
    text = path.read_text()
    if path.name != "api.md":
        assert missing_names(text) == []
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (path.parent / link).exists(), link
    for name in re.findall(r"(?<![\w*/.~$-])[\w/-]+\.(?:tsv|rst|sh)\b", text):
        assert any(file == name or file.endswith("/" + name) for file in files), name


BY_HAND = [*WRITTEN, TOP / "NEWS.md", *sorted((TOP / "man").glob("virt-*.rst"))]


@pytest.mark.parametrize(
    "path", [path for path in BY_HAND if path.stem not in ("api", "virt-profiles.7")], ids=label
)
def test_words_of_documents(path: Path) -> None:
    """The wordings that messages leave out; a description of a profile is part of the profile."""
    text = " ".join(path.read_text().split())
    assert {
        found[0]: better for pattern, better in DENIED.items() if (found := re.search(pattern, text))
    } == {}


@pytest.mark.skipif(len(corpus.versions()) < 2, reason="./dev corpus fetches libvirt's schemas")
def test_what_is_new_in_the_format_is_listed_and_decided() -> None:
    assert newformat.DOCUMENT.read_text() == newformat.document()
    assert "to be decided" not in newformat.document()
    listed = newformat.DOCUMENT.read_text()
    assert "`devices/filesystem/idmap/uid`" in listed and "`devices/filesystem/idmap/uid/" not in listed
    assert newformat.decided("devices/nothing", "many", newformat.shipped()).startswith("**to be decided")


def test_the_tests_of_attacks_exist() -> None:
    text = (TOP / "docs" / "security-tests.md").read_text()
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", text)
    assert len(named) > 60
    for file, name in named:
        source = (TOP / "tests" / file).read_text()
        assert re.search(rf"^(async )?def {name}\(", source, re.MULTILINE), f"{file}::{name}"
    assert {int(number) for number in re.findall(r"^\| (\d+)\. ", text, re.MULTILINE)} == set(range(1, 14))
