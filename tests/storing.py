# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks with a size on real guests; run beside `daemon.sh`'s daemon.

    tests/storing.py DIRECTORY

Prints one JSON object: what each step ended with, and what is there then.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import libvirt

TOP = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP))

from crashing import PORTS  # noqa: E402

from virtProfile.cli.main import runcli  # noqa: E402

URI = "qemu:///system"
VM = f"""<domain type='qemu'><name>vp-e-store</name><memory unit='MiB'>48</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os>
<devices><controller type='pci' index='0' model='pcie-root'/>{PORTS}</devices></domain>"""


def profile(name: str, disk: str) -> str:
    return (
        f"<profile name='{name}' version='1' xmlns:virtuned='http://virt-manager.org/schemas/virtuned/0.1'>"
        f"<title>t</title><add><devices>{disk}</devices></add></profile>"
    )


def main(place: Path) -> dict[str, Any]:
    images = place / "images"
    images.mkdir()
    profiles = place / "profiles"
    profiles.mkdir()
    one = (
        f"<disk virtuned:size='8 MiB'><driver name='qemu' type='qcow2'/><source file='{images}/{{}}.qcow2'/>"
        "<target dev='{}' bus='virtio'/></disk>"
    )
    lost = f"<disk><source file='{images}/none.img'/><target dev='vdd' bus='virtio'/></disk>"
    bare = "<disk virtuned:size='16 MiB'><target bus='virtio'/></disk>"
    table = {
        "data": one.format("data", "vdb"),
        "half": one.format("half", "vdc") + lost,
        "bare": bare,
        "one": one.format("one", "vdb"),
    }
    for name, disk in table.items():
        (profiles / f"{name}.xml").write_text(profile(name, disk))
    connection = libvirt.open(URI)
    pool = connection.storagePoolCreateXML(
        f"<pool type='dir'><name>vp-e-pool</name><target><path>{images}</path></target></pool>"
    )
    domain = connection.defineXML(VM)
    domain.create()
    told: dict[str, Any] = {}

    def call(step: str, *words: str) -> None:
        out, err = io.BytesIO(), io.StringIO()
        argv = ["--connect", URI, "vp-e-store", "--profile-dir", str(profiles), *words]
        status = runcli(argv, stdout=out, stderr=err, environ={})
        disks = (
            domain.XMLDesc(0).count("<disk"),
            domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE).count("<disk"),
        )
        files = sorted(one.name for one in images.iterdir())
        told[step] = {"status": status, "told": err.getvalue(), "disks": disks, "files": files}

    call("update", "--profile", "data", "--update")
    call("again", "--profile", "data", "--update")
    call("half", "--profile", "half", "--update")
    for number in range(3):
        connection.defineXML(VM.replace("vp-e-store", f"vp-e-fleet{number}"))
    out, err = io.BytesIO(), io.StringIO()
    argv = ["--connect", URI, "--all", "--profile-dir", str(profiles), "--profile", "one", "--define"]
    status = runcli([*argv, "--jobs", "3"], stdout=out, stderr=err, environ={})
    files = sorted(one.name for one in images.iterdir())
    told["fleet"] = {"status": status, "told": err.getvalue(), "out": out.getvalue().decode(), "files": files}
    info = subprocess.run(
        ["qemu-img", "info", "-U", "--output=json", str(images / "data.qcow2")],
        capture_output=True,
        check=True,
    )
    told["image"] = json.loads(info.stdout)
    done = subprocess.run(
        [
            "/usr/bin/python3", str(TOP / "virt-install"), "--connect", URI, "--name", "vp-e-new", "--memory", "48",
            "--virt-type", "qemu", "--osinfo", "none", "--import", "--graphics", "none", "--network", "none",
            "--noautoconsole", "--profile", "bare",
        ],
        capture_output=True, text=True, env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(place), "VIRT_PROFILE_PATH": str(profiles)},
    )  # fmt: skip
    told["install"] = {"status": done.returncode, "told": done.stdout + done.stderr}
    if done.returncode == 0:
        new = connection.lookupByName("vp-e-new")
        told["install"]["xml"] = new.XMLDesc(0)
        told["install"]["active"] = bool(new.isActive())
        told["install"]["info"] = new.blockInfo("vda")
        new.destroy()
    domain.destroy()
    pool.destroy()
    return told


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
