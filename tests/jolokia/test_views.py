"""Views of polled nodes: which of them count, and what happens if an agent refuses requests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.errors import SourceError
from tests.fake_jolokia import denied, missing_mbean, send
from tests.jolokia.scripted import (
    OK,
    ONE,
    SNITCH,
    THREE,
    TWO,
    Lab,
    poll_outcomes,
)

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler


@pytest.mark.slow
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
def test_a_view_that_does_not_count_is_discarded(attributes: dict[str, Any], reason: str) -> None:
    """Only the view of a node that serves clients counts; any other has a reason."""
    lab = Lab()
    lab.nodes[THREE].attributes |= attributes
    with lab.running() as running:
        assert poll_outcomes(running) == {ONE: OK, TWO: OK, THREE: ("discarded", reason)}
        assert not [item for item in running.cluster.agents[THREE].items if item["mbean"] == SNITCH]


@pytest.mark.parametrize("mode", ["NORMAL", "LEAVING", "MOVING", "DECOMMISSION_FAILED", "MOVE_FAILED"])
def test_the_view_of_every_coordinator_counts(mode: str) -> None:
    """A node that leaves or moves serves its clients by its own view until it has finished."""
    lab = Lab()
    lab.nodes[THREE].attributes["OperationMode"] = mode
    with lab.running() as running:
        assert poll_outcomes(running)[THREE] == OK
        assert running.source.poll(2.0).nodes[2].mode == mode


@pytest.mark.parametrize("live", [[THREE], [THREE, TWO]])
def test_the_view_of_a_serving_node_counts_however_little_it_sees(live: list[str]) -> None:
    """Its clients are served by what it sees, even if other nodes are in neither of its lists."""
    lab = Lab()
    lab.lists(THREE, "LiveNodes", live)
    with lab.running() as running:
        view = running.poll().views[2]
        assert (view.outcome, view.reason, view.live) == ("ok", None, frozenset(live))


def test_the_view_of_a_node_that_sees_all_others_down_counts() -> None:
    """A coordinator that is cut off fails its clients' queries, however healthy the other nodes are."""
    lab = Lab()
    lab.lists(THREE, "LiveNodes", [THREE])
    lab.lists(THREE, "UnreachableNodes", [ONE, TWO])
    with lab.running() as running:
        view = running.poll().views[2]
        assert view.outcome == "ok"
        assert view.live == {THREE}
        assert view.unreachable == frozenset({ONE, TWO})


def test_a_jvm_without_cassandras_mbeans_is_starting() -> None:
    """Jolokia answers before Cassandra has registered its MBeans: the node is starting."""
    lab = Lab()
    with lab.running() as running:
        running.poll()
        running.cluster.agents[THREE].answer = missing_mbean
        snapshot = running.poll()
    assert snapshot.views[2].reason == "starting: StorageService is not registered yet"
    node = snapshot.nodes[2]
    assert (node.source, node.mode, node.release_version, node.datacenter) == ("ok", None, "5.0.8", "dc1")


def test_a_snapshot_without_a_usable_view_has_no_rings() -> None:
    """The nodes, and the reasons why their views do not count, are still shown."""
    lab = Lab()
    lab.set_all("OperationMode", "DRAINED")
    with lab.running() as running:
        for _ in range(2):
            snapshot = running.poll()
            assert {view.reason for view in snapshot.views} == {"drained"}
            assert (len(snapshot.nodes), snapshot.rings, snapshot.cluster) == (3, (), "lab")
        assert not [item for item in running.cluster.items() if item["mbean"] == SNITCH]


def test_rings_are_hidden_while_no_view_is_usable() -> None:
    """They reappear without being read again."""
    lab = Lab()
    with lab.running() as running:
        rings = running.poll().rings
        lab.set_all("GossipRunning", False)  # noqa: FBT003 - the value of an attribute
        assert running.poll().rings == ()
        lab.set_all("GossipRunning", True)  # noqa: FBT003 - likewise
        assert running.poll().rings is rings


# Refusals.


def test_a_node_whose_policy_forbids_what_is_needed_is_denied() -> None:
    """The reason names the attribute, and the other nodes are not affected."""
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
    """A handler that refuses every request with Jolokia's text and an HTTP status."""

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
def test_an_agent_that_refuses_everything_gets_one_request_a_poll(status: int, message: str) -> None:
    """Its own text is the reason. Requests are not repeated one by one, neither in the first poll nor later."""
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
        asked = len(refuser.payloads)
        assert running.poll().nodes[2].source == "denied"
        assert len(refuser.payloads) == asked + 1


@pytest.mark.parametrize("status", [200, 403])
def test_if_all_agents_refuse_the_error_has_their_text(status: int) -> None:
    """One request shows that a contact point refuses, and why."""
    with Lab().running() as running:
        for agent in running.cluster.agents.values():
            agent.raw = refusing(status)
        with pytest.raises(SourceError, match=f"{WORDS}$") as caught:
            running.poll()
        assert caught.value.kind == "denied"
        assert running.cluster.posts == 1


def test_an_agent_that_begins_to_refuse_while_the_ring_is_read_gets_no_more_requests() -> None:
    """Once it has refused a first range map, the others are read from the next node."""
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


def test_the_generation_may_be_forbidden() -> None:
    """A policy that forbids it costs one additional request once; later requests leave it out."""
    lab = Lab()
    lab.set_all("CurrentGenerationNumber", denied)
    with lab.running() as running:
        assert not running.poll().problems
        posts = running.cluster.posts
        assert [view.outcome for view in running.poll().views] == ["ok"] * 3
        assert running.cluster.posts - posts == 3
