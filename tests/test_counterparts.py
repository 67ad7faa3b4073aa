# SPDX-License-Identifier: GPL-2.0-or-later
"""Real counterparts as judges: what they write beside what profiles make. ./dev counterparts fetches them."""

from __future__ import annotations

import collections

import pytest
from counterparts import like_nova as nova

import virtProfile
from virtProfile import ProfileError
from virtProfile.format.schema import Schema

pytestmark = pytest.mark.slow
with_nova = pytest.mark.skipif(not nova.RESULT.exists(), reason="./dev counterparts asks Nova")


# --- OpenStack Nova -----------------------------------------------------------------------


@with_nova
def test_there_are_hundreds_of_novas_domains() -> None:
    assert len(nova.rows()) > 600
    refused = [row for row in nova.result()["combinations"] if "refused" in row]
    assert {row["flavor"] for row in refused} <= {"viommu", "dedicated-isolate"}, refused[0]


@with_nova
def test_like_nova_writes_what_nova_writes() -> None:
    """Each difference has its reason, and each reason causes one."""
    met: collections.Counter[str] = collections.Counter()
    unexplained = []
    for row in nova.rows():
        for path, ours, theirs in nova.differences(row):
            found = nova.reasons(row, path)
            if not found:
                unexplained.append(f"{row['flavor']}, {row['image']}: {path} {ours!r}, Nova {theirs!r}")
            met.update(one.why for one in found)
    assert not unexplained, "\n".join(unexplained[:20])
    assert {one.why for one in nova.REASONS} == set(met)


@with_nova
def test_what_every_domain_differs_in_is_one_of_the_first() -> None:
    """Where neither flavor nor image says anything, nothing but those without names is left."""
    (row,) = [row for row in nova.rows() if (row["flavor"], row["image"]) == ("plain-2", "plain")]
    for path, *_ in nova.differences(row):
        assert [one for one in nova.reasons(row, path) if not one.of or "*" in one.of], path


PLACED = {
    "dedicated": {"nodes": "1"},
    "dedicated-require": {"nodes": "1", "policy": "require"},
    "dedicated-numa-2": {"nodes": "2"},
}


@with_nova
@pytest.mark.parametrize("flavor", PLACED)
def test_mirror_topology_places_as_nova_does(flavor: str) -> None:
    """The same nodes and memory; each vCPU on a CPU of its own, on the node of its memory, dedicated."""
    (row,) = [row for row in nova.rows() if (row["flavor"], row["image"]) == (flavor, "plain")]
    node, siblings = nova.host()
    both = [nova.placement(row["xml"]), nova.placement(nova.mirrored(row, **PLACED[flavor]))]
    assert both[0].nodes == both[1].nodes
    assert both[0].memory == both[1].memory
    assert both[0].modes == both[1].modes == {"strict"}
    for placed in both:
        chosen = [next(iter(pin)) for pin in placed.pins if len(pin) == 1]
        assert len(set(chosen)) == len(placed.pins)
        assert set(chosen) <= nova.cpus("4-7,12-15")
        homes = [home for home, (_, count) in zip(placed.memory, placed.nodes) for _ in range(count)]
        assert [node[cpu] for cpu in chosen] == homes
        # Whole cores: with two threads a core, vCPUs in pairs.
        assert all(set(siblings[cpu]) <= set(chosen) for cpu in chosen)


@with_nova
def test_novas_domains_make_the_round_trip() -> None:
    """Untouched without a profile; applied twice is once; taken back is as before; valid stays valid."""
    schema = Schema.baseline()
    done = 0
    refused: collections.Counter[str] = collections.Counter()
    for row, profiles in nova.journeys():
        text = row["xml"]
        assert virtProfile.apply(text, store=nova.store()).xml == text
        try:
            once = virtProfile.apply(text, profiles, store=nova.store())
        except ProfileError as problem:
            refused[f"{profiles}: {problem.code}"] += 1
            continue
        assert virtProfile.apply(once.xml, store=nova.store()).xml == once.xml, (row["flavor"], row["image"])
        assert not schema.validate(virtProfile.format.document.parse(once.xml).root)
        back = virtProfile.unapply(once.xml, "all", store=nova.store())
        assert nova.plain(back.xml) == nova.plain(text), (row["flavor"], row["image"], profiles)
        done += 1
    assert done > 700
    assert not refused, refused
