# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes what the documents take from the code: ./dev docs

The rooms and the flow in DESIGN.md, the API reference in docs/api.md, the index of docs/decisions,
the arguments of the Ansible module that mirror options, what profiles were measured to bring.
"""

from __future__ import annotations

import ast
import configparser
import enum
import functools
import inspect
import json
import math
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP))

import virtProfile  # noqa: E402
from virtProfile.apply_options import ansible_arguments  # noqa: E402
from virtProfile.client import Client  # noqa: E402
from virtProfile.show.measured import EMULATED, Measured, figure, read  # noqa: E402

WIDTH = 100
DECISIONS = TOP / "docs" / "decisions"
LENGTHS = DECISIONS / "0194-the-length-of-a-profile.md"
ANSIBLE = TOP / "contrib/ansible/ansible_collections/virt/profile/plugins/modules/virt_profile.py"
API_HEAD = """# Python API

Made from the docstrings by `./dev docs`: change those, not this. Names that start with an underscore,
and modules that are not listed here, may change with every version.
"""
INDEX_HEAD = """# Decisions

What was decided where the language document leaves it open, and why. A decision that no longer holds
stays here and names the one that replaces it. A new one is `NNNN-title.md` with the next number and an
area; `./dev docs` writes this list.
"""


# --- DESIGN.md -----------------------------------------------------------------


def summary(node: ast.AsyncFunctionDef | ast.FunctionDef | ast.ClassDef | ast.Module) -> str:
    """The first line of a docstring, without its full stop."""
    text = ast.get_docstring(node)
    if not text:
        raise SystemExit(f"{getattr(node, 'name', 'a module')} has no docstring")
    return text.splitlines()[0].rstrip(".")


def _layers(contract: str) -> list[list[str]]:
    """The layers of an import contract, top first."""
    parser = configparser.ConfigParser()
    parser.read(TOP / ".importlinter")
    lines = parser[f"importlinter:contract:{contract}"]["layers"].split("\n")
    return [[name.strip() for name in line.split(":")] for line in lines if line.strip()]


def _rooms(package: Path, contract: str, indent: str) -> Iterator[str]:
    for layer in _layers(contract):
        for name in layer:
            folder = package / name
            source = folder / "__init__.py" if folder.is_dir() else package / f"{name}.py"
            label = f"{indent}{name}/" if folder.is_dir() else f"{indent}{name}.py"
            yield f"    {label:<20}{summary(ast.parse(source.read_text()))}"
            if name == "engine":
                yield from _rooms(folder, "engine", indent + "  ")


def rooms() -> str:
    """The rooms of the package as the import contracts order them."""
    return "\n".join(_rooms(TOP / "virtProfile", "rooms", ""))


def flow() -> str:
    """The steps of `engine.flow.run`, in the order in which it calls them."""
    module = ast.parse((TOP / "virtProfile" / "engine" / "flow.py").read_text())
    top = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    steps = {node.name: node for node in top["_Work"].body if isinstance(node, ast.FunctionDef)}
    called = [
        (node.lineno, node.func.attr)
        for node in ast.walk(top["run"])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    names = [name for _, name in sorted(called) if name in steps and name != "without_secrets"]
    return "\n".join(f"    {name:<24}{summary(steps[name])}" for name in names)


def fill(text: str, mark: str, content: str, comment: str = "<!-- {} -->", gap: str = "\n\n") -> str:
    """A document with `content` between the two comments of `mark`."""
    start, end = comment.format(f"{mark}: ./dev docs"), comment.format(f"end of {mark}")
    head, found, rest = text.partition(start)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{mark!r} is not marked in the document")
    return f"{head}{start}{gap}{content}{gap}{end}{tail}"


def design() -> str:
    text = (TOP / "DESIGN.md").read_text()
    return fill(fill(text, "rooms", rooms()), "flow", flow())


# --- docs/api.md -----------------------------------------------------------------


ATTRIBUTES = (property, functools.cached_property)
STARS = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def _default(value: object) -> str:
    return str(value) if isinstance(value, enum.Enum) else repr(value)


def signature(name: str, item: Callable[..., Any]) -> str:
    """A call as it is written in the source; each parameter on a line where it is long."""
    words: list[str] = []
    starred = False
    described = inspect.signature(item)
    for parameter in described.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            words.append("*")
            starred = True
        word = STARS.get(parameter.kind, "") + parameter.name
        starred = starred or parameter.kind is parameter.VAR_POSITIONAL
        if parameter.annotation is not parameter.empty:
            word += f": {parameter.annotation}"
        if parameter.default is not parameter.empty:
            word += f" = {_default(parameter.default)}"
        words.append(word)
    result = described.return_annotation
    end = "" if result in (inspect.Signature.empty, "None") else f" -> {result}"
    line = f"{name}({', '.join(words)}){end}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {word}," for word in words), f"){end}"])


def _prose(text: str) -> Iterator[str]:
    """Text of a docstring, its field list as a list of Markdown's."""
    for line in re.sub(r"``", "`", text).splitlines():
        field = re.match(r":(\w+)( [^:]*)?:\s*(.*)", line)
        if field is None:
            yield line
            continue
        kind, subject, rest = field[1], (field[2] or "").strip(), field[3]
        name = f"`{subject}`" if subject else ""
        yield f"* {f'{kind} {name}'.strip() if kind in ('raises', 'returns') else name}: {rest}"


def _documented(item: object) -> list[str]:
    text = inspect.getdoc(item)
    return [*_prose(text), ""] if text else []


def _members(cls: type) -> Iterator[tuple[str, object]]:
    """What a class itself defines for its users, in the order of the source."""
    for name, member in vars(cls).items():
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, ATTRIBUTES)):
            yield name, member


def _class(name: str, cls: type) -> Iterator[str]:
    yield from (f"## `{name}`", "")
    is_protocol = getattr(cls, "_is_protocol", False)  # nobody makes one
    if (
        "__init__" in vars(cls)
        and not is_protocol
        and inspect.signature(cls).parameters.keys() != {"values", "named"}
    ):
        yield from ("```python", signature(name.rpartition(".")[2], cls), "```", "")
    yield from _documented(cls)
    for member_name, member in _members(cls):
        if inspect.isfunction(member):
            yield from (f"### `{member_name}`", "", "```python", signature(member_name, member), "```", "")
        else:
            yield from (f"### `{member_name}` (attribute)", "")
        yield from _documented(member)


def _errors() -> Iterator[str]:
    """The classes of errors with their codes."""
    from virtProfile import errors

    yield from ("## Errors", "", "Each has a `code`, and the status with which a program exits.", "")
    yield from ("| class | code | exit status | meaning |", "|---|---|---|---|")
    for name, cls in vars(errors).items():
        if inspect.isclass(cls) and issubclass(cls, virtProfile.ProfileError):
            meaning = (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " ").replace("``", "`")
            yield f"| `{name}` | `{cls.code}` | {cls.exit_status} | {meaning} |"
    yield ""


def api() -> str:
    lines = [API_HEAD]
    for name in virtProfile.__all__:
        item = getattr(virtProfile, name)
        if inspect.isclass(item):
            lines += _class(f"virtProfile.{name}", item)
        else:
            lines += [f"## `virtProfile.{name}`", "", "```python", signature(name, item), "```", ""]
            lines += _documented(item)
    lines += _class("virtProfile.client.Client", Client)
    lines += _errors()
    return "\n".join(lines).rstrip() + "\n"


# --- docs/decisions --------------------------------------------------------------


def decisions() -> str:
    """The index, by area in the order of the first decision of each."""
    areas: dict[str, list[str]] = {}
    for path in sorted(DECISIONS.glob("[0-9]*.md")):
        found = re.match(r"# (\d+)\. (.+)\n\nArea: (.+)\n", path.read_text())
        if found is None or f"{int(found[1]):04d}" != path.name[:4]:
            raise SystemExit(f"{path.name}: '# NUMBER. Title' and 'Area: …' are expected first")
        areas.setdefault(found[3], []).append(f"* [{path.name[:4]}]({path.name}) {found[2]}")
    parts = (f"## {area}\n\n" + "\n".join(rows) + "\n" for area, rows in areas.items())
    return "\n".join([INDEX_HEAD, *parts])


def lengths() -> str:
    """How long profiles are: the last column of the table."""

    def now(row: re.Match[str]) -> str:
        lines = (TOP / "profiles" / f"{row[1]}.xml").read_text().splitlines()
        return f"| {row[1]} | {row[2]} | {len(lines)} |"

    return re.sub(r"^\| ([\w.-]+) \| (\d+) \| (\d+) \|$", now, LENGTHS.read_text(), flags=re.M)


# --- the Ansible module ------------------------------------------------------------


def ansible() -> str:
    """The module with the arguments that mirror options: in its documentation, and in Python."""
    documented: list[str] = []
    specified: list[str] = []
    for name, described in ansible_arguments().items():
        documented.append(f"  {name}:")
        documented += [f"    {key}: {_yaml(value)}" for key, value in described.items()]
        spec = ", ".join(f'"{key}": {_literal(described[key])}' for key in described if key != "description")
        specified.append(f'            "{name}": {{{spec}}},')
    text = ANSIBLE.read_text()
    for mark, lines, indent in (
        ("those that mirror an option of virt-profile", documented, "  "),
        ("the same in Python", specified, " " * 12),
    ):
        text = fill(text, mark, "\n".join(lines), indent + "# {}", "\n")
    return text


def _yaml(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _literal(value: object) -> str:
    return repr(value) if isinstance(value, bool) else json.dumps(value)


# --- docs/presets.md ---------------------------------------------------------------


PRESETS_HEAD = """# What profiles bring, measured

Made from virtProfile/show/data/measured.tsv by `./dev docs`; `./dev measure` measures. `virt-profile --info
NAME` has the same figures.

A small Linux guest (Debian's kernel, busybox, fio, iperf3, OpenSSL in an initramfs) with two virtual CPUs
and 1 GiB is started anew for each run, on a raw file of 1 GiB that the host has not in its cache.
`virt-profile` put the profile on the same VM, with `--override` where it converts. Runs with and without take
turns, and who begins changes. fio goes past the guest's cache; iperf3 runs over a tap device and a bridge in
a network namespace of their own, without vhost where the host has none. "Start to a service" is the time from
the call of libvirt to the line on the serial console that says that the guest's HTTP server answers.

The ratio is with / without within a pair: the median, and in brackets the lowest and the highest. It is
called a difference where the median is off by 5 % at least and so many pairs agree as chance brings in fewer
than 5 of 100 measurements (sign test: 7 of 7, 8 of 9). The row "(nothing)" is the VM beside itself.
"""
NOT_MEASURED = """## Not measured

* `hugepages-1g`, `realtime`, `networking-nfv`, `numa-2-nodes`, `mirror-topology`: they need a host that was
  prepared at boot, or has several NUMA nodes.
* `high-performance` and other bundles: what they consist of is measured by itself.
* `windows-hyperv` on Windows, which is not free to run. On KVM a Linux guest takes its place: it uses the
  same switches where KVM's own interface is hidden from it.
* `cpu-host-passthrough` with `arch-capabilities` where the host itself is a VM on AMD: KVM refuses that
  feature of QEMU 7.2 there, so the VM is measured without it.
* `cpu-host-passthrough`, `dedicated-cpu`, `hugepages-2m` and `windows-hyperv` need KVM: they are left out
  where QEMU emulates the CPU, as a figure would mean nothing there. A /dev/kvm without VMX or SVM is software
  too, and boots no kernel that does not know of it in a time that could be measured.
"""


def _measured_row(row: Measured) -> str:
    words = {"better": "**better**", "worse": "**worse**", "none": "no difference", "few": "too few pairs"}
    cells = (
        row.profile if row.version == "-" else f"{row.profile} {row.version}",
        row.beside,
        row.what,
        figure(row.without),
        f"{figure(row.with_profile)} {row.unit}",
        f"{row.ratio:.2f} ({row.low:.2f} to {row.high:.2f})",
        words[row.verdict],
        f"{row.pairs}, {row.date}",
    )
    return f"| {' | '.join(cells)} |"


def presets() -> str:
    """What was measured, a table for each host."""
    lines = [PRESETS_HEAD]
    found = read()
    missing = "Nothing was measured yet: `./dev measure` does, in about 25 minutes.\n"
    for host in dict.fromkeys(row.host for row in found):
        lines += [f"## {host}", ""]
        if any(row.emulated for row in found if row.host == host):
            lines += [f"{EMULATED}. What the host did besides shows in the row (nothing).", ""]
        lines += ["| profile | beside | measured | without | with | ratio | verdict | pairs, date |"]
        lines += ["|---|---|---|---|---|---|---|---|"]
        lines += [_measured_row(row) for row in found if row.host == host]
        gains = {row.profile for row in found if row.host == host and row.verdict == "better"}
        tried = dict.fromkeys(row.profile for row in found if row.host == host and row.version != "-")
        none = [f"`{name}`" for name in tried if name not in gains]
        lines += ["", f"Without gain on this host: {', '.join(none) or 'none of them'}.", ""]
    return "\n".join([*lines, *([] if found else [missing]), NOT_MEASURED])


# --- docs/scale.md -----------------------------------------------------------------


SCALE_HEAD = """# What profiles cost by the number of devices

Made from tests/bench/growth.json by `./dev docs`; `./dev bench curves` counts. A cost is the number of lines
of Python that are run, and for an expression the elements that it may come to: the same on a busy machine
as on an idle one. Counted are an apply with `--override`, which writes the record, a second one, `--status`
and `--unapply all`, on a VM with 100, 1,000 and 10,000 of what the profile changes most, and of six kinds of
devices mixed.

"Growth" is the exponent between the two largest numbers that were counted: at 1.00 ten times as many devices
cost ten times as much, at 2.00 a hundred times. More than 1.15 is a fault, 1.25 up to 1,000 devices:
`tests/bench/growth.py` fails, which CI runs at 100 and 1,000. There no ratio of the two may be more than 15 %
behind this record either. A VM has 600 SATA disks at most.
"Lines" are those of an apply for each device of the largest VM, "memory" is the peak of a process that does
all four there, for each of them. The picture has the median of what was counted at every number.

![Lines for each device by the number of devices](curves.svg)
"""
_OPERATIONS = ("apply", "again", "status", "unapply")


def _grown(costs: dict[str, int]) -> str:
    """The exponent between the two largest numbers of devices."""
    sizes = sorted(map(int, costs))[-2:]
    if len(sizes) < 2:
        return "-"
    few, many = sizes
    return f"{math.log(costs[str(many)] / costs[str(few)]) / math.log(many / few):.2f}"


FLEET_HEAD = """
## Fleets

Made from tests/bench/fleet.json; `./dev bench fleet` measures. One call of the program for so many VMs,
libvirt's own test documents in turn: an apply of rng, fast-disk and guest-agent (`--output DIR`), the status
of VMs that have them, and an audit by the shipped rules. CPU seconds compare where the machine does other
things too; "memory" is of the largest process. "One for each VM" is an apply by a process of its own, from a
few.

| VMs | call | seconds | CPU seconds | VMs a second | memory |
|---|---|---|---|---|---|"""
_FLEET = {
    "apply 1": "apply, `--jobs 1`",
    "apply 2": "apply, `--jobs 2`",
    "status 1": "`--status`",
    "audit 1": "`--audit`",
    "single 1": "one for each VM",
}


def _fleets() -> list[str]:
    """What fleets cost, from the last time they were measured."""
    recorded = json.loads((TOP / "tests" / "bench" / "fleet.json").read_text())
    lines = [FLEET_HEAD]
    for size, rows in recorded["sizes"].items():
        for call, words in _FLEET.items():
            name, jobs = call.split(" ")
            row = rows[name][jobs]
            rate = int(size) / row["seconds"]
            cells = [f"{int(size):,}", words, f"{row['seconds']:.0f}", f"{row['cpu']:.0f}", f"{rate:.0f}"]
            lines.append(f"| {' | '.join(cells)} | {row['mib']:.0f} MiB |")
    return lines


def scale() -> str:
    """What each profile costs by the number of devices, and a fleet by its size, from the last count."""
    recorded = json.loads((TOP / "tests" / "bench" / "growth.json").read_text())
    host = recorded["host"]
    lines = [SCALE_HEAD]
    lines += [f"Counted on {host['cpu']}, {host['system']}, Python {host['python']}, lxml {host['lxml']},"]
    lines += [f"libxml2 {host['libxml2']}.", ""]
    lines += ["| profile | of | up to | growth: apply | second apply | status | unapply | lines | memory |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for name, kinds in recorded["profiles"].items():
        for kind, costs in kinds.items():
            most = max(map(int, costs["apply"]))
            cells = [name, kind, f"{most:,}"]
            cells += [_grown(costs.get(operation, {})) for operation in _OPERATIONS]
            cells.append(f"{costs['apply'][str(most)] / most:,.0f}")
            cells.append(f"{costs['memory'][str(most)] / most / 1024:.1f} KiB")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, *_fleets(), ""])


#: document: what it is to hold
DOCUMENTS: dict[Path, Callable[[], str]] = {
    TOP / "DESIGN.md": design,
    TOP / "docs" / "api.md": api,
    TOP / "docs" / "presets.md": presets,
    TOP / "docs" / "scale.md": scale,
    DECISIONS / "README.md": decisions,
    LENGTHS: lengths,
    ANSIBLE: ansible,
}

if __name__ == "__main__":
    for path, made in DOCUMENTS.items():
        path.write_text(made())
