"""Levels that follow the queries of real clients in each datacenter; logins, new roles and repairs raise no level."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from cassandra import ConsistencyLevel

from ringcheck.agent.service import Agent
from ringcheck.config.values import AgentSettings, Cluster, Config, Observing
from ringcheck.core.consistency import Level
from ringcheck.core.levels import Following, in_words
from ringcheck.core.observed import EVERY
from ringcheck.core.own_requests import IN_FLIGHT
from ringcheck.core.policy import Policy, Rule, Threshold
from ringcheck.jolokia.settings import JolokiaSettings
from tests.cassandra import queries
from tests.cassandra.cluster import wait_until
from tests.cassandra.launch import release_key
from tests.cassandra.test_logins import ROLE, SUPERUSER, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from ringcheck.report.reading import Reading
    from tests.cassandra.cluster import RealCluster
    from tests.cassandra.conftest import ClusterFactory

pytestmark = [pytest.mark.cassandra, pytest.mark.long]

DEFAULT_RELEASES = ("5.0.8",)  # 3.11.19 would add three minutes, for the same counters under the same names
WINDOW = 60.0  # seconds
PATIENCE = 300.0
ADMIN = ("admin", "admin-password")
PERMISSIONS = {**queries.TIMEOUTS, "authorizer": "CassandraAuthorizer"}  # read for each query, but cached for 2 s
AUTO = Rule(
    keyspaces=("shop",),
    critical=Threshold(Level.LOCAL_ONE),
    warning=Threshold(Level.LOCAL_QUORUM),
    auto=frozenset({"critical", "warning"}),
)


@dataclass
class Scene:
    """A cluster of two datacenters whose clients log in, and an agent whose levels follow."""

    cluster: RealCluster
    agent: Agent

    @property
    def reading(self) -> Reading:
        return self.agent.readings()[0]

    @property
    def in_use(self) -> str:
        """The levels that clients use according to the newest reading, without ONE.

        Drivers' control connections read at ONE, and up to 3.11 Cassandra writes the history of repairs at ONE.
        """
        if self.reading.observed is None:
            return "not known"
        return in_words(used for used in self.reading.observed.of(EVERY) if used.level is not Level.ONE)

    def watched(self) -> set[str]:
        """Levels and client datacenters of the keyspace in the verdict."""
        assert self.reading.verdict
        shop = next(found for found in self.reading.verdict.keyspaces if found.name == "shop")
        return {f"{level.level} {level.datacenter or '-'}" for level in shop.levels if level.level is not Level.ONE}

    def until(self, holds: Callable[[], bool], what: str) -> None:
        wait_until(lambda: "" if holds() else self.state(), PATIENCE, what, self.cluster)

    def state(self) -> str:
        """What is known now, for the message of a wait that fails."""
        unclear = self.reading.observed.unclear if self.reading.observed else ()
        return f"now {self.in_use}, {self.reading.error}, {unclear}, {self.evidence()}"

    def evidence(self) -> object:
        return self.agent.recorder.levels.of("lab").sources.of("counters").uses

    def traffic(self, node: int, level: int, seconds: float) -> None:
        """Reads and writes of one client through one node, for at least this long.

        There are more of them than Cassandra has requests of its own in flight, so that they can't be mistaken for
        those.
        """
        ends, asked = time.monotonic() + seconds, 0
        with self.cluster.session(node, credentials=ROLE, consistency=level) as session:
            while time.monotonic() < ends or asked < 2 * IN_FLIGHT:
                session.execute("INSERT INTO shop.t (k, v) VALUES (0x01, 1)")
                session.execute("SELECT v FROM shop.t WHERE k = 0x01")
                asked += 1
                time.sleep(0.05)


def prepare(cluster: RealCluster) -> None:
    """A keyspace in both datacenters, a role for clients, and roles in both datacenters."""
    wait_until(lambda: refusal(cluster.node(1), SUPERUSER), 120, "the first user is not there yet:", cluster)
    replication = "{'class': 'NetworkTopologyStrategy', 'dc1': 1, 'dc2': 1}"
    with cluster.session(1, credentials=SUPERUSER, timeout=60) as session:
        session.execute(f"ALTER KEYSPACE system_auth WITH replication = {replication}")
        session.execute(f"CREATE KEYSPACE shop WITH replication = {replication}")
        session.execute("CREATE TABLE shop.t (k blob PRIMARY KEY, v int)")
    cluster.node(2).nodetool("repair", "--full", "system_auth")
    with cluster.session(1, credentials=SUPERUSER, timeout=60) as session:
        session.execute(f"CREATE ROLE {ROLE[0]} WITH PASSWORD = '{ROLE[1]}' AND LOGIN = true")
        session.execute(f"GRANT ALL ON KEYSPACE shop TO {ROLE[0]}")
        session.execute(f"CREATE ROLE {ADMIN[0]} WITH PASSWORD = '{ADMIN[1]}' AND LOGIN = true AND SUPERUSER = true")


def watching(cluster: RealCluster) -> Agent:
    lab = Cluster(
        name="lab",
        source=JolokiaSettings(contact_points=tuple(node.address for node in cluster.nodes)),
        policy=Policy((AUTO,)),
        observed=Observing(following=Following(window=WINDOW), every=1.0),
    )
    return Agent(Config(clusters={"lab": lab}, agent=AgentSettings(interval=2.0)))


def old_enough(cluster: RealCluster) -> str:
    """Empty as soon as the queries of the preparation are older than the window, whichever process made them."""
    ages = [time.time() - int(node.read("CurrentGenerationNumber")) for node in cluster.nodes]
    return "" if min(ages) > WINDOW + 10 else f"a node has run for {min(ages):.0f} s"


def test_levels_follow_real_queries(real_cluster: ClusterFactory, cassandra_release: str) -> None:
    """First LOCAL_ONE, then LOCAL_QUORUM from one datacenter; Cassandra's own requests raise no level."""
    cluster = real_cluster(cassandra_release, "dc1:r1,dc2:r1", yaml=PERMISSIONS, authenticator="PasswordAuthenticator")
    prepare(cluster)
    wait_until(lambda: old_enough(cluster), PATIENCE, "the nodes are too young:", cluster)
    agent = watching(cluster)
    agent.start()
    scene = Scene(cluster, agent)
    try:
        scene.until(lambda: bool(scene.reading.observed), "no reading")
        assert scene.in_use == "none"
        scene.traffic(1, ConsistencyLevel.LOCAL_ONE, 5)
        scene.until(lambda: scene.in_use == "LOCAL_ONE in dc1", "LOCAL_ONE in dc1")
        # Cassandra's own requests: logins, a new role, a repair.
        for _ in range(5):
            scene.traffic(1, ConsistencyLevel.LOCAL_ONE, 0.5)
        # Before 4.1 logins are at LOCAL_ONE, as the clients are; `cassandra`'s, at QUORUM, can't be recognised.
        admin = SUPERUSER if release_key(cassandra_release) >= (4, 1) else ADMIN
        with cluster.session(1, credentials=admin, timeout=60) as session:
            session.execute("CREATE ROLE IF NOT EXISTS other WITH PASSWORD = 'secret' AND LOGIN = true")
        cluster.node(1).nodetool("repair", "--full", "shop")
        scene.traffic(1, ConsistencyLevel.LOCAL_ONE, 5)
        assert scene.in_use == "LOCAL_ONE in dc1", scene.evidence()
        # A level that is used in one datacenter applies to that datacenter only.
        scene.traffic(2, ConsistencyLevel.LOCAL_QUORUM, 5)
        wanted = "LOCAL_ONE in dc1, LOCAL_QUORUM in dc2"
        scene.until(lambda: scene.in_use == wanted, wanted)
        scene.until(lambda: "LOCAL_ALL dc2" in scene.watched(), "LOCAL_ALL is watched in dc2")
        assert "LOCAL_ALL dc1" not in scene.watched()
        # If the level is not used for a whole window it is lowered; the window is completely known.
        deadline = time.monotonic() + PATIENCE
        while scene.in_use != "LOCAL_ONE in dc1, dc2" and time.monotonic() < deadline:
            scene.traffic(1, ConsistencyLevel.LOCAL_ONE, 1)
            scene.traffic(2, ConsistencyLevel.LOCAL_ONE, 1)
        assert scene.in_use == "LOCAL_ONE in dc1, dc2", scene.evidence()
        assert scene.reading.observed
        assert scene.reading.observed.unclear == ()
        assert scene.reading.observed.clients == ("dc1", "dc2")
        assert scene.watched() == {f"{level} {dc}" for level in ("LOCAL_ONE", "LOCAL_QUORUM") for dc in ("dc1", "dc2")}
    finally:
        assert agent.stop(60)
