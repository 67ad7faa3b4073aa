# SPDX-License-Identifier: GPL-2.0-or-later
"""The matrix of variants: one in the definition, another wanted by a profile, through libvirt's QEMU driver.

For every discriminator of tests/probing.py and every pair of its values, bare and with all
that only this variant allows, at priority 0 and 100: what comes out is defined, pending
nothing, the same again, and taken back equal to what defining the original gives; or it is
refused by an error of ours. libvirt never refuses what we wrote without us telling.
"""

from __future__ import annotations

import itertools
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import probing
import pytest
from lxml import etree
from probing import DISCRIMINATORS, Discriminator
from strategies import MemoryStore
from test_define_roundtrip import define, without_bookkeeping

import virtProfile
from virtProfile.errors import ProfileError
from virtProfile.format.facts import holds, rows
from virtProfile.format.relaxng import validator
from virtProfile.format.schema import DATA
from virtProfile.host.context import Context
from virtProfile.live.call_context import host_schema

libvirt = pytest.importorskip("libvirt")

SEED = int(os.environ.get("VIRT_PROFILE_SEED", "1"))
#: What belongs to which variant is judged as on the libvirt that defines it, as on a connection.
HOST = Context(schema=host_schema(needed=False))
#: How many cases the fast suite tries.
SAMPLE = int(os.environ.get("VIRT_PROFILE_VARIANTS", "150"))
#: Errors that say that two things cannot hold together, or that this machine has no such thing.
REFUSALS = {"conflict", "invalid-domain", "completion"}

Case = tuple[Discriminator, str, str, bool, bool, int]
BY_NAME = {one.name: one for one in DISCRIMINATORS}


class Variants:
    """The elements of the matrix, as libvirt of this machine takes them."""

    def __init__(self, handle: Any) -> None:
        self.probe = probing.Probe(handle)
        self._bare: dict[tuple[str, str], bool] = {}
        self._rich: dict[tuple[str, str], Any] = {}
        self._belongs: dict[tuple[str, str], list[tuple[str, list[str]]]] = {}
        for path, slot, what, keeps, _, when, *_ in rows(f"{DATA}/probed.tsv"):
            if not holds(when, None if HOST.schema is None else HOST.schema.era):
                continue
            self._belongs.setdefault((path, slot), []).append((what, keeps.split(" ")))

    def takes(self, one: Discriminator, value: str) -> bool:
        key = (one.name, value)
        if key not in self._bare:
            text = one.domain(one.form(value))
            root = self.probe.define(text)
            self._bare[key] = root is not None and self.probe.found(one, value, root) is not None
            if HOST.schema is not None:  # what its parser takes and its schema has not is unknown to it
                asked = etree.fromstring(text)
                self._bare[key] &= validator(HOST.schema.grammar).validate(asked)
        return self._bare[key]

    def element(self, one: Discriminator, value: str, rich: bool) -> Any:
        """The form of a value, with all that only this and some other values allow."""
        if not rich:
            return one.form(value)
        key = (one.name, value)
        if key not in self._rich:
            self._rich[key] = self._enriched(one, value)
        return self._rich[key]

    def _enriched(self, one: Discriminator, value: str) -> Any:
        whole = one.form(value)
        kept = self._leaves(one, value, whole)
        node = one.node(self.probe.schema)
        mine = [what for what, keeps in self._belongs.get((one.path, one.slot), ()) if value in keeps]
        for tags, slot, word in probing.parts(node):
            what = "/".join((*tags, slot)) if slot else "/".join(tags)
            if what not in mine or slot and probing.read(whole, what) is not None:
                continue
            more = probing.with_part(whole, node, tags, slot, word)
            if more is None:
                continue
            xml = one.domain(more)
            if self.probe.schema.validate(etree.fromstring(xml)):
                continue
            root = self.probe.define(xml)
            there = None if root is None else self.probe.found(one, value, root)
            if there is not None and (
                probing.read(there, what) == word if slot else there.find(what) is not None
            ):
                leaves = set(_slots(there))
                if kept <= leaves:  # else the part drops another (the backend passt a socket)
                    whole, kept = more, leaves
        return whole

    def _leaves(self, one: Discriminator, value: str, element: Any) -> set[str]:
        root = self.probe.define(one.domain(element))
        there = None if root is None else self.probe.found(one, value, root)
        return set() if there is None else set(_slots(there))


@pytest.fixture(scope="module")
def variants(embedded_qemu: Any) -> Variants:
    return Variants(embedded_qemu)


def _slots(element: Any, way: str = "") -> Iterator[str]:
    """The attributes that an element has, by their way down; addresses and what libvirt assigns aside."""
    for name in element.attrib:
        yield f"{way}/@{name}"
    for below in element.iterchildren("*"):
        if below.tag not in probing.NOT_PARTS:
            yield from _slots(below, f"{way}/{below.tag}")


def every_case() -> list[Case]:
    return [
        (one, has, wants, has_more, wants_more, priority)
        for one in DISCRIMINATORS
        for has, wants in itertools.permutations(one.forms, 2)
        for has_more in (False, True)
        for wants_more in (False, True)
        for priority in (0, 100)
    ]


def name_of(case: Case) -> str:
    one, has, wants, has_more, wants_more, priority = case
    return f"{one.name}: {has}{'+' * has_more} and {wants}{'+' * wants_more} at {priority}"


def profile(one: Discriminator, element: Any) -> str:
    inner = etree.tostring(element, encoding="unicode").replace("{", "{{").replace("}", "}}")
    for tag in reversed(one.path.split("/")[:-1]):
        inner = f"<{tag}>{inner}</{tag}>"
    return f"<profile name='p' version='1'><add multiple='no'>{inner}</add></profile>"


def run(variants: Variants, case: Case) -> str:
    """What came of a case: the code of an error of ours, or done.

    :raises AssertionError: an invariant does not hold
    :raises libvirt.libvirtError: libvirt refuses what we wrote
    """
    one, has, wants, has_more, wants_more, priority = case
    handle = variants.probe.handle
    text = define(handle, one.domain(variants.element(one, has, has_more)))
    text = define(handle, text)
    store = MemoryStore([profile(one, variants.element(one, wants, wants_more))])
    try:
        first = virtProfile.apply(text, [{"name": "p", "priority": priority}], store=store, context=HOST)
    except ProfileError as problem:
        assert problem.code in REFUSALS, problem
        return problem.code
    defined = define(handle, first.xml)
    again = virtProfile.apply(defined, store=store, context=HOST)
    assert not again.changes, ("pending", [str(change) for change in again.changes][:3])
    assert virtProfile.apply(again.xml, store=store, context=HOST).xml == again.xml, "the same again"
    for row in virtProfile.status(defined, store=store, context=HOST).profiles:
        assert not row.drift, ("drift", row.drift[:3])
    twice = define(handle, again.xml)
    back = define(handle, virtProfile.unapply(twice, store=store, context=HOST).xml)
    before, after = without_bookkeeping(text), without_bookkeeping(back)
    if any(warning.code == "secret" for warning in first.warnings):
        before, after = without_cookies(before), without_cookies(after)  # no record keeps them
    assert after == before, (
        "not taken back",
        list((before - after).items())[:4],
        list((after - before).items())[:4],
    )
    return "overridden" if first.overridden else "done"


def without_cookies(leaves: Counter[Any]) -> Counter[Any]:
    return Counter({leaf: count for leaf, count in leaves.items() if "cookie" not in leaf})


def known_faults() -> frozenset[str]:
    """Cases that are red, each with its cause above it in the file: to be mended, and counted in each run."""
    lines = (Path(__file__).parent / "data" / "variants-known.txt").read_text().splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def matrix(variants: Variants, cases: list[Case]) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    failed = []
    known = known_faults()
    for case in cases:
        one, has, wants, *_ = case
        if name_of(case) in known:
            outcomes["known faults"] += 1
            continue
        if not variants.takes(one, has) or not variants.takes(one, wants):
            outcomes["unknown to this libvirt"] += 1
            continue
        try:
            outcomes[run(variants, case)] += 1
        except (AssertionError, libvirt.libvirtError, ProfileError) as problem:
            failed.append(f"{name_of(case)}: {type(problem).__name__}: {str(problem)[:400]}")
    print(f"{len(cases)} cases: {dict(outcomes)}, {len(failed)} failed")
    place = os.environ.get("VIRT_PROFILE_FAILURES")
    if place:
        with Path(place).open("a") as stream:
            stream.writelines(line + "\n" for line in failed)
    assert not failed, f"{len(failed)} of {len(cases)}:\n" + "\n".join(failed[:40])
    return outcomes


def test_variants_sampled(variants: Variants) -> None:
    outcomes = matrix(variants, random.Random(SEED).sample(every_case(), SAMPLE))
    assert outcomes["done"] > SAMPLE / 8


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_NAME)
def test_variants(variants: Variants, name: str) -> None:
    matrix(variants, [case for case in every_case() if case[0].name == name])
