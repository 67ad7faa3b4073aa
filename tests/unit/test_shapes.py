# SPDX-License-Identifier: GPL-2.0-or-later
"""`wire.shapes`: what a value may be, what is wrong with it, and the JSON of a Python value."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from virtProfile.errors import UsageError
from virtProfile.wire.calls import CONTEXT, HOST, WISH, WISHES
from virtProfile.wire.shapes import (
    Choice,
    Either,
    Flag,
    List,
    Loose,
    Map,
    Maybe,
    Number,
    Object,
    Reference,
    Shape,
    Text,
    named_objects,
)

TEXT, FLAG, NUMBER = Text(), Flag(), Number()


@pytest.mark.parametrize(
    ("shape", "fitting", "others"),
    [
        (TEXT, ["", "a"], [None, 1, True, [], {}]),
        (FLAG, [True, False], [None, 0, 1, "true"]),
        (NUMBER, [0, -3], [True, False, 1.0, "1", None]),
        (Choice(("a", "b")), ["a"], ["c", None, 1, []]),
        (Loose("array"), [[], [1]], [{}, "a", None]),
        (Loose("object"), [{}, {"a": 1}], [[], None]),
        (Maybe(TEXT), [None, "a"], [1, []]),
        (Either((TEXT, NUMBER)), ["a", 1], [True, None, []]),
        (List(TEXT), [[], ["a"], [1]], ["a", {}, None]),
        (Map(TEXT), [{}, {"a": 1}], [[], None]),
        (Reference("A"), [{}], [[], None]),
        (Object(), [{}, {"a": 1}], [[], None]),
    ],
)
def test_types(shape: Shape, fitting: list[Any], others: list[Any]) -> None:
    assert [value for value in fitting if not shape.fits(value)] == []
    assert [value for value in others if shape.fits(value)] == []


NESTED = Object(
    {"a": TEXT}, {"list": List(TEXT, least=1, most=2), "inner": Object({"b": NUMBER}), "many": List(HOST)}
)


@pytest.mark.parametrize(
    ("shape", "value", "message"),
    [
        (NESTED, {"a": "x", "list": ["y"], "inner": {"b": 1}, "many": [{"name": "n"}]}, None),
        (NESTED, {}, "'a' is missing"),
        (NESTED, {"a": 1}, "'a' is of the wrong type"),
        (NESTED, {"aa": 1}, "unknown key 'aa' in the request"),
        (NESTED, {"k" * 100: 1}, f"unknown key '{'k' * 80}' in the request"),
        (NESTED, {"a": "x", "list": [1]}, "'list' is a list of texts"),
        (NESTED, {"a": "x", "list": []}, "'list' has 0 entries, 1 to 2 are expected"),
        (NESTED, {"a": "x", "inner": {}}, "'b' is missing"),
        (NESTED, {"a": "x", "inner": {"b": True}}, "'b' is of the wrong type"),
        (NESTED, {"a": "x", "many": [3]}, "'many' is a list of objects"),
        (NESTED, {"a": "x", "many": [{"name": "n"}, {}]}, "'name' is missing"),
        (Object({"a": TEXT}, open=True), {"a": "x", "b": 1}, None),
        (Object({"a": List(TEXT, most=1)}), {"a": ["x", "y"]}, "'a' has 2 entries, the limit is 1"),
        (Object({"a": Number(1, 5)}), {"a": 0}, "'a' is 0, not a number from 1 to 5"),
        (Object({"a": Number(1, 5)}), {"a": 6}, "'a' is 6, not a number from 1 to 5"),
        (Object({"a": Maybe(Number(1, 5))}), {"a": None}, None),
        (Object({"a": Maybe(Number(1, 5))}), {"a": 6}, "'a' is 6, not a number from 1 to 5"),
        (
            Object({"a": Either((TEXT, List(TEXT, most=0)))}),
            {"a": ["x"]},
            "'a' has 1 entries, the limit is 0",
        ),
        (
            Object({"a": WISHES}),
            {"a": ["rng", {"bogus": 1}]},
            None,
        ),  # whoever uses the wish says what is wrong
        (Object({"a": WISHES}), {"a": [3]}, "'a' is a list of names and objects"),
    ],
)
def test_check(shape: Object, value: dict[str, Any], message: str | None) -> None:
    if message is None:
        shape.check(value)
        return
    with pytest.raises(UsageError) as caught:
        shape.check(value)
    assert caught.value.message == message


def test_hints() -> None:
    with pytest.raises(UsageError) as caught:
        NESTED.check({"lists": []})
    assert caught.value.hint == "did you mean 'list'?"
    with pytest.raises(UsageError) as caught:
        NESTED.check({"zzzzz": []})
    assert caught.value.hint == "known: a, inner, list, many"


@pytest.mark.parametrize(
    ("shape", "schema"),
    [
        (Text("what"), {"type": "string", "description": "what"}),
        (Number(1, 5), {"type": "integer", "minimum": 1, "maximum": 5}),
        (Number(1, 5, described=False), {"type": "integer"}),
        (Maybe(Number(least=0)), {"type": ["integer", "null"], "minimum": 0}),
        (Either((TEXT, NUMBER)), {"type": ["string", "integer"]}),
        (
            Either((TEXT, List(TEXT))),
            {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        ),
        (List(WISH, most=3), {"type": "array", "items": {"$ref": "#/components/schemas/Wish"}}),
        (Map(FLAG), {"type": "object", "additionalProperties": {"type": "boolean"}}),
        (Object(open=True), {"type": "object", "properties": {}}),
    ],
)
def test_schema(shape: Shape, schema: dict[str, Any]) -> None:
    assert shape.schema() == schema


def test_named_objects_once() -> None:
    inner = Object({"a": TEXT}, name="Inner")
    outer = Object({"a": List(inner), "b": Maybe(inner), "c": Reference("Outer")}, name="Outer")
    assert [shape.name for shape in named_objects([Either((outer, TEXT)), outer])] == ["Outer", "Inner"]


@pytest.mark.parametrize(
    ("shape", "value", "written"),
    [
        (CONTEXT, {"capabilities": ("a",), "osinfo": None}, {"capabilities": ["a"]}),
        (CONTEXT, {"sources": ["a\udcff"]}, {"sources": ["a?"]}),
        (HOST, SimpleNamespace(name="a", capabilities=("b",)), {"name": "a", "capabilities": ["b"]}),
        (WISHES, iter(["rng", {"name": "a", "priority": None}]), ["rng", {"name": "a", "priority": None}]),
        (WISHES, "rng", "rng"),  # not its letters: the service says what is wrong
        (WISHES, [3], [3]),
        (Either((TEXT, List(TEXT))), ("a", "b"), ["a", "b"]),
        (Either((TEXT, List(TEXT))), "all", "all"),
        (Object({"a": TEXT}), {"b": 1, "a": "x\udcff"}, {"b": 1, "a": "x\udcff"}),
    ],
)
def test_to_json(shape: Shape, value: Any, written: Any) -> None:
    assert shape.to_json(value) == written
