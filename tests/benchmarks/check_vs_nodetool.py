"""`ringcheck check` on a real cluster against `nodetool describering`: whole processes, alternately."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from tests.benchmarks import Row, compared
from tests.cassandra import queries
from tests.cassandra.cluster import RealCluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cassandra.cluster import RealNode

ROUNDS = 5
KEYSPACES = 20
VNODES = 256
RINGCHECK = Path(sys.executable).with_name("ringcheck")


def keyspaces() -> list[queries.Keyspace]:
    """Twenty keyspaces with six replications, all of which the cluster can serve."""
    replications = [
        (strategy, option, factor)
        for strategy, option in (("SimpleStrategy", "replication_factor"), ("NetworkTopologyStrategy", "dc1"))
        for factor in (1, 2, 3)
    ]
    chosen = (replications[number % len(replications)] for number in range(KEYSPACES))
    return [
        queries.Keyspace(f"bench_{number}", strategy, {option: factor})
        for number, (strategy, option, factor) in enumerate(chosen)
    ]


def run() -> Iterator[Row]:
    for one in measured():
        what = f"check, 3 nodes of {VNODES} vnodes, {KEYSPACES} keyspaces"
        yield compared(
            what, one.check, f"nodetool describering of {KEYSPACES}", one.all_, budget=1 / 40, text="<= 1/40"
        )
        yield compared(what, one.check, "nodetool describering of one", one.single, budget=1 / 2, text="<= 1/2")


class Times(NamedTuple):
    """Seconds of `check`, of nodetool for all keyspaces, and of nodetool for one."""

    check: float
    all_: float
    single: float


def measured(jolokia: str | None = None) -> Iterator[Times]:
    """The times on a cluster of its own, with the Jolokia that `RealCluster` takes."""
    with RealCluster("5.0.8", "dc1:r1,dc1:r2,dc1:r3", num_tokens=VNODES, jolokia=jolokia) as cluster:
        names = [one.name for one in keyspaces()]
        queries.create(cluster, keyspaces())
        yield _times(cluster.node(1), names)


def _times(node: RealNode, names: list[str]) -> Times:
    checks, all_, one = [], [], []
    _check(node)  # byte code and file cache
    for _ in range(ROUNDS):
        checks.append(_timed(lambda: _check(node)))
        all_.append(_timed(lambda: [node.nodetool("describering", name) for name in names]))
        checks.append(_timed(lambda: _check(node)))
        one.append(_timed(lambda: node.nodetool("describering", names[0])))
    return Times(median(checks), median(all_), median(one))


def _check(node: RealNode) -> None:
    # The first request through a proxy loads classes in it and in all nodes: on a busy machine 10 s are not enough.
    through = ("--proxy", node.cluster.proxy_url, "-t", "60s") if node.cluster.record.jolokia == "none" else ()
    command = [RINGCHECK, "check", "-H", node.address, *through]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout.startswith(f"OK - lab: {KEYSPACES} keyspaces"):
        raise RuntimeError(f"check found something else than {KEYSPACES} sound keyspaces: {done.stdout}{done.stderr}")


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
