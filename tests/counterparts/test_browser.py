"""The agent's pages in a real browser: they update, fit small screens, are accessible, and cause no console errors."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from ringcheck.agent import web
from ringcheck.core.maintenance import Holder
from ringcheck.leases.stamp import now
from tests.agent import scenes
from tests.agent.watched import NAME, World, watched
from tests.counterparts.browser import axe_script, chromium, looks, violations
from tests.counterparts.daemon import await_

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium import webdriver

PHONE, TABLET, DESK = 360, 768, 1280
PATHS = (
    "/",
    f"/clusters/{NAME}",
    f"/clusters/{NAME}?keyspace=orders&level=LOCAL_QUORUM",
    f"/clusters/{NAME}?filter=127.0.1.1",
    "/reference",
    "/clusters/none",
    "/nothing",
)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def axe() -> str:
    return axe_script()


@pytest.fixture
def world(tmp_path: Path, driver: webdriver.Chrome) -> Iterator[World]:
    """Six nodes in three racks, RF 3; the browser leaves its pages before the agent stops."""
    with watched(tmp_path, nodes=6) as found:
        yield found
        # A page that stays open tries to reconnect, and the console of the next test has the error.
        driver.get("about:blank")
        driver.get_log("browser")  # type: ignore[no-untyped-call]


def opened(driver: webdriver.Chrome, world: World, path: str) -> None:
    driver.get(world.url(path))
    await_(lambda: bool(driver.execute_script(CONNECTED)), 60, "the page is not connected")


def text(driver: webdriver.Chrome, selector: str) -> str:
    """The text of an element, which may be replaced while it is read."""
    return str(driver.execute_script("return document.querySelector(arguments[0])?.innerText.trim() ?? ''", selector))


def errors(driver: webdriver.Chrome) -> list[str]:
    """Messages of the console since the last call."""
    return [one["message"] for one in driver.get_log("browser") if one["level"] in {"WARNING", "SEVERE"}]  # type: ignore[no-untyped-call]


CONNECTED = "return ['connected', 'fixed'].includes(document.querySelector('#link').dataset.state)"
FETCHES = "return performance.getEntriesByType('resource').filter(e => e.initiatorType === 'fetch').length"


def test_a_node_is_seen_to_die_without_a_reload(driver: webdriver.Chrome, world: World) -> None:
    """Without a reload, title, icon, picture and live region follow a node's death and return, and the focus stays."""
    looks(driver, DESK)
    opened(driver, world, f"/clusters/{NAME}?keyspace=orders&level=LOCAL_QUORUM")
    driver.execute_script("window.same = true")
    assert text(driver, "h1") == f"OK {NAME}"
    # In one step: between finding the link and focusing it, a refresh could replace it.
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


def test_ages_increase_and_a_lost_agent_is_shown(driver: webdriver.Chrome, world: World) -> None:
    """If the agent is gone its data is shown as old."""
    looks(driver, DESK)
    with web.serve(world.agent, "127.0.0.1:0") as served:
        driver.get(f"{served.url}/clusters/{NAME}")
        await_(lambda: bool(driver.execute_script(CONNECTED)), 60, "the page is not connected")
        assert not driver.find_element(By.ID, "lost").is_displayed()
    await_(lambda: "This page is old" in text(driver, "#lost"), 60, "the loss")
    assert text(driver, "#link") == "Not connected"
    assert driver.title == f"Not connected · {NAME} · ringcheck"
    assert "unknown.svg" in str(driver.find_element(By.ID, "favicon").get_attribute("href"))
    await_(lambda: int(text(driver, "[data-since]").partition(" ")[0]) > 8, 60, "the age")
    port = served.url.rpartition(":")[2]
    with web.serve(world.agent, f"127.0.0.1:{port}"):
        await_(lambda: bool(driver.execute_script(CONNECTED)), 90, "the return")
        assert not driver.find_element(By.ID, "lost").is_displayed()
        driver.get("about:blank")
    driver.get_log("browser")  # type: ignore[no-untyped-call]  # it has messages about refused connections


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_for_everybody(driver: webdriver.Chrome, world: World, axe: str, scheme: str) -> None:
    """Healthy, with an outage, or without data: no violation, no console message, and nothing wider than a phone."""

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
    assert [one for one in errors(driver) if "/none" not in one and "/nothing" not in one] == []


def test_without_a_script_all_is_there(driver: webdriver.Chrome, world: World) -> None:
    """Without JavaScript the page reloads itself, and links choose the picture."""
    looks(driver, DESK, script=False)
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
        looks(driver, DESK)


def test_everything_can_be_reached_by_keyboard(driver: webdriver.Chrome, world: World) -> None:
    """Tab reaches every link, control, summary and table and shows the focus; Enter follows, opens and copies."""
    looks(driver, DESK)
    world.cluster.down(0, instant=True)
    world.seen("WARNING")
    opened(driver, world, f"/clusters/{NAME}")
    visible = "[...document.querySelectorAll('a, button, input, summary, .scroll')].filter(e => e.checkVisibility())"
    wanted = int(driver.execute_script(f"return {visible}.length"))
    focus = "const e = document.activeElement; return [e.tagName, getComputedStyle(e).outlineStyle, e.id]"
    reached: list[tuple[str, str, str]] = []
    while len(reached) <= wanted + 5:
        driver.switch_to.active_element.send_keys(Keys.TAB)
        tag, outline, name = driver.execute_script(focus)
        if tag == "BODY":
            break
        reached.append((tag, outline, name))
    assert len(reached) >= wanted
    assert reached[0][0] == "A", "the first is the link to the content"
    assert {outline for tag, outline, _ in reached if tag in {"A", "BUTTON", "SUMMARY"}} <= {"solid", "auto"}
    driver.find_element(By.CSS_SELECTOR, "a.skip").send_keys(Keys.ENTER)
    assert driver.execute_script("return document.activeElement.id") == "main"


def test_the_filter_narrows_the_tables_while_one_types(driver: webdriver.Chrome, world: World) -> None:
    """The input keeps the focus, the URL has the filter, and a page of that URL shows the same without a script."""
    looks(driver, DESK)
    opened(driver, world, f"/clusters/{NAME}")
    find = driver.find_element(By.ID, "filter")
    find.send_keys("127.0.1.3")
    await_(lambda: "Commands for 127.0.1.3" in text(driver, "#main"), 60, "the filter")
    assert driver.execute_script("return document.activeElement.id") == "filter"
    assert f"ringcheck preflight --cluster {NAME} 127.0.1.3" in text(driver, "#main")
    assert "filter=127.0.1.3" in driver.current_url
    assert "127.0.1.4" not in text(driver, "[aria-labelledby=h-nodes]")
    find.send_keys(Keys.BACKSPACE * 20)
    await_(lambda: "127.0.1.4" in text(driver, "[aria-labelledby=h-nodes]"), 60, "all nodes")


def test_what_a_user_did_stays_over_updates(driver: webdriver.Chrome, world: World) -> None:
    """The focus stays on one of two links with the same text, opened sections stay open, and elements are kept."""
    looks(driver, DESK)
    opened(driver, world, f"/clusters/{NAME}")
    link = driver.find_element(By.CSS_SELECTOR, "[aria-labelledby=h-keyspaces] tbody th a")
    driver.execute_script("arguments[0].focus(); arguments[0].kept = true", link)
    world.cluster.down(2, instant=True)
    await_(lambda: text(driver, "h1").startswith("WARNING"), 60, "the death")
    focus = "const e = document.activeElement; return [e.kept, e.closest('section').getAttribute('aria-labelledby')]"
    assert driver.execute_script(focus) == [True, "h-keyspaces"]
    opens = "const d = document.querySelector('#main details'); d.open = true; return d.id"
    opened_section = driver.execute_script(opens)
    world.cluster.up(2, instant=True)
    await_(lambda: text(driver, "h1").startswith("OK"), 60, "the return")
    still = "const d = document.getElementById(arguments[0]); return !d || d.open"
    assert driver.execute_script(still, opened_section)


def test_times_are_local_on_hover_and_commands_can_be_copied(driver: webdriver.Chrome, world: World) -> None:
    """On hover a time is shown in the browser's time zone; a button copies the command beside it."""
    looks(driver, DESK)
    driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Asia/Kolkata"})
    granted = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"], "origin": world.served.url}
    driver.execute_cdp_cmd("Browser.grantPermissions", granted)
    driver.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})  # otherwise there is no clipboard
    try:
        opened(driver, world, f"/clusters/{NAME}?filter=127.0.1.3")
        hover = "const t = document.querySelector('time'); t.dispatchEvent(new Event('mouseover', {bubbles: true}));"
        assert "GMT+5:30" in driver.execute_script(f"{hover} return t.title")
        button = driver.find_element(By.CSS_SELECTOR, "[aria-labelledby=h-one] button.copy")
        command = f"ringcheck preflight --cluster {NAME} 127.0.1.3"
        assert button.get_attribute("aria-label") == f"Copy {command}"
        driver.execute_script("arguments[0].focus(); arguments[0].click()", button)
        read = "navigator.clipboard.readText().then(arguments[0], (error) => arguments[0](String(error)))"
        await_(lambda: driver.execute_async_script(read) == command, 60, lambda: driver.execute_async_script(read))
    finally:
        driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": ""})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_fleet_is_for_everybody(driver: webdriver.Chrome, tmp_path: Path, axe: str, scheme: str) -> None:
    """With rows, groups, a filter and a cluster that was never reached: no violation, nothing wider than a phone."""
    with scenes.fleet(tmp_path, 16) as (_, served):
        paths = ["/", "/?group=team", "/?group=environment&sort=name", "/?filter=team%3Dsearch", "/?state=OK"]
        for width in (DESK, PHONE):
            looks(driver, width, scheme)
            for path in (*paths, "/clusters/carts-007"):
                driver.get(served.url + path)
                await_(lambda: bool(driver.execute_script(CONNECTED)), 60, "the page is not connected")
                assert violations(driver, axe) == [], path
                assert driver.execute_script("return document.documentElement.scrollWidth") <= width, path
        driver.get("about:blank")
    driver.get_log("browser")  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("path", ["/clusters/none", "/reference", "/?state=FOO", f"/clusters/{NAME}?keyspace=none"])
def test_a_page_without_news_is_not_fetched_again(driver: webdriver.Chrome, world: World, path: str) -> None:
    """What is wrong with a URL stays wrong, and codes don't change: news of clusters are none of such a page."""
    looks(driver, DESK)
    world.seen("OK")  # without a verdict no picture is drawn, and no keyspace is wrong
    opened(driver, world, path)
    time.sleep(3)  # the cluster is polled once a second
    assert driver.execute_script(FETCHES) == 0
    assert text(driver, "#link") == ""
    driver.get_log("browser")  # type: ignore[no-untyped-call]  # it has the status of the page


def test_only_news_of_what_a_page_shows_is_fetched(driver: webdriver.Chrome, tmp_path: Path) -> None:
    """Many clusters are polled: their page is fetched once a second at most, that of one cluster as often as it is."""
    with scenes.fleet(tmp_path, 16, interval=5) as (agent, served):
        looks(driver, DESK)
        polls = {}
        for path in ("/", "/clusters/orders-000"):
            driver.get(served.url + path)
            await_(lambda: bool(driver.execute_script(CONNECTED)), 60, "the page is not connected")
            before, already, begins = agent.sequence, driver.execute_script(FETCHES), time.monotonic()
            time.sleep(10)
            fetches, seconds = driver.execute_script(FETCHES) - already, time.monotonic() - begins
            polls[path] = agent.sequence - before
            assert 1 <= fetches <= (seconds + 1 if path == "/" else seconds / 4 + 1)
        assert min(polls.values()) > 16, "so many polls that each would be noticed"
        driver.get("about:blank")
    driver.get_log("browser")  # type: ignore[no-untyped-call]


BROKEN = """
const broken = [], range = document.createRange();
for (const element of document.querySelectorAll(arguments[0])) {
  const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    for (const word of texts.currentNode.data.matchAll(/\\S+/g)) {
      range.setStart(texts.currentNode, word.index);
      range.setEnd(texts.currentNode, word.index + word[0].length);
      if (range.getClientRects().length > 1) broken.push(word[0]);
    }
  }
}
return broken;
"""


@pytest.mark.parametrize("width", [PHONE, TABLET, DESK])
def test_words_are_not_broken(driver: webdriver.Chrome, world: World, width: int) -> None:
    """Strategies in the table of keyspaces, and options in commands, stay on one line."""
    looks(driver, width)
    world.seen("OK")
    opened(driver, world, f"/clusters/{NAME}?filter=127.0.1.4")
    assert "--down" in text(driver, "[aria-labelledby=h-one]")
    assert [word for word in driver.execute_script(BROKEN, ".command") if word.startswith("-")] == []
    opened(driver, world, f"/clusters/{NAME}")
    assert "NetworkTopologyStrategy" in text(driver, "[aria-labelledby=h-keyspaces]")
    assert driver.execute_script(BROKEN, "[aria-labelledby=h-keyspaces] .sub") == []


HINTED = "return [...document.querySelectorAll('.more')].map(hint => hint.nextElementSibling.ariaLabel)"


def test_tables_fit_a_tablet(driver: webdriver.Chrome, world: World, tmp_path: Path) -> None:
    """Rows of clusters, and the table of nodes, need no scrolling sideways; that of keyspaces says that it does."""
    looks(driver, TABLET)
    opened(driver, world, f"/clusters/{NAME}")
    hints = driver.execute_script(HINTED)
    assert hints == ["Keyspaces and levels"]
    (tmp_path / "fleet").mkdir()
    with scenes.fleet(tmp_path / "fleet", 16) as (_, served):
        driver.get(served.url)
        await_(lambda: bool(driver.execute_script(CONNECTED)), 60, "the page is not connected")
        assert "Nodes: 4 up, 2 down" in text(driver, ".clusters")
        assert driver.execute_script("return document.querySelectorAll('.more').length") == 0
        driver.get("about:blank")
    driver.get_log("browser")  # type: ignore[no-untyped-call]


CLIPPED = """
return [...document.querySelectorAll('.more')].map(hint => hint.nextElementSibling)
  .filter(region => getComputedStyle(region).overflowX === 'visible').map(region => region.ariaLabel);
"""


@pytest.mark.parametrize(("place", "fits"), [("-eu-central-1-production", 1200), (f"_{'x' * 50}", 1440)])
def test_a_fleet_is_as_wide_as_the_window(driver: webdriver.Chrome, tmp_path: Path, place: str, fits: int) -> None:
    """No window gets a scrollbar from long names; a table that does not fit has its own, as its hint says."""
    with scenes.fleet(tmp_path, 16, place=place) as (_, served):
        driver.get(served.url)
        await_(lambda: bool(driver.execute_script(CONNECTED)), 60, "the page is not connected")
        for width in (390, TABLET, 1024, 1200, DESK, 1440, 1920):
            looks(driver, width)
            driver.execute_script("dispatchEvent(new Event('resize'))")
            assert driver.execute_script("return document.documentElement.scrollWidth") <= width
            assert driver.execute_script(CLIPPED) == [], width
            assert width < fits or driver.execute_script(HINTED) == [], width
        driver.get("about:blank")
    driver.get_log("browser")  # type: ignore[no-untyped-call]


def test_axe_finds_what_is_wrong(driver: webdriver.Chrome, world: World, axe: str) -> None:
    """A violation is reported, so that the tests above can fail."""
    looks(driver, DESK)
    opened(driver, world, "/")
    # With a style sheet: a refresh replaces the heading, and its own style with it.
    driver.execute_script(
        "const pale = new CSSStyleSheet(); pale.replaceSync('h1 { color: #c0d0c0 !important }');"
        "document.adoptedStyleSheets = [...document.adoptedStyleSheets, pale]; document.body.append(new Image())"
    )
    assert {one.partition(":")[0] for one in violations(driver, axe)} >= {"color-contrast", "image-alt"}
    driver.get_log("browser")  # type: ignore[no-untyped-call]  # the policy forbids such a style attribute


def test_the_picture_alone_is_styled(driver: webdriver.Chrome, world: World) -> None:
    """The picture alone is a document whose policy allows the picture's styles."""
    looks(driver, DESK)
    driver.get(world.url(f"/api/v1/clusters/{NAME}/ring.svg"))
    fill = "return getComputedStyle(document.querySelector('.h')).fontSize"
    assert driver.execute_script(fill) == "20px"
    assert errors(driver) == []
