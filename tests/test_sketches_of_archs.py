# SPDX-License-Identifier: GPL-2.0-or-later
"""Each shipped profile on sketches of five architectures, with and without a machine: the next call agrees.

A condition that holds of the sketch and not of what it became takes back at the next
call what the first one did.
"""

from __future__ import annotations

import functools
from pathlib import Path

import library
import pytest
from library import NAMES, needs_virtinst
from lxml import etree

import virtProfile
from virtProfile import ProfileError
from virtProfile.format.machines import default_machine
from virtProfile.host.context import Context

CAPABILITIES = (Path(__file__).parent / "data/host/archs.xml").read_text()
MACHINES = {
    "x86_64": ("", "pc", "q35"),
    "aarch64": ("", "virt"),
    "s390x": ("", "s390-ccw-virtio"),
    "ppc64le": ("", "pseries"),
    "riscv64": ("", "virt"),
}
DISK = "<disk type='file' device='disk'><source file='/a.img'/></disk>"
NIC = "<interface type='network'><source network='default'/></interface>"
DEVICES = {
    "open": DISK + NIC,
    "e1000": DISK + NIC.replace("</i", "<model type='e1000'/></i"),
    "emulated": DISK.replace("</disk", "<target dev='sda' bus='sata'/></disk") + NIC,
    "no devices": "",
}
#: The profile whose conditions ask what the definition itself is, at every place.
ALWAYS = ("windows-virtio-prepare",)
EXPECTED = ("conflict", "completion", "check", "missing-context", "invalid-domain")


def sketch(arch: str, machine: str, devices: str) -> str:
    at = f" machine='{machine}'" if machine else ""
    firmware = " firmware='efi'" if arch == "aarch64" else ""  # virtinst asks for it, for ACPI
    return (
        f"<domain type='qemu'>\n  <name>vm</name>\n  <memory unit='GiB'>4</memory>\n  <vcpu>4</vcpu>\n"
        f"  <os{firmware}>\n    <type arch='{arch}'{at}>hvm</type>\n  </os>\n"
        f"  <devices>\n    {DEVICES[devices]}\n  </devices>\n</domain>\n"
    )


def of_archs() -> list[tuple[str, str]]:
    return [(arch, machine) for arch, machines in MACHINES.items() for machine in machines]


@functools.cache
def known(osinfo: str | None = None) -> Context:
    return Context(capabilities=(CAPABILITIES,), osinfo=osinfo)


def agrees(name: str, xml: str, context: Context | None, complete: bool) -> bool:
    """Does the next call leave what the first one made, also with the profile named again?"""
    try:
        first = library.apply(xml, [name], context=context, complete=complete)
    except ProfileError as problem:
        assert problem.code in EXPECTED, problem
        return False
    for wishes, again in (([], False), ([library.wish(name)], complete)):
        second = virtProfile.apply(first.xml, wishes, store=library.store(), context=context, complete=again)
        assert not second.changes
        assert second.xml == first.xml
    return True


@pytest.mark.parametrize(("arch", "machine"), of_archs())
def test_the_next_call_changes_nothing(arch: str, machine: str) -> None:
    """As it is, where nothing completes it."""
    for name in NAMES:
        for context in (None, known()):
            try:
                agrees(name, sketch(arch, machine, "open"), context, complete=False)
            except Exception as problem:
                problem.add_note(f"{name}, {'nothing' if context is None else 'capabilities'} known")
                raise


@needs_virtinst
@pytest.mark.parametrize("every", [19, pytest.param(1, marks=pytest.mark.slow)], ids=["sampled", "all"])
@pytest.mark.parametrize(("arch", "machine"), of_archs())
def test_the_next_call_of_a_completed_sketch_changes_nothing(arch: str, machine: str, every: int) -> None:
    """Some of the profiles on each; --slow takes all of them."""
    start = of_archs().index((arch, machine)) % every
    for devices in DEVICES:
        sampled = NAMES[start::every] if devices == "open" or every == 1 else ()
        for name in {*sampled, *ALWAYS}:
            try:
                agrees(name, sketch(arch, machine, devices), known(), complete=True)
            except Exception as problem:
                problem.add_note(f"{name} on {devices}")
                raise


@needs_virtinst
@pytest.mark.parametrize(
    ("arch", "machine", "devices", "disks", "nics"),
    [
        ("aarch64", "virt", "open", 1, 1),  # it gets virtio itself: there is nothing to prepare
        ("aarch64", "virt", "e1000", 1, 2),
        ("aarch64", "virt", "emulated", 2, 1),
        ("x86_64", "q35", "open", 2, 2),
        ("x86_64", "pc", "e1000", 2, 2),
    ],
)
@pytest.mark.parametrize("complete", [False, True])
def test_what_is_prepared_for_virtio(
    arch: str, machine: str, devices: str, disks: int, nics: int, complete: bool
) -> None:
    xml = sketch(arch, machine, devices)
    made = library.apply(xml, ["windows-virtio-prepare"], context=known(), complete=complete).xml
    assert made.count("<disk ") == disks
    assert made.count("<interface ") == nics
    assert agrees("windows-virtio-prepare", xml, known(), complete)


@pytest.mark.parametrize(
    ("arch", "today", "before_9_3"),
    [
        ("x86_64", "pc", "pc-i440fx-7.2"),
        ("aarch64", "virt", "integratorcp"),
        ("armv7l", "virt", "integratorcp"),
        ("riscv64", "virt", "spike"),
        ("ppc64le", "pseries", "pseries-7.2"),
        ("s390x", "s390-ccw-virtio", "s390-ccw-virtio-7.2"),
        ("vax", None, None),
    ],
)
def test_the_machine_that_nobody_names(arch: str, today: str | None, before_9_3: str | None) -> None:
    """Of today's libvirt, unless the host's capabilities say which it takes (these are of libvirt 9.0)."""
    root = etree.fromstring(sketch(arch, "", "open"))
    assert default_machine(arch) == today
    assert Context().documents.machine_of(root) == today
    assert known().documents.machine_of(root) == (before_9_3 or today)


@pytest.mark.parametrize("name", ["linux-server", "linux-desktop", "windows-arm"])
@pytest.mark.parametrize("arch", ["aarch64", "riscv64"])
def test_profiles_of_whole_guests_leave_no_board_of_old(name: str, arch: str) -> None:
    """libvirt before 9.3 would take it, and no disk nor NIC of theirs would be there."""
    if name == "windows-arm" and arch != "aarch64":
        pytest.skip("Arm only")
    made = library.apply(sketch(arch, "", "open"), [name], context=known())
    assert "machine='virt'" in made.xml
    # libvirt defines it
    head, end, body = made.xml.rpartition("</metadata>")
    head = head.replace("</name>", "</name>\n  <uuid>0aa96c53-0000-4000-8000-0000000000aa</uuid>", 1)
    defined = head + end + body.replace("machine='virt'", "machine='virt-7.2'")
    again = virtProfile.apply(defined, store=library.store(), context=known())
    assert "machine='virt-7.2'" in again.xml and not again.changed
