"""States of real clusters that operators reported, from the replies of Jolokia to the verdict and the gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.core.assess import assess
from ringcheck.core.consistency import Level
from ringcheck.core.evidence import evidence_of
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.plan import plan
from ringcheck.core.policy import Policy, Rule, Severity, Threshold
from ringcheck.jolokia.settings import JolokiaSettings
from ringcheck.jolokia.source import JolokiaSource
from tests.jolokia.scripted import Lab, later

if TYPE_CHECKING:
    from ringcheck.core.gate import Decision
    from ringcheck.core.ring import Snapshot
    from ringcheck.core.verdict import Verdict

ONE, TWO, THREE, FOUR = (f"127.0.2.{number}" for number in range(1, 5))
QUORUM_PAGES = Policy(
    (Rule(keyspaces=("*",), critical=Threshold(Level.LOCAL_QUORUM), warning=Threshold(Level.LOCAL_ALL)),)
)
TWO_KEYSPACES = {
    "orders": "NetworkTopologyStrategy {dc1=3}",
    "cache": "SimpleStrategy {replication_factor=1}",
}


def seen(lab: Lab, *contacts: str, **options: Any) -> Snapshot:
    with lab.running(*contacts, **options) as running:
        return running.poll()


def decide(snapshot: Snapshot, *candidates: str, policy: Policy | None = None) -> Decision:
    return Gatekeeper(snapshot, policy or Policy(), Gate(settle=0)).decide(candidates)


def codes(verdict: Verdict) -> set[str]:
    return {finding.code for finding in verdict.findings}


# Instances on other ports


def with_ghosts() -> Lab:
    """Two of three hosts had a second instance that was decommissioned and stays unreachable on its port."""
    lab = Lab()
    lab.set_all("UnreachableNodesWithPort", [f"{TWO}:7001", f"{THREE}:7001"])
    lab.set_all("UnreachableNodes", [TWO, THREE])
    return lab


def test_an_instance_that_has_left_does_not_affect_its_neighbour() -> None:
    """All members are up, and stopping two of three replicas is UNSAFE."""
    snapshot = seen(with_ghosts())
    verdict = assess(snapshot, Policy())
    assert (verdict.severity, verdict.states) == (Severity.OK, ("up",) * 3)
    assert decide(snapshot, TWO).decision == "safe"
    both = decide(snapshot, TWO, THREE)
    assert (both.decision, both.reasons[0].code) == ("unsafe", "would_become_unavailable")


def test_an_instance_that_has_left_is_not_a_member_in_later_polls() -> None:
    """Nodes are asked about its endpoint once, and not in every poll."""
    with with_ghosts().running() as running:
        first = running.poll()
        posts = running.cluster.posts
        second = running.poll()
        assert running.cluster.posts - posts == 3
    assert [node.address for node in second.nodes] == [ONE, TWO, THREE]
    assert second.views == first.views


# Coordinators that are alone


def alone(lab: Lab) -> Lab:
    """Isolate the first node of a lab: it reaches no node, and the others see it down."""
    for address in (TWO, THREE):
        lab.lists(address, "LiveNodes", [TWO, THREE])
        lab.lists(address, "UnreachableNodes", [ONE])
    lab.lists(ONE, "LiveNodes", [ONE])
    return lab


def with_stale_addresses() -> Lab:
    """The isolated node knows its peers by their former addresses."""
    lab = alone(Lab())
    stale = {"127.0.9.2": lab.host_id(TWO), "127.0.9.3": lab.host_id(THREE)}
    lab.knows(ONE, {ONE: lab.host_id(ONE), **stale})
    lab.nodes[ONE].attributes["UnreachableNodes"] = list(stale)
    lab.nodes[ONE].attributes["UnreachableNodesWithPort"] = [f"{address}:7000" for address in stale]
    return lab


def with_a_ring_of_its_own() -> Lab:
    """The isolated node was started without its saved peers and with itself as seed, so it has its own ring."""
    lab = alone(Lab())
    lab.knows(ONE, {ONE: lab.host_id(ONE)})
    lab.lists(ONE, "UnreachableNodes", [])
    mine = {str(token): f"{ONE}:7000" for token, owner in lab.tokens.items() if owner == ONE}
    lab.nodes[ONE].attributes["TokenToEndpointWithPortMap"] = mine
    return lab


def with_peers_down() -> Lab:
    """The isolated node knows its peers by their current addresses."""
    lab = alone(Lab())
    lab.lists(ONE, "UnreachableNodes", [TWO, THREE])
    return lab


@pytest.mark.slow
@pytest.mark.parametrize("lab", [with_stale_addresses(), with_a_ring_of_its_own(), with_peers_down()])
@pytest.mark.parametrize("contacts", [(TWO,), (ONE, TWO), (TWO, ONE)])
def test_the_clients_of_an_isolated_coordinator_have_an_outage(lab: Lab, contacts: tuple[str, ...]) -> None:
    """The verdict does not depend on the contact points, and meanwhile no node is safe to stop."""
    snapshot = seen(lab, *contacts)
    verdict = assess(snapshot, QUORUM_PAGES)
    assert verdict.severity is Severity.CRITICAL
    (keyspace,) = verdict.keyspaces
    assert keyspace.levels[0].worst_view == ONE
    assert {"gossip_dead", "view_disagreement"} <= codes(verdict)
    assert [node.address for node in snapshot.nodes] == [ONE, TWO, THREE]
    assert all(decide(snapshot, address).decision == "unsafe" for address in (ONE, TWO, THREE))


def test_the_node_behind_a_stale_address_is_reported() -> None:
    """The node is shown at its own address; a note lists the other addresses."""
    verdict = assess(seen(with_stale_addresses(), TWO), Policy())
    summaries = [finding.summary for finding in verdict.findings if finding.code == "address_disagreement"]
    assert summaries == [
        f"{ONE} knows {TWO} as 127.0.9.2:7000",
        f"{ONE} knows {THREE} as 127.0.9.3:7000",
    ]


# Members


@pytest.mark.slow
@pytest.mark.parametrize("knowing", [(), (TWO, FOUR)])
@pytest.mark.parametrize("listed", [True, False])
def test_a_dead_token_owner_without_host_id_is_down(knowing: tuple[str, ...], listed: bool) -> None:  # noqa: FBT001 - drawn
    """It is a member under its endpoint, even if no node knows its host id, or only its tokens are left."""
    lab = Lab(4, keyspaces=TWO_KEYSPACES)
    lab.down(THREE)
    known = {address: lab.host_id(address) for address in lab.addresses if address != THREE}
    for address in lab.addresses:
        if address not in knowing:
            lab.knows(address, known)
        if not listed:
            lab.lists(address, "UnreachableNodes", [])
    snapshot = seen(lab, without=(THREE,))
    verdict = assess(snapshot, Policy())
    assert [node.address for node in snapshot.nodes] == lab.addresses
    assert verdict.severity is Severity.CRITICAL
    assert verdict.findings[0].subject == "cache"
    assert decide(snapshot, TWO).decision == "unsafe"


def with_a_coordinator(lab: Lab) -> Lab:
    """Add a live node without tokens whose host id no peer knows, such as Stargate or `join_ring=false`."""
    for address in lab.addresses:
        lab.lists(address, "LiveNodes", [*lab.addresses, "127.0.2.9"])
    return lab


def test_a_coordinator_without_tokens_does_not_block_the_gate() -> None:
    """It is not a replica: other nodes may stop, and a plan leaves it out."""
    snapshot = seen(with_a_coordinator(Lab()))
    verdict = assess(snapshot, Policy())
    assert (verdict.severity, codes(verdict)) == (Severity.OK, {"coordinator_only"})
    assert decide(snapshot, TWO).decision == "safe"
    made = plan(snapshot, Policy(), Gate(settle=0))
    assert sorted(node for batch in made.batches for node in batch) == [ONE, TWO, THREE]
    assert evidence_of(snapshot).names(evidence_of(snapshot).coordinators) == ["127.0.2.9"]


def test_a_decommissioned_contact_point_is_a_note() -> None:
    """Its frozen lists and its remaining endpoint do not affect the members."""
    lab, gone = Lab(4), FOUR
    rest = Lab(3)
    for address in rest.addresses:
        lab.nodes[address] = rest.nodes[address]
        lab.lists(address, "UnreachableNodes", [gone])
    lab.nodes[gone].attributes |= {
        "OperationMode": "DECOMMISSIONED",
        "GossipRunning": False,
        "NativeTransportRunning": False,
    }
    for contacts in ((gone, ONE), (ONE, gone), (gone,)):
        snapshot = seen(lab, *contacts)
        verdict = assess(snapshot, Policy())
        assert (verdict.severity, codes(verdict)) == (Severity.OK, {"former_member"})
        assert [node.address for node in snapshot.nodes] == [ONE, TWO, THREE]
        assert decide(snapshot, TWO).decision == "safe"


@pytest.mark.slow
def test_an_assassinated_node_is_gone_with_the_next_poll() -> None:
    """Its tokens and host id are gone and only its endpoint remains, which the lists alone do not show."""
    lab = Lab(4)
    lab.down(FOUR)
    with lab.running(without=(FOUR,)) as running:
        assert len(running.poll().nodes) == 4
        rest = Lab(3)
        for address in rest.addresses:
            node = running.cluster.agents[address]
            node.answer = rest.nodes[address]
            rest.lists(address, "UnreachableNodes", [FOUR])
        after = running.poll()
    assert [node.address for node in after.nodes] == [ONE, TWO, THREE]
    assert assess(after, Policy()).severity is Severity.OK


# Headlines and advice


def test_the_loss_is_the_headline() -> None:
    """If each node sees only itself, lost ranges come before disagreements of views, and before nodes."""
    lab = Lab()
    for address in lab.addresses:
        lab.lists(address, "LiveNodes", [address])
        lab.lists(address, "UnreachableNodes", [item for item in lab.addresses if item != address])
    verdict = assess(seen(lab), Policy())
    assert verdict.severity is Severity.WARNING
    lost = "6 of 6 ranges (100.0 % of the tokens) of orders unavailable at LOCAL_QUORUM in dc1"
    assert verdict.summary == f"{lost}; and 4 more findings"
    text = f"views disagree: {ONE} sees only itself; {TWO} sees only itself; {THREE} sees only itself"
    assert text in {finding.summary for finding in verdict.findings}


def test_a_node_that_is_being_removed_must_not_come_back() -> None:
    """`nodetool removenode` streams its ranges to other nodes, so only the other dead node is to be brought back."""
    lab = Lab(4)
    lab.down(TWO, THREE)
    for address in lab.addresses:
        lab.lists(address, "LeavingNodes", [TWO])
    snapshot = seen(lab, without=(TWO, THREE))
    verdict = assess(snapshot, Policy())
    assert [snapshot.nodes[step.node].address for step in verdict.recover_first] == [THREE]
    assert f"{TWO} is being removed" in {finding.summary for finding in verdict.findings}


def test_a_note_never_reads_as_ok() -> None:
    """In a healthy verdict a down node is stated as a fact, and not as something that is OK."""
    lab = Lab(4)
    lab.down(FOUR)
    verdict = assess(seen(lab, without=(FOUR,)), Policy((Rule(keyspaces=("*",), critical=Threshold(Level.LOCAL_ONE)),)))
    assert verdict.severity is Severity.OK
    assert verdict.summary.startswith("1 keyspace available at LOCAL_ONE, 1 node down: 127.0.2.4;")


# Order makes no difference


def test_the_order_of_contact_points_does_not_matter() -> None:
    """If the first contact point has its own ring, that ring is not the cluster's."""
    results = []
    for contacts in ((ONE, TWO, THREE), (THREE, TWO, ONE), (TWO,)):
        snapshot = seen(with_a_ring_of_its_own(), *contacts)
        results.append(([node.address for node in snapshot.nodes], len(snapshot.rings[0]), assess(snapshot, Policy())))
    assert {len(nodes) for nodes, _, _ in results} == {3}
    assert {ranges for _, ranges, _ in results} == {6}
    assert len({verdict.summary for _, _, verdict in results}) == 1


def test_a_ring_that_contradicts_its_replication_is_read_from_another_node() -> None:
    """If a snitch was asked too early, that node's own ring lacks replicas; the next node has a complete one."""
    lab = Lab()
    lab.nodes[ONE].operations["getRangeToEndpointWithPortMap", "orders"] = lab.ranges(1, with_port=True)
    snapshot = seen(lab)
    assert len(snapshot.rings[0].replicas(0)) == 3
    assert assess(snapshot, Policy()).severity is Severity.OK


def test_a_ring_that_was_altered_between_two_reads_is_read_again() -> None:
    """Replication from before an ALTER does not match ranges from after it; the second reading does match."""
    lab = Lab()
    for node in lab.nodes.values():
        node.operations["getKeyspaceReplicationInfo", "orders"] = later(
            "NetworkTopologyStrategy {dc1=1}", "NetworkTopologyStrategy {dc1=3}"
        )
    assert assess(seen(lab), Policy()).severity is Severity.OK


def test_a_later_poll_of_the_same_state_gives_the_same_snapshot() -> None:
    """The second poll of a cluster with an isolated coordinator reports the same as the first."""
    lab = with_stale_addresses()
    with lab.running(TWO) as running:
        source = JolokiaSource(JolokiaSettings(contact_points=(TWO,), url=running.cluster.template))
        first, second = source.poll(4.0), source.poll(4.0)
        source.close()
    assert (second.nodes, second.views) == (first.nodes, first.views)
    assert assess(second, QUORUM_PAGES).severity is Severity.CRITICAL
