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
        for other in list(work.devices.iterchildren("console")):
            if other is not console:
                _give_up(work, other, serial)


def _target(device: Element) -> str | None:
    target = child(device, "target")
    return None if target is None else target.get("type")


def _console(work: Workspace) -> Element | None:
    consoles = list(work.devices.iterchildren("console"))
    ours = [console for console in consoles if _target(console) in (None, "serial")]
    if not ours or _target(consoles[0]) not in (None, "serial"):
        return None
    return next((console for console in ours if work.tree.original(console)), ours[0])


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
    _lose(work, console, console, serial)
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


def _give_up(work: Workspace, console: Element, serial: Element) -> None:
    """A profile's second console of type serial, which libvirt does not take beside the port."""
    if work.tree.original(console) or _target(console) not in (None, "serial"):
        return
    _lose(work, work.devices, console, serial)
    work.tree.discard(console)


def _lose(work: Workspace, at: Element, console: Element, serial: Element) -> None:
    """What profiles say of the console, and the serial port says otherwise, is lost.

    :param at: where that is reported, the console or what it is in
    """
    places = [
        (console, serial),
        *((below, child(serial, below.tag)) for below in console.iterchildren(*_SHARED)),
    ]
    for element, theirs in places:
        for name, value in attributes(element).items():
            writer = wished(work, element, "@" + name)
            has = None if theirs is None else theirs.get(name)
            if element is console:
                has = has or "pty"
            if writer is None or has == value or element is console and name != "type":
                continue
            step = f"@{name}" if element is console else f"{element.tag}/@{name}"
            rest = step if at is console else f"console/{step}"
            owners = work.tree.owners(serial, "@type") or [THE_DEFINITION]
            note = "the first console is the first serial port"
            work.actions.arbiter.lose(at, rest, value, has, writer, owners, note)
            work.actions.losses[-1].final = True
            if has is None and not writer.hard:
                work.actions.losses[-1].conflict = False  # the other profile did not speak of it


def _changer(work: Workspace, console: Element) -> Writer | None:
    """The profile that says what the console is connected to."""
    places = [
        (console, "@type"),
        *((below, PRESENCE) for tag in _SHARED for below in console.iterchildren(tag)),
        *(
            (below, "@" + name)  # a gap of the definition that is filled
            for below in console.iterchildren(*_SHARED)
            for name in attributes(below)
        ),
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
