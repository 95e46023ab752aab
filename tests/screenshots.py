"""Pictures of every page at four widths, light and dark: `python -m tests.screenshots FOLDER [PAGE...]`.

The clusters are embedded ones in the states of tests/agent/scenes.py. Needs chromium and chromedriver.
"""

from __future__ import annotations

import argparse
import base64
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.agent import scenes
from tests.counterparts.browser import chromium, looks
from tests.counterparts.daemon import await_

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from selenium import webdriver

WIDTHS = (390, 768, 1280, 1920)
SCHEMES = ("light", "dark")
TALLEST = 4000  # pixels of a picture
FLEETS = {"fleet-20": 20, "fleet-500": 500}


def main(arguments: Sequence[str]) -> int:
    """Make the pictures and print their paths."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("pages", nargs="*", help="only these, such as outage or fleet-500; all by default")
    parser.add_argument("--width", type=int, action="append", dest="widths", help="only this width; repeatable")
    parser.add_argument("--scheme", choices=(*SCHEMES, "print"), action="append", dest="schemes")
    asked = parser.parse_args(arguments)
    asked.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile, chromium(Path(profile)) as driver:
        for page, url in _pages(set(asked.pages)):
            for width in asked.widths or WIDTHS:
                for scheme in asked.schemes or SCHEMES:
                    looks(driver, width, scheme)
                    path = asked.folder / f"{page}-{width}-{scheme}.png"
                    path.write_bytes(_picture(driver, url, width))
                    print(path)
    return 0


def _pages(wanted: set[str]) -> Iterator[tuple[str, str]]:
    """Name and URL of each wanted page, while its agent runs."""
    with _folder() as folder, scenes.states(folder, large=not wanted or "large" in wanted) as (_, served):
        pages = {"clusters": "/", **scenes.PATHS, "reference": "/reference", "missing": "/clusters/outages"}
        yield from ((page, served.url + path) for page, path in pages.items() if not wanted or page in wanted)
    for page, clusters in FLEETS.items():
        if not wanted or page in wanted:
            with _folder() as folder, scenes.fleet(folder, clusters) as (_, served):
                yield page, served.url


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _picture(driver: webdriver.Chrome, url: str, width: int) -> bytes:
    """The whole page as PNG, once the images are loaded."""
    driver.get(url)
    loaded = (
        "return document.querySelector('#link').dataset.state && [...document.images].every(image => image.complete)"
    )
    await_(lambda: bool(driver.execute_script(loaded)), 60, "the images")
    height = min(TALLEST, int(driver.execute_script("return document.documentElement.scrollHeight")))
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True})
    return base64.b64decode(shot["data"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
