# SPDX-License-Identifier: GPL-2.0-or-later
"""Storage for disks that profiles add with a size: as virt-install's ``--disk size=`` has it made.

A disk's object gets a storage creator, and the installer creates the storage
when it starts the guest, and for ``--print-xml`` without ``--dry-run``, as it does for ``--disk``.
"""

import os

from virtinst.devices import DeviceDisk
from virtinst.storage import StoragePool, StorageVolume
from virtProfile.errors import CompletionError

_GIB = 1024**3


def give_storage(guest, sizes, choose=False):
    """Let the storage of a guest's disks be created, where there is none.

    :param sizes: bytes, and file and line of who asks for them, by position among the disks
    :param choose: also where it is, and the format, for a disk that does not say: a new
        volume of the default pool, as virt-install does
    :raises CompletionError: it cannot be made
    """
    for position, (size, where) in sorted(sizes.items()):
        disk = guest.devices.disk[position]
        try:
            _give(guest, disk, size, choose)
        except (ValueError, RuntimeError, OSError, _libvirt_error()) as problem:
            name = "disk %s" % disk.target if disk.target else "a disk"
            fact = " ".join(str(problem).split())
            raise CompletionError(
                "no storage can be made for %s: %s" % (name, fact),
                hint="a storage pool of the connection has to have its place: virsh pool-list --details",
                where=where,
            ) from None


def _give(guest, disk, size, choose):
    conn = guest.conn
    if disk._storage_backend.will_create_storage() or disk.storage_was_created:
        return
    named = (disk.source.pool, disk.source.volume)
    if any(named):
        pool = conn.storagePoolLookupByName(named[0])
        StoragePool.ensure_pool_is_running(pool)
        name = named[1]
        if name in pool.listVolumes():
            return
    elif disk.get_source_path():
        disk.set_backend_for_existing_path()
        if not disk.wants_storage_creation():
            return
        pool, name = disk.get_parent_pool(), os.path.basename(disk.get_source_path())
    elif choose:
        default = StoragePool.build_default_pool(conn)
        pool, name = conn.storagePoolLookupByName(default.name if default else "default"), None
        StoragePool.ensure_pool_is_running(pool)
    else:
        return
    kind = _format(conn, disk, pool, choose)
    if name is None:
        suffix = StorageVolume.get_file_extension_for_format(kind)
        base = guest.name or "disk"
        name = StorageVolume.find_free_name(conn, pool, base, suffix=suffix, collideguest=guest)
    volume = DeviceDisk.build_vol_install(conn, name, pool, size / _GIB, True, fmt=kind)
    disk.set_vol_install(volume)
    if any(named):
        disk.source.pool, disk.source.volume = named


def _format(conn, disk, pool, choose):
    """The format of a new volume; None where the pool has no formats."""
    if pool is None:
        return None
    volume = StorageVolume(conn)
    volume.pool = pool
    if not volume.supports_format():
        return None
    if disk.driver_type or not choose:
        return disk.driver_type or "raw"  # what QEMU takes a disk for that says nothing
    return "qcow2" if conn.support.conn_default_qcow2() else "raw"


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
                volume.delete(0)
            raise


def _libvirt_error():
    import libvirt

    return libvirt.libvirtError
