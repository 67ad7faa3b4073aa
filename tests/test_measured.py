# SPDX-License-Identifier: GPL-2.0-or-later
"""What profiles were measured to bring: how it is judged, kept and told, and what ./dev measure runs."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import library
import pytest

import virtProfile
from virtProfile.language.parser import parse_profiles
from virtProfile.show import measured as module
from virtProfile.show.measured import Measured, info_lines, outcome, read
from virtProfile.show.profile import facts
from virtProfile.show.profile import told as told_of_profile

MEASURE = library.ROOT / "tests" / "measure"
sys.path.insert(0, str(MEASURE))

import measure  # noqa: E402
import plan  # noqa: E402

ROW = Measured(
    profile="fast-disk",
    version="1.1",
    digest="abc",
    beside="a virtio disk",
    what="4k random reads",
    unit="IOPS",
    better="more",
    without=1000.0,
    with_profile=1500.0,
    ratio=1.5,
    low=1.2,
    high=1.75,
    pairs=7,
    won=7,
    date="2026-11-30",
    host="2 CPUs X, QEMU 7.2.22 with KVM, libvirt 9.0.0",
    source="./dev measure --pairs 7",
)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "better"),
        ({"won": 6}, "none"),
        ({"won": 8, "pairs": 9}, "better"),
        ({"ratio": 1.04}, "none"),
        ({"ratio": 0.5, "won": 0}, "worse"),
        ({"ratio": 0.5, "better": "less"}, "better"),
        ({"ratio": 1.5, "better": "less", "won": 0}, "worse"),
        ({"pairs": 5, "won": 5}, "few"),
        ({"pairs": 1, "won": 1, "ratio": 30.0}, "few"),
    ],
)
def test_verdict(changes: dict[str, Any], verdict: str) -> None:
    assert replace(ROW, **changes).verdict == verdict


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "better: 1.50 times (1.20 to 1.75), 1,000 to 1,500 IOPS"),
        (
            {"ratio": 0.8, "won": 0, "without": 2.5, "with_profile": 2.0},
            "worse: 0.80 times (1.20 to 1.75), 2.5 to 2 IOPS",
        ),
        ({"won": 4}, "no difference: 1.50 times (1.20 to 1.75)"),
        ({"pairs": 2, "won": 2}, "too few pairs to tell: 1.50 times (1.20 to 1.75)"),
    ],
)
def test_outcome(changes: dict[str, Any], text: str) -> None:
    assert outcome(replace(ROW, **changes)) == text


def test_lines_of_info() -> None:
    other = replace(ROW, what="sequential reads", won=3)
    assert list(info_lines([], "1.1")) == []
    assert list(info_lines([ROW, other], "1.1")) == [
        "measured:",
        "  beside a virtio disk; 7 pairs on 2026-11-30; 2 CPUs X, QEMU 7.2.22 with KVM, libvirt 9.0.0:",
        "    4k random reads: better: 1.50 times (1.20 to 1.75), 1,000 to 1,500 IOPS",
        "    sequential reads: no difference: 1.50 times (1.20 to 1.75)",
    ]
    emulated = replace(ROW, host="QEMU 7.2.22 with its emulation of the CPU, not KVM")
    assert list(info_lines([emulated], "1.1"))[:2] == ["measured:", f"  {module.EMULATED}"]
    assert module.EMULATED not in "".join(info_lines([emulated, ROW], "1.1"))
    old = list(info_lines([other], "1.2"))
    assert old[0] == "measured:  no gain on this host"
    assert old[1].startswith("  version 1.1, beside a virtio disk;")


def of_text(version: str, action: str) -> Any:
    return parse_profiles(
        f"<profile name='fast-disk' version='{version}'><add>{action}</add></profile>", "x.xml"
    ).profiles[0]


def test_only_what_was_measured_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person's own profile of the same name and version says something else: nothing is known of it."""
    shipped = of_text("1.1", "<title>a</title>")
    monkeypatch.setattr(module, "_shipped", lambda: (replace(ROW, digest=shipped.digest),))

    def lines(profile: Any) -> list[str]:
        return [line for line in told_of_profile(facts(profile, [profile.version], ())) if "IOPS" in line]

    assert len(lines(shipped)) == 1
    assert lines(of_text("1.1", "<title>b</title>")) == []
    assert len(lines(of_text("1.2", "<title>b</title>"))) == 1
    (row,) = facts(shipped, ["1.1"], ())["measured"]
    assert (row["verdict"], row["ratio"], row["beside"]) == ("better", 1.5, "a virtio disk")


def test_shipped_rows() -> None:
    """Each has its profile, its source, and figures that go together."""
    wishes = {(wish.profile, bench.beside) for bench in plan.PLAN for wish in bench.wishes}
    whats = {(job.what, job.unit, job.better) for job in plan.JOBS.values()}
    for row in read():
        assert (row.profile, row.beside) in wishes, row
        assert (row.what, row.unit, row.better) in whats, row
        assert row.low <= row.ratio <= row.high and 0 <= row.won <= row.pairs >= measure.LEAST_PAIRS, row
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", row.date) and row.source and "QEMU" in row.host, row
        profile = library.profiles().get(row.profile)
        assert profile is not None or row.profile == plan.NOTHING.profile, row
        assert profile is None or profile.version != row.version or profile.digest == row.digest, row


# --- what ./dev measure runs ------------------------------------------------------


@pytest.mark.parametrize("bench", plan.PLAN, ids=lambda bench: bench.beside)
def test_each_profile_changes_its_vm(bench: plan.Bench) -> None:
    """What is measured is the profile: it is applied to the VM as it is, or converts it."""
    for hypervisor in ("kvm", "qemu"):
        if hypervisor == "qemu" and bench.kvm_only:
            continue
        text = measure.domain(bench, hypervisor, 2)
        for wish in bench.wishes:
            if wish is plan.NOTHING:
                continue
            name, *params = wish.value.split(",")
            priority = 100 if wish.override else 0
            given = dict(param.split("=") for param in params)
            profile = (
                library.wish(name, priority=priority, params=given)
                if given
                else library.wish(name, priority=priority)
            )
            result = virtProfile.apply(text, [profile], store=library.store())
            assert [one.effect for one in result.applied if one.name == name] == ["changed"], name
            changed = " ".join(change.path for change in result.changes)
            assert bench.bus == "virtio" or "target" in changed
            assert bench.nic == "virtio" or "model" in changed


def test_the_guest_knows_every_job() -> None:
    init = (MEASURE / "init").read_text()
    known = set(re.findall(r"^    ([\w-]+)\)(?: echo| found=| #|$)", init, re.M))
    on_disk = set(re.findall(r"^    ([\w-]+)\) echo --rw", init, re.M))
    used = {job for bench in plan.PLAN for job in bench.jobs}
    assert used <= plan.JOBS.keys()
    assert used - plan.NETWORK.keys() <= known and "net" in known
    for bench in plan.PLAN:  # the guest runs those on the disk first
        assert [*bench.jobs] == sorted(bench.jobs, key=lambda job: job not in on_disk), bench.beside
    assert {name for name, job in plan.JOBS.items() if job.value is None} == {
        "service",
        "idle",
        *plan.NETWORK,
    }


def test_what_programs_print_is_read() -> None:
    fields = ["0"] * 60
    fields[6:8], fields[47:49] = ["12258", "3064"], ["777", "88"]
    line = ";".join(fields)
    found = {
        name: job.value(line)
        for name, job in plan.JOBS.items()
        if job.unit in ("IOPS", "KiB/s") and job.value
    }
    assert found == {
        "random-read": 3064,
        "one-read": 3064,
        "random-write": 88,
        "read": 12258,
        "write": 777,
        "memory-fill": 777,
    }
    aes = plan.JOBS["aes"].value
    assert aes is not None and aes("+H:16384 +F:25:AES-256-GCM:1048576.00") == 1.0


def test_pairs_become_rows_and_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = next(bench for bench in plan.PLAN if bench.bus == "sata")
    pairs = [
        ({"service": 2.0, "random-read": 100.0 * number, "random-write": 1, "read": 1},
         {"service": 1.0, "random-read": 300.0 * number, "random-write": 1, "read": 0.5})
        for number in range(1, 8)
    ]  # fmt: skip
    profile = {"name": "virtio-disk", "version": "1.1", "digest": "abc"}
    rows = measure.measured(bench, bench.wishes[0], profile, pairs, "a host")
    by_job = {row.what: row for row in rows}
    assert [row.what for row in rows] == [plan.JOBS[name].what for name in ("service", *bench.jobs)]
    service, reads = rows[0], by_job[plan.JOBS["random-read"].what]
    writes = by_job[plan.JOBS["random-write"].what]
    assert (service.ratio, service.won, service.verdict) == (0.5, 7, "better")
    assert (reads.without, reads.with_profile, reads.ratio, reads.won) == (400, 1200, 3, 7)
    assert by_job[plan.JOBS["read"].what].verdict == "worse"
    assert (writes.ratio, writes.won, writes.verdict) == (1, 0, "none")

    data = tmp_path / "measured.tsv"
    monkeypatch.setattr(measure, "DATA", data)
    monkeypatch.setattr(measure, "read", lambda: read(data))
    measure.keep(rows)
    assert list(read(data)) == rows
    later = [replace(row, date="2027-01-01") for row in rows]
    other = measure.measured(bench, bench.wishes[1], {**profile, "name": "virtio-scsi"}, pairs, "a host")
    measure.keep(other)
    measure.keep(later)  # the same profile and VM: the older rows go
    assert list(read(data)) == later + other


def test_the_console_is_read_line_by_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "SERIAL", tmp_path / "serial")
    measure.SERIAL.write_bytes(
        b"SeaBIOS\r\nBooting from ROM..VP service\r\nVP begin read\r\nVP result read 3;4\r\nVP re"
    )
    console = measure.Console()
    assert console.wait("VP service", 1) == ""
    assert console.wait("VP result read", 1) == "3;4"
    with pytest.raises(measure.Late, match="VP result"):
        console.wait("VP result", 0.05)
    with measure.SERIAL.open("ab") as stream:
        stream.write(b"sult idle asleep\r\n")
    assert console.wait("VP result idle", 1) == "asleep"
    console.close()


def test_huge_pages_are_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = tmp_path / "nr_hugepages"
    pages.write_text("3\n")
    monkeypatch.setattr(measure, "PAGES", pages)
    with pytest.raises(KeyboardInterrupt), measure.huge_pages(5):
        assert pages.read_text() == "8"
        raise KeyboardInterrupt
    assert pages.read_text() == "3\n"


def test_the_list_and_wrong_names() -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(MEASURE / "measure.py"), *words], capture_output=True, text=True
        )

    listed = run("--list").stdout
    assert all(wish.profile in listed for bench in plan.PLAN for wish in bench.wishes)
    wrong = run("--only", "no-such")
    assert wrong.returncode == 2 and "no-such is not measured" in wrong.stderr


@pytest.mark.slow
def test_a_pair_on_a_guest() -> None:
    """One pair, start to end: the guest is made and started, its network and its disk answer."""
    if measure.os.geteuid() != 0:
        pytest.skip("only root starts a libvirtd of its own")
    done = subprocess.run(
        [
            str(library.ROOT / "dev"),
            "measure",
            "--pairs=1",
            "--seconds=1",
            "--accelerator=qemu",
            "--only=virtio-net",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "TCP from the guest, one connection: too few pairs to tell" in done.stdout
    assert "nothing of it is kept" in done.stderr
