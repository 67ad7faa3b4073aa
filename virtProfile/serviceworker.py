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
from collections.abc import Mapping
from contextlib import suppress

from . import conditions, expression, masking, servicework, wants
from .records import record
from .servicecatalogue import WRITABLE
from .servicepolicy import RULES, Rules
from .store import ProfileStore

#: Lengths of the request's name, the caller's name and the body.
REQUEST = struct.Struct("!HHI")
#: HTTP status, "this was my last one", and the answer's length.
ANSWER = struct.Struct("!H?I")
#: Requests after which nothing is left to chance.
_SWEEP = 64
#: Made before there is no memory left.
_TOO_MUCH = json.dumps(servicework.problem("policy", "the request needs too much memory")).encode()
#: Requests that are profiles, or bring some: a device is made one.
_WITH_PROFILES = frozenset(("device", "lint", "profile-put"))


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
    """

    directories: tuple[str, ...]
    writable: str | None = None
    rules: Mapping[str, Rules] = {}
    limits: Limits = Limits()


def serve(link: socket.socket, settings: Settings) -> None:
    """Answer requests until the other side closes the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's is for the service, which asks us to end
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    limits = settings.limits
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory, limits.memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold somebody's VM
    store = ProfileStore(settings.directories)
    WRITABLE.set(settings.writable)
    _warm(store)
    known = len(wants._compiled)
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
        status, answer = _answered(name, data, store)
        theirs = name in _WITH_PROFILES or b'"inline"' in data
        del data
        if theirs or len(wants._compiled) != known or conditions._filled_known:
            forget(theirs)
            known = len(wants._compiled)
        last = status >= 500 or count >= limits.requests
        if count % _SWEEP == 0 or last:
            gc.collect()
            last = last or resident() > limits.resident
        link.sendall(ANSWER.pack(status, last, len(answer)) + answer)
        del answer
        if last:
            return


def forget(everything: bool) -> None:
    """Drop what was worked out for a request.

    :param everything: it brought profiles, so also what was compiled from profiles
    """
    conditions.forget()
    wants.forget(everything)
    masking.forget()
    if everything:
        expression.forget()


def _answered(name: str, data: bytes, store: ProfileStore) -> tuple[int, bytes]:
    try:
        return servicework.answered(name, data, store)
    except MemoryError:
        return 503, _TOO_MUCH


def _warm(store: ProfileStore) -> None:
    """Read the schema's tables once, before the first request."""
    kind = "<os><type arch='x86_64' machine='q35'>hvm</type></os>"
    data = f'{{"xml": "<domain type=\'kvm\'><name>a</name>{kind}<devices/></domain>"}}'
    servicework.answered("apply", data.encode(), store)
    gc.collect()
    gc.freeze()
    gc.disable()  # an apply leaves no cycles; what errors leave is swept now and then


def _allow(seconds: float) -> None:
    """Processor time counts from the process's start: as much as it has used, and then some."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = used.ru_utime + used.ru_stime
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(spent + seconds) + 1, hard))


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


def main(link: socket.socket, settings: Settings) -> None:
    """A process's whole life."""
    with suppress(BrokenPipeError, ConnectionResetError):
        serve(link, settings)
