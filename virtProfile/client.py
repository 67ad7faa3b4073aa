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
from urllib.parse import urlsplit

from virtProfile.errors import ServiceError, UsageError
from virtProfile.language.profile import Problem
from virtProfile.show.json_result import error_of, merged_of, result_of, status_of, verdicts_of
from virtProfile.wire import calls
from virtProfile.wire.calls import Call, call_of

if TYPE_CHECKING:
    import ssl

    from virtProfile.engine.lifecycle import Status
    from virtProfile.host.context import Context
    from virtProfile.host.fit import HostDocuments, Verdict
    from virtProfile.host.merge import Merged
    from virtProfile.result import Result

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
                raise UsageError("the token has invalid characters")
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
        return self._result(
            calls.APPLY,
            xml,
            profiles=profiles,
            context=_words(context),
            auto=auto,
            override=override,
            complete=complete,
            record=record,
            name=name,
        )

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
        from virtProfile.show.diff import unified

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
        from virtProfile.show.explain import explain

        return explain(self.apply(xml, profiles, **more), xpath)

    def unapply(
        self,
        xml: str,
        profiles: str | Iterable[str] = "all",
        *,
        context: Context | None = None,
        exclude: bool = False,
        wishes: Iterable[str | Mapping[str, Any]] = (),
        override: bool = False,
        name: str = "<xml>",
    ) -> Result:
        """As `virtProfile.unapply`; `wishes` are applied in the same step."""
        wanted = list(wishes)
        more = {"apply": wanted, "override": override} if wanted else {}
        words = _words(context)
        return self._result(
            calls.UNAPPLY, xml, profiles=profiles, context=words, exclude=exclude, name=name, **more
        )

    def upgrade(
        self,
        xml: str,
        profiles: Iterable[str] = (),
        *,
        context: Context | None = None,
        name: str = "<xml>",
    ) -> Result:
        """As `virtProfile.upgrade`."""
        return self._result(calls.UPGRADE, xml, profiles=profiles, context=_words(context), name=name)

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
        return self._call(
            calls.DEVICE,
            lambda document: [str(element) for element in document["devices"]],
            xml=xml,
            device=device,
            profiles=profiles,
            running=running,
            context=_words(context),
            auto=auto,
            override=override,
            record=record,
            name=name,
            file=file,
        )

    def status(self, xml: str, *, context: Context | None = None, name: str = "<xml>") -> Status:
        """As `virtProfile.status`."""
        return self._call(calls.STATUS_OF_VM, status_of, xml=xml, context=_words(context), name=name)

    def _result(self, call: Call, xml: str, /, **words: Any) -> Result:
        return self._call(call, lambda document: result_of(document, xml), xml=xml, details=True, **words)

    # --- hosts -------------------------------------------------------------------

    def mirror(self, xml: str, capabilities: str, **wishes: str | int) -> dict[str, Any]:
        """A VM laid over a host, as `topology.plan_texts` and the JSON of its plan.

        :param wishes: nodes, policy, reserve, hugepages, used
        :raises ProfileError: as there
        """
        return self._call(calls.MIRROR, dict, xml=xml, capabilities=capabilities, **wishes)

    def merge(
        self,
        hosts: Iterable[HostDocuments],
        min_hosts: int | None = None,
        *,
        require: Sequence[str] = (),
    ) -> Merged:
        """The largest domain capabilities that hosts share, as `capmerge.merge` without a baseline."""
        rows = [{"name": host.name, "domcapabilities": host.domcapabilities} for host in hosts]
        return self._call(calls.MERGE, merged_of, hosts=rows, min_hosts=min_hosts, require=require)

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
        return self._call(
            calls.PLACES,
            verdicts_of,
            xml=xml,
            hosts=hosts,
            profiles=profiles,
            context=_words(context),
            auto=auto,
            override=override,
            complete=complete,
            name=name,
        )

    # --- profiles ----------------------------------------------------------------

    def profiles(self) -> list[dict[str, Any]]:
        """The profiles of the service's store."""
        return self._call(calls.PROFILES, lambda document: list(document["profiles"]))

    def profile(self, name: str, version: str | None = None) -> dict[str, Any]:
        """All about one profile.

        :raises NotFoundError, VersionError: there is none
        """
        call = calls.PROFILE if version is None else calls.PROFILE_VERSION
        return self._call(call, dict, name=name, version=version)

    def lint(self, profile: str, file: str = "profile.xml") -> list[Problem]:
        """What is wrong or doubtful in a profile document, as ``--lint``.

        :param file: stands in messages for its file
        """
        return self._call(
            calls.LINT,
            lambda document: [Problem(**problem) for problem in document["problems"]],
            profile=profile,
            file=file,
        )

    # --- the wire ----------------------------------------------------------------

    def call(self, name: str, /, **words: Any) -> dict[str, Any]:
        """The plain answer of a call by its name, such as ``edit-xml``: for those without a method here.

        :param words: keys of the request; None is what is not said
        :raises ProfileError: as the service says, for a key or a name that it does not know too
        """
        return self._call(call_of(name), dict, **words)

    def _call(self, call: Call, read: Callable[[Any], _Answer], /, **words: Any) -> _Answer:
        path, data = call.message(words)
        status, text = self._exchanged(call.method, path, data)
        try:
            document = json.loads(text)
            if status == 200:
                return read(document)
            problem = error_of(document)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ServiceError(
                f"{self.server} gave an invalid answer (HTTP status {status})",
                hint="check that the address is that of a virt-profile service of this version",
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
        raise UsageError(f"invalid service address '{server}'", hint=_HINT) from None
    if parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/"):
        return _UnixConnection(server[len("unix:") :].removeprefix("//"), timeout)
    bare = not parts.username and parts.path in ("", "/") and not parts.query and not parts.fragment
    if host is None or not bare or parts.scheme not in ("http", "https"):
        raise UsageError(f"invalid service address '{server}'", hint=_HINT)
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=timeout, context=tls)
    if host not in _LOOPBACK:
        raise UsageError(
            f"'{server}': domains and tokens are not sent over a network in clear text",
            hint="https://, or a tunnel to this machine",
        )
    return http.client.HTTPConnection(host, port, timeout=timeout)


def _words(context: Context | None) -> dict[str, Any] | None:
    """A context as a request says it: the file of each document instead of its text's."""
    if context is None:
        return None
    documents = (*context.capabilities, *context.domcapabilities)
    sources = [context.sources.get(text, "") for text in documents]
    return {
        "capabilities": context.capabilities,
        "domcapabilities": context.domcapabilities,
        "sources": sources if context.sources else None,
        "osinfo": context.osinfo,
        "qemu_version": context.qemu_version,
        "daemon": context.daemon,
    }
