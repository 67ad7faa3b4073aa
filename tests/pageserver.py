# SPDX-License-Identifier: GPL-2.0-or-later
"""The service on a port of its own, for tests/test_page.py: ``pageserver.py FD TOKEN DIRECTORY…``."""

from __future__ import annotations

import socket
import sys
from typing import Any

import uvicorn

from virtProfile.rest import application
from virtProfile.store import ProfileStore


def main() -> None:
    descriptor, token, *directories = sys.argv[1:]
    app = application(directories, token)
    if not any(getattr(one, "path", "") == "/v1/profiles" for one in app.routes):

        @app.get("/v1/profiles")
        def _listed() -> dict[str, Any]:
            rows = ProfileStore(directories).listing()
            return {
                "profiles": [
                    {
                        "name": one.profile.name,
                        "version": one.profile.version,
                        "title": one.profile.title,
                        "description": one.profile.description,
                        "params": [
                            {"name": p.name, "type": str(p.type), "default": p.default, "secret": p.secret}
                            for p in one.profile.params
                        ],
                    }
                    for one in rows
                    if not one.shadowed
                ]
            }

    config = uvicorn.Config(app, log_level="warning", lifespan="off")
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(descriptor))])


if __name__ == "__main__":
    main()
