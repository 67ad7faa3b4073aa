# SPDX-License-Identifier: GPL-2.0-or-later
"""`status` of a thousand VMs with ten profiles each, and an audit of a thousand without, in one process, beside a
plain parse of them."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from lxml import etree

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
    start = time.process_time()
    for text in vms:
        etree.fromstring(text)
    middle = time.process_time()
    with store.one_look():
        for number, text in enumerate(vms):
            auditor.audit(text, str(number), Context())
    end = time.process_time()
    parse = middle - start
    return {"vms": VMS, "audit_s": end - middle, "parse_s": parse, "ratio": (end - middle) / parse}


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
        start = time.process_time()
        for text in vms:
            etree.fromstring(text)
        middle = time.process_time()
        for text in vms:
            found = virtProfile.status(text, store=store)
            if len(found.profiles) != len(names) or any(one.drift for one in found.profiles):
                raise SystemExit("a VM that nobody touched has drifted")
        end = time.process_time()
    return {
        "vms": VMS,
        "profiles": len(names),
        "status_s": end - middle,
        "parse_s": middle - start,
        "ratio": (end - middle) / (middle - start),
    }
