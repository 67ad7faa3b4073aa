# SPDX-License-Identifier: GPL-2.0-or-later
"""The routes as HTTP serves them: how much of which request goes to a worker, and how its answer goes back.

Which there are is in the table of `route`. `middleware` says who may ask, `handlers` has the work, which is
done in the processes of `pool`.
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from virtProfile.service import page
from virtProfile.service.callers import TOKEN, Callers
from virtProfile.service.handlers import problem
from virtProfile.service.held import Held, Holding, TooMuchError
from virtProfile.service.metrics import Metrics
from virtProfile.service.middleware import Door, as_problem
from virtProfile.service.openapi import document
from virtProfile.service.pool import Answer, Pool
from virtProfile.service.route import JSON_MEDIA, ROUTES, Route
from virtProfile.service.worker import Limits, Settings
from virtProfile.version import VERSION

MAX_BODY = 2 << 20
#: For one request, of wall clock and of processor.
SECONDS = Limits().seconds
#: Seconds in which a body has to be there, a line of a stream likewise.
READ = 20.0
#: Bytes of an answer that are written at once.
_PART = 1 << 16
#: Media types of a stream of requests, one a line.
LINES = ("application/jsonl", "application/x-ndjson", "application/json-lines")
PROBLEM = "application/problem+json"


_Answers = Callable[[Request], Awaitable[Response]]


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
    metrics = Metrics(pool)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await pool.ready()
        gc.freeze()  # what is there now stays: no search for cycles has to pass it
        yield
        await pool.close()

    app = FastAPI(title="virt-profile", version=VERSION, docs_url=None, redoc_url=None, lifespan=lifespan)
    #: Paths for everybody: files that are the same for all, added by who serves them.
    app.state.public = set()
    app.state.pool = pool
    held = Held()
    answers = [(route, _answers(route, pool, metrics, held)) for route in ROUTES.values()]
    straight = {
        (route.call.method, route.call.path): _Straight(route.call.path, answer)
        for route, answer in answers
        if "{" not in route.call.path
    }
    app.add_middleware(Door, callers=callers, metrics=metrics, public=app.state.public, straight=straight)
    app.openapi = lambda: document(VERSION)  # type: ignore[method-assign]
    _errors(app)
    for route, answer in answers:
        app.add_api_route(
            route.call.path, answer, methods=[route.call.method], name=route.call.name, response_model=None
        )
    page.mount(app)
    return app


def _refused(wrong: _Refused) -> Response:
    return _answer(Answer(wrong.status, json.dumps(wrong.error).encode()))


class _Straight:
    """A route whose path has no words in it, as an application: found by its path, without the layers that
    FastAPI has for what no route here uses.

    :ivar path: for the metrics
    """

    def __init__(self, path: str, answer: _Answers) -> None:
        self.path = path
        self._answer = answer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope["route"] = self
        try:
            response = await self._answer(Request(scope, receive))
        except _Refused as wrong:
            response = _refused(wrong)
        await response(scope, receive, send)


def _errors(app: FastAPI) -> None:
    @app.exception_handler(_Refused)
    async def _no(_: Request, wrong: _Refused) -> Response:
        return _refused(wrong)

    @app.exception_handler(HTTPException)
    async def _http(_: Request, wrong: HTTPException) -> Response:
        error = problem("not-found" if wrong.status_code == 404 else "usage", str(wrong.detail))
        body = as_problem(wrong.status_code, json.dumps(error).encode())
        return Response(body, wrong.status_code, wrong.headers, PROBLEM)


def _answer(found: Answer) -> Response:
    if found.status in (200, 201):
        return Response(found.body, found.status, media_type=JSON_MEDIA)
    headers = {"retry-after": str(found.retry)} if found.retry else {}
    if found.status in (408, 413, 429):
        headers["connection"] = "close"  # what the caller still sends is not read
    return Response(as_problem(found.status, found.body), found.status, headers, PROBLEM)


def _answers(route: Route, pool: Pool, metrics: Metrics, held: Held) -> _Answers:
    async def answer(request: Request) -> Response:
        if route.front is not None:
            return Response(route.front(metrics), media_type=route.media)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if route.many and kind in LINES:
            return _Lines(_streamed(pool, held, route, request), media_type=LINES[0])
        refused = pool.refusal(request.state.share)  # before the body is read
        if refused is not None:
            return _answer(refused)
        holding = held.of(request.state.share)
        try:
            words = await _words(route, request, holding)
            state = request.state
            found = await pool.ask(route.call.name, state.caller, words, share=state.share, quick=route.quick)
            holding.more(len(found.body))
            return _Whole(_answer(found), holding)
        except TooMuchError:
            holding.close()
            raise _no_room() from None
        except BaseException:
            holding.close()
            raise

    return answer


class _Whole(Response):
    """An answer in parts, so that a caller who does not read it holds no second copy.

    :param holding: closed when the answer was sent, or nobody is there any more
    """

    def __init__(self, answer: Response, holding: Holding) -> None:
        super().__init__(b"", answer.status_code)
        self.body, self.raw_headers = answer.body, answer.raw_headers
        self._holding = holding

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        with self._holding:
            await send(
                {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            )
            body = memoryview(self.body)
            for begin in range(0, max(len(body), 1), _PART):
                more = begin + _PART < len(body)
                part = bytes(body[begin : begin + _PART])
                await send({"type": "http.response.body", "body": part, "more_body": more})


async def _words(route: Route, request: Request, holding: Holding) -> bytes:
    """The words of a request in JSON, whether they stand in its path or in its body.

    :raises _Refused: as `_body`; a text is not UTF-8
    """
    if route.call.method == "POST":
        return await _body(request, holding)
    words = dict(request.path_params)
    if route.body:
        try:
            words[route.body] = (await _body(request, holding)).decode()
        except UnicodeDecodeError:
            raise _Refused(400, "usage", f"the {route.body} is not UTF-8") from None
    return json.dumps(words).encode()


# --- bodies ------------------------------------------------------------------------------------


async def _body(request: Request, holding: Holding) -> bytes:
    """The whole body, whatever its length claims.

    :raises TooMuchError: there is no room for it
    :raises _Refused: it is over `MAX_BODY`, or not there in `READ` seconds
    """
    claimed = request.headers.get("content-length", "")
    if claimed.isascii() and claimed.isdigit() and (len(claimed) > 20 or int(claimed) > MAX_BODY):
        raise _too_long()
    data = bytearray()
    try:
        async with asyncio.timeout(READ):
            async for part in request.stream():
                data += part
                holding.more(len(part))
                if len(data) > MAX_BODY:
                    raise _too_long()
    except TimeoutError:
        raise _Refused(408, "policy", f"the body did not arrive within {READ:g} seconds") from None
    return bytes(data)


def _no_room() -> _Refused:
    return _Refused(503, "failed", "requests and answers at hand take too much memory", "try again later")


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


async def _streamed(pool: Pool, held: Held, route: Route, request: Request) -> AsyncIterator[bytes]:
    """An answer a line, in the order of the requests; as many at once as there are workers."""
    caller, share = request.state.caller, request.state.share
    running: deque[asyncio.Task[tuple[Answer, Holding]]] = deque()
    end: bytes | None = None

    async def ask(line: bytes) -> tuple[Answer, Holding]:
        holding = held.of(share)
        try:
            holding.more(len(line))
            answer = await pool.ask(route.call.name, caller, line, share=share, quick=route.quick)
            holding.more(len(answer.body))
        except TooMuchError:
            holding.close()
            return Answer(503, json.dumps(_no_room().error).encode()), holding
        except BaseException:
            holding.close()
            raise
        return answer, holding

    try:
        try:
            async for line in _lines(request):
                running.append(asyncio.create_task(ask(line)))
                while len(running) > pool.count:
                    answer, holding = await running.popleft()
                    with holding:
                        yield _as_line(answer)
        except _Refused as wrong:
            end = json.dumps({"error": wrong.error}).encode() + b"\n"
        except ClientDisconnect:
            return
        except TimeoutError:
            late = problem("policy", f"the next line did not arrive within {READ:g} seconds")
            end = json.dumps({"error": late}).encode() + b"\n"
        while running:
            answer, holding = await running.popleft()
            with holding:
                yield _as_line(answer)
        if end is not None:
            yield end
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_close)


def _close(task: asyncio.Task[tuple[Answer, Holding]]) -> None:
    """Nobody takes the answer any more."""
    if not task.cancelled() and not task.exception():
        task.result()[1].close()


def _as_line(found: Answer) -> bytes:
    return (found.body if found.status == 200 else b'{"error":' + found.body + b"}") + b"\n"
