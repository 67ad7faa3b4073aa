# SPDX-License-Identifier: GPL-2.0-or-later
"""Every shipped profile on the VMs of libvirt's own tests, through a define and back."""

from __future__ import annotations

import itertools
import os
import random
import re
from collections import Counter
from functools import cache
from typing import Any

import library
import pytest
from test_define_roundtrip import define, without_bookkeeping
from test_lives import definable

import virtProfile
from virtProfile.errors import ProfileError

libvirt = pytest.importorskip("libvirt")

SEED = os.environ.get("VIRT_PROFILE_SEED", "20261130")
SAMPLE = 60
#: How many cases the slow part tries, of some 69,000; "all" for each.
CASES = os.environ.get("VIRT_PROFILE_CORPUS_CASES", "3000")
PARTS = 4
#: What this QEMU or libvirt does not have, and a VM whose PCI bus has no slot left for anything more.
OF_HOST = re.compile(
    "SEV launch security is not supported|'sev' launch security is not supported|SEV-SNP|'tdx'|TDX|index must be larger than bus|No more available PCI slots"
)


@cache
def _documents(handle: Any) -> list[str]:
    return sorted(set(definable(handle)))


def cases(handle: Any, count: int | None) -> list[tuple[str, str, int]]:
    every = list(itertools.product(_documents(handle), library.NAMES, (0, 120)))
    random.Random(SEED).shuffle(every)
    return every[:count]


def outcome(handle: Any, text: str, name: str, priority: int) -> str:
    """What came of it in a word or two.

    :raises AssertionError: something is pending after the define, or differs after all was taken back
    """
    store = library.store()
    try:
        first = virtProfile.apply(text, [library.wish(name, priority=priority)], store=store)
    except ProfileError as problem:
        return problem.code
    if first.xml == text:
        return "nothing to do"
    try:
        defined = define(handle, first.xml)
    except libvirt.libvirtError as problem:
        assert OF_HOST.search(str(problem)), f"refused: {problem}"
        return "not on this host"
    again = virtProfile.apply(defined, store=store)
    assert not again.changes, ("pending", [str(one) for one in again.changes][:3])
    for row in virtProfile.status(defined, store=store).profiles:
        assert not row.drift, ("changed by hand", str(row.drift)[:200])
    back = define(handle, virtProfile.unapply(define(handle, again.xml), store=store).xml)
    before, after = without_bookkeeping(text), without_bookkeeping(back)
    assert before == after, (list((before - after).items())[:3], list((after - before).items())[:3])
    return "through libvirt and back"


def through_libvirt(handle: Any, chosen: list[tuple[str, str, int]]) -> None:
    if not chosen:
        pytest.skip("./dev corpus fetches libvirt's documents")
    outcomes: Counter[str] = Counter()
    failed = []
    for text, name, priority in chosen:
        try:
            outcomes[outcome(handle, text, name, priority)] += 1
        except (AssertionError, ProfileError, libvirt.libvirtError) as problem:
            called = re.search("<name>(.*?)</name>", text)
            failed.append(f"{name} at {priority} on {called and called[1]}: {str(problem)[:300]}")
    print(f"{len(chosen)} cases: {dict(outcomes)}, {len(failed)} failed")
    assert not failed, f"{len(failed)} of {len(chosen)}:\n" + "\n".join(failed[:30])
    assert outcomes["through libvirt and back"] > len(chosen) / 2


def test_shipped_profiles_on_libvirts_vms_sampled(embedded_qemu: Any) -> None:
    through_libvirt(embedded_qemu, cases(embedded_qemu, SAMPLE))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_shipped_profiles_on_libvirts_vms(embedded_qemu: Any, part: int) -> None:
    chosen = cases(embedded_qemu, None if CASES == "all" else int(CASES))
    through_libvirt(embedded_qemu, chosen[part::PARTS])
