"""Polls and evaluates a cluster in a process of its own: prints time and memory, as JSON."""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from pathlib import Path

from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.jolokia.source import JolokiaSource
from ringcheck.simulator.cluster import loopback_address
from tests.benchmarks.scale_core import judge

MIB = 1024


def used() -> tuple[float, float, float]:
    """Wall seconds, CPU seconds, peak MiB so far."""
    mine = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), mine.ru_utime + mine.ru_stime, peak()


def peak() -> float:
    """Peak MiB so far; not ru_maxrss, which starts with the memory of the parent process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / MIB


def resident() -> float:
    """MiB in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / MIB / MIB


def main(template: str, polls: int) -> None:
    collector = JolokiaSource(
        JolokiaSettings(contact_points=(loopback_address(0), loopback_address(1)), url=template, timeout=60)
    )
    start = used()
    seen = collector.poll(120)
    read = used()
    judge(seen)
    assert all(ring.ranges_of for ring in seen.rings)
    judged = used()
    del seen
    gc.collect()
    gc.freeze()
    steady = []
    for _ in range(polls):
        before = used()
        again = collector.poll(60)
        polled = used()
        judge(again)
        after = used()
        steady.append((polled[0] - before[0], polled[1] - before[1], after[0] - polled[0]))
        assert len(again.views) == len(again.nodes)
        assert all(view.outcome == "ok" for view in again.views)
    print(
        json.dumps(
            {
                "first_wall": read[0] - start[0],
                "first_cpu": read[1] - start[1],
                "first_peak": judged[2],
                "judge": judged[0] - read[0],
                "steady": sorted(steady)[len(steady) // 2],
                "resident": resident(),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
