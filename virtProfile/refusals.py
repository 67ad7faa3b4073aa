# SPDX-License-Identifier: GPL-2.0-or-later
"""What libvirt or QEMU would refuse, told before they do: the last part of `complete`.

Too many serial ports, two first boot devices, a second card that can only be the
first, a word that the domain capabilities do not list. Only what profiles added
or changed is looked at: the VM's own troubles are not ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from .buses import bus_of, name_of
from .domainschema import DATA
from .errors import MissingContextError
from .schemafacts import rows
from .supplies import X86, wished
from .worktree import PRESENCE, Element, child

if TYPE_CHECKING:
    from .complete import Pass
    from .provenance import Writer

#: ISA serial ports that QEMU has; libvirt defines more, and the start fails.
MAX_SERIAL = 4
#: Cards that need not be the first (libvirt 9.0.0, qemu_validate.c).
_SECOND_CARDS = ("qxl", "virtio")
#: Buses without a drive that opens (libvirt 9.0.0: "does not support ejectable media").
FIXED = ("virtio", "sd")


def refuse(work: Pass, fresh: dict[Element, Writer]) -> None:
    """Everything that profiles brought and libvirt would not take goes to the pass."""
    if work.family is None:
        return
    if work.family in X86:
        _serial(work, fresh)
    else:
        _not_x86(work)
    _video(work, fresh)
    _usb(work, fresh)
    _boot(work)
    _drives(work, fresh)
    _queues(work)
    _pages(work)
    known = _known(work)
    if known is not None:  # it is about a host, not only about a file
        _spice(work, fresh)
        _capabilities(work, known)


def _known(work: Pass) -> Element | None:
    """The domain capabilities that fit, or None."""
    if not work.context.domcapabilities:
        return None
    try:
        return work.context.documents.domcapabilities_for(work.tree.root)
    except MissingContextError:
        return None


def _serial(work: Pass, fresh: dict[Element, Writer]) -> None:
    ports = []
    for one in work.devices.iterchildren("serial"):
        target = child(one, "target")
        if target is None or target.get("type", "isa-serial") == "isa-serial":
            ports.append(one)
    new = [one for one in ports if one in fresh]
    if len(ports) > MAX_SERIAL and new:
        fact = f"there are {len(ports)} ISA serial ports, and QEMU has {MAX_SERIAL}"
        work.fail(
            new[-1], fresh[new[-1]], fact, "<target type='usb-serial'/> or 'pci-serial' has no such limit"
        )


def _video(work: Pass, fresh: dict[Element, Writer]) -> None:
    cards = list(work.devices.iterchildren("video"))
    concerned = [one for one in cards if one in fresh or _card_wish(work, one) is not None]
    if len(cards) < 2 or not concerned:
        return
    writer = fresh.get(concerned[-1]) or _card_wish(work, concerned[-1])
    assert writer is not None
    first = [one for one in cards if (child(one, "model") is not None and _primary(one))]
    if len(first) > 1:
        work.fail(concerned[-1], writer, "only one <video> can be primary", "drop primary='yes' from one")
        return
    primary = first[0] if first else cards[0]
    for one in cards:
        model = child(one, "model")
        kind = None if model is None else model.get("type")
        if one is not primary and kind is not None and kind not in _SECOND_CARDS:
            fact = f"a '{kind}' card can only be the primary one, and {name_of(primary)} is"
            work.fail(concerned[-1], writer, fact, "qxl and virtio can be more")
            return


def _primary(card: Element) -> bool:
    model = child(card, "model")
    return model is not None and model.get("primary") == "yes"


def _card_wish(work: Pass, card: Element) -> Writer | None:
    model = child(card, "model")
    return wished(work, model, "@type") or wished(work, model, "@primary")


def _usb(work: Pass, fresh: dict[Element, Writer]) -> None:
    controllers = [one for one in work.devices.iterchildren("controller") if one.get("type") == "usb"]
    off = [one for one in controllers if one.get("model") == "none"]
    if not off or len(off) < len(controllers):
        return
    off_by = wished(work, off[0], "@model")
    for device in work.users_of("usb"):
        writer = fresh.get(device) or off_by
        if writer is not None:
            fact = "it is on USB, which is off (controller usb model='none')"
            work.fail(device, writer, fact, "drop one of the two")
            return


def _spice(work: Pass, fresh: dict[Element, Writer]) -> None:
    """What speaks to a SPICE client needs SPICE graphics."""
    if any(one.get("type") == "spice" for one in work.devices.iterchildren("graphics")):
        return
    for device, writer in fresh.items():
        if device.get("type") == "spicevmc":
            work.fail(device, writer, "type 'spicevmc' needs SPICE graphics", "add <graphics type='spice'/>")
            return


def _boot(work: Pass) -> None:
    """Boot orders are unique, and not said in two ways."""
    orders: dict[str, Element] = {}
    for device, boot in _boots(work):
        order = boot.get("order", "")
        other = orders.setdefault(order, device)
        if other is device:
            continue
        mine = wished(work, boot, "@order")
        theirs = wished(work, child(other, "boot"), "@order")
        writer = mine or theirs
        if writer is not None:
            about, against = (device, other) if mine else (other, device)
            work.fail(about, writer, f"boot order {order} is {name_of(against)}'s", "another order")
    os = child(work.tree.root, "os")
    boot_of_os = None if os is None else child(os, "boot")
    if boot_of_os is None or not orders:
        return
    by_os = wished(work, boot_of_os, "@dev") or wished(work, boot_of_os, PRESENCE)
    for device, boot in _boots(work):
        writer = wished(work, boot, "@order") or by_os
        if writer is not None:
            fact = "boot orders of devices and <os><boot/> exclude each other"
            work.fail(device, writer, fact, "say it in one of the two ways")
            return


def _boots(work: Pass) -> Iterator[tuple[Element, Element]]:
    for device in work.devices.iterchildren("*"):
        boot = child(device, "boot")
        if boot is not None:
            yield device, boot


def _drives(work: Pass, fresh: dict[Element, Writer]) -> None:
    for device, writer in fresh.items():
        if device.tag == "disk" and device.get("device") in ("cdrom", "floppy") and bus_of(device) in FIXED:
            fact = f"a {device.get('device')} does not go on bus '{bus_of(device)}'"
            work.fail(device, writer, fact, "bus='sata', 'scsi' or 'usb' takes one")


def _queues(work: Pass) -> None:
    """Queues are virtio-scsi's (libvirt 9.0.0, qemuValidateDomainDeviceDefControllerSCSI)."""
    for controller in work.devices.iterchildren("controller"):
        if controller.get("type") != "scsi" or (controller.get("model") or "").startswith("virtio"):
            continue
        writer = wished(work, child(controller, "driver"), "@queues")
        if writer is not None:
            has = controller.get("model") or "libvirt chooses"
            fact = f"queues are virtio-scsi's, and its model is '{has}'"
            work.fail(
                controller, writer, fact, "say model='virtio-scsi' beside them: then only those get them"
            )


def _pages(work: Pass) -> None:
    """One size of huge pages is for all that has none of its own."""
    root = work.tree.root
    pages = [one for one in root.iterfind("memoryBacking/hugepages/page") if one.get("nodeset") is None]
    for one in pages[1:]:
        writer = wished(work, one, "@size") or wished(work, pages[0], "@size")
        if writer is not None:
            sizes = " and ".join(f"'{page.get('size')}'" for page in pages)
            work.refuse(f"huge pages of {sizes} are both for all nodes", writer, "give one of them a nodeset")
            return


def _not_x86(work: Pass) -> None:
    """Features that need x86, or UEFI elsewhere (libvirt 9.0.0, qemu_validate.c)."""
    features = child(work.tree.root, "features")
    os = child(work.tree.root, "os")
    if features is None or os is None:
        return
    acpi = child(features, "acpi")
    writer = wished(work, acpi, PRESENCE)
    if work.family == "virt" and writer is not None:
        loader = child(os, "loader")
        if os.get("firmware") != "efi" and (loader is None or loader.get("type") != "pflash"):
            work.refuse("ACPI needs UEFI on this machine", writer, "firmware='efi' on <os>")
    hyperv = child(features, "hyperv")
    if hyperv is not None:
        for one in (hyperv, *hyperv.iterchildren("*")):
            writer = wished(work, one, "@state") or wished(work, one, PRESENCE)
            if writer is not None:
                hint = "<match test=\"vp:machine('q35') or vp:machine('pc')\"/> keeps the profile away"
                work.refuse(f"machine '{work.machine}' has no Hyper-V features", writer, hint)
                return


@cache
def _listed() -> list[tuple[list[str], str, str, str, list[str]]]:
    found = rows(DATA / "domcaps.tsv")
    return [
        (path.split("/"), slot, where, enum, besides.split(" "))
        for path, slot, where, enum, besides, _ in found
    ]


def _capabilities(work: Pass, known: Element) -> None:
    """A profile's word has to stand in the domain capabilities, where they list such words."""
    for tags, slot, where, enum, besides in _listed():
        listed = known.findall(f"{where}/enum[@name='{enum}']/value")
        if not listed:
            continue
        words = [one.text for one in listed]
        for element in work.tree.root.iterfind("/".join(tags)):
            value = element.get(slot[1:])
            writer = None if value in (None, *words, *besides) else wished(work, element, slot)
            if writer is None:
                continue
            device = element if tags[0] != "devices" or len(tags) == 2 else element.getparent()
            fact = f"{slot[1:]} '{value}' is not among what the domain capabilities list"
            work.fail(device, writer, fact, "there are " + ", ".join(map(str, words)))
