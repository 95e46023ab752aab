"""The embedded cluster places replicas as real clusters do: two datacenters, uneven racks, RF above the racks."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from ringcheck.core.ring import Replication
from ringcheck.jolokia.settings import ConfiguredCluster, JolokiaSettings
from ringcheck.jolokia.source import JolokiaSource
from ringcheck.simulator.cluster import version_of
from ringcheck.simulator.placement import SimPlace, TokenRing, place
from tests.cassandra import queries
from tests.cassandra.test_queries import LAYOUT, RING_DELAY_MS

if TYPE_CHECKING:
    from ringcheck.core.ring import Ring, Snapshot
    from tests.cassandra.cluster import RealCluster
    from tests.cassandra.conftest import ClusterFactory

pytestmark = pytest.mark.cassandra

WANTED = {
    "placed_owner": "SimpleStrategy {replication_factor=1}",
    "placed_simple": "SimpleStrategy {replication_factor=4}",
    "placed_both": "NetworkTopologyStrategy {dc1=3, dc2=2}",
    "placed_two": "NetworkTopologyStrategy {dc1=2}",
    "placed_above": "NetworkTopologyStrategy {dc1=5, dc2=1}",
}


def rings(cluster: RealCluster) -> Snapshot:
    """The rings that the collector reads; for releases that do not report the replication it is configured."""
    settings = JolokiaSettings(contact_points=(cluster.node(1).url,), timeout=20)
    configured = ConfiguredCluster(replication={name: Replication.parse(text) for name, text in WANTED.items()})
    with closing(JolokiaSource(settings, configured)) as collector:
        return collector.poll(60)


def ring_of(seen: Snapshot, keyspace: str) -> Ring:
    return next(ring for ring in seen.rings if keyspace in ring.keyspaces)


def test_placement_equals_a_live_ring(real_cluster: ClusterFactory, cassandra_release: str) -> None:
    """Every range of every replication has the same nodes in the same order."""
    cluster = real_cluster(cassandra_release, LAYOUT, ring_delay_ms=RING_DELAY_MS, yaml=queries.TIMEOUTS)
    with cluster.session(1) as session:
        for name, text in WANTED.items():
            kind, _, options = text.partition(" ")
            pairs = options.strip("{}").replace("=", "': ").replace(", ", ", '")
            session.execute(f"CREATE KEYSPACE IF NOT EXISTS {name} WITH replication = {{'class': '{kind}', '{pairs}}}")
    seen = rings(cluster)
    owner = ring_of(seen, "placed_owner")
    tokens = TokenRing(tuple(owner.tokens), tuple(owner.replicas(index)[0] for index in range(len(owner))))
    places = [SimPlace(node.datacenter or "", node.rack or "") for node in seen.nodes]
    assert len({(one.datacenter, one.rack) for one in places}) == 4
    compared = 0
    for name, text in WANTED.items():
        ring = ring_of(seen, name)
        expected = place(tokens, Replication.parse(text), places, version_of(cassandra_release))
        assert [ring.replicas(index) for index in range(len(ring))] == expected, name
        compared += len(ring)
    assert compared == len(WANTED) * 4 * len(places)
