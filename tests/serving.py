# SPDX-License-Identifier: GPL-2.0-or-later
"""A real service on a unix socket or on TCP, and a false one, for tests of what asks one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent

_PROGRAM = """
import json, sys, uvicorn
from virtProfile.service.routes import application
{code}
if __name__ == "__main__":
    where, token, *directories = sys.argv[1:]
    app = application(directories, token or None)
    uvicorn.run(app, log_level="error", access_log=False, **json.loads(where))
"""


@contextmanager
def serving(
    directories: Sequence[str],
    within: Path,
    token: str = "",
    *,
    tcp: bool = False,
    tls: tuple[str, str] | None = None,
    code: str = "",
) -> Iterator[str]:
    """A service with the profiles of some directories; gives its URL.

    :param within: the process's working directory, so that files are called as by a caller there
    :param tcp: on a free port of 127.0.0.1
    :param tls: files of a certificate and its key
    :param code: Python that its processes run first
    """
    with tempfile.TemporaryDirectory(prefix="vp-serving-") as place:
        path = f"{place}/sock"
        where: dict[str, Any]
        url, where = f"unix://{path}", {"uds": path}
        if tcp:
            with socket.create_server(("127.0.0.1", 0)) as one:
                port = one.getsockname()[1]
            url, where = f"http://127.0.0.1:{port}", {"host": "127.0.0.1", "port": port}
        if tls is not None:
            url = url.replace("http:", "https:")
            where.update(ssl_certfile=tls[0], ssl_keyfile=tls[1])
        program = Path(place) / "serve.py"
        program.write_text(_PROGRAM.replace("{code}", code))
        process = subprocess.Popen(
            [sys.executable, str(program), json.dumps(where), token, *directories],
            cwd=within,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )
        try:
            _wait(where.get("uds") or ("127.0.0.1", where["port"]), process)
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(where: Any, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError("the service ended")
        with socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET) as one:
            try:
                one.connect(where)
                return
            except OSError:
                time.sleep(0.05)
    raise RuntimeError("the service does not listen")


class Fake:
    """Answers each connection with given bytes, then closes it."""

    def __init__(self, path: Path, *answers: bytes) -> None:
        self.url = f"unix://{path}"
        self.asked: list[bytes] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._answers = answers
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        for answer in self._answers:
            with self._server.accept()[0] as one:
                self.asked.append(one.recv(1 << 20))
                one.sendall(answer)
        self._server.close()


def ok(document: Any, status: str = "200 OK", more: str = "") -> bytes:
    data = json.dumps(document).encode()
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(data)}\r\n{more}\r\n".encode() + data
