"""The node from which the ring is read: it knows all owners of tokens, and its endpoints keep their meaning."""

from __future__ import annotations

import pytest

from ringcheck.errors import DataError
from tests.fake_jolokia import denied
from tests.jolokia.scripted import (
    ONE,
    THREE,
    TWO,
    Lab,
    asked_of,
    error_of,
    later,
)


def test_the_ring_is_not_read_from_a_node_that_is_behind() -> None:
    """A contact point with dead gossip is out of date; nodes that agree with most others are preferred."""
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


def test_a_ring_without_the_tokens_of_a_normal_node_is_behind() -> None:
    """If a NORMAL node has no tokens in the ring, this is a gap, and not a node without ranges."""
    lab, four = Lab(4), "127.0.2.4"
    rest = Lab(3)
    for address in rest.addresses:
        lab.nodes[address] = rest.nodes[address]
        lab.lists(address, "LiveNodes", [*rest.addresses, four])
    with lab.running(ONE) as running:
        running.poll()
        codes = [(problem.code, problem.subject) for problem in running.poll().problems]
        assert codes == [("membership_disagreement", ONE), ("ring_behind", four)]


def forgetting(lab: Lab, *forgetful: str) -> None:
    """Kill the last node; some nodes still know its host id but none of its tokens."""
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


def test_owners_are_asked_of_each_node_though_one_can_not_report_them() -> None:
    """The access policy of one agent says nothing about those of the other agents."""
    lab = Lab(3)
    forgetting(lab)
    for name in ("Ownership", "OwnershipWithPort"):
        lab.nodes[ONE].attributes[name] = denied
    with lab.running(ONE) as running:
        running.poll()
        owners = {agent.url: agent.owners for agent in running.source._session.agents.values()}
        known = [owners[running.cluster.template.format(address=address)] for address in (TWO, THREE)]
    assert known == [frozenset(f"{address}:7000" for address in lab.addresses)] * 2


@pytest.mark.slow
@pytest.mark.parametrize("forgetful", [[ONE], [ONE, TWO]])
def test_the_ring_is_read_from_a_node_that_has_the_tokens_of_all_owners(forgetful: list[str]) -> None:
    """A dead node's ranges are lost even if most nodes forgot its tokens: one coordinator still uses them."""
    lab = Lab(4)
    forgetting(lab, *forgetful)
    with lab.running(ONE, without=(lab.addresses[3],)) as running:
        seen = running.poll()
        assert [node.tokens for node in seen.nodes] == [2] * 4
        assert [len(ring) for ring in seen.rings] == [8]
        assert "ring_behind" not in {problem.code for problem in seen.problems}


@pytest.mark.slow
@pytest.mark.parametrize("placed", [False, True], ids=["gossiping snitch", "snitch that places any address"])
def test_the_ring_has_the_tokens_of_an_owner_that_most_do_not_know(*, placed: bool) -> None:
    """Only one node knows a dead owner. Its clients lose that owner's ranges, which the other nodes' ring lacks."""
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
        assert "membership_disagreement" in {problem.code for problem in seen.problems}


def test_a_ring_without_the_tokens_of_a_dead_owner_is_behind() -> None:
    """If no node with these tokens can report the ring, the ring does not prove that no range is lost."""
    lab = Lab(4)
    forgetting(lab, ONE, TWO)
    lab.nodes[THREE].operations.clear()
    with lab.running(ONE, without=(lab.addresses[3],)) as running:
        assert ("ring_behind", lab.addresses[3]) in {
            (problem.code, problem.subject) for problem in running.poll().problems
        }


def test_a_ring_in_which_an_owner_still_joins_is_behind() -> None:
    """A node that has joined, according to its own report and others', owns ranges that an older ring lacks."""
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


# Nodes that swap their addresses.


def swapping(lab: Lab, address: str) -> None:
    """Let a node learn, after its first answer about the members, that the last two nodes have swapped addresses."""
    node, last = lab.nodes[address], lab.addresses[-2:]
    ids = dict(node.attributes["EndpointWithPortToHostId"])
    swapped = ids | {lab.endpoint(one): lab.host_id(other) for one, other in zip(last, last[::-1], strict=True)}
    node.attributes["EndpointWithPortToHostId"] = later(ids, swapped)


def test_if_members_swap_addresses_meanwhile_the_ring_is_read_from_another_node() -> None:
    """Otherwise an endpoint in the ranges could mean another node than in the first answer."""
    lab = Lab()
    swapping(lab, ONE)
    with lab.running(ONE) as running:
        assert len(running.poll().rings[0]) == 6
        assert "getRangeToEndpointWithPortMap" in asked_of(running, ONE)
        assert "getRangeToEndpointWithPortMap" in asked_of(running, TWO)


def test_a_ring_is_used_though_a_host_id_was_forgotten_meanwhile() -> None:
    """The endpoint whose host id a node forgets still means the same node."""
    lab = Lab()
    for node in lab.nodes.values():
        ids = node.attributes["EndpointWithPortToHostId"]
        node.attributes["EndpointWithPortToHostId"] = later(ids, {key: ids[key] for key in list(ids)[:2]})
    with lab.running(ONE) as running:
        assert len(running.poll().rings[0]) == 6
        assert "getRangeToEndpointWithPortMap" not in asked_of(running, TWO)


def test_a_ring_is_not_used_if_addresses_changed_for_every_source() -> None:
    """If addresses change for all nodes that are asked, the poll fails and the next one succeeds."""
    lab = Lab()
    for address in lab.addresses:
        swapping(lab, address)
    with lab.running(*lab.addresses) as running:
        assert error_of(running, DataError) == "the endpoints of members changed while the ring was read"
        assert len(running.poll().rings[0]) == 6


def test_pending_ranges_whose_members_swapped_addresses_meanwhile_are_a_problem() -> None:
    """While a node leaves, each poll reads pending ranges; their endpoints must mean the same nodes all the time."""
    lab = Lab()
    for address in lab.addresses:
        lab.lists(address, "LeavingNodes", [THREE])
    with lab.running() as running:
        assert not running.poll().problems
        for address in lab.addresses:
            swapping(lab, address)
        codes = [problem.code for problem in running.poll().problems]
        assert codes == ["pending_unreadable"]
