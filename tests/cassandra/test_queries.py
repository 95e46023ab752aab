"""Query by query, ringcheck's prediction for a coordinator is what its clients get: every release, every state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cassandra import queries, situations
from tests.cassandra.launch import release_key
from tests.cassandra.queries import Lab, network, simple

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cassandra.conftest import ClusterFactory

pytestmark = [pytest.mark.cassandra, pytest.mark.long]

DEFAULT_RELEASES = ("5.0.8",)  # each release takes ten minutes; make cassandra-all asks all of them
LAYOUT = "dc1:r1,dc1:r2,dc1:r3,dc2:r1,dc2:r1"
# Long enough for the states JOINING and LEAVING, and for a dead joiner, to last during all queries on a busy machine.
RING_DELAY_MS = 180_000
JOINER_RING_DELAY_MS = RING_DELAY_MS

KEYSPACES = (
    simple(1),
    simple(2),
    simple(3),
    simple(7),  # more than there are nodes
    network("nts_3_1", dc1=3, dc2=1),
    network("nts_2_2", dc1=2, dc2=2),
    network("nts_1_2", dc1=1, dc2=2),
    network("nts_1", dc1=1),  # absent from dc2
    network("nts_3", dc1=3),
    network("nts_5", dc1=5),  # more than dc1 has nodes
    network("nts_3_0", dc1=3, dc2=0),
)
# A misspelt datacenter; from 4.0 on Cassandra refuses it.
NOWHERE = network("nowhere", dc9=1)


@pytest.fixture
def lab(real_cluster: ClusterFactory, cassandra_release: str, tmp_path: Path) -> Lab:
    """Five nodes in two datacenters, all up."""
    by_rows = {"stream_entire_sstables": False} if release_key(cassandra_release) >= (6, 0) else {}
    settings = queries.TIMEOUTS | by_rows
    cluster = real_cluster(cassandra_release, LAYOUT, ring_delay_ms=RING_DELAY_MS, yaml=settings)
    return Lab(cluster, (*KEYSPACES, NOWHERE) if cassandra_release < "4" else KEYSPACES, tmp_path)


def test_nodes_down(lab: Lab) -> None:
    """With every node up, and as nodes are lost and come back, every query ends as predicted for its coordinator."""
    lab.compare("all up", 1, 4)
    lab.lose(3, hard=True)
    lab.compare("a dc1 node killed", 1, 4)
    lab.lose(2)
    lab.compare("two of dc1 down", 1, 4)
    lab.bring_back(2)
    lab.lose(5)
    lab.compare("one of each datacenter down", 1, 4)
    lab.lose(4)
    lab.bring_back(3)
    lab.compare("dc2 down", 1)


def test_leaving_node(lab: Lab, real_cluster: ClusterFactory) -> None:
    """While a node leaves, and a natural replica or the leaver itself is lost, every query ends as predicted."""
    streams = release_key(lab.release) >= (6, 0)  # without a ring delay it is leaving only while it streams
    if streams:
        situations.let_leaving_last(lab.cluster, "nts_2_2")
    lab.begin_to_leave(2)
    lab.compare("a dc1 node leaving", 1, 2, 4)
    assert lab.node(2).read("OperationMode") == "LEAVING"
    if streams:
        lab.lose(2, hard=True)  # first, since the end of a stream would end its decommission
        lab.compare("leaver down", 1, 4)
    lab.lose(3)
    if not streams:
        lab.compare("leaving, another down", 1, 2, 4)
        lab.lose(2, hard=True)
    lab.compare("leaver and another down", 1, 4)
    if streams:
        real_cluster.close()  # the node whose decommission failed would serve no clients after a start


def test_joining_node(lab: Lab) -> None:
    """While a node joins, and a natural replica or the joiner is lost, every query ends as predicted."""
    lab.begin_to_join("dc1", "r1", JOINER_RING_DELAY_MS)
    lab.compare("a node joining", 1, 4)
    lab.lose(3)
    lab.compare("joining, another down", 1, 4)
    lab.lose(6, hard=True)
    lab.compare("joiner and another down", 1, 4)
