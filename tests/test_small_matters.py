# SPDX-License-Identifier: GPL-2.0-or-later
"""Small matters of messages and fixes: ranges, places, hints and fixes that help."""

from __future__ import annotations

import pytest
from strategies import MemoryStore
from test_define_roundtrip import add, devices, vm

import virtProfile
from virtProfile.errors import ConflictError, InvalidDomainError, ProfileSyntaxError


def apply(text: str, *actions: str, priority: int = 0) -> virtProfile.Result:
    names = [f"p{number}" for number in range(len(actions))]
    store = MemoryStore(
        [
            f"<profile name='{name}' version='1'>{action}</profile>"
            for name, action in zip(names, actions, strict=True)
        ]
    )
    return virtProfile.apply(text, [{"name": name, "priority": priority} for name in names], store=store)


@pytest.mark.parametrize("source", ["<source/>", "<source></source>", "\n<source/>\n"])
def test_a_bare_source_is_no_interface(source: str) -> None:
    """Of no type libvirt makes it one of user networking without the source; virtinst says bridge."""
    action = add(devices(f"<interface>{source}</interface>"))
    for text in (vm(), vm().replace("<devices>", "<devices>\n")):
        with pytest.raises(InvalidDomainError, match=r"/domain/devices/interface\[1\]/source"):
            apply(text, action)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (add("<vcpu>0</vcpu>"), "'0' is not a number from 1"),
        (add(devices("<disk><boot order='0'/><target dev='vda'/></disk>")), "'0' is not a positive number"),
        (
            add(devices("<memballoon model='virtio'><stats period='-6'/></memballoon>")),
            "'-6' is not a positive number",
        ),
    ],
)
def test_numbers_out_of_range_say_the_range(action: str, words: str) -> None:
    with pytest.raises(ProfileSyntaxError) as error:
        apply(vm(), action)
    assert words in error.value.message
    assert "of the form" not in error.value.message


def test_what_was_taken_back_has_no_line() -> None:
    store = MemoryStore(
        [
            f"<profile name='p' version='1'>{add(devices('<sound model=&apos;ich9&apos;/>'.replace('&apos;', chr(39))))}</profile>"
        ]
    )
    first = virtProfile.apply(vm(), ["p"], store=store)
    back = virtProfile.unapply(first.xml, store=store)
    assert {str(change.origin) for change in back.changes} == {"p 1 (record)"}


def test_the_hint_for_an_invalid_result_is_not_lint() -> None:
    with pytest.raises(InvalidDomainError) as error:
        apply(vm(), add(devices("<interface type='user'><source/></interface>")))
    assert "lint" not in error.value.hint
    assert "leave it out" in error.value.hint


def test_a_fix_does_not_lead_to_an_invalid_domain() -> None:
    """Both want the type of one interface; what the one wants beside it is valid with its own only."""
    one = add(devices("<interface type='vdpa'><source dev='/dev/vhost-vdpa-0'/></interface>"), "no")
    other = add(devices("<interface type='user'><source/></interface>"), "no")
    text = vm("<interface type='user'/>")
    with pytest.raises(ConflictError) as error:
        apply(text, one, other, priority=120)
    for conflict in error.value.conflicts:
        for fix in conflict.fixes:
            name, priority = fix.removeprefix("--profile ").split(",priority=")
            wishes = [
                {"name": each, "priority": int(priority) if each == name else 120} for each in ("p0", "p1")
            ]
            store = MemoryStore(
                [
                    f"<profile name='p{number}' version='1'>{action}</profile>"
                    for number, action in enumerate((one, other))
                ]
            )
            virtProfile.apply(text, wishes, store=store)


def test_a_profile_that_mended_a_domain_is_taken_back_with_yes() -> None:
    text = vm("<interface type='user'><source/><model type='virtio'/></interface>")
    store = MemoryStore(
        ["<profile name='p' version='1'><remove select='devices/interface/source'/></profile>"]
    )
    mended = virtProfile.apply(text, [{"name": "p", "priority": 120}], store=store)
    assert virtProfile.apply(mended.xml, store=store).xml == mended.xml
    with pytest.raises(InvalidDomainError) as error:
        virtProfile.unapply(mended.xml, store=store)
    assert "--yes takes it back" in error.value.hint
    back = virtProfile.unapply(mended.xml, store=store, trust="all")
    assert back.xml == text
    assert [warning.code for warning in back.warnings] == ["invalid"]
