"""Polls of whole clusters: what is asked, whom is believed, and what becomes of everything that can be wrong."""

from __future__ import annotations

import json
import time
from concurrent.futures import wait
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.core.assess import assess
from ringcheck.core.evidence import evidence_of
from ringcheck.core.policy import Policy
from ringcheck.core.ring import Pending, Replication
from ringcheck.errors import ConfigError, DataError, RingcheckError, SourceError
from ringcheck.jolokia import asking
from ringcheck.jolokia.asking import ByThreads
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.jolokia.source import JolokiaSource
from tests.fake_jolokia import Agent, cluster, denied, failed, free_port, missing_attribute, missing_mbean, ok, send
from tests.jolokia.scripted import CREDENTIALS, FAILURE_DETECTOR, SNITCH, STREAM_MANAGER, Lab, Running, later

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler

IDENTITIES = "org.apache.cassandra.auth:type=IdentitiesCache"
PROPERTIES = "org.apache.cassandra.auth:type=AuthProperties"
ONE, TWO, THREE = "127.0.2.1", "127.0.2.2", "127.0.2.3"


def asked(running: Running, address: str, since: int = 0) -> list[str]:
    """Names of the attributes and operations that an agent was asked for, lists in brackets."""
    items = [
        item
        for payload in running.cluster.agents[address].payloads[since:]
        for item in (payload if isinstance(payload, list) else [payload])
    ]
    return [str(item.get("operation") or item.get("attribute")) for item in items]


def outcomes(running: Running) -> dict[str, tuple[str, str | None]]:
    """Outcome and reason of each view in a new poll."""
    return {view.observer: (view.outcome, view.reason) for view in running.poll().views}


def error_of(running: Running, kind: type[RingcheckError]) -> str:
    """The text of the error that a poll ends with, without ports."""
    with pytest.raises(kind) as caught:
        running.poll()
    return str(caught.value).replace(running.cluster.template.partition("}")[2], "")


OK = ("ok", None)


def unavailable(handler: BaseHTTPRequestHandler, _: bytes) -> None:
    send(handler, b"", status=503)


# How much is asked.


def test_a_first_poll_asks_a_few_requests_and_a_later_one_a_single_one_a_node() -> None:
    """The load of a poll is known: eight requests for three nodes and one replication, then one a node."""
    with Lab(keyspaces=dict.fromkeys(("a", "b", "c"), "SimpleStrategy {replication_factor=3}")).running() as running:
        first = running.poll()
        assert running.cluster.posts == 8
        assert running.cluster.bytes_sent < 15_500
        posts, sent = running.cluster.posts, running.cluster.bytes_sent
        second = running.poll()
        assert running.cluster.posts - posts == 3
        assert running.cluster.bytes_sent - sent < 3 * 1_500
        assert running.cluster.connections == 3
        assert sum(running.collector.counts.requests.values()) == running.cluster.posts
        assert running.collector.counts.bytes == running.cluster.bytes_sent
        assert max(agent.most_in_flight for agent in running.cluster.agents.values()) == 1
    assert [ring.keyspaces for ring in first.rings] == [("a", "b", "c")]
    assert (second.nodes, second.views, second.rings) == (first.nodes, first.views, first.rings)


def test_what_says_nothing_new_is_the_same_object() -> None:
    """Nodes, views and rings that did not change are kept, so that what was derived from them is too."""
    with Lab().running() as running:
        first, second = running.poll(), running.poll()
    assert all(one is other for one, other in zip(first.nodes, second.nodes, strict=True))
    assert all(one is other for one, other in zip(first.views, second.views, strict=True))
    assert first.rings is second.rings
    assert len({id(view.live) for view in first.views}) == 1


def test_the_time_of_a_snapshot_is_that_of_its_start() -> None:
    """What a node said is at most as old as the snapshot says."""
    moment = datetime(2026, 11, 21, 5, 15, 45, tzinfo=UTC)
    lab = Lab()
    with lab.running() as running:
        collector = JolokiaSource(
            JolokiaSettings(contact_points=(ONE,), url=running.cluster.template), now=lambda: moment
        )
        assert collector.poll(2.0).taken_at == "2026-11-21T05:15:45Z"
        collector.close()


@pytest.mark.parametrize(
    "release", ["2.2.19", "3.0.29", "3.11.10", "3.11.19", "4.0.17", "4.1.9", "5.0.8", "5.1-alpha1"]
)
def test_each_release_is_asked_in_its_words(release: str) -> None:
    """No release is asked for what it does not have, but where a first contact finds out which one it is."""
    with Lab(release=release).running() as running:
        snapshot = running.poll()
        running.poll()
        assert not snapshot.problems
        modern = int(release[0]) >= 4
        assert [node.release_version for node in snapshot.nodes] == [release] * 3
        assert all(node.source == "ok" and node.tokens == 2 for node in snapshot.nodes)
        told = release not in {"2.2.19", "3.0.29", "3.11.10"}
        assert [str(ring.replication) for ring in snapshot.rings] == [
            "NetworkTopologyStrategy {dc1=3}" if told else "None"
        ]
        later_asked = [name for name in asked(running, ONE, since=1) if "WithPort" in name]
        assert bool(later_asked) == modern
        assert ("getKeyspaceReplicationInfo" in asked(running, ONE)) == told


def test_replication_that_a_release_can_not_tell_is_the_configurations() -> None:
    """Before 3.11.11 what the operator states is used, and keyspaces of equal replication share a ring."""
    lab = Lab(release="3.0.29", keyspaces=dict.fromkeys(("a", "b", "c"), "SimpleStrategy {replication_factor=3}"))
    stated = Replication.parse("SimpleStrategy {replication_factor=3}")
    with lab.running() as running:
        collector = JolokiaSource(
            JolokiaSettings(contact_points=(ONE,), url=running.cluster.template), {"a": stated, "c": stated}
        )
        rings = collector.poll(2.0).rings
        collector.close()
    assert [(ring.keyspaces, ring.replication) for ring in rings] == [(("a", "c"), stated), (("b",), None)]


def test_what_cassandra_tells_wins_over_the_configuration() -> None:
    """A replication that was altered since the configuration was written is the one that counts."""
    with Lab().running() as running:
        stated = {"orders": Replication.parse("SimpleStrategy {replication_factor=1}")}
        collector = JolokiaSource(JolokiaSettings(contact_points=(ONE,), url=running.cluster.template), stated)
        assert str(collector.poll(2.0).rings[0].replication) == "NetworkTopologyStrategy {dc1=3}"
        collector.close()


def test_in_a_mixed_cluster_the_newest_release_tells_the_ring() -> None:
    """While some nodes can't tell replication yet, one that can is asked, even if it is no contact point."""
    lab = Lab(release="3.0.29")
    lab.nodes[THREE] = Lab(release="4.0.17").nodes[THREE]
    with lab.running(ONE) as running:
        snapshot = running.poll()
        assert [str(ring.replication) for ring in snapshot.rings] == ["NetworkTopologyStrategy {dc1=3}"]
        assert "getRangeToEndpointMap" not in asked(running, ONE)
        assert "getRangeToEndpointWithPortMap" in asked(running, THREE)


def test_local_keyspaces_are_left_out() -> None:
    """Keyspaces that are not placed by token are no part of any ring."""
    replications = {
        "x": "LocalStrategy {}",
        "m": "MetaStrategy {dc1=3}",
        "orders": "SimpleStrategy {replication_factor=2}",
    }
    with Lab(keyspaces=replications).running() as running:
        assert [ring.keyspaces for ring in running.poll().rings] == [("orders",)]


# Whom to ask.


def test_any_contact_point_will_do() -> None:
    """Dead contact points do not matter while one answers; the nodes there are seen as unreachable."""
    lab = Lab()
    lab.down(ONE)
    with lab.running(ONE, TWO, without=(ONE,)) as running:
        snapshot = running.poll()
        assert len(snapshot.rings) == 1
        assert [view.outcome for view in snapshot.views] == ["unreachable", "ok", "ok"]
        assert snapshot.nodes[0].source == "unreachable"
        assert snapshot.nodes[0].datacenter == "dc1"


def test_if_nobody_answers_each_is_named_with_its_reason() -> None:
    """The error of a cluster that can't be asked at all says who was tried and what happened."""
    with Lab().running(ONE, TWO, without=(ONE, TWO)) as running:
        text = error_of(running, SourceError)
        assert text == f"nobody answered: http://{ONE}: connection refused; http://{TWO}: connection refused"


def test_if_nobody_answers_later_it_is_an_error_too() -> None:
    """A collector that knows the ring does not pretend to know its state."""
    with Lab().running() as running:
        running.poll()
        for agent in running.cluster.agents.values():
            agent.raw = unavailable
        text = error_of(running, SourceError)
        assert text == "nobody answered: " + "; ".join(f"http://{address}: HTTP 503" for address in (ONE, TWO, THREE))


def test_a_contact_point_keeps_its_url() -> None:
    """A node that is reached by another URL than the template's is asked there, and only there."""
    lab = Lab()
    with lab.running() as running, Agent(lab.nodes[TWO]) as other:
        collector = JolokiaSource(JolokiaSettings(contact_points=(other.url,), url=running.cluster.template))
        snapshot = collector.poll(2.0)
        collector.poll(2.0)
        collector.close()
        assert [view.outcome for view in snapshot.views] == ["ok"] * 3
        assert running.cluster.agents[TWO].payloads == []


def test_two_names_of_one_node_are_one_node() -> None:
    """Contact points that turn out to be the same node make one view."""
    lab = Lab()
    with lab.running() as running, Agent(lab.nodes[ONE]) as other:
        collector = JolokiaSource(JolokiaSettings(contact_points=(ONE, other.url), url=running.cluster.template))
        assert [view.observer for view in collector.poll(2.0).views] == [ONE, TWO, THREE]
        collector.close()


def test_only_contact_points_are_asked_where_only_they_can_be() -> None:
    """With agents on loopback the views are those of the contact points; the others are not asked, not unreachable."""
    lab = Lab()
    with lab.running() as running, Agent(lab.nodes[TWO]) as other:
        collector = JolokiaSource(
            JolokiaSettings(contact_points=(other.url,), url=running.cluster.template, views="contact_points")
        )
        for _ in range(2):
            snapshot = collector.poll(2.0)
            assert [(view.observer, view.outcome) for view in snapshot.views] == [(TWO, "ok")]
            assert [node.source for node in snapshot.nodes] == ["not_asked", "ok", "not_asked"]
            assert len(snapshot.rings) == 1
        collector.close()
        assert running.cluster.posts == 0


def test_a_contact_point_that_is_silent_is_a_view_where_only_they_are_asked() -> None:
    """A coordinator that was to be asked and can't be is not forgotten, and is asked again."""
    lab = Lab()
    with lab.running() as running:
        silent = f"http://127.0.0.1:{free_port('127.0.0.1')}/jolokia"
        collector = JolokiaSource(
            JolokiaSettings(contact_points=(ONE, silent), url=running.cluster.template, views="contact_points")
        )
        for _ in range(2):
            views = collector.poll(2.0).views
            assert [(view.observer, view.outcome) for view in views] == [(ONE, "ok"), ("127.0.0.1", "unreachable")]
            assert views[1].reason == f"{silent}: connection refused"
        collector.close()


def test_a_contact_point_that_has_left_is_said_to_have() -> None:
    """A decommissioned node in the configuration is a discarded view, and its view of the ring is not used."""
    lab = Lab(4)
    four = lab.addresses[3]
    rest = Lab(3)
    for address in rest.addresses:
        lab.nodes[address] = rest.nodes[address]
    lab.nodes[four].attributes |= {"OperationMode": "DECOMMISSIONED", "GossipRunning": False}
    with lab.running(four, ONE) as running:
        snapshot = running.poll()
        assert [node.address for node in snapshot.nodes] == [ONE, TWO, THREE]
        assert snapshot.views[-1].observer == four
        assert snapshot.views[-1].outcome == "discarded"
        assert snapshot.views[-1].reason == "decommissioned, not a member of the cluster"
        assert len(snapshot.rings) == 1


def joining_unheard(lab: Lab) -> str:
    """Let the last node join without the others having heard of it yet; its address."""
    rest, last = Lab(len(lab.addresses) - 1), lab.addresses[-1]
    for address in rest.addresses:
        lab.nodes[address] = rest.nodes[address]
    lab.nodes[last].attributes["OperationMode"] = "JOINING"
    return last


def test_a_contact_point_that_nobody_knew_is_a_member_as_soon_as_it_has_joined() -> None:
    """Its clients are served by what it sees, whether its peers have heard of it or not."""
    lab = Lab(4)
    four = joining_unheard(lab)
    with lab.running(ONE, four) as running:
        assert [node.address for node in running.poll().nodes] == [ONE, TWO, THREE]
        assert running.poll().views[-1].reason == "joining, not a member of the cluster"
        lab.nodes[four].attributes["OperationMode"] = "NORMAL"
        seen = running.poll()
        assert [node.address for node in seen.nodes] == lab.addresses
        assert [view.outcome for view in seen.views] == ["ok"] * 4
        assert "membership_disagreement" in {problem.code for problem in seen.problems}


def test_a_contact_point_that_was_silent_is_a_member_as_soon_as_it_answers() -> None:
    """That nobody knows it, and that it did not answer before, is no reason not to ask it."""
    lab = Lab(4)
    four = joining_unheard(lab)
    lab.nodes[four].attributes["OperationMode"] = "NORMAL"
    with lab.running(ONE, four) as running:
        running.cluster.agents[four].raw = unavailable
        assert [node.address for node in running.poll().nodes] == [ONE, TWO, THREE]
        running.cluster.agents[four].raw = None
        assert [node.address for node in running.poll().nodes] == lab.addresses


def test_a_contact_point_that_hangs_and_is_no_member_delays_a_later_poll_little() -> None:
    """An address that leads nowhere any more is given a moment in each poll, not a whole timeout."""
    lab = Lab(4)
    four = joining_unheard(lab)
    with lab.running(ONE, four, timeout=20) as running:
        running.poll()
        running.cluster.agents[four].raw = lambda *_: time.sleep(6)
        started = time.monotonic()
        assert [view.outcome for view in running.poll(20).views] == ["ok"] * 3
        assert time.monotonic() - started < 4


def test_two_names_of_one_node_are_asked_once_in_a_later_poll() -> None:
    """A contact point that led to a member which another one leads to has nothing else to say."""
    lab = Lab()
    with lab.running() as running, Agent(lab.nodes[ONE]) as other:
        collector = JolokiaSource(JolokiaSettings(contact_points=(ONE, other.url), url=running.cluster.template))
        for _ in range(3):
            collector.poll(2.0)
        collector.close()
        asked_at = [len(running.cluster.agents[ONE].payloads), len(other.payloads)]
    assert min(asked_at) == 1  # as it introduced itself


def test_contact_points_that_come_to_be_of_two_clusters_are_refused_at_each_poll() -> None:
    """A contact point that has only begun to start may turn out to be of another cluster of the same name."""
    other_lab = Lab(subnet="127.0.3")
    for node in other_lab.nodes.values():
        ids = node.attributes["EndpointWithPortToHostId"]
        node.attributes["EndpointWithPortToHostId"] = {key: f"other-{value}" for key, value in ids.items()}
        node.attributes["LocalHostId"] = f"other-{node.attributes['LocalHostId']}"
    stranger = other_lab.nodes["127.0.3.1"]
    stranger.attributes["OperationMode"] = "STARTING"
    with Lab().running() as running, Agent(stranger) as other:
        collector = JolokiaSource(JolokiaSettings(contact_points=(ONE, other.url), url=running.cluster.template))
        assert len(collector.poll(2.0).nodes) == 3
        stranger.attributes["OperationMode"] = "NORMAL"
        for _ in range(2):
            with pytest.raises(DataError, match="two clusters, both named 'lab'"):
                collector.poll(2.0)
        collector.close()


def test_a_drained_contact_point_leads_to_the_others() -> None:
    """Whoever answers knows the members; the ring is read from one of them that is usable."""
    lab = Lab()
    lab.nodes[ONE].attributes |= {"OperationMode": "DRAINED", "GossipRunning": False, "NativeTransportRunning": False}
    with lab.running(ONE) as running:
        snapshot = running.poll()
        assert [(view.outcome, view.reason) for view in snapshot.views] == [("discarded", "drained"), OK, OK]
        assert len(snapshot.rings) == 1
        assert not [item for item in running.cluster.agents[ONE].items if item["mbean"] == SNITCH]


# Time.


def test_a_node_that_hangs_costs_only_its_own_slot() -> None:
    """A stopped process delays a poll by one timeout, and everything else is there."""
    lab = Lab()
    lab.down(THREE)
    with lab.running(hanging=(THREE,), timeout=0.5) as running:
        for _ in range(2):
            started = time.monotonic()
            snapshot = running.poll()
            assert 0.4 < time.monotonic() - started < 8  # it hangs for as long as it is asked
            assert [view.outcome for view in snapshot.views] == ["ok", "ok", "unreachable"]
            assert str(snapshot.views[2].reason).endswith("no whole answer within 0.5 s")
            assert len(snapshot.rings) == 1


def test_a_contact_point_that_hangs_does_not_keep_the_others_waiting() -> None:
    """The first usable contact point is enough to begin, and the one that hangs is asked once, not twice."""
    lab = Lab()
    lab.down(ONE)
    with lab.running(ONE, TWO, hanging=(ONE,), timeout=5) as running:
        started = time.monotonic()
        snapshot = running.poll(1.5)
        assert time.monotonic() - started < 8
        assert [view.outcome for view in snapshot.views] == ["unreachable", "ok", "ok"]
        assert len(snapshot.rings) == 1
        assert len(running.cluster.agents[ONE].payloads) == 1


@pytest.mark.slow
def test_a_node_that_hangs_leaves_time_for_the_ring() -> None:
    """With a timeout beyond the poll's own time the first poll still reads the ring, and a later one a changed ring."""
    lab = Lab(keyspaces=TWO_RINGS)
    lab.down(THREE)
    lab.set_all("NonLocalStrategyKeyspaces", ["bills"])
    with lab.running(hanging=(THREE,), timeout=60) as running:
        assert [ring.keyspaces for ring in running.poll(3.0).rings] == [("bills",)]
        lab.set_all("NonLocalStrategyKeyspaces", ["bills", "orders"])
        lab.set_all("SchemaVersion", "new")
        assert [ring.keyspaces for ring in running.poll(3.0).rings] == [("bills",), ("orders",)]


def test_a_poll_ends_at_its_deadline_whatever_hangs() -> None:
    """Not even a cluster of which nothing answers holds a poll longer than it may take."""
    with Lab().running(ONE, TWO, THREE, hanging=(ONE, TWO, THREE), timeout=30) as running:
        started = time.monotonic()
        with pytest.raises(SourceError, match="nobody answered") as caught:
            running.poll(0.5)
        assert time.monotonic() - started < 8
        assert caught.value.kind == "unreachable"


@pytest.mark.parametrize("patient", [False, True])
def test_whose_time_is_over_has_one_reason(patient: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001 - as it is named
    """Whoever sees it first: a reason that holds measured seconds would be another one at each poll."""
    if patient:  # threads that hear of the deadline before the poll does
        monkeypatch.setattr(asking, "wait", lambda asked, _seconds, *how: wait(asked, 10, *how))
    with Lab().running(ONE, TWO, hanging=(ONE, TWO), timeout=30) as running, pytest.raises(SourceError) as caught:
        running.poll(0.4)
    urls = [running.cluster.template.format(address=one) for one in (ONE, TWO)]
    assert str(caught.value) == f"nobody answered: {urls[0]}: no answer in time; {urls[1]}: no answer in time"


# What can't be true.


def test_two_clusters_behind_one_configuration_are_refused() -> None:
    """Contact points of differently named clusters are an error that names both."""
    with Lab().running() as running, Agent(Lab(cluster="other", subnet="127.0.3").nodes["127.0.3.1"]) as other:
        collector = JolokiaSource(JolokiaSettings(contact_points=(ONE, other.url), url=running.cluster.template))
        with pytest.raises(DataError) as caught:
            collector.poll(2.0)
        collector.close()
    assert str(caught.value) == f"two clusters: {ONE} belongs to 'lab', 127.0.0.1 to 'other'"


def test_two_clusters_of_one_name_are_refused() -> None:
    """Everybody's first cluster has the same name: whether nodes know each other is what counts."""
    other_lab = Lab(subnet="127.0.3")
    for node in other_lab.nodes.values():
        ids = node.attributes["EndpointWithPortToHostId"]
        node.attributes["EndpointWithPortToHostId"] = {key: f"other-{value}" for key, value in ids.items()}
        node.attributes["LocalHostId"] = f"other-{node.attributes['LocalHostId']}"
    with Lab().running() as running, Agent(other_lab.nodes["127.0.3.1"]) as other:
        collector = JolokiaSource(JolokiaSettings(contact_points=(ONE, other.url), url=running.cluster.template))
        with pytest.raises(DataError) as caught:
            collector.poll(2.0)
        collector.close()
    assert str(caught.value) == f"two clusters, both named 'lab': {ONE} and 127.0.0.1 do not know each other"


def test_contact_points_that_know_a_common_member_are_of_one_cluster() -> None:
    """Two nodes may lack each other's host ids; that both have a third one's shows that they are of one cluster."""
    lab = Lab()
    for address in (ONE, TWO):
        lab.nodes[address].attributes["EndpointWithPortToHostId"] = {lab.endpoint(THREE): lab.host_id(THREE)}
    with lab.running(ONE, TWO) as running:
        seen = running.poll()
        assert [(node.address, node.host_id) for node in seen.nodes] == [
            (address, lab.host_id(address)) for address in lab.addresses
        ]
        assert [view.outcome for view in seen.views] == ["ok"] * 3


def test_a_host_id_at_two_addresses_is_two_nodes_that_contradict_each_other() -> None:
    """Both are in the snapshot, since both may hold ranges; neither is counted on."""
    lab = Lab()
    ids = {lab.endpoint(ONE): "a", lab.endpoint(TWO): "a", lab.endpoint(THREE): "b"}
    lab.set_all("EndpointWithPortToHostId", ids)
    with lab.running() as running:
        snapshot = running.poll()
    assert [(node.address, node.host_id) for node in snapshot.nodes] == [(ONE, "a"), (TWO, "a"), (THREE, "b")]
    assert evidence_of(snapshot).contradictory == {0, 1}


def test_a_wrong_node_at_an_address_is_not_believed() -> None:
    """An agent that turns out to be of another node is a problem that says so, and its view is discarded."""
    lab = Lab()
    lab.nodes[THREE].attributes["LocalHostId"] = "some-other-node"
    with lab.running() as running:
        for _ in range(2):
            snapshot = running.poll()
            port = running.cluster.agents[ONE].port
            what = f"http://{THREE}:{port}/jolokia is another node: it has host id some-other-node, "
            what += f"not {lab.host_id(THREE)}"
            assert [(problem.code, problem.subject, problem.summary) for problem in snapshot.problems] == [
                ("wrong_node", THREE, what)
            ]
            assert (snapshot.views[2].outcome, snapshot.views[2].reason) == ("discarded", what)
            assert (snapshot.nodes[2].source, snapshot.nodes[2].mode) == ("error", None)
        assert len(asked(running, THREE)) == 2
        assert rings_read(running) == 1


def test_an_agent_of_another_cluster_at_an_address_is_not_believed() -> None:
    """A node that belongs to another cluster is not one of this."""
    lab = Lab()
    lab.nodes[THREE].attributes["ClusterName"] = "staging"
    with lab.running() as running:
        snapshot = running.poll()
        assert [problem.code for problem in snapshot.problems] == ["wrong_node"]
        assert str(snapshot.views[2].reason).endswith("is another node: it belongs to cluster 'staging'")


@pytest.mark.parametrize("name", ["org.apache.cassandra.dht.ByteOrderedPartitioner", "OrderPreservingPartitioner"])
def test_an_order_preserving_partitioner_is_refused(name: str) -> None:
    """Tokens that are keys of any text can't be compared, and no ring is made of them."""
    lab = Lab()
    lab.set_all("PartitionerName", name)
    with lab.running() as running:
        text = error_of(running, DataError)
        simple = name.rpartition(".")[2]
        assert text.startswith(f"partitioner {simple} is not supported (only Murmur3Partitioner, RandomPartitioner)")


# Views.


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"OperationMode": "STARTING"}, "starting"),
        ({"OperationMode": "JOINING"}, "joining"),
        ({"OperationMode": "DRAINING"}, "draining"),
        ({"OperationMode": "DRAINED"}, "drained"),
        ({"OperationMode": "DECOMMISSIONED"}, "decommissioned"),
        ({"OperationMode": "JOINING_FAILED"}, "joining failed"),
        ({"OperationMode": "SOMETHING_NEW"}, "something new"),
        ({"GossipRunning": False}, "gossip is off: its view is frozen"),
        ({"NativeTransportRunning": False}, "native transport is off: it serves no clients"),
        ({"LiveNodesWithPort": [f"{ONE}:7000", f"{TWO}:7000"]}, "it does not list itself as live"),
    ],
)
def test_a_view_that_must_not_be_believed_is_discarded(attributes: dict[str, Any], reason: str) -> None:
    """Only a view of a node that serves clients counts; each other says why it does not."""
    lab = Lab()
    lab.nodes[THREE].attributes |= attributes
    with lab.running() as running:
        assert outcomes(running) == {ONE: OK, TWO: OK, THREE: ("discarded", reason)}
        assert not [item for item in running.cluster.agents[THREE].items if item["mbean"] == SNITCH]


@pytest.mark.parametrize("mode", ["NORMAL", "LEAVING", "MOVING", "DECOMMISSION_FAILED"])
def test_whoever_coordinates_is_believed(mode: str) -> None:
    """A node that leaves or moves serves its clients until it is done: what it sees is what they get."""
    lab = Lab()
    lab.nodes[THREE].attributes["OperationMode"] = mode
    with lab.running() as running:
        assert outcomes(running)[THREE] == OK
        assert running.collector.poll(2.0).nodes[2].mode == mode


@pytest.mark.parametrize("live", [[THREE], [THREE, TWO]])
def test_a_node_that_serves_counts_however_little_it_sees(live: list[str]) -> None:
    """Its clients get what it sees; that others are in neither of its lists is no reason to leave it out."""
    lab = Lab()
    lab.lists(THREE, "LiveNodes", live)
    with lab.running() as running:
        view = running.poll().views[2]
        assert (view.outcome, view.reason, view.live) == ("ok", None, frozenset(live))


def test_a_node_that_sees_all_others_down_is_believed() -> None:
    """A coordinator that is cut off fails its clients' queries, however well the others are."""
    lab = Lab()
    lab.lists(THREE, "LiveNodes", [THREE])
    lab.lists(THREE, "UnreachableNodes", [ONE, TWO])
    with lab.running() as running:
        view = running.poll().views[2]
        assert view.outcome == "ok"
        assert view.live == {THREE}
        assert view.unreachable == frozenset({ONE, TWO})


def test_a_jvm_without_cassandras_mbeans_is_starting() -> None:
    """Jolokia answers first: a node that has registered nothing yet is starting, and says nothing else."""
    lab = Lab()
    with lab.running() as running:
        running.poll()
        running.cluster.agents[THREE].answer = missing_mbean
        snapshot = running.poll()
    assert snapshot.views[2].reason == "starting: StorageService is not registered yet"
    node = snapshot.nodes[2]
    assert (node.source, node.mode, node.release_version, node.datacenter) == ("ok", None, "5.0.8", "dc1")


def test_no_usable_view_is_a_snapshot_without_rings() -> None:
    """If nobody can be believed, the nodes and their reasons are shown, and no ring is."""
    lab = Lab()
    lab.set_all("OperationMode", "DRAINED")
    with lab.running() as running:
        for _ in range(2):
            snapshot = running.poll()
            assert {view.reason for view in snapshot.views} == {"drained"}
            assert (len(snapshot.nodes), snapshot.rings, snapshot.cluster) == (3, (), "lab")
        assert not [item for item in running.cluster.items() if item["mbean"] == SNITCH]


def test_views_that_become_unusable_take_the_rings_away_and_give_them_back() -> None:
    """A known ring is not shown while nobody can be believed, and needs no second reading afterwards."""
    lab = Lab()
    with lab.running() as running:
        rings = running.poll().rings
        lab.set_all("GossipRunning", False)  # noqa: FBT003 - the value of an attribute
        assert running.poll().rings == ()
        lab.set_all("GossipRunning", True)  # noqa: FBT003 - likewise
        assert running.poll().rings is rings


def test_what_a_policy_forbids_is_denied() -> None:
    """A node whose agent forbids what is needed is denied, by name, and the others go on."""
    lab = Lab()
    lab.nodes[THREE].attributes |= {"LiveNodes": denied, "LiveNodesWithPort": denied}
    with lab.running() as running:
        snapshot = running.poll()
        assert snapshot.nodes[2].source == "denied"
        assert snapshot.views[2].outcome == "unreachable"
        bean = "org.apache.cassandra.db:type=StorageService"
        text = f"LiveNodes: the agent refuses: Reading attribute LiveNodes is forbidden for MBean {bean}"
        assert str(snapshot.views[2].reason).endswith(text)


WORDS = "No access from client 10.1.2.3 allowed"
REFUSED = {"error_type": "java.lang.Exception", "error": f"java.lang.Exception : {WORDS}", "status": 403}


def refusing(status: int) -> Any:
    """Refuse every request in Jolokia's words, with this HTTP status."""

    def raw(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        send(handler, json.dumps(REFUSED).encode(), status=status, content_type="text/plain;charset=utf-8")

    return raw


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (200, f"the agent refuses: {WORDS}"),
        (403, f"HTTP 403, access is forbidden: {WORDS}"),
        (401, "HTTP 401, it requires a user name and password"),
    ],
)
def test_an_agent_that_refuses_everything_is_asked_once_a_poll(status: int, message: str) -> None:
    """Its own words are the reason; nothing is asked one by one, neither at the first poll nor at a later one."""
    with Lab().running() as running:
        refuser = running.cluster.agents[THREE]
        refuser.raw = refusing(status)
        for polls in (1, 2):
            seen = running.poll()
            assert (seen.nodes[2].source, seen.views[2].outcome) == ("denied", "unreachable")
            assert seen.views[2].reason == f"{refuser.url}: {message}"
            assert len(refuser.payloads) == polls
        refuser.raw = None
        assert running.poll().views[2].outcome == "ok"
        refuser.raw = refusing(status)
        assert running.poll().nodes[2].source == "denied"
        assert len(refuser.payloads) == 4


@pytest.mark.parametrize("status", [200, 403])
def test_if_all_refuse_their_words_are_the_error(status: int) -> None:
    """One request is enough to know that a contact point refuses, and why."""
    with Lab().running() as running:
        for agent in running.cluster.agents.values():
            agent.raw = refusing(status)
        with pytest.raises(SourceError, match=f"{WORDS}$") as caught:
            running.poll()
        assert caught.value.kind == "denied"
        assert running.cluster.posts == 1


def test_a_refusal_amid_the_ring_ends_the_questions_to_that_node() -> None:
    """An agent that refuses from the first range map on is not asked for the others; the next node is."""
    lab = Lab(keyspaces={f"ks{number}": f"SimpleStrategy {{replication_factor={number}}}" for number in (1, 2, 3)})
    with lab.running() as running:
        agent = running.cluster.agents[ONE]

        def raw(handler: BaseHTTPRequestHandler, body: bytes) -> None:
            if any("getRangeToEndpoint" in str(payload) for payload in agent.payloads):
                refusing(403)(handler, body)
            else:
                agent.raw = None
                agent._serve(handler, body)
                agent.raw = raw

        agent.raw = raw
        assert len(running.poll().rings) == 3
        assert sum("getRangeToEndpoint" in str(payload) for payload in agent.payloads) == 1
        assert "getRangeToEndpoint" in str(agent.payloads[-1])


def test_what_is_not_needed_may_be_forbidden() -> None:
    """A policy without the generation costs one request more once, and then is asked without it."""
    lab = Lab()
    lab.set_all("CurrentGenerationNumber", denied)
    with lab.running() as running:
        assert not running.poll().problems
        posts = running.cluster.posts
        assert [view.outcome for view in running.poll().views] == ["ok"] * 3
        assert running.cluster.posts - posts == 3


def test_where_no_schema_is_told_the_ring_is_read_at_each_poll() -> None:
    """A keyspace that is made between two polls would leave no sign."""
    lab = Lab()
    lab.set_all("SchemaVersion", denied)
    with lab.running() as running:
        assert not running.poll().problems
        lab.set_all("NonLocalStrategyKeyspaces", ["orders", "new"])
        seen = running.poll()
        assert [problem.subject for problem in seen.problems] == ["new"]  # it is there, and has no ring yet
        assert [view.outcome for view in seen.views] == ["ok"] * 3


def test_a_host_id_that_owns_nothing_and_is_live_nowhere_is_nobody() -> None:
    """What is left of a node that is gone makes no member, and no view worse."""
    lab = Lab()
    with lab.running() as running:
        running.poll()
        lab.set_all("SchemaVersion", "new")
        for node in lab.nodes.values():
            for name in ("EndpointToHostId", "EndpointWithPortToHostId"):
                port = ":7000" if "Port" in name else ""
                node.attributes[name] = {**node.attributes[name], f"127.0.2.9{port}": "host-9"}
        for _ in range(2):
            snapshot = running.poll()
            assert snapshot.problems == ()
            assert [node.address for node in snapshot.nodes] == lab.addresses


def test_a_policy_that_knows_only_the_plain_names_is_enough() -> None:
    """An access policy written for an older release still works on 4.0 and newer."""
    lab = Lab()
    for node in lab.nodes.values():
        node.attributes |= {name: denied for name in node.attributes if "WithPort" in name}
    with lab.running() as running:
        snapshot = running.poll()
        assert [view.outcome for view in snapshot.views] == ["ok"] * 3
        assert (len(snapshot.rings), snapshot.problems) == (1, ())


# Places.


def test_an_unknown_datacenter_is_none() -> None:
    """A snitch that never heard of a node says UNKNOWN_DC, which is no datacenter, and is asked again soon."""
    lab = Lab()
    for node in lab.nodes.values():
        node.operations["getDatacenter", f"{THREE}:7000"] = later("UNKNOWN_DC", "dc1")
        node.operations["getRack", f"{THREE}:7000"] = "UNKNOWN_RACK"
    clock = [time.monotonic()]
    with lab.running() as running:
        collector = JolokiaSource(
            JolokiaSettings(contact_points=(ONE,), url=running.cluster.template), clock=lambda: clock[0]
        )
        places = [(node.datacenter, node.rack) for node in collector.poll(5.0).nodes]
        assert places == [("dc1", "r1"), ("dc1", "r2"), (None, None)]
        clock[0] += 61
        assert collector.poll(5.0).nodes[2].datacenter == "dc1"
        collector.close()


@pytest.mark.slow
def test_many_nodes_are_placed_in_bounded_pieces() -> None:
    """An agent answers nobody else meanwhile, so that no bulk is longer than 256 items."""
    with Lab(200).running(without=tuple(Lab(200).addresses[1:]), timeout=5) as running:
        snapshot = running.poll(8.0)
        assert {node.datacenter for node in snapshot.nodes} == {"dc1"}
        sizes = [len(payload) for payload in running.cluster.agents[ONE].payloads if isinstance(payload, list)]
        assert max(sizes) == 256


def test_nodes_that_share_an_address_are_told_apart_by_their_ports() -> None:
    """From 4.0 on several nodes may have one address; only then is the port part of the name."""
    ports = {ONE: "127.0.2.1:7000", TWO: "127.0.2.1:7001", THREE: f"{THREE}:7000"}
    lab = Lab(endpoints=ports)
    with Agent(lab.nodes[ONE]) as one, Agent(lab.nodes[TWO]) as two, Agent(lab.nodes[THREE]) as three:
        collector = JolokiaSource(JolokiaSettings(contact_points=(one.url, two.url, three.url), views="contact_points"))
        snapshot = collector.poll(3.0)
        collector.close()
    assert [node.address for node in snapshot.nodes] == ["127.0.2.1:7000", "127.0.2.1:7001", THREE]
    assert [(view.observer, view.outcome) for view in snapshot.views] == [
        (node.address, "ok") for node in snapshot.nodes
    ]
    assert snapshot.views[0].live == {node.address for node in snapshot.nodes}
    assert {snapshot.rings[0].replicas(index) for index in range(6)} == {(0, 1, 2), (1, 2, 0), (2, 0, 1)}


def test_ipv6_nodes_have_canonical_names() -> None:
    """Java writes IPv6 in full; a node is called by the short form."""
    lab = Lab(1, endpoints={ONE: "[0:0:0:0:0:0:0:1]:7000"})
    lab.nodes[ONE].operations |= {("getDatacenter", "[::1]:7000"): "dc1", ("getRack", "[::1]:7000"): "r1"}
    with Agent(lab.nodes[ONE]) as agent:
        collector = JolokiaSource(JolokiaSettings(contact_points=(agent.url,)))
        snapshot = collector.poll(3.0)
        collector.close()
    assert [(node.address, node.datacenter) for node in snapshot.nodes] == [("::1", "dc1")]
    assert snapshot.views[0].live == {"::1"}


# Rings that can't be used.


def unknown_keyspace(item: dict[str, Any]) -> Any:
    """What an Error looks like: without the request, and in place of a whole bulk."""
    reply = failed(item, 500, "javax.management.RuntimeErrorException", "java.lang.AssertionError: Unknown keyspace")
    return {name: value for name, value in reply.items() if name != "request"}


def problems_of(lab: Lab) -> list[tuple[str, str, str]]:
    """Problems of a poll in which the keyspace `other` must be well."""
    with lab.running() as running:
        snapshot = running.poll()
        assert [ring.keyspaces for ring in snapshot.rings] == [("other",)]
        return [(problem.code, problem.subject, problem.summary) for problem in snapshot.problems]


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        (
            unknown_keyspace,
            "the range map: javax.management.RuntimeErrorException : java.lang.AssertionError: Unknown keyspace",
        ),
        ({}, "the ring has no ranges"),
        ({"[1, 9]": [ONE], "[20, 1]": [ONE]}, "the ring is not whole: "),
        ({"[1, 9]": [ONE], "[5, 12]": [ONE], "[12, 1]": [ONE]}, "the ring is not whole: "),
        ({"[1, 9]": [ONE], "[9, 1]": [ONE]}, "it has 2 ranges, but its nodes own 6 tokens"),
        ({"[1, 9]": ["10.9.9.9:7000"], "[9, 1]": [ONE]}, "10.9.9.9:7000 holds ranges but is not a member"),
        ({"[1, 9]": [ONE, ONE], "[9, 1]": [ONE]}, "a range names the same node twice"),
        ({"[apple, pear]": [ONE]}, "[apple, pear] is not a token range"),
        ({"[1, 9]": "[Object limit exceeded]"}, "the agent's maxObjects cut it off"),
        ("[Object limit exceeded]", "the agent's maxObjects cut it off"),
        (denied, "the range map: the agent refuses: Operation getRangeToEndpointWithPortMap forbidden for MBean"),
        (
            {f"[{2**70}, {2**71}]": [ONE], f"[{2**71}, {2**70}]": [ONE]},
            "it has tokens outside the range of Murmur3Partitioner",
        ),
    ],
)
def test_a_ring_that_can_not_be_read_is_a_problem_of_its_keyspaces(ranges: Any, message: str) -> None:
    """A missing, cut, torn or doubled map names each keyspace that has it; the other keyspaces go on."""
    lab = Lab(keyspaces={
        "orders": "SimpleStrategy {replication_factor=1}",
        "bills": "SimpleStrategy {replication_factor=1}",
        "other": "NetworkTopologyStrategy {dc1=3}",
    })  # fmt: skip
    for node in lab.nodes.values():
        for keyspace in ("orders", "bills"):
            node.operations["getRangeToEndpointWithPortMap", keyspace] = ranges
    found = problems_of(lab)
    assert [(code, subject) for code, subject, _ in found] == [
        ("ring_unreadable", "bills"),
        ("ring_unreadable", "orders"),
    ]
    for _, subject, summary in found:
        assert summary.startswith(f"{subject}: the ring can't be read: ")
        assert message in summary
        assert "\n" not in summary


def test_a_keyspace_that_was_dropped_does_not_take_the_others_with_it() -> None:
    """The ring of a group is read from the next keyspace, if the first is gone meanwhile."""
    lab = Lab(keyspaces=dict.fromkeys(("a", "b"), "SimpleStrategy {replication_factor=3}"))
    lab.nodes[ONE].operations["getRangeToEndpointWithPortMap", "a"] = unknown_keyspace
    with lab.running() as running:
        snapshot = running.poll()
        assert [ring.keyspaces for ring in snapshot.rings] == [("a", "b")]


def test_a_replication_that_is_not_understood_is_a_problem() -> None:
    """A text of another form is not guessed: the keyspace has a ring, no replication, and a problem."""
    lab = Lab(keyspaces={"orders": "SomethingElse"})
    with lab.running() as running:
        snapshot = running.poll()
        assert [(ring.keyspaces, ring.replication) for ring in snapshot.rings] == [(("orders",), None)]
        assert [problem.summary for problem in snapshot.problems] == [
            "orders: the ring can't be judged: replication 'SomethingElse' is not understood"
        ]


def test_a_bulk_that_an_error_turned_into_one_object_is_asked_one_by_one() -> None:
    """One Error in a bulk costs the agent's answers to all; asked singly, the others are there."""
    lab = Lab(keyspaces={"a": "SimpleStrategy {replication_factor=3}", "b": "SimpleStrategy {replication_factor=2}"})
    for node in lab.nodes.values():
        node.operations["getKeyspaceReplicationInfo", "a"] = unknown_keyspace
    with lab.running() as running:
        snapshot = running.poll()
        assert [str(ring.replication) for ring in snapshot.rings] == ["SimpleStrategy {replication_factor=2}", "None"]


def test_a_bulk_that_is_refused_as_a_whole_is_asked_one_by_one() -> None:
    """Newer agents answer HTTP 400 to a bulk with one bad item."""
    lab = Lab()
    with lab.running() as running:
        agent = running.cluster.agents[ONE]

        def refuse(handler: Any, body: bytes) -> None:
            if body.startswith(b"["):
                send(handler, b"400 (Bad Request)", status=400, content_type="text/plain")
            else:
                agent.raw = None
                agent._serve(handler, body)
                agent.raw = refuse

        agent.raw = refuse
        snapshot = running.poll()
        assert (len(snapshot.rings), snapshot.problems) == (1, ())


def test_no_keyspaces_is_a_snapshot_without_rings() -> None:
    """Zero keyspaces make zero rings, which is judged as a gap and never as health."""
    lab = Lab()
    lab.set_all("NonLocalStrategyKeyspaces", [])
    with lab.running() as running:
        snapshot = running.poll()
        assert (snapshot.rings, [view.outcome for view in snapshot.views]) == ((), ["ok"] * 3)


def test_keyspaces_of_releases_without_the_attribute_are_all_but_the_local_ones() -> None:
    """3.1 to 3.5 lack what 3.0.6 has: then all keyspaces but `system` and `system_schema` are taken."""
    lab = Lab(release="3.5.0", keyspaces={"orders": "SimpleStrategy {replication_factor=3}", "system_schema": "x=1"})
    for node in lab.nodes.values():
        del node.attributes["NonLocalStrategyKeyspaces"]
    with lab.running() as running:
        assert [ring.keyspaces for ring in running.poll().rings] == [("orders",)]


def test_if_the_keyspaces_can_not_be_read_from_anyone_the_poll_fails() -> None:
    """Without a list of keyspaces there is no ring to speak of: an error, after others were tried."""
    lab = Lab()
    lab.set_all("NonLocalStrategyKeyspaces", "[Object limit exceeded]")
    with lab.running() as running:
        text = error_of(running, DataError)
        assert text == (
            "NonLocalStrategyKeyspaces is not a list: [Object limit exceeded] (the agent's maxObjects cut it off)"
        )
        assert all("NonLocalStrategyKeyspaces" in asked(running, address) for address in (ONE, TWO, THREE))


def test_if_one_node_can_not_tell_the_ring_another_does() -> None:
    """A contact point whose answers are spoilt does not spoil the poll."""
    lab = Lab()
    lab.nodes[ONE].attributes["NonLocalStrategyKeyspaces"] = 7
    with lab.running() as running:
        assert len(running.poll().rings) == 1


# Answers from both sides of a change.

TWO_RINGS = {"orders": "NetworkTopologyStrategy {dc1=3}", "bills": "NetworkTopologyStrategy {dc1=2}"}
RANGE_MAP, TOKEN_MAP = "getRangeToEndpointWithPortMap", "TokenToEndpointWithPortMap"


def reads_of(running: Running, name: str) -> list[str]:
    """The keyspaces, or empty texts, that a ring's parts were asked for under a name."""
    items = [item for item in running.cluster.items() if name in (item.get("operation"), item.get("attribute"))]
    return [(item.get("arguments") or [""])[0] for item in items]


def without_last(lab: Lab, found: dict[str, Any]) -> dict[str, Any]:
    """The range map as it was before the node with the highest token had joined."""
    tokens = sorted(lab.tokens)[:-1]
    return {
        f"[{tokens[place - 1]}, {end}]": found[key]
        for place, end in enumerate(tokens)
        for key in found
        if key.endswith(f" {end}]")
    }


def alter_before_ranges(lab: Lab) -> None:
    told = lab.nodes[ONE].operations
    told["getKeyspaceReplicationInfo", "orders"] = later("NetworkTopologyStrategy {dc1=1}", TWO_RINGS["orders"])


def ranges_before_alter(lab: Lab) -> None:
    told = lab.nodes[ONE].operations
    told[RANGE_MAP, "orders"] = later(lab.ranges(2, with_port=True), lab.ranges(3, with_port=True))


def join_after_tokens(lab: Lab) -> None:
    told = {str(token): lab.endpoint(owner) for token, owner in lab.tokens.items()}
    lab.nodes[ONE].attributes[TOKEN_MAP] = later(dict(list(told.items())[:-1]), told)


def join_amid_rings(lab: Lab) -> None:
    join_after_tokens(lab)
    ranges = lab.ranges(2, with_port=True)
    lab.nodes[ONE].operations[RANGE_MAP, "bills"] = later(without_last(lab, ranges), ranges)


@pytest.mark.parametrize(
    ("change", "tokens", "ranges"),
    [
        (lambda _: None, 1, ["bills", "orders"]),
        (alter_before_ranges, 2, ["bills", "orders", "orders"]),
        (ranges_before_alter, 2, ["bills", "orders", "orders"]),
        (join_after_tokens, 2, ["bills", "orders"]),  # rings fit the tokens as they are read again
        (join_amid_rings, 2, ["bills", "bills", "orders"]),
    ],
)
def test_what_lies_on_both_sides_of_a_change_is_read_again(change: Any, tokens: int, ranges: list[str]) -> None:
    """Tokens, replication and ranges that do not fit together are read once more, and only the rings that don't fit."""
    lab = Lab(keyspaces=TWO_RINGS)
    change(lab)
    with lab.running() as running:
        seen = running.poll()
        assert seen.problems == ()
        assert {ring.keyspaces: str(ring.replication) for ring in seen.rings} == {
            (name,): replication for name, replication in TWO_RINGS.items()
        }
        assert {ring.keyspaces[0]: (len(ring), ring.width) for ring in seen.rings} == {
            "orders": (6, 3), "bills": (6, 2),
        }  # fmt: skip
        assert [node.tokens for node in seen.nodes] == [2, 2, 2]
        assert len(reads_of(running, TOKEN_MAP)) == tokens
        assert sorted(reads_of(running, RANGE_MAP)) == ranges
        assert not any(one.code == "ring_contradicts_replication" for one in assess(seen, Policy()).findings)
        posts = running.cluster.posts
        running.poll()
        assert running.cluster.posts - posts == 3


def test_a_contradiction_that_stays_is_read_twice_and_told() -> None:
    """Replicas that the replication does not ask for are the core's to judge; a steady poll reads no ring."""
    lab = Lab(keyspaces=TWO_RINGS)
    for node in lab.nodes.values():
        node.operations["getKeyspaceReplicationInfo", "orders"] = "NetworkTopologyStrategy {dc1=1}"
    with lab.running() as running:
        seen = running.poll()
        read = reads_of(running, RANGE_MAP)
        running.poll()
        assert reads_of(running, RANGE_MAP) == read
        assert read.count("orders") == 2 * read.count("bills") == 2 * len(lab.nodes)  # each node twice
    [told] = [one for one in assess(seen, Policy()).findings if one.code == "ring_contradicts_replication"]
    assert told.subject == "orders"


def test_ranges_that_never_fit_the_tokens_are_a_problem_once() -> None:
    """A ring that is as short at the second reading is not used, and its keyspaces are named."""
    lab = Lab(keyspaces=TWO_RINGS)
    short = without_last(lab, lab.ranges(3, with_port=True))
    for node in lab.nodes.values():
        node.operations[RANGE_MAP, "orders"] = short
    with lab.running() as running:
        seen = running.poll()
        assert [ring.keyspaces for ring in seen.rings] == [("bills",)]
        assert [(one.code, one.summary) for one in seen.problems] == [
            ("ring_unreadable", "orders: the ring can't be read: it has 5 ranges, but its nodes own 6 tokens")
        ]


def test_a_source_whose_ring_contradicts_itself_is_not_believed() -> None:
    """The next node's ring, which fits, is judged; the first node's own mistake is no finding about the keyspace."""
    lab = Lab(keyspaces=TWO_RINGS)
    lab.nodes[ONE].operations[RANGE_MAP, "orders"] = without_last(lab, lab.ranges(3, with_port=True))
    with lab.running() as running:
        seen = running.poll()
        assert sorted(name for ring in seen.rings for name in ring.keyspaces) == ["bills", "orders"]
        assert {one.code for one in seen.problems} == set()


# Logins.


@pytest.mark.parametrize(
    ("release", "answer", "authenticates"),
    [
        ("5.0.8", 2000, True),
        ("5.0.8", missing_mbean, False),
        ("5.0.8", denied, True),
        ("3.11.19", missing_mbean, False),
        ("2.2.19", missing_mbean, True),
        ("5.0.8", missing_attribute, True),
    ],
)
def test_whether_clients_log_in_is_found_out(release: str, answer: Any, authenticates: bool) -> None:  # noqa: FBT001 - an expectation
    """The cache of credentials is there exactly with passwords; where that can't be told, they are assumed."""
    lab = Lab(release=release)
    for node in lab.nodes.values():
        node.other[CREDENTIALS, "Validity"] = answer
    with lab.running() as running:
        assert running.poll().authenticates is authenticates
        overridden = JolokiaSource(
            JolokiaSettings(contact_points=(ONE,), url=running.cluster.template), authenticates=not authenticates
        )
        assert overridden.poll(2.0).authenticates is not authenticates
        overridden.close()


@pytest.mark.parametrize(
    ("release", "bean", "answer", "found"),
    [
        ("5.0.8", PROPERTIES, "LOCAL_QUORUM", (True, "LOCAL_QUORUM")),
        ("4.1.9", PROPERTIES, "EACH_QUORUM", (True, "EACH_QUORUM")),
        ("4.1.9", PROPERTIES, "NODE_LOCAL", (True, "NODE_LOCAL")),
        ("4.1.9", PROPERTIES, "x\n\x1b" + "y" * 999, (True, "x ?" + "y" * 197)),
        ("4.1.9", PROPERTIES, 7, (True, None)),
        ("4.1.9", PROPERTIES, denied, (True, None)),
        ("4.1.9", PROPERTIES, missing_attribute, (True, None)),
        ("4.1.9", PROPERTIES, missing_mbean, (False, None)),
        ("4.0.17", PROPERTIES, "LOCAL_QUORUM", (False, None)),
        ("5.0.8", IDENTITIES, 2000, (True, None)),
        ("4.1.9", IDENTITIES, 2000, (False, None)),
    ],
)
def test_other_authenticators_show_in_their_beans(
    release: str, bean: str, answer: Any, found: tuple[bool, str | None]
) -> None:
    """AuthProperties is there with any of them once a role was read, and says at which level; IdentitiesCache too."""
    lab = Lab(release=release)
    for node in lab.nodes.values():
        node.other[bean, "ReadConsistencyLevel" if bean == PROPERTIES else "Validity"] = answer
    with lab.running() as running:
        seen = running.poll()
        assert (seen.authenticates, seen.auth_read_level) == found
        assert running.poll().auth_read_level == found[1]


# Streams.


def streams_of(running: Running) -> list[int | None]:
    return [node.streams for node in running.collector.poll(4.0, streams=True).nodes]


def test_streams_cost_a_request_a_node_and_only_where_they_are_asked_for() -> None:
    """The steady poll does not ask; the gate's asks each node that answered for the beginning of its list."""
    lab = Lab()
    lab.nodes[ONE].other[STREAM_MANAGER, "CurrentStreams"] = [{"planId": "a"}, {"planId": "b"}]
    lab.nodes[TWO].other[STREAM_MANAGER, "CurrentStreams"] = []
    lab.down(THREE)
    with lab.running(without=(THREE,)) as running:
        assert [node.streams for node in running.poll().nodes] == [None, None, None]
        before = running.cluster.posts
        assert streams_of(running) == [2, 0, None]
        assert running.cluster.posts - before == 2 * 2
        assert [node.streams for node in running.poll().nodes] == [None, None, None]
        assert running.cluster.posts - before == 3 * 2
        items = [one for one in running.cluster.items() if one.get("attribute") == "CurrentStreams"]
        assert [one["config"]["maxCollectionSize"] for one in items] == [2, 2]


@pytest.mark.parametrize("answer", [missing_mbean, denied, "text", {"a": 1}, None])
def test_streams_that_can_not_be_read_are_not_known_and_take_nothing_else_away(answer: Any) -> None:
    """A policy of an older release denies them: the view is used all the same."""
    lab = Lab()
    for address in lab.addresses:
        lab.nodes[address].other[STREAM_MANAGER, "CurrentStreams"] = []
    lab.nodes[TWO].other[STREAM_MANAGER, "CurrentStreams"] = answer
    with lab.running() as running:
        seen = running.collector.poll(4.0, streams=True)
        assert [node.streams for node in seen.nodes] == [0, None, 0]
        assert {(view.outcome, view.reason) for view in seen.views} == {OK}
        assert seen.problems == ()


@pytest.mark.slow
def test_a_node_that_hangs_leaves_time_for_the_streams_of_the_others() -> None:
    """The first poll of a process waits for it too, which is the gate's on the command line."""
    lab = Lab()
    for address in lab.addresses:
        lab.nodes[address].other[STREAM_MANAGER, "CurrentStreams"] = []
    with lab.running(hanging=(THREE,), timeout=60.0) as running:
        seen = running.collector.poll(8.0, streams=True)
        assert [node.streams for node in seen.nodes] == [0, 0, None]
        assert len(running.cluster.agents[THREE].payloads) == 1


@pytest.mark.slow
def test_a_node_that_is_slow_to_list_its_streams_does_not_hold_up_the_poll() -> None:
    """What is not there in time is not known; nobody asks that node a second thing meanwhile."""
    lab = Lab()
    for address in lab.addresses:
        lab.nodes[address].other[STREAM_MANAGER, "CurrentStreams"] = []
    hanging = Event()
    lab.nodes[TWO].other[STREAM_MANAGER, "CurrentStreams"] = lambda item: hanging.wait(60) and ok(item, [])
    with lab.running(timeout=30.0) as running:
        running.poll()
        try:
            assert [node.streams for node in running.collector.poll(4.0, streams=True).nodes] == [0, None, 0]
            again = running.poll(2.0).views[1]  # the request may just have been given up
            assert again.outcome == "ok" or "earlier request is still not answered" in (again.reason or "")
        finally:
            hanging.set()


# Change.


def rings_read(running: Running) -> int:
    """How often range maps were asked for."""
    return sum("getRangeToEndpoint" in str(item.get("operation")) for item in running.cluster.items())


def test_the_ring_is_read_again_when_the_schema_changes() -> None:
    """A keyspace that is created or altered changes the schema, and is seen at the next poll."""
    lab = Lab(keyspaces={"a": "SimpleStrategy {replication_factor=3}", "b": "SimpleStrategy {replication_factor=2}"})
    lab.set_all("NonLocalStrategyKeyspaces", ["a"])
    with lab.running() as running:
        assert len(running.poll().rings) == 1
        lab.set_all("NonLocalStrategyKeyspaces", ["a", "b"])
        assert len(running.poll().rings) == 1
        lab.set_all("SchemaVersion", "new")
        assert len(running.poll().rings) == 2
        assert rings_read(running) == 3


@pytest.mark.parametrize("name", ["CurrentGenerationNumber"])
def test_the_ring_is_read_again_after_a_restart(name: str) -> None:
    """A node that was restarted may have another rack, release or token."""
    lab = Lab()
    with lab.running() as running:
        running.poll()
        lab.nodes[THREE].attributes[name] += 100
        lab.nodes[ONE].operations["getRack", f"{THREE}:7000"] = "r9"
        assert running.poll().nodes[2].rack == "r9"
        running.poll()
        assert rings_read(running) == 2


def test_silence_does_not_make_the_ring_be_read_again() -> None:
    """A node that goes down changes its state, not the ring; when it is back unchanged, nothing is read either."""
    lab = Lab()
    with lab.running() as running:
        running.poll()
        lab.down(THREE)
        running.cluster.agents[THREE].raw = unavailable
        assert [view.outcome for view in running.poll().views] == ["ok", "ok", "unreachable"]
        lab.down()
        running.cluster.agents[THREE].raw = None
        assert [view.outcome for view in running.poll().views] == ["ok"] * 3
        assert rings_read(running) == 1


def test_the_ring_is_read_again_when_asked_to_and_when_it_is_old() -> None:
    """What no sign betrays is found after an hour, or when the caller wants it."""
    clock = [time.monotonic()]
    with Lab().running() as running:
        collector = JolokiaSource(
            JolokiaSettings(contact_points=(ONE,), url=running.cluster.template), clock=lambda: clock[0]
        )
        for seconds, expected in ((0, 1), (3500, 1), (200, 2)):
            clock[0] += seconds
            collector.poll(5.0)
            assert rings_read(running) == expected
        collector.forget_topology()
        collector.poll(5.0)
        assert rings_read(running) == 3
        collector.close()


def test_a_node_that_joins_is_seen_with_its_pending_ranges() -> None:
    """A joiner is a node without tokens, its pending ranges are read at each poll until it is through."""
    lab, four = Lab(4), "127.0.2.4"
    settled = Lab(3)
    moving = {f"[{-(2**62)}, 7]": [f"{four}:7000"]}
    for address in lab.addresses:
        lab.lists(address, "JoiningNodes", [four])
        lab.nodes[address].operations["getRangeToEndpointWithPortMap", "orders"] = settled.ranges(3, with_port=True)
        tokens = {str(token): f"{owner}:7000" for token, owner in settled.tokens.items()}
        lab.nodes[address].attributes["TokenToEndpointWithPortMap"] = tokens | {"7": f"{four}:7000"}
        lab.nodes[address].operations["getPendingRangeToEndpointWithPortMap", "orders"] = later({}, moving, {})
    lab.nodes[four].attributes |= {"OperationMode": "JOINING", "NativeTransportRunning": False}
    with lab.running() as running:
        first, second, third = running.poll(), running.poll(), running.poll()
        assert rings_read(running) == 1
    assert [node.tokens for node in first.nodes] == [2, 2, 2, 0]
    assert [snapshot.rings[0].pending for snapshot in (first, third)] == [(), ()]
    assert second.rings[0].pending == (Pending(-(2**62), 7, (3,)),)
    assert second.rings[0].table is first.rings[0].table
    assert [view.reason for view in second.views] == [None, None, None, "joining"]


def test_pending_ranges_that_can_not_be_read_are_a_problem() -> None:
    """While something moves, a ring without its pending ranges is not whole."""
    lab = Lab()
    for address in lab.addresses:
        lab.lists(address, "LeavingNodes", [THREE])
        lab.nodes[address].operations["getPendingRangeToEndpointWithPortMap", "orders"] = denied
    with lab.running() as running:
        for _ in range(2):
            assert [problem.code for problem in running.poll().problems][-1] == "ring_unreadable"


def test_a_node_that_only_others_have_heard_of_is_there() -> None:
    """Gossip reaches nodes at different times: whom any of them lists is part of the snapshot, without tokens."""
    lab, four = Lab(), "127.0.2.4"
    lab.lists(TWO, "LiveNodes", [*lab.addresses, four])
    with lab.running() as running:
        snapshot = running.poll()
        node = snapshot.nodes[3]
        assert (node.address, node.host_id, node.tokens, node.source) == (four, None, 0, "unreachable")
        assert [view.outcome for view in snapshot.views] == [*["ok"] * 3, "unreachable"]
        assert {view.live - set(Lab(4).addresses) for view in snapshot.views} == {frozenset()}
        assert snapshot.rings[0].filler == 4


def test_a_node_that_has_left_is_forgotten_by_the_views_of_the_others() -> None:
    """Peers drop a node from both lists while it still lists itself: that is no reason to believe nobody."""
    lab = Lab(4)
    four = lab.addresses[3]
    with lab.running() as running:
        running.poll()
        rest = Lab(3)
        for address in rest.addresses:
            running.cluster.agents[address].answer = rest.nodes[address]
        lab.nodes[four].attributes["OperationMode"] = "LEAVING"
        assert [node.address for node in running.poll().nodes] == lab.addresses  # it owns tokens by its own word
        lab.nodes[four].attributes["OperationMode"] = "DECOMMISSIONED"
        snapshot = running.poll()
        assert [node.address for node in snapshot.nodes] == [ONE, TWO, THREE]
        assert [view.outcome for view in snapshot.views] == ["ok"] * 3


def test_who_is_nothing_but_unreachable_is_no_member() -> None:
    """A node that has left reappears as unreachable on 5.0, for days: it is not counted as down."""
    lab = Lab()
    for address in lab.addresses:
        lab.lists(address, "UnreachableNodes", ["127.0.2.9"])
    with lab.running() as running:
        snapshot = running.poll()
        assert [node.address for node in snapshot.nodes] == [ONE, TWO, THREE]
        assert [view.outcome for view in snapshot.views] == ["ok"] * 3


def test_a_ring_that_can_not_be_read_again_is_said_to_be_old() -> None:
    """The old ring is shown with a problem, and the next poll tries again."""
    lab = Lab()
    with lab.running() as running:
        running.poll()
        lab.set_all("SchemaVersion", "new")
        keyspaces = lab.nodes[ONE].attributes["NonLocalStrategyKeyspaces"]
        lab.set_all("NonLocalStrategyKeyspaces", 7)
        snapshot = running.poll()
        assert [(problem.code, problem.subject, problem.summary) for problem in snapshot.problems] == [
            (
                "topology_stale",
                "lab",
                "the ring may have changed but can't be read again: NonLocalStrategyKeyspaces is not a list: 7",
            )
        ]
        assert len(snapshot.rings) == 1
        lab.set_all("NonLocalStrategyKeyspaces", keyspaces)
        assert running.poll().problems == ()


def test_a_node_that_was_replaced_at_its_address_is_the_new_one() -> None:
    """Another host id at an address is a wrong node, until the members are read again, which it causes."""
    lab = Lab()
    with lab.running() as running:
        running.poll()
        for node in lab.nodes.values():
            ids = node.attributes["EndpointWithPortToHostId"]
            node.attributes["EndpointWithPortToHostId"] = ids | {f"{THREE}:7000": "new"}
            node.attributes["SchemaVersion"] = "new"
        lab.nodes[THREE].attributes["LocalHostId"] = "new"
        snapshot = running.poll()
        assert (snapshot.nodes[2].host_id, snapshot.problems) == ("new", ())


def test_releases_of_nodes_that_do_not_answer_come_from_gossip() -> None:
    """AllEndpointStates is read once, when the release of a member is not known otherwise."""
    lab = Lab()
    lab.down(THREE)
    states = "".join(f"/{address}:7000\n  RELEASE_VERSION:5:5.0.8\n" for address in lab.addresses)
    for node in lab.nodes.values():
        node.other[FAILURE_DETECTOR, "AllEndpointStatesWithPort"] = states
    with lab.running(without=(THREE,)) as running:
        assert running.poll().nodes[2].release_version == "5.0.8"
        assert running.poll().nodes[2].release_version == "5.0.8"
        assert sum(item.get("attribute") == "AllEndpointStatesWithPort" for item in running.cluster.items()) == 1


@pytest.mark.parametrize(
    ("release", "line", "known"),
    [
        ("3.0.8", "RELEASE_VERSION:3.0.8", "3.0.8"),
        ("2.1.22", "RELEASE_VERSION:2.1.22", "2.1.22"),
        ("3.11.19", "RELEASE_VERSION:5:3.11.19", "3.11.19"),
        ("3.11.19", "RELEASE_VERSION", None),
        ("3.11.19", "RELEASE_VERSION:5:?", None),
    ],
)
def test_a_release_that_gossip_does_not_show_stays_unknown(release: str, line: str, known: str | None) -> None:
    """A dead node's release is read in both forms of the text; one that can't be read does not spoil the poll."""
    lab = Lab(release=release)
    lab.down(THREE)
    for node in lab.nodes.values():
        node.other[FAILURE_DETECTOR, "AllEndpointStates"] = "".join(f"/{one}\n  {line}\n" for one in lab.addresses)
    with lab.running(without=(THREE,)) as running:
        seen = running.poll()
    assert seen.nodes[2].release_version == known
    assert [(view.outcome, view.observer) for view in seen.views[:2]] == [("ok", ONE), ("ok", TWO)]


def test_a_closed_collector_ends_its_threads() -> None:
    """Nothing that a collector started keeps a process from ending."""
    with Lab().running() as running:
        running.poll()
        by_threads = running.collector._session.asking
        assert isinstance(by_threads, ByThreads)
        threads = list(by_threads._workers._threads)
        assert threads
        assert all(thread.daemon for thread in threads)
        running.collector.close()
        for thread in threads:
            thread.join(2)
            assert not thread.is_alive()


def test_an_answer_of_one_node_can_be_anything() -> None:
    """A node that answers nonsense is an error of its own, in one line; the others are as they are."""
    lab = Lab()
    with cluster({ONE: lab.nodes[ONE], TWO: lab.nodes[TWO], THREE: lambda item: ok(item, [7])}) as running:
        collector = JolokiaSource(JolokiaSettings(contact_points=(ONE,), url=running.template))
        snapshot = collector.poll(2.0)
        collector.close()
    assert [node.source for node in snapshot.nodes] == ["ok", "ok", "error"]
    assert snapshot.views[2].outcome == "unreachable"
    assert "\n" not in str(snapshot.views[2].reason)


def test_the_ring_is_not_told_by_a_node_that_is_behind() -> None:
    """A contact point whose gossip is dead knows the members of yesterday: what most know is what counts."""
    lab, old = Lab(4), Lab(3)
    lab.nodes[ONE] = old.nodes[ONE]
    with lab.running(ONE) as running:
        for _ in range(2):
            snapshot = running.poll()
            assert [node.address for node in snapshot.nodes] == lab.addresses
            assert [node.tokens for node in snapshot.nodes] == [2] * 4
            assert len(snapshot.rings[0]) == 8
            four = lab.addresses[3]
            assert [view.outcome for view in snapshot.views] == ["ok"] * 4
            assert [problem.summary for problem in snapshot.problems] == [f"{ONE} does not know {four} as a member"]


def test_a_ring_without_a_node_that_is_through_is_behind() -> None:
    """A NORMAL node of which whoever tells the ring knows no tokens is a gap, not a node without ranges."""
    lab, four = Lab(4), "127.0.2.4"
    rest = Lab(3)
    for address in rest.addresses:
        lab.nodes[address] = rest.nodes[address]
        lab.lists(address, "LiveNodes", [*rest.addresses, four])
    with lab.running(ONE) as running:
        running.poll()
        codes = [(problem.code, problem.subject) for problem in running.poll().problems]
        assert codes == [("ring_behind", four)]


def forgetting(lab: Lab, *forgetful: str) -> None:
    """Let nodes know the last one by host id and as unreachable, but none of its tokens."""
    lab.down(lab.addresses[-1])
    for node in lab.nodes.values():
        for suffix in ("", "WithPort"):
            owners = node.attributes[f"TokenToEndpoint{suffix}Map"].values()
            node.attributes[f"Ownership{suffix}"] = dict.fromkeys(owners, 0.25)
    rest = Lab(len(lab.addresses) - 1)
    for address in forgetful:
        node, other = lab.nodes[address], rest.nodes[address]
        for suffix in ("", "WithPort"):
            owners = other.attributes[f"TokenToEndpoint{suffix}Map"]
            node.attributes[f"TokenToEndpoint{suffix}Map"] = owners
            node.attributes[f"Ownership{suffix}"] = dict.fromkeys(owners.values(), 0.25)
        node.operations.update(other.operations)


@pytest.mark.parametrize("forgetful", [[ONE], [ONE, TWO]])
def test_the_ring_is_read_from_a_node_that_has_the_tokens_of_all_owners(forgetful: list[str]) -> None:
    """A dead node's ranges are lost also where most nodes have forgotten its tokens: one coordinator uses them."""
    lab = Lab(4)
    forgetting(lab, *forgetful)
    with lab.running(ONE, without=(lab.addresses[3],)) as running:
        seen = running.poll()
        assert [node.tokens for node in seen.nodes] == [2] * 4
        assert [len(ring) for ring in seen.rings] == [8]
        assert "ring_behind" not in {one.code for one in seen.problems}


def test_an_isolated_node_is_found_that_most_know_by_its_old_address() -> None:
    """Nobody reaches it, and one node alone knows where it is; it serves clients, and what it sees counts."""
    lab, old = Lab(4), "127.0.2.9"
    four = lab.addresses[3]
    lab.down(four)
    lab.lists(four, "LiveNodes", [four])
    lab.lists(four, "UnreachableNodes", lab.addresses[:3])
    for address in (ONE, TWO):
        node = lab.nodes[address]
        node.attributes = json.loads(json.dumps(node.attributes).replace(four, old))
        node.operations = {
            tuple(part.replace(four, old) for part in name): json.loads(json.dumps(value).replace(four, old))
            for name, value in node.operations.items()
        }
    with lab.running(ONE) as running:
        for _ in range(2):
            seen = running.poll()
            assert [node.address for node in seen.nodes] == lab.addresses
            assert [view.outcome for view in seen.views] == ["ok"] * 4
    assert {one.code for one in assess(seen, Policy()).findings} >= {"unavailable", "gossip_dead"}


@pytest.mark.parametrize("placed", [False, True], ids=["gossiping snitch", "snitch that places any address"])
def test_the_ring_has_the_tokens_of_an_owner_that_most_do_not_know(*, placed: bool) -> None:
    """One node alone knows a dead owner, and its clients lose what that held; the majority's ring lacks it."""
    lab, rest = Lab(4), Lab(3)
    forgetting(lab)
    for address in (ONE, TWO):
        lab.nodes[address] = rest.nodes[address]
        if placed:
            lab.nodes[address].operations["getDatacenter", lab.endpoint(lab.addresses[3])] = "dc1"
    with lab.running(ONE, without=(lab.addresses[3],)) as running:
        seen = running.poll()
        assert [node.tokens for node in seen.nodes] == [2] * 4
        assert [len(ring) for ring in seen.rings] == [8]
        assert "membership_disagreement" in {one.code for one in seen.problems}


def test_a_ring_without_the_tokens_of_a_dead_owner_is_behind() -> None:
    """If nobody who has them can tell the ring, the ring is no evidence that nothing is lost."""
    lab = Lab(4)
    forgetting(lab, ONE, TWO)
    lab.nodes[THREE].operations.clear()
    with lab.running(ONE, without=(lab.addresses[3],)) as running:
        assert ("ring_behind", lab.addresses[3]) in {(one.code, one.subject) for one in running.poll().problems}


def test_a_ring_in_which_an_owner_still_joins_is_behind() -> None:
    """A node that has joined by its own word and others' holds ranges that a ring of before lacks."""
    lab, rest = Lab(), Lab(2)
    for address in lab.addresses:
        owners = lab.addresses if address != ONE else rest.addresses
        for suffix in ("", "WithPort"):
            names = [lab.endpoint(one) if suffix else one for one in owners]
            lab.nodes[address].attributes[f"Ownership{suffix}"] = dict.fromkeys(names, 0.5)
        if address != ONE:
            lab.nodes[address].operations.clear()
    lab.lists(ONE, "JoiningNodes", [THREE])
    lab.nodes[ONE].operations["getRangeToEndpointWithPortMap", "orders"] = rest.ranges(2, with_port=True)
    with lab.running(ONE) as running:
        for _ in range(2):
            assert ("ring_behind", THREE) in {(one.code, one.subject) for one in running.poll().problems}


def swapping(lab: Lab, address: str) -> None:
    """Let a node learn that the last two nodes have swapped their addresses, once it was asked for the members."""
    node, last = lab.nodes[address], lab.addresses[-2:]
    ids = dict(node.attributes["EndpointWithPortToHostId"])
    swapped = ids | {lab.endpoint(one): lab.host_id(other) for one, other in zip(last, last[::-1], strict=True)}
    node.attributes["EndpointWithPortToHostId"] = later(ids, swapped)


def test_a_ring_whose_members_swapped_addresses_meanwhile_is_read_from_another_node() -> None:
    """By its first answer an endpoint was one node's, by its ranges it is another's: they would be mixed up."""
    lab = Lab()
    swapping(lab, ONE)
    with lab.running(ONE) as running:
        assert len(running.poll().rings[0]) == 6
        assert "getRangeToEndpointWithPortMap" in asked(running, ONE)
        assert "getRangeToEndpointWithPortMap" in asked(running, TWO)


def test_a_host_id_that_is_lost_while_the_ring_is_read_is_no_reason_not_to_use_it() -> None:
    """An endpoint whose host id a node forgets means the same node as before."""
    lab = Lab()
    for node in lab.nodes.values():
        ids = node.attributes["EndpointWithPortToHostId"]
        node.attributes["EndpointWithPortToHostId"] = later(ids, {key: ids[key] for key in list(ids)[:2]})
    with lab.running(ONE) as running:
        assert len(running.poll().rings[0]) == 6
        assert "getRangeToEndpointWithPortMap" not in asked(running, TWO)


def test_a_ring_that_nobody_told_by_the_same_endpoints_is_not_used() -> None:
    """If addresses change for all who are asked while they tell the ring, there is no verdict, until the next poll."""
    lab = Lab()
    for address in lab.addresses:
        swapping(lab, address)
    with lab.running(*lab.addresses) as running:
        assert error_of(running, DataError) == "the endpoints of members changed while the ring was read"
        assert len(running.poll().rings[0]) == 6


def test_pending_ranges_whose_members_swapped_addresses_meanwhile_are_a_problem() -> None:
    """While a node leaves, pending ranges are read at each poll: with endpoints that mean the same before and after."""
    lab = Lab()
    for address in lab.addresses:
        lab.lists(address, "LeavingNodes", [THREE])
    with lab.running() as running:
        assert not running.poll().problems
        for address in lab.addresses:
            swapping(lab, address)
        codes = [problem.code for problem in running.poll().problems]
        assert codes == ["pending_unreadable"]


def test_a_joining_node_of_unknown_datacenter_is_a_problem() -> None:
    """Whose writes must wait for a joiner depends on where it is."""
    lab, four = Lab(4), "127.0.2.4"
    for address in lab.addresses:
        lab.lists(address, "JoiningNodes", [four])
        lab.nodes[address].operations["getDatacenter", f"{four}:7000"] = "UNKNOWN_DC"
    with lab.running(ONE) as running:
        found = [(problem.code, problem.subject) for problem in running.poll().problems]
        assert ("unknown_datacenter", four) in found


def test_no_contact_point_is_an_error_of_the_configuration() -> None:
    """A cluster without any address to ask is refused before anything is asked."""
    with pytest.raises(ConfigError, match="there is no contact point to ask"):
        JolokiaSource(JolokiaSettings(contact_points=()))


def test_sets_of_nodes_are_shared_and_their_number_is_bounded() -> None:
    """A cluster that flaps for months does not fill the memory with what it once looked like."""
    lab = Lab()
    with lab.running() as running:
        running.poll()
        shared = running.collector._session.shared
        for number in range(300):
            shared.sets[frozenset({str(number)})] = frozenset()
        running.poll()
        assert len(shared.sets) < 10
