# SPDX-License-Identifier: GPL-2.0-or-later
"""The Python client of the service: the calls of the package, computed elsewhere.

Answers are the objects that the same call gives in this process, errors are the same
`ProfileError` classes. Nothing but the standard library talks to the service.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from .errors import ServiceError, UsageError
from .profile import Problem
from .resultdocument import error_of, merged_of, result_of, status_of, verdicts_of

if TYPE_CHECKING:
    import ssl

    from .capmerge import Merged
    from .context import Context
    from .hosts import HostDocuments, Verdict
    from .lifecycle import Status
    from .provenance import Result

#: More than this is no answer of the service.
MAX_ANSWER = 64 << 20
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HINT = "such as unix:///run/virt-profile/sock or http://127.0.0.1:8080"
_Answer = TypeVar("_Answer")


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client:
    """A service, asked by one thread at a time.

    :param server: ``unix:///PATH``, ``http://HOST:PORT`` (this machine only) or ``https://HOST:PORT``
    :param token: what a service that listens on TCP asks for
    :param timeout: seconds that an answer may take
    :param tls: for https: whom to trust, which certificate to show; None is the system's
    :raises UsageError: `server` is none, or a token would go over a network in clear text
    """

    def __init__(
        self, server: str, *, token: str | None = None, timeout: float = 60, tls: ssl.SSLContext | None = None
    ) -> None:
        self.server = server
        self._headers = {"content-type": "application/json", "accept": "application/json"}
        if token is not None:
            if not token.isascii() or not token.isprintable():
                raise UsageError("the token has characters that no token has")
            self._headers["authorization"] = f"Bearer {token}"
        self._connection = _connection(server, token, timeout, tls)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next call opens one again."""
        self._connection.close()

    # --- VMs ---------------------------------------------------------------------

    def apply(
        self,
        xml: str,
        profiles: Iterable[str | Mapping[str, Any]] = (),
        *,
        context: Context | None = None,
        auto: bool = False,
        override: bool = False,
        complete: bool = False,
        record: bool = True,
        name: str = "<xml>",
    ) -> Result:
        """As `virtProfile.apply`, with the service's store.

        :param context: documents and facts; the schema is the service's
        :raises ProfileError: as there, and `policy` where the service does not allow the result
        :raises ServiceError: no answer
        """
        body = _body(xml, context, name, profiles=list(profiles), auto=auto, override=override)
        body.update(complete=complete, record=record)
        return self._result("apply", body)

    def diff(
        self,
        xml: str,
        profiles: Iterable[str | Mapping[str, Any]] = (),
        *,
        file: str = "",
        **more: Any,
    ) -> str:
        """What changes, as ``--print-diff`` tells it to a pipe; `more` as for `apply`.

        :param file: stands in the head of the difference
        """
        from .diff import unified

        return unified(self.apply(xml, profiles, **more), file)

    def explain(
        self,
        xml: str,
        profiles: Iterable[str | Mapping[str, Any]] = (),
        xpath: str = "",
        **more: Any,
    ) -> str:
        """Who wants each value, as ``--explain`` tells it; `more` as for `apply`.

        :raises UsageError: `xpath` is none
        """
        from .explain import explain

        return explain(self.apply(xml, profiles, **more), xpath)

    def unapply(
        self,
        xml: str,
        profiles: str | Iterable[str] = "all",
        *,
        context: Context | None = None,
        exclude: bool = False,
        name: str = "<xml>",
    ) -> Result:
        """As `virtProfile.unapply`."""
        names = profiles if isinstance(profiles, str) else list(profiles)
        return self._result("unapply", _body(xml, context, name, profiles=names, exclude=exclude))

    def upgrade(
        self,
        xml: str,
        profiles: Iterable[str] = (),
        *,
        context: Context | None = None,
        name: str = "<xml>",
    ) -> Result:
        """As `virtProfile.upgrade`."""
        return self._result("upgrade", _body(xml, context, name, profiles=list(profiles)))

    def device(
        self,
        xml: str,
        device: str,
        profiles: Iterable[str | Mapping[str, Any]] = (),
        *,
        running: bool = False,
        context: Context | None = None,
        auto: bool = False,
        override: bool = False,
        record: bool = True,
        name: str = "<xml>",
        file: str = "device",
    ) -> list[str]:
        """What to attach for a device, in order, as ``--device`` prints it.

        :param device: one device element, or several inside ``<devices>``
        :param running: the VM runs: each PCI device gets a free place
        :param file: stands in messages for the device's file
        """
        body = _body(xml, context, name, profiles=list(profiles), auto=auto, override=override)
        del body["details"]
        body.update(record=record, device=device, running=running, file=_readable(file))
        return self._read("device", body, lambda document: [str(one) for one in document["devices"]])

    def status(self, xml: str, *, context: Context | None = None, name: str = "<xml>") -> Status:
        """As `virtProfile.status`."""
        body = _body(xml, context, name)
        del body["details"]
        return self._read("status", body, status_of)

    def _result(self, call: str, body: dict[str, Any]) -> Result:
        return self._read(call, body, lambda document: result_of(document, body["xml"]))

    # --- hosts -------------------------------------------------------------------

    def mirror(self, xml: str, capabilities: str, **wishes: str | int) -> dict[str, Any]:
        """A VM laid over a host, as `topology.plan_texts` and the JSON of its plan.

        :param wishes: nodes, policy, reserve, hugepages, used
        :raises ProfileError: as there
        """
        body = {"xml": xml, "capabilities": capabilities, **wishes}
        return self._read("topology/mirror", body, dict)

    def merge(
        self,
        hosts: Iterable[HostDocuments],
        min_hosts: int | None = None,
        *,
        require: Sequence[str] = (),
    ) -> Merged:
        """The largest domain capabilities that hosts share, as `capmerge.merge` without a baseline."""
        rows = [{"name": one.name, "domcapabilities": list(one.domcapabilities)} for one in hosts]
        body: dict[str, Any] = {"hosts": rows, "require": list(require)}
        if min_hosts is not None:
            body["min_hosts"] = min_hosts
        return self._read("capabilities/merge", body, merged_of)

    def hosts(
        self,
        xml: str,
        hosts: Iterable[HostDocuments],
        profiles: Iterable[str | Mapping[str, Any]] = (),
        *,
        context: Context | None = None,
        auto: bool = False,
        override: bool = False,
        complete: bool = False,
        name: str = "<xml>",
    ) -> list[Verdict]:
        """Where the resulting VM runs, as ``--hosts``."""
        rows = [
            {
                "name": one.name,
                "capabilities": list(one.capabilities),
                "domcapabilities": list(one.domcapabilities),
            }
            for one in hosts
        ]
        body = _body(xml, context, name, profiles=list(profiles), auto=auto, override=override)
        del body["details"]
        return self._read("hosts", {**body, "complete": complete, "hosts": rows}, verdicts_of)

    # --- profiles ----------------------------------------------------------------

    def profiles(self) -> list[dict[str, Any]]:
        """The profiles of the service's store."""
        return self._get("profiles", lambda document: list(document["profiles"]))

    def profile(self, name: str, version: str | None = None) -> dict[str, Any]:
        """All about one profile.

        :raises NotFoundError, VersionError: there is none
        """
        path = f"profiles/{quote(name, safe='')}"
        return self._get(path if version is None else f"{path}/{quote(version, safe='')}", dict)

    def lint(self, profile: str, file: str = "profile.xml") -> list[Problem]:
        """What is wrong or doubtful in a profile document, as ``--lint``.

        :param file: stands in messages for its file
        """
        body = {"profile": profile, "file": _readable(file)}
        return self._read("lint", body, lambda document: [Problem(**one) for one in document["problems"]])

    # --- the wire ----------------------------------------------------------------

    def _read(self, call: str, body: Mapping[str, Any], made: Callable[[Any], _Answer]) -> _Answer:
        return self._asked("POST", call, json.dumps(body).encode("ascii"), made)

    def _get(self, path: str, made: Callable[[Any], _Answer]) -> _Answer:
        return self._asked("GET", path, None, made)

    def _asked(self, method: str, path: str, data: bytes | None, made: Callable[[Any], _Answer]) -> _Answer:
        status, text = self._exchanged(method, f"/v1/{path}", data)
        try:
            document = json.loads(text)
            if status == 200:
                return made(document)
            problem = error_of(document)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ServiceError(
                f"{self.server} gave an answer that is none (HTTP status {status})",
                hint="is it the address of a virt-profile service of this version?",
            ) from None
        raise problem

    def _exchanged(self, method: str, path: str, data: bytes | None) -> tuple[int, bytes]:
        """HTTP status and body. A kept connection that the service closed meanwhile is opened
        anew: no call changes anything there, so asking twice is asking once."""
        kept = self._connection.sock is not None
        while True:
            try:
                with suppress(BrokenPipeError):  # refused before all was read: the answer says why
                    self._connection.request(method, path, data, self._headers)
                answer = self._connection.getresponse()
                text = answer.read(MAX_ANSWER + 1)
                if len(text) > MAX_ANSWER:
                    self.close()
                    raise ServiceError(f"{self.server} gave an answer of more than {MAX_ANSWER >> 20} MiB")
                return answer.status, text
            except TimeoutError:
                self.close()
                waited = f"{self._connection.timeout:g}"
                raise ServiceError(f"{self.server} gave no answer in {waited} seconds") from None
            except (http.client.HTTPException, ConnectionError) as problem:
                self.close()
                if isinstance(problem, ServiceError):
                    raise
                if kept and isinstance(problem, (ConnectionError, http.client.BadStatusLine)):
                    kept = False
                    continue
                raise ServiceError(_unreachable(self.server, problem), hint=_REACH) from None
            except OSError as problem:
                self.close()
                raise ServiceError(_unreachable(self.server, problem), hint=_REACH) from None


_REACH = "is the service running, and may you use its socket?"


def _unreachable(server: str, problem: Exception) -> str:
    reason = getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
    return f"cannot ask {server}: {reason}"


def _connection(
    server: str, token: str | None, timeout: float, tls: ssl.SSLContext | None
) -> http.client.HTTPConnection:
    try:
        parts = urlsplit(server)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UsageError(f"'{server}' is no address of a service", hint=_HINT) from None
    if parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/"):
        return _UnixConnection(server[len("unix:") :].removeprefix("//"), timeout)
    bare = not parts.username and parts.path in ("", "/") and not parts.query and not parts.fragment
    if host is None or not bare or parts.scheme not in ("http", "https"):
        raise UsageError(f"'{server}' is no address of a service", hint=_HINT)
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=timeout, context=tls)
    if host not in _LOOPBACK:
        raise UsageError(
            f"'{server}': domains and tokens do not go over a network in clear text",
            hint="https://, or a tunnel to this machine",
        )
    return http.client.HTTPConnection(host, port, timeout=timeout)


def _body(xml: str, context: Context | None, name: str, **more: Any) -> dict[str, Any]:
    body = {"xml": xml, "name": _readable(name), "details": True, **more}
    if context is not None:
        documents = (*context.capabilities, *context.domcapabilities)
        said: dict[str, Any] = {
            "capabilities": list(context.capabilities),
            "domcapabilities": list(context.domcapabilities),
        }
        if context.sources:
            said["sources"] = [_readable(context.sources.get(one, "")) for one in documents]
        if context.osinfo is not None:
            said["osinfo"] = context.osinfo
        if context.qemu_version is not None:
            said["qemu_version"] = context.qemu_version
        body["context"] = said
    return body


def _readable(name: str) -> str:
    """A file's name, which may be no text at all, as something that JSON can hold."""
    return name.encode("utf-8", "replace").decode("utf-8")
