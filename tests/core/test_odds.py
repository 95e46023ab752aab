"""The odds of an outage, compared with all states of nodes and racks, and with random states of larger clusters."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields
from itertools import combinations
from math import fsum
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringcheck.core import cuts
from ringcheck.core import odds as core
from ringcheck.core.assess import Question
from ringcheck.core.consistency import Level
from ringcheck.core.failureshares import failure_shares
from ringcheck.core.odds import YEAR, Odds, Rates, odds, outage_odds
from ringcheck.core.policy import Policy, Severity
from tests.conftest import examples
from tests.core.bruteforce import LEVELS, Case
from tests.core.clusters import nodes, ring, snapshot
from tests.core.test_bruteforce import exact
from tests.core.test_verdicts import watching
from tests.strategies import clusters

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ringcheck.core.cuts import Tolerance
    from tests.strategies import Cluster

RATES = st.builds(
    Rates,
    node_mtbf=st.sampled_from((1.0, 20.0, 3000.0)),
    repair=st.sampled_from((0.5, 1.0, 7.0)),
    rack_mtbf=st.sampled_from((None, 5.0, 900.0)),
)
SIX = nodes("dc1:r1", "dc1:r1", "dc1:r2", "dc1:r2", "dc1:r3", "dc1:r3")
ROWS = [[1, 3, 5], [2, 4, 6], [1, 4, 5], [2, 3, 6]]
MONTHLY = Rates(node_mtbf=30 * 86400.0, repair=4 * 3600.0, rack_mtbf=YEAR)


CASE = [field.name for field in fields(Case)]


class States:
    """Every state of the nodes and racks of a small cluster."""

    def __init__(self, rates: Rates, case: Case) -> None:
        self.rates = rates
        self.case = case
        self.racks = sorted(set(case.places.values()), key=str) if rates.rack_mtbf else []
        self._outages: dict[frozenset[str], bool] = {}

    def outage(self, failed: frozenset[object]) -> bool:
        """Whether ranges are lost while these nodes and racks have failed."""
        live = frozenset(name for name, place in self.case.places.items() if not failed & {name, place})
        if live not in self._outages:
            self._outages[live] = bool(self.case.outage(live))
        return self._outages[live]

    def every(self) -> Iterator[tuple[frozenset[object], float]]:
        """Each state with its long-run probability."""
        things: list[object] = [*self.case.places, *self.racks]
        for size in range(len(things) + 1):
            for chosen in combinations(things, size):
                failed = frozenset(chosen)
                chance = 1.0
                for thing in things:
                    down = self.rates.repair / (self._mtbf(thing) + self.rates.repair)
                    chance *= down if thing in failed else 1 - down
                yield failed, chance

    def _mtbf(self, thing: object) -> float:
        return self.rates.node_mtbf if isinstance(thing, str) else self.rates.rack_mtbf or 0.0

    def probability(self) -> float:
        return fsum(chance for failed, chance in self.every() if self.outage(failed))

    def outages(self) -> float:
        """How often per second a failure leads from a state without an outage to one with an outage."""
        things: list[object] = [*self.case.places, *self.racks]
        return fsum(
            chance / self._mtbf(thing)
            for failed, chance in self.every()
            if not self.outage(failed)
            for thing in things
            if thing not in failed and self.outage(failed | {thing})
        )


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(cluster=clusters(nodes=6), level=st.sampled_from(LEVELS), rates=RATES)
def test_odds_are_those_of_all_states(cluster: Cluster, level: str, rates: Rates) -> None:
    """Probability and frequency are the sums over every set of failed nodes and racks."""
    every = odds(cluster.snapshot(), watching(level), rates, Question())
    for found in every.levels:
        states = States(rates, cluster.case(cluster.tables[0], level, found.level.datacenter))
        if exact(states.case):
            check(found.odds, states)


def check(found: Odds | None, states: States) -> None:
    assert found is not None
    for bound in (found.probability.at_least, found.probability.at_most):
        assert bound == pytest.approx(states.probability(), abs=1e-12)
    for bound in (found.outages.at_least, found.outages.at_most):
        assert bound / YEAR == pytest.approx(states.outages(), abs=1e-12)


@dataclass(frozen=True)
class DataLoss(Case):
    """Loss of data instead of failing queries: all natural replicas of a token have failed."""

    def served(self, token: int, live: Collection[str], operation: str) -> bool:  # noqa: ARG002 - as the base
        """Whether a natural replica has not failed."""
        return bool(set(self.replicas(token)) & set(live))


@settings(max_examples=examples(40))
@given(cluster=clusters(nodes=6), rates=RATES)
def test_data_is_lost_with_its_last_replica(cluster: Cluster, rates: Rates) -> None:
    """Data is lost in the states in which all natural replicas of a range have failed."""
    table = cluster.tables[0]
    if table.factors.transient:
        return
    (found,) = odds(cluster.snapshot(), watching("ONE"), rates, Question()).data
    case = cluster.case(table, "ONE", None)
    check(found.odds, States(rates, DataLoss(**{name: getattr(case, name) for name in CASE})))
    assert found.copysets == len({frozenset(arc.nodes) for arc in table.natural})
    assert found.least <= found.copysets


def tolerances(number: int, ranges: int, racks: int, spare: int, seed: int) -> frozenset[Tolerance]:
    """Ranges with a replica in each of three racks; node i is in rack i modulo the number of racks."""
    draw = random.Random(seed)  # noqa: S311 - repeatable
    rows = set()
    for _ in range(ranges):
        chosen = draw.sample(range(racks), 3)
        rows.add((tuple(sorted(draw.randrange(number // racks) * racks + rack for rack in chosen)), spare))
    return frozenset(rows)


@pytest.mark.slow
@pytest.mark.parametrize(("spare", "racks", "rack_mtbf"), [(1, 3, None), (2, 3, 40.0), (1, 5, 60.0)])
def test_odds_of_a_larger_ring_are_those_of_drawn_states(spare: int, racks: int, rack_mtbf: float | None) -> None:
    """With 60 nodes, the share of outages among random states lies within the bounds, apart from chance."""
    rates = Rates(node_mtbf=30.0, repair=1.0, rack_mtbf=rack_mtbf)
    ranges = tolerances(60, 120, racks, spare, seed=7)
    found = outage_odds(ranges, [node % racks for node in range(60)], rates)
    draw, drawn, lost = random.Random(5), 6000, 0  # noqa: S311 - repeatable
    for _ in range(drawn):
        failed = {rack for rack in range(racks) if rack_mtbf and draw.random() < rates.down(rack_mtbf)}
        down = {node for node in range(60) if draw.random() < rates.down(30.0) or node % racks in failed}
        lost += any(len(down.intersection(members)) > spare for members, spare in ranges)
    share = lost / drawn
    error = 4 * (share * (1 - share) / drawn) ** 0.5
    assert found.probability.at_least - error <= share <= found.probability.at_most + error
    assert found.probability.at_most - found.probability.at_least < 0.05 * found.probability.at_most


@settings(max_examples=examples(100))
@given(st.data(), st.sampled_from((1, 4, 12, 40)), st.sampled_from((1, 5, 10**6)))
def test_bounds_enclose_the_exact_shares(data: st.DataObject, room: int, listed: int) -> None:
    """If sets are not counted, or cuts not listed, the bounds hold for every number of failed nodes."""
    draw = random.Random(data.draw(st.integers(0, 10**6)))  # noqa: S311 - repeatable
    members = [tuple(sorted(draw.sample(range(9), draw.randint(1, 5)))) for _ in range(draw.randint(2, 9))]
    ranges = frozenset((row, draw.randint(0, len(row))) for row in members)
    exact_shares = failure_shares(ranges)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuts, "_LISTED", listed)
        bounds = failure_shares(ranges, room)
    chances = [0.01, 0.2, 0.6]
    for one, both in ((exact_shares.probability, bounds.probability), (exact_shares.onsets, bounds.onsets)):
        for chance in chances:
            exactly, between = one(chance), both(chance)
            assert exactly.at_least == exactly.at_most
            assert between.at_least - 1e-12 <= exactly.at_least <= between.at_most + 1e-12


@settings(max_examples=examples(30))
@given(seed=st.integers(0, 10**6), ranges=st.sampled_from((0, 20, 60)), sets=st.sampled_from((1, 4)))
def test_bounds_for_sets_of_racks_that_are_not_looked_at(seed: int, ranges: int, sets: int) -> None:
    """If not every set of racks is examined, the bounds still enclose the odds with all of them."""
    rates = Rates(node_mtbf=30.0, repair=1.0, rack_mtbf=20.0)
    rows, racks = tolerances(12, 8, 4, 1, seed), [node % 4 for node in range(12)]
    whole = outage_odds(rows, racks, rates)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core, "_RANGES", ranges)
        patch.setattr(core, "_RACK_SETS", sets)
        part = outage_odds(rows, racks, rates)
    for less, more in ((part.probability, whole.probability), (part.outages, whole.outages)):
        assert less.at_least - 1e-9 <= more.at_least <= more.at_most <= less.at_most + 1e-9


def test_a_range_on_more_nodes_than_cuts_can_be_listed_of() -> None:
    """With a replica on each of 100 nodes, the outage at QUORUM takes more than half of them."""
    shares = failure_shares({(tuple(range(100)), 49)})
    assert (shares.at_least[49], shares.at_least[50]) == (0.0, 1.0)
    assert shares.at_least == shares.at_most


def test_what_a_cluster_hangs_on() -> None:
    """Tiers combine their levels; a rack with two of three replicas is named; least copysets are nodes by replicas."""
    lopsided = ring("carts", "NetworkTopologyStrategy {dc1=3}", [[1, 2, 5], [3, 4, 5]], 6)
    orders = ring("orders", "NetworkTopologyStrategy {dc1=3}", ROWS, 6)
    found = odds(snapshot(SIX, [orders, lopsided]), Policy(), MONTHLY, Question())
    assert [tier for tier, _ in found.tiers] == [Severity.CRITICAL, Severity.WARNING]
    racks = {(one.level.keyspaces, one.level.level): one.racks for one in found.levels}
    assert racks[("carts",), Level.LOCAL_QUORUM] == (("dc1", "r1"), ("dc1", "r2"))
    assert racks[("orders",), Level.LOCAL_QUORUM] == racks[("carts",), Level.LOCAL_ONE] == ()
    assert [(one.keyspaces, one.copysets, one.least, one.racks) for one in found.data] == [
        (("carts",), 2, 2, ()),
        (("orders",), 4, 2, ()),
    ]
    (_, critical), (_, warning) = found.tiers
    levels = [one.odds.probability.at_least for one in found.levels if one.odds and one.level.level is Level.LOCAL_ONE]
    assert max(levels) < critical.probability.at_least < sum(levels)
    assert critical.outages.at_least < warning.outages.at_least


def test_what_is_down_now_does_not_matter() -> None:
    """The odds are those of the long run."""
    orders = ring("orders", "NetworkTopologyStrategy {dc1=3}", ROWS, 6)
    well, hurt = (odds(snapshot(SIX, [orders], down), Policy(), MONTHLY, Question()) for down in ((), (1,)))
    assert well == hurt


def test_odds_that_are_not_known() -> None:
    """A level that can't be judged has a problem instead of odds, and its tier has none."""
    rings = [ring("orders", "NetworkTopologyStrategy {dc1=3}", ROWS, 6), ring("old", None, ROWS, 6)]
    found = odds(snapshot(SIX, rings), Policy(), MONTHLY, Question())
    assert [tier for tier, _ in found.tiers] == [Severity.CRITICAL]
    (unknown,) = [one for one in found.levels if one.problem]
    assert (unknown.level.keyspaces, unknown.level.level, unknown.odds) == (("old",), Level.LOCAL_QUORUM, None)
    foreign = ring("orders", "com.example.OtherStrategy {}", ROWS, 6)
    (data,) = odds(snapshot(SIX, [foreign]), Policy(), MONTHLY, Question()).data
    assert (data.odds, data.problem) == (None, "replication OtherStrategy {} is not one of Cassandra's")
    nothing = odds(snapshot(SIX, rings, range(1, 7)), Policy(), MONTHLY, Question())
    assert (nothing.levels, nothing.data, nothing.tiers) == ((), (), ())
