"""The cluster metadata service of 6.0: what needs its quorum, and that gate and plan keep the quorum.

By default the tests use one cluster of four nodes, for some five minutes. If `RINGCHECK_CASSANDRA_VERSIONS` names a
release of 6.0, every planned batch is restarted as well.
"""

from __future__ import annotations

import json
from itertools import combinations, count
from typing import TYPE_CHECKING, Any

import pytest
from cassandra import DriverException
from cassandra.protocol import ErrorMessage

from ringcheck.core.policy import Severity
from tests.cassandra import queries
from tests.cassandra.cluster import wait_until
from tests.cassandra.conftest import chosen_releases
from tests.cassandra.launch import release_key
from tests.cassandra.queries import Keys, simple

if TYPE_CHECKING:
    from tests.cassandra.cluster import RealCluster, RealNode
    from tests.cassandra.conftest import ClusterFactory

pytestmark = pytest.mark.cassandra

LAYOUT = "dc1:r1,dc1:r2,dc1:r3,dc1:r1"
SERVICE = "org.apache.cassandra.tcm:type=CMSOperations"
KEYSPACE = simple(4)  # at ONE three of the four nodes may stop: only the metadata service is at stake
_NUMBERS = count()  # number for the names of tables, since the tests share a cluster
SIX = [release for release in chosen_releases(("6.0-alpha2",)) if release_key(release) >= (6, 0)]
ASKED = [release for release in chosen_releases() if release_key(release) >= (6, 0)]


class Service:
    """A cluster of four nodes, three of them members of the metadata service."""

    def __init__(self, cluster: RealCluster) -> None:
        self.cluster = cluster
        queries.create(cluster, (KEYSPACE,))

    def described(self, node: RealNode) -> dict[str, str]:
        found: dict[str, str] = node.exec("describeCMS", mbean=SERVICE)
        return found

    @property
    def members(self) -> list[RealNode]:
        endpoints = {name.rpartition("/")[2] for name in self.described(self._first)["MEMBERS"].split(",")}
        return [node for node in self.cluster.members if node.endpoint in endpoints]

    @property
    def _first(self) -> RealNode:
        return next(node for node in self.cluster.members if node.running)

    def settle(self) -> None:
        """Wait until all nodes have applied all changes; until then the gate blocks."""

        def lacking() -> str:
            epochs = {self.described(node)["EPOCH"] for node in self.cluster.members if node.running}
            return ", ".join(sorted(epochs)) if len(epochs) > 1 else ""

        wait_until(lacking, 60, "several epochs:", self.cluster)

    def change(self, coordinator: RealNode) -> str:
        """Create a table through one coordinator; the error, or an empty text if it worked."""
        with self.cluster.session(coordinator, timeout=60) as session:
            session.cluster.max_schema_agreement_wait = 0
            try:
                session.execute(f"CREATE TABLE {KEYSPACE.name}.t{next(_NUMBERS)} (k int PRIMARY KEY)")
            except (DriverException, ErrorMessage) as error:
                return repr(error)
        return ""

    def serves(self, coordinator: RealNode) -> bool:
        """Whether a coordinator serves every range at ONE."""
        pieces = queries.pieces(coordinator, KEYSPACE.name)
        wanted = list(queries.queries(KEYSPACE.name, pieces, Keys(each=4), ("ONE",)))
        with self.cluster.session(coordinator) as session:
            return set(queries.ask(session, wanted)) == {"served"}

    def asked(self, command: str, *arguments: str) -> dict[str, Any]:
        """The document of `preflight` or `plan` at ONE, from fresh data."""
        target = ("-H", self._first.address, "-t", "30s", "--level", "ONE", "--format", "json")
        _, text = queries.ringcheck(command, *arguments, *target)
        document: dict[str, Any] = json.loads(text)
        return document

    def preflight(self, *nodes: RealNode) -> tuple[str, set[str]]:
        """The answer of the gate, and the codes of the reasons that block."""
        document = self.asked("preflight", *(node.address for node in nodes))
        return document["decision"], {reason["code"] for reason in document["reasons"] if reason["blocks"]}


@pytest.fixture
def service(real_cluster: ClusterFactory, request: pytest.FixtureRequest) -> Service:
    made = Service(real_cluster(request.param, LAYOUT, yaml=queries.TIMEOUTS, jvm_options=("-Xmx384m",)))
    made.settle()
    return made


@pytest.mark.parametrize("service", SIX, indirect=True)
def test_a_stop_that_breaks_the_quorum_is_unsafe_and_costs_schema_changes(service: Service) -> None:
    """Two of three members must not stop. If they do stop, no table can be created, but queries are still served."""
    members = service.members
    [other] = [node for node in service.cluster.members if node not in members]
    _wait_settled(service)
    for node in service.cluster.members:
        assert service.preflight(node) == ("safe", set()), node
    for pair in combinations(members, 2):
        assert service.preflight(*pair) == ("unsafe", {"metadata_quorum"}), pair
    assert service.preflight(members[0], other) == ("safe", set())
    assert service.change(other) == ""

    stopped, left = members[1:], [members[0], other]
    stopped[0].kill()
    service.cluster.wait_down(stopped[0])
    assert "metadata_quorum" in service.preflight(stopped[1])[1]
    assert "metadata_quorum" not in service.preflight(other)[1]
    assert service.change(other) == ""
    assert _finding(service)["severity"] == "OK"

    stopped[1].kill()
    service.cluster.wait_down(stopped[1])
    for coordinator in left:
        assert service.change(coordinator), "a table was created without a quorum"
        assert service.serves(coordinator)
    found = _finding(service)
    assert found["severity"] == "WARNING"
    assert found["summary"].startswith(
        "no metadata quorum: 1 of 3 members of the cluster metadata service up, 2 needed"
    )
    assert service.preflight(other)[0] == "unsafe"

    # Nodes can start without the quorum, even members; once this one has started there is a quorum again.
    stopped[0].start()
    service.cluster.wait_all_up([*left, stopped[0]])
    assert service.change(other) == ""
    service.settle()
    assert _finding(service)["severity"] == "OK"


@pytest.mark.parametrize("service", ASKED, indirect=True)
def test_every_planned_batch_keeps_the_quorum(service: Service) -> None:
    """While the nodes of each batch are stopped, tables can still be created; every node is in a batch."""
    _wait_settled(service)
    plan = service.asked("plan")
    assert not plan["refused"]
    assert sorted(name for batch in plan["batches"] for name in batch) == [n.address for n in service.cluster.members]
    for batch in plan["batches"]:
        nodes = [node for node in service.cluster.members if node.address in batch]
        for node in nodes:
            node.terminate()
        for node in nodes:
            service.cluster.wait_down(node)
        assert service.change(service._first) == "", batch
        for node in nodes:
            node.start()
        service.cluster.wait_all_up()


@pytest.mark.parametrize("service", ASKED, indirect=True)
def test_a_lone_member_must_not_stop(service: Service) -> None:
    """A new cluster has one member: if it stopped there would be no quorum, so a plan refuses it and names it."""
    service.cluster.node(1).nodetool("cms", "reconfigure", "1")
    service.settle()
    _wait_settled(service)
    [member] = service.members
    try:
        assert service.preflight(member) == ("unsafe", {"metadata_quorum"})
        refused = service.asked("plan")["refused"]
        assert [(refusal["node"], [r["code"] for r in refusal["reasons"]]) for refusal in refused] == [
            (member.address, ["metadata_quorum"])
        ]
    finally:
        service.cluster.node(1).nodetool("cms", "reconfigure", "3")


@pytest.mark.parametrize("service", ASKED, indirect=True)
def test_paused_commits_block_a_decommission(service: Service) -> None:
    """The gate names the nodes on which commits are paused; a change through another node still succeeds."""
    _wait_settled(service)
    members = service.members
    [other] = [node for node in service.cluster.members if node not in members]
    for node in members:
        _pause(node, paused=True)
    try:
        document = service.asked("preflight", members[0].address, "--action", "decommission")
        assert "metadata_not_writable" in {reason["code"] for reason in document["reasons"] if reason["blocks"]}
        assert service.change(other) == ""
    finally:
        for node in members:
            _pause(node, paused=False)


def _pause(node: RealNode, *, paused: bool) -> None:
    node.oracle.ask({"type": "write", "mbean": SERVICE, "attribute": "CommitsPaused", "value": paused})


def _finding(service: Service) -> dict[str, Any]:
    """The finding about the quorum of three members; the exit code is that of the worst finding."""
    first = next(node for node in service.cluster.members if node.running)
    document = queries.judged(first)
    quorum = document["metadata_service"]
    assert (quorum["size"], quorum["required"]) == (3, 2)
    assert Severity[document["severity"]] >= Severity.OK
    [found] = [finding for finding in document["findings"] if finding["code"] == "metadata_quorum"]
    return dict(found)


def _wait_settled(service: Service) -> None:
    """Wait until every node has run as long as the gate requires, and nothing else blocks a stop of the last one."""
    last = service.cluster.members[-1]

    def lacking() -> str:
        answer, codes = service.preflight(last)
        return "" if answer == "safe" or codes == {"metadata_quorum"} else f"{answer}: {sorted(codes)}"

    wait_until(lacking, 120, "not safe:", service.cluster)
