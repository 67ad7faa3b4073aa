# SPDX-License-Identifier: GPL-2.0-or-later
"""Records made to be compared for hours or to fill the memory: refused, or read in linear work."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import library
import pytest
from counting import calls, growth

import virtProfile
from virtProfile.engine.record import model
from virtProfile.engine.record.model import Record, read_place, read_record
from virtProfile.engine.tree.effort import Effort
from virtProfile.errors import PolicyError
from virtProfile.format.document import RECORD_NS, VIRTUNED_NS, parse

STORE = library.store()


def domain(metadata: str, devices: str = "") -> str:
    return (
        f"<domain type='kvm'><name>x</name><metadata>{metadata}</metadata><memory>1024</memory><vcpu>1</vcpu>"
        f"<os><type>hvm</type></os><devices>{devices}</devices></domain>"
    )


def record(entries: str) -> str:
    head = "<vr:profile name='rng' version='1' digest='0' priority='0'>"
    return f"<vr:record xmlns:vr='{RECORD_NS}' xmlns:f='urn:f'>{head}{entries}</vr:profile></vr:record>"


def nested(depth: int, attribute: str = "") -> str:
    """Elements of one shape in each other, each beside another of its like."""
    return f"<f:m xmlns:f='urn:f'>{f'<f:m{attribute}>' * depth}{'</f:m><f:m/>' * depth}</f:m>"


def read(text: str) -> Record:
    found = read_record(parse(text))
    assert found is not None
    return found


def withdraw(text: str) -> Callable[[], object]:
    return lambda: virtProfile.apply(text, [], store=STORE)


def _same(depth: int) -> str:
    return domain(nested(depth) + record(f"<vr:add to='metadata' n='1'>{nested(depth)}</vr:add>"))


def _other(depth: int) -> str:
    changed = nested(depth, " a='9'")
    return domain(nested(depth) + record(f"<vr:add to='metadata' n='1'>{changed}</vr:add>"))


@pytest.mark.parametrize("make", [_same, _other])
@pytest.mark.parametrize("ask", [withdraw, lambda text: lambda: virtProfile.status(text, store=STORE)])
def test_nesting_is_no_power_of_its_depth(
    make: Callable[[int], str], ask: Callable[[str], Callable[[], object]]
) -> None:
    ask(make(4))()
    assert calls(ask(make(60)), 3_000_000) < 3_000_000  # the cube, and no power of two


def test_what_is_deeper_than_any_profile_writes_is_left_out() -> None:
    deep = "<f:m>" * (model.MAX_DEPTH + 2) + "</f:m>" * (model.MAX_DEPTH + 2)
    found = read(domain(record(f"<vr:add to='metadata' n='1'>{deep}</vr:add>")))
    assert not found.profiles[0].entries
    assert [one.code for one in found.warnings] == ["record"]


SCANS = {
    "values": "".join(
        f"<vr:on at='devices/input[{n % 1000 + 1}]'><vr:input bus='{n}'/></vr:on>" for n in range(2000)
    ),
    "devices": "".join(
        f"<vr:add to='devices' n='{n}'><vr:input type='keyboard'/></vr:add>" for n in range(1, 2000)
    ),
    "children": "<vr:add to='metadata' n='1'><f:m>" + "<f:n a='2'/>" * 2000 + "</f:m></vr:add>",
}


@pytest.mark.parametrize("name", SCANS)
def test_what_fits_nothing_is_not_compared_with_everything(name: str) -> None:
    foreign = "<f:m xmlns:f='urn:f'>" + "<f:n a='1'/>" * 2000 + "</f:m>"
    text = domain(foreign + record(SCANS[name]), "<input type='tablet' bus='usb'/>" * 2000)
    with pytest.raises(PolicyError, match="reasonable time"):
        virtProfile.apply(text, [], store=STORE)


def test_the_effort_of_a_call_is_bounded() -> None:
    effort = Effort()
    effort.spend(effort.left)
    with pytest.raises(PolicyError):
        effort.spend()
    effort.allow(1)
    effort.left += 1
    effort.spend()


def test_places_are_counted_before_they_are_written_out() -> None:
    words = " ".join(["a" * 10] * 20_000)
    text = domain(record(f"<vr:on at='{'?' * 100_000}' of='{words}'><vr:x a='1'/></vr:on>"))
    document = parse(text)
    tracemalloc.start()
    try:
        found = read_record(document)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found is not None and not found.profiles[0].entries
    assert peak < 16 * 2**20


def test_many_words_of_places_that_are_short_are_read() -> None:
    words = " ".join(f"vd{number}" for number in range(20_000))
    found = read(
        domain(record(f"<vr:on at='devices/disk[target/@dev=?]' of='{words}'><vr:disk a='1'/></vr:on>"))
    )
    assert len(found.profiles[0].entries) == 20_000 and not found.warnings


def _keys(count: int) -> str:
    """Places that name nothing, each by other parts of a key, or by a long one."""
    disks = "".join(f"<disk><target dev='vd{number}'/></disk>" for number in range(count))
    places = [f"devices/disk[target/@dev=x{number}]" for number in range(count)]
    places += [f"devices/disk[target/@a{number}=x][target/@dev=y]" for number in range(count // 8)]
    entries = "".join(f"<vr:on at='{place}'><vr:disk a='1'/></vr:on>" for place in places)
    return domain(record(entries), disks)


def test_places_by_keys_that_nothing_has_are_looked_up() -> None:
    """Each was compared with all of its like, and a place might have hundreds of parts of a key."""
    withdraw(_keys(10))()
    assert calls(withdraw(_keys(400)), 3_000_000) < 1_000_000
    assert (
        not read(domain(record(f"<vr:on at='devices/disk{'[@a=b]' * 9}'><vr:x a='1'/></vr:on>")))
        .profiles[0]
        .entries
    )


@pytest.mark.parametrize("place", [f"devices{'[' * 15_000}]", "a/" * 8_000, "a" * 20_000])
def test_a_place_that_is_none_is_refused_at_once(place: str) -> None:
    def ask() -> None:
        with pytest.raises(ValueError):
            read_place(place)

    assert calls(ask) < 1000
    assert not read(domain(record(f"<vr:on at='{place}'><vr:x a='1'/></vr:on>"))).profiles[0].entries


def _profiles(count: int) -> str:
    rows = "".join(f"<vr:profile name='p{n}' version='1' digest='0' priority='0'/>" for n in range(count))
    return domain(f"<vr:record xmlns:vr='{RECORD_NS}'>{rows}</vr:record>")


def test_profiles_of_a_record_are_not_looked_for_one_by_one() -> None:
    assert growth(lambda count: withdraw(_profiles(count)), 300) < 2.3
    found = read(_profiles(60_000))
    assert len(found.profiles) == model.MAX_PROFILES
    assert len(found.warnings) == model.MAX_DOUBTS + 1
    assert found.warnings[-1].message.startswith("58980 more parts")


def test_a_record_has_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "MAX_LENGTH", 2000)
    text = domain(record(f"<vr:add to='metadata'><f:m>{'x' * 2000}</f:m></vr:add>"))
    for ask in (virtProfile.status, virtProfile.apply):
        with pytest.raises(PolicyError, match="the record of profiles is larger"):
            ask(text, store=STORE)


def test_a_list_has_a_length() -> None:
    def text(count: int) -> str:
        rows = "".join(f"<v:profile name='p{number}' exclude='yes'/>" for number in range(count))
        return domain(f"<v:virtuned xmlns:v='{VIRTUNED_NS}'>{rows}</v:virtuned>")

    assert growth(lambda count: lambda: virtProfile.status(text(count), store=STORE), 100) < 2.3
    with pytest.raises(PolicyError, match="more than 256 profiles"):
        virtProfile.status(text(257), store=STORE)
