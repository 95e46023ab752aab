"""What the gate refuses and allows on a real cluster, by the exit code and the document of `preflight`."""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.cassandra import queries
from tests.cassandra.cluster import wait_until
from tests.cassandra.queries import simple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.cassandra.cluster import RealCluster, RealNode
    from tests.cassandra.conftest import ClusterFactory

pytestmark = pytest.mark.cassandra

LAYOUT = "dc1:r1,dc1:r2,dc1:r3"
SAFE, UNSAFE, UNKNOWN = 0, 2, 3
ROWS, BYTES = 100, 100_000  # streamed at 1 Mbit/s from each source, which takes more than half a minute
EXPIRED = 13  # seconds after which a node drops messages; its peers need 18 s to convict it
LONG_UP = 65  # seconds since its start; later a node pulls a schema only one minute after it has heard of it
Document = dict[str, Any]


class Gate:
    """Asks whether nodes may stop, each time without knowledge of previous answers."""

    def __init__(self, cluster: RealCluster, folder: Path) -> None:
        self.cluster = cluster
        self.first, self.second, self.victim = (cluster.node(number) for number in (1, 2, 3))
        self._folder = folder

    def ask(self, node: RealNode, *arguments: str, settle: float = 0, seconds: int = 20) -> tuple[int, Document]:
        """Exit code and decision."""
        path = self._folder / "ringcheck.yaml"
        path.write_text(
            f"clusters:\n  lab:\n    jolokia: {{contact_points: [{self.first.address}, {self.second.address}]}}\n"
            f"    gate: {{settle: {settle:g}s, accept: [simple_1]}}\n"
        )
        target = ("-C", str(path), "-t", f"{seconds}s", "--format", "json")
        code, text = queries.ringcheck("preflight", *target, *arguments, node.address)
        assert text.startswith("{"), text
        return code, json.loads(text)

    def refuses(self, node: RealNode, *arguments: str, **options: Any) -> tuple[int, set[tuple[str, str]]]:
        """Exit code, and code and subject of each reason that blocks."""
        code, found = self.ask(node, *arguments, **options)
        return code, {(one["code"], one["subject"]) for one in found["reasons"] if one["blocks"]}

    def until(self, wanted: Callable[[], bool], what: str, seconds: float = 60) -> None:
        """Wait until a decision is as wanted."""
        wait_until(lambda: "" if wanted() else "not yet", seconds, what, self.cluster)

    def age(self, node: RealNode) -> float:
        """Seconds since its gossip was started."""
        return time.time() - int(node.read("CurrentGenerationNumber"))


@pytest.fixture
def gate(real_cluster: ClusterFactory, tmp_path: Path) -> Gate:
    """Three racks of one node, all up, with a keyspace of RF 3: any single node may stop."""
    cluster = real_cluster("5.0.8", LAYOUT, yaml=queries.TIMEOUTS)
    queries.create(cluster, (simple(1), simple(3)))
    found = Gate(cluster, tmp_path)
    found.until(lambda: found.refuses(found.first) == (SAFE, set()), "the first node may not stop")
    return found


LOST = (UNSAFE, {("would_become_unavailable", "simple_3")})
NOTHING: tuple[int, set[tuple[str, str]]] = (SAFE, set())


def test_a_second_node_waits_for_the_first(gate: Gate) -> None:
    """While a node is drained, stopped, without Jolokia or just back, its peers must not stop, but it may."""
    victim, healthy = gate.victim, (gate.first, gate.second)
    victim.drain()
    gate.cluster.wait_down(victim)
    assert [gate.refuses(one) for one in (gate.first, gate.second, victim)] == [LOST, LOST, NOTHING]
    victim.restart_agent(port="8779")  # nothing answers at the address of its Jolokia
    assert [gate.refuses(one) for one in (gate.first, gate.second, victim)] == [LOST, LOST, NOTHING]
    gate.cluster.wait_up(victim, healthy)
    blind = (UNKNOWN, {("view_missing", victim.address)})
    assert [gate.refuses(one) for one in (gate.first, gate.second, victim)] == [blind, blind, NOTHING]
    victim.restart_agent()
    gate.cluster.wait_all_up()
    settle = (gate.age(victim) + min(map(gate.age, healthy))) / 2
    young = (UNSAFE, {("recently_changed", victim.address)})
    assert [gate.refuses(one, settle=settle) for one in (gate.first, gate.second, victim)] == [young, young, NOTHING]
    assert gate.refuses(gate.first, "--allow", "recently_changed", settle=settle) == NOTHING
    assert gate.refuses(gate.first) == NOTHING


def test_a_paused_node_and_the_schema_that_it_missed(gate: Gate) -> None:
    """Its silence is a gap before Cassandra notices it; when it continues, its schema differs from the others'."""
    victim = gate.victim
    gate.until(lambda: uptime(victim) > LONG_UP, "the third node is too young")
    with gate.cluster.session(gate.first) as session:
        session.cluster.max_schema_agreement_wait = 0
        with paused(victim):
            paused_at = time.monotonic()
            missing = (UNKNOWN, {("view_missing", victim.address)})
            assert gate.refuses(gate.first, seconds=3) == missing
            assert gate.refuses(victim, seconds=3) == NOTHING
            session.execute(f"CREATE TABLE simple_3.missed_{int(time.time())} (k int PRIMARY KEY)")
            time.sleep(max(0.0, EXPIRED - (time.monotonic() - paused_at)))
    gate.cluster.wait_all_up()
    assert len({node.read("SchemaVersion") for node in gate.cluster.members}) == 2
    differ = (UNSAFE, {("schema_disagreement", "lab")})
    assert [gate.refuses(one) for one in (gate.first, victim)] == [differ, differ]
    victim.exec("resetLocalSchema", timeout=60)
    gate.until(lambda: gate.refuses(gate.first) == NOTHING, "the first node may not stop")


@contextmanager
def paused(node: RealNode) -> Iterator[None]:
    node.pause()
    try:
        yield
    finally:
        node.resume()


def uptime(node: RealNode) -> float:
    """Seconds since the start of its process."""
    return float(node.read("Uptime", mbean="java.lang:type=Runtime")) / 1000


def test_a_node_that_streams(gate: Gate) -> None:
    """A node that streams, as source or target, may stop only with `--allow` until the streams have ended."""
    fill(gate.cluster)
    throttle(gate, "1")
    rebuild = threading.Thread(target=gate.victim.nodetool, args=("rebuild", "-ks", "streamed"), daemon=True)
    rebuild.start()
    try:
        busy = (UNSAFE, {("streaming", gate.victim.address)})
        gate.until(lambda: gate.refuses(gate.victim) == busy, "no stream is seen")
        # The snitch chooses which of the two replicas streams a range.
        sources = {code for one in (gate.first, gate.second) for code, _ in gate.refuses(one)[1]}
        assert sources == {"streaming"}
        code, found = gate.ask(gate.victim, "--allow", "streaming")
        assert (code, {one["blocks"] for one in found["reasons"] if one["code"] == "streaming"}) == (SAFE, {False})
    finally:
        throttle(gate, "0")
        rebuild.join(120)
    gate.until(lambda: gate.refuses(gate.victim) == NOTHING, "the third node may not stop")
    with gate.cluster.session(1, timeout=60) as session:
        session.execute("DROP KEYSPACE streamed")


def fill(cluster: RealCluster) -> None:
    """Write a table that takes time to stream, and flush it."""
    with cluster.session(1, timeout=60) as session:
        replication = "{'class': 'SimpleStrategy', 'replication_factor': 3}"
        session.execute(f"CREATE KEYSPACE streamed WITH replication = {replication}")
        session.execute("CREATE TABLE streamed.t (k int PRIMARY KEY, v blob)")
        insert = session.prepare("INSERT INTO streamed.t (k, v) VALUES (?, ?)")
        for key in range(ROWS):
            session.execute(insert, (key, os.urandom(BYTES)))
    for node in cluster.members:
        node.exec("forceKeyspaceFlush(java.lang.String,[Ljava.lang.String;)", "streamed", [], timeout=60)


def throttle(gate: Gate, megabits: str) -> None:
    """Limit the rate at which the two healthy nodes stream, even whole tables; 0 is no limit."""
    for node in (gate.first, gate.second):
        node.nodetool("setstreamthroughput", megabits)
        node.nodetool("setstreamthroughput", "-e", megabits)


def test_a_joining_node(gate: Gate) -> None:
    """While a node joins, no node may stop: the new node takes over ranges, and writes wait for it as well."""
    newcomer = gate.cluster.bootstrap("dc1", "r1")
    code, blocking = gate.refuses(gate.first)
    assert code == UNSAFE
    assert ("topology_changing", newcomer.address) in blocking
    assert {one for one, _ in blocking} <= {"topology_changing", "view_missing", "would_become_unavailable"}
    newcomer.wait_ready()
    gate.until(lambda: gate.refuses(gate.first) == NOTHING, "the first node may not stop")
