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
    from collections.abc import Iterable, Mapping, Sequence

    from ringcheck.core.consistency import Operation, Rules
    from ringcheck.core.health import LevelHealth, RingState
    from ringcheck.core.ring import Partitioner, Range, Ring


def seen_by_any(worst: LevelHealth, seen: Sequence[tuple[RingState, Rules]]) -> LevelHealth:
    """The numbers of a level where a range counts as unavailable if any of several coordinators can't serve it.

    A range that some of them can never serve, and that is lost to none of the others, is structurally unavailable.

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
    index_of = {end: index for index, end in enumerate(ring.tokens)}
    lost: dict[Operation, set[Range]] = defaultdict(set)
    broken: set[Range] = set()  # lost to a coordinator that would serve them with all nodes up
    tight: set[int] = set()
    for state, rules in seen:
        healths = list(state.range_healths(level, client, rules))
        tight.update(index for index, health in enumerate(healths) if health.spare == 0)
        for operation, ranges in state.unavailable(level, client, rules).items():
            lost[operation].update(ranges)
            broken.update(part for part in ranges if not healths[_index(ring, index_of, part[1])].structural)
    indexes = {name: {_index(ring, index_of, end) for _, end in ranges} for name, ranges in lost.items()}
    unavailable = frozenset().union(*indexes.values())
    return replace(
        worst,
        unavailable=len(unavailable),
        unavailable_share=_share(frozenset().union(*lost.values()), space),
        structurally_unavailable=len(unavailable - {_index(ring, index_of, end) for _, end in broken}),
        outage_share=_share(broken, space),
        at_minimum=len(tight - unavailable),
        by_operation={
            name: replace(numbers, unavailable=len(indexes.get(name, ())))
            for name, numbers in worst.by_operation.items()
        },
    )


def _share(parts: Iterable[Range], space: Partitioner) -> float:
    return sum(space.width(*part) for part in parts) / space.size


def _index(ring: Ring, index_of: Mapping[int, int], end: int) -> int:
    """Index of the natural range in which a range, or a piece of one, ends."""
    index = index_of.get(end)
    return bisect_left(ring.tokens, end) % len(ring) if index is None else index
