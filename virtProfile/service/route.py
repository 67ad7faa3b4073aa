# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of routes: each row is written as the decorator of its handler.

The check of a request, the OpenAPI document, what HTTP is served and who may ask all come
from the rows; `handlers` and what it imports fill the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from virtProfile.frozen import record, replace
from virtProfile.language.store import ProfileStore
from virtProfile.wire.calls import Call

#: The words of a request, checked.
Body = Mapping[str, Any]
#: An object of the answer.
Json = dict[str, Any]
Handler = Callable[[Body, ProfileStore], object]
JSON_MEDIA = "application/json"


class Counters(Protocol):
    """What the process that talks HTTP has counted."""

    def text(self) -> str: ...


@record
class Route:
    """One route: ``@Route(call, summary)`` before its handler.

    :param call: name, method, path, request and answer
    :param summary: one line for the OpenAPI document
    :param handler: makes the answer, in a worker process
    :param front: makes the answer's text instead, in the process that talks HTTP
    :param description: more for the OpenAPI document
    :param errors: HTTP statuses besides those that every route may answer with; with 404 a
        profile that is not there is that
    :param many: also takes a list of requests, and as lines a stream of them
    :param body: the word of the request that is the body, a profile's text; "" for JSON
    :param media: media type of the answer
    :param writes: changes what the service keeps, for who may write
    :param slow: runs a program, so it does not get the last free worker
    :param has_profiles: a request brings profiles, which a worker must not keep
    """

    call: Call
    summary: str
    handler: Handler | None = None
    front: Callable[[Counters], str] | None = None
    description: str = ""
    errors: tuple[int, ...] = ()
    many: bool = False
    body: str = ""
    media: str = JSON_MEDIA
    writes: bool = False
    has_profiles: bool = False
    slow: bool = False

    @property
    def quick(self) -> bool:
        """May it have the last free worker, where it may be ended, and run once more on another?"""
        return not (self.slow or self.writes)

    def __call__(self, handler: Handler) -> Handler:
        """Add the row to the table, as the decorator of its handler."""
        add(replace(self, handler=handler))
        return handler


#: By name of the call.
ROUTES: dict[str, Route] = {}


def add(row: Route) -> None:
    """Add a row.

    :raises ValueError: there is one of that name, or of that method and path; or a JSON body
        and words in the path
    """
    call = row.call
    for other in ROUTES.values():
        if other.call.name == call.name or (other.call.method, other.call.path) == (call.method, call.path):
            raise ValueError(f"there is a route '{call.name}' or {call.method} {call.path} already")
    if call.method == "POST" and call.words_of_path():
        raise ValueError(f"'{call.name}' has a JSON body and words in its path")
    ROUTES[call.name] = row
