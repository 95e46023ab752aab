"""`ringcheck check --help` against Python that only imports click: whole processes, alternately."""

from __future__ import annotations

import subprocess
import sys
from statistics import median
from typing import TYPE_CHECKING

from tests.benchmarks import Row, compared, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 15


def run() -> Iterator[Row]:
    ours, bare = [], []
    for _ in range(ROUNDS):
        ours.append(_process("-m", "ringcheck", "check", "--help"))
        bare.append(_process("-c", "import click"))
    yield compared(
        "check --help, whole process", median(ours), "python -c 'import click'", median(bare), budget=2.5, text="<= 2.5"
    )


def _process(*arguments: str) -> float:
    return seconds(lambda: subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL), 1)
