# SPDX-License-Identifier: GPL-2.0-or-later
"""What all steps of completion share: one rendering's tree, its machine, and writing to it.

Everything is written in the name of the action whose device needs it. What an earlier
run had made comes back before something new is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from virtProfile.engine.devices.storage import Sizes
from virtProfile.engine.tree.ownership import COMPLETER, THE_DEFINITION, Writer
from virtProfile.errors import CompletionError
from virtProfile.format import machines
from virtProfile.format.buses import QEMU, Slot, is_on_usb, name_of
from virtProfile.format.element import PRESENCE, TEXT, Element, child, parent_of, place, text_of
from virtProfile.result import Origin

if TYPE_CHECKING:
    from virtProfile.engine.actions.perform import Actions
    from virtProfile.engine.devices.virtinst_classes import DeviceClasses
    from virtProfile.engine.tree.work_tree import WorkTree
    from virtProfile.format.schema import Schema
    from virtProfile.host.context import Context

#: Who completes a whole guest, see `complete.Completion`.
Maker = Callable[[str, bool, Sizes], str]


class Workspace:
    """Reads and writes the tree of one rendering in the name of the profiles whose devices need it."""

    def __init__(
        self,
        schema: Schema,
        context: Context,
        classes: DeviceClasses,
        actions: Actions,
        devices: Element,
        default_again: Callable[[Element | None], None],
        maker: Maker | None = None,
    ) -> None:
        self.schema = schema
        self.context = context
        self.classes = classes
        self.maker = maker
        self.actions = actions
        self.tree: WorkTree = actions.tree
        self.devices = devices
        self.default_again = default_again
        #: drives that get their slot in this completion
        self.homeless: dict[Element, Writer] = {}
        self._writers: dict[tuple[Writer, str], Writer] = {}
        self._made: dict[Element, bool] = {}
        self._machine: tuple[str | None, str | None] | None = None

    def fresh(self) -> Iterator[tuple[Element, Writer]]:
        """Devices that profiles made, with whom they are for."""
        original = self.tree.original
        for device in self.devices.iterchildren("*"):
            if not original(device):
                owners = self.tree.owners(device, PRESENCE)
                if owners and owners[0] is not THE_DEFINITION:
                    yield device, owners[0]

    # --- the machine ---------------------------------------------------------

    @property
    def machine(self) -> str | None:
        """The machine type, as far as it is known."""
        return self._known_machine()[0]

    @property
    def family(self) -> str | None:
        """Its family, "" where nobody knows; None where libvirt's QEMU driver has no say."""
        return self._known_machine()[1]

    def _known_machine(self) -> tuple[str | None, str | None]:
        if self._machine is None:
            root = self.tree.root
            os = child(root, "os")
            kind = None if os is None else child(os, "type")
            hvm = kind is None or (kind.text or "hvm").strip() == "hvm"
            if root.get("type") not in QEMU or not hvm:
                self._machine = (None, None)
            else:
                machine = self.context.documents.machine_of(root)
                self._machine = (machine, machines.family(machine) if machine else "")
        return self._machine

    # --- writing in somebody's name ----------------------------------------------

    def writer(self, device: Element, cause: Writer) -> Writer:
        """Who writes for a device: its action, saying for what."""
        return self.purpose(f"for {name_of(device)}", cause)

    def purpose(self, purpose: str, cause: Writer) -> Writer:
        cause = cause.cause
        known = self._writers.get((cause, purpose))
        if known is None:
            source = cause.origin
            origin = Origin(source.profile, source.version, purpose, source.file, source.line)
            known = Writer(origin, cause.priority, False, cause.is_default, cause.number, cause)
            self._writers[(cause, purpose)] = known
        return known

    def put(self, element: Element, slot: str, value: str, device: Element, cause: Writer) -> None:
        self.write(element, slot, value, self.writer(device, cause))

    def write(self, element: Element, slot: str, value: str, writer: Writer) -> None:
        has = text_of(element) if slot == TEXT else element.get(slot[1:])
        if has == value:  # on an element of an earlier run
            self.tree.own_slot(element, slot, writer)
        else:
            self.tree.set(element, slot, value, writer)

    def claim(self, element: Element, slot: str, device: Element, cause: Writer) -> None:
        self.tree.claim(element, slot, self.writer(device, cause))

    def add(
        self, parent: Element, tag: str, device: Element, cause: Writer, index: str | None = None
    ) -> Element:
        new = self.insert(parent, tag, self.writer(device, cause), index)
        self._made[new] = True
        return new

    def insert(self, parent: Element, tag: str, writer: Writer, index: str | None = None) -> Element:
        """A new element at libvirt's place for it, or the one that an earlier run had made.

        :param index: of a controller: ``scsi 0``
        """
        buried = self.buried(parent, tag, index)
        if buried is not None:
            self._revive(buried, writer)
            return buried
        new = parent.makeelement(tag)
        self.tree.insert(parent, place(parent, self.node(parent), tag), new, writer)
        return new

    def buried(self, parent: Element, tag: str, index: str | None = None) -> Element | None:
        """What an earlier run had made there and nobody wanted again so far."""
        for element in self.tree.graves.below(parent, tag):
            if index is None or index == f"{element.get('type')} {element.get('index')}":
                return element
        return None

    def _revive(self, element: Element, writer: Writer) -> None:
        """It stands again, with what libvirt or a person put into it and without the rest."""
        from virtProfile.engine.record.locate import held, pairs, slots

        grave = self.tree.revive(element, writer)
        if grave.written is None:
            return
        node = self.node(element)
        for slot, _ in slots(grave.written):
            has = text_of(element) if slot == TEXT else element.get(slot[1:])
            if has is not None and held(element, node, slot, grave.written):
                self.tree.unset(element, slot, grave.writers[0])
        for below, _, _ in list(pairs(element, node, grave.written, self.tree.effort)):
            if below is not None:
                self.tree.remove(below, grave.writers)

    def is_made(self, element: Element) -> bool:
        return element in self._made

    def node(self, element: Element) -> Any:
        """The schema's node of an element."""
        tags = []
        while element is not self.tree.root:
            tags.append(element.tag)
            element = parent_of(element)
        node: Any = self.schema.root
        for tag in reversed(tags):
            node = node.child(tag)
        return node

    def write_address(self, device: Element, slot: Slot, cause: Writer) -> None:
        address = self.add(device, "address", device, cause)
        self.put(address, "@type", "drive", device, cause)
        for name, value in zip(Slot._fields, slot, strict=True):
            self.put(address, "@" + name, str(value), device, cause)

    def allowed(self, made: Element, device: Element, cause: Writer, needed: bool = True) -> bool:
        """Does no profile want away what was just made? Else it is unmade, and an error if it is needed."""
        absence = self.actions.barring(made)
        if absence is None:
            return True
        who, what = absence.writer.origin, name_of(made)
        self.tree.discard(made)
        if needed:
            fact = f"it needs {what}, which {who.profile} removes ({who.file}:{who.line})"
            self.fail(device, cause, fact, "apply only one of the two profiles")
        return False

    def fail(self, device: Element, cause: Writer, fact: str, hint: str) -> None:
        """The device cannot work."""
        origin = cause.origin
        whose = f" of profile '{origin.profile}'" if origin.file != COMPLETER.origin.file else ""
        self.refuse(f"{name_of(device)}{whose} cannot work: {fact}", cause, hint)

    def refuse(self, fact: str, cause: Writer, hint: str) -> None:
        where = f"{cause.origin.file}:{cause.origin.line}" if cause.origin.line else cause.origin.file
        self.actions.unmet.append(CompletionError(fact, hint=hint, where=where))

    # --- who uses a kind of controller -----------------------------------------

    def users_of(self, kind: str) -> list[Element]:
        """The devices that sit on a controller of that type."""
        found = []
        for device in self.devices.iterchildren("*"):
            if kind == "usb":
                sits = is_on_usb(device)
            elif kind == "virtio-serial":
                target = child(device, "target") if device.tag in ("channel", "console") else None
                sits = target is not None and target.get("type") == "virtio"
            elif kind == "ccid":
                sits = device.tag == "smartcard"
            else:
                sits = False
            if sits:
                found.append(device)
        return found
