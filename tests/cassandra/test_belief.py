"""No false answer if nodes contradict each other, know peers by old addresses, or list nodes that have left.

Each state is made on real nodes. The tests then run `check`, the gate for every node, and queries of every range
through every coordinator. No verdict may be better than the queries, no SAFE may cost a range when the node is really
stopped, and nodes that have left must not count.

One cluster serves all tests of a release, about eight minutes; 5.0.8 by default. `RINGCHECK_CASSANDRA_VERSIONS=all`
adds 3.11.19 and 4.1.9, and tries every SAFE instead of one for each state. Other releases are left out: 2.2 and 3.0
gossip as 3.11 does, but do not report the replication; 4.0 lists and joins as 4.1 does.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from ringcheck.core.policy import Severity
from tests.cassandra import answers, queries, situations
from tests.cassandra.answers import Answers, advised, blocking, lost, member_ids
from tests.cassandra.cluster import RealCluster
from tests.cassandra.conftest import chosen_releases
from tests.cassandra.launch import release_key
from tests.cassandra.test_agent import Watched, severity
from tests.cassandra.test_states import LAYOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cassandra.cluster import RealNode
    from tests.cassandra.conftest import ClusterFactory

pytestmark = [pytest.mark.cassandra, pytest.mark.long]

TOKENS = 8  # of each node
RELEASES = [release for release in chosen_releases() if release in {"3.11.19", "4.1.9", "5.0.8"}]
TRIED = None if os.environ.get("RINGCHECK_CASSANDRA_VERSIONS") else 1  # SAFE answers tried in each state
NODES = re.compile(r'^cassandra_ring_nodes\{cassandra_cluster="lab",[^}]*\} (\S+)$', re.MULTILINE)
SOON = 2  # polls: one may already have been in progress when something changed


@pytest.fixture(scope="module", params=RELEASES)
def cluster(request: pytest.FixtureRequest, real_cluster: ClusterFactory) -> Iterator[RealCluster]:
    """Three racks of one node each, and all keyspaces; each test first removes what the test before left behind."""
    release: str = request.param
    real_cluster.close()
    settings = queries.TIMEOUTS | situations.slow_streams(release)
    with RealCluster(release, LAYOUT, num_tokens=TOKENS, yaml=settings) as found:
        queries.create(found, answers.KEYSPACES)
        yield found


@pytest.fixture
def asked(cluster: RealCluster) -> Answers:
    """The helper that asks ringcheck and the coordinators."""
    return Answers(cluster)


@pytest.fixture
def three(cluster: RealCluster) -> list[RealNode]:
    """Three members, all up, and no other node."""
    situations.whole(cluster)
    return situations.first_three(cluster)


def host_id(node: RealNode) -> str:
    return str(node.read("LocalHostId"))


def host_ids(nodes: list[RealNode]) -> set[str]:
    return {host_id(node) for node in nodes}


def assert_safe_is_safe(asked: Answers, nodes: list[RealNode]) -> list[str]:
    """Ask the gate about each node, and try each SAFE by a real stop."""
    decisions = [asked.preflight(host_id(node))["decision"] for node in nodes]
    safe = [node for node, decision in zip(nodes, decisions, strict=True) if decision == "safe"]
    for node in safe[:TRIED]:
        assert asked.cost_of_stop(node) == set(), f"a false SAFE: {node}"
    return decisions


@contextmanager
def watching(cluster: RealCluster) -> Iterator[Watched]:
    """An agent that polls the first two nodes, and the others through them."""
    watched = Watched(cluster)
    watched.agent.start()
    try:
        watched.until(lambda one: one.verdict is not None and bool(watched.readings), "the agent does not poll")
        yield watched
    finally:
        assert watched.agent.stop(60)


def counted(text: str) -> float:
    """The number of nodes in a scrape, in any state."""
    return sum(map(float, NODES.findall(text)))


def assert_gone_soon(watched: Watched, left: int) -> None:
    """Assert that the agent counts this many nodes, now or within two polls."""
    past = watched.polls
    watched.until(lambda _: counted(watched.readings[-1][1]) == left, "a node that is gone is still counted", 60)
    assert watched.polls <= past + SOON


def test_dead_node_under_removal(cluster: RealCluster, asked: Answers) -> None:
    """Ranges that a removal has not yet moved are lost, no node may stop, and the node is not to be brought back."""
    dead = situations.dead_member(cluster)
    three, removed = situations.first_three(cluster), situations.host_id_of(dead)
    with watching(cluster) as watched:
        with situations.removal(dead):
            found = asked.health()
            assert found["severity"] == "CRITICAL"
            assert lost(found, "LOCAL_QUORUM", "nts_2") > 0
            assert asked.differences("removenode under way", *three) == []
            assert not {dead.address, dead.endpoint} & set(advised(found))
            for node in three:
                decision = asked.preflight(host_id(node))
                assert decision["decision"] != "safe"
                assert "topology_changing" in blocking(decision)
            assert severity(watched.agent.readings()[0]) is Severity.CRITICAL
        assert_gone_soon(watched, len(cluster.members))
    assert removed not in member_ids(asked.health())
    assert asked.differences("after removenode", *three) == []


def test_dead_node_under_replacement(cluster: RealCluster, asked: Answers) -> None:
    """The dead node still holds its ranges, its replacement serves none yet, and no node may stop."""
    dead = situations.dead_member(cluster)
    three = situations.first_three(cluster)
    newcomer = situations.replace(dead)
    try:
        found = asked.health()
        assert found["severity"] == "CRITICAL"
        assert {situations.host_id_of(dead), host_id(newcomer), *host_ids(three)} <= member_ids(found)
        assert asked.differences("replace_address under way", *three) == []
        assert not {dead.address, dead.endpoint} & set(advised(found))
        for node in three:
            decision = asked.preflight(host_id(node))
            assert decision["decision"] != "safe"
            assert "topology_changing" in blocking(decision)
    finally:
        situations.abandon(newcomer)


def test_assassinated_node(cluster: RealCluster, asked: Answers) -> None:
    """For a check it is no member at once, and for the agent with its next poll."""
    dead = situations.dead_member(cluster)
    three = situations.first_three(cluster)
    others = [node for node in cluster.members if node not in three and node != dead]
    with watching(cluster) as watched:
        assert counted(watched.readings[-1][1]) == len(cluster.members)
        for node in others:
            situations.assassinate(node)
        situations.assassinate(dead)
        assert_gone_soon(watched, len(three))
    found = asked.health()
    assert member_ids(found) == host_ids(three)
    assert found["severity"] == "OK"
    assert asked.differences("after assassinate", *three) == []
    assert assert_safe_is_safe(asked, three) == ["safe"] * len(three)


def test_coordinator_without_tokens(three: list[RealNode], cluster: RealCluster, asked: Answers) -> None:
    """A node that serves clients but has no tokens is no replica: it causes no alarm, and the gate allows stops."""
    extra = situations.coordinator_only(cluster)
    try:
        assert extra.read("OperationMode") == "STARTING", "for good: it has not joined"
        code, text = asked.check()
        assert code <= 1, text
        assert asked.differences("a coordinator without tokens", *three, extra) == []
        decisions = [asked.preflight(host_id(node)) for node in three]
        assert [decision["decision"] for decision in decisions] == ["safe"] * len(three), decisions
    finally:
        extra.terminate()
        extra.change(left=True)


def test_decommissioned_instances_of_live_addresses(
    three: list[RealNode], cluster: RealCluster, asked: Answers
) -> None:
    """Endpoints that have left do not count, although peers list them and live nodes use their addresses."""
    if release_key(three[0].release) < (4, 0):
        pytest.skip("before 4.0 all nodes share one port: one instance an address")
    gone = situations.second_instances(cluster, of=three[1:])
    found = asked.health()
    assert (found["severity"], member_ids(found)) == ("OK", host_ids([*three, *gone]))
    assert asked.differences("two instances on an address", *three, *gone) == []
    code, text = asked.gate(three[1].address)
    assert (code != 0, three[1].endpoint in text, gone[0].endpoint in text) == (True, True, True), text
    with watching(cluster) as watched:
        situations.ghosts(gone)
        assert_gone_soon(watched, len(three))
        assert severity(watched.agent.readings()[0]) is Severity.OK
    found = asked.health()
    assert (found["severity"], member_ids(found)) == ("OK", host_ids(three))
    assert asked.check()[0] == 0
    assert asked.differences("decommissioned instances", *three) == []
    pair = asked.preflight(host_id(three[1]), host_id(three[2]))
    assert (pair["decision"], "would_become_unavailable" in blocking(pair)) == ("unsafe", True)
    assert assert_safe_is_safe(asked, [three[1], three[0], three[2]]) == ["safe"] * len(three)
    if TRIED is None:
        assert asked.cost_of_stop(three[1], three[2]), "two of three replicas cost nothing: this shows nothing"


def test_stale_addresses(three: list[RealNode], cluster: RealCluster, asked: Answers) -> None:
    """If a node reaches none of its peers, its clients get Unavailable, and the verdict is CRITICAL."""
    alone = situations.strand(cluster)
    assert asked.outcomes(alone)["nts_3"] == {"unavailable"}
    found = asked.health()
    assert member_ids(found) == host_ids(three)
    assert found["severity"] == "CRITICAL"
    assert lost(found, "LOCAL_QUORUM", "nts_3") == TOKENS * len(three)
    code, text = asked.check("-k", "nts_3", "-c", "LOCAL_QUORUM")
    assert (code, alone.address in text) == (2, True), text
    assert asked.differences("a node with stale addresses", *three) == []
    assert "safe" not in assert_safe_is_safe(asked, three)[:2]


def test_serving_node_that_knows_no_other_node(cluster: RealCluster, asked: Answers) -> None:
    """A node that is alone in its ring serves ranges that it does not hold, and fails queries for a second replica."""
    alone = situations.forget_peers(cluster)
    three = situations.first_three(cluster)
    assert asked.outcomes(alone)["nts_3"] == {"unavailable"}
    found = asked.health()
    assert member_ids(found) == host_ids(three)
    assert lost(found, "LOCAL_QUORUM", "nts_3") == TOKENS * len(three)
    assert asked.check("-k", "nts_3", "-c", "LOCAL_QUORUM")[0] == 2
    # It answers for all ranges as if it held them, so that its answers may be better than the prediction.
    assert asked.differences("peers of a node that knows nobody", *three[:2]) == []
    assert not [line for line in asked.differences("a node that knows nobody", alone) if "predicted served" in line]
    assert "safe" not in assert_safe_is_safe(asked, three)[:2]


def test_token_owner_without_host_id(three: list[RealNode], asked: Answers) -> None:
    """A dead owner of tokens without a host id (since 4.0 it is in no list either) is down, and its ranges are lost."""
    ids, dead = host_ids(three[:2]), three[2]
    situations.forget_host_id(dead)
    for peer in three[:2]:
        assert dead.endpoint not in peer.endpoints("LiveNodes")
        assert dead.address not in peer.read("EndpointToHostId")
    found = asked.health()
    assert found["severity"] == "CRITICAL"
    assert len(found["nodes"]) == len(three)
    assert ids <= member_ids(found)
    assert lost(found, "LOCAL_ONE", "simple_1") > 0
    assert asked.differences("a token owner without host id", *three[:2]) == []
    assert set(assert_safe_is_safe(asked, three[:2])) <= {"unsafe", "unknown"}
