# SPDX-License-Identifier: GPL-2.0-or-later
"""The service's door: every request is let in here or not, counted, and logged without what it says."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from traceback import extract_tb
from typing import Any

from virtProfile.service.callers import Callers
from virtProfile.service.handlers import problem
from virtProfile.service.metrics import Metrics

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

#: Where a line in JSON goes for each request.
ACCESS = logging.getLogger("virtProfile.access")
#: What every answer says, unless its route says otherwise.
_HEADERS = {
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"cache-control": b"no-store",
    b"referrer-policy": b"no-referrer",
}
_NOBODY = (401, problem("policy", "no valid token", "Authorization: Bearer TOKEN"))
_TWO_LENGTHS = (400, problem("usage", "the request has both a content-length and a transfer-encoding"))
_UNKNOWN = (403, problem("policy", "the service's policy knows no such caller", "the policy file: [default]"))


class Door:
    """An ASGI application around another one.

    :param public: paths that GET and HEAD may ask for without a token: they hold nothing of anybody
    :param straight: applications of their own, by method and path
    """

    def __init__(
        self,
        app: Any,
        callers: Callers,
        metrics: Metrics,
        public: Collection[str],
        straight: Mapping[tuple[str, str], Any],
    ) -> None:
        self._app = app
        self._straight = straight
        self._callers = callers
        self._metrics = metrics
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        began = time.perf_counter()
        status = 0
        size = 0

        async def sent(message: Mapping[str, Any]) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", ()))
                has = {name for name, _ in headers}
                headers += [pair for pair in _HEADERS.items() if pair[0] not in has]
                message = {**message, "headers": headers}
            else:
                size += len(message.get("body", b""))
            await send(message)

        caller = self._caller(scope)
        refused = _NOBODY if caller is None else None if self._callers.known(caller) else _UNKNOWN
        state = scope.setdefault("state", {})
        state["share"] = f"{caller or ''} {state.get('user', '')}"
        if "connection" in state:
            state["connection"].belongs_to(None if refused else state["share"])
        names = {name for name, _ in scope["headers"]}
        if b"content-length" in names and b"transfer-encoding" in names:
            # who stands between may have read another end: nothing more is believed on this connection
            await _refuse(sent, *_TWO_LENGTHS)
        elif refused and not (scope["path"] in self._public and scope["method"] in ("GET", "HEAD")):
            await _refuse(sent, *refused)
        else:
            state["caller"] = caller or ""
            try:
                app = self._straight.get((scope["method"], scope["path"]), self._app)
                await app(scope, receive, sent)
            except Exception as wrong:  # its text may quote a document
                frame = extract_tb(wrong.__traceback__)[-1]
                place = type(wrong).__name__, frame.filename, frame.lineno
                logging.getLogger("virtProfile").error("internal error: %s at %s:%s", *place)
                if not status:
                    await _refuse(sent, 500, problem("failed", f"internal error: {type(wrong).__name__}"))
        seconds = time.perf_counter() - began
        route = getattr(scope.get("route"), "path", "") or "other"
        self._metrics.count(route, status, seconds)
        if ACCESS.isEnabledFor(logging.INFO):
            ACCESS.info(_line(scope, route, caller, status, size, seconds))

    def _caller(self, scope: Scope) -> str | None:
        shown = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        return self._callers.caller(shown, scope.get("state", {}).get("peer"))


def _line(scope: Scope, route: str, caller: str | None, status: int, size: int, seconds: float) -> str:
    found = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "caller": caller,
        "method": scope["method"][:16],
        "route": route,
        "status": status,
        "bytes": size,
        "ms": round(seconds * 1000, 1),
    }
    return json.dumps(found)


async def _refuse(send: Send, status: int, error: dict[str, Any]) -> None:
    body = as_problem(status, json.dumps(error).encode())
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="virt-profile"'))
    headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def as_problem(status: int, error: bytes) -> bytes:
    """An error document as RFC 9457 wants it.

    :param error: a JSON object with `message`
    """
    found = json.loads(error)
    return json.dumps({"type": "about:blank", "title": found["message"], "status": status, **found}).encode()
