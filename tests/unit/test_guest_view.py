# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guest will see that it did not see before, in words."""

from __future__ import annotations

import pytest
from strategies import MemoryStore

import virtProfile

FEATURES = """<features><acpi/><pae/><kvm><hidden state='on'/></kvm>
<hyperv><relaxed state='on'/></hyperv></features>"""
BIOS = "<os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>"
EFI = BIOS.replace("<os>", "<os firmware='efi'>")
LOADER = BIOS.replace(
    "</os>", "<loader readonly='yes' secure='yes' type='pflash'>/x</loader><nvram>/n</nvram></os>"
)
CPU = "<cpu mode='custom'><model>qemu64</model><feature policy='require' name='aes'/></cpu>"
NICS = """<devices><interface type='user'/><interface type='user'><model type='e1000'/></interface>
<memballoon model='virtio'/></devices>"""


def seen(body: str, actions: str) -> list[str]:
    text = f"""<domain type='kvm'><name>vp</name><uuid>8e4d1a3c-63d8-4d3c-8c1b-0a6f4d8e2b11</uuid>
        <memory>1048576</memory>{body}</domain>"""
    store = MemoryStore([f"<profile name='p'>{actions}</profile>"])
    result = virtProfile.apply(text, [{"name": "p", "priority": 120}], store=store)
    told = [one.message for one in result.warnings if one.code == "guest-abi"]
    assert all(message.startswith("the guest will ") and message.endswith(" (p)") for message in told)
    return [message.removeprefix("the guest will ").removesuffix(" (p)") for message in told]


@pytest.mark.parametrize(
    ("body", "actions", "wanted"),
    [
        (BIOS, "<add><os firmware='efi'/></add>", "see firmware UEFI instead of BIOS"),
        (EFI, "<remove select='os/@firmware'/>", "see firmware BIOS instead of UEFI"),
        (
            BIOS,
            "<add><os><loader readonly='yes' type='pflash'>/y</loader></os></add>",
            "see firmware UEFI instead of BIOS",
        ),
        (LOADER, "<remove><os><loader/><nvram/></os></remove>", "see firmware BIOS instead of UEFI"),
        (
            LOADER,
            "<remove><os><loader/><nvram/></os></remove><add><os firmware='efi'/></add>",
            "see firmware that libvirt chooses instead of /x",
        ),
        (LOADER, "<add><os><loader>/y</loader></os></add>", "see firmware /y instead of /x"),
        (LOADER, "<add><os><nvram>/m</nvram></os></add>", "see other variables of its firmware"),
        (LOADER, "<add><os><loader secure='no'/></os></add>", "see os loader secure no instead of yes"),
        (
            EFI,
            "<add><os><firmware><feature enabled='yes' name='secure-boot'/></firmware></os></add>",
            "see firmware features secure-boot on",
        ),
        (EFI + FEATURES, "<remove><features><pae/></features></remove>", "see no features pae"),
        (EFI + FEATURES, "<remove><features><kvm/></features></remove>", "see no KVM features hidden"),
        (
            EFI + FEATURES,
            "<remove><features><hyperv/></features></remove>",
            "see no Hyper-V enlightenments relaxed",
        ),
        (EFI + CPU, "<remove><cpu><feature name='aes'/></cpu></remove>", "see other CPU features"),
        (
            EFI + CPU,
            "<add><cpu><feature policy='require' name='vmx'/></cpu></add>",
            "see other CPU features",
        ),
        (
            EFI,
            "<add><os><smbios mode='sysinfo'/></os><sysinfo type='smbios'><system>"
            "<entry name='serial'>1</entry></system></sysinfo></add>",
            "see other system information",
        ),
        (EFI + "<clock offset='utc'/>", "<remove><clock/></remove>", ""),
        (
            EFI + NICS,
            "<add each='devices/interface[not(model)]'><interface><model type='virtio'/></interface></add>",
            "see NIC 1 as virtio",
        ),
        (
            EFI + NICS,
            "<add each='devices/interface[model]'><interface><model type='virtio'/></interface></add>",
            "see NIC 2 as virtio instead of e1000",
        ),
        (
            EFI + NICS,
            "<add multiple='no'><devices><memballoon model='none'/></devices></add>",
            "see no memory balloon any more",
        ),
        (EFI, "<add><devices><memballoon model='none'/></devices></add>", "see no memory balloon any more"),
        (
            EFI + "<devices><memballoon model='none'/></devices>",
            "<add multiple='no'><devices><memballoon model='virtio'/></devices></add>",
            "see a new memory balloon (virtio)",
        ),
        (EFI, "<add><devices><rng model='virtio'><backend model='random'/></rng></devices></add>", ""),
    ],
)
def test_in_words(body: str, actions: str, wanted: str) -> None:
    assert seen(body, actions) == ([wanted] if wanted else [])


@pytest.mark.parametrize(
    ("body", "actions", "wanted"),
    [
        (
            EFI + "<devices><sound model='ich9'/><video><model type='qxl'/></video></devices>",
            "<remove><devices><sound/></devices></remove><remove><devices><video/></devices></remove>",
            ["see the sound card ich9 again", "see the video card qxl again"],
        ),
        (
            EFI + "<devices><controller type='usb' index='0' model='ich9-uhci1'/></devices>",
            "<remove><devices><controller type='usb'/></devices></remove>",
            [],
        ),
        (
            EFI,
            "<add><cpu><topology sockets='1' cores='2' threads='1'/></cpu></add>",
            ["see another CPU topology"],
        ),
        (EFI, "<add><clock offset='localtime'/></add>", ["see a clock in UTC instead of local time"]),
        (EFI, "<add><devices><sound model='ich9'/></devices></add>", []),
    ],
)
def test_what_is_taken_back_in_words(body: str, actions: str, wanted: list[str]) -> None:
    """A device that comes back is the device, not a list of its values; a group that goes is reported too."""
    text = f"""<domain type='kvm'><name>vp</name><uuid>8e4d1a3c-63d8-4d3c-8c1b-0a6f4d8e2b11</uuid>
        <memory>1048576</memory>{body}</domain>"""
    store = MemoryStore([f"<profile name='p'>{actions}</profile>"])
    once = virtProfile.apply(text, [{"name": "p", "priority": 120}], store=store)
    back = virtProfile.unapply(once.xml, ["p"], store=store)
    told = [one.message for one in back.warnings if one.code == "guest-abi"]
    assert told == [f"the guest will {words} (p)" for words in wanted]


def test_firmware_that_two_profiles_change_is_one_line() -> None:
    text = f"""<domain type='kvm'><name>vp</name><uuid>8e4d1a3c-63d8-4d3c-8c1b-0a6f4d8e2b11</uuid>
        <memory>1048576</memory>{LOADER}</domain>"""
    store = MemoryStore(
        [
            "<profile name='a'><add><os firmware='efi'/></add></profile>",
            "<profile name='b'><remove><os><loader/><nvram/></os></remove></profile>",
        ]
    )
    wishes = [{"name": name, "priority": 120} for name in "ab"]
    result = virtProfile.apply(text, wishes, store=store)
    (told,) = [one.message for one in result.warnings if one.code == "guest-abi"]
    assert "firmware that libvirt chooses instead of /x" in told
