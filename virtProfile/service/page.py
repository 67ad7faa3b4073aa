# SPDX-License-Identifier: GPL-2.0-or-later
"""The page at ``/`` of the service: files that hold no secret, given to anyone who reaches the service.

What they ask of ``/v1/…`` is another matter and needs the token.
"""

from __future__ import annotations

import gzip
from hashlib import sha256
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import Response

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


def mount(app: FastAPI) -> None:
    """Adds the page's files to the application, and to the paths that need no token.

    :raises OSError: a file of the page is missing
    """
    for path, (name, kind) in FILES.items():
        _route(app, path, (PLACE / name).read_bytes(), kind)
        app.state.public.add(path)


def _route(app: FastAPI, path: str, plain: bytes, kind: str) -> None:
    packed = gzip.compress(plain, mtime=0)
    common = {
        "content-security-policy": POLICY,
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-cache",  # kept, and asked for by its tag each time
        "etag": f'W/"{sha256(plain).hexdigest()[:16]}"',  # weak: packed or plain
        "vary": "accept-encoding",
    }

    async def _file(request: Request) -> Response:
        if common["etag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=common)
        if "gzip" in request.headers.get("accept-encoding", ""):
            body, headers = packed, {**common, "content-encoding": "gzip"}
        else:
            body, headers = plain, common
        headers = {**headers, "content-type": kind, "content-length": str(len(body))}
        return Response(b"" if request.method == "HEAD" else body, headers=headers)

    app.add_route(path, _file, methods=["GET"], include_in_schema=False)
