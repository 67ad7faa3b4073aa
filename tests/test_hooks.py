# SPDX-License-Identifier: GPL-2.0-or-later
"""The adapters in contrib/, driven by what their contracts say, as separate processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

import virtProfile
from virtProfile.format.document import parse
from virtProfile.hooks import HOOKS, limited, main

TOP = Path(__file__).parent.parent
CONTRIB = TOP / "contrib"
HOSTS = Path(__file__).parent / "data" / "hosts"

#: As Go writes it: tabs, no declaration; KubeVirt's own metadata.
KUBEVIRT = (
    '<domain type="kvm" xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0">\n'
    "\t<name>default_vm</name>\n"
    '\t<memory unit="b">1073741824</memory>\n'
    "\t<os>\n"
    '\t\t<type arch="x86_64" machine="q35">hvm</type>\n'
    "\t</os>\n"
    "\t<devices>\n"
    '\t\t<disk device="disk" type="file" model="virtio-non-transitional">\n'
    '\t\t\t<source file="/var/run/kubevirt-ephemeral-disks/disk.qcow2"></source>\n'
    '\t\t\t<target bus="virtio" dev="vda"></target>\n'
    "\t\t</disk>\n"
    '\t\t<graphics type="vnc" passwd="hush"></graphics>\n'
    "\t</devices>\n"
    "\t<metadata>\n"
    '\t\t<kubevirt xmlns="http://kubevirt.io">\n'
    "\t\t\t<uid>f0e1</uid>\n"
    "\t\t</kubevirt>\n"
    "\t</metadata>\n"
    '\t<vcpu placement="static">2</vcpu>\n'
    "</domain>"
)


def environ(**more: str) -> dict[str, str]:
    return {
        "PATH": f"{CONTRIB / 'kubevirt'}:/usr/bin:/bin",
        "PYTHONPATH": str(TOP),
        "HOME": "/nonexistent",
        **more,
    }


def shim(domain: str, vmi: object, *, swapped: bool = False, **more: str) -> subprocess.CompletedProcess[str]:
    """What sidecar-shim does: look for onDefineDomain in $PATH, take stdout as the new XML."""
    words = ["--vmi", json.dumps(vmi), "--domain", domain]
    if swapped:
        words = [f"--domain={domain}", f"--vmi={json.dumps(vmi)}", "--unknown", "x"]
    return subprocess.run(
        ["onDefineDomain", *words], capture_output=True, text=True, env=environ(**more), check=False
    )


def vmi(profiles: str) -> dict[str, object]:
    return {"metadata": {"name": "vm", "annotations": {"virt-profile/profiles": profiles}}, "spec": {}}


# --- KubeVirt -----------------------------------------------------------------------


def test_kubevirt() -> None:
    done = shim(KUBEVIRT, vmi("rng; fast-disk,priority=100"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('<domain type="kvm" xmlns:qemu')
    root = parse(done.stdout).root
    assert root.find("devices/rng/backend") is not None
    assert root.find("devices/disk/driver").get("cache") == "none"
    assert root.find("devices/graphics").get("passwd") == "hush"
    assert "\n\t\t<rng " in done.stdout  # indented as its neighbours
    assert '<kubevirt xmlns="http://kubevirt.io">\n\t\t\t<uid>f0e1</uid>' in done.stdout
    for swapped in (False, True):
        assert shim(KUBEVIRT, vmi("rng; fast-disk,priority=100"), swapped=swapped).stdout == done.stdout
    # on the target of a migration it runs again
    assert shim(done.stdout, vmi("rng; fast-disk,priority=100")).stdout == done.stdout


def test_kubevirt_without_profiles() -> None:
    for one in ({}, {"metadata": {"annotations": None}}, vmi("")):
        assert shim(KUBEVIRT, one).stdout == KUBEVIRT
    assert "<rng" in shim(KUBEVIRT, {}, VIRT_PROFILE_APPLY="rng").stdout
    assert shim(KUBEVIRT, vmi(""), VIRT_PROFILE_APPLY="rng").stdout == KUBEVIRT


@pytest.mark.parametrize(
    "domain, profiles, told",
    [
        (KUBEVIRT, "rgn", "no profile 'rgn'"),
        (KUBEVIRT, "rng,priority=many", "priority 'many'"),
        ("<domain>", "rng", "broken XML"),
        ("<!DOCTYPE a><domain/>", "rng", "DTD"),
    ],
)
def test_kubevirt_errors(domain: str, profiles: str, told: str) -> None:
    """A hook that fails is a VM that is not defined: nothing on stdout, the reason on stderr."""
    done = shim(domain, vmi(profiles))
    assert done.returncode == 1
    assert done.stdout == ""
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert "hush" not in done.stderr


@pytest.mark.parametrize("value", ["@/etc/hostname", "plain"])
def test_secrets_cannot_be_given_to_a_hook(tmp_path: Path, value: str) -> None:
    own(
        tmp_path,
        "<param name='pw' secret='yes'/><add><devices><graphics type='vnc' passwd='{$pw}'/></devices></add>",
    )
    done = shim(KUBEVIRT, vmi(f"own,pw={value}"), VIRT_PROFILE_PATH=str(tmp_path))
    assert done.returncode != 0 and not done.stdout
    assert "the secret parameter 'pw' cannot be given to a hook" in done.stderr
    assert Path("/etc/hostname").read_text().strip() not in done.stderr


def test_kubevirt_wrong_call() -> None:
    for words in ([], ["--domain"], ["domain"], ["--domain", "<domain/>", "--vmi", "{"]):
        done = subprocess.run(["onDefineDomain", *words], capture_output=True, text=True, env=environ())
        assert (done.returncode, done.stdout) == (1, ""), words
        assert done.stderr.startswith("virt-profile: ")


def test_the_hosts_files_are_the_context(tmp_path: Path) -> None:
    for name in ("new.capabilities.xml", "new.domcaps.xml"):
        (tmp_path / name).write_text((HOSTS / name).read_text())
    done = shim(KUBEVIRT, vmi("mirror-topology"), VIRT_PROFILE_HOST=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("<vcpupin ") == 2
    done = shim(KUBEVIRT, vmi("mirror-topology"), VIRT_PROFILE_HOST=str(tmp_path / "none"))
    assert done.returncode == 1
    assert "capabilities are not known" in done.stderr


def test_it_is_quick() -> None:
    times = []
    for _ in range(3):
        start = time.monotonic()
        shim(KUBEVIRT, vmi("rng"))
        times.append(time.monotonic() - start)
    assert min(times) < 1


def test_container_recipe_copies_what_there_is() -> None:
    for line in (CONTRIB / "kubevirt" / "Containerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            assert (TOP / line.split()[1]).exists(), line


# --- oVirt ----------------------------------------------------------------------------


def vdsm(path: Path, **properties: str) -> subprocess.CompletedProcess[str]:
    """What VDSM does for one hook: the file by the environment, no arguments, status and stderr."""
    hook = CONTRIB / "ovirt" / "before_vm_start" / "50_virt_profile"
    return subprocess.run(
        [hook], capture_output=True, text=True, env=environ(_hook_domxml=str(path), vmId="1", **properties)
    )


def test_ovirt(tmp_path: Path) -> None:
    path = tmp_path / "domxml"
    path.write_text(KUBEVIRT)
    inode = path.stat().st_ino
    done = vdsm(path, virt_profile="rng")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert path.stat().st_ino == inode
    first = path.read_text()
    assert "<rng" in first
    assert vdsm(path, virt_profile="rng").returncode == 0
    assert path.read_text() == first
    # a device, and a VM that asks for nothing
    for text in ("<interface type='bridge'/>", KUBEVIRT):
        path.write_text(text)
        assert vdsm(path).returncode == 0
        assert path.read_text() == text
    # 2 stops the start; the file is as it was
    done = vdsm(path, virt_profile="nope")
    assert (done.returncode, path.read_text()) == (2, KUBEVIRT)
    assert "no profile 'nope'" in done.stderr


def test_ovirt_what_gets_shorter(tmp_path: Path) -> None:
    """A profile that is off the VM's list is taken back."""
    path = tmp_path / "domxml"
    path.write_text(KUBEVIRT)
    vdsm(path, virt_profile="rng")
    text, count = re.subn(r"<virtuned:profile name=.rng./>", "", path.read_text())
    assert count == 1
    path.write_text(text)
    assert vdsm(path).returncode == 0
    assert path.stat().st_size < len(text)
    assert path.read_text().endswith("</domain>")
    assert "<rng" not in path.read_text()


def own(directory: Path, actions: str) -> None:
    """A profile `own` in a directory."""
    directory.chmod(0o755)
    (directory / "own.xml").write_text(f"<profile name='own'>{actions}</profile>")


def test_ovirt_keeps_the_encoding(tmp_path: Path) -> None:
    path = tmp_path / "domxml"
    text = KUBEVIRT.replace("default_vm", "Gr\u00fcn")
    data = f"<?xml version='1.0' encoding='iso-8859-1'?>\n{text}".encode("iso-8859-1")
    path.write_bytes(data)
    assert vdsm(path, virt_profile="rng").returncode == 0
    assert "Gr\u00fcn".encode("iso-8859-1") in path.read_bytes()
    assert b"<rng" in path.read_bytes()


# --- libvirt ---------------------------------------------------------------------------


def libvirt_hook(text: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """What libvirt does: four words, the XML on stdin; the status decides."""
    hook = CONTRIB / "libvirt" / "qemu.d" / "virt-profile"
    return subprocess.run([hook, *words], input=text, capture_output=True, text=True, env=environ(**more))


def test_libvirt() -> None:
    plain = KUBEVIRT
    held = shim(KUBEVIRT, vmi("rng")).stdout
    start = ("vm", "prepare", "begin", "-")
    assert libvirt_hook(plain, *start).returncode == 0
    done = libvirt_hook(held, *start)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    # what libvirt leaves out for its hook is not missing
    assert libvirt_hook(held.replace(' passwd="hush"', ""), *start).returncode == 0
    listed = plain.replace(
        "<metadata>",
        "<metadata><virtuned:virtuned xmlns:virtuned='http://virt-manager.org/schemas/virtuned/0.1'>"
        "<virtuned:profile name='rng'/></virtuned:virtuned>",
    )
    done = libvirt_hook(listed, *start)
    assert (done.returncode, done.stdout) == (1, "")
    assert "vm: the profiles on its list do not hold: add /domain/devices/rng" in done.stderr
    assert libvirt_hook(listed, *start, VIRT_PROFILE_HOOK="warn").returncode == 0
    for words in (
        ("vm", "start", "begin", "-"),
        ("vm", "migrate", "begin", "-"),
        ("vm", "release", "end", "-"),
    ):
        done = libvirt_hook(listed, *words)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    unknown = listed.replace("'rng'", "'mirror-topology'")
    done = libvirt_hook(unknown, *start)
    assert done.returncode == 0  # what cannot be judged here starts
    assert "cannot be judged" in done.stderr
    assert "libvirt" not in (CONTRIB / "libvirt" / "qemu.d" / "virt-profile").read_text().split("exec")[1]


def test_libvirt_does_not_tell_its_hook_passwords(tmp_path: Path) -> None:
    own(tmp_path, "<add><devices><graphics type='vnc' passwd='hush' port='-1'/></devices></add>")
    path = {"VIRT_PROFILE_PATH": str(tmp_path)}
    held = shim(KUBEVIRT.replace(' passwd="hush"', ""), vmi("own"), **path).stdout
    assert "hush" in held
    shown = held.replace("passwd='hush'", "").replace('passwd="hush"', "")
    start = ("vm", "prepare", "begin", "-")
    assert libvirt_hook(shown, *start, **path).returncode == 0
    done = libvirt_hook(shown.replace("port='-1'", "").replace('port="-1"', ""), *start, **path)
    assert "hush" not in done.stderr


def test_libvirt_without_the_hosts_documents() -> None:
    """A profile that chose by the host's documents is not judged without them, and others are."""
    sketch = (
        "<domain type='kvm'><name>vm</name><memory>524288</memory><vcpu>1</vcpu><os><type arch='x86_64'"
        " machine='q35'>hvm</type></os><features><acpi/></features><devices/></domain>"
    )
    host = (
        "<domainCapabilities><domain>kvm</domain><machine>q35</machine><arch>x86_64</arch><features>"
        "<hyperv supported='yes'><enum name='features'><value>relaxed</value></enum></hyperv></features></domainCapabilities>"
    )
    context = virtProfile.Context(domcapabilities=(host,))
    store = virtProfile.ProfileStore([TOP / "profiles"], check_owner=False)
    held = virtProfile.apply(sketch, ["windows-hyperv", "rng"], store=store, context=context).xml
    assert "relaxed" in held and "vapic" not in held
    start = ("vm", "prepare", "begin", "-")
    assert libvirt_hook(held, *start).returncode == 0
    done = libvirt_hook(re.sub("<rng .*?</rng>|<vr:record.*?</vr:record>", "", held, flags=re.S), *start)
    assert done.returncode == 1
    assert "(rng)" in done.stderr and "(windows-hyperv)" not in done.stderr


#: Beside a daemon that has our hook: VMs whose profiles hold, and one that lost what they want.
DAEMON = """
import libvirt, re, sys
import virtProfile
connection = libvirt.open("qemu:///system")
store = virtProfile.ProfileStore([sys.argv[1]], check_owner=False)
sketch = (
    "<domain type='qemu'><name>hooked</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>"
    "<os><type arch='x86_64' machine='q35'>hvm</type></os><devices>{}</devices></domain>"
)
def start(xml):
    domain = connection.defineXML(xml)
    try:
        domain.create()
        domain.destroy()
        return "started"
    except libvirt.libvirtError as problem:
        return str(problem)
    finally:
        domain.undefine()
print(start(sketch.format("")).replace("\\n", " "))
graphics = "<graphics type='vnc' passwd='hush'/>"
held = virtProfile.apply(sketch.format(graphics), ["rng", "guest-agent"], store=store).xml
print(start(held).replace("\\n", " "))
lost = re.sub("<rng .*?</rng>|<vr:record.*?</vr:record>", "", held, flags=re.S)
print(start(lost).replace("\\n", " "))
"""


@pytest.mark.slow
def test_libvirts_own_daemon(beside_a_daemon: list[str]) -> None:
    done = subprocess.run(
        [*beside_a_daemon, "/usr/bin/python3", "-c", DAEMON, str(TOP / "profiles")],
        capture_output=True,
        text=True,
        env=environ(PATH="/usr/sbin:/usr/bin:/sbin:/bin"),
    )
    assert done.returncode == 0, done.stderr
    without, held, lost = done.stdout.splitlines()
    assert (without, held) == ("started", "started")
    assert "the profiles on its list do not hold: add /domain/devices/rng" in lost


# --- all ---------------------------------------------------------------------------------


def test_scripts_call_hooks_that_there_are() -> None:
    called = set()
    for path in (*CONTRIB.rglob("onDefineDomain"), *CONTRIB.rglob("50_*"), *CONTRIB.rglob("qemu.d/*")):
        assert os.access(path, os.X_OK)
        called.add(path.read_text().split("-m virtProfile.hooks ")[1].split()[0])
    assert called == set(HOOKS) - {"mutate-domain"}  # virtProfile.service.kubevirt calls that
    assert main(["nope"]) == 2


@pytest.mark.parametrize(("name", "shown"), [("qemu", ""), ("on-define-domain", "<domain/>")])
def test_a_hook_that_takes_too_long_lets_the_vm_pass(
    name: str, shown: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def endless(argv: object) -> int:
        while True:
            pass

    monkeypatch.setenv("VIRT_PROFILE_HOOK_SECONDS", "1")
    argv = [name, "--domain", "<domain/>"]
    assert limited(argv, endless) == 0
    out, err = capfd.readouterr()
    assert out == shown
    assert "not done after 1 s of processor time: the VM passes" in err


def test_a_hook_in_time_says_what_it_says(capfd: pytest.CaptureFixture[str]) -> None:
    def quick(argv: object) -> int:
        print("<domain/>")
        return 1

    assert limited(["qemu"], quick) == 1
    assert capfd.readouterr().out == "<domain/>\n"
