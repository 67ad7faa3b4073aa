# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes what manual pages take from profiles and code: ./dev man

virt-profiles.7.rst from the shipped profiles, the attributes of actions and the variables and
functions of expressions in virt-profile-format.5.rst.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from virtProfile.audit.side_by_side import RULES as SIDE_BY_SIDE  # noqa: E402
from virtProfile.language.attributes import manual  # noqa: E402
from virtProfile.language.functions import FUNCTIONS, VARIABLES  # noqa: E402
from virtProfile.language.parser import parse_profiles  # noqa: E402
from virtProfile.language.place import LOCALS  # noqa: E402
from virtProfile.language.profile import Action, Profile, Snippet  # noqa: E402
from virtProfile.show.groups import GROUPS, group  # noqa: E402
from virtProfile.show.profile import sketch  # noqa: E402

PAGE = HERE / "virt-profiles.7.rst"
AUDIT_PAGE = HERE / "virt-profile-audit.7.rst"
AUDIT_HEAD = """\
==================
virt-profile-audit
==================

-------------------------------------
the rules of ``virt-profile --audit``
-------------------------------------

:Manual section: 7
:Manual group: Virtualization Support

.. Made from profiles/audit-*.xml by "./dev man": change those, not this.


DESCRIPTION
===========

Each rule is a profile with a check, marked *audit='yes'*: it is judged by ``virt-profile --audit`` without
names, or by its name. Rules that ask for the guest's OS or the host are left out where nobody knows
these; a connection, ``--osinfo``, ``--capabilities`` and ``--domcapabilities`` give them. A fix is a value of
``--profile``. It is offered where it was tried on the VM, takes the finding away and brings no other.
"""

LANGUAGE_PAGE = HERE / "virt-profile-format.5.rst"
START, END = ".. variables and functions: ./dev man", ".. end of variables and functions"
_ATTRIBUTES = re.compile(r"(?<=^\.\. attributes: )(.*?\n\n)(.*?)(?=^\.\. attributes end$)", re.M | re.S)
HEAD = """==============
virt-profiles
==============

-------------------------------------
the libvirt profiles that are shipped
-------------------------------------

:Manual section: 7
:Manual group: Virtualization Support

.. Made from the profiles by "./dev man": change those, not this.


DESCRIPTION
===========

Each profile is applied with **virt-profile**\\(1)::

    virt-profile --input vm.xml --profile windows-11 --profile spice-desktop --print-diff

A profile has one concern; they are combined as needed, and every pair works or says why it
cannot hold together. All apply without knowing anything about the host; where the host's
domain capabilities or the guest's OS are known (a connection, ``--domcapabilities``,
``--osinfo``), what these rule out is left out and reported.

Disks, NICs, video cards and the like are filled in where the VM definition has no value, and an existing VM
is converted with ``--override``; **virt-profile**\\(1) has recipes. What changes the machine or the
firmware touches *sketches* only: definitions without a UUID or without a machine type, in which
nothing can be installed yet. An installed guest keeps both, unless ``convert=yes``.

"""
TABLE = (
    ("virt-manager", "Nova", "oVirt", "KubeVirt", "profile"),
    [
        ("Hyper-V switches: 3, all listed since 5", "10", "12", "12", "windows-hyperv"),
        ("clock: local time for Windows", "same", "follows the guest", "UTC", "windows-clock, linux-clock"),
        ("timers rtc, pit, hpet", "same", "same", "Windows only", "windows-clock, linux-clock"),
        ("machine q35", "pc", "q35", "q35", "q35, pc"),
        (
            "UEFI where the OS dropped BIOS",
            "by image",
            "by cluster",
            "by preference",
            "uefi, uefi-secureboot",
        ),
        ("TPM beside UEFI", "by image", "by VM", "by preference", "tpm-2.0"),
        (
            "CPU host-passthrough",
            "host-model",
            "by cluster",
            "host-model",
            "cpu-host-passthrough, cpu-host-model",
        ),
        ("cores: left to libvirt", "sockets", "sockets", "sockets", "windows-11, windows-server"),
        ("no S3, S4", "no", "same", "no", "no-suspend"),
        (
            "virtio disks",
            "virtio",
            "virtio-scsi",
            "virtio, Windows SATA",
            "virtio-disk, virtio-scsi, sata-disk",
        ),
        ("cache none for block devices", "none", "none", "none", "fast-disk"),
        ("virtio NICs", "virtio", "virtio", "virtio, Windows e1000e", "virtio-net, e1000e-net"),
        ("one queue", "by flavour", "by profile", "by instance", "net-multiqueue, disk-multiqueue"),
        (
            "SPICE, sound, USB redirection",
            "VNC",
            "VNC",
            "VNC",
            "spice-desktop, vnc-desktop, desktop, no-spice",
        ),
        ("guest agent", "by image", "yes", "yes", "guest-agent"),
        ("random numbers", "by image", "yes", "by preference", "rng"),
        ("balloon", "statistics every 10 s", "every 5 s", "every 10 s", "balloon"),
        ("USB 3", "libvirt's", "USB 3, 8 ports", "none", "usb3, no-usb"),
    ],
)


def profiles() -> dict[str, Profile]:
    found = {}
    for path in sorted((HERE.parent / "profiles").glob("*.xml")):
        for one in parse_profiles(path.read_text(), path.name).profiles:
            if not one.audit:
                found[one.name] = one
    return found


def rules() -> list[tuple[str, list[Profile]]]:
    """The rules of --audit, by the subject that their file is named after."""
    found = []
    for path in sorted((HERE.parent / "profiles").glob("audit-*.xml")):
        shipped = [one for one in parse_profiles(path.read_text(), path.name).profiles if one.audit]
        if shipped:
            found.append((path.stem.removeprefix("audit-"), shipped))
    return found


def audit_page() -> str:
    """The manual page of the rules of --audit."""
    lines = [AUDIT_HEAD]
    for subject, shipped in rules():
        lines += ["", subject.upper(), "=" * len(subject), ""]
        for profile in shipped:
            (check,) = profile.actions
            fix = f", fix ``{check.fix}``" if check.fix else ""
            lines += [f"``{profile.name}`` ({check.severity}{fix})"]
            lines += [f"    {_escaped(profile.title)}. {_escaped(profile.description)}", ""]
    lines += ["", "SEVERAL VMS OF ONE HOST", "=======================", ""]
    for name, text in SIDE_BY_SIDE.items():
        lines += [f"``{name}`` (warning)", f"    {text}.", ""]
    lines += ["", "SEE ALSO", "========", "", "**virt-profile**\\(1), **virt-profile-format**\\(5)"]
    return "\n".join(lines) + "\n"


def page() -> str:
    """The manual page of the shipped profiles."""
    members: dict[str, list[Profile]] = {title: [] for title in GROUPS}
    for profile in profiles().values():
        members[group(profile)].append(profile)
    lines = [HEAD, *comparison()]
    for title, shipped in members.items():
        if shipped:
            lines += ["", title.upper(), "=" * len(title), ""]
        for profile in shipped:
            lines += entry(profile)
    lines += ["", "SEE ALSO", "========", "", "**virt-profile**\\(1), **virt-profile-format**\\(5)"]
    return "\n".join(lines) + "\n"


def language_page() -> str:
    """The manual page of the language, with what the code knows of attributes, variables and functions."""
    text, attributes = LANGUAGE_PAGE.read_text(), "\n".join(manual())
    text = _ATTRIBUTES.sub(lambda found: f"{found[1]}{attributes}\n", text)
    head, start, rest = text.partition(START)
    _, end, tail = rest.partition(END)
    if not start or not end:
        raise SystemExit(f"{LANGUAGE_PAGE.name}: '{START}' and '{END}' are expected")
    return f"{head}{start}\n\n{expressions()}\n\n{end}{tail}"


def expressions() -> str:
    """The variables and functions that every profile has, as a list of definitions."""
    rows = [(f"``${variable.name}``", _description(variable.value)) for variable in VARIABLES.values()]
    rows += [(f"``${name}``", ["    " + text]) for name, text in LOCALS.items()]
    for function in FUNCTIONS.values():
        kind = "" if function.result == "any" else f", a {function.result}"
        rows.append((f"``{function.name}({function.arguments})``{kind}", _description(function.call)))
    return "\n".join(line for term, described in rows for line in (term, *described))


def _description(described: Callable[..., object]) -> list[str]:
    text = inspect.getdoc(described)
    assert text, f"{described} has no docstring"
    return ["    " + line for line in text.splitlines()]


def comparison() -> Iterator[str]:
    """What four applications set, and which profile gives it."""
    head, rows = TABLE
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    rule = "  ".join("=" * width for width in widths)
    yield "WHO SETS WHAT"
    yield "============="
    yield ""
    yield rule
    yield "  ".join(text.ljust(width) for text, width in zip(head, widths, strict=True)).rstrip()
    yield rule
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
    yield rule
    yield ""


def entry(profile: Profile) -> Iterator[str]:
    yield f"{profile.name} {profile.version}"
    yield "-" * len(f"{profile.name} {profile.version}")
    yield ""
    yield f"{_escaped(profile.title or '')}."
    yield ""
    yield from (_escaped(line.strip()) for line in (profile.description or "").strip().split("\n"))
    yield ""
    for param in profile.params:
        default = "must be given" if param.default is None else f"default {param.default or 'nothing'}"
        yield f"*{param.name}* ({param.type}, {default})"
        yield ""
    if profile.requires:
        yield "Brings: " + ", ".join(one.profile for one in profile.requires) + "."
        yield ""
    if profile.conflicts:
        yield "Not with: " + ", ".join(one.profile for one in profile.conflicts) + "."
        yield ""
    said = list(dict.fromkeys(leaf for action in profile.actions for leaf in _leaves(action)))
    if said:
        yield "::"
        yield ""
        yield from (f"    {one}" for one in said[:40])
        if len(said) > 40:
            yield f"    … and {len(said) - 40} more"
        yield ""


def _leaves(action: Action) -> Iterator[str]:
    """What an action sets, a line each: without the values that expressions give."""
    if action.select is not None:
        yield f"{action.kind} {' '.join(action.select.split())}"
        return
    for branch in action.branches:
        for one in _split(branch):
            text = " ".join(re.sub(r"\{[^}]*\}", "…", sketch(one)).split())
            yield f"{action.kind} {text}"


def _split(snippet: Snippet) -> Iterator[Snippet]:
    """One snippet a device, else one for each child."""
    if snippet.tag in ("devices", "features", "clock", "cpu", "hyperv", "numa", "domain"):
        for one in snippet.children or (snippet,):
            yield from _split(one) if one is not snippet else (one,)
        if snippet.attrs and snippet.children:
            yield Snippet(snippet.tag, snippet.attrs, None, (), snippet.line)
    else:
        yield snippet


def _escaped(text: str) -> str:
    return re.sub(r"([*|`\\])", r"\\\1", text)


PAGES: dict[Path, Callable[[], str]] = {PAGE: page, LANGUAGE_PAGE: language_page, AUDIT_PAGE: audit_page}

if __name__ == "__main__":
    for path, made in PAGES.items():
        path.write_text(made())
