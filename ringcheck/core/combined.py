"""The numbers of a level that has coordinators in several datacenters: a range counts as lost if any can't serve it.

Coordinators can lose different ranges. The numbers of the worst of them are then too small: what clients of the
cluster lose is the union.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ringcheck.core.consistency import Operation, Rules
    from ringcheck.core.health import LevelHealth, RingState
    from ringcheck.core.ring import Range, Ring


def seen_by_any(worst: LevelHealth, seen: Sequence[tuple[RingState, Rules]]) -> LevelHealth:
    """The numbers of a level where a range counts as unavailable if any of several coordinators can't serve it.

    Args:
        worst: numbers of the coordinator that is worst off; level, requirements and worst range are taken from it.
        seen: for each coordinator the ring without the nodes that it does not reach, and its rules.
    """
    key = (worst.level, worst.datacenter, frozenset((state.down, rules.key) for state, rules in seen))
    kept = seen[0][0].combined
    health = kept.get(key)
    if health is None:
        health = kept[key] = _combined(worst, seen)
    return health


def _combined(worst: LevelHealth, seen: Sequence[tuple[RingState, Rules]]) -> LevelHealth:
    level, client, ring, space = worst.level, worst.datacenter, seen[0][0].ring, seen[0][0].space
    lost: dict[Operation, set[Range]] = defaultdict(set)
    tight: set[int] = set()
    for state, rules in seen:
        for operation, ranges in state.unavailable(level, client, rules).items():
            lost[operation].update(ranges)
        healths = state.range_healths(level, client, rules)
        tight.update(index for index, health in enumerate(healths) if health.spare == 0)
    index_of = {end: index for index, end in enumerate(ring.tokens)}
    indexes = {name: {_index(ring, index_of, end) for _, end in ranges} for name, ranges in lost.items()}
    unavailable = frozenset().union(*indexes.values())
    share = sum(space.width(*part) for part in frozenset().union(*lost.values())) / space.size
    structural_share = worst.unavailable_share - worst.outage_share
    return replace(
        worst,
        unavailable=len(unavailable),
        unavailable_share=share,
        outage_share=max(0.0, share - structural_share),
        at_minimum=len(tight - unavailable),
        by_operation={
            name: replace(numbers, unavailable=len(indexes.get(name, ())))
            for name, numbers in worst.by_operation.items()
        },
    )


def _index(ring: Ring, index_of: Mapping[int, int], end: int) -> int:
    """Index of the natural range in which a range, or a piece of one, ends."""
    index = index_of.get(end)
    return bisect_left(ring.tokens, end) % len(ring) if index is None else index
