# SPDX-License-Identifier: GPL-2.0-or-later
"""Running VMs: the plan of ``--update``, what it does to QEMU, and ``--device``'s list."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import strategies
from lxml import etree

import virtProfile
from virtProfile.errors import CompletionError, InvalidDomainError, LibvirtError
from virtProfile.language.store import OverlayStore
from virtProfile.live.hotplug import (
    DEVICE_PROFILE,
    device_profile,
    pluggable,
    to_attach,
    updatable,
)
from virtProfile.live.update import Live
from virtProfile.live.update_plan import as_live, marked, plan

DATA = Path(__file__).parent / "data" / "update"
NIC = (
    "<interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/>{}<alias name='net0'/>"
    "<address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></interface>"
)
AGENT = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"


def vm(*devices: str, ports: int = 4, top: str = "") -> str:
    """A running q35 VM as libvirt shows it."""
    buses = "<controller type='pci' index='0' model='pcie-root'><alias name='pcie.0'/></controller>"
    for number in range(1, ports + 1):
        buses += (
            f"<controller type='pci' index='{number}' model='pcie-root-port'><alias name='pci.{number}'/>"
            f"<address type='pci' domain='0x0000' bus='0x00' slot='0x{number:02x}' function='0x0'/></controller>"
        )
    return (
        "<domain type='qemu'><name>vm</name><uuid>6695eb01-f6a4-8304-79aa-97f2502e193f</uuid><memory>65536</memory>"
        f"{top}<vcpu>1</vcpu><os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>"
        f"<devices>{buses}{''.join(devices)}</devices></domain>"
    )


def make(xml: str, *actions: str, definition: str | None = None) -> Any:
    """The plan for a VM whose definition is its running XML, or `definition`."""
    texts = [f"<profile name='p{number}' version='1'>{one}</profile>" for number, one in enumerate(actions)]
    store: Any = strategies.MemoryStore(texts)
    wishes = [{"name": name, "priority": 100} for name in store.profiles]
    live = virtProfile.apply(marked(xml), wishes, store=store)
    defined = virtProfile.apply(definition or xml, wishes, store=store)
    return plan(live, defined, "q35")


def add(device: str) -> str:
    return f"<add><devices>{device}</devices></add>"


def disk(name: str) -> str:
    return (
        f"<disk type='file' device='disk'><source file='/x/{name}'/><target dev='{name}' bus='scsi'/></disk>"
    )


def test_controllers_come_first_and_get_ports() -> None:
    made = make(
        vm(NIC.format("")),
        add(disk("sda")),
        add("<interface type='user'><mac address='52:54:00:00:00:02'/><model type='virtio'/></interface>"),
    )
    assert [str(one) for one in made.steps] == [
        "attach controller scsi 0",
        "attach disk sda",
        "attach interface user",
    ]
    buses = [etree.fromstring(one.xml).find("address[@type='pci']") for one in made.steps]
    assert [None if one is None else one.get("bus") for one in buses] == ["0x02", None, "0x03"]
    assert not made.later and not made.hardware
    assert {key for key, _, _ in made.metadata} == {"virtuned", "vr"}
    assert all("xmlns" not in (element or "") for _, _, element in made.metadata)


def test_what_has_no_port_waits_with_what_sits_on_it() -> None:
    made = make(vm(NIC.format(""), ports=1), add(disk("sda")), add(AGENT))
    assert not made.steps
    assert any("controller scsi 0 comes: no PCI slot" in one for one in made.later)
    assert "disk sda comes, on a controller that comes then" in made.later


def test_devices_go_before_their_controllers() -> None:
    scsi = "<controller type='scsi' index='0' model='virtio-scsi'><alias name='scsi0'/></controller>"
    sda = disk("sda").replace(
        "</disk>",
        "<alias name='scsi0-0'/><address type='drive' controller='0' bus='0' target='0' unit='0'/></disk>",
    )
    away = "<remove><devices><controller type='scsi'/></devices></remove><remove><devices><disk><target dev='sda'/></disk></devices></remove>"
    made = make(vm(scsi, sda), away)
    assert [(one.kind, one.alias) for one in made.steps] == [("detach", "scsi0-0"), ("detach", "scsi0")]


def test_what_changes_and_what_waits() -> None:
    link = (
        "<add multiple='no'><devices><interface type='user'><link state='down'/></interface></devices></add>"
    )
    made = make(vm(NIC.format("")), link)
    assert [(one.kind, one.name) for one in made.steps] == [("update", "interface user")]
    assert "down" in made.steps[0].xml and "down" not in made.steps[0].before
    model = (
        "<add multiple='no'><devices><interface type='user'><model type='e1000'/></interface></devices></add>"
    )
    made = make(vm(NIC.format("")), model, "<add><cpu mode='host-model'/></add>")
    assert not made.steps
    assert made.later == ("interface user changes", "/domain/cpu/@mode becomes 'host-model'")
    assert any("model" in one for one in made.hardware)
    assert [one.partition(":")[0] for one in made.lines()] == ["at the next boot"] * 2 + [
        "guest-visible hardware"
    ] * len(made.hardware)


def test_the_definition_has_devices_where_they_are() -> None:
    before = vm(NIC.format(""))
    wanted = before.replace(
        "</devices>", "<interface type='user'><model type='virtio'/></interface></devices>"
    )
    there = NIC.format("").replace("net0", "net1").replace("0x01", "0x03").replace(":01'", ":99'")
    made = etree.fromstring(as_live(wanted, before, before.replace("</devices>", there + "</devices>")))
    new = made.findall("devices/interface")[1]
    assert (new.find("mac").get("address"), new.find("address").get("bus")) == ("52:54:00:00:00:99", "0x03")
    assert as_live(before, before, before) is before


def test_what_a_running_vm_takes() -> None:
    def element(text: str) -> Any:
        return etree.fromstring(text)

    assert pluggable(element(disk("sda"))) and pluggable(element(AGENT))
    assert not pluggable(element(disk("sda").replace("scsi", "sata")))
    at = "<hostdev><address type='pci' bus='0x01' slot='0x00' function='{}'{}/></hostdev>"
    assert pluggable(element(at.format("0x0", ""))) and pluggable(element("<hostdev/>"))
    assert not pluggable(element(at.format("0x0", " multifunction='on'")))
    assert not pluggable(element(at.format("0x1", "")))
    assert not pluggable(element("<controller type='virtio-serial'/>")) and not pluggable(element("<video/>"))
    cdrom = "<disk type='file' device='cdrom'><source file='/{}'/><target dev='sda' bus='sata'/></disk>"
    assert updatable(element(cdrom.format("a")), element(cdrom.format("b")))
    assert not updatable(element(disk("sda")), element(disk("sda").replace("/x/", "/y/")))


class Fake:
    """A connection that knows a VM's devices, refuses those it is told to, and writes down what was asked."""

    def __init__(self, refuses: str = "", keeps: str = "") -> None:
        self.devices: dict[str, str] = {}
        self.asked: list[str] = []
        self.refuses, self.keeps = refuses, keeps
        self.alive = True

    def _note(self, what: str, device: str) -> str:
        name = etree.fromstring(device).tag
        self.asked.append(f"{what} {name}")
        if self.refuses == self.asked[-1]:
            raise LibvirtError("refused")
        return str(name)

    def attach(self, _: Any, device: str) -> None:
        self.devices[self._note("attach", device)] = device

    def detach(self, _: Any, device: str) -> None:
        name = self._note("detach", device)
        if name != self.keeps:
            del self.devices[name]

    def update(self, _: Any, device: str) -> None:
        self._note("update", device)

    def live_xml(self, _: Any) -> str:
        inner = "".join(f"<{one}><alias name='{one}'/></{one}>" for one in self.devices)
        return f"<domain><devices>{inner}</devices></domain>"

    def metadata(self, _: Any, uri: str) -> None:
        return None

    def set_metadata(self, _: Any, element: str | None, key: str, uri: str) -> None:
        self.asked.append(f"metadata {key} {'' if element is None else 'set'}".strip())
        if self.refuses == self.asked[-1]:
            raise LibvirtError("refused")


class Silent:
    def note(self, text: str) -> None:
        pass


def carried(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("virtProfile.live.update.PATIENCE", 0.15)
    made = make(
        vm(NIC.format("")), add(disk("sda")), add("<rng model='virtio'><backend model='random'/></rng>")
    )
    work: Any = Live(fake, None, made, Silent())
    return work


def test_a_failure_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(refuses="attach rng")
    with pytest.raises(LibvirtError) as told:
        carried(fake, monkeypatch).carry_out()
    assert fake.asked == [
        "attach controller",
        "attach disk",
        "attach rng",
        "detach disk",
        "detach controller",
    ]
    assert not fake.devices
    assert told.value.message == "attach rng virtio failed: refused"
    assert "the VM is as it was" in told.value.hint


def test_what_is_left_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(refuses="metadata vr set", keeps="controller")
    with pytest.raises(LibvirtError) as told:
        carried(fake, monkeypatch).carry_out()
    assert list(fake.devices) == ["controller"]
    assert "metadata virtuned" in fake.asked  # the list is taken back too
    assert "still live: attach controller scsi 0" in told.value.hint and "disk" not in told.value.hint


def test_a_daemon_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(refuses="attach rng")
    work = carried(fake, monkeypatch)
    fake.alive = False
    with pytest.raises(LibvirtError) as told:
        work.carry_out()
    assert "the connection to libvirt was lost with 2 changes live" in told.value.hint
    assert list(fake.devices) == ["controller", "disk"]  # nothing can be taken back


def test_a_definition_that_fails_takes_the_rest_back(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake()
    work = carried(fake, monkeypatch)
    work.carry_out()
    assert list(fake.devices) == ["controller", "disk", "rng"]
    assert "as it was" in work.take_back(LibvirtError("no")).hint and not fake.devices


# --- --device ------------------------------------------------------------------------


def devices_for(xml: str, text: str, *actions: str, running: bool = True) -> list[Any]:
    texts = [f"<profile name='p{number}' version='1'>{one}</profile>" for number, one in enumerate(actions)]
    store: Any = strategies.MemoryStore(texts)
    wishes: list[Any] = list(store.profiles)
    before = virtProfile.apply(xml, wishes, store=store)
    both = OverlayStore([device_profile(text, "d.xml")], store)
    after = virtProfile.apply(xml, [*wishes, DEVICE_PROFILE], store=both)
    return to_attach(before, after, "q35", running)


def test_devices_in_order_under_the_profiles_defaults() -> None:
    cache = (
        "<default><devices><disk device='disk'><driver name='qemu' cache='none'/></disk></devices></default>"
    )
    found = devices_for(
        vm(NIC.format("")),
        f"<devices>{disk('{a}')}{AGENT}</devices>".replace("dev='{a}'", "dev='sdc'"),
        cache,
    )
    assert [one.tag for one in found] == ["controller", "controller", "disk", "channel"]
    assert found[2].find("driver").get("cache") == "none"
    assert found[2].find("source").get("file") == "/x/{a}"  # no expression
    assert found[2].find("address").get("unit") == "0"
    places = [one.find("address").get("bus") for one in found[:2]]
    assert places == ["0x02", "0x03"]


def test_a_full_vm_is_told() -> None:
    with pytest.raises(CompletionError, match="no PCI slot"):
        devices_for(vm(NIC.format(""), ports=1), "<rng model='virtio'><backend model='random'/></rng>")
    assert devices_for(vm(ports=1), "<rng model='virtio'><backend model='random'/></rng>", running=False)
    with pytest.raises(virtProfile.ProfileError, match="same key"):  # the name is taken
        devices_for(vm(disk("sda")), disk("sda"))
    with pytest.raises(InvalidDomainError, match="'cpu' is not a device"):
        device_profile("<cpu/>", "d.xml")


# --- QEMU ------------------------------------------------------------------------------

QEMU = """
import io, json, sys, threading
import libvirt
from virtProfile.cli.main import runcli
uri, directory = sys.argv[1:]
libvirt.virEventRegisterDefaultImpl()
def loop():
    while True:
        libvirt.virEventRunDefaultImpl()
threading.Thread(target=loop, daemon=True).start()
connection = libvirt.open(uri)
ports = "<controller type='pci' index='0' model='pcie-root'/>" + "".join(
    f"<controller type='pci' index='{number}' model='pcie-root-port'/>" for number in range(1, 9))
domain = connection.defineXML(
    "<domain type='qemu'><name>vp-e</name><memory unit='MiB'>64</memory>"
    "<os><type arch='x86_64' machine='q35'>hvm</type></os><devices>" + ports +
    "<controller type='virtio-serial'/><interface type='user'><mac address='52:54:00:00:00:01'/>"
    "<model type='virtio'/></interface></devices></domain>")
domain.create()
def call(*words):
    err = io.StringIO()
    status = runcli(["-c", uri, "--profile-dir", directory, "vp-e", *words], stdout=io.BytesIO(), stderr=err)
    told.append([status, err.getvalue(), domain.XMLDesc(0), domain.XMLDesc(2)])
told = []
names = ["scsi-disk", "agent", "nic", "cable,priority=100", "cpu,priority=100"]
words = [word for name in names for word in ("--profile", name)]
try:
    call(*words, "--update", "--print-diff")
    call(*words, "--update")
    call(*words, "--update", "--yes")
    call("--update")
    call("--profile", "broken", "--update")
    call("--unapply", "agent", "--update", "--yes")
finally:
    domain.destroy()
print(json.dumps(told))
"""


def test_a_running_guest(embed: Callable[[str], str], tmp_path: Path) -> None:
    image = tmp_path / "d.img"
    image.write_bytes(b"\0" * 2**20)
    text = (DATA / "profiles.xml").read_text().replace("DISK", str(image))
    (tmp_path / "p.xml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", QEMU, embed("update"), str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
    )
    assert done.returncode == 0, done.stderr
    shown, refused, made, again, broken, away = json.loads(done.stdout.splitlines()[-1])
    planned = [line for line in made[1].splitlines() if line.startswith("live") and not line.endswith("done")]
    assert planned == [
        "live: attach controller scsi 0",
        "live: attach disk sda",
        "live: attach interface user",
        "live: attach channel org.qemu.guest_agent.0",
        "live: update interface user",
    ]
    assert "at the next boot: /domain/cpu/@mode becomes 'maximum'" in made[1]
    assert "guest-visible hardware:" in made[1]
    assert shown[0] == 0 and planned[0] in shown[1]
    assert refused[0] == 1 and "see another machine" in refused[1]
    for nothing in (shown, refused):  # neither live nor for the next boot
        assert "sda" not in nothing[2] and "sda" not in nothing[3]
    assert made[0] == 0, made[1]
    live, defined = (etree.fromstring(one) for one in made[2:])
    for root in (live, defined):
        assert root.find("devices/disk/target").get("dev") == "sda"
        assert root.find("devices/interface/link").get("state") == "down"
        assert len(root.findall("metadata/*")) == 2
    assert live.find("cpu").get("mode") != "maximum" == defined.find("cpu").get("mode")
    for path in ("devices/controller[@type='scsi']/address", "devices/interface[2]/address"):
        assert dict(live.find(path).attrib) == dict(defined.find(path).attrib)
    assert again[0] == 0 and "live:" not in again[1]
    assert broken[0] == 1 and "nothing was changed" in broken[1]
    assert "rng" not in broken[2] and "rng" not in broken[3]
    assert away[0] == 0, away[1]
    assert "guest_agent" not in away[2].partition("<devices>")[2]
    assert "guest_agent" not in away[3].partition("<devices>")[2]
