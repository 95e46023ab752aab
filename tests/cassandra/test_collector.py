"""The same tests of the collector, on the embedded cluster and on a real one."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Protocol

import pytest

from ringcheck.core.assess import assess
from ringcheck.core.policy import Policy
from ringcheck.core.ring import Replication
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.jolokia.source import JolokiaSource
from ringcheck.simulator.cluster import (
    EmbeddedCluster,
    NodeSpec,
    loopback_address,
    simple,
    stock_keyspaces,
    topology,
)
from ringcheck.simulator.placement import random_tokens
from ringcheck.simulator.server import serve
from tests.cassandra import queries
from tests.cassandra.cluster import parse_layout
from tests.cassandra.conftest import chosen_releases
from tests.cassandra.test_states import LAYOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ringcheck.core.ring import Snapshot, View
    from tests.cassandra.cluster import RealCluster
    from tests.cassandra.conftest import ClusterFactory

RELEASE = chosen_releases(("5.0.8",))[-1]
NODES = parse_layout(LAYOUT)
KEYSPACES = {
    "one": "SimpleStrategy {replication_factor=1}",
    "three": "NetworkTopologyStrategy {dc1=3}",
}


class Driver(Protocol):
    """Changes that a test makes to a cluster; nodes are numbered from 0."""

    settings: JolokiaSettings

    def address(self, node: int) -> str: ...
    def kill(self, node: int) -> None: ...
    def start(self, node: int) -> None: ...
    def drain(self, node: int) -> None: ...
    def gossip_off(self, node: int) -> None: ...
    def gossip_on(self, node: int) -> None: ...
    def binary_off(self, node: int) -> None: ...
    def binary_on(self, node: int) -> None: ...
    def pause(self, node: int) -> None: ...
    def resume(self, node: int) -> None: ...


class Embedded:
    """Drives the simulator; changes are seen at once."""

    def __init__(self, cluster: EmbeddedCluster, template: str) -> None:
        self.cluster = cluster
        self.settings = JolokiaSettings(contact_points=(self.address(0),), url=template, timeout=2)

    def address(self, node: int) -> str:
        return self.cluster.nodes[node].address

    def kill(self, node: int) -> None:
        self.cluster.down(node, instant=True)

    def start(self, node: int) -> None:
        self.cluster.up(node, instant=True)

    def drain(self, node: int) -> None:
        self.cluster.drain(node, instant=True)

    def gossip_off(self, node: int) -> None:
        self.cluster.gossip_off(node, instant=True)

    def gossip_on(self, node: int) -> None:
        self.cluster.gossip_on(node, instant=True)

    def binary_off(self, node: int) -> None:
        self.cluster.binary_off(node)

    def binary_on(self, node: int) -> None:
        self.cluster.binary_on(node)

    def pause(self, node: int) -> None:
        self.cluster.pause(node, instant=True)

    def resume(self, node: int) -> None:
        self.cluster.resume(node, instant=True)


class Real:
    """Drives real nodes; changes are seen when gossip has spread them."""

    def __init__(self, cluster: RealCluster) -> None:
        self.cluster = cluster
        self.settings = JolokiaSettings(contact_points=(cluster.node(1).url,), timeout=5)

    def address(self, node: int) -> str:
        return self.cluster.node(node + 1).address

    def kill(self, node: int) -> None:
        self.cluster.node(node + 1).kill()
        self.cluster.wait_down(self.cluster.node(node + 1))

    def start(self, node: int) -> None:
        self.cluster.node(node + 1).restart(hard=True)
        self.cluster.wait_all_up()

    def drain(self, node: int) -> None:
        self.cluster.node(node + 1).drain()
        self.cluster.wait_down(self.cluster.node(node + 1))

    def gossip_off(self, node: int) -> None:
        self.cluster.node(node + 1).stop_gossip()

    def gossip_on(self, node: int) -> None:
        self.cluster.node(node + 1).start_gossip()
        self.cluster.wait_all_up()

    def binary_off(self, node: int) -> None:
        self.cluster.node(node + 1).stop_binary()

    def binary_on(self, node: int) -> None:
        self.cluster.node(node + 1).start_binary()
        self.cluster.wait_all_up()

    def pause(self, node: int) -> None:
        self.cluster.node(node + 1).pause()

    def resume(self, node: int) -> None:
        self.cluster.node(node + 1).resume()
        self.cluster.wait_all_up()


@pytest.fixture(scope="module", params=["embedded", pytest.param("real", marks=pytest.mark.cassandra)])
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    """An embedded and a real cluster with the same layout, release and keyspaces."""
    if request.param == "embedded":
        tokens = random_tokens(len(NODES), 4, seed=7)
        keyspaces = {**stock_keyspaces(RELEASE), "one": simple(1), "three": topology(dc1=3)}
        named = [
            NodeSpec(loopback_address(at), datacenter=datacenter, rack=rack, tokens=tuple(tokens[at]), release=RELEASE)
            for at, (datacenter, rack) in enumerate(NODES)
        ]
        cluster = EmbeddedCluster(named, keyspaces, name="lab")
        with serve(cluster) as server:
            yield Embedded(cluster, server.template)
        return
    factory: ClusterFactory = request.getfixturevalue("real_cluster")
    real = factory(RELEASE, LAYOUT, yaml=queries.TIMEOUTS)
    with real.session(1) as session:
        for name, text in KEYSPACES.items():
            kind, _, options = text.partition(" ")
            pairs = options.strip("{}").replace("=", "': ")
            session.execute(f"CREATE KEYSPACE IF NOT EXISTS {name} WITH replication = {{'class': '{kind}', '{pairs}}}")
    yield Real(real)


@pytest.fixture
def polls(driver: Driver) -> Iterator[Callable[[], Snapshot]]:
    """The polls of one collector."""
    with closing(JolokiaSource(driver.settings)) as collector:
        yield lambda: collector.poll(10)


def view(seen: Snapshot, observer: str) -> View:
    return next(one for one in seen.views if one.observer == observer)


def until(polls: Callable[[], Snapshot], true: Callable[[Snapshot], bool], seconds: float = 60) -> Snapshot:
    """The first snapshot that meets a condition; the last one if time runs out."""
    ends = time.monotonic() + seconds
    while True:
        seen = polls()
        if true(seen) or time.monotonic() > ends:
            return seen
        time.sleep(0.2)


def test_all_up(driver: Driver, polls: Callable[[], Snapshot]) -> None:
    """Every node is found from one contact point, with its location, release and tokens, and every view is usable."""
    for seen in (polls(), polls()):
        assert seen.cluster == "lab"
        assert [node.address for node in seen.nodes] == sorted(driver.address(at) for at in range(len(NODES)))
        assert {(node.datacenter, node.rack) for node in seen.nodes} == set(NODES)
        assert {(node.release_version, node.mode, node.source, node.tokens) for node in seen.nodes} == {
            (RELEASE, "NORMAL", "ok", 4)
        }
        assert len({node.host_id for node in seen.nodes}) == len(NODES)
        assert [one.outcome for one in seen.views] == ["ok"] * len(NODES)
        assert {one.live for one in seen.views} == {frozenset(node.address for node in seen.nodes)}
        assert (seen.authenticates, seen.problems) == (False, ())


def test_rings_of_equal_replication_are_one(polls: Callable[[], Snapshot]) -> None:
    """Each distinct replication has one ring with all ranges; LocalStrategy has none."""
    seen = polls()
    found = {name: str(ring.replication) for ring in seen.rings for name in ring.keyspaces}
    assert {name: found[name] for name in KEYSPACES} == KEYSPACES
    assert not {"system", "system_schema"} & found.keys()
    assert len({ring.replication for ring in seen.rings}) == len(seen.rings)
    assert {len(ring) for ring in seen.rings} == {4 * len(NODES)}
    three = next(ring for ring in seen.rings if ring.replication == Replication.parse(KEYSPACES["three"]))
    assert all(len(three.replicas(index)) == 3 for index in range(len(three)))


def test_a_drained_node(driver: Driver, polls: Callable[[], Snapshot]) -> None:
    """Its frozen view is discarded with the reason, and the others see it down; afterwards it is started again."""
    polls()
    driver.drain(2)
    gone = driver.address(2)
    seen = until(polls, lambda one: gone not in view(one, driver.address(0)).live)
    assert (view(seen, gone).outcome, view(seen, gone).reason) == ("discarded", "drained")
    assert all(gone not in one.live for one in seen.views if one.outcome == "ok")
    driver.start(2)
    seen = until(polls, lambda one: all(each.outcome == "ok" for each in one.views))
    assert [one.outcome for one in seen.views] == ["ok"] * len(NODES)


def test_a_node_without_native_transport(driver: Driver, polls: Callable[[], Snapshot]) -> None:
    """It serves no clients, so its view does not count, although all nodes see it live."""
    polls()
    driver.binary_off(1)
    seen = polls()
    assert view(seen, driver.address(1)).reason == "native transport is off: it serves no clients"
    assert driver.address(1) in view(seen, driver.address(0)).live
    driver.binary_on(1)
    assert view(polls(), driver.address(1)).outcome == "ok"


def test_a_node_without_gossip(driver: Driver, polls: Callable[[], Snapshot]) -> None:
    """It still coordinates, with a frozen view that is discarded with the reason."""
    polls()
    driver.gossip_off(1)
    seen = polls()
    assert (view(seen, driver.address(1)).outcome, view(seen, driver.address(1)).reason) == (
        "discarded",
        "gossip is off: its view is frozen",
    )
    driver.gossip_on(1)
    seen = until(polls, lambda one: all(each.outcome == "ok" for each in one.views))
    assert view(seen, driver.address(1)).outcome == "ok"


@pytest.mark.slow
def test_a_paused_node(driver: Driver, polls: Callable[[], Snapshot]) -> None:
    """Its Jolokia accepts connections and never answers: its view is unreachable at once, whatever its peers see."""
    polls()
    driver.pause(2)
    with closing(JolokiaSource(driver.settings)) as collector:
        seen = collector.poll(10)
    driver.resume(2)
    assert view(seen, driver.address(2)).outcome == "unreachable"
    assert next(node.source for node in seen.nodes if node.address == driver.address(2)) == "unreachable"
    assert assess(seen, Policy()).severity.name in {"UNKNOWN", "CRITICAL"}


def test_a_killed_node(driver: Driver, polls: Callable[[], Snapshot]) -> None:
    """It refuses connections, and each usable view lists it as unreachable; its rack and release are still known."""
    polls()
    driver.kill(2)
    gone = driver.address(2)
    for seen in (polls(), _fresh(driver)):
        assert view(seen, gone).outcome == "unreachable"
        assert {gone in (one.unreachable or ()) for one in seen.views if one.outcome == "ok"} == {True}
        node = next(node for node in seen.nodes if node.address == gone)
        assert (node.datacenter, node.rack, node.release_version, node.tokens) == (*NODES[2], RELEASE, 4)
        assert {ring.holding([seen.index[gone]]) for ring in seen.rings} == {frozenset([seen.index[gone]])}
    driver.start(2)
    seen = until(polls, lambda one: all(each.outcome == "ok" for each in one.views))
    assert [one.outcome for one in seen.views] == ["ok"] * len(NODES)


def _fresh(driver: Driver) -> Snapshot:
    with closing(JolokiaSource(driver.settings)) as collector:
        return collector.poll(10)
