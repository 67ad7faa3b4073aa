# SPDX-License-Identifier: GPL-2.0-or-later
"""The service's policy: every path of the schema is in the table of what is harmless, or refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import library
import pytest
from lxml import etree

import virtProfile
from virtProfile.errors import PolicyError, UsageError
from virtProfile.format import harmless
from virtProfile.format.facts import rows
from virtProfile.format.harmless import PRESENCE, is_harmless, rows_at
from virtProfile.format.schema import PathNode, Schema
from virtProfile.service import policy, virt_programs
from virtProfile.service.harmless import IDENTITY, KINDS, TEXT, kind_of
from virtProfile.service.policy import RULES, Rules, check

TABLE = Path(harmless.__file__).parent / "data" / "harmless.tsv"
HOWS = ("any", "fill", "keep", "gone", "new")


def slots() -> Iterator[tuple[str, str, PathNode]]:
    """(path, slot, node) of everything that the schema knows."""
    for node in Schema.baseline().walk():
        path = _path(node)
        if path.startswith("metadata/"):
            continue
        if path != ".":
            yield path, PRESENCE, node
        for name in node.attrs:
            yield path, f"@{name}", node
        if node.text is not None:
            yield path, TEXT, node


def _path(node: PathNode) -> str:
    steps = []
    at: PathNode | None = node
    while at is not None and at.parent is not None:
        steps.append(at.tag.replace("/", ":"))
        at = at.parent
    return "/".join(reversed(steps)) or "."


def document(path: str, slot: str, value: str | None) -> str:
    """A domain in which all above an element is there; and the slot, where it has a value."""
    root = element = etree.Element("domain")
    steps = [] if path == "." else path.split("/")
    for number, step in enumerate(steps):
        if number + 1 == len(steps) and slot == PRESENCE and value is None:
            break
        element = etree.SubElement(
            element, step.replace(":", "/").replace("///", "://") if step[0] == "{" else step
        )
    if value is not None and slot[:1] == "@":
        element.set(slot[1:], value)
    if value is not None and slot == TEXT:
        element.text = value
    return etree.tostring(root, encoding="unicode")


def allowed(before: str, after: str, **more: bool) -> bool:
    try:
        check(before, after, **more)
    except PolicyError:
        return False
    return True


def harmless_values(path: str, slot: str, how: str) -> list[str]:
    """Values of a slot that some row of that kind names, or any value."""
    found: list[str] = []
    for row in rows_at(path):
        if row.how == how and (slot in row.slots or "*" in row.slots):
            found += sorted(row.values) if row.values and slot != PRESENCE else ["x"]
    return found


ALL = sorted({(path, slot) for path, slot, _ in slots()})


def test_the_schema_is_large() -> None:
    assert len(ALL) > 2500


def test_every_path_is_harmless_or_refused() -> None:
    """Added, changed and removed: exactly what the table says."""
    wrong = []
    for path, slot in ALL:
        values = harmless_values(path, slot, "any")
        none, bad = document(path, slot, None), document(path, slot, "a-value-of-no-row")
        for value in values:
            good = document(path, slot, value)
            if not (allowed(none, good) and allowed(good, none)):
                wrong.append((path, slot, value, "should be allowed"))
        if "x" in values:
            continue
        keep = bool(harmless_values(path, slot, "keep"))
        if allowed(none, bad) and not keep and "x" not in harmless_values(path, slot, "fill"):
            wrong.append((path, slot, "added", "should be refused"))
        if keep:
            continue
        if slot != PRESENCE or not is_harmless(path, PRESENCE, None, "gone"):
            if allowed(bad, none):
                wrong.append((path, slot, "removed", "should be refused"))
        if allowed(bad, document(path, slot, "another-value")) and slot != PRESENCE:
            wrong.append((path, slot, "changed", "should be refused"))
    assert not wrong, wrong[:20]


def test_what_may_be_filled_may_not_change_or_go() -> None:
    count = 0
    for path, slot in ALL:
        for value in harmless_values(path, slot, "fill"):
            none, good = document(path, slot, None), document(path, slot, value)
            assert allowed(none, good), (path, slot)
            assert not allowed(good, none), (path, slot)
            if slot != PRESENCE:
                assert not allowed(good, document(path, slot, "other")), (path, slot)
            count += 1
    assert count > 5


def test_a_password_may_change_but_not_go() -> None:
    known, other = "<graphics type='vnc' passwd='a'/>", "<graphics type='vnc' passwd='b'/>"
    assert allowed(vm(known), vm(other))
    assert allowed(vm("<graphics type='vnc'/>"), vm(known))
    assert not allowed(vm(known), vm("<graphics type='vnc'/>"))
    assert not allowed(vm(known), vm("<graphics type='vnc'/>" * 2))
    assert not allowed(vm("<graphics type='spice'/>" + known), vm("<graphics type='vnc'/>"))
    assert allowed(vm("<graphics type='spice'/>" + known), vm("<graphics type='spice'/>"))


def test_what_is_harmless_is_reviewed(golden: Callable[[str, str], None]) -> None:
    """All of it by path, so that a libvirt that has more brings a line here."""
    lines = []
    for path, slot in ALL:
        for how in HOWS:
            if values := harmless_values(path, slot, how):
                more = "" if "x" in values else " " + "|".join(values)
                lines.append(f"{path} {slot} {how}{more}\n")
    golden("service/harmless.txt", "".join(lines))


def test_every_row_says_something() -> None:
    """A row of the table fits a path of the schema, with each of its slots."""
    known = {(path, slot) for path, slot in ALL}
    paths = {path for path, _ in ALL} | {"."}
    for row in rows(TABLE):
        path, words, how, values, *why = row
        assert why and why[0] and how in HOWS, row
        steps = path.split("/")
        fitting = [other for other in paths if _fits(other.split("/"), steps)]
        assert fitting, row
        for slot in words.split():
            if slot != "*":
                assert any((other, slot) in known for other in fitting), (path, slot)


def _fits(path: list[str], pattern: list[str]) -> bool:
    if pattern[-1] == "**":
        return len(path) >= len(pattern) and _fits(path[: len(pattern) - 1], pattern[:-1])
    return len(path) == len(pattern) and all(step in ("*", own) for own, step in zip(path, pattern))


@pytest.mark.parametrize("tag", ["name", "uuid", "genid", "hwuuid"])
def test_which_vm_it_is_is_always_guarded(tag: str) -> None:
    rules = Rules(may=frozenset(KINDS), opened=(tag,))
    token = RULES.set(Rules(may=frozenset(KINDS)))
    try:
        assert kind_of(tag, TEXT, "x") == IDENTITY
        assert not allowed(f"<domain><{tag}>a</{tag}></domain>", f"<domain><{tag}>b</{tag}></domain>")
        assert not allowed("<domain type='kvm'/>", "<domain type='qemu'/>")
        assert not allowed("<domain type='kvm'/>", "<domain type='lxc'/>")
    finally:
        RULES.reset(token)
    assert rules.opened


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_opens_something_and_not_all(kind: str) -> None:
    token = RULES.set(Rules(may=frozenset((kind,))))
    try:
        ways = ("any", "keep", "fill")
        guarded = [part for part in ALL if not any(harmless_values(*part, how) for how in ways)]
        opened = [part for part in guarded if kind_of(*part, "x") == kind]
        if kind == "commandline":
            opened = [(path, slot) for path, slot in opened if path[0] == "{"]
        assert opened
        for path, slot in opened:
            after = document(path, slot, "x")
            before = document(path, slot, None)
            assert allowed(before, after), (path, slot)
        others = [part for part in guarded if kind_of(*part, "x") not in (kind, IDENTITY)]
        assert not any(allowed(document(*part, None), document(*part, "x")) for part in others[:300])
    finally:
        RULES.reset(token)


def vm(inside: str = "", top: str = "") -> str:
    return f"<domain type='kvm'><name>a</name>{top}<devices>{inside}</devices></domain>"


SOURCE = "<source file='/a.img'/><target dev='vda' bus='virtio'/>"
DISK = f"<disk type='file' device='disk'><driver name='qemu' type='raw'/>{SOURCE}"
NIC = "<interface type='network'><mac address='52:54:00:00:00:01'/><source network='default'/>"
UNIX = "<serial type='unix'><source mode='bind' path='/run/a'/></serial>"
LOCKED = "<graphics type='vnc' passwd='a'/>"
#: What passed when the policy listed what is bad: (before, after), as inside of devices or a whole VM.
PASSED = {
    "graphics xauth": ("", "<graphics type='vnc' xauth='/root/.Xauthority'/>"),
    "spice address": ("", "<graphics type='dbus' address='unix:path=/run/x'/>"),
    "audio runtimeDir": ("", "<audio id='1' type='none' runtimeDir='/run/user/0'/>"),
    "audio device": ("", "<audio id='1' type='oss'><input dev='/dev/dsp'/></audio>"),
    "audio server": ("", "<audio id='1' type='pulseaudio' serverName='tcp:1.2.3.4'/>"),
    "nmdm": ("", "<serial type='nmdm'><source master='/dev/nmdm0A' slave='/dev/nmdm0B'/></serial>"),
    "shmem": ("", "<shmem name='of-another'><model type='ivshmem-plain'/></shmem>"),
    "tap of the host": (f"{NIC}</interface>", f"{NIC}<target dev='eth0' managed='no'/></interface>"),
    "smartcard": ("", "<smartcard mode='host'/>"),
    "lun": (f"{DISK}</disk>", f"{DISK}</disk>".replace("device='disk'", "device='lun' rawio='yes' sgio='unfiltered'")),
    "rawio": (f"{DISK}</disk>", f"{DISK}</disk>".replace("device='disk'", "device='disk' rawio='yes'")),
    "egd": ("", "<rng model='virtio'><backend model='egd' type='tcp'><source mode='connect' host='127.0.0.1' service='22'/></backend></rng>"),
    "tcp serial": ("", "<serial type='tcp'><source mode='connect' host='127.0.0.1' service='22'/></serial>"),
    "tcp redirdev": ("", "<redirdev bus='usb' type='tcp'><source mode='connect' host='127.0.0.1' service='22'/></redirdev>"),
    "readonly": (f"{DISK}<readonly/></disk>", f"{DISK}</disk>"),
    "filterref": (f"{NIC}<filterref filter='clean-traffic'/></interface>", f"{NIC}</interface>"),
    "accessmode": ("<filesystem accessmode='mapped'><source dir='/a'/><target dir='a'/></filesystem>", "<filesystem accessmode='passthrough'><source dir='/a'/><target dir='a'/></filesystem>"),
    "loader": (vm(top="<os><loader readonly='yes'>/x</loader></os>"), vm(top="<os><loader readonly='no'>/x</loader></os>")),
    "loader without readonly": (vm(top="<os><loader readonly='yes'>/x</loader></os>"), vm(top="<os><loader>/x</loader></os>")),
    "qcow2": (f"{DISK}</disk>", f"{DISK}</disk>".replace("raw", "qcow2")),
    "qcow2 where nothing was said": (f"<disk type='file'>{SOURCE}</disk>", f"<disk type='file'><driver name='qemu' type='qcow2'/>{SOURCE}</disk>"),
    "transient": (f"{DISK}<transient/></disk>", f"{DISK}</disk>"),
    "shareable": (f"{DISK}</disk>", f"{DISK}<shareable/></disk>"),
    "moved path": (vm("<memory model='nvdimm'><source><path>/b</path></source></memory>", "<blkiotune><device><path>/dev/sda</path></device></blkiotune>"), vm("<memory model='nvdimm'><source><path>/dev/sda</path></source></memory>", "<blkiotune><device><path>/b</path></device></blkiotune>")),
    "swapped sources": (f"{DISK}</disk>{DISK.replace('a.img', 'b.img').replace('vda', 'vdb')}</disk>", f"{DISK.replace('a.img', 'b.img')}</disk>{DISK.replace('vda', 'vdb')}</disk>"),
    "rbd": ("<disk type='network'><source protocol='rbd' name='mine/a'/></disk>", "<disk type='network'><source protocol='rbd' name='theirs/a'/></disk>"),
    "secret": ("<disk type='network'><auth username='a'><secret type='ceph' uuid='1'/></auth></disk>", "<disk type='network'><auth username='a'><secret type='ceph' uuid='2'/></auth></disk>"),
    "backing store": (f"{DISK}</disk>", f"{DISK}<backingStore type='network'><format type='raw'/><source protocol='nbd' name='x'><host name='1.2.3.4'/></source></backingStore></disk>"),
    "deeper backing store": (f"{DISK}</disk>", f"{DISK}<backingStore type='file'><backingStore type='file'><source file='/b'/></backingStore></backingStore></disk>"),
    "name": (vm(), vm().replace("<name>a", "<name>b")),
    "uuid": (vm(), vm(top="<uuid>1</uuid>")),
    "lxc capabilities": (vm(), vm(top="<features><capabilities policy='allow'><mknod state='on'/></capabilities></features>")),
    "domain type": (vm(), vm().replace("kvm", "qemu")),
    "no filter of the network": (f"{NIC}</interface>", f"{NIC}</interface>".replace("network='default'", "network='admin'")),
    "core dump": (vm(), vm(top="<on_crash>coredump-restart</on_crash>")),
    "watchdog dump": ("", "<watchdog model='itco' action='dump'/>"),
    "host serial numbers": (vm(), vm(top="<os><smbios mode='host'/></os>")),
    "alias": (f"{DISK}</disk>", f"{DISK}<alias name='ua-other'/></disk>"),
    "metadata of others": (vm(), vm(top="<metadata><x:a xmlns:x='http://example.com/x'/></metadata>")),
    "password": ("<graphics type='vnc' passwd='a'/>", "<graphics type='vnc'/>"),
    "display for everybody": ("<graphics type='vnc'/>", "<graphics type='vnc' listen='0.0.0.0'/>"),
    "display for everybody, as element": ("<graphics type='vnc'/>", "<graphics type='vnc'><listen type='address' address='0.0.0.0'/></graphics>"),
    "name space inside": ("<rng model='virtio'/>", "<rng model='virtio'><x:y xmlns:x='urn:x' z='1'/></rng>"),
    "another TPM": ("<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>", ""),
    "CID of another VM": ("<vsock model='virtio'><cid auto='yes'/></vsock>", "<vsock model='virtio'><cid auto='no' address='3'/></vsock>"),
    "a console that is no serial port": (UNIX, UNIX + UNIX.replace("serial", "console").replace("</c", "<target type='virtio'/></c")),
    "a console with a label": (UNIX, UNIX + UNIX.replace("serial", "console").replace("</c", "<seclabel model='dac' relabel='no'/></c")),
    "a console with an alias": (UNIX, UNIX + UNIX.replace("serial", "console").replace("</c", "<alias name='ua-x'/></c")),
    "a console with a terminal": (UNIX, UNIX + UNIX.replace("<serial", "<console tty='/dev/sda'").replace("/serial", "/console")),
    "a console with a name space": (UNIX, UNIX + UNIX.replace("serial", "console").replace("</c", "<x:y xmlns:x='urn:x'/></c")),
    "a second display without password": (LOCKED, LOCKED + "<graphics type='spice'/>"),
    "a password for another display": (f"{LOCKED}<graphics type='spice'/>", "<graphics type='vnc'/><graphics type='spice' passwd='a'/>"),
    "an empty password": (LOCKED, "<graphics type='vnc' passwd=''/>"),
    "a name of a disk that means none": (f"{DISK}</disk>", f"{DISK}</disk>".replace("dev='vda'", "dev='disk 0'")),
    "less encryption": (vm(top="<launchSecurity type='sev'><policy>7</policy></launchSecurity>"), vm(top="<launchSecurity type='sev'><policy>0</policy></launchSecurity>")),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(PASSED))
@pytest.mark.parametrize("way", ["there", "back"])
def test_what_once_passed(name: str, way: str) -> None:
    before, after = (text if text.startswith("<domain") else vm(text) for text in PASSED[name])
    if way == "back":
        if name in ONE_WAY:
            pytest.skip("taking it back is harmless")
        before, after = after, before
    assert not allowed(before, after)
    assert allowed(before, before)


#: Devices that may go with all that is guarded in them, and what only protects more.
ONE_WAY = {
    "graphics xauth", "spice address", "audio runtimeDir", "audio device", "audio server", "nmdm", "smartcard",
    "tcp serial", "tcp redirdev", "readonly", "qcow2 where nothing was said", "another TPM", "password",
    "a console that is no serial port", "a console with a label", "a console with an alias", "an empty password",
    "a console with a terminal", "a console with a name space", "a second display without password",
}  # fmt: skip


def test_a_device_that_goes_takes_what_is_guarded_in_it_but_no_other_does() -> None:
    plain, known = "<graphics type='spice'/>", "<graphics type='vnc' passwd='a' listen='1.2.3.4'/>"
    assert allowed(vm(known), vm())
    assert allowed(vm(plain + known), vm(plain))
    assert not allowed(vm(plain + known), vm("<graphics type='vnc'/>"))
    assert not allowed(vm(known), vm(plain))


def test_guarded_things_stay_while_harmless_things_change() -> None:
    disk = f"{DISK}<readonly/></disk>"
    assert allowed(vm(disk), vm(disk.replace("type='raw'", "type='raw' cache='none' io='native'")))
    assert allowed(vm(disk), vm(disk.replace("bus='virtio'", "bus='scsi'")))
    assert allowed(vm(f"{DISK}</disk>"), vm(disk))
    assert allowed(vm(disk), vm(disk.replace("dev='vda' bus='virtio'", "dev='sda' bus='scsi'")))
    assert not allowed(vm(disk), vm(disk.replace("dev='vda' bus='virtio'", "dev='sdb' bus='scsi'")))
    device = "<hostdev mode='subsystem'><source/>{}</hostdev>"
    assert allowed(vm(device.format("")), vm(device.format("<address type='pci'/>")))


@pytest.mark.parametrize("word", ["xpath1.set=./name", "xpath.value=b", "xpath0.delete=./readonly"])
def test_no_xpath_through_virt_xml(word: str) -> None:
    for option in ("--network", "--metadata", "--features", "--disk"):
        with pytest.raises(UsageError, match="is not allowed"):
            list(virt_programs._options([option, word], "x"))


@pytest.mark.parametrize("uri", ["a/address/b", "address", "x/../address", "a/devices/rng"])
def test_a_name_space_is_no_path(uri: str) -> None:
    inside = f"<x:address xmlns:x='{uri}' a='1'/>"
    assert not allowed(vm(DISK + "</disk>"), vm(DISK + inside + "</disk>"))
    assert not allowed(vm(), vm(inside))
    assert not allowed(vm(), vm(top=inside))


def test_a_policy_opens_paths() -> None:
    before, after = vm(f"{DISK}</disk>"), vm(f"{DISK}</disk>".replace("raw", "qcow2"))
    for opened, good in (
        (("devices/disk/driver/@type",), True),
        (("devices/disk/driver",), True),
        (("devices/disk",), True),
        (("devices/disk/source",), False),
    ):
        token = RULES.set(Rules(opened=opened))
        try:
            assert allowed(before, after) == good, opened
        finally:
            RULES.reset(token)


def test_units_are_compared_in_linear_time() -> None:
    import time

    many = "".join(DISK.replace("vda", f"vd{number}") + "</disk>" for number in range(5000))
    began = time.process_time()
    check(vm(many), vm(many.replace("type='raw'", "type='raw' cache='none'")))
    assert time.process_time() - began < 5
    assert policy.RULES.get() is policy.EVERYBODY


# --- shipped profiles --------------------------------------------------------------------------

#: Those that need the host's own things, by the kinds that open them.
OF_THE_HOST = {
    "gpu-passthrough": "hostdev",
    "usb-device": "hostdev",
    "networking-nfv": "network",
    "virtiofs-share": "host-paths",
    "looking-glass": "host-paths",
    "windows-virtio-prepare": "host-paths network",
}
VMS = sorted((Path(__file__).parent / "data" / "vms").glob("*.xml"))


@pytest.mark.parametrize("name", sorted(library.profiles()))
def test_shipped_profiles_work_through_the_service(name: str) -> None:
    if name == "mirror-topology":
        pytest.skip("it asks for a host with a topology")
    count = refused = 0
    for file in VMS:
        text = file.read_text()
        try:
            result = virtProfile.apply(
                text, [library.wish(name)], store=library.store(), context=library.context()
            )
        except virtProfile.ProfileError as wrong:
            if "No module named" in str(wrong):
                pytest.skip(f"virtinst cannot be imported: {wrong.message}")
            continue  # it does not fit that VM
        count += 1
        if not allowed(result.input, result.xml):
            refused += 1
            assert name in OF_THE_HOST, file.name
        token = RULES.set(Rules(may=frozenset(OF_THE_HOST.get(name, "seclabel").split())))
        try:
            assert allowed(result.input, result.xml), file.name
        finally:
            RULES.reset(token)
    assert count and bool(refused) == (name in OF_THE_HOST)


def test_a_console_that_is_the_first_serial_port() -> None:
    serial = "<serial type='unix'><source mode='bind' path='/run/a'/></serial>"
    assert allowed(vm(serial), vm(serial + serial.replace("serial", "console")))
    assert not allowed(vm(serial), vm(serial + serial.replace("serial", "console").replace("/a", "/b")))
    assert not allowed(vm(serial), vm(serial + 2 * serial.replace("serial", "console")))
    assert not allowed(vm(), vm(serial.replace("serial", "console")))
