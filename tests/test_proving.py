# SPDX-License-Identifier: GPL-2.0-or-later
"""``--test``: what passes, what fails and how it is reported; the tests of the shipped profiles."""

from __future__ import annotations

import json
import random
import shutil
import time
from pathlib import Path
from typing import Any

import commandline
import library
import mutating
import pytest
from lxml import etree

from virtProfile.authoring.cases import read_cases
from virtProfile.authoring.lint import lint_files
from virtProfile.authoring.proving import Prover
from virtProfile.errors import ProfileError
from virtProfile.language.parser import parse_profiles
from virtProfile.language.store import OverlayStore, ProfileStore

VM = """<domain type='kvm'><name>vm</name><memory>1048576</memory>
      <devices><disk type='file'><source file='/a'/><target dev='vda' bus='virtio'/></disk></devices></domain>"""
PROFILES = """<profiles>
  <profile name='cache' version='1'>
    <param name='mode' default='none'/>
    <default><devices><disk><driver cache='{$mode}'/></disk></devices></default>
    <add when="devices/sound"><devices><watchdog model='i6300esb'/></devices></add>
  </profile>
  <profile name='sound' version='1'>
    <add><devices><sound model='ich9'/></devices></add>
    <check test='devices/sound' severity='warning' message='no sound'/>
  </profile>
  <profile name='twice' version='1'><add multiple='yes'><devices><redirdev bus='usb' type='spicevmc'/></devices></add></profile>
  <profile name='none' version='1'><add><devices><disk type='file'><target dev='vda' bus='sata'/></disk></devices></add></profile>
  <profile name='large' version='1'><add><memory>2097152</memory></add></profile>
  <profile name='small' version='1'><add constraint='hard'><memory>524288</memory></add></profile>
  <profile name='refuses' version='1'><check test='false()' message='never' fix='sound'/></profile>
  <profile name='warns' version='1'><check test='false()' severity='warning' message='seen' fix='sound'/></profile>
</profiles>
"""
CACHE = "<profile name='cache'/>"
NONE = "devices/disk/driver/@cache = 'none'"

#: (what is in the test, attributes of <test>, what is said of the failure; "" where it passes)
TABLE: dict[str, tuple[str, str, str]] = {
    "passes": (f'{CACHE}<holds test="{NONE}"/>', "", ""),
    "snippet": (f"{CACHE}<holds><devices><disk><driver cache='none'/></disk></devices></holds>", "", ""),
    "snippet not": (f"{CACHE}<holds not='yes'><devices><sound/></devices></holds>", "", ""),
    "param": ("<profile name='cache'><param name='mode'>directsync</param></profile>"
              "<holds test=\"devices/disk/driver/@cache = 'directsync'\"/>", "", ""),
    "unchanged part": (f"{CACHE}<unchanged select='devices/disk/target'/>", "", ""),
    "skipped": (f"{CACHE}<skipped profile='sound' not='yes'/><holds test='1'/>", "", ""),
    "warning": ("<profile name='large'/><warning code='no-effect' profile='large'/>", "", ""),
    "error": ("<profile name='small'/><error code='conflict' path='/domain/memory'/>", "", ""),
    "error of a check": ("<profile name='refuses'/><error code='check' message='never'/>", "", ""),
    "error of a check with its fix": (
        "<profile name='refuses'/><error code='check' message='never' fix='sound'/>", "", ""),
    "warning with its fix": ("<profile name='warns'/><warning code='check' fix='sound'/><holds test='1'/>", "", ""),
    "not found is an error": ("<profile name='nope'/><error code='not-found'/>", "", ""),
    "no record": (f'{CACHE}<holds test="not(metadata)"/>', "record='no'", ""),
    "once": (f"{CACHE}<holds test='1'/>", "once='yes' reason='it takes long'", ""),
    "auto": ("<holds test='1'/>", "auto='yes'", ""),
    # what fails
    "does not hold": (f"{CACHE}<holds test='devices/sound'/>", "", "test='devices/sound' does not hold"),
    "holds": (f'{CACHE}<holds not="yes" test="{NONE}"/>', "", "holds"),
    "snippet does not hold": (f"{CACHE}<holds><devices><sound/></devices></holds>", "", "the snippet does not"),
    "changed": (f"{CACHE}<unchanged/>", "", "the document is changed: /domain/devices/disk"),
    "changed part": (f"{CACHE}<unchanged select='devices/disk'/>", "", "'devices/disk' is changed"),
    "selects nothing": (f"{CACHE}<unchanged select='devices/sound'/>", "", "selects nothing of the input"),
    "no effect": ("<profile name='large'/><unchanged/>", "", "profile 'large' has no effect"),
    "no warning": (f"{CACHE}<warning code='no-effect'/>", "", "did not come"),
    "not skipped": (f"{CACHE}<skipped profile='cache'/>", "", "did not come"),
    "no error": (f"{CACHE}<error code='conflict'/>", "", "did not come: the profiles could be applied"),
    "another error": ("<profile name='small'/><error code='cycle'/>", "", "this error is not expected"),
    "another fix of an error": ("<profile name='refuses'/><error code='check' fix='cache'/>", "", "not expected"),
    "another fix of a warning": ("<profile name='warns'/><warning code='check' fix='cache'/>", "", "did not come"),
    "another path": ("<profile name='small'/><error code='conflict' path='/domain/vcpu'/>", "", "not expected"),
    "unexpected error": ("<profile name='small'/><holds test='1'/>", "", "/domain/memory"),
    "unknown profile": ("<profile name='chache'/><holds test='1'/>", "", "no profile 'chache'"),
    "unknown param": ("<profile name='cache'><param name='mod'>x</param></profile><holds test='1'/>", "", "mod"),
    "no expectation": (CACHE, "", "the test expects nothing"),
    "no profile": ("<holds test='1'/>", "", "the test applies no profile"),
    "unknown element": (f"{CACHE}<hold test='1'/>", "", "unknown element 'hold'"),
    "unknown attribute": (f"{CACHE}<holds tset='1'/>", "", "unknown attribute 'tset'"),
    "unknown word": (f"{CACHE}<holds test='1'/>", "onec='yes'", "unknown attribute 'onec'"),
    "no reason": (f"{CACHE}<holds test='1'/>", "once='yes'", "without a reason"),
    "bad expression": (f"{CACHE}<holds test='devices/['/>", "", "devices/["),
    "no file": (f"{CACHE}<result file='nope.xml'/>", "", "does not exist"),
    "no context": (f"{CACHE}<holds test='1'/>", "domcapabilities='nope.xml'", "nope.xml"),
    "bad daemon": (f"{CACHE}<holds test='1'/>", "daemon='user'", "daemon='user'"),
    "error and result": (f"{CACHE}<holds test='1'/><error code='conflict'/>", "", "expects an error and a result"),
    "two domains": (f"{CACHE}<holds test='1'/>{VM}", "", "input= or one <domain>"),
    "warning without code": (f"{CACHE}<warning message='x'/>", "", "<warning> without code="),
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "profiles.xml").write_text(PROFILES)
    return tmp_path


def write(place: Path, inside: str, more: str = "", vm: str = VM, name: str = "a.test.xml") -> Path:
    (place / name).write_text(f"<tests>\n  <test name='t' {more}>{vm}\n{inside}</test>\n</tests>\n")
    return place / name


def prove(*files: Path, update: bool = False) -> tuple[list[Any], Prover]:
    prover = Prover(lambda directory: ProfileStore([directory]), update)
    return list(prover.run(map(str, files))), prover


@pytest.mark.parametrize("name", TABLE)
def test_table(name: str, place: Path) -> None:
    inside, more, said = TABLE[name]
    (outcome,), _ = prove(write(place, inside, more))
    messages = [failure.message for failure in outcome.failures]
    assert bool(messages) == bool(said), messages
    assert not said or any(said in message for message in messages), messages


def run(place: Path, *words: str) -> commandline.Done:
    return commandline.run(["--test", *words])


def test_no_run_without_a_test_passes(place: Path) -> None:
    assert run(place, str(place)).status == 2  # a directory without tests
    assert run(place, str(place / "nope.test.xml")).status == 2
    (place / "empty.test.xml").write_text("<tests/>")
    assert run(place, str(place)).status == 1
    (place / "empty.test.xml").write_text("<profiles/>")
    assert run(place, str(place)).status == 1
    (place / "empty.test.xml").write_text("<tests")
    assert run(place, str(place)).status == 1


def test_two_of_one_name(place: Path) -> None:
    test = f"<test name='t'>{VM}{CACHE}<holds test='1'/></test>"
    (place / "a.test.xml").write_text(f"<tests>{test}{test}</tests>")
    (outcome,), _ = prove(place / "a.test.xml")
    assert "two tests are called 't'" in outcome.failures[0].message


def test_results(place: Path) -> None:
    file = write(place, f"{CACHE}<result file='out.xml'/>", "record='no'")
    (outcome,), _ = prove(file, update=True)
    assert not outcome.failures and outcome.updated == str(place / "out.xml")
    assert "cache='none'" in (place / "out.xml").read_text()
    (outcome,), _ = prove(file)
    assert not outcome.failures
    (place / "out.xml").write_text((place / "out.xml").read_text().replace("none", "directsync"))
    (outcome,), _ = prove(file)
    assert "the result is not that in" in outcome.failures[0].message
    assert "cache='none'" in outcome.failures[0].message


def test_repeated_reversed_taken_back(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the three is done, and would be told."""
    from virtProfile.authoring import proving

    file = write(place, f"{CACHE}<profile name='sound'/><holds test='devices/sound'/>")
    (outcome,), _ = prove(file)
    assert not outcome.failures
    apply, unapply = proving.flow.apply, proving.lifecycle.unapply

    def drifting(xml: str, requests: Any, **more: Any) -> Any:
        result = apply(xml, requests, **more)
        if requests[0].name == "sound" or "record/0.1" in xml:
            result.xml = result.xml.replace("ich9", "ich6")
        return result

    def half(xml: str, **more: Any) -> Any:
        result = unapply(xml, **more)
        result.xml = result.xml.replace("vda", "vdb")
        return result

    monkeypatch.setattr(proving.flow, "apply", drifting)
    monkeypatch.setattr(proving.lifecycle, "unapply", half)
    (outcome,), _ = prove(file)
    said = " ".join(failure.message for failure in outcome.failures)
    assert "in reverse order" in said and "a second time" in said and "taken back" in said
    once = write(
        place, f"{CACHE}<profile name='sound'/><holds test='devices/sound'/>", "once='yes' reason='x'"
    )
    (outcome,), _ = prove(once)
    assert not outcome.failures


def test_coverage(place: Path) -> None:
    file = write(place, f"{CACHE}<profile name='sound'/><holds test='devices/sound'/>")
    _, prover = prove(file)
    left = [(row.profile, row.action, row.line) for row in prover.uncovered()]
    assert left == [("sound", "check", 9)]  # its check found nothing
    assert prover.covered() == (3, 4)
    (place / "b.test.xml").write_text(
        f"<tests><test name='t'>{VM}<profile name='cache' priority='-1'/><holds test='1'/></test></tests>"
    )
    _, prover = prove(place / "b.test.xml")
    assert [(row.profile, row.line) for row in prover.uncovered()] == [("cache", 5)]
    done = run(place, str(place / "b.test.xml"))
    assert done.status == 0 and f"not covered: {place}/profiles.xml:5: <add> of cache 1\n" in done.text
    assert run(place, str(place / "b.test.xml"), "--strict").status == 1


def test_drop_ins_are_tested_like_profiles(place: Path) -> None:
    (place / "cache.d").mkdir()
    (place / "cache.d" / "more.xml").write_text(
        "<profile><default><devices><disk><driver io='native'/></disk></devices></default></profile>"
    )
    test = f"{CACHE}<holds test=\"devices/disk/driver/@io = 'native'\"/>"
    (outcome,), prover = prove(write(place, test))
    assert not outcome.failures
    (place / "cache.d" / "more.xml").write_text(
        "<profile><add when='devices/tpm'><vcpu>2</vcpu></add></profile>"
    )
    (outcome,), prover = prove(write(place, test))
    assert outcome.failures
    assert [Path(row.file).name for row in prover.uncovered()] == ["more.xml", "profiles.xml"]


def test_reports(place: Path) -> None:
    write(place, f"{CACHE}<holds test='devices/sound'/>")
    reports = [str(place / name) for name in ("junit.xml", "sarif.json")]
    done = run(place, str(place), "--junit", reports[0], "--sarif", reports[1], "--annotations")
    assert done.status == 1
    assert "FAILED: " in done.text and "1 test: 0 passed, 1 failed; 1 of 2 actions covered\n" in done.text
    assert "::error file=" in done.text and ",line=4::t: test='devices/sound' does not hold\n" in done.text
    junit = etree.parse(reports[0]).getroot()
    assert (junit.get("tests"), junit.get("failures")) == ("1", "1")
    sarif = json.loads(Path(reports[1]).read_text())
    (first, *_) = sarif["runs"][0]["results"]
    assert first["level"] == "error" and first["ruleId"] == "test"
    assert first["locations"][0]["physicalLocation"]["region"] == {"startLine": 4}
    assert first["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].endswith("a.test.xml")
    told = json.loads(run(place, str(place), "--json").text)
    assert told["failed"] == 1 and told["tests"][0]["failures"][0]["line"] == 4


def test_a_failure_says_what_was_wished_in_vain(place: Path) -> None:
    """Who begins forgets that the VM's definition has the priority 99, and that profiles have a match."""
    (place / "more.xml").write_text(
        "<profile name='silent' version='1'><match test='false()'/><remove><devices><sound/></devices></remove></profile>"
    )
    inside = "<profile name='large'/><profile name='silent'/><holds test='memory = 2097152'/>"
    file = write(place, inside + "<warning code='no-effect'/>")
    done = run(place, str(file), "--json")
    assert done.status == 1
    (test,) = json.loads(done.text)["tests"]
    assert test["notes"] == [
        "kept by the VM definition: /domain/memory is '1048576', large 1 wanted '2097152'"
        f" ({place}/profiles.xml:13; priority='100' lets it win)",
        f"skipped: silent 1: its <match> at {place}/more.xml:1 does not hold: false()",
    ]
    assert all(f"    {note}\n" in run(place, str(file)).text for note in test["notes"])
    passes = inside.replace("2097152", "1048576")
    file = write(place, passes + "<warning code='no-effect'/>")
    assert "notes" not in run(place, str(file), "--json").text and run(place, str(file)).status == 0


def test_quiet_tells_failures_alone(place: Path) -> None:
    write(place, f"{CACHE}<holds test='1'/>")
    assert "passed: " in run(place, str(place)).text
    done = run(place, str(place), "-q")
    assert done.status == 0 and done.text.splitlines()[-1].startswith("1 test: 1 passed")
    assert "passed: " not in done.text


def test_profiles_elsewhere(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("elsewhere")
    file = write(other, f'{CACHE}<holds test="{NONE}"/>')
    assert run(other, str(file)).status == 1
    assert run(other, str(file), "--profile-dir", str(place)).status == 0


def test_files_of_tests_are_no_profiles(place: Path) -> None:
    write(place, f"{CACHE}<holds tset='1'/>")
    store = ProfileStore([place])
    assert "cache" in store.names() and not store.problems()
    problems = lint_files([place / "a.test.xml"])
    assert {problem.level for problem in problems} == {"error"}
    assert any("unknown attribute 'tset'" in problem.message for problem in problems)


# --- the shipped profiles --------------------------------------------------------------


SHIPPED = sorted(path for path in library.SHIPPED.glob("*.xml") if not path.name.endswith(".test.xml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_profile_has_tests(path: Path) -> None:
    """Beside it, and they make each of its actions effective."""
    file = path.with_name(f"{path.stem}.test.xml")
    assert file.exists(), f"write {file.name}: tests of {path.stem}"
    outcomes, prover = prove(file)
    failed = [f"{one.name}: {failure.message}" for one in outcomes for failure in one.failures]
    assert not failed
    assert not [f"{row.file}:{row.line}" for row in prover.uncovered() if row.file == str(path)]


def test_no_test_without_its_profile() -> None:
    tested = {path.name.removesuffix(".test.xml") for path in library.SHIPPED.glob("*.test.xml")}
    assert tested <= {path.stem for path in SHIPPED}


@pytest.fixture(scope="module")
def mistakes() -> list[tuple[Path, str, str]]:
    return [(path, what, text) for path in SHIPPED for what, text in mutating.mutants(path.read_text())]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [20261129, 42, 7])
def test_mistakes_in_shipped_profiles_are_found(seed: int, mistakes: list[tuple[Path, str, str]]) -> None:
    """Of 200 profiles with one mistake each, at least 95 % make a test fail."""
    store = library.store()
    texts = {file: file.read_text() for file in sorted(library.SHIPPED.glob("*.test.xml"))}
    survived = []
    with store.one_look():
        for path, what, text in random.Random(seed).sample(mistakes, 200):
            parsed = parse_profiles(text, str(path))
            if any(problem.level == "error" for problem in parsed.problems):
                continue
            wrong = OverlayStore(parsed.profiles, store)
            prover = Prover(lambda directory, wrong=wrong: wrong)
            named = [
                str(file)
                for file, tests in texts.items()
                if file.name.startswith(f"{path.stem}.") or f"name='{path.stem}'" in tests
            ]
            if not any(one.failures for one in prover.run(named)):
                survived.append(f"{path.name} {what}")
    assert len(survived) <= 10, survived


@pytest.mark.slow
def test_mistakes_in_expectations_are_found(tmp_path: Path) -> None:
    """A test that expects something else fails, whatever it is about."""
    place = tmp_path / "profiles"
    shutil.copytree(library.SHIPPED, place)
    chance = random.Random(20261129)
    survived = []
    files = sorted(place.glob("*.test.xml"))
    for file in chance.sample(files, min(40, len(files))):
        text = file.read_text()
        root = etree.fromstring(text.encode())
        holds = [one for one in root.iter("holds") if one.get("test")]
        for one in chance.sample(holds, min(3, len(holds))):
            was = one.get("test")
            one.set("test", f"not({was})")
            file.write_text(etree.tostring(root).decode())
            if not any(outcome.failures for outcome in prove(file)[0]):
                survived.append(f"{file.name}: {was}")
            one.set("test", was)
        file.write_text(text)
    assert not survived


@pytest.mark.slow
def test_a_thousand_tests(place: Path) -> None:
    """In less than ten seconds of a CPU."""
    test = f'<test name=\'%d\'>{VM}{CACHE}<profile name="sound"/><holds test="{NONE}"/><unchanged select="memory"/></test>'
    (place / "a.test.xml").write_text(
        "<tests>" + "".join(test % number for number in range(1000)) + "</tests>"
    )
    start = time.process_time()
    outcomes, _ = prove(place / "a.test.xml")
    assert (
        time.process_time() - start < 20
    )  # 6.5 s alone; CPU time too grows where others use the processor's caches
    assert len(outcomes) == 1000 and not any(one.failures for one in outcomes)


def test_no_external_entities(place: Path) -> None:
    (place / "a.test.xml").write_text("<!DOCTYPE a [<!ENTITY b SYSTEM '/etc/passwd'>]><tests/>")
    with pytest.raises(ProfileError, match="DTD|DOCTYPE"):
        read_cases(str(place / "a.test.xml"))
