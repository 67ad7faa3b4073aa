# SPDX-License-Identifier: GPL-2.0-or-later
"""The program ``virt-profiled``: binds, says where, and serves until it is told to end."""

from __future__ import annotations

import inspect
import logging
import os
import resource
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from virtProfile.errors import EXIT_DONE, EXIT_FAILED, ProfileError
from virtProfile.language.search_path import search_path
from virtProfile.live.connection import is_embedded
from virtProfile.service import options as service_options
from virtProfile.show.terminal import Talk
from virtProfile.version import VERSION

if TYPE_CHECKING:
    from fastapi import FastAPI

    from virtProfile.service.callers import Callers

_NEEDS = "python3 -m venv --system-site-packages DIR, and DIR/bin/pip install 'virt-profile[service]'"
#: Seconds for what runs when the service is told to end.
GRACE = 15
#: What --queue, --seconds and --memory are by default.
_QUEUE, _SECONDS, _MEMORY = 128, 10, 1024
#: File descriptors that are enough for all connections, workers and files.
_DESCRIPTORS = 8192


def runcli(
    argv: Sequence[str] | None = None,
    *,
    stdout: IO[str] | None = None,
    stderr: IO[str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> int:
    """Run a command line; gives the exit status."""
    out, talk = stdout or sys.stdout, Talk(stderr or sys.stderr)
    environ = os.environ if environ is None else environ
    try:
        options = service_options.parse(sys.argv[1:] if argv is None else argv)
        if options.help or options.version:
            out.write(service_options.parser().format_help() if options.help else f"{VERSION}\n")
            return EXIT_DONE
        return _serve(options, talk, environ)
    except ProfileError as problem:
        talk.error(problem)
        return problem.exit_status
    except ModuleNotFoundError as problem:
        if (problem.name or "").partition(".")[0] not in (
            "fastapi",
            "starlette",
            "uvicorn",
            "h11",
            "pydantic",
        ):
            raise
        talk.failure(f"the service needs FastAPI and uvicorn: no module '{problem.name}'", _NEEDS)
        return EXIT_FAILED
    except OSError as problem:
        talk.failure(f"{problem.filename}: {problem.strerror}" if problem.filename else str(problem))
        return EXIT_FAILED


def _serve(options: service_options.ServiceOptions, talk: Talk, environ: Mapping[str, str]) -> int:
    import fastapi  # noqa: F401  (before anything is bound: is it there?)
    import uvicorn

    from virtProfile.service.sockets import PatientProtocol

    raise_descriptors()
    callers, sockets, made = _door(options, talk, environ)
    app = _application(options, environ, callers)
    _log(options.quiet)
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=15,
        **_known(uvicorn.Config, timeout_graceful_shutdown=GRACE, h11_max_incomplete_event_size=65536),
        **_tls(options),
    )
    server = uvicorn.Server(config)
    if not hasattr(config, "timeout_graceful_shutdown"):
        _end_in_time(server)
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn ends by it, and then raises it once more
    try:
        server.run(sockets=sockets)
    except KeyboardInterrupt:
        pass
    finally:
        for path in made:
            with suppress(FileNotFoundError):
                os.unlink(path)
    return EXIT_DONE if server.started else EXIT_FAILED


def _end_in_time(server: Any) -> None:
    """Debian 12's uvicorn, 0.17, waits for connections without end once it was told to stop."""
    told = server.handle_exit

    def handle_exit(*words: Any) -> None:
        timer = threading.Timer(GRACE, setattr, (server, "force_exit", True))
        timer.daemon = True
        timer.start()
        told(*words)

    server.handle_exit = handle_exit


def _known(config: type, **limits: int) -> dict[str, Any]:
    """Those limits that this uvicorn has: Debian 12's, 0.17, has none for the end and keeps h11's own."""
    names = inspect.signature(config).parameters
    return {name: limit for name, limit in limits.items() if name in names}


def raise_descriptors() -> None:
    """Raise the soft limit of file descriptors: to the hard limit, but not above what is of use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _door(
    options: service_options.ServiceOptions, talk: Talk, environ: Mapping[str, str]
) -> tuple[Callers, list[socket.socket], list[str]]:
    """Who may call, the sockets they call at, and the paths that were made."""
    from virtProfile.service.callers import TOKEN, Callers, read_policy, read_tokens
    from virtProfile.service.policy import Rules
    from virtProfile.service.sockets import (
        check_guarded,
        default_path,
        handed_over,
        is_loopback,
        tcp_socket,
        unix_socket,
    )

    tokens = read_tokens(options.token_file) if options.token_file else []
    rules = read_policy(options.policy) if options.policy else {"": Rules()}
    made: list[str] = []
    sockets = handed_over(environ)
    if sockets:
        if options.socket or options.listen:
            talk.warning("systemd hands over the socket: --socket and --listen are not used")
        talk.note(f"listening on {len(sockets)} socket(s) of systemd")
    elif options.listen or not (path := options.socket or default_path(environ)):
        host, port = options.listen or ("127.0.0.1", 8086)
        sockets = [tcp_socket(host, port)]
        if not is_loopback(sockets[0]):
            check_guarded(sockets, bool(tokens), bool(options.tls_client_ca))
        scheme = "https" if options.tls_cert else "http"
        address = "[{}]:{}" if ":" in host else "{}:{}"
        url = f"{scheme}://{address.format(host, sockets[0].getsockname()[1])}/"
        if is_loopback(sockets[0]) and not tokens and not options.tls_client_ca:
            tokens = [(TOKEN, secrets.token_urlsafe(24))]
            talk.note(f"listening on {url}#token={tokens[0][1]}")
            talk.note("callers send 'Authorization: Bearer TOKEN'; the token is printed only this once")
        else:
            talk.note(f"listening on {url}")
            if not options.tls_cert and not is_loopback(sockets[0]):
                talk.warning("without --tls-cert tokens and VMs can be read on the way")
    else:
        listening, who = unix_socket(path)
        sockets, made = [listening], [path]
        talk.note(f"listening on unix:{path}, for {who}")
    by_modes = check_guarded(sockets, bool(tokens), bool(options.tls_client_ca))
    callers = Callers(tuple(tokens), open=by_modes, certificates=bool(options.tls_client_ca), rules=rules)
    return callers, sockets, made


def _application(
    options: service_options.ServiceOptions, environ: Mapping[str, str], callers: Callers
) -> FastAPI:
    from virtProfile.service.routes import application
    from virtProfile.service.worker import Limits, Settings

    directories = [os.fspath(path) for path in search_path(options.profile_dir, environ)]
    if options.store:
        Path(options.store).mkdir(mode=0o755, parents=True, exist_ok=True)
        directories.insert(0, os.path.abspath(options.store))
    settings = Settings(
        tuple(directories),
        directories[0] if options.store else None,
        callers.rules,
        Limits(seconds=options.seconds or _SECONDS, memory=(options.memory or _MEMORY) << 20),
        options.connect,
    )
    alone = options.connect is not None and is_embedded(options.connect)
    workers = options.workers or (1 if alone else len(os.sched_getaffinity(0)) + 1)
    queue = _QUEUE if options.queue is None else options.queue
    return application((), None, callers=callers, settings=settings, workers=workers, queue=queue)


def _tls(options: service_options.ServiceOptions) -> dict[str, Any]:
    import ssl

    if not options.tls_cert:
        return {}
    found: dict[str, Any] = {"ssl_certfile": options.tls_cert, "ssl_keyfile": options.tls_key}
    if options.tls_client_ca:
        wanted = ssl.CERT_OPTIONAL if options.token_file else ssl.CERT_REQUIRED
        found.update(ssl_ca_certs=options.tls_client_ca, ssl_cert_reqs=wanted)
    return found


class Seldom(logging.Filter):
    """At most `MOST` lines in `SECONDS`, without tracebacks: what connections cause fills no disk."""

    MOST = 20
    SECONDS = 10.0

    def __init__(self) -> None:
        super().__init__()
        self._began = -self.SECONDS
        self._count = 0

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._began >= self.SECONDS:
            left_out = self._count - self.MOST
            self._began, self._count = now, 0
            if left_out > 0:
                record.msg, record.args = f"{record.getMessage()} ({left_out} lines were left out)", ()
        self._count += 1
        if record.exc_info and record.exc_info[0]:
            record.msg, record.args = f"{record.getMessage()}: {record.exc_info[0].__name__}", ()
        record.exc_info = record.exc_text = None
        return self._count <= self.MOST


def _log(quiet: bool) -> None:
    """Lines on stderr: JSON for requests, words for the rest. Nothing of what requests say."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    seldom = logging.StreamHandler(sys.stderr)
    seldom.setFormatter(logging.Formatter("%(message).500s"))
    seldom.addFilter(Seldom())
    access = logging.getLogger("virtProfile.access")
    access.propagate = False
    access.addHandler(handler)
    access.setLevel(logging.ERROR if quiet else logging.INFO)
    for name in ("virtProfile", "uvicorn", "asyncio"):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.addHandler(seldom)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
