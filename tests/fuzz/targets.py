# SPDX-License-Identifier: GPL-2.0-or-later
"""What is fuzzed: records, profiles, expressions and documents, each made of bytes.

An input is a text as it stands where its first byte is ``=``; else its bytes are choices, of which
a text is made that gets past the parser. Every target is a function of one input; all that it may
raise is a `ProfileError`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import virtProfile
from virtProfile.authoring.lint import lint_text
from virtProfile.errors import NotFoundError, ProfileError
from virtProfile.format.document import RECORD_NS, VIRTUNED_NS, decode, parse
from virtProfile.host.context import Context
from virtProfile.language.expression import Environment, Expression
from virtProfile.language.parser import parse_profiles
from virtProfile.language.place import At
from virtProfile.language.xpath import FUNCTIONS

TOP = Path(__file__).resolve().parents[2]
STORE = virtProfile.ProfileStore([TOP / "profiles"])
DEVICES = """<emulator>/usr/bin/qemu-system-x86_64</emulator>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/a'/><target dev='vda' bus='virtio'/></disk>
<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>
<controller type='scsi' index='0'/><interface type='network'><mac address='52:54:00:00:00:01'/><source network='default'/></interface>
<input type='tablet' bus='usb'/><input type='tablet' bus='usb'/><graphics type='vnc' port='-1'/><video><model type='vga'/></video>"""
HEAD = "<memory unit='KiB'>4096</memory><vcpu>2</vcpu><os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os><features><acpi/></features>"
VM = f"<domain type='kvm'><name>x</name>{HEAD}<devices>{DEVICES}</devices></domain>"

TAGS = [
    "devices",
    "disk",
    "target",
    "driver",
    "source",
    "controller",
    "interface",
    "input",
    "cpu",
    "vcpu",
    "memory",
    "os",
    "type",
    "features",
    "metadata",
    "x",
]
SLOTS = [
    "dev",
    "bus",
    "type",
    "index",
    "name",
    "model",
    "address",
    "mode",
    "file",
    "unit",
    "n",
    "at",
    "to",
    "of",
    "from",
    "gone",
    "also",
    "hidden",
]
VALUES = [
    "",
    "vda",
    "sda",
    "scsi",
    "usb",
    "0",
    "1",
    "-1",
    "2047",
    "99999999",
    "0x4",
    "yes",
    "{vcpu}",
    "?",
    "&lt;",
]
VALUES += [
    "devices",
    "devices/disk[target/@dev=?]/driver",
    "devices/input[2]",
    "os/type",
    "vda sda ?",
    "x" * 300,
]


class Choices:
    """Bytes as choices, and zeros when they are at an end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def number(self, below: int) -> int:
        self.at += 1
        return self.data[self.at - 1] % below if self.at <= len(self.data) else 0

    def of(self, words: Sequence[str]) -> str:
        return words[self.number(len(words))]

    @property
    def left(self) -> int:
        return len(self.data) - self.at


def attributes(choices: Choices, names: Sequence[str]) -> str:
    chosen = {choices.of(names): choices.of(VALUES) for _ in range(choices.number(4))}
    return "".join(f" {name}='{value}'" for name, value in chosen.items())


def element(choices: Choices, prefix: str = "", depth: int = 0) -> str:
    """An element with what is in it; many of one shape where the choices say so."""
    tag = prefix + choices.of(TAGS)
    inside = ""
    if depth < 70 and choices.left > 0:
        kind = choices.number(5)
        if kind == 1:
            inside = choices.of(VALUES)
        elif kind > 1:
            inside = "".join(element(choices, prefix, depth + 1) for _ in range(kind - 1))
    text = f"<{tag}{attributes(choices, SLOTS)}>{inside}</{tag}>"
    return text * (1 + choices.number(30)) if depth > 1 and len(text) < 200 else text


def record_of(choices: Choices) -> str:
    rows: list[str] = []
    while choices.left > 0 and len(rows) < 60:
        kind = choices.of(["on", "add", "del", "param", "x"])
        was = f"<vr:was{attributes(choices, SLOTS)}/>" if choices.number(3) == 1 else ""
        place = {"on": "at", "add": "to", "del": "from"}.get(kind, "at")
        more = f" of='{choices.of(VALUES)}'" if choices.number(4) == 1 else ""
        more += f" n='{choices.of(VALUES)}'" if choices.number(3) == 1 else ""
        rows.append(
            f"<vr:{kind} {place}='{choices.of(VALUES)}'{more}>{element(choices, 'vr:')}{was}</vr:{kind}>"
        )
    names = [choices.of(["rng", "virtio-disk", "no-usb", "gone"]) for _ in range(1 + choices.number(3))]
    body = "".join(rows)
    profiles = "".join(
        f"<vr:profile name='{name}' version='1' digest='0' priority='{choices.of(VALUES)}'>{body}</vr:profile>"
        for name in names
    )
    return f"<vr:record xmlns:vr='{RECORD_NS}' made='metadata list' ours='rng'>{profiles}</vr:record>"


def record(data: bytes) -> None:
    """A forged record, taken back in every way."""
    text = data[1:].decode("utf-8", "replace")
    if data[:1] != b"=":
        choices = Choices(data)
        listed = f"<v:virtuned xmlns:v='{VIRTUNED_NS}'><v:profile name='{choices.of(['rng', 'pc', 'x'])}'/></v:virtuned>"
        foreign = element(choices, "f:").replace("<f:", "<f:", 1)
        text = f"{listed}<w xmlns:f='urn:f' xmlns='urn:w'>{foreign}</w>{record_of(choices)}"
    domain = VM.replace("<memory", f"<metadata>{text}</metadata><memory", 1)
    calls: list[Callable[[], object]] = [
        lambda: virtProfile.apply(domain, store=STORE),
        lambda: virtProfile.apply(domain, ["rng"], store=STORE, trust="store"),
        lambda: virtProfile.status(domain, store=STORE),
        lambda: virtProfile.unapply(domain, "all", store=STORE),
    ]
    for call in calls:
        attempt(call)


class _Parsed:
    """The profiles of one text, and nothing else."""

    def __init__(self, text: str) -> None:
        parsed = parse_profiles(text, "p.xml")
        for one in parsed.problems:
            if one.level == "error":
                raise NotFoundError(one.message)
        self.profiles = {one.name: one for one in parsed.profiles}

    def resolve(self, name: str, version: str | None = None) -> tuple[Any, list[Any]]:
        if name not in self.profiles:
            raise NotFoundError(f"no profile '{name}'")
        return self.profiles[name], []

    def get(self, name: str, version: str | None = None) -> Any:
        return self.resolve(name, version)[0]

    def one_look(self) -> Any:
        return nullcontext()

    def automatic(self) -> list[Any]:
        return [one for one in self.profiles.values() if one.autoselect and one.matches]


WISHES = [
    "<devices>{}</devices>", "<domain type='kvm'/>", "<vcpu>{{vcpu}}</vcpu>", "<os>{}</os>", "<cpu mode='custom'>{}</cpu>",
    "<devices><disk><driver cache='none'/></disk></devices>", "<devices><input type='tablet' bus='usb'/></devices>",
    "<devices><disk type='file'><source file='/b'/><target bus='scsi'/></disk></devices>", "<features><acpi/></features>",
]  # fmt: skip


def profile(data: bytes) -> None:
    """A profile, linted and applied."""
    text = data[1:].decode("utf-8", "replace")
    if data[:1] != b"=":
        choices = Choices(data)
        actions: list[str] = []
        while choices.left > 0 and len(actions) < 20:
            kind = choices.of(["add", "remove", "default", "match"])
            when = f' when="{quoted(expression_of(choices))}"' if choices.number(3) == 1 else ""
            when += choices.of(
                ["", " multiple='yes'", " multiple='no'", " constraint='hard'", " unknown='skip'"]
            )
            if choices.number(6) == 1 and kind == "remove":
                actions.append(f'<remove select="{quoted(expression_of(choices))}"/>')
                continue
            inside = element(choices) if choices.number(2) else ""
            if kind == "match":
                when = f' test="{quoted(expression_of(choices))}"' if choices.number(2) else ""
            body = "" if kind == "match" and when else choices.of(WISHES).format(inside)
            actions.append(f"<{kind}{when}>{body}</{kind}>")
        text = f"<profile name='p' version='1' priority='{choices.of(VALUES)}'>{''.join(actions)}</profile>"
    attempt(lambda: lint_text(text, "p.xml"))
    attempt(lambda: virtProfile.apply(VM, ["p"], store=_Parsed(text)))


def quoted(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


PATHS = [
    "devices/disk",
    "/",
    "//*",
    ".",
    "..",
    "vcpu",
    "@type",
    "*",
    "text()",
    "$host",
    "devices/*",
    "ancestor::*",
]
NAMES = sorted(FUNCTIONS)
OPERATORS = ["|", "=", "!=", "<", "+", "-", " and ", " or ", " div ", " mod ", "*", "/", "//"]


def expression_of(choices: Choices, depth: int = 0) -> str:
    kind = choices.number(8) if depth < 40 and choices.left > 0 else 0
    if kind == 1:
        return choices.of(["1", "'a'", "''", "0", "'" + "a" * 200 + "'", "1.5", "-1", "99999999999999999999"])
    if kind == 2:
        return f"{expression_of(choices, depth + 1)}[{expression_of(choices, depth + 1)}]"
    if kind in (3, 4):
        left, right = expression_of(choices, depth + 1), expression_of(choices, depth + 1)
        return f"{left}{choices.of(OPERATORS)}{right}"
    if kind == 5:
        name = choices.of(NAMES)
        arguments = ",".join(expression_of(choices, depth + 1) for _ in range(choices.number(5)))
        return f"{name}({arguments})"
    if kind == 6:
        return f"({expression_of(choices, depth + 1)})"
    if kind == 7:
        return choices.of(OPERATORS).join([choices.of(PATHS)] * choices.number(250))
    return choices.of(PATHS)


LARGE = parse(VM.replace("<memory", f"<description>{'a' * 100_000}</description><memory", 1)).root


def xpath(data: bytes) -> None:
    """An expression, compiled and evaluated."""
    text = data[1:].decode("utf-8", "replace") if data[:1] == b"=" else expression_of(Choices(data))

    def run() -> None:
        expression = Expression(text, "p.xml:1", 0, ())
        attempt(lambda: expression.test(At(LARGE), Environment({}, Context())))
        attempt(lambda: expression.select(At(LARGE), Environment({}, Context())))
        attempt(lambda: expression.text(At(LARGE), Environment({}, Context())))

    attempt(run)


def document(data: bytes) -> None:
    """A document as it comes from a file."""
    if data[:1] == b"=":
        data = data[1:]
    else:
        choices = Choices(data)
        parts: list[str] = []
        while choices.left > 0 and len(parts) < 40:
            parts.append(element(choices))
            parts.append(
                choices.of(["", "<!-- a -->", "<![CDATA[ & ]]>", "<?a b?>", "\r\n", "&#9;", "]]&gt;"])
            )
        tags = f"<domain type='kvm'>{HEAD}{''.join(parts)}<devices>{DEVICES}{element(choices)}</devices></domain>"
        data = tags.encode()

    def run() -> None:
        text = decode(data)[0]
        result = virtProfile.apply(text, ["rng", "virtio-disk", "no-usb"], store=STORE)
        virtProfile.apply(result.xml, ["rng"], store=STORE)
        virtProfile.unapply(result.xml, "all", store=STORE)

    attempt(run)


def attempt(call: Callable[[], object]) -> None:
    try:
        call()
    except ProfileError as problem:
        assert len(str(problem)) < 20_000_000


TARGETS: dict[str, Callable[[bytes], None]] = {
    "record": record,
    "profile": profile,
    "xpath": xpath,
    "document": document,
}
