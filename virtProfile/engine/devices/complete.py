# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices that devices need: the pass that closes every rendering.

What profiles added or changed gets what it cannot work without: what its device
class fills in, a slot on a controller, the rest in `supplies`. All of it is written
in the name of the action whose device needs it, so that it is masked, reported
and taken back with that profile. Nothing is looked at besides the tree and the
context.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from virtProfile.engine.devices.addresses import change_machine, moved
from virtProfile.engine.devices.consoles import follow_serial
from virtProfile.engine.devices.controllers import Controllers
from virtProfile.engine.devices.refusals import FIXED, left_of_displays, refuse
from virtProfile.engine.devices.storage import SOURCE_HINT
from virtProfile.engine.devices.supplies import X86, supply
from virtProfile.engine.devices.usb_ports import usb_ports
from virtProfile.engine.devices.virtinst_classes import (
    DeviceClasses,
    Refused,
    judged,
    missing,
    taken,
)
from virtProfile.engine.devices.workspace import Maker, Workspace
from virtProfile.engine.tree.ownership import COMPLETER, THE_DEFINITION, Writer
from virtProfile.errors import MissingContextError
from virtProfile.format.buses import DRIVES, bus_of, name_of, written_slot
from virtProfile.format.element import TEXT, Element, attributes, child, place, text_of
from virtProfile.language.directives import SIZE

if TYPE_CHECKING:
    from virtProfile.engine.actions.perform import Actions
    from virtProfile.format.schema import Schema
    from virtProfile.host.context import Context


#: Where a disk goes whose class chose a bus that is full, in order.
OTHER_BUSES = ("sata", "scsi")


class Completion:
    """Completes the renderings of one call."""

    def __init__(
        self,
        schema: Schema,
        context: Context,
        whole: bool = False,
        maker: Maker | None = None,
    ) -> None:
        """:param whole: ``--complete``: also the defaults of a whole guest
        :param maker: who knows these defaults, where it is not virtinst without a connection:
            takes the text of the rendering, whether a profile wants no graphics, and the sizes
            of new disks by their position; gives the whole guest's text. The slots of drives
            that no profile speaks of are then left alone
        """
        self.maker = maker
        self.schema = schema
        self.context = context
        self.whole = whole
        #: arch and machine that profiles gave a sketch, for the whole guest that is completed
        self.settled: dict[str, str] = {}
        self.classes = DeviceClasses(context)
        self._sketches: dict[tuple[object, ...], Element] = {}

    def run(self, actions: Actions, default_again: Callable[[Element | None], None]) -> None:
        """Complete one rendering; what cannot be goes to `actions.unmet`."""
        tree = actions.tree
        if not actions.steps and not self.whole:
            return
        devices = child(tree.root, "devices")
        if devices is None and self.whole:
            devices = tree.root.makeelement("devices")
            tree.insert(tree.root, place(tree.root, self.schema.root, "devices"), devices, COMPLETER)
        if devices is None:
            return
        work = Workspace(self.schema, self.context, self.classes, actions, devices, default_again, self.maker)
        if self.whole:
            from virtProfile.engine.devices.whole_guest import complete

            if not complete(work, self._sketches, self.settled):
                return  # what it lacks is told; what follows from that is not
            default_again(None)
        _Steps(work).run(self.whole and self.maker is None)


class _Steps:
    """The steps that complete one rendering."""

    def __init__(self, work: Workspace) -> None:
        self.work = work

    # --- the steps -----------------------------------------------------------

    def run(self, whole: bool = False) -> None:
        """:param whole: the VM's own drives get their slots too"""
        fresh = dict(self.work.fresh())
        spoken = self._spoken()
        if not fresh and not spoken and not self.work.tree.edited and not whole:
            left_of_displays(self.work)
            follow_serial(self.work)
            return
        lacking = {device: missing(device, self.work.node(device)) for device in fresh}
        change_machine(self.work)
        for device, writer in [*fresh.items(), *moved(self.work)]:
            if device.tag in ("disk", "hostdev"):
                self.work.homeless[device] = writer
        if whole:
            for device in self.work.devices.iterchildren("disk"):
                if child(device, "address") is None:
                    self.work.homeless.setdefault(device, COMPLETER)
        controllers = Controllers(self.work)
        # Who says where it wants to be goes first.
        for device in sorted(self.work.homeless, key=lambda drive: written_slot(drive) is None):
            if not lacking.get(device) or self._fill(device, fresh[device], lacking[device], controllers):
                controllers.home(device, self.work.homeless[device])
        for device, writer in fresh.items():
            if device not in self.work.homeless and lacking[device]:
                self._fill(device, writer, lacking[device], controllers)
            elif not lacking[device] and judged(device):
                self._fill(device, writer, [], controllers)
        for device, writer in self._changed():
            if judged(device):
                self._fill(device, writer, [], controllers)
        for kind, writer in spoken.items():
            controllers.spell_out(kind, writer)
        usb_ports(self.work, fresh, controllers)
        supply(self.work, fresh)
        follow_serial(self.work)
        refuse(self.work, fresh)

    # --- what a device lacks -----------------------------------------------------

    def _fill(self, device: Element, cause: Writer, lacking: list[str], controllers: Controllers) -> bool:
        """Give a new device what its class says it cannot be defined without."""
        buses = [""]
        if device.tag == "disk" and not bus_of(device):
            buses += OTHER_BUSES if self.work.family in X86 else OTHER_BUSES[::-1]
        refused = ""
        for bus in buses:
            try:
                full = self.work.classes.filled(self.work.tree.root, device, bus)
            except Refused as problem:
                refused = refused or str(problem)
                continue
            except MissingContextError as problem:
                where = f"{cause.origin.file}:{cause.origin.line}"
                fact = f"{name_of(device)} is to be completed, and {problem.message}"
                self.work.actions.unmet.append(MissingContextError(fact, hint=problem.hint, where=where))
                return False
            got = bus_of(full)
            if got in FIXED and full.get("device") != "disk":
                refused = refused or f"bus '{got}' takes no such drive"
                continue
            if got in DRIVES and self.work.family is not None and not controllers.takes(got):
                refused = refused or f"no {got} slot is free"
                continue
            if lacking:
                for path in (*lacking, *taken(device)):
                    self._take(full, device, path, full, cause)
            return True
        sized = device in self.work.actions.intents[SIZE] and child(device, "source") is None
        self.work.fail(
            device, cause, refused, SOURCE_HINT if sized else "write what it needs into the profile"
        )
        return False

    def _take(self, full: Element, element: Element, path: str, device: Element, cause: Writer) -> None:
        """Copy what stands at a path of the class's device, where ours has nothing."""
        tag, _, rest = path.partition("/")
        if tag[:1] == "@":
            value = full.get(tag[1:])
            if value is not None and element.get(tag[1:]) is None:
                self.work.put(element, tag, value, device, cause)
            return
        theirs, ours = child(full, tag), child(element, tag)
        if theirs is None:
            return
        if ours is None:
            ours = self.work.add(element, tag, device, cause)
            if not rest:
                self._copy(theirs, ours, device, cause)
        if rest:
            self._take(theirs, ours, rest, device, cause)

    def _copy(self, theirs: Element, ours: Element, device: Element, cause: Writer) -> None:
        former = attributes(ours) if self._may_stay(ours) else {}  # what an earlier run gave it stays
        for name, value in attributes(theirs).items():  # others are what libvirt added
            self.work.put(ours, "@" + name, former.get(name, value), device, cause)
        text = text_of(theirs)
        if text is not None:
            self.work.put(ours, TEXT, text, device, cause)
        for part in theirs.iterchildren("*"):
            self._copy(part, self.work.add(ours, part.tag, device, cause), device, cause)

    def _may_stay(self, element: Element) -> bool:
        """Is the name that a disk had before still free?"""
        dev = element.get("dev")
        if element.tag != "target" or dev is None:
            return True
        others = (child(disk, "target") for disk in self.work.devices.iterchildren("disk"))
        return all(target is None or target is element or target.get("dev") != dev for target in others)

    def _changed(self) -> Iterator[tuple[Element, Writer]]:
        """The VM's own devices of which profiles changed what their class judges."""
        devices = self.work.devices
        for element in self.work.tree.edited:
            device, parent = element, element.getparent()
            if parent is not devices:
                if parent is None or (parent.tag, element.tag) != ("filesystem", "target"):
                    continue
                if parent.getparent() is not devices:
                    continue
                device = parent
            writer = self._author(element)
            if writer is not None:
                yield device, writer

    def _author(self, element: Element) -> Writer | None:
        """The profile that changed a value of an element of the VM, the first of them."""
        for slot, owners in self.work.tree.claims.get(element, {}).items():
            if slot[:1] == "@" and owners[0] is not THE_DEFINITION:
                if self.work.tree.before(element, slot) != element.get(slot[1:]):
                    return owners[0]
        return None

    def _spoken(self) -> dict[str, Writer]:
        """Types of controllers that a selected profile speaks of, and who does first."""
        found: dict[str, Writer] = {}
        for step in self.work.actions.steps:
            if step.want is None or step.action.kind == "remove":
                continue
            for group in step.want.groups:
                if group.tag == "controller" and group.tags == ("devices",):
                    for want in group.wants:
                        kind = want.keys.get("@type")
                        if kind is not None and kind.value is not None:
                            found.setdefault(kind.value, step.writer)
        return found
