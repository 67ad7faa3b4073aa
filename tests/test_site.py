# SPDX-License-Identifier: GPL-2.0-or-later
"""The pages that people read first: their commands run, their links lead somewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).parent.parent
PAGES = [TOP / "docs" / "site" / name for name in ("tutorial.md", "recipes.md")]
SAMPLES = {"web1.xml": "server", "desk1.xml": "desktop", "new1.xml": "sketch"}
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)


def commands(block: str) -> list[str]:
    """The commands of a block, those over several lines whole."""
    found: list[str] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append(line[2:])
        elif line.startswith("> ") and found:
            found[-1] += "\n" + line[2:]
    return found


def shown(command: str, place: Path) -> str:
    """A command as a terminal shows it: prompt, command, all that it printed."""
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={
            "PATH": f"{place / 'bin'}:/usr/bin:/bin",
            "HOME": str(place),
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": str(TOP),
            "VIRT_PROFILE_PATH": str(TOP / "profiles"),
        },
    )
    words = "$ " + command.replace("\n", "\n> ") + "\n"
    # Where the profiles are is each reader's own, and how fast it went.
    return words + re.sub(r" \(\d+/s\)$", "", done.stdout, flags=re.M).replace(f"{TOP}/", "").replace(
        f"{place}/", ""
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_print_what_the_page_says(page: Path, tmp_path: Path, regenerate: bool) -> None:
    for name, sample in SAMPLES.items():
        (tmp_path / name).write_text((TOP / "page" / "samples" / f"{sample}.xml").read_text())
    (tmp_path / "bin").mkdir()
    for name, target in {"virt-profile": TOP / "virt-profile", "python3": Path(sys.executable)}.items():
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\nexec {sys.executable} {target} "$@"\n')
        if name == "python3":
            (tmp_path / "bin" / name).write_text(f'#!/bin/sh\nexec {target} "$@"\n')
        os.chmod(tmp_path / "bin" / name, 0o755)
    text = page.read_text()

    def run(block: re.Match[str]) -> str:
        return "```console\n" + "".join(shown(one, tmp_path) for one in commands(block[1])) + "```"

    made = _BLOCK.sub(run, text)
    if regenerate:
        page.write_text(made)
        text = made
    assert made == text
    assert len(_BLOCK.findall(text)) > 6
    assert "Traceback" not in made


@pytest.fixture(scope="module")
def site() -> Any:
    spec = importlib.util.spec_from_file_location("site_builder", TOP / "docs" / "site" / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["site_builder"] = module
    spec.loader.exec_module(module)
    return module


def test_the_catalogue_shows_every_profile_on_three_vms(site: Any) -> None:
    text = site.catalogue()
    names = {path.stem for path in (TOP / "profiles").glob("*.xml") if not path.name.endswith(".test.xml")}
    listed = set(re.findall(r"^### (\S+) \{", text, re.M))
    assert listed == {name for name in names if not name.startswith("audit-")}
    assert "+    <rng model='virtio'>" in text


def test_links_that_lead_nowhere_are_found(site: Any, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        "<a href='b.html#there'>1</a> <a href='b.html#gone'>2</a> <a href='c.html'>3</a> "
        "<a href='#here'>4</a> <i id='here'>x</i> <a href='https://example.org/'>5</a> <img src='x.png'>"
    )
    (tmp_path / "b.html").write_text("<h1 id='there'>b</h1>")
    assert site.broken_links(tmp_path) == [
        "a.html: b.html#gone",
        "a.html: c.html",
        "a.html: x.png",
    ]


@pytest.mark.slow
def test_the_site_is_built_and_its_links_lead_somewhere(site: Any, tmp_path: Path) -> None:
    pytest.importorskip("material")
    made = site.build(tmp_path)
    assert not site.broken_links(made)
    for name in (
        "index",
        "tutorial",
        "recipes",
        "catalogue",
        "glossary",
        "decisions/index",
        "man/virt-profile.1",
    ):
        assert (made / f"{name}.html").exists(), name
    text = (made / "man" / "virt-profile.1.html").read_text()
    assert "--print-diff" in text
    # Nothing is loaded from anywhere else.
    for page in made.rglob("*.html"):
        assert not re.findall(
            r"<(?:link|script|img)[^>]*(?:href|src)=[\"']?https?://(?!example)[^>]*>", page.read_text()
        ), page
