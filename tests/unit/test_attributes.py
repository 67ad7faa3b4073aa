# SPDX-License-Identifier: GPL-2.0-or-later
"""One table of action attributes: the parser, the digest, lint and the manual page agree with it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from virtProfile.authoring.lint import lint_text
from virtProfile.frozen import replace
from virtProfile.language.attributes import ACTIONS, ATTRIBUTES, Attribute, Form, of_element, words
from virtProfile.language.parser import digest, parse_profiles
from virtProfile.language.profile import Action

MAN = Path(__file__).parent.parent.parent / "man"
INNER = "<devices><disk device='disk'/></devices>"


def read(text: str) -> Any:
    parsed = parse_profiles(f"<profile name='p'>{text}</profile>", "p.xml")
    assert not parsed.problems, parsed.problems
    return parsed.profiles[0]


def sample(row: Attribute) -> str:
    """A value that is not the default."""
    if row.form is Form.WORD:
        return next(str(word) for word in row.words if word != row.default)
    others = {Form.FLAG: "yes", Form.PROFILE: "rng,model=virtio"}
    return others.get(row.form, "devices/disk")


def written(row: Attribute, tag: str, name: str = "") -> str:
    inner = {"select": "", "test": "", "each": "<disk device='disk'/>"}.get(row.name, INNER)
    return f"<{tag} {name or row.name}='{sample(row)}'>{inner}</{tag}>"


def test_every_row_has_its_field_with_its_default() -> None:
    names = Action.__match_args__[Action.__match_args__.index("number") + 1 :]
    assert sorted(names) == sorted(row.field for row in ATTRIBUTES)
    (action,) = read(f"<add>{INNER}</add>").actions
    for row in ATTRIBUTES:
        assert getattr(action, row.field) == row.default, row.name


@pytest.mark.parametrize("tag", ACTIONS)
@pytest.mark.parametrize("row", ATTRIBUTES, ids=lambda row: row.name)
def test_an_element_has_the_attributes_of_its_rows(row: Attribute, tag: str) -> None:
    problems = lint_text(f"<profile name='p'>{written(row, tag)}</profile>", "p.xml")
    unknown = [one.message for one in problems if one.message.startswith("unknown attribute")]
    assert unknown == ([] if tag in row.elements else [f"unknown attribute '{row.name}' of <{tag}>"])
    assert (row in of_element(tag)) == (tag in row.elements)


@pytest.mark.parametrize("row", ATTRIBUTES, ids=lambda row: row.name)
def test_a_value_is_read_digested_and_shown(row: Attribute) -> None:
    tag = row.elements[0]
    profile = read(written(row, tag))
    (action,) = profile.actions
    value = getattr(action, row.field)
    assert value is True if row.form is Form.FLAG else str(value) == sample(row)
    plain = replace(profile, actions=(replace(action, **{row.field: row.default}),))
    assert digest(plain) != profile.digest
    if row.shown:
        assert row.shown.format(sample(row)) in list(words(action, row.before))
    if row.alias:
        other = read(written(row, tag, row.alias))
        assert (other.digest, other.actions) == (profile.digest, profile.actions)


def test_the_manual_page_has_the_paragraphs_of_the_table() -> None:
    spec = importlib.util.spec_from_file_location("catalogue_page", MAN / "catalogue.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = module.LANGUAGE_PAGE.read_text()
    assert page == module.language_page(), "./dev man writes it"
    for row in ATTRIBUTES:
        assert not row.help or f"\n*{row.spelled}*\n    " in page
