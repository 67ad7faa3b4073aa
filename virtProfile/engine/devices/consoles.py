# SPDX-License-Identifier: GPL-2.0-or-later
"""The first console of type serial is the first serial port, part of `complete`.

libvirt shows one device twice: at define it writes on the console what the serial port says, and
makes the one that is missing. So a console of its own beside the port is a wish that cannot come
true, and who takes the last port away takes the console along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtProfile.engine.devices.iothreads import wished
from virtProfile.engine.tree.ownership import THE_DEFINITION
from virtProfile.format.element import PRESENCE, Element, attributes, child, copied

if TYPE_CHECKING:
    from virtProfile.engine.devices.workspace import Workspace
    from virtProfile.engine.tree.ownership import Writer

#: Serial ports that are the console (libvirt 9.0.0, src/conf/domain_conf.c, virDomainDefAddConsoleCompat).
_PORTS = {None, "isa-serial", "spapr-vio-serial", "system-serial", "sclp-serial"}
#: What both say.
_SHARED = ("source", "protocol")


def follow_serial(work: Workspace) -> None:
    """Make the console say what the serial port says, where a profile changed one of the two."""
    console, serial = _console(work), next(work.devices.iterchildren("serial"), None)
    if console is None:
        return
    if serial is None:
        _take_along(work, console)
    elif _target(serial) in _PORTS:
        _mirror(work, console, serial)


def _target(device: Element) -> str | None:
    target = child(device, "target")
    return None if target is None else target.get("type")


def _console(work: Workspace) -> Element | None:
    first = next(work.devices.iterchildren("console"), None)
    return first if first is not None and _target(first) in (None, "serial") else None


def _take_along(work: Workspace, console: Element) -> None:
    """No serial port is left: without the console libvirt makes none anew."""
    for gone in work.tree.removed.below(work.devices, "serial"):
        writer = work.tree.removed[gone][1][0]
        if writer is not THE_DEFINITION and work.actions.arbiter.beats(
            writer, work.tree.subtree_owners(console)
        ):
            work.tree.remove(console, [work.writer(gone, writer)])
            return


def _mirror(work: Workspace, console: Element, serial: Element) -> None:
    if _says(console) == _says(serial):
        return
    writer = _changer(work, console)
    if writer is None:
        return  # the definition's, which libvirt makes the same
    tree, kind = work.tree, serial.get("type") or "pty"
    owners = tree.owners(serial, "@type") or [THE_DEFINITION]
    if console.get("type") not in (None, kind):
        note = "the first console is the first serial port"
        work.actions.arbiter.lose(console, "@type", console.get("type"), kind, writer, owners, note)
        work.actions.losses[-1].final = True
    if console.get("type") != kind:
        tree.set(console, "@type", kind, writer)
    for below in [below for tag in _SHARED for below in console.iterchildren(tag)]:
        tree.remove(below, [writer])
    after = None
    for below in [below for tag in _SHARED for below in serial.iterchildren(tag)]:
        new = copied(below)
        new.tail = None
        tree.insert(console, after, new, writer)
        after = new


def _changer(work: Workspace, console: Element) -> Writer | None:
    """The profile that says what the console is connected to."""
    places = [
        (console, "@type"),
        *((below, PRESENCE) for tag in _SHARED for below in console.iterchildren(tag)),
    ]
    for element, slot in places:
        writer = wished(work, element, slot)
        if writer is not None:
            return writer
    return None


def _says(device: Element) -> tuple[str, list[tuple[str, dict[str, str]]]]:
    kind = device.get("type") or "pty"
    parts = [(below.tag, attributes(below)) for tag in _SHARED for below in device.iterchildren(tag)]
    return kind, [] if kind == "pty" else parts  # of a pty libvirt keeps no source
