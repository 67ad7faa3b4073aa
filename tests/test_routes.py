# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of routes: what comes of each row of it, and of a row that is added."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
from counting import calls  # noqa: E402
from fastapi.testclient import TestClient  # noqa: E402
from serving import serving  # noqa: E402

import virtProfile  # noqa: E402
from virtProfile.client import Client  # noqa: E402
from virtProfile.errors import PolicyError, ProfileError, UsageError  # noqa: E402
from virtProfile.host.fit import HostDocuments  # noqa: E402
from virtProfile.service import route  # noqa: E402
from virtProfile.service.handlers import answered  # noqa: E402
from virtProfile.service.middleware import ACCESS  # noqa: E402
from virtProfile.service.openapi import document  # noqa: E402
from virtProfile.service.pool import Answer, Pool  # noqa: E402
from virtProfile.service.route import ROUTES, Route  # noqa: E402
from virtProfile.service.routes import application  # noqa: E402
from virtProfile.wire.calls import CALLS, ERROR, NOTHING, TEXT, Call  # noqa: E402
from virtProfile.wire.shapes import Object, Shape  # noqa: E402

STORE = virtProfile.ProfileStore([])
WORKERS = sorted(name for name, row in ROUTES.items() if row.front is None)
#: Of some type, by the type that a shape does not take.
VALUES: tuple[object, ...] = ("text", True, 3, [], {})


def test_openapi(golden: Callable[[str, str], None]) -> None:
    golden("service/openapi.json", json.dumps(document("VERSION"), indent=1, sort_keys=True) + "\n")


@pytest.mark.parametrize("name", sorted(ROUTES))
def test_each_row_is_in_the_document(name: str) -> None:
    row = ROUTES[name]
    paths = document("VERSION")["paths"]
    operation = paths[row.call.path][row.call.method.lower()]
    assert operation["summary"] == row.summary
    words = {word["name"] for word in paths[row.call.path].get("parameters", ())}
    if row.call.method == "POST":
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        assert row.call.request.schema() in (schema, schema.get("anyOf", [None])[0])
    else:
        assert words | {row.body} - {""} == set(row.call.request.fields())
    assert {str(status) for status in row.errors} <= set(operation["responses"])


@pytest.mark.parametrize("name", WORKERS)
def test_each_row_is_checked(name: str) -> None:
    """Before its handler sees the request."""
    request = ROUTES[name].call.request

    def message(body: Any) -> str:
        status, answer = answered(name, json.dumps(body).encode(), STORE)
        found = json.loads(answer)
        assert (status, found["code"]) == (422, "usage")
        return str(found["message"])

    whole = {key: next(filter(shape.fits, VALUES)) for key, shape in request.required.items()}
    assert message(3) == "the request is not a JSON object"
    assert message({**whole, "bogus": 1}) == "unknown key 'bogus' in the request"
    for key in request.required:
        rest = {other: value for other, value in whole.items() if other != key}
        assert message(rest) == f"'{key}' is missing"
    for key, shape in request.fields().items():
        wrong = [value for value in VALUES if not shape.fits(value)]
        assert wrong
        for value in wrong:
            assert message({**whole, key: value}) == f"'{key}' is of the wrong type"


@pytest.mark.parametrize("name", sorted(name for name, row in ROUTES.items() if row.writes))
def test_rows_that_write(name: str) -> None:
    row = ROUTES[name]
    asking = TestClient(application([], None))
    answer = asking.request(row.call.method, row.call.path.format(name="rng", version="1"), content=b"")
    assert answer.status_code == 403 and "keeps no profiles" in answer.json()["message"]


def test_what_changes_something_is_for_who_may_write() -> None:
    assert {name for name, row in ROUTES.items() if row.writes} == {
        name for name, row in ROUTES.items() if row.call.method not in ("GET", "POST")
    }


# --- the client ------------------------------------------------------------------------------

HOST = HostDocuments("a", ("<capabilities/>",), ("<domainCapabilities/>",))
CONTEXT = virtProfile.Context(
    capabilities=("<capabilities/>",),
    domcapabilities=("<domainCapabilities/>",),
    osinfo="debian12",
    qemu_version=7002022,
    sources={"<capabilities/>": "a.xml"},
)
WISH = {"name": "rng", "priority": 100, "params": {"a": "1"}}
VM: dict[str, Any] = {"xml": "<domain/>", "profiles": ["cache", WISH], "context": CONTEXT, "name": "a\udcff"}
#: By name of the call: the method with every argument, and the body that it sends.
MESSAGES: dict[str, tuple[Callable[[Client], object], dict[str, Any]]] = {
    "apply": (
        lambda client: client.apply(**VM, auto=True, override=True, complete=True, record=False),
        {"auto": True, "override": True, "complete": True, "record": False, "details": True},
    ),
    "unapply": (
        lambda client: client.unapply(**{**VM, "profiles": ("rng",)}, exclude=True),
        {"profiles": ["rng"], "exclude": True, "details": True},
    ),
    "upgrade": (
        lambda client: client.upgrade(**{**VM, "profiles": iter(["rng"])}),
        {"profiles": ["rng"], "details": True},
    ),
    "status": (
        lambda client: client.status(VM["xml"], context=CONTEXT, name=VM["name"]),
        {"profiles": None},
    ),
    "lint": (
        lambda client: client.lint("<profile/>", "a\udcff"),
        {"profile": "<profile/>", "file": "a?"},
    ),
    "device": (
        lambda client: client.device(**VM, device="<rng/>", running=True, file="a\udcff"),
        {"device": "<rng/>", "running": True, "file": "a?", "auto": False, "override": False, "record": True},
    ),
    "topology/mirror": (
        lambda client: client.mirror("<domain/>", "<capabilities/>", nodes=2, policy="prefer"),
        {"xml": "<domain/>", "capabilities": "<capabilities/>", "nodes": 2, "policy": "prefer"},
    ),
    "capabilities/merge": (
        lambda client: client.merge([HOST], 1, require=("devices/tpm",)),
        {
            "hosts": [{"name": "a", "domcapabilities": ["<domainCapabilities/>"]}],
            "min_hosts": 1,
            "require": ["devices/tpm"],
        },
    ),
    "hosts": (
        lambda client: client.hosts(**VM, hosts=[HOST]),
        {
            "hosts": [
                {
                    "name": "a",
                    "capabilities": ["<capabilities/>"],
                    "domcapabilities": ["<domainCapabilities/>"],
                }
            ],
            **dict.fromkeys(("auto", "override", "complete"), False),
        },
    ),
    "profiles": (lambda client: client.profiles(), {}),
    "profile": (lambda client: client.profile("a/b"), {"name": "a%2Fb"}),
    "profile-version": (
        lambda client: client.profile("rng", "1.0"),
        {"name": "rng", "version": "1.0"},
    ),
}
ABOUT_A_VM = {
    "xml": "<domain/>",
    "profiles": ["cache", WISH],
    "name": "a?",
    "context": {
        "capabilities": ["<capabilities/>"],
        "domcapabilities": ["<domainCapabilities/>"],
        "sources": ["a.xml", ""],
        "osinfo": "debian12",
        "qemu_version": 7002022,
    },
}


class _Sent(Exception):
    pass


def sent(monkeypatch: pytest.MonkeyPatch, ask: Callable[[Client], object]) -> tuple[str, str, bytes | None]:
    """Method, path and body of a call."""

    def exchanged(self: Client, *message: Any) -> Any:
        raise _Sent(*message)

    monkeypatch.setattr(Client, "_exchanged", exchanged)
    with pytest.raises(_Sent) as caught:
        ask(Client("unix:///nowhere"))
    method, path, body = caught.value.args
    return method, path, body


@pytest.mark.parametrize("name", sorted(CALLS))
def test_each_call_of_the_client(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ask, words = MESSAGES[name]
    row = ROUTES[name]
    assert row.call is CALLS[name]
    method, path, body = sent(monkeypatch, ask)
    assert method == row.call.method
    if method == "GET":
        assert (path, body) == (row.call.path.format(**words), None)
        return
    assert path == row.call.path and body is not None
    document = json.loads(body)
    row.call.request.check(document)
    if "name" in row.call.request.fields():
        words = {**ABOUT_A_VM, **words}
    assert document == {key: value for key, value in words.items() if value is not None}


def test_other_routes_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    message = sent(monkeypatch, lambda client: client.call("edit-xml", xml="<domain/>", arguments=None))
    assert message == ("POST", "/v1/edit-xml", b'{"xml": "<domain/>"}')
    message = sent(monkeypatch, lambda client: client.call("profile", name="a b"))
    assert message == ("GET", "/v1/profiles/a%20b", None)
    message = sent(monkeypatch, lambda client: client.call("é\n", name="a"))
    assert message == ("POST", "/v1/%C3%A9%0A", b'{"name": "a"}')
    with pytest.raises(UsageError, match="'name' is missing"):
        sent(monkeypatch, lambda client: client.call("profile"))


# --- a row that is added -----------------------------------------------------------------------

ADDED = """
from virtProfile.service.route import Route
from virtProfile.wire.calls import TEXT, Call
from virtProfile.wire.shapes import List, Number, Object

REQUEST = Object({"text": TEXT}, {"times": Number(1, 9), "names": List(TEXT, most=2)})

@Route(Call("repeat", REQUEST, Object({"text": TEXT})), "A text, repeated")
def answer(body, store):
    return {"text": body["text"] * body.get("times", 1)}

@Route(Call("forget", REQUEST, Object({"text": TEXT})), "For who may write", writes=True)
def forget(body, store):
    return {"text": "forgotten"}
"""


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A service with two routes more, whose code is nothing but their rows and handlers."""
    with serving([], tmp_path_factory.mktemp("added"), code=ADDED) as url, Client(url) as client:
        yield client


def test_added_row_answers_the_client(extended: Client) -> None:
    assert extended.call("repeat", text="ab", times=2) == {"text": "abab"}


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ({}, "'text' is missing"),
        ({"text": 3}, "'text' is of the wrong type"),
        ({"text": "a", "time": 1}, "unknown key 'time' in the request"),
        ({"text": "a", "times": True}, "'times' is of the wrong type"),
        ({"text": "a", "times": 10}, "'times' is 10, not a number from 1 to 9"),
        ({"text": "a", "names": [1]}, "'names' is a list of texts"),
        ({"text": "a", "names": ("a", "b", "c")}, "'names' has 3 entries, the limit is 2"),
    ],
)
def test_added_row_is_checked(extended: Client, words: dict[str, Any], error: str) -> None:
    with pytest.raises(UsageError) as caught:
        extended.call("repeat", **words)
    assert caught.value.message == error


def test_added_row_has_its_right(extended: Client) -> None:
    with pytest.raises(PolicyError, match="keeps no profiles"):
        extended.call("forget", text="a")


def test_added_row_is_described(extended: Client) -> None:
    status, text = extended._exchanged("GET", "/openapi.json", None)
    operation = json.loads(text)["paths"]["/v1/repeat"]["post"]
    assert status == 200 and operation["summary"] == "A text, repeated"
    assert operation["requestBody"]["content"]["application/json"]["schema"] == {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "times": {"type": "integer", "minimum": 1, "maximum": 9},
            "names": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["text"],
        "additionalProperties": False,
    }
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer["required"] == ["text"]


def test_unknown_route(extended: Client) -> None:
    with pytest.raises(ProfileError) as caught:
        extended.call("nothing", text="a")
    assert caught.value.code == "not-found"


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (Call("apply", NOTHING, TEXT, at="/v1/other"), "a route 'apply'"),
        (Call("other", NOTHING, TEXT, method="GET", at="/healthz"), "GET /healthz already"),
        (Call("other", Object({"name": TEXT}), TEXT, at="/v1/other/{name}"), "words in its path"),
    ],
)
def test_rows_that_cannot_be(call: Call, error: str) -> None:
    before = dict(ROUTES)
    with pytest.raises(ValueError, match=re.escape(error)):
        route.add(Route(call, "", lambda body, store: None))
    assert before == ROUTES


# --- answers -----------------------------------------------------------------------------------

SAMPLE = Path(__file__).parent / "data" / "cli"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("apply", {"profiles": ["cache"], "details": True}),
        ("apply", {"profiles": ["nope"]}),
        ("apply", {"profiles": ["headless", "large"]}),
        ("diff", {"profiles": ["cache"]}),
        ("explain", {"profiles": ["cache"]}),
        ("unapply", {}),
        ("upgrade", {}),
        ("status", {}),
        ("device", {"device": "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"}),
        ("profiles", None),
        ("profile", {"name": "cache"}),
    ],
)
def test_answers_have_their_shape(name: str, words: dict[str, Any] | None) -> None:
    store = virtProfile.ProfileStore([SAMPLE / "profiles"])
    body = words or {}
    if "xml" in ROUTES[name].call.request.fields():
        body = {"xml": (SAMPLE / "applied.xml").read_text(), **body}
    status, text = answered(name, json.dumps(body).encode(), store)
    answer = json.loads(text)
    shape: Shape = ROUTES[name].call.answer
    if status != 200:
        assert status == 422
        shape = ERROR
    assert shape.fits(answer)
    shape.check(answer, "answer")


# --- what it costs ---------------------------------------------------------------------------


def test_a_request_costs_little_besides_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the process that talks HTTP, between uvicorn and the pool: 200 calls; FastAPI's own layers took 460."""

    async def answer(*_: object, **__: object) -> Answer:
        return Answer(200, b"{}")

    monkeypatch.setattr(Pool, "ask", answer)
    monkeypatch.setattr(Pool, "refusal", lambda *_: None)
    # What pytest does with a line of the log is no part of it, and differs with what ran before.
    monkeypatch.setattr(ACCESS, "handlers", [logging.NullHandler()])
    monkeypatch.setattr(ACCESS, "propagate", False)
    app = application([], None)

    async def request(path: str, method: str = "POST") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        headers = [(b"host", b"x"), (b"content-type", b"application/json"), (b"content-length", b"2")]
        scope = {"type": "http", "http_version": "1.1", "method": method, "path": path, "headers": headers,
                 "query_string": b"", "root_path": "", "scheme": "http", "state": {}}  # fmt: skip

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def send(message: Any) -> None:
            found.append(message)

        await app(scope, receive, send)
        return found

    async def several(count: int) -> None:
        for _ in range(count):
            assert (await request("/v1/apply"))[0]["status"] == 200

    asyncio.run(several(2))
    one, more = (calls(lambda: asyncio.run(several(count))) for count in (1, 11))  # noqa: B023
    assert (more - one) / 10 < 300
    assert asyncio.run(request("/v1/apply", "PUT"))[0]["status"] == 405
    assert asyncio.run(request("/v1/nothing"))[0]["status"] == 404
