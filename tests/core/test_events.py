"""Events: what programs are notified of, once, and not before it happens."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from ringcheck.core.assess import assess
from ringcheck.core.consistency import Level
from ringcheck.core.events import ANNOUNCED, EVENTS, noticed
from ringcheck.core.fact_kinds import KINDS
from ringcheck.core.maintenance import Holder, Maintenance
from ringcheck.core.observed import EVERY, LevelChange, Observed
from ringcheck.core.policy import Policy, Rule, Severity, Threshold
from ringcheck.core.transitions import carried, facts_of
from ringcheck.report.reading import Reading
from tests import article

if TYPE_CHECKING:
    from ringcheck.core.events import Event
    from ringcheck.core.transitions import Key, Known
    from ringcheck.core.verdict import Verdict

HOUR = 3600_000
RULES = (Rule(keyspaces=("blog_1",), ignore=True), Rule(keyspaces=("*",), critical=Threshold(Level.LOCAL_QUORUM)))


class Cluster:
    """The article's cluster from poll to poll; `poll` returns the kinds and subjects of the events."""

    def __init__(self, *delays: float) -> None:
        self.delays = delays
        self.known: dict[Key, Known] = {}
        self.announced: dict[Key, Known] = {}
        self.at = 0
        self.last: list[Event] = []

    def poll(self, *down: str, hours: float = 0.0, **changes: Any) -> list[tuple[str, str]]:
        self.at += int(hours * HOUR)
        holders = changes.pop("holders", ())
        kept = changes.pop("kept", None)
        verdict = assess(article.snapshot(down), Policy(RULES), maintenance=Maintenance(holders or ()))
        if kept:
            verdict = kept(verdict)
        reading = Reading(cluster="blogs", verdict=verdict, fresh=True, holders=holders, **changes)
        facts = facts_of(reading, {key: known.fact for key, known in self.known.items()})
        self.known = carried(self.known, facts, self.at)
        self.last, self.announced = noticed(reading, self.announced, self.known, self.at, self.delays)
        return [(event.kind, event.subject) for event in self.last]


def lease(node: str, since: str = "2026-01-01T00:00:00Z") -> Holder:
    return Holder(node=node, owner="anna", purpose="kernel", since=since)


def test_a_healthy_cluster_has_no_events() -> None:
    """The first poll sends none either."""
    cluster = Cluster(1800.0)
    assert cluster.poll() == []
    assert cluster.poll(hours=5) == []


def test_each_condition_of_a_cluster_is_sent_once() -> None:
    """The cluster goes to its minimum, into an outage, and back; each event names the previous condition."""
    cluster = Cluster()
    cluster.poll()
    assert cluster.poll("10.0.0.1") == [("at_minimum", "")]
    assert cluster.poll("10.0.0.1") == []
    assert cluster.poll("10.0.0.1", "10.0.0.2") == [("outage", "")]
    assert cluster.last[0].data["was"] == "at_minimum"
    assert cluster.poll("10.0.0.1", "10.0.0.2") == []
    assert cluster.poll("10.0.0.1") == [("at_minimum", "")]
    assert cluster.poll() == [("recovered", "")]
    assert cluster.poll() == []


def test_a_failed_poll_is_not_a_recovery() -> None:
    """A verdict that leaves something unknown is not a recovery either."""
    cluster = Cluster(1800.0)
    assert ("outage", "") in cluster.poll("10.0.0.1", "10.0.0.2")
    assert cluster.poll(error="nobody answers") == []

    def unknown(verdict: Any) -> Any:
        first = verdict.findings[0]
        return replace(verdict, findings=(replace(first, code="view_missing", severity=Severity.UNKNOWN),))

    assert cluster.poll("10.0.0.1", kept=unknown) == []
    assert cluster.poll("10.0.0.1") == [("at_minimum", "")]


def test_a_node_is_lost_after_a_time() -> None:
    """There is one event for each configured delay, and another one only after the node was up in between."""
    cluster = Cluster(1800.0, 7200.0)
    cluster.poll()
    assert cluster.poll("10.0.0.1") == [("at_minimum", "")]
    assert cluster.poll("10.0.0.1", hours=0.49) == []
    assert cluster.poll("10.0.0.1", hours=0.02) == [("node_lost", "10.0.0.1")]
    event = cluster.last[0]
    assert (event.after, event.data["host_id"], event.data["rack"]) == (1800.0, "host-0", "r0")
    assert event.data["down_since"] == "1970-01-01T00:00:00Z"
    assert cluster.poll("10.0.0.1", hours=1) == []
    assert cluster.poll("10.0.0.1", hours=1) == [("node_lost", "10.0.0.1")]
    assert cluster.last[0].after == 7200.0
    assert cluster.poll(error="nobody answers") == []
    assert cluster.poll("10.0.0.1") == []
    assert cluster.poll() == [("recovered", "")]
    cluster.poll("10.0.0.1")
    assert ("node_lost", "10.0.0.1") in cluster.poll("10.0.0.1", hours=1)


def test_a_node_under_a_lease_is_not_lost() -> None:
    """It was stopped on purpose; an overdue lease has an event of its own."""
    cluster = Cluster(60.0)
    cluster.poll()
    held = (lease("10.0.0.1", "2026-01-01T00:00:00Z"),)
    assert cluster.poll("10.0.0.1", holders=held) == [("at_minimum", "")]
    assert cluster.poll("10.0.0.1", holders=held, hours=2) == []
    old = (lease("10.0.0.1", "2025-01-01T00:00:00Z"),)
    assert cluster.poll("10.0.0.1", holders=old) == [("lease_old", "10.0.0.1")]
    assert cluster.poll("10.0.0.1", holders=old) == []
    assert cluster.poll("10.0.0.1") == [("node_lost", "10.0.0.1")]


def used(*changes: LevelChange) -> Observed:
    return Observed(keyspaces={EVERY: ()}, changes=changes)


def test_a_change_of_levels_is_announced_once() -> None:
    """Nothing repeats it while it lasts, not even a failed poll or missing evidence; a later change is a new event."""
    cluster = Cluster()
    first = LevelChange(keyspace="orders", was="LOCAL_ONE in dc1", now="LOCAL_QUORUM in dc1", at=1_000.25)
    assert cluster.poll(observed=used()) == []
    assert cluster.poll(observed=used(first)) == [("level_changed", "orders")]
    assert cluster.last[0].data == {
        "keyspace": "orders",
        "was": "LOCAL_ONE in dc1",
        "now": "LOCAL_QUORUM in dc1",
        "summary": "clients of orders use LOCAL_QUORUM in dc1, before LOCAL_ONE in dc1",
    }
    assert cluster.poll(observed=used(first)) == []
    assert cluster.poll(error="nobody answers", observed=used(first)) == []
    assert cluster.poll(observed=None) == []
    assert cluster.poll(observed=used(first)) == []
    back = LevelChange(keyspace="orders", was=first.now, now=first.was, at=90_000.0)
    general = LevelChange(keyspace=EVERY, was="ONE", now="ALL", at=90_000.0)
    assert cluster.poll(observed=used(back, general)) == [("level_changed", "orders"), ("level_changed", "")]
    assert cluster.last[1].data["keyspace"] == EVERY
    assert cluster.poll(observed=used(back, general)) == []
    assert cluster.poll(observed=used()) == []
    assert not [key for key in cluster.announced if key.kind == "level_change"]


def test_announced_events_are_not_history() -> None:
    """The facts about sent events are kept beside those of the history, under names of their own."""
    assert not ANNOUNCED & set(KINDS)
    assert set(EVENTS) == {"node_lost", "outage", "at_minimum", "recovered", "lease_old", "level_changed"}


@pytest.mark.parametrize("first", [["10.0.0.1", "10.0.0.2"], ["10.0.0.1"]])
def test_an_outage_at_the_first_poll_is_sent(first: list[str]) -> None:
    """An outage that already exists when the cluster is first seen is sent too."""
    assert Cluster().poll(*first) == [("outage" if len(first) > 1 else "at_minimum", "")]


# ---- what a poll does not show ----


def unseen(verdict: Verdict) -> Verdict:
    """The verdict of a poll that can't tell the state of any node."""
    return replace(verdict, states=tuple("unknown" for _ in verdict.states))


def test_polls_that_can_not_tell_do_not_restart_the_time() -> None:
    """The node is lost at the first poll that sees it down after the delay, with the time of the first one."""
    cluster = Cluster(1800.0)
    cluster.poll()
    cluster.poll("10.0.0.1", hours=1)
    for _ in range(3):
        assert cluster.poll("10.0.0.1", hours=0.1, kept=unseen) == []
        assert cluster.poll("10.0.0.1", hours=0.1, error="nobody answers") == []
    assert cluster.poll("10.0.0.1", hours=0.1) == [("node_lost", "10.0.0.1")]
    assert cluster.last[0].data["down_since"] == "1970-01-01T01:00:00Z"
    cluster.poll("10.0.0.1", kept=unseen)
    assert cluster.poll("10.0.0.1", hours=1) == []


def test_a_node_is_not_lost_by_a_poll_that_can_not_tell() -> None:
    """The time passes, but only a poll that sees the node down sends the event; one that sees it up ends the time."""
    cluster = Cluster(1800.0)
    cluster.poll("10.0.0.1")
    assert cluster.poll("10.0.0.1", hours=1, kept=unseen) == []
    assert cluster.poll() == [("recovered", "")]
    assert cluster.poll(hours=1, kept=unseen) == []
    assert cluster.poll("10.0.0.1") == [("at_minimum", "")]


def test_a_poll_without_any_view_forgets_no_node() -> None:
    """If no view counts, perhaps only the contact points are known: the other nodes are not gone."""
    cluster = Cluster(1800.0)
    cluster.poll("10.0.0.1")
    assert cluster.poll("10.0.0.1", hours=1) == [("node_lost", "10.0.0.1")]

    def blind(verdict: Verdict) -> Verdict:
        seen = verdict.snapshot
        return replace(verdict, snapshot=replace(seen, nodes=seen.nodes[1:], views=()), states=("unknown", "unknown"))

    assert cluster.poll("10.0.0.1", kept=blind) == []
    assert cluster.poll("10.0.0.1", hours=1) == []


def test_a_lost_node_whose_host_id_becomes_known_is_not_lost_again() -> None:
    """It was announced by its address."""

    def nameless(verdict: Verdict) -> Verdict:
        seen = verdict.snapshot
        nodes = (replace(seen.nodes[0], host_id=None), *seen.nodes[1:])
        return replace(verdict, snapshot=replace(seen, nodes=nodes))

    cluster = Cluster(1800.0)
    cluster.poll("10.0.0.1", kept=nameless)
    assert cluster.poll("10.0.0.1", hours=1, kept=nameless) == [("node_lost", "10.0.0.1")]
    assert cluster.poll("10.0.0.1") == []
    assert cluster.poll("10.0.0.1") == []


def test_a_lease_store_that_does_not_answer_releases_no_node() -> None:
    """A node under a lease when the store last answered is not lost; nor is it at another address."""
    cluster = Cluster(60.0)
    cluster.poll()
    held = (lease("10.0.0.1"),)
    cluster.poll("10.0.0.1", holders=held)
    assert cluster.poll("10.0.0.1", holders=None, hours=2) == []
    moved = (replace(held[0], node="10.0.0.9", host_id="host-0"),)
    assert [kind for kind, _ in cluster.poll("10.0.0.1", holders=moved, hours=2)] != ["node_lost"]
    other = (replace(held[0], host_id="host-9"),)
    assert ("node_lost", "10.0.0.1") in cluster.poll("10.0.0.1", holders=other)


def test_leases_that_a_verdict_leaves_out_are_not_announced_again() -> None:
    """It lists only some of many old leases: the others may be among those that it only counts."""
    cluster = Cluster()
    cluster.poll()
    old = (lease("10.0.0.1", "2025-01-01T00:00:00Z"),)
    assert cluster.poll(holders=old) == [("lease_old", "10.0.0.1")]

    def cut_short(verdict: Verdict) -> Verdict:
        (listed,) = [finding for finding in verdict.findings if finding.code == "lease_overdue"]
        others = tuple(finding for finding in verdict.findings if finding.code != "lease_overdue")
        more = replace(listed, subject="10.0.0.2", more=1)
        return replace(verdict, findings=(*others, replace(listed, subject="10.0.0.3"), more))

    assert cluster.poll(holders=old, kept=cut_short) == [("lease_old", "10.0.0.3")]
    assert cluster.poll(holders=old) == []
