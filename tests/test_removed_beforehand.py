# SPDX-License-Identifier: GPL-2.0-or-later
"""A profile above the definition removes what a file does not have, and libvirt writes it at define.

That is libvirt's doing and nobody's edit: nothing is pending, and taking back leaves what defining
the file gives. Generated: everything that libvirt adds to files, by what is there after the define.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from lxml import etree
from strategies import MemoryStore
from test_define_roundtrip import DISK, SPICE, add, define, devices, vm, without_bookkeeping

import virtProfile

libvirt = pytest.importorskip("libvirt")

NIC = "<interface type='user'><mac address='52:54:00:11:22:33'/><model type='virtio'/></interface>"
FILES = {
    "desktop": vm(SPICE + "<serial type='pty'/>" + NIC + DISK),
    "bare": vm(machine="pc"),
    "VNC": vm("<graphics type='vnc'/><console type='pty'/>", machine="pc"),
}
#: Snippets of what libvirt writes by itself.
SNIPPETS = {
    "balloon": devices("<memballoon/>"),
    "USB": devices("<controller type='usb'/>"),
    "inputs": devices("<input/>"),
    "a keyboard": devices("<input type='keyboard'/>"),
    "audio": devices("<audio/>"),
    "console": devices("<console/>"),
    "card": devices("<video/>"),
    "listen": devices("<graphics><listen/></graphics>"),
    "driver of a disk": devices("<disk><driver/></disk>"),
    "address of a disk": devices("<disk><address/></disk>"),
    "PCI": devices("<controller type='pci'/>"),
    "root": devices("<controller type='pci' model='pcie-root'/>"),
    "SATA": devices("<controller type='sata'/>"),
    "emulator": devices("<emulator/>"),
    "clock": "<clock/>",
    "a crash": "<on_crash/>",
    "balloon's target": "<currentMemory/>",
    "CPU": "<cpu/>",
    "boot": "<os><boot dev='hd'/></os>",
    "placement": "<vcpu placement='static'/>",
}


def settles(handle: Any, text: str, action: str) -> None:
    """Nothing is pending after the define, and it comes back."""
    store = MemoryStore([f"<profile name='p' version='1'>{action}</profile>"])
    first = virtProfile.apply(text, [{"name": "p", "priority": 120}], store=store)
    assert virtProfile.apply(first.xml, store=store).xml == first.xml
    defined = define(handle, first.xml)
    again = virtProfile.apply(defined, store=store)
    assert not again.changes, [str(change) for change in again.changes][:3]
    assert virtProfile.apply(again.xml, store=store).xml == again.xml
    for row in virtProfile.status(defined, store=store).profiles:
        assert not row.drift
    back = define(handle, virtProfile.unapply(define(handle, again.xml), store=store).xml)
    assert without_bookkeeping(back) == without_bookkeeping(define(handle, text))


def test_a_service_takes_no_vms_word_for_it() -> None:
    """An owner who writes ``out`` into the record would keep what a profile of the host removes."""
    store = MemoryStore(
        ["<profile name='p' version='1'><remove><devices><memballoon/></devices></remove></profile>"]
    )
    first = virtProfile.apply(FILES["bare"], [{"name": "p", "priority": 120}], store=store).xml
    assert "out=" in first
    forged = first.replace("</devices>", "<memballoon model='virtio'/></devices>", 1)
    assert "<memballoon model='virtio'/>" in virtProfile.apply(forged, store=store).xml
    assert "<memballoon model='virtio'/>" not in virtProfile.apply(forged, store=store, trust="store").xml


@pytest.mark.parametrize("name", SNIPPETS)
@pytest.mark.parametrize("file", FILES)
def test_nothing_is_pending(embedded_qemu: Any, file: str, name: str) -> None:
    settles(embedded_qemu, FILES[file], f"<remove>{SNIPPETS[name]}</remove>")


def _ways(root: Any) -> Iterator[str]:
    for element in root.iter("*"):
        if element is not root and not element.tag.startswith("{"):
            yield root.getroottree().getpath(element).removeprefix("/domain/")


@pytest.mark.parametrize("file", FILES)
def test_what_libvirt_added_is_selected(embedded_qemu: Any, file: str) -> None:
    """Each element that is there after the define and not in the file."""
    text = FILES[file]
    known = set(_ways(etree.fromstring(text)))
    added = [way for way in _ways(etree.fromstring(define(embedded_qemu, text))) if way not in known]
    assert len(added) > 10
    failed = []
    for way in added:
        try:
            settles(embedded_qemu, text, f'<remove select="{way}"/>')
        except (AssertionError, libvirt.libvirtError, virtProfile.ProfileError) as problem:
            failed.append(f"{way}: {str(problem)[:200]}")
    assert not failed, "\n".join(failed)


def test_what_a_person_wrote_goes() -> None:
    """What libvirt would not write is removed as ever."""
    store = MemoryStore([f"<profile name='p' version='1'><remove>{SNIPPETS['balloon']}</remove></profile>"])
    first = virtProfile.apply(vm(), [{"name": "p", "priority": 120}], store=store).xml
    edited = first.replace("<emulator>", "<memballoon model='none'/><emulator>")
    again = virtProfile.apply(edited, store=store)
    assert [one.op for one in again.changes] == ["remove"] and "<memballoon" not in again.xml


def test_another_text_of_the_profile_spares_nothing() -> None:
    """Under another digest nothing is known of what it removed."""
    actions = [f"<remove>{SNIPPETS['a crash']}</remove>", add("<iothreads>1</iothreads>")]
    old, new = (
        MemoryStore([f"<profile name='p' version='1'>{''.join(actions[:n])}</profile>"]) for n in (1, 2)
    )
    first = virtProfile.apply(vm(), [{"name": "p", "priority": 120}], store=old).xml
    assert " out='0'" in first or ' out="0"' in first
    edited = first.replace("<devices>", "<on_crash>destroy</on_crash><devices>")
    assert not virtProfile.apply(edited, store=old).changes
    assert etree.fromstring(virtProfile.apply(edited, store=new).xml).find("on_crash") is None
