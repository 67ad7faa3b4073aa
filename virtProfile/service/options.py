# SPDX-License-Identifier: GPL-2.0-or-later
"""The options of ``virt-profiled`` as rows, and from a command line to checked options."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from virtProfile.command_line import OptionParser, parser_of
from virtProfile.errors import UsageError
from virtProfile.live.connection import is_embedded
from virtProfile.option import Option, each, flag, option_record, rows_of, value, values_of

PROGRAM = "virt-profiled"
_WHERE = "where it listens (without any: a unix socket, or what systemd hands over)"
_WHO = "who may call"
_WHAT = "profiles"
_MUCH = "how much"
_OTHER = "other"


def _between(least: int, most: int) -> Callable[[str, str], int]:
    def read(option: str, text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise UsageError(f"{option} '{text}' is not a number from {least} to {most}")
        return int(text)

    return read


def _address(option: str, text: str) -> tuple[str, int]:
    """Host and port."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"{option} '{text}' is not HOST:PORT", hint="--listen 127.0.0.1:8086")
    return host.strip("[]"), int(port)


@option_record
class ServiceOptions:
    """How the service is run; the order of the fields is that of ``--help``."""

    socket: str | None = value(
        "--socket",
        group=_WHERE,
        help=(
            "a unix socket at PATH, mode 0660 and group libvirt where there is that group and the caller"
            " may give it; the default is /run/virt-profile/sock for root, and for others"
            " $XDG_RUNTIME_DIR/virt-profile.sock"
        ),
        metavar="PATH",
        one_of="where",
    )
    listen: tuple[str, int] | None = value(
        "--listen",
        group=_WHERE,
        help=(
            "TCP. On the loopback a token is generated and printed once without --token-file;"
            " elsewhere --token-file or --tls-client-ca is needed"
        ),
        metavar="HOST:PORT",
        one_of="where",
        read=_address,
    )
    token_file: str | None = value(
        "--token-file", group=_WHO, help="lines of TOKEN or NAME TOKEN; a caller shows one", metavar="FILE"
    )
    tls_cert: str | None = value(
        "--tls-cert", group=_WHO, help="give the server's certificate, for HTTPS", metavar="FILE"
    )
    tls_key: str | None = value(
        "--tls-key", group=_WHO, help="its key, where the certificate's file does not hold it", metavar="FILE"
    )
    tls_client_ca: str | None = value(
        "--tls-client-ca",
        group=_WHO,
        help=(
            "callers present a certificate of this authority; its common name is the caller's name."
            " With --token-file a token is accepted instead"
        ),
        metavar="FILE",
    )
    policy: str | None = value(
        "--policy",
        group=_WHO,
        help=(
            "what each caller may do (TOML); without it every profile is allowed,"
            " and no protected kind of change"
        ),
        metavar="FILE",
    )
    profile_dir: tuple[str, ...] = each(
        "--profile-dir",
        group=_WHAT,
        help="look for profiles here first; may be repeated. Then where virt-profile looks",
        metavar="DIR",
    )
    store: str | None = value(
        "--store",
        group=_WHAT,
        help="callers whom the policy lets may put profiles into DIR, which is looked in first",
        metavar="DIR",
    )
    connect: str | None = value(
        "--connect",
        group=_WHAT,
        help=(
            "serve the VMs of this libvirt too: callers whose rules in --policy say so may read them"
            " (read-vms) and define them (define-vms)"
        ),
        metavar="URI",
    )
    workers: int | None = value(
        "--workers",
        group=_MUCH,
        help=(
            "processes that answer; one caller has at most all but one of them at a time."
            " The default is one more than processors, and with an embedded driver in --connect one"
        ),
        metavar="N",
        read=_between(1, 256),
    )
    queue: int | None = value(
        "--queue",
        group=_MUCH,
        help="requests that may wait for a worker; 128",
        metavar="N",
        read=_between(0, 100_000),
    )
    seconds: int | None = value(
        "--seconds",
        group=_MUCH,
        help="for one request, of time and of processor time; 10",
        metavar="N",
        read=_between(1, 600),
    )
    memory: int | None = value(
        "--memory",
        group=_MUCH,
        help="address space of a worker in MiB; 1024",
        metavar="N",
        read=_between(256, 65536),
    )
    quiet: bool = flag("-q", "--quiet", group=_OTHER, help="no line on stderr for each request")
    version: bool = flag("--version", group=_OTHER, help="print the version, and end")
    help: bool = flag("-h", "--help", group=_OTHER, help="print this help, and end")


OPTIONS: tuple[Option, ...] = tuple(row for rows in rows_of(ServiceOptions).values() for row in rows)


def parser() -> OptionParser:
    """The parser of `OPTIONS`."""
    return parser_of(
        OPTIONS,
        prog=PROGRAM,
        usage="%(prog)s [OPTIONS]",
        description="Serve libvirt profiles over HTTP: a REST API, and a page to look at it.",
    )


def parse(argv: Sequence[str]) -> ServiceOptions:
    """The options of a command line, checked against each other.

    :raises UsageError: unknown options, options that contradict each other, no numbers
    """
    words = vars(parser().parse_args(list(argv)))
    if words["socket"] and words["listen"]:
        raise UsageError("--socket and --listen exclude each other", hint="run one service for each")
    options = ServiceOptions(**values_of(ServiceOptions, words))
    if options.tls_cert is None and (options.tls_key or options.tls_client_ca):
        raise UsageError("TLS needs --tls-cert", hint="give the server's certificate")
    if options.connect and not options.policy:
        raise UsageError(
            "--connect has no effect without --policy",
            hint="read-vms and define-vms in the policy file say who may read and define VMs",
        )
    if options.connect and is_embedded(options.connect) and (options.workers or 1) > 1:
        raise UsageError(
            f"--workers {options.workers}: only one process can have the driver of {options.connect}",
            hint="--workers 1",
        )
    if options.tls_cert and options.socket:
        raise UsageError("TLS has no effect on a unix socket", hint="--listen HOST:PORT")
    return options
