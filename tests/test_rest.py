# SPDX-License-Identifier: GPL-2.0-or-later
"""The service's routes answer as the engine does, and refuse what they must."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")
from fastapi.testclient import TestClient  # noqa: E402

import virtProfile  # noqa: E402
from virtProfile.service.routes import application  # noqa: E402

PROFILES = str(Path(__file__).parent.parent / "profiles")
VM = "<domain type='kvm'><name>a</name><memory>1</memory><os><type arch='x86_64' machine='q35'>hvm</type></os></domain>"


def client() -> TestClient:
    made = TestClient(application([PROFILES], "t0k"), raise_server_exceptions=False)
    made.headers["authorization"] = "Bearer t0k"
    return made


def test_apply_as_the_engine() -> None:
    found = client().post("/v1/apply", json={"xml": VM, "profiles": ["rng"]})
    assert found.status_code == 200, found.text
    wanted = virtProfile.apply(VM, ["rng"], store=virtProfile.ProfileStore([PROFILES]))
    assert found.json() == wanted.to_dict() and found.json()["changed"]


@pytest.mark.parametrize(
    "body, status, code",
    [
        (b"{", 400, "usage"),
        (b"[" * 100_000, 400, "usage"),
        (b"3", 422, "usage"),
        (b"{}", 422, "usage"),
        (b'{"xml": "<a/>"}', 422, "invalid-domain"),
        (b'{"xml": "<!DOCTYPE a [<!ENTITY b \'c\'>]><domain>&b;</domain>"}', 422, "policy"),
        (b'{"xml": "<domain/>", "profiles": [3]}', 422, "usage"),
        (b'{"xml": "<domain/>", "profiles": "rng"}', 422, "usage"),
        (b"x" * (2 << 20) + b"x", 413, "policy"),
    ],
)
def test_bad_input(body: bytes, status: int, code: str) -> None:
    found = client().post("/v1/apply", content=body)
    assert (found.status_code, found.json()["code"]) == (status, code), found.text[:300]
    assert found.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/healthz", "/openapi.json", "/v1/apply"])
def test_nobody_without_token(path: str) -> None:
    asking = client()
    asking.headers["authorization"] = "Bearer no"
    assert asking.request("POST" if "v1" in path else "GET", path).status_code == 401


@pytest.mark.parametrize(
    "inside",
    ["<seclabel type='none'/>", "<devices><emulator>/tmp/x</emulator></devices>",
     "<q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:arg value='-x'/></q:commandline>",
     "<devices><disk><source file='/etc/shadow'/></disk></devices>"],
)  # fmt: skip
def test_policy(inside: str) -> None:
    from virtProfile.service.policy import check

    with pytest.raises(virtProfile.ProfileError):
        check("<domain/>", f"<domain>{inside}</domain>")
    check(f"<domain>{inside}</domain>", f"<domain><title>a</title>{inside}</domain>")


@pytest.mark.parametrize("route", ["apply", "diff"])
@pytest.mark.parametrize("listed", [False, True])
def test_policy_on_the_routes(tmp_path: Path, route: str, listed: bool) -> None:
    (tmp_path / "bad.xml").write_text(
        "<profile name='bad' version='1'><add><devices><emulator>/tmp/x</emulator></devices></add></profile>"
    )
    xml = VM
    if listed:
        applied = virtProfile.apply(VM, ["bad"], store=virtProfile.ProfileStore([tmp_path])).xml
        xml = re.sub(r"<vr:record.*</vr:record>|<emulator>.*?</emulator>", "", applied, flags=re.DOTALL)
        assert "bad" in xml and "/tmp/x" not in xml
    asking = TestClient(application([str(tmp_path)], None))
    found = asking.post(f"/v1/{route}", json={"xml": xml, "profiles": [] if listed else ["bad"]})
    assert (found.status_code, found.json().get("code")) == (422, "policy"), found.text
    assert "emulator" in found.json()["message"]


def test_too_slow_loses_only_its_request() -> None:
    body = {"xml": VM, "profiles": ["rng"]}
    assert (
        TestClient(application([PROFILES], None, seconds=0)).post("/v1/apply", json=body).status_code == 503
    )
    assert client().post("/v1/apply", json=body).status_code == 200


def test_status_and_unapply() -> None:
    applied = client().post("/v1/apply", json={"xml": VM, "profiles": ["rng"]}).json()["xml"]
    stands = client().post("/v1/status", json={"xml": applied}).json()["profiles"]
    assert [(one["name"], one["state"]) for one in stands] == [("rng", "applied")]
    assert client().post("/v1/unapply", json={"xml": applied}).json()["xml"] == VM
