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

from virtProfile.engine.devices.iothreads import wished
from virtProfile.engine.devices.supplies import X86
from virtProfile.engine.tree.ownership import THE_DEFINITION
from virtProfile.errors import MissingContextError
from virtProfile.format.buses import bus_of, name_of
from virtProfile.format.element import (
    PRESENCE,
    TEXT,
    Element,
    attributes,
    child,
    elements_at,
    parent_of,
    text_of,
)
from virtProfile.format.facts import data_beside, rows
from virtProfile.format.values import decimal

if TYPE_CHECKING:
    from virtProfile.engine.devices.workspace import Workspace
    from virtProfile.engine.tree.ownership import Writer

_DATA = data_beside(__file__)

#: ISA serial ports that QEMU has; libvirt defines more, and the start fails.
MAX_SERIAL = 4
#: Cards that need not be the first (libvirt 9.0.0, qemu_validate.c).
_SECOND_CARDS = ("qxl", "virtio")
#: Buses without a drive that opens (libvirt 9.0.0: "does not support ejectable media").
FIXED = ("virtio", "sd")


def refuse(work: Workspace, fresh: dict[Element, Writer]) -> None:
    """Everything that profiles brought and libvirt would not take goes to the pass."""
    if work.family is None:
        return
    if work.family in X86:
        _serial(work, fresh)
    else:
        _not_x86(work)
    _video(work, fresh)
    _headless(work, fresh)
    _watchdogs(work, fresh)
    _framebuffers(work, fresh)
    _usb(work, fresh)
    _boot(work)
    _drives(work, fresh)
    _readonly(work)
    _bridges(work)
    _queues(work)
    _pages(work)
    _topology(work)
    left_of_displays(work)
    known = _known(work)
    if known is not None:  # it is about a host, not only about a file
        _spice(work, fresh)
        _capabilities(work, known)


def _known(work: Workspace) -> Element | None:
    """The domain capabilities that fit, or None."""
    if not work.context.domcapabilities:
        return None
    try:
        return work.context.documents.domcapabilities_for(work.tree.root)
    except MissingContextError:
        return None


def _serial(work: Workspace, fresh: dict[Element, Writer]) -> None:
    ports = []
    for port in work.devices.iterchildren("serial"):
        target = child(port, "target")
        if target is None or target.get("type", "isa-serial") == "isa-serial":
            ports.append(port)
    new = [port for port in ports if port in fresh]
    if len(ports) > MAX_SERIAL and new:
        fact = f"there are {len(ports)} ISA serial ports, and QEMU has {MAX_SERIAL}"
        work.fail(
            new[-1],
            fresh[new[-1]],
            fact,
            "use <target type='usb-serial'/> or 'pci-serial', which have no such limit",
        )


def _video(work: Workspace, fresh: dict[Element, Writer]) -> None:
    cards = list(work.devices.iterchildren("video"))
    concerned = [card for card in cards if card in fresh or _card_wish(work, card) is not None]
    if len(cards) < 2 or not concerned:
        return
    writer = fresh.get(concerned[-1]) or _card_wish(work, concerned[-1])
    assert writer is not None
    for card in cards:
        model = child(card, "model")
        if model is not None and model.get("type") == "none":
            fact = "a <video> with model 'none' says that there is no card, and another <video> is there"
            work.fail(concerned[-1], writer, fact, "remove one of the two")
            return
    first = [card for card in cards if (child(card, "model") is not None and _primary(card))]
    if len(first) > 1:
        work.fail(
            concerned[-1], writer, "only one <video> can be primary", "remove primary='yes' from one of them"
        )
        return
    primary = first[0] if first else cards[0]
    for card in cards:
        model = child(card, "model")
        kind = None if model is None else model.get("type")
        if card is not primary and kind is not None and kind not in _SECOND_CARDS:
            fact = f"a '{kind}' card can only be the primary one, and {name_of(primary)} is"
            work.fail(concerned[-1], writer, fact, "use qxl or virtio for the others")
            return


def _headless(work: Workspace, fresh: dict[Element, Writer]) -> None:
    """OpenGL without a window renders for VNC or SPICE (libvirt 9.0.0, qemu_validate.c)."""
    opened = [display for display in work.devices.iterchildren("graphics") if _is_open_gl(display)]
    for display in opened if len(opened) > 1 else ():
        writer = fresh.get(display) or wished(work, child(display, "gl"), "@enable")
        if writer is not None:
            work.fail(display, writer, "QEMU renders OpenGL for one display", "remove the other's <gl>")
            return
    displays = {display: display.get("type") for display in work.devices.iterchildren("graphics")}
    if "egl-headless" not in displays.values():
        return
    others = [display for display, kind in displays.items() if kind not in ("egl-headless", "vnc", "spice")]
    for display in [*others, *displays] if others else ():
        if display in fresh and (display in others or displays[display] == "egl-headless"):
            fact = f"'egl-headless' renders for VNC and SPICE, and not beside '{displays[others[0]]}'"
            work.fail(display, fresh[display], fact, "remove one of the two")
            return


def _watchdogs(work: Workspace, fresh: dict[Element, Writer]) -> None:
    """QEMU has one action for all watchdogs (libvirt 11.3.0, qemu_validate.c)."""
    watchdogs = list(work.devices.iterchildren("watchdog"))
    if len({watchdog.get("action", "reset") for watchdog in watchdogs}) < 2:
        return
    for watchdog in reversed(watchdogs):
        writer = fresh.get(watchdog) or wished(work, watchdog, "@action")
        if writer is not None:
            action = watchdog.get("action", "reset")
            other = next(one for one in watchdogs if one.get("action", "reset") != action)
            fact = f"its action is '{action}', and that of {name_of(other)} '{other.get('action', 'reset')}'"
            work.fail(watchdog, writer, fact, "give both the same action, as QEMU has one for all watchdogs")
            return


def _framebuffers(work: Workspace, fresh: dict[Element, Writer]) -> None:
    """One host device shows the boot on its display (libvirt 11.3.0, qemu_validate.c)."""
    shown = [device for device in work.devices.iterchildren("hostdev") if device.get("ramfb") == "on"]
    for device in shown if len(shown) > 1 else ():
        writer = fresh.get(device) or wished(work, device, "@ramfb")
        if writer is not None:
            work.fail(device, writer, "one host device can have ramfb='on'", "remove it from the other")
            return


def _is_open_gl(display: Element) -> bool:
    gl = child(display, "gl")
    return display.get("type") == "egl-headless" or (gl is not None and gl.get("enable") == "yes")


def _primary(card: Element) -> bool:
    model = child(card, "model")
    return model is not None and model.get("primary") == "yes"


def _card_wish(work: Workspace, card: Element) -> Writer | None:
    model = child(card, "model")
    return wished(work, model, "@type") or wished(work, model, "@primary")


def _usb(work: Workspace, fresh: dict[Element, Writer]) -> None:
    controllers = [
        controller
        for controller in work.devices.iterchildren("controller")
        if controller.get("type") == "usb"
    ]
    off = [controller for controller in controllers if controller.get("model") == "none"]
    if not off or len(off) < len(controllers):
        return
    off_by = wished(work, off[0], "@model")
    for device in work.users_of("usb"):
        writer = fresh.get(device) or off_by
        if writer is not None:
            fact = "it is on USB, which is off (controller usb model='none')"
            work.fail(device, writer, fact, "remove the device, or model='none' of the controller")
            return


def _spice(work: Workspace, fresh: dict[Element, Writer]) -> None:
    """What speaks to a SPICE client needs SPICE graphics."""
    if any(display.get("type") == "spice" for display in work.devices.iterchildren("graphics")):
        return
    for device, writer in fresh.items():
        if device.get("type") == "spicevmc":
            work.fail(device, writer, "type 'spicevmc' needs SPICE graphics", "add <graphics type='spice'/>")
            return


def left_of_displays(work: Workspace) -> None:
    """What needs a display that a profile took away: libvirt refuses it (9.0.0, qemu_validate.c)."""
    displays = {display.get("type") for display in work.devices.iterchildren("graphics")}
    if "spice" not in displays:
        _left_of_spice(work)
    if not displays:
        _shown_nowhere(work)


def _left_of_spice(work: Workspace) -> None:
    """What spoke to the SPICE client."""
    writer = _who_removed_displays(work, "spice")
    if writer is None:
        return
    left = [
        device
        for device in work.devices.iterchildren("*")
        if device.get("type") == "spicevmc" or device.tag == "audio" and device.get("type") == "spice"
    ]
    if left:
        parts = "".join(dict.fromkeys(f"<{device.tag} type='{device.get('type')}'/>" for device in left))
        fact = f"type '{left[0].get('type')}' needs SPICE graphics, which the profile removes"
        work.fail(left[0], writer, fact, f"remove them too: <remove><devices>{parts}</devices></remove>")


def _shown_nowhere(work: Workspace) -> None:
    """A host device whose picture goes to the VM's display."""
    for device in work.devices.iterchildren("hostdev"):
        if device.get("display") != "on":
            continue
        writer = _who_removed_displays(work) or wished(work, device, "@display")
        if writer is not None:
            fact = "display='on' needs graphics, and there are none"
            hint = 'remove it too: <remove select="devices/hostdev/@display"/>'
            work.fail(device, writer, fact, hint)
            return


def _who_removed_displays(work: Workspace, kind: str | None = None) -> Writer | None:
    return next(
        (
            writers[0]
            for gone, (_, writers) in work.tree.removed.items()
            if gone.tag == "graphics"
            and kind in (None, gone.get("type"))
            and writers[0] is not THE_DEFINITION
        ),
        None,
    )


def _topology(work: Workspace) -> None:
    """A topology has as many CPUs as the guest (libvirt 9.0.0: it doesn't match the maximum vcpu count)."""
    topology = work.tree.root.find("cpu/topology")
    vcpu = child(work.tree.root, "vcpu")
    said = None if vcpu is None else text_of(vcpu)
    if topology is None or decimal(said) is None:
        return
    count = 1
    for name in ("sockets", "dies", "clusters", "cores", "threads"):
        count *= decimal(topology.get(name)) or 1
    writers = [wished(work, topology, "@" + name) for name in attributes(topology)] + [
        wished(work, vcpu, TEXT)
    ]
    writer = next(
        (owner for owner in writers if owner is not None and owner.origin.action != "complete"), None
    )
    if count != decimal(said) and writer is not None:
        fact = f"<cpu><topology> has {count} CPUs and <vcpu> says {said}"
        work.refuse(fact, writer, "give <vcpu> the product of the numbers in <topology>, or change these")


def _boot(work: Workspace) -> None:
    """Boot orders are unique."""
    if "boot" not in [element.tag for element in work.tree.claims]:
        return  # no profile wants one
    orders: dict[str, Element] = {}
    for device, boot in _boots(work):
        order = boot.get("order", "")
        other = orders.setdefault(order, device)
        if other is device:
            continue
        ours = wished(work, boot, "@order")
        theirs = wished(work, child(other, "boot"), "@order")
        writer = ours or theirs
        if writer is not None:
            about, against = (device, other) if ours else (other, device)
            work.fail(
                about, writer, f"boot order {order} is taken by {name_of(against)}", "use another order"
            )


def _boots(work: Workspace) -> Iterator[tuple[Element, Element]]:
    for device in work.devices.iterchildren("*"):
        boot = child(device, "boot")
        if boot is not None:
            yield device, boot


def _drives(work: Workspace, fresh: dict[Element, Writer]) -> None:
    for device, writer in fresh.items():
        if device.tag == "disk" and device.get("device") in ("cdrom", "floppy") and bus_of(device) in FIXED:
            fact = f"a {device.get('device')} cannot be on bus '{bus_of(device)}'"
            work.fail(device, writer, fact, "use bus='sata', 'scsi' or 'usb'")


def _readonly(work: Workspace) -> None:
    """What a disk that cannot be written to cannot be (libvirt 9.0.0, qemu_validate.c)."""
    for readonly in elements_at(work.devices, "disk/readonly[1]"):
        disk = parent_of(readonly)
        driver, target = child(disk, "driver"), child(disk, "target")
        writer = wished(work, readonly, PRESENCE) or wished(work, driver, "@copy_on_read")
        if driver is not None and driver.get("copy_on_read") == "on" and writer is not None:
            work.fail(disk, writer, "copy_on_read writes, and it is read-only", "remove one of the two")
            continue
        writer = wished(work, readonly, PRESENCE) or wished(work, target, "@bus")
        if disk.get("device", "disk") == "disk" and bus_of(disk) in ("ide", "sata") and writer is not None:
            work.fail(
                disk, writer, f"no {bus_of(disk)} disk is read-only", "use another bus or remove <readonly>"
            )


def _bridges(work: Workspace) -> None:
    """What sits on a PCI controller sits on its model."""
    for controller in work.devices.iterchildren("controller"):
        if controller.get("type") != "pci" or not work.tree.original(controller):
            continue
        writer, before = wished(work, controller, "@model"), work.tree.before(controller, "@model")
        if writer is not None and before not in (None, controller.get("model")):
            fact = f"its model is '{before}', and what sits on it would have no place"
            work.fail(
                controller,
                writer,
                fact,
                "give it another index, for a controller beside the one that is there",
            )


def _queues(work: Workspace) -> None:
    """Queues are virtio-scsi's (libvirt 9.0.0, qemuValidateDomainDeviceDefControllerSCSI)."""
    for controller in work.devices.iterchildren("controller"):
        if controller.get("type") != "scsi" or (controller.get("model") or "").startswith("virtio"):
            continue
        writer = wished(work, child(controller, "driver"), "@queues")
        if writer is not None:
            has = controller.get("model") or "libvirt chooses"
            fact = f"only virtio-scsi has queues, and its model is '{has}'"
            work.fail(
                controller,
                writer,
                fact,
                "write model='virtio-scsi' beside them, so that only such controllers get them",
            )


def _pages(work: Workspace) -> None:
    """One size of huge pages is for all that has none of its own."""
    root = work.tree.root
    pages = [page for page in root.iterfind("memoryBacking/hugepages/page") if page.get("nodeset") is None]
    for other in pages[1:]:
        writer = wished(work, other, "@size") or wished(work, pages[0], "@size")
        if writer is not None:
            sizes = " and ".join(f"'{page.get('size')}'" for page in pages)
            work.refuse(
                f"huge pages of {sizes} are both for all NUMA nodes", writer, "give one of them a nodeset"
            )
            return


def _not_x86(work: Workspace) -> None:
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
            work.refuse("ACPI needs UEFI on this machine", writer, "write firmware='efi' on <os>")
    hyperv = child(features, "hyperv")
    if hyperv is not None:
        for feature in (hyperv, *hyperv.iterchildren("*")):
            writer = wished(work, feature, "@state") or wished(work, feature, PRESENCE)
            if writer is not None:
                hint = "add <match test=\"vp:machine('q35') or vp:machine('pc')\"/> to the profile"
                work.refuse(f"machine '{work.machine}' has no Hyper-V features", writer, hint)
                return


@cache
def _listed() -> list[tuple[list[str], str, str, str, list[str]]]:
    found = rows(f"{_DATA}/domcaps.tsv")
    return [
        (path.split("/"), slot, where, enum, besides.split(" "))
        for path, slot, where, enum, besides, _ in found
    ]


def _capabilities(work: Workspace, known: Element) -> None:
    """A profile's word has to stand in the domain capabilities, where they list such words."""
    for tags, slot, where, enum, besides in _listed():
        listed = known.findall(f"{where}/enum[@name='{enum}']/value")
        if not listed:
            continue
        words = [word.text for word in listed]
        for element in work.tree.root.iterfind("/".join(tags)):
            value = element.get(slot[1:])
            writer = None if value in (None, *words, *besides) else wished(work, element, slot)
            if writer is None:
                continue
            device = element if tags[0] != "devices" or len(tags) == 2 else parent_of(element)
            fact = f"{slot[1:]} '{value}' is not in the domain capabilities"
            work.fail(device, writer, fact, "use one of " + ", ".join(map(str, words)))
