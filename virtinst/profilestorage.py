# SPDX-License-Identifier: GPL-2.0-or-later
"""Storage for disks that profiles add with a size: as virt-install's ``--disk size=`` has it made.

A disk's object gets a storage creator, and the installer creates the storage
when it starts the guest, and for ``--print-xml`` without ``--dry-run``, as it does for ``--disk``.
"""

import os

from virtinst.devices import DeviceDisk
from virtinst.diskbackend import ManagedStorageCreator
from virtinst.logger import log
from virtinst.storage import StoragePool, StorageVolume
from virtProfile.errors import CompletionError
from virtProfile.live.volumes import PLAIN_FORMAT, SHARED_HINT

_GIB = 1024**3


def give_storage(guest, sizes, choose=False, judge=True):
    """Let the storage of a guest's disks be created, where there is none.

    :param sizes: bytes, and file and line of who asks for them, by position among the disks
    :param choose: also where it is, and the format, for a disk that does not say: a new
        volume of the default pool, as virt-install does
    :param judge: whether there is room, too
    :raises CompletionError: it cannot be made, or another domain has it
    """
    for position, (size, where) in sorted(sizes.items()):
        disk = guest.devices.disk[position]
        try:
            made = _creation(guest, disk, size, choose)
            if made and judge:
                disk.validate()
        except (ValueError, RuntimeError, OSError, libvirt_error()) as problem:
            raise _cannot(disk, problem, where) from None
        if not made and not choose:  # virt-install has its own check, and its own option against it
            _check_users(guest, disk, where)


def _creation(guest, disk, size, choose):
    """Give a disk its creator; False where its storage exists."""
    conn = guest.conn
    if disk._storage_backend.will_create_storage() or disk.storage_was_created:
        return True
    pool, name = None, disk.source.volume
    if disk.source.pool:
        pool = conn.storagePoolLookupByName(disk.source.pool)
        StoragePool.ensure_pool_is_running(pool)
        if name in pool.listVolumes():
            return False
    elif disk.get_source_path():
        disk.set_backend_for_existing_path()
        if not disk.wants_storage_creation():
            return False
        pool, name = disk.get_parent_pool(), os.path.basename(disk.get_source_path())
    elif choose:
        default = StoragePool.build_default_pool(conn)
        pool = conn.storagePoolLookupByName(default.name if default else "default")
        StoragePool.ensure_pool_is_running(pool)
    else:
        return False
    kind = _format(conn, disk, pool, choose)
    if name is None:
        suffix = StorageVolume.get_file_extension_for_format(kind)
        base = guest.name or "disk"
        name = StorageVolume.find_free_name(conn, pool, base, suffix=suffix, collideguest=guest)
    volume = DeviceDisk.build_vol_install(conn, name, pool, size / _GIB, True, fmt=kind)
    if choose and not disk.source.pool:
        disk.set_vol_install(volume)  # writes down where, and as what
    else:
        disk._storage_backend = ManagedStorageCreator(conn, volume)  # that is said
    return True


def resize(disk, size, where):
    """Let the storage that a disk will have created be of another size.

    :param size: in bytes
    :raises CompletionError: there is no room
    """
    volume = disk.get_vol_install()
    if volume.allocation == volume.capacity:
        volume.allocation = size
    volume.capacity = size
    try:
        disk.validate()
    except (ValueError, RuntimeError, libvirt_error()) as problem:
        raise _cannot(disk, problem, where) from None


def _cannot(disk, problem, where):
    """The error of a disk whose storage cannot be made."""
    name = "disk %s" % disk.target if disk.target else "a disk"
    fact = " ".join(str(problem).split())
    hint = ""
    if not isinstance(problem, ValueError):
        hint = "a storage pool of the connection has to have its place: virsh pool-list --details"
    return CompletionError("no storage can be made for %s: %s" % (name, fact), hint=hint, where=where)


def _check_users(guest, disk, where):
    """
    :raises CompletionError: the storage of the disk is another domain's
    """
    names = [name for name in disk.is_conflict_disk() if name != guest.name]
    if names:
        raise CompletionError(
            "%s exists and is a disk of '%s'" % (disk.get_source_path(), "', '".join(names)),
            hint=SHARED_HINT,
            where=where,
        )


def _format(conn, disk, pool, choose):
    """The format of a new volume; None where the pool has no formats.

    :raises ValueError: the disk is of one all the same
    """
    if pool is None:
        return None
    volume = StorageVolume(conn)
    volume.pool = pool
    if not volume.supports_format():
        if disk.driver_type not in (None, PLAIN_FORMAT):
            raise ValueError("its pool has no volumes of format %s" % disk.driver_type)
        return None
    if disk.driver_type or not choose:
        return disk.driver_type or PLAIN_FORMAT  # what QEMU takes a disk for that says nothing
    return "qcow2" if conn.support.conn_default_qcow2() else PLAIN_FORMAT


class StorageFirst:
    """A connection that creates the storage of a guest's disks before it takes its XML.

    What it created goes again where libvirt refuses the guest.
    """

    def __init__(self, conn, guest, meter):
        """:param meter: makes a meter of progress"""
        self._conn = conn
        self._guest = guest
        self._meter = meter

    def __getattr__(self, name):
        return getattr(self._conn, name)

    def defineXML(self, xml):
        return self._after(self._conn.defineXML, xml)

    def createXML(self, xml):
        return self._after(self._conn.createXML, xml)

    def _after(self, take, xml):
        made = []
        try:
            for disk in self._guest.devices.disk:
                if disk._storage_backend.will_create_storage():
                    disk.build_storage(self._meter())
                    made.append(disk.get_vol_object())
            return take(xml)
        except Exception:
            for volume in made:
                try:
                    volume.delete(0)
                except libvirt_error() as problem:  # why libvirt refused matters more
                    log.error("Failed to remove disk '%s': %s", volume.name(), problem)
            raise


def libvirt_error():
    """The class of libvirt's errors, imported when one is awaited."""
    import libvirt

    return libvirt.libvirtError
