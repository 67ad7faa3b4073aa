# SPDX-License-Identifier: GPL-2.0-or-later
"""Adapters to the programs that hand a domain to somebody before it starts.

``python3 -m virtProfile.hooks NAME`` is what the scripts in ``contrib/`` call. All of
them are the engine on a text: no libvirt is asked (from libvirt's own hook that would
be a deadlock), nothing but the result is on stdout, and twice gives what once gives.
What is known of the host are files in ``/etc/virt-profile/host``.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from virtProfile.errors import InvalidDomainError, ParamError, ProfileError, UsageError
from virtProfile.host.context import Context
from virtProfile.result import Result

if TYPE_CHECKING:
    from virtProfile.language.store import ProfileStore

#: Where `virsh capabilities` and `virsh domcapabilities` of this host were kept.
HOST_FILES = "/etc/virt-profile/host"
#: The annotation of a KubeVirt VMI that names profiles.
ANNOTATION = "virt-profile/profiles"
#: The same for everybody, in the environment; also oVirt's custom property, in lower case.
VARIABLE = "VIRT_PROFILE_APPLY"

_DONE, _FAILED, _STOP = 0, 1, 2


def wishes(text: str) -> list[dict[str, Any]]:
    """Profiles as ``--profile`` spells them, one a line or separated by ``;``.

    :raises UsageError: one of them is misspelled
    """
    from virtProfile.language.requests import profile_wish

    return [profile_wish(word.strip(), "profile") for word in re.split(r"[;\n]", text) if word.strip()]


def host_context(directory: str = HOST_FILES) -> Context:
    """What files tell about this host; nothing where there are none.

    :raises UsageError: a file is another document
    """
    from virtProfile.host.files import read_hosts

    files = sorted(Path(directory).glob("*.xml"))
    if not files:
        return Context()
    hosts = read_hosts(files)
    return Context(
        capabilities=tuple(text for host in hosts for text in host.capabilities),
        domcapabilities=tuple(text for host in hosts for text in host.domcapabilities),
    )


def apply_to(text: str, asked: Sequence[Mapping[str, Any]], environ: Mapping[str, str], name: str) -> Result:
    """Apply the profiles that somebody asks for, and those on the domain's list.

    :raises ProfileError: as `virtProfile.apply`
    """
    from virtProfile.apply_options import ApplyOptions
    from virtProfile.engine.dispatch import dispatch
    from virtProfile.engine.record.model import Trust
    from virtProfile.language.search_path import search_path
    from virtProfile.language.store import ProfileStore

    store = ProfileStore(search_path((), environ, _say))
    _refuse_secrets(asked, store)
    return dispatch(
        ApplyOptions(),
        asked,
        text,
        store=store,
        context=host_context(environ.get("VIRT_PROFILE_HOST", HOST_FILES)),
        trust=Trust.STORE,
        name=name,
    )


def _refuse_secrets(asked: Sequence[Mapping[str, Any]], store: ProfileStore) -> None:
    """A secret would be readable where the wish is written, and ``@FILE`` be a file of this host.

    :raises ParamError: a wish gives one
    """
    for wish in asked:
        try:
            profile = store.resolve(wish["name"], wish.get("version"))[0]
        except ProfileError:
            continue  # the engine tells of all that are missing
        for param in profile.params:
            if param.secret and param.name in (wish.get("params") or {}):
                what = f"the secret parameter '{param.name}' cannot be given to a hook"
                words = f"virt-profile DOMAIN --profile {profile.name},{param.name}=@FILE"
                raise ParamError(f"profile '{profile.name}': {what}", hint=f"on the host: {words}")


# --- KubeVirt -----------------------------------------------------------------------


def on_define_domain(argv: Sequence[str], stdin: IO[str], stdout: IO[str], environ: Mapping[str, str]) -> int:
    """KubeVirt's sidecar hook: ``--vmi JSON --domain XML`` in any order, the new XML on stdout.

    The profiles are those of the VMI's annotation, else of the environment.
    """
    given = _flags(argv)
    if "domain" not in given:
        raise UsageError("onDefineDomain needs --domain XML", hint="KubeVirt's sidecar-shim gives it")
    return _for_vmi(given["domain"], given.get("vmi") or "{}", stdout, environ)


def mutate_domain(argv: Sequence[str], stdin: IO[str], stdout: IO[str], environ: Mapping[str, str]) -> int:
    """KubeVirt's domain hook, as `virtProfile.service.kubevirt` calls it: a JSON object with ``domain`` and
    ``vmi`` on stdin, which may be larger than an argument, the new XML on stdout.
    """
    try:
        given = json.load(stdin)
        domain, vmi = str(given["domain"]), str(given["vmi"] or "{}")
    except (ValueError, KeyError, TypeError) as problem:
        raise UsageError(f"no domain and VMI on stdin: {problem}") from None
    return _for_vmi(domain, vmi, stdout, environ)


def _for_vmi(domain: str, text: str, stdout: IO[str], environ: Mapping[str, str]) -> int:
    """Apply what a VMI asks for to its domain."""
    try:
        vmi = json.loads(text)
        annotations = (vmi.get("metadata") or {}).get("annotations") or {}
        asked = annotations.get(ANNOTATION, environ.get(VARIABLE, ""))
    except (ValueError, AttributeError) as problem:
        raise UsageError(f"the VMI cannot be read: {problem}") from None
    result = apply_to(domain, wishes(asked), environ, "domain")
    _tell(result)
    stdout.write(result.xml)
    stdout.flush()
    return _DONE


def _flags(argv: Sequence[str]) -> dict[str, str]:
    """``--name value`` and ``--name=value``; names that nobody knows are let pass."""
    found: dict[str, str] = {}
    words = list(argv)
    while words:
        name, sign, value = words.pop(0).partition("=")
        if not name.startswith("--"):
            raise UsageError(f"unknown option '{name}'")
        if not sign:
            if not words:
                raise UsageError(f"{name} has no value")
            value = words.pop(0)
        found[name[2:]] = value
    return found


# --- oVirt ----------------------------------------------------------------------------


def before_vm_start(argv: Sequence[str], stdin: IO[str], stdout: IO[str], environ: Mapping[str, str]) -> int:
    """VDSM's hook: the file ``$_hook_domxml`` is edited in place.

    The profiles are those of the custom property ``virt_profile``, which VDSM gives as a
    variable. Device hooks hand over a device: it is left as it is.
    """
    path = environ.get("_hook_domxml")
    if path is None:
        raise UsageError("there is no _hook_domxml", hint="VDSM sets it for hooks of its before_vm_start")
    with open(path, "rb") as stream:
        data = stream.read()
    from virtProfile.format.document import decode, parse
    from virtProfile.show.terminal import encoded

    text, encoding = decode(data, path)
    if parse(text, name=path).root.tag != "domain":
        return _DONE
    result = apply_to(text, wishes(environ.get("virt_profile", environ.get(VARIABLE, ""))), environ, path)
    _tell(result)
    if result.xml != result.input:
        with open(path, "r+b") as stream:  # VDSM reads the same file again
            stream.write(encoded(result.xml, encoding, data))
            stream.truncate()
    return _DONE


# --- libvirt ---------------------------------------------------------------------------


def qemu(argv: Sequence[str], stdin: IO[str], stdout: IO[str], environ: Mapping[str, str]) -> int:
    """libvirt's hook: ``GUEST prepare begin -`` with the XML on stdin; a check, nothing is changed.

    A VM with profiles on its list starts only if they hold; with ``VIRT_PROFILE_HOOK=warn`` it
    starts all the same. What cannot be said here, and all other operations, pass.
    """
    text = stdin.read()
    if list(argv[1:3]) != ["prepare", "begin"]:
        return _DONE
    from virtProfile.format.document import VIRTUNED_NS

    if VIRTUNED_NS not in text:
        return _DONE
    name = argv[0]
    try:
        result = apply_to(text, (), environ, name)
        pending = _pending(result, _not_judged(result, environ))
    except InvalidDomainError:
        raise
    except ProfileError as problem:
        from virtProfile.errors import CompletionError, ConflictError

        if not isinstance(problem, (ConflictError, CompletionError)):
            from virtProfile.redaction import veil_error

            _say(f"{name}: its profiles cannot be judged: {veil_error(problem)}")
            return _DONE
        from virtProfile.redaction import veil_error

        pending = [str(veil_error(problem))]
    if not pending:
        return _DONE
    more = f" and {len(pending) - 3} more" if len(pending) > 3 else ""
    _say(f"{name}: the profiles on its list do not hold: {'; '.join(pending[:3])}{more}")
    _say(f"'virt-profile {name} --confirm' applies them")
    return _DONE if environ.get("VIRT_PROFILE_HOOK") == "warn" else _FAILED


def _not_judged(result: Result, environ: Mapping[str, str]) -> set[str]:
    """Profiles that ask for documents of the host, which are not here: by those they chose when applied."""
    from virtProfile.language.context_needs import needs
    from virtProfile.language.instances import base_of
    from virtProfile.language.search_path import search_path
    from virtProfile.language.store import ProfileStore

    context = host_context(environ.get("VIRT_PROFILE_HOST", HOST_FILES))
    given = {"capabilities": context.capabilities, "domcapabilities": context.domcapabilities}
    lacking = {what for what, documents in given.items() if not documents}
    store = ProfileStore(search_path((), environ, lambda _: None))
    found = set()
    for applied in result.applied if lacking else ():
        profile = store.get(base_of(applied.name), applied.version)
        if any(need.what in lacking for need in needs(profile)):
            found.add(applied.name)
    return found


def _pending(result: Result, aside: Collection[str]) -> list[str]:
    """What would change; secrets aside, which libvirt does not give its hook.

    :param aside: profiles that cannot be judged
    """
    from virtProfile.format.secret_slots import is_secret
    from virtProfile.redaction import veil_result

    lines = []
    for change in veil_result(result).changes:
        if not is_secret(change.path) and change.origin.profile not in aside:
            value = "" if change.after is None else f" '{change.after}'"
            lines.append(f"{change.op} {change.path}{value} ({change.origin.profile})")
    return lines


# --- all of them --------------------------------------------------------------------------

Hook = Callable[[Sequence[str], IO[str], IO[str], Mapping[str, str]], int]

HOOKS: dict[str, tuple[Hook, int]] = {
    # name: what to do, and the exit status of an error
    "on-define-domain": (on_define_domain, _FAILED),
    "mutate-domain": (mutate_domain, _FAILED),
    "before-vm-start": (before_vm_start, _STOP),
    "qemu": (qemu, _FAILED),
}


def _say(text: str) -> None:
    from virtProfile.show.terminal import one_line

    sys.stderr.write(f"virt-profile: {one_line(text)}\n")


def _tell(result: Result) -> None:
    """Warnings, for the log of whoever called."""
    from virtProfile.redaction import veil_result

    for warning in veil_result(result).warnings:
        _say(f"{warning.where}: {warning.message}" if warning.where else warning.message)


def main(argv: Sequence[str] | None = None) -> int:
    """:returns: the exit status; stdout is empty where it is not 0"""
    name, *rest = (sys.argv[1:] if argv is None else argv) or [""]
    if name not in HOOKS:
        _say(f"unknown hook '{name}': {', '.join(HOOKS)}")
        return _STOP
    hook, failed = HOOKS[name]
    try:
        return hook(rest, sys.stdin, sys.stdout, os.environ)
    except ProfileError as problem:
        from virtProfile.redaction import veil_error

        error = veil_error(problem)
        for part in (error, *error.others):
            _say(str(part))
            if part.hint:
                _say(f"  {part.hint}")
    except (OSError, UnicodeError) as problem:
        _say(str(problem))
    except Exception as problem:
        _say(f"internal error: {type(problem).__name__}: {problem}")
    return failed


#: Seconds of processor time that a hook may take, and the variable that says otherwise.
SECONDS = 10
SECONDS_VARIABLE = "VIRT_PROFILE_HOOK_SECONDS"


def limited(argv: Sequence[str], run: Callable[[Sequence[str]], int] = main) -> int:
    """`main` in a process of its own, with a limit on its processor time.

    A domain that takes longer passes as it is, and that is said: no metadata keeps a VM from its
    start by being expensive.
    """
    try:
        seconds = max(1, int(os.environ.get(SECONDS_VARIABLE, "")))
    except ValueError:
        seconds = SECONDS
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        status = _STOP
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))  # the kernel ends it, in C too
            os.dup2(writer, 1)
            sys.stdout = open(1, "w", encoding="utf-8", newline="", closefd=False)  # noqa: SIM115
            status = run(argv)
            sys.stdout.flush()
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, encoding="utf-8", newline="") as stream:
        text = stream.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status >= 0:
        sys.stdout.write(text)
        sys.stdout.flush()
        return status
    _say(f"not done after {seconds} s of processor time: the VM passes as it is, no profile was judged")
    if argv[:1] == ["on-define-domain"]:
        sys.stdout.write(_flags(argv[1:]).get("domain", ""))
    return _DONE


if __name__ == "__main__":
    sys.exit(limited(sys.argv[1:]))
