# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest boots by the orders of its devices or by ``<os><boot>``: libvirt refuses both together.

So the two are rival values: the weaker one gives way as a whole, by priority like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtProfile.engine.tree.ownership import THE_DEFINITION
from virtProfile.format.element import PRESENCE, Element, attributes, child, parent_of
from virtProfile.format.paths import keyed_step

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from virtProfile.engine.actions.arbiter import Arbiter
    from virtProfile.engine.actions.step import Step
    from virtProfile.engine.tree.ownership import Writer
    from virtProfile.engine.tree.work_tree import WorkTree
    from virtProfile.language.profile import Snippet

TAG = "boot"


_known: dict[int, tuple[Sequence[Snippet], bool]] = {}


def forget() -> None:
    """Drop what is known of snippets, which hold the values of calls."""
    _known.clear()


def mentions(snippets: Sequence[Snippet]) -> bool:
    """Is there something about booting in them? Remembered."""
    known = _known.get(id(snippets))
    if known is None or known[0] is not snippets:
        found = any([snippet.tag == TAG or mentions(snippet.children) for snippet in snippets])
        if len(_known) > 8192:
            _known.clear()
        known = _known[id(snippets)] = (snippets, found)
    return known[1]


def of_devices(root: Element) -> list[Element]:
    """The boot orders of devices."""
    devices = child(root, "devices")
    if devices is None:
        return []
    return [boot for device in devices.iterchildren("*") for boot in device.iterchildren(TAG)]


def of_os(root: Element) -> list[Element]:
    """The list of what the machine boots from."""
    os = child(root, "os")
    return [] if os is None else list(os.iterchildren(TAG))


class Boots:
    """Decides between the two, right after an action wrote one of them."""

    def __init__(self, arbiter: Arbiter) -> None:
        self.arbiter = arbiter
        self.tree: WorkTree = arbiter.tree

    def mind(self, mark: int, step: Step) -> int:
        """What a step just wrote drops the other way to boot, or is taken back.

        :param mark: of the tree, before it wrote
        :returns: how many elements were taken back
        """
        if not mentions(step.action.branches):
            return 0
        root = self.tree.root
        by_device, by_os = of_devices(root), of_os(root)
        if not by_device or not by_os:
            return 0
        written = [element for element in self._made(mark) if self.tree.stands(element)]
        for ours, theirs in ((by_device, by_os), (by_os, by_device)):
            mine = [boot for boot in ours if boot in written]
            if mine:
                return self._decide(mine, theirs, step.writer)
        return 0

    def _made(self, mark: int) -> Iterator[Element]:
        """The boot elements that were made since, also in what was made."""
        for element, slot in list(self.tree.written_since(mark)):
            if slot == PRESENCE:
                yield from element.iter(TAG)

    def _decide(self, mine: Sequence[Element], theirs: Sequence[Element], writer: Writer) -> int:
        tree, arbiter = self.tree, self.arbiter
        owners = list(dict.fromkeys(owner for boot in theirs for owner in tree.subtree_owners(boot)))
        owners.sort(key=lambda owner: -owner.priority)
        if writer not in owners and arbiter.beats(writer, owners):
            if not (writer.is_default and THE_DEFINITION in owners):  # it asks for what is left open
                for boot in theirs:
                    parent, value = parent_of(boot), _said(boot)
                    arbiter.displace(parent, keyed_step(boot, None), value, tree.subtree_owners(boot), writer)
                    tree.remove(boot, [writer])
                return 0
        silent = writer.is_default and any(not owner.is_default for owner in owners)
        where = "os/boot" if parent_of(theirs[0]).tag == "os" else "the boot order of a device"
        for boot in mine:
            parent = parent_of(boot)
            tree.discard(boot)
            if not silent or writer.hard and THE_DEFINITION not in owners:
                note = f"{where} is '{_said(theirs[0])}', which excludes it"
                arbiter.lose(parent, f"{TAG}/{_slot(boot)}", _said(boot), None, writer, owners, note)
        return len(mine)


def _slot(boot: Element) -> str:
    return "@order" if boot.get("order") is not None else "@dev"


def _said(boot: Element) -> str:
    return boot.get(_slot(boot)[1:]) or " ".join(attributes(boot).values())
