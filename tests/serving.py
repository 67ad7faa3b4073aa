# SPDX-License-Identifier: GPL-2.0-or-later
"""A real service on a unix socket, for tests of what asks one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent

_PROGRAM = """
import sys, uvicorn
from virtProfile.rest import application
if __name__ == "__main__":
    socket, token, *directories = sys.argv[1:]
    uvicorn.run(application(directories, token or None), uds=socket, log_level="error", access_log=False)
"""


@contextmanager
def serving(directories: Sequence[str], within: Path, token: str = "") -> Iterator[str]:
    """A service with the profiles of some directories; gives its URL.

    :param within: the process's working directory, so that files are called as by a caller there
    """
    with tempfile.TemporaryDirectory(prefix="vp-serving-") as place:
        path = f"{place}/sock"
        program = Path(place) / "serve.py"
        program.write_text(_PROGRAM)
        process = subprocess.Popen(
            [sys.executable, str(program), path, token, *directories],
            cwd=within,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )
        try:
            _wait(path, process)
            yield f"unix://{path}"
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(path: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError("the service ended")
        with socket.socket(socket.AF_UNIX) as one:
            try:
                one.connect(path)
                return
            except OSError:
                time.sleep(0.05)
    raise RuntimeError("the service does not listen")
