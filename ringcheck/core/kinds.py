"""Kinds of ranges: ranges with equally many replicas, live and down, in the same racks are of one kind.

Levels ask only for counts by datacenter and rack. All ranges of a kind therefore have the same answer at every level,
and a ring of 262,144 ranges has some hundred kinds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from ringcheck.core.consistency import Replicas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# Results that each cache keeps, for all clusters together. 1,024 nodes with 256 tokens, in 40 states one after another,
# have 900. A result takes up to a kilobyte: with a larger cache the memory of an agent would grow for months.
KEPT = 2048

Marks: TypeAlias = tuple[int, ...]
"""For each replica of a range the index of its rack; plus the number of racks if the replica is down."""

RangeKind: TypeAlias = tuple[Replicas, ...]
"""The replica counts of a range; several, distinct and sorted, if pending ranges cut it into different pieces."""

Racks: TypeAlias = tuple[tuple[str, str], ...]
"""(datacenter, rack) by rack index, as in `Layout.racks`."""


def unordered(numbers: Mapping[Marks, int], mark: Callable[[int], int] | None = None) -> Counter[Marks]:
    """Numbers by sorted marks; the order of replicas would make hundreds of keys out of a few.

    Args:
        numbers: numbers by marks in the order of replicas.
        mark: what to replace each mark with before sorting; None to keep them.
    """
    totals: Counter[Marks] = Counter()
    for row, number in numbers.items():
        totals[tuple(sorted(map(mark, row) if mark else row))] += number
    return totals


@lru_cache(maxsize=KEPT)
def replica_counts(racks: Racks, row: Marks, pending: Marks) -> Replicas:
    """Replica counts of a range (or a piece of one) with these marks of its natural and its pending replicas.

    Equal counts are one object, so that dictionaries find them by identity.
    """
    number = len(racks)
    natural = [mark % number for mark in row if mark < 2 * number]
    live = [mark for mark in row if mark < number]
    return _shared(
        Replicas(
            natural=_by_datacenter(racks, natural),
            live=_by_rack(racks, live),
            pending=_by_datacenter(racks, [mark % number for mark in pending]),
            live_with_pending=_by_rack(racks, live + [mark for mark in pending if mark < number]),
            all_live=_by_rack(racks, natural),
        )
    )


@lru_cache(maxsize=KEPT)
def _shared(counts: Replicas) -> Replicas:
    return counts


def _by_datacenter(racks: Racks, indexes: Iterable[int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(Counter([racks[index][0] for index in indexes]).items()))


def _by_rack(racks: Racks, indexes: Iterable[int]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    counts: dict[str, list[int]] = defaultdict(list)
    for index, number in Counter(indexes).items():
        counts[racks[index][0]].append(number)
    return tuple(sorted((name, tuple(sorted(numbers, reverse=True))) for name, numbers in counts.items()))
