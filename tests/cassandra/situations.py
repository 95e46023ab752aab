"""States of real clusters that operators have reported: how each is made, and kept during a test.

Each function takes a cluster whose first three nodes are members, and waits until the nodes themselves report the
state; it does not ask ringcheck.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Any

from cassandra.concurrent import execute_concurrent_with_args

from tests.cassandra.cluster import wait_until
from tests.cassandra.launch import release_key
from tests.cassandra.oracle import STORAGE_SERVICE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cassandra.cluster import RealCluster, RealNode

GHOST_SECONDS = 120  # until all nodes have convicted a decommissioned endpoint; some 35 were observed
STREAM_MEGABITS = 1  # per second and node: the removal of a node with 50 MB takes minutes
_LOAD = 720  # rows of 100 kB
LONE_OPTIONS = {"block_for_peers_timeout_in_secs": 1}  # 4.0+: 10 s that a lone node waits for peers before it serves


def slow_streams(release: str) -> dict[str, Any]:
    """Settings for cassandra.yaml that make a removal last long enough for a test."""
    slow: dict[str, Any] = {"stream_throughput_outbound_megabits_per_sec": STREAM_MEGABITS}
    return slow | ({"stream_entire_sstables": False} | LONE_OPTIONS if release_key(release) >= (4, 0) else {})


def first_three(cluster: RealCluster) -> list[RealNode]:
    """The members at the start of every state."""
    return [cluster.node(number) for number in (1, 2, 3)]


def whole(cluster: RealCluster) -> None:
    """Undo what another state left behind: three members, all up, and no other node."""
    three = first_three(cluster)
    for node in three:
        if node.record.jvm_options or (node.record.seeds and node.number == len(three)):
            node.kill()
            node.change(jvm_options=[], seeds=[])
        node.restore()
    cluster.wait_all_up(three)
    for node in cluster.members:
        if node not in three:
            node.kill()
            cluster.wait_down(node)
            assassinate(node)


# Several instances on one address


def second_instances(cluster: RealCluster, of: list[RealNode]) -> list[RealNode]:
    """Start a second member on the address of each node, with its own ports; return when all nodes see them."""
    others = [node for node in cluster.members if node.running]
    found = [
        cluster.add(node.datacenter, node.rack, host=int(node.address.rpartition(".")[2]), instance=1) for node in of
    ]
    for node in found:
        node.start()
    cluster.wait_all_up([*others, *found])
    return found


def ghosts(nodes: list[RealNode]) -> None:
    """Decommission nodes and stop them; return when their peers list their endpoints as unreachable."""
    for node in nodes:
        node.decommission(force=True).result()
    for node in nodes:
        node.kill()
    endpoints = {node.endpoint for node in nodes}
    peers = first_three(nodes[0].cluster)

    def lacking() -> str:
        return ", ".join(str(peer) for peer in peers if not endpoints <= peer.endpoints("UnreachableNodes"))

    wait_until(lacking, GHOST_SECONDS, f"{endpoints} not listed as unreachable by", nodes[0].cluster)


# Nodes that know their peers by other addresses, or not at all


def strand(cluster: RealCluster) -> RealNode:
    """Move all three nodes to other addresses, the third with itself as its only seed.

    Returns:
        The third: it serves CQL, and knows its peers only by their former addresses, as they know it.
    """
    nodes = first_three(cluster)
    for node in nodes:
        node.kill()
    for node in nodes[:2]:
        _move(node)
        node.change(seeds=[nodes[0].address], jvm_options=[])
        node.start()
    cluster.wait_all_up(nodes[:2])
    nodes[2].change(jvm_options=[])
    return _alone(nodes[2])


def forget_peers(cluster: RealCluster) -> RealNode:
    """Move the third node to another address without its record of its peers; it serves CQL alone."""
    node = cluster.node(3)
    node.terminate()
    cluster.wait_down(node, first_three(cluster)[:2])
    node.change(jvm_options=["-Dcassandra.load_ring_state=false"])
    return _alone(node)


def _move(node: RealNode) -> None:
    """Give a stopped node an address that no node has had."""
    node.change(host=(node.record.host or node.number) + 10)


def _alone(node: RealNode) -> RealNode:
    _move(node)
    node.change(seeds=[node.address])
    node.start()
    node.wait_ready()
    assert node.endpoints("LiveNodes") == {node.endpoint}
    return node


# Dead members


def dead_member(cluster: RealCluster) -> RealNode:
    """A fourth member that is dead for all nodes; the one that an earlier state left behind, if any."""
    known = [node for node in cluster.members if node.number > len(first_three(cluster)) and not node.running]
    return known[0] if known else dead_members(cluster, 2)[0]


def dead_members(cluster: RealCluster, count: int) -> list[RealNode]:
    """Members that joined and died; return when all have noticed."""
    nodes = [cluster.add("dc1", "r1") for _ in range(count)]
    for node in nodes:
        node.start()
    cluster.wait_all_up([*first_three(cluster), *nodes])
    for node in nodes:
        node.kill()
    for node in nodes:
        cluster.wait_down(node)
    return nodes


def host_id_of(node: RealNode) -> str:
    """The host id by which the first node knows another, which may be dead."""
    first = node.cluster.node(1)
    if release_key(first.release) >= (4, 0):
        return str(first.read("EndpointWithPortToHostId")[node.endpoint])
    return str(first.read("EndpointToHostId")[node.address])


@contextmanager
def removal(node: RealNode) -> Iterator[None]:
    """`nodetool removenode` of a dead node: in progress within the context, finished after it."""
    cluster, coordinator = node.cluster, node.cluster.node(1)
    _load(cluster, "nts_2")
    removing = Thread(target=coordinator.nodetool, args=("removenode", host_id_of(node)), kwargs={"timeout": 300})
    removing.start()

    def lacking() -> str:
        return ", ".join(str(o) for o in first_three(cluster) if node.endpoint not in o.endpoints("LeavingNodes"))

    wait_until(lacking, 60, f"{node} not listed as leaving by", cluster)
    try:
        yield
        assert removing.is_alive(), "the removal was over before it had been looked at"
    finally:
        for each in first_three(cluster):
            _unthrottle(each)
        removing.join()
        node.change(left=True)
        wait_forgotten(node)


def _load(cluster: RealCluster, keyspace: str) -> None:
    """Give a removal or a decommission something to stream."""
    with cluster.session(1, timeout=60) as session:
        # Compressed tables are throttled by chunks of 10 MB on 3.11: not at all.
        plain = "WITH compression = {'enabled': 'false'}"
        session.execute(f"CREATE TABLE IF NOT EXISTS {keyspace}.load (k int PRIMARY KEY, v blob) {plain}")
        insert = session.prepare(f"INSERT INTO {keyspace}.load (k, v) VALUES (?, ?)")  # noqa: S608 - our own names
        rows = [(key, os.urandom(100_000)) for key in range(_LOAD)]
        execute_concurrent_with_args(session, insert, rows, concurrency=8)


def let_leaving_last(cluster: RealCluster, keyspace: str) -> None:
    """Load a keyspace and slow down streams, so that a decommission that starts now lasts for minutes."""
    _load(cluster, keyspace)
    for node in cluster.members:
        _throttle(node, STREAM_MEGABITS)


def _unthrottle(node: RealNode) -> None:
    _throttle(node, 0)


def _throttle(node: RealNode, megabits: int) -> None:
    limit = {"attribute": "StreamThroughputMbPerSec", "value": megabits}
    node.oracle.ask({"type": "write", "mbean": STORAGE_SERVICE, **limit})


def assassinate(node: RealNode) -> None:
    """`nodetool assassinate` of a dead node; return when no node lists it or its tokens."""
    named = node.endpoint if release_key(node.release) >= (4, 0) else node.address  # several may share an address
    node.cluster.node(1).nodetool("assassinate", named)
    node.change(left=True)
    wait_forgotten(node)


def wait_forgotten(node: RealNode) -> None:
    """Wait until none of the first three nodes lists a node or knows its tokens."""

    def knows(other: RealNode) -> bool:
        owners = set(other.read("TokenToEndpointMap").values())
        return node.endpoint in other.endpoints("UnreachableNodes") or node.address in owners

    def lacking() -> str:
        return ", ".join(str(other) for other in first_three(node.cluster) if knows(other))

    wait_until(lacking, 90, f"{node} still known to", node.cluster)


def replace(dead: RealNode) -> RealNode:
    """Start to replace a dead node; the new node stays pending, since it only surveys writes."""
    survey = ["-Dcassandra.write_survey=true", f"-Dcassandra.replace_address_first_boot={dead.address}"]
    # By default it waits 60 s for the dead node to gossip.
    waits = "-Dcassandra.broadcast_interval_ms=5000"
    newcomer = dead.cluster.add(dead.datacenter, dead.rack, auto_bootstrap=True, jvm_options=[*survey, waits])
    newcomer.start()
    dead.cluster.wait_joining(newcomer, first_three(dead.cluster))
    return newcomer


def abandon(newcomer: RealNode) -> None:
    """Abort a replacement; return when no node lists the new node."""
    newcomer.kill()
    newcomer.change(left=True)

    def lacking() -> str:
        lists = ("LiveNodes", "UnreachableNodes", "JoiningNodes")
        knowing = (o for o in first_three(newcomer.cluster) if any(newcomer.endpoint in o.endpoints(n) for n in lists))
        return ", ".join(map(str, knowing))

    wait_until(lacking, 120, f"{newcomer} still listed by", newcomer.cluster)


def forget_host_id(node: RealNode) -> None:
    """Kill a node and remove its host id from its peers' records; they are restarted, and know only its tokens."""
    cluster = node.cluster
    peers = [peer for peer in cluster.members if peer.running and peer != node]
    node.kill()
    cluster.wait_down(node)
    for peer in peers:
        _delete_host_id(peer, node)
    for peer in peers:
        peer.terminate()  # all at once: a node that keeps running would pass it to the others by gossip
    for peer in peers:
        peer.start()
    cluster.wait_all_up(peers)


def _delete_host_id(peer: RealNode, node: RealNode) -> None:
    with peer.cluster.session(peer) as session:
        session.execute(f"DELETE host_id FROM system.peers WHERE peer = '{node.address}'")
        if release_key(peer.release) >= (4, 0):
            where = f"peer = '{node.address}' AND peer_port = {node.endpoint.rpartition(':')[2]}"
            session.execute(f"DELETE host_id FROM system.peers_v2 WHERE {where}")


def coordinator_only(cluster: RealCluster) -> RealNode:
    """Start a node that serves CQL and never joins the ring."""
    node = cluster.add("dc1", "r1", jvm_options=["-Dcassandra.join_ring=false"])
    node.start()

    def lacking() -> str:
        node.check_running()
        return "" if node.read("NativeTransportRunning") else "no CQL"

    wait_until(lacking, 120, f"{node} not ready:", cluster)
    cluster.wait_up(node, first_three(cluster))
    return node
