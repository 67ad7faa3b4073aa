# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules of the source tree that no linter knows; the import contracts are in .importlinter."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from artifacts import PLACE

TOP = Path(__file__).parent.parent
PACKAGE = TOP / "virtProfile"
MODULES = sorted(PACKAGE.rglob("*.py"))


def dotted(path: Path) -> str:
    """The name by which a module is imported."""
    parts = list(path.relative_to(TOP).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {dotted(path) for path in MODULES}


def imports(path: Path) -> set[str]:
    """Modules of the package that a module imports, inside functions and for type checking too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (below & NAMES) or ({node.module} & NAMES)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & NAMES
    return found - {dotted(path)}


def test_no_circles() -> None:
    """No module is imported, however indirectly, by what it imports."""
    left = {dotted(path): imports(path) for path in MODULES}
    del left["virtProfile"]  # the public names, from where they are defined
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]
    assert not left, {name: sorted(needs & left.keys()) for name, needs in left.items()}


def test_every_room_is_in_the_contract() -> None:
    contract = configparser.ConfigParser()
    contract.read(TOP / ".importlinter")
    listed = set(contract["importlinter:contract:rooms"]["layers"].replace(":", " ").split())
    rooms = {path.stem for path in PACKAGE.glob("*.py")} | {
        path.parent.name for path in PACKAGE.glob("*/__init__.py")
    }
    assert rooms - {"__init__"} == listed


def test_the_root_stays_small() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 12


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_every_module(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# SPDX-License-Identifier: GPL-2.0-or-later\n")
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 700, "what is its second subject?"


def test_every_module_can_be_imported_first() -> None:
    """Each in a process that has imported nothing of the package before."""
    code = (
        "import importlib, os, sys\n"
        "for name in sys.argv[1:]:\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        importlib.import_module(name)\n"
        "        os._exit(0)\n"
        "    if os.waitpid(pid, 0)[1]:\n"
        "        sys.exit(name)\n"
    )
    optional = {"virtProfile.service.routes", "virtProfile.service.middleware", "virtProfile.service.page"}
    names = sorted(NAMES - optional)
    done = subprocess.run([sys.executable, "-c", code, *names], cwd=TOP, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


#: Of a hundred annotations of the package, how many say `Any`; lower it when it can be.
MOST_ANY = 6.3


def annotated(path: Path) -> Iterator[ast.expr]:
    """Every annotation of a module: of arguments, of what is returned, of variables."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            named = node.args
            every = [*named.posonlyargs, *named.args, *named.kwonlyargs, named.vararg, named.kwarg]
            yield from (one.annotation for one in every if one is not None and one.annotation is not None)
            if node.returns is not None:
                yield node.returns
        elif isinstance(node, ast.AnnAssign):
            yield node.annotation


def says_any(annotation: ast.expr) -> bool:
    return any(isinstance(one, ast.Name) and one.id == "Any" for one in ast.walk(annotation))


def test_types_are_said() -> None:
    """How much of the package no type checker sees; this can only go down."""
    every = [one for path in MODULES for one in annotated(path)]
    share = 100 * sum(map(says_any, every)) / len(every)
    assert share <= MOST_ANY, "name the type: a Protocol, an alias, `object` for what is only passed on"
    assert share > MOST_ANY - 0.5, f"it went down to {share:.1f}: lower MOST_ANY"


def test_no_alias_of_any() -> None:
    """`Element = Any` would hide what the share above counts."""
    aliases = [
        f"{dotted(path)}: {ast.unparse(node)}"
        for path in MODULES
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and node.value.id == "Any"
    ]
    assert not aliases


#: A step of a workflow that keeps files; those below a directory with a dot count as hidden (upload-artifact 4.4).
UPLOADS = re.compile(r"actions/upload-artifact@.*?(?=\n +- |\Z)", re.DOTALL)


@pytest.mark.parametrize("name", ["ci", "nightly"])
def test_workflows_keep_the_pictures(name: str) -> None:
    text = (TOP / ".github" / "workflows" / f"{name}.yml").read_text()
    (step,) = UPLOADS.findall(text)
    for line in ("if: always()", f"path: {PLACE}", "include-hidden-files: true"):
        assert re.search(rf"^ +{re.escape(line)}$", step, re.MULTILINE), (line, step)
