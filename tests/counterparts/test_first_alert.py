"""docs/first-alert.md, followed word by word: from nothing to an alert of a real Prometheus, and back."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.counterparts.daemon import required

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "first-alert.md").read_text()
BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FOLDER = "/tmp/first-alert"  # noqa: S108 - as the page calls it; the test uses another one
TEN_MINUTES = 600  # seconds, as the title of the page promises
INSTALL = "## A cluster"  # what comes before it needs the network, and the rest does not


def blocks(page: str, kind: str, folder: Path) -> Iterator[str]:
    """The blocks of a page that are marked `sh` or `text`."""
    for marked, block in BLOCK.findall(page):
        if marked == kind:
            yield block.replace(FOLDER, str(folder))


def ran(page: str, folder: Path, seconds: float, namespace: tuple[str, ...] = ()) -> str:
    """The output of all commands of a page, run in one shell; it ends at the first command that fails."""
    script = f"set -euo pipefail\nPATH={Path(sys.executable).parent}:$PATH\n{''.join(blocks(page, 'sh', folder))}"
    done = subprocess.run(
        [*namespace, "bash", "-c", script], cwd=ROOT, timeout=seconds, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.long
def test_from_nothing_to_an_alert(tmp_path: Path) -> None:
    """Every command works as it is written, and prints what the page shows, within the promised time.

    After the installation the commands have a network of their own, so that the ports of the page are free.
    """
    for program in ("prometheus", "prometheus-alertmanager", "promtool", "amtool", "curl", "ip"):
        required(program)
    namespace = (required("unshare"), "--map-root-user", "--net", "--pid", "--fork", "--kill-child")
    folder = tmp_path / "first-alert"
    before, _, after = PAGE.partition(INSTALL)
    began = time.monotonic()
    ran(before, folder, TEN_MINUTES)
    path = f"```sh\nip link set lo up\nexport PATH={folder}/venv/bin:$PATH\n```\n"
    shown = ran(path + after, folder, TEN_MINUTES - (time.monotonic() - began), namespace)
    expected = [line for block in blocks(after, "text", folder) for line in block.splitlines()]
    assert len(expected) >= 10
    assert [line for line in expected if line not in shown] == []
    assert not folder.exists()
