# SPDX-License-Identifier: GPL-2.0-or-later
"""Matching: which element is the one that a wish is about, and what of it holds."""

from __future__ import annotations

import pytest
from staging import tree_of, want_of

from virtProfile.engine.actions.match import State, exactly, holds, judge, pair


@pytest.mark.parametrize(
    ("body", "wish", "state"),
    [
        ("<memory>1024</memory>", "<memory>1024</memory>", State.HOLDS),
        ("<memory unit='MiB'>1</memory>", "<memory>1024</memory>", State.HOLDS),
        ("<memory>2048</memory>", "<memory>1024</memory>", State.DIFFERS),
        ("", "<memory>1024</memory>", State.GAP),
        ("<cpu mode='host-passthrough'/>", "<cpu mode='host-passthrough'/>", State.HOLDS),
        ("<cpu/>", "<cpu mode='host-passthrough'/>", State.GAP),
        ("<cpu mode='custom'/>", "<cpu mode='host-passthrough'/>", State.DIFFERS),
        ("<features><acpi/></features>", "<features><acpi/></features>", State.HOLDS),
        ("<features/>", "<features><acpi/></features>", State.GAP),
    ],
)
def test_judge(body: str, wish: str, state: State) -> None:
    want = want_of(f"<add>{wish}</add>")
    root = tree_of(body).root
    assert judge(root, want) is state
    assert holds(root, want) is (state is State.HOLDS)


USB = "<devices><hostdev mode='subsystem' type='usb'><source>{}</source></hostdev></devices>"
MAKE = "<vendor id='0x1'/><product id='0x2'/>"
PORT = "<address bus='1' device='2'/>"


@pytest.mark.parametrize(
    ("has", "wanted", "state"),
    [
        (MAKE, MAKE, State.HOLDS),
        ("<vendor id='0x1'/>", MAKE, State.GAP),
        (MAKE, MAKE + PORT, State.GAP),
        ("", MAKE, State.GAP),
        (PORT, MAKE, State.DIFFERS),
        (MAKE, PORT, State.DIFFERS),
    ],
)
def test_a_key_of_other_elements_is_another_key(has: str, wanted: str, state: State) -> None:
    """A USB device by its port is not the one by its make, of which nobody knows the port."""
    want = want_of(f"<add>{USB.format(wanted)}</add>").groups[0].wants[0]
    hostdev = tree_of(USB.format(has)).root.find("devices/hostdev")
    assert judge(hostdev, want) is state


@pytest.mark.parametrize(
    ("body", "same"), [("<title>a</title>", True), ("<title>a</title><memory>1</memory>", False), ("", False)]
)
def test_exactly(body: str, same: bool) -> None:
    root = tree_of(body).root
    del root.attrib["type"]  # every attribute counts
    assert exactly(root, want_of("<add><title>a</title></add>")) is same


@pytest.mark.parametrize(
    ("fits", "result"),
    [
        ({(0, "a"), (1, "b")}, {0: 0, 1: 1}),
        ({(0, "b"), (1, "a")}, {0: 1, 1: 0}),
        # the first may not keep what only the second can have
        ({(0, "a"), (0, "b"), (1, "a")}, {0: 1, 1: 0}),
        ({(0, "a"), (1, "a")}, None),
    ],
)
def test_pair(fits: set[tuple[int, str]], result: dict[int, int] | None) -> None:
    assert pair([0, 1], ["a", "b"], lambda element, want: (want, element) in fits) == result  # type: ignore[list-item]
