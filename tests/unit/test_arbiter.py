# SPDX-License-Identifier: GPL-2.0-or-later
"""The arbiter alone: who may replace whom, what is a conflict, what goes with a value that changes."""

from __future__ import annotations

import pytest
from lxml import etree
from staging import BASE_SCHEMA, action_of, tree_of, want_of, writer_of

from virtProfile.engine.actions.arbiter import Arbiter, Lost, has_unit, with_unit
from virtProfile.engine.tree.ownership import THE_DEFINITION, Writer
from virtProfile.engine.tree.work_tree import WorkTree
from virtProfile.language.wishes import Leaf


def arbiter_of(body: str = "") -> Arbiter:
    return Arbiter(tree_of(body), BASE_SCHEMA)


def leaf_of(wish: str) -> Leaf:
    """The first leaf of an action's wish, outside of any list."""
    found: Leaf = want_of(f"<add>{wish}</add>").leaves[0]
    return found


def shown(tree: WorkTree) -> str:
    """The content of the domain, by lxml."""
    return "".join(etree.tostring(one, encoding="unicode") for one in tree.root)


@pytest.mark.parametrize(
    ("priority", "owners", "wins"),
    [
        (100, [], True),
        (100, [THE_DEFINITION], True),
        (99, [THE_DEFINITION], False),
        (50, [writer_of("b", 49)], True),
        (50, [writer_of("b", 50)], False),
        (50, [writer_of("b", 49, hard=True)], False),
        # each of several has to give way
        (50, [writer_of("b", 49), writer_of("c", 51)], False),
    ],
)
def test_beats(priority: int, owners: list[Writer], wins: bool) -> None:
    assert arbiter_of().beats(writer_of("a", priority), owners) is wins


def test_a_writer_may_replace_what_it_wrote() -> None:
    writer = writer_of("a", 50, hard=True)
    assert arbiter_of().beats(writer, [writer])


@pytest.mark.parametrize(
    ("loser", "winners", "conflict"),
    [
        (writer_of("a", 50), [writer_of("b", 60)], False),
        (writer_of("a", 50), [writer_of("b", 50)], True),
        (writer_of("a", 50, hard=True), [writer_of("b", 60)], True),
        # a default and a wish of the same priority are not equal
        (writer_of("a", 50, default=True), [writer_of("b", 50)], False),
        (writer_of("a", 50, default=True), [writer_of("b", 50, default=True)], True),
        # without an owner it lost to the definition
        (writer_of("a", 99), [], True),
        (writer_of("a", 98), [], False),
    ],
)
def test_what_is_a_conflict(loser: Writer, winners: list[Writer], conflict: bool) -> None:
    arbiter = arbiter_of()
    arbiter.lose(arbiter.tree.root, "title", "a", "b", loser, winners)
    (loss,) = arbiter.losses
    assert loss.conflict is conflict
    assert loss.winners == (winners or [THE_DEFINITION])


@pytest.mark.parametrize(
    ("body", "tags", "reached", "missing"),
    [
        ("", ("cpu", "model"), "domain", 2),
        ("<cpu/>", ("cpu", "model"), "cpu", 1),
        ("<cpu><model/></cpu>", ("cpu", "model"), "model", 0),
        ("", (), "domain", 0),
    ],
)
def test_reach(body: str, tags: tuple[str, ...], reached: str, missing: int) -> None:
    arbiter = arbiter_of(body)
    element, count = arbiter.reach(arbiter.tree.root, tags)
    assert (element.tag, count) == (reached, missing)


@pytest.mark.parametrize(
    ("body", "wish", "result"),
    [
        ("<title>a</title>", "<title>b</title>", "<title>b</title>"),
        # a size is written with its unit, and an old unit does not stay beside a new number
        ("<memory unit='MiB'>1</memory>", "<memory unit='GiB'>2</memory>", '<memory unit="GiB">2</memory>'),
        ("<memory unit='MiB'>1</memory>", "<memory>2048</memory>", "<memory>2048</memory>"),
    ],
)
def test_write(body: str, wish: str, result: str) -> None:
    arbiter = arbiter_of(body)
    arbiter.write(arbiter.tree.root[0], leaf_of(wish), writer_of("a"))
    assert shown(arbiter.tree) == result


@pytest.mark.parametrize(
    ("said", "writers", "losses"),
    [
        (["1", "1"], ["a", "b"], 0),
        (["1", "2"], ["a"], 1),
        # the same number in another spelling
        (["1", "01"], ["a", "b"], 0),
    ],
)
def test_intend(said: list[str], writers: list[str], losses: int) -> None:
    arbiter = arbiter_of("<devices><memballoon model='virtio'/></devices>")
    device = arbiter.tree.root[0][0]
    for name, value in zip("ab", said):
        arbiter.intend(device, "numa-node", value, 1, writer_of(name))
    asked = arbiter.intents["numa-node"][device]
    assert [one.origin.profile for one in asked.writers] == writers
    assert len(asked.lines) == len(writers)
    assert len(arbiter.losses) == losses
    assert arbiter.wishes.total() == 2


def test_build_owns_what_it_makes() -> None:
    arbiter = arbiter_of()
    snippet = action_of("<add><cpu mode='custom'><model>Haswell</model></cpu></add>").branches[0]
    writer = writer_of("a")
    new = arbiter.build(arbiter.tree.root, snippet, writer)
    assert etree.tostring(new) == b'<cpu mode="custom"><model>Haswell</model></cpu>'
    assert new.getparent() is None
    owned = {(element.tag, slot) for element, slots in arbiter.tree.claims.items() for slot in slots}
    assert owned == {("cpu", ""), ("cpu", "@mode"), ("model", ""), ("model", "text()")}
    assert arbiter.tree.owners(new, "@mode") == [writer]


LOADER = "<os><loader>/x</loader></os>"
FIRMWARE = "<os firmware='efi'/>"


@pytest.mark.parametrize(
    ("body", "wish", "writer", "kept_out", "result", "losses"),
    [
        # nothing there that excludes it
        ("<os/>", FIRMWARE, writer_of("a", 50), False, "<os/>", 0),
        # the weaker value goes
        (LOADER, FIRMWARE, writer_of("a", 100), False, "<os><loader/></os>", 0),
        # the stronger value keeps the wish out
        (LOADER, FIRMWARE, writer_of("a", 50), True, LOADER, 1),
        # a default is silent where the definition has its say, at any priority
        (LOADER, FIRMWARE, writer_of("a", 100, default=True), True, LOADER, 0),
        # white space is no value
        (
            "<os><loader> </loader></os>",
            FIRMWARE,
            writer_of("a", 50),
            False,
            "<os><loader> </loader></os>",
            0,
        ),
    ],
)
def test_excluded(body: str, wish: str, writer: Writer, kept_out: bool, result: str, losses: int) -> None:
    arbiter = arbiter_of(body)
    assert arbiter.excluded(arbiter.tree.root, leaf_of(wish), writer) is kept_out
    assert shown(arbiter.tree) == result
    assert [loss.note for loss in arbiter.losses] == ["os/loader/text() is '/x', which excludes it"] * losses


@pytest.mark.parametrize(
    ("body", "wish", "old", "result"),
    [
        # what only the old variant has goes, what both have stays
        (
            "<cpu mode='custom' match='exact'><model>Haswell</model><topology sockets='1'/></cpu>",
            "<cpu mode='maximum'/>",
            "custom",
            '<cpu mode="custom"><topology sockets="1"/></cpu>',
        ),
        (
            "<cpu mode='host-model' check='partial'/>",
            "<cpu mode='custom'/>",
            "host-model",
            '<cpu mode="host-model" check="partial"/>',
        ),
        # by the schema alone: attributes and elements that only the old variant has
        (
            "<clock offset='timezone' timezone='Europe/Paris'><timer name='rtc'/></clock>",
            "<clock offset='utc'/>",
            "timezone",
            '<clock offset="timezone"><timer name="rtc"/></clock>',
        ),
        (
            "<launchSecurity type='sev'><policy>0x3</policy></launchSecurity>",
            "<launchSecurity type='s390-pv'/>",
            "sev",
            '<launchSecurity type="sev"/>',
        ),
    ],
)
def test_drop_variant(body: str, wish: str, old: str, result: str) -> None:
    arbiter = arbiter_of(body)
    arbiter.drop_variant(arbiter.tree.root[0], leaf_of(wish), old, writer_of("a"))
    assert shown(arbiter.tree) == result


@pytest.mark.parametrize(
    ("body", "wish", "old"),
    [
        ('<cpu mode="custom"><model>Haswell</model></cpu>', "<cpu mode='maximum'/>", "custom"),
        (
            '<launchSecurity type="sev"><policy>0x3</policy></launchSecurity>',
            "<launchSecurity type='s390-pv'/>",
            "sev",
        ),
    ],
)
def test_a_hard_wish_outlives_its_variant(body: str, wish: str, old: str) -> None:
    arbiter = arbiter_of(body)
    element = arbiter.tree.root[0]
    hard = writer_of("b", 100, hard=True)
    arbiter.tree.claim(element[0], "text()", hard)
    arbiter.drop_variant(element, leaf_of(wish), old, writer_of("a", 200))
    assert shown(arbiter.tree) == body
    assert {(loss.element, loss.winners[0]) for loss in arbiter.losses} == {(element[0], hard)}


@pytest.mark.parametrize(
    ("body", "wish", "wanted", "has"),
    [
        ("<memory unit='MiB'>1</memory>", "<memory unit='GiB'>2</memory>", "2 GiB", "1 MiB"),
        ("<memory>1024</memory>", "<memory>2048</memory>", "2048", "1024"),
        ("<title>a</title>", "<title>b</title>", "b", "a"),
    ],
)
def test_values_are_reported_with_their_unit(body: str, wish: str, wanted: str, has: str) -> None:
    element, leaf = tree_of(body).root[0], leaf_of(wish)
    assert with_unit(leaf) == wanted
    assert has_unit(element, leaf, element.text) == has
    assert has_unit(element, leaf, None) is None


@pytest.mark.parametrize(
    ("lost", "path", "covered"),
    [
        ("<cpu mode='custom'/>", "cpu/model", True),
        ("<cpu mode='custom'/>", "cpu/model/@fallback", True),
        ("<cpu mode='custom'/>", "cpu/models", False),
        ("<cpu mode='custom'/>", "cpu/topology", False),
        ("<cpu mode='custom'/>", "model", False),
        ("<title>a</title>", "cpu/model", False),
    ],
)
def test_what_is_lost_with_a_discriminator(lost: str, path: str, covered: bool) -> None:
    entries = Lost()
    entries.note(leaf_of(lost), "host-passthrough")
    assert entries.covers(path) is covered
