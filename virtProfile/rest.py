# SPDX-License-Identifier: GPL-2.0-or-later
"""The service's routes: how much of which request goes to a worker, and how its answer goes back.

Who may ask is `servicedoor`'s, the work `servicework`'s, in the processes of `servicepool`.
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from . import servicepage
from .serviceapi import document
from .servicecallers import TOKEN, Callers
from .servicedoor import Door, as_problem
from .servicemetrics import MEDIA_TYPE, Metrics
from .servicepool import Answer, Pool
from .servicework import ANSWERS, problem
from .serviceworker import Limits, Settings
from .version import VERSION

MAX_BODY = 2 << 20
#: For one request, of wall clock and of processor.
SECONDS = Limits().seconds
#: Seconds in which a body has to be there, a line of a stream likewise.
READ = 20.0
#: Media types of a stream of requests, one a line.
LINES = ("application/jsonl", "application/x-ndjson", "application/json-lines")
PROBLEM = "application/problem+json"


class _Refused(Exception):
    """A request that no worker sees."""

    def __init__(self, status: int, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.error = problem(code, message, hint)


def application(
    directories: Sequence[str],
    token: str | None,
    seconds: float = SECONDS,
    *,
    callers: Callers | None = None,
    settings: Settings | None = None,
    workers: int = 2,
    queue: int = 128,
) -> FastAPI:
    """The application.

    :param directories: of profiles
    :param token: what every caller must show; None only behind a socket's file modes
    :param callers: instead of `token`, who may call and do what
    :param settings: instead of `directories` and `seconds`, all that workers go by
    :param queue: requests that may wait for one of the `workers`
    """
    if callers is None:
        callers = Callers(open=True) if token is None else Callers(tokens=((TOKEN, token),))
    if settings is None:
        limits = Limits(seconds=seconds)
        settings = Settings(tuple(directories), rules=callers.rules, limits=limits)
    pool = Pool(settings, workers, queue)
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        pool.start()
        gc.freeze()  # what is there now stays: no search for cycles has to pass it
        yield
        await pool.close()

    app = FastAPI(title="virt-profile", version=VERSION, docs_url=None, redoc_url=None, lifespan=lifespan)
    #: Paths for everybody: files that are the same for all, added by who serves them.
    app.state.public = set()
    app.state.pool = pool
    app.add_middleware(Door, callers=callers, metrics=metrics, public=app.state.public)
    app.openapi = lambda: document(VERSION)  # type: ignore[method-assign]
    _errors(app)
    _plain_routes(app, pool, metrics)
    for name in ANSWERS:
        _route(app, pool, name)
    _profile_routes(app, pool)
    servicepage.mount(app)
    return app


def _errors(app: FastAPI) -> None:
    @app.exception_handler(_Refused)
    async def _refused(_: Request, wrong: _Refused) -> Response:
        return _answer(Answer(wrong.status, json.dumps(wrong.error).encode()))

    @app.exception_handler(HTTPException)
    async def _http(_: Request, wrong: HTTPException) -> Response:
        error = problem("not-found" if wrong.status_code == 404 else "usage", str(wrong.detail))
        body = as_problem(wrong.status_code, json.dumps(error).encode())
        return Response(body, wrong.status_code, wrong.headers, PROBLEM)


def _answer(found: Answer) -> Response:
    if found.status in (200, 201):
        return Response(found.body, found.status, media_type="application/json")
    headers = {"retry-after": str(found.retry)} if found.retry else {}
    if found.status in (408, 413):
        headers["connection"] = "close"  # what the caller still sends is not read
    return Response(as_problem(found.status, found.body), found.status, headers, PROBLEM)


def _plain_routes(app: FastAPI, pool: Pool, metrics: Metrics) -> None:
    @app.get("/healthz")
    async def _healthz() -> Response:
        return JSONResponse({"status": "ok", "version": VERSION})

    @app.get("/metrics")
    async def _metrics() -> Response:
        return Response(metrics.text(pool), media_type=MEDIA_TYPE)


def _route(app: FastAPI, pool: Pool, name: str) -> None:
    @app.post(f"/v1/{name}", name=name)
    async def _asked(request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if name == "apply" and kind in LINES:
            return _Lines(_streamed(pool, request), media_type=LINES[0])
        data = await _body(request)
        return _answer(await pool.ask(name, request.state.caller, data))


def _profile_routes(app: FastAPI, pool: Pool) -> None:
    async def ask(request: Request, what: str, **words: str) -> Response:
        return _answer(await pool.ask(what, request.state.caller, json.dumps(words).encode()))

    @app.get("/v1/profiles")
    async def _profiles(request: Request) -> Response:
        return await ask(request, "profiles")

    @app.get("/v1/profiles/{name}")
    async def _profile(request: Request, name: str) -> Response:
        return await ask(request, "profile", name=name)

    @app.get("/v1/profiles/{name}/{version}")
    async def _version(request: Request, name: str, version: str) -> Response:
        return await ask(request, "profile", name=name, version=version)

    @app.put("/v1/profiles/{name}")
    async def _put(request: Request, name: str) -> Response:
        try:
            text = (await _body(request)).decode()
        except UnicodeDecodeError:
            raise _Refused(400, "usage", "the profile is no UTF-8") from None
        return await ask(request, "profile-put", name=name, profile=text)

    @app.delete("/v1/profiles/{name}")
    async def _delete(request: Request, name: str) -> Response:
        return await ask(request, "profile-delete", name=name)

    @app.delete("/v1/profiles/{name}/{version}")
    async def _delete_version(request: Request, name: str, version: str) -> Response:
        return await ask(request, "profile-delete", name=name, version=version)


# --- bodies ------------------------------------------------------------------------------------


async def _body(request: Request) -> bytes:
    """The whole body, whatever its length claims.

    :raises _Refused: it is over `MAX_BODY`, or not there in `READ` seconds
    """
    claimed = request.headers.get("content-length", "")
    if claimed.isdigit() and int(claimed) > MAX_BODY:
        raise _too_long()
    data = bytearray()
    try:
        async with asyncio.timeout(READ):
            async for part in request.stream():
                data += part
                if len(data) > MAX_BODY:
                    raise _too_long()
    except TimeoutError:
        raise _Refused(408, "policy", f"the body was not there in {READ:g} seconds") from None
    return bytes(data)


def _too_long() -> _Refused:
    return _Refused(413, "policy", "the body is over 2 MiB", "several requests, or a stream of lines")


class _Lines(StreamingResponse):
    """Sent while the request still comes: a wait for its end would take parts of the body."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.stream_response(send)


async def _lines(request: Request) -> AsyncIterator[bytes]:
    """The lines of a body that has no end yet; None in the place of one that is too long or late."""
    rest = bytearray()
    parts = request.stream().__aiter__()
    while True:
        try:
            part = await asyncio.wait_for(anext(parts), READ)
        except StopAsyncIteration:
            break
        rest += part
        *whole, last = rest.split(b"\n")
        for line in whole:
            if line.strip():
                yield bytes(line)
        rest = bytearray(last)
        if len(rest) > MAX_BODY:
            raise _too_long()
    if rest.strip():
        yield bytes(rest)


async def _streamed(pool: Pool, request: Request) -> AsyncIterator[bytes]:
    """An answer a line, in the order of the requests; as many at once as there are workers."""
    caller = request.state.caller
    running: deque[asyncio.Task[Answer]] = deque()
    end: bytes | None = None
    try:
        try:
            async for line in _lines(request):
                running.append(asyncio.create_task(pool.ask("apply", caller, line)))
                while len(running) > pool.count:
                    yield _as_line(await running.popleft())
        except _Refused as wrong:
            end = json.dumps({"error": wrong.error}).encode() + b"\n"
        except ClientDisconnect:
            return
        except TimeoutError:
            late = problem("policy", f"the next line was not there in {READ:g} seconds")
            end = json.dumps({"error": late}).encode() + b"\n"
        while running:
            yield _as_line(await running.popleft())
        if end is not None:
            yield end
    finally:
        for one in running:
            one.cancel()


def _as_line(found: Answer) -> bytes:
    return (found.body if found.status == 200 else b'{"error":' + found.body + b"}") + b"\n"
