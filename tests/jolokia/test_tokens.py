"""Nodes that know other tokens than their peers: the shares of the ring that they give the members show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ringcheck.core.assess import assess
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.policy import Policy, Severity
from tests.jolokia.scripted import ONE, THREE, TWO, Lab, asked_of, rings_read

if TYPE_CHECKING:
    from ringcheck.core.ring import Snapshot

EQUAL = (1 / 3, 1 / 3, 1 / 3)
MOVED = (1 / 2, 1 / 6, 1 / 3)


def tell(lab: Lab, shares: tuple[float, ...], *observers: str) -> None:
    """Set the shares of the ring that some nodes give the members."""
    for observer in observers:
        told = {lab.endpoint(owner): share for owner, share in zip(lab.addresses, shares, strict=True)}
        lab.nodes[observer].attributes["OwnershipWithPort"] = told


def disagreements(seen: Snapshot) -> list[tuple[str, str]]:
    return [(one.subject, one.summary) for one in seen.problems if one.code == "token_disagreement"]


@pytest.mark.parametrize("odd", [ONE, TWO, THREE])
@pytest.mark.parametrize("contact", [ONE, THREE])
def test_a_node_with_other_tokens_is_named_and_blocks(odd: str, contact: str) -> None:
    """Whichever node is asked first; the gate refuses every candidate, because its clients use other replicas."""
    lab = Lab()
    tell(lab, EQUAL, *lab.addresses)
    tell(lab, MOVED, odd)
    usual = ONE if odd != ONE else TWO
    with lab.running(contact) as running:
        for _ in range(2):
            seen = running.poll()
            text = f"{odd} gives {ONE} 50.00% of the ring, and {usual} gives it 33.33%: they know different tokens"
            assert disagreements(seen) == [(odd, text)]
        assert not any("getRangeToEndpoint" in name for name in asked_of(running, odd))
    assert assess(seen, Policy()).severity is Severity.UNKNOWN
    decision = Gatekeeper(seen, Policy(), Gate(settle=0)).decide([TWO])
    assert decision.decision == "unknown"
    assert ("contradiction", text) in {(one.code, one.summary) for one in decision.reasons if one.blocks}


def test_rounding_is_no_disagreement() -> None:
    """Cassandra adds up a node's ranges as 32-bit floats."""
    lab = Lab()
    tell(lab, EQUAL, *lab.addresses)
    tell(lab, (0.3333334, 0.33333328, 1 / 3), TWO)
    with lab.running() as running:
        assert disagreements(running.poll()) == []


@pytest.mark.parametrize("name", ["JoiningNodes", "LeavingNodes", "MovingNodes"])
def test_nodes_that_list_other_movements_are_not_compared(name: str) -> None:
    """Tokens change when a node sees a movement end: first on one node, then on the others."""
    lab = Lab()
    tell(lab, EQUAL, *lab.addresses)
    tell(lab, MOVED, THREE)
    lab.lists(ONE, name, [ONE])
    lab.lists(TWO, name, [ONE])
    with lab.running() as running:
        assert disagreements(running.poll()) == []


@pytest.mark.parametrize("name", ["JoiningNodes", "LeavingNodes", "MovingNodes"])
def test_nodes_that_list_the_same_movements_are_compared(name: str) -> None:
    """A movement explains no difference as long as all nodes still see it."""
    lab = Lab()
    tell(lab, EQUAL, *lab.addresses)
    tell(lab, MOVED, THREE)
    for address in lab.addresses:
        lab.lists(address, name, [ONE])
    with lab.running() as running:
        assert [subject for subject, _ in disagreements(running.poll())] == [THREE]


def test_a_node_that_serves_no_clients_is_not_compared() -> None:
    """A drained node keeps the tokens that it knew."""
    lab = Lab()
    tell(lab, EQUAL, *lab.addresses)
    tell(lab, MOVED, THREE)
    lab.nodes[THREE].attributes |= {"OperationMode": "DRAINED", "NativeTransportRunning": False}
    with lab.running() as running:
        assert disagreements(running.poll()) == []


@pytest.mark.parametrize("shares", [{}, "many", {"/10.0.0.1:7000": "half"}])
def test_shares_that_are_no_numbers_are_not_compared(shares: object) -> None:
    """Owners are compared by their endpoints then; an answer that is no map makes that node's report unusable."""
    lab = Lab()
    tell(lab, EQUAL, *lab.addresses)
    lab.nodes[THREE].attributes["OwnershipWithPort"] = shares
    with lab.running() as running:
        assert disagreements(running.poll()) == []


def test_the_ring_is_read_again_when_tokens_have_moved_between_two_polls() -> None:
    """A quick movement leaves no other sign: all nodes list the same members before and after it."""
    lab = Lab(keyspaces={"orders": "NetworkTopologyStrategy {dc1=1}"})
    tell(lab, EQUAL, *lab.addresses)
    with lab.running() as running:
        before = running.poll()
        running.poll()
        assert rings_read(running) == 1
        tell(lab, MOVED, *lab.addresses)
        swapped = {token: lab.addresses[-1 - place % 3] for place, token in enumerate(sorted(lab.tokens))}
        ranges = {
            f"[{start}, {end}]": [lab.endpoint(swapped[end])]
            for start, end in zip([*sorted(swapped)[-1:], *sorted(swapped)], sorted(swapped), strict=False)
        }
        for node in lab.nodes.values():
            node.operations["getRangeToEndpointWithPortMap", "orders"] = ranges
        after = running.poll()
        assert rings_read(running) == 2
        assert after.rings != before.rings
        assert disagreements(after) == []
        running.poll()
        assert rings_read(running) == 2


def test_a_lasting_disagreement_is_read_once() -> None:
    """The ring is not read in each poll because a node stays behind; that it has followed is seen by the next poll."""
    lab = Lab(40)
    tell(lab, (0.025,) * 40, *lab.addresses)
    with lab.running() as running:
        running.poll()
        tell(lab, (0.03, 0.02, *((0.025,) * 38)), lab.addresses[17])
        # 16 of 40 nodes are asked in each poll.
        assert any(disagreements(running.poll()) for _ in range(3))
        assert disagreements(running.poll())
        assert rings_read(running) == 2
        tell(lab, (0.025,) * 40, lab.addresses[17])
        assert disagreements(running.poll()) == []
