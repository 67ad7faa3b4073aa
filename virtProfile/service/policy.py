# SPDX-License-Identifier: GPL-2.0-or-later
"""What a caller of the service may not change: judged on the documents before and after, after the engine.

Neither spelled paths nor whose profile it was count, only what the two documents say: a prefix or a
predicate hides nothing, and profiles that the VM's own list names are judged like those of the caller.
`harmless` has the table of what may change; a device is compared whole, with all that is guarded in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from fnmatch import fnmatchcase
from functools import cache
from operator import itemgetter
from typing import Any

from lxml import etree

from virtProfile.errors import PolicyError
from virtProfile.format.buses import letters
from virtProfile.format.document import LIBOSINFO_NS, RECORD_NS, VIRTUNED_NS
from virtProfile.format.harmless import PRESENCE, is_harmless, kinds_at
from virtProfile.frozen import record
from virtProfile.language.instances import base_of
from virtProfile.service.harmless import IDENTITY, TEXT, kind_of

#: Entries of the metadata that are the engine's, or say no more than which guest OS it is.
_OPEN_TAGS = (f"{{{VIRTUNED_NS}}}", f"{{{RECORD_NS}}}", f"{{{LIBOSINFO_NS}}}")
#: A guarded part: path, slot, value.
_Part = tuple[str, str, str | None]
#: Kinds of rows of the table: for every value, and for some.
_Rows = tuple[frozenset[str], frozenset[str]]


@record
class Rules:
    """What one caller may do.

    :param profiles: patterns (``*``, ``?``) of names of profiles that may apply
    :param may: the kinds of `KINDS` that the difference may touch
    :param opened: paths below ``/domain``, of elements or attributes, that are harmless for this caller
    :param elements: paths below ``/domain`` that the difference must stay within; None: anywhere
    :param inline: may bring profiles along, and ask `explain` with any XPath
    :param write: may put and delete profiles, where the service has a directory for them
    :param read_vms: may see the VMs of the host, where the service was started for one
    :param define_vms: may define them
    """

    profiles: tuple[str, ...] = ("*",)
    may: frozenset[str] = frozenset()
    opened: tuple[str, ...] = ()
    elements: tuple[str, ...] | None = None
    inline: bool = False
    write: bool = False
    read_vms: bool = False
    define_vms: bool = False


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
    refused = sorted(
        {name for name in map(base_of, names) if not any(fnmatchcase(name, pattern) for pattern in patterns)}
    )
    if refused:
        raise PolicyError(
            f"this caller may not use {', '.join(map(repr, refused))}",
            hint="the service's policy file says which profiles",
        )


def check(before: str, after: str, *, new: bool = False) -> None:
    """Deny by default: only what is harmless, and what the policy opens, may differ.

    :param before: this and `after` have passed `document.parse` already
    :param new: the VM is made, by options of the caller's
    :raises PolicyError: the difference touches what the caller may not
    """
    if before == after:
        return
    rules = RULES.get()
    trees = [etree.fromstring(text.encode(), _parser()) for text in (before, after)]
    judged: _Judged = {}
    old, new_parts = (_Guarded(tree, rules, new, judged) for tree in trees)
    touched = _touched(old, new_parts)
    if old.locked and new_parts.unlocked - old.unlocked:
        touched.add(("devices/graphics", "@passwd", None))
    if touched:
        raise _refused("change", touched)
    if rules.elements is not None:
        _check_elements(trees[0], trees[1], rules.elements)


def _refused(what: str, touched: Iterable[_Part]) -> PolicyError:
    places = sorted({path if slot in (PRESENCE, TEXT) else f"{path}/{slot}" for path, slot, _ in touched})
    kinds = sorted({kind_of(*part) for part in touched} - {IDENTITY})
    more = f" and {len(places) - 10} more" if len(places) > 10 else ""
    words = ", ".join(f'"{kind}"' for kind in kinds)
    hint = "apply it with virt-profile on the host"
    if kinds:
        hint += f", or may-touch = [{words}] in the service's policy file"
    return PolicyError(f"the service may not {what} {', '.join(map(repr, places[:10]))}{more}", hint=hint)


def check_devices(given: str, devices: Iterable[str]) -> None:
    """Devices to attach have nothing guarded that the caller did not write.

    :param given: the caller's devices, which have passed `document.parse`
    :raises PolicyError: profiles or completion brought something
    """
    rules = RULES.get()
    root = etree.fromstring(given.encode(), _parser())
    given_devices = _in_domain(list(root) if root.tag == "devices" else [root])
    judged: _Judged = {}
    had = _Guarded(given_devices, rules, False, judged).parts()
    new = [etree.fromstring(device, _parser()) for device in devices]
    brought = _Guarded(_in_domain(new), rules, False, judged).parts() - had
    if brought:
        raise _refused("add", brought)


def _in_domain(devices: Iterable[Any]) -> Any:
    domain = etree.Element("domain")
    etree.SubElement(domain, "devices").extend(devices)
    return domain


@cache
def _parser() -> Any:
    return etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True,
        encoding="utf-8",
    )  # fmt: skip


class _Place:
    """What the table says of the elements at a path; made for the places that documents have.

    :ivar kinds: rows of attributes by name, and of `PRESENCE` and `TEXT`; None where any value is harmless
    :ivar inner: places of children by tag
    :ivar may_go: may such an element go with all that is guarded in it?
    """

    __slots__ = ("path", "kinds", "inner", "may_go")

    def __init__(self, path: str, opened: tuple[str, ...]) -> None:
        self.path = path
        self.kinds = _Kinds(path, opened)
        self.inner = _Inner(path, opened)
        self.may_go = is_harmless(path, PRESENCE, None, "gone")


class _Kinds(dict[str, _Rows | None]):
    def __init__(self, path: str, opened: tuple[str, ...]) -> None:
        super().__init__()
        self._path, self._opened = path, opened

    def __missing__(self, name: str) -> _Rows | None:
        slot = name if name in (PRESENCE, TEXT) else f"@{name}"
        kinds = kinds_at(self._path, slot, self._opened)
        found = self[name] = None if "any" in kinds[0] else kinds
        _places.size += 1
        return found


class _Inner(dict[str, _Place]):
    def __init__(self, path: str, opened: tuple[str, ...]) -> None:
        super().__init__()
        self._path, self._opened = path, opened

    def __missing__(self, tag: str) -> _Place:
        step = tag.replace("/", ":") if tag[0] == "{" else tag  # no name space brings steps of its own
        found = self[tag] = _Place(step if self._path == "." else f"{self._path}/{step}", self._opened)
        _places.size += 1
        return found


class _Places(dict[tuple[str, ...], _Place]):
    """The place of the domain, by what a policy opens besides; all that is below it is found from there.

    Tags and names of attributes are those of documents, so that there are never more than `MOST` for long.
    """

    MOST = 20_000
    size = 0

    def __missing__(self, opened: tuple[str, ...]) -> _Place:
        found = self[opened] = _Place(".", opened)
        return found

    def at(self, opened: tuple[str, ...]) -> _Place:
        if self.size > self.MOST:
            self.clear()
            self.size = 0
        return self[opened]


_places = _Places()
_slot = itemgetter(0)
#: What is guarded in an element by itself, and what may be filled: by its place, text and attributes.
_Judged = dict[tuple[Any, ...], tuple[tuple[_Part, ...], tuple[_Part, ...]]]


class _Guarded:
    """What is guarded in a document.

    A unit is a device, or another element below the domain. `units` are those with guarded parts, nested
    as they stand; `fills` the values that may be added but neither change nor go, with the unit they are
    in; `whole` all units, of paths that may go, by path.

    :param judged: is shared by the documents before and after, in which most elements are the same
    """

    def __init__(self, root: Any, rules: Rules, new: bool, judged: _Judged) -> None:
        self._rules = rules
        self._new = new
        self._judged = judged
        self.units: Counter[Any] = Counter()
        self.fills: Counter[Any] = Counter()
        self.whole: dict[str, Counter[Any]] = {}
        #: asks a display for a password, and which ones ask for none?
        self.unlocked = _unlocked(root)
        self.locked = root.find("devices/graphics[@passwd]") is not None and not self._open(
            "devices/graphics", "@passwd", None
        )
        domain = _places.at(rules.opened)
        self._unit(".", *self._own(domain, root))
        for top in root:
            place = domain.inner[top.tag]
            if place.path == "metadata":
                self._metadata(top)
            elif place.path == "devices":
                for device in top:
                    if not _is_twin(device):
                        self._add(place.inner[device.tag], device)
                self._unit("devices", self._own(place, top)[0], ())
            else:
                self._add(place, top)

    def parts(self) -> Counter[_Part]:
        """All of it, one by one."""
        found: Counter[_Part] = Counter(fill for _, fill in self.fills.elements())
        for unit in self.units.elements():
            found.update(_parts(unit))
        return found

    def _add(self, place: _Place, element: Any) -> None:
        if place.may_go:
            self.whole.setdefault(place.path, Counter())[_flat(element)] += 1
        fills: list[_Part] = []
        self._unit(place.path, self._flat(place, element, fills), fills)

    def _unit(self, path: str, flat: Any, fills: Iterable[_Part]) -> None:
        if flat:
            self.units[flat] += 1
        for fill in fills:
            self.fills[flat or path, fill] += 1

    def _metadata(self, element: Any) -> None:
        for entry in element:
            if not entry.tag.startswith(_OPEN_TAGS) and "other" not in self._rules.may:
                self.units["metadata", (("metadata", PRESENCE, None),), (_flat(entry),)] += 1

    def _own(self, place: _Place, element: Any) -> tuple[Any, tuple[_Part, ...]]:
        """The guarded values of an element by itself, or None; and those that may be filled."""
        own, fills = self._judge(place, element.items(), (element.text or "").strip())
        return (place.path, own, ()) if own else None, fills

    def _judge(
        self, place: _Place, items: list[tuple[str, str]], text: str
    ) -> tuple[tuple[_Part, ...], tuple[_Part, ...]]:
        path, kinds = place.path, place.kinds
        slots: list[tuple[str, str | None, _Rows]] = []
        for name, word in items:
            rows = kinds[name]
            if rows is not None:
                slots.append((f"@{name}", _without_bus(path, name, word), rows))
        if len(slots) > 1:
            slots.sort(key=_slot)
        presence = kinds[PRESENCE]
        if presence is not None:
            slots.insert(0, (PRESENCE, None, presence))
        if text and (rows := kinds[TEXT]) is not None:
            slots.append((TEXT, text, rows))
        if not slots:
            return (), ()
        own: list[_Part] = []
        fills: list[_Part] = []
        asks = self._new or bool(self._rules.may)
        for slot, value, (every, some) in slots:
            if (asks or "any" in some or path == ".") and self._open(path, slot, value):
                continue
            if "keep" in every or "keep" in some and is_harmless(path, slot, value, "keep"):
                fills.append((path, slot, None if value else ""))  # what is empty does not keep it
            elif "fill" in every or "fill" in some and is_harmless(path, slot, value, "fill"):
                fills.append((path, slot, value))
            else:
                own.append((path, slot, value))
        return tuple(own), tuple(fills)

    def _open(self, path: str, slot: str, value: str | None) -> bool:
        if path == "." and slot == PRESENCE:
            return True
        opened = self._rules.opened
        if is_harmless(path, slot, value, opened=opened) or (
            self._new and is_harmless(path, slot, value, "new")
        ):
            return True
        return bool(self._rules.may) and kind_of(path, slot, value) in self._rules.may

    def _flat(self, place: _Place, element: Any, fills: list[_Part]) -> Any:
        items, text = element.items(), element.text
        text = text.strip() if text else ""
        key = (place, text, *items)
        judged = self._judged.get(key)
        if judged is None:
            judged = self._judged[key] = self._judge(place, items, text)
        own, filled = judged
        if filled:
            fills += filled
        inner = []
        places = place.inner
        for child in element:
            flat = self._flat(places[child.tag], child, fills)
            if flat is not None:
                inner.append(flat)
        return (place.path, own, tuple(inner)) if own or inner else None


def _is_twin(device: Any) -> bool:
    """Is it the first console, which libvirt makes of the first serial port, and says nothing else?"""
    if device.tag != "console" or device.getparent().find("console") is not device:
        return False
    serial = device.getparent().find("serial")
    if serial is None or _connected(device) != _connected(serial):
        return False
    target = device.find("target")
    if target is not None and target.get("type", "serial") != "serial":
        return False
    aliases = [_flat(alias) for alias in serial.iterchildren("alias")]
    return (
        all(serial.get(name) == value for name, value in device.items())
        and all(child.tag in _OF_A_TWIN for child in device)
        and all(_flat(alias) in aliases for alias in device.iterchildren("alias"))
    )


#: What stands in a console that is a serial port.
_OF_A_TWIN = frozenset(("source", "protocol", "log", "target", "alias"))


def _connected(device: Any) -> Any:
    parts = [_flat(child) for child in device.iterchildren("source", "protocol", "log")]
    return device.get("type"), parts


def _unlocked(root: Any) -> Counter[str]:
    """The displays on a network that ask for no password, by type."""
    return Counter(
        display.get("type")
        for display in root.iterfind("devices/graphics")
        if display.get("type") in _ON_A_NETWORK
        and not display.get("passwd")
        and display.find("listen[@type='none']") is None
    )


_ON_A_NETWORK = frozenset(("vnc", "spice", "rdp"))


def _without_bus(path: str, name: str, value: str) -> str:
    """A disk's name without what its bus says: with the bus ``vda`` becomes ``sda``, and is the same disk."""
    if path != "devices/disk/target" or name != "dev":
        return value
    number = letters(value)
    return value if number is None else f"\N{NULL}{number}"


def _parts(flat: Any) -> Iterator[_Part]:
    _, own, inner = flat
    yield from own
    for child in inner:
        if len(child) == 3:
            yield from _parts(child)


def _touched(old: _Guarded, new: _Guarded) -> set[_Part]:
    """What differs and may not."""
    gone, come = old.units - new.units, new.units - old.units
    lost = old.fills - new.fills
    for path, units in old.whole.items():
        left = new.whole.get(path, Counter())
        if not left - units:  # some went, and none of the others changed
            for unit in [unit for unit in gone if unit[0] == path]:
                del gone[unit]
            for key in [key for key in lost if key[1][0].startswith(path)]:
                del lost[key]
    parts_gone = Counter(part for unit in gone.elements() for part in _parts(unit))
    parts_come = Counter(part for unit in come.elements() for part in _parts(unit))
    touched = set((parts_gone - parts_come) + (parts_come - parts_gone))
    if not touched and (gone or come):  # the same parts in other places
        touched = {part for unit in (*gone, *come) for part in _parts(unit)}
    return touched | {fill for _, fill in lost}


def _flat(element: Any, without: str = "") -> Any:
    inner = tuple([_flat(child) for child in element.iterchildren("*") if child.tag != without])
    return element.tag, tuple(sorted(element.items())), (element.text or "").strip(), inner


# --- only some elements ------------------------------------------------------------------------


def _check_elements(before: Any, after: Any, elements: tuple[str, ...]) -> None:
    """The rest of both documents has to be the same: what may change is taken out of both.

    :raises PolicyError: it is not
    """
    for tree in (before, after):
        for metadata in tree.findall("metadata"):
            for entry in list(metadata):
                if entry.tag.startswith(_OPEN_TAGS):
                    metadata.remove(entry)
        for path in elements:
            for element in tree.findall(path):
                element.getparent().remove(element)
        _prune(tree)
    touched = sorted(set(_differing(_flat(before), _flat(after), "")))
    if touched:
        raise PolicyError(
            f"this caller may not change {', '.join(map(repr, touched[:10]))}",
            hint="the service's policy file says which elements",
        )


def _prune(element: Any) -> None:
    """Take out what is empty once the elements that may change are gone, such as ``<devices>``."""
    for child in list(element):
        _prune(child)
        if not len(child) and not child.attrib and not (child.text or "").strip() and child.tag in _SECTIONS:
            element.remove(child)


_SECTIONS = frozenset(("devices", "metadata", "cputune", "numatune", "memtune", "clock", "pm"))


def _differing(old: Any, new: Any, path: str) -> Iterator[str]:
    if old == new:
        return
    here = f"{path}/{old[0]}"
    if old[:3] != new[:3] or old[0] != new[0]:
        yield here
    rest_old, rest_new = Counter(old[3]), Counter(new[3])
    gone, come = list((rest_old - rest_new).elements()), list((rest_new - rest_old).elements())
    for before in gone:
        after = next((child for child in come if child[0] == before[0]), None)
        if after is None:
            yield f"{here}/{before[0]}"
        else:
            come.remove(after)
            yield from _differing(before, after, here)
    yield from (f"{here}/{child[0]}" for child in come)
    if not gone and not come and old[3] != new[3]:
        yield here  # in another order
