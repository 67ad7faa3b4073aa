# SPDX-License-Identifier: GPL-2.0-or-later
"""Imports go one way, the engine is pure, and the files keep the house's rules."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
MODULES = sorted((TOP / "virtProfile").glob("*.py"))

#: Every module imports only from lines above its own (at the top of the file).
LAYERS = [
    "",
    "version records valuetypes machines cpuset marks",
    "capsearch",
    "errors",
    "template xpathsyntax",
    "xpathcost schemafacts grammar provenance profile",
    "xmltree domainschema resultdocument intents",
    "schemacompile schemawriter schemacache",
    "sources",
    "formerdoing profileparser",
    "worktree",
    "hosttopology",
    "topology",
    "wants finding paths splice",
    "documents guestos capatoms",
    "context functions",
    "expression store hosts",
    "record",
    "meeting changes masking locating recordwriter buses capmerge hostfiles",
    "companions pcitopology likeness",
    "reviving withdrawal recording respelling",
    "removing",
    "wishlist",
    "actions selector judging placementcheck needs doubts mirroring",
    "seating",
    "placement",
    "conditions rendering bookkeeping recommendations controllers offline addresses supplies",
    "storage",
    "deviceclass sketch refusals",
    "facts",
    "complete fixpoint reporting",
    "engine",
    "linting lifecycle searchpath calls learnwriter",
    "learnwording",
    "learn",
    "options clashes secrecy",
    "cliargs output diff explain hostanswers",
    "catalogue completion standing showing hostcommands learncommand workers fleetreport hooks hotplug",
    "liveplan",
    "domains",
    "updating",
    "volumes",
    "defining gathering",
    "fleetwork",
    "fleet servicepolicy servicerequest serviceapi",
    "servicehosts servicecatalogue serviceprograms servicecallers",
    "servicework",
    "serviceworker",
    "servicepool",
    "servicemetrics servicepage",
    "servicedoor",
    "rest client",
    "serveargs servesocket remote",
    "serve tasks",
    "cli",
    "",
]
RANK = {name: rank for rank, line in enumerate(LAYERS) for name in line.split()}


def imported(path: Path) -> list[str]:
    """Modules of the package that are imported at the top, type checking aside."""
    found = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            names = [node.module] if node.module else [one.name for one in node.names]
            found += [name.split(".")[0] for name in names]
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_imports_go_one_way(path: Path) -> None:
    if path.stem == "__init__":
        return
    assert path.stem in RANK, "name the module in LAYERS"
    for name in imported(path):
        assert RANK[name] < RANK[path.stem], name


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_who_may_know_the_world(path: Path) -> None:
    text = path.read_text()
    if path.stem not in ("domains", "defining"):
        assert not re.search(r"^\s*(import|from) libvirt\b", text, re.MULTILINE)
    if path.stem not in ("guestos", "offline", "deviceclass", "sketch"):
        assert not re.search(r"^\s*(import|from) virtinst\b", text, re.MULTILINE)
    pure = RANK.get(path.stem, 99) <= RANK["engine"] and path.stem not in ("store", "schemacache", "guestos")
    if pure:
        for word in ("os.environ", "import time", "import random", "datetime", "import socket"):
            assert word not in text, word


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_house_rules(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# SPDX-License-Identifier: GPL-2.0-or-later\n")
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 450, "what is its second job?"
