# SPDX-License-Identifier: GPL-2.0-or-later
"""Every shipped profile and every pair, applied, validated and defined on QEMU: docs/compatibility.md

Run by ``./dev matrix``. x86 definitions go to an embedded QEMU driver, those of arches
whose emulator is absent are judged by libvirt's schema alone. Ends with 1 where anything
but "works", a conflict by design, or nothing for a reason that is given came out.
"""

from __future__ import annotations

import itertools
import re
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

from virtProfile import ProfileError, Result  # noqa: E402
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
        #: profiles -> why they do not run -> where
        self.reasons: dict[tuple[str, ...], dict[str, list[str]]] = {}
        #: (where, profile) where the profile alone runs
        self.running: set[tuple[str, str]] = set()

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
        found = Counter(self.outcome(vm, names, False, VMS[vm]) for vm in sorted(VMS))
        return ", ".join(f"{number} {what}" for what, number in found.most_common())

    def outcome(self, base: str, names: tuple[str, ...], known: bool, vm: str = "") -> str:
        """What comes of profiles on a definition, or on an existing VM, with --override; noted where it is not
        "works".

        :param known: with what a host tells of itself
        """
        where = base if known or vm else f"{base} without context"
        try:
            result = apply(
                vm or self.base(base),
                names,
                record=False,
                override=bool(vm),
                **({"context": context()} if known else {}),
            )
        except ProfileError as problem:
            if problem.code not in ("conflict", "check", *(REFUSALS if vm else ())):
                self.bad.append(f"{' + '.join(names)} on {where}: {problem}")
                return problem.code
            self.note(names, about(problem), where)
            return "conflict" if problem.code in ("conflict", "check") else "refused, and why"
        wrong = self.judge(result, base, names, known)
        if wrong:
            self.bad.append(f"{' + '.join(names)} on {where}: {wrong}")
            return "refused"
        if result.changed:
            if len(names) == 1:
                self.running.add((where, names[0]))
            return "works"
        why = idle(result)
        if not why:
            self.bad.append(f"{' + '.join(names)} on {where}: nothing comes of it, and no reason is given")
        self.note(names, why, where)
        return "not applicable" if result.skipped else "nothing to do"

    def judge(self, result: Result, base: str, names: tuple[str, ...], known: bool) -> str:
        """What libvirt has against it: its schema, and QEMU's driver where there is the emulator."""
        if not library.is_valid(result.xml):
            return "not valid"
        special = not known and any(name in SPECIAL for name in names)
        emulator = shutil.which(EMULATORS[BASES.get(base, "x86_64")])
        if emulator and not special and result.xml not in self.defined:
            try:
                flags = libvirt.VIR_DOMAIN_DEFINE_VALIDATE
                self.handle.defineXMLFlags(result.xml, flags).undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
            except libvirt.libvirtError as problem:
                return f"libvirt: {problem}"
            self.defined.add(result.xml)
        return ""

    def note(self, names: tuple[str, ...], why: str, where: str) -> None:
        self.reasons.setdefault(names, {}).setdefault(why, []).append(where)

    def explained_alone(self, pair: tuple[str, ...], where: str) -> bool:
        """Does neither of the pair run there alone?"""
        return not any((where, name) in self.running for name in pair)


def plain(text: str) -> str:
    """A reason without the place in the file and the name of the profile, fit for a table."""
    text = re.sub(r"^profile '[^']*' has no effect: ", "", text)
    return re.sub(r" at \S+:\d+", "", text).replace("<match>", "`<match>`").replace("|", "\\|")


def idle(result: Result) -> str:
    """Why nothing comes of it, as the program gives it."""
    found = [plain(skipped.detail) for skipped in result.skipped]
    found += [plain(warning.message) for warning in result.warnings if warning.code == "no-effect"]
    if any(applied.effect == "held" for applied in result.applied):
        found.append("the VM has it already")
    return "; ".join(dict.fromkeys(found))


def about(problem: ProfileError) -> str:
    """What a conflict is about, or why a call is refused."""
    paths = [conflict.path or "declared in the profile" for conflict in problem.conflicts]
    if not paths:
        return plain(problem.message)
    return "; ".join(list(dict.fromkeys(path.removeprefix("/domain/") for path in paths))[:3])


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
        seen = "works" if "works" in bare else " ".join(sorted(bare))
        if name in SPECIAL:
            seen += f", {SPECIAL[name]}"
        lines.append(f"| {name} | {' | '.join(cells)} | {seen} | {matrix.existing((name,))} |")
    alone = dict(matrix.reasons)
    lines += [
        "",
        "## Why not everywhere",
        "",
        'What the program itself gives as the reason, for each cell above that is not "works".',
        "",
        "| profile | on | why |",
        "|---|---|---|",
    ]
    for (name,), reasons in alone.items():
        lines += [f"| {name} | {', '.join(where)} | {why} |" for why, where in reasons.items()]
    return "\n".join([*lines, *pairs(matrix)]) + "\n"


def pairs(matrix: Matrix) -> list[str]:
    """The part about pairs."""
    counts: Counter[str] = Counter()
    converted: Counter[str] = Counter()
    matrix.reasons = {}
    other: list[str] = []
    for number, pair in enumerate(itertools.combinations(NAMES, 2)):
        vm = sorted(VMS)[number % len(VMS)]
        outcomes = {base: matrix.outcome(base, pair, True) for base in BASES}
        counts.update(outcomes.values())
        outcomes[vm] = matrix.outcome(vm, pair, False, VMS[vm])
        converted[outcomes[vm]] += 1
        for where, found in outcomes.items():
            if found in ("not applicable", "nothing to do") and not matrix.explained_alone(pair, where):
                given = next(why for why, places in matrix.reasons[pair].items() if where in places)
                other.append(f"| {pair[0]} | {pair[1]} | {where} | {given} |")
            elif found in ("conflict", "refused, and why"):
                continue
            if found != "works":
                matrix.reasons[pair] = {
                    why: [place for place in places if place != where]
                    for why, places in matrix.reasons[pair].items()
                }
    lines = [
        "",
        "## In pairs",
        "",
        f"{sum(counts.values())} pairs on definitions: "
        + ", ".join(f"{n} {what}" for what, n in counts.most_common())
        + ".",
        "",
        f"Each pair with --override on one of {len(VMS)} existing VMs, in turn: "
        + ", ".join(f"{n} {what}" for what, n in converted.most_common())
        + ".",
        "",
        'Of a pair that is "not applicable" or has "nothing to do", neither profile runs there alone, for the',
        "reason above" + ("." if not other else ", but for these:"),
    ]
    if other:
        lines += ["", "| profile | and | on | why |", "|---|---|---|---|", *other]
    lines += [
        "",
        "These conflict by design, about what is named; all others go together.",
        "",
        "| profile | and | on | about |",
        "|---|---|---|---|",
    ]
    for (one, two), reasons in matrix.reasons.items():
        for why, places in reasons.items():
            if places:
                lines.append(f"| {one} | {two} | {', '.join(places)} | {why} |")
    return lines


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
