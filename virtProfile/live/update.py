# SPDX-License-Identifier: GPL-2.0-or-later
"""Carries out the plan of ``--update`` on a running VM: all of it, or what was done is taken back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lxml import etree

from virtProfile.errors import LibvirtError
from virtProfile.format.document import parse
from virtProfile.format.element import parent_of
from virtProfile.live.update_plan import as_live

if TYPE_CHECKING:
    from virtProfile.live.connection import Connection, Domain
    from virtProfile.live.update_plan import Plan, Step
    from virtProfile.result import Result
    from virtProfile.show.terminal import Talk

#: How long a guest may take to let go of a device, in seconds.
PATIENCE = 10.0


class Live:
    """The running side of one update."""

    def __init__(self, connection: Connection, domain: Domain, plan: Plan, talk: Talk) -> None:
        self.connection = connection
        self.domain = domain
        self.plan = plan
        self.talk = talk
        self._done: list[Step] = []
        #: what libvirt made of the devices that were attached, by their step: alias and XML
        self._made: dict[Step, tuple[str, str]] = {}
        self._metadata: list[tuple[str, str, str | None]] = []

    @property
    def pending(self) -> bool:
        """Is there something to do on the running VM?"""
        return bool(self.plan.steps or self.plan.metadata)

    def carry_out(self) -> None:
        """Do the steps in their order, then write the running VM's list and record.

        :raises LibvirtError: one failed; what was done before it was taken back, or is named
        """
        for step in self.plan.steps:
            try:
                self._do(step)
            except LibvirtError as problem:
                raise self._taken_back(f"{step} failed: {problem.message}") from problem
            self._done.append(step)
            self.talk.note(f"live: {step}: done")
        for key, uri, element in self.plan.metadata:
            try:
                before = self.connection.metadata(self.domain, uri)
                self.connection.set_metadata(self.domain, element, key, uri)
            except LibvirtError as problem:
                raise self._taken_back(f"the list of profiles: {problem.message}") from problem
            self._metadata.append((key, uri, before))

    def definition(self, result: Result) -> str:
        """The result, with what was attached where it is now: for libvirt to define."""
        return as_live(result.xml, result.input, self.connection.live_xml(self.domain))

    def take_back(self, problem: LibvirtError) -> LibvirtError:
        """The definition failed: the running VM goes back too. Gives the error to raise."""
        if not self._done and not self._metadata:
            return problem
        return self._taken_back(problem.message)

    def _do(self, step: Step) -> None:
        if step.kind == "attach":
            before = self._devices()
            self.connection.attach(self.domain, step.xml)
            new = {alias: xml for alias, xml in self._devices().items() if alias not in before}
            if len(new) == 1:
                self._made[step] = next(iter(new.items()))
        elif step.kind == "update":
            self.connection.update(self.domain, step.xml)
        else:
            self.connection.detach(self.domain, step.xml)
            self._wait_for(step.name, step.alias)

    def _wait_for(self, name: str, alias: str) -> None:
        """A guest lets go of a device when it wants to.

        :raises LibvirtError: it does not
        """
        until = time.monotonic() + PATIENCE
        while alias and alias in self._devices():
            if time.monotonic() > until:
                raise LibvirtError(f"the guest does not release {name} (a guest that has not booted cannot)")
            time.sleep(0.1)

    def _devices(self) -> dict[str, str]:
        """The running VM's devices by alias, as libvirt has them."""
        root = parse(self.connection.live_xml(self.domain)).root
        return {
            alias.get("name", ""): str(etree.tostring(parent_of(alias), encoding="unicode", with_tail=False))
            for alias in root.iterfind("devices/*/alias")
        }

    def _taken_back(self, fact: str) -> LibvirtError:
        """Undo what was done, last first; gives the error that tells of it."""
        if not self.connection.alive:
            done = f" with {len(self._done)} changes live" if self._done else ""
            return LibvirtError(
                fact,
                hint=f"the connection to libvirt was lost{done}: the definition is the old one or the new"
                " one, and the same call completes it when libvirt is back",
            )
        left = []
        for key, uri, before in reversed(self._metadata):
            try:
                self.connection.set_metadata(self.domain, before, key, uri)
            except LibvirtError:
                left.append("the list of profiles")
        taken = 0
        for step in reversed(self._done):
            try:
                self._undo(step)
                taken += 1
            except LibvirtError as problem:
                left.append(f"{step} ({problem.message})")
        self._done, self._metadata = [], []
        if left:
            hint = f"these changes are still live: {', '.join(left)}"
        elif taken:
            hint = f"the {taken} changes before it were taken back: the VM is as it was"
        else:
            hint = "nothing was changed"
        return LibvirtError(fact, hint=hint)

    def _undo(self, step: Step) -> None:
        if step.kind == "update":
            self.connection.update(self.domain, step.before)
        elif step.kind == "detach":
            self.connection.attach(self.domain, _without_alias(step.before))
        else:
            alias, xml = self._made.get(step, ("", step.xml))
            self.connection.detach(self.domain, xml)
            self._wait_for(step.name, alias)


def _without_alias(xml: str) -> str:
    device = etree.fromstring(xml)
    for alias in device.findall("alias"):
        device.remove(alias)
    return str(etree.tostring(device, encoding="unicode"))
