"""The core's numbers compared with those of the brute force, on random rings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringcheck.core.consistency import Behaviour, Level, Rules
from ringcheck.core.evidence import evidence_of
from ringcheck.core.health import ring_state
from ringcheck.core.ring import partitioner
from tests.conftest import examples
from tests.core.bruteforce import LEVELS, LOCAL_LEVELS, Arc, Case
from tests.strategies import Cluster, clusters, version, wide_clusters

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ringcheck.core.health import LevelHealth, RingState
    from ringcheck.core.ring import Range

NEAR = 1e-12


def state_of(cluster: Cluster, order: list[str] | None = None) -> tuple[RingState, Rules]:
    """The core's state of the first ring as the first observer sees it."""
    snapshot = cluster.snapshot(order or ())
    live = next(iter(cluster.live.values()))
    down = [index for index, node in enumerate(snapshot.nodes) if node.address not in live]
    ring = snapshot.rings[0]
    behaviour = Behaviour(version(cluster.release), cluster.paxos)
    rules = Rules(ring.replication, behaviour, evidence_of(snapshot).owners)
    return ring_state(ring, snapshot.layout, partitioner(snapshot.partitioner), down), rules


def exact(case: Case) -> bool:
    """Whether the core is exact: with transient replicas in several datacenters it assumes the worst."""
    scopes = case.factors.kind != "nts" or case.level in LOCAL_LEVELS
    return not case.factors.transient or scopes


def tokens(case: Case, ranges: Iterable[Range]) -> set[Range]:
    """The elementary intervals within these ranges."""
    arcs = [Arc(start, end, ()) for start, end in ranges]
    return {piece for piece in case.pieces if any(arc.holds(piece[1]) for arc in arcs)}


def check_counts(case: Case, live: Collection[str], state: RingState, rules: Rules) -> None:
    """Check all counts of one level."""
    level = Level(case.level)
    health = state.level(level, case.client, rules)
    failing, hopeless = case.failing(live), case.hopeless()
    lost = case.arcs_of(failing)
    tight: set[Arc] = set()
    assert set(health.by_operation) == set(case.operations)
    for operation in case.operations:
        lost_here = case.arcs_of(case.unserved(live, operation))
        tight_here = case.arcs_of(case.tight(live, operation)) - lost_here
        numbers = health.by_operation[operation]
        assert (numbers.unavailable, numbers.at_minimum) == (len(lost_here), len(tight_here)), operation
        tight |= tight_here
    assert health.ranges == len(case.natural)
    assert health.unavailable == len(lost)
    assert health.at_minimum == len(tight - lost)
    assert health.structurally_unavailable == len(case.arcs_of(hopeless))
    assert abs(health.unavailable_share - case.share(failing)) < NEAR
    assert abs(health.outage_share - case.share(failing - hopeless)) < NEAR
    assert health.outage == len(case.arcs_of(failing - hopeless))


def check_ranges(case: Case, live: Collection[str], state: RingState, rules: Rules) -> None:
    """The lists of unavailable ranges have the same tokens, each once."""
    listed = state.unavailable(Level(case.level), case.client, rules)
    assert set(listed) == set(case.operations)
    for operation, ranges in listed.items():
        lost = case.unserved(live, operation)
        assert tokens(case, ranges) == lost
        assert sum(case.space.width(*one) for one in ranges) == sum(case.space.width(*one) for one in lost)


@pytest.mark.slow
@settings(max_examples=examples(500))
@given(clusters())
def test_counts_shares_and_ranges_are_the_brute_force_s(cluster: Cluster) -> None:
    """At every level and for every datacenter, counts, shares and lists of ranges equal those of the brute force."""
    state, rules = state_of(cluster)
    live = next(iter(cluster.live.values()))
    for case in cluster.cases(cluster.tables[0]):
        if exact(case):
            check_counts(case, live, state, rules)
            check_ranges(case, live, state, rules)
        else:
            health = state.level(Level(case.level), case.client, rules)
            assert health.unavailable >= len(case.arcs_of(case.failing(live)))
            assert health.unavailable_share >= case.share(case.failing(live)) - NEAR


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(wide_clusters(), st.data())
def test_rings_that_are_hardly_touched_are_counted_the_same(cluster: Cluster, data: st.DataObject) -> None:
    """If only few of many ranges have a down node, correcting the census gives the same as counting all ranges."""
    state, rules = state_of(cluster)
    live = next(iter(cluster.live.values()))
    for case in data.draw(st.lists(st.sampled_from(cluster.cases(cluster.tables[0])), min_size=1, max_size=4)):
        check_counts(case, live, state, rules)
        check_ranges(case, live, state, rules)


@pytest.mark.slow
@settings(max_examples=examples(700))
@given(clusters(nodes=7), st.data())
def test_failures_to_outage_are_the_brute_force_s(cluster: Cluster, data: st.DataObject) -> None:
    """They equal the sizes of the smallest sets of nodes and racks that the brute force finds by trying all sets."""
    state, rules = state_of(cluster)
    live = next(iter(cluster.live.values()))
    for case in data.draw(st.lists(st.sampled_from(cluster.cases(cluster.tables[0])), min_size=2, max_size=4)):
        health = state.level(Level(case.level), case.client, rules)
        failures = (health.node_failures_to_outage, health.rack_failures_to_outage)
        if exact(case):
            assert failures == (case.node_failures(live), case.rack_failures(live))
        check_worst(case, live, health)


def check_worst(case: Case, live: Collection[str], health: LevelHealth) -> None:
    """The worst range is an unavailable one, or else one that the fewest failures make unavailable."""
    worst = health.worst_range
    if worst is None:
        assert case.level == "ANY"
        return
    names = list(case.places)
    arc = next(arc for arc in case.natural if arc.end == worst.end)
    assert (arc.start, arc.nodes) == (worst.start, tuple(names[node] for node in worst.replicas))
    assert [names[node] for node in worst.live] == [node for node in arc.nodes if node in live]
    if exact(case):
        assert arc in case.weakest(live)


def test_every_level_is_known_to_the_brute_force() -> None:
    """The core and the brute force have the same levels."""
    assert {str(level) for level in Level} == set(LEVELS)
    assert {str(level) for level in Level if level.local} == set(LOCAL_LEVELS)
