# SPDX-License-Identifier: GPL-2.0-or-later
"""``--complete``: what a sketch lacks to be a VM, by virtinst's defaults of a whole guest.

Before the rest of `complete`. Fills gaps only: nothing that stands is changed,
nothing comes back that a profile removed, and what virtinst adds for the sake
of something removed (SPICE channels without SPICE) is not added either. Its
random UUID and MAC addresses are left to libvirt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lxml import etree

from virtProfile.engine.devices.storage import Sizes, sizes
from virtProfile.engine.devices.virtinst_classes import spaced
from virtProfile.engine.devices.virtinst_paths import devices_by_number
from virtProfile.engine.tree.ownership import COMPLETER
from virtProfile.errors import CompletionError, MissingContextError, ProfileError
from virtProfile.format.element import PRESENCE, TEXT, Element, attributes, child, parent_of, text_of
from virtProfile.format.values import to_bytes

if TYPE_CHECKING:
    from virtProfile.engine.devices.workspace import Workspace
    from virtProfile.format.schema import Node

#: Never taken from virtinst: random, libvirt's to make, or not of the machine.
_NOT_TAKEN = frozenset(("uuid", "genid", "metadata", "devices/interface/mac"))
_ROUNDS = 12

Key = tuple[str, str]  # a path with a slot, or a new device and its text


class Sketch:
    """Completes the guest of one rendering."""

    def __init__(self, work: Workspace, known: dict[tuple[object, ...], Element]) -> None:
        """:param known: what virtinst made of a text, kept over the renderings of a call"""
        self.work = work
        self.tree = work.tree
        self.known = known
        #: what profiles want not to be there
        self.barred: set[Key] = set()

    def run(self) -> None:
        """:raises CompletionError: virtinst cannot make a guest of it
        :raises MissingContextError: it needs documents that nobody gave
        """
        root = self.tree.root
        text = etree.tostring(root, encoding="unicode")
        for _ in range(_ROUNDS):
            no_graphics = any(key[0] == "devices/graphics" for key in self.barred)
            full = self._guest(text, no_graphics)
            mark, loss_count = self.tree.mark(), len(self.work.actions.losses)
            made: dict[tuple[Element, str], Key] = {}
            self._bare: list[tuple[Element, Element, Node, str]] = []
            self._merge(full, root, self.work.schema.root, "", made)
            if self._bare:
                self.work.default_again(None)  # before virtinst's own taste in these devices
                for theirs, ours, node, path in self._bare:
                    self._merge(theirs, ours, node, path, made, bare=True)
            barred = self._hits(made)
            if not barred - self.barred:
                return
            self.barred |= barred
            self.tree.undo_since(mark)
            del self.work.actions.losses[loss_count:]
        raise CompletionError(
            "the guest cannot be completed: profiles remove what virtinst adds, each time it is added",
            hint="remove fewer devices in the profiles",
        )

    def _hits(self, made: dict[tuple[Element, str], Key]) -> set[Key]:
        """What was just made and profiles want away."""
        found = set()
        for absence in self.work.actions.absences:
            for hit in self.work.actions.hits(absence):
                element: Element | None = hit.element
                key = made.get((hit.element, hit.slot))
                while key is None and element is not None:
                    key = made.get((element, PRESENCE))
                    element = element.getparent()
                if key is not None:
                    found.add(key)
        return found

    # --- virtinst --------------------------------------------------------------

    def _guest(self, text: str, no_graphics: bool) -> Element:
        new = sizes(self.tree, self.work.actions)
        key = (text, no_graphics, *new.items())
        known = self.known.get(key)
        if known is None:
            known = self.known[key] = self._ask(text, no_graphics, new)
        return known

    def _ask(self, text: str, no_graphics: bool, new: Sizes) -> Element:
        if self.work.maker is not None:
            return self._without_graphics(self.work.maker(text, no_graphics, new), no_graphics)
        from virtProfile.engine.devices.offline_connection import connection

        root = self.tree.root
        conn = connection(self.work.context, root)
        import virtinst

        with devices_by_number():
            guest = virtinst.Guest(conn, parsexml=spaced(text))
        os = self.work.context.guest_os(root)
        if os is not None:
            guest.set_os_name(os.id)
        guest.uuid = "00000000-0000-4000-8000-000000000000"  # else it makes a random one
        guest.skip_default_graphics = no_graphics
        if child(root, "memory") is None and os is not None:
            _recommended_memory(guest, os)
        try:
            guest.set_defaults(guest)
        except ProfileError:
            raise
        except (ValueError, RuntimeError, TypeError, ArithmeticError, LookupError) as problem:
            fact = " ".join(str(problem).split())
            raise CompletionError(
                f"virtinst cannot complete the guest: {fact}",
                hint="check the capabilities of the host, from --capabilities or the connection",
            ) from None
        return self._without_graphics(guest.get_xml(), no_graphics)

    @staticmethod
    def _without_graphics(text: str, no_graphics: bool) -> Element:
        made = etree.fromstring(text.encode())
        if no_graphics:
            for graphics in made.findall("devices/graphics"):
                parent = graphics.getparent()
                if parent is not None:
                    parent.remove(graphics)
        return made

    # --- what it gives -----------------------------------------------------------

    def _merge(
        self,
        theirs: Element,
        ours: Element,
        node: Node,
        path: str,
        made: dict[tuple[Element, str], Key],
        bare: bool = False,
    ) -> None:
        """Fill our gaps from their element.

        :param bare: it is part of a device that virtinst adds: what goes with a value
            that a profile did not take is not taken either
        """
        another = bare and any(ours.get(name, value) != value for name, value in theirs.attrib.items())
        for name, value in attributes(theirs).items() if not another else ():
            key = (path, "@" + name)
            if ours.get(name) is None and key not in self.barred and self._fits(ours, name, path):
                self.work.write(ours, "@" + name, value, COMPLETER)
                made[(ours, "@" + name)] = key
        text = text_of(theirs)
        if text is not None and text_of(ours) is None and not len(ours) and (path, TEXT) not in self.barred:
            self.work.write(ours, TEXT, text, COMPLETER)
            made[(ours, TEXT)] = (path, TEXT)
        own = {part.tag for part in ours.iterchildren("*")}
        places: dict[str, list[Element]] = {}
        for part in theirs.iterchildren("*"):
            below = f"{path}/{part.tag}" if path else part.tag
            inner = node.child(part.tag)
            if below in _NOT_TAKEN or inner is None:
                continue
            there = places.get(part.tag)
            if there is None:
                there = places[part.tag] = list(ours.iterchildren(part.tag))
            if there:
                self._merge(part, there.pop(0), inner, below, made, bare)
                continue
            key = (
                below,
                etree.tostring(part, encoding="unicode", with_tail=False) if inner.many else PRESENCE,
            )
            if key in self.barred or (inner.many and path != "devices" and part.tag in own):
                continue  # a list of the definition's own stays as it is
            if self._excluded(below):
                continue
            self._keep(ours)
            new = self.work.insert(ours, part.tag, COMPLETER)
            made[(new, PRESENCE)] = key
            if inner.many and path == "devices" and not _has_companions(part):
                self._bare.append((part, new, inner, below))
                for slot in (*inner.binding, *inner.key):
                    self._copy_slot(part, new, slot)
            else:
                self._copy(part, new, inner, below, key if inner.many else None, made)

    def _copy_slot(self, theirs: Element, ours: Element, path: str) -> None:
        """Copy what stands at a path like ``target/@type``: what the device is."""
        tag, _, rest = path.partition("/")
        if tag[:1] == "@":
            value = theirs.get(tag[1:])
            if value is not None:
                self.work.write(ours, tag, value, COMPLETER)
            return
        part, below = child(theirs, tag), child(ours, tag)
        if part is not None and rest:
            self._copy_slot(part, self.work.insert(ours, tag, COMPLETER) if below is None else below, rest)

    def _keep(self, element: Element) -> None:
        """What a profile made as a container does not go with the profile any more."""
        while not self.tree.original(element):
            if self.work.node(element).many:
                return
            self.tree.own_slot(element, PRESENCE, COMPLETER)
            element = parent_of(element)

    def _copy(
        self,
        theirs: Element,
        ours: Element,
        node: Node,
        path: str,
        whole: Key | None,
        made: dict[tuple[Element, str], Key],
    ) -> None:
        for name, value in attributes(theirs).items():
            key = whole or (path, "@" + name)
            if key not in self.barred:
                self.work.write(ours, "@" + name, value, COMPLETER)
                made[(ours, "@" + name)] = key
        text = text_of(theirs)
        if text is not None:
            self.work.write(ours, TEXT, text, COMPLETER)
            made[(ours, TEXT)] = whole or (path, TEXT)
        for part in theirs.iterchildren("*"):
            below = f"{path}/{part.tag}"
            inner = node.child(part.tag)
            key = whole or (below, PRESENCE)
            if inner is None or below in _NOT_TAKEN or key in self.barred:
                continue
            new = self.work.insert(ours, part.tag, COMPLETER)
            made[(new, PRESENCE)] = key
            self._copy(part, new, inner, below, whole, made)

    def _fits(self, ours: Element, name: str, path: str) -> bool:
        """Half of a size is not filled in, and a unit only with its number."""
        return name != "unit" or to_bytes(text_of(ours), None, "KiB") is None

    def _excluded(self, path: str) -> bool:
        """A fact that stands excludes it: libvirt chooses the loader where firmware= is written."""
        os = child(self.tree.root, "os")
        return path in ("os/loader", "os/nvram") and os is not None and os.get("firmware") is not None


def _has_companions(device: Element) -> bool:
    """Is it one of several controllers that are what they are only together (USB 2)?"""
    kind = device.get("type")
    beside = parent_of(device).iterchildren("controller") if device.tag == "controller" else ()
    return any(
        controller.get("type") == kind and child(controller, "master") is not None for controller in beside
    )


def _recommended_memory(guest: Any, os: Any) -> None:
    """libosinfo's recommended memory of the OS, where it has one."""
    try:
        ram = os.variant.get_recommended_resources().get_recommended_ram(guest.os.arch or "x86_64")
    except (AttributeError, TypeError):
        return
    if ram and ram > 0:
        guest.memory = int(ram) // 1024
        guest.currentMemory = int(ram) // 1024


def _settle(work: Workspace, settled: dict[str, str]) -> None:
    """Arch and machine first, as everything that virtinst adds follows from them."""
    place = work.tree.root
    for tag in ("os", "type") if settled else ():
        below = child(place, tag)
        place = work.insert(place, tag, COMPLETER) if below is None else below
    for name, value in settled.items():
        if place.get(name) is None:
            work.write(place, "@" + name, value, COMPLETER)
    if settled and text_of(place) is None:
        work.write(place, TEXT, "hvm", COMPLETER)


def complete(work: Workspace, known: dict[tuple[object, ...], Element], settled: dict[str, str]) -> bool:
    """Complete the guest; what goes wrong goes to the pass. Gives whether it is complete.

    :param settled: arch and machine, where profiles gave them
    """
    _settle(work, settled)
    try:
        Sketch(work, known).run()
        return True
    except MissingContextError as problem:
        work.actions.unmet.append(MissingContextError(problem.message, hint=problem.hint, where="--complete"))
    except CompletionError as problem:
        work.actions.unmet.append(problem)
    return False
