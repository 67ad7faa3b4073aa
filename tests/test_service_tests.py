# SPDX-License-Identifier: GPL-2.0-or-later
"""``/v1/test``: tests of profiles in a request, which reads no file and keeps to the caller's policy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import virtProfile
from virtProfile.service.handlers import BROUGHT, answered
from virtProfile.service.policy import RULES, Rules

TOP = Path(__file__).parent.parent
STORE = virtProfile.ProfileStore([TOP / "profiles"], check_owner=False)
OPEN = Rules(inline=True, elements=None, may=frozenset(("other", "other-elements")))
VM = """<domain type='kvm'><name>vm</name><memory>65536</memory><os><type arch='x86_64' machine='q35'>hvm</type></os>
<devices><graphics type='vnc' passwd='hushhush'/></devices></domain>"""
NAMED = """<profile name='named' version='1'>
  <param name='words'/>
  <add><title>{$words}</title></add>
  <add when='devices/sound'><on_crash>restart</on_crash></add>
</profile>"""


@pytest.fixture(autouse=True)
def rules() -> Iterator[None]:
    token = RULES.set(OPEN)
    BROUGHT.set(False)
    yield
    RULES.reset(token)


def ask(**body: Any) -> tuple[int, dict[str, Any]]:
    status, answer = answered("test", json.dumps({"xml": VM, "inline": [NAMED], **body}).encode(), STORE)
    return status, json.loads(answer)


def a_test(inside: str, attributes: str = "input='vm.xml'") -> str:
    return f"<tests>\n<test name='t' {attributes}>\n{inside}\n</test>\n</tests>"


HELLO = "<profile name='named'><param name='words'>Hello</param></profile>"


def test_without_a_document_profiles_are_repeated_and_taken_back() -> None:
    wish = {"name": "named", "params": {"words": "Hello"}}
    status, found = ask(profiles=[wish, "rng"])
    assert (status, found["ok"], found["tests"][0]["status"]) == (200, True, "passed")
    # The second action has no effect on this VM.
    (row,) = found["uncovered"]
    assert (row["profile"], row["action"], row["line"], row["file"]) == ("named", "add", 4, "inline:0")
    status, found = ask(profiles=["none"])
    assert (status, found["ok"]) == (200, False)
    assert "none" in found["tests"][0]["failures"][0]["message"]


def test_a_password_is_not_in_what_is_said() -> None:
    takes = "<profile name='takes'><remove select='devices/graphics/@passwd'/></profile>"
    status, found = ask(inline=[takes], profiles=["takes"], override=True)
    (failure,) = found["tests"][0]["failures"]
    assert (status, found["ok"]) == (200, False)
    assert failure["message"] == (
        "taken back, the domain is not what it was: devices/graphics/@passwd is there instead of '***'"
    )


def test_a_document_of_tests() -> None:
    wrong = """<holds test="title = 'Bye'"/>"""
    status, found = ask(tests=a_test(HELLO + "\n" + wrong))
    assert (status, found["ok"]) == (200, False)
    assert found["tests"] == [
        {
            "name": "t",
            "file": "tests",
            "line": 2,
            "status": "failed",
            "failures": [{"message": "test='title = 'Bye'' does not hold", "line": 4}],
        }
    ]
    assert BROUGHT.get(), "its expressions would stay in the worker"
    passing = a_test(f"{HELLO}<holds test=\"title = 'Hello' and on_crash = 'restart'\"/>", "input='loud.xml'")
    loud = VM.replace("<devices>", "<devices><sound model='ich9'/>")
    status, found = ask(tests=passing, files={"loud.xml": loud})
    assert (found["ok"], found["uncovered"]) == (True, [])
    # Strictly read, as files are.
    status, found = ask(tests=a_test(HELLO))
    assert (status, found["ok"]) == (200, False)
    assert "expects nothing" in found["tests"][0]["failures"][0]["message"]


CAPABILITIES = """<capabilities><host><cpu><arch>x86_64</arch></cpu><topology><cells num='3'/></topology></host>
<guest><os_type>hvm</os_type><arch name='x86_64'><domain type='kvm'/></arch></guest></capabilities>"""


def test_a_host_and_a_whole_result_are_given_as_files() -> None:
    counts = "<profile name='counts'><add><title>host of {$host/topology/cells/@num}</title></add></profile>"
    body = a_test(
        "<profile name='counts'/><holds test=\"title = 'host of 3'\"/>",
        "input='vm.xml' capabilities='host.xml'",
    )
    assert ask(inline=[counts], tests=body, files={"host.xml": CAPABILITIES})[1]["ok"]
    said = ask(inline=[counts], tests=body)[1]["tests"][0]["failures"][0]["message"]
    assert said.startswith("'host.xml' is not among the files that were given: 'tests', 'vm.xml'"), said
    result = virtProfile.apply(
        VM,
        [{"name": "rng"}],
        store=STORE,
        record=False,
    ).xml
    whole = a_test("<profile name='rng'/><result file='r.xml'/>", "input='vm.xml' record='no'")
    assert ask(tests=whole, files={"r.xml": result})[1]["ok"]
    assert not ask(tests=whole, files={"r.xml": VM})[1]["ok"]
    said = ask(tests=whole)[1]["tests"][0]["failures"][0]["message"]
    assert said.startswith("'r.xml' does not exist"), said


@pytest.mark.parametrize(
    "attributes",
    ["input='{file}'", "input='vm.xml' capabilities='{file}'", "input='vm.xml' domcapabilities='{file}'"],
)
def test_no_file_of_the_host_is_read(attributes: str, tmp_path: Path) -> None:
    file = tmp_path / "host.xml"
    file.write_text("<domain type='kvm'><name>a-secret-of-the-host</name></domain>")
    body = a_test(HELLO + "<holds test='name'/>", attributes.format(file=file))
    status, found = ask(tests=body)
    said = json.dumps(found)
    assert status == 200 and not found["ok"]
    assert "is not among the files that were given" in said and "a-secret" not in said
    whole = a_test(HELLO + f"<result file='{file}'/>")
    assert "does not exist" in json.dumps(ask(tests=whole)[1])


def test_files_are_texts() -> None:
    status, found = ask(files={"vm.xml": 3})
    assert (status, found["message"]) == (422, "'files/vm.xml' is of the wrong type")


def test_the_policy_is_that_of_apply() -> None:
    RULES.set(Rules(inline=False, elements=None, may=OPEN.may))
    assert ask(tests=a_test(HELLO))[1]["message"] == "tests in the request are not allowed: 'tests'"
    assert ask()[1]["message"] == "profiles in the request are not allowed: 'inline'"
    # What may not be applied may not be tried either, in a test that expects an error too.
    RULES.set(Rules(inline=True, elements=None, may=frozenset()))
    path = "<profile name='p'><add><devices><emulator>/usr/bin/x</emulator></devices></add></profile>"
    for body in (
        {"profiles": ["p"]},
        {"tests": a_test("<profile name='p'/><holds test='devices/emulator'/>")},
    ):
        found = ask(inline=[path], **body)[1]
        assert not found["ok"] and "may not change" in json.dumps(found), found
    RULES.set(Rules(inline=True, profiles=("rng",), elements=None, may=OPEN.may))
    holds = "<profile name='tpm-2.0'/><holds test='devices/tpm'/>"
    assert "may not use 'tpm-2.0'" in json.dumps(ask(tests=a_test(holds))[1])
