# SPDX-License-Identifier: GPL-2.0-or-later
"""Forms that are known to be valid: they save a validation, and change no result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import virtProfile
from virtProfile.engine.tree import validate
from virtProfile.errors import ProfileError
from virtProfile.format.schema import Schema

DOMAIN = """<domain type='kvm'>
  <name>{name}</name>
  <uuid>6f6bb0a2-9f5c-4cf2-9d5b-3a1a8bb0a00{digit}</uuid>
  <metadata><a:b xmlns:a='urn:a'>{name}</a:b></metadata>
  <memory unit='KiB'>1048576</memory>
  <os>{os}</os>
  <cpu><numa>{cell}</numa></cpu>
  <devices>
    <disk type='file' device='disk'>
      {driver}
      <source file='/var/{name}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    {more}
  </devices>
</domain>
"""
OS = "<type arch='x86_64' machine='pc-q35-7.2'>hvm</type>"
CELL = "<cell id='0' cpus='0' memory='1' unit='GiB'/>"
DRIVER = "<driver name='qemu' type='qcow2'/>"
PARTS = {"name": "vm", "digit": "1", "os": OS, "cell": CELL, "driver": DRIVER, "more": ""}
PROFILES = {
    "cache": "<default><devices><disk><driver cache='none'/></disk></devices></default>",
    "memory": "<add multiple='no'><memory unit='KiB'>2097152</memory></add>",
    "two": "<default><devices><disk><driver queues='2'/></disk></devices></default>",
    "four": "<default><devices><disk><driver queues='4'/></disk></devices></default>",
    "wrong": "<add><devices><interface type='bridge'><source network='x'/></interface></devices></add>",
}
#: Documents that differ from the one above in this.
OTHERS: dict[str, dict[str, str]] = {
    "another VM": {"name": "other", "digit": "2"},
    "no type": {"os": ""},
    "a cell without memory": {"cell": "<cell id='0' cpus='0'/>"},
    "not valid": {"cell": "<cell id='0' cpus='0' memory='1' unit='acres'/>"},
    "another variant": {"driver": "<driver name='qemu' type='raw'/>"},
    "an unknown element": {"more": "<teapot/>"},
    "text where none is": {"more": "tea"},
    "a device that lacks something": {"more": "<interface type='network'/>"},
}


@pytest.fixture
def store(tmp_path: Path) -> virtProfile.ProfileStore:
    for name, body in PROFILES.items():
        Path(tmp_path, f"{name}.xml").write_text(f"<profile name='{name}'>{body}</profile>")
    return virtProfile.ProfileStore([tmp_path])


def outcome(text: str, name: str, store: virtProfile.ProfileStore) -> Any:
    """What a call gives or says."""
    try:
        result = virtProfile.apply(text, [name], store=store, override=True)
    except ProfileError as problem:
        return type(problem).__name__, str(problem), problem.hint
    return result.xml, [(warning.code, warning.message) for warning in result.warnings]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A line for each validation."""
    calls: list[str] = []
    really = Schema.validate

    def validating(self: Schema, root: Any) -> list[str]:
        calls.append(root.tag)
        return really(self, root)

    monkeypatch.setattr(Schema, "validate", validating)
    validate.forget()
    return calls


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("other", OTHERS)
def test_what_was_valid_before_changes_no_result(
    store: virtProfile.ProfileStore, profile: str, other: str
) -> None:
    text = DOMAIN.format(**PARTS | OTHERS[other])
    validate.forget()
    alone = outcome(text, profile, store)
    validate.forget()
    for _ in range(2):
        outcome(DOMAIN.format(**PARTS), profile, store)
        assert outcome(text, profile, store) == alone


def test_a_second_vm_of_the_form_is_not_validated(
    store: virtProfile.ProfileStore, counted: list[str]
) -> None:
    outcome(DOMAIN.format(**PARTS), "cache", store)
    assert len(counted) == 1
    outcome(DOMAIN.format(**PARTS | OTHERS["another VM"]), "cache", store)
    assert len(counted) == 1
    outcome(DOMAIN.format(**PARTS), "memory", store)  # another value is written
    assert len(counted) == 2


def test_another_value_is_another_form(store: virtProfile.ProfileStore, counted: list[str]) -> None:
    for number, name in enumerate(("two", "four", "two"), 1):
        outcome(DOMAIN.format(**PARTS), name, store)
        assert len(counted) == min(number, 2)


def test_forms_are_forgotten(store: virtProfile.ProfileStore, counted: list[str]) -> None:
    outcome(DOMAIN.format(**PARTS), "memory", store)
    validate.forget()
    outcome(DOMAIN.format(**PARTS), "memory", store)
    assert len(counted) == 2


def test_what_is_not_valid_is_not_remembered(store: virtProfile.ProfileStore) -> None:
    validate.forget()
    first, again = (outcome(DOMAIN.format(**PARTS), "wrong", store) for _ in range(2))
    assert first == again
    assert first[0] == "InvalidDomainError"
