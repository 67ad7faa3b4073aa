# SPDX-License-Identifier: GPL-2.0-or-later
"""Owners of one value: in the order of priority, each once, also where thousands share it."""

from __future__ import annotations

import random

import pytest
from counting import calls
from staging import writer_of

from virtProfile.engine.tree.ownership import Writer, joined


def simply(owners: list[Writer], writer: Writer) -> list[Writer]:
    if writer in owners:
        return owners
    return sorted([*owners, writer], key=lambda owner: -owner.priority)


@pytest.mark.parametrize("seed", range(20))
def test_as_the_simple_list_is(seed: int) -> None:
    """Also from an earlier list on, as an undo leaves it."""
    chance = random.Random(seed)
    writers = [writer_of(f"p{number}", chance.choice([0, 0, 0, 10, 100])) for number in range(60)]
    known: list[tuple[list[Writer], list[Writer]]] = [([], [])]
    for _ in range(400):
        quick, plain = chance.choice(known[-3:] if chance.random() < 0.8 else known)
        writer = chance.choice(writers)
        before = list(quick)
        found = joined(quick, writer), simply(plain, writer)
        assert list(found[0]) == found[1]
        assert (found[0] is quick) == (found[1] is plain)
        assert list(quick) == before
        known.append(found)


def test_each_more_owner_costs_the_same() -> None:
    def run(count: int) -> int:
        writers = [writer_of(f"p{number}", 10) for number in range(count)]

        def many() -> None:
            owners: list[Writer] = []
            for writer in [*writers, *writers]:
                owners = joined(owners, writer)
            assert len(owners) == count

        return calls(many)

    assert run(800) < 2.2 * run(400)
