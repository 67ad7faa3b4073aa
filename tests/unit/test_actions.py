# SPDX-License-Identifier: GPL-2.0-or-later
"""Actions on small trees: who gets a value, who loses, what is removed and comes back."""

from __future__ import annotations

import pytest
from staging import act, tree_of, written


@pytest.mark.parametrize(
    ("body", "wishes", "result", "losses"),
    [
        # the definition's priority is 99: what is below it fills gaps only
        ("<title>a</title>", [("<add><title>b</title></add>", 50)], "<title>a</title>", 1),
        ("<title>a</title>", [("<add><title>b</title></add>", 100)], "<title>b</title>", 0),
        ("<title>a</title>", [("<add><title>a</title></add>", 50)], "<title>a</title>", 0),
        ("", [("<add><title>b</title></add>", 50)], "<title>b</title>", 0),
        # of two profiles the higher priority wins
        (
            "<title>a</title>",
            [("<add><title>b</title></add>", 200), ("<add><title>c</title></add>", 100)],
            "<title>b</title>",
            1,
        ),
        # defaults yield to what the definition says
        ("<title>a</title>", [("<default><title>b</title></default>", 200)], "<title>a</title>", 0),
        ("", [("<default><title>b</title></default>", 10)], "<title>b</title>", 0),
    ],
)
def test_who_gets_a_value(body: str, wishes: list[tuple[str, int]], result: str, losses: int) -> None:
    tree = tree_of(body)
    actions = act(tree, *wishes)
    assert "".join(written(tree).split()) == result
    assert len(actions.losses) == losses


@pytest.mark.parametrize(
    ("body", "priority", "gone"),
    [("<title>a</title>", 100, True), ("<title>a</title>", 50, False)],
)
@pytest.mark.parametrize("text", ["<remove><title/></remove>", "<remove select='/domain/title'/>"])
def test_remove(body: str, priority: int, gone: bool, text: str) -> None:
    tree = tree_of(body)
    actions = act(tree, (text, priority))
    assert written(tree) == ("" if gone else body)
    assert len(actions.losses) == (0 if gone else 1)


def test_equal_priority_is_a_conflict() -> None:
    tree = tree_of("")
    actions = act(tree, ("<add><title>a</title></add>", 100), ("<add><title>b</title></add>", 100))
    assert [loss.conflict for loss in actions.losses] == [True]
    assert (actions.losses[0].wanted, actions.losses[0].has) == ("b", "a")


def test_rollback_takes_everything_back() -> None:
    tree = tree_of("<title>a</title>")
    act(tree, ("<add><title>b</title></add>", 100), ("<add><description>c</description></add>", 100))
    tree.rollback()
    assert written(tree) == "<title>a</title>"
