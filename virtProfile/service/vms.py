# SPDX-License-Identifier: GPL-2.0-or-later
"""The VMs of a libvirt, where the service was started with ``--connect``: listed, read, defined.

Off unless the administrator says so, and then still nothing for a caller whose rules do not
say ``read-vms`` or ``define-vms``. A caller never sees passwords of a VM: what is shown is read without
them, what is defined is read with them and computed here.
"""

from __future__ import annotations

import atexit
import re
from contextvars import ContextVar
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING

from virtProfile.errors import NotFoundError, PolicyError
from virtProfile.format.document import parse
from virtProfile.frozen import replace
from virtProfile.host.context import Context
from virtProfile.language.store import ProfileStore
from virtProfile.redaction import veil_result
from virtProfile.result import GUEST_ABI, Result
from virtProfile.service.policy import RULES, check, check_profiles
from virtProfile.service.request import chosen
from virtProfile.service.route import Body, Json, Route
from virtProfile.wire.calls import FLAG, NAMES, NOTHING, TEXT, WISHES, Call
from virtProfile.wire.shapes import Either, List, Object

if TYPE_CHECKING:
    from virtProfile.format.schema import Schema
    from virtProfile.live.connection import Connection, Domain
    from virtProfile.live.kept_connections import KeptConnections

#: The libvirt whose VMs are served; None: none is.
CONNECT: ContextVar[str | None] = ContextVar("connect", default=None)
_FLAGS = ("override", "complete", "auto", "record")
_LISTED = re.compile(r"/schemas/virtuned/")
#: State of a profile on a VM, as `virtProfile.status` says it.
_PROFILE = Object({"name": TEXT, "state": TEXT, "drift": FLAG, "newer": FLAG})
_VM = Object(
    {"name": TEXT, "uuid": TEXT, "active": FLAG, "profiles": List(_PROFILE)},
    {"problem": TEXT},
    name="VirtualMachine",
)
_APPLIED = Object({"digest": TEXT, "before": TEXT, "defined": FLAG}, name="AppliedToVM", open=True)


class ChangedError(PolicyError):
    """The VM is not what the caller has seen."""

    http_status = 409


class NoVmError(NotFoundError):
    """No such VM, or no VMs are served."""

    http_status = 404


class _NotAllowed(PolicyError):
    http_status = 403


@cache
def _connections() -> KeptConnections:
    """This worker's."""
    from virtProfile.live.kept_connections import KeptConnections

    kept = KeptConnections()
    atexit.register(kept.close)  # while libvirt's module is still whole
    return kept


def _connected(word: str, allowed: bool) -> Connection:
    """A connection that stays open, for a caller who may.

    :raises NoVmError: the service serves no VMs
    :raises PolicyError: the caller's rules do not say `word`
    :raises LibvirtError: libvirt cannot be reached
    """
    uri = CONNECT.get()
    if uri is None:
        raise NoVmError("this service knows no VMs", hint="virt-profiled --connect URI")
    if not allowed:
        raise _NotAllowed(
            f"this caller may not {word.replace('-vms', '')} VMs", hint=f"{word} = true in the policy file"
        )
    return _connections().get(uri, read_only=word == "read-vms")


@Route(
    Call("vms", NOTHING, Object({"uri": TEXT, "define": FLAG, "vms": List(_VM)}), method="GET"),
    "The VMs of the libvirt that the service was started for",
    errors=(403, 404),
)
def answer_vms(body: Body, store: ProfileStore) -> Json:
    """Every VM, with the profiles on it; what is wrong with one VM is said beside it."""
    rules = RULES.get()
    connection = _connected("read-vms", rules.read_vms)
    found = [_entry(domain, store) for domain in connection.domains()]
    return {"uri": CONNECT.get() or "", "define": rules.define_vms, "vms": found}


def _entry(domain: Domain, store: ProfileStore) -> Json:
    from virtProfile.engine.lifecycle import status
    from virtProfile.errors import ProfileError

    entry: Json = {"name": domain.name, "uuid": domain.uuid, "active": domain.active, "profiles": []}
    if not _LISTED.search(domain.xml):
        return entry
    try:
        entry["profiles"] = [
            {
                "name": profile.name,
                "state": profile.state,
                "drift": bool(profile.drift),
                "newer": bool(profile.newest and profile.version and profile.newest != profile.version),
            }
            for profile in status(domain.xml, store=store).profiles
        ]
    except ProfileError as problem:
        entry["problem"] = problem.message
    return entry


@Route(
    Call(
        "vm", Object({"name": TEXT}), Object({"xml": TEXT, "digest": TEXT}), method="GET", at="/v1/vms/{name}"
    ),
    "The definition of a VM, without its passwords",
    errors=(403, 404),
)
def answer_vm(body: Body, store: ProfileStore) -> Json:
    connection = _connected("read-vms", RULES.get().read_vms)
    xml = connection.public_xml(_found(connection, body["name"]))
    return {"xml": xml, "digest": _digest(xml)}


@Route(
    Call(
        "apply-to-vm",
        Object(
            {"vm": TEXT},
            {
                "profiles": WISHES,
                "unapply": Either((TEXT, NAMES)),
                **dict.fromkeys(_FLAGS, FLAG),
                "osinfo": TEXT,
                "define": FLAG,
                "yes": FLAG,
                "digest": TEXT,
            },
        ),
        _APPLIED,
    ),
    "Apply profiles to a VM of the host, or take them back, in the host's context; with define, define it",
    description="`digest` is that of the definition that the caller has seen: another is refused with 409."
    " What the guest sees changed is defined only with `yes`.",
    errors=(403, 404, 409),
)
def answer_apply_to_vm(body: Body, store: ProfileStore) -> Json:
    rules = RULES.get()
    define = bool(body.get("define"))
    word, allowed = ("define-vms", rules.define_vms) if define else ("read-vms", rules.read_vms)
    connection = _connected(word, allowed)
    domain = _found(connection, body["vm"])
    before = connection.public_xml(domain)
    if body.get("digest", _digest(before)) != _digest(before):
        raise ChangedError(f"domain '{domain.name}' was changed since it was shown", hint="look at it again")
    result = _computed(body, store, connection, domain.xml if define else before, domain.name)
    check_profiles(profile.name for profile in result.applied)
    check(result.input, result.xml)
    after = result.xml
    if define:
        _permit(result, domain, bool(body.get("yes")))
        after = connection.public_xml(connection.define(result.xml))
    document: Json = veil_result(result).to_dict()
    document |= {
        "xml": after,
        "before": before,
        "defined": define,
        "digest": _digest(after if define else before),
    }
    return document


def _found(connection: Connection, name: str) -> Domain:
    from virtProfile.errors import LibvirtError

    try:
        return connection.find(name)
    except LibvirtError as problem:
        if problem.message.startswith("no domain "):
            raise NoVmError(problem.message, hint=problem.hint) from None
        raise


def _computed(body: Body, store: ProfileStore, connection: Connection, xml: str, name: str) -> Result:
    from virtProfile.engine.flow import apply
    from virtProfile.engine.lifecycle import unapply
    from virtProfile.live.call_context import context as of_host

    context = of_host(Context(osinfo=body.get("osinfo")), xml, name, connection, "baseline")
    if connection.is_local:
        context = replace(context, schema=_host_schema())
    if "unapply" in body:
        back = body["unapply"]
        wishes, override = body.get("profiles", ()), bool(body.get("override"))
        return unapply(
            xml, back, wishes=wishes, override=override, store=store, context=context, trust="store"
        )
    options = chosen(body, *_FLAGS)
    return apply(xml, body.get("profiles", ()), store=store, context=context, trust="store", **options)


@cache
def _host_schema() -> Schema | None:
    from virtProfile.live.call_context import host_schema

    return host_schema(needed=False)


def _permit(result: Result, domain: Domain, yes: bool) -> None:
    """:raises PolicyError: what must not be defined from here, or not without `yes`"""
    before, after = (parse(text).root for text in (result.input, result.xml))
    for part in ("name", "uuid"):
        if before.findtext(part) != after.findtext(part):
            raise PolicyError(
                f"the profiles would change the {part} of domain '{domain.name}'",
                hint="'virsh domrename' renames a domain",
            )
    if result.storage:
        raise PolicyError("the service creates no storage", hint="virt-profile VM --define creates it")
    seen = [warning.message for warning in result.warnings if warning.code == GUEST_ABI]
    if seen and not yes:
        raise PolicyError(
            f"the guest in domain '{domain.name}' would see other hardware: {'; '.join(seen)}",
            hint="agree to that to define it all the same",
        )


def _digest(xml: str) -> str:
    return sha256(xml.encode()).hexdigest()
