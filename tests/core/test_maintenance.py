"""Restart leases: which alarms they lower, and which they must not lower."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringcheck.core.assess import Question, assess
from ringcheck.core.consistency import Level
from ringcheck.core.maintenance import Holder, Maintenance
from ringcheck.core.policy import NagiosRange, Policy, Rule, Severity, Threshold
from ringcheck.core.ring import Problem, Snapshot
from ringcheck.documents.verdict import verdict_document
from ringcheck.report import nagios, text
from ringcheck.report.sensu import tier_severity
from tests.conftest import examples
from tests.core.clusters import address, addresses, findings, nodes, ring, snapshot, with_node, with_view
from tests.strategies import Cluster, clusters

if TYPE_CHECKING:
    from ringcheck.core.verdict import Verdict

EARLIER = "2024-05-06T07:00:00Z"  # eight minutes before the snapshots of tests.core.clusters
SIX = nodes("dc1:r1", "dc1:r2", "dc1:r3", "dc1:r1", "dc1:r2", "dc1:r3")
ROWS = [(1, 2, 3), (2, 3, 4), (3, 4, 5), (4, 5, 6)]
STRICT = Policy((Rule(keyspaces=("*",), critical=Threshold(Level.QUORUM), warning=Threshold(Level.ALL)),))
NEAR = Policy((Rule(keyspaces=("*",), critical=Threshold(Level.QUORUM), warning_failures_left=1),))
WHO = "restarting (lease of alice@ops1)"


def six(*down: int) -> Snapshot:
    return snapshot(SIX, [ring("orders", "SimpleStrategy {replication_factor=3}", ROWS, 6)], down)


def lease(*leased: int, since: str = EARLIER, deadline: float = 3600.0) -> Maintenance:
    return Maintenance(
        tuple(Holder(node=address(one), owner="alice@ops1", purpose="kernel", since=since) for one in leased), deadline
    )


def judged(seen: Snapshot, maintenance: Maintenance | None, policy: Policy = STRICT) -> Verdict:
    return assess(seen, policy, Question(), maintenance)


def lowered(verdict: Verdict, code: str) -> list[Severity]:
    return [one.severity for one in verdict.findings if one.code == code]


# ---- what is lowered ----


def test_a_ticket_of_a_leased_node_is_a_note() -> None:
    """Ranges that only the leased node makes unavailable at the warning level are a note that names the owner."""
    verdict = judged(six(3), lease(3))
    assert verdict.severity is Severity.OK
    assert findings(verdict)["unavailable"] == [
        f"OK 3 of 4 ranges (75.0 % of the tokens) of orders unavailable at ALL; 10.0.0.3 {WHO}"
    ]
    assert verdict.summary.endswith(f"(1 node down: 10.0.0.3 {WHO})")
    assert judged(six(3), None).severity is Severity.WARNING


def test_the_levels_agree_with_the_findings() -> None:
    """If a severity is lowered, it is also lowered in its level and its keyspace."""
    verdict = judged(six(3), lease(3))
    (keyspace,) = verdict.keyspaces
    assert keyspace.severity is Severity.OK
    assert [one.severity for one in keyspace.levels] == [Severity.OK, Severity.OK]
    assert [one.health.unavailable for one in keyspace.levels if one.health] == [0, 3]
    assert "keyspaces_warning=0;" in nagios.render(verdict)
    assert [tier_severity(verdict, tier) for tier in ("page", "ticket")] == [Severity.OK, Severity.OK]


def test_few_failures_left_are_a_note() -> None:
    """During a restart one more failure is expected to be an outage."""
    assert judged(six(3), None, NEAR).severity is Severity.WARNING
    verdict = judged(six(3), lease(3), NEAR)
    assert findings(verdict)["failures_left"] == [
        f"OK 1 more node failure to an outage of orders at QUORUM; 10.0.0.3 {WHO}"
    ]
    assert verdict.severity is Severity.OK


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"mode": "DRAINED"}, "view_discarded"),
        ({"native_transport_running": False}, "view_discarded"),
    ],
)
def test_a_leased_node_that_does_not_serve_yet_is_a_note(changed: dict[str, object], code: str) -> None:
    """While it is drained or starts, its peers see it up and its view does not count."""
    seen = with_node(six(), 3, **changed)
    assert lowered(judged(seen, None), code) == [Severity.WARNING]
    assert lowered(judged(seen, lease(3)), code) == [Severity.OK]


def test_a_leased_node_that_does_not_answer_is_a_note() -> None:
    """Its peers see it up until they notice the stop; an UNKNOWN about that node is lowered."""
    seen = with_view(six(), 3, outcome="unreachable", reason="refused")
    assert judged(seen, None).severity is Severity.UNKNOWN
    assert judged(seen, lease(3)).severity is Severity.OK
    assert judged(seen, lease(2)).severity is Severity.UNKNOWN


def test_a_problem_of_the_same_code_and_node_is_lowered_too() -> None:
    """A source may report about a view what the core would find itself."""
    problem = Problem("view_discarded", address(3), "half-started")
    seen = replace(six(), problems=(problem, replace(problem, subject=address(4))))
    verdict = judged(seen, lease(3))
    assert findings(verdict)["view_discarded"] == ["UNKNOWN half-started", f"OK half-started; 10.0.0.3 {WHO}"]


def test_views_that_differ_about_a_leased_node_are_a_note() -> None:
    """Peers do not notice a stop or a start at the same time."""
    seen = with_view(six(), 1, live=addresses([1, 2, 4, 5, 6]), unreachable=addresses([3]))
    assert lowered(judged(seen, None), "view_disagreement") == [Severity.WARNING]
    assert lowered(judged(seen, lease(3)), "view_disagreement") == [Severity.OK]
    assert lowered(judged(seen, lease(1)), "view_disagreement") == [Severity.WARNING]


@pytest.mark.parametrize(("started", "severity"), [(None, "WARNING"), (-60, "WARNING"), (60, "OK")])
def test_what_a_node_that_was_just_started_sees_down(started: int | None, severity: str) -> None:
    """It sees its peers down for some seconds; that is lowered only if the node was started under its lease."""
    since = 1714978800  # EARLIER
    seen = with_node(six(), 3, generation=None if started is None else since + started)
    seen = with_view(seen, 3, live=addresses([1, 2, 3, 4, 5]), unreachable=addresses([6]))
    assert [one.name for one in lowered(judged(seen, lease(3)), "view_disagreement")] == [severity]


def test_what_other_nodes_see_down_too_is_not_lowered() -> None:
    """A node that was just started sees a peer down, but so does another node."""
    seen = with_node(six(), 3, generation=2_000_000_000)
    for observer in (1, 3):
        seen = with_view(seen, observer, live=addresses([1, 2, 3, 4, 5]), unreachable=addresses([6]))
    assert lowered(judged(seen, lease(3)), "view_disagreement") == [Severity.WARNING]


def test_a_datacenter_of_leased_nodes_alone() -> None:
    """If all nodes of a datacenter are under a lease, its missing views are lowered."""
    members = nodes("dc1:r1", "dc1:r2", "dc2:r1")
    seen = snapshot(members, [ring("orders", "NetworkTopologyStrategy {dc1=2}", [(1, 2)] * 4, 3)])
    seen = with_view(seen, 3, outcome="unreachable", reason="refused")
    assert lowered(judged(seen, None), "view_missing") == [Severity.UNKNOWN] * 2
    assert lowered(judged(seen, lease(3)), "view_missing") == [Severity.OK] * 2
    wider = snapshot((*members, *nodes(*["dc2:r2"] * 4)[3:]), seen.rings)
    blind = with_view(with_view(wider, 3, outcome="unreachable"), 4, outcome="unreachable")
    assert lowered(judged(blind, lease(3)), "view_missing") == [Severity.UNKNOWN] * 2 + [Severity.OK]


# ---- what is not lowered ----


def test_the_page_tier_is_never_lowered() -> None:
    """Lost ranges are lost, whether or not this was planned."""
    verdict = judged(six(2, 3), lease(2, 3))
    assert verdict.severity is Severity.CRITICAL
    assert tier_severity(verdict, "page") is Severity.CRITICAL
    assert [one.severity for one in verdict.keyspaces[0].levels] == [Severity.CRITICAL, Severity.OK]


@pytest.mark.parametrize("other", [1, 2, 4, 6])
def test_another_down_node_keeps_the_severity(other: int) -> None:
    """The other node makes more ranges unavailable, or the same ranges as the leased node."""
    page = Policy((Rule(keyspaces=("*",), critical=Threshold(Level.ONE), warning=Threshold(Level.ALL)),))
    assert judged(six(3, other), lease(3), page).severity is Severity.WARNING
    assert judged(six(3, other), lease(3, other), page).severity is Severity.OK


def test_a_node_that_takes_the_same_ranges_keeps_the_severity() -> None:
    """The other node adds no ranges to the counts, but these ranges are lost because of it too."""
    rows = [(1, 2, 3)] * 4
    members = SIX[:3]
    seen = snapshot(members, [ring("orders", "SimpleStrategy {replication_factor=3}", rows, 3)], [2, 3])
    policy = Policy((Rule(keyspaces=("*",), critical=Threshold(Level.ONE), warning=Threshold(Level.ALL)),))
    assert judged(seen, lease(3), policy).severity is Severity.WARNING
    assert judged(seen, lease(2, 3), policy).severity is Severity.OK


def test_a_loss_that_takes_two_nodes_is_not_lowered_for_one() -> None:
    """Only both nodes together lose a quorum, and not the leased one alone; the same applies to failures left."""
    page = Policy((Rule(keyspaces=("*",), critical=Threshold(Level.ONE), warning=Threshold(Level.QUORUM)),))
    assert "lease_held" in findings(judged(six(3), lease(3), page))
    assert judged(six(3, 4), lease(3), page).severity is Severity.WARNING
    none_left = Policy((Rule(keyspaces=("*",), critical=Threshold(Level.ONE), warning_failures_left=1),))
    assert judged(six(3), lease(3), none_left).severity is Severity.OK
    assert judged(six(3, 4), lease(3), none_left).severity is Severity.WARNING
    assert judged(six(3, 4), lease(3, 4), none_left).severity is Severity.OK


def test_a_lease_on_a_node_that_is_up_lowers_nothing() -> None:
    """Another node is down, and takes as many ranges as the leased node would."""
    assert judged(six(3), lease(4)).severity is Severity.WARNING
    assert judged(six(4), lease(3)).severity is Severity.WARNING


def test_the_loss_that_another_view_sees_counts() -> None:
    """One coordinator sees the leased node down, another sees a node without a lease down: the second view counts."""
    seen = with_view(six(3), 1, live=addresses([1, 2, 3, 4, 5]), unreachable=addresses([6]))
    policy = Policy((Rule(keyspaces=("*",), critical=Threshold(Level.ONE), warning=Threshold(Level.ALL)),))
    verdict = judged(seen, lease(3), policy)
    assert [one.severity for one in verdict.keyspaces[0].levels] == [Severity.OK, Severity.WARNING]
    assert findings(verdict)["unavailable"] == [
        "WARNING 4 of 4 ranges (100.0 % of the tokens) of orders unavailable at ALL"
    ]


@pytest.mark.parametrize("observer", [1, 6])
def test_few_failures_left_that_another_view_sees_count(observer: int) -> None:
    """Whichever coordinator comes first, the worst view is the one that sees the node without a lease down."""
    everyone = {1, 2, 3, 4, 5, 6}
    seen = with_view(six(3), observer, live=addresses(everyone - {4}), unreachable=addresses([4]))
    (keyspace,) = judged(seen, lease(3), NEAR).keyspaces
    assert keyspace.severity is Severity.WARNING
    assert keyspace.levels[0].worst_view == address(observer)


def test_failures_left_by_another_node() -> None:
    """A second node that is down brings the outage just as near without the leased node."""
    seen = six(3, 6)
    assert judged(seen, lease(3), NEAR).severity is Severity.WARNING
    assert judged(seen, lease(3, 6), NEAR).severity is Severity.OK


@pytest.mark.parametrize(
    ("code", "subject"),
    [("ring_unreadable", "orders"), ("ring_behind", address(3)), ("wrong_node", address(3)), ("view_missing", "dc1")],
)
def test_a_gap_in_the_data_stays(code: str, subject: str) -> None:
    """A lease explains why its node's view is missing, but no other missing data."""
    seen = replace(six(3), problems=(Problem(code, subject, "text"),))
    assert judged(seen, lease(3)).severity is Severity.UNKNOWN


def test_a_cluster_without_views_stays_unknown() -> None:
    """With all nodes under a lease there is no view, and nothing is known about any range."""
    verdict = judged(replace(six(), views=()), lease(1, 2, 3, 4, 5, 6))
    assert verdict.severity is Severity.UNKNOWN


# ---- deadlines and times ----


@pytest.mark.parametrize(
    ("since", "deadline", "old"),
    [
        ("2024-05-06T07:08:09Z", 1, False),
        ("2024-05-06T06:08:09Z", 3600, False),
        ("2024-05-06T06:08:08Z", 3600, True),
        ("2024-05-06T08:08:10Z", 3600, True),
        ("2024-05-06T07:08:09", 1, False),
        ("2024-05-06T09:08:09+02:00", 1, False),
        ("yesterday", 3600, True),
    ],
)
def test_a_lease_ends_with_its_deadline(since: str, deadline: float, old: bool) -> None:  # noqa: FBT001 - a case
    """After the deadline, or if its time is impossible, it lowers nothing and is itself a finding."""
    verdict = judged(six(3), lease(3, since=since, deadline=deadline))
    assert verdict.severity is (Severity.WARNING if old else Severity.OK)
    assert ("lease_overdue" in findings(verdict)) is old
    assert ("lease_held" in findings(verdict)) is not old


def test_an_overdue_lease_says_how_old_it_is() -> None:
    """One line has its owner, its age and the deadline; the summary calls it overdue."""
    verdict = judged(six(3), lease(3, since="2024-05-06T05:08:09Z"))
    line = "10.0.0.3 is under the restart lease of alice@ops1 since 2024-05-06T05:08:09Z"
    assert findings(verdict)["lease_overdue"] == [f"WARNING {line}, 120 min ago; 60 min are allowed"]
    assert "10.0.0.3 restarting (lease of alice@ops1, overdue)" in verdict.summary


def test_an_overdue_lease_warns_even_when_all_is_well() -> None:
    """A forgotten lease blocks the restarts of others."""
    assert judged(six(), lease(3, since="2024-05-06T05:08:09Z")).severity is Severity.WARNING


# ---- outputs ----


def test_holders_are_named_by_every_output() -> None:
    """They are in the line and long output of Nagios, the text and the document, even while the node is still up."""
    verdict = judged(six(), lease(3))
    assert f"6 of 6 nodes up; 10.0.0.3 {WHO}; " in nagios.render(verdict).splitlines()[0]
    note = "note: 10.0.0.3 is under the restart lease of alice@ops1 since 2024-05-06T07:00:00Z (kernel) [lease_held]"
    assert note in nagios.render(verdict, verbosity=2).splitlines()
    assert "  note lease_held: 10.0.0.3 is under the restart lease" in text.render(verdict)
    assert verdict_document(verdict)["holders"] == [
        {"node": "10.0.0.3", "owner": "alice@ops1", "purpose": "kernel", "since": EARLIER}
    ]


def test_a_node_is_found_by_its_host_id() -> None:
    """It may come back at another address; nothing is lowered for the node that now has its old address."""
    moved = Maintenance((Holder(node=address(4), owner="alice@ops1", purpose="", since=EARLIER, host_id="host-3"),))
    assert judged(six(3), moved).severity is Severity.OK
    assert judged(six(4), moved).severity is Severity.WARNING
    gone = Maintenance((Holder(node=address(3), owner="alice@ops1", purpose="", since=EARLIER, host_id="host-9"),))
    assert judged(six(3), gone).severity is Severity.WARNING
    assert [one.detail for one in judged(six(), gone).findings] == ["not a node of the cluster"]


def test_a_store_that_does_not_answer() -> None:
    """Nothing is lowered, and a note says so; the note itself is no alarm."""
    unknown = Maintenance(lease(3).holders, problem="connection refused")
    verdict = judged(six(), unknown)
    assert findings(verdict)["leases_unknown"] == ["OK who holds restart leases is not known: connection refused"]
    assert verdict.severity is Severity.OK
    assert verdict_document(verdict)["holders"] is None
    assert judged(six(3), Maintenance(problem="connection refused")).severity is Severity.WARNING


def test_no_lease_changes_nothing() -> None:
    """With an empty store of leases the verdict is the same as without a store."""
    assert judged(six(3), Maintenance()) == judged(six(3), None)


# ---- over random clusters ----


@pytest.mark.slow
@settings(max_examples=examples(200))
@given(clusters(views=3, tables=2), st.data())
def test_only_the_ticket_tier_and_only_for_leased_nodes(cluster: Cluster, data: st.DataObject) -> None:
    """In any cluster pages and gaps stay, nothing gets worse, and a loss of leased nodes alone is lowered."""
    seen, names = cluster.snapshot(), sorted(cluster.places)
    leased = data.draw(st.lists(st.sampled_from(names), max_size=3, unique=True))
    rule = Rule(
        keyspaces=("*",),
        critical=Threshold(Level.LOCAL_ONE),
        warning=Threshold(Level.ALL, NagiosRange(0, 0)),
        warning_failures_left=1,
    )
    maintenance = Maintenance(tuple(Holder(node=one, owner="me", purpose="", since=seen.taken_at) for one in leased))
    before, after = (assess(seen, Policy((rule,)), Question(), one) for one in (None, maintenance))
    pages = [[one for one in each.findings if one.severity is Severity.CRITICAL] for each in (before, after)]
    assert pages[0] == pages[1]
    assert after.severity <= before.severity
    for one, two in zip(before.keyspaces, after.keyspaces, strict=True):
        assert two.severity <= one.severity
    lost = set(names) - frozenset(names).intersection(*[view.live for view in seen.views if view.outcome == "ok"])
    if not lost & set(leased):
        assert [one.severity for one in after.keyspaces] == [one.severity for one in before.keyspaces]


def test_a_known_age_counts_in_place_of_the_clock() -> None:
    """The agent knows how long it has seen a lease; a clock that was set does not make the lease overdue."""
    old = lease(3, since="2020-01-01T00:00:00Z")
    assert judged(six(3), old).severity is Severity.WARNING
    (holder,) = old.holders
    known = replace(old, ages={holder: 60.0})
    assert judged(six(3), known).severity is Severity.OK
    assert judged(six(3), replace(old, ages={holder: 86400.0})).severity is Severity.WARNING
