# SPDX-License-Identifier: GPL-2.0-or-later
"""The remover: what goes, what goes with it, and that it stays away from weaker writers."""

from __future__ import annotations

import pytest
from staging import act, tree_of, written

from virtProfile.engine.actions.remove import Remover, value_of

DISK = "<disk type='file'><target dev='vda'/></disk>"


@pytest.mark.parametrize(
    ("body", "wish", "result"),
    [
        # a value, by what stands there and by what is implied
        ("<cpu mode='custom' check='none'/>", "<remove><cpu check='none'/></remove>", "<cpu mode='custom'/>"),
        ("<cpu mode='custom'/>", "<remove><cpu check='none'/></remove>", "<cpu mode='custom'/>"),
        # another value is not meant
        ("<cpu check='full'/>", "<remove><cpu check='none'/></remove>", "<cpu check='full'/>"),
        # an emptied parent goes too, unless a selection names what goes
        ("<features><acpi/></features>", "<remove><features><acpi/></features></remove>", ""),
        ("<features><acpi/></features>", "<remove select='features/acpi'/>", "<features/>"),
        ("<features><acpi/><apic/></features>", "<remove><features><acpi/></features></remove>", "<features><apic/></features>"),
        # each thing that is like that, and no other
        (
            f"<devices>{DISK}<disk type='block'><target dev='vdb'/></disk><disk type='file'/></devices>",
            "<remove><devices><disk type='file'/></devices></remove>",
            "<devices><disk type='block'><target dev='vdb'/></disk></devices>",
        ),
        # a number with its unit
        ("<title>a</title><memory unit='MiB'>1</memory>", "<remove><memory>1024</memory></remove>", "<title>a</title>"),
        # a selection of attributes and texts
        ("<cpu mode='custom' check='none'/>", "<remove select='cpu/@check'/>", "<cpu mode='custom'/>"),
        ("<title>a</title>", "<remove select='title/text()'/>", "<title/>"),
    ],
)  # fmt: skip
def test_what_goes(body: str, wish: str, result: str) -> None:
    tree = tree_of(body)
    actions = act(tree, (wish, 100))
    assert written(tree).replace("<title></title>", "<title/>") == result
    assert not actions.losses
    assert len(actions.effective) == 1


@pytest.mark.parametrize(
    ("body", "wish", "priority", "note", "conflict"),
    [
        # the definition's priority is 99
        ("<title>a</title>", "<remove><title/></remove>", 50, "", False),
        ("<title>a</title>", "<remove><title/></remove>", 99, "", True),
        ("<title>a</title>", "<remove constraint='hard'><title/></remove>", 50, "", True),
        # a unit without its number would change the number
        (
            "<memory unit='MiB'>1</memory>",
            "<remove select='memory/@unit'/>",
            100,
            "a number and its unit are one value: remove both",
            False,
        ),
    ],
)
def test_what_stays(body: str, wish: str, priority: int, note: str, conflict: bool) -> None:
    tree = tree_of(body)
    actions = act(tree, (wish, priority))
    assert written(tree) == body
    assert [(loss.note, loss.conflict) for loss in actions.losses] == [(note, conflict)]
    assert not actions.effective


@pytest.mark.parametrize(
    ("body", "remove", "add", "result", "losses"),
    [
        # a whole element, a value, and a value inside of what else is made
        ("", "<remove><title/></remove>", "<add><title>a</title></add>", "", ["title"]),
        ("<cpu/>", "<remove select='cpu/@check'/>", "<add><cpu check='none'/></add>", "<cpu/>", ["@check"]),
        (
            "",
            "<remove select='cpu/@check'/>",
            "<add><cpu mode='custom' check='none'/></add>",
            "<cpu mode='custom'/>",
            ["@check"],
        ),
        # what is made around it goes with it, and the report names the device by its key
        (
            "<devices/>",
            "<remove><devices><disk type='file'/></devices></remove>",
            f"<add><devices>{DISK}</devices></add>",
            "<devices/>",
            ["disk[target/@dev='vda']"],
        ),
        (
            "",
            "<remove><devices><disk type='file'/></devices></remove>",
            f"<add><devices>{DISK}</devices></add>",
            "",
            ["devices/disk[target/@dev='vda']"],
        ),
        # the value that makes it match is taken back, the rest stays
        (
            "<devices><disk type='block'><target dev='vda'/></disk></devices>",
            "<remove><devices><disk type='file'/></devices></remove>",
            "<add><devices><disk type='file'><target dev='vda'/></disk></devices></add>",
            "<devices><disk type='block'><target dev='vda'/></disk></devices>",
            ["@type"],
        ),
        # what is not meant comes
        ("", "<remove><title/></remove>", "<add><description>a</description></add>", "<description>a</description>", []),
        # a default that is kept out is silent
        ("", "<remove><title/></remove>", "<default><title>a</title></default>", "", []),
    ],
)  # fmt: skip
def test_it_stays_away(body: str, remove: str, add: str, result: str, losses: list[str]) -> None:
    tree = tree_of(body)
    actions = act(tree, (remove, 200), (add, 100))
    assert written(tree) == result
    assert [loss.rest for loss in actions.losses] == losses
    assert all(loss.winners[0].origin.profile == "p0" for loss in actions.losses)


def test_who_wanted_it_away_too_owns_the_absence() -> None:
    tree = tree_of(f"<devices>{DISK}<hub type='usb'/></devices>")
    remove = "<remove><devices><disk type='file'/></devices></remove>"
    act(tree, (remove, 200), (remove, 100))
    ((_, writers),) = [entry for element, entry in tree.removed.items() if element.tag == "disk"]
    assert [one.origin.profile for one in writers] == ["p0", "p1"]


@pytest.mark.parametrize(
    ("text", "slot", "value"),
    [
        ("<title>a</title>", "", "a"),
        ("<title>a</title>", "text()", "a"),
        ("<cpu mode='custom'/>", "@mode", "custom"),
        ("<cpu mode='custom' check='none'/>", "", "mode='custom' check='none'"),
        ("<acpi/>", "", "acpi"),
    ],
)
def test_value_of(text: str, slot: str, value: str) -> None:
    element = tree_of(text).root[0]
    assert value_of(element, slot) == value


REMOVES = [
    "<features><hyperv><relaxed/></hyperv></features>",
    "<features><acpi/></features>",
    "<devices><disk device='disk'/></devices>",
    "<devices><disk><driver cache='none'/></disk></devices>",
    "<devices><disk><target dev='vda'/></disk></devices>",
    "<devices><sound><codec type='micro'/></sound></devices>",
    "<devices/>",
    "<memory>1024</memory>",
    "<cpu check='none'/>",
    "<os><boot dev='hd'/></os>",
]
ADDS = [
    "<features><hyperv mode='custom'><relaxed state='on'/></hyperv></features>",
    "<features><acpi/><apic/></features>",
    "<devices><disk type='file'><driver name='qemu' cache='none'/><target dev='vda'/></disk></devices>",
    "<devices><disk device='disk' type='file'><target dev='vdb'/></disk></devices>",
    "<devices><sound model='ich9'><codec type='micro'/></sound></devices>",
    "<devices><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices>",
    "<memory unit='MiB'>1</memory>",
    "<cpu mode='custom' check='none'/>",
    "<os><boot dev='hd'/><boot dev='network'/></os>",
    "<title>a</title>",
]


@pytest.mark.parametrize("body", ["", f"<features/><devices>{DISK}</devices>"])
@pytest.mark.parametrize("kind", ["add", "default"])
def test_what_cannot_match_is_not_looked_for(body: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the tags of what was written: with them each pair ends as it does without."""
    looked = 0
    for removed in REMOVES:
        for added in ADDS:
            texts = []
            for always in (False, True):
                with monkeypatch.context() as patch:
                    if always:
                        patch.setattr(Remover, "_may_match", lambda *_: True)
                    tree = tree_of(body)
                    actions = act(
                        tree, (f"<remove>{removed}</remove>", 100), (f"<{kind}>{added}</{kind}>", 50)
                    )
                    texts.append((written(tree), [(loss.rest, loss.note) for loss in actions.losses]))
            assert texts[0] == texts[1], (removed, added)
            looked += bool(texts[0][1])
    assert looked or kind == "default"
