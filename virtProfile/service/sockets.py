# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the service listens, and connections that bring no request: sockets, and a protocol with a clock."""

from __future__ import annotations

import asyncio
import errno
import grp
import os
import socket
import stat
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from virtProfile.errors import PolicyError, UsageError

#: Seconds until a connection has to bring the whole head of a request.
HEAD = 10.0
#: Seconds in which a caller has to read `LEAST` bytes of an answer that waits for it.
WRITE = 20.0
LEAST = 65536
#: Connections at once; and those of them on which nobody has shown who it is.
MOST = 1024
STRANGERS = 128
GROUP = "libvirt"
_FIRST_FD = 3


class Connections:
    """The open connections by who called on them; "" is nobody yet. The oldest come first.

    Beyond a limit the oldest on which no request runs is closed: a new one always gets its turn.
    """

    def __init__(self) -> None:
        self._by_share: dict[str, dict[PatientProtocol, None]] = {}
        self._count = 0

    def add(self, connection: PatientProtocol) -> None:
        self._by_share.setdefault(connection.share, {})[connection] = None
        self._count += 1
        strangers = self._by_share.get("", {})
        if len(strangers) > STRANGERS:
            self._close_oldest(strangers)
        elif self._count > MOST:
            self._close_oldest(max(self._by_share.values(), key=len))

    def remove(self, connection: PatientProtocol) -> None:
        """Nothing where it was removed already."""
        of_share = self._by_share.get(connection.share, {})
        if connection in of_share:
            del of_share[connection]
            self._count -= 1
            if not of_share:
                del self._by_share[connection.share]

    def _close_oldest(self, connections: dict[PatientProtocol, None]) -> None:
        *_, newest = connections
        oldest = next((connection for connection in connections if connection.is_idle()), newest)
        self.remove(oldest)
        oldest.transport.abort()


class PatientProtocol(H11Protocol):
    """HTTP, with limits for connections that bring no request, or do not take the answer.

    A caller who has shown nothing gets one answer a connection.
    """

    share = ""
    _timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _open: Connections

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        known: dict[str, Any] = {"connection": self}
        certificate = transport.get_extra_info("peercert")
        if certificate:
            known["peer"] = common_name(certificate)
        user = _user(transport.get_extra_info("socket"))
        if user is not None:
            known["user"] = user
        self.app = _with_state(self.app, known)
        self._open = vars(self.server_state).setdefault("by_share", Connections())
        self._open.add(self)
        self._arm()

    def is_idle(self) -> bool:
        """Does no request run on it?"""
        return self.cycle is None or self.cycle.response_complete

    def belongs_to(self, share: str | None) -> None:
        """Who has called on this connection; None for nobody that the service knows."""
        if share is None:
            self.cycle.keep_alive = False
        elif share != self.share:
            self._open.remove(self)
            self.share = share
            self._open.add(self)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._disarm()
        elif self._timer is None:
            self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._disarm_writing()
        self._open.remove(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._disarm_writing()

    def _arm(self) -> None:
        self._timer = self.loop.call_later(HEAD, self._no_head)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _disarm_writing(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _no_head(self) -> None:
        self._timer = None
        if self.is_idle():
            self.transport.abort()

    def _await_reader(self) -> None:
        size = self.transport.get_write_buffer_size()
        self._write_timer = self.loop.call_later(WRITE, self._no_reader, size)

    def _no_reader(self, size: int) -> None:
        if self.transport.get_write_buffer_size() > size - LEAST:
            self.transport.abort()
        else:
            self._await_reader()


def _with_state(app: Any, known: Mapping[str, Any]) -> Any:
    """The application, with what is known of the connection in the state of each request.

    Not by `app_state` of uvicorn's protocol, which Debian 12's uvicorn, 0.17, does not have.
    """

    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        scope["state"] = {**scope.get("state", {}), **known}
        await app(scope, receive, send)

    return with_state


def _user(peer: socket.socket | None) -> int | None:
    """The user at the other end of a unix socket: users without a token take turns with each other."""
    if peer is None or peer.family != socket.AF_UNIX:
        return None
    size = struct.calcsize("3i")
    return int(struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[1])


def common_name(certificate: Mapping[str, Any]) -> str:
    """The caller that a client certificate names, or ""."""
    for parts in certificate.get("subject", ()):
        for key, value in parts:
            if key == "commonName":
                return str(value)
    return ""


def handed_over(environ: Mapping[str, str]) -> list[socket.socket]:
    """The sockets that systemd hands over (sd_listen_fds(3))."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(environ.get("LISTEN_FDS", "0"))
    found = []
    for number in range(_FIRST_FD, _FIRST_FD + count):
        os.set_inheritable(number, False)
        found.append(socket.socket(fileno=number))
    return found


def default_path(environ: Mapping[str, str]) -> str | None:
    """Where the unix socket is without an option; None where there is no place for one."""
    if os.geteuid() == 0:
        return "/run/virt-profile/sock"
    directory = environ.get("XDG_RUNTIME_DIR", "")
    return (
        f"{directory}/virt-profile.sock" if directory.startswith("/") and os.path.isdir(directory) else None
    )


def unix_socket(path: str) -> tuple[socket.socket, str]:
    """A listening unix socket for the group libvirt, and who may connect to it, in words.

    Its mode is set while nobody can connect. A socket that nobody listens on any more
    is replaced.

    :raises UsageError: somebody listens there, or it is no socket
    :raises OSError: it cannot be made
    """
    place = Path(path)
    place.parent.mkdir(mode=0o755, exist_ok=True)
    if place.exists():
        if not stat.S_ISSOCK(place.lstat().st_mode):
            raise UsageError(f"'{path}' exists and is not a socket", hint="--socket PATH")
        _is_left(path)
        place.unlink()
    made = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o777)
    try:
        made.bind(path)
    finally:
        os.umask(mask)
    who = "its owner"
    mode = 0o600
    with suppress(KeyError, PermissionError):
        os.chown(path, -1, grp.getgrnam(GROUP).gr_gid)
        mode, who = 0o660, f"its owner and the group {GROUP}"
    os.chmod(path, mode)
    made.listen(512)
    return made, who


def _is_left(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as asking:
        try:
            asking.connect(path)
        except OSError as problem:
            if problem.errno == errno.ECONNREFUSED:
                return
            raise
    raise UsageError(
        f"another process listens on '{path}' already",
        hint="stop the other virt-profiled, or give another --socket",
    )


def tcp_socket(host: str, port: int) -> socket.socket:
    """A listening TCP socket.

    :raises OSError: it cannot be made
    """
    kind = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    made = socket.socket(kind[0], socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(kind[4])
    made.listen(512)
    return made


def is_loopback(made: socket.socket) -> bool:
    """Does a TCP socket hear this machine alone?"""
    from ipaddress import ip_address

    return ip_address(made.getsockname()[0].partition("%")[0]).is_loopback


def check_guarded(sockets: list[socket.socket], tokens: bool, certificates: bool) -> bool:
    """Are all of them unix sockets, so that file modes say who may connect?

    :raises PolicyError: one is not, and nothing else does
    """
    tcp = [listening for listening in sockets if listening.family != socket.AF_UNIX]
    for listening in tcp:
        if not tokens and not certificates:
            name = ":".join(map(str, listening.getsockname()[:2]))
            raise PolicyError(
                f"'{name}' is TCP, and neither a token nor a certificate is asked for",
                hint="--token-file FILE, or --tls-cert FILE --tls-client-ca FILE",
            )
    return not tcp
