"""Changes of the ring that the gate calls safe cost no query; those that it refuses, done anyway, fail or cost some.

One cluster lives through both, in the order of the tests: rack r1 has several nodes, r2 and r3 have one each, so
that a dead node leaves two of three replicas. While an action is under way, clients ask all ranges through every
coordinator that serves. 5.0.8 by default; `RINGCHECK_CASSANDRA_VERSIONS=3.11.19` or `all` for other releases.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.cassandra import queries, situations
from tests.cassandra.cluster import RealCluster, wait_until
from tests.cassandra.conftest import chosen_releases
from tests.cassandra.launch import release_key
from tests.cassandra.queries import Keys, network

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.cassandra.cluster import RealNode
    from tests.cassandra.conftest import ClusterFactory
    from tests.cassandra.queries import Query

pytestmark = pytest.mark.cassandra

RELEASES = [release for release in chosen_releases() if release in {"3.11.19", "4.1.9", "5.0.8"}]
LAYOUT = "dc1:r1,dc1:r2,dc1:r3,dc1:r1"
LEVEL = "LOCAL_QUORUM"
ORDERS = network("orders", dc1=3)
SYSTEM = ("system_auth", "system_distributed", "system_traces")  # RF 1, 3 and 2 by default, whatever the racks are
RING_DELAY_MS = 15_000  # that a removal is announced before it is done: long enough to ask all ranges
SECONDS = 300.0
PAUSE = 0.5  # seconds between two rounds of a client
# For two replacements at once: each refuses to start while the other is under way.
AT_ONCE = "-Dcassandra.consistent.rangemovement=false"
Document = dict[str, Any]


@dataclass
class Ring:
    """The cluster, and how its nodes are found after some have come and gone."""

    cluster: RealCluster
    keys: Keys = field(default_factory=lambda: Keys(each=8))

    @property
    def up(self) -> list[RealNode]:
        """The members that run."""
        return [node for node in self.cluster.members if node.running]

    def of_rack(self, rack: str) -> list[RealNode]:
        """The members of a rack."""
        return [node for node in self.cluster.members if node.rack == rack]

    def kill(self, *nodes: RealNode) -> None:
        """Kill nodes, and wait until all others have noticed."""
        for node in nodes:
            node.kill()
        for node in nodes:
            self.cluster.wait_down(node)

    def revive(self, *nodes: RealNode) -> None:
        """Start nodes, and wait until all members that run see each other."""
        for node in nodes:
            node.start()
        self.cluster.wait_all_up(self.up)

    def ask(self, action: str, *arguments: str) -> Document:
        """The decision about an action."""
        hosts = [word for node in self.up for word in ("-H", node.address)]
        wanted = ("--action", action, "--level", LEVEL, "--allow", "recently_changed", "--format", "json", *arguments)
        _, text = queries.ringcheck("preflight", *hosts, "-t", "30s", *wanted)
        assert text.startswith("{"), text
        found: Document = json.loads(text)
        return found

    def decides(self, action: str, *arguments: str) -> tuple[str, set[str]]:
        """The answer to an action, and the codes of the reasons that block it."""
        found = self.ask(action, *arguments)
        return found["decision"], {reason["code"] for reason in found["reasons"] if reason["blocks"]}

    def may(self, action: str, *arguments: str) -> None:
        """Wait until an action is safe: the nodes may have just noticed each other."""

        def lacking() -> str:
            found = self.ask(action, *arguments)
            return "" if found["decision"] == "safe" else json.dumps(found["reasons"])

        wait_until(lacking, 60, f"{action} is not safe:", self.cluster)

    def wanted(self) -> list[Query]:
        """Reads and writes of all ranges."""
        where = queries.pieces(self.up[0], ORDERS.name)
        return list(queries.queries(ORDERS.name, where, self.keys, (LEVEL,)))

    @contextmanager
    def traffic(self, *, without: RealNode | None = None) -> Iterator[Traffic]:
        """Clients of all nodes that are up now but one, for the time of the context; ends with one more round each."""
        found = Traffic(self.wanted())
        nodes = [node for node in self.up if node != without]
        threads = [threading.Thread(target=found.ask, args=(node,), daemon=True) for node in nodes]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: "" if found.rounds else "no answer", 60, "the clients ask nothing:", self.cluster)
            yield found
        finally:
            found.ended.set()
            for thread in threads:
                thread.join(SECONDS)


class Traffic:
    """Clients that ask for every range again and again.

    Attributes:
        rounds: how often all ranges were asked for.
        lost: queries that were not served: Unavailable, or a timeout at the second try too.
        errors: of clients that had to give up.
    """

    def __init__(self, wanted: Sequence[Query]) -> None:
        self.rounds = 0
        self.lost: list[str] = []
        self.errors: list[BaseException] = []
        self.ended = threading.Event()
        self._wanted = wanted

    def ask(self, node: RealNode) -> None:
        """Ask one coordinator until the end, and once after it."""
        try:
            with node.cluster.session(node) as session:
                last = False
                while not last:
                    last = self.ended.wait(PAUSE)
                    self._round(session, node)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            self.errors.append(error)

    def _round(self, session: Any, node: RealNode) -> None:
        outcomes = queries.ask(session, self._wanted)
        asked = list(zip(self._wanted, outcomes, strict=True))
        slow = [query for query, outcome in asked if outcome in {"timeout", "failed"}]
        again = dict(zip(slow, queries.ask(session, slow), strict=True))
        for query, outcome in asked:
            if (seen := again.get(query, outcome)) != "served":
                self.lost.append(f"{query.operation} of {query.piece} through {node}: {seen}")
        self.rounds += 1

    def assert_nothing_lost(self) -> None:
        """Fail with the first queries that were lost."""
        assert (self.errors, self.lost[:10]) == ([], [])
        assert self.rounds > 0


@pytest.fixture(scope="module", params=RELEASES)
def ring(request: pytest.FixtureRequest, real_cluster: ClusterFactory) -> Iterator[Ring]:
    """Four nodes in three racks, and keyspaces with a replica in each rack."""
    release: str = request.param
    real_cluster.close()
    settings = queries.TIMEOUTS | (situations.LONE_OPTIONS if release_key(release) >= (4, 0) else {})
    with RealCluster(release, LAYOUT, yaml=settings, ring_delay_ms=RING_DELAY_MS) as cluster:
        queries.create(cluster, (ORDERS,))
        with cluster.session(1, timeout=60) as session:
            for keyspace in SYSTEM:
                session.execute(f"ALTER KEYSPACE {keyspace} WITH replication = {ORDERS.replication}")
        yield Ring(cluster)


def test_replace_two_together(ring: Ring) -> None:
    """Two dead nodes that share no range are replaced at once, which costs no query."""
    dead = ring.of_rack("r1")
    assert len(dead) == 2
    ring.kill(*dead)
    names = [node.address for node in dead]
    decision, codes = ring.decides("replace", *names, "--datacenter", "dc1", "--rack", "r2")
    assert (decision, codes) == ("unsafe", {"rack_differs"})
    ring.may("replace", *names, "--datacenter", "dc1", "--rack", "r1")
    with ring.traffic() as clients:
        new = [begin_to_replace(node) for node in dead]
        for node in new:
            node.wait_ready(SECONDS)
        for node in dead:
            node.change(left=True)
        ring.cluster.wait_all_up(ring.up)
    clients.assert_nothing_lost()
    assert len(ring.of_rack("r1")) == 2


def begin_to_replace(dead: RealNode) -> RealNode:
    """Start a node that takes the place of a dead one."""
    # By default it waits 60 s for the dead node to gossip.
    options = [f"-Dcassandra.replace_address_first_boot={dead.address}", "-Dcassandra.broadcast_interval_ms=5000"]
    options.append(AT_ONCE)
    found = dead.cluster.add(dead.datacenter, dead.rack, auto_bootstrap=True, jvm_options=options)
    found.start()
    return found


def test_removenode_with_dead_successor(ring: Ring) -> None:
    """The node that would gain the ranges is dead: until it is removed, writes wait for it and fail."""
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


def remove(ring: Ring, dead: RealNode, host_id: str | None = None) -> None:
    """`nodetool removenode` until no node knows the dead one."""
    first = ring.up[0]
    first.nodetool("removenode", host_id or known_as(first, dead), timeout=SECONDS)
    dead.change(left=True)

    def lacking() -> str:
        return ", ".join(str(node) for node in ring.up if dead.endpoint in node.endpoints("UnreachableNodes"))

    wait_until(lacking, 90, f"{dead} still known to", ring.cluster)


def known_as(observer: RealNode, dead: RealNode) -> str:
    """The host id by which a node knows a dead one."""
    if release_key(observer.release) >= (4, 0):
        return str(observer.read("EndpointWithPortToHostId")[dead.endpoint])
    return str(observer.read("EndpointToHostId")[dead.address])
