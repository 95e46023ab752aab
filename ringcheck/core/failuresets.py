"""The smallest sets of nodes, and of racks, whose loss makes a range unavailable.

The sets are exact. A set of the smallest size that is an outage consists, for some range, of all the replicas that the
range can spare and one more, and of nothing else. So the sets of that size are found from the ranges alone, without
trying any set.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from heapq import nsmallest
from itertools import chain, combinations, compress, repeat
from math import comb
from operator import itemgetter
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from ringcheck.core.consistency import Demand, Replicas
    from ringcheck.core.health import RingState
    from ringcheck.core.ring import Snapshot

Demands: TypeAlias = "tuple[Demand, ...]"
Members: TypeAlias = tuple[int, ...]
"""Indexes of nodes or of racks, ascending."""
Positions: TypeAlias = tuple[int, ...]
"""Positions among the replicas of a range."""

_ENUMERATED = 3_000_000  # sets that are made from ranges, equal sets not yet merged; some 500 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallestSets:
    """The smallest sets whose loss makes ranges unavailable.

    Attributes:
        failures: the size of the sets; 0 if ranges are unavailable already, None if no loss makes a range unavailable.
        tokens: by set how many tokens become unavailable; only some of the sets if `number` is None.
        number: how many different sets there are; None if there are too many to merge equal ones.
        at_most: upper bound of that number.
        concerned: how many nodes or racks are in any of the sets.
    """

    failures: int | None
    tokens: Mapping[Members, int]
    number: int | None = 0
    at_most: int = 0
    concerned: int = 0


def joined(several: Sequence[SmallestSets]) -> SmallestSets:
    """The union of several smallest sets; a set that is in more than one has its highest cost."""
    failures = min((sets.failures for sets in several if sets.failures is not None), default=None)
    nearest = [sets for sets in several if sets.failures == failures]
    if len(nearest) == 1:
        return nearest[0]
    tokens: dict[Members, int] = {}
    for sets in nearest:
        for members, cost in sets.tokens.items():
            tokens[members] = max(cost, tokens.get(members, 0))
    if any(sets.number is None for sets in nearest):
        at_most, concerned = sum(sets.at_most for sets in nearest), max(sets.concerned for sets in nearest)
        return SmallestSets(failures=failures, tokens=tokens, number=None, at_most=at_most, concerned=concerned)
    return _all_of(failures, tokens)


def _all_of(failures: int | None, tokens: Mapping[Members, int]) -> SmallestSets:
    concerned = len({member for members in tokens for member in members})
    number = len(tokens)
    return SmallestSets(failures=failures, tokens=tokens, number=number, at_most=number, concerned=concerned)


def worst_first(item: tuple[Members, int]) -> tuple[int, Members]:
    """Sort key of items of `SmallestSets.tokens`."""
    return -item[1], item[0]


@dataclass(frozen=True, slots=True)
class _Condition:
    """Live replicas of a range, by position; at most `spare` of them may be lost."""

    positions: Positions
    spare: int

    def nodes(self, rows: Iterable[Members]) -> Iterator[Members]:
        """The nodes at these positions of each row, ascending."""
        if len(self.positions) > 1:
            return map(tuple, map(sorted, map(itemgetter(*self.positions), rows)))
        return (tuple([row[position] for position in self.positions]) for row in rows)


class RingSurvey:
    """One ring, with those nodes down that some views do not reach.

    Two ranges have the same row kind if, position by position, their replicas are in the same racks and are both up or
    both down. They can lose the replicas at the same positions, and differ only in the nodes at these positions.
    """

    def __init__(self, state: RingState, snapshot: Snapshot) -> None:
        """Survey a ring.

        Args:
            state: the ring, with these nodes down.
            snapshot: where its nodes are.
        """
        self.state = state
        self.rack_of = snapshot.layout.rack_of
        self.datacenters = [snapshot.layout.racks[rack][0] for rack in self.rack_of]
        self._shared: dict[frozenset[object], dict[tuple[Members, ...], int]] = {}

    def nodes(self, demands: Demands, size: int | None, limit: int) -> SmallestSets:
        """The smallest sets of nodes.

        Args:
            demands: of one level.
            size: of the sets, as health has it; 0 or None if there is no loss to look for.
            limit: how many sets to find at least, if there are too many to find all.
        """
        if not size:
            return SmallestSets(failures=size, tokens={})
        tight = {key: _tight(self._conditions(row, (), kind, demands), size) for key, row, _, kind in self._kinds}
        signature: frozenset[object] = frozenset((key, groups) for key, groups in tight.items() if groups)
        if signature not in self._shared:  # LOCAL_ONE and LOCAL_QUORUM of one datacenter may share it
            self._shared[signature] = self._tight_nodes(tight)
        tokens = self._shared[signature].copy()
        for replicas, conditions, width in self._pieces(demands):
            groups = _tight(conditions, size)
            if groups:
                members = _members(replicas, groups)
                tokens[members] = tokens.get(members, 0) + width
        return _enumerated(size, tokens, limit)

    def _tight_nodes(self, tight: Mapping[Positions, tuple[Positions, ...]]) -> dict[tuple[Members, ...], int]:
        """The tokens of ranges, by the groups of nodes that can't lose `size` of their members."""
        tokens: dict[tuple[Members, ...], int] = defaultdict(int)
        for _, row, key, width in self._whole():
            groups = tight[key]
            if groups:
                tokens[_members(row, groups)] += width
        return dict(tokens)

    def racks(self, demands: Demands, size: int | None) -> SmallestSets:
        """The smallest sets of racks; the arguments are those of `nodes`."""
        if not size:
            return SmallestSets(failures=size, tokens={})
        kinds = ((row, self._conditions(row, (), kind, demands), width) for _, row, width, kind in self._kinds)
        tokens: dict[Members, int] = defaultdict(int)
        for replicas, conditions, width in chain(kinds, self._pieces(demands)):
            racks = {
                (tuple([self.rack_of[replicas[position]] for position in condition.positions]), condition.spare)
                for condition in conditions
            }
            for members in {chosen for live, spare in racks for chosen in _rack_sets(live, spare, size)}:
                tokens[members] += width
        return _all_of(size, tokens)

    def tolerances(self, demands: Demands) -> frozenset[tuple[Members, int]]:
        """The live replicas of each range, and how many of them it can lose; negative if it is unavailable already."""
        keys: dict[_Condition, set[Positions]] = defaultdict(set)
        for key, row, _, kind in self._kinds:
            for condition in self._conditions(row, (), kind, demands):
                keys[condition].add(key)
        uncut = (zip(self._nodes_of(condition, keys[condition]), repeat(condition.spare)) for condition in keys)
        cut = (
            (members, condition.spare)
            for row, conditions, _ in self._pieces(demands)
            for condition in conditions
            for members in condition.nodes([row])
        )
        return frozenset(chain(chain.from_iterable(uncut), cut))

    def _nodes_of(self, condition: _Condition, keys: Collection[Positions]) -> Iterable[Members]:
        """The nodes of which a condition speaks, ascending, in each range of these row kinds that is not cut."""
        every_range = len(keys) == len(self._kinds) and not self.state.pieces
        if every_range and len(condition.positions) == self.state.ring.width:
            return self.copysets  # as in a healthy ring with all replicas in one datacenter
        return condition.nodes(self._rows_of(keys))

    def _rows_of(self, keys: Collection[Positions]) -> Iterator[Members]:
        """The replicas of each range of these row kinds that no pending range cuts."""
        ring, pieces = self.state.ring, self.state.pieces
        chosen: Iterable[bool] = map(keys.__contains__, self._keys())
        if pieces:
            chosen = (one and index not in pieces for index, one in enumerate(chosen))
        return compress(ring.rows(), chosen)

    @cached_property
    def copysets(self) -> frozenset[Members]:
        """The different sets of nodes that hold all replicas of a range."""
        ring = self.state.ring
        copysets = frozenset(map(tuple, map(sorted, ring.rows())))
        if ring.filler not in ring.table:
            return copysets
        return frozenset(tuple([node for node in copyset if node != ring.filler]) for copyset in copysets)

    def homes(self, demands: Demands) -> set[tuple[Members, int]]:
        """The racks of the live replicas of each range, and how many of these replicas it can lose."""
        kinds = ((row, self._conditions(row, (), kind, demands)) for _, row, _, kind in self._kinds)
        pieces = ((row, conditions) for row, conditions, _ in self._pieces(demands))
        return {
            (tuple([self.rack_of[row[position]] for position in condition.positions]), condition.spare)
            for row, conditions in chain(kinds, pieces)
            for condition in conditions
        }

    @cached_property
    def _kinds(self) -> list[tuple[Positions, Members, int, Replicas]]:
        """For each row kind: its key, the replicas of one range, the tokens of all its ranges, and their number."""
        widths: dict[tuple[int, ...], int] = defaultdict(int)
        first: dict[tuple[int, ...], tuple[int, Members]] = {}
        for index, row, key, width in self._whole():
            widths[key] += width
            if key not in first:
                first[key] = index, row
        return [(key, row, widths[key], self.state.kind(index)[0]) for key, (index, row) in first.items()]

    def _whole(self) -> Iterator[tuple[int, Members, tuple[int, ...], int]]:
        """Index, replicas, key of the row kind, and tokens of each range that no pending range cuts."""
        ring, pieces = self.state.ring, self.state.pieces
        before = ring.tokens[-1] - self.state.space.size  # range 0 begins at the last token, a lap earlier
        for index, (row, key, end) in enumerate(zip(ring.rows(), self._keys(), ring.tokens, strict=True)):
            if index not in pieces:
                yield index, row, key, end - before
            before = end

    def _keys(self) -> Iterator[tuple[int, ...]]:
        """The rack of each replica of a range, and whether it is down."""
        ring, down = self.state.ring, self.state.down
        code = [2 * rack + (node in down) for node, rack in enumerate(self.rack_of)] + [-1]
        flat = map(code.__getitem__, ring.table)
        return zip(*[flat] * ring.width, strict=True) if ring.width else iter([()] * len(ring))

    def _pieces(self, demands: Demands) -> Iterator[tuple[Members, tuple[_Condition, ...], int]]:
        """Replicas, conditions and tokens of the pieces of ranges that pending ranges cut."""
        for index, pieces in self.state.pieces.items():
            natural = self.state.ring.replicas(index)
            for piece, (start, end, counts) in zip(pieces, self.state.parts(index), strict=True):
                conditions = self._conditions(natural, piece.pending, counts, demands)
                yield (*natural, *piece.pending), conditions, self.state.space.width(start, end)

    def _conditions(
        self, natural: Members, pending: Members, counts: Replicas, demands: Demands
    ) -> tuple[_Condition, ...]:
        """What a range needs to be served; nothing if it lacks replicas even with all nodes up."""
        if any(counts.structural(demand) for demand in demands):
            return ()
        conditions = []
        for demand in demands:
            for margin in counts.margins(demand):
                replicas = (*natural, *pending) if margin.counts_pending else natural
                live = tuple(self._live_positions(replicas, margin.datacenter))
                conditions.append(_Condition(live, margin.spare))
        return tuple(dict.fromkeys(conditions))

    def _live_positions(self, replicas: Members, datacenter: str | None) -> Iterator[int]:
        for position, node in enumerate(replicas):
            filler = node >= len(self.datacenters)
            if not filler and node not in self.state.down and datacenter in {None, self.datacenters[node]}:
                yield position


def _tight(conditions: Iterable[_Condition], size: int) -> tuple[Positions, ...]:
    """The groups of replicas that can't lose `size` of their members."""
    return tuple(dict.fromkeys(condition.positions for condition in conditions if condition.spare + 1 == size))


def _members(replicas: Members, groups: Iterable[Positions]) -> tuple[Members, ...]:
    """The nodes at these positions."""
    return tuple([tuple(sorted([replicas[position] for position in group])) for group in groups])


def _rack_sets(racks: Members, spare: int, size: int) -> Iterator[Members]:
    """Sets of racks that hold more live replicas than can be spared.

    Args:
        racks: the rack of each live replica.
        spare: how many of these may be lost.
        size: of the sets.
    """
    counts = {rack: racks.count(rack) for rack in racks}
    for chosen in combinations(sorted(counts), size):
        if sum(counts[rack] for rack in chosen) > spare:
            yield chosen


def _enumerated(size: int, tokens: Mapping[tuple[Members, ...], int], limit: int) -> SmallestSets:
    """All sets of a size that lie within a group; if there are very many, some of those that cost most.

    Args:
        size: of the sets.
        tokens: of ranges, by the groups of nodes of which the ranges can't lose `size`.
        limit: how many sets are wanted in that case.
    """
    total = sum(comb(len(group), size) for groups in tokens for group in groups)
    if total <= _ENUMERATED:
        return _all_of(size, _subsets(tokens.items(), size))
    left, some = _ENUMERATED, []
    for groups, width in sorted(tokens.items(), key=lambda item: (-item[1], item[0])):
        left -= sum(comb(len(group), size) for group in groups)
        if left < 0:
            break
        some.append((groups, width))
    candidates = nsmallest(limit, _subsets(some, size).items(), key=worst_first)
    exact = {members: _cost(frozenset(members), tokens) for members, _ in candidates}
    concerned = len({node for groups in tokens for group in groups for node in group})
    return SmallestSets(failures=size, tokens=exact, number=None, at_most=total, concerned=concerned)


def _subsets(ranges: Iterable[tuple[tuple[Members, ...], int]], size: int) -> dict[Members, int]:
    """The sets of a size within the groups, and the tokens of the ranges that each of them takes."""
    costs: dict[Members, int] = defaultdict(int)
    for groups, width in ranges:
        if len(groups) == 1:
            for members in combinations(groups[0], size):
                costs[members] += width
        else:
            for members in {chosen for group in groups for chosen in combinations(group, size)}:
                costs[members] += width
    return costs


def _cost(members: frozenset[int], tokens: Mapping[tuple[Members, ...], int]) -> int:
    return sum(width for groups, width in tokens.items() if any(members.issubset(group) for group in groups))
