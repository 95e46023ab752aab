"""Polling embedded clusters of 64, 256 and 1,024 nodes over HTTP: time, CPU and memory of first and steady polls."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.benchmarks import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

POLLS = 7
FIRST_MIB, STEADY_MIB, STEADY_SECONDS, STEADY_CPU = 300, 200, 2.0, 1.0


def run() -> Iterator[Row]:
    for nodes in (64, 256, 1024):
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
    first = f"first: {found['first_wall']:.2f} s wall, {found['first_cpu']:.2f} s CPU"
    peak = f"{found['first_peak']:.0f} MiB"
    yield Row(
        f"first poll and judgement, peak memory: {size}",
        peak,
        first,
        None,
        "<= 300 MiB",
        found["first_peak"] <= FIRST_MIB,
    )
    yield Row(
        f"steady, resident: {size}",
        f"{found['resident']:.0f} MiB",
        "",
        None,
        "<= 200 MiB",
        found["resident"] <= STEADY_MIB,
    )
    yield Row(
        f"steady poll, wall: {size}",
        f"{wall:.2f} s",
        first,
        wall / found["first_wall"],
        "<= 2 s",
        wall <= STEADY_SECONDS,
    )
    yield Row(
        f"steady poll, CPU: {size}", f"{cpu:.2f} s", first, cpu / found["first_cpu"], "<= 1 CPU s", cpu <= STEADY_CPU
    )
    yield Row(
        f"steady judgement: {size}",
        f"{judged * 1000:.1f} ms",
        f"first: {found['judge'] * 1000:.0f} ms",
        judged / found["judge"],
        "~0",
        judged < found["judge"] / 50,
    )
