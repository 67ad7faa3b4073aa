# SPDX-License-Identifier: GPL-2.0-or-later
"""Whom root believes: directories of profiles, caches, and where it writes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import commandline
import pytest

from virtProfile.errors import PolicyError
from virtProfile.files import distrust, read_own, write_whole
from virtProfile.format import cache
from virtProfile.language.search_path import search_path
from virtProfile.language.store import ProfileStore

STRANGER = 54321
PROFILE = "<profile name='p' version='1'><add><title>t</title></add></profile>"
VM = "<domain type='kvm'><name>vm</name><memory>1024</memory><os><type>hvm</type></os></domain>"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def owned(path: Path) -> None:
    os.chown(path, STRANGER, STRANGER, follow_symlinks=False)


def grouped(path: Path) -> None:
    os.chown(path, 0, STRANGER)
    path.chmod(0o775)


#: what somebody did to a/b/c, which root is to use
DANGERS: dict[str, Callable[[Path], object]] = {
    "its own": lambda c: owned(c),
    "one above": lambda c: owned(c.parent),
    "two above": lambda c: owned(c.parent.parent),
    "written by all": lambda c: c.chmod(0o777),
    "written by a group": lambda c: grouped(c),
    "one above written by all": lambda c: c.parent.chmod(0o777),
    "one above written by a group": lambda c: grouped(c.parent),
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    place = tmp_path / "a" / "b" / "c"
    place.mkdir(parents=True)
    (place / "p.xml").write_text(PROFILE)
    return place


@as_root
@pytest.mark.parametrize("danger", DANGERS)
def test_root_uses_no_profiles_that_others_choose(danger: str, place: Path) -> None:
    store = ProfileStore([place])
    assert store.get("p").name == "p"
    DANGERS[danger](place)
    with pytest.raises(PolicyError) as found:
        ProfileStore([place]).get("p")
    assert found.value.message.endswith("so root does not use its profiles")
    assert found.value.hint.startswith("chown root '")


@as_root
def test_a_link_of_somebody_is_no_way(place: Path) -> None:
    link = place.parent / "link"
    link.symlink_to(place)
    assert not distrust(link)
    owned(link)
    assert distrust(link) == f"'{link}' belongs to another user"


@as_root
def test_a_sticky_directory_is_a_way(place: Path) -> None:
    place.parent.chmod(0o1777)
    assert not distrust(place)
    assert distrust(place.parent) == f"'{place.parent}' may be written by others"


@as_root
def test_the_directory_of_a_user_is_skipped_with_a_warning(place: Path, tmp_path: Path) -> None:
    """As by ``sudo -E``: every call of root's goes on without it."""
    config = tmp_path / "home" / ".config"
    profiles = config / "virt-profile" / "profiles"
    profiles.mkdir(parents=True)
    (profiles / "p.xml").write_text(PROFILE)
    environ = {"XDG_CONFIG_HOME": str(config)}
    assert str(profiles) in search_path((), environ)
    owned(tmp_path / "home")
    warnings: list[str] = []
    assert str(profiles) not in search_path((), environ, warnings.append)
    assert warnings == [
        f"the profiles in '{profiles}' are not used: '{tmp_path / 'home'}' belongs to another user, and this is root"
    ]
    vm = tmp_path / "vm.xml"
    vm.write_text(VM)
    own = tmp_path / "own"
    own.mkdir()
    (own / "p.xml").write_text(PROFILE)
    run = commandline.run(
        ["--input", str(vm), "--profile-dir", str(own), "--profile", "p", "--print-xml"], **environ
    )
    assert run.status == 0 and "are not used" in run.err and "<title>" in run.text


@as_root
@pytest.mark.parametrize("danger", DANGERS)
def test_root_loads_and_writes_no_cache_of_others(
    danger: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[Path] = []

    def compile_directory(directory: Path) -> Any:
        compiled.append(directory)
        return MODEL

    monkeypatch.setattr("virtProfile.format.compile.compile_directory", compile_directory)
    schema = place.parent.parent.parent / "schema"
    schema.mkdir()
    (schema / "domain.rng").write_text("<grammar/>")
    kept = place / f"schema-{cache.digest_of(schema)}.json"
    cache.load_grammar(schema, place)
    assert kept.exists() and len(compiled) == 1
    cache.load_grammar(schema, place)
    assert len(compiled) == 1  # from the cache
    DANGERS[danger](place)
    cache.load_grammar(schema, place)
    assert len(compiled) == 2
    kept.unlink()
    cache.load_grammar(schema, place)
    assert not kept.exists()


MODEL = json.loads((Path(cache.__file__).parent / "data" / "baseline.json").read_bytes())


def test_a_cache_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_own(tmp_path / "file") == b"{}"
    with pytest.raises(OSError, match="link"):
        read_own(tmp_path / "link")


def test_what_is_written_replaces_a_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("before")
    (tmp_path / "out").symlink_to(tmp_path / "victim")
    write_whole(tmp_path / "out", b"after")
    assert (tmp_path / "victim").read_text() == "before"
    assert not (tmp_path / "out").is_symlink() and (tmp_path / "out").read_text() == "after"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["out", "victim"]


@as_root
@pytest.mark.parametrize("what", ["--output", "--report"])
@pytest.mark.parametrize("danger", [name for name in DANGERS if "group" not in name])
def test_root_writes_where_nobody_else_chooses(danger: str, what: str, place: Path, tmp_path: Path) -> None:
    vms = tmp_path / "vms"
    vms.mkdir()
    (vms / "vm.xml").write_text(VM)
    target = place if what == "--output" else place / "report"
    (place / "p.xml").rename(vms / "p.xml")
    DANGERS[danger](place)
    words = ["--input", str(vms / "vm.xml"), "--input", str(vms / "vm.xml")]
    words += ["--profile-dir", str(vms), "--profile", "p", what, str(target)]
    if what == "--report":
        words += ["--output", str(tmp_path / "out")]
    run = commandline.run(words)
    assert run.status == 1, run.text
    assert f"so root does not write '{place}" in run.err + run.text
    assert not list(place.iterdir())


@as_root
@pytest.mark.parametrize("what", ["--junit", "--sarif"])
@pytest.mark.parametrize("kind", ["link to a device", "pipe", "link to a pipe"])
def test_root_opens_no_link_and_no_pipe_of_others(kind: str, what: str, tmp_path: Path) -> None:
    """In a directory such as /tmp: a link to a disk would be written over, a pipe read by its owner."""
    tmp_path.chmod(0o1777)
    (tmp_path / "vm.xml").write_text(VM)
    report, pipe = tmp_path / "report", tmp_path / "pipe"
    os.mkfifo(report if kind == "pipe" else pipe)
    if kind != "pipe":
        report.symlink_to("/dev/null" if "device" in kind else pipe)
    reader = os.open(report, os.O_RDONLY | os.O_NONBLOCK)
    words = ["--input", str(tmp_path / "vm.xml"), "--audit", what, str(report)]
    assert "so root does not write" not in commandline.run(words).err  # root's own
    os.lchown(report, 65534, 65534)
    run = commandline.run(words)
    os.close(reader)
    assert run.status == 1 and f"so root does not write '{report}'" in run.err


def test_a_report_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("")
    (tmp_path / "report").symlink_to(tmp_path / "victim")
    (tmp_path / "vm.xml").write_text(VM)
    (tmp_path / "p.xml").write_text(PROFILE)
    run = commandline.run(
        ["--input", str(tmp_path / "vm.xml"), "--input", str(tmp_path / "vm.xml")]
        + [
            "--profile-dir",
            str(tmp_path),
            "--profile",
            "p",
            "--report",
            str(tmp_path / "report"),
            "--output",
            str(tmp_path / "out"),
        ]
    )
    assert run.status != 0 and (tmp_path / "victim").read_text() == ""
