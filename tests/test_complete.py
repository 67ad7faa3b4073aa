# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices that devices need: controllers and slots, read from the XML that comes out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import library
import pytest
from completing import apply, at_priority, disks, domain
from lxml import etree
from manydevices import letters

import virtProfile
from virtProfile.engine.devices import virtinst_classes
from virtProfile.errors import CompletionError, ConflictError, InvalidDomainError
from virtProfile.format import buses

TOP = Path(__file__).resolve().parents[1]


def controllers(result: Any, kind: str) -> list[dict[str, str]]:
    root = etree.fromstring(result.xml.encode())
    return [dict(one.attrib) for one in root.iterfind(f"devices/controller[@type='{kind}']")]


def slots(result: Any, bus: str) -> list[tuple[str | None, ...]]:
    """(controller, bus, unit) of the drives of a bus that have an address."""
    root = etree.fromstring(result.xml.encode())
    found: list[tuple[str | None, ...]] = []
    for one in root.iterfind(f"devices/disk/target[@bus='{bus}']/../address"):
        found.append((one.get("controller"), one.get("bus"), one.get("unit")))
    return found


def add(inner: str) -> str:
    return f"<add><devices>{inner}</devices></add>"


# --- slots -------------------------------------------------------------------------


def test_thirty_scsi_disks_stay_on_one_controller() -> None:
    result = apply(domain(), add(disks("scsi", 30)))
    assert controllers(result, "scsi") == [{"type": "scsi", "index": "0", "model": "virtio-scsi"}]
    assert slots(result, "scsi") == [("0", "0", str(unit)) for unit in range(30)]


def test_what_is_there_is_used_first() -> None:
    own = "    <controller type='scsi' index='0' model='lsilogic'/>\n" + disks("scsi", 2)
    result = apply(domain(own), add(disks("scsi", 6, 2)))
    # The VM's own disks have no address: libvirt puts them by letter, on 0 and 1.
    assert slots(result, "scsi")[-6:] == [("0", "0", str(unit)) for unit in range(2, 7)] + [("1", "0", "0")]
    assert controllers(result, "scsi")[1]["model"] == "lsilogic"


def test_implied_controllers_of_the_vm_are_written_down() -> None:
    result = apply(domain(disks("scsi", 1, 8)), add(disks("scsi", 1)))
    # sdi is unit 1 of controller 1 to libvirt, which adds 0 and 1 with its own model.
    assert controllers(result, "scsi") == [{"type": "scsi", "index": "0"}, {"type": "scsi", "index": "1"}]
    assert slots(result, "scsi") == [("0", "0", "0")]


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_eight_sata(machine: str) -> None:
    result = apply(domain(disks("sata", 1), machine), add(disks("sata", 8, 7)))
    found = Counter(place[0] for place in slots(result, "sata"))
    assert found == {"0": 5, "1": 3}  # sda has the first slot of 0 without saying so
    assert ("0", "0", "0") not in slots(result, "sata")
    assert [one["index"] for one in controllers(result, "sata")] == ["0", "1"]


def test_five_ide() -> None:
    result = apply(domain(machine="pc"), add(disks("ide", 4)))
    assert slots(result, "ide") == [("0", "0", "0"), ("0", "0", "1"), ("0", "1", "0"), ("0", "1", "1")]
    assert [one["index"] for one in controllers(result, "ide")] == ["0"]
    with pytest.raises(CompletionError, match="disk hde .*no ide slot is free.*hda.*hdd") as caught:
        apply(domain(machine="pc"), add(disks("ide", 5)))
    assert "sata" in caught.value.hint
    with pytest.raises(CompletionError, match="machine 'q35' has no ide bus"):
        apply(domain(machine="q35"), add(disks("ide", 1)))


def test_all_errors_are_told() -> None:
    with pytest.raises(CompletionError) as caught:
        apply(domain(machine="pc"), add(disks("ide", 6)))
    assert [re.search("disk hd.", str(one))[0] for one in caught.value.others] == ["disk hdf"]


def test_addresses_that_a_profile_writes() -> None:
    disk = disks("scsi", 1, 9).replace(
        "</disk>", "<address type='drive' controller='1' bus='0' target='0' unit='20'/></disk>"
    )
    result = apply(domain(), add(disk))
    assert [one["model"] for one in controllers(result, "scsi")] == ["virtio-scsi", "virtio-scsi"]
    taken = disk.replace("controller='1'", "controller='0'").replace("unit='20'", "unit='0'")
    with pytest.raises(CompletionError, match="taken by disk sda"):
        apply(domain(disks("scsi", 1)), add(taken))
    sata = disk.replace("bus='scsi'", "bus='sata'").replace("unit='20'", "unit='6'")
    with pytest.raises(CompletionError, match="no bus 0, unit 6"):
        apply(domain(), add(sata))


def test_numbers_of_slots_are_decimal_also_with_a_leading_zero() -> None:
    """As libvirt reads them; tests/test_values.py asks it."""
    disk = etree.fromstring(
        "<disk><address type='drive' controller='0' bus='0' target='0' unit='010'/></disk>"
    )
    assert buses.written_slot(disk) == (0, 0, 0, 10)
    devices = etree.fromstring("<devices><controller type='scsi' index='010'/></devices>")
    assert list(buses.by_index(devices, "scsi")) == [10]


def test_a_controller_of_a_profile_gets_its_index() -> None:
    result = apply(domain(), add("<controller type='scsi' model='lsisas1068'/>"), add(disks("scsi", 8)))
    models = [one["model"] for one in controllers(result, "scsi")]
    assert models == ["lsisas1068", "lsisas1068"]
    assert [one["index"] for one in controllers(result, "scsi")] == ["0", "1"]


def test_scsi_devices_of_the_host_get_a_slot_too() -> None:
    hostdev = (
        "<hostdev mode='subsystem' type='scsi'><source><adapter name='scsi_host0'/>"
        "<address bus='0' target='0' unit='0'/></source></hostdev>"
    )
    result = apply(domain(disks("scsi", 2)), add(hostdev))
    address = etree.fromstring(result.xml.encode()).find("devices/hostdev/address")
    assert (address.get("type"), address.get("unit")) == ("drive", "2")


def test_other_hypervisors_place_their_own() -> None:
    vm = domain(disks("scsi", 1)).replace("type='qemu'", "type='xen'")
    result = apply(vm, add(disks("scsi", 1, 1)))
    assert not controllers(result, "scsi")


# --- defaults, matches, attribution --------------------------------------------------


def test_defaults_reach_what_is_made() -> None:
    queues = "<default><devices><controller type='scsi'><driver queues='4'/></controller></devices></default>"
    result = apply(domain(), add(disks("scsi", 2)), queues)
    assert "<driver queues='4'/>" in result.xml
    model = "<default><devices><controller type='scsi' model='lsilogic'/></devices></default>"
    result = apply(domain(), add(disks("scsi", 9)), model)
    assert [one["model"] for one in controllers(result, "scsi")] == ["lsilogic", "lsilogic"]


def test_defaults_reach_what_is_implied() -> None:
    queues = "<default><devices><controller type='scsi'><driver max_sectors='512'/></controller></devices></default>"
    result = apply(domain(disks("scsi", 1)), queues)
    assert controllers(result, "scsi") == [{"type": "scsi", "index": "0"}]
    assert "max_sectors='512'" in result.xml
    ports = "<default><devices><controller type='usb' ports='8'/></devices></default>"
    result = apply(domain(), ports)
    assert controllers(result, "usb") == [{"type": "usb", "index": "0", "ports": "8", "model": "qemu-xhci"}]
    assert not controllers(apply(domain(), queues), "scsi")


def test_matches_see_controllers() -> None:
    seen = (
        "<profile name='seen' version='1'><match><devices><controller type='scsi' model='virtio-scsi'/></devices></match>"
        "<add><iothreads>1</iothreads></add></profile>"
    )
    result = apply(domain(), add(disks("scsi", 1)), seen)
    assert "<iothreads>1</iothreads>" in result.xml
    alone = apply(domain(), seen)
    assert [one.name for one in alone.skipped] == ["seen"]


def test_own_controllers_are_masked_with_their_action() -> None:
    once = (
        "<add when=\"not(devices/controller[@type='scsi'])\"><devices>"
        + disks("scsi", 1)
        + "</devices></add>"
    )
    assert len(controllers(apply(domain(), once), "scsi")) == 1


def test_a_controller_that_is_removed_is_an_error() -> None:
    with pytest.raises(CompletionError, match="controller scsi 0, which p1 removes"):
        apply(
            domain(), add(disks("scsi", 1)), "<remove><devices><controller type='scsi'/></devices></remove>"
        )


def test_everything_says_for_what() -> None:
    result = apply(domain(), add(disks("scsi", 1)), add(disks("scsi", 1, 1)))
    made = [one for one in result.changes if "controller[" in one.path]
    assert made
    for one in made:
        assert [origin.action for origin in one.origins] == ["for disk sda", "for disk sdb"]
        assert [origin.profile for origin in one.origins] == ["p0", "p1"]
    assert "for disk sda" in str(made[0].origin)


def test_again_is_nothing() -> None:
    profiles = [
        add(disks("scsi", 9)),
        add(disks("sata", 8, 10)),
        "<default><devices><controller type='scsi'><driver max_sectors='512'/></controller></devices></default>",
    ]
    once = apply(domain(disks("scsi", 2, 3)), *profiles)
    twice = apply(once.xml, *profiles)
    assert twice.xml == once.xml
    assert not twice.changed


# --- device classes --------------------------------------------------------------------


def disk_of(result: Any, number: int = -1) -> Any:
    return etree.fromstring(result.xml.encode()).findall("devices/disk")[number]


@pytest.mark.parametrize(
    ("machine", "own", "bus", "dev"),
    [
        ("q35", disks("sata", 1), "sata", "sdb"),
        ("pc", disks("ide", 1), "ide", "hdb"),
        ("pc", disks("ide", 4), "sata", "sda"),
        ("pc", "", "ide", "hda"),
    ],
)
def test_a_cdrom_gets_bus_and_name(machine: str, own: str, bus: str, dev: str) -> None:
    profile = add("<disk device='cdrom'/>")
    result = apply(domain(own, machine), profile)
    target = disk_of(result).find("target")
    assert (target.get("bus"), target.get("dev")) == (bus, dev)
    assert disk_of(result).find("address").get("type") == "drive"
    assert disk_of(result).find("driver") is None  # only what it cannot be defined without
    assert all(one.origin.profile == "p0" for one in result.changes)
    assert apply(result.xml, profile).xml == result.xml


def test_two_without_names_get_two() -> None:
    both = add("<disk><source file='/nowhere/a'/></disk><disk><source file='/nowhere/b'/></disk>")
    result = apply(domain(), both)
    names = [one.get("dev") for one in etree.fromstring(result.xml.encode()).iterfind("devices/disk/target")]
    assert names == ["sda", "sdb"]


def test_what_the_class_refuses_is_our_error() -> None:
    with pytest.raises(CompletionError, match="disk vda of profile 'p0' cannot work.*path"):
        apply(domain(), add("<disk device='disk'><target dev='vda' bus='virtio'/></disk>"))
    vm = domain(machine="pc")
    floppies = "".join(
        f"<disk device='floppy' type='file'><source file='/nowhere/{n}'/></disk>" for n in "abc"
    )
    with pytest.raises(CompletionError, match="fdc|Only 2"):
        apply(vm, add(floppies))


def test_what_the_vm_itself_lacks_is_not_ours() -> None:
    own = "    <disk type='block' device='disk'><target dev='vdb'/></disk>\n"
    assert apply(domain(own), add("<disk device='disk'><target dev='vdb' bus='virtio'/></disk>")).changed
    cdrom = "    <disk device='cdrom'><target dev='sda' bus='sata'/></disk>\n"
    turned = "<add multiple='no'><devices><disk device='lun'><target dev='sda'/></disk></devices></add>"
    with pytest.raises(ConflictError, match="/@device: p0"):  # another thing has its name
        at_priority(100, domain(cdrom), turned)


def test_nothing_random_is_made_up() -> None:
    result = apply(domain(), add("<interface type='user'><mac/></interface>"))
    assert "52:54:00" not in result.xml
    assert "<mac/>" in result.xml
    assert [one.code for one in result.warnings] == ["incomplete"]


@pytest.mark.parametrize("space", ["", "\n"])
def test_white_space_in_a_device_decides_nothing(space: str) -> None:
    """virtinst stumbles over an element whose only child goes, if there is no white space beside it."""
    with pytest.raises(
        InvalidDomainError, match=r"does not take /domain/devices/interface\[1\]/source there"
    ):
        apply(domain(), add(f"<interface>{space}<source/>{space}</interface>"))


def test_kinds_that_virtinst_does_not_know_go_by_the_schema() -> None:
    result = apply(domain(), add("<hub type='usb'/>"))
    assert "<hub type='usb'/>" in result.xml


def test_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No file, no pool, no connection: also for a path in a directory without a pool."""
    libvirt = pytest.importorskip("libvirt")
    from virtinst import diskbackend

    def never(*words: Any, **_: Any) -> Any:
        raise AssertionError(f"looked at {words}")

    for name in ("open", "openAuth", "openReadOnly"):
        monkeypatch.setattr(libvirt, name, never)
    monkeypatch.setattr(diskbackend, "manage_path", never)
    path = tmp_path / "pool" / "disk.img"
    real = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda one: never(one) if str(tmp_path) in str(one) else real(one))
    result = apply(domain(), add(f"<disk type='file'><source file='{path}'/></disk>"))
    assert disk_of(result).find("target").get("dev") == "sda"
    assert not path.parent.is_dir()


@pytest.mark.parametrize(
    ("profile", "imported"),
    [
        ("<default><devices><disk><driver cache='none'/></disk></devices></default>", False),
        (add("<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"), False),
        (add("<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"), False),
        (add(disks("scsi", 2)), False),
        (add("<disk device='cdrom'/>"), True),
    ],
)
def test_virtinst_is_imported_only_where_a_class_is_needed(profile: str, imported: bool) -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests')\nimport completing\n"
        f"completing.apply(completing.domain(completing.disks('virtio', 2)), {profile!r})\n"
        "print('virtinst' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=TOP, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(imported)


NEWEST = TOP / ".cache/virtinst-newest/usr/share/virt-manager/virtinst"


@pytest.mark.skipif(not NEWEST.is_dir(), reason="./dev test fetches the newest virtinst")
def test_the_newest_virtinst_says_the_same() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests')\nimport completing\n"
        "for machine in ('pc', 'q35'):\n"
        "    vm = completing.domain(completing.disks('sata', 2), machine)\n"
        "    wish = \"<add><devices><disk device='cdrom'/><sound/><graphics type='spice'/><redirdev/><smartcard/><watchdog/></devices></add>\"\n"
        "    print(completing.apply(vm, wish).xml)\n"
    )
    outputs = []
    for place in ("", str(NEWEST)):
        env = dict(os.environ)
        if place:
            env["VIRT_PROFILE_VIRTINST"] = place
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=TOP, env=env, capture_output=True, text=True, check=True
        )
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    assert "<address type='drive'" in outputs[0]


@pytest.mark.parametrize(
    ("own", "name"),
    [("abc", "sdd"), ("c", "sdd"), ("ac", "sdd"), ("abcdefghijklmnopqrstuvwxyz", "sdaa"), ("", "sda")],
)
def test_names_go_on_behind_the_last(own: str, name: str) -> None:
    vm = domain("".join(disks("sata", 1, ord(letter) - 97) for letter in own))
    assert disk_of(apply(vm, add("<disk device='cdrom'/>"))).find("target").get("dev") == name


@pytest.mark.parametrize(("before", "name"), [(0, "sda"), (1, "sdb"), (30, "sdae")])
def test_behind_a_name_that_the_class_does_not_reach_the_first_gap_is_taken(before: int, name: str) -> None:
    """virtinst tries 1,024 names; ``sdbzz`` is the 2,028th."""
    numbers = [*range(before), before + 1, *range(before + 3, before + 900, 2)]
    names = [*(f"sd{letters(number)}" for number in numbers), "sdbzz"]
    vm = domain("".join(map(USB_DISK.format, names)))
    assert disk_of(apply(vm, add("<disk device='cdrom'/>"))).find("target").get("dev") == name
    root = etree.fromstring(vm.encode())
    guest = etree.fromstring(virtinst_classes._guest(root, etree.Element("disk"), gaps=True))
    assert len(guest.findall("devices/disk")) == before + 1, "the class reads what stands before the gap"


USB_DISK = "<disk type='file'><source file='/{0}'/><target dev='{0}' bus='usb'/></disk>"


def test_controllers_that_no_address_can_name_take_no_drive() -> None:
    """A disk's own name may mean a controller above 99, which has to be there; it has no room for others."""
    far = disks("usb", 1).replace("sda", f"sd{letters(1000)}").replace("'usb'", "'sata'")
    text = domain(far + disks("virtio", 640))
    wishes = [library.wish("sata-disk", priority=100)]
    with pytest.raises(CompletionError, match="no sata slot is free"):
        virtProfile.apply(text, wishes, store=library.store(), context=library.context())


@pytest.mark.parametrize("profile", [None, "sata-disk"])
def test_a_full_bus_is_reported_for_a_few(profile: str | None) -> None:
    """The address of a drive has controllers up to 99: 600 SATA disks."""
    text = domain(disks("virtio" if profile else "sata", 640))
    wishes = [library.wish(profile, priority=100)] if profile else []
    context = library.context()
    with pytest.raises(CompletionError) as caught:
        virtProfile.apply(text, wishes, store=library.store(), context=context, complete=profile is None)
    lines = [str(one) for one in (caught.value, *caught.value.others)]
    assert len(lines) == 6
    whose = f" of profile '{profile}'" if profile else ""
    where = "sata-disk.xml:" if profile else "--complete: "
    assert f"disk sdwc{whose} cannot work: no sata slot is free: taken by disk sda, " in lines[0]
    assert where in lines[0]
    assert all(" more" in line and len(line) < 300 for line in lines)
