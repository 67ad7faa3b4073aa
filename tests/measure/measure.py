# SPDX-License-Identifier: GPL-2.0-or-later
"""What shipped profiles bring: ./dev measure

A small Linux guest (guest.sh, init) is started again and again, in turn with each profile of a bench and
without it (plan.py); what it and the host measure are pairs, whose ratios go to
virtProfile/show/data/measured.tsv. `virt-profile` itself applies the profiles, to a VM that libvirt has.
Seven pairs and more are kept; fewer are printed only.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fcntl
import itertools
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
sys.path[:0] = [str(TOP), str(HERE)]

from plan import JOBS, NETWORK, NOTHING, PLAN, Bench, Wish  # noqa: E402

from virtProfile.show.measured import DATA, Measured, outcome, read  # noqa: E402

PLACE = TOP / ".cache" / "measure"
DISK = PLACE / "disk.img"
SERIAL = PLACE / "serial"
#: held while the part beside the daemon runs: its process, and the one that started it
LOCK = PLACE / "lock"
PAGES = Path("/proc/sys/vm/nr_hugepages")
NAME = "vp-measure"
URI = "qemu:///system"
LEAST_PAIRS = 7
#: How long a guest may take to its service, and a job beyond its own seconds.
PATIENCE = 90.0
MIB = 2**20
HEAD = """# SPDX-License-Identifier: GPL-2.0-or-later
# Written by ./dev measure: profile, its version, its digest, what the VM had instead, what was measured, unit,
# which is better, median without, median with, ratio with/without (median, lowest, highest of the pairs), pairs,
# pairs in which it was better, date, host, source.
"""

DOMAIN = """<domain type='{hypervisor}'>
  <name>{name}</name>
  <uuid>6f6bb0a2-9f5c-4cf2-9d5b-3a1a8bb0a020</uuid>
  <memory unit='MiB'>1024</memory>
  <vcpu>{vcpus}</vcpu>
  <os>
    <type arch='x86_64' machine='{machine}'>hvm</type>
    <kernel>{place}/vmlinux</kernel>
    <initrd>{place}/initrd</initrd>
    <cmdline>console=ttyS0 quiet panic=-1 vp.seconds={seconds} vp.jobs={jobs}</cmdline>
  </os>
  <features><acpi/><apic/>{features}</features>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='{place}/disk.img'/>
      <target dev='{disk}' bus='{bus}'/>
    </disk>
    <interface type='bridge'>
      <source bridge='vpbr0'/>
      <model type='{nic}'/>
      <rom enabled='no'/>
    </interface>
    <serial type='file'>
      <source path='{place}/serial'/>
    </serial>
  </devices>
</domain>
"""


class Late(Exception):
    """The guest did not say in time what was expected."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# --- the host --------------------------------------------------------------------


@contextlib.contextmanager
def huge_pages(count: int) -> Iterator[None]:
    """So many pages of 2 MiB beside those that the host has set aside; given back afterwards."""
    if not count:
        yield
        return
    before = PAGES.read_text()
    try:
        PAGES.write_text(str(int(before) + count))
        if int(PAGES.read_text()) < int(before) + count:
            raise SystemExit(f"the host has no {count} huge pages to set aside")
        yield
    finally:
        PAGES.write_text(before)


def make_disk() -> None:
    """A raw disk with something on it: what was never written is read from no disk."""
    if not DISK.exists() or DISK.stat().st_size != 1024 * MIB:
        with DISK.open("wb") as stream:
            for _ in range(1024):
                stream.write(os.urandom(MIB))
            os.fsync(stream.fileno())


def forget_disk() -> None:
    """Takes the disk out of the host's cache: each run begins cold."""
    with DISK.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cpu_seconds() -> float:
    """CPU time of the guest's QEMU: of all its threads, to the nanosecond (proc(5), schedstat)."""
    pid = int(Path(f"/run/libvirt/qemu/{NAME}.pid").read_text())
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def iperf(port: int, back: bool, seconds: float) -> subprocess.Popen[str]:
    """The guest's own iperf3, started on the host with the guest's libraries."""
    root = PLACE / "initramfs"
    command = [
        str(root / "lib64/ld-linux-x86-64.so.2"),
        "--library-path",
        str(root / "usr/lib/x86_64-linux-gnu"),
    ]
    command += [
        str(root / "usr/bin/iperf3"),
        "-c",
        "192.0.2.2",
        "-p",
        str(port),
        "-J",
        "-t",
        str(round(seconds)),
    ]
    return subprocess.Popen([*command, *(["-R"] if back else [])], stdout=subprocess.PIPE, text=True)


def transfer(job: str, ports: Iterator[int], seconds: float) -> float:
    """Mbit/s that arrive, of all connections of a job."""
    running = [iperf(next(ports), job.startswith("from"), seconds) for _ in range(NETWORK[job])]
    total = 0.0
    for process in running:
        found = json.loads(process.communicate(timeout=seconds + 30)[0])
        if "error" in found:
            raise Late(f"iperf3: {found['error']}")
        total += found["end"]["sum_received"]["bits_per_second"] / 1e6
    return total


def processor() -> tuple[str, set[str]]:
    """The CPU's name, and its flags."""
    text = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", text, re.M)
    flags = re.search(r"^flags\s*: (.*)$", text, re.M)
    return model[1] if model else platform.machine(), set(flags[1].split() if flags else ())


def described(handle: Any, hypervisor: str) -> str:
    """The host and its programs, as a row of the data names them."""
    model, flags = processor()
    how = {"kvm": "KVM", "qemu": "its emulation of the CPU, not KVM"}[hypervisor]
    inside = ", itself a VM" if "hypervisor" in flags else ""

    def version(number: int) -> str:
        return f"{number // 1000000}.{number // 1000 % 1000}.{number % 1000}"

    return (
        f"{os.cpu_count()} CPUs {model}{inside}, Linux {os.uname().release.partition('-')[0]}, "
        f"QEMU {version(handle.getVersion())} with {how}, libvirt {version(handle.getLibVersion())}"
    )


# --- the guest ---------------------------------------------------------------------


class Console:
    """What the guest says on its serial console, from the start of the VM."""

    def __init__(self) -> None:
        self._rest = ""
        self._stream = SERIAL.open(encoding="utf-8", errors="replace", newline="")

    def close(self) -> None:
        self._stream.close()

    def wait(self, word: str, seconds: float) -> str:
        """The next line that begins so, without that beginning.

        :raises Late: there is none in time
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._rest += self._stream.read()
            while "\n" in self._rest:
                line, _, self._rest = self._rest.partition("\n")
                before, found, after = line.rstrip("\r").partition(word)
                if found:
                    return after.strip()
            time.sleep(0.005)
        raise Late(f"the guest did not say {word!r} within {seconds:.0f} s")


def domain(bench: Bench, hypervisor: str, seconds: float) -> str:
    inside = [job for job in bench.jobs if job not in NETWORK]
    if any(job in NETWORK for job in bench.jobs):
        inside.append("net")
    return DOMAIN.format(
        hypervisor=hypervisor,
        name=NAME,
        vcpus=bench.vcpus,
        machine=bench.machine,
        place=PLACE,
        seconds=round(seconds),
        jobs=",".join(inside),
        features=bench.features if hypervisor == "kvm" else "",
        disk={"virtio": "vda", "sata": "sda", "ide": "hda"}[bench.bus],
        bus=bench.bus,
        nic=bench.nic,
    )


def run(handle: Any, text: str, bench: Bench, seconds: float) -> dict[str, float]:
    """One start of the guest, and what each job of the bench gave.

    :raises Late: the guest does not answer
    """
    forget_disk()
    SERIAL.write_text("")
    console = Console()
    ports = itertools.count(5201)  # each of the guest's servers serves once
    begin = time.monotonic()
    handle.createXML(text, 0)
    try:
        console.wait("VP service", PATIENCE)
        found = {"service": time.monotonic() - begin}
        for job in bench.jobs:
            if job in NETWORK:
                if not found.keys() & NETWORK.keys():
                    console.wait("VP result net", PATIENCE)
                found[job] = transfer(job, ports, seconds)
                continue
            if job == "idle":
                console.wait("VP begin idle", PATIENCE)
                time.sleep(0.5)  # what begins is not idle
                first, at = cpu_seconds(), time.monotonic()
                time.sleep(seconds)
                found[job] = 100 * (cpu_seconds() - first) / (time.monotonic() - at)
            answer = console.wait(f"VP result {job}", seconds + PATIENCE)
            value = JOBS[job].value
            if value is not None:
                try:
                    found[job] = value(answer)
                except (ValueError, IndexError):
                    raise Late(f"{job} printed {answer[:200]!r}") from None
        return found
    finally:
        console.close()
        clean(handle)


def clean(handle: Any) -> None:
    """No VM of ours runs any more, also where the daemon is gone."""
    import libvirt

    try:
        pid = int(Path(f"/run/libvirt/qemu/{NAME}.pid").read_text())
    except (OSError, ValueError):
        pid = 0
    with contextlib.suppress(libvirt.libvirtError):
        handle.lookupByName(NAME).destroy()
    with contextlib.suppress(OSError):
        if pid and f"guest={NAME}," in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, signal.SIGKILL)


def applied(handle: Any, text: str, wish: Wish, hypervisor: str) -> tuple[str, dict[str, str]]:
    """The VM with the profile that virt-profile put on it, and which profile that was."""
    defined = handle.defineXML(text)
    try:
        if wish is NOTHING:
            return str(defined.XMLDesc(2)), {"name": wish.profile, "version": "-", "digest": "-"}
        command = [
            sys.executable,
            str(TOP / "virt-profile"),
            "-c",
            URI,
            NAME,
            "--profile",
            wish.value,
            "--json",
            "--no-define",
        ]
        done = subprocess.run(
            [*command, *(["--override"] if wish.override else [])], capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command[1:])}: {done.stderr}")
        result = json.loads(done.stdout)
        profile = next(one for one in result["applied"] if one["name"] == wish.profile)
        if profile["effect"] != "changed":
            raise SystemExit(f"{wish.value} changes nothing of the VM beside which it is measured")
        return able(result["xml"], hypervisor), profile
    finally:
        defined.undefine()


def able(text: str, hypervisor: str) -> str:
    """A VM with the host's CPU that QEMU can start where the host is a VM on AMD without that MSR.

    QEMU 7.2 sets IA32_ARCH_CAPABILITIES, which KVM refuses there: "failed to set MSR 0x10a".
    """
    amd = "AuthenticAMD" in Path("/proc/cpuinfo").read_text() and "hypervisor" in processor()[1]
    if hypervisor != "kvm" or not amd or "mode='host-passthrough'" not in text:
        return text
    disabled = "<feature policy='disable' name='arch-capabilities'/>"
    return re.sub(
        r"<cpu mode='host-passthrough'([^>]*?)/>", rf"<cpu mode='host-passthrough'\1>{disabled}</cpu>", text
    )


# --- the measurement -----------------------------------------------------------------


def measured(
    bench: Bench,
    wish: Wish,
    profile: dict[str, str],
    pairs: list[tuple[dict[str, float], dict[str, float]]],
    host: str,
) -> list[Measured]:
    """The rows of one profile: medians, and the ratios within pairs."""
    rows = []
    for name in ("service", *bench.jobs):
        job = JOBS[name]
        before, after = ([pair[side][name] for pair in pairs] for side in (0, 1))
        ratios = [with_profile / without for without, with_profile in zip(before, after, strict=True)]
        won = sum(ratio > 1 if job.better == "more" else ratio < 1 for ratio in ratios)
        rows.append(
            Measured(
                profile=wish.profile,
                version=profile["version"],
                digest=profile["digest"],
                beside=bench.beside,
                what=job.what,
                unit=job.unit,
                better=job.better,
                without=statistics.median(before),
                with_profile=statistics.median(after),
                ratio=statistics.median(ratios),
                low=min(ratios),
                high=max(ratios),
                pairs=len(ratios),
                won=won,
                date=datetime.date.today().isoformat(),
                host=host,
                source=f"./dev measure --pairs {len(ratios)}",
            )
        )
    return rows


def keep(rows: list[Measured]) -> None:
    """Puts rows into the data file; those of the same profile and VM that are there go."""
    new = {(row.profile, row.beside) for row in rows}
    every = [row for row in read() if (row.profile, row.beside) not in new] + rows
    order = [(wish.profile, bench.beside) for bench in PLAN for wish in bench.wishes]
    every.sort(
        key=lambda row: order.index((row.profile, row.beside)) if (row.profile, row.beside) in order else -1
    )
    lines = []
    for row in every:
        cells = [getattr(row, name) for name in Measured.__slots__]
        lines.append("\t".join(f"{cell:.6g}" if isinstance(cell, float) else str(cell) for cell in cells))
    new_file = DATA.with_suffix(".new")
    new_file.write_text(HEAD + "".join(f"{line}\n" for line in lines))
    new_file.replace(DATA)


class Progress:
    """One line a run, and how long the rest takes."""

    def __init__(self, runs: int) -> None:
        self._begin, self._runs, self._done = time.monotonic(), runs, 0

    def step(self, what: str, found: dict[str, float]) -> None:
        self._done += 1
        left = (time.monotonic() - self._begin) / self._done * (self._runs - self._done)
        values = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
        say(f"[{self._done}/{self._runs}, {left / 60:.0f} min left] {what}: {values}")


def measure(
    handle: Any, bench: Bench, pairs: int, hypervisor: str, seconds: float, progress: Progress
) -> list[Measured]:
    """All profiles of a bench, in turn with the VM as it is; who begins changes from round to round."""
    plain = domain(bench, hypervisor, seconds)
    without, _ = applied(handle, plain, NOTHING, hypervisor)
    ways = {wish: applied(handle, plain, wish, hypervisor) for wish in bench.wishes}
    found: dict[Wish, list[tuple[dict[str, float], dict[str, float]]]] = {wish: [] for wish in bench.wishes}
    for number in range(pairs):
        order: list[Wish | None] = [None, *bench.wishes]
        shift = number % len(order)
        values: dict[Wish | None, dict[str, float]] = {}
        for wish in order[shift:] + order[:shift]:
            text = without if wish is None else ways[wish][0]
            values[wish] = run(handle, text, bench, seconds)
            name = "as it is" if wish is None else wish.profile
            progress.step(f"{bench.beside}, round {number + 1} of {pairs}, {name}", values[wish])
        for wish in bench.wishes:
            found[wish].append((values[None], values[wish]))
    host = described(handle, hypervisor)
    return [
        row for wish, of_wish in found.items() for row in measured(bench, wish, ways[wish][1], of_wish, host)
    ]


def start_each(handle: Any, benches: list[Bench], hypervisor: str) -> bool:
    """Starts every VM without letting it run: what QEMU refuses is said. Does it take all of them?"""
    import libvirt

    fine = True
    for bench in benches:
        for wish in (NOTHING, *(wish for wish in bench.wishes if wish is not NOTHING)):
            with huge_pages(bench.pages):
                try:
                    text, _ = applied(handle, domain(bench, hypervisor, 1), wish, hypervisor)
                    handle.createXML(text, libvirt.VIR_DOMAIN_START_PAUSED)
                    print(f"{wish.profile} beside {bench.beside}: starts", flush=True)
                except libvirt.libvirtError as problem:
                    print(f"{wish.profile} beside {bench.beside}: {problem}", flush=True)
                    fine = False
                finally:
                    clean(handle)
    return fine


def can_run(handle: Any) -> bool:
    """Does a guest get to its service with this host's KVM?

    A /dev/kvm without VMX or SVM is software: a kernel that does not know of it takes minutes to boot.
    """
    import libvirt

    if not os.access("/dev/kvm", os.W_OK):
        return False
    if platform.machine() == "x86_64" and not processor()[1] & {"vmx", "svm"}:
        say("KVM: this host has /dev/kvm, but no hardware virtualization")
        return False
    bench = Bench("", (), ())
    try:
        run(handle, domain(bench, "kvm", 1), bench, 1)
    except (Late, libvirt.libvirtError) as problem:
        say(f"KVM: {problem}")
        return False
    return True


def inside(options: argparse.Namespace) -> int:
    """Beside a libvirtd of its own."""
    import libvirt

    libvirt.registerErrorHandler(lambda *_: None, None)
    handle = libvirt.open(URI)
    lock = LOCK.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say("another ./dev measure of this checkout is running")
        return 1
    lock.truncate(0)
    lock.write(f"{os.getpid()} {options.inside}")
    lock.flush()
    make_disk()
    hypervisor = options.accelerator
    if hypervisor == "auto" and options.start_only:
        hypervisor = "kvm" if os.access("/dev/kvm", os.W_OK) else "qemu"
    elif hypervisor == "auto":
        hypervisor = "kvm" if can_run(handle) else "qemu"
    if hypervisor == "qemu":
        say("QEMU emulates the CPU here: what needs KVM is left out")
    chosen = [
        Bench(**{**{name: getattr(bench, name) for name in Bench.__slots__}, "wishes": wishes})
        for bench in PLAN
        if (hypervisor == "kvm" or not bench.kvm_only)
        and (
            wishes := tuple(wish for wish in bench.wishes if not options.only or wish.profile in options.only)
        )
    ]
    if not chosen:
        say("nothing of that can be measured here")
        return 1
    if options.start_only:
        return 0 if start_each(handle, chosen, hypervisor) else 1
    progress = Progress(sum(options.pairs * (1 + len(bench.wishes)) for bench in chosen))
    failed = False
    for bench in chosen:
        try:
            with huge_pages(bench.pages):
                rows = measure(handle, bench, options.pairs, hypervisor, options.seconds, progress)
        except (Late, libvirt.libvirtError) as problem:
            say(f"{bench.beside}: not measured: {problem}")
            failed = True
            continue
        for row in rows:
            print(f"{row.profile} beside {row.beside}: {row.what}: {outcome(row)}", flush=True)
        if options.pairs >= LEAST_PAIRS:
            keep(rows)
    if options.pairs < LEAST_PAIRS:
        say(f"fewer than {LEAST_PAIRS} pairs: nothing of it is kept")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev measure", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=LEAST_PAIRS, help="runs with and without (%(default)s)")
    parser.add_argument("--only", action="append", metavar="PROFILE", help="this profile; may be repeated")
    parser.add_argument("--seconds", type=float, default=2, help="how long each job runs (%(default)s)")
    parser.add_argument(
        "--accelerator",
        choices=("auto", "kvm", "qemu"),
        default="auto",
        help="auto: KVM where a guest gets to its service with it, else QEMU's emulation",
    )
    parser.add_argument("--list", action="store_true", help="say what is measured, and end")
    parser.add_argument("--start-only", action="store_true", help="start each VM paused, and measure nothing")
    parser.add_argument("--inside", metavar="PID", help=argparse.SUPPRESS)
    options = parser.parse_args()
    known = {wish.profile for bench in PLAN for wish in bench.wishes}
    if unknown := set(options.only or ()) - known:
        parser.error(f"{', '.join(sorted(unknown))} is not measured; --list says what is")
    if options.list:
        for bench in PLAN:
            names = ", ".join(wish.profile for wish in bench.wishes)
            print(f"{names} beside {bench.beside}: {', '.join(bench.jobs)}{'; KVM only' * bench.kvm_only}")
        return 0
    if options.inside:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # pages are given back, the VM ends
        return inside(options)
    if os.geteuid() != 0:
        parser.error("only root starts a libvirtd of its own")
    asked = TOP / ".cache" / "embedded" / "cache"
    if not asked.is_dir():  # the daemon asks QEMU by itself then
        asked = PLACE / "asked"
        (asked / "qemu" / "capabilities").mkdir(parents=True, exist_ok=True)
    before = ["unshare", "--mount", "--net", "sh", str(HERE / "host.sh"), str(asked)]
    command = [*before, sys.executable, str(Path(__file__)), "--inside", str(os.getpid()), *sys.argv[1:]]
    process = subprocess.Popen(command, start_new_session=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop())
    return process.wait()


def stop() -> None:
    """Asks the part beside the daemon, which cleans up, and nobody else: the daemon is needed for that."""
    pid, _, started_by = (LOCK.read_text() if LOCK.exists() else "").partition(" ")
    if started_by == str(os.getpid()):
        os.kill(int(pid), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
