# SPDX-License-Identifier: GPL-2.0-or-later
"""The directory that all callers share: what one of them may do to the others'."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
from daemon import PROFILES, VM  # noqa: E402
from fastapi.testclient import TestClient  # noqa: E402

from virtProfile.service import kept  # noqa: E402
from virtProfile.service.callers import Callers, read_policy  # noqa: E402
from virtProfile.service.routes import application  # noqa: E402
from virtProfile.service.worker import Settings  # noqa: E402

POLICY = """
[default]
profiles = ["*"]

[callers.alice]
profiles = ["*"]
write-profiles = true

[callers.bob]
profiles = ["*"]
write-profiles = true
"""
INSIDE = "<match test='true()'/><add><vcpu>3</vcpu></add>"


class Asking:
    """Callers of one service with a directory."""

    def __init__(self, place: Path) -> None:
        self.directory = place / "store"
        self.directory.mkdir()
        (place / "policy").write_text(POLICY)
        names = ("alice", "bob", "carol")
        callers = Callers(tuple((name, name * 4) for name in names), rules=read_policy(place / "policy"))
        directories = (str(self.directory), PROFILES)
        settings = Settings(directories, str(self.directory), callers.rules)
        self.client = TestClient(application((), None, callers=callers, settings=settings))

    def ask(self, who: str, method: str, path: str, **more: Any) -> tuple[int, Any]:
        found = self.client.request(
            method, f"/v1/{path}", headers={"authorization": f"Bearer {who * 4}"}, **more
        )
        return found.status_code, found.json()

    def put(self, who: str, name: str, version: str, inside: str = INSIDE, more: str = "") -> int:
        text = f"<profile name='{name}' version='{version}' {more}>{inside}</profile>"
        return self.ask(who, "PUT", f"profiles/{name}", content=text)[0]

    def delete(self, who: str, path: str) -> int:
        return self.ask(who, "DELETE", f"profiles/{path}")[0]

    def vcpu(self, who: str) -> bool:
        """Does `auto` bring the profile?"""
        status, found = self.ask(who, "POST", "apply", json={"xml": VM, "auto": True, "profiles": ["rng"]})
        assert status == 200
        return "<vcpu>3</vcpu>" in found["xml"]


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[Asking]:
    made = Asking(tmp_path)
    with made.client:
        yield made


def test_writing_is_off_by_default(asking: Asking) -> None:
    assert asking.put("carol", "mine", "1") == 403
    assert asking.delete("carol", "mine") == 403
    assert not list(asking.directory.iterdir())


def test_a_name_belongs_to_who_used_it_first(asking: Asking) -> None:
    assert asking.put("alice", "mine", "1.0") == 200
    assert asking.put("bob", "mine", "9.0") == 409
    assert asking.put("bob", "mine", "1.0") == 409
    assert asking.delete("bob", "mine") == 409
    assert asking.delete("bob", "mine/1.0") == 409
    assert asking.put("alice", "mine", "1.1") == 200
    assert asking.ask("bob", "GET", "profiles/mine")[1]["versions"] == ["1.1", "1.0"]
    status, found = asking.ask("bob", "POST", "apply", json={"xml": VM, "profiles": ["mine"]})
    assert status == 200 and "<vcpu>3" in found["xml"]
    assert asking.delete("alice", "mine") == 200
    assert sorted(file.name for file in asking.directory.iterdir()) == [".lock"]
    assert asking.put("bob", "mine", "9.0") == 200
    assert asking.put("alice", "mine", "9.1") == 409


def test_autoselect_is_for_its_owner(asking: Asking) -> None:
    assert asking.put("alice", "auto", "1", more="autoselect='yes' priority='100'") == 200
    assert asking.vcpu("alice")
    assert not asking.vcpu("bob")
    assert not asking.vcpu("carol")


def test_no_version_is_kept_that_nobody_finds(asking: Asking) -> None:
    """NAME@1.test.xml would be a file of tests."""
    for version in ("1", "1.xml", "test", "1.test", "1.test.xml"):
        if asking.put("alice", "mine", version) == 200:
            assert asking.ask("bob", "GET", f"profiles/mine/{version}")[0] == 200, version
    assert asking.put("alice", "mine", "1.test") == 422


def test_files_of_persons_stay(asking: Asking) -> None:
    texts = {
        "several.xml": f"<profiles><profile name='one'>{INSIDE}</profile><profile name='two'>{INSIDE}</profile></profiles>",
        "byhand@1.xml": f"<profile name='byhand' version='1'>{INSIDE}</profile>",
    }
    for name, text in texts.items():
        (asking.directory / name).write_text(text)
    for who in ("alice", "bob"):
        for name in ("one", "two", "byhand"):
            assert asking.delete(who, name) in (404, 409)
            assert asking.put(who, name, "7") == 409
    for name, text in texts.items():
        assert (asking.directory / name).read_text() == text


def test_a_caller_has_a_share(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(kept.SHARE_FILES):
        (asking.directory / f"a{number}@1.xml").write_text(f"<profile name='a{number}' version='1'/>")
        (asking.directory / f".a{number}.owner").write_text("alice")
    assert asking.put("alice", "more", "1") == 403
    assert asking.put("bob", "more", "1") == 200
    assert asking.delete("alice", "a0/1") == 200
    assert asking.put("alice", "more2", "1") == 200


def test_bytes_have_a_share(asking: Asking) -> None:
    for number in range(8):
        text = (
            f"<profile name='big' version='{number}'><description>{'x' * 1_000_000}</description></profile>"
        )
        (asking.directory / f"big@{number}.xml").write_text(text)
    (asking.directory / ".big.owner").write_text("alice")
    inside = f"<description>{'x' * 500_000}</description>"
    assert asking.put("alice", "more", "1", inside) == 403
    assert asking.put("bob", "more", "1", inside) == 200


@pytest.mark.parametrize("target", ["nowhere", "there"])
def test_links_are_neither_followed_nor_replaced(asking: Asking, tmp_path: Path, target: str) -> None:
    (tmp_path / "there").write_text("<profile name='mine' version='1'/>")
    link = asking.directory / "mine@1.xml"
    os.symlink(tmp_path / target, link)
    assert asking.put("alice", "mine", "1") in (409, 422)
    assert link.is_symlink() and not (tmp_path / "nowhere").exists()
    assert asking.delete("alice", "mine") in (404, 409)
    assert link.is_symlink()


def test_one_of_many_at_once_gets_the_name(asking: Asking) -> None:
    found: list[tuple[str, int]] = []

    def put(who: str, number: int) -> None:
        found.append((who, asking.put(who, "race", str(number))))

    threads = [
        threading.Thread(target=put, args=(who, number)) for number in range(4) for who in ("alice", "bob")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    owner = (asking.directory / ".race.owner").read_text()
    assert {who for who, status in found if status == 200} == {owner}
    assert sorted(status for _, status in found) == [200] * 4 + [409] * 4
