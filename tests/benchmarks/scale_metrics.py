"""Rendering the metrics of 1,024 nodes and 100 keyspaces, against the JSON document of the same verdict: CPU time."""

from __future__ import annotations

import json
import time
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from ringcheck.core.assess import assess
from ringcheck.documents.verdict import verdict_document
from ringcheck.report.metrics import render
from ringcheck.report.reading import Reading
from tests.benchmarks import Row
from tests.benchmarks.scale_core import LARGEST, POLICY, cluster, with_down

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BUDGET = 0.05  # seconds of CPU, since it does not wait for anything
ROUNDS = 9
OPEN = "application/openmetrics-text;version=1.0.0"


def run() -> Iterator[Row]:
    seen, _ = cluster(LARGEST)
    verdict = assess(with_down(seen, 7), POLICY)
    reading = Reading(cluster="big", verdict=verdict, restart_safe=frozenset(), fresh=True, last_success=0.0)
    document = _cpu(lambda: json.dumps(verdict_document(verdict)))
    for name, accept in (("text", ""), ("OpenMetrics", OPEN)):
        taken = _cpu(partial(render, lambda: [reading], accept=accept))
        series = sum(not one.startswith(b"#") for one in render(lambda: [reading], accept=accept)[1].splitlines())
        yield Row(
            f"metrics as {name}: {LARGEST} nodes, {len(verdict.keyspaces)} keyspaces, {series:,} series",
            f"{taken * 1000:.1f} ms CPU",
            f"the verdict as JSON: {document * 1000:.1f} ms CPU",
            taken / document,
            "< 50 ms",
            taken < BUDGET,
        )


def _cpu(work: Callable[[], object]) -> float:
    """Median CPU seconds of several rounds."""
    taken = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return median(taken)
