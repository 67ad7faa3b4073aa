# SPDX-License-Identifier: GPL-2.0-or-later
"""The service as an OpenAPI document, made of the table of routes."""

from __future__ import annotations

from virtProfile.service import handlers, metrics  # noqa: F401 - their rows of the table
from virtProfile.service.route import JSON_MEDIA, ROUTES, Route
from virtProfile.wire.calls import ERROR, PROBLEM, TEXT
from virtProfile.wire.shapes import Either, List, Object, Schema, Shape, named_objects

#: Statuses of what is wrong that every route may answer with.
_ERRORS = (400, 401, 403, 408, 413, 422, 429, 500, 503)
_WORD_OF_PATH: Schema = {"in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def document(version: str) -> Schema:
    """The OpenAPI document."""
    paths: Schema = {}
    shapes: list[Shape] = [PROBLEM]
    for route in ROUTES.values():
        request, answer = _request(route), _answer(route)
        shapes += (request, answer)
        path = paths.setdefault(route.call.path, {})
        words = route.call.words_of_path()
        if words:
            path["parameters"] = [{"name": word, **_WORD_OF_PATH} for word in words]
        path[route.call.method.lower()] = _operation(route, request, answer)
    return {
        "openapi": "3.1.0",
        "info": {"title": "virt-profile", "version": version},
        "paths": paths,
        "components": {
            "schemas": {shape.name: shape.definition() for shape in named_objects(shapes)},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


def _request(route: Route) -> Shape:
    request = route.call.request
    return Either((request, List(request))) if route.many else request


def _answer(route: Route) -> Shape:
    answer = route.call.answer
    if not route.many:
        return answer
    return Either((answer, List(Either((answer, Object({"error": ERROR}))))))


def _operation(route: Route, request: Shape, answer: Shape) -> Schema:
    media = route.media.partition(";")[0]
    good = {"description": route.summary, "content": {media: {"schema": answer.schema()}}}
    wrong = {
        "description": "what is wrong",
        "content": {"application/problem+json": {"schema": PROBLEM.schema()}},
    }
    statuses = [str(status) for status in (*_ERRORS, *route.errors)]
    operation: Schema = {
        "summary": route.summary,
        "responses": {"200": good, **dict.fromkeys(statuses, wrong)},
    }
    if route.description:
        operation["description"] = route.description
    if route.body:
        content = {"application/xml": {"schema": TEXT.schema()}}
        operation["requestBody"] = {"required": True, "content": content}
    elif route.call.method == "POST":
        content = {JSON_MEDIA: {"schema": request.schema()}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation
