# SPDX-License-Identifier: GPL-2.0-or-later
"""Profiles on Guest objects: ``virtinst.apply_profiles``, and what ``virt-install`` makes of a guest.

The engine is `virtProfile`'s; here a guest becomes its input, and its result
the same guest again.
"""

import os

from lxml import etree

from virtinst.devices import DeviceInterface
from virtinst.guest import Guest
from virtProfile.engine.flow import Call, run
from virtProfile.format.values import kib_of
from virtProfile.host.context import Context
from virtProfile.language.profile import DEFINITION_PRIORITY
from virtProfile.language.requests import read_requests
from virtProfile.language.store import ProfileStore
from virtProfile.live.volumes import human

from . import profilecarry
from .profilestorage import give_storage, libvirt_error, resize


def profile_store(directories=()):
    """The profiles of the search path, as ``virt-profile`` finds them.

    :param directories: looked at first
    """
    from virtProfile.language.search_path import search_path

    return ProfileStore(search_path(directories, os.environ))


def host_context(conn, root):
    """What the guest's connection tells profiles that ask: schema, capabilities, versions.

    :param root: the domain, as an lxml element; domain capabilities are those for it
    """
    from virtProfile.live.call_context import host_schema
    from virtProfile.live.connection import daemon_of

    kind = root.find("os/type")
    machine = {} if kind is None else kind.attrib
    try:
        capabilities: tuple[str, ...] = (conn.getCapabilities(),)
    except (RuntimeError, OSError, libvirt_error()):
        capabilities = ()
    try:
        domcapabilities: tuple[str, ...] = (
            conn.getDomainCapabilities(
                root.findtext("devices/emulator"),
                machine.get("arch"),
                machine.get("machine"),
                root.get("type"),
                0,
            ),
        )
    except (RuntimeError, OSError, libvirt_error()):
        domcapabilities = ()
    return Context(
        schema=None if conn.is_remote() else host_schema(needed=False),
        capabilities=capabilities,
        domcapabilities=domcapabilities,
        qemu_version=conn.conn_version() if conn.is_qemu() else None,
        daemon=daemon_of(conn.uri),
    )


def apply_profiles(guest, profiles, *, store=None, context=None, auto=False, override=False, record=True):
    """Apply profiles to a Guest in place; gives the engine's `virtProfile.Result`.

    Objects of devices that stay go on, with the storage that they will create.
    What the guest says is the VM definition, of priority 99; nothing is completed
    but what the profiles' own devices need.

    :param profiles: names, or mappings with "name" and optional "priority", "version", "params"
    :param store: a `virtProfile.ProfileStore`; None is the search path of ``virt-profile``
    :param context: a `virtProfile.Context`; None is what the guest's connection tells
    :raises virtProfile.ProfileError: the guest is as it was
    """
    root, devices = profilecarry.marked(guest)
    text = etree.tostring(root, encoding="unicode")
    call = Call(
        text,
        read_requests(profiles),
        profile_store() if store is None else store,
        host_context(guest.conn, root) if context is None else context,
        guest.name or "<guest>",
        auto,
        override,
        record,
    )
    result = run(call)
    if result.xml != text:
        sizes = _sizes(result.xml, result.storage)
        trial = profilecarry.clone(guest, result.xml, devices) if sizes else None
        if trial is not None:
            give_storage(trial, sizes)  # what cannot be made is told before the guest is another
        profilecarry.adopt(guest, result.xml, devices)
        if trial is None:
            return result
        for position in sizes:
            guest.devices.disk[position]._storage_backend = trial.devices.disk[position]._storage_backend
    return result


def _at(root, path):
    """The element at a path of a result."""
    found = root.xpath(path)
    return found[0]


def _sizes(text, storage):
    """Of the storage of a domain's disks bytes, and file and line of who asks, by the disk's position."""
    if not storage:
        return {}
    root = etree.fromstring(text.encode())
    disks = root.findall("devices/disk")
    return {
        disks.index(_at(root, disk.path)): (disk.size, "%s:%d" % (disk.origins[0].file, disk.origins[0].line))
        for disk in storage
    }


class NewGuest:
    """A guest that virt-install is making: what it was told, and what it fills in by itself.

    What was told is the VM definition. The rest are defaults, which yield to profiles:
    they are filled in around these, know what these want not to be there, and conditions
    of profiles see them.
    """

    #: What the host's capabilities fill in: attributes of Guest, and where they stand in the XML.
    BY_CAPABILITIES = {
        "type": ".",
        "os.os_type": "os/type",
        "os.arch": "os/type",
        "os.machine": "os/type",
        "os.loader": "os/loader",
        "emulator": "devices/emulator",
    }

    def __init__(self, wishes):
        """:param wishes: mappings as `apply_profiles` takes them"""
        self.wishes = wishes
        #: the disk that virt-install makes for the OS where none is told
        self.default_disk = None
        #: what profiles ask of disks that they do not add: is it in vain, and what to tell
        self.sizes = []
        self._open = {}
        self._later = {}

    def open_before(self, guest, names):
        """Note which of these attributes nobody has said so far."""
        for name in names:
            holder, slot = _slot(guest, name)
            self._open.setdefault(name, not getattr(holder, slot))

    def filled(self, guest, names):
        """Of those that were open, note what stands there now: a default."""
        for name in names:
            holder, slot = _slot(guest, name)
            value = getattr(holder, slot)
            if self._open.get(name) and value:
                self._later[name] = list(value) if isinstance(value, list) else value

    def shape(self, guest, store):
        """Set the guest's defaults and apply the profiles, in place; gives the engine's Result.

        :raises virtProfile.ProfileError: the profiles do not hold together on this guest
        """
        full, devices = profilecarry.marked(guest)
        context = host_context(guest.conn, self._defaulted(guest, full, devices))
        self._take_out(full)
        call = Call(
            etree.tostring(full, encoding="unicode"),
            read_requests(self.wishes),
            store,
            context,
            guest.name or "<guest>",
            complete=True,
            maker=lambda text, no_graphics, sizes: self._complete(
                guest, text, devices, no_graphics, sizes
            ).get_xml(),
        )
        result = run(call)
        profilecarry.adopt(guest, _identified(guest.conn, _in_kib(result.xml)), devices)
        guest._capsinfo = guest._domcaps = None  # of the guest before
        give_storage(guest, _sizes(result.xml, result.storage), choose=True)
        self._resize(guest, result)
        return result

    def _resize(self, guest, result):
        """A size that virt-install made up yields to a profile, one that was told to the override."""
        above = {profile.label for profile in result.applied if profile.priority > DEFINITION_PRIORITY}
        sizes = _sizes(result.xml, result.unused)
        for unused, (position, (size, where)) in zip(result.unused, sizes.items()):
            disk = guest.devices.disk[position]
            creates = disk.get_vol_install() is not None
            if creates and disk.get_vol_install().capacity == size:
                continue
            if creates and (disk is self.default_disk or unused.origins[0].profile in above):
                resize(disk, size, where)
                self.sizes.append(
                    (False, "%s: %s for disk %s" % (unused.origins[0], human(size), disk.target))
                )
            else:
                fact = "%s: %s for disk %s is not used: the disk is told with --disk"
                self.sizes.append((True, fact % (unused.origins[0], human(size), disk.target)))

    def _defaulted(self, guest, root, devices):
        made = self._complete(guest, etree.tostring(root, encoding="unicode"), devices, False, {})
        return etree.fromstring(made.get_xml().encode())

    def _complete(self, guest, text, devices, no_graphics, sizes):
        """virt-install's defaults on a rendering: another guest."""
        made = profilecarry.clone(guest, _in_kib(text), devices)
        made._capsinfo = made._domcaps = None  # as this rendering says, not as the guest did
        made.os.os_type = made.os.os_type or None  # "" would be another one
        if no_graphics:
            made.skip_default_graphics = True
        if not made.memory and not made.cpu.cells:
            said = made.currentMemory
            made.currentMemory = max(said or 0, self._later.get("currentMemory") or 0) or None  # and memory
            made.currentMemory = said or made.currentMemory
        if made.memory and not made.currentMemory:
            made.currentMemory = made.memory  # as --memory does; the installer compares it
        if not made.vcpus and "vcpus" in self._later:
            made.sync_vcpus_topology(self._later["vcpus"])
        by_device = any(device.boot.order for device in made.devices.get_all() if hasattr(device, "boot"))
        if not made.os.bootorder and not by_device:
            made.os.bootorder = self._later.get("os.bootorder", [])
        made.uuid = made.uuid or "00000000-0000-4000-8000-000000000000"  # else one is drawn
        for nic in made.devices.interface:
            nic.macaddr = nic.macaddr or "52:54:00:00:00:01"
        give_storage(made, sizes, choose=True, judge=False)
        made.set_defaults(None)
        return made

    def _take_out(self, root):
        """What virt-install filled in goes out of the definition."""
        for name, path in self.BY_CAPABILITIES.items():
            found = root.find(path)
            if found is None or not self._open.get(name):
                continue
            if name in ("type", "os.arch", "os.machine"):
                found.attrib.pop(name.rpartition(".")[2], None)
            else:
                found.text = None
            if not found.attrib and not (found.text or "").strip() and found is not root:
                _remove(found)
        for name, paths in (
            ("currentMemory", ("memory", "currentMemory")),
            ("vcpus", ("vcpu",)),
            ("os.bootorder", ("os/boot",)),
        ):
            if name in self._later:
                for path in paths:
                    for found in root.findall(path):
                        _remove(found)


def _slot(guest, name):
    first, _, second = name.rpartition(".")
    return (getattr(guest, first) if first else guest), second


def _in_kib(text):
    """The domain with its memory in KiB: virtinst reads the number and no unit."""
    root = etree.fromstring(text.encode())
    for name in ("memory", "currentMemory"):
        for size in root.findall(name):
            unit = size.get("unit")
            if unit is not None:
                del size.attrib["unit"]
                size.text = str(int(kib_of(size.text or "", unit) or 0))
    return etree.tostring(root, encoding="unicode")


def _identified(conn, text):
    """The domain with what virt-install draws by lot, where nobody says it: UUID and MACs."""
    root = etree.fromstring(text.encode())
    if root.find("uuid") is None:
        uuid = etree.Element("uuid")
        uuid.text = Guest.generate_uuid(conn)
        name = root.find("name")
        _insert(root, 0 if name is None else root.index(name) + 1, uuid)
    for nic in root.iterfind("devices/interface"):
        if nic.find("mac") is None:
            mac = etree.Element("mac", address=DeviceInterface.generate_mac(conn))
            source = nic.find("source")
            _insert(nic, 0 if source is None else nic.index(source) + 1, mac)
    return etree.tostring(root, encoding="unicode")


def _insert(parent, at, element):
    """Insert a child, on a line of its own where the others stand so."""
    element.tail = parent[at - 1].tail if at else parent.text
    parent.insert(at, element)


def _remove(element):
    """Take an element out, and the white space in front of it."""
    parent = element.getparent()
    before = element.getprevious()
    if before is None and element.getnext() is None:
        parent.text = None
    elif element.getnext() is None:
        before.tail = element.tail
    parent.remove(element)
