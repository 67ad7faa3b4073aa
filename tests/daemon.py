# SPDX-License-Identifier: GPL-2.0-or-later
"""A real ``virt-profiled`` for tests: started, asked over its socket, ended."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

TOP = Path(__file__).parent.parent
PROFILES = str(TOP / "profiles")
KIND = "<os><type arch='x86_64' machine='q35'>hvm</type></os>"
VM = f"<domain type='kvm'><name>a</name><memory>1</memory>{KIND}</domain>"


class Service:
    """One running service."""

    def __init__(self, process: subprocess.Popen[str], path: str, log: Path) -> None:
        self.process = process
        self.path = path
        self.log = log

    def connect(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(30)
        made.connect(self.path)
        return made

    def ask(
        self, method: str, where: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """(status, JSON or bytes, headers) of a request."""
        asking = http.client.HTTPConnection("localhost", timeout=60)
        asking.sock = self.connect()
        data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        with suppress(BrokenPipeError):  # answered and closed before all of it was read: the answer is there
            asking.request(method, where, data, headers or {})
        found = asking.getresponse()
        raw = found.read()
        asking.close()
        kind = found.headers.get("content-type", "")
        return (
            found.status,
            json.loads(raw) if "json" in kind and "jsonl" not in kind else raw,
            dict(found.headers),
        )

    def workers(self) -> list[int]:
        """The processes that answer: children of the forkserver."""
        found = []
        for child in _children(self.process.pid):
            found += _children(child)
        return found


def _children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


@contextmanager
def served(place: Path, *words: str, environ: dict[str, str] | None = None) -> Iterator[Service]:
    """A service on a unix socket in a directory."""
    path, log = str(place / "sock"), place / "log"
    command = [
        sys.executable,
        str(TOP / "virt-profiled"),
        "--socket",
        path,
        "--profile-dir",
        PROFILES,
        *words,
    ]
    with log.open("w") as stream:
        process = subprocess.Popen(command, stderr=stream, text=True, env={**os.environ, **(environ or {})})
    try:
        deadline = time.monotonic() + 30
        service = Service(process, path, log)
        while True:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            try:
                service.ask("GET", "/healthz")
                break
            except OSError:
                time.sleep(0.05)
        yield service
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
