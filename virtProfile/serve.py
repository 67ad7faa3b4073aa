# SPDX-License-Identifier: GPL-2.0-or-later
"""The program ``virt-profiled``: binds, says where, and serves until it is told to end."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from . import serveargs
from .errors import EXIT_DONE, EXIT_FAILED, ProfileError
from .output import Talk
from .searchpath import search_path
from .version import VERSION

_NEEDS = "python3 -m venv --system-site-packages DIR, and DIR/bin/pip install 'virt-profile[service]'"
#: Seconds for what runs when the service is told to end.
GRACE = 15


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
        options = serveargs.parse(sys.argv[1:] if argv is None else argv)
        if options.help or options.version:
            out.write(serveargs.parser().format_help() if options.help else f"{VERSION}\n")
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


def _serve(options: argparse.Namespace, talk: Talk, environ: Mapping[str, str]) -> int:
    import fastapi  # noqa: F401  (before anything is bound: is it there?)
    import uvicorn

    from .servesocket import PatientProtocol

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
        timeout_graceful_shutdown=GRACE,
        h11_max_incomplete_event_size=65536,
        **_tls(options),
    )
    server = uvicorn.Server(config)
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


def _door(
    options: argparse.Namespace, talk: Talk, environ: Mapping[str, str]
) -> tuple[Any, list[socket.socket], list[str]]:
    """Who may call, the sockets they call at, and the paths that were made."""
    from .servesocket import check_guarded, default_path, handed_over, is_loopback, tcp_socket, unix_socket
    from .servicecallers import TOKEN, Callers, read_policy, read_tokens
    from .servicepolicy import Rules

    tokens = read_tokens(options.token_file) if options.token_file else []
    rules = read_policy(options.policy) if options.policy else {"": Rules()}
    made: list[str] = []
    sockets = handed_over(environ)
    if sockets:
        if options.socket or options.listen:
            talk.warning("systemd hands over the socket: --socket and --listen are not used")
        talk.note(f"listening on {len(sockets)} socket(s) of systemd")
    elif options.listen or not (path := options.socket or default_path(environ)):
        host, port = (options.host, options.port) if options.listen else ("127.0.0.1", 8086)
        sockets = [tcp_socket(host, port)]
        if not is_loopback(sockets[0]):
            check_guarded(sockets, bool(tokens), bool(options.tls_client_ca))
        scheme = "https" if options.tls_cert else "http"
        address = "[{}]:{}" if ":" in host else "{}:{}"
        url = f"{scheme}://{address.format(host, sockets[0].getsockname()[1])}/"
        if is_loopback(sockets[0]) and not tokens and not options.tls_client_ca:
            tokens = [(TOKEN, secrets.token_urlsafe(24))]
            talk.note(f"listening on {url}#token={tokens[0][1]}")
            talk.note("callers send 'Authorization: Bearer TOKEN'; it is told this once")
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


def _application(options: argparse.Namespace, environ: Mapping[str, str], callers: Any) -> Any:
    from .rest import application
    from .serviceworker import Limits, Settings

    directories = [os.fspath(one) for one in search_path(options.profile_dir, environ)]
    if options.store:
        Path(options.store).mkdir(mode=0o755, parents=True, exist_ok=True)
        directories.insert(0, os.path.abspath(options.store))
    settings = Settings(
        tuple(directories),
        directories[0] if options.store else None,
        callers.rules,
        Limits(seconds=options.seconds, memory=options.memory << 20),
    )
    workers = options.workers or len(os.sched_getaffinity(0))
    return application((), None, callers=callers, settings=settings, workers=workers, queue=options.queue)


def _tls(options: argparse.Namespace) -> dict[str, Any]:
    import ssl

    if not options.tls_cert:
        return {}
    found: dict[str, Any] = {"ssl_certfile": options.tls_cert, "ssl_keyfile": options.tls_key}
    if options.tls_client_ca:
        wanted = ssl.CERT_OPTIONAL if options.token_file else ssl.CERT_REQUIRED
        found.update(ssl_ca_certs=options.tls_client_ca, ssl_cert_reqs=wanted)
    return found


def _log(quiet: bool) -> None:
    """Lines on stderr: JSON for requests, words for the rest. Nothing of what requests say."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    access = logging.getLogger("virtProfile.access")
    access.propagate = False
    access.addHandler(handler)
    access.setLevel(logging.ERROR if quiet else logging.INFO)
    for name in ("virtProfile", "uvicorn"):
        logging.getLogger(name).addHandler(handler)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
