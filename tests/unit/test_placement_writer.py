# SPDX-License-Identifier: GPL-2.0-or-later
"""The placement writer: on which bus, in which slot, with which controllers a device comes to sit."""

from __future__ import annotations

from typing import Any

import pytest
from staging import BASE_SCHEMA, act, tree_of, writer_of

from virtProfile.engine.actions.perform import Actions
from virtProfile.engine.actions.restore import written_of
from virtProfile.engine.devices.placement_writer import Seat, Seating, name_of, slots_of
from virtProfile.engine.tree.ownership import THE_DEFINITION
from virtProfile.engine.tree.work_tree import WorkTree
from virtProfile.format.pci import PCI_EXPANDER, PCIE_EXPANDER

MODELS = {"pc": PCI_EXPANDER, "q35": PCIE_EXPANDER}


def nic(address: str = "") -> str:
    return f"<interface type='user'><model type='virtio'/>{address}</interface>"


def address(bus: int, slot: int) -> str:
    return f"<address type='pci' domain='0x0000' bus='0x{bus:02x}' slot='0x{slot:02x}' function='0x0'/>"


def expander(index: int, node: int, model: str, number: int) -> str:
    return (
        f"<controller type='pci' index='{index}' model='{model}'>"
        f"<target busNr='{number}'><node>{node}</node></target></controller>"
    )


def port(index: int, bus: int, slot: int = 0) -> str:
    return f"<controller type='pci' index='{index}' model='pcie-root-port'>{address(bus, slot)}</controller>"


def placed(devices: str, family: str, nodes: list[int]) -> tuple[Seating, list[Any]]:
    """Place the NICs, each on its node."""
    tree = tree_of(f"<devices>{devices}</devices>")
    seating = Seating(tree, Actions(tree, BASE_SCHEMA), family)
    nics = tree.root.findall("devices/interface")
    seating.seat(
        [Seat([one], node, [writer_of(f"p{at}")]) for at, (one, node) in enumerate(zip(nics, nodes))],
        MODELS[family],
    )
    return seating, nics


def place(device: Any) -> tuple[int, int] | None:
    at = device.find("address")
    return None if at is None else (int(at.get("bus"), 0), int(at.get("slot"), 0))


def made(seating: Seating) -> list[tuple[str, str, Any]]:
    """(index, model, where it sits or its bus number and node) of each new controller."""
    return [
        (
            one.get("index"),
            one.get("model"),
            (int(one.find("target").get("busNr")), int(one.findtext("target/node")))
            if one.get("model") in MODELS.values()
            else place(one),
        )
        for one in seating.made
    ]


@pytest.mark.parametrize(
    ("there", "family", "nodes", "places", "controllers"),
    [
        # pc: on the expander itself, from slot 1
        ("", "pc", [0], [(1, 1)], [("1", PCI_EXPANDER, (254, 0))]),
        ("", "pc", [0, 0], [(1, 1), (1, 2)], [("1", PCI_EXPANDER, (254, 0))]),
        (
            "",
            "pc",
            [1, 0],
            [(2, 1), (1, 1)],
            [("1", PCI_EXPANDER, (254, 0)), ("2", PCI_EXPANDER, (252, 1))],
        ),
        # an expander of the node that is there, in its next free slot
        (expander(3, 0, PCI_EXPANDER, 200), "pc", [0], [(3, 1)], []),
        (
            expander(3, 0, PCI_EXPANDER, 200) + f"<rng>{address(3, 1)}</rng>",
            "pc",
            [0],
            [(3, 2)],
            [],
        ),
        # one of another node is no place, and the new one is numbered below it
        (expander(3, 1, PCI_EXPANDER, 200), "pc", [0], [(4, 1)], [("4", PCI_EXPANDER, (198, 0))]),
        # q35: a root port for each device, below one expander
        (
            "",
            "q35",
            [0],
            [(2, 0)],
            [("1", PCIE_EXPANDER, (254, 0)), ("2", "pcie-root-port", (1, 0))],
        ),
        (
            "",
            "q35",
            [0, 0],
            [(2, 0), (3, 0)],
            [
                ("1", PCIE_EXPANDER, (253, 0)),
                ("2", "pcie-root-port", (1, 0)),
                ("3", "pcie-root-port", (1, 1)),
            ],
        ),
        # a free port of the node that is there is used; one that is taken, or of another node, is not
        (expander(1, 0, PCIE_EXPANDER, 200) + port(2, 1), "q35", [0], [(2, 0)], []),
        (
            expander(1, 0, PCIE_EXPANDER, 200) + port(2, 1) + f"<rng>{address(2, 0)}</rng>",
            "q35",
            [0],
            [(4, 0)],
            [("3", PCIE_EXPANDER, (198, 0)), ("4", "pcie-root-port", (3, 0))],
        ),
        (
            expander(1, 1, PCIE_EXPANDER, 200) + port(2, 1),
            "q35",
            [0],
            [(4, 0)],
            [("3", PCIE_EXPANDER, (198, 0)), ("4", "pcie-root-port", (3, 0))],
        ),
        # a root port that hangs on no expander is of no node
        (port(1, 0, 2), "q35", [0], [(3, 0)], [("2", PCIE_EXPANDER, (254, 0)), ("3", "pcie-root-port", (2, 0))]),
    ],
)  # fmt: skip
def test_places(
    there: str,
    family: str,
    nodes: list[int],
    places: list[tuple[int, int]],
    controllers: list[tuple[str, str, Any]],
) -> None:
    seating, nics = placed(there + nic() * len(nodes), family, nodes)
    assert [place(one) for one in nics] == places
    assert made(seating) == controllers
    for one in nics:
        bus, slot = place(one) or (0, 0)
        assert seating.topology.taken[bus][slot] == [one]
    assert not seating.actions.unmet


def test_a_full_expander_is_followed_by_another() -> None:
    seating, nics = placed(nic() * 32, "pc", [0] * 32)
    assert [place(one) for one in nics[-2:]] == [(1, 31), (2, 1)]
    assert [row[2] for row in made(seating)] == [(254, 0), (252, 0)]
    assert [len(seating.tree.owners(one, "@busNr")) for one in seating.tree.root.iter("target")] == [31, 1]


def test_an_address_that_says_only_pci_is_filled() -> None:
    _, nics = placed(nic("<address type='pci'/>"), "pc", [0])
    assert len(nics[0].findall("address")) == 1
    assert place(nics[0]) == (1, 1)


@pytest.mark.parametrize(
    ("family", "number", "more", "ok"),
    [
        ("pc", 2, "", False),
        ("pc", 3, "", True),
        ("q35", 2, "", False),
        ("q35", 3, "", True),
        # on q35 libvirt makes a port for each device without address, which takes a number too
        ("pc", 3, "<rng model='virtio'/>", True),
        ("q35", 3, "<rng model='virtio'/>", False),
    ],
)
def test_bus_numbers_run_out(family: str, number: int, more: str, ok: bool) -> None:
    """Is there room between the lowest expander that is there and the buses that hang on none?"""
    seating, nics = placed(expander(1, 1, MODELS[family], number) + nic() + more, family, [0])
    assert (place(nics[0]) is not None) is ok
    messages = [one.message for one in seating.actions.unmet]
    assert messages == (
        []
        if ok
        else ["interface user cannot be placed on NUMA node 0: the guest's PCI bus numbers are used up"]
    )


def test_everything_is_owned_by_whom_it_is_for() -> None:
    """A controller that is there, and one that is made, is wanted by each profile with a device on it."""
    seating, nics = placed(nic() * 2, "q35", [0, 0])
    tree = seating.tree
    bus = seating.made[0]
    for slot in ("", "@index", "@model"):
        assert {one.origin.profile for one in tree.owners(bus, slot)} == {"p0", "p1"}
    assert {one.origin.profile for one in tree.owners(bus.find("target/node"), "text()")} == {"p0", "p1"}
    assert [one.origin.profile for one in tree.owners(nics[1].find("address"), "@slot")] == ["p1"]
    assert [writer_names(tree, one) for one in seating.made[1:]] == [{"p0"}, {"p1"}]
    seating, _ = placed(expander(3, 0, PCI_EXPANDER, 200) + nic(), "pc", [0])
    there = seating.tree.root.find("devices/controller")
    assert writer_names(seating.tree, there) == {"definition", "p0"}


def writer_names(tree: WorkTree, element: Any) -> set[str]:
    return {one.origin.profile for one in tree.owners(element, "")}


def buried(devices: str, *paths: str) -> WorkTree:
    """A tree of which an earlier run's addresses and controllers are taken back."""
    tree = tree_of(f"<devices>{devices}</devices>")
    for path in paths:
        (element,) = tree.root.xpath(path)
        written = written_of(_snippet(element))
        tree.bury(element, [writer_of("p0")], written, list(element.iterdescendants()))
    tree.lay_floor()
    return tree


def _snippet(element: Any) -> Any:
    from virtProfile.language.profile import Snippet

    return Snippet(
        element.tag, tuple(element.items()), element.text, tuple(_snippet(one) for one in element), 0
    )


@pytest.mark.parametrize(
    ("there", "node", "where", "again"),
    [
        # bus and address of an earlier run come back
        (expander(7, 0, PCI_EXPANDER, 100) + nic(address(7, 9)), 0, (7, 9), True),
        # another node is wanted now
        (expander(7, 0, PCI_EXPANDER, 100) + nic(address(7, 9)), 1, (1, 1), False),
        # somebody took the slot since
        (expander(7, 0, PCI_EXPANDER, 100) + nic(address(7, 9)) + f"<rng>{address(7, 9)}</rng>", 0, (8, 1), False),
    ],
)  # fmt: skip
def test_the_place_of_an_earlier_run(there: str, node: int, where: tuple[int, int], again: bool) -> None:
    tree = buried(there, "devices/controller", "devices/interface/address")
    (bus,) = (one for one in tree.graves if one.tag == "controller")
    seating = Seating(tree, act(tree), "pc")
    device = tree.root.find("devices/interface")
    assert device is not None
    seating.seat([Seat([device], node, [writer_of("p0")])], PCI_EXPANDER)
    assert place(device) == where
    assert tree.stands(bus) is again


@pytest.mark.parametrize(("now", "stays"), [(address(7, 9), False), (address(7, 10), True)])
def test_a_device_that_somebody_moved_since(now: str, stays: bool) -> None:
    """Its address is the definition's then; where nobody did, it stays taken back."""
    tree = tree_of(f"<devices>{nic(now)}</devices>")
    device = tree.root.find("devices/interface")
    former = device.find("address")
    # what was written is taken back value by value, what somebody changed is left
    for name, value in (("domain", "0x0000"), ("bus", "0x07"), ("slot", "0x09"), ("function", "0x0")):
        if former.get(name) == value:
            tree.unset(former, "@" + name, writer_of("p0"))
    tree.bury(former, [writer_of("p0")], None)
    tree.lay_floor()
    Seating(tree, act(tree), "pc").restore_moved(device)
    assert (place(device) == (7, 10)) is stays
    assert (former not in tree.graves) is stays
    if stays:
        assert tree.owners(former, "@bus") == [THE_DEFINITION]


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("<disk><target dev='vda'/></disk>", "disk vda"),
        ("<interface><target dev='tap0'/><alias name='ua-x'/></interface>", "interface tap0"),
        ("<interface><alias name='ua-x'/></interface>", "interface ua-x"),
        ("<rng/>", "rng"),
        ("<disk><target bus='virtio'/></disk>", "disk"),
    ],
)
def test_name_of(device: str, name: str) -> None:
    assert name_of(tree_of(f"<devices>{device}</devices>").root[0][0]) == name


@pytest.mark.parametrize(
    ("text", "slots"),
    [("<node>1</node>", ["", "text()"]), ("<target busNr='2'/>", ["", "@busNr"]), ("<address/>", [""])],
)
def test_slots_of(text: str, slots: list[str]) -> None:
    assert slots_of(tree_of(text).root[0]) == slots
