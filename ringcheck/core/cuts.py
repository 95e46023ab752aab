"""Cuts: the smallest sets of nodes whose loss is an outage, of all sizes.

A range can lose some of its replicas. Each set of one replica more is an outage, and every outage contains such a set.
A cut is such a set that contains no other one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import chain, combinations, repeat
from math import comb
from operator import itemgetter
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

Members: TypeAlias = tuple[int, ...]
"""Indexes of nodes, ascending."""
Tolerance: TypeAlias = tuple[Members, int]
"""Replicas of a range, and how many of them may be lost."""
SetsBySize: TypeAlias = "Mapping[int, set[Members]]"

_LISTED = 1_500_000  # sets that are made from ranges, equal sets not yet merged


@dataclass(frozen=True, slots=True, kw_only=True)
class Cuts:
    """The cuts of some ranges, with their nodes numbered anew from 0.

    Attributes:
        nodes: how many nodes are in any cut; no other node matters.
        listed: the cuts by their size; only some of them if there are too many to list.
        number: an upper bound of how many cuts of each size there are.
        complete: whether all cuts are listed.
    """

    nodes: int
    listed: SetsBySize
    number: Mapping[int, int]
    complete: bool


def cuts_of(tolerances: Collection[Tolerance]) -> Cuts:
    """The cuts of ranges with these tolerances, none of which is negative."""
    number: Counter[int] = Counter()
    sizes = zip(map(len, map(itemgetter(0), tolerances)), map(itemgetter(1), tolerances), strict=True)
    for (replicas, spare), many in Counter(sizes).items():
        number[spare + 1] += many * comb(replicas, spare + 1)
    if number.total() <= _LISTED:
        sets = _minimal(_sets(tolerances))
        nodes = set(chain.from_iterable(chain.from_iterable(sets.values())))
        return _numbered(sets, nodes, {size: len(listed) for size, listed in sets.items()}, complete=True)
    nodes = {node for members, spare in tolerances if len(members) > spare for node in members}
    return _numbered(_minimal(_sets(_first(tolerances))), nodes, +number, complete=False)


def _first(tolerances: Iterable[Tolerance]) -> Iterable[Tolerance]:
    """The tolerances whose sets are listed: as many as there is room for."""
    room = _LISTED
    for members, spare in tolerances:
        number = comb(len(members), spare + 1)
        if number <= room:
            room -= number
            yield members, spare


def _numbered(sets: SetsBySize, nodes: Collection[int], number: Mapping[int, int], *, complete: bool) -> Cuts:
    if nodes and len(nodes) <= max(nodes):  # else they are numbered from 0 already
        index = {node: place for place, node in enumerate(sorted(nodes))}
        sets = {size: {tuple([index[node] for node in members]) for members in cuts} for size, cuts in sets.items()}
    return Cuts(nodes=len(nodes), listed=sets, number=number, complete=complete)


def _sets(tolerances: Iterable[Tolerance]) -> dict[int, set[Members]]:
    """The sets of one replica more than a range can lose, by size."""
    sets: dict[int, set[Members]] = defaultdict(set)
    larger: dict[int, list[Members]] = defaultdict(list)
    for members, spare in tolerances:
        if len(members) == spare + 1:
            sets[spare + 1].add(members)
        elif len(members) > spare:
            larger[spare + 1].append(members)
    for size, rows in larger.items():
        sets[size].update(chain.from_iterable(map(combinations, rows, repeat(size))))
    return sets


def _minimal(sets: Mapping[int, set[Members]]) -> dict[int, set[Members]]:
    """The sets that contain no smaller one."""
    minimal: dict[int, set[Members]] = {}
    for size in sorted(sets):
        kept = {members for members in sets[size] if not _contains(members, minimal)} if minimal else sets[size]
        if kept:
            minimal[size] = kept
    return minimal


def _contains(members: Members, smaller: SetsBySize) -> bool:
    return any(part in sets for size, sets in smaller.items() for part in combinations(members, size))
