"""The agent's pages in a real browser: they update, fit small screens, are accessible, and cause no console errors."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from ringcheck.agent import web
from ringcheck.core.maintenance import Holder
from ringcheck.leases.stamp import now
from tests.agent.watched import NAME, World, watched
from tests.counterparts.daemon import await_, required

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
PHONE, DESK = 360, 1280
PATHS = ("/", f"/clusters/{NAME}", f"/clusters/{NAME}?keyspace=orders&level=LOCAL_QUORUM", "/clusters/none")


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = Options()
    options.binary_location = required("chromium")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    environment = pytest.MonkeyPatch()
    environment.setenv("SE_OFFLINE", "true")
    found = webdriver.Chrome(options=options, service=Service(required("chromedriver")))
    found.set_page_load_timeout(60)
    yield found
    found.quit()
    environment.undo()


@pytest.fixture(scope="module")
def axe() -> str:
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


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Six nodes in three racks, RF 3."""
    with watched(tmp_path, nodes=6) as found:
        yield found


def looks(driver: webdriver.Chrome, width: int = DESK, scheme: str = "light", *, script: bool = True) -> None:
    """Set size and colour scheme for the next pages."""
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width == PHONE}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})


def opened(driver: webdriver.Chrome, world: World, path: str) -> None:
    driver.get(world.url(path))
    await_(lambda: text(driver, "#link") == "live", 60, "the page does not live")


def text(driver: webdriver.Chrome, selector: str) -> str:
    """The text of an element, which may be replaced while it is read."""
    return str(driver.execute_script("return document.querySelector(arguments[0])?.innerText.trim() ?? ''", selector))


def errors(driver: webdriver.Chrome) -> list[str]:
    """Messages of the console since the last call."""
    return [one["message"] for one in driver.get_log("browser") if one["level"] in {"WARNING", "SEVERE"}]  # type: ignore[no-untyped-call]


def violations(driver: webdriver.Chrome, axe: str) -> list[str]:
    """The violations that axe finds on the page."""
    driver.execute_script(axe)
    driver.set_script_timeout(60)
    found: dict[str, Any] = driver.execute_async_script("axe.run().then(arguments[0], (e) => arguments[0](String(e)))")
    return [f"{one['id']}: {json.dumps([node['html'] for node in one['nodes']])}" for one in found["violations"]]


def test_a_node_is_seen_to_die_without_a_reload(driver: webdriver.Chrome, world: World) -> None:
    """A page shows a node's death and return; title, icon, picture and live region follow, and the focus stays."""
    looks(driver)
    opened(driver, world, f"/clusters/{NAME}?keyspace=orders&level=LOCAL_QUORUM")
    driver.execute_script("window.same = true")
    assert text(driver, "h1") == f"OK {NAME}"
    # In one step: a refresh between finding the link and giving it the focus would replace it.
    find = "[...document.querySelectorAll('a')].find(link => link.innerText === 'LOCAL_QUORUM')"
    driver.execute_script(f"{find}.focus()")
    world.cluster.down(0, instant=True)
    world.cluster.down(1, instant=True)
    await_(lambda: text(driver, "h1") == f"CRITICAL {NAME}", 60, "the death")
    assert driver.execute_script("return window.same")
    assert driver.title == f"CRITICAL {NAME} · ringcheck"
    assert driver.execute_script("return document.activeElement.innerText") == "LOCAL_QUORUM"
    assert "critical.svg" in str(driver.find_element(By.ID, "favicon").get_attribute("href"))
    assert f"{NAME}: CRITICAL." in str(driver.find_element(By.ID, "said").get_attribute("textContent"))
    assert world.address(1) in text(driver, "#main")
    picture = driver.find_element(By.CSS_SELECTOR, "figure img")
    assert "unavailable" in str(picture.get_attribute("alt"))
    assert driver.execute_script("return arguments[0].naturalWidth", picture) == 960
    world.cluster.up(0, instant=True)
    world.cluster.up(1, instant=True)
    await_(lambda: text(driver, "h1") == f"OK {NAME}", 60, "the return")
    assert errors(driver) == []


def test_ages_go_on_and_a_lost_agent_is_told(driver: webdriver.Chrome, world: World) -> None:
    """Ages increase, and data of an agent that is gone is shown as old."""
    looks(driver)
    with web.serve(world.agent, "127.0.0.1:0") as served:
        driver.get(f"{served.url}/clusters/{NAME}")
        await_(lambda: text(driver, "#link") == "live", 60, "the page does not live")
        assert not driver.find_element(By.ID, "lost").is_displayed()
    await_(lambda: "This page is old" in text(driver, "#lost"), 60, "the loss")
    assert text(driver, "#link") == "not connected"
    await_(lambda: int(text(driver, "[data-since]").partition(" ")[0]) > 8, 60, "the age")
    port = served.url.rpartition(":")[2]
    with web.serve(world.agent, f"127.0.0.1:{port}"):
        await_(lambda: text(driver, "#link") == "live", 90, "the return")
        assert not driver.find_element(By.ID, "lost").is_displayed()
        driver.get("about:blank")
    driver.get_log("browser")  # type: ignore[no-untyped-call]  # it has messages about refused connections


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_for_everybody(driver: webdriver.Chrome, world: World, axe: str, scheme: str) -> None:
    """With a healthy ring, an outage, and no data: no violation, nothing wider than a telephone, no console message."""

    def look() -> None:
        for width in (DESK, PHONE):
            looks(driver, width, scheme)
            for path in PATHS:
                opened(driver, world, path)
                assert violations(driver, axe) == [], path
                assert driver.execute_script("return document.documentElement.scrollWidth") <= width, path
                ground = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
                assert ground == {"light": "rgb(246, 247, 249)", "dark": "rgb(13, 17, 23)"}[scheme]

    look()
    world.cluster.down(0, instant=True)
    world.store.add([Holder(node=world.address(0), owner="anna@bastion", purpose="kernel", since=now())])
    world.cluster.down(1, instant=True)
    world.seen("CRITICAL")
    look()
    for node in world.cluster.nodes:
        world.cluster.down(node.index, instant=True)
    world.seen("UNKNOWN")
    look()
    assert [one for one in errors(driver) if "/clusters/none" not in one] == []


def test_without_a_script_all_is_there(driver: webdriver.Chrome, world: World) -> None:
    """Without JavaScript the page reloads, and links choose the picture."""
    looks(driver, script=False)
    try:
        driver.get(world.url(f"/clusters/{NAME}?keyspace=orders"))
        assert f"OK {NAME}" in driver.find_element(By.TAG_NAME, "h1").text
        assert driver.find_element(By.CSS_SELECTOR, "figure img").is_displayed()
        driver.find_element(By.LINK_TEXT, "EACH_QUORUM").click()
        assert "at EACH_QUORUM" in driver.find_element(By.TAG_NAME, "figcaption").text
        world.cluster.down(0, instant=True)
        ends = time.monotonic() + 60
        while "WARNING" not in driver.find_element(By.TAG_NAME, "h1").text:
            assert time.monotonic() < ends
            time.sleep(0.5)
    finally:
        looks(driver)


def test_axe_finds_what_is_wrong(driver: webdriver.Chrome, world: World, axe: str) -> None:
    """A violation is reported, so that the tests above can fail."""
    looks(driver)
    opened(driver, world, "/")
    driver.execute_script("document.querySelector('h1').style.color = '#c0d0c0'; document.body.append(new Image())")
    assert {one.partition(":")[0] for one in violations(driver, axe)} >= {"color-contrast", "image-alt"}
    driver.get_log("browser")  # type: ignore[no-untyped-call]  # the policy forbids such a style attribute


def test_the_picture_alone_is_styled(driver: webdriver.Chrome, world: World) -> None:
    """The picture on its own is a document whose policy allows its styles."""
    looks(driver)
    driver.get(world.url(f"/api/v1/clusters/{NAME}/ring.svg"))
    fill = "return getComputedStyle(document.querySelector('.h')).fontSize"
    assert driver.execute_script(fill) == "20px"
    assert errors(driver) == []
