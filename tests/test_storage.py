# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks that profiles add with a size: what the engine says of them, and who makes their storage."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_overlay import PLACES
from test_virtinstall import PYTHON, TOP, version

import virtProfile
from virtProfile import ProfileStore
from virtProfile.cli.main import runcli
from virtProfile.errors import CompletionError, ConflictError, ProfileError
from virtProfile.redaction import veil_result
from virtProfile.show.json_result import result_of

HERE = Path(__file__).parent
GIB = 1024**3
VM = """<domain type='test'><name>vp-store</name><memory>65536</memory><os><type>hvm</type></os><devices>
  <disk><source file='/own.img'/><target dev='vda' bus='virtio'/></disk>
</devices></domain>"""


def disk(size: str, words: str = "", inner: str = "<source file='/default-pool/d.img'/>") -> str:
    return f"<disk {words} virtuned:size='{size}'>{inner}<target dev='vdb' bus='virtio'/></disk>"


def profile(name: str, devices: str, more: str = "", action: str = "add") -> str:
    return (
        f"<profile name='{name}' version='1' xmlns:virtuned='http://virt-manager.org/schemas/virtuned/0.1'>"
        f"<title>t</title>{more}<{action}><devices>{devices}</devices></{action}></profile>"
    )


@pytest.fixture
def store(tmp_path: Path) -> Callable[..., ProfileStore]:
    def make(**texts: str) -> ProfileStore:
        for name, text in texts.items():
            (tmp_path / f"{name}.xml").write_text(text)
        return ProfileStore([tmp_path])

    return make


def apply(store: ProfileStore, *names: Any, xml: str = VM, **more: Any) -> Any:
    return virtProfile.apply(xml, names, store=store, **more)


# --- what is said ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "size"),
    [
        ("20 GiB", 20 * GIB),
        ("20G", 20 * GIB),
        ("1048576", GIB),
        ("1.5 GiB", 3 * GIB // 2),
        ("1 GB", -(-(10**9) // 1024) * 1024),
    ],
)
def test_sizes(said: str, size: int, store: Callable[..., ProfileStore]) -> None:
    [one] = apply(store(p=profile("p", disk(said))), "p").storage
    assert (one.size, one.format, one.source) == (size, None, "/default-pool/d.img")
    assert one.path == "/domain/devices/disk[target/@dev='vdb']"
    assert [str(origin) for origin in one.origins]


def test_it_is_in_no_domain_and_asked_for_once(store: Callable[..., ProfileStore]) -> None:
    profiles = store(p=profile("p", disk("{$size}"), "<param name='size' type='size' default='2 GiB'/>"))
    result = apply(profiles, {"name": "p", "params": {"size": "3 GiB"}})
    assert "virtuned:size" not in result.xml
    assert [one.size for one in result.storage] == [3 * GIB]
    again = apply(profiles, xml=result.xml)
    assert again.applied and not again.storage
    larger = apply(profiles, {"name": "p", "params": {"size": "4 GiB"}}, xml=result.xml)
    assert not larger.changed and not larger.storage


def test_the_vms_own_disk_has_its_storage(store: Callable[..., ProfileStore]) -> None:
    own = disk("1 GiB").replace("vdb", "vda").replace("/default-pool/d.img", "/own.img")
    result = apply(store(p=profile("p", own)), "p")
    assert not result.changed and not result.storage


def test_another_profile_says_the_size(store: Callable[..., ProfileStore]) -> None:
    made = "<disk type='volume'><driver type='qcow2'/><source pool='a' volume='b'/><target dev='vdb' bus='virtio'/></disk>"
    profiles = store(a=profile("a", made), b=profile("b", disk("1 GiB", inner="")))
    [one] = apply(profiles, "a", "b").storage
    assert (one.pool, one.volume, one.source, one.format) == ("a", "b", None, "qcow2")
    assert one.place == "b in pool a"
    assert [origin.profile for origin in one.origins] == ["b"]


def test_two_sizes(store: Callable[..., ProfileStore]) -> None:
    profiles = store(
        a=profile("a", disk("1 GiB")), b=profile("b", disk("2 GiB")), same=profile("same", disk("1024 MiB"))
    )
    [one] = apply(profiles, "a", "same").storage
    assert [origin.profile for origin in one.origins] == ["a", "same"]
    with pytest.raises(ConflictError) as raised:
        apply(profiles, "a", "b")
    [conflict] = raised.value.conflicts
    assert conflict.path == "/domain/devices/disk[target/@dev='vdb']/@virtuned:size"
    assert {side.value for side in conflict.values} == {"1 GiB", "2 GiB"}
    result = apply(profiles, "a", {"name": "b", "priority": 1})
    assert [one.size for one in result.storage] == [2 * GIB]
    [lost] = result.overridden
    assert (lost.wanted, lost.has, lost.loser.profile) == ("1 GiB", "2 GiB", "a")


@pytest.mark.parametrize(
    ("devices", "action", "fact"),
    [
        (disk("much"), "add", "size='much' on 'devices/disk' is not a size"),
        (disk("0"), "add", "size='0' on 'devices/disk' is not a size"),
        (disk("-1 GiB"), "add", "is not a size"),
        ("<rng model='virtio' virtuned:size='1'/>", "add", "size on 'devices/rng': it is the size of a new disk"),
        ("<disk virtuned:seize='1'/>", "add", "unknown intent 'seize'"),
        (disk("1"), "default", "'size' on <disk> in <default>: it asks for storage"),
        (disk("1"), "remove", "'size' on <disk> in <remove>: it asks for storage"),
    ],
)  # fmt: skip
def test_wrong_in_the_profile(
    devices: str, action: str, fact: str, store: Callable[..., ProfileStore], tmp_path: Path
) -> None:
    profiles = store(p=profile("p", devices, action=action))
    with pytest.raises(ProfileError, match=fact.replace("(", r"\(")) as raised:
        apply(profiles, "p")
    assert raised.value.code == "syntax"
    out = io.BytesIO()
    assert runcli(["--lint", str(tmp_path / "p.xml")], stdout=out, stderr=io.StringIO(), environ={}) == 1
    assert fact in out.getvalue().decode()


def test_a_bad_param(store: Callable[..., ProfileStore]) -> None:
    more = "<param name='size' type='string' default='much'/>"
    with pytest.raises(ProfileError, match="size='much'"):
        apply(store(p=profile("p", disk("{$size}"), more)), "p")


@pytest.mark.parametrize(
    ("words", "inner", "fact"),
    [
        ("device='cdrom'", "<source file='/x'/>", "of 1 GiB can be made for disk vdb: it is a cdrom"),
        ("type='network'", "<source protocol='nbd' name='x'><host name='h'/></source>", "it is of type 'network'"),
        ("type='volume'", "<source volume='v'/>", "can be made for disk vdb: its source has no pool"),
        ("", "", "disk vdb of profile 'p' cannot work: .*requires a path"),
    ],
)  # fmt: skip
def test_no_storage_for_that(words: str, inner: str, fact: str, store: Callable[..., ProfileStore]) -> None:
    device = disk("1 GiB", words, inner)
    if "cdrom" in words:
        device = device.replace("bus='virtio'", "bus='scsi'")
    with pytest.raises(CompletionError, match=fact) as raised:
        apply(store(p=profile("p", device)), "p")
    if not inner:
        assert raised.value.hint == "write a <source>: only virt-install --profile chooses one by itself"
    assert "p.xml:1" in raised.value.where


def test_documents_have_it(store: Callable[..., ProfileStore]) -> None:
    result = apply(store(p=profile("p", disk("1 GiB"))), "p")
    document = json.loads(json.dumps(result.to_dict()))
    assert document["storage"][0]["size"] == GIB
    assert result_of(document, VM).storage == result.storage
    plain = apply(
        store(q=profile("q", "<rng model='virtio'><backend model='random'>/dev/random</backend></rng>")), "q"
    )
    assert "storage" not in plain.to_dict()


def test_a_secret_place_is_not_shown(store: Callable[..., ProfileStore], tmp_path: Path) -> None:
    inner = "<source file='/default-pool/{$name}'/>"
    profiles = store(p=profile("p", disk("1 GiB", inner=inner), "<param name='name' secret='yes'/>"))
    result = apply(profiles, {"name": "p", "params": {"name": "hush-hush"}})
    assert result.storage[0].source == "/default-pool/hush-hush"
    assert "hush" not in str(veil_result(result).storage[0].to_dict())


# --- who makes it ------------------------------------------------------------------


@pytest.fixture
def driver() -> Any:
    libvirt = pytest.importorskip("libvirt")
    connection = libvirt.open("test:///default")  # all connections of a process share it
    yield connection
    connection.close()


def call(tmp_path: Path, *words: str) -> tuple[int, str, str]:
    out, err = io.BytesIO(), io.StringIO()
    argv = ["--profile-dir", str(tmp_path), *words]
    status = runcli(argv, stdout=out, stderr=err, environ={})
    return status, out.getvalue().decode(), err.getvalue()


def volumes(driver: Any) -> set[str]:
    return set(driver.storagePoolLookupByName("default-pool").listVolumes())


def test_define_makes_it(store: Callable[..., ProfileStore], tmp_path: Path, driver: Any) -> None:
    device = disk("2 GiB", inner="<driver type='qcow2'/><source file='/default-pool/d.img'/>")
    store(p=profile("p", device))
    (tmp_path / "vm.txt").write_text(VM)
    words = ["--connect", "test:///default", "--input", str(tmp_path / "vm.txt"), "--profile", "p"]
    status, _, told = call(tmp_path, *words, "--print-xml")
    assert status == 0, told
    assert (
        "p.xml:1): the storage is not created, as nothing is defined: /default-pool/d.img, 2 GiB, qcow2"
        in told
    )
    assert volumes(driver) == set()
    status, _, told = call(tmp_path, *words, "--define")
    assert status == 0, told
    first, second = told.splitlines()[:2]
    assert first == "storage: create /default-pool/d.img, 2 GiB, qcow2"
    assert second == "storage: created /default-pool/d.img, 2 GiB, qcow2"
    volume = driver.storageVolLookupByPath("/default-pool/d.img")
    assert volume.info()[1] == 2 * GIB and "<format type='qcow2'/>" in volume.XMLDesc(0)
    # What there is stays as it is.
    driver.lookupByName("vp-store").undefine()
    status, _, told = call(tmp_path, *words, "--define")
    assert status == 0 and "storage" not in told
    volume.delete()
    driver.lookupByName("vp-store").undefine()


def test_two_disks_share_it(store: Callable[..., ProfileStore], tmp_path: Path, driver: Any) -> None:
    inner = "<source file='/default-pool/d.img'/><shareable/>"
    store(p=profile("p", disk("1 GiB", inner=inner) + disk("1 GiB", inner=inner).replace("vdb", "vdc")))
    (tmp_path / "vm.txt").write_text(VM)
    words = [
        "--connect",
        "test:///default",
        "--input",
        str(tmp_path / "vm.txt"),
        "--profile",
        "p",
        "--define",
    ]
    status, _, told = call(tmp_path, *words)
    assert status == 0, told
    assert told.count("storage: created") == 1
    driver.storageVolLookupByPath("/default-pool/d.img").delete()
    driver.lookupByName("vp-store").undefine()


def test_a_refused_domain_takes_it_along(
    store: Callable[..., ProfileStore], tmp_path: Path, driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from virtProfile.errors import LibvirtError
    from virtProfile.live.connection import Connection

    there: list[set[str]] = []

    def refuse(self: Any, xml: str) -> Any:
        there.append(volumes(driver))
        raise LibvirtError("libvirt: no")

    monkeypatch.setattr(Connection, "define", refuse)
    volume = "<disk type='volume' virtuned:size='1 GiB'><source pool='default-pool' volume='v'/><target dev='vdc' bus='virtio'/></disk>"
    store(p=profile("p", disk("2 GiB") + volume))
    status, _, told = call(tmp_path, "--connect", "test:///default", "test", "--profile", "p", "--define")
    assert status == 1 and "libvirt: no" in told
    assert there == [{"d.img", "v"}]
    assert volumes(driver) == set()


def test_all_that_cannot_be_made_is_told_before(
    store: Callable[..., ProfileStore], tmp_path: Path, driver: Any
) -> None:
    devices = disk("1 GiB", inner="<source file='/nowhere/a b.img'/>") + (
        "<disk type='volume' virtuned:size='1 GiB'><source pool='none' volume='v'/><target dev='vdc' bus='virtio'/></disk>"
        "<disk virtuned:size='1 GiB'><source file='/default-pool/good.img'/><target dev='vdd' bus='virtio'/></disk>"
    )
    store(p=profile("p", devices))
    before = driver.lookupByName("test").XMLDesc(0)
    status, _, told = call(tmp_path, "--connect", "test:///default", "test", "--profile", "p", "--define")
    assert status == 1
    assert "no storage can be created at '/nowhere/a b.img': no active storage pool has its directory" in told
    assert "'qemu-img create -f raw '/nowhere/a b.img' 1073741824' makes it" in told
    assert "no storage pool with matching name 'none'" in told
    assert volumes(driver) == set() and driver.lookupByName("test").XMLDesc(0) == before


@pytest.mark.parametrize(("word", "status"), [("", 1), ("<shareable/>", 0)])
@pytest.mark.parametrize("kind", ["file", "volume"])
def test_the_disk_of_another_domain(
    kind: str, word: str, status: int, store: Callable[..., ProfileStore], tmp_path: Path, driver: Any
) -> None:
    store(p=profile("p", disk("1 GiB").replace("</disk>", f"{word}</disk>")))
    (tmp_path / "vm.txt").write_text(VM)
    connect = ["--connect", "test:///default"]
    done = call(tmp_path, *connect, "--input", str(tmp_path / "vm.txt"), "--profile", "p", "--define")
    assert done[0] == 0, done[2]
    before = driver.lookupByName("test").XMLDesc(2)
    if kind == "volume":
        device = disk("1 GiB", "type='volume'", "<source pool='default-pool' volume='d.img'/>")
        store(p=profile("p", device.replace("</disk>", f"{word}</disk>")))
    found, _, told = call(tmp_path, *connect, "test", "--profile", "p", "--define")
    assert found == status, told
    assert volumes(driver) == {"d.img"}
    if status:
        place = "/default-pool/d.img" if kind == "file" else "d.img in pool default-pool"
        assert f"p.xml:1: {place} exists and is a disk of 'vp-store'" in told
        assert driver.lookupByName("test").XMLDesc(2) == before
    driver.lookupByName("vp-store").undefine()
    driver.lookupByName("test").destroy()
    driver.defineXML(before).create()
    driver.storageVolLookupByPath("/default-pool/d.img").delete()


LOGICAL = """<pool type='logical'><name>vp-group</name><capacity>107374182400</capacity>
<source><name>vp-group</name></source><target><path>/dev/vp-group</path></target></pool>"""


@pytest.mark.parametrize(("kind", "status"), [("qcow2", 1), ("raw", 0)])
def test_a_pool_without_formats(
    kind: str, status: int, store: Callable[..., ProfileStore], tmp_path: Path, driver: Any
) -> None:
    pool = driver.storagePoolCreateXML(LOGICAL)
    inner = f"<driver name='qemu' type='{kind}'/><source dev='/dev/vp-group/data'/>"
    store(p=profile("p", disk("1 GiB", "type='block'", inner)))
    (tmp_path / "vm.txt").write_text(VM)
    words = [
        "--connect",
        "test:///default",
        "--input",
        str(tmp_path / "vm.txt"),
        "--profile",
        "p",
        "--define",
    ]
    found, _, told = call(tmp_path, *words)
    made = pool.listVolumes()
    pool.destroy()
    assert found == status, told
    if status:
        assert "no storage of format qcow2 can be created as /dev/vp-group/data: its pool has none" in told
        assert made == []
    else:
        assert made == ["data"]
        driver.lookupByName("vp-store").undefine()


def test_a_device_to_attach_gets_none(store: Callable[..., ProfileStore], tmp_path: Path) -> None:
    store(p=profile("p", disk("1 GiB")))
    (tmp_path / "device.txt").write_text(
        disk("1 GiB").replace(" virt", " xmlns:virtuned='http://virt-manager.org/schemas/virtuned/0.1' virt")
    )
    (tmp_path / "vm.txt").write_text(VM)
    done = call(tmp_path, "--input", str(tmp_path / "vm.txt"), "--device", str(tmp_path / "device.txt"))
    assert done[0] == 1 and "device.txt:1: size on <disk>: no storage is created for a device" in done[2]


OBJECTS = """
import sys
import virtinst
from virtinst import cli
from virtProfile import ProfileStore

conn = cli.getConnection("test:///default")
guest = virtinst.Guest(conn, parsexml=sys.argv[2])
before = guest.devices.disk[0]
virtinst.apply_profiles(guest, ["p"], store=ProfileStore([sys.argv[1]]))
own, new = guest.devices.disk
assert own is before and not own._storage_backend.will_create_storage()
assert new._storage_backend.will_create_storage() and new.get_size() == 2.0, new.get_size()
print(new.get_xml())
new.build_storage(None)
pool = conn.storagePoolLookupByName("default-pool")
print(pool.listVolumes(), pool.storageVolLookupByName(pool.listVolumes()[0]).XMLDesc(0))
again = virtinst.Guest(conn, parsexml=guest.get_xml())
virtinst.apply_profiles(again, [], store=ProfileStore([sys.argv[1]]))
assert not any(one._storage_backend.will_create_storage() for one in again.devices.disk)
"""


@pytest.mark.parametrize("place", PLACES, ids=version)
@pytest.mark.parametrize(
    "source", ["<source file='/default-pool/d.img'/>", "<source pool='default-pool' volume='d.img'/>"]
)
def test_on_objects(source: str, place: Path, store: Callable[..., ProfileStore], tmp_path: Path) -> None:
    words = "type='volume'" if "pool=" in source else ""
    store(p=profile("p", disk("2 GiB", words, f"<driver type='qcow2'/>{source}")))
    done = subprocess.run(
        [PYTHON, "-c", OBJECTS, str(tmp_path), VM],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(TOP), "VIRT_PROFILE_VIRTINST": str(place), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    assert source.replace("'", '"') in done.stdout
    assert "['d.img']" in done.stdout and "<format type='qcow2'/>" in done.stdout


def test_virt_xml_makes_it(store: Callable[..., ProfileStore], tmp_path: Path) -> None:
    store(p=profile("p", disk("2 GiB")))
    environ = {"PYTHONPATH": str(TOP), "PATH": "/usr/bin:/bin", "VIRT_PROFILE_PATH": str(tmp_path)}
    command = [
        PYTHON,
        str(TOP / "virt-xml"),
        "--connect",
        "test:///default",
        "test",
        "--edit",
        "--profile",
        "p",
    ]
    done = subprocess.run([*command, "--define"], capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stderr
    assert "Allocating 'd.img'" in done.stdout and "defined successfully" in done.stdout
    done = subprocess.run([*command, "--print-diff"], capture_output=True, text=True, env=environ)
    assert done.returncode == 0 and "Allocating" not in done.stdout


#: A connection of the test driver: somebody's disk, and pools that are no directory.
NODE = """<node>
<domain type='test'><name>other</name><memory>65536</memory><os><type>hvm</type></os><devices>
  <disk><source file='/default-pool/used.img'/><target dev='vda' bus='virtio'/></disk></devices></domain>
<domain type='test'><name>test</name><memory>65536</memory><os><type>hvm</type></os></domain>
<pool type='dir'><name>default-pool</name><capacity>10737418240</capacity><target><path>/default-pool</path></target>
  <volume><name>used.img</name><capacity>1000000</capacity><target><path>/default-pool/used.img</path></target></volume></pool>
<pool type='logical'><name>group</name><capacity>10737418240</capacity><source><name>group</name></source>
  <target><path>/dev/group</path></target></pool>
<pool type='rbd'><name>ceph</name><capacity>10737418240</capacity><source><name>images</name><host name='h'/></source></pool>
</node>"""
TARGET = "<target dev='vdb' bus='virtio'/>"
ON_OBJECTS = """
import sys
import virtinst
from virtinst import cli
from virtProfile import ProfileError, ProfileStore

conn = cli.getConnection(sys.argv[2])
guest = virtinst.Guest(conn, parsexml="<domain type='test'><name>g</name><memory>65536</memory><os><type>hvm</type></os></domain>")
before = guest.get_xml()
try:
    virtinst.apply_profiles(guest, ["p"], store=ProfileStore([sys.argv[1]]))
except ProfileError as problem:
    print(problem)
    assert guest.get_xml() == before
else:
    [disk] = guest.devices.disk
    if disk.get_vol_install():
        disk.build_storage(None)
        print("allocated", disk.get_vol_object().info()[2], disk.get_vol_object().info()[1])
    print(guest.get_xml())
"""


@pytest.mark.parametrize("place", PLACES, ids=version)
@pytest.mark.parametrize(
    ("device", "told"),
    [
        (f"<disk type='block' virtuned:size='1 GiB'><source dev='/dev/group/a'/>{TARGET}</disk>", f"allocated {GIB} {GIB}"),
        (f"<disk virtuned:size='1 GiB'><source file='/dev/group/a'/>{TARGET}</disk>", '<source file="/dev/group/a"/>'),
        (
            f"<disk type='block' virtuned:size='1 GiB'><driver type='qcow2'/><source dev='/dev/group/a'/>{TARGET}</disk>",
            "no storage can be made for disk vdb: its pool has no volumes of format qcow2",
        ),
        (f"<disk type='block' virtuned:size='101 GiB'><source dev='/dev/group/a'/>{TARGET}</disk>", "There is not enough free space"),
        (f"<disk type='volume' virtuned:size='1 GiB'><source pool='ceph' volume='a'/>{TARGET}</disk>", '<source pool="ceph" volume="a"/>'),
        (f"<disk virtuned:size='1 GiB'><source file='/default-pool/used.img'/>{TARGET}</disk>", "used.img exists and is a disk of 'other'"),
        (
            f"<disk type='volume' virtuned:size='1 GiB'><source pool='default-pool' volume='used.img'/>{TARGET}</disk>",
            "used.img exists and is a disk of 'other'",
        ),
    ],
)  # fmt: skip
def test_kinds_of_pools_on_objects(
    device: str, told: str, place: Path, store: Callable[..., ProfileStore], tmp_path: Path
) -> None:
    store(p=profile("p", device))
    (tmp_path / "node.txt").write_text(NODE)
    done = subprocess.run(
        [PYTHON, "-c", ON_OBJECTS, str(tmp_path), f"test://{tmp_path}/node.txt"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(TOP), "VIRT_PROFILE_VIRTINST": str(place), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    assert told in done.stdout
    assert 'type="network"' not in done.stdout


@pytest.mark.parametrize("place", PLACES, ids=version)
@pytest.mark.parametrize(
    ("words", "capacity", "told"),
    [
        ("--osinfo fedora37 --profile p", 2, "p.xml:1): 2 GiB for disk vdb"),
        ("--osinfo none --disk size=1 --profile p", 1, "2 GiB for disk vdb is not used: the disk is told with --disk"),
        ("--osinfo none --disk size=1 --profile p,priority=100", 2, "p.xml:1): 2 GiB for disk vdb"),
    ],
)  # fmt: skip
def test_the_size_of_virt_installs_own_disk(
    words: str, capacity: int, told: str, place: Path, store: Callable[..., ProfileStore], tmp_path: Path
) -> None:
    store(p=profile("p", disk("2 GiB", inner="")))
    common = "--connect test:///default --name vp-new --memory 256 --import --noautoconsole --debug"
    done = subprocess.run(
        [PYTHON, str(TOP / "virt-install"), *common.split(), *words.split()],
        capture_output=True,
        text=True,
        env={
            "VIRT_PROFILE_VIRTINST": str(place),
            "PATH": "/usr/bin:/bin",
            "VIRT_PROFILE_PATH": str(tmp_path),
            "HOME": str(tmp_path),
        },
    )
    assert done.returncode == 0, done.stderr
    made = done.stderr.partition("Creating storage volume")[2]
    assert f"<capacity>{capacity * GIB}</capacity>" in made.partition("</volume>")[0]
    assert told in done.stderr


@pytest.mark.slow
def test_real_guests(beside_a_daemon: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [*beside_a_daemon, sys.executable, str(HERE / "storing.py"), str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    update, again, half = told["update"], told["again"], told["half"]
    assert (update["status"], update["disks"], update["files"]) == (0, [1, 1], ["data.qcow2"]), update
    assert update["told"].index("storage: created") < update["told"].index("live: attach disk vdb: done")
    assert (told["image"]["format"], told["image"]["virtual-size"]) == ("qcow2", 8 * 1024**2)
    assert (again["status"], again["disks"], again["files"]) == (0, [1, 1], ["data.qcow2"]), again
    # A guest that has not booted does not let go of what was attached: then its storage stays too.
    assert (half["status"], half["disks"], half["files"]) == (1, [2, 1], ["data.qcow2", "half.qcow2"]), half
    assert "half.qcow2, 8 MiB, qcow2 (the running domain has it)" in half["told"]
    fleet = told["fleet"]
    assert fleet["status"] == 1 and fleet["files"].count("one.qcow2") == 1, fleet
    assert fleet["out"].count("one.qcow2 exists and is a disk of 'vp-e-fleet") == 2, fleet
    assert "1 defined, 3 failed" in fleet["told"], fleet  # the running one has another disk of that name
    new = told["install"]
    assert new["status"] == 0 and new["active"], new["told"]
    assert "Allocating 'vp-e-new.qcow2'" in new["told"] and new["info"][0] == 16 * 1024**2
    assert "<driver name='qemu' type='qcow2' discard='unmap'/>" in new["xml"]
