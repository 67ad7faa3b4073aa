# SPDX-License-Identifier: GPL-2.0-or-later
"""The Ansible collection, by ansible-core itself: over local connections to drivers of libvirt."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commandline import DATA

TOP = Path(__file__).parent.parent
COLLECTIONS = TOP / "contrib" / "ansible"
PLAYBOOK = Path(sys.executable).parent / "ansible-playbook"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PLAYBOOK.exists(), reason="ansible-core is not installed"),
]


def environ(tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": str(TOP),
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_LOCALHOST_WARNING": "False",
        "ANSIBLE_STDOUT_CALLBACK": "json_lines",
        "ANSIBLE_CALLBACK_PLUGINS": str(tmp_path / "callbacks"),
        "ANSIBLE_DEVEL_WARNING": "False",
        "ANSIBLE_NOCOWS": "1",
    }


CALLBACK = '''
import json, sys
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: json_lines
type: stdout
short_description: a line for each result
description: a line for each result
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "json_lines"

    def tell(self, result, failed):
        row = {"host": result._host.get_name(), "task": result._task.get_name(), "failed": failed}
        row["result"] = {k: v for k, v in result._result.items() if not k.startswith("_ansible")}
        print("RESULT " + json.dumps(row, default=str))

    def v2_runner_on_ok(self, result):
        self.tell(result, False)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.tell(result, True)
'''


def command(
    tmp_path: Path, tasks: list[dict[str, Any]], hosts: dict[str, dict[str, str]], *words: str
) -> list[str]:
    """What runs tasks, once their book and inventory are written."""
    (tmp_path / "callbacks").mkdir(exist_ok=True)
    (tmp_path / "callbacks" / "json_lines.py").write_text(CALLBACK)
    book = [{"hosts": "all", "gather_facts": False, "tasks": tasks}]
    (tmp_path / "book.yml").write_text(json.dumps(book))
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = {"all": {"hosts": {name: {**common, **more} for name, more in hosts.items()}}}
    (tmp_path / "inventory.json").write_text(json.dumps(inventory))
    return [str(PLAYBOOK), "-i", str(tmp_path / "inventory.json"), str(tmp_path / "book.yml"), *words]


def outcome(text: str) -> list[Any]:
    """(host, result, failed) of each task, in order, from what a play printed."""
    rows = [json.loads(line[7:]) for line in text.splitlines() if line.startswith("RESULT ")]
    assert rows, text
    return [(row["host"], row["result"], row["failed"]) for row in rows]


def play(
    tmp_path: Path, tasks: list[dict[str, Any]], hosts: dict[str, dict[str, str]], *words: str
) -> list[Any]:
    """Run tasks; gives (host, result, failed) of each, in order."""
    done = subprocess.run(
        command(tmp_path, tasks, hosts, *words), capture_output=True, text=True, env=environ(tmp_path)
    )
    return outcome(done.stdout or done.stderr)


def module(**more: Any) -> dict[str, Any]:
    profiles = {"profile_dirs": [str(DATA / "profiles")], "uri": "{{ uri }}"}
    return {"name": "profiles", "virt.profile.virt_profile": {**profiles, **more}}


DRIVER = {"one": {"uri": f"test://{DATA / 'driver.xml'}"}}


def test_check_mode_and_diff_are_true(tmp_path: Path) -> None:
    """On the test driver, which forgets: what is predicted is what is then done."""
    task = module(name="vm", profiles=["cache"])
    ((_, checked, failed),) = play(tmp_path, [task], DRIVER, "--check", "--diff")
    assert not failed, checked
    assert checked["changed"]
    assert [one["origin"]["profile"] for one in checked["changes"]] == ["cache"] * len(checked["changes"])
    ((_, done, _),) = play(tmp_path, [task], DRIVER, "--diff")
    assert done["changed"]
    assert done["changes"] == checked["changes"]
    assert done["applied"] == checked["applied"]
    for word in ("before", "after"):
        assert "hush" not in checked["diff"][word]
    assert done["diff"]["before"] == checked["diff"]["before"]
    assert "cache='none'" in checked["diff"]["after"]
    assert "cache='none'" in done["diff"]["after"]
    ((_, plain, _),) = play(tmp_path, [task], DRIVER)
    assert "diff" not in plain


def test_errors(tmp_path: Path) -> None:
    ((_, found, failed),) = play(tmp_path, [module(name="vm", profiles=["nope"])], DRIVER)
    assert failed
    assert "no profile 'nope'" in found["msg"]
    assert found["error"]["code"] == "not-found"
    ((_, found, failed),) = play(tmp_path, [module(name="nobody")], DRIVER)
    assert failed
    assert found["error"]["code"] == "libvirt"
    ((_, found, failed),) = play(tmp_path, [module(name="vm", profiles=["smm"])], DRIVER)
    assert failed
    assert "would see another machine" in found["msg"]
    ((_, found, failed),) = play(tmp_path, [module(name="vm", profiles=["smm"], guest_abi=True)], DRIVER)
    assert not failed


def test_params(tmp_path: Path) -> None:
    wish = {"name": "desktop", "version": "1.2", "params": {"heads": 3}, "priority": 5}
    ((_, found, failed),) = play(tmp_path, [module(name="vm", profiles=[wish], guest_abi=True)], DRIVER)
    assert not failed, found
    assert any(one["after"] == "3" for one in found["changes"])


@pytest.mark.parametrize("record", [True, False])
def test_filter(tmp_path: Path, record: bool) -> None:
    import virtProfile

    text = (DATA / "vm.xml").read_text()
    (tmp_path / "vm.xml").write_text(text)
    call = f"virt.profile.virt_profile(profiles=['cache'], profile_dirs=['{DATA / 'profiles'}'], record={record})"
    once = f"{{{{ lookup('file', '{tmp_path / 'vm.xml'}', rstrip=False) | {call} }}}}"
    twice = f"{{{{ lookup('file', '{tmp_path / 'vm.xml'}', rstrip=False) | {call} | {call} }}}}"
    tasks = [
        {"name": "once", "copy": {"content": once, "dest": str(tmp_path / "once.xml")}},
        {"name": "twice", "copy": {"content": twice, "dest": str(tmp_path / "twice.xml")}},
        {"name": "bad", "debug": {"msg": "{{ '<domain' | virt.profile.virt_profile }}"}},
    ]
    rows = play(tmp_path, tasks, DRIVER)
    assert [failed for _, _, failed in rows] == [False, False, True]
    store = virtProfile.ProfileStore([DATA / "profiles"], check_owner=False)
    wanted = virtProfile.apply(text, ["cache"], store=store, record=record).xml
    assert (tmp_path / "once.xml").read_text() == wanted
    assert (tmp_path / "twice.xml").read_text() == wanted
    assert "broken XML" in str(rows[2][1])


def test_documentation(tmp_path: Path) -> None:
    for kind, words in (("module", ["check_mode", "guest_abi"]), ("filter", ["domcapabilities"])):
        done = subprocess.run(
            [PLAYBOOK.with_name("ansible-doc"), "-t", kind, "virt.profile.virt_profile"],
            capture_output=True,
            text=True,
            env=environ(tmp_path),
        )
        assert done.returncode == 0, done.stderr
        for word in words:
            assert word in done.stdout


def test_options_are_those_of_the_documentation() -> None:
    yaml = pytest.importorskip("yaml")
    path = COLLECTIONS / "ansible_collections" / "virt" / "profile" / "plugins"
    text = (path / "modules" / "virt_profile.py").read_text()
    documented = yaml.safe_load(text.split('DOCUMENTATION = r"""')[1].split('"""')[0])["options"]
    for name, option in documented.items():
        assert f'"{name}": {{"type": "{option["type"]}"' in text
    filtered = yaml.safe_load((path / "filter" / "virt_profile.yml").read_text())["DOCUMENTATION"]["options"]
    code = (path / "filter" / "virt_profile.py").read_text().split("def virt_profile(")[1].split("):")[0]
    assert {line.strip().split("=")[0].rstrip(",") for line in code.splitlines() if line.strip()} == {
        "xml" if name == "_input" else name for name in filtered
    }


def test_several_embedded_drivers(embed: Callable[[str], str], tmp_path: Path) -> None:
    """Two hosts at once: applied, a second time nothing, taken back, as it was."""
    uris = {name: {"uri": embed(name)} for name in ("east", "west")}
    script = (
        "import libvirt, sys\nlibvirt.virEventRegisterDefaultImpl()\nc = libvirt.open(sys.argv[1])\n"
        "d = c.defineXML(sys.argv[2]) if len(sys.argv) > 2 else c.lookupByName('vm')\n"
        "print(d.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE))\n"
    )
    xml = (DATA / "vm.xml").read_text().replace("type='kvm'", "type='qemu'")

    def ask(name: str, *words: str) -> str:
        uri = uris[name]["uri"]
        return subprocess.run(
            [sys.executable, "-c", script, uri, *words], capture_output=True, text=True, check=True
        ).stdout

    before = {name: ask(name, xml) for name in uris}
    task = module(name="vm", profiles=["cache", "sound"], guest_abi=True)
    checked = {host: row for host, row, _ in play(tmp_path, [task], uris, "--check", "--diff")}
    assert {name: ask(name) for name in uris} == before
    done = {host: row for host, row, failed in play(tmp_path, [task], uris, "--diff") if not failed}
    assert set(done) == set(uris)
    for name in uris:
        assert checked[name]["changed"] and done[name]["changed"]
        assert checked[name]["changes"] == done[name]["changes"]
        assert ask(name) != before[name]
    again = play(tmp_path, [task], uris, "--diff")
    assert [row["changed"] for _, row, _ in again] == [False, False]
    assert all(row["diff"]["before"] == row["diff"]["after"] for _, row, _ in again)
    play(tmp_path, [module(name="vm", state="absent", guest_abi=True)], uris)
    assert {name: ask(name) for name in uris} == before


SECRET = "TOPS3CRET"
KEEPS = (
    "<profile name='keeps' version='1'><param name='pw' secret='yes'/>"
    "<add><description>it is {$pw}</description><title>{substring($pw, 1, 6)}</title></add></profile>"
)


@pytest.mark.parametrize("words", [("--check", "--diff"), ("--diff", "-vvv")])
def test_a_secret_param_is_in_no_answer_and_no_log(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "keeps.xml").write_text(KEEPS)
    profile = {"name": "keeps", "params": {"pw": SECRET}}
    task = module(name="vm", profiles=[profile], profile_dirs=[str(tmp_path / "profiles")])
    ((_, found, failed),) = play(tmp_path, [task], DRIVER, *words)
    assert not failed, found
    assert found["changed"] and "<title>" in found["diff"]["after"]
    assert SECRET[:6] not in json.dumps(found)
