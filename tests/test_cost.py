# SPDX-License-Identifier: GPL-2.0-or-later
"""What an apply and a command cost besides their work: cycles, modules, what is left running."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import cases
import library
import pytest
from commandline import DATA, run
from counting import calls

import virtProfile
from virtProfile.audit.judge import Auditor, rules_of
from virtProfile.engine.tree.work_tree import WorkTree
from virtProfile.host.context import Context
from virtProfile.service import policy

#: Calls of functions that they may take.
AUDIT, POLICY = 9_500, 2_500

TOP = Path(__file__).resolve().parent.parent
#: Modules that one profile on a file without a record imports at most: each is a 200th of the time.
MODULES = 105
#: What only other calls need.
NOT_OF_AN_APPLY = (
    "engine.actions.resolved",
    "engine.devices.placement",
    "engine.devices.placement_writer",
    "engine.devices.whole_guest",
    "engine.record.dropped",
    "engine.record.locate",
    "engine.record.trust",
    "engine.record.withdraw",
    "engine.selection.masks",
    "engine.tree.names",
    "host.fit",
    "host.overlay",
    "language.expression",
    "live.connection",
    "show.diff",
)


def _trees() -> int:
    return sum(isinstance(one, WorkTree) for one in gc.get_objects())


@pytest.mark.parametrize("name", ["design-full", "add-qxl-gap", "default-fits"])
def test_an_apply_leaves_no_cycles(name: str, tmp_path: Path) -> None:
    case = cases.load(cases.DIRECTORY / f"{name}.txt")
    store = cases.store_of(case, tmp_path)
    gc.collect()
    before = _trees()
    gc.disable()
    try:
        result = virtProfile.apply(case.domain, [one for one in case.call if one[0] != "-"], store=store)
        assert result.applied
        assert _trees() > before, "the explanations need it"
        del result
        assert _trees() == before
    finally:
        gc.enable()


def test_a_command_in_a_process_of_others_leaves_their_collector_alone() -> None:
    assert gc.isenabled()
    run(["--list"])
    assert gc.isenabled()


def test_modules_that_a_file_does_not_need() -> None:
    script = (
        "import sys; from virtProfile.cli.main import runcli\n"
        "status = runcli()\n"
        "print(status, *sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            script,
            "--input",
            "listed.xml",
            "--print-xml",
            "--profile-dir",
            "profiles",
            "-q",
        ],
        cwd=DATA,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(TOP), "PATH": "/usr/bin:/bin"},
    )
    status, *modules = done.stderr.split()
    assert status == "0"
    assert "lxml.etree" in modules
    others = ("libvirt", "virtinst", "gi", "xml.sax", "dataclasses", "logging", "subprocess", "difflib")
    slow = ("pathlib", "copy", "importlib.util", "urllib.parse")
    assert not {*others, *slow}.intersection(modules)
    assert not {f"virtProfile.{name}" for name in NOT_OF_AN_APPLY}.intersection(modules)
    assert len([name for name in modules if name.startswith("virtProfile")]) <= MODULES


def _disks(driver: str, letters: str = "abcdefghijklmnopqrstuvwxyz") -> str:
    disk = "<disk type='file' device='disk'>{}<source file='/a/{}'/><target dev='vd{}' bus='virtio'/></disk>"
    devices = "".join(disk.format(driver, letter, letter) for letter in letters)
    kind = "<os><type arch='x86_64' machine='q35'>hvm</type></os>"
    return f"<domain type='kvm'><name>a</name><memory>1048576</memory>{kind}<devices>{devices}</devices></domain>"


def test_an_audit_of_one_more_vm() -> None:
    """Of many VMs: what is the same for all is there."""
    store = library.store()
    auditor = Auditor(store, rules_of(store, ()))
    text = _disks("", letters="")
    with store.one_look():
        auditor.audit(text, "a", Context())
        assert calls(lambda: auditor.audit(text, "b", Context())) < AUDIT


def test_the_service_judges_an_element_once() -> None:
    before = _disks("<driver name='qemu' type='qcow2'/>")
    after = _disks("<driver name='qemu' type='qcow2' cache='none'/>")
    policy.check(before, after)
    assert calls(lambda: policy.check(before, after)) < POLICY
