# SPDX-License-Identifier: GPL-2.0-or-later
"""The page at ``/`` of the service: files that hold no secret, given to anyone who reaches the service.

What they ask of ``/v1/…`` is another matter and needs the token.
"""

from __future__ import annotations

import gzip
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

PLACE = Path(__file__).parent / "data" / "page"
#: Path on the service -> file and its type; nothing else is looked up.
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/licenses.txt": ("licenses.txt", "text/plain; charset=utf-8"),
}
#: Own files only; nobody frames it, no form goes anywhere, no markup is made of text,
#: save documents that are only read (page/src/lines.js).
POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; "
    "require-trusted-types-for 'script'; trusted-types documents"
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _File:
    kind: bytes
    tag: bytes
    plain: bytes
    packed: bytes


def _files(place: Path) -> dict[str, _File]:
    found = {}
    for path, (name, kind) in FILES.items():
        data = (place / name).read_bytes()
        tag = f'W/"{sha256(data).hexdigest()[:16]}"'  # weak: packed or plain
        found[path] = _File(kind.encode(), tag.encode(), data, gzip.compress(data, mtime=0))
    return found


class PageFiles:
    """ASGI: the page's own paths are answered here, before any token is asked for."""

    def __init__(self, app: Application, files: Mapping[str, _File]) -> None:
        self.app = app
        self.files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        file = self.files.get(scope["path"]) if scope["type"] == "http" else None
        if file is None or scope["method"] not in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        asked: dict[bytes, bytes] = dict(scope["headers"])
        packed = b"gzip" in asked.get(b"accept-encoding", b"")
        body = file.packed if packed else file.plain
        headers = [
            (b"content-security-policy", POLICY.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"cache-control", b"no-cache"),  # kept, and asked for by its tag each time
            (b"etag", file.tag),
            (b"vary", b"accept-encoding"),
        ]
        if file.tag in asked.get(b"if-none-match", b""):
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        headers += [(b"content-type", file.kind), (b"content-length", str(len(body)).encode())]
        if packed:
            headers.append((b"content-encoding", b"gzip"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        shown = b"" if scope["method"] == "HEAD" else body
        await send({"type": "http.response.body", "body": shown})


def mount(app: Any) -> None:
    """Puts the page in front of the application; call it when all else of it stands.

    :raises OSError: a file of the page is missing
    """
    app.add_middleware(PageFiles, files=_files(PLACE))
