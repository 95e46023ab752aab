"""Which ranges of a ring can be served at a level, and how many failures away the next outage is.

The problem: a coordinator serves a request for a partition if enough replicas of its range are live, and "enough"
depends on the level, the operation, the datacenter of the client and the release. A cluster of 1,024 nodes with 256
tokens each has 262,144 ranges for each distinct replication; every poll asks about all of them at several levels, and
again for each set of nodes that some coordinator does not reach.

The rule: a range is unavailable at a level if any operation that the level has is unavailable there, that is, if one
of the demand's conditions has fewer live replicas than it requires (`Replicas.margins` in core/consistency.py). A
pending replica can never make a range available for reads, and raises what writes require. A range that pending ranges
cut into pieces is as bad as its worst piece.

Why counting kinds is right: demands compare counts of replicas by datacenter and rack, and nothing else about a node.
Ranges with equal counts are of one kind (core/kinds.py) and have the same answer, so that each kind is judged once
(core/headroom.py) and multiplied by how many ranges it has (core/census.py). Shares are exact for the same reason:
the widths of the ranges of a kind are added up as whole numbers of tokens before they are divided.

What would go wrong otherwise:

- Judging each range anew costs seconds per poll, and an agent would fall behind its interval.
- Judging nodes instead of ranges ("2 of 3 nodes of the rack are up") is wrong in both directions: with vnodes any two
  down nodes share some range, while without them two nodes far apart share none.
- Requiring a majority of the replicas that were found, instead of those that are configured, reports a half-started
  ring as healthy. Requirements come from `Rules`, never from the ring.
- Counting structurally unavailable ranges (RF above the number of nodes) as an outage would page for a configuration
  mistake that does not end when nodes return. They are counted separately, and failures to outage leave them out.

This module owns the numbers. It knows no thresholds and no keyspaces. It does not decide which nodes are down: the
evidence does, for each coordinator.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, cast

from ringcheck.core.census import RangeCensus
from ringcheck.core.consistency import resolved
from ringcheck.core.headroom import demands_of, headroom, least, range_health, scarce_datacenters, served

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from ringcheck.core.consistency import Demand, Level, Operation, Replicas, Requirement, Rules
    from ringcheck.core.headroom import Headroom, RangeHealth
    from ringcheck.core.kinds import Marks, RangeKind
    from ringcheck.core.ring import Layout, Partitioner, Range, Ring

_AT_ONCE = 8192  # ranges that are looked through before asking whether more can add anything
_NEVER = 1 << 31  # failures: more than there are nodes
_STATES_KEPT = 64  # states that each ring keeps: one for each distinct set of down nodes among the views of two polls


@dataclass(frozen=True, slots=True)
class OperationHealth:
    """Numbers of one operation: ranges unavailable, and ranges with no spare replica."""

    unavailable: int
    at_minimum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstRange:
    """The range nearest to unavailability, or deepest in it.

    Attributes:
        start: token; the range is `(start, end]`.
        end: token.
        replicas: node indexes of its natural endpoints, in Cassandra's order.
        live: those of them that are live.
    """

    start: int
    end: int
    replicas: tuple[int, ...]
    live: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelHealth:
    """The numbers of a ring at one level for the clients of one datacenter.

    Structurally unavailable ranges are counted in `unavailable` too, but not in the failures to outage: no node causes
    them.

    Attributes:
        level: the consistency level.
        datacenter: the clients' datacenter for LOCAL levels, None for the others.
        required: live replicas that a range needs, without pending ones.
        ranges: how many the ring has: the denominator of the counts.
        unavailable: ranges that can't be served.
        unavailable_share: their share of the token space, 0 to 1.
        at_minimum: ranges that can be served with no replica to spare.
        structurally_unavailable: ranges that need more replicas than they have, even with all nodes up.
        outage_share: share of the token space of the unavailable ranges that are not structurally unavailable.
        node_failures_to_outage: the smallest number of nodes whose loss makes a range unavailable; 0 if one is
            unavailable already, None if no loss can make one so.
        rack_failures_to_outage: the same in racks.
        by_operation: the operations that the level has.
        worst_range: None for a level that needs no replica (ANY).
    """

    level: Level
    datacenter: str | None
    required: tuple[Requirement, ...]
    ranges: int
    unavailable: int
    unavailable_share: float
    at_minimum: int
    structurally_unavailable: int
    outage_share: float
    node_failures_to_outage: int | None
    rack_failures_to_outage: int | None
    by_operation: Mapping[Operation, OperationHealth]
    worst_range: WorstRange | None

    @property
    def outage(self) -> int:
        """Ranges that are unavailable because nodes are down, and would be served if those came back."""
        return self.unavailable - self.structurally_unavailable

    @property
    def badness(self) -> tuple[int, int, int, int]:
        """Sort key: how bad the ring looks; smallest for a level that no failure makes unavailable."""
        left = self.node_failures_to_outage
        return self.outage, self.unavailable, self.at_minimum, -_NEVER if left is None else -left


class RingState(RangeCensus):
    """A ring without some nodes, at any level; each number is worked out once."""

    def __init__(self, ring: Ring, layout: Layout, space: Partitioner, down: frozenset[int]) -> None:
        super().__init__(ring, layout, space, down)
        self._levels: dict[object, LevelHealth] = {}
        self._living_in: dict[str | None, frozenset[int]] = {}
        self.combined: dict[object, LevelHealth] = {}  # numbers of several states; see `seen_by_any`
        self.idle = False  # whether it has not been asked for since the last `let_go`

    def level(self, level: Level, client: str | None, rules: Rules) -> LevelHealth:
        """Numbers of one level, for clients of one datacenter (None for levels that are not LOCAL).

        Raises:
            UnknownReplicationError: if the level needs factors that are not known.
        """
        key = (level, client, rules.key)
        health = self._levels.get(key)
        if health is None:
            health = self._levels[key] = self._judge(level, client, rules)
        return health

    def _judge(self, level: Level, client: str | None, rules: Rules) -> LevelHealth:
        demands = demands_of(level, client, rules)
        rooms = {kind: least([headroom(kind, demand) for demand in demands.values()]) for kind in self.kinds}
        structural = {kind for kind, room in rooms.items() if room.structural}
        lost = {kind for kind, room in rooms.items() if not room.available}
        sound = [room for room in rooms.values() if not room.structural and room.spare is not None]
        return LevelHealth(
            level=level,
            datacenter=client,
            required=self._required(next(iter(demands.values()))),
            ranges=len(self.ring),
            unavailable=self._number(lost),
            unavailable_share=self._share(lost, demands.values()),
            at_minimum=self._number(kind for kind, room in rooms.items() if room.spare == 0),
            structurally_unavailable=self._number(structural),
            outage_share=self._share(lost - structural, demands.values()),
            node_failures_to_outage=min((max(0, (room.spare or 0) + 1) for room in sound), default=None),
            rack_failures_to_outage=min((room.rack_failures or 0 for room in sound), default=None),
            by_operation={name: self._operation(demand) for name, demand in demands.items()},
            worst_range=self._worst_range(rooms),
        )

    def _number(self, kinds: Iterable[RangeKind]) -> int:
        """How many ranges are of these kinds."""
        return sum(self.kinds[kind] for kind in kinds)

    def _required(self, demand: Demand) -> tuple[Requirement, ...]:
        """The demand's requirements as numbers; for "all replicas of the range" the largest number of any range."""
        naturals = {piece.natural for kind in self.kinds for piece in kind}
        return tuple(
            max((resolved(requirement, demand, natural) for natural in naturals), key=_replicas)
            for requirement in demand.requirements
        )

    def _operation(self, demand: Demand) -> OperationHealth:
        rooms = {kind: headroom(kind, demand) for kind in self.kinds}
        return OperationHealth(
            unavailable=self._number(kind for kind, room in rooms.items() if not room.available),
            at_minimum=self._number(kind for kind, room in rooms.items() if room.spare == 0),
        )

    def _worst_range(self, rooms: Mapping[RangeKind, Headroom]) -> WorstRange | None:
        spares = {kind: room.spare for kind, room in rooms.items() if room.spare is not None}
        if not spares:
            return None
        worst = min(spares, key=lambda kind: (spares[kind], kind))
        index = next(index for index in self._where({worst}) if self.kind(index) == worst)
        start, end = self.ring.range(index)
        nodes = self.ring.replicas(index)
        return WorstRange(
            start=start, end=end, replicas=nodes, live=tuple([node for node in nodes if node not in self.down])
        )

    def _where(self, kinds: Iterable[RangeKind]) -> list[int] | range:
        """Indexes that include all ranges of these kinds: the touched ones, unless a kind has all replicas live."""
        hurt = all(any(piece.pending or piece.live != piece.all_live for piece in kind) for kind in kinds)
        return self.touched if hurt else self._every_range

    def _share(self, lost: Collection[RangeKind], demands: Iterable[Demand]) -> float:
        """The share of the token space that belongs to ranges of these kinds and can't be served."""
        if not lost:
            return 0.0
        each_demand = tuple(demands)
        pieces = {piece for kind in lost for piece in kind if not served(piece, each_demand)}
        widths = self._touched_widths if isinstance(self._where(lost), list) else self._all_widths
        return sum(widths[piece] for piece in pieces) / self.space.size

    # Range by range

    def unavailable(self, level: Level, client: str | None, rules: Rules) -> dict[Operation, list[Range]]:
        """By operation, the ranges on which it can't be served; the pieces of a range that pending ranges cut.

        Raises:
            UnknownReplicationError: if the level needs factors that are not known.
        """
        demands = demands_of(level, client, rules)
        ranges: dict[Operation, list[Range]] = {name: [] for name in demands}
        if not self.level(level, client, rules).unavailable:
            return ranges
        for index in self._every_range:
            for start, end, counts in self.parts(index):
                for name, demand in demands.items():
                    if not headroom((counts,), demand).available:
                        ranges[name].append((start, end))
        return ranges

    def range_healths(self, level: Level, client: str | None, rules: Rules) -> Iterator[RangeHealth]:
        """The health of each range at a level, in the order of tokens; ranges of one kind share one value.

        Raises:
            UnknownReplicationError: if the level needs factors that are not known.
        """
        demands = tuple(demands_of(level, client, rules).values())
        healths: dict[Marks, RangeHealth] = {}
        for index, row in enumerate(self._rows(self._every_range, self._marks)):
            health = range_health(self.kind(index), demands) if index in self.pieces else healths.get(row)
            if health is None:
                health = healths[row] = range_health((self._counts(row),), demands)
            yield health

    # Which nodes matter

    def breakers(self, demands: Iterable[Demand]) -> frozenset[int]:
        """The live nodes that can't stop alone: a range that can be served now would become unavailable."""
        needed = tuple(demands)
        scarce = {kind: names for kind in self.kinds if (names := scarce_datacenters(kind, needed))}
        holders: dict[str | None, set[int]] = {name: set() for names in scarce.values() for name in names}
        for batch in self._members_of(scarce):
            for kind, nodes in batch:
                for name in scarce.get(kind, ()):
                    holders[name].update(nodes)
            if all(nodes >= self._living(name) for name, nodes in holders.items()):
                break  # in most rings a few thousand ranges include every node
        return frozenset().union(*(nodes & self._living(name) for name, nodes in holders.items()))

    def _members_of(self, kinds: Collection[RangeKind]) -> Iterator[Iterator[tuple[RangeKind, tuple[int, ...]]]]:
        """Kind and nodes of the ranges that can be of these kinds, a few thousand at a time."""
        if kinds and isinstance(self._where(kinds), list):
            yield ((self.kind(index), self.members(index)) for index in self.touched)
        elif kinds:
            yield ((self.kind(index), self.members(index)) for index in self.pieces)
            # A range in pieces is met here a second time, as a whole: to count its natural replicas too is safe.
            rows = zip(map(self._whole_kind, self._rows(self._every_range, self._marks)), self.ring.rows(), strict=True)
            for _ in range(0, len(self.ring), _AT_ONCE):
                yield islice(rows, _AT_ONCE)

    def _whole_kind(self, row: Marks) -> RangeKind:
        return (self._counts_by_marks.get((row, ())) or self._counts(row),)

    def _living(self, datacenter: str | None) -> frozenset[int]:
        """The live nodes of a datacenter (None: of all) that hold ranges of this ring."""
        nodes = self._living_in.get(datacenter)
        if nodes is None:
            homes = [self._layout.racks[rack][0] for rack in self._layout.rack_of]
            local = [node for node, home in enumerate(homes) if datacenter in {None, home}]
            nodes = self._living_in[datacenter] = self.ring.holding(local) - self.down
        return nodes

    def regained(self, back: frozenset[int], node: int, levels: Iterable[tuple[Demand, ...]]) -> list[int]:
        """How many tokens can be served again when a node returns after the nodes `back` have returned.

        Args:
            back: nodes that are up again already.
            node: the one that returns.
            levels: what each level demands; the result has a number for each.
        """
        changes = self._changes(back, node)
        return [
            sum(width for (then, now), width in changes.items() if not served(then, needed) and served(now, needed))
            for needed in levels
        ]

    def _changes(self, back: frozenset[int], node: int) -> Counter[tuple[Replicas, Replicas]]:
        """The tokens of the ranges (and pieces) of a node, by their counts before and after its return."""
        before, after = self._marks_with(back), self._marks_with(back | {node})
        changes: Counter[tuple[Replicas, Replicas]] = Counter()
        for row, width in self._uncut_widths(node, before).items():
            at = row.index(before[node])
            changes[self._counts(row), self._counts((*row[:at], after[node], *row[at + 1 :]))] += width
        for index, pieces in self.pieces.items():
            if node in self.members(index):
                then, now = self._row(index, before), self._row(index, after)
                for piece in pieces:
                    counts = self._counts(then, piece, before), self._counts(now, piece, after)
                    changes[counts] += self.space.width(piece.start, piece.end)
        return changes

    def _uncut_widths(self, node: int, marks: list[int]) -> Counter[Marks]:
        """How many tokens the ranges of a down node have that no pending range cuts, by these marks."""
        if self.down == {node} and isinstance(self.touched, list):
            return self._touched_marks[1]  # in most outages one node is down
        uncut = [index for index in self.ring.ranges_of[node] if index not in self.pieces]
        return self._widths(uncut, self._rows(uncut, marks))

    def _marks_with(self, back: frozenset[int]) -> list[int]:
        """Marks by node once these nodes have returned."""
        return [self._all_up[node] if node in back else mark for node, mark in enumerate(self._marks)]


def _replicas(requirement: Requirement) -> int:
    return requirement.replicas or 0


def ring_state(ring: Ring, layout: Layout, space: Partitioner, down: Iterable[int]) -> RingState:
    """The state of a ring without these nodes; kept with the ring, which never changes."""
    key = ("state", layout, space, ring.holding(down))
    state = ring.memo.get(key)
    if state is None:
        for old in _kept(ring)[: -_STATES_KEPT + 1]:
            ring.memo.pop(old, None)
        state = ring.memo[key] = RingState(ring, layout, space, key[3])
    kept = cast("RingState", state)
    kept.idle = False
    return kept


def let_go(rings: Iterable[Ring]) -> None:
    """Drop the states that were not asked for since the last call; for an agent that polls for months.

    A state without three of 1,024 nodes takes 4 MiB on five rings, and a set of down nodes may never come back.
    """
    for ring in rings:
        for key in _kept(ring):
            state = ring.memo.get(key)
            if isinstance(state, RingState) and state.idle:
                ring.memo.pop(key, None)
            elif isinstance(state, RingState):
                state.idle = True


def states_in_use(rings: Iterable[Ring]) -> tuple[RingState, ...]:
    """The states that were asked for since the last `let_go`."""
    states = [ring.memo.get(key) for ring in rings for key in _kept(ring)]
    return tuple([state for state in states if isinstance(state, RingState) and not state.idle])


def _kept(ring: Ring) -> list[object]:
    """Keys of the states that a ring keeps, oldest first; `list` is atomic, so that other threads may add meanwhile."""
    return [key for key in list(ring.memo) if isinstance(key, tuple) and key[0] == "state"]
