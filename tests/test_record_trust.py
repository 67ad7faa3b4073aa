# SPDX-License-Identifier: GPL-2.0-or-later
"""Forged records: every payload through every shipped profile, with its true digest."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import library
import pytest
from lxml import etree
from strategies import MemoryStore
from test_invariants import leaves

import virtProfile
from virtProfile.engine.record.model import Written
from virtProfile.engine.record.trust import _Reach
from virtProfile.errors import PolicyError, ProfileError
from virtProfile.format.document import RECORD_NS
from virtProfile.format.element import PRESENCE, TEXT
from virtProfile.format.guarded import guarded_value
from virtProfile.format.schema import Schema
from virtProfile.language.store import ProfileStore
from virtProfile.service.policy import check

PROFILES = sorted(
    path.stem
    for path in (Path(__file__).parent.parent / "profiles").glob("*.xml")
    if not path.name.endswith(".test.xml") and not path.name.startswith("audit-")
)
STORE = library.store()
VM = """<domain type='kvm'><name>vm</name><uuid>7d1b1c0c-98b1-4b23-9d2e-111111111111</uuid>RECORD<memory>1048576</memory><vcpu>2</vcpu>
<os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader><nvram>/var/lib/x_VARS.fd</nvram></os>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/var/lib/libvirt/images/a.qcow2'/><target dev='vda' bus='virtio'/><readonly/></disk>
<interface type='network'><source network='default'/><model type='virtio'/><filterref filter='clean-traffic'/></interface>
<serial type='pty'><target port='0'/></serial><channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng><graphics type='vnc' port='-1' listen='127.0.0.1'><listen type='address' address='127.0.0.1'/></graphics>
<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm></devices></domain>"""
DISK = "devices/disk[target/@dev=vda]"
#: name: what the record says
PAYLOADS = {
    "disk source": f"<vr:on at='{DISK}/source'><vr:source file='/var/lib/libvirt/images/a.qcow2'/><vr:was file='/etc/shadow'/></vr:on>",
    "new disk": "<vr:del from='devices'><vr:disk type='block' device='disk'><vr:source dev='/dev/sda'/><vr:target dev='vdz' bus='virtio'/></vr:disk></vr:del>",
    "loader": "<vr:on at='os/loader'><vr:loader readonly='yes'>/usr/share/OVMF/OVMF_CODE.fd</vr:loader><vr:was readonly='no'>/tmp/evil.fd</vr:was></vr:on>",
    "nvram template": "<vr:on at='os/nvram'><vr:nvram/><vr:was template='/tmp/evil.fd'/></vr:on>",
    "serial file": "<vr:del from='devices'><vr:serial type='file'><vr:source path='/etc/cron.d/x'/><vr:target port='1'/></vr:serial></vr:del>",
    "channel path": "<vr:del from='devices'><vr:channel type='unix'><vr:source mode='bind' path='/run/evil.sock'/><vr:target type='virtio' name='evil'/></vr:channel></vr:del>",
    "tpm passthrough": "<vr:on at='devices/tpm/backend'><vr:backend type='emulator' version='2.0'/><vr:was type='passthrough'/></vr:on>",
    "rng mem": "<vr:on at='devices/rng/backend'><vr:backend>/dev/urandom</vr:backend><vr:was>/dev/mem</vr:was></vr:on>",
    "hostdev": "<vr:del from='devices'><vr:hostdev mode='subsystem' type='pci'><vr:source><vr:address domain='0x0' bus='0x1' slot='0x0' function='0x0'/></vr:source></vr:hostdev></vr:del>",
    "filesystem": "<vr:del from='devices'><vr:filesystem type='mount'><vr:source dir='/'/><vr:target dir='host'/></vr:filesystem></vr:del>",
    "bridge": "<vr:del from='devices'><vr:interface type='bridge'><vr:source bridge='br-admin'/></vr:interface></vr:del>",
    "vnc": "<vr:on at='devices/graphics[@type=vnc]/listen'><vr:listen address='127.0.0.1'/><vr:was address='0.0.0.0'/></vr:on>",
    "vnc2": "<vr:on at='devices/graphics[@type=vnc]'><vr:graphics listen='127.0.0.1'/><vr:was listen='0.0.0.0'/></vr:on>",
    "-disk": "<vr:add to='devices'><vr:disk device='disk'><vr:target dev='vda'/></vr:disk></vr:add>",
    "-emulator": "<vr:add to='devices'><vr:emulator>/usr/bin/qemu-system-x86_64</vr:emulator></vr:add>",
    "-uuid": "<vr:add to=''><vr:uuid>7d1b1c0c-98b1-4b23-9d2e-111111111111</vr:uuid></vr:add>",
    "-devices": "<vr:add to=''><vr:devices/></vr:add>",
    "-readonly": f"<vr:add to='{DISK}'><vr:readonly/></vr:add>",
    "-filterref": "<vr:add to='devices/interface[1]'><vr:filterref filter='clean-traffic'/></vr:add>",
    "-os": "<vr:add to=''><vr:os/></vr:add>",
}
#: what stands in the result where a payload came true
MARKS = {
    "disk source": "/etc/shadow",
    "new disk": "/dev/sda",
    "loader": "evil.fd",
    "nvram template": "evil.fd",
    "serial file": "cron.d",
    "channel path": "evil.sock",
    "tpm passthrough": "passthrough",
    "rng mem": "/dev/mem",
    "hostdev": "<hostdev",
    "filesystem": "dir='/'",
    "bridge": "br-admin",
    "vnc": "0.0.0.0",
    "vnc2": "0.0.0.0",
}
#: what is missing there
GONE = {
    "-disk": "vda",
    "-emulator": "<emulator",
    "-uuid": "<uuid",
    "-devices": "<devices",
    "-readonly": "<readonly",
    "-filterref": "<filterref",
    "-os": "<os>",
}

#: Where an action of the profile names the very value, the record may be true: (payload, profile).
#: On the command line, whose callers can write the VM anyway, these are put back.
PLAUSIBLE = {
    "tpm passthrough": {"tpm-2.0", "like-virt-manager"},
    "rng mem": {"like-kubevirt", "like-virt-manager", "like-ovirt", "like-nova"},
    "loader": {"like-virt-manager", "no-secureboot", "uefi", "uefi-secureboot", "sev-snp", "tdx"},
    "nvram template": {"like-virt-manager", "no-secureboot", "uefi", "uefi-secureboot", "sev-snp", "tdx"},
    "vnc": {"vnc-desktop"},
    "vnc2": {"vnc-desktop"},
    "channel path": {"headless-server"},
}


def forged(profile: str, payload: str) -> str:
    known = STORE.get(profile)
    record = (
        f"<metadata><vr:record xmlns:vr='{RECORD_NS}'><vr:profile name='{profile}' version='{known.version}'"
        f" digest='{known.digest[:16]}' priority='100' source='caller'>{PAYLOADS.get(payload, payload)}"
        "</vr:profile></vr:record></metadata>"
    )
    return VM.replace("RECORD", record)


def came_true(xml: str, payload: str) -> bool:
    body = xml.partition("</metadata>")[2] or xml
    if payload in MARKS:
        return MARKS[payload] in body
    return GONE[payload] not in body


@pytest.mark.parametrize("payload", PAYLOADS)
def test_the_service_believes_no_forged_record(payload: str) -> None:
    """With the version in the store, and the service's policy on the final difference."""
    refused = 0
    for profile in PROFILES:
        xml = forged(profile, payload)
        calls: list[Any] = [virtProfile.unapply, virtProfile.upgrade, virtProfile.apply]
        for call in calls:
            try:
                result = call(xml, store=STORE, trust="store")
                check(xml, result.xml)
            except ProfileError as problem:
                assert problem.code == "policy", problem
                refused += 1
                continue
            assert not came_true(result.xml, payload), (profile, call.__name__)
    assert refused > 2 * len(PROFILES)


@pytest.mark.parametrize("payload", [name for name in PAYLOADS if name in MARKS])
def test_guarded_values_come_back_only_where_the_profile_names_them(payload: str) -> None:
    for profile in PROFILES:
        xml = forged(profile, payload)
        if profile in PLAUSIBLE.get(payload, ()):
            assert came_true(virtProfile.unapply(xml, store=STORE).xml, payload)
            continue
        with pytest.raises(PolicyError, match="cannot be taken back completely") as found:
            virtProfile.unapply(xml, store=STORE)
        assert "--yes" in found.value.hint
        assert came_true(virtProfile.unapply(xml, store=STORE, trust="all").xml, payload)


@pytest.mark.parametrize("payload", ["-emulator", "-uuid", "-devices", "-readonly", "-filterref", "-os"])
def test_what_protects_or_identifies_is_not_taken_out(payload: str) -> None:
    for profile in PROFILES:
        try:
            result = virtProfile.unapply(forged(profile, payload), store=STORE)
        except PolicyError:
            continue
        assert not came_true(result.xml, payload), profile


#: What no list of bad values had: payload -> (what the record says, how it shows, profiles that may have done so).
#: All that the table of harmless changes has no row for is guarded.
FURTHER = {
    "raw access": (f"<vr:on at='{DISK}'><vr:disk/><vr:was rawio='yes'/></vr:on>", "rawio=", ""),
    "shared disk": (f"<vr:del from='{DISK}'><vr:shareable/></vr:del>", "<shareable", ""),
    "secret of others": (
        f"<vr:del from='{DISK}'><vr:auth username='x'><vr:secret type='ceph' uuid='7d1b1c0c-98b1-4b23-9d2e-1111111111ff'/></vr:auth></vr:del>",
        "1111ff",
        "",
    ),
    "backing file on a network": (
        f"<vr:del from='{DISK}'><vr:backingStore type='network'><vr:format type='raw'/><vr:source protocol='nbd'><vr:host name='evil.example'/></vr:source></vr:backingStore></vr:del>",
        "evil.example",
        "",
    ),
    "alias": (f"<vr:del from='{DISK}'><vr:alias name='ua-x'/></vr:del>", "ua-x", ""),
    "sound of the host": (
        "<vr:del from='devices'><vr:audio id='1' type='oss'><vr:input dev='/dev/sda'/></vr:audio></vr:del>",
        "/dev/sda",
        "headless-server no-spice",
    ),
    "smartcard of the host": (
        "<vr:del from='devices'><vr:smartcard mode='host'/></vr:del>",
        "mode='host'",
        "",
    ),
    "memory of others": (
        "<vr:del from='devices'><vr:shmem name='other'><vr:size unit='M'>4</vr:size></vr:shmem></vr:del>",
        "name='other'",
        "",
    ),
    "window on the host": (
        "<vr:del from='devices'><vr:graphics type='sdl' display=':0' xauth='/root/.Xauthority'/></vr:del>",
        "Xauthority",
        "headless-server no-spice",
    ),
    "dump into a file": (
        "<vr:del from=''><vr:on_crash>coredump-destroy</vr:on_crash></vr:del>",
        "coredump",
        "",
    ),
    "dump by a watchdog": (
        "<vr:del from='devices'><vr:watchdog model='i6300esb' action='dump'/></vr:del>",
        "action='dump'",
        "",
    ),
    "VLAN of others": (
        "<vr:del from='devices/interface[1]'><vr:vlan><vr:tag id='42'/></vr:vlan></vr:del>",
        "id='42'",
        "",
    ),
    "MAC address of others": (
        "<vr:del from='devices/interface[1]'><vr:mac address='52:54:00:00:00:01'/></vr:del>",
        "52:54:00:00:00:01",
        "",
    ),
    "ports of the host": (
        "<vr:del from='devices'><vr:interface type='user'><vr:portForward proto='tcp' address='0.0.0.0'><vr:range start='22'/></vr:portForward></vr:interface></vr:del>",
        "portForward",
        "",
    ),
    "serial numbers of the host": ("<vr:del from='os'><vr:smbios mode='host'/></vr:del>", "mode='host'", ""),
    "capabilities": (
        "<vr:del from='features'><vr:capabilities policy='allow'/></vr:del>",
        "policy='allow'",
        "",
    ),
    "users of the host": (
        "<vr:del from=''><vr:idmap><vr:uid start='0' target='0' count='9'/></vr:idmap></vr:del>",
        "<idmap",
        "",
    ),
    "resources of others": (
        "<vr:del from=''><vr:resource><vr:partition>/other</vr:partition></vr:resource></vr:del>",
        "/other",
        "",
    ),
    "address of another VM": (
        "<vr:del from='devices'><vr:vsock><vr:cid auto='no' address='7'/></vr:vsock></vr:del>",
        "address='7'",
        "",
    ),
    "arguments of QEMU": (
        "<vr:del from=''><q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:arg value='-evil'/></q:commandline></vr:del>",
        "-evil",
        "",
    ),
    # What a profile appends beside what differs, it does not displace; a select= takes out what it selects.
    "port of a display": (
        "<vr:on at='devices/graphics[@type=vnc]'><vr:graphics port='-1'/><vr:was port='5999'/></vr:on>",
        "5999",
        "like-nova like-ovirt linux-desktop spice-desktop vnc-desktop",
    ),
    "web socket of a display": (
        "<vr:on at='devices/graphics[@type=vnc]'><vr:graphics/><vr:was websocket='5777'/></vr:on>",
        "5777",
        "vnc-desktop",
    ),
    "one more address of a display": (
        "<vr:del from='devices/graphics[@type=vnc]'><vr:listen type='address' address='9.9.9.9'/></vr:del>",
        "9.9.9.9",
        "",
    ),
    "serial port over TCP": (
        "<vr:on at='devices/serial[1]'><vr:serial type='pty'/><vr:was type='tcp'/></vr:on>"
        "<vr:del from='devices/serial[1]'><vr:source mode='bind' host='0.0.0.0' service='4555'/></vr:del>",
        "4555",
        "like-kubevirt like-nova",
    ),
    "log of a serial port": (
        "<vr:del from='devices/serial[1]'><vr:log file='/etc/cron.d/x' append='on'/></vr:del>",
        "cron.d",
        "",
    ),
    "NIC by a socket": (
        "<vr:on at='devices/interface[1]'><vr:interface type='network'/><vr:was type='vhostuser'/></vr:on>",
        "type='vhostuser'",
        "",
    ),
    "port that is not isolated": (
        "<vr:del from='devices/interface[1]'><vr:port isolated='no'/></vr:del>",
        "isolated",
        "",
    ),
    "format of a disk": (
        f"<vr:on at='{DISK}/driver'><vr:driver type='qcow2'/><vr:was type='vmdk'/></vr:on>",
        "vmdk",
        "",
    ),
    "limits of the host's disk": (
        "<vr:del from=''><vr:blkiotune><vr:device><vr:path>/dev/sda</vr:path><vr:weight>500</vr:weight></vr:device></vr:blkiotune></vr:del>",
        "/dev/sda",
        "",
    ),
    "emulator": (
        "<vr:on at='devices/emulator'><vr:emulator>/usr/bin/qemu-system-x86_64</vr:emulator><vr:was>/tmp/evil</vr:was></vr:on>",
        "/tmp/evil",
        "",
    ),
    "another hypervisor": (
        "<vr:on at=''><vr:domain type='kvm'/><vr:was type='xen'/></vr:on>",
        "type='xen'",
        "",
    ),
}


@pytest.mark.parametrize("payload", FURTHER)
def test_what_is_not_known_to_be_harmless_is_guarded(payload: str) -> None:
    """In hooks, which look at no policy, and on the command line."""
    says, mark, plausible = FURTHER[payload]
    for profile in PROFILES:
        xml = forged(profile, says)
        for trust in ("store", "record"):
            try:
                result = virtProfile.unapply(xml, store=STORE, trust=trust)
            except PolicyError:
                continue
            body = result.xml.partition("</metadata>")[2] or result.xml
            assert mark not in body or profile in plausible.split(), (profile, trust)
    assert mark in virtProfile.unapply(forged("rng", says), store=STORE, trust="all").xml


def test_what_shipped_profiles_confirm_is_reviewed(golden: Callable[[str, str], None]) -> None:
    """Each guarded value and element of the schema, with the profiles whose records of it are believed."""
    schema = Schema.baseline()
    lines = []
    reaches = {name: _Reach(STORE.get(name), schema) for name in PROFILES}
    known: dict[str, set[str]] = {}
    for node in sorted(schema.walk(), key=lambda node: node.path):
        slots = [f"@{name}" for name in sorted(node.attrs)] + ([TEXT] if node.text is not None else [])
        believed: dict[str, list[str]] = {}
        for slot in (slot for slot in slots if guarded_value(node.path, slot, "x")):
            names = " ".join(name for name, reach in reaches.items() if reach.displaces(node, slot, "x"))
            believed.setdefault(names, []).append(slot)
        above = known.get(node.path.rpartition("/")[0], set()) if node.path.count("/") > 1 else set()
        if believed.keys() - {"", *above}:
            lines += [
                f"{node.path} {' '.join(words)}: {names}\n" for names, words in believed.items() if names
            ]
        known[node.path] = believed.keys() | above  # parts of a thing go with it
        written = Written(node.tag, dict.fromkeys(node.attrs, "x"), None)
        if any(guarded_value(node.path, slot, "x") for slot in (PRESENCE, *slots)):
            names = " ".join(name for name, reach in reaches.items() if reach.empties(node, written))
            if names and names not in known[node.path]:
                lines.append(f"{node.path}: {names}\n")
                known[node.path].add(names)
    golden("record/believed.txt", "".join(lines))


LAUNCHED = "<launchSecurity type='sev'><policy>0x0003</policy></launchSecurity>"


@pytest.mark.parametrize(
    ("there", "says"),
    [
        (LAUNCHED, "<vr:add to=''><vr:launchSecurity type='sev'/></vr:add>"),
        (
            "<idmap><uid start='0' target='1000' count='9'/><gid start='0' target='1000' count='9'/></idmap>",
            "<vr:add to=''><vr:idmap/></vr:add>",
        ),
    ],
)
def test_what_keeps_host_and_guest_apart_is_not_taken_out(there: str, says: str) -> None:
    tag = there[1 : there.index(">")].split()[0]
    for profile in ("rng", "virtio-disk", "cpu-host-model"):
        xml = forged(profile, says).replace("</domain>", f"{there}</domain>")
        with pytest.raises(PolicyError, match="cannot have added it"):
            virtProfile.unapply(xml, store=STORE)
        assert (
            f"<{tag}"
            not in virtProfile.unapply(xml, store=STORE, trust="all").xml.partition("</metadata>")[2]
        )


def test_a_profile_that_does_not_exist_confirms_nothing() -> None:
    for payload in PAYLOADS:
        xml = forged("rng", payload).replace("name='rng'", "name='nowhere'")
        with pytest.raises(PolicyError, match="was not found"):
            virtProfile.unapply(xml, store=STORE, trust="store")


def test_all_parts_are_listed() -> None:
    both = PAYLOADS["disk source"] + PAYLOADS["new disk"]
    xml = forged("rng", "new disk").replace(PAYLOADS["new disk"], both)
    with pytest.raises(PolicyError) as found:
        virtProfile.unapply(xml, store=STORE)
    assert "'@file'" in found.value.message and "'disk'" in found.value.message


#: every kind of device that the existing VMs of the tests have, one document each
DEVICES = {
    f"{path.stem} {number} {device.tag}": device
    for path in sorted((Path(__file__).parent / "data" / "vms").glob("*.xml"))
    for number, device in enumerate(etree.parse(path).find("devices").iterchildren("*"))
}


@pytest.mark.parametrize("trust", ["record", "store"])
def test_what_was_emptied_comes_back_with_its_last_part(trust: str, tmp_path: Path) -> None:
    """<devices> goes with its only device: the record names the whole of it."""
    assert len(DEVICES) > 40
    for name, device in DEVICES.items():
        profile = f"<profile name='bare'><remove><devices><{device.tag}/></devices></remove></profile>"
        (tmp_path / "bare.xml").write_text(profile)
        store = ProfileStore([tmp_path])
        domain = etree.fromstring(
            "<domain type='kvm'><name>vm</name><memory>4096</memory><os><type>hvm</type></os><devices/></domain>"
        )
        domain.find("devices").append(copy.deepcopy(device))
        before = etree.tostring(domain, encoding="unicode")
        wish = [{"name": "bare", "priority": 120}]
        try:
            once = virtProfile.apply(before, wish, store=store)
        except ProfileError as problem:
            assert problem.code == "invalid-domain", (name, problem)
            continue
        assert virtProfile.apply(once.xml, wish, store=store, trust=trust).xml == once.xml, name
        assert f"<{device.tag}" in virtProfile.unapply(once.xml, store=store, trust=trust).xml, name


#: what a profile does to a sketch: (name, actions, body of the domain)
UNDONE = {
    "what is made for something inside it": ("<add><os><nvram><source/></nvram></os></add>", ""),
    "the place of a host device on another machine": (
        "<add><os><type machine='pc'>hvm</type></os></add>",
        "<hostdev mode='subsystem' type='pci'><source><address domain='0x0' bus='0x6' slot='0x12' function='0x5'/></source>"
        "<address type='pci' domain='0x0' bus='0x0' slot='0x0' function='0x0'><zpci uid='0x1' fid='0x1'/></address></hostdev>",
    ),
}


@pytest.mark.parametrize("trust", ["record", "store"])
@pytest.mark.parametrize("case", UNDONE)
def test_what_the_profile_did_is_believed(case: str, trust: str, tmp_path: Path) -> None:
    actions, devices = UNDONE[case]
    (tmp_path / "p.xml").write_text(f"<profile name='p'>{actions}</profile>")
    store = ProfileStore([tmp_path])
    before = (
        "<domain type='qemu'><name>vm</name><memory>4096</memory>"
        f"<os><type arch='s390x' machine='s390-ccw-virtio'>hvm</type></os><devices>{devices}</devices></domain>"
    )
    once = virtProfile.apply(before, [{"name": "p", "priority": 120}], store=store)
    assert once.changed and "<zpci" not in once.xml
    again = virtProfile.apply(once.xml, store=store, trust=trust)
    assert again.xml == once.xml
    back = virtProfile.unapply(once.xml, store=store, trust=trust).xml
    assert "<nvram" not in back
    assert back.count("<zpci") == devices.count("<zpci")


BOOT = "<os><type arch='x86_64' machine='pc'>hvm</type>{}</os><devices>{}</devices>"
NIC_FIRST = "<interface type='user'><boot order='1'/></interface>"
#: what a profile does: (its actions, what the VM is, what goes)
GONE_WITH = {
    "orders of devices, for the machine's list": (
        "<add><os><boot dev='network'/></os></add>",
        BOOT.format("", NIC_FIRST),
        "order=",
    ),
    "the order of a host's device, for the machine's list": (
        "<add><os><boot dev='network'/></os></add>",
        BOOT.format(
            "",
            "<hostdev mode='subsystem' type='usb'><source><vendor id='0x1234'/><product id='0xbeef'/></source>"
            "<boot order='1'/></hostdev>",
        ),
        "order=",
    ),
    "the machine's list, for the order of a device": (
        "<add each='devices/interface'><interface><boot order='1'/></interface></add>",
        BOOT.format("<boot dev='hd'/>", "<interface type='user'/>"),
        "dev='hd'",
    ),
    "a disk that is one without saying so": (
        "<remove each='devices/disk'><disk device='disk'/></remove>",
        BOOT.format("", "<disk type='file'><source file='/a'/><target dev='hda' bus='ide'/></disk>"),
        "<disk",
    ),
    "a disk of which nothing is left": (
        "<remove each='devices/disk'><disk type='file' device='disk'/></remove>",
        BOOT.format("", "<disk type='file'/>"),
        "<disk",
    ),
}


@pytest.mark.parametrize("trust", ["record", "store"])
@pytest.mark.parametrize("case", GONE_WITH)
def test_what_goes_with_what_a_profile_does_comes_back(case: str, trust: str, tmp_path: Path) -> None:
    actions, body, gone = GONE_WITH[case]
    (tmp_path / "p.xml").write_text(f"<profile name='p'>{actions}</profile>")
    store = ProfileStore([tmp_path])
    before = f"<domain type='qemu'><name>vm</name><memory>4096</memory>{body}</domain>"
    once = virtProfile.apply(before, [{"name": "p", "priority": 120}], store=store)
    assert gone not in once.xml.partition("</metadata>")[2]
    assert virtProfile.apply(once.xml, store=store, trust=trust).xml == once.xml
    assert virtProfile.unapply(once.xml, store=store, trust=trust).xml == before


@pytest.mark.parametrize("device", ["cdrom", "floppy", "lun"])
def test_a_snippet_that_names_no_kind_of_disk_speaks_of_all(device: str) -> None:
    """What a profile wrote on a CDROM, found by its name, is taken back."""
    text = (
        "<domain type='kvm'><name>a</name><memory>1</memory><os><type arch='x86_64' machine='pc'>hvm</type></os>"
        f"<devices><disk type='block' device='{device}'><driver name='qemu' type='raw'/><source dev='/dev/sr0'/>"
        "<target dev='hdc' bus='ide'/></disk></devices></domain>"
    )
    snippet = "<disk><source dev='/dev/sr1'/><target dev='hdc'/></disk>"
    store = MemoryStore([f"<profile name='p'><add><devices>{snippet}</devices></add></profile>"])
    applied = virtProfile.apply(text, [{"name": "p", "priority": 120}], store=store)
    assert "/dev/sr1" in applied.xml
    assert virtProfile.apply(applied.xml, store=store).xml == applied.xml
    back = virtProfile.unapply(applied.xml, store=store, trust="store").xml
    assert "/dev/sr0" in back and "/dev/sr1" not in back


VMS = [path.read_text() for path in sorted((Path(__file__).parent / "data" / "vms").glob("*.xml"))]
#: With the controllers that libvirt writes down.
DEFINED = (
    "<domain type='kvm' id='7'><name>a</name><uuid>d091ea82-29e6-2e34-3005-f02617b36e87</uuid>"
    "<memory>1048576</memory><vcpu>2</vcpu><os><type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type></os>"
    "<devices><emulator>/usr/bin/qemu-system-x86_64</emulator><controller type='usb' index='0' model='piix3-uhci'>"
    "<address type='pci' domain='0x0000' bus='0x00' slot='0x01' function='0x2'/></controller>"
    "<controller type='ide' index='0'>"
    "<address type='pci' domain='0x0000' bus='0x00' slot='0x01' function='0x1'/></controller>"
    "<controller type='pci' index='0' model='pci-root'/><controller type='scsi' index='0' model='virtio-scsi'>"
    "<address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='0x0'/></controller>"
    "<memballoon model='none'/></devices></domain>"
)


@pytest.mark.parametrize("trust", ["record", "store"])
@pytest.mark.parametrize("number", range(len(library.NAMES)), ids=library.NAMES)
def test_the_aliases_of_a_running_vm_are_no_obstacle(number: int, trust: str) -> None:
    """What libvirt prints of a VM that runs has an alias in each device."""
    name = library.NAMES[number]
    for text in (VMS[number % len(VMS)], DEFINED):
        root = etree.fromstring(text)
        for at, device in enumerate(root.iterfind("devices/*")):
            if device.tag not in ("emulator", "audio", "graphics") and device.find("alias") is None:
                etree.SubElement(device, "alias", name=f"{device.tag}{at}")
        before = etree.tostring(root, encoding="unicode")
        params = {"convert": "yes"} if name in ("q35", "pc") else {}
        try:
            wish = library.wish(name, priority=120, params=params)
            once = virtProfile.apply(before, [wish], store=library.store(), context=library.context())
        except ProfileError:
            continue  # conflicts and checks are for other tests
        back = virtProfile.unapply(once.xml, store=library.store(), context=library.context(), trust=trust)
        assert leaves(back.xml) == leaves(before)
