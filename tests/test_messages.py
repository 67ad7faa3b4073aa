# SPDX-License-Identifier: GPL-2.0-or-later
"""The words of errors and warnings: plain technical English, and hints that work."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from virtProfile.apply_options import OPTIONS
from virtProfile.service.options import OPTIONS as SERVICE_OPTIONS

HERE = Path(__file__).parent.parent
#: What makes or prints a message. Its arguments are texts for a person.
SPEAKERS = re.compile(r"\w*(Error|Warning|Problem)|error|warning|fail|refuse|failure|problem|say|lose")
#: Methods of these names that do something else, with texts that nobody reads.
BUILTIN = {"AssertionError", "AttributeError", "RuntimeError"}

#: Wordings that docs and messages leave out, each with what is written instead.
DENIED = {
    r"(?<!there )\bis no (?!longer\b|such\b)": "'invalid NAME', or 'is not a'",
    r"\bstands? twice\b": "is defined twice",
    r"\bsays? nothing\b": "has no effect without --x",
    r"\b(is|are) told\b": "is reported",
    r"\b(tells?|told)\b": "shows, prints, reports",
    r"\bneither yes nor no\b": "is not yes or no",
    r"\bhas a say\b": "affects",
    r"\bis dead\b|\bdies\b|\bdied\b": "ended, crashed",
    r"\bnamed twice\b|\bnames itself\b": "requested twice, refers to itself",
    r"\bfor sure\b": "is known to",
    r"\bgoes in a circle\b": "forms a cycle",
    r"\bwritten out\b": "in plain text",
    r"\blet go of\b": "release",
    r"\bbrought along\b": "in the request",
}
#: The same for messages only: in documents these are words like others.
DENIED_IN_MESSAGES = {
    r"\bstands? in the VM": "is in the VM's list",
    r"\bput back\b": "restored",
    r"\bflips?\b": "is selected or dropped in each round",
    r"\btaken back whole\b": "completely",
    r"\banother one\b": "differs from",
    r"\b(is|are) left: ": "is skipped",
}


class Message(NamedTuple):
    where: str
    text: str
    is_hint: bool


def _text(node: ast.expr) -> str | None:
    """A text with {} where a value is filled in; None for what is no text."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        left = _text(node.left)
        return (
            None
            if left is None
            else left + (_text(node.right) or "{}" if isinstance(node.op, ast.Add) else "")
        )
    return None


def _alternatives(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.IfExp):
        return [*_alternatives(node.body), *_alternatives(node.orelse)]
    return [node]


def messages(source: str, name: str) -> list[Message]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if not SPEAKERS.fullmatch(called) or called in BUILTIN:
            continue
        given = [(index > 0, value) for index, value in enumerate(node.args)]
        given += [(word.arg == "hint", word.value) for word in node.keywords if word.arg != "where"]
        for is_hint, value in given:
            for part in _alternatives(value):
                text = _text(part)
                if text and " " in text:
                    found.append(Message(f"{name}:{part.lineno}", text, is_hint))
    return found


def everything() -> list[Message]:
    files = [path for top in ("virtProfile", "virtinst") for path in sorted((HERE / top).rglob("*.py"))]
    return [one for path in files for one in messages(path.read_text(), str(path.relative_to(HERE)))]


MESSAGES = everything()


def test_messages_are_found() -> None:
    """The collector sees errors, warnings and hints of all rooms."""
    rooms = {one.where.split("/")[1] for one in MESSAGES}
    assert {"cli", "engine", "host", "language", "live", "service"} <= rooms
    assert len(MESSAGES) > 400
    assert sum(one.is_hint for one in MESSAGES) > 100


@pytest.mark.parametrize(
    ("source", "texts"),
    [
        ("UsageError('no x')", ["no x"]),
        ("UsageError(f'no {x}', hint='give x')", ["no {}", "give x"]),
        ("fail('a b' if x else 'c d')", ["a b", "c d"]),
        ("Warning('code', 'a ' + name)", ["a {}"]),
        ("error('%s is bad' % name)", ["%s is bad"]),
        ("print('not a message')", []),
        ("UsageError('x y', where='some where')", ["x y"]),
    ],
)
def test_collector(source: str, texts: list[str]) -> None:
    assert [one.text for one in messages(source, "x.py")] == texts


@pytest.mark.parametrize("pattern", DENIED | DENIED_IN_MESSAGES)
def test_no_left_out_wording(pattern: str) -> None:
    texts = [*MESSAGES]
    for where, options in (("apply_options.py", OPTIONS), ("service/options.py", SERVICE_OPTIONS)):
        texts += [Message(f"{where}: {one.flags[0]}", one.help, False) for one in options]
    wrong = [f"{one.where}: {one.text}" for one in texts if re.search(pattern, one.text)]
    assert not wrong, f"write: {(DENIED | DENIED_IN_MESSAGES)[pattern]}\n" + "\n".join(wrong)


def test_no_full_stop_at_the_end() -> None:
    # the prompt is what virt-xml asks too
    texts = [one for one in MESSAGES if not one.text.startswith("Please answer ")]
    wrong = [f"{one.where}: {one.text}" for one in texts if re.search(r"[^.]\.$", one.text)]
    assert not wrong, "\n".join(wrong)


def test_hints_name_options_that_exist() -> None:
    known = {flag for one in (*OPTIONS, *SERVICE_OPTIONS) for flag in one.flags}
    wrong = []
    for one in MESSAGES:
        if one.is_hint:
            named = re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", one.text)
            wrong += [f"{one.where}: {flag}" for flag in named if flag not in known]
    assert not wrong, "\n".join(wrong)


#: How a hint of the engine begins: what a person does next, or the option or markup that does it.
NEXT_STEPS = "add apply change check exclude give keep look make omit place put raise remove request try unapply use write"


def hints(source: str) -> list[tuple[int, str]]:
    """(line, hint) of each error, and of each device that cannot work."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        given = [word.value for word in node.keywords if word.arg == "hint"]
        if called in ("fail", "refuse") and len(node.args) >= 3:
            given.append(node.args[-1])
        for value in given:
            for part in _alternatives(value):
                text = _text(part)
                if text:
                    found.append((part.lineno, text))
    return found


def is_next_step(hint: str) -> bool:
    first = hint.split()[0]
    return first in NEXT_STEPS.split() or first.startswith(("--", "apt-get", "{", "os='"))


@pytest.mark.parametrize(
    ("hint", "good"),
    [
        ("omit its <address>", True),
        ("--override lets the profile win", True),
        ("pc and q35 have them", False),
        ("more slots", False),
    ],
)
def test_what_a_next_step_is(hint: str, good: bool) -> None:
    assert is_next_step(hint) is good


def test_the_engine_says_what_to_do_next() -> None:
    found = []
    for path in sorted((HERE / "virtProfile" / "engine").rglob("*.py")):
        if path.parent.name == "record":  # a reason, by which the caller words its hint
            continue
        found += [
            (f"{path.relative_to(HERE)}:{line}: {hint}", hint) for line, hint in hints(path.read_text())
        ]
    assert len(found) > 40
    wrong = [where for where, hint in found if not is_next_step(hint)]
    assert not wrong, "\n".join(wrong)
