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
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from .context import Context
from .errors import InvalidDomainError, ProfileError, UsageError
from .provenance import Result

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
    from .cliargs import profile_wish

    return [profile_wish(one.strip(), "profile") for one in re.split(r"[;\n]", text) if one.strip()]


def host_context(directory: str = HOST_FILES) -> Context:
    """What files tell about this host; nothing where there are none.

    :raises UsageError: a file is another document
    """
    from .hostfiles import read_hosts

    files = sorted(Path(directory).glob("*.xml"))
    if not files:
        return Context()
    hosts = read_hosts(files)
    return Context(
        capabilities=tuple(text for one in hosts for text in one.capabilities),
        domcapabilities=tuple(text for one in hosts for text in one.domcapabilities),
    )


def apply_to(text: str, asked: Sequence[Mapping[str, Any]], environ: Mapping[str, str], name: str) -> Result:
    """Apply the profiles that somebody asks for, and those on the domain's list.

    :raises ProfileError: as `virtProfile.apply`
    """
    from .engine import apply
    from .searchpath import search_path
    from .store import ProfileStore

    store = ProfileStore(search_path((), environ))
    return apply(
        text,
        asked,
        store=store,
        context=host_context(environ.get("VIRT_PROFILE_HOST", HOST_FILES)),
        name=name,
    )


# --- KubeVirt -----------------------------------------------------------------------


def on_define_domain(argv: Sequence[str], stdin: IO[Any], stdout: IO[Any], environ: Mapping[str, str]) -> int:
    """KubeVirt's sidecar hook: ``--vmi JSON --domain XML`` in any order, the new XML on stdout.

    The profiles are those of the VMI's annotation, else of the environment.
    """
    given = _flags(argv)
    if "domain" not in given:
        raise UsageError("onDefineDomain needs --domain XML", hint="KubeVirt's sidecar-shim gives it")
    try:
        vmi = json.loads(given.get("vmi") or "{}")
        annotations = (vmi.get("metadata") or {}).get("annotations") or {}
        text = annotations.get(ANNOTATION, environ.get(VARIABLE, ""))
    except (ValueError, AttributeError) as problem:
        raise UsageError(f"--vmi is no VMI: {problem}") from None
    result = apply_to(given["domain"], wishes(text), environ, "--domain")
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
            raise UsageError(f"'{name}' is no option")
        if not sign:
            if not words:
                raise UsageError(f"{name} has no value")
            value = words.pop(0)
        found[name[2:]] = value
    return found


# --- oVirt ----------------------------------------------------------------------------


def before_vm_start(argv: Sequence[str], stdin: IO[Any], stdout: IO[Any], environ: Mapping[str, str]) -> int:
    """VDSM's hook: the file ``$_hook_domxml`` is edited in place.

    The profiles are those of the custom property ``virt_profile``, which VDSM gives as a
    variable. Device hooks hand over a device: it is left as it is.
    """
    path = environ.get("_hook_domxml")
    if path is None:
        raise UsageError("there is no _hook_domxml", hint="VDSM sets it for hooks of its before_vm_start")
    with open(path, "rb") as stream:
        data = stream.read()
    from .output import encoded
    from .xmltree import decode, parse

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


def qemu(argv: Sequence[str], stdin: IO[Any], stdout: IO[Any], environ: Mapping[str, str]) -> int:
    """libvirt's hook: ``GUEST prepare begin -`` with the XML on stdin; a check, nothing is changed.

    A VM with profiles on its list starts only if they hold; with ``VIRT_PROFILE_HOOK=warn`` it
    starts all the same. What cannot be said here, and all other operations, pass.
    """
    text = stdin.read()
    if list(argv[1:3]) != ["prepare", "begin"]:
        return _DONE
    from .xmltree import VIRTUNED_NS

    if VIRTUNED_NS not in text:
        return _DONE
    name = argv[0]
    try:
        pending = _pending(apply_to(text, (), environ, name))
    except InvalidDomainError:
        raise
    except ProfileError as problem:
        from .errors import CompletionError, ConflictError

        if not isinstance(problem, (ConflictError, CompletionError)):
            _say(f"{name}: its profiles cannot be judged: {problem}")
            return _DONE
        pending = [str(problem)]
    if not pending:
        return _DONE
    more = f" and {len(pending) - 3} more" if len(pending) > 3 else ""
    _say(f"{name}: the profiles on its list do not hold: {'; '.join(pending[:3])}{more}")
    _say(f"'virt-profile {name} --confirm' applies them")
    return _DONE if environ.get("VIRT_PROFILE_HOOK") == "warn" else _FAILED


def _pending(result: Result) -> list[str]:
    """What would change; passwords aside, which libvirt does not tell its hook."""
    from .secrecy import is_secret

    told = []
    for one in result.changes:
        if not is_secret(one.path):
            value = "" if one.after is None else f" '{one.after}'"
            told.append(f"{one.op} {one.path}{value} ({one.origin.profile})")
    return told


# --- all of them --------------------------------------------------------------------------

Hook = Callable[[Sequence[str], IO[Any], IO[Any], Mapping[str, str]], int]

HOOKS: dict[str, tuple[Hook, int]] = {
    # name: what to do, and the exit status of an error
    "on-define-domain": (on_define_domain, _FAILED),
    "before-vm-start": (before_vm_start, _STOP),
    "qemu": (qemu, _FAILED),
}


def _say(text: str) -> None:
    sys.stderr.write(f"virt-profile: {text}\n")


def _tell(result: Result) -> None:
    """Warnings, for the log of whoever called."""
    from .secrecy import veil_result

    for one in veil_result(result).warnings:
        _say(f"{one.where}: {one.message}" if one.where else one.message)


def main(argv: Sequence[str] | None = None) -> int:
    """:returns: the exit status; stdout is empty where it is not 0"""
    name, *rest = (sys.argv[1:] if argv is None else argv) or [""]
    if name not in HOOKS:
        _say(f"'{name}' is no hook: {', '.join(HOOKS)}")
        return _STOP
    hook, failed = HOOKS[name]
    try:
        return hook(rest, sys.stdin, sys.stdout, os.environ)
    except ProfileError as problem:
        from .secrecy import veil_error

        one = veil_error(problem)
        for part in (one, *one.others):
            _say(str(part))
            if part.hint:
                _say(f"  {part.hint}")
    except (OSError, UnicodeError) as problem:
        _say(str(problem))
    except Exception as problem:
        _say(f"internal error: {type(problem).__name__}: {problem}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
