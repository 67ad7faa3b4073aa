# SPDX-License-Identifier: GPL-2.0-or-later
"""The options of ``virt-profiled`` as data, and from a command line to checked options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from .cliargs import OptionParser
from .errors import UsageError
from .options import Kind, Option

PROGRAM = "virt-profiled"
_WHERE = "where it listens (without any: a unix socket, or what systemd hands over)"
_WHO = "who may call"
_WHAT = "profiles"
_MUCH = "how much"
_OTHER = "other"

OPTIONS: tuple[Option, ...] = (
    Option(
        ("--socket",),
        Kind.VALUE,
        _WHERE,
        "a unix socket at PATH, mode 0660 and group libvirt where there is that group and the caller"
        " may give it; the default is /run/virt-profile/sock for root, and for others"
        " $XDG_RUNTIME_DIR/virt-profile.sock",
        "PATH",
        one_of="where",
    ),
    Option(
        ("--listen",),
        Kind.VALUE,
        _WHERE,
        "TCP. On the loopback a token is made up and printed once where --token-file gives none;"
        " elsewhere --token-file or --tls-client-ca is needed",
        "HOST:PORT",
        one_of="where",
    ),
    Option(("--token-file",), Kind.VALUE, _WHO, "lines of TOKEN or NAME TOKEN; a caller shows one", "FILE"),
    Option(("--tls-cert",), Kind.VALUE, _WHO, "the server's certificate, for HTTPS", "FILE"),
    Option(
        ("--tls-key",), Kind.VALUE, _WHO, "its key, where the certificate's file does not hold it", "FILE"
    ),
    Option(
        ("--tls-client-ca",),
        Kind.VALUE,
        _WHO,
        "callers show a certificate of this authority; its common name is the caller's name."
        " With --token-file a token will do instead",
        "FILE",
    ),
    Option(
        ("--policy",),
        Kind.VALUE,
        _WHO,
        "what each caller may do (TOML); without it every profile, and nothing that is guarded",
        "FILE",
    ),
    Option(
        ("--profile-dir",),
        Kind.EACH,
        _WHAT,
        "look for profiles here first; may be repeated. Then where virt-profile looks",
        "DIR",
    ),
    Option(
        ("--store",), Kind.VALUE, _WHAT, "callers may put profiles into DIR, which is looked in first", "DIR"
    ),
    Option(
        ("--workers",), Kind.VALUE, _MUCH, "processes that answer; the default is one for each processor", "N"
    ),
    Option(("--queue",), Kind.VALUE, _MUCH, "requests that may wait for a worker; 128", "N"),
    Option(("--seconds",), Kind.VALUE, _MUCH, "for one request, of time and of processor time; 10", "N"),
    Option(("--memory",), Kind.VALUE, _MUCH, "address space of a worker in MiB; 1024", "N"),
    Option(("-q", "--quiet"), Kind.FLAG, _OTHER, "no line on stderr for each request"),
    Option(("--version",), Kind.FLAG, _OTHER, "print the version, and end"),
    Option(("-h", "--help"), Kind.FLAG, _OTHER, "print this help, and end"),
)
#: Numbers: the default, the least and the most.
_NUMBERS = {
    "workers": (0, 1, 256),
    "queue": (128, 0, 100_000),
    "seconds": (10, 1, 600),
    "memory": (1024, 256, 65536),
}


def parser() -> argparse.ArgumentParser:
    """The parser of `OPTIONS`."""
    made = OptionParser(
        OPTIONS,
        prog=PROGRAM,
        usage="%(prog)s [OPTIONS]",
        description="Serve libvirt profiles over HTTP: a REST API, and a page to look at it.",
        add_help=False,
        allow_abbrev=False,
    )
    groups: dict[str, Any] = {}
    for option in OPTIONS:
        group = groups.get(option.group) or made.add_argument_group(option.group)
        groups[option.group] = group
        if option.kind == Kind.FLAG:
            group.add_argument(*option.flags, dest=option.name, help=option.help, action="store_true")
        elif option.kind == Kind.EACH:
            group.add_argument(
                *option.flags,
                dest=option.name,
                help=option.help,
                metavar=option.metavar,
                action="append",
                default=[],
            )
        else:
            group.add_argument(*option.flags, dest=option.name, help=option.help, metavar=option.metavar)
    return made


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of a command line, checked against each other.

    :raises UsageError: unknown options, options that contradict each other, no numbers
    """
    options = parser().parse_args(list(argv))
    if options.socket and options.listen:
        raise UsageError("--socket and --listen exclude each other", hint="one service for each")
    for name, (default, least, most) in _NUMBERS.items():
        value = getattr(options, name)
        if value is None:
            setattr(options, name, default)
            continue
        if not value.isascii() or not value.isdigit() or not least <= int(value) <= most:
            raise UsageError(f"--{name} '{value}' is no number from {least} to {most}")
        setattr(options, name, int(value))
    if options.tls_cert is None and (options.tls_key or options.tls_client_ca):
        raise UsageError("TLS needs --tls-cert", hint="the server's certificate")
    if options.tls_cert and options.socket:
        raise UsageError("a unix socket has no TLS", hint="--listen HOST:PORT")
    if options.listen is not None:
        host, colon, port = options.listen.rpartition(":")
        if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise UsageError(f"--listen '{options.listen}' is no HOST:PORT", hint="--listen 127.0.0.1:8086")
        options.host, options.port = host.strip("[]"), int(port)
    return options
