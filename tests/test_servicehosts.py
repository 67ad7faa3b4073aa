# SPDX-License-Identifier: GPL-2.0-or-later
"""The service's answers about hosts: those of the command line, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from commandline import DATA, run

pytest.importorskip("fastapi")
pytest.importorskip("httpx")
from fastapi.testclient import TestClient  # noqa: E402

from virtProfile.host.files import read_hosts  # noqa: E402
from virtProfile.host.pinning import plan_texts  # noqa: E402
from virtProfile.service.routes import application  # noqa: E402
from virtProfile.wire.calls import MAX_BUDGET, MAX_HOSTS  # noqa: E402

TOP = Path(__file__).parent.parent
HOSTS = DATA.parent / "hosts"
TOPOLOGY = DATA.parent / "topology"
VM = (DATA / "vm.xml").read_text()


@pytest.fixture(scope="module")
def asking() -> TestClient:
    directories = [str(DATA / "profiles"), str(TOP / "profiles")]
    return TestClient(application(directories, None), raise_server_exceptions=False)


def ask(asking: TestClient, name: str, body: Any) -> tuple[int, Any]:
    found = asking.post(f"/v1/{name}", json=body)
    return found.status_code, found.json()


def documents(*kinds: str) -> list[dict[str, Any]]:
    return [
        {"name": one.name, **{kind: list(getattr(one, kind)) for kind in kinds}}
        for one in read_hosts([HOSTS])
    ]


BOTH = ("capabilities", "domcapabilities")


# --- as the command line ------------------------------------------------------------


@pytest.mark.parametrize("wish", ["", "nodes=2", "policy=isolate,reserve=0", "hugepages=2M,used=0-1"])
def test_mirror(asking: TestClient, wish: str) -> None:
    """The plan is what the profile of that name pins."""
    capabilities = (TOPOLOGY / "topo-2n8c2t.xml").read_text()
    words = dict(part.split("=") for part in wish.split(",") if part)
    status, found = ask(asking, "topology/mirror", {"xml": VM, "capabilities": capabilities, **words})
    assert status == 200, found
    assert found == plan_texts(capabilities, VM, **words).to_dict()
    line = ["--input", "vm.xml", f"--mirror-topology={wish}", "--capabilities", "../topology/topo-2n8c2t.xml"]
    done = run([*line, "--json", "--profile-dir", str(TOP / "profiles")])
    xml = json.loads(done.text)["xml"]
    pins = [re.findall(r"\d+", one) for one in re.findall(r"<vcpupin [^>]*>", xml)]
    assert pins == [[vcpu, str(cpu)] for vcpu, cpu in found["pins"].items()] and pins


def test_mirror_takes_numbers(asking: TestClient) -> None:
    capabilities = (TOPOLOGY / "topo-2n8c2t.xml").read_text()
    body = {"xml": VM, "capabilities": capabilities}
    spelled = ask(asking, "topology/mirror", {**body, "nodes": "2", "hugepages": "2048"})
    assert ask(asking, "topology/mirror", {**body, "nodes": 2, "hugepages": 2048}) == spelled
    assert spelled[0] == 200


def test_mirror_that_does_not_fit(asking: TestClient) -> None:
    body = {"xml": VM, "capabilities": (TOPOLOGY / "topo-2n8c2t.xml").read_text(), "nodes": 3}
    status, found = ask(asking, "topology/mirror", body)
    assert (status, found["code"]) == (422, "completion")
    assert "does not fit" in found["message"] and "would fit" in found["hint"]


def test_merge(asking: TestClient) -> None:
    line = ["--merge-capabilities", "../hosts", "--min-hosts", "1", "--require", "devices/tpm", "--json"]
    wanted = json.loads(run(line).text)
    body = {"hosts": documents("domcapabilities"), "min_hosts": 1, "require": ["devices/tpm"]}
    assert ask(asking, "capabilities/merge", body) == (200, wanted)
    assert wanted["hosts"] and wanted["excluded"]


def test_merge_of_several_documents_a_host(asking: TestClient) -> None:
    text = documents("domcapabilities")[0]["domcapabilities"][0]
    body = {"hosts": [{"name": "a", "domcapabilities": [text, text]}]}
    assert ask(asking, "capabilities/merge", body)[1]["hosts"] == ["a#1", "a#2"]


@pytest.mark.parametrize("profile", [None, "cache", "mirror-topology"])
def test_hosts(asking: TestClient, profile: str | None) -> None:
    line = ["--input", "vm.xml", "--hosts", "../hosts", "--json"]
    for directory in ("profiles", str(TOP / "profiles")):
        line += ["--profile-dir", directory]
    wanted = json.loads(run([*line, *(["--profile", profile] if profile else [])]).text)
    profiles = [profile] if profile else []
    body = {"xml": VM, "name": "vm.xml", "profiles": profiles, "hosts": documents(*BOTH)}
    status, found = ask(asking, "hosts", body)
    assert (status, found) == (200, json.loads(json.dumps(wanted).replace(f"{DATA}/profiles", "profiles")))
    assert len({one["answer"] for one in found["hosts"]}) > 1


# --- what is refused ------------------------------------------------------------------

ROUTES = ("topology/mirror", "capabilities/merge", "hosts")
BOMB = "<!DOCTYPE a [<!ENTITY b 'c'><!ENTITY d '&b;&b;&b;'>]><domainCapabilities>&d;</domainCapabilities>"
XXE = "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><capabilities>&b;</capabilities>"
DEEP = "<capabilities>" + "<a>" * 400 + "</a>" * 400 + "</capabilities>"
ONE = {"name": "a", "domcapabilities": ["<domainCapabilities/>"]}


@pytest.mark.parametrize(
    ("route", "body", "message"),
    [
        ("topology/mirror", {"xml": VM}, "'capabilities' is missing"),
        ("topology/mirror", {"capabilities": "<capabilities/>"}, "'xml' is missing"),
        ("topology/mirror", {"xml": VM, "capabilities": "<capabilities/>"}, "do not have"),
        ("topology/mirror", {"xml": VM, "capabilities": "<domain/>"}, "libvirt's 'capabilities' was expected"),
        ("topology/mirror", {"xml": VM, "capabilities": XXE}, ""),
        ("topology/mirror", {"xml": VM, "capabilities": DEEP}, ""),
        ("topology/mirror", {"xml": VM, "capabilities": "<capabilities/>", "nodes": True}, "wrong type"),
        ("topology/mirror", {"xml": VM, "capabilities": "<capabilities/>", "node": 1}, "unknown key"),
        ("topology/mirror", {"xml": VM, "capabilities": "<capabilities/>", "nodes": "9" * 99}, ""),
        ("topology/mirror", {"xml": VM, "capabilities": "<capabilities/>", "used": "0-99999999999"}, ""),
        ("capabilities/merge", {}, "'hosts' is missing"),
        ("capabilities/merge", {"hosts": []}, "1 to 1000"),
        ("capabilities/merge", {"hosts": [ONE] * (MAX_HOSTS + 1)}, "1 to 1000"),
        ("capabilities/merge", {"hosts": [ONE, ONE]}, "the same name"),
        ("capabilities/merge", {"hosts": [3]}, "list of objects"),
        ("capabilities/merge", {"hosts": [{"name": "a"}]}, "host 'a' has no domain capabilities"),
        ("capabilities/merge", {"hosts": [{"domcapabilities": []}]}, "'name' is missing"),
        ("capabilities/merge", {"hosts": [{"name": "a\n", "domcapabilities": []}]}, "invalid host name"),
        ("capabilities/merge", {"hosts": [{"name": "a", "domcapabilities": [1]}]}, "list of texts"),
        ("capabilities/merge", {"hosts": [{"name": "a", "domcapabilities": ["<a/>"] * 65}]}, "65 entries"),
        ("capabilities/merge", {"hosts": [{"name": "a", "domcapabilities": [BOMB]}]}, ""),
        ("capabilities/merge", {"hosts": [ONE], "budget": MAX_BUDGET + 1}, "'budget' is"),
        ("capabilities/merge", {"hosts": [ONE], "budget": True}, "wrong type"),
        ("capabilities/merge", {"hosts": [ONE], "min_hosts": 2}, "2 hosts are required, and only 1 are given"),
        ("capabilities/merge", {"hosts": [ONE], "require": ["a"] * 17}, "17 entries"),
        ("capabilities/merge", {"hosts": [ONE], "require": ["//a[//b[//c]]"]}, ""),
        ("hosts", {"xml": VM}, "'hosts' is missing"),
        ("hosts", {"hosts": [ONE]}, "'xml' is missing"),
        ("hosts", {"xml": VM, "hosts": [{"name": "a", "capabilities": [XXE]}]}, ""),
        ("hosts", {"xml": VM, "hosts": [{"name": "a", "capabilities": ["<domain/>"]}]}, "was expected"),
        ("hosts", {"xml": "<!DOCTYPE a><domain/>", "hosts": [ONE]}, ""),
        ("hosts", {"xml": VM, "hosts": [ONE], "profiles": [1]}, "names and objects"),
        ("hosts", {"xml": VM, "hosts": [ONE], "profiles": [{"name": "../etc/passwd"}]}, ""),
        *((route, [], "not a JSON object") for route in ROUTES),
    ],
)  # fmt: skip
def test_refused(asking: TestClient, route: str, body: Any, message: str) -> None:
    status, found = ask(asking, route, body)
    assert status == 422, found
    assert message in found["message"]
    assert found["code"] in ("usage", "policy", "completion", "syntax", "not-found"), found
    assert "passwd" not in found["message"] or "../etc/passwd" in found["message"]


def test_policy_is_no_answer_of_a_host(tmp_path: Path) -> None:
    (tmp_path / "bad.xml").write_text(
        "<profile name='bad' version='1'><add><devices><emulator>/tmp/x</emulator></devices></add></profile>"
    )
    asking = TestClient(application([str(tmp_path)], None))
    body = {"xml": VM, "profiles": ["bad"], "hosts": documents(*BOTH)}
    status, found = ask(asking, "hosts", {**body, "profiles": [{"name": "bad", "priority": 100}]})
    assert (status, found["code"]) == (422, "policy")


def test_no_password_in_reasons(asking: TestClient) -> None:
    """A conflict about a password is a host's answer without it."""
    wish = {"name": "password", "priority": 99, "params": {"password": "swordfish"}}
    body = {"xml": VM, "profiles": [wish], "hosts": documents(*BOTH)}
    status, found = ask(asking, "hosts", body)
    assert status == 200, found
    assert "cannot hold" in json.dumps(found) or "***" in json.dumps(found), found
    assert "hush" not in json.dumps(found) and "swordfish" not in json.dumps(found)


def test_merge_says_where_its_budget_ended(asking: TestClient) -> None:
    body = {"hosts": documents("domcapabilities"), "min_hosts": 1, "budget": 1}
    status, found = ask(asking, "capabilities/merge", body)
    assert status == 422 or found["proven"] is False
