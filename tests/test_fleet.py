# SPDX-License-Identifier: GPL-2.0-or-later
"""Fleets: the same results as one by one, nothing lost, nothing twice, no harm to each other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import corpus
import pytest
from commandline import DATA, run

import virtProfile
from virtProfile.cli.fleet import Bar, files
from virtProfile.cli.fleet_report import Report
from virtProfile.cli.workers import Task, Workers
from virtProfile.errors import ProfileError
from virtProfile.language.store import ProfileStore
from virtProfile.show.terminal import Talk

TOP = Path(__file__).parent.parent
PROFILES = ["--profile-dir", str(DATA / "profiles"), "--profile", "cache"]
DOMAINS = ("off", "passing", "saved", "vm")
DRIVER = f"test://{DATA / 'driver.xml'}"


def vm(name: str, extra: str = "") -> str:
    return (
        f"<domain type='kvm'>\n  <name>{name}</name>\n  <memory>1048576</memory>\n  <os>\n    <type>hvm</type>\n"
        f"  </os>\n  <devices>\n    <disk type='file'>\n      <source file='/{name}'/>\n"
        f"      <target dev='vda' bus='virtio'/>\n    </disk>{extra}\n  </devices>\n</domain>\n"
    )


@pytest.fixture
def vms(tmp_path: Path) -> Path:
    place = tmp_path / "vms"
    (place / "more").mkdir(parents=True)
    for number in range(30):
        (place / ("more" if number % 3 == 0 else ".") / f"vm{number:02}.xml").write_text(vm(f"vm{number:02}"))
    (place / "broken.xml").write_text("<domain>\n<oops>\n")
    (place / "dtd.xml").write_text("<!DOCTYPE a><domain/>")
    (place / "notes.txt").write_text("no VM")
    return place


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()][1:]


# --- which VMs --------------------------------------------------------------------------


def test_several_domains_and_patterns() -> None:
    def names(*words: str) -> list[str]:
        done = run(["-c", DRIVER, *words, *PROFILES, "--json"])
        assert done.status == 0, done.err
        return [json.loads(line)["vm"] for line in done.text.splitlines()]

    assert sorted(names("vm", "off")) == ["off", "vm"]
    assert sorted(names("[ps]a*", "off", "o*")) == ["off", "passing", "saved"]
    assert names("6695eb01-f6a4-8304-79aa-97f2502e193f", "vm", "1") == ["vm"]  # three names of one VM
    for words, told in (
        (("vm", "nope"), "'nope'"),
        (("x*",), "no domain fits the pattern 'x*'"),
        (("vm", "--all"), "cannot be given together"),
        (("vm", "off", "--update"), "--update is for one VM"),
        (("vm", "off", "--confirm"), "--confirm is for one VM"),
        (("vm", "off", "--output", "x"), "--output has no effect on domains"),
    ):
        done = run(["-c", DRIVER, *words, *PROFILES])
        assert done.status and told in done.err, done.err
    assert "subcommands: virt-profile DOMAIN --profile" in run(["apply", "vm", "-c", DRIVER, *PROFILES]).err
    line = run(["-c", DRIVER, "vm", "off", *PROFILES, "-q", "--jobs", "1"]).text
    assert line == "changed    vm (2 changes)\nchanged    off (2 changes)\n"
    assert (
        run(["-c", DRIVER, "vm", "off", "--audit", "-q"]).text
        == run(["-c", DRIVER, "vm", "off", "vm", "--audit"]).text
    )


def test_define_some(embed: Callable[[str], str], tmp_path: Path) -> None:
    done = run(["-c", DRIVER, "vm", "off", *PROFILES, "--define", "-q", "--jobs", "1"])
    assert done.text == "defined    vm (2 changes)\ndefined    off (2 changes)\n"


def test_status_of_a_fleet() -> None:
    files = ["applied.xml", "listed.xml", "vm.xml"]
    words = [word for file in files for word in ("--input", file)]
    done = run([*words, "--status", "--profile-dir", "profiles"])
    lines = done.text.splitlines()
    assert done.status == 0 and lines[0].split() == ["VM", "NAME", "VERSION", "PRIORITY", "BY", "STATE"]
    assert [line.split()[0] for line in lines if line.endswith(("by hand", "yet", "no profiles"))] == files
    assert sum(line.count("applied.xml") for line in lines) == 1  # names once
    assert lines[2].startswith(
        "    cache: /domain/devices/disk[target/@dev='vdb']/driver/@cache: wrote 'none'"
    )
    rows = json.loads(run([*words, "--status", "--json", "--profile-dir", "profiles"]).text)
    assert [row["vm"] for row in rows["vms"]] == files and rows["vms"][0]["profiles"][0]["drift"]
    assert run([*words, "--status", "--check", "--profile-dir", "profiles"]).status == 4
    broken = run(["--input", "vm.xml", "--input", "fleet/broken.xml", "--status"])
    assert broken.status == 1 and "broken.xml" in broken.err and "no profiles" in broken.text
    two = run(["-c", DRIVER, "vm", "off", "--status"])
    assert [line.split()[0] for line in two.text.splitlines()[1:]] == ["vm", "off"]


def test_taken_back_where_it_is(tmp_path: Path) -> None:
    words = ["--input", "applied.xml", "--input", "vm.xml", "--profile-dir", "profiles", "--jobs", "1", "-q"]
    done = run([*words, "--unapply", "cache"])
    assert done.status == 0
    assert done.text == "changed    applied.xml (3 changes)\nunchanged  vm.xml\n"
    assert "unchanged  vm.xml" in run([*words, "--upgrade", "sound"]).text
    # --exclude is for all, whether they have it or not
    out = tmp_path / "out"
    assert run([*words, "--unapply", "cache", "--exclude", "--output", str(out)]).status == 0
    assert "name='cache' exclude='yes'" in (out / "vm.xml").read_text()


def test_take_back_one_and_apply_another_in_one_step() -> None:
    words = [
        "--input",
        "applied.xml",
        "--profile-dir",
        "profiles",
        "--unapply",
        "cache",
        "--profile",
        "smm",
        "--json",
    ]
    done = run(words)
    assert done.status == 0, done.err
    result = json.loads(done.text)
    assert [row["name"] for row in result["applied"] if row["source"] == "caller"] == ["smm"]
    assert {row["origin"]["profile"] for row in result["changes"]} >= {"cache"}
    assert "name='cache'" not in result["xml"] and "name='smm'" in result["xml"]
    over = json.loads(run(["--input", "applied.xml", "--profile-dir", "profiles", "--unapply", "sound", "--profile",
                           "large", "--override", "--json"]).text)  # fmt: skip
    assert "<memory unit='GiB'>64<" in over["xml"] and "<vr:sound" not in over["xml"]
    every = json.loads(run([word if word != "cache" else "all" for word in words]).text)
    assert [row["name"] for row in every["applied"]] == ["smm"]


def test_output_of_a_single_file(tmp_path: Path) -> None:
    done = run(["--input", "vm.xml", *PROFILES, "--output", str(tmp_path / "out"), "-q"])
    assert (done.status, done.text) == (0, "written    vm.xml (2 changes)\n")
    assert (tmp_path / "out" / "vm.xml").read_bytes() == run(["--input", "vm.xml", *PROFILES]).out


# --- files ----------------------------------------------------------------------------


def test_dry_run_writes_nothing(vms: Path) -> None:
    before = {path: path.read_bytes() for path in vms.rglob("*.xml")}
    done = run(["--input", str(vms), *PROFILES])
    assert done.status == 1
    lines = done.text.splitlines()
    assert len(lines) == 32
    assert sum(line.startswith("changed ") for line in lines) == 30
    assert any(line.startswith("failed ") and "broken.xml:3" in line for line in lines)
    assert "2 failed, 30 changed" in done.err or "30 changed, 2 failed" in done.err
    assert {path: path.read_bytes() for path in vms.rglob("*.xml")} == before


def test_results_are_those_of_single_calls(vms: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(["--input", str(vms), *PROFILES, "--output", str(out), "--report", str(tmp_path / "r")])
    assert done.status == 1
    store = ProfileStore([DATA / "profiles"], check_owner=False)
    written = sorted(path.relative_to(out) for path in out.rglob("*"))
    assert len([path for path in written if path.suffix == ".xml"]) == 30
    for path in written:
        if path.suffix == ".xml":
            wanted = virtProfile.apply((vms / path).read_text(), ["cache"], store=store).xml
            assert (out / path).read_text() == wanted
    found = rows(tmp_path / "r")
    assert Counter(row["status"] for row in found) == {"written": 30, "failed": 2}
    assert {row["error"]["code"] for row in found if row["status"] == "failed"} == {
        "invalid-domain",
        "policy",
    }
    # what is applied already is copied byte for byte
    again = run(["--input", str(out), *PROFILES, "--output", str(tmp_path / "again"), "--json"])
    assert again.status == 0
    lines = [json.loads(line) for line in again.text.splitlines()]
    assert all(not row["changed"] and row["result"]["applied"][0]["name"] == "cache" for row in lines)
    for path in (tmp_path / "again").rglob("*.xml"):
        assert path.read_bytes() == (out / path.relative_to(tmp_path / "again")).read_bytes()


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_profiles_are_looked_at_once_for_all(
    vms: Path, tmp_path: Path, jobs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = tmp_path / "looked"
    load = ProfileStore._load

    def noted(self: ProfileStore, path: str) -> Any:
        with looked.open("a") as file:  # of any process
            file.write(f"{os.path.basename(path)}\n")
        return load(self, path)

    monkeypatch.setattr(ProfileStore, "_load", noted)
    assert run(["--input", str(vms), *PROFILES, "--jobs", jobs]).status == 1
    found = Counter(looked.read_text().splitlines())
    # before the processes are made, and for the command line; not for each of 30 VMs
    assert found["cache.xml"] and max(found.values()) <= 4


def test_changes_are_counted_and_not_made(vms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from virtProfile.engine import report

    def made(*_: object) -> None:
        raise AssertionError("no line has them")

    monkeypatch.setattr(report, "describe", made)
    done = run(["--input", str(vms), *PROFILES, "--report", "-"])
    found = [json.loads(line) for line in done.text.splitlines()]
    assert {row["changes"] for row in found if row["status"] == "changed"} == {2}  # cache and discard


def test_taken_back(vms: Path, tmp_path: Path) -> None:
    out, back = tmp_path / "out", tmp_path / "back"
    run(["--input", str(vms), *PROFILES, "--output", str(out)])
    line = [
        "--input",
        str(out),
        "--profile-dir",
        str(DATA / "profiles"),
        "--unapply",
        "cache",
        "--output",
        str(back),
    ]
    assert run(line).status == 0
    assert len(list(back.rglob("*.xml"))) == 30
    for path in back.rglob("*.xml"):
        assert path.read_bytes() == (vms / path.relative_to(back)).read_bytes()
    again = run(["--input", str(vms), "--unapply", "cache", "--profile-dir", "profiles"]).text
    assert again.count("unchanged  ") == 30 and "broken.xml:3: " in again and "<xml>" not in again


def test_check(vms: Path) -> None:
    (vms / "broken.xml").unlink()
    (vms / "dtd.xml").unlink()
    assert run(["--input", str(vms), *PROFILES, "--check"]).status == 4
    assert run(["--input", str(vms), "--check", "--profile-dir", "profiles"]).status == 0


def test_which_files(vms: Path, tmp_path: Path) -> None:
    assert len(files([str(vms)], None)) == 32
    assert len(files([str(vms / "*.xml")], None)) == 22
    assert len(files([str(vms / "**" / "*.xml")], None)) == 32
    assert len(files([str(vms / "*.xml"), str(vms / "vm01.xml")], None)) == 22
    found = files([str(vms / "more" / "vm0*.xml")], "out")
    assert found[0].output == os.path.join("out", "vm00.xml")
    with pytest.raises(ProfileError, match="no such file"):
        files([str(tmp_path / "*.xml")], None)
    other = tmp_path / "other"
    other.mkdir()
    (other / "vm01.xml").write_text("")
    with pytest.raises(ProfileError, match="would replace that of"):
        files([str(vms), str(other)], "out")
    with pytest.raises(ProfileError, match="would replace it"):
        files([str(vms)], str(vms))


def test_max_failures_tries_all_before_it_writes(vms: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = ["--input", str(vms), *PROFILES, "--output", str(out), "--max-failures"]
    done = run([*line, "1"])
    assert done.status == 1
    assert not out.exists()
    assert "nothing was written" in done.err
    done = run([*line, "3", "--report", str(tmp_path / "r")])
    assert done.status == 1
    assert len(list(out.rglob("*.xml"))) == 30
    assert len(rows(tmp_path / "r")) == 32


def test_max_failures_of_a_dry_run(vms: Path) -> None:
    for number in range(20):
        (vms / f"a{number}.xml").write_text("<x/>")
    done = run(["--input", str(vms), *PROFILES, "--max-failures", "2", "--jobs", "1"])
    assert done.status == 1
    assert sum(line.startswith("failed") for line in done.text.splitlines()) == 2
    assert "stopped after 2 failures" in done.err


@pytest.mark.parametrize(
    "more, told",
    [
        (["--define"], "--define cannot be used with several files"),
        (["--print-diff"], "--print-diff is for one VM"),
        (["--explain"], "--explain is for one VM"),
        (["--confirm"], "--confirm is for one VM"),
        (["--status"], "and --profile cannot be given"),
        (["--all"], "--input and --all"),
        (["-c", DRIVER], "--connect has no effect"),
        (["--jobs", "0"], "--jobs 0"),
        (["--resume"], "--resume has no effect without --report"),
        (["--resume=all", "--report", "r"], "is not empty or 'failed'"),
        (["--start"], "--start has no effect"),
        (["--input", "-"], "stdin holds one VM"),
    ],
)
def test_wrong_usage(vms: Path, more: list[str], told: str) -> None:
    done = run(["--input", str(vms), *PROFILES, *more])
    assert done.status == 2
    assert told in done.err


def test_options_that_need_a_fleet() -> None:
    for option in ("--jobs=2", "--report=x", "--resume", "--max-failures=1"):
        done = run(["--input", "vm.xml", option])
        assert done.status == 2, option
        assert "many VMs" in done.err
    assert not (DATA / "x").exists()


# --- domains ----------------------------------------------------------------------------


def test_all_domains(tmp_path: Path) -> None:
    (tmp_path / "other.xml").write_text(  # all tests of a process share test:///default
        "<node><domain type='test'><name>test</name><memory>8192</memory><os><type>hvm</type></os>"
        "<devices><disk type='file'><source file='/a'/><target dev='vda' bus='virtio'/></disk></devices></domain></node>"
    )
    other = f"test://{tmp_path / 'other.xml'}"
    line = ["-c", DRIVER, "-c", other, "--all", *PROFILES, "--report", str(tmp_path / "r")]
    assert run(line).status == 0
    found = {(row["uri"], row["vm"]): row["status"] for row in rows(tmp_path / "r")}
    assert found == {(DRIVER, name): "changed" for name in DOMAINS} | {(other, "test"): "changed"}


def test_define(tmp_path: Path) -> None:
    line = ["-c", DRIVER, "--all", "--define", *PROFILES]
    assert run([*line, "--report", str(tmp_path / "r")]).status == 0
    found = [(row["vm"], row["status"]) for row in rows(tmp_path / "r")]
    assert sorted(found) == sorted((name, status) for name in DOMAINS for status in ("defined", "defining"))
    saved = next(row for row in rows(tmp_path / "r") if (row["vm"], row["status"]) == ("saved", "defined"))
    assert "managed save image" in saved["notes"][0]
    # what the guest would see needs a yes, each for itself
    smm = ["--profile-dir", str(DATA / "profiles"), "--profile", "smm"]
    done = run(["-c", DRIVER, "--all", "--define", *smm])
    assert done.status == 1
    assert "would see another machine" in done.text
    assert run(["-c", DRIVER, "--all", "--define", "--yes", *smm]).status == 0


def test_a_connection_that_is_none() -> None:
    done = run(["-c", DRIVER, "-c", "test:///nowhere.xml", "--all", *PROFILES])
    assert done.status == 1
    assert done.text.count("changed") == len(DOMAINS)
    assert "failed     test:///nowhere.xml: libvirt:" in done.text


def test_several_connections_need_all() -> None:
    done = run(["-c", DRIVER, "-c", "test:///default", "vm", *PROFILES])
    assert done.status == 2
    assert "--all" in done.err


@pytest.mark.slow
def test_embedded_drivers(embed: Callable[[str], str], tmp_path: Path) -> None:
    """Real drivers, each in one process only; killed in between, and gone on."""
    uris = [embed("one"), embed("two")]
    script = (
        "import libvirt, sys\nlibvirt.virEventRegisterDefaultImpl()\nc = libvirt.open(sys.argv[1])\n"
        "for text in open(sys.argv[2]).read().split('\\0'):\n    c.defineXML(text)\n"
    )
    texts = tmp_path / "texts"
    texts.write_text("\0".join(vm(f"fleet{number}").replace("kvm", "qemu") for number in range(12)))
    for uri in uris:
        subprocess.run([sys.executable, "-c", script, uri, str(texts)], check=True)
    line = [
        sys.executable,
        str(TOP / "virt-profile"),
        "--all",
        "--define",
        *PROFILES,
        "--report",
        str(tmp_path / "r"),
    ]
    for uri in uris:
        line += ["-c", uri]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = Counter((row["uri"], row["status"]) for row in rows(tmp_path / "r"))
    assert all(found[uri, "defined"] == found[uri, "defining"] == 12 for uri in uris)
    line[line.index(str(tmp_path / "r"))] = str(tmp_path / "again")
    subprocess.run(line, check=True)
    assert {row["status"] for row in rows(tmp_path / "again")} == {"unchanged"}


# --- killed and resumed ---------------------------------------------------------------------


def start(line: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(TOP / "virt-profile"), *line],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_resumed(how: signal.Signals, tmp_path: Path) -> None:
    place, out, report = tmp_path / "vms", tmp_path / "out", tmp_path / "report"
    place.mkdir()
    for number in range(1000):
        (place / f"vm{number:04}.xml").write_text(vm(f"vm{number:04}"))
    line = ["--input", str(place), *PROFILES, "--output", str(out), "--report", str(report), "--jobs", "2"]
    kills = 0
    for round_ in range(12):
        process = start(line if round_ == 0 else [*line, "--resume"])
        size = report.stat().st_size if report.exists() else 0
        while process.poll() is None:
            if report.exists() and report.stat().st_size > size + 80_000:
                if how == signal.SIGKILL:
                    os.killpg(process.pid, how)
                else:
                    process.send_signal(how)
                kills += 1
                break
            time.sleep(0.002)
        status = process.wait()
        if status == 0:
            break
        assert status in (-how, 130)
    assert status == 0
    assert kills >= 2
    names = [row["vm"] for row in rows(report)]
    assert len(names) == len(set(names)) == 1000
    assert len(list(out.glob("*.xml"))) == 1000
    assert not list(out.glob("*.part")) or how == signal.SIGKILL
    time.sleep(0.2)
    assert not subprocess.run(["pgrep", "-f", str(report)], capture_output=True).stdout


#: Beside a daemon: many domains, a fleet that is killed and goes on; what the domains are then.
DAEMON = """
import json, libvirt, os, signal, subprocess, sys, time
report, vm, count, *line = sys.argv[1:]
connection = libvirt.open("qemu:///system")
for number in range(int(count)):
    connection.defineXML(vm.replace("NAME", f"fleet{number:03}"))
kills = 0
for round_ in range(20):
    fleet = subprocess.Popen([*line, *(["--resume"] if round_ else [])], start_new_session=True)
    size = os.path.getsize(report) if os.path.exists(report) else 0
    while fleet.poll() is None:
        if os.path.exists(report) and os.path.getsize(report) > size + 4000:
            os.killpg(fleet.pid, signal.SIGKILL)
            kills += 1
            break
        time.sleep(0.001)
    if fleet.wait() >= 0:
        break
flags = libvirt.VIR_DOMAIN_XML_INACTIVE
found = {one.name(): one.XMLDesc(flags) for one in connection.listAllDomains()}
print(json.dumps([kills, fleet.returncode, found]))
"""


@pytest.mark.slow
def test_killed_while_defining(beside_a_daemon: list[str], tmp_path: Path) -> None:
    """`multiple='yes'` would add a second device to a domain that is defined twice."""
    (tmp_path / "p.xml").write_text(
        "<profile name='twice'><add multiple='yes'><devices><rng model='virtio'>"
        "<backend model='random'>/dev/urandom</backend></rng></devices></add></profile>"
    )
    count = 80
    sketch = vm("NAME").replace("kvm", "qemu")
    report = tmp_path / "r"
    line = [sys.executable, str(TOP / "virt-profile"), "-c", "qemu:///system", "--all", "--define", "-q"]
    line += ["--profile-dir", str(tmp_path), "--profile", "twice", "--report", str(report), "--jobs", "2"]
    done = subprocess.run(
        [*beside_a_daemon, "/usr/bin/python3", "-c", DAEMON, str(report), sketch, str(count), *line],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    kills, status, found = json.loads(done.stdout.splitlines()[-1])
    assert status == 0
    assert kills >= 2
    assert len(found) == count
    assert {xml.count("<rng ") for xml in found.values()} == {1}
    final = Counter(row["vm"] for row in rows(report) if row["status"] != "defining")
    assert set(final) == set(found)
    assert set(final.values()) == {1}


def test_a_torn_line(vms: Path, tmp_path: Path) -> None:
    report = tmp_path / "r"
    line = ["--input", str(vms), *PROFILES, "--report", str(report)]
    run(line)
    whole = report.read_bytes().splitlines(keepends=True)
    report.write_bytes(b"".join(whole[:10]) + whole[10][:20])
    assert run([*line, "--resume"]).status == 1
    names = [row["vm"] for row in rows(report)]
    assert len(names) == len(set(names)) == 32
    assert report.read_bytes().startswith(b"".join(whole[:10]))
    assert run(line).status == 2  # there is a report already
    done = run([*line, "--resume", "--override"])
    assert done.status == 2
    assert "a call with other" in done.err
    for other in ("hello\n", "hello", "{}\n", '{"fleet": 1}\n', '{"fleet": {}}\n[]\n'):
        report.write_text(other)
        assert run([*line, "--resume"]).status == 2
        assert report.read_text() == other


def test_the_report_knows_its_call_and_no_secret(vms: Path, tmp_path: Path) -> None:
    report = tmp_path / "r"
    line = ["--input", str(vms), "--profile-dir", str(DATA / "profiles"), "--report", str(report)]
    secret = ["--profile", f"password,password=@{DATA / 'password'}"]
    heads = [["--profile", f"desktop,version=1.2,heads={count}"] for count in (2, 3)]
    run([*line, *secret, *heads[0]])
    assert (DATA / "password").read_text().strip() not in report.read_text()
    assert json.loads(report.read_text().splitlines()[0])["fleet"]["profiles"][0]["params"] == {
        "password": "***"
    }
    assert run([*line, *secret, *heads[0], "--resume"]).status == 1
    assert run([*line, *secret, *heads[1], "--resume"]).status == 2


def test_resume_failed(vms: Path, tmp_path: Path) -> None:
    report = tmp_path / "r"
    line = ["--input", str(vms), *PROFILES, "--report", str(report)]
    run(line)
    (vms / "broken.xml").write_text(vm("broken"))
    assert run([*line, "--resume"]).status == 1  # nothing is left, and two had failed
    assert len(rows(report)) == 32
    assert run([*line, "--resume=failed"]).status == 1
    assert [row["status"] for row in rows(report)][32:] in (["changed", "failed"], ["failed", "changed"])


def test_interrupted_while_defining(tmp_path: Path) -> None:
    """Without a record a second define could add twice: the former one is believed."""
    report = tmp_path / "r"
    line = ["-c", DRIVER, "--all", "--define", "--no-record", *PROFILES, "--report", str(report)]
    assert run(line).status == 0
    head, *rest = report.read_text().splitlines(keepends=True)
    begun = [one for one in rest if "defining" in one][:2]
    report.write_text(head + begun[0] + begun[1].replace('"digest": "', '"digest": "0'))
    assert run([*line, "--resume"]).status == 0
    notes = [row for row in rows(report) if row["status"] == "defined" and "former" in str(row.get("notes"))]
    assert len(notes) == 1
    assert len(Report(str(report), json.loads(head)["fleet"], resume=True).done) == len(DOMAINS)


# --- processes --------------------------------------------------------------------------------


def odd_work() -> Any:
    def do(task: Task) -> bytes:
        if task.key == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if task.key == "exit":
            os._exit(3)
        if task.key == "hang":
            time.sleep(60)
        return str(os.getpid()).encode()

    return do


def work_on(
    tasks: list[Task], jobs: int = 2, limit: float = 1.0
) -> tuple[dict[Any, list[str]], dict[Any, str]]:
    done: dict[Any, list[str]] = {}
    lost: dict[Any, str] = {}
    with Workers(odd_work, jobs, limit) as workers:
        workers.add(tasks)
        workers.run(
            lambda task, answer: done.setdefault(task.key, []).append(answer.decode()),
            lambda task, reason: lost.__setitem__(task.key, reason),
        )
    return done, lost


@pytest.mark.parametrize("bad", ["die", "exit", "hang"])
def test_a_process_that_dies_costs_one_task(bad: str) -> None:
    tasks = [Task(number) for number in range(50)]
    tasks.insert(7, Task(bad))
    done, lost = work_on(tasks)
    assert sorted(done) == list(range(50))
    assert all(len(one) == 1 for one in done.values())
    assert list(lost) == [bad]
    assert {"die": "SIGKILL", "exit": "status 3", "hang": "longer than 1 seconds"}[bad] in lost[bad]


def test_a_place_stays_in_one_process() -> None:
    tasks = [Task((place, number), place) for number in range(40) for place in "abc"]
    done, _ = work_on(tasks, jobs=3)
    assert len(done) == 120
    for place in "abc":
        assert len({process for (where, _), (process,) in done.items() if where == place}) == 1


def test_stop() -> None:
    with Workers(odd_work, 2, at_hand=1) as workers:
        workers.add(Task(number) for number in range(1000))
        seen: list[Any] = []

        def done(task: Task, _: bytes) -> None:
            seen.append(task.key)
            workers.stop()

        workers.run(done, lambda *_: None)
    assert len(seen) <= 2


def test_stop_leaves_what_is_at_hand(tmp_path: Path) -> None:
    def work() -> Any:
        def do(task: Task) -> bytes:
            (tmp_path / str(task.key)).write_text("")
            time.sleep(0.05)
            return b"done"

        return do

    with Workers(work, 2, at_hand=8) as workers:
        workers.add(Task(number) for number in range(100))
        workers.run(lambda *_: workers.stop(), lambda *_: None)
    assert len(list(tmp_path.iterdir())) <= 4


def test_a_report_forgets_what_was_begun_and_failed(tmp_path: Path) -> None:
    report = Report(str(tmp_path / "r"), {})
    for status in ("defining", "failed"):
        report.write({"uri": "", "vm": "a", "status": status, "digest": "x"})
    report.write({"uri": "", "vm": "b", "status": "defining", "digest": "y"})
    report.close()
    again = Report(str(tmp_path / "r"), {}, resume=True)
    assert again.begun == {("", "b"): "y"}
    assert again.done == {("", "a"): "failed"}


def test_nothing_is_left_running() -> None:
    before = set(subprocess.run(["pgrep", "-P", str(os.getpid())], capture_output=True).stdout.split())
    work_on([Task(number) for number in range(10)])
    after = set(subprocess.run(["pgrep", "-P", str(os.getpid())], capture_output=True).stdout.split())
    assert len(after) <= len(before) + 1  # pgrep itself


# --- what is shown ------------------------------------------------------------------------------


def test_bar() -> None:
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    bar = Bar(Talk(stream))
    bar.begin(200, "dry run")
    for number in range(50):
        bar.step(number % 25 == 0)
    assert bar.text(10) == "dry run [#####...............] 50/200 25%, 5/s, 0:30 left, 2 failed"
    bar.draw()
    assert stream.getvalue().startswith("\rdry run [#####")
    bar.clear()
    assert stream.getvalue().endswith("\r")
    quiet = io.StringIO()
    silent = Bar(Talk(quiet))
    silent.begin(1, "")
    silent.draw()
    silent.clear()
    assert quiet.getvalue() == ""


def test_a_reader_that_goes_away(vms: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, str(TOP / "virt-profile"), "--input", str(vms), *PROFILES],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    assert process.wait() == 1


@pytest.mark.slow
@pytest.mark.skipif(corpus.directory() is None, reason="./dev corpus fetches libvirt's documents")
def test_the_whole_corpus(tmp_path: Path) -> None:
    """Every document in one run, each as one by one in this process."""
    place = tmp_path / "vms"
    place.mkdir()
    for number, (_, text) in enumerate(corpus.documents()):
        (place / f"{number:04}.xml").write_text(text)
    names = ["rng", "fast-disk", "guest-agent"]
    line = ["--input", str(place), "--output", str(tmp_path / "out"), "--report", str(tmp_path / "r")]
    for name in names:
        line += ["--profile", name]
    subprocess.run([sys.executable, str(TOP / "virt-profile"), *line, "-q"], check=False)
    found = {Path(row["vm"]).name: row for row in rows(tmp_path / "r")}
    assert len(found) == len(corpus.documents()) > 2000
    store = ProfileStore([TOP / "profiles"], check_owner=False)
    for number in range(len(found)):
        name = f"{number:04}.xml"
        try:
            wanted = virtProfile.apply((place / name).read_text(), names, store=store).xml
        except ProfileError as problem:
            assert found[name]["error"]["code"] == problem.code
            continue
        assert (tmp_path / "out" / name).read_text() == wanted
