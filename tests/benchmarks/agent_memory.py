"""The agent's memory: a watch makes hours' worth of polls of an embedded cluster of 1,024 nodes, which die and return.

`RINGCHECK_BENCH_SECONDS` limits it (600 by default); the row shows the number of polls.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.benchmarks import Row
from tests.benchmarks.scale_core import LARGEST
from tests.benchmarks.scale_poll import STEADY_MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

POLLS = 2000
GROWTH = 1.02  # in the second half: growth by caches and fragmentation ends, growth by a leak does not


def run(nodes: int = LARGEST) -> Iterator[Row]:
    found = _measure(nodes, float(os.environ.get("RINGCHECK_BENCH_SECONDS", "600")))
    what = f"{nodes} nodes, {nodes * 256:,} ranges, {found['polls']:,} polls, {found['changes']} deaths and returns"
    half, late, most = found["half"], found["late"], found["most"]
    against = f"after {found['polls'] // 2:,} polls: {half:.0f} MiB"
    yield Row(
        f"agent, resident at the end: {what}",
        f"{late:.0f} MiB",
        against,
        late / half,
        f"<= {GROWTH}",
        late <= GROWTH * half,
    )
    yield Row(
        "agent, resident at most after the first 50 polls",
        f"{most:.0f} MiB",
        f"peak: {found['peak']:.0f} MiB",
        None,
        "<= 200 MiB",
        most <= STEADY_MIB,
    )


def _measure(nodes: int, seconds: float) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks._serve", str(nodes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            template = server.stdout.readline().strip()
            watch = [sys.executable, "-m", "tests.benchmarks._agent", template, str(nodes), str(POLLS), str(seconds)]
            found: dict[str, float] = json.loads(
                subprocess.run(watch, check=True, stdout=subprocess.PIPE, text=True).stdout
            )
        finally:
            server.kill()
    return found
