# SPDX-License-Identifier: GPL-2.0-or-later
"""``--server``: what the program asks a service instead of the engine and the store.

Domains are read and defined here, files are read here; what becomes of a domain is
computed there, with the profiles there. Everything that is shown is made here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from virtProfile.client import Client
from virtProfile.errors import (
    NotFoundError,
    ProfileError,
    ProfileSyntaxError,
    ServiceError,
    UsageError,
    VersionError,
)
from virtProfile.frozen import record
from virtProfile.show.groups import REST, grouped

if TYPE_CHECKING:
    from virtProfile.apply_options import ApplyOptions
    from virtProfile.engine.lifecycle import Status
    from virtProfile.host.context import Context
    from virtProfile.host.fit import HostDocuments, Verdict
    from virtProfile.host.merge import Merged
    from virtProfile.result import Result
    from virtProfile.show.terminal import Output

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

    def __init__(self, server: str, options: ApplyOptions) -> None:
        from virtProfile.cli.arguments import is_fleet

        if is_fleet(options):
            raise UsageError(
                "--server is for one VM", hint="leave out --server: fleets are processed on this machine"
            )
        if options.hosts and (options.unapply or options.upgrade is not None):
            raise UsageError("--server supports --hosts only for profiles that are applied")
        self._client = Client(server, token=_token(options.token_file))

    def call(
        self,
        options: ApplyOptions,
        wishes: Sequence[Mapping[str, Any]],
        text: str,
        *,
        context: Context,
        name: str,
        **local: Any,
    ) -> Result:
        """As `engine.dispatch.dispatch`; what is `local` is of no use there."""
        more: dict[str, Any] = {"context": context, "name": name}
        wishes = [{key: value for key, value in wish.items() if key != "standing"} for wish in wishes]
        if options.unapply:
            words = options.keywords("unapply")
            return self._client.unapply(text, options.unapply, wishes=wishes, **words, **more)
        if options.upgrade is not None:
            return self._client.upgrade(text, [options.upgrade] if options.upgrade else [], **more)
        return self._client.apply(text, wishes, **options.keywords("apply"), **more)

    def device(
        self,
        options: ApplyOptions,
        wishes: Sequence[Mapping[str, Any]],
        text: str,
        device: str,
        file: str,
        running: bool,
        context: Context,
        name: str,
    ) -> list[str]:
        """As `hotplug.attachments`, printed."""
        flags = options.keywords("device")
        more: dict[str, Any] = {"context": context, "name": name, "file": file, "running": running}
        return self._client.device(text, device, wishes, **flags, **more)

    def status(self, text: str, name: str) -> Status:
        return self._client.status(text, name=name)

    def merge(self, hosts: Iterable[Any], least: int | None, *, require: Sequence[str]) -> Merged:
        """As `capmerge.merge`."""
        from virtProfile.host.fit import HostDocuments

        rows = [HostDocuments(host.name, (), (host.text,)) for host in hosts]
        return self._client.merge(rows, least, require=require)

    def verdicts(
        self,
        options: ApplyOptions,
        wishes: Sequence[Mapping[str, Any]],
        text: str,
        hosts: Iterable[HostDocuments],
        context: Context,
        name: str,
    ) -> list[Verdict]:
        """As `hostanswers.verdicts`."""
        more: dict[str, Any] = {"context": context, "name": name}
        return self._client.hosts(text, hosts, wishes, **options.keywords("hosts"), **more)

    # --- about profiles ---------------------------------------------------------------

    def show_list(self, out: Output, as_json: bool) -> None:
        """The service's profiles; where they are is its own affair."""
        rows = self._client.profiles()
        if as_json:
            out.json(rows)
            return
        with _readable("its list of profiles"):
            lines = list(
                grouped(
                    [
                        (row.get("group", REST), row["name"], row["version"], row["title"] + _remark(row))
                        for row in rows
                    ]
                )
            )
        out.lines(lines)

    def show_info(self, out: Output, value: str, as_json: bool) -> None:
        """All about one profile, as `catalogue.info`."""
        from virtProfile.language.requests import profile_wish
        from virtProfile.show.profile import told

        wish = profile_wish(value, "--info")
        facts = self._client.profile(wish["name"], wish.get("version"))
        if as_json:
            out.json(facts)
            return
        with _readable(f"profile '{facts.get('name')}'"):
            lines = list(told(facts))
        out.lines(lines)

    # --- as a store -----------------------------------------------------------------

    def resolve(self, name: str, version: str | None = None) -> tuple[_Profile, list[Any]]:
        """What `call_context.read_secrets` asks a store.

        :raises ProfileError: there is no such profile
        :raises ServiceError: the service does not say which parameters are secret
        """
        what = f"the parameters of profile '{name}'"
        try:
            document = self._client.profile(name, version)
        except _NONE:
            raise
        except ProfileError as problem:
            raise ServiceError(f"the service did not return {what}: {problem}", hint=problem.hint) from None
        with _readable(what):
            params = tuple(_Param(param["name"], bool(param["secret"])) for param in document["params"])
        return _Profile(params), []


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """:raises ServiceError: the service's answer has another shape"""
    try:
        yield
    except (KeyError, TypeError, AttributeError):
        raise ServiceError(
            f"the service returned {what} in an unknown form",
            hint="check that the service has the same version as this program",
        ) from None


def _remark(row: Mapping[str, Any]) -> str:
    by = row.get("replaced_by")
    return f" (replaced by {by})" if by else ""


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
        raise UsageError(f"--token-file {file}: the file must hold one line with a token")
    return words[-1]
