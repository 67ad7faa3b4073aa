# SPDX-License-Identifier: GPL-2.0-or-later
"""``virt-profiled --connect``: VMs of a libvirt read and defined, by those whose rules say so."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon import served

import virtProfile
from virtProfile.errors import LibvirtError, UsageError
from virtProfile.language.store import ProfileStore
from virtProfile.live.connection import Connection
from virtProfile.live.kept_connections import KeptConnections
from virtProfile.service import handlers, options
from virtProfile.service.callers import read_policy
from virtProfile.service.policy import RULES, Rules
from virtProfile.service.vms import CONNECT

TOP = Path(__file__).parent.parent
NAME = "vp-n-vm"
XML = f"""<domain type='qemu'>
  <name>{NAME}</name>
  <uuid>0f5e9d3c-4b7a-4a55-9d10-6b6b5e2c7a99</uuid>
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/a.img'/><target dev='vda' bus='virtio'/></disk>
    <graphics type='vnc' port='-1' passwd='hushhush'/>
  </devices>
</domain>
"""
Ask = Callable[..., tuple[int, Any]]
READ, DEFINE = Rules(read_vms=True), Rules(read_vms=True, define_vms=True)


@pytest.fixture
def ask(embedded_root: Path, embedded_qemu: Any) -> Iterator[Ask]:
    """Asks as a caller with rules; the VM is defined anew for each test."""
    uri = f"qemu:///embed?root={embedded_root}"
    store = ProfileStore([TOP / "profiles"])
    domain = embedded_qemu.defineXML(XML)

    def asking(rules: Rules, name: str, /, **body: Any) -> tuple[int, Any]:
        kept = RULES.set(rules), CONNECT.set(uri)
        try:
            status, answer = handlers.answered(name, json.dumps(body).encode(), store)
        finally:
            RULES.reset(kept[0])
            CONNECT.reset(kept[1])
        return status, json.loads(answer)

    yield asking
    domain.undefineFlags(0)


def profiles(*names: str) -> list[dict[str, Any]]:
    return [{"name": name} for name in names]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("vms", {}),
        ("vm", {"name": NAME}),
        ("apply-to-vm", {"vm": NAME, "profiles": profiles("rng")}),
        ("apply-to-vm", {"vm": NAME, "profiles": profiles("rng"), "define": True}),
    ],
)
def test_nobody_may_by_default(ask: Ask, name: str, body: dict[str, Any]) -> None:
    status, answer = ask(Rules(), name, **body)
    assert (status, answer["code"]) == (403, "policy") and "policy file" in answer["hint"]
    if body.get("define"):
        assert ask(READ, name, **body)[0] == 403
    store = ProfileStore([TOP / "profiles"])
    status, _ = handlers.answered(name, json.dumps(body).encode(), store)
    assert status == 404, "without --connect there are none"


def test_listed_read_applied_defined_and_taken_back(ask: Ask, embedded_qemu: Any) -> None:
    status, answer = ask(READ, "vms")
    (entry,) = [vm for vm in answer["vms"] if vm["name"] == NAME]
    assert status == 200 and entry["profiles"] == [] and answer["define"] is False
    _, seen = ask(READ, "vm", name=NAME)
    assert "hushhush" not in seen["xml"] and f"<name>{NAME}</name>" in seen["xml"]

    wishes = profiles("rng", "fast-disk")
    status, looked = ask(READ, "apply-to-vm", vm=NAME, profiles=wishes, digest=seen["digest"])
    assert status == 200 and looked["defined"] is False and "<rng" in looked["xml"], looked
    assert "<rng" not in embedded_qemu.lookupByName(NAME).XMLDesc(0), "nothing is defined by looking"

    body = {"vm": NAME, "profiles": wishes, "define": True, "digest": seen["digest"]}
    status, done = ask(DEFINE, "apply-to-vm", **body)
    assert status == 200 and done["defined"] is True, done
    assert "hushhush" not in json.dumps(done)
    now = embedded_qemu.lookupByName(NAME).XMLDesc(1 | 2)
    assert "<rng" in now and "cache='none'" in now and "passwd='hushhush'" in now
    _, answer = ask(READ, "vms")
    (entry,) = [vm for vm in answer["vms"] if vm["name"] == NAME]
    assert {one["name"]: one["state"] for one in entry["profiles"]} == {
        "rng": "applied",
        "fast-disk": "applied",
    }

    status, back = ask(DEFINE, "apply-to-vm", vm=NAME, unapply="all", define=True, digest=done["digest"])
    assert status == 200, back
    assert back["xml"] == seen["xml"]


def test_a_vm_that_was_changed_since_is_refused(ask: Ask, embedded_qemu: Any) -> None:
    _, seen = ask(READ, "vm", name=NAME)
    embedded_qemu.defineXML(XML.replace(">64<", ">128<"))
    body = {"vm": NAME, "profiles": profiles("rng"), "digest": seen["digest"]}
    assert ask(READ, "apply-to-vm", **body)[0] == 409
    assert ask(DEFINE, "apply-to-vm", define=True, **body)[0] == 409
    assert "<rng" not in embedded_qemu.lookupByName(NAME).XMLDesc(0)


def test_what_the_guest_sees_is_agreed_to(ask: Ask, embedded_qemu: Any) -> None:
    body = {"vm": NAME, "profiles": profiles("acpi"), "define": True}
    status, answer = ask(DEFINE, "apply-to-vm", **body)
    assert status == 422 and "would see other hardware" in answer["message"]
    assert "<acpi" not in embedded_qemu.lookupByName(NAME).XMLDesc(0)
    assert ask(DEFINE, "apply-to-vm", yes=True, **body)[0] == 200


def test_the_policy_holds_for_vms_of_the_host(ask: Ask) -> None:
    narrow = Rules(("rng",), read_vms=True, define_vms=True)
    status, answer = ask(narrow, "apply-to-vm", vm=NAME, profiles=profiles("rng"), define=True)
    assert status == 200, answer
    status, answer = ask(narrow, "apply-to-vm", vm=NAME, profiles=profiles("fast-disk"), define=True)
    assert (status, answer["code"]) == (422, "policy")
    nothing = Rules(elements=("devices/interface",), read_vms=True, define_vms=True)
    assert ask(nothing, "apply-to-vm", vm=NAME, profiles=profiles("fast-disk"), define=True)[0] == 422


def test_a_vm_that_is_not_there(ask: Ask) -> None:
    status, answer = ask(READ, "vm", name="vp-n-vn")
    assert status == 404 and NAME in answer["hint"], answer


def test_words_of_the_policy_and_the_option(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text("[default]\nprofiles = ['*']\n[callers.admin]\nread-vms = true\ndefine-vms = true\n")
    rules = read_policy(file)
    assert (rules[""].read_vms, rules[""].define_vms) == (False, False)
    assert (rules["admin"].read_vms, rules["admin"].define_vms) == (True, True)
    with pytest.raises(UsageError, match=re.escape("--connect has no effect without --policy")):
        options.parse(["--connect", "test:///default"])
    assert options.parse(["--connect", "test:///default", "--policy", str(file)]).connect == "test:///default"


def test_take_back_one_and_apply_another_in_one_step() -> None:
    """As the command line does: what is named beside `unapply` is applied."""
    pytest.importorskip("libvirt")
    from virtProfile.live.connection import Connection
    from virtProfile.service.vms import _computed

    store = ProfileStore([TOP / "profiles"])
    applied = virtProfile.apply(XML, ["rng", "fast-disk"], store=store).xml
    body = {"unapply": ["rng"], "profiles": ["watchdog"]}
    with Connection("test:///default", read_only=True) as connection:
        xml = _computed(body, store, connection, applied, NAME).xml
    assert "<watchdog" in xml and "name='fast-disk'" in xml and "<rng" not in xml


# --- the connection ---------------------------------------------------------------------


def test_a_worker_opens_an_embedded_driver_once(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """libvirt refuses it some fifteen times later: "too many drivers"."""
    libvirt = pytest.importorskip("libvirt")
    assert ask(READ, "vms")[0] == 200
    monkeypatch.setattr(libvirt, "open", lambda uri: pytest.fail(f"{uri} is opened again"))
    for rules, name, body in 20 * [
        (READ, "vms", {}),
        (READ, "vm", {"name": NAME}),
        (DEFINE, "apply-to-vm", {"vm": NAME, "define": True, "profiles": profiles("rng")}),
    ]:
        assert ask(rules, name, **body)[0] == 200


def test_what_no_longer_answers_is_opened_again() -> None:
    pytest.importorskip("libvirt")
    kept = KeptConnections()
    first = kept.get("test:///default")
    assert kept.get("test:///default") is first and kept.get("test:///default", read_only=True) is first
    first.handle.close()
    second = kept.get("test:///default")
    assert second is not first and second.names() == ["test"]
    kept.close()


def test_who_may_only_read_does_not_keep_others_from_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    libvirt = pytest.importorskip("libvirt")
    kept, opened = KeptConnections(), libvirt.open

    def refused(uri: str) -> Any:
        raise libvirt.libvirtError("authentication unavailable: no polkit agent")

    monkeypatch.setattr(libvirt, "open", refused)
    monkeypatch.setattr(Connection, "_denied", lambda *_: True)
    reading = kept.get("test:///default", read_only=True)
    assert reading.read_only
    with pytest.raises(LibvirtError):
        kept.get("test:///default")
    assert kept.get("test:///default", read_only=True) is reading, "who reads goes on"
    monkeypatch.setattr(libvirt, "open", opened)
    assert not kept.get("test:///default").read_only
    assert not kept.get("test:///default", read_only=True).read_only
    kept.close()


def test_only_one_worker_can_have_an_embedded_driver(tmp_path: Path) -> None:
    words = ["--connect", "qemu:///embed?root=/x", "--policy", str(tmp_path / "policy.toml")]
    with pytest.raises(UsageError, match="only one process can have the driver of qemu:///embed") as caught:
        options.parse([*words, "--workers", "2"])
    assert caught.value.hint == "--workers 1"
    assert options.parse([*words, "--workers", "1"]).workers == 1


@pytest.mark.slow
def test_a_service_of_an_embedded_driver(embed: Callable[[str], str], tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("[default]\nread-vms = true\n")
    policy.chmod(0o600)
    with served(tmp_path, "--connect", embed("service"), "--policy", str(policy)) as service:
        assert len(service.workers()) == 1
        for _ in range(25):
            status, answer, _ = service.ask("GET", "/v1/vms")
            assert (status, answer["vms"]) == (200, []), answer


#: Run beside a libvirtd of its own, which it ends and starts again.
RESTARTED = """
import os, signal, subprocess, sys, time
from pathlib import Path
from virtProfile.errors import LibvirtError
from virtProfile.live.kept_connections import KeptConnections

kept = KeptConnections()
first = kept.get("qemu:///system")
assert kept.get("qemu:///system") is first and first.names() == []
os.kill(int(Path("/run/libvirt/ours.pid").read_text()), signal.SIGTERM)
socket = Path("/run/libvirt/libvirt-sock")
end = time.monotonic() + 60
while socket.exists() and time.monotonic() < end:
    time.sleep(0.1)
try:
    kept.get("qemu:///system")
except LibvirtError:
    print("nothing answers")
daemon = subprocess.Popen(["libvirtd", "--pid-file", "/run/libvirt/ours.pid"], stderr=subprocess.DEVNULL)
while not socket.exists() and time.monotonic() < end:
    time.sleep(0.1)
second = kept.get("qemu:///system")
assert second is not first and second.names() == []
print("answers again")
kept.close()
daemon.terminate()
daemon.wait(30)
"""


@pytest.mark.slow
def test_a_daemon_that_was_restarted(beside_a_daemon: list[str]) -> None:
    words = [*beside_a_daemon, sys.executable, "-c", RESTARTED]
    done = subprocess.run(words, capture_output=True, text=True, cwd=TOP, timeout=120)
    assert done.stdout.splitlines() == ["nothing answers", "answers again"], done.stderr
