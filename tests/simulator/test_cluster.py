"""How the embedded cluster changes: convictions, frozen views, partitions, pending ranges, startups."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ringcheck.core.ring import Replication
from ringcheck.errors import UsageError
from ringcheck.jolokia import mbeans
from ringcheck.simulator.cluster import (
    EmbeddedCluster,
    NodeSpec,
    ipv6_address,
    loopback_address,
    simple,
)
from ringcheck.simulator.mbeans import DETECTOR, GOSSIPER, PROXY, STORAGE, STREAMS
from ringcheck.simulator.protocol import answer
from tests.simulator.replay import Clock


def made(nodes: int = 6, **layout: Any) -> tuple[EmbeddedCluster, Clock]:
    clock = Clock()
    return EmbeddedCluster.uniform(nodes, clock=clock, **layout), clock


def live(cluster: EmbeddedCluster, observer: int) -> set[int]:
    return set(cluster.view(cluster.nodes[observer], cluster.now()).live)


def flips(cluster: EmbeddedCluster, clock: Clock, observer: int, node: int, until: float) -> list[float]:
    """Seconds from now at which an observer's belief about a node changes, in steps of 0.1 s."""
    start, changes, before = clock.now, [], node in live(cluster, observer)
    for step in range(int(until * 10)):
        clock.now = start + step / 10
        if (node in live(cluster, observer)) != before:
            before = not before
            changes.append(step / 10)
    clock.now = start + until
    return changes


def ask(cluster: EmbeddedCluster, node: int, **request: Any) -> Any:
    reply = answer(cluster, cluster.nodes[node], "", "", json.dumps(request).encode(), None)
    return json.loads(b"".join(reply.chunks))


def read(cluster: EmbeddedCluster, node: int, attribute: str, mbean: str = STORAGE) -> Any:
    return ask(cluster, node, type="read", mbean=mbean, attribute=attribute)["value"]


def execute(cluster: EmbeddedCluster, node: int, operation: str, *arguments: Any, mbean: str = STORAGE) -> Any:
    return ask(cluster, node, type="exec", mbean=mbean, operation=operation, arguments=list(arguments))["value"]


def test_a_killed_node_is_convicted_after_18_to_30_seconds() -> None:
    """Each peer convicts it at a different time, within the range that was measured on real clusters."""
    times = []
    for observer in (0, 1, 2, 4, 5):
        cluster, clock = made()
        cluster.down(3)
        times += flips(cluster, clock, observer, 3, 60)
    assert all(18 <= time <= 30 for time in times)
    assert len(times) == 5
    assert len(set(times)) > 1


def test_time_factor_scales_every_delay() -> None:
    """With 0.1 a conviction takes a tenth of its time; with `instant` it takes none."""
    cluster, clock = made(time_factor=0.1)
    cluster.down(3)
    assert 1.8 <= flips(cluster, clock, 0, 3, 5)[0] <= 3.0
    cluster.down(4, instant=True)
    assert 4 not in live(cluster, 0)


@pytest.mark.parametrize(("release", "latest"), [("5.0.8", 0.3), ("2.2.19", 2.4)])
def test_a_drain_is_announced(release: str, latest: float) -> None:
    """Peers know it within 0.3 s, on 2.2 within 2.3 s; the drained node itself still sees all nodes up."""
    cluster, clock = made(release=release)
    cluster.drain(3)
    assert flips(cluster, clock, 0, 3, 30)[0] <= latest
    cluster.down(2)
    clock.now += 60
    assert live(cluster, 3) == set(range(6))
    assert live(cluster, 0) == {0, 1, 4, 5}


def test_stopped_gossip_comes_back_until_it_is_convicted() -> None:
    """Since 4.0 some peers drop it, list it again, and drop it for good after 18 to 21 s; others drop it once."""
    patterns = set()
    for observer in (0, 1, 2, 4, 5):
        cluster, clock = made(release="4.1.9", seed=7)
        cluster.gossip_off(3)
        changes = flips(cluster, clock, observer, 3, 40)
        patterns.add(len(changes))
        assert changes[-1] <= 21
    assert patterns == {1, 3}


def test_stopped_gossip_stays_dropped_before_4() -> None:
    """On 2.2, 3.0 and 3.11 it is down once announced; the node itself goes on serving by its old view."""
    cluster, clock = made(release="3.11.19")
    cluster.gossip_off(3)
    assert len(flips(cluster, clock, 0, 3, 40)) == 1
    assert [read(cluster, 3, name) for name in ("OperationMode", "GossipRunning", "NativeTransportRunning")] == [
        "NORMAL", False, True,
    ]  # fmt: skip
    before = cluster.nodes[3].generation
    cluster.gossip_on(3)
    clock.now += 2
    assert 3 in live(cluster, 0)
    assert cluster.nodes[3].generation > before


def test_a_resumed_node_waits_the_full_time_before_a_conviction() -> None:
    """After SIGCONT it lists all nodes as before, even one that died meanwhile, which it convicts later."""
    cluster, clock = made()
    cluster.pause(3)
    clock.now += 40
    assert 3 not in live(cluster, 0)
    cluster.down(4)
    clock.now += 40
    cluster.resume(3)
    clock.now += 1
    assert 4 in live(cluster, 3)
    clock.now += 40
    assert 4 not in live(cluster, 3)
    assert 3 in live(cluster, 0)


def test_a_short_death_is_not_noticed() -> None:
    """A node that is back before its conviction was never down for its peers."""
    cluster, clock = made()
    cluster.down(3)
    clock.now += 2
    cluster.up(3, instant=True)
    assert flips(cluster, clock, 0, 3, 60) == []


def test_a_restart_passes_its_phases_and_is_seen_up() -> None:
    """There is no listener, then no peers, then NORMAL, then CQL; its peers list it seconds before its CQL."""
    cluster, clock = made()
    cluster.down(3)
    clock.now += 60
    cluster.up(3)
    start, phases, listed = clock.now, [], None
    for step in range(300):
        clock.now = start + step / 10
        phases += [cluster.phase(cluster.nodes[3], clock.now)]
        listed = listed or (step / 10 if 3 in live(cluster, 0) else None)
    assert list(dict.fromkeys(phases)) == [
        "refused", "unregistered", "snitch", "alone", "normal-alone", "normal", "up",
    ]  # fmt: skip
    assert listed is not None
    assert 6 <= phases.index("up") / 10 - listed <= 9
    assert cluster.serving(cluster.nodes[3], clock.now)


def test_a_node_that_starts_knows_the_dead_at_once() -> None:
    """Peers that died while it was down are unreachable for it without a conviction."""
    cluster, clock = made()
    cluster.down(3)
    cluster.down(4)
    clock.now += 60
    cluster.up(3, instant=True)
    clock.now += 0.1
    assert 4 not in live(cluster, 3)


def test_a_startup_can_be_held_at_a_phase() -> None:
    """It stays there until it may continue; an unknown phase is an error."""
    cluster, clock = made(release="4.1.9")
    cluster.down(3, instant=True)
    cluster.up(3, hold="own")
    clock.now += 1000
    assert len(execute(cluster, 3, "getRangeToEndpointMap", "orders")) == 16
    assert 3 not in live(cluster, 0)
    cluster.proceed(3)
    clock.now += 60
    assert 3 in live(cluster, 0)
    assert read(cluster, 3, "OperationMode") == "NORMAL"
    with pytest.raises(UsageError, match="no startup phase sleepy"):
        cluster.up(3, hold="sleepy")


def test_a_partition_splits_the_views() -> None:
    """Each side convicts the other; after healing all nodes see all others up."""
    cluster, clock = made()
    cluster.partition([0, 1])
    clock.now += 40
    assert [live(cluster, node) for node in (0, 1, 2, 5)] == [{0, 1}, {0, 1}, {2, 3, 4, 5}, {2, 3, 4, 5}]
    cluster.heal()
    clock.now += 10
    assert all(live(cluster, node) == set(range(6)) for node in range(6))


def test_a_partition_of_two_sets_does_not_affect_a_third() -> None:
    """Nodes in neither set still see all nodes up, so views disagree."""
    cluster, clock = made()
    cluster.partition([0], [1], instant=True)
    clock.now += 1
    assert [len(live(cluster, node)) for node in range(6)] == [5, 5, 6, 6, 6, 6]


def test_joining_is_pending_until_it_ends() -> None:
    """All nodes list a joining node as live; it has pending ranges only, and owns ranges once it has joined."""
    cluster, _ = made()
    node = cluster.join()
    assert read(cluster, 0, "JoiningNodes") == [node.address]
    assert node.address in read(cluster, 0, "LiveNodes")
    assert len(read(cluster, 0, "TokenToEndpointMap")) == 7 * 16
    assert len(execute(cluster, 0, "getRangeToEndpointMap", "orders")) == 6 * 16
    gains = execute(cluster, 0, "getPendingRangeToEndpointMap", "orders")
    assert {address for gaining in gains.values() for address in gaining} == {node.address}
    assert [read(cluster, node.index, name) for name in ("OperationMode", "Joined", "BootstrapMode")] == [
        "JOINING", False, True,
    ]  # fmt: skip
    cluster.finish(node.index)
    assert read(cluster, 0, "JoiningNodes") == []
    assert len(execute(cluster, 0, "getRangeToEndpointMap", "orders")) == 7 * 16
    assert execute(cluster, 0, "getPendingRangeToEndpointMap", "orders") == {}
    assert read(cluster, node.index, "OperationMode") == "NORMAL"


def test_decommission_over_jmx_runs_to_its_end() -> None:
    """The node is leaving, and then in no list; the failure detector still has it as UP."""
    cluster, clock = made()
    address = cluster.nodes[5].address
    execute(cluster, 5, "decommission", False)  # noqa: FBT003 - JMX has no keywords
    assert read(cluster, 0, "LeavingNodes") == [address]
    assert execute(cluster, 0, "getPendingRangeToEndpointMap", "orders")
    clock.now += 33
    assert address not in read(cluster, 0, "LiveNodes") + read(cluster, 0, "UnreachableNodes")
    assert read(cluster, 0, "SimpleStates", DETECTOR)[f"/{address}"] == "UP"
    assert read(cluster, 5, "OperationMode") == "DECOMMISSIONED"
    assert address in read(cluster, 5, "LiveNodes")


def test_only_a_node_with_one_token_can_move() -> None:
    """Its new ranges are pending until it has moved; a node with vnodes is refused."""
    cluster, _ = made(vnodes=1, tokens="even")
    cluster.move(2, 77)
    assert read(cluster, 0, "MovingNodes") == [cluster.nodes[2].address]
    assert execute(cluster, 0, "getPendingRangeToEndpointMap", "blog_1")
    cluster.finish(2)
    assert "77" in read(cluster, 0, "TokenToEndpointMap")
    assert read(cluster, 2, "Tokens") == ["77"]
    with pytest.raises(UsageError, match="one token"):
        made()[0].move(0, 77)


def test_ipv6_addresses_are_written_as_java_does() -> None:
    """They have all eight groups, brackets before a port, and a slash in the failure detector's states."""
    cluster, _ = made(3, addresses=ipv6_address)
    assert read(cluster, 0, "LiveNodes")[0] == "2001:db8:0:0:0:0:0:1"
    assert read(cluster, 0, "LiveNodesWithPort")[0] == "[2001:db8:0:0:0:0:0:1]:7000"
    assert "/2001:db8:0:0:0:0:0:1" in read(cluster, 0, "SimpleStates", DETECTOR)
    assert execute(cluster, 0, "getCurrentGenerationNumber", "2001:db8::2", mbean=GOSSIPER) > 0
    assert cluster.node("[2001:DB8::2]").index == 1


def test_mixed_releases_have_two_schemas_and_their_own_attributes() -> None:
    """During a major upgrade there are two schema versions, and only the new node has the WithPort attributes."""
    specs = [NodeSpec(loopback_address(number), tokens=(number,)) for number in range(3)]
    old = [NodeSpec(spec.address, tokens=spec.tokens, release="3.11.19") for spec in specs[:2]]
    cluster = EmbeddedCluster([*old, specs[2]], clock=Clock())
    assert sorted(map(len, read(cluster, 0, "SchemaVersions", PROXY).values())) == [1, 2]
    reply = ask(cluster, 0, type="read", mbean=STORAGE, attribute="LiveNodesWithPort")
    assert reply["status"] == 404
    assert len(read(cluster, 2, "LiveNodesWithPort")) == 3


@pytest.mark.parametrize(
    ("release", "authenticates", "validity", "level"),
    [
        ("5.0.8", True, 200, 200),
        ("5.0.8", False, 404, 404),
        ("4.0.17", True, 200, 404),
        ("3.11.19", False, 404, 404),
        ("2.2.19", True, 404, 404),
    ],
)
def test_authentication_shows_in_two_beans(release: str, authenticates: bool, validity: int, level: int) -> None:  # noqa: FBT001 - a table
    """CredentialsCache, and since 4.1 AuthProperties, are registered exactly if the cluster authenticates."""
    specs = [NodeSpec(loopback_address(0), tokens=(0,), release=release)]
    cluster = EmbeddedCluster(specs, clock=Clock())
    cluster.authenticates = authenticates
    bean = "org.apache.cassandra.auth:type="
    cache = ask(cluster, 0, type="read", mbean=f"{bean}CredentialsCache", attribute="Validity")
    properties = ask(cluster, 0, type="read", mbean=f"{bean}AuthProperties", attribute="ReadConsistencyLevel")
    assert (cache["status"], properties["status"]) == (validity, level)
    assert properties.get("value") == ("LOCAL_QUORUM" if level == 200 else None)


@pytest.mark.parametrize(("release", "variant"), [("4.0.17", None), ("4.1.9", "v2"), ("5.0.8", "v2")])
def test_the_variant_of_paxos_is_an_attribute_since_4_1(release: str, variant: str | None) -> None:
    """Each node has its own; a node that joins has that of the first one."""
    specs = [NodeSpec(loopback_address(0), tokens=(0,), release=release, paxos_variant="v2")]
    cluster = EmbeddedCluster(specs, clock=Clock())
    joiner = cluster.join()
    for node in (0, joiner.index):
        reply = ask(cluster, node, type="read", mbean=PROXY, attribute="PaxosVariant")
        assert (reply["status"], reply.get("value")) == (200 if variant else 404, variant)


def test_addresses_are_distinct() -> None:
    """There are enough addresses of both kinds for a large cluster."""
    for form in (loopback_address, ipv6_address):
        assert len({form(number) for number in range(2000)}) == 2000


def test_the_articles_figures() -> None:
    """Four nodes A to D with three tokens each in turn, RF 3: figures 2 and 3 of the article.

    With A down, nine of twelve ranges lack a replica. With A and C down, six have one of three left: no LOCAL_QUORUM.
    (Yelp Engineering, "Monitoring Cassandra at Scale", 2016.)
    """
    cluster, _ = made(4, vnodes=3, tokens="even", keyspaces={"blog_3": simple(3)})
    rows = cluster.topology.rows(Replication.parse("SimpleStrategy {replication_factor=3}"), (5, 0))
    cluster.down(0, instant=True)
    assert sum(len(live(cluster, 1) & set(row)) < 3 for row in rows) == 9
    assert sum(len(live(cluster, 1) & set(row)) < 2 for row in rows) == 0
    cluster.down(2, instant=True)
    assert sum(len(live(cluster, 1) & set(row)) < 2 for row in rows) == 6
    assert len(rows) == 12


def test_streams_are_listed_until_they_end_or_the_node_restarts() -> None:
    """StreamManager lists them; a restart of the node ends them."""
    cluster, _ = made()
    cluster.stream(2, 3)
    assert len(read(cluster, 2, "CurrentStreams", STREAMS)) == 3
    assert read(cluster, 1, "CurrentStreams", STREAMS) == []
    few = mbeans.streams()
    assert len(ask(cluster, 2, **few)["value"]) == 2
    cluster.stream(2, 0)
    assert read(cluster, 2, "CurrentStreams", STREAMS) == []
    cluster.stream(2)
    cluster.down(2, instant=True)
    cluster.up(2, instant=True)
    assert read(cluster, 2, "CurrentStreams", STREAMS) == []
