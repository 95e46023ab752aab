"""A node that a coordinator lists as live, and that its failure detector has down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cassandra import ConsistencyLevel

from ringcheck.jolokia.mbeans import FAILURE_DETECTOR, SIMPLE_STATES
from tests.cassandra import queries
from tests.cassandra.answers import Answers, lost
from tests.cassandra.cluster import wait_until
from tests.cassandra.conftest import chosen_releases
from tests.cassandra.launch import release_key

if TYPE_CHECKING:
    from tests.cassandra.cluster import RealNode
    from tests.cassandra.conftest import ClusterFactory

pytestmark = pytest.mark.cassandra

RELEASES = [release for release in chosen_releases() if release_key(release) >= (3, 0)]
# The coordinator must hear of the restart from the third node before its detector convicts the node for its silence.
PATIENT = queries.TIMEOUTS | {"phi_convict_threshold": 16}
GOSSIPER = "org.apache.cassandra.net:type=Gossiper"
READ = "SELECT * FROM shop.orders WHERE id = 1"
REPLICATION = "{'class': 'NetworkTopologyStrategy', 'dc1': 3}"


def is_down(observer: RealNode, node: RealNode) -> bool:
    """Whether the failure detector of one node has another down."""
    states = observer.read(SIMPLE_STATES, mbean=FAILURE_DETECTOR)
    return any(state == "DOWN" for name, state in states.items() if name.endswith(f"/{node.address}"))


def generation(observer: RealNode, node: RealNode) -> int:
    """The generation of a node as another one knows it."""
    return int(observer.exec("getCurrentGenerationNumber", node.address, mbean=GOSSIPER))


@pytest.mark.parametrize("release", RELEASES)
def test_a_node_that_restarted_unseen_and_sends_no_echo(real_cluster: ClusterFactory, release: str) -> None:
    """The coordinator learns from a third node that it has restarted, and waits for its echo for ever.

    The coordinator is paused while the node restarts, so that it does not see it down, and the node is paused before
    the coordinator asks for an echo.
    """
    cluster = real_cluster(release, "dc1:r1,dc1:r2,dc1:r3", yaml=PATIENT)
    with cluster.session(1, timeout=60) as session:
        session.execute(f"CREATE KEYSPACE shop WITH replication = {REPLICATION}")
        session.execute("CREATE TABLE shop.orders (id int PRIMARY KEY, n int)")
    observer, witness, restarted = cluster.nodes
    before = generation(witness, restarted)
    observer.pause()
    restarted.restart(hard=True)
    wait_until(
        lambda: "" if generation(witness, restarted) > before else "it is the old one",
        60,
        "the third node does not hear of the restart:",
        cluster,
    )
    restarted.pause()
    observer.resume()
    wait_until(lambda: "" if is_down(observer, restarted) else "it is up", 30, "the detector does not see it:", cluster)
    assert restarted.address in observer.addresses("LiveNodes")
    assert "Unavailable" in queries.refusal(observer, READ, ConsistencyLevel.ALL)
    document = Answers(cluster).health("--view", observer.address, "--level", "LOCAL_ALL")
    assert lost(document, "LOCAL_ALL", "shop") > 0
    assert "live_but_down" in {finding["code"] for finding in document["findings"]}
