# SPDX-License-Identifier: GPL-2.0-or-later
"""The service on a port of its own, for tests/test_page.py: ``pageserver.py FD TOKEN DIRECTORY…``."""

from __future__ import annotations

import socket
import sys

import uvicorn

from virtProfile.rest import application


def main() -> None:
    descriptor, token, *directories = sys.argv[1:]
    config = uvicorn.Config(application(directories, token), log_level="warning")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(descriptor))])


if __name__ == "__main__":
    main()
