# SPDX-License-Identifier: GPL-2.0-or-later
"""The program ``virt-profiled``, as it runs: where it listens, who gets in, what it stands."""

from __future__ import annotations

import asyncio
import grp
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

import daemon  # noqa: E402
import library  # noqa: E402
from daemon import PROFILES, TOP, VM, Service, served  # noqa: E402

import virtProfile  # noqa: E402
from virtProfile.service.pool import Pool  # noqa: E402
from virtProfile.service.worker import Limits, Settings  # noqa: E402


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with served(tmp_path_factory.mktemp("service"), "--workers", "2") as running:
        yield running


def test_answers_as_the_engine(service: Service) -> None:
    status, found, headers = service.ask("POST", "/v1/apply", {"xml": VM, "profiles": ["rng"]})
    wanted = virtProfile.apply(VM, ["rng"], store=virtProfile.ProfileStore([PROFILES]))
    assert (status, found) == (200, wanted.to_dict())
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "server" not in headers


def test_socket_is_the_groups(service: Service) -> None:
    status = os.stat(service.path)
    try:
        group = grp.getgrnam("libvirt").gr_gid
    except KeyError:
        group = None
    given = group is not None and status.st_gid == group
    assert stat.S_IMODE(status.st_mode) == (0o660 if given else 0o600)
    if os.geteuid() == 0 and group is not None:
        assert given


def test_list_of_vms(service: Service) -> None:
    asked = [{"xml": VM, "profiles": ["rng"]}, {"xml": "<a/>"}, 3]
    status, found, _ = service.ask("POST", "/v1/apply", asked)
    assert status == 200
    assert found[0]["changed"] is True
    assert [one["error"]["code"] for one in found[1:]] == ["invalid-domain", "usage"]


def until(asking: socket.socket, end: bytes) -> bytes:
    """What comes until some bytes have come."""
    found = b""
    while end not in found:
        part = asking.recv(65536)
        assert part, found
        found += part
    return found


def test_stream_of_lines_answers_while_it_comes(service: Service) -> None:
    asking = service.connect()
    head = "POST /v1/apply HTTP/1.1\r\nhost: x\r\ncontent-type: application/jsonl\r\ntransfer-encoding: chunked\r\n\r\n"
    asking.sendall(head.encode())
    names = [f"vm{number}" for number in range(12)]
    for name in names:
        line = (
            json.dumps({"xml": VM.replace("<name>a", f"<name>{name}"), "profiles": ["rng"]}).encode() + b"\n"
        )
        asking.sendall(b"%x\r\n%s\r\n" % (len(line), line))
    answers = until(asking, b"vm0")  # although the request has no end yet
    asking.sendall(b"4\r\nnope\r\n0\r\n\r\n")
    answers += until(asking, b"0\r\n\r\n")
    body = re.sub(rb"\r\n[0-9a-f]+\r\n", b"", answers.partition(b"\r\n\r\n")[2])
    assert [name for name in names if name.encode() in body] == names
    assert [body.index(name.encode()) for name in names] == sorted(
        body.index(name.encode()) for name in names
    )
    assert b'"error":{"code":"usage"' in body


def test_killed_worker_loses_only_its_request(service: Service) -> None:
    body = json.dumps({"xml": VM, "arguments": ["--profile", "rng"]}).encode()
    before = service.workers()
    assert len(before) == 2
    found: dict[str, tuple[int, object]] = {}

    def slow() -> None:
        found["slow"] = service.ask("POST", "/v1/edit-xml", body)[:2]

    asking = threading.Thread(target=slow)
    asking.start()

    def looked_at() -> Iterator[int]:
        for _ in range(2000):
            for pid in before:
                time.sleep(0.005)
                yield pid

    victim = next(pid for pid in looked_at() if daemon._children(pid))
    os.kill(victim, signal.SIGKILL)
    others = [service.ask("POST", "/v1/apply", {"xml": VM, "profiles": ["rng"]})[0] for _ in range(8)]
    asking.join()
    assert others == [200] * 8
    status, error = found["slow"]
    assert status == 503 and isinstance(error, dict)
    assert (error["message"], error["hint"]) == ("the process of this request ended", "ask again")
    after = service.workers()
    assert len(after) == 2 and victim not in after


def test_idle_worker_that_died_is_not_asked(service: Service) -> None:
    for pid in service.workers():
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    assert [service.ask("POST", "/v1/status", {"xml": VM})[0] for _ in range(4)] == [200] * 4


def test_time_ends_the_request_and_its_worker(tmp_path: Path) -> None:
    with served(tmp_path, "--workers", "1", "--seconds", "1") as running:
        disks = "".join(f"<disk type='network'><target dev='vd{n}'/></disk>" for n in range(11_000))
        big = VM.replace("</domain>", f"<devices>{disks}</devices></domain>")
        status, error, _ = running.ask(
            "POST", "/v1/apply", {"xml": big, "profiles": ["virtio-disk", "rng"], "complete": True}
        )
        busy = "too busy" in error["message"]  # with other things than this test: nobody has to pause then
        assert status == 503 and (busy or "1 seconds" in error["message"]), error
        status, error, headers = running.ask("POST", "/v1/apply", {"xml": VM, "profiles": ["rng"]})
        if not busy:
            assert (status, error["code"], headers["retry-after"]) == (429, "policy", "1")
        time.sleep(1.1)
        assert running.ask("POST", "/v1/apply", {"xml": VM, "profiles": ["rng"]})[0] == 200
        assert "virt_profile_worker_restarts_total 1" in running.ask("GET", "/metrics")[1].decode()


@library.needs_virtinst
def test_full_queue_is_refused_at_once(tmp_path: Path) -> None:
    with served(tmp_path, "--workers", "1", "--queue", "1") as running:
        body = json.dumps(
            {
                "arguments": [
                    "--name",
                    "a",
                    "--memory",
                    "64",
                    "--osinfo",
                    "generic",
                    "--import",
                    "--disk",
                    "none",
                ]
            }
        )
        found: list[tuple[int, dict[str, str]]] = []

        def ask() -> None:
            status, _, headers = running.ask("POST", "/v1/install-xml", body.encode())
            found.append((status, headers))

        asking = [threading.Thread(target=ask) for _ in range(4)]
        for one in asking:
            one.start()
        for one in asking:
            one.join()
        assert sorted(status for status, _ in found) == [200, 200, 503, 503]
        assert all(headers["retry-after"] == "1" for status, headers in found if status == 503)


@library.needs_virtinst
def test_ends_gracefully(tmp_path: Path) -> None:
    with served(tmp_path, "--workers", "1") as running:
        body = {
            "arguments": [
                "--name",
                "a",
                "--memory",
                "64",
                "--osinfo",
                "generic",
                "--import",
                "--disk",
                "none",
            ]
        }
        found: list[int] = []
        asking = threading.Thread(
            target=lambda: found.append(running.ask("POST", "/v1/install-xml", body)[0])
        )
        asking.start()
        while not any(map(daemon._children, running.workers())):
            time.sleep(0.01)
        workers = running.workers()
        running.process.send_signal(signal.SIGTERM)
        asking.join()
        assert running.process.wait(30) == 0
        assert found == [200]
        assert not os.path.exists(running.path)
        time.sleep(0.2)
        assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)


def test_no_temporary_files_and_programs_are_left(tmp_path: Path) -> None:
    """Also where workers are killed while they run a program, and at the end."""
    # short: Python's sockets in it have paths of 107 bytes at most
    with tempfile.TemporaryDirectory(prefix="vp-", ignore_cleanup_errors=True) as place:
        nothing_is_left(tmp_path, Path(place))


def nothing_is_left(tmp_path: Path, temporary: Path) -> None:
    environ = {"TMPDIR": str(temporary)}
    with served(tmp_path, "--workers", "2", environ=environ) as running:
        words = ["--name", "a", "--memory", "64", "--osinfo", "generic", "--import", "--disk", "none"]
        body = {"arguments": words}
        asking = threading.Thread(target=lambda: running.ask("POST", "/v1/install-xml", body))
        asking.start()
        programs: list[int] = []
        while not programs:
            assert asking.is_alive(), "it ended without a program"
            programs = [pid for worker in running.workers() for pid in daemon._children(worker)]
            time.sleep(0.005)
        for worker in running.workers():
            os.kill(worker, signal.SIGKILL)
        asking.join()
        deadline = time.monotonic() + 10
        while [pid for pid in programs if os.path.exists(f"/proc/{pid}/exe")]:
            assert time.monotonic() < deadline, "a program still runs"
            time.sleep(0.05)
        assert running.ask("POST", "/v1/apply", {"xml": VM, "profiles": ["rng"]})[0] == 200
        left = [
            path for path in temporary.rglob("*") if path.is_dir() and path.name.startswith("virt-profile-")
        ]
        assert not left
    assert not [path for path in temporary.iterdir() if not path.name.startswith("pymp-")]


def test_second_service_is_told(service: Service) -> None:
    words = [sys.executable, TOP / "virt-profiled", "--socket", service.path]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"another process listens on '{service.path}' already" in done.stderr


def test_left_socket_is_replaced(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "sock"))
    left.close()
    with served(tmp_path, "--workers", "1") as running:
        assert running.ask("GET", "/healthz")[0] == 200


def test_systemds_socket(tmp_path: Path) -> None:
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(tmp_path / "given"))
    made.listen()
    code = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1');"
        "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
    )
    words = [sys.executable, "-c", code, str(made.fileno()), str(TOP / "virt-profiled"), "--workers", "1"]
    process = subprocess.Popen(words, pass_fds=(made.fileno(),), stderr=subprocess.PIPE, text=True)
    try:
        running = Service(process, str(tmp_path / "given"), tmp_path / "log")
        assert running.ask("GET", "/healthz")[:2] == (
            200,
            {"status": "ok", "version": virtProfile.__version__},
        )
    finally:
        process.terminate()
        _, told = process.communicate()
    assert "listening on 1 socket(s) of systemd" in told


def started(*words: str) -> tuple[subprocess.Popen[str], str]:
    """A service on TCP, and the first line that it says."""
    command = [sys.executable, TOP / "virt-profiled", "--workers", "1", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    return process, process.stderr.readline()


def curl(*words: str) -> tuple[int, str]:
    done = subprocess.run(
        ["curl", "-s", "-w", "%{http_code}", "--retry", "20", "--retry-delay", "0", "--retry-connrefused", *words],
        capture_output=True, text=True,
    )  # fmt: skip
    return int(done.stdout[-3:]), done.stdout[:-3]


def test_tcp_makes_up_a_token(tmp_path: Path) -> None:
    process, told = started("--listen", "127.0.0.1:0")
    try:
        found = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+/)#token=([\w-]{32})\n", told)
        assert found, told
        url, token = found.groups()
        assert curl(url + "v1/profiles")[0] == 401
        status, body = curl("-H", f"Authorization: Bearer {token}", url + "v1/profiles")
        assert status == 200 and json.loads(body)["profiles"]
    finally:
        process.terminate()
        _, rest = process.communicate()
    assert token not in rest


@pytest.mark.parametrize("host", ["0.0.0.0:0", "[::]:0"])
def test_tcp_beyond_this_machine_needs_more(host: str) -> None:
    done = subprocess.run(
        [sys.executable, TOP / "virt-profiled", "--listen", host], capture_output=True, text=True, timeout=30
    )
    if "Address family" in done.stderr or "Cannot assign" in done.stderr:
        pytest.skip("no IPv6 here")
    assert done.returncode == 1
    assert "neither a token nor a certificate" in done.stderr and "--token-file" in done.stderr


def openssl(place: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=place, check=True, capture_output=True)


def test_client_certificates(tmp_path: Path) -> None:
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl(
        tmp_path, "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2"
    )
    for name in ("localhost", "alice", "mallory"):
        ca = [] if name == "mallory" else ["-CA", "ca.pem", "-CAkey", "ca.key"]
        openssl(tmp_path, "req", "-x509", *key, *ca, "-keyout", f"{name}.key", "-out", f"{name}.pem",
                "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost", "-days", "2")  # fmt: skip
    policy = tmp_path / "policy.toml"
    policy.write_text("[callers.alice]\nprofiles = ['rng']\n")
    process, told = started(
        *["--listen", "127.0.0.1:0", "--tls-cert", f"{tmp_path}/localhost.pem", "--policy", str(policy)],
        *["--tls-key", f"{tmp_path}/localhost.key", "--tls-client-ca", f"{tmp_path}/ca.pem"],
    )
    try:
        port = re.search(r":(\d+)/", told)
        assert port and "https" in told, told
        base = ["--cacert", f"{tmp_path}/ca.pem", f"https://localhost:{port[1]}/v1/profiles"]
        mine = ["--cert", f"{tmp_path}/alice.pem", "--key", f"{tmp_path}/alice.key"]
        status, body = curl(*mine, *base)
        assert status == 200
        assert [one["name"] for one in json.loads(body)["profiles"]] == ["rng"]
        assert curl(*base)[0] == 0
        other = [word.replace("alice", "mallory") for word in mine]
        assert curl(*other, *base)[0] == 0
        server = [word.replace("alice", "localhost") for word in mine]
        assert curl(*server, *base)[0] == 403
    finally:
        process.terminate()
        process.communicate()


def test_without_fastapi_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "fastapi.py").write_text("raise ModuleNotFoundError('no', name='fastapi')\n")
    environ = {**os.environ, "PYTHONPATH": f"{tmp_path}:{TOP}"}
    code = "import sys; from virtProfile.service.main import runcli; sys.exit(runcli(['--socket', '/nowhere/sock']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ)
    assert done.returncode == 1
    assert "needs FastAPI and uvicorn" in done.stderr and "pip install" in done.stderr


@library.needs_virtinst
def test_a_worker_keeps_nothing_of_what_it_completed() -> None:
    """Devices that are completed leave objects in cycles: they do not pile up until memory ends."""
    script = f"""
import gc, json, sys
sys.path[:0] = [{str(TOP)!r}, {str(TOP / "tests" / "bench")!r}]
import bench
from virtProfile.service import handlers, worker
store = worker.CallersStore(({str(TOP / "profiles")!r},))
worker._warm(store)
host = {{name: [open({str(TOP / "tests/data/profiles/host")!r} + "/" + file).read()]
        for name, file in (("capabilities", "capabilities.xml"), ("domcapabilities", "domcapabilities-q35.xml"))}}
one = {{"xml": bench.domain(100), "profiles": ["rng"], "complete": True, "context": host}}
for body in (one, [one] * 9):
    status, answer = handlers.answered("apply", json.dumps(body).encode(), store)
    assert status == 200 and b'"error"' not in answer, answer
    print(len(gc.get_objects()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    one, ten = map(int, done.stdout.split())
    assert ten < one + 50_000  # 95,000 more, where nobody looks for cycles


def test_a_worker_that_has_grown_is_replaced() -> None:
    settings = Settings((str(TOP / "profiles"),), limits=Limits(resident=1))

    async def ask() -> int:
        pool = Pool(settings, 1)
        for _ in range(3):
            assert (await pool.ask("apply", "", json.dumps({"xml": VM}).encode())).status == 200
        restarts = pool.restarts
        await pool.close()
        return restarts

    assert asyncio.run(ask()) == 3
