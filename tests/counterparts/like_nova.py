# SPDX-License-Identifier: GPL-2.0-or-later
"""What Nova's driver writes beside what `like-nova` and `mirror-topology` make of the same VM.

A VM is taken out of Nova's XML (name, memory, CPUs, disks without bus, NICs without model), the profile
is applied, and both are compared leaf by leaf. Each difference has a reason here, and each reason is met.
"""

from __future__ import annotations

import collections
import copy
import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lxml import etree

import virtProfile
from virtProfile import Context, ProfileStore

TOP = Path(__file__).resolve().parent.parent.parent
PLACE = TOP / ".cache" / "counterparts"
RESULT = PLACE / "nova-34.json"

#: What tells siblings of one name apart, by XPath.
KEYS = {
    "disk": "target/@dev",
    "interface": "mac/@address",
    "timer": "@name",
    "entry": "@name",
    "controller": "@type",
    "input": "concat(@type, ':', @bus)",
    "vcpupin": "@vcpu",
    "channel": "target/@name",
    "cell": "@id",
    "memnode": "@cellid",
    "iothreadpin": "@iothread",
}
#: libosinfo's name of an image's guest.
GUESTS = {"windows": "win10", "linux": "debian12"}


class Reason(NamedTuple):
    """Why the two differ at paths that a pattern fits."""

    where: str
    why: str
    #: Flavors and images of `nova_domains` that cause it; none: every domain has it.
    of: frozenset[str] = frozenset()


def _reason(where: str, why: str, *names: str) -> Reason:
    return Reason(where, why, frozenset(names))


PLACED = ("numa-1", "numa-2", "huge", "locked", "dedicated", "dedicated-require") + (
    "dedicated-numa-2",
    "dedicated-isolate",
    "mixed",
    "realtime",
)
REASONS = [
    # Every domain.
    _reason(r"/sysinfo/system/entry\[(serial|version)\].*", "Nova's own version, and the serial number of its host"),
    _reason(r"/devices/serial/log/@.*", "the log file of one run"),
    _reason(r"/devices/serial/target/@port", "libvirt's default, which like-nova spells"),
    _reason(r"/devices/graphics/@listen", "an address of the host, from nova.conf"),
    _reason(r"/devices/controller\[usb\]/@(type|index)", "libvirt adds the same controller"),
    _reason(r"/devices/disk\[.*\]/driver/@type", "the format is the image's: a sketch that names none has none"),
    _reason(r"/features/vmcoreinfo(/@state)?", "the same: state='on' is what no state means"),
    # The host's nova.conf: which CPUs guests may use.
    _reason(r"/vcpu/@cpuset", "cpu_shared_set of nova.conf", "*"),
    # Properties, each with what it sets; like-nova has no part in them.
    _reason(r"/os/type/@machine", "hw_machine_type; like-nova,machine=q35", "q35", "uefi", "secure-boot"),
    _reason(r"/(os/(@firmware|(firmware|loader|nvram)/.*)|features/smm/.*)", "hw_firmware_type; profiles uefi, uefi-secureboot", "uefi", "secure-boot"),
    _reason(r"/os/bootmenu/@enable", "hw:boot_menu", "boot-menu"),
    _reason(r"/devices/disk\[.*\]/(target/@bus|address/@.*)", "hw_disk_bus; profiles sata-disk, virtio-scsi", "disk-scsi", "disk-sata", "disk-ide"),
    _reason(r"/devices/controller\[scsi\]/@.*", "hw_scsi_model; profile virtio-scsi", "disk-scsi"),
    _reason(r"/devices/interface\[.*\]/model/@type", "hw_vif_model; profile e1000e-net", "vif-e1000", "vif-e1000e"),
    _reason(r"/devices/interface\[.*\]/driver/@(name|queues)", "vif_multiqueue_enabled; profile net-multiqueue", "multiqueue"),
    _reason(r"/devices/interface\[.*\]/driver/@packed", "virtio_packed_ring", "packed-ring"),
    _reason(r"/devices/interface\[.*\]/bandwidth/.*", "quota:vif_*", "quotas"),
    _reason(r"/devices/disk\[.*\]/iotune/.*", "quota:disk_*", "quotas"),
    _reason(r"/cputune/(shares|quota|period)/.*", "quota:cpu_*", "quotas"),
    _reason(r"/devices/video/model/@type", "hw_video_model", "video-qxl", "video-vga", "video-cirrus", "video-none"),
    _reason(r"/devices/(input\[.*\]|controller\[usb\])/@.*", "hw_input_bus: virtio instead of USB", "input-virtio"),
    _reason(r"/devices/channel\[org.qemu.guest_agent.0\].*", "hw_qemu_guest_agent; profile guest-agent", "guest-agent"),
    _reason(r"/devices/rng(/.*)?", "hw_rng:allowed=False takes it away", "no-rng"),
    _reason(r"/devices/rng/rate/@.*", "hw_rng:rate_*", "rng"),
    _reason(r"/devices/watchdog/@.*", "watchdog_action; profile watchdog", "watchdog"),
    _reason(r"/clock/timer\[hpet\]/@present", "hw_time_hpet", "hpet"),
    _reason(r"/features/(kvm/hidden|hyperv/vendor_id)/@.*", "hide_hypervisor_id; profile gpu-passthrough", "hidden"),
    _reason(r"/features/pmu/@state", "hw_pmu", "no-pmu"),
    _reason(r"/cpu/topology/@(sockets|cores|threads)", "hw:cpu_sockets, _cores, _threads", "cores", "max-sockets"),
    _reason(r"/cpu/maxphysaddr/@.*", "hw:maxphysaddr_*", "physical-bits"),
    _reason(r"/(devices/iommu|features/ioapic)/.*", "hw:viommu_model; profile iommu", "viommu"),
    _reason(r"/memoryBacking/.*", "hw:locked_memory, mem_page_size, cpu_realtime; hugepages-2m, realtime", "huge", "locked", "realtime"),
    # Placement on the host: what mirror-topology is about.
    _reason(r"/(cpu/numa|numatune)/.*", "placement; mirror-topology", *PLACED),
    _reason(r"/cputune/(emulatorpin|iothreadpin|vcpupin|vcpusched).*", "placement; mirror-topology, dedicated-cpu, realtime", *PLACED),
]  # fmt: skip


@functools.cache
def result(release: int = 34) -> dict[str, Any]:
    """What ``nova_domains.py`` wrote."""
    found: dict[str, Any] = json.loads((PLACE / f"nova-{release}.json").read_text())
    return found


def rows(release: int = 34) -> list[dict[str, Any]]:
    """The combinations for which Nova wrote a domain."""
    return [row for row in result(release)["combinations"] if "xml" in row]


def releases() -> list[int]:
    """The releases of Nova that were asked."""
    return sorted(int(path.stem.split("-")[1]) for path in PLACE.glob("nova-*.json"))


@functools.cache
def store() -> ProfileStore:
    return ProfileStore([TOP / "profiles"], check_owner=False)


def leaves(root: Any) -> dict[str, str]:
    """The attributes and texts of a domain, metadata aside, by a path that names siblings."""
    found: dict[str, str] = {}

    def walk(element: Any, path: str) -> None:
        for name, value in element.attrib.items():
            found[f"{path}/@{name}"] = value
        if not len(element):
            text = (element.text or "").strip()
            if text:
                found[f"{path}/text()"] = text
            elif not element.attrib:
                found[path] = ""
        seen: collections.Counter[str] = collections.Counter()
        for child in element.iterchildren("*"):
            if child.tag == "metadata":
                continue
            label = child.tag
            if label in KEYS:
                label += f"[{child.xpath(f'string({KEYS[child.tag]})')}]"
            seen[label] += 1
            walk(child, f"{path}/{label}" + (f"#{seen[label]}" if seen[label] > 1 else ""))

    walk(root, "")
    return found


def _neutral(root: Any) -> Any:
    """Disks by letter: their bus chooses the rest of the name."""
    for target in root.findall("devices/disk/target"):
        target.set("dev", "vd" + target.get("dev")[2:])
    return root


def sketch(xml: str) -> str:
    """What a person would say of the VM: no machine, no features, no bus of a disk, no model of a NIC."""
    root = _neutral(etree.fromstring(xml))
    root.attrib.pop("type")
    for element in root:
        if element.tag not in ("name", "uuid", "memory", "vcpu", "devices"):
            root.remove(element)
    root.find("vcpu").attrib.clear()
    devices = root.find("devices")
    for device in devices:
        if device.tag not in ("disk", "interface"):
            devices.remove(device)
            continue
        for part in device:
            if part.tag not in ("source", "target", "serial", "mac", "virtualport"):
                device.remove(part)
        if device.tag == "disk":
            device.find("target").attrib.pop("bus")
    return etree.tostring(root, encoding="unicode")


def differences(row: dict[str, Any], release: int = 34) -> list[tuple[str, str | None, str | None]]:
    """Path, value by `like-nova`, value by Nova."""
    made = virtProfile.apply(
        sketch(row["xml"]),
        [{"name": "like-nova", "params": {"release": str(release)}}],
        store=store(),
        context=Context(osinfo=GUESTS.get(row["image"])),
        record=False,
    )
    ours = leaves(etree.fromstring(made.xml))
    theirs = leaves(_neutral(etree.fromstring(row["xml"])))
    paths = sorted(set(ours) | set(theirs))
    return [(path, ours.get(path), theirs.get(path)) for path in paths if ours.get(path) != theirs.get(path)]


def reasons(row: dict[str, Any], path: str) -> list[Reason]:
    """The reasons that a combination has for a path."""
    names = {row["flavor"], row["image"], "*"}
    return [one for one in REASONS if (not one.of or one.of & names) and re.fullmatch(one.where, path)]


# --- placement ----------------------------------------------------------------------------------------


class Placement(NamedTuple):
    """Where a VM is on its host."""

    #: KiB and vCPUs of each guest node, of all where the guest has no nodes.
    nodes: tuple[tuple[int, int], ...]
    #: Host nodes that memory comes from, in the order of guest nodes.
    memory: tuple[str, ...]
    #: The host CPUs of each vCPU.
    pins: tuple[frozenset[int], ...]
    #: The words for how binding memory is.
    modes: frozenset[str]


def cpus(text: str) -> frozenset[int]:
    """``0-3,8`` as numbers."""
    ends = [[int(end) for end in part.split("-")] for part in text.split(",")]
    return frozenset(number for end in ends for number in range(end[0], end[-1] + 1))


def placement(xml: str) -> Placement:
    root = etree.fromstring(xml)
    memory, count = int(root.findtext("memory")), int(root.findtext("vcpu"))
    cells = [(int(cell.get("memory")), len(cpus(cell.get("cpus")))) for cell in root.findall("cpu/numa/cell")]
    nodes = [node.get("nodeset") for node in root.findall("numatune/memnode")]
    return Placement(
        tuple(cells) or ((memory, count),),
        tuple(nodes) or (root.find("numatune/memory").get("nodeset"),),
        tuple(cpus(pin.get("cpuset")) for pin in root.findall("cputune/vcpupin")),
        frozenset(element.get("mode") for element in root.find("numatune")),
    )


def host() -> tuple[dict[int, str], dict[int, frozenset[int]]]:
    """The node and the siblings of each CPU of the fixture's host."""
    root = etree.fromstring(result()["capabilities"])
    node: dict[int, str] = {}
    siblings: dict[int, frozenset[int]] = {}
    for cell in root.findall("host/topology/cells/cell"):
        for cpu in cell.findall("cpus/cpu"):
            node[int(cpu.get("id"))] = str(cell.get("id"))
            siblings[int(cpu.get("id"))] = cpus(cpu.get("siblings"))
    return node, siblings


def mirrored(row: dict[str, Any], **params: str) -> str:
    """The same VM, placed by `mirror-topology` on the CPUs that Nova gives to dedicated guests."""
    wish = {"name": "mirror-topology", "params": {"used": "0-3,8-11", "reserve": "0", **params}}
    context = Context(capabilities=(result()["capabilities"],))
    made = virtProfile.apply(sketch(row["xml"]), [wish], store=store(), context=context, record=False)
    return str(made.xml)


# --- the round trip --------------------------------------------------------------------------------------

#: Profiles of each kind, on Nova's own XML.
TRAVELLERS = ["rng", "fast-disk", "guest-agent", "watchdog", "virtio-scsi", "usb3", "vnc-desktop"]
TRAVELLERS = [*TRAVELLERS, "like-nova", "headless-server", "high-performance", "linux-server"]


def journeys() -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Each domain of Nova's with one profile, and every tenth with all that go together."""
    for number, row in enumerate(rows()):
        yield row, [TRAVELLERS[number % len(TRAVELLERS)]]
        if number % 10 == 0:
            yield row, ["rng", "fast-disk", "guest-agent", "watchdog"]


def plain(xml: str) -> dict[str, str]:
    return leaves(copy.deepcopy(etree.fromstring(xml)))
