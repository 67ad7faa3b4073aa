# SPDX-License-Identifier: GPL-2.0-or-later
"""Kills libvirtd around each call of an ``--update`` and tells what is left; run beside `daemon.sh`'s daemon.

    tests/crashing.py PROFILES-DIR

Prints one JSON object a line: the run without a crash first, then one for each moment.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import libvirt

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP))

from virtProfile.cli.main import runcli  # noqa: E402
from virtProfile.live import connection  # noqa: E402

URI = "qemu:///system"
PID = Path("/run/libvirt/ours.pid")
CHANGING = ("attachDeviceFlags", "detachDeviceFlags", "updateDeviceFlags", "setMetadata", "defineXMLFlags")
PORTS = "".join(f"<controller type='pci' index='{one}' model='pcie-root-port'/>" for one in range(1, 9))
VM = f"""<domain type='qemu'><name>vp-e-crash</name><uuid>6695eb01-f6a4-8304-79aa-97f2502e193f</uuid>
<memory unit='MiB'>48</memory><os><type arch='x86_64' machine='q35'>hvm</type></os>
<devices><controller type='pci' index='0' model='pcie-root'/>{PORTS}<controller type='virtio-serial'/>
<interface type='user'><mac address='52:54:00:00:00:01'/><model type='virtio'/></interface></devices></domain>"""
WORDS = [
    word
    for name in ("scsi-disk", "agent", "nic", "cable,priority=100", "cpu,priority=100")
    for word in ("--profile", name)
]


def kill_daemon() -> None:
    """As a crash: nothing is written, no client is told."""
    process = int(PID.read_text())
    os.kill(process, signal.SIGKILL)
    for _ in range(500):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":
            return
        time.sleep(0.01)
    raise RuntimeError("libvirtd does not die")


def start_daemon() -> None:
    PID.unlink(missing_ok=True)
    subprocess.run(["libvirtd", "-d", "--pid-file", str(PID)], check=True, stderr=subprocess.DEVNULL)
    for _ in range(300):
        try:
            libvirt.open(URI).close()
            return
        except libvirt.libvirtError:
            time.sleep(0.05)
    raise RuntimeError("libvirtd does not come back")


class Moment:
    """When the daemon dies: by the number of the changing call, and whether before, in or after it."""

    def __init__(self, call: int, when: str, delay: float = 0.0) -> None:
        self.call, self.when, self.delay = call, when, delay
        self.names: list[str] = []
        self.died = False

    def die(self) -> None:
        self.died = True
        kill_daemon()

    def around(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(connection: Any, function: Any, *arguments: Any, **more: Any) -> Any:
            if getattr(function, "__name__", "") not in CHANGING:
                return original(connection, function, *arguments, **more)
            at = len(self.names)
            self.names.append(function.__name__)
            mine = at == self.call and not self.died
            if mine and self.when == "before":
                self.die()
            if mine and self.when == "in":
                self.died = True
                timer = threading.Timer(self.delay, kill_daemon)
                timer.start()
                try:
                    return original(connection, function, *arguments, **more)
                finally:
                    timer.join()
            found = original(connection, function, *arguments, **more)
            if mine and self.when == "after":
                self.die()
            return found

        return wrapped


@contextmanager
def fresh() -> Iterator[None]:
    """The VM as it was at first, running."""
    connection = libvirt.open(URI)
    connection.defineXML(VM).create()
    connection.close()
    try:
        yield
    finally:
        connection = libvirt.open(URI)
        domain = connection.lookupByName("vp-e-crash")
        if domain.isActive():
            domain.destroy()
        domain.undefine()
        connection.close()


def state() -> dict[str, Any]:
    connection = libvirt.open(URI)
    domain = connection.lookupByName("vp-e-crash")
    found = {
        "active": domain.isActive(),
        "live": domain.XMLDesc(0),
        "defined": domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE),
    }
    connection.close()
    return found


def update(directory: str, moment: Moment | None) -> dict[str, Any]:
    err = io.StringIO()
    real = connection.Connection._call
    if moment is not None:
        connection.Connection._call = moment.around(real)  # type: ignore[method-assign]
    try:
        words = ["-c", URI, "--profile-dir", directory, "vp-e-crash", *WORDS, "--update", "--yes"]
        status = runcli(words, stdout=io.BytesIO(), stderr=err)
    finally:
        connection.Connection._call = real  # type: ignore[method-assign]
    return {"status": status, "told": err.getvalue()}


def crash(directory: str, moment: Moment) -> dict[str, Any]:
    """One run with a crash, the daemon's return, and the run again."""
    with fresh():
        first = update(directory, moment)
        if not moment.died:
            return {"moment": None, "calls": moment.names, "first": first, "after": state()}
        start_daemon()
        left = state()
        second = update(directory, None)
        return {
            "moment": [moment.call, moment.when, moment.names[moment.call]],
            "first": first,
            "left": left,
            "second": second,
            "after": state(),
            "third": update(directory, None),
        }


def main(directory: str) -> None:
    libvirt.registerErrorHandler(lambda *_: None, None)
    with fresh():
        before = state()
    whole = crash(directory, Moment(-1, "never"))
    print(json.dumps({**whole, "before": before}), flush=True)
    for number, name in enumerate(whole["calls"]):
        for when in ("before", "after"):
            print(json.dumps(crash(directory, Moment(number, when))), flush=True)
        if name == "defineXMLFlags":
            for step in range(8):
                print(json.dumps(crash(directory, Moment(number, "in", step / 2000))), flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    finally:
        kill_daemon()  # the last one started is nobody's child: daemon.sh waits for its own only
