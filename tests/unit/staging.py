# SPDX-License-Identifier: GPL-2.0-or-later
"""Small trees and actions for tests of single stages of the engine."""

from __future__ import annotations

from typing import Any

from lxml import etree

from virtProfile.engine.actions.perform import Actions
from virtProfile.engine.actions.step import Step
from virtProfile.engine.tree.ownership import Writer
from virtProfile.engine.tree.splice import write
from virtProfile.engine.tree.work_tree import WorkTree
from virtProfile.format.document import parse
from virtProfile.format.schema import Schema
from virtProfile.language.parser import read
from virtProfile.language.wishes import compiled_action
from virtProfile.result import Origin

BASE_SCHEMA = Schema.baseline()


def tree_of(body: str) -> WorkTree:
    """A work tree of a domain with this content."""
    return WorkTree(parse(f"<domain type='kvm'>{body}</domain>"))


def action_of(text: str) -> Any:
    """The one action of a profile with this content."""
    parsed = read(f"<profile name='x'>{text}</profile>", "x.xml")
    return parsed.profiles[0].actions[0]


def want_of(text: str) -> Any:
    """The compiled wishes of one action."""
    return compiled_action(action_of(text), BASE_SCHEMA)


def writer_of(name: str, priority: int = 100, *, hard: bool = False, default: bool = False) -> Writer:
    return Writer(Origin(name, "1", "add", f"{name}.xml", 1), priority, hard, default)


def act(tree: WorkTree, *wishes: tuple[str, int]) -> Actions:
    """Carry out actions, each given as its text and its priority, in this order."""
    actions = Actions(tree, BASE_SCHEMA)
    for number, (text, priority) in enumerate(wishes):
        action = action_of(text)
        select = etree.XPath(action.select) if action.select else None
        want = None if action.select else compiled_action(action, BASE_SCHEMA)
        writer = writer_of(
            f"p{number}", priority, hard=action.constraint == "hard", default=action.kind == "default"
        )
        actions.act(Step(action, writer, want, select))
    return actions


def written(tree: WorkTree) -> str:
    """The content of the domain, as the splice writer gives it."""
    text = write(tree).text
    return text[len("<domain type='kvm'>") : -len("</domain>")]
