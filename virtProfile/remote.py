# SPDX-License-Identifier: GPL-2.0-or-later
"""``--server``: what the program asks a service instead of the engine and the store.

Domains are read and defined here, files are read here; what becomes of a domain is
computed there, with the profiles there. Everything that is shown is made here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .client import Client
from .errors import NotFoundError, ProfileError, ProfileSyntaxError, ServiceError, UsageError, VersionError
from .output import table
from .records import record

if TYPE_CHECKING:
    import argparse

    from .capmerge import Merged
    from .context import Context
    from .hosts import HostDocuments, Verdict
    from .lifecycle import Status
    from .output import Output
    from .provenance import Result

#: There is no profile whose parameters could be secret.
_NONE = (NotFoundError, VersionError, ProfileSyntaxError)
#: A file with more than this holds no token.
_MAX_TOKEN = 4096


@record
class _Param:
    name: str
    secret: bool


@record
class _Profile:
    """What the program itself has to know of a profile: which parameters are secret."""

    params: tuple[_Param, ...]


class Remote:
    """A service in the place of a store.

    :raises UsageError: no address, or options that it does not offer
    :raises OSError: the file of the token cannot be read
    """

    def __init__(self, options: argparse.Namespace) -> None:
        from .cliargs import is_fleet

        if is_fleet(options):
            raise UsageError("--server is for one VM", hint="leave out --server: a fleet is worked on here")
        if options.hosts is not None and (options.unapply or options.upgrade is not None):
            raise UsageError("--server answers --hosts for profiles that are applied only")
        self._client = Client(options.server, token=_token(options.token_file))

    def call(
        self,
        options: argparse.Namespace,
        wishes: Sequence[Mapping[str, Any]],
        text: str,
        *,
        context: Context,
        name: str,
        **local: Any,
    ) -> Result:
        """As `calls.call`; what is `local` is of no use there."""
        more: dict[str, Any] = {"context": context, "name": name}
        if options.unapply:
            return self._client.unapply(text, options.unapply, exclude=options.exclude, **more)
        if options.upgrade is not None:
            return self._client.upgrade(text, [options.upgrade] if options.upgrade else [], **more)
        return self._client.apply(text, wishes, record=not options.no_record, **_flags(options), **more)

    def device(
        self,
        options: argparse.Namespace,
        wishes: Sequence[Mapping[str, Any]],
        text: str,
        device: str,
        file: str,
        running: bool,
        context: Context,
        name: str,
    ) -> list[str]:
        """As `hotplug.attachments`, printed."""
        flags = {"auto": options.auto, "override": options.override, "record": not options.no_record}
        more: dict[str, Any] = {"context": context, "name": name, "file": file, "running": running}
        return self._client.device(text, device, wishes, **flags, **more)

    def status(self, text: str, name: str) -> Status:
        return self._client.status(text, name=name)

    def merge(self, hosts: Iterable[Any], least: int | None, *, require: Sequence[str]) -> Merged:
        """As `capmerge.merge`."""
        from .hosts import HostDocuments

        rows = [HostDocuments(one.name, (), (one.text,)) for one in hosts]
        return self._client.merge(rows, least, require=require)

    def verdicts(
        self,
        options: argparse.Namespace,
        wishes: Sequence[Mapping[str, Any]],
        text: str,
        hosts: Iterable[HostDocuments],
        context: Context,
        name: str,
    ) -> list[Verdict]:
        """As `hostanswers.verdicts`."""
        return self._client.hosts(text, hosts, wishes, context=context, name=name, **_flags(options))

    # --- about profiles ---------------------------------------------------------------

    def show_list(self, out: Output, as_json: bool) -> None:
        """The service's profiles; where they are is its own affair."""
        rows = self._client.profiles()
        if as_json:
            out.json(rows)
            return
        with _readable("its list of profiles"):
            told = table([(one["name"], one["version"], one["title"] + _remark(one)) for one in rows])
        out.write("".join(f"{line}\n" for line in told))

    def show_info(self, out: Output, value: str, as_json: bool) -> None:
        """All about one profile, as `catalogue.info`."""
        from .catalogue import told
        from .cliargs import profile_wish

        wish = profile_wish(value, "--info")
        facts = self._client.profile(wish["name"], wish.get("version"))
        if as_json:
            out.json(facts)
            return
        with _readable(f"profile '{facts.get('name')}'"):
            lines = list(told(facts))
        out.write("".join(f"{line}\n" for line in lines))

    # --- as a store -----------------------------------------------------------------

    def resolve(self, name: str, version: str | None = None) -> tuple[_Profile, list[Any]]:
        """What `gathering.read_secrets` asks a store.

        :raises ProfileError: there is no such profile
        :raises ServiceError: the service does not say which parameters are secret
        """
        what = f"the parameters of profile '{name}'"
        try:
            told = self._client.profile(name, version)
        except _NONE:
            raise
        except ProfileError as problem:
            raise ServiceError(f"the service does not tell {what}: {problem}", hint=problem.hint) from None
        with _readable(what):
            params = tuple(_Param(one["name"], bool(one["secret"])) for one in told["params"])
        return _Profile(params), []


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """:raises ServiceError: the service's answer has another shape"""
    try:
        yield
    except (KeyError, TypeError, AttributeError):
        raise ServiceError(
            f"the service tells {what} in a way that is not understood", hint="is it of this version?"
        ) from None


def _remark(one: Mapping[str, Any]) -> str:
    by = one.get("replaced_by")
    return f" (replaced by {by})" if by else ""


def _flags(options: argparse.Namespace) -> dict[str, Any]:
    return {"auto": options.auto, "override": options.override, "complete": options.complete}


def _token(file: str | None) -> str | None:
    """The token of a file: ``TOKEN``, or ``NAME TOKEN`` as the service's own file has it.

    :raises UsageError: the file holds no token, or several
    """
    if file is None:
        return None
    with open(file, encoding="utf-8", errors="replace") as stream:
        text = stream.read(_MAX_TOKEN + 1).strip()
    words = text.split()
    if not 1 <= len(words) <= 2 or len(text) > _MAX_TOKEN or "\n" in text:
        raise UsageError(f"--token-file {file}: one line with a token was expected")
    return words[-1]
