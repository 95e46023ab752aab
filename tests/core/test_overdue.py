"""Time limits on states: a state that lasts for hours is a ticket, if the history knows since when it lasts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.core.assess import assess
from ringcheck.core.evidence import evidence_of
from ringcheck.core.gate import Gate, Gatekeeper
from ringcheck.core.overdue import TimeLimits, overdue
from ringcheck.core.policy import Policy, Severity
from ringcheck.core.transitions import carried, facts_of
from ringcheck.report.reading import Reading
from tests.core import clusters as small

if TYPE_CHECKING:
    from ringcheck.core.ring import Snapshot, View
    from ringcheck.core.transitions import Key, Known
    from ringcheck.core.verdict import Verdict

HOUR = 3600_000
FOUR = small.nodes("dc1:r1", "dc1:r2", "dc1:r3", "dc1:r1")
RF_3 = "NetworkTopologyStrategy {dc1=3}"


def cluster(*down: int, replication: str = RF_3, **fields: Any) -> Snapshot:
    return small.snapshot(FOUR, [small.ring("orders", replication, [[1, 2, 3]] * 4, 4)], down=down, **fields)


class Agent:
    """What the agent does at each poll, with a clock that the test moves."""

    def __init__(self, **limits: float) -> None:
        self.limits = TimeLimits(**limits)
        self.known: dict[Key, Known] = {}
        self.at = 0

    def poll(self, seen: Snapshot, hours: float = 0.0) -> Verdict:
        self.at += int(hours * HOUR)
        lasting = overdue(evidence_of(seen), self.known, self.at, self.limits)
        verdict = assess(seen, Policy(), more=lasting)
        reading = Reading(cluster="test", verdict=verdict, fresh=True)
        facts = facts_of(reading, {key: known.fact for key, known in self.known.items()})
        self.known = carried(self.known, facts, self.at)
        return verdict


def codes(verdict: Verdict) -> set[str]:
    return {finding.code for finding in verdict.findings if finding.severity > Severity.OK}


def test_a_node_that_is_down_for_hours_is_a_ticket() -> None:
    """After the hint window it needs a repair; after gc_grace it must not come back; once up, the ticket is gone."""
    agent = Agent()
    assert codes(agent.poll(cluster(4))) == set()
    assert codes(agent.poll(cluster(4), hours=2.9)) == set()
    verdict = agent.poll(cluster(4), hours=0.2)
    assert (verdict.severity, codes(verdict)) == (Severity.WARNING, {"down_past_hints"})
    assert verdict.summary.startswith(
        "10.0.0.4 has been down since 1970-01-01T00:00:00Z, for longer than hints are kept (3 h)"
    )
    verdict = agent.poll(cluster(4), hours=240)
    assert codes(verdict) == {"down_past_gc_grace"}
    assert "for longer than gc_grace (10 d)" in verdict.summary
    assert codes(agent.poll(cluster())) == set()
    assert codes(agent.poll(cluster(4), hours=1)) == set()


def test_a_ticket_never_hides_an_outage() -> None:
    """The outage comes first; the ticket is one of the findings."""
    agent = Agent()
    agent.poll(cluster(1, 2))
    verdict = agent.poll(cluster(1, 2), hours=5)
    assert verdict.findings[0].code == "unavailable"
    assert {"unavailable", "down_past_hints"} <= codes(verdict)


def moved(view: View, movement: str) -> View:
    changes: dict[str, Any] = {movement: frozenset(["10.0.0.4"])}
    return replace(view, **changes)


@pytest.mark.parametrize(("movement", "words"), [("joining", "joining"), ("leaving", "leaving"), ("moving", "moving")])
def test_a_movement_that_lasts_for_hours_is_a_ticket(movement: str, words: str) -> None:
    """The time counts from the poll that first saw it; a movement that begins again counts from its new start."""
    moving = cluster()
    views = tuple(moved(view, movement) for view in moving.views)
    moving = replace(moving, views=views)
    agent = Agent(movement=2 * 3600)
    agent.poll(moving)
    assert codes(agent.poll(moving, hours=1.9)) == set()
    verdict = agent.poll(moving, hours=0.2)
    assert codes(verdict) == {"movement_too_long"}
    assert f"10.0.0.4 has been {words} since 1970-01-01T00:00:00Z" in verdict.summary
    assert codes(agent.poll(cluster())) == set()
    assert codes(agent.poll(moving, hours=9)) == set()


def test_limits_are_the_clusters_own() -> None:
    """A cluster with a longer hint window gets its ticket later."""
    agent = Agent(hint_window=6 * 3600.0, gc_grace=8 * 3600.0)
    agent.poll(cluster(4))
    assert codes(agent.poll(cluster(4), hours=5)) == set()
    assert codes(agent.poll(cluster(4), hours=2)) == {"down_past_hints"}
    assert codes(agent.poll(cluster(4), hours=2)) == {"down_past_gc_grace"}


def test_the_gate_ignores_how_long_it_lasts() -> None:
    """The node counts as down, however long it has been down; its replacement is safe."""
    keeper = Gatekeeper(cluster(4), Policy(), Gate(settle=0))
    assert keeper.decide(["10.0.0.4"], "replace").decision == "safe"


def test_a_datacenter_without_nodes_is_named() -> None:
    """It is a misspelt name or a removed datacenter, but not one with 0 replicas, nor one that is unknown."""
    verdict = assess(cluster(replication="NetworkTopologyStrategy {DC1=2, dc1=3}"), Policy())
    [finding] = [found for found in verdict.findings if found.code == "replication_without_nodes"]
    assert finding.severity is Severity.WARNING
    assert finding.summary == "orders: 2 replicas in DC1, which has no nodes"
    assert "replication_without_nodes" not in codes(assess(cluster(), Policy()))
    none = assess(cluster(replication="NetworkTopologyStrategy {dc1=3, dc2=0}"), Policy())
    assert "replication_without_nodes" not in codes(none)
    unknown = small.with_node(cluster(replication="NetworkTopologyStrategy {dc1=3, dc2=2}"), 4, datacenter=None)
    assert "replication_without_nodes" not in codes(assess(unknown, Policy()))


def test_a_poll_that_can_not_tell_does_not_restart_the_time() -> None:
    """Neither a poll without views nor one without the node's host id makes the node look as if it was up."""
    agent = Agent()
    agent.poll(cluster(4))
    seen = cluster(4)
    agent.poll(replace(seen, views=()), hours=2)
    assert codes(agent.poll(seen, hours=2)) == {"down_past_hints"}
    nameless = replace(seen, nodes=(*seen.nodes[:3], replace(seen.nodes[3], host_id=None)))
    assert codes(agent.poll(nameless)) == {"down_past_hints"}
