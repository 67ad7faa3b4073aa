# SPDX-License-Identifier: GPL-2.0-or-later
"""What a secret param made is in the document, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import commandline
import pytest
import strategies

import virtProfile
from virtProfile.engine.selection import taint
from virtProfile.format.secret_slots import secret_places
from virtProfile.language.parser import parse_profiles
from virtProfile.language.store import OverlayStore

SECRET = "TOPS3CRET"
VM = """<domain type='kvm'>
  <name>vp-secret</name>
  <memory>1048576</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices/>
</domain>
"""
PARAM = "<param name='pw' secret='yes'/>"
CHANNEL = (
    "<add when=\"not(title = concat($pw, 'x'))\"><devices><channel type='unix'><source path='/run/{$pw}'/>"
    "<target type='virtio' name='org.{$pw}'/></channel></devices></add>"
)
PROFILES = {
    "good": f"{PARAM}{CHANNEL}<add><description>{{$pw}}</description></add>",
    "plain": f"{PARAM}<add><description>{{$pw}}</description></add>",
    "wrong": f"{PARAM}<add><genid>{{$pw}}</genid></add>",
    "torn": f"{PARAM}<add><title>{{$pw}}</title></add><add multiple='no'><title>no {{$pw}}</title></add>",
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name, body in PROFILES.items():
        (tmp_path / f"{name}.xml").write_text(f"<profile name='{name}' version='1'>{body}</profile>")
    (tmp_path / "pw").write_text(f"{SECRET}\n")
    (tmp_path / "vm.xml").write_text(VM)
    return tmp_path


def told(place: Path, *words: str, vm: str = "vm.xml") -> tuple[int, str]:
    """Exit status, and all that is printed but the document itself."""
    run = commandline.run(["--input", str(place / vm), "--profile-dir", str(place), *words])
    printed = "\n".join(line for line in run.text.splitlines() if not line.startswith('  "xml": '))
    return run.status, printed + run.err


@pytest.mark.parametrize("how", ["--print-diff", "--json", "--explain", "--check"])
@pytest.mark.parametrize(("name", "status"), [("good", 0), ("wrong", 1), ("torn", 3)])
def test_nothing_tells(place: Path, name: str, status: int, how: str) -> None:
    found, printed = told(place, "--profile", f"{name},pw=@{place / 'pw'}", how)
    assert found == (4 if how == "--check" and not status else status)
    assert SECRET not in printed
    if how != "--check" or status:
        assert "***" in printed


@pytest.mark.parametrize(
    "words",
    [
        ("--print-diff",),
        ("--json",),
        ("--explain",),
        ("--status",),
        ("--unapply", "good", "--print-diff"),
        ("--unapply", "good", "--json"),
        ("--profile", "good,pw=@{}/other", "--print-diff"),
    ],
)
def test_nor_later(place: Path, words: tuple[str, ...]) -> None:
    """On a VM that has it, whether it is given again or not."""
    run = commandline.run(
        ["--input", str(place / "vm.xml"), "--profile-dir", str(place), "--print-xml"]
        + ["--profile", f"good,pw=@{place / 'pw'}"]
    )
    assert SECRET in run.text
    (place / "later.xml").write_text(run.text)
    (place / "other").write_text("ANOTHER0NE")
    status, printed = told(place, *(one.format(place) for one in words), vm="later.xml")
    assert status == 0
    assert SECRET not in printed and "ANOTHER0NE" not in printed


@pytest.mark.parametrize("how", ["--print-diff", "--explain", "--json"])
def test_nor_where_a_service_computes(place: Path, how: str) -> None:
    pytest.importorskip("uvicorn")
    from serving import serving

    given = f"plain,pw=@{place / 'pw'}"
    with serving([str(place)], place) as url:
        run = commandline.run(["--input", str(place / "vm.xml"), "--server", url, "--profile", given, how])
    printed = "\n".join(line for line in run.text.splitlines() if not line.startswith('  "xml": '))
    assert run.status == 0, run.err
    assert SECRET not in printed + run.err
    assert "***" in printed


COOKIE = (
    "<disk type='network'><source protocol='https' name='x'><host name='h'/><cookies><cookie name='c'>{}</cookie>"
    "</cookies></source><target dev='vda' bus='virtio'/></disk>"
)


@pytest.mark.parametrize("device", ["<graphics type='vnc' passwd='{}'/>", COOKIE])
@pytest.mark.parametrize("own", [True, False])
def test_the_record_has_no_passwords(device: str, own: bool) -> None:
    """What libvirt itself keeps back is not in the record, neither as written nor as it was before."""
    text = f"<profile name='p' version='1'><add><devices>{device.format('NEW' + SECRET)}</devices></add></profile>"
    store = strategies.MemoryStore([text])
    vm = VM.replace("<devices/>", f"<devices>{device.format('OLD' + SECRET) if own else ''}</devices>")
    result = virtProfile.apply(vm, [{"name": "p", "priority": 120}], store=store)
    assert result.xml.count("NEW" + SECRET) == 1 and "OLD" + SECRET not in result.xml
    assert "<vr:record" in result.xml and "hidden=" in result.xml
    back = virtProfile.unapply(result.xml, store=store).xml
    assert ("NEW" + SECRET in back) == own  # nobody knows what was there before


@pytest.mark.parametrize("slot", ["", " passwd='abcdef'"])
def test_secrets_are_looked_for_once_for_an_action(monkeypatch: pytest.MonkeyPatch, slot: str) -> None:
    """Not once for each device that `each=` selects, nor for each expression."""
    looks: list[int] = []

    def looked(root: Any) -> Any:
        looks.append(1)
        return secret_places(root)

    monkeypatch.setattr(taint, "secret_places", looked)
    inside = "<disk><driver queues='{1 + $position mod 4}' queue_size='{string-length(target/@dev) * 0 + 256}'/></disk>"
    text = f"<profile name='a'><default each='devices/disk'>{inside}</default></profile>"
    counts = []
    for size in (5, 200):
        disks = "".join(
            f"<disk type='file'><source file='/i/{n}'/><target dev='vd{n}' bus='virtio'/></disk>"
            for n in range(size)
        )
        looks.clear()
        xml = f"<domain type='kvm'><name>a</name><devices>{disks}<graphics type='vnc'{slot}/></devices></domain>"
        store = OverlayStore(parse_profiles(text, "a").profiles)
        assert "queue_size" in virtProfile.apply(xml, ["a"], store=store).xml
        counts.append(len(looks))
    assert counts[0] == counts[1]
