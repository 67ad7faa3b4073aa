# SPDX-License-Identifier: GPL-2.0-or-later
"""The questions that the mailing list asked of conditions, on documents of real hosts.

Capabilities and domain capabilities are those of libvirt's own test suite, of
QEMU 4.2 to 8.0 on several arches; the profiles stand in ``data/questions``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import corpus
import pytest
from lxml import etree

import virtProfile
from virtProfile.authoring.lint import lint_files
from virtProfile.errors import MissingContextError, ProfileError
from virtProfile.format.document import VIRTUNED_NS, parse
from virtProfile.language.expression import Environment, compile_expression

PROFILES = Path(__file__).parent / "data" / "questions"
STORE = virtProfile.ProfileStore([PROFILES], check_owner=False)

DOMAIN = """<domain type='{type}'>
  <name>vp</name>
  <metadata>{metadata}</metadata>
  <memory unit='KiB'>2097152</memory>
  <vcpu>{vcpu}</vcpu>
  <os>
    <type arch='{arch}' machine='{machine}'>hvm</type>
  </os>
  <devices>
    <emulator>/usr/bin/qemu-system-{arch}</emulator>
    {devices}
  </devices>
</domain>
"""


def domain(arch: str = "x86_64", machine: str = "q35", **more: Any) -> str:
    rows = {"type": "kvm", "metadata": "", "vcpu": 4, "devices": ""} | more
    return DOMAIN.format(arch=arch, machine=machine, **rows)


def host(*names: str, **more: Any) -> virtProfile.Context:
    """The context of domain capabilities such as ``7.0.0-virt.aarch64``."""
    source = corpus.directory()
    if source is None:
        pytest.skip("libvirt's source is not there")
    directory = source / "tests" / "domaincapsdata"
    texts = tuple((directory / f"qemu_{name}.xml").read_text() for name in names)
    return virtProfile.Context(domcapabilities=texts, **more)


def capabilities(*archs: str) -> tuple[str, ...]:
    source = corpus.directory()
    if source is None:
        pytest.skip("libvirt's source is not there")
    directory = source / "tests" / "qemucaps2xmloutdata"
    return tuple((directory / f"caps.{arch}.xml").read_text() for arch in archs)


def apply(xml: str, *names: Any, context: virtProfile.Context | None = None) -> virtProfile.Result:
    return virtProfile.apply(xml, names, store=STORE, context=context)


def query(result: virtProfile.Result) -> Callable[[str], Any]:
    return etree.fromstring(result.xml.encode()).xpath


def test_profiles_pass_lint() -> None:
    assert lint_files(sorted(PROFILES.glob("*.xml"))) == []


# --- SPICE only where the host's emulator has it ---------------------------------


@pytest.mark.parametrize(
    ("caps", "arch", "machine", "graphics", "video"),
    [
        ("4.2.0-q35.x86_64", "x86_64", "pc-q35-4.2", "spice", "qxl"),
        ("7.2.0-q35.x86_64", "x86_64", "q35", "spice", "qxl"),
        ("8.0.0.x86_64", "x86_64", "pc", "spice", "qxl"),
        ("5.0.0-virt.aarch64", "aarch64", "virt-5.0", "vnc", None),  # built without
        ("7.0.0-virt.aarch64", "aarch64", "virt", "spice", "virtio"),
        ("7.0.0.ppc64", "ppc64", "pseries", "vnc", None),
        ("6.0.0.s390x", "s390x", "s390-ccw-virtio", "vnc", None),
    ],
)
def test_spice(caps: str, arch: str, machine: str, graphics: str, video: str | None) -> None:
    result = apply(domain(arch, machine), "spice", context=host(caps))
    found = query(result)
    assert found("devices/graphics/@type") == [graphics]
    assert found("devices/video/model/@type") == ([video] if video else [])


def test_of_several_hosts_the_fitting_document_counts() -> None:
    context = host("6.0.0.s390x", "7.0.0-virt.aarch64", "7.2.0-q35.x86_64", "7.2.0.x86_64")
    for arch, machine, video in (
        ("x86_64", "pc", ["qxl"]),
        ("x86_64", "pc-q35-7.2", ["qxl"]),
        ("aarch64", "virt", ["virtio"]),
        ("s390x", "s390-ccw-virtio-6.0", []),
    ):
        assert (
            query(apply(domain(arch, machine), "spice", context=context))("devices/video/model/@type")
            == video
        )


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        (domain("riscv64", "virt"), "they are of arch 'x86_64', not 'riscv64'"),
        (domain(type="qemu"), "they are of domain type 'kvm', not 'qemu'"),
        (domain(machine="pc-q35-6.2"), "they are of machine 'pc-q35-7.2', not 'pc-q35-6.2'"),
        (
            domain().replace("/usr/bin/", "/opt/"),
            "they are of emulator '/usr/bin/qemu-system-x86_64', not '/opt/qemu-system-x86_64'",
        ),
    ],
)
def test_a_document_that_does_not_fit_says_why(xml: str, why: str) -> None:
    with pytest.raises(MissingContextError) as caught:
        apply(xml, "spice", context=host("7.2.0-q35.x86_64"))
    assert why in caught.value.message
    assert caught.value.where.endswith("spice.xml:4")
    assert "--domcapabilities" in caught.value.hint


# --- a USB tablet ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("arch", "machine", "os", "there"),
    [
        ("x86_64", "q35", "win10", True),
        ("x86_64", "pc-i440fx-7.2", "ubuntu22.04", True),
        ("aarch64", "virt-7.0", "ubuntu22.04", True),
        ("aarch64", "versatilepb", "ubuntu22.04", False),
        ("s390x", "s390-ccw-virtio", "ubuntu22.04", False),
        ("x86_64", "q35", "msdos6.22", False),
    ],
)
def test_usb_tablet(arch: str, machine: str, os: str, there: bool) -> None:
    pytest.importorskip("gi")
    result = apply(domain(arch, machine), "usb-tablet", context=virtProfile.Context(osinfo=os))
    assert bool(query(result)("devices/input[@type='tablet' and @bus='usb']")) is there
    assert bool(result.skipped) is not there


# --- USB 3 -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "machine", "os", "model"),
    [
        (7002022, "q35", "ubuntu22.04", ["qemu-xhci"]),
        (2009000, "q35", "ubuntu22.04", ["nec-xhci"]),
        (2010000, "q35", "ubuntu22.04", ["qemu-xhci"]),
        (None, "pc-q35-7.2", "ubuntu22.04", ["qemu-xhci"]),  # not older than its machine type
        (None, "pc-q35-2.9", "ubuntu22.04", ["nec-xhci"]),
        (7002022, "q35", "winxp", []),
    ],
)
def test_usb3(version: int | None, machine: str, os: str, model: list[str]) -> None:
    pytest.importorskip("gi")
    context = virtProfile.Context(osinfo=os, qemu_version=version)
    result = apply(domain(machine=machine), "usb3", context=context)
    assert query(result)("devices/controller[@type='usb']/@model") == model


@pytest.mark.parametrize(
    "metadata",
    [
        f"<v:virtuned xmlns:v='{VIRTUNED_NS}'><v:guest os='ubuntu22.04'/></v:virtuned>",
        f"<v:virtuned xmlns:v='{VIRTUNED_NS}'><v:guest os_type='ubuntu' os_version='22.04'/></v:virtuned>",
        "<l:libosinfo xmlns:l='http://libosinfo.org/xmlns/libvirt/domain/1.0'>"
        "<l:os id='http://ubuntu.com/ubuntu/22.04'/></l:libosinfo>",
    ],
)
def test_the_vm_itself_says_its_os(metadata: str) -> None:
    pytest.importorskip("gi")
    context = virtProfile.Context(osinfo="winxp", qemu_version=7002022)
    result = apply(domain(metadata=metadata), "usb3", context=context)
    assert query(result)("devices/controller/@model") == ["qemu-xhci"]


# --- queues ----------------------------------------------------------------------

NIC = "<interface type='network'><source network='default'/><model type='virtio'/></interface>"


def test_queues_are_vcpus_at_most_eight(tmp_path: Path) -> None:
    for vcpu, queues in ((1, "1"), (4, "4"), (8, "8"), (64, "8")):
        result = apply(domain(vcpu=vcpu, devices=NIC), "queues")
        assert query(result)("devices/interface/driver/@queues") == [queues]
    (tmp_path / "big.xml").write_text("<profile name='big'><add><vcpu>6</vcpu></add></profile>")
    store = virtProfile.ProfileStore([tmp_path, PROFILES], check_owner=False)
    for priority in (-5, 0, 5, 100):
        wishes = ["queues", {"name": "big", "priority": priority}]
        sketch = domain(devices=NIC).replace("  <vcpu>4</vcpu>\n", "")
        result = virtProfile.apply(sketch, wishes, store=store)
        assert query(result)("devices/interface/driver/@queues") == ["6"], priority
    result = virtProfile.apply(domain(devices=NIC), ["queues", {"name": "big", "priority": 100}], store=store)
    assert query(result)("devices/interface/driver/@queues") == ["6"]


# --- numbers, absences, metadata -------------------------------------------------


@pytest.mark.parametrize(
    ("vcpu", "iothreads", "wanted"),
    [(4, 1, "2"), (4, 2, "2"), (12, 9, "10"), (3, None, "1"), (2, None, None)],
)
def test_more_vcpus_than_iothreads_and_two(vcpu: int, iothreads: int | None, wanted: str | None) -> None:
    xml = domain(vcpu=vcpu)
    if iothreads is not None:
        xml = xml.replace("</vcpu>\n", f"</vcpu>\n  <iothreads>{iothreads}</iothreads>\n")
    result = apply(xml, {"name": "iothreads", "priority": 100})
    assert query(result)("iothreads/text()") == ([wanted] if wanted else [])


MYAPP = "<m:myapp xmlns:m='http://example.org/myapp'>{}</m:myapp>"


def test_what_does_not_exist_and_any_applications_metadata() -> None:
    important = MYAPP.format("<m:vm class='important' owner='x'/>")
    assert query(apply(domain(metadata=important), "watchdog"))("devices/watchdog/@model") == ["i6300esb"]
    there = domain(metadata=important, devices="<watchdog model='diag288' action='none'/>")
    assert not apply(there, "watchdog").changed
    assert not apply(domain(metadata=MYAPP.format("<m:vm class='toy'/>")), "watchdog").changed
    assert not apply(domain(), "watchdog").changed


def test_the_designs_guest_os_in_an_applications_metadata() -> None:
    windows = MYAPP.format("<m:guest os_type='windows' os_version='10'/>")
    assert query(apply(domain(metadata=windows), "windows"))("clock/@offset") == ["localtime"]
    assert not apply(domain(metadata=MYAPP.format("<m:guest os_type='linux'/>")), "windows").changed


# --- where a disk goes -----------------------------------------------------------


def test_a_disk_goes_to_virtio_scsi_where_there_is_one(tmp_path: Path) -> None:
    wish = {"name": "data-disk", "params": {"file": "/data.img"}}
    assert query(apply(domain(), wish))("devices/disk/target/@bus") == ["virtio"]
    scsi = domain(devices="<controller type='scsi' index='0' model='virtio-scsi'/>")
    assert query(apply(scsi, wish))("devices/disk/target/@bus") == ["scsi"]
    other = domain(devices="<controller type='scsi' index='0' model='lsilogic'/>")
    assert query(apply(other, wish))("devices/disk/target/@bus") == ["virtio"]
    (tmp_path / "scsi.xml").write_text(
        "<profile name='scsi'><add><devices><controller type='scsi' model='virtio-scsi'/></devices></add></profile>"
    )
    store = virtProfile.ProfileStore([tmp_path, PROFILES], check_owner=False)
    for priority in (-1, 0, 1):  # in whatever order: it is judged on what the others make
        wishes = [wish, {"name": "scsi", "priority": priority}]
        result = virtProfile.apply(domain(), wishes, store=store)
        assert query(result)("devices/disk/target/@bus") == ["scsi"]


# --- the host's capabilities -----------------------------------------------------


def test_capabilities_of_the_fitting_host(tmp_path: Path) -> None:
    (tmp_path / "arch.xml").write_text(
        "<profile name='arch'><add><title>{$host/cpu/arch}</title></add></profile>"
    )
    store = virtProfile.ProfileStore([tmp_path], check_owner=False)
    context = virtProfile.Context(capabilities=capabilities("s390x", "aarch64", "x86_64"))
    for arch in ("x86_64", "aarch64", "s390x"):
        result = virtProfile.apply(domain(arch, "virt"), ["arch"], store=store, context=context)
        assert query(result)("title/text()") == [arch]
    with pytest.raises(MissingContextError, match="they list no guests of arch 'ppc64'"):
        virtProfile.apply(domain("ppc64", "pseries"), ["arch"], store=store, context=context)
    with pytest.raises(MissingContextError, match="they list no guests of domain type 'xen'"):
        virtProfile.apply(domain(type="xen"), ["arch"], store=store, context=context)


def test_the_machine_type_that_nobody_wrote() -> None:
    """The capabilities' default, else the arch's; of RHEL's names too."""
    source = corpus.directory()
    if source is None:
        pytest.skip("libvirt's source is not there")
    text = (source / "tests" / "capabilityschemadata" / "caps-qemu-kvm.xml").read_text()

    def family(arch: str, context: virtProfile.Context, machine: str = "") -> list[str]:
        root = parse(domain(arch, machine or "x").replace(" machine='x'", "")).root
        environment = Environment({}, context)
        return [
            one
            for one in ("pc", "q35", "virt", "pseries", "s390-ccw-virtio", "pc-q35-7.2")
            if compile_expression(f"vp:machine('{one}')", file="p", line=1).test(root, environment)
        ]

    nothing, host = virtProfile.Context(), virtProfile.Context(capabilities=(text,))
    assert family("x86_64", nothing) == ["pc"]
    assert family("aarch64", nothing) == ["virt"]
    assert family("ppc64", nothing) == ["pseries"]
    assert family("s390x", nothing) == ["s390-ccw-virtio"]
    assert family("x86_64", host) == ["pc"]
    assert family("x86_64", host, "pc-0.10") == ["pc"]
    assert family("x86_64", nothing, "pc-q35-rhel9.2.0") == ["q35"]
    assert family("x86_64", nothing, "pc-q35-7.2") == ["q35", "pc-q35-7.2"]


def test_of_several_fitting_hosts_the_one_with_the_machine_and_emulator(tmp_path: Path) -> None:
    (tmp_path / "arch.xml").write_text(
        "<profile name='arch'><add><title>{$host/uuid}</title></add></profile>"
    )
    store = virtProfile.ProfileStore([tmp_path], check_owner=False)
    texts = [
        f"<capabilities><host><uuid>{number}</uuid></host><guest><arch name='x86_64'><emulator>{emulator}</emulator>"
        f"<machine>{machine}</machine><domain type='kvm'/></arch></guest></capabilities>"
        for number, (machine, emulator) in enumerate(
            [
                ("pc-q35-7.2", "/usr/bin/qemu-system-x86_64"),
                ("pc-q35-4.2", "/usr/bin/other"),
                ("pc-q35-4.2", "/usr/bin/qemu-system-x86_64"),
            ]
        )
    ]
    context = virtProfile.Context(capabilities=tuple(texts))
    for machine, number in (("pc-q35-7.2", "0"), ("pc-q35-4.2", "2"), ("pc-q35-9.9", "0")):
        result = virtProfile.apply(domain(machine=machine), ["arch"], store=store, context=context)
        assert query(result)("title/text()") == [number]


def test_without_context_it_is_unknown_and_says_so() -> None:
    with pytest.raises(ProfileError) as caught:
        apply(domain(), "spice", "usb3", "usb-tablet")
    told = [caught.value, *caught.value.others]
    assert {one.code for one in told} == {"missing-context"}
    hints = " ".join(one.hint for one in told)
    assert "--domcapabilities" in hints and "--osinfo" in hints
