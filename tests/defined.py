# SPDX-License-Identifier: GPL-2.0-or-later
"""What libvirt makes of the same domains at define, on two versions of it: ./dev differences

The documents are libvirt's own of both source packages (x86 guests), the existing VMs of the
tests and every form of tests/probing.py. What this host's QEMU driver makes of them is written
to .cache/defined/VERSION.json; where another version wrote the same (``./dev platform trixie
differences``), the table in docs/platforms.md is made of both.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import corpus
import probing
from lxml import etree

TOP = Path(__file__).resolve().parents[1]
VMS = Path(__file__).parent / "data" / "vms"
RECORDED = TOP / ".cache" / "defined"
DOCUMENT = TOP / "docs" / "platforms.md"
BEGIN, END = "<!-- differences: ./dev differences -->\n", "<!-- end of differences -->\n"
X86 = "/usr/bin/qemu-system-x86_64"
#: Names of a version of QEMU or of libvirt, which every release changes.
NEWEST = re.compile(r"\b(pc-q35|pc-i440fx|microvm|virt)-\d+\.\d+\b")
#: Given anew at each define.
RANDOM = {"uuid", "genid", "interfaceid", "instanceid"}

Slots = Counter[tuple[str, str]]


def documents() -> Iterator[tuple[str, str]]:
    """(name, domain) of all that is defined."""
    seen: set[str] = set()
    for version in corpus.versions():
        for path, text in corpus.documents(version):
            if "xml" not in path.parent.name or "-invalid" in path.name or path.name in seen:
                continue  # an older libvirt crashes on some of the newer's invalid ones
            root = etree.fromstring(text.encode(), etree.XMLParser(resolve_entities=False))
            kind = root.find("os/type")
            if root.get("type") not in ("qemu", "kvm") or kind is None:
                continue
            if kind.get("arch", "x86_64") != "x86_64":
                continue
            for emulator in root.iterfind("devices/emulator"):
                emulator.text = X86
            seen.add(path.name)
            yield f"{path.parent.name}/{path.name}", etree.tostring(root, encoding="unicode")
    for path in sorted(VMS.glob("*.xml")):
        yield f"vms/{path.name}", path.read_text()
    for one in probing.DISCRIMINATORS:
        for value in one.forms:
            yield f"{one.name}={value}", one.domain(one.form(value))


def record() -> None:
    """Writes what libvirt made of each document, or "refused: why", as JSON.

    In a process of its own, and with nothing parsed between two defines: one in which libvirt 9.0
    defined these documents crashed in its garbage collector later.
    """
    import libvirt

    asked = list(documents())

    libvirt.registerErrorHandler(lambda *_: None, None)
    libvirt.virEventRegisterDefaultImpl()
    made: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="vp-") as place:
        handle = libvirt.open(f"qemu:///embed?root={probing.embedded(Path(place))}")
        for name, text in asked:
            try:
                domain = handle.defineXML(text)
            except libvirt.libvirtError as problem:
                made[name] = f"refused: {problem}"
                continue
            flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
            made[name] = domain.XMLDesc(flags).replace(place, "")
            domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM)
        version = probing.version_of(handle)
        handle.close()
    RECORDED.mkdir(parents=True, exist_ok=True)
    target = RECORDED / f"{version}.json"
    target.write_text(json.dumps(made, indent=0))
    refused = sum(text.startswith("refused") for text in made.values())
    print(f"libvirt {version}: {len(made)} documents, {refused} refused: {target}")


def slots(text: str) -> Slots:
    """(path, value) of every element and attribute; an address as a whole."""
    found: Slots = Counter()

    def walk(element: Any, way: str) -> None:
        if not isinstance(element.tag, str) or element.tag in RANDOM:
            return
        way += "/" + etree.QName(element).localname
        if element.tag == "address" and element.get("type"):
            found[way, " ".join(f"{name}={value}" for name, value in sorted(element.attrib.items()))] += 1
            return
        found[way, (element.text or "").strip()] += 1
        for name, value in element.attrib.items():
            if name not in RANDOM and not (element.tag == "mac" and name == "address"):
                found[f"{way}/@{name}", value] += 1
        for below in element:
            walk(below, way)

    for part in etree.fromstring(NEWEST.sub(r"\1", text).encode()):
        walk(part, "")
    return Counter({(way[1:], value): number for (way, value), number in found.items()})


def differences(given: str, old: str, new: str) -> Iterator[tuple[str, str, str]]:
    """(kind, path or reason, values) of one document."""
    refused = [text.startswith("refused") for text in (old, new)]
    if any(refused):
        if not all(refused):
            reason = re.sub(r"'/[^']*'|'pc-[^']*'", "…", (old if refused[0] else new)[9:])
            yield "taken" if refused[0] else "refused", reason, ""
        return
    before, after = slots(old), slots(new)
    gone, come = before - after, after - before
    there = {path for path, _ in (*gone, *come)}
    said = {path for path, _ in slots(given)}
    for path in sorted(there):
        olds = sorted({value for way, value in gone if way == path})
        news = sorted({value for way, value in come if way == path})
        if any(
            path.startswith(above + "/") and bool(news) == any(way == above for way, _ in come)
            for above in there
        ):
            continue  # it comes and goes with what it is in
        if olds and news:
            yield "other", path, f"{' '.join(olds)} → {' '.join(news)}"
        elif news:
            yield "kept" if path in said else "written", path, " ".join(news)
        else:
            yield "dropped" if path in said else "not written", path, " ".join(olds)


TITLES = {
    "written": "Written by the newer, without being asked",
    "not written": "Written by the older alone",
    "other": "Another value, address or order",
    "kept": "Kept by the newer, dropped by the older",
    "dropped": "Dropped by the newer, kept by the older",
    "refused": "Refused by the newer alone",
    "taken": "Refused by the older alone",
}


def table(old: Path, new: Path) -> str:
    """The differences of two recordings, as Markdown; documents and one of them for each."""
    before, after = json.loads(old.read_text()), json.loads(new.read_text())
    found: dict[tuple[str, str], tuple[set[str], list[str]]] = {}
    number = 0
    for name, given in documents():
        if name in before and name in after:
            number += 1
            for kind, path, values in differences(given, before[name], after[name]):
                entry = found.setdefault((kind, path), (set(), []))
                entry[0].add(values)
                entry[1].append(name)
    lines = [f"libvirt {old.stem} and {new.stem} on {number} documents.\n"]
    for kind, title in TITLES.items():
        rows = [(path, *entry) for (other, path), entry in found.items() if other == kind]
        if not rows:
            continue
        lines += [f"\n### {title}\n", "\n| what | value | documents | one of them |\n|---|---|---|---|\n"]
        for path, seen, names in sorted(rows, key=lambda row: (-len(row[2]), row[0])):
            value = sorted(seen)[0] if len(seen) == 1 else f"{len(seen)} different"
            cells = [path if kind in ("refused", "taken") else f"`{path}`", value, str(len(names)), names[0]]
            lines.append(
                "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |\n"
            )
    return "".join(lines)


def main() -> None:
    if sys.argv[1:] == ["record"]:
        record()
        return
    subprocess.run([sys.executable, __file__, "record"], check=True)
    recorded = sorted(RECORDED.glob("*.json"), key=lambda path: [int(part) for part in path.stem.split(".")])
    if len(recorded) < 2 or not DOCUMENT.exists():
        print("no table: there is no recording of another version", file=sys.stderr)
        return
    text = DOCUMENT.read_text()
    head, _, rest = text.partition(BEGIN)
    DOCUMENT.write_text(head + BEGIN + table(recorded[0], recorded[-1]) + END + rest.partition(END)[2])
    print(f"differences: {DOCUMENT}")


if __name__ == "__main__":
    main()
