# SPDX-License-Identifier: GPL-2.0-or-later
"""Speed beside peers on the same inputs in one run, as ratios.

In process: `virtProfile.apply` (what changed is validated) beside lxml's parse
and serialise, the floor, and virtinst's ``Guest(parsexml=…)``, one edit and
``get_xml``. As a process: ``virt-profile --input`` beside ``virt-xml --edit``,
``xsltproc`` with an equivalent stylesheet, and ``xq``.

Each pair is run in turn, so that a drift of the machine meets both; the median
of the pairwise ratios is the figure to quote, with the quarters beside it. In
process it is the CPU's time, of whole processes the time that passes.
"""

from __future__ import annotations

import argparse
import compileall
import gc
import itertools
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from devices import curve
from lxml import etree
from spread import Spread, spread
from standing import audit, status
from startup import startup

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
sys.path.insert(0, str(TOP))


def domain(devices: int) -> str:
    """A running VM's definition with that many disks and NICs, as libvirt would print it."""
    rows = [
        "<domain type='kvm'>",
        "  <name>vp-bench</name>",
        "  <uuid>6f6bb0a2-9f5c-4cf2-9d5b-3a1a8bb0a001</uuid>",
        "  <memory unit='KiB'>4194304</memory>",
        "  <currentMemory unit='KiB'>4194304</currentMemory>",
        "  <vcpu placement='static'>4</vcpu>",
        "  <os>",
        "    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>",
        "    <boot dev='hd'/>",
        "  </os>",
        "  <features>",
        "    <acpi/>",
        "    <apic/>",
        "  </features>",
        "  <cpu mode='host-passthrough' check='none' migratable='on'/>",
        "  <clock offset='utc'>",
        "    <timer name='rtc' tickpolicy='catchup'/>",
        "    <timer name='pit' tickpolicy='delay'/>",
        "    <timer name='hpet' present='no'/>",
        "  </clock>",
        "  <devices>",
        "    <emulator>/usr/bin/qemu-system-x86_64</emulator>",
    ]
    for number in range(devices * 2 // 3):
        name = "vd" + _letters(number)
        rows += [
            "    <disk type='file' device='disk'>",
            "      <driver name='qemu' type='qcow2'/>",
            f"      <source file='/var/lib/libvirt/images/vp-{number}.qcow2'/>",
            f"      <target dev='{name}' bus='virtio'/>",
            f"      <address type='pci' domain='0x0000' bus='0x{number % 250 + 4:02x}' slot='0x00' function='0x0'/>",
            "    </disk>",
        ]
    for number in range(devices - devices * 2 // 3):
        rows += [
            "    <interface type='network'>",
            f"      <mac address='52:54:00:00:{number // 256:02x}:{number % 256:02x}'/>",
            "      <source network='default'/>",
            "      <model type='virtio'/>",
            f"      <address type='pci' domain='0x0000' bus='0x{number % 250 + 4:02x}' slot='0x01' function='0x0'/>",
            "    </interface>",
        ]
    rows += ["  </devices>", "</domain>", ""]
    return "\n".join(rows)


def _letters(number: int) -> str:
    name = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        name = chr(ord("a") + rest) + name
    return name


#: Ten profiles of the kinds people use: defaults on every disk and NIC, devices, switches.
PROFILES = [
    "<default><devices><disk device='disk'><driver cache='none' io='native' discard='unmap'/></disk></devices></default>",
    "<add><devices><channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel></devices></add>",
    "<default><devices><interface><driver name='vhost' queues='4'/><model type='virtio'/></interface></devices></default>",
    "<add><devices><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices></add>",
    "<add><features><hyperv mode='custom'><relaxed state='on'/><vapic state='on'/><spinlocks state='on' retries='8191'/><vpindex state='on'/></hyperv></features></add>",
    "<add><iothreads>2</iothreads></add><default><devices><memballoon model='virtio'/></devices></default>",
    "<add><clock><timer name='hypervclock' present='yes'/></clock></add>",
    "<add><devices><graphics type='spice' autoport='yes'/><video><model type='qxl'/></video></devices></add>",
    "<match><os><type arch='x86_64'>hvm</type></os></match><add><devices><watchdog model='i6300esb' action='reset'/></devices></add>",
    "<remove><devices><sound/></devices></remove><add><pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='no'/></pm></add>",
]

#: For each of them five conditions that hold, and expressions: what they cost.
CONDITIONS = [
    "vcpu &gt; 2 and not(os/kernel)",
    "os/type/@arch = 'x86_64' and vp:machine('q35')",
    "count(devices/disk) &gt; 1 or devices/interface[model/@type = 'virtio']",
    "vp:kib(memory) &gt;= 1048576",
    "not(devices/controller[@type = 'scsi'])",
]


def judged(number: int, body: str) -> str:
    """A profile of `PROFILES` that does the same under five conditions, by expressions."""
    matches = "".join(f'<match test="{one}"/>' for one in CONDITIONS)
    counter = itertools.count()

    def worked_out(found: re.Match[str]) -> str:
        name, value = found.groups()
        if next(counter) >= 5:
            return found.group()
        return f"""{name}="{{vp:if(vcpu &gt; 2, '{value}', vcpu)}}\""""

    actions = re.sub(r"(?<=[ ])([a-z]+)='([^']*)'", worked_out, body)
    return f"<profile name='b{number}'>{matches}{actions}</profile>"


def with_actions(number: int, body: str, plain: bool = False) -> str:
    """A profile of `PROFILES` with five actions more, each with a condition and an expression.

    :param plain: the same wishes without them
    """
    rows: list[dict[str, object]] = []
    for place, condition in enumerate(CONDITIONS):
        name = f"vp.{number}.{place}"
        when = "" if plain else f' when="{condition}"'
        path = "/run/4" if plain else "/run/{vp:min(vcpu, 8)}"
        rows.append(
            f"<add{when}><devices><channel type='unix'><source mode='bind' path='{path}'/>"
            f"<target type='virtio' name='{name}'/></channel></devices></add>"
        )
    return f"<profile name='b{number}'>{body}{''.join(rows)}</profile>"


def conditions(runs: int) -> list[dict[str, object]]:
    """Ten profiles with five conditions and expressions each, beside the same without."""
    pairs_of = {
        "matches": (judged, lambda number, body: f"<profile name='b{number}'>{body}</profile>"),
        "actions": (with_actions, lambda number, body: with_actions(number, body, plain=True)),
    }
    return [row for kind, makers in pairs_of.items() for row in _beside(kind, *makers, runs)]


def _beside(
    kind: str, maker: Callable[[int, str], str], plain_maker: Callable[[int, str], str], runs: int
) -> list[dict[str, object]]:
    import virtProfile

    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        for number, body in enumerate(PROFILES):
            Path(one, f"b{number}.xml").write_text(maker(number, body))
            Path(other, f"b{number}.xml").write_text(plain_maker(number, body))
        names = [f"b{number}" for number in range(len(PROFILES))]
        dynamic, plain = virtProfile.ProfileStore([one]), virtProfile.ProfileStore([other])
        for devices in (30, 200):
            text = domain(devices)
            results = [
                virtProfile.apply(text, names, store=store, record=False) for store in (dynamic, plain)
            ]
            if results[0].xml != results[1].xml:
                raise SystemExit("the two do not do the same")
            mine, theirs, ratio = pairs(
                lambda: virtProfile.apply(text, names, store=dynamic, record=False),
                lambda: virtProfile.apply(text, names, store=plain, record=False),
                runs,
            )
            rows.append(
                {
                    "conditions": kind,
                    "devices": devices,
                    "with_ms": mine * 1e3,
                    "without_ms": theirs * 1e3,
                    "ratio": ratio,
                }
            )
    return rows


STYLESHEET = """<xsl:stylesheet version='1.0' xmlns:xsl='http://www.w3.org/1999/XSL/Transform'>
<xsl:template match='@*|node()'><xsl:copy><xsl:apply-templates select='@*|node()'/></xsl:copy></xsl:template>
<xsl:template match='disk[@device="disk"]/driver'><xsl:copy><xsl:attribute name='cache'>none</xsl:attribute>
<xsl:attribute name='io'>native</xsl:attribute><xsl:attribute name='discard'>unmap</xsl:attribute>
<xsl:apply-templates select='@*|node()'/></xsl:copy></xsl:template>
</xsl:stylesheet>
"""


#: Calls of one side before the other's turn: more than one, as neither meets the other's caches in use.
IN_A_ROW = 5


def _timed(run: Callable[[], object], clock: Callable[[], float]) -> float:
    """Seconds a call, with what it takes to free what the calls leave behind.

    virtinst's guests are cycles, which only the collector frees: a program pays for that too. What stood
    before is kept out of the collector's way, so that no side pays for the other, nor for the bench.
    """
    gc.collect()
    gc.freeze()
    try:
        start = clock()
        for _ in range(IN_A_ROW):
            run()
        gc.collect()
        return (clock() - start) / IN_A_ROW
    finally:
        gc.unfreeze()


def pairs(
    one: Callable[[], object],
    other: Callable[[], object],
    runs: int,
    clock: Callable[[], float] = time.process_time,
) -> tuple[float, float, Spread]:
    """(median of one, median of other, ratio), in seconds a call; run in turn, `IN_A_ROW` calls each.

    The CPU's time: on a busy machine only that can be compared.

    Each pays for itself, see `_timed`.
    """
    one()
    other()
    first, second, ratios = [], [], []
    for _ in range(runs):
        mine, theirs = _timed(one, clock), _timed(other, clock)
        first.append(mine)
        second.append(theirs)
        ratios.append(mine / theirs)
    return statistics.median(first), statistics.median(second), spread(ratios)


def in_process(runs: int) -> list[dict[str, object]]:
    """apply beside lxml and virtinst, by size and number of profiles."""
    import virtProfile

    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as directory:
        for number, body in enumerate(PROFILES):
            Path(directory, f"b{number}.xml").write_text(f"<profile name='b{number}'>{body}</profile>")
        store = virtProfile.ProfileStore([directory])
        guest = _virtinst()
        for devices in (30, 200):
            text = domain(devices)
            data = text.encode()
            floor = lambda: etree.tostring(etree.fromstring(data))  # noqa: E731
            for count in (1, 10):
                names = [f"b{number}" for number in range(count)]
                ours = lambda: virtProfile.apply(text, names, store=store, record=False)  # noqa: E731
                mine, lxml_time, ratio = pairs(ours, floor, runs)
                row: dict[str, object] = {
                    "devices": devices,
                    "profiles": count,
                    "apply_ms": mine * 1e3,
                    "lxml_ms": lxml_time * 1e3,
                    "x_lxml": ratio,
                }
                if guest is not None:
                    few = max(5, runs // 2)
                    _, theirs, ratio = pairs(ours, lambda: guest(text), few)
                    row |= {"virtinst_ms": theirs * 1e3, "x_virtinst": ratio}
                    recorded = lambda: virtProfile.apply(text, names, store=store)  # noqa: E731
                    mine, _, ratio = pairs(recorded, lambda: guest(text), few)
                    row |= {"record_ms": mine * 1e3, "record_x_virtinst": ratio}
                rows.append(row)
    return rows


#: A disk without a name, and a controller for it: its class is asked.
COMPLETED = "<add><devices><disk type='file'><source file='/nowhere/x.img'/></disk></devices></add>"


def completion(runs: int) -> dict[str, object]:
    """What completing one added disk costs on the 200-device VM, beside virtinst's parse of it."""
    import virtProfile

    with tempfile.TemporaryDirectory() as directory:
        named = COMPLETED.replace("<source", "<target dev='vdzz' bus='virtio'/><source")
        for name, body in (("lacking", COMPLETED), ("whole", named)):
            Path(directory, f"{name}.xml").write_text(f"<profile name='{name}'>{body}</profile>")
        store = virtProfile.ProfileStore([directory])
        text = domain(200)
        path = Path(directory, "domain.xml")
        path.write_text(text)

        def run(name: str) -> Callable[[], object]:
            return lambda: virtProfile.apply(text, [name], store=store, record=False)

        lacking, whole, _ = pairs(run("lacking"), run("whole"), runs)
        command = [str(TOP / "virt-profile"), "--input", str(path), "--print-xml", "-q", "--no-record"]
        command += ["--profile-dir", directory, "--profile", "lacking"]
        row: dict[str, object] = {
            "completion_ms": (lacking - whole) * 1e3,
            "process_MB": _peak(command) / 1024,
        }
        from virtinst import Guest
        from virtProfile.engine.devices.offline_connection import connection
        from virtProfile.host.context import Context

        conn = connection(Context(), etree.fromstring(text.encode()))
        _, parse, _ = pairs(run("whole"), lambda: Guest(conn, parsexml=text), runs)
        return row | {"virtinst_parse_ms": parse * 1e3, "x_parse": (lacking - whole) / parse}


def _virtinst() -> Callable[[str], object] | None:
    """parse + one edit + get_xml with the distribution's virtinst, or None without it."""
    sys.path.insert(0, "/usr/share/virt-manager")
    try:
        sys.modules.pop("virtinst", None)
        import libvirt

        from virtinst import Guest, VirtinstConnection
    except ImportError:
        return None
    finally:
        sys.path.remove("/usr/share/virt-manager")
    libvirt.registerErrorHandler(lambda *_: None, None)
    connection = VirtinstConnection("test:///default")
    connection.open(lambda *_: None, None)

    def edit(text: str) -> object:
        guest = Guest(connection, parsexml=text)
        guest.devices.disk[0].driver_cache = "none"
        return guest.get_xml()

    return edit


def processes(runs: int) -> list[dict[str, object]]:
    """The whole process beside other tools on the same file."""
    rows: list[dict[str, object]] = []
    # An installed program has its bytecode, as the peers have theirs.
    compileall.compile_dir(TOP / "virtProfile", quiet=1)
    with tempfile.TemporaryDirectory() as directory:
        for number, body in enumerate(PROFILES):
            Path(directory, f"b{number}.xml").write_text(f"<profile name='b{number}'>{body}</profile>")
        sheet = Path(directory, "sheet.xsl")
        sheet.write_text(STYLESHEET)
        for devices in (30, 200):
            path = Path(directory, f"domain{devices}.xml")
            path.write_text(domain(devices))
            for count in (1, 10):
                ours = [str(TOP / "virt-profile"), "--input", str(path), "--print-xml", "-q"]
                ours += ["--profile-dir", directory, "--no-record"]
                for number in range(count):
                    ours += ["--profile", f"b{number}"]
                peers = {
                    "virt-xml": [
                        "virt-xml",
                        "--connect",
                        "test:///default",
                        "--edit",
                        "--disk",
                        "driver.cache=none",
                        "--print-xml",
                    ],
                    "xsltproc": ["xsltproc", str(sheet), str(path)],
                    "xq": [
                        shutil.which("xq-python") or "xq",
                        "-x",
                        '.domain.devices.disk[].driver."@cache" = "none"',
                        str(path),
                    ],
                }
                for name, command in peers.items():
                    if shutil.which(command[0]) is None:
                        rows.append({"devices": devices, "profiles": count, "peer": name, "missing": True})
                        continue
                    stdin = path if name == "virt-xml" else None
                    mine, theirs, ratio = pairs(
                        lambda: _run(ours), lambda: _run(command, stdin), runs, time.perf_counter
                    )
                    rows.append(
                        {
                            "devices": devices,
                            "profiles": count,
                            "peer": name,
                            "ours_ms": mine * 1e3,
                            "peer_ms": theirs * 1e3,
                            "ratio": ratio,
                            "ours_MB": _peak(ours) / 1024,
                        }
                    )
    return rows


def _run(command: list[str], stdin: Path | None = None) -> None:
    with open(stdin or os.devnull, "rb") as source:
        done = subprocess.run(command, stdin=source, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed: {done.stderr.decode()[-400:]}")


def _peak(command: list[str]) -> int:
    """Peak memory of a command in KiB."""
    code = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], capture_output=True, check=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, check=True)
    return int(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description="speed beside peers, as ratios")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="five runs of each")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.runs = 5
    inside = in_process(options.runs)
    tested = conditions(options.runs)
    completed = completion(options.runs)
    standing = status(domain(30), PROFILES)
    audited = audit(domain(30))
    sizes = curve(domain)
    started = startup(domain(30), PROFILES[0], options.runs)
    outside = processes(options.runs)
    if options.json:
        everything = {
            "in_process": inside,
            "conditions": tested,
            "completion": completed,
            "status": standing,
            "audit": audited,
            "devices": sizes,
            "startup": started,
            "processes": outside,
        }
        print(json.dumps(everything, indent=1))
        return
    print("in process: apply beside lxml parse+serialise and virtinst parse+edit+get_xml")
    for row in inside:
        print("  " + "  ".join(f"{key} {_figure(value)}" for key, value in row.items()))
    print("completion of one added disk on 200 devices, beside virtinst's parse of them")
    print("  " + "  ".join(f"{key} {_figure(value)}" for key, value in completed.items()))
    print("status of VMs with the record of ten profiles, beside a plain parse of them")
    print("  " + "  ".join(f"{key} {_figure(value)}" for key, value in standing.items()))
    print("audit of VMs by the shipped rules, beside a plain parse of them")
    print("  " + "  ".join(f"{key} {_figure(value)}" for key, value in audited.items()))
    print("conditions: ten profiles with five conditions and expressions each, beside the same without")
    for row in tested:
        print("  " + "  ".join(f"{key} {_figure(value)}" for key, value in row.items()))
    print(
        "by devices: apply, second apply, status and unapply of four profiles, beside lxml on the same text"
    )
    for row in sizes:
        print("  " + "  ".join(f"{key} {_figure(value)}" for key, value in row.items()))
    print("start-up: CPU milliseconds of one profile on a file, of Python and lxml; its slowest imports")
    print("  " + "  ".join(f"{key} {_figure(value)}" for key, value in started.items() if key != "imports"))
    print("  " + "  ".join(f"{key} {_figure(value)}" for key, value in started["imports"].items()))
    print("whole process: virt-profile --input --print-xml beside peers on the same file")
    for row in outside:
        print("  " + "  ".join(f"{key} {_figure(value)}" for key, value in row.items()))


def _figure(value: object) -> str:
    return f"{value:.2f}" if type(value) is float else str(value)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
