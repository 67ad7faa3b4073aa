# SPDX-License-Identifier: GPL-2.0-or-later
"""The workspace of completion: in whose name it writes, what comes back, what it knows of the machine."""

from __future__ import annotations

import pytest
from lxml import etree
from staging import BASE_SCHEMA, act, action_of, tree_of, writer_of

from virtProfile.engine.actions.restore import written_of
from virtProfile.engine.devices.virtinst_classes import DeviceClasses
from virtProfile.engine.devices.workspace import Workspace
from virtProfile.engine.tree.ownership import Writer
from virtProfile.engine.tree.work_tree import WorkTree
from virtProfile.format.buses import Slot
from virtProfile.host.context import Context


def work_on(tree: WorkTree, *wishes: tuple[str, int]) -> Workspace:
    """A workspace on a tree on which these actions acted."""
    actions = act(tree, *wishes)
    context = Context()
    devices = tree.root.find("devices")
    return Workspace(BASE_SCHEMA, context, DeviceClasses(context), actions, devices, lambda: None)


def work_of(devices: str = "", *wishes: tuple[str, int]) -> Workspace:
    return work_on(tree_of(f"<devices>{devices}</devices>"), *wishes)


def names(writers: list[Writer]) -> list[str]:
    return [one.origin.profile for one in writers]


@pytest.mark.parametrize(
    ("os", "domain", "machine", "family"),
    [
        ("<os><type machine='pc-q35-7.2'>hvm</type></os>", "kvm", "pc-q35-7.2", "q35"),
        ("<os><type machine='pc'/></os>", "qemu", "pc", "pc"),
        ("<os><type machine='pc-i440fx-2.9'>hvm</type></os>", "qemu", "pc-i440fx-2.9", "pc"),
        # not said: nobody knows
        ("<os><type>hvm</type></os>", "kvm", None, ""),
        ("", "kvm", None, ""),
        # not QEMU's: libvirt's QEMU driver has no say
        ("<os><type machine='pc'>exe</type></os>", "kvm", None, None),
        ("<os><type machine='pc'>hvm</type></os>", "xen", None, None),
    ],
)
def test_the_machine(os: str, domain: str, machine: str | None, family: str | None) -> None:
    tree = tree_of(f"{os}<devices/>")
    tree.root.set("type", domain)
    work = work_on(tree)
    assert (work.machine, work.family) == (machine, family)


def test_fresh_are_devices_of_profiles() -> None:
    work = work_of(
        "<rng model='virtio'/>", ("<add><devices><input type='mouse' bus='usb'/></devices></add>", 100)
    )
    work.claim(work.devices.find("rng"), "", work.devices, writer_of("p0"))  # wanted by it, not made
    assert [(one.tag, writer.origin.profile) for one, writer in work.fresh()] == [("input", "p0")]


def test_who_writes_for_a_device() -> None:
    """In the name of the action, softly, and one writer for each purpose."""
    work = work_of("<disk><target dev='vda'/></disk>")
    device, cause = work.devices[0], writer_of("a", 50, hard=True)
    writer = work.writer(device, cause)
    assert (writer.origin.profile, writer.origin.action) == ("a", "for disk vda")
    assert (writer.priority, writer.hard, writer.cause) == (50, False, cause)
    assert work.writer(device, cause) is writer
    # what is needed by something that was made is for the same action
    assert work.purpose("for disk vda", writer) is writer
    assert work.purpose("for disk vdb", cause) is not writer
    assert work.writer(device, writer_of("b")) is not writer


@pytest.mark.parametrize(
    ("before", "value", "after", "logged"),
    [("virtio", "virtio", "virtio", False), ("virtio", "e1000", "e1000", True)],
)
def test_write(before: str, value: str, after: str, logged: bool) -> None:
    """What stands there as it is to be is owned, and not written again."""
    work = work_of(f"<interface><model type='{before}'/></interface>")
    model, writer = work.devices[0][0], writer_of("a")
    work.write(model, "@type", value, writer)
    assert model.get("type") == after
    assert names(work.tree.owners(model, "@type")) == ["a"]
    assert (model in work.tree.edited) is logged


def test_claim_joins_the_owners() -> None:
    work = work_of("<interface><model type='virtio'/></interface>")
    work.claim(work.devices[0][0], "@type", work.devices[0], writer_of("a", 50))
    assert names(work.tree.owners(work.devices[0][0], "@type")) == ["definition", "a"]


@pytest.mark.parametrize(
    ("there", "tag", "result"),
    [
        # behind the last of its name, else where libvirt has it
        ("<disk/><disk/><rng/>", "disk", ["disk", "disk", "NEW", "rng"]),
        ("<disk/><rng/>", "controller", ["disk", "NEW", "rng"]),
        ("", "controller", ["NEW"]),
    ],
)
def test_add(there: str, tag: str, result: list[str]) -> None:
    work = work_of(there + "<hub/>" if there else "")
    new = work.add(work.devices, tag, work.devices, writer_of("a"))
    assert ["NEW" if one is new else one.tag for one in work.devices if one.tag != "hub"] == result
    assert work.is_made(new)
    assert names(work.tree.owners(new, "")) == ["a"]


CONTROLLERS = (
    "<controller type='scsi' index='0' model='virtio-scsi'><address type='pci' bus='0x05'/></controller>"
    "<controller type='scsi' index='1' model='virtio-scsi'/>"
)


@pytest.mark.parametrize(
    ("tag", "index", "found"),
    [
        ("controller", "scsi 1", "1"),
        ("controller", "scsi 0", "0"),
        ("controller", None, "0"),
        ("controller", "usb 0", None),
        ("disk", None, None),
    ],
)
def test_which_buried_element_comes_back(tag: str, index: str | None, found: str | None) -> None:
    tree = tree_of(f"<devices>{CONTROLLERS}</devices>")
    for element in list(tree.root[0]):
        snippet = action_of(
            "<add><devices><controller type='scsi' model='virtio-scsi'/></devices></add>"
        ).branches[0]
        tree.bury(element, [writer_of("old")], written_of(snippet.children[0]))
    tree.lay_floor()
    work = work_on(tree)
    buried = work.buried(work.devices, tag, index)
    assert (None if buried is None else buried.get("index")) == found
    new = work.insert(work.devices, tag, writer_of("a"), index)
    assert (new is buried) is (found is not None)
    assert new.get("model") is None  # what was written then is taken back, until it is written anew
    if found == "0":  # what libvirt put into it stays
        assert etree.tostring(new) == b'<controller index="0"><address type="pci" bus="0x05"/></controller>'


def test_write_address() -> None:
    work = work_of("<disk device='cdrom'/>")
    device = work.devices[0]
    work.write_address(device, Slot(0, 1, 0, 2), writer_of("a"))
    expected = {"type": "drive", "controller": "0", "bus": "1", "target": "0", "unit": "2"}
    assert dict(device.find("address").attrib) == expected


@pytest.mark.parametrize(
    ("path", "node"),
    [
        ("devices", "devices"),
        ("devices/disk", "devices/disk"),
        ("devices/disk/target", "devices/disk/target"),
    ],
)
def test_node(path: str, node: str) -> None:
    work = work_of("<disk><target dev='vda'/></disk>")
    assert work.node(work.tree.root.find(path)).path == node


@pytest.mark.parametrize(
    ("remove", "allowed"),
    [
        ("<remove><devices><controller type='usb'/></devices></remove>", False),
        ("<remove select='devices/controller'/>", False),
        ("<remove><devices><controller type='scsi'/></devices></remove>", True),
    ],
)
def test_what_a_profile_removes_is_not_made(remove: str, allowed: bool) -> None:
    work = work_of("<input type='mouse' bus='usb'/>", (remove, 50))
    device, cause = work.devices[0], writer_of("a")
    made = work.add(work.devices, "controller", device, cause)
    work.put(made, "@type", "usb", device, cause)
    assert work.allowed(made, device, cause) is allowed
    assert work.tree.stands(made) is allowed
    assert ["controller usb" in one.message for one in work.actions.unmet] == ([] if allowed else [True])


@pytest.mark.parametrize(
    ("device", "kind", "uses"),
    [
        ("<input type='mouse' bus='usb'/>", "usb", True),
        ("<input type='mouse' bus='ps2'/>", "usb", False),
        ("<disk><target dev='sda' bus='usb'/></disk>", "usb", True),
        ("<hub type='usb'/>", "usb", True),
        ("<hostdev type='usb'/>", "usb", True),
        ("<hostdev type='pci'/>", "usb", False),
        ("<redirdev bus='usb' type='spicevmc'/>", "usb", True),
        ("<channel type='unix'><target type='virtio'/></channel>", "virtio-serial", True),
        ("<console type='pty'><target type='serial'/></console>", "virtio-serial", False),
        ("<serial type='pty'><target type='virtio'/></serial>", "virtio-serial", False),
        ("<smartcard mode='host'/>", "ccid", True),
        ("<smartcard mode='host'/>", "scsi", False),
    ],
)
def test_users_of(device: str, kind: str, uses: bool) -> None:
    work = work_of(device)
    assert work.users_of(kind) == ([work.devices[0]] if uses else [])
