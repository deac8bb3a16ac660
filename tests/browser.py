"""Headless Chromium for tests of pages: what a visit leaves, without anything leaving this machine."""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
REQUIRED = "ADAKERN_BROWSER_REQUIRED"
"""Set where a browser has to be there (continuous integration): without one the tests fail."""

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
    # Whatever page or browser asks for, no name is looked up and nothing leaves this machine.
    *("--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND"),
)
OWN_REQUEST = "not an origin"
"""Initiator of what the browser asks for on its own account, in its network log."""


def find_browser() -> str:
    """Path of a browser; skips the test without one, or fails it where one has to be there."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        message = "needs Chromium: make browser, or install the package chromium"
        if os.environ.get(REQUIRED):
            pytest.fail(message)
        pytest.skip(message)
    return found


class Visit:
    """One visit of a page: its document, the browser's log, the addresses it asked for."""

    def __init__(self, browser: str, folder: Path, page: str, *options: str) -> None:
        address = folder / "page.html"
        address.write_text(page, encoding="utf-8")
        network = folder / "network.json"
        command = [
            *(browser, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={network}"),
            *("--enable-logging=stderr", "--virtual-time-budget=2000", *options, address.as_uri()),
        ]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        self.document, self.log = result.stdout, result.stderr
        started = [
            event["params"]
            for event in json.loads(network.read_text())["events"]
            if event.get("params", {}).get("initiator", OWN_REQUEST) != OWN_REQUEST
        ]
        self.requests = {event["url"] for event in started}

    @property
    def measured(self) -> Any:
        return json.loads(html.unescape(re.search(r'<pre id="measured">(.*?)</pre>', self.document)[1]))

    @property
    def console(self) -> list[str]:
        return [line for line in self.log.splitlines() if "CONSOLE" in line]
