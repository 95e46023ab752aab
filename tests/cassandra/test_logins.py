"""Whether clients can log in while a replica of system_auth is down, and whether ringcheck predicts it.

4.1 and later read roles at LOCAL_QUORUM, older releases at LOCAL_ONE; on all, the user `cassandra` needs QUORUM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cassandra.cluster import NoHostAvailable

from ringcheck.jolokia.mbeans import AUTH_PROPERTIES, READ_LEVEL
from tests.cassandra import queries
from tests.cassandra.answers import Answers, lost
from tests.cassandra.cluster import wait_until
from tests.cassandra.conftest import chosen_releases
from tests.cassandra.launch import release_key

if TYPE_CHECKING:
    from tests.cassandra.cluster import RealCluster, RealNode
    from tests.cassandra.conftest import ClusterFactory

pytestmark = pytest.mark.cassandra

DEFAULT = ("4.0.17", "5.0.8")  # the last release with each behaviour
RELEASES = [release for release in chosen_releases(DEFAULT) if release_key(release) >= (3, 11)]
ROLE = ("app", "app-password")
SUPERUSER = ("cassandra", "cassandra")


def refusal(node: RealNode, credentials: tuple[str, str]) -> str:
    """The reason why a client with these credentials gets no session with a node; empty if it gets one."""
    try:
        with node.cluster.session(node, credentials=credentials) as session:
            session.execute("SELECT release_version FROM system.local")
    except NoHostAvailable as error:
        return str(error.errors)
    return ""


def logs_in(node: RealNode, credentials: tuple[str, str]) -> bool:
    """Whether a client gets a session; if it does not, the reason must be missing replicas."""
    why = refusal(node, credentials)
    assert not why or "Cannot achieve consistency level" in why, why
    return not why


def replicate_logins(cluster: RealCluster) -> None:
    """Replicate the roles to both nodes, and create a role for clients."""
    wait_until(lambda: refusal(cluster.node(1), SUPERUSER), 60, "the first user is not there yet:", cluster)
    replication = "{'class': 'NetworkTopologyStrategy', 'dc1': 2}"
    with cluster.session(1, credentials=SUPERUSER, timeout=60) as session:
        session.execute(f"ALTER KEYSPACE system_auth WITH replication = {replication}")
        session.execute(f"CREATE ROLE IF NOT EXISTS {ROLE[0]} WITH PASSWORD = '{ROLE[1]}' AND LOGIN = true")
    cluster.node(1).nodetool("repair", "--full", "system_auth")


@pytest.mark.parametrize("release", RELEASES)
def test_one_of_two_replicas_of_the_roles_is_down(real_cluster: ClusterFactory, release: str) -> None:
    """If logins need both replicas, the gate refuses to stop a node, and a check is CRITICAL while a node is down."""
    cluster = real_cluster(release, "dc1:r1,dc1:r2", yaml=queries.TIMEOUTS, authenticator="PasswordAuthenticator")
    one, other = cluster.nodes
    replicate_logins(cluster)
    for node in (one, other):
        assert all(logs_in(node, credentials) for credentials in (ROLE, SUPERUSER))
    asked = Answers(cluster, accepted=())
    level = "LOCAL_QUORUM" if release_key(release) >= (4, 1) else "LOCAL_ONE"
    assert asked.check()[0] == 0
    before = asked.preflight(str(other.read("LocalHostId")))["decision"]
    other.terminate()
    cluster.wait_down(other)
    served = logs_in(one, ROLE)
    assert served == (level == "LOCAL_ONE")
    assert not logs_in(one, SUPERUSER)
    assert (before == "safe") <= served, "a false SAFE: nobody can log in any more"
    code, text = asked.check()
    assert (code == 2) == (not served), text
    assert bool(lost(asked.health(), level, "system_auth")) == (not served)


def set_level(node: RealNode, level: str) -> None:
    """Change the level at which a node reads roles, as an operator can over JMX."""
    wanted = {"mbean": AUTH_PROPERTIES, "attribute": READ_LEVEL, "value": level}
    node.oracle.ask({"type": "write", **wanted})
    assert node.read(READ_LEVEL, mbean=AUTH_PROPERTIES) == level


@pytest.mark.parametrize("release", [release for release in RELEASES if release_key(release) >= (4, 1)])
@pytest.mark.parametrize("strict", [0, 1], ids=["first node", "second node"])
def test_one_node_reads_the_roles_at_another_level(real_cluster: ClusterFactory, release: str, strict: int) -> None:
    """The stop of its peer costs the logins of that node only, whichever node the ring is read from.

    On 6.0 one of two nodes is the only member of the cluster metadata service: that reason is allowed.
    """
    cluster = real_cluster(release, "dc1:r1,dc1:r2", yaml=queries.TIMEOUTS, authenticator="PasswordAuthenticator")
    replicate_logins(cluster)
    one, other = cluster.nodes[strict], cluster.nodes[1 - strict]
    for node in (one, other):
        assert logs_in(node, ROLE)  # the MBean appears with the first role that is read
        set_level(node, "LOCAL_ONE")
    asked = Answers(cluster, accepted=())
    victim = str(other.read("LocalHostId"))
    allowed = ("--allow", "metadata_quorum")
    relaxed = asked.preflight(*allowed, victim)["decision"]
    set_level(one, "QUORUM")
    mixed = asked.preflight(*allowed, victim)["decision"]
    other.terminate()
    cluster.wait_down(other)
    wait_until(lambda: "it logs in" if logs_in(one, ROLE) else "", 30, "the role is still cached:", cluster)
    assert mixed == "unsafe"
    assert asked.check()[0] == 2
    set_level(one, "LOCAL_ONE")
    assert logs_in(one, ROLE)
    assert relaxed == "safe"
    set_level(one, "LOCAL_QUORUM")
