# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/counterparts.md, of what stands in .cache/counterparts: ./dev counterparts, after the tests passed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from test_cockpit_machines import installed  # noqa: E402

from counterparts import like_nova  # noqa: E402

DOCUMENT = like_nova.TOP / "docs" / "counterparts.md"
COMMUNITY = like_nova.PLACE / "debian/usr/lib/python3/dist-packages/ansible_collections/community/libvirt"
GEMS = Path("/usr/share/rubygems-integration/all/gems")

HEAD = """# Counterparts

Written by `./dev counterparts`, which fetches other programs, drives them and compares (tests/test_counterparts.py,
tests/test_kubevirt.py, tests/test_cockpit_machines.py). What is not in the table did not run.

| counterpart | version | what was driven | result |
|---|---|---|---|
"""

DIFFERENCES = """
## Where like-nova and Nova differ

A VM is taken out of Nova's XML (name, memory, CPUs, disks, NICs), `like-nova` is applied to that, and the two
are compared value by value. All differences have one of these reasons; each was met.

| where | flavors and images | why |
|---|---|---|
"""

NOT_DRIVEN = """
`mirror-topology` chooses other host CPUs than Nova (the first free cores instead of the last), gives the guest cores
and threads as the host has them where Nova gives sockets, writes no node for a guest that is on one, and adds the
distances of several. Nova refused `hw:cpu_thread_policy=isolate` on the fixture's host; `mirror-topology` with
`policy=isolate` has a place there.

## Not driven

* virt-v2v: under emulation a conversion of a small VM (`-i vmx`) did not come past its appliance ("Mapping filesystem
  data") within half an hour; its source package has parts of its output only.
* A cluster of KubeVirt, a host of oVirt or OpenStack: the adapters and bundles are judged by what their code writes.
"""


def rows() -> list[tuple[str, str, str, str]]:
    """What ran: counterpart, version, what was driven, result."""
    found = []
    for release in reversed(like_nova.releases()):
        result = like_nova.result(release)
        count, made = len(result["combinations"]), len(like_nova.rows(release))
        what = f"its libvirt driver on its own fixture of a host: {count} combinations of flavor and image"
        if release == 34:
            told = (
                f"{made} domains, {count - made} refused by Nova; `like-nova` differs where the table below says; "
                "`mirror-topology` places dedicated guests on the same nodes with whole cores; every domain makes the round trip"
            )
        else:
            told = f"{made} domains; a tenth beside `like-nova,release={release}`: the same reasons"
        found.append(("OpenStack Nova", result["nova"], what, told))
    collection = json.loads((COMMUNITY / "MANIFEST.json").read_text())["collection_info"]["version"]
    found.append(
        (
            "Ansible, community.libvirt",
            f"{version('ansible-core')}, {collection}",
            "the play of our collection's README, twice, on a libvirtd of its own",
            "module and filter change two VMs; the second run changes nothing",
        )
    )
    (gem,) = GEMS.glob("vagrant-libvirt-*")
    found.append(
        (
            "vagrant-libvirt",
            gem.name.removeprefix("vagrant-libvirt-"),
            "its configuration and its action that creates a domain, for 25 Vagrantfiles; contrib/vagrant in it",
            "every domain makes the round trip; `libvirt.profiles` gives libvirt what `virt-profile` makes",
        )
    )
    found.append(
        (
            "KubeVirt's domain hook",
            "v1alpha1 (KubeVirt 1.9)",
            f"a client of its messages by Google's protobuf {version('protobuf')} and grpcio {version('grpcio')}",
            "profiles of the VMI are applied, the same as the sidecar's; errors are statuses",
        )
    )
    script = (like_nova.TOP / "tests" / "cockpit_dialogs.py").read_text()
    changing, making = (
        len(re.findall(rf'^    "[^"]+": {kind}\(', script, re.M)) for kind in ("Dialog", "Creation")
    )
    found.append(
        (
            "cockpit-machines",
            installed().rpartition("-")[0],
            f"{changing} dialogs that change a VM and {making} that make one, in Chromium on a libvirtd of its own",
            "the same calls and the same VM with our virt-xml and virt-install as without; a standing profile is on VMs "
            "that are made",
        )
    )
    return found


def text() -> str:
    """The document."""
    lines = [HEAD + "\n".join("| " + " | ".join(row) + " |" for row in rows()), DIFFERENCES.rstrip("\n")]
    for reason in like_nova.REASONS:
        of = (
            "all"
            if not reason.of
            else "where CPUs are shared"
            if "*" in reason.of
            else ", ".join(sorted(reason.of))
        )
        where = reason.where.replace("\\", "").replace("|", "\\|")
        lines.append(f"| `{where}` | {of} | {reason.why} |")
    return "\n".join(lines) + "\n" + NOT_DRIVEN


if __name__ == "__main__":
    DOCUMENT.write_text(text())
    subprocess.run(["git", "diff", "--stat", "--", DOCUMENT], check=False)
