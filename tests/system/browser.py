"""Headless Chromium, driven by its DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import connect
from websockets.sync.connection import Connection

__all__ = ["Browser", "browser"]

TIMEOUT = 30.0


class Browser:
    """One page of a browser.

    Attributes:
        problems: errors and warnings of the console, and exceptions of scripts.
    """

    def __init__(self, socket: Connection) -> None:
        self._socket = socket
        self._number = 0
        self.problems: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the protocol; returns its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(TIMEOUT))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        method, parameters = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(str(parameters["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
            self.problems.append(str(parameters["args"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.problems.append(str(parameters["entry"]))

    def open(self, url: str) -> None:
        """Open a page."""
        self.call("Page.navigate", url=url)

    def value(self, script: str) -> Any:
        """The value of an expression on the page."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, script: str, seconds: float = TIMEOUT) -> float:
        """Wait until an expression is true; returns the seconds that this took."""
        began = time.monotonic()
        while not self.value(script):
            assert time.monotonic() - began < seconds, (
                script,
                self.problems,
                self.value("document.body.innerText.slice(0, 2000)"),
            )
            time.sleep(0.02)
        return time.monotonic() - began

    def resize(self, width: int, height: int) -> None:
        """Change the size of the window, as for a phone if it is narrow."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def screenshot(self, path: Path) -> None:
        """Write a picture of what the window shows."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Start Chromium; it ends with the context."""
    process = subprocess.Popen(
        [
            "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-dev-shm-usage",
            "--remote-debugging-port=0", f"--user-data-dir={folder}/profile", "about:blank",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(folder)},
    )  # fmt: skip
    try:
        place = folder / "profile" / "DevToolsActivePort"
        end = time.monotonic() + TIMEOUT
        while not place.exists() or not place.read_text().strip():
            assert process.poll() is None, "chromium has ended"
            assert time.monotonic() < end, "chromium does not start"
            time.sleep(0.05)
        port = int(place.read_text().split()[0])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=TIMEOUT) as answer:
            page = next(each for each in json.load(answer) if each["type"] == "page")
        with connect(page["webSocketDebuggerUrl"], max_size=None, ping_interval=None) as socket:
            yield Browser(socket)
    finally:
        process.terminate()
        process.wait(TIMEOUT)
