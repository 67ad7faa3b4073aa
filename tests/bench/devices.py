# SPDX-License-Identifier: GPL-2.0-or-later
"""The curve at 100, 1,000 and 10,000 devices: what a VM costs by its size, beside lxml on the same text."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lxml import etree
from spread import spread

SIZES = (100, 1_000, 10_000)
PROFILES = ["fast-disk", "net-multiqueue", "guest-agent", "virtio-scsi"]
#: Removals, and expressions over all devices, with a say over the definition.
OVERRIDING = ["high-performance", "no-usb"]
SHIPPED = Path(__file__).resolve().parents[2] / "profiles"
HOST = Path(__file__).resolve().parents[1] / "data" / "profiles" / "host"


def curve(domain: Callable[[int], str], sizes: Sequence[int] = SIZES) -> list[dict[str, object]]:
    """For each size and operation: CPU seconds, and over those of lxml's parse and serialise of the same
    text; flat where it is linear."""
    import virtProfile
    from virtProfile.host.context import Context

    store = virtProfile.ProfileStore([SHIPPED])
    documents = [(HOST / f"{name}.xml").read_text() for name in ("capabilities", "domcapabilities-q35")]
    host = Context(capabilities=tuple(documents[:1]), domcapabilities=tuple(documents[1:]))
    rows: list[dict[str, object]] = []
    for size in sizes:
        text = domain(size)
        data = text.encode()
        applied = virtProfile.apply(text, PROFILES, store=store).xml
        overriding = virtProfile.apply(text, OVERRIDING, store=store, override=True).xml
        operations: dict[str, Callable[[], object]] = {
            "apply": lambda text=text: virtProfile.apply(text, PROFILES, store=store),
            "again": lambda text=applied: virtProfile.apply(text, PROFILES, store=store),
            "status": lambda text=applied: virtProfile.status(text, store=store),
            "unapply": lambda text=applied: virtProfile.unapply(text, "all", store=store),
            "override": lambda text=text: virtProfile.apply(text, OVERRIDING, store=store, override=True),
            "override_unapply": lambda text=overriding: virtProfile.unapply(text, "all", store=store),
            "complete": lambda text=text: virtProfile.apply(
                text, [], store=store, complete=True, context=host
            ),
        }
        row: dict[str, object] = {"devices": size}
        for name, run in operations.items():
            ratios, times = [], []
            for _ in range(1 if size > 1_000 else 5):
                ours = _timed(run)
                times.append(ours)
                ratios.append(ours / _timed(lambda data=data: etree.tostring(etree.fromstring(data))))
            row[f"{name}_x_lxml"] = spread(ratios)
            row[f"{name}_s"] = min(times)
        rows.append(row)
    return rows


def _timed(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return max(time.process_time() - start, 1e-6)
