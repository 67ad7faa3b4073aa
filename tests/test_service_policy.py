# SPDX-License-Identifier: GPL-2.0-or-later
"""What a policy file lets each caller do, and what stays of a request in a worker: nothing."""

from __future__ import annotations

import gc
import json
import multiprocessing
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
import library  # noqa: E402
from counting import calls  # noqa: E402
from daemon import PROFILES, TOP, VM  # noqa: E402
from fastapi.testclient import TestClient  # noqa: E402
from manydevices import mixed  # noqa: E402

import virtProfile  # noqa: E402
from virtProfile.errors import PolicyError  # noqa: E402
from virtProfile.format.guarded import KINDS  # noqa: E402
from virtProfile.redaction import veil_result  # noqa: E402
from virtProfile.service import handlers, policy, worker  # noqa: E402
from virtProfile.service.callers import Callers, read_policy, read_tokens  # noqa: E402
from virtProfile.service.policy import RULES, Rules, check  # noqa: E402
from virtProfile.service.routes import application  # noqa: E402

POLICY = """
[callers.tool]
profiles = ["rng", "my.*"]
elements = ["devices/rng"]

[callers.admin]
profiles = ["*"]
may-touch = ["host-paths"]
inline-profiles = true
"""
PATH = "<profile name='my.path'><add><devices><emulator>/usr/bin/x</emulator></devices></add></profile>"
VCPU = "<profile name='my.vcpu'><add><vcpu>2</vcpu></add></profile>"


@pytest.fixture
def asking(tmp_path: Path) -> TestClient:
    (tmp_path / "policy.toml").write_text(POLICY)
    (tmp_path / "tokens").write_text(f"# who\ntool {'t' * 16}\nadmin {'a' * 16}\n{'n' * 16}\n")
    (tmp_path / "tokens").chmod(0o600)
    store = tmp_path / "profiles"
    store.mkdir()
    (store / "path.xml").write_text(PATH)
    (store / "vcpu.xml").write_text(VCPU)
    callers = Callers(tuple(read_tokens(tmp_path / "tokens")), rules=read_policy(tmp_path / "policy.toml"))
    return TestClient(application([str(store), PROFILES], None, callers=callers))


def status(asking: TestClient, who: str, profiles: list[str], **more: object) -> tuple[int, str]:
    headers = {"authorization": f"Bearer {who * 16}"}
    found = asking.post("/v1/apply", json={"xml": VM, "profiles": profiles, **more}, headers=headers)
    return found.status_code, found.json().get("message", "")


def test_callers(asking: TestClient) -> None:
    assert status(asking, "t", ["rng"]) == (200, "")
    assert status(asking, "t", ["tpm-2.0"]) == (422, "this caller may not use 'tpm-2.0'")
    assert status(asking, "t", ["my.vcpu"]) == (422, "this caller may not change '/domain/vcpu'")
    assert "may not change 'devices/emulator'" in status(asking, "t", ["my.path"])[1]
    assert status(asking, "a", ["my.path", "my.vcpu", "tpm-2.0"]) == (200, "")
    assert status(asking, "n", ["rng"])[0] == 403
    own = ["<profile name='own'><add><vcpu>3</vcpu></add></profile>"]
    assert status(asking, "a", ["own"], inline=own) == (200, "")
    assert "not allowed" in status(asking, "t", ["own"], inline=own)[1]


def test_catalogue_is_the_callers(asking: TestClient) -> None:
    found = asking.get("/v1/profiles", headers={"authorization": "Bearer " + "t" * 16}).json()["profiles"]
    assert [one["name"] for one in found] == ["my.path", "my.vcpu", "rng"]


@pytest.mark.parametrize(
    "text, told",
    [
        ("[default]\nprofile = []", "unknown key 'profile'"),
        ("[default]\nmay-touch = ['hostdevs']", "'hostdevs' is not a protected kind"),
        ("[default]\nelements = ['devices[1]']", "not a path of elements"),
        ("[default]\nprofiles = 'rng'", "wrong type"),
        ("callers = 3", "not a table"),
        ("[callers]\na = 3", "not a table"),
        ("[callers.'']\nprofiles = []", "invalid caller name"),
        ("x", "not valid TOML"),
    ],
)
def test_wrong_policy(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "p").write_text(text)
    with pytest.raises(virtProfile.ProfileError, match=told.replace("[", r"\[")):
        read_policy(tmp_path / "p")


def test_wrong_tokens(tmp_path: Path) -> None:
    file = tmp_path / "t"
    for text in ("short", "a b c", "", "n\u00e9 " + "x" * 20 + "\u00e9"):
        file.write_text(text)
        file.chmod(0o600)
        with pytest.raises(virtProfile.ProfileError):
            read_tokens(file)
    file.write_text("x" * 20)
    file.chmod(0o644)
    with pytest.raises(virtProfile.ProfileError, match="everybody"):
        read_tokens(file)


@pytest.mark.parametrize(
    "inside",
    [
        "<q:override xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:device alias='a'/></q:override>",
        "<q:capabilities xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:add capability='a'/></q:capabilities>",
        "<devices><rng><backend model='random'>/etc/shadow</backend></rng></devices>",
        "<devices><interface type='hostdev'><source><address type='pci'/></source></interface></devices>",
        "<devices><disk type='nvme'><source type='pci'/></disk></devices>",
        "<devices><disk type='volume'><source pool='a' volume='b'/></disk></devices>",
        "<devices><hostdev mode='subsystem'/></devices>",
        "<devices><input type='evdev'><source dev='/dev/input/event0'/></input></devices>",
        "<devices><graphics type='spice'><gl rendernode='/dev/dri/renderD128'/></graphics></devices>",
        "<bootloader>/bin/sh</bootloader>",
    ],
)
def test_guarded(inside: str) -> None:
    with pytest.raises(virtProfile.ProfileError, match="may not change"):
        check("<domain/>", f"<domain>{inside}</domain>")
    check(f"<domain>{inside}</domain>", f"<domain><vcpu>2</vcpu>{inside}</domain>")


def test_not_too_strict() -> None:
    device = "<domain><devices><hostdev mode='subsystem'><source/>{}</hostdev></devices></domain>"
    check(device.format(""), device.format("<address type='pci'/>"))
    random = "<domain><devices><rng><backend model='random'>/dev/urandom</backend></rng></devices></domain>"
    check("<domain/>", random)


def test_no_secret_stays_in_a_worker(tmp_path: Path) -> None:
    body = "<add><devices><graphics type='vnc' passwd='{$password}'/></devices></add>"
    (tmp_path / "a.xml").write_text(
        f"<profile name='a'><param name='password' secret='yes'/>{body}</profile>"
    )
    store = virtProfile.ProfileStore([tmp_path])
    secret = "".join(["the-", "secret"])
    asked = {"xml": VM, "profiles": [{"name": "a", "params": {"password": secret}}]}
    code, answer = handlers.answered("apply", json.dumps(asked).encode(), store)
    assert code == 200 and secret.encode() in answer
    del asked
    assert reachable(secret, store)  # a worker that forgets nothing
    worker.forget(False)
    assert not reachable(secret, store)


def reachable(secret: str, store: object) -> bool:
    """Is there such a text in anything that the package's modules hold?"""
    stack: list[object] = [
        vars(module) for name, module in list(sys.modules.items()) if name.startswith("virtProfile")
    ]
    stack.append(store)
    seen = set()
    while stack:
        one = stack.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, str) and secret in one:
            return True
        if type(one).__name__ != "module":
            stack += gc.get_referents(one)
    return False


@pytest.mark.parametrize("word", ["inline", "\\u0069nline", "inl\\u0069ne"])
def test_profiles_of_a_caller_do_not_stay_in_a_worker(word: str) -> None:
    """However the word is spelled in JSON."""
    secret = "a-text-of-a-profile"
    profile = f"<profile name='a'><add><title>{secret}</title></add></profile>"
    data = json.dumps({"xml": VM, "profiles": ["a"], "inline": [profile]}).replace('"inline"', f'"{word}"')
    near, far = socket.socketpair()
    rules = {"x": Rules(inline=True, elements=None, may=frozenset(KINDS))}
    settings = worker.Settings((PROFILES,), rules=rules)
    running = multiprocessing.get_context("spawn").Process(
        target=_serve_and_look, args=(far, settings, secret)
    )
    running.start()
    try:
        assert near.recv(1) == b"+"
        near.sendall(worker.REQUEST.pack(5, 1, len(data)) + b"applyx" + data.encode())
        status, _, size = worker.ANSWER.unpack(near.recv(worker.ANSWER.size, socket.MSG_WAITALL))
        assert status == 200 and secret.encode() in near.recv(size, socket.MSG_WAITALL)
        near.shutdown(socket.SHUT_WR)
        assert near.recv(1) == b"-", "it is still there"
    finally:
        near.close()
        running.join(10)


def _serve_and_look(far: socket.socket, settings: worker.Settings, secret: str) -> None:
    worker.serve(far, settings)
    far.sendall(b"+" if reachable(secret, None) else b"-")


def test_rules_are_of_one_request() -> None:
    token = RULES.set(Rules(may=frozenset(("hostdev",))))
    try:
        check("<domain/>", "<domain><devices><hostdev/></devices></domain>")
    finally:
        RULES.reset(token)
    with pytest.raises(virtProfile.ProfileError):
        check("<domain/>", "<domain><devices><hostdev/></devices></domain>")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd has systemd-analyze")
def test_systemd_units(tmp_path: Path) -> None:
    for name in ("virt-profiled.service", "virt-profiled.socket"):
        text = (TOP / "contrib" / "systemd" / name).read_text()
        text = text.replace("/usr/bin/virt-profiled", str(TOP / "virt-profiled")).replace(
            "Documentation=", "#"
        )
        (tmp_path / name).write_text(text)
    words = ["systemd-analyze", "verify", "--recursive-errors=no", *map(str, tmp_path.iterdir())]
    done = subprocess.run(words, capture_output=True, text=True)
    mine = [line for line in done.stderr.splitlines() if "virt-profiled" in line and "executable" not in line]
    assert not mine, done.stderr


def test_manual_page_names_the_same_options() -> None:
    from virtProfile.service.options import OPTIONS

    text = (TOP / "man" / "virt-profiled.8.rst").read_text()
    rows = re.findall(r"^``-.*$", text, re.MULTILINE)
    told = {flag for row in rows for flag in re.findall(r"``(--?[a-z-]+)``", row)}
    assert told == {flag for option in OPTIONS for flag in option.flags}


# --- what it costs ---------------------------------------------------------------------------


def test_judging_a_difference_is_linear_and_cheap() -> None:
    """Of each value the table is asked once for its path, not once for each kind of row."""
    found = {}
    for count in (60, 240):
        text = mixed(count)
        wishes = [library.wish("fast-disk"), library.wish("net-multiqueue")]
        applied = virtProfile.apply(text, wishes, store=library.store()).xml
        check(text, applied)  # what is kept for the process
        found[count] = calls(lambda: check(text, applied)) / applied.count("<")  # noqa: B023
    assert found[240] < 45, "of an element, its end and its attributes"
    assert found[240] < 1.1 * found[60]


def test_without_secrets_nothing_is_copied_to_be_shown() -> None:
    result = virtProfile.apply(mixed(6), [library.wish("fast-disk")], store=library.store())
    shown = veil_result(result)
    assert result.changes
    assert all(one is other for one, other in zip(shown.changes, result.changes, strict=True))


def test_what_is_known_of_places_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tags and names of attributes are the callers'."""
    monkeypatch.setattr(policy._Places, "MOST", 200)
    for turn in range(30):
        inner = "".join(f"<t{turn}x{number} a{number}='1'/>" for number in range(10))
        before, after = (
            f"<domain><name>a</name><devices>{inner}{more}</devices></domain>" for more in ("", "<b/>")
        )
        with pytest.raises(PolicyError, match="devices/b"):
            policy.check(before, after)
        assert policy._places.size < 200 + 60


def test_the_same_element_at_two_places_is_judged_at_each() -> None:
    """What was judged before is remembered by place: the same attributes are harmless in one, guarded in another."""
    text = "<domain><name>a</name><devices>{}</devices></domain>"
    open_one = "<disk><driver cache='none'/></disk>"
    with pytest.raises(PolicyError, match="devices/filesystem"):
        policy.check(
            text.format(""), text.format("<filesystem><driver cache='none'/></filesystem>" + open_one)
        )
    had = text.format("<disk><driver/></disk><hostdev><driver/></hostdev>")
    policy.check(had, text.format("<disk><driver cache='none'/></disk><hostdev><driver/></hostdev>"))
    with pytest.raises(PolicyError, match="devices/hostdev/driver/@cache"):
        policy.check(had, text.format(open_one + "<hostdev><driver cache='none'/></hostdev>"))
