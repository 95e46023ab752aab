"""The members of a polled cluster: their identity, their names, and nodes that only some of the others know."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from ringcheck.core.assess import assess
from ringcheck.core.evidence import evidence_of
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.policy import Policy
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.jolokia.source import JolokiaSource
from tests.fake_jolokia import Agent, Storage
from tests.jolokia.scripted import (
    ONE,
    THREE,
    TWO,
    Lab,
    later,
    rings_read,
)

# Identity.


def test_a_host_id_at_two_addresses_makes_two_contradictory_nodes() -> None:
    """Both are in the snapshot, since both may own ranges; neither counts as up."""
    lab = Lab()
    ids = {lab.endpoint(ONE): "a", lab.endpoint(TWO): "a", lab.endpoint(THREE): "b"}
    lab.set_all("EndpointWithPortToHostId", ids)
    with lab.running() as running:
        snapshot = running.poll()
    assert [(node.address, node.host_id) for node in snapshot.nodes] == [(ONE, "a"), (TWO, "a"), (THREE, "b")]
    assert evidence_of(snapshot).contradictory == {0, 1}


def test_an_agent_of_another_node_is_not_believed() -> None:
    """A problem names the agent, and the view is discarded."""
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
        assert len(running.cluster.agents[THREE].payloads) == 2
        assert rings_read(running) == 1


def test_an_agent_of_another_cluster_is_not_believed() -> None:
    """An agent of another cluster counts as a wrong node too."""
    lab = Lab()
    lab.nodes[THREE].attributes["ClusterName"] = "staging"
    with lab.running() as running:
        snapshot = running.poll()
        assert [problem.code for problem in snapshot.problems] == ["wrong_node"]
        assert str(snapshot.views[2].reason).endswith("is another node: it belongs to cluster 'staging'")


def test_a_new_host_id_at_an_address_is_the_new_node() -> None:
    """It is a wrong node until the members are read again, which it triggers."""
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


# Names and locations.


def test_an_unknown_datacenter_is_none() -> None:
    """A snitch answers UNKNOWN_DC for a node that it does not know; it is asked again soon."""
    lab = Lab()
    for node in lab.nodes.values():
        node.operations["getDatacenter", f"{THREE}:7000"] = later("UNKNOWN_DC", "dc1")
        node.operations["getRack", f"{THREE}:7000"] = "UNKNOWN_RACK"
    clock = [time.monotonic()]
    with lab.running() as running:
        source = JolokiaSource(
            JolokiaSettings(contact_points=(ONE,), url=running.cluster.template), clock=lambda: clock[0]
        )
        places = [(node.datacenter, node.rack) for node in source.poll(5.0).nodes]
        assert places == [("dc1", "r1"), ("dc1", "r2"), (None, None)]
        clock[0] += 61
        assert source.poll(5.0).nodes[2].datacenter == "dc1"
        source.close()


def test_a_joining_node_of_unknown_datacenter_is_a_problem() -> None:
    """Its datacenter decides which writes must wait for it."""
    lab, four = Lab(4), "127.0.2.4"
    for address in lab.addresses:
        lab.lists(address, "JoiningNodes", [four])
        lab.nodes[address].operations["getDatacenter", f"{four}:7000"] = "UNKNOWN_DC"
    with lab.running(ONE) as running:
        problems = [(problem.code, problem.subject) for problem in running.poll().problems]
        assert ("unknown_datacenter", four) in problems


def test_nodes_that_share_an_address_are_named_with_their_ports() -> None:
    """From 4.0 on several nodes may have one address; only then the port is part of their names."""
    ports = {ONE: "127.0.2.1:7000", TWO: "127.0.2.1:7001", THREE: f"{THREE}:7000"}
    lab = Lab(endpoints=ports)
    with Agent(lab.nodes[ONE]) as one, Agent(lab.nodes[TWO]) as two, Agent(lab.nodes[THREE]) as three:
        source = JolokiaSource(JolokiaSettings(contact_points=(one.url, two.url, three.url), views="contact_points"))
        snapshot = source.poll(3.0)
        source.close()
    assert [node.address for node in snapshot.nodes] == ["127.0.2.1:7000", "127.0.2.1:7001", THREE]
    assert [(view.observer, view.outcome) for view in snapshot.views] == [
        (node.address, "ok") for node in snapshot.nodes
    ]
    assert snapshot.views[0].live == {node.address for node in snapshot.nodes}
    assert {snapshot.rings[0].replicas(index) for index in range(6)} == {(0, 1, 2), (1, 2, 0), (2, 0, 1)}


def test_ipv6_nodes_have_canonical_names() -> None:
    """Java writes IPv6 addresses in full; a node's name has the short form."""
    lab = Lab(1, endpoints={ONE: "[0:0:0:0:0:0:0:1]:7000"})
    lab.nodes[ONE].operations |= {("getDatacenter", "[::1]:7000"): "dc1", ("getRack", "[::1]:7000"): "r1"}
    with Agent(lab.nodes[ONE]) as agent:
        source = JolokiaSource(JolokiaSettings(contact_points=(agent.url,)))
        snapshot = source.poll(3.0)
        source.close()
    assert [(node.address, node.datacenter) for node in snapshot.nodes] == [("::1", "dc1")]
    assert snapshot.views[0].live == {"::1"}


# Nodes that only some others know.


def test_a_node_that_only_one_other_lists_is_in_the_snapshot() -> None:
    """Gossip reaches nodes at different times: a node that any other lists as live is shown, without tokens."""
    lab, four = Lab(), "127.0.2.4"
    lab.lists(TWO, "LiveNodes", [*lab.addresses, four])
    with lab.running() as running:
        snapshot = running.poll()
        node = snapshot.nodes[3]
        assert (node.address, node.host_id, node.tokens, node.source) == (four, None, 0, "unreachable")
        assert [view.outcome for view in snapshot.views] == [*["ok"] * 3, "unreachable"]
        assert {view.live - set(Lab(4).addresses) for view in snapshot.views} == {frozenset()}
        assert snapshot.rings[0].filler == 4


def test_a_node_that_has_left_is_dropped_though_it_still_lists_itself() -> None:
    """Its peers drop it from both lists, while it still lists itself; their views count."""
    lab = Lab(4)
    four = lab.addresses[3]
    with lab.running() as running:
        running.poll()
        rest = Lab(3)
        for address in rest.addresses:
            running.cluster.agents[address].answer = rest.nodes[address]
        lab.nodes[four].attributes["OperationMode"] = "LEAVING"
        assert [node.address for node in running.poll().nodes] == lab.addresses  # it owns tokens by its own report
        lab.nodes[four].attributes["OperationMode"] = "DECOMMISSIONED"
        snapshot = running.poll()
        assert [node.address for node in snapshot.nodes] == [ONE, TWO, THREE]
        assert [view.outcome for view in snapshot.views] == ["ok"] * 3


def test_an_endpoint_that_is_only_unreachable_is_not_a_member() -> None:
    """On 5.0 a node that has left reappears as unreachable for days: it does not count as down."""
    lab = Lab()
    for address in lab.addresses:
        lab.lists(address, "UnreachableNodes", ["127.0.2.9"])
    with lab.running() as running:
        snapshot = running.poll()
        assert [node.address for node in snapshot.nodes] == [ONE, TWO, THREE]
        assert [view.outcome for view in snapshot.views] == ["ok"] * 3


def test_a_host_id_without_tokens_that_is_live_nowhere_is_not_a_member() -> None:
    """What remains of a node that is gone adds no member and no problem."""
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


def test_an_isolated_node_is_found_at_an_address_that_one_node_knows() -> None:
    """No node reaches it, and most know its old address. It serves clients, so its view counts."""
    lab, old = Lab(4), "127.0.2.9"
    four = lab.addresses[3]
    lab.down(four)
    lab.lists(four, "LiveNodes", [four])
    lab.lists(four, "UnreachableNodes", lab.addresses[:3])
    for address in (ONE, TWO):
        renamed(lab.nodes[address], {four: old})
    with lab.running(ONE) as running:
        for _ in range(2):
            seen = running.poll()
            assert [node.address for node in seen.nodes] == lab.addresses
            assert [view.outcome for view in seen.views] == ["ok"] * 4
    assert {finding.code for finding in assess(seen, Policy()).findings} >= {"unavailable", "gossip_dead"}


def test_a_silent_node_is_looked_for_at_endpoints_that_are_known_for_others() -> None:
    """Two nodes have swapped addresses, and only one node knows the new endpoint, but for the other of the two."""
    lab, old = Lab(), "127.0.2.9"
    lab.down(TWO)
    lab.lists(TWO, "LiveNodes", lab.addresses)
    lab.lists(TWO, "UnreachableNodes", [])
    renamed(lab.nodes[ONE], {TWO: old})
    renamed(lab.nodes[THREE], {ONE: TWO, TWO: ONE})
    with lab.running(ONE, THREE) as running:
        seen = running.poll()
    assert {node.address: node.source for node in seen.nodes} == dict.fromkeys(lab.addresses, "ok")


def renamed(node: Storage, names: dict[str, str]) -> None:
    """Replace addresses in all answers of a node."""
    pattern = re.compile("|".join(f"{re.escape(name)}(?![0-9])" for name in names))

    def changed(text: str) -> str:
        return pattern.sub(lambda match: names[match[0]], text)

    node.attributes = json.loads(changed(json.dumps(node.attributes)))
    node.operations = {
        tuple(map(changed, name)): json.loads(changed(json.dumps(value))) for name, value in node.operations.items()
    }


# What some nodes know and others do not.


def test_gossip_with_an_endpoint_does_not_make_it_a_member() -> None:
    """A node that sees an endpoint as live, but has neither its host id nor its tokens, places no replica on it."""
    lab, rest = Lab(), Lab(2)
    lab.nodes[ONE] = rest.nodes[ONE]
    lab.lists(ONE, "LiveNodes", lab.addresses)
    with lab.running(TWO) as running:
        [problem] = running.poll().problems
    assert problem.code == "membership_disagreement"
    assert problem.summary == f"{ONE} does not know {THREE} as a member"


@pytest.mark.parametrize("swapped", [False, True])
def test_an_address_that_one_node_alone_gives_to_a_host_id_is_not_trusted(*, swapped: bool) -> None:
    """One and Two know each other and themselves without host ids; only Three has host ids for their addresses.

    If these are swapped, the agents at both addresses answer with the other's host id, and it is not known which node
    the ring means.
    """
    lab = Lab()
    here, there, three = map(lab.endpoint, lab.addresses)
    for address in (ONE, TWO):
        lab.nodes[address].attributes["EndpointWithPortToHostId"] = {three: lab.host_id(THREE)}
    ids = [lab.host_id(ONE), lab.host_id(TWO)]
    at_one, at_two = reversed(ids) if swapped else ids
    lab.nodes[THREE].attributes["EndpointWithPortToHostId"] |= {here: at_one, there: at_two}
    with lab.running(ONE) as running:
        for _ in range(2):
            seen = running.poll()
            found = [(one.subject, one.summary) for one in seen.problems if one.code == "unconfirmed_address"]
            said = "127.0.2.1, 127.0.2.2 know {0} without its host id, and the node does not confirm its address"
            assert found == ([(ONE, said.format(ONE)), (TWO, said.format(TWO))] if swapped else [])
    assert evidence_of(seen).contradictory == ({0, 1} if swapped else frozenset())
    decision = Gatekeeper(seen, Policy(), Gate(settle=0)).decide([THREE])
    assert ("contradiction" in {one.code for one in decision.reasons if one.blocks}) is swapped


@pytest.mark.parametrize(
    "state", [{"OperationMode": "DRAINED"}, {"OperationMode": "STARTING"}, {"GossipRunning": False}], ids=str
)
def test_a_member_that_only_an_idle_node_knows_blocks_the_gate(state: dict[str, Any]) -> None:
    """Either it has left, or the serving nodes have lost it, and with it replicas that a stop may cost.

    To allow disagreeing views does not lift that: what is lost can't be counted in a ring that lacks a member.
    """
    lab, rest = Lab(4), Lab()
    four = lab.addresses[3]
    for address in (ONE, TWO):
        lab.nodes[address] = rest.nodes[address]
    lab.nodes[THREE].attributes |= state
    with lab.running(ONE, without=(four,)) as running:
        for _ in range(2):
            seen = running.poll()
            assert [node.address for node in seen.nodes] == rest.addresses
            [problem] = [one for one in seen.problems if one.code == "unconfirmed_member"]
            text = f"{THREE} knows {four} as a member, and no node whose report counts does"
            assert (problem.subject, problem.summary) == (THREE, text)
    gate = Gate(settle=0, allow=frozenset({"view_disagreement"}))
    decision = Gatekeeper(seen, Policy(), gate).decide([THREE])
    assert ("contradiction", text) in {(one.code, one.summary) for one in decision.reasons if one.blocks}


def test_an_owner_that_is_joining_for_the_serving_nodes_makes_their_ring_doubtful() -> None:
    """A drained node knows itself as an owner; the others have an old movement of it, and a ring without its tokens."""
    lab, rest = Lab(), Lab(2)
    for address in (ONE, TWO):
        lab.nodes[address] = rest.nodes[address]
        lab.lists(address, "JoiningNodes", [THREE])
        lab.lists(address, "UnreachableNodes", [THREE])
        lab.nodes[address].attributes["EndpointWithPortToHostId"] |= {lab.endpoint(THREE): lab.host_id(THREE)}
        lab.nodes[address].attributes["OwnershipWithPort"] = {lab.endpoint(ONE): 0.5, lab.endpoint(TWO): 0.5}
    lab.nodes[THREE].attributes["OwnershipWithPort"] = {lab.endpoint(owner): 1 / 3 for owner in lab.addresses}
    lab.nodes[THREE].attributes |= {"OperationMode": "DRAINED", "NativeTransportRunning": False}
    with lab.running(ONE) as running:
        for _ in range(2):
            seen = running.poll()
            [problem] = [one for one in seen.problems if one.code == "ring_behind"]
            text = f"{THREE} knows {THREE} as a token owner, and no node whose report counts does"
            assert (problem.subject, problem.summary) == (THREE, text)
        lab.nodes[THREE].attributes["OperationMode"] = "DECOMMISSIONED"
        assert "ring_behind" not in {one.code for one in running.poll().problems}


def test_a_member_that_a_decommissioned_node_knows_is_gone() -> None:
    """The ring of a node that has left stays as it was."""
    lab, rest = Lab(4), Lab(2)
    for address in (ONE, TWO):
        lab.nodes[address] = rest.nodes[address]
    lab.nodes[THREE].attributes["OperationMode"] = "DECOMMISSIONED"
    with lab.running(ONE, THREE) as running:
        assert "unconfirmed_member" not in {problem.code for problem in running.poll().problems}
