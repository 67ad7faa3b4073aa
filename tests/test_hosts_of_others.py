# SPDX-License-Identifier: GPL-2.0-or-later
"""Profiles for hosts that few people have: applied with the capabilities of such a host, and valid.

The documents are what libvirt says on them, cut to what profiles ask for: SEV-SNP since 10.5.0, TDX since
11.6.0, hyperv host-model since 11.9.0, firmware features and variable stores on Arm since 12.1.0 (formatdomaincaps).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

import library
import pytest
from lxml import etree
from test_define_roundtrip import define, without_bookkeeping

import virtProfile

X86 = "/usr/bin/qemu-system-x86_64"
ARM = shutil.which("qemu-system-aarch64") or "/usr/bin/qemu-system-aarch64"


def domcapabilities(features: str, machine: str, arch: str = "x86_64", path: str = X86, os: str = "") -> str:
    return f"""<domainCapabilities><path>{path}</path><domain>kvm</domain><machine>{machine}</machine>
    <arch>{arch}</arch><vcpu max='512'/><os supported='yes'><enum name='firmware'><value>efi</value></enum>{os}</os>
    <cpu><mode name='host-passthrough' supported='yes'/></cpu><devices>
    <video supported='yes'><enum name='modelType'><value>virtio</value><value>ramfb</value></enum></video>
    <tpm supported='yes'><enum name='model'><value>tpm-tis</value></enum></tpm></devices>
    <features>{features}</features></domainCapabilities>"""


def capabilities(alias: str, machine: str, arch: str = "x86_64", path: str = X86) -> str:
    return f"""<capabilities><host><cpu><arch>{arch}</arch></cpu></host><guest><os_type>hvm</os_type>
    <arch name='{arch}'><wordsize>64</wordsize><emulator>{path}</emulator>
    <machine maxCpus='512'>{machine}</machine><machine canonical='{machine}' maxCpus='512'>{alias}</machine>
    <domain type='kvm'/></arch></guest></capabilities>"""


def security(*types: str) -> str:
    words = "".join(f"<value>{one}</value>" for one in types)
    return f"""<sev supported='{"yes" if "sev" in types else "no"}'/>
    <tdx supported='{"yes" if "tdx" in types else "no"}'/>
    <launchSecurity supported='{"yes" if types else "no"}'><enum name='sectype'>{words}</enum></launchSecurity>"""


HYPERV = """<hyperv supported='yes'><enum name='features'><value>relaxed</value><value>vapic</value></enum>
    <defaults><spinlocks>4095</spinlocks></defaults></hyperv>"""
HOSTS = {
    "amd": (security("sev", "sev-snp"), "q35", "pc-q35-10.0", "x86_64", X86, ""),
    "intel": (security("tdx"), "q35", "pc-q35-10.1", "x86_64", X86, ""),
    "plain": (security() + HYPERV, "q35", "pc-q35-10.2", "x86_64", X86, ""),
    "arm": (
        security(),
        "virt",
        "virt-11.0",
        "aarch64",
        "/usr/bin/qemu-system-aarch64",
        "<firmwareFeatures supported='yes'><enum name='secureBoot'><value>yes</value><value>no</value></enum>"
        "</firmwareFeatures><varstore supported='yes'/>",
    ),
}


def host(name: str) -> virtProfile.Context:
    features, alias, machine, arch, path, os = HOSTS[name]
    return virtProfile.Context(
        capabilities=(capabilities(alias, machine, arch, path),),
        domcapabilities=(domcapabilities(features, machine, arch, path, os),),
        qemu_version=11_000_000,
    )


def sketch(arch: str = "x86_64", top: str = "", devices: str = "", kind: str = "kvm") -> str:
    return f"""<domain type='{kind}'><name>vp-of-others</name><memory unit='GiB'>4</memory><vcpu>2</vcpu>
    <os><type arch='{arch}'>hvm</type></os>{top}<devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
    <source file='/vp.qcow2'/><target dev='sda'/></disk>
    <interface type='network'><mac address='52:54:00:aa:00:77'/><source network='default'/><model type='virtio'/></interface>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>{devices}</devices></domain>"""


def installed(machine: str, os: str = " firmware='efi'", loader: str = "<loader stateless='yes'/>") -> str:
    return (
        sketch()
        .replace("<memory", "<uuid>0aa96c53-0000-4000-8000-0000000000b1</uuid><memory", 1)
        .replace("<os><type arch='x86_64'>hvm</type></os>", f"<os{os}><type arch='x86_64' machine='{machine}'>hvm</type>{loader}</os>")
        .replace("<target dev='sda'/>", "<target dev='vda' bus='virtio'/>")
    )  # fmt: skip


SNP = "launchSecurity/@type = 'sev-snp' and os/loader/@stateless = 'yes' and os/@firmware = 'efi'"
TDX = "launchSecurity/@type = 'tdx' and features/ioapic/@driver = 'qemu' and cpu/@mode = 'host-passthrough'"
IOMMU = (
    "not(devices/*[starts-with(@model, 'virtio') or starts-with(model/@type, 'virtio')][not(driver/@iommu)])"
)


@pytest.mark.parametrize("override", [False, True], ids=["", "override"])
@pytest.mark.parametrize(
    ("name", "on", "text", "test"),
    [
        ("sev-snp", "amd", sketch(), f"{SNP} and {IOMMU}"),
        ("sev-snp", "amd", installed("pc-q35-10.0"), f"{SNP} and {IOMMU} and devices/disk/driver/@iommu"),
        ("sev", "amd", sketch(), f"launchSecurity/@type = 'sev' and memtune/hard_limit and {IOMMU}"),
        ("tdx", "intel", sketch(), f"{TDX} and {IOMMU}"),
        ("tdx", "intel", installed("pc-q35-10.1"), f"{TDX} and {IOMMU} and devices/disk/driver/@iommu"),
        ("hyperv-host-model", "plain", sketch(), "features/hyperv[@mode = 'host-model' and not(*)]"),
        ("hyperv-host-model", "plain", installed("pc-q35-10.2"), "features/hyperv/@mode = 'host-model'"),
        ("windows-arm", "arm", sketch("aarch64"), "os/type/@machine = 'virt' and os/@firmware = 'efi' and devices/video/model/@type = 'ramfb'"),
        ("uefi-secureboot", "plain", sketch(), "os/firmware/feature[@name = 'secure-boot' and @enabled = 'yes']"),
        ("no-secureboot", "arm", sketch("aarch64"), "os/firmware/feature[@name = 'secure-boot' and @enabled = 'no']"),
    ],
)  # fmt: skip
def test_on_a_host_that_can(name: str, on: str, text: str, test: str, override: bool) -> None:
    result = library.apply(text, [name], override=override, context=host(on))
    root = etree.fromstring(result.xml.encode())
    assert root.xpath(test), result.xml
    assert library.is_valid(result.xml)
    assert not result.skipped and name in [one.name for one in result.applied]
    assert library.apply(result.xml, [name], override=override, context=host(on)).xml == result.xml
    back = virtProfile.unapply(result.xml, store=library.store(), context=host(on))
    assert without_bookkeeping(back.xml) == without_bookkeeping(text)


@pytest.mark.parametrize(
    ("name", "on", "reason"),
    [
        ("sev-snp", "intel", "the host does not have launchSecurity sectype 'sev-snp'"),
        ("sev", "intel", "the host does not have sev"),
        ("tdx", "amd", "the host does not have tdx"),
        ("hyperv-host-model", "amd", "$domcapabilities/features/hyperv/defaults"),
        ("windows-arm", "plain", "os type arch is 'x86_64'"),
    ],
)
def test_on_a_host_that_cannot(name: str, on: str, reason: str) -> None:
    result = library.apply(sketch(), [name], context=host(on))
    (skipped,) = [one for one in result.skipped if one.name == name]
    assert skipped.detail.endswith(f"does not hold: {reason}")
    assert not any(one.origin.profile == name for one in result.changes)


@pytest.mark.parametrize("pair", [("sev", "sev-snp"), ("sev", "tdx"), ("sev-snp", "tdx")])
def test_one_protection_excludes_the_others(pair: Sequence[str]) -> None:
    with pytest.raises(virtProfile.ProfileError) as caught:
        library.apply(sketch(), pair)
    assert caught.value.code == "conflict"


@pytest.mark.skipif(not shutil.which("qemu-system-aarch64"), reason="no QEMU for Arm")
@pytest.mark.parametrize("override", [False, True], ids=["", "override"])
@pytest.mark.parametrize(
    "names",
    [
        ["windows-arm"],
        ["windows-arm", "iommu"],
        ["windows-arm", "virtio-disk", "virtio-net"],
        ["uefi", "virtio-scsi"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("machine", ["", "virt"])
def test_libvirt_defines_it_for_arm(
    embedded_qemu: Any, names: list[str], machine: str, override: bool
) -> None:
    if not machine and "windows-arm" not in names:
        pytest.skip("libvirt before 11 has another machine by default")
    text = sketch("aarch64", kind="qemu").replace("<devices>", f"<devices><emulator>{ARM}</emulator>", 1)
    if machine:
        text = text.replace("<type arch='aarch64'", f"<type arch='aarch64' machine='{machine}'")
    made = library.apply(text, names, override=override)
    defined = define(embedded_qemu, made.xml)
    again = virtProfile.apply(defined, store=library.store())
    assert not again.changes
    if machine:
        back = define(embedded_qemu, virtProfile.unapply(defined, store=library.store()).xml)
        assert without_bookkeeping(back) == without_bookkeeping(define(embedded_qemu, text))
