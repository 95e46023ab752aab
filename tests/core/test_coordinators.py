"""A datacenter with clients keeps a coordinator: its clients connect to its own nodes only."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.core.assess import Question, assess
from ringcheck.core.consistency import Level
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.held_back import held_back
from ringcheck.core.maintenance import Maintenance
from ringcheck.core.observed import Observed
from ringcheck.core.plan import plan
from ringcheck.core.policy import Policy, Rule, Threshold
from tests.core.clusters import address, findings, held, nodes, ring, snapshot, with_node

if TYPE_CHECKING:
    from collections.abc import Collection

    from ringcheck.core.gate import Decision
    from ringcheck.core.ring import Node, Snapshot

PLACES = ("dc1:r1", "dc1:r2", "dc1:r3", "dc2:r1", "dc2:r2")
HERE = "NetworkTopologyStrategy {dc1=3}"
BOTH = "NetworkTopologyStrategy {dc1=3, dc2=1}"
GATE = Gate(level=Level.QUORUM)
QUORUM = (Rule(keyspaces=("*",), critical=Threshold(Level.QUORUM)),)
NAMED = Policy(QUORUM, client_datacenters=("dc2",))


def cluster(replication: str = HERE, down: Collection[int] = (), members: tuple[Node, ...] | None = None) -> Snapshot:
    """Three nodes with all replicas in dc1, and two in dc2, where clients may be."""
    rows = [(1, 2, 3) if replication == HERE else (1, 2, 3, 4)] * 4
    return snapshot(members or nodes(*PLACES), [ring("orders", replication, rows, 5)], down)


def decide(one: Snapshot, *numbers: int, policy: Policy = NAMED, gate: Gate = GATE, **fields: Any) -> Decision:
    keeper = Gatekeeper(one, policy, gate, fields.pop("holders", ()))
    return keeper.decide([address(number) for number in numbers], **fields)


def blocking(decision: Decision) -> dict[str, str]:
    return {reason.code: reason.summary for reason in decision.reasons if reason.blocks}


LOST = {
    "last_coordinator": "no coordinator would be left in dc2: its clients would have no node to connect to",
}


def test_the_last_coordinator_of_a_client_datacenter_must_not_stop() -> None:
    """At QUORUM every range stays available, but the clients of dc2 would have nothing to connect to."""
    decision = decide(cluster(), 4, 5)
    assert (decision.decision, blocking(decision)) == ("unsafe", LOST)
    assert (decision.reasons[0].level, decision.reasons[0].datacenter) == (None, "dc2")
    assert decision.checked.levels == (Level.QUORUM,)
    assert decide(cluster(), 4).decision == "safe"
    assert decide(cluster(), 1).decision == "safe"
    assert blocking(decide(cluster(down=(4,)), 5)) == LOST


def test_only_what_may_be_counted_on_is_left() -> None:
    """A node under a lease is no coordinator that is left, nor is one that serves no clients."""
    assert blocking(decide(cluster(), 5, holders=held(4))).keys() == {"last_coordinator", "lease_held"}
    off = with_node(cluster(), 4, native_transport_running=False)
    allowing = replace(GATE, allow=frozenset({"view_missing"}))
    assert blocking(decide(off, 5, gate=allowing)) == LOST
    assert decide(off, 4, gate=allowing).decision == "safe"


def test_a_datacenter_that_has_no_coordinator_loses_none() -> None:
    """Its outage keeps no other node from stopping, and its own nodes may be restarted."""
    dead = cluster(down=(4, 5))
    assert decide(dead, 1).decision == "safe"
    assert decide(dead, 4, 5).decision == "safe"


def test_which_datacenters_have_clients() -> None:
    """The named ones; else those with replicas of a keyspace that is not accepted, or in which queries were seen."""
    assert decide(cluster(), 4, 5, policy=Policy(QUORUM)).decision == "safe"
    assert blocking(decide(cluster(BOTH), 4, 5, policy=Policy(QUORUM))) == LOST
    assert decide(cluster(BOTH), 4, 5, policy=Policy(QUORUM, client_datacenters=("dc1",))).decision == "safe"
    seen = Observed(keyspaces={}, datacenters=("dc1", "dc2"), clients=("dc1", "dc2"))
    assert blocking(decide(cluster(), 4, 5, policy=Policy(QUORUM, observed=seen))) == LOST
    two = cluster(BOTH)
    two = replace(two, rings=(*two.rings, ring("local", HERE, [(1, 2, 3)] * 4, 5)))
    accepting = replace(GATE, accept=("orders",))
    assert decide(two, 4, 5, policy=Policy(QUORUM), gate=accepting).decision == "safe"


def test_a_node_that_joined_nothing_coordinates_too() -> None:
    """In a datacenter of nodes without tokens they count; beside others not, because drivers do not find them."""
    members = nodes(*PLACES)
    coordinators = tuple(replace(node, tokens=0) if node.datacenter == "dc2" else node for node in members)
    assert blocking(decide(cluster(members=coordinators), 4, 5)) == LOST
    assert decide(cluster(members=coordinators), 4).decision == "safe"
    beside = (*members[:4], replace(members[4], tokens=0))
    assert blocking(decide(cluster(members=beside), 4)) == LOST
    assert decide(cluster(members=beside), 5).decision == "safe"


def test_the_only_node_of_a_datacenter_is_a_note_unless_it_is_known_to_have_clients() -> None:
    """One node in each of three datacenters, and QUORUM: such a cluster can only be restarted like this."""
    rings = [ring("orders", "NetworkTopologyStrategy {dc1=1, dc2=1, dc3=1}", [(1, 2, 3)] * 4, 3)]
    one = snapshot(nodes("dc1", "dc2", "dc3"), rings)
    usual = Policy(QUORUM)
    decision = decide(one, 2, policy=usual)
    assert (decision.decision, blocking(decision)) == ("safe", {})
    assert LOST.items() <= {(reason.code, reason.summary) for reason in decision.reasons}
    assert Gatekeeper(one, usual, GATE).safe_nodes() == {address(number) for number in (1, 2, 3)}
    assert len(plan(one, usual, GATE).batches) == 3
    assert not plan(one, usual, GATE).refused
    assert blocking(decide(one, 2, policy=NAMED)) == LOST
    assert blocking(decide(one, 2, policy=usual, holders=held(2))).keys() == set()
    drained = with_node(cluster(BOTH, down=(4,)), 4, mode="DRAINED")
    assert blocking(decide(drained, 5, policy=usual)) == LOST


def test_a_loss_of_ranges_says_it_already() -> None:
    """If the clients of a datacenter lose ranges anyway, the coordinator is not named in addition."""
    gate = Gate(level=Level.LOCAL_ONE)
    decision = decide(cluster(BOTH), 4, 5, policy=Policy(QUORUM), gate=gate)
    assert blocking(decision).keys() == {"structurally_never_safe"}
    allowed = replace(gate, allow=frozenset({"structurally_never_safe"}))
    assert blocking(decide(cluster(BOTH), 4, 5, policy=Policy(QUORUM), gate=allowed)) == LOST
    both = replace(gate, allow=frozenset({"structurally_never_safe", "last_coordinator"}))
    assert decide(cluster(BOTH), 4, 5, policy=Policy(QUORUM), gate=both).decision == "safe"


def test_a_plan_leaves_a_coordinator() -> None:
    """No batch has both nodes of dc2, and a lone one is refused by name."""
    made = plan(cluster(), NAMED, GATE)
    assert not any({address(4), address(5)} <= set(batch) for batch in made.batches)
    assert sorted(name for batch in made.batches for name in batch) == [address(number) for number in range(1, 6)]
    lone = snapshot(nodes(*PLACES[:4]), [ring("orders", HERE, [(1, 2, 3)] * 4, 4)])
    [refusal] = plan(lone, NAMED, GATE).refused
    assert (refusal.node, [reason.code for reason in refusal.reasons]) == (address(4), ["last_coordinator"])
    strict = replace(GATE, require_spare=True, level=Level.ONE)
    assert len(plan(cluster(), replace(NAMED, rules=()), strict).refused) == 0


def test_one_pass_gives_the_answers_of_the_gate() -> None:
    """`safe_nodes` and the reasons for many nodes at once know the coordinators."""
    keeper = Gatekeeper(cluster(down=(4,)), NAMED, GATE)
    assert keeper.safe_nodes() == {address(number) for number in (1, 2, 3, 4)}
    [group] = held_back(keeper, frozenset({4}))
    assert group.reason is not None
    assert (group.reason.code, sorted(group.nodes)) == ("last_coordinator", [4])


def test_the_last_coordinator_must_not_leave_either() -> None:
    """A decommission takes it for good; while another is left, it may go."""
    assert "last_coordinator" in blocking(decide(cluster(), 4, 5, action="decommission"))
    assert "last_coordinator" not in blocking(decide(cluster(), 4, action="decommission"))


def test_a_lone_coordinator_under_a_lease_is_the_last_one_too() -> None:
    """It counts as down for others, but its own stop takes it away; in one pass as well."""
    keeper = Gatekeeper(cluster(down=(4,)), NAMED, GATE, held(5))
    assert blocking(keeper.decide([address(5)])).keys() == {"last_coordinator"}
    assert address(5) not in keeper.safe_nodes()
    assert address(4) in keeper.safe_nodes()


# Health


def test_a_client_datacenter_without_a_coordinator_is_not_ok() -> None:
    """QUORUM is served from dc1, but the clients of dc2 have no node: CRITICAL if they are named, else WARNING."""
    named = assess(cluster(down=(4, 5)), NAMED)
    text = "no coordinator is up in dc2: its clients have no node to connect to"
    assert findings(named)["no_coordinator"] == [f"CRITICAL {text}"]
    assert named.summary.startswith(text)
    usual = assess(cluster(BOTH, down=(4, 5)), Policy(QUORUM))
    assert findings(usual)["no_coordinator"] == [f"WARNING {text}"]
    for fine in (
        assess(cluster(down=(4,)), NAMED),
        assess(cluster(down=(4, 5)), Policy(QUORUM)),
        assess(cluster(down=(4, 5)), NAMED, Question(view=address(1))),
    ):
        assert "no_coordinator" not in findings(fine)


def test_nodes_that_serve_no_clients_are_no_coordinators() -> None:
    """Native transport off on all nodes of a datacenter leaves its clients without a node."""
    off = cluster()
    for number in (4, 5):
        off = with_node(off, number, native_transport_running=False)
    [found] = [one for one in assess(off, NAMED).findings if one.code == "no_coordinator"]
    assert (found.severity.name, found.detail) == ("CRITICAL", "none of its nodes serves clients")


@pytest.mark.parametrize(("policy", "severity"), [(Policy(QUORUM), "OK"), (NAMED, "CRITICAL")])
def test_a_lease_lowers_only_the_warning(policy: Policy, severity: str) -> None:
    """As everywhere: what pages is lost, planned or not."""
    down = cluster(BOTH, down=(4, 5))
    maintenance = Maintenance(holders=tuple(held(5)))
    [text] = findings(assess(down, policy, maintenance=maintenance))["no_coordinator"]
    assert text.startswith(severity)


@pytest.mark.parametrize("phase", [{"mode": "DRAINED"}, {"mode": "STARTING"}, {"native_transport_running": False}])
def test_a_lease_lowers_it_in_each_phase_of_a_restart(phase: dict[str, Any]) -> None:
    """A node that answers and serves no clients restarts as much as one whose process has ended."""
    rings = [ring("orders", "NetworkTopologyStrategy {dc1=1, dc2=1, dc3=1}", [(1, 2, 3)] * 4, 3)]
    restarting = with_node(snapshot(nodes("dc1", "dc2", "dc3"), rings), 2, **phase)
    maintenance = Maintenance(holders=tuple(held(2)))
    verdict = assess(restarting, Policy(QUORUM), maintenance=maintenance)
    [text] = findings(verdict)["no_coordinator"]
    assert (verdict.severity.name, text.split()[0]) == ("OK", "OK")
    [text] = findings(assess(restarting, Policy(QUORUM)))["no_coordinator"]
    assert text.startswith("WARNING")


def test_a_loss_of_ranges_says_it_already_to_health() -> None:
    """LOCAL levels of the same clients are lost as loudly."""
    local = Policy((Rule(keyspaces=("*",), critical=Threshold(Level.LOCAL_ONE)),))
    assert findings(assess(cluster(BOTH, down=(4, 5)), local)).keys() == {"unavailable", "node_down"}


# Logged batches


def test_a_lone_node_of_a_datacenter_writes_no_logged_batches() -> None:
    """Its peers are down: seen on 5.0.8, where such a batch is Unavailable even at ANY. A lone node has no peers."""
    one_left = cluster(BOTH, down=(5,))
    usual = Policy(QUORUM)
    text = "no logged batch can be written in dc2: 10.0.0.4 reaches no other node there"
    assert findings(assess(one_left, usual))["logged_batches"] == [f"OK {text}"]
    assert "logged_batches" not in findings(assess(cluster(BOTH), usual))
    assert "logged_batches" not in findings(assess(cluster(down=(5,)), usual))  # nobody is known to be a client there
    lone = snapshot(nodes(*PLACES[:4]), [ring("orders", BOTH, [(1, 2, 3, 4)] * 4, 4)])
    assert "logged_batches" not in findings(assess(lone, usual))


def test_a_loss_of_ranges_is_worse_than_one_of_batches() -> None:
    """It is then not told in addition."""
    local = Policy((Rule(keyspaces=("*",), critical=Threshold(Level.LOCAL_ONE)),))
    one_left = cluster(BOTH, down=(4,))
    assert "logged_batches" not in findings(assess(one_left, local))
    assert "logged_batches" in findings(assess(one_left, Policy(QUORUM)))


def test_the_gate_notes_that_batches_fail() -> None:
    """Of two nodes one could never restart otherwise, so it does not block."""
    decision = decide(cluster(), 4)
    note = next(reason for reason in decision.reasons if reason.code == "logged_batches")
    assert (decision.decision, note.blocks, note.level, note.datacenter) == ("safe", False, None, "dc2")
    assert note.summary == "no logged batch could be written in dc2: only one of its nodes would be up"
    assert "logged_batches" not in {reason.code for reason in decide(cluster(), 1).reasons}
    assert "logged_batches" not in {reason.code for reason in decide(cluster(), 4, 5).reasons}
    assert {address(4), address(5)} <= Gatekeeper(cluster(), NAMED, GATE).safe_nodes()
    off = with_node(with_node(cluster(), 4, native_transport_running=False), 5, native_transport_running=False)
    assert "logged_batches" not in {reason.code for reason in decide(off, 4, 5).reasons}  # nobody writes any there
    pair = snapshot(nodes("dc1:r1", "dc1:r2"), [ring("orders", "NetworkTopologyStrategy {dc1=2}", [(1, 2)] * 4, 2)])
    decision = decide(pair, 1, policy=Policy(), gate=Gate(level=Level.LOCAL_ONE))
    assert decision.decision == "safe"
    assert {"logged_batches", "would_be_at_minimum"} <= {reason.code for reason in decision.reasons}
