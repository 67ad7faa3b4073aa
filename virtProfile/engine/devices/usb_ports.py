# SPDX-License-Identifier: GPL-2.0-or-later
"""A port for each USB device of a profile, where libvirt would find none.

libvirt plugs devices in by itself, and adds hubs where ports run short; a hub needs a port,
too. Where addresses that are written down take the last one, it refuses the domain, so a
controller is added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtProfile.format.buses import capacity, implied_model
from virtProfile.format.element import Element, child
from virtProfile.format.values import decimal

if TYPE_CHECKING:
    from virtProfile.engine.devices.controllers import Controllers
    from virtProfile.engine.devices.workspace import Workspace
    from virtProfile.engine.tree.ownership import Writer

_HUB_PORTS = 8


def usb_ports(work: Workspace, fresh: dict[Element, Writer], controllers: Controllers) -> None:
    """Add a controller where no port is free for a device of a profile."""
    there = [
        controller
        for controller in work.devices.iterchildren("controller")
        if controller.get("type") == "usb"
    ]
    if not fresh or not there or any(controller.get("model") == "none" for controller in there):
        return
    users = work.users_of("usb")
    indices = {decimal(controller.get("index")) or 0 for controller in there}
    model = next((controller.get("model") for controller in there if controller.get("model")), None)
    model = model if model and not model.startswith("ich9-uhci") else implied_model("usb", work.family or "")
    for device in users:  # plugged in by an earlier run
        place = _port(device)
        if device in fresh and place is not None and place[0] == max(indices) + 1:
            controllers.make("usb", place[0], device, fresh[device], model=model or "")
            indices.add(place[0])
    looking = [user for user in users if user in fresh and child(user, "address") is None]
    if not looking:
        return
    there = [
        controller
        for controller in work.devices.iterchildren("controller")
        if controller.get("type") == "usb"
    ]
    taken = {port for port in map(_port, users) if port is not None}
    free = sum(_ports(work, controller) for controller in there)
    free -= sum("." not in port for _, port in taken)
    free += sum(
        _HUB_PORTS - sum(bus == at and below.startswith(port + ".") for bus, below in taken)
        for hub in users
        if hub.tag == "hub"
        for bus, port in [_port(hub) or (-1, "")]
        for at in [bus]
        if port
    )
    if free > 0:
        return
    index = max(indices) + 1
    controllers.make("usb", index, looking[0], fresh[looking[0]], model=model or "")


def _port(device: Element) -> tuple[int, str] | None:
    """Bus and port of a USB device, where they are written down."""
    address = child(device, "address")
    if address is None or address.get("type") != "usb" or address.get("port") is None:
        return None
    return decimal(address.get("bus")) or 0, str(address.get("port"))


def _ports(work: Workspace, controller: Element) -> int:
    said = decimal(controller.get("ports"))
    if said is not None:
        return said
    model = controller.get("model") or implied_model("usb", work.family or "") or ""
    return capacity("usb", model, work.family or "").units
