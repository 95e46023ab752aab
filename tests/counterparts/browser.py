"""Debian's chromium, driven by selenium; and axe-core."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from tests.counterparts.daemon import required

if TYPE_CHECKING:
    from collections.abc import Iterator

AXE = "4.14.1"
AXE_SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"  # of its axe.min.js
CACHE = Path(__file__).parents[2] / ".cache" / "axe-core"
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
)
PHONES = 600  # narrower screens are those of phones


@contextmanager
def chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """A browser without a window, which runs until the block ends."""
    options = Options()
    options.binary_location = required("chromium")
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    environment = pytest.MonkeyPatch()
    environment.setenv("SE_OFFLINE", "true")
    driver = webdriver.Chrome(options=options, service=Service(required("chromedriver")))
    driver.set_page_load_timeout(60)
    try:
        yield driver
    finally:
        driver.quit()
        environment.undo()


def looks(driver: webdriver.Chrome, width: int, scheme: str = "light", *, script: bool = True) -> None:
    """Set size and colour scheme (`light`, `dark`, or `print`) for the next pages, and whether scripts run."""
    media: dict[str, Any] = {"features": [{"name": "prefers-color-scheme", "value": scheme}], "media": ""}
    if scheme == "print":
        media = {"features": [], "media": "print"}
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < PHONES}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})


def axe_script() -> str:
    """axe-core's script, from npm or the cache."""
    script = CACHE / AXE / "package" / "axe.min.js"
    if not script.exists():
        npm = required("npm")
        script.parent.parent.mkdir(parents=True, exist_ok=True)
        pack = [npm, "pack", f"axe-core@{AXE}", "--silent"]
        done = subprocess.run(pack, cwd=script.parent.parent, check=False, timeout=120, capture_output=True, text=True)
        if done.returncode and not os.environ.get("CI"):
            pytest.skip(f"npm has no axe-core {AXE}: {done.stderr[-300:]}")
        with tarfile.open(script.parent.parent / f"axe-core-{AXE}.tgz") as packed:
            packed.extract("package/axe.min.js", script.parent.parent, filter="data")
    assert hashlib.sha256(script.read_bytes()).hexdigest() == AXE_SHA256, f"{script} is not axe-core {AXE}"
    return script.read_text("utf-8")


def violations(driver: webdriver.Chrome, axe: str) -> list[str]:
    """The violations that axe finds on the page."""
    driver.execute_script(axe)
    driver.set_script_timeout(60)
    found: dict[str, Any] = driver.execute_async_script("axe.run().then(arguments[0], (e) => arguments[0](String(e)))")
    return [f"{rule['id']}: {json.dumps([node['html'] for node in rule['nodes']])}" for rule in found["violations"]]
