# SPDX-License-Identifier: GPL-2.0-or-later
"""libvirt's own documents with profiles whose devices need others: again is nothing, all is attributed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import corpus
import pytest
import strategies
from completing import add, disks
from test_invariants import leaves

import virtProfile
from virtProfile.errors import ProfileError

pytestmark = pytest.mark.skipif(not corpus.documents(), reason="./dev corpus fetches libvirt's documents")

PROFILES = {
    "scsi": add(disks("scsi", 3, 40)),
    "sata": add(disks("sata", 2, 50)),
    "ide": add(disks("ide", 1, 9)),
    "cdrom": add("<disk device='cdrom'/>"),
    "floppy": add("<disk device='floppy'/>"),
    "threads": add(disks("virtio", 1, 60).replace("name='qemu'", "name='qemu' iothread='2'")),
    "dimm": add("<memory model='dimm'><target><size unit='MiB'>64</size></target></memory>"),
    "queues": "<default><devices><controller type='scsi'><driver queues='2'/></controller></devices></default>",
    "ports": "<default><devices><controller type='virtio-serial' ports='8'/></devices></default>",
    "moved": "<add multiple='no'><devices><disk device='disk'><target bus='scsi'/></disk></devices></add>",
    "q35": "<add><os><type machine='q35'>hvm</type></os></add>",
}
#: At this priority they change what the definition says.
ABOVE = ("moved", "q35")


@pytest.fixture(scope="module")
def store() -> Any:
    return strategies.MemoryStore([f"<profile name='{n}'>{text}</profile>" for n, text in PROFILES.items()])


def wishes(names: list[str]) -> list[dict[str, Any]]:
    return [{"name": name, "priority": 100 if name in ABOVE else 0} for name in names]


def test_idempotent_and_attributed(store: Any) -> None:
    """Each document with a third of the profiles, and with pairs."""
    outcomes: Counter[str] = Counter()
    names = list(PROFILES)
    for number, (path, text) in enumerate(corpus.documents()):
        if not corpus.is_valid(path):
            continue
        one, other = names[number % len(names)], names[(number // 3) % len(names)]
        for wanted in ([one], sorted({one, other})):
            try:
                result = virtProfile.apply(text, wishes(wanted), store=store, record=False)
            except ProfileError as problem:
                outcomes[problem.code] += 1
                assert problem.code in ("completion", "conflict", "invalid-domain"), (path, str(problem))
                continue
            outcomes["done"] += 1
            again = virtProfile.apply(result.xml, wishes(wanted), store=store, record=False)
            assert again.xml == result.xml, (path, wanted)
            before, after = leaves(text), leaves(result.xml)
            for change in result.changes:
                assert change.origin.profile in wanted
                assert change.before is not None or change.after is not None or change.op != "set"
            added = sum(1 for change in result.changes if change.op == "add" and change.after is not None)
            gone = sum(1 for change in result.changes if change.op == "remove" and change.before is not None)
            turned = sum(1 for change in result.changes if change.op == "set")
            full = {leaf: n for leaf, n in (after - before).items() if leaf[1:] != ("", "")}
            less = {leaf: n for leaf, n in (before - after).items() if leaf[1:] != ("", "")}
            # A value that goes in one place and comes in another of the same path cancels out.
            assert sum(full.values()) <= added + turned, (path, wanted)
            assert sum(less.values()) <= gone + turned, (path, wanted)
            assert sum(full.values()) - sum(less.values()) == added - gone, (path, wanted)
    print(outcomes)
    assert outcomes["done"] > 3 * outcomes["completion"]
