"""Make the pictures of the README from the embedded cluster: `python -m tests.pictures [FOLDER]`.

`page.webp` is the agent's page of a cluster in Debian's chromium, `terminal.svg` what `ringcheck health orders` prints
at a terminal. Six nodes in three racks, RF 3; two nodes of different racks are down. Needs chromium and chromedriver.
"""

from __future__ import annotations

import base64
import fcntl
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from ringcheck.agent import web
from ringcheck.agent.service import Agent
from ringcheck.config import values
from ringcheck.core.consistency import Level
from ringcheck.core.policy import Policy, Rule, Threshold
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.simulator.cluster import EmbeddedCluster, topology
from ringcheck.simulator.server import serve
from tests.counterparts.browser import chromium
from tests.counterparts.daemon import await_

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "images"
NAME = "orders-prod"
DOWN = (0, 4)  # in different racks, so that some ranges have lost their quorum
WIDTH, HEIGHT = 1280, 1000  # pixels of the page
COLUMNS, ROWS = 100, 60  # of the terminal
PATIENCE = 90.0  # seconds
READY = (
    "document.querySelector('#link')?.dataset.state === 'connected' && document.body.innerText.includes('LOCAL_QUORUM')"
    " && [...document.images].every(image => image.complete)"
)

# A window without fonts of another host; rich places the text by its own measures.
WINDOW = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>.{unique_id}-matrix {{ font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; \
font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width }}
{styles}</style>
<defs>{lines}</defs>{chrome}
<g transform="translate({terminal_x}, {terminal_y})">{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""


def main(arguments: Sequence[str]) -> int:
    """Make both pictures and print their paths and sizes."""
    folder = Path(arguments[0]) if arguments else IMAGES
    folder.mkdir(parents=True, exist_ok=True)
    with watched() as (url, config):
        (folder / "terminal.svg").write_text(terminal(["health", "orders"], config))
        (folder / "page.webp").write_bytes(page(f"{url}/clusters/{NAME}"))
    for path in sorted(folder.iterdir()):
        print(path, path.stat().st_size)
    return 0


@contextmanager
def watched() -> Iterator[tuple[str, Path]]:
    """URL of an agent that watches the cluster, and a configuration for the commands, until the block ends."""
    cluster = EmbeddedCluster.uniform(
        6, racks=3, vnodes=16, name=NAME, addresses=lambda index: f"10.0.0.{index + 1}",
        keyspaces={"orders": topology(dc1=3), "sessions": topology(dc1=2)},
    )  # fmt: skip
    for index in DOWN:
        cluster.down(index, instant=True)
    rule = Rule(keyspaces=("*",), critical=Threshold(Level.LOCAL_QUORUM), warning=Threshold(Level.LOCAL_ALL))
    with serve(cluster) as server, tempfile.TemporaryDirectory() as folder:
        contacts = [node.address for node in cluster.nodes if node.index not in DOWN][:2]
        config = Path(folder) / "ringcheck.yaml"
        config.write_text(
            f"clusters: {{{NAME}: {{jolokia: {{contact_points: [{', '.join(contacts)}], url: '{server.template}'}},\n"
            "  monitor: [{keyspaces: '*', critical: LOCAL_QUORUM, warning: LOCAL_ALL}]}}\n"
        )
        source = JolokiaSettings(contact_points=tuple(contacts), url=server.template)
        one = values.Cluster(name=NAME, source=source, policy=Policy((rule,)))
        agent = Agent(values.Config(clusters={NAME: one}, agent=values.AgentSettings(interval=2.0)))
        with web.serve(agent, "127.0.0.1:0", None) as served:
            agent.start()
            try:
                yield served.url.rstrip("/"), config
            finally:
                agent.stop()


def terminal(arguments: Sequence[str], config: Path) -> str:
    """What a command of ringcheck prints at a terminal with a configuration, as an SVG with its colours."""
    console = Console(record=True, width=COLUMNS, file=Path(os.devnull).open("w"), force_terminal=True)  # noqa: SIM115
    command = " ".join(["ringcheck", *arguments])
    console.print(Text.from_ansi(f"$ {command}\n{printed([*arguments, '-C', str(config)]).rstrip()}"))
    return console.export_svg(title=command, theme=MONOKAI, code_format=WINDOW, unique_id="ringcheck")


def printed(arguments: Sequence[str]) -> str:
    """The output of a command whose standard output is a terminal, with its escape sequences."""
    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "ringcheck", *arguments]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=there, env=environment, cwd=ROOT):
        os.close(there)
        parts = list(_read(here))
    os.close(here)
    return b"".join(parts).decode().replace("\r\n", "\n")


def _read(terminal: int) -> Iterator[bytes]:
    """What is written to a terminal, until its last writer has ended."""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux reports the end of a terminal as this error
            return
        if not part:
            return
        yield part


def page(url: str) -> bytes:
    """The upper part of a page as WebP, once the page is live and has a verdict, and its images are loaded."""
    with tempfile.TemporaryDirectory() as profile, chromium(Path(profile)) as driver:
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.get(url)
        await_(lambda: bool(driver.execute_script(f"return {READY}")), PATIENCE, "the page is not live")
        shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "webp", "quality": 80})
    return base64.b64decode(shot["data"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
