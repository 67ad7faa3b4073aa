# SPDX-License-Identifier: GPL-2.0-or-later
"""The restorer: what an earlier run had made comes back, what somebody took out stays out."""

from __future__ import annotations

import pytest
from lxml import etree
from staging import act, action_of, tree_of, writer_of, written

from virtProfile.engine.actions.restore import BY_HAND, written_of
from virtProfile.engine.record.locate import Located
from virtProfile.engine.record.model import Entry, Recorded, Written
from virtProfile.engine.tree.work_tree import WorkTree


def recorded(text: str) -> Written:
    """What an action with this snippet writes."""
    return written_of(action_of(f"<add>{text}</add>").branches[0])


def tree_without(body: str, path: str, made: str, profile: str = "p0") -> WorkTree:
    """A tree of which an element is taken back.

    :param made: what was written there
    """
    tree = tree_of(body)
    (element,) = tree.root.xpath(path)
    mine = recorded(made)
    written_parts = {one.tag for one in mine.children}
    parts = [one for one in element.iterchildren("*") if one.tag in written_parts]
    tree.bury(element, [writer_of(profile)], mine, parts)
    tree.lay_floor()
    return tree


def located(profile: str, made: Written) -> Located:
    """An entry of the record that somebody's edit made void."""
    return Located(Recorded(profile, "1", ""), Entry("add", "devices", made), None)


DISK = "<disk type='file'><target dev='vda'/></disk>"
#: The same as libvirt defined it, with an address.
DEFINED = "<disk type='file'><target dev='vda'/><address type='pci' bus='0x03'/></disk>"


@pytest.mark.parametrize(
    ("body", "made", "wish", "result"),
    [
        # the same again: with all that libvirt put into it, each byte
        (DEFINED, DISK, DISK, DEFINED),
        # a value that changed in the profile changes in place
        (
            DEFINED,
            DISK,
            "<disk type='block'><target dev='vda'/></disk>",
            "<disk type='block'><target dev='vda'/><address type='pci' bus='0x03'/></disk>",
        ),
        # what the profile no longer says goes
        (
            "<disk type='file'><driver name='qemu' cache='none'/><target dev='vda'/></disk>",
            "<disk type='file'><driver name='qemu' cache='none'/><target dev='vda'/></disk>",
            "<disk type='file'><driver name='qemu'/><target dev='vda'/></disk>",
            "<disk type='file'><driver name='qemu'/><target dev='vda'/></disk>",
        ),
        # ... a whole child too
        (
            "<disk type='file'><target dev='vda'/><boot order='1'/></disk>",
            "<disk type='file'><target dev='vda'/><boot order='1'/></disk>",
            DISK,
            DISK,
        ),
        # what the profile says in addition comes
        (
            DEFINED,
            DISK,
            "<disk type='file'><target dev='vda'/><readonly/></disk>",
            "<disk type='file'><target dev='vda'/><readonly/><address type='pci' bus='0x03'/></disk>",
        ),
        # another disk is another disk: nothing of the buried one
        (
            DEFINED,
            DISK,
            "<disk type='file'><target dev='vdb'/></disk>",
            "<disk type='file'><target dev='vdb'/></disk>",
        ),
    ],
)
def test_the_buried_element_comes_back(body: str, made: str, wish: str, result: str) -> None:
    tree = tree_without(f"<devices>{body}</devices>", "devices/disk", made)
    act(tree, (f"<add><devices>{wish}</devices></add>", 100))
    assert written(tree).replace('"', "'") == f"<devices>{result}</devices>"


def test_whose_element_comes_back() -> None:
    """Of several alike, each profile gets its own."""
    rng = "<rng model='virtio'><backend model='random'>/dev/urandom</backend>{}</rng>"
    tree = tree_of(f"<devices>{rng.format('<!-- a -->')}{rng.format('<!-- b -->')}</devices>")
    for element, profile in zip(list(tree.root[0]), ("other", "p0")):
        tree.bury(element, [writer_of(profile)], recorded(rng.format("")))
    tree.lay_floor()
    act(tree, (f"<add><devices>{rng.format('')}</devices></add>", 100))
    assert written(tree) == f"<devices>{rng.format('<!-- b -->')}</devices>"


@pytest.mark.parametrize(
    ("priority", "result", "losses"),
    [
        # the definition's priority is 99: what a person wrote beside stays below it
        (50, "<cpu mode='custom'/>", [("maximum", "custom")]),
        (100, "<cpu mode='maximum'/>", []),
    ],
)
def test_a_value_that_somebody_changed(
    priority: int, result: str, losses: list[tuple[str | None, str | None]]
) -> None:
    tree = tree_of("<cpu mode='custom'/>")
    tree.bury(tree.root[0], [writer_of("p0")], recorded("<cpu mode='maximum'/>"))
    tree.lay_floor()
    actions = act(tree)
    want = action_of("<add><cpu mode='maximum'/></add>").branches[0]
    node = actions.schema.root.child("cpu")
    (element,) = tree.graves
    actions.bring_back(element, node, want, writer_of("p0", priority))
    assert written(tree) == result
    assert [(loss.wanted, loss.has) for loss in actions.losses] == losses


def test_a_value_that_somebody_wrote_too_has_two_owners() -> None:
    tree = tree_without("<devices><disk type='file' device='cdrom'><target dev='sda'/></disk></devices>",
                        "devices/disk", "<disk type='file'><target dev='sda'/></disk>")  # fmt: skip
    act(
        tree,
        ("<add><devices><disk type='file' device='cdrom'><target dev='sda'/></disk></devices></add>", 50),
    )
    owners = [one.origin.profile for one in tree.owners(tree.root[0][0], "@device")]
    assert owners == ["definition", "p0"]


@pytest.mark.parametrize(
    ("wish", "priority", "result", "losses"),
    [
        ("<add>{}</add>", 50, "", 1),
        ("<add>{}</add>", 100, "<cpu mode='maximum'/>", 0),
        # a default does not report that it is kept out
        ("<default>{}</default>", 200, "", 0),
    ],
)
@pytest.mark.parametrize("missing", ["value", "element"])
def test_what_somebody_took_out_stays_out(
    missing: str, wish: str, priority: int, result: str, losses: int
) -> None:
    """A value of an element that stands, and an element."""
    tree = tree_of("<cpu/>" if missing == "value" else "")
    entry = located("p0", recorded("<cpu mode='maximum'/>"))
    if missing == "value":
        tree.barred[tree.root[0], "@mode"] = entry
        result = result or "<cpu/>"
    else:
        tree.missed[tree.root, "cpu"] = [(entry, entry.entry.written)]
    tree.lay_floor()
    actions = act(tree, (wish.format("<cpu mode='maximum'/>"), priority))
    assert written(tree) == result
    assert [loss.note for loss in actions.losses] == [BY_HAND] * losses


@pytest.mark.parametrize(
    ("profile", "wish", "result", "losses"),
    [
        # the same thing, whoever wants it
        ("p0", DISK, "", 1),
        ("other", DISK, "", 1),
        # the same profile's, with other values
        ("p0", "<disk type='block'><target dev='vda'/></disk>", "", 1),
        # another profile's with other values is another thing
        (
            "other",
            "<disk type='block'><target dev='vda'/></disk>",
            "<disk type='block'><target dev='vda'/></disk>",
            0,
        ),
        # and so is one with another key
        (
            "p0",
            "<disk type='file'><target dev='vdb'/></disk>",
            "<disk type='file'><target dev='vdb'/></disk>",
            0,
        ),
    ],
)
def test_a_device_that_somebody_took_out(profile: str, wish: str, result: str, losses: int) -> None:
    tree = tree_of("<devices><hub type='usb'/></devices>")
    made = recorded(DISK)
    tree.missed[tree.root[0], "disk"] = [(located(profile, made), made)]
    tree.lay_floor()
    actions = act(tree, (f"<add><devices>{wish}</devices></add>", 50))
    assert written(tree).replace('"', "'") == f"<devices>{result}<hub type='usb'/></devices>"
    assert [loss.note for loss in actions.losses] == [BY_HAND] * losses


def test_one_that_was_taken_out_holds_up_one_wish() -> None:
    """Two devices alike, one taken out: the other profile's comes."""
    tree = tree_of("<devices><hub type='usb'/></devices>")
    rng = "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"
    made = recorded(rng)
    tree.missed[tree.root[0], "rng"] = [(located("p0", made), made)]
    tree.lay_floor()
    wish = f"<add multiple='yes'><devices>{rng}</devices></add>"
    actions = act(tree, (wish, 50), (wish, 50))
    assert len(tree.root[0].findall("rng")) == 1
    assert len(actions.losses) == 1


def test_a_container_comes_back_without_what_was_in_it() -> None:
    """Who wants one value of a buried element gets the element, not the rest of its values."""
    tree = tree_without(
        "<cpu mode='custom'><model>Haswell</model></cpu>",
        "cpu",
        "<cpu mode='custom'><model>Haswell</model></cpu>",
    )
    act(tree, ("<add><cpu><topology sockets='1' cores='2' threads='1'/></cpu></add>", 100))
    cpu = tree.root[0]
    assert tree.in_source(cpu)
    assert etree.tostring(cpu) == b'<cpu><topology sockets="1" cores="2" threads="1"/></cpu>'


def test_rollback_buries_it_again() -> None:
    tree = tree_without(f"<devices>{DEFINED}</devices>", "devices/disk", DISK)
    act(tree, (f"<add><devices>{DISK}</devices></add>", 100))
    assert not tree.graves
    tree.rollback()
    assert [element.tag for element in tree.graves] == ["disk"]
    assert not tree.revived
    assert written(tree) == "<devices/>"
