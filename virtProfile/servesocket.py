# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the service listens, and connections that bring no request: sockets, and a protocol with a clock."""

from __future__ import annotations

import asyncio
import errno
import grp
import os
import socket
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from .errors import PolicyError, UsageError

#: Seconds until a connection has to bring the whole head of a request.
HEAD = 10.0
#: Connections at once.
MOST = 1024
GROUP = "libvirt"
_FIRST_FD = 3


class PatientProtocol(H11Protocol):
    """HTTP, for connections that dawdle: a head that does not come ends the connection."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > MOST:
            transport.abort()
            return
        certificate = transport.get_extra_info("peercert")
        if certificate:
            self.app_state = {**self.app_state, "peer": common_name(certificate)}
        self._arm()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._disarm()
        elif self._timer is None:
            self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def _arm(self) -> None:
        self._timer = self.loop.call_later(HEAD, self._late)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


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
            raise UsageError(f"'{path}' is there and no socket", hint="--socket PATH")
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
    raise UsageError(f"somebody listens on '{path}' already", hint="is virt-profiled running?")


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
    tcp = [one for one in sockets if one.family != socket.AF_UNIX]
    for one in tcp:
        if not tokens and not certificates:
            name = ":".join(map(str, one.getsockname()[:2]))
            raise PolicyError(
                f"'{name}' is TCP, and neither a token nor a certificate is asked for",
                hint="--token-file FILE, or --tls-cert FILE --tls-client-ca FILE",
            )
    return not tcp
