"""Nodes in states between up and down: no false OK from any contact point, and the reason is named."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.cassandra import queries
from tests.cassandra.queries import Keys, Lab, simple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.cassandra.cluster import RealCluster, RealNode
    from tests.cassandra.conftest import ClusterFactory
    from tests.cassandra.queries import Query

pytestmark = [pytest.mark.cassandra, pytest.mark.long]

LAYOUT = "dc1:r1,dc1:r2,dc1:r3"
KEYSPACES = (simple(1), simple(3))
LEVELS = ("LOCAL_ONE", "LOCAL_QUORUM")  # what is watched by default
SECONDS = 5  # more that a verdict may take if a node does not answer
Document = dict[str, Any]
NOTHING: Document = {"severity": "UNKNOWN", "findings": [], "keyspaces": [], "nodes": [], "views": []}


@dataclass(frozen=True, slots=True)
class Moment:
    """Verdicts before and after real queries, and the queries that were not served.

    Attributes:
        before: verdict document.
        failed: queries, with their coordinators, that were not served at a second try either.
        after: verdict document.
    """

    before: Document
    failed: tuple[str, ...]
    after: Document

    @property
    def severities(self) -> set[str]:
        return {self.before["severity"], self.after["severity"]}


@dataclass(slots=True)
class Watch:
    """Asks ringcheck and healthy coordinators alternately."""

    contact: RealNode
    coordinators: tuple[RealNode, ...]
    sessions: list[Any]
    wanted: list[Query]
    moments: list[Moment] = field(default_factory=list)

    def look(self) -> Moment:
        """Take one moment, and fail if the verdict is OK while queries are failing."""
        before = self.verdict()
        failed = tuple(
            line for one in zip(self.coordinators, self.sessions, strict=True) for line in self._failed(*one)
        )
        moment = Moment(before, failed, self.verdict())
        queries.COUNTED["moments"] += 1
        queries.COUNTED["queries in moments"] += len(self.wanted) * len(self.sessions)
        self.moments.append(moment)
        assert not (failed and moment.severities == {"OK"}), f"a false OK: {failed[:10]}"
        return moment

    def until(self, done: Callable[[Document], bool], seconds: float = 120) -> Document:
        """Take moments until a verdict is as wanted."""
        deadline = time.monotonic() + seconds
        while not done(self.look().after):
            assert time.monotonic() < deadline, f"not within {seconds} s: {self.moments[-1].after}"
        return self.moments[-1].after

    def verdict(self) -> Document:
        code, text = queries.ringcheck("health", "-H", self.contact.address, "-t", f"{SECONDS}s", "--format", "json")
        document = dict(json.loads(text))
        if document["schema"] == "ringcheck/error/1":  # no node answered: there is the reason instead of a verdict
            assert code == 3
            return NOTHING | {"summary": document["error"]}
        return document

    def _failed(self, node: RealNode, session: Any) -> Iterator[str]:
        outcomes = queries.ask(session, self.wanted)
        again = [query for query, outcome in zip(self.wanted, outcomes, strict=True) if outcome != "served"]
        for query, outcome in zip(again, queries.ask(session, again), strict=True):
            if outcome != "served":
                yield f"{query.keyspace} {query.level} {query.operation} through {node}: {outcome}"


class States:
    """A cluster whose third node is brought into a state; the first two are queried."""

    def __init__(self, cluster: RealCluster) -> None:
        self.cluster = cluster
        self.victim = cluster.node(3)
        self.healthy = (cluster.node(1), cluster.node(2))
        self._stack = ExitStack()
        queries.create(cluster, KEYSPACES)
        keys = Keys(each=4)
        self._wanted = [
            query
            for one in KEYSPACES
            for query in queries.queries(one.name, queries.pieces(cluster.node(1), one.name), keys, LEVELS)
        ]

    def watch(self, contact: int = 1) -> Watch:
        sessions = [self._stack.enter_context(self.cluster.session(node)) for node in self.healthy]
        return Watch(self.cluster.node(contact), self.healthy, sessions, self._wanted)

    def give_agent(self, **options: str) -> None:
        """Restart the third node with these options for its Jolokia, and wait until it serves."""
        self.victim.restart_agent(**options)
        self.cluster.wait_up(self.victim, [node for node in self.healthy if node.running])
        self.victim.wait_ready()

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def states(real_cluster: ClusterFactory, cassandra_release: str) -> Iterator[States]:
    """Three nodes, all up, with the verdict OK."""
    prepared = States(real_cluster(cassandra_release, LAYOUT, yaml=queries.TIMEOUTS))
    prepared.watch().until(is_ok)
    yield prepared
    prepared.close()
    if prepared.victim.agent_options:
        prepared.give_agent()


def is_ok(document: Document) -> bool:
    return bool(document["severity"] == "OK")


def codes(document: Document, subject: RealNode) -> set[str]:
    """Codes of the findings about a node."""
    return {one["code"] for one in document["findings"] if one["subject"] == subject.address}


def texts(document: Document, subject: RealNode) -> str:
    """Texts of the findings about a node."""
    return "\n".join(one["summary"] for one in document["findings"] if one["subject"] == subject.address)


def view(document: Document, node: RealNode) -> tuple[str, str]:
    """Outcome and reason of a node's view."""
    (found,) = [one for one in document["views"] if one["observer"] == node.address]
    return found["outcome"], found["reason"] or ""


def lost(document: Document) -> set[tuple[str, str]]:
    """Keyspaces and levels with unavailable ranges."""
    levels = ((each["name"], one) for each in document["keyspaces"] for one in each["levels"])
    return {(name, one["level"]) for name, one in levels if one["unavailable"]}


def test_drained_node(states: States) -> None:
    """For its peers it is down at once; its own view is not used, even if it is the contact point."""
    states.victim.drain()
    found = states.watch().until(lambda document: "node_down" in codes(document, states.victim))
    assert found["severity"] == "CRITICAL"
    assert view(found, states.victim) == ("discarded", "drained")
    assert texts(found, states.victim) == f"{states.victim.address} is down (drained)"
    assert lost(found) == {("simple_1", "LOCAL_ONE"), ("simple_1", "LOCAL_QUORUM")}
    asked_there = states.watch(contact=3).look().after
    assert asked_there["severity"] == "CRITICAL"
    assert asked_there["keyspaces"] == found["keyspaces"]


def test_gossip_off(states: States) -> None:
    """The verdict is never OK while a node has no gossip, although its peers see it down, up and down again."""
    states.victim.stop_gossip()
    watch = states.watch()
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        moment = watch.look()
        assert "OK" not in moment.severities
        assert view(moment.after, states.victim) == ("discarded", "gossip is off: its view is frozen")
    found = watch.until(lambda document: "node_down" in codes(document, states.victim))
    assert found["severity"] == "CRITICAL"
    states.victim.start_gossip()
    watch.until(is_ok)


def test_paused_node(states: States) -> None:
    """It is a gap as soon as it stops answering, and down once it is convicted."""
    states.victim.pause()
    code, line = queries.ringcheck("check", "-H", states.victim.address, "-t", "2s")
    assert (code, line[:10]) == (3, "UNKNOWN - ")
    assert states.victim.address in line
    watch = states.watch()
    first = watch.look().before
    assert first["severity"] == "UNKNOWN"
    assert codes(first, states.victim) == {"view_missing"}
    found = watch.until(lambda document: "node_down" in codes(document, states.victim))
    assert all("OK" not in moment.severities for moment in watch.moments)
    assert found["severity"] == "CRITICAL"
    assert lost(found) == {("simple_1", "LOCAL_ONE"), ("simple_1", "LOCAL_QUORUM")}


def test_node_just_started(states: States) -> None:
    """From its start until it serves, no verdict is better than the results of queries, from any contact point."""
    states.victim.kill()
    states.cluster.wait_down(states.victim)
    states.victim.start()
    watches = (states.watch(), states.watch(contact=3))
    ends = time.monotonic() + 240
    while {watch.look().after["severity"] for watch in watches} != {"OK"}:
        assert time.monotonic() < ends, watches[0].moments[-1].after
    assert states.victim.ready
    said = {reason for watch in watches for reason in reasons(watch, states.victim)}
    assert said & {"starting", "not settled"}
    assert "native transport is off" in said


def reasons(watch: Watch, node: RealNode) -> set[str]:
    """The reasons why a node's view was not used, without details."""
    documents = (document for moment in watch.moments for document in (moment.before, moment.after))
    return {view(document, node)[1].partition(":")[0] for document in documents if document["views"]}


def test_native_transport_off(states: States) -> None:
    """A node without CQL is a replica that serves no clients: a warning names it."""
    states.victim.stop_binary()
    found = states.watch().look().after
    assert found["severity"] == "WARNING"
    assert view(found, states.victim) == ("discarded", "native transport is off: it serves no clients")
    assert "view_discarded" in codes(found, states.victim)
    states.victim.start_binary()
    states.watch().until(is_ok)


_POLICY = """<restrict><commands><command>version</command><command>read</command><command>exec</command></commands>
 <deny><mbean><name>org.apache.cassandra.db:type=StorageService</name>{denied}</mbean></deny></restrict>
"""
_PASSWORD = {"user": "monitor", "password": "secret"}


def test_agent_keeps_silent(states: States, tmp_path: Path) -> None:
    """If a node's Jolokia needs a password or denies reads, the node is a gap with the reason, but is not down."""
    for wanted, options in (
        ("401", _PASSWORD),
        ("LiveNodes", _forbidding(tmp_path, "LiveNodes", "LiveNodesWithPort")),
        ("OperationMode", _forbidding(tmp_path, "OperationMode")),
    ):
        states.give_agent(**options)
        found = states.watch().look().after
        assert found["severity"] == "UNKNOWN", wanted
        assert codes(found, states.victim) == {"view_missing"}, wanted
        assert wanted in texts(found, states.victim)
        (node,) = [one for one in found["nodes"] if one["address"] == states.victim.address]
        assert (node["state"], node["jolokia"]) == ("up", "denied"), wanted


def _forbidding(directory: Path, *attributes: str) -> dict[str, str]:
    """Agent options with a policy that hides attributes of StorageService."""
    file = directory / f"{attributes[0]}.xml"
    file.write_text(_POLICY.format(denied="".join(f"<attribute>{name}</attribute>" for name in attributes)))
    return {"policyLocation": f"file://{file}"}


def test_agent_cuts_its_answers(states: States) -> None:
    """If an agent limits lists and objects, the whole ring is still reported, so that losses are seen."""
    states.give_agent(maxCollectionSize="2", maxObjects="5")
    watch = states.watch(contact=3)
    assert {each["ranges"] for each in watch.until(is_ok)["keyspaces"]} == {12}
    other = states.cluster.node(2)
    other.terminate()
    states.cluster.wait_down(other)
    cut, whole = (queries.judged(states.cluster.node(number), "--ranges") for number in (3, 1))
    assert cut["severity"] == "CRITICAL"
    assert cut["keyspaces"] == whole["keyspaces"]


def test_decommissioned_node(states: States) -> None:
    """It is no longer a member: the others are evaluated without it, and its own view is not used."""
    states.victim.decommission(force=states.victim.release >= "4").result()
    found = states.watch().until(lambda document: len(document["nodes"]) == 2)
    assert found["severity"] == "OK"
    asked_there = states.watch(contact=3).look().after
    outcome, reason = view(asked_there, states.victim)
    assert outcome == "discarded"
    assert "decommissioned" in reason
    assert asked_there["keyspaces"] == found["keyspaces"]


def replications(cluster: RealCluster, factor: int) -> set[str]:
    """How nodes 1 and 3 replicate simple_3, some time after node 1 was asked to change its replication factor."""
    strategy = f"{{'class': 'SimpleStrategy', 'replication_factor': {factor}}}"
    with cluster.session(1, timeout=60) as session:
        session.cluster.max_schema_agreement_wait = 0
        session.execute(f"ALTER KEYSPACE simple_3 WITH replication = {strategy}")
    time.sleep(5)
    found = set()
    for number in (1, 3):
        with cluster.session(number, timeout=60) as session:
            query = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = 'simple_3'"
            found.add(str(dict(session.execute(query).one().replication)))
    return found


@pytest.mark.parametrize(("old", "new"), [("4.1.9", "5.0.8")])
def test_mixed_releases(real_cluster: ClusterFactory, tmp_path: Path, old: str, new: str) -> None:
    """During an upgrade a prediction depends on the coordinator's release, and so may an ALTER, which is then found."""
    cluster = real_cluster(old, "dc1:r1,dc1:r2,dc1:r3,dc2:r1", yaml=queries.TIMEOUTS)
    lab = Lab(cluster, (simple(1), simple(3), queries.network("nts_2_1", dc1=2, dc2=1)), tmp_path)
    lab.node(3).upgrade(new)
    cluster.wait_all_up()
    assert len({lab.node(number).read("SchemaVersion") for number in (1, 2, 3, 4)}) == 2
    lab.compare(f"one node of {new}", 1, 3, 4)
    found = queries.judged(lab.node(1))
    assert "schema_disagreement" not in {one["code"] for one in found["findings"]}
    wanted = ("--level", "ONE", "--accept", "simple_1", "--allow", "recently_changed", lab.node(1).address)
    code, text = queries.ringcheck("preflight", "-H", lab.node(1).address, "--format", "json", *wanted)
    assert (code, "schema_disagreement" in text) == (0, False), text
    altered = replications(cluster, factor=2)
    for contact in (1, 3):
        found = queries.judged(lab.node(contact))
        codes = {(one["code"], one["subject"]) for one in found["findings"]}
        assert (("replication_disagreement", "simple_3") in codes) == (len(altered) > 1), (altered, codes)
    assert len(replications(cluster, factor=3)) == 1
    lab.lose(2)
    lab.compare(f"one node of {new}, another down", 1, 3, 4)
