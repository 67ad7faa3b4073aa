# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest objects and domain XML: from one to the other, and back into the same objects.

The engine works on text, callers hold objects. A device is marked with a comment
in the text; where it stands afterwards, its object goes on, with everything that
is not XML: the storage that a disk will create, what ``--xml`` shall do at the end.
"""

from contextlib import contextmanager

from lxml import etree

from virtinst.xmlutil import listify
from virtProfile.engine.devices.virtinst_classes import spaced
from virtProfile.live.device_marks import mark, unmark

#: The attributes in which virtinst keeps the XML side of an object.
_XML_STATE = ("conn", "_propstore", "_xmlstate")


def objects(owner):
    """An object of virtinst and all below it."""
    yield owner
    for name in owner._all_child_props():
        for below in listify(getattr(owner, name)):
            yield from objects(below)


@contextmanager
def without_xml_actions(guest):
    """``--xml`` and its like act at the end only, not on what profiles work on."""
    kept = [(inner, inner.xml_actions) for inner in objects(guest) if inner.xml_actions]
    try:
        for inner, _ in kept:
            inner.xml_actions = []
        yield
    finally:
        for inner, actions in kept:
            inner.xml_actions = actions


def marked(guest):
    """The guest as an lxml tree, each device with a mark, and the devices by mark."""
    with without_xml_actions(guest):
        root = etree.fromstring(guest.get_xml().encode())
    devices: list = []
    elements = root.find("devices")
    for name in guest.devices._all_child_props():
        seen: dict[str, int] = {}
        for device in listify(getattr(guest.devices, name)):
            tag = device.XML_NAME
            at = seen[tag] = seen.get(tag, -1) + 1
            found = [] if elements is None else elements.findall(tag)
            if at < len(found):
                mark(found[at], len(devices))
                devices.append(device)
    return root, devices


def _unmarked(text):
    """The text without marks, and the marks by tag and position."""
    root = etree.fromstring(text.encode())
    marks = unmark(root)
    found = {}
    seen: dict[str, int] = {}
    for device in root.iterfind("devices/*"):
        at = seen[device.tag] = seen.get(device.tag, -1) + 1
        if device in marks:
            found[device.tag, at] = marks[device]
    return etree.tostring(root, encoding="unicode"), found


def adopt(guest, text, devices):
    """Make the guest, and its devices that are still there, what the marked text says.

    :param devices: by mark; an object of a device that has gone is left as it is
    """
    clean, marks = _unmarked(text)
    new = guest.__class__(guest.conn, parsexml=clean)
    _carry(guest, new, lambda tag, at: _marked(devices, marks, tag, at), True)


def clone(guest, text, devices):
    """Another guest, of the marked text, with what `guest` and its devices know besides XML."""
    clean, marks = _unmarked(text)
    new = guest.__class__(guest.conn, parsexml=spaced(clean))
    _carry(guest, new, lambda tag, at: _marked(devices, marks, tag, at), False)
    for inner in objects(new):
        inner.xml_actions = []
    return new


def _marked(devices, marks, tag, at):
    mark = marks.get((tag, at))
    return None if mark is None else devices[mark]


def _carry(old, new, known, keep):
    """What is not XML goes from old to new; with `keep` old then becomes new."""
    theirs = {name: value for name, value in vars(old).items() if name not in _XML_STATE}
    if _other_storage(old, new):
        for name in ("_storage_backend", "_source_volume_err", "storage_was_created"):
            theirs.pop(name, None)
    vars(new).update(theirs)
    for name, prop in new._all_child_props().items():
        if prop.is_single:
            _carry(getattr(old, name), getattr(new, name), known, keep)
            if keep:
                prop.set(new, getattr(old, name))
            continue
        ours = prop._get(new)
        if getattr(new, "XML_NAME", "") == "devices":
            pairs = [(known(inner.XML_NAME, at), at) for at, inner in enumerate(ours)]
        else:
            before = prop._get(old)
            pairs = [(inner, at) for at, inner in enumerate(before)] if len(before) == len(ours) else []
        for inner, at in pairs:
            if inner is not None:
                _carry(inner, ours[at], known, keep)
                if keep:
                    ours[at] = inner
    if keep:
        # One state for both: what holds on to `new` sees the same object.
        old.__dict__ = new.__dict__


def _other_storage(old, new):
    """Is it a disk that shall be somewhere else now?"""
    if not hasattr(old, "_storage_backend"):
        return False
    return (old._get_xmlpath(), old.source.pool, old.source.volume) != (
        new._get_xmlpath(),
        new.source.pool,
        new.source.volume,
    )
