"""Polling embedded clusters of 64, 256 and 1,024 nodes over HTTP: time, CPU and memory of first and steady polls."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.benchmarks import Row
from tests.benchmarks.scale_core import LARGEST

if TYPE_CHECKING:
    from collections.abc import Iterator

POLLS = 7
FIRST_MIB, STEADY_MIB, STEADY_SECONDS, STEADY_CPU = 300, 200, 2.0, 1.0


def run() -> Iterator[Row]:
    for nodes in (64, 256, LARGEST):
        yield from _measure(nodes)


def _measure(nodes: int) -> Iterator[Row]:
    command = [sys.executable, "-m", "tests.benchmarks._serve", str(nodes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            template = server.stdout.readline().strip()
            poll = [sys.executable, "-m", "tests.benchmarks._poll", template, str(POLLS)]
            found = json.loads(subprocess.run(poll, check=True, stdout=subprocess.PIPE, text=True).stdout)
        finally:
            server.kill()
    wall, cpu, judged = found["steady"]
    size = f"{nodes} nodes, {nodes * 256:,} ranges"
    large = nodes == LARGEST
    first = f"first: {found['first_wall']:.2f} s wall, {found['first_cpu']:.2f} s CPU"
    for what, measured, limit, text in (
        ("first poll and judgement, peak memory", f"{found['first_peak']:.0f} MiB", FIRST_MIB, "<= 300 MiB"),
        ("steady, resident", f"{found['resident']:.0f} MiB", STEADY_MIB, "<= 200 MiB"),
        ("steady poll, wall", f"{wall:.2f} s", STEADY_SECONDS, "<= 2 s"),
        ("steady poll, CPU", f"{cpu:.2f} s", STEADY_CPU, "<= 1 CPU s"),
    ):
        met = float(measured.split()[0]) <= limit if large else None
        yield Row(f"{what}: {size}", measured, first, None, text, met)
    ratio = judged / found["judge"]
    against = f"first: {found['judge'] * 1000:.0f} ms"
    met = ratio < 1 / 50 if large else None
    yield Row(f"steady judgement: {size}", f"{judged * 1000:.1f} ms", against, ratio, "~0", met)
