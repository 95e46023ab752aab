"""A ring that is changed while clients ask all of it: what the tests of reactions share."""

from __future__ import annotations

import json
import struct
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cassandra import ConsistencyLevel
from cassandra.concurrent import execute_concurrent_with_args

from tests.cassandra import queries
from tests.cassandra.cluster import ClusterError, wait_until
from tests.cassandra.launch import release_key
from tests.cassandra.queries import Keys, network

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.cassandra.cluster import RealCluster, RealNode
    from tests.cassandra.queries import Outcome, Query

LEVEL = "LOCAL_QUORUM"
STREAM_MANAGER = "org.apache.cassandra.net:type=StreamManager"
ORDERS = network("orders", dc1=3)
LONE = network("lone", dc1=1)
SECONDS = 300.0
JOINING_MS = 5_000  # twice this: the least time that a node joins
PAUSE = 0.5  # seconds between two rounds of a client
# For two replacements at once, and to join although a replica is down: Cassandra refuses both by default.
INCONSISTENT = "-Dcassandra.consistent.rangemovement=false"
_ROWS = [struct.pack(">q", number) for number in range(400)]
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

    def forces(self) -> bool:
        """Whether Cassandra itself refuses a decommission after which a replication factor would not fit (4.0+)."""
        return release_key(self.up[0].release) >= (4, 0)

    def kill(self, *nodes: RealNode) -> None:
        """Kill nodes, and wait until all others have noticed."""
        for node in nodes:
            node.kill()
        for node in nodes:
            self.cluster.wait_down(node)

    def stop(self, *nodes: RealNode) -> None:
        """Stop nodes; they announce it, so that the others notice at once."""
        for node in nodes:
            node.terminate()
        for node in nodes:
            self.cluster.wait_down(node, stable=1)

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
        """Wait until an action is safe: the nodes may have just noticed each other, and streams may go on."""

        def lacking() -> str:
            found = self.ask(action, *arguments)
            if found["decision"] == "safe":
                return ""
            streams = {node.address: node.read("CurrentStreams", mbean=STREAM_MANAGER) for node in self.up}
            return json.dumps([found["reasons"], streams])

        wait_until(lacking, 180, f"{action} is not safe:", self.cluster)

    # Queries

    def wanted(self, level: str = LEVEL) -> list[Query]:
        """Reads and writes of all ranges."""
        where = queries.pieces(self.up[0], ORDERS.name)
        return list(queries.queries(ORDERS.name, where, self.keys, (level,)))

    def outcomes(self, level: str) -> set[Outcome]:
        """What one read and one write of each range end with."""
        with self.cluster.session(self.up[0]) as session:
            return set(queries.ask(session, self.wanted(level)))

    @contextmanager
    def traffic(self, *, without: Sequence[RealNode] = ()) -> Iterator[Traffic]:
        """Clients of all nodes that are up now but some, for the time of the context; ends with one more round each."""
        found = Traffic(self.wanted())
        nodes = [node for node in self.up if node not in without]
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

    # Rows

    def fill(self, keyspace: str, level: str = "ALL", through: RealNode | None = None) -> None:
        """Write the rows of a keyspace."""
        insert = f"INSERT INTO {keyspace}.t (k, v) VALUES (?, 1)"  # noqa: S608 - our own names
        self._for_each_row(insert, level, through or self.up[0])

    def rows_lost(self, keyspace: str, level: str = "ONE", through: RealNode | None = None) -> int:
        """How many of the rows that were written are not found, though each read is served."""
        select = f"SELECT v FROM {keyspace}.t WHERE k = ?"  # noqa: S608 - our own names
        return sum(not rows for rows in self._for_each_row(select, level, through or self.up[0]))

    def _for_each_row(self, statement: str, level: str, node: RealNode) -> list[list[Any]]:
        with self.cluster.session(node) as session:
            prepared = session.prepare(statement)
            prepared.consistency_level = ConsistencyLevel.name_to_value[level]
            results = execute_concurrent_with_args(session, prepared, [(key,) for key in _ROWS], concurrency=48)
            return [list(rows) for _, rows in results]

    def drop(self, keyspace: str) -> None:
        """Drop a keyspace: one of RF 1 keeps the gate from nearly all that the next test does."""
        with self.cluster.session(self.up[0], timeout=60) as session:
            session.execute(f"DROP KEYSPACE {keyspace}")


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


# Changes of the ring


def begin_to_replace(dead: RealNode, rack: str | None = None) -> RealNode:
    """Start a node that takes the place of a dead one, in its rack unless another is named."""
    # By default it waits 60 s for the dead node to gossip. 3.11 needs longer than the ring delay.
    options = [f"-Dcassandra.replace_address_first_boot={dead.address}", "-Dcassandra.broadcast_interval_ms=8000"]
    fields = {"ring_delay_ms": JOINING_MS, "jvm_options": [*options, INCONSISTENT]}
    found = dead.cluster.add(dead.datacenter, rack or dead.rack, auto_bootstrap=True, **fields)
    found.start()
    return found


def replace(ring: Ring, dead: Sequence[RealNode], rack: str | None = None) -> list[RealNode]:
    """Replace dead nodes together; return when all members see each other."""
    new = [begin_to_replace(node, rack) for node in dead]
    for node in new:
        node.wait_ready(SECONDS)
    for node in dead:
        node.change(left=True)
    ring.cluster.wait_all_up(ring.up)
    return new


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


@contextmanager
def leaving(ring: Ring, nodes: Sequence[RealNode], *, force: bool = False) -> Iterator[None]:
    """Decommission nodes together: all are leaving within the context, and have left after it."""
    futures = [node.decommission(force=force) for node in nodes]
    others = [node for node in ring.up if node not in nodes]
    endpoints = {node.endpoint for node in nodes}

    def lacking() -> str:
        for future in futures:
            if future.done():
                future.result()
        return ", ".join(str(other) for other in others if not endpoints <= other.endpoints("LeavingNodes"))

    wait_until(lacking, 60, "the nodes are not leaving for", ring.cluster)
    yield
    for future, node in zip(futures, nodes, strict=True):
        future.result(SECONDS)
        node.kill()


def leave(ring: Ring, nodes: Sequence[RealNode], *, force: bool = False) -> None:
    """Decommission nodes together; return when they have left, and no member lists them as live."""
    with leaving(ring, nodes, force=force):
        pass
    for node in nodes:
        ring.cluster.wait_down(node)


def begin_to_join(ring: Ring, rack: str, **fields: Any) -> RealNode:
    """Start one more node; the fields are those of `state.NodeRecord`."""
    node = ring.cluster.add("dc1", rack, auto_bootstrap=True, ring_delay_ms=JOINING_MS, **fields)
    node.start()
    return node


def join(ring: Ring, rack: str, **fields: Any) -> RealNode:
    """Let one more node join; return when all members see each other."""
    node = begin_to_join(ring, rack, **fields)
    node.wait_ready(SECONDS)
    ring.cluster.wait_all_up(ring.up)
    return node


def halves(node: RealNode, keyspace: str) -> list[int]:
    """For each range of a node in a keyspace of RF 1, the token in its middle: a node that joins there takes half."""
    spans = node.exec("getRangeToEndpointMap", keyspace).items()
    owned = [queries.span(text) for text, owners in spans if owners == [node.address]]
    middles = (start + (end - start) % 2**64 // 2 for start, end in owned)
    return [(middle + 2**63) % 2**64 - 2**63 for middle in middles]


def wait_refused(node: RealNode) -> str:
    """The errors in the log of a node whose start Cassandra itself ends."""
    wait_until(lambda: "it runs" if node.process.alive else "", SECONDS, f"{node} was not refused:", node.cluster)
    node.change(left=True)
    lines = (node.directory / "logs" / "system.log").read_text().splitlines()
    return "\n".join(line for line in lines if "Exception" in line or line.startswith("ERROR"))


def forget(ring: Ring, node: RealNode) -> None:
    """`nodetool assassinate` of a dead joiner, which peers forget and learn of again for minutes otherwise."""
    named = node.endpoint if release_key(node.release) >= (4, 0) else node.address
    ring.up[0].nodetool("assassinate", named)
    lists = ("JoiningNodes", "LiveNodes", "UnreachableNodes")

    def lacking() -> str:
        knowing = (other for other in ring.up if any(node.endpoint in other.endpoints(name) for name in lists))
        return ", ".join(map(str, knowing))

    wait_until(lacking, 90, f"{node} still known to", ring.cluster)


def failed_to_leave(node: RealNode) -> str:
    """What nodetool says of a decommission that fails; empty if it does not fail."""
    try:
        node.decommission().result(SECONDS)
    except ClusterError as error:
        return str(error)
    return ""
