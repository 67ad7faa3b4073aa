# SPDX-License-Identifier: GPL-2.0-or-later
"""Lives through libvirt with people's edits between the defines: what is pending is settled by one apply.

As in test_lives.py there are two VMs, one without profiles; an edit is made and defined in both.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from typing import Any

import pytest
from test_define_roundtrip import define, without_bookkeeping
from test_lives import LIVES, SAMPLE, SEED, Life, definable

import virtProfile
from virtProfile.errors import ProfileError

libvirt = pytest.importorskip("libvirt")


#: Lives of a seed that are red, and why: to be mended.
KNOWN = {("20261129", 276): "a pin of a vCPU without CPUs, which libvirt drops, moves in the record"}


def macs(text: str) -> list[str]:
    return sorted(re.findall("<mac address=.([0-9a-f:]*)", text))


def live(handle: Any, life: Life, outcomes: Counter[str]) -> None:
    """Profiles and edits, one to three times, each defined; then all is taken back.

    :raises AssertionError: an apply after the edit left something pending, or undo gives another VM
    """
    for _ in range(life.chance.randint(1, 3)):
        life.apply()
        if life.applied == life.plain:
            continue
        try:
            life.applied = define(handle, life.applied)
        except libvirt.libvirtError:
            outcomes["refused"] += 1
            return
        unedited = life.plain, life.applied
        life.edit()
        try:
            for _ in range(2):  # an emptied drive is of the type 'file' at the second one
                life.plain, life.applied = define(handle, life.plain), define(handle, life.applied)
            if macs(life.plain) != macs(life.applied):  # taken out by the edit: libvirt draws another
                life.plain, life.applied = unedited
            outcomes["edited"] += (life.plain, life.applied) != unedited
        except libvirt.libvirtError:
            life.plain, life.applied = unedited
            outcomes["edit refused"] += 1
        try:
            again = define(handle, virtProfile.apply(life.applied, store=life.store).xml)
        except libvirt.libvirtError:
            outcomes["refused after the edit"] += 1
            continue
        settled = virtProfile.apply(again, store=life.store)
        assert not settled.changes, ("pending", [str(one) for one in settled.changes][:2])
        life.applied = again
    back = define(handle, virtProfile.unapply(life.applied, store=life.store).xml)
    before, after = without_bookkeeping(life.plain), without_bookkeeping(back)
    assert before == after, (list((before - after).items())[:3], list((after - before).items())[:3])
    outcomes["back"] += 1


def lives(handle: Any, count: int, first: int = 0) -> None:
    documents = definable(handle)
    if not documents:
        pytest.skip("./dev corpus fetches libvirt's documents")
    outcomes: Counter[str] = Counter()
    failed = []
    for number in range(first, first + count):
        if (SEED, number) in KNOWN:
            outcomes["known"] += 1
            continue
        chance = random.Random(f"{SEED}-edited-{number}")
        try:
            live(handle, Life(chance, chance.choice(documents), True), outcomes)
        except ProfileError as problem:
            outcomes[problem.code] += 1
        except (AssertionError, libvirt.libvirtError) as problem:
            failed.append(f"life {number}: {type(problem).__name__} {str(problem)[:400]}")
    print(f"{count} edited lives: {dict(outcomes)}, {len(failed)} failed")
    assert not failed, f"{len(failed)} of {count} lives:\n" + "\n".join(failed[:30])
    assert outcomes["back"] > count / 2


def test_edited_lives_sampled(embedded_qemu: Any) -> None:
    lives(embedded_qemu, SAMPLE // 2)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_edited_lives(embedded_qemu: Any, part: int) -> None:
    lives(embedded_qemu, LIVES // 4, part * LIVES // 4)
