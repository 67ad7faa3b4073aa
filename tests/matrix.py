# SPDX-License-Identifier: GPL-2.0-or-later
"""Every shipped profile and every pair, applied, validated and defined on QEMU: docs/compatibility.md

Run by ``./dev matrix``. x86 definitions go to an embedded QEMU driver, those of arches
whose emulator is absent are judged by libvirt's schema alone. Ends with 1 where anything
but "works", "not applicable" or a conflict by design came out.
"""

from __future__ import annotations

import itertools
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

import library  # noqa: E402
import libvirt  # noqa: E402
from library import NAMES, apply, context, definition  # noqa: E402

from virtProfile import ProfileError  # noqa: E402
from virtProfile.live.connection import Connection  # noqa: E402

KEPT = library.ROOT / ".cache" / "embedded"
PAGE = library.ROOT / "docs" / "compatibility.md"
BASES = {"pc": "x86_64", "q35": "x86_64", "sketch": "x86_64", "virt": "aarch64", "s390x": "s390x"}
#: What only some hosts have; with nothing known of the host, libvirt's schema judges alone.
SPECIAL = {
    "sev": "needs an EPYC host with SEV",
    "sev-snp": "needs an EPYC host with SEV-SNP",
    "tdx": "needs a Xeon host with TDX",
}
#: What an existing VM may be told that it cannot have: a device without its bus, a VM without UEFI.
REFUSALS = ("completion", "cardinality", "cycle")
VMS = {path.stem: path.read_text() for path in sorted((library.ROOT / "tests/data/vms").glob("*.xml"))}
EMULATORS = {"x86_64": "qemu-system-x86_64", "aarch64": "qemu-system-aarch64", "s390x": "qemu-system-s390x"}


class Matrix:
    """Outcomes by base and profiles; `bad` has what must not be."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.bad: list[str] = []
        self.defined: set[str] = set()

    def base(self, name: str) -> str:
        xml = definition(name)
        if name == "sketch":
            return xml.replace(
                "<devices>", "<os>\n    <type arch='x86_64'>hvm</type>\n  </os>\n  <devices>", 1
            )
        # Another arch's guests are emulated here.
        return xml if BASES[name] == "x86_64" else xml.replace("'kvm'", "'qemu'", 1)

    def existing(self, names: tuple[str, ...]) -> str:
        """What comes of VMs that libvirt keeps, with --override: the outcomes, each with its number."""
        found = Counter(self.outcome("", names, False, VMS[vm]) for vm in sorted(VMS))
        return ", ".join(f"{number} {what}" for what, number in found.most_common())

    def outcome(self, base: str, names: tuple[str, ...], known: bool, vm: str = "") -> str:
        xml = vm or self.base(base)
        options: dict[str, Any] = {"context": context()} if known else {}
        if vm:
            base = "an existing VM"
            options["override"] = True
        try:
            result = apply(xml, names, record=False, **options)
        except ProfileError as problem:
            if problem.code in ("conflict", "check") or vm and problem.code in REFUSALS:
                return "conflict" if problem.code in ("conflict", "check") else "refused, and why"
            self.bad.append(f"{' + '.join(names)} on {base}: {problem}")
            return problem.code
        if not library.is_valid(result.xml):
            self.bad.append(f"{' + '.join(names)} on {base}: not valid")
            return "not valid"
        special = not known and any(name in SPECIAL for name in names)
        if (
            shutil.which(EMULATORS[BASES.get(base, "x86_64")])
            and not special
            and result.xml not in self.defined
        ):
            try:
                flags = libvirt.VIR_DOMAIN_DEFINE_VALIDATE
                self.handle.defineXMLFlags(result.xml, flags).undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
            except libvirt.libvirtError as problem:
                self.bad.append(f"{' + '.join(names)} on {base}: libvirt: {problem}")
                return "refused"
            self.defined.add(result.xml)
        if result.changed:
            return "works"
        return "not applicable" if result.skipped else "nothing to do"


def reason(one: str, other: str) -> str:
    """Why a pair is a conflict, as the program tells it."""
    for base in BASES:
        try:
            apply(definition(base), [one, other])
        except ProfileError as problem:
            paths = list(
                dict.fromkeys(conflict.path or "by their own word" for conflict in problem.conflicts)
            )
            return "; ".join(path.removeprefix("/domain/") for path in paths[:3])
    return ""


def page(matrix: Matrix) -> str:
    lines = [
        "# Which profiles go together",
        "",
        "Written by `./dev matrix`: each profile alone and in pairs, on definitions of four machines and a sketch,",
        "applied, validated by libvirt's schema, and defined on libvirt's QEMU driver where the emulator is",
        f"installed (here: {', '.join(arch for arch, name in EMULATORS.items() if shutil.which(name))}).",
        '"No context" is without anything known about the host or the guest OS.',
        "",
        "## Alone",
        "",
        "| profile | " + " | ".join(BASES) + " | no context | existing VM, --override |",
        "|---" * (len(BASES) + 3) + "|",
    ]
    for name in NAMES:
        cells = [matrix.outcome(base, (name,), True) for base in BASES]
        bare = {matrix.outcome(base, (name,), False) for base in BASES}
        told = "works" if "works" in bare else " ".join(sorted(bare))
        if name in SPECIAL:
            told += f", {SPECIAL[name]}"
        lines.append(f"| {name} | {' | '.join(cells)} | {told} | {matrix.existing((name,))} |")
    counts: Counter[str] = Counter()
    clashes: dict[tuple[str, str], list[str]] = {}
    converted: Counter[str] = Counter()
    for number, pair in enumerate(itertools.combinations(NAMES, 2)):
        vm = sorted(VMS)[number % len(VMS)]
        converted[matrix.outcome("", pair, False, VMS[vm])] += 1
        for base in BASES:
            found = matrix.outcome(base, pair, True)
            counts[found] += 1
            if found == "conflict":
                clashes.setdefault(pair, []).append(base)
    total = sum(counts.values())
    lines += [
        "",
        "## In pairs",
        "",
        f"{total} pairs on definitions: "
        + ", ".join(f"{n} {what}" for what, n in counts.most_common())
        + ".",
        "",
        f"Each pair with --override on one of {len(VMS)} existing VMs, in turn: "
        + ", ".join(f"{n} {what}" for what, n in converted.most_common())
        + ".",
        "",
        "These conflict by design, about what is named; all others go together.",
        "",
        "| profile | and | on | about |",
        "|---|---|---|---|",
    ]
    for (one, other), where in clashes.items():
        lines.append(f"| {one} | {other} | {', '.join(where)} | {reason(one, other)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    root = tempfile.mkdtemp(prefix="vp-", dir="/tmp")
    for part in ("etc", "cache"):  # what the tests' driver has asked QEMU already, which takes minutes
        if (KEPT / part).is_dir():
            shutil.copytree(KEPT / part, Path(root, part))
    try:
        with Connection(f"qemu:///embed?root={root}") as connection:
            matrix = Matrix(connection.handle)
            text = page(matrix)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    for one in matrix.bad:
        print(one, file=sys.stderr)
    if not matrix.bad:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(text)
        print(PAGE)
    return 1 if matrix.bad else 0


if __name__ == "__main__":
    sys.exit(main())
