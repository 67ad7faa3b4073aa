# SPDX-License-Identifier: GPL-2.0-or-later
"""virtinst's own tests through ours end as they do without (the slow part), and that a difference is seen."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_overlay import PLACES
from upstream import PYTHON, compare, differing, for_old_libvirt, outcomes

TOP = Path(__file__).parent.parent
SOURCES = sorted(one.parent for one in (TOP / ".cache" / "upstream").glob("virt-manager-*/tests"))
REPORT = """<testsuites><testsuite>
<testcase classname="t" name="good"/>
<testcase classname="t" name="bad"><failure message="{} at 0x7f{}: [Tue, 24 Nov 2026 16:29:58 virt-xml {}] x"/></testcase>
<testcase classname="t" name="left"><skipped message="old"/></testcase>
</testsuite></testsuites>"""


@pytest.mark.slow
@pytest.mark.parametrize("virtinst", [*(one / "virtinst" for one in SOURCES), *PLACES], ids=str)
def test_each_ends_alike(virtinst: Path) -> None:
    if not SOURCES:
        pytest.skip("no source of virt-manager: ./dev upstream fetches it")
    if not Path(PYTHON).exists():
        pytest.skip("virtinst is the distribution's Python's")
    told, different = compare(SOURCES[-1], virtinst)
    assert " passed" in told
    assert not different, "\n".join(different)


def test_a_difference_is_seen(tmp_path: Path) -> None:
    found = []
    for number, words in enumerate([("/a/x.xml", "1", "7"), ("/b/x.xml", "2", "8"), ("/b/y.xml", "2", "8")]):
        report = tmp_path / f"{number}.xml"
        report.write_text(REPORT.format(*words))
        found.append(outcomes(report, (f"/{'abb'[number]}",)))
    assert not differing(found[0], found[1])
    assert len(differing(found[0], found[2])) == 1  # same outcome, other words
    assert found[0]["t::good"] == ("passed", "") and found[0]["t::left"] == ("skipped", "old")
    del found[1]["t::good"]
    assert "passed -> missing" in differing(found[0], found[1])[0]


def test_what_old_libvirt_refuses_goes() -> None:
    text = (
        "<os><loader>keep</loader></os><os firmware='efi'><loader a='b'>go</loader>"
        "<nvram type='file' template='go'><source/></nvram></os><os><nvram template='keep'/></os>"
    )
    eased = for_old_libvirt(text)
    assert "go" not in eased and eased.count("keep") == 2 and "<nvram type='file'>" in eased
