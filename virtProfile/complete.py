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
from typing import TYPE_CHECKING, Any

from . import machines
from .addresses import change_machine, moved
from .buses import DRIVES, QEMU, Slot, bus_of, name_of, written_slot
from .controllers import Controllers
from .deviceclass import DeviceClasses, Refused, judged, missing, taken
from .errors import CompletionError, MissingContextError
from .intents import SIZE
from .locating import held, pairs, slots
from .meeting import place
from .provenance import THE_DEFINITION, Origin, Writer
from .refusals import FIXED, refuse
from .storage import SOURCE_HINT, Sizes
from .supplies import X86, supply
from .worktree import PRESENCE, TEXT, Element, WorkTree, child, text_of

if TYPE_CHECKING:
    from .actions import Actions
    from .context import Context


#: Who completes a whole guest, see `Completion`.
Maker = Callable[[str, bool, Sizes], str]

#: Where a disk goes whose class chose a bus that is full, in order.
OTHER_BUSES = ("sata", "scsi")


class Completion:
    """Completes the renderings of one call."""

    def __init__(
        self,
        schema: Any,
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
        self.classes = DeviceClasses(context)
        self._sketches: dict[Any, Element] = {}

    def run(self, actions: Actions, default_again: Callable[[], None]) -> None:
        """Complete one rendering; what cannot be goes to `actions.unmet`."""
        tree = actions.tree
        if not actions.steps and not self.whole:
            return
        devices = child(tree.root, "devices")
        if devices is None and self.whole:
            from .sketch import COMPLETER

            devices = tree.root.makeelement("devices")
            tree.insert(tree.root, place(tree.root, self.schema.root, "devices"), devices, COMPLETER)
        if devices is None:
            return
        work = Pass(self, actions, devices, default_again)
        if self.whole:
            from .sketch import complete

            if not complete(work, self._sketches):
                return  # what it lacks is told; what follows from that is not
            default_again()
        work.run(self.whole and self.maker is None)


class Pass:
    """The completion of one rendering: reads and writes its tree."""

    def __init__(
        self,
        completion: Completion,
        actions: Actions,
        devices: Element,
        default_again: Callable[[], None],
    ) -> None:
        self.schema = completion.schema
        self.context = completion.context
        self.classes = completion.classes
        self.maker = completion.maker
        self.actions = actions
        self.tree: WorkTree = actions.tree
        self.devices = devices
        self.default_again = default_again
        #: drives that get their slot in this pass
        self.homeless: dict[Element, Writer] = {}
        self._writers: dict[tuple[Writer, str], Writer] = {}
        self._made: dict[Element, bool] = {}
        self._machine: tuple[str | None, str | None] | None = None

    # --- the pass ------------------------------------------------------------

    def run(self, whole: bool = False) -> None:
        """:param whole: the VM's own drives get their slots too"""
        fresh = dict(self.fresh())
        spoken = self._spoken()
        if not fresh and not spoken and not self.tree.edited and not whole:
            return
        lacking = {device: missing(device, self.node(device)) for device in fresh}
        change_machine(self)
        for device, writer in [*fresh.items(), *moved(self)]:
            if device.tag in ("disk", "hostdev"):
                self.homeless[device] = writer
        if whole:
            from .sketch import COMPLETER

            for device in self.devices.iterchildren("disk"):
                if child(device, "address") is None:
                    self.homeless.setdefault(device, COMPLETER)
        controllers = Controllers(self)
        # Who says where it wants to be goes first.
        for device in sorted(self.homeless, key=lambda one: written_slot(one) is None):
            if not lacking.get(device) or self._fill(device, fresh[device], lacking[device], controllers):
                controllers.home(device, self.homeless[device])
        for device, writer in fresh.items():
            if device not in self.homeless and lacking[device]:
                self._fill(device, writer, lacking[device], controllers)
            elif not lacking[device] and judged(device):
                self._fill(device, writer, [], controllers)
        for device, writer in self._changed():
            if judged(device):
                self._fill(device, writer, [], controllers)
        for kind, writer in spoken.items():
            controllers.spell_out(kind, writer)
        supply(self, fresh)
        refuse(self, fresh)

    def fresh(self) -> Iterator[tuple[Element, Writer]]:
        """Devices that profiles made, with whom they are for."""
        original = self.tree.original
        for device in self.devices.iterchildren("*"):
            if not original(device):
                owners = self.tree.owners(device, PRESENCE)
                if owners and owners[0] is not THE_DEFINITION:
                    yield device, owners[0]

    # --- what a device lacks -----------------------------------------------------

    def _fill(self, device: Element, cause: Writer, lacking: list[str], controllers: Controllers) -> bool:
        """Give a new device what its class says it cannot be defined without."""
        buses = [""]
        if device.tag == "disk" and not bus_of(device):
            buses += OTHER_BUSES if self.family in X86 else OTHER_BUSES[::-1]
        refused = ""
        for bus in buses:
            try:
                full = self.classes.filled(self.tree.root, device, bus)
            except Refused as problem:
                refused = refused or str(problem)
                continue
            except MissingContextError as problem:
                where = f"{cause.origin.file}:{cause.origin.line}"
                fact = f"{name_of(device)} is to be completed, and {problem.message}"
                self.actions.unmet.append(MissingContextError(fact, hint=problem.hint, where=where))
                return False
            got = bus_of(full)
            if got in FIXED and full.get("device") != "disk":
                refused = refused or f"bus '{got}' takes no such drive"
                continue
            if got in DRIVES and self.family is not None and not controllers.takes(got):
                refused = refused or f"no {got} slot is free"
                continue
            if lacking:
                for path in (*lacking, *taken(device)):
                    self._take(full, device, path, full, cause)
            return True
        sized = device in self.actions.intents[SIZE] and child(device, "source") is None
        self.fail(device, cause, refused, SOURCE_HINT if sized else "write what it needs into the profile")
        return False

    def _take(self, full: Element, element: Element, path: str, device: Element, cause: Writer) -> None:
        """Copy what stands at a path of the class's device, where ours has nothing."""
        tag, _, rest = path.partition("/")
        if tag[:1] == "@":
            value = full.get(tag[1:])
            if value is not None and element.get(tag[1:]) is None:
                self.put(element, tag, value, device, cause)
            return
        theirs, ours = child(full, tag), child(element, tag)
        if theirs is None:
            return
        if ours is None:
            ours = self.add(element, tag, device, cause)
            if not rest:
                self._copy(theirs, ours, device, cause)
        if rest:
            self._take(theirs, ours, rest, device, cause)

    def _copy(self, theirs: Element, ours: Element, device: Element, cause: Writer) -> None:
        former = dict(ours.attrib) if self._may_stay(ours) else {}  # what an earlier run gave it stays
        for name, value in {**theirs.attrib, **former}.items():
            self.put(ours, "@" + name, value, device, cause)
        text = text_of(theirs)
        if text is not None:
            self.put(ours, TEXT, text, device, cause)
        for one in theirs.iterchildren("*"):
            self._copy(one, self.add(ours, one.tag, device, cause), device, cause)

    def _may_stay(self, element: Element) -> bool:
        """Is the name that a disk had before still free?"""
        dev = element.get("dev")
        if element.tag != "target" or dev is None:
            return True
        others = (child(one, "target") for one in self.devices.iterchildren("disk"))
        return all(one is None or one is element or one.get("dev") != dev for one in others)

    def _changed(self) -> Iterator[tuple[Element, Writer]]:
        """The VM's own devices of which profiles changed what their class judges."""
        for element in self.tree.edited:
            device = element if element.getparent() is self.devices else element.getparent()
            if device is None or device.getparent() is not self.devices:
                continue
            if element is device or (device.tag == "filesystem" and element.tag == "target"):
                writer = self._author(element)
                if writer is not None:
                    yield device, writer

    def _author(self, element: Element) -> Writer | None:
        """The profile that changed a value of an element of the VM, the first of them."""
        for slot, owners in self.tree.claims.get(element, {}).items():
            if slot[:1] == "@" and owners[0] is not THE_DEFINITION:
                if self.tree.before(element, slot) != element.get(slot[1:]):
                    return owners[0]
        return None

    def _spoken(self) -> dict[str, Writer]:
        """Types of controllers that a selected profile speaks of, and who does first."""
        found: dict[str, Writer] = {}
        for step in self.actions.steps:
            if step.want is None or step.action.kind == "remove":
                continue
            for group in step.want.groups:
                if group.tag == "controller" and group.tags == ("devices",):
                    for want in group.wants:
                        kind = want.keys.get("@type")
                        if kind is not None and kind.value is not None:
                            found.setdefault(kind.value, step.writer)
        return found

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
            one = cause.origin
            origin = Origin(one.profile, one.version, purpose, one.file, one.line)
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
        for element, grave in self.tree.graves.items():
            if grave.parent is parent and element.tag == tag:
                if index is None or index == f"{element.get('type')} {element.get('index')}":
                    return element
        return None

    def _revive(self, element: Element, writer: Writer) -> None:
        """It stands again, with what libvirt or a person put into it and without the rest."""
        grave = self.tree.revive(element, writer)
        if grave.written is None:
            return
        node = self.node(element)
        for slot, _ in slots(grave.written):
            has = text_of(element) if slot == TEXT else element.get(slot[1:])
            if has is not None and held(element, node, slot, grave.written):
                self.tree.unset(element, slot, grave.writers[0])
        for below, _, _ in list(pairs(element, node, grave.written)):
            if below is not None:
                self.tree.remove(below, grave.writers)

    def is_made(self, element: Element) -> bool:
        return element in self._made

    def node(self, element: Element) -> Any:
        """The schema's node of an element."""
        tags = []
        while element is not self.tree.root:
            tags.append(element.tag)
            element = element.getparent()
        node = self.schema.root
        for tag in reversed(tags):
            node = node.child(tag)
        return node

    def write_address(self, device: Element, slot: Slot, cause: Writer) -> None:
        address = self.add(device, "address", device, cause)
        self.put(address, "@type", "drive", device, cause)
        for name, value in zip(Slot._fields, slot, strict=True):
            self.put(address, "@" + name, str(value), device, cause)

    def allowed(self, made: Element, device: Element, cause: Writer) -> bool:
        """Does no profile want away what was just made? Else it is unmade, and an error."""
        for absence in self.actions.absences:
            if any(hit.element is made for hit in self.actions.hits(absence)):
                who = absence.writer.origin
                fact = f"it needs {name_of(made)}, which {who.profile} removes ({who.file}:{who.line})"
                self.tree.discard(made)
                self.fail(device, cause, fact, "drop one of the profiles")
                return False
        return True

    def fail(self, device: Element, cause: Writer, fact: str, hint: str) -> None:
        """The device cannot work."""
        name = cause.origin.profile
        self.refuse(f"{name_of(device)} of profile '{name}' cannot work: {fact}", cause, hint)

    def refuse(self, fact: str, cause: Writer, hint: str) -> None:
        where = f"{cause.origin.file}:{cause.origin.line}"
        self.actions.unmet.append(CompletionError(fact, hint=hint, where=where))

    # --- who uses a kind of controller -----------------------------------------

    def users_of(self, kind: str) -> list[Element]:
        """The devices that sit on a controller of that type."""
        found = []
        for one in self.devices.iterchildren("*"):
            target = child(one, "target")
            if kind == "usb":
                sits = one.get("bus") == "usb" or bus_of(one) == "usb" or one.tag == "hub"
                sits = sits or (one.tag == "hostdev" and one.get("type") == "usb")
            elif kind == "virtio-serial":
                sits = one.tag in ("channel", "console")
                sits = sits and target is not None and target.get("type") == "virtio"
            elif kind == "ccid":
                sits = one.tag == "smartcard"
            else:
                sits = False
            if sits:
                found.append(one)
        return found
