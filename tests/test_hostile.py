# SPDX-License-Identifier: GPL-2.0-or-later
"""Input from outside: refused fast, in little memory, and nothing is left half written."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from virtProfile.errors import PolicyError
from virtProfile.xmltree import parse

TOP = Path(__file__).parent.parent
MIB = 1024 * 1024
BAD = {
    "dtd": ("<!DOCTYPE d [<!ENTITY a 'x'>]><domain>&a;</domain>", "policy"),
    "laughs": (
        "<!DOCTYPE l [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;'>]><domain>&b;</domain>",
        "policy",
    ),
    "external": ("<!DOCTYPE d SYSTEM 'file:///etc/passwd'><domain/>", "policy"),
    "entity": ("<domain><name>&unknown;</name></domain>", "refused"),
    "deep": ("<domain>" + "<a>" * 10_000 + "</a>" * 10_000 + "</domain>", "policy"),
    "wide": ("<domain name='" + "x" * (50 * MIB) + "'/>", "policy"),
    "attribute": ("<domain name='" + "x" * (2 * MIB) + "'/>", "policy"),
    "attributes": ("<domain " + " ".join(f"a{n}='1'" for n in range(300_000)) + "/>", "policy"),
    "namespaces": ("<domain " + " ".join(f"xmlns:a{n}='u'" for n in range(50_000)) + "/>", "policy"),
    "nodes": ("<domain>" + "<a/>" * 600_000 + "</domain>", "policy"),
    "broken": ("<domain>\n  <name>\n</domain>", "broken"),
    "other": ("<network/>", "not 'domain'"),
    "empty": ("", "broken"),
    "binary": ("\0\1\2", "broken"),
}


@pytest.mark.parametrize("name", BAD)
def test_is_refused(name: str, tmp_path: Path) -> None:
    text, _ = BAD[name]
    path = tmp_path / "in.xml"
    path.write_text(text)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(TOP / "virt-profile"), "--input", str(path), "--profile", "rng"],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (600 * MIB, 600 * MIB)),
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("ERROR    "), done.stderr
    assert "Traceback" not in done.stderr and "MemoryError" not in done.stderr
    assert done.stdout == ""
    assert time.perf_counter() - start < 10  # 1 s on a quiet machine; never a minute
    assert len(done.stderr) < 2000


def test_equal_signs_are_no_attributes() -> None:
    text = f"<domain><!-- {'=' * 5000} --><description a='{'=' * 5000}'>{'=' * 5000}</description></domain>"
    assert parse(text).root.tag == "domain"
    attributes = " ".join(f"a{number}='>'" for number in range(1001))
    with pytest.raises(PolicyError, match="more than 1,000 attributes"):
        parse(f"<domain {attributes}/>")
