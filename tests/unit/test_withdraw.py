# SPDX-License-Identifier: GPL-2.0-or-later
"""Withdrawal: what the record says is taken back as far as it still stands so, and nothing else."""

from __future__ import annotations

import pytest
from lxml import etree
from staging import BASE_SCHEMA, tree_of, written
from strategies import MemoryStore

from virtProfile.engine.record.model import Entry, Record, Recorded, Trust, Written
from virtProfile.engine.record.trust import Judge
from virtProfile.engine.record.withdraw import TakenBack, make, take_back
from virtProfile.engine.tree.work_tree import WorkTree
from virtProfile.errors import PolicyError


@pytest.mark.parametrize(
    ("recorded", "text"),
    [
        (Written("acpi", {}, None), "<acpi/>"),
        (Written("title", {}, "a"), "<title>a</title>"),
        (
            Written("cpu", {"mode": "custom"}, None, [Written("model", {"fallback": "allow"}, "Haswell")]),
            '<cpu mode="custom"><model fallback="allow">Haswell</model></cpu>',
        ),
    ],
)
def test_make(recorded: Written, text: str) -> None:
    element = make(tree_of("").root, recorded)
    assert etree.tostring(element, with_tail=False).decode() == text


def on(at: str, now: Written, before: Written | None = None, *, hidden: tuple[str, ...] = ()) -> Entry:
    """Values that were written on an element of the definition."""
    return Entry("on", at, now, before, hidden=hidden)


def added(at: str, what: Written, number: int = 1) -> Entry:
    return Entry("add", at, what, None, number)


def removed(at: str, what: Written, number: int = 1) -> Entry:
    return Entry("del", at, what, None, number)


def part(tag: str, text: str | None = None, *children: Written, **attributes: str) -> Written:
    return Written(tag, attributes, text, children)


def take(
    body: str, *entries: Entry, trust: Trust = Trust.ALL, keep: bool = False
) -> tuple[WorkTree, TakenBack]:
    """Take back what profile a did, of which the store knows nothing."""
    tree = tree_of(body)
    record = Record([Recorded("a", "1", "00", entries=entries)])
    judge = Judge(MemoryStore([]), BASE_SCHEMA, trust)
    return tree, take_back(tree, BASE_SCHEMA, record, judge, lambda profile: keep)


@pytest.mark.parametrize(
    ("body", "entry", "result", "gone"),
    [
        # a value that was put in goes, one that was changed gets its value before
        ("<cpu mode='maximum'/>", on("cpu", part("cpu", mode="maximum")), "<cpu/>", 0),
        (
            "<cpu mode='maximum'/>",
            on("cpu", part("cpu", mode="maximum"), part("cpu", mode="custom")),
            "<cpu mode='custom'/>",
            0,
        ),
        ("<title>b</title>", on("title", part("title", "b"), part("title", "a")), "<title>a</title>", 0),
        # one that was taken out comes back, unless somebody put another one there
        ("<cpu/>", on("cpu", part("cpu"), part("cpu", mode="custom")), "<cpu mode='custom'/>", 0),
        ("<cpu mode='host-model'/>", on("cpu", part("cpu"), part("cpu", mode="custom")), "<cpu mode='host-model'/>", 0),
        # one that somebody changed since is theirs
        (
            "<cpu mode='host-model'/>",
            on("cpu", part("cpu", mode="maximum"), part("cpu", mode="custom")),
            "<cpu mode='host-model'/>",
            0,
        ),
        # one that somebody took out since stays out, and is remembered
        ("<cpu/>", on("cpu", part("cpu", mode="maximum"), part("cpu", mode="custom")), "<cpu/>", 1),
        # by its meaning, not by its spelling
        (
            "<memory unit='MiB'>1</memory>",
            on("memory", part("memory", "1024"), part("memory", "2048")),
            "<memory unit='MiB'>2048</memory>",
            0,
        ),
        # of an element that is not there any more
        ("", on("cpu", part("cpu", mode="maximum"), part("cpu", mode="custom")), "", 0),
        # where a device is gone
        (
            "<devices><disk><target dev='vda'/></disk></devices>",
            on("devices/disk[target/@dev='vdb']", part("disk", snapshot="no")),
            "<devices><disk><target dev='vda'/></disk></devices>",
            0,
        ),
    ],
)  # fmt: skip
def test_values(body: str, entry: Entry, result: str, gone: int) -> None:
    tree, outcome = take(body, entry)
    assert written(tree) == result
    assert len(outcome.gone) == gone
    assert bool(tree.barred) is bool(gone)


ADDRESS = "<address type='pci'/>"
RNG = part("rng", None, part("backend", "/dev/urandom", model="random"), model="virtio")


def rng(more: str = "") -> str:
    return f"<rng model='virtio'><backend model='random'>/dev/urandom</backend>{more}</rng>"


@pytest.mark.parametrize(
    ("body", "entry", "result", "gone"),
    [
        # a member of a list goes whole, with what libvirt put into it
        (
            f"<devices><hub type='usb'/>{rng(ADDRESS)}</devices>",
            added("devices", RNG),
            "<devices><hub type='usb'/></devices>",
            0,
        ),
        # of several alike the one at that place
        (f"<devices>{rng()}{rng('<!-- b -->')}</devices>", added("devices", RNG, 2), f"<devices>{rng()}</devices>", 0),
        # what is no longer there was taken out by hand
        ("<devices><hub type='usb'/></devices>", added("devices", RNG), "<devices><hub type='usb'/></devices>", 1),
        # what can be only one is taken apart: the values of others stay, and it with them
        (
            "<cpu mode='maximum' check='none'/>",
            added("", part("cpu", mode="maximum")),
            "",
            0,
        ),
        (
            "<cpu mode='host-model'><topology sockets='1'/></cpu>",
            added("", part("cpu", None, part("topology", sockets="1"), mode="maximum")),
            "<cpu mode='host-model'/>",
            0,
        ),
        # what holds much of others goes only when it is empty
        ("<features><acpi/></features>", added("", part("features", None, part("acpi"))), "", 0),
        (
            "<features><acpi/><apic/></features>",
            added("", part("features", None, part("acpi"))),
            "<features><apic/></features>",
            0,
        ),
    ],
)  # fmt: skip
def test_what_was_added(body: str, entry: Entry, result: str, gone: int) -> None:
    tree, outcome = take(body, entry)
    assert written(tree) == result
    assert len(outcome.gone) == gone
    assert bool(tree.missed) is bool(gone)


def test_what_stands_inside_of_what_was_added() -> None:
    """Two profiles' doing inside of each other: each entry finds its own before the outer one goes."""
    tree, outcome = take(
        "<devices><disk><target dev='vda'/><boot order='1'/></disk></devices>",
        added("devices", part("disk", None, part("target", dev="vda"))),
        added("devices/disk[target/@dev='vda']", part("boot", order="1")),
    )
    assert written(tree) == "<devices/>"
    assert [element.tag for element in tree.graves] == ["boot", "disk"]
    assert not outcome.gone


@pytest.mark.parametrize(
    ("body", "entry", "result"),
    [
        # at its place among its like
        (
            "<devices><disk><target dev='vda'/></disk><disk><target dev='vdc'/></disk></devices>",
            removed("devices", part("disk", None, part("target", dev="vdb")), 2),
            "<devices><disk><target dev='vda'/></disk><disk><target dev='vdb'/></disk>"
            "<disk><target dev='vdc'/></disk></devices>",
        ),
        # where libvirt has it, in a parent without its like
        ("<memory>1</memory>", removed("", part("title", "a")), "<title>a</title><memory>1</memory>"),
        # not where somebody made it again: the same by its key, or what there can be only one of in another form
        ("<title>b</title>", removed("", part("title", "a")), "<title>b</title>"),
        (
            "<devices><disk><target dev='vdb'/></disk></devices>",
            removed("devices", part("disk", None, part("target", dev="vdb"))),
            "<devices><disk><target dev='vdb'/></disk></devices>",
        ),
        # in what libvirt dropped, as nothing was in it any more
        ("", removed("devices", part("hub", type="usb")), "<devices><hub type='usb'/></devices>"),
    ],
)
def test_what_was_removed(body: str, entry: Entry, result: str) -> None:
    tree, outcome = take(body, entry)
    assert written(tree) == result
    assert not outcome.warnings


def test_what_has_no_key_comes_back_each() -> None:
    """One of the same form that stands there since is another one: it accounts for none."""
    tree, _ = take(f"<devices>{rng()}</devices>", removed("devices", RNG, 1), removed("devices", RNG, 2))
    assert len(tree.root[0].findall("rng")) == 3


def test_what_cannot_be_so_is_left_out() -> None:
    """A forged record: text where elements are."""
    tree, outcome = take(
        "<devices/>", removed("", part("cpu", "text")), on("devices", part("devices"), part("devices", "x"))
    )
    assert written(tree) == "<devices/>"
    assert [one.code for one in outcome.warnings] == ["record", "record"]


@pytest.mark.parametrize(
    ("hidden", "keep", "result", "kept", "lost"),
    [
        (("@passwd",), False, "<graphics type='vnc'/>", 0, 0),
        # its profile keeps it
        (("@passwd",), True, "<graphics type='vnc' passwd='x'/>", 1, 0),
        # the secret that it replaced was not kept
        (("@passwd!",), False, "<graphics type='vnc' passwd='x'/>", 1, 0),
    ],
)
def test_secret_values(hidden: tuple[str, ...], keep: bool, result: str, kept: int, lost: int) -> None:
    entry = on("devices/graphics", part("graphics"), hidden=hidden)
    tree, outcome = take("<devices><graphics type='vnc' passwd='x'/></devices>", entry, keep=keep)
    assert written(tree) == f"<devices>{result}</devices>"
    assert (len(outcome.kept), len(outcome.lost)) == (kept, lost)


@pytest.mark.parametrize(
    "entry",
    [
        on("cpu", part("cpu", mode="maximum"), part("cpu", mode="custom")),
        removed("", part("title", "a")),
    ],
)
def test_all_that_may_not_be_is_one_error(entry: Entry) -> None:
    """Whom only the store may confirm: nothing is changed without it."""
    with pytest.raises(PolicyError, match="profile 'a' 1 at"):
        take("<cpu mode='maximum'/>", entry, trust=Trust.STORE)


def test_it_is_the_floor() -> None:
    """What was taken back is the definition: a rollback does not bring it back."""
    tree, _ = take("<cpu mode='maximum'/>", on("cpu", part("cpu", mode="maximum")))
    tree.rollback()
    assert written(tree) == "<cpu/>"
    assert [one.origin.action for one in tree.accountable(tree.root[0], "@mode")] == ["withdraw"]
