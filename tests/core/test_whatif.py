"""Suppositions and risks, compared with tables and with a brute force."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringcheck.core import failuresets
from ringcheck.core.assess import Question, assess
from ringcheck.core.consistency import Level
from ringcheck.core.policy import Policy, Rule, Severity, Threshold
from ringcheck.core.ring import Problem, View
from ringcheck.core.risk import LevelRisk, Losses, Risk, risk
from ringcheck.core.whatif import Supposition, suppose, what_if
from ringcheck.errors import UsageError
from tests.conftest import examples
from tests.core.bruteforce import LEVELS, Case
from tests.core.clusters import address, addresses, nodes, ring, snapshot, with_node, with_view
from tests.core.test_bruteforce import NEAR, exact
from tests.core.test_verdicts import cases, eyes, told, watching
from tests.strategies import Cluster, clusters

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ringcheck.core.verdict import Verdict

SIX = nodes("dc1:r1", "dc1:r1", "dc1:r2", "dc1:r2", "dc1:r3", "dc1:r3")
ROWS = [[1, 3, 5], [2, 4, 6], [1, 4, 5], [2, 3, 6]]
ORDERS = ring("orders", "NetworkTopologyStrategy {dc1=3}", ROWS, 6)
WELL = snapshot(SIX, [ORDERS])


def numbers(verdict: Verdict) -> object:
    """Everything of a verdict except its texts."""
    codes = sorted((one.code, one.severity, one.subject) for one in verdict.findings)
    return verdict.severity, verdict.states, verdict.seen_down_by, verdict.keyspaces, verdict.recover_first, codes


def only(risks: Risk, level: Level) -> LevelRisk:
    (level_risk,) = [level_risk for level_risk in risks.levels if level_risk.level is level]
    return level_risk


def level_of(risks: Risk, keyspace: str, client: str | None) -> LevelRisk:
    (level_risk,) = [risk for risk in risks.levels if (risk.keyspaces, risk.datacenter) == ((keyspace,), client)]
    return level_risk


# Suppositions


@pytest.mark.slow
@settings(max_examples=examples(200))
@given(clusters(views=3, tables=2), st.sampled_from(LEVELS), st.data())
def test_a_supposition_is_the_verdict_without_these_nodes(cluster: Cluster, level: str, data: st.DataObject) -> None:
    """The brute force gives the same result if these nodes are in no view and have no clients."""
    gone = set(data.draw(st.lists(st.sampled_from(sorted(cluster.places)), min_size=1, unique=True)))
    left = {name: live - gone for name, live in cluster.live.items() if name not in gone}
    verdict = assess(suppose(cluster.snapshot(), gone), watching(level))
    if not left:
        assert verdict.severity is Severity.UNKNOWN
        return
    remaining = replace(cluster, live=left)
    dead = tuple(
        View(name, outcome="unreachable", reason="connection refused") for name in cluster.live if name in gone
    )
    stopped = remaining.snapshot()
    assert numbers(verdict) == numbers(assess(replace(stopped, views=(*stopped.views, *dead)), watching(level)))
    for keyspace, case in cases(remaining, level):
        health = told(verdict, keyspace, case.client).health
        assert health is not None
        if exact(case):
            outages = [case.outage(live) for live in eyes(remaining, case.client).values()]
            if case.client is None:  # a client may ask any node, so a range that any of them refuses is lost
                outages = [set[tuple[int, int]]().union(*outages)]
            assert health.outage == max(len(case.arcs_of(outage)) for outage in outages)


@pytest.mark.slow
@settings(max_examples=examples(150))
@given(clusters(views=3, tables=1), st.data())
def test_down_and_back_is_as_it_was(cluster: Cluster, data: st.DataObject) -> None:
    """Nodes that are assumed up again are up for every view, and everything is as before if all views agreed."""
    live = frozenset.intersection(*cluster.live.values())
    agreed = replace(cluster, live={name: live | {name} for name in live if name not in cluster.joining})
    gone = (
        data.draw(st.sets(st.sampled_from(sorted(agreed.live)), max_size=len(agreed.live) - 1))
        if agreed.live
        else set()
    )
    seen = agreed.snapshot()
    again = suppose(suppose(seen, gone), (), gone)
    assert numbers(assess(again, watching("QUORUM"))) == numbers(assess(seen, watching("QUORUM")))


def test_what_a_supposition_changes() -> None:
    """With two nodes of one range down there is a new warning; the levels that change are listed with both states."""
    result = what_if(WELL, Policy(), Supposition(down=(address(1), address(3))))
    assert (result.now.severity, result.then.severity) == (Severity.OK, Severity.WARNING)
    steps = [
        (
            change.then.level,
            change.now and change.now.severity,
            change.then.severity,
            change.then.health and change.then.health.unavailable,
        )
        for change in result.changes
    ]
    assert steps == [
        (Level.LOCAL_ONE, Severity.OK, Severity.OK, 0),
        (Level.LOCAL_QUORUM, Severity.OK, Severity.WARNING, 1),
    ]
    assert what_if(snapshot(SIX, [ORDERS], [1]), Policy(), Supposition(down=(address(1),))).changes == ()


def test_the_last_coordinators_leave_no_verdict() -> None:
    """Without a usable view the verdict is never OK."""
    result = what_if(WELL, Policy(), Supposition(down=tuple(node.address for node in SIX)))
    assert result.then.severity is Severity.UNKNOWN


def test_a_node_that_is_back_serves() -> None:
    """A node that is assumed up sees what all others see, whatever its own view was."""
    seen = with_node(snapshot(SIX, [ORDERS], [1, 3]), 1, mode=None, release_version=None)
    supposed = suppose(seen, up=[address(1)])
    (view,) = [view for view in supposed.views if view.observer == address(1)]
    assert (view.outcome, view.live) == ("ok", addresses([1, 2, 4, 5, 6]))
    assert view.unreachable == addresses([3])
    assert assess(supposed, Policy()).severity is Severity.OK


def test_a_view_that_lists_only_live_nodes() -> None:
    """Without a list of unreachable nodes, a node that is assumed down is only removed from the live nodes."""
    silent = replace(WELL, views=tuple(replace(view, unreachable=None) for view in WELL.views))
    verdict = assess(suppose(silent, [address(1), address(3)]), Policy())
    assert (verdict.down(), verdict.severity) == ([address(1), address(3)], Severity.WARNING)
    assert "10.0.0.1 is down (assumed down)" in [one.summary for one in verdict.findings]


def test_a_node_that_is_supposed_up_sees_down_what_any_other_view_sees_down() -> None:
    """Its own view is not known, so the worst of the other views is assumed."""
    seen = with_view(snapshot(SIX, [ORDERS], [1]), 2, live=addresses([2, 4, 5, 6]), unreachable=addresses([1, 3]))
    (view,) = [view for view in suppose(seen, up=[address(1)]).views if view.observer == address(1)]
    assert (view.live, view.unreachable) == (addresses([1, 2, 4, 5, 6]), addresses([3]))


def test_a_stale_view_is_not_used() -> None:
    """The view that a node had while it was drained does not count once it is assumed up."""
    drained = with_view(with_node(WELL, 2, mode="DRAINED"), 2, live=addresses([2]), unreachable=addresses([1, 3]))
    assert assess(suppose(drained, up=[address(2)]), Policy()).severity is Severity.OK


def test_missing_data_stays_missing() -> None:
    """A supposition can't add what could not be read."""
    seen = replace(snapshot(SIX, [ORDERS], [1]), problems=(Problem("ring_unreadable", "orders", "it is cut off"),))
    assert what_if(seen, Policy(), Supposition(up=(address(1),))).then.severity is Severity.UNKNOWN


@pytest.mark.parametrize(
    ("down", "up", "error"),
    [
        (["10.9.9.9"], [], "10.9.9.9 is not a node of test"),
        ([], ["10.9.9.9"], "10.9.9.9 is not a node of test"),
        ([address(1)], [address(1)], "10.0.0.1 can't be assumed both down and up"),
    ],
)
def test_impossible_suppositions_are_refused(down: list[str], up: list[str], error: str) -> None:
    """An address that no node has, or a node that is supposed both down and up, is named in the error."""
    with pytest.raises(UsageError, match=error):
        suppose(WELL, down, up)


# Risks


def smallest(case: Case, live: Collection[str], groups: Mapping[object, set[str]]) -> dict[frozenset[object], float]:
    """Every smallest set whose loss is an outage, and the share that it loses; the empty set if ranges are lost now."""
    for size in range(len(groups) + 1):
        losses = {}
        for chosen in combinations(sorted(groups, key=str), size):
            dead = {node for group in chosen for node in groups[group]}
            lost = case.outage(set(live) - dead)
            if lost:
                losses[frozenset(chosen)] = float(case.share(lost))
        if losses:
            return losses
    return {}


def check(losses: Losses[Any], expected: dict[frozenset[object], float]) -> None:
    """Check for the same sets, each once, with the same shares, the largest share first."""
    if not expected or frozenset() in expected:
        assert (losses.failures, losses.worst) == ((0 if expected else None), ())
        return
    assert losses.failures == len(next(iter(expected)))
    assert losses.number == losses.at_most == len(losses.worst) == len(expected)
    assert {frozenset(loss.members) for loss in losses.worst} == set(expected)
    assert losses.concerned == len(frozenset().union(*expected))
    assert all(abs(loss.share - expected[frozenset(loss.members)]) < NEAR for loss in losses.worst)
    assert [loss.share for loss in losses.worst] == sorted((loss.share for loss in losses.worst), reverse=True)


@pytest.mark.slow
@settings(max_examples=examples(500))
@given(clusters(nodes=7), st.sampled_from(LEVELS))
def test_the_smallest_losses_are_the_brute_force_s(cluster: Cluster, level: str) -> None:
    """At every level, the sets of nodes and of racks and their shares are what trying all sets finds."""
    risks = risk(cluster.snapshot(), watching(level), limit=10**6)
    live = next(iter(cluster.live.values()))
    racks: dict[object, set[str]] = {}
    for name, place in cluster.places.items():
        racks.setdefault((place.dc, place.rack), set()).add(name)
    for keyspace, case in cases(cluster, level):
        level_risk = level_of(risks, keyspace, case.client)
        if exact(case) and level_risk.nodes and level_risk.racks:
            check(level_risk.nodes, smallest(case, live, {name: {name} for name in live}))
            alive = {rack: members & live for rack, members in racks.items() if members & live}
            check(level_risk.racks, smallest(case, live, alive))
        assert level_risk.nodes is not None or risks.gaps


@pytest.mark.slow
@settings(max_examples=examples(150))
@given(clusters(nodes=7, views=3, tables=2), st.sampled_from(LEVELS))
def test_the_worst_view_counts(cluster: Cluster, level: str) -> None:
    """Of several views the nearest loss counts, and overall the nearest of all keyspaces and datacenters."""
    risks = risk(cluster.snapshot(), watching(level), limit=10**6)
    failures = []
    for keyspace, case in cases(cluster, level):
        if not exact(case):
            return
        level_risk = level_of(risks, keyspace, case.client)
        sizes = {case.node_failures(live) for live in eyes(cluster, case.client).values()}
        failures.append(min((size for size in sizes if size is not None), default=None))
        assert level_risk.nodes is not None
        assert level_risk.nodes.failures == failures[-1]
    (overall,) = risks.overall
    assert overall.nodes.failures == min((size for size in failures if size is not None), default=None)


def test_pairs_of_a_rack_aware_ring() -> None:
    """Each pair that shares a range is listed once; pairs that share two lose twice as much, and come first."""
    quorum = only(risk(WELL, Policy(), limit=3), Level.LOCAL_QUORUM)
    assert quorum.nodes is not None
    assert (quorum.nodes.failures, quorum.nodes.number, quorum.nodes.concerned) == (2, 10, 6)
    assert [(loss.members, loss.share) for loss in quorum.nodes.worst] == [
        ((address(1), address(5)), 0.5),
        ((address(2), address(6)), 0.5),
        ((address(1), address(3)), 0.25),
    ]
    assert quorum.racks is not None
    assert (quorum.racks.failures, quorum.racks.number) == (2, 3)


def test_a_loss_costs_what_it_costs_in_the_worst_view() -> None:
    """If views see different nodes down, each loss has the largest share that it has in any view."""
    seen = with_view(snapshot(SIX, [ORDERS], [1]), 6, live=addresses([1, 2, 4, 5, 6]), unreachable=addresses([3]))
    quorum = only(risk(seen, Policy(), limit=9), Level.LOCAL_QUORUM)
    assert quorum.nodes is not None
    # Node 5 shares two ranges with 1, which most views see down, and one with 3, which only node 6 sees down.
    costs = {loss.members[0]: loss.share for loss in quorum.nodes.worst}
    assert costs == {address(5): 0.5, **dict.fromkeys(map(address, (1, 2, 3, 4, 6)), 0.25)}


def test_nodes_that_are_down_count_already() -> None:
    """If a node is already down, losing any one node that shares a range with it is an outage."""
    quorum = only(risk(snapshot(SIX, [ORDERS], [1]), Policy()), Level.LOCAL_QUORUM)
    assert quorum.nodes is not None
    assert {loss.members for loss in quorum.nodes.worst} == {(address(3),), (address(4),), (address(5),)}
    lost = only(risk(snapshot(SIX, [ORDERS], [1, 3]), Policy()), Level.LOCAL_QUORUM)
    assert lost.nodes == Losses(failures=0)


def test_racks_that_are_an_outage_alone() -> None:
    """A rack that has two of three replicas is a loss alone."""
    lopsided = ring("orders", "NetworkTopologyStrategy {dc1=3}", [[1, 2, 5], [3, 4, 5]], 6)
    quorum = only(risk(snapshot(SIX, [lopsided]), Policy()), Level.LOCAL_QUORUM)
    assert quorum.racks is not None
    assert [loss.members for loss in quorum.racks.worst] == [(("dc1", "r1"),), (("dc1", "r2"),)]


def test_no_data_is_no_safety() -> None:
    """Without a usable view there is a gap, and no list of losses that could be read as no risk."""
    risks = risk(snapshot(SIX, [ORDERS], range(1, 7)), Policy())
    assert [one.code for one in risks.gaps] == ["no_usable_view"]
    assert (risks.levels, risks.overall) == ((), ())


def test_a_level_that_can_t_be_judged_leaves_its_tier_out() -> None:
    """If a replication is not known, its tier has no overall loss, because a smaller loss may be an outage there."""
    rings = [ORDERS, ring("old", None, ROWS, 6)]
    risks = risk(snapshot(SIX, rings), Policy())
    assert [one.tier for one in risks.overall] == [Severity.CRITICAL]
    (unknown,) = [one for one in risks.levels if one.problem]
    assert (unknown.keyspaces, unknown.level, unknown.nodes) == (("old",), Level.LOCAL_QUORUM, None)
    assert [one.code for one in risks.gaps] == ["replication_unknown"]


def test_structurally_unavailable_ranges_are_in_no_loss() -> None:
    """Ranges that are unavailable even with all nodes up are counted separately."""
    short = ring("orders", "NetworkTopologyStrategy {dc1=5}", [[1, 2], [3, 4, 5]], 6)
    quorum = only(risk(snapshot(SIX, [short]), Policy(), Question(keyspaces=("orders",))), Level.LOCAL_QUORUM)
    assert quorum.structurally_unavailable == 1
    assert quorum.nodes is not None
    assert {loss.members for loss in quorum.nodes.worst} == {(address(3),), (address(4),), (address(5),)}
    assert quorum.racks is not None
    assert [loss.members for loss in quorum.racks.worst] == [(("dc1", "r2"),), (("dc1", "r3"),)]


@settings(max_examples=examples(100))
@given(cluster=clusters(nodes=7), level=st.sampled_from(LEVELS), room=st.integers(1, 12))
def test_too_many_sets_are_not_counted(cluster: Cluster, level: str, room: int) -> None:
    """If not all sets are generated, the listed sets have their exact shares, and no number of sets is given."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failuresets, "_ENUMERATED", room)
        some = risk(cluster.snapshot(), watching(level), limit=4).levels
    every = risk(cluster.snapshot(), watching(level), limit=10**6).levels
    for few, full in zip(some, every, strict=True):
        if few.nodes is None or full.nodes is None or few.nodes.number is not None:
            assert few.nodes is None or few.nodes.number == (full.nodes and full.nodes.number)
            continue
        assert few.nodes.at_most >= (full.nodes.number or 0)
        assert set(few.nodes.worst) <= set(full.nodes.worst)


def test_tiers_and_levels_that_are_only_shown() -> None:
    """A level that is not watched is listed without a tier; keyspaces with one rule and ring are listed together."""
    both = replace(ORDERS, keyspaces=("orders", "carts"))
    policy = Policy((Rule(keyspaces=("*",), critical=Threshold(Level.LOCAL_QUORUM)),))
    risks = risk(snapshot(SIX, [both]), policy, Question(levels=(Level.ALL,)))
    assert [(one.keyspaces, one.level, one.tier) for one in risks.levels] == [
        (("carts", "orders"), Level.ALL, None),
        (("carts", "orders"), Level.LOCAL_QUORUM, Severity.CRITICAL),
    ]
    assert [one.tier for one in risks.overall] == [Severity.CRITICAL]
