# SPDX-License-Identifier: GPL-2.0-or-later
"""KubeVirt's domain hook: a gRPC service on a unix socket, beside the launcher of each VM.

``python3 -m virtProfile.service.kubevirt /var/run/kubevirt-plugin/NAME/hook.sock`` serves the method
``MutateDomain`` of KubeVirt's plugins (1.9 and newer). Each call is the hook ``mutate-domain`` of
`virtProfile.hooks` in a process of its own, with that hook's limits. grpcio is needed; the five
fields of the messages are read and written here.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

#: kubevirt: pkg/hooks/plugins/v1alpha1/api.proto
SERVICE = "kubevirt.hooks.plugins.v1alpha1.DomainHookService"
METHOD = "MutateDomain"
#: The domains that are libvirt's; others are nobody's here.
DOMAIN_TYPE = "libvirt"
#: Why the launcher may ask, where the domain may be changed: it is about to be defined.
DEFINING = ("", "Boot", "MigrationTarget")
#: Bytes of a request: a domain of 16 MiB, the VMI beside it.
LARGEST = 24 * 2**20
#: Seconds for a call whose caller names no time; KubeVirt's own default.
SECONDS = 30.0

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Request(NamedTuple):
    """A ``MutateDomainRequest``."""

    domain_type: str = ""
    domain: bytes = b""
    vmi: bytes = b""
    #: ``SidecarContext.invocation_context``: ``Boot``, ``MigrationSource`` or ``MigrationTarget``.
    invocation: str = ""


# --- the wire format of protocol buffers ---------------------------------------------


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and the place after it."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number is cut off or too long")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7


def fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a message that are bytes, texts or messages, by number; others are let pass.

    :raises ValueError: this is no message
    """
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            at = _varint(data, at)[1]
            continue
        if kind == _BYTES:
            length, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            length = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"a field of kind {kind}")
        if at + length > len(data):
            raise ValueError("a field is cut off")
        if kind == _BYTES:
            yield key >> 3, data[at : at + length]
        at += length


def read_request(data: bytes) -> Request:
    """A ``MutateDomainRequest`` as it came; of a field that is there twice the last counts.

    :raises ValueError: this is none
    """
    found = dict(fields(data))
    context = dict(fields(found.get(4, b"")))
    return Request(
        found.get(1, b"").decode(), found.get(2, b""), found.get(3, b""), context.get(1, b"").decode()
    )


def write_response(domain: bytes) -> bytes:
    """A ``MutateDomainResponse``: the domain is field 1."""
    if not domain:
        return b""
    length, size = len(domain), bytearray()
    while length > 0x7F:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes((1 << 3 | _BYTES,)) + bytes((*size, length)) + domain


# --- a call ------------------------------------------------------------------------------


class Refused(Exception):
    """The hook failed.

    :ivar internal: the hook itself broke, rather than the profiles or the domain
    """

    def __init__(self, text: str, *, internal: bool = False) -> None:
        super().__init__(text)
        self.internal = internal


def mutate(request: Request, seconds: float = SECONDS) -> bytes:
    """The domain with the profiles that the VMI asks for.

    What is not libvirt's, and a domain that runs already (the source of a migration, whose guest may
    not see another machine), is given back as it came.

    :raises Refused: profiles cannot be applied, or not in time
    """
    if request.domain_type != DOMAIN_TYPE or request.invocation not in DEFINING:
        return request.domain
    try:
        words = {"domain": request.domain.decode(), "vmi": request.vmi.decode()}
    except UnicodeDecodeError as problem:
        raise Refused(f"domain and VMI have to be UTF-8: {problem}") from None
    try:
        done = subprocess.run(
            [sys.executable, "-m", "virtProfile.hooks", "mutate-domain"],
            input=json.dumps(words).encode(),
            capture_output=True,
            timeout=max(seconds, 0.1),
            env={**os.environ, "PYTHONUTF8": "1"},
        )
    except subprocess.TimeoutExpired:
        raise Refused(f"not done after {seconds:.0f} seconds", internal=True) from None
    told = done.stderr.decode(errors="replace").strip()
    if told:
        print(told, file=sys.stderr, flush=True)
    if done.returncode:
        raise Refused(told or f"exit status {done.returncode}", internal=done.returncode != 1)
    # Nothing: the limit on its time was met, and the VM passes as it is.
    return done.stdout or request.domain


# --- the server ------------------------------------------------------------------------------


def _answer(mutating: Callable[[Request, float], bytes]) -> Callable[[bytes, Any], bytes]:
    """What grpcio calls: bytes in, bytes out."""
    import grpc

    def answer(data: bytes, context: Any) -> bytes:
        remaining = context.time_remaining()
        try:
            request = read_request(data)
        except ValueError as problem:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"not a MutateDomainRequest: {problem}")
        try:
            # A deadline that is met leaves time to say so.
            return write_response(mutating(request, SECONDS if remaining is None else 0.9 * remaining))
        except Refused as problem:
            code = grpc.StatusCode.INTERNAL if problem.internal else grpc.StatusCode.FAILED_PRECONDITION
            context.abort(code, str(problem))
        raise AssertionError  # abort does not return

    return answer


def make_server(path: str, mutating: Callable[[Request, float], bytes] = mutate) -> Any:
    """A server on a unix socket, not started.

    :raises OSError: the path is no place for a socket
    """
    import grpc

    server = grpc.server(
        ThreadPoolExecutor(max_workers=4), options=[("grpc.max_receive_message_length", LARGEST)]
    )
    handler = grpc.unary_unary_rpc_method_handler(_answer(mutating))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    _clear(path)
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as problem:
        raise OSError(f"{path}: {problem}") from None
    # The launcher may be another user; only containers of this pod see the directory.
    os.chmod(path, 0o666)
    return server


def _clear(path: str) -> None:
    """Remove the socket of a container that is gone; nothing else.

    :raises OSError: something else is there, or somebody listens
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(f"{path} is there and is not a socket")
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(ConnectionRefusedError):
        probe.connect(path)
        raise OSError(f"{path}: somebody listens there already")
    os.unlink(path)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal ends it.

    :returns: the exit status
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if len(words) != 1 or words[0].startswith("-"):
        print("usage: python3 -m virtProfile.service.kubevirt SOCKET", file=sys.stderr)
        return 2
    try:
        server = make_server(words[0])
    except ImportError:
        print("virt-profile: grpcio is missing: pip install 'virt-profile[kubevirt]'", file=sys.stderr)
        return 1
    except OSError as problem:
        print(f"virt-profile: {problem}", file=sys.stderr)
        return 1
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    server.start()
    print(f"virt-profile: KubeVirt's domain hook on {words[0]}", file=sys.stderr, flush=True)
    ended.wait()
    server.stop(grace=5).wait()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(words[0])
    return 0


if __name__ == "__main__":
    sys.exit(main())
