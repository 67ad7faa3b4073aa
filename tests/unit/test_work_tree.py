# SPDX-License-Identifier: GPL-2.0-or-later
"""The work tree: what is kept of it while it is read, and the way back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from staging import tree_of, writer_of

from virtProfile.engine.tree.ownership import THE_DEFINITION
from virtProfile.engine.tree.work_tree import WorkTree
from virtProfile.format.element import TEXT, Element, attributes, text_of

WRITER = writer_of("p", 0)
BODY = "<title a='1'>text</title><devices><disk type='file'><driver name='qemu'/></disk></devices>"

#: What edits the title, or what is in it.
EDITS: dict[str, Callable[[WorkTree, Element], object]] = {
    "set": lambda work, title: work.set(title, "@a", "2", WRITER),
    "set of the text": lambda work, title: work.set(title, TEXT, "other", WRITER),
    "fill": lambda work, title: work.fill(title, "@b", "b", "2", WRITER),
    "unset": lambda work, title: work.unset(title, "@a", WRITER),
    "unset of the text": lambda work, title: work.unset(title, TEXT, WRITER),
    "respell": lambda work, title: work.respell(title, "@a", "01"),
    "forget": lambda work, title: work.forget(title, "@a"),
}


def _said(element: Element) -> tuple[dict[str, str], str | None]:
    return attributes(element), text_of(element)


@pytest.mark.parametrize("edit", EDITS.values(), ids=list(EDITS))
def test_what_an_element_says_is_read_anew_after_an_edit(edit: Callable[[WorkTree, Element], object]) -> None:
    work = tree_of(BODY)
    title = work.root[0]
    before = work.says(title)
    assert before == ({"a": "1"}, "text")
    edit(work, title)
    assert work.says(title) == _said(title) != before


@pytest.mark.parametrize("name", [name for name in EDITS if name != "forget"])
def test_what_an_element_says_is_read_anew_when_an_edit_is_taken_back(name: str) -> None:
    work = tree_of(BODY)
    title = work.root[0]
    before = work.says(title)
    EDITS[name](work, title)
    assert work.says(title) != before
    work.undo_since(0)
    assert work.says(title) == _said(title) == before


def test_a_value_goes_back_with_its_owners() -> None:
    work = tree_of(BODY)
    title = work.root[0]
    other = writer_of("q", 5)
    work.set(title, "@a", "2", WRITER)
    mark = work.mark()
    work.set(title, "@a", "3", other)
    work.fill(title, "@b", "b", "4", other)
    assert work.owners(title, "@a") == work.owners(title, "@b") == [other]
    work.undo_slots(mark, {(title, "@a")})
    assert (title.get("a"), work.owners(title, "@a")) == ("2", [WRITER])
    assert title.get("b") == "4"
    work.undo_since(0)
    assert (attributes(title), work.owners(title, "@a")) == ({"a": "1"}, [THE_DEFINITION])


def test_tags_since_are_those_of_what_was_written() -> None:
    work = tree_of(BODY)
    title, devices = work.root[0], work.root[1]
    disk = devices[0]
    work.set(title, "@a", "2", WRITER)
    mark = work.mark()
    work.fill(disk[0], "@cache", "cache", "none", WRITER)
    work.insert(devices, disk, devices.makeelement("rng"), WRITER)
    work.remove(title, [WRITER])
    assert (
        work.tags_since(mark) == {element.tag for element, _ in work.written_since(mark)} == {"driver", "rng"}
    )
