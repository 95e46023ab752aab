"""A rolling restart loses no query; and the load that shows it does fail when nodes are stopped at the wrong time.

By default: three nodes of 4.1.9. `RINGCHECK_CASSANDRA_VERSIONS=all` asks every release the same.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.cassandra.cluster import wait_until
from tests.cassandra.load import CLIENTS, LEVELS, OPERATIONS, Load, Traffic

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cassandra.cluster import RealCluster, RealNode
    from tests.cassandra.conftest import ClusterFactory

pytestmark = pytest.mark.cassandra

DEFAULT_RELEASES = ("4.1.9",)
TOKENS = 8  # of each node: with 3 nodes 24 ranges, each asked in each of four ways about once a second
OUTAGE = 100  # failures of each client that no accident explains


@pytest.fixture
def cluster(real_cluster: ClusterFactory, cassandra_release: str) -> RealCluster:
    """Three nodes, all up, each a replica of every range."""
    return real_cluster(cassandra_release, num_tokens=TOKENS)


def outage(found: Traffic) -> bool:
    """Whether each client met enough Unavailable."""
    return all(len(found.of(client).ended("unavailable").requests) >= OUTAGE for client in CLIENTS)


def every_way(found: Traffic) -> set[tuple[str, str, str]]:
    """Clients, levels and operations of some requests."""
    return {(request.client, request.level, request.operation) for request in found.requests}


WAYS = {(client, level, operation) for client in CLIENTS for level in LEVELS for operation in OPERATIONS}


def quiet(load: Load) -> None:
    """Nothing fails while nothing is restarted."""
    found = load.until(lambda found: all(len(found.of(client).requests) >= 300 for client in CLIENTS))
    assert not found.failed.requests, found


def test_two_replicas_stopped_at_once_fail_the_load(cluster: RealCluster, tmp_path: Path) -> None:
    """With two of three replicas gone each client gets Unavailable on every range, in every way it asks."""
    with Load(cluster, tmp_path) as load:
        quiet(load)
        stop(cluster.node(2), cluster.node(3))
        found = load.until(outage).ended("unavailable")
    assert every_way(found) == WAYS
    assert all(found.of(client).hit == set(range(3 * TOKENS)) for client in CLIENTS)


def test_next_stop_when_the_jvm_answers_fails_the_load(cluster: RealCluster, tmp_path: Path) -> None:
    """Unavailable is what a gate costs that takes a node for back as soon as its Jolokia answers."""
    first, second = cluster.node(2), cluster.node(3)
    with Load(cluster, tmp_path) as load:
        quiet(load)
        first.drain()
        first.restart(hard=True)
        wait_answer(first)
        assert not load.traffic().ended("unavailable").requests, "one node at a time costs none"
        stop(second)
        found = load.until(outage).ended("unavailable")
    assert every_way(found) == WAYS


def stop(*nodes: RealNode) -> None:
    """SIGTERM all at once, and wait for their ends."""
    for node in nodes:
        node.process.signal(signal.SIGTERM)
    for node in nodes:
        node.terminate()


def wait_answer(node: RealNode) -> None:
    """Wait until the agent in a starting JVM answers at all."""

    def lacking() -> str:
        node.read("Uptime", mbean="java.lang:type=Runtime")
        return ""

    wait_until(lacking, 120, f"{node} does not answer", node.cluster)
