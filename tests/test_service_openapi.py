# SPDX-License-Identifier: GPL-2.0-or-later
"""Made-up requests by the OpenAPI document: no answer is a 5xx, each is as the document says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("uvicorn")

import virtProfile.service.openapi  # noqa: E402, F401 - fills the table
from virtProfile.service.route import ROUTES  # noqa: E402

TOP = Path(__file__).parent.parent
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.mark.slow
def test_answers_fit_the_document(tmp_path: Path) -> None:
    program = Path(sys.executable).parent / "schemathesis"
    if not program.exists():
        pytest.skip("pip install schemathesis; ./dev test --slow does")
    (tmp_path / "policy").write_text("[default]\nprofiles = ['*']\nwrite-profiles = true\n")
    words = [
        sys.executable,
        TOP / "virt-profiled",
        "--listen",
        "127.0.0.1:0",
        "--store",
        tmp_path / "store",
        "--policy",
        tmp_path / "policy",
        "-q",
    ]
    served = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        assert served.stderr is not None
        found = re.fullmatch(r"listening on (.*)/#token=(.*)\n", served.stderr.readline())
        assert found
        url, token = found.groups()
        command = [program, "run", f"{url}/openapi.json", "-u", url, "-H", f"Authorization: Bearer {token}"]
        options = ["--phases", "fuzzing", "--max-examples", "30", "--checks", CHECKS]
        done = subprocess.run([*command, *options], capture_output=True, text=True, cwd=tmp_path, timeout=280)
    finally:
        served.terminate()
        served.communicate()
    assert done.returncode == 0, done.stdout[-6000:]
    assert re.search(rf"Tested: {len(ROUTES)}\b", done.stdout)
