# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes virt-profiles.7.rst from the shipped profiles: ./dev man"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from virtProfile.catalogue import sketch  # noqa: E402
from virtProfile.profile import Action, Profile, Snippet, parse_profiles  # noqa: E402

PAGE = HERE / "virt-profiles.7.rst"
GROUPS = {
    "BUNDLES": "windows-11 windows-server linux-server linux-desktop high-performance",
    "WHAT APPLICATIONS WRITE": "like-virt-manager like-nova like-ovirt like-kubevirt",
    "GUEST OS": "windows-hyperv windows-clock linux-clock no-suspend guest-agent",
    "MACHINE AND FIRMWARE": "q35 pc pinned-machine uefi uefi-secureboot tpm-2.0 acpi boot-disk sev",
    "CPU": "cpu-host-passthrough cpu-host-model cpu-baseline-v2 cpu-baseline-v3 dedicated-cpu mirror-topology"
    " nested-virt realtime",
    "MEMORY AND NUMA": "balloon no-balloon hugepages-2m hugepages-1g numa-2-nodes",
    "DISKS": "virtio-disk virtio-scsi sata-disk fast-disk safe-disk disk-multiqueue iothreads-per-disk"
    " virtiofs-share",
    "NETWORK": "virtio-net e1000e-net net-multiqueue networking-nfv",
    "DISPLAY AND INPUT": "spice-desktop vnc-desktop gl-desktop headless-server virtio-video serial-console"
    " usb-tablet usb3 no-usb",
    "OTHER DEVICES": "rng watchdog pvpanic gpu-passthrough",
}
HEAD = """==============
virt-profiles
==============

-------------------------------------
the libvirt profiles that are shipped
-------------------------------------

:Manual section: 7
:Manual group: Virtualization Support

.. Made from the profiles by "./dev man": change those, not this.


DESCRIPTION
===========

Each profile is applied with **virt-profile**\\(1)::

    virt-profile --input vm.xml --profile windows-11 --profile spice-desktop --print-diff

A profile has one concern; they are combined as needed, and every pair works or says why it
cannot hold together. All apply without knowing anything about the host; where the host's
domain capabilities or the guest's OS are known (a connection, ``--domcapabilities``,
``--osinfo``), what these rule out is left out, and told.

What changes the machine or the firmware touches *sketches* only: definitions without a UUID or
without a machine type, in which nothing can be installed yet.

"""
TABLE = (
    ("virt-manager", "Nova", "oVirt", "KubeVirt", "profile"),
    [
        ("Hyper-V switches: 3, all listed since 5", "10", "12", "12", "windows-hyperv"),
        ("clock: local time for Windows", "same", "follows the guest", "UTC", "windows-clock, linux-clock"),
        ("timers rtc, pit, hpet", "same", "same", "Windows only", "windows-clock, linux-clock"),
        ("machine q35", "pc", "q35", "q35", "q35, pc"),
        (
            "UEFI where the OS dropped BIOS",
            "by image",
            "by cluster",
            "by preference",
            "uefi, uefi-secureboot",
        ),
        ("TPM beside UEFI", "by image", "by VM", "by preference", "tpm-2.0"),
        (
            "CPU host-passthrough",
            "host-model",
            "by cluster",
            "host-model",
            "cpu-host-passthrough, cpu-host-model",
        ),
        ("cores: left to libvirt", "sockets", "sockets", "sockets", "windows-11, windows-server"),
        ("no S3, S4", "no", "same", "no", "no-suspend"),
        (
            "virtio disks",
            "virtio",
            "virtio-scsi",
            "virtio, Windows SATA",
            "virtio-disk, virtio-scsi, sata-disk",
        ),
        ("cache none for block devices", "none", "none", "none", "fast-disk"),
        ("virtio NICs", "virtio", "virtio", "virtio, Windows e1000e", "virtio-net, e1000e-net"),
        ("one queue", "by flavour", "by profile", "by instance", "net-multiqueue, disk-multiqueue"),
        ("SPICE, sound, USB redirection", "VNC", "VNC", "VNC", "spice-desktop, vnc-desktop"),
        ("guest agent", "by image", "yes", "yes", "guest-agent"),
        ("random numbers", "by image", "yes", "by preference", "rng"),
        ("balloon", "statistics every 10 s", "every 5 s", "every 10 s", "balloon"),
        ("USB 3", "libvirt's", "USB 3, 8 ports", "none", "usb3, no-usb"),
    ],
)


def profiles() -> dict[str, Profile]:
    found = {}
    for path in sorted((HERE.parent / "profiles").glob("*.xml")):
        for one in parse_profiles(path.read_text(), path.name).profiles:
            found[one.name] = one
    return found


def page() -> str:
    """The manual page.

    :raises KeyError: a profile is in no group
    """
    known = profiles()
    lines = [HEAD, *comparison()]
    for title, names in GROUPS.items():
        lines += ["", title, "=" * len(title), ""]
        for name in names.split():
            lines += entry(known.pop(name))
    if known:
        raise KeyError(f"in no group: {', '.join(known)}")
    lines += ["", "SEE ALSO", "========", "", "**virt-profile**\\(1), **virt-profile-format**\\(5)"]
    return "\n".join(lines) + "\n"


def comparison() -> Iterator[str]:
    """What four applications set, and which profile gives it."""
    head, rows = TABLE
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    rule = "  ".join("=" * width for width in widths)
    yield "WHO SETS WHAT"
    yield "============="
    yield ""
    yield rule
    yield "  ".join(text.ljust(width) for text, width in zip(head, widths, strict=True)).rstrip()
    yield rule
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
    yield rule
    yield ""


def entry(profile: Profile) -> Iterator[str]:
    yield f"{profile.name} {profile.version}"
    yield "-" * len(f"{profile.name} {profile.version}")
    yield ""
    yield f"{_escaped(profile.title or '')}."
    yield ""
    yield from (_escaped(line.strip()) for line in (profile.description or "").strip().split("\n"))
    yield ""
    for param in profile.params:
        default = "must be given" if param.default is None else f"default {param.default or 'nothing'}"
        yield f"*{param.name}* ({param.type}, {default})"
        yield ""
    if profile.requires:
        yield "Brings: " + ", ".join(one.profile for one in profile.requires) + "."
        yield ""
    if profile.conflicts:
        yield "Not with: " + ", ".join(one.profile for one in profile.conflicts) + "."
        yield ""
    said = list(dict.fromkeys(leaf for action in profile.actions for leaf in _leaves(action)))
    if said:
        yield "::"
        yield ""
        yield from (f"    {one}" for one in said[:40])
        if len(said) > 40:
            yield f"    … and {len(said) - 40} more"
        yield ""


def _leaves(action: Action) -> Iterator[str]:
    """What an action sets, a line each: without the values that expressions give."""
    if action.select is not None:
        yield f"{action.kind} {' '.join(action.select.split())}"
        return
    for branch in action.branches:
        for one in _split(branch):
            text = " ".join(re.sub(r"\{[^}]*\}", "…", sketch(one)).split())
            yield f"{action.kind} {text}"


def _split(snippet: Snippet) -> Iterator[Snippet]:
    """One snippet a device, else one for each child."""
    if snippet.tag in ("devices", "features", "clock", "cpu", "hyperv", "numa", "domain"):
        for one in snippet.children or (snippet,):
            yield from _split(one) if one is not snippet else (one,)
        if snippet.attrs and snippet.children:
            yield Snippet(snippet.tag, snippet.attrs, None, (), snippet.line)
    else:
        yield snippet


def _escaped(text: str) -> str:
    return re.sub(r"([*|`\\])", r"\\\1", text)


if __name__ == "__main__":
    PAGE.write_text(page())
