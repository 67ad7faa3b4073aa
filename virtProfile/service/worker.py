# SPDX-License-Identifier: GPL-2.0-or-later
"""A worker process of the service: answers requests one at a time, within limits, and keeps nothing.

What stays are the engine's tables and the parsed profiles of the directories; whatever was
worked out for a request (params, secrets) is forgotten after it.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import socket
import struct
import tempfile
from collections.abc import Mapping
from contextlib import suppress

from virtProfile.engine.actions import boots
from virtProfile.engine.selection import conditions, masks
from virtProfile.engine.tree import validate
from virtProfile.frozen import record
from virtProfile.language import expression, wishes
from virtProfile.service import handlers
from virtProfile.service.kept import CALLER, WRITABLE, CallersStore
from virtProfile.service.policy import RULES, Rules
from virtProfile.service.route import ROUTES
from virtProfile.service.vms import CONNECT

#: Lengths of the request's name, the caller's name and the body.
REQUEST = struct.Struct("!HHI")
#: HTTP status, "this was my last one", and the answer's length.
ANSWER = struct.Struct("!H?I")
#: Bytes of an answer.
MOST_ANSWER = 48 << 20
#: Requests after which nothing is left to chance.
_SWEEP = 256
#: Objects more than before, when those in cycles are freed: an apply leaves none, but errors do, and devices
#: that are completed, 500 each.
_LEFT_BEHIND = 50_000
#: Made before there is no memory left.
_TOO_MUCH = json.dumps(handlers.problem("policy", "the request needs too much memory")).encode()

_TOO_LONG = json.dumps(
    handlers.problem("policy", f"the answer is over {MOST_ANSWER >> 20} MiB", "ask for less at once")
).encode()


@record
class Limits:
    """What one request, and one process, may take.

    :param seconds: of wall clock and of processor for one request
    :param memory: bytes of address space
    :param resident: bytes of memory after which a process is not used again
    :param requests: after which a process is not used again
    """

    seconds: float = 10
    memory: int = 1 << 30
    resident: int = 256 << 20
    requests: int = 1000


@record
class Settings:
    """What all workers of a service have in common.

    :param directories: of profiles, as `ProfileStore` takes them
    :param writable: the one of them that callers may put profiles in, or None
    :param rules: of callers by name; "" is for all others
    :param connect: URI of the libvirt whose VMs are served, None for none
    """

    directories: tuple[str, ...]
    writable: str | None = None
    rules: Mapping[str, Rules] = {}
    limits: Limits = Limits()
    connect: str | None = None


def serve(link: socket.socket, settings: Settings) -> None:
    """Answer requests until the other side closes the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's is for the service, which asks us to end
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    limits = settings.limits
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold somebody's VM
    store = CallersStore(settings.directories)
    WRITABLE.set(settings.writable)
    CONNECT.set(settings.connect)
    _warm(store)
    link.sendall(b"+")  # ready
    known = len(wishes._compiled)
    count = 0
    while True:
        head = _read(link, REQUEST.size)
        if head is None:
            return
        sizes = REQUEST.unpack(head)
        name, caller = (str(_read(link, size) or b"", "utf-8") for size in sizes[:2])
        data = _read(link, sizes[2])
        if data is None:
            return
        count += 1
        _allow(limits.seconds)
        RULES.set(settings.rules.get(caller, settings.rules.get("", Rules())))
        CALLER.set(caller)
        handlers.BROUGHT.set(False)
        status, answer = _answered(name, data, store)
        if len(answer) > MOST_ANSWER:
            status, answer = 422, _TOO_LONG
        theirs = handlers.BROUGHT.get() or (name in ROUTES and ROUTES[name].has_profiles)
        del data
        if theirs or len(wishes._compiled) != known or conditions._filled_known:
            forget(theirs)
            known = len(wishes._compiled)
        last = status >= 500 or count >= limits.requests
        if count % _SWEEP == 0 or last:
            gc.collect()
            gc.freeze()  # profiles that were read since
        last = last or most_resident() > limits.resident and resident() > limits.resident
        link.sendall(ANSWER.pack(status, last, len(answer)) + answer)
        del answer
        if last:
            return


def forget(everything: bool) -> None:
    """Drop what was worked out for a request.

    :param everything: it brought profiles, so also what was compiled from profiles
    """
    conditions.forget()
    wishes.forget(everything)
    masks.forget()
    validate.forget()
    if everything:
        boots.forget()
        expression.forget()


def _answered(name: str, data: bytes, store: CallersStore) -> tuple[int, bytes]:
    try:
        return handlers.answered(name, data, store)
    except MemoryError:
        return 503, _TOO_MUCH


def _warm(store: CallersStore) -> None:
    """Read the schema's tables once, before the first request."""
    kind = "<os><type arch='x86_64' machine='q35'>hvm</type></os>"
    data = f'{{"xml": "<domain type=\'kvm\'><name>a</name>{kind}<devices/></domain>"}}'
    handlers.answered("apply", data.encode(), store)
    gc.collect()
    gc.freeze()
    gc.set_threshold(_LEFT_BEHIND, 5, 5)


def _allow(seconds: float) -> None:
    """Processor time counts from the process's start: as much as it has used, and then some."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = used.ru_utime + used.ru_stime
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(spent + seconds) + 1, hard))


def most_resident() -> int:
    """The most memory that this process ever had, in bytes: asked first, as it costs no file."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def resident() -> int:
    """The memory of this process, in bytes."""
    with open("/proc/self/statm", "rb") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _read(link: socket.socket, size: int) -> bytes | None:
    """So many bytes, or None where the other side has closed."""
    parts = bytearray(size)
    view = memoryview(parts)
    got = 0
    while got < size:
        count = link.recv_into(view[got:])
        if not count:
            return None
        got += count
    view.release()
    return bytes(parts)


def main(link: socket.socket, settings: Settings, place: str) -> None:
    """A process's whole life.

    :param place: a directory for its temporary files, which does not exist yet; whoever ends the process
        removes it
    """
    with suppress(OSError):
        os.setpgid(0, 0)  # the programs that it runs end with it
    os.mkdir(place, 0o700)
    tempfile.tempdir = place
    with suppress(BrokenPipeError, ConnectionResetError):
        serve(link, settings)
