"""Logged batches need a second live node in the coordinator's datacenter, whatever the level of the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cassandra import ConsistencyLevel

from tests.cassandra import queries
from tests.cassandra.answers import Answers
from tests.cassandra.conftest import chosen_releases
from tests.cassandra.launch import release_key

if TYPE_CHECKING:
    from tests.cassandra.conftest import ClusterFactory

pytestmark = pytest.mark.cassandra

RELEASES = [release for release in chosen_releases() if release_key(release) >= (3, 0)]
REPLICATION = "{'class': 'NetworkTopologyStrategy', 'dc1': 3}"
WRITES = "INSERT INTO shop.orders (id, n) VALUES (1, 1); INSERT INTO shop.orders (id, n) VALUES (2, 2);"
BATCHES = {kind: f"BEGIN {kind}BATCH {WRITES} APPLY BATCH" for kind in ("", "UNLOGGED ")}


@pytest.mark.parametrize("release", RELEASES)
def test_the_last_node_of_a_datacenter_writes_no_logged_batches(real_cluster: ClusterFactory, release: str) -> None:
    """With two of three nodes alive a batch is served; with one it is not, though ONE is available."""
    cluster = real_cluster(release, "dc1:r1,dc1:r2,dc1:r3", yaml=queries.TIMEOUTS)
    with cluster.session(1, timeout=60) as session:
        session.execute(f"CREATE KEYSPACE shop WITH replication = {REPLICATION}")
        session.execute("CREATE TABLE shop.orders (id int PRIMARY KEY, n int)")
    asked = Answers(cluster, accepted=())
    for node, left in ((cluster.node(3), True), (cluster.node(2), False)):
        decision = asked.preflight("--level", "ONE", "--allow", "metadata_quorum", node.address)
        assert ("logged_batches" in {reason["code"] for reason in decision["reasons"]}) != left
        assert decision["decision"] == "safe"
        node.terminate()
        cluster.wait_down(node)
        assert not queries.refusal(cluster.node(1), BATCHES["UNLOGGED "], ConsistencyLevel.ONE)
        why = queries.refusal(cluster.node(1), BATCHES[""], ConsistencyLevel.ONE)
        assert ("Unavailable" in why) != left, why
        code, text = asked.check("-w", "ONE", "-c", "ONE")
        assert (code, "[logged_batches]" in text) == (0, not left), text
