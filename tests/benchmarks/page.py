"""The pages of 1,024 nodes with 40 keyspaces and of 500 clusters: bytes, CPU of the agent, longest task of the browser.

Needs chromium and chromedriver. The page is loaded and updated, then filtered. Tasks are measured in wall
time, which other processes lengthen: the best of several rounds counts.
`RINGCHECK_BENCH_PAGES` chooses "large" and "fleet"; both by default.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import requests
from selenium.webdriver.common.by import By

from tests.agent import scenes
from tests.benchmarks import Row
from tests.counterparts.browser import chromium, looks
from tests.counterparts.daemon import await_

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from selenium import webdriver

KILOBYTES, LONGEST = 100, 200  # of the page of 1,024 nodes; milliseconds of a task
WIDTH, ROUNDS = 1280, 5
OBSERVE = """
window.tasks = [];
new PerformanceObserver((list) => tasks.push(...list.getEntries().map((entry) => entry.duration)))
  .observe({ type: "longtask", buffered: true });
"""


def run() -> Iterator[Row]:
    wanted = os.environ.get("RINGCHECK_BENCH_PAGES", "large fleet").split()
    with tempfile.TemporaryDirectory() as profile, chromium(Path(profile)) as driver:
        looks(driver, WIDTH)
        if "large" in wanted:
            with _folder() as folder, scenes.states(folder) as (_, served):
                what = f"page of {scenes.LARGE} nodes, 40 keyspaces"
                yield from _measured(driver, what, f"{served.url}/clusters/large", "127.0.3.7", KILOBYTES)
        if "fleet" in wanted:
            with _folder() as folder, scenes.fleet(folder, 500) as (_, served):
                yield from _measured(driver, "page of 500 clusters", f"{served.url}/", "orders-1", None)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _measured(driver: webdriver.Chrome, what: str, url: str, word: str, most: int | None) -> Iterator[Row]:
    started = time.process_time()
    size = len(requests.get(url, timeout=120).content)
    spent = time.process_time() - started
    against = f"made in {spent * 1000:.0f} ms of CPU, polls included"
    budget = f"<= {most} kB" if most else ""
    yield Row(f"{what}: HTML", f"{size / 1000:.1f} kB", against, None, budget, size <= most * 1000 if most else None)
    loads, filters = zip(*(_longest(driver, url, word) for _ in range(ROUNDS)), strict=True)
    yield _row(f"{what}: load and first update, longest task", loads)
    yield _row(f"{what}: filtered by {word}, longest task", filters)


def _longest(driver: webdriver.Chrome, url: str, word: str) -> tuple[float, float]:
    """Milliseconds of the longest task while the page is loaded and updated, and while it is filtered."""
    driver.get(url)
    driver.execute_script(OBSERVE)
    connected = "return document.querySelector('#link').dataset.state === 'connected'"
    await_(lambda: bool(driver.execute_script(connected)), 120, "the page is not connected")
    loading = _tasks(driver)
    driver.find_element(By.ID, "filter").send_keys(word)
    await_(lambda: bool(driver.find_elements(By.CSS_SELECTOR, ".filtered")), 120, "the filter")
    return loading, _tasks(driver)


def _tasks(driver: webdriver.Chrome) -> float:
    """Milliseconds of the longest task since the last call; 0 if none took 50: browsers report no shorter ones."""
    tasks: list[float] = driver.execute_script("return window.tasks.splice(0)")
    return max(tasks, default=0.0)


def _row(what: str, longest: Sequence[float]) -> Row:
    best = min(longest)
    shown = f"{best:.0f} ms" if best else "none of 50 ms"
    return Row(what, shown, f"median: {median(longest):.0f} ms", None, f"<= {LONGEST} ms", best <= LONGEST)
