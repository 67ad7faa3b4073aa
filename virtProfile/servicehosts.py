# SPDX-License-Identifier: GPL-2.0-or-later
"""The service's answers about hosts: a VM laid over one, what several share, where a VM runs.

Pure functions of documents that the caller sends; `servicework` calls them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .errors import UsageError
from .hosts import HostDocuments
from .servicepolicy import check, check_profiles
from .servicerequest import MAX_DOCUMENTS, asked, context, texts, wishes
from .xmltree import parse

if TYPE_CHECKING:
    from .store import ProfileStore

#: Hosts of one request; the size of the body bounds them too.
MAX_HOSTS = 1000
#: Required expressions of one request, each of them bounded for itself.
MAX_REQUIRED = 16
#: Comparisons that one request may ask for: about a second.
MAX_BUDGET = 5_000_000
_MIRROR = ("nodes", "policy", "reserve", "hugepages", "used")
_KINDS = {"capabilities": "capabilities", "domcapabilities": "domainCapabilities"}


def answer_mirror(body: Mapping[str, Any], store: ProfileStore) -> Any:
    """A VM laid over a host: ``{"xml", "capabilities", "nodes", "policy", "reserve", "hugepages", "used"}``.

    The last five as ``--mirror-topology`` takes them, numbers also as such. The answer is
    `topology.Plan` as JSON; what the plan makes of the VM tells the profile mirror-topology.

    :raises ProfileError: `completion` where the VM does not fit; `usage`, `invalid-domain`
    """
    from .topology import plan_texts

    number = dict.fromkeys(("nodes", "reserve", "hugepages"), (str, int))
    kinds = {"xml": str, "capabilities": str, "policy": str, "used": str, **number}
    asked(body, kinds, ("xml", "capabilities"))
    wished = {name: str(body[name]) for name in _MIRROR if name in body}
    return plan_texts(body["capabilities"], body["xml"], **wished).to_dict()


def answer_merge(body: Mapping[str, Any], store: ProfileStore) -> Any:
    """What hosts share: ``{"hosts": [{"name", "domcapabilities": […]}], "min_hosts", "require", "budget"}``.

    A host with several documents counts as several, ``NAME#1`` and so on. The answer is
    that of ``--merge-capabilities --json``, without libvirt's baseline.

    :raises ProfileError: as `capmerge.merge`; `usage` for a host without documents
    """
    from .capmerge import Host, merge

    asked(body, {"hosts": list, "min_hosts": int, "require": list, "budget": int}, ("hosts",))
    budget = body.get("budget", MAX_BUDGET)
    if not 0 < budget <= MAX_BUDGET:
        raise UsageError(f"'budget' is {budget}, no number from 1 to {MAX_BUDGET}")
    found = []
    for one in _hosts(body["hosts"]):
        if not one.domcapabilities:
            raise UsageError(f"host '{one.name}' has no domain capabilities", hint="leave it out")
        many = len(one.domcapabilities) > 1
        for at, text in enumerate(one.domcapabilities, 1):
            found.append(Host(f"{one.name}#{at}" if many else one.name, text))
    require = texts(body, "require", MAX_REQUIRED)
    return merge(found, body.get("min_hosts"), require=require, budget=budget).to_dict()


def answer_hosts(body: Mapping[str, Any], store: ProfileStore) -> Any:
    """Where a VM runs: the words of ``apply``, and the hosts' documents,
    ``"hosts": [{"name", "capabilities": […], "domcapabilities": […]}]``.

    The answer is that of ``--hosts --json``, hosts in the order of the request.

    :raises ProfileError: `usage`, `invalid-domain`, `policy`; what profiles say is a host's answer
    """
    from .engine import apply
    from .hostanswers import verdicts

    flags = ("auto", "override", "complete")
    words = {"xml": str, "profiles": list, "context": dict, "name": str, "hosts": list}
    asked(body, {**words, **dict.fromkeys(flags, bool)}, ("xml", "hosts"))
    chosen = {one: body[one] for one in (*flags, "name") if one in body}
    wished = wishes(body)

    def applied(around: Any) -> Any:
        result = apply(body["xml"], wished, store=store, context=around, **chosen)
        check_profiles(one.name for one in result.applied)
        check(result.input, result.xml)
        return result

    found = verdicts(body["xml"], _hosts(body["hosts"]), context(body), applied)
    return {"hosts": [one.to_dict() for one in found]}


def _hosts(given: list[Any]) -> list[HostDocuments]:
    """:raises UsageError: no hosts, too many, two of one name, or what is no document of one"""
    if not 0 < len(given) <= MAX_HOSTS:
        raise UsageError(f"'hosts' has {len(given)} entries, 1 to {MAX_HOSTS} are expected")
    found = []
    for one in given:
        if not isinstance(one, dict):
            raise UsageError("'hosts' is a list of objects")
        asked(one, {"name": str, **dict.fromkeys(_KINDS, list)}, ("name",))
        name = one["name"]
        if not name or len(name) > 255 or not name.isprintable():
            raise UsageError(f"'{name[:80]}' is no name of a host")
        documents = {kind: texts(one, kind, MAX_DOCUMENTS) for kind in _KINDS}
        for kind, tag in _KINDS.items():
            for text in documents[kind]:
                has = parse(text, name=name, error=UsageError).root.tag
                if has != tag:
                    raise UsageError(
                        f"'{has}' was given where libvirt's '{tag}' was expected",
                        hint="'virsh capabilities' and 'virsh domcapabilities' print them",
                        where=name,
                    )
        found.append(HostDocuments(name, documents["capabilities"], documents["domcapabilities"]))
    if len({one.name for one in found}) < len(found):
        raise UsageError("two hosts have one name")
    return found
