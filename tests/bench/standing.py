# SPDX-License-Identifier: GPL-2.0-or-later
"""`status` of a thousand VMs with ten profiles each, and an audit of a thousand without, in one process, beside a
plain parse of them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lxml import etree
from spread import spread

VMS = 1000
SHIPPED = Path(__file__).resolve().parents[2] / "profiles"


def audit(domain: str) -> dict[str, object]:
    """Seconds for an audit of all of them by the shipped rules, their parse's, and the ratio."""
    import virtProfile
    from virtProfile.audit.judge import Auditor, rules_of
    from virtProfile.host.context import Context

    store = virtProfile.ProfileStore([SHIPPED])
    auditor = Auditor(store, rules_of(store, ()))
    vms = [domain.replace("<name>vp-bench<", f"<name>vp-{number}<") for number in range(VMS)]
    auditor.audit(vms[0], "first", Context())

    def work(texts: Sequence[str]) -> None:
        with store.one_look():
            for number, text in enumerate(texts):
                auditor.audit(text, str(number), Context())

    return _beside_a_parse("audit_s", work, vms)


def status(domain: str, profiles: list[str]) -> dict[str, object]:
    """Seconds for all of them, their parse's, the ratio, and the record's lines for each changed one."""
    import virtProfile

    with tempfile.TemporaryDirectory() as directory:
        for number, body in enumerate(profiles):
            text = f"<profile name='b{number}' version='1'>{body}</profile>"
            Path(directory, f"b{number}.xml").write_text(text)
        store = virtProfile.ProfileStore([directory])
        names = [f"b{number}" for number in range(len(profiles))]
        applied = virtProfile.apply(domain, names, store=store)
        vms = [applied.xml.replace("<name>vp-bench<", f"<name>vp-{number}<") for number in range(VMS)]

        def work(texts: Sequence[str]) -> None:
            for text in texts:
                found = virtProfile.status(text, store=store)
                if len(found.profiles) != len(names) or any(one.drift for one in found.profiles):
                    raise SystemExit("a VM that nobody touched has drifted")

        return {"profiles": len(names), **_beside_a_parse("status_s", work, vms)}


def _beside_a_parse(
    name: str, work: Callable[[Sequence[str]], None], vms: Sequence[str]
) -> dict[str, object]:
    """CPU seconds of some work on all VMs and of their parse, in turn by tenths of them, and the ratio."""
    times, parses = [], []
    for at in range(0, len(vms), len(vms) // 10):
        part = vms[at : at + len(vms) // 10]
        start = time.process_time()
        for text in part:
            etree.fromstring(text)
        middle = time.process_time()
        work(part)
        times.append(time.process_time() - middle)
        parses.append(middle - start)
    ratio = spread([ours / parse for ours, parse in zip(times, parses, strict=True)])
    return {"vms": len(vms), name: sum(times), "parse_s": sum(parses), "ratio": ratio}
