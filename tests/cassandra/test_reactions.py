"""Changes of the ring that the gate calls safe cost no query; those that it refuses, done anyway, fail or cost some.

One cluster lives through all of them, in the order of the tests: rack r1 has several nodes, r2 and r3 have one each, so
that a dead node leaves two of three replicas. While an action is under way, clients ask all ranges through every
coordinator that serves. 5.0.8 by default; `RINGCHECK_CASSANDRA_VERSIONS=3.11.19` or `all` for other releases, and
for the tests that CI leaves out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cassandra import queries, situations
from tests.cassandra.cluster import RealCluster
from tests.cassandra.conftest import chosen_releases
from tests.cassandra.launch import release_key
from tests.cassandra.reactions import (
    INCONSISTENT,
    LONE,
    ORDERS,
    Ring,
    begin_to_join,
    failed_to_leave,
    forget,
    halves,
    join,
    leave,
    leaving,
    remove,
    replace,
    wait_refused,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cassandra.conftest import ClusterFactory

pytestmark = [pytest.mark.cassandra, pytest.mark.long]

RELEASES = [release for release in chosen_releases() if release in {"3.11.19", "4.1.9", "5.0.8"}]
LAYOUT = "dc1:r1,dc1:r2,dc1:r3,dc1:r1"
SHARED = queries.network("shared", dc1=3)
SYSTEM = ("system_auth", "system_distributed", "system_traces")  # RF 1, 3 and 2 by default, whatever the racks are
RING_DELAY_MS = 15_000  # that a removal is announced before it is done: long enough to ask all ranges
IN_R1, IN_R2 = (("--datacenter", "dc1", "--rack", rack) for rack in ("r1", "r2"))
REFUSALS = (
    "A node required to move the data consistently is down",
    "Necessary replicas for strict consistency were removed by source filters",
    "Unable to find sufficient sources for streaming range",
)
asked_by_name = pytest.mark.skipif(
    not chosen_releases(()), reason="minutes more than CI has: run it with RINGCHECK_CASSANDRA_VERSIONS=5.0.8"
)


@pytest.fixture(scope="module", params=RELEASES)
def ring(request: pytest.FixtureRequest, real_cluster: ClusterFactory) -> Iterator[Ring]:
    """Four nodes in three racks, and keyspaces with a replica in each rack."""
    release: str = request.param
    real_cluster.close()
    # A coordinator that has the row reads its own at ONE, so that a row that it lacks is seen.
    settings = queries.TIMEOUTS | {"dynamic_snitch": False}
    settings |= situations.LONE_OPTIONS if release_key(release) >= (4, 0) else {}
    with RealCluster(release, LAYOUT, yaml=settings, ring_delay_ms=RING_DELAY_MS) as cluster:
        queries.create(cluster, (ORDERS,))
        with cluster.session(1, timeout=60) as session:
            for keyspace in SYSTEM:
                session.execute(f"ALTER KEYSPACE {keyspace} WITH replication = {ORDERS.replication}")
        ring = Ring(cluster)
        ring.fill(ORDERS.name)
        yield ring


def test_replace_two_together(ring: Ring) -> None:
    """Two dead nodes that share no range are replaced at once; only a keyspace of RF 1, refused before, loses rows."""
    queries.create(ring.cluster, (LONE,))
    ring.fill(LONE.name)
    dead = ring.of_rack("r1")
    assert len(dead) == 2
    ring.kill(*dead)
    names = [node.address for node in dead]
    decision, codes = ring.decides("replace", *names, "--datacenter", "dc1", "--rack", "r2", "--accept", LONE.name)
    assert (decision, codes) == ("unsafe", {"rack_differs"})
    assert ring.decides("replace", *names, *IN_R1) == ("unsafe", {"no_live_source"})
    ring.may("replace", *names, *IN_R1, "--accept", LONE.name)
    with ring.traffic() as clients:
        new = replace(ring, dead)
    clients.assert_nothing_lost()
    assert len(ring.of_rack("r1")) == 2
    assert ring.rows_lost(LONE.name) > 0, "the refused keyspace has lost nothing"
    assert [ring.rows_lost(ORDERS.name, through=node) for node in new] == [0, 0]
    ring.drop(LONE.name)


def test_bootstrap(ring: Ring) -> None:
    """A node joins while all are up: no query is lost, and the new node has all of its rows."""
    ring.may("bootstrap", *IN_R1)
    with ring.traffic() as clients:
        new = join(ring, "r1")
    clients.assert_nothing_lost()
    assert ring.rows_lost(ORDERS.name, through=new) == 0


def test_removenode(ring: Ring) -> None:
    """A dead node is removed while all others are up: no query is lost, and every replica has its rows."""
    _, _, dead = ring.of_rack("r1")
    ring.kill(dead)
    ring.may("removenode", dead.address)
    with ring.traffic() as clients:
        remove(ring, dead)
    clients.assert_nothing_lost()
    assert {ring.rows_lost(ORDERS.name, through=node) for node in ring.up} == {0}


@asked_by_name
def test_bootstrap_with_dead_replica(ring: Ring) -> None:
    """The node that gives up the ranges is dead: Cassandra refuses too; joined anyway, the new node lacks rows."""
    giving, _ = ring.of_rack("r1")
    queries.create(ring.cluster, (LONE,))
    ring.fill(LONE.name)
    tokens = halves(giving, LONE.name)
    ring.stop(giving)
    decision, codes = ring.decides("bootstrap", *IN_R1, "--accept", LONE.name)
    assert (decision, codes) == ("unsafe", {"node_down_elsewhere", "no_live_source"})
    assert_cassandra_refuses(ring, [token - 1 for token in tokens])  # two joiners can't have one token
    new = join(ring, "r1", yaml=at(tokens), jvm_options=[INCONSISTENT])
    ring.revive(giving)
    assert ring.rows_lost(LONE.name) > 0, "a refused bootstrap lost nothing"
    assert ring.rows_lost(ORDERS.name, through=new) == 0
    ring.drop(LONE.name)


def assert_cassandra_refuses(ring: Ring, tokens: list[int]) -> None:
    """A node that takes over ranges of a dead one does not start."""
    joiner = begin_to_join(ring, "r1", yaml=at(tokens))
    errors = wait_refused(joiner)
    assert any(text in errors for text in REFUSALS), errors
    forget(ring, joiner)


def at(tokens: list[int]) -> dict[str, str]:
    """The settings for cassandra.yaml of a node that joins at these tokens."""
    return {"initial_token": ",".join(map(str, tokens))}


def test_decommission(ring: Ring) -> None:
    """A node leaves while all are up: no query through another is lost, and every replica has its rows."""
    *_, leaver = ring.of_rack("r1")
    ring.may("decommission", leaver.address)
    with ring.traffic(without=[leaver]) as clients:
        leave(ring, [leaver])
    clients.assert_nothing_lost()
    assert {ring.rows_lost(ORDERS.name, through=node) for node in ring.up} == {0}


@asked_by_name
def test_decommission_two_together(ring: Ring) -> None:
    """Two replicas of a range leave at once: plain queries are served, and Paxos refuses two pending replicas."""
    ring.may("bootstrap", *IN_R2)
    join(ring, "r2")
    leavers = [ring.of_rack(rack)[-1] for rack in ("r1", "r2")]
    names = [node.address for node in leavers]
    ring.may("decommission", *names)
    assert ring.decides("decommission", *names, "--level", "SERIAL") == ("unsafe", {"would_become_unavailable"})
    assert "unavailable" not in ring.outcomes("SERIAL")
    with ring.traffic(without=leavers) as clients, leaving(ring, leavers):
        assert "unavailable" in ring.outcomes("SERIAL")
    clients.assert_nothing_lost()
    ring.may("bootstrap", *IN_R1)
    join(ring, "r1")


@asked_by_name
def test_decommission_with_dead_successor(ring: Ring) -> None:
    """The node that would gain the ranges is dead: the decommission fails, and one more stop costs writes."""
    successor, leaver = ring.of_rack("r1")
    [other] = ring.of_rack("r2")
    ring.stop(successor)
    assert ring.decides("decommission", leaver.address) == ("unsafe", {"node_down_elsewhere"})
    assert failed_to_leave(leaver), "a refused decommission went well"
    with ring.traffic(without=[other]) as clients:
        assert clients.lost == []
        assert "topology_changing" in ring.decides("restart", other.address)[1]
        ring.stop(other)
    assert any(line.startswith("write") for line in clients.lost), "a refused decommission cost nothing"
    leaver.restart()  # it is a normal member again
    ring.revive(other, successor)


def test_removenode_with_dead_successor(ring: Ring) -> None:
    """The node that would gain the ranges is dead: until it is removed, writes wait for it and fail."""
    if len(ring.of_rack("r1")) == 1:
        join(ring, "r1")
    successor, dead = ring.of_rack("r1")
    ring.kill(successor, dead)
    decision, codes = ring.decides("removenode", dead.address)
    assert (decision, "would_become_unavailable" in codes) == ("unsafe", True)
    with ring.traffic() as clients:
        assert clients.lost == []
        remove(ring, dead)
    assert clients.errors == []
    assert any(line.startswith("write") for line in clients.lost), "a refused removal cost nothing"
    ring.revive(successor)


@asked_by_name
def test_replace_two_that_share_ranges(ring: Ring) -> None:
    """Rows that only two dead nodes have acknowledged are lost for good if both are replaced from the third."""
    [third], dead = ring.of_rack("r1"), [*ring.of_rack("r2"), *ring.of_rack("r3")]
    for node in dead:
        node.nodetool("disablehandoff")
    ring.stop(third)
    queries.create(ring.cluster, (SHARED,))
    ring.fill(SHARED.name, "LOCAL_QUORUM")
    ring.revive(third)
    ring.stop(*dead)
    decision, codes = ring.decides("replace", *(node.address for node in dead))
    assert (decision, codes) == ("unsafe", {"shared_ranges"})
    replace(ring, dead)
    assert ring.rows_lost(SHARED.name, "ALL") > 0, "a refused replacement lost nothing"


def test_decommission_below_the_replication_factor(ring: Ring) -> None:
    """With as many nodes as replicas none may leave; forced, it costs every query at ALL, and no node may stop."""
    leaver, *_ = ring.up
    decision, codes = ring.decides("decommission", leaver.address)
    assert (decision, "replication_would_not_fit" in codes) == ("unsafe", True)
    assert ring.outcomes("ALL") == {"served"}
    if ring.forces():
        assert "Not enough live nodes to maintain replication factor" in failed_to_leave(leaver)
    leave(ring, [leaver], force=ring.forces())
    assert ring.outcomes("LOCAL_QUORUM") == {"served"}
    assert ring.outcomes("ALL") == {"unavailable"}
    for node in ring.up:
        decision, codes = ring.decides("restart", node.address)
        assert (decision, "structurally_never_safe" in codes) == ("unsafe", True)
