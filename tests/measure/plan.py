# SPDX-License-Identifier: GPL-2.0-or-later
"""What ./dev measure runs: VMs, the profiles that promise them something, and what is looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def _field(number: int) -> Callable[[str], float]:
    """A field of fio's terse line, version 3 (fio(1), TERSE OUTPUT)."""
    return lambda text: float(text.split(";")[number])


def _speed(text: str) -> float:
    """Bytes a second of ``openssl speed -mr``, the last figure of its last line, in MiB."""
    return float(text.split()[-1].split(":")[-1]) / 2**20


READ_BANDWIDTH, READ_RATE, WRITE_BANDWIDTH, WRITE_RATE = map(_field, (6, 7, 47, 48))


@dataclass(frozen=True, slots=True)
class Job:
    """What the guest's first program does by this name (`init`), and what is read from it."""

    what: str
    unit: str
    #: of the line that the guest printed; None where the host measures
    value: Callable[[str], float] | None = None
    better: str = "more"


JOBS = {
    "service": Job("start to a service", "s", None, "less"),
    "random-read": Job("4k random reads, two jobs, depth 16", "IOPS", READ_RATE),
    "random-write": Job("4k random writes, flushed every 256, two jobs, depth 16", "IOPS", WRITE_RATE),
    "one-read": Job("4k random reads, one at a time", "IOPS", READ_RATE),
    "read": Job("sequential reads of 1 MiB", "KiB/s", READ_BANDWIDTH),
    "write": Job("sequential writes of 1 MiB, flushed every 64", "KiB/s", WRITE_BANDWIDTH),
    "memory-fill": Job("first writes to memory", "KiB/s", WRITE_BANDWIDTH),
    "memory-read": Job("random reads of 64 bytes of memory", "a second", READ_RATE),
    "clock": Job("reads of the clock by fio's null engine", "a second", READ_RATE),
    "aes": Job("AES-256-GCM by OpenSSL", "MiB/s", _speed),
    "sha": Job("SHA-256 by OpenSSL", "MiB/s", _speed),
    "idle": Job("the host's CPU while the guest idles", "% of a CPU", None, "less"),
    "to-guest": Job("TCP to the guest, one connection", "Mbit/s"),
    "from-guest": Job("TCP from the guest, one connection", "Mbit/s"),
    "to-guest-2": Job("TCP to the guest, two connections", "Mbit/s"),
    "from-guest-2": Job("TCP from the guest, two connections", "Mbit/s"),
}
#: Those that the host does with the guest's servers, and how many connections each has.
NETWORK = {"to-guest": 1, "from-guest": 1, "to-guest-2": 2, "from-guest-2": 2}


@dataclass(frozen=True, slots=True)
class Wish:
    """A profile as the program is asked for it: a value of ``--profile``, with ``--override`` where it converts."""

    value: str
    override: bool = False

    @property
    def profile(self) -> str:
        return self.value.partition(",")[0]


#: The VM beside itself: how much two runs of the same differ.
NOTHING = Wish("(nothing)")


@dataclass(frozen=True, slots=True)
class Bench:
    """A VM, the profiles that are tried on it one by one, and the jobs of each run."""

    #: what the VM has without the profile, in words: "beside …"
    beside: str
    wishes: tuple[Wish, ...]
    jobs: tuple[str, ...]
    machine: str = "q35"
    bus: str = "virtio"
    nic: str = "virtio"
    vcpus: int = 2
    #: parts of the domain that only this one has
    features: str = ""
    #: says nothing where QEMU emulates the CPU
    kvm_only: bool = False
    #: huge pages of 2 MiB that the host has to have
    pages: int = 0


DISK = ("random-read", "random-write", "read", "write")
PLAN = (
    Bench("a SATA disk", (Wish("virtio-disk", True), Wish("virtio-scsi", True)), DISK[:3], bus="sata"),
    Bench(
        "an IDE disk",
        (Wish("virtio-disk", True), Wish("virtio-scsi", True)),
        DISK[:3],
        machine="pc",
        bus="ide",
    ),
    Bench(
        "a virtio disk as libvirt makes it",
        (NOTHING, Wish("fast-disk"), Wish("iothreads-per-disk"), Wish("disk-multiqueue")),
        DISK,
    ),
    Bench("an e1000e NIC", (Wish("virtio-net", True),), ("idle", "to-guest", "from-guest"), nic="e1000e"),
    Bench("a virtio NIC with one queue", (Wish("net-multiqueue"),), ("to-guest-2", "from-guest-2")),
    Bench(
        "libvirt's default CPU model",
        (Wish("cpu-host-passthrough", True),),
        ("aes", "sha", "idle"),
        kvm_only=True,
    ),
    Bench(
        "memory in pages of the host's choice",
        (Wish("hugepages-2m"),),
        ("memory-fill", "memory-read"),
        kvm_only=True,
        pages=520,
    ),
    Bench(
        "one vCPU on whichever CPU is free",
        (Wish("dedicated-cpu,cpus=1,emulator=0"),),
        ("one-read", "sha", "idle"),
        vcpus=1,
        kvm_only=True,
    ),
    # Linux looks for Microsoft's switches where it does not find KVM's own.
    Bench(
        "a Linux guest that sees neither KVM nor Hyper-V",
        (Wish("windows-hyperv"),),
        ("clock", "idle"),
        features="<kvm><hidden state='on'/></kvm>",
        kvm_only=True,
    ),
)
