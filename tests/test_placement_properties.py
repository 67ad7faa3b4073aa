# SPDX-License-Identifier: GPL-2.0-or-later
"""The invariants of the language where devices are placed, over generated VMs and profiles."""

from __future__ import annotations

from collections import Counter
from typing import Any

import strategies
from hypothesis import event, given, settings
from hypothesis import strategies as st
from placing import Seen, add, cells, nic, profile
from test_invariants import EXAMPLES, leaves
from test_placementcheck import expander, ported

import virtProfile
from virtProfile.errors import ProfileError

some = settings(max_examples=EXAMPLES // 2, deadline=None)

BRIDGES = ("br0", "br1", "br2")
nodes = st.sampled_from([None, 0, 0, 1, 1, 1, 2])
#: Devices of the same word share a slot.
slots = st.sampled_from(["", "", " virtuned:same-slot='a'", " virtuned:same-slot='b'"])


@st.composite
def profiles(draw: st.DrawFn) -> list[str]:
    made = []
    for number in range(draw(st.integers(1, 4))):
        actions = [
            add(
                nic(
                    draw(st.sampled_from(BRIDGES)), draw(nodes), draw(st.sampled_from(["virtio", "e1000"]))
                ).replace("'bridge'", f"'bridge'{draw(slots)}", 1),
                draw(st.sampled_from(["", "", "multiple='no'", "constraint='hard'"])),
            )
            for _ in range(draw(st.integers(1, 3)))
        ]
        if draw(st.booleans()) and number == 0:
            actions.append(add(cells(2)))
        made.append(profile(f"p{number}", *actions))
    return made


@st.composite
def domains(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(["pc", "q35"]))
    model = "pci-expander-bus" if name == "pc" else "pcie-expander-bus"
    devices = []
    index = 1
    for node in draw(st.lists(st.integers(0, 1), max_size=2)):
        devices.append(expander(index, node, 250 - 8 * index, model))
        if name == "q35":
            devices.append(ported(index + 1, index))
        index += 2
    for bridge in draw(st.lists(st.sampled_from(BRIDGES), max_size=3)):
        address = draw(st.sampled_from(["", "", "<address type='pci' bus='0x00' slot='0x{:02x}'/>"]))
        devices.append(nic(bridge, None, "virtio", address.format(len(devices) + 8))[9:-10])
    text = "\n    ".join(devices)
    numa = cells(2) if draw(st.booleans()) else "<memory>262144</memory>"
    return (
        f"<domain type='qemu'>\n  <name>vm</name>\n  {numa}\n  <os>\n    <type arch='x86_64' machine='{name}'>hvm</type>\n"
        f"  </os>\n  <devices>\n    {text}\n    <memballoon model='none'/>\n  </devices>\n</domain>\n"
    )


def run(xml: str, texts: list[str], **options: Any) -> virtProfile.Result | None:
    store = strategies.MemoryStore(texts)
    try:
        result = virtProfile.apply(xml, list(store.profiles), store=store, **options)
    except ProfileError as problem:
        event(f"error {problem.code}")
        return None
    placed = sum(1 for one in Seen(result.xml).nodes() if one is not None)
    event(f"{min(placed, 3)} placed")
    return result


@some
@given(domains(), profiles(), st.booleans())
def test_again_is_nothing(xml: str, texts: list[str], record: bool) -> None:
    if not record:
        # Who may only change what is there speaks, the second time, of what others added.
        texts = [text.replace("multiple='no'", "") for text in texts]
    once = run(xml, texts, record=record)
    if once is None:
        return
    twice = run(once.xml, texts, record=record)
    assert twice is not None
    assert twice.xml == once.xml


@some
@given(domains(), profiles(), st.randoms(use_true_random=False))
def test_order_never_matters(xml: str, texts: list[str], random: Any) -> None:
    other = list(texts)
    random.shuffle(other)
    one, two = run(xml, texts, record=False), run(xml, other, record=False)
    assert (one is None) == (two is None)
    if one is not None and two is not None:
        assert one.xml == two.xml


@some
@given(domains(), profiles())
def test_nothing_is_left_over(xml: str, texts: list[str]) -> None:
    once = run(xml, texts)
    if once is None:
        return
    back = virtProfile.unapply(once.xml, store=strategies.MemoryStore(texts))
    assert leaves(back.xml) == leaves(xml)


@some
@given(domains(), profiles())
def test_every_place_is_one_device(xml: str, texts: list[str]) -> None:
    """Places are unique, buses exist, parents come first, each bus number has room; all is attributed."""
    result = run(xml, texts, record=False)
    if result is None:
        return
    seen = Seen(result.xml)
    places = Counter(
        tuple(int(address.get(name, "0"), 0) for name in ("bus", "slot", "function"))
        for address in seen.root.findall("devices/*/address[@type='pci']")
    )
    assert max(places.values(), default=1) == 1
    for device in seen.root.find("devices"):
        bus = seen.bus(device)
        assert not bus or bus in seen.controllers
    for index, one in seen.controllers.items():
        assert (seen.bus(one) or 0) < index
    numbers = sorted(seen.numbers().values())
    assert len(numbers) == len(set(numbers))
    below = Counter(seen.bus(one) for one in seen.controllers.values())
    for index, number in seen.numbers().items():
        limit = min((one for one in numbers if one > number), default=256)
        bridge = seen.models()[index] == "pci-expander-bus"
        assert number + below[index] + bridge < limit
    added = leaves(result.xml) - leaves(xml)
    assert sum(added.values()) == sum(1 for one in result.changes if one.op == "add")
    kept = {one.get("address") for one in seen.root.iter("interface")}
    assert kept == {None} or not kept


@some
@given(domains(), profiles())
def test_a_profile_less_moves_nothing(xml: str, texts: list[str]) -> None:
    """Who stays on the list keeps its place when another profile goes."""
    store = strategies.MemoryStore(texts)
    once = run(xml, texts)
    if once is None or len(texts) < 2:
        return
    try:
        left = virtProfile.unapply(once.xml, ["p1"], store=store)
    except ProfileError:
        return
    before = Counter(
        (one.find("source").get("bridge"), one.find("model").get("type"), seen_place(one))
        for one in Seen(once.xml).root.iter("interface")
        if one.getparent().tag == "devices"
    )
    after = Counter(
        (one.find("source").get("bridge"), one.find("model").get("type"), seen_place(one))
        for one in Seen(left.xml).root.iter("interface")
        if one.getparent().tag == "devices"
    )
    assert not [one for one in after - before if one[2] is not None]


def seen_place(device: Any) -> Any:
    address = device.find("address")
    return None if address is None else (address.get("bus"), address.get("slot"))
