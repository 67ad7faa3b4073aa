# SPDX-License-Identifier: GPL-2.0-or-later
"""The service's answers about hosts: a VM laid over one, what several share, where a VM runs.

Pure functions of documents that the caller sends; `handlers` calls them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from virtProfile.errors import UsageError
from virtProfile.format.document import parse
from virtProfile.host.fit import HostDocuments
from virtProfile.service.policy import check, check_profiles
from virtProfile.service.request import chosen, context
from virtProfile.service.route import Body, Json, Route
from virtProfile.wire import calls

if TYPE_CHECKING:
    from virtProfile.host.context import Context
    from virtProfile.language.store import ProfileStore
    from virtProfile.result import Result

_MIRROR = ("nodes", "policy", "reserve", "hugepages", "used", "emulator")
_KINDS = {"capabilities": "capabilities", "domcapabilities": "domainCapabilities"}


@Route(calls.MIRROR, "A VM laid over a host's CPUs and NUMA nodes")
def answer_mirror(body: Body, store: ProfileStore) -> Json:
    """A VM laid over a host: ``{"xml", "capabilities", "nodes", "policy", "reserve", "hugepages", "used",
    "emulator"}``.

    The last six as ``--mirror-topology`` takes them, numbers also as such. The answer is
    `topology.Plan` as JSON; what the plan makes of the VM tells the profile mirror-topology.

    :raises ProfileError: `completion` where the VM does not fit; `usage`, `invalid-domain`
    """
    from virtProfile.host.pinning import plan_texts

    options = {name: str(value) for name, value in chosen(body, *_MIRROR).items()}
    return plan_texts(body["capabilities"], body["xml"], **options).to_dict()


@Route(calls.MERGE, "The largest domain capabilities that hosts share")
def answer_merge(body: Body, store: ProfileStore) -> Json:
    """What hosts share: ``{"hosts": [{"name", "domcapabilities": […]}], "min_hosts", "require", "budget"}``.

    A host with several documents counts as several, ``NAME#1`` and so on. The answer is
    that of ``--merge-capabilities --json``, without libvirt's baseline.

    :raises ProfileError: as `capmerge.merge`; `usage` for a host without documents
    """
    from virtProfile.host.merge import Host, merge
    from virtProfile.language.requirement import requirements

    budget = body.get("budget", calls.MAX_BUDGET)
    hosts = []
    for host in _hosts(body["hosts"]):
        if not host.domcapabilities:
            raise UsageError(f"host '{host.name}' has no domain capabilities", hint="leave it out")
        many = len(host.domcapabilities) > 1
        for at, text in enumerate(host.domcapabilities, 1):
            hosts.append(Host(f"{host.name}#{at}" if many else host.name, text))
    require = requirements(body.get("require", ()))
    return merge(hosts, body.get("min_hosts"), require=require, budget=budget).to_dict()


@Route(calls.PLACES, "On which hosts a VM runs, and why not on the others")
def answer_hosts(body: Body, store: ProfileStore) -> Json:
    """Where a VM runs: the words of ``apply``, and the hosts' documents,
    ``"hosts": [{"name", "capabilities": […], "domcapabilities": […]}]``.

    The answer is that of ``--hosts --json``, hosts in the order of the request.

    :raises ProfileError: `usage`, `invalid-domain`, `policy`; what profiles say is a host's answer
    """
    from virtProfile.engine.flow import apply
    from virtProfile.host.fit import verdicts

    options = chosen(body, "auto", "override", "complete", "name")
    wishes = body.get("profiles", ())

    def applied(around: Context) -> Result:
        result = apply(body["xml"], wishes, store=store, context=around, trust="store", **options)
        check_profiles(profile.name for profile in result.applied)
        check(result.input, result.xml)
        return result

    found = verdicts(body["xml"], _hosts(body["hosts"]), context(body), applied)
    return {"hosts": [verdict.to_dict() for verdict in found]}


def _hosts(given: Sequence[Mapping[str, Any]]) -> list[HostDocuments]:
    """:raises UsageError: two hosts of one name, or what is not a document of a host"""
    hosts = []
    for host in given:
        name = host["name"]
        if not name or len(name) > 255 or not name.isprintable():
            raise UsageError(f"invalid host name '{name[:80]}'")
        documents = {kind: tuple(host.get(kind, ())) for kind in _KINDS}
        for kind, tag in _KINDS.items():
            for text in documents[kind]:
                has = parse(text, name=name, error=UsageError).root.tag
                if has != tag:
                    raise UsageError(
                        f"'{has}' was given where libvirt's '{tag}' was expected",
                        hint="'virsh capabilities' and 'virsh domcapabilities' print them",
                        where=name,
                    )
        hosts.append(HostDocuments(name, documents["capabilities"], documents["domcapabilities"]))
    if len({host.name for host in hosts}) < len(hosts):
        raise UsageError("two hosts have the same name")
    return hosts
