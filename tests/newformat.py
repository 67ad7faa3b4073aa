# SPDX-License-Identifier: GPL-2.0-or-later
"""The shipped model of the newest libvirt, and what is new in it: ./dev schema

    tests/newformat.py DIRECTORY VERSION

Writes virtProfile/format/data/baseline.json from the schemas in DIRECTORY, and docs/new-format.md: each element,
attribute and value that libvirt of Debian 12 or 13 does not have, with what the curated facts say of
it. Where several elements may stand and no fact says what identifies each, it is to be decided.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import corpus

from virtProfile.format.compile import compile_directory
from virtProfile.format.compile import main as compile_into
from virtProfile.format.facts import Facts, rows
from virtProfile.format.grammar import Grammar
from virtProfile.format.schema import DATA, PathNode, Schema

TOP = Path(__file__).resolve().parents[1]
BASELINE = Path(DATA, "baseline.json")
DOCUMENT = TOP / "docs" / "new-format.md"
HEAD = """# What is new in libvirt's format

Made by `./dev schema` from the schemas: change that, not this. Elements, attributes and values that the
format of an older libvirt has not, each where it appears first. Of what is inside of something new, only
elements that may stand several times are listed, as it must be decided what identifies each. Profiles may
use all of it; where the host's libvirt does not know it, that is a warning
([0021](decisions/0021-elements-that-only-a-newer-libvirt-has.md)).
"""

#: What of the new things is in a shipped profile, or why in none.
RECOMMENDED = {
    "`firmwareFeatures` of domain capabilities (12.1)": "read by `uefi-secureboot`: where it lists no Secure Boot"
    " nothing is done",
    "`os/varstore`": "in no profile: libvirt chooses it with the firmware, as it does nvram, and a path is"
    " for the host to say; `uefi` asks for `firmware='efi'` on aarch64, too",
    "`driver/@iommufd`, `iommufd`": "in no profile: it takes Linux 6.6 and QEMU 9.0 on the host, which is not"
    " in domain capabilities, and a guest behaves the same; `locked-memory-limit` reckons as without it",
    "`target/@bus=nvme`": "in no profile: slower than virtio-blk, no driver of Windows or Linux needs it where"
    " SATA or USB are, and older hosts refuse the VM; `windows-arm` takes USB",
    "`hyperv/@mode=host-model` (11.9)": "`hyperv-host-model`, where domain capabilities have the defaults that"
    " came with it; `windows-hyperv` leaves such a VM alone",
    "`acpi/@nodeset` of devices": "in no profile: it describes a device of the host with memory of its own"
    " (GPUs of the Grace family), whose number of nodes is not in the host's documents",
    "`launchSecurity/@type=tdx`": "`tdx`",
    "`launchSecurity/@type=sev-snp` (10.5)": "`sev-snp`",
    "`devices/memory/driver`, `iommu/@model=amd`": "in no profile: `iommu` keeps Intel's, which KubeVirt and"
    " RHEL's guides use and every guest has a driver for",
}


def shipped() -> Schema:
    """The model as it is written down now."""
    return Schema(Grammar(json.loads(BASELINE.read_bytes()), "baseline"), Facts.load(DATA))


def of_source(version: str) -> Schema:
    """The format of a libvirt whose source was fetched."""
    source = corpus.directory(version)
    assert source is not None, f"./dev corpus fetches libvirt {version}"
    directory = source / "src" / "conf" / "schemas"
    return Schema(Grammar(compile_directory(directory), version), Facts.load(DATA))


def paths(schema: Schema) -> dict[str, str]:
    """Every element, attribute and word of a closed list -> how many there may be, or its type."""
    found: dict[str, str] = {}
    for node in schema.walk():
        if "mirror" in node.path.split("/"):
            continue  # what a running job shows
        found[node.path] = "many" if node.many else "one"
        for name, kind in node.attrs.items():
            found[f"{node.path}/@{name}"] = kind.kind
            if kind.values and kind.kind == "enum":
                found.update({f"{node.path}/@{name}={word}": "value" for word in kind.values})
    return found


def new_in(old: Schema, new: Schema) -> Iterator[tuple[str, str]]:
    """(path, kind) of what the newer has more: the outermost, and whatever there may be several of in it."""
    before, after = paths(old), paths(new)
    more = {path for path in after if path not in before}
    for path in sorted(more):
        above = path.partition("=")[0]
        parents = (above[:at] for at in range(len(above)) if above[at] == "/")
        inside = any(parent in more for parent in parents) or (above != path and above in more)
        if not inside or after[path] == "many":
            yield path, after[path]
    for path in sorted(set(before) & set(after)):
        if before[path] != after[path] and {before[path], after[path]} == {"one", "many"}:
            yield path, f"{after[path]}, was {before[path]}"


def decided(path: str, kind: str, schema: Schema) -> str:
    """What the curated facts say of several elements of a path; "" where there is nothing to say."""
    if not kind.startswith("many"):
        return ""
    keyed = {way for way, *_ in rows(f"{DATA}/keys.tsv")}
    if path in keyed or any("*" in way for way in keyed if _ends(path, way)):
        key = node_at(schema, path).key
        return f"identified by {' + '.join(key)}" if key else "no key: identified by what they hold"
    return "**to be decided**: what identifies each"


def _ends(path: str, pattern: str) -> bool:
    return pattern.startswith("*/") and path.endswith(pattern[1:])


def node_at(schema: Schema, path: str) -> PathNode:
    node: PathNode | None = schema.root
    for tag in path.split("/"):
        assert node is not None
        node = node.child(tag)
    assert node is not None, path
    return node


def document() -> str:
    """docs/new-format.md as it should be."""
    chain = [of_source(version) for version in corpus.versions()] + [shipped()]
    names = [*corpus.versions(), json.loads(BASELINE.read_bytes())["name"].removeprefix("libvirt ")]
    lines = [HEAD]
    for at in range(1, len(chain)):
        lines.append(
            f"\n## libvirt {names[at]}, not {names[at - 1]}\n\n| new | kind | facts |\n|---|---|---|\n"
        )
        for path, kind in new_in(chain[at - 1], chain[at]):
            lines.append(f"| `{path}` | {kind} | {decided(path, kind, chain[at])} |\n")
    lines.append("\n## In the shipped profiles\n\n| new | where, or why not |\n|---|---|\n")
    lines += [f"| {what} | {where} |\n" for what, where in RECOMMENDED.items()]
    return "".join(lines)


def main() -> None:
    directory, version = sys.argv[1:]
    before = shipped()
    compile_into([directory, f"libvirt {version}", str(BASELINE)])
    for path, kind in new_in(before, shipped()):
        print(f"new: {path} ({kind})")
    DOCUMENT.write_text(document())
    undecided = DOCUMENT.read_text().count("to be decided")
    print(f"{DOCUMENT}: {undecided} to be decided")


if __name__ == "__main__":
    main()
