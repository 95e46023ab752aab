"""Whole verdicts on random clusters, compared with the brute force and with themselves in another order."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ringcheck.core.assess import Question, assess
from ringcheck.core.consistency import Level
from ringcheck.core.headroom import demands_of
from ringcheck.core.policy import Policy, Rule, Severity, Threshold
from ringcheck.core.ring import Ring
from tests.conftest import examples
from tests.core.bruteforce import LEVELS, LOCAL_LEVELS, Case
from tests.core.test_bruteforce import NEAR, exact, state_of
from tests.strategies import Cluster, clusters

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ringcheck.core.ring import Snapshot
    from ringcheck.core.verdict import LevelVerdict, Verdict

levels = st.sampled_from(LEVELS)


def watching(level: str) -> Policy:
    return Policy((Rule(keyspaces=("*",), critical=Threshold(Level(level))),))


def cases(cluster: Cluster, level: str) -> Iterator[tuple[str, Case]]:
    """What is judged: each keyspace, for the clients of the datacenters that hold it."""
    for number, table in enumerate(cluster.tables):
        holding = sorted({cluster.places[node].dc for arc in table.natural for node in arc.nodes})
        homes = holding if table.factors.kind == "nts" and holding else cluster.datacenters
        for client in homes if level in LOCAL_LEVELS else (None,):
            yield f"ks{number}", cluster.case(table, level, client)


def eyes(cluster: Cluster, client: str | None) -> dict[str, frozenset[str]]:
    """The coordinators that count: those of a datacenter, or all if it has none or the level is not LOCAL."""
    there = {name: live for name, live in cluster.live.items() if cluster.places[name].dc == client}
    return there or cluster.live


def told(verdict: Verdict, keyspace: str, client: str | None) -> LevelVerdict:
    (found,) = [
        level
        for each in verdict.keyspaces
        for level in each.levels
        if (each.name, level.datacenter) == (keyspace, client)
    ]
    return found


@pytest.mark.slow
@settings(max_examples=examples(350))
@given(clusters(views=3, tables=2), levels)
def test_the_worst_view_is_the_one_that_has_lost_most(cluster: Cluster, level: str) -> None:
    """The view with most lost ranges is named, and any loss is CRITICAL."""
    assume(all(exact(case) for _, case in cases(cluster, level)))
    verdict = assess(cluster.snapshot(), watching(level))
    loud = False
    for keyspace, case in cases(cluster, level):
        found = told(verdict, keyspace, case.client)
        assert found.health is not None
        seen = eyes(cluster, case.client)
        outages = {name: len(case.arcs_of(case.outage(live))) for name, live in seen.items()}
        assert found.worst_view in outages
        assert outages[found.worst_view] == max(outages.values())
        if case.client is None:  # a client may ask any node, so a range that any of them refuses is lost
            assert found.health.outage == len(case.arcs_of(set().union(*map(case.outage, seen.values()))))
            assert found.health.unavailable == len(case.arcs_of(set().union(*map(case.failing, seen.values()))))
        else:
            assert found.health.outage == max(outages.values())
            assert found.health.unavailable == len(case.arcs_of(case.failing(seen[found.worst_view])))
        assert (found.severity is Severity.CRITICAL) == (max(outages.values()) > 0)
        loud |= max(outages.values()) > 0
        if case.hopeless():
            assert found.severity is not Severity.OK
    assert (verdict.severity is Severity.CRITICAL) == loud


@pytest.mark.slow
@settings(max_examples=examples(200))
@given(clusters(views=3), levels)
def test_one_view_alone_is_judged_as_in_company(cluster: Cluster, level: str) -> None:
    """The numbers of the worst view are those that it has when it is judged alone."""
    snapshot = cluster.snapshot()
    policy = Policy(watching(level).rules, cluster.datacenters[:1])
    for found in assess(snapshot, policy).keyspaces[0].levels:
        assert found.worst_view is not None
        alone = assess(snapshot, policy, Question(view=found.worst_view)).keyspaces[0].levels[0]
        if alone.datacenter == found.datacenter:
            assert alone.health == found.health


def gain(cluster: Cluster, level: str, back: Collection[str], node: str) -> Fraction:
    """The largest share of a keyspace's tokens that are served again when a node returns."""
    live = next(iter(cluster.live.values())).union(back)
    regained = [case.share(case.failing(live) - case.failing(live | {node})) for _, case in cases(cluster, level)]
    return max(regained, default=Fraction(0))


@pytest.mark.slow
@settings(max_examples=examples(300))
@given(clusters(tables=2), levels)
def test_the_first_to_recover_is_the_one_that_restores_most(cluster: Cluster, level: str) -> None:
    """Each node in the order restores the largest share of all nodes left, once those before it are back."""
    assume(all(exact(case) for _, case in cases(cluster, level)))
    verdict = assess(cluster.snapshot(), watching(level))
    live = next(iter(cluster.live.values()))
    left, back = sorted(set(cluster.places) - live), list[str]()
    for one in verdict.recover_first:
        gains = {node: gain(cluster, level, back, node) for node in left}
        name = verdict.snapshot.nodes[one.node].address
        assert abs(one.restores_share - gains[name]) < NEAR
        assert gains[name] > max(gains.values()) - NEAR
        back.append(name)
        left.remove(name)
    assert all(gain(cluster, level, back, node) < NEAR for node in left)
    assert not verdict.recover_first or verdict.recover_first[-1].restores_share > 0


@pytest.mark.slow
@settings(max_examples=examples(200))
@given(clusters(), st.data())
def test_breakers_are_the_nodes_whose_stop_loses_a_range(cluster: Cluster, data: st.DataObject) -> None:
    """These are the nodes found by stopping each node alone; with pending ranges there may be more, never fewer."""
    state, rules = state_of(cluster)
    live = next(iter(cluster.live.values()))
    table = cluster.tables[0]
    for case in data.draw(st.lists(st.sampled_from(cluster.cases(table)), min_size=1, max_size=5)):
        if not exact(case):
            continue
        demands = demands_of(Level(case.level), case.client, rules).values()
        found = {list(cluster.places)[index] for index in state.breakers(demands)}
        tried = {
            node
            for node in live
            if any(case.unserved(live - {node}, one) - case.unserved(live, one) for one in case.operations)
        }
        assert found >= tried
        if not table.pending:
            assert found == tried


# ---- the same in another order ----


def essence(verdict: Verdict) -> object:
    """The content of a verdict without the order of nodes."""
    return (
        verdict.severity,
        sorted((one.code, one.severity.name, one.subject, one.summary) for one in verdict.findings),
        [
            (each.name, level.level, level.datacenter, level.severity, level.worst_view, numbers(level))
            for each in verdict.keyspaces
            for level in each.levels
        ],
        sorted(verdict.down()),
    )


def numbers(level: LevelVerdict) -> object:
    health = level.health
    assert health is not None
    worst = health.worst_range and (health.worst_range.start, health.worst_range.end)
    return replace(health, worst_range=None), worst, level.unavailable_ranges


@pytest.mark.slow
@settings(max_examples=examples(150))
@given(clusters(views=3, tables=2), levels, st.data())
def test_no_order_matters(cluster: Cluster, level: str, data: st.DataObject) -> None:
    """Listing nodes, views, rings, replicas and pending ranges in another order gives the same verdict."""
    question = Question(ranges=True, levels=(Level.QUORUM,))
    order = data.draw(st.permutations(list(cluster.places)))
    mixed = cluster.snapshot(order)
    mixed = replace(
        mixed,
        views=tuple(data.draw(st.permutations(mixed.views))),
        rings=tuple(data.draw(st.permutations([shuffled(ring, data) for ring in mixed.rings]))),
    )
    policy = watching(level)
    assert essence(assess(mixed, policy, question)) == essence(assess(cluster.snapshot(), policy, question))


def shuffled(ring: Ring, data: st.DataObject) -> Ring:
    """The same ring, read in another order."""
    rows = [(*ring.range(index), data.draw(st.permutations(ring.replicas(index)))) for index in range(len(ring))]
    pending = data.draw(st.permutations(ring.pending))
    return Ring.build(ring.keyspaces, ring.replication, data.draw(st.permutations(rows)), ring.filler, pending)


@pytest.mark.slow
@settings(max_examples=examples(200))
@given(clusters(), st.data())
def test_a_node_more_is_never_worse(cluster: Cluster, data: st.DataObject) -> None:
    """With one more live node no range is lost and no failure less is left, at any level."""
    live = next(iter(cluster.live.values()))
    node = data.draw(st.sampled_from(sorted(cluster.places)))
    fewer, rules = state_of(cluster.with_live(live - {node}))
    more, _ = state_of(cluster.with_live(live | {node}))
    for case in cluster.cases(cluster.tables[0]):
        worse, better = (state.level(Level(case.level), case.client, rules) for state in (fewer, more))
        assert better.unavailable <= worse.unavailable
        assert better.unavailable_share <= worse.unavailable_share
        assert better.structurally_unavailable == worse.structurally_unavailable
        assert (better.node_failures_to_outage is None) == (worse.node_failures_to_outage is None)
        assert (better.node_failures_to_outage or 0) >= (worse.node_failures_to_outage or 0)
        assert (better.rack_failures_to_outage or 0) >= (worse.rack_failures_to_outage or 0)


@pytest.mark.slow
@settings(max_examples=examples(200))
@given(clusters(), st.data())
def test_a_range_in_two_parts_is_as_large(cluster: Cluster, data: st.DataObject) -> None:
    """A range that is split at a token within it has the same share."""
    table = cluster.tables[0]
    arc = data.draw(st.sampled_from(table.natural))
    width = cluster.space.width(arc.start, arc.end)
    assume(width > 1)
    place = arc.start + data.draw(st.integers(1, width - 1))
    token = place if place <= cluster.space.high else place - cluster.space.size()
    parts = (replace(arc, end=token), replace(arc, start=token))
    split = replace(table, natural=(*(one for one in table.natural if one is not arc), *parts))
    state, rules = state_of(cluster)
    halves, _ = state_of(replace(cluster, tables=(split,)))
    for case in cluster.cases(table):
        whole, cut = (one.level(Level(case.level), case.client, rules) for one in (state, halves))
        assert abs(whole.unavailable_share - cut.unavailable_share) < NEAR
        assert abs(whole.outage_share - cut.outage_share) < NEAR
        assert whole.node_failures_to_outage == cut.node_failures_to_outage
        assert cut.ranges == whole.ranges + 1


@pytest.mark.slow
@settings(max_examples=examples(150))
@given(clusters(views=2, tables=2), levels, st.lists(st.integers(0, 7), min_size=1, max_size=4))
def test_what_is_remembered_is_what_is_worked_out(cluster: Cluster, level: str, changes: list[int]) -> None:
    """Rings that are judged repeatedly while nodes come and go give the same numbers as new rings."""
    policy = watching(level)
    old = cluster.snapshot()
    for change in changes:
        assess(old, policy, Question(ranges=True))
        node = sorted(cluster.places)[change % len(cluster.places)]
        cluster = replace(cluster, live={name: live ^ ({node} - {name}) for name, live in cluster.live.items()})
        fresh = cluster.snapshot()
        kept: Snapshot = replace(fresh, rings=old.rings)
        question = Question(ranges=True)
        assert essence(assess(kept, policy, question)) == essence(assess(fresh, policy, question))
        old = kept


@pytest.mark.slow
@settings(max_examples=examples(100))
@given(clusters(), st.data())
def test_rings_outlive_their_nodes_places(cluster: Cluster, data: st.DataObject) -> None:
    """Nodes that move to another rack or datacenter are counted there, although the rings are kept."""
    policy, question = watching("LOCAL_QUORUM"), Question(levels=tuple(Level))
    old = cluster.snapshot()
    assess(old, policy, question)
    turned = data.draw(st.permutations(list(cluster.places.values())))
    moved = replace(cluster, places=dict(zip(cluster.places, turned, strict=True)))
    fresh = moved.snapshot()
    assert essence(assess(replace(fresh, rings=old.rings), policy, question)) == essence(
        assess(fresh, policy, question)
    )
