# SPDX-License-Identifier: GPL-2.0-or-later
"""What hostile callers send: refused, nothing of it in the log, and the service stays up."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

import library  # noqa: E402
from daemon import KIND, TOP, VM, Service, served  # noqa: E402
from uvicorn.protocols.http.flow_control import FlowControl  # noqa: E402

from virtProfile.service import held, sockets  # noqa: E402
from virtProfile.service.main import Seldom  # noqa: E402
from virtProfile.service.sockets import MOST  # noqa: E402

SECRET = "s3cr3t-of-a-caller"
TOKEN = "a-token-of-twenty-characters"
AUTH = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    place = tmp_path_factory.mktemp("hostile")
    store = place / "store"
    policy = place / "policy.toml"
    policy.write_text("[default]\nprofiles = ['*']\nwrite-profiles = true\n")
    words = ["--workers", "2", "--store", str(store), "--policy", str(policy), "--seconds", "4"]
    with served(place, *words) as running:
        yield running


def domain(inside: str, before: str = "") -> str:
    return f"{before}<domain type='kvm'><name>{SECRET}</name><memory>1</memory>{KIND}{inside}</domain>"


LAUGHS = "<!DOCTYPE a [<!ENTITY a 'ha'>" + "".join(
    f"<!ENTITY {chr(98 + n)} '{('&' + chr(97 + n) + ';') * 10}'>" for n in range(9)
) + "]>"  # fmt: skip
XXE = "<!DOCTYPE a [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>"
BOMB = "+".join(["count(//*[count(//*[count(//*)>1])>1])"] * 10)
DEEP = "<a>" * 5000 + "</a>" * 5000

BODIES: list[tuple[str, str, Any, int, str]] = [
    ("xxe", "apply", {"xml": domain("<title>&a;</title>", XXE)}, 422, "policy"),
    ("xxe in a profile", "lint", {"profile": XXE + "<profile name='a'><title>&a;</title></profile>"}, 200, ""),
    ("xxe in capabilities", "apply", {"xml": VM, "profiles": ["rng"], "context": {"domcapabilities": [XXE + "<domainCapabilities>&a;</domainCapabilities>"]}}, 422, "policy"),
    ("billion laughs", "apply", {"xml": domain("<title>&j;</title>", LAUGHS)}, 422, "policy"),
    ("deep xml", "apply", {"xml": domain(DEEP)}, 422, "policy"),
    ("deep json", "apply", b'{"xml":' + b"[" * 200_000, 400, "usage"),
    ("no json", "apply", b"\xff\xfe", 400, "usage"),
    ("lone surrogate", "apply", b'{"xml": "\\ud800"}', 422, "invalid-domain"),
    ("nul", "apply", {"xml": "<domain>\0</domain>"}, 422, "invalid-domain"),
    ("expression", "explain", {"xml": VM, "profiles": ["rng"], "xpath": BOMB}, 422, "policy"),
    ("descendants", "explain", {"xml": VM, "profiles": ["rng"], "xpath": "//*//*//*//*//*"}, 422, "policy"),
    ("brought profile", "apply", {"xml": VM, "profiles": ["a"], "inline": ["<profile name='a'/>"]}, 422, "policy"),
    ("path as a name", "apply", {"xml": VM, "profiles": ["../../etc/passwd"]}, 422, "not-found"),
    ("path as a name in the list", "apply", {"xml": domain("<metadata><v:virtuned xmlns:v='http://virt-manager.org/schemas/virtuned/0.1'><v:profile name='../../etc/passwd'/></v:virtuned></metadata>")}, 422, "not-found"),
    ("priority of a kind", "apply", {"xml": VM, "profiles": [{"name": "rng", "priority": {}}]}, 422, "usage"),
    ("params of a kind", "apply", {"xml": VM, "profiles": [{"name": "rng", "params": [1]}]}, 422, "usage"),
    ("file of the host", "install-xml", {"arguments": ["--name", "a", "--disk", "/etc/passwd"]}, 422, "usage"),
    ("file by another way", "install-xml", {"arguments": ["--name", "a", "--cloud-init", "user-data=/etc/passwd"]}, 422, "usage"),
    ("other connection", "install-xml", {"arguments": ["--connect", "qemu:///system"]}, 422, "usage"),
    ("shortened option", "install-xml", {"arguments": ["--loc", "/etc"]}, 422, "usage"),
    ("kernel", "edit-xml", {"xml": VM, "arguments": ["--boot", "kernel=/etc/passwd"]}, 422, "usage"),
    ("command line", "edit-xml", {"xml": VM, "arguments": ["--qemu-commandline=-S"]}, 422, "usage"),
    ("path of the host", "edit-xml", {"xml": VM, "arguments": ["--add-device", "--serial", "file,path=/etc/x"]}, 422, "policy"),
    ("secret of a file", "edit-xml", {"xml": VM, "arguments": ["--profile", "rng,a=@/etc/passwd"]}, 422, "usage"),
]  # fmt: skip


@pytest.mark.parametrize(
    "route, body, status, code",
    [
        pytest.param(
            *one[1:], id=one[0], marks=library.needs_virtinst if one[0] == "path of the host" else ()
        )
        for one in BODIES
    ],
)
def test_body(service: Service, route: str, body: Any, status: int, code: str) -> None:
    found, error, headers = service.ask("POST", f"/v1/{route}", body)
    assert (found, error.get("code", "")) == (status, code), error
    if status != 200:
        assert headers["content-type"] == "application/problem+json"
    else:
        assert not error["ok"] and "root:" not in json.dumps(error)
    assert "root:" not in json.dumps(error)


def raw(service: Service, *parts: bytes, pause: float = 0.0) -> bytes:
    """What comes back for bytes that are no whole request."""
    asking = service.connect()
    found = b""
    try:
        for part in parts:
            asking.sendall(part)
            time.sleep(pause)
        while more := asking.recv(65536):
            found += more
            if b'"conflicts"' in found:
                break
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        asking.close()
    return found


HEAD = b"POST /v1/apply HTTP/1.1\r\nhost: x\r\n"


def test_hundred_megabytes(service: Service) -> None:
    claimed = raw(service, HEAD + b"content-length: 104857600\r\n\r\n")
    assert claimed.startswith(b"HTTP/1.1 413")
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    found = raw(service, HEAD + b"transfer-encoding: chunked\r\n\r\n", *[chunk] * 1600)
    assert found == b"" or found.startswith(b"HTTP/1.1 413")
    assert service.ask("GET", "/healthz")[0] == 200


def test_long_header(service: Service) -> None:
    assert raw(service, HEAD + b"x: " + b"y" * 200_000).startswith(b"HTTP/1.1 400")


def test_slow_head_is_cut_off(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    slow = [service.connect() for _ in range(50)]
    for one in slow:
        one.sendall(b"POST /v1/ap")
    assert service.ask("GET", "/healthz")[0] == 200
    for _number in range(4):
        time.sleep(1)
        for one in slow:
            one.sendall(b"x")
    assert [one.recv(10) for one in slow] == [b""] * 50
    assert 9 < time.monotonic() - began < 20


def cut(connection: socket.socket) -> bool:
    """Has the service closed it?"""
    connection.settimeout(0.05)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


def test_idle_connections_are_bounded(service: Service) -> None:
    """Who has shown nothing has few connections; the oldest go, so a new caller is always answered."""
    many = []
    for number in range(1100):
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(5)
        made.connect(service.path)
        many.append(made)
        if number % 300 == 299:
            assert service.ask("GET", "/healthz")[0] == 200
    assert service.ask("GET", "/healthz")[0] == 200
    assert not any(map(cut, many[-20:]))
    assert all(map(cut, many[:20]))
    for connection in many:
        connection.close()
    time.sleep(0.2)
    assert service.ask("GET", "/healthz")[0] == 200


def test_callers_connections_are_bounded(service: Service) -> None:
    """Also those of a caller who is known: the oldest that waits for a request goes."""
    request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    many = []
    for _ in range(MOST + 76):
        made = service.connect()
        made.sendall(request)
        found = b""
        while b'"version"' not in found:
            found += made.recv(4096)
        many.append(made)
    assert not any(map(cut, many[-20:]))
    assert all(map(cut, many[:20]))
    for connection in many:
        connection.close()


def test_two_lengths_end_the_connection(service: Service) -> None:
    smuggled = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    lengths = ("content-length: 4", "transfer-encoding: chunked")
    for first, second in (lengths, lengths[::-1]):
        head = f"POST /v1/apply HTTP/1.1\r\nhost: x\r\n{first}\r\n{second}\r\n\r\n".encode()
        asking = service.connect()
        asking.sendall(head + b"0\r\n\r\n" + smuggled)
        found = b""
        while more := asking.recv(65536):
            found += more
        assert found.startswith(b"HTTP/1.1 400") and found.count(b"HTTP/1.1") == 1
        asking.close()


def test_strangers_get_one_answer_a_connection(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(f"alice {TOKEN}\n")
    (tmp_path / "tokens").chmod(0o600)
    words = ["--listen", "127.0.0.1:0", "--workers", "1", "--token-file", str(tmp_path / "tokens")]
    command = [sys.executable, str(TOP / "virt-profiled"), *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        port = re.search(r":(\d+)/", process.stderr.readline())
        assert port is not None
        request = b"GET /icon.svg HTTP/1.1\r\nhost: x\r\n"
        with socket.create_connection(("127.0.0.1", int(port[1])), 10) as asking:
            asking.sendall(request + b"\r\n")
            found = b""
            while more := asking.recv(65536):
                found += more
        assert found.startswith(b"HTTP/1.1 200") and found.count(b"</svg>") == 1
        with socket.create_connection(("127.0.0.1", int(port[1])), 10) as known:
            for _ in range(2):
                known.sendall(request + f"authorization: Bearer {TOKEN}\r\n\r\n".encode())
                found = b""
                while b"</svg>" not in found:
                    found += known.recv(65536)
    finally:
        process.terminate()
        process.communicate()


def test_who_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "WRITE", 0.2)
    protocol = sockets.PatientProtocol.__new__(sockets.PatientProtocol)

    async def run(sizes: list[int]) -> bool:
        left = list(sizes)
        aborted: list[bool] = []
        transport: Any = SimpleNamespace(
            get_write_buffer_size=lambda: left.pop(0) if left else 0, abort=lambda: aborted.append(True)
        )
        protocol.transport, protocol.flow, protocol.loop = (
            transport,
            FlowControl(transport),
            asyncio.get_running_loop(),
        )
        protocol.pause_writing()
        await asyncio.sleep(0.35)
        if not aborted:
            protocol.resume_writing()
            await asyncio.sleep(0.3)
        return bool(aborted)

    assert asyncio.run(run([1_000_000, 999_000]))
    assert not asyncio.run(run([1_000_000, 500_000]))


@pytest.mark.parametrize("older", [True, False], ids=["uvicorn-0.17", "newer"])
def test_what_is_known_of_a_connection_reaches_the_application(
    monkeypatch: pytest.MonkeyPatch, older: bool
) -> None:
    seen: list[dict[str, Any]] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        seen.append(scope["state"])

    monkeypatch.setattr(sockets.H11Protocol, "connection_made", lambda *_: None)
    protocol = sockets.PatientProtocol.__new__(sockets.PatientProtocol)
    protocol.app, protocol.server_state = app, SimpleNamespace()  # type: ignore[assignment]
    if not older:
        protocol.app_state = {"of": "lifespan"}
    here, there = socket.socketpair()
    certificate = {"subject": ((("commonName", "alice"),),)}
    transport: Any = SimpleNamespace(get_extra_info={"socket": here, "peercert": certificate}.get)

    async def run() -> None:
        protocol.loop = asyncio.get_running_loop()
        protocol.connection_made(transport)
        await protocol.app({} if older else {"state": dict(protocol.app_state)}, None, None)

    with here, there:
        asyncio.run(run())
    known = {"connection": protocol, "peer": "alice", "user": os.getuid()}
    assert seen == [known if older else {"of": "lifespan", **known}]


def test_what_is_held_is_bounded() -> None:
    store = held.Held()
    first = store.of("a")
    first.more(held.SHARE)
    with pytest.raises(held.TooMuchError):
        first.more(1)
    others = [store.of(name) for name in "bc"]
    others[0].more(held.SHARE)
    with pytest.raises(held.TooMuchError):
        others[1].more(held.MOST - 2 * held.SHARE + 1)
    others[1].more(held.MOST - 2 * held.SHARE)
    for holding in (first, *others):
        holding.close()
    assert store.total == 0 and not store._by_share


def test_log_of_connections_is_bounded() -> None:
    seldom = Seldom()
    record = logging.LogRecord("asyncio", logging.ERROR, "x", 1, "socket.accept() failed", (), None)
    assert sum(seldom.filter(record) for _ in range(10_000)) == Seldom.MOST


@pytest.mark.parametrize("name", ["..%2f..%2fx", "..", "%2e%2e", "a%00b", "x" * 500, "%2fetc%2fpasswd"])
def test_path_as_a_profiles_name(service: Service, name: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        body = b"<profile name='x'/>" if method == "PUT" else None
        status, _, _ = service.ask(method, f"/v1/profiles/{name}", body)
        assert status in (404, 405, 422), method
    assert not list(Path(service.path).parent.rglob("*.xml"))


def test_store(service: Service) -> None:
    def profile(version: str, cache: str = "none", name: str = "mine") -> bytes:
        inside = f"<default><devices><disk><driver cache='{cache}'/></disk></devices></default>"
        return f"<profile name='{name}' version='{version}'>{inside}</profile>".encode()

    def put(name: str, body: bytes) -> tuple[int, str]:
        status, found, _ = service.ask("PUT", f"/v1/profiles/{name}", body)
        return status, found.get("code") or str(found["created"])

    assert put("mine", profile("1.0")) == (200, "True")
    assert put("mine", profile("1.0")) == (200, "False")
    assert put("mine", profile("1.0", "unsafe")) == (409, "policy")
    assert put("mine", profile("1.1")) == (200, "True")
    assert put("mine", profile("../1")) == (422, "syntax")
    assert put("other", profile("1.0")) == (422, "syntax")
    assert (
        put("mine", b"<profile name='mine' version='2'><add><devices><disc/></devices></add></profile>")[0]
        == 422
    )
    assert put("rng", profile("99", name="rng")) == (409, "policy")
    assert service.ask("GET", "/v1/profiles/mine")[1]["versions"] == ["1.1", "1.0"]
    assert service.ask("GET", "/v1/profiles/mine/1.0")[1]["version"] == "1.0"
    assert (
        service.ask("POST", "/v1/apply", {"xml": VM, "profiles": ["mine"]})[1]["applied"][0]["version"]
        == "1.1"
    )
    assert service.ask("DELETE", "/v1/profiles/mine/1.1")[1] == {"name": "mine", "deleted": ["1.1"]}
    assert service.ask("GET", "/v1/profiles/mine")[1]["versions"] == ["1.0"]
    assert service.ask("DELETE", "/v1/profiles/rng")[0] == 404
    assert service.ask("DELETE", "/v1/profiles/mine")[0] == 200
    assert service.ask("GET", "/v1/profiles/mine")[0] == 404
    assert service.ask("GET", "/v1/profiles/rng")[0] == 200


def test_nothing_of_it_in_the_log(service: Service) -> None:
    xml = domain(f"<devices><graphics type='vnc' passwd='{SECRET}'/></devices>")
    assert service.ask("POST", f"/v1/apply?token={SECRET}", {"xml": xml, "profiles": ["rng"]})[0] == 200
    assert service.ask("GET", f"/v1/{SECRET}")[0] == 404
    assert service.ask("POST", "/v1/apply", {"xml": xml, SECRET: 1}, {"authorization": SECRET})[0] == 401
    time.sleep(0.3)  # a line is written after its answer
    log = service.log.read_text()
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert SECRET not in log
    assert lines[-1]["status"] == 401 and lines[-1]["caller"] is None
    assert set(lines[-1]) == {"time", "caller", "method", "route", "status", "bytes", "ms"}


def test_nobody_without_a_token_on_any_route() -> None:
    from fastapi.testclient import TestClient

    from virtProfile.service.routes import application

    app = application([], TOKEN)
    asking = TestClient(app)
    told = [
        (method, path)
        for path, methods in app.openapi()["paths"].items()
        for method in methods
        if method != "parameters"
    ]
    assert len(told) > 20
    for method, path in [*told, ("get", "/openapi.json"), ("get", "/nowhere"), ("patch", "/v1/apply")]:
        for shown in (
            {},
            {"authorization": "Bearer "},
            {"authorization": f"bearer {TOKEN}x"},
            {"authorization": TOKEN},
        ):
            found = asking.request(method, path.format(name="rng", version="1.0"), headers=shown)
            assert found.status_code == 401, (method, path, shown)
            assert found.headers["www-authenticate"].startswith("Bearer")
    assert asking.get("/healthz", headers=AUTH).status_code == 200


def test_every_route_is_told() -> None:
    from virtProfile.service.routes import application

    app = application([], None)
    routes: list[Any] = app.routes
    there = {(route.path, method.lower()) for route in routes for method in getattr(route, "methods", ())}
    told = {(path, method) for path, methods in app.openapi()["paths"].items() for method in methods}
    have = {
        pair for pair in there if pair[0].startswith(("/v1/", "/healthz", "/metrics")) and pair[1] != "head"
    }
    assert have == {pair for pair in told if pair[1] != "parameters"}
