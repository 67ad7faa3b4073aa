# SPDX-License-Identifier: GPL-2.0-or-later
"""KubeVirt's domain hook, driven as its launcher does: by a client of the messages, over the socket."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_hooks import CONTRIB, KUBEVIRT, TOP, environ, own, vmi

from virtProfile.format.document import parse
from virtProfile.service.kubevirt import (
    LARGEST,
    SERVICE,
    Refused,
    Request,
    main,
    make_server,
    mutate,
    read_request,
)

grpc = pytest.importorskip("grpc")
pool = pytest.importorskip("google.protobuf.descriptor_pool")
from google.protobuf import descriptor_pb2, message_factory  # noqa: E402

#: The messages that the call has, as descriptors: name, then fields in the order of their numbers.
MESSAGES = {
    "SidecarContext": ["invocation_context:string"],
    "MutateDomainRequest": [
        "domain_type:string",
        "domain:bytes",
        "vmi:bytes",
        "sidecar_context:SidecarContext",
    ],
    "MutateDomainResponse": ["domain:bytes"],
    # What a newer launcher may say beside it.
    "Newer": ["domain_type:string", "domain:bytes", "vmi:bytes", "sidecar_context:SidecarContext"]
    + ["live_domain:bytes", "count:int64", "rate:double", "part:float"],
}
PACKAGE = "kubevirt.hooks.plugins.v1alpha1"
KINDS = {
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "double": descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE,
    "float": descriptor_pb2.FieldDescriptorProto.TYPE_FLOAT,
}


def messages() -> dict[str, Any]:
    """The classes of the messages, made by Google's own library."""
    file = descriptor_pb2.FileDescriptorProto(name="hook.proto", package=PACKAGE, syntax="proto3")
    for name, members in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, member in enumerate(members, 1):
            field, kind = member.split(":")
            made = message.field.add(
                name=field, number=number, label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
            )
            if kind in KINDS:
                made.type = KINDS[kind]
            else:
                made.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
                made.type_name = f".{PACKAGE}.{kind}"
    found = pool.DescriptorPool()
    found.Add(file)
    return {
        name: message_factory.GetMessageClass(found.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in MESSAGES
    }


M = messages()


def request(domain: str | bytes = KUBEVIRT, **more: Any) -> Any:
    wanted = more.pop("vmi", vmi("rng"))
    context = M["SidecarContext"](invocation_context=more.pop("invocation", "Boot"))
    return M[more.pop("message", "MutateDomainRequest")](
        domain_type=more.pop("domain_type", "libvirt"),
        domain=domain.encode() if isinstance(domain, str) else domain,
        vmi=json.dumps(wanted).encode(),
        sidecar_context=context,
        **more,
    )


class Launcher:
    """The other end: what virt-launcher does with a plugin's socket."""

    def __init__(self, path: Path) -> None:
        self.channel = grpc.insecure_channel(
            f"unix:{path}", options=[("grpc.max_receive_message_length", LARGEST)]
        )
        self.call = self.channel.unary_unary(
            f"/{PACKAGE}.DomainHookService/MutateDomain",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=M["MutateDomainResponse"].FromString,
        )

    def mutate(self, asked: Any, timeout: float = 30) -> str:
        return str(self.call(asked, timeout=timeout, wait_for_ready=True).domain.decode())

    def refused(self, asked: Any, timeout: float = 30) -> tuple[str, str]:
        with pytest.raises(grpc.RpcError) as caught:
            self.mutate(asked, timeout)
        return caught.value.code().name, caught.value.details()


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """The program as the container starts it."""
    path = tmp_path_factory.mktemp("kubevirt-plugin") / "virt-profile" / "hook.sock"
    process = subprocess.Popen(
        [sys.executable, "-m", "virtProfile.service.kubevirt", str(path)],
        env=environ(PYTHONPATH=str(TOP)),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "domain hook on" in process.stderr.readline()
    launcher = Launcher(path)
    threading.Thread(target=process.stderr.read, daemon=True).start()
    yield launcher
    launcher.channel.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert not path.exists()


def test_a_domain_gets_the_profiles_of_its_vmi(plugin: Launcher) -> None:
    wanted = vmi("rng; fast-disk,priority=100")
    given = plugin.mutate(request(vmi=wanted))
    root = parse(given).root
    assert root.find("devices/rng/backend") is not None
    assert root.find("devices/disk/driver").get("cache") == "none"
    assert root.find("devices/graphics").get("passwd") == "hush"
    # The same as the sidecar's hook gives, and the same on the target of a migration.
    done = subprocess.run(
        ["onDefineDomain", "--vmi", json.dumps(wanted), "--domain", KUBEVIRT],
        capture_output=True,
        text=True,
        env=environ(),
    )
    assert given == done.stdout
    assert plugin.mutate(request(given, vmi=wanted, invocation="MigrationTarget")) == given
    assert plugin.mutate(request(vmi=wanted, invocation="MigrationTarget")) == given


def test_what_is_not_asked_for_passes(plugin: Launcher) -> None:
    for wanted in ({}, {"metadata": {"annotations": None}}, vmi("")):
        assert plugin.mutate(request(vmi=wanted)) == KUBEVIRT
    assert plugin.mutate(request("not XML", domain_type="cloud-hypervisor")) == "not XML"
    # A domain that runs: its guest sees the machine that it sees.
    assert plugin.mutate(request(invocation="MigrationSource")) == KUBEVIRT
    assert plugin.mutate(request(invocation="Runtime")) == KUBEVIRT


def test_no_context_is_a_boot(plugin: Launcher) -> None:
    plain = M["MutateDomainRequest"](
        domain_type="libvirt", domain=KUBEVIRT.encode(), vmi=json.dumps(vmi("rng")).encode()
    )
    assert "<rng" in plugin.mutate(plain)


def test_fields_of_a_newer_launcher_are_let_pass(plugin: Launcher) -> None:
    newer = request(message="Newer", live_domain=b"<domain/>", count=-1, rate=0.5, part=0.25)
    assert plugin.mutate(newer) == plugin.mutate(request())


def test_a_domain_larger_than_an_argument(plugin: Launcher) -> None:
    """The old sidecar stopped at 128 KiB."""
    long = KUBEVIRT.replace("<name>", f"<description>{'ä' * 300_000}</description>\n\t<name>")
    given = plugin.mutate(request(long))
    assert "<rng" in given and given.count("ä") == 300_000


@pytest.mark.parametrize(
    ("domain", "profiles", "code", "told"),
    [
        (KUBEVIRT, "rgn", "FAILED_PRECONDITION", "no profile 'rgn'"),
        ("<domain>", "rng", "FAILED_PRECONDITION", "broken XML"),
        ("<!DOCTYPE a><domain/>", "rng", "FAILED_PRECONDITION", "DTD"),
        (b"\xff", "rng", "FAILED_PRECONDITION", "UTF-8"),
    ],
)
def test_errors(plugin: Launcher, domain: str | bytes, profiles: str, code: str, told: str) -> None:
    """KubeVirt logs code and message of the status, and does not start the VM."""
    found, details = plugin.refused(request(domain, vmi=vmi(profiles)))
    assert (found, told in details) == (code, True), details
    assert "Traceback" not in details and "hush" not in details


def test_a_message_that_is_none(plugin: Launcher) -> None:
    raw = plugin.channel.unary_unary(f"/{PACKAGE}.DomainHookService/MutateDomain")
    for data in (b"\x0a\x05ab", b"\x0b", b"\xff\xff", b"\x0a\x01\xff"):
        with pytest.raises(grpc.RpcError) as caught:
            raw(data, timeout=10)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_another_method_is_unknown(plugin: Launcher) -> None:
    for name in ("DomainHookService/Other", "NodeHookService/ExecuteNodeHook"):
        raw = plugin.channel.unary_unary(f"/{PACKAGE}.{name}")
        with pytest.raises(grpc.RpcError) as caught:
            raw(b"", timeout=10)
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_several_launchers_at_once(plugin: Launcher) -> None:
    calls = [plugin.call.future(request(), timeout=60) for _ in range(6)]
    assert len({call.result().domain for call in calls}) == 1


def test_a_secret_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own(
        tmp_path,
        "<param name='pw' secret='yes'/><add><devices><graphics type='vnc' passwd='{$pw}'/></devices></add>",
    )
    monkeypatch.setenv("VIRT_PROFILE_PATH", str(tmp_path))
    asked = Request("libvirt", KUBEVIRT.encode(), json.dumps(vmi("own,pw=@/etc/hostname")).encode())
    with pytest.raises(Refused, match="the secret parameter 'pw' cannot be given to a hook"):
        mutate(asked)


def test_a_call_out_of_time_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "python"  # a machine may be fast enough for the real one
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(slow))
    asked = Request("libvirt", KUBEVIRT.encode(), json.dumps(vmi("rng")).encode())
    with pytest.raises(Refused, match="not done after 0 seconds") as caught:
        mutate(asked, 0.01)
    assert caught.value.internal


def test_a_hook_that_met_its_limit_lets_the_vm_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a profile store that never ends reading: the limit on processor time is the hook's."""

    def ended(*words: Any, **more: Any) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess(words, 0, b"", b"virt-profile: not done after 10 s")

    monkeypatch.setattr(subprocess, "run", ended)
    assert mutate(Request("libvirt", b"<domain/>", b"{}")) == b"<domain/>"


def test_messages_are_read_as_googles_library_writes_them() -> None:
    for text in ("", "x", "ä" * 200, "y" * 70_000):
        made = request(text, vmi={"a": text}, invocation=text)
        assert read_request(made.SerializeToString()) == Request(
            "libvirt", text.encode(), json.dumps({"a": text}).encode(), text
        )


def test_the_socket_is_replaced_only_where_nobody_listens(tmp_path: Path) -> None:
    path = tmp_path / "hook.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.listen()
    with pytest.raises(OSError, match="somebody listens"):
        make_server(str(path))
    dead.close()
    make_server(str(path)).stop(None)
    assert os.stat(path).st_mode & 0o777 == 0o666
    other = tmp_path / "file"
    other.write_text("mine")
    with pytest.raises(OSError, match="not a socket"):
        make_server(str(other))
    assert other.read_text() == "mine"


def test_words(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([]) == 2
    assert "usage:" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main([str(tmp_path / "file")]) == 1
    assert "not a socket" in capsys.readouterr().err


def test_recipes_name_what_there_is() -> None:
    text = (CONTRIB / "kubevirt" / "plugin.Containerfile").read_text()
    for line in text.splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            assert (TOP / line.split()[1]).exists(), line
    assert "virtProfile.service.kubevirt" in text
    assert f"{PACKAGE}.DomainHookService" == SERVICE
    name = text.split("/var/run/kubevirt-plugin/")[1].split('"')[0]
    assert f"/var/run/kubevirt-plugin/{name}" in (CONTRIB / "kubevirt" / "plugin.yaml").read_text()
