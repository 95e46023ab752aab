"""How many polls the agent needs to report the death of a real node; polls are counted since a busy machine is slow."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from ringcheck.agent.service import Agent
from ringcheck.config.values import AgentSettings, Cluster, Config
from ringcheck.core.policy import Severity
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.report import metrics
from tests.cassandra import queries
from tests.cassandra.cluster import wait_until
from tests.cassandra.queries import simple
from tests.cassandra.test_states import LAYOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ringcheck.report.reading import Reading
    from tests.cassandra.cluster import RealCluster, RealNode
    from tests.cassandra.conftest import ClusterFactory

pytestmark = pytest.mark.cassandra

INTERVAL = 3.0  # seconds
SUSPECTS = re.compile(r'^cassandra_ring_suspect_nodes\{cassandra_cluster="lab"\} (\S+)$', re.MULTILINE)
FINE = re.compile(r'^cassandra_ring_verdict\{cassandra_cluster="lab",severity="OK"\} (\S+)$', re.MULTILINE)


@dataclass
class Watched:
    """An agent on a real cluster, and its readings.

    Attributes:
        cluster: of three nodes.
        agent: polls it.
        readings: all readings, in order, each with the metrics at that time.
    """

    cluster: RealCluster
    agent: Agent = field(init=False)
    readings: list[tuple[Reading, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        contacts = (self.cluster.node(1).address, self.cluster.node(2).address)
        lab = Cluster(name="lab", source=JolokiaSettings(contact_points=contacts))
        self.agent = Agent(Config(clusters={"lab": lab}, agent=AgentSettings(interval=INTERVAL)), [self._hear])

    def _hear(self, reading: Reading) -> None:
        self.readings.append((reading, metrics.render(lambda: [reading])[1].decode()))

    @property
    def polls(self) -> int:
        """The number of polls so far."""
        return sum(self.agent.readings()[0].polls.counts)

    def until(self, wanted: Callable[[Reading], bool], what: str, seconds: float = 120) -> None:
        """Wait until the newest reading is as wanted, and has been heard: the listener has a thread of its own."""

        def seen() -> bool:
            heard = self.readings[-1:]
            return wanted(self.agent.readings()[0]) and bool(heard) and wanted(heard[0][0])

        wait_until(lambda: "" if seen() else "not yet", seconds, what, self.cluster)

    def first(self, past: int, wanted: Callable[[Reading, str], bool]) -> int:
        """The number of polls, counted from a given poll, until the first reading that is as wanted."""
        later = [(sum(reading.polls.counts), reading, text) for reading, text in self.readings]
        return min(number - past for number, reading, text in later if number > past and wanted(reading, text))


@pytest.fixture
def watched(real_cluster: ClusterFactory) -> Iterator[Watched]:
    """Three racks of one node, all up, and an agent that reports them up."""
    cluster = real_cluster("5.0.8", LAYOUT, yaml=queries.TIMEOUTS)
    queries.create(cluster, (simple(1), simple(3)))
    scene = Watched(cluster)
    scene.agent.start()
    try:
        scene.until(is_well, "the agent does not see the cluster well")
        yield scene
    finally:
        assert scene.agent.stop(60)


def is_well(reading: Reading) -> bool:
    return bool(reading.fresh and reading.verdict and reading.verdict.severity is Severity.OK)


def severity(reading: Reading) -> Severity:
    return reading.verdict.severity if reading.verdict else Severity.UNKNOWN


def state(reading: Reading, node: RealNode) -> str:
    assert reading.verdict
    return reading.verdict.states[reading.verdict.snapshot.index[node.address]]


def is_reported_in_time(watched: Watched, past: int, victim: RealNode) -> None:
    """A poll in progress may have read the node before it died; the next one reports it, long before the peers do."""
    watched.until(lambda one: victim.address in one.suspects, "no suspect", 60)
    polls = (
        watched.first(past, lambda one, _: severity(one) >= Severity.WARNING),
        watched.first(past, lambda one, _: victim.address in one.suspects),
        watched.first(past, lambda _, text: SUSPECTS.findall(text) == ["1.0"]),
        watched.first(past, lambda _, text: FINE.findall(text) == ["0.0"]),
    )
    assert max(polls) <= 2, polls


def is_convicted(watched: Watched, victim: RealNode) -> None:
    """Once its peers list it as down, it is down and no longer a suspect; until then no reading was better."""
    watched.until(lambda one: state(one, victim) == "down", "it is not seen down")
    newest = watched.agent.readings()[0]
    assert severity(newest) is Severity.CRITICAL  # of RF 1
    assert newest.suspects == frozenset()


def suspected(watched: Watched, past: int) -> list[bool]:
    """For each poll after a given poll, whether there was a suspect."""
    return [bool(reading.suspects) for reading, _ in watched.readings if sum(reading.polls.counts) > past + 1]


def test_a_killed_node_is_reported_within_two_polls(watched: Watched) -> None:
    """After kill -9 there is at least a warning, and a suspect, also in the metrics, long before Cassandra convicts."""
    victim = watched.cluster.node(3)
    victim.kill()
    past = watched.polls
    is_reported_in_time(watched, past, victim)
    is_convicted(watched, victim)
    before = suspected(watched, past)
    assert before.index(False) >= 2
    assert all(severity(one) >= Severity.WARNING for one, _ in watched.readings if sum(one.polls.counts) > past + 1)
    victim.start()
    watched.cluster.wait_all_up()
    watched.until(is_well, "no reading is well again")
    assert watched.agent.readings()[0].suspects == frozenset()


def test_a_paused_node_is_reported_within_two_polls(watched: Watched) -> None:
    """After SIGSTOP the ports accept connections and do not answer: polls keep their deadline, and report the same."""
    victim = watched.cluster.node(3)
    victim.pause()
    past = watched.polls
    try:
        is_reported_in_time(watched, past, victim)
        is_convicted(watched, victim)
        assert watched.agent.makes_progress()
        assert all(one.error is None for one, _ in watched.readings)
    finally:
        victim.resume()
    watched.cluster.wait_all_up()
    watched.until(is_well, "no reading is well again")
