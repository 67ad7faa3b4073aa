# SPDX-License-Identifier: GPL-2.0-or-later
"""What a caller of the service may not change: judged on the documents before and after, after the engine.

Neither spelled paths nor whose profile it was count, only what the two documents say in
guarded places: a prefix or a predicate hides nothing, and profiles that the VM's own list
names are judged like those of the caller.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from fnmatch import fnmatchcase
from typing import Any

from lxml import etree

from .errors import PolicyError
from .records import record
from .xmltree import RECORD_NS, VIRTUNED_NS

#: What is guarded, by the word that a policy file opens it with.
KINDS = {
    "commandline": "QEMU's command line, and what overrides its devices or capabilities",
    "host-paths": "files, directories and devices of the host",
    "hostdev": "devices of the host",
    "seclabel": "security labels",
}

#: Elements, by local name, that are guarded whole.
_WHOLE = {"hostdev": "hostdev", "seclabel": "seclabel"}
#: Elements whose text is a path or a command of the host (formatdomain; libvirt's domaincommon.rng).
_TEXTS = frozenset(
    ("emulator", "loader", "nvram", "kernel", "initrd", "dtb", "shim", "cmdline", "table", "binary", "path")
    + ("init", "initarg", "bootloader", "bootloader_args", "database", "certificate", "varstore", "qemu")
)
#: Attributes that are paths of the host, wherever they stand.
_PATHS = frozenset(("file", "dir", "path", "template", "socket", "evdev", "rendernode", "logFile", "logfile"))
#: The same, with more for elements of one name.
_PATHS_OF = {
    "source": _PATHS | {"dev", "pool", "volume"},
    "backend": _PATHS | {"tap", "vhost"},
}
#: Devices of the host under another name.
_OF_HOST = {"interface": "hostdev", "disk": "nvme"}
#: Sources of random numbers that are there for everybody.
_RANDOM = frozenset(("/dev/urandom", "/dev/random", "/dev/hwrng"))
_OPEN = (VIRTUNED_NS, RECORD_NS)


@record
class Rules:
    """What one caller may do.

    :param profiles: patterns (``*``, ``?``) of names of profiles that may apply
    :param may: the kinds of `KINDS` that the difference may touch
    :param elements: paths below ``/domain`` that the difference must stay within; None: anywhere
    :param inline: may bring profiles along, and ask `explain` with any XPath
    :param write: may put and delete profiles, where the service has a directory for them
    """

    profiles: tuple[str, ...] = ("*",)
    may: frozenset[str] = frozenset()
    elements: tuple[str, ...] | None = None
    inline: bool = False
    write: bool = True


EVERYBODY = Rules()
#: Whose request it is; one at a time in a worker.
RULES: ContextVar[Rules] = ContextVar("rules", default=EVERYBODY)


def check_profiles(names: Iterable[str]) -> None:
    """May these profiles apply, also those that metadata or other profiles brought?

    :raises PolicyError: naming all that may not
    """
    patterns = RULES.get().profiles
    if "*" in patterns:
        return
    refused = sorted({name for name in names if not any(fnmatchcase(name, one) for one in patterns)})
    if refused:
        raise PolicyError(
            f"this caller may not use {', '.join(repr(one) for one in refused)}",
            hint="the service's policy file says which profiles",
        )


def check(before: str, after: str, targets: bool = True) -> None:
    """Deny by default: command lines, host paths, host devices and security labels stay.

    :param before: this and `after` have passed `xmltree.parse` already
    :param targets: a disk's source belongs to its target
    :raises PolicyError: the difference touches what the caller may not
    """
    if before == after:
        return
    rules = RULES.get()
    trees = [etree.fromstring(text.encode(), _parser()) for text in (before, after)]
    old, new = (_guarded(tree, rules.may, targets) for tree in trees)
    touched = sorted({place for place, _ in ((old - new) + (new - old))})
    if touched:
        raise PolicyError(
            f"the service may not change {', '.join(repr(one) for one in touched)}",
            hint="apply it with virt-profile on the host",
        )
    if rules.elements is not None:
        _check_elements(trees[0], trees[1], rules.elements)


def check_devices(given: str, devices: Iterable[str]) -> None:
    """Devices to attach have nothing guarded that the caller did not write.

    :param given: the caller's devices, which have passed `xmltree.parse`
    :raises PolicyError: profiles or completion brought something
    """
    may = RULES.get().may
    root = etree.fromstring(given.encode(), _parser())
    had = _guarded(_in_domain(list(root) if root.tag == "devices" else [root]), may, False)
    new = [etree.fromstring(one, _parser()) for one in devices]
    brought = sorted({place for place, _ in _guarded(_in_domain(new), may, False) - had})
    if brought:
        raise PolicyError(
            f"the service may not add {', '.join(repr(one) for one in brought)}",
            hint="apply it with virt-profile on the host",
        )


def _in_domain(devices: Iterable[Any]) -> Any:
    domain = etree.Element("domain")
    etree.SubElement(domain, "devices").extend(devices)
    return domain


def _parser() -> Any:
    return etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True,
        encoding="utf-8",
    )  # fmt: skip


def _guarded(root: Any, may: frozenset[str], targets: bool) -> Counter[tuple[str, Any]]:
    found: Counter[tuple[str, Any]] = Counter()
    _walk(root, "", found, may, targets)
    return found


def _walk(
    element: Any, within: str, found: Counter[tuple[str, Any]], may: frozenset[str], targets: bool
) -> None:
    target: Any = ""
    for child in element:
        tag = child.tag
        if not isinstance(tag, str):
            continue
        name = tag
        if tag[0] == "{":
            uri, _, name = tag[1:].partition("}")
            if not within:
                # commandline, override, capabilities, deprecation of any driver's namespace
                if "commandline" not in may:
                    found[name, _flat(child)] += 1
                continue
        elif not within and name == "metadata":
            continue
        place = f"{within}/{name}"
        if name in _WHOLE:
            if _WHOLE[name] not in may:
                found[name, _flat(child, without="address" if name == "hostdev" else "")] += 1
            continue
        if "host-paths" not in may:
            if name in _TEXTS or (name == "backend" and within == "/devices/rng"):
                text = (child.text or "").strip()
                if text and not (name == "backend" and text in _RANDOM):
                    found[name, text] += 1
            keys = _PATHS_OF.get(name, _PATHS)
            if not keys.isdisjoint(child.keys()):
                if target == "":
                    target = _target(element) if targets else None
                for key, value in child.items():
                    if key in keys:
                        found[f"{name}/@{key}", (place, target, value)] += 1
        if name in _OF_HOST and child.get("type") == _OF_HOST[name] and "hostdev" not in may:
            source = child.find("source")
            found[f"{name}/@type", None if source is None else _flat(source)] += 1
        if len(child):
            _walk(child, place, found, may, targets)


def _target(device: Any) -> str | None:
    return next((one.get("dev") or one.get("dir") for one in device.iterchildren("target")), None)


def _flat(element: Any, without: str = "") -> Any:
    inner = tuple([_flat(one) for one in element.iterchildren("*") if one.tag != without])
    return element.tag, tuple(sorted(element.items())), (element.text or "").strip(), inner


# --- only some elements ------------------------------------------------------------------------


def _check_elements(before: Any, after: Any, elements: tuple[str, ...]) -> None:
    """The rest of both documents has to be the same: what may change is taken out of both.

    :raises PolicyError: it is not
    """
    for tree in (before, after):
        for metadata in tree.findall("metadata"):
            for one in [one for one in metadata if one.tag.startswith(tuple(f"{{{uri}}}" for uri in _OPEN))]:
                metadata.remove(one)
        for path in elements:
            for one in tree.findall(path):
                one.getparent().remove(one)
        _prune(tree)
    touched = sorted(set(_differing(_flat(before), _flat(after), "")))
    if touched:
        raise PolicyError(
            f"this caller may not change {', '.join(repr(one) for one in touched[:10])}",
            hint="the service's policy file says which elements",
        )


def _prune(element: Any) -> None:
    """Take out what is empty once the elements that may change are gone, such as ``<devices>``."""
    for one in list(element):
        _prune(one)
        if not len(one) and not one.attrib and not (one.text or "").strip() and one.tag in _SECTIONS:
            element.remove(one)


_SECTIONS = frozenset(("devices", "metadata", "cputune", "numatune", "memtune", "clock", "pm"))


def _differing(old: Any, new: Any, path: str) -> Iterator[str]:
    if old == new:
        return
    here = f"{path}/{old[0]}"
    if old[:3] != new[:3] or old[0] != new[0]:
        yield here
    rest_old, rest_new = Counter(old[3]), Counter(new[3])
    gone, come = list((rest_old - rest_new).elements()), list((rest_new - rest_old).elements())
    for one in gone:
        other = next((two for two in come if two[0] == one[0]), None)
        if other is None:
            yield f"{here}/{one[0]}"
        else:
            come.remove(other)
            yield from _differing(one, other, here)
    yield from (f"{here}/{one[0]}" for one in come)
    if not gone and not come and old[3] != new[3]:
        yield here  # in another order
