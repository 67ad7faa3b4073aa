# SPDX-License-Identifier: GPL-2.0-or-later
"""The service's routes: who may ask, how much, and which request it is; the work is `servicework`'s."""

from __future__ import annotations

import hmac
import json
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

from . import servicepage
from .servicework import ANSWERS, SECONDS, answered
from .version import VERSION

MAX_BODY = 2 << 20


def _problem(status: int, error: dict[str, Any]) -> JSONResponse:
    body = {"type": "about:blank", "title": error["message"], "status": status, **error}
    return JSONResponse(body, status, media_type="application/problem+json")


def application(directories: Sequence[str], token: str | None, seconds: int = SECONDS) -> FastAPI:
    """The application.

    :param token: what every caller must show; None only behind a socket's file modes
    """
    app = FastAPI(title="virt-profile", version=VERSION, docs_url=None, redoc_url=None)

    @app.middleware("http")
    async def _guard(request: Request, go_on: Any) -> Response:
        shown = request.headers.get("authorization", "").encode()
        if token is not None and not hmac.compare_digest(shown, f"Bearer {token}".encode()):
            return _problem(401, {"code": "policy", "message": "no valid token", "hint": ""})
        response: Response = await go_on(request)
        response.headers["content-security-policy"] = "default-src 'none'; frame-ancestors 'none'"
        response.headers["x-content-type-options"] = "nosniff"
        response.headers["cache-control"] = "no-store"
        return response

    @app.get("/healthz")
    async def _healthz() -> dict[str, str]:
        return {"status": "ok", "version": VERSION}

    def route(name: str) -> None:
        @app.post(f"/v1/{name}", name=name)
        async def _asked(request: Request) -> Response:
            data = bytearray()
            async for part in request.stream():
                data += part
                if len(data) > MAX_BODY:
                    return _problem(413, {"code": "policy", "message": "the body is over 2 MiB", "hint": ""})
            try:
                body = json.loads(data)
            except (ValueError, RecursionError):
                return _problem(400, {"code": "usage", "message": "the body is no JSON", "hint": ""})
            status, found = await run_in_threadpool(answered, name, body, directories, seconds)
            return JSONResponse(found) if status == 200 else _problem(status, found)

    for name in ANSWERS:
        route(name)
    servicepage.mount(app)
    return app
