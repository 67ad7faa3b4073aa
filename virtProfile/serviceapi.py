# SPDX-License-Identifier: GPL-2.0-or-later
"""The service as OpenAPI tells it: what each route takes and gives, as JSON schemas."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_NUMBER: Schema = {"type": "integer"}
_MAYBE: Schema = {"type": ["string", "null"]}
_XML: Schema = {"type": "string", "description": "domain XML"}
_TEXTS: Schema = {"type": "array", "items": TEXT}


def _object(needed: dict[str, Schema], more: dict[str, Schema] | None = None, open: bool = False) -> Schema:
    """An object with words that must be there, and words that may be."""
    found: Schema = {"type": "object", "properties": {**needed, **(more or {})}}
    if needed:
        found["required"] = list(needed)
    if not open:
        found["additionalProperties"] = False
    return found


def _list(of: Schema | str) -> Schema:
    return {"type": "array", "items": _of(of) if isinstance(of, str) else of}


def _of(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_WISH = _object(
    {"name": TEXT},
    {
        "priority": {"type": ["integer", "null"], "minimum": -1000, "maximum": 1000},
        "version": _MAYBE,
        "params": {"type": "object", "additionalProperties": {"type": ["string", "integer", "boolean"]}},
        "include": _FLAG,
    },
)
_VM: dict[str, Schema] = {"context": _of("Context"), "name": {**TEXT, "description": "stands in messages"}}
_DETAILS: Schema = {**_FLAG, "description": "answer also with what virtProfile.client shows"}
_LIFE: dict[str, Schema] = {**_VM, "details": _DETAILS}
_APPLY: dict[str, Schema] = {
    "profiles": _list({"anyOf": [TEXT, _of("Wish")]}),
    **_LIFE,
    "auto": _FLAG,
    "override": _FLAG,
    "complete": _FLAG,
    "record": _FLAG,
    "inline": {**_TEXTS, "description": "profile documents; only where the policy allows them"},
}
_HOST = _object({"name": TEXT}, {"capabilities": _TEXTS, "domcapabilities": _TEXTS})
_ORIGIN = _object({"profile": TEXT, "version": TEXT, "action": TEXT, "file": TEXT, "line": _NUMBER})
_PROBLEM_IN_FILE = _object(
    {"level": TEXT, "message": TEXT, "hint": TEXT, "file": TEXT, "line": _NUMBER, "column": _NUMBER}
)
_PARAM = _object({"name": TEXT, "type": TEXT, "default": _MAYBE, "secret": _FLAG}, {"required": _FLAG})

SCHEMAS: dict[str, Schema] = {
    "Context": _object(
        {},
        {
            "capabilities": _TEXTS,
            "domcapabilities": _TEXTS,
            "sources": _TEXTS,
            "osinfo": TEXT,
            "qemu_version": _NUMBER,
        },
    ),
    "Wish": _WISH,
    "ApplyRequest": _object({"xml": _XML}, _APPLY),
    "Origin": _ORIGIN,
    "Applied": _object({"name": TEXT, "version": TEXT, "priority": _NUMBER, "source": TEXT, "digest": TEXT}),
    "Skipped": _object({"name": TEXT, "version": _MAYBE, "reason": TEXT, "detail": TEXT}),
    "Change": _object(
        {
            "op": {"enum": ["add", "set", "remove"]},
            "path": TEXT,
            "before": _MAYBE,
            "after": _MAYBE,
            "origin": _of("Origin"),
            "origins": _list("Origin"),
        }
    ),
    "Overridden": _object(
        {
            "path": TEXT,
            "wanted": _MAYBE,
            "has": _MAYBE,
            "loser": _of("Origin"),
            "winner": {"anyOf": [_of("Origin"), TEXT]},
            "hint": TEXT,
        }
    ),
    "Warning": _object({"code": TEXT, "message": TEXT, "where": TEXT}),
    "Storage": _object(
        {
            "path": TEXT,
            "size": _NUMBER,
            "format": _MAYBE,
            "source": _MAYBE,
            "pool": _MAYBE,
            "volume": _MAYBE,
            "origins": _list("Origin"),
        }
    ),
    "Result": _object(
        {
            "xml": _XML,
            "changed": _FLAG,
            "applied": _list("Applied"),
            "skipped": _list("Skipped"),
            "changes": _list("Change"),
            "overridden": _list("Overridden"),
            "warnings": _list("Warning"),
        },
        {"details": {"type": "object"}, "storage": _list("Storage")},
    ),
    "Conflict": _object(
        {
            "path": TEXT,
            "values": _list(
                _object(
                    {
                        "value": _MAYBE,
                        "priority": _NUMBER,
                        "constraint": TEXT,
                        "origin": {"anyOf": [_of("Origin"), TEXT]},
                    }
                )
            ),
            "fixes": _TEXTS,
        }
    ),
    "Error": _object(
        {"code": TEXT, "message": TEXT, "hint": TEXT, "where": TEXT, "conflicts": _list("Conflict")},
        {"others": _list("Error")},
    ),
    "Problem": _object(
        {
            "type": TEXT,
            "title": TEXT,
            "status": _NUMBER,
            "code": TEXT,
            "message": TEXT,
            "hint": TEXT,
            "where": TEXT,
            "conflicts": _list("Conflict"),
        },
        {"others": _list("Error")},
    ),
    "Status": _object(
        {
            "profiles": _list(
                _object(
                    {
                        "name": TEXT,
                        "version": _MAYBE,
                        "priority": _NUMBER,
                        "state": {"enum": ["applied", "listed", "withdrawn", "excluded"]},
                        "source": TEXT,
                        "newest": _MAYBE,
                        "changed": _FLAG,
                        "outdated": _FLAG,
                        "missing": _FLAG,
                        "drift": _list(_object({"path": TEXT, "written": _MAYBE, "has": _MAYBE})),
                    }
                )
            ),
            "pending": _FLAG,
            "warnings": _list("Warning"),
        }
    ),
    "Profile": _object(
        {
            "name": TEXT,
            "version": TEXT,
            "versions": _TEXTS,
            "title": TEXT,
            "description": TEXT,
            "params": _list(_PARAM),
            "requires": _TEXTS,
            "conflicts": _TEXTS,
            "autoselect": _FLAG,
            "priority": _NUMBER,
            "replaced_by": _MAYBE,
        }
    ),
    "ProfileFacts": _object(
        {"name": TEXT, "version": TEXT, "digest": TEXT, "params": _list(_PARAM)}, open=True
    ),
}

_RESULT = _of("Result")
_PROGRAM: Schema = {
    **_TEXTS,
    "description": "options of the program, as a list of words: those that read no file of the host",
}
_ALL_ERRORS = ("401", "403", "408", "413", "422", "500", "503")

#: POST /v1/NAME: what it is for, what it takes, what it gives.
POSTS: dict[str, tuple[str, Schema, Schema]] = {
    "apply": (
        "Apply profiles to a VM, or to each of a list of VMs",
        {"anyOf": [_of("ApplyRequest"), _list("ApplyRequest")]},
        {"anyOf": [_RESULT, _list({"anyOf": [_RESULT, _object({"error": _of("Error")})]})]},
    ),
    "diff": (
        "The difference that applying makes, with origins",
        _of("ApplyRequest"),
        _object({"diff": TEXT, "changed": _FLAG}),
    ),
    "explain": (
        "Who wants each value, and why it won",
        _object({"xml": _XML}, {**_APPLY, "xpath": TEXT}),
        _object({"explain": TEXT, "changed": _FLAG}),
    ),
    "unapply": (
        "Take profiles back",
        _object({"xml": _XML}, {"profiles": {"anyOf": [TEXT, _TEXTS]}, "exclude": _FLAG, **_LIFE}),
        _RESULT,
    ),
    "upgrade": (
        "Bring profiles that a VM has to their newest versions",
        _object({"xml": _XML}, {"profiles": _TEXTS, **_LIFE}),
        _RESULT,
    ),
    "status": ("How profiles stand on a VM", _object({"xml": _XML}, _VM), _of("Status")),
    "lint": (
        "What is wrong or doubtful in a profile document",
        _object({"profile": TEXT}, {"file": TEXT}),
        _object({"ok": _FLAG, "problems": _list(_PROBLEM_IN_FILE)}),
    ),
    "device": (
        "What to attach for a device, in order; attaches nothing",
        _object({"xml": _XML, "device": TEXT}, {**_APPLY, "running": _FLAG, "file": TEXT}),
        _object({"devices": _TEXTS}),
    ),
    "topology/mirror": (
        "A VM laid over a host's CPUs and NUMA nodes",
        _object(
            {"xml": _XML, "capabilities": TEXT},
            {
                "nodes": {"type": ["string", "integer"]},
                "policy": TEXT,
                "reserve": {"type": ["string", "integer"]},
                "hugepages": {"type": ["string", "integer"]},
                "used": TEXT,
                "emulator": TEXT,
            },
        ),
        _object({"nodes": {"type": "array"}, "pins": {"type": "object"}}, open=True),
    ),
    "capabilities/merge": (
        "The largest domain capabilities that hosts share",
        _object({"hosts": _list(_HOST)}, {"min_hosts": _NUMBER, "require": _TEXTS, "budget": _NUMBER}),
        _object({"xml": TEXT, "hosts": _TEXTS, "proven": _FLAG}, open=True),
    ),
    "hosts": (
        "On which hosts a VM runs, and why not on the others",
        _object(
            {"xml": _XML, "hosts": _list(_HOST)},
            {key: _APPLY[key] for key in ("profiles", "context", "name", "auto", "override", "complete")},
        ),
        _object({"hosts": {"type": "array"}}),
    ),
    "install-xml": (
        "What virt-install --print-xml prints",
        _object({"arguments": _PROGRAM}),
        _object({"xml": TEXT, "messages": _TEXTS}),
    ),
    "edit-xml": (
        "What virt-xml --edit --print-xml prints",
        _object({"xml": _XML}, {"arguments": _PROGRAM}),
        _object({"xml": TEXT, "messages": _TEXTS}),
    ),
}
_NAME: Schema = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
_VERSION: Schema = {**_NAME, "name": "version"}
_DELETED = _object({"name": TEXT, "deleted": _TEXTS})


def document(version: str) -> Schema:
    """The OpenAPI document."""
    paths: Schema = {}
    for name, (summary, takes, gives) in POSTS.items():
        media: Schema = {"application/json": {"schema": takes}}
        operation = _operation(summary, gives)
        if name == "apply":
            operation["description"] = (
                "As application/jsonl a stream of requests, one a line, each of at most 2 MiB; the answer is"
                ' a stream of results or {"error": …}, in the same order, while the requests still come.'
            )
        operation["requestBody"] = {"required": True, "content": media}
        paths[f"/v1/{name}"] = {"post": operation}
    paths["/v1/profiles"] = {"get": _operation("The profiles", _object({"profiles": _list("Profile")}))}
    put = _operation(
        "Keep a profile, where the service has a directory for them",
        _object({"name": TEXT, "version": TEXT, "digest": TEXT, "created": _FLAG}),
        ("404", "409"),
    )
    put["requestBody"] = {"required": True, "content": {"application/xml": {"schema": TEXT}}}
    paths["/v1/profiles/{name}"] = {
        "parameters": [_NAME],
        "get": _operation("One profile, in its newest version", _of("ProfileFacts"), ("404",)),
        "put": put,
        "delete": _operation("Forget all versions of a profile kept here", _DELETED, ("404",)),
    }
    paths["/v1/profiles/{name}/{version}"] = {
        "parameters": [_NAME, _VERSION],
        "get": _operation("One version of a profile", _of("ProfileFacts"), ("404",)),
        "delete": _operation("Forget a version of a profile kept here", _DELETED, ("404",)),
    }
    health = _object({"status": TEXT, "version": TEXT})
    paths["/healthz"] = {"get": _operation("Is the service there?", health)}
    metrics = _operation("Counters for Prometheus", TEXT)
    metrics["responses"]["200"]["content"] = {"text/plain": {"schema": TEXT}}
    paths["/metrics"] = {"get": metrics}
    return {
        "openapi": "3.1.0",
        "info": {"title": "virt-profile", "version": version},
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


def _operation(summary: str, gives: Schema, errors: tuple[str, ...] = ()) -> Schema:
    wrong = {
        "description": "what is wrong",
        "content": {"application/problem+json": {"schema": _of("Problem")}},
    }
    good = {"description": summary, "content": {"application/json": {"schema": gives}}}
    codes = ("400", *_ALL_ERRORS, *errors)
    return {"summary": summary, "responses": {"200": good, **dict.fromkeys(codes, wrong)}}
