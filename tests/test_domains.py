# SPDX-License-Identifier: GPL-2.0-or-later
"""Domains of libvirt: on the test driver with its own file, and on an embedded QEMU driver."""

from __future__ import annotations

import difflib
import gc
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

libvirt = pytest.importorskip("libvirt")

from commandline import DATA, run  # noqa: E402

from virtProfile.errors import LibvirtError  # noqa: E402
from virtProfile.live import connection  # noqa: E402
from virtProfile.live.connection import Connection  # noqa: E402

DRIVER = f"test://{DATA / 'driver.xml'}"


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """One connection that every call of the program gets, so that what it defines can be seen."""
    handle = libvirt.open(DRIVER)
    monkeypatch.setattr(libvirt, "open", lambda uri: handle)
    monkeypatch.setattr(connection.Connection, "__exit__", lambda *_: None)
    yield handle
    handle.close()


def inactive(handle: Any, name: str) -> str:
    flags = libvirt.VIR_DOMAIN_XML_SECURE | libvirt.VIR_DOMAIN_XML_INACTIVE
    return str(handle.lookupByName(name).XMLDesc(flags))


def call(words: str, stdin: bytes | None = None) -> Any:
    return run(f"-c {DRIVER} {words} --profile-dir profiles".split(), stdin)


def added(before: str, after: str) -> list[str]:
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line[0] + line[2:].strip() for line in lines if line[0] in "+-"]


# --- finding -----------------------------------------------------------------------


def test_name_goes_before_id_and_uuid() -> None:
    with Connection(DRIVER) as connection:
        vm = connection.find("vm")
        assert (vm.name, vm.active, vm.persistent, vm.secure) == ("vm", True, True, True)
        assert not vm.managed_save
        assert "passwd='hush'" in vm.xml
        assert connection.find("1").name == "vm"
        assert connection.find(vm.uuid).name == connection.find(vm.uuid.replace("-", "")).name
        connection.define(vm.xml.replace(vm.uuid[-2:], "77").replace("<name>vm<", "<name>1<"))
        assert connection.find("1").name == "1"


@pytest.mark.parametrize("name", ["vn", "0", "99", "9" * 30, "x" * 32, "0" * 32, "", "²"])
def test_who_is_not_there(name: str) -> None:
    with Connection(DRIVER) as connection, pytest.raises(LibvirtError) as caught:
        connection.find(name)
    assert caught.value.hint


def test_why_a_call_failed_survives_the_garbage_collector() -> None:
    """A handle that it frees between a call and the reading of its error clears the error."""

    class Holder:
        """Garbage that only the collector frees."""

        def __init__(self, handle: Any) -> None:
            self.handle, self.itself = handle, self

    before = gc.get_threshold()
    with Connection("test:///default") as opened:
        try:
            for allocations in range(1, 300):
                Holder(opened.handle.lookupByName("test"))
                gc.set_threshold(1 + allocations % 40)
                with pytest.raises(LibvirtError, match="no domain with the name"):
                    opened.find("nowhere")
        finally:
            gc.set_threshold(*before)


def test_nearest_names() -> None:
    with Connection(DRIVER) as connection, pytest.raises(LibvirtError, match="'savde'") as caught:
        connection.find("savde")
    assert caught.value.hint == "did you mean 'saved'?"


def test_no_such_connection(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LibvirtError, match="libvirt: "):
        Connection("nope:///system")
    assert capfd.readouterr().err == ""  # libvirt prints its errors too, if it is let


# --- defining ----------------------------------------------------------------------


def test_defined_is_what_was_wanted_and_nothing_else(shared: Any) -> None:
    before = inactive(shared, "vm")
    done = call("vm --profile cache")
    assert done.status == 0
    assert "Domain 'vm' defined successfully." in done.err
    assert "running" in done.err
    assert done.out == b""
    lines = added(before, inactive(shared, "vm"))
    assert [line for line in lines if line[0] == "-"] == ["-<driver name='qemu' type='raw'/>"]
    driver = next(line for line in lines if line.startswith("+<driver"))
    assert "cache='none'" in driver
    assert "discard='unmap'" in driver
    assert any("profile name=" in line and "cache" in line for line in lines)
    book = [line for line in lines if "virtuned" in line or "vr:" in line or "metadata>" in line]
    assert len(lines) == 2 + len(book)  # and the list and the record of profiles
    assert "passwd='hush'" in inactive(shared, "vm")


def test_again_is_nothing(shared: Any) -> None:
    call("vm --profile cache")
    before = inactive(shared, "vm")
    done = call("vm --profile cache")
    assert "change nothing" in done.err
    assert inactive(shared, "vm") == before
    assert call("vm --check").status == 0


def test_printing_defines_nothing(shared: Any) -> None:
    before = inactive(shared, "vm")
    for words in ("--print-xml", "--print-diff", "--explain", "--json", "--check", "--no-define"):
        call(f"vm --profile cache {words}")
    assert inactive(shared, "vm") == before
    assert b"cache='none'" in call("vm --profile cache --print-diff --define").out
    assert inactive(shared, "vm") != before


def test_nothing_is_defined_where_something_fails(shared: Any) -> None:
    before = inactive(shared, "vm")
    for words, status in (
        ("--profile headless --profile large", 3),
        ("--profile nope", 1),
        ("--profile cache --explain [ --define", 2),
        ("--profile smm", 1),
    ):
        assert call(f"vm {words}").status == status
        assert inactive(shared, "vm") == before


def test_libvirt_refuses(shared: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = inactive(shared, "vm")
    define = shared.defineXMLFlags
    monkeypatch.setattr(
        type(shared),
        "defineXMLFlags",
        lambda self, xml, flags: define(xml.replace("type='test'", "type='nonsense'"), flags),
    )
    done = call("vm --profile cache")
    assert done.status == 1
    assert done.err.count("nonsense") == 1
    assert "defined successfully" not in done.err
    assert inactive(shared, "vm") == before


@pytest.mark.parametrize(
    ("answer", "defined"),
    [("y\n", True), ("YES\n", True), ("n\n", False), ("", False), ("\nmaybe\n", False)],
)
def test_confirm(shared: Any, answer: str, defined: bool) -> None:
    before = inactive(shared, "vm")
    done = call("vm --profile cache --confirm", answer.encode())
    assert done.status == 0
    assert b"+++ Altered XML" in done.out
    assert "(y/n): " in done.err
    assert (inactive(shared, "vm") != before) == defined


def test_yes_does_not_ask(shared: Any) -> None:
    before = inactive(shared, "vm")
    done = call("vm --profile smm --confirm --yes", b"")
    assert done.status == 0
    assert "(y/n)" not in done.err
    assert inactive(shared, "vm") != before


def test_the_machine_that_the_guest_sees(shared: Any) -> None:
    before = inactive(shared, "vm")
    done = call("vm --profile smm")
    assert done.status == 1
    assert "--yes" in done.err
    assert inactive(shared, "vm") == before
    assert call("--input vm.xml --define --profile smm").status == 1
    assert inactive(shared, "vm") == before
    assert call("vm --profile smm --confirm", b"no\n").status == 0
    assert inactive(shared, "vm") == before
    assert call("vm --profile smm --confirm", b"yes\n").status == 0
    assert "<smm" in inactive(shared, "vm")


def test_start(shared: Any) -> None:
    assert not shared.lookupByName("off").isActive()
    done = call("off --profile cache --start")
    assert done.status == 0, done.err
    assert shared.lookupByName("off").isActive()
    assert "started successfully" in done.err
    assert "cache='none'" in inactive(shared, "off")


def test_managed_save(shared: Any) -> None:
    done = call("saved --profile cache")
    assert done.status == 0
    assert "managed save image" in done.err


def test_transient(shared: Any) -> None:
    done = call("passing --profile cache")
    assert done.status == 0
    assert "transient" in done.err
    assert shared.lookupByName("passing").isPersistent()


def test_a_file_is_defined(shared: Any) -> None:
    xml = (DATA / "vm.xml").read_text().replace("<name>vm<", "<name>new<").replace("'kvm'", "'test'")
    done = call("--profile cache --define", xml.encode())
    assert done.status == 0, done.err
    assert done.out == b""
    assert "cache='writeback'" in inactive(shared, "new")
    assert "passwd='hush'" in inactive(shared, "new")


def test_no_profile_makes_another_domain(shared: Any, tmp_path: Path) -> None:
    (tmp_path / "p.xml").write_text(
        "<profile name='rename'><add multiple='no'><name>other</name></add></profile>"
    )
    done = call(f"off --profile-dir {tmp_path} --profile rename --override --yes")
    assert done.status == 1
    assert "rename domain" in done.err
    assert "other" not in [one.name() for one in shared.listAllDomains()]


def test_what_libvirt_drops_is_told(shared: Any, tmp_path: Path) -> None:
    (tmp_path / "p.xml").write_text(
        "<profile name='drop'><add><devices><disk device='disk'>"
        "<driver name='qemu' type='raw' queues='4'/></disk></devices></add></profile>"
    )
    define = shared.defineXMLFlags
    try:
        type(shared).defineXMLFlags = lambda self, xml, flags: define(xml.replace(" queues='4'", ""), flags)
        done = call(f"off --profile-dir {tmp_path} --profile drop --yes")
    finally:
        del type(shared).defineXMLFlags
        type(shared).defineXMLFlags = define.__func__
    assert done.status == 0, done.err
    assert "libvirt did not keep" in done.err
    assert "driver/@queues = '4'" in done.err


# --- read-only ---------------------------------------------------------------------


def test_a_read_only_connection_prints_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libvirt, "open", libvirt.openReadOnly)
    done = call("vm --profile cache --print-xml")
    assert done.status == 0
    assert b"passwd" not in done.out
    assert "read-only" in done.err
    done = call("vm --profile cache")
    assert done.status == 1
    assert "read-only" in done.err


def test_read_only_where_more_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = libvirt.open

    def refuse(uri: str) -> Any:
        problem = libvirt.libvirtError("no")
        problem.err = (libvirt.VIR_ERR_AUTH_FAILED, 0, "authentication failed", 2, "", "", "", 0, 0)
        raise problem

    monkeypatch.setattr(libvirt, "open", refuse)
    done = call("vm --profile cache --print-diff")
    assert done.status == 0
    assert "read-only" in done.err
    done = call("vm --profile cache")
    assert done.status == 1
    assert "authentication failed" in done.err
    assert real is not None


# --- QEMU --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def embedded(embedded_root: Path) -> str:
    uri = f"qemu:///embed?root={embedded_root}"
    try:
        with Connection(uri):
            pass
    except LibvirtError as problem:
        pytest.skip(f"no embedded QEMU driver: {problem}")
    return uri


@pytest.mark.slow
def test_embedded_qemu(embedded: str) -> None:
    xml = (DATA / "vm.xml").read_text().replace("'kvm'", "'qemu'")
    with Connection(embedded) as connection:
        try:
            connection.define(xml)
        except LibvirtError as problem:
            pytest.skip(f"no QEMU: {problem}")
        before = connection.find("vm").xml
    words = f"-c {embedded} vm --profile-dir profiles"
    done = run(f"{words} --profile cache --profile password,password=@password --override".split())
    assert done.status == 0, done.err
    assert "did not keep" not in done.err
    with Connection(embedded) as connection:
        after = connection.find("vm").xml
    assert "passwd='hush2'" in after
    assert "discard='unmap'" in after
    assert after.replace(" discard='unmap'", "").count("<disk") == before.count("<disk")
    assert run(f"{words} --check".split()).status == 0
    done = run(f"{words} --print-diff --profile cache".split())
    assert done.out == b""


def test_answers_may_be_text() -> None:
    from virtProfile.live.define import _agreed
    from virtProfile.show.terminal import Talk

    assert _agreed("?", Talk(io.StringIO()), io.StringIO("y\n"))
    assert not _agreed("?", Talk(io.StringIO()), io.StringIO(""))
