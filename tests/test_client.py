# SPDX-License-Identifier: GPL-2.0-or-later
"""The client gives what the same call gives in this process, and its errors say what is wrong."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
import cases  # noqa: E402
from commandline import DATA  # noqa: E402
from serving import Fake, ok, serving  # noqa: E402

import virtProfile  # noqa: E402
from virtProfile import errors  # noqa: E402
from virtProfile.client import MAX_ANSWER, Client  # noqa: E402
from virtProfile.errors import ProfileError, ServiceError, UsageError  # noqa: E402
from virtProfile.host.files import read_hosts  # noqa: E402
from virtProfile.host.fit import verdicts  # noqa: E402
from virtProfile.host.merge import Host, merge  # noqa: E402
from virtProfile.host.pinning import plan_texts  # noqa: E402
from virtProfile.language.requirement import requirements  # noqa: E402
from virtProfile.redaction import veil_error, veil_result  # noqa: E402
from virtProfile.result import Result  # noqa: E402
from virtProfile.show.diff import unified  # noqa: E402
from virtProfile.show.explain import explain  # noqa: E402
from virtProfile.show.json_result import details, error_of, result_of  # noqa: E402
from virtProfile.show.terminal import conflict_lines  # noqa: E402

PROFILES = DATA / "profiles"
STORE = virtProfile.ProfileStore([PROFILES])
VM = (DATA / "vm.xml").read_text()
APPLIED = (DATA / "applied.xml").read_text()
HOSTS = read_hosts([DATA.parent / "hosts"])


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving([str(PROFILES)], DATA, token="t0k") as found:
        yield found


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Client]:
    with Client(url, token="t0k") as found:
        yield found


def same(there: Result, here: Result) -> None:
    """All that a front end can show of the two."""
    assert there.to_dict() == veil_result(here).to_dict()
    assert details(there) == details(veil_result(here))
    assert there.input == here.input
    assert unified(there) == unified(here)
    assert explain(there) == explain(here)


CONTEXT = virtProfile.Context(
    capabilities=((DATA.parent / "topology" / "topo-2n8c2t.xml").read_text(),),
    qemu_version=7002022,
    daemon="session",
)


@pytest.mark.parametrize(
    ("xml", "profiles", "more"),
    [
        (VM, ["cache"], {}),
        (VM, ["cache", {"name": "desktop", "priority": 100, "params": {"heads": "2"}}], {}),
        (VM, ["daemon"], {"context": CONTEXT}),
        (VM, ["cache"], {"override": True, "record": False, "name": "vm.xml"}),
        (VM, [], {"auto": True, "context": CONTEXT}),
        (VM, ["nothing"], {}),
        ((DATA / "listed.xml").read_text(), ["smm"], {}),
        (APPLIED, [], {}),
        (VM, [{"name": "password", "priority": 100, "params": {"password": "hush"}}], {}),
    ],
)
def test_apply(client: Client, xml: str, profiles: list[Any], more: dict[str, Any]) -> None:
    if profiles == ["nothing"]:
        assert not client.apply(xml).changed
        return
    here = virtProfile.apply(xml, profiles, store=STORE, **more)
    there = client.apply(xml, profiles, **more)
    same(there, here)
    # The document that goes with it has the secrets; who draws the difference has to know which.
    told = {**there.to_dict(), **details(there), "xml": "", "secrets": ()}
    assert "hush" not in json.dumps(told)
    assert there.secrets == here.secrets


def test_diff_and_explain(client: Client) -> None:
    here = virtProfile.apply(VM, ["cache"], store=STORE)
    assert client.diff(VM, ["cache"], file="vm.xml") == unified(here, "vm.xml") != ""
    assert client.explain(VM, ["cache"], "devices/disk[1]") == explain(here, "devices/disk[1]") != ""


def test_life(client: Client) -> None:
    same(client.unapply(APPLIED), virtProfile.unapply(APPLIED, store=STORE))
    same(client.unapply(APPLIED, ["cache"], exclude=True), virtProfile.unapply(APPLIED, ["cache"], store=STORE, exclude=True))  # fmt: skip
    more: dict[str, Any] = {"wishes": [{"name": "large"}], "override": True}
    instead = client.unapply(APPLIED, ["cache"], **more)
    assert [row.name for row in instead.applied if row.source == "caller"] == ["large"]
    assert ">64<" in instead.xml
    same(instead, virtProfile.unapply(APPLIED, ["cache"], store=STORE, **more))
    same(client.upgrade(APPLIED), virtProfile.upgrade(APPLIED, store=STORE))
    same(client.upgrade(APPLIED, ["cache"]), virtProfile.upgrade(APPLIED, ["cache"], store=STORE))
    status = client.status(APPLIED)
    assert status == virtProfile.status(APPLIED, store=STORE)
    assert status.profiles and status.pending


def test_hosts(client: Client) -> None:
    capabilities = CONTEXT.capabilities[0]
    assert client.mirror(VM, capabilities, nodes=2) == plan_texts(capabilities, VM, nodes="2").to_dict()
    rows = [Host(one.name, one.domcapabilities[0]) for one in HOSTS]
    assert client.merge(HOSTS, 1, require=["devices/tpm"]) == merge(
        rows, 1, require=requirements(["devices/tpm"])
    )
    here = verdicts(
        VM,
        HOSTS,
        virtProfile.Context(),
        lambda context: virtProfile.apply(VM, ["cache"], store=STORE, context=context),
    )
    assert client.hosts(VM, HOSTS, ["cache"]) == here
    assert len({one.answer for one in here}) > 1


def caught(call: Any) -> ProfileError:
    with pytest.raises(ProfileError) as found:
        call()
    return found.value


@pytest.mark.parametrize(
    ("xml", "profiles"),
    [
        (VM, ["cach"]),
        (VM, ["cach", "nope"]),
        (VM, ["headless", "large"]),
        (VM, [{"name": "cache", "version": "7"}]),
        (VM, [{"name": "desktop", "params": {"heads": "many"}}]),
        (VM, [{"name": "cache", "priority": "high"}]),
        ("<network/>", ["cache"]),
        ("<!DOCTYPE a><domain/>", ["cache"]),
        ("<domain/", []),
    ],
)
def test_errors(client: Client, xml: str, profiles: list[Any]) -> None:
    here = caught(lambda: virtProfile.apply(xml, profiles, store=STORE, name="vm.xml"))
    there = caught(lambda: client.apply(xml, profiles, name="vm.xml"))
    assert type(there) is type(here) and here.code != "failed"
    assert there.to_dict() == here.to_dict()
    assert (str(there), there.exit_status) == (str(here), here.exit_status)


def test_every_code_has_its_class() -> None:
    classes = [
        one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, ProfileError)
    ]
    for one in classes:
        made = error_of(one("fact", hint="hint", where="a:1", others=[UsageError("more")]).to_dict()["error"])
        assert type(made) is (ProfileError if one is ServiceError else one)
        assert (made.message, made.hint, made.where, made.others[0].message) == (
            "fact",
            "hint",
            "a:1",
            "more",
        )
    assert len(classes) > 10


@pytest.mark.parametrize("path", sorted(cases.DIRECTORY.glob("*.txt")), ids=lambda path: path.stem)
def test_every_case_survives_the_wire(path: Path, tmp_path: Path) -> None:
    """Results and errors of the language's cases, made again of their JSON."""
    kept: list[Any] = []

    def applied(*words: Any, **more: Any) -> Result:
        try:
            kept.append(apply(*words, **more))
        except ProfileError as problem:
            kept.append(problem)
            raise
        return kept[-1]

    apply = virtProfile.apply
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(virtProfile, "apply", applied)
        cases.run(cases.load(path), tmp_path)
    (here,) = kept
    if isinstance(here, ProfileError):
        wire = json.loads(json.dumps(veil_error(here).to_dict()["error"]))
        there = error_of(wire)
        assert there.to_dict() == veil_error(here).to_dict()
        assert conflict_lines(there) == conflict_lines(veil_error(here))
        return
    veiled = veil_result(here)
    wire = json.loads(json.dumps({**veiled.to_dict(), "details": details(veiled)}))
    made = result_of(wire, here.input)
    same(made, here)
    assert (made.changes, made.overridden, made.owned()) == (
        veiled.changes,
        veiled.overridden,
        veiled.owned(),
    )
    assert (made.wishes, made.kept_out, made.warnings) == (here.wishes, here.kept_out, here.warnings)


def test_without_details_the_lists_are_there() -> None:
    """An answer to somebody who did not ask for more."""
    here = virtProfile.apply(VM, ["cache"], store=STORE)
    made = result_of(json.loads(json.dumps(here.to_dict())), VM)
    assert made.to_dict() == here.to_dict()
    assert made.changes[0].input_line is None and made.owned() == ()


@pytest.mark.parametrize("safe", [False, True])
def test_tcp(tmp_path: Path, safe: bool) -> None:
    here = virtProfile.apply(VM, ["cache"], store=STORE)
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    if safe:
        line = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1"
        files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert]
        subprocess.run([*line.split(), *files], check=True, capture_output=True)
    with serving([str(PROFILES)], DATA, "t0k", tcp=True, tls=(cert, key) if safe else None) as url:
        trusted = ssl.create_default_context(cafile=cert) if safe else None
        with Client(url, token="t0k", tls=trusted) as one:
            same(one.apply(VM, ["cache"]), here)
        if safe:  # nobody whom the system trusts has signed it
            problem = caught(lambda: Client(url, token="t0k").apply(VM))
            assert isinstance(problem, ServiceError) and "certificate verify failed" in problem.message


# --- getting there ----------------------------------------------------------------------


def test_wrong_token(url: str) -> None:
    for token in (None, "t0", "t0kk"):
        problem = caught(lambda token=token: Client(url, token=token).apply(VM))
        assert (problem.code, problem.message) == ("policy", "no valid token")


def test_a_body_that_is_too_large(client: Client) -> None:
    problem = caught(lambda: client.apply(f"<domain><!--{'x' * (8 << 20)}--></domain>"))
    assert problem.code == "policy" and "2 MiB" in problem.message, problem
    assert client.apply(VM, ["cache"]).changed  # and goes on


@pytest.mark.parametrize(
    "address",
    [
        "", "unix:", "unix://", "unix://relative/sock", "/run/sock", "ftp://127.0.0.1", "http://", "http://:80",
        "http://127.0.0.1:port", "http://127.0.0.1/path", "http://user:pw@127.0.0.1", "https://host?x", "http://[::1",
        "http://example.org:80",
    ],
)  # fmt: skip
def test_bad_addresses(address: str) -> None:
    with pytest.raises(UsageError):
        Client(address)


@pytest.mark.parametrize("form", ["unix:{}", "unix://{}"])
def test_forms_of_a_sockets_address(form: str, tmp_path: Path) -> None:
    fake = Fake(tmp_path / "a#b", b"hello\r\n")
    caught(lambda: Client(form.format(tmp_path / "a#b")).status(VM))
    assert len(fake.asked) == 1


def test_a_token_with_a_line_feed() -> None:
    with pytest.raises(UsageError):
        Client("http://127.0.0.1:1", token="a\nhost: b")


def test_nobody_there(tmp_path: Path) -> None:
    problem = caught(lambda: Client(f"unix://{tmp_path}/sock").status(VM))
    assert isinstance(problem, ServiceError) and "No such file" in problem.message
    assert isinstance(caught(lambda: Client("http://127.0.0.1:1").status(VM)), ServiceError)


STATUS = {"profiles": [], "pending": False, "warnings": []}


@pytest.mark.parametrize(
    "answer",
    [
        ok([]),
        ok({}),
        ok({"profiles": [{}], "warnings": []}),
        ok({"profiles": 3, "warnings": []}),
        ok({"detail": "Not Found"}, "404 Not Found"),
        ok("no", "500 Oops"),
        ok({"code": "conflict", "message": "m", "conflicts": [3]}, "422 No"),
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{]",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 200_000,
        b"hello\r\n",
        b"",
    ],
)
def test_answers_that_are_none(tmp_path: Path, answer: bytes) -> None:
    problem = caught(lambda: Client(Fake(tmp_path / "s", answer).url).status(VM))
    assert isinstance(problem, ServiceError), problem
    assert "unix://" in problem.message and problem.exit_status == 1


def test_a_code_of_a_later_version(tmp_path: Path) -> None:
    fake = Fake(tmp_path / "s", ok({"code": "new", "message": "fact", "hint": "hint"}, "422 No"))
    problem = caught(lambda: Client(fake.url).status(VM))
    assert (type(problem), problem.message, problem.hint) == (ProfileError, "fact", "hint")


def test_a_kept_connection_that_was_closed(tmp_path: Path) -> None:
    fake = Fake(tmp_path / "s", ok(STATUS), ok(STATUS))
    with Client(fake.url) as one:
        assert one.status(VM).profiles == () == one.status(VM).profiles
    assert len(fake.asked) == 2
    assert isinstance(caught(lambda: one.status(VM)), ServiceError)


def test_an_answer_that_does_not_come(tmp_path: Path) -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "s"))
    listening.listen()
    problem = caught(lambda: Client(f"unix://{tmp_path}/s", timeout=0.2).status(VM))
    assert isinstance(problem, ServiceError) and "0.2 seconds" in problem.message
    listening.close()


def test_an_endless_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("virtProfile.client.MAX_ANSWER", 1000)
    assert MAX_ANSWER > 1 << 20
    fake = Fake(tmp_path / "s", b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 2000)
    assert "more than" in caught(lambda: Client(fake.url).status(VM)).message


def test_a_name_that_is_no_text(client: Client) -> None:
    """Of a file whose bytes are no UTF-8."""
    problem = caught(lambda: client.apply("<network/>", name="a\udcff.xml"))
    assert problem.code == "invalid-domain" and problem.where.startswith("a?.xml")
