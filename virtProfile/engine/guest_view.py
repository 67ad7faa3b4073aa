# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guest will see of its machine that it did not see before, in words.

One line for each device or group of features, and profile; which values count is data
(format/data/abi.tsv). A device that comes as a whole is none of it, one that a profile takes
away is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtProfile.engine.tree.ownership import WITHDRAW
from virtProfile.format.buses import implied_bus, letters, name_of, renamed
from virtProfile.format.document import local
from virtProfile.format.element import PRESENCE, TEXT, child, parent_of
from virtProfile.result import GUEST_ABI, Warning

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from virtProfile.engine.tree.changes import Difference
    from virtProfile.engine.tree.work_tree import WorkTree
    from virtProfile.format.element import Element
    from virtProfile.format.paths import Paths
    from virtProfile.format.schema import PathNode, Schema

#: What people call a device whose element has another name.
DEVICES = {
    "interface": "NIC",
    "video": "video card",
    "sound": "sound card",
    "memballoon": "memory balloon",
    "rng": "random number generator",
    "tpm": "TPM",
    "panic": "panic device",
    "iommu": "IOMMU",
}
#: What people call a bus.
_BUSES = {"ide": "IDE", "sata": "SATA", "scsi": "SCSI", "usb": "USB", "fdc": "the floppy controller"}
#: Values that say more in other words: path and slot, value (None: nothing is written) -> words.
_VALUES: dict[tuple[str, str | None], str] = {
    ("os/@firmware", "efi"): "UEFI",
    ("os/@firmware", "bios"): "BIOS",
    ("os/@firmware", None): "BIOS",
    ("clock/@offset", "utc"): "UTC",
    ("clock/@offset", None): "UTC",
    ("clock/@offset", "localtime"): "local time",
}
#: What a value is called; the rest is called as it is written.
_SLOTS = {
    "os/@firmware": "firmware",
    "os/type/@machine": "machine",
    "os/type/@arch": "architecture",
    "os/loader/text()": "loader",
    "cpu/@mode": "CPU mode",
    "cpu/model/text()": "CPU model",
    "clock/@offset": "a clock in",
    "launchSecurity/@type": "launch security",
}
#: Where the image of the firmware is named, and its variables.
_FIRMWARE = ("os/loader", "os/nvram")
#: Groups of which only the members are listed: prefix of the path -> what they are called.
_LISTS = {
    "features/hyperv/": "Hyper-V enlightenments",
    "features/kvm/": "KVM features",
    "features/": "features",
    "sysinfo": "other system information",
    "cpu/topology": "another CPU topology",
    "cpu/numa": "other NUMA nodes",
    "cpu/feature": "other CPU features",
    "os/firmware/feature": "firmware features",
    "genid": "another generation ID",
}


def guest_view(tree: WorkTree, schema: Schema, found: Sequence[Difference], paths: Paths) -> list[Warning]:
    """What is filled, changed or taken away of what the guest sees, on a VM that libvirt keeps.

    :param found: what differs between input and output
    """
    if child(tree.root, "uuid") is None:
        return []
    groups: dict[tuple[Element | str, str], list[tuple[Difference, str]]] = {}
    slots = schema.facts.abi_slots
    for difference in found:
        subject = _subject(tree, schema, difference, paths) if difference.slot in slots else None
        if subject is not None:
            key, path = subject
            groups.setdefault((key, difference.owners[0].origin.profile), []).append((difference, path))
    warnings = []
    firmware = [row for (key, _), members in groups.items() if key == "os" for row in members]
    for (key, profile), members in groups.items():
        origin = members[0][0].owners[0].origin
        if isinstance(key, str):
            phrases = list(_feature_group(key, members))
            if firmware and any(_is_firmware(path, difference.slot) for difference, path in members):
                phrases = [*_firmware(tree, firmware), *phrases]
                firmware = []  # several profiles may have changed it: once is enough
        elif not tree.stands(key):
            phrases = []
            text = f"the guest will no longer see {_device(key)} ({profile})"
            warnings.append(Warning(GUEST_ABI, text, str(origin), profile))
        elif tree.original(key) and not tree.in_source(key):  # it comes back as a whole, from the record
            phrases = [f"{_device(key)} again"] if _is_seen(schema, key.tag) else []
        else:
            phrases = list(_changed_device(tree, key, members))
        if phrases:
            text = f"the guest will see {', '.join(phrases)} ({profile})"
            warnings.append(Warning(GUEST_ABI, text, str(origin), profile))
    moved = [row for members in groups.values() for row in members if row[1] == "target"]
    if moved:
        first, then = (_boots_from(tree, before) for before in (True, False))
        if first is not None and then is not None and first is not then:
            origin = moved[0][0].owners[0].origin
            text = f"the guest will boot from {_device_before(tree, then)} instead of"
            text += f" {_device_before(tree, first)}: write <boot order='1'/> into that"
            warnings.append(Warning(GUEST_ABI, f"{text} ({origin.profile})", str(origin), origin.profile))
    return warnings


def _boots_from(tree: WorkTree, before: bool) -> Element | None:
    """The disk that comes first, where no <boot order> says another.

    libvirt keeps the disks of a bus together, in the order of their letters (virDomainDiskInsert).
    """
    buses: dict[str, int] = {}
    rows = []
    devices = child(tree.root, "devices")
    for number, disk in enumerate(() if devices is None else devices.iterchildren("disk")):
        target = child(disk, "target")
        if child(disk, "boot") is not None:
            return None
        if target is None or disk.get("device", "disk") != "disk" or (before and not tree.original(disk)):
            continue
        dev, bus = (
            tree.before(target, slot) if before else target.get(slot[1:]) for slot in ("@dev", "@bus")
        )
        at = buses.setdefault(bus or implied_bus(dev or ""), len(buses))
        rows.append((at, letters(dev or "") or 0, number, disk))
    return min(rows)[3] if rows else None


def _subject(
    tree: WorkTree, schema: Schema, difference: Difference, paths: Paths
) -> tuple[Element | str, str] | None:
    """The device or the group of features that the difference is about, and its path below that."""
    element = difference.element
    gone = difference.op == "remove" and not tree.stands(element)
    action = difference.owners[0].origin.action
    if gone and action not in ("remove", WITHDRAW):
        return None
    node = None if gone else paths.node(element)
    if not gone and (node is None or difference.slot not in node.abi):
        return None
    tags = [element.tag]
    device = element
    while True:
        parent = _parent(tree, device)
        if parent is None or parent is tree.root:
            break
        if parent.tag != "devices":
            tags.insert(0, parent.tag)
            device = parent
            continue
        if gone:
            is_whole = action == "remove" and not tree.stands(device)
            return (device, "") if is_whole and _is_seen(schema, device.tag) else None
        break
    feature = parent is None or parent is tree.root
    if gone:
        node = _node(schema, tags)
    if node is None or difference.slot not in node.abi or gone and not feature:
        return None
    # of what there is one, model='none' is no device: it keeps libvirt's own away
    if not feature and _in_new_thing(tree, element, paths) and (node.many or difference.after != "none"):
        return None
    if feature:
        path = "/".join([local(tag) for tag in tags])
        if path.startswith("os/smbios"):
            return "sysinfo", path
        group = next((prefix for prefix in _LISTS if path.startswith(prefix.rstrip("/"))), local(tags[0]))
        return group, path
    return device, "/".join([local(tag) for tag in tags[1:]])


def _parent(tree: WorkTree, element: Element) -> Element | None:
    """The element's parent, also of one that was taken out."""
    if element in tree.removed:
        return tree.removed[element][0]
    return tree.graves[element].parent if element in tree.graves else element.getparent()


def _node(schema: Schema, tags: Sequence[str]) -> PathNode | None:
    node: PathNode | None = schema.root
    for tag in tags:
        node = None if node is None else node.child(tag)
    return node


def _is_seen(schema: Schema, tag: str) -> bool:
    """Does the guest see such a device, and not only who looks at it from outside?"""
    devices = schema.root.child("devices")
    node = None if devices is None else devices.child(tag)
    if node is None or tag == "controller":  # controllers come and go with their devices
        return False
    below = (node.child(part) for part in ("model", "target", "backend"))
    return bool(node.abi) or any(part is not None and part.abi for part in below)


def _in_new_thing(tree: WorkTree, element: Element, paths: Paths) -> bool:
    """Is it part of a device (or the like) that is new as a whole?"""
    while not tree.original(element):
        node = paths.node(element)
        parent = element.getparent()
        if node is not None and node.many or parent is not None and parent.tag == "devices":
            return True
        element = parent_of(element)
    return False


def _device(device: Element) -> str:
    word, _, rest = name_of(device).partition(" ")
    if word == "interface":  # its type is the host's business, and another when it is changed
        mac = child(device, "mac")
        rest = mac.get("address", "") if mac is not None else ""
        rest = rest or str(1 + sum(1 for _ in device.itersiblings("interface", preceding=True)))
    return " ".join(filter(None, (f"the {DEVICES.get(word, word)}", rest)))


def _firmware(tree: WorkTree, members: Sequence[tuple[Difference, str]]) -> Iterator[str]:
    """The firmware: what kind, whose, and with which variables."""
    changed = {
        f"{path}/{difference.slot}": (difference.before, difference.after) for difference, path in members
    }
    os = child(tree.root, "os")
    loader = None if os is None else child(os, "loader")
    efi = None if os is None else os.get("firmware")
    kind = None if loader is None else loader.get("type")
    old, new = (
        _kind_of_firmware(*(changed.get(at, (now, now))[side] for at, now in rows))
        for side in (0, 1)
        for rows in [(("os/@firmware", efi), ("os/loader/@type", kind))]
    )
    if old != new:
        yield f"firmware {new} instead of {old}"
        return
    before, after = changed.get(f"os/loader/{TEXT}", (None, None))
    if before is not None and after is not None:
        yield f"firmware {after} instead of {before}"
    elif before is not None or after is not None:
        yield f"firmware {after or 'that libvirt chooses'}" + (f" instead of {before}" if before else "")
    elif any(at.startswith("os/nvram") for at in changed):
        yield "other variables of its firmware"
    else:
        for difference, path in members:
            if path == "os/loader" and difference.slot != PRESENCE and difference.before != difference.after:
                yield _value(f"{path}/{difference.slot}", difference.before, difference.after)


def _is_firmware(path: str, slot: str) -> bool:
    return path.startswith(_FIRMWARE) or path == "os" and slot == "@firmware"


def _kind_of_firmware(firmware: str | None, loader: str | None) -> str:
    if firmware is None:
        return "UEFI" if loader == "pflash" else "BIOS"
    return _VALUES.get(("os/@firmware", firmware), firmware)


def _feature_group(group: str, members: Sequence[tuple[Difference, str]]) -> Iterator[str]:
    label = _LISTS.get(group)
    if label is None:
        for difference, path in members:
            if _is_firmware(path, difference.slot):
                continue
            at = path if difference.slot == PRESENCE else f"{path}/{difference.slot}"
            phrase = _value(at, difference.before, difference.after)
            if phrase:
                yield phrase
        return
    if not group.startswith(("features/", "os/firmware")):
        yield label
        return
    came = [path.rpartition("/")[2] for difference, path in members if difference.op != "remove"]
    went = [path.rpartition("/")[2] for difference, path in members if difference.op == "remove"]
    if group == "os/firmware/feature":
        came = [f"{difference.element.get('name')} {_state(difference)}" for difference, _ in members
                if difference.slot == "@enabled"]  # fmt: skip
        went = []
    elif group == "features/":
        came = [_named_state(difference, path) for difference, path in members if difference.op != "remove"]
    if came:
        yield f"{label} {', '.join(dict.fromkeys(came))}"
    if went:
        yield f"no {label} {', '.join(dict.fromkeys(went))}"


def _state(difference: Difference) -> str:
    return "off" if difference.after in ("no", "off") else "on"


def _named_state(difference: Difference, path: str) -> str:
    name = path.rpartition("/")[2]
    return f"{name} off" if difference.after in ("no", "off") else name


def _changed_device(
    tree: WorkTree, device: Element, members: Sequence[tuple[Difference, str]]
) -> Iterator[str]:
    """A device of the VM, and what is another in it."""
    parts = []
    moved = False
    buses = any(path == "target" and difference.slot == "@bus" for difference, path in members)
    for difference, path in members:
        if buses and path == "" and difference.slot == "@model":
            continue  # it goes with the bus
        if path == "address":
            moved = moved or difference.before is not None and difference.after is not None
            continue
        at = f"{path}/{difference.slot}".lstrip("/")
        before, after = difference.before, difference.after
        if at == "target/@bus" or at == "@bus":
            old, new = (_BUSES.get(bus or "", bus) for bus in (before, after))
            parts.append(
                f"on {new} instead of {old}" if old and new else f"on {new}" if new else f"off {old}"
            )
        elif (at == "@model" or at == "model/@type") and after:
            if after == "none":
                yield f"no {DEVICES.get(device.tag, device.tag)} any more"
            elif before == "none":
                yield f"a new {DEVICES.get(device.tag, device.tag)} ({after})"
            else:
                parts.append(f"as {after}" + (f" instead of {before}" if before else ""))
        elif before is not None or after is not None:
            word = at.removesuffix("/" + TEXT).replace("/@", " ").replace("@", "").replace("/", " ")
            parts.append(_change(word, before, after))
    if moved and not buses:
        parts.append("at another address")
    if parts:
        yield f"{_device_before(tree, device)} {' and '.join(parts)}"


def _device_before(tree: WorkTree, device: Element) -> str:
    """A device by the name that it had, and the one that it gets, if that is another."""
    if device.tag in DEVICES and device.tag != "interface":
        return f"the {DEVICES[device.tag]}"  # its name would be what changes
    target = child(device, "target")
    name = _device(device).removeprefix("the ")
    if target is None or not tree.original(target):
        return name
    old, new = tree.before(target, "@dev"), target.get("dev")
    if old is None or new is None or old == new or renamed(old, target.get("bus", "")) is None:
        return name
    return f"{device.tag} {old} (now {new})"


def _value(at: str, before: str | None, after: str | None) -> str:
    """A value of a feature: ``firmware UEFI instead of BIOS``; "" where there is nothing to say."""
    before, after = _VALUES.get((at, before), before), _VALUES.get((at, after), after)
    if before == after or at in ("cpu/@check", "cpu/@match"):
        return ""
    word = _SLOTS.get(at) or at.removesuffix("/" + TEXT).replace("/@", " ").replace("/", " ")
    return _change(word, before, after)


def _change(word: str, before: str | None, after: str | None) -> str:
    if after is None:
        return f"no {word} (it was {before})"
    return f"{word} {after}" + (f" instead of {before}" if before is not None else "")
