"""An embedded cluster, and watches on it that poll when a test calls them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ringcheck.agent.watch import Watch
from ringcheck.config.values import Cluster
from ringcheck.core.consistency import Level
from ringcheck.core.gate import Gate
from ringcheck.core.policy import Policy, Rule, Severity, Threshold
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.simulator.cluster import EmbeddedCluster, topology
from ringcheck.simulator.server import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringcheck.report.reading import Reading
    from ringcheck.simulator.faults import Fault

PATIENCE = 60.0  # seconds; generous, so that a busy machine does not fail a test
NEVER = 2000.0  # seconds between regular polls, which no test waits for
RULES = (Rule(keyspaces=("*",), critical=Threshold(Level.LOCAL_QUORUM), warning=Threshold(Level.LOCAL_ALL)),)


@dataclass
class Clock:
    """A clock that stands still until a test moves it."""

    time: float = 1000.0

    def __call__(self) -> float:
        return self.time


@dataclass
class World:
    """An embedded cluster, its configuration, and watches that poll when a test calls them.

    Attributes:
        simulated: three nodes in three racks with a keyspace of RF 3; peers need seconds to convict a node.
        cluster: its configuration.
        clock: the clock of the watches.
        published: readings that the watches published.
    """

    simulated: EmbeddedCluster
    cluster: Cluster
    clock: Clock = field(default_factory=Clock)
    published: list[Reading] = field(default_factory=list)

    @property
    def settings(self) -> JolokiaSettings:
        assert isinstance(self.cluster.source, JolokiaSettings)
        return self.cluster.source

    def watch(self, interval: float = 15.0, **changes: Any) -> Watch:
        return Watch(replace(self.cluster, **changes), interval, self.published.append, self.clock)

    def address(self, number: int) -> str:
        return self.simulated.nodes[number].address

    @property
    def addresses(self) -> frozenset[str]:
        return frozenset(node.address for node in self.simulated.nodes)

    def all_go(self, fault: Fault | None) -> None:
        for node in self.simulated.nodes:
            self.simulated.set_fault(node.index, fault)


@contextmanager
def embedded(name: str = "orders-prod", **options: Any) -> Iterator[World]:
    cluster = EmbeddedCluster.uniform(3, racks=3, vnodes=4, keyspaces={"orders": topology(dc1=3)}, name=name, **options)
    with serve(cluster) as server:
        points = tuple(node.address for node in cluster.nodes)
        jolokia = JolokiaSettings(contact_points=points, url=server.template, timeout=5)
        yield World(cluster, Cluster(name=name, source=jolokia, policy=Policy(RULES), gate=Gate(settle=0)))


def polled(watch: Watch) -> Reading:
    watch.turn()
    return watch.present()


def states(reading: Reading) -> dict[str, str]:
    assert reading.verdict
    nodes = reading.verdict.snapshot.nodes
    return {node.address: state for node, state in zip(nodes, reading.verdict.states, strict=True)}


def severity(reading: Reading) -> Severity:
    assert reading.verdict
    return reading.verdict.severity
