# SPDX-License-Identifier: GPL-2.0-or-later
"""Elements that are not in the tree any more, by themselves and by where they stood."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from virtProfile.engine.tree.ownership import Writer
    from virtProfile.format.element import Element

Value = TypeVar("Value")
_MISSING: Any = object()


class Grave:
    """An element of the input that an earlier run had made, and that is taken back.

    `written` is what that run wrote into it (None where all of it was taken back
    value by value), `parts` are the elements of it that were written, `writers` own
    its absence.
    """

    __slots__ = ("parent", "writers", "written", "parts", "hidden", "inside")

    def __init__(
        self,
        parent: Element,
        writers: list[Writer],
        written: Any,
        parts: Sequence[Element] = (),
        hidden: Sequence[str] = (),
    ) -> None:
        self.parent = parent
        self.writers = writers
        self.written = written
        self.parts = parts
        #: slots of it whose written value nobody kept
        self.hidden = hidden
        #: of a part of something that stands again: what was written, and still stands in it
        self.inside: Any = None


class Gone(dict["Element", Value]):
    """Element -> what is known of it; `below` finds those of one parent without a look at the others."""

    __slots__ = ("_parent_of", "_below")

    def __init__(self, parent_of: Callable[[Value], Element], rows: Mapping[Element, Value]) -> None:
        super().__init__()
        self._parent_of = parent_of
        self._below: dict[Element, dict[str, dict[Element, None]]] = {}
        for element, value in rows.items():
            self[element] = value

    def __setitem__(self, element: Element, value: Value) -> None:
        if element in self:
            del self[element]
        super().__setitem__(element, value)
        tags = self._below.setdefault(self._parent_of(value), {})
        tags.setdefault(element.tag, {})[element] = None

    def __delitem__(self, element: Element) -> None:
        value = self[element]
        super().__delitem__(element)
        del self._below[self._parent_of(value)][element.tag][element]

    def pop(self, element: Element, default: Any = _MISSING) -> Any:
        if element not in self and default is not _MISSING:
            return default
        value = self[element]
        del self[element]
        return value

    def clear(self) -> None:
        super().clear()
        self._below.clear()

    def below(self, parent: Element, tag: str | None = None) -> list[Element]:
        """Those that stood in `parent`, of one tag or all, in the order in which they went."""
        tags = self._below.get(parent)
        if tags is None:
            return []
        if tag is not None:
            return list(tags.get(tag, ()))
        return [element for elements in tags.values() for element in elements]

    def first(self, parent: Element, tag: str) -> Element | None:
        """The first of a tag that went from `parent`."""
        tags = self._below.get(parent)
        return None if tags is None else next(iter(tags.get(tag, ())), None)
