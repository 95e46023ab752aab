"""The health of each range, and that the ranges add up to the numbers of a level."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from ringcheck.core.consistency import Behaviour, Level, Rules
from ringcheck.core.evidence import evidence_of
from ringcheck.core.headroom import RangeHealth, demands_of
from ringcheck.core.health import RingState
from ringcheck.core.ring import PARTITIONERS, Layout, Pending, Replication, Ring
from tests import figures

SPACE = PARTITIONERS["Murmur3Partitioner"]
REPLICATION = Replication.parse("NetworkTopologyStrategy {dc1=3, dc2=2}")
LAYOUT = Layout((("dc1", "r1"), ("dc1", "r2"), ("dc2", "r1")), (0, 1, 0, 1, 2, 2, 2))
RULES = Rules(REPLICATION, Behaviour((4, 1), "v1"), {"dc1": 4, "dc2": 3})


def state(seed: int) -> RingState:
    """Seven nodes in two datacenters, some down, some ranges in movement and some short of replicas."""
    source = random.Random(seed)  # noqa: S311 - tokens, no secret
    ends = sorted(source.sample(range(-1000, 1000), 40))
    rows = [
        (ends[place - 1], end, (*source.sample(range(4), source.choice([2, 3, 3])), *source.sample(range(4, 7), 2)))
        for place, end in enumerate(ends)
    ]
    moves = [Pending(ends[place], ends[place + 3] - 1, (source.randrange(7),)) for place in source.sample(range(30), 3)]
    down = frozenset(source.sample(range(7), source.randrange(5)))
    return RingState(Ring.build(["ks"], REPLICATION, rows, 7, moves), LAYOUT, SPACE, down)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("level", list(Level))
def test_ranges_stand_as_they_are_counted(level: Level, seed: int) -> None:
    """The conditions of the single ranges add up to the level's numbers, which are counted by kind of range."""
    ring = state(seed)
    for client in ("dc1", "dc2") if level.local else (None,):
        found = Counter(one.condition for one in ring.range_healths(level, client, RULES))
        health = ring.level(level, client, RULES)
        assert found["unavailable"] + found["structurally_unavailable"] == health.unavailable
        assert found["structurally_unavailable"] == health.structurally_unavailable
        assert found["at_minimum"] == health.at_minimum
        assert found.total() == health.ranges


def test_the_second_figure() -> None:
    """With A and C down each range has one or two of its three replicas, and LOCAL_QUORUM needs two."""
    seen = figures.snapshot([figures.A, figures.C])
    ring = RingState(seen.rings[0], seen.layout, SPACE, frozenset({0, 2}))
    rules = Rules(seen.rings[0].replication, Behaviour((5, 0), "v1"), evidence_of(seen).owners)
    found = list(ring.range_healths(Level.LOCAL_QUORUM, "dc1", rules))
    assert (
        found
        == [RangeHealth(live=1, replicas=3, required=2, spare=-1), RangeHealth(live=2, replicas=3, required=2, spare=0)]
        * 6
    )


def test_any_needs_nothing() -> None:
    """Levels that a hint satisfies have no spare replicas to count."""
    (one, *_) = state(1).range_healths(Level.ANY, None, RULES)
    assert (one.required, one.spare, one.condition) == (0, None, "spare")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("level", [Level.LOCAL_QUORUM, Level.QUORUM, Level.EACH_QUORUM, Level.ALL])
def test_what_a_return_restores_is_what_is_lost_without_it(level: Level, seed: int) -> None:
    """This holds whichever nodes are back already, and also if ranges are split."""
    client = "dc1" if level.local else None
    demands = tuple(demands_of(level, client, RULES).values())
    ring = state(seed)
    left = ring.down
    for node in sorted(ring.down):
        without = lost(ring, left, level, client)
        regained = without - lost(ring, left - {node}, level, client)
        assert ring.regained(ring.down - left, node, [demands]) == [regained]
        left -= {node}


def lost(ring: RingState, down: frozenset[int], level: Level, client: str | None) -> int:
    """The tokens for which some operation can't be served while these nodes are down."""
    found = RingState(ring.ring, LAYOUT, SPACE, down).unavailable(level, client, RULES)
    return sum(SPACE.width(start, end) for start, end in {one for ranges in found.values() for one in ranges})
