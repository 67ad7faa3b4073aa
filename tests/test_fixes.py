# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks of shipped profiles offer a fix, and the fix is a command after which the check holds."""

from __future__ import annotations

from pathlib import Path

import library
import pytest
from commandline import run

from virtProfile.audit.judge import rules_of
from virtProfile.language.profile import Action, Kind, Severity

TOPOLOGY = Path(__file__).parent / "data/topology/topo-2n8c2t.xml"
STORE = library.store()
#: Checks of error or warning that have none, by the beginning of their message, and why.
WITHOUT = {
    "the topology does not give": "which of the two numbers is meant is the owner's to say",
    "more vCPUs are pinned than": "which CPUs the VM may have is the owner's to say",
    "the VNC display listens on": "a password in a file, or another way in, is the owner's to choose",
    "the {@type} display listens on": "the password is the owner's to choose",
    "Windows 11, and the firmware is no UEFI": "its disk needs an EFI system partition first",
    "machine type {os/type/@machine} is not in": "another machine is other hardware: the owner's to choose",
    "machine type {os/type/@machine} is deprecated": "as above",
    "this host has no machine type": "as above",
    "virtiofs, and the memory of the VM": "virtiofs-share brings it together with a share, whose path it needs",
    "a vhost-user NIC, and the memory": "the memory is of a kind that the switch asks for: huge pages or memfd",
    "huge pages, and the host has no pool": "the pool is the host's",
    "QEMU is not confined by": "somebody took the label out on purpose",
    "Windows with {vcpu} CPUs": "the licence says how many sockets, and no profile is for that alone",
    "the password of SPICE has more than": "a shorter password is the owner's to choose",
}


def checks() -> list[tuple[str, Action]]:
    profiles = [*library.profiles().values(), *(rule.profile for rule in rules_of(STORE, ()))]
    return [(one.name, action) for one in profiles for action in one.actions if action.kind == Kind.CHECK]


def excepted(check: Action) -> list[str]:
    return [start for start in WITHOUT if (check.message or "").startswith(start)]


def test_errors_and_warnings_offer_a_fix() -> None:
    grave = [(name, one) for name, one in checks() if one.severity != Severity.INFO]
    assert len(grave) > 30
    without = [f"{name}: {one.message}" for name, one in grave if not one.fix and not excepted(one)]
    assert not without
    assert not [f"{name}: {one.message}" for name, one in grave if one.fix and excepted(one)]
    used = {start for _, one in grave for start in excepted(one)}
    assert used == set(WITHOUT)


DISK = "<disk type='file' device='disk'><source file='/a.img'/><target dev='{}' bus='{}'/></disk>"
HEAD = "<domain type='kvm'>\n  <name>vm</name>\n  <uuid>0aa96c53-0000-4000-8000-0000000000aa</uuid>\n"
#: (profile given, its words, the VM, the fix that is offered): fixes of audits are tried in test_audit.py
OFFERED = [
    ("dedicated-cpu", "dedicated-cpu,cpus=0-2", "q35", "dedicated-cpu,cpus=,mirror=yes"),
    ("dedicated-cpu", "dedicated-cpu,cpus=90-93", "q35", "dedicated-cpu,cpus=,mirror=yes"),
    ("dedicated-cpu", "dedicated-cpu,cpus=2-5,emulator=0-1,,90", "q35", "dedicated-cpu,emulator="),
    ("no-secureboot", "no-secureboot", "q35 secure", "no-secureboot,convert=yes,priority=100"),
    ("uefi-secureboot", "uefi-secureboot", "q35 efi", "uefi-secureboot,convert=yes"),
    ("uefi", "uefi", "q35", "uefi,convert=yes"),
    ("pc", "pc", "q35", "pc,convert=yes,priority=100"),
    ("q35", "q35", "pc", "q35,convert=yes,priority=100"),
    ("windows-virtio-prepare", "windows-virtio-prepare", "q35 sata", "virtio-disk,drivers=yes,priority=100"),
]


def vm(kind: str) -> str:
    words = kind.split()
    loaders = {
        "secure": "<loader readonly='yes' secure='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.ms.fd</loader>",
        "efi": "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>",
    }
    loader = "".join(loaders.get(word, "") for word in words)
    smm = "  <features><smm state='on'/></features>\n" if "secure" in words else ""
    disk = DISK.format("sda", "sata") if "sata" in words else DISK.format("vda", "virtio")
    return (
        f"{HEAD}  <memory>4194304</memory>\n  <vcpu>4</vcpu>\n"
        f"  <os><type arch='x86_64' machine='{words[0]}'>hvm</type>{loader}</os>\n{smm}"
        f"  <devices>{disk}</devices>\n</domain>\n"
    )


@pytest.mark.parametrize(("name", "given", "kind", "fix"), OFFERED, ids=[row[1] for row in OFFERED])
def test_the_fix_makes_the_check_hold(name: str, given: str, kind: str, fix: str, tmp_path: Path) -> None:
    file = tmp_path / "vm.xml"
    file.write_text(vm(kind))
    line = ["--input", str(file), "--profile-dir", str(library.SHIPPED), "--capabilities", str(TOPOLOGY)]
    line += ["--print-xml"]
    before = run([*line, "--profile", given])
    assert f"--profile {fix}" in before.err
    messages = [one.message for one in library.profiles()[name].actions if one.fix == fix]
    assert messages
    file.write_text(before.text or vm(kind))  # an error left it as it was
    after = run([*line, "--profile", fix])
    assert after.status == 0, after.err
    assert f"--profile {fix}" not in after.err
    file.write_text(after.text)
    again = run([*line[:-1], "--check"])
    assert again.status == 0, again.err
    assert f"--profile {fix}" not in again.err


def test_every_fix_of_a_profile_was_tried() -> None:
    wanted = {(name, str(one.fix)) for name, one in checks() if one.fix and name in library.profiles()}
    assert wanted == {(name, fix) for name, _, _, fix in OFFERED}
