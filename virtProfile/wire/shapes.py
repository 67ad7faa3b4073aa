# SPDX-License-Identifier: GPL-2.0-or-later
"""Shapes of JSON values, as plain data.

Of a shape are made the check of a request, its JSON schema in the OpenAPI document, and
the JSON of what a caller in Python gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from virtProfile.errors import UsageError, nearest
from virtProfile.frozen import record

Schema = dict[str, Any]
_NO_FIELDS: Mapping[str, Shape] = {}


class Shape:
    """What a value in JSON may be."""

    __slots__ = ()

    #: What `json.loads` makes of it.
    types: ClassVar[tuple[type, ...]] = (object,)
    #: Several of them, in messages.
    plural: ClassVar[str] = "values"

    def fits(self, value: object) -> bool:
        """Is a JSON value of this type? A boolean is not a number."""
        return isinstance(value, self.types) and (not isinstance(value, bool) or bool in self.types)

    def check(self, value: Any, name: str) -> None:
        """Check the bounds and the inside of a value that fits.

        :param name: of the value in the request
        :raises UsageError: the first thing that is wrong
        """

    def schema(self) -> Schema:
        """The JSON schema where the shape is used: of a named object a reference."""
        raise NotImplementedError

    def takes(self, value: object) -> bool:
        """Can `to_json` write this Python value?"""
        return self.fits(value)

    def to_json(self, value: Any) -> Any:
        """A Python value as JSON; what the shape does not take stays as it is, for the service to refuse."""
        return value

    def parts(self) -> Iterable[Shape]:
        """The shapes directly inside."""
        return ()


def named_objects(shapes: Iterable[Shape]) -> Iterator[Object]:
    """The objects with a name in shapes, each of them once."""
    names: set[str] = set()
    waiting = list(shapes)
    while waiting:
        shape = waiting.pop(0)
        if isinstance(shape, Object) and shape.name:
            if shape.name in names:
                continue
            names.add(shape.name)
            yield shape
        waiting.extend(shape.parts())


def _described(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description} if description else schema


@record
class Text(Shape):
    """A string.

    :param is_file_name: a file's name, whose bytes may be no text at all
    """

    types = (str,)
    plural = "texts"

    description: str = ""
    is_file_name: bool = False

    def schema(self) -> Schema:
        return _described({"type": "string"}, self.description)

    def to_json(self, value: Any) -> Any:
        if self.is_file_name and isinstance(value, str):
            return value.encode("utf-8", "replace").decode("utf-8")
        return value


@record
class Flag(Shape):
    """True or false."""

    types = (bool,)

    description: str = ""

    def schema(self) -> Schema:
        return _described({"type": "boolean"}, self.description)


@record
class Number(Shape):
    """An integer.

    :param described: the bounds are part of the interface; else they are limits of the service,
        which may change, and stand in no schema
    """

    types = (int,)

    least: int | None = None
    most: int | None = None
    described: bool = True

    def check(self, value: Any, name: str) -> None:
        if self.least is not None and value < self.least or self.most is not None and value > self.most:
            raise UsageError(f"'{name}' is {value}, not a number from {self.least} to {self.most}")

    def schema(self) -> Schema:
        bounds = {"minimum": self.least, "maximum": self.most} if self.described else {}
        return {
            "type": "integer",
            **{word: bound for word, bound in bounds.items() if bound is not None},
        }


@record
class Choice(Shape):
    """One of some words."""

    types = (str,)

    words: tuple[str, ...]

    def fits(self, value: object) -> bool:
        return value in self.words

    def schema(self) -> Schema:
        return {"enum": list(self.words)}


@record
class Loose(Shape):
    """Whatever JSON has of a type: what is in it is described elsewhere.

    :param type: "array" or "object"
    """

    type: str

    def fits(self, value: object) -> bool:
        return isinstance(value, list if self.type == "array" else dict)

    def schema(self) -> Schema:
        return {"type": self.type}


@record
class Maybe(Shape):
    """A value, or null."""

    of: Shape

    def fits(self, value: object) -> bool:
        return value is None or self.of.fits(value)

    def check(self, value: Any, name: str) -> None:
        if value is not None:
            self.of.check(value, name)

    def schema(self) -> Schema:
        schema = self.of.schema()
        return {**schema, "type": [schema["type"], "null"]}

    def parts(self) -> Iterable[Shape]:
        return (self.of,)


@record
class Either(Shape):
    """A value of one of several shapes: the first that fits.

    :param several: such values, in messages
    """

    shapes: tuple[Shape, ...]
    several: str = "values"

    def fits(self, value: object) -> bool:
        return any(shape.fits(value) for shape in self.shapes)

    def check(self, value: Any, name: str) -> None:
        next(shape for shape in self.shapes if shape.fits(value)).check(value, name)

    def schema(self) -> Schema:
        schemas = [shape.schema() for shape in self.shapes]
        if all(schema.keys() == {"type"} for schema in schemas):
            return {"type": [schema["type"] for schema in schemas]}
        return {"anyOf": schemas}

    def takes(self, value: object) -> bool:
        return any(shape.takes(value) for shape in self.shapes)

    def to_json(self, value: Any) -> Any:
        taking = next((shape for shape in self.shapes if shape.takes(value)), None)
        return value if taking is None else taking.to_json(value)

    def parts(self) -> Iterable[Shape]:
        return self.shapes


@record
class List(Shape):
    """An array.

    :param least, most: entries that the service takes: limits which may change, so in no schema
    """

    types = (list,)
    plural = "lists"

    of: Shape
    least: int = 0
    most: int | None = None
    description: str = ""

    def check(self, value: Any, name: str) -> None:
        if not all(map(self.of.fits, value)):
            several = self.of.several if isinstance(self.of, Either) else self.of.plural
            raise UsageError(f"'{name}' is a list of {several}")
        count = len(value)
        if self.most is not None and not self.least <= count <= self.most:
            bounds = (
                f"{self.least} to {self.most} are expected" if self.least else f"the limit is {self.most}"
            )
            raise UsageError(f"'{name}' has {count} entries, {bounds}")
        for item in value:
            self.of.check(item, name)

    def schema(self) -> Schema:
        return _described({"type": "array", "items": self.of.schema()}, self.description)

    def takes(self, value: object) -> bool:
        return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)

    def to_json(self, value: Any) -> Any:
        return [self.of.to_json(item) for item in value] if self.takes(value) else value

    def parts(self) -> Iterable[Shape]:
        return (self.of,)


@record
class Map(Shape):
    """An object with any keys."""

    types = (dict,)
    plural = "objects"

    of: Shape
    description: str = ""

    def check(self, value: Any, name: str) -> None:
        for key, inside in value.items():
            if not self.of.fits(inside):
                raise UsageError(f"'{name}/{key}' is of the wrong type")
            self.of.check(inside, f"{name}/{key}")

    def schema(self) -> Schema:
        schema = {"type": "object", "additionalProperties": self.of.schema()}
        return _described(schema, self.description)

    def parts(self) -> Iterable[Shape]:
        return (self.of,)


@record
class Reference(Shape):
    """A named object inside itself."""

    types = (dict,)
    plural = "objects"

    name: str

    def schema(self) -> Schema:
        return {"$ref": f"#/components/schemas/{self.name}"}


@record
class Object(Shape):
    """An object with known keys.

    :param required: keys that must be there
    :param optional: keys that may be there
    :param name: in the components of the OpenAPI document; "" writes it out where it is used
    :param open: it may have other keys
    :param checked: False: what is in it is checked where it is used, with messages of its own
    """

    types = (dict,)
    plural = "objects"

    required: Mapping[str, Shape] = _NO_FIELDS
    optional: Mapping[str, Shape] = _NO_FIELDS
    name: str = ""
    open: bool = False
    checked: bool = True

    def field(self, key: str) -> Shape | None:
        return self.required.get(key) or self.optional.get(key)

    def fields(self) -> dict[str, Shape]:
        return {**self.required, **self.optional}

    def check(self, value: Any, name: str = "") -> None:
        """Check a request, or an object in it.

        :raises UsageError: an unknown key, a value of another type, a key that is missing;
            then what is wrong inside the values
        """
        if not self.checked:
            return
        for key, item in value.items():
            shape = self.field(key)
            if shape is None:
                if not self.open:
                    raise self._unknown(key[:80])
            elif not shape.fits(item):
                raise UsageError(f"'{key}' is of the wrong type")
        for key in self.required:
            if key not in value:
                raise UsageError(f"'{key}' is missing")
        for fields in (self.required, self.optional):
            for key, shape in fields.items():
                if key in value:
                    shape.check(value[key], key)

    def _unknown(self, key: str) -> UsageError:
        known = self.fields()
        hint = nearest(key, known) or f"known: {', '.join(sorted(known))}"
        return UsageError(f"unknown key '{key}' in the request", hint=hint)

    def schema(self) -> Schema:
        return Reference(self.name).schema() if self.name else self.definition()

    def definition(self) -> Schema:
        """The JSON schema, written out."""
        schema: Schema = {
            "type": "object",
            "properties": {key: shape.schema() for key, shape in self.fields().items()},
        }
        if self.required:
            schema["required"] = list(self.required)
        if not self.open:
            schema["additionalProperties"] = False
        return schema

    def to_json(self, value: Any) -> Any:
        """A mapping, or an object with attributes of the keys' names; None is what is not said."""
        if not isinstance(value, Mapping):
            value = {key: getattr(value, key, None) for key in self.fields()}
        if not self.checked:
            return dict(value)
        said = {key: item for key, item in value.items() if item is not None}
        return {
            key: item if (shape := self.field(key)) is None else shape.to_json(item)
            for key, item in said.items()
        }

    def takes(self, value: object) -> bool:
        return isinstance(value, Mapping)

    def parts(self) -> Iterable[Shape]:
        return self.fields().values()
