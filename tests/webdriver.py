# SPDX-License-Identifier: GPL-2.0-or-later
"""Chromium through its own driver, by the W3C's protocol: what test_page.py needs and no more."""

from __future__ import annotations

import base64
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {
    "Tab": "\ue004",
    "Enter": "\ue007",
    "Shift": "\ue008",
    "Control": "\ue009",
    "Space": " ",
    "Down": "\ue015",
    "ArrowLeft": "\ue012",
    "Escape": "\ue00c",
}
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--force-color-profile=srgb", "--hide-scrollbars",
]  # fmt: skip


class DriverError(Exception):
    """The driver refused a command."""


class Browser:
    """One session of headless Chromium with an empty profile of its own.

    :param profile: an empty directory
    :raises DriverError: no session
    """

    def __init__(self, driver: str, binary: str, profile: Path) -> None:
        self._log = (profile.parent / "chromedriver.log").open("w+")
        self._process = subprocess.Popen([driver, "--port=0"], stdout=self._log, stderr=subprocess.STDOUT)
        self._session = ""
        try:
            self._base = f"http://127.0.0.1:{self._port()}/session"
            options = {"binary": binary, "args": [*FLAGS, f"--user-data-dir={profile}"]}
            logs = {"browser": "ALL", "performance": "ALL"}
            wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": logs}
            found = self._call("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        except BaseException:
            self.close()
            raise
        self._session = "/" + found["sessionId"]

    def _port(self) -> str:
        for _ in range(300):
            self._log.seek(0)
            for line in self._log:
                if "on port " in line and line.rstrip().endswith("."):
                    return line.rstrip(".\n").rsplit(" ", 1)[1]
            time.sleep(0.05)
        raise DriverError("chromedriver did not start")

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self._base + self._session + path, data, method=method)
        asked.add_header("content-type", "application/json")
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as problem:
            value = json.load(problem)["value"]
            raise DriverError(f"{value['error']}: {value['message']}") from None

    def close(self) -> None:
        try:
            if self._session:
                self._call("DELETE", "")
        finally:
            self._process.terminate()
            self._process.wait(10)
            self._log.close()

    def open(self, url: str) -> None:
        self._call("POST", "/url", {"url": url})

    def cdp(self, command: str, **params: Any) -> Any:
        """A command of Chromium's own protocol."""
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": params})

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that a function body returns."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def run_async(self, script: str, *arguments: Any) -> Any:
        """What a function body gives to its last argument."""
        return self._call("POST", "/execute/async", {"script": script, "args": list(arguments)})

    def find(self, selector: str) -> str:
        """The id of the one visible element; waits for it."""
        return str(self.wait(lambda: self._visible(selector), selector))

    def _visible(self, selector: str) -> str | None:
        script = (
            "return [...document.querySelectorAll(arguments[0])].find((one) => one.checkVisibility()) ?? null"
        )
        found = self.run(script, selector)
        return found[ELEMENT] if found else None

    def click(self, selector: str) -> None:
        self._call("POST", f"/element/{self.find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        self._call("POST", f"/element/{self.find(selector)}/value", {"text": text})

    def text(self, selector: str) -> str:
        return str(self._call("GET", f"/element/{self.find(selector)}/text"))

    def press(self, *names: str) -> None:
        """Presses keys together, as ``press("Shift", "Tab")``; a plain character is itself."""
        codes = [KEYS.get(one, one) for one in names]
        steps = [{"type": "keyDown", "value": one} for one in codes]
        steps += [{"type": "keyUp", "value": one} for one in reversed(codes)]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": steps}]})

    def wait(self, ready: Callable[[], Any], what: str, seconds: float = 15) -> Any:
        """The first true value of `ready`.

        :raises AssertionError: none in time
        """
        end = time.monotonic() + seconds
        while True:
            found = ready()
            if found:
                return found
            assert time.monotonic() < end, f"not in {seconds} s: {what}"
            time.sleep(0.03)

    def size(self, width: int, height: int) -> None:
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def colours(self, scheme: str) -> None:
        """``dark``, ``light`` or "" for the browser's own."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.cdp("Emulation.setEmulatedMedia", features=features)

    def picture(self, path: Path) -> None:
        """The whole page as PNG: the window grows for it, as editors draw only what is in sight."""
        width, height = self.run("return [innerWidth, innerHeight]")
        for _ in range(3):
            self.size(width, max(height, self.run("return document.documentElement.scrollHeight")))
            self.run_async("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
        found = self.cdp("Page.captureScreenshot", format="png")
        self.size(width, height)
        path.write_bytes(base64.b64decode(found["data"]))

    def console(self) -> Sequence[str]:
        """What was said on the console since the last call."""
        return [
            f"{one['level']}: {one['message']}" for one in self._call("POST", "/se/log", {"type": "browser"})
        ]

    def requests(self) -> Sequence[str]:
        """The addresses that were asked for since the last call."""
        found = []
        for one in self._call("POST", "/se/log", {"type": "performance"}):
            event = json.loads(one["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                found.append(event["params"]["request"]["url"])
        return found
