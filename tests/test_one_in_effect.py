# SPDX-License-Identifier: GPL-2.0-or-later
"""Many by schema, one for QEMU (`format/data/singles.tsv`): a wish sets the one that is there.

libvirt's QEMU driver is the judge: it takes what comes out, also as the command line of QEMU, and
undo through define gives what was defined.
"""

from __future__ import annotations

import re
from typing import Any

import library
import pytest
from strategies import MemoryStore
from test_define_roundtrip import CELL, VMS, add, define, devices, round_trip, vm

import virtProfile
from virtProfile.errors import CardinalityError, ConflictError
from virtProfile.format.facts import rows
from virtProfile.format.schema import DATA
from virtProfile.host.context import Context
from virtProfile.live.call_context import host_schema

libvirt = pytest.importorskip("libvirt")

LOCAL = "<graphics type='vnc'><listen type='address' address='127.0.0.1'/></graphics>"
DISPLAYS = {
    "an element": "<graphics type='vnc'><listen type='address' address='0.0.0.0'/></graphics>",
    "an attribute": "<graphics type='vnc' listen='0.0.0.0'/>",
    "a socket": "<graphics type='vnc' socket='/tmp/vp.sock'/>",
    "a socket, as an element": "<graphics type='vnc'><listen type='socket' socket='/tmp/vp.sock'/></graphics>",
    "none": "<graphics type='vnc'><listen type='none'/></graphics>",
    "nothing": "<graphics type='vnc'/>",
}
WISHES = {
    "an element": LOCAL,
    "an attribute": "<graphics type='vnc' listen='127.0.0.1'/>",
    "none": "<graphics type='vnc'><listen type='none'/></graphics>",
    "a socket": "<graphics type='vnc'><listen type='socket' socket='/tmp/other.sock'/></graphics>",
}
IMAGE = "<disk type='network'><source protocol='{}' name='a/b'><host name='one'/></source><target dev='vda' bus='virtio'/></disk>"
OTHER_HOST = "<disk><source><host name='two' port='10809'/></source><target dev='vda'/></disk>"
HUGEPAGES = "<memoryBacking><hugepages><page size='2' unit='M'/></hugepages></memoryBacking>"


def apply(text: str, action: str, priority: int = 0) -> virtProfile.Result:
    store = MemoryStore([f"<profile name='p' version='1'>{action}</profile>"])
    return virtProfile.apply(text, [{"name": "p", "priority": priority}], store=store)


def found(pattern: str, text: str) -> list[str]:
    return re.findall(pattern, text)


@pytest.mark.parametrize("multiple", ["auto", "no"])
@pytest.mark.parametrize("has", DISPLAYS)
@pytest.mark.parametrize("wanted", WISHES)
def test_a_display_listens_in_one_place(embedded_qemu: Any, has: str, wanted: str, multiple: str) -> None:
    action = add(devices(WISHES[wanted]), multiple)
    for text in (vm(DISPLAYS[has]), define(embedded_qemu, vm(DISPLAYS[has]))):
        result = apply(text, action, 120)
        assert len(found("<listen ", result.xml)) <= 1
        embedded_qemu.domainXMLToNative("qemu-argv", result.xml)
        assert define(embedded_qemu, result.xml).count("<listen ") == 1
    store = MemoryStore([f"<profile name='p' version='1'>{action}</profile>"])
    round_trip(embedded_qemu, vm(DISPLAYS[has]), {"name": "p", "priority": 120}, store)


@pytest.mark.parametrize("has", ["an element", "an attribute"])
def test_a_hardening_profile_leaves_no_open_address(embedded_qemu: Any, has: str) -> None:
    for text in (vm(DISPLAYS[has]), define(embedded_qemu, vm(DISPLAYS[has]))):
        for wish in ("an element", "an attribute"):
            result = apply(text, add(devices(WISHES[wish])), 120)
            assert (
                "0.0.0.0"
                not in result.xml.partition("<metadata>")[0] + result.xml.partition("</metadata>")[2]
            )
            assert set(found(r"(?:listen|address)='(\d[^']*)'", define(embedded_qemu, result.xml))) == {
                "127.0.0.1"
            }


@pytest.mark.parametrize("has", ["an element", "an attribute", "a socket"])
def test_the_definitions_address_stays_below_its_priority(embedded_qemu: Any, has: str) -> None:
    for text in (vm(DISPLAYS[has]), define(embedded_qemu, vm(DISPLAYS[has]))):
        result = apply(text, add(devices(LOCAL)))
        assert found("<graphics.*", result.xml) == found("<graphics.*", text)
        assert [(one.wanted, one.winner) for one in result.overridden][0][1] == "definition"


AUTO = " autoport='yes'"
DEFAULTS = {
    "an element": "<listen type='address' address='0.0.0.0'/>",
    "an element without an address": "<listen type='address'/>",
    "none": "<listen type='none'/>",
    "a socket": "<listen type='socket' socket='/tmp/vp.sock'/>",
    "an attribute": " listen='0.0.0.0'",
}


def display(kind: str, more: str, attributes: str = "") -> str:
    inner = "" if more.startswith(" ") else more
    return f"<graphics type='{kind}'{attributes}{more if not inner else ''}>{inner}</graphics>"


@pytest.mark.parametrize("default", DEFAULTS)
@pytest.mark.parametrize("kind", ["vnc", "spice"])
@pytest.mark.parametrize("attributes", ["", AUTO, " port='5907'"])
@pytest.mark.parametrize("has", [True, False], ids=["has", "gets"])
def test_a_default_says_where_a_display_listens(
    embedded_qemu: Any, default: str, kind: str, attributes: str, has: bool
) -> None:
    """Given at the first apply, not when libvirt has written an element without an address beside it."""
    plain = display(kind, "", attributes)
    action = f"<default>{devices(display(kind, DEFAULTS[default]))}</default>"
    text = vm(plain if has else "")
    profile = f"<profile name='p' version='1'>{'' if has else add(devices(plain))}{action}</profile>"
    store = MemoryStore([profile])
    open_to_all = "0.0.0.0" in DEFAULTS[default] and (kind == "vnc" or bool(attributes))
    made = virtProfile.apply(text, ["p"], store=store)
    assert ("'0.0.0.0'" in made.xml.partition("<devices>")[2]) == open_to_all
    embedded_qemu.domainXMLToNative("qemu-argv", made.xml)
    round_trip(embedded_qemu, text, {"name": "p"}, store)


def test_a_default_for_each_display_leaves_one_with_a_port() -> None:
    """A display that listens on none has no port: what the definition has, stays."""
    action = "<default each='devices/graphics'><graphics><listen type='none'/></graphics></default>"
    assert (
        "<listen" not in apply(vm("<graphics type='vnc' port='5901'/>"), action).xml.partition("<devices>")[2]
    )
    assert "<listen type='none'/>" in apply(vm("<graphics type='vnc'/>"), action).xml


@pytest.mark.parametrize("action", ["add", "default"])
def test_a_port_needs_a_display_that_listens(embedded_qemu: Any, action: str) -> None:
    """libvirt drops the port of a display that listens on none: it is kept out, or the none is."""
    text = define(embedded_qemu, vm(DISPLAYS["none"].replace("vnc", "spice")))
    wish = f"<{action}>{devices(display('spice', '', AUTO))}</{action}>"
    store = MemoryStore([f"<profile name='p' version='1'>{wish}</profile>"])
    kept = virtProfile.apply(text, ["p"], store=store)
    assert not kept.changed
    hints = [one.hint for one in kept.overridden]
    assert hints == (
        ["listen/@type is 'none', which excludes it; --override lets the profile win"] * (action == "add")
    )
    for priority in (0, 120):
        round_trip(embedded_qemu, text, {"name": "p", "priority": priority}, store)
    won = virtProfile.apply(text, [{"name": "p", "priority": 120}], store=store)
    assert ("autoport='yes'" in won.xml.partition("<devices>")[2]) == (action == "add")


def test_a_removed_address_is_no_attribute_either(embedded_qemu: Any) -> None:
    text = define(embedded_qemu, vm(DISPLAYS["an element"]))
    result = apply(
        text, "<remove><devices><graphics><listen address='0.0.0.0'/></graphics></devices></remove>", 120
    )
    assert "0.0.0.0" not in define(embedded_qemu, result.xml).partition("<devices>")[2]


@pytest.mark.parametrize(
    ("text", "action"),
    [
        (vm(DISPLAYS["an element"]), add(devices(LOCAL), "yes")),
        (vm(DISPLAYS["an attribute"]), add(devices(LOCAL), "yes")),
        (vm("<graphics type='vnc' port='5901'/>"), add(devices("<graphics type='vnc' port='5902'/>"), "yes")),
        (
            vm(top=HUGEPAGES),
            add("<memoryBacking><hugepages><page size='1' unit='G'/></hugepages></memoryBacking>", "yes"),
        ),
        (vm(IMAGE.format("nbd")), add(devices(OTHER_HOST), "yes")),
    ],
)
def test_a_second_one_is_refused(text: str, action: str) -> None:
    with pytest.raises(CardinalityError):
        apply(text, action, 120)


@pytest.mark.parametrize(
    "protocol", ["nbd", "http", "https", "ftp", "ftps", "tftp", "ssh", "sheepdog", "nfs", "iscsi", "vxhs"]
)
def test_protocols_with_one_host(protocol: str) -> None:
    result = apply(vm(IMAGE.format(protocol)), add(devices(OTHER_HOST)), 120)
    assert found("<host name='[^']*'", result.xml) == ["<host name='two'"]


@pytest.mark.parametrize("protocol", ["rbd", "gluster"])
def test_protocols_with_many_hosts(protocol: str) -> None:
    result = apply(vm(IMAGE.format(protocol)), add(devices(OTHER_HOST)), 120)
    assert found("<host name='[^']*'", result.xml) == ["<host name='one'", "<host name='two'"]


def test_one_size_of_hugepages_for_all_nodes(embedded_qemu: Any) -> None:
    big = "<memoryBacking><hugepages><page size='1' unit='G'{}/></hugepages></memoryBacking>"
    kept = apply(vm(top=HUGEPAGES), add(big.format("")))
    assert "<page size='2' unit='M'/>" in kept.xml
    assert [one.wanted for one in kept.overridden] == ["1 G"]
    define(embedded_qemu, kept.xml)
    changed = apply(vm(top=HUGEPAGES), add(big.format("")), 120)
    assert found("<page [^>]*>", changed.xml) == ["<page size='1' unit='G'/>"]
    define(embedded_qemu, changed.xml)
    beside = apply(vm(top=HUGEPAGES + CELL), add(big.format(" nodeset='0'")))
    assert len(found("<page [^>]*>", beside.xml)) == 2


def test_one_address_of_a_family_for_user_networking(embedded_qemu: Any) -> None:
    net = "<interface type='user'><ip address='10.0.2.0' family='ipv4' prefix='24'/></interface>"
    wish = "<interface><ip address='{}' family='{}' prefix='{}'/></interface>"
    changed = apply(vm(net), add(devices(wish.format("10.3.0.0", "ipv4", "24"))), 120)
    assert found("<ip address='[^']*'", changed.xml) == ["<ip address='10.3.0.0'"]
    both = apply(vm(net), add(devices(wish.format("2001:db8::", "ipv6", "64"))))
    assert len(found("<ip address='[^']*'", both.xml)) == 2
    for result in (changed, both):
        define(embedded_qemu, result.xml)


def test_gl_only_where_the_display_is_local(embedded_qemu: Any) -> None:
    """OpenGL is handed on locally only: an address that the VM definition keeps is one without it."""
    text = define(embedded_qemu, VMS["spice"])
    kept = virtProfile.apply(text, [library.wish("gl-desktop")], store=library.store())
    assert "<gl " not in kept.xml
    assert kept.xml.count("<listen ") == text.count("<listen ")
    embedded_qemu.domainXMLToNative("qemu-argv", kept.xml)
    changed = virtProfile.apply(text, [library.wish("gl-desktop", priority=120)], store=library.store())
    assert found("<listen [^>]*>", changed.xml) == ["<listen type='none'/>"]
    assert "<gl enable='yes'/>" in changed.xml
    define(embedded_qemu, changed.xml)


def test_a_snippet_for_a_cdrom_never_turns_a_disk_into_one() -> None:
    disk = "<disk type='file' device='disk'><source file='/a.img'/><target dev='sda' bus='sata'/></disk>"
    for has in (disk, disk.replace(" device='disk'", "")):
        for priority in (-10, 0, 99, 100, 1000):
            for multiple in ("auto", "no"):
                with pytest.raises(ConflictError) as error:
                    apply(
                        vm(has),
                        add(devices("<disk device='cdrom'><target dev='sda'/></disk>"), multiple),
                        priority,
                    )
                [conflict] = error.value.conflicts
                assert conflict.path == "/domain/devices/disk[target/@dev='sda']/@device"
                assert [side.value for side in conflict.values] in (["disk", "cdrom"], ["cdrom", "disk"])
                assert not conflict.fixes  # no priority changes it


@pytest.mark.parametrize("table", ["singles", "respelled"])
def test_every_row_has_a_source(table: str) -> None:
    for row in rows(f"{DATA}/{table}.tsv"):
        assert len(row[-1]) > 20, row


def test_undo_of_gl_desktop_gives_the_open_address_back(embedded_qemu: Any) -> None:
    spice = "<graphics type='spice' autoport='yes'><listen type='address' address='0.0.0.0'/></graphics>"
    card = "<video><model type='qxl'/></video>"
    wish = library.wish("gl-desktop", priority=120)
    round_trip(embedded_qemu, vm(spice + card), wish, library.store())


ISA, PCI = "<watchdog model='ib700' action='pause'/>", "<watchdog model='i6300esb' action='pause'/>"


@pytest.mark.parametrize("multiple", ["auto", "no"])
@pytest.mark.parametrize(("priority", "model"), [(0, "ib700"), (100, "i6300esb")])
def test_a_watchdog_beside_that_of_the_vm(
    embedded_qemu: Any, multiple: str, priority: int, model: str
) -> None:
    """libvirt 9.0 takes one, 9.1 several: what this host's schema says counts on a connection."""
    host = Context(schema=host_schema(needed=False))
    text = define(embedded_qemu, vm(ISA, machine="pc"))
    action = add(devices(PCI), multiple)
    store = MemoryStore([f"<profile name='p' version='1'>{action}</profile>"])
    result = virtProfile.apply(text, [{"name": "p", "priority": priority}], store=store, context=host)
    several = multiple == "auto" and libvirt.getVersion() >= 9_001_000
    models = ["ib700", "i6300esb"] if several else [model]
    assert found("<watchdog model='([^']*)'", result.xml) == models
    assert [one.wanted for one in result.overridden] == ([] if several or priority else ["i6300esb"])
    assert found("<watchdog model='([^']*)'", define(embedded_qemu, result.xml)) == models


@pytest.mark.skipif(libvirt.getVersion() >= 9_001_000, reason="libvirt takes several watchdogs")
def test_a_second_watchdog_is_refused(embedded_qemu: Any) -> None:
    text = define(embedded_qemu, vm(ISA, machine="pc"))
    store = MemoryStore([f"<profile name='p' version='1'>{add(devices(PCI), 'yes')}</profile>"])
    with pytest.raises(CardinalityError):
        virtProfile.apply(text, ["p"], store=store, context=Context(schema=host_schema(needed=False)))
