# SPDX-License-Identifier: GPL-2.0-or-later
"""What libosinfo recommends for a guest OS, as a profile of defaults: ``<virtuned:guest priority=…>``.

The profile is made of facts of libosinfo's database and goes through the same
parser as one of a file, so that it has a digest, can be told, and is withdrawn
like any other. Its name has a colon, which no file's name can have.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from virtProfile.errors import InvalidDomainError
from virtProfile.frozen import replace
from virtProfile.host.osinfo import guest_entry, lookup, named_os
from virtProfile.language.parser import parse_profiles
from virtProfile.language.profile import Profile, Snippet
from virtProfile.language.requests import Selected, check_priority

if TYPE_CHECKING:
    from virtProfile.format.document import Document
    from virtProfile.host.osinfo import GuestOS

#: Of the rules below: another one where the same facts lead to other defaults.
VERSION = "1"
PREFIX = "guest:"

_X86 = "(os/type/@arch = 'x86_64' or os/type/@arch = 'i686')"
_QEMU = (
    "(not(@type) or @type = 'kvm' or @type = 'qemu' or @type = 'hvf' or @type = 'test')"
    " and (not(os/type) or os/type = 'hvm')"
)
#: NICs that QEMU emulates, best first.
_NICS = ("e1000", "rtl8139", "ne2k_pci", "pcnet")
#: Of an ``<interface>``, those types that have a model which the guest sees.
_NETWORKS = ("network", "bridge", "direct", "user", "ethernet")
#: libosinfo's name of a sound device and libvirt's, best first.
_SOUND = {"ich9-hda": "ich9", "ich6": "ich6", "ac97": "ac97", "es1370": "es1370", "sb16": "sb16"}


def recommended(document: Document) -> Selected | None:
    """The recommendations that a domain's ``<virtuned:guest>`` asks for by its priority.

    :raises InvalidDomainError: a bad priority, or no OS
    :raises MissingContextError: libosinfo does not know the OS, or is not there
    """
    entry = guest_entry(document.root)
    if entry is None or entry.get("priority") is None:
        return None
    where = f"{document.name}:{entry.sourceline}"
    priority = check_priority(entry.get("priority"), "<virtuned:guest>", InvalidDomainError, where)
    name = named_os(entry)
    if name is None:
        raise InvalidDomainError(
            "<virtuned:guest> with a priority names no OS",
            hint="os='ID' names it, as osinfo-query os lists them",
            where=where,
        )
    profile = recommendations(lookup(name), document.name, entry.sourceline or 1)
    return Selected(profile, priority, "metadata", {}, None)


def recommendations(guest: GuestOS, file: str, line: int) -> Profile:
    """The profile of an OS; all of it stands at `file`:`line`."""
    parsed = parse_profiles(profile_text(guest), file)
    (profile,) = parsed.profiles
    return replace(
        profile,
        name=PREFIX + guest.id,
        line=line,
        matches=tuple(replace(match, line=line) for match in profile.matches),
        actions=tuple(
            replace(action, line=line, branches=tuple(_moved(branch, line) for branch in action.branches))
            for action in profile.actions
        ),
    )


def _moved(snippet: Snippet, line: int) -> Snippet:
    return replace(snippet, line=line, children=tuple(_moved(below, line) for below in snippet.children))


def profile_text(guest: GuestOS) -> str:
    """The profile as XML, for whoever wants to read or change it."""
    lines = [
        f"<profile name={_quoted(guest.id)} version='{VERSION}'>",
        f"  <title>What libosinfo recommends for {_escaped(guest.label)}</title>",
        f"  <match test={_quoted(_QEMU)}/>",
    ]
    for snippet, when, unknown in _defaults(guest):
        words = f" when={_quoted(when)}" if when else ""
        words += f" unknown='{unknown}'" if unknown != "error" else ""
        lines.append(f"  <default{words}>{snippet}</default>")
    return "\n".join([*lines, "</profile>", ""])


_Row = tuple[str, str, str]


def _defaults(guest: GuestOS) -> Iterator[_Row]:
    """(snippet, when, unknown) of every default.

    Where a condition is unknown the better choice is made and the lesser left.
    """
    yield f"<clock offset='{guest.clock}'/>", "", "error"
    yield from _machine(guest)
    for arch, (memory, cpus) in guest.resources().items():
        when = "" if arch == "all" else f"os/type/@arch = '{arch}'"
        if arch == "all":
            others = [other for other in guest.resources() if other != "all"]
            when = " and ".join(f"not(os/type/@arch = '{other}')" for other in others)
        if memory:
            yield f"<memory unit='KiB'>{memory}</memory>", when, "error"
        if cpus:
            yield f"<vcpu>{cpus}</vcpu>", when, "error"
    yield from _devices(guest)


def _machine(guest: GuestOS) -> Iterator[_Row]:
    if guest.supports("q35"):
        # q35 has no IDE, and no OS of before virtio 1.0 finds virtio on its bus.
        ide = "devices/*/target/@bus = 'ide' or devices/controller/@type = 'ide'"
        yield "<os><type machine='q35'/></os>", f"{_X86} and not({ide})", "error"
    if guest.needs_efi("x86_64"):
        when = (
            "os/type/@arch = 'x86_64' and not(os/loader) and not(os/kernel)"
            " and vp:supports('os', 'firmware', 'efi')"
        )
        yield "<os firmware='efi'/>", when, "apply"


def _devices(guest: GuestOS) -> Iterator[_Row]:
    if guest.supports("virtio-disk"):
        yield _device("<disk device='disk'><target bus='virtio'/></disk>"), *_where("disk", "bus", "virtio")
    yield from _nics(guest)
    yield from _video(guest)
    if guest.supports("usb-tablet"):
        usb = "not(os/type/@arch = 's390x')"
        yield _device("<input type='tablet' bus='usb'/>"), usb, "error"
    if guest.supports("virtio-input"):
        yield _device("<input type='tablet' bus='virtio'/>"), "os/type/@arch = 's390x'", "error"
    if guest.supports("usb3"):
        # A model for a controller that has its place on the bus would be another device there.
        when = f"{_X86} and not(devices/controller[@type = 'usb']/address) and $qemu_version >= 2010000"
        yield _device("<controller type='usb' model='qemu-xhci'/>"), when, "apply"
    for name, model in _SOUND.items():
        if name in guest.models("audio"):
            yield _device(f"<sound model='{model}'/>"), _X86, "error"
            break
    if guest.supports("virtio-rng"):
        yield _device("<rng model='virtio'/>"), *_where("rng", "model", "virtio")
    if guest.supports("virtio-balloon"):
        yield _device("<memballoon model='virtio'/>"), "", "error"


def _nics(guest: GuestOS) -> Iterator[_Row]:
    models = guest.models("net")
    emulated = next((model for model in _NICS if model in models), None)
    if guest.supports("virtio-net"):
        yield _nic("virtio"), "", "error"
        return
    pcie = f"{_X86} and vp:machine('q35')"
    if "e1000e" in models:
        yield _nic("e1000e"), pcie, "skip"
    if emulated is not None:
        if "e1000e" in models:
            yield _nic(emulated), f"{_X86} and not(vp:machine('q35'))", "apply"
        else:
            yield _nic(emulated), _X86, "error"


def _nic(model: str) -> str:
    return _device(*(f"<interface type='{kind}'><model type='{model}'/></interface>" for kind in _NETWORKS))


def _video(guest: GuestOS) -> Iterator[_Row]:
    better = ""
    if guest.supports("virtio-video"):
        better = _where("video", "modelType", "virtio")[0]
        yield _device("<video><model type='virtio'/></video>"), better, "apply"
    for model, also in (("qxl", "devices/graphics/@type = 'spice' and "), ("vga", "")):
        if model not in guest.models("video"):
            continue
        when = f"{_X86} and {also}vp:supports('video', 'modelType', '{model}')"
        row = f"{when} and not({better})" if better else when
        yield _device(f"<video><model type='{model}'/></video>"), row, "skip" if better else "apply"
        better = f"{better} or {when}" if better else when


def _where(element: str, enum: str, value: str) -> tuple[str, str]:
    """A condition on the hypervisor; where it is unknown, it is taken to hold."""
    return f"vp:supports('{element}', '{enum}', '{value}')", "apply"


def _device(*snippets: str) -> str:
    return f"<devices>{''.join(snippets)}</devices>"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _quoted(text: str) -> str:
    return '"' + _escaped(text).replace('"', "&quot;") + '"'


def is_recommendation(name: Any) -> bool:
    """Is it the name of such a profile, which no store has?"""
    return str(name).startswith(PREFIX)
